//! Copying snapshots into another tier of the plan: the same data under the same names, and the
//! ledgers beside it, so that either tier alone is enough.
//!
//! A vault that is made for it shares master key, cuts and identity with the one that is copied.
//! What has arrived is recorded at once; a copy that was broken off goes on where it stood, and a
//! second one copies nothing. Each copy is recorded as what it is: the snapshot of the host that
//! took it, at that place in its order, proven by nobody yet. What no ledger knows is copied too
//! and stays foreign.
//!
//! What is damaged in the other tier is made good on the way: packs that are missing always, and
//! packs that only reading finds out for snapshots that were named by their ids or whose
//! verification there has failed. A damaged pack goes once nothing needs it any more.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use lifeboat_model::recipe;
use lifeboat_vault::{CopyOptions, CopyPlan, Id, SnapshotList};
use serde_json::json;

use super::CopyRequest;
use crate::catalog::{self, Catalog, SnapshotRow};
use crate::env::World;
use crate::error::{Error, Result, ends_run};
use crate::facts::{CopyFact, Fact, Level, SnapshotFact, VerifiedFact};
use crate::ledger::Detail;
use crate::ledger::carry::carry;
use crate::report::{CopiedSnapshot, CopyReport, DamagedPack, Failure, LeftOut};
use crate::session::{Ended, Opening, Session, Start, within};
use crate::state::FileLock;
use crate::tier::{Access, OpenTier};

/// Copies.
pub fn copy(world: &World, request: &CopyRequest) -> Result<CopyReport> {
    let there = destination(world, request.to.as_deref())?;
    let object = format!("tier {} to tier {}", world.tier.name, there.tier.name);
    let opening = Opening {
        action: "copy",
        object: &object,
        detail: Detail::new(),
        access: Access::Write,
        changes_nothing: false,
    };
    let body = |session: &mut Session<'_>, tier: &OpenTier| execute(session, tier, &there, request);
    within(world, &opening, body, |report: &mut CopyReport, warnings| {
        report.warnings.extend(warnings);
    })
}

/// Says what a copy would do; changes nothing.
pub fn plan_copy(world: &World, request: &CopyRequest) -> Result<CopyReport> {
    let start = world.start();
    let there = destination(world, request.to.as_deref())?;
    let from = world.read_tier()?;
    let to = there.open_tier_to_look()?;
    if let Some(to) = &to {
        not_the_same(world, &from, to)?;
    }
    let (catalog, warnings) = catalog::up_to_date(world, &from, false)?;
    let vault = to.as_ref().map(|to| &to.vault);
    let chosen = Chosen::of(world, &from, to.as_ref(), &catalog, request)?;
    let CopyPlan { snapshots, present, read_again, damaged, left_out, blobs, bytes } =
        from.vault.plan_copy(vault, &chosen.options())?;
    let mut report = empty(world, &there, start, to.is_none(), true);
    report.copied = snapshots.iter().map(|id| chosen.copied(id, None)).collect();
    report.present = present.len() as u64;
    report.read_again = read_again.iter().map(Id::to_string).collect();
    report.damaged = damaged.iter().map(damaged_pack).collect();
    report.removed_there = chosen.removed_there;
    report.left_out = chosen.left_out(&left_out);
    (report.blobs, report.bytes, report.warnings) = (blobs, bytes, warnings);
    Ok(report)
}

