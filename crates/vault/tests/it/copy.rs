//! Copies between vaults: complete, proved on the way, taken up after a crash, and a second one
//! does nothing. EDO-24: the stock restic and we copy each other's snapshots.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lifeboat_testkit::{CrashStore, Fault, FaultyStore, MemoryStore, Verb, environment};
use lifeboat_vault::crypto::Key;
use lifeboat_vault::{
    BackupOptions, BlobKind, CheckOptions, CopyOptions, CopyReport, Error, Id, KeyStrength,
    MasterSeed, PackedBlob, Password, RestoreOptions, Result, SnapshotMeta, Store, StoreErrorKind,
    Vault, compress, pack,
};

use crate::support::{
    Contents, PASSWORD, contents, init, key_of, meta, noise, open, open_on, packs_of, password,
    restic_check, restic_ok, restic_with, walk,
};
use crate::trees::{assert_same, gnarly};

/// Small packs and portions, so that a copy consists of many writes.
pub fn options() -> CopyOptions {
    CopyOptions {
        workers: 2,
        pack_bytes: 96 << 10,
        portion_bytes: 256 << 10,
        ..CopyOptions::default()
    }
}

/// Three snapshots that share most of what they hold.
pub fn filled() -> (Arc<MemoryStore>, MasterSeed) {
    let store = Arc::new(MemoryStore::default());
    let vault = init(&store);
    let folder = tempfile::tempdir().unwrap();
    for round in 0..3u64 {
        for number in 0..6u64 {
            let content = match number {
                5 => format!("round {round}, line\n").repeat(4000).into_bytes(),
                _ => noise(round * 10 + number, 60_000 + number as usize),
            };
            let path = folder.path().join(format!("d{}/f{round}-{number}", number % 2));
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        }
        let parent = vault.snapshots().unwrap().pop().map(|(id, _)| id);
        let small = BackupOptions { parent, pack_bytes: 96 << 10, ..BackupOptions::default() };
        let mut session = vault.backup(small).unwrap();
        session.add_paths(&walk(folder.path())).unwrap();
        let time = jiff::Timestamp::from_second(1_767_323_045 + round as i64 * 3600).unwrap();
        session.finish(SnapshotMeta { time, ..meta(folder.path()) }).unwrap();
    }
    (store, vault.seed().unwrap())
}

pub fn empty_vault(seed: Option<&MasterSeed>) -> Arc<MemoryStore> {
    let store = Arc::new(MemoryStore::default());
    let environment = environment(store.clock().clone());
    let strength = KeyStrength::Generated;
    Vault::init(store.clone(), store.clone(), &password(), strength, environment, seed).unwrap();
    store
}

pub fn copy(from: &Arc<MemoryStore>, to: &Arc<MemoryStore>) -> Result<CopyReport> {
    open(from)?.copy_to(&open(to)?, options())?.finish()
}

/// Every snapshot's files, by the time of the snapshot.
pub fn all(store: &Arc<MemoryStore>) -> BTreeMap<jiff::Timestamp, Contents> {
    let vault = open(store).unwrap();
    let snapshots = vault.snapshots().unwrap();
    snapshots.into_iter().map(|(_, s)| (s.time, contents(&vault, &s))).collect()
}

pub fn objects(store: &MemoryStore) -> Vec<String> {
    store.keys("").into_iter().filter(|key| !key.starts_with("locks/")).collect()
}

#[track_caller]
pub fn passes(store: &Arc<MemoryStore>) {
    let report = open(store).unwrap().check(&CheckOptions::default()).unwrap();
    assert!(report.passed(), "{report:#?}");
    restic_check(store);
}

