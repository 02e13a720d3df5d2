//! A local folder as the place of a tier: looked at without a trace, then opened or made.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lifeboat_recovery::ports::{KeyRights, Opened, Place, Presence};
use lifeboat_vault::{Clock, DeleteStore, Store, StoreError, StoreErrorKind};

use super::{JournalDeleter, KeyDeleter, LocalTier, Prefixed, error};

/// The folder of the vault in a tier.
const VAULT: &str = "vault";
/// How many names of other things are told.
const NAMES: usize = 3;

/// The place of a local tier.
pub struct LocalPlace {
    path: PathBuf,
    clock: Arc<dyn Clock>,
}

impl LocalPlace {
    /// The tier in the folder `path`. The clock tells how old the leftovers of killed uploads are.
    pub fn new(path: PathBuf, clock: Arc<dyn Clock>) -> LocalPlace {
        LocalPlace { path, clock }
    }

    fn failed(&self, source: io::Error) -> StoreError {
        error::from_io("open", "", &self.path.display().to_string(), source)
    }
}

impl Place for LocalPlace {
    fn look(&self) -> Result<Presence, StoreError> {
        match std::fs::metadata(&self.path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Presence::Absent),
            Err(e) => return Err(self.failed(e)),
            Ok(meta) if !meta.is_dir() => {
                let cause = io::Error::other("it is a file, not a folder");
                let (kind, place) = (StoreErrorKind::Unreachable, self.path.display().to_string());
                return Err(error::new(kind, "open", "", &place, cause));
            }
            Ok(_) => {}
        }
        if has_vault(&self.path).map_err(|e| self.failed(e))? {
            return Ok(Presence::Vault);
        }
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&self.path).map_err(|e| self.failed(e))? {
            let name = entry.map_err(|e| self.failed(e))?.file_name();
            // A new ext4 disk is empty.
            if name != "lost+found" {
                names.push(name.to_string_lossy().into_owned());
            }
        }
        // Whether there is a `vault` decides, whatever else there is.
        names.sort_unstable_by_key(|name| (name != VAULT, name.clone()));
        names.truncate(NAMES);
        Ok(if names.is_empty() { Presence::Empty } else { Presence::Other(names) })
    }

    /// Opening in order to write (`make`) also sweeps what killed uploads left long ago.
    fn open(&self, make: bool) -> Result<Opened, StoreError> {
        let tier = Arc::new(match make {
            true => LocalTier::create(&self.path)?,
            false => LocalTier::open(&self.path)?,
        });
        if make {
            tier.sweep(self.clock.wall())?;
        }
        let vault = Arc::new(Prefixed::new(tier.clone(), VAULT));
        Ok(Opened { locks: Arc::new(tier.locks(VAULT)), vault, store: tier })
    }

    fn deleter(&self) -> Result<Arc<dyn DeleteStore>, StoreError> {
        let tier = Arc::new(LocalTier::open(&self.path)?);
        Ok(Arc::new(Prefixed::new(Arc::new(tier.deleter()), VAULT)))
    }

    fn journal_deleter(&self) -> Result<Arc<dyn DeleteStore>, StoreError> {
        let tier = Arc::new(LocalTier::open(&self.path)?);
        Ok(Arc::new(JournalDeleter::new(tier.describe(), Arc::new(tier.deleter()))))
    }

    fn key_rights(&self) -> Result<KeyRights, StoreError> {
        let tier = Arc::new(LocalTier::open(&self.path)?);
        let (place, deleter) = (tier.describe(), Arc::new(tier.deleter()));
        let keys = Arc::new(KeyDeleter::keys(place.clone(), deleter.clone(), VAULT));
        Ok(KeyRights {
            keys: Arc::new(Prefixed::new(keys, VAULT)),
            identities: Arc::new(KeyDeleter::identities(place, deleter)),
        })
    }

    fn folder(&self) -> Option<PathBuf> {
        Some(self.path.clone())
    }

    /// A mounted share is as far away as the machine that it lies on. A place that does not answer
    /// says so when it is opened.
    fn is_farther_than(&self, folder: &Path) -> bool {
        is_remote(&self.path) && !folder.ancestors().find(|at| at.exists()).is_some_and(is_remote)
    }
}

fn is_remote(path: &Path) -> bool {
    rustix::fs::statfs(path).is_ok_and(|at| is_of_a_network(at.f_type as u64))
}

/// File systems that ask another machine, by their magic numbers (statfs(2)): NFS, SMB, CIFS, SMB2,
/// FUSE (sshfs, s3fs, rclone), Ceph, 9p, AFS, Coda, Lustre, GlusterFS through FUSE.
const NETWORK: [u64; 10] = [
    0x6969,
    0x517b,
    0xff53_4d42,
    0xfe53_4d42,
    0x6573_5546,
    0x00c3_6400,
    0x0102_1997,
    0x5346_414f,
    0x7375_7245,
    0x0bd0_0bd0,
];

fn is_of_a_network(kind: u64) -> bool {
    // Where the field is signed and narrow, the upper half is its sign.
    NETWORK.contains(&(kind & 0xffff_ffff))
}

/// A vault has a config; one whose making was interrupted has at least a key.
fn has_vault(path: &Path) -> io::Result<bool> {
    let vault = path.join(VAULT);
    if vault.join("config").try_exists()? {
        return Ok(true);
    }
    match std::fs::read_dir(vault.join("keys")) {
        Ok(mut keys) => Ok(keys.next().transpose()?.is_some()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(e),
    }
}

/// True if this process may create objects in the folder: what `doctor` asks.
pub fn is_writable(path: &Path) -> bool {
    use rustix::fs::{Access, AtFlags, CWD, accessat};
    // The effective user decides what a write may do, not the real one.
    accessat(CWD, path, Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS).is_ok()
}

impl std::fmt::Debug for LocalPlace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LocalPlace").field("path", &self.path).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_far_away_and_disks_are_not() {
        for kind in [0x6969, 0xff53_4d42, 0xffff_ffff_ff53_4d42, 0xfe53_4d42, 0x6573_5546] {
            assert!(is_of_a_network(kind), "{kind:x}");
        }
        // ext4, XFS, Btrfs, tmpfs, ZFS, overlay.
        for kind in [0xef53, 0x5846_5342, 0x9123_683e, 0x0102_1994, 0x2fc1_2fc1, 0x794c_7630] {
            assert!(!is_of_a_network(kind), "{kind:x}");
        }
    }
}
