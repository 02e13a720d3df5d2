//! Wiring: the one place that builds adapters and hands them to the flows.

mod export;
mod kit;
mod programs;
mod secrets;
mod server;
mod tiers;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use lifeboat_adapters::command::{CommandEngine, CommandSource};
use lifeboat_adapters::files::{FilesEngine, FilesInPlace, FilesOptions, FilesSource};
use lifeboat_adapters::git::{GitEngine, GitSource};
use lifeboat_adapters::postgres::{
    PostgresInPlace, PostgresLog, PostgresOptions, PostgresSource, server_around,
};
use lifeboat_adapters::sqlite::{
    NewestChange, QUESTION_LIMIT, SqliteEngine, SqliteInPlace, SqliteLog, SqliteOptions,
    SqliteSource,
};
use lifeboat_adapters::{ShellRunner, SystemDisk};
use lifeboat_model::manifest::{Content, FilesRoot};
use lifeboat_model::plan::{Files, Kind, Many, Plan, Postgres, SecretSource, Sqlite, paths};
use lifeboat_model::span::At;
use lifeboat_recovery::env::{Adapters, Secret, VaultKey, World};
use lifeboat_recovery::journal::local_folder;
use lifeboat_recovery::ports::{Engine, InPlace, LogError, LogSource, Source, SourceError};
use lifeboat_recovery::state::State;
use lifeboat_vault::{Cancel, Clock, Monitor};

use crate::environment::Environment;
use crate::fault::Outcome;
use crate::hands::{Hands, Wired};
use crate::key;
use crate::plan_file::PlanFile;
use crate::progress::Progress;
pub use crate::wire::export::store as export_store;
pub use crate::wire::kit::contents as kit_contents;
use crate::wire::programs::Programs;
use crate::wire::secrets::Secrets;
use crate::wire::server::Unfit;
use crate::wire::tiers::Tiers;

/// Builds the world of a plan. A missing key is not an error yet: some commands go without it.
///
/// # Errors
/// Exit 2 if the plan names no tier that this version carries out.
pub fn build(hands: &Hands<'_>, file: PlanFile) -> Outcome<Wired> {
    let progress = Arc::new(Progress::new(hands.screen.live, hands.screen.quiet));
    build_with(hands, file, Arc::clone(&progress), progress)
}

/// The same, with progress told to `monitor`.
///
/// # Errors
/// As [`build`].
pub fn build_with(
    hands: &Hands<'_>,
    file: PlanFile,
    progress: Arc<Progress>,
    monitor: Arc<dyn Monitor>,
) -> Outcome<Wired> {
    let clock: Arc<dyn Clock> = hands.clock.clone();
    let revision = file.plan.revision();
    let mut file = file;
    let base = file.base();
    let bad_keep = retention_from_environment(hands, &mut file.plan, &base).err();
    let plan = Arc::new(file.plan.clone());
    let secrets = Secrets::of(&file, hands);
    let Tiers { first: tier, all: tiers, others: other_tiers } = Tiers::of(&plan, &secrets)?;
    let folders = tiers.iter().filter_map(|tier| tier.place.folder()).collect();
    let (key, no_key) = match vault_key(&file, &secrets) {
        Ok(key) => (Some(key), None),
        Err(fault) => (None, Some(fault)),
    };
    let identity = identity(&file, &secrets)?;
    let live = Arc::new(Live::of(&file, secrets, folders));
    let adapters = adapters(live, hands.environment, &clock, &monitor, &hands.cancel);
    let user = user(hands.environment);
    let rehearsal = file.rescue.as_ref().is_some_and(|rescue| rescue.rehearsal);
    let world = World {
        revision,
        texts: Arc::new(file.documents()),
        plan_folder: file.folder.clone(),
        plan_file: file.folder.join(file.path.file_name().unwrap_or_default()),
        state: State::new(file.state()),
        monitor: Arc::clone(&monitor),
        cancel: hands.cancel.clone(),
        operator: operator(hands.environment, &user),
        host: host(),
        user,
        pid: std::process::id(),
        tier,
        tiers,
        other_tiers,
        key,
        identity,
        rehearsal: rehearsal.then(|| "this is a rehearsal of the recovery kit".to_owned()),
        adapters,
        runner: Arc::new(ShellRunner::new(Arc::clone(&clock), hands.environment.text("PATH"))),
        disk: Arc::new(SystemDisk),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        plan,
        clock,
    };
    Ok(Wired { file, world, progress, no_key, bad_keep })
}

