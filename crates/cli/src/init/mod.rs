//! `lifeboat init`: looks at a folder, writes a plan and a key, says what to do next. Overwrites
//! nothing: a plan that is there stays, a key that is there is used.

mod compose;
mod discover;
mod tables;

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use lifeboat_model::exit::Exit;
use lifeboat_model::plan::{Plan, paths};
use serde::Serialize;

use crate::args::Init;
use crate::fault::{Fault, Outcome};
use crate::key;
use crate::plan_file::named_in_text;
use crate::screen::{Reply, Screen};
use compose::{Frame, Part, PartKind};

const STATE: &str = ".lifeboat";
const KEY: &str = ".lifeboat/vault.key";
const SCHEMA: &str = ".lifeboat/lifeboat.schema.json";

/// What was done. Schema `lifeboat/init`.
#[derive(Debug, Serialize)]
struct Report {
    plan: PathBuf,
    key: PathBuf,
    key_existed: bool,
    tier: PathBuf,
    dry_run: bool,
    moved_aside: Option<PathBuf>,
    components: Vec<Listed>,
    /// What would be protected, and whose name cannot stand in a plan.
    left_out: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
}

#[derive(Debug, Serialize)]
struct Listed {
    name: String,
    kind: &'static str,
    paths: Vec<String>,
}

/// `lifeboat init [DIR]`
pub fn init(args: &Init, plan_name: &Path, screen: &Screen) -> Outcome<Reply> {
    let folder = fs::canonicalize(&args.dir).map_err(|error| {
        let fault =
            Fault::caused(Exit::NotFound, format!("cannot look at {}", args.dir.display()), &error);
        fault.hint("name the folder of the application")
    })?;
    named_in_text(&folder)?;
    let plan_path = folder.join(plan_name);
    if plan_path.parent() != Some(folder.as_path()) {
        return Err(Fault::usage(format!(
            "`init` writes the plan into the folder that it looks at, not to {}",
            plan_path.display()
        ))
        .hint("leave `--plan` and LIFEBOAT_PLAN out, or give a file name alone"));
    }
    let exists = plan_path.symlink_metadata().is_ok();
    if exists && !args.force {
        return Err(Fault::refused(format!("there is a plan at {} already", plan_path.display()))
            .hint("`--force` moves it aside and writes a new one; `--dry-run` only shows it"));
    }
    let tier = tier(args, &folder)?;
    let (parts, left_out) = look(&folder, &plan_path, &tier.1, screen)?;
    let text = compose_checked(&folder, &plan_path, &tier.0, &parts)?;
    let mut report = Report {
        key: folder.join(KEY),
        key_existed: folder.join(KEY).symlink_metadata().is_ok(),
        plan: plan_path,
        tier: tier.1,
        dry_run: args.dry_run,
        moved_aside: None,
        components: parts.iter().map(listed).collect(),
        left_out,
        text: args.dry_run.then(|| text.clone()),
    };
    let exit = if report.left_out.is_empty() { Exit::Done } else { Exit::Problems };
    if args.dry_run {
        return Reply::new(exit, "init", &report, text);
    }
    if exists {
        report.moved_aside = Some(move_aside(&report.plan)?);
    }
    write(&folder, &report, &text)?;
    warn_of_tier(&folder, &report.tier, screen);
    let words = next_steps(&report, screen);
    Reply::new(exit, "init", &report, words)
}

/// The tier as written and as a path: as asked for, else beside the folder.
fn tier(args: &Init, folder: &Path) -> Outcome<(String, PathBuf)> {
    if let Some(path) = &args.tier {
        let written = path.to_str().ok_or_else(|| Fault::usage("the tier's path is not text"))?;
        // What was typed is relative to where it was typed, what is written to the plan's folder.
        let absolute = std::path::absolute(path)
            .map_err(|error| Fault::caused(Exit::Usage, "the tier's path is unusable", &error))?;
        let absolute = paths::normal(&absolute);
        let same = paths::resolve(folder, written) == absolute;
        let text = if same { written.to_owned() } else { absolute.display().to_string() };
        return Ok((text, absolute));
    }
    let name = folder.file_name().map_or_else(|| "root".into(), |n| n.to_string_lossy());
    let beside = format!("../{name}-backups");
    let path = paths::resolve(folder, &beside);
    match folder.parent() {
        Some(_) => Ok((beside, path)),
        None => Ok(("/var/backups/lifeboat".into(), "/var/backups/lifeboat".into())),
    }
}

/// The components to protect, and what is left out of the plan.
fn look(
    folder: &Path,
    plan: &Path,
    tier: &Path,
    screen: &Screen,
) -> Outcome<(Vec<Part>, Vec<String>)> {
    let skip = [tier.to_path_buf(), folder.join(STATE), plan.to_path_buf()];
    let found = discover::discover(folder, &skip).map_err(|error| {
        Fault::caused(Exit::Failed, format!("cannot look at {}", folder.display()), &error)
    })?;
    for note in &found.notes {
        screen.note(format!("note: {note}"));
    }
    let left_out: Vec<String> =
        found.unnamed.iter().map(|path| path.display().to_string()).collect();
    for path in &left_out {
        screen.note(format!(
            "warning: {path} is left out of the plan and not protected: its name is not UTF-8, and \
             a plan (TOML) holds no other; rename it, or name a folder above it in a files \
             component"
        ));
    }
    let name = plan.file_name().unwrap_or_default().to_string_lossy();
    let mut parts = compose::parts(&found, &name);
    for part in &mut parts {
        if let PartKind::Sqlite { path, table } = &mut part.kind {
            *table = tables::fullest(&folder.join(path));
        }
    }
    if parts.is_empty() {
        return Err(Fault::new(
            Exit::NotFound,
            format!("found nothing to protect in {}", folder.display()),
        )
        .hint("name the folder of the application: `lifeboat init DIR`"));
    }
    Ok((parts, left_out))
}

