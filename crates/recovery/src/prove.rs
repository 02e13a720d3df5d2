//! Restores one snapshot into a folder and asks whether it is what it should be. Verification,
//! restore and drill all come through here: what is rehearsed is what is done in anger.

mod declared;
mod last;

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use lifeboat_model::check::CheckResult;
use lifeboat_model::manifest::{self, Content, Manifest};
use lifeboat_model::verdict::Verdict;
use lifeboat_vault::{Existing, Filter, Id, Rehash, RestoreOptions, Snapshot, Vault};

use crate::env::World;
use crate::error::{Error, Result};
use crate::ports::{Engine, Recovered};
use crate::recover::{self, Scratch, Way};
use crate::report::Problem;
use crate::session::Start;
use crate::staging::remove_tree;

pub use declared::{Declared, declared};

/// Name of the check that every entry came out of the vault whole.
pub const WHOLE: &str = "restored whole";
/// Name of the check that the capture had left nothing out; asked only where it had.
pub const CAPTURED: &str = "captured whole";
/// How many of the things that a capture had to leave out are named in its check.
const NAMED: usize = 5;

/// A snapshot that is to be restored.
pub struct Subject<'a> {
    /// Where it is.
    pub vault: &'a Vault,
    /// Component name.
    pub component: &'a str,
    /// Its id.
    pub id: Id,
    /// Its object.
    pub snapshot: Snapshot,
    /// Its manifest.
    pub manifest: Manifest,
    /// What the capture had to leave out, where it had to: a copy of it is not all that there was.
    pub partial: Option<CheckResult>,
    /// To which point it is brought, and by what.
    pub way: Way,
}

/// A restored copy and what it is judged by.
pub struct Copy<'a> {
    /// Component name.
    pub component: &'a str,
    /// Where it stands.
    pub folder: PathBuf,
    /// What it should contain.
    pub manifest: Manifest,
    /// Its judge. Dropped before the folder that it works in.
    pub engine: Box<dyn Engine>,
    _scratch: Option<Scratch>,
    /// How far it was brought beyond its capture, where its kind has a log.
    pub recovered: Option<Recovered>,
    /// Staged, and not started.
    pub prepared: bool,
    /// Regular files restored.
    pub files: u64,
    /// Bytes of them, those included that stood there already.
    pub bytes: u64,
    /// Bytes that stood there already.
    pub unchanged: u64,
    /// What stood there and is not of the snapshot, as paths in the copy: it was set aside.
    pub aside: Vec<PathBuf>,
    /// What the vault could not restore, by its path in the snapshot. It is not in the copy.
    pub damaged: Vec<Problem>,
    /// What is not as it was captured in every respect.
    pub problems: Vec<Problem>,
    /// What the vault could not restore, or not in every respect.
    pub complete: CheckResult,
    /// What the capture had to leave out, where it had to.
    pub partial: Option<CheckResult>,
    /// When all of it stood in the folder.
    pub data_back: Start,
    /// V3 and V4, where the restore asked for them itself.
    examined: Option<(Vec<CheckResult>, Vec<CheckResult>)>,
}

/// The check of a partial capture; nothing for a whole one. A copy can equal its manifest and still
/// lack what could not be read: whether that mattered cannot be told, so it is never a pass.
/// `recorded` is what the ledger says; the manifest names what it was.
pub fn partial(manifest: &Manifest, recorded: bool) -> Option<CheckResult> {
    let problems: &[String] = match &manifest.content {
        Content::Files(content) => &content.problems,
        Content::Git(content) => &content.problems,
        Content::Sqlite(_) | Content::Postgres(_) | Content::Command(_) => &[],
    };
    let found = match problems.len() {
        0 if !recorded => return None,
        0 => "something was left out; the manifest does not name it".to_owned(),
        count => {
            let named = problems.iter().take(NAMED).cloned().collect::<Vec<_>>().join("; ");
            let more = match count.saturating_sub(NAMED) {
                0 => String::new(),
                more => format!("; and {more} more"),
            };
            let number =
                if count == 1 { "1 problem".to_owned() } else { format!("{count} problems") };
            format!("partial, {number}: {named}{more}")
        }
    };
    Some(CheckResult::new(
        CAPTURED,
        Verdict::Inconclusive,
        "nothing left out at the capture",
        found,
    ))
}

/// The manifest of a snapshot. One of another component or of a newer format is refused.
pub fn read_manifest(vault: &Vault, id: &Id, snapshot: &Snapshot) -> Result<Manifest> {
    let bad = |source: Box<dyn std::error::Error + Send + Sync>| Error::Manifest {
        snapshot: id.to_string(),
        source,
    };
    let bytes = vault.read_file(snapshot, manifest::NAME).map_err(|error| match error {
        lifeboat_vault::Error::NotFound { .. } => bad("it is not in the snapshot's tree".into()),
        other => Error::Vault(other),
    })?;
    let found: Manifest = serde_json::from_slice(&bytes).map_err(|error| bad(Box::new(error)))?;
    if found.format > manifest::FORMAT {
        return Err(bad(format!("it has format {}", found.format).into()));
    }
    match snapshot.tag("component") {
        Some(tag) if tag != found.component => {
            Err(bad(format!("it is tagged {tag} and speaks of {}", found.component).into()))
        }
        _ => Ok(found),
    }
}

