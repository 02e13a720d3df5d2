//! Two vaults and the map that says what they hold.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use lifeboat_testkit::{Fault, FaultyStore, MemoryStore, SimClock};
use lifeboat_vault::prune::GRACE;
use lifeboat_vault::{
    BackupOptions, Cache, CheckOptions, Clock, CopyOptions, DeleteStore, Error, Id, KeepAll,
    KeyStrength, MasterSeed, MaxUnused, Password, PruneOptions, RepairOptions, RestoreOptions,
    Result, Root, SnapshotMeta, Vault, WalkSpec,
};

use super::{By, Side, Step, Tally, Trouble};
use crate::support::{contents, mortal, noise, restic_check_with};

type Files = BTreeMap<PathBuf, Vec<u8>>;
type Machine = Arc<FaultyStore<MemoryStore>>;

/// Small, so that there are many.
const PACK_BYTES: usize = 64 << 10;

struct Place {
    store: Machine,
    seed: MasterSeed,
    /// Opened at the beginning and never again.
    old: Vault,
    password: String,
    cache: tempfile::TempDir,
    /// What must be there: by the snapshot's id, the name under which `ever` knows it.
    holds: BTreeMap<Id, Id>,
}

/// New snapshots that a step may bring.
enum Comes {
    Nothing,
    /// One of these files.
    Backup(Files),
    /// Copies of these, by their name in `ever`.
    Copies(BTreeSet<Id>),
}

pub(super) struct World {
    places: [Place; 2],
    clock: Arc<SimClock>,
    source: tempfile::TempDir,
    files: Files,
    /// Every snapshot that there ever was, by the id that it was first stored under.
    ever: BTreeMap<Id, Files>,
    pub tally: Tally,
}

impl Place {
    fn new(clock: &Arc<SimClock>, password: &str, seed: Option<&MasterSeed>) -> Place {
        let store = Arc::new(FaultyStore::new(MemoryStore::new(clock.clone())));
        let (strength, env) = (KeyStrength::Generated, mortal(store.inner()));
        let secret = Password::new(password);
        let vault = Vault::init(store.clone(), store.clone(), &secret, strength, env, seed);
        let seed = vault.unwrap().seed().unwrap();
        let old = open(&store, &seed);
        old.load_index().unwrap();
        let (cache, holds) = (tempfile::tempdir().unwrap(), BTreeMap::new());
        Place { store, seed, old, password: password.to_owned(), cache, holds }
    }

    fn vault(&self, by: By) -> Vault {
        match by {
            By::Fresh => open(&self.store, &self.seed),
            By::Cached => {
                let clock = self.store.inner().clock().clone();
                let cache = Cache::open(self.cache.path(), 1 << 20, clock).unwrap();
                open(&self.store, &self.seed).with_cache(&cache)
            }
            By::Old => self.old.clone(),
        }
    }

    fn ids(&self) -> Vec<Id> {
        self.holds.keys().copied().collect()
    }

    /// Those whose bit is set.
    fn chosen(&self, picks: u16) -> Vec<Id> {
        let bit = |at: &usize| picks >> (at % 16) & 1 == 1;
        let ids = self.ids();
        (0..ids.len()).filter(bit).map(|at| ids[at]).collect()
    }
}

fn open(store: &Machine, seed: &MasterSeed) -> Vault {
    let env = mortal(store.inner());
    Vault::open_with_seed(store.clone(), Some(store.clone()), seed, env).unwrap()
}

fn arm(store: &Machine, trouble: Trouble) {
    match trouble {
        Trouble::None => {}
        Trouble::Dies(writes) => store.dies_after(writes),
        Trouble::Full(bytes) => store.no_space_after(bytes),
        Trouble::Fails { verb, nth, kind, after_effect } => {
            store.arm(Fault { after_effect, ..Fault::nth(verb, nth, kind) });
        }
    }
}

impl World {
    pub fn new(one_key: bool) -> World {
        let clock = Arc::<SimClock>::default();
        let main = Place::new(&clock, "first main", None);
        let seed = one_key.then_some(&main.seed);
        let other = Place::new(&clock, "first other", seed);
        let source = tempfile::tempdir().unwrap();
        let (files, ever, tally) = <_>::default();
        World { places: [main, other], clock, source, files, ever, tally }
    }

