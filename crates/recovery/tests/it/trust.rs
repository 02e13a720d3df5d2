//! A chain that agrees with itself proves nothing: whoever can write to a tier can write one.

use std::fs;
use std::sync::{Arc, Condvar, Mutex};

use bytes::Bytes;
use lifeboat_model::chain::{Checkpoint, Document, Draft, Entry, Head, MemorySigner, Phase};
use lifeboat_model::chain::{PublicKey, Signed, Signer, seal};
use lifeboat_model::exit::Exit;
use lifeboat_model::verdict::Verdict;
use lifeboat_recovery::flows::{
    AuditRequest, BackupRequest, ListRequest, audit_log, audit_verify, backup, list,
};
use lifeboat_recovery::ledger::remote;
use lifeboat_recovery::report::{FindingKind, ListReport};
use lifeboat_recovery::seal::Sealer;
use lifeboat_testkit::MemoryStore;
use lifeboat_vault::{Store, StoreError};

use crate::bench::{Bench, KEY, bench};

fn run(b: &Bench, tier: &Arc<MemoryStore>) -> Vec<String> {
    b.pass(60);
    let report = backup(&b.world(tier), &BackupRequest::default()).expect("the backup runs");
    assert_eq!(report.exit(), Exit::Done, "{report:#?}");
    report.warnings
}

fn listed(b: &Bench, tier: &Arc<MemoryStore>) -> ListReport {
    list(&b.world(tier), &ListRequest::default()).unwrap()
}

fn foreign(report: &ListReport) -> usize {
    report.snapshots.iter().filter(|snapshot| snapshot.foreign).count()
}

fn sealer(tier: &MemoryStore) -> Sealer {
    Sealer::unlock(&tier.get("journal/identity.age").unwrap(), KEY).unwrap()
}

/// The lines of `host` in the tier.
fn entries(tier: &MemoryStore, host: &str) -> Vec<Entry> {
    let seal = sealer(tier);
    let lines = remote::lines(tier, &seal, host).unwrap().lines;
    lines.iter().map(|line| Entry::read(line).unwrap()).collect()
}

/// Writes what an attacker with the vault key can: entries of `host` after `head`, signed by a key
/// of his own, that claim the snapshots that `facts` of another entry name; and a checkpoint.
fn forge(tier: &MemoryStore, host: &str, head: Option<Head>, model: &Entry) -> PublicKey {
    let signer = MemorySigner::from_seed(&[7; 32]);
    let draft = Draft {
        chain: "ledger".into(),
        time: model.time,
        host: host.into(),
        operator: "mallory".into(),
        action: "backup".into(),
        object: "orders".into(),
        phase: Phase::Note,
        of: None,
        outcome: Some("done".into()),
        detail: model.detail.clone(),
        plan: model.plan.clone(),
        next_key: None,
    };
    let entry = seal(head.as_ref(), draft, &signer).unwrap();
    let document = Checkpoint {
        format: Checkpoint::FORMAT,
        chain: "ledger".into(),
        host: host.into(),
        seq: entry.seq,
        head: entry.hash(),
        time: model.time,
    };
    let checkpoint = Signed::new(document, &signer).unwrap();
    let seal = sealer(tier);
    let mut line = entry.bytes();
    line.push(b'\n');
    let key = remote::entries_key(host, entry.seq, entry.seq);
    remote::put(tier, &seal, &key, &line).unwrap();
    let key = remote::checkpoint_key(host, entry.seq, &entry.hash());
    remote::put(tier, &seal, &key, &checkpoint.bytes()).unwrap();
    signer.public_key()
}

fn facts(entries: &[Entry]) -> Entry {
    entries.iter().rev().find(|entry| entry.detail.contains_key("facts")).unwrap().clone()
}

