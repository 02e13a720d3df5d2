//! Pruning in two phases: what is needed stays, what is not goes after the grace, and nothing at all
//! where something is not known (EDO-12, AUD-15, X-15).

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use lifeboat_testkit::{CrashStore, Fault, FaultyStore, MemoryStore, SimClock, Verb, environment};
use lifeboat_vault::index::IndexFile;
use lifeboat_vault::prune::GRACE;
use lifeboat_vault::{
    BackupOptions, CheckOptions, Clock, Error, Gap, Id, KeepAll, MasterSeed, MaxUnused,
    PruneOptions, PruneReport, RestoreOptions, Result, Root, SnapshotMeta, Store, StoreErrorKind,
    Vault, WalkSpec,
};

use crate::support::{mortal, noise, restic_check, restic_ok};

/// A vault with a history.
struct Scene {
    store: Arc<MemoryStore>,
    seed: MasterSeed,
    source: tempfile::TempDir,
    files: BTreeMap<PathBuf, Vec<u8>>,
    truth: BTreeMap<Id, BTreeMap<PathBuf, Vec<u8>>>,
    /// Oldest first.
    taken: Vec<Id>,
    number: u64,
}

impl Scene {
    fn new(number: u64) -> Scene {
        let store = Arc::new(MemoryStore::default());
        let seed = crate::support::init(&store).seed().unwrap();
        let source = tempfile::tempdir().unwrap();
        let (files, truth, taken) = <_>::default();
        Scene { store, seed, source, files, truth, taken, number: number << 32 }
    }

    /// `count` snapshots, each with some files changed since the one before.
    fn with_snapshots(number: u64, count: u64) -> Scene {
        let mut scene = Scene::new(number);
        for _ in 0..count {
            scene.change(12);
            scene.backup();
        }
        scene
    }

    fn change(&mut self, count: u64) {
        for _ in 0..count {
            self.number += 1;
            let pick = noise(self.number, 3);
            let path = PathBuf::from(format!("d{}/f{}", pick[0] % 3, pick[1] % 24));
            let content = noise(self.number << 8, 2000 + usize::from(pick[2]) * 200);
            let whole = self.source.path().join(&path);
            std::fs::create_dir_all(whole.parent().unwrap()).unwrap();
            std::fs::write(whole, &content).unwrap();
            self.files.insert(path, content);
        }
    }

    fn vault(&self) -> Vault {
        vault_on(&self.store, &self.seed)
    }

    fn backup(&mut self) -> Id {
        self.store.clock().advance(Duration::from_secs(3600));
        let time = self.store.clock().wall();
        let id = backup(&self.vault(), self.source.path(), time).unwrap();
        self.truth.insert(id, self.files.clone());
        self.taken.push(id);
        id
    }

    fn forget(&mut self, ids: &[Id]) {
        let vault = self.vault();
        vault.maintain(self.store.clone()).unwrap().forget(ids, &self.taken).unwrap();
        self.taken.retain(|id| !ids.contains(id));
        self.truth.retain(|id, _| !ids.contains(id));
    }

    fn prune(&self, options: &PruneOptions) -> Result<PruneReport> {
        self.vault().maintain(self.store.clone())?.prune(options)
    }

    fn pass(&self, span: Duration) {
        self.store.clock().advance(span);
    }

    fn packs(&self) -> BTreeSet<String> {
        self.store.keys("data").into_iter().collect()
    }

    #[track_caller]
    fn whole(&self) {
        whole(&self.store, &self.seed, &self.truth);
    }
}

fn vault_on(store: &Arc<MemoryStore>, seed: &MasterSeed) -> Vault {
    let env = environment(store.clock().clone());
    Vault::open_with_seed(store.clone(), Some(store.clone()), seed, env).unwrap()
}

/// Small packs, so that there are many.
fn backup(vault: &Vault, source: &Path, time: jiff::Timestamp) -> Result<Id> {
    let parent = vault.snapshots()?.pop().map(|(id, _)| id);
    let options =
        BackupOptions { parent, pack_bytes: 64 << 10, readers: 2, ..BackupOptions::default() };
    let mut session = vault.backup(options)?;
    session.add_paths(&WalkSpec {
        roots: vec![Root { source: source.to_owned(), tree: "media".into() }],
        filter: Arc::new(KeepAll),
        one_file_system: false,
    })?;
    Ok(session.finish(SnapshotMeta { time, tags: vec![], paths: vec![source.into()] })?.snapshot)
}

