//! The ledger finds what was done to it, and survives what happens to its host.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use lifeboat_model::chain::{Entry, Phase};
use lifeboat_model::exit::Exit;
use lifeboat_model::verdict::Verdict;
use lifeboat_recovery::flows::{
    AuditRequest, BackupRequest, ListRequest, audit_log, audit_log_of, audit_verify, backup, list,
    status,
};
use lifeboat_recovery::report::{AuditVerifyReport, FindingKind};
use lifeboat_recovery::seal::Sealer;
use lifeboat_testkit::{Fault, FaultyStore, MemoryStore, Verb};
use lifeboat_vault::{Store, StoreErrorKind};

use crate::bench::{Backing, Bench, KEY, bench};

fn run(b: &Bench, tier: &Arc<impl Backing + 'static>) {
    b.pass(60);
    let report = backup(&b.world(tier), &BackupRequest::default()).expect("the backup runs");
    assert_eq!(report.exit(), Exit::Done, "{report:#?}");
}

fn audit(b: &Bench, tier: &Arc<impl Backing + 'static>) -> AuditVerifyReport {
    audit_verify(&b.world(tier), &AuditRequest::default()).expect("the audit runs")
}

fn file(b: &Bench) -> PathBuf {
    b.state().join("ledger/shop-1.jsonl")
}

fn lines(b: &Bench) -> Vec<String> {
    fs::read_to_string(file(b)).unwrap().lines().map(str::to_owned).collect()
}

fn write(b: &Bench, lines: &[String]) {
    fs::write(file(b), lines.iter().map(|l| format!("{l}\n")).collect::<String>()).unwrap();
}

fn kinds(report: &AuditVerifyReport) -> Vec<FindingKind> {
    let mut kinds: Vec<_> = report.findings.iter().map(|f| f.kind).collect();
    kinds.dedup();
    kinds
}

/// Three backups: entries 1 (begun) to 7.
fn three() -> (Bench, Arc<MemoryStore>) {
    let b = bench();
    let tier = b.tier();
    for _ in 0..3 {
        run(&b, &tier);
    }
    assert_eq!(lines(&b).len(), 7);
    (b, tier)
}

fn sealer(tier: &MemoryStore) -> Sealer {
    Sealer::unlock(&tier.get("journal/identity.age").unwrap(), KEY).unwrap()
}

#[test]
fn an_untouched_ledger_passes_and_says_what_that_proves() {
    let (b, tier) = three();
    let report = audit(&b, &tier);
    assert_eq!(report.verdict, Verdict::Pass, "{report:#?}");
    assert_eq!((report.entries, report.anchored_to, report.consistent_to), (7, Some(7), Some(7)));
    assert_eq!(report.exit(), Exit::Done);
    assert!(!report.anchors[0].immutable);
    assert!(report.statement[0].contains("not immutable"), "{:?}", report.statement);
    // A fingerprint from outside.
    let key = report.key.clone().unwrap();
    let given = |key: &str| AuditRequest { key: Some(key.to_owned()), host: None };
    let world = b.world(&tier);
    let report = audit_verify(&world, &given(&key)).unwrap();
    assert!(report.verdict == Verdict::Pass && report.key_trusted);
    let foreign = audit_verify(&world, &given(&"ab".repeat(32))).unwrap();
    assert_eq!(foreign.verdict, Verdict::Fail, "signed by a key that is not the given one");
    assert!(kinds(&foreign).contains(&FindingKind::ForeignKey));
    assert_eq!(audit_verify(&world, &given("ab")).unwrap_err().exit(), Exit::Usage);
}

#[test]
fn the_local_copy_edited_removed_reordered_truncated() {
    type Change = fn(&mut Vec<String>);
    let matrix: [(&str, Change, FindingKind, u64); 7] = [
        ("edited", |l| l[3] = l[3].replace("olga", "anna"), FindingKind::Edited, 4),
        ("edited outcome", |l| l[4] = l[4].replace("done", "sank"), FindingKind::Edited, 5),
        ("emptied", |l| l[2] = String::new(), FindingKind::Edited, 3),
        ("removed", |l| drop(l.remove(2)), FindingKind::Removed, 3),
        ("first removed", |l| drop(l.remove(0)), FindingKind::Removed, 1),
        ("reordered", |l| l.swap(2, 4), FindingKind::Reordered, 3),
        ("truncated", |l| l.truncate(5), FindingKind::Truncated, 6),
    ];
    for (name, change, kind, seq) in matrix {
        let (b, tier) = three();
        let mut changed = lines(&b);
        change(&mut changed);
        write(&b, &changed);
        let report = audit(&b, &tier);
        assert_eq!((report.verdict, report.exit()), (Verdict::Fail, Exit::Unverified), "{name}");
        let found = report.findings.iter().find(|f| f.kind == kind);
        let found = found.unwrap_or_else(|| panic!("{name}: {:#?}", report.findings));
        let near = found.seq.is_some_and(|found| found.abs_diff(seq) <= 2);
        assert!(near, "{name}: {found:?} should be near entry {seq}");
        // The tier does not answer: what the local chain shows is found all the same.
        *b.mounted.lock().unwrap() = false;
        assert_eq!(audit(&b, &tier).verdict, Verdict::Fail, "{name} without the tier");
    }
}

