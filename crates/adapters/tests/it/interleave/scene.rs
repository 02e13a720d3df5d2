//! A vault, the two sides' data, and what must be in the vault.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use lifeboat_vault::{CheckOptions, Id, RestoreOptions, Vault};

use super::process::{self, End, Running, wait};

type Files = BTreeMap<PathBuf, Vec<u8>>;

/// Numbers that follow from a seed.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Dice {
        Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        (self.next() >> 16) % limit
    }
}

/// How the processes ended.
#[derive(Debug, Default)]
pub struct Tally {
    done: u64,
    locked: u64,
    killed: u64,
    snapshots: u64,
    forgotten: u64,
    copied: u64,
}

impl Tally {
    /// Some came through, some met the other's lock and some were killed: else nothing was shown.
    pub fn is_lively(&self) -> bool {
        self.done > 0 && self.locked > 0 && self.killed > 0
    }

    /// And what was removed and what was copied was held against the vaults too.
    pub fn has_everything(&self) -> bool {
        self.is_lively() && self.snapshots > 0 && self.forgotten > 0 && self.copied > 0
    }
}

pub struct Scene {
    folder: tempfile::TempDir,
    dice: Dice,
    ours: Files,
    theirs: Files,
    /// What must be there.
    holds: BTreeMap<Id, Files>,
    /// Forgotten by a process that was killed or is not done: may be there or not.
    may_go: BTreeSet<Id>,
    /// Forgotten for certain.
    gone: BTreeSet<Id>,
    /// Backups of this round of which nobody said that they were done.
    may_come: Vec<Files>,
    /// What must be in the vault that is copied into, and everything that ever was to be copied.
    copies: BTreeMap<Id, Id>,
    ever: BTreeMap<Id, Files>,
    said: Vec<String>,
    tally: Tally,
}

impl Drop for Scene {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.said.join("\n"));
        }
    }
}

impl Scene {
    pub fn new(seed: u64) -> Scene {
        let folder = tempfile::tempdir().unwrap();
        for side in ["ours", "theirs"] {
            fs::create_dir_all(folder.path().join(side).join("media")).unwrap();
        }
        let (ours, theirs, holds, may_go, gone, may_come) = <_>::default();
        let (copies, ever, said, tally) = <_>::default();
        let dice = Dice::new(seed ^ 0x5ce0e);
        let scene = Scene {
            folder,
            dice,
            ours,
            theirs,
            holds,
            may_go,
            gone,
            may_come,
            copies,
            ever,
            said,
            tally,
        };
        process::vault(&scene.path("vault"));
        process::vault(&scene.path("other"));
        scene
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn restic(&self, words: &[&str]) -> Running {
        Running::restic(&self.path("vault"), &self.path("theirs"), words)
    }

    pub fn lifeboat(&self, words: &[&str]) -> Running {
        Running::lifeboat(&self.path("vault"), &self.path("ours"), &self.path("other"), words)
    }

    pub fn note(&mut self, line: String) {
        self.said.push(line);
    }

    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Other data on both sides, some of it the same.
    pub fn change(&mut self) {
        for number in 0..8 {
            let path = PathBuf::from(format!("d{}/f{}", self.dice.below(2), self.dice.below(20)));
            let length = 1000 + self.dice.below(90_000) as usize;
            let content: Vec<u8> = match self.dice.below(4) {
                0 => b"compressible ".repeat(length / 13),
                _ => (0..length / 8).flat_map(|_| self.dice.next().to_le_bytes()).collect(),
            };
            let sides = [("ours", &mut self.ours), ("theirs", &mut self.theirs)];
            for (side, (name, files)) in sides.into_iter().enumerate() {
                // A third goes to both.
                if number % 3 != side {
                    let whole = self.folder.path().join(name).join("media").join(&path);
                    fs::create_dir_all(whole.parent().unwrap()).unwrap();
                    fs::write(whole, &content).unwrap();
                    files.insert(path.clone(), content.clone());
                }
            }
        }
    }

    /// One backup by each side, alone.
    pub fn back_up_both(&mut self) {
        self.change();
        let end = self.restic(&["backup", "--json", "media"]).end();
        self.done_backup(end, false);
        let end = self.lifeboat(&["backup"]).end();
        self.done_backup(end, true);
        self.whole();
    }

    pub fn some_id(&self) -> Id {
        *self.holds.keys().next().unwrap()
    }

    /// Names of the lock objects.
    pub fn locks(&self) -> Vec<String> {
        let entries = fs::read_dir(self.path("vault/locks")).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.len() == 64).collect()
    }

