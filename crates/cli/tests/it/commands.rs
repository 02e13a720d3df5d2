//! Words that people read, and what needs no plan.

use std::io::Read;
use std::process::Stdio;

use crate::kit::{App, steady};

#[test]
fn help_names_every_command_and_every_exit_code() {
    let app = App::bare();
    let help = app.run(&["--help"]).ends(0);
    insta::assert_snapshot!(help.out);
}

#[test]
fn help_of_each_command_is_worded() {
    let app = App::bare();
    for command in [
        "init", "backup", "verify", "restore", "drill", "prune", "copy", "repair", "key", "demo",
        "stream", "wal",
    ] {
        let help = app.run(&[command, "--help"]).ends(0);
        insta::assert_snapshot!(format!("help_{command}"), help.out);
    }
    // What a server reads of them stands in their help.
    for command in ["push", "fetch"] {
        let help = app.run(&["wal", command, "--help"]).ends(0);
        insta::assert_snapshot!(format!("help_wal_{command}"), help.out);
    }
}

#[test]
fn verbs_of_a_later_version_say_so() {
    let app = App::bare();
    for verb in ["simulate", "scenario", "incident", "evidence", "serve", "install"] {
        let ran = app.run(&[verb, "anything"]).ends(2);
        assert_eq!(
            ran.err,
            format!(
                "error: `{verb}` comes in a later version\n  \
                 hint: lifeboat --help lists the commands of this one\n"
            )
        );
    }
    let ran = app.run(&["simulate", "--json"]).ends(2);
    assert_eq!(ran.json()["error"], "`simulate` comes in a later version");
    assert_eq!(ran.json()["schema"], "lifeboat/error");
}

#[test]
fn usage_errors_end_with_2_in_both_forms() {
    let app = App::bare();
    let ran = app.run(&["restore"]).ends(2);
    assert!(ran.err.contains("required"), "{}", ran.err);
    assert!(ran.out.is_empty());
    let ran = app.run(&["bakcup", "--json"]).ends(2);
    let document = ran.json();
    assert_eq!(document["exit"], 2);
    assert!(document["error"].as_str().unwrap().contains("bakcup"), "{document:#}");
    assert!(app.run(&["bakcup"]).ends(2).err.contains("'backup'"));
    app.run(&[]).ends(2);
}

#[test]
fn manual_pages_and_completions_are_made() {
    let app = App::bare();
    let pages = app.dir.path().join("man");
    app.run(&["man", pages.to_str().unwrap(), "--dry-run"]).ends(0);
    assert!(!pages.exists());
    app.run(&["man", pages.to_str().unwrap()]).ends(0);
    for page in ["lifeboat.1", "lifeboat-backup.1", "lifeboat-drill-run.1", "lifeboat-restore.1"] {
        let text = std::fs::read_to_string(pages.join(page)).unwrap();
        assert!(text.contains(".TH"), "{page}");
    }
    assert!(app.run(&["man"]).ends(0).out.contains("lifeboat"));
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let script = app.run(&["completions", shell]).ends(0).out;
        assert!(script.contains("restore"), "{shell}");
    }
}

#[test]
fn schema_is_a_json_schema_that_knows_the_tables() {
    let app = App::bare();
    let schema = app.run(&["schema"]).ends(0).json();
    for table in ["plan", "component", "tier", "schedule", "drill", "key", "class"] {
        assert!(schema["properties"][table].is_object(), "{table}");
    }
}

#[test]
fn a_reader_that_goes_away_is_no_panic() {
    let app = App::bare();
    let mut child =
        app.command(&["schema"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let mut err = String::new();
    child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
    let status = child.wait().unwrap();
    assert!(status.code().is_some(), "killed by a signal");
    assert!(!err.contains("panicked"), "{err}");
}

#[test]
fn output_of_the_main_commands_is_worded() {
    let app = App::new();
    let mut words = String::new();
    for args in [
        &["lint"][..],
        &["backup", "--dry-run"],
        &["backup"],
        &["list"],
        &["verify", "orders"],
        &["restore", "--all", "--to", "../back", "--dry-run"],
        &["restore", "--all", "--to", "../back"],
        &["drill", "run"],
        &["drill", "list"],
        &["status"],
        &["audit", "log"],
        &["audit", "verify"],
    ] {
        let ran = app.run(args);
        words.push_str(&format!(
            "$ lifeboat {}   # {}\n{}\n{}\n",
            args.join(" "),
            ran.code,
            steady(&ran.out, &app),
            steady(&ran.err, &app)
        ));
    }
    insta::assert_snapshot!(words);
}

#[test]
fn quiet_says_nothing_on_standard_error() {
    let app = App::new();
    let ran = app.run(&["backup", "--quiet"]).ends(0);
    assert_eq!(ran.err, "");
    assert!(!ran.out.is_empty());
}
