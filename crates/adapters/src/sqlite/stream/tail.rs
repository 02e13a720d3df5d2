//! Follows the log of a database in WAL mode: reads what was committed, moves the held transaction
//! along, and makes room in the log.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::Duration;

use lifeboat_vault::Clock;

use super::Limits;
use super::failure::Failure;
use super::frames::{Cursor, Header};
use super::gather::Gather;
use super::pins::{Look, Pins, is_busy};

/// Times that the log may be found in the middle of a change before that counts as a doubt.
const PATIENCE: u32 = 200;
/// The longest wait for the write lock.
const LOCK_WAIT: Duration = Duration::from_millis(50);
/// Between two tries to get it.
const LOCK_STEP: Duration = Duration::from_micros(200);
/// Frames that are copied while the write lock is held, at most: these, or a quarter of the log.
const LOCK_FRAMES: u32 = 256;

/// What a look at the log found.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// Nothing more.
    Nothing,
    /// Nothing could be told now: the next look will.
    Unseen,
    /// Commits; they are gathered.
    News,
    /// It cannot be proven that nothing is missing: one clause that says why.
    Doubt(&'static str),
}

/// See the module.
pub(super) struct Tail {
    pub pins: Pins,
    path: PathBuf,
    log: Option<(File, (u64, u64))>,
    cursor: Option<Cursor>,
    pub gather: Gather,
    /// How the log stood last.
    pub seen: Look,
    unclear: u32,
}

impl Tail {
    /// Follows the log at `path`, once anchored.
    pub fn new(pins: Pins, path: PathBuf) -> Tail {
        let (gather, seen) = Default::default();
        Tail { pins, path, log: None, cursor: None, gather, seen, unclear: 0 }
    }

    /// The log's file.
    pub fn file(&self) -> Option<&File> {
        self.log.as_ref().map(|(file, _)| file)
    }

    /// Bytes of a page; 0 before a log was seen.
    pub fn page_size(&self) -> u32 {
        self.cursor.map_or(0, |cursor| cursor.header.page_size)
    }

    /// Bytes of committed log that were not read yet.
    pub fn behind(&self) -> u64 {
        let Some(cursor) = &self.cursor else { return 0 };
        u64::from(self.seen.frames.saturating_sub(cursor.frame)) * cursor.header.stride() as u64
    }

    /// Bytes of log in use.
    pub fn in_use(&self) -> u64 {
        let stride = self.cursor.map_or(0, |cursor| cursor.header.stride());
        u64::from(self.seen.frames) * stride as u64
    }

    /// Holds the newest state, and finds a place in the log that is not behind it. What is held then
    /// is to be compared with the map; what the log has from that place on comes after.
    pub fn anchor(&mut self, clock: &dyn Clock) -> Result<(), Failure> {
        self.gather = Gather::default();
        for _ in 0..PATIENCE {
            self.log = None;
            let header = self.header()?.ok();
            let look = self.pins.look().map_err(Failure::Sqlite)?;
            let read = look.map_or(0, |look| look.frames);
            match self.pins.roll(read) {
                Err(error) if is_busy(&error) => {
                    clock.sleep(Duration::from_millis(1));
                    continue;
                }
                other => other.map_err(Failure::Sqlite)?,
            }
            let (Some(look), Some(header)) = (look, header) else { continue };
            if self.header()? != Ok(header) {
                continue;
            }
            self.seen = look;
            match header {
                None if look.frames == 0 => {
                    self.cursor = None;
                    return Ok(());
                }
                None => {}
                Some(header) => {
                    let mut cursor = Cursor::new(header);
                    let file = self.file().ok_or(io::ErrorKind::NotFound)?;
                    if cursor.advance(file, look.frames, &mut |_| ())?.is_ok() {
                        self.cursor = Some(cursor);
                        return Ok(());
                    }
                }
            }
            clock.sleep(Duration::from_millis(1));
        }
        Err(Failure::Log(
            "the write-ahead log cannot be read: it changes all the time, or it is damaged",
        ))
    }

