//! Names as Go's `strconv.Quote` spells them, and JSON strings as Go's encoder does.

use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use serde::{Deserialize, Deserializer, Serializer};
use serde_json::ser::Formatter;

/// The inside of the Go string literal for `name`.
pub fn quote(name: &OsStr) -> String {
    let mut quoted = String::with_capacity(name.len() + 8);
    for chunk in name.as_bytes().utf8_chunks() {
        for character in chunk.valid().chars() {
            push_quoted(&mut quoted, character);
        }
        for byte in chunk.invalid() {
            quoted.push_str(&format!("\\x{byte:02x}"));
        }
    }
    quoted
}

fn push_quoted(quoted: &mut String, character: char) {
    match character {
        '"' | '\\' => {
            quoted.push('\\');
            quoted.push(character);
        }
        ' '..='~' => quoted.push(character),
        '\x07' => quoted.push_str("\\a"),
        '\x08' => quoted.push_str("\\b"),
        '\x0c' => quoted.push_str("\\f"),
        '\n' => quoted.push_str("\\n"),
        '\r' => quoted.push_str("\\r"),
        '\t' => quoted.push_str("\\t"),
        '\x0b' => quoted.push_str("\\v"),
        '\0'..='\x1f' | '\x7f' => quoted.push_str(&format!("\\x{:02x}", u32::from(character))),
        _ if is_printable(character) => quoted.push(character),
        '\u{80}'..='\u{ffff}' => quoted.push_str(&format!("\\u{:04x}", u32::from(character))),
        _ => quoted.push_str(&format!("\\U{:08x}", u32::from(character))),
    }
}

/// What Go's `strconv.IsPrint` answers for characters beyond ASCII. `escape_debug` is built from
/// the same Unicode categories; a character that is not the first of a string is not escaped for
/// being a combining one, which Go does not do either.
fn is_printable(character: char) -> bool {
    let mut text = [b'a'; 5];
    let length = character.encode_utf8(&mut text[1..]).len();
    match std::str::from_utf8(&text[..=length]) {
        Ok(text) => text.escape_debug().nth(1) != Some('\\'),
        Err(_) => false,
    }
}

/// The bytes that a Go string literal (its inside) stands for.
pub fn unquote(quoted: &str) -> Option<OsString> {
    let mut name = Vec::with_capacity(quoted.len());
    let mut rest = quoted.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        match byte {
            b'\\' => rest = unescape(&mut name, rest)?,
            b'"' | b'\n' => return None,
            _ => name.push(byte),
        }
    }
    Some(OsString::from_vec(name))
}

/// Appends what the escape sequence after a backslash stands for; returns what follows it.
fn unescape<'a>(name: &mut Vec<u8>, rest: &'a [u8]) -> Option<&'a [u8]> {
    let (&kind, rest) = rest.split_first()?;
    let simple = match kind {
        b'a' => 0x07,
        b'b' => 0x08,
        b'f' => 0x0c,
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'v' => 0x0b,
        b'\\' | b'"' => kind,
        b'0'..=b'7' => {
            let (tail, rest) = rest.split_at_checked(2)?;
            let digits = [kind, tail[0], tail[1]];
            let text = std::str::from_utf8(&digits).ok()?;
            name.push(u8::try_from(u16::from_str_radix(text, 8).ok()?).ok()?);
            return Some(rest);
        }
        b'x' | b'u' | b'U' => {
            let length = match kind {
                b'x' => 2,
                b'u' => 4,
                _ => 8,
            };
            let (digits, rest) = rest.split_at_checked(length)?;
            let text = std::str::from_utf8(digits).ok()?;
            if !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                return None;
            }
            let value = u32::from_str_radix(text, 16).ok()?;
            if kind == b'x' {
                name.push(u8::try_from(value).ok()?);
            } else {
                let character = char::from_u32(value)?;
                name.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
            }
            return Some(rest);
        }
        _ => return None,
    };
    name.push(simple);
    Some(rest)
}

pub fn serialize<S: Serializer>(name: &OsStr, to: S) -> Result<S::Ok, S::Error> {
    let plain = |byte: &u8| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\');
    match name.to_str() {
        Some(text) if name.as_bytes().iter().all(plain) => to.serialize_str(text),
        _ => to.serialize_str(&quote(name)),
    }
}

pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<OsString, D::Error> {
    let text = std::borrow::Cow::<'de, str>::deserialize(from)?;
    unquote(&text).ok_or_else(|| serde::de::Error::custom("a name with an invalid escape"))
}

/// Compact JSON that escapes `<`, `>`, `&`, U+2028 and U+2029 as Go's encoder does.
pub struct GoFormatter;

impl Formatter for GoFormatter {
    fn write_string_fragment<W: ?Sized + Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        let mut start = 0;
        for (position, character) in fragment.char_indices() {
            if matches!(character, '<' | '>' | '&' | '\u{2028}' | '\u{2029}') {
                writer.write_all(&fragment.as_bytes()[start..position])?;
                write!(writer, "\\u{:04x}", u32::from(character))?;
                start = position + character.len_utf8();
            }
        }
        writer.write_all(&fragment.as_bytes()[start..])
    }
}
