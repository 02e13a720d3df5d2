//! What several tests need: vaults in memory and the stock `restic`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use lifeboat_testkit::{MemoryStore, environment};
use lifeboat_vault::crypto::Key;
use lifeboat_vault::{
    BackupOptions, BackupSummary, BlobKind, Environment, Id, KeepAll, KeyStrength, LockStore,
    MasterSeed, Monitor, NodeKind, PackedBlob, Password, Problem, Result, Root, Snapshot,
    SnapshotMeta, Stage, Store, StoreError, Tree, Vault, WalkSpec, pack,
};

pub const PASSWORD: &str = "correct horse battery staple";

pub fn password() -> Password {
    Password::new(PASSWORD)
}

/// Keeps the lines that a vault says.
#[derive(Default)]
pub struct Notes(Mutex<Vec<String>>);

impl Notes {
    pub fn all(&self) -> String {
        self.0.lock().unwrap().join("\n")
    }
}

impl Monitor for Notes {
    fn total(&self, _: Stage, _: u64, _: u64) {}
    fn advance(&self, _: Stage, _: u64, _: u64) {}
    fn note(&self, line: &str) {
        self.0.lock().unwrap().push(line.to_owned());
    }
}

pub fn noting(store: &MemoryStore) -> (Environment, Arc<Notes>) {
    let notes = Arc::new(Notes::default());
    let mut environment = environment(store.clock().clone());
    environment.monitor = notes.clone();
    (environment, notes)
}

pub fn init(store: &Arc<MemoryStore>) -> Vault {
    let environment = environment(store.clock().clone());
    let strength = KeyStrength::Generated;
    Vault::init(store.clone(), store.clone(), &password(), strength, environment, None).unwrap()
}

pub fn open(store: &Arc<MemoryStore>) -> Result<Vault> {
    let environment = environment(store.clock().clone());
    open_on(store.clone(), store.clone(), environment)
}

/// Locks of a store that says that it lists at once, which one in memory does.
struct AtOnce(Arc<MemoryStore>);

impl LockStore for AtOnce {
    fn create_lock(&self, key: &str, body: Bytes) -> std::result::Result<(), StoreError> {
        self.0.create_lock(key, body)
    }
    fn remove_lock(&self, key: &str) -> std::result::Result<(), StoreError> {
        self.0.remove_lock(key)
    }
    fn lists_at_once(&self) -> bool {
        true
    }
}

/// The same, where no lock waits for anything: no time passes by itself.
pub fn open_at_once(store: &Arc<MemoryStore>) -> Result<Vault> {
    let locks = Arc::new(AtOnce(store.clone()));
    open_on(store.clone(), locks, environment(store.clock().clone()))
}

pub fn open_on(
    store: Arc<dyn Store>,
    locks: Arc<dyn LockStore>,
    environment: Environment,
) -> Result<Vault> {
    Vault::open(store, Some(locks), &password(), environment)
}

/// The stock restic on a repository in a folder.
pub fn restic(repository: &Path, arguments: &[&str]) -> Output {
    restic_with(repository, PASSWORD, arguments)
}

pub fn restic_with(repository: &Path, password: &str, arguments: &[&str]) -> Output {
    let output = Command::new("restic")
        .env_clear()
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .env("HOME", "/nonexistent")
        .env("TZ", "UTC")
        .env("RESTIC_PASSWORD", password)
        .arg("--no-cache")
        .arg("-r")
        .arg(repository)
        .args(arguments)
        .output();
    match output {
        Ok(output) => output,
        Err(error) => {
            panic!("cannot run restic ({error}): install it with `apt-get install restic`")
        }
    }
}

#[track_caller]
pub fn restic_ok(repository: &Path, arguments: &[&str]) -> String {
    let output = restic(repository, arguments);
    let text = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(output.status.success(), "restic {arguments:?}: {text}");
    text
}

/// `restic check --read-data` finds nothing to say.
#[track_caller]
pub fn restic_check(store: &MemoryStore) {
    restic_check_with(store, PASSWORD);
}

#[track_caller]
pub fn restic_check_with(store: &MemoryStore, password: &str) {
    let folder = tempfile::tempdir().unwrap();
    store.save_to(folder.path()).unwrap();
    let output = restic_with(folder.path(), password, &["check", "--read-data", "--no-lock"]);
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    assert!(output.status.success() && text.contains("no errors were found"), "{text}");
}

