//! A damaged destination: copies make good what the source has.

use std::collections::BTreeSet;
use std::sync::Arc;

use lifeboat_testkit::{CrashStore, MemoryStore, environment};
use lifeboat_vault::{
    BlobKind, CheckOptions, CopyOptions, CopyReport, Id, PackedBlob, Store, pack,
};

use crate::copy::{all, copy, empty_vault, filled, objects, options, passes};
use crate::support::{key_of, open, open_on, packs_of, restic_check};

/// How the packs of a destination are spoiled.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Harm {
    Removed,
    Cut,
    Changed,
}

fn harm(store: &MemoryStore, pack: &str, harm: Harm) {
    store.tamper(pack, |mut body| match harm {
        Harm::Removed => None,
        Harm::Cut => Some(body[..body.len() / 2].to_vec()),
        Harm::Changed => {
            body[100] ^= 1;
            Some(body)
        }
    });
}

/// The packs that are spare are taken out, as the flow does it.
fn discard(store: &Arc<MemoryStore>, report: &CopyReport) -> Vec<Id> {
    let spare = report.damaged.iter().filter(|one| !one.restored && one.lost == 0);
    let spare: Vec<Id> = spare.map(|one| one.pack).collect();
    open(store).unwrap().maintain(store.clone()).unwrap().discard(&spare).unwrap()
}

/// What is wrong with the packs of the destination is made good: what the listing shows in any copy,
/// what only reading shows if the snapshot is doubted.
#[test]
fn a_damaged_destination_is_made_good() {
    let (source, seed) = filled();
    let ids: Vec<Id> =
        open(&source).unwrap().snapshots().unwrap().iter().map(|(id, _)| *id).collect();
    for (shared, kind) in [
        (true, BlobKind::Data),
        (true, BlobKind::Tree),
        (false, BlobKind::Data),
        (false, BlobKind::Tree),
    ] {
        for how in [Harm::Removed, Harm::Cut, Harm::Changed] {
            let case = format!("{how:?} {kind:?} pack, shared key {shared}");
            let destination = empty_vault(shared.then_some(&seed));
            copy(&source, &destination).unwrap();
            let there = open(&destination).unwrap().seed().unwrap();
            let packs = packs_of(&destination, &key_of(&there), kind);
            harm(&destination, &packs[0], how);
            if how == Harm::Changed {
                assert_eq!(copy(&source, &destination).unwrap().damaged, [], "{case}: not read");
            }
            let doubted = if how == Harm::Changed { ids.clone() } else { Vec::new() };
            let again = CopyOptions { doubted: doubted.clone(), ..options() };
            let (from, to) = (open(&source).unwrap(), open(&destination).unwrap());
            let planned = from.plan_copy(Some(&to), &again).unwrap();
            assert_eq!(planned.damaged.len(), usize::from(how != Harm::Changed), "{case}");
            let report = from.copy_to(&to, again).unwrap().finish().unwrap();
            drop((from, to));
            assert_eq!((report.copied.len(), report.present.len()), (0, 3), "{case}");
            assert_eq!((&report.read_again, &report.left_out), (&doubted, &vec![]), "{case}");
            assert_eq!(report.damaged.len(), 1, "{case}: {report:#?}");
            let one = report.damaged[0];
            assert!(packs[0].ends_with(&one.pack.to_string()) && one.lost == 0, "{case}");
            assert_eq!(one.restored, shared && how == Harm::Removed, "{case}");
            assert_eq!(all(&destination), all(&source), "{case}: readable at once");
            let gone = discard(&destination, &report);
            assert_eq!(gone.is_empty(), one.restored, "{case}");
            passes(&destination);
            let after = objects(&destination);
            let again = copy(&source, &destination).unwrap();
            assert_eq!((again.damaged, again.counts.packs), (vec![], 0), "{case}");
            assert_eq!(objects(&destination), after, "{case}");
        }
    }
}

/// What the source does not have either stays named, and what can be read of it stays readable.
#[test]
fn what_neither_vault_has_is_not_called_healed() {
    let (source, seed) = filled();
    let destination = empty_vault(Some(&seed));
    copy(&source, &destination).unwrap();
    let key = key_of(&seed);
    let pack = packs_of(&source, &key, BlobKind::Data).remove(0);
    let blobs = {
        let body = source.get(&pack).unwrap();
        pack::open_header(&key, &body, body.len() as u64).unwrap().unwrap()
    };
    assert!(blobs.len() > 1);
    harm(&destination, &pack, Harm::Changed);
    source.tamper(&pack, |_| None);
    let ids: Vec<Id> =
        open(&source).unwrap().snapshots().unwrap().iter().map(|(id, _)| *id).collect();
    let again = CopyOptions { doubted: ids, ..options() };
    let (from, to) = (open(&source).unwrap(), open(&destination).unwrap());
    let report = from.copy_to(&to, again).unwrap().finish().unwrap();
    drop((from, to));
    assert_eq!(report.damaged.len(), 1, "{report:#?}");
    assert!(report.damaged[0].lost > 0 && !report.left_out.is_empty(), "{report:#?}");
    // Whoever asks for it all the same does not get it.
    let asked = [report.damaged[0].pack];
    let hands = open(&destination).unwrap().maintain(destination.clone()).unwrap();
    assert_eq!(hands.discard(&asked).unwrap(), []);
    drop(hands);
    assert!(destination.keys("data").contains(&pack));
    let readable =
        |blob: &&PackedBlob| open(&destination).unwrap().load_blob(blob.kind, &blob.id).is_ok();
    assert_eq!(blobs.iter().filter(readable).count(), blobs.len() - 1);
}

