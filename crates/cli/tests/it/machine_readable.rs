//! `--json`: one document with `schema`, `version` and `exit`, of every command, also for errors.

use serde_json::Value;

use crate::kit::App;

#[track_caller]
fn document(app: &App, args: &[&str], exit: i32, schema: &str) -> Value {
    let (code, document) = app.json(args);
    assert_eq!(code, exit, "{args:?}: {document:#}");
    assert_eq!(document["schema"], schema, "{args:?}");
    assert_eq!(document["version"], 1, "{args:?}");
    assert_eq!(document["exit"], exit, "{args:?}");
    document
}

#[test]
fn every_command_prints_one_document() {
    let app = App::new();
    document(&app, &["schema"], 0, "lifeboat/schema");
    document(&app, &["completions", "bash"], 0, "lifeboat/completions");
    document(&app, &["man"], 0, "lifeboat/man");
    document(&app, &["lint"], 0, "lifeboat/lint");
    document(&app, &["backup", "--dry-run"], 0, "lifeboat/backup-recipe");
    let backup = document(&app, &["backup"], 0, "lifeboat/backup");
    assert_eq!(backup["components"].as_array().unwrap().len(), 3);
    let list = document(&app, &["list"], 0, "lifeboat/list");
    assert_eq!(list["snapshots"].as_array().unwrap().len(), 3);
    let verify = document(&app, &["verify"], 0, "lifeboat/verify");
    assert_eq!(verify["verdict"], "pass");
    document(&app, &["restore", "orders", "--to", "../x", "-n"], 0, "lifeboat/restore-recipe");
    let restore = document(&app, &["restore", "--all", "--to", "../x"], 0, "lifeboat/restore");
    assert!(restore["skew_seconds"].is_number(), "{restore:#}");
    document(&app, &["drill", "run", "--dry-run"], 0, "lifeboat/drill-recipe");
    let drill = document(&app, &["drill", "run"], 0, "lifeboat/drill");
    assert_eq!(drill["verdict"], "pass");
    assert!(drill["components"][0]["rto_seconds"].is_number());
    assert!(drill["components"][0]["rpo_seconds"].is_number());
    let drills = document(&app, &["drill", "list"], 0, "lifeboat/drills");
    assert_eq!(drills["planned"][0]["drill"], "all");
    document(&app, &["status"], 0, "lifeboat/status");
    document(&app, &["status", "--check"], 0, "lifeboat/status");
    let part = document(&app, &["verify", "--subset", "1/2"], 0, "lifeboat/verify");
    assert_eq!(part["verdict"], "pass");
    document(&app, &["verify", "--subset", "3/2"], 2, "lifeboat/error");
    let planned = document(&app, &["prune", "--dry-run"], 0, "lifeboat/prune-recipe");
    assert_eq!(planned["snapshots"].as_array().unwrap().len(), 3);
    // Nobody is there to ask.
    document(&app, &["prune"], 4, "lifeboat/error");
    document(&app, &["prune", "--yes", "--max-unused", "x"], 2, "lifeboat/error");
    let pruned = document(&app, &["prune", "--yes"], 0, "lifeboat/prune");
    assert_eq!(pruned["dry_run"], false);
    document(&app, &["repair", "index", "--dry-run"], 0, "lifeboat/repair-recipe");
    document(&app, &["repair", "index"], 0, "lifeboat/repair");
    let log = document(&app, &["audit", "log"], 0, "lifeboat/audit-log");
    assert!(log["entries"].as_array().unwrap().len() >= 4);
    document(&app, &["audit", "verify"], 0, "lifeboat/audit-verify");
    // The tier of a test lies on the data's own disk, which is worth a warning.
    document(&app, &["doctor"], 3, "lifeboat/doctor");
    let error = document(&app, &["restore", "nothing", "--to", "../y"], 6, "lifeboat/error");
    assert!(error["hint"].is_string(), "{error:#}");
    assert!(error["causes"].is_array());
}

#[test]
fn init_prints_one_document_too() {
    let app = App::bare();
    let planned = document(&app, &["init", "--dry-run"], 0, "lifeboat/init");
    assert!(planned["text"].as_str().unwrap().contains("[component.orders]"));
    assert!(!app.root.join("lifeboat.toml").exists());
    assert!(!app.root.join(".lifeboat").exists());
    document(&app, &["init", "--tier", "../tier"], 0, "lifeboat/init");
    document(&app, &["init"], 4, "lifeboat/error");
}
