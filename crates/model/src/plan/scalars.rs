//! How texts, numbers, spans of time and sizes are read.

use toml::de::DeValue;

use crate::duration::{Duration, DurationError};
use crate::plan::read::{Node, Read, Reader};
use crate::size::{Size, SizeError};

impl Read for bool {
    fn read(node: Node<'_>, reader: &mut Reader) -> Option<Self> {
        match node.as_ref() {
            DeValue::Boolean(value) => Some(*value),
            _ => reader.wrong_type(node, "true or false"),
        }
    }

    fn absent() -> Option<Self> {
        Some(false)
    }
}

impl Read for String {
    /// Never empty, never with a NUL character: no text of a plan may be either.
    fn read(node: Node<'_>, reader: &mut Reader) -> Option<Self> {
        let DeValue::String(text) = node.as_ref() else {
            return reader.wrong_type(node, "a text");
        };
        let span = reader.span(node.span());
        if text.trim().is_empty() {
            reader.error(span, "the text is empty");
            return None;
        }
        if text.contains('\0') {
            reader.error(span, "the text holds a NUL character");
            return None;
        }
        Some(text.to_string())
    }
}

/// A whole number, if it is one and fits.
pub(crate) fn integer(value: &DeValue<'_>) -> Option<i64> {
    match value {
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix()).ok(),
        _ => None,
    }
}

impl Read for i64 {
    fn read(node: Node<'_>, reader: &mut Reader) -> Option<Self> {
        match integer(node.as_ref()) {
            Some(number) => Some(number),
            None => reader.wrong_type(node, "a whole number"),
        }
    }
}

impl Read for u32 {
    fn read(node: Node<'_>, reader: &mut Reader) -> Option<Self> {
        match integer(node.as_ref()).and_then(|number| u32::try_from(number).ok()) {
            Some(number) => Some(number),
            None => reader.wrong_type(node, "a whole number from 0 to 4294967295"),
        }
    }
}

impl Read for f64 {
    fn read(node: Node<'_>, reader: &mut Reader) -> Option<Self> {
        let number = match node.as_ref() {
            DeValue::Float(number) => number.as_str().parse::<f64>().ok(),
            other => integer(other).map(|whole| whole as f64),
        };
        match number.filter(|n| n.is_finite() && *n >= 0.0) {
            Some(number) => Some(number),
            None => reader.wrong_type(node, "a number of at least 0"),
        }
    }
}

impl Read for Duration {
    fn read(node: Node<'_>, reader: &mut Reader) -> Option<Self> {
        let span = reader.span(node.span());
        let text = match node.as_ref() {
            DeValue::String(text) => text.to_string(),
            DeValue::Integer(number) => number.to_string(),
            _ => return reader.wrong_type(node, "a span of time such as \"15m\""),
        };
        match text.parse() {
            Ok(value) => Some(value),
            Err(error) => {
                let error: DurationError = error;
                reader.error_with(span, error.to_string(), error.hint());
                None
            }
        }
    }
}

impl Read for Size {
    fn read(node: Node<'_>, reader: &mut Reader) -> Option<Self> {
        let span = reader.span(node.span());
        let text = match node.as_ref() {
            DeValue::String(text) => text.to_string(),
            DeValue::Integer(number) => number.to_string(),
            _ => return reader.wrong_type(node, "a size such as \"2 GiB\""),
        };
        match text.parse() {
            Ok(value) => Some(value),
            Err(error) => {
                let error: SizeError = error;
                reader.error_with(span, error.to_string(), error.hint());
                None
            }
        }
    }
}
