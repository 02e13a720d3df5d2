//! The local chain of one host: `.lifeboat/ledger/HOST.jsonl`, append-only, one entry a line.
//!
//! `HOST.head` holds the last acknowledged entry's number and hash. It tells a line that a crash
//! tore while it was written, which nobody was told of and which is dropped, from an acknowledged
//! entry that somebody cut off. Where the file does not hold together, the chain goes on from the
//! acknowledged head: a tampered ledger must not stop backups, and the break stays visible.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use lifeboat_model::chain::{Draft, Entry, Head, Signer, seal};

use super::remote::safe_name;
use crate::error::{Error, Result};
use crate::state::{FileLock, State, create_new, read_optional, replace};

/// How much of the file's end is read at first, bytes.
const TAIL: u64 = 256 * 1024;

/// Between the host's name and the end of a branch, in the name of its file.
const BRANCH: &str = ".branch-";

/// The files of one host's chain.
#[derive(Debug, Clone)]
pub struct Local {
    state: State,
    name: String,
}

/// The end of the file.
#[derive(Debug, Default)]
struct Tail {
    /// Where the last complete line ends.
    complete: u64,
    /// The last complete line.
    last: Option<Vec<u8>>,
    /// Bytes after it: a line that was not written to its end.
    torn: u64,
}

impl Local {
    /// The chain of `host` in the state folder.
    pub fn new(state: &State, host: &str) -> Local {
        Local { state: state.clone(), name: safe_name(host) }
    }

    /// The file.
    pub fn file(&self) -> PathBuf {
        self.state.path(format!("ledger/{}.jsonl", self.name))
    }

    fn head_file(&self) -> PathBuf {
        self.state.path(format!("ledger/{}.head", self.name))
    }

    fn base_file(&self) -> PathBuf {
        self.state.path(format!("ledger/{}.base", self.name))
    }

    /// The entry in the tier after which the local lines begin, where those before could not be
    /// opened here. Its key is unknown.
    pub fn base(&self) -> Result<Option<Head>> {
        let body = read_optional(&self.base_file())?;
        Ok(body.and_then(|body| serde_json::from_slice(&body).ok()))
    }

    /// Begins after entries that the tier has and that cannot be opened here.
    pub fn begin_after(&self, base: &Head) -> Result<()> {
        let _lock = self.lock()?;
        let body = serde_json::to_vec(base)
            .map_err(|source| Error::Encode { what: "the ledger's base", source })?;
        replace(&self.base_file(), &body)?;
        self.acknowledge(base)
    }

    /// The newest entry that tier `tier` is known to have, by the last time that it was shipped to.
    pub fn shipped(&self, tier: &str) -> Result<u64> {
        Ok(self.all_shipped()?.get(tier).copied().unwrap_or(0))
    }

    /// Remembers it.
    pub fn set_shipped(&self, tier: &str, seq: u64) -> Result<()> {
        let mut all = self.all_shipped()?;
        all.insert(tier.to_owned(), seq);
        let body = serde_json::to_vec(&all)
            .map_err(|source| Error::Encode { what: "what was shipped", source })?;
        Ok(replace(&self.shipped_file(), &body)?)
    }

    fn all_shipped(&self) -> Result<BTreeMap<String, u64>> {
        let body = read_optional(&self.shipped_file())?;
        Ok(body.and_then(|body| serde_json::from_slice(&body).ok()).unwrap_or_default())
    }

    fn shipped_file(&self) -> PathBuf {
        self.state.path(format!("ledger/{}.shipped", self.name))
    }

    /// True if there is a chain, or was one.
    pub fn exists(&self) -> bool {
        self.head_file().exists() || fs::metadata(self.file()).is_ok_and(|meta| meta.len() > 0)
    }

    /// Complete lines, without their line breaks, and the torn rest after the last.
    pub fn lines(&self) -> Result<(Vec<Vec<u8>>, Vec<u8>)> {
        let body = read_optional(&self.file())?.unwrap_or_default();
        let mut lines: Vec<Vec<u8>> = body.split(|b| *b == b'\n').map(<[u8]>::to_vec).collect();
        let torn = lines.pop().unwrap_or_default();
        Ok((lines, torn))
    }

    /// The acknowledged head. One that cannot be read is none.
    pub fn acknowledged(&self) -> Result<Option<Head>> {
        let body = read_optional(&self.head_file())?;
        Ok(body.and_then(|body| serde_json::from_slice(&body).ok()))
    }