/// A pack that is sound is not taken away, whoever asks.
#[test]
fn a_sound_pack_is_never_discarded() {
    let (source, seed) = filled();
    let destination = empty_vault(Some(&seed));
    copy(&source, &destination).unwrap();
    let pack = packs_of(&destination, &key_of(&seed), BlobKind::Data).remove(0);
    // All of it is in other packs too.
    harm(&destination, &pack, Harm::Removed);
    let moved = CopyOptions { pack_bytes: 50 << 10, ..options() };
    let other = empty_vault(None);
    open(&source).unwrap().copy_to(&open(&other).unwrap(), moved).unwrap().finish().unwrap();
    open(&other)
        .unwrap()
        .copy_to(&open(&destination).unwrap(), options())
        .unwrap()
        .finish()
        .unwrap();
    destination.plant(&pack, source.get(&pack).unwrap());
    let id: Id = pack.rsplit('/').next().unwrap().parse().unwrap();
    let hands = open(&destination).unwrap().maintain(destination.clone()).unwrap();
    assert_eq!(hands.discard(&[id]).unwrap(), []);
    drop(hands);
    assert!(destination.keys("data").contains(&pack));
    passes(&destination);
}

/// Blobs of one pack that lie in another one too: before the first is given up, the other is read.
#[test]
fn a_second_pack_of_the_same_blobs_is_read_before_the_first_is_given_up() {
    let (source, seed) = filled();
    let destination = empty_vault(Some(&seed));
    copy(&source, &destination).unwrap();
    let pack = packs_of(&destination, &key_of(&seed), BlobKind::Data).remove(0);
    let whole = destination.get(&pack).unwrap();
    harm(&destination, &pack, Harm::Removed);
    // Made good from a vault of another key, its blobs come in packs of their own.
    let other = empty_vault(None);
    copy(&source, &other).unwrap();
    let before: BTreeSet<String> = destination.keys("data").into_iter().collect();
    copy(&other, &destination).unwrap();
    let now: BTreeSet<String> = destination.keys("data").into_iter().collect();
    let twins: Vec<&String> = now.difference(&before).collect();
    destination.plant(&pack, whole);
    harm(&destination, &pack, Harm::Cut);
    twins.iter().for_each(|twin| harm(&destination, twin, Harm::Changed));
    let report = copy(&source, &destination).unwrap();
    assert_eq!(report.damaged.len(), 1 + twins.len(), "{report:#?}");
    assert!(report.damaged.iter().all(|one| one.lost == 0), "{report:#?}");
    assert_eq!(discard(&destination, &report).len(), 1 + twins.len());
    assert_eq!(all(&destination), all(&source));
    passes(&destination);
}

/// A crash after each write of the healing: nothing is lost, and the next copy finishes it.
#[test]
fn a_crash_after_any_write_of_the_healing_loses_nothing() {
    let (source, _) = filled();
    let start = empty_vault(None);
    copy(&source, &start).unwrap();
    let truth = all(&source);
    let key = key_of(&open(&start).unwrap().seed().unwrap());
    let pack = packs_of(&start, &key, BlobKind::Data).remove(0);
    harm(&start, &pack, Harm::Cut);
    let recording = Arc::new(CrashStore::recording(start.image()));
    let open_it = || {
        let env = environment(start.clock().clone());
        open_on(recording.clone(), recording.clone(), env).unwrap()
    };
    let to = open_it();
    let report = open(&source).unwrap().copy_to(&to, options()).unwrap().finish().unwrap();
    let spare: Vec<Id> = report.damaged.iter().map(|one| one.pack).collect();
    assert_eq!(to.maintain(recording.clone()).unwrap().discard(&spare).unwrap(), spare);
    drop(to);
    let (writes, images) = (recording.writes(), recording.take_images());
    for (write, image) in writes.iter().zip(images) {
        let image = Arc::new(image);
        for key in image.keys("locks") {
            // The process that held it is gone.
            image.tamper(&key, |_| None);
        }
        let report = copy(&source, &image).unwrap();
        assert_eq!(report.present.len(), 3, "after {write}");
        assert_eq!(all(&image), truth, "after {write}");
        discard(&image, &report);
        let report = open(&image).unwrap().check(&CheckOptions::default()).unwrap();
        assert!(report.passed(), "after {write}: {report:#?}");
        restic_check(&image);
    }
}
