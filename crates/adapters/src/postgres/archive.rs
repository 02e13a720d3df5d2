//! Files of a log as a server hands them over (`archive_command`) and takes them back
//! (`restore_command`).
//!
//! A segment says itself of which server it is: the header of its first page holds the system
//! identifier, its place and its size (`XLogLongPageHeaderData` in `access/xlog_internal.h`, the same
//! in the versions 13 to 18). What does not say so is of the server in whose data directory the
//! command runs. Nothing is taken over that is not what its name says.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use jiff::Timestamp;
use lifeboat_model::journal::{WalKind, WalName, is_segment_size};
use lifeboat_model::position::Position;
use lifeboat_recovery::journal::WalFile;

use super::lsn;
use super::records::{Meaning, Walker};

/// Flag of a page with a long header.
const LONG: u16 = 0x0002;
/// Bytes of a long header.
const HEADER: usize = 40;
/// What is longer is none of these files.
const LONGEST: u64 = 1 << 30;

/// Why a file cannot be handed over or delivered.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The name is none that a server gives.
    #[error("`{0}` is no name of a file of the log")]
    Name(String),
    /// The file is not what its name says.
    #[error("{name} is not what its name says: {why}")]
    Content {
        /// The file.
        name: String,
        /// In what way.
        why: String,
    },
    /// The file system failed.
    #[error("cannot {verb} {}", path.display())]
    Io {
        /// What was tried.
        verb: &'static str,
        /// On what.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
}

fn at(verb: &'static str, path: &Path) -> impl FnOnce(io::Error) -> ArchiveError {
    let path = path.to_owned();
    move |source| ArchiveError::Io { verb, path, source }
}

/// The name of a file of the log.
///
/// # Errors
/// If it is none.
pub fn name_of(text: &str) -> Result<WalName, ArchiveError> {
    text.parse().map_err(|()| ArchiveError::Name(text.to_owned()))
}

/// Reads a file that is to be handed over, and compares it with its name. `data` is the directory in
/// which the server runs the command.
///
/// # Errors
/// If it cannot be read, or is not what its name says.
pub fn examine(path: &Path, data: &Path) -> Result<WalFile, ArchiveError> {
    let text = path.file_name().unwrap_or_default().to_string_lossy();
    let name = name_of(&text)?;
    let file = File::open(path).map_err(at("read", path))?;
    let mut content = Vec::new();
    file.take(LONGEST + 1).read_to_end(&mut content).map_err(at("read", path))?;
    let content = Bytes::from(content);
    let wrong = |why: String| ArchiveError::Content { name: name.to_string(), why };
    match name.kind {
        WalKind::Segment | WalKind::Partial => segment(name, content).map_err(wrong),
        WalKind::History => {
            let (line, place) = left(&content).ok_or_else(|| wrong("it names no line".into()))?;
            if line >= name.line {
                return Err(wrong(format!("it begins on timeline {line}")));
            }
            let span = (Position::new(line, place), Position::new(name.line, place));
            Ok(other(name, content, span, path, data))
        }
        WalKind::Backup(_) => {
            let here = Position::new(name.line, 0);
            Ok(other(name, content, (here, here), path, data))
        }
    }
}

fn other(
    name: WalName,
    content: Bytes,
    (from, to): (Position, Position),
    path: &Path,
    data: &Path,
) -> WalFile {
    // `pg_wal` may be a link to elsewhere: the directory of the server is asked first.
    let beside = path.parent().and_then(Path::parent);
    let lineage = system_of(data).or_else(|| system_of(beside?));
    WalFile { name, lineage, from, to, ended: None, content }
}

/// The system identifier of a data directory, as journals name it.
pub fn system_of(data: &Path) -> Option<String> {
    let mut first = [0; 8];
    File::open(data.join("global/pg_control")).ok()?.read_exact(&mut first).ok()?;
    Some(format!("{:016x}", u64::from_le_bytes(first)))
}

fn segment(name: WalName, content: Bytes) -> Result<WalFile, String> {
    let header = content.get(..HEADER).ok_or("it is empty")?;
    let number = |at: usize, length: usize| {
        let mut bytes = [0; 8];
        bytes[..length].copy_from_slice(&header[at..at + length]);
        u64::from_le_bytes(bytes)
    };
    let (magic, info, line) = (number(0, 2), number(2, 2) as u16, number(4, 4));
    let (place, system, size) = (number(8, 8), number(24, 8), number(32, 4));
    if magic >> 8 != 0xD1 || info & LONG == 0 {
        return Err("it does not begin like a segment".to_owned());
    }
    if !is_segment_size(size) || content.len() as u64 != size {
        return Err(format!("it has {} bytes, and says that it has {size}", content.len()));
    }
    if !name.fits(size) || name.start(size).offset != place {
        return Err(format!("it begins at {}", lsn::text(place)));
    }
    // The first segment of a line begins with what the line before had by then.
    if line > u64::from(name.line) {
        return Err(format!("it is of timeline {line}"));
    }
    let mut ended: Option<Timestamp> = None;
    if name.kind == WalKind::Segment {
        Walker::new(size, place).feed(&content, &mut |_, meaning| {
            if let Meaning::Ended(time) = meaning {
                ended = ended.max(Some(time));
            }
        });
    }
    let from = Position::new(name.line, place);
    let to = Position::new(name.line, place + size);
    Ok(WalFile { name, lineage: Some(format!("{system:016x}")), from, to, ended, content })
}

