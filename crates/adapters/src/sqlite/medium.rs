//! Tells a medium that nothing can write from one that merely this mount cannot.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// True if the file system that holds `path` is itself read-only (a disc image, a snapshot). A
/// read-only bind mount of a file system that others write is not.
pub(super) fn is_read_only(path: &Path) -> bool {
    let Ok(found) = std::fs::metadata(path) else { return false };
    let device = found.dev();
    let number = format!("{}:{}", rustix::fs::major(device), rustix::fs::minor(device));
    std::fs::read_to_string("/proc/self/mountinfo")
        .is_ok_and(|mounts| super_block_is_read_only(&mounts, &number))
}

/// Reads mountinfo(5): field 3 is the device, the last field the options of the super block.
fn super_block_is_read_only(mounts: &str, device: &str) -> bool {
    mounts
        .lines()
        .find(|line| line.split(' ').nth(2) == Some(device))
        .and_then(|line| line.split_once(" - "))
        .and_then(|(_, file_system)| file_system.split(' ').nth(2))
        .is_some_and(|options| options.split(',').any(|option| option == "ro"))
}

#[cfg(test)]
mod tests {
    use super::super_block_is_read_only;

    const MOUNTS: &str = "\
36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue
37 35 98:1 / /bind ro,relatime shared:2 - ext4 /dev/sdb rw
38 35 7:0 / /disc ro,nodev - squashfs /dev/loop0 ro,errors=continue
";

    #[test]
    fn only_the_super_block_counts() {
        assert!(!super_block_is_read_only(MOUNTS, "98:0"));
        assert!(!super_block_is_read_only(MOUNTS, "98:1"));
        assert!(super_block_is_read_only(MOUNTS, "7:0"));
        assert!(!super_block_is_read_only(MOUNTS, "9:9"));
    }
}
