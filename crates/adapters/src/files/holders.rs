//! Which other processes have files open for writing: by device and inode, so that a path in
//! another container or a bind mount is no hiding place.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::lease;

/// Device and inode.
pub(super) type Identity = (u64, u64);

/// What a look through the processes found.
#[derive(Debug, Default)]
pub(super) struct Writers {
    /// Files open (or mapped) for writing by somebody else, and by whom, in words.
    pub files: HashMap<Identity, String>,
    /// True if not every process could be looked into.
    pub blind: bool,
}

/// Looks through `/proc`.
pub(super) fn look() -> io::Result<Writers> {
    let mut writers = Writers { blind: !lease::sees_all_processes(), ..Writers::default() };
    for entry in fs::read_dir("/proc")? {
        let entry = entry?;
        let name = entry.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        if pid == std::process::id() {
            continue;
        }
        match open_in(&entry.path(), &mut |file| {
            writers.files.entry(file).or_insert_with(|| describe(&entry.path(), pid));
        }) {
            Err(e) if e.kind() == io::ErrorKind::PermissionDenied => writers.blind = true,
            // It ended meanwhile.
            _ => {}
        }
    }
    Ok(writers)
}

fn open_in(process: &Path, found: &mut dyn FnMut(Identity)) -> io::Result<()> {
    for descriptor in fs::read_dir(process.join("fd"))? {
        let descriptor = descriptor?;
        let info = process.join("fdinfo").join(descriptor.file_name());
        if fs::read_to_string(info).is_ok_and(|info| is_for_writing(&info))
            && let Ok(file) = fs::metadata(descriptor.path())
            && file.is_file()
        {
            found((file.dev(), file.ino()));
        }
    }
    for line in fs::read_to_string(process.join("maps"))?.lines() {
        if let Some(file) = mapped_for_writing(line) {
            found(file);
        }
    }
    Ok(())
}

/// `flags:` of `/proc/PID/fdinfo/N`, octal. A descriptor of a path alone writes nothing.
fn is_for_writing(info: &str) -> bool {
    const ACCESS: u32 = 0o3;
    const PATH: u32 = 0o10_000_000;
    let flags = info.lines().find_map(|line| line.strip_prefix("flags:"));
    flags
        .and_then(|flags| u32::from_str_radix(flags.trim(), 8).ok())
        .is_some_and(|flags| flags & ACCESS != 0 && flags & PATH == 0)
}

/// A line of `/proc/PID/maps`: `range perms offset major:minor inode path`.
fn mapped_for_writing(line: &str) -> Option<Identity> {
    let mut fields = line.split_ascii_whitespace().skip(1);
    let rights = fields.next()?;
    let (major, minor) = fields.nth(1)?.split_once(':')?;
    let inode = fields.next()?.parse().ok()?;
    let number = |text| u32::from_str_radix(text, 16).ok();
    let shared = rights.contains('w') && rights.contains('s') && inode != 0;
    shared.then_some((rustix::fs::makedev(number(major)?, number(minor)?), inode))
}

fn describe(process: &Path, pid: u32) -> String {
    let name = fs::read_to_string(process.join("comm")).unwrap_or_default();
    format!("{} (process {pid})", name.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_tell_writing_from_reading() {
        for (flags, writes) in [
            ("0100000", false),
            ("0100001", true),
            ("02100002", true),
            ("012100000", false),
            ("012100002", false),
        ] {
            let info = format!("pos:\t0\nflags:\t{flags}\nmnt_id:\t29\n");
            assert_eq!(is_for_writing(&info), writes, "{flags}");
        }
        assert!(!is_for_writing(""));
    }

    #[test]
    fn only_shared_writable_mappings_of_files_write() {
        let line = |rights, inode| format!("7f00-7f10 {rights} 00000000 fe:01 {inode} /srv/a b");
        let file = Some((rustix::fs::makedev(0xfe, 1), 1234));
        assert_eq!(mapped_for_writing(&line("rw-s", 1234)), file);
        assert_eq!(mapped_for_writing(&line("rw-p", 1234)), None);
        assert_eq!(mapped_for_writing(&line("r--s", 1234)), None);
        assert_eq!(mapped_for_writing(&line("rw-s", 0)), None);
        assert_eq!(mapped_for_writing(""), None);
    }
}
