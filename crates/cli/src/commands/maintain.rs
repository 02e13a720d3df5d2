//! `prune`, `copy` and `repair index`: what is asked, the confirmation, the flow.

use std::io::IsTerminal;

use jiff::Timestamp;
use lifeboat_model::duration::Duration;
use lifeboat_model::exit::Exit;
use lifeboat_model::size::Size;
use lifeboat_recovery::flows::{self, CopyRequest, HoldChange, HoldRequest, PruneRequest};
use lifeboat_recovery::report::PruneReport;
use lifeboat_vault::{MaxUnused, RepairOptions};

use crate::args::{Copy, Prune, RepairIndex};
use crate::fault::{Fault, Outcome};
use crate::hands::{Hands, Wired};
use crate::render;
use crate::screen::{Reply, log_line};
use crate::{text, when};

/// `lifeboat prune`
pub fn prune(args: &Prune, hands: &Hands<'_>) -> Outcome<Reply> {
    let wired = hands.open()?.in_tier(args.place.tier.as_deref())?;
    if args.holds {
        let report = flows::holds(&wired.world)?;
        return Reply::new(report.exit(), "holds", &report, render::holds(&report, hands.screen));
    }
    if let Some(request) = hold_request(args)? {
        return hold(args, &request, &wired, hands);
    }
    let mut wired = wired;
    if let Some(fault) = wired.bad_keep.take() {
        return Err(fault);
    }
    let mut request = PruneRequest {
        at: args.at.as_deref().map(|text| to_come(text, hands)).transpose()?,
        max_unused: args.max_unused.as_deref().map(max_unused).transpose()?,
        grace: args.grace.as_deref().map(grace).transpose()?,
        agreed: None,
    };
    if args.dry_run || !args.yes {
        let planned = flows::plan_prune(&wired.world, &request)?;
        wired.progress.clear();
        // Where nothing may go there is nothing to ask: what was looked at is the answer.
        if args.dry_run || !planned.refused.is_empty() {
            let words = render::prune(&planned, hands.screen);
            return Reply::new(planned.exit(), "prune-recipe", &planned, words);
        }
        confirm(&planned, hands)?;
        let going = planned.snapshots.iter().filter(|snapshot| !snapshot.kept);
        request.agreed = Some(going.map(|snapshot| snapshot.snapshot.clone()).collect());
    }
    let report = flows::prune(&wired.world, &request);
    wired.progress.clear();
    let report = report?;
    let words = render::prune(&report, hands.screen);
    Reply::new(report.exit(), "prune", &report, words)
}

/// What is to be held or let go, if that is asked for.
fn hold_request(args: &Prune) -> Outcome<Option<HoldRequest>> {
    let (change, what) = match &args.release {
        Some(what) => (HoldChange::Release, what.clone()),
        None if !args.hold.is_empty() => (HoldChange::Put, args.hold.clone()),
        None if args.reason.is_some() || args.incident.is_some() => {
            return Err(Fault::usage("`--reason` and `--incident` belong to holds")
                .hint("--hold SNAPSHOT --reason TEXT, or --release SNAPSHOT --reason TEXT"));
        }
        None => return Ok(None),
    };
    if what.is_empty() && args.incident.is_none() {
        return Err(Fault::usage("`--release` does not say which holds")
            .hint("--release SNAPSHOT, --release COMPONENT, or --release --incident NAME"));
    }
    let reason = args.reason.clone().unwrap_or_default().trim().to_owned();
    if reason.is_empty() {
        return Err(
            Fault::usage("a hold wants a reason").hint("--reason \"evidence for the insurer\"")
        );
    }
    Ok(Some(HoldRequest { change, what, reason, incident: args.incident.clone() }))
}

fn hold(args: &Prune, request: &HoldRequest, wired: &Wired, hands: &Hands<'_>) -> Outcome<Reply> {
    let releases = request.change == HoldChange::Release;
    if args.dry_run || (releases && !args.yes) {
        let planned = flows::plan_hold(&wired.world, request)?;
        wired.progress.clear();
        if args.dry_run {
            let words = render::holds(&planned, hands.screen);
            return Reply::new(planned.exit(), "holds", &planned, words);
        }
        let count = planned.released.len() as u64;
        let what = text::plural(count, "hold", "holds");
        if !(std::io::stdin().is_terminal() && std::io::stderr().is_terminal()) {
            return Err(Fault::refused(format!("taking away {what} wants a confirmation"))
                .hint("in a script: --yes; `--dry-run` shows which"));
        }
        log_line(&render::holds(&planned, hands.screen));
        ask(&format!("Take away {what}? What no rule keeps may go with the next pruning."))?;
    }
    let report = flows::hold(&wired.world, request);
    wired.progress.clear();
    let report = report?;
    let words = render::holds(&report, hands.screen);
    Reply::new(report.exit(), "holds", &report, words)
}

