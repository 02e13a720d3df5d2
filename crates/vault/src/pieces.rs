//! Hashes of the pieces of a file that stands on disk. Holes are neither read nor hashed byte by
//! byte.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::sync::Mutex;

use rustix::fs::SeekFrom;
use rustix::io::Errno;

use crate::id::Id;
use crate::sync::lock;

/// Bytes that one thread hashes at a time, unless one piece is longer.
const SHARE: u64 = 16 << 20;

/// The ids of pieces of zeros, by length: each is computed once, however large the holes are.
#[derive(Default)]
pub(crate) struct Zeros(Mutex<HashMap<usize, Id>>);

impl Zeros {
    fn id(&self, length: usize) -> Id {
        if let Some(id) = lock(&self.0).get(&length) {
            return *id;
        }
        let id = Id::of(&vec![0; length]);
        lock(&self.0).insert(length, id);
        id
    }
}

/// Cuts a file's pieces into shares of some adjoining ones: where each begins, and its lengths.
pub(crate) fn shares(lengths: &[u64]) -> impl Iterator<Item = (u64, &[u64])> {
    let mut rest = lengths;
    let mut offset = 0;
    std::iter::from_fn(move || {
        let (mut count, mut bytes) = (0, 0);
        while count < rest.len() && (count == 0 || bytes + rest[count] <= SHARE) {
            bytes += rest[count];
            count += 1;
        }
        let (lengths, after) = rest.split_at(count);
        let share = (offset, lengths);
        (rest, offset) = (after, offset + bytes);
        (count > 0).then_some(share)
    })
}

/// The ids of adjoining pieces, of which the first begins at `offset`.
pub(crate) fn hash(
    file: &File,
    mut offset: u64,
    lengths: &[u64],
    zeros: &Zeros,
) -> io::Result<Vec<Id>> {
    let metadata = file.metadata()?;
    let has_holes = metadata.blocks().saturating_mul(512) < metadata.len();
    let mut buffer = Vec::new();
    let mut ids = Vec::with_capacity(lengths.len());
    for length in lengths {
        let length = usize::try_from(*length)
            .map_err(|_| io::Error::other("a piece is longer than the memory"))?;
        if has_holes && is_hole(file, offset, length as u64, metadata.len()) {
            ids.push(zeros.id(length));
            offset += length as u64;
            continue;
        }
        if buffer.len() < length {
            buffer.resize(length, 0);
        }
        file.read_exact_at(&mut buffer[..length], offset)?;
        ids.push(Id::of(&buffer[..length]));
        offset += length as u64;
    }
    Ok(ids)
}

/// True if the file system says that nothing is stored of a piece, which then reads as zeros.
fn is_hole(file: &File, offset: u64, length: u64, size: u64) -> bool {
    let end = offset.saturating_add(length);
    end <= size
        && match rustix::fs::seek(file, SeekFrom::Data(offset)) {
            Ok(data) => data >= end,
            // Nothing but a hole up to the end of the file.
            Err(error) => error == Errno::NXIO,
        }
}
