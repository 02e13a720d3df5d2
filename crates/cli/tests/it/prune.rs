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
