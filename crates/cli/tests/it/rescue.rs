//! The recovery kit and what comes back with it alone: by the binary, from an empty home, with an
//! empty environment.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use lifeboat_testkit::cloud::Moto;
use serde_json::Value;

use crate::kit::{App, KEY, Ran, contents, count_orders};

const PASSPHRASE: &str = "seven random words in a row indeed";
const BUCKET: &str = "shop-backups";
/// A credential that can only read, and one that can write.
const READS: &str = "hush-reads-hush";
const WRITES: &str = "hush-writes-hush";

/// An application with a tier in a folder and one in a bucket.
struct Shop {
    app: App,
    _moto: Moto,
}

impl Shop {
    fn new() -> Shop {
        let moto = Moto::start(40);
        moto.bucket(BUCKET);
        let app = App::new();
        let text = format!(
            "{}\n[tier.offsite]\nurl = \"s3://{BUCKET}/dr\"\nendpoint = \"{}\"\n\
             access_key_env = \"SHOP_ID\"\nsecret_key_env = \"SHOP_SECRET\"\n\
             read_access_key_env = \"SHOP_READ_ID\"\nread_secret_key_env = \"SHOP_READ_SECRET\"\n",
            app.plan_text(),
            moto.url()
        );
        app.write_plan(&text);
        Shop { app, _moto: moto }
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = self.app.command(args);
        command.env("SHOP_ID", "writer").env("SHOP_SECRET", WRITES);
        command.env("SHOP_READ_ID", "reader").env("SHOP_READ_SECRET", READS);
        command.env("LIFEBOAT_KIT_PASSPHRASE", PASSPHRASE);
        command
    }

    #[track_caller]
    fn run(&self, args: &[&str]) -> Ran {
        silent(Ran::of(self.command(args).output().unwrap()))
    }
}

/// Nothing that is secret is shown.
#[track_caller]
fn silent(ran: Ran) -> Ran {
    for secret in [PASSPHRASE, READS, WRITES, KEY, "AGE-SECRET-KEY"] {
        assert!(
            !ran.out.contains(secret) && !ran.err.contains(secret),
            "a secret is shown: {ran:?}"
        );
    }
    ran
}

/// A machine that has only the binary: an empty home, an empty environment.
struct Bare {
    home: tempfile::TempDir,
}

impl Bare {
    fn new() -> Bare {
        Bare { home: tempfile::tempdir().unwrap() }
    }

    fn path(&self, below: &str) -> PathBuf {
        self.home.path().join(below)
    }

    fn command(&self, folder: &Path, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lifeboat"));
        command.args(args).env_clear().env("HOME", self.home.path()).current_dir(folder);
        command.stdin(Stdio::null());
        command
    }

    #[track_caller]
    fn run(&self, folder: &Path, args: &[&str]) -> Ran {
        silent(Ran::of(self.command(folder, args).output().unwrap()))
    }

    /// Bootstraps into `to` in the home, with a passphrase.
    #[track_caller]
    fn bootstrap(&self, url: &str, kit: &Path, to: &str, more: &[&str]) -> Ran {
        self.bootstrap_by(PASSPHRASE, url, kit, to, more)
    }

    #[track_caller]
    fn bootstrap_by(&self, word: &str, url: &str, kit: &Path, to: &str, more: &[&str]) -> Ran {
        let kit = kit.to_str().unwrap();
        let args = [&["bootstrap", url, "--kit", kit, "--to", to], more].concat();
        let mut command = self.command(self.home.path(), &args);
        command.env("LIFEBOAT_KIT_PASSPHRASE", word);
        silent(Ran::of(command.output().unwrap()))
    }
}

/// Makes a kit and returns its sealed file.
#[track_caller]
fn make_kit(app: &App, to: &str) -> PathBuf {
    let mut command = app.command(&["kit", "--to", to]);
    command.env("LIFEBOAT_KIT_PASSPHRASE", PASSPHRASE);
    silent(Ran::of(command.output().unwrap())).ends(0);
    app.root.join(to).join("lifeboat-kit.age")
}

#[track_caller]
fn same_data(app: &App, back: &Path) {
    assert_eq!(count_orders(&back.join("orders/orders.db")), 500);
    assert!(contents(&back.join("media/media")) == contents(&app.root.join("media")));
    assert!(contents(&back.join("config/config")) == contents(&app.root.join("config")));
}

