//! The whole way, as a newcomer walks it, with the stock restic as judge.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use rusqlite::Connection;

use crate::kit::{App, Ran, add_orders, contents, count_orders};

#[test]
fn from_init_to_audit() {
    let app = App::bare();
    fs::write(app.root.join(".gitignore"), "target/\n").unwrap();
    let init = app.run(&["init", "--tier", "../tier"]).ends(0);
    assert!(init.out.contains("Copy the key to another place"), "{}", init.out);
    let key = app.root.join(".lifeboat/vault.key");
    assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::read_to_string(app.root.join(".gitignore")).unwrap(), "target/\n/.lifeboat/\n");
    assert!(app.root.join(".lifeboat/lifeboat.schema.json").is_file());
    app.run(&["lint"]).ends(0);
    app.run(&["backup"]).ends(0);
    app.run(&["verify"]).ends(0);
    app.run(&["restore", "--all", "--to", "../back"]).ends(0);
    let back = app.dir.path().join("back");
    assert_eq!(count_orders(&back.join("orders/orders.db")), 500);
    assert!(contents(&back.join("media/media")) == contents(&app.root.join("media")));
    app.run(&["drill", "run"]).ends(0);
    app.run(&["status"]).ends(0);
    app.run(&["status", "--check"]).ends(0);
    app.run(&["audit", "verify"]).ends(0);
    assert!(!app.run(&["doctor"]).out.contains('✗'));
}

#[test]
fn init_overwrites_nothing() {
    let app = App::bare();
    app.run(&["init", "--tier", "../tier"]).ends(0);
    let key = fs::read(app.root.join(".lifeboat/vault.key")).unwrap();
    app.write_plan("# mine\n");
    app.run(&["init"]).ends(4).says("there is a plan at", "--force");
    assert_eq!(fs::read_to_string(app.root.join("lifeboat.toml")).unwrap(), "# mine\n");
    app.run(&["init", "--force", "--tier", "../tier"]).ends(0);
    assert_eq!(fs::read_to_string(app.root.join("lifeboat.toml.1")).unwrap(), "# mine\n");
    assert_eq!(fs::read(app.root.join(".lifeboat/vault.key")).unwrap(), key);
    app.run(&["init", "../nowhere"]).ends(6);
    fs::create_dir(app.dir.path().join("void")).unwrap();
    app.run(&["init", "../void"]).ends(6).says("found nothing to protect", "init DIR");
}

#[test]
fn init_writes_this_plan() {
    let app = App::bare();
    let plan = app.run(&["init", "--dry-run", "--tier", "../tier"]).ends(0);
    insta::assert_snapshot!(plan.out);
}

#[test]
fn restic_judges_the_result() {
    let app = App::new();
    app.run(&["backup"]).ends(0);
    let mut live = Connection::open(app.database()).unwrap();
    add_orders(&mut live, 250);
    app.run(&["backup"]).ends(0);
    let check = app.restic(&["check", "--read-data"]).ends(0);
    assert!(check.out.contains("no errors were found"), "{}", check.out);
    for (component, rows) in [("orders", 750), ("media", 0)] {
        let target = app.dir.path().join(format!("restic-{component}"));
        let tag = format!("component={component}");
        let into = target.to_str().unwrap();
        app.restic(&["restore", "latest", "--tag", &tag, "--target", into]).ends(0);
        assert!(target.join("manifest.json").is_file());
        if rows > 0 {
            assert_eq!(count_orders(&target.join("orders.db")), rows);
        } else {
            assert!(contents(&target.join("media")) == contents(&app.root.join("media")));
        }
    }
    let list = app.restic(&["snapshots", "--json"]).ends(0).json();
    assert_eq!(list.as_array().unwrap().len(), 6);
}

