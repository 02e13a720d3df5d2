//! Reads a database that nothing changes a stretch at a time, where SQLite walks through it page by
//! page: a system call a page is half of the time that its checks and a scan of all rows take.
//! Stretches are short, so that a read that only looks like a walk costs little.
//!
//! A virtual file system of SQLite (<https://www.sqlite.org/vfs.html>) that is the default one but
//! for how it reads a file: what follows what was just read comes from a stretch that was read at
//! once. Only for databases that nothing changes while they are open; other files that SQLite opens
//! (its own temporary ones) are read as ever.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::sync::OnceLock;

use rusqlite::ffi;

/// Bytes that are read at once; SQLite's own files expect fewer than 128 KiB.
const STRETCH: usize = 64 << 10;
const NAME: &CStr = c"lifeboat-ahead";

/// The name of the file system, which is registered at the first call; nothing if SQLite refuses.
pub(super) fn name() -> Option<&'static CStr> {
    static REGISTERED: OnceLock<bool> = OnceLock::new();
    REGISTERED.get_or_init(register).then_some(NAME)
}

#[allow(unsafe_code)]
fn register() -> bool {
    // SAFETY: SQLite's own functions, by their documented contract. The default file system lives
    // as long as the process, and so does its copy, which is leaked for that. Its other functions
    // do not look at the pointer that the copy uses for its own.
    unsafe {
        let base = ffi::sqlite3_vfs_find(std::ptr::null());
        if base.is_null() {
            return false;
        }
        let own = ffi::sqlite3_vfs {
            pNext: std::ptr::null_mut(),
            zName: NAME.as_ptr(),
            pAppData: base.cast(),
            xOpen: Some(open),
            ..*base
        };
        ffi::sqlite3_vfs_register(Box::into_raw(Box::new(own)), 0) == ffi::SQLITE_OK
    }
}

/// What stands behind an open file: its table of functions first, for SQLite reads that.
#[repr(C)]
struct Ahead {
    methods: ffi::sqlite3_io_methods,
    real: *const ffi::sqlite3_io_methods,
    size: i64,
    window: Window,
}

/// The stretch at hand.
#[derive(Default)]
struct Window {
    bytes: Vec<u8>,
    /// Where it begins in the file.
    start: i64,
    /// Where the last read ended that it did not serve.
    missed: i64,
    /// Up to where nothing is read ahead, because it could not be.
    plain: i64,
}

impl Window {
    fn end(&self) -> i64 {
        self.start + self.bytes.len() as i64
    }

    /// The bytes from `offset` on, if they are at hand.
    fn get(&self, offset: i64, length: usize) -> Option<&[u8]> {
        let from = usize::try_from(offset.checked_sub(self.start)?).ok()?;
        self.bytes.get(from..from.checked_add(length)?)
    }

    /// True if a read of what begins here goes on with an earlier one.
    fn goes_on(&self, offset: i64) -> bool {
        offset >= self.plain && (offset == self.missed || offset == self.end())
    }
}

/// Opens a file by the default file system, and puts its own way to read in front of the file's.
#[allow(unsafe_code)]
unsafe extern "C" fn open(
    vfs: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    out: *mut c_int,
) -> c_int {
    // SAFETY: called by SQLite with what its interface promises: `vfs` is the one registered above,
    // and `file` has room for a file of the default file system, whose size was copied.
    unsafe {
        let base: *mut ffi::sqlite3_vfs = (*vfs).pAppData.cast();
        let Some(base_open) = (*base).xOpen else { return ffi::SQLITE_CANTOPEN };
        let code = base_open(base, name, file, flags, out);
        let real = (*file).pMethods;
        let database = flags & ffi::SQLITE_OPEN_MAIN_DB != 0;
        if code != ffi::SQLITE_OK || real.is_null() || !database {
            return code;
        }
        let mut size = 0;
        let asked = (*real).xFileSize.map(|ask| ask(file, &raw mut size));
        if asked == Some(ffi::SQLITE_OK) {
            let methods = ffi::sqlite3_io_methods {
                // Version 1: no shared memory, no mapping.
                iVersion: 1,
                xRead: Some(read),
                xClose: Some(close),
                ..*real
            };
            let ahead = Box::new(Ahead { methods, real, size, window: Window::default() });
            (*file).pMethods = Box::into_raw(ahead).cast();
        }
        code
    }
}

#[allow(unsafe_code)]
unsafe extern "C" fn close(file: *mut ffi::sqlite3_file) -> c_int {
    // SAFETY: only files that `open` gave an `Ahead` have this function, and each is closed once.
    unsafe {
        let ahead = Box::from_raw((*file).pMethods.cast::<Ahead>().cast_mut());
        (*file).pMethods = ahead.real;
        (*ahead.real).xClose.map_or(ffi::SQLITE_IOERR_CLOSE, |close| close(file))
    }
}

