//! What is stored and found, without a server.

use std::fs;

use super::kit::{LOG, SIZE, SYSTEM, Wal, archived, name, plan, segment};
use crate::kit::{App, KEY};

fn object(app: &App, name: &str) -> std::path::PathBuf {
    app.tier.join(format!("journal/accounts/{LOG}/wal/{name}"))
}

#[test]
fn a_segment_is_stored_once_and_another_content_is_refused() {
    let app = archived();
    let (one, other) = (segment(1, 3, SYSTEM, 7), segment(1, 3, SYSTEM, 8));
    app.push(&name(1, 3), &one).ends(0);
    let stored = fs::read(object(&app, &name(1, 3))).unwrap();
    app.push(&name(1, 3), &one).ends(0);
    let ran = app.push(&name(1, 3), &other).ends(4);
    for hash in [&one, &other].map(|bytes| lifeboat_model::chain::Hash::of(bytes).to_string()) {
        assert!(ran.err.contains(&hash), "{} is not in {}", hash, ran.err);
    }
    ran.says("other content", "nothing was replaced");
    assert_eq!(fs::read(object(&app, &name(1, 3))).unwrap(), stored, "it was touched");
    app.fetch(&name(1, 3)).ends(0);
    assert!(app.fetched() == one);
    // A host that lost its notes opens what is there and compares that.
    fs::remove_dir_all(app.root.join(".lifeboat/journal/accounts")).unwrap();
    app.push(&name(1, 3), &one).ends(0);
    app.push(&name(1, 3), &other).ends(4).says("other content", "");
}

#[test]
fn a_log_of_another_server_and_a_file_that_is_none_are_refused() {
    let app = archived();
    app.push(&name(1, 3), &segment(1, 3, SYSTEM, 7)).ends(0);
    let ran = app.push(&name(1, 4), &segment(1, 4, 99, 7)).ends(4);
    ran.says("system identifier 0000000000000063; known are", "take its base first");
    assert!(!app.tier.join("journal/accounts/0000000000000063").exists());
    let cut = segment(1, 4, SYSTEM, 7)[..9000].to_vec();
    app.push(&name(1, 4), &cut).ends(4).says("is not what its name says", "");
    app.push(&name(1, 4), &segment(1, 5, SYSTEM, 7)).ends(4).says("it begins at", "");
    app.push("RECOVERYXLOG", b"").ends(2).says("is no name of a file of the log", "%p");
    app.run(&["wal", "push", "pg_wal/nothing"]).ends(2);
    let path = app.file(&name(1, 4), &segment(1, 4, SYSTEM, 7));
    let path = path.to_str().unwrap();
    app.run(&["wal", "push", "--component", "nobody", path]).ends(6);
    app.run(&["wal", "push", "--component", "config", path]).ends(2);
}

#[test]
fn of_several_servers_each_log_goes_to_its_own_component() {
    let app = archived();
    let more = "\n[component.people]\npostgres = { dsn_env = \"NOBODY\" }\n";
    app.write_plan(&format!("{}{more}", plan(&app)));
    let (ours, theirs) = (segment(1, 3, SYSTEM, 7), segment(1, 3, 99, 7));
    let ran = app.push(&name(1, 3), &ours).ends(4);
    ran.says("several components could be", "--component NAME");
    for (component, bytes) in [("accounts", &ours), ("people", &theirs)] {
        let path = app.file(&name(1, 3), bytes);
        app.run(&["wal", "push", "--component", component, path.to_str().unwrap()]).ends(0);
    }
    app.push(&name(1, 4), &segment(1, 4, 99, 7)).ends(0);
    assert!(app.tier.join(format!("journal/people/0000000000000063/wal/{}", name(1, 4))).exists());
    // Which log is wanted `pg_control` says; without it nothing is guessed.
    assert_eq!(app.fetch(&name(1, 4)).code, 255);
    fs::create_dir_all(app.root.join("global")).unwrap();
    fs::write(app.root.join("global/pg_control"), 99_u64.to_le_bytes()).unwrap();
    app.fetch(&name(1, 4)).ends(0);
    fs::write(app.root.join("global/pg_control"), 100_u64.to_le_bytes()).unwrap();
    app.fetch(&name(1, 4)).ends(255).says("this server has system identifier", "");
}

