//! The paths of a lineage: followed from each end backwards by `prev`, so that two streams that went
//! on from one record are told apart.

use jiff::{SignedDuration, Timestamp};
use lifeboat_model::chain::Hash;
use lifeboat_model::journal::{Header, Kind, follows};
use lifeboat_model::position::Position;

use super::Result;
use super::fault::{Fault, FaultKind, Gap, Window};
use super::records::{Found, Records};

/// How much of the log is offered beyond a wanted instant: the clocks of a server and of the host
/// that received its log may differ by that.
pub(super) const MARGIN: SignedDuration = SignedDuration::from_hours(1);

/// A clock that jumps all the time is said so often, and no more.
const MOST_NOTES: usize = 20;

/// What is to be gathered on the way down.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Gather {
    /// Every record from this place on, and down to the last record before it that tells the facts
    /// of the stream. Nothing: windows and gaps only.
    pub from: Option<Position>,
    /// What is later than this by more than [`MARGIN`] is let go.
    pub until: Option<Timestamp>,
    /// A place that the path has to lead through, where there are several.
    pub through: Option<Position>,
    /// An instant at which the chain has to have been there: down to a record that is as old.
    pub there: Option<Timestamp>,
}

/// Why a path leads no further down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ended {
    /// The first record of the chain.
    Begin,
    /// What was before is pruned.
    Pruned,
    /// It leaves another path here.
    Joined,
    /// Something is wrong below.
    Broken(Fault),
    /// Nothing below is needed.
    Enough,
}

/// One linear run of records.
pub(super) struct Path {
    pub top: Header,
    pub bottom: Header,
    pub windows: Vec<Window>,
    pub gaps: Vec<Gap>,
    pub ended: Option<Ended>,
    /// What was gathered, newest first.
    pub taken: Vec<Found>,
    /// Notes about clocks.
    pub notes: Vec<String>,
    /// Place and time of the lowest record that proves something.
    proof: Option<(Position, Timestamp)>,
    /// The number and hash of the record below.
    next: (u32, Hash),
    /// The record above the present bottom is a gap, or there is none.
    apart: bool,
    covered: bool,
    told: bool,
    /// A record is as old as the chain has to be.
    there: bool,
    cut: bool,
}

/// All paths of a lineage.
pub(super) struct Walked {
    pub paths: Vec<Path>,
    pub faults: Vec<Fault>,
}

/// Follows all paths.
pub(super) fn walk(records: &mut Records<'_>, lineage: &str, gather: Gather) -> Result<Walked> {
    let mut paths: Vec<Path> = Vec::new();
    let mut faults = Vec::new();
    let lowest = records.lowest();
    while let Some((seq, found)) = records.next()? {
        for path in paths.iter_mut().filter(|path| path.ended.is_none() && path.next.0 > seq) {
            path.break_off(
                missing(lineage, seq.saturating_add(1), path.next.0, &records.faults),
                &mut faults,
            );
        }
        for found in found {
            let wanted = |path: &Path| path.ended.is_none() && path.next == (seq, found.hash);
            let mut matched: Vec<usize> =
                (0..paths.len()).filter(|index| wanted(&paths[*index])).collect();
            matched.sort_by_key(|index| paths[*index].rank(gather.through));
            match matched.pop() {
                Some(index) => paths[index].extend(found, lineage, &gather, &mut faults),
                None => paths.push(Path::begin(found, lineage, &gather)),
            }
            for index in matched {
                paths[index].leave(lineage, &mut faults);
            }
        }
        for path in paths.iter_mut().filter(|path| path.ended.is_none() && path.next.0 == seq) {
            path.break_off(unlinked(lineage, seq, &records.faults), &mut faults);
        }
        let done = |path: &Path| path.ended.is_some();
        if !paths.is_empty() && paths.iter().all(done) && gather.from.is_some() && enough(&paths) {
            break;
        }
    }
    for path in paths.iter_mut().filter(|path| path.ended.is_none()) {
        match path.next.0 {
            0 => path.ended = Some(Ended::Begin),
            last if last < lowest => path.ended = Some(Ended::Pruned),
            last => path.break_off(missing(lineage, lowest, last, &records.faults), &mut faults),
        }
    }
    faults.append(&mut records.faults);
    faults.sort_by(|a, b| (a.seq, a.kind, &a.object).cmp(&(b.seq, b.kind, &b.object)));
    faults.dedup();
    Ok(Walked { paths, faults })
}

