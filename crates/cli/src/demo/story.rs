//! What happened in a demonstration: measured values only. Text, page and JSON are made of it.

use jiff::Timestamp;
use lifeboat_model::verdict::Verdict;
use serde::Serialize;

use crate::screen::{Look, Screen};
use crate::text;

/// A whole demonstration.
#[derive(Debug, Clone, Serialize)]
pub struct Story {
    /// Pass only if every step held and every component met its objectives.
    pub verdict: Verdict,
    /// Wall time at the start.
    pub started: Timestamp,
    /// How long it took, seconds.
    pub seconds: f64,
    /// One row a component.
    pub components: Vec<Row>,
    /// What was done, in order.
    pub steps: Vec<Step>,
    /// The clock of the recovery.
    pub clock: Times,
    /// The application's side.
    pub writer: Writer,
    /// What was compared after the recovery.
    pub proof: Proof,
    /// The ten points of the verification, worst of all snapshots.
    pub points: Vec<Point>,
    /// The rehearsal.
    pub drill: Rehearsal,
    /// The flipped byte.
    pub tampering: Tampering,
    /// The ledger.
    pub ledger: Ledger,
    /// The page of the same.
    pub page: String,
    /// The folder with application, tier and key, if it was kept.
    pub kept: Option<String>,
}

/// A component's row in the table.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    /// Component name.
    pub component: String,
    /// What was lost, in words.
    pub lost: String,
    /// From detection until it was back, seconds.
    pub rto_seconds: Option<f64>,
    /// Allowed, seconds.
    pub rto_objective_seconds: Option<f64>,
    /// From the instant up to which the copy is complete until detection, seconds.
    pub rpo_seconds: Option<f64>,
    /// Allowed, seconds.
    pub rpo_objective_seconds: Option<f64>,
    /// Pass if restored, equal and within both objectives.
    pub verdict: Verdict,
}

/// One step on the timeline.
#[derive(Debug, Clone, Serialize)]
pub struct Step {
    /// One word: `backup`, `damage` …
    pub name: &'static str,
    /// What came of it, one sentence with its numbers.
    pub what: String,
    /// Begin, seconds since the start.
    pub from: f64,
    /// End, seconds since the start.
    pub to: f64,
    /// Whether it held.
    pub verdict: Verdict,
}

/// The instants of the recovery, seconds since the start.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Times {
    /// The damage was done.
    pub damaged: f64,
    /// T0: the application noticed.
    pub t0: f64,
    /// T1: declared; here by the program itself.
    pub t1: f64,
    /// T2: recovery started.
    pub t2: f64,
    /// T4: data back, verified and in place.
    pub t4: f64,
    /// T5: the first new order was acknowledged.
    pub t5: f64,
    /// The instant up to which the restored database is complete.
    pub complete_up_to: f64,
}

/// The application while it was watched.
#[derive(Debug, Clone, Serialize)]
pub struct Writer {
    /// Orders acknowledged in all.
    pub orders: u64,
    /// Orders a second before the damage.
    pub orders_per_second: f64,
    /// Longest transaction while no backup ran, milliseconds.
    pub longest_quiet_ms: f64,
    /// Longest transaction during a backup, milliseconds.
    pub longest_backup_ms: f64,
    /// 99th percentile during a backup, milliseconds.
    pub p99_backup_ms: f64,
    /// Orders in each tenth of a second since the start.
    #[serde(skip)]
    pub tenths: Vec<u32>,
}

/// What was counted in the recovered application.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Proof {
    /// Orders in the restored database.
    pub orders: u64,
    /// Orders acknowledged before the restored capture began: none of them may be missing.
    pub promised: u64,
    /// Orders with missing lines or a wrong sum.
    pub broken: u64,
    /// True if the till agrees with the orders.
    pub till_agrees: bool,
    /// Orders acknowledged to customers and gone.
    pub lost: u64,
    /// Photographs compared byte for byte.
    pub photos: u64,
    /// Photographs missing or different.
    pub photos_wrong: u64,
}

