//! The program from outside with a real SQLite: streams, any second restored, two at a time, a stop.

use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::Duration;

use rusqlite::Connection;
use serde_json::Value;

use crate::kit::{App, Ran, add_orders, count_orders};

fn wait(milliseconds: u64) {
    let clock = lifeboat_adapters::SystemClock::new();
    lifeboat_vault::Clock::sleep(&clock, Duration::from_millis(milliseconds));
}

fn streamed() -> App {
    let app = App::new();
    let text = app.plan_text().replace(
        "path = \"data/orders.db\" }",
        "path = \"data/orders.db\", stream = true, window = \"7d\" }",
    );
    assert!(text.contains("stream = true"));
    app.write_plan(&text.replace("rpo = \"1d\"", "rpo = \"1m\""));
    app
}

fn one(report: &Value) -> &Value {
    &report["components"][0]
}

/// Streams what is there; the instant up to which all is proven.
fn once(app: &App) -> String {
    let (code, report) = app.json(&["stream", "--once"]);
    assert_eq!(code, 0, "{report:#}");
    one(&report)["complete_up_to"].as_str().expect("an instant").to_owned()
}

fn restored(app: &App, at: &[&str], to: &str) -> u32 {
    let folder = format!("../{to}");
    let args = [&["restore", "orders", "--to", &folder], at].concat();
    let ran = app.run(&args);
    assert_eq!(ran.code, 0, "{}\n{}", ran.out, ran.err);
    count_orders(&app.dir.path().join(to).join("orders.db"))
}

fn write(app: &App, rows: u32) {
    add_orders(&mut Connection::open(app.database()).unwrap(), rows);
}

#[test]
fn any_second_of_a_streamed_database_is_restored() {
    let app = streamed();
    once(&app);
    let mut points = vec![];
    for _ in 0..3 {
        write(&app, 7);
        points.push((once(&app), count_orders(&app.database())));
    }
    assert_eq!(restored(&app, &[], "newest"), 521);
    for (at, (instant, rows)) in points.iter().enumerate() {
        assert_eq!(restored(&app, &["--at", instant], &format!("at{at}")), *rows, "{instant}");
    }
    let (_, list) = app.json(&["list"]);
    let windows = list["journals"][0]["windows"].as_array().unwrap();
    assert_eq!(windows.len(), 1, "{list:#}");
    let (code, status) = app.json(&["status"]);
    assert_eq!(code, 0);
    let orders = status["components"].as_array().unwrap();
    let orders = orders.iter().find(|c| c["component"] == "orders").unwrap();
    assert_eq!(orders["stream"]["running"], false, "{orders:#}");
    assert!(orders["live_rpo_seconds"].as_f64().unwrap() < 3600.0);
    assert!(app.run(&["list"]).out.contains("any point from"));
    // A drill goes along the journal too.
    let (code, drill) = app.json(&["drill", "run", "orders", "--seed", "3"]);
    assert_eq!(drill["components"][0]["verdict"], "pass", "{drill:#}");
    assert!(matches!(code, 0 | 10), "{drill:#}");
    assert!(drill["components"][0]["way"].is_object(), "{drill:#}");
}

#[test]
fn an_instant_after_the_journal_is_refused_and_one_without_a_zone_too() {
    let app = streamed();
    once(&app);
    write(&app, 1);
    once(&app);
    wait(1500);
    let ran = app.run(&["restore", "orders", "--to", "../x", "--at", "now"]);
    ran.ends(4).says("beyond the end of the journal", "the newest point is");
    let ran = app.run(&["restore", "orders", "--to", "../x", "--at", "2026-01-02 03:04"]);
    ran.ends(2).says("has no time zone", "2026-01-02T03:04:00Z");
    for wrong in ["lsn:x", "position:1", "name:", "xid:x"] {
        let ran = app.run(&["restore", "orders", "--to", "../x", "--at", wrong]);
        ran.ends(2).says("names no place in a log", "");
    }
    assert!(!app.dir.path().join("x").exists());
}

/// A stream under way, once it has written down that it is.
fn running(app: &App) -> Child {
    let mut child =
        app.command(&["stream"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let live: PathBuf = app.root.join(".lifeboat/journal/orders/stream.json");
    for _ in 0..600 {
        let text = std::fs::read_to_string(&live).unwrap_or_default();
        if text.contains(&format!("\"pid\":{}", child.id())) && text.contains("\"joined\":true") {
            return child;
        }
        wait(50);
    }
    child.kill().unwrap();
    child.wait().unwrap();
    panic!("the stream did not begin");
}

fn signal(child: &Child, name: &str) {
    let sent = std::process::Command::new("kill")
        .args([&format!("-{name}"), &child.id().to_string()])
        .status()
        .unwrap();
    assert!(sent.success());
}

#[test]
fn two_streams_on_one_component_and_a_stop_on_request() {
    let app = streamed();
    once(&app);
    let first = running(&app);
    let second = app.run(&["stream", "--once"]).ends(7);
    assert!(second.out.contains("is streamed already"), "{}", second.out);
    app.run(&["stream", "--detach", "--yes"]).ends(7);
    let (_, status) = app.json(&["status"]);
    let orders = status["components"].as_array().unwrap();
    let orders = orders.iter().find(|c| c["component"] == "orders").unwrap();
    assert_eq!(orders["stream"]["running"], true, "{orders:#}");
    write(&app, 5);
    wait(3000);
    signal(&first, "INT");
    Ran::of(first.wait_with_output().unwrap()).ends(5);
    assert_eq!(restored(&app, &[], "after"), 505, "what was written meanwhile was shipped");
}

#[test]
fn a_killed_stream_goes_on_without_a_hole() {
    let app = streamed();
    once(&app);
    let mut rows = 500;
    for _ in 0..3 {
        let stream = running(&app);
        write(&app, 3);
        rows += 3;
        signal(&stream, "KILL");
        let _ = stream.wait_with_output().unwrap();
        write(&app, 2);
        rows += 2;
    }
    once(&app);
    assert_eq!(restored(&app, &[], "after"), rows);
    let (_, list) = app.json(&["list"]);
    assert_eq!(list["journals"][0]["gaps"].as_array().unwrap().len(), 0, "{list:#}");
}

#[test]
fn detaching_asks_and_leaves_the_database_as_it_was() {
    let app = streamed();
    once(&app);
    app.run(&["stream", "--detach"]).ends(4).says("wants a confirmation", "--yes");
    app.run(&["stream", "--detach", "--dry-run"]).ends(0);
    app.run(&["stream", "--detach", "--yes"]).ends(0);
    assert_eq!(count_orders(&app.database()), 500);
}

#[test]
fn a_stream_that_the_plan_does_not_name_is_a_usage_error() {
    let app = App::new();
    app.run(&["stream"]).ends(2).says("no component of the plan streams", "stream = true");
    app.run(&["stream", "media"]).ends(2).says("media streams", "stream = true");
    app.run(&["stream", "nothing"]).ends(6);
    app.run(&["stream", "--for", "soon"]).ends(2);
}