fn restored(vault: &Vault, id: &Id) -> BTreeMap<PathBuf, Vec<u8>> {
    let folder = tempfile::tempdir().unwrap();
    let snapshot = vault.snapshot(id).unwrap();
    let target = folder.path().join("target");
    let report = vault.restore(&snapshot, &RestoreOptions::default(), &target).unwrap();
    assert!(report.is_complete() && report.problems.is_empty(), "{report:?}");
    let mut files = BTreeMap::new();
    for group in std::fs::read_dir(target.join("media")).unwrap() {
        for file in std::fs::read_dir(group.unwrap().path()).unwrap() {
            let path = file.unwrap().path();
            let name = path.strip_prefix(target.join("media")).unwrap().to_owned();
            files.insert(name, std::fs::read(&path).unwrap());
        }
    }
    files
}

/// Every snapshot that must be there is, restores, and neither we nor restic find anything to say.
#[track_caller]
fn whole(
    store: &Arc<MemoryStore>,
    seed: &MasterSeed,
    truth: &BTreeMap<Id, BTreeMap<PathBuf, Vec<u8>>>,
) {
    let vault = vault_on(store, seed);
    for (id, files) in truth {
        assert_eq!(&restored(&vault, id), files, "snapshot {}", id.short());
    }
    let report = vault.check(&CheckOptions::default()).unwrap();
    assert!(report.passed(), "{report:#?}");
    restic_check(store);
}

fn tight() -> PruneOptions {
    PruneOptions { max_unused: MaxUnused::Bytes(0), pack_bytes: 64 << 10, ..<_>::default() }
}

/// AUD-15: marked by one run, deleted by a later one after the grace, and not a moment before.
#[test]
fn what_nothing_needs_is_marked_and_goes_after_the_grace() {
    let mut scene = Scene::with_snapshots(1, 5);
    let gone: Vec<Id> = scene.taken[..3].to_vec();
    scene.forget(&gone);
    let before = scene.packs();
    let first = scene.prune(&tight()).unwrap();
    assert!(first.marked.packs > 3 && first.deleted.packs == 0, "{first:?}");
    assert!(first.repacked.packs > 0 && first.written.packs > 0, "{first:?}");
    assert!(scene.packs().is_superset(&before), "nothing is deleted by the first run");
    scene.whole();
    // Just before the grace: nothing.
    scene.pass(GRACE - Duration::from_secs(60));
    let early = scene.prune(&tight()).unwrap();
    assert_eq!(early.deleted.packs, 0, "{early:?}");
    assert_eq!(early.waiting, first.marked);
    assert_eq!((early.marked.packs, early.index_written, early.index_removed), (0, 0, 0));
    assert_eq!(scene.packs().len() as u64, before.len() as u64 + first.written.packs);
    scene.pass(Duration::from_secs(61));
    let last = scene.prune(&tight()).unwrap();
    assert_eq!(last.deleted, first.marked, "{last:?}");
    scene.whole();
    let report = scene.vault().check(&CheckOptions::default()).unwrap();
    assert_eq!(report.counts.unreferenced_packs, 0);
    // And now there is nothing to do at all.
    let keys = scene.store.keys("");
    let idle = scene.prune(&tight()).unwrap();
    assert!(idle.idle() && idle.next_due.is_none(), "{idle:?}");
    assert_eq!(scene.store.keys(""), keys);
}

/// restic's `--max-unused`: waste below the limit stays, above it goes down to it.
#[test]
fn waste_is_repacked_down_to_the_limit_and_no_further() {
    let mut scene = Scene::with_snapshots(2, 6);
    let gone: Vec<Id> = scene.taken[..4].to_vec();
    scene.forget(&gone);
    let plan = |max_unused| {
        let options = PruneOptions { max_unused, ..tight() };
        scene.vault().plan_prune(&options).unwrap()
    };
    let all = plan(MaxUnused::Bytes(0));
    let none = plan(MaxUnused::Unlimited);
    assert_eq!((none.repacked.packs, all.bytes_unused), (0, 0));
    assert!(none.bytes_unused > 0 && all.repacked.packs > 3, "{none:?} {all:?}");
    for part in [2, 3, 5] {
        let limit = none.bytes_unused / part;
        let some = plan(MaxUnused::Bytes(limit));
        assert!(some.bytes_unused <= limit, "{some:?}");
        assert!(some.repacked.packs <= all.repacked.packs);
    }
    let half = plan(MaxUnused::Percent(50.0));
    assert!(half.bytes_unused <= half.bytes_used);
    // A dry run leaves no trace.
    assert!(scene.store.keys("locks").is_empty());
    let again = plan(MaxUnused::Bytes(0));
    assert_eq!((again.repacked, again.marked), (all.repacked, all.marked));
}

