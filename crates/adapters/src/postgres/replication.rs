//! The replication protocol's commands.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use lifeboat_model::position::Position;

use super::error::{PgError, Result};
use super::lsn;
use super::wire::{Connection, RawRows, cells, server_error, unexpected};

/// SQLSTATE of a file that is not there: the log was removed.
pub(crate) const REMOVED: &str = "58P01";
/// How long a wait is, and how many of them there are until a server counts as dumb.
const SLICE: Duration = Duration::from_millis(200);
const PATIENCE: u32 = 150;
/// Bytes of a message before the log in it: its kind, two places, a time.
const LOG: usize = 25;

/// What a server is, and where its log ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct System {
    /// The cluster's number.
    pub identifier: u64,
    /// Timeline on which it writes, or replays.
    pub timeline: u32,
    /// Up to where its log is flushed.
    pub end: u64,
}

/// What became of a request to stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Started {
    /// The log comes.
    Streaming,
    /// The timeline ends where it was asked for.
    Ended(Switch),
}

/// Where a timeline goes over into the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Switch {
    pub(crate) timeline: u32,
    pub(crate) at: u64,
}

impl Connection {
    /// Who the server is.
    pub fn identify_system(&mut self) -> Result<System> {
        let rows = self.query("IDENTIFY_SYSTEM")?;
        let cell = |at: usize| rows.first().and_then(|row| row.get(at)?.clone());
        let system = (|| {
            let identifier = cell(0)?.parse().ok()?;
            Some(System {
                identifier,
                timeline: cell(1)?.parse().ok()?,
                end: lsn::parse(&cell(2)?)?,
            })
        })();
        system.ok_or_else(|| PgError::protocol("it does not say which system it is"))
    }

    /// Makes a physical slot that keeps the log from now on; a temporary one goes with the
    /// connection.
    pub(crate) fn create_slot(&mut self, name: &str, temporary: bool) -> Result<()> {
        let kind = if temporary { "TEMPORARY PHYSICAL" } else { "PHYSICAL" };
        self.query(&format!("CREATE_REPLICATION_SLOT \"{name}\" {kind} RESERVE_WAL")).map(drop)
    }

    /// Drops a slot of ours.
    pub(crate) fn drop_slot(&mut self, name: &str) -> Result<()> {
        self.query(&format!("DROP_REPLICATION_SLOT \"{name}\"")).map(drop)
    }

    /// The history file of a timeline; the first one has none.
    pub(crate) fn timeline_history(&mut self, timeline: u32) -> Result<Bytes> {
        if timeline <= 1 {
            return Ok(Bytes::new());
        }
        let answers: Vec<RawRows> = self.query_raw(&format!("TIMELINE_HISTORY {timeline}"))?;
        let content =
            answers.into_iter().flatten().next().and_then(|row| row.into_iter().nth(1)?);
        content.ok_or_else(|| PgError::protocol("it sent no timeline history"))
    }

    /// Asks for the log of a timeline.
    pub(crate) fn start_physical(
        &mut self,
        slot: &str,
        from: u64,
        timeline: u32,
    ) -> Result<Started> {
        let from = lsn::text(from);
        let command =
            format!("START_REPLICATION SLOT \"{slot}\" PHYSICAL {from} TIMELINE {timeline}");
        self.ask(&command)?;
        let frame = self.frame()?;
        match frame.tag {
            b'W' => Ok(Started::Streaming),
            b'T' => Ok(Started::Ended(self.read_switch()?)),
            b'E' => {
                let said = server_error(frame.body)?;
                self.until_ready()?;
                Err(PgError::Refused { what: format!("`{command}`"), said })
            }
            other => Err(unexpected(other, "the start of streaming")),
        }
    }

    /// Bytes of the log as the server has them; nothing if it has removed them.
    pub(crate) fn log_at(&mut self, at: Position, length: u64) -> Result<Option<Vec<u8>>> {
        let (from, line) = (lsn::text(at.offset), at.line);
        let command = format!("START_REPLICATION PHYSICAL {from} TIMELINE {line}");
        self.ask(&command)?;
        let (mut found, mut failure, mut done, mut waits) = (Vec::new(), None, false, 0);
        loop {
            let Some(frame) = self.frame_within(SLICE)? else {
                waits += 1;
                if waits > PATIENCE {
                    return Err(PgError::lost("the server sends nothing of its log"));
                }
                continue;
            };
            match frame.tag {
                b'd' if !done && frame.body.first() == Some(&b'w') => {
                    found.extend_from_slice(frame.body.get(LOG..).unwrap_or_default());
                    done = found.len() as u64 >= length;
                }
                b'c' if !done => done = true,
                b'E' => {
                    failure = Some(server_error(frame.body)?);
                    continue;
                }
                b'Z' => break,
                b'W' | b'd' | b'c' | b'T' | b'D' | b'C' => continue,
                other => return Err(unexpected(other, "streaming")),
            }
            if done {
                self.send_with(|to| {
                    copy_done(to);
                    Ok(())
                })?;
            }
        }
        match failure {
            Some(said) if said.code == REMOVED => Ok(None),
            Some(said) => Err(PgError::Refused { what: format!("`{command}`"), said }),
            None => {
                found.truncate(length as usize);
                Ok(Some(found))
            }
        }
    }

