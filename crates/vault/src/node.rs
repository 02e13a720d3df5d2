//! Trees and nodes exactly as restic stores them.
//!
//! The JSON that [`Tree::to_json`] writes is byte for byte what restic itself would write for the
//! same nodes (field order, omitted fields, Go's escapes, times in UTC), so that tools which
//! re-encode a tree to see whether they understood it all find nothing lost. Names may hold any
//! byte: they are kept as restic does, as the inside of a Go string literal.

mod quote;
pub(crate) mod time;

use std::ffi::{OsStr, OsString};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::Id;

pub use time::clamp as clamp_time;

/// What a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NodeKind {
    /// A regular file.
    File,
    /// A folder.
    Dir,
    /// A symbolic link.
    Symlink,
    /// A block device.
    Dev,
    /// A character device.
    Chardev,
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
    /// Something that a foreign tool recorded and that cannot be restored.
    #[serde(other)]
    Irregular,
}

/// Bits of Go's `os.FileMode`, which restic stores in `mode`.
pub mod mode {
    /// A folder.
    pub const DIR: u32 = 1 << 31;
    /// A symbolic link.
    pub const SYMLINK: u32 = 1 << 27;
    /// A device.
    pub const DEVICE: u32 = 1 << 26;
    /// A named pipe.
    pub const NAMED_PIPE: u32 = 1 << 25;
    /// A socket.
    pub const SOCKET: u32 = 1 << 24;
    /// setuid.
    pub const SETUID: u32 = 1 << 23;
    /// setgid.
    pub const SETGID: u32 = 1 << 22;
    /// A character device (together with [`DEVICE`]).
    pub const CHAR_DEVICE: u32 = 1 << 21;
    /// Sticky.
    pub const STICKY: u32 = 1 << 20;
}

/// One extended attribute; an ACL is one too.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExtendedAttribute {
    /// Full name, `user.comment`.
    pub name: String,
    /// Raw value (base64 in JSON).
    #[serde(with = "base64_bytes")]
    pub value: Vec<u8>,
}

/// One entry of a folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// Name without folder; any byte but `/` and NUL.
    #[serde(with = "quote")]
    pub name: OsString,
    /// What it is.
    #[serde(rename = "type")]
    pub kind: NodeKind,
    /// Go's `os.FileMode`: permission bits and the bits of [`mode`].
    #[serde(default, skip_serializing_if = "is_zero_u32")]
    pub mode: u32,
    /// Time of the last change of the content.
    #[serde(default = "time::zero", with = "time")]
    pub mtime: Timestamp,
    /// Time of the last access; restic's default, and ours, is to store `mtime` again.
    #[serde(default = "time::zero", with = "time")]
    pub atime: Timestamp,
    /// Time of the last change of the inode.
    #[serde(default = "time::zero", with = "time")]
    pub ctime: Timestamp,
    /// Owner.
    #[serde(default)]
    pub uid: u32,
    /// Group.
    #[serde(default)]
    pub gid: u32,
    /// Owner's name, if it has one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub user: String,
    /// Group's name, if it has one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub group: String,
    /// Inode number.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub inode: u64,
    /// Device that holds the file; with `inode` it identifies a hard-linked file.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub device_id: u64,
    /// Size of a regular file, bytes.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub size: u64,
    /// Number of hard links.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub links: u64,
    /// Target of a symbolic link, with U+FFFD where it is not UTF-8.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub linktarget: String,
    /// The target's bytes where it is not UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "base64_option")]
    pub linktarget_raw: Option<Vec<u8>>,
    /// Extended attributes.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "null_is_empty")]
    pub extended_attributes: Vec<ExtendedAttribute>,
    /// Device number of a device node.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub device: u64,
    /// The content's blobs in order; `None` for all but regular files.
    #[serde(default)]
    pub content: Option<Vec<Id>>,
    /// A folder's tree.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subtree: Option<Id>,
}

impl Node {
    /// An empty node of a kind; everything else is zero.
    pub fn new(name: &OsStr, kind: NodeKind) -> Self {
        Self {
            name: name.to_owned(),
            kind,
            mode: 0,
            mtime: Timestamp::UNIX_EPOCH,
            atime: Timestamp::UNIX_EPOCH,
            ctime: Timestamp::UNIX_EPOCH,
            uid: 0,
            gid: 0,
            user: String::new(),
            group: String::new(),
            inode: 0,
            device_id: 0,
            size: 0,
            links: 0,
            linktarget: String::new(),
            linktarget_raw: None,
            extended_attributes: Vec::new(),
            device: 0,
            content: None,
            subtree: None,
        }
    }

    /// The target of a symbolic link, byte for byte.
    pub fn link_target(&self) -> &[u8] {
        self.linktarget_raw.as_deref().unwrap_or(self.linktarget.as_bytes())
    }

    /// Sets the target of a symbolic link; what is not UTF-8 goes to `linktarget_raw` as well.
    pub fn set_link_target(&mut self, target: &[u8]) {
        self.linktarget = String::from_utf8_lossy(target).into_owned();
        self.linktarget_raw = std::str::from_utf8(target).is_err().then(|| target.to_vec());
    }

