//! What would be lost now, by the journal as well: how far it leads, and how the stream stands.

use jiff::Timestamp;

use super::look::{age, judge};
use super::point::{WantedPoint, candidates, newest_whole};
use super::stream::{Live, wanted_base};
use super::{At, way};
use crate::catalog::{Catalog, SnapshotRow};
use crate::env::World;
use crate::error::Result;
use crate::journal::standing;
use crate::report::{ComponentState, ComponentStatus, Failure, StreamState, TierExposure};
use crate::tier::OpenTier;

/// How far the journal leads beyond the newest snapshot, and how the stream stands.
pub(super) fn along_the_log(
    world: &World,
    tier: Option<&OpenTier>,
    catalog: &Catalog,
    rows: &[SnapshotRow],
    one: &mut ComponentStatus,
    now: Timestamp,
) -> Vec<String> {
    let name = one.component.clone();
    let (mut findings, mut doubt) = (Vec::new(), None);
    if let (Some(tier), Some(_)) = (tier, &one.newest) {
        let (at, mut notes) = (At::Newest, Vec::new());
        match way::choose(world, tier, catalog, rows, &name, &WantedPoint::of(&at)) {
            Ok((_, way)) => {
                one.way = way.shown;
                notes.extend(way.warnings);
                doubt = way.doubt;
            }
            Err(error) => notes.push(Failure::of(&error).line()),
        }
        findings.extend(notes.into_iter().map(|note| format!("{name}: {note}")));
    }
    let streams = world.plan.component.get(&name).is_some_and(|c| c.kind.streams());
    if streams {
        match stream_state(world, &name, now) {
            Ok(state) => one.stream = Some(state),
            Err(error) => findings.push(format!("{name}: {}", Failure::of(&error).line())),
        }
    }
    if let Some(complete) = one.way.as_ref().and_then(|way| way.complete_up_to) {
        one.live_rpo_seconds = age(now, complete);
    }
    let known = candidates(rows, &name, &world.host);
    let last = known.iter().filter(|c| !c.foreign()).max_by_key(|c| c.seq);
    let whole = newest_whole(rows, &name, &world.host, &At::Newest);
    judge(one, last, whole.as_ref());
    if let Some(doubt) = doubt {
        one.state = one.state.max(ComponentState::Failing);
        one.reasons.push(format!("not all that was streamed can be restored: {}", doubt.found));
    }
    findings
}

/// How a component's stream stands on this host.
fn stream_state(world: &World, name: &str, now: Timestamp) -> Result<StreamState> {
    let (tiers, running) = standing(&world.state, name)?;
    let live = Live::read(&world.state, name)?;
    let base_wanted = wanted_base(&world.state, name)?;
    let exposure = |tier: crate::journal::Standing| TierExposure {
        live_rpo_seconds: tier.proven.and_then(|proven| age(now, proven)),
        tier: tier.tier,
        elsewhere: tier.elsewhere,
        position: tier.position,
        lacks: tier.lacks,
        problem: tier.problem,
    };
    let tiers = tiers.into_iter().map(exposure).collect();
    let (waiting, waiting_bytes) = live.as_ref().map_or((0, 0), |l| (l.waiting, l.waiting_bytes));
    let current = live.as_ref().filter(|_| running);
    Ok(StreamState {
        running,
        since: live.as_ref().map(|live| live.since),
        behind: current.and_then(|live| live.behind),
        waiting,
        waiting_bytes,
        room_seconds: current.and_then(|live| live.room_seconds),
        base_wanted,
        warnings: current.map(|live| live.warnings.clone()).unwrap_or_default(),
        problem: live.and_then(|live| live.problem),
        tiers,
    })
}

/// What speaks against a stream.
pub(super) fn judge_stream(stream: &StreamState) -> Vec<(ComponentState, String)> {
    let mut found = Vec::new();
    if !stream.running {
        let why = match stream.since {
            Some(_) => "its log is not streamed now: no `lifeboat stream` runs on this host",
            None => "its log was never streamed from this host: run `lifeboat stream`",
        };
        found.push((ComponentState::Failing, why.to_owned()));
    }
    if let Some(why) = &stream.problem {
        found.push((ComponentState::Failing, format!("its stream does not get on: {why}")));
    }
    if let Some(why) = &stream.base_wanted {
        let why = format!("what is streamed needs a base that is not there yet: {why}");
        found.push((ComponentState::Failing, why));
    }
    for tier in stream.tiers.iter().filter(|tier| tier.problem.is_some()) {
        let why = tier.problem.as_deref().unwrap_or_default();
        let line = format!("tier {} does not take its log: {why}", tier.tier);
        found.push((ComponentState::Failing, line));
    }
    found
}
