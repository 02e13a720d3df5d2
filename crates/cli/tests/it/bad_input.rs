//! Bad input: each ends with a sentence, its cause, a hint, the right exit code, and nothing lost.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use lifeboat_adapters::SystemClock;
use lifeboat_vault::Clock;
use rusqlite::Connection;

use crate::kit::{App, Ran, contents, count_orders, noise};

/// Runs lifeboat as an unprivileged user, who owns everything of the application's.
fn as_nobody(app: &App, args: &[&str]) -> Ran {
    let binary = app.dir.path().join("lifeboat");
    fs::copy(env!("CARGO_BIN_EXE_lifeboat"), &binary).unwrap();
    let root = app.dir.path();
    fs::set_permissions(root, fs::Permissions::from_mode(0o755)).unwrap();
    for path in [app.root.as_path(), app.key.as_path()] {
        let done = Command::new("chown").args(["-R", "65534:65534"]).arg(path).status().unwrap();
        assert!(done.success());
    }
    let output = Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .arg(&binary)
        .args(args)
        .current_dir(&app.root)
        .env_remove("LIFEBOAT_PLAN")
        .output()
        .unwrap_or_else(|e| panic!("setpriv: {e}; apt-get install util-linux"));
    Ran::of(output)
}

/// The plan with one text replaced.
fn with(app: &App, from: &str, to: &str) {
    let text = app.plan_text();
    assert!(text.contains(from), "{from}");
    app.write_plan(&text.replace(from, to));
}

#[test]
fn plan_missing() {
    let app = App::bare();
    app.run(&["backup"]).ends(2).says("there is no plan at lifeboat.toml", "`lifeboat init`");
    app.run(&["-c", "other.toml", "lint"]).ends(2).says("no plan at other.toml", "--plan FILE");
    let mut command = app.command(&["lint"]);
    command.env("LIFEBOAT_PLAN", "third.toml");
    Ran::of(command.output().unwrap()).ends(2).says("no plan at third.toml", "init");
}

#[test]
fn plan_is_not_toml() {
    let app = App::bare();
    app.write_plan("[plan\nname = 1");
    let ran = app.run(&["lint"]).ends(2);
    assert!(ran.err.contains("not TOML"), "{}", ran.err);
    assert!(ran.err.contains("lifeboat.toml:1:"), "{}", ran.err);
    fs::write(app.root.join("lifeboat.toml"), b"\xff\xfe").unwrap();
    app.run(&["lint"]).ends(2).says("is not UTF-8", "save it as UTF-8");
}

#[test]
fn plan_errors_have_line_caret_and_nearest_name() {
    for (from, to, sentence, hint, place) in [
        ("paths = [\"media\"]", "pahts = [\"media\"]", "`pahts`", "`paths`", ":21:"),
        ("rto = \"1h\"", "rto = 5", "rto", "", ":3:"),
        ("rto = \"1h\"", "rto = \"90\"", "90", "unit", ":3:"),
        ("[component.config]", "[component.media]", "twice", "", ":23:"),
        ("[tier.local]", "[teir.local]", "`teir`", "`tier`", ":26:"),
    ] {
        let app = App::new();
        with(&app, from, to);
        let ran = app.run(&["backup"]).ends(2);
        let lower = ran.err.to_lowercase();
        assert!(lower.contains(sentence), "{sentence}: {}", ran.err);
        assert!(ran.err.contains(place), "{place}: {}", ran.err);
        assert!(ran.err.contains('╰') || ran.err.contains('^'), "no caret: {}", ran.err);
        assert!(ran.err.contains(hint), "{hint}: {}", ran.err);
        assert!(!app.tier.exists() && !app.root.join(".lifeboat").exists());
        let (code, document) = app.json(&["backup"]);
        assert_eq!((code, document["exit"].as_u64()), (2, Some(2)));
    }
}

