//! Verification: the whole vault is read, snapshots are restored and compared with what the live
//! source was, and journals are read record by record.

use lifeboat_model::verdict::Verdict;
use lifeboat_vault::Id;
use lifeboat_vault::check::{CheckOptions, CheckReport};
use serde_json::json;

use super::VerifyRequest;
use super::point::candidates;
use super::proof::{Proof, Stored, prove};
use crate::catalog::SnapshotRow;
use crate::env::World;
use crate::error::{Error, Result};
use crate::facts::{Fact, Level};
use crate::ledger::Detail;
use crate::report::{Damage, SnapshotVerification, VaultCheck, VerifyReport, seconds};
use crate::session::{Ended, Opening, Session, within};
use crate::tier::{Access, OpenTier};

/// Verifies.
pub fn verify(world: &World, request: &VerifyRequest) -> Result<VerifyReport> {
    let object = match request.what.is_empty() {
        true => "everything".to_owned(),
        false => request.what.join(", "),
    };
    let depth = match (&request.subset, request.quick) {
        (Some(subset), _) => format!("the structure, and the data of {subset} of the packs"),
        (None, true) => "structure".to_owned(),
        (None, false) => "all data".to_owned(),
    };
    let opening = Opening {
        action: "verify",
        object: &object,
        detail: Detail::from([("depth".to_owned(), json!(depth))]),
        access: Access::Write,
        changes_nothing: true,
    };
    let body = |session: &mut Session<'_>, tier: &OpenTier| execute(session, tier, request);
    within(world, &opening, body, |report: &mut VerifyReport, warnings| {
        report.warnings.extend(warnings);
    })
}

/// Proves a snapshot that was just taken: V2 to V4, for `backup --verify`.
pub fn prove_new(
    session: &mut Session<'_>,
    tier: &OpenTier,
    component: &str,
    id: &str,
    partial: bool,
    rows: &[SnapshotRow],
) -> Result<Proof> {
    let tier = &tier.uncached();
    let snapshot = tier.vault.snapshot(&parse(id)?)?;
    let row = SnapshotRow {
        run: snapshot.tag("run").map(str::to_owned),
        // This run's own entry records it, as soon as it ends.
        ledger: session.seq().map(|seq| (session.world.host.clone(), seq)),
        partial,
        ..SnapshotRow::unknown(id, Some(component), snapshot.time)
    };
    let _lock = tier.vault.lock_for_reading()?;
    prove(session.world, tier, &row, rows, &Stored::NotChecked, true)
}

fn parse(id: &str) -> Result<Id> {
    id.parse().map_err(|_| Error::NoSnapshot { name: id.to_owned() })
}

fn execute(
    session: &mut Session<'_>,
    tier: &OpenTier,
    request: &VerifyRequest,
) -> Result<Ended<VerifyReport>> {
    let world = session.world;
    let tier = &tier.uncached();
    let catalog = session.catalog(tier)?;
    let rows = catalog.snapshots()?;
    let points = catalog.points()?;
    let mut warnings = Vec::new();
    let chosen = choose(world, &rows, &points, request, &mut warnings)?;
    let lost = lost(&points, request, &chosen, &mut warnings);
    let expected = match request.what.is_empty() {
        true => catalog.recorded(tier.vault.repository_id())?,
        false => lost,
    };
    if !request.structure_only() {
        room_to_restore(world, tier, &rows, &chosen)?;
    }
    let (vault, report) = read_vault(world, tier, request, &chosen, &expected)?;
    let mut snapshots = Vec::new();
    let _lock = tier.vault.lock_for_reading()?;
    for row in &rows {
        let named = chosen.contains(&row.id);
        if row.component.is_none() || (!named && !request.what.is_empty()) {
            continue;
        }
        world.stop_if_cancelled()?;
        let stored = stored(&report, &row.id, request.structure_only());
        let restore = named && !request.structure_only();
        let proof = prove(world, tier, row, &rows, &stored, restore)?;
        if restore || worth_recording(row, &proof) {
            // At once: a stop later in the run does not make a fault unknown again.
            session.record(&[Fact::Verified(proof.fact)])?;
        }
        snapshots.push(proof.verification);
    }
    let missing_components = warnings.len();
    let journals = super::verify_journal::verify(world, tier, request, &mut warnings)?;
    warnings.extend(remarks(&snapshots));
    // An older one that lacks something is said; what would be restored now decides.
    let counts = |s: &&SnapshotVerification| chosen.contains(&s.snapshot) || !s.only_partial();
    let verdicts = snapshots.iter().filter(counts).map(|s| s.verdict).chain([vault.verdict]);
    let verdicts = verdicts.chain(journals.iter().map(|journal| journal.verdict));
    let verdict = match Verdict::of(verdicts) {
        // Nothing to verify is not a pass, and a component without a snapshot is a failure.
        _ if snapshots.is_empty() || missing_components > 0 => Verdict::Fail,
        verdict => verdict,
    };
    let left_out = super::point::left_out(world, &request.what);
    warnings.extend(left_out.iter().map(|why| format!("{why}: nothing of it was verified")));
    if snapshots.is_empty() {
        warnings.push("there is no snapshot to verify".to_owned());
    }
    let report = VerifyReport {
        tier: world.tier_ref(),
        verdict,
        quick: request.quick,
        vault,
        snapshots,
        journals,
        warnings,
        left_out,
        head: world.head("lifeboat/verify", session.start),
    };
    let detail = Detail::from([
        ("verdict".to_owned(), json!(verdict)),
        ("damage".to_owned(), json!(report.vault.damage.len())),
        ("snapshots".to_owned(), json!(report.snapshots.len())),
        ("journals".to_owned(), json!(report.journals.len())),
    ]);
    Ok(Ended { exit: report.exit(), report, detail, facts: Vec::new() })
}