/// The world of the tier that is copied into.
pub(super) fn destination(world: &World, to: Option<&str>) -> Result<World> {
    let others: Vec<_> = world.elsewhere().collect();
    let tier = match to {
        Some(name) if name == world.tier.name => {
            return Err(Error::Usage {
                what: format!("tier {name} cannot be copied into itself"),
                hint: match others.first() {
                    Some(other) => format!("--to {}", other.name),
                    None => "add a second tier to the plan".to_owned(),
                },
            });
        }
        Some(name) => {
            recipe::choose_tier(&world.plan, &world.plan_folder, Some(name))?;
            others.into_iter().find(|tier| tier.name == name)
        }
        None if others.len() > 1 => {
            let names: Vec<&str> = others.iter().map(|tier| tier.name.as_str()).collect();
            return Err(Error::Usage {
                what: "the plan has several other tiers".to_owned(),
                hint: format!("name one with --to: {}", names.join(", ")),
            });
        }
        None => others.first().copied(),
    };
    let tier = tier.ok_or_else(|| Error::Usage {
        what: "the plan has no other tier that this version uses".to_owned(),
        hint: "add `[tier.second]` with `url = \"/path/on/another/disk\"` or `\"s3://…\"`"
            .to_owned(),
    })?;
    if overlap(world.tier.place.folder(), tier.place.folder()) {
        let (one, other) = (&world.tier.name, &tier.name);
        return Err(Error::Usage {
            what: format!("tiers {one} and {other} are one place, or one lies in the other"),
            hint: "give the second tier a folder of its own, on another disk".to_owned(),
        });
    }
    let there = world.with_tier(tier);
    there.refuse_on_hold()?;
    Ok(there)
}

/// True if two folders are one, or one is inside the other, links followed as far as they exist.
fn overlap(one: Option<PathBuf>, other: Option<PathBuf>) -> bool {
    let (Some(one), Some(other)) = (one, other) else { return false };
    let (one, other) = (real(&one), real(&other));
    one.starts_with(&other) || other.starts_with(&one)
}

fn real(path: &Path) -> PathBuf {
    for ancestor in path.ancestors() {
        if let (Ok(real), Ok(rest)) = (ancestor.canonicalize(), path.strip_prefix(ancestor)) {
            return real.join(rest);
        }
    }
    path.to_owned()
}

/// A tier that was copied with other tools is the same vault under another path: what is in which
/// of them could not be told apart.
fn not_the_same(world: &World, from: &OpenTier, to: &OpenTier) -> Result<()> {
    if from.vault.repository_id() != to.vault.repository_id() {
        return Ok(());
    }
    Err(Error::refused(
        format!("the other tier holds the very vault of tier {}, copied as files", world.tier.name),
        "give the other tier an empty folder: `lifeboat copy` makes a vault there",
    ))
}

fn execute(
    session: &mut Session<'_>,
    from: &OpenTier,
    there: &World,
    request: &CopyRequest,
) -> Result<Ended<CopyReport>> {
    let world = session.world;
    let _one = only_one(world, &there.tier.name)?;
    let _lock = from.vault.lock_for_reading()?;
    let catalog = session.catalog(from)?;
    // What is not there is said before a vault is made.
    wanted(world, &catalog.points()?, request)?;
    let existing = there.open_tier(Access::Make)?;
    let makes_vault = existing.is_none();
    let to = match existing {
        Some(to) => to,
        None => there.make_or_join_tier(Access::Make, Some(from))?,
    };
    not_the_same(world, from, &to)?;
    let chosen = Chosen::of(world, from, Some(&to), &catalog, request)?;
    let mut report = empty(world, there, session.start, makes_vault, false);
    let mut recorded = catalog.recorded(to.vault.repository_id())?.into_iter().collect();
    let done = run(session, from, &to, &chosen, &mut recorded, &mut report);
    let done = done.and_then(|()| clear(session, there, &to, &mut report));
    // Whatever has arrived: the tier has its ledger.
    let carried = done.and_then(|()| carry(world, from, &to));
    session.ship_to(there.clone(), to);
    session.warnings.extend(carried?);
    report.head = world.head("lifeboat/copy", session.start);
    let detail = Detail::from([
        ("copied".to_owned(), json!(report.copied.len())),
        ("present".to_owned(), json!(report.present)),
        ("left_out".to_owned(), json!(report.left_out.len())),
        ("healed".to_owned(), json!(report.damaged.iter().filter(|one| one.healed).count())),
        ("bytes".to_owned(), json!(report.bytes)),
    ]);
    Ok(Ended { exit: report.exit(), report, detail, facts: Vec::new() })
}

