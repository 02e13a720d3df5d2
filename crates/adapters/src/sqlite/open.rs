//! Opens a live database without changing it, and says in a sentence why it cannot be.
//!
//! The database's file is not opened by our own hand while it is read: POSIX drops every lock that a process has
//! on a file when it closes any descriptor of it, SQLite's included.

use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lifeboat_vault::Clock;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags, ffi};
use rustix::fs::{Access, AtFlags};

use super::{CaptureError, ahead, medium};

/// The live database as the file system shows it.
#[derive(Debug, Clone)]
pub(super) struct Live {
    /// The path that the plan names, made absolute.
    pub named: PathBuf,
    /// The file itself, symbolic links resolved: its `-wal` stands beside it.
    pub real: PathBuf,
    /// Device and inode.
    pub identity: (u64, u64),
    /// Size of the main file, bytes.
    pub size: u64,
}

/// `path` with `suffix` appended to its file name (`-wal`, `-shm`, `-journal`).
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}

/// The size of a file, or 0 where there is none.
pub(super) fn size_of(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |found| found.len())
}

/// Looks at the files without opening any.
pub(super) fn examine(path: &Path) -> Result<Live, CaptureError> {
    let named = std::path::absolute(path).map_err(|error| read(path, error))?;
    let missing = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory => {
            CaptureError::Missing { what: format!("the database {}", named.display()) }
        }
        _ => read(&named, error),
    };
    let real = named.canonicalize().map_err(missing)?;
    let found = std::fs::metadata(&real).map_err(missing)?;
    if !found.is_file() {
        return Err(CaptureError::Unfit {
            what: format!("{} is not a regular file", named.display()),
            hint: "name the database's file in `sqlite = { path = … }`".to_owned(),
        });
    }
    let live = Live { named, real, identity: (found.dev(), found.ino()), size: found.len() };
    refuse_emptied(&live)?;
    refuse_unreadable(&live)?;
    refuse_foreign_shm(&live, found.uid())?;
    Ok(live)
}

/// SQLite deletes the `-wal` of an empty database when it opens it, even to read: what may be the
/// only remains of a database that was emptied by mistake must not go that way.
fn refuse_emptied(live: &Live) -> Result<(), CaptureError> {
    if live.size > 0 {
        return Ok(());
    }
    for suffix in ["-wal", "-journal"] {
        let size = size_of(&beside(&live.real, suffix));
        if size > 0 {
            return Err(CaptureError::Unfit {
                what: format!(
                    "{} is empty, but a {suffix} of {size} bytes stands beside it: the database was \
                     cut off",
                    live.named.display()
                ),
                hint: "save both files, then `lifeboat restore … --in-place`".to_owned(),
            });
        }
    }
    Ok(())
}

fn refuse_unreadable(live: &Live) -> Result<(), CaptureError> {
    may(&live.real, Access::READ_OK).map_err(|_| CaptureError::Unfit {
        what: format!("{} may not be read by this user", live.named.display()),
        hint: "run the backup as the database's owner or as root".to_owned(),
    })
}

/// A reader makes the `-shm` of a WAL database where there is none. Made by a third user it could
/// lock out the application, so nothing is opened then. (Root's files go to the database's owner.)
fn refuse_foreign_shm(live: &Live, owner: u32) -> Result<(), CaptureError> {
    let user = rustix::process::geteuid();
    if user.is_root() || user.as_raw() == owner || beside(&live.real, "-shm").exists() {
        return Ok(());
    }
    let folder = live.real.parent().unwrap_or(Path::new("/"));
    if may(folder, Access::WRITE_OK).is_err() || !says_wal(&live.real) {
        return Ok(());
    }
    Err(CaptureError::Unfit {
        what: format!(
            "{} belongs to another user (id {owner}) and nobody has it open: reading it would make \
             files there that its application may not be able to use",
            live.named.display()
        ),
        hint: "run the backup as the database's owner or as root".to_owned(),
    })
}

