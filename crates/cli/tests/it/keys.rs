//! `key add` and `key rotate`: by the binary, beside the stock restic, and killed.

use std::fs;
use std::path::Path;

use lifeboat_adapters::SystemClock;
use lifeboat_vault::Clock;

use crate::kill::{kill_after, large_app, moments};
use crate::kit::{App, KEY, Ran, contents, count_orders};

const NEW: &str = "aa1e2d3c4b5a69788796a5b4c3d2e1f00f1e2d3c4b5a69788796a5b4c3d2e1bb";

/// Puts another key where the plan has it.
fn use_key(app: &App, file: &Path) {
    fs::copy(file, &app.key).unwrap();
}

#[track_caller]
fn snapshots(tier: &Path, key: &Path) -> Ran {
    // What a killed process leaves locked is not the question.
    App::restic_on(tier, key, &["--no-lock", "snapshots", "--json"])
}

#[test]
fn a_further_key_and_a_new_one_open_vault_and_ledger() {
    let app = App::new();
    app.run(&["backup"]).ends(0);
    let old = app.key_file("old.key", KEY);
    let further = app.key_file("further.key", "correct horse battery staple\n");
    let (code, planned) =
        app.json(&["key", "add", "--new-key-file", further.to_str().unwrap(), "--dry-run"]);
    assert_eq!((code, &planned["schema"]), (0, &"lifeboat/key-recipe".into()), "{planned:#}");
    app.run(&["key", "add", "--new-key-file", "../further.key"]).ends(0);
    assert_eq!(snapshots(&app.tier, &further).ends(0).json().as_array().unwrap().len(), 3);
    use_key(&app, &further);
    app.run(&["audit", "verify"]).ends(0);
    use_key(&app, &old);

    let new = app.key_file("new.key", NEW);
    app.run(&["key", "rotate", "--new-key-file", "../new.key"])
        .ends(4)
        .says("confirmation", "--yes");
    let words = app.run(&["key", "rotate", "--new-key-file", "../new.key", "--yes"]).ends(0).out;
    assert!(words.contains("mv ") && words.contains("opens it too"), "{words}");
    app.run(&["list"]).ends(2).says("the vault key does not open the vault", "vault key");
    assert_ne!(snapshots(&app.tier, &old).code, 0, "the old key opens it");
    use_key(&app, &new);
    app.run(&["backup"]).ends(0);
    app.run(&["verify", "--all"]).ends(0);
    app.run(&["audit", "verify"]).ends(0);
    let log = app.run(&["audit", "log"]).ends(0).out;
    assert!(log.contains("key add") && log.contains("key rotate"), "{log}");
    App::restic_on(&app.tier, &new, &["check", "--read-data"]).ends(0);
    // No key stands anywhere but in its file.
    let state = contents(&app.root.join(".lifeboat"));
    for (name, body) in state.iter().chain(&contents(&app.tier)) {
        for key in [KEY, NEW] {
            let found = body.windows(key.len()).any(|window| window == key.as_bytes());
            assert!(!found, "a key stands in {}", name.display());
        }
    }
    // On a bare machine the new key opens everything.
    fs::remove_dir_all(app.root.join(".lifeboat")).unwrap();
    let (_, list) = app.json(&["list"]);
    assert!(list["snapshots"].as_array().unwrap().iter().all(|one| one["foreign"] == false));
}

#[test]
fn keys_that_are_none_are_refused_with_a_hint() {
    use std::os::unix::fs::PermissionsExt;
    let app = App::new();
    app.run(&["backup"]).ends(0);
    let before = contents(&app.tier.join("vault"));
    let add = |file: &str| app.run(&["key", "add", "--new-key-file", file]);
    add("../nothing.key").ends(2).says("there is no file", "openssl rand -hex 32");
    app.key_file("empty.key", "\n");
    add("../empty.key").ends(2).says("the new key is empty", "put the key into");
    app.key_file("lines.key", "one\ntwo\n");
    add("../lines.key").ends(2).says("more than one line", "one line");
    let open = app.key_file("open.key", NEW);
    fs::set_permissions(&open, fs::Permissions::from_mode(0o644)).unwrap();
    add("../open.key").ends(4).says("others can read the new key", "chmod 600");
    add("../vault.key").ends(4).says("the vault key that is in use", "another one");
    add("..").ends(2);
    let inside = app.tier.join("new.key");
    fs::write(&inside, NEW).unwrap();
    fs::set_permissions(&inside, fs::Permissions::from_mode(0o600)).unwrap();
    add(inside.to_str().unwrap()).ends(4).says("inside tier local", "apart");
    fs::remove_file(&inside).unwrap();
    app.key_file("new.key", NEW);
    let rotate = ["key", "rotate", "--new-key-file", "../new.key", "--yes"];
    app.run(&[&rotate[..], &["--tier", "other"]].concat()).ends(2).says("no tier other", "local");
    app.run(&[&rotate[..], &["--to", "other"]].concat()).ends(2);
    app.run(&[&rotate[..], &["--compromised"]].concat())
        .ends(2)
        .says("no other tier", "[tier.second]");
    // A key on the command line is no argument.
    app.run(&["key", "add", NEW]).ends(2);
    assert!(contents(&app.tier.join("vault")) == before, "something was changed");
}

