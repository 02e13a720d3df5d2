//! Entries of a tar stream as POSIX.1-2001 (pax) has them: long and odd names, large numbers, times
//! to the nanosecond and extended attributes stand in a header of their own before the entry.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::node::{Node, NodeKind};

/// All of a stream is a multiple of this, bytes.
pub(super) const BLOCK: usize = 512;

const NAME: usize = 100;
const ACCOUNT: usize = 31;

/// The header of one entry, its extension included; `None` for what tar has no kind for. `size` is
/// the content's; `link` makes it a further name of that path.
pub(super) fn header(path: &Path, node: &Node, size: u64, link: Option<&Path>) -> Option<Vec<u8>> {
    let kind = match (link, node.kind) {
        (Some(_), _) => b'1',
        (None, NodeKind::File) => b'0',
        (None, NodeKind::Symlink) => b'2',
        (None, NodeKind::Chardev) => b'3',
        (None, NodeKind::Dev) => b'4',
        (None, NodeKind::Dir) => b'5',
        (None, NodeKind::Fifo) => b'6',
        (None, NodeKind::Socket | NodeKind::Irregular) => return None,
    };
    let mut name = path.as_os_str().as_bytes().to_vec();
    if kind == b'5' {
        name.push(b'/');
    }
    let target = match link {
        Some(first) => first.as_os_str().as_bytes(),
        None if kind == b'2' => node.link_target(),
        None => b"",
    };
    let size = if kind == b'0' { size } else { 0 };
    let more = extension(node, &name, target, size, link.is_some());
    let mut out = Vec::new();
    if !more.is_empty() {
        let mut block = Block::new(b"PaxHeaders/extension", b'x', more.len() as u64);
        block.number(100, 8, 0o644);
        out.extend_from_slice(&block.finish());
        out.extend_from_slice(&more);
        out.resize(out.len().next_multiple_of(BLOCK), 0);
    }
    let mut block = Block::new(&name, kind, size);
    block.number(100, 8, u64::from(node.unix_mode()));
    block.number(108, 8, u64::from(node.uid));
    block.number(116, 8, u64::from(node.gid));
    block.number(136, 12, u64::try_from(node.mtime.as_second()).unwrap_or(0));
    block.text(157, NAME, target);
    block.text(265, ACCOUNT, node.user.as_bytes());
    block.text(297, ACCOUNT, node.group.as_bytes());
    if matches!(kind, b'3' | b'4') {
        block.number(329, 8, u64::from(rustix::fs::major(node.device)));
        block.number(337, 8, u64::from(rustix::fs::minor(node.device)));
    }
    out.extend_from_slice(&block.finish());
    Some(out)
}

/// What the plain header cannot say.
fn extension(node: &Node, name: &[u8], target: &[u8], size: u64, is_link: bool) -> Vec<u8> {
    let mut records = Records::default();
    let long = |text: &[u8], room: usize| text.len() > room || !text.is_ascii();
    if long(name, NAME) {
        records.add("path", name);
    }
    if long(target, NAME) {
        records.add("linkpath", target);
    }
    if long(node.user.as_bytes(), ACCOUNT) {
        records.add("uname", node.user.as_bytes());
    }
    if long(node.group.as_bytes(), ACCOUNT) {
        records.add("gname", node.group.as_bytes());
    }
    for (key, number, digits) in
        [("size", size, 11), ("uid", u64::from(node.uid), 7), ("gid", u64::from(node.gid), 7)]
    {
        if number >= 1 << (3 * digits) {
            records.add(key, number.to_string().as_bytes());
        }
    }
    let time = node.mtime.as_nanosecond();
    let whole = time.rem_euclid(1_000_000_000) == 0;
    if !whole || !(0..1 << 33).contains(&time.div_euclid(1_000_000_000)) {
        let (sign, time) = (if time < 0 { "-" } else { "" }, time.unsigned_abs());
        let text = format!("{sign}{}.{:09}", time / 1_000_000_000, time % 1_000_000_000);
        records.add("mtime", text.as_bytes());
    }
    // A further name has the attributes of the first.
    for attribute in node.extended_attributes.iter().filter(|_| !is_link) {
        let name = attribute.name.replace('%', "%25").replace('=', "%3D");
        records.add(&format!("SCHILY.xattr.{name}"), &attribute.value);
    }
    records.0
}

/// Bytes that fill up content to whole blocks.
pub(super) fn padding(size: u64) -> &'static [u8] {
    const ZEROS: [u8; BLOCK] = [0; BLOCK];
    let over = (size % BLOCK as u64) as usize;
    if over == 0 { &[] } else { &ZEROS[over..] }
}

/// The end of a stream: without it, a reader knows that it was cut off.
pub(super) const END: [u8; 2 * BLOCK] = [0; 2 * BLOCK];

/// `length key=value\n`, the length counting itself. Names that are no UTF-8 stand as they are, as
/// GNU tar writes them.
#[derive(Default)]
struct Records(Vec<u8>);

impl Records {
    fn add(&mut self, key: &str, value: &[u8]) {
        let rest = key.len() + value.len() + 3;
        let mut length = rest + 1;
        while rest + length.to_string().len() != length {
            length = rest + length.to_string().len();
        }
        self.0.extend_from_slice(format!("{length} {key}=").as_bytes());
        self.0.extend_from_slice(value);
        self.0.push(b'\n');
    }
}

/// One header block of ustar.
struct Block([u8; BLOCK]);

impl Block {
    fn new(name: &[u8], kind: u8, size: u64) -> Self {
        let mut block = Block([0; BLOCK]);
        block.text(0, NAME, name);
        for (at, length) in [(100, 8), (108, 8), (116, 8), (136, 12)] {
            block.number(at, length, 0);
        }
        block.number(124, 12, size);
        block.0[156] = kind;
        block.0[257..265].copy_from_slice(b"ustar\x0000");
        block
    }

    fn text(&mut self, at: usize, room: usize, text: &[u8]) {
        let length = text.len().min(room);
        self.0[at..at + length].copy_from_slice(&text[..length]);
    }

    /// Octal digits and a NUL; a number without room is 0, and stands in the extension.
    fn number(&mut self, at: usize, length: usize, number: u64) {
        let digits = length - 1;
        let number = if number < 1 << (3 * digits) { number } else { 0 };
        let text = format!("{number:0digits$o}");
        self.0[at..at + digits].copy_from_slice(text.as_bytes());
    }

    fn finish(mut self) -> [u8; BLOCK] {
        self.0[148..156].fill(b' ');
        let sum: u64 = self.0.iter().map(|byte| u64::from(*byte)).sum();
        self.0[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_counts_its_own_length() {
        for length in [0, 1, 80, 88, 89, 90, 91, 92, 980, 985, 986, 987, 9_990] {
            let mut records = Records::default();
            records.add("key", &vec![b'v'; length]);
            let text = String::from_utf8(records.0).unwrap();
            let (said, _) = text.split_once(' ').unwrap();
            assert_eq!(said.parse::<usize>().unwrap(), text.len(), "{length}");
        }
    }
}
