//! The quick way through an index object: its JSON as restic and Lifeboat write it, byte by byte
//! from a stream, so that the document is never whole in memory.
//!
//! Whatever stands otherwise (other order, spaces, unknown fields, escapes, numbers that do not
//! fit) is not judged here: the answer is [`Layout::Other`], and [`IndexFile::parse`], which knows
//! all of JSON, decides. So the quick way need only be right where it accepts.
//!
//! [`IndexFile::parse`]: super::IndexFile::parse

use std::io::{self, Read};

use super::IndexBuilder;
use super::file::is_possible;
use crate::id::Id;
use crate::pack::{BlobKind, PackedBlob};

/// Bytes that are read at once.
const WINDOW: usize = 128 << 10;
/// No element of the usual layout is longer: a blob takes at most 186 bytes.
const LOOK_AHEAD: usize = 256;

/// What the document turned out to be.
pub(crate) enum Layout {
    /// The usual.
    Usual {
        /// Its packs.
        builder: IndexBuilder,
        /// Index objects that it replaces.
        supersedes: Vec<Id>,
    },
    /// Another, or no index at all.
    Other,
}

/// Reads a document; one of more than `limit` bytes is not judged here either.
pub(crate) fn read(document: impl Read, limit: u64) -> io::Result<Layout> {
    let mut window = Window::new(document.take(limit.saturating_add(1)));
    let mut builder = IndexBuilder::default();
    let supersedes = walk(&mut window, &mut builder)?;
    let within = window.document.limit() > 0;
    Ok(match supersedes.filter(|_| within) {
        Some(supersedes) => Layout::Usual { builder, supersedes },
        None => Layout::Other,
    })
}

/// `None` where the layout is not the usual.
fn walk<R: Read>(
    window: &mut Window<R>,
    builder: &mut IndexBuilder,
) -> io::Result<Option<Vec<Id>>> {
    let mut supersedes = Vec::new();
    window.fill()?;
    if window.skip(b"{\"supersedes\":[") {
        loop {
            window.fill()?;
            let Some(id) = window.quoted_id() else { return Ok(None) };
            supersedes.push(id);
            if !window.skip(b",") {
                break;
            }
        }
        if !window.skip(b"],\"packs\":[") {
            return Ok(None);
        }
    } else if !window.skip(b"{\"packs\":[") {
        return Ok(None);
    }
    if !window.skip(b"]}") {
        loop {
            if !pack(window, builder)? {
                return Ok(None);
            }
            if !window.skip(b",") {
                break;
            }
        }
        if !window.skip(b"]}") {
            return Ok(None);
        }
    }
    // restic ends its documents with a line feed.
    window.fill()?;
    window.skip(b"\n");
    Ok(window.is_at_end().then_some(supersedes))
}

fn pack<R: Read>(window: &mut Window<R>, builder: &mut IndexBuilder) -> io::Result<bool> {
    window.fill()?;
    if !window.skip(b"{\"id\":") {
        return Ok(false);
    }
    let Some(id) = window.quoted_id() else { return Ok(false) };
    if !window.skip(b",\"blobs\":[") {
        return Ok(false);
    }
    let number = builder.number(&id);
    if !window.skip(b"]}") {
        loop {
            window.fill()?;
            let Some(blob) = window.blob() else { return Ok(false) };
            builder.add_blob(number, &blob);
            if !window.skip(b",") {
                break;
            }
        }
        window.fill()?;
        return Ok(window.skip(b"]}"));
    }
    Ok(true)
}

/// A piece of the document.
struct Window<R> {
    document: R,
    bytes: Vec<u8>,
    at: usize,
    end: usize,
    exhausted: bool,
}

impl<R: Read> Window<R> {
    fn new(document: R) -> Self {
        Window { document, bytes: vec![0; WINDOW], at: 0, end: 0, exhausted: false }
    }

    /// Sees to it that the next element is whole in the window.
    #[inline]
    fn fill(&mut self) -> io::Result<()> {
        if self.end - self.at >= LOOK_AHEAD || self.exhausted { Ok(()) } else { self.refill() }
    }

