//! A tier in an object store, by the binary: every command that works on a local tier, beside the
//! stock restic; and what is said where it cannot be used.

use std::fs;
use std::process::Command;

use lifeboat_testkit::cloud::{Azurite, Dialect, Front, Moto, Trouble};
use serde_json::Value;

use crate::kit::{App, KEY, Ran, contents, count_orders};

const BUCKET: &str = "shop-backups";
/// Nothing of it may be shown.
const SECRET: &str = "hush-secret-hush";

/// An application whose tiers are described by `tiers`, and the environment that it runs in.
struct Cloud {
    app: App,
    variables: Vec<(&'static str, String)>,
}

impl Cloud {
    fn new(tiers: &str) -> Cloud {
        let app = App::bare();
        let text = app.plan_text();
        let local = format!("[tier.local]\nurl = \"{}\"\n", app.tier.display());
        assert!(text.contains(&local));
        app.write_plan(&text.replace(&local, tiers));
        Cloud { app, variables: Vec::new() }
    }

    fn with(mut self, name: &'static str, value: impl Into<String>) -> Cloud {
        self.variables.push((name, value.into()));
        self
    }

    /// On an S3, with its pair of keys in variables of the plan's own names.
    fn on_s3(url: &str, region: &str, id: &str) -> Cloud {
        let tier = format!(
            "[tier.offsite]\nurl = \"s3://{BUCKET}/dr\"\nendpoint = \"{url}\"\nregion = \"{region}\"\n\
             access_key_env = \"SHOP_ID\"\nsecret_key_env = \"SHOP_SECRET\"\nkeep = {{ min = 1 }}\n"
        );
        Cloud::new(&tier).with("SHOP_ID", id).with("SHOP_SECRET", SECRET)
    }

    #[track_caller]
    fn run(&self, args: &[&str]) -> Ran {
        let mut command = self.app.command(args);
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        let ran = Ran::of(command.output().unwrap());
        for text in [&ran.out, &ran.err] {
            assert!(!text.contains(SECRET), "the secret is shown: {text}");
        }
        ran
    }