/// Entries of a key that nobody announced, put after the true ones while the state is lost.
#[test]
fn entries_that_a_stranger_appended_are_not_taken_over_unnoticed() {
    let b = bench();
    let tier = b.tier();
    run(&b, &tier);
    run(&b, &tier);
    let there = entries(&tier, "shop-1");
    let (last, key) = (there.last().unwrap(), there[0].key.unwrap());
    // The snapshots of the second backup are known by a forged entry alone.
    let cut = there[..3].last().unwrap();
    for folder in ["entries", "checkpoints"] {
        for object in tier.keys(&format!("ledger/shop-1/{folder}")).split_off(1) {
            tier.tamper(&object, |_| None);
        }
    }
    let forger = forge(&tier, "shop-1", Some(cut.head(key)), &facts(&there));
    assert_eq!(last.seq, 5);
    fs::remove_dir_all(b.state()).unwrap();

    let seen = listed(&b, &tier);
    assert_eq!(foreign(&seen), 2, "{seen:#?}");
    let said = |warnings: &[String], what: &str| warnings.iter().any(|w| w.contains(what));
    assert!(said(&seen.warnings, &forger.fingerprint()), "{:?}", seen.warnings);
    let warnings = run(&b, &tier);
    assert!(said(&warnings, "not believed") && said(&warnings, &forger.fingerprint()));
    assert!(said(&warnings, &key.fingerprint()), "seen first, compared with nothing: {warnings:?}");
    assert_eq!(foreign(&listed(&b, &tier)), 2, "still not believed");
    let report = audit_verify(&b.world(&tier), &AuditRequest::default()).unwrap();
    assert_eq!(report.verdict, Verdict::Fail);
    let found = report.findings.iter().find(|f| f.kind == FindingKind::ForeignKey).unwrap();
    assert_eq!(found.seq, Some(4), "{report:#?}");
    let log = audit_log(&b.world(&tier), 99).unwrap();
    assert!(log.entries.iter().any(|e| e.detail["refused"] == serde_json::json!([4, 4])));
}

/// A whole chain of his own: believed on first sight, which is said; not where the plan names a key.
#[test]
fn the_plans_signers_are_the_only_ones_that_are_believed() {
    let mut b = bench();
    let tier = b.tier();
    run(&b, &tier);
    let there = entries(&tier, "shop-1");
    let key = there[0].key.unwrap().fingerprint();
    for object in tier.keys("ledger/shop-1") {
        tier.tamper(&object, |_| None);
    }
    let forger = forge(&tier, "shop-1", None, &facts(&there)).fingerprint();
    fs::remove_dir_all(b.state()).unwrap();
    let seen = listed(&b, &tier);
    assert_eq!(foreign(&seen), 0, "nothing here can tell");
    let said = seen.warnings.iter().any(|w| w.contains(&forger) && w.contains("first time"));
    assert!(said, "{:?}", seen.warnings);

    b.plan = b.plan.replace("[tier.local]", &format!("[key]\nsigners = [\"{key}\"]\n[tier.local]"));
    let seen = listed(&b, &tier);
    assert_eq!(foreign(&seen), 2, "{seen:#?}");
    assert!(seen.warnings.iter().any(|w| w.contains(&forger) && w.contains("not believed")));
    let warnings = run(&b, &tier);
    assert!(warnings.iter().any(|w| w.contains(&forger)), "{warnings:?}");
    assert_eq!(foreign(&listed(&b, &tier)), 2);
    let audit = audit_verify(&b.world(&tier), &AuditRequest::default()).unwrap();
    assert_eq!(audit.verdict, Verdict::Fail);
}

