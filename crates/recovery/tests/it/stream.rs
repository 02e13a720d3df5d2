//! Streams: a fake server's log into tiers in memory, with everything that can go wrong on the way.

use std::sync::Arc;
use std::time::Duration;

use lifeboat_model::exit::Exit;
use lifeboat_recovery::env::World;
use lifeboat_recovery::flows::{StreamRequest, detach, plan_stream, stream};
use lifeboat_recovery::report::{StreamReport, StreamedComponent};
use lifeboat_testkit::MemoryStore;

use crate::bench::{Bench, bench, files};
use crate::fake_log::{FakeLog, Happens, Server, contract};

pub const PLAN: &str = r#"
[plan]
name = "Shop"
rto = "4h"
rpo = "1m"
[tier.local]
url = "/tier"
[component.shop]
postgres = { dsn_env = "SHOP", stream = true, window = "7d" }
[schedule.nightly]
components = ["*"]
cron = "0 2 * * *"
"#;

/// A server with two files, and nothing stored of it.
pub fn served() -> (Bench, Arc<MemoryStore>) {
    let mut b = bench();
    b.plan = PLAN.to_owned();
    {
        let mut live = b.live();
        live.data.insert("shop".to_owned(), files(&[("a", "1"), ("b", "1")]));
        live.servers.insert("shop".to_owned(), Server::new("5fe1"));
    }
    let tier = b.tier();
    (b, tier)
}

pub fn once(world: &World) -> StreamReport {
    stream(world, &StreamRequest { once: true, ..StreamRequest::default() }).unwrap()
}

fn only(report: &StreamReport) -> &StreamedComponent {
    assert_eq!(report.components.len(), 1, "{report:#?}");
    &report.components[0]
}

#[test]
fn the_fake_source_keeps_the_contract() {
    let (b, _) = served();
    let make = || {
        let (live, cancel) = (b.live.clone(), b.cancel.clone());
        let (component, cursor) = ("shop".to_owned(), Default::default());
        Box::new(FakeLog { live, component, cursor, cancel })
            as Box<dyn lifeboat_recovery::ports::LogSource>
    };
    contract(&make, &|body| b.write("shop", "a", body), &*b.clock);
}

#[test]
fn what_is_written_is_stored_and_a_base_is_taken() {
    let (b, tier) = served();
    let world = b.world(&tier);
    b.live().servers.get_mut("shop").unwrap().to_come =
        (0..5).map(|n| ("a".to_owned(), format!("come {n}"))).collect();
    let report = once(&world);
    let shop = only(&report);
    assert_eq!(report.exit(), Exit::Done, "{report:#?}");
    assert_eq!(shop.error, None);
    assert!(shop.ranges >= 1 && shop.bytes > 0, "{shop:#?}");
    assert_eq!(shop.bases.len(), 1, "the first stream asks for a base");
    assert!(shop.bases[0].snapshot.is_some(), "{shop:#?}");
    let end = shop.to.unwrap();
    let server = b.live().servers["shop"].clone();
    assert_eq!(server.told, Some(end), "it may let go of all that is stored");
    assert_eq!((server.end, server.stopped), (end.offset, 1));
    assert_eq!(shop.tiers[0].lacks, Some(0));
}

#[test]
fn a_second_stream_goes_on_where_the_first_one_ended() {
    let (b, tier) = served();
    let first = once(&b.world(&tier));
    b.write("shop", "a", "between");
    b.pass(60);
    let second = once(&b.world(&tier));
    let (first, second) = (only(&first), only(&second));
    assert_eq!(second.from, first.to, "no hole, nothing twice");
    assert_eq!((second.ranges, second.bases.len()), (1, 0), "{second:#?}");
    assert_eq!(second.lineage, first.lineage);
}

#[test]
fn a_gap_is_recorded_and_a_base_is_taken_after_it() {
    let (b, tier) = served();
    once(&b.world(&tier));
    {
        let mut live = b.live();
        let server = live.servers.get_mut("shop").unwrap();
        server.end += 500;
        server.kept_from = server.end;
    }
    let report = once(&b.world(&tier));
    let shop = only(&report);
    assert_eq!(shop.gaps.len(), 1, "{shop:#?}");
    assert!(shop.gaps[0].why.contains("slot was dropped"));
    assert!(shop.bases.last().unwrap().snapshot.is_some(), "{shop:#?}");
    assert_eq!(report.exit(), Exit::Problems, "something is lost for ever");
    // And one in the middle of a stream.
    b.live().servers.get_mut("shop").unwrap().happens =
        vec![Happens::Gap("a segment was removed".to_owned())];
    let report = once(&b.world(&tier));
    let shop = only(&report);
    assert!(shop.gaps[0].why.contains("segment was removed"), "{shop:#?}");
    assert_eq!(shop.bases.len(), 1);
}

#[test]
fn a_base_that_failed_is_wanted_until_there_is_one() {
    let (b, tier) = served();
    b.live().missing.push("shop".to_owned());
    let report = once(&b.world(&tier));
    let shop = only(&report);
    assert_eq!(report.exit(), Exit::Problems, "{report:#?}");
    assert!(shop.bases[0].error.is_some() && shop.error.is_none(), "{shop:#?}");
    b.live().missing.clear();
    let report = once(&b.world(&tier));
    let shop = only(&report);
    assert!(shop.gaps.is_empty() && shop.bases[0].snapshot.is_some(), "{shop:#?}");
    let report = once(&b.world(&tier));
    assert!(only(&report).bases.is_empty(), "once is enough");
}

