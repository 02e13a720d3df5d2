//! [`PostgresSource`]: a live server as a component that a backup captures.

use std::time::Duration;

use jiff::Timestamp;
use lifeboat_model::manifest::{Content, FORMAT, Manifest, PostgresContent};
use lifeboat_model::position::{LogPosition, Position};
use lifeboat_recovery::ports::{Capture, CaptureContext, Source, SourceError};
use lifeboat_vault::BackupSession;

use super::config;
use super::content;
use super::error::PgError;
use super::facts::Facts;
use super::fingerprint;
use super::local;
use super::logical;
use super::lsn;
use super::options::{CaptureMode, PostgresOptions};
use super::remote::{self, Copied};
use super::standby;
use super::wire::Connection;

/// A live PostgreSQL server.
#[derive(Debug, Clone)]
pub struct PostgresSource {
    component: String,
    options: PostgresOptions,
}

impl PostgresSource {
    /// The server of `component`.
    pub fn new(component: impl Into<String>, options: PostgresOptions) -> Self {
        PostgresSource { component: component.into(), options }
    }
}

impl Source for PostgresSource {
    /// Physical: `/pgdata`, with its manifest and the log that makes it consistent, and
    /// `/tablespaces`, `/config`. Logical: `/dump`.
    fn capture(
        &mut self,
        session: &mut BackupSession,
        context: &CaptureContext<'_>,
    ) -> Result<Capture, SourceError> {
        let started = context.clock.wall();
        let (mut sql, facts) = self.options.ask(&self.component, context.cancel)?;
        let now = (context.clock, context.monitor);
        let started = standby::complete_now(&mut sql, &facts, now, started)?;
        let about = (context.monitor, context.cancel);
        let mut content =
            content::describe(&self.options, &self.component, &mut sql, &facts, about)?;
        let position = match self.options.mode {
            CaptureMode::Physical => {
                Some(self.physical(&mut sql, &facts, session, &mut content, context)?)
            }
            CaptureMode::Logical => {
                logical::capture(&self.options, &sql, &facts, session, &mut content, context)?;
                None
            }
        };
        // Of a dump no place in the log is known.
        let locked = self.options.locked.filter(|_| position.is_some());
        let blocked = locked.and_then(|limit| {
            let within = (limit, context);
            fingerprint::take(&self.options, &self.component, &mut sql, &mut content, within)
        });
        Ok(self.captured(content, position, (started, blocked), context))
    }
}

impl PostgresSource {
    fn physical(
        &self,
        sql: &mut Connection,
        facts: &Facts,
        session: &mut BackupSession,
        content: &mut PostgresContent,
        context: &CaptureContext<'_>,
    ) -> Result<LogPosition, SourceError> {
        facts.check_log()?;
        // The log must still be there when the last file has been read.
        let keeper = self.keep_log(sql, context)?;
        let wanted = self.options.data_dir.as_deref();
        let data = local::directory(wanted, sql, facts)?;
        let copied = match &data {
            Some(data) => local::copy(sql, data, facts, (&self.component, &mut *session), context)?,
            None => None,
        };
        let copied = match copied {
            Some(copied) => {
                "local-files".clone_into(&mut content.method);
                copied
            }
            None => {
                if let Some(data) = &data {
                    context.monitor.note(&format!(
                        "{} could be read here, but the role may not begin a backup itself (`grant \
                         execute on function pg_backup_start, pg_backup_stop`): the copy comes over \
                         the connection",
                        data.display()
                    ));
                }
                "base-backup".clone_into(&mut content.method);
                let mut stream = self.options.replicate(&self.component, sql, context.cancel)?;
                let about = (&self.component[..], facts.version);
                remote::copy(&mut stream, session, about, context.monitor)?
            }
        };
        drop(keeper);
        config::capture(sql, facts, session, context)?;
        self.fill(content, sql, copied, facts)
    }

    /// A slot that lives as long as its connection. Where there is none to be had, the server's own
    /// settings have to keep the log; the backup fails if they do not.
    fn keep_log(
        &self,
        sql: &Connection,
        context: &CaptureContext<'_>,
    ) -> Result<Option<Connection>, SourceError> {
        let mut keeper = self.options.replicate(&self.component, sql, context.cancel)?;
        let name = format!("lifeboat_base_{}_{}", keeper.pid(), context.clock.wall().as_second());
        match keeper.create_slot(&name, true) {
            Ok(()) => Ok(Some(keeper)),
            Err(error) if error.code() == Some("53400") => {
                context.monitor.note(
                    "the server has no free replication slot: `wal_keep_size` has to keep the log \
                     while the copy is taken",
                );
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn fill(
        &self,
        content: &mut PostgresContent,
        sql: &mut Connection,
        mut copied: Copied,
        facts: &Facts,
    ) -> Result<LogPosition, SourceError> {
        let names = sql.query("select oid, spcname from pg_tablespace")?;
        for tablespace in &mut copied.tablespaces {
            let oid = tablespace.oid.to_string();
            let named = names.iter().find(|row| row.first().and_then(Option::as_ref) == Some(&oid));
            tablespace.name = named.and_then(|row| row.get(1)?.clone()).unwrap_or_default();
        }
        let (start, timeline) = copied.start;
        if copied.stop < start {
            return Err(PgError::protocol("the backup ends before it begins").into());
        }
        "physical".clone_into(&mut content.mode);
        content.timeline = timeline;
        content.start_lsn = lsn::text(start);
        content.stop_lsn = lsn::text(copied.stop);
        (content.files, content.bytes) = (copied.files, copied.bytes);
        content.tablespaces = copied.tablespaces;
        Ok(LogPosition { lineage: facts.lineage(), position: Position::new(timeline, start) })
    }

    fn captured(
        &self,
        content: PostgresContent,
        position: Option<LogPosition>,
        (started, blocked): (Timestamp, Option<Duration>),
        context: &CaptureContext<'_>,
    ) -> Capture {
        let manifest = Manifest {
            format: FORMAT,
            component: self.component.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            host: context.host.to_owned(),
            started,
            finished: context.clock.wall(),
            position,
            content: Content::Postgres(content),
        };
        Capture { manifest, complete_up_to: started, blocked }
    }
}
