//! What the plan says of a database server, as its adapters take it. The connection string is a
//! secret: it is read when it is needed, and stands in no message.

use std::path::PathBuf;
use std::sync::Arc;

use lifeboat_adapters::postgres::install::Installations;
use lifeboat_adapters::postgres::{
    CaptureMode, Dsn, PostgresEngine, PostgresOptions, QUESTION_LIMIT,
};
use lifeboat_model::plan::{Mode, Postgres, paths};
use lifeboat_vault::{Cancel, Clock};

use crate::environment::Environment;
use crate::fault::Fault;
use crate::wire::secrets::Secrets;

/// Why a component cannot be used, and what mends it.
pub(super) struct Unfit {
    pub(super) what: String,
    pub(super) hint: String,
}

impl From<Fault> for Unfit {
    fn from(fault: Fault) -> Unfit {
        let causes = fault.causes.iter().map(|cause| format!(": {cause}"));
        let what = causes.fold(fault.message, |what, cause| what + &cause);
        Unfit { what, hint: fault.hint.unwrap_or_else(|| "`lifeboat lint`".to_owned()) }
    }
}

/// A PostgreSQL component of plan `plan`.
pub(super) fn postgres(
    component: &str,
    plan: &str,
    postgres: &Postgres,
    secrets: &Secrets,
) -> Result<PostgresOptions, Unfit> {
    let what = format!("the connection string of {component}");
    let none = || Unfit {
        what: format!("{what} is not named"),
        hint: "add `dsn_env`, `dsn_file` or `dsn_command` to it".to_owned(),
    };
    let source = postgres.dsn().ok_or_else(none)?;
    let resolve = |path: &str| paths::resolve(&secrets.base, path);
    let text = secrets.read(&what, &source)?;
    let dsn = Dsn::parse(&text).map_err(|error| Unfit {
        what: format!("{what} cannot be understood: {error}"),
        hint: "write it as `postgresql://user@host:5432/database` or as `host=… user=…`".to_owned(),
    })?;
    let pgpass = || Some(PathBuf::from(secrets.environment.get("HOME")?).join(".pgpass"));
    let mut options = PostgresOptions::new(dsn, plan);
    options.mode = match postgres.mode() {
        Mode::Physical => CaptureMode::Physical,
        Mode::Logical => CaptureMode::Logical,
    };
    options.data_dir = postgres.data_dir.as_ref().map(|path| resolve(path));
    options.databases = postgres.databases.iter().map(|name| name.to_string()).collect();
    options.locked = postgres.fingerprint.as_ref().map(|_| postgres.max_block().std());
    options.newest = postgres.newest().map(|(table, column)| (table.to_owned(), column.to_owned()));
    options.passfile = pgpass().filter(|path| path.is_file());
    Ok(options)
}

/// What starts and asks restored copies, with the servers that are installed in the usual places, and
/// before them in the homes that `LIFEBOAT_PG_HOMES` names. The `PATH` does not count: what stands
/// there may be a part of an installation.
pub(super) fn engine(
    environment: Environment,
    clock: &Arc<dyn Clock>,
    cancel: &Cancel,
) -> PostgresEngine {
    let homes = environment.get("LIFEBOAT_PG_HOMES").unwrap_or_default();
    let homes: Vec<PathBuf> = std::env::split_paths(&homes).collect();
    let installed = Installations::look(&homes);
    PostgresEngine::new(installed, Arc::clone(clock), cancel.clone(), QUESTION_LIMIT)
}
