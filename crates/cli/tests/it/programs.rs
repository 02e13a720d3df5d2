//! Components that outside programs read: what a command prints, and Git repositories.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::kit::{App, Ran};

/// An application whose directory service is a file, behind commands.
fn directory(extra: &str) -> App {
    let app = App::bare();
    fs::write(app.root.join("users"), "ann\nbob\n").unwrap();
    app.write_plan(&format!(
        "[plan]\nname = \"Shop\"\nrto = \"1h\"\nrpo = \"1d\"\n[key]\nvault_file = \"{}\"\n\
         [component.people]\n{extra}\n[tier.local]\nurl = \"{}\"\n\
         [drill.all]\ncomponents = [\"*\"]\n",
        app.key.display(),
        app.tier.display()
    ));
    app
}

const LOADED: &str = "command = { dump = \"cat users\", load = \"cat > users\" }";

/// All that it said.
fn said(ran: &Ran) -> String {
    format!("{}{}", ran.out, ran.err)
}

fn snapshots(app: &App) -> usize {
    app.snapshots().len()
}

#[test]
fn what_a_command_prints_is_proven_restored_and_loaded() {
    let app = directory(LOADED);
    app.run(&["lint"]).ends(0);
    app.run(&["backup"]).ends(0);
    app.run(&["verify"]).ends(0);
    app.run(&["drill", "run", "all"]).ends(0);
    // By hand, with the stock tool.
    let dumped = app.restic(&["dump", "latest", "/people.dump"]).ends(0);
    assert_eq!(dumped.out, "ann\nbob\n");
    let to = app.dir.path().join("back");
    app.run(&["restore", "people", "--to", to.to_str().unwrap()]).ends(0);
    assert_eq!(fs::read_to_string(to.join("people.dump")).unwrap(), "ann\nbob\n");
    let files = app.dir.path().join("files");
    let to = files.to_str().unwrap();
    let exported = app.run(&["export", "people", "--as", "{component}.{ext}", "--to", to]).ends(0);
    assert_eq!(fs::read_to_string(files.join("people.dump")).expect(&exported.out), "ann\nbob\n");
    // Nobody loads it into a live system but its owner.
    let refused = app.run(&["restore", "people", "--in-place", "--yes", "--confirm", "people"]);
    assert_eq!(refused.code, 4, "{refused:?}");
    assert!(said(&refused).contains("people is not replaced in place"), "{refused:?}");
    assert_eq!(fs::read_to_string(app.root.join("users")).unwrap(), "ann\nbob\n");
}

/// EDO-04: a failed dump never leaves a snapshot, wherever in a pipe it failed.
#[test]
fn a_failed_dump_leaves_no_snapshot() {
    let app = directory(LOADED);
    app.run(&["backup"]).ends(0);
    for (dump, why, timeout) in [
        ("cat users; echo the disk is gone >&2; exit 3", "the disk is gone", "1h"),
        ("cat users missing | tr a b", "missing", "1h"),
        ("true", "printed nothing", "1h"),
        ("kill -9 $$", "signal: 9", "1h"),
        ("cat users; sleep 600", "had not ended after 1 s", "1s"),
        // It has closed its output, and lives on.
        ("cat users; exec >&-; sleep 600", "had not ended after 1 s", "1s"),
        // What it left behind holds its errors open.
        ("sleep 600 & echo gone >&2; exit 3", "gone", "1h"),
    ] {
        let text = fs::read_to_string(app.root.join("lifeboat.toml")).unwrap();
        let line = format!("dump = \"{dump}\", timeout = \"{timeout}\"");
        app.write_plan(&text.replace("dump = \"cat users\"", &line));
        let failed = app.run(&["backup"]);
        assert_eq!(failed.code, 1, "{dump}: {}", failed.err);
        assert!(said(&failed).contains(why), "{dump}: {failed:?}");
        app.write_plan(&text);
        assert_eq!(snapshots(&app), 1, "{dump}");
    }
}

