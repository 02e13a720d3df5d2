//! Snapshot objects: the commit point of a backup.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::id::Id;

/// A snapshot object's content. Fields that others add are passed over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// When the capture began.
    #[serde(with = "crate::node::time")]
    pub time: Timestamp,
    /// The snapshot that this one was compared with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<Id>,
    /// Root of the tree.
    pub tree: Id,
    /// What was asked to be saved, as absolute paths.
    #[serde(default, deserialize_with = "null_is_default")]
    pub paths: Vec<String>,
    /// Host that wrote it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub hostname: String,
    /// User that wrote it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub username: String,
    /// User id that wrote it.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub uid: u32,
    /// Group id that wrote it.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub gid: u32,
    /// Patterns that were left out.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "Vec::is_empty")]
    pub excludes: Vec<String>,
    /// `component=NAME`, `run=RUNID`, `schedule=NAME`, and what others added.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// The first snapshot of a chain of re-tagged ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub original: Option<Id>,
    /// Program that wrote it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub program_version: String,
}

impl Snapshot {
    /// The value of the tag `NAME=value`, if there is one.
    pub fn tag(&self, name: &str) -> Option<&str> {
        self.tags.iter().find_map(|tag| tag.strip_prefix(name)?.strip_prefix('='))
    }
}

fn is_zero(value: &u32) -> bool {
    *value == 0
}

/// Go writes an empty list as `null`.
fn null_is_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_specification() {
        let json = r#"{
            "time": "2015-01-02T18:10:50.895208559+01:00",
            "tree": "2da81727b6585232894cfbb8f8bdab8d1eccd3d8f7c92bc934d62e62e618ffdf",
            "paths": ["/tmp/testdata"], "hostname": "kasimir", "username": "fd0",
            "uid": 1000, "gid": 100, "tags": ["NL", "component=orders"], "excludes": null,
            "summary": {"files_new": 1},
            "original": "251c2e5841355f743f9d4ffd3260bee765acee40a6229857e32b60446991b837"
        }"#;
        let snapshot: Snapshot = serde_json::from_str(json).unwrap();
        assert_eq!(snapshot.time.to_string(), "2015-01-02T17:10:50.895208559Z");
        assert_eq!(snapshot.tag("component"), Some("orders"));
        assert_eq!(snapshot.tag("run"), None);
        let again: Snapshot =
            serde_json::from_slice(&serde_json::to_vec(&snapshot).unwrap()).unwrap();
        assert_eq!(again, snapshot);
    }
}
