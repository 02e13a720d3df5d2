//! Where a stream joins the journal: on which timeline, across which switches, and what is lost.

use bytes::Bytes;
use jiff::Timestamp;
use lifeboat_model::position::Position;
use lifeboat_recovery::ports::{Joint, LogEvent, Resume};

use super::error::{PgError, Result};
use super::facts::Facts;
use super::lsn;
use super::replication::{System, history_of, read_history};
use super::tail;

/// The server's timelines: each earlier one and where it was left, and the present one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Lines {
    past: Vec<(u32, u64)>,
    now: u32,
    text: Bytes,
}

impl Lines {
    pub(crate) fn read(now: u32, history: Bytes) -> Result<Lines> {
        Ok(Lines { past: read_history(&history)?, now, text: history })
    }

    /// Where a timeline was left; `None` if the server never was on it or still is.
    fn left(&self, line: u32) -> Option<u64> {
        self.past.iter().find(|(past, _)| *past == line).map(|(_, at)| *at)
    }

    /// The timeline after one of the past.
    pub(crate) fn next(&self, line: u32) -> u32 {
        self.past.iter().map(|(past, _)| *past).find(|past| *past > line).unwrap_or(self.now)
    }

    /// The timeline that a place lies on.
    pub(crate) fn at(&self, offset: u64) -> u32 {
        let past = self.past.iter().find(|(_, left)| offset < *left);
        past.map_or(self.now, |(line, _)| *line)
    }

    /// The history file of one of them.
    pub(crate) fn history(&self, line: u32) -> Bytes {
        if line == self.now { self.text.clone() } else { history_of(line, &self.text) }
    }

    /// The mark of one of them.
    pub(crate) fn mark(&self, line: u32) -> String {
        tail::line_mark(line, &self.past)
    }

    /// The change from one timeline to the next, as an event.
    pub(crate) fn branch(&self, line: u32, at: u64, time: Timestamp) -> LogEvent {
        let to = self.next(line);
        LogEvent::Branch {
            from: Position::new(line, at),
            to: Position::new(to, at),
            time,
            history: self.history(to),
        }
    }
}

/// Where a stream wants to begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Wish {
    /// At the journal's end. If the journal went on too far on a timeline that was left, from where
    /// that was left.
    GoOn {
        /// Where to ask for log.
        at: Position,
        /// The timeline that was left, and where.
        left: Option<(u32, u64)>,
    },
    /// Where the server's log begins that is kept, for nothing joins.
    Anew(Joint),
}

impl Wish {
    /// The timeline that was left behind the journal's end, and where.
    pub(crate) fn left(&self) -> Option<(u32, u64)> {
        match self {
            Wish::GoOn { left, .. } => *left,
            Wish::Anew(_) => None,
        }
    }
}

/// Decides by what the journal has and what the server is.
pub(crate) fn wish(
    resume: Option<&Resume>,
    facts: &Facts,
    system: &System,
    lines: &Lines,
) -> Result<Wish> {
    let Some(resume) = resume else {
        let why = "the first stream".to_owned();
        return Ok(Wish::Anew(Joint::NewLineage { why }));
    };
    if resume.at.lineage != facts.lineage() {
        let why = format!(
            "the server is another cluster (system identifier {}) than the journal's ({}): it was \
             upgraded or made anew, or the connection string leads elsewhere",
            facts.lineage(),
            resume.at.lineage
        );
        return Ok(Wish::Anew(Joint::NewLineage { why }));
    }
    let end = resume.at.position;
    let was_there = end.line == lines.now || lines.left(end.line).is_some();
    if let Some(told) = tail::told_line(&resume.facts, end.line)
        && was_there
        && told != lines.mark(end.line)
    {
        return Ok(Wish::Anew(other_log(end)));
    }
    if end.line > system.timeline {
        let what = format!(
            "the server is on timeline {}, the journal already on {}: this is not the primary any \
             more",
            system.timeline, end.line
        );
        return Err(PgError::unfit(what, "let the connection string lead to the present primary"));
    }
    if end.line == system.timeline {
        return on_same_line(end, facts, system);
    }
    match lines.left(end.line) {
        // The server went by another way than the journal.
        None => Ok(Wish::Anew(Joint::Gap {
            why: format!(
                "the server never was on timeline {}, on which the journal ends",
                end.line
            ),
        })),
        // To the end of that timeline; then the switch.
        Some(left) if end.offset < left => Ok(Wish::GoOn { at: end, left: None }),
        Some(left) => Ok(Wish::GoOn {
            at: Position::new(lines.next(end.line), left),
            left: Some((end.line, left)),
        }),
    }
}