/// Every file of a snapshot by its path, read blob by blob; or why it cannot be read. A folder
/// that cannot be read stands for all that is in it.
pub fn contents(vault: &Vault, snapshot: &Snapshot) -> Contents {
    fn walk(vault: &Vault, tree: &Id, path: &Path, found: &mut Contents) {
        let tree = match vault.tree(tree) {
            Ok(tree) => tree,
            Err(error) => {
                found.insert(path.to_owned(), Err(error.to_string()));
                return;
            }
        };
        for node in tree.nodes {
            let path = path.join(&node.name);
            match node.kind {
                NodeKind::Dir => walk(vault, &node.subtree.unwrap(), &path, found),
                NodeKind::Symlink => {
                    found.insert(path, Ok(node.link_target().to_vec()));
                }
                _ => {
                    let mut content = Ok(Vec::new());
                    for id in node.content.iter().flatten() {
                        match (vault.load_blob(BlobKind::Data, id), &mut content) {
                            (Ok(blob), Ok(content)) => content.extend_from_slice(&blob),
                            (Err(error), _) => content = Err(error.to_string()),
                            (Ok(_), Err(_)) => {}
                        }
                    }
                    found.insert(path, content);
                }
            }
        }
    }
    let mut found = BTreeMap::new();
    walk(vault, &snapshot.tree, Path::new("/"), &mut found);
    found
}

pub type Contents = BTreeMap<PathBuf, std::result::Result<Vec<u8>, String>>;

/// Bytes that do not compress and are the same each time.
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// A repository that Lifeboat made and the stock restic filled: one `restic backup` of each source.
pub fn filled_by_restic(sources: &[&Path]) -> MemoryStore {
    let store = Arc::new(MemoryStore::default());
    drop(init(&store));
    let folder = tempfile::tempdir().unwrap();
    store.save_to(folder.path()).unwrap();
    for source in sources {
        restic_backup(folder.path(), source);
    }
    MemoryStore::load_from(folder.path()).unwrap()
}

/// `restic backup` of all that is in a folder, which becomes the root of the tree.
pub fn restic_backup(repository: &Path, source: &Path) {
    let output = Command::new("restic")
        .env_clear()
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .env("HOME", "/nonexistent")
        .env("RESTIC_PASSWORD", PASSWORD)
        .current_dir(source)
        .args(["--no-cache", "-r"])
        .arg(repository)
        .args(["backup", "--host", "elsewhere", "--tag", "component=media", "."])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// The master key of a seed, to make and open objects by hand.
pub fn key_of(seed: &MasterSeed) -> Key {
    Key::from_bytes(seed.to_bytes()[..64].try_into().unwrap())
}

/// Keys of the packs that hold blobs of a kind.
pub fn packs_of(store: &MemoryStore, key: &Key, kind: BlobKind) -> Vec<String> {
    let holds = |name: &String| {
        let body = store.get(name).unwrap();
        let blobs = pack::open_header(key, &body, body.len() as u64).unwrap().unwrap();
        blobs[0].kind == kind
    };
    store.keys("data").into_iter().filter(holds).collect()
}

/// One capture of a folder under its own path, and its problems.
pub fn backup(vault: &Vault, source: &Path, parent: Option<Id>) -> (BackupSummary, Vec<Problem>) {
    backup_with(vault, source, BackupOptions { parent, ..BackupOptions::default() })
}

pub fn backup_with(
    vault: &Vault,
    source: &Path,
    options: BackupOptions,
) -> (BackupSummary, Vec<Problem>) {
    let mut session = vault.backup(options).unwrap();
    session.add_paths(&walk(source)).unwrap();
    let problems = session.problems().to_vec();
    (session.finish(meta(source)).unwrap(), problems)
}

pub fn walk(source: &Path) -> WalkSpec {
    let tree = source.strip_prefix("/").unwrap().to_owned();
    let roots = vec![Root { source: source.to_owned(), tree }];
    WalkSpec { roots, filter: Arc::new(KeepAll), one_file_system: false }
}

pub fn meta(source: &Path) -> SnapshotMeta {
    let time = "2026-01-02T03:04:05.678901234Z".parse().unwrap();
    SnapshotMeta { time, tags: vec!["component=test".into()], paths: vec![source.to_owned()] }
}

pub fn snapshot_of(vault: &Vault, summary: &BackupSummary) -> Snapshot {
    vault.snapshot(&summary.snapshot).unwrap()
}

/// Stores a tree as it is, in a pack that no index names.
pub fn plant_tree(store: &MemoryStore, vault: &Vault, tree: &Tree) -> Id {
    let json = tree.to_json().unwrap();
    let key: [u8; 64] = vault.seed().unwrap().to_bytes()[..64].try_into().unwrap();
    let key = Key::from_bytes(&key);
    let mut pack = key.seal(&json).unwrap();
    let id = Id::of(&json);
    let (length, kind) = (pack.len() as u32, BlobKind::Tree);
    let blob = PackedBlob { kind, id, offset: 0, length, uncompressed_length: 0 };
    pack.extend(pack::seal_header(&key, &[blob]).unwrap());
    store.plant(&pack::pack_key(&Id::of(&pack)), pack);
    id
}

/// The environment of a process that is dead when somebody looks for it: its locks are left behind.
pub fn mortal(store: &MemoryStore) -> Environment {
    // Beyond the largest number that Linux gives to a process.
    Environment { pid: (1 << 22) + 1, ..environment(store.clock().clone()) }
}