#[test]
fn only_what_every_tier_answered_for_is_absent() {
    let app = archived();
    let far = app.add_tier("offsite");
    for number in 3..6 {
        app.push(&name(1, number), &segment(1, number, SYSTEM, number as u8)).ends(0);
    }
    let inside = format!("journal/accounts/{LOG}/wal/{}", name(1, 4));
    assert!(far.join(&inside).exists() && app.tier.join(&inside).exists());
    assert_eq!(app.fetch(&name(1, 6)).ends(1).err, "");
    for none in ["00000001.history", "00000002.history"] {
        assert_eq!(app.fetch(none).code, 1, "{none}");
    }
    // One tier has it: it is there, whatever became of the other one.
    fs::remove_file(app.tier.join(&inside)).unwrap();
    app.fetch(&name(1, 4)).ends(0);
    assert!(app.fetched() == segment(1, 4, SYSTEM, 4));
    // A tier that does not answer may have it.
    let hidden = app.dir.path().join("hidden");
    fs::rename(&far, &hidden).unwrap();
    assert_eq!(app.fetch(&name(1, 6)).code, 255, "a tier is away");
    assert!(!app.root.join("wanted").exists());
    fs::create_dir(&far).unwrap();
    assert_eq!(app.fetch(&name(1, 6)).code, 255, "an unmounted disk");
    assert_eq!(app.fetch(&name(1, 4)).code, 255);
    app.fetch(&name(1, 5)).ends(0);
    fs::remove_dir(&far).unwrap();
    fs::rename(&hidden, &far).unwrap();
    // A hole is no end.
    fs::remove_file(far.join(&inside)).unwrap();
    app.fetch(&name(1, 4)).ends(255).says("there is log of its timeline behind it", "gaps");
    assert_eq!(app.fetch(&name(1, 6)).code, 1);
    // Nor is anything else that goes wrong.
    for args in [&["wal", "fetch"][..], &["wal", "fetch", "x", "y"], &["wal", "fetch", "--no", "x"]]
    {
        assert_eq!(app.run(args).code, 255, "{args:?}");
    }
    let wanted = name(1, 6);
    let args = ["wal", "fetch", &wanted, "wanted"];
    assert_eq!(app.run(&[&args[..], &["--component", "nobody"]].concat()).code, 255);
    let key = app.key_file("other.key", &KEY.replace("5d", "5e"));
    let text = fs::read_to_string(app.root.join("lifeboat.toml")).unwrap();
    let other = text.replace(app.key.to_str().unwrap(), key.to_str().unwrap());
    app.write_plan(&other);
    assert_eq!(app.run(&args).code, 255, "a wrong key");
    app.write_plan("[plan");
    assert_eq!(app.run(&args).code, 255, "a plan that does not parse");
    app.write_plan(&format!("{text}\n[tier.cloud]\nurl = \"s3://bucket/dr\"\n"));
    app.run(&args).ends(255).says("is not reached by this version", "");
    app.write_plan(&text);
    assert_eq!(app.run(&args).code, 1);
}

#[test]
fn what_somebody_planted_or_damaged_is_neither_given_out_nor_absent() {
    let app = archived();
    for number in 3..5 {
        app.push(&name(1, number), &segment(1, number, SYSTEM, 7)).ends(0);
    }
    // Another machine with the vault key, whose signature nobody knows, writes to the tier.
    let copy = app.dir.path().join("elsewhere");
    fs::create_dir(&copy).unwrap();
    fs::copy(app.root.join("lifeboat.toml"), copy.join("lifeboat.toml")).unwrap();
    let forged = app.dir.path().join("forged");
    let plant = |name: &str, bytes: &[u8]| {
        let tier = forged.join("journal/accounts").join(LOG).join("wal").join(name);
        let text = plan(&app).replace(app.tier.to_str().unwrap(), forged.to_str().unwrap());
        fs::write(copy.join("lifeboat.toml"), text).unwrap();
        let path = app.file(name, bytes);
        let mut push = app.command(&["wal", "push", path.to_str().unwrap()]);
        assert!(push.current_dir(&copy).output().unwrap().status.success());
        fs::copy(tier, object(&app, name)).unwrap();
    };
    copy_folder(&app.tier, &forged);
    fs::remove_dir_all(forged.join("ledger")).unwrap();
    plant(&name(1, 5), &segment(1, 5, SYSTEM, 66));
    app.fetch(&name(1, 5)).ends(255).says("is not believed", "");
    assert!(!app.root.join("wanted").exists());
    app.push(&name(1, 5), &segment(1, 5, SYSTEM, 7)).ends(9).says("is not believed", "");
    // Moved under another name, or changed: the same.
    fs::remove_file(object(&app, &name(1, 5))).unwrap();
    fs::copy(object(&app, &name(1, 3)), object(&app, &name(1, 5))).unwrap();
    assert_eq!(app.fetch(&name(1, 5)).code, 255);
    let mut bytes = fs::read(object(&app, &name(1, 4))).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    let damaged = object(&app, &name(1, 4));
    fs::remove_file(&damaged).unwrap();
    fs::write(&damaged, bytes).unwrap();
    assert_eq!(app.fetch(&name(1, 4)).code, 255);
    // The second tier has it whole.
    let far = app.add_tier("offsite");
    copy_folder(&app.tier, &far);
    fs::remove_file(far.join(format!("journal/accounts/{LOG}/wal/{}", name(1, 4)))).unwrap();
    app.push(&name(1, 6), &segment(1, 6, SYSTEM, 7)).ends(0);
    app.fetch(&name(1, 6)).ends(0);
}