/// Bytes that a restore of what the manifest describes needs, with some room for metadata.
pub fn bytes_needed(manifest: &Manifest) -> u64 {
    const ENTRY: u64 = 4096;
    const SPARE: u64 = 1 << 20;
    let (bytes, entries) = match &manifest.content {
        // A copy that is opened for checks may need a journal beside it.
        Content::Sqlite(c) => (u64::from(c.page_size) * u64::from(c.page_count), 2),
        // Holes take no room.
        Content::Files(c) => {
            (c.allocated.unwrap_or(c.bytes).min(c.bytes), c.files + c.folders + c.others)
        }
        // Recovery writes: as much log again as the server keeps at once.
        Content::Postgres(c) => (c.bytes.saturating_add(64 * c.wal_segment_size), c.files),
        Content::Command(c) => (c.printed.bytes, 1),
        // It is cloned beside the copy.
        Content::Git(c) => (c.printed.bytes.saturating_mul(2), 64),
    };
    bytes.saturating_add(entries.saturating_mul(ENTRY)).saturating_add(SPARE)
}

/// Source bytes that the manifest describes.
pub fn bytes_described(manifest: &Manifest) -> u64 {
    match &manifest.content {
        Content::Sqlite(c) => u64::from(c.page_size) * u64::from(c.page_count),
        Content::Files(c) => c.bytes,
        Content::Postgres(c) => c.bytes,
        Content::Command(c) => c.printed.bytes,
        Content::Git(c) => c.printed.bytes,
    }
}

/// Source files that the manifest describes.
pub fn files_described(manifest: &Manifest) -> u64 {
    match &manifest.content {
        Content::Sqlite(_) | Content::Command(_) | Content::Git(_) => 1,
        Content::Files(c) => c.files,
        Content::Postgres(c) => c.files,
    }
}

/// Leaves out Lifeboat's own file: the layout of a restored copy is the data's alone.
pub(crate) struct WithoutManifest;

impl Filter for WithoutManifest {
    fn keep(&self, tree_path: &Path, _: bool) -> bool {
        tree_path != Path::new("/").join(manifest::NAME)
    }
}

/// Where a copy is made.
#[derive(Debug, Clone, Copy)]
pub struct Places<'a> {
    /// The copy's folder, absent or empty but for what may stand there.
    pub folder: &'a Path,
    /// A folder that a recovery may use, on the same file system.
    pub scratch: &'a Path,
}

/// Restores into a folder which is absent or empty.
pub fn restore_copy<'a>(
    world: &World,
    subject: &Subject<'a>,
    subpath: Option<&Path>,
    places: Places<'_>,
) -> Result<Copy<'a>> {
    restore_over(world, subject, subpath, places, Existing::Refused)
}

/// Restores into a folder in which something may stand, and brings the copy to its point.
pub fn restore_over<'a>(
    world: &World,
    subject: &Subject<'a>,
    subpath: Option<&Path>,
    places: Places<'_>,
    existing: Existing,
) -> Result<Copy<'a>> {
    let folder = places.folder;
    // Whole trees are hashed once, as they stand on disk.
    let whole = existing == Existing::Refused && subpath.is_none();
    let in_target = whole && matches!(subject.manifest.content, Content::Files(_));
    let last = last::begin(&subject.manifest, folder, subpath)?;
    let mut options = RestoreOptions {
        subpath: subpath.map(Path::to_owned),
        filter: Some(std::sync::Arc::new(last::Without(last))),
        existing,
        rehash: if in_target { Rehash::InTheTarget } else { Rehash::BeforeWriting },
        ..RestoreOptions::default()
    };
    let mut report = subject.vault.restore(&subject.snapshot, &options, folder)?;
    let mut data_back = world.start();
    let engine = (world.adapters.engine)(
        subject.component,
        &subject.manifest,
        subject.vault,
        &subject.snapshot,
    )?;
    let mut examined = None;
    if in_target {
        let (structure, content) = engine.examine(folder, &subject.manifest);
        if world.cancel.is_cancelled() {
            return Err(Error::Vault(lifeboat_vault::Error::Cancelled));
        }
        if content.iter().any(|check| check.verdict == Verdict::Fail) {
            // Something is not what it should be: each blob is asked, and what is wrong is named.
            remove_tree(folder)?;
            options.rehash = Rehash::BeforeWriting;
            report = subject.vault.restore(&subject.snapshot, &options, folder)?;
            data_back = world.start();
        } else {
            examined = Some((structure, content));
        }
    }
    last::finish(subject, folder, last, &mut report)?;
    let entries = report.files + report.folders + report.others;
    let (damaged, problems) = (named(report.damaged, folder), named(report.problems, folder));
    let mut complete = restored_whole(&damaged, &problems, (report.files, report.bytes), entries);
    if examined.as_ref().is_some_and(|(_, content)| !all_pass(content)) {
        not_read_back(&mut complete);
    }
    let (mut recovered, mut scratch) = (None, None);
    // A part is looked at as it is stored; what is damaged is not started.
    if subpath.is_none() && damaged.is_empty() {
        let done = recover::recover(world, subject, &*engine, folder, places.scratch)?;
        recovered = done.0;
        scratch = Some(done.1);
        if recovered.is_some() {
            data_back = world.start();
            examined = None;
        }
    }
    Ok(Copy {
        component: subject.component,
        folder: folder.to_owned(),
        manifest: subject.manifest.clone(),
        engine,
        _scratch: scratch,
        recovered,
        prepared: subject.way.prepare_only,
        files: report.files,
        bytes: report.bytes,
        unchanged: report.unchanged,
        aside: report.aside,
        damaged,
        problems,
        partial: subject.partial.clone(),
        complete,
        data_back,
        examined,
    })
}