    /// The header of the log, `None` where there is no log or only a part of its header; an error
    /// inside if the log is another file than before.
    fn header(&mut self) -> io::Result<Result<Option<Header>, ()>> {
        let there = match std::fs::metadata(&self.path) {
            Ok(found) => Some((found.dev(), found.ino())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        match (&self.log, there) {
            (None, None) => return Ok(Ok(None)),
            (None, Some(_)) => {
                let file = File::open(&self.path)?;
                let found = file.metadata()?;
                self.log = Some((file, (found.dev(), found.ino())));
            }
            (Some((_, known)), there) if Some(*known) != there => return Ok(Err(())),
            (Some(_), _) => {}
        }
        self.file().map_or(Ok(None), Header::read).map(Ok)
    }

    /// One look: gathers what was committed, and holds the newest state from then on.
    pub fn step(&mut self, limits: &Limits) -> Result<Found, Failure> {
        match self.read(limits) {
            Err(Failure::Sqlite(error)) if is_busy(&error) => Ok(Found::Unseen),
            other => other,
        }
    }

    fn read(&mut self, limits: &Limits) -> Result<Found, Failure> {
        let Ok(header) = self.header()? else {
            return Ok(Found::Doubt("the write-ahead log was removed or replaced"));
        };
        let Some(look) = self.pins.look().map_err(Failure::Sqlite)? else {
            return Ok(Found::Doubt("the journal mode was switched"));
        };
        // The header on both sides of the look: else they are not of one generation.
        let same = self.header()? == Ok(header);
        let (true, Some(header)) = (same, header) else { return Ok(self.unclear(look)) };
        let mut cursor = match self.cursor {
            Some(cursor) if cursor.header == header => cursor,
            // Started over, and nothing committed in it yet.
            _ if look.frames == 0 => return Ok(Found::Nothing),
            Some(cursor)
                if self.pins.rest == Some(cursor.frame) && header.follows(&cursor.header) =>
            {
                Cursor::new(header)
            }
            None if self.pins.rest == Some(0) => Cursor::new(header),
            _ => return Ok(Found::Doubt("somebody else started the write-ahead log over")),
        };
        self.unclear = 0;
        self.seen = look;
        if look.frames < cursor.frame && look.frames > 0 {
            return Ok(Found::Doubt("the write-ahead log lost commits"));
        }
        let news = look.frames > cursor.frame;
        if news {
            let (gather, budget) = (&mut self.gather, limits.part);
            let file = self.log.as_ref().map(|(file, _)| file).ok_or(io::ErrorKind::NotFound)?;
            let read =
                cursor.advance(file, look.frames, &mut |frame| gather.take(&frame, budget))?;
            match read {
                Ok(Some(pages)) => self.gather.page_count = pages,
                _ => return Ok(Found::Doubt("the write-ahead log has torn frames")),
            }
            self.cursor = Some(cursor);
        }
        let settled = look.frames == look.copied && look.frames > 0 && self.pins.rest.is_none();
        if (news || settled) && !self.gather.is_spilled() {
            self.pins.roll(cursor.frame).map_err(Failure::Sqlite)?;
        }
        Ok(if news { Found::News } else { Found::Nothing })
    }

    /// The log is being started over at this moment, or its header is not written yet.
    fn unclear(&mut self, look: Look) -> Found {
        // There is nothing in it, whatever its header says.
        if look.frames == 0 {
            return Found::Nothing;
        }
        self.unclear += 1;
        if self.unclear > PATIENCE {
            return Found::Doubt("the write-ahead log has no header that can be read");
        }
        Found::Unseen
    }

    /// Makes room in the log: copies it into the database, so that the next writer starts it over.
    /// Between two transactions of others if possible; under the write lock if `force`. Says how long
    /// that was held.
    pub fn make_room(
        &mut self,
        limits: &Limits,
        clock: &dyn Clock,
        force: bool,
    ) -> Result<Room, Failure> {
        for _ in 0..3 {
            if let Some(room) = self.copy(limits)? {
                return Ok(room);
            }
            self.pins.sync();
        }
        if !force || self.gather.is_spilled() {
            return Ok(Room::Later);
        }
        let start = clock.monotonic();
        while !self.pins.lock().map_err(Failure::Sqlite)? {
            if clock.monotonic().saturating_sub(start) > LOCK_WAIT {
                return Ok(Room::Later);
            }
            clock.sleep(LOCK_STEP);
        }
        let start = clock.monotonic();
        let copied = self.copy_locked(limits);
        self.pins.unlock().map_err(Failure::Sqlite)?;
        let held = clock.monotonic().saturating_sub(start);
        Ok(match copied? {
            Some(Room::Made(_)) => Room::Made(held),
            other => other.unwrap_or(Room::Later),
        })
    }

    fn copy_locked(&mut self, limits: &Limits) -> Result<Option<Room>, Failure> {
        let look = self.pins.look().map_err(Failure::Sqlite)?.unwrap_or_default();
        // Where somebody writes that quickly, more is left; only so does the log stay bounded.
        if look.frames.saturating_sub(look.copied) > LOCK_FRAMES.max(look.frames / 4) {
            return Ok(None);
        }
        self.copy(limits)
    }

    /// Reads, copies, and holds the newest state; `None` if somebody wrote meanwhile.
    fn copy(&mut self, limits: &Limits) -> Result<Option<Room>, Failure> {
        if let Found::Doubt(why) = self.step(limits)? {
            return Ok(Some(Room::Doubt(why)));
        }
        let (Some(cursor), false) = (self.cursor, self.gather.is_spilled()) else {
            return Ok(Some(Room::Later));
        };
        let look = match self.pins.checkpoint() {
            Err(error) if is_busy(&error) => return Ok(None),
            other => other.map_err(Failure::Sqlite)?.unwrap_or_default(),
        };
        if look.frames != cursor.frame {
            return Ok(None);
        }
        if look.copied < look.frames {
            return Ok(Some(Room::Read));
        }
        match self.pins.roll(cursor.frame) {
            Err(error) if is_busy(&error) => return Ok(None),
            other => other.map_err(Failure::Sqlite)?,
        }
        Ok(self.pins.rest.map(|_| Room::Made(Duration::ZERO)))
    }
}

/// How an attempt to make room ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Room {
    /// The next writer starts the log over; the write lock was held for so long.
    Made(Duration),
    /// Somebody was always writing.
    Later,
    /// A long transaction of somebody else needs the log as it is.
    Read,
    /// What was found on the way.
    Doubt(&'static str),
}
