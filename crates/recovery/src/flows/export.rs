//! Export: one component's restored and verified content as a plain file, under a name that people
//! and scripts expect, in a folder or in an object store. Never over something that is there.
//!
//! The content is what a restore brings: nothing of it is exported before it passed. SQLite comes as
//! the database file, dumps of a server as the dump, everything else as a tar.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use jiff::Timestamp;
use lifeboat_model::artefact::{Named, Template};
use lifeboat_model::plan::{Kind, Mode};
use lifeboat_model::verdict::Verdict;
use lifeboat_vault::{Store, StoreErrorKind};
use serde_json::json;
use sha2::{Digest, Sha256};

use super::{At, Destination, RestoreRequest, plan_restore, restore, restore_stream};
use crate::env::World;
use crate::error::{Error, Result};
use crate::ledger::Detail;
use crate::report::{ExportReport, PlannedComponentRestore, RestoreReport};
use crate::session::{Ended, Opening, Session, within};
use crate::tier::{Access, OpenTier};

/// Most that goes to an object store in one piece, bytes: an object is created whole or not at all.
const LARGEST: u64 = 1 << 30;

/// The ending of a server's dump.
const DUMP: &str = "dump";

/// Where an artefact goes.
pub enum ExportTo {
    /// A folder.
    Folder(PathBuf),
    /// A place in an object store, and its address.
    Store(Arc<dyn Store>, String),
}

/// Asks for an export.
pub struct ExportRequest {
    /// The component.
    pub component: String,
    /// Which point.
    pub at: At,
    /// The name.
    pub template: Template,
    /// Compress it, and end its name with `.gz`.
    pub gzip: bool,
    /// Where to.
    pub to: ExportTo,
    /// An empty folder to work in, on a disk with room.
    pub scratch: PathBuf,
}

/// What a component is as one file.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Shape {
    /// One file: its name and its ending.
    File(String, String),
    /// The only dump.
    Dump,
    /// Everything.
    Tar,
}

impl Shape {
    fn ext(&self) -> &str {
        match self {
            Shape::File(_, ext) => ext,
            Shape::Dump => DUMP,
            Shape::Tar => "tar",
        }
    }
}

/// Exports.
///
/// # Errors
/// [`Error::Refused`] where the name is taken, [`Error::ChecksFailed`] where the copy did not pass.
pub fn export(world: &World, request: &ExportRequest) -> Result<ExportReport> {
    let (chosen, mut report, shape) = decide(world, request)?;
    let plain = request.scratch.join("artefact");
    content(world, request, &chosen, &shape, &plain)?;
    let packed = request.scratch.join("packed");
    let gzip = report.name.ends_with(".gz");
    let (bytes, size, sha256) = pack(&plain, &packed, gzip)?;
    let detail = json!({ "name": report.name, "snapshot": report.snapshot, "sha256": sha256 });
    let opening = Opening {
        action: "export",
        object: &request.component,
        detail: Detail::from([("artefact".to_owned(), detail)]),
        access: Access::Write,
        changes_nothing: true,
    };
    let body = |session: &mut Session<'_>, _: &OpenTier| {
        put(&request.to, &report.name, &packed, size)?;
        report.bytes = Some(bytes);
        report.size = Some(size);
        report.sha256 = Some(sha256.clone());
        report.dry_run = false;
        report.head = world.head("lifeboat/export", session.start);
        Ok(Ended {
            exit: report.exit(),
            report: report.clone(),
            detail: Detail::new(),
            facts: Vec::new(),
        })
    };
    within(world, &opening, body, |report: &mut ExportReport, warnings| {
        report.warnings.extend(warnings);
    })
}

/// What an export would write. Writes nothing.
///
/// # Errors
/// As [`export`].
pub fn plan_export(world: &World, request: &ExportRequest) -> Result<ExportReport> {
    Ok(decide(world, request)?.1)
}

