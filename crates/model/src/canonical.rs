//! One way to write a JSON value as bytes, so that it can be hashed and signed.
//!
//! Object keys sorted by their UTF-8 bytes, no white space, texts escaped as `serde_json` does,
//! whole numbers in decimal. The form is RFC 8785 for the values that occur here (texts, whole
//! numbers, truths, lists, tables with keys in ASCII).

use serde_json::Value;
use sha2::{Digest, Sha256};

/// The canonical text of a value.
pub fn to_string(value: &Value) -> String {
    let mut out = String::new();
    write(value, &mut out);
    out
}

fn write(value: &Value, out: &mut String) {
    match value {
        Value::Array(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                write(item, out);
            }
            out.push(']');
        }
        Value::Object(map) => {
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_by_key(|(key, _)| key.as_bytes());
            out.push('{');
            for (index, (key, item)) in entries.into_iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                out.push_str(&Value::String(key.clone()).to_string());
                out.push(':');
                write(item, out);
            }
            out.push('}');
        }
        plain => out.push_str(&plain.to_string()),
    }
}

/// The value without nulls, empty lists and empty tables: absent and empty are the same.
pub fn without_absent(value: Value) -> Value {
    let empty = |value: &Value| match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    };
    match value {
        Value::Array(items) => Value::Array(items.into_iter().map(without_absent).collect()),
        Value::Object(map) => Value::Object(
            map.into_iter()
                .map(|(key, item)| (key, without_absent(item)))
                .filter(|(_, item)| !empty(item))
                .collect(),
        ),
        plain => plain,
    }
}

/// SHA-256, hexadecimal.
pub fn sha256_hex(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn keys_are_sorted_at_every_depth() {
        let value = json!({"b": [{"z": 1, "a": null}], "a": "x\n\"", "ä": true});
        assert_eq!(to_string(&value), r#"{"a":"x\n\"","b":[{"a":null,"z":1}],"ä":true}"#);
    }

    #[test]
    fn absent_is_empty() {
        let value = json!({"a": null, "b": [], "c": {"d": {}}, "e": 0, "f": false});
        assert_eq!(without_absent(value), json!({"e": 0, "f": false}));
    }
}