    fn place(&self, side: Side) -> &Place {
        &self.places[side as usize]
    }

    /// Does a step under its trouble and looks at both vaults.
    pub fn take(&mut self, step: &Step) {
        self.tally.steps += 1;
        self.clock.advance(Duration::from_secs(3600));
        match *step {
            Step::Backup { changes, seed, parent, by, trouble } => {
                self.change(changes, seed);
                self.backup(parent, by, trouble);
            }
            Step::Forget { side, picks, by, trouble } => self.forget(side, picks, by, trouble),
            Step::Prune { side, waste, at_once, by, trouble } => {
                let grace = if at_once { Duration::ZERO } else { GRACE };
                let max_unused = MaxUnused::Bytes(waste);
                self.prune(side, PruneOptions { max_unused, grace, ..tidy() }, by, trouble);
            }
            Step::Pass { hours } => self.clock.advance(Duration::from_secs(hours * 3600)),
            Step::Copy { from, picks, by, trouble } => self.copy(from, picks, by, trouble),
            Step::Restore { side, pick, by, trouble } => self.restore(side, pick, by, trouble),
            Step::Rotate { trouble } => self.rotate(trouble),
            Step::LoseIndex { side, picks, trouble } => self.lose_index(side, picks, trouble),
        }
    }

    /// Runs a step; without trouble it has to succeed.
    #[track_caller]
    fn attempt<T>(
        &mut self,
        side: Side,
        trouble: Trouble,
        call: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        let store = self.place(side).store.clone();
        arm(&store, trouble);
        let result = call();
        store.disarm();
        match (&result, trouble) {
            (Err(error), Trouble::None) => panic!("failed for no reason: {error} ({error:?})"),
            (Err(_), _) => self.tally.failed += 1,
            _ => {}
        }
        result
    }

    /// Some files get other content, often such as was there before; some go.
    fn change(&mut self, count: u64, seed: u64) {
        for number in 0..count {
            let pick = noise(seed.wrapping_add(number << 40), 4);
            let path = PathBuf::from(format!("d{}/f{}", pick[0] % 3, pick[1] % 16));
            let whole = self.source.path().join(&path);
            if pick[2].is_multiple_of(6) && self.files.remove(&path).is_some() {
                std::fs::remove_file(whole).unwrap();
                continue;
            }
            let kind = u64::from(pick[3] % 40);
            let content = match kind % 8 {
                0 => Vec::new(),
                1 => format!("line {kind}\n").repeat(9000).into_bytes(),
                _ => noise(kind + 1, 1500 + kind as usize * 1300),
            };
            std::fs::create_dir_all(whole.parent().unwrap()).unwrap();
            std::fs::write(whole, &content).unwrap();
            self.files.insert(path, content);
        }
    }

    fn backup(&mut self, parent: bool, by: By, trouble: Trouble) {
        let vault = self.place(Side::Main).vault(by);
        let (source, time) = (self.source.path().to_owned(), self.clock.wall());
        let result = self.attempt(Side::Main, trouble, || backup(&vault, &source, parent, time));
        let comes = Comes::Backup(self.files.clone());
        let new = self.holds(Side::Main, &[], &comes);
        if let Ok(id) = result {
            assert_eq!(new, [id], "a backup that was done is there");
            self.tally.backups += 1;
        }
    }

    fn forget(&mut self, side: Side, picks: u16, by: By, trouble: Trouble) {
        let place = self.place(side);
        let mut going = place.chosen(picks);
        if going.len() == place.holds.len() {
            going.pop();
        }
        let (vault, all, deleter) = (place.vault(by), place.ids(), place.store.clone());
        let result = self.attempt(side, trouble, || vault.maintain(deleter)?.forget(&going, &all));
        let before = self.place(side).holds.len();
        self.holds(side, &going, &Comes::Nothing);
        let gone = before - self.place(side).holds.len();
        self.tally.forgotten += gone as u64;
        assert!(result.is_err() || gone == going.len(), "what was forgotten is still there");
    }