/// A pack that was marked and is needed again, by a backup that had begun before and did not honour
/// the lock, goes back into the index and is never deleted.
#[test]
fn what_is_needed_again_is_kept() {
    let mut scene = Scene::with_snapshots(3, 3);
    let first = scene.taken[0];
    let files = scene.truth[&first].clone();
    let object = scene.store.get(&format!("snapshots/{first}")).unwrap();
    scene.forget(&[first]);
    scene.prune(&tight()).unwrap();
    // Its snapshot object appears after all.
    scene.store.plant(&format!("snapshots/{first}"), object);
    scene.truth.insert(first, files);
    scene.taken.push(first);
    scene.pass(GRACE + GRACE);
    let again = scene.prune(&tight()).unwrap();
    assert!(again.recovered.packs > 0, "{again:?}");
    scene.whole();
    // Its mark of long ago does not count when it is unneeded once more.
    scene.forget(&[first]);
    let marked = scene.prune(&tight()).unwrap();
    assert!(marked.marked.packs > 0 && marked.deleted.packs == 0, "{marked:?}");
    scene.pass(GRACE + Duration::from_secs(1));
    assert!(scene.prune(&tight()).unwrap().deleted.packs > 0);
    scene.whole();
}

/// A marked pack is in no index: a backup does not begin to rely on it, nor adopt it.
#[test]
fn a_backup_keeps_off_marked_packs() {
    let mut scene = Scene::with_snapshots(4, 2);
    let old = scene.taken[0];
    let files = scene.files.clone();
    scene.change(20);
    scene.backup();
    let gone = scene.taken[..2].to_vec();
    scene.forget(&gone);
    let marked = scene.prune(&tight()).unwrap().marked;
    assert!(marked.packs > 0 && !scene.taken.contains(&old));
    // The very files whose blobs are marked come back.
    for (path, content) in &files {
        std::fs::write(scene.source.path().join(path), content).unwrap();
        scene.files.insert(path.clone(), content.clone());
    }
    scene.backup();
    scene.whole();
    scene.pass(GRACE);
    let report = scene.prune(&tight()).unwrap();
    assert_eq!(report.deleted, marked, "{report:?}");
    assert_eq!(report.recovered.packs, 0);
    scene.whole();
}

/// whatever is missing or unreadable, nothing is removed, not even written.
#[test]
fn nothing_is_dropped_on_a_partial_view() {
    let mut scene = Scene::with_snapshots(5, 4);
    let gone = scene.taken[..2].to_vec();
    scene.forget(&gone);
    scene.prune(&tight()).unwrap();
    scene.backup();
    let gone = scene.taken[..1].to_vec();
    scene.forget(&gone);
    scene.pass(GRACE + GRACE);
    let key = crate::support::key_of(&scene.seed);
    let snapshot = format!("snapshots/{}", scene.taken[0]);
    let index = scene.store.keys("index");
    let listed: Vec<String> = index
        .iter()
        .filter(|name| {
            let body = scene.store.get(name).unwrap();
            let plain = key.open(&body).unwrap();
            let json = zstd::decode_all(&plain[1..]).unwrap();
            !IndexFile::parse(&json).unwrap().packs.is_empty()
        })
        .cloned()
        .collect();
    let vault = scene.vault();
    let tree = vault.snapshot(&scene.taken[0]).unwrap().tree;
    let tree = lifeboat_vault::pack::pack_key(
        &vault.locate(lifeboat_vault::BlobKind::Tree, &tree).unwrap()[0].pack,
    );
    type Change = fn(Vec<u8>) -> Option<Vec<u8>>;
    let lost: Change = |_| None;
    let cut: Change = |body| Some(body[..body.len() - 5].to_vec());
    let flipped: Change = |mut body| {
        body[20] ^= 1;
        Some(body)
    };
    let cases = [
        (snapshot.clone(), lost, Gap::Unlisted),
        (snapshot.clone(), flipped, Gap::Damage),
        (listed[0].clone(), flipped, Gap::Index),
        (listed[0].clone(), cut, Gap::Index),
        (tree.clone(), lost, Gap::Pack),
        (tree.clone(), cut, Gap::Pack),
        (tree, flipped, Gap::Damage),
    ];
    let options = PruneOptions { expected: scene.taken.clone(), ..tight() };
    for (key, change, wanted) in cases {
        let image = Arc::new(scene.store.image());
        image.tamper(&key, change);
        let before = image.keys("");
        let vault = vault_on(&image, &scene.seed);
        let result = vault.maintain(image.clone()).unwrap().prune(&options);
        // A tree may be whole in another pack: then that is no partial view.
        let Err(error) = result else { panic!("{key}: {result:?}") };
        let Error::Incomplete { gap, .. } = &error else { panic!("{key}: {error:?}") };
        assert_eq!(*gap, wanted, "{key}: {error:?}");
        drop(vault);
        assert_eq!(image.keys(""), before, "{key}");
        let forget = vault_on(&image, &scene.seed).maintain(image.clone()).unwrap();
        if key == snapshot {
            let other = scene.taken[1];
            assert!(forget.forget(&[other], &scene.taken).is_err());
            drop(forget);
            assert_eq!(image.keys(""), before);
        }
    }
    // The same prune on the whole vault does remove something: the test could tell.
    assert!(scene.prune(&options).unwrap().deleted.packs > 0);
    scene.whole();
}