/// The snapshot and the name, which must be free.
fn decide(
    world: &World,
    request: &ExportRequest,
) -> Result<(PlannedComponentRestore, ExportReport, Shape)> {
    let start = world.start();
    let shape = shape(world, request);
    let into_folder = || of_restore(request, Destination::Folder(restored(request)));
    let planned = plan_restore(world, &into_folder())?;
    let mut chosen = planned.components.into_iter().next().ok_or(Error::NothingChosen)?;
    if shape == Shape::Tar && chosen.way.is_some() {
        chosen = without_journal(world, request, into_folder(), chosen)?;
    }
    let name = name(request, &chosen, &shape)?;
    let place = match &request.to {
        ExportTo::Folder(folder) => folder.join(&name).display().to_string(),
        ExportTo::Store(_, url) => format!("{}/{name}", url.trim_end_matches('/')),
    };
    free(&request.to, &name, &place)?;
    let report = ExportReport {
        tier: planned.tier,
        component: request.component.clone(),
        snapshot: chosen.snapshot.clone(),
        complete_up_to: chosen.complete_up_to,
        name,
        place,
        bytes: None,
        size: None,
        sha256: None,
        dry_run: true,
        warnings: chosen.warnings.clone(),
        head: world.head("lifeboat/export-recipe", start),
    };
    Ok((chosen, report, shape))
}

/// A tar is sent as it is stored: it is the snapshot alone, and is named so.
fn without_journal(
    world: &World,
    request: &ExportRequest,
    asked: RestoreRequest,
    chosen: PlannedComponentRestore,
) -> Result<PlannedComponentRestore> {
    if !matches!(request.at, At::Newest) {
        return Err(Error::refused(
            "that point lies on the journal, after the snapshot, and a tar holds a snapshot alone",
            "`lifeboat restore … --at POINT --to DIR`, and pack the folder; or name a snapshot",
        ));
    }
    let asked = RestoreRequest { at: At::Snapshot(chosen.snapshot), ..asked };
    let planned = plan_restore(world, &asked)?;
    let mut chosen = planned.components.into_iter().next().ok_or(Error::NothingChosen)?;
    chosen.warnings.push(
        "the tar holds the snapshot alone: what came after it is in the journal, and a restore \
         brings it"
            .to_owned(),
    );
    Ok(chosen)
}

/// Taken at, or with a journal, complete up to.
fn time_of(chosen: &PlannedComponentRestore) -> Timestamp {
    match chosen.way {
        Some(_) => chosen.complete_up_to,
        None => chosen.snapshot_time,
    }
}

fn name(
    request: &ExportRequest,
    chosen: &PlannedComponentRestore,
    shape: &Shape,
) -> Result<String> {
    let named = Named {
        component: &request.component,
        ext: shape.ext(),
        id: &chosen.snapshot,
        time: time_of(chosen),
    };
    let name = request.template.render(&named).map_err(|error| Error::Usage {
        what: error.to_string(),
        hint: "give a relative name, such as `backup_{type}_{TS}.{ext}`".to_owned(),
    })?;
    Ok(match request.gzip && !name.ends_with(".gz") {
        true => format!("{name}.gz"),
        false => name,
    })
}

/// By the plan; a name that ends with `.tar` asks for a tar.
fn shape(world: &World, request: &ExportRequest) -> Shape {
    let named = Named { component: "x", ext: "x", id: "x", time: world.clock.wall() };
    let as_tar = request.template.render(&named).is_ok_and(|name| {
        let name = name.strip_suffix(".gz").unwrap_or(&name);
        Path::new(name).extension().is_some_and(|ext| ext == "tar")
    });
    let component = world.plan.component.get(&request.component);
    let printed = |ext: &str| Shape::File(format!("{}.{ext}", request.component), ext.to_owned());
    match component.map(|component| &component.kind) {
        _ if as_tar => Shape::Tar,
        Some(Kind::Sqlite(sqlite)) => {
            let path = Path::new(sqlite.path.as_str());
            let text = |part: &std::ffi::OsStr| part.to_string_lossy().into_owned();
            let ext = path.extension().map_or("db".to_owned(), text);
            Shape::File(path.file_name().map(text).unwrap_or_default(), ext)
        }
        Some(Kind::Postgres(postgres)) if postgres.mode() == Mode::Logical => Shape::Dump,
        Some(Kind::Command(_)) => printed("dump"),
        Some(Kind::Git(_)) => printed("bundle"),
        _ => Shape::Tar,
    }
}