fn copy_folder(from: &std::path::Path, to: &std::path::Path) {
    let done = std::process::Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap();
    assert!(done.success());
}

#[test]
fn a_push_that_is_not_stored_is_not_acknowledged_and_what_a_tier_lacks_comes_later() {
    let app = archived();
    let far = app.add_tier("offsite");
    app.push(&name(1, 3), &segment(1, 3, SYSTEM, 7)).ends(0);
    let key = |number| format!("journal/accounts/{LOG}/wal/{}", name(1, number));
    // One of two tiers on this machine has it: that counts, and the other one gets it later.
    let hidden = app.dir.path().join("hidden");
    fs::rename(&far, &hidden).unwrap();
    let ran = app.push(&name(1, 4), &segment(1, 4, SYSTEM, 7)).ends(0);
    assert!(ran.err.contains("a later push brings it to tier offsite"), "{}", ran.err);
    // None has it.
    let first = app.dir.path().join("first");
    fs::rename(&app.tier, &first).unwrap();
    let ran = app.push(&name(1, 5), &segment(1, 5, SYSTEM, 7));
    assert_eq!(ran.code, 8, "{}", ran.err);
    assert!(!app.tier.exists() && !far.exists(), "something was made in place of a tier");
    fs::rename(&first, &app.tier).unwrap();
    fs::rename(&hidden, &far).unwrap();
    assert!(!far.join(key(4)).exists());
    app.push(&name(1, 5), &segment(1, 5, SYSTEM, 7)).ends(0);
    assert!(far.join(key(5)).exists() && far.join(key(4)).exists());
    let same = |number| {
        fs::read(far.join(key(number))).unwrap() == fs::read(app.tier.join(key(number))).unwrap()
    };
    assert!(same(4), "an object is copied as it is");
}

#[test]
fn a_push_needs_no_key_and_two_at_once_are_both_right() {
    let app = archived();
    app.push(&name(1, 3), &segment(1, 3, SYSTEM, 7)).ends(0);
    fs::rename(&app.key, app.dir.path().join("away.key")).unwrap();
    let path = app.file(&name(1, 4), &segment(1, 4, SYSTEM, 7));
    let push = || app.command(&["wal", "push", path.to_str().unwrap()]).spawn().unwrap();
    let both = [push(), push(), push()];
    for mut child in both {
        assert!(child.wait().unwrap().success());
    }
    app.push(&name(1, 4), &segment(1, 4, SYSTEM, 7)).ends(0);
    assert_eq!(app.fetch(&name(1, 4)).code, 255, "there is no key");
    fs::rename(app.dir.path().join("away.key"), &app.key).unwrap();
    app.fetch(&name(1, 4)).ends(0);
}

#[test]
fn histories_partial_segments_and_backup_files_have_their_places() {
    let app = archived();
    fs::create_dir_all(app.root.join("global")).unwrap();
    fs::write(app.root.join("global/pg_control"), SYSTEM.to_le_bytes()).unwrap();
    app.push(&name(1, 3), &segment(1, 3, SYSTEM, 7)).ends(0);
    let history = b"1\t0/480000\tno recovery target specified\n";
    app.push("00000002.history", history).ends(0);
    app.push("00000002.history", history).ends(0);
    app.push("00000002.history", b"1\t0/480008\tanother\n").ends(4).says("other content", "");
    let partial = segment(1, 4, SYSTEM, 9);
    app.push(&format!("{}.partial", name(1, 4)), &partial).ends(0);
    app.push(&format!("{}.00000028.backup", name(1, 3)), b"START WAL LOCATION").ends(0);
    app.fetch("00000002.history").ends(0);
    assert_eq!(app.fetched(), history);
    assert_eq!(app.fetch("00000003.history").code, 1);
    // A line of which there is log has one: that it is missing is not its absence.
    app.push(&name(3, 5), &segment(3, 5, SYSTEM, 9)).ends(0);
    app.fetch("00000003.history").ends(255).says("there is log of timeline 3", "");
    // What was left of a line is all that there is of its last segment.
    app.fetch(&name(1, 4)).ends(0);
    assert_eq!(app.fetched().len() as u64, SIZE);
    assert!(app.fetched() == partial);
    assert_eq!(app.fetch(&name(1, 5)).code, 1);
    // Read ahead, and still right: each is taken once.
    for number in [3, 3, 4] {
        app.fetch(&name(1, number)).ends(0);
    }
}

