//! What can be seen without changing anything: the list of snapshots, the status, past drills.

use jiff::Timestamp;
use lifeboat_model::chain::Entry;
use lifeboat_model::objective::{Circumstances, resolve};
use lifeboat_model::recipe::{Candidate, RecipeError};
use lifeboat_model::verdict::Verdict;

use super::exposure::{along_the_log, judge_stream};
use super::point::{candidates, choose, newest_whole};
use super::restore::unsettled;
use super::{At, ListRequest, way};
use crate::catalog::{self, Catalog, DrillRow, HoldRow, SnapshotRow};
use crate::env::World;
use crate::error::{Error, Result, ends_run};
use crate::ledger::{Local, log};
use crate::report::{
    ComponentState, ComponentStatus, DrillListReport, DrillOfPlan, Failure, LastDrill, ListReport,
    ListedDrill, ListedJournal, ListedSnapshot, NewestPoint, NextRun, StatusReport, seconds,
};
use crate::tier::OpenTier;

/// How many coming runs are shown.
const RUNS: usize = 5;

/// Where the catalog came from.
struct Seen {
    catalog: Catalog,
    notes: Vec<String>,
    tier_error: Option<Failure>,
    tier: Option<OpenTier>,
}

/// The catalog, up to date if the tier answers. Without a state folder it leaves no trace.
fn see(world: &World) -> Result<Seen> {
    let keep = world.state.folder().is_dir();
    let opened = world.read_tier();
    let opened = opened.and_then(|tier| Ok((catalog::up_to_date(world, &tier, keep)?, tier)));
    match opened {
        Ok(((catalog, notes), tier)) => {
            Ok(Seen { catalog, notes, tier_error: None, tier: Some(tier) })
        }
        Err(error) => Ok(Seen {
            catalog: catalog::as_it_is(world)?,
            notes: Vec::new(),
            tier_error: Some(Failure::of(&error)),
            tier: None,
        }),
    }
}

/// Seconds from then to now; nothing if a clock was set back.
pub(super) fn age(now: Timestamp, then: Timestamp) -> Option<f64> {
    let span = now.duration_since(then);
    (!span.is_negative()).then(|| seconds(span.unsigned_abs()))
}

/// Lists snapshots, newest first.
pub fn list(world: &World, request: &ListRequest) -> Result<ListReport> {
    let start = world.start();
    let tier = world.read_tier()?;
    let keep = world.state.folder().is_dir();
    let (catalog, warnings) = catalog::up_to_date(world, &tier, keep)?;
    let mut rows = catalog.snapshots()?;
    if let Some(name) = &request.component {
        rows.retain(|row| row.component.as_ref() == Some(name));
        if rows.is_empty() && !world.plan.component.contains_key(name) {
            let known = world.plan.component.keys().map(String::as_str);
            return Err(Error::Recipe(RecipeError::UnknownComponent {
                nearest: lifeboat_model::plan::nearest(name, known).map(str::to_owned),
                name: name.clone(),
            }));
        }
    }
    let mut warnings = warnings;
    let holds = catalog.holds()?;
    let journals = journals(world, &tier, request.component.as_deref(), &mut warnings)?;
    Ok(ListReport {
        tier: world.tier_ref(),
        journals,
        snapshots: rows.into_iter().map(|row| listed(row, &holds, start.wall)).collect(),
        warnings,
        head: world.head("lifeboat/list", start),
    })
}

/// The journals in the tier; one that cannot be read is said.
fn journals(
    world: &World,
    tier: &OpenTier,
    only: Option<&str>,
    warnings: &mut Vec<String>,
) -> Result<Vec<ListedJournal>> {
    let mut listed = Vec::new();
    for name in world.plan.component.keys() {
        if only.is_some_and(|only| only != name) {
            continue;
        }
        let surveyed = way::open_journal(world, tier, name, warnings)
            .and_then(|journal| Ok(journal.map(|journal| journal.survey()).transpose()?));
        match surveyed {
            Ok(Some(survey)) => {
                warnings.extend(survey.faults.iter().map(|fault| format!("{name}: {}", fault.why)));
                warnings.extend(survey.notes.iter().map(|note| format!("{name}: {note}")));
                listed.push(ListedJournal { component: name.clone(), survey });
            }
            Ok(None) => {}
            Err(error) if ends_run(&error) => return Err(error),
            Err(error) => warnings.push(format!("{name}: {}", Failure::of(&error).line())),
        }
    }
    Ok(listed)
}