/// With another master key everything is sealed anew; with the same, packs go over as they are.
#[test]
fn a_copy_is_whole_and_a_second_one_does_nothing() {
    let (source, seed) = filled();
    let before = objects(&source);
    for shared in [false, true] {
        let destination = empty_vault(shared.then_some(&seed));
        let report = copy(&source, &destination).unwrap();
        assert_eq!((report.copied.len(), report.present.len()), (3, 0));
        assert_eq!(report.left_out, []);
        assert_eq!(all(&source), all(&destination));
        assert!(all(&source).values().flatten().all(|(_, content)| content.is_ok()));
        passes(&destination);
        assert_eq!(objects(&source), before, "nothing changes in the source");
        assert!(source.keys("locks").is_empty() && destination.keys("locks").is_empty());

        let packs: BTreeSet<String> = destination.keys("data").into_iter().collect();
        let theirs: BTreeSet<String> = source.keys("data").into_iter().collect();
        assert_eq!(report.counts.packs, packs.len() as u64);
        match shared {
            true => {
                assert_eq!(packs, theirs, "whole packs, byte for byte");
                assert_eq!(report.counts.packs_whole, report.counts.packs);
            }
            false => assert!(packs.is_disjoint(&theirs) && report.counts.packs_whole == 0),
        }
        // Compressed as it was: not larger than the source's packs by more than their headers.
        let size = |store: &MemoryStore| store.list("data").unwrap().iter().map(|e| e.size).sum();
        let (ours, theirs): (u64, u64) = (size(&destination), size(&source));
        assert!(ours < theirs + theirs / 20, "{ours} of {theirs}");

        let vault = open(&destination).unwrap();
        for pair in &report.copied {
            let copied = vault.snapshot(&pair.copy).unwrap();
            assert_eq!((copied.original, copied.parent), (Some(pair.source), None));
        }
        let after = objects(&destination);
        let again = copy(&source, &destination).unwrap();
        assert_eq!((again.copied.len(), again.present), (0, report.copied));
        assert_eq!(again.counts, lifeboat_vault::CopyCounts::default());
        assert_eq!(objects(&destination), after);
        // A copy of the copy knows where it comes from: nothing goes back.
        assert_eq!(copy(&destination, &source).unwrap().copied, []);
    }
}

/// What is chosen goes over and nothing else; blobs that are there are not copied again.
#[test]
fn chosen_snapshots_alone_and_only_what_is_new() {
    let (source, _) = filled();
    let destination = empty_vault(None);
    let vault = open(&source).unwrap();
    let ids: Vec<Id> = vault.snapshots().unwrap().iter().map(|(id, _)| *id).collect();
    let only = |id: Id| CopyOptions { only: Some(vec![id]), ..options() };
    let target = || open(&destination).unwrap();

    let planned = vault.plan_copy(Some(&target()), &only(ids[1])).unwrap();
    let from_nothing = vault.plan_copy(None, &only(ids[1])).unwrap();
    assert_eq!(planned, from_nothing);
    assert_eq!(planned.snapshots, [ids[1]]);
    assert!(destination.keys("data").is_empty(), "a plan writes nothing");
    let first = vault.copy_to(&target(), only(ids[1])).unwrap().finish().unwrap();
    assert_eq!((first.counts.blobs, first.counts.bytes), (planned.blobs, planned.bytes));
    assert_eq!(open(&destination).unwrap().snapshots().unwrap().len(), 1);

    // The second holds all that the first does, but for its trees.
    let second = vault.copy_to(&target(), only(ids[0])).unwrap().finish().unwrap();
    assert!((1..20_000).contains(&second.counts.bytes), "{second:?}");
    let third = vault.copy_to(&target(), options()).unwrap().finish().unwrap();
    assert_eq!((third.copied.len(), third.present.len()), (1, 2));
    passes(&destination);
    assert_eq!(all(&source), all(&destination));

    let unknown = vault.copy_to(&target(), only(Id::of(b"none"))).map(drop);
    assert!(matches!(unknown, Err(Error::NotFound { .. })), "{unknown:?}");
}

/// A snapshot that was tagged anew in the source is another one.
#[test]
fn a_snapshot_tagged_anew_is_copied_again() {
    let (source, _) = filled();
    let destination = empty_vault(None);
    copy(&source, &destination).unwrap();
    let folder = tempfile::tempdir().unwrap();
    source.save_to(folder.path()).unwrap();
    restic_ok(folder.path(), &["tag", "--add", "kept", "latest"]);
    let source = Arc::new(MemoryStore::load_from(folder.path()).unwrap());
    let report = copy(&source, &destination).unwrap();
    assert_eq!((report.copied.len(), report.present.len()), (1, 2));
    assert_eq!(report.counts.blobs, 0);
}