/// The sealed file of a kit whose files are private and whose pages anybody may see.
#[track_caller]
fn private_and_without_secrets(kit: &Path) -> Vec<u8> {
    let page = fs::read_to_string(kit.join("lifeboat-kit.txt")).unwrap();
    let html = fs::read_to_string(kit.join("lifeboat-kit.html")).unwrap();
    let sealed = fs::read(kit.join("lifeboat-kit.age")).unwrap();
    let sha256 = lifeboat_model::chain::Hash::of(&sealed).to_string();
    for text in [&page, &html] {
        for secret in [PASSPHRASE, READS, WRITES, KEY, "AGE-SECRET-KEY"] {
            assert!(!text.contains(secret), "a secret stands on the page");
        }
        assert!(text.contains(&sha256) && text.contains("s3://shop-backups/dr"), "{text}");
        assert!(text.contains("lifeboat restore --all") && text.contains("restic"), "{text}");
    }
    assert!(html.contains("@media print") && !html.contains("http"), "{html}");
    for name in ["lifeboat-kit.age", "lifeboat-kit.txt", "lifeboat-kit.html"] {
        let mode = fs::metadata(kit.join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    sealed
}

/// EDO-18, EDO-19: the machine and every tier but one burn; the kit and the bucket bring it back.
#[test]
fn a_company_comes_back_from_one_bucket_and_the_kit() {
    let shop = Shop::new();
    let app = &shop.app;
    shop.run(&["backup"]);
    shop.run(&["copy", "--to", "offsite"]);
    shop.run(&["kit", "--to", "../kit", "--dry-run"]).ends(0);
    assert!(!app.dir.path().join("kit").exists());
    let made = shop.run(&["kit", "--to", "../kit"]).ends(0);
    let kit = app.dir.path().join("kit");
    let sealed = private_and_without_secrets(&kit);
    assert!(made.out.contains("can read it, and no more"), "{}", made.out);
    // An older kit stays, unless it is said.
    shop.run(&["kit", "--to", "../kit"]).ends(4).says("not overwritten", "--force");
    assert_eq!(fs::read(kit.join("lifeboat-kit.age")).unwrap(), sealed);
    shop.run(&["kit", "--to", "../kit", "--force"]).ends(0);
    // Tested, it is nagged about no more.
    let doctor = shop.run(&["doctor"]).out;
    assert!(doctor.contains("was never tested"), "{doctor}");
    let drill = shop.run(&["drill", "run", "--kit", "../kit/lifeboat-kit.age", "--json"]).ends(0);
    let drill = drill.json();
    assert_eq!(drill["verdict"], "pass", "{drill:#}");
    assert_eq!(drill["tier"]["name"], "offsite");
    assert_eq!(drill["components"].as_array().unwrap().len(), 3);
    let doctor = shop.run(&["doctor"]).out;
    assert!(doctor.contains("tested and is new enough"), "{doctor}");
    shop.run(&["audit", "verify"]).ends(0);

    // Fire.
    let bare = Bare::new();
    let file = bare.path("lifeboat-kit.age");
    fs::copy(kit.join("lifeboat-kit.age"), &file).unwrap();
    let original = tempfile::tempdir().unwrap();
    for below in ["media", "config"] {
        fs::create_dir_all(original.path().join(below)).unwrap();
    }
    for (path, body) in contents(&app.root.join("media")) {
        let to = original.path().join("media").join(path);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::write(to, body).unwrap();
    }
    fs::copy(app.root.join("config/app.ini"), original.path().join("config/app.ini")).unwrap();
    fs::remove_dir_all(&app.root).unwrap();
    fs::remove_dir_all(&app.tier).unwrap();
    fs::remove_file(&app.key).unwrap();

    let url = format!("s3://{BUCKET}/dr");
    let planned = bare.bootstrap(&url, &file, "back", &["--dry-run"]).ends(0);
    assert!(planned.out.contains("nothing was written"), "{}", planned.out);
    assert!(!bare.path("back").exists());
    let back = bare.bootstrap(&url, &file, "back", &[]).ends(0);
    assert!(back.out.contains("tier local does not answer"), "{}", back.out);
    assert!(back.out.contains("restore --all"), "{}", back.out);
    let folder = bare.path("back");
    assert!(folder.join("lifeboat.toml").is_file());
    let evidence = fs::read_dir(folder.join(".lifeboat/evidence")).unwrap().count();
    assert!(evidence >= 1, "the drill's evidence came back");
    bare.run(&folder, &["lint"]).ends(0);
    let list = bare.run(&folder, &["list", "--json"]).ends(0).json();
    assert!(list["snapshots"].as_array().unwrap().iter().all(|one| one["foreign"] == false));
    bare.run(&folder, &["restore", "--all", "--to", "../data"]).ends(0);
    let data = bare.path("data");
    assert_eq!(count_orders(&data.join("orders/orders.db")), 500);
    assert!(contents(&data.join("media/media")) == contents(&original.path().join("media")));
    assert!(contents(&data.join("config/config")) == contents(&original.path().join("config")));
    let log = bare.run(&folder, &["audit", "log", "--limit", "200"]).ends(0).out;
    assert!(log.contains("bootstrap") && log.contains("backup"), "{log}");
    // And where the bucket does not answer either.
    drop(shop);
    bare.bootstrap(&url, &file, "late", &[]).ends(8).says("cannot be reached", "another tier");
}

/// Everything that can be wrong, with a tier in a folder.
#[test]
fn a_kit_opens_nothing_that_is_not_its_own() {
    let app = App::new();
    app.run(&["kit", "--passphrase-env", "NOTHING"]).ends(2).says("NOTHING is not set", "export");
    app.run(&["backup"]).ends(0);
    app.run(&["kit", "--to", "../kit"]).ends(2).says("no passphrase", "--passphrase-file");
    let kit = make_kit(&app, "../kit");
    let bare = Bare::new();
    let url = app.tier.to_str().unwrap();
    bare.bootstrap_by("another passphrase", url, &kit, "back", &[])
        .ends(2)
        .says("the passphrase does not open", "when the kit was made");
    bare.bootstrap(url, &app.root.join("lifeboat.toml"), "back", &[])
        .ends(2)
        .says("no recovery kit", "age");
    bare.bootstrap(url, &bare.path("none.age"), "back", &[]).ends(6);
    let mut body = fs::read(&kit).unwrap();
    let last = body.len() - 1;
    body[last] ^= 1;
    let broken = bare.path("broken.age");
    fs::write(&broken, body).unwrap();
    bare.bootstrap(url, &broken, "back", &[]).ends(9).says("damaged or was changed", "SHA-256");
    // Places: nothing there, not there, another plan's.
    let nothing = bare.path("nothing");
    fs::create_dir(&nothing).unwrap();
    bare.bootstrap(nothing.to_str().unwrap(), &kit, "back", &[]).ends(6);
    bare.bootstrap("s3://elsewhere/dr", &kit, "back", &[])
        .ends(2)
        .says("no credential for s3://elsewhere/dr", "its tiers are");
    let other = App::new();
    fs::write(&other.key, KEY.replace('5', "6")).unwrap();
    other.run(&["backup"]).ends(0);
    let theirs = other.tier.to_str().unwrap();
    bare.bootstrap(theirs, &kit, "back", &[]).ends(4).says("another plan", "the kit of that plan");
    // The same key, and still not the same vault.
    let twin = App::new();
    twin.run(&["backup"]).ends(0);
    bare.bootstrap(twin.tier.to_str().unwrap(), &kit, "back", &[]).ends(4);
    assert!(!bare.path("back").exists());
    // A folder that holds something stays as it is.
    fs::create_dir(bare.path("full")).unwrap();
    fs::write(bare.path("full/precious"), "precious").unwrap();
    bare.bootstrap(url, &kit, "full", &[]).ends(4).says("is not empty", "--to DIR");
    assert_eq!(contents(&bare.path("full")).len(), 1);
    // A tier that was moved is the same tier.
    let moved = bare.path("moved");
    fs::rename(&app.tier, &moved).unwrap();
    fs::create_dir(bare.path("back")).unwrap();
    bare.bootstrap(moved.to_str().unwrap(), &kit, "back", &[]).ends(0);
    bare.run(&bare.path("back"), &["restore", "--all", "--to", "../data"]).ends(0);
    same_data(&app, &bare.path("data"));
    let left: Vec<_> = fs::read_dir(bare.home.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with(".lifeboat"))
        .collect();
    assert_eq!(left, Vec::<String>::new(), "what was broken off left something");
    // Others must not read the secrets that came along.
    let secrets = bare.path("back/.lifeboat/kit.json");
    assert_eq!(fs::metadata(&secrets).unwrap().permissions().mode() & 0o777, 0o600);
    fs::set_permissions(&secrets, fs::Permissions::from_mode(0o644)).unwrap();
    bare.run(&bare.path("back"), &["list"]).ends(4).says("others can read", "chmod 600");
}

/// Removes from a tier what a copy of it did not have, as somebody would who sets it back.
fn set_back(tier: &Path, to: &[(PathBuf, Vec<u8>)]) {
    fs::remove_dir_all(tier).unwrap();
    for (path, body) in to {
        let path = tier.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, body).unwrap();
    }
}

/// a tier that was set back, one that lags, a plan that was changed.
#[test]
fn a_tier_that_was_set_back_or_changed_is_named_and_not_believed() {
    let app = App::new();
    let second = app.add_tier("second");
    app.run(&["backup"]);
    app.run(&["copy", "--to", "second"]);
    let early = contents(&app.tier);
    app.run(&["backup"]);
    app.run(&["copy", "--to", "second"]);
    let kit = make_kit(&app, "../kit");
    let bare = Bare::new();
    let (local, second) = (app.tier.to_str().unwrap(), second.to_str().unwrap());
    // Later runs: one tier goes on, the other lags.
    app.run(&["audit", "log"]);
    let both = bare.bootstrap(local, &kit, "fine", &["--dry-run"]);
    assert!(matches!(both.code, 0 | 3), "{both:?}");
    let lagging = contents(&app.tier);
    for _ in 0..2 {
        app.run(&["backup", "config"]);
        app.run(&["copy", "--to", "second"]);
    }
    let late = contents(&app.tier);
    set_back(&app.tier, &lagging);
    bare.bootstrap(second, &kit, "lags", &["--dry-run"]).ends(3);
    let said = bare.bootstrap(local, &kit, "lags", &[]).ends(3);
    assert!(said.out.contains("lacks the last"), "{}", said.out);
    // Set back to before the kit: refused, and named from the other tier.
    set_back(&app.tier, &early);
    let refused = bare.bootstrap(local, &kit, "back", &[]).ends(9);
    refused.says("the tier was set back", "another tier");
    assert!(!bare.path("back").exists());
    let other = bare.bootstrap(second, &kit, "other", &[]).ends(9);
    assert!(other.out.contains("tier local") && other.out.contains("set back"), "{}", other.out);
    assert!(bare.path("other/lifeboat.toml").is_file(), "what is believed came back");
    bare.bootstrap(local, &kit, "anyway", &["--anyway"]).ends(9);
    // The plan is changed, or signed by a stranger: not believed, unless the kit's is asked for.
    set_back(&app.tier, &late);
    let plans = app.tier.join("plan");
    let plan = contents(&plans).remove(0).0;
    let genuine = fs::read(plans.join(&plan)).unwrap();
    let mut changed = genuine.clone();
    let last = changed.len() - 1;
    changed[last] ^= 1;
    fs::write(plans.join(&plan), &changed).unwrap();
    bare.bootstrap(local, &kit, "plan", &[]).ends(9).says("is not believed", "--kit-plan");
    assert!(!bare.path("plan").exists());
    bare.bootstrap(local, &kit, "plan", &["--kit-plan"]);
    assert!(bare.path("plan/lifeboat.toml").is_file());
    fs::write(plans.join(&plan), stranger(&app, &genuine)).unwrap();
    bare.bootstrap(local, &kit, "foreign", &[]).ends(9).says("is not believed", "--kit-plan");
    assert!(!bare.path("foreign").exists());
    // open.py verifies the genuine one, and refuses the other.
    let identity = app.key_file("identity.txt", &identity(&app));
    let open = |file: &Path| {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tools/open.py");
        let key = lifeboat_fingerprint(&app);
        let output = Command::new("python3")
            .arg(script)
            .arg("plan")
            .arg(file)
            .args(["--identity", identity.to_str().unwrap(), "--key", &key])
            .output()
            .unwrap();
        Ran::of(output)
    };
    open(&plans.join(&plan)).ends(9);
    fs::write(plans.join(&plan), genuine).unwrap();
    let printed = open(&plans.join(&plan)).ends(0).out;
    assert!(printed.contains("[component.orders]"), "{printed}");
}

/// The tier's identity, in clear, by the stock tool's format.
fn identity(app: &App) -> String {
    let sealed = fs::read(app.tier.join("journal/identity.age")).unwrap();
    let opened = lifeboat_recovery::seal::of_passphrase(&sealed, KEY).unwrap();
    String::from_utf8(opened.to_vec()).unwrap()
}

/// The fingerprint of the host's signing key.
fn lifeboat_fingerprint(app: &App) -> String {
    use lifeboat_model::chain::{MemorySigner, Signer};
    let seed = fs::read_to_string(app.root.join(".lifeboat/sign.key")).unwrap();
    let mut bytes = [0; 32];
    hex::decode_to_slice(seed.trim(), &mut bytes).unwrap();
    MemorySigner::from_seed(&bytes).public_key().fingerprint()
}

/// The same plan, signed by somebody who has the vault key and may write to the tier.
fn stranger(app: &App, genuine: &[u8]) -> Vec<u8> {
    use lifeboat_model::chain::{MemorySigner, Revision, Signed};
    let sealed = fs::read(app.tier.join("journal/identity.age")).unwrap();
    let sealer = lifeboat_recovery::seal::Sealer::unlock(&sealed, KEY).unwrap();
    let signed = Signed::<Revision>::read(&sealer.open(genuine).unwrap()).unwrap();
    let mut revision = signed.document;
    revision.files[0].text.push_str("\n# and a word of mine\n");
    let forged = Signed::new(revision, &MemorySigner::from_seed(&[9; 32])).unwrap();
    sealer.seal(&forged.bytes()).unwrap()
}

/// The plan is believed, and still nothing of it is run on a machine that nobody looked at.
#[test]
fn a_bootstrap_runs_nothing_that_the_plan_names() {
    let (app, device) = crate::signing::app();
    app.run(&["backup"]).ends(0);
    let kit = make_kit(&app, "../kit");
    let marker = app.dir.path().join("ran");
    fs::write(device.join("sign.sh"), format!("touch {}; exit 1\n", marker.display())).unwrap();
    let bare = Bare::new();
    let said = bare.bootstrap(app.tier.to_str().unwrap(), &kit, "back", &[]).ends(0);
    assert!(said.out.contains("is not recorded"), "{}", said.out);
    assert!(!marker.exists(), "the plan's command was run");
    let list = bare.run(&bare.path("back"), &["list", "--json"]).ends(0).json();
    assert!(list["snapshots"].as_array().unwrap().iter().all(|one| one["foreign"] == false));
}

/// A kit that is older than what it holds.
#[test]
fn doctor_and_drills_nag_about_a_kit_that_is_missing_or_old() {
    let app = App::new();
    app.run(&["backup", "config"]).ends(0);
    let nags = |words: &str| {
        let doctor = app.run(&["doctor"]).out;
        assert!(doctor.contains(words), "{words:?} is not in: {doctor}");
    };
    nags("no recovery kit was ever made");
    let (_, drill) = app.json(&["drill", "run", "config"]);
    assert!(drill["findings"].to_string().contains("no recovery kit"), "{drill:#}");
    make_kit(&app, "../kit");
    nags("was never tested");
    let second = app.add_tier("second");
    nags("tiers or keys changed since the recovery kit");
    app.run(&["copy", "--to", "second"]);
    make_kit(&app, "../newer");
    let doctor = app.run(&["doctor"]).out;
    assert!(!doctor.contains("changed since"), "{doctor}");
    let new = app.key_file("new.key", &KEY.replace('5', "7"));
    app.run(&["key", "rotate", "--new-key-file", new.to_str().unwrap(), "--yes"]);
    fs::copy(&new, &app.key).unwrap();
    nags("the vault key was changed");
    // And the old kit says so itself.
    let bare = Bare::new();
    let kit = app.dir.path().join("newer/lifeboat-kit.age");
    bare.bootstrap(second.to_str().unwrap(), &kit, "back", &[])
        .ends(2)
        .says("does not open tier second any more", "newest kit");
    let _: Value = app.json(&["list"]).1;
}