/// The server has other log at a place than the journal, by the same names.
pub(crate) fn other_log(at: Position) -> Joint {
    Joint::NewLineage {
        why: format!(
            "the server's log is another one than the journal's, by the same system identifier and \
             timeline ({at}): two standbys were promoted to one timeline, or an older state was put \
             back"
        ),
    }
}

fn on_same_line(end: Position, facts: &Facts, system: &System) -> Result<Wish> {
    if end.offset <= system.end {
        return Ok(Wish::GoOn { at: end, left: None });
    }
    let (has, wants) = (lsn::text(system.end), lsn::text(end.offset));
    if facts.in_recovery {
        return Err(PgError::lost(format!(
            "the standby has the log up to {has} only, the journal up to {wants}"
        )));
    }
    // Its log goes on from an older state, on the same timeline, with other content.
    Ok(Wish::Anew(Joint::NewLineage {
        why: format!(
            "the server's log ends at {has}, before the journal's end {wants}: an older state of \
             the cluster was put back without a new timeline"
        ),
    }))
}

#[cfg(test)]
mod tests {
    use lifeboat_model::position::LogPosition;
    use lifeboat_recovery::ports::LogFacts;

    use super::*;

    fn facts() -> Facts {
        Facts {
            version: 150_018,
            version_text: String::new(),
            system_identifier: 7,
            in_recovery: false,
            segment_size: 16 << 20,
            settings: Default::default(),
        }
    }

    fn ask(line: u32, offset: u64, now: u32, end: u64, history: &str) -> Result<Wish> {
        let lines = Lines::read(now, Bytes::copy_from_slice(history.as_bytes())).unwrap();
        let at = LogPosition { lineage: facts().lineage(), position: Position::new(line, offset) };
        let resume = Resume { at, facts: LogFacts::new(), proven: None };
        wish(Some(&resume), &facts(), &System { identifier: 7, timeline: now, end }, &lines)
    }

    #[test]
    fn a_stream_goes_on_across_every_switch() {
        let history = "1\t0/100\tx\n2\t0/200\ty\n";
        let on = |line, offset| Wish::GoOn { at: Position::new(line, offset), left: None };
        assert_eq!(ask(3, 0x250, 3, 0x300, history).unwrap(), on(3, 0x250));
        assert_eq!(ask(1, 0x80, 3, 0x300, history).unwrap(), on(1, 0x80));
        let at = Position::new(2, 0x100);
        for offset in [0x100, 0x180] {
            let left = Some((1, 0x100));
            assert_eq!(ask(1, offset, 3, 0x300, history).unwrap(), Wish::GoOn { at, left });
        }
        assert!(matches!(ask(4, 0x80, 3, 0x300, history), Err(PgError::Unfit { .. })));
        let other = ask(2, 0x80, 3, 0x300, "1\t0/100\tx\n").unwrap();
        assert!(matches!(other, Wish::Anew(Joint::Gap { .. })), "{other:?}");
        let older = ask(3, 0x301, 3, 0x300, history).unwrap();
        assert!(matches!(older, Wish::Anew(Joint::NewLineage { .. })), "{older:?}");
    }

    #[test]
    fn a_timeline_that_began_elsewhere_is_another_log() {
        let of =
            |history: &'static str| Lines::read(2, Bytes::from_static(history.as_bytes())).unwrap();
        let (here, there) = (of("1\t0/100\tx\n"), of("1\t0/120\tx\n"));
        let at = LogPosition { lineage: facts().lineage(), position: Position::new(2, 0x180) };
        let kept = tail::facts(Timestamp::UNIX_EPOCH, None, &here.mark(2));
        let resume = Resume { at, facts: kept, proven: None };
        let system = System { identifier: 7, timeline: 2, end: 0x300 };
        let ask = |lines: &Lines| wish(Some(&resume), &facts(), &system, lines).unwrap();
        assert!(matches!(ask(&here), Wish::GoOn { .. }));
        assert!(matches!(ask(&there), Wish::Anew(Joint::NewLineage { .. })));
    }

    #[test]
    fn lines_know_their_places_and_histories() {
        let text = Bytes::from_static(b"1\t0/100\tx\n3\t0/200\ty\n");
        let lines = Lines::read(4, text.clone()).unwrap();
        assert_eq!([lines.at(0xff), lines.at(0x100), lines.at(0x200)], [1, 3, 4]);
        assert_eq!([lines.next(1), lines.next(3)], [3, 4]);
        assert_eq!(lines.history(3), &b"1\t0/100\tx\n"[..]);
        assert_eq!(lines.history(4), text);
    }
}
