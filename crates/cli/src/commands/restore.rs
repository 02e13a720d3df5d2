//! `restore`: what is asked, the confirmation of what cannot be taken back lightly, the flow.

use std::io::IsTerminal;

use lifeboat_model::exit::Exit;
use lifeboat_recovery::flows::{self, At, Destination, RestoreRequest};

use crate::args::Restore;
use crate::fault::{Fault, Outcome};
use crate::hands::{Hands, Wired};
use crate::render;
use crate::screen::{Reply, log_line};
use crate::{text, when};

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
    let report = flows::restore(&wired.world, &request);
    wired.progress.clear();
    let report = report?;
    let words = render::restore(&report, hands.screen);
    Reply::new(report.exit(), "restore", &report, words)
}

fn request(args: &Restore, hands: &Hands<'_>) -> Outcome<RestoreRequest> {
    Ok(RestoreRequest {
        components: args.component.iter().cloned().collect(),
        all: args.all,
        at: point(args.at.as_deref(), hands)?,
        verified_only: args.verified_only,
        to: match &args.to {
            Some(folder) => Destination::Folder(std::path::absolute(folder).map_err(|error| {
                Fault::caused(Exit::Usage, "the target's path is unusable", &error)
            })?),
            None => Destination::InPlace,
        },
        path: args.path.clone(),
        keep_failed: args.keep_failed,
    })
}

/// A time, or a snapshot's id: hexadecimal digits and nothing else.
fn point(at: Option<&str>, hands: &Hands<'_>) -> Outcome<At> {
    let Some(typed) = at else { return Ok(At::Newest) };
    let digits = (1..=64).contains(&typed.len()) && typed.bytes().all(|b| b.is_ascii_hexdigit());
    if digits {
        return Ok(At::Snapshot(typed.to_ascii_lowercase()));
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
        hands.screen.note(format!("note: no zone given, taken as UTC: {}", text::time(found.at)));
    }
    Ok(At::Time(found.at))
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
        Ok(_) | Err(inquire::InquireError::OperationCanceled) => {
            Err(Fault::refused("not confirmed, nothing was changed"))
        }
        Err(inquire::InquireError::OperationInterrupted) => {
            Err(Fault::new(Exit::Interrupted, "stopped on request"))
        }
        Err(error) => Err(Fault::caused(Exit::Refused, "cannot ask for a confirmation", &error)
            .hint(format!("--yes --confirm \"{name}\""))),
    }
}