fn restored(request: &ExportRequest) -> PathBuf {
    request.scratch.join("restored")
}

fn of_restore(request: &ExportRequest, to: Destination) -> RestoreRequest {
    RestoreRequest {
        components: vec![request.component.clone()],
        all: false,
        at: request.at.clone(),
        base: None,
        verified_only: false,
        prepare_only: false,
        to,
        path: None,
        keep_failed: false,
    }
}

/// The restored content as one file: exactly the snapshot that the name was made for.
fn content(
    world: &World,
    request: &ExportRequest,
    chosen: &PlannedComponentRestore,
    shape: &Shape,
    to: &Path,
) -> Result<()> {
    // Restored and judged in every case: a tar is sent as it is stored, and proves no more.
    let mut asked = of_restore(request, Destination::Folder(restored(request)));
    if *shape == Shape::Tar {
        asked.at = At::Snapshot(chosen.snapshot.clone());
    }
    let report = restore(world, &asked)?;
    passed(&report, request, chosen)?;
    match shape {
        Shape::File(name, _) => {
            let file = restored(request).join(name);
            fs::rename(&file, to).map_err(Error::io("move", file))?;
        }
        Shape::Dump => {
            let file = only_dump(&restored(request))?;
            fs::rename(&file, to).map_err(Error::io("move", file))?;
        }
        Shape::Tar => {
            fs::remove_dir_all(restored(request))
                .map_err(Error::io("remove", restored(request)))?;
            let mut file = File::create_new(to).map_err(Error::io("create", to))?;
            let mut asked = of_restore(request, Destination::Stream);
            asked.at = At::Snapshot(chosen.snapshot.clone());
            let report = restore_stream(world, &asked, &mut file)?;
            passed(&report, request, chosen)?;
        }
    }
    Ok(())
}

fn passed(
    report: &RestoreReport,
    request: &ExportRequest,
    chosen: &PlannedComponentRestore,
) -> Result<()> {
    let one = report.components.first();
    let same = one.is_some_and(|one| one.snapshot.as_ref() == Some(&chosen.snapshot));
    if report.verdict == Verdict::Pass && same {
        return Ok(());
    }
    let failed = one.and_then(|one| one.checks.iter().find(|c| c.verdict != Verdict::Pass));
    let first = match (failed, one.and_then(|one| one.error.as_ref())) {
        (_, Some(error)) => error.line(),
        (Some(check), None) => check.name.clone(),
        (None, None) => "the same snapshot as was chosen".to_owned(),
    };
    Err(Error::ChecksFailed { component: request.component.clone(), first })
}

/// The one dump.
fn only_dump(folder: &Path) -> Result<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_path_buf()];
    while let Some(at) = open.pop() {
        for entry in fs::read_dir(&at).map_err(Error::io("read", &at))? {
            let path = entry.map_err(Error::io("read", &at))?.path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|ext| ext == DUMP) {
                found.push(path);
            }
        }
    }
    match &found[..] {
        [one] => Ok(one.clone()),
        several => Err(Error::refused(
            format!("the component comes back as {} dumps, not as one", several.len()),
            "export it as a tar: `--as NAME_{TS}.tar`",
        )),
    }
}

/// Content, size and SHA-256 of the file.
fn pack(plain: &Path, packed: &Path, gzip: bool) -> Result<(u64, u64, String)> {
    let source = File::open(plain).map_err(Error::io("open", plain))?;
    let bytes = source.metadata().map_err(Error::io("look at", plain))?.len();
    let mut source = BufReader::new(source);
    // It is plain text of what the vault keeps closed: for nobody else, as it is copied on.
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(packed);
    let file = file.map_err(Error::io("create", packed))?;
    let mut target = Hashing { file, hash: Sha256::new(), size: 0 };
    let copied = match gzip {
        true => {
            let mut encoder = GzEncoder::new(&mut target, Compression::default());
            io::copy(&mut source, &mut encoder).and_then(|_| encoder.finish().map(drop))
        }
        false => io::copy(&mut source, &mut target).map(drop),
    };
    copied.and_then(|()| target.file.sync_all()).map_err(Error::io("write", packed))?;
    Ok((bytes, target.size, hex::encode(target.hash.finalize())))
}

