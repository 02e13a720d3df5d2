//! A stream of unknown length: the caller's thread reads and cuts, the workers hash and store.

use std::io::Read;
use std::sync::Mutex;

use crossbeam_channel::{Receiver, Sender, bounded};

use super::engine::{Engine, add};
use super::halt::Watch;
use super::sealer::Sealer;
use crate::chunk::{self, Chunking, SEGMENT, split};
use crate::error::{Error, Result};
use crate::id::Id;
use crate::pack::BlobKind;
use crate::sync::lock;

/// Bytes that are read before they are cut and handed on together.
const AT_ONCE: usize = 4 << 20;

/// Chunks that are hashed together before they are sealed, and their bytes: few enough to stay in
/// the cache.
const SIDE_BY_SIDE: (usize, usize) = (4, 3 << 20);

/// Why a stream was not stored.
pub(crate) enum StreamError {
    /// The reader failed; the session can go on.
    Read(std::io::Error),
    /// The session has failed.
    Vault(Error),
}

impl From<Error> for StreamError {
    fn from(error: Error) -> Self {
        Self::Vault(error)
    }
}

/// Whole chunks on their way to a worker.
struct Chunks {
    number: usize,
    bytes: Vec<u8>,
    lengths: Vec<usize>,
}

/// Streams up to this size are stored by the caller's own thread: starting others takes longer.
const SMALL: usize = 512 << 10;

/// Stores all that `reader` gives; returns its blobs and its length. `sealer` serves short streams,
/// one after the other.
pub(crate) fn store(
    engine: &Engine,
    sealer: &mut Option<Sealer>,
    chunking: Chunking,
    reader: &mut dyn Read,
) -> Result<(Vec<Id>, u64), StreamError> {
    let mut start = Vec::new();
    let read = (&mut *reader).take(SMALL as u64).read_to_end(&mut start);
    if read.map_err(StreamError::Read)? == SMALL {
        return store_long(engine, chunking, &mut start.as_slice().chain(reader));
    }
    engine.halt.check().or_else(|_| engine.halt.outcome())?;
    add(&engine.counts.bytes_read, start.len() as u64);
    engine.progress(start.len() as u64, 0);
    let lengths = certain_cuts(engine, chunking, &start, 0, true);
    let sealer = match sealer {
        Some(sealer) => sealer,
        none => none.insert(Sealer::new(engine.options.compression)?),
    };
    let ids = store_chunks(engine, sealer, &start, &lengths)?;
    Ok((ids, start.len() as u64))
}

fn store_long(
    engine: &Engine,
    chunking: Chunking,
    reader: &mut dyn Read,
) -> Result<(Vec<Id>, u64), StreamError> {
    let results = Mutex::new(Vec::new());
    let workers = engine.workers;
    let (queue, chunks) = bounded::<Chunks>(1);
    // As many buffers as can be in use: at the reader, on the way, at each worker.
    let (spare, spares) = bounded(workers + 2);
    let size = std::thread::scope(|scope| {
        for _ in 0..workers {
            let (chunks, spare, results) = (chunks.clone(), spare.clone(), &results);
            scope.spawn(move || {
                let _watch = Watch(&engine.halt);
                if let Err(error) = work(engine, &chunks, &spare, results) {
                    engine.halt.fail(error);
                }
            });
        }
        drop(chunks);
        cut(engine, chunking, reader, &queue, &spares).inspect(|_| drop(queue))
    });
    let size = size?;
    engine.halt.outcome()?;
    let mut results = std::mem::take(&mut *lock(&results));
    results.sort_unstable_by_key(|(number, _)| *number);
    Ok((results.into_iter().flat_map(|(_, ids): (usize, Vec<Id>)| ids).collect(), size))
}

fn work(
    engine: &Engine,
    chunks: &Receiver<Chunks>,
    spare: &Sender<Vec<u8>>,
    results: &Mutex<Vec<(usize, Vec<Id>)>>,
) -> Result<()> {
    let mut sealer = Sealer::new(engine.options.compression)?;
    for Chunks { number, mut bytes, lengths } in chunks {
        let ids = store_chunks(engine, &mut sealer, &bytes, &lengths)?;
        lock(results).push((number, ids));
        bytes.clear();
        // Nobody may be reading any more.
        let _ = spare.try_send(bytes);
    }
    Ok(())
}

/// A few chunks at a time are hashed side by side.
fn store_chunks(
    engine: &Engine,
    sealer: &mut Sealer,
    bytes: &[u8],
    lengths: &[usize],
) -> Result<Vec<Id>> {
    let mut ids = Vec::with_capacity(lengths.len());
    let mut rest = bytes;
    let mut lengths = lengths;
    while !lengths.is_empty() {
        let mut size = 0;
        let fits = |length: &&usize| {
            size += **length;
            size <= SIDE_BY_SIDE.1
        };
        let count = lengths.iter().take(SIDE_BY_SIDE.0).take_while(fits).count().max(1);
        let (group, after) = lengths.split_at(count);
        let (chunks, behind) = split(rest, group);
        ids.append(&mut engine.store_all(sealer, BlobKind::Data, &chunks)?);
        (lengths, rest) = (after, behind);
    }
    Ok(ids)
}

fn cut(
    engine: &Engine,
    chunking: Chunking,
    reader: &mut dyn Read,
    queue: &Sender<Chunks>,
    spares: &Receiver<Vec<u8>>,
) -> Result<u64, StreamError> {
    let (mut offset, mut wanted, mut number) = (0, AT_ONCE, 0);
    let mut bytes = Vec::with_capacity(AT_ONCE);
    loop {
        engine.halt.check().or_else(|_| engine.halt.outcome())?;
        let missing = wanted.saturating_sub(bytes.len()) as u64;
        let read =
            (&mut *reader).take(missing).read_to_end(&mut bytes).map_err(StreamError::Read)?;
        add(&engine.counts.bytes_read, read as u64);
        engine.progress(read as u64, 0);
        let at_end = (read as u64) < missing;
        let lengths = certain_cuts(engine, chunking, &bytes, offset, at_end);
        let whole = lengths.iter().sum::<usize>();
        if whole > 0 {
            let mut next = spares.try_recv().unwrap_or_default();
            next.extend_from_slice(&bytes[whole..]);
            bytes.truncate(whole);
            offset += whole as u64;
            let chunks = Chunks { number, bytes, lengths };
            if queue.send(chunks).is_err() {
                engine.halt.outcome()?;
            }
            (bytes, number, wanted) = (next, number + 1, AT_ONCE);
        } else {
            wanted += AT_ONCE;
        }
        if at_end {
            return Ok(offset);
        }
    }
}

/// The lengths of the chunks at the front of `bytes` that more bytes would not change.
fn certain_cuts(
    engine: &Engine,
    chunking: Chunking,
    bytes: &[u8],
    offset: u64,
    at_end: bool,
) -> Vec<usize> {
    let mut lengths = Vec::new();
    let mut from = 0;
    while from < bytes.len() {
        let (limit, length) = match chunking {
            Chunking::Fixed(size) => {
                let size = (size as usize).clamp(1, chunk::MAX);
                (size, size.min(bytes.len() - from))
            }
            Chunking::Content => {
                let segment = (SEGMENT - (offset + from as u64) % SEGMENT) as usize;
                let window = &bytes[from..bytes.len().min(from + segment)];
                (segment.min(chunk::MAX), engine.chunker.cut(window))
            }
        };
        let reaches_end = from + length == bytes.len();
        if reaches_end && length < limit && !at_end {
            break;
        }
        lengths.push(length);
        from += length;
    }
    lengths
}
