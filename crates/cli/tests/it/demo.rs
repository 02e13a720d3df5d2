//! `lifeboat demo`: everything holds, in time, and the caller's folder stays as it was.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use crate::kit::{App, contents};

#[test]
fn the_demonstration_passes_and_leaves_only_its_page() {
    let app = App::new();
    let before = contents(&app.root);
    let place = app.dir.path().join("demo");
    let (code, story) = app.json(&["demo", "--dir", place.to_str().unwrap()]);
    assert_eq!(code, 0, "{story:#}");
    assert_eq!(story["verdict"], "pass");
    assert_eq!(story["schema"], "lifeboat/demo");
    assert!(story["seconds"].as_f64().unwrap() < Duration::from_secs(60).as_secs_f64());
    let components = story["components"].as_array().unwrap();
    assert_eq!(components.len(), 3);
    for component in components {
        assert!(component["rto_seconds"].as_f64().unwrap() > 0.0, "{component:#}");
        assert!(component["rpo_seconds"].as_f64().unwrap() > 0.0, "{component:#}");
        assert_eq!(component["verdict"], "pass");
    }
    assert_eq!(story["proof"]["broken"], 0);
    assert_eq!(story["tampering"]["healed"], true);
    let left: Vec<_> = contents(&place).into_iter().map(|(path, _)| path).collect();
    assert_eq!(left, [std::path::PathBuf::from("lifeboat-demo.html")]);
    let page = std::fs::read_to_string(place.join("lifeboat-demo.html")).unwrap();
    assert!(page.contains("<svg") && page.contains("class=\"pass\""));
    assert!(before == contents(&app.root), "the caller's folder was touched");
}

#[test]
fn the_demonstration_wants_a_folder_of_its_own() {
    let app = App::new();
    let ran = app.run(&["demo", "--dir", "."]).ends(4);
    let ran = ran.says("is not empty", "a folder of its own");
    assert!(ran.out.is_empty());
    assert!(app.root.join("lifeboat.toml").exists());
}

/// TEC-24, EDO-25: what clients were told of more than a second before the kill is there.
#[test]
fn a_server_that_is_killed_and_wiped_comes_back_to_the_last_second() {
    let app = App::new();
    let place = app.dir.path().join("demo");
    // The server is another user than root.
    std::fs::set_permissions(app.dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let (code, story) = app.json(&["demo", "--postgres", "--dir", place.to_str().unwrap()]);
    assert_eq!(code, 0, "{story:#} (without PostgreSQL: apt-get install postgresql-15)");
    assert_eq!(
        (&story["schema"], &story["verdict"]),
        (&"lifeboat/demo-postgres".into(), &"pass".into())
    );
    let sales = &story["sales"];
    assert!(sales["acknowledged"].as_u64().unwrap() > 100, "{story:#}");
    assert!(sales["there"].as_u64().unwrap() > 100, "{story:#}");
    assert_eq!((&sales["torn"], &sales["invented"]), (&0.into(), &0.into()));
    assert!(sales["loss_seconds"].as_f64().unwrap() <= 1.0, "{story:#}");
    assert!(story["ranges"].as_u64().unwrap() > 0);
    assert!(!place.exists(), "everything is removed");
}