#[allow(unsafe_code)]
unsafe extern "C" fn read(
    file: *mut ffi::sqlite3_file,
    into: *mut c_void,
    amount: c_int,
    offset: i64,
) -> c_int {
    // SAFETY: only files that `open` gave an `Ahead` have this function; a connection and its files
    // are used by one thread at a time; `into` has room for `amount` bytes.
    unsafe {
        let ahead = (*file).pMethods.cast::<Ahead>().cast_mut();
        let Some(real) = (*(*ahead).real).xRead else { return ffi::SQLITE_IOERR_READ };
        let (window, size) = (&mut (*ahead).window, (*ahead).size);
        let length = usize::try_from(amount).unwrap_or(0);
        let stretch = (size - offset).clamp(0, STRETCH as i64);
        let fits = length as i64 <= stretch;
        if fits && window.get(offset, length).is_none() && window.goes_on(offset) {
            window.bytes.resize(stretch as usize, 0);
            window.start = offset;
            if real(file, window.bytes.as_mut_ptr().cast(), stretch as c_int, offset)
                != ffi::SQLITE_OK
            {
                // Whatever it is, the reads of the pages themselves tell.
                window.bytes.clear();
                window.plain = offset + stretch;
            }
        }
        if let Some(bytes) = window.get(offset, length) {
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), into.cast(), length);
            return ffi::SQLITE_OK;
        }
        window.missed = offset.saturating_add(i64::from(amount));
        real(file, into, amount, offset)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use rusqlite::{Connection, OpenFlags};

    use super::*;

    fn by(vfs: &CStr, path: &std::path::Path) -> Connection {
        let uri = format!("file:{}?immutable=1", path.display());
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
        Connection::open_with_flags_and_vfs(uri, flags, vfs).unwrap()
    }

    /// All pages, in the order of a walk and in another one, with rows far apart in between.
    fn everything(connection: &Connection) -> Vec<(i64, Vec<u8>)> {
        let mut found = Vec::new();
        for sql in [
            "SELECT pgno, data FROM sqlite_dbpage ORDER BY pgno",
            "SELECT pgno, data FROM sqlite_dbpage ORDER BY pgno DESC",
            "SELECT id, body FROM t ORDER BY id",
            "SELECT id, body FROM t ORDER BY name",
        ] {
            connection.execute_batch("PRAGMA shrink_memory").unwrap();
            let mut statement = connection.prepare(sql).unwrap();
            let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
            found.extend(rows.map(Result::unwrap));
        }
        found
    }

    #[test]
    fn what_is_read_ahead_is_what_stands_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.db");
        let database = Connection::open(&path).unwrap();
        database
            .execute_batch(
                "PRAGMA page_size = 1024; PRAGMA journal_mode = wal;
                 CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT, body BLOB);
                 CREATE INDEX by_name ON t (name);
                 WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 4000)
                 INSERT INTO t SELECT i, hex(randomblob(8)), randomblob(i % 3000) FROM n;
                 DELETE FROM t WHERE id % 3 = 0;
                 INSERT INTO t SELECT id + 5000, name, body FROM t WHERE id % 5 = 0;
                 PRAGMA wal_checkpoint(TRUNCATE);",
            )
            .unwrap();
        drop(database);
        assert!(std::fs::metadata(&path).unwrap().len() > 64 * STRETCH as u64);
        let (plain, ahead) = (by(c"unix", &path), by(name().unwrap(), &path));
        assert!(everything(&plain) == everything(&ahead));
        let check = |connection: &Connection| -> String {
            connection.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap()
        };
        assert_eq!((check(&plain), check(&ahead)), ("ok".to_owned(), "ok".to_owned()));
        drop(ahead);
        // One that is cut off in a page, and one with bytes behind its last page.
        for length in [8 * STRETCH as u64 + 700, 5 * STRETCH as u64 + 1] {
            let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
            file.set_len(length).unwrap();
            let told = |vfs| {
                let connection = by(vfs, &path);
                let mut told = Vec::new();
                for sql in ["PRAGMA integrity_check", "SELECT hex(body) FROM t"] {
                    let lines = || -> rusqlite::Result<Vec<String>> {
                        connection.prepare(sql)?.query_map([], |row| row.get(0))?.collect()
                    };
                    told.push(lines().map_err(|error| error.to_string()));
                }
                told
            };
            assert_eq!(told(c"unix"), told(name().unwrap()));
        }
    }

    /// Many connections in many threads, and files that cannot be opened.
    #[test]
    fn files_are_opened_and_closed_by_many() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("b.db");
        let database = Connection::open(&path).unwrap();
        database.execute_batch("CREATE TABLE t (a); INSERT INTO t VALUES (7)").unwrap();
        drop(database);
        std::fs::File::create(folder.path().join("text")).unwrap().write_all(b"no").unwrap();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..100 {
                        let connection = by(name().unwrap(), &path);
                        let seven = connection.query_row("SELECT a FROM t", [], |row| row.get(0));
                        assert_eq!(seven, Ok(7));
                        let text = by(name().unwrap(), &folder.path().join("text"));
                        assert!(text.query_row("SELECT 1 FROM t", [], |_| Ok(())).is_err());
                    }
                });
            }
        });
        let missing = folder.path().join("missing").join("c.db");
        assert!(
            Connection::open_with_flags_and_vfs(
                missing,
                OpenFlags::SQLITE_OPEN_READ_ONLY,
                name().unwrap()
            )
            .is_err()
        );
    }
}