/// The line that was left last, and where, by a history.
fn left(history: &[u8]) -> Option<(u32, u64)> {
    let text = std::str::from_utf8(history).ok()?;
    let mut entries = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let entry = entries.rfind(|line| !line.starts_with('#'))?;
    let mut fields = entry.split_ascii_whitespace();
    Some((fields.next()?.parse().ok()?, lsn::parse(fields.next()?)?))
}

/// Puts a file where a server wants it: whole or not at all, and on stable storage.
///
/// # Errors
/// If the file system does not take it.
pub fn deliver(path: &Path, content: &[u8]) -> Result<(), ArchiveError> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let file = path.file_name().unwrap_or_default().to_string_lossy();
    let part = folder.join(format!("{file}.lifeboat-{}", std::process::id()));
    let write = || -> Result<(), ArchiveError> {
        let mut options = OpenOptions::new();
        let mut file = options
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&part)
            .map_err(at("write", &part))?;
        file.write_all(content).and_then(|()| file.sync_all()).map_err(at("write", &part))?;
        fs::rename(&part, path).map_err(at("write", path))?;
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(at("sync", folder))
    };
    let done = write();
    if done.is_err() {
        // What is left of it has a name that nobody asks for.
        let _ = fs::remove_file(&part);
    }
    done
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: u64 = 1 << 20;

    /// The first bytes of a segment, and zeros.
    fn made(line: u32, place: u64, system: u64, size: u64) -> Vec<u8> {
        let mut bytes = vec![0x10, 0xD1, 2, 0];
        bytes.extend(line.to_le_bytes());
        bytes.extend(place.to_le_bytes());
        bytes.extend([0; 8]);
        bytes.extend(system.to_le_bytes());
        bytes.extend((size as u32).to_le_bytes());
        bytes.extend(8192_u32.to_le_bytes());
        bytes.resize(SIZE as usize, 0);
        bytes
    }

    fn examined(name: &str, content: &[u8]) -> Result<WalFile, ArchiveError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        fs::write(&path, content).unwrap();
        examine(&path, folder.path())
    }

    #[test]
    fn a_segment_says_of_which_server_it_is_and_must_be_what_its_name_says() {
        let name = "000000020000000100000003";
        let place = (1 << 32) + 3 * SIZE;
        let file = examined(name, &made(2, place, 0xABCD, SIZE)).unwrap();
        assert_eq!(file.lineage.as_deref(), Some("000000000000abcd"));
        assert_eq!((file.from, file.to), (Position::new(2, place), Position::new(2, place + SIZE)));
        // The first one of a line begins with a page of the line before.
        examined(name, &made(1, place, 7, SIZE)).unwrap();
        for (bytes, why) in [
            (made(3, place, 7, SIZE), "timeline 3"),
            (made(2, place + SIZE, 7, SIZE), "begins at"),
            (made(2, place, 7, 2 * SIZE), "bytes"),
            (made(2, place, 7, SIZE)[..100_000].to_vec(), "bytes"),
            (vec![0; SIZE as usize], "begin like a segment"),
            (Vec::new(), "empty"),
        ] {
            let error = examined(name, &bytes).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
        assert!(matches!(examined("RECOVERYXLOG", b""), Err(ArchiveError::Name(_))));
    }

    #[test]
    fn a_history_says_where_its_line_began() {
        let text = b"1\t0/3000000\tno recovery target specified\n\n2\t0/5000028\tbefore\n";
        let file = examined("00000003.history", text).unwrap();
        assert_eq!(
            (file.from, file.to),
            (Position::new(2, 0x500_0028), Position::new(3, 0x500_0028))
        );
        assert_eq!(file.lineage, None);
        assert!(examined("00000002.history", text).is_err(), "it leaves line 2 for itself");
        assert!(examined("00000003.history", b"").is_err());
    }

    #[test]
    fn what_is_delivered_is_there_whole_and_leaves_nothing_beside() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("RECOVERYXLOG");
        fs::write(&path, b"older").unwrap();
        deliver(&path, b"log").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"log");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        assert!(deliver(&folder.path().join("none/x"), b"log").is_err());
    }
}