/// What should be looked at though it is no fault of what is stored.
fn remarks(snapshots: &[SnapshotVerification]) -> Vec<String> {
    let mut remarks = Vec::new();
    for proven in snapshots {
        let (name, id) = (&proven.component, proven.snapshot.get(..8).unwrap_or_default());
        if proven.partial {
            remarks.push(format!(
                "{name}: snapshot {id} is partial: something was left out when it was captured"
            ));
        }
        if let Some(found) = &proven.implausible_size {
            remarks.push(format!("{name}: the size of snapshot {id} is unusual: {found}"));
        }
        if let Some(why) = &proven.not_compared {
            remarks.push(format!("{name}: snapshot {id}: {why}"));
        }
    }
    remarks
}

/// Ids of the snapshots that are restored: the newest of each component, or those that are named.
fn choose(
    world: &World,
    rows: &[SnapshotRow],
    points: &[SnapshotRow],
    request: &VerifyRequest,
    warnings: &mut Vec<String>,
) -> Result<Vec<String>> {
    let of = |component: &str, all: bool| -> Vec<String> {
        let mut known = candidates(rows, component, &world.host);
        known.sort_by_key(|candidate| std::cmp::Reverse((candidate.seq, candidate.time)));
        let count = if all { usize::MAX } else { 1 };
        known.into_iter().map(|candidate| candidate.snapshot).take(count).collect()
    };
    let mut chosen = Vec::new();
    if request.what.is_empty() {
        for component in super::point::components(world, &[])? {
            let found = of(&component, request.all);
            if found.is_empty() {
                warnings.push(format!("component {component} has no snapshot"));
            }
            chosen.extend(found);
        }
        return Ok(chosen);
    }
    for what in &request.what {
        if world.plan.component.contains_key(what) {
            let found = of(what, request.all);
            if found.is_empty() {
                warnings.push(format!("component {what} has no snapshot"));
            }
            chosen.extend(found);
        } else {
            chosen.push(super::point::by_prefix(points, what)?);
        }
    }
    Ok(chosen)
}

/// Ids of the snapshots that a ledger records, that are asked for, and that cannot be read: the
/// check of the vault names them as damage, whatever else passes.
fn lost(
    points: &[SnapshotRow],
    request: &VerifyRequest,
    chosen: &[String],
    warnings: &mut Vec<String>,
) -> Vec<String> {
    let mut ids = Vec::new();
    for row in points {
        let (Some(why), Some(name)) = (&row.lost, &row.component) else { continue };
        if request.what.is_empty() || request.what.contains(name) || chosen.contains(&row.id) {
            let id = row.id.get(..8).unwrap_or_default();
            warnings.push(format!("{name}: snapshot {id} of {} cannot be read: {why}", row.time));
            ids.push(row.id.clone());
        }
    }
    ids
}

