//! [`PostgresEngine`]: what can be asked of a restored copy of a PostgreSQL server.
//!
//! A physical copy is brought to its point ([`recover`](super::recover)) and examined in its own
//! throw-away server. A logical one is loaded into a cluster of its own, which is removed again; the
//! dumps are delivered as they are.
//!
//! A question goes to the database that it names: `select count(*) from shop.public.orders` asks
//! `shop`. One that names none goes to the first database, by name, that is neither a template nor
//! called `postgres`; where there is no other, to `postgres`.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lifeboat_model::check::CheckResult;
use lifeboat_model::manifest::{Content, Manifest, PostgresContent};
use lifeboat_model::verdict::Verdict;
use lifeboat_recovery::ports::{
    Answer, Engine, EngineError, LogReader, RecoverContext, RecoverTo, Recovered,
};
use lifeboat_vault::{Cancel, Clock};

use super::account::Account;
use super::compared;
use super::install::{Installations, major_of_data};
use super::instance::{Instance, Start};
use super::layout::Layout;
use super::loaded::{self, Loaded};
use super::recover::{self, PATIENCE, Recovery};
use super::sql::Session;
use super::tool::Tools;
use super::{broken, refused, structure};

/// How long a question may take, unless told otherwise.
pub const QUESTION_LIMIT: Duration = Duration::from_secs(30);

/// Looks at restored copies of PostgreSQL servers.
pub struct PostgresEngine {
    installations: Installations,
    tools: Tools,
    limit: Duration,
    patience: Duration,
    preload: Vec<String>,
    state: Mutex<State>,
}

/// What runs on a copy.
#[derive(Default)]
struct State {
    running: Option<(PathBuf, Running)>,
    /// What the copy's recovery was judged by.
    recovered: Vec<CheckResult>,
    /// It was brought to the place at which its tables were fingerprinted.
    comparable: bool,
}

enum Running {
    Physical(Instance),
    Logical(Box<Loaded>),
}

impl PostgresEngine {
    /// With the servers that are installed; a question may take `limit`, [`QUESTION_LIMIT`] by
    /// default.
    pub fn new(
        installations: Installations,
        clock: Arc<dyn Clock>,
        cancel: Cancel,
        limit: Duration,
    ) -> Self {
        PostgresEngine {
            installations,
            tools: Tools { account: Account::for_servers(), clock, cancel },
            limit,
            patience: PATIENCE,
            preload: Vec::new(),
            state: Mutex::default(),
        }
    }

    /// Libraries without which the log cannot be replayed (`shared_preload_libraries`). They run
    /// what they run.
    pub fn preload(mut self, libraries: impl IntoIterator<Item = String>) -> Self {
        self.preload.extend(libraries);
        self
    }

    /// How long a journal that cannot be read is tried again; five minutes by default.
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls `ask` with a running server on the copy.
    fn with_server<T>(
        &self,
        copy: &Path,
        logical: Option<&PostgresContent>,
        ask: impl FnOnce(&mut Running) -> Result<T, EngineError>,
    ) -> Result<T, EngineError> {
        let mut state = self.state();
        if state.running.as_ref().is_none_or(|(of, _)| of != copy) {
            state.running = None;
            let started = match logical {
                Some(content) => {
                    let installed = self.installations.of(content.server_version / 10_000)?;
                    Running::Logical(Box::new(loaded::load(&self.tools, installed, copy, content)?))
                }
                None => Running::Physical(self.start(copy)?),
            };
            state.running = Some((copy.to_owned(), started));
        }
        match &mut state.running {
            Some((_, running)) => ask(running),
            None => Err(broken("no server was started")),
        }
    }

    fn start(&self, copy: &Path) -> Result<Instance, EngineError> {
        let layout = Layout::of(copy)?;
        if layout.is_base() {
            return Err(broken("the copy was not recovered"));
        }
        if let Some(pid) = super::layout::running(&layout.data) {
            return Err(refused(
                format!("a server runs on {} (process {pid})", layout.data.display()),
                "stop it first",
            ));
        }
        let installed = self.installations.of(major_of_data(&layout.data)?)?;
        let control = super::control::Control::read(&self.tools, installed, &layout.data)?;
        layout.bar(self.tools.account)?;
        let settings = control.settings()?;
        let start = Start { installed, data: &layout.data, settings, preload: &self.preload };
        let mut instance = Instance::start(&self.tools, &start)?;
        instance.wait_ready()?;
        Ok(instance)
    }