/// Puts what the environment says of retention into a plan.
///
/// # Errors
/// Exit 2: it is no number of days, or contradicts the plan.
pub fn retention_from_environment(hands: &Hands<'_>, plan: &mut Plan, base: &Path) -> Outcome<()> {
    tiers::retention::apply(plan, base, &|name| hands.environment.text(name))
}

fn vault_key(file: &PlanFile, secrets: &Secrets) -> Outcome<VaultKey> {
    let secret = secrets.read("the vault key", &file.plan.key.vault())?;
    Ok(VaultKey { strength: key::strength(&secret), secret: Secret::new(secret.as_str()) })
}

/// The plan's own age identity, where it names one. Only restores need it; a host without it is
/// told so by the flow that wants it.
fn identity(file: &PlanFile, secrets: &Secrets) -> Outcome<Option<Secret>> {
    let Some(source) = file.plan.key.identity() else { return Ok(None) };
    match secrets.read("the identity", &source) {
        Ok(secret) => Ok(Some(Secret::new(secret.as_str()))),
        Err(fault) if fault.exit == lifeboat_model::exit::Exit::Refused => Err(fault),
        Err(_) => Ok(None),
    }
}

/// This host's name.
fn host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// The user that this process runs as, by name where there is one.
fn user(environment: Environment) -> String {
    let id = rustix::process::geteuid().as_raw().to_string();
    let table = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let named = table.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (name, third) = (fields.next()?, fields.nth(1)?);
        (third == id).then(|| name.to_owned())
    });
    named.or_else(|| environment.text("USER")).unwrap_or(id)
}

/// Who asked: behind `sudo` the person, not root.
fn operator(environment: Environment, user: &str) -> String {
    match environment.text("SUDO_USER") {
        Some(person) if person != user => format!("{person} as {user}"),
        _ => user.to_owned(),
    }
}

/// The adapters of each component, by its kind.
fn adapters(
    live: Arc<Live>,
    environment: Environment,
    clock: &Arc<dyn Clock>,
    monitor: &Arc<dyn Monitor>,
    cancel: &Cancel,
) -> Adapters {
    let cancel = cancel.clone();
    let (for_place, clock, monitor) = (Arc::clone(&live), Arc::clone(clock), Arc::clone(monitor));
    Adapters {
        unsettled: {
            let live = Arc::clone(&live);
            Arc::new(move |name| live.unsettled(name))
        },
        in_use: Arc::new(server_around),
        log: {
            let live = Arc::clone(&live);
            Arc::new(move |name| live.log(name))
        },
        source: Arc::new(move |name| live.source(name)),
        engine: Arc::new(move |_, manifest, vault, snapshot| {
            let engine: Box<dyn Engine> = match &manifest.content {
                Content::Sqlite(content) => {
                    let file = content.file.trim_start_matches('/');
                    Box::new(SqliteEngine::new(file, Arc::clone(&clock), QUESTION_LIMIT))
                }
                Content::Files(_) => Box::new(FilesEngine::new(vault.clone(), snapshot.clone())),
                Content::Postgres(_) => Box::new(server::engine(environment, &clock, &cancel)),
                Content::Command(_) => Box::new(CommandEngine),
                Content::Git(_) => Box::new(GitEngine::new(Arc::clone(&clock), cancel.clone())),
            };
            Ok(engine)
        }),
        in_place: Arc::new(move |name, manifest| {
            let swap: Box<dyn InPlace> = match &manifest.content {
                Content::Sqlite(content) => {
                    let recorded = || PathBuf::from(&content.source);
                    let path = for_place.database(name).unwrap_or_else(recorded);
                    Box::new(SqliteInPlace::new(&path, Arc::clone(&monitor))?)
                }
                Content::Files(content) => {
                    let roots = for_place.roots(name, &content.roots);
                    let (include, exclude) = for_place.rules(name);
                    Box::new(
                        FilesInPlace::new(&roots, Arc::clone(&monitor))?
                            .leaving_out(&include, &exclude)?
                            .keep_out(for_place.not_to_be_carried_away(name)),
                    )
                }
                Content::Postgres(content) => Box::new(
                    PostgresInPlace::new(content, Arc::clone(&monitor))?
                        .keep_out(for_place.not_to_be_carried_away(name)),
                ),
                Content::Command(_) | Content::Git(_) => return Err(programs::not_in_place(name)),
            };
            Ok(swap)
        }),
    }
}