/// The least budget: one pack at a time, on more threads than it feeds. It must not get stuck.
#[test]
fn a_tiny_budget_and_many_threads_come_through() {
    let (source, seed) = filled();
    for shared in [false, true] {
        let destination = empty_vault(shared.then_some(&seed));
        let tiny = CopyOptions { workers: 8, uploads: 3, budget_bytes: 1, ..options() };
        let (from, to) = (open(&source).unwrap(), open(&destination).unwrap());
        assert_eq!(from.copy_to(&to, tiny).unwrap().finish().unwrap().copied.len(), 3);
        passes(&destination);
    }
}

/// restic's shared lock on both sides: whoever prunes one of them keeps us out.
#[test]
fn an_exclusive_lock_on_either_side_keeps_a_copy_out() {
    let (source, _) = filled();
    let destination = empty_vault(None);
    for locked in [&source, &destination] {
        let vault = open(locked).unwrap();
        let _lock = vault.lock_exclusively().unwrap();
        let refused = copy(&source, &destination);
        assert!(matches!(refused, Err(Error::Locked(_))), "{refused:?}");
    }
    let session = open(&source).unwrap().copy_to(&open(&destination).unwrap(), options()).unwrap();
    for locked in [&source, &destination] {
        let refused = open(locked).unwrap().lock_exclusively().map(drop);
        assert!(matches!(refused, Err(Error::Locked(_))), "{refused:?}");
    }
    drop(session);
    assert_eq!(copy(&source, &destination).unwrap().copied.len(), 3);
}

/// A lock that somebody took away: nothing becomes visible, whichever side it was on.
#[test]
fn a_lost_lock_stops_a_copy_before_anything_is_visible() {
    let (source, _) = filled();
    let destination = empty_vault(None);
    for (side, by_age) in
        [(&source, true), (&destination, true), (&source, false), (&destination, false)]
    {
        let (from, to) = (open(&source).unwrap(), open(&destination).unwrap());
        let session = from.copy_to(&to, options()).unwrap();
        // Both clocks stand still but for this one, by which our lock could not be renewed.
        let store = side.clone();
        for key in store.keys("locks") {
            store.tamper(&key, |_| None);
        }
        if by_age {
            store.clock().advance(std::time::Duration::from_secs(23 * 60));
        }
        let stopped = session.finish();
        assert!(matches!(stopped, Err(Error::LockLost { .. })), "{stopped:?}");
        assert!(destination.keys("snapshots").is_empty());
        assert!(!by_age || destination.keys("index").is_empty());
    }
}

