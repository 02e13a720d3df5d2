//! The page map: the hash of every page as the journal has it, on disk, 16 bytes a page.
//!
//! It tells what changed while nobody looked, so that a stream goes on with what differs and never
//! with the whole database. It is believed only if the checksum over all its hashes is the one that
//! the journal's end states: a map that was lost, torn or set back is found out, and then the stream
//! begins a new lineage.
//!
//! `pages.map` holds the hashes, `pages.json` what they are of, `pages.changes` what was changed since
//! (`changes.rs`). A batch goes to the changes, synced, before it goes to the map, and its
//! range leaves the stream after that.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::changes::{Batch, Changes, Entry, Extent};
use super::sum::Sum;

/// Bytes of a hash.
const WIDTH: u64 = 16;
/// Hashes that are read at once.
const BLOCK: u64 = 4096;
/// The changes are folded into the map once they are longer than this, bytes.
const FOLD: u64 = 4 << 20;

/// What a map is of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct State {
    /// The journal's lineage, without what the journal put behind it.
    pub lineage: String,
    /// The last batch.
    pub txid: u64,
    /// The database's size.
    pub extent: Extent,
    /// Its checksum.
    pub sum: Sum,
}

/// See the module.
pub(super) struct Map {
    folder: PathBuf,
    hashes: File,
    changes: Changes,
    state: State,
    /// The checksum with what is staged.
    staged: Sum,
    block: Option<(u64, Vec<u8>)>,
}