/// Where the live data is, by the plan.
struct Live {
    plan: Plan,
    folder: PathBuf,
    base: PathBuf,
    keep_out: Vec<PathBuf>,
    /// The plan and the files that hold its keys.
    own_files: Vec<PathBuf>,
    secrets: Secrets,
    programs: Programs,
}

impl Live {
    /// `tiers` are the folders of those on this machine.
    fn of(file: &PlanFile, secrets: Secrets, tiers: Vec<PathBuf>) -> Live {
        let base = file.base();
        let mut keep_out = tiers;
        keep_out.push(file.state());
        let keys = [Some(file.plan.key.vault()), file.plan.key.identity()];
        let mut own_files: Vec<PathBuf> = keys
            .into_iter()
            .flatten()
            .filter_map(|source| match source {
                SecretSource::File(path) => Some(paths::resolve(&base, path)),
                _ => None,
            })
            .collect();
        own_files.push(file.folder.join(file.path.file_name().unwrap_or_default()));
        let (plan, folder) = (file.plan.clone(), file.folder.clone());
        let programs = Programs { secrets: secrets.clone(), state: plan.state(&folder) };
        Live { plan, folder, base, keep_out, own_files, secrets, programs }
    }

    fn source(&self, name: &str) -> Result<Box<dyn Source>, SourceError> {
        let unfit = |what: String| SourceError::Unfit {
            what,
            hint: "`lifeboat lint` says what this version carries out".to_owned(),
        };
        let Some(component) = self.plan.component.get(name) else {
            return Err(unfit(format!("the plan has no component {name}")));
        };
        match &component.kind {
            Kind::Sqlite(sqlite) => {
                Ok(Box::new(SqliteSource::new(name, self.sqlite(name, sqlite))))
            }
            Kind::Files(files) => Ok(Box::new(FilesSource::new(self.files(name, files)))),
            Kind::Postgres(postgres) => {
                let options = self.postgres(name, postgres).map_err(unfit_source)?;
                Ok(Box::new(PostgresSource::new(name, options)))
            }
            Kind::Command(command) => {
                let options = self.programs.command(name, command).map_err(unfit_source)?;
                Ok(Box::new(CommandSource::new(options)))
            }
            Kind::Git(git) => {
                let options = self.programs.git(name, git).map_err(unfit_source)?;
                Ok(Box::new(GitSource::new(options)))
            }
            other => {
                Err(unfit(format!("components of kind {} come in a later version", other.key())))
            }
        }
    }

    fn log(&self, name: &str) -> Result<Box<dyn LogSource>, LogError> {
        let unfit = |what: String, hint: &str| LogError::Unfit { what, hint: hint.to_owned() };
        match self.plan.component.get(name).map(|component| &component.kind) {
            None => Err(unfit(format!("the plan has no component {name}"), "`lifeboat lint`")),
            Some(Kind::Postgres(postgres)) => {
                let options = self
                    .postgres(name, postgres)
                    .map_err(|why| LogError::Unfit { what: why.what, hint: why.hint })?;
                Ok(Box::new(PostgresLog::new(name, options)))
            }
            Some(Kind::Sqlite(sqlite)) => {
                let options = self.sqlite(name, sqlite);
                Ok(Box::new(SqliteLog::new(options, self.stream_folder(name))))
            }
            Some(kind) => Err(unfit(
                format!("components of kind {} have no log that this version streams", kind.key()),
                "`lifeboat backup` takes snapshots of it",
            )),
        }
    }

    /// What a restore in place that was cut off has left. What cannot be swapped has nothing.
    fn unsettled(&self, name: &str) -> Option<String> {
        let monitor = Arc::new(lifeboat_vault::NoMonitor);
        match &self.plan.component.get(name)?.kind {
            Kind::Files(files) => {
                let record = |(source, tree): &(PathBuf, PathBuf)| FilesRoot {
                    source: source.to_string_lossy().into_owned(),
                    tree: tree.to_string_lossy().into_owned(),
                };
                let roots: Vec<_> = self.files(name, files).roots.iter().map(record).collect();
                FilesInPlace::new(&roots, monitor).ok()?.unsettled()
            }
            _ => SqliteInPlace::new(&self.database(name)?, monitor).ok()?.unsettled(),
        }
    }