/// One of the ten points, over all snapshots.
#[derive(Debug, Clone, Serialize)]
pub struct Point {
    /// 1 to 10.
    pub number: u8,
    /// Its name.
    pub name: String,
    /// The worst verdict.
    pub verdict: Verdict,
    /// What was found.
    pub found: String,
}

/// The drill.
#[derive(Debug, Clone, Serialize)]
pub struct Rehearsal {
    /// Its verdict.
    pub verdict: Verdict,
    /// Checks that passed.
    pub passed: u64,
    /// Checks in all.
    pub checks: u64,
    /// The longest recovery time of a component, seconds.
    pub rto_seconds: Option<f64>,
    /// The signed evidence.
    pub evidence: Option<String>,
}

/// The flipped byte.
#[derive(Debug, Clone, Serialize)]
pub struct Tampering {
    /// The object that was changed.
    pub object: String,
    /// Which byte.
    pub offset: u64,
    /// What `verify` said about it.
    pub said: String,
    /// Snapshots that it named as concerned.
    pub snapshots: u64,
    /// True if verify passed again after the byte was put back.
    pub healed: bool,
}

/// The ledger.
#[derive(Debug, Clone, Serialize)]
pub struct Ledger {
    /// Its verdict.
    pub verdict: Verdict,
    /// Entries.
    pub entries: u64,
    /// What it can prove, in sentences.
    pub statement: Vec<String>,
}

impl Proof {
    /// True if nothing that was promised is missing and nothing is half there.
    pub fn holds(&self) -> bool {
        self.orders > 0
            && self.promised > 0
            && self.orders >= self.promised
            && self.broken == 0
            && self.till_agrees
            && self.photos_wrong == 0
    }
}

impl Story {
    /// The story as text.
    pub fn text(&self, screen: &Screen) -> String {
        let mut out = String::new();
        out.push_str(&format!(
            "{}\n\n",
            screen.bold("A print shop with a live database: protected, destroyed, recovered.")
        ));
        for step in &self.steps {
            let mark = match step.verdict {
                Verdict::Pass => screen.green("✓"),
                Verdict::Fail => screen.red("✗"),
                Verdict::Inconclusive | Verdict::Skipped => screen.yellow("?"),
            };
            let time = screen.dim(&format!("{:>5.1}s", step.from));
            let name = screen.bold(&format!("{:<9}", step.name));
            out.push_str(&format!("{time} {mark} {name} {}\n", step.what));
        }
        out.push('\n');
        out.push_str(&self.table(screen));
        out.push_str(&format!(
            "\n{} in {}   page: {}\n",
            screen.verdict(self.verdict),
            text::seconds(self.seconds),
            self.page
        ));
        if let Some(kept) = &self.kept {
            out.push_str(&format!("kept: {kept}\n"));
        }
        out
    }

    fn table(&self, screen: &Screen) -> String {
        let mut grid = screen.table(&[
            "component",
            "lost",
            "RTO actual / objective",
            "RPO actual / objective",
            "verdict",
        ]);
        for row in &self.components {
            grid.row(&[
                (row.component.as_str(), Look::Name),
                (row.lost.as_str(), Look::Plain),
                (&actual(row.rto_seconds, row.rto_objective_seconds), Look::Plain),
                (&actual(row.rpo_seconds, row.rpo_objective_seconds), Look::Plain),
                (row.verdict.word(), Look::of(row.verdict)),
            ]);
        }
        grid.text()
    }
}

/// `1.2s / 2m`; what is not known is said to be unknown.
pub fn actual(actual: Option<f64>, objective: Option<f64>) -> String {
    format!(
        "{} / {}",
        actual.map_or_else(|| "unknown".into(), text::seconds),
        objective.map_or_else(|| "none".into(), text::seconds)
    )
}

#[cfg(test)]
pub mod tests {
    use super::*;

