//! From a restored base to the wanted point: which way, how far it led, and what was found on it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use lifeboat_model::check::CheckResult;
use lifeboat_model::verdict::Verdict;

use crate::env::World;
use crate::error::{Error, Result};
use crate::ports::{Engine, LogReader, RecoverContext, RecoverTo, Recovered};
use crate::prove::Subject;
use crate::report::WayReport;
use crate::staging::remove_tree;

/// Name of the check of a copy that was staged and not started.
pub const PREPARED: &str = "recovered";

/// Name of the check that the way has all that was streamed: asked only where it is known that it
/// has not.
pub const UNBROKEN: &str = "journal unbroken";

/// Where a restored base is to be brought, and by what.
#[derive(Clone)]
pub struct Way {
    /// To which point.
    pub to: RecoverTo,
    /// Along which journal; nothing for the base alone.
    pub log: Option<Arc<dyn LogReader>>,
    /// Everything is staged and nothing started.
    pub prepare_only: bool,
    /// As reports show it; nothing for the base alone.
    pub shown: Option<WayReport>,
    /// What must be said of it.
    pub warnings: Vec<String>,
    /// What was streamed is not all on it, and no stream recorded why. What it leads to is proven all
    /// the same; it may not be what was asked for.
    pub doubt: Option<CheckResult>,
}

impl Way {
    /// The base alone.
    pub fn base() -> Way {
        Way {
            to: RecoverTo::Base,
            log: None,
            prepare_only: false,
            shown: None,
            warnings: Vec::new(),
            doubt: None,
        }
    }
}

/// A private folder of a recovery, gone with it.
#[derive(Debug)]
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    fn make(path: &Path) -> Result<Scratch> {
        use std::os::unix::fs::DirBuilderExt;
        // What an earlier run of the same restore left.
        remove_tree(path)?;
        let mut builder = std::fs::DirBuilder::new();
        builder.recursive(true).mode(0o700).create(path).map_err(Error::io("create", path))?;
        Ok(Scratch(path.to_owned()))
    }
}

impl Drop for Scratch {
    /// It lies in a staging folder: what cannot be removed here goes with that.
    fn drop(&mut self) {
        let _ = remove_tree(&self.0);
    }
}

/// Brings the copy in `folder` to the subject's point. The scratch folder lives as long as what was
/// started on the copy.
pub(crate) fn recover(
    world: &World,
    subject: &Subject<'_>,
    engine: &dyn Engine,
    folder: &Path,
    scratch: &Path,
) -> Result<(Option<Recovered>, Scratch)> {
    let scratch = Scratch::make(scratch)?;
    let way = &subject.way;
    let context = RecoverContext {
        clock: &*world.clock,
        monitor: &*world.monitor,
        cancel: &world.cancel,
        scratch: &scratch.0,
        prepare_only: way.prepare_only,
    };
    let log = way.log.as_deref();
    let recovered = match engine.recover(folder, &subject.manifest, log, &way.to, &context) {
        Err(_) if world.cancel.is_cancelled() => return Err(Error::Cancelled),
        recovered => recovered?,
    };
    if recovered.is_none() && (log.is_some() || !matches!(way.to, RecoverTo::Base)) {
        // The engine did nothing where something was asked for.
        return Err(Error::refused(
            format!("{}: this kind of component has no log to replay", subject.component),
            "restore a snapshot: `--at ID`",
        ));
    }
    Ok((recovered, scratch))
}

/// The instant up to which a recovered copy is proven complete.
pub(crate) fn complete_up_to(captured: Timestamp, recovered: Option<&Recovered>) -> Timestamp {
    let reached = recovered.and_then(|recovered| recovered.complete_up_to);
    // The base is complete up to its capture, whatever was replayed.
    reached.map_or(captured, |reached| reached.max(captured))
}

/// What the recovery checked; a recovery that checked nothing is no pass.
pub(crate) fn checks(recovered: &Recovered) -> Vec<CheckResult> {
    if recovered.checks.is_empty() {
        let verdict = Verdict::Inconclusive;
        return vec![CheckResult::new(PREPARED, verdict, "at least one check", "no check looked")];
    }
    recovered.checks.clone()
}