/// The head file is rolled back together with the file: only the tier tells.
#[test]
fn truncation_with_its_head_is_found_by_the_tier() {
    let (b, tier) = three();
    let head = b.state().join("ledger/shop-1.head");
    let (older, older_head) = (lines(&b), fs::read(&head).unwrap());
    run(&b, &tier);
    write(&b, &older);
    fs::write(&head, older_head).unwrap();
    let report = audit(&b, &tier);
    assert_eq!(report.verdict, Verdict::Fail);
    assert!(kinds(&report).contains(&FindingKind::Truncated), "{:#?}", report.findings);
    assert!(report.findings.iter().any(|f| f.seq == Some(8)));
}

/// A state folder set back is caught up from the tier and said, so that the chain does not fork.
#[test]
fn a_state_that_was_set_back_goes_on_from_the_tier() {
    let (b, tier) = three();
    let head = b.state().join("ledger/shop-1.head");
    let (older, older_head) = (lines(&b), fs::read(&head).unwrap());
    run(&b, &tier);
    write(&b, &older);
    fs::write(&head, older_head).unwrap();
    b.pass(60);
    let report = backup(&b.world(&tier), &BackupRequest::default()).unwrap();
    assert!(report.warnings.iter().any(|w| w.contains("set back")), "{:?}", report.warnings);
    let report = audit(&b, &tier);
    assert_eq!(report.verdict, Verdict::Pass, "{report:#?}");
    assert_eq!(report.entries, 12, "9, a note, started, done");
}

#[test]
fn the_tiers_copy_edited_removed_truncated_replaced() {
    let entries = |tier: &MemoryStore| tier.keys("ledger/shop-1/entries");
    // Removed.
    let (b, tier) = three();
    let keys = entries(&tier);
    assert_eq!(keys.len(), 3);
    tier.tamper(&keys[1], |_| None);
    let report = audit(&b, &tier);
    assert_eq!(report.verdict, Verdict::Fail);
    let found = report.findings.iter().find(|f| f.kind == FindingKind::Removed).unwrap();
    assert_eq!((found.place.as_str(), found.seq), ("local", Some(4)), "{found:?}");

    // Bytes changed: it does not open, and is named.
    let (b, tier) = three();
    let keys = entries(&tier);
    tier.tamper(&keys[2], |mut body| {
        let at = body.len() / 2;
        body[at] ^= 1;
        Some(body)
    });
    let report = audit(&b, &tier);
    assert_eq!(report.verdict, Verdict::Fail);
    assert!(
        report
            .findings
            .iter()
            .any(|f| f.kind == FindingKind::Unreadable && f.what.contains(&keys[2]))
    );

    // Rewritten by somebody who has the vault key, and not the signing key.
    let (b, tier) = three();
    let keys = entries(&tier);
    let seal = sealer(&tier);
    tier.tamper(&keys[1], |body| {
        let plain = String::from_utf8(seal.open(&body).unwrap()).unwrap();
        assert!(plain.contains("olga"));
        Some(seal.seal(plain.replace("olga", "anna").as_bytes()).unwrap())
    });
    let report = audit(&b, &tier);
    assert_eq!(report.verdict, Verdict::Fail);
    assert!(kinds(&report).contains(&FindingKind::Edited), "{:#?}", report.findings);

    // A checkpoint that lies.
    let (b, tier) = three();
    let checkpoints = tier.keys("ledger/shop-1/checkpoints");
    let seal = sealer(&tier);
    tier.tamper(checkpoints.last().unwrap(), |body| {
        let plain = String::from_utf8(seal.open(&body).unwrap()).unwrap();
        let changed = plain.replace("\"seq\":7", "\"seq\":9");
        assert_ne!(plain, changed);
        Some(seal.seal(changed.as_bytes()).unwrap())
    });
    assert_eq!(audit(&b, &tier).verdict, Verdict::Fail);
}

/// Root forges the whole local chain with a key of its own: the tier still holds the true one.
#[test]
fn a_chain_forged_with_another_key_is_found() {
    let (b, tier) = three();
    let forger = bench();
    let other = forger.tier();
    for _ in 0..4 {
        run(&forger, &other);
    }
    for name in ["shop-1.jsonl", "shop-1.head", "shop-1.keys"] {
        let from = forger.state().join("ledger").join(name);
        fs::copy(from, b.state().join("ledger").join(name)).unwrap();
    }
    fs::copy(forger.state().join("sign.key"), b.state().join("sign.key")).unwrap();
    let report = audit(&b, &tier);
    assert_eq!(report.verdict, Verdict::Fail);
    let kinds = kinds(&report);
    assert!(kinds.contains(&FindingKind::ForeignKey), "{:#?}", report.findings);
    assert!(kinds.contains(&FindingKind::Diverged), "{:#?}", report.findings);
}