/// Another host's key is kept when it is seen first: a chain of another key is noticed.
#[test]
fn another_hosts_key_is_kept_and_a_change_of_it_is_not_believed() {
    let b = bench();
    let tier = b.tier();
    run(&b, &tier);
    let mut other = bench();
    other.host = "shop-2".into();
    other.pass(600);
    run(&other, &tier);
    let warnings = run(&b, &tier);
    let theirs = entries(&tier, "shop-2");
    let print = theirs[0].key.unwrap().fingerprint();
    assert!(warnings.iter().any(|w| w.contains(&print)), "{warnings:?}");
    assert!(listed(&b, &tier).warnings.is_empty(), "said once");
    assert_eq!(foreign(&listed(&b, &tier)), 0);
    // Their chain is replaced with a forged one, and the catalog is lost.
    for object in tier.keys("ledger/shop-2") {
        tier.tamper(&object, |_| None);
    }
    forge(&tier, "shop-2", None, &facts(&theirs));
    fs::remove_file(b.state().join("catalog.db")).unwrap();
    let seen = listed(&b, &tier);
    assert_eq!(foreign(&seen), 2, "{seen:#?}");
    assert!(seen.warnings.iter().any(|w| w.contains("not believed")), "{:?}", seen.warnings);
}

/// Entries that somebody without the key put into the local file are no facts.
#[test]
fn the_local_ledger_is_believed_by_its_signatures_too() {
    let b = bench();
    let tier = b.tier();
    run(&b, &tier);
    let file = b.state().join("ledger/shop-1.jsonl");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace("olga", "anna")).unwrap();
    fs::remove_file(b.state().join("catalog.db")).unwrap();
    for object in tier.keys("ledger/shop-1") {
        tier.tamper(&object, |_| None);
    }
    assert_eq!(foreign(&listed(&b, &tier)), 2);
}

/// A tier where whoever looks for a ledger waits until all have looked, or a moment: those that do
/// not wait for each other elsewhere all see the same.
struct Meeting {
    tier: Arc<dyn Store>,
    looks: Arc<(Mutex<usize>, Condvar)>,
    count: usize,
}

impl Store for Meeting {
    fn get(&self, key: &str) -> Result<Bytes, StoreError> {
        self.tier.get(key)
    }
    fn get_range(&self, key: &str, offset: u64, len: u64) -> Result<Bytes, StoreError> {
        self.tier.get_range(key, offset, len)
    }
    fn create(&self, key: &str, parts: &[Bytes]) -> Result<(), StoreError> {
        self.tier.create(key, parts)
    }
    fn list(&self, prefix: &str) -> Result<Vec<lifeboat_vault::Entry>, StoreError> {
        let found = self.tier.list(prefix);
        let (looks, all) = &*self.looks;
        let mut seen = looks.lock().unwrap();
        *seen += 1;
        all.notify_all();
        let moment = std::time::Duration::from_millis(50);
        drop(all.wait_timeout_while(seen, moment, |seen| *seen < self.count).unwrap());
        found
    }
    fn stat(&self, key: &str) -> Result<lifeboat_vault::Entry, StoreError> {
        self.tier.stat(key)
    }
    fn describe(&self) -> String {
        self.tier.describe()
    }
}

/// Of processes that are all the first, one begins and the others join; also after a loss.
#[test]
fn first_processes_at_once_make_one_chain() {
    let b = bench();
    let tier = b.tier();
    let all_at_once = |count: usize| {
        let barrier = std::sync::Barrier::new(count);
        let looks = Arc::new((Mutex::new(0), Condvar::new()));
        std::thread::scope(|scope| {
            for component in ["orders", "media"].into_iter().cycle().take(count) {
                let (barrier, world, looks) = (&barrier, b.world(&tier), looks.clone());
                scope.spawn(move || {
                    barrier.wait();
                    let mut warnings = Vec::new();
                    let tier = world.open_tier(lifeboat_recovery::tier::Access::Make).unwrap();
                    let mut tier = match tier {
                        Some(tier) => tier,
                        None => world
                            .make_or_join_tier(lifeboat_recovery::tier::Access::Make, None)
                            .unwrap(),
                    };
                    tier.store = Arc::new(Meeting { tier: tier.store, looks, count });
                    let mut ledger =
                        lifeboat_recovery::ledger::Ledger::open(&world, Some(&tier), &mut warnings)
                            .unwrap();
                    ledger.note("test", component, "done", Default::default()).unwrap();
                    ledger.ship(&world, &tier).unwrap();
                    assert!(!warnings.iter().any(|w| w.contains("signing key changed")));
                });
            }
        });
        let report = audit_verify(&b.world(&tier), &AuditRequest::default()).unwrap();
        assert_eq!(report.verdict, Verdict::Pass, "{report:#?}");
        report.entries
    };
    assert_eq!(all_at_once(6), 7, "begun once");
    fs::remove_dir_all(b.state()).unwrap();
    assert_eq!(all_at_once(4), 12, "continued once");
}

