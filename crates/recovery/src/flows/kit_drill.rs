//! The "kit only" drill: another process with an empty environment and an empty home gets the kit and
//! nothing else, bootstraps and restores. What it ended with is recorded as the kit's test.

use std::collections::BTreeMap;
use std::path::Path;

use lifeboat_model::chain::{ComponentEvidence, Evidence, PlanRef, Stage};
use lifeboat_model::check::CheckResult;
use lifeboat_model::measure::{Judged, Judgement, Measured};
use lifeboat_model::verdict::Verdict;
use serde_json::json;

use super::run_id;
use crate::env::World;
use crate::error::{Error, Result};
use crate::kit::DRILLED;
use crate::ledger::{Detail, evidence};
use crate::report::{Failure, KitDrillReport, KitStep, seconds};
use crate::session::{Ended, Opening, Session, Start, within};
use crate::staging::Staging;
use crate::tier::{Access, OpenTier};

/// What a step ended with.
#[derive(Debug)]
pub struct KitRun {
    /// Its exit code.
    pub exit: u8,
    /// True if it did what it was to do; what should be looked at besides is in `found`.
    pub passed: bool,
    /// What was found, in one sentence.
    pub found: String,
    /// Components that came back and passed, in recovery order.
    pub components: Vec<String>,
}

/// A step: gets the sandbox.
pub type RunStep<'a> = dyn Fn(&Path) -> Result<KitRun> + 'a;

/// Asks for a drill with the kit alone.
pub struct KitDrillRequest<'a> {
    /// SHA-256 of the sealed file, hexadecimal.
    pub kit: String,
    /// The steps, in order; the first one that fails is the last.
    pub steps: Vec<(&'static str, Box<RunStep<'a>>)>,
}

/// Runs the drill. The world's tier is the one that everything comes from.
///
/// # Errors
/// Where it cannot be recorded.
pub fn kit_drill(world: &World, request: &KitDrillRequest<'_>) -> Result<KitDrillReport> {
    let opening = Opening {
        action: "drill",
        object: DRILLED,
        detail: Detail::from([("kit".to_owned(), json!(request.kit))]),
        access: Access::Write,
        changes_nothing: false,
    };
    let body = |session: &mut Session<'_>, tier: &OpenTier| execute(session, tier, request);
    within(world, &opening, body, |report: &mut KitDrillReport, warnings| {
        report.findings.extend(warnings);
    })
}

fn execute(
    session: &mut Session<'_>,
    tier: &OpenTier,
    request: &KitDrillRequest<'_>,
) -> Result<Ended<KitDrillReport>> {
    let world = session.world;
    let id = run_id(session.start.wall)?;
    let parent = world.state.make("sandbox")?;
    let sandbox = Staging::make(&world.state, &parent, &format!("kit-{id}-"), "drill")?;
    let place = sandbox.folder().display().to_string();
    let run = run(world, request, sandbox.data());
    let removed = sandbox.remove();
    let Ran { steps, starts, components } = run?;
    let mut findings = Vec::new();
    if let Err(error) = &removed {
        let why = Failure::of(error).line();
        findings.push(format!("the sandbox {place} could not be removed: {why}"));
    }
    // Nothing that came back is no proof of anything.
    let something = if components.is_empty() { Verdict::Fail } else { Verdict::Pass };
    let verdict = match Verdict::of(steps.iter().map(|step| step.verdict).chain([something])) {
        Verdict::Pass if removed.is_err() => Verdict::Inconclusive,
        verdict => verdict,
    };
    let mut report = KitDrillReport {
        id: id.clone(),
        kit: request.kit.clone(),
        tier: world.tier_ref(),
        verdict,
        steps,
        components,
        sandbox_removed: removed.is_ok(),
        findings,
        evidence: None,
        head: world.head("lifeboat/kit-drill", session.start),
    };
    let mut record = record(world, session.start, &report, &starts);
    let ledger = session.ledger()?;
    record.ledger = ledger.head()?.map(|head| (head.seq, head.hash));
    let kept = evidence::keep(world, tier, ledger, &id, record, &mut report.findings)?;
    let detail = Detail::from([
        ("kit".to_owned(), json!(request.kit)),
        ("verdict".to_owned(), json!(verdict)),
        (
            evidence::DETAIL.to_owned(),
            json!({"id": kept.id, "sha256": kept.sha256, "object": kept.object}),
        ),
    ]);
    report.evidence = Some(kept);
    report.head = world.head("lifeboat/kit-drill", session.start);
    Ok(Ended { exit: report.exit(), report, detail, facts: Vec::new() })
}

struct Ran {
    steps: Vec<KitStep>,
    starts: Vec<Start>,
    components: Vec<String>,
}

fn run(world: &World, request: &KitDrillRequest<'_>, sandbox: &Path) -> Result<Ran> {
    let mut ran = Ran { steps: Vec::new(), starts: Vec::new(), components: Vec::new() };
    let home = sandbox.join("home");
    std::fs::create_dir_all(&home).map_err(Error::io("create", &home))?;
    for (name, step) in &request.steps {
        world.stop_if_cancelled()?;
        let start = world.start();
        let done = step(sandbox)?;
        let verdict = if done.passed { Verdict::Pass } else { Verdict::Fail };
        ran.starts.push(start);
        ran.steps.push(KitStep {
            step: (*name).to_owned(),
            exit: done.exit,
            seconds: seconds(world.since(start)),
            verdict,
            found: done.found,
        });
        if verdict != Verdict::Pass {
            break;
        }
        ran.components.extend(done.components);
    }
    Ok(ran)
}

fn record(world: &World, start: Start, report: &KitDrillReport, starts: &[Start]) -> Evidence {
    let unset = |why: &str| Judged {
        objective: None,
        actual: Measured::Unknown(why.to_owned()),
        note: None,
        verdict: Judgement::Unset,
    };
    let stage = |(step, start): (&KitStep, &Start)| Stage {
        name: step.step.clone(),
        started: start.wall,
        took_ms: (step.seconds * 1000.0).round() as u64,
        verdict: step.verdict,
        note: Some(step.found.clone()),
    };
    let check = |step: &KitStep| {
        CheckResult::new(
            step.step.clone(),
            step.verdict,
            "exit 0 or 3",
            format!("exit {}", step.exit),
        )
    };
    let one = ComponentEvidence {
        component: DRILLED.to_owned(),
        tier: world.tier.name.clone(),
        snapshot: None,
        why: Some(format!("kit {}", report.kit)),
        stages: report.steps.iter().zip(starts).map(stage).collect(),
        checks: report.steps.iter().map(check).collect(),
        rto: unset("of the kit, not of a component"),
        rpo: unset("of the kit, not of a component"),
        verdict: report.verdict,
    };
    Evidence {
        format: evidence::FORMAT,
        kind: "drill".to_owned(),
        name: DRILLED.to_owned(),
        run: report.id.clone(),
        host: world.host.clone(),
        operator: world.operator.clone(),
        started: start.wall,
        finished: world.clock.wall(),
        plan: PlanRef {
            name: world.plan.header.name.as_str().to_owned(),
            revision: world.revision.clone(),
        },
        recipe: report.kit.clone(),
        tools: BTreeMap::from([("lifeboat".to_owned(), world.version.clone())]),
        components: vec![one],
        ledger: None,
        verdict: report.verdict,
        notes: report.findings.clone(),
    }
}