#[test]
fn without_an_answer_from_a_tier_it_is_inconclusive() {
    let (b, tier) = three();
    *b.mounted.lock().unwrap() = false;
    let report = audit(&b, &tier);
    assert_eq!(report.verdict, Verdict::Inconclusive, "{report:#?}");
    assert_eq!(report.exit(), Exit::Unverified);
    assert!(report.statement[0].contains("does not answer"));
    assert_eq!(report.consistent_to, Some(7));
}

#[test]
fn a_torn_last_line_is_mended_and_is_no_tampering() {
    let (b, tier) = three();
    let whole = fs::read(file(&b)).unwrap();
    let mut torn = whole.clone();
    torn.extend_from_slice(b"{\"action\":\"backup\",\"chain\":\"led");
    fs::write(file(&b), &torn).unwrap();
    let report = audit(&b, &tier);
    assert_eq!(report.verdict, Verdict::Pass, "{report:#?}");
    assert_eq!(kinds(&report), [FindingKind::Note]);

    b.pass(60);
    let report = backup(&b.world(&tier), &BackupRequest::default()).unwrap();
    assert!(report.warnings.iter().any(|w| w.contains("torn")), "{:?}", report.warnings);
    assert_eq!(lines(&b).len(), 9);
    assert_eq!(audit(&b, &tier).verdict, Verdict::Pass);

    // The same bytes missing from an acknowledged line are tampering, and the chain goes on.
    let mut cut = fs::read(file(&b)).unwrap();
    cut.truncate(cut.len() - 20);
    fs::write(file(&b), &cut).unwrap();
    assert_eq!(audit(&b, &tier).verdict, Verdict::Fail);
    b.pass(60);
    let report = backup(&b.world(&tier), &BackupRequest::default()).unwrap();
    assert!(report.warnings.iter().any(|w| w.contains("does not hold together")));
    assert_eq!(report.exit(), Exit::Done, "a tampered ledger does not stop backups");
    assert_eq!(audit(&b, &tier).verdict, Verdict::Fail, "and the break stays visible");
}

/// Written and synced, and the process died before it acknowledged: the entry counts.
#[test]
fn an_entry_that_was_written_and_not_acknowledged_counts() {
    let (b, tier) = three();
    let head = b.state().join("ledger/shop-1.head");
    let six: Entry = Entry::read(lines(&b)[5].as_bytes()).unwrap();
    let key = Entry::read(lines(&b)[0].as_bytes()).unwrap().key.unwrap();
    fs::write(&head, serde_json::to_vec(&six.head(key)).unwrap()).unwrap();
    run(&b, &tier);
    assert_eq!(lines(&b).len(), 9);
    assert_eq!(audit(&b, &tier).verdict, Verdict::Pass);
}

/// Two processes in a row died between writing and acknowledging; and one died while it took
/// several entries over from a tier.
#[test]
fn several_entries_that_were_not_acknowledged_count() {
    let (b, tier) = three();
    let head = b.state().join("ledger/shop-1.head");
    let five: Entry = Entry::read(lines(&b)[4].as_bytes()).unwrap();
    let key = Entry::read(lines(&b)[0].as_bytes()).unwrap().key.unwrap();
    fs::write(&head, serde_json::to_vec(&five.head(key)).unwrap()).unwrap();
    run(&b, &tier);
    assert_eq!(lines(&b).len(), 9, "none was written a second time");
    assert_eq!(audit(&b, &tier).verdict, Verdict::Pass);
}

#[test]
fn a_lost_head_file_is_no_loss() {
    let (b, tier) = three();
    fs::remove_file(b.state().join("ledger/shop-1.head")).unwrap();
    run(&b, &tier);
    assert_eq!(audit(&b, &tier).verdict, Verdict::Pass);
}

#[test]
fn a_host_that_lost_its_state_goes_on_from_the_tier() {
    let (b, tier) = three();
    let before = audit(&b, &tier).key.unwrap();
    fs::remove_dir_all(b.state()).unwrap();
    b.pass(60);
    let report = backup(&b.world(&tier), &BackupRequest::default()).unwrap();
    assert_eq!(report.exit(), Exit::Done, "{report:#?}");
    let said = report.warnings.iter().any(|w| w.contains("was lost") && w.contains("new key"));
    assert!(said, "{:?}", report.warnings);
    // The catalog is rebuilt: nothing is foreign, and the parent was found.
    assert!(report.components.iter().all(|c| c.parent.is_some()));
    let listed = list(&b.world(&tier), &ListRequest::default()).unwrap();
    assert_eq!(listed.snapshots.len(), 8);
    assert!(listed.snapshots.iter().all(|s| !s.foreign && s.complete_up_to.is_some()));

    let report = audit(&b, &tier);
    assert_eq!(report.verdict, Verdict::Pass, "{report:#?}");
    assert_eq!(report.entries, 10);
    assert_ne!(report.key.unwrap(), before);
    // The kit's fingerprint is the old key's: what a new key signed is not proven by it.
    let request = AuditRequest { key: Some(before), host: None };
    let report = audit_verify(&b.world(&tier), &request).unwrap();
    assert_eq!(report.verdict, Verdict::Fail);
    assert!(report.findings.iter().all(|f| f.seq.is_some_and(|seq| seq >= 8)));
}