fn listed(row: SnapshotRow, holds: &[HoldRow], now: Timestamp) -> ListedSnapshot {
    let of = holds.iter().filter(|hold| hold.snapshot == row.taken_as()).map(HoldRow::words);
    let hold = of.collect::<Vec<_>>();
    ListedSnapshot {
        hold: (!hold.is_empty()).then(|| hold.join("; ")),
        foreign: row.foreign(),
        artefact: row
            .component
            .as_ref()
            .map(|name| format!("{name}_full_{}", row.time.strftime("%Y%m%d_%H%M%S"))),
        age_seconds: row.complete_up_to.and_then(|time| age(now, time)),
        level: row.level.map(|level| level.word().to_owned()),
        snapshot: row.id,
        component: row.component,
        run: row.run,
        time: row.time,
        complete_up_to: row.complete_up_to,
        host: row.host,
        bytes: row.bytes,
        verified: row.verified,
        verdict: row.verdict,
        partial: row.partial,
        copy_of: row.copy_of,
    }
}

/// The status.
pub fn status(world: &World) -> Result<StatusReport> {
    let start = world.start();
    let seen = see(world)?;
    let (rows, drills) = (seen.catalog.points()?, seen.catalog.drills()?);
    let (lines, torn) = Local::new(&world.state, &world.host).lines()?;
    let entries: Vec<Entry> = lines.iter().filter_map(|line| Entry::read(line).ok()).collect();
    let mut findings = seen.notes;
    if entries.len() < lines.len() {
        findings.push("lines of the ledger cannot be read: `lifeboat audit verify`".to_owned());
    }
    if !torn.is_empty() {
        findings.push("the ledger's last line was torn by a crash".to_owned());
    }
    findings.extend(world.key_in_state().map(|path| {
        format!(
            "the vault key lies in the state folder ({}): without a second copy of it elsewhere, \
             losing that folder loses every backup",
            path.display()
        )
    }));
    findings
        .extend(world.other_tiers.iter().map(|tier| format!("tier {tier} is not carried out yet")));
    findings.extend(world.on_hold()?.map(|new| {
        let (old, new) = (&world.tier.name, new.tier);
        format!("tier {old} is on hold, tier {new} took its place: name that one first in the plan")
    }));
    findings.extend(world.elsewhere().map(|tier| {
        let name = &tier.name;
        format!("backups do not go to tier {name}: `lifeboat copy --to {name}` copies them there")
    }));
    let left_out = super::point::left_out(world, &[]);
    findings.extend(left_out.iter().map(|why| format!("{why}: it is unprotected")));
    let names = super::point::components(world, &[])?;
    findings.extend(names.iter().filter_map(|name| {
        let left = (world.adapters.unsettled)(name)?;
        Some(format!("{left}; the next `lifeboat backup {name}` puts it in order"))
    }));
    let mut components: Vec<ComponentStatus> =
        names.iter().map(|name| component(world, name, &rows, &drills, start.wall)).collect();
    for one in &mut components {
        findings.extend(along_the_log(
            world,
            seen.tier.as_ref(),
            &seen.catalog,
            &rows,
            one,
            start.wall,
        ));
    }
    findings.extend(cut_off(world, &mut components));
    Ok(StatusReport {
        tier: world.tier_ref(),
        state: overall(&components, seen.tier_error.is_some()),
        tier_error: seen.tier_error,
        components,
        running: log::running_now(world, &entries)?,
        interrupted: unanswered(log::interrupted(world, &entries)?, &entries),
        next_runs: next_runs(world, start.wall),
        holds: seen.catalog.holds()?,
        findings,
        head: world.head("lifeboat/status", start),
    })
}

/// The worst of all; a tier that cannot be looked at leaves nothing that is known to be well.
fn overall(components: &[ComponentStatus], tier_is_away: bool) -> ComponentState {
    let worst = components.iter().map(|c| c.state).max().unwrap_or(ComponentState::Unprotected);
    if tier_is_away { worst.max(ComponentState::Failing) } else { worst }
}

/// What a killed restore in place has left: a finding, and the state of each of its components.
fn cut_off(world: &World, components: &mut [ComponentStatus]) -> Vec<String> {
    let left = match unsettled(world) {
        Ok(left) => left,
        Err(error) => return vec![Failure::of(&error).line()],
    };
    let mut findings = Vec::new();
    for (names, text) in left {
        for one in components.iter_mut().filter(|one| names.contains(&one.component)) {
            one.state = one.state.max(ComponentState::Failing);
            one.reasons.push(text.clone());
        }
        let first = names.first().map_or("", String::as_str);
        findings.push(format!("{text}; the next `lifeboat backup {first}` puts it in order"));
    }
    findings
}

/// Outcomes of an action that ran to its end; what it found then has places of its own.
const ENDED: [&str; 3] = ["done", "problems", "objective missed"];

/// True if an action on `later` did everything that one on `earlier` would have.
fn covers(later: &str, earlier: &str) -> bool {
    let parts: Vec<&str> = later.split(", ").collect();
    earlier.split(", ").all(|part| parts.contains(&part))
}

