//! Judges a restored copy of a file tree.
//!
//! The manifest holds counts, bytes and one fingerprint over names, kinds, sizes and content
//! ([`lifeboat_vault::fingerprint`]). The copy's own fingerprint is computed from the bytes on
//! disk, cut where the snapshot says. If it differs, the copy is compared with the snapshot entry
//! by entry, so that the differences have names.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;

use lifeboat_model::check::CheckResult;
use lifeboat_model::manifest::{Content, FilesContent, FilesRoot, Manifest};
use lifeboat_model::verdict::Verdict;
use lifeboat_recovery::ports::{Answer, Engine, EngineError};
use lifeboat_vault::fingerprint::{Found, Prints};
use lifeboat_vault::{Id, Snapshot, Vault};

use super::differences;

/// Names of the two comparisons with the manifest.
const RECORDED: &str = "snapshot equals manifest";
const RESTORED: &str = "content equals manifest";

/// Judges copies of one snapshot.
pub struct FilesEngine {
    vault: Vault,
    snapshot: Snapshot,
}

impl FilesEngine {
    /// The judge of copies of `snapshot`, which lies in `vault`.
    pub fn new(vault: Vault, snapshot: Snapshot) -> FilesEngine {
        FilesEngine { vault, snapshot }
    }
}

impl Engine for FilesEngine {
    fn structure(&self, copy: &Path, manifest: &Manifest) -> Vec<CheckResult> {
        let content = match files(manifest) {
            Ok(content) => content,
            Err(check) => return vec![check],
        };
        let mut found = Counts::default();
        for root in &content.roots {
            if let Err(error) = found.add(&copy.join(root.tree.trim_start_matches('/'))) {
                let found = format!("cannot be read: {error}");
                return vec![CheckResult::new(&root.tree, Verdict::Fail, "readable", found)];
            }
        }
        found.judged(content)
    }

    fn content(&self, copy: &Path, manifest: &Manifest) -> Vec<CheckResult> {
        let content = match files(manifest) {
            Ok(content) => content,
            Err(check) => return vec![check],
        };
        match self.vault.fingerprints(&self.snapshot, copy) {
            Ok(prints) => self.equal(copy, content, &prints),
            // Which of the two it is says each by itself.
            Err(_) => vec![self.recorded(content), self.restored(copy, content)],
        }
    }

    /// One walk counts and hashes.
    fn examine(&self, copy: &Path, manifest: &Manifest) -> (Vec<CheckResult>, Vec<CheckResult>) {
        let prints = files(manifest).map(|_| self.vault.fingerprints(&self.snapshot, copy));
        match (files(manifest), prints) {
            (Ok(content), Ok(Ok(prints))) => {
                let structure = match Counts::below(&content.roots, prints.found) {
                    Some(found) => found.judged(content),
                    None => self.structure(copy, manifest),
                };
                (structure, self.equal(copy, content, &prints))
            }
            _ => (self.structure(copy, manifest), self.content(copy, manifest)),
        }
    }

    fn query(&self, _: &Path, _: &str) -> Result<Answer, EngineError> {
        Err(EngineError::Refused {
            what: "files have no queries".to_owned(),
            hint: "ask a database component, or name a file with `exists`".to_owned(),
        })
    }
}

impl FilesEngine {
    /// Trees and bytes against the manifest.
    fn equal(&self, copy: &Path, content: &FilesContent, prints: &Prints) -> Vec<CheckResult> {
        let recorded = CheckResult::compare(RECORDED, &content.fingerprint, prints.recorded);
        vec![recorded, self.judged(copy, content, prints.restored)]
    }

    /// The snapshot's trees against the manifest that was taken with them.
    fn recorded(&self, content: &FilesContent) -> CheckResult {
        match self.vault.fingerprint(&self.snapshot) {
            Ok(found) => CheckResult::compare(RECORDED, &content.fingerprint, found),
            Err(error) => inconclusive(RECORDED, &content.fingerprint, &error),
        }
    }

    /// The bytes of the copy against the manifest.
    fn restored(&self, copy: &Path, content: &FilesContent) -> CheckResult {
        match self.vault.fingerprint_restored(&self.snapshot, copy) {
            Ok(found) => self.judged(copy, content, found),
            Err(error) => inconclusive(RESTORED, &content.fingerprint, &error),
        }
    }

    /// The fingerprint of the copy; if it differs, what differs.
    fn judged(&self, copy: &Path, content: &FilesContent, found: Id) -> CheckResult {
        let expected = &content.fingerprint;
        if found.to_string() == *expected {
            return CheckResult::compare(RESTORED, expected, found);
        }
        let told = match differences::find(&self.vault, &self.snapshot, copy) {
            Ok(list) if list.is_empty() => "no entry differs from the snapshot".to_owned(),
            Ok(list) => list.join("; "),
            Err(error) => format!("the entries cannot be compared: {}", chain(&error)),
        };
        CheckResult::new(RESTORED, Verdict::Fail, expected, format!("{found}: {told}"))
    }
}

/// What a copy holds.
#[derive(Debug, Default)]
struct Counts {
    files: u64,
    folders: u64,
    others: u64,
    bytes: u64,
}

impl Counts {
    /// What was found in a copy, without the folders that only lead to the roots. Nothing where one
    /// root lies in another: manifests count what is in both twice.
    fn below(roots: &[FilesRoot], found: Found) -> Option<Counts> {
        let trees: Vec<&Path> =
            roots.iter().map(|root| Path::new(root.tree.trim_start_matches('/'))).collect();
        let lies_in_another = |(at, tree): (usize, &&Path)| {
            trees.iter().enumerate().any(|(other, root)| other != at && tree.starts_with(root))
        };
        if trees.iter().enumerate().any(lies_in_another) {
            return None;
        }
        let above = trees.iter().flat_map(|tree| tree.ancestors().skip(1));
        let above = above.filter(|folder| !folder.as_os_str().is_empty());
        let above = above.collect::<BTreeSet<_>>().len() as u64;
        // A root that is the whole tree counts itself.
        let top = u64::from(trees.iter().any(|tree| tree.as_os_str().is_empty()));
        let Found { files, folders, others, bytes } = found;
        Some(Counts { files, folders: (folders + top).saturating_sub(above), others, bytes })
    }

    fn judged(&self, content: &FilesContent) -> Vec<CheckResult> {
        vec![
            CheckResult::compare("files", content.files, self.files),
            CheckResult::compare("folders", content.folders, self.folders),
            CheckResult::compare("links and special files", content.others, self.others),
            CheckResult::compare("bytes", content.bytes, self.bytes),
        ]
    }

    fn add(&mut self, path: &Path) -> io::Result<()> {
        let meta = fs::symlink_metadata(path)?;
        if meta.is_dir() {
            self.folders += 1;
            for entry in fs::read_dir(path)? {
                self.add(&entry?.path())?;
            }
        } else if meta.is_file() {
            self.files += 1;
            self.bytes += meta.len();
        } else {
            self.others += 1;
        }
        Ok(())
    }
}

fn files(manifest: &Manifest) -> Result<&FilesContent, CheckResult> {
    match &manifest.content {
        Content::Files(content) => Ok(content),
        other => Err(CheckResult::compare("engine", "files", other.engine())),
    }
}

fn inconclusive(name: &str, expected: &str, error: &lifeboat_vault::Error) -> CheckResult {
    CheckResult::new(name, Verdict::Inconclusive, expected, chain(error))
}

/// An error with its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
