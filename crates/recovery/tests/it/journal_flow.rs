//! Journals among the flows: whose objects are believed, and what `prune` does with them.

use std::sync::Arc;

use lifeboat_model::exit::Exit;
use lifeboat_model::journal::Name;
use lifeboat_model::position::LogPosition;
use lifeboat_model::verdict::Verdict;
use lifeboat_recovery::env::World;
use lifeboat_recovery::flows::{self, BackupRequest, PruneRequest, VerifyRequest};
use lifeboat_recovery::journal::{
    Journal, JournalTier, PackPolicy, ReadFrom, Settings, Writer, stream_signer, trusted_keys,
};
use lifeboat_recovery::ports::{Joint, LogReader, RecoverTo};
use lifeboat_testkit::MemoryStore;
use lifeboat_vault::{Cancel, Clock, NoMonitor};

use crate::bench::{Bench, bench};
use crate::journal_kit::{BEGIN, COMPONENT, LINEAGE, at, base, logged, range, replay, start};

/// `orders` streams; snapshots are kept for a day, and any second of two.
fn streaming() -> (Bench, Arc<MemoryStore>) {
    let mut b = bench();
    let plain = "files = { paths = [\"orders\"] }";
    let streams = "sqlite = { path = \"orders.db\", stream = true, window = \"2d\" }";
    b.plan =
        b.plan.replace(plain, streams).replace("url = \"/tier\"", "url = \"/tier\"\nkeep = \"1d\"");
    let tier = b.tier();
    (b, tier)
}

fn writer(world: &World) -> Writer {
    let tier = world.read_tier().unwrap();
    let store = world.tier.place.open(false).unwrap().store;
    let (signer, certificate) = stream_signer(world, COMPONENT).unwrap();
    Writer::open(Settings {
        component: COMPONENT.to_owned(),
        host: world.host.clone(),
        tiers: vec![JournalTier::of(&world.tier, store, &world.state)],
        every_tier: true,
        sealer: tier.sealer.as_ref().unwrap().clone(),
        signer,
        certificate,
        trusted: trusted_keys(world, &tier).unwrap().0,
        state: world.state.clone(),
        clock: world.clock.clone(),
        monitor: Arc::new(NoMonitor),
        spool: None,
    })
    .unwrap()
}

fn journal(world: &World) -> Journal {
    let tier = world.read_tier().unwrap();
    Journal::open(ReadFrom {
        store: tier.store.clone(),
        sealer: tier.sealer.as_ref().unwrap().clone(),
        component: COMPONENT.to_owned(),
        trusted: trusted_keys(world, &tier).unwrap().0,
        local: None,
        cancel: Cancel::default(),
    })
    .unwrap()
}

/// The base of the window stays though its schedule would let it go, and the journal from there on;
/// a dry run says so and leaves no trace.
#[test]
fn pruning_keeps_the_base_of_the_window_and_the_journal_that_leads_on_from_it() {
    let (b, tier) = streaming();
    let mut end = BEGIN;
    for day in 0..6u64 {
        b.pass(24 * 3600 - 220);
        b.set("orders", "orders.txt", &format!("orders of day {day}"));
        let place = LogPosition { lineage: LINEAGE.to_owned(), position: at(end) };
        b.live().positions.insert(COMPONENT.to_owned(), place);
        let world = b.world(&tier);
        let report = flows::backup(&world, &BackupRequest::default()).unwrap();
        assert_eq!(report.exit(), Exit::Done, "{report:#?}");
        let mut writer = writer(&world);
        let begin = match writer.resume() {
            Some(resume) => start(resume.at, Joint::Seamless),
            None => start(base(BEGIN), Joint::NewLineage { why: "the first one".to_owned() }),
        };
        writer.begin(&begin).unwrap();
        for _ in 0..220 {
            b.pass(1);
            writer.append(&range(end, b.clock.wall())).unwrap();
            end += 10;
        }
        let policy = PackPolicy { most_slices: 100, ..PackPolicy::default() };
        while writer.pack(&policy).unwrap().is_some() {}
    }
    let world = b.world(&tier);
    assert_eq!(flows::verify(&world, &VerifyRequest::default()).unwrap().verdict, Verdict::Pass);
    let before = tier.keys("");
    let planned = flows::plan_prune(&b.world(&tier), &PruneRequest::default()).unwrap();
    assert_eq!(tier.keys(""), before, "a dry run leaves no trace");
    let fate = &planned.journals[0];
    assert_eq!((planned.journals.len(), fate.component.as_str()), (1, COMPONENT));
    assert!(fate.packed + fate.passed > 1000 && fate.passed > 0, "{fate:#?}");
    let orders = planned.snapshots.iter().filter(|s| s.component.as_deref() == Some(COMPONENT));
    let kept: Vec<_> = orders.filter(|snapshot| snapshot.kept).collect();
    assert!(
        kept.iter().any(|s| s.why.iter().any(|why| why.contains("the window of"))),
        "{kept:#?}"
    );
    let report = flows::prune(&b.world(&tier), &PruneRequest::default()).unwrap();
    assert_eq!(report.exit(), Exit::Done, "{report:#?}");
    assert_eq!(report.journals[0].passed, fate.passed);
    assert!(tier.keys("journal").len() < 60, "{}", tier.keys("journal").len());
    // The window's base is the fourth: two days before now, 660 ranges after the first.
    let world = b.world(&tier);
    let from = BEGIN + 3 * 2200;
    let way = journal(&world).way(&base(from), &RecoverTo::Newest).unwrap();
    assert_eq!(replay(&way), logged(from, end));
    assert_eq!(way.facts()["engine"], "test");
    let survey = journal(&world).survey().unwrap();
    assert_eq!((survey.faults.len(), survey.windows.len()), (0, 1), "{survey:#?}");
    assert!(survey.windows[0].from > at(BEGIN), "what no point needs is gone");
}

