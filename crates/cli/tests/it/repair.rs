//! `repair index` on a vault with a broken pack: what could be restored before can be after.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use crate::kit::{App, contents, noise};

/// An application that is backed up and verified, and the largest pack of its vault.
fn backed_up() -> (App, PathBuf) {
    let app = App::new();
    for name in ["one", "two", "three", "four"] {
        fs::write(app.root.join(format!("media/{name}.raw")), noise(300_000)).unwrap();
    }
    app.run(&["backup", "--verify"]).ends(0);
    let data = app.tier.join("vault/data");
    let packs = contents(&data);
    let (path, _) = packs.into_iter().max_by_key(|(_, body)| body.len()).unwrap();
    (app, data.join(path))
}

/// Takes the last bytes, which belong to the header.
fn cut_header(pack: &Path) {
    let file = File::options().write(true).open(pack).unwrap();
    file.set_len(file.metadata().unwrap().len() - 9).unwrap();
}

/// What a restore of the media brings, and how it ends.
fn restored(app: &App, name: &str) -> (i32, BTreeMap<PathBuf, Vec<u8>>) {
    let target = app.dir.path().join(name);
    let ran = app.run(&["restore", "media", "--to", target.to_str().unwrap()]);
    (ran.code, contents(&target).into_iter().collect())
}

#[test]
fn a_pack_without_its_header_is_stored_again_exit_0() {
    let (app, pack) = backed_up();
    cut_header(&pack);
    let before = restored(&app, "before");
    assert_eq!(before.0, 0);
    let refused = app.run(&["prune", "--yes"]).ends(4);
    refused.says("bytes and should have", "`lifeboat repair index` stores again what is intact");

    let planned = app.run(&["repair", "index", "--dry-run"]).ends(0).out;
    assert!(planned.contains("would be stored again, nothing is lost"), "{planned}");
    let said = app.run(&["repair", "index"]).ends(0).out;
    assert!(said.contains("stored again, nothing is lost"), "{said}");
    assert!(!said.contains("data may be lost"), "{said}");

    assert_eq!(restored(&app, "after"), before);
    app.run(&["verify"]).ends(0);
    app.run(&["prune", "--yes"]).ends(0);
    app.restic(&["check", "--read-data"]).ends(0);
}
