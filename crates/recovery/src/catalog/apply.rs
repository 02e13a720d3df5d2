//! What one fact of a ledger changes in the catalog.

use lifeboat_model::verdict::Verdict;
use rusqlite::{Connection, params};

use crate::error::Result;
use crate::facts::{DrillFact, Fact, Level, SnapshotFact, VerifiedFact};

/// Takes one fact over, of the entry `seq` of `host`'s chain.
pub(super) fn fact(db: &Connection, host: &str, seq: u64, fact: &Fact) -> Result<()> {
    match fact {
        Fact::Snapshot(fact) => apply_snapshot(db, host, seq, fact)?,
        Fact::Verified(fact) => apply_verified(db, fact)?,
        Fact::Drill(fact) => apply_drill(db, fact)?,
        Fact::Recovered(fact) => {
            db.execute(
                "insert or replace into recovered(component, lineage, position, time)
                 values (?1, ?2, ?3, ?4)",
                params![
                    fact.component,
                    fact.lineage,
                    fact.position.to_string(),
                    fact.time.to_string()
                ],
            )?;
        }
        // Each by its own name: in which order ledgers are read does not matter.
        Fact::Hold(fact) => {
            db.execute(
                "insert or ignore into holds(hold, snapshot, time, reason, incident,
                    operator) values (?1, ?2, ?3, ?4, ?5, ?6)",
                params![
                    fact.hold,
                    fact.snapshot,
                    fact.time.to_string(),
                    fact.reason,
                    fact.incident,
                    fact.operator
                ],
            )?;
        }
        Fact::Released(fact) => {
            db.execute("insert or ignore into released(hold) values (?1)", [&fact.hold])?;
        }
        Fact::Removed(fact) => {
            db.execute(
                "insert or replace into removed(id, vault, time) values (?1, ?2, ?3)",
                params![fact.snapshot, fact.vault, fact.time.to_string()],
            )?;
        }
    }
    Ok(())
}

/// What the ledger just said is there, until a listing says otherwise.
fn apply_snapshot(db: &Connection, host: &str, seq: u64, fact: &SnapshotFact) -> Result<()> {
    let (host, seq, copy_of) = match &fact.copy {
        // Whoever copies it: it is the snapshot of the host that took it, and as old.
        Some(copy) => (copy.host.as_str(), copy.seq, Some(&copy.of)),
        None => (host, seq, None),
    };
    db.execute(
        "insert into snapshots(id, component, run, schedule, time, host, present, ledger_host,
            ledger_seq, complete_up_to, bytes, files, bytes_added, partial, level, vault, read_until,
            copy_of)
         values (?1, ?2, ?3, ?4, ?5, ?6, 1, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16)
         on conflict(id) do update set ledger_host = ?6, ledger_seq = ?7, complete_up_to = ?8,
            bytes = ?9, files = ?10, bytes_added = ?11, partial = ?12, level = max(level, ?13),
            vault = ?14, read_until = coalesce(?15, read_until), copy_of = ?16",
        params![
            fact.snapshot,
            fact.component,
            fact.run,
            fact.schedule,
            fact.time.to_string(),
            host,
            seq as i64,
            fact.complete_up_to.to_string(),
            fact.bytes as i64,
            fact.files as i64,
            fact.bytes_added as i64,
            fact.partial,
            Level::V1 as i64,
            fact.vault,
            fact.read_until.map(|until| until.to_string()),
            copy_of,
        ],
    )?;
    Ok(())
}

/// A failure stays until a verification at least as deep passes; a shallower pass changes nothing.
fn apply_verified(db: &Connection, fact: &VerifiedFact) -> Result<()> {
    let (asked, reached) = (fact.asked as i64, fact.level.map_or(0, |level| level as i64));
    let statement = match fact.verdict {
        Verdict::Pass => {
            "update snapshots set verified = ?2, verdict = ?3, level = max(level, ?4), failed = null
             where id = ?1 and coalesce(failed, 0) <= ?4 and ?5 >= 0"
        }
        Verdict::Fail => {
            "update snapshots set verified = ?2, verdict = ?3, level = ?5,
                failed = max(coalesce(failed, 0), ?4) where id = ?1"
        }
        Verdict::Inconclusive | Verdict::Skipped => {
            "update snapshots set verified = ?2, verdict = ?3, level = max(level, ?5)
             where id = ?1 and failed is null and ?4 >= 0"
        }
    };
    let time = fact.time.to_string();
    db.execute(statement, params![fact.snapshot, time, fact.verdict.word(), asked, reached])?;
    Ok(())
}

fn apply_drill(db: &Connection, fact: &DrillFact) -> Result<()> {
    db.execute(
        "insert or replace into drills(id, component, drill, time, verdict, rto_ms, rpo_ms)
         values (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        params![
            fact.id,
            fact.component,
            fact.drill,
            fact.time.to_string(),
            fact.verdict.word(),
            fact.rto_ms,
            fact.rpo_ms
        ],
    )?;
    Ok(())
}
