//! `restore`: what is asked, the confirmation of what cannot be taken back lightly, the flow.

use std::io::IsTerminal;
use std::path::{Component, Path, PathBuf};

use lifeboat_model::exit::Exit;
use lifeboat_model::position::Position;
use lifeboat_recovery::flows::{self, At, Destination, RestoreRequest};

use crate::args::Restore;
use crate::fault::{Fault, Outcome};
use crate::hands::{Hands, Wired};
use crate::render;
use crate::screen::{Reply, log_line};
use crate::when;

/// `lifeboat restore COMPONENT|--all`
pub fn restore(args: &Restore, hands: &Hands<'_>) -> Outcome<Reply> {
    let request = request(args, hands)?;
    let wired = hands.open()?.in_tier(args.place.tier.as_deref())?;
    if args.dry_run {
        let planned = flows::plan_restore(&wired.world, &request)?;
        let words = render::planned_restore(&planned, hands.screen);
        return Reply::new(Exit::Done, "restore-recipe", &planned, words);
    }
    if args.in_place {
        confirm(args, &request, &wired, hands)?;
    }
    if let Destination::Over { folder, .. } = &request.to {
        confirm_over(args, folder)?;
    }
    if request.to == Destination::Stream {
        return stream(&request, &wired, hands);
    }
    let report = flows::restore(&wired.world, &request);
    wired.progress.clear();
    let report = report?;
    let words = render::restore(&report, hands.screen);
    Reply::new(report.exit(), "restore", &report, words)
}

/// Sends the data to standard output, where nothing else goes: the report goes to the log.
fn stream(request: &RestoreRequest, wired: &Wired, hands: &Hands<'_>) -> Outcome<Reply> {
    if hands.screen.json {
        return Err(Fault::usage("`--to -` and `--json` both want standard output")
            .hint("leave `--json` out, or restore to a folder"));
    }
    if request.path.is_none() && std::io::stdout().is_terminal() {
        return Err(Fault::usage("a tar stream is nothing for a terminal")
            .hint("lifeboat restore … --to - | tar -tv"));
    }
    let mut to = std::io::BufWriter::with_capacity(1 << 20, std::io::stdout().lock());
    let report = flows::restore_stream(&wired.world, request, &mut to);
    wired.progress.clear();
    let report = report?;
    if !hands.screen.quiet || report.exit() != Exit::Done {
        log_line(render::restore(&report, hands.screen).trim_end());
    }
    Reply::new(report.exit(), "restore", &report, "")
}

fn request(args: &Restore, hands: &Hands<'_>) -> Outcome<RestoreRequest> {
    Ok(RestoreRequest {
        components: args.component.iter().cloned().collect(),
        all: args.all,
        at: point(args.at.as_deref(), hands)?,
        base: args.base.as_deref().map(base).transpose()?,
        verified_only: args.verified_only,
        prepare_only: args.prepare_only,
        to: match &args.to {
            Some(to) if to.as_os_str() == "-" => match args.verify_existing {
                true => {
                    return Err(Fault::usage("`--verify-existing` wants a folder, not a stream")
                        .hint("--to DIR"));
                }
                false => Destination::Stream,
            },
            Some(folder) => {
                let folder = std::path::absolute(folder).map_err(|error| {
                    Fault::caused(Exit::Usage, "the target's path is unusable", &error)
                })?;
                match args.verify_existing {
                    true => Destination::Over { folder, delete: args.delete },
                    false => Destination::Folder(folder),
                }
            }
            None => Destination::InPlace,
        },
        path: args.path.as_deref().map(inside).transpose()?,
        keep_failed: args.keep_failed,
    })
}

/// A part of a snapshot: a path that does not lead out of it.
fn inside(path: &Path) -> Outcome<PathBuf> {
    if path.components().any(|part| part == Component::ParentDir) {
        return Err(Fault::usage("a path in a snapshot cannot contain `..`")
            .hint("give it as it stands in the snapshot, relative to the plan's folder"));
    }
    Ok(path.to_owned())
}

/// A snapshot's id, or the beginning of one.
fn is_id(typed: &str) -> bool {
    (1..=64).contains(&typed.len()) && typed.bytes().all(|b| b.is_ascii_hexdigit())
}

fn base(typed: &str) -> Outcome<String> {
    match is_id(typed) {
        true => Ok(typed.to_ascii_lowercase()),
        false => Err(Fault::usage(format!("`{typed}` is no snapshot's id"))
            .hint("`lifeboat list` shows them")),
    }
}

/// A time, a place in a log, or a snapshot's id: hexadecimal digits and nothing else.
pub fn point(at: Option<&str>, hands: &Hands<'_>) -> Outcome<At> {
    let Some(typed) = at else { return Ok(At::Newest) };
    if typed.eq_ignore_ascii_case("newest") {
        return Ok(At::Newest);
    }
    if is_id(typed) {
        return Ok(At::Snapshot(typed.to_ascii_lowercase()));
    }
    if let Some((kind, rest)) = typed.split_once(':')
        && let Some(found) = in_log(kind, rest)
    {
        return found;
    }
    let found = when::parse(typed, hands.now()).map_err(|sentence| {
        let hint = if typed.eq_ignore_ascii_case("latest") {
            "leave `--at` out: the newest snapshot that did not fail is taken"
        } else {
            "`lifeboat list` shows snapshots with their times and ids"
        };
        Fault::usage(sentence).hint(hint)
    })?;
    if found.assumed_utc {
        return Err(without_zone(typed, found.at));
    }
    Ok(At::Time(found.at))
}

