//! A chain that parted from the tier's: a state folder was set back, and entries were written before
//! the tier answered again. Both cannot go on.
//!
//! The tier's chain is the one that others have seen: it is taken over if it goes on from where both
//! still agree, signed by keys that this host accepted. What was written here is set aside in a file
//! of its own, and a signed note in the chain names it by its hash and repeats its facts: nothing is
//! hidden by that, and nothing is lost.

use lifeboat_model::chain::{Entry, Hash, Head};
use lifeboat_vault::Store;
use serde_json::json;

use super::{CHAIN, Detail, Ledger, add_facts, evidence, keys, remote, running, ship, trust};
use crate::env::World;
use crate::error::Result;
use crate::facts::{Fact, facts_of};
use crate::seal::Sealer;

/// Outcome of the note that names a branch.
pub const SET_ASIDE: &str = "set aside";

/// A branch that an entry names.
pub struct Named<'a> {
    /// The entry.
    pub seq: u64,
    /// File name in the state folder's `ledger/`.
    pub file: &'a str,
    /// SHA-256 of that file.
    pub sha256: &'a str,
    /// Number of its first entry, and of its last.
    pub range: (u64, u64),
}

/// The branch that an entry names.
pub fn named(entry: &Entry) -> Option<Named<'_>> {
    let noted = entry.action == CHAIN && entry.outcome.as_deref() == Some(SET_ASIDE);
    let text = |key: &str| entry.detail.get(key)?.as_str();
    let number = |key: &str| entry.detail.get(key)?.as_u64();
    if !noted {
        return None;
    }
    Some(Named {
        seq: entry.seq,
        file: text("file")?,
        sha256: text("sha256")?,
        range: (number("from")?, number("to")?),
    })
}

/// A note that the chain goes on from a tier after the state folder was lost, branches with it.
pub fn lost_since(entries: &[&Entry], seq: u64) -> bool {
    let mut later = entries.iter().filter(|entry| entry.seq > seq && entry.action == CHAIN);
    later.any(|entry| entry.outcome.as_deref() == Some(super::CONTINUED))
}

impl Ledger {
    /// Whether the tier's entry `seq`, its last, stands in the local chain too. Nothing if that
    /// cannot be told here.
    pub(super) fn agrees(
        &self,
        store: &dyn Store,
        sealer: &Sealer,
        seq: u64,
    ) -> Result<Option<bool>> {
        let (lines, _) = self.local.lines()?;
        let read = |line: &Vec<u8>| Entry::read(line).ok().filter(|entry| entry.seq == seq);
        let Some(ours) = lines.iter().rev().find_map(read).map(|entry| entry.hash()) else {
            return Ok(None);
        };
        let names = remote::checkpoint_names(store, &self.host)?;
        let named: Vec<Hash> =
            names.iter().filter(|(at, _)| *at == seq).map(|(_, hash)| *hash).collect();
        if named.contains(&ours) {
            return Ok(Some(true));
        }
        if !sealer.opens() {
            return Ok(if named.is_empty() { None } else { Some(false) });
        }
        let theirs = remote::last_lines(store, sealer, &self.host)?;
        Ok(theirs.iter().find_map(read).map(|entry| entry.hash() == ours))
    }

    /// Takes the tier's chain over and sets the local entries aside that it does not have.
    pub(super) fn rejoin(&mut self, head: &Head, there: &[Vec<u8>]) -> Result<()> {
        let (lines, _) = self.local.lines()?;
        let accepted = keys::accepted(&self.state, &self.host)?;
        let joined = fork(&lines, there).and_then(|(at, fork)| {
            let (more, end) = ship::following(there, &fork, &accepted)?;
            Some((at, more, end))
        });
        let Some((at, more, end)) = joined else {
            self.notes.push(format!(
                "the ledger in the tier does not go on from the local one (up to entry {}) by \
                 signatures that this host accepts: it is left alone and nothing is shipped; \
                 `lifeboat audit verify` compares them",
                head.seq
            ));
            return Ok(());
        };
        if !running::living(&self.state)?.is_empty() {
            self.notes.push(
                "the local ledger parted from the tier's; it is put together when no other action \
                 is running"
                    .to_owned(),
            );
            return Ok(());
        }
        let (kept, branch) = lines.split_at(at + 1);
        self.local.set_aside(branch, head, &[kept, &more].concat(), &end)?;
        Ok(())
    }

    /// Names each branch in the chain that is not named yet, with its facts: a crash may have come
    /// in between.
    pub(super) fn name_branches(&mut self, world: &World) -> Result<()> {
        for (file, body) in self.local.branches()? {
            let lines: Vec<Entry> =
                body.split(|b| *b == b'\n').filter_map(|line| Entry::read(line).ok()).collect();
            let (chain, _) = self.local.lines()?;
            let chain: Vec<Entry> = chain.iter().filter_map(|l| Entry::read(l).ok()).collect();
            let known = |entry: &Entry| named(entry).is_some_and(|branch| branch.file == file);
            let (Some(first), Some(last)) = (lines.first(), lines.last()) else { continue };
            if chain.iter().any(known) {
                continue;
            }
            let trusted = trust::own(world, &lines)?;
            let believed = trust::tell(&lines, &trusted).believed;
            self.name_evidence(&believed, &chain)?;
            let facts: Vec<Fact> =
                believed.iter().flat_map(|entry| facts_of(&entry.detail)).collect();
            let mut detail = Detail::from([
                ("file".to_owned(), json!(file)),
                ("sha256".to_owned(), json!(Hash::of(&body))),
                ("head".to_owned(), json!(last.hash())),
                ("from".to_owned(), json!(first.seq)),
                ("to".to_owned(), json!(last.seq)),
            ]);
            add_facts(&mut detail, &facts)?;
            let object = self.plan.name.clone();
            let seq = self.note(CHAIN, &object, SET_ASIDE, detail)?;
            self.notes.push(format!(
                "the local ledger had parted from the tier's (was the state folder set back?): the \
                 tier's goes on, and entries {} to {} of the local one were set aside as {file}, \
                 which entry {seq} names with its hash",
                first.seq, last.seq
            ));
        }
        Ok(())
    }

    /// Evidence that only a branch names is named in the chain, so that it is shipped.
    fn name_evidence(&mut self, branch: &[&Entry], chain: &[Entry]) -> Result<()> {
        for entry in branch {
            let Some((id, sha256)) = evidence::named(entry) else { continue };
            if chain.iter().any(|e| evidence::named(e).is_some_and(|(known, _)| known == id)) {
                continue;
            }
            let detail =
                Detail::from([("evidence".to_owned(), json!({"id": id, "sha256": sha256}))]);
            self.note(&entry.action, &entry.object, SET_ASIDE, detail)?;
        }
        Ok(())
    }
}

/// The last line that both have: its place among the local ones, and the head there.
fn fork(lines: &[Vec<u8>], there: &[Vec<u8>]) -> Option<(usize, Head)> {
    let theirs: std::collections::HashSet<&[u8]> = there.iter().map(Vec::as_slice).collect();
    let at = lines.iter().rposition(|line| theirs.contains(line.as_slice()))?;
    let entry = Entry::read(&lines[at]).ok()?;
    let key = lines[..=at].iter().rev().find_map(|line| Entry::read(line).ok()?.key)?;
    Some((at, entry.head(key)))
}