    fn prune(&mut self, side: Side, options: PruneOptions, by: By, trouble: Trouble) {
        let place = self.place(side);
        if place.holds.is_empty() {
            // Refused: nothing tells an empty vault from a listing that failed.
            return;
        }
        let (vault, deleter) = (place.vault(by), place.store.clone());
        let options = PruneOptions { expected: place.ids(), ..options };
        let result = self.attempt(side, trouble, || vault.maintain(deleter)?.prune(&options));
        if let Ok(report) = result {
            self.tally.packs_marked += report.marked.packs;
            self.tally.packs_deleted += report.deleted.packs;
            self.tally.packs_recovered += report.recovered.packs;
        }
        self.holds(side, &[], &Comes::Nothing);
    }

    fn copy(&mut self, from: Side, picks: u16, by: By, trouble: Trouble) {
        let to = if from == Side::Main { Side::Other } else { Side::Main };
        let only = self.place(from).chosen(picks);
        let names: BTreeSet<Id> = only.iter().map(|id| self.place(from).holds[id]).collect();
        let (source, destination) = (self.place(from).vault(by), self.place(to).vault(by));
        let options = CopyOptions {
            only: Some(only),
            workers: 2,
            pack_bytes: PACK_BYTES,
            portion_bytes: 128 << 10,
            ..CopyOptions::default()
        };
        let call = || source.copy_to(&destination, options)?.finish();
        let result = self.attempt(to, trouble, call);
        let new = self.holds(to, &[], &Comes::Copies(names.clone()));
        self.tally.copies += new.len() as u64;
        self.holds(from, &[], &Comes::Nothing);
        if let Ok(report) = result {
            assert!(report.left_out.is_empty(), "{report:?}");
            let there: BTreeSet<Id> = self.place(to).holds.values().copied().collect();
            assert!(names.is_subset(&there), "what was copied is not there");
        }
    }

    fn restore(&mut self, side: Side, pick: u16, by: By, trouble: Trouble) {
        let place = self.place(side);
        let ids = place.ids();
        if ids.is_empty() {
            return;
        }
        let id = ids[usize::from(pick) % ids.len()];
        let (vault, wanted) = (place.vault(by), self.ever[&place.holds[&id]].clone());
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("target");
        let result = self.attempt(side, trouble, || {
            let snapshot = vault.snapshot(&id)?;
            vault.restore(&snapshot, &RestoreOptions::default(), &target)
        });
        match result {
            Ok(report) if report.is_complete() => {
                assert_eq!(report.problems, []);
                assert_eq!(files_below(&target.join("media")), wanted);
                self.tally.restores += 1;
            }
            Ok(report) => assert!(!matches!(trouble, Trouble::None), "{report:?}"),
            Err(_) => {}
        }
        self.holds(side, &[], &Comes::Nothing);
    }

    fn rotate(&mut self, trouble: Trouble) {
        let place = self.place(Side::Main);
        let (before, number) = (place.password.clone(), self.tally.rotations + 1);
        let after = format!("main, the {number}th");
        let (old, new) = (Password::new(before), Password::new(after.as_str()));
        let (vault, store) = (place.vault(By::Fresh), place.store.clone());
        let opens = |password: &Password| {
            let env = mortal(store.inner());
            match Vault::open(store.clone(), Some(store.clone()), password, env) {
                Ok(_) => true,
                Err(Error::WrongPassword { .. }) => false,
                Err(error) => panic!("{error}"),
            }
        };
        let rotate = || vault.rotate_key(&Hands(store.clone()), &old, &new, KeyStrength::Generated);
        if self.attempt(Side::Main, trouble, rotate).is_err() {
            assert!(opens(&old) || opens(&new), "nobody gets in any more");
            self.attempt(Side::Main, Trouble::None, rotate).unwrap();
        }
        assert!(opens(&new) && !opens(&old));
        self.places[Side::Main as usize].password = after;
        self.tally.rotations += 1;
        self.holds(Side::Main, &[], &Comes::Nothing);
    }

    fn lose_index(&mut self, side: Side, picks: u16, trouble: Trouble) {
        let place = self.place(side);
        let keys = place.store.inner().keys("index");
        for (at, key) in keys.iter().enumerate() {
            if picks >> (at % 16) & 1 == 1 {
                place.store.inner().tamper(key, |_| None);
            }
        }
        let (vault, store) = (place.vault(By::Fresh), place.store.clone());
        let mend = || vault.maintain(store.clone())?.repair_index(&RepairOptions::default());
        if self.attempt(side, trouble, mend).is_err() {
            self.attempt(side, Trouble::None, mend).unwrap();
        }
        self.holds(side, &[], &Comes::Nothing);
    }