/// True if nothing below can be of use: each path got all, or left another one that did.
fn enough(paths: &[Path]) -> bool {
    paths.iter().all(|path| matches!(path.ended, Some(Ended::Enough | Ended::Joined)))
}

/// What is not there. If an object with these numbers is there and not believed, that is the reason.
fn missing(lineage: &str, from: u32, to: u32, known: &[Fault]) -> Fault {
    let overlaps = |fault: &&Fault| fault.seq.0 <= to && fault.seq.1 >= from;
    if let Some(fault) = known.iter().find(overlaps) {
        return fault.clone();
    }
    let object = match from == to {
        true => format!("number {from}"),
        false => format!("numbers {from} to {to}"),
    };
    let why = format!("{object} of the chain: the listing is whole and has no such object");
    Fault { lineage: lineage.to_owned(), seq: (from, to), object, kind: FaultKind::Missing, why }
}

fn unlinked(lineage: &str, seq: u32, known: &[Fault]) -> Fault {
    if let Some(fault) = known.iter().find(|fault| fault.seq.0 <= seq && fault.seq.1 >= seq) {
        return fault.clone();
    }
    let object = format!("number {seq}");
    let why = format!(
        "number {} follows another {object} than the one that is there",
        seq.saturating_add(1)
    );
    Fault { lineage: lineage.to_owned(), seq: (seq, seq), object, kind: FaultKind::Unlinked, why }
}

impl Path {
    fn begin(found: Found, lineage: &str, gather: &Gather) -> Path {
        let header = found.header.clone();
        let mut path = Path {
            top: header.clone(),
            bottom: header,
            windows: Vec::new(),
            gaps: Vec::new(),
            ended: None,
            taken: Vec::new(),
            notes: Vec::new(),
            proof: None,
            next: (0, Hash::NONE),
            apart: true,
            covered: false,
            told: false,
            there: gather.there.is_none(),
            cut: false,
        };
        path.take(found, lineage, gather);
        path
    }

    /// The newest line wins, then the longest chain; a path through the wanted place before all.
    fn rank(&self, through: Option<Position>) -> (bool, u32, u32) {
        let leads = through.is_some_and(|place| {
            self.windows.iter().any(|window| holds(window, place)) && place.line == self.top.to.line
        });
        (leads, self.top.to.line, self.top.seq)
    }

    fn extend(&mut self, found: Found, lineage: &str, gather: &Gather, faults: &mut Vec<Fault>) {
        if let Err(why) = follows(&found.header, &found.hash, &self.bottom) {
            let seq = self.bottom.seq;
            let object = format!("number {seq}");
            let fault = Fault {
                lineage: lineage.to_owned(),
                seq: (seq, seq),
                why: format!("{object}: {why}"),
                object,
                kind: FaultKind::Unlinked,
            };
            return self.break_off(fault, faults);
        }
        self.take(found, lineage, gather);
    }

    fn take(&mut self, found: Found, lineage: &str, gather: &Gather) {
        let header = &found.header;
        self.next = (header.seq.saturating_sub(1), header.prev);
        self.bottom = header.clone();
        self.compare_clocks(header);
        if header.kind == Kind::Gap {
            self.gaps.push(Gap {
                lineage: lineage.to_owned(),
                from: header.from,
                to: header.to,
                time: header.time,
                why: header.why().unwrap_or("no reason is recorded").to_owned(),
            });
            self.apart = true;
        } else {
            self.widen(lineage, &found);
        }
        if header.seq <= 1 {
            self.ended = Some(Ended::Begin);
        }
        self.gather(found, gather);
    }

