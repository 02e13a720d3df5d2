//! Judges a restored dump: it is there, byte for byte as it was printed. What it means only the
//! command that loads it knows.

use std::path::Path;

use lifeboat_model::check::CheckResult;
use lifeboat_model::manifest::{Content, Manifest};
use lifeboat_model::verdict::Verdict;
use lifeboat_recovery::ports::{Answer, Engine, EngineError};

use crate::printed;

/// Judges dumps.
pub struct CommandEngine;

impl Engine for CommandEngine {
    fn structure(&self, copy: &Path, manifest: &Manifest) -> Vec<CheckResult> {
        match &manifest.content {
            Content::Command(content) => vec![printed::structure(copy, &content.printed)],
            _ => vec![other()],
        }
    }

    fn content(&self, copy: &Path, manifest: &Manifest) -> Vec<CheckResult> {
        match &manifest.content {
            Content::Command(content) => vec![printed::content(copy, &content.printed)],
            _ => vec![other()],
        }
    }

    fn query(&self, _: &Path, _: &str) -> Result<Answer, EngineError> {
        Err(EngineError::Refused {
            what: "the dump of a command has no queries".to_owned(),
            hint: "ask a database component, or name a file with `exists`".to_owned(),
        })
    }
}

fn other() -> CheckResult {
    CheckResult::new("manifest", Verdict::Fail, "the dump of a command", "of another kind")
}
