//! The right to create and remove objects under `locks/`, and nothing else.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use lifeboat_vault::{DeleteStore, LockStore, Store, StoreError, StoreErrorKind};

/// The folder of the locks, relative to the store that they guard.
const FOLDER: &str = "locks/";

/// Locks of the part of a tier below one folder.
#[derive(Clone)]
pub struct Locks {
    store: Arc<dyn Store>,
    deleter: Arc<dyn DeleteStore>,
    prefix: String,
    /// The folder of the tier, for a local one.
    root: Option<PathBuf>,
}

impl Locks {
    pub(super) fn new(
        store: Arc<dyn Store>,
        deleter: Arc<dyn DeleteStore>,
        prefix: &str,
        root: Option<PathBuf>,
    ) -> Locks {
        let folder = prefix.trim_matches('/');
        let prefix = if folder.is_empty() { String::new() } else { format!("{folder}/") };
        Locks { store, deleter, prefix, root }
    }

    /// The key in the tier, if it is one of a lock.
    fn key(&self, verb: &'static str, key: &str) -> Result<String, StoreError> {
        match key.strip_prefix(FOLDER) {
            Some(name) if !name.is_empty() && !name.contains('/') && !name.starts_with('.') => {
                Ok(format!("{}{key}", self.prefix))
            }
            _ => Err(StoreError {
                kind: StoreErrorKind::Denied,
                verb,
                key: key.to_owned(),
                place: self.store.describe(),
                source: Some(Box::new(io::Error::other("only locks come and go here"))),
            }),
        }
    }
}

impl LockStore for Locks {
    fn create_lock(&self, key: &str, body: Bytes) -> Result<(), StoreError> {
        self.store.create(&self.key("create", key)?, &[body])
    }

    fn remove_lock(&self, key: &str) -> Result<(), StoreError> {
        self.deleter.delete(&self.key("delete", key)?)
    }

    /// A file system of this machine does; one of another machine may answer from what it keeps, and
    /// not every object store promises it.
    fn lists_at_once(&self) -> bool {
        let Some(root) = &self.root else { return false };
        // The folder itself: it may be a mount of its own.
        let folder = root.join(&self.prefix).join(FOLDER);
        rustix::fs::statfs(folder).is_ok_and(|at| is_of_this_machine(at.f_type as u64))
    }
}

/// File systems that no other machine has a hand in, by their magic numbers (statfs(2)): ext2 to
/// ext4, XFS, Btrfs, tmpfs, F2FS, ZFS, bcachefs. One that is not known is taken for a foreign one.
const OWN: [u64; 7] =
    [0xEF53, 0x5846_5342, 0x9123_683E, 0x0102_1994, 0xF2F5_2010, 0x2FC1_2FC1, 0xCA45_1A4E];

fn is_of_this_machine(kind: u64) -> bool {
    // Where the field is signed and narrow, the upper half is its sign.
    OWN.contains(&(kind & 0xFFFF_FFFF))
}

#[cfg(test)]
mod tests {
    use super::is_of_this_machine;

    #[test]
    fn only_known_file_systems_of_this_machine_list_at_once() {
        for own in [0xEF53, 0x5846_5342, 0xFFFF_FFFF_9123_683E, 0x0102_1994] {
            assert!(is_of_this_machine(own), "{own:x}");
        }
        // NFS, SMB2, FUSE, Ceph, overlay (its upper layer may be anything), none.
        for other in [0x6969, 0xFE53_4D42, 0x6573_5546, 0x00C3_6400, 0x794C_7630, 0] {
            assert!(!is_of_this_machine(other), "{other:x}");
        }
    }
}
