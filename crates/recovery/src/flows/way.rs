//! Which base and which way through its journal lead to a wanted point. Never a shorter way instead:
//! a point that the journal does not cover is refused, with what can be had.

mod fingerprinted;
mod reasons;
mod shown;

use std::cmp::Reverse;
use std::sync::Arc;

use jiff::Timestamp;
use lifeboat_model::plan::Kind;
use lifeboat_model::position::Position;
use lifeboat_model::recipe::{Candidate, Choice, PointError, Skipped};

pub(super) use self::fingerprinted::to_fingerprints;
pub(super) use self::reasons::is_no_point;
use self::reasons::{clearer, lost, not_all_of_it, says_something, unreadable};
use self::shown::show;
pub(super) use self::shown::step;
use super::At;
use super::point::{self, WantedPoint, candidates, subject};
use crate::catalog::{Catalog, SnapshotRow};
use crate::env::World;
use crate::error::{Error, Result};
use crate::journal::{self, Journal, JournalError, ReadFrom, local_folder, trusted_keys};
use crate::ports::{LogReader, RecoverTo};
use crate::recover::Way;
use crate::report::Failure;
use crate::tier::OpenTier;

/// Bases that are tried for the newest point, the newest first.
const TRIED: usize = 4;

/// The journal of a component in a tier; nothing where there is none.
pub(super) fn open_journal(
    world: &World,
    tier: &OpenTier,
    component: &str,
    notes: &mut Vec<String>,
) -> Result<Option<Journal>> {
    let kind = world.plan.component.get(component).map(|component| &component.kind);
    if !matches!(kind, Some(Kind::Sqlite(_) | Kind::Postgres(_))) {
        return Ok(None);
    }
    let listing = journal::list(&*tier.store, component)?;
    if listing.lineages.is_empty() && listing.handed.is_empty() {
        return Ok(None);
    }
    let closed = |why: String| {
        Error::refused(
            format!("the journal of {component} cannot be opened: {why}"),
            "name the identity in `[key] identity_file`; `--at SNAPSHOT` restores a snapshot alone",
        )
    };
    let sealer = match &tier.sealer {
        Ok(sealer) if sealer.opens() => Arc::clone(sealer),
        Ok(_) => return Err(closed("the identity is not here".to_owned())),
        Err(why) => return Err(closed(why.line())),
    };
    let (trusted, said) = trusted_keys(world, tier)?;
    notes.extend(said);
    Ok(Some(Journal::open(ReadFrom {
        store: tier.store.clone(),
        sealer,
        component: component.to_owned(),
        trusted,
        local: Some(local_folder(&world.state, component)),
        cancel: world.cancel.clone(),
    })?))
}

/// One base that could be begun from.
struct Base {
    candidate: Candidate,
    started: Timestamp,
    read_until: Timestamp,
    finished: Timestamp,
    position: Option<lifeboat_model::position::LogPosition>,
}

/// A base with its way.
struct Found {
    base: Base,
    way: Option<(RecoverTo, journal::Way)>,
    /// What must be said of the journal beyond it.
    notes: Vec<String>,
    /// What was streamed and is not on it, though it was to lead as far as the journal does.
    doubt: Option<String>,
}

impl Found {
    /// A way to a point that was named: it leads there, whatever lies beyond.
    fn to(base: Base, to: RecoverTo, way: journal::Way) -> Found {
        Found { base, way: Some((to, way)), notes: Vec::new(), doubt: None }
    }

    /// The instant up to which the copy will be complete.
    fn complete(&self) -> Timestamp {
        let proven = self.way.as_ref().and_then(|(_, way)| way.target().proven);
        proven.map_or(self.base.started, |proven| proven.max(self.base.started))
    }
}

/// Chooses base and way of one component.
pub(super) fn choose(
    world: &World,
    tier: &OpenTier,
    catalog: &Catalog,
    rows: &[SnapshotRow],
    component: &str,
    wanted: &WantedPoint<'_>,
) -> Result<(Choice, Way)> {
    let replays = !matches!(wanted.at, At::Snapshot(_)) && !wanted.as_stored;
    let mut notes = Vec::new();
    let journal = match replays {
        true => open_journal(world, tier, component, &mut notes)?,
        false => None,
    };
    let Some(journal) = journal else { return alone(world, rows, component, wanted) };
    let (passed, unread) = (Vec::new(), None);
    let choice =
        Chooser { world, tier, catalog, rows, component, wanted, journal, notes, passed, unread };
    choice.choose()
}

