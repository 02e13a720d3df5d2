//! Our replication slot: the server's promise to keep the log until a tier has it.

use super::error::{PgError, Result};
use super::facts::Facts;
use super::lsn;
use super::wire::Connection;

/// How a slot stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Slot {
    /// From where on the server keeps the log.
    pub(crate) restart: Option<u64>,
    /// The process that streams from it.
    pub(crate) active: Option<u32>,
    /// `reserved`, `extended`, `unreserved` or `lost`.
    pub(crate) status: String,
    /// How much more log may be written until it is lost; absent without a limit.
    pub(crate) room: Option<i64>,
}

/// Name of the slot of a component: the same on every host, so that two streams meet in it.
pub(crate) fn name(plan: &str, component: &str) -> String {
    let lower = component.to_lowercase();
    let plain = lower.chars().map(|char| match char {
        'a'..='z' | '0'..='9' => char,
        _ => '_',
    });
    let short: String = plain.take(40).collect();
    let mark = blake3::hash(format!("{plan}\0{component}").as_bytes()).to_hex();
    format!("lifeboat_{short}_{}", &mark[..8])
}

impl Slot {
    /// Asks for it.
    pub(crate) fn read(sql: &mut Connection, name: &str) -> Result<Option<Slot>> {
        let rows = sql.query(&format!(
            "select slot_type, restart_lsn, active_pid, wal_status, safe_wal_size \
             from pg_replication_slots where slot_name = '{name}'"
        ))?;
        let Some(row) = rows.into_iter().next() else { return Ok(None) };
        let cell = |at: usize| row.get(at).and_then(Option::as_deref);
        if cell(0) != Some("physical") {
            let what =
                format!("the replication slot `{name}` is none of Lifeboat's: it is logical");
            return Err(PgError::unfit(
                what,
                format!("drop it: select pg_drop_replication_slot('{name}')"),
            ));
        }
        Ok(Some(Slot {
            restart: cell(1).map(lsn::read).transpose()?,
            active: cell(2).and_then(|pid| pid.parse().ok()),
            status: cell(3).unwrap_or("lost").to_owned(),
            room: cell(4).and_then(|size| size.parse().ok()),
        }))
    }

    /// True if it keeps nothing any more and never will.
    pub(crate) fn is_lost(&self) -> bool {
        self.status == "lost" || self.restart.is_none()
    }
}

/// What the server's settings say about how long a slot is kept, for a stream that begins.
pub(crate) fn warnings(facts: &Facts, free: Option<u64>) -> Vec<String> {
    const SMALL_DISK: u64 = 10 << 30;
    const FEW: i64 = 1 << 10;
    let mut warnings = Vec::new();
    match facts.number("max_slot_wal_keep_size") {
        Some(-1) => {
            if let Some(free) = free.filter(|free| *free < SMALL_DISK) {
                warnings.push(format!(
                    "`max_slot_wal_keep_size` is not limited and {} MB are free for the log: while \
                     no tier can be written, the server's disk fills up; set a limit",
                    free >> 20
                ));
            }
        }
        Some(megabytes) if megabytes < FEW => warnings.push(format!(
            "`max_slot_wal_keep_size` is only {megabytes} MB: a short outage of the tiers loses the \
             slot, and with it a piece of the log; set it to what an outage of a day writes"
        )),
        _ => {}
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_what_servers_take_and_tell_plans_apart() {
        let name_of = name("Example", "Orders & more/ä");
        assert!(name_of.starts_with("lifeboat_orders___more___"), "{name_of}");
        assert!(name_of.len() < 64 && name(&"x".repeat(99), &"y".repeat(99)).len() < 64);
        assert_ne!(name("a", "x"), name("b", "x"));
        assert_ne!(name("a", "x-y"), name("a", "x_y"));
    }
}
