//! What a server is like, asked of itself.

use indexmap::IndexMap;

use super::error::{PgError, Result};
use super::wire::Connection;

/// The oldest version that Lifeboat knows.
const OLDEST: u32 = 130_000;
/// Kept with each copy: what it needs in order to start, and how it was kept safe.
const KEPT: [&str; 33] = [
    "archive_mode",
    "block_size",
    "config_file",
    "data_checksums",
    "data_directory",
    "fsync",
    "full_page_writes",
    "hba_file",
    "ident_file",
    "lc_collate",
    "lc_ctype",
    "max_connections",
    "max_locks_per_transaction",
    "max_prepared_transactions",
    "max_replication_slots",
    "max_slot_wal_keep_size",
    "max_wal_senders",
    "max_wal_size",
    "max_worker_processes",
    "segment_size",
    "server_encoding",
    "server_version",
    "shared_preload_libraries",
    "summarize_wal",
    "synchronous_commit",
    "synchronous_standby_names",
    "TimeZone",
    "track_commit_timestamp",
    "wal_block_size",
    "wal_keep_size",
    "wal_level",
    "wal_segment_size",
    "wal_sender_timeout",
];

/// What a server is like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// `server_version_num`, as 150018.
    pub version: u32,
    /// `version()`.
    pub version_text: String,
    /// The cluster's number.
    pub system_identifier: u64,
    /// True for a standby.
    pub in_recovery: bool,
    /// Bytes of a segment of the log.
    pub segment_size: u64,
    /// Settings by name, as `pg_settings` shows them (numbers in the setting's own unit).
    pub settings: IndexMap<String, String>,
}

impl Facts {
    /// Asks a server; one that is too old is refused.
    pub fn read(sql: &mut Connection) -> Result<Facts> {
        let version = sql.value("show server_version_num")?.and_then(|text| text.parse().ok());
        let version = version.ok_or_else(|| PgError::protocol("it does not tell its version"))?;
        if version < OLDEST {
            let shown = sql.parameter("server_version").unwrap_or("unknown").to_owned();
            let what =
                format!("the server is too old: version {shown}, Lifeboat needs 13 or later");
            return Err(PgError::unfit(what, "upgrade it (`pg_upgrade`)"));
        }
        let names = KEPT.map(|name| format!("'{name}'")).join(",");
        let mut answers = sql.query_all(&format!(
            "select version(), pg_is_in_recovery(), \
             (select system_identifier from pg_control_system()), \
             (select bytes_per_wal_segment from pg_control_init()); \
             select name, setting from pg_settings where name in ({names}) order by name"
        ))?;
        let settings = answers.pop().unwrap_or_default();
        let row = answers.pop().unwrap_or_default().pop().unwrap_or_default();
        let cell = |at: usize| row.get(at)?.as_deref();
        let facts = (|| {
            Some(Facts {
                version,
                version_text: cell(0)?.to_owned(),
                in_recovery: cell(1)? == "t",
                // Shown as a signed number.
                system_identifier: cell(2)?.parse::<i64>().ok()?.cast_unsigned(),
                segment_size: cell(3)?.parse().ok().filter(|size: &u64| size.is_power_of_two())?,
                settings: settings
                    .into_iter()
                    .filter_map(|row| <[Option<String>; 2]>::try_from(row).ok())
                    .filter_map(|[name, value]| Some((name?, value?)))
                    .collect(),
            })
        })();
        facts.ok_or_else(|| PgError::protocol("it does not say what it is like"))
    }

    /// A setting, if the role may see it.
    pub fn setting(&self, name: &str) -> Option<&str> {
        self.settings.get(name).map(String::as_str)
    }

    /// A numeric setting, in its own unit.
    pub(crate) fn number(&self, name: &str) -> Option<i64> {
        self.setting(name)?.parse().ok()
    }

    /// Name of the log among all that there are.
    pub fn lineage(&self) -> String {
        format!("{:016x}", self.system_identifier)
    }

    /// Refuses a server whose log is too thin to rebuild anything from.
    pub(crate) fn check_log(&self) -> Result<()> {
        if self.setting("wal_level") == Some("minimal") {
            let hint = "`alter system set wal_level = replica`, then restart the server";
            return Err(PgError::unfit("the server has `wal_level = minimal`", hint));
        }
        if self.number("max_wal_senders") == Some(0) {
            let hint = "`alter system set max_wal_senders = 10`, then restart the server";
            return Err(PgError::unfit("the server has `max_wal_senders = 0`", hint));
        }
        Ok(())
    }
}