/// Names what goes, and asks.
fn confirm(planned: &PruneReport, hands: &Hands<'_>) -> Outcome<()> {
    let going = planned.snapshots.iter().filter(|snapshot| !snapshot.kept).count() as u64;
    let what = text::plural(going, "snapshot", "snapshots");
    if !(std::io::stdin().is_terminal() && std::io::stderr().is_terminal()) {
        return Err(Fault::refused(format!("removing {what} wants a confirmation"))
            .hint("in a script: --yes; `--dry-run` shows what goes and why"));
    }
    log_line(&render::prune(planned, hands.screen));
    let question =
        format!("Remove {what} by the plan\u{2019}s rules, and the data that nothing needs?");
    ask(&question)
}

/// Asks; what is not confirmed is refused.
pub fn ask(question: &str) -> Outcome<()> {
    match inquire::Confirm::new(question).with_default(false).prompt() {
        Ok(true) => Ok(()),
        Ok(false) | Err(inquire::InquireError::OperationCanceled) => {
            Err(Fault::refused("not confirmed, nothing was changed"))
        }
        Err(inquire::InquireError::OperationInterrupted) => {
            Err(Fault::new(Exit::Interrupted, "stopped on request"))
        }
        Err(error) => {
            Err(Fault::caused(Exit::Refused, "cannot ask for a confirmation", &error).hint("--yes"))
        }
    }
}

/// `lifeboat copy [COMPONENT|SNAPSHOT…]`
pub fn copy(args: &Copy, hands: &Hands<'_>) -> Outcome<Reply> {
    let wired = hands.open()?.in_tier(args.from.as_deref())?;
    let request = CopyRequest { what: args.what.clone(), to: args.to.clone() };
    let report = match args.dry_run {
        true => flows::plan_copy(&wired.world, &request),
        false => flows::copy(&wired.world, &request),
    };
    wired.progress.clear();
    let report = report?;
    let words = render::copy(&report, hands.screen);
    let name = if args.dry_run { "copy-recipe" } else { "copy" };
    Reply::new(report.exit(), name, &report, words)
}

/// `lifeboat repair index`
pub fn repair_index(args: &RepairIndex, hands: &Hands<'_>) -> Outcome<Reply> {
    let wired = hands.open()?.in_tier(args.place.tier.as_deref())?;
    let options = RepairOptions { read_all: args.read_all };
    let report = match args.dry_run {
        true => flows::plan_repair(&wired.world, &options),
        false => flows::repair_index(&wired.world, &options),
    };
    wired.progress.clear();
    let report = report?;
    let words = render::repair(&report, hands.screen);
    let name = if args.dry_run { "repair-recipe" } else { "repair" };
    Reply::new(report.exit(), name, &report, words)
}

fn max_unused(text: &str) -> Outcome<MaxUnused> {
    let bad = || {
        Fault::usage(format!("`{text}` is no limit for waste"))
            .hint("a percentage below 100 like `5%`, a size like `2 GiB`, or `unlimited`")
    };
    if text == "unlimited" {
        return Ok(MaxUnused::Unlimited);
    }
    if let Some(percent) = text.strip_suffix('%') {
        let percent: f64 = percent.trim().parse().map_err(|_| bad())?;
        let fits = (0.0..100.0).contains(&percent);
        return if fits { Ok(MaxUnused::Percent(percent)) } else { Err(bad()) };
    }
    text.parse::<Size>().map(|size| MaxUnused::Bytes(size.0)).map_err(|_| bad())
}

fn to_come(text: &str, hands: &Hands<'_>) -> Outcome<Timestamp> {
    when::parse_future(text, hands.now())
        .map_err(|why| Fault::usage(why).hint("--at is a day to come: what would go then"))
}

fn grace(text: &str) -> Outcome<std::time::Duration> {
    text.parse::<Duration>()
        .map(Duration::std)
        .map_err(|_| Fault::usage(format!("`{text}` is no span of time")).hint("--grace 1d"))
}
