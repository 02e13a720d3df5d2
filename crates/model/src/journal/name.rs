//! Names of lineages and objects. They sort like positions, and the name of the next object follows
//! from the one before: of two writers on one chain one finds it taken.

use std::fmt;
use std::str::FromStr;

use crate::position::Position;

/// The name of a record's object: where it begins, then its number in the chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name {
    /// Where it begins.
    pub from: Position,
    /// Its number in the chain, from 1.
    pub seq: u32,
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{:08x}", self.from, self.seq)
    }
}

impl FromStr for Name {
    type Err = ();

    fn from_str(text: &str) -> Result<Name, ()> {
        let (from, seq) = text.rsplit_once('-').ok_or(())?;
        let from = from.parse().map_err(|_| ())?;
        let name = Name { from, seq: u32::from_str_radix(seq, 16).map_err(|_| ())? };
        // One way to write it.
        if name.to_string() == text { Ok(name) } else { Err(()) }
    }
}

/// The name of a packed object: that of its first slice, and how many it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PackName {
    /// The name of its first slice.
    pub first: Name,
    /// How many records follow one another in it.
    pub count: u32,
}

impl PackName {
    /// Number of its last record.
    pub fn last_seq(&self) -> u32 {
        self.first.seq.saturating_add(self.count.saturating_sub(1))
    }
}

impl fmt::Display for PackName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{:08x}", self.first, self.count)
    }
}

impl FromStr for PackName {
    type Err = ();

    fn from_str(text: &str) -> Result<PackName, ()> {
        let (first, count) = text.rsplit_once('-').ok_or(())?;
        let count = u32::from_str_radix(count, 16).map_err(|_| ())?;
        let name = PackName { first: first.parse()?, count };
        if count > 0 && name.to_string() == text { Ok(name) } else { Err(()) }
    }
}

/// The chain of a component's lineage, as its headers name it.
pub fn chain_of(component: &str, lineage: &str) -> String {
    format!("journal/{component}/{lineage}")
}

/// True for a text that can name a lineage: letters, digits, `.`, `-` and `+`.
pub fn is_lineage(text: &str) -> bool {
    let good = |b: u8| b.is_ascii_alphanumeric() || b".-+".contains(&b);
    !text.is_empty() && !text.starts_with('.') && text.len() <= 128 && text.bytes().all(good)
}

/// The source's own name of its log, without the number of a chain that could not be continued.
pub fn native(lineage: &str) -> &str {
    match lineage.rsplit_once('+') {
        Some((native, number)) if number.parse::<u32>().is_ok() && !native.is_empty() => native,
        _ => lineage,
    }
}

/// Which chain of its log a lineage is: 1, or the number after `+`.
pub fn turn(lineage: &str) -> u32 {
    let number = lineage.strip_prefix(native(lineage)).and_then(|rest| rest.strip_prefix('+'));
    number.and_then(|number| number.parse().ok()).unwrap_or(1)
}

/// The lineage of a new chain of the log `native`, beside those that there are.
pub fn next_lineage<'a>(native_name: &str, there: impl Iterator<Item = &'a str>) -> String {
    let taken = there.filter(|name| native(name) == native_name).map(turn).max();
    match taken {
        None => native_name.to_owned(),
        Some(last) => format!("{native_name}+{}", last.saturating_add(1)),
    }
}
