//! What a plan says about a PostgreSQL component.

use std::path::PathBuf;
use std::time::Duration;

use lifeboat_vault::Cancel;

use super::dsn::Dsn;
use super::error::{PgError, Result};
use super::facts::Facts;
use super::wire::{Connection, Login, Purpose};

/// How a server is captured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CaptureMode {
    /// Its files: the base of point-in-time recovery.
    Physical,
    /// Dumps of its databases, and its roles.
    Logical,
}

/// A PostgreSQL component.
#[derive(Debug, Clone)]
pub struct PostgresOptions {
    /// Where and as whom.
    pub dsn: Dsn,
    /// The plan's name: part of the slot's.
    pub plan: String,
    /// How it is captured.
    pub mode: CaptureMode,
    /// Where its data directory can be read from here, if the plan says so; else where the server
    /// says that it is, if that is really its own.
    pub data_dir: Option<PathBuf>,
    /// Databases to dump; all if empty.
    pub databases: Vec<String>,
    /// Fingerprints of the tables under a lock that keeps writers out for at most so long.
    pub locked: Option<Duration>,
    /// `table.column` that holds the time of the newest change.
    pub newest: Option<(String, String)>,
    /// `~/.pgpass`, where there is one.
    pub passfile: Option<PathBuf>,
}

impl PostgresOptions {
    /// A component with the defaults.
    pub fn new(dsn: Dsn, plan: impl Into<String>) -> Self {
        PostgresOptions {
            dsn,
            plan: plan.into(),
            mode: CaptureMode::Physical,
            data_dir: None,
            databases: Vec::new(),
            locked: None,
            newest: None,
            passfile: None,
        }
    }

    /// Connects for questions, and asks the first ones. Of several hosts the first that will do.
    pub(crate) fn ask(&self, component: &str, cancel: &Cancel) -> Result<(Connection, Facts)> {
        let mut standby = None;
        for address in &self.dsn.addresses {
            let dsn = Dsn { addresses: vec![address.clone()], ..self.dsn.clone() };
            match self.ask_one(&dsn, component, cancel) {
                Ok((sql, facts)) if facts.in_recovery && self.dsn.primary => {
                    standby.get_or_insert(PgError::lost(format!("{} is a standby", sql.address())));
                }
                Err(error @ (PgError::Lost { .. } | PgError::Unfit { .. })) => {
                    standby.get_or_insert(error);
                }
                decided => return decided,
            }
        }
        Err(standby.unwrap_or_else(|| PgError::lost("the connection string names no host")))
    }

    fn ask_one(&self, dsn: &Dsn, component: &str, cancel: &Cancel) -> Result<(Connection, Facts)> {
        let mut sql = self.open(dsn, component, Purpose::Sql, None, cancel)?;
        // What a role's own limits are made for does not concern the few statements here.
        sql.query("set statement_timeout = 0; set idle_session_timeout = 0")
            .or_else(|_| sql.query("set statement_timeout = 0"))?;
        let facts = Facts::read(&mut sql)?;
        Ok((sql, facts))
    }

    /// A replication connection to the same server as `beside`.
    pub(crate) fn replicate(
        &self,
        component: &str,
        beside: &Connection,
        cancel: &Cancel,
    ) -> Result<Connection> {
        let dsn = Dsn { addresses: vec![beside.address().clone()], ..self.dsn.clone() };
        self.open(&dsn, component, Purpose::Replication, None, cancel)
    }

    pub(crate) fn open(
        &self,
        dsn: &Dsn,
        component: &str,
        purpose: Purpose,
        database: Option<&str>,
        cancel: &Cancel,
    ) -> Result<Connection> {
        let name = application_name(component);
        let passfile = self.passfile.as_deref();
        Connection::open(&Login { dsn, name: &name, purpose, database, passfile, cancel })
    }
}

/// How our connections introduce themselves; names of servers end at 63 bytes.
pub(crate) fn application_name(component: &str) -> String {
    let plain = component.chars().map(|char| if char.is_ascii_graphic() { char } else { '_' });
    format!("lifeboat/{}", plain.take(50).collect::<String>())
}
