//! Drill: the recipe of a restore in anger, bound to a sandbox, timed and judged.
//!
//! It reads through a store that refuses writes, takes no lock, runs no outside action and never
//! sees a source. The sandbox is gone at the end on every path; one that stays is a finding. What
//! was found is signed, and its hash stands in the ledger.

mod outcome;
mod points;
mod run;

use std::path::PathBuf;

use lifeboat_model::recipe::{self, Binding, RestoreRecipe, TierChoice};
use lifeboat_model::verdict::Verdict;
use serde_json::json;

use self::outcome::Rehearsed;
use self::points::{Draw, Older};
use self::run::Run;
use super::point::{WantedPoint, Ways, chosen, components, not_carried};
use super::restore::{apart, planned_item};
use super::{DrillRequest, run_id, way};
use crate::catalog::Catalog;
use crate::env::World;
use crate::error::{Error, Result, ends_run};
use crate::kit;
use crate::ledger::{Detail, evidence};
use crate::prove::bytes_needed;
use crate::report::{
    ComponentDrill, DrillReport, EvidenceRef, Failure, Measured, Met, PlannedDrill,
};
use crate::session::{Ended, Opening, Session, within};
use crate::tier::{Access, OpenTier};

/// What is rehearsed.
struct Asked {
    drill: Option<String>,
    components: Vec<String>,
    /// Asked for by their names, and not carried out by this version: no verdict on them.
    not_carried: Vec<(String, String)>,
    /// The same where everything was asked for.
    left_out: Vec<String>,
    sandbox: PathBuf,
}

/// Runs a drill.
pub fn drill(world: &World, request: &DrillRequest) -> Result<DrillReport> {
    let asked = check(world, request)?;
    let object = asked.drill.clone().unwrap_or_else(|| asked.components.join(", "));
    let opening = Opening {
        action: "drill",
        object: &object,
        detail: Detail::new(),
        access: Access::Write,
        changes_nothing: false,
    };
    let body = |session: &mut Session<'_>, tier: &OpenTier| execute(session, tier, &asked, request);
    within(world, &opening, body, |report: &mut DrillReport, warnings| {
        report.findings.extend(warnings);
    })
}

/// What a drill would do. Writes nothing at all.
pub fn plan_drill(world: &World, request: &DrillRequest) -> Result<PlannedDrill> {
    let start = world.start();
    let asked = check(world, request)?;
    let tier = world.read_tier()?;
    let (catalog, mut warnings) = crate::catalog::up_to_date(world, &tier, false)?;
    let (recipe, ways, failures) = decide(world, &tier, &catalog, &asked, request)?;
    warnings.extend(failures.iter().map(|(name, f)| format!("{name}: {}", f.line())));
    warnings.extend(asked.not_carried.iter().map(|(_, why)| why.clone()));
    warnings.extend(asked.left_out.iter().cloned());
    let binding = Binding::Sandbox(asked.sandbox.clone());
    let rows = catalog.snapshots()?;
    let (mut planned, mut needed) = (Vec::new(), 0);
    for item in &recipe.items {
        let subject = chosen(&tier, item, &ways)?;
        needed += bytes_needed(&subject.manifest);
        planned.push(planned_item(item, &subject, &rows, &binding, true));
    }
    Ok(PlannedDrill {
        drill: asked.drill,
        tier: world.tier_ref(),
        recipe: recipe.sha256(),
        bytes_free: world.disk.free(&asked.sandbox),
        sandbox: asked.sandbox.display().to_string(),
        bytes_needed: needed,
        components: planned,
        warnings,
        head: world.head("lifeboat/drill-recipe", start),
    })
}

