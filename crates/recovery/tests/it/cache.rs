//! The local cache of a tier that is far away: it saves time, and never says what is there.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lifeboat_model::exit::Exit;
use lifeboat_model::verdict::Verdict;
use lifeboat_recovery::env::World;
use lifeboat_recovery::flows::{
    At, BackupRequest, Destination, DrillRequest, ListRequest, RestoreRequest, VerifyRequest,
    backup, drill, list, restore, verify,
};
use lifeboat_recovery::ports::{KeyRights, Opened, Place, Presence};
use lifeboat_testkit::MemoryStore;
use lifeboat_vault::{DeleteStore, Store, StoreError};

use crate::bench::{Bench, bench, tree};

/// A place on another machine.
struct Far(Arc<dyn Place>);

impl Place for Far {
    fn look(&self) -> Result<Presence, StoreError> {
        self.0.look()
    }

    fn open(&self, make: bool) -> Result<Opened, StoreError> {
        self.0.open(make)
    }

    fn deleter(&self) -> Result<Arc<dyn DeleteStore>, StoreError> {
        self.0.deleter()
    }

    fn journal_deleter(&self) -> Result<Arc<dyn DeleteStore>, StoreError> {
        self.0.journal_deleter()
    }

    fn key_rights(&self) -> Result<KeyRights, StoreError> {
        self.0.key_rights()
    }

    fn folder(&self) -> Option<PathBuf> {
        None
    }

    fn is_farther_than(&self, _: &Path) -> bool {
        true
    }
}

fn far(b: &Bench, tier: &Arc<MemoryStore>) -> World {
    let mut world = b.world(tier);
    world.tier.place = Arc::new(Far(world.tier.place.clone()));
    world
}

fn save(world: &World) {
    assert_eq!(backup(world, &BackupRequest::default()).unwrap().exit(), Exit::Done);
}

