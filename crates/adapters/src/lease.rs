//! The kernel's own word on whether somebody has a file open for writing, whoever it is and
//! wherever: in another container, under another user, by a mapping.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::OFlags;
use rustix::io::Errno;

/// What mends it where neither the kernel nor the list of processes can tell of writers.
pub(crate) const HINT: &str = "run the same command as root on the machine itself (in a container it \
                               needs the capability LEASE), or restore with `--to` and move it by hand";

/// Inode of the first space of process numbers (`PROC_PID_INIT_INO` of Linux): who is in another,
/// a container's say, sees its own processes only.
const FIRST_SPACE: u64 = 0xEFFF_FFFC;

/// File systems that other machines write to as well (`statfs(2)`): NFS, SMB, CIFS, SMB2, FUSE, 9P,
/// CephFS, AFS, GFS2, OCFS2.
const SHARED: [u64; 10] = [
    0x6969,
    0x517B,
    0xFF53_4D42,
    0xFE53_4D42,
    0x6573_5546,
    0x0102_1997,
    0x00C3_6400,
    0x5346_414F,
    0x0116_1970,
    0x7461_636F,
];

/// True if every process of this machine can be looked into.
pub(crate) fn sees_all_processes() -> bool {
    let space = std::fs::metadata("/proc/self/ns/pid");
    rustix::process::geteuid().is_root()
        && space.is_ok_and(|found| std::os::unix::fs::MetadataExt::ino(&found) == FIRST_SPACE)
}

/// True if processes of other machines may write to the file as well.
pub(crate) fn is_shared(path: &Path) -> bool {
    // Which file system it is cannot be told: then it may be any.
    rustix::fs::statfs(path)
        .map_or(true, |found| SHARED.contains(&(found.f_type as u64 & 0xFFFF_FFFF)))
}

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
