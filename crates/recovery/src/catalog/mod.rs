//! The catalog: an index of snapshots and drills, never the truth.
//!
//! It is rebuilt from the vault (what is there) and the ledgers (what is known about it). A damaged
//! or newer file is set aside and rebuilt, with a note; one that is busy, may not be read or written,
//! or has no room, is left alone.

mod apply;
mod rows;
mod sync;

use std::fs;
use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use lifeboat_model::position::Position;
use rusqlite::{Connection, ErrorCode, params};

pub use rows::{DrillRow, HoldRow, SnapshotRow};
pub use sync::{Everything, as_it_is, everything, host_of, note_facts, up_to_date};

use crate::error::{Error, Result};
use crate::facts::Fact;
use crate::state::FileLock;

/// Steps of the schema; `user_version` is the number of steps taken.
const STEPS: &[&str] = &["
    create table snapshots(
        id text primary key, component text, run text, schedule text, time text not null,
        host text not null, present integer not null default 1,
        vault text, ledger_host text, ledger_seq integer, complete_up_to text, bytes integer, files integer,
        bytes_added integer, partial integer not null default 0,
        level integer not null default 0, failed integer, verified text, verdict text
    ) strict;
    create index by_component on snapshots(component, time);
    create table drills(
        id text not null, component text not null, drill text, time text not null,
        verdict text not null, rto_ms integer, rpo_ms integer,
        primary key (id, component)
    ) strict;
    create table applied(host text primary key, seq integer not null, hash text not null) strict;
",
    "
    alter table snapshots add column read_until text;
    alter table snapshots add column lost text;
",
    "
    create table believed(one integer primary key check (one = 1), digest text not null) strict;
",
    "
    create table removed(id text not null, vault text not null, time text not null,
        primary key (id, vault)) strict;
",
    "
    alter table snapshots add column copy_of text;
",
    "
    create table recovered(component text not null, lineage text not null, position text not null,
        time text not null, primary key (component, lineage, position)) strict;
",
    "
    create table holds(hold text primary key, snapshot text not null, time text not null,
        reason text not null, incident text, operator text not null) strict;
    create table released(hold text primary key) strict;
    delete from applied;
"];

/// How long another process may keep the catalog busy.
const WAIT: Duration = Duration::from_secs(10);

/// Why a file cannot be used.
enum Unfit {
    /// It is no catalog, or not one of this version: it can be made anew.
    Damaged,
    /// It may be in order: nothing is done to it.
    Failed(Error),
}

impl From<rusqlite::Error> for Unfit {
    fn from(error: rusqlite::Error) -> Unfit {
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Unfit::Damaged,
            // A step of the schema that does not fit: the file is another one's. A column that
            // holds what it cannot.
            Some(ErrorCode::Unknown | ErrorCode::TypeMismatch) => Unfit::Damaged,
            _ => Unfit::Failed(Error::Catalog(error)),
        }
    }
}

/// True if another process uses the catalog now.
pub(crate) fn is_busy(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(
            ErrorCode::DatabaseBusy
                | ErrorCode::DatabaseLocked
                | ErrorCode::FileLockingProtocolFailed
        )
    )
}

/// True if the catalog cannot be written where it lies.
pub(crate) fn forbids_writing(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(
            ErrorCode::DiskFull
                | ErrorCode::PermissionDenied
                | ErrorCode::ReadOnly
                | ErrorCode::CannotOpen
                | ErrorCode::AuthorizationForStatementDenied
                | ErrorCode::SystemIoFailure
        )
    )
}

/// What mends a catalog that cannot be used.
pub(crate) fn hint(error: &rusqlite::Error) -> Option<String> {
    let hint = match error.sqlite_error_code()? {
        _ if is_busy(error) => {
            "wait until the other process is done; `catalog.db` in the state folder is in use"
        }
        ErrorCode::DiskFull => "free some space where the state folder is",
        ErrorCode::PermissionDenied
        | ErrorCode::ReadOnly
        | ErrorCode::CannotOpen
        | ErrorCode::AuthorizationForStatementDenied => {
            "check owner, mode and mount of the state folder and of `catalog.db` in it"
        }
        ErrorCode::SystemIoFailure => "check the disk that the state folder is on",
        _ => return None,
    };
    Some(hint.to_owned())
}

/// The catalog.
pub struct Catalog {
    db: Connection,
}

/// A snapshot as the vault lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Full id.
    pub id: String,
    /// Tag `component=`.
    pub component: Option<String>,
    /// Tag `run=`.
    pub run: Option<String>,
    /// Tag `schedule=`.
    pub schedule: Option<String>,
    /// When it was taken.
    pub time: Timestamp,
    /// Host that took it.
    pub host: String,
}

impl Catalog {
    /// Opens the file, or makes it. One that is damaged or newer is set aside; the note says so. One
    /// that is busy, may not be read or has no room is an error, and stays as it is.
    pub fn open(path: &Path) -> Result<(Catalog, Option<String>)> {
        Catalog::open_within(path, WAIT)
    }