#[test]
fn secrets_of_a_command_come_by_name_and_are_not_repeated() {
    let app = directory(
        "command = { dump = \"echo $PASS_A-$PASS_B; test -n \\\"$STRAY\\\" && echo stray; \
         echo with $PASS_A >&2; exit $STATUS\", env = [\"PASS_A\", \"STATUS\"] }",
    );
    let run = |status: &str| {
        let mut command = app.command(&["backup"]);
        command.env("PASS_A", "geheim-91").env("PASS_B", "other").env("STRAY", "1");
        Ran::of(command.env("STATUS", status).output().unwrap())
    };
    let failed = run("5");
    assert_eq!(failed.code, 1);
    assert!(said(&failed).contains("with (secret)"), "{failed:?}");
    assert!(!said(&failed).contains("geheim-91"), "{failed:?}");
    run("0").ends(0);
    assert_eq!(app.restic(&["dump", "latest", "/people.dump"]).out, "geheim-91-\n");
    let unset = app.run(&["backup"]).ends(1);
    assert!(said(&unset).contains("PASS_A is not set"), "{unset:?}");
    assert!(said(&unset).contains("export PASS_A"), "{unset:?}");
}

fn git(folder: &Path, args: &[&str]) -> String {
    let output = Command::new("git")
        .args(["-c", "user.name=Test", "-c", "user.email=test@example.com", "-c"])
        .args(["init.defaultBranch=main"])
        .args(args)
        .current_dir(folder)
        .output()
        .unwrap_or_else(|e| panic!("git: {e}; apt-get install git"));
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn commit(work: &Path, name: &str) {
    fs::write(work.join(name), format!("content of {name}\n")).unwrap();
    git(work, &["add", "-A"]);
    git(work, &["commit", "-q", "-m", name]);
}

/// A repository with two branches and a tag, protected by a plan.
fn code() -> (App, PathBuf, PathBuf) {
    let app = directory("");
    let (bare, work) = (app.dir.path().join("code.git"), app.dir.path().join("work"));
    fs::create_dir_all(&bare).unwrap();
    git(&bare, &["init", "-q", "--bare"]);
    git(app.dir.path(), &["clone", "-q", bare.to_str().unwrap(), work.to_str().unwrap()]);
    git(&work, &["checkout", "-q", "-b", "main"]);
    commit(&work, "one");
    git(&work, &["tag", "-a", "v1", "-m", "first"]);
    git(&work, &["checkout", "-q", "-b", "side"]);
    commit(&work, "two");
    git(&work, &["push", "-q", "--all"]);
    git(&work, &["push", "-q", "--tags"]);
    git(&bare, &["symbolic-ref", "HEAD", "refs/heads/main"]);
    let plan = fs::read_to_string(app.root.join("lifeboat.toml")).unwrap();
    let url = format!("[component.code]\ngit = {{ url = \"{}\" }}\n", bare.display());
    app.write_plan(&plan.replace("[component.people]\n", &url));
    (app, bare, work)
}

/// CSO-17, AUD-11: the whole repository, with a history that was rewritten upstream, comes back.
#[test]
fn a_repository_comes_back_with_all_its_refs() {
    let (app, bare, work) = code();
    app.run(&["backup"]).ends(0);
    app.run(&["verify"]).ends(0);
    app.run(&["drill", "run", "all"]).ends(0);
    let first = git(&bare, &["show-ref"]);
    // Somebody rewrites history and removes a branch.
    git(&work, &["checkout", "-q", "main"]);
    git(&work, &["commit", "-q", "--amend", "-m", "rewritten"]);
    git(&work, &["push", "-q", "--force", "origin", "main"]);
    git(&work, &["push", "-q", "origin", "--delete", "side"]);
    commit(&work, "three");
    git(&work, &["push", "-q", "origin", "main"]);
    app.run(&["backup"]).ends(0);
    let second = git(&bare, &["show-ref"]);
    assert_ne!(first, second);
    let snapshots = app.snapshots();
    let mut ids: Vec<(&str, &str)> = snapshots
        .iter()
        .map(|one| (one["time"].as_str().unwrap(), one["snapshot"].as_str().unwrap()))
        .collect();
    ids.sort_unstable();
    for ((_, id), refs) in ids.iter().zip([&first, &second]) {
        let to = app.dir.path().join(id);
        app.run(&["restore", "code", "--at", id, "--to", to.to_str().unwrap()]).ends(0);
        // Without Lifeboat: `git clone` opens it, on the branch that upstream shows first.
        let clone = app.dir.path().join(format!("clone-{id}"));
        let bundle = to.join("code.bundle");
        git(app.dir.path(), &["clone", "-q", bundle.to_str().unwrap(), clone.to_str().unwrap()]);
        assert!(clone.join("one").exists());
        let mirror = app.dir.path().join(format!("mirror-{id}"));
        let (from, into) = (bundle.to_str().unwrap(), mirror.to_str().unwrap());
        git(app.dir.path(), &["clone", "-q", "--mirror", from, into]);
        assert_eq!(git(&mirror, &["show-ref"]), **refs);
    }
    let args = ["restore", "code", "--in-place", "--yes", "--confirm", "code"];
    let refused = app.run(&args).ends(4);
    assert!(said(&refused).contains("code is not replaced in place"), "{refused:?}");
    assert!(said(&refused).contains("restore code --to DIR"), "{refused:?}");
}

#[test]
fn a_broken_mirror_is_made_anew_and_a_missing_repository_leaves_no_snapshot() {
    let (app, bare, work) = code();
    app.run(&["backup"]).ends(0);
    let mirror = app.root.join(".lifeboat/git/code.git");
    fs::remove_dir_all(mirror.join("objects")).unwrap();
    commit(&work, "more");
    git(&work, &["push", "-q", "--all"]);
    app.run(&["backup"]).ends(0);
    app.run(&["verify"]).ends(0);
    let away = bare.with_extension("away");
    fs::rename(&bare, &away).unwrap();
    let gone = app.run(&["backup"]);
    assert_eq!(gone.code, 1, "{}", gone.err);
    assert!(said(&gone).contains("code.git") && said(&gone).contains("ls-remote"), "{gone:?}");
    assert_eq!(snapshots(&app), 2);
    assert!(mirror.join("HEAD").exists(), "what was there is kept");
    // Nothing in it is nothing to protect.
    git(app.dir.path(), &["init", "-q", "--bare", bare.to_str().unwrap()]);
    let empty = app.run(&["backup"]).ends(1);
    assert!(said(&empty).contains("has no branch and no tag"), "{empty:?}");
}

/// What is not in the repository's objects is said each time, and is no pass.
#[test]
fn large_files_that_are_kept_elsewhere_are_said() {
    let (app, _, work) = code();
    git(&work, &["checkout", "-q", "main"]);
    fs::write(work.join(".gitattributes"), "*.bin filter=lfs diff=lfs\n").unwrap();
    git(&work, &["add", ".gitattributes"]);
    git(&work, &["commit", "-q", "-m", "lfs"]);
    git(&work, &["push", "-q", "origin", "main"]);
    let ran = app.run(&["backup"]).ends(3);
    assert!(said(&ran).contains("LFS"), "{ran:?}");
}

/// A bundle that is not what was captured does not pass, whatever `git` says of it.
#[test]
fn a_damaged_bundle_is_no_pass() {
    let (app, ..) = code();
    app.run(&["backup"]).ends(0);
    let packs = fs::read_dir(app.tier.join("vault/data")).unwrap();
    for pack in packs.flat_map(|folder| fs::read_dir(folder.unwrap().path()).unwrap()) {
        let path = pack.unwrap().path();
        let mut bytes = fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&path, bytes).unwrap();
    }
    app.run(&["verify"]).ends(9);
    let to = app.dir.path().join("back");
    assert_ne!(app.run(&["restore", "code", "--to", to.to_str().unwrap()]).code, 0);
    assert!(!to.exists());
}