#[test]
fn an_audit_on_a_bare_machine_reads_the_tier() {
    let (b, tier) = three();
    let key = audit(&b, &tier).key.unwrap();
    let bare = bench();
    let request = AuditRequest { key: Some(key), host: Some("shop-1".into()) };
    let report = audit_verify(&bare.world(&tier), &request).unwrap();
    assert_eq!(report.verdict, Verdict::Pass, "{report:#?}");
    // Without a key from outside the chain vouches for itself alone.
    let request = AuditRequest { key: None, host: Some("shop-1".into()) };
    let report = audit_verify(&bare.world(&tier), &request).unwrap();
    assert_eq!(report.verdict, Verdict::Inconclusive);
    assert!(!report.key_given && !report.key_trusted);
    // Under another name without a word, the hosts that the tier knows are named.
    let nobody = AuditRequest { key: None, host: Some("nobody".into()) };
    let error = audit_verify(&bare.world(&tier), &nobody).unwrap_err();
    assert_eq!(error.exit(), Exit::NotFound);
    assert!(error.hint().unwrap().contains("shop-1"), "{:?}", error.hint());
    let error = audit_log_of(&bare.world(&tier), Some("nobody"), 9).unwrap_err();
    assert!(error.hint().unwrap().contains("shop-1"), "{:?}", error.hint());
    let log = audit_log_of(&bare.world(&tier), Some("shop-1"), 9).unwrap();
    let own = audit_log(&b.world(&tier), 9).unwrap();
    assert_eq!(log.entries.len(), own.entries.len());
    assert!(log.entries.len() >= 7 && log.entries.iter().all(|entry| entry.shipped));
    // A fingerprint of a key that signed nothing here is not one "as given".
    let request = AuditRequest { key: Some("0".repeat(64)), host: Some("shop-1".into()) };
    let report = audit_verify(&bare.world(&tier), &request).unwrap();
    assert_eq!(report.verdict, Verdict::Fail);
    assert!(report.key_given && !report.key_trusted, "{report:#?}");
    assert!(!bare.state().exists(), "an audit leaves no trace");
}

#[test]
fn a_lost_signing_key_is_replaced_and_said() {
    let (b, tier) = three();
    fs::remove_file(b.state().join("sign.key")).unwrap();
    b.pass(60);
    let report = backup(&b.world(&tier), &BackupRequest::default()).unwrap();
    assert!(report.warnings.iter().any(|w| w.contains("signing key changed")));
    assert_eq!(audit(&b, &tier).verdict, Verdict::Pass);
    let log = audit_log(&b.world(&tier), 99).unwrap();
    assert!(log.entries.iter().any(|e| e.outcome == "signing key changed"));
}

/// A damaged key is a lost one: it stops neither a look nor, on the worst night, a restore.
#[test]
fn a_damaged_signing_key_stops_nothing_and_is_said() {
    let (b, tier) = three();
    let key = b.state().join("sign.key");
    for damage in ["not a key", "", "00"] {
        fs::write(&key, damage).unwrap();
        let look = status(&b.world(&tier)).unwrap();
        assert!(look.findings.iter().any(|w| w.contains("sign.key")), "{:?}", look.findings);
        assert_eq!(fs::read_to_string(&key).unwrap(), damage, "a look changes nothing");
        assert_eq!(audit(&b, &tier).verdict, Verdict::Pass);
        b.pass(60);
        let report = backup(&b.world(&tier), &BackupRequest::default()).unwrap();
        let said = |what: &str| report.warnings.iter().any(|w| w.contains(what));
        assert!(said("sign.key.damaged") && said("signing key changed"), "{:?}", report.warnings);
        assert_eq!(audit(&b, &tier).verdict, Verdict::Pass);
    }
}

