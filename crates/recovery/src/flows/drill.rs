//! Drill: the recipe of a restore in anger, bound to a sandbox, timed and judged.
//!
//! It reads through a store that refuses writes, takes no lock, runs no outside action and never
//! sees a source. The sandbox is gone at the end on every path; one that stays is a finding. What
//! was found is signed, and its hash stands in the ledger.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lifeboat_model::chain::{ComponentEvidence, Evidence, PlanRef, Stage};
use lifeboat_model::check::CheckResult;
use lifeboat_model::measure::{Judged, Judgement, Measured as Value, Moment, Timeline, judge};
use lifeboat_model::objective::{Circumstances, Objectives, resolve};
use lifeboat_model::recipe::{self, Binding, RestoreItem, RestoreRecipe, TierChoice};
use lifeboat_model::verdict::Verdict;
use serde_json::json;

use super::point::{choose, components, preflight, subject};
use super::restore::planned_item;
use super::{DrillRequest, run_id};
use crate::catalog::{Catalog, SnapshotRow};
use crate::env::World;
use crate::error::{Error, Result, ends_run};
use crate::facts::{DrillFact, Fact, Level, VerifiedFact};
use crate::ledger::{Detail, evidence};
use crate::prove::{Copy, Declared, bytes_needed, restore_copy};
use crate::report::{
    ComponentDrill, DrillFailure, DrillReport, EvidenceRef, Failure, Measured, Met, PlannedDrill,
    Times, seconds,
};
use crate::session::{Ended, Opening, Session, Start, within};
use crate::staging::Staging;
use crate::tier::{Access, OpenTier};

/// What is rehearsed.
struct Asked {
    drill: Option<String>,
    components: Vec<String>,
    sandbox: PathBuf,
}

/// Runs a drill.
pub fn drill(world: &World, request: &DrillRequest) -> Result<DrillReport> {
    let asked = check(world, request)?;
    let object = asked.drill.clone().unwrap_or_else(|| asked.components.join(", "));
    let opening =
        Opening { action: "drill", object: &object, detail: Detail::new(), access: Access::Write };
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
    let (recipe, failures) = decide(world, &catalog, &asked, request)?;
    warnings.extend(failures.iter().map(|(name, f)| format!("{name}: {}", f.line())));
    let binding = Binding::Sandbox(asked.sandbox.clone());
    let rows = catalog.snapshots()?;
    let (mut planned, mut needed) = (Vec::new(), 0);
    for item in &recipe.items {
        let subject = subject(&tier, &item.component, &item.choice.chosen.snapshot)?;
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
        return Ok(Asked { drill: None, components, sandbox: state });
    };
    if drill.scenario.is_some() {
        return Err(Error::Usage {
            what: format!("drill {name} rehearses a scenario, which this version does not"),
            hint: "name components: `lifeboat drill run COMPONENT`".to_owned(),
        });
    }
    let all = components(world, &[])?;
    let components = all.into_iter().filter(|component| drill.covers(component)).collect();
    let sandbox = drill.sandbox.as_ref().map(|path| plan.path(&world.plan_folder, path));
    Ok(Asked { drill: Some(name.clone()), components, sandbox: sandbox.unwrap_or(state) })
}

/// The recipe, and the components for which nothing can be chosen.
fn decide(
    world: &World,
    catalog: &Catalog,
    asked: &Asked,
    request: &DrillRequest,
) -> Result<(RestoreRecipe, Vec<(String, Failure)>)> {
    let rows = catalog.snapshots()?;
    let (mut requests, mut failures) = (Vec::new(), Vec::new());
    for component in &asked.components {
        match choose(&rows, component, &request.at, false) {
            Ok(choice) => requests.push(recipe::RestoreRequest {
                component: component.clone(),
                choice,
                subpath: None,
            }),
            Err(error) => failures.push((component.clone(), Failure::of(&error))),
        }
    }
    let tier = TierChoice { name: world.tier.name.clone(), path: world.tier.url.clone() };
    Ok((recipe::restore_recipe(&world.plan, tier, requests)?, failures))
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
    let (recipe, failures) = decide(world, &catalog, asked, request)?;
    // What is rehearsed cannot be harmed by the rehearsal: no lock, no write.
    let readable = world.read_tier()?;
    let mut findings = Vec::new();
    let run = Run { world, tier: &readable, t0, id: &id, drill: asked.drill.as_deref() };
    let (mut rehearsed, together, sandbox_removed) =
        run.in_sandbox(&recipe, &asked.sandbox, &mut findings)?;
    rehearsed.extend(failures.into_iter().map(|(name, failure)| run.nothing_to(&name, &failure)));
    let verdict = match Verdict::of(rehearsed.iter().map(|one| one.verdict)) {
        // Nothing was rehearsed: that is no proof of anything.
        _ if rehearsed.is_empty() => Verdict::Fail,
        verdict => verdict,
    };
    let (record, head) = (run.evidence(&recipe, &rehearsed, verdict, &findings), session.ledger());
    let kept = evidence::keep(world, tier, head, &id, record, &mut findings)?;
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
        sandbox_removed,
        findings,
        evidence: Some(kept),
        head: world.head("lifeboat/drill", session.start),
    };
    Ok(Ended { exit: report.exit(), report, detail, facts })
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

