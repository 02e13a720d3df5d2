//! `list`.

use lifeboat_model::verdict::Verdict;
use lifeboat_recovery::journal::HandedOver;
use lifeboat_recovery::report::{ListReport, ListedJournal, ListedSnapshot};

use super::{short, tier, warnings, when};
use crate::screen::{Look, Screen};
use crate::text;

/// Snapshots, newest first.
pub fn list(report: &ListReport, screen: &Screen) -> String {
    let mut out = String::new();
    if report.snapshots.is_empty() {
        out.push_str(&format!("no snapshots in {}\n", tier(&report.tier)));
        out.push_str(&journals(report, screen));
        return out + &warnings(screen, &report.warnings);
    }
    let mut grid = screen.table(&["snapshot", "component", "taken", "size", "host", "level", ""]);
    for snapshot in &report.snapshots {
        let (remark, look) = remark(snapshot);
        grid.row(&[
            (short(&snapshot.snapshot), Look::Plain),
            (snapshot.component.as_deref().unwrap_or("-"), Look::Name),
            (&when(snapshot.time, &report.head), Look::Plain),
            (&snapshot.bytes.map_or_else(|| "-".into(), text::size), Look::Number),
            (&snapshot.host, Look::Plain),
            (snapshot.level.as_deref().unwrap_or("-"), Look::Plain),
            (&remark, look),
        ]);
    }
    out.push_str(&grid.text());
    out.push_str(&journals(report, screen));
    out.push_str(&warnings(screen, &report.warnings));
    out.push_str(&screen.dim(&format!(
        "{} in {}\n",
        text::plural(report.snapshots.len() as u64, "snapshot", "snapshots"),
        tier(&report.tier)
    )));
    out
}

/// The windows of the journals, and what is lost between them.
fn journals(report: &ListReport, screen: &Screen) -> String {
    let handed: String = report.journals.iter().flat_map(handed_over).collect();
    if report.journals.iter().all(|journal| journal.survey.windows.is_empty()) {
        return handed;
    }
    let mut grid =
        screen.table(&["journal", "any point from", "to", "place", "records", "size", ""]);
    let mut gaps = String::new();
    for journal in &report.journals {
        for window in &journal.survey.windows {
            let until = window.until.map_or_else(|| "-".into(), |until| when(until, &report.head));
            let place = format!("{} {}", window.lineage, window.to);
            let remark = if window.main { "" } else { "beside the way" };
            grid.row(&[
                (journal.component.as_str(), Look::Name),
                (&when(window.since, &report.head), Look::Plain),
                (&until, Look::Plain),
                (&place, Look::Plain),
                (&text::count(window.records), Look::Number),
                (&text::size(window.bytes), Look::Number),
                (remark, Look::Doubt),
            ]);
        }
        for gap in &journal.survey.gaps {
            gaps.push_str(&format!(
                "{} {}: {} from {} to {} (found {}): {}\n",
                screen.red("✗"),
                journal.component,
                // What the server handed over may cover it.
                if journal.survey.handed.is_empty() { "lost for ever" } else { "not streamed" },
                gap.from,
                gap.to,
                text::time(gap.time),
                gap.why
            ));
        }
    }
    format!("\n{}{gaps}{handed}", grid.text())
}

/// What the servers of a component handed over.
fn handed_over(journal: &ListedJournal) -> Vec<String> {
    let component = &journal.component;
    let line = |log: &HandedOver| {
        format!(
            "{component}: {} of log {} handed over by the server ({}), the newest segment {}\n",
            text::plural(log.files, "file", "files"),
            log.lineage,
            text::size(log.bytes),
            log.newest.as_deref().unwrap_or("none"),
        )
    };
    journal.survey.handed.iter().map(line).collect()
}

/// What sets a snapshot apart.
fn remark(snapshot: &ListedSnapshot) -> (String, Look) {
    let failed = snapshot.verdict.is_some_and(|verdict| verdict == Verdict::Fail);
    let hold = snapshot.hold.as_ref().map(|why| format!("on hold: {why}"));
    let words: Vec<&str> = [
        (failed, "failed its verification"),
        (snapshot.partial, "partial"),
        (snapshot.foreign, "foreign"),
        (hold.is_some(), hold.as_deref().unwrap_or_default()),
    ]
    .into_iter()
    .filter_map(|(holds, word)| holds.then_some(word))
    .collect();
    let look = if failed { Look::Bad } else { Look::Doubt };
    (words.join(", "), look)
}
