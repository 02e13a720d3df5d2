//! Outside commands, run for real.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use lifeboat_adapters::SystemClock;
use lifeboat_adapters::runner::{DEFAULT_PATH, OUTPUT_KEPT, ShellRunner};
use lifeboat_recovery::ports::{Outcome, RefusingRunner, Request, Runner};

fn request(command: &str) -> Request {
    Request {
        command: command.to_owned(),
        environment: BTreeMap::new(),
        folder: PathBuf::from("/"),
        timeout: Duration::from_secs(30),
    }
}

fn runner() -> ShellRunner {
    ShellRunner::new(Arc::new(SystemClock::new()), None).with_grace(Duration::from_millis(300))
}

fn run(command: &str) -> Outcome {
    runner().run(&request(command)).unwrap()
}

/// Is a process with this number there and not a zombie?
fn alive(pid: &str) -> bool {
    std::fs::read_to_string(format!("/proc/{}/stat", pid.trim()))
        .is_ok_and(|stat| !stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('Z')))
}

/// Waits until it is gone; init may need a moment to reap it.
fn is_gone(pid: &str) -> bool {
    use lifeboat_vault::Clock;
    (0..200).any(|_| {
        SystemClock::new().sleep(Duration::from_millis(10));
        !alive(pid)
    })
}

#[test]
fn the_status_and_both_outputs_come_back_in_order() {
    let outcome = run("echo one; echo two >&2; echo three; exit 7");
    assert_eq!(outcome.status, Some(7));
    assert_eq!(outcome.output, "one\ntwo\nthree\n");
    assert!(!outcome.timed_out);
    assert!(outcome.elapsed < Duration::from_secs(20));
}

#[test]
fn a_shell_killed_by_a_signal_has_no_status() {
    let outcome = run("kill -9 $$");
    assert_eq!((outcome.status, outcome.timed_out), (None, false));
}

#[test]
fn the_environment_is_empty_but_for_what_is_named() {
    let mut asked = request("env");
    asked.environment.insert("GIVEN".into(), "a b".into());
    let said = runner().run(&asked).unwrap().output;
    let mut lines: Vec<_> = said.lines().collect();
    // What shells set by themselves.
    lines.retain(|l| !["PWD=", "SHLVL=", "_=", "OLDPWD="].iter().any(|own| l.starts_with(own)));
    lines.sort_unstable();
    assert_eq!(lines, ["GIVEN=a b".to_owned(), format!("PATH={DEFAULT_PATH}")]);

    asked.environment.insert("PATH".into(), "/bin".into());
    assert!(runner().run(&asked).unwrap().output.contains("PATH=/bin\n"));
}

#[test]
fn there_is_no_input_and_the_folder_is_the_one_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let mut asked = request("cat; pwd -P");
    asked.folder = folder.path().to_owned();
    let outcome = runner().run(&asked).unwrap();
    let expected = folder.path().canonicalize().unwrap();
    assert_eq!(outcome.output.trim_end(), expected.to_str().unwrap());
}

#[test]
fn a_huge_output_keeps_its_end() {
    let outcome = run("seq 1 2000000; echo the end");
    assert_eq!(outcome.status, Some(0));
    assert!(outcome.output.ends_with("1999999\n2000000\nthe end\n"));
    assert_eq!(outcome.output.len(), OUTPUT_KEPT);
}

#[test]
fn binary_output_becomes_text() {
    let outcome = run(r"printf 'a\377\000b\303'");
    assert_eq!(outcome.output, "a\u{fffd}\0b\u{fffd}");
    // The cut does not fall into a character.
    let outcome = run("yes é | head -c 399999; printf zz");
    assert_eq!(outcome.output.len(), OUTPUT_KEPT - 1);
    assert!(outcome.output.starts_with("\né\n") && outcome.output.ends_with("é\nzz"));
}

#[test]
fn the_timeout_takes_the_whole_group() {
    // The one in the background does not hear the first signal.
    let mut asked = request("sh -c 'trap \"\" TERM; echo $$; exec sleep 300' & echo $$; wait");
    asked.timeout = Duration::from_millis(500);
    let outcome = runner().run(&asked).unwrap();
    assert!(outcome.timed_out);
    assert_eq!(outcome.status, None);
    let pids: Vec<_> = outcome.output.lines().collect();
    assert_eq!(pids.len(), 2, "{outcome:?}");
    assert!(pids.iter().all(|pid| is_gone(pid)), "{pids:?}");
    assert!(outcome.elapsed < Duration::from_secs(10), "{:?}", outcome.elapsed);
}

#[test]
fn what_ignores_the_first_signal_is_killed_after_the_grace() {
    let mut asked = request("trap '' TERM; echo $$; while :; do sleep 1; done");
    asked.timeout = Duration::from_millis(300);
    let outcome = runner().run(&asked).unwrap();
    assert!(outcome.timed_out);
    assert!(outcome.elapsed >= Duration::from_millis(600), "{:?}", outcome.elapsed);
    assert!(is_gone(&outcome.output));
}

#[test]
fn a_shell_that_ends_on_the_signal_still_timed_out() {
    let mut asked = request("trap 'echo cleaned; exit 0' TERM; sleep 300 & wait");
    asked.timeout = Duration::from_millis(300);
    let outcome = runner().run(&asked).unwrap();
    assert_eq!((outcome.status, outcome.timed_out), (None, true));
    assert_eq!(outcome.output, "cleaned\n");
}

#[test]
fn a_grandchild_that_keeps_the_pipe_is_not_waited_for() {
    let outcome = run("sleep 300 & echo $!");
    assert_eq!((outcome.status, outcome.timed_out), (Some(0), false));
    assert!(outcome.elapsed < Duration::from_secs(10), "{:?}", outcome.elapsed);
    // It goes on: a step may start a service.
    assert!(alive(&outcome.output));
    assert_eq!(run(&format!("kill {}", outcome.output)).status, Some(0));
}

#[test]
fn a_grandchild_that_never_stops_talking_is_not_waited_for() {
    let outcome = run("yes & echo $!; sleep 0.2");
    assert_eq!((outcome.status, outcome.timed_out), (Some(0), false));
    assert!(outcome.elapsed < Duration::from_secs(10), "{:?}", outcome.elapsed);
}

#[test]
fn what_cannot_be_started_is_an_error() {
    let mut asked = request("true");
    asked.folder = PathBuf::from("/nonexistent");
    assert!(runner().run(&asked).is_err());
    // A command that is not there is the shell's status, with its words.
    let outcome = run("no-such-command-at-all");
    assert_eq!(outcome.status, Some(127));
    assert!(outcome.output.contains("not found"));
}

#[test]
fn a_drill_runs_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut asked = request("touch made");
    asked.folder = folder.path().to_owned();
    let error = RefusingRunner.run(&asked).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::PermissionDenied);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}