/// What a tier acknowledged and no longer has is found while the local state is there.
#[test]
fn an_end_that_was_cut_off_with_its_checkpoint_is_found_beside_the_local_state() {
    let b = bench();
    let tier = b.tier();
    run(&b, &tier);
    run(&b, &tier);
    for folder in ["entries", "checkpoints"] {
        let last = tier.keys(&format!("ledger/shop-1/{folder}")).pop().unwrap();
        tier.tamper(&last, |_| None);
    }
    let report = audit_verify(&b.world(&tier), &AuditRequest::default()).unwrap();
    assert_eq!(report.verdict, Verdict::Fail, "{report:#?}");
    assert!(report.findings.iter().any(|f| f.what.contains("entries up to 5 were shipped")));
    let warnings = run(&b, &tier);
    assert!(warnings.iter().any(|w| w.contains("shipped again")), "{warnings:?}");
    let report = audit_verify(&b.world(&tier), &AuditRequest::default()).unwrap();
    assert_eq!(report.verdict, Verdict::Pass, "{report:#?}");
}

/// Unsealing the identity is made costly for typed keys: what does not open anything does not pay.
#[test]
fn the_known_identity_is_unsealed_once_and_only_where_something_is_opened() {
    use lifeboat_recovery::tier::Access;
    let b = bench();
    let tier = b.tier();
    run(&b, &tier);
    let open = || b.world(&tier).open_tier(Access::Write).unwrap().unwrap();
    let opened = open();
    let sealer = opened.sealer.as_ref().unwrap();
    assert!(sealer.opens() && !sealer.is_unsealed());
    let world = b.world(&tier);
    let mut ledger =
        lifeboat_recovery::ledger::Ledger::open(&world, Some(&opened), &mut Vec::new()).unwrap();
    ledger.note("test", "orders", "done", Default::default()).unwrap();
    ledger.ship(&world, &opened).unwrap();
    lifeboat_recovery::catalog::up_to_date(&world, &opened, true).unwrap();
    assert!(!sealer.is_unsealed(), "a backup's walk and a list open nothing");
    let key = tier.keys("ledger/shop-1/entries").remove(0);
    sealer.open(&tier.get(&key).unwrap()).unwrap();
    assert!(sealer.is_unsealed());

    // What costs nothing is not believed either: another identity, or none, is noticed.
    let identity = tier.get("journal/identity.age").unwrap();
    let (_, other) = Sealer::generate(KEY, false).unwrap();
    tier.tamper("journal/identity.age", |_| Some(other));
    let why = open().sealer.unwrap_err().line();
    assert!(why.contains("not the one that is known"), "{why}");
    tier.tamper("journal/identity.age", |_| None);
    let why = open().sealer.unwrap_err().line();
    assert!(why.contains("is gone"), "{why}");
    assert!(tier.get("journal/identity.age").is_err(), "no other one is made in its place");
    let warnings = run(&b, &tier);
    assert!(warnings.iter().any(|w| w.contains("is gone")), "{warnings:?}");
    tier.plant("journal/identity.age", identity);
    run(&b, &tier);
    let report = audit_verify(&b.world(&tier), &AuditRequest::default()).unwrap();
    assert_eq!(report.verdict, Verdict::Pass, "{report:#?}");
}