    fn postgres(&self, name: &str, postgres: &Postgres) -> Result<PostgresOptions, Unfit> {
        server::postgres(name, self.plan.header.name.as_str(), postgres, &self.secrets)
    }

    /// Where the stream of a database file keeps what it has to remember.
    fn stream_folder(&self, name: &str) -> PathBuf {
        local_folder(&State::new(self.plan.state(&self.folder)), name).join("sqlite")
    }

    fn sqlite(&self, name: &str, sqlite: &Sqlite) -> SqliteOptions {
        let mut options = SqliteOptions::new(self.plan.path(&self.folder, &sqlite.path));
        options.max_block = sqlite.max_block().std();
        options.stream = sqlite.stream.then(|| self.stream_folder(name));
        options.newest_change = sqlite.newest().map(|(table, column)| NewestChange {
            table: table.to_owned(),
            column: column.to_owned(),
        });
        options
    }

    fn files(&self, name: &str, files: &Files) -> FilesOptions {
        let texts = |list: &Many<At<String>>| list.iter().map(|it| it.to_string()).collect();
        let root = |path: &At<String>| {
            let absolute = self.plan.path(&self.folder, path);
            let tree = paths::tree_path(&self.base, &absolute);
            (absolute, tree)
        };
        FilesOptions {
            component: name.to_owned(),
            roots: files.paths.iter().map(root).collect(),
            include: texts(&files.include),
            exclude: texts(&files.exclude),
            one_file_system: files.one_file_system,
            keep_out: self.keep_out.clone(),
        }
    }

    /// Where a component's captured trees live by the plan, which may have moved since the capture;
    /// a tree that the plan no longer names lives where it was captured.
    fn roots(&self, name: &str, captured: &[FilesRoot]) -> Vec<FilesRoot> {
        let named = match self.plan.component.get(name).map(|component| &component.kind) {
            Some(Kind::Files(files)) => self.files(name, files).roots,
            _ => Vec::new(),
        };
        let place = |root: &FilesRoot| {
            let tree = Path::new(&root.tree);
            let now = named.iter().find(|(_, there)| there == tree).map(|(source, _)| source);
            let source = now.map(|source| source.to_string_lossy().into_owned());
            FilesRoot { source: source.unwrap_or_else(|| root.source.clone()), ..root.clone() }
        };
        captured.iter().map(place).collect()
    }

    /// What a component's capture includes and excludes.
    fn rules(&self, name: &str) -> (Vec<String>, Vec<String>) {
        let texts = |list: &Many<At<String>>| list.iter().map(|it| it.to_string()).collect();
        match self.plan.component.get(name).map(|component| &component.kind) {
            Some(Kind::Files(files)) => (texts(&files.include), texts(&files.exclude)),
            _ => (Vec::new(), Vec::new()),
        }
    }

    /// What must not leave its place with a folder that is swapped: tiers, local state, plan, keys
    /// and the live data of the other components.
    fn not_to_be_carried_away(&self, name: &str) -> Vec<PathBuf> {
        let mut paths: Vec<PathBuf> =
            self.keep_out.iter().chain(&self.own_files).cloned().collect();
        for (other, component) in self.plan.component.iter().filter(|(other, _)| *other != name) {
            match &component.kind {
                Kind::Files(files) => {
                    paths.extend(files.paths.iter().map(|p| self.plan.path(&self.folder, p)));
                }
                _ => paths.extend(self.database(other)),
            }
        }
        paths
    }

    /// The live database of a component.
    fn database(&self, name: &str) -> Option<PathBuf> {
        match &self.plan.component.get(name)?.kind {
            Kind::Sqlite(sqlite) => Some(self.plan.path(&self.folder, &sqlite.path)),
            _ => None,
        }
    }
}

fn unfit_source(why: Unfit) -> SourceError {
    SourceError::Unfit { what: why.what, hint: why.hint }
}