/// The files of a snapshot that a lost blob concerns are its own alone here: each round adds files
/// of its own, and only later snapshots hold them too.
#[test]
fn a_damaged_snapshot_is_named_and_the_others_are_copied() {
    type Damage = fn(Vec<u8>) -> Option<Vec<u8>>;
    let ways: [Damage; 3] = [
        |_| None,
        |body| Some(body[..body.len() / 2].to_vec()),
        |mut body| {
            body[30] ^= 1;
            Some(body)
        },
    ];
    let (whole, seed) = filled();
    let key = key_of(&seed);
    let vault = open(&whole).unwrap();
    let ids: Vec<Id> = vault.snapshots().unwrap().iter().map(|(id, _)| *id).collect();
    drop(vault);
    for kind in [BlobKind::Data, BlobKind::Tree] {
        let packs = packs_of(&whole, &key, kind);
        for (way, shared) in ways.into_iter().zip([false, true, true]) {
            let source = Arc::new(whole.image());
            source.tamper(&packs[0], way);
            let truth: BTreeMap<Id, Contents> = {
                let vault = open(&source).unwrap();
                let snapshots = vault.snapshots().unwrap();
                snapshots.iter().map(|(id, s)| (*id, contents(&vault, s))).collect()
            };
            let sound: BTreeSet<Id> = ids
                .iter()
                .copied()
                .filter(|id| truth[id].values().all(std::result::Result::is_ok))
                .collect();
            let destination = empty_vault(shared.then_some(&seed));
            let report = copy(&source, &destination).unwrap();
            let copied: BTreeSet<Id> = report.copied.iter().map(|pair| pair.source).collect();
            assert!(sound.len() < 3, "the damage concerns a snapshot");
            assert_eq!(copied, sound, "{report:#?}");
            for left in &report.left_out {
                assert!(!left.lost.is_empty() && !sound.contains(&left.snapshot));
                assert!(left.lost.iter().all(|lost| lost.kind == kind && !lost.why.is_empty()));
            }
            assert_eq!(report.left_out.len() + copied.len(), 3);
            if !copied.is_empty() {
                passes(&destination);
            }
            // The same is found before anything is written, as far as trees tell.
            let planned = open(&source).unwrap().plan_copy(None, &options()).unwrap();
            if kind == BlobKind::Tree {
                assert_eq!(planned.snapshots.len(), sound.len());
            }
        }
    }
}

#[test]
fn a_damaged_snapshot_object_is_named() {
    let (source, _) = filled();
    let key = source.keys("snapshots").remove(0);
    source.tamper(&key, |mut body| {
        body[20] ^= 1;
        Some(body)
    });
    let destination = empty_vault(None);
    let report = copy(&source, &destination).unwrap();
    assert_eq!((report.copied.len(), report.left_out.len()), (2, 1));
    assert!(key.ends_with(&report.left_out[0].snapshot.to_string()));
    assert!(report.left_out[0].why.is_some());
    passes(&destination);
}

/// An index object that was lost costs nothing: the packs say what they hold.
#[test]
fn a_lost_index_of_the_source_loses_nothing() {
    let (source, _) = filled();
    let truth = all(&source);
    for key in source.keys("index") {
        source.tamper(&key, |_| None);
    }
    let destination = empty_vault(None);
    assert_eq!(copy(&source, &destination).unwrap().copied.len(), 3);
    assert_eq!(all(&destination), truth);
    passes(&destination);
}

/// A pack that is all it claims to be, name, header and index, but for what its blobs hold: two of
/// them are swapped. Only a hash of each blob finds that.
fn with_swapped_blobs(source: &MemoryStore, key: &Key) {
    let packs = packs_of(source, key, BlobKind::Data).into_iter().map(|name| {
        let body = source.get(&name).unwrap();
        let blobs = pack::open_header(key, &body, body.len() as u64).unwrap().unwrap();
        (name, body, blobs)
    });
    let fits = |blobs: &[PackedBlob]| {
        blobs.len() > 1 && blobs.iter().all(|blob| blob.uncompressed_length == 0)
    };
    let (name, body, blobs) = packs.into_iter().find(|(_, _, blobs)| fits(blobs)).unwrap();
    let mut plain: Vec<Vec<u8>> = blobs
        .iter()
        .map(|blob| key.open(&body[blob.offset as usize..][..blob.length as usize]).unwrap())
        .collect();
    plain.swap(0, 1);
    let (mut made, mut placed) = (Vec::new(), Vec::new());
    for (blob, plain) in blobs.iter().zip(&plain) {
        let sealed = key.seal(plain).unwrap();
        let (offset, length) = (made.len() as u32, sealed.len() as u32);
        placed.push(PackedBlob { offset, length, ..*blob });
        made.extend(sealed);
    }
    made.extend(pack::seal_header(key, &placed).unwrap());
    let new = Id::of(&made);
    source.plant(&pack::pack_key(&new), made);
    source.tamper(&name, |_| None);
    let old = name.rsplit('/').next().unwrap();
    for index in source.keys("index") {
        let plain = key.open(&source.get(&index).unwrap()).unwrap();
        let json = compress::decompress_bounded(&plain[1..], 1 << 20).unwrap();
        let mut file: serde_json::Value = serde_json::from_slice(&json).unwrap();
        for entry in file["packs"].as_array_mut().unwrap() {
            if entry["id"] == old {
                entry["id"] = new.to_string().into();
                for (blob, at) in entry["blobs"].as_array_mut().unwrap().iter_mut().zip(&placed) {
                    assert_eq!(blob["id"], at.id.to_string());
                    blob["offset"] = at.offset.into();
                    blob["length"] = at.length.into();
                }
            }
        }
        let body = key.seal(&serde_json::to_vec(&file).unwrap()).unwrap();
        source.tamper(&index, |_| None);
        source.plant(&format!("index/{}", Id::of(&body)), body);
    }
}

