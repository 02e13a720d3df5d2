//! What the catalog answers.

use jiff::Timestamp;
use lifeboat_model::verdict::Verdict;
use rusqlite::types::Type;
use rusqlite::{Connection, Row};

use crate::error::Result;
use crate::facts::Level;

/// One snapshot that the vault holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotRow {
    /// Full id.
    pub id: String,
    /// Component; nothing for one that another tool made.
    pub component: Option<String>,
    /// Run id.
    pub run: Option<String>,
    /// Schedule name.
    pub schedule: Option<String>,
    /// When it was taken.
    pub time: Timestamp,
    /// Host that took it.
    pub host: String,
    /// Chain and entry that record it; nothing for a foreign one.
    pub ledger: Option<(String, u64)>,
    /// The instant up to which it is proven complete.
    pub complete_up_to: Option<Timestamp>,
    /// When reading its source ended: it holds nothing newer.
    pub read_until: Option<Timestamp>,
    /// Why it cannot be read though a ledger records it.
    pub lost: Option<String>,
    /// Source bytes.
    pub bytes: Option<u64>,
    /// Source files.
    pub files: Option<u64>,
    /// Bytes that it added to the vault.
    pub bytes_added: Option<u64>,
    /// True if something was skipped.
    pub partial: bool,
    /// The deepest level that it passed.
    pub level: Option<Level>,
    /// The level that it failed at; such a one is never chosen by default.
    pub failed: Option<Level>,
    /// When it was last verified.
    pub verified: Option<Timestamp>,
    /// The verdict of that.
    pub verdict: Option<Verdict>,
    /// Full id of the snapshot that it is a copy of.
    pub copy_of: Option<String>,
}

impl SnapshotRow {
    /// Full id of the snapshot that was taken: its own, or that which it is a copy of.
    pub fn taken_as(&self) -> &str {
        self.copy_of.as_deref().unwrap_or(&self.id)
    }
}

impl SnapshotRow {
    /// A snapshot of which nothing else is known yet.
    pub fn unknown(id: &str, component: Option<&str>, time: Timestamp) -> SnapshotRow {
        SnapshotRow {
            id: id.to_owned(),
            component: component.map(str::to_owned),
            run: None,
            schedule: None,
            time,
            host: String::new(),
            ledger: None,
            complete_up_to: None,
            read_until: None,
            lost: None,
            bytes: None,
            files: None,
            bytes_added: None,
            partial: false,
            level: None,
            failed: None,
            verified: None,
            verdict: None,
            copy_of: None,
        }
    }

    /// True if no ledger knows it.
    pub fn foreign(&self) -> bool {
        self.ledger.is_none()
    }
}

/// A hold that stands.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct HoldRow {
    /// Its own name.
    pub hold: String,
    /// Full id of the snapshot that was taken; a copy is held with it.
    pub snapshot: String,
    /// Since when.
    pub time: Timestamp,
    /// Why.
    pub reason: String,
    /// The incident that it belongs to.
    pub incident: Option<String>,
    /// Who put it.
    pub operator: String,
}

impl HoldRow {
    /// Why a snapshot stays, in words.
    pub fn words(&self) -> String {
        match &self.incident {
            Some(incident) => format!("{} (incident {incident})", self.reason),
            None => self.reason.clone(),
        }
    }
}

/// One component of a past drill.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DrillRow {
    /// The drill's id.
    pub id: String,
    /// Component.
    pub component: String,
    /// The drill's name in the plan.
    pub drill: Option<String>,
    /// When it began.
    pub time: Timestamp,
    /// The verdict.
    pub verdict: Verdict,
    /// Recovery time, milliseconds.
    pub rto_ms: Option<i64>,
    /// Data loss, milliseconds.
    pub rpo_ms: Option<i64>,
}

pub(super) fn snapshots(db: &Connection) -> Result<Vec<SnapshotRow>> {
    rows(db, "present = 1")
}

pub(super) fn points(db: &Connection) -> Result<Vec<SnapshotRow>> {
    rows(db, "present = 1 or lost is not null")
}

