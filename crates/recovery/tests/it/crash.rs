//! The crash sweep: a machine that dies after each write of a backup. Afterwards the next run
//! works, older snapshots restore, and the ledger holds together.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use lifeboat_model::exit::Exit;
use lifeboat_model::verdict::Verdict;
use lifeboat_recovery::flows::{
    At, AuditRequest, BackupRequest, Destination, RestoreRequest, VerifyRequest, audit_verify,
    backup, restore, verify,
};
use lifeboat_testkit::{CrashStore, MemoryStore};

use crate::bench::{Bench, bench, tree};

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// What must hold after any crash: the next run works, every snapshot restores and equals its
/// manifest, older ones are all there, the ledger holds together.
fn holds(b: &Bench, tier: &Arc<MemoryStore>, older: usize, what: &str) {
    b.pass(1);
    let report = backup(&b.world(tier), &BackupRequest::default())
        .unwrap_or_else(|error| panic!("{what}: the next run: {error}"));
    assert_eq!(report.exit(), Exit::Done, "{what}: {report:#?}");
    let checked =
        verify(&b.world(tier), &VerifyRequest { all: true, ..Default::default() }).unwrap();
    assert_eq!(checked.verdict, Verdict::Pass, "{what}: {checked:#?}");
    assert!(checked.snapshots.len() >= older + 2, "{what}");
    assert!(checked.snapshots.iter().all(|snapshot| snapshot.restored), "{what}");
    let audit = audit_verify(&b.world(tier), &AuditRequest::default()).unwrap();
    assert_eq!(audit.verdict, Verdict::Pass, "{what}: {audit:#?}");
}

/// Counts the writes of one backup.
fn writes(b: &Bench, from: &MemoryStore) -> usize {
    let store = Arc::new(CrashStore::recording(from.image()));
    let report = backup(&b.world(&store), &BackupRequest::default()).unwrap();
    assert_eq!(report.exit(), Exit::Done, "{report:#?}");
    store.writes().len()
}

#[test]
fn the_first_backup_may_die_after_each_write() {
    let count = writes(&bench(), &bench().tier());
    assert!(count > 10, "{count} writes");
    for k in 0..count {
        let b = bench();
        let store = Arc::new(CrashStore::dying_after(MemoryStore::new(b.clock.clone()), k));
        // The error or the report of a dying machine is read by nobody.
        drop(backup(&b.world(&store), &BackupRequest::default()));
        let tier = Arc::new(store.frozen());
        holds(&b, &tier, 0, &format!("first backup, write {k} of {count}"));
    }
}

#[test]
fn a_later_backup_may_die_after_each_write() {
    let made = || {
        let b = bench();
        let tier = b.tier();
        backup(&b.world(&tier), &BackupRequest::default()).unwrap();
        b.pass(60);
        b.set("orders", "rows", "changed since\n");
        b.set("media", "c.jpg", "CCCC");
        (b, tier)
    };
    let count = {
        let (b, tier) = made();
        writes(&b, &tier)
    };
    for k in 0..count {
        let (b, tier) = made();
        let store = Arc::new(CrashStore::dying_after(tier.image(), k));
        drop(backup(&b.world(&store), &BackupRequest::default()));
        let tier = Arc::new(store.frozen());
        holds(&b, &tier, 2, &format!("later backup, write {k} of {count}"));
    }
}

/// The disk of the host burns as well: only what the tier got counts.
#[test]
fn the_host_may_burn_after_each_write() {
    let b = bench();
    let tier = b.tier();
    backup(&b.world(&tier), &BackupRequest::default()).unwrap();
    b.pass(60);
    b.set("orders", "rows", "changed since\n");
    let count = writes(&b, &tier);
    let before = tempfile::tempdir().unwrap();
    copy(&b.state(), before.path());
    for k in 0..count {
        let burnt = bench();
        burnt.pass(60);
        copy(before.path(), &burnt.state());
        let store = Arc::new(CrashStore::dying_after(tier.image(), k));
        drop(backup(&burnt.world(&store), &BackupRequest::default()));
        let left = Arc::new(store.frozen());
        let bare = bench();
        bare.pass(120);
        let out = bare.folder.path().join("out");
        let request = RestoreRequest {
            components: vec!["orders".into()],
            all: false,
            at: At::Newest,
            verified_only: false,
            base: None,
            prepare_only: false,
            to: Destination::Folder(out.clone()),
            path: None,
            keep_failed: false,
        };
        let report = restore(&bare.world(&left), &request).unwrap();
        assert_eq!(report.exit(), Exit::Done, "write {k} of {count}: {report:#?}");
        assert!(tree(&out).contains_key("rows"));
        let audit = audit_verify(&bare.world(&left), &AuditRequest::default()).unwrap();
        assert_eq!(audit.verdict, Verdict::Pass, "write {k} of {count}: {audit:#?}");
    }
}
