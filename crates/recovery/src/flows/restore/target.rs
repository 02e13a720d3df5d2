//! Where a restore may write: a new or empty folder, apart from live data, tiers and local state.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use lifeboat_model::plan::{Kind, Location, SecretSource, paths};

use crate::env::World;
use crate::error::{Error, Result};

/// The target as an absolute path without symbolic links, or why it is refused.
pub fn check_target(world: &World, target: &Path) -> Result<PathBuf> {
    let target = real(target)?;
    empty(&target)?;
    let hint = "choose a folder beside it; `--in-place` replaces the live data";
    apart(world, &target, "", hint, None)
}

/// The same of a folder in which something may stand, or that is absent.
pub(super) fn check_existing(world: &World, target: &Path) -> Result<PathBuf> {
    let target = real(target)?;
    match fs::symlink_metadata(&target) {
        Ok(found) if !found.is_dir() => {
            let hint = "name the folder that is to be compared with the snapshot";
            return Err(Error::refused(format!("{} is not a folder", target.display()), hint));
        }
        _ => {}
    }
    let hint = "choose a folder beside it; `--in-place` replaces the live data";
    apart(world, &target, "", hint, None)
}

/// The folder as an absolute path, if it lies apart from live data, tiers, local state and keys, and
/// no server runs on it.
/// `called` is how messages begin; `own` is a place in which it may lie all the same.
pub fn apart(
    world: &World,
    folder: &Path,
    called: &str,
    hint: &str,
    own: Option<&Path>,
) -> Result<PathBuf> {
    let folder = real(folder)?;
    if let Some(own) = own
        && folder.starts_with(real(own)?)
    {
        return Ok(folder);
    }
    let name = format!("{called} {}", folder.display()).trim_start().to_owned();
    if let Some(who) = (world.adapters.in_use)(&folder) {
        return Err(Error::refused(format!("{name} is in use: {who}"), hint));
    }
    for (what, place) in protected(world)? {
        let shown = place.display();
        if folder.starts_with(&place) {
            return Err(Error::refused(format!("{name} lies inside {what} {shown}"), hint));
        }
        if place.starts_with(&folder) {
            return Err(Error::refused(format!("{what} {shown} lies inside {name}"), hint));
        }
    }
    Ok(folder)
}

/// An absolute path whose existing part has no symbolic links.
fn real(path: &Path) -> Result<PathBuf> {
    let absolute = std::path::absolute(path).map_err(Error::io("resolve", path))?;
    let absolute = paths::normal(&absolute);
    let mut rest = Vec::new();
    let mut there = absolute.as_path();
    loop {
        match there.canonicalize() {
            Ok(mut found) => {
                found.extend(rest.iter().rev());
                return Ok(found);
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                match (there.file_name(), there.parent()) {
                    (Some(name), Some(parent)) => {
                        rest.push(name.to_owned());
                        there = parent;
                    }
                    _ => return Ok(absolute),
                }
            }
            Err(e) => return Err(Error::io("resolve", path)(e)),
        }
    }
}

fn empty(target: &Path) -> Result<()> {
    let hint = "name a new or empty folder";
    match fs::symlink_metadata(target) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(Error::io("look at", target)(e)),
        Ok(found) if !found.is_dir() => {
            return Err(Error::refused(format!("{} is not a folder", target.display()), hint));
        }
        Ok(_) => {}
    }
    for entry in fs::read_dir(target).map_err(Error::io("read", target))? {
        let name = entry.map_err(Error::io("read", target))?.file_name();
        // A new disk is empty.
        if name != "lost+found" {
            let text = format!("{} is not empty: it holds {}", target.display(), name.display());
            return Err(Error::refused(text, hint));
        }
    }
    Ok(())
}

/// Folders of key files; not one that holds the plan as well, for that is the application's own.
fn key_folders(world: &World) -> Result<Vec<(&'static str, PathBuf)>> {
    let key = &world.plan.key;
    let plan = real(&world.plan_folder)?;
    let mut folders = Vec::new();
    for source in [Some(key.vault()), key.identity()].into_iter().flatten() {
        let SecretSource::File(path) = source else { continue };
        let file = real(&world.plan.path(&world.plan_folder, path))?;
        let Some(folder) = file.parent() else { continue };
        if !plan.starts_with(folder) {
            folders.push(("the folder of a key", folder.to_owned()));
        }
    }
    Ok(folders)
}

/// Live data, tiers, key files and the local state.
fn protected(world: &World) -> Result<Vec<(&'static str, PathBuf)>> {
    let mut places = Vec::new();
    for component in world.plan.component.values() {
        match &component.kind {
            Kind::Sqlite(sqlite) => places.push(("the source", sqlite.path.to_string())),
            Kind::Files(files) => {
                places.extend(files.paths.iter().map(|path| ("the source", path.to_string())));
            }
            Kind::Postgres(postgres) => {
                let data = postgres.data_dir.iter();
                places.extend(data.map(|path| ("the source", path.to_string())));
            }
            Kind::Git(git) if !git.url.contains(':') => {
                places.push(("the source", git.url.to_string()));
            }
            _ => {}
        }
    }
    for tier in world.plan.tier.values() {
        if let Location::Local(path) = tier.location() {
            places.push(("tier", path.to_owned()));
        }
    }
    let key = &world.plan.key;
    for source in [Some(key.vault()), key.identity()].into_iter().flatten() {
        if let SecretSource::File(path) = source {
            places.push(("the key file", path.to_string()));
        }
    }
    let mut protected = Vec::new();
    for (what, written) in places {
        protected.push((what, real(&world.plan.path(&world.plan_folder, &written))?));
    }
    if let Some(folder) = world.tier.place.folder() {
        protected.push(("tier", real(&folder)?));
    }
    protected.extend(key_folders(world)?);
    protected.push(("the state folder", real(world.state.folder())?));
    Ok(protected)
}
