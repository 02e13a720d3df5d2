//! Which snapshots are to be copied, and what their copies look like.

use std::collections::HashMap;

use serde_json::{Map, Value};

use super::{CopiedSnapshot, CopyOptions, LeftOut};
use crate::error::{Error, Result};
use crate::flaw::ReadFailure;
use crate::id::Id;
use crate::snapshot::Snapshot;
use crate::vault::{Folder, Vault};

/// The snapshots of a copy, sorted into what is to be done with them.
#[derive(Default)]
pub(super) struct Selection {
    /// To be copied, oldest first.
    pub wanted: Vec<(Id, Snapshot)>,
    /// There already.
    pub present: Vec<CopiedSnapshot>,
    /// Those of them that are doubted.
    pub doubted: Vec<Doubted>,
    /// Snapshot objects that cannot be read.
    pub left_out: Vec<LeftOut>,
}

/// A snapshot whose copy is there and is to be read again.
pub(super) struct Doubted {
    pub source: Id,
    pub copy: Id,
    pub snapshot: Snapshot,
}

/// Looks at both vaults.
pub(super) fn select(
    source: &Vault,
    destination: Option<&Vault>,
    options: &CopyOptions,
) -> Result<Selection> {
    let list = source.list_snapshots()?;
    let chosen = |id: &Id| options.only.as_ref().is_none_or(|only| only.contains(id));
    for id in options.only.iter().flatten() {
        let known = list.readable.iter().any(|(known, _)| known == id)
            || list.damaged.iter().any(|damaged| damaged.id == *id);
        if !known {
            return Err(Error::NotFound { what: "snapshot", name: id.to_string() });
        }
    }
    let there = match destination {
        Some(destination) => copies(destination)?,
        None => HashMap::new(),
    };
    let mut selection = Selection::default();
    for (id, snapshot) in list.readable.into_iter().filter(|(id, _)| chosen(id)) {
        let candidates = there.get(&snapshot.original.unwrap_or(id)).into_iter().flatten();
        let same = candidates.into_iter().find(|(_, other)| is_copy(&snapshot, other));
        match same {
            Some((copy, _)) => {
                let copy = *copy;
                selection.present.push(CopiedSnapshot { source: id, copy });
                if options.doubted.contains(&id) {
                    selection.doubted.push(Doubted { source: id, copy, snapshot });
                }
            }
            None => selection.wanted.push((id, snapshot)),
        }
    }
    for damaged in list.damaged.into_iter().filter(|damaged| chosen(&damaged.id)) {
        let (snapshot, why) = (damaged.id, Some(damaged.why));
        selection.left_out.push(LeftOut { snapshot, why, lost: Vec::new() });
    }
    Ok(selection)
}

/// The destination's snapshots by their own id and by the id of their original.
fn copies(destination: &Vault) -> Result<HashMap<Id, Vec<(Id, Snapshot)>>> {
    let mut copies: HashMap<Id, Vec<(Id, Snapshot)>> = HashMap::new();
    for (id, snapshot) in destination.snapshots()? {
        if let Some(original) = snapshot.original {
            copies.entry(original).or_default().push((id, snapshot.clone()));
        }
        copies.entry(id).or_default().push((id, snapshot));
    }
    Ok(copies)
}

/// Of one origin two snapshots may differ in their tags, say, when one was tagged anew since: then
/// they are two. Restic's rule.
fn is_copy(one: &Snapshot, other: &Snapshot) -> bool {
    let plain = |snapshot: &Snapshot| Snapshot {
        parent: None,
        original: None,
        program_version: String::new(),
        ..snapshot.clone()
    };
    plain(one) == plain(other)
}

/// The document of a snapshot's copy: all that was in it, of fields that we do not know too. A
/// parent has no meaning in another vault.
pub(super) fn document(source: &Vault, id: &Id) -> Result<Map<String, Value>> {
    let object = || format!("snapshot {}", id.short());
    let json =
        source.load_document(Folder::Snapshots, id, None).map_err(|failure| match failure {
            ReadFailure::Damaged(flaw) => Error::damaged(object(), flaw.why),
            ReadFailure::Store(error) => error,
        })?;
    let mut document: Map<String, Value> = serde_json::from_slice(&json)
        .map_err(|error| Error::damaged(object(), format!("not a snapshot: {error}")))?;
    document.remove("parent");
    if document.get("original").is_none_or(Value::is_null) {
        document.insert("original".to_owned(), Value::String(id.to_string()));
    }
    Ok(document)
}
