//! What became of a drill's components: as report, as facts, as evidence.

use std::collections::BTreeMap;
use std::time::Duration;

use lifeboat_model::chain::{ComponentEvidence, Evidence, PlanRef, Stage};
use lifeboat_model::check::CheckResult;
use lifeboat_model::measure::{Judged, Judgement, Measured as Value, Timeline};
use lifeboat_model::recipe::{RestoreItem, RestoreRecipe};
use lifeboat_model::verdict::Verdict;

use super::run::Run;
use crate::catalog::SnapshotRow;
use crate::env::World;
use crate::facts::{DrillFact, Fact, Level, VerifiedFact};
use crate::ledger::evidence;
use crate::report::{
    ComponentDrill, DrillFailure, DrilledPoint, Failure, Measured, Met, Times, WayReport, seconds,
};
use crate::session::Start;

/// What became of one component.
pub(super) struct Rehearsed {
    pub(super) component: String,
    pub(super) item: Option<RestoreItem>,
    pub(super) verdict: Verdict,
    pub(super) proof: Vec<CheckResult>,
    pub(super) plans: Vec<CheckResult>,
    pub(super) line: Timeline,
    pub(super) complete_up_to: Option<jiff::Timestamp>,
    pub(super) t2: Option<Start>,
    pub(super) t3: Option<Start>,
    pub(super) t4: Option<Start>,
    pub(super) rto: Judged,
    pub(super) rpo: Judged,
    pub(super) files: u64,
    pub(super) bytes: u64,
    pub(super) way: Option<WayReport>,
    pub(super) points: Vec<DrilledPoint>,
    pub(super) failure: Option<Failure>,
}

impl Run<'_> {
    pub(super) fn evidence(
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

/// The rehearsal of an older point.
fn older_stage(point: &DrilledPoint) -> Stage {
    let way = point.way.as_ref().map(WayReport::line);
    let error = point.error.as_ref().map(|error| error.message.clone());
    let note: Vec<String> = way.into_iter().chain(error).collect();
    Stage {
        name: format!("restore to {}", point.at),
        started: point.started,
        took_ms: (point.seconds * 1000.0) as u64,
        verdict: point.verdict,
        note: (!note.is_empty()).then(|| note.join("; ")),
    }
}

fn older_checks(points: &[DrilledPoint]) -> impl Iterator<Item = CheckResult> {
    points.iter().flat_map(|point| {
        point.checks.iter().map(|check| {
            let name = format!("at {}: {}", point.at, check.name);
            CheckResult { name, ..check.clone() }
        })
    })
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

    pub(super) fn facts(&self, run: &Run<'_>, rows: &[SnapshotRow]) -> Vec<Fact> {
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
        let own = (self.snapshot(), &self.way, Verdict::of(self.proof.iter().map(|c| c.verdict)));
        let older = self.points.iter().map(|p| (p.snapshot.clone(), &p.way, p.verdict));
        for (snapshot, way, verdict) in std::iter::once(own).chain(older) {
            if let (Some(snapshot), Some(way), Verdict::Pass) = (snapshot, way, verdict) {
                let now = run.world.clock.wall();
                facts.extend(way.fact(&self.component, &snapshot, now).map(Fact::Recovered));
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
                stage("restore", self.t2, self.t3, restored)
                    .map(|stage| Stage { note: self.way.as_ref().map(WayReport::line), ..stage }),
                stage("verify", self.t3, self.t4, proof),
            ]
            .into_iter()
            .flatten()
            .chain(self.points.iter().map(older_stage))
            .collect(),
            checks: self.checks().into_iter().chain(older_checks(&self.points)).collect(),
            rto: self.rto.clone(),
            rpo: self.rpo.clone(),
            verdict: self.verdict,
        }
    }

    pub(super) fn report(self) -> ComponentDrill {
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
            way: self.way,
            points: self.points,
            error: self.failure.as_ref().map(DrillFailure::from),
        }
    }
}