    fn rows() -> Vec<Row> {
        let row = |component: &str, lost: &str, rto, rpo| Row {
            component: component.to_owned(),
            lost: lost.to_owned(),
            rto_seconds: Some(rto),
            rto_objective_seconds: Some(120.0),
            rpo_seconds: Some(rpo),
            rpo_objective_seconds: Some(300.0),
            verdict: Verdict::Pass,
        };
        vec![
            row("orders", "612 orders, 0.8s", 1.2, 0.8),
            row("media", "nothing", 1.0, 0.7),
            row("settings", "nothing", 1.0, 0.7),
        ]
    }

    fn steps() -> Vec<Step> {
        let step = |name, what: &str, from, to| Step {
            name,
            what: what.to_owned(),
            from,
            to,
            verdict: Verdict::Pass,
        };
        vec![
            step("open", "a print shop sells 48 photographs, 812 orders a second", 0.0, 1.4),
            step("backup", "first: 3 components, 16 MiB read, 14 MiB stored", 1.4, 1.9),
            step("backup", "second: 48 of 49 files unchanged, 312 KiB stored", 3.0, 3.2),
            step("verify", "3 snapshots restored and compared: 10 of 10 points", 3.2, 5.1),
            step("damage", "database overwritten, photographs deleted; noticed", 6.1, 6.2),
            step("restore", "in place, the old state kept; open again after 1.2s", 6.3, 7.4),
            step("compare", "2,412 orders, each whole; 48 photographs equal", 7.4, 7.6),
            step("drill", "passed: 14 checks, RTO 0.8s", 7.6, 9.2),
            step("tamper", "one byte flipped: verify named the object", 9.2, 11.8),
            step("audit", "14 entries, the chain is whole", 11.8, 12.0),
        ]
    }

    /// A story with plausible numbers, to look at the page without running anything.
    pub fn example() -> Story {
        let tenths = (0..132)
            .map(|at| if (62..74).contains(&at) { 0 } else { 78 + (at * 7919 % 17) as u32 })
            .collect();
        Story {
            verdict: Verdict::Pass,
            started: "2026-11-21T09:41:00Z".parse().unwrap(),
            seconds: 13.2,
            components: rows(),
            steps: steps(),
            clock: Times {
                damaged: 6.1,
                t0: 6.2,
                t1: 6.21,
                t2: 6.3,
                t4: 7.3,
                t5: 7.4,
                complete_up_to: 5.4,
            },
            writer: Writer {
                orders: 9123,
                orders_per_second: 812.0,
                longest_quiet_ms: 3.1,
                longest_backup_ms: 4.2,
                p99_backup_ms: 1.1,
                tenths,
            },
            proof: Proof {
                orders: 2412,
                promised: 2400,
                broken: 0,
                till_agrees: true,
                lost: 612,
                photos: 48,
                photos_wrong: 0,
            },
            points: (1..=10)
                .map(|number| Point {
                    number,
                    name: "all tables present".into(),
                    verdict: Verdict::Pass,
                    found: "4 of 4".into(),
                })
                .collect(),
            drill: Rehearsal {
                verdict: Verdict::Pass,
                passed: 14,
                checks: 14,
                rto_seconds: Some(0.8),
                evidence: Some("drill-20261121-094107".into()),
            },
            tampering: Tampering {
                object: "data/3f/3f21b0".into(),
                offset: 4711,
                said: "data/3f/3f21b0 is damaged: its content does not match its name".into(),
                snapshots: 2,
                healed: true,
            },
            ledger: Ledger {
                verdict: Verdict::Pass,
                entries: 14,
                statement: vec!["anchored up to entry 14 in tier local".into()],
            },
            page: "demo/report.html".into(),
            kept: None,
        }
    }

    #[test]
    fn the_story_reads_as_a_story() {
        let screen = Screen::new(false, true, true);
        insta::assert_snapshot!(example().text(&screen));
    }
}
