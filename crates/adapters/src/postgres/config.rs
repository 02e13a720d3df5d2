//! Configuration that lives outside the data directory (Debian: `/etc/postgresql`): part of what a
//! server needs in order to come back.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use lifeboat_recovery::ports::{CaptureContext, SourceError};
use lifeboat_vault::{BackupSession, FileMeta};

use super::dsn::Address;
use super::error::PgError;
use super::facts::Facts;
use super::tree::CONFIG;
use super::wire::Connection;

/// Adds the files that the server reads its configuration from, if they are not in its data
/// directory: as `/config/NAME`, what is included from a folder below it as `/config/FOLDER/NAME`.
/// One that cannot be read is said aloud.
pub(crate) fn capture(
    sql: &mut Connection,
    facts: &Facts,
    session: &mut BackupSession,
    context: &CaptureContext<'_>,
) -> Result<(), SourceError> {
    let data = facts.setting("data_directory").map(Path::new);
    let main = facts.setting("config_file").map(PathBuf::from);
    let named = ["config_file", "hba_file", "ident_file"];
    let mut files: BTreeSet<PathBuf> =
        named.iter().filter_map(|name| facts.setting(name)).map(PathBuf::from).collect();
    let included = "select distinct sourcefile from pg_settings where sourcefile is not null";
    files.extend(sql.query(included)?.into_iter().flatten().flatten().map(PathBuf::from));
    let home = main.as_deref().and_then(Path::parent);
    for file in files {
        if !file.is_absolute() || data.is_some_and(|data| file.starts_with(data)) {
            continue;
        }
        let inside = home.and_then(|home| file.strip_prefix(home).ok());
        let name = inside.map(Path::to_owned).or_else(|| file.file_name().map(PathBuf::from));
        let Some(name) = name else { continue };
        match read(sql, &file)? {
            Some(bytes) => {
                let meta = FileMeta::private(context.clock.wall());
                session.add_bytes(&Path::new(CONFIG).join(name), &bytes, meta)?;
            }
            None => context.monitor.note(&format!(
                "{} is not in the copy: it can be read neither from here nor through the server \
                 (`grant pg_read_server_files`)",
                file.display()
            )),
        }
    }
    Ok(())
}

/// From here where the server is on this machine, else through the server.
fn read(sql: &mut Connection, file: &Path) -> Result<Option<Vec<u8>>, SourceError> {
    if matches!(sql.address(), Address::Socket(..))
        && let Ok(bytes) = fs::read(file)
    {
        return Ok(Some(bytes));
    }
    let name = file.to_string_lossy().replace('\'', "''");
    let ask = format!("select encode(pg_read_binary_file('{name}', 0, 16777216, true), 'hex')");
    match sql.value(&ask) {
        Ok(hex) => Ok(hex.and_then(|hex| hex::decode(hex).ok())),
        Err(PgError::Refused { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
