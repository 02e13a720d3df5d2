//! The end of a demonstration: what the scenes left, put together and judged.

use std::time::Duration;

use lifeboat_model::exit::Exit;
use lifeboat_model::verdict::Verdict;
use lifeboat_recovery::report::VerifyReport;

use super::measure;
use super::scenes::Scenes;
use super::story::{Point, Proof, Row, Story};
use crate::fault::{Fault, Outcome};
use crate::text;

impl Scenes<'_> {
    /// Closes the shop and puts the story together.
    pub fn tell(mut self) -> Outcome<Story> {
        if let Some(shop) = self.shop.take() {
            let told = shop
                .stop()
                .map_err(|error| Fault::caused(Exit::Failed, "cannot close the shop", &error))?;
            self.orders.extend(told.orders);
        }
        self.spinner.finish_and_clear();
        let missing = || Fault::new(Exit::Failed, "the demonstration is not complete");
        let proof = self.proof.ok_or_else(missing)?;
        let components = self.rows(&proof);
        let verdicts = self.steps.iter().map(|step| step.verdict);
        let verdict = Verdict::of(verdicts.chain(components.iter().map(|row| row.verdict)));
        let damaged = self.began + Duration::from_secs_f64(self.times.damaged);
        let writer = measure::writer(&self.orders, &self.backups, self.began, damaged);
        Ok(Story {
            verdict: if measure::stalled(&writer) { Verdict::Fail } else { verdict },
            started: self.started,
            seconds: self.now(),
            components,
            clock: self.times,
            writer,
            proof,
            points: worst_points(&self.verification.take().ok_or_else(missing)?),
            drill: self.drill.take().ok_or_else(missing)?,
            tampering: self.tampering.take().ok_or_else(missing)?,
            ledger: self.ledger.take().ok_or_else(missing)?,
            steps: self.steps,
            page: self.ground.page().display().to_string(),
            kept: self.ground.keep.then(|| self.ground.folder().display().to_string()),
        })
    }

    /// The table: what each component lost, and how it did against its objectives.
    fn rows(&self, proof: &Proof) -> Vec<Row> {
        let plan = &self.wired.file.plan;
        let rto_objective = plan.header.rto.as_ref().map(|span| span.seconds());
        let rpo_objective = plan.header.rpo.as_ref().map(|span| span.seconds());
        let restored = self.restore.iter().flat_map(|report| &report.components);
        restored
            .map(|component| {
                let database = component.component == "orders";
                let back = if database { self.times.t5 } else { self.times.t4 };
                let rto = Some(back - self.times.t0).filter(|rto| *rto >= 0.0);
                let rpo = component
                    .complete_up_to
                    .map(|point| measure::seconds_between(point, self.noticed_at));
                let within = |actual: Option<f64>, limit: Option<f64>| {
                    matches!((actual, limit), (Some(actual), Some(limit)) if actual <= limit)
                };
                let sound = if database { proof.holds() } else { proof.photos_wrong == 0 };
                let held = component.verdict == Verdict::Pass
                    && sound
                    && within(rto, rto_objective)
                    && within(rpo, rpo_objective);
                Row {
                    component: component.component.clone(),
                    lost: match component.component.as_str() {
                        "orders" => text::plural(proof.lost, "order", "orders"),
                        "media" if proof.photos_wrong > 0 => {
                            text::plural(proof.photos_wrong, "photograph", "photographs")
                        }
                        _ => "nothing".into(),
                    },
                    rto_seconds: rto,
                    rto_objective_seconds: rto_objective,
                    rpo_seconds: rpo,
                    rpo_objective_seconds: rpo_objective,
                    verdict: if held { Verdict::Pass } else { Verdict::Fail },
                }
            })
            .collect()
    }
}

/// Of each of the ten points the verdict over all snapshots, with what was found: once where all
/// say the same.
fn worst_points(report: &VerifyReport) -> Vec<Point> {
    let restored: Vec<_> = report.snapshots.iter().filter(|it| it.restored).collect();
    let Some(first) = restored.first() else { return Vec::new() };
    let of = |number: u8| {
        restored.iter().filter_map(move |snapshot| {
            let point = snapshot.points.iter().find(|point| point.number == number)?;
            Some((snapshot.component.as_str(), point))
        })
    };
    first
        .points
        .iter()
        .map(|point| {
            let same = of(point.number).all(|(_, other)| other.found == point.found);
            let each: Vec<String> = of(point.number)
                .map(|(component, other)| format!("{component}: {}", other.found))
                .collect();
            Point {
                number: point.number,
                name: point.name.clone(),
                verdict: Verdict::of(of(point.number).map(|(_, other)| other.verdict)),
                found: if same { point.found.clone() } else { each.join(" · ") },
            }
        })
        .collect()
}