#[test]
fn restore_at_a_time_takes_the_older_snapshot() {
    let app = App::new();
    app.run(&["backup"]).ends(0);
    let between = app.json(&["status"]).1["finished"].as_str().unwrap().to_owned();
    let mut live = Connection::open(app.database()).unwrap();
    add_orders(&mut live, 100);
    app.run(&["backup"]).ends(0);
    app.run(&["restore", "orders", "--to", "../old", "--at", &between]).ends(0);
    assert_eq!(count_orders(&app.dir.path().join("old/orders.db")), 500);
    app.run(&["restore", "orders", "--to", "../new", "--at", "0 seconds ago"]).ends(0);
    assert_eq!(count_orders(&app.dir.path().join("new/orders.db")), 600);
    let oldest = app.snapshots().iter().rfind(|s| s["component"] == "orders").unwrap()["snapshot"]
        .as_str()
        .unwrap()[..10]
        .to_owned();
    app.run(&["restore", "orders", "--to", "../by-id", "--at", &oldest]).ends(0);
    assert_eq!(count_orders(&app.dir.path().join("by-id/orders.db")), 500);
    app.run(&["restore", "media", "--to", "../part", "--path", "media/2026/3.bin"]).ends(0);
    assert_eq!(contents(&app.dir.path().join("part")).len(), 1);
}

#[test]
fn in_place_keeps_the_old_state_and_refuses_while_in_use() {
    let app = App::new();
    app.run(&["backup"]).ends(0);
    let mut live = Connection::open(app.database()).unwrap();
    add_orders(&mut live, 50);
    let restore = ["restore", "orders", "--in-place", "--yes", "--confirm", "orders"];
    let ran = app.run(&restore).ends(4);
    assert!(format!("{}{}", ran.out, ran.err).contains("in use by"), "{ran:?}");
    assert_eq!(count_orders(&app.database()), 550);
    drop(live);
    let (code, report) = app.json(&restore);
    assert_eq!(code, 0, "{report:#}");
    assert_eq!(count_orders(&app.database()), 500);
    let kept = report["components"][0]["kept"].as_array().unwrap();
    assert!(!kept.is_empty());
    let kept = std::path::Path::new(kept[0].as_str().unwrap());
    assert_eq!(count_orders(&kept.join("orders.db")), 550);
}

/// An application that came back in another folder is restored there, not where it once was.
#[test]
fn in_place_means_where_the_plan_is_now() {
    let app = App::new();
    app.run(&["backup"]).ends(0);
    let media = contents(&app.root.join("media"));
    let moved = app.dir.path().join("moved");
    fs::create_dir(&moved).unwrap();
    for kept in ["lifeboat.toml", ".lifeboat"] {
        fs::rename(app.root.join(kept), moved.join(kept)).unwrap();
    }
    fs::write(app.root.join("media/2026/3.bin"), "another application's by now").unwrap();
    let before = contents(&app.root);
    let plan = moved.join("lifeboat.toml");
    let place = ["restore", "media", "--in-place", "--yes", "--confirm", "media", "--plan"];
    app.run(&[&place[..], &[plan.to_str().unwrap()]].concat()).ends(0);
    assert!(contents(&moved.join("media")) == media);
    assert!(contents(&app.root) == before);
}

#[test]
fn a_damaged_pack_is_found_named_and_survivors_restore() {
    let app = App::new();
    app.run(&["backup"]).ends(0);
    // The pack of the media, larger than the others.
    let mut packs: Vec<_> = contents(&app.tier.join("vault/data"));
    packs.sort_by_key(|(_, bytes)| bytes.len());
    let (name, mut bytes) = packs.pop().unwrap();
    let path = app.tier.join("vault/data").join(&name);
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::remove_file(&path).unwrap();
    fs::write(&path, &bytes).unwrap();
    let (code, report) = app.json(&["verify"]);
    assert_eq!(code, 9, "{report:#}");
    let id = name.file_name().unwrap().to_str().unwrap();
    let damage = report["vault"]["damage"].as_array().unwrap();
    assert!(damage.iter().any(|it| it["object"].as_str().unwrap().contains(id)), "{damage:#?}");
    app.run(&["verify", "--quick"]).ends(0);
    app.run(&["audit", "verify"]).ends(0);
    app.run(&["restore", "config", "--to", "../config"]).ends(0);
    // The only snapshot of the media is no good: nothing protects them.
    app.run(&["status", "--check"]).ends(10);
}