/// Two copies into one tier would each bring the same snapshot.
pub(super) fn only_one(world: &World, tier: &str) -> Result<FileLock> {
    let name = format!("tier {tier}");
    let file = format!("{}.lock", crate::ledger::remote::safe_name(&name));
    let path = world.state.make("locks")?.join(file);
    FileLock::try_exclusive(&path)?.ok_or(Error::Busy { what: name })
}

/// Portion after portion; what has arrived is recorded before the next one begins.
pub(super) fn run(
    session: &mut Session<'_>,
    from: &OpenTier,
    to: &OpenTier,
    chosen: &Chosen,
    recorded: &mut BTreeSet<String>,
    report: &mut CopyReport,
) -> Result<()> {
    let mut copying = from.vault.copy_to(&to.vault, chosen.options())?;
    // A copy that was killed between a snapshot and its record.
    let unrecorded = copying.report().present.iter();
    let unrecorded: Vec<_> =
        unrecorded.filter(|one| !recorded.contains(&one.copy.to_string())).copied().collect();
    session.record(&chosen.facts(&unrecorded, to))?;
    recorded.extend(unrecorded.iter().map(|one| one.copy.to_string()));
    while let Some(arrived) = copying.step()? {
        session.record(&chosen.facts(&arrived, to))?;
        recorded.extend(arrived.iter().map(|one| one.copy.to_string()));
    }
    let done = copying.report();
    report.copied.extend(done.copied.iter().map(|one| chosen.copied(&one.source, Some(&one.copy))));
    report.present += done.present.len() as u64;
    report.read_again.extend(done.read_again.iter().map(Id::to_string));
    report.damaged.extend(done.damaged.iter().map(damaged_pack));
    report.removed_there += chosen.removed_there;
    report.left_out.extend(chosen.left_out(&done.left_out));
    report.blobs += done.counts.blobs;
    report.bytes += done.counts.bytes;
    report.packs += done.counts.packs;
    report.packs_whole += done.counts.packs_whole;
    Ok(())
}

fn damaged_pack(one: &lifeboat_vault::DamagedPack) -> DamagedPack {
    DamagedPack { pack: one.pack.to_string(), healed: one.restored, lost: one.lost }
}

/// Takes damaged packs away whose content is whole elsewhere by now. Where that cannot be now, the
/// next copy does it.
fn clear(
    session: &mut Session<'_>,
    there: &World,
    to: &OpenTier,
    report: &mut CopyReport,
) -> Result<()> {
    let spare = report.damaged.iter().filter(|one| !one.healed && one.lost == 0);
    let spare: Vec<Id> = spare.filter_map(|one| one.pack.parse().ok()).collect();
    if spare.is_empty() {
        return Ok(());
    }
    let discard = || -> Result<Vec<Id>> {
        let hands = to.vault.maintain(there.tier.place.deleter()?)?;
        Ok(hands.discard(&spare)?)
    };
    match discard() {
        Ok(gone) => {
            let gone: BTreeSet<String> = gone.iter().map(Id::to_string).collect();
            for one in &mut report.damaged {
                one.healed |= gone.contains(&one.pack);
            }
            Ok(())
        }
        Err(error) if ends_run(&error) => Err(error),
        Err(error) => {
            let (name, why) = (&there.tier.name, Failure::of(&error).line());
            session.warnings.push(format!(
                "tier {name} still lists {} damaged packs whose content is whole elsewhere: {why}; \
                 copy again to take them out",
                spare.len()
            ));
            Ok(())
        }
    }
}

