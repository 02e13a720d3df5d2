//! A physical copy by reading the data directory itself, where it is on this machine: as fast as the
//! disk, with every page's checksum looked at.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use lifeboat_model::manifest::Tablespace;
use lifeboat_recovery::ports::{CaptureContext, SourceError};
use lifeboat_vault::{BackupSession, Problem, Stage};

use super::ahead::Ahead;
use super::backup_manifest::BackupManifest;
use super::error::PgError;
use super::facts::Facts;
use super::listing::{Found, Listing};
use super::lsn;
use super::page::PAGE;
use super::remote::Copied;
use super::tree::{DATA, Owner, TABLESPACES, Tree};
use super::wire::Connection;

/// Threads that read.
const READERS: usize = 4;
/// From this version on the functions have their present names.
const RENAMED: u32 = 150_000;

/// From when a server notes its start to when it takes the time of it, at most; seconds.
const STARTING: i64 = 30;

/// The data directory, if it can be read from here and is really this server's.
pub(crate) fn directory(
    wanted: Option<&Path>,
    sql: &mut Connection,
    facts: &Facts,
) -> Result<Option<PathBuf>, SourceError> {
    let told = facts.setting("data_directory").map(Path::new);
    let Some(data) = wanted.or(told) else { return Ok(None) };
    let born = sql.value("select floor(extract(epoch from pg_postmaster_start_time()))::bigint")?;
    // A copy of the directory has the same number, a directory of another container the same path;
    // the running server's own has the time of its start. It notes that in its file a moment before
    // it takes the time that it tells.
    let born: Option<i64> = born.and_then(|born| born.parse().ok());
    let is_born = |since: i64| born.is_some_and(|born| (born - STARTING..=born).contains(&since));
    let same = || {
        let control = fs::read(data.join("global/pg_control")).ok()?;
        let number = u64::from_le_bytes(control.get(..8)?.try_into().ok()?);
        let pid = fs::read_to_string(data.join("postmaster.pid")).ok()?;
        let since = pid.lines().nth(2)?.trim();
        (number == facts.system_identifier && is_born(since.parse().ok()?)).then_some(())
    };
    Ok(same().map(|()| data.to_owned()))
}

/// Takes a copy; `None` if the role may not begin one.
pub(crate) fn copy(
    sql: &mut Connection,
    data: &Path,
    facts: &Facts,
    (component, session): (&str, &mut BackupSession),
    context: &CaptureContext<'_>,
) -> Result<Option<Copied>, SourceError> {
    let label = format!("lifeboat {component}").replace('\'', "''");
    let begin = match facts.version >= RENAMED {
        true => format!("select pg_backup_start('{label}', true)"),
        false => format!("select pg_start_backup('{label}', true, false)"),
    };
    let begun = match sql.value(&begin) {
        Err(error) if error.code() == Some("42501") => return Ok(None),
        begun => begun?,
    };
    let start = lsn::read(begun.as_deref().unwrap_or_default())?;
    let failed = |error: io::Error| SourceError::Read {
        what: format!("the data directory {}", data.display()),
        source: error.into(),
    };
    let listing = Listing::of(data, facts.version / 10_000).map_err(failed)?;
    let expected = listing.files.iter().map(|file| file.size).sum();
    context.monitor.total(Stage::Backup, expected, listing.files.len() as u64);
    let mut tree = Tree::new(session, expected);
    for folder in &listing.folders {
        tree.folder(&folder.tree, folder.mode, folder.owner)?;
    }
    for (oid, _, owner) in &listing.tablespaces {
        tree.link(*oid, *owner)?;
    }
    let mut manifest = BackupManifest::new(facts.version, facts.system_identifier);
    let judged = pages_are_judged(facts).then_some(start);
    let mut problems = read_all(&listing, judged, &mut tree, &mut manifest, context)?;
    let finish = match facts.version >= RENAMED {
        true => "select lsn, labelfile from pg_backup_stop(false)",
        false => "select lsn, labelfile from pg_stop_backup(false, false)",
    };
    let ended = sql.query(finish).map_err(promoted)?.into_iter().next().unwrap_or_default();
    let cell = |at: usize| ended.get(at).and_then(Option::as_deref).unwrap_or_default();
    let (stop, label) = (lsn::read(cell(0))?, cell(1).to_owned());
    let timeline =
        label.lines().find_map(|line| line.strip_prefix("START TIMELINE: ")?.parse().ok());
    let timeline: u32 = timeline.ok_or_else(|| PgError::protocol("its label has no timeline"))?;
    let owner = tree.owner().ok_or_else(|| PgError::protocol("the data directory is empty"))?;
    let owner = Owner { mtime: context.clock.wall(), ..owner };
    put(&mut tree, "backup_label", label.as_bytes(), owner)?;
    manifest.file(
        "backup_label",
        label.len() as u64,
        owner.mtime,
        crc32c::crc32c(label.as_bytes()),
    );
    add_log(&mut tree, &data.join("pg_wal"), facts, (timeline, start, stop), owner)?;
    let text = manifest.finish(timeline, start, stop);
    put(&mut tree, "backup_manifest", text.as_bytes(), owner)?;
    tree.finish(!listing.tablespaces.is_empty())?;
    let (files, bytes) = (tree.files, tree.bytes);
    let strange = "is neither file nor folder and is not in the copy".to_owned();
    problems.extend(listing.strange.iter().map(|path| (path.clone(), strange.clone())));
    for (path, what) in problems {
        session.add_problem(Problem { path, what });
    }
    let tablespaces = listing.tablespaces.into_iter().map(|(oid, location, _)| Tablespace {
        oid,
        name: String::new(),
        location: location.to_string_lossy().into_owned(),
        tree: format!("{TABLESPACES}/{oid}"),
    });
    let tablespaces = tablespaces.collect();
    Ok(Some(Copied { start: (start, timeline), stop, files, bytes, tablespaces }))
}