#[test]
fn tier_that_cannot_be_written() {
    let app = App::new();
    fs::create_dir(&app.tier).unwrap();
    let ran = as_nobody(&app, &["backup"]);
    assert!([1, 4, 8].contains(&ran.code), "{ran:?}");
    assert!(ran.err.contains("hint: "), "{}", ran.err);
    assert!(ran.err.contains(app.tier.to_str().unwrap()), "{}", ran.err);
    assert!(!ran.err.contains("Generic"), "{}", ran.err);
    assert_eq!(ran.err.to_lowercase().matches("permission denied").count(), 1, "{}", ran.err);
    assert!(contents(&app.tier).is_empty());
}

#[test]
fn full_disk_in_the_middle_of_a_backup() {
    let app = App::new();
    app.run(&["backup"]).ends(0);
    fs::write(app.root.join("media/large.bin"), noise(4_000_000)).unwrap();
    // A tier of two megabytes: what the first backup made, and too little for the second.
    let script = format!(
        "mkdir {d}/small && mount -t tmpfs -o size=2m none {d}/small && cp -a {d}/tier/. {d}/small && \
         mount --bind {d}/small {d}/tier && {b} backup; code=$?; \
         RESTIC_PASSWORD_FILE={d}/vault.key restic -r {d}/tier/vault check --read-data --no-cache \
         --no-lock >&2 || exit 98; cp -a {d}/tier/. {d}/after; exit $code",
        d = app.dir.path().display(),
        b = env!("CARGO_BIN_EXE_lifeboat")
    );
    let output = Command::new("unshare")
        .args(["-rm", "sh", "-c", &script])
        .current_dir(&app.root)
        .output()
        .unwrap_or_else(|e| panic!("unshare: {e}; apt-get install util-linux"));
    let ran = Ran::of(output).ends(1);
    let said = format!("{}{}", ran.out, ran.err);
    assert!(said.contains("no space left"), "{said}");
    assert!(said.contains("free some space"), "{said}");
    // The copy of the full tier still restores.
    fs::rename(&app.tier, app.dir.path().join("gone")).unwrap();
    fs::rename(app.dir.path().join("after"), &app.tier).unwrap();
    app.run(&["restore", "orders", "--to", "../back"]).ends(0);
    assert_eq!(count_orders(&app.dir.path().join("back/orders.db")), 500);
    app.run(&["backup"]).ends(0);
    app.run(&["verify"]).ends(0);
}

#[test]
fn wrong_vault_key() {
    let app = App::new();
    app.run(&["backup"]).ends(0);
    let before = contents(&app.tier.join("vault"));
    fs::write(&app.key, "another key than before").unwrap();
    for args in [&["backup"][..], &["list"], &["verify"], &["restore", "orders", "--to", "../x"]] {
        let ran = app.run(args).ends(2);
        assert!(ran.err.contains("hint: check that the plan's vault key"), "{}", ran.err);
    }
    let doctor = app.run(&["doctor"]);
    assert!(doctor.out.contains("✗ tier") && doctor.code != 0, "{}", doctor.out);
    assert!(contents(&app.tier.join("vault")) == before);
    assert!(!app.dir.path().join("x").exists());
}

#[test]
fn missing_key_and_key_that_others_can_read() {
    let app = App::new();
    fs::set_permissions(&app.key, fs::Permissions::from_mode(0o644)).unwrap();
    app.run(&["backup"]).ends(4).says("others can read the vault key", "chmod 600");
    fs::remove_file(&app.key).unwrap();
    app.run(&["backup"]).ends(2).says("cannot read the vault key", "copy that you keep elsewhere");
    with(&app, &format!("vault_file = \"{}\"", app.key.display()), "vault_env = \"NO_SUCH_KEY\"");
    app.run(&["backup"]).ends(2).says("NO_SUCH_KEY is not set", "export NO_SUCH_KEY");
    assert!(!app.tier.exists());
    app.run(&["status"]).ends(0);
}

#[test]
fn tier_that_is_not_a_vault() {
    let app = App::new();
    fs::create_dir(&app.tier).unwrap();
    fs::write(app.tier.join("holiday.jpg"), "sea").unwrap();
    app.run(&["backup"]).ends(4).says("holds no vault", "empty folder");
    assert_eq!(contents(&app.tier).len(), 1);
}