/// snapshots go with a pruning, and only after all was looked at as it will be without them.
#[test]
fn snapshots_go_with_a_pruning_or_not_at_all() {
    let scene = Scene::with_snapshots(17, 4);
    let gone = scene.taken[..2].to_vec();
    let options = PruneOptions {
        without: gone.clone(),
        expected: scene.taken.clone(),
        grace: Duration::ZERO,
        ..tight()
    };
    type Change = fn(Vec<u8>) -> Option<Vec<u8>>;
    let lost: Change = |_| None;
    let cut: Change = |body| Some(body[..body.len() - 5].to_vec());
    let (data, index) = (scene.store.keys("data"), scene.store.keys("index"));
    let snapshot = format!("snapshots/{}", scene.taken[3]);
    let cases = [
        (&data[0], lost),
        (&data[data.len() / 2], cut),
        (&index[0], cut),
        (&snapshot, lost),
        (&snapshot, cut),
    ];
    for (key, change) in cases {
        let image = Arc::new(scene.store.image());
        image.tamper(key, change);
        let before = image.keys("");
        let result = vault_on(&image, &scene.seed).maintain(image.clone()).unwrap().prune(&options);
        assert!(matches!(result, Err(Error::Incomplete { .. })), "{key}: {result:?}");
        assert_eq!(image.keys(""), before, "{key}");
    }
    let before = scene.store.keys("");
    let vault = scene.vault();
    {
        let hands = vault.maintain(scene.store.clone()).unwrap();
        let unknown = PruneOptions { without: vec![Id::of(b"nobody")], ..options.clone() };
        assert!(matches!(hands.prune(&unknown), Err(Error::NotFound { .. })));
        let all = PruneOptions { without: scene.taken.clone(), ..options.clone() };
        assert!(matches!(hands.prune(&all), Err(Error::Invalid(_))), "the last snapshot");
    }
    assert_eq!(scene.store.keys(""), before);
    // Decided, and the lists are others by then: nothing is done.
    for (list, made) in [("index", false), ("snapshots", false), ("snapshots", true)] {
        let image = Arc::new(scene.store.image());
        let vault = vault_on(&image, &scene.seed);
        let hands = vault.maintain(image.clone()).unwrap();
        let plan = hands.plan_prune(&options).unwrap();
        hands.still_stands(&plan).unwrap();
        match made {
            true => image.plant(&format!("snapshots/{}", Id::of(b"new")), &b"new"[..]),
            false => image.tamper(image.keys(list).last().unwrap(), |_| None),
        }
        let before = image.keys("");
        assert!(matches!(hands.still_stands(&plan), Err(Error::Incomplete { .. })), "{list}");
        assert!(matches!(hands.carry_out(plan), Err(Error::Incomplete { .. })), "{list}");
        assert_eq!(image.keys(""), before, "{list}");
    }
    let said = vault.plan_prune(&options).unwrap();
    let mut rest = scene;
    rest.taken.retain(|id| !gone.contains(id));
    rest.truth.retain(|id, _| !gone.contains(id));
    sweep(&rest, &options, 5);
    let hands = vault.maintain(rest.store.clone()).unwrap();
    let done = hands.carry_out(hands.plan_prune(&options).unwrap()).unwrap();
    drop(hands);
    assert_eq!(done.deleted, said.deleted);
    assert!(done.deleted.packs > 0, "{done:?}");
    assert_eq!(rest.store.keys("snapshots").len(), 2);
    rest.whole();
}