/// A file that hashes what is written to it.
struct Hashing {
    file: File,
    hash: Sha256,
    size: u64,
}

impl Write for Hashing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.hash.update(&bytes[..written]);
        self.size += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Refuses a name that is taken.
fn free(to: &ExportTo, name: &str, place: &str) -> Result<()> {
    let taken = match to {
        ExportTo::Folder(folder) => folder.join(name).symlink_metadata().is_ok(),
        ExportTo::Store(store, _) => match store.stat(name) {
            Ok(_) => true,
            Err(error) if error.kind == StoreErrorKind::NotFound => false,
            Err(error) => return Err(error.into()),
        },
    };
    if taken { Err(taken_error(place)) } else { Ok(()) }
}

fn taken_error(place: &str) -> Error {
    Error::refused(
        format!("{place} is there already: nothing is overwritten"),
        "`--at` another point, or put `{TS}` or `{id}` into the name",
    )
}

/// Whole and durable under its name, or not at all.
fn put(to: &ExportTo, name: &str, packed: &Path, size: u64) -> Result<()> {
    match to {
        ExportTo::Folder(folder) => into_folder(&folder.join(name), packed),
        ExportTo::Store(_, url) if size > LARGEST => Err(Error::refused(
            format!("{size} bytes are too many for one object in {url}"),
            "export into a folder, and upload it with the provider's own tool",
        )),
        ExportTo::Store(store, url) => {
            let mut body = Vec::with_capacity(usize::try_from(size).unwrap_or_default());
            File::open(packed)
                .and_then(|mut file| file.read_to_end(&mut body))
                .map_err(Error::io("read", packed))?;
            match store.create(name, &[Bytes::from(body)]) {
                Err(error) if error.kind == StoreErrorKind::Exists => {
                    Err(taken_error(&format!("{}/{name}", url.trim_end_matches('/'))))
                }
                done => Ok(done?),
            }
        }
    }
}

fn into_folder(target: &Path, packed: &Path) -> Result<()> {
    let folder = target.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
    let tail = hex::encode(crate::random::random::<4>()?);
    let part = folder.join(format!(".lifeboat-export-{tail}"));
    let copied = fs::copy(packed, &part)
        .and_then(|_| File::open(&part)?.sync_all())
        // Unlike a rename a link never takes the place of what is there.
        .and_then(|()| fs::hard_link(&part, target));
    let removed = fs::remove_file(&part);
    match copied {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            return Err(taken_error(&target.display().to_string()));
        }
        other => other.map_err(Error::io("write", target))?,
    }
    removed.map_err(Error::io("remove", &part))?;
    Ok(crate::state::sync_parent(target)?)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a test that panics has failed

    use super::*;

    #[test]
    fn a_name_that_was_taken_meanwhile_is_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let (packed, target) = (folder.path().join("packed"), folder.path().join("a/b.db"));
        fs::write(&packed, "new").unwrap();
        into_folder(&target, &packed).unwrap();
        fs::write(&target, "theirs").unwrap();
        let error = into_folder(&target, &packed).unwrap_err();
        assert!(error.to_string().contains("is there already"), "{error}");
        assert_eq!(fs::read_to_string(&target).unwrap(), "theirs");
        assert_eq!(fs::read_dir(folder.path().join("a")).unwrap().count(), 1, "a part is left");
    }

    #[test]
    fn one_dump_is_one_dump() {
        let folder = tempfile::tempdir().unwrap();
        assert!(only_dump(folder.path()).is_err());
        fs::write(folder.path().join("globals.sql"), "").unwrap();
        fs::write(folder.path().join("shop.dump"), "").unwrap();
        assert_eq!(only_dump(folder.path()).unwrap(), folder.path().join("shop.dump"));
        fs::write(folder.path().join("other.dump"), "").unwrap();
        assert!(only_dump(folder.path()).is_err());
    }
}
