//! `kill -9` at random moments: nothing is lost, the next run works, no half-restored target looks
//! finished. The long form of this is `scripts/soak`.

use std::fs;
use std::time::Duration;

use lifeboat_adapters::SystemClock;
use lifeboat_vault::Clock;

use crate::kit::{App, contents, count_orders};

/// Moments spread over the run of an unharmed command.
pub fn moments(whole: Duration, number: u32) -> Vec<Duration> {
    (1..=number).map(|at| whole * (2 * at - 1) / (2 * number)).collect()
}

pub fn large_app() -> App {
    let app = App::new();
    for number in 0..400u32 {
        let bytes: Vec<u8> =
            (0..60_000u32).map(|at| (at.wrapping_mul(number * 2 + 40_503) >> 7) as u8).collect();
        fs::write(app.root.join(format!("media/2026/more-{number}.bin")), bytes).unwrap();
    }
    app
}

/// Runs a command and kills it after `span`.
pub fn kill_after(app: &App, args: &[&str], span: Duration, clock: &SystemClock) {
    let mut child = app
        .command(args)
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    clock.sleep(span);
    let _ = child.kill();
    child.wait().unwrap();
}

#[test]
fn a_killed_backup_loses_nothing() {
    let app = large_app();
    let clock = SystemClock::new();
    let began = clock.monotonic();
    app.run(&["backup", "config"]).ends(0);
    app.run(&["backup"]).ends(0);
    let whole = clock.monotonic() - began;
    for (turn, span) in moments(whole, 5).into_iter().enumerate() {
        // New content, so that there is something to write.
        fs::write(app.root.join("media/new.bin"), vec![turn as u8; 3_000_000]).unwrap();
        kill_after(&app, &["backup"], span, &clock);
        let check = app.restic(&["check", "--read-data", "--no-lock"]);
        assert_eq!(check.code, 0, "after {span:?}: {}{}", check.out, check.err);
    }
    app.run(&["backup"]).ends(0);
    app.run(&["verify", "--all"]).ends(0);
    app.run(&["audit", "verify"]).ends(0);
    app.run(&["restore", "media", "--to", "../back"]).ends(0);
    assert!(contents(&app.root.join("media")) == contents(&app.dir.path().join("back/media")));
    let log = app.json(&["audit", "log", "--limit", "100"]).1;
    assert!(log["entries"].as_array().unwrap().len() >= 6, "{log:#}");
}

#[test]
fn a_killed_restore_never_looks_finished() {
    let app = large_app();
    let clock = SystemClock::new();
    app.run(&["backup"]).ends(0);
    let began = clock.monotonic();
    app.run(&["restore", "--all", "--to", "../whole"]).ends(0);
    let whole = clock.monotonic() - began;
    let expected = contents(&app.dir.path().join("whole"));
    for (turn, span) in moments(whole, 5).into_iter().enumerate() {
        let name = format!("../cut-{turn}");
        kill_after(&app, &["restore", "--all", "--to", &name], span, &clock);
        let target = app.root.join(&name);
        // One rename puts everything there: the target is whole, or it is not there.
        if target.exists() {
            assert!(contents(&target) == expected, "{name} is half there");
        }
    }
    app.run(&["restore", "--all", "--to", "../again"]).ends(0);
    assert!(contents(&app.dir.path().join("again")) == expected);
    assert_eq!(count_orders(&app.dir.path().join("again/orders/orders.db")), 500);
    app.run(&["audit", "verify"]).ends(0);
    // What waits to be gone on with goes with the restore that goes on.
    for turn in 0..5 {
        let name = format!("../cut-{turn}");
        if !app.root.join(&name).exists() {
            app.run(&["restore", "--all", "--to", &name]).ends(0);
        }
        assert!(contents(&app.root.join(&name)) == expected, "{name}");
    }
    let left = fs::read_dir(app.dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.contains(".lifeboat-partial-"))
        .count();
    assert_eq!(left, 0, "staging folders of killed restores were left behind");
}

/// A backup that waits two seconds for its key, and gets a signal twice meanwhile.
fn signalled(signal: &str) -> i32 {
    let app = App::new();
    let line = format!("vault_command = \"sleep 2; cat {}\"", app.key.display());
    let file = format!("vault_file = \"{}\"", app.key.display());
    app.write_plan(&app.plan_text().replace(&file, &line));
    let mut child = app.command(&["backup", "--quiet"]).spawn().unwrap();
    let clock = SystemClock::new();
    for _ in 0..2 {
        clock.sleep(Duration::from_millis(500));
        let pid = child.id().to_string();
        let sent = std::process::Command::new("kill").args(["-s", signal, &pid]).status();
        assert!(sent.unwrap().success());
    }
    child.wait().unwrap().code().unwrap_or(-1)
}

/// restic sends SIGHUP to the process that a lock names, to see whether it lives.
#[test]
fn a_hangup_changes_nothing_and_a_second_interrupt_ends_it() {
    assert_eq!(signalled("HUP"), 0);
    assert_eq!(signalled("INT"), 5);
    assert_eq!(signalled("TERM"), 5);
}
