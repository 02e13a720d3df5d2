//! Packs whose blobs are authentic and stand at each other's places: only their hashes tell.

use std::fs;
use std::os::unix::fs::FileExt;

use crate::kit::{App, noise};

/// Puts the sealed bytes of two equally long blobs at each other's place.
fn swap_two_blobs(app: &App, length: usize) {
    let ids = app.restic(&["list", "index"]).ends(0).out;
    for id in ids.lines() {
        let index = app.restic(&["cat", "index", id]).ends(0).json();
        for pack in index["packs"].as_array().unwrap() {
            let places = pack["blobs"].as_array().unwrap().iter();
            let places: Vec<(u64, usize)> = places
                .map(|blob| (blob["offset"].as_u64().unwrap(), blob["length"].as_u64().unwrap()))
                .map(|(offset, sealed)| (offset, sealed as usize))
                .filter(|(_, sealed)| (length..length + 200).contains(sealed))
                .collect();
            let [(a, long), (b, as_long)] = places[..] else { continue };
            assert_eq!(long, as_long);
            let name = pack["id"].as_str().unwrap();
            let path = app.tier.join("vault/data").join(&name[..2]).join(name);
            let file = fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
            let mut bytes = [vec![0; long], vec![0; long]];
            file.read_exact_at(&mut bytes[0], a).unwrap();
            file.read_exact_at(&mut bytes[1], b).unwrap();
            file.write_all_at(&bytes[0], b).unwrap();
            file.write_all_at(&bytes[1], a).unwrap();
            return;
        }
    }
    panic!("no pack has two blobs of {length} bytes");
}

/// Blobs of whole trees are hashed as they stand in the target; then the restore that names what is
/// wrong follows.
#[test]
fn content_of_other_files_is_found_and_named() {
    const LENGTH: usize = 300_000;
    let app = App::new();
    for name in ["one", "two"] {
        fs::write(app.root.join(format!("media/{name}.raw")), noise(LENGTH)).unwrap();
    }
    app.run(&["backup"]).ends(0);
    swap_two_blobs(&app, LENGTH);

    let target = app.dir.path().join("restored");
    let (code, report) = app.json(&["restore", "media", "--to", target.to_str().unwrap()]);
    assert_eq!(code, 9, "{report:#}");
    assert_eq!(report["verdict"], "fail", "{report:#}");
    let text = report.to_string();
    for name in ["one", "two"] {
        assert!(text.contains(&format!("media/{name}.raw")), "{report:#}");
        assert!(!target.join(format!("media/{name}.raw")).exists(), "it is not what it was");
    }
    let (code, _) = app.json(&["verify"]);
    assert_eq!(code, 9);
    let (code, report) = app.json(&["drill", "run", "all"]);
    assert_eq!((code, &report["verdict"]), (11, &"fail".into()), "{report:#}");
    // What is not in that pack is still to be had.
    let other = app.dir.path().join("other");
    app.run(&["restore", "config", "--to", other.to_str().unwrap()]).ends(0);
}