/// One drill of the plan, or components.
fn check(world: &World, request: &DrillRequest) -> Result<Asked> {
    let plan = &world.plan;
    let state = world.state.path("sandbox");
    let drill = match &request.names[..] {
        [name] if !plan.component.contains_key(name) => match plan.drill.get_key_value(name) {
            Some(found) => Some(found),
            None => {
                let known = plan.drill.keys().cloned().collect();
                return Err(Error::UnknownDrill { name: name.clone(), known });
            }
        },
        several => {
            if let Some(name) = several.iter().find(|name| plan.drill.contains_key(*name)) {
                return Err(Error::Usage {
                    what: format!("drill {name} and others at a time"),
                    hint: "run one drill after the other, or name components".to_owned(),
                });
            }
            None
        }
    };
    let Some((name, drill)) = drill else {
        let components = components(world, &request.names)?;
        let named = |name: &str| request.names.iter().any(|asked| asked == name);
        let covered = |name: &str| request.names.is_empty() || named(name);
        return Ok(asked(world, None, components, (&covered, &named), state));
    };
    if drill.scenario.is_some() {
        return Err(Error::Usage {
            what: format!("drill {name} rehearses a scenario, which this version does not"),
            hint: "name components: `lifeboat drill run COMPONENT`".to_owned(),
        });
    }
    let all = components(world, &[])?;
    let components = all.into_iter().filter(|component| drill.covers(component)).collect();
    let sandbox = match &drill.sandbox {
        Some(path) => sandbox(world, &plan.path(&world.plan_folder, path))?,
        None => state,
    };
    let named = |name: &str| drill.components.iter().any(|asked| asked.as_str() == name);
    let covered = |name: &str| drill.covers(name);
    Ok(asked(world, Some(name.clone()), components, (&covered, &named), sandbox))
}

/// A question about a component's name.
type Asks<'a> = &'a dyn Fn(&str) -> bool;

/// Sorts out what this version does not carry out: named, it keeps the drill from passing.
fn asked(
    world: &World,
    drill: Option<String>,
    mut components: Vec<String>,
    (covered, named): (Asks<'_>, Asks<'_>),
    sandbox: PathBuf,
) -> Asked {
    let mut left_out = Vec::new();
    let mut by_name = Vec::new();
    for (name, why) in not_carried(world, covered) {
        match named(&name) {
            true => by_name.push((name, why)),
            false => left_out.push(why),
        }
    }
    components.retain(|name| by_name.iter().all(|(other, _)| other != name));
    Asked { drill, components, not_carried: by_name, left_out, sandbox }
}

/// A sandbox that the plan names lies apart from everything that a drill must not touch.
fn sandbox(world: &World, written: &std::path::Path) -> Result<PathBuf> {
    let own = world.state.path("sandbox");
    let hint = "give the drill's `sandbox` a folder of its own, or leave it out";
    apart(world, written, "the sandbox", hint, Some(&own))
}

/// Components for which nothing can be chosen, and why.
type Failures = Vec<(String, Failure)>;

/// The recipe, the ways, and the components for which nothing can be chosen.
fn decide(
    world: &World,
    tier: &OpenTier,
    catalog: &Catalog,
    asked: &Asked,
    request: &DrillRequest,
) -> Result<(RestoreRecipe, Ways, Failures)> {
    let rows = catalog.points()?;
    let wanted = WantedPoint::of(&request.at);
    let (mut requests, mut ways, mut failures) = (Vec::new(), Ways::new(), Vec::new());
    for component in &asked.components {
        match way::choose(world, tier, catalog, &rows, component, &wanted) {
            Ok((choice, way)) => {
                let log = way.shown.as_ref().map(way::step);
                let component = component.clone();
                ways.insert(component.clone(), way);
                requests.push(recipe::RestoreRequest { component, choice, subpath: None, log });
            }
            Err(error) if ends_run(&error) => return Err(error),
            Err(error) => failures.push((component.clone(), Failure::of(&error))),
        }
    }
    let tier = TierChoice { name: world.tier.name.clone(), path: world.tier.url.clone() };
    Ok((recipe::restore_recipe(&world.plan, tier, requests)?, ways, failures))
}