/// CUS-20: started without finished is interrupted, and said at the next start.
#[test]
fn an_action_whose_process_died_is_closed_as_interrupted() {
    let (b, tier) = three();
    // What a killed process leaves: its entry, its record, and nobody who holds the lock.
    let world = b.world(&tier);
    let mut warnings = Vec::new();
    let mut ledger = lifeboat_recovery::ledger::Ledger::open(&world, None, &mut warnings).unwrap();
    let action = ledger.start("backup", "orders, media", Default::default()).unwrap();
    let started = action.seq();
    drop(action);
    let seen = status(&b.world(&tier)).unwrap();
    assert_eq!(seen.interrupted.len(), 1);
    assert_eq!((seen.interrupted[0].seq, seen.interrupted[0].action.as_str()), (started, "backup"));

    // Another flow closes it, says it, and does not say it twice.
    b.live().missing.push("orders".into());
    let report = backup(&b.world(&tier), &BackupRequest::default()).unwrap();
    assert!(report.warnings.iter().any(|w| w.contains("was interrupted")), "{:?}", report.warnings);
    let entry = lines(&b)
        .iter()
        .map(|line| Entry::read(line.as_bytes()).unwrap())
        .find(|entry| entry.phase == Phase::Interrupted)
        .unwrap();
    assert_eq!((entry.of, entry.action.as_str()), (Some(started), "backup"));
    assert_eq!(status(&b.world(&tier)).unwrap().interrupted.len(), 1, "not yet made good");
    b.live().missing.clear();
    let report = backup(&b.world(&tier), &BackupRequest::default()).unwrap();
    assert!(!report.warnings.iter().any(|w| w.contains("was interrupted")));
    assert!(status(&b.world(&tier)).unwrap().interrupted.is_empty(), "done again since");
    assert_eq!(audit(&b, &tier).verdict, Verdict::Pass);
}

#[test]
fn a_living_action_is_running_and_not_interrupted() {
    let (b, tier) = three();
    let world = b.world(&tier);
    let mut ledger =
        lifeboat_recovery::ledger::Ledger::open(&world, None, &mut Vec::new()).unwrap();
    let action = ledger.start("restore", "orders", Default::default()).unwrap();
    let seen = status(&b.world(&tier)).unwrap();
    assert_eq!((seen.running.len(), seen.interrupted.len()), (1, 0));
    run(&b, &tier);
    ledger.finish(action, "done", Default::default(), &[]).unwrap();
    let seen = status(&b.world(&tier)).unwrap();
    assert_eq!((seen.running.len(), seen.interrupted.len()), (0, 0));
    assert_eq!(audit(&b, &tier).verdict, Verdict::Pass);
}

#[test]
fn processes_append_one_after_the_other() {
    let (b, tier) = three();
    std::thread::scope(|scope| {
        for name in ["one", "two", "three", "four"] {
            let world = b.world(&tier);
            scope.spawn(move || {
                let mut ledger =
                    lifeboat_recovery::ledger::Ledger::open(&world, None, &mut Vec::new()).unwrap();
                for _ in 0..10 {
                    ledger.note("test", name, "done", Default::default()).unwrap();
                }
            });
        }
    });
    assert_eq!(lines(&b).len(), 47);
    run(&b, &tier);
    assert_eq!(audit(&b, &tier).verdict, Verdict::Pass);
}

/// A tier that was away is caught up by the next start.
#[test]
fn entries_that_could_not_be_shipped_are_shipped_later() {
    let b = bench();
    let tier = Arc::new(FaultyStore::new(MemoryStore::new(b.clock.clone())));
    run(&b, &tier);
    tier.arm(Fault::always(Verb::Create, "ledger/", StoreErrorKind::Unreachable));
    b.pass(60);
    let report = backup(&b.world(&tier), &BackupRequest::default()).unwrap();
    assert_eq!(report.exit(), Exit::Done);
    assert!(report.warnings.iter().any(|w| w.contains("could not be brought")));
    let seen = audit(&b, &tier);
    assert_eq!(
        (seen.verdict, seen.anchored_to, seen.consistent_to),
        (Verdict::Pass, Some(3), Some(5))
    );
    assert!(seen.statement.iter().any(|s| s == "entries 4 to 5 agree with themselves only"));
    tier.disarm();
    run(&b, &tier);
    assert_eq!(audit(&b, &tier).anchored_to, Some(7));
}

/// Another host writes into the same tier: its snapshots are known by its own chain.
#[test]
fn two_hosts_share_a_tier() {
    let (b, tier) = three();
    let mut other = bench();
    other.host = "Shop_2".into();
    other.pass(600);
    run(&other, &tier);
    assert!(tier.keys("ledger").iter().any(|key| key.starts_with("ledger/Shop_5F2/entries/")));
    for bench in [&b, &other] {
        let listed = list(&bench.world(&tier), &ListRequest::default()).unwrap();
        assert_eq!(listed.snapshots.len(), 8);
        assert!(listed.snapshots.iter().all(|s| !s.foreign), "{listed:#?}");
        assert_eq!(audit(bench, &tier).verdict, Verdict::Pass);
    }
}