/// A drill under way.
struct Run<'a> {
    world: &'a World,
    tier: &'a OpenTier,
    t0: Start,
    id: &'a str,
    drill: Option<&'a str>,
}

/// What became of one component.
struct Rehearsed {
    component: String,
    item: Option<RestoreItem>,
    verdict: Verdict,
    proof: Vec<CheckResult>,
    plans: Vec<CheckResult>,
    line: Timeline,
    complete_up_to: Option<jiff::Timestamp>,
    t2: Option<Start>,
    t3: Option<Start>,
    t4: Option<Start>,
    rto: Judged,
    rpo: Judged,
    files: u64,
    bytes: u64,
    failure: Option<Failure>,
}

impl<'a> Run<'a> {
    /// Makes the sandbox, rehearses in it, and removes it whatever happened.
    fn in_sandbox(
        &self,
        recipe: &RestoreRecipe,
        parent: &Path,
        findings: &mut Vec<String>,
    ) -> Result<(Vec<Rehearsed>, Vec<CheckResult>, bool)> {
        self.room(recipe, parent)?;
        let world = self.world;
        std::fs::create_dir_all(parent).map_err(Error::io("create", parent))?;
        let stem = format!("drill-{}-", self.id);
        let sandbox = Staging::make(&world.state, parent, &stem, "drill")?;
        let folder = sandbox.folder().display().to_string();
        let result = self.rehearse(recipe, sandbox.data(), findings);
        let removed = sandbox.remove();
        let (rehearsed, together) = result?;
        if let Err(error) = &removed {
            let why = Failure::of(error).line();
            findings.push(format!("the sandbox {folder} could not be removed: {why}"));
        }
        Ok((rehearsed, together, removed.is_ok()))
    }

    /// Refuses before anything is written where the copies would not fit.
    fn room(&self, recipe: &RestoreRecipe, parent: &Path) -> Result<()> {
        let mut needed = 0u64;
        for item in &recipe.items {
            // One without a readable manifest fails its rehearsal, not everybody's.
            if let Ok(subject) = subject(self.tier, &item.component, &item.choice.chosen.snapshot) {
                needed = needed.saturating_add(bytes_needed(&subject.manifest));
            }
        }
        preflight(self.world, parent, needed).map(|_| ())
    }

    fn rehearse(
        &self,
        recipe: &RestoreRecipe,
        sandbox: &Path,
        findings: &mut Vec<String>,
    ) -> Result<(Vec<Rehearsed>, Vec<CheckResult>)> {
        let plan = &self.world.plan;
        let mut asked = Declared::default();
        let (mut rehearsed, mut copies) = (Vec::new(), Vec::new());
        for item in &recipe.items {
            let (one, copy) = self.one(item, sandbox, &mut asked)?;
            findings
                .extend(item.choice.warnings.iter().map(|w| format!("{}: {w}", item.component)));
            rehearsed.push(one);
            copies.extend(copy);
        }
        asked.ask_together(plan, &copies);
        for one in &mut rehearsed {
            let asked_together = asked.together.iter().any(|(name, _)| *name == one.component);
            one.plans = asked.of(&one.component);
            self.judge(one, asked_together);
        }
        findings.extend(asked.not_asked());
        findings.extend(rehearsed.iter().flat_map(|one| {
            let notes = one.rto.note.iter().chain(&one.rpo.note);
            notes.map(|note| format!("{}: {note}", one.component)).collect::<Vec<_>>()
        }));
        Ok((rehearsed, asked.together.into_iter().map(|(_, check)| check).collect()))
    }