/// A snapshot and nothing else.
fn alone(
    world: &World,
    rows: &[SnapshotRow],
    component: &str,
    wanted: &WantedPoint<'_>,
) -> Result<(Choice, Way)> {
    let in_log = matches!(wanted.at, At::Position(..) | At::Name(_) | At::Transaction(_));
    if in_log {
        let (what, hint) = match wanted.as_stored {
            true => (
                format!("{} is no snapshot, and a part or a stream is taken from one", wanted.at),
                "restore the whole component with `--to DIR`",
            ),
            false => (
                format!("{component} has no journal in tier {}", world.tier.name),
                "`lifeboat list` shows what can be had",
            ),
        };
        return Err(Error::Usage { what, hint: hint.to_owned() });
    }
    let at = match wanted.base {
        Some(id) => &At::Snapshot(id.to_owned()),
        None => wanted.at,
    };
    let choice = point::choose(rows, component, &world.host, at, wanted.verified_only)?;
    Ok((choice, Way { prepare_only: wanted.prepare_only, ..Way::base() }))
}

struct Chooser<'a> {
    world: &'a World,
    tier: &'a OpenTier,
    catalog: &'a Catalog,
    rows: &'a [SnapshotRow],
    component: &'a str,
    wanted: &'a WantedPoint<'a>,
    journal: Journal,
    notes: Vec<String>,
    /// Bases that cannot be read, and why the first one cannot.
    passed: Vec<Candidate>,
    unread: Option<Error>,
}