#[test]
fn vault_of_another_plan() {
    let (app, other) = (App::new(), App::new());
    app.run(&["backup"]).ends(0);
    other.run(&["backup"]).ends(0);
    let before = contents(&other.tier.join("vault"));
    fs::rename(&app.tier, app.dir.path().join("mine")).unwrap();
    std::os::unix::fs::symlink(&other.tier, &app.tier).unwrap();
    let ran = app.run(&["backup"]).ends(4);
    ran.says("vault", "");
    assert!(contents(&other.tier.join("vault")) == before);
}

#[test]
fn unmounted_tier() {
    let app = App::new();
    app.run(&["backup"]).ends(0);
    fs::rename(&app.tier, app.dir.path().join("unplugged")).unwrap();
    for empty in [false, true] {
        if empty {
            fs::create_dir(&app.tier).unwrap();
        }
        app.run(&["backup"]).ends(8).says("holds no vault, but one is known to be there", "mount");
        assert_eq!(app.tier.exists(), empty);
        assert!(!empty || contents(&app.tier).is_empty());
    }
    app.run(&["status"]).ends(0);
    fs::remove_dir(&app.tier).unwrap();
    fs::rename(app.dir.path().join("unplugged"), &app.tier).unwrap();
    app.run(&["backup"]).ends(0);
}

/// The database is unfit: its component gets no snapshot, the others do, and the older snapshot
/// of it still restores.
#[track_caller]
fn unfit_database(app: &App, sentence: &str) {
    let (code, report) = app.json(&["backup"]);
    assert_eq!(code, 1, "{report:#}");
    let components = report["components"].as_array().unwrap();
    for component in components {
        let expected = if component["component"] == "orders" { "failed" } else { "saved" };
        assert_eq!(component["outcome"], expected, "{component:#}");
    }
    let error = &components.iter().find(|c| c["component"] == "orders").unwrap()["error"];
    let said = error.to_string();
    assert!(said.contains(sentence), "{sentence}: {said}");
    app.run(&["restore", "orders", "--to", "../back"]).ends(0);
    assert_eq!(count_orders(&app.dir.path().join("back/orders.db")), 500);
}

#[test]
fn database_missing() {
    let app = App::new();
    app.run(&["backup"]).ends(0);
    fs::remove_file(app.database()).unwrap();
    unfit_database(&app, "missing");
    assert!(!app.database().exists(), "looking at it made it (X-19)");
}

#[test]
fn database_that_is_not_sqlite() {
    let app = App::new();
    app.run(&["backup"]).ends(0);
    fs::write(app.database(), "a,b,c\n".repeat(5000)).unwrap();
    unfit_database(&app, "not a SQLite database");
}

#[test]
fn database_that_is_encrypted() {
    let app = App::new();
    app.run(&["backup"]).ends(0);
    fs::write(app.database(), noise(65_536)).unwrap();
    unfit_database(&app, "encrypted");
}

#[test]
fn database_that_is_locked_for_good() {
    let app = App::new();
    app.run(&["backup"]).ends(0);
    let holder = Connection::open(app.database()).unwrap();
    holder.execute_batch("pragma journal_mode = delete; begin exclusive").unwrap();
    unfit_database(&app, "lock");
    holder.execute_batch("rollback").unwrap();
    drop(holder);
    app.run(&["backup"]).ends(0);
}

#[test]
fn files_that_change_and_vanish_while_they_are_read() {
    let app = App::new();
    let media = app.root.join("media");
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut log = File::create(media.join("growing.log")).unwrap();
            let line = vec![b'x'; 64 << 10];
            for turn in 0u32.. {
                if stop.load(Ordering::Relaxed) || turn > 4000 {
                    break;
                }
                log.write_all(&line).unwrap();
                let fleeting = media.join(format!("fleeting-{}", turn % 7));
                fs::write(&fleeting, &line).unwrap();
                let _ = fs::remove_file(&fleeting);
            }
        });
        for _ in 0..3 {
            let (code, report) = app.json(&["backup", "media"]);
            assert!(code == 0 || code == 3, "{report:#}");
            let component = &report["components"][0];
            let problems = component["problems"].as_array().unwrap();
            assert_eq!(code == 3, !problems.is_empty(), "{report:#}");
            assert_eq!(component["outcome"] == "partial", code == 3);
        }
        stop.store(true, Ordering::Relaxed);
    });
    app.run(&["backup", "media"]).ends(0);
    app.run(&["restore", "media", "--to", "../back"]).ends(0);
    assert!(contents(&media) == contents(&app.dir.path().join("back/media")));
    assert_eq!(app.restic(&["check", "--read-data"]).code, 0);
}