    fn stop(&self, copy: &Path) -> Result<(), EngineError> {
        let mut state = self.state();
        match state.running.take_if(|(of, _)| of == copy) {
            Some((_, Running::Physical(instance))) => instance.stop(),
            Some((_, Running::Logical(loaded))) => loaded.end(),
            None => Ok(()),
        }
    }
}

fn postgres(manifest: &Manifest) -> Result<&PostgresContent, EngineError> {
    match &manifest.content {
        Content::Postgres(content) => Ok(content),
        _ => Err(broken("the manifest is not of a PostgreSQL server")),
    }
}

fn is_logical(content: &PostgresContent) -> bool {
    content.mode == "logical"
}

/// The check of an examination that could not be made.
fn unmade(name: &str, error: &EngineError) -> CheckResult {
    // A missing server says nothing of the copy.
    let verdict = match error {
        EngineError::Refused { .. } => Verdict::Inconclusive,
        EngineError::Failed { .. } => Verdict::Fail,
    };
    let mut why = error.to_string();
    if let EngineError::Refused { hint, .. } = error {
        why = format!("{why} ({hint})");
    }
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        why = format!("{why}: {cause}");
        source = cause.source();
    }
    CheckResult::new(name, verdict, "its own server starts and answers", why)
}

impl Engine for PostgresEngine {
    fn recover(
        &self,
        copy: &Path,
        manifest: &Manifest,
        log: Option<&dyn LogReader>,
        to: &RecoverTo,
        context: &RecoverContext<'_>,
    ) -> Result<Option<Recovered>, EngineError> {
        let content = postgres(manifest)?;
        if is_logical(content) {
            return match to {
                RecoverTo::Newest | RecoverTo::Base => Ok(None),
                _ => Err(refused(
                    "a dump has no log to replay: it is the databases as they were when it began",
                    "name a snapshot, or a time for which the newest dump before it will do",
                )),
            };
        }
        let tools = Tools { cancel: context.cancel.clone(), ..self.tools.clone() };
        let installed = match context.prepare_only {
            true => None,
            false => Some(self.installations.of(content.server_version / 10_000)?),
        };
        let recovery = Recovery {
            tools: &tools,
            installed,
            preload: &self.preload,
            patience: self.patience,
            context,
        };
        let recovered = recover::recover(&recovery, copy, (manifest, content), log, to)?;
        let mut state = self.state();
        state.recovered.clone_from(&recovered.checks);
        state.comparable = compared::is_theirs(to, content);
        drop(state);
        Ok(Some(recovered))
    }

    fn settle(&self, copy: &Path) -> Result<(), EngineError> {
        self.stop(copy)?;
        if !copy.join("pgdata").is_dir() {
            return Ok(());
        }
        let layout = Layout::of(copy)?;
        layout.unbar()?;
        layout.make_startable(self.tools.account)
    }

    fn structure(&self, copy: &Path, manifest: &Manifest) -> Vec<CheckResult> {
        let looked = postgres(manifest).and_then(|content| {
            if is_logical(content) {
                return self.with_server(copy, Some(content), |running| match running {
                    Running::Logical(loaded) => loaded.structure(),
                    Running::Physical(_) => Err(broken("the copy is not a dump")),
                });
            }
            let mut checks = self.with_server(copy, None, |running| match running {
                Running::Physical(instance) => structure::running(instance),
                Running::Logical(_) => Err(broken("the copy is a dump")),
            })?;
            // Nothing but at that very place: anywhere else a copy has other content, rightly.
            let comparable = self.state().comparable;
            if comparable {
                checks.push(self.compared(copy, content));
            }
            self.stop(copy)?;
            let data = Layout::of(copy)?.data;
            let installed = self.installations.of(major_of_data(&data)?)?;
            checks.extend(structure::stopped(&self.tools, installed, &data)?);
            Ok(checks)
        });
        looked.unwrap_or_else(|error| vec![unmade(structure::DATABASES, &error)])
    }