impl Chooser<'_> {
    fn choose(mut self) -> Result<(Choice, Way)> {
        let candidates = self.candidates()?;
        let found = match self.wanted.at {
            At::Time(time) => self.at_time(&candidates, *time)?,
            At::Position(line, offset) => self.at_position(&candidates, *line, *offset)?,
            At::Name(name) => self.searched(&candidates, &RecoverTo::Name(name.clone()))?,
            At::Transaction(id) => self.searched(&candidates, &RecoverTo::Transaction(*id))?,
            At::Newest | At::Snapshot(_) => self.newest(&candidates)?,
        };
        match found {
            Some(found) => Ok(self.taken(&candidates, found)),
            // Before the journal begins there are snapshots.
            None => {
                let (choice, mut way) = alone(self.world, self.rows, self.component, self.wanted)?;
                way.warnings.extend(self.notes);
                way.warnings.push(format!(
                    "the journal begins later: this is the newest snapshot with nothing after {}",
                    self.wanted.at
                ));
                Ok((choice, way))
            }
        }
    }

    /// What may be begun from, the newest first.
    fn candidates(&self) -> Result<Vec<Candidate>> {
        let mut all = candidates(self.rows, self.component, &self.world.host);
        if let Some(prefix) = self.wanted.base {
            let id = point::by_prefix(self.rows, prefix)?;
            all.retain(|one| one.snapshot == id);
            if all.is_empty() {
                return Err(Error::NoSnapshot { name: prefix.to_owned() });
            }
            return Ok(all);
        }
        all.retain(|one| !one.foreign() && one.lost.is_none() && !one.verification_failed);
        if self.wanted.verified_only {
            all.retain(|one| one.verified_level.is_some());
        }
        all.sort_by_key(|one| Reverse((one.seq, one.time)));
        if all.is_empty() {
            // The usual choice says why.
            let at = At::Newest;
            let host = &self.world.host;
            point::choose(self.rows, self.component, host, &at, self.wanted.verified_only)?;
            return Err(self.none(PointError::None));
        }
        Ok(all)
    }

    fn none(&self, source: PointError) -> Error {
        Error::Point { component: self.component.to_owned(), source }
    }

    /// A base by its manifest. One whose manifest cannot be read is base of nothing: it is passed
    /// over, aloud, if it was not named.
    fn base(&mut self, candidate: &Candidate) -> Result<Option<Base>> {
        let id = &candidate.snapshot;
        let manifest = match subject(self.tier, self.component, id, candidate.partial) {
            Ok(subject) => subject.manifest,
            Err(error) if self.wanted.base.is_none() && unreadable(&error) => {
                self.pass_over(candidate, error);
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        Ok(Some(Base {
            candidate: candidate.clone(),
            started: manifest.started,
            read_until: manifest.read_until(),
            finished: manifest.finished,
            position: manifest.position,
        }))
    }

    fn pass_over(&mut self, candidate: &Candidate, error: Error) {
        if self.passed.iter().any(|one| one.snapshot == candidate.snapshot) {
            return;
        }
        let id = candidate.snapshot.get(..8).unwrap_or_default();
        let why = Failure::of(&error).line();
        self.notes.push(format!("snapshot {id} of {} is passed over: {why}", candidate.time));
        self.passed.push(candidate.clone());
        self.unread.get_or_insert(error);
    }

    /// The way from a base to a point; what speaks against it, but for a tier that fails.
    fn way(&self, base: &Base, to: &RecoverTo) -> Result<Result<journal::Way, JournalError>> {
        let Some(position) = &base.position else {
            return Ok(Err(JournalError::None { component: self.component.to_owned() }));
        };
        match self.journal.way_since(position, base.finished, to) {
            Ok(way) => Ok(Ok(way)),
            Err(error) if says_something(&error) => Ok(Err(error)),
            Err(error) => Err(error.into()),
        }
    }

    /// The point furthest on; of the bases that lead there the newest verified one.
    fn newest(&mut self, candidates: &[Candidate]) -> Result<Option<Found>> {
        let mut best: Option<Found> = None;
        let (mut tried, mut seen_verified) = (0, false);
        for candidate in candidates {
            let verified = candidate.verified_level.is_some();
            if tried >= TRIED && (seen_verified || !verified) {
                continue;
            }
            let Some(base) = self.base(candidate)? else { continue };
            tried += 1;
            seen_verified |= verified;
            let found = self.furthest(base)?;
            // One at a time is held: a way of a week is large.
            let better = best.as_ref().is_none_or(|best| {
                let known = best.base.candidate.verified_level.is_some();
                let (now, then) = (found.complete(), best.complete());
                now > then || now == then && verified && !known
            });
            if better {
                best = Some(found);
            }
        }
        let Some(mut best) = best else { return Err(self.refused(None)) };
        let complete = best.complete();
        let later = self.passed.iter().find(|one| one.time > complete);
        if let Some(later) = later.filter(|_| best.doubt.is_none()) {
            let id = later.snapshot.get(..8).unwrap_or_default();
            best.doubt = Some(format!("snapshot {id} of {} cannot be read", later.time));
        }
        Ok(Some(best))
    }

    /// As far as the journal leads from a base. What keeps it from leading further is kept with it.
    fn furthest(&self, base: Base) -> Result<Found> {
        let to = match self.wanted.verified_only {
            true => self.proven(&base)?,
            false => Some(RecoverTo::Newest),
        };
        let Some(to) = to else {
            return Ok(Found { base, way: None, notes: Vec::new(), doubt: None });
        };
        match self.way(&base, &to)? {
            Ok(way) => {
                let doubt = way.broken().map(str::to_owned);
                let mut notes = way.notes().to_vec();
                // What ends before the base was read adds nothing to it.
                let adds = way.pieces().last().is_some_and(|last| last.time > base.read_until);
                if !adds {
                    return Ok(Found { base, way: None, notes, doubt });
                }
                notes.clear();
                Ok(Found { base, way: Some((to, way)), notes, doubt })
            }
            Err(error) => {
                let doubt = lost(&error);
                let none = matches!(error, JournalError::None { .. });
                let line = || Failure::of(&Error::from(error)).line();
                let notes = if none { Vec::new() } else { vec![line()] };
                Ok(Found { base, way: None, notes, doubt })
            }
        }
    }

    /// The last place of the base's log that a restore has proven.
    fn proven(&self, base: &Base) -> Result<Option<RecoverTo>> {
        let Some(at) = &base.position else { return Ok(None) };
        let proven = self.catalog.proven(self.component, &at.lineage)?;
        Ok(proven.filter(|place| *place > at.position).map(RecoverTo::Position))
    }

    /// Verified ones first, each kind the newest first.
    fn preferred<'c>(&self, candidates: &'c [Candidate]) -> Vec<&'c Candidate> {
        let verified = |one: &&Candidate| one.verified_level.is_some();
        let (first, then): (Vec<_>, Vec<_>) = candidates.iter().partition(verified);
        first.into_iter().chain(then).collect()
    }

    fn at_time(&mut self, candidates: &[Candidate], time: Timestamp) -> Result<Option<Found>> {
        let to = RecoverTo::Time(time);
        let (mut refused, mut before, mut whole) = (None, 0, true);
        for candidate in self.preferred(candidates) {
            if candidate.read_until.is_none_or(|until| until > time) {
                continue;
            }
            before += 1;
            let Some(base) = self.base(candidate)? else { continue };
            match self.way(&base, &to)? {
                Ok(way) => return Ok(Some(Found::to(base, to, way))),
                Err(error) => {
                    whole &= lost(&error).is_none();
                    refused = Some(clearer(refused, error));
                }
            }
        }
        if before == 0 {
            // Nothing is that old: the usual choice says so.
            let (at, host) = (&At::Time(time), &self.world.host);
            let alone =
                point::choose(self.rows, self.component, host, at, self.wanted.verified_only);
            return alone.map(|_| None);
        }
        // What cannot be read, or does not link, may hold that instant.
        let windows = self.journal.survey()?.windows;
        if whole && windows.iter().all(|window| window.since > time) {
            return Ok(None);
        }
        Err(self.refused(refused))
    }

    fn at_position(
        &mut self,
        candidates: &[Candidate],
        line: Option<u32>,
        offset: u64,
    ) -> Result<Option<Found>> {
        let mut refused = None;
        for candidate in self.preferred(candidates) {
            let Some(base) = self.base(candidate)? else { continue };
            let place = match line {
                Some(line) => Some(Position::new(line, offset)),
                None => match self.way(&base, &RecoverTo::Newest)? {
                    Ok(way) => on_line(&way, offset),
                    Err(error) => {
                        refused = Some(clearer(refused, error));
                        continue;
                    }
                },
            };
            let Some(place) = place else { continue };
            let to = RecoverTo::Position(place);
            match self.way(&base, &to)? {
                Ok(way) => return Ok(Some(Found::to(base, to, way))),
                Err(error) => refused = Some(clearer(refused, error)),
            }
        }
        Err(self.refused(refused))
    }

    /// A point that only the replay finds.
    fn searched(&mut self, candidates: &[Candidate], to: &RecoverTo) -> Result<Option<Found>> {
        let mut refused = None;
        for candidate in self.preferred(candidates) {
            let Some(base) = self.base(candidate)? else { continue };
            match self.way(&base, to)? {
                Ok(way) => return Ok(Some(Found::to(base, to.clone(), way))),
                Err(error) => refused = Some(clearer(refused, error)),
            }
        }
        Err(self.refused(refused))
    }

    fn refused(&mut self, why: Option<JournalError>) -> Error {
        match why {
            None if self.unread.is_some() => {
                self.unread.take().unwrap_or_else(|| self.none(PointError::None))
            }
            Some(JournalError::None { .. }) | None => Error::refused(
                format!(
                    "no way through the journal of {} leads to {}",
                    self.component, self.wanted.at
                ),
                "`lifeboat list` shows the windows; `--at SNAPSHOT` restores a snapshot alone",
            ),
            Some(why) => why.into(),
        }
    }

    /// The choice in words, and the way as the engine takes it.
    fn taken(self, candidates: &[Candidate], found: Found) -> (Choice, Way) {
        let complete = found.complete();
        let Found { base, way, notes, doubt } = found;
        let chosen = base.candidate;
        let kind = match chosen.verified_level {
            Some(_) => "the newest verified snapshot",
            None => "the newest snapshot (none is verified)",
        };
        let why = match (&way, self.wanted.base) {
            (_, Some(_)) => "named as the base".to_owned(),
            (Some(_), None) => format!("{kind} whose journal leads to {}", self.wanted.at),
            (None, None) if doubt.is_some() => format!("{kind}; the journal does not lead on"),
            (None, None) => format!("{kind}; the journal adds nothing to it"),
        };
        let passed = |one: &&Candidate| one.seq > chosen.seq;
        let skipped = candidates.iter().filter(passed).map(|one| {
            let why = match (one.verified_level, self.wanted.at) {
                _ if self.passed.iter().any(|passed| passed.snapshot == one.snapshot) => {
                    "it cannot be read".to_owned()
                }
                (_, At::Time(time)) if one.read_until.is_none_or(|until| until > *time) => {
                    format!("it holds data later than {time}")
                }
                (None, _) => {
                    "it was not verified yet, and the journal leads on from an older one".to_owned()
                }
                (Some(_), _) => "the journal does not lead from it to the point".to_owned(),
            };
            Skipped { snapshot: one.snapshot.clone(), time: one.time, why }
        });
        let skipped = skipped.collect();
        let choice = Choice { chosen, why, skipped, warnings: Vec::new() };
        let mut warnings = self.notes;
        warnings.extend(notes);
        warnings.extend(way.iter().flat_map(|(_, way)| way.notes().iter().cloned()));
        let doubt = doubt.map(not_all_of_it);
        if let Some(check) = &doubt
            && !warnings.iter().any(|line| line.contains(&check.found))
        {
            warnings.push(check.found.clone());
        }
        let prepare_only = self.wanted.prepare_only;
        let Some((to, way)) = way else {
            return (choice, Way { prepare_only, warnings, doubt, ..Way::base() });
        };
        let shown = Some(show(&way, &to, self.wanted.at, complete));
        (choice, Way { to, log: Some(Arc::new(way)), prepare_only, shown, warnings, doubt })
    }
}

/// The place with this offset on the newest line that has it.
fn on_line(way: &journal::Way, offset: u64) -> Option<Position> {
    let holds = |from: Position, to: Position| {
        from.line == to.line && from.offset <= offset && offset <= to.offset
    };
    let line = way.pieces().iter().rev().find(|piece| holds(piece.from, piece.to))?.to.line;
    Some(Position::new(line, offset))
}
