//! `export`: a component as a plain file, or the list of backups.

use std::path::{Path, PathBuf};

use lifeboat_model::artefact::{Template, WORDS};
use lifeboat_model::exit::Exit;
use lifeboat_recovery::flows::{self, ExportRequest, ExportTo};

use super::kit::absolute;
use super::restore::point;
use crate::args::Export;
use crate::fault::{Fault, Outcome};
use crate::hands::{Hands, Wired};
use crate::render;
use crate::screen::Reply;
use crate::wire;

/// The list's file (EDO-52).
const METADATA: &str = "backup_metadata.json";
/// Folders of a tier that no artefact may stand in.
const OWN: [&str; 4] = ["vault", "journal", "ledger", "plan"];

/// `lifeboat export COMPONENT --as TEMPLATE`, `lifeboat export --catalog`
pub fn export(args: &Export, hands: &Hands<'_>) -> Outcome<Reply> {
    match (&args.component, args.catalog) {
        (Some(component), _) => artefact(component, args, hands),
        (None, _) => metadata(args, hands),
    }
}

fn artefact(component: &str, args: &Export, hands: &Hands<'_>) -> Outcome<Reply> {
    let wired = hands.open()?.in_tier(args.place.tier.as_deref())?;
    let text = args.name.as_deref().unwrap_or("backup_{type}_{TS}.{ext}");
    let template = Template::parse(text).map_err(|error| {
        let words: Vec<String> = WORDS.iter().map(|(word, _)| format!("{{{word}}}")).collect();
        Fault::caused(Exit::Usage, "`--as` gives no name", &error)
            .hint(format!("its words are {}", words.join(" ")))
    })?;
    let scratch =
        tempfile::Builder::new().prefix("lifeboat-export-").tempdir().map_err(|error| {
            Fault::caused(Exit::Failed, "there is no folder to work in", &error)
                .hint("name one with room in TMPDIR")
        })?;
    let request = ExportRequest {
        component: component.to_owned(),
        at: point(args.at.as_deref(), hands)?,
        template,
        gzip: args.gzip,
        to: target(&args.to, text, &wired, hands)?,
        scratch: scratch.path().to_path_buf(),
    };
    let report = match args.dry_run {
        true => flows::plan_export(&wired.world, &request),
        false => flows::export(&wired.world, &request),
    };
    wired.progress.clear();
    let report = report?;
    let words = render::export(&report, hands.screen);
    let name = if args.dry_run { "export-recipe" } else { "export" };
    Reply::new(report.exit(), name, &report, words)
}

/// A folder, or a place in a bucket of one of the plan's tiers.
fn target(to: &str, name: &str, wired: &Wired, hands: &Hands<'_>) -> Outcome<ExportTo> {
    let file = to.strip_prefix("file://").unwrap_or(to);
    if file.contains("://") {
        let (store, inside) = wire::export_store(hands, &wired.file, to, name)?;
        inside.as_deref().map_or(Ok(()), outside)?;
        return Ok(ExportTo::Store(store, to.trim_end_matches('/').to_owned()));
    }
    let folder = absolute(Path::new(file))?;
    for tier in &wired.world.tiers {
        let inside =
            tier.place.folder().and_then(|own| Some(folder.strip_prefix(own).ok()?.join(name)));
        inside.as_deref().map_or(Ok(()), outside)?;
    }
    Ok(ExportTo::Folder(folder))
}

/// What lies in a tier is the tier's: an artefact stands beside it.
fn outside(below: &Path) -> Outcome<()> {
    let first = below.components().next().map(|part| part.as_os_str().to_owned());
    match first.filter(|first| OWN.iter().any(|own| first == own)) {
        Some(first) => {
            let first = first.to_string_lossy();
            Err(Fault::refused(format!("{first}/ of a tier holds nothing but its own objects"))
                .hint("name another folder with `--to`"))
        }
        None => Ok(()),
    }
}

/// The list is made anew each time: over one that this command wrote, over nothing else.
fn metadata(args: &Export, hands: &Hands<'_>) -> Outcome<Reply> {
    let wired = hands.open()?;
    let path = place_of_list(&args.to)?;
    ours_or_free(&path)?;
    let report = flows::backup_metadata(&wired.world)?;
    wired.progress.clear();
    let failed =
        |error: &dyn std::error::Error| format!("cannot write {}: {error}", path.display());
    let body = serde_json::to_vec_pretty(&report)
        .map_err(|error| Fault::new(Exit::Failed, failed(&error)))?;
    if !args.dry_run {
        let folder = path.parent().unwrap_or(Path::new("/"));
        std::fs::create_dir_all(folder)
            .map_err(|error| Fault::caused(Exit::Failed, "cannot make the folder", &error))?;
        lifeboat_recovery::state::replace(&path, &body)
            .map_err(|error| Fault::from_error(Exit::Failed, &error))?;
    }
    let words = render::metadata(&report, &path, args.dry_run, hands.screen);
    let name = if args.dry_run { "backup-metadata-recipe" } else { "backup-metadata" };
    Reply::new(report.exit(), name, &report, words)
}

fn place_of_list(to: &str) -> Outcome<PathBuf> {
    let file = to.strip_prefix("file://").unwrap_or(to);
    if file.contains("://") {
        return Err(Fault::usage(
            "the list of backups is made anew each time, which no bucket allows",
        )
        .hint("`--to DIR`"));
    }
    Ok(absolute(Path::new(file))?.join(METADATA))
}

fn ours_or_free(path: &Path) -> Outcome<()> {
    let body = match std::fs::read(path) {
        Ok(body) => body,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        // Whose it is cannot be seen.
        Err(_) => Vec::new(),
    };
    let document: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
    match document["schema"] == "lifeboat/backup-metadata" {
        true => Ok(()),
        false => Err(Fault::refused(format!("{} is somebody else's", path.display()))
            .hint("move it away, or name another folder with `--to DIR`")),
    }
}