/// A report of nothing yet.
pub(super) fn empty(
    world: &World,
    there: &World,
    start: Start,
    makes_vault: bool,
    dry_run: bool,
) -> CopyReport {
    CopyReport {
        head: world.head(if dry_run { "lifeboat/copy-recipe" } else { "lifeboat/copy" }, start),
        from: world.tier_ref(),
        to: there.tier_ref(),
        dry_run,
        makes_vault,
        copied: Vec::new(),
        present: 0,
        read_again: Vec::new(),
        damaged: Vec::new(),
        removed_there: 0,
        left_out: Vec::new(),
        blobs: 0,
        bytes: 0,
        packs: 0,
        packs_whole: 0,
        warnings: Vec::new(),
    }
}

/// What is to be copied, and what is known of it.
pub(super) struct Chosen {
    ids: Vec<Id>,
    /// Those of them whose copies are to be read again.
    doubted: Vec<Id>,
    rows: BTreeMap<String, SnapshotRow>,
    /// What a snapshot of the vault is itself a copy of.
    originals: BTreeMap<Id, Id>,
    /// Recorded and gone: there is nothing to copy.
    lost: Vec<LeftOut>,
    removed_there: u64,
}

impl Chosen {
    pub fn of(
        world: &World,
        from: &OpenTier,
        to: Option<&OpenTier>,
        catalog: &Catalog,
        request: &CopyRequest,
    ) -> Result<Chosen> {
        let list = from.vault.list_snapshots()?;
        let there = match to {
            Some(to) => to.vault.list_snapshots()?,
            None => SnapshotList { readable: Vec::new(), damaged: Vec::new() },
        };
        let points = catalog.points()?;
        let wanted = wanted(world, &points, request)?;
        let removed = match to {
            Some(to) => catalog.removed_copies(to.vault.repository_id())?,
            None => Vec::new(),
        };
        let failed = match to {
            Some(to) => catalog.failed_in(to.vault.repository_id())?,
            None => Vec::new(),
        };
        let originals = list.readable.iter().filter_map(|(id, one)| Some((*id, one.original?)));
        let mut chosen = Chosen {
            ids: Vec::new(),
            doubted: Vec::new(),
            originals: originals.collect(),
            rows: points.into_iter().map(|row| (row.id.clone(), row)).collect(),
            lost: Vec::new(),
            removed_there: 0,
        };
        let all = list.readable.iter().map(|(id, _)| id);
        for id in all.chain(list.damaged.iter().map(|one| &one.id)) {
            let named = match &wanted {
                Some(wanted) => wanted.get(&id.to_string()).copied(),
                None => Some(false),
            };
            // What was pruned there does not come back by itself; named by its id it does.
            match named {
                None => {}
                Some(false) if removed.contains(&chosen.root(id).to_string()) => {
                    chosen.removed_there += 1;
                }
                Some(by_id) => {
                    chosen.ids.push(*id);
                    // What failed here too is wrong in itself, not in how it is stored there.
                    let sound = chosen.row(id).is_none_or(|row| row.failed.is_none());
                    if by_id || (sound && failed.contains(&chosen.root(id).to_string())) {
                        chosen.doubted.push(*id);
                    }
                }
            }
        }
        let arrived = |id: &str| {
            let copies = there.readable.iter().filter_map(|(_, one)| one.original);
            copies.into_iter().any(|original| original.to_string() == id)
        };
        let in_list = |id: &str| list.damaged.iter().any(|one| one.id.to_string() == id);
        let lost = chosen.rows.values().filter(|row| {
            let asked = wanted.as_ref().is_none_or(|wanted| wanted.contains_key(&row.id));
            row.lost.is_some() && asked && !in_list(&row.id) && !arrived(&row.id)
        });
        chosen.lost = lost
            .map(|row| LeftOut {
                snapshot: row.id.clone(),
                component: row.component.clone(),
                why: row.lost.iter().cloned().collect(),
            })
            .collect();
        Ok(chosen)
    }

    pub fn options(&self) -> CopyOptions {
        let (only, doubted) = (Some(self.ids.clone()), self.doubted.clone());
        CopyOptions { only, doubted, ..CopyOptions::default() }
    }