#[test]
fn a_schedule_takes_its_components_and_tags_them() {
    let app = App::new();
    let text = app.plan_text()
        + "\n[schedule.files]\ncomponents = [\"media\", \"config\"]\ncron = \"0 2 * * *\"\n";
    app.write_plan(&text);
    let ran: Ran = app.run(&["backup", "--schedule", "files"]).ends(0);
    assert!(ran.err.contains("not carried out by this version: schedule"), "{}", ran.err);
    let components: Vec<String> =
        app.snapshots().iter().map(|s| s["component"].as_str().unwrap().to_owned()).collect();
    assert_eq!(components.len(), 2);
    let tagged = app.restic(&["snapshots", "--tag", "schedule=files", "--json"]).ends(0).json();
    assert_eq!(tagged.as_array().unwrap().len(), 2);
    let status = app.json(&["status"]).1;
    assert_eq!(status["next_runs"][0]["times"].as_array().unwrap().len(), 5);
}

#[test]
fn key_from_environment_and_command() {
    let app = App::new();
    app.run(&["backup"]).ends(0);
    let file = format!("vault_file = \"{}\"", app.key.display());
    let command = format!("vault_command = \"cat {}\"", app.key.display());
    app.write_plan(&app.plan_text().replace(&file, &command));
    app.run(&["verify"]).ends(0);
    app.write_plan(&app.plan_text().replace(&file, "vault_env = \"SHOP_KEY\""));
    let mut run = app.command(&["verify"]);
    run.env("SHOP_KEY", crate::kit::KEY);
    Ran::of(run.output().unwrap()).ends(0);
}

#[test]
fn lint_refuses_a_key_among_the_data_and_backups_go_on() {
    let app = App::new();
    let inside = app.root.join("media/vault.key");
    fs::copy(&app.key, &inside).unwrap();
    let key = format!("vault_file = \"{}\"", app.key.display());
    app.write_plan(&app.plan_text().replace(&key, "vault_file = \"media/vault.key\""));
    let ran = app.run(&["lint"]).ends(2);
    assert!(ran.out.contains("LB001") && ran.out.contains("lifeboat.toml:7"), "{}", ran.out);
    assert!(app.run(&["lint", "--explain", "LB001"]).ends(0).out.len() > 100);
    app.run(&["lint", "--explain", "LB999"]).ends(6);
    let (code, report) = app.json(&["lint"]);
    assert_eq!((code, report["errors"].as_u64()), (2, Some(1)), "{report:#}");
    // A plan with lint errors that still parses backs up and restores all the same.
    app.run(&["backup"]).ends(0);
    app.run(&["restore", "orders", "--to", "../back"]).ends(0);
}

#[test]
fn the_example_of_the_design_passes_lint() {
    let app = App::bare();
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/../../plans/example.toml");
    let ran = app.run(&["-c", example, "lint"]).ends(0);
    assert!(ran.out.contains("not carried out by this version: tier `offsite`"), "{}", ran.out);
}

#[test]
fn ctrl_c_stops_a_backup_that_goes_on_the_next_time() {
    let app = App::new();
    for number in 0..30 {
        let bytes = crate::kit::noise(4 << 20);
        fs::write(app.root.join(format!("media/large-{number}.bin")), bytes).unwrap();
    }
    let clock = lifeboat_adapters::SystemClock::new();
    let child = app
        .command(&["backup", "media", "--json"])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    lifeboat_vault::Clock::sleep(&clock, std::time::Duration::from_millis(600));
    let id = rustix::process::Pid::from_raw(child.id().try_into().unwrap()).unwrap();
    rustix::process::kill_process(id, rustix::process::Signal::INT).unwrap();
    let ran = Ran::of(child.wait_with_output().unwrap());
    // A fast machine may be done before it is asked.
    if ran.code != 0 {
        assert_eq!(ran.code, 5, "{ran:?}");
        assert!(ran.err.contains("stopping at the next safe point"), "{}", ran.err);
        assert_eq!(ran.json()["exit"], 5);
        assert_eq!(app.restic(&["check", "--read-data"]).code, 0);
    }
    app.run(&["backup", "media"]).ends(0);
    app.run(&["verify", "media"]).ends(0);
    app.run(&["audit", "verify"]).ends(0);
}
