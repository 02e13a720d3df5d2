//! The backup recipe: which components, from where to which place in the snapshot's tree.

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{RecipeError, TierChoice, choose_components, choose_tier, near};
use crate::chain::PlanRef;
use crate::duration::Duration;
use crate::manifest;
use crate::plan::{Compression, Files, Kind, Plan, Postgres, Sqlite, paths};

/// What a backup is asked to do.
#[derive(Debug, Clone, Default)]
pub struct BackupRequest {
    /// Id that all snapshots of this run share.
    pub run: String,
    /// Components; none means all, or those of the schedule.
    pub components: Vec<String>,
    /// The schedule on whose behalf it runs.
    pub schedule: Option<String>,
    /// The tier; the one to which backups go if not given.
    pub tier: Option<String>,
}

/// What a backup will do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BackupRecipe {
    /// Id that all snapshots of this run share.
    pub run: String,
    /// The plan in force.
    pub plan: PlanRef,
    /// Where the snapshots go.
    pub tier: TierChoice,
    /// How much work goes into making data smaller.
    #[serde(default)]
    pub compression: Compression,
    /// Components, in the order of recovery.
    pub items: Vec<BackupItem>,
    /// Components that were asked for and cannot be backed up by this version.
    pub left_out: Vec<LeftOut>,
}

/// One component of a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BackupItem {
    /// Its name.
    pub component: String,
    /// `sqlite`, `files` or `postgres`.
    pub kind: String,
    /// What is captured, and where it stands in the snapshot's tree.
    pub roots: Vec<CaptureRoot>,
    /// Tags of the snapshot.
    pub tags: Vec<String>,
    /// What is left out, by the rules of gitignore.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exclude: Vec<String>,
    /// If given, only what matches is captured.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub include: Vec<String>,
    /// Do not cross into other file systems.
    #[serde(default)]
    pub one_file_system: bool,
    /// Longest time for which a database's writers may be held up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_block: Option<Duration>,
    /// `table.column` of the newest change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub newest: Option<String>,
}

/// One captured root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CaptureRoot {
    /// Absolute path of the live data.
    pub source: PathBuf,
    /// Absolute path in the snapshot's tree.
    pub tree: PathBuf,
}

/// A component that is left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LeftOut {
    /// Its name.
    pub component: String,
    /// Why.
    pub why: String,
}

/// Computes a backup recipe. `folder` is the plan file's folder, absolute.
///
/// # Errors
/// If a name is unknown, no tier can be used, or nothing is left to do.
pub fn backup_recipe(
    plan: &Plan,
    folder: &Path,
    request: &BackupRequest,
) -> Result<BackupRecipe, RecipeError> {
    let tier = choose_tier(plan, folder, request.tier.as_deref())?;
    let mut asked = request.components.clone();
    if let Some(name) = &request.schedule {
        let schedule = plan.schedule.get(name).ok_or_else(|| RecipeError::UnknownSchedule {
            name: name.clone(),
            nearest: near(name, plan.schedule.keys()),
        })?;
        if asked.is_empty() {
            asked = schedule.components.iter().map(|name| name.to_string()).collect();
        }
    }
    let base = plan.base(folder);
    let (mut items, mut left_out) = (Vec::new(), Vec::new());
    for (name, component) in choose_components(plan, &asked)? {
        let item = match &component.kind {
            Kind::Sqlite(sqlite) => sqlite_item(name, sqlite, &base),
            Kind::Files(files) => files_item(name, files, &base)?,
            Kind::Postgres(postgres) => postgres_item(name, postgres),
            Kind::Command(_) | Kind::Git(_) => self::item(name, component.kind.key(), Vec::new()),
            other => {
                let why = format!("this version does not back up `{}`", other.key());
                left_out.push(LeftOut { component: name.to_owned(), why });
                continue;
            }
        };
        items.push(BackupItem { tags: tags(name, request), ..item });
    }
    if items.is_empty() {
        return Err(RecipeError::NothingToDo);
    }
    let compression = plan.header.compression.as_deref().copied().unwrap_or_default();
    let plan = PlanRef { name: plan.header.name.to_string(), revision: plan.revision() };
    Ok(BackupRecipe { run: request.run.clone(), plan, tier, compression, items, left_out })
}