    /// The snapshot that was once taken.
    fn root(&self, id: &Id) -> Id {
        self.originals.get(id).copied().unwrap_or(*id)
    }

    fn row(&self, id: &Id) -> Option<&SnapshotRow> {
        self.rows.get(&id.to_string())
    }

    fn copied(&self, id: &Id, copy: Option<&Id>) -> CopiedSnapshot {
        let row = self.row(id);
        CopiedSnapshot {
            snapshot: id.to_string(),
            copy: copy.map(Id::to_string),
            component: row.and_then(|row| row.component.clone()),
            time: row.map(|row| row.time),
            foreign: row.is_none_or(SnapshotRow::foreign),
        }
    }

    pub fn left_out(&self, list: &[lifeboat_vault::LeftOut]) -> Vec<LeftOut> {
        let told = list.iter().map(|one| LeftOut {
            snapshot: one.snapshot.to_string(),
            component: self.row(&one.snapshot).and_then(|row| row.component.clone()),
            why: one
                .why
                .iter()
                .map(|why| format!("it is damaged: {why}"))
                .chain(one.lost.iter().map(|blob| format!("{}: {}", blob.id.short(), blob.why)))
                .collect(),
        });
        told.chain(self.lost.iter().cloned()).collect()
    }

    /// What the ledger says of copies: of those whose originals it knows.
    fn facts(&self, copies: &[lifeboat_vault::CopiedSnapshot], to: &OpenTier) -> Vec<Fact> {
        let known = copies.iter().filter_map(|one| Some((one, self.row(&one.source)?)));
        known.flat_map(|(one, row)| self.facts_of(one, row, to)).collect()
    }

    fn facts_of(
        &self,
        one: &lifeboat_vault::CopiedSnapshot,
        row: &SnapshotRow,
        to: &OpenTier,
    ) -> Vec<Fact> {
        let (Some((host, seq)), Some(component)) = (&row.ledger, &row.component) else {
            return Vec::new();
        };
        let taken = SnapshotFact {
            snapshot: one.copy.to_string(),
            vault: to.vault.repository_id().to_owned(),
            component: component.clone(),
            run: row.run.clone().unwrap_or_default(),
            schedule: row.schedule.clone(),
            time: row.time,
            complete_up_to: row.complete_up_to.unwrap_or(row.time),
            read_until: row.read_until,
            bytes: row.bytes.unwrap_or_default(),
            files: row.files.unwrap_or_default(),
            bytes_added: row.bytes_added.unwrap_or_default(),
            partial: row.partial,
            copy: Some(CopyFact {
                of: self.root(&one.source).to_string(),
                host: catalog::host_of(host).to_owned(),
                seq: *seq,
            }),
        };
        // What was found wrong with it is wrong with its copy too; what was proven of it is not
        // proven of the copy.
        let failed = row.failed.map(|asked: Level| {
            Fact::Verified(VerifiedFact {
                snapshot: one.copy.to_string(),
                time: row.verified.unwrap_or(row.time),
                asked,
                level: Some(Level::V1),
                verdict: lifeboat_model::verdict::Verdict::Fail,
            })
        });
        [Fact::Snapshot(taken)].into_iter().chain(failed).collect()
    }
}

/// What was asked for, by id, and whether it was by that very id; nothing if everything is.
fn wanted(
    world: &World,
    rows: &[SnapshotRow],
    request: &CopyRequest,
) -> Result<Option<BTreeMap<String, bool>>> {
    if request.what.is_empty() {
        return Ok(None);
    }
    let mut wanted = BTreeMap::new();
    for what in &request.what {
        if world.plan.component.contains_key(what) {
            let of = rows.iter().filter(|row| row.component.as_ref() == Some(what));
            for row in of {
                wanted.entry(row.id.clone()).or_insert(false);
            }
        } else {
            wanted.insert(super::point::by_prefix(rows, what)?, true);
        }
    }
    Ok(Some(wanted))
}
