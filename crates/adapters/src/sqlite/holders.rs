//! Finds the processes that have given files open, by device and inode, whatever their names.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::lease;

/// Device and inode of a file.
pub(super) type Identity = (u64, u64);

/// The identity of what a path leads to.
pub(super) fn identity(path: &Path) -> Option<Identity> {
    fs::metadata(path).ok().map(|found| (found.dev(), found.ino()))
}

/// What a look through the processes found.
#[derive(Debug, Default)]
pub(super) struct Holders {
    /// Names and process ids of those that have one of the files open or mapped.
    pub names: Vec<String>,
    /// True if not every process of this machine could be looked into: of the others only the
    /// kernel knows.
    pub blind: bool,
}

/// Looks for all other processes that have one of `files` open or mapped.
pub(super) fn find(files: &[Identity]) -> std::io::Result<Holders> {
    // With `hidepid` the processes of others are not even listed, nor are those outside a container.
    let blind = !lease::sees_all_processes();
    let mut found = Holders { names: Vec::new(), blind };
    for entry in fs::read_dir("/proc")? {
        let entry = entry?;
        let name = entry.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        if pid == std::process::id() {
            continue;
        }
        let process = entry.path();
        match has_open(&process, files) {
            Some(true) => found.names.push(describe(&process, pid)),
            Some(false) => {}
            None => found.blind = true,
        }
    }
    Ok(found)
}

/// `None` if the process may not be looked into. One that ends meanwhile has nothing open.
fn has_open(process: &Path, files: &[Identity]) -> Option<bool> {
    match fs::read_dir(process.join("fd")) {
        Ok(descriptors) => {
            for descriptor in descriptors.flatten() {
                if identity(&descriptor.path()).is_some_and(|found| files.contains(&found)) {
                    return Some(true);
                }
            }
        }
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => return None,
        Err(_) => return Some(false),
    }
    let maps = match fs::read_to_string(process.join("maps")) {
        Ok(maps) => maps,
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => return None,
        // It ended meanwhile.
        Err(_) => return Some(false),
    };
    Some(maps.lines().any(|line| mapped(line).is_some_and(|found| files.contains(&found))))
}

/// Device and inode of a line of `/proc/PID/maps`: `range perms offset major:minor inode path`.
fn mapped(line: &str) -> Option<Identity> {
    let mut fields = line.split_ascii_whitespace().skip(3);
    let (major, minor) = fields.next()?.split_once(':')?;
    let number = |text| u32::from_str_radix(text, 16).ok();
    let inode = fields.next()?.parse().ok()?;
    Some((rustix::fs::makedev(number(major)?, number(minor)?), inode))
}

fn describe(process: &Path, pid: u32) -> String {
    let name = fs::read_to_string(process.join("comm")).unwrap_or_default();
    format!("{} (process {pid})", name.trim_end())
}

#[cfg(test)]
mod tests {
    use super::mapped;

    #[test]
    fn a_line_of_maps_names_device_and_inode() {
        let line = "7f0000-7f1000 rw-s 00000000 fe:01 1234 /srv/app.db-shm";
        assert_eq!(mapped(line), Some((rustix::fs::makedev(0xfe, 1), 1234)));
        assert_eq!(mapped("7f0000-7f1000 rw-p 00000000 00:00 0 "), Some((0, 0)));
        assert_eq!(mapped(""), None);
    }
}