    /// The vault holds what the map says; of `may_go` some may be gone, and what `comes` may have
    /// come, which is returned. The map is then as the vault is.
    #[track_caller]
    fn holds(&mut self, side: Side, may_go: &[Id], comes: &Comes) -> Vec<Id> {
        let vault = self.place(side).vault(By::Fresh);
        let list = vault.list_snapshots().unwrap();
        assert!(list.damaged.is_empty(), "{:?}", list.damaged);
        let mut found = BTreeMap::new();
        let mut new = Vec::new();
        for (id, snapshot) in &list.readable {
            let name = snapshot.original.unwrap_or(*id);
            if !self.place(side).holds.contains_key(id) {
                match comes {
                    Comes::Nothing => panic!("snapshot {} came from nowhere", id.short()),
                    Comes::Backup(files) => {
                        assert!(snapshot.original.is_none() && new.is_empty());
                        self.ever.insert(*id, files.clone());
                    }
                    Comes::Copies(names) => assert!(names.contains(&name), "not asked for"),
                }
                new.push(*id);
            }
            let stored = contents(&vault, snapshot).into_iter().map(|(path, content)| {
                let path = path.strip_prefix("/media").unwrap().to_owned();
                (path, content.unwrap_or_else(|why| panic!("snapshot {}: {why}", id.short())))
            });
            assert_eq!(stored.collect::<Files>(), self.ever[&name], "snapshot {}", id.short());
            found.insert(*id, name);
        }
        for id in self.place(side).holds.keys() {
            let there = found.contains_key(id) || may_go.contains(id);
            assert!(there, "snapshot {} is gone", id.short());
        }
        let report = vault.check(&CheckOptions::default()).unwrap();
        assert!(report.damage.is_empty(), "{report:#?}");
        assert_eq!(report.passed(), !found.is_empty());
        self.places[side as usize].holds = found;
        new
    }

    /// Both vaults are pruned to nothing but what is needed, and restic reads every byte.
    pub fn end(&mut self) {
        for side in [Side::Main, Side::Other] {
            if self.place(side).holds.is_empty() {
                continue;
            }
            self.prune(side, tidy(), By::Old, Trouble::None);
            self.clock.advance(GRACE + Duration::from_secs(1));
            self.prune(side, tidy(), By::Cached, Trouble::None);
            let vault = self.place(side).vault(By::Fresh);
            let report = vault.check(&CheckOptions::default()).unwrap();
            assert!(report.passed() && report.counts.unreferenced_packs == 0, "{report:#?}");
            let plan = vault.plan_prune(&tidy()).unwrap();
            assert!(plan.idle() && plan.bytes_unused == 0, "something forgotten stayed: {plan:?}");
            let place = self.place(side);
            restic_check_with(place.store.inner(), &place.password);
        }
    }
}

/// No waste stays.
fn tidy() -> PruneOptions {
    let max_unused = MaxUnused::Bytes(0);
    PruneOptions { max_unused, pack_bytes: PACK_BYTES, ..PruneOptions::default() }
}

fn backup(vault: &Vault, source: &Path, parent: bool, time: jiff::Timestamp) -> Result<Id> {
    let newest = if parent { vault.snapshots()?.pop().map(|(id, _)| id) } else { None };
    let options = BackupOptions {
        parent: newest,
        pack_bytes: PACK_BYTES,
        readers: 2,
        ..BackupOptions::default()
    };
    let mut session = vault.backup(options)?;
    let roots = vec![Root { source: source.to_owned(), tree: "media".into() }];
    let filter = Arc::new(KeepAll);
    session.add_paths(&WalkSpec { roots, filter, one_file_system: false })?;
    assert_eq!(session.problems(), []);
    let paths = vec![source.to_owned()];
    Ok(session.finish(SnapshotMeta { time, tags: Vec::new(), paths })?.snapshot)
}

fn files_below(root: &Path) -> Files {
    let mut files = Files::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(root).unwrap().to_owned();
                files.insert(name, std::fs::read(&path).unwrap());
            }
        }
    }
    files
}

/// The right to delete, handed in by reference.
struct Hands(Machine);

impl DeleteStore for Hands {
    fn delete(&self, key: &str) -> std::result::Result<(), lifeboat_vault::StoreError> {
        self.0.delete(key)
    }
}