    /// The lock of a process that runs alone; none if it ended before one was seen.
    pub fn wait_for_lock(&self, of: &mut Running) -> Option<String> {
        loop {
            if let Some(name) = self.locks().pop() {
                return Some(name);
            }
            if of.has_ended() {
                return None;
            }
            wait(1);
        }
    }

    /// A pruning of restic's that was halted while it held its lock, and the lock.
    pub fn halted_restic(&mut self) -> (Running, String) {
        assert!(self.locks().is_empty(), "{:?}", self.locks());
        for _ in 0..20 {
            let mut process = self.restic(&["prune"]);
            if let Some(held) = self.wait_for_lock(&mut process) {
                process.halt();
                // It may have been at its end already.
                wait(20);
                if self.locks() == [held.clone()] {
                    return (process, held);
                }
                process.go_on();
            }
            assert!(matches!(process.end(), End::Done(_)));
        }
        panic!("it was never halted in the act");
    }

    /// Up to two snapshots, while enough stay.
    pub fn pick_to_forget(&mut self, dice: &mut Dice) -> Vec<Id> {
        let free: Vec<Id> =
            self.holds.keys().filter(|id| !self.may_go.contains(*id)).copied().collect();
        let mut picked = Vec::new();
        for _ in 0..2 {
            if free.len() >= 4 + picked.len() {
                picked.push(free[dice.below(free.len() as u64) as usize]);
            }
        }
        picked.sort();
        picked.dedup();
        // Two processes of a round are given different ones.
        self.may_go.extend(&picked);
        picked
    }

    pub fn count(&mut self, end: &End) {
        match end {
            End::Done(_) => self.tally.done += 1,
            End::Locked => self.tally.locked += 1,
            End::Killed => self.tally.killed += 1,
        }
    }

    pub fn done_backup(&mut self, end: End, ours: bool) {
        let files = if ours { &self.ours } else { &self.theirs };
        let id: Id = match end {
            End::Locked => return,
            End::Killed => {
                self.may_come.push(files.clone());
                return;
            }
            End::Done(said) if ours => ids(&said)[0].0,
            End::Done(said) => {
                let line = said.lines().find(|line| line.contains("snapshot_id")).unwrap();
                let line: serde_json::Value = serde_json::from_str(line).unwrap();
                let short = line["snapshot_id"].as_str().unwrap();
                let mut names = fs::read_dir(self.path("vault/snapshots")).unwrap();
                let found = names.find_map(|name| {
                    let name = name.unwrap().file_name().into_string().unwrap();
                    name.starts_with(short).then(|| name.parse().unwrap())
                });
                found.expect("restic's snapshot is there")
            }
        };
        self.tally.snapshots += 1;
        self.holds.insert(id, files.clone());
    }

    pub fn done_forget(&mut self, ids: &[Id], end: &End) {
        match end {
            End::Done(_) => self.gone.extend(ids),
            // Nothing was touched, unless somebody else is at the same.
            End::Locked | End::Killed => {}
        }
    }

    pub fn done_copy(&mut self, end: &End) {
        if let End::Done(said) = end {
            let pairs = ids(said);
            let sources: BTreeSet<Id> = pairs.iter().map(|(source, _)| *source).collect();
            // All that was there before the round and was not forgotten in it.
            let must = self.holds.keys().filter(|id| !self.may_go.contains(*id));
            let lost: Vec<&Id> = must.filter(|id| self.ever.contains_key(*id)).collect();
            assert!(lost.into_iter().all(|id| sources.contains(id)), "not all was copied");
            self.copies.extend(pairs.into_iter().map(|(source, copy)| (copy, source)));
        }
    }

