//! Plain artefacts under the names that plans use, and the list of backups: never over anything.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use lifeboat_testkit::cloud::{Dialect, Front};

use crate::kit::{App, add_orders, contents, count_orders};

/// Runs a stock tool, and gives what it prints.
#[track_caller]
fn tool(name: &str, args: &[&str]) -> Vec<u8> {
    let output = Command::new(name).args(args).output().unwrap();
    assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// EDO-51, AUD-12, AUD-13, AUD-14, AUD-23, CUS-09.
#[test]
fn artefacts_have_the_names_and_forms_that_plans_expect() {
    let app = App::new();
    app.run(&["backup"]).ends(0);
    let out = app.dir.path().join("out");
    let planned = app.run(&["export", "orders", "--to", "../out", "--dry-run"]).ends(0);
    assert!(planned.out.contains("would write") && !out.exists(), "{}", planned.out);
    let (code, report) = app.json(&["export", "orders", "--to", "../out"]);
    assert_eq!((code, &report["schema"]), (0, &"lifeboat/export".into()), "{report:#}");
    let name = report["name"].as_str().unwrap();
    assert!(name.starts_with("backup_full_2") && name.ends_with(".db"), "{name}");
    assert_eq!(count_orders(&out.join(name)), 500);
    let sum = tool("sha256sum", &[out.join(name).to_str().unwrap()]);
    assert!(String::from_utf8(sum).unwrap().starts_with(report["sha256"].as_str().unwrap()));
    let mode = fs::metadata(out.join(name)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "it is in the clear: for nobody else");
    // The same again has the same name, and is not written over.
    let before = contents(&out);
    app.run(&["export", "orders", "--to", "../out"])
        .ends(4)
        .says("is there already: nothing is overwritten", "--at");
    app.run(&["export", "orders", "--to", "../out", "--dry-run"]).ends(4);
    assert!(contents(&out) == before);
    let dated = "sqlite/{YYYY}/{MM}/{DD}/audit_history_{TS}.db.gz";
    let (_, report) = app.json(&["export", "orders", "--as", dated, "--to", "../out"]);
    let file = out.join(report["name"].as_str().unwrap());
    let unpacked = tool("gzip", &["-dc", file.to_str().unwrap()]);
    let plain = app.dir.path().join("plain.db");
    fs::write(&plain, unpacked).unwrap();
    assert_eq!(count_orders(&plain), 500);
    let template = "config_{TS}.{ext}";
    let (_, report) = app.json(&["export", "config", "--as", template, "--gzip", "--to", "../out"]);
    let file = out.join(report["name"].as_str().unwrap());
    assert!(file.to_str().unwrap().ends_with(".tar.gz"), "{report:#}");
    let unpacked = app.dir.path().join("unpacked");
    fs::create_dir(&unpacked).unwrap();
    tool("tar", &["-xzf", file.to_str().unwrap(), "-C", unpacked.to_str().unwrap()]);
    assert!(contents(&unpacked.join("config")) == contents(&app.root.join("config")));
    let log = app.run(&["audit", "log"]).ends(0).out;
    assert!(log.contains("export"), "{log}");
    // Nothing is left beside.
    let left = contents(&out).into_iter().filter(|(path, _)| hidden(path)).count();
    assert_eq!(left, 0);
}

/// A tar is the snapshot, and is not named by what the journal holds after it.
#[test]
fn a_tar_of_a_streamed_component_is_the_snapshot_and_says_so() {
    let app = App::new();
    let path = "path = \"data/orders.db\"";
    app.write_plan(&app.plan_text().replace(path, &format!("{path}, stream = true")));
    app.run(&["stream", "--once"]).ends(0);
    app.run(&["backup", "orders"]).ends(0);
    let mut connection = rusqlite::Connection::open(app.database()).unwrap();
    add_orders(&mut connection, 7);
    drop(connection);
    app.run(&["stream", "--once"]).ends(0);
    let args = ["export", "orders", "--as", "{id}.tar", "--to", "../out"];
    let (code, report) = app.json(&args);
    assert_eq!(code, 0, "{report:#}");
    assert!(report["warnings"][0].as_str().unwrap().contains("the snapshot alone"), "{report:#}");
    let tar = app.dir.path().join("out").join(report["name"].as_str().unwrap());
    let unpacked = app.dir.path().join("unpacked");
    fs::create_dir(&unpacked).unwrap();
    tool("tar", &["-xf", tar.to_str().unwrap(), "-C", unpacked.to_str().unwrap()]);
    assert_eq!(count_orders(&unpacked.join("orders.db")), 500);
    // As a file it is the newest.
    let (code, report) = app.json(&["export", "orders", "--as", "{id}.db", "--to", "../out"]);
    assert_eq!(code, 0, "{report:#}");
    let file = app.dir.path().join("out").join(report["name"].as_str().unwrap());
    assert_eq!(count_orders(&file), 507);
    let newest = report["complete_up_to"].as_str().unwrap();
    app.run(&["export", "orders", "--as", "{id}-2.tar", "--to", "../out", "--at", newest])
        .ends(4)
        .says("a tar holds a snapshot alone", "pack the folder");
}

fn hidden(path: &Path) -> bool {
    path.file_name().unwrap().to_str().unwrap().starts_with(".lifeboat")
}

#[test]
fn what_cannot_be_exported_is_said() {
    let app = App::new();
    app.run(&["export", "orders", "--to", "../out"]).ends(6);
    app.run(&["backup"]).ends(0);
    let export = |args: &[&str]| app.run(&[&["export"], args].concat());
    export(&["orders", "--as", "a_{when}.db"]).ends(2).says("`{when}` is no word", "{TS}");
    export(&["orders", "--as", "../a.db"]).ends(2).says("leads out", "{TS}");
    export(&["nothing"]).ends(6);
    export(&["orders", "--at", "2001-01-01T00:00:00Z", "--to", "../out"]).ends(6);
    export(&["orders", "--to", "../tier/vault"]).ends(4).says("nothing but its own", "--to");
    export(&["orders", "--as", "ledger/{TS}.db", "--to", "../tier"]).ends(4);
    export(&["orders", "--to", "s3://elsewhere/x"]).ends(2).says("no tier of the plan", "a folder");
    // A copy that is not whole is no artefact.
    let packs = contents(&app.tier.join("vault/data"));
    for (path, _) in packs {
        fs::write(app.tier.join("vault/data").join(path), "rot").unwrap();
    }
    let ran = export(&["media", "--to", "../out"]);
    assert!(ran.code != 0, "{ran:?}");
    assert!(
        !app.dir.path().join("out").exists() || contents(&app.dir.path().join("out")).is_empty()
    );
}

#[test]
fn a_copy_that_did_not_pass_is_not_exported() {
    let app = App::new();
    app.write_plan(&app.plan_text().replace("min = 1 }", "min = 100000 }"));
    app.run(&["backup", "orders"]).ends(0);
    app.run(&["export", "orders", "--to", "../out"]).ends(9);
    assert!(!app.dir.path().join("out").exists());
}

/// AUD-14, EDO-26: into a bucket, create-only.
#[test]
fn an_artefact_goes_to_a_bucket_and_is_never_replaced() {
    let front = Front::start(Dialect::S3, "shop", 1000);
    let app = App::new();
    let text = format!(
        "{}\n[tier.offsite]\nurl = \"s3://shop/dr\"\nendpoint = \"{}\"\nregion = \"{}\"\n\
         access_key_env = \"SHOP_ID\"\nsecret_key_env = \"SHOP_SECRET\"\n",
        app.plan_text(),
        front.url(),
        Front::REGION
    );
    app.write_plan(&text);
    let run = |args: &[&str]| {
        let mut command = app.command(args);
        command.env("SHOP_ID", Front::KEYS.0).env("SHOP_SECRET", Front::KEYS.1);
        crate::kit::Ran::of(command.output().unwrap())
    };
    run(&["backup", "orders"]);
    let args = ["export", "orders", "--as", "{YYYY}/orders.{ext}", "--to", "s3://shop/sqlite"];
    let report = run(&[&args[..], &["--json"]].concat()).ends(0).json();
    let name = report["name"].as_str().unwrap();
    let body = front.body("shop", &format!("sqlite/{name}")).unwrap();
    assert!(body.starts_with(b"SQLite format 3"));
    run(&args).ends(4).says("is there already", "{TS}");
    run(&["export", "orders", "--as", "vault/x.db", "--to", "s3://shop/dr"]).ends(4);
}

/// EDO-52, and a list from any one tier alone.
#[test]
fn the_list_of_backups_comes_from_any_one_tier() {
    let app = App::new();
    let second = app.add_tier("second");
    app.run(&["backup"]);
    app.run(&["copy", "--to", "second"]);
    app.run(&["verify", "orders"]);
    let list = |code: i32| {
        app.run(&["export", "--catalog", "--to", "../backups"]).ends(code);
        let file = app.dir.path().join("backups/backup_metadata.json");
        serde_json::from_slice::<serde_json::Value>(&fs::read(file).unwrap()).unwrap()
    };
    let whole = list(0);
    let of = |document: &serde_json::Value, name: &str| {
        let all = document["backups"].as_array().unwrap();
        all.iter().find(|one| one["component"] == name).unwrap().clone()
    };
    assert_eq!(whole["backups"].as_array().unwrap().len(), 3, "{whole:#}");
    assert_eq!(of(&whole, "orders")["verification_status"], "verified");
    assert_eq!(of(&whole, "media")["verification_status"], "unverified");
    assert_eq!(of(&whole, "orders")["offsite_sync_status"], "synced");
    assert_eq!(of(&whole, "orders")["tiers"].as_array().unwrap().len(), 2);
    app.run(&["backup", "config"]);
    // State and first tier are gone: the other one alone says what there is.
    fs::remove_dir_all(app.root.join(".lifeboat")).unwrap();
    fs::rename(&app.tier, app.dir.path().join("away")).unwrap();
    let listed = app.run(&["list", "--tier", "second", "--json"]).ends(0).json();
    let listed = listed["snapshots"].as_array().unwrap().clone();
    assert!(listed.len() >= 3 && listed.iter().all(|one| one["foreign"] == false), "{listed:#?}");
    let alone = list(0);
    assert!(alone["backups"].as_array().unwrap().len() >= 3, "{alone:#}");
    // It is not written over what somebody else wrote.
    let other = app.dir.path().join("other");
    fs::create_dir(&other).unwrap();
    fs::write(other.join("backup_metadata.json"), "{\"mine\": true}").unwrap();
    app.run(&["export", "--catalog", "--to", "../other"]).ends(4).says("somebody else", "--to");
    assert!(second.join("vault/config").is_file());
}
