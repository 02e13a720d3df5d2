//! What a range of the journal says of itself, and how pages stand in it. `docs/format.md`,
//! "The journal, SQLite".

use lifeboat_recovery::ports::LogFacts;
use serde_json::Value;

use super::sum::Sum;

/// The format of a range's payload and facts.
pub(in crate::sqlite) const PAYLOAD: u64 = 1;
/// Bytes of the number before each page.
const NUMBER: usize = 4;

/// The facts of a range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::sqlite) struct Facts {
    /// Bytes of a page.
    pub page_size: u32,
    /// Pages of the database after the whole batch.
    pub page_count: u32,
    /// Which range of its batch this is, from 0. A range 0 makes unfinished ones before it void.
    pub part: u64,
    /// The checksum before the batch.
    pub before: Sum,
    /// The checksum after the batch; `None` in a range that is not the batch's last.
    pub after: Option<Sum>,
    /// `log` (frames of the `-wal`) or `difference` (pages compared with the page map).
    pub way: String,
}

impl Facts {
    /// As the journal keeps them.
    pub fn write(&self) -> LogFacts {
        let mut facts = LogFacts::from([
            ("payload".to_owned(), PAYLOAD.into()),
            ("page_size".to_owned(), self.page_size.into()),
            ("page_count".to_owned(), self.page_count.into()),
            ("part".to_owned(), self.part.into()),
            ("before".to_owned(), self.before.to_string().into()),
            ("way".to_owned(), self.way.as_str().into()),
        ]);
        match self.after {
            Some(after) => facts.insert("after".to_owned(), after.to_string().into()),
            None => facts.insert("continues".to_owned(), true.into()),
        };
        facts
    }

    /// What the journal kept.
    ///
    /// # Errors
    /// One clause that says what is wrong with it.
    pub fn read(facts: &LogFacts) -> Result<Facts, String> {
        let number = |name: &str| {
            facts.get(name).and_then(Value::as_u64).ok_or(format!("it does not say its {name}"))
        };
        let payload = number("payload")?;
        if payload != PAYLOAD {
            return Err(format!("its payload has format {payload}, this version reads {PAYLOAD}"));
        }
        let page_size = number("page_size")?;
        if !page_size.is_power_of_two() || !(512..=65536).contains(&page_size) {
            return Err(format!("its page size is {page_size}"));
        }
        let page_count = u32::try_from(number("page_count")?).map_err(|_| "too many pages")?;
        let sum = |name| sum(facts, name).ok_or(format!("it does not say the checksum {name}"));
        let continues = facts.get("continues") == Some(&Value::Bool(true));
        Ok(Facts {
            page_size: page_size as u32,
            page_count,
            part: number("part")?,
            before: sum("before")?,
            after: if continues { None } else { Some(sum("after")?) },
            way: facts.get("way").and_then(Value::as_str).unwrap_or_default().to_owned(),
        })
    }
}

/// A checksum among facts.
fn sum(facts: &LogFacts, name: &str) -> Option<Sum> {
    facts.get(name)?.as_str()?.parse().ok()
}

/// The checksum that a journal ends with, by the facts of its last record.
pub(super) fn end(facts: &LogFacts) -> Option<Sum> {
    let continues = facts.get("continues") == Some(&Value::Bool(true));
    sum(facts, if continues { "before" } else { "after" })
}

/// Adds a page to a payload.
pub(super) fn push(payload: &mut Vec<u8>, number: u32, image: &[u8]) {
    payload.extend_from_slice(&number.to_le_bytes());
    payload.extend_from_slice(image);
}

/// The pages of a payload, by number.
///
/// # Errors
/// If its length is not that of whole pages.
pub(in crate::sqlite) fn pages(
    payload: &[u8],
    page_size: u32,
) -> Result<impl Iterator<Item = (u32, &[u8])>, String> {
    let stride = NUMBER + page_size as usize;
    if !payload.len().is_multiple_of(stride) {
        return Err(format!("it has {} bytes, which are no whole pages", payload.len()));
    }
    Ok(payload.chunks_exact(stride).map(|bytes| {
        let (number, image) = bytes.split_at(NUMBER);
        (u32::from_le_bytes([number[0], number[1], number[2], number[3]]), image)
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some() -> Facts {
        let after = Some(Sum(5));
        let way = "log".to_owned();
        Facts { page_size: 4096, page_count: 9, part: 0, before: Sum(4), after, way }
    }

    #[test]
    fn facts_come_back_as_they_were_written() {
        for facts in [some(), Facts { after: None, part: 3, ..some() }] {
            assert_eq!(Facts::read(&facts.write()), Ok(facts.clone()));
        }
        assert_eq!(end(&some().write()), Some(Sum(5)));
        assert_eq!(end(&Facts { after: None, ..some() }.write()), Some(Sum(4)));
        assert_eq!(end(&LogFacts::new()), None);
    }

    #[test]
    fn facts_that_say_less_or_something_newer_are_refused() {
        for name in ["payload", "page_size", "page_count", "part", "before", "after"] {
            let mut facts = some().write();
            facts.remove(name);
            assert!(Facts::read(&facts).is_err(), "{name}");
        }
        for (name, value) in [("payload", 2_u64), ("page_size", 1000), ("page_count", 1_u64 << 32)]
        {
            let mut facts = some().write();
            facts.insert(name.to_owned(), value.into());
            assert!(Facts::read(&facts).is_err(), "{name}");
        }
    }

    #[test]
    fn payloads_are_whole_pages() {
        let mut payload = Vec::new();
        push(&mut payload, 7, &[1; 512]);
        push(&mut payload, 9, &[2; 512]);
        let read: Vec<_> = pages(&payload, 512).unwrap().collect();
        assert_eq!(read, [(7, &[1; 512][..]), (9, &[2; 512][..])]);
        assert!(pages(&payload[1..], 512).is_err());
        assert_eq!(pages(&[], 512).unwrap().count(), 0);
    }
}