    /// Restores one component and asks everything that concerns it alone.
    fn one(
        &self,
        item: &'a RestoreItem,
        sandbox: &Path,
        asked: &mut Declared,
    ) -> Result<(Rehearsed, Option<Copy<'a>>)> {
        let mut one = self.blank(&item.component);
        one.item = Some(item.clone());
        one.t2 = Some(self.world.start());
        let folder = sandbox.join(&item.component);
        let engine = &*self.world.adapters.engine;
        let restored = subject(self.tier, &item.component, &item.choice.chosen.snapshot)
            .and_then(|subject| restore_copy(&subject, engine, None, &folder));
        match restored {
            Ok(copy) => {
                one.t3 = Some(self.world.start());
                one.proof = copy.proof();
                (one.files, one.bytes) = (copy.files, copy.bytes);
                one.complete_up_to = Some(copy.manifest.started);
                asked.ask_one(&self.world.plan, &copy);
                one.t4 = Some(self.world.start());
                Ok((one, Some(copy)))
            }
            Err(error) if ends_run(&error) => Err(error),
            Err(error) => {
                one.failure = Some(Failure::of(&error));
                Ok((one, None))
            }
        }
    }

    /// Verdict and measures. What was not proven has no T4, and an RPO that is not known.
    fn judge(&self, one: &mut Rehearsed, asked_together: bool) {
        if asked_together {
            one.t4 = one.t4.map(|_| self.world.start());
        }
        let checks = one.proof.iter().chain(&one.plans).map(|check| check.verdict);
        one.verdict = match (&one.failure, Verdict::of(checks)) {
            (Some(_), _) => Verdict::Fail,
            (None, verdict) => verdict,
        };
        let equal = Verdict::of(one.proof.iter().map(|check| check.verdict)) == Verdict::Pass;
        if !equal {
            one.complete_up_to = None;
        }
        let moment = |start: Start| Moment::both(start.wall, self.id, start.monotonic);
        one.line = Timeline {
            detected: Some(moment(self.t0)),
            started: one.t2.map(moment),
            restored: one.t3.map(moment),
            verified: one.t4.filter(|_| one.verdict == Verdict::Pass).map(moment),
            ..Timeline::default()
        };
        let Objectives { rto, rpo } = self.objectives(&one.component);
        one.rto = judge(rto, one.line.rto());
        one.rpo = judge(rpo, one.line.rpo(one.complete_up_to));
    }

    fn objectives(&self, component: &str) -> Objectives {
        let now = Circumstances { drill: self.drill, scenario: None };
        resolve(&self.world.plan, component, now)
    }

    fn blank(&self, component: &str) -> Rehearsed {
        let nothing = Timeline::default();
        Rehearsed {
            component: component.to_owned(),
            item: None,
            verdict: Verdict::Inconclusive,
            proof: Vec::new(),
            plans: Vec::new(),
            rto: judge(None, nothing.rto()),
            rpo: judge(None, nothing.rpo(None)),
            line: nothing,
            complete_up_to: None,
            t2: None,
            t3: None,
            t4: None,
            files: 0,
            bytes: 0,
            failure: None,
        }
    }

    /// A component for which there is nothing to restore has failed its drill.
    fn nothing_to(&self, component: &str, failure: &Failure) -> Rehearsed {
        let mut one = self.blank(component);
        one.failure = Some(failure.clone());
        self.judge(&mut one, false);
        one
    }

    fn evidence(
        &self,
        recipe: &RestoreRecipe,
        rehearsed: &[Rehearsed],
        verdict: Verdict,
        findings: &[String],
    ) -> Evidence {
        let world = self.world;
        let everything = || rehearsed.iter().map(|one| one.component.as_str()).collect::<Vec<_>>();
        let mut notes = findings.to_vec();
        notes.extend(rehearsed.iter().filter_map(|one| {
            one.failure.as_ref().map(|failure| format!("{}: {}", one.component, failure.line()))
        }));
        Evidence {
            format: evidence::FORMAT,
            kind: "drill".to_owned(),
            name: self.drill.map_or_else(|| everything().join(", "), str::to_owned),
            run: self.id.to_owned(),
            host: world.host.clone(),
            operator: world.operator.clone(),
            started: self.t0.wall,
            finished: world.clock.wall(),
            plan: PlanRef {
                name: world.plan.header.name.as_str().to_owned(),
                revision: world.revision.clone(),
            },
            recipe: recipe.sha256(),
            tools: BTreeMap::from([("lifeboat".to_owned(), world.version.clone())]),
            components: rehearsed.iter().map(|one| one.evidence(world)).collect(),
            ledger: None,
            verdict,
            notes,
        }
    }
}