    /// After the server said that a timeline is at its end: says so too, and reads what comes next.
    pub(crate) fn end_of_timeline(&mut self) -> Result<Switch> {
        self.send_with(|to| {
            copy_done(to);
            Ok(())
        })?;
        loop {
            let frame = self.frame()?;
            match frame.tag {
                b'T' => return self.read_switch(),
                b'd' | b'C' => {}
                b'E' => {
                    let said = server_error(frame.body)?;
                    return Err(PgError::Refused { what: "the end of a timeline".into(), said });
                }
                other => return Err(unexpected(other, "the end of a timeline")),
            }
        }
    }

    fn read_switch(&mut self) -> Result<Switch> {
        let mut found = None;
        loop {
            let frame = self.frame()?;
            match frame.tag {
                b'D' => {
                    let row = cells(frame.body)?;
                    let cell = |at: usize| {
                        let bytes = row.get(at)?.as_ref()?;
                        std::str::from_utf8(bytes).ok().map(str::to_owned)
                    };
                    found = (|| {
                        let timeline = cell(0)?.parse().ok()?;
                        Some(Switch { timeline, at: lsn::parse(&cell(1)?)? })
                    })();
                }
                b'C' => {}
                b'Z' => {
                    return found.ok_or_else(|| PgError::protocol("it names no next timeline"));
                }
                b'E' => {
                    let said = server_error(frame.body)?;
                    return Err(PgError::Refused { what: "the end of a timeline".into(), said });
                }
                other => return Err(unexpected(other, "the end of a timeline")),
            }
        }
    }

    /// After a failed command: up to where the server takes the next one.
    fn until_ready(&mut self) -> Result<()> {
        while self.frame()?.tag != b'Z' {}
        Ok(())
    }
}

fn copy_done(to: &mut BytesMut) {
    to.extend_from_slice(&[b'c', 0, 0, 0, 4]);
}

/// The lines of a history file: each earlier timeline, and where it was left.
pub(crate) fn read_history(content: &[u8]) -> Result<Vec<(u32, u64)>> {
    let wrong = || PgError::protocol("a timeline history cannot be read");
    let text = String::from_utf8_lossy(content);
    let lines =
        text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let mut all: Vec<(u32, u64)> = Vec::new();
    for line in lines {
        let mut words = line.split_whitespace();
        let timeline = words.next().and_then(|word| word.parse().ok()).ok_or_else(wrong)?;
        let at = words.next().and_then(lsn::parse).ok_or_else(wrong)?;
        if all.last().is_some_and(|(before, _)| *before >= timeline) {
            return Err(wrong());
        }
        all.push((timeline, at));
    }
    Ok(all)
}

/// The history file of one of the timelines that a later one's history names: its lines up to there.
pub(crate) fn history_of(timeline: u32, later: &[u8]) -> Bytes {
    let kept = later.split_inclusive(|byte| *byte == b'\n').take_while(|line| {
        let text = String::from_utf8_lossy(line);
        let first = text.split_whitespace().next().and_then(|word| word.parse::<u32>().ok());
        first.is_none_or(|first| first < timeline)
    });
    kept.flatten().copied().collect::<Vec<u8>>().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn histories_are_read_and_cut() {
        let text = b"1\t0/3000000\tno recovery target specified\n\n2\t0/5000148\tbefore x\n";
        assert_eq!(read_history(text).unwrap(), [(1, 0x300_0000), (2, 0x500_0148)]);
        assert_eq!(history_of(2, text), &b"1\t0/3000000\tno recovery target specified\n\n"[..]);
        assert_eq!(history_of(3, text), &text[..]);
        assert!(read_history(b"").unwrap().is_empty());
        for wrong in [&b"x"[..], b"1", b"1 x", b"2 0/1\n1 0/2"] {
            assert!(read_history(wrong).is_err());
        }
    }
}