#[test]
fn permission_denied() {
    let app = App::new();
    let secret = app.root.join("media/secret.bin");
    fs::write(&secret, "mine").unwrap();
    as_nobody(&app, &["lint"]);
    assert!(Command::new("chown").args(["0:0"]).arg(&secret).status().unwrap().success());
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
    fs::create_dir(&app.tier).unwrap();
    assert!(Command::new("chown").arg("65534").arg(&app.tier).status().unwrap().success());
    let binary = app.dir.path().join("lifeboat");
    let output = Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .arg(&binary)
        .args(["backup", "media"])
        .current_dir(&app.root)
        .output()
        .unwrap();
    let ran = Ran::of(output).ends(3);
    assert!(ran.out.contains("secret.bin"), "the problem is not named: {}", ran.out);
    assert!(ran.out.to_lowercase().contains("permission denied"), "{}", ran.out);
    let list = app.snapshots();
    assert_eq!(list[0]["partial"], true);
}

#[test]
fn snapshot_id_unknown_or_ambiguous() {
    let app = App::new();
    // Seventeen ids begin with one of sixteen digits.
    for _ in 0..17 {
        app.run(&["backup", "config"]).ends(0);
    }
    app.run(&["verify", "ffffffffffff"]).ends(6).says("ffffffffffff", "");
    app.run(&["restore", "config", "--to", "../x", "--at", "ffffffffffff"]).ends(6);
    let list = app.snapshots();
    let mut digits: Vec<&str> =
        list.iter().map(|s| &s["snapshot"].as_str().unwrap()[..1]).collect();
    digits.sort_unstable();
    let doubled = digits.windows(2).find(|two| two[0] == two[1]).unwrap()[0];
    let ran = app.run(&["restore", "config", "--to", "../x", "--at", doubled]);
    assert!(ran.code == 2 || ran.code == 6, "{ran:?}");
    assert!(ran.err.contains("is the beginning of"), "{}", ran.err);
    assert!(ran.err.contains("more characters"), "{}", ran.err);
    assert!(!app.dir.path().join("x").exists());
}

#[test]
fn unknown_component_drill_and_schedule() {
    let app = App::new();
    app.run(&["backup"]).ends(0);
    app.run(&["backup", "odrers"]).ends(6).says("no component `odrers`", "orders");
    app.run(&["restore", "odrers", "--to", "../x"]).ends(6).says("odrers", "orders");
    app.run(&["drill", "run", "nothing"]).ends(6);
    app.run(&["backup", "--schedule", "never"]).ends(2).says("no schedule `never`", "");
}

#[test]
fn restore_target_not_empty_or_inside_the_source() {
    let app = App::new();
    app.run(&["backup"]).ends(0);
    let target = app.dir.path().join("full");
    fs::create_dir(&target).unwrap();
    fs::write(target.join("mine.txt"), "precious").unwrap();
    let before = contents(app.dir.path());
    app.run(&["restore", "media", "--to", "../full"]).ends(4).says("not empty", "");
    app.run(&["restore", "media", "--to", "media/back"]).ends(4);
    app.run(&["restore", "media", "--to", "media"]).ends(4);
    let same = |path: &Path| {
        let skip =
            |path: &Path| path.starts_with("app/.lifeboat") || path.starts_with("tier/ledger");
        let strip = |list: Vec<(std::path::PathBuf, Vec<u8>)>| -> Vec<_> {
            list.into_iter().filter(|(path, _)| !skip(path)).collect()
        };
        assert!(strip(contents(path)) == strip(before.clone()));
    };
    same(app.dir.path());
}

