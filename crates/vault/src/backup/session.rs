//! The session: what callers add, and the order in which it becomes a snapshot.

use std::ffi::OsStr;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::engine::{Engine, add};
use super::folder::{Done, Folder};
use super::known::Known;
use super::listing::Listing;
use super::options::own_ids;
use super::register::save_index;
use super::sealer::Sealer;
use super::skeleton::{self, Level};
use super::stream::{self, StreamError};
use super::walk::Walk;
use super::{
    BackupOptions, BackupSummary, FileMeta, Problem, Root, SnapshotMeta, StreamedFile, WalkSpec,
    WalkSummary,
};
use crate::chunk::Chunking;
use crate::compress;
use crate::error::{Error, Result};
use crate::fingerprint::LEFT_OUT;
use crate::id::Id;
use crate::lock::LockGuard;
use crate::meta;
use crate::node::{Node, NodeKind, Tree};
use crate::pack::{BlobKind, pack_key};
use crate::snapshot::Snapshot;
use crate::sync::lock;
use crate::vault::{Folder as VaultFolder, Vault};

/// Compressed blobs came with this repository format.
pub(crate) const WRITTEN_VERSION: u32 = 2;
/// What the snapshot object names as the program that wrote it.
const PROGRAM: &str = concat!("lifeboat ", env!("CARGO_PKG_VERSION"));

/// One backup on its way to one snapshot. Holds a shared lock on the vault for its life. Dropped
/// without [`BackupSession::finish`] it leaves nothing visible, only packs that nothing refers to.
pub struct BackupSession {
    // Before the lock, so that the uploaders have stopped when it is given back.
    engine: Engine,
    lock: Arc<LockGuard>,
    root: Level,
    parent: Option<(Id, Snapshot)>,
    problems: Vec<Problem>,
    /// For short streams.
    sealer: Option<Sealer>,
}

impl std::fmt::Debug for BackupSession {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("BackupSession").finish_non_exhaustive()
    }
}

impl Vault {
    /// Begins a backup under a shared lock.
    pub fn backup(&self, options: BackupOptions) -> Result<BackupSession> {
        BackupSession::start(self, options)
    }
}

impl BackupSession {
    fn start(vault: &Vault, options: BackupOptions) -> Result<Self> {
        // The lock counts from here on: all that is relied on is read after it.
        let lock = Arc::new(vault.lock_for_writing()?);
        may_be_written(vault)?;
        let parent = match &options.parent {
            Some(id) => Some((*id, vault.snapshot(id)?)),
            None => None,
        };
        raise_open_files();
        let known = parent.as_ref().map(|(_, parent)| parent);
        let engine = Engine::start(vault, Arc::clone(&lock), options, known)?;
        Ok(Self {
            engine,
            lock,
            root: Level::default(),
            parent,
            problems: Vec::new(),
            sealer: None,
        })
    }

    /// Captures files and folders.
    pub fn add_paths(&mut self, spec: &WalkSpec) -> Result<WalkSummary> {
        let before = self.walk_counts();
        let mut roots = Vec::new();
        for root in &spec.roots {
            let names = skeleton::names(&root.tree)?;
            let known = self.known_folder(names.split_last().map_or(&[], |(_, above)| above))?;
            let listing = Listing::single(root.source.as_os_str())
                .map_err(|error| Error::io("read", &root.source, error.into()))?;
            let name = names.last().map(|name| (*name).to_owned());
            roots.push(Folder::around_root(listing, name, known));
        }
        let walk = Walk::new(&self.engine, &*spec.filter, spec.one_file_system);
        walk.run(&roots)?;
        drop(walk);
        // Outer roots first: what stands inside is merged into them.
        let mut done: Vec<_> = spec.roots.iter().zip(&roots).collect();
        done.sort_by_key(|(root, _)| root.tree.components().count());
        for (root, folder) in done {
            if let Some(done) = folder.take_root() {
                self.insert(&root.tree, done, Some(root))?;
            }
        }
        self.collect_problems();
        let after = self.walk_counts();
        Ok(WalkSummary {
            files: after.files - before.files,
            folders: after.folders - before.folders,
            others: after.others - before.others,
            bytes: after.bytes - before.bytes,
            allocated: after.allocated - before.allocated,
        })
    }