    fn refill(&mut self) -> io::Result<()> {
        self.bytes.copy_within(self.at..self.end, 0);
        self.end -= self.at;
        self.at = 0;
        while self.end < self.bytes.len() {
            match self.document.read(&mut self.bytes[self.end..]) {
                Ok(0) => {
                    self.exhausted = true;
                    return Ok(());
                }
                Ok(read) => self.end += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

impl<R> Window<R> {
    fn rest(&self) -> &[u8] {
        &self.bytes[self.at..self.end]
    }

    fn is_at_end(&self) -> bool {
        self.exhausted && self.at == self.end
    }

    #[inline]
    fn skip(&mut self, text: &[u8]) -> bool {
        let there = self.rest().starts_with(text);
        if there {
            self.at += text.len();
        }
        there
    }

    #[inline]
    fn quoted_id(&mut self) -> Option<Id> {
        let text = self.rest().first_chunk::<66>()?;
        if text[0] != b'"' || text[65] != b'"' {
            return None;
        }
        let id = lower_hex(text[1..65].try_into().ok()?)?;
        self.at += 66;
        Some(Id::from_bytes(id))
    }

    #[inline]
    fn blob(&mut self) -> Option<PackedBlob> {
        if !self.skip(b"{\"id\":") {
            return None;
        }
        let id = self.quoted_id()?;
        let kind = if self.skip(b",\"type\":\"data\",\"offset\":") {
            BlobKind::Data
        } else if self.skip(b",\"type\":\"tree\",\"offset\":") {
            BlobKind::Tree
        } else {
            return None;
        };
        let offset = self.number()?;
        if !self.skip(b",\"length\":") {
            return None;
        }
        let length = self.number()?;
        let uncompressed_length =
            if self.skip(b",\"uncompressed_length\":") { self.number()? } else { 0 };
        let blob = PackedBlob { kind, id, offset, length, uncompressed_length };
        (self.skip(b"}") && is_possible(offset, length)).then_some(blob)
    }

    /// A number of up to ten digits that fits, as JSON wants it: without a zero in front.
    #[inline]
    fn number(&mut self) -> Option<u32> {
        let digits = self.rest().iter().take(11).take_while(|byte| byte.is_ascii_digit()).count();
        let text = &self.rest()[..digits];
        if digits == 0 || digits > 10 || (text[0] == b'0' && digits > 1) {
            return None;
        }
        let value = text.iter().fold(0u64, |value, digit| value * 10 + u64::from(digit - b'0'));
        self.at += digits;
        u32::try_from(value).ok()
    }
}

/// Values of the hexadecimal digits; 0xff for all else, capitals too.
const NIBBLES: [u8; 256] = {
    let mut table = [0xff; 256];
    let mut at = 0;
    while at < 16 {
        table[b"0123456789abcdef"[at] as usize] = at as u8;
        at += 1;
    }
    table
};

#[inline]
fn lower_hex(text: &[u8; 64]) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    let mut wrong = 0;
    for (byte, pair) in bytes.iter_mut().zip(text.as_chunks::<2>().0) {
        let (high, low) = (NIBBLES[pair[0] as usize], NIBBLES[pair[1] as usize]);
        wrong |= high | low;
        *byte = high << 4 | low & 0x0f;
    }
    (wrong & 0xf0 == 0).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::IndexFile;
    use super::*;

    /// Hands out a few bytes at a time, so that elements lie across the ends of windows.
    struct Drip<'a>(&'a [u8], usize);

    impl Read for Drip<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let take = self.1.min(self.0.len()).min(buffer.len());
            buffer[..take].copy_from_slice(&self.0[..take]);
            self.0 = &self.0[take..];
            Ok(take)
        }
    }

    /// What the quick way and the whole parser make of a document.
    fn both(json: &[u8], step: usize) -> (Option<(Vec<Id>, IndexBuilder)>, Option<IndexFile>) {
        let quick = match read(Drip(json, step), 1 << 30).unwrap() {
            Layout::Usual { builder, supersedes } => Some((supersedes, builder)),
            Layout::Other => None,
        };
        (quick, IndexFile::parse(json).ok())
    }

    fn same(quick: (Vec<Id>, IndexBuilder), whole: &IndexFile) {
        assert_eq!(quick.0, whole.supersedes.clone().unwrap_or_default());
        let mut builder = IndexBuilder::default();
        builder.add_file(whole);
        assert_eq!(quick.1.packs, builder.packs);
        assert_eq!(quick.1.entries, builder.entries);
        assert!(whole.packs_to_delete.is_empty());
    }