    /// Appends what `make` drafts, durably, under the lock. Notes go to `notes`.
    pub fn append(
        &self,
        draft: Draft,
        signer: &dyn Signer,
        notes: &mut Vec<String>,
    ) -> Result<Entry> {
        let _lock = self.lock()?;
        let (head, mut file) = self.open_end(notes)?;
        let entry = seal(head.as_ref(), draft, signer)?;
        let mut line = entry.bytes();
        line.push(b'\n');
        file.write_all(&line).and_then(|()| file.sync_all()).map_err(self.failed("append to"))?;
        if entry.seq == 1 {
            crate::state::sync_parent(&self.file())?;
        }
        self.acknowledge(&entry.head(signer.public_key()))?;
        Ok(entry)
    }

    /// Where the next entry would go on; nothing is mended.
    pub fn end(&self) -> Result<Option<Head>> {
        let _lock = self.lock()?;
        let mut file = match File::open(self.file()) {
            Ok(file) => file,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return self.acknowledged(),
            Err(e) => return Err(self.failed("open")(e)),
        };
        let tail = read_tail(&mut file).map_err(self.failed("read"))?;
        let last = tail.last.as_deref().map(Entry::read);
        Ok(self.go_on_from(self.acknowledged()?, last)?.0)
    }

    /// Takes over lines that the tier has after `from`, where the chain must still stand. The
    /// caller has verified them. False if another process was first.
    pub fn take_over(&self, lines: &[Vec<u8>], from: Option<&Head>, head: &Head) -> Result<bool> {
        let _lock = self.lock()?;
        let (end, mut file) = self.open_end(&mut Vec::new())?;
        if end.as_ref() != from {
            return Ok(false);
        }
        let mut body = Vec::new();
        for line in lines {
            body.extend_from_slice(line);
            body.push(b'\n');
        }
        file.write_all(&body).and_then(|()| file.sync_all()).map_err(self.failed("append to"))?;
        crate::state::sync_parent(&self.file())?;
        self.acknowledge(head)?;
        Ok(true)
    }

    /// Goes on with another chain, whose end is `end`; the lines `branch`, which end at `from` and
    /// are not in it, are kept in a file of their own, which is on stable storage first.
    pub fn set_aside(
        &self,
        branch: &[Vec<u8>],
        from: &Head,
        chain: &[Vec<u8>],
        end: &Head,
    ) -> Result<()> {
        let _lock = self.lock()?;
        let body = |lines: &[Vec<u8>]| -> Vec<u8> {
            lines.iter().flat_map(|line| line.iter().copied().chain([b'\n'])).collect()
        };
        // One that a crash left has the same lines: its name is their end.
        create_new(&self.branch_file(from), &body(branch))?;
        replace(&self.file(), &body(chain))?;
        self.acknowledge(end)
    }

    /// The branches that were set aside: name and content.
    pub fn branches(&self) -> Result<Vec<(String, Vec<u8>)>> {
        let folder = self.state.path("ledger");
        let begin = format!("{}{BRANCH}", self.name);
        let mut found = Vec::new();
        for entry in fs::read_dir(&folder).map_err(Error::io("read", &folder))? {
            let name = entry.map_err(Error::io("read", &folder))?.file_name();
            let Some(name) = name.to_str().filter(|n| n.starts_with(&begin)) else { continue };
            if name.ends_with(".jsonl")
                && let Some(body) = read_optional(&folder.join(name))?
            {
                found.push((name.to_owned(), body));
            }
        }
        found.sort();
        Ok(found)
    }

    fn branch_file(&self, head: &Head) -> PathBuf {
        self.state.path(format!("ledger/{}{BRANCH}{}-{}.jsonl", self.name, head.seq, head.hash))
    }

    /// True if the acknowledged head was set aside with its branch, and a crash came before the new
    /// one was acknowledged.
    pub(super) fn is_aside(&self, head: &Head) -> Result<bool> {
        let Some(body) = read_optional(&self.branch_file(head))? else { return Ok(false) };
        let mut lines = body.split(|b| *b == b'\n').rev().filter(|line| !line.is_empty());
        let same = |line: &[u8]| Entry::read(line).is_ok_and(|entry| entry.hash() == head.hash);
        let (here, _) = self.lines()?;
        Ok(lines.next().is_some_and(same) && !here.iter().any(|line| same(line)))
    }

    fn lock(&self) -> Result<FileLock> {
        self.state.make("ledger")?;
        Ok(FileLock::exclusive(&self.state.path(format!("ledger/{}.lock", self.name)))?)
    }

    fn failed(&self, verb: &'static str) -> impl FnOnce(std::io::Error) -> Error {
        Error::io(verb, self.file())
    }

    fn acknowledge(&self, head: &Head) -> Result<()> {
        let body = serde_json::to_vec(head)
            .map_err(|source| Error::Encode { what: "the ledger's head", source })?;
        Ok(replace(&self.head_file(), &body)?)
    }