impl Map {
    /// An empty map of a new lineage.
    pub fn create(folder: &Path, lineage: String) -> io::Result<Map> {
        std::fs::create_dir_all(folder)?;
        for name in ["pages.json", "pages.map", "pages.changes"] {
            match std::fs::remove_file(folder.join(name)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        let (changes, _) = Changes::open(open(&folder.join("pages.changes"))?)?;
        let hashes = open(&folder.join("pages.map"))?;
        let state = State { lineage, txid: 0, extent: Extent::default(), sum: Sum(0) };
        Ok(Map { folder: folder.into(), hashes, changes, state, staged: Sum(0), block: None })
    }

    /// The map as of the last whole batch of `lineage` up to `txid`, if it is there and its checksum
    /// is `end`; else a clause that says why it cannot be used.
    pub fn load(
        folder: &Path,
        lineage: &str,
        txid: u64,
        end: Option<Sum>,
    ) -> io::Result<Result<Map, String>> {
        let Some(state) = read_state(folder)? else {
            return Ok(Err("the page map is lost".to_owned()));
        };
        if state.lineage != lineage {
            return Ok(Err(format!("the page map is of another lineage ({})", state.lineage)));
        }
        let (changes, batches) = Changes::open(open(&folder.join("pages.changes"))?)?;
        let hashes = open(&folder.join("pages.map"))?;
        let mut map =
            Map { folder: folder.into(), hashes, changes, staged: state.sum, state, block: None };
        // Without the journal's word on it, only the very batch will do.
        let whole = |batch: &Batch| batch.txid == txid;
        if end.is_none() && map.state.txid != txid && !batches.iter().any(whole) {
            return Ok(Err("the page map does not know the journal's end".to_owned()));
        }
        if let Err(why) = map.go_to(txid, &batches)? {
            return Ok(Err(why));
        }
        let found = map.add_up()?;
        if found != map.state.sum || end.is_some_and(|end| end != found) {
            return Ok(Err("the page map does not agree with the journal".to_owned()));
        }
        map.fold()?;
        Ok(Ok(map))
    }

    /// Applies batches up to `txid` and takes back those after it.
    fn go_to(&mut self, txid: u64, batches: &[Batch]) -> io::Result<Result<(), String>> {
        let first = self.state.txid;
        if txid < first {
            return Ok(Err(format!("the page map begins at {first}, the journal ends at {txid}")));
        }
        let (wanted, ahead) = batches.split_at(batches.partition_point(|batch| batch.txid <= txid));
        for batch in wanted {
            self.apply(batch)?;
            self.state.extent = batch.after;
            self.state.sum = batch.sum;
        }
        if let (None, Some(next)) = (wanted.last(), ahead.first()) {
            self.state.extent = next.before;
        }
        for batch in ahead.iter().rev() {
            let hashes = &self.hashes;
            self.changes.entries(batch, &mut |entry| put(hashes, entry.page, entry.old))?;
        }
        self.state.txid = txid;
        self.staged = self.state.sum;
        self.hashes.set_len(u64::from(self.state.extent.page_count) * WIDTH)?;
        Ok(Ok(()))
    }

    fn apply(&mut self, batch: &Batch) -> io::Result<()> {
        let hashes = &self.hashes;
        self.changes.entries(batch, &mut |entry| put(hashes, entry.page, entry.new))?;
        self.hashes.set_len(u64::from(batch.after.page_count) * WIDTH)?;
        self.block = None;
        Ok(())
    }

    /// The checksum over all hashes.
    fn add_up(&self) -> io::Result<Sum> {
        let mut sum = Sum(0);
        let mut bytes = vec![0; (BLOCK * WIDTH) as usize];
        let mut at = 0;
        loop {
            let count = fill(&self.hashes, &mut bytes, at)?;
            for hash in bytes[..count].chunks_exact(WIDTH as usize) {
                sum ^= hash_in(hash, 0);
            }
            if count < bytes.len() {
                return Ok(sum);
            }
            at += count as u64;
        }
    }

    /// What the map is of: everything up to the last batch.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// The hash of a page after the last batch; zero where it has none.
    pub fn get(&mut self, page: u32) -> io::Result<Sum> {
        let index = u64::from(page - 1);
        let start = index - index % BLOCK;
        if self.block.as_ref().is_none_or(|(at, _)| *at != start) {
            let mut bytes = vec![0; (BLOCK * WIDTH) as usize];
            let count = fill(&self.hashes, &mut bytes, start * WIDTH)?;
            bytes[count..].fill(0);
            self.block = Some((start, bytes));
        }
        let block = self.block.as_ref().map_or(&[][..], |(_, bytes)| bytes);
        Ok(hash_in(block, ((index - start) * WIDTH) as usize))
    }

    /// One more page of the batch that is being made; each at most once.
    pub fn stage(&mut self, page: u32, new: Sum) -> io::Result<()> {
        let old = self.get(page)?;
        self.staged ^= old;
        self.staged ^= new;
        self.changes.push(Entry { page, old, new })
    }

    /// Ends the batch as number `txid`. Pages beyond the database's new size go.
    pub fn commit(&mut self, txid: u64, extent: Extent) -> io::Result<()> {
        for page in extent.page_count + 1..=self.state.extent.page_count {
            self.stage(page, Sum(0))?;
        }
        let batch = self.changes.end(txid, (self.state.extent, extent), self.staged)?;
        self.apply(&batch)?;
        self.state.txid = txid;
        self.state.extent = extent;
        self.state.sum = self.staged;
        Ok(())
    }

    /// Forgets the batch that is being made.
    pub fn abandon(&mut self) -> io::Result<()> {
        self.staged = self.state.sum;
        self.changes.abandon()
    }

    /// All up to `txid` is kept elsewhere: what nobody will ask back any more may go.
    pub fn durable(&mut self, txid: u64) -> io::Result<()> {
        let long = self.changes.length() > FOLD;
        if txid >= self.state.txid && long && self.staged == self.state.sum {
            self.fold()?;
        }
        Ok(())
    }

    /// Makes the map itself the truth and empties the changes.
    pub fn fold(&mut self) -> io::Result<()> {
        self.hashes.sync_all()?;
        write_state(&self.folder, &self.state)?;
        self.changes.clear()
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)
}

fn put(hashes: &File, page: u32, hash: Sum) -> io::Result<()> {
    let Some(index) = page.checked_sub(1) else {
        return Err(io::Error::other("the page map has a page 0"));
    };
    hashes.write_all_at(&hash.0.to_le_bytes(), u64::from(index) * WIDTH)
}

fn hash_in(bytes: &[u8], at: usize) -> Sum {
    let mut own = [0; WIDTH as usize];
    own.copy_from_slice(&bytes[at..at + WIDTH as usize]);
    Sum(u128::from_le_bytes(own))
}

/// Reads as much as there is.
fn fill(file: &File, bytes: &mut [u8], at: u64) -> io::Result<usize> {
    let mut done = 0;
    while done < bytes.len() {
        match file.read_at(&mut bytes[done..], at + done as u64) {
            Ok(0) => break,
            Ok(count) => done += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}

/// What `pages.json` says; `None` where it is not there or says nothing that can be used.
fn read_state(folder: &Path) -> io::Result<Option<State>> {
    let bytes = match std::fs::read(folder.join("pages.json")) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let value: Value = serde_json::from_slice(&bytes).unwrap_or_default();
    let number = |name: &str| value[name].as_u64();
    Ok((|| {
        (number("format")? == 1).then_some(())?;
        let extent = Extent {
            page_size: number("page_size")?.try_into().ok()?,
            page_count: number("page_count")?.try_into().ok()?,
        };
        let lineage = value["lineage"].as_str()?.to_owned();
        let sum = value["sum"].as_str()?.parse().ok()?;
        Some(State { lineage, txid: number("txid")?, extent, sum })
    })())
}

fn write_state(folder: &Path, state: &State) -> io::Result<()> {
    let value = json!({
        "format": 1,
        "lineage": state.lineage,
        "txid": state.txid,
        "page_size": state.extent.page_size,
        "page_count": state.extent.page_count,
        "sum": state.sum.to_string(),
    });
    replace(folder, "pages.json", value.to_string().as_bytes(), true)
}

/// Puts a small file in place of another at once; `sync`: on stable storage.
pub(super) fn replace(folder: &Path, name: &str, bytes: &[u8], sync: bool) -> io::Result<()> {
    let new = folder.join(format!("{name}.new"));
    std::fs::write(&new, bytes)?;
    if sync {
        File::open(&new)?.sync_all()?;
    }
    std::fs::rename(&new, folder.join(name))?;
    if sync { File::open(folder)?.sync_all() } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: u32 = 512;

    fn hash(page: u32, version: u64) -> Sum {
        Sum(u128::from(page) << 64 | u128::from(version) << 8 | 1)
    }

    /// Batch `txid`: some pages anew, and a database that grows and shrinks.
    fn batch(map: &mut Map, txid: u64) {
        let count = 40 + (txid % 3) as u32 * 20;
        for page in (1..=count).filter(|page| u64::from(*page) % 5 == txid % 5 || *page > 40) {
            map.stage(page, hash(page, txid)).unwrap();
        }
        map.commit(txid, Extent { page_size: PAGE, page_count: count }).unwrap();
    }

    fn copy(from: &Path, to: &Path) {
        std::fs::create_dir_all(to).unwrap();
        for name in ["pages.map", "pages.changes", "pages.json"] {
            std::fs::copy(from.join(name), to.join(name)).unwrap();
        }
    }

    /// A map with batches up to 8, the states that it had, and copies of its files after each.
    fn history(folder: &Path) -> Vec<(State, PathBuf)> {
        let mut map = Map::create(&folder.join("own"), "ab".to_owned()).unwrap();
        for page in 1..=40 {
            map.stage(page, hash(page, 0)).unwrap();
        }
        map.commit(0, Extent { page_size: PAGE, page_count: 40 }).unwrap();
        map.fold().unwrap();
        let mut states = Vec::new();
        for txid in 0..=8 {
            if txid > 0 {
                batch(&mut map, txid);
            }
            let at = folder.join(txid.to_string());
            copy(&folder.join("own"), &at);
            states.push((map.state().clone(), at));
        }
        states
    }

    fn load(folder: &Path, state: &State) -> Result<State, String> {
        let map = Map::load(folder, "ab", state.txid, Some(state.sum)).unwrap()?;
        Ok(map.state().clone())
    }

    #[test]
    fn a_map_goes_to_any_batch_that_its_changes_hold() {
        let folder = tempfile::tempdir().unwrap();
        let states = history(folder.path());
        for (wanted, _) in &states {
            let work = folder.path().join("work");
            copy(&states[8].1, &work);
            assert_eq!(load(&work, wanted).as_ref(), Ok(wanted));
            // What was taken back is gone, and it goes on from there.
            let mut map = Map::load(&work, "ab", wanted.txid, None).unwrap().unwrap();
            batch(&mut map, wanted.txid + 1);
            if let Some((next, _)) = states.get(wanted.txid as usize + 1) {
                assert_eq!(map.state(), next);
            }
        }
    }

    /// Killed after the changes were written and before, in, or after the map was.
    #[test]
    fn a_map_that_was_cut_off_in_a_change_is_mended() {
        let folder = tempfile::tempdir().unwrap();
        let states = history(folder.path());
        for pair in states.windows(2) {
            let [(before, old), (after, new)] = pair else { panic!("two") };
            let (left, right) = (old.join("pages.map"), new.join("pages.map"));
            let (left, right) = (std::fs::read(left).unwrap(), std::fs::read(right).unwrap());
            for cut in [0, 16, 100, 320, 640, 960] {
                let work = folder.path().join("work");
                let mut torn = right[..right.len().min(cut)].to_vec();
                torn.extend(left.get(cut..).unwrap_or_default());
                for wanted in [before, after] {
                    copy(new, &work);
                    std::fs::write(work.join("pages.map"), &torn).unwrap();
                    assert_eq!(load(&work, wanted).as_ref(), Ok(wanted), "cut at {cut}");
                }
            }
            // The end of the changes did not reach the disk: the batch never was.
            let work = folder.path().join("work");
            copy(old, &work);
            let changes = std::fs::read(new.join("pages.changes")).unwrap();
            for less in [1, 41, 50] {
                std::fs::write(work.join("pages.changes"), &changes[..changes.len() - less])
                    .unwrap();
                assert_eq!(load(&work, before).as_ref(), Ok(before));
                copy(old, &work);
            }
        }
    }

    #[test]
    fn a_map_that_is_not_the_journals_is_not_used() {
        let folder = tempfile::tempdir().unwrap();
        let states = history(folder.path());
        let (state, at) = &states[8];
        let other = State { sum: Sum(state.sum.0 ^ 1), ..state.clone() };
        assert!(load(at, &other).unwrap_err().contains("does not agree"));
        let later = State { txid: 9, ..state.clone() };
        assert!(Map::load(at, "ab", later.txid, None).unwrap().is_err());
        assert!(Map::load(at, "cd", state.txid, Some(state.sum)).unwrap().is_err());
        assert!(Map::load(&folder.path().join("none"), "ab", 8, None).unwrap().is_err());
        let mut bytes = std::fs::read(at.join("pages.map")).unwrap();
        // A page that no batch in the changes touches is found out by the sum alone.
        let mut map = Map::load(at, "ab", state.txid, Some(state.sum)).unwrap().unwrap();
        map.fold().unwrap();
        bytes[7] ^= 1;
        std::fs::write(at.join("pages.map"), bytes).unwrap();
        assert!(load(at, state).unwrap_err().contains("does not agree"));
    }
}