/// The header's word on the journal mode. The one place where the file is opened by our own hand:
/// no connection of ours is there yet whose locks the closing could drop.
fn says_wal(path: &Path) -> bool {
    let mut header = [0; 20];
    let read = File::open(path).and_then(|mut file| file.read_exact(&mut header));
    read.is_ok() && header[18..] == [2, 2]
}

/// What the effective user may do with a path.
fn may(path: &Path, access: Access) -> rustix::io::Result<()> {
    rustix::fs::accessat(rustix::fs::CWD, path, access, AtFlags::EACCESS)
}

/// Between two tries to get a lock. SQLite's own waiting grows to a tenth of a second, in which a
/// busy writer comes and goes many times.
const BETWEEN: Duration = Duration::from_millis(1);

/// Tries `work` again while other processes hold their locks, at most for `patience`.
pub(super) fn patiently<T>(
    clock: &dyn Clock,
    patience: Duration,
    mut work: impl FnMut() -> rusqlite::Result<T>,
) -> rusqlite::Result<T> {
    let start = clock.monotonic();
    loop {
        match work() {
            Err(error)
                if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy)
                    && clock.monotonic().saturating_sub(start) < patience =>
            {
                clock.sleep(BETWEEN);
            }
            other => return other,
        }
    }
}

/// Opens the database to read. Waits at most `patience` for other processes' locks.
pub(super) fn open(
    live: &Live,
    clock: &dyn Clock,
    patience: Duration,
) -> Result<Connection, CaptureError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let opened = Connection::open_with_flags(&live.real, flags)
        .and_then(|connection| {
            prepare(&connection)?;
            stand_in_collations(&connection)?;
            patiently(clock, patience, || look(&connection))?;
            Ok(connection)
        })
        .or_else(|error| {
            if medium::is_read_only(&live.real) && no_log(live) && cannot_open(&error) {
                let connection = open_immutable(&live.real)?;
                stand_in_collations(&connection)?;
                return Ok(connection);
            }
            Err(error)
        })
        .map_err(|error| explain(live, error))?;
    if !has_pages(&opened) {
        return Err(CaptureError::Unfit {
            what: "this build of Lifeboat cannot read the pages of a database".to_owned(),
            hint: "build it with LIBSQLITE3_FLAGS=-DSQLITE_ENABLE_DBPAGE_VTAB".to_owned(),
        });
    }
    Ok(opened)
}

/// Opens a database in WAL mode to stand beside its writers: as one of them, who never writes a row.
pub(super) fn open_beside(
    live: &Live,
    clock: &dyn Clock,
    patience: Duration,
) -> Result<Connection, CaptureError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    Connection::open_with_flags(&live.real, flags)
        .and_then(|connection| {
            prepare(&connection)?;
            patiently(clock, patience, || look(&connection))?;
            Ok(connection)
        })
        .map_err(|error| explain(live, error))
}

/// Whoever holds a log back has to be able to copy it into the database.
pub(super) fn refuse_unwritable(live: &Live) -> Result<(), CaptureError> {
    may(&live.real, Access::READ_OK | Access::WRITE_OK).map_err(|_| CaptureError::Unfit {
        what: format!("{} may not be written by this user", live.named.display()),
        hint: "stream it as the database's owner or as root: a stream copies its write-ahead log into it"
            .to_owned(),
    })
}

/// Opens a file that nothing can change, without locks, `-wal` or `-shm`, and reads its schema: a
/// file that is no database fails here, not at the first question that needs one.
pub(super) fn open_immutable(path: &Path) -> rusqlite::Result<Connection> {
    use std::os::unix::ffi::OsStrExt;
    let mut uri = String::from("file:");
    for byte in std::path::absolute(path).unwrap_or(path.into()).as_os_str().as_bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'-' | b'_' | b'.' => {
                uri.push(char::from(*byte));
            }
            other => uri += &format!("%{other:02X}"),
        }
    }
    uri += "?immutable=1";
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY
        | OpenFlags::SQLITE_OPEN_NO_MUTEX
        | OpenFlags::SQLITE_OPEN_URI;
    let connection = match ahead::name() {
        Some(name) => Connection::open_with_flags_and_vfs(uri, flags, name)?,
        None => Connection::open_with_flags(uri, flags)?,
    };
    prepare(&connection)?;
    look(&connection)?;
    Ok(connection)
}

