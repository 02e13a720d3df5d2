//! Carrying the ledgers of a tier over to another one, so that it proves as much by itself.
//!
//! Evidence first, then entries, then checkpoints. Of a chain that is there already only what
//! follows is added. Nothing is judged: what does not verify in the one tier does not in the other.

use bytes::Bytes;
use lifeboat_model::chain::Entry;
use lifeboat_vault::{Store, StoreErrorKind};

use super::{Local, remote};
use crate::env::World;
use crate::error::Result;
use crate::report::Failure;
use crate::seal::Sealer;
use crate::tier::OpenTier;

/// Most lines in one object.
const LINES: usize = 2000;

/// Carries what `from` has of all chains over. This host's own entries come from its local file,
/// which is shipped apart. What cannot be carried is said.
pub fn carry(world: &World, from: &OpenTier, to: &OpenTier) -> Result<Vec<String>> {
    let (opener, sealer) = match (&from.sealer, &to.sealer) {
        (Ok(opener), Ok(sealer)) => (opener, sealer),
        (Err(why), _) | (_, Err(why)) => {
            return Ok(vec![format!("the ledgers were not copied: {}", why.line())]);
        }
    };
    if !opener.opens() {
        return match opener.recipient() == sealer.recipient() {
            true => carry_sealed(world, &*from.store, &*to.store),
            false => Ok(vec!["the ledgers cannot be opened here: they were not copied".to_owned()]),
        };
    }
    let mut notes = Vec::new();
    for name in remote::hosts(&*from.store)? {
        let chain = Chain { from: &*from.store, to: &*to.store, opener, sealer, name: &name };
        if let Err(error) = chain.carry(has_all(world, &name)?, &mut notes) {
            if crate::error::ends_run(&error) {
                return Err(error);
            }
            let why = Failure::of(&error).line();
            notes.push(format!("the ledger of {name} could not be copied: {why}"));
        }
    }
    Ok(notes)
}

/// True if it is this host's own chain, and all of it is here.
fn has_all(world: &World, name: &str) -> Result<bool> {
    let local = Local::new(&world.state, &world.host);
    Ok(name == remote::safe_name(&world.host) && local.exists() && local.base()?.is_none())
}

struct Chain<'a> {
    from: &'a dyn Store,
    to: &'a dyn Store,
    opener: &'a Sealer,
    sealer: &'a Sealer,
    /// As in keys.
    name: &'a str,
}

impl Chain<'_> {
    fn carry(&self, evidence_only: bool, notes: &mut Vec<String>) -> Result<()> {
        self.evidence(notes)?;
        if evidence_only {
            return Ok(());
        }
        let end = self.entries(notes)?;
        self.checkpoints(end)
    }

    fn evidence(&self, notes: &mut Vec<String>) -> Result<()> {
        let there = self.to.list(&format!("{}/{}", remote::FOLDER, self.name))?;
        for (id, body) in remote::evidence(self.from, self.opener, self.name)? {
            let key = remote::evidence_key_of(self.name, &id);
            match body {
                _ if there.iter().any(|entry| entry.key == key) => {}
                Ok(body) => remote::put(self.to, self.sealer, &key, &body)?,
                Err(why) => notes.push(format!("{key} cannot be read and was not copied: {why}")),
            }
        }
        Ok(())
    }

    /// The entries that follow what is there; returns the number of the last one.
    fn entries(&self, notes: &mut Vec<String>) -> Result<u64> {
        let there = remote::ranges_of(self.to, self.name)?;
        let mut end = there.iter().map(|(_, to)| *to).max().unwrap_or(0);
        let fetched = remote::lines(self.from, self.opener, self.name)?;
        for (key, why) in &fetched.unreadable {
            notes.push(format!("{key} cannot be read and was not copied: {why}"));
        }
        let mut last = end;
        let mut newer = |line: &Vec<u8>| {
            let seq = Entry::read(line).ok()?.seq;
            // In order and once: two objects with the same numbers could not be told apart.
            (seq > last).then(|| last = seq)?;
            Some(seq)
        };
        let numbered: Vec<(u64, &Vec<u8>)> =
            fetched.lines.iter().filter_map(|line| Some((newer(line)?, line))).collect();
        let mut rest = &numbered[..];
        while let Some((first, _)) = rest.first().copied() {
            let follows = |(at, (seq, _)): &(usize, &(u64, _))| *seq == first + *at as u64;
            let run = rest.iter().enumerate().take(LINES).take_while(follows).count();
            let (now, later) = rest.split_at(run.max(1));
            let body: Vec<u8> =
                now.iter().flat_map(|(_, line)| line.iter().copied().chain([b'\n'])).collect();
            end = now.last().map_or(end, |(seq, _)| *seq);
            let key = remote::entries_key_of(self.name, first, end);
            remote::put(self.to, self.sealer, &key, &body)?;
            rest = later;
        }
        Ok(end)
    }

    fn checkpoints(&self, end: u64) -> Result<()> {
        let (checkpoints, _) = remote::checkpoints(self.from, self.opener, self.name)?;
        for checkpoint in checkpoints.iter().filter(|one| one.document.seq <= end) {
            let document = &checkpoint.document;
            let key = remote::checkpoint_key_of(self.name, document.seq, &document.head);
            remote::put(self.to, self.sealer, &key, &checkpoint.bytes())?;
        }
        Ok(())
    }
}

/// The same objects, unopened, for a host that seals and does not open. Only where nothing of the
/// chain is there: what overlaps could not be told apart.
fn carry_sealed(world: &World, from: &dyn Store, to: &dyn Store) -> Result<Vec<String>> {
    let mut notes = Vec::new();
    let there = remote::hosts(to)?;
    for name in remote::hosts(from)? {
        if there.contains(&name) {
            if !has_all(world, &name)? {
                notes.push(format!(
                    "what is new in the ledger of {name} was not copied: it cannot be opened here"
                ));
            }
            continue;
        }
        for entry in from.list(&format!("{}/{name}", remote::FOLDER))? {
            let body: Bytes = from.get(&entry.key)?;
            match to.create(&entry.key, &[body]) {
                Err(error) if error.kind != StoreErrorKind::Exists => return Err(error.into()),
                _ => {}
            }
        }
    }
    Ok(notes)
}