fn span(from: Option<Start>, to: Option<Start>) -> Option<Duration> {
    Some(to?.monotonic.saturating_sub(from?.monotonic))
}

fn millis(value: &Value) -> Option<i64> {
    match value {
        Value::Known(span) => Some((span.seconds() * 1000.0).round() as i64),
        Value::Unknown(_) => None,
    }
}

fn measured(judged: &Judged) -> Measured {
    Measured {
        actual_seconds: millis(&judged.actual).map(|ms| ms as f64 / 1000.0),
        objective_seconds: judged.objective.as_ref().map(|o| o.limit.seconds()),
        rule: judged.objective.as_ref().map(|o| o.rule.to_string()),
        met: match judged.verdict {
            Judgement::Met => Met::Met,
            Judgement::Missed => Met::Missed,
            Judgement::Unknown => Met::Unknown,
            Judgement::Unset => Met::None,
        },
    }
}

impl Rehearsed {
    fn snapshot(&self) -> Option<String> {
        self.item.as_ref().map(|item| item.choice.chosen.snapshot.clone())
    }

    fn checks(&self) -> Vec<CheckResult> {
        self.proof.iter().chain(&self.plans).cloned().collect()
    }

    fn facts(&self, run: &Run<'_>, rows: &[SnapshotRow]) -> Vec<Fact> {
        let mut facts = vec![Fact::Drill(DrillFact {
            id: run.id.to_owned(),
            component: self.component.clone(),
            drill: run.drill.map(str::to_owned),
            time: run.t0.wall,
            verdict: self.verdict,
            rto_ms: millis(&self.rto.actual),
            rpo_ms: millis(&self.rpo.actual),
        })];
        if let (Some(snapshot), false) = (self.snapshot(), self.proof.is_empty()) {
            let verdict = Verdict::of(self.proof.iter().map(|check| check.verdict));
            if rows.iter().any(|row| row.id == snapshot) {
                facts.push(Fact::Verified(VerifiedFact {
                    snapshot,
                    time: run.world.clock.wall(),
                    asked: Level::V4,
                    level: (verdict == Verdict::Pass).then_some(Level::V4),
                    verdict,
                }));
            }
        }
        facts
    }

    fn evidence(&self, world: &World) -> ComponentEvidence {
        let stage = |name: &str, from: Option<Start>, to: Option<Start>, verdict| {
            Some(Stage {
                name: name.to_owned(),
                started: from?.wall,
                took_ms: u64::try_from(span(from, to)?.as_millis()).unwrap_or(u64::MAX),
                verdict,
                note: None,
            })
        };
        let proof = Verdict::of(self.proof.iter().map(|check| check.verdict));
        let restored = if self.failure.is_some() { Verdict::Fail } else { Verdict::Pass };
        ComponentEvidence {
            component: self.component.clone(),
            tier: world.tier.name.clone(),
            snapshot: self.snapshot(),
            why: self.item.as_ref().map(|item| item.choice.why.clone()),
            stages: [
                stage("restore", self.t2, self.t3, restored),
                stage("verify", self.t3, self.t4, proof),
            ]
            .into_iter()
            .flatten()
            .collect(),
            checks: self.checks(),
            rto: self.rto.clone(),
            rpo: self.rpo.clone(),
            verdict: self.verdict,
        }
    }

    fn report(self) -> ComponentDrill {
        let t0 = self.line.detected.as_ref().map(|moment| moment.wall).unwrap_or_default();
        let (rto, rpo) = (measured(&self.rto), measured(&self.rpo));
        ComponentDrill {
            snapshot: self.snapshot(),
            checks: self.checks(),
            component: self.component,
            complete_up_to: self.complete_up_to,
            verdict: self.verdict,
            times: Times {
                t0,
                t2: self.t2.map(|start| start.wall),
                t3: self.t3.map(|start| start.wall),
                t4: self.t4.map(|start| start.wall),
                restore_seconds: span(self.t2, self.t3).map(seconds),
                verify_seconds: span(self.t3, self.t4).map(seconds),
            },
            rto_seconds: rto.actual_seconds,
            rpo_seconds: rpo.actual_seconds,
            rto,
            rpo,
            bytes: self.bytes,
            files: self.files,
            error: self.failure.as_ref().map(DrillFailure::from),
        }
    }
}