    /// The same with another patience with a catalog that is busy.
    pub fn open_within(path: &Path, wait: Duration) -> Result<(Catalog, Option<String>)> {
        match Catalog::at(path, wait) {
            Ok(catalog) => return Ok((catalog, None)),
            Err(Unfit::Failed(error)) => return Err(error),
            Err(Unfit::Damaged) => {}
        }
        // Another process may have set it aside meanwhile, and made a good one.
        let _lock = FileLock::exclusive(&path.with_extension("lock"))?;
        match Catalog::at(path, wait) {
            Ok(catalog) => return Ok((catalog, None)),
            Err(Unfit::Failed(error)) => return Err(error),
            Err(Unfit::Damaged) => {}
        }
        let aside = path.with_extension("db.damaged");
        fs::rename(path, &aside).map_err(Error::io("set aside", path))?;
        for tail in ["-wal", "-shm", "-journal"] {
            let mut name = path.as_os_str().to_owned();
            name.push(tail);
            match fs::remove_file(&name) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                    return Err(Error::io("remove", &name)(e));
                }
                _ => {}
            }
        }
        let note = format!(
            "the catalog was damaged; it was set aside as {} and is rebuilt from the vault and \
             the ledger",
            aside.display()
        );
        match Catalog::at(path, wait) {
            Ok(catalog) => Ok((catalog, Some(note))),
            Err(Unfit::Failed(error)) => Err(error),
            Err(Unfit::Damaged) => {
                Err(Error::Ledger { what: "the catalog is damaged as soon as it is made".into() })
            }
        }
    }

    /// A catalog that leaves no trace, for dry runs.
    pub fn in_memory() -> Result<Catalog> {
        match Catalog::prepare(Connection::open_in_memory()?) {
            Ok(catalog) => Ok(catalog),
            Err(Unfit::Failed(error)) => Err(error),
            Err(Unfit::Damaged) => Err(Error::Ledger { what: "memory is damaged".into() }),
        }
    }

    fn at(path: &Path, wait: Duration) -> Result<Catalog, Unfit> {
        let db = Connection::open(path)?;
        db.busy_timeout(wait)?;
        let verdict: String = db.query_row("pragma quick_check(1)", [], |row| row.get(0))?;
        if verdict != "ok" {
            return Err(Unfit::Damaged);
        }
        Catalog::prepare(db)
    }

    fn prepare(mut db: Connection) -> Result<Catalog, Unfit> {
        let transaction = db.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        let version: i64 = transaction.query_row("pragma user_version", [], |row| row.get(0))?;
        let known = STEPS.len() as i64;
        if version > known {
            return Err(Unfit::Damaged);
        }
        for step in &STEPS[version.max(0) as usize..] {
            transaction.execute_batch(step)?;
        }
        transaction.execute_batch(&format!("pragma user_version = {known}"))?;
        transaction.commit()?;
        Ok(Catalog { db })
    }

    /// Takes over what a vault lists: new ones are added; one that a ledger records there and that is
    /// not listed is lost, and why it is stands in `damaged` (id and reason), or it is missing.
    pub fn take_listing(
        &mut self,
        vault: &str,
        listing: &[Listed],
        damaged: &[(String, String)],
    ) -> Result<()> {
        let transaction = self.db.transaction()?;
        transaction.execute(
            "update snapshots set present = 0, lost = case
                when ledger_seq is not null and vault = ?1 and not exists (select 1 from removed
                    where removed.id = snapshots.id and removed.vault = ?1) then 'it is missing from the vault' end",
            [vault],
        )?;
        for (id, why) in damaged {
            transaction.execute(
                "update snapshots set lost = ?2 where id = ?1",
                params![id, format!("it is damaged: {why}")],
            )?;
        }
        for one in listing {
            transaction.execute(
                "insert into snapshots(id, component, run, schedule, time, host)
                 values (?1, ?2, ?3, ?4, ?5, ?6)
                 on conflict(id) do update set present = 1, lost = null, component = ?2, run = ?3,
                    schedule = ?4, time = ?5, host = ?6",
                params![
                    one.id,
                    one.component,
                    one.run,
                    one.schedule,
                    one.time.to_string(),
                    one.host
                ],
            )?;
        }
        transaction.commit()?;
        Ok(())
    }

    /// Forgets everything if other keys are believed than those that it was made with.
    pub fn believe(&mut self, digest: &str) -> Result<()> {
        use rusqlite::OptionalExtension;
        let known: Option<String> =
            self.db.query_row("select digest from believed", [], |row| row.get(0)).optional()?;
        if known.as_deref() == Some(digest) {
            return Ok(());
        }
        self.clear()?;
        self.db.execute("insert or replace into believed(one, digest) values (1, ?1)", [digest])?;
        Ok(())
    }

    /// The last entry of a host's chain whose facts are in the catalog, and its hash.
    pub fn applied(&self, host: &str) -> Result<Option<(u64, String)>> {
        use rusqlite::OptionalExtension;
        let row = self
            .db
            .query_row("select seq, hash from applied where host = ?1", [host], |row| {
                Ok((row.get::<_, i64>(0)? as u64, row.get(1)?))
            })
            .optional()?;
        Ok(row)
    }

    /// Takes over the facts of one ledger entry.
    pub fn apply(&mut self, host: &str, seq: u64, hash: &str, facts: &[Fact]) -> Result<()> {
        let transaction = self.db.transaction()?;
        for fact in facts {
            apply::fact(&transaction, host, seq, fact)?;
        }
        transaction.execute(
            "insert into applied(host, seq, hash) values (?1, ?2, ?3)
             on conflict(host) do update set seq = ?2, hash = ?3",
            params![host, seq as i64, hash],
        )?;
        transaction.commit()?;
        Ok(())
    }

    /// Forgets everything, so that it can be rebuilt.
    pub fn clear(&mut self) -> Result<()> {
        self.db.execute_batch(
            "delete from snapshots; delete from drills; delete from applied;
             delete from removed; delete from recovered; delete from holds;
             delete from released",
        )?;
        Ok(())
    }

    /// The snapshots that are there, newest first.
    pub fn snapshots(&self) -> Result<Vec<SnapshotRow>> {
        rows::snapshots(&self.db)
    }

    /// The same, and those that a ledger records in this vault and that cannot be read.
    pub fn points(&self) -> Result<Vec<SnapshotRow>> {
        rows::points(&self.db)
    }

    /// The furthest place of a component's log that a restore has proven. A chain that goes on
    /// under another name (`LINEAGE+2`) is the same log.
    pub fn proven(&self, component: &str, lineage: &str) -> Result<Option<Position>> {
        let mut statement = self.db.prepare(
            "select position from recovered
             where component = ?1 and (lineage = ?2 or lineage like ?2 || '+%')
             order by position desc limit 1",
        )?;
        let mut found = statement.query_map([component, lineage], |row| row.get::<_, String>(0))?;
        Ok(found.next().transpose()?.and_then(|text| text.parse().ok()))
    }

    /// Notes when reading the source of a snapshot ended, where no fact says so.
    pub fn note_read_until(&mut self, id: &str, until: Timestamp) -> Result<()> {
        let statement = "update snapshots set read_until = ?2 where id = ?1 and read_until is null";
        self.db.execute(statement, params![id, until.to_string()])?;
        Ok(())
    }

    /// Ids of all snapshots that a ledger of this plan recorded in this vault, whether the vault still lists them
    /// or not, without those that were removed on purpose.
    pub fn recorded(&self, vault: &str) -> Result<Vec<String>> {
        let mut statement = self.db.prepare(
            "select id from snapshots where ledger_seq is not null and vault = ?1
             and not exists (select 1 from removed
                where removed.id = snapshots.id and removed.vault = ?1)",
        )?;
        let ids = statement.query_map([vault], |row| row.get(0))?;
        Ok(ids.collect::<Result<Vec<String>, _>>()?)
    }

    /// Originals of the copies that were removed from this vault on purpose.
    pub fn removed_copies(&self, vault: &str) -> Result<Vec<String>> {
        let mut statement = self.db.prepare(
            "select copy_of from snapshots join removed using (id)
             where removed.vault = ?1 and copy_of is not null",
        )?;
        let ids = statement.query_map([vault], |row| row.get(0))?;
        Ok(ids.collect::<Result<Vec<String>, _>>()?)
    }

    /// Snapshots in this vault whose verification failed, by the ids of their originals.
    pub fn failed_in(&self, vault: &str) -> Result<Vec<String>> {
        let mut statement = self.db.prepare(
            "select coalesce(copy_of, id) from snapshots where vault = ?1 and failed is not null",
        )?;
        let ids = statement.query_map([vault], |row| row.get(0))?;
        Ok(ids.collect::<Result<Vec<String>, _>>()?)
    }

    /// Takes what the ledger records in this vault for present, and what it records in others for
    /// absent: for when this one cannot be listed, and another one was listed last.
    pub fn only_in(&mut self, vault: &str) -> Result<()> {
        self.db.execute(
            "update snapshots set present = vault = ?1 and lost is null and not exists (
                select 1 from removed where removed.id = snapshots.id and removed.vault = ?1)
             where vault is not null",
            [vault],
        )?;
        Ok(())
    }

    /// Holds that stand, oldest first.
    pub fn holds(&self) -> Result<Vec<HoldRow>> {
        rows::holds(&self.db)
    }

    /// Past drills, newest first.
    pub fn drills(&self) -> Result<Vec<DrillRow>> {
        rows::drills(&self.db)
    }
}
