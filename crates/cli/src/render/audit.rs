//! `audit log` and `audit verify`.

use lifeboat_recovery::report::{AuditLogReport, AuditVerifyReport, FindingKind};

use super::warnings;
use crate::screen::{Look, Screen};
use crate::text;

/// The ledger's newest entries, newest last.
pub fn audit_log(report: &AuditLogReport, screen: &Screen) -> String {
    if report.entries.is_empty() {
        return format!("the ledger is empty\n{}", warnings(screen, &report.warnings));
    }
    let mut grid = screen.table(&["entry", "time", "operator", "action", "object", "outcome", ""]);
    for entry in &report.entries {
        let look = match entry.outcome.as_str() {
            "failed" => Look::Bad,
            "started" => Look::Faint,
            _ => Look::Plain,
        };
        grid.row(&[
            (entry.seq.to_string().as_str(), Look::Number),
            (&text::time(entry.time), Look::Plain),
            (&entry.operator, Look::Plain),
            (&entry.action, Look::Name),
            (&entry.object, Look::Plain),
            (&entry.outcome, look),
            (if entry.shipped { "" } else { "not in a tier yet" }, Look::Doubt),
        ]);
    }
    let mut out = grid.text();
    for action in &report.interrupted {
        out.push_str(&format!(
            "{} interrupted: entry {} {} {} was started at {} and never finished\n",
            screen.yellow("!"),
            action.seq,
            action.action,
            action.object,
            text::time(action.time)
        ));
    }
    out + &warnings(screen, &report.warnings)
}

/// What the ledger proves.
pub fn audit_verify(report: &AuditVerifyReport, screen: &Screen) -> String {
    let mut out = format!(
        "ledger of {}: {}  {}\n",
        report.chain,
        text::plural(report.entries, "entry", "entries"),
        screen.verdict(report.verdict)
    );
    for sentence in &report.statement {
        out.push_str(&format!("  {sentence}\n"));
    }
    for anchor in &report.anchors {
        if let Some(error) = &anchor.error {
            out.push_str(&super::failure(screen, &format!("tier {}", anchor.tier), error));
        }
    }
    if let Some(key) = &report.key {
        let trust = match (report.key_given, report.key_trusted) {
            (_, true) => "as given",
            (true, false) => "not the one given",
            (false, false) => "not compared to a given one",
        };
        out.push_str(&format!("  signing key {key} ({trust})\n"));
    }
    for finding in &report.findings {
        let mark =
            if finding.kind == FindingKind::Note { screen.dim("·") } else { screen.red("✗") };
        let entry = finding.seq.map_or_else(String::new, |seq| format!(" entry {seq}"));
        out.push_str(&format!("{mark} {}{entry}: {}\n", finding.place, finding.what));
    }
    out
}
