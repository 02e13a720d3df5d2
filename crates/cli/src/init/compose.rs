//! Writes the text of a plan for what was found.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::{Path, PathBuf};

use super::discover::Found;
use super::tables::identifier;

/// What the plan needs to know besides the findings.
#[derive(Debug)]
pub struct Frame<'a> {
    /// Name of what is protected.
    pub name: &'a str,
    /// The tier's address as written.
    pub tier: &'a str,
    /// The key file as written.
    pub key: &'a str,
    /// The schema file as written.
    pub schema: &'a str,
}

/// A component that the plan gets.
#[derive(Debug, PartialEq, Eq)]
pub struct Part {
    /// Its name.
    pub name: String,
    /// What it captures.
    pub kind: PartKind,
}

/// What a component captures.
#[derive(Debug, PartialEq, Eq)]
pub enum PartKind {
    /// A database file, and the table that must not be empty after a restore.
    Sqlite {
        /// Path.
        path: String,
        /// Table, if one could be told.
        table: Option<String>,
    },
    /// Files and folders, and what is left out.
    Files {
        /// Paths.
        paths: Vec<String>,
        /// Patterns.
        exclude: Vec<String>,
    },
}

/// Components for what was found: a database each, then media, then configuration with the plan
/// itself. Where nothing was recognised, everything else.
pub fn parts(found: &Found, plan: &str) -> Vec<Part> {
    let mut names = BTreeSet::new();
    let mut parts: Vec<Part> = Vec::new();
    for path in &found.databases {
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        let name = unique(&mut names, &stem);
        parts.push(Part { name, kind: PartKind::Sqlite { path: text(path), table: None } });
    }
    if !found.media.is_empty() {
        parts.push(files(&mut names, "media", &found.media, found));
    }
    if parts.is_empty() && !found.rest.is_empty() {
        parts.push(files(&mut names, "files", &found.rest, found));
    }
    if parts.is_empty() && found.config.is_empty() {
        return parts;
    }
    let mut config = found.config.clone();
    if !config.iter().any(|path| path == Path::new(plan)) {
        config.push(PathBuf::from(plan));
    }
    parts.push(files(&mut names, "config", &config, found));
    parts
}

/// A files component; databases inside its folders are left to their own components.
fn files(names: &mut BTreeSet<String>, name: &str, paths: &[PathBuf], found: &Found) -> Part {
    let mut exclude = Vec::new();
    for database in &found.databases {
        if let Some(root) = paths.iter().find(|root| database.starts_with(root)) {
            let below = database.strip_prefix(root).unwrap_or(database);
            let name = below.file_name().unwrap_or_default().to_string_lossy();
            exclude.push(pattern(&name));
            exclude.push(format!("{}-*", pattern(&name)));
        }
    }
    exclude.dedup();
    let paths = paths.iter().map(|path| text(path)).collect();
    Part { name: unique(names, name), kind: PartKind::Files { paths, exclude } }
}

/// A file name as a gitignore pattern that matches only itself.
fn pattern(name: &str) -> String {
    let mut out = String::new();
    for letter in name.chars() {
        if matches!(letter, '*' | '?' | '[' | ']' | '\\' | '!' | '#' | ' ') {
            out.push('\\');
        }
        out.push(letter);
    }
    out
}