fn execute(
    session: &mut Session<'_>,
    tier: &OpenTier,
    asked: &Asked,
    request: &DrillRequest,
) -> Result<Ended<DrillReport>> {
    let world = session.world;
    let id = run_id(session.start.wall)?;
    let t0 = world.start();
    let catalog = session.catalog(tier)?;
    // What is rehearsed cannot be harmed by the rehearsal: no lock, no write. And no cache: what is
    // gone from the tier would not be there when it burns.
    let readable = world.read_tier()?.uncached();
    let (recipe, ways, failures) = decide(world, &readable, &catalog, asked, request)?;
    let nags = kit::nags(world)?.into_iter();
    let mut findings: Vec<String> =
        nags.map(|nag| format!("{}: `{}`", nag.what, nag.fix)).collect();
    let rows = catalog.points()?;
    let seed = request.seed.unwrap_or_else(|| seed(t0.wall));
    let drill = asked.drill.as_ref().and_then(|name| world.plan.drill.get(name));
    let count = drill.map_or(lifeboat_model::plan::Drill::POINTS, |drill| drill.points());
    let older = Older { world, catalog: &catalog, rows: &rows, count, draw: Draw::seeded(seed) };
    let ways = &ways;
    let run = Run { world, tier: &readable, t0, id: &id, drill: asked.drill.as_deref(), ways };
    let (mut rehearsed, together, sandbox_removed) =
        run.in_sandbox(&recipe, &asked.sandbox, older, &mut findings)?;
    let seed = rehearsed.iter().any(|one| !one.points.is_empty()).then_some(seed);
    findings.extend(ways.iter().flat_map(|(name, way)| {
        way.warnings.iter().map(move |warning| format!("{name}: {warning}"))
    }));
    rehearsed.extend(failures.into_iter().map(|(name, failure)| run.nothing_to(&name, &failure)));
    rehearsed.extend(asked.not_carried.iter().map(|(name, why)| run.not_carried(name, why)));
    findings.extend(asked.left_out.iter().map(|why| format!("{why}: it was not rehearsed")));
    let verdict = match Verdict::of(rehearsed.iter().map(|one| one.verdict)) {
        // Nothing was rehearsed: that is no proof of anything.
        _ if rehearsed.is_empty() => Verdict::Fail,
        // Copies of the data lie about where nobody looks after them.
        Verdict::Pass if !sandbox_removed => Verdict::Inconclusive,
        verdict => verdict,
    };
    let ledger = session.ledger()?;
    let mut noted = findings.clone();
    noted.extend(seed.map(|seed| format!("older points were chosen with seed {seed}")));
    let mut record = run.evidence(&recipe, &rehearsed, verdict, &noted);
    record.ledger = ledger.head()?.map(|head| (head.seq, head.hash));
    let kept = evidence::keep(world, tier, ledger, &id, record, &mut findings)?;
    let rows = catalog.snapshots()?;
    let facts = rehearsed.iter().flat_map(|one| one.facts(&run, &rows)).collect();
    let detail = detail(&kept, &recipe, verdict);
    let components: Vec<ComponentDrill> = rehearsed.into_iter().map(Rehearsed::report).collect();
    let met = |measured: &Measured| matches!(measured.met, Met::Met | Met::None);
    let report = DrillReport {
        id,
        drill: asked.drill.clone(),
        tier: world.tier_ref(),
        recipe: recipe.sha256(),
        verdict,
        objectives_met: components.iter().all(|c| met(&c.rto) && met(&c.rpo)),
        components,
        together,
        seed,
        sandbox_removed,
        left_out: asked.left_out.clone(),
        findings,
        evidence: Some(kept),
        head: world.head("lifeboat/drill", session.start),
    };
    Ok(Ended { exit: report.exit(), report, detail, facts })
}

/// A seed where none is given: shown, so that the same points can be chosen again.
fn seed(now: jiff::Timestamp) -> u64 {
    now.as_microsecond().unsigned_abs()
}

fn detail(kept: &EvidenceRef, recipe: &RestoreRecipe, verdict: Verdict) -> Detail {
    Detail::from([
        ("verdict".to_owned(), json!(verdict)),
        ("recipe".to_owned(), json!(recipe.sha256())),
        (
            evidence::DETAIL.to_owned(),
            json!({"id": kept.id, "sha256": kept.sha256, "object": kept.object}),
        ),
    ])
}