    fn content(&self, copy: &Path, manifest: &Manifest) -> Vec<CheckResult> {
        let looked = postgres(manifest).and_then(|content| {
            if is_logical(content) {
                return self.with_server(copy, Some(content), |running| match running {
                    Running::Logical(loaded) => loaded.content(content),
                    Running::Physical(_) => Err(broken("the copy is not a dump")),
                });
            }
            // A copy that was replayed is newer than its manifest: what it reached was compared.
            Ok(self.state().recovered.clone())
        });
        looked.unwrap_or_else(|error| vec![unmade(loaded::LOADED, &error)])
    }

    /// One after the other: the pages' checksums need the server stopped.
    fn examine(&self, copy: &Path, manifest: &Manifest) -> (Vec<CheckResult>, Vec<CheckResult>) {
        let content = self.content(copy, manifest);
        (self.structure(copy, manifest), content)
    }

    fn query(&self, copy: &Path, sql: &str) -> Result<Answer, EngineError> {
        let dumps = loaded::dumps(copy);
        let content = dumps.is_some().then(|| self.loaded_content()).flatten();
        if dumps.is_some() && content.is_none() && !self.runs_on(copy) {
            return Err(refused(
                "a dump answers questions once it was loaded",
                "its checks are asked after its examination",
            ));
        }
        self.with_server(copy, content.as_ref(), |running| {
            let instance = match running {
                Running::Physical(instance) => &*instance,
                Running::Logical(loaded) => loaded.instance()?,
            };
            let user = instance.superuser()?;
            let databases = structure::databases(instance, &user)?;
            let database = addressed(sql, &databases);
            let session = Session { user: &user, database, limit: Some(self.limit), writes: false };
            Ok(Answer { rows: instance.ask(&session, sql)? })
        })
    }
}

impl PostgresEngine {
    /// The copy's tables beside the fingerprints of its manifest.
    fn compared(&self, copy: &Path, content: &PostgresContent) -> CheckResult {
        let compared = self.with_server(copy, None, |running| match running {
            Running::Physical(instance) => compared::compare(instance, content, &self.tools.cancel),
            Running::Logical(_) => Err(broken("the copy is a dump")),
        });
        // What cannot be read says nothing of the copy: only a difference does.
        compared.unwrap_or_else(|error| CheckResult {
            verdict: Verdict::Inconclusive,
            ..unmade(compared::FINGERPRINTS, &error)
        })
    }

    fn runs_on(&self, copy: &Path) -> bool {
        self.state().running.as_ref().is_some_and(|(of, _)| of == copy)
    }

    /// What the dump that is loaded was taken of.
    fn loaded_content(&self) -> Option<PostgresContent> {
        match &self.state().running {
            Some((_, Running::Logical(loaded))) => Some(loaded.of().clone()),
            _ => None,
        }
    }
}

/// The database that a question is for.
fn addressed<'a>(sql: &str, databases: &'a [String]) -> &'a str {
    let named = databases.iter().find(|name| {
        sql.match_indices(&format!("{name}.")).any(|(at, found)| {
            let before = sql[..at].chars().next_back();
            let rest = &sql[at + found.len()..];
            let schema = rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').count();
            // `shop.public.orders`: a name, a name, a name.
            schema > 0
                && rest.chars().nth(schema) == Some('.')
                && !before.is_some_and(|c| c.is_alphanumeric() || matches!(c, '_' | '.' | '\''))
        })
    });
    named
        .or_else(|| databases.iter().find(|name| *name != "postgres"))
        .map_or("postgres", String::as_str)
}

#[cfg(test)]
mod tests {
    use super::addressed;

    #[test]
    fn a_question_goes_to_the_database_that_it_names() {
        let all = ["bills", "postgres", "shop"].map(str::to_owned);
        for (sql, database) in [
            ("select count(*) from shop.public.orders", "shop"),
            ("select count(*) from orders", "bills"),
            ("select workshop.public.x from y", "bills"),
            ("select shop.id from shop", "bills"),
            ("select 1 from postgres.public.t", "postgres"),
        ] {
            assert_eq!(addressed(sql, &all), database, "{sql}");
        }
        assert_eq!(addressed("select 1", &["postgres".to_owned()]), "postgres");
    }
}
