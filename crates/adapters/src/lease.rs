//! The kernel's own word on whether somebody has a file open for writing, whoever it is and
//! wherever: in another container, under another user, by a mapping.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::OFlags;
use rustix::io::Errno;

/// `F_SETSIG` of Linux's `fcntl.h`: which signal tells the holder of a lease that it is wanted.
const F_SETSIG: i32 = 10;

/// The same of a name, which is not followed if it is a link. What is not there has no writer; what
/// may not be read cannot be told of.
pub(crate) fn path_has_writer(path: &Path) -> io::Result<Option<bool>> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOATIME;
    let open = |flags: OFlags| {
        File::options().read(true).custom_flags(flags.bits().cast_signed()).open(path)
    };
    // Only the owner may ask not to change the time of access.
    match open(flags).or_else(|_| open(flags.difference(OFlags::NOATIME))) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Some(false)),
        Err(e) if e.kind() == io::ErrorKind::PermissionDenied => Ok(None),
        other => has_writer(&other?),
    }
}

/// `None` where it cannot be told: the file system has no leases (NFS, some FUSE ones), or the file
/// belongs to somebody else and this process may not take a lease on it.
///
/// `file` must be open for reading only. The lease is given back at once; whoever opens the file
/// for writing in that moment waits for it, and is not refused.
#[allow(unsafe_code)] // No safe wrapper has leases.
fn has_writer(file: &File) -> io::Result<Option<bool>> {
    let fd = file.as_raw_fd();
    // SAFETY: both calls take an open descriptor, which `file` keeps open, and a plain number; they
    // touch no memory of ours. SIGURG, which is ignored unless somebody asks for it, replaces the
    // signal (SIGIO) that would end this process if somebody opened the file meanwhile.
    let answer = unsafe {
        if libc::fcntl(fd, F_SETSIG, libc::SIGURG) != 0 {
            return Err(io::Error::last_os_error());
        }
        libc::fcntl(fd, libc::F_SETLEASE, libc::F_RDLCK)
    };
    if answer == 0 {
        // SAFETY: as above.
        let returned = unsafe { libc::fcntl(fd, libc::F_SETLEASE, libc::F_UNLCK) };
        return if returned == 0 { Ok(Some(false)) } else { Err(io::Error::last_os_error()) };
    }
    let error = io::Error::last_os_error();
    match Errno::from_io_error(&error) {
        Some(Errno::AGAIN) => Ok(Some(true)),
        Some(Errno::ACCESS | Errno::PERM | Errno::INVAL | Errno::NOTSUP | Errno::NOLCK) => Ok(None),
        _ => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_writer_is_seen_and_a_reader_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let writer = File::create(&path).unwrap();
        let file = File::open(&path).unwrap();
        assert_eq!(has_writer(&file).unwrap(), Some(true));
        drop(writer);
        let _reader = File::open(&path).unwrap();
        assert_eq!(has_writer(&file).unwrap(), Some(false));
        assert_eq!(has_writer(&file).unwrap(), Some(false), "the lease was not given back");
        File::options().append(true).open(&path).unwrap();
    }
}