/// A pack that would go back into the index and is not what its name says is found before anything
/// goes.
#[test]
fn what_is_needed_again_and_damaged_removes_nothing() {
    let mut scene = Scene::with_snapshots(18, 3);
    let first = scene.taken[0];
    let object = scene.store.get(&format!("snapshots/{first}")).unwrap();
    scene.forget(&[first]);
    scene.prune(&tight()).unwrap();
    scene.store.plant(&format!("snapshots/{first}"), object);
    scene.pass(GRACE + GRACE);
    let options =
        PruneOptions { without: vec![scene.taken[0]], max_unused: MaxUnused::Unlimited, ..tight() };
    let mut found = 0;
    for pack in crate::support::packs_of(
        &scene.store,
        &crate::support::key_of(&scene.seed),
        lifeboat_vault::BlobKind::Data,
    ) {
        let image = Arc::new(scene.store.image());
        image.tamper(&pack, |mut body| {
            body[20] ^= 1;
            Some(body)
        });
        let before = image.keys("");
        let result = vault_on(&image, &scene.seed).maintain(image.clone()).unwrap().prune(&options);
        match result {
            // Nothing of it is looked at where it is in the index.
            Ok(_) => continue,
            Err(Error::Incomplete { what, .. }) => {
                assert!(what.ends_with("needed and damaged"), "{what}")
            }
            Err(error) => panic!("{pack}: {error:?}"),
        }
        assert_eq!(image.keys(""), before, "{pack}");
        found += 1;
    }
    assert!(found > 0);
    assert!(scene.prune(&options).unwrap().recovered.packs > 0);
}

/// The same for a listing that fails half way.
#[test]
fn nothing_is_dropped_when_a_listing_fails() {
    let mut scene = Scene::with_snapshots(15, 3);
    let gone = scene.taken[..2].to_vec();
    scene.forget(&gone);
    let options = PruneOptions { grace: Duration::ZERO, ..tight() };
    for prefix in ["snapshots", "index", "data"] {
        let faulty = Arc::new(FaultyStore::new(scene.store.image()));
        let before = faulty.inner().keys("");
        faulty.arm(Fault::always(Verb::List, prefix, StoreErrorKind::Unreachable));
        let env = environment(scene.store.clock().clone());
        let vault =
            Vault::open_with_seed(faulty.clone(), Some(faulty.clone()), &scene.seed, env).unwrap();
        assert!(vault.maintain(faulty.clone()).unwrap().prune(&options).is_err());
        drop(vault);
        assert_eq!(faulty.inner().keys(""), before);
    }
    assert!(scene.prune(&options).unwrap().deleted.packs > 0);
}

/// A list that loses an entry without saying so is found by looking twice, or by what the index and
/// the caller know; an empty list of snapshots never means that all is waste.
#[test]
fn a_place_that_lies_in_its_listings_loses_nothing() {
    let mut scene = Scene::with_snapshots(6, 4);
    let gone = scene.taken[..2].to_vec();
    scene.forget(&gone);
    for folder in ["snapshots", "index", "data"] {
        for nth in 0..3 {
            let liar = Arc::new(Liar::new(scene.store.image(), folder, nth));
            let env = environment(scene.store.clock().clone());
            let vault =
                Vault::open_with_seed(liar.clone(), Some(liar.clone()), &scene.seed, env).unwrap();
            let hands = vault.maintain(liar.clone()).unwrap();
            let options = PruneOptions { grace: Duration::ZERO, ..tight() };
            let result = hands.prune(&options);
            drop((hands, vault));
            let image = Arc::new(liar.inner.image());
            if nth == 0 && folder != "index" {
                assert!(matches!(result, Err(Error::Incomplete { .. })), "{folder}: {result:?}");
            }
            whole(&image, &scene.seed, &scene.truth);
        }
    }
    for key in scene.store.keys("snapshots") {
        scene.store.tamper(&key, |_| None);
    }
    let refused = scene.prune(&tight());
    assert!(matches!(refused, Err(Error::Incomplete { .. })), "{refused:?}");
}

/// A store whose n-th listing of a folder lacks its first entry.
struct Liar {
    inner: MemoryStore,
    folder: &'static str,
    left: std::sync::atomic::AtomicI64,
}

impl Liar {
    fn new(inner: MemoryStore, folder: &'static str, nth: i64) -> Liar {
        Liar { inner, folder, left: nth.into() }
    }
}

impl Store for Liar {
    fn get(&self, key: &str) -> std::result::Result<bytes::Bytes, lifeboat_vault::StoreError> {
        self.inner.get(key)
    }
    fn get_range(
        &self,
        key: &str,
        offset: u64,
        len: u64,
    ) -> std::result::Result<bytes::Bytes, lifeboat_vault::StoreError> {
        self.inner.get_range(key, offset, len)
    }
    fn create(
        &self,
        key: &str,
        parts: &[bytes::Bytes],
    ) -> std::result::Result<(), lifeboat_vault::StoreError> {
        self.inner.create(key, parts)
    }
    fn list(
        &self,
        prefix: &str,
    ) -> std::result::Result<Vec<lifeboat_vault::Entry>, lifeboat_vault::StoreError> {
        let mut entries = self.inner.list(prefix)?;
        let lie = prefix == self.folder
            && self.left.fetch_sub(1, std::sync::atomic::Ordering::SeqCst) == 0;
        if lie {
            entries.remove(0);
        }
        Ok(entries)
    }
    fn stat(
        &self,
        key: &str,
    ) -> std::result::Result<lifeboat_vault::Entry, lifeboat_vault::StoreError> {
        self.inner.stat(key)
    }
    fn describe(&self) -> String {
        self.inner.describe()
    }
}