#[test]
fn times_that_are_no_times() {
    let app = App::new();
    app.run(&["backup"]).ends(0);
    let restore = |at: &str| app.run(&["restore", "orders", "--to", "../x", "--at", at]);
    restore("latest").ends(2).says("is not a time", "leave `--at` out");
    restore("tomorrow").ends(2).says("is not a time", "`lifeboat list`");
    restore("2999-01-01").ends(2).says("lies in the future", "lifeboat list");
    restore("2001-01-01T00:00:00Z").ends(6);
    restore("2001-01-01 02:00").ends(2).says("has no time zone", "2001-01-01T02:00:00Z");
    assert!(!app.dir.path().join("x").exists());
}

#[test]
fn restore_in_place_wants_the_name() {
    let app = App::new();
    app.run(&["backup"]).ends(0);
    let before = fs::read(app.database()).unwrap();
    let restore = |more: &[&str]| app.run(&[&["restore", "orders", "--in-place"], more].concat());
    restore(&[]).ends(4).says("wants a confirmation", "--yes --confirm");
    restore(&["--yes"]).ends(4).says("alone does not replace", "--confirm");
    restore(&["--yes", "--confirm", "media"]).ends(4).says("does not name", "orders");
    assert!(fs::read(app.database()).unwrap() == before);
    restore(&["--yes", "--confirm", "orders"]).ends(0);
}

#[test]
fn empty_file_and_a_huge_sparse_one() {
    let app = App::new();
    File::create(app.root.join("media/empty.bin")).unwrap();
    let sparse = File::create(app.root.join("media/sparse.img")).unwrap();
    sparse.set_len(30 << 30).unwrap();
    app.run(&["backup", "media"]).ends(0);
    app.run(&["restore", "media", "--to", "../back"]).ends(0);
    let back = app.dir.path().join("back/media");
    assert_eq!(fs::metadata(back.join("empty.bin")).unwrap().len(), 0);
    let meta = fs::metadata(back.join("sparse.img")).unwrap();
    assert_eq!(meta.len(), 30 << 30);
    let used = std::os::unix::fs::MetadataExt::blocks(&meta) * 512;
    assert!(used < 1 << 20, "the holes were filled: {used} bytes");
}