/// `[key] recipient` without the identity: this host seals and cannot open what it sealed.
#[test]
fn a_host_that_can_only_seal_backs_up_and_cannot_vouch() {
    let folder = tempfile::tempdir().unwrap();
    let identity = folder.path().join("identity");
    let made = std::process::Command::new("age-keygen").arg("-o").arg(&identity).output();
    assert!(made.expect("age-keygen is needed: apt-get install age").status.success());
    let text = fs::read_to_string(&identity).unwrap();
    let recipient = text.lines().find_map(|l| l.strip_prefix("# public key: ")).unwrap();
    let mut b = bench();
    b.plan = b
        .plan
        .replace("[tier.local]", &format!("[key]\nrecipient = \"{recipient}\"\n[tier.local]"));
    let tier = b.tier();
    run(&b, &tier);
    run(&b, &tier);
    assert!(!tier.keys("").contains(&"journal/identity.age".to_owned()));
    let report = audit(&b, &tier);
    assert_eq!(report.verdict, Verdict::Inconclusive, "{report:#?}");
    assert!(report.statement[0].contains("no identity"), "{:?}", report.statement);
    // Where the identity is, the audit passes.
    let mut world = b.world(&tier);
    world.identity = Some(lifeboat_recovery::env::Secret::new(text.clone()));
    let report = audit_verify(&world, &AuditRequest::default()).unwrap();
    assert_eq!(report.verdict, Verdict::Pass, "{report:#?}");
    // A state that is lost cannot be read back: the chain goes on from the newest checkpoint's name.
    fs::remove_dir_all(b.state()).unwrap();
    b.pass(60);
    let saved = backup(&b.world(&tier), &BackupRequest::default()).unwrap();
    assert_eq!(saved.exit(), Exit::Done);
    assert!(saved.warnings.iter().any(|w| w.contains("continued unseen after entry 5")));
    assert!(saved.warnings.iter().any(|w| w.contains("count as foreign")), "{:?}", saved.warnings);
    run(&b, &tier);
    assert_eq!(tier.keys("ledger/shop-1/entries").len(), 4);
    let report = audit(&b, &tier);
    assert_eq!(report.verdict, Verdict::Inconclusive, "{report:#?}");
    assert!(report.findings.is_empty(), "{report:#?}");
    assert!(report.statement.iter().any(|s| s.contains("entries 1 to 5 are in tier local alone")));
    // Where the identity is, it is one chain; the new key is one that this host accepted itself.
    let mut world = b.world(&tier);
    world.identity = Some(lifeboat_recovery::env::Secret::new(text.clone()));
    let report = audit_verify(&world, &AuditRequest::default()).unwrap();
    assert!(report.findings.iter().all(|f| f.kind == FindingKind::ForeignKey), "{report:#?}");
    assert_eq!(report.entries, 10);
    // Both keys are named in the plan: everything is proven.
    let signers: Vec<String> =
        [0, 5].iter().map(|at| read_there(&tier, &world)[*at].key.unwrap().fingerprint()).collect();
    b.plan = b.plan.replace("[key]", &format!("[key]\nsigners = {signers:?}"));
    let mut world = b.world(&tier);
    world.identity = Some(lifeboat_recovery::env::Secret::new(text.clone()));
    let report = audit_verify(&world, &AuditRequest::default()).unwrap();
    assert_eq!(report.verdict, Verdict::Pass, "{report:#?}");

    // No checkpoint to go on from: refused, and nothing is changed.
    for key in tier.keys("ledger/shop-1/checkpoints") {
        tier.tamper(&key, |_| None);
    }
    fs::remove_dir_all(b.state()).unwrap();
    let keys = tier.keys("");
    let error = backup(&b.world(&tier), &BackupRequest::default()).unwrap_err();
    assert_eq!(error.exit(), Exit::Refused);
    assert!(error.hint().unwrap().contains("identity_file"), "{:?}", error.hint());
    assert_eq!(tier.keys(""), keys);
}

fn read_there(tier: &MemoryStore, world: &lifeboat_recovery::env::World) -> Vec<Entry> {
    let identity = world.identity.as_ref().unwrap().expose();
    let recipient = world.plan.key.recipient.as_ref().unwrap();
    let sealer = Sealer::new(recipient, Some(identity)).unwrap();
    let objects = tier.keys("ledger/shop-1/entries");
    let bodies = objects.iter().map(|key| sealer.open(&tier.get(key).unwrap()).unwrap());
    let text: Vec<u8> = bodies.flatten().collect();
    text.split(|b| *b == b'\n').filter_map(|line| Entry::read(line).ok()).collect()
}

#[test]
fn secrets_and_modes() {
    use std::os::unix::fs::PermissionsExt;
    let (b, tier) = three();
    let mode = |path: PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(b.state()), 0o700);
    assert_eq!(mode(b.state().join("sign.key")), 0o600);
    assert_eq!(mode(file(&b)), 0o600);
    let key = fs::read_to_string(b.state().join("sign.key")).unwrap();
    for line in lines(&b) {
        assert!(!line.contains(KEY) && !line.contains(key.trim()));
    }
    for object in tier.keys("ledger") {
        let body = tier.get(&object).unwrap();
        assert!(body.starts_with(b"age-encryption.org/v1"), "{object} is not sealed");
    }
}