/// An interrupted action that was done again since is history, not a state.
fn unanswered(
    mut actions: Vec<crate::report::InterruptedAction>,
    entries: &[Entry],
) -> Vec<crate::report::InterruptedAction> {
    let closed = entries.iter().filter(|e| e.phase == lifeboat_model::chain::Phase::Interrupted);
    for entry in closed {
        let Some(started) = entries.iter().find(|e| Some(e.seq) == entry.of) else { continue };
        actions.push(crate::report::InterruptedAction {
            seq: started.seq,
            time: started.time,
            operator: started.operator.clone(),
            action: started.action.clone(),
            object: started.object.clone(),
        });
    }
    // A stream goes on where a killed one stood.
    let goes_on = |action: &crate::report::InterruptedAction| {
        action.action == "stream"
            && entries.iter().any(|entry| {
                entry.phase == lifeboat_model::chain::Phase::Started
                    && entry.seq > action.seq
                    && entry.action == action.action
                    && covers(&entry.object, &action.object)
            })
    };
    actions.retain(|action| !goes_on(action));
    actions.retain(|action| {
        !entries.iter().any(|entry| {
            entry.phase == lifeboat_model::chain::Phase::Finished
                && entry.seq > action.seq
                && entry.action == action.action
                && covers(&entry.object, &action.object)
                && entry.outcome.as_deref().is_some_and(|outcome| ENDED.contains(&outcome))
        })
    });
    actions
}

fn component(
    world: &World,
    name: &str,
    rows: &[SnapshotRow],
    drills: &[DrillRow],
    now: Timestamp,
) -> ComponentStatus {
    let plan = &world.plan;
    let objectives = resolve(plan, name, Circumstances::default());
    let point = |verified_only| {
        let chosen = choose(rows, name, &world.host, &At::Newest, verified_only).ok()?.chosen;
        let row = rows.iter().find(|row| row.id == chosen.snapshot)?;
        Some(NewestPoint {
            snapshot: row.id.clone(),
            time: row.time,
            complete_up_to: row.complete_up_to?,
            level: row.level.map(|level| level.word().to_owned()),
            partial: row.partial,
        })
    };
    let newest = point(false);
    let whole = newest_whole(rows, name, &world.host, &At::Newest);
    // What a partial snapshot lacks would be lost: only a whole one counts.
    let complete_up_to = rows
        .iter()
        .find(|row| whole.as_ref().is_some_and(|whole| whole.snapshot == row.id))
        .and_then(|row| row.complete_up_to);
    let last_drill = drills.iter().find(|drill| drill.component == name).map(|drill| LastDrill {
        id: drill.id.clone(),
        time: drill.time,
        age_seconds: age(now, drill.time),
        verdict: drill.verdict,
        rto_seconds: drill.rto_ms.map(|ms| ms as f64 / 1000.0),
        rpo_seconds: drill.rpo_ms.map(|ms| ms as f64 / 1000.0),
    });
    let component = plan.component.get(name);
    let mut status = ComponentStatus {
        component: name.to_owned(),
        class: component.and_then(|c| plan.class_of(c)).map(|(class, _)| class.to_owned()),
        kind: component.map(|c| c.kind.key().to_owned()).unwrap_or_default(),
        state: ComponentState::Ok,
        reasons: Vec::new(),
        way: None,
        stream: None,
        live_rpo_seconds: complete_up_to.and_then(|complete| age(now, complete)),
        newest_verified: point(true),
        newest,
        rpo_objective_seconds: objectives.rpo.as_ref().map(|o| o.limit.seconds()),
        rpo_rule: objectives.rpo.as_ref().map(|o| o.rule.to_string()),
        rto_objective_seconds: objectives.rto.as_ref().map(|o| o.limit.seconds()),
        rto_rule: objectives.rto.as_ref().map(|o| o.rule.to_string()),
        last_drill,
        snapshots: rows
            .iter()
            .filter(|r| r.component.as_deref() == Some(name) && r.lost.is_none())
            .count() as u64,
    };
    let known = candidates(rows, name, &world.host);
    let last = known.iter().filter(|c| !c.foreign()).max_by_key(|c| c.seq);
    judge(&mut status, last, whole.as_ref());
    status
}

/// Seconds in words: short spans to the millisecond, so that a limit of one is not called none.
fn span(seconds: f64) -> String {
    if seconds < 10.0 { format!("{seconds:.3} s") } else { format!("{seconds:.0} s") }
}