/// Refuses before anything is read where the largest copy would not fit.
fn room_to_restore(
    world: &World,
    tier: &OpenTier,
    rows: &[SnapshotRow],
    chosen: &[String],
) -> Result<()> {
    let chosen = rows.iter().filter(|row| chosen.contains(&row.id));
    // One that has no readable manifest is judged later, by itself.
    let needed = chosen.filter_map(|row| {
        let component = row.component.as_deref()?;
        let subject = super::point::subject(tier, component, &row.id, row.partial).ok()?;
        Some(crate::prove::bytes_needed(&subject.manifest))
    });
    let scratch = world.state.path("scratch");
    super::point::preflight(world, &scratch, needed.max().unwrap_or(0))?;
    Ok(())
}

/// Reads the vault: all of it, or what the named snapshots need.
fn read_vault(
    world: &World,
    tier: &OpenTier,
    request: &VerifyRequest,
    chosen: &[String],
    expected: &[String],
) -> Result<(VaultCheck, CheckReport)> {
    let start = world.start();
    let ids = |list: &[String]| list.iter().map(|id| parse(id)).collect::<Result<Vec<Id>>>();
    let options = CheckOptions {
        read_data: !request.quick,
        subset: request.subset,
        only: match request.what.is_empty() {
            true => None,
            // A damaged one is looked at by its name alone.
            false => Some(ids(&[chosen, expected].concat())?),
        },
        expected: ids(expected)?,
        ..CheckOptions::default()
    };
    let report = tier.vault.check(&options)?;
    let verdict = match (report.passed(), report.damage.is_empty()) {
        (true, _) => Verdict::Pass,
        (false, false) => Verdict::Fail,
        (false, true) => Verdict::Inconclusive,
    };
    let mut notes = Vec::new();
    let counts = &report.counts;
    if counts.unreferenced_packs > 0 {
        notes.push(format!(
            "{} packs ({} bytes) that no snapshot needs, left by a backup that was broken off: \
             harmless, and reused",
            counts.unreferenced_packs, counts.unreferenced_bytes
        ));
    }
    if let Some(subset) = report.subset {
        let why = match report.stands_in {
            true => ", which holds none, so that another one was read",
            false => "",
        };
        notes.push(format!(
            "data read of {} of {} packs: subset {subset}{why}",
            counts.packs_read, counts.packs
        ));
    }
    let check = VaultCheck {
        verdict,
        read_data: report.read_data,
        snapshots: counts.snapshots,
        packs: counts.packs,
        bytes_read: counts.bytes_read,
        damage: report.damage.iter().map(damage).collect(),
        notes,
        seconds: seconds(world.since(start)),
    };
    Ok((check, report))
}

fn damage(damage: &lifeboat_vault::check::Damage) -> Damage {
    Damage {
        object: format!("{} {}", damage.kind, damage.name).trim_end().to_owned(),
        what: damage.why.clone(),
        snapshots: damage.snapshots.iter().map(Id::to_string).collect(),
        files: damage
            .files
            .iter()
            .map(|file| format!("{}:{}", file.snapshot.short(), file.path.display()))
            .collect(),
    }
}

/// What the check said about one snapshot.
fn stored(report: &CheckReport, id: &str, quick: bool) -> Stored {
    let concerns = |d: &&lifeboat_vault::check::Damage| {
        d.name == id || d.snapshots.iter().any(|snapshot| snapshot.to_string() == id)
    };
    if let Some(damage) = report.damage.iter().find(concerns) {
        return Stored::Damaged(damage.to_string());
    }
    if !report.whole_snapshots.iter().any(|whole| whole.to_string() == id) {
        return Stored::NotChecked;
    }
    if quick { Stored::Present } else { Stored::Whole }
}

/// A look that only confirms what is known fills no ledger.
fn worth_recording(row: &SnapshotRow, proof: &Proof) -> bool {
    match proof.fact.verdict {
        Verdict::Fail => row.failed.is_none_or(|failed| failed < proof.fact.asked),
        Verdict::Pass => {
            proof.fact.level.max(Some(Level::V1)) > row.level
                || row.failed.is_some_and(|failed| failed <= proof.fact.asked)
        }
        _ => false,
    }
}