/// A time without a zone is two times: which one is not guessed when data depends on it.
fn without_zone(typed: &str, utc: jiff::Timestamp) -> Fault {
    let here = jiff::tz::TimeZone::system();
    let civil = utc.to_zoned(jiff::tz::TimeZone::UTC).datetime();
    let local = match civil.to_zoned(here.clone()) {
        Ok(local) if here != jiff::tz::TimeZone::UTC => {
            let offset = local.strftime("%:z");
            format!("`{}{offset}` is that time here", civil.strftime("%Y-%m-%dT%H:%M:%S"))
        }
        _ => "an offset such as `+02:00` names another zone".to_owned(),
    };
    Fault::usage(format!("\"{typed}\" has no time zone"))
        .hint(format!("`{}Z` is that time in UTC; {local}", civil.strftime("%Y-%m-%dT%H:%M:%S")))
}

/// `lsn:0/16B3748`, `position:00000001-00000000016b3748`, `name:before-import`, `xid:4711`.
fn in_log(kind: &str, rest: &str) -> Option<Outcome<At>> {
    let bad = |hint: &str| {
        Err(Fault::usage(format!("`{kind}:{rest}` names no place in a log")).hint(hint.to_owned()))
    };
    Some(match kind {
        "lsn" => match lsn(rest) {
            Some(offset) => Ok(At::Position(None, offset)),
            None => bad("as `select pg_current_wal_lsn()` shows it: `lsn:0/16B3748`"),
        },
        "position" => match rest.parse::<Position>() {
            Ok(at) => Ok(At::Position(Some(at.line), at.offset)),
            Err(_) => bad("as `lifeboat list` shows it: `position:00000001-00000000016b3748`"),
        },
        "name" if !rest.is_empty() => Ok(At::Name(rest.to_owned())),
        "name" => bad("as it was given to `pg_create_restore_point`: `name:before-import`"),
        "xid" => match rest.parse() {
            Ok(number) => Ok(At::Transaction(number)),
            Err(_) => bad("as `select pg_current_xact_id()` shows it: `xid:4711`"),
        },
        _ => return None,
    })
}

fn lsn(text: &str) -> Option<u64> {
    let (high, low) = text.split_once('/')?;
    let part = |text: &str| u32::from_str_radix(text, 16).ok().filter(|_| text.len() <= 8);
    Some(u64::from(part(high)?) << 32 | u64::from(part(low)?))
}

/// What stands in a folder is changed only by somebody who says so.
fn confirm_over(args: &Restore, folder: &Path) -> Outcome<()> {
    let holds = std::fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some());
    if !holds || args.yes {
        return Ok(());
    }
    let shown = folder.display();
    let removed = if args.delete { ", and removing what the snapshot does not hold" } else { "" };
    if !(std::io::stdin().is_terminal() && std::io::stderr().is_terminal()) {
        let what = format!("changing what stands in {shown} wants a confirmation");
        return Err(Fault::refused(what).hint("in a script: --yes"));
    }
    let question = format!("Write over what differs in {shown}{removed}?");
    match inquire::Confirm::new(&question).with_default(false).prompt() {
        Ok(true) => Ok(()),
        answer => Err(not_agreed(answer.err(), "--yes")),
    }
}

/// Why an answer is no consent.
fn not_agreed(error: Option<inquire::InquireError>, hint: &str) -> Fault {
    match error {
        None | Some(inquire::InquireError::OperationCanceled) => {
            Fault::refused("not confirmed, nothing was changed")
        }
        Some(inquire::InquireError::OperationInterrupted) => {
            Fault::new(Exit::Interrupted, "stopped on request")
        }
        Some(error) => {
            Fault::caused(Exit::Refused, "cannot ask for a confirmation", &error).hint(hint)
        }
    }
}

/// Live data is replaced only by somebody who says its name.
fn confirm(
    args: &Restore,
    request: &RestoreRequest,
    wired: &Wired,
    hands: &Hands<'_>,
) -> Outcome<()> {
    let name = match &args.component {
        Some(component) => component.clone(),
        None => wired.file.plan.header.name.to_string(),
    };
    if args.yes {
        return match &args.confirm {
            Some(said) if *said == name => Ok(()),
            Some(said) => Err(Fault::refused(format!(
                "`--confirm {said}` does not name what would be replaced, {name}"
            ))
            .hint(format!("--yes --confirm \"{name}\""))),
            None => Err(Fault::refused("`--yes` alone does not replace live data")
                .hint(format!("--yes --confirm \"{name}\""))),
        };
    }
    if !(std::io::stdin().is_terminal() && std::io::stderr().is_terminal()) {
        return Err(Fault::refused(format!(
            "replacing the live data of {name} wants a confirmation"
        ))
        .hint(format!(
            "in a script: --yes --confirm \"{name}\"; `--dry-run` shows what it would do"
        )));
    }
    let planned = flows::plan_restore(&wired.world, request)?;
    log_line(&render::planned_restore(&planned, hands.screen));
    let question = format!("This replaces live data. Type {name} to go on:");
    match inquire::Text::new(&question).prompt() {
        Ok(said) if said.trim() == name => Ok(()),
        answer => Err(not_agreed(answer.err(), &format!("--yes --confirm \"{name}\""))),
    }
}
