//! Fetch: a file of the log from the first tier that has it, proven.
//!
//! Absent is what every tier of the plan answered for and has not. A tier that does not answer, that
//! this version does not reach or that has no vault (an unmounted disk looks like that on a machine
//! which never saw it) answered for nothing: that is an error, and never the end of a log.

use bytes::Bytes;
use lifeboat_model::journal::{WalKind, WalName};

use super::{ahead, postgres};
use crate::env::World;
use crate::error::{Error, Result};
use crate::flows::way::open_journal;
use crate::journal::{Held, Journal};

/// What came of it.
#[derive(Debug)]
pub struct Fetched {
    /// Its content, as long as a segment is, and from which tier. Nothing: it is proven that there is
    /// none.
    pub file: Option<(Bytes, String)>,
    /// What must be said aloud.
    pub notes: Vec<String>,
}

/// What the tiers say.
#[derive(Default)]
struct Answers {
    /// Why it is not known that there is none.
    unknown: Vec<Error>,
    /// Logs that there are.
    logs: Vec<String>,
    /// A segment that nobody has to its end.
    part: Option<(Bytes, String)>,
    /// What must be said aloud.
    notes: Vec<String>,
}

/// Finds a file. `lineage` is the log of the server that asks, where that is known.
pub fn wal_fetch(
    world: &World,
    component: Option<&str>,
    lineage: Option<&str>,
    name: &WalName,
) -> Result<Fetched> {
    let components = postgres(world, component)?;
    if let Some((component, log)) = components.first().zip(lineage)
        && let Some(content) = ahead::take(&world.state, component, log, name)
    {
        let file = Some((content, "read ahead".to_owned()));
        return Ok(Fetched { file, notes: Vec::new() });
    }
    let mut answers = Answers::default();
    for tier in &world.tiers {
        match of_tier(&world.with_tier(tier), &components, lineage, name, &mut answers) {
            Ok(Some(content)) => {
                let file = Some((content, tier.name.clone()));
                return Ok(Fetched { file, notes: answers.notes });
            }
            Ok(None) => {}
            Err(error) => answers.unknown.push(error),
        }
    }
    for tier in &world.other_tiers {
        answers.unknown.push(Error::refused(
            format!("tier {tier} is not reached by this version"),
            "take it out of the plan that this server restores with, if nothing is in it",
        ));
    }
    conclude(answers, &components, lineage, name)
}

fn conclude(
    mut answers: Answers,
    components: &[String],
    lineage: Option<&str>,
    name: &WalName,
) -> Result<Fetched> {
    if let Some(error) = answers.unknown.into_iter().next() {
        return Err(error);
    }
    if answers.part.is_some() {
        answers.notes.push(format!("{name} ends where the log ends: it is filled up with zeros"));
        return Ok(Fetched { file: answers.part, notes: answers.notes });
    }
    // Of a log of which nobody has anything, nothing is known to end.
    let wrong = match lineage.filter(|own| !answers.logs.iter().any(|log| log == own)) {
        None => return Ok(Fetched { file: None, notes: answers.notes }),
        Some(own) if answers.logs.is_empty() => {
            format!("no tier has anything of the log of this server, system identifier {own}")
        }
        Some(own) => {
            let others = answers.logs.join(", ");
            format!("this server has system identifier {own}; there is log of {others}")
        }
    };
    let looked = components.join(", ");
    Err(Error::refused(
        wrong,
        format!("name the plan and the component that it was restored from, not {looked}"),
    ))
}

/// What one tier has: the whole file, or what it answers into `answers`.
fn of_tier(
    world: &World,
    components: &[String],
    lineage: Option<&str>,
    name: &WalName,
    answers: &mut Answers,
) -> Result<Option<Bytes>> {
    let tier = world.read_tier()?;
    for component in components {
        let journal = open_journal(world, &tier, component, &mut answers.notes)?;
        let Some(journal) = journal else { continue };
        let logs = journal.logs();
        let log = match (lineage, &logs[..]) {
            (Some(own), _) => own,
            (None, [only]) if components.len() == 1 => only,
            (None, []) => continue,
            (None, _) => {
                return Err(Error::refused(
                    format!("there are several logs: {}", logs.join(", ")),
                    "run it as the server does, in its data directory: `global/pg_control` says \
                     which one is wanted",
                ));
            }
        };
        let log = log.to_owned();
        answers.logs.extend(logs);
        match journal.held(&log, name)? {
            Held::File { content, whole: true } => {
                read_ahead(world, component, &journal, &log, name, content.len() as u64);
                return Ok(Some(content));
            }
            Held::File { content, whole: false } => {
                let longer = |(known, _): &(Bytes, String)| written(known) >= written(&content);
                if !answers.part.as_ref().is_some_and(longer) {
                    answers.part = Some((content, world.tier.name.clone()));
                }
            }
            Held::Absent => {}
            Held::Missing(why) => answers.unknown.push(Error::refused(
                format!("{name} is missing from tier {}: {why}", world.tier.name),
                "restore to a point before it, or from a base that was taken after it: \
                 `lifeboat list` shows windows and gaps",
            )),
        }
    }
    Ok(None)
}

/// Where its zeros begin.
fn written(segment: &[u8]) -> usize {
    segment.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1)
}

/// Puts the next segments where the next calls find them. That it fails costs nothing but time.
fn read_ahead(
    world: &World,
    component: &str,
    journal: &Journal,
    log: &str,
    name: &WalName,
    size: u64,
) {
    if name.kind != WalKind::Segment {
        return;
    }
    let next = ahead::next(&world.state, component, name, size);
    let read = |name: WalName| {
        if let Ok(Held::File { content, whole: true }) = journal.held(log, &name) {
            ahead::put(&world.state, component, log, &name, &content);
            return true;
        }
        false
    };
    // Two at a time, in order: behind what is not there nothing is looked for.
    for pair in next.chunks(2) {
        let all = std::thread::scope(|scope| {
            let threads: Vec<_> = pair.iter().map(|name| scope.spawn(|| read(*name))).collect();
            threads.into_iter().all(|thread| thread.join().unwrap_or(false))
        });
        if !all {
            return;
        }
    }
}
