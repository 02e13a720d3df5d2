//! Stores a file that a server hands over, in every tier.
//!
//! Create-only: a file that is there already with the same content is stored, one with another is
//! never replaced. What was sealed is noted before a tier is asked to create it
//! (`.lifeboat/journal/COMPONENT/wal/pushed.jsonl`), so that a host that cannot open what it seals
//! knows its own object again after a kill. Acknowledged is what a tier has that does not lie on this
//! machine (or the only one); what other tiers lack is noted, durably, before that (`wal/owed/`), and
//! brought to them by later pushes.

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use lifeboat_model::chain::{Hash, PublicKey, Signer};
use lifeboat_model::journal::{WalHeader, WalName};
use lifeboat_model::position::Position;
use lifeboat_vault::{Clock, StoreError, StoreErrorKind};
use serde::{Deserialize, Serialize};

use super::local::local_folder;
use super::object::chained;
use super::place::{chain_of, wal_key};
use super::tiers::{JournalTier, in_order};
use super::{JournalError, Result, handed};
use crate::ledger::remote::safe_name;
use crate::seal::Sealer;
use crate::state::{State, at, create_new, sync_parent};

/// Files that a push brings to tiers that lack older ones, so that none takes long.
const CAUGHT_UP: usize = 8;
/// Notes of what was sealed are begun anew beyond this size; those before are kept once more.
const NOTES: u64 = 1 << 20;

/// What opens an object that is there already, and whose signatures count; costs the vault key.
pub type Opens<'a> =
    Box<dyn Fn() -> std::result::Result<(Arc<Sealer>, Vec<PublicKey>), crate::Error> + 'a>;

/// A tier that answers.
pub struct PushTier<'a> {
    /// The tier.
    pub tier: JournalTier,
    /// What compares with what is there.
    pub opens: Opens<'a>,
}

/// A tier that does not.
#[derive(Debug, Clone)]
pub struct Away {
    /// Its name.
    pub name: String,
    /// It does not lie on this machine.
    pub elsewhere: bool,
    /// Why it does not answer.
    pub why: String,
}

/// What storing needs.
pub struct Pushing<'a> {
    /// The component.
    pub component: &'a str,
    /// The log, as the source names it.
    pub lineage: &'a str,
    /// This host.
    pub host: &'a str,
    /// Seals.
    pub sealer: &'a Sealer,
    /// Signs.
    pub signer: &'a dyn Signer,
    /// The local state.
    pub state: &'a State,
    /// Time.
    pub clock: &'a dyn Clock,
}

/// A file of a log.
#[derive(Debug, Clone)]
pub struct WalFile {
    /// Its name.
    pub name: WalName,
    /// The log that it says that it is of, where it says so.
    pub lineage: Option<String>,
    /// Where it begins.
    pub from: Position,
    /// Where it ends.
    pub to: Position,
    /// The server's time of the last transaction that ended in it.
    pub ended: Option<Timestamp>,
    /// Its content.
    pub content: Bytes,
}

/// What became of a push that is acknowledged.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Pushed {
    /// Tiers that have it by this push.
    pub stored: Vec<String>,
    /// Tiers that had it.
    pub there: Vec<String>,
    /// Tiers that do not have it yet, each with the reason.
    pub owed: Vec<String>,
    /// Older files that were brought to tiers that lacked them.
    pub caught_up: usize,
}

/// A line of the notes.
#[derive(Debug, Serialize, Deserialize)]
struct Note {
    lineage: String,
    name: String,
    /// Of the content.
    sha256: Hash,
    /// Of the object.
    sealed: Hash,
}

/// Stores a file.
///
/// # Errors
/// [`JournalError::Differs`] if a tier has other content under its name, [`JournalError::NoTier`] if
/// no tier that counts has it now: then it is to be handed over again.
pub fn push(
    pushing: &Pushing<'_>,
    tiers: Vec<PushTier<'_>>,
    away: &[Away],
    file: &WalFile,
) -> Result<Pushed> {
    let work = Work::new(pushing, file)?;
    let mut tiers = tiers;
    tiers.sort_by_key(|one| !one.tier.elsewhere);
    let (mut done, mut failed, mut first) = (Pushed::default(), Vec::new(), None);
    let mut counts = false;
    let any = tiers.iter().all(|one| !one.tier.elsewhere) && away.iter().all(|a| !a.elsewhere);
    for one in &tiers {
        match work.put(one) {
            Ok(created) => {
                let name = one.tier.name.clone();
                if created {
                    done.stored.push(name)
                } else {
                    done.there.push(name)
                }
                counts |= any || one.tier.elsewhere;
            }
            Err(error) if is_of_tier(&error) => {
                failed.push((one.tier.name.clone(), chained(&error)));
                first = first.or(Some(error));
            }
            Err(error) => return Err(error),
        }
    }
    failed.extend(away.iter().map(|tier| (tier.name.clone(), tier.why.clone())));
    if !counts {
        return Err(match first {
            Some(JournalError::Store(error)) => JournalError::NoTier(Some(error)),
            Some(error) => error,
            None => JournalError::NoTier(away.first().map(away_error)),
        });
    }
    for (tier, why) in &failed {
        work.owe(tier)?;
        done.owed.push(format!("{tier}: {why}"));
    }
    let reached = in_order(tiers.into_iter().map(|one| one.tier).collect());
    done.caught_up = work.catch_up(&reached, away.is_empty());
    Ok(done)
}