fn unique(names: &mut BTreeSet<String>, wanted: &str) -> String {
    let mut base: String = wanted
        .to_lowercase()
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .collect();
    base = base.trim_matches('-').to_owned();
    if base.is_empty() {
        base = "component".into();
    }
    let mut name = base.clone();
    for number in 2.. {
        if names.insert(name.clone()) {
            break;
        }
        name = format!("{base}-{number}");
    }
    name
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// The plan's text.
pub fn compose(frame: &Frame<'_>, parts: &[Part]) -> String {
    let mut out = format!(
        "#:schema {}\n\
         # What must survive, how fast it must be back, and how much may be lost.\n\
         # `lifeboat lint` checks this file, `lifeboat schema` lists every key that it may hold.\n\n\
         [plan]\n\
         name = {}\n\
         rto = \"4h\"   # longest time until everything is back\n\
         rpo = \"1d\"   # most work, in time, that may be lost\n\
         # compression = \"best\"   # fast, default or best: the smaller, the slower\n\n\
         [key]\n\
         # Encrypts all that is stored. Without it nobody reads a copy, you included: keep a second\n\
         # copy of this file away from this machine, in a password manager or on paper.\n\
         vault_file = {}\n",
        frame.schema,
        quoted(frame.name),
        quoted(frame.key)
    );
    classes(&mut out, parts);
    for part in parts {
        component(&mut out, part);
    }
    let _ = write!(
        out,
        "\n# Where copies live. A folder on the same disk helps against mistakes, not against a lost\n\
         # machine: give a path on another disk as soon as there is one.\n\
         [tier.local]\n\
         url = {}\n\n\
         # When backups run (cron, UTC) and how long their snapshots are kept, per tier.\n\
         [schedule.hourly]\n\
         components = [\"*\"]\n\
         cron = \"0 * * * *\"\n\
         keep = {{ local = {{ hourly = \"2d\", daily = \"30d\", weekly = \"26w\" }} }}\n\n\
         # A rehearsal: restores everything into a sandbox, asks the checks, measures RTO and RPO.\n\
         [drill.weekly]\n\
         components = [\"*\"]\n\
         cron = \"0 4 * * 1\"\n",
        quoted(frame.tier)
    );
    out
}

/// Only classes that a component uses.
fn classes(out: &mut String, parts: &[Part]) {
    let has = |sqlite: bool| {
        parts.iter().any(|part| matches!(part.kind, PartKind::Sqlite { .. }) == sqlite)
    };
    out.push_str("\n# Groups of components: recovered in this order, with these objectives.\n");
    if has(true) {
        out.push_str("[class.critical]\norder = 1\nrto = \"1h\"\nrpo = \"2h\"\n");
    }
    if has(false) {
        let gap = if has(true) { "\n" } else { "" };
        let _ = write!(out, "{gap}[class.important]\norder = 2\nrto = \"2h\"\nrpo = \"6h\"\n");
    }
}

fn component(out: &mut String, part: &Part) {
    match &part.kind {
        PartKind::Sqlite { path, table } => {
            let (mark, table) = table.as_deref().map_or(("# ", "your_table"), |name| ("", name));
            let query = format!("select count(*) from {}", identifier(table));
            let _ = write!(
                out,
                "\n[component.{}]\n\
                 class = \"critical\"\n\
                 sqlite = {{ path = {} }}\n\
                 # Questions that each restored copy must answer:\n\
                 {mark}checks = [{{ name = {}, query = {}, min = 1 }}]\n\
                 # Commands for `restore --in-place`:\n\
                 # stop = \"systemctl stop your-service\"\n\
                 # start = \"systemctl start your-service\"\n",
                part.name,
                quoted(path),
                quoted(&format!("{table} present")),
                quoted(&query)
            );
        }
        PartKind::Files { paths, exclude } => {
            let exclude = if exclude.is_empty() {
                String::new()
            } else {
                format!(", exclude = {}", list(exclude))
            };
            let _ = write!(
                out,
                "\n[component.{}]\nclass = \"important\"\nfiles = {{ paths = {}{exclude} }}\n",
                part.name,
                list(paths)
            );
        }
    }
}

fn list(items: &[String]) -> String {
    let items: Vec<String> = items.iter().map(|item| quoted(item)).collect();
    format!("[{}]", items.join(", "))
}

/// A TOML basic string.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for letter in text.chars() {
        match letter {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            control if (control as u32) < 0x20 || control as u32 == 0x7f => {
                let _ = write!(out, "\\u{:04X}", control as u32);
            }
            other => out.push(other),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn databases_inside_media_are_not_captured_twice() {
        let found = Found {
            databases: vec!["media/index.db".into(), "data/index.db".into()],
            media: vec!["media".into()],
            ..Found::default()
        };
        let parts = parts(&found, "lifeboat.toml");
        let names: Vec<&str> = parts.iter().map(|part| part.name.as_str()).collect();
        assert_eq!(names, ["index", "index-2", "media", "config"]);
        let PartKind::Files { exclude, .. } = &parts[2].kind else { panic!("media is files") };
        assert_eq!(exclude, &["index.db", "index.db-*"]);
    }

    #[test]
    fn an_empty_folder_gives_nothing() {
        assert!(parts(&Found::default(), "lifeboat.toml").is_empty());
    }

    #[test]
    fn odd_names_stay_inside_their_quotes() {
        assert_eq!(quoted("a\"b\\c\n"), "\"a\\\"b\\\\c\\u000A\"");
        assert_eq!(unique(&mut BTreeSet::new(), "Übung 1"), "bung-1");
    }
}
