//! The proof of one snapshot: levels V1 to V4 and the 10-point report (CSO-82).

use lifeboat_model::check::CheckResult;
use lifeboat_model::manifest::{Content, Manifest};
use lifeboat_model::report::{Point, Subject, TenPoints, size_plausible};
use lifeboat_model::verdict::Verdict;

use super::point::subject;
use super::way::to_fingerprints;
use crate::catalog::SnapshotRow;
use crate::env::World;
use crate::error::{Error, Result, ends_run};
use crate::facts::{Level, VerifiedFact};
use crate::prove::{Places, Subject as Restored, bytes_described, bytes_needed, restore_copy};
use crate::recover::Way;
use crate::report::{Failure, SnapshotVerification, seconds};
use crate::session::Start;
use crate::staging::Staging;
use crate::tier::OpenTier;

/// What reading the stored objects said about one snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stored {
    /// Every object that it needs was read in full and is sound.
    Whole,
    /// Every object that it needs is there; the data was not read.
    Present,
    /// Not looked at by itself: the restore reads all that it needs.
    NotChecked,
    /// An object that it needs is damaged or missing.
    Damaged(String),
}

/// A finished proof.
pub struct Proof {
    /// For the report.
    pub verification: SnapshotVerification,
    /// For the ledger and the catalog.
    pub fact: VerifiedFact,
}

/// What is known when the points are filled in.
#[derive(Default)]
struct Known {
    manifest: Option<Manifest>,
    size: Option<u64>,
    restored: Option<CheckResult>,
    structure: Vec<CheckResult>,
    content: Vec<CheckResult>,
    /// What the capture had to leave out.
    partial: Option<CheckResult>,
    error: Option<Failure>,
    /// Why its content was not compared with what was taken of production for that.
    not_compared: Option<String>,
    /// The error is damage, not a lack of means.
    damage: bool,
}

/// Proves a snapshot. `restore` goes on to V3 and V4 in a scratch folder.
pub fn prove(
    world: &World,
    tier: &OpenTier,
    row: &SnapshotRow,
    rows: &[SnapshotRow],
    stored: &Stored,
    restore: bool,
) -> Result<Proof> {
    let start = world.start();
    let mut known = Known::default();
    if !matches!(stored, Stored::Damaged(_)) || restore {
        match gather(world, tier, row, restore, &mut known) {
            Err(error) if ends_run(&error) => return Err(error),
            Err(error) => {
                known.damage = is_damage(&error);
                known.error = Some(Failure::of(&error));
            }
            Ok(()) => {}
        }
    }
    Ok(conclude(world, start, row, rows, stored, restore, known))
}

fn is_damage(error: &Error) -> bool {
    use lifeboat_vault::Error as Vault;
    matches!(
        error,
        Error::Manifest { .. } | Error::Vault(Vault::Damaged { .. } | Vault::NotFound { .. })
    )
}

fn gather(
    world: &World,
    tier: &OpenTier,
    row: &SnapshotRow,
    restore: bool,
    known: &mut Known,
) -> Result<()> {
    let component = row.component.as_deref().unwrap_or_default();
    let mut subject = subject(tier, component, &row.id, row.partial)?;
    known.partial = subject.partial.clone();
    known.manifest = Some(subject.manifest.clone());
    known.size = Some(bytes_described(&subject.manifest));
    if !restore {
        return Ok(());
    }
    (subject.way, known.not_compared) = to_fingerprints(world, tier, &subject.manifest)?;
    let along = subject.way.log.is_some();
    let looked = match look(world, &subject) {
        Err(error) if along && !ends_run(&error) => {
            // The journal is judged by itself: what it cannot do says nothing of the snapshot.
            let why = Failure::of(&error).line();
            known.not_compared = Some(format!("the way to its fingerprints is of no use: {why}"));
            subject.way = Way::base();
            look(world, &subject)
        }
        looked => looked,
    };
    let (complete, structure, content) = looked?;
    known.restored = Some(complete);
    known.structure = structure;
    known.content = content;
    Ok(())
}

type Looked = (CheckResult, Vec<CheckResult>, Vec<CheckResult>);

/// Restores it into a scratch folder, along its way, and looks at it.
fn look(world: &World, subject: &Restored<'_>) -> Result<Looked> {
    let scratch = world.state.make("scratch")?;
    super::point::preflight(world, &scratch, bytes_needed(&subject.manifest))?;
    let staging = Staging::make(&world.state, &scratch, "verify-", "verification")?;
    let places = Places { folder: staging.data(), scratch: &staging.scratch() };
    let judged = restore_copy(world, subject, None, places).and_then(|copy| {
        let (structure, content) = copy.examine();
        copy.settle()?;
        Ok((copy.complete.clone(), structure, content))
    });
    staging.remove()?;
    // What a stop cut short was not judged.
    world.stop_if_cancelled()?;
    judged
}

/// The sizes of earlier snapshots of the same component, oldest first.
fn earlier_sizes(row: &SnapshotRow, rows: &[SnapshotRow]) -> Vec<u64> {
    let before = |r: &&SnapshotRow| {
        r.component == row.component && r.id != row.id && r.time < row.time && !r.foreign()
    };
    let mut sizes: Vec<u64> = rows.iter().filter(before).filter_map(|r| r.bytes).collect();
    sizes.reverse();
    sizes
}