    /// The head to go on from, and the file positioned at its end.
    fn open_end(&self, notes: &mut Vec<String>) -> Result<(Option<Head>, File)> {
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(self.file())
            .map_err(self.failed("open"))?;
        let tail = read_tail(&mut file).map_err(self.failed("read"))?;
        let acknowledged = self.acknowledged()?;
        let last = tail.last.as_deref().map(Entry::read);
        let (head, broken) = self.go_on_from(acknowledged, last)?;
        if tail.torn > 0 {
            let mended = if broken {
                // The torn line was acknowledged: what is left of it stays for the audit.
                file.seek(SeekFrom::End(0)).and_then(|_| file.write_all(b"\n"))
            } else {
                notes.push(
                    "the ledger's last line was torn by a crash; it was never acknowledged and \
                     was dropped"
                        .to_owned(),
                );
                file.set_len(tail.complete)
            };
            mended.map_err(self.failed("mend"))?;
        }
        if broken {
            notes.push(
                "the ledger does not hold together; it goes on from the last acknowledged entry, \
                 `lifeboat audit verify` names the break"
                    .to_owned(),
            );
        }
        file.seek(SeekFrom::End(0)).map_err(self.failed("open"))?;
        Ok((head, file))
    }

    /// Where to go on, and whether an acknowledged entry is missing or changed.
    fn go_on_from(
        &self,
        acknowledged: Option<Head>,
        last: Option<std::result::Result<Entry, lifeboat_model::chain::ChainError>>,
    ) -> Result<(Option<Head>, bool)> {
        if let Some(head) = &acknowledged
            && self.is_aside(head)?
        {
            return self.last_readable();
        }
        Ok(match (acknowledged, last) {
            (None, None) => (None, false),
            // Nothing was written yet after entries that only the tier has.
            (Some(head), None) => (Some(head), self.base()? != Some(head)),
            (Some(head), Some(Ok(entry))) if entry.seq == head.seq => {
                (Some(head), entry.hash() != head.hash)
            }
            (Some(head), Some(Ok(entry))) if entry.seq > head.seq => {
                // Written, and the process died before it acknowledged.
                let end = self.following(&head)?.filter(|end| end.seq == entry.seq);
                (Some(end.unwrap_or(head)), end.is_none())
            }
            (Some(head), Some(_)) => (Some(head), true),
            (None, Some(_)) => self.last_readable()?,
        })
    }

    /// Where the lines end that stand after `head` and follow it without a gap: several, where a
    /// process died while it took them over from a tier.
    fn following(&self, head: &Head) -> Result<Option<Head>> {
        let (lines, _) = self.lines()?;
        let mut end = None;
        for entry in lines.iter().map(|line| Entry::read(line)) {
            let before = end.unwrap_or(*head);
            match entry {
                Ok(entry) if end.is_none() && entry.seq < head.seq => {}
                Ok(entry) if end.is_none() && entry.seq == head.seq => {
                    if entry.hash() != head.hash {
                        return Ok(None);
                    }
                    end = Some(*head);
                }
                Ok(entry) if entry.seq == before.seq + 1 && entry.prev == before.hash => {
                    end = Some(entry.head(entry.key.unwrap_or(before.key)));
                }
                // A broken line before the head is the audit's.
                Err(_) if end.is_none() => {}
                _ => return Ok(None),
            }
        }
        Ok(end)
    }

    /// Without an acknowledged head (its file was lost) the last readable line is the head.
    fn last_readable(&self) -> Result<(Option<Head>, bool)> {
        let (lines, _) = self.lines()?;
        let mut key = None;
        let mut last = None;
        let mut broken = false;
        for line in &lines {
            match Entry::read(line) {
                Ok(entry) => {
                    key = entry.key.or(key);
                    last = Some(entry);
                }
                Err(_) => broken = true,
            }
        }
        Ok((last.zip(key).map(|(entry, key)| entry.head(key)), broken))
    }
}

fn read_tail(file: &mut File) -> std::io::Result<Tail> {
    let length = file.metadata()?.len();
    let mut span = TAIL;
    loop {
        let from = length.saturating_sub(span);
        file.seek(SeekFrom::Start(from))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let Some(end) = bytes.iter().rposition(|b| *b == b'\n') else {
            if from == 0 {
                return Ok(Tail { complete: 0, last: None, torn: bytes.len() as u64 });
            }
            span *= 4;
            continue;
        };
        let begin = bytes[..end].iter().rposition(|b| *b == b'\n').map(|at| at + 1);
        match begin {
            None if from > 0 => span *= 4,
            begin => {
                return Ok(Tail {
                    complete: from + end as u64 + 1,
                    last: Some(bytes[begin.unwrap_or(0)..end].to_vec()),
                    torn: (bytes.len() - end - 1) as u64,
                });
            }
        }
    }
}
