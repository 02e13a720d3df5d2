//! What the parent snapshot knew of a folder: unchanged files are not opened again.

use std::ffi::OsStr;
use std::sync::Arc;

use jiff::Timestamp;
use rustix::fs::Stat;
use serde::Deserialize;

use super::engine::Engine;
use crate::id::Id;
use crate::meta;
use crate::node::{ExtendedAttribute, Node, NodeKind, read};
use crate::pack::BlobKind;

/// The fields of a parent's node that are compared or taken over.
#[derive(Debug, Deserialize)]
pub(crate) struct KnownNode {
    #[serde(deserialize_with = "read::name")]
    name: std::ffi::OsString,
    #[serde(rename = "type")]
    kind: NodeKind,
    #[serde(default, deserialize_with = "read::time")]
    mtime: Option<Timestamp>,
    #[serde(default, deserialize_with = "read::time")]
    ctime: Option<Timestamp>,
    #[serde(default)]
    inode: u64,
    #[serde(default)]
    size: u64,
    #[serde(default)]
    content: Option<Vec<Id>>,
    #[serde(default)]
    subtree: Option<Id>,
    #[serde(default, deserialize_with = "read::list")]
    extended_attributes: Vec<ExtendedAttribute>,
}

/// A parent's folder, in name order.
#[derive(Debug, Deserialize)]
pub(crate) struct Known {
    #[serde(deserialize_with = "read::list")]
    nodes: Vec<KnownNode>,
}

/// How a file compares with the parent.
pub(crate) enum Comparison<'a> {
    /// It was not there.
    New,
    /// It was, but is not certain to be the same.
    Changed,
    /// It is the same: its content, and its attributes where those cannot have changed.
    Same(&'a [Id], Option<&'a [ExtendedAttribute]>),
}

impl Known {
    /// The parent's folder with this tree. A tree that cannot be read is said aloud and counts as
    /// unknown: then its files are read again.
    pub(crate) fn load(engine: &Engine, tree: &Id) -> Option<Arc<Self>> {
        let loaded =
            engine.vault.load_blob(BlobKind::Tree, tree).map_err(|error| error.to_string());
        let parsed = loaded.and_then(|json| {
            serde_json::from_slice::<Self>(&json).map_err(|error| error.to_string())
        });
        match parsed {
            Ok(known) => Some(Arc::new(known)),
            Err(why) => {
                engine.vault.environment().monitor.note(&format!(
                    "the parent's tree {} cannot be read, so its files are read again: {why}",
                    tree.short()
                ));
                None
            }
        }
    }

    pub(crate) fn find(&self, name: &OsStr) -> Option<&KnownNode> {
        let at = self.nodes.binary_search_by(|node| node.name.as_os_str().cmp(name)).ok()?;
        Some(&self.nodes[at])
    }
}

impl KnownNode {
    /// The file's size and content.
    pub(crate) fn content(&self) -> Option<(u64, &[Id])> {
        let content = self.content.as_deref().filter(|_| self.kind == NodeKind::File)?;
        Some((self.size, content))
    }

    /// The folder's tree.
    pub(crate) fn subtree(&self) -> Option<&Id> {
        self.subtree.as_ref().filter(|_| self.kind == NodeKind::Dir)
    }
}

/// Compares a regular file with what the parent knew.
pub(crate) fn compare<'a>(
    engine: &Engine,
    known: Option<&'a KnownNode>,
    stat: &Stat,
    node: &Node,
) -> Comparison<'a> {
    let Some(known) = known else { return Comparison::New };
    let Some(content) = &known.content else { return Comparison::Changed };
    let options = &engine.options;
    let same_ctime = known.ctime == Some(node.ctime);
    let same = known.kind == NodeKind::File
        && known.size == node.size
        && known.mtime == Some(node.mtime)
        && (same_ctime || options.ignore_ctime)
        && (known.inode == node.inode || options.ignore_inode)
        && !is_racy(engine, stat)
        && content.iter().all(|id| engine.index.contains(BlobKind::Data, id));
    if !same {
        return Comparison::Changed;
    }
    // Attributes cannot change without the inode's time of change.
    let attributes = same_ctime && known.inode == node.inode;
    Comparison::Same(content, attributes.then_some(&known.extended_attributes))
}

/// True if the file was changed so shortly before, or while, the parent was taken that its times
/// need not show it: time stamps move in steps of some milliseconds.
fn is_racy(engine: &Engine, stat: &Stat) -> bool {
    const STEP: jiff::SignedDuration = jiff::SignedDuration::from_millis(10);
    let Some((parent, now)) = engine.parent_time else { return false };
    let changed = meta::changed_at(stat);
    // A time in the future is another clock's, with which nothing can be compared.
    changed <= now && changed >= parent.saturating_sub(STEP).unwrap_or(parent)
}