/// The journal is believed by the keys that the ledger is believed by; a machine without the local
/// state believes the ledger's first one on first sight, and says so.
#[test]
fn a_restore_elsewhere_believes_whom_the_ledger_is_believed_by() {
    let (b, tier) = streaming();
    let world = b.world(&tier);
    flows::backup(&world, &BackupRequest::default()).unwrap();
    let mut writer = writer(&world);
    let first = Joint::NewLineage { why: "the first one".to_owned() };
    writer.begin(&start(base(BEGIN), first)).unwrap();
    writer.append(&range(BEGIN, b.clock.wall())).unwrap();
    drop(writer);
    std::fs::remove_dir_all(b.state()).unwrap();
    let world = b.world(&tier);
    let opened = world.read_tier().unwrap();
    let (keys, notes) = trusted_keys(&world, &opened).unwrap();
    assert_eq!(keys.len(), 1);
    assert!(notes[0].contains("seen for the first time"), "{notes:?}");
    let way = journal(&world).way(&base(BEGIN), &RecoverTo::Newest).unwrap();
    assert_eq!(replay(&way), logged(BEGIN, BEGIN + 10));
}

/// `verify` alone opens every record: what a restore would stumble over is found, named, exit 9.
#[test]
fn verification_opens_every_record_of_the_journal() {
    let (b, tier) = streaming();
    let place = LogPosition { lineage: LINEAGE.to_owned(), position: at(BEGIN) };
    b.live().positions.insert(COMPONENT.to_owned(), place);
    let world = b.world(&tier);
    flows::backup(&world, &BackupRequest::default()).unwrap();
    let mut writer = writer(&world);
    let first = Joint::NewLineage { why: "the first one".to_owned() };
    writer.begin(&start(base(BEGIN), first)).unwrap();
    for number in 0..25 {
        b.pass(1);
        writer.append(&range(BEGIN + 10 * number, b.clock.wall())).unwrap();
    }
    let policy = PackPolicy { most_slices: 10, ..PackPolicy::default() };
    while writer.pack(&policy).unwrap().is_some() {}
    drop(writer);
    let verify = |tier: &Arc<MemoryStore>, text: &str| {
        let subset = (!text.is_empty() && text != "quick").then(|| text.parse().unwrap());
        let request = VerifyRequest { quick: text == "quick", subset, ..Default::default() };
        flows::verify(&b.world(tier), &request).unwrap()
    };
    let whole = verify(&tier, "");
    assert_eq!((whole.verdict, whole.journals.len()), (Verdict::Pass, 1), "{whole:#?}");
    let journal = &whole.journals[0];
    assert_eq!((journal.component.as_str(), journal.records), (COMPONENT, 26), "{journal:#?}");
    assert_eq!((journal.checks[0].name.as_str(), journal.damaged), ("journal whole", 0));
    assert_eq!(journal.objects_read, journal.objects);
    assert!(journal.bytes_read > 0 && journal.windows.len() == 1);
    let pack = &tier.keys(&format!("journal/{COMPONENT}/{LINEAGE}/packs"))[1];
    let lone = tier.keys(&format!("journal/{COMPONENT}/{LINEAGE}/ranges")).pop().unwrap();
    for (key, place) in [(pack, 1500), (&lone, 300)] {
        let copy = Arc::new(tier.image());
        copy.tamper(key, |mut body| {
            body[place] ^= 1;
            Some(body)
        });
        let report = verify(&copy, "");
        assert_eq!((report.verdict, report.exit()), (Verdict::Fail, Exit::Unverified), "{key}");
        let journal = &report.journals[0];
        assert_eq!((journal.verdict, journal.damaged), (Verdict::Fail, 1), "{journal:#?}");
        assert!(journal.damage[0].object.contains(key.as_str()), "{journal:#?}");
        assert_eq!(verify(&copy, "1/1").verdict, Verdict::Fail, "all of it, as a part");
        let (part, quick) = (verify(&copy, "0.1%"), verify(&copy, "quick"));
        assert_eq!(part.journals[0].objects_read, 1, "{part:#?}");
        assert_eq!(quick.journals[0].objects_read, 0, "{quick:#?}");
        let media = VerifyRequest { what: vec!["media".to_owned()], ..Default::default() };
        let media = flows::verify(&b.world(&copy), &media).unwrap();
        assert_eq!((media.verdict, media.journals.len()), (Verdict::Pass, 0));
    }
    // All of it: no journal to look at is no pass where one was streamed.
    let empty = Arc::new(tier.image());
    for key in empty.keys(&format!("journal/{COMPONENT}")) {
        empty.tamper(&key, |_| None);
    }
    let report = verify(&empty, "");
    assert_eq!((report.verdict, report.exit()), (Verdict::Fail, Exit::Unverified), "{report:#?}");
    assert_eq!(report.journals[0].checks[0].name, "journal whole");
    // What is gone.
    let gone = Arc::new(tier.image());
    gone.tamper(pack, |_| None);
    let name = |key: &str| key.rsplit_once('/').unwrap().1.parse::<Name>();
    let packed = |key: &&String| name(key).is_ok_and(|name| (11..=20).contains(&name.seq));
    for key in tier.keys("journal").iter().filter(packed) {
        gone.tamper(key, |_| None);
    }
    let report = verify(&gone, "");
    assert_eq!(report.exit(), Exit::Unverified, "{report:#?}");
    assert!(report.journals[0].damage.iter().any(|d| d.what.contains("listing is whole")));
}