/// Everything in the state folder but the catalog, as it is now.
fn saved_state(b: &Bench) -> Vec<(PathBuf, Vec<u8>)> {
    let names = ["shop-1.jsonl", "shop-1.head", "shop-1.shipped"];
    let paths = names.map(|name| b.state().join("ledger").join(name));
    paths.into_iter().map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}

fn set_back(saved: &[(PathBuf, Vec<u8>)]) {
    for (path, body) in saved {
        fs::write(path, body).unwrap();
    }
}

/// The state folder is set back, the tier is away for an attempt, and comes back: both went on from
/// entry 5.
fn parted() -> (Bench, Arc<MemoryStore>) {
    let b = bench();
    let tier = b.tier();
    run(&b, &tier);
    run(&b, &tier);
    let older = saved_state(&b);
    run(&b, &tier);
    set_back(&older);
    *b.mounted.lock().unwrap() = false;
    b.pass(60);
    backup(&b.world(&tier), &BackupRequest::default()).unwrap_err();
    *b.mounted.lock().unwrap() = true;
    assert_eq!(lines(&b).len(), 7, "5, and the attempt");
    (b, tier)
}

fn branch_of(b: &Bench) -> PathBuf {
    let files = fs::read_dir(b.state().join("ledger")).unwrap().map(|e| e.unwrap().path());
    let mut found: Vec<PathBuf> =
        files.filter(|path| path.to_string_lossy().contains(".branch-")).collect();
    assert_eq!(found.len(), 1, "{found:?}");
    found.remove(0)
}

/// Else no entry would ever verify again, and the snapshots in between would be foreign for ever.
#[test]
fn a_chain_that_parted_from_the_tiers_is_put_together_and_explained_once() {
    let (b, tier) = parted();
    let ours = lines(&b)[5..].join("\n") + "\n";
    b.pass(60);
    let report = backup(&b.world(&tier), &BackupRequest::default()).unwrap();
    assert!(report.warnings.iter().any(|w| w.contains("set aside")), "{:?}", report.warnings);
    let listed = list(&b.world(&tier), &ListRequest::default()).unwrap();
    assert_eq!(listed.snapshots.len(), 8);
    assert!(listed.snapshots.iter().all(|s| !s.foreign), "{listed:#?}");

    // 7 of the tier, the note, started, done; the branch is kept, and explained by an entry.
    let seen = audit(&b, &tier);
    assert_eq!((seen.verdict, seen.entries, seen.anchored_to), (Verdict::Pass, 10, Some(10)));
    assert_eq!(kinds(&seen), [FindingKind::Note], "{:#?}", seen.findings);
    assert_eq!(seen.findings.len(), 1);
    assert_eq!(fs::read_to_string(branch_of(&b)).unwrap(), ours);
    b.pass(60);
    let report = backup(&b.world(&tier), &BackupRequest::default()).unwrap();
    assert!(!report.warnings.iter().any(|w| w.contains("set aside")), "said once");
    assert_eq!(audit(&b, &tier).verdict, Verdict::Pass);

    // It hides nothing: a branch that is changed or gone is a fault.
    let file = branch_of(&b);
    fs::write(&file, ours.replace("olga", "anna")).unwrap();
    assert!(kinds(&audit(&b, &tier)).contains(&FindingKind::Edited));
    fs::remove_file(&file).unwrap();
    assert!(kinds(&audit(&b, &tier)).contains(&FindingKind::Removed));
    // A state folder that was lost takes it along, and says that it was lost.
    fs::remove_dir_all(b.state()).unwrap();
    run(&b, &tier);
    assert_eq!(audit(&b, &tier).verdict, Verdict::Pass, "{:#?}", audit(&b, &tier).findings);
}

/// The process dies between any two of the steps.
#[test]
fn putting_it_together_survives_a_crash() {
    // The branch was written, and the chain replaced; the head was not.
    let (b, tier) = parted();
    let before = fs::read(b.state().join("ledger/shop-1.head")).unwrap();
    let ours = lines(&b)[5..].join("\n") + "\n";
    let head = Entry::read(lines(&b)[6].as_bytes()).unwrap();
    let name = format!("shop-1.branch-7-{}.jsonl", head.hash());
    let kept = lines(&b)[..5].to_vec();
    run(&b, &tier);
    let all = lines(&b);
    write(&b, &[kept, all[5..7].to_vec()].concat());
    fs::write(b.state().join("ledger/shop-1.head"), before).unwrap();
    assert_eq!(fs::read_to_string(b.state().join("ledger").join(name)).unwrap(), ours);
    // What the tier got after that is taken over again.
    run(&b, &tier);
    let seen = audit(&b, &tier);
    assert_eq!(seen.verdict, Verdict::Pass, "{seen:#?}");
    assert_eq!(kinds(&seen), [FindingKind::Note]);
}