/// Settings of this connection alone: nothing of ours is ever written, and leaving as the last
/// connection neither checkpoints nor deletes the `-wal`.
fn prepare(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(Duration::ZERO)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    connection.pragma_update(None, "wal_autocheckpoint", 0)?;
    connection.pragma_update(None, "query_only", true)
}

/// Lets tables be walked whose keys use an application's own collation, unknown here: rows come in
/// the order in which they stand, and the stand-in is never asked to decide. Not for queries or
/// `integrity_check`, which would ask it.
pub(super) fn stand_in_collations(connection: &Connection) -> rusqlite::Result<()> {
    connection.collation_needed(|connection, name| {
        connection.create_collation(name, |left: &str, right: &str| left.cmp(right))
    })
}

/// The first read: here SQLite finds out whether this is a database and may be read.
fn look(connection: &Connection) -> rusqlite::Result<()> {
    connection.query_row("SELECT count(*) FROM main.sqlite_schema", [], |_| Ok(()))
}

fn has_pages(connection: &Connection) -> bool {
    let sql = "SELECT sqlite_compileoption_used('ENABLE_DBPAGE_VTAB')";
    connection.query_row(sql, [], |row| row.get(0)).unwrap_or(false)
}

fn no_log(live: &Live) -> bool {
    ["-wal", "-journal"].iter().all(|suffix| size_of(&beside(&live.real, suffix)) == 0)
}

fn cannot_open(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly))
}

fn read(path: &Path, source: impl std::error::Error + Send + Sync + 'static) -> CaptureError {
    CaptureError::Read { what: path.display().to_string(), source: Box::new(source) }
}

/// Puts SQLite's refusal into words that say what to do.
pub(super) fn explain(live: &Live, error: rusqlite::Error) -> CaptureError {
    let name = live.named.display();
    let (code, extended) = match &error {
        rusqlite::Error::SqliteFailure(failure, _) => (failure.code, failure.extended_code),
        _ => return read(&live.named, error),
    };
    let unfit = |what: String, hint: &str| CaptureError::Unfit { what, hint: hint.to_owned() };
    match (code, extended) {
        (ErrorCode::NotADatabase, _) => unfit(
            format!("{name} is not a SQLite database, or it is encrypted"),
            "check the path; for an encrypted database use the application's own export",
        ),
        (ErrorCode::DatabaseCorrupt, _) => unfit(
            format!("{name} is damaged: {error}"),
            "restore it from the last verified snapshot, after saving what is there",
        ),
        (ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked, _) => CaptureError::Busy {
            what: format!("{name} is locked by another process"),
            hint: "end the long transaction, or the application's locking_mode=EXCLUSIVE; \
                   `fuser -v` names who has it open"
                .to_owned(),
        },
        (_, ffi::SQLITE_READONLY_ROLLBACK) => unfit(
            format!(
                "{name} was left in the middle of a transaction by a crash, and only a writer may \
                 roll it back"
            ),
            "start the application, or open the database once with `sqlite3 FILE 'PRAGMA user_version'`",
        ),
        (ErrorCode::ReadOnly, _) => unfit(
            format!("{name} has a write-ahead log that cannot be read from a read-only place"),
            "run the backup where the database's folder can be written",
        ),
        (ErrorCode::CannotOpen, _) if beside(&live.real, "-wal").exists() || live.size > 0 => {
            unfit(
                format!("{name} cannot be opened ({error})"),
                "the backup needs to read the file and, for a write-ahead log, to write in its folder",
            )
        }
        _ => read(&live.named, error),
    }
}