fn conclude(
    world: &World,
    start: Start,
    row: &SnapshotRow,
    rows: &[SnapshotRow],
    stored: &Stored,
    restore: bool,
    known: Known,
) -> Proof {
    let asked = match (restore, stored) {
        (true, _) => Level::V4,
        (false, Stored::Whole | Stored::Damaged(_)) => Level::V2,
        (false, Stored::Present | Stored::NotChecked) => Level::V1,
    };
    let points = points(stored, &known);
    let stored_verdict = points.verdict_up_to(asked as u8);
    let verdict =
        Verdict::of([stored_verdict].into_iter().chain(known.partial.iter().map(|c| c.verdict)));
    let level = points.level().and_then(|level| Level::from_number(level.into()));
    let mut lines = points.lines();
    let implausible = known.size.and_then(|bytes| {
        let earlier = earlier_sizes(row, rows);
        if bytes == 0 && earlier.iter().all(|size| *size == 0) {
            return None;
        }
        let (verdict, found) = size_plausible(bytes, &earlier);
        (verdict == Verdict::Fail).then_some(found)
    });
    if let (Some(found), Some(line)) = (&implausible, lines.get_mut(1)) {
        // A leap in size is a question to people, not a fault of the copy: said, not judged, or
        // the newest data would be passed over when it is needed.
        line.verdict = Verdict::Inconclusive;
        line.found = found.clone();
    }
    let component = row.component.clone().unwrap_or_default();
    let partial = known.partial.is_some();
    let mut checks: Vec<CheckResult> = known.partial.into_iter().collect();
    checks.extend(known.structure);
    checks.extend(known.content);
    Proof {
        fact: VerifiedFact {
            snapshot: row.id.clone(),
            time: world.clock.wall(),
            asked,
            level,
            // What is stored may be sound though the capture was partial.
            verdict: stored_verdict,
        },
        verification: SnapshotVerification {
            snapshot: row.id.clone(),
            component,
            run: row.run.clone(),
            time: row.time,
            level: level.map(Level::word),
            verdict,
            points: lines,
            checks,
            implausible_size: implausible,
            not_compared: known.not_compared,
            restored: known.restored.is_some(),
            partial,
            foreign: row.foreign(),
            seconds: seconds(world.since(start)),
            error: known.error,
        },
    }
}

/// The ten points as far as they were looked at.
fn points(stored: &Stored, known: &Known) -> TenPoints {
    let subject = match known.manifest.as_ref().map(|manifest| &manifest.content) {
        Some(Content::Files(_) | Content::Command(_) | Content::Git(_)) => Subject::Files,
        _ => Subject::Database,
    };
    let mut points = TenPoints::new(subject);
    points.set(Point::Exists, Verdict::Pass, "the snapshot object is there and authentic");
    points.set(
        Point::Encrypted,
        Verdict::Pass,
        "AES-256 with Poly1305: it opened with the vault key and with no other",
    );
    if let Some(bytes) = known.size {
        let (verdict, found) = match bytes {
            // The manifest was read from the live source, not from the copy.
            0 => (Verdict::Pass, "empty, as the live source was".to_owned()),
            bytes => size_plausible(bytes, &[]),
        };
        points.set(Point::SizePlausible, verdict, found);
    }
    let mut both = |verdict: Verdict, found: &str| {
        points.set(Point::Downloadable, verdict, found);
        points.set(Point::Extractable, verdict, found);
    };
    match stored {
        Stored::Damaged(what) => both(Verdict::Fail, what),
        Stored::Whole => both(Verdict::Pass, "every object was read in full"),
        Stored::Present | Stored::NotChecked => {}
    }
    if let Some(check) = &known.restored {
        both(check.verdict, &check.found);
        points.set(Point::Restorable, check.verdict, check.found.as_str());
    }
    if let Some(error) = &known.error {
        let verdict = if known.damage { Verdict::Fail } else { Verdict::Inconclusive };
        points.set(Point::Extractable, verdict, error.line());
    }
    if let Some((verdict, found)) = judged(&known.structure) {
        points.set(Point::IntegrityVerified, verdict, found);
    }
    if let Some((verdict, found)) = judged(&known.content) {
        let (tables, records) = described(known.manifest.as_ref());
        let passed = verdict == Verdict::Pass;
        let say = |what: String| if passed { what } else { found.clone() };
        points.set(Point::TablesPresent, verdict, say(tables));
        points.set(Point::RecordsPresent, verdict, say(records));
        points.set(Point::NoCorruption, verdict, say("none found".to_owned()));
    }
    if let Some(check) = &known.partial {
        points.set(Point::RecordsPresent, check.verdict, check.found.as_str());
    }
    points
}

/// The verdict of a list of checks, and the first that did not pass.
fn judged(checks: &[CheckResult]) -> Option<(Verdict, String)> {
    if checks.is_empty() {
        return None;
    }
    let verdict = Verdict::of(checks.iter().map(|check| check.verdict));
    let found = match checks.iter().find(|check| check.verdict != Verdict::Pass) {
        Some(bad) => format!("{}: {}", bad.name, bad.found),
        None => format!("{} checks passed", checks.len()),
    };
    Some((verdict, found))
}

/// What stands for tables and records in each kind of component.
fn described(manifest: Option<&Manifest>) -> (String, String) {
    match manifest.map(|manifest| &manifest.content) {
        Some(Content::Sqlite(content)) => {
            let rows: u64 = content.tables.values().map(|table| table.rows).sum();
            (format!("{} tables", content.tables.len()), format!("{rows} rows"))
        }
        Some(Content::Files(content)) => (
            format!("{} folders, {} others", content.folders, content.others),
            format!("{} files", content.files),
        ),
        Some(Content::Postgres(content)) => {
            (format!("{} databases", content.databases.len()), format!("{} files", content.files))
        }
        Some(Content::Command(content)) => {
            ("1 dump".to_owned(), format!("{} bytes", content.printed.bytes))
        }
        Some(Content::Git(content)) => {
            (format!("{} refs", content.refs.len()), format!("{} commits", content.commits))
        }
        None => (String::new(), String::new()),
    }
}