/// Reads every file, in order, several at a time. What is wrong with which.
fn read_all(
    listing: &Listing,
    judged: Option<u64>,
    tree: &mut Tree<'_>,
    manifest: &mut BackupManifest,
    context: &CaptureContext<'_>,
) -> Result<Vec<(PathBuf, String)>, SourceError> {
    let ahead = Ahead::new(&listing.files, judged, context.clock);
    std::thread::scope(|scope| {
        for _ in 0..READERS {
            scope.spawn(|| ahead.work());
        }
        let mut problems = Vec::new();
        let mut all = || {
            for found in &listing.files {
                if context.cancel.is_cancelled() {
                    return Err(SourceError::Vault(lifeboat_vault::Error::Cancelled));
                }
                read_one(found, &ahead, tree, manifest, &mut problems)?;
            }
            Ok(())
        };
        let done = all();
        ahead.stop();
        done.map(|()| problems)
    })
}

fn read_one(
    found: &Found,
    ahead: &Ahead<'_>,
    tree: &mut Tree<'_>,
    manifest: &mut BackupManifest,
    problems: &mut Vec<(PathBuf, String)>,
) -> Result<(), SourceError> {
    let failed = |error: io::Error| SourceError::Read {
        what: found.source.display().to_string(),
        source: error.into(),
    };
    // Dropped since: replay does the same.
    let Some(mut content) = ahead.file().map_err(failed)? else { return Ok(()) };
    tree.file(&found.tree, (found.mode, found.owner), &mut content)?;
    manifest.file(&found.name, content.size, found.owner.mtime, content.crc);
    if !content.bad.is_empty() {
        let numbers: Vec<String> = content.bad.iter().take(5).map(u32::to_string).collect();
        let what = format!(
            "{} pages have a wrong checksum: {}{}",
            content.bad.len(),
            numbers.join(", "),
            if content.bad.len() > 5 { " …" } else { "" }
        );
        problems.push((found.source.clone(), what));
    }
    Ok(())
}

/// The log from start to stop, and what tells timelines apart: the copy then stands alone.
fn add_log(
    tree: &mut Tree<'_>,
    log: &Path,
    facts: &Facts,
    (timeline, start, stop): (u32, u64, u64),
    owner: Owner,
) -> Result<(), SourceError> {
    let failed = |name: &str, error: io::Error| SourceError::Read {
        what: format!("{name} of the server's log"),
        source: error.into(),
    };
    let segment = facts.segment_size;
    for number in start / segment..=(stop - 1) / segment {
        let name = lsn::segment_name(timeline, number * segment, segment);
        let bytes = fs::read(log.join(&name)).map_err(|error| failed(&name, error))?;
        if bytes.len() as u64 != segment {
            return Err(failed(&name, io::Error::other("it is not whole")));
        }
        put(tree, &format!("pg_wal/{name}"), &bytes, owner)?;
    }
    for entry in fs::read_dir(log).map_err(|error| failed("the folder", error))?.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.ends_with(".history") {
            let bytes = fs::read(entry.path()).map_err(|error| failed(&name, error))?;
            put(tree, &format!("pg_wal/{name}"), &bytes, owner)?;
        }
    }
    Ok(())
}

fn put(tree: &mut Tree<'_>, name: &str, bytes: &[u8], owner: Owner) -> Result<(), SourceError> {
    tree.file(&Path::new(DATA).join(name), (0o600, owner), &mut &*bytes)?;
    Ok(())
}

fn pages_are_judged(facts: &Facts) -> bool {
    facts.setting("data_checksums") == Some("on") && facts.number("block_size") == Some(PAGE as i64)
}

fn promoted(error: PgError) -> PgError {
    match error {
        PgError::Refused { said, .. } if said.message.contains("promoted") => PgError::Unfit {
            what: "the standby was promoted while its copy was taken".to_owned(),
            hint: "start the backup again".to_owned(),
            said: Some(said),
        },
        error => error,
    }
}