/// The plan's text, proven to parse before anything is written.
fn compose_checked(folder: &Path, plan: &Path, tier: &str, parts: &[Part]) -> Outcome<String> {
    let name = folder.file_name().map_or_else(|| "this machine".into(), |n| n.to_string_lossy());
    let frame = Frame { name: &name, tier, key: KEY, schema: SCHEMA };
    let text = compose::compose(&frame, parts);
    let shown = plan.display().to_string();
    Plan::parse(&[(&shown, &text)]).map_err(|errors| {
        Fault::caused(Exit::Failed, "a plan for this folder cannot be written", &errors.0[0])
            .hint("write it by hand: `lifeboat schema` lists every key")
    })?;
    Ok(text)
}

/// Key first, plan last: a plan that is there is complete.
fn write(folder: &Path, report: &Report, text: &str) -> Outcome<()> {
    let state = folder.join(STATE);
    if !state.is_dir() {
        fs::DirBuilder::new().mode(0o700).create(&state).map_err(|e| cannot(&state, &e))?;
    }
    if !report.key_existed {
        let mut line = key::generate()?;
        line.push('\n');
        create(&report.key, line.as_bytes(), 0o600)?;
    }
    let schema = folder.join(SCHEMA);
    fs::write(&schema, crate::commands::manuals::schema_text()).map_err(|e| cannot(&schema, &e))?;
    ignore(folder)?;
    create(&report.plan, text.as_bytes(), 0o644)
}

/// Makes a file that must not exist, durably.
fn create(path: &Path, content: &[u8], mode: u32) -> Outcome<()> {
    let result = OpenOptions::new().write(true).create_new(true).mode(mode).open(path);
    result
        .and_then(|mut file| file.write_all(content).and_then(|()| file.sync_all()))
        .map_err(|error| cannot(path, &error))
}

/// Local state and key stay out of version control.
fn ignore(folder: &Path) -> Outcome<()> {
    let path = folder.join(".gitignore");
    let Ok(text) = fs::read_to_string(&path) else { return Ok(()) };
    let known = ["/.lifeboat/", ".lifeboat/", "/.lifeboat", ".lifeboat"];
    if text.lines().any(|line| known.contains(&line.trim())) {
        return Ok(());
    }
    let gap = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
    OpenOptions::new()
        .append(true)
        .open(&path)
        .and_then(|mut file| file.write_all(format!("{gap}/.lifeboat/\n").as_bytes()))
        .map_err(|error| cannot(&path, &error))
}

/// Renames the plan to the first free `NAME.1`, `NAME.2` …
fn move_aside(plan: &Path) -> Outcome<PathBuf> {
    for number in 1..1000 {
        let mut name = plan.as_os_str().to_owned();
        name.push(format!(".{number}"));
        let aside = PathBuf::from(name);
        // A hard link fails where a rename would overwrite.
        match fs::hard_link(plan, &aside) {
            Ok(()) => {
                fs::remove_file(plan).map_err(|error| cannot(plan, &error))?;
                return Ok(aside);
            }
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(cannot(&aside, &error)),
        }
    }
    Err(Fault::refused(format!("there are too many old plans beside {}", plan.display())))
}

/// A tier on the data's own disk is worth a word.
fn warn_of_tier(folder: &Path, tier: &Path, screen: &Screen) {
    let device = |path: &Path| {
        path.ancestors().find_map(|above| fs::metadata(above).ok()).map(|meta| meta.dev())
    };
    if device(folder).is_some() && device(folder) == device(tier) {
        screen.note(format!(
            "note: the tier {} lies on the same disk as the data: good against mistakes, not \
             against a lost disk",
            tier.display()
        ));
    }
}

fn listed(part: &Part) -> Listed {
    let (kind, paths) = match &part.kind {
        PartKind::Sqlite { path, .. } => ("sqlite", vec![path.clone()]),
        PartKind::Files { paths, .. } => ("files", paths.clone()),
    };
    Listed { name: part.name.clone(), kind, paths }
}

fn next_steps(report: &Report, screen: &Screen) -> String {
    let mut grid = screen.table(&["component", "kind", "paths"]);
    for part in &report.components {
        grid.row(&[
            (part.name.as_str(), crate::screen::Look::Name),
            (part.kind, crate::screen::Look::Plain),
            (&part.paths.join(" "), crate::screen::Look::Plain),
        ]);
    }
    let aside = report
        .moved_aside
        .as_ref()
        .map_or_else(String::new, |path| format!("the former plan is {}\n", path.display()));
    let key = if report.key_existed { "uses the key" } else { "made the key" };
    format!(
        "{}\nwrote {}\n{key} {}\n{aside}\n{}\n\n\
         Next:\n  lifeboat backup      take the first snapshots\n  \
         lifeboat verify      prove them\n  lifeboat drill run   rehearse a restore, timed\n",
        grid.text(),
        report.plan.display(),
        report.key.display(),
        screen.bold(
            "Copy the key to another place now. Without it no backup can be read, by anybody."
        )
    )
}

fn cannot(path: &Path, error: &std::io::Error) -> Fault {
    Fault::caused(Exit::Failed, format!("cannot write {}", path.display()), error)
}