    /// Adds a small generated file.
    pub fn add_bytes(&mut self, tree_path: &Path, bytes: &[u8], meta: FileMeta) -> Result<()> {
        self.add_stream(tree_path, meta, Chunking::Content, &mut &*bytes)?;
        Ok(())
    }

    /// Adds a folder without entries; or says what one is like that has some already.
    pub fn add_folder(&mut self, tree_path: &Path, meta: FileMeta) -> Result<()> {
        let names = skeleton::names(tree_path)?;
        let engine = &self.engine;
        let mut plain = |at: usize| plain_folder(engine, names[at]);
        let load = |id: &Id| load_tree(engine, id);
        let Some(name) = names.last() else { return Ok(()) };
        let mut node = meta.into_node(NodeKind::Dir);
        node.name = (*name).to_owned();
        self.root.folder(&names, node, &mut plain, &load)?;
        add(&engine.counts.folders, 1);
        Ok(())
    }

    /// Adds a symbolic link.
    pub fn add_link(&mut self, tree_path: &Path, target: &Path, meta: FileMeta) -> Result<()> {
        let mut node = meta.into_node(NodeKind::Symlink);
        node.set_link_target(target.as_os_str().as_encoded_bytes());
        add(&self.engine.counts.others, 1);
        self.insert(tree_path, Done { node, print: None }, None)
    }

    /// Adds a problem that the caller met: the backup is then not whole.
    pub fn add_problem(&mut self, problem: Problem) {
        self.problems.push(problem);
    }

    /// Adds a file from a stream that is read to its end. A failing reader is [`Error::Io`] with
    /// `tree_path`, and nothing is added.
    pub fn add_stream(
        &mut self,
        tree_path: &Path,
        meta: FileMeta,
        chunking: Chunking,
        reader: &mut dyn Read,
    ) -> Result<StreamedFile> {
        let (ids, size) = match stream::store(&self.engine, &mut self.sealer, chunking, reader) {
            Ok(stored) => stored,
            Err(StreamError::Read(error)) => return Err(Error::io("read", tree_path, error)),
            Err(StreamError::Vault(error)) => return Err(error),
        };
        let blobs = ids.len();
        let mut node = meta.into_node(NodeKind::File);
        node.size = size;
        node.content = Some(ids);
        add(&self.engine.counts.files_new, 1);
        add(&self.engine.counts.bytes_processed, size);
        add(&self.engine.counts.bytes_allocated, size);
        self.engine.progress(0, 1);
        self.insert(tree_path, Done { node, print: None }, None)?;
        Ok(StreamedFile { size, blobs })
    }

    /// Adds a file with the content that it has in the parent snapshot, at the same place: for
    /// callers who know that it is the same. False, and nothing is added, if there is no parent, no
    /// such file in it, or the vault does not list all of its blobs any more.
    pub fn add_unchanged(&mut self, tree_path: &Path, meta: FileMeta) -> Result<bool> {
        let names = skeleton::names(tree_path)?;
        let Some((name, above)) = names.split_last() else { return Ok(false) };
        let Some(folder) = self.known_folder(above)? else { return Ok(false) };
        let Some((size, ids)) = folder.find(name).and_then(|node| node.content()) else {
            return Ok(false);
        };
        if !ids.iter().all(|id| self.engine.index.contains(BlobKind::Data, id)) {
            return Ok(false);
        }
        let mut node = meta.into_node(NodeKind::File);
        node.size = size;
        node.content = Some(ids.to_vec());
        add(&self.engine.counts.files_unmodified, 1);
        add(&self.engine.counts.bytes_processed, size);
        self.engine.progress(size, 1);
        self.insert(tree_path, Done { node, print: None }, None)?;
        Ok(true)
    }