/// The options of every command may stand anywhere: a server takes 2 to 9 for *there is none*.
#[test]
fn however_it_is_spelled_what_goes_wrong_is_255() {
    let app = archived();
    app.push(&name(1, 3), &segment(1, 3, SYSTEM, 7)).ends(0);
    let hidden = app.dir.path().join("hidden");
    fs::rename(&app.tier, &hidden).unwrap();
    let wanted = name(1, 4);
    for between in [&[][..], &["-q"], &["--json"], &["--plan", "lifeboat.toml"]] {
        let args = [&["wal"], between, &["fetch", &wanted, "wanted"]].concat();
        assert_eq!(app.run(&args).code, 255, "{args:?}");
    }
    fs::rename(&hidden, &app.tier).unwrap();
    assert_eq!(app.run(&["wal", "-q", "fetch", &wanted, "wanted"]).code, 1);
}

#[test]
fn where_there_is_no_log_at_all_nothing_is_absent() {
    let app = archived();
    fs::create_dir_all(app.root.join("global")).unwrap();
    fs::write(app.root.join("global/pg_control"), SYSTEM.to_le_bytes()).unwrap();
    // Another component of the same tiers, say, or another plan.
    app.fetch(&name(1, 3)).ends(255).says("no tier has anything of the log", "accounts");
    app.push(&name(1, 3), &segment(1, 3, SYSTEM, 7)).ends(0);
    assert_eq!(app.fetch(&name(1, 4)).code, 1);
}

#[test]
fn a_tier_that_this_host_does_not_know_yet_stops_no_archiving() {
    let app = archived();
    app.push(&name(1, 3), &segment(1, 3, SYSTEM, 7)).ends(0);
    let far = app.add_tier("offsite");
    let away = app.dir.path().join("away.key");
    fs::rename(&app.key, &away).unwrap();
    let ran = app.push(&name(1, 4), &segment(1, 4, SYSTEM, 7)).ends(0);
    assert!(ran.err.contains("a later push brings it to tier offsite"), "{}", ran.err);
    let brought = far.join(format!("journal/accounts/{LOG}/wal/{}", name(1, 4)));
    assert!(!brought.exists());
    // Whoever has the key makes it known; then it gets what it lacks.
    fs::rename(&away, &app.key).unwrap();
    app.run(&["copy", "--to", "offsite"]).ends(0);
    app.push(&name(1, 5), &segment(1, 5, SYSTEM, 7)).ends(0);
    assert!(brought.exists());
}

#[test]
fn a_bad_object_in_one_tier_does_not_end_the_archiving_into_another() {
    let app = archived();
    let far = app.add_tier("offsite");
    app.push(&name(1, 3), &segment(1, 3, SYSTEM, 7)).ends(0);
    let key = |number| format!("journal/accounts/{LOG}/wal/{}", name(1, number));
    // Whoever can create puts something under the next name.
    fs::copy(far.join(key(3)), far.join(key(4))).unwrap();
    for _ in 0..2 {
        let ran = app.push(&name(1, 4), &segment(1, 4, SYSTEM, 7)).ends(0);
        assert!(ran.err.contains("a later push brings it to tier offsite"), "{}", ran.err);
    }
    assert!(app.tier.join(key(4)).exists());
    // What is in the way is no copy of it: it stays owed.
    let owed = app.root.join(".lifeboat/journal/accounts/wal/owed/offsite");
    assert_eq!(fs::read_dir(&owed).unwrap().count(), 1);
    app.push(&name(1, 5), &segment(1, 5, SYSTEM, 7)).ends(0);
    assert_eq!(fs::read_dir(&owed).unwrap().count(), 1);
    fs::remove_file(far.join(key(4))).unwrap();
    app.push(&name(1, 6), &segment(1, 6, SYSTEM, 7)).ends(0);
    assert!(far.join(key(4)).exists() && far.join(key(6)).exists());
    assert_eq!(fs::read_dir(&owed).unwrap().count(), 0);
}

#[test]
fn verify_reads_what_was_handed_over() {
    let app = archived();
    for number in 3..5 {
        app.push(&name(1, number), &segment(1, number, SYSTEM, 7)).ends(0);
    }
    let verdict = || {
        let report = app.run(&["verify", "--json"]).json();
        let journal = &report["journals"][0];
        let known = ["verdict", "objects", "objects_read"].map(|key| journal[key].to_string());
        (known.join(" "), journal["damage"].to_string())
    };
    assert_eq!(verdict(), ("\"pass\" 2 2".to_owned(), "[]".to_owned()));
    let damaged = object(&app, &name(1, 4));
    let mut bytes = fs::read(&damaged).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::remove_file(&damaged).unwrap();
    fs::write(&damaged, bytes).unwrap();
    let (known, damage) = verdict();
    assert_eq!(known, "\"fail\" 2 2");
    assert!(damage.contains(&name(1, 4)), "{damage}");
}