/// The state, and every reason for it; the worst decides.
pub(super) fn judge(
    status: &mut ComponentStatus,
    last: Option<&Candidate>,
    whole: Option<&Candidate>,
) {
    let mut found: Vec<(ComponentState, String)> = Vec::new();
    let mut add = |state, why: String| found.push((state, why));
    match &status.newest {
        None => add(ComponentState::Unprotected, "there is no snapshot to restore".to_owned()),
        Some(newest) if newest.partial => {
            let older = match whole {
                Some(whole) => format!("the newest whole one is of {}", whole.time),
                None => "there is no whole one".to_owned(),
            };
            let why = format!("the newest snapshot is partial: it lacks something; {older}");
            add(ComponentState::Partial, why);
        }
        Some(_) => {}
    }
    if let (Some(objective), Some(_)) = (status.rpo_objective_seconds, &status.newest) {
        match status.live_rpo_seconds {
            Some(live) if live <= objective => {}
            Some(live) => add(
                ComponentState::ObjectiveMissed,
                format!("{} would be lost now, {} are allowed", span(live), span(objective)),
            ),
            None if whole.is_none() => add(
                ComponentState::ObjectiveMissed,
                "what would be lost now is not known: no snapshot is whole".to_owned(),
            ),
            None => add(
                ComponentState::ObjectiveMissed,
                "what would be lost now is not known: was the clock set back?".to_owned(),
            ),
        }
    }
    if let Some(drill) = &status.last_drill {
        if drill.verdict != Verdict::Pass {
            let why = format!("the last drill ended with {}", drill.verdict.word());
            add(ComponentState::Failing, why);
        }
        if let (Some(objective), Some(took)) = (status.rto_objective_seconds, drill.rto_seconds)
            && took > objective
        {
            let why =
                format!("the last drill took {}, {} are allowed", span(took), span(objective));
            add(ComponentState::ObjectiveMissed, why);
        }
    }
    if let Some((one, why)) = last.and_then(|last| Some((last, last.lost.as_ref()?))) {
        let id = one.snapshot.get(..8).unwrap_or_default();
        add(ComponentState::Failing, format!("the newest snapshot {id} is lost: {why}"));
    } else if last.is_some_and(|last| last.verification_failed) {
        add(ComponentState::Failing, "the newest snapshot failed its verification".to_owned());
    }
    let drilled = status.last_drill.as_ref().is_some_and(|d| d.verdict == Verdict::Pass);
    if status.newest.is_some() && status.newest_verified.is_none() && !drilled {
        add(ComponentState::Unproven, "no snapshot was ever restored and compared".to_owned());
    }
    found.extend(status.stream.iter().flat_map(judge_stream));
    status.state = found.iter().map(|(state, _)| *state).max().unwrap_or(ComponentState::Ok);
    status.reasons = found.into_iter().map(|(_, why)| why).collect();
}

fn next_runs(world: &World, now: Timestamp) -> Vec<NextRun> {
    world
        .plan
        .schedule
        .iter()
        .map(|(name, schedule)| NextRun {
            schedule: name.clone(),
            times: schedule.cron.as_ref().map(|c| c.next_runs(now, RUNS)).unwrap_or_default(),
            note: schedule.on.as_ref().map(|event| format!("after each {}", event.word())),
        })
        .collect()
}

/// The plan's drills and past ones.
pub fn drill_list(world: &World) -> Result<DrillListReport> {
    let start = world.start();
    let seen = see(world)?;
    let rows = seen.catalog.drills()?;
    let mut warnings = seen.notes;
    warnings.extend(seen.tier_error.iter().map(Failure::line));
    let planned = world
        .plan
        .drill
        .iter()
        .map(|(name, drill)| {
            let last =
                rows.iter().filter(|row| row.drill.as_ref() == Some(name)).collect::<Vec<_>>();
            let newest = last.iter().map(|row| row.time).max();
            let verdicts = last.iter().filter(|row| Some(row.time) == newest).map(|r| r.verdict);
            DrillOfPlan {
                drill: name.clone(),
                components: drill.components.iter().map(|c| c.to_string()).collect(),
                next_runs: drill
                    .cron
                    .as_ref()
                    .map(|cron| cron.next_runs(start.wall, RUNS))
                    .unwrap_or_default(),
                last: newest,
                last_verdict: newest.map(|_| Verdict::of(verdicts)),
            }
        })
        .collect();
    let drills = rows
        .into_iter()
        .map(|row| ListedDrill {
            id: row.id,
            drill: row.drill,
            time: row.time,
            component: row.component,
            verdict: row.verdict,
            rto_seconds: row.rto_ms.map(|ms| ms as f64 / 1000.0),
            rpo_seconds: row.rpo_ms.map(|ms| ms as f64 / 1000.0),
        })
        .collect();
    Ok(DrillListReport { planned, drills, warnings, head: world.head("lifeboat/drills", start) })
}