    /// The permission bits as `chmod` takes them (with setuid, setgid and sticky).
    pub fn unix_mode(&self) -> u32 {
        let mut bits = self.mode & 0o777;
        for (go, unix) in SPECIAL_BITS {
            if self.mode & go != 0 {
                bits |= unix;
            }
        }
        bits
    }

    /// Sets `mode` from the kind and the bits of `st_mode`.
    pub fn set_unix_mode(&mut self, st_mode: u32) {
        self.mode = st_mode & 0o777;
        for (go, unix) in SPECIAL_BITS {
            if st_mode & unix != 0 {
                self.mode |= go;
            }
        }
        self.mode |= match self.kind {
            NodeKind::File | NodeKind::Irregular => 0,
            NodeKind::Dir => mode::DIR,
            NodeKind::Symlink => mode::SYMLINK,
            NodeKind::Dev => mode::DEVICE,
            NodeKind::Chardev => mode::DEVICE | mode::CHAR_DEVICE,
            NodeKind::Fifo => mode::NAMED_PIPE,
            NodeKind::Socket => mode::SOCKET,
        };
    }

    /// False for a name that would leave its folder or hide in it: empty, `.`, `..`, with `/` or
    /// NUL. A tree that holds one is damaged or hostile.
    pub fn has_valid_name(&self) -> bool {
        let name = self.name.as_encoded_bytes();
        !name.is_empty()
            && name != b"."
            && name != b".."
            && !name.iter().any(|byte| matches!(byte, b'/' | 0))
    }
}

const SPECIAL_BITS: [(u32, u32); 3] =
    [(mode::SETUID, 0o4000), (mode::SETGID, 0o2000), (mode::STICKY, 0o1000)];

/// A folder's entries, in byte order of their names, each name once.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tree {
    /// The entries.
    #[serde(deserialize_with = "null_is_empty")]
    pub nodes: Vec<Node>,
}

impl Tree {
    /// The bytes of the tree's blob. The nodes must be in order.
    pub fn to_json(&self) -> Result<Vec<u8>, serde_json::Error> {
        let mut json = Vec::with_capacity(32 + self.nodes.len() * 400);
        json.extend_from_slice(b"{\"nodes\":[");
        for (position, node) in self.nodes.iter().enumerate() {
            if position > 0 {
                json.push(b',');
            }
            write_node(&mut json, node)?;
        }
        json.extend_from_slice(b"]}\n");
        Ok(json)
    }

    /// Reads a tree's blob; a name that is not one name is refused.
    pub fn from_json(json: &[u8]) -> Result<Self, serde_json::Error> {
        let tree: Self = serde_json::from_slice(json)?;
        if let Some(node) = tree.nodes.iter().find(|node| !node.has_valid_name()) {
            return Err(serde::de::Error::custom(format!(
                "invalid name {:?} in a tree",
                node.name
            )));
        }
        Ok(tree)
    }

    /// The entry of a name.
    pub fn find(&self, name: &OsStr) -> Option<&Node> {
        self.nodes.iter().find(|node| node.name == name)
    }
}

/// Appends one node as JSON in Go's spelling.
pub(crate) fn write_node(json: &mut Vec<u8>, node: &Node) -> Result<(), serde_json::Error> {
    node.serialize(&mut serde_json::Serializer::with_formatter(json, quote::GoFormatter))
}

/// For those who read only some of a node's fields.
pub(crate) mod read {
    use std::ffi::OsString;

    use jiff::Timestamp;
    use serde::{Deserialize, Deserializer};

    pub(crate) fn name<'de, D: Deserializer<'de>>(from: D) -> Result<OsString, D::Error> {
        super::quote::deserialize(from)
    }

    pub(crate) fn time<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Timestamp>, D::Error> {
        super::time::deserialize(from).map(Some)
    }

    pub(crate) fn list<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
        from: D,
    ) -> Result<Vec<T>, D::Error> {
        super::null_is_empty(from)
    }
}

fn is_zero(value: &u64) -> bool {
    *value == 0
}

fn is_zero_u32(value: &u32) -> bool {
    *value == 0
}

fn null_is_empty<'de, D: serde::Deserializer<'de>, T: Deserialize<'de>>(
    from: D,
) -> Result<Vec<T>, D::Error> {
    Ok(Option::<Vec<T>>::deserialize(from)?.unwrap_or_default())
}

mod base64_bytes {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&STANDARD.encode(bytes))
    }

    /// Go writes `null` for an empty value.
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        let text = Option::<String>::deserialize(from)?.unwrap_or_default();
        STANDARD.decode(text).map_err(serde::de::Error::custom)
    }
}

mod base64_option {
    use serde::{Deserializer, Serializer};

    pub fn serialize<S: Serializer>(bytes: &Option<Vec<u8>>, to: S) -> Result<S::Ok, S::Error> {
        super::base64_bytes::serialize(bytes.as_deref().unwrap_or_default(), to)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Vec<u8>>, D::Error> {
        let bytes = super::base64_bytes::deserialize(from)?;
        Ok((!bytes.is_empty()).then_some(bytes))
    }
}

#[cfg(test)]
mod tests;
