//! A server that replays the making of a tablespace takes over its folder on this machine, which may
//! be production's. A log that holds such a record up to the target is not replayed.

use std::fs;
use std::io;

use lifeboat_recovery::ports::EngineError;

use super::records::{Extent, Meaning, Walker};
use super::way::{BaseLog, Found, Way};
use super::{failed, lsn, refused};

/// Refuses a segment of the way in which a tablespace is made, up to the way's target.
pub(super) fn harmless(
    way: &Way<'_>,
    (line, number): (u32, u64),
    segment: &[u8],
) -> Result<(), EngineError> {
    let mut walker = Walker::new(way.size, number * way.size);
    let mut made = None;
    let mut on = |extent: Extent, meaning| {
        if let Meaning::Tablespace(place) = meaning
            && extent.end <= way.target()
        {
            made.get_or_insert((place, extent.start));
        }
    };
    walker.feed(segment, &mut on);
    if walker.in_one_that_matters()
        && let Found::Segment(next) = way.segment(line, number + 1)?
    {
        walker.feed(&next, &mut on);
    }
    match made {
        None => Ok(()),
        // To a time just before it a server replays it: only its commit comes after that.
        Some((place, start)) => Err(refused(
            format!(
                "a tablespace was made in {place} after the base; replaying that would take over \
                 the folder of that name on this machine"
            ),
            format!(
                "restore to the place before it (`--at lsn:{}`), or from a base that was taken \
                 after it",
                lsn::text(start)
            ),
        )),
    }
}

/// The same for the base's own log, from its start to its end: a server reads it wherever the way has
/// nothing.
pub(super) fn harmless_base(base: &BaseLog<'_>) -> Result<(), EngineError> {
    let mut walker = Walker::new(base.size, base.start.offset / base.size * base.size);
    let mut made = None;
    let mut on = |extent: Extent, meaning| {
        let replayed = extent.start >= base.start.offset && extent.start < base.stop;
        if let Meaning::Tablespace(place) = meaning
            && replayed
        {
            made.get_or_insert(place);
        }
    };
    for number in base.start.offset / base.size..=base.stop.saturating_sub(1) / base.size {
        let name = lsn::segment_name(base.start.line, number * base.size, base.size);
        let path = base.folder.join(name);
        match fs::read(&path) {
            Ok(bytes) => walker.feed(&bytes, &mut on),
            // Nothing is replayed from a file that is not there.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                walker = Walker::new(base.size, (number + 1) * base.size);
            }
            Err(error) => return Err(failed(format!("read {}", path.display()))(error)),
        }
    }
    match made {
        None => Ok(()),
        Some(place) => Err(refused(
            format!(
                "a tablespace was made in {place} while the base was taken; replaying that would \
                 take over the folder of that name on this machine"
            ),
            "choose another snapshot: `lifeboat list` shows them",
        )),
    }
}
