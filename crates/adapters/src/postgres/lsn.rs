//! Places in PostgreSQL's log, as its tools write them.

use super::error::{PgError, Result};

/// Reads `16/B374D848`.
pub fn parse(text: &str) -> Option<u64> {
    let (high, low) = text.split_once('/')?;
    let part = |text: &str| match text.len() {
        1..=8 if text.bytes().all(|byte| byte.is_ascii_hexdigit()) => {
            u64::from_str_radix(text, 16).ok()
        }
        _ => None,
    };
    Some(part(high)? << 32 | part(low)?)
}

/// Writes `16/B374D848`.
pub fn text(lsn: u64) -> String {
    format!("{:X}/{:X}", lsn >> 32, lsn & 0xffff_ffff)
}

/// Name of a segment's file: `0000000100000016000000B3`.
pub fn segment_name(timeline: u32, lsn: u64, segment_size: u64) -> String {
    let number = lsn / segment_size;
    let in_id = 0x1_0000_0000 / segment_size;
    format!("{timeline:08X}{:08X}{:08X}", number / in_id, number % in_id)
}

pub(crate) fn read(text: &str) -> Result<u64> {
    parse(text).ok_or_else(|| PgError::protocol(&format!("`{text}` is no place in a log")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read_and_written() {
        assert_eq!(parse("16/B374D848"), Some(0x16_B374_D848));
        assert_eq!(text(0x16_B374_D848), "16/B374D848");
        assert_eq!(text(0), "0/0");
        for wrong in ["", "1", "/", "1/", "/1", "1/+1", "123456789/0", "g/0"] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn segments_have_their_servers_names() {
        assert_eq!(segment_name(1, 0x16_B374_D848, 16 << 20), "0000000100000016000000B3");
        assert_eq!(segment_name(2, 0x16_B374_D848, 1 << 20), "000000020000001600000B37");
        assert_eq!(segment_name(1, 0x1_4000_0000, 1 << 30), "000000010000000100000001");
    }
}