impl lifeboat_vault::DeleteStore for Liar {
    fn delete(&self, key: &str) -> std::result::Result<(), lifeboat_vault::StoreError> {
        self.inner.delete(key)
    }
}

impl lifeboat_vault::LockStore for Liar {
    fn create_lock(
        &self,
        key: &str,
        body: bytes::Bytes,
    ) -> std::result::Result<(), lifeboat_vault::StoreError> {
        self.inner.create_lock(key, body)
    }
    fn remove_lock(&self, key: &str) -> std::result::Result<(), lifeboat_vault::StoreError> {
        self.inner.remove_lock(key)
    }
}

/// Ages are told by the store's own times; where its clock and ours disagree, nothing goes.
#[test]
fn nothing_goes_while_a_clock_is_wrong() {
    let mut scene = Scene::with_snapshots(7, 3);
    let gone = scene.taken[..2].to_vec();
    scene.forget(&gone);
    scene.prune(&tight()).unwrap();
    let packs = scene.packs();
    // Our clock runs a year ahead of the store's: by ours the grace is long over.
    let ours = Arc::new(SimClock::at(scene.store.clock().wall()));
    ours.step_wall(SignedDuration::from_hours(24 * 365));
    let vault = Vault::open_with_seed(
        scene.store.clone(),
        Some(scene.store.clone()),
        &scene.seed,
        environment(ours),
    )
    .unwrap();
    let refused = vault.maintain(scene.store.clone());
    assert!(matches!(refused, Err(Error::ImplausibleClock { .. })), "{refused:?}");
    assert!(scene.store.keys("locks").is_empty());
    // Both were set back: what lies there is of the future.
    scene.store.clock().step_wall(SignedDuration::from_hours(-48));
    let refused = scene.prune(&tight());
    assert!(matches!(refused, Err(Error::ImplausibleClock { .. })), "{refused:?}");
    assert_eq!(scene.packs(), packs);
    scene.store.clock().step_wall(SignedDuration::from_hours(48));
    scene.pass(GRACE);
    assert!(scene.prune(&tight()).unwrap().deleted.packs > 0);
    scene.whole();
}

/// Without a grace one run does all of it, for a disk that is full.
#[test]
fn without_a_grace_it_is_gone_at_once() {
    let mut scene = Scene::with_snapshots(8, 4);
    let gone = scene.taken[..3].to_vec();
    scene.forget(&gone);
    let bytes = scene.store.total_bytes();
    let options = PruneOptions { grace: Duration::ZERO, ..tight() };
    let report = scene.prune(&options).unwrap();
    assert!(report.deleted.packs > 0 && report.next_due.is_none(), "{report:?}");
    assert!(scene.store.total_bytes() < bytes);
    scene.whole();
    assert!(scene.prune(&options).unwrap().idle());
    let report = scene.vault().check(&CheckOptions::default()).unwrap();
    assert_eq!(report.counts.unreferenced_packs, 0);
}

/// Locks: not beside a reader or a writer, and nobody else beside it.
#[test]
fn pruning_is_alone_in_the_vault() {
    let scene = Scene::with_snapshots(9, 2);
    let vault = scene.vault();
    {
        let _reading = vault.lock_for_reading().unwrap();
        let refused = scene.vault().maintain(scene.store.clone());
        assert!(matches!(refused, Err(Error::Locked(_))), "{refused:?}");
    }
    let hands = vault.maintain(scene.store.clone()).unwrap();
    assert!(matches!(scene.vault().backup(BackupOptions::default()), Err(Error::Locked(_))));
    assert!(matches!(scene.vault().maintain(scene.store.clone()), Err(Error::Locked(_))));
    // A lock that somebody took away: nothing more is removed.
    for key in scene.store.keys("locks") {
        scene.store.tamper(&key, |_| None);
    }
    scene.store.clock().advance(Duration::from_secs(3600));
    let before = scene.store.keys("");
    let lost = hands.forget(&scene.taken[..1], &[]);
    assert!(matches!(lost, Err(Error::LockLost { .. })), "{lost:?}");
    assert!(matches!(hands.prune(&tight()), Err(Error::LockLost { .. })));
    assert_eq!(scene.store.keys(""), before);
}

