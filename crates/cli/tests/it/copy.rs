//! `copy`: a second tier, by the binary and beside the stock restic.

use std::fs;
use std::path::Path;

use lifeboat_adapters::SystemClock;
use lifeboat_vault::Clock;

use crate::kill::{kill_after, large_app, moments};
use crate::kit::{App, KEY, contents, count_orders};

/// Names below `vault/data` of a tier.
fn packs(tier: &Path) -> Vec<String> {
    let names = contents(&tier.join("vault/data")).into_iter();
    names.map(|(name, _)| name.display().to_string()).collect()
}

#[test]
fn a_second_tier_holds_the_same_packs_and_restores_alone() {
    let app = App::new();
    app.run(&["backup"]).ends(0);
    fs::write(app.root.join("media/new.bin"), vec![7; 300_000]).unwrap();
    app.run(&["backup"]).ends(0);
    let second = app.add_tier("second");
    assert!(app.run(&["status"]).ends(0).out.contains("lifeboat copy --to second"));
    let (code, planned) = app.json(&["copy", "--dry-run"]);
    assert_eq!((code, planned["copied"].as_array().unwrap().len()), (0, 6), "{planned:#}");
    assert_eq!((&planned["schema"], second.exists()), (&"lifeboat/copy-recipe".into(), false));
    let words = app.run(&["copy", "--to", "second"]).ends(0).out;
    assert!(words.contains("6 snapshots copied") && words.contains("a vault was made"), "{words}");
    assert_eq!(packs(&second), packs(&app.tier), "packs go over byte for byte");
    let (code, again) = app.json(&["copy"]);
    assert_eq!((code, again["present"].as_u64()), (0, Some(6)), "{again:#}");
    assert_eq!(packs(&second), packs(&app.tier));
    App::restic_on(&second, &app.key, &["check", "--read-data"]).ends(0);
    let listed = App::restic_on(&second, &app.key, &["snapshots", "--json"]).ends(0);
    assert_eq!(listed.json().as_array().unwrap().len(), 6);
    // The first disk burns, and the machine with it.
    let (_, list) = app.json(&["list"]);
    let old = list["snapshots"][0]["snapshot"].as_str().unwrap().to_owned();
    fs::remove_dir_all(&app.tier).unwrap();
    fs::remove_dir_all(app.root.join(".lifeboat")).unwrap();
    app.run(&["verify", "--all", "--tier", "second"]).ends(0);
    app.run(&["restore", "--all", "--to", "../back", "--tier", "second"]).ends(0);
    assert_eq!(count_orders(&app.dir.path().join("back/orders/orders.db")), 500);
    assert!(
        contents(&app.dir.path().join("back/media/media")) == contents(&app.root.join("media"))
    );
    // By the id that it had there.
    let component = list["snapshots"][0]["component"].as_str().unwrap();
    app.run(&["restore", component, "--at", &old, "--to", "../old", "--tier", "second"]).ends(0);
    // A new disk is filled from it.
    app.run(&["copy", "--from", "second", "--to", "local"]).ends(0);
    app.run(&["verify", "--all"]).ends(0);
    app.run(&["backup"]).ends(0);
}

#[test]
fn copies_that_cannot_be_made_are_refused_with_a_hint() {
    let app = App::new();
    app.run(&["backup"]).ends(0);
    let none = app.run(&["copy"]).ends(2);
    none.says("the plan has no other tier that this version uses", "[tier.second]");
    let second = app.add_tier("second");
    app.run(&["copy", "--to", "secnod"]).ends(2).says("secnod", "second");
    app.run(&["copy", "--to", "local"]).ends(2).says("into itself", "--to second");
    app.run(&["copy", "nothing"]).ends(6).says("nothing", "lifeboat list");
    app.add_tier("third");
    app.run(&["copy"]).ends(2).says("several other tiers", "second, third");
    // Another key opens what is there.
    let other = app.key_file("other.key", &KEY.replace('5', "6"));
    App::restic_on(&second, &other, &["init"]).ends(0);
    app.run(&["copy", "--to", "second"]).ends(2).says("does not open the vault", "vault key");
    fs::remove_dir_all(&second).unwrap();
    fs::create_dir_all(second.join("photos")).unwrap();
    app.run(&["copy", "--to", "second"]).ends(4).says("not empty and holds no vault", "photos");
    // A tier inside a tier would be one disk, and its own content.
    let plan = fs::read_to_string(app.root.join("lifeboat.toml")).unwrap();
    let inside = app.tier.join("second").display().to_string();
    app.write_plan(&plan.replace(&second.display().to_string(), &inside));
    app.run(&["copy", "--to", "second"]).ends(2).says("one lies in the other", "folder of its own");
}

/// `kill -9` at any moment.
#[test]
fn a_killed_copy_goes_on_where_it_stood() {
    let app = large_app();
    app.run(&["backup"]).ends(0);
    fs::write(app.root.join("media/new.bin"), vec![9; 3_000_000]).unwrap();
    app.run(&["backup"]).ends(0);
    let second = app.add_tier("second");
    let clock = SystemClock::new();
    let began = clock.monotonic();
    app.run(&["copy"]).ends(0);
    let whole = clock.monotonic() - began;
    fs::remove_dir_all(&second).unwrap();
    fs::remove_file(app.root.join(".lifeboat/tiers.json")).unwrap();
    for span in moments(whole, 6) {
        kill_after(&app, &["copy"], span, &clock);
        if second.join("vault/config").exists() {
            let check = App::restic_on(&second, &app.key, &["check", "--read-data", "--no-lock"]);
            assert_eq!(check.code, 0, "after {span:?}: {}{}", check.out, check.err);
        }
    }
    app.run(&["copy"]).ends(0);
    let (_, list) = app.json(&["list", "--tier", "second"]);
    let list = list["snapshots"].as_array().unwrap();
    assert_eq!(list.len(), 6, "{list:#?}");
    assert!(list.iter().all(|one| one["foreign"] == false), "{list:#?}");
    app.run(&["verify", "--all", "--tier", "second"]).ends(0);
    app.run(&["audit", "verify", "--tier", "second"]).ends(0);
}

/// A pack that is gone and one that is damaged: `verify` finds it, `copy` heals it, restic agrees.
#[test]
fn a_copy_heals_what_a_verification_of_the_second_tier_found() {
    let app = App::new();
    app.run(&["backup"]).ends(0);
    let second = app.add_tier("second");
    app.run(&["copy"]).ends(0);
    for (number, damaged) in [false, true].into_iter().enumerate() {
        let pack = second.join("vault/data").join(&packs(&second)[number]);
        let mut bytes = fs::read(&pack).unwrap();
        fs::remove_file(&pack).unwrap();
        if damaged {
            bytes[20] ^= 1;
            fs::write(&pack, bytes).unwrap();
        }
        let (code, found) = app.json(&["verify", "--tier", "second"]);
        assert_ne!(code, 0, "{found:#}");
        let said = app.run(&["copy"]).ends(0).out;
        assert!(said.contains("healed") && said.contains("read again there"), "{said}");
        assert!(said.contains("lifeboat verify --tier second"), "{said}");
        App::restic_on(&second, &app.key, &["check", "--read-data"]).ends(0);
        app.run(&["verify", "--tier", "second"]).ends(0);
        let said = app.run(&["copy"]).ends(0).out;
        assert!(!said.contains("healed") && !said.contains("read again"), "{said}");
    }
}