/// Nobody hashed all of it: neither in memory nor, to the end, in the target.
fn not_read_back(complete: &mut CheckResult) {
    if complete.verdict == Verdict::Pass {
        complete.verdict = Verdict::Inconclusive;
    }
    complete.found = format!("{}; not all of it was read back", complete.found);
}

/// The check that every entry came out of the vault whole: what did not, what not in every respect,
/// the files and bytes that did, and the number of all entries.
pub(crate) fn restored_whole(
    damaged: &[Problem],
    problems: &[Problem],
    (files, bytes): (u64, u64),
    entries: u64,
) -> CheckResult {
    let more = |list: &[Problem]| match list.len() {
        0 | 1 => String::new(),
        count => format!(" (and {} more)", count - 1),
    };
    let (verdict, found) = match (damaged.first(), problems.first()) {
        (Some(problem), _) => (Verdict::Fail, format!("{problem}{}", more(damaged))),
        // The content is there; the target could not take a mode, an owner, an attribute. That says
        // nothing against the snapshot.
        (None, Some(problem)) => (Verdict::Inconclusive, format!("{problem}{}", more(problems))),
        (None, None) if entries == 0 => (Verdict::Fail, "nothing was restored".to_owned()),
        (None, None) => (Verdict::Pass, format!("{files} files, {bytes} bytes")),
    };
    CheckResult::new(WHOLE, verdict, "every entry, every byte matching its hash", found)
}

/// Problems by their paths in the snapshot.
pub(crate) fn named(problems: Vec<lifeboat_vault::Problem>, folder: &Path) -> Vec<Problem> {
    let own = |problem: lifeboat_vault::Problem| Problem {
        path: match problem.path.strip_prefix(folder) {
            Ok(below) => format!("/{}", below.display()),
            Err(_) => problem.path.display().to_string(),
        },
        what: problem.what,
    };
    problems.into_iter().map(own).collect()
}

impl Copy<'_> {
    /// V3 and V4, side by side: the engine's structural checks, and equality with the manifest
    /// taken at capture.
    pub fn examine(&self) -> (Vec<CheckResult>, Vec<CheckResult>) {
        let (structure, content) = match &self.examined {
            Some(examined) => examined.clone(),
            None => match &self.recovered {
                // It is newer than the manifest: what the recovery proved stands in its place.
                Some(recovered) => {
                    let structure = match self.prepared {
                        true => vec![not_started("structure")],
                        false => self.engine.structure(&self.folder, &self.manifest),
                    };
                    (structure, recover::checks(recovered))
                }
                None => self.engine.examine(&self.folder, &self.manifest),
            },
        };
        (nothing_is_no_pass("structure", structure), nothing_is_no_pass("content", content))
    }

    /// The instant up to which it is proven complete.
    pub fn complete_up_to(&self) -> Timestamp {
        recover::complete_up_to(self.manifest.started, self.recovered.as_ref())
    }

    /// After the last question: stops what was started on it, and leaves it so that it can be moved.
    pub fn settle(&self) -> Result<()> {
        Ok(self.engine.settle(&self.folder)?)
    }

    /// Restored whole, and captured whole.
    pub fn wholeness(&self) -> Vec<CheckResult> {
        std::iter::once(&self.complete).chain(&self.partial).cloned().collect()
    }

    /// V2 to V4: whole, sound, and equal to the manifest.
    pub fn proof(&self) -> Vec<CheckResult> {
        let mut checks = self.wholeness();
        let (structure, content) = self.examine();
        checks.extend(structure);
        checks.extend(content);
        checks
    }
}

/// The check of a copy that was staged and not started.
fn not_started(name: &str) -> CheckResult {
    let verdict = Verdict::Inconclusive;
    CheckResult::new(name, verdict, "a started copy", "it was staged, and not started")
}

fn all_pass(checks: &[CheckResult]) -> bool {
    !checks.is_empty() && checks.iter().all(|check| check.verdict == Verdict::Pass)
}

/// A checker that finds nothing to check is not a pass.
fn nothing_is_no_pass(name: &str, checks: Vec<CheckResult>) -> Vec<CheckResult> {
    if !checks.is_empty() {
        return checks;
    }
    vec![CheckResult::new(name, Verdict::Inconclusive, "at least one check", "no check looked")]
}
