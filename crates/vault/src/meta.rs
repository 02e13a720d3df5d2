//! Metadata of one file system object: captured into a [`Node`], applied from one.

#![allow(clippy::unnecessary_cast, reason = "the widths of stat's fields differ between systems")]

mod apply;
mod names;

use std::ffi::{CStr, OsStr};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use jiff::Timestamp;
use rustix::fs::{FileType, Stat};
use rustix::io::Errno;

use crate::node::{ExtendedAttribute, Node, NodeKind, clamp_time};

pub use apply::{clear_other_attributes, create_special, is_as, restore_metadata};
pub use names::Names;

/// What a `stat` says that decides whether a file is the one that was seen before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fingermark {
    /// Device and inode.
    pub place: (u64, u64),
    /// Size, bytes.
    pub size: i64,
    /// Seconds and nanoseconds of the content's last change.
    pub mtime: (i64, i64),
    /// Seconds and nanoseconds of the inode's last change.
    pub ctime: (i64, i64),
}

impl From<&Stat> for Fingermark {
    fn from(stat: &Stat) -> Self {
        Self {
            place: (stat.st_dev as u64, stat.st_ino as u64),
            size: stat.st_size as i64,
            mtime: (stat.st_mtime as i64, stat.st_mtime_nsec as i64),
            ctime: (stat.st_ctime as i64, stat.st_ctime_nsec as i64),
        }
    }
}

/// The kind of node for a `stat`; `None` for what no system knows.
pub fn kind_of(stat: &Stat) -> Option<NodeKind> {
    kind_of_mode(stat.st_mode as u32)
}

/// The kind of node for the type bits of `st_mode`.
pub fn kind_of_mode(mode: u32) -> Option<NodeKind> {
    Some(match FileType::from_raw_mode(mode) {
        FileType::RegularFile => NodeKind::File,
        FileType::Directory => NodeKind::Dir,
        FileType::Symlink => NodeKind::Symlink,
        FileType::BlockDevice => NodeKind::Dev,
        FileType::CharacterDevice => NodeKind::Chardev,
        FileType::Fifo => NodeKind::Fifo,
        FileType::Socket => NodeKind::Socket,
        FileType::Unknown => return None,
    })
}

/// A node with everything that `stat` tells: no content, link target, attributes or subtree.
pub fn node_from_stat(
    name: &OsStr,
    kind: NodeKind,
    stat: &Stat,
    names: &Names,
    with_atime: bool,
) -> Node {
    let mut node = Node::new(name, kind);
    node.set_unix_mode(stat.st_mode);
    node.mtime = clamp_time(stat.st_mtime as i64, stat.st_mtime_nsec as i64);
    node.ctime = clamp_time(stat.st_ctime as i64, stat.st_ctime_nsec as i64);
    node.atime = if with_atime {
        clamp_time(stat.st_atime as i64, stat.st_atime_nsec as i64)
    } else {
        node.mtime
    };
    node.uid = stat.st_uid;
    node.gid = stat.st_gid;
    node.user = names.user(stat.st_uid).to_owned();
    node.group = names.group(stat.st_gid).to_owned();
    node.inode = stat.st_ino as u64;
    if !matches!(kind, NodeKind::Dir | NodeKind::Fifo | NodeKind::Socket) {
        node.links = stat.st_nlink as u64;
        // The device's number changes between boots; it matters only to tell hard links apart.
        if stat.st_nlink > 1 {
            node.device_id = stat.st_dev as u64;
        }
    }
    match kind {
        NodeKind::File => node.size = u64::try_from(stat.st_size).unwrap_or(0),
        NodeKind::Dev | NodeKind::Chardev => node.device = stat.st_rdev as u64,
        _ => {}
    }
    node
}

/// Takes over from a later `stat` what may have changed since the node was made.
pub fn update_from_stat(node: &mut Node, stat: &Stat) {
    node.set_unix_mode(stat.st_mode);
    node.mtime = clamp_time(stat.st_mtime as i64, stat.st_mtime_nsec as i64);
    node.ctime = changed_at(stat);
    node.inode = stat.st_ino as u64;
}

/// When the inode was last changed.
pub fn changed_at(stat: &Stat) -> Timestamp {
    clamp_time(stat.st_ctime as i64, stat.st_ctime_nsec as i64)
}

/// The device that holds the object.
pub fn device(stat: &Stat) -> u64 {
    stat.st_dev as u64
}

/// Where attributes are read from or written to.
#[derive(Debug, Clone, Copy)]
pub enum Handle<'a> {
    /// An open file or folder.
    Open(BorrowedFd<'a>),
    /// A path, not followed if it is a symbolic link.
    Path(&'a Path),
}

/// All extended attributes, in name order. A file system without them has none.
pub fn read_xattrs(handle: Handle<'_>) -> Result<Vec<ExtendedAttribute>, Errno> {
    let names = match list_xattrs(handle) {
        Ok(names) => names,
        Err(Errno::NOTSUP | Errno::NOSYS) => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut attributes = Vec::new();
    for name in names.split_inclusive(|byte| *byte == 0) {
        let Ok(name) = CStr::from_bytes_with_nul(name) else { continue };
        let value = match read_xattr(handle, name) {
            Ok(value) => value,
            // Removed since it was listed: then it is as if it had never been.
            Err(Errno::NODATA) => continue,
            Err(error) => return Err(error),
        };
        // A JSON string cannot hold another name; no file system in use makes one.
        let Ok(name) = name.to_str() else { return Err(Errno::ILSEQ) };
        attributes.push(ExtendedAttribute { name: name.to_owned(), value });
    }
    attributes.sort_by(|left, right| left.name.cmp(&right.name));
    Ok(attributes)
}

fn list_xattrs(handle: Handle<'_>) -> Result<Vec<u8>, Errno> {
    // Nearly every file has none or few: one call with room enough mostly does.
    let mut small = [0u8; 256];
    let length = match handle {
        Handle::Open(fd) => rustix::fs::flistxattr(fd, &mut small[..]),
        Handle::Path(path) => rustix::fs::llistxattr(path, &mut small[..]),
    };
    match length {
        Ok(length) => return Ok(small[..length].to_vec()),
        Err(Errno::RANGE) => {}
        Err(error) => return Err(error),
    }
    let mut names = vec![0; 64 << 10];
    let length = match handle {
        Handle::Open(fd) => rustix::fs::flistxattr(fd, &mut names[..])?,
        Handle::Path(path) => rustix::fs::llistxattr(path, &mut names[..])?,
    };
    names.truncate(length);
    Ok(names)
}

fn read_xattr(handle: Handle<'_>, name: &CStr) -> Result<Vec<u8>, Errno> {
    // The kernel's limit for one value.
    let mut value = vec![0; 64 << 10];
    let length = match handle {
        Handle::Open(fd) => rustix::fs::fgetxattr(fd, name, &mut value[..])?,
        Handle::Path(path) => rustix::fs::lgetxattr(path, name, &mut value[..])?,
    };
    value.truncate(length);
    value.shrink_to_fit();
    Ok(value)
}

/// An open file as a [`Handle`].
pub fn open_handle<Fd: AsFd>(fd: &Fd) -> Handle<'_> {
    Handle::Open(fd.as_fd())
}