#[test]
fn a_lost_source_is_joined_again_without_a_hole() {
    let (b, tier) = served();
    {
        let mut live = b.live();
        let server = live.servers.get_mut("shop").unwrap();
        server.happens = vec![Happens::Lost, Happens::Lost];
        server.to_come = (0..3).map(|n| ("a".to_owned(), format!("come {n}"))).collect();
    }
    let report = once(&b.world(&tier));
    let shop = only(&report);
    assert_eq!((shop.reconnects, shop.error.as_ref()), (2, None), "{shop:#?}");
    assert_eq!(b.live().servers["shop"].joined, 3);
    assert_eq!(shop.to.unwrap().offset, b.live().servers["shop"].end);
}

#[test]
fn a_source_that_never_answers_ends_a_stream_that_is_to_end_exit_8() {
    let (b, tier) = served();
    b.live().servers.get_mut("shop").unwrap().down = true;
    let report = once(&b.world(&tier));
    assert_eq!(report.exit(), Exit::Unreachable, "{report:#?}");
}

#[test]
fn a_stream_without_end_stops_on_request_exit_5() {
    let (b, tier) = served();
    b.live().servers.get_mut("shop").unwrap().cancel_after = Some(20);
    let report = stream(&b.world(&tier), &StreamRequest::default()).unwrap();
    assert_eq!(report.exit(), Exit::Interrupted);
    let shop = only(&report);
    assert!(shop.error.is_none(), "{shop:#?}");
    assert_eq!(b.live().servers["shop"].stopped, 1, "it was left in good order");
    let again = bench_again(&b);
    let second = once(&again.world(&tier));
    assert_eq!(only(&second).from, shop.to);
}

/// The same place with a new process's stop request.
fn bench_again(b: &Bench) -> Bench {
    let mut again = bench();
    again.plan.clone_from(&b.plan);
    again.live = b.live.clone();
    again.clock = b.clock.clone();
    again.live().servers.get_mut("shop").unwrap().cancel_after = None;
    let old = std::mem::replace(&mut again.folder, tempfile::tempdir().unwrap());
    drop(old);
    std::fs::remove_dir_all(again.folder.path()).unwrap();
    let copied = std::process::Command::new("cp")
        .args(["-a"])
        .arg(b.folder.path())
        .arg(again.folder.path())
        .status()
        .unwrap();
    assert!(copied.success());
    again
}

#[test]
fn a_stream_for_a_while_ends_by_itself_exit_0() {
    let (b, tier) = served();
    let request = StreamRequest { span: Some(Duration::from_secs(200)), ..Default::default() };
    let report = stream(&b.world(&tier), &request).unwrap();
    assert_eq!(report.exit(), Exit::Done, "{report:#?}");
    assert!(only(&report).keepalives >= 2, "an idle log proves that nothing is missing");
}

#[test]
fn streams_of_nothing_are_usage_errors() {
    let (mut b, tier) = served();
    b.plan = PLAN.replace(", stream = true, window = \"7d\"", "");
    let refuse = |names: &[&str]| {
        let components = names.iter().map(ToString::to_string).collect();
        let request = StreamRequest { components, ..StreamRequest::default() };
        stream(&b.world(&tier), &request).unwrap_err()
    };
    assert_eq!(refuse(&[]).exit(), Exit::Usage);
    assert_eq!(refuse(&["shop"]).exit(), Exit::Usage);
    assert_eq!(refuse(&["none"]).exit(), Exit::NotFound);
}

#[test]
fn a_dry_run_names_what_it_would_make_and_makes_nothing() {
    let (b, tier) = served();
    let planned = plan_stream(&b.world(&tier), &StreamRequest::default()).unwrap();
    assert_eq!(planned.components[0].makes, ["a slot for shop"]);
    assert!(!b.state().exists(), "nothing was written");
    once(&b.world(&tier));
    let planned = plan_stream(&b.world(&tier), &StreamRequest::default()).unwrap();
    assert!(planned.components[0].resume.is_some() && planned.components[0].makes.is_empty());
    let dry = detach(&b.world(&tier), &[], true).unwrap();
    assert_eq!(dry.components[0].makes, ["the slot of shop"]);
    assert_eq!(b.live().servers["shop"].detached, 0);
    detach(&b.world(&tier), &[], false).unwrap();
    assert_eq!(b.live().servers["shop"].detached, 1);
}

#[test]
fn a_second_tier_gets_all_and_each_alone_is_enough() {
    let (b, tier) = served();
    let second = b.tier();
    let report = once(&b.world_of(&tier, &second));
    let shop = only(&report);
    assert_eq!(shop.tiers.len(), 2, "{shop:#?}");
    assert!(shop.tiers.iter().all(|tier| tier.lacks == Some(0)), "{shop:#?}");
    let of = |tier: &Arc<MemoryStore>| -> Vec<String> {
        use lifeboat_vault::Store;
        let mut keys: Vec<String> =
            tier.list("journal/shop").unwrap().into_iter().map(|entry| entry.key).collect();
        keys.sort();
        keys
    };
    assert!(!of(&tier).is_empty());
    assert_eq!(of(&tier), of(&second));
}