/// The files of the cache of the one vault, in its folders of that name.
fn cached(cache: &Path, folder: &str) -> Vec<PathBuf> {
    let vaults = fs::read_dir(cache).unwrap().map(|entry| entry.unwrap().path());
    let files = vaults.filter_map(|vault| fs::read_dir(vault.join(folder)).ok()).flatten();
    let mut files: Vec<PathBuf> = files.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// What `restore --to` brings back of everything.
fn restored(b: &Bench, world: &World, name: &str) -> Vec<(String, Vec<u8>)> {
    let target = b.folder.path().join("target").join(name);
    let request = RestoreRequest {
        components: Vec::new(),
        all: true,
        at: At::Newest,
        verified_only: false,
        base: None,
        prepare_only: false,
        to: Destination::Folder(target.clone()),
        path: None,
        keep_failed: false,
    };
    let report = restore(world, &request).unwrap();
    assert_eq!(report.exit(), Exit::Done, "{report:#?}");
    tree(&target).into_iter().collect()
}

#[test]
fn a_tier_that_is_far_away_is_cached_in_the_local_state() {
    let b = bench();
    let tier = b.tier();
    save(&far(&b, &tier));
    save(&far(&b, &tier));
    let cache = b.state().join("cache");
    assert_eq!(cached(&cache, "index").len(), tier.keys("vault/index").len());
    assert_eq!(cached(&cache, "snapshots").len(), tier.keys("vault/snapshots").len());
    assert!(!cached(&cache, "trees").is_empty());
    assert_eq!(fs::metadata(&cache).unwrap().permissions().mode() & 0o777, 0o700);

    // Safe to delete; a flow that leaves no trace does not make it again.
    fs::remove_dir_all(&cache).unwrap();
    let listed = list(&far(&b, &tier), &ListRequest::default()).unwrap();
    assert_eq!(listed.snapshots.len(), tier.keys("vault/snapshots").len());
    assert!(!cache.exists());
    save(&far(&b, &tier));
    assert_eq!(cached(&cache, "index").len(), tier.keys("vault/index").len());

    // In the way of the cache is no reason to fail.
    fs::remove_dir_all(&cache).unwrap();
    fs::write(&cache, "not a folder").unwrap();
    save(&far(&b, &tier));
}

#[test]
fn a_tier_that_is_near_is_not_cached() {
    let b = bench();
    let tier = b.tier();
    for _ in 0..2 {
        save(&b.world(&tier));
    }
    assert!(!b.state().join("cache").exists());
}

/// Each file of the cache is damaged, emptied, replaced by another, or gone: whatever is done then
/// ends as it does without a cache.
#[test]
fn whatever_happens_to_the_cache_the_results_are_the_same() {
    let b = bench();
    let tier = b.tier();
    save(&far(&b, &tier));
    save(&far(&b, &tier));
    let cache = b.state().join("cache");
    let truth = restored(&b, &b.world(&tier), "truth");
    let ids = |world: &World| -> Vec<String> {
        let listed = list(world, &ListRequest::default()).unwrap();
        listed.snapshots.into_iter().map(|one| one.snapshot).collect()
    };
    let all = || -> Vec<PathBuf> {
        ["index", "snapshots", "trees"].iter().flat_map(|name| cached(&cache, name)).collect()
    };
    let change = |path: &Path| {
        let mut bytes = fs::read(path).unwrap();
        bytes.iter_mut().step_by(40).for_each(|byte| *byte ^= 1);
        fs::write(path, bytes).unwrap();
    };
    let empty = |path: &Path| fs::write(path, "").unwrap();
    let remove = |path: &Path| fs::remove_file(path).unwrap();
    let swap = |path: &Path| {
        let other = all().into_iter().rev().find(|other| other != path).unwrap();
        fs::copy(other, path).unwrap();
    };
    type Harm<'a> = (&'a str, &'a dyn Fn(&Path));
    let harms: [Harm<'_>; 4] =
        [("changed", &change), ("emptied", &empty), ("gone", &remove), ("another", &swap)];
    for (name, harm) in harms {
        all().iter().for_each(|path| harm(path));
        assert_eq!(ids(&far(&b, &tier)), ids(&b.world(&tier)), "{name}");
        assert_eq!(restored(&b, &far(&b, &tier), name), truth, "{name}");
        save(&far(&b, &tier));
        let report = verify(&b.world(&tier), &VerifyRequest::default()).unwrap();
        assert_eq!(report.verdict, Verdict::Pass, "{name}: {report:#?}");
        // What is read each time; a tree that nobody asks for stays as it is.
        for path in all().iter().filter(|path| !path.parent().unwrap().ends_with("trees")) {
            let id = path.file_name().unwrap().to_string_lossy().into_owned();
            let key = tier.keys("vault").into_iter().find(|key| key.ends_with(&id)).unwrap();
            assert!(fs::read(path).unwrap() == tier.get(&key).unwrap(), "{name}: {key}");
        }
    }
}

/// Promise 1: what only the cache still has would not be there when it burns.
#[test]
fn no_proof_rests_on_the_cache() {
    let b = bench();
    let tier = b.tier();
    save(&far(&b, &tier));
    save(&far(&b, &tier));
    let packs = cached(&b.state().join("cache"), "trees");
    assert!(!packs.is_empty());
    for path in &packs {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let found = tier.keys("vault/data").into_iter().find(|key| key.ends_with(&name));
        tier.tamper(&found.unwrap(), |_| None);
    }
    let report = drill(&far(&b, &tier), &DrillRequest::default()).unwrap();
    assert_ne!(report.verdict, Verdict::Pass, "{report:#?}");
    let report = verify(&far(&b, &tier), &VerifyRequest::default()).unwrap();
    assert_eq!(report.verdict, Verdict::Fail, "{report:#?}");
    assert!(report.snapshots.iter().all(|one| one.verdict != Verdict::Pass), "{report:#?}");
}

/// From a rescue medium what is cached helps, and nothing is added to it.
#[test]
fn where_the_state_cannot_be_written_the_cache_is_read() {
    let b = bench();
    let tier = b.tier();
    save(&far(&b, &tier));
    let cache = b.state().join("cache");
    let before = cached(&cache, "index");
    let known = b.world(&tier).state;
    let copy = b.folder.path().join("copy");
    let stand_in = known.stand_in(&copy);
    assert_eq!(stand_in.cache(), cache);
    for path in &before {
        fs::remove_file(path).unwrap();
    }
    let world = World { state: stand_in, ..far(&b, &tier) };
    let opened = world.open_tier(lifeboat_recovery::tier::Access::Write).unwrap().unwrap();
    assert!(!opened.vault.snapshots().unwrap().is_empty());
    opened.vault.load_index().unwrap();
    assert!(cached(&cache, "index").is_empty());
    assert!(!copy.join("cache").exists());
}