/// `kill -9` at any moment leaves a key that opens everything, and the same command ends it.
#[test]
fn a_killed_rotation_is_settled_by_the_next_run() {
    let app = App::new();
    app.run(&["backup"]).ends(0);
    let clock = SystemClock::new();
    let keys = [app.key_file("0.key", KEY), app.key_file("1.key", NEW)];
    let (mut now, mut whole) = (0, std::time::Duration::ZERO);
    for turn in 0..7 {
        let next = keys[1 - now].display().to_string();
        let rotate = ["key", "rotate", "--yes", "--new-key-file", next.as_str()];
        let began = clock.monotonic();
        if turn > 0 {
            kill_after(&app, &rotate, moments(whole, 6)[turn - 1], &clock);
            let tried: Vec<Ran> = keys.iter().map(|key| snapshots(&app.tier, key)).collect();
            let opens = tried.iter().any(|ran| ran.code == 0);
            assert!(opens, "turn {turn}: neither key opens the vault: {tried:#?}");
        }
        let ran = app.run(&rotate).ends(0);
        assert!(!ran.out.contains("opens it too"), "turn {turn}: {}", ran.out);
        if turn == 0 {
            whole = clock.monotonic() - began;
        }
        assert_ne!(snapshots(&app.tier, &keys[now]).code, 0, "turn {turn}: the old key opens it");
        now = 1 - now;
        use_key(&app, &keys[now]);
        let (_, list) = app.json(&["list"]);
        let list = list["snapshots"].as_array().unwrap();
        assert!(list.len() == 3 && list.iter().all(|one| one["foreign"] == false), "{list:#?}");
        let names: Vec<_> = contents(&app.tier.join("journal")).into_iter().map(|f| f.0).collect();
        assert_eq!(names, [Path::new("identity.age")], "turn {turn}");
    }
    app.run(&["verify"]).ends(0);
    app.run(&["audit", "verify"]).ends(0);
}

#[test]
fn a_leaked_key_opens_nothing_of_the_new_vault() {
    let app = large_app();
    app.run(&["backup"]).ends(0);
    app.run(&["drill", "run"]).ends(0);
    let fresh = app.add_tier("fresh");
    let (old, new) = (app.key_file("old.key", KEY), app.key_file("new.key", NEW));
    let (_, list) = app.json(&["list"]);
    let rotate =
        ["key", "rotate", "--compromised", "--to", "fresh", "--new-key-file", "../new.key"];
    let (code, planned) = app.json(&[&rotate[..], &["--dry-run"]].concat());
    assert_eq!((code, &planned["successor"]["copied"]), (0, &3.into()), "{planned:#}");
    assert!(!fresh.exists());
    let rotate = [&rotate[..], &["--yes"]].concat();
    // Killed on the way the old vault is what it was.
    let clock = SystemClock::new();
    for span in [30, 90, 180, 300] {
        kill_after(&app, &rotate, std::time::Duration::from_millis(span), &clock);
        if fresh.join("vault/config").exists() {
            App::restic_on(&fresh, &new, &["check", "--read-data", "--no-lock"]).ends(0);
        }
    }
    let words = app.run(&rotate).ends(0).out;
    assert!(words.contains("on hold") && words.contains("then, by hand"), "{words}");
    App::restic_on(&fresh, &new, &["check", "--read-data"]).ends(0);
    assert_eq!(snapshots(&fresh, &new).ends(0).json().as_array().unwrap().len(), 3);
    assert_ne!(snapshots(&fresh, &old).code, 0, "the leaked key opens the new vault");
    assert_ne!(snapshots(&app.tier, &new).code, 0);
    let master =
        |tier: &Path, key: &Path| App::restic_on(tier, key, &["cat", "masterkey"]).ends(0).out;
    assert_ne!(master(&fresh, &new), master(&app.tier, &old), "the master key is the leaked one");

    app.run(&["backup"]).ends(4).says("tier local is on hold", "[tier.fresh] before [tier.local]");
    app.run(&["prune", "--yes"]).ends(4).says("on hold", "old key");
    app.run(&["restore", "orders", "--to", "../from-old"]).ends(0);
    use_key(&app, &new);
    app.run(&["status"]).ends(0);
    app.run(&["list"]).ends(4).says("on hold", "[tier.fresh]");
    // The plan as the hint says.
    let plan = fs::read_to_string(app.root.join("lifeboat.toml")).unwrap();
    let gone = format!("[tier.local]\nurl = \"{}\"\n", app.tier.display());
    assert!(plan.contains(&gone));
    app.write_plan(&plan.replace(&gone, ""));
    app.run(&["verify", "--all"]).ends(0);
    app.run(&["backup"]).ends(0);
    app.run(&["drill", "run"]).ends(0);
    app.run(&["audit", "verify"]).ends(0);
    let of_orders = |one: &&serde_json::Value| one["component"] == "orders";
    let old_id = list["snapshots"].as_array().unwrap().iter().find(of_orders).unwrap();
    let old_id = old_id["snapshot"].as_str().unwrap();
    app.run(&["restore", "orders", "--at", old_id, "--to", "../by-old-id"]).ends(0);
    assert_eq!(count_orders(&app.dir.path().join("by-old-id/orders.db")), 500);
}
