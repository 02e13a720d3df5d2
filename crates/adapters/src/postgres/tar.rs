//! The tar streams of a base backup: what servers write, and nothing else.

use std::io::{self, Read};

use jiff::Timestamp;

/// Size of everything in a tar stream.
const BLOCK: usize = 512;

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    File,
    Folder,
    Link(String),
}

/// The head of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Relative, without `..`.
    pub(crate) path: String,
    pub(crate) kind: Kind,
    pub(crate) size: u64,
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mtime: Timestamp,
}

/// The next entry; `None` at the end. Its content, rounded up to whole blocks, follows.
pub(crate) fn next(reader: &mut dyn Read) -> io::Result<Option<Entry>> {
    let mut block = [0; BLOCK];
    if !fill(reader, &mut block)? || block.iter().all(|byte| *byte == 0) {
        // Some servers end a stream with empty blocks, others just end it.
        io::copy(reader, &mut io::sink())?;
        return Ok(None);
    }
    let sum: u64 = block
        .iter()
        .enumerate()
        .map(|(at, byte)| match at {
            148..156 => u64::from(b' '),
            _ => u64::from(*byte),
        })
        .sum();
    if number(&block[148..156])? != sum {
        return Err(wrong("an entry has a wrong checksum"));
    }
    let mut path = text(&block[..100])?;
    if &block[257..262] == b"ustar" && block[345] != 0 {
        path = format!("{}/{path}", text(&block[345..500])?);
    }
    let kind = match block[156] {
        b'0' | 0 => Kind::File,
        b'5' => Kind::Folder,
        b'2' => Kind::Link(text(&block[157..257])?),
        _ => return Err(wrong("an entry is of an unknown kind")),
    };
    let size = if kind == Kind::File { number(&block[124..136])? } else { 0 };
    let small = |part: &[u8]| {
        number(part)
            .and_then(|number| u32::try_from(number).map_err(|_| wrong("a number is too large")))
    };
    let seconds = i64::try_from(number(&block[136..148])?).unwrap_or(0);
    Ok(Some(Entry {
        path: clean(&path)?,
        kind,
        size,
        mode: small(&block[100..108])? & 0o7777,
        uid: small(&block[108..116])?,
        gid: small(&block[116..124])?,
        mtime: Timestamp::from_second(seconds).unwrap_or(Timestamp::UNIX_EPOCH),
    }))
}

/// Bytes that follow the content of an entry.
pub(crate) fn padding(size: u64) -> u64 {
    size.next_multiple_of(BLOCK as u64) - size
}

/// Reads a whole block; false if there is none at all.
fn fill(reader: &mut dyn Read, block: &mut [u8]) -> io::Result<bool> {
    let mut have = 0;
    while have < block.len() {
        match reader.read(&mut block[have..])? {
            0 if have == 0 => return Ok(false),
            0 => return Err(wrong("the stream is cut off")),
            read => have += read,
        }
    }
    Ok(true)
}

fn text(field: &[u8]) -> io::Result<String> {
    let end = field.iter().position(|byte| *byte == 0).unwrap_or(field.len());
    String::from_utf8(field[..end].to_vec()).map_err(|_| wrong("a name is not UTF-8"))
}

/// Octal digits, or (from 8 GiB on) a number with its highest bit set.
fn number(field: &[u8]) -> io::Result<u64> {
    if field[0] & 0x80 != 0 {
        let bytes = field[1..].iter().skip_while(|byte| **byte == 0);
        let value = bytes.clone().fold(0_u64, |value, byte| value << 8 | u64::from(*byte));
        return if bytes.count() <= 8 { Ok(value) } else { Err(wrong("a number is too large")) };
    }
    let digits: String = text(field)?.trim().to_owned();
    if digits.is_empty() {
        return Ok(0);
    }
    u64::from_str_radix(&digits, 8).map_err(|_| wrong("a number cannot be read"))
}

fn clean(path: &str) -> io::Result<String> {
    let parts: Vec<&str> = path.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
    if path.starts_with('/') || parts.contains(&"..") || parts.is_empty() {
        return Err(wrong("an entry leads out of its place"));
    }
    Ok(parts.join("/"))
}

fn wrong(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the base backup cannot be read: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(name: &str, kind: u8, size: u64) -> Vec<u8> {
        let mut block = vec![0; BLOCK];
        block[..name.len()].copy_from_slice(name.as_bytes());
        block[100..107].copy_from_slice(b"0000600");
        block[124..135].copy_from_slice(format!("{size:011o}").as_bytes());
        block[156] = kind;
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        block
    }

    #[test]
    fn entries_are_read_and_damage_is_noticed() {
        let good = [head("./base/1/2", b'0', 3), b"abc".to_vec(), vec![0; 509]].concat();
        let mut reader = &good[..];
        let entry = next(&mut reader).unwrap().unwrap();
        assert_eq!((&entry.path[..], entry.size, entry.mode), ("base/1/2", 3, 0o600));
        assert_eq!(padding(3), 509);
        assert!(next(&mut &[][..]).unwrap().is_none());
        assert!(next(&mut &vec![0; 1024][..]).unwrap().is_none());
        for at in [0, 100, 130, 156] {
            let mut bad = good.clone();
            bad[at] ^= 1;
            assert!(next(&mut &bad[..]).is_err(), "{at}");
        }
        assert!(next(&mut &good[..100]).is_err());
        for name in ["/etc/passwd", "../x", "a/../../b"] {
            assert!(next(&mut &head(name, b'0', 0)[..]).is_err(), "{name}");
        }
        let mut large = [0; 12];
        large[0] = 0x80;
        large[11] = 1;
        large[7] = 2;
        assert_eq!(number(&large).unwrap(), (2 << 32) + 1);
    }
}