/// EDO-04: a crash after every write and every removal, of the marking run and of the deleting one.
#[test]
fn a_crash_after_any_step_loses_nothing() {
    let mut scene = Scene::with_snapshots(10, 4);
    let gone = scene.taken[..2].to_vec();
    scene.forget(&gone);
    sweep(&scene, &tight(), 1);
    scene.prune(&tight()).unwrap();
    scene.change(6);
    scene.backup();
    let gone = scene.taken[..1].to_vec();
    scene.forget(&gone);
    scene.pass(GRACE);
    sweep(&scene, &tight(), 1);
    sweep(&scene, &PruneOptions { grace: Duration::ZERO, ..tight() }, 3);
}

fn sweep(scene: &Scene, options: &PruneOptions, stride: usize) {
    let recording = Arc::new(CrashStore::recording(scene.store.image()));
    let env = mortal(&scene.store);
    let vault = Vault::open_with_seed(recording.clone(), Some(recording.clone()), &scene.seed, env)
        .unwrap();
    vault.maintain(recording.clone()).unwrap().prune(options).unwrap();
    drop(vault);
    let writes = recording.writes();
    let images = recording.take_images();
    let count = |start: &str| writes.iter().filter(|write| write.starts_with(start)).count();
    assert!(count("create data/") > 0 && count("create index/") > 0, "{writes:#?}");
    assert!(count("remove index/") > 0, "{writes:#?}");
    for (number, (image, write)) in images.into_iter().zip(&writes).enumerate() {
        if number % stride != 0 && number + 2 < writes.len() {
            continue;
        }
        eprintln!("crash after {write}");
        let image = Arc::new(image);
        whole(&image, &scene.seed, &scene.truth);
        // The next runs finish the work.
        let left = |id: &&Id| image.stat(&format!("snapshots/{id}")).is_ok();
        let without: Vec<Id> = options.without.iter().filter(left).copied().collect();
        let options = &PruneOptions { without: vec![], expected: vec![], ..options.clone() };
        for without in [without, vec![]] {
            let vault = vault_on(&image, &scene.seed);
            let options = PruneOptions { without, ..options.clone() };
            vault.maintain(image.clone()).unwrap().prune(&options).unwrap();
            whole(&image, &scene.seed, &scene.truth);
            scene.store.clock().advance(GRACE);
        }
        let vault = vault_on(&image, &scene.seed);
        vault.maintain(image.clone()).unwrap().prune(options).unwrap();
        let report = vault.check(&CheckOptions::default()).unwrap();
        assert_eq!(report.counts.unreferenced_packs, 0, "after {write}");
        assert!(vault.plan_prune(options).unwrap().idle(), "after {write}");
    }
}

/// A full disk or a dead machine in the middle is an error, and everything is whole.
#[test]
fn a_prune_that_fails_leaves_all_whole() {
    let mut scene = Scene::with_snapshots(11, 4);
    let gone = scene.taken[..2].to_vec();
    scene.forget(&gone);
    let mut done = false;
    for writes in (1..).step_by(2) {
        let dying = Arc::new(CrashStore::dying_after(scene.store.image(), writes));
        let env = mortal(&scene.store);
        let vault =
            Vault::open_with_seed(dying.clone(), Some(dying.clone()), &scene.seed, env).unwrap();
        let result = vault.maintain(dying.clone()).and_then(|hands| hands.prune(&tight()));
        drop(vault);
        whole(&Arc::new(dying.frozen()), &scene.seed, &scene.truth);
        if result.is_ok() {
            done = true;
            break;
        }
    }
    assert!(done);
    let needed = bytes_that_a_prune_writes(&scene, &tight());
    for step in 0..4 {
        let faulty = Arc::new(FaultyStore::new(scene.store.image()));
        faulty.no_space_after(needed * step / 4);
        let env = environment(scene.store.clock().clone());
        let vault =
            Vault::open_with_seed(faulty.clone(), Some(faulty.clone()), &scene.seed, env).unwrap();
        let full = vault.maintain(faulty.clone()).and_then(|hands| hands.prune(&tight()));
        assert!(full.is_err(), "step {step}: {full:?}");
        drop(vault);
        whole(&Arc::new(faulty.inner().image()), &scene.seed, &scene.truth);
    }
}

/// How blobs are spread over packs is left to chance, and with it how much is repacked.
fn bytes_that_a_prune_writes(scene: &Scene, options: &PruneOptions) -> u64 {
    let image = Arc::new(scene.store.image());
    vault_on(&image, &scene.seed).maintain(image.clone()).unwrap().prune(options).unwrap();
    let new = |entry: &&lifeboat_vault::Entry| scene.store.stat(&entry.key).is_err();
    image.list("").unwrap().iter().filter(new).map(|entry| entry.size).sum()
}