/// Every blob is hashed on the way, in packs that go over as they are too.
#[test]
fn swapped_blobs_are_not_copied() {
    let (source, seed) = filled();
    with_swapped_blobs(&source, &key_of(&seed));
    for shared in [false, true] {
        let destination = empty_vault(shared.then_some(&seed));
        let report = copy(&source, &destination).unwrap();
        assert_eq!(report.left_out.last().unwrap().lost.len(), 2, "{report:#?}");
        for left in &report.left_out {
            assert!(left.lost.iter().all(|lost| lost.why.contains("SHA-256")));
        }
        if !report.copied.is_empty() {
            passes(&destination);
        }
    }
}

/// a crash after each write into the destination. The source is as it was, the destination
/// is whole, and the next copy finishes without writing again what has arrived.
#[test]
fn a_crash_after_any_write_of_a_copy_loses_nothing() {
    let (source, seed) = filled();
    let (truth, before) = (all(&source), objects(&source));
    for shared in [false, true] {
        let start = empty_vault(shared.then_some(&seed));
        let recording = Arc::new(CrashStore::recording(start.image()));
        let to = open_on(recording.clone(), recording.clone(), environment(start.clock().clone()));
        let to = to.unwrap();
        open(&source).unwrap().copy_to(&to, options()).unwrap().finish().unwrap();
        drop(to);
        let writes = recording.writes();
        assert!(writes.iter().filter(|w| w.starts_with("create data/")).count() > 8, "{writes:?}");
        let full = recording.frozen().total_bytes();
        let images = recording.take_images();
        for (number, (image, write)) in images.into_iter().zip(&writes).enumerate() {
            // The stock restic takes its time: it looks at every fourth, and at the last ones.
            let passes =
                |store: &Arc<MemoryStore>| match number % 4 == 0 || number + 3 > writes.len() {
                    true => passes(store),
                    false => {
                        let report = open(store).unwrap().check(&CheckOptions::default()).unwrap();
                        assert!(report.passed(), "{report:#?}");
                    }
                };
            eprintln!("shared {shared}, crash after {write}");
            let image = Arc::new(image);
            let (found, count) = (all(&image), image.keys("data").len());
            assert!(found.iter().all(|(time, files)| &truth[time] == files), "never half a copy");
            if !found.is_empty() {
                passes(&image);
            } else if number % 4 == 0 {
                restic_check(&image);
            }
            let report = copy(&source, &image).unwrap();
            assert_eq!(report.copied.len() + report.present.len(), 3);
            assert_eq!(all(&image), truth);
            let packs = image.keys("data").len();
            assert_eq!(packs, count + report.counts.packs as usize);
            // At most a pack for each portion that was cut short, and the index objects.
            let limit = full + full / 4;
            assert!(image.total_bytes() < limit, "{} of {limit}", image.total_bytes());
            passes(&image);
        }
    }
    assert_eq!(objects(&source), before);
}