/// Whoever can write to the tier, and cannot sign, does not make this host set anything aside.
#[test]
fn a_tier_that_parted_without_our_signature_is_left_alone() {
    let (b, tier) = three();
    let seal = sealer(&tier);
    let last = tier.keys("ledger/shop-1/entries").pop().unwrap();
    for key in tier.keys("ledger/shop-1/checkpoints").split_off(2) {
        tier.tamper(&key, |_| None);
    }
    tier.tamper(&last, |body| {
        let plain = String::from_utf8(seal.open(&body).unwrap()).unwrap();
        Some(seal.seal(plain.replace("olga", "anna").as_bytes()).unwrap())
    });
    let (before, shipped) = (lines(&b), tier.keys("ledger/shop-1/entries"));
    b.pass(60);
    let report = backup(&b.world(&tier), &BackupRequest::default()).unwrap();
    assert_eq!(report.exit(), Exit::Done);
    assert!(report.warnings.iter().any(|w| w.contains("does not go on")), "{:?}", report.warnings);
    assert_eq!(lines(&b)[..7], before[..]);
    assert_eq!(tier.keys("ledger/shop-1/entries"), shipped, "nothing on top of it");
    assert_eq!(audit(&b, &tier).verdict, Verdict::Fail);
}

/// What `list` does not believe on a new machine, a backup does not take over.
#[test]
fn a_chain_that_does_not_hold_together_is_not_taken_over() {
    let (b, tier) = three();
    let keys = tier.keys("ledger/shop-1/entries");
    tier.tamper(&keys[1], |_| None);
    fs::remove_dir_all(b.state()).unwrap();
    let foreign = || {
        let listed = list(&b.world(&tier), &ListRequest::default()).unwrap();
        listed.snapshots.iter().filter(|s| s.foreign).count()
    };
    assert_eq!(foreign(), 6);
    b.pass(60);
    let report = backup(&b.world(&tier), &BackupRequest::default()).unwrap();
    assert_eq!(report.exit(), Exit::Done);
    assert!(report.warnings.iter().any(|w| w.contains("not believed")), "{:?}", report.warnings);
    assert_eq!(foreign(), 6, "still not believed, and the new ones are ours");
    assert_eq!(lines(&b).len(), 3, "the note, started, done");
    let seen = audit(&b, &tier);
    assert_eq!(seen.verdict, Verdict::Fail);
    assert!(kinds(&seen).contains(&FindingKind::Removed), "{:#?}", seen.findings);
    run(&b, &tier);
}

/// A list of keys that is empty, or gone, is no change of the key; and no reason not to back up.
#[test]
fn a_lost_or_empty_list_of_keys_stops_nothing_and_alarms_nobody() {
    let (b, tier) = three();
    let keys = b.state().join("ledger/shop-1.keys");
    for damage in [true, false] {
        match damage {
            true => fs::write(&keys, b"").unwrap(),
            false => fs::remove_file(&keys).unwrap(),
        }
        let looked = status(&b.world(&tier)).unwrap();
        assert_eq!(looked.findings.iter().any(|f| f.contains("passed over")), damage);
        b.pass(60);
        let report = backup(&b.world(&tier), &BackupRequest::default()).unwrap();
        assert_eq!(report.exit(), Exit::Done);
        let said = |what: &str| report.warnings.iter().any(|w| w.contains(what));
        assert!(!said("signing key changed"), "{:?}", report.warnings);
        assert_eq!(said("set aside"), damage, "{:?}", report.warnings);
        assert_eq!(audit(&b, &tier).verdict, Verdict::Pass);
        let listed = list(&b.world(&tier), &ListRequest::default()).unwrap();
        assert!(listed.snapshots.iter().all(|s| !s.foreign));
    }
    // Another key than the one that signed is said, with or without the list.
    fs::remove_file(&keys).unwrap();
    fs::remove_file(b.state().join("sign.key")).unwrap();
    b.pass(60);
    let report = backup(&b.world(&tier), &BackupRequest::default()).unwrap();
    assert!(report.warnings.iter().any(|w| w.contains("signing key changed")), "{report:#?}");
}

/// What is known of the tiers cannot be read: a backup goes on in the vault that is there, and makes
/// none where a disk is not mounted.
#[test]
fn a_broken_list_of_tiers_stops_nothing_and_makes_no_second_vault() {
    let (b, tier) = three();
    fs::write(b.state().join("tiers.json"), b"{").unwrap();
    *b.mounted.lock().unwrap() = false;
    for _ in 0..2 {
        let error = backup(&b.world(&tier), &BackupRequest::default()).unwrap_err();
        assert_eq!(error.exit(), Exit::Unreachable, "{error:?}");
    }
    *b.mounted.lock().unwrap() = true;
    fs::write(b.state().join("tiers.json"), b"{").unwrap();
    b.pass(60);
    let report = backup(&b.world(&tier), &BackupRequest::default()).unwrap();
    assert_eq!(report.exit(), Exit::Done);
    assert!(report.warnings.iter().any(|w| w.contains("tiers.json")), "{:?}", report.warnings);
    run(&b, &tier);
    assert_eq!(audit(&b, &tier).verdict, Verdict::Pass);
}
