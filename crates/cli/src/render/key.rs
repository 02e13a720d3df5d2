//! `key add` and `key rotate`.

use lifeboat_recovery::report::{KeyReport, KeyTier, ListedKey, Successor};

use super::{short, tier, warnings, when};
use crate::screen::Screen;
use crate::text;

/// What became of the keys, tier by tier, and what is left to do.
pub fn key(report: &KeyReport, screen: &Screen) -> String {
    let mut out = String::new();
    for one in &report.tiers {
        out.push_str(&of_tier(report, one, screen));
    }
    if let Some(new) = &report.successor {
        out.push_str(&successor(report, new, screen));
    }
    out.push_str(&warnings(screen, &report.warnings));
    if report.dry_run {
        out.push_str(&screen.dim("nothing was changed\n"));
    }
    if !report.next.is_empty() {
        out.push_str("then, by hand:\n");
        for (number, step) in report.next.iter().enumerate() {
            out.push_str(&format!("  {}. {step}\n", number + 1));
        }
    }
    out
}

fn of_tier(report: &KeyReport, one: &KeyTier, screen: &Screen) -> String {
    let what = match (&one.key, one.already, report.dry_run) {
        (Some(key), true, _) => format!("the new key opens it already ({})", short(key)),
        (Some(key), false, _) => format!("the new key opens it ({})", short(key)),
        (None, ..) => "the new key would be added".to_owned(),
    };
    let mut out = format!("{}: {what}", tier(&one.tier));
    if !one.removed.is_empty() {
        let verb = if report.dry_run { "would be removed" } else { "is removed" };
        let keys: Vec<&str> = one.removed.iter().map(|key| short(key)).collect();
        out.push_str(&format!("; the old one {verb} ({})", keys.join(", ")));
    }
    out.push('\n');
    for other in &one.others {
        out.push_str(&format!("{} {}\n", screen.yellow("!"), another(other, report)));
    }
    out
}

fn another(other: &ListedKey, report: &KeyReport) -> String {
    let made =
        other.created.map_or_else(|| "at an unknown time".to_owned(), |at| when(at, &report.head));
    match &other.damage {
        None => format!(
            "key {} opens it too: made by {} on {}, {made}",
            short(&other.key),
            other.user,
            other.host
        ),
        Some(damage) => format!("key {} cannot be read: {damage}", short(&other.key)),
    }
}

fn successor(report: &KeyReport, new: &Successor, screen: &Screen) -> String {
    let would = if report.dry_run { "would be " } else { "" };
    let count = text::plural(new.copied, "snapshot", "snapshots");
    let mut out = format!(
        "{}: a vault with another master key; {count} {would}sealed anew ({})",
        tier(&new.tier),
        text::size(new.bytes)
    );
    if new.present > 0 {
        out.push_str(&format!("; {} there already", text::count(new.present)));
    }
    out.push('\n');
    for one in &new.left_out {
        let component = one.component.as_deref().unwrap_or("-");
        let why = one.why.iter().take(3).cloned().collect::<Vec<_>>().join("; ");
        let id = short(&one.snapshot);
        out.push_str(&format!(
            "{} {component}: {id} is not copied: {why}\n",
            screen.red("\u{2717}")
        ));
    }
    for old in &new.on_hold {
        let verb = if report.dry_run { "would be put" } else { "is" };
        out.push_str(&format!("{}: {verb} on hold, it can be read and nothing else\n", tier(old)));
    }
    out
}
