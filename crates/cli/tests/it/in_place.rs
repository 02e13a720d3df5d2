//! Restores in place of live data, as a command: what a cut-off one left, and what must stay.

use std::fs;
use std::os::unix::fs::symlink;

use crate::kit::{App, contents, count_orders, make_database};

/// What a kill between two steps of the swap leaves: the name leads to the kept, whole old state.
#[test]
fn a_restore_that_was_cut_off_is_said_by_status_and_settled_by_a_backup() {
    let app = App::new();
    app.run(&["backup"]).ends(0);
    let (live, kept) = (app.database(), app.root.join("data/orders.db.before-T"));
    fs::create_dir(&kept).unwrap();
    fs::rename(&live, kept.join("orders.db")).unwrap();
    symlink("orders.db.before-T/orders.db", &live).unwrap();
    let (code, status) = app.json(&["status"]);
    assert_eq!(code, 0);
    let said = status["findings"].to_string();
    assert!(said.contains("was cut off") && said.contains("lifeboat backup orders"), "{said}");
    assert!(live.is_symlink(), "a look changes nothing");
    let ran = app.run(&["backup", "orders"]).ends(0);
    assert!(ran.err.contains("the former state is in place"), "{}", ran.err);
    assert!(!live.is_symlink() && !kept.exists());
    assert_eq!(count_orders(&live), 500);
    let said = app.json(&["status"]).1["findings"].to_string();
    assert!(!said.contains("was cut off"), "{said}");
}

/// What belongs to another component must not leave with the folder that it lies in.
#[test]
fn another_component_below_the_root_is_left_alone() {
    for (path, kind) in [
        ("media/thumbs", "files = { paths = [\"media/thumbs\"] }"),
        ("media/index.db", "sqlite = { path = \"media/index.db\" }"),
    ] {
        let app = App::bare();
        match path.ends_with(".db") {
            true => make_database(&app.root.join(path), 20),
            false => {
                fs::create_dir(app.root.join(path)).unwrap();
                fs::write(app.root.join(path).join("small.bin"), "small").unwrap();
            }
        }
        let nested = format!("[component.nested]\n{kind}\n\n[component.config]");
        app.write_plan(&app.plan_text().replace("[component.config]", &nested));
        app.run(&["backup"]).ends(0);
        let before = contents(&app.root.join("media"));
        let args = ["restore", "media", "--in-place", "--yes", "--confirm", "media"];
        let ran = app.run(&args).ends(4);
        let said = format!("{}{}", ran.out, ran.err);
        assert!(said.contains(path) && said.contains("--to DIR"), "{said}");
        assert!(contents(&app.root.join("media")) == before);
        // Alone it is replaced where it lies, and nothing beside it.
        app.run(&["restore", "nested", "--in-place", "--yes", "--confirm", "nested"]).ends(0);
    }
}