fn tags(component: &str, request: &BackupRequest) -> Vec<String> {
    let mut tags = vec![format!("component={component}"), format!("run={}", request.run)];
    tags.extend(request.schedule.as_ref().map(|name| format!("schedule={name}")));
    tags
}

fn item(name: &str, kind: &str, roots: Vec<CaptureRoot>) -> BackupItem {
    BackupItem {
        component: name.to_owned(),
        kind: kind.to_owned(),
        roots,
        tags: Vec::new(),
        exclude: Vec::new(),
        include: Vec::new(),
        one_file_system: false,
        max_block: None,
        newest: None,
    }
}

fn sqlite_item(name: &str, sqlite: &Sqlite, base: &Path) -> BackupItem {
    let source = paths::resolve(base, sqlite.path.as_str());
    let tree = Path::new("/").join(source.file_name().unwrap_or_default());
    let newest = sqlite.newest.as_ref().map(|newest| newest.to_string());
    BackupItem {
        max_block: Some(sqlite.max_block()),
        newest,
        ..item(name, "sqlite", vec![CaptureRoot { source, tree }])
    }
}

/// A server has no path of its own here: its snapshot's tree is told by the capture.
fn postgres_item(name: &str, postgres: &Postgres) -> BackupItem {
    let newest = postgres.newest.as_ref().map(|newest| newest.to_string());
    let max_block = postgres.fingerprint.as_ref().map(|_| postgres.max_block());
    BackupItem { max_block, newest, ..item(name, "postgres", Vec::new()) }
}

fn files_item(name: &str, files: &Files, base: &Path) -> Result<BackupItem, RecipeError> {
    let roots = files_roots(files, base)
        .map_err(|what| RecipeError::Tree { component: name.to_owned(), what })?;
    let texts = |list: &[crate::span::At<String>]| list.iter().map(|t| t.to_string()).collect();
    Ok(BackupItem {
        exclude: texts(&files.exclude),
        include: texts(&files.include),
        one_file_system: files.one_file_system,
        ..item(name, "files", roots)
    })
}

/// Where each path of a files component stands in the snapshot, or what stands in the way.
///
/// # Errors
/// A clause: two paths at one place, or one at the manifest's.
pub(crate) fn files_roots(files: &Files, base: &Path) -> Result<Vec<CaptureRoot>, String> {
    let mut roots: Vec<CaptureRoot> = Vec::new();
    for written in files.paths.iter() {
        let source = paths::resolve(base, written.as_str());
        let tree = paths::tree_path(base, &source);
        if tree == Path::new("/").join(manifest::NAME) {
            return Err(format!("`{written}` would stand at `/{}`", manifest::NAME));
        }
        if let Some(other) = roots.iter().find(|root| root.source != source && root.tree == tree) {
            let (a, b) = (other.source.display(), source.display());
            return Err(format!("`{a}` and `{b}` would both stand at `{}`", tree.display()));
        }
        let within = |root: &CaptureRoot| paths::contains(&root.source, &source);
        if roots.iter().any(within) {
            continue; // Captured already, as a part of another path.
        }
        roots.retain(|root| !paths::contains(&source, &root.source));
        roots.push(CaptureRoot { source, tree });
    }
    Ok(roots)
}

impl std::fmt::Display for BackupRecipe {
    /// For `--dry-run`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "back up to tier {} ({})", self.tier.name, self.tier.path)?;
        for item in &self.items {
            writeln!(f, "  {} ({})", item.component, item.kind)?;
            for root in &item.roots {
                writeln!(f, "    {} as {}", root.source.display(), root.tree.display())?;
            }
            if !item.include.is_empty() {
                writeln!(f, "    only {}", item.include.join(", "))?;
            }
            if !item.exclude.is_empty() {
                writeln!(f, "    without {}", item.exclude.join(", "))?;
            }
        }
        for left in &self.left_out {
            writeln!(f, "  {} is left out: {}", left.component, left.why)?;
        }
        Ok(())
    }
}
