//! Room on disks.

use lifeboat_adapters::SystemDisk;
use lifeboat_recovery::ports::Disk;

use crate::mounted::Mounted;

#[test]
fn free_room_shrinks_by_what_is_written() {
    let disk = Mounted::new("size=2m");
    let before = SystemDisk.free(&disk.path()).unwrap();
    assert_eq!(before, 2 << 20);
    std::fs::write(disk.path().join("file"), vec![1; 1 << 20]).unwrap();
    assert_eq!(SystemDisk.free(&disk.path()).unwrap(), 1 << 20);
    // What is not there yet is asked of what is above it.
    assert_eq!(SystemDisk.free(&disk.path().join("a/b/c")).unwrap(), 1 << 20);
}