/// True of what is wrong with one tier: it fails, or what lies there under the name is nothing that
/// could be compared. Another tier can have the file all the same.
fn is_of_tier(error: &JournalError) -> bool {
    matches!(
        error,
        JournalError::Store(_)
            | JournalError::Foreign { .. }
            | JournalError::Damaged { .. }
            | JournalError::Newer { .. }
            | JournalError::Uncompared { .. }
    )
}

fn away_error(tier: &Away) -> StoreError {
    StoreError {
        kind: StoreErrorKind::Unreachable,
        verb: "create",
        key: String::new(),
        place: format!("tier {} ({})", tier.name, tier.why),
        source: None,
    }
}

struct Work<'a> {
    pushing: &'a Pushing<'a>,
    folder: PathBuf,
    key: String,
    chain: String,
    name: WalName,
    ours: Hash,
    sealed: Bytes,
}

impl Work<'_> {
    fn new<'a>(pushing: &'a Pushing<'a>, file: &WalFile) -> Result<Work<'a>> {
        let chain = chain_of(pushing.component, pushing.lineage);
        let ours = Hash::of(&file.content);
        let header = WalHeader {
            format: 1,
            chain: chain.clone(),
            name: file.name.to_string(),
            from: file.from,
            to: file.to,
            ended: file.ended,
            time: pushing.clock.wall(),
            host: pushing.host.to_owned(),
            bytes: file.content.len() as u64,
            sha256: ours,
        };
        let sealed = handed::seal(pushing.sealer, pushing.signer, header, &file.content)?;
        let below = format!("journal/{}/wal", safe_name(pushing.component));
        let folder = pushing.state.make(&below)?;
        let key = wal_key(&chain, &file.name);
        let work = Work { pushing, folder, key, chain, name: file.name, ours, sealed };
        work.note()?;
        Ok(work)
    }

    /// Creates it, or finds it. True if it was created.
    fn put(&self, one: &PushTier<'_>) -> Result<bool> {
        let store = &*one.tier.store;
        match store.create(&self.key, std::slice::from_ref(&self.sealed)) {
            Ok(()) => return Ok(true),
            Err(error) if error.kind == StoreErrorKind::Exists => {}
            Err(error) => return Err(error.into()),
        }
        let there = self.content_of(one, &store.get(&self.key)?)?;
        if there == self.ours {
            return Ok(false);
        }
        let object = format!("{} in tier {}", self.key, one.tier.name);
        Err(JournalError::Differs { object, hashes: Box::new((there, self.ours)) })
    }

    /// SHA-256 of the content of what is there: by what this host noted when it sealed it, else by
    /// opening it.
    fn content_of(&self, one: &PushTier<'_>, there: &Bytes) -> Result<Hash> {
        let sealed = Hash::of(there);
        if let Some(note) = self.notes()?.into_iter().find(|note| note.sealed == sealed) {
            return Ok(note.sha256);
        }
        let at = format!("{} in tier {}", self.key, one.tier.name);
        let uncompared = |source: Box<dyn std::error::Error + Send + Sync>| {
            JournalError::Uncompared { object: at.clone(), source }
        };
        let (sealer, trusted) = (one.opens)().map_err(|error| uncompared(error.into()))?;
        match handed::open(&sealer, there, (&self.chain, &self.name), &trusted, &at) {
            Ok(handed) => Ok(handed.header.sha256),
            Err(JournalError::Seal(error)) => Err(uncompared(error.into())),
            Err(error) => Err(error),
        }
    }

    /// Notes, durably, what is about to be created.
    fn note(&self) -> Result<()> {
        let path = self.folder.join("pushed.jsonl");
        if fs::metadata(&path).is_ok_and(|meta| meta.len() > NOTES) {
            // Of two that do this at once one finds nothing to rename.
            let _ = fs::rename(&path, self.folder.join("pushed-before.jsonl"));
        }
        let note = Note {
            lineage: self.pushing.lineage.to_owned(),
            name: self.name.to_string(),
            sha256: self.ours,
            sealed: Hash::of(&self.sealed),
        };
        let mut line = serde_json::to_vec(&note)
            .map_err(|source| JournalError::Encode { what: "a note of a push", source })?;
        // The line feed before ends a line that a crash tore.
        line.insert(0, b'\n');
        line.push(b'\n');
        let file = OpenOptions::new().append(true).create(true).mode(0o600).open(&path);
        let mut file = file.map_err(at("open", &path))?;
        file.write_all(&line).and_then(|()| file.sync_data()).map_err(at("write", &path))?;
        Ok(sync_parent(&path)?)
    }

    /// The notes of this file.
    fn notes(&self) -> Result<Vec<Note>> {
        let mut found = notes(&self.folder)?;
        let name = self.name.to_string();
        found.retain(|note| note.lineage == self.pushing.lineage && note.name == name);
        Ok(found)
    }

    /// Notes, durably, that a tier lacks this file.
    fn owe(&self, tier: &str) -> Result<()> {
        let below =
            format!("journal/{}/wal/owed/{}", safe_name(self.pushing.component), safe_name(tier));
        let folder = self.pushing.state.make(&below)?;
        create_new(&folder.join(format!("{}~{}", self.pushing.lineage, self.name)), b"")?;
        Ok(())
    }

    /// Brings tiers what they lack of older pushes. What fails stays noted, and what no tier has any
    /// more is owed no longer, if these are `all` of them.
    fn catch_up(&self, tiers: &[JournalTier], all: bool) -> usize {
        let mut done = 0;
        for tier in tiers {
            let folder = self.folder.join("owed").join(safe_name(&tier.name));
            for name in owed(&folder) {
                if done >= CAUGHT_UP {
                    break;
                }
                match self.bring(tier, tiers, &name) {
                    Brought::There => {
                        done += usize::from(fs::remove_file(folder.join(name)).is_ok())
                    }
                    Brought::Nowhere if all => drop(fs::remove_file(folder.join(name))),
                    Brought::Nowhere | Brought::Not => {}
                    Brought::Failed => break,
                }
            }
        }
        done
    }

    fn bring(&self, tier: &JournalTier, from: &[JournalTier], owed: &str) -> Brought {
        let Some((lineage, name)) = owed.split_once('~') else { return Brought::Not };
        let Ok(file) = name.parse::<WalName>() else { return Brought::Not };
        let key = wal_key(&chain_of(self.pushing.component, lineage), &file);
        let mut found = Brought::Nowhere;
        for other in from.iter().filter(|other| other.name != tier.name) {
            match other.store.get(&key) {
                Ok(bytes) => return self.copy(tier, &key, (lineage, name), &bytes),
                Err(error) if error.kind == StoreErrorKind::NotFound => {}
                Err(_) => found = Brought::Not,
            }
        }
        found
    }

    fn copy(
        &self,
        tier: &JournalTier,
        key: &str,
        (lineage, name): (&str, &str),
        bytes: &Bytes,
    ) -> Brought {
        match tier.store.create(key, std::slice::from_ref(bytes)) {
            Ok(()) => return Brought::There,
            Err(error) if error.kind == StoreErrorKind::Exists => {}
            Err(_) => return Brought::Failed,
        }
        // Pushed again meanwhile, and compared then; or what kept it from being stored at first.
        let Ok(there) = tier.store.get(key) else { return Brought::Failed };
        let sealed = Hash::of(&there);
        let own =
            |note: &Note| note.sealed == sealed && note.lineage == lineage && note.name == name;
        match there == *bytes || notes(&self.folder).is_ok_and(|all| all.iter().any(own)) {
            true => Brought::There,
            false => Brought::Not,
        }
    }
}

/// What became of a file that a tier lacks.
enum Brought {
    /// It has it.
    There,
    /// No other tier that was asked has it.
    Nowhere,
    /// It stays owed.
    Not,
    /// The tier takes nothing now.
    Failed,
}

/// Names of what a tier lacks, oldest first.
fn owed(folder: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().filter_map(std::result::Result::ok);
    entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

fn notes(folder: &Path) -> Result<Vec<Note>> {
    let mut found = Vec::new();
    for name in ["pushed-before.jsonl", "pushed.jsonl"] {
        let path = folder.join(name);
        let file = match fs::File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(error) => return Err(at("read", &path)(error).into()),
        };
        for line in BufReader::new(file).split(b'\n') {
            let line = line.map_err(at("read", &path))?;
            // A torn line is of an object that was never created, or is opened to be compared.
            found.extend(serde_json::from_slice::<Note>(&line).ok());
        }
    }
    Ok(found)
}

/// The logs of which this host handed over files for a component.
pub fn handed_logs(state: &State, component: &str) -> Result<BTreeSet<String>> {
    let folder = local_folder(state, component).join("wal");
    Ok(notes(&folder)?.into_iter().map(|note| note.lineage).collect())
}