/// What had arrived whole is taken up: the second try writes the rest alone.
#[test]
fn a_broken_off_copy_is_taken_up() {
    let (source, _) = filled();
    let start = empty_vault(None);
    let one_portion = || CopyOptions { portion_bytes: u64::MAX, ..options() };
    let dying = Arc::new(CrashStore::dying_after(start.image(), 8));
    let to = open_on(dying.clone(), dying.clone(), environment(start.clock().clone())).unwrap();
    let failed = open(&source).unwrap().copy_to(&to, one_portion()).unwrap().finish();
    assert!(matches!(failed, Err(Error::Store(_))), "{failed:?}");
    drop(to);
    let image = Arc::new(dying.frozen());
    assert_eq!((image.keys("data").len(), image.keys("index").len()), (7, 0));
    let to = open(&image).unwrap();
    let report = open(&source).unwrap().copy_to(&to, one_portion()).unwrap().finish().unwrap();
    let needed = open(&source).unwrap().plan_copy(None, &one_portion()).unwrap();
    assert!(report.counts.bytes < needed.bytes / 2, "{} of {}", report.counts.bytes, needed.bytes);
    assert_eq!(all(&image), all(&source));
    passes(&image);
}

/// A broken-off copy may leave a tree without what it refers to; nobody takes its word.
#[test]
fn a_tree_that_arrived_alone_does_not_vouch_for_what_is_below() {
    let (source, seed) = filled();
    let destination = empty_vault(Some(&seed));
    let key = key_of(&seed);
    for pack in packs_of(&source, &key, BlobKind::Tree) {
        destination.plant(&pack, source.get(&pack).unwrap());
    }
    assert_eq!(copy(&source, &destination).unwrap().copied.len(), 3);
    assert_eq!(all(&destination), all(&source));
    passes(&destination);
}

/// ENOSPC and a source that goes away end the copy as what they are, with the locks given back.
#[test]
fn a_full_disk_and_a_lost_source_are_named_as_such() {
    let (source, seed) = filled();
    for shared in [false, true] {
        let full = Arc::new(FaultyStore::new(empty_vault(shared.then_some(&seed)).image()));
        full.no_space_after(300 << 10);
        let env = environment(full.inner().clock().clone());
        let to = open_on(full.clone(), full.clone(), env).unwrap();
        let failed = open(&source).unwrap().copy_to(&to, options()).unwrap().finish();
        assert!(matches!(failed, Err(Error::NoSpace(_))), "{failed:?}");
        drop(to);
        assert!(full.inner().keys("locks").is_empty());
        let image = Arc::new(full.inner().image());
        copy(&source, &image).unwrap();
        assert_eq!(all(&image), all(&source));

        let gone = Arc::new(FaultyStore::new(source.image()));
        let env = environment(gone.inner().clock().clone());
        let from = open_on(gone.clone(), gone.clone(), env).unwrap();
        let data =
            Fault { after: 4, ..Fault::always(Verb::Get, "data", StoreErrorKind::Unreachable) };
        gone.arm(data);
        let destination = empty_vault(shared.then_some(&seed));
        let to = open(&destination).unwrap();
        let failed = from.copy_to(&to, options()).and_then(lifeboat_vault::CopySession::finish);
        match failed {
            Err(Error::Store(error)) => assert_eq!(error.kind, StoreErrorKind::Unreachable),
            other => panic!("{other:?}"),
        }
        drop(to);
        assert!(destination.keys("locks").is_empty());
    }
}

#[test]
fn a_copy_stops_on_request() {
    let (source, _) = filled();
    let destination = empty_vault(None);
    let environment = environment(destination.clock().clone());
    let cancel = environment.cancel.clone();
    let to = open_on(destination.clone(), destination.clone(), environment).unwrap();
    let mut session = open(&source).unwrap().copy_to(&to, options()).unwrap();
    assert!(session.step().unwrap().is_some());
    cancel.cancel();
    assert!(matches!(session.step(), Err(Error::Cancelled)));
    drop(session);
    assert!((1..3).contains(&all(&destination).len()));
    passes(&destination);
}

const OTHER: &str = "another password";

/// Two folders: a repository of the stock restic with several snapshots, and their sources.
fn of_restic(folder: &Path, version: &str) -> (PathBuf, PathBuf) {
    let (source, repository) = (folder.join("source"), folder.join("theirs"));
    gnarly(&source);
    restic_ok(&repository, &["init", "--repository-version", version]);
    for round in 0..3 {
        std::fs::write(source.join("changing"), noise(round, 400_000)).unwrap();
        restic_ok(&repository, &["backup", "--tag", "component=media", source.to_str().unwrap()]);
    }
    (source, repository)
}