    /// Notes where a clock was set back; a part of a second is none.
    fn compare_clocks(&mut self, header: &Header) {
        if !proves(header.kind) {
            return;
        }
        let later = self.proof.replace((header.from, header.time));
        if let Some((place, time)) = later
            && header.time.duration_since(time) > SignedDuration::from_secs(1)
            && self.notes.len() < MOST_NOTES
        {
            self.notes.push(format!(
                "the clock was set back at {place} ({} was followed by {time}): the order is that \
                 of the log, and an instant that came twice is its later one",
                header.time
            ));
        }
    }

    fn widen(&mut self, lineage: &str, found: &Found) {
        let header = &found.header;
        if std::mem::take(&mut self.apart) {
            self.windows.push(Window {
                lineage: lineage.to_owned(),
                from: header.from,
                to: header.to,
                since: header.time,
                until: None,
                bytes: 0,
                records: 0,
                main: true,
            });
        }
        let Some(window) = self.windows.last_mut() else { return };
        window.from = header.from;
        window.since = header.time;
        window.records += 1;
        if header.kind == Kind::Range {
            window.bytes = window.bytes.saturating_add(header.bytes);
        }
        if proves(header.kind) {
            window.until = window.until.or(Some(header.time));
        }
    }

    fn gather(&mut self, found: Found, gather: &Gather) {
        let Some(from) = gather.from else { return };
        let header = &found.header;
        if let Some(until) = gather.until
            && !self.cut
        {
            // The newest end of what was taken is of no use, but for its first record.
            let last = header.time.max(until).checked_add(MARGIN).unwrap_or(Timestamp::MAX);
            let useful = self.taken.iter().position(|later| later.header.time <= last);
            let keep = useful.unwrap_or(self.taken.len()).saturating_sub(1);
            self.taken.drain(..keep);
            self.cut = header.time <= until;
        }
        // A branch may have left its line before the end that was delivered of it.
        self.covered |= header.from <= from && header.kind != Kind::Branch;
        self.told |= self.covered && header.kind == Kind::Start;
        self.there |= gather.there.is_some_and(|there| header.time <= there);
        self.taken.push(found);
        if self.told && self.there && self.ended.is_none() {
            self.ended = Some(Ended::Enough);
        }
    }

    /// When the chain was begun, where that is known to be too late.
    pub(super) fn begun_late(&self) -> Option<Timestamp> {
        (self.ended == Some(Ended::Begin) && !self.there).then_some(self.bottom.time)
    }

    fn break_off(&mut self, fault: Fault, faults: &mut Vec<Fault>) {
        faults.push(fault.clone());
        self.ended = Some(Ended::Broken(fault));
    }

    /// It goes on in another path.
    fn leave(&mut self, lineage: &str, faults: &mut Vec<Fault>) {
        self.ended = Some(Ended::Joined);
        for window in &mut self.windows {
            window.main = false;
        }
        let object = format!("numbers {} to {}", self.bottom.seq, self.top.seq);
        let why = format!(
            "{object} of host {} go on from number {} beside another stream: they are not used",
            self.top.host,
            self.bottom.seq.saturating_sub(1)
        );
        faults.push(Fault {
            lineage: lineage.to_owned(),
            seq: (self.bottom.seq, self.top.seq),
            object,
            kind: FaultKind::Beside,
            why,
        });
    }
}

/// True for what shows that nothing is missing up to its time.
pub(super) fn proves(kind: Kind) -> bool {
    matches!(kind, Kind::Range | Kind::Keepalive)
}

fn holds(window: &Window, place: Position) -> bool {
    window.from <= place && place <= window.to
}
