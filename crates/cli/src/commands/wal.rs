//! `wal push` and `wal fetch`: a PostgreSQL server's `archive_command` and `restore_command`.
//!
//! A server reads nothing but the exit status. After `fetch`, 1 to 125 mean *there is none*, and the
//! server ends its recovery; above 125 it stops with an error. So 1 is said of a proven absence and
//! 255 of everything else, wrong arguments, a plan that does not parse and a panic among it
//! ([`as_restore_command`]).

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::ExitCode;

use lifeboat_adapters::postgres::archive::{self, ArchiveError};
use lifeboat_model::exit::Exit;
use lifeboat_recovery::flows::{self, Fetched};
use serde_json::json;

use crate::args::{WalFetch, WalPush};
use crate::fault::{Fault, Outcome};
use crate::hands::Hands;
use crate::screen::Reply;

/// Above what a server takes for an answer: its recovery stops.
const UNKNOWN: u8 = 255;

/// `lifeboat wal push PATH`
pub fn push(args: &WalPush, hands: &Hands<'_>) -> Outcome<Reply> {
    // The server's directory; what is read of it there is looked for, and may be missing.
    let file = archive::examine(&args.path, Path::new(".")).map_err(|error| unfit(&error))?;
    let wired = hands.look()?;
    let report = flows::wal_push(&wired.world, args.component.as_deref(), &file);
    wired.progress.clear();
    let report = report.map_err(|error| match (&error, wired.no_key) {
        (lifeboat_recovery::Error::NoKey, Some(fault)) => fault,
        _ => error.into(),
    })?;
    for warning in &report.warnings {
        hands.screen.note(format!("note: {warning}"));
    }
    let done = Exit::Done;
    Reply::new(done, "wal-push", &report, "")
}

/// `lifeboat wal fetch NAME PATH`
pub fn fetch(args: &WalFetch, hands: &Hands<'_>) -> Outcome<Reply> {
    let name = archive::name_of(&args.name).map_err(|error| unfit(&error))?;
    let wired = hands.open()?;
    let system = archive::system_of(Path::new("."));
    let component = args.component.as_deref();
    let fetched = flows::wal_fetch(&wired.world, component, system.as_deref(), &name);
    wired.progress.clear();
    let Fetched { file, notes } = fetched?;
    for note in notes {
        hands.screen.note(format!("note: {note}"));
    }
    let (exit, found) = match file {
        None => (Exit::Failed, None),
        Some((content, tier)) => {
            archive::deliver(&args.path, &content).map_err(|error| unfit(&error))?;
            (Exit::Done, Some(tier))
        }
    };
    let report = json!({ "name": name.to_string(), "found": found.is_some(), "tier": found });
    let text = match found {
        Some(_) => String::new(),
        None => format!("{name} is in no tier: every one of them answered"),
    };
    Reply::new(exit, "wal-fetch", &report, text)
}

fn unfit(error: &ArchiveError) -> Fault {
    let exit = match error {
        ArchiveError::Name(_) => Exit::Usage,
        ArchiveError::Content { .. } => Exit::Refused,
        ArchiveError::Io { .. } => Exit::Failed,
    };
    let fault = Fault::from_error(exit, error);
    match error {
        ArchiveError::Name(_) => fault.hint(
            "a segment has 24 hexadecimal digits, a history 8 and `.history`: `%f` and `%p` give \
             the right ones",
        ),
        ArchiveError::Content { .. } => fault.hint("only what a server wrote is taken over"),
        ArchiveError::Io { .. } => fault,
    }
}

/// Runs the program as a `restore_command`, if these arguments make it one: what it ends with is 0, 1
/// after a proven absence, and 255.
pub fn as_restore_command(run: impl FnOnce() -> (Exit, bool)) -> ExitCode {
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok((Exit::Done, _)) => ExitCode::SUCCESS,
        Ok((Exit::Failed, true)) => ExitCode::from(Exit::Failed.code()),
        _ => ExitCode::from(UNKNOWN),
    }
}

/// True if the arguments ask for `wal fetch`, right or wrong. Options of every command may stand
/// between the two words.
pub fn is_restore_command(arguments: impl Iterator<Item = std::ffi::OsString>) -> bool {
    let mut after = arguments.skip_while(|argument| argument != "wal").skip(1);
    after.any(|argument| argument == "fetch")
}