/// A repository of restic's with hard links, attributes, holes and odd names; of the first format
/// too, whose blobs are compressed on the way.
#[test]
fn we_copy_what_restic_captured_and_restic_finds_it_whole() {
    for version in ["2", "1"] {
        let folder = tempfile::tempdir().unwrap();
        let (source, theirs) = of_restic(folder.path(), version);
        let from = Arc::new(MemoryStore::load_from(&theirs).unwrap());
        let destination = empty_vault(None);
        let report = copy(&from, &destination).unwrap();
        assert_eq!((report.copied.len(), report.left_out.len()), (3, 0));
        assert_eq!(all(&from), all(&destination));
        passes(&destination);
        if version == "1" {
            let size = |s: &MemoryStore| s.list("data").unwrap().iter().map(|e| e.size).sum();
            let (ours, theirs): (u64, u64) = (size(&destination), size(&from));
            assert!(ours < theirs, "{ours} of {theirs}");
        }
        let ours = folder.path().join("ours");
        destination.save_to(&ours).unwrap();
        let target = folder.path().join("target");
        restic_ok(&ours, &["restore", "latest", "--target", target.to_str().unwrap()]);
        assert_same(&source, &target.join(source.strip_prefix("/").unwrap()));
        let by_us = folder.path().join("by us");
        let vault = open(&destination).unwrap();
        let (_, newest) = vault.snapshots().unwrap().pop().unwrap();
        vault.restore(&newest, &RestoreOptions::default(), &by_us).unwrap();
        assert_same(&source, &by_us.join(source.strip_prefix("/").unwrap()));

        // restic sees that all of it is there already.
        let said = restic_copy(&theirs, PASSWORD, &ours, PASSWORD);
        assert_eq!(said.matches("was already copied").count(), 3, "{said}");
        let after = Arc::new(MemoryStore::load_from(&ours).unwrap());
        assert_eq!(after.keys("snapshots"), destination.keys("snapshots"));
    }
}

fn restic_copy(from: &Path, from_password: &str, to: &Path, to_password: &str) -> String {
    let secret = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(secret.path(), from_password).unwrap();
    let arguments = [
        "copy",
        "-v",
        "--from-repo",
        from.to_str().unwrap(),
        "--from-password-file",
        secret.path().to_str().unwrap(),
    ];
    let output = restic_with(to, to_password, &arguments);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

/// `restic copy` takes ours over; afterwards we find nothing left to copy.
#[test]
fn restic_copies_ours_and_we_know_its_copies() {
    let folder = tempfile::tempdir().unwrap();
    let (source, _) = filled();
    let (ours, theirs) = (folder.path().join("ours"), folder.path().join("theirs"));
    source.save_to(&ours).unwrap();
    assert!(restic_with(&theirs, OTHER, &["init"]).status.success());
    restic_copy(&ours, PASSWORD, &theirs, OTHER);
    let destination = Arc::new(MemoryStore::load_from(&theirs).unwrap());
    let env = environment(destination.clock().clone());
    let there =
        Vault::open(destination.clone(), Some(destination.clone()), &Password::new(OTHER), env)
            .unwrap();
    let found: BTreeMap<jiff::Timestamp, Contents> = there
        .snapshots()
        .unwrap()
        .iter()
        .map(|(_, snapshot)| (snapshot.time, contents(&there, snapshot)))
        .collect();
    assert_eq!(found, all(&source));
    let report = open(&source).unwrap().copy_to(&there, options()).unwrap().finish().unwrap();
    assert_eq!((report.copied.len(), report.present.len()), (0, 3));
    // And back into a vault of our own: they are the same snapshots.
    let back = there.copy_to(&open(&source).unwrap(), options()).unwrap().finish().unwrap();
    assert_eq!((back.copied.len(), back.present.len()), (0, 3));
}