    #[track_caller]
    fn json(&self, args: &[&str]) -> (i32, Value) {
        let ran = self.run(&[args, &["--json"]].concat());
        (ran.code, ran.json())
    }
}

/// The stock restic on a vault in an S3.
fn restic_on_s3(url: &str, args: &[&str]) -> Ran {
    let output = Command::new("restic")
        .args(["-r", &format!("s3:{url}/{BUCKET}/dr/vault"), "--no-cache"])
        .args(args)
        .env("RESTIC_PASSWORD", KEY)
        .env("AWS_ACCESS_KEY_ID", "any")
        .env("AWS_SECRET_ACCESS_KEY", "any")
        .env("NO_PROXY", "127.0.0.1")
        .output()
        .unwrap_or_else(|e| panic!("restic: {e}; apt-get install restic"));
    Ran::of(output)
}

#[test]
fn every_command_works_on_a_bucket_beside_restic() {
    let moto = Moto::start(40);
    moto.bucket(BUCKET);
    // Variables of others lead nowhere: they are not read.
    let cloud = Cloud::on_s3(&moto.url(), "us-east-1", "shop")
        .with("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
        .with("AWS_ACCESS_KEY_ID", "stray")
        .with("S3_BACKUP_BUCKET", "stray");
    let app = &cloud.app;
    let lint = cloud.run(&["lint"]).ends(0);
    assert!(!lint.out.contains("tier `offsite`"), "{}", lint.out);
    cloud.run(&["restore", "orders", "--to", "../none"]).ends(6);
    cloud.run(&["backup"]).ends(0);
    fs::write(app.root.join("config/app.ini"), "title = Second\n").unwrap();
    cloud.run(&["backup"]).ends(0);
    restic_on_s3(&moto.url(), &["check", "--read-data"]).ends(0);
    let listed = restic_on_s3(&moto.url(), &["snapshots", "--json"]).ends(0).json();
    assert_eq!(listed.as_array().unwrap().len(), 6);
    let (code, list) = cloud.json(&["list"]);
    assert_eq!((code, list["snapshots"].as_array().unwrap().len()), (0, 6), "{list:#}");
    cloud.run(&["verify", "--all"]).ends(0);
    let status = cloud.run(&["status"]).ends(0);
    assert!(!status.out.contains("not carried out"), "{}", status.out);
    cloud.run(&["doctor"]);
    let (code, drill) = cloud.json(&["drill", "run"]);
    assert_eq!((code, &drill["verdict"]), (0, &"pass".into()), "{drill:#}");
    cloud.run(&["prune", "--yes", "--grace", "0s"]).ends(0);
    restic_on_s3(&moto.url(), &["check", "--read-data"]).ends(0);
    let (_, list) = cloud.json(&["list"]);
    assert_eq!(list["snapshots"].as_array().unwrap().len(), 3, "{list:#}");
    cloud.run(&["audit", "verify"]).ends(0);
    cloud.run(&["backup", "--dry-run"]).ends(0);
    // The machine burns: the bucket and the key are enough.
    fs::remove_dir_all(app.root.join(".lifeboat")).unwrap();
    cloud.run(&["restore", "--all", "--to", "../back"]).ends(0);
    let back = app.dir.path().join("back");
    assert_eq!(count_orders(&back.join("orders/orders.db")), 500);
    assert!(contents(&back.join("media/media")) == contents(&app.root.join("media")));
    assert_eq!(fs::read_to_string(back.join("config/config/app.ini")).unwrap(), "title = Second\n");
}

#[test]
fn a_stream_goes_to_a_bucket_and_comes_back_from_it() {
    let moto = Moto::start(40);
    moto.bucket(BUCKET);
    let cloud = Cloud::on_s3(&moto.url(), "us-east-1", "shop");
    let app = &cloud.app;
    let path = app.root.join("lifeboat.toml");
    let text = fs::read_to_string(&path).unwrap();
    let streamed = "path = \"data/orders.db\", stream = true, window = \"7d\" }";
    fs::write(&path, text.replace("path = \"data/orders.db\" }", streamed)).unwrap();
    cloud.run(&["stream", "--once"]).ends(0);
    let mut connection = rusqlite::Connection::open(app.database()).unwrap();
    crate::kit::add_orders(&mut connection, 7);
    drop(connection);
    cloud.run(&["stream", "--once"]).ends(0);
    cloud.run(&["restore", "orders", "--to", "../back"]).ends(0);
    assert_eq!(count_orders(&app.dir.path().join("back/orders.db")), 507);
    cloud.run(&["verify", "orders"]).ends(0);
}

#[test]
fn snapshots_are_copied_from_disk_to_azure_and_back() {
    let azurite = Azurite::start();
    azurite.container(BUCKET);
    let app = App::bare();
    let tiers = format!(
        "[tier.local]\nurl = \"{}\"\n\n[tier.azure]\nurl = \"az://{BUCKET}/dr\"\n\
         connection_env = \"SHOP_AZURE\"\n",
        app.tier.display()
    );
    // A comment behind the value, as a file of variables may have it (X-47).
    let connection = format!("{}   # production", azurite.connection_string());
    let cloud = Cloud::new(&tiers).with("SHOP_AZURE", connection);
    cloud.run(&["backup"]).ends(0);
    let words = cloud.run(&["copy"]).ends(0).out;
    assert!(words.contains("3 snapshots copied"), "{words}");
    cloud.run(&["verify", "--all", "--tier", "azure"]).ends(0);
    // The disk burns.
    fs::remove_dir_all(&app.tier).unwrap();
    cloud.run(&["restore", "orders", "--to", "../back", "--tier", "azure"]).ends(0);
    assert_eq!(count_orders(&cloud.app.dir.path().join("back/orders.db")), 500);
    fs::remove_dir_all(cloud.app.root.join(".lifeboat")).unwrap();
    cloud.run(&["copy", "--from", "azure", "--to", "local"]).ends(0);
    App::restic_on(&app.tier, &cloud.app.key, &["check", "--read-data"]).ends(0);
}

#[test]
fn what_cannot_be_used_is_said_with_what_mends_it() {
    let front = Front::start(Dialect::S3, BUCKET, 1000);
    let (id, region) = (Front::KEYS.0, Front::REGION);
    let right = || Cloud::on_s3(&front.url(), region, id);
    right().run(&["backup", "config"]).ends(0);
    Cloud::on_s3(&front.url(), "us-east-1", id)
        .run(&["backup"])
        .ends(8)
        .says("bucket shop-backups is in region eu-test-1", "set `region = \"eu-test-1\"`");
    Cloud::on_s3(&front.url(), region, "nobody")
        .run(&["backup"])
        .ends(8)
        .says("refused the tier's credential", "correct what the tier's `*_env`");
    front.trouble(99, "HEAD", "config", Trouble::Answer(400, "ExpiredToken"));
    front.trouble(99, "GET", "config", Trouble::Answer(400, "ExpiredToken"));
    // The answer to HEAD has no body that says why.
    right().run(&["list"]).ends(8).says("credential has expired", "renew it");
    front.forgive();
    let mut unset = right();
    unset.variables.retain(|(name, _)| *name != "SHOP_SECRET");
    unset.run(&["list"]).ends(2).says("SHOP_SECRET is not set", "export SHOP_SECRET");
    front.remove_bucket(BUCKET);
    right()
        .run(&["backup"])
        .ends(8)
        .says("there is no bucket or container shop-backups", "make it");
    drop(front);
    let away = Cloud::on_s3("http://127.0.0.1:9", region, id);
    away.run(&["backup"]).ends(8).says("cannot be reached", "check the network");
}

#[test]
fn a_file_of_credentials_is_for_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let front = Front::start(Dialect::S3, BUCKET, 1000);
    let cloud = Cloud::new(&format!(
        "[tier.offsite]\nurl = \"s3://{BUCKET}\"\nendpoint = \"{}\"\nregion = \"{}\"\n\
         credentials_file = \"keys.ini\"\n",
        front.url(),
        Front::REGION
    ));
    let file = cloud.app.root.join("keys.ini");
    let text = format!(
        "[default]\naws_access_key_id = {}\naws_secret_access_key = {SECRET}\n",
        Front::KEYS.0
    );
    fs::write(&file, text).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    cloud.run(&["backup"]).ends(4).says("others can read", "chmod 600");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    cloud.run(&["backup"]).ends(0);
    fs::write(&file, "[default]\n").unwrap();
    cloud.run(&["list"]).ends(2).says("has no pair of keys", "aws_access_key_id");
}

/// EDO-42 to EDO-46, X-47: the variables of other plans count where the plan says so, and only there.
#[test]
fn places_come_from_the_environment_only_where_the_plan_says_so() {
    let front = Front::start(Dialect::S3, BUCKET, 1000);
    let variables = |cloud: Cloud| {
        cloud
            .with("OFFSITE_STORAGE_TYPE", "s3")
            .with("S3_BACKUP_BUCKET", format!("{BUCKET}  # of the shop"))
            .with("S3_BACKUP_PREFIX", "backups/")
            .with("AWS_ENDPOINT_URL", front.url())
            .with("AWS_REGION", Front::REGION)
            .with("AWS_ACCESS_KEY_ID", Front::KEYS.0)
            .with("AWS_SECRET_ACCESS_KEY", SECRET)
    };
    let local = variables(Cloud::new("[tier.local]\nurl = \"../tier\"\n"));
    local.run(&["backup", "config"]).ends(0);
    assert_eq!(front.log(), Vec::<String>::new(), "a stray variable moves no backup");
    let offsite = variables(Cloud::new("[tier.offsite]\nfrom_env = true\n"));
    offsite.run(&["backup", "config"]).ends(0);
    assert!(front.body(BUCKET, "backups/vault/config").is_some());
    offsite.run(&["verify", "config"]).ends(0);
    let none = Cloud::new("[tier.offsite]\nfrom_env = true\n").with("OFFSITE_STORAGE_TYPE", "none");
    none.run(&["backup"]).ends(2).says("no copy leaves this machine", "choose s3");
    let missing =
        Cloud::new("[tier.offsite]\nfrom_env = true\n").with("OFFSITE_STORAGE_TYPE", "gcs");
    missing
        .run(&["backup"])
        .ends(2)
        .says("GCS_BACKUP_BUCKET is not set", "export GCS_BACKUP_BUCKET");
    // A folder, against the plan's base; it is never captured itself.
    let folder = Cloud::new("[tier.here]\nfrom_env = true\n")
        .with("OFFSITE_STORAGE_TYPE", "local")
        .with("BACKUP_DIR", "media/backups");
    folder.run(&["backup", "media"]).ends(0);
    folder.run(&["backup", "media"]).ends(0);
    assert!(folder.app.root.join("media/backups/vault/config").is_file());
    folder.run(&["restore", "media", "--to", "../back"]).ends(0);
    assert!(!folder.app.dir.path().join("back/media/backups").exists());
}