fn rows(db: &Connection, which: &str) -> Result<Vec<SnapshotRow>> {
    let mut statement = db.prepare(&format!(
        "select id, component, run, schedule, time, host, ledger_host, ledger_seq, complete_up_to,
            bytes, files, bytes_added, partial, level, failed, verified, verdict, read_until, lost,
            copy_of
         from snapshots where {which}"
    ))?;
    let mut rows = statement.query_map([], snapshot)?.collect::<Result<Vec<_>, _>>()?;
    rows.sort_by(|a, b| b.time.cmp(&a.time).then_with(|| a.id.cmp(&b.id)));
    Ok(rows)
}

fn snapshot(row: &Row<'_>) -> rusqlite::Result<SnapshotRow> {
    let host: Option<String> = row.get(6)?;
    let seq: Option<i64> = row.get(7)?;
    Ok(SnapshotRow {
        id: row.get(0)?,
        component: row.get(1)?,
        run: row.get(2)?,
        schedule: row.get(3)?,
        time: instant(row, 4)?.ok_or_else(|| bad(4, "no time"))?,
        host: row.get(5)?,
        ledger: host.zip(seq.map(|seq| seq as u64)),
        complete_up_to: instant(row, 8)?,
        read_until: instant(row, 17)?,
        lost: row.get(18)?,
        bytes: count(row, 9)?,
        files: count(row, 10)?,
        bytes_added: count(row, 11)?,
        partial: row.get(12)?,
        level: Level::from_number(row.get(13)?),
        failed: row.get::<_, Option<i64>>(14)?.and_then(Level::from_number),
        verified: instant(row, 15)?,
        verdict: word(row, 16)?,
        copy_of: row.get(19)?,
    })
}

pub(super) fn holds(db: &Connection) -> Result<Vec<HoldRow>> {
    let mut statement = db.prepare(
        "select hold, snapshot, time, reason, incident, operator from holds
         where hold not in (select hold from released)",
    )?;
    let read = |row: &Row<'_>| {
        Ok(HoldRow {
            hold: row.get(0)?,
            snapshot: row.get(1)?,
            time: instant(row, 2)?.ok_or_else(|| bad(2, "no time"))?,
            reason: row.get(3)?,
            incident: row.get(4)?,
            operator: row.get(5)?,
        })
    };
    let mut rows = statement.query_map([], read)?.collect::<Result<Vec<_>, _>>()?;
    rows.sort_by(|a, b| (a.time, &a.hold).cmp(&(b.time, &b.hold)));
    Ok(rows)
}

pub(super) fn drills(db: &Connection) -> Result<Vec<DrillRow>> {
    let mut statement =
        db.prepare("select id, component, drill, time, verdict, rto_ms, rpo_ms from drills")?;
    let read = |row: &Row<'_>| {
        Ok(DrillRow {
            id: row.get(0)?,
            component: row.get(1)?,
            drill: row.get(2)?,
            time: instant(row, 3)?.ok_or_else(|| bad(3, "no time"))?,
            verdict: word(row, 4)?.ok_or_else(|| bad(4, "no verdict"))?,
            rto_ms: row.get(5)?,
            rpo_ms: row.get(6)?,
        })
    };
    let mut rows = statement.query_map([], read)?.collect::<Result<Vec<_>, _>>()?;
    rows.sort_by(|a, b| b.time.cmp(&a.time).then_with(|| a.component.cmp(&b.component)));
    Ok(rows)
}

fn count(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<u64>> {
    Ok(row.get::<_, Option<i64>>(column)?.map(|n| n.max(0) as u64))
}

fn instant(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<Timestamp>> {
    let text: Option<String> = row.get(column)?;
    text.map(|t| t.parse().map_err(|_| bad(column, "not an instant"))).transpose()
}

fn word(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<Verdict>> {
    let text: Option<String> = row.get(column)?;
    Ok(match text.as_deref() {
        None => None,
        Some("pass") => Some(Verdict::Pass),
        Some("fail") => Some(Verdict::Fail),
        Some("inconclusive") => Some(Verdict::Inconclusive),
        Some("skipped") => Some(Verdict::Skipped),
        Some(_) => return Err(bad(column, "not a verdict")),
    })
}

fn bad(column: usize, what: &'static str) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, Type::Text, what.into())
}
