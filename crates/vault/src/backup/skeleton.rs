//! The upper part of a snapshot's tree, while entries of several calls gather in it.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Component, Path};

use super::engine::Engine;
use super::folder::Done;
use super::sealer::Sealer;
use crate::error::{Error, Result};
use crate::fingerprint::{self, FolderPrint, write_line};
use crate::id::Id;
use crate::node::{Node, NodeKind, Tree};
use crate::pack::BlobKind;

/// A folder that is still open for entries.
#[derive(Debug, Default)]
pub(crate) struct Level(BTreeMap<OsString, Slot>);

#[derive(Debug)]
enum Slot {
    /// A finished entry, a folder's tree included.
    Done(Done),
    /// A folder that more may be added to; its node lacks the subtree.
    Open(Node, Level),
}

/// Reads back a tree of this session.
pub(crate) type LoadTree<'a> = &'a dyn Fn(&Id) -> Result<Tree>;

/// The names on the way to an entry.
pub(crate) fn names(tree_path: &Path) -> Result<Vec<&OsStr>> {
    let mut names = Vec::new();
    for component in tree_path.components() {
        match component {
            Component::Normal(name) => names.push(name),
            Component::RootDir | Component::CurDir => {}
            Component::ParentDir | Component::Prefix(_) => {
                let text = tree_path.display();
                return Err(Error::Invalid(format!("{text} is no path inside a snapshot")));
            }
        }
    }
    Ok(names)
}

impl Level {
    /// Adds an entry below folders, which are made from `folder(depth)` where they are missing.
    /// What stands at the place already is replaced, two folders are merged.
    pub(crate) fn insert(
        &mut self,
        names: &[&OsStr],
        done: Done,
        folder: &mut dyn FnMut(usize) -> Node,
        load: LoadTree<'_>,
    ) -> Result<()> {
        self.insert_at(0, names, done, folder, load)
    }

    fn insert_at(
        &mut self,
        depth: usize,
        names: &[&OsStr],
        done: Done,
        folder: &mut dyn FnMut(usize) -> Node,
        load: LoadTree<'_>,
    ) -> Result<()> {
        let Some((name, rest)) = names.split_first() else {
            // The root itself: its entries are merged, it has no node.
            return self.merge_children(&done, load);
        };
        if rest.is_empty() {
            return self.put(name, done, load);
        }
        let slot = self
            .0
            .entry((*name).to_owned())
            .or_insert_with(|| Slot::Open(folder(depth), Level::default()));
        slot.open(folder(depth), load)?.insert_at(depth + 1, rest, done, folder, load)
    }

    /// Makes a folder, or says what one is like that is there. Those above are made by `above`.
    pub(crate) fn folder(
        &mut self,
        names: &[&OsStr],
        node: Node,
        above: &mut dyn FnMut(usize) -> Node,
        load: LoadTree<'_>,
    ) -> Result<()> {
        let mut level = self;
        for (depth, name) in names.iter().enumerate() {
            let last = depth + 1 == names.len();
            let made = if last { node.clone() } else { above(depth) };
            let slot = level
                .0
                .entry((*name).to_owned())
                .or_insert_with(|| Slot::Open(made.clone(), Level::default()));
            slot.open(made, load)?;
            let Slot::Open(known, below) = slot else { return Ok(()) };
            if last {
                let subtree = known.subtree.take();
                *known = Node { subtree, ..node };
                return Ok(());
            }
            level = below;
        }
        Ok(())
    }

    fn put(&mut self, name: &OsStr, mut done: Done, load: LoadTree<'_>) -> Result<()> {
        done.node.name = name.to_owned();
        match self.0.get_mut(name) {
            Some(slot) if done.node.kind == NodeKind::Dir && slot.is_folder() => {
                slot.open(done.node.clone(), load)?.merge_children(&done, load)?;
                // The later call also says what the folder itself is like.
                if let Slot::Open(node, _) = slot {
                    let subtree = node.subtree.take();
                    *node = Node { subtree, ..done.node };
                }
            }
            _ => {
                self.0.insert(name.to_owned(), Slot::Done(done));
            }
        }
        Ok(())
    }

    fn merge_children(&mut self, done: &Done, load: LoadTree<'_>) -> Result<()> {
        let Some(subtree) = &done.node.subtree else {
            return Err(Error::Invalid("only a folder can be the root of a snapshot".to_owned()));
        };
        for node in load(subtree)?.nodes {
            let done = with_print(node, load)?;
            let name = done.node.name.clone();
            self.put(&name, done, load)?;
        }
        Ok(())
    }

    /// Fingerprint of all that has been added.
    pub(crate) fn fingerprint(&self, skip: Option<&OsStr>) -> Id {
        let mut print = FolderPrint::new();
        let mut line = Vec::new();
        for (name, slot) in &self.0 {
            if Some(name.as_os_str()) == skip {
                continue;
            }
            line.clear();
            match slot {
                Slot::Done(done) => write_line(&mut line, &done.node, done.print.as_ref()),
                Slot::Open(node, level) => {
                    write_line(&mut line, node, Some(&level.fingerprint(None)));
                }
            }
            print.lines(&line);
        }
        print.finish()
    }

    /// Stores the trees from the bottom up; returns the root's id.
    pub(crate) fn store(self, engine: &Engine, sealer: &mut Sealer) -> Result<Id> {
        let mut tree = Tree::default();
        for (_, slot) in self.0 {
            tree.nodes.push(match slot {
                Slot::Done(done) => done.node,
                Slot::Open(mut node, level) => {
                    node.subtree = Some(level.store(engine, sealer)?);
                    node
                }
            });
        }
        let json = tree
            .to_json()
            .map_err(|error| Error::Invalid(format!("a tree cannot be written: {error}")))?;
        engine.store(sealer, BlobKind::Tree, &json)
    }
}

impl Slot {
    fn is_folder(&self) -> bool {
        match self {
            Slot::Done(done) => done.node.kind == NodeKind::Dir,
            Slot::Open(..) => true,
        }
    }

    /// The level of a folder; a finished one is opened again, anything else is replaced.
    fn open(&mut self, instead: Node, load: LoadTree<'_>) -> Result<&mut Level> {
        if let Slot::Done(done) = self {
            let mut level = Level::default();
            let node = if done.node.kind == NodeKind::Dir {
                level.merge_children(done, load)?;
                done.node.clone()
            } else {
                instead
            };
            *self = Slot::Open(node, level);
        }
        match self {
            Slot::Open(_, level) => Ok(level),
            Slot::Done(_) => Err(Error::Invalid("a folder could not be opened again".to_owned())),
        }
    }
}

fn with_print(node: Node, load: LoadTree<'_>) -> Result<Done> {
    let print = match &node.subtree {
        Some(subtree) => Some(fingerprint::of_tree(&load(subtree)?, None, load)?),
        None => None,
    };
    Ok(Done { node, print })
}