    fn files() -> impl Strategy<Value = IndexFile> {
        let id = || any::<[u8; 32]>().prop_map(Id::from_bytes);
        let blob = (id(), any::<bool>(), any::<u32>(), any::<u32>(), any::<u32>()).prop_map(
            |(id, tree, offset, length, uncompressed_length)| {
                let kind = if tree { BlobKind::Tree } else { BlobKind::Data };
                PackedBlob { kind, id, offset, length, uncompressed_length }
            },
        );
        let pack = (id(), prop::collection::vec(blob, 0..8));
        let supersedes = prop::option::of(prop::collection::vec(id(), 0..3));
        (supersedes, prop::collection::vec(pack, 0..8)).prop_map(|(supersedes, packs)| {
            let mut file = IndexFile { supersedes, ..IndexFile::default() };
            for (pack, mut blobs) in packs {
                blobs.retain(|blob| is_possible(blob.offset, blob.length));
                file.push(pack, &blobs);
            }
            file
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..Default::default() })]

        /// What we write ourselves goes the quick way and means the same there, wherever it is cut.
        #[test]
        fn the_usual_layout_is_read_quickly(file in files(), step in 1usize..300, restic: bool) {
            let mut json = serde_json::to_vec(&file).unwrap();
            if restic {
                json.push(b'\n');
            }
            let (quick, whole) = both(&json, step);
            let whole = whole.unwrap();
            prop_assert_eq!(&whole, &file);
            let empty_list = file.supersedes.as_ref().is_some_and(Vec::is_empty);
            prop_assert_eq!(quick.is_some(), !empty_list);
            if let Some(quick) = quick {
                same(quick, &whole);
            }
        }

        /// Where the quick way accepts, the whole parser does, and finds the same.
        #[test]
        fn what_is_read_quickly_is_an_index(
            file in files(),
            step in 1usize..300,
            at in any::<prop::sample::Index>(),
            how in 0u8..3,
            byte in prop::sample::select(b"0123456789abcdefABCDEF\",:{}[] \n\\-.e".to_vec()),
        ) {
            let mut json = serde_json::to_vec(&file).unwrap();
            let at = at.index(json.len());
            match how {
                0 => json[at] = byte,
                1 => json.insert(at, byte),
                _ => drop(json.remove(at)),
            }
            let (quick, whole) = both(&json, step);
            if let Some(quick) = quick {
                same(quick, &whole.expect("the quick way accepts what is no index"));
            }
        }
    }

    #[test]
    fn numbers_that_do_not_fit_and_ends_that_are_none() {
        let id = "00".repeat(32);
        let blob = |offset: &str, length: &str| {
            format!(
                r#"{{"packs":[{{"id":"{id}","blobs":[{{"id":"{id}","type":"data","offset":{offset},"length":{length}}}]}}]}}"#
            )
        };
        let accepted = |json: &str| both(json.as_bytes(), 1000).0.is_some();
        assert!(accepted(&blob("0", "100")));
        assert!(accepted(&blob("4294967195", "100")));
        for (offset, length) in [
            ("4294967196", "100"),
            ("4294967296", "100"),
            ("00", "100"),
            ("0", "31"),
            ("", "100"),
            ("99999999999", "100"),
        ] {
            assert!(!accepted(&blob(offset, length)), "{offset} {length}");
            let whole = both(blob(offset, length).as_bytes(), 1000).1;
            assert!(whole.is_none(), "{offset} {length}");
        }
        let good = blob("0", "100");
        assert!(accepted(&format!("{good}\n")));
        assert!(!accepted(&format!("{good}x")));
        assert!(!accepted(&good[..good.len() - 1]));
        assert!(accepted(r#"{"packs":[]}"#));
        let limited = |limit| matches!(read(good.as_bytes(), limit).unwrap(), Layout::Usual { .. });
        assert!(limited(good.len() as u64));
        assert!(!limited(good.len() as u64 - 1));
        // One that goes on after the limit is not taken for one that ends there.
        let long = format!("{good}\n\n");
        assert!(matches!(read(long.as_bytes(), good.len() as u64 + 1).unwrap(), Layout::Other));
    }
}