    /// The typed-in snapshot has no folder `media`: it goes before the others are looked at.
    pub fn typed_snapshot_goes(&mut self) {
        let vault = self.opened("vault");
        let all = vault.snapshots().unwrap();
        let typed = all.iter().find(|(id, _)| !self.holds.contains_key(id)).expect("it is there");
        assert_eq!(vault.read_file(&typed.1, "typed").unwrap(), b"typed in");
        assert!(matches!(self.restic(&["forget", &typed.0.to_string()]).end(), End::Done(_)));
    }

    fn opened(&self, name: &str) -> Vault {
        process::vault(&self.path(name)).0
    }

    /// Both vaults hold what they must, byte for byte, and restic finds nothing wrong.
    pub fn whole(&mut self) {
        let vault = self.opened("vault");
        let mut found = BTreeMap::new();
        for (id, snapshot) in vault.snapshots().unwrap() {
            assert!(!self.gone.contains(&id), "snapshot {id} was forgotten");
            let files = restored(&vault, &snapshot);
            match self.holds.get(&id) {
                Some(wanted) => assert_eq!(&files, wanted, "snapshot {id}"),
                None => {
                    let at = self.may_come.iter().position(|wanted| *wanted == files);
                    self.may_come.remove(at.expect("a snapshot of nothing that was backed up"));
                }
            }
            found.insert(id, files);
        }
        for id in self.holds.keys().filter(|id| !found.contains_key(*id)) {
            assert!(self.may_go.contains(id), "snapshot {id} is gone");
            self.tally.forgotten += 1;
        }
        check(&vault, &self.path("vault"));
        self.ever.extend(found.clone());
        self.holds = found;
        self.may_come.clear();
        self.may_go.clear();
        self.copies_are_whole();
    }

    fn copies_are_whole(&mut self) {
        let other = self.opened("other");
        let mut found = BTreeMap::new();
        for (id, snapshot) in other.snapshots().unwrap() {
            let source = snapshot.original.expect("a copy names what it is of");
            assert_eq!(restored(&other, &snapshot), self.ever[&source], "copy {id} of {source}");
            found.insert(id, source);
        }
        assert!(self.copies.keys().all(|id| found.contains_key(id)), "a copy is gone");
        self.tally.copied = found.len() as u64;
        self.copies = found;
        if !self.copies.is_empty() {
            check(&other, &self.path("other"));
        }
    }
}

fn check(vault: &Vault, folder: &Path) {
    let report = vault.check(&CheckOptions::default()).unwrap();
    assert!(report.passed(), "{report:#?}");
    match Running::restic(folder, folder, &["check", "--read-data", "--no-lock"]).end() {
        End::Done(said) => assert!(said.contains("no errors were found"), "{said}"),
        other => panic!("{other:?}"),
    }
}

/// Lines `did SOURCE COPY` of the other process.
fn ids(said: &str) -> Vec<(Id, Id)> {
    let lines = said.lines().filter_map(|line| line.split_once("did ")?.1.split_once(' '));
    lines.map(|(one, other)| (one.parse().unwrap(), other.parse().unwrap())).collect()
}

fn restored(vault: &Vault, snapshot: &lifeboat_vault::Snapshot) -> Files {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("target");
    let report = vault.restore(snapshot, &RestoreOptions::default(), &target).unwrap();
    assert!(report.is_complete() && report.problems.is_empty(), "{report:?}");
    let (root, mut files) = (target.join("media"), Files::new());
    for group in fs::read_dir(&root).unwrap() {
        for file in fs::read_dir(group.unwrap().path()).unwrap() {
            let path = file.unwrap().path();
            files.insert(path.strip_prefix(&root).unwrap().to_owned(), fs::read(&path).unwrap());
        }
    }
    files
}