    /// A small file of the parent snapshot; `None` if there is no parent or no such file in it.
    pub fn parent_file(&self, tree_path: &str) -> Result<Option<Vec<u8>>> {
        let Some((_, parent)) = &self.parent else { return Ok(None) };
        match self.engine.vault.read_file(parent, tree_path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// What could not be read, vanished or changed while it was read, so far.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// Fingerprint of all that was added so far, without `manifest.json` at the root: see
    /// [`crate::fingerprint`].
    pub fn fingerprint(&self) -> Id {
        self.root.fingerprint(Some(OsStr::new(LEFT_OUT)))
    }

    /// Writes the upper trees, waits until every pack is stored, then writes the last index objects
    /// and, when all is named, the snapshot.
    pub fn finish(mut self, meta: SnapshotMeta) -> Result<BackupSummary> {
        let mut sealer = Sealer::new(self.engine.options.compression)?;
        let stored = std::mem::take(&mut self.root).store(&self.engine, &mut sealer);
        // A failed upload stops this thread too: the failure is the reason, not the stopping.
        let tree = stored.or_else(|error| self.engine.halt.outcome().and(Err(error)))?;
        self.engine.flush()?;
        self.lock.verify()?;
        self.engine.halt.check()?;
        let Engine { vault, index, adopted, register, .. } = &self.engine;
        save_index(vault, index, adopted)?;
        register.finish()?;
        self.lock.confirm()?;
        self.engine.halt.check()?;
        let snapshot =
            self.engine.vault.save_document(VaultFolder::Snapshots, &self.snapshot(tree, meta))?;
        Ok(self.summary(snapshot, tree))
    }

    fn snapshot(&self, tree: Id, meta: SnapshotMeta) -> Snapshot {
        let environment = self.engine.vault.environment();
        let (uid, gid) = own_ids();
        Snapshot {
            time: meta.time,
            parent: self.parent.as_ref().map(|(id, _)| *id),
            tree,
            paths: meta.paths.iter().map(|path| path.to_string_lossy().into_owned()).collect(),
            hostname: environment.host.clone(),
            username: environment.user.clone(),
            uid,
            gid,
            excludes: Vec::new(),
            tags: meta.tags,
            original: None,
            program_version: PROGRAM.to_owned(),
        }
    }

    fn summary(&self, snapshot: Id, tree: Id) -> BackupSummary {
        let counts = &self.engine.counts;
        let get = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let (packs, bytes_stored) = self.engine.uploads.stored();
        BackupSummary {
            snapshot,
            tree,
            files_new: get(&counts.files_new),
            files_changed: get(&counts.files_changed),
            files_unmodified: get(&counts.files_unmodified),
            folders: get(&counts.folders),
            others: get(&counts.others),
            bytes_processed: get(&counts.bytes_processed),
            bytes_read: get(&counts.bytes_read),
            bytes_added: get(&counts.bytes_added),
            blobs_added: get(&counts.blobs_added),
            bytes_stored,
            packs,
            problems: self.problems.len() as u64,
        }
    }

    fn walk_counts(&self) -> WalkSummary {
        let counts = &self.engine.counts;
        let get = |count: &AtomicU64| count.load(Ordering::Relaxed);
        WalkSummary {
            files: get(&counts.files_new)
                + get(&counts.files_changed)
                + get(&counts.files_unmodified),
            folders: get(&counts.folders),
            others: get(&counts.others),
            bytes: get(&counts.bytes_processed),
            allocated: get(&counts.bytes_allocated),
        }
    }

    /// In path order, whatever thread met them first.
    fn collect_problems(&mut self) {
        let mut new = std::mem::take(&mut *lock(&self.engine.problems));
        new.sort_by(|left, right| (&left.path, &left.what).cmp(&(&right.path, &right.what)));
        self.problems.append(&mut new);
    }

    /// Adds an entry to the upper tree. Folders above a root look like the source's own.
    fn insert(&mut self, tree_path: &Path, done: Done, root: Option<&Root>) -> Result<()> {
        let names = skeleton::names(tree_path)?;
        let engine = &self.engine;
        let depth = names.len();
        let mut folder = |at: usize| {
            let name = names[at];
            let source = root.and_then(|root| root.source.ancestors().nth(depth - 1 - at));
            let source = source.filter(|source| source.file_name() == Some(name));
            source
                .and_then(|source| folder_node(engine, source, name))
                .unwrap_or_else(|| plain_folder(engine, name))
        };
        let load = |id: &Id| load_tree(engine, id);
        self.root.insert(&names, done, &mut folder, &load)
    }

    /// What the parent snapshot knew of a folder of its tree.
    fn known_folder(&self, names: &[&OsStr]) -> Result<Option<Arc<Known>>> {
        let Some((_, parent)) = &self.parent else { return Ok(None) };
        let mut known = Known::load(&self.engine, &parent.tree);
        for name in names {
            let Some(folder) = known else { return Ok(None) };
            let subtree = folder.find(name).and_then(|node| node.subtree());
            known = subtree.and_then(|tree| Known::load(&self.engine, tree));
        }
        Ok(known)
    }
}

/// A tree of the vault or of this session; the latter's packs are stored first.
fn load_tree(engine: &Engine, id: &Id) -> Result<Tree> {
    if engine.index.contains(BlobKind::Tree, id) {
        return engine.vault.tree(id);
    }
    engine.flush()?;
    let Some((pack, blob)) = engine.register.find(BlobKind::Tree, id) else {
        // An index object may have come to name it meanwhile.
        return engine.vault.tree(id);
    };
    let (offset, length) = (u64::from(blob.offset), u64::from(blob.length));
    let sealed = engine.vault.store().get_range(&pack_key(&pack), offset, length)?;
    let damaged = |why: String| Error::damaged(format!("tree {}", id.short()), why);
    let plain = engine.vault.key().open(&sealed).map_err(|error| damaged(error.to_string()))?;
    let json = compress::decompress_exact(&plain, blob.content_length() as usize)
        .map_err(|error| damaged(error.to_string()))?;
    if Id::of(&json) != *id {
        return Err(damaged("its content has another SHA-256".to_owned()));
    }
    Tree::from_json(&json).map_err(|error| damaged(error.to_string()))
}

/// Refuses a format that is read only.
pub(crate) fn may_be_written(vault: &Vault) -> Result<()> {
    if vault.config()?.version < WRITTEN_VERSION {
        return Err(Error::Invalid(
            "the vault has repository format 1, which is read but not written; `restic migrate \
             upgrade_repo_v2` upgrades it"
                .to_owned(),
        ));
    }
    Ok(())
}

fn folder_node(engine: &Engine, source: &Path, name: &OsStr) -> Option<Node> {
    let stat = rustix::fs::stat(source).ok()?;
    if meta::kind_of(&stat) != Some(NodeKind::Dir) {
        return None;
    }
    let with_atime = engine.options.with_atime;
    let mut node = meta::node_from_stat(name, NodeKind::Dir, &stat, &engine.names, with_atime);
    // A folder above a root is there for its place only; attributes that cannot be read are no loss.
    node.extended_attributes = meta::read_xattrs(meta::Handle::Path(source)).unwrap_or_default();
    Some(node)
}

/// A folder that stands for no source.
fn plain_folder(engine: &Engine, name: &OsStr) -> Node {
    let mut meta = FileMeta::private(engine.vault.environment().clock.wall());
    meta.mode = 0o755;
    let mut node = meta.into_node(NodeKind::Dir);
    node.name = name.to_owned();
    node
}

/// Deep trees keep a folder open a level; most systems allow far more than the first limit.
fn raise_open_files() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // What is refused is missed only by trees that are deeper than the limit, and said there.
    let _ = setrlimit(Resource::Nofile, limit);
}
