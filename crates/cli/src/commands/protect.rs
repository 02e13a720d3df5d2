//! `backup`, `list` and `verify`.

use lifeboat_model::exit::Exit;
use lifeboat_recovery::flows::{self, BackupRequest, ListRequest, VerifyRequest};
use lifeboat_vault::check::Subset;

use crate::args::{Backup, List, Verify};
use crate::fault::{Fault, Outcome};
use crate::hands::Hands;
use crate::render;
use crate::screen::Reply;

/// `lifeboat backup [COMPONENT…]`
pub fn backup(args: &Backup, hands: &Hands<'_>) -> Outcome<Reply> {
    let wired = hands.open()?;
    wired.say_not_carried_out(hands.screen);
    let request = BackupRequest {
        components: args.components.clone(),
        schedule: args.schedule.clone(),
        verify: args.verify,
    };
    if args.dry_run {
        let planned = flows::plan_backup(&wired.world, &request)?;
        let text = render::planned_backup(&planned, hands.screen);
        return Reply::new(Exit::Done, "backup-recipe", &planned, text);
    }
    let report = flows::backup(&wired.world, &request);
    wired.progress.clear();
    let report = report?;
    let text = render::backup(&report, hands.screen);
    Reply::new(report.exit(), "backup", &report, text)
}

/// `lifeboat list [COMPONENT]`
pub fn list(args: &List, hands: &Hands<'_>) -> Outcome<Reply> {
    let wired = hands.open()?.in_tier(args.place.tier.as_deref())?;
    let request = ListRequest { component: args.component.clone() };
    let report = flows::list(&wired.world, &request)?;
    let text = render::list(&report, hands.screen);
    Reply::new(Exit::Done, "list", &report, text)
}

/// `lifeboat verify [COMPONENT|SNAPSHOT]`
pub fn verify(args: &Verify, hands: &Hands<'_>) -> Outcome<Reply> {
    let wired = hands.open()?.in_tier(args.place.tier.as_deref())?;
    let request = VerifyRequest {
        what: args.what.iter().cloned().collect(),
        all: args.all,
        quick: args.quick,
        subset: subset(args.subset.as_deref(), hands)?,
    };
    let report = flows::verify(&wired.world, &request);
    wired.progress.clear();
    let report = report?;
    let text = render::verify(&report, hands.screen);
    Reply::new(report.exit(), "verify", &report, text)
}

/// A percentage without a seed gets one by the clock, which the report names.
fn subset(text: Option<&str>, hands: &Hands<'_>) -> Outcome<Option<Subset>> {
    let Some(text) = text else { return Ok(None) };
    let parsed: Subset = text
        .parse()
        .map_err(|error| Fault::caused(Exit::Usage, "`--subset` does not name a part", &error))?;
    Ok(Some(match parsed {
        Subset::Sample { thousandths, .. } if !text.contains('@') => {
            Subset::Sample { thousandths, seed: hands.now().as_second().unsigned_abs() }
        }
        parsed => parsed,
    }))
}
