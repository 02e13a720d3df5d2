//! `prune --yes` where the vault is not whole: it says so, and nothing has gone (exit 4).

use std::fs;

use serde_json::Value;

use crate::kit::{App, contents};

/// Exit 4 is a promise: nothing was changed. Snapshots that are due stay as long as a pack is
/// missing, and go when it is back.
#[test]
fn snapshots_that_are_due_stay_while_a_pack_is_missing() {
    let app = App::new();
    let local = "[tier.local]\n";
    app.write_plan(&app.plan_text().replace(local, &format!("{local}keep = {{ min = 1 }}\n")));
    for title in ["first", "second", "third"] {
        fs::write(app.root.join("config/app.ini"), format!("title = {title}\n")).unwrap();
        app.run(&["backup"]).ends(0);
    }
    app.run(&["verify"]).ends(0);
    let (_, planned) = app.json(&["prune", "--dry-run"]);
    let due = |list: &Value| list.as_array().unwrap().iter().filter(|s| s["kept"] == false).count();
    assert_eq!(due(&planned["snapshots"]), 6, "{planned:#}");
    let packs = contents(&app.tier.join("vault/data"));
    let (name, body) = packs.iter().max_by_key(|(_, body)| body.len()).unwrap();
    let pack = app.tier.join("vault/data").join(name);
    fs::remove_file(&pack).unwrap();
    let vault = contents(&app.tier.join("vault"));
    for grace in ["1d", "0s"] {
        app.run(&["prune", "--yes", "--grace", grace])
            .ends(4)
            .says("the vault is not known completely: pack", "`lifeboat verify` names what");
        assert_eq!(contents(&app.tier.join("vault")), vault, "--grace {grace}");
    }
    fs::write(&pack, body).unwrap();
    let (code, done) = app.json(&["prune", "--yes", "--grace", "0s"]);
    assert_eq!((code, due(&done["snapshots"])), (0, 6), "{done:#}");
    assert_eq!(app.snapshots().len(), 3);
    app.restic(&["check", "--read-data"]).ends(0);
}

/// By a component's name, with a reason; a release wants a confirmation, and is an entry too.
#[test]
fn a_hold_is_put_shown_and_taken_away() {
    let app = App::new();
    app.run(&["backup"]).ends(0);
    app.run(&["prune", "--hold", "config"]).ends(2);
    app.run(&["prune", "--reason", "why"]).ends(2).says("belong to holds", "--hold SNAPSHOT");
    app.run(&["prune", "--hold", "confg", "--reason", "evidence"]).ends(6);
    let incident = ["--reason", "evidence", "--incident", "breach-7"];
    let put = |rest: &[&str]| {
        let args = [&["prune", "--hold", "config"][..], &incident, rest].concat();
        app.json(&args)
    };
    assert_eq!(put(&["--dry-run"]).1["holds"].as_array().unwrap().len(), 0);
    let (code, held) = put(&[]);
    assert_eq!((code, held["put"].as_array().unwrap().len()), (0, 1), "{held:#}");
    let listed = app.json(&["list", "config"]).1;
    assert_eq!(listed["snapshots"][0]["hold"], "evidence (incident breach-7)", "{listed:#}");
    assert_eq!(app.json(&["status"]).1["holds"].as_array().unwrap().len(), 1);
    let release = ["prune", "--release", "--incident", "breach-7", "--reason", "done with"];
    app.run(&release).ends(4).says("taking away 1 hold wants a confirmation", "--yes");
    let (code, done) = app.json(&[&release[..], &["--yes"]].concat());
    assert_eq!((code, done["released"].as_array().unwrap().len()), (0, 1), "{done:#}");
    assert_eq!(app.json(&["prune", "--holds"]).1["holds"].as_array().unwrap().len(), 0);
    app.run(&["audit", "verify"]).ends(0);
}

/// one value a cell; X-05: the rule that each objective comes from.
#[test]
fn the_plan_shows_its_matrix_and_its_rules() {
    let app = App::new();
    let text = app.plan_text().replace("[tier.local]\n", "[tier.local]\nfrom_env = true\n");
    app.write_plan(&format!(
        "{text}\n[schedule.thinned]\ncomponents = [\"*\"]\ncron = \"0 * * * *\"\n\
         keep = {{ local = {{ daily = \"30d\", weekly = \"26w\" }} }}\n"
    ));
    let (code, shown) = app.json(&["plan", "show"]);
    assert_eq!(code, 0, "{shown:#}");
    let cell = |schedule: Option<&str>| {
        let all = shown["retention"].as_array().unwrap().iter();
        all.clone().find(|cell| cell["schedule"].as_str() == schedule).unwrap().clone()
    };
    assert_eq!(cell(Some("thinned"))["keep"], "daily 30d, weekly 26w");
    assert_eq!(cell(Some("thinned"))["said_by"], "schedule");
    assert!(shown["components"].as_array().unwrap().iter().all(|c| c["kind"].is_string()));
    app.run(&["plan", "show"]).ends(0);
}
