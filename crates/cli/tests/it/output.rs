//! What becomes of the result when standard output takes none.

use std::fs::File;
use std::process::{Command, Stdio};

use crate::kit::{App, Ran};

/// Runs the binary with `out` as its standard output.
fn to(app: &App, args: &[&str], out: impl Into<Stdio>) -> Ran {
    Ran::of(app.command(args).stdout(out).stderr(Stdio::piped()).output().unwrap())
}

fn full() -> File {
    File::options().write(true).open("/dev/full").unwrap()
}

/// A script that reads a cut-off or empty result and sees 0 would take it for the whole.
#[test]
fn a_result_that_cannot_be_written_is_no_success() {
    let app = App::new();
    let verbs: &[&[&str]] = &[
        &["backup"],
        &["list"],
        &["status", "--json"],
        &["audit", "log"],
        &["audit", "verify"],
        &["schema"],
        &["man"],
        &["completions", "bash"],
        &["--help"],
        &["--version"],
    ];
    for verb in verbs {
        to(&app, verb, full())
            .ends(1)
            .says("error: cannot write the result to standard output\n", "what the command did");
    }
    assert_eq!(app.snapshots().len(), 3, "the backup itself was made");
    // Bad news keep their own code, and are said where they still can be.
    let unknown = to(&app, &["list", "nothing", "--json"], full()).ends(6);
    assert!(unknown.err.contains("nothing"), "{}", unknown.err);
}

/// `lifeboat schema | true`: a reader that went away wanted no more.
#[test]
fn a_reader_that_went_away_is_no_failure() {
    let app = App::new();
    for verb in [&["schema"][..], &["--help"]] {
        let mut gone = Command::new("true").stdin(Stdio::piped()).spawn().unwrap();
        let pipe = gone.stdin.take().unwrap();
        gone.wait().unwrap();
        let ran = to(&app, verb, pipe).ends(0);
        assert!(ran.err.is_empty(), "{}", ran.err);
    }
}
