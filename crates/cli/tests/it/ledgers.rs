//! Whose word counts: `audit log` and `audit verify`, a changed ledger, snapshots of other tools.

use std::fs;

use crate::kit::{App, contents};

/// A renamed or rescue host reads the ledger of the lost one from the tier.
#[test]
fn the_ledger_of_a_named_host_is_read_from_the_tier() {
    let app = App::new();
    app.run(&["backup"]).ends(0);
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let key = app.run(&["audit", "verify", "--json"]).ends(0).json()["key"].clone();
    fs::remove_dir_all(app.root.join(".lifeboat")).unwrap();
    let key = key.as_str().unwrap();
    let proof = app.run(&["audit", "verify", "--host", &host, "--key", key]).ends(0);
    assert!(proof.out.contains(&format!("signing key {key} (as given)")), "{}", proof.out);
    let log = app.run(&["audit", "log", "--host", &host]).ends(0);
    assert!(log.out.contains("backup"), "{}", log.out);
    for verb in ["log", "verify"] {
        app.run(&["audit", verb, "--host", "nobody"])
            .ends(6)
            .says("there is no ledger of host nobody", &host);
    }
    let other = app.run(&["audit", "verify", "--host", &host, "--key", &"0".repeat(64)]).ends(9);
    assert!(other.out.contains("(not the one given)"), "{}", other.out);
}

/// What only an audit would see is said at once: by a backup, and by the status.
#[test]
fn an_edited_local_ledger_is_said_by_backup_and_status() {
    let app = App::new();
    app.run(&["backup"]).ends(0);
    app.run(&["backup"]).ends(0);
    let said = |args: &[&str]| {
        let ran = app.run(args).ends(0);
        format!("{}{}", ran.out, ran.err).contains("the local ledger was changed or cut off")
    };
    assert!(!said(&["backup"]) && !said(&["status"]));
    let files = fs::read_dir(app.root.join(".lifeboat/ledger")).unwrap();
    let file = files.map(|entry| entry.unwrap().path());
    let file = file.into_iter().find(|path| path.extension().is_some_and(|e| e == "jsonl"));
    let file = file.unwrap();
    let honest = fs::read_to_string(&file).unwrap();
    let lines: Vec<&str> = honest.lines().collect();
    let with = |at: usize, from: &str, to: &str| {
        let mut changed: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
        assert!(changed[at].contains(from), "{}", changed[at]);
        changed[at] = changed[at].replace(from, to);
        changed.join("\n") + "\n"
    };
    let last = lines.len() - 1;
    let cut = lines[..last].join("\n") + "\n";
    let gap = [&lines[..2], &lines[3..]].concat().join("\n") + "\n";
    let edited = [2, last].map(|at| with(at, "\"operator\":\"", "\"operator\":\"not "));
    for text in edited.iter().chain([&cut, &gap]) {
        fs::write(&file, text).unwrap();
        assert!(said(&["status"]), "{text}");
    }
    fs::write(&file, &edited[0]).unwrap();
    assert!(said(&["backup"]));
    app.run(&["audit", "verify"]).ends(9);
}

/// What restic itself saved is listed; how it is restored is said, and the command that is said works.
#[test]
fn a_snapshot_of_another_tool_is_restored_by_the_command_that_is_named() {
    let app = App::new();
    app.run(&["backup"]).ends(0);
    let config = app.root.join("config");
    for tag in [None, Some("component=config")] {
        let mut args = vec!["backup", config.to_str().unwrap(), "--json"];
        args.extend(tag.iter().flat_map(|tag| ["--tag", tag]));
        let made = app.restic(&args).ends(0);
        let last: serde_json::Value =
            serde_json::from_str(made.out.trim().lines().last().unwrap()).unwrap();
        let id = &last["snapshot_id"].as_str().unwrap()[..8];
        assert!(app.run(&["list"]).ends(0).out.contains(id));
        let ran = app.run(&["restore", "config", "--to", "../back", "--at", id]);
        let said = format!("{}{}", ran.out, ran.err);
        assert!(said.contains("manifest") && !said.contains("there is no snapshot"), "{said}");
        assert!(said.contains(&format!("vault restore {id} --target DIR")), "{said}");
        assert_eq!(ran.code, if tag.is_none() { 4 } else { 9 }, "{said}");
        assert!(!app.dir.path().join("back").exists());
        let target = app.dir.path().join(format!("by-restic-{id}"));
        app.restic(&["restore", id, "--target", target.to_str().unwrap()]).ends(0);
        let below = target.join(config.strip_prefix("/").unwrap());
        assert!(contents(&below) == contents(&config));
    }
    // Never by itself.
    app.run(&["restore", "config", "--to", "../back"]).ends(0);
}
