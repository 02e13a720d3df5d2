//! `drill run`, `drill list`, `audit log` and `audit verify`.

use lifeboat_model::exit::Exit;
use lifeboat_recovery::flows::{self, At, AuditRequest, DrillRequest};

use crate::args::{AuditLog, AuditVerify, DrillRun};
use crate::fault::Outcome;
use crate::hands::Hands;
use crate::render;
use crate::screen::Reply;

/// `lifeboat drill run [NAME|COMPONENT…]`
pub fn drill_run(args: &DrillRun, hands: &Hands<'_>) -> Outcome<Reply> {
    if let Some(kit) = &args.kit {
        return super::kit_drill::run(args, kit, hands);
    }
    let wired = hands.open()?.in_tier(args.place.tier.as_deref())?;
    let request = DrillRequest { names: args.names.clone(), at: At::Newest, seed: args.seed };
    if args.dry_run {
        let planned = flows::plan_drill(&wired.world, &request)?;
        let words = render::planned_drill(&planned, hands.screen);
        return Reply::new(Exit::Done, "drill-recipe", &planned, words);
    }
    let report = flows::drill(&wired.world, &request);
    wired.progress.clear();
    let report = report?;
    let words = render::drill(&report, hands.screen);
    Reply::new(report.exit(), "drill", &report, words)
}

/// `lifeboat drill list`
pub fn drill_list(hands: &Hands<'_>) -> Outcome<Reply> {
    let wired = hands.look()?;
    let report = flows::drill_list(&wired.world)?;
    let words = render::drill_list(&report, &wired.file.plan, hands.screen);
    Reply::new(Exit::Done, "drills", &report, words)
}

/// `lifeboat audit log`
pub fn audit_log(args: &AuditLog, hands: &Hands<'_>) -> Outcome<Reply> {
    let wired = hands.look()?;
    let report = flows::audit_log_of(&wired.world, args.host.as_deref(), args.limit)?;
    let words = render::audit_log(&report, hands.screen);
    Reply::new(Exit::Done, "audit-log", &report, words)
}

/// `lifeboat audit verify`
pub fn audit_verify(args: &AuditVerify, hands: &Hands<'_>) -> Outcome<Reply> {
    let wired = hands.open()?.in_tier(args.place.tier.as_deref())?;
    let request = AuditRequest { host: args.host.clone(), key: args.key.clone() };
    let report = flows::audit_verify(&wired.world, &request)?;
    let words = render::audit_verify(&report, hands.screen);
    Reply::new(report.exit(), "audit-verify", &report, words)
}
