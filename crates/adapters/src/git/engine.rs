//! Judges a restored bundle: it is cloned, `git fsck` reads every object, and the refs and the number of
//! commits are those of the capture.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use lifeboat_model::check::CheckResult;
use lifeboat_model::manifest::{Content, GitContent, Manifest};
use lifeboat_model::verdict::Verdict;
use lifeboat_recovery::ports::{Answer, Engine, EngineError, SourceError};
use lifeboat_vault::{Cancel, Clock};
use tempfile::TempDir;

use super::program::{Git, is_missing, look};
use crate::printed;

const CLONED: &str = "git clone and fsck";
const REFS: &str = "refs equal manifest";

/// Judges bundles.
pub struct GitEngine {
    clock: Arc<dyn Clock>,
    cancel: Cancel,
}

impl GitEngine {
    /// A judge that runs `git`.
    pub fn new(clock: Arc<dyn Clock>, cancel: Cancel) -> GitEngine {
        GitEngine { clock, cancel }
    }

    fn git(&self) -> Git<'_> {
        Git { surroundings: &[], token: None, clock: &*self.clock, cancel: &self.cancel }
    }

    /// A clone beside the copy, each of its objects read.
    fn cloned(&self, copy: &Path, content: &GitContent) -> Result<Clone, CheckResult> {
        let whole = "a repository without a fault";
        let fail = |verdict, why: String| CheckResult::new(CLONED, verdict, whole, why);
        let beside = copy.parent().unwrap_or(copy);
        let folder = tempfile::Builder::new().prefix("git.lifeboat-partial-").tempdir_in(beside);
        let folder =
            folder.map_err(|error| fail(Verdict::Inconclusive, format!("no folder: {error}")))?;
        let repository = folder.path().join("clone.git");
        let bundle = printed::place(copy, &content.printed);
        let bundle = bundle.canonicalize().unwrap_or(bundle);
        let judged = |error: SourceError| match &error {
            SourceError::Unfit { hint, .. } if is_missing(&error) => {
                fail(Verdict::Inconclusive, format!("{error}: {hint}"))
            }
            SourceError::Vault(_) => fail(Verdict::Inconclusive, error.to_string()),
            _ => fail(Verdict::Fail, error.to_string()),
        };
        let (from, to) = (bundle.to_string_lossy(), repository.to_string_lossy());
        let clone = ["clone", "--quiet", "--mirror", "--", &from, &to];
        self.git().run(folder.path(), &clone, "`git clone` of the bundle", "").map_err(judged)?;
        let fsck = ["fsck", "--full", "--no-dangling", "--no-progress"];
        self.git().run(&repository, &fsck, "`git fsck`", "").map_err(judged)?;
        Ok(Clone { _folder: folder, repository })
    }

    fn refs(&self, clone: &Clone, content: &GitContent) -> Vec<CheckResult> {
        let found = match look(&self.git(), &clone.repository) {
            Ok(found) => found,
            Err(error) => return vec![CheckResult::new(REFS, Verdict::Fail, "refs", error)],
        };
        let lacking =
            content.refs.iter().filter(|(name, object)| found.refs.get(*name) != Some(object));
        let more = found.refs.iter().filter(|(name, _)| !content.refs.contains_key(*name));
        let differ: Vec<&str> =
            lacking.chain(more).map(|(name, _)| name.as_str()).take(5).collect();
        let expected = format!("{} refs", content.refs.len());
        let refs = match differ.is_empty() && !content.refs.is_empty() {
            true => CheckResult::new(REFS, Verdict::Pass, &expected, &expected),
            false => {
                let found = format!("{} refs; different: {}", found.refs.len(), differ.join(", "));
                CheckResult::new(REFS, Verdict::Fail, &expected, found)
            }
        };
        vec![refs, CheckResult::compare("commits", content.commits, found.commits)]
    }
}

/// A clone, gone when dropped.
struct Clone {
    _folder: TempDir,
    repository: PathBuf,
}

impl Engine for GitEngine {
    fn structure(&self, copy: &Path, manifest: &Manifest) -> Vec<CheckResult> {
        self.examine(copy, manifest).0
    }

    fn content(&self, copy: &Path, manifest: &Manifest) -> Vec<CheckResult> {
        self.examine(copy, manifest).1
    }

    /// One clone for both.
    fn examine(&self, copy: &Path, manifest: &Manifest) -> (Vec<CheckResult>, Vec<CheckResult>) {
        let Content::Git(content) = &manifest.content else {
            let other = CheckResult::new("manifest", Verdict::Fail, "a Git repository", "not one");
            return (vec![other.clone()], vec![other]);
        };
        let mut structure = vec![printed::structure(copy, &content.printed)];
        let mut same = vec![printed::content(copy, &content.printed)];
        match self.cloned(copy, content) {
            Ok(clone) => {
                let passed = "cloned, every object read";
                structure.push(CheckResult::new(CLONED, Verdict::Pass, passed, passed));
                same.extend(self.refs(&clone, content));
            }
            Err(check) => structure.push(check),
        }
        (structure, same)
    }

    fn query(&self, _: &Path, _: &str) -> Result<Answer, EngineError> {
        Err(EngineError::Refused {
            what: "a Git repository has no queries".to_owned(),
            hint: "ask a database component, or name a file with `exists`".to_owned(),
        })
    }
}