/// The stock restic prunes, checks and backs up between our two phases, and we after it.
#[test]
fn restic_and_we_prune_after_each_other() {
    let mut scene = Scene::with_snapshots(12, 5);
    let gone = scene.taken[..3].to_vec();
    scene.forget(&gone);
    scene.prune(&tight()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let repository = folder.path().join("repository");
    scene.store.save_to(&repository).unwrap();
    let check = restic_ok(&repository, &["check", "--read-data"]);
    assert!(check.contains("no errors were found"), "{check}");
    // restic passes over our marks, and adds to the vault.
    crate::support::restic_backup(&repository, scene.source.path());
    restic_ok(&repository, &["prune", "--max-unused", "0"]);
    restic_ok(&repository, &["check", "--read-data"]);
    let store = Arc::new(MemoryStore::load_from(&repository).unwrap());
    // Written just now, by the machine's clock.
    store.clock().step_wall(
        store.stat("config").unwrap().modified.duration_since(store.clock().wall())
            + SignedDuration::from_mins(1),
    );
    let vault = vault_on(&store, &scene.seed);
    let all: Vec<Id> = vault.snapshots().unwrap().iter().map(|(id, _)| *id).collect();
    assert_eq!(all.len(), 3);
    let report = vault.maintain(store.clone()).unwrap().prune(&tight()).unwrap();
    assert_eq!((report.waiting.packs, report.deleted.packs), (0, 0), "{report:?}");
    whole(&store, &scene.seed, &scene.truth);
    // And its own snapshot of ours is pruned by us as well as any.
    let theirs = all.iter().find(|id| !scene.truth.contains_key(*id)).unwrap();
    let hands = vault.maintain(store.clone()).unwrap();
    hands.forget(&[*theirs], &all).unwrap();
    hands.prune(&tight()).unwrap();
    drop(hands);
    store.clock().advance(GRACE);
    vault.maintain(store.clone()).unwrap().prune(&tight()).unwrap();
    whole(&store, &scene.seed, &scene.truth);
}

/// `restic rebuild-index` lists marked packs again; they are marked anew, with a new grace.
#[test]
fn packs_that_restic_lists_again_wait_once_more() {
    let mut scene = Scene::with_snapshots(13, 3);
    let gone = scene.taken[..2].to_vec();
    scene.forget(&gone);
    let marked = scene.prune(&tight()).unwrap().marked;
    let folder = tempfile::tempdir().unwrap();
    scene.store.save_to(folder.path()).unwrap();
    restic_ok(folder.path(), &["rebuild-index"]);
    let rebuilt = MemoryStore::load_from(folder.path()).unwrap();
    for key in scene.store.keys("index") {
        scene.store.tamper(&key, |_| None);
    }
    scene.pass(GRACE + GRACE);
    for key in rebuilt.keys("index") {
        scene.store.plant(&key, rebuilt.get(&key).unwrap());
    }
    let again = scene.prune(&tight()).unwrap();
    assert_eq!((again.marked, again.deleted.packs), (marked, 0), "{again:?}");
    scene.whole();
    scene.pass(GRACE);
    assert_eq!(scene.prune(&tight()).unwrap().deleted, marked);
    scene.whole();
}

/// A process that has the vault open for days knows the index of then: what others store is found,
/// and so is what they store elsewhere before they remove the packs that it knows.
#[test]
fn a_vault_that_is_open_for_long_finds_what_others_wrote_and_moved() {
    for knows_all_headers in [false, true] {
        let mut scene = Scene::with_snapshots(16, 4);
        let long = scene.vault();
        long.load_index().unwrap();
        if knows_all_headers {
            assert!(long.check(&CheckOptions::default()).unwrap().passed());
        }
        scene.change(10);
        let new = scene.backup();
        assert_eq!(restored(&long, &new), scene.files);
        let gone = scene.taken[..3].to_vec();
        scene.forget(&gone);
        let report = scene.prune(&PruneOptions { grace: Duration::ZERO, ..tight() }).unwrap();
        assert!(report.repacked.packs > 0 && report.deleted.packs > 0, "{report:?}");
        for (id, files) in &scene.truth {
            assert_eq!(&restored(&long, id), files, "snapshot {}", id.short());
        }
        let tree = long.snapshot(&new).unwrap().tree;
        long.tree(&tree).unwrap();
    }
}

/// The many index objects that many backups leave become few.
#[test]
fn many_small_index_objects_are_merged() {
    let mut scene = Scene::new(14);
    for _ in 0..17 {
        scene.change(1);
        scene.backup();
    }
    assert!(scene.store.keys("index").len() >= 17);
    let options = PruneOptions { max_unused: MaxUnused::Unlimited, ..tight() };
    let report = scene.prune(&options).unwrap();
    assert_eq!((report.index_written, report.marked.packs), (1, 0), "{report:?}");
    assert_eq!(scene.store.keys("index").len(), 1);
    scene.whole();
}