/// On a disk of 64 MiB everything goes its way that needs room: what a hole takes is nothing.
#[test]
fn a_sparse_file_larger_than_the_disk() {
    let app = App::new();
    let sparse = File::create(app.root.join("media/sparse.img")).unwrap();
    sparse.set_len(30 << 30).unwrap();
    sparse.write_all_at(&noise(1 << 20), 17 << 30).unwrap();
    let script = format!(
        "set -e; mkdir {d}/small; mount -t tmpfs -o size=64m none {d}/small
         cp -a --sparse=always {d}/app {d}/small/app; cd {d}/small/app
         {b} backup media; {b} verify media; {b} restore media --to ../back; 
         cmp -i 18253611008 -n 1048576 {d}/app/media/sparse.img ../back/media/sparse.img; stat -c 'used %b' ../back/media/*.img
         rm -r ../back; {b} drill run media; rm -f media/sparse.img
         {b} restore media --in-place --yes --confirm media; stat -c 'used %b' media/sparse.img",
        d = app.dir.path().display(),
        b = env!("CARGO_BIN_EXE_lifeboat")
    );
    let clock = SystemClock::new();
    let began = clock.monotonic();
    let output = Command::new("unshare").args(["-rm", "sh", "-c", &script]).output().unwrap();
    let ran = Ran::of(output).ends(0);
    let took = clock.monotonic() - began;
    let used: Vec<u64> =
        ran.out.lines().filter_map(|line| line.strip_prefix("used ")?.parse().ok()).collect();
    assert!(used.len() == 2 && used.iter().all(|blocks| *blocks <= 4096), "{}", ran.out);
    assert!(took.as_secs() < 60, "{took:?}");
}

#[test]
fn a_hundred_thousand_files_in_one_folder() {
    let app = App::in_memory();
    let folder = app.root.join("media/many");
    fs::create_dir(&folder).unwrap();
    for number in 0..100_000u32 {
        fs::write(folder.join(format!("{number:06}")), number.to_le_bytes()).unwrap();
    }
    let (code, report) = app.json(&["backup", "media"]);
    assert_eq!(code, 0, "{report:#}");
    let again = app.json(&["backup", "media"]).1;
    assert!(again["components"][0]["files_unmodified"].as_u64().unwrap() >= 100_000);
    app.run(&["restore", "media", "--to", "../back"]).ends(0);
    let back = app.dir.path().join("back/media/many");
    assert_eq!(fs::read_dir(&back).unwrap().count(), 100_000);
    assert_eq!(fs::read(back.join("099999")).unwrap(), 99_999u32.to_le_bytes());
}

#[test]
fn clock_set_back_between_two_backups() {
    let app = App::new();
    app.run(&["backup"]).ends(0);
    let output = Command::new("faketime")
        .args(["-f", "-2h", env!("CARGO_BIN_EXE_lifeboat"), "backup", "--json"])
        .current_dir(&app.root)
        .output()
        .unwrap_or_else(|e| panic!("faketime: {e}; apt-get install faketime"));
    let ran = Ran::of(output);
    let report = ran.json();
    assert_eq!(ran.code, 0, "{report:#}");
    assert!(report["warnings"].to_string().contains("clock"), "{report:#}");
    app.run(&["verify"]).ends(0);
    app.run(&["restore", "orders", "--to", "../back"]).ends(0);
    app.run(&["audit", "verify"]).ends(0);
}

/// A rescue medium: nothing can be recorded, and a restore beside the live data works all the same.
#[test]
fn a_state_folder_that_cannot_be_written_stops_what_changes_things_only() {
    let app = App::new();
    app.run(&["backup"]).ends(0);
    let state = app.root.join(".lifeboat");
    // The application is somebody else's; only the place for the restored copy is writable.
    as_nobody(&app, &["lint"]);
    for path in [app.root.as_path(), app.tier.as_path()] {
        let own = Command::new("chown").args(["-R", "0:0"]).arg(path).status().unwrap();
        let read = Command::new("chmod").args(["-R", "a+rX"]).arg(path).status().unwrap();
        assert!(own.success() && read.success());
    }
    let free = app.dir.path().join("free");
    fs::create_dir(&free).unwrap();
    assert!(Command::new("chown").arg("65534").arg(&free).status().unwrap().success());
    let run = |args: &[&str]| {
        let output = Command::new("setpriv")
            .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
            .arg(app.dir.path().join("lifeboat"))
            .args(args)
            .current_dir(&app.root)
            .env("TMPDIR", &free)
            .output()
            .unwrap();
        Ran::of(output)
    };
    let before = contents(&state);
    let target = free.join("back");
    let ran = run(&["restore", "orders", "--to", target.to_str().unwrap()]).ends(0);
    let said = format!("{}{}", ran.out, ran.err);
    assert!(said.contains("is not recorded in the ledger"), "{said}");
    assert_eq!(count_orders(&target.join("orders.db")), 500);
    let ran = run(&["verify", "--json"]).ends(0);
    assert_eq!(ran.json()["verdict"], "pass", "{}", ran.out);
    assert!(ran.out.contains("is not recorded in the ledger"), "{}", ran.out);
    for args in [&["status"][..], &["list"], &["drill", "list"]] {
        run(args).ends(0);
    }
    for args in [
        &["backup"][..],
        &["drill", "run"],
        &["restore", "orders", "--in-place", "--yes", "--confirm", "orders"],
    ] {
        let ran = run(args).says("cannot write to", "owner, mode and mount");
        assert_ne!(ran.code, 0, "{args:?}");
    }
    assert_eq!(contents(&state), before);
    let left = || {
        let names = fs::read_dir(&free).unwrap().map(|e| e.unwrap().file_name());
        let mut names: Vec<_> = names.map(|name| name.into_string().unwrap()).collect();
        names.sort();
        names
    };
    assert_eq!(left(), ["back"], "the copy of the state is gone");
    // Killed, it leaves that copy and what it staged; a living one keeps both.
    let mut child = caught_in_the_middle(&app, &free);
    run(&["restore", "config", "--to", free.join("beside").to_str().unwrap()]).ends(0);
    assert_eq!(left().len(), 4, "{:?}", left());
    child.kill().unwrap();
    child.wait().unwrap();
    let ran = run(&["restore", "config", "--to", free.join("after").to_str().unwrap()]).ends(0);
    assert!(format!("{}{}", ran.out, ran.err).contains("left by a r"), "{ran:?}");
    assert_eq!(left(), ["after", "back", "beside"]);
}

/// An unrecorded restore, held still while its copy of the state and its staging folder are there.
fn caught_in_the_middle(app: &App, free: &Path) -> std::process::Child {
    use rustix::process::{Pid, Signal, kill_process};
    for turn in 0..50 {
        let target = free.join(format!("cut-{turn}"));
        let mut child = Command::new("setpriv")
            .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
            .arg(app.dir.path().join("lifeboat"))
            .args(["restore", "--all", "--to", target.to_str().unwrap()])
            .current_dir(&app.root)
            .env("TMPDIR", free)
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let there = || {
            let names = fs::read_dir(free).unwrap().map(|entry| entry.unwrap().file_name());
            names.filter(|name| name.to_string_lossy().contains("lifeboat-")).count() == 2
        };
        while child.try_wait().unwrap().is_none() {
            if there() {
                kill_process(Pid::from_child(&child), Signal::STOP).unwrap();
                if there() && !target.exists() {
                    return child;
                }
                kill_process(Pid::from_child(&child), Signal::CONT).unwrap();
            }
        }
        if target.exists() {
            fs::remove_dir_all(&target).unwrap();
        }
    }
    panic!("no restore was caught in the middle");
}

/// The disk of the state folder is full: what only looks, and a restore on another disk, go on.
#[test]
fn a_full_state_disk_stops_no_look_and_no_restore_beside() {
    let app = App::new();
    app.run(&["backup"]).ends(0);
    let target = app.dir.path().join("back");
    let state = app.root.join(".lifeboat");
    let before = contents(&state);
    let run = |args: &[&str]| {
        let command = app.command(args);
        // A mount of its own, gone with the process: a small disk that is full.
        let script = "set -e; mount -t tmpfs -o size=4m none \"$0\"; cp -a \"$1/.\" \"$0\"; \
                      cat /dev/zero > \"$0/filler\" 2>/dev/null || true; shift; exec \"$@\"";
        let mut wrapped = Command::new("unshare");
        wrapped.args(["--user", "--map-root-user", "--mount", "sh", "-c", script]);
        wrapped.arg(&state).arg(app.dir.path().join("copy"));
        wrapped.arg(command.get_program()).args(command.get_args()).current_dir(&app.root);
        for (name, value) in command.get_envs().filter_map(|(n, v)| Some((n, v?))) {
            wrapped.env(name, value);
        }
        Ran::of(wrapped.output().expect("unshare is needed: apt-get install util-linux"))
    };
    let copied = Command::new("cp").arg("-a").arg(&state).arg(app.dir.path().join("copy")).status();
    assert!(copied.unwrap().success());
    for args in [&["status"][..], &["list"], &["drill", "list"]] {
        run(args).ends(0);
    }
    let ran = run(&["restore", "orders", "--to", target.to_str().unwrap()]).ends(0);
    let said = format!("{}{}", ran.out, ran.err);
    assert!(said.contains("not recorded in the ledger"), "{said}");
    assert_eq!(count_orders(&target.join("orders.db")), 500);
    assert_ne!(run(&["backup"]).code, 0, "a backup that cannot be recorded is none");
    assert_eq!(contents(&state), before, "the mount was its own");
}

/// A plan is TOML, which is UTF-8: a name that is not is left out aloud, never written otherwise.
#[test]
fn a_name_that_no_plan_can_hold_is_left_out_aloud() {
    let app = App::bare();
    let odd = app.root.join(OsStr::from_bytes(b"data/b\xff.db"));
    fs::copy(app.database(), &odd).unwrap();
    let ran = app.run(&["init", "--tier", "../tier"]).ends(3);
    assert!(ran.err.contains("is left out of the plan and not protected"), "{}", ran.err);
    assert!(!fs::read_to_string(app.root.join("lifeboat.toml")).unwrap().contains('\u{fffd}'));
    app.run(&["backup"]).ends(0);
    let left = app.run(&["init", "--tier", "../tier", "--dry-run", "--force", "--json"]).ends(3);
    assert_eq!(left.json()["left_out"].as_array().unwrap().len(), 1);
}

/// Reports and state files are JSON: a folder that they cannot name is refused before anything is
/// written.
#[test]
fn a_folder_that_no_report_can_name_is_refused_at_once() {
    let app = App::new();
    let odd = app.dir.path().join(OsStr::from_bytes(b"a\xffpp"));
    fs::rename(&app.root, &odd).unwrap();
    let run = |args: &[&str]| Ran::of(app.command(args).current_dir(&odd).output().unwrap());
    let before = contents(app.dir.path());
    for args in [&["init", "--force"][..], &["backup"], &["lint", "--json"]] {
        let ran = run(args).ends(2);
        let said = format!("{}{}", ran.out, ran.err);
        assert!(said.contains("is not UTF-8 text") && said.contains("rename"), "{said}");
    }
    assert!(contents(app.dir.path()) == before);
    // By a link with a name, all works.
    std::os::unix::fs::symlink(&odd, &app.root).unwrap();
    app.run(&["-c", app.root.join("lifeboat.toml").to_str().unwrap(), "backup"]).ends(0);
}

#[test]
fn each_error_has_a_hint_and_says_its_cause_once() {
    let app = App::new();
    // A value of the wrong type, its hint once.
    with(&app, "name = \"Shop\"", "name = 5");
    let ran = app.run(&["lint"]).ends(2);
    assert_eq!(ran.err.matches("hint: ").count(), 1, "{}", ran.err);
    assert!(ran.err.contains("put it in quotes: \"5\""), "{}", ran.err);
    assert!(app.run(&["lint", "--json"]).json()["hint"].is_string());
    // A plan that is a folder.
    app.write_plan(&app.plan_text());
    app.run(&["-c", "data", "lint"]).ends(2).says("cannot read the plan data", "lifeboat.toml");
    // A tier that is a file.
    fs::write(&app.tier, "a file").unwrap();
    let ran = app.run(&["backup"]).ends(8).says("it is a file, not a folder", "the folder");
    assert!(ran.err.contains(&format!("cannot open {}", app.tier.display())), "{}", ran.err);
    fs::remove_file(&app.tier).unwrap();
    app.run(&["backup"]).ends(0);
    // A part that is not there, and one that leads out.
    let part = |path: &str| app.run(&["restore", "media", "--to", "../x", "--path", path]);
    let ran = part("nothere").ends(6);
    let said = format!("{}{}", ran.out, ran.err);
    assert!(said.contains("nothere") && said.contains("relative to the plan's folder"), "{said}");
    part("../../etc/passwd").ends(2).says("cannot contain `..`", "stands in the snapshot");
    // A known tier with other things in it is not called empty.
    fs::rename(&app.tier, app.dir.path().join("gone")).unwrap();
    fs::create_dir(&app.tier).unwrap();
    fs::write(app.tier.join("holiday.jpg"), "sea").unwrap();
    let ran = app.run(&["backup"]).ends(8).says("holds no vault, but one is known", "mount");
    assert!(!ran.err.contains("is empty"), "{}", ran.err);
    fs::remove_dir_all(&app.tier).unwrap();
    fs::rename(app.dir.path().join("gone"), &app.tier).unwrap();
    // A command of the plan that fails.
    with(&app, "[component.config]\n", "[component.config]\nstop = \"exit 3\"\n");
    let swap = ["restore", "config", "--in-place", "--yes", "--confirm", "config"];
    let (_, report) = app.json(&swap);
    let error = &report["components"][0]["error"];
    assert!(error["hint"].as_str().is_some_and(|h| h.contains("by hand")), "{report:#}");
    // A vault without a key file.
    fs::remove_dir_all(app.tier.join("vault/keys")).unwrap();
    fs::create_dir(app.tier.join("vault/keys")).unwrap();
    app.run(&["list"]).ends(9).says("there is no key file", "bring the folder `keys`");
}
