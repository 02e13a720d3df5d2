//! Names of exported artefacts: a template with the words that the plans use, and what it comes to
//! for one snapshot (EDO-51, AUD-12, AUD-14, AUD-17, CUS-09).

use std::path::PathBuf;

use jiff::Timestamp;

use crate::plan::paths;

/// The words, with what each stands for.
pub const WORDS: [(&str, &str); 11] = [
    ("type", "full: every snapshot restores by itself"),
    ("component", "the component's name"),
    ("ext", "db, dump, tar: what it is"),
    ("id", "the first 8 digits of the snapshot's id"),
    ("TS", "20261121_020000"),
    ("YYYYMMDD_HHMMSS", "the same"),
    ("YYYYMMDD", "20261121"),
    ("HHMMSS", "020000"),
    ("YYYY", "2026"),
    ("MM", "11"),
    ("DD", "21"),
];

/// A template that was understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template(Vec<Piece>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    Word(&'static str),
}

/// What an artefact is named by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named<'a> {
    /// The component.
    pub component: &'a str,
    /// The ending, without its dot.
    pub ext: &'a str,
    /// The snapshot's id.
    pub id: &'a str,
    /// The instant that the artefact is complete up to, in UTC.
    pub time: Timestamp,
}

/// Why a text is no template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// A word that nobody knows.
    #[error("`{{{0}}}` is no word of a name")]
    Unknown(String),
    /// A brace without the other one.
    #[error("a brace of the name is not closed")]
    Open,
    /// It is empty, or leads out of the place.
    #[error("the name is empty, absolute or leads out of its folder")]
    Outside,
}

impl Template {
    /// Understands a template: a relative path, folders included.
    ///
    /// # Errors
    /// An unknown word, an open brace, a path that leads out.
    pub fn parse(text: &str) -> Result<Template, TemplateError> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            let (before, after) = rest.split_at(at);
            let inner = after.strip_prefix('{').ok_or(TemplateError::Open)?;
            let (word, tail) = inner.split_once('}').ok_or(TemplateError::Open)?;
            let known = WORDS.iter().find(|(known, _)| *known == word);
            let (known, _) = known.ok_or_else(|| TemplateError::Unknown(word.to_owned()))?;
            pieces.push(Piece::Text(before.to_owned()));
            pieces.push(Piece::Word(known));
            rest = tail;
        }
        pieces.push(Piece::Text(rest.to_owned()));
        let template = Template(pieces);
        // Words hold no slash; a component's name in a plan neither.
        let shape = template.fill(|_| "x".to_owned());
        inside(&shape).ok_or(TemplateError::Outside)?;
        Ok(template)
    }

    /// The name of one artefact, `/`-separated.
    ///
    /// # Errors
    /// [`TemplateError::Outside`] where what is filled in leads out.
    pub fn render(&self, named: &Named<'_>) -> Result<String, TemplateError> {
        let time = |form: &str| named.time.strftime(form).to_string();
        let name = self.fill(|word| match word {
            "type" => "full".to_owned(),
            "component" => named.component.to_owned(),
            "ext" => named.ext.to_owned(),
            "id" => named.id.get(..8).unwrap_or(named.id).to_owned(),
            "YYYYMMDD" => time("%Y%m%d"),
            "HHMMSS" => time("%H%M%S"),
            "YYYY" => time("%Y"),
            "MM" => time("%m"),
            "DD" => time("%d"),
            _ => time("%Y%m%d_%H%M%S"),
        });
        inside(&name).ok_or(TemplateError::Outside)
    }

    fn fill(&self, word: impl Fn(&str) -> String) -> String {
        let piece = |piece: &Piece| match piece {
            Piece::Text(text) => text.clone(),
            Piece::Word(name) => word(name),
        };
        self.0.iter().map(piece).collect()
    }
}

/// A path that stays below, with a name at its end.
fn inside(text: &str) -> Option<String> {
    let path: PathBuf = paths::inside(text)?;
    let named = path.file_name().is_some() && !text.ends_with('/');
    path.to_str().filter(|_| named).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(template: &str, ext: &str) -> Result<String, TemplateError> {
        let time = "2025-11-27T02:00:00Z".parse().expect("a time");
        let id = "0123456789abcdef";
        Template::parse(template)?.render(&Named { component: "orders", ext, id, time })
    }

    /// EDO-51, AUD-12, AUD-13, AUD-14, AUD-17, AUD-18, CUS-09.
    #[test]
    fn names_of_the_plans() {
        for (template, ext, name) in [
            ("backup_{type}_{YYYYMMDD_HHMMSS}.{ext}", "db", "backup_full_20251127_020000.db"),
            ("backup_{type}_{TS}.{ext}", "sql", "backup_full_20251127_020000.sql"),
            (
                "sqlite/{YYYY}/{MM}/{DD}/audit_history_{TS}.db.gz",
                "db",
                "sqlite/2025/11/27/audit_history_20251127_020000.db.gz",
            ),
            ("full_backup_{TS}.dump.gz", "dump", "full_backup_20251127_020000.dump.gz"),
            ("config_{TS}.tar.gz", "tar", "config_20251127_020000.tar.gz"),
            ("customer_db_backup_{TS}.sqlite", "db", "customer_db_backup_20251127_020000.sqlite"),
            ("{component}-{id}-{YYYYMMDD}-{HHMMSS}", "db", "orders-01234567-20251127-020000"),
        ] {
            assert_eq!(named(template, ext).expect(template), name);
        }
    }

    #[test]
    fn what_is_no_name_is_refused() {
        assert_eq!(named("a_{when}", "db"), Err(TemplateError::Unknown("when".into())));
        for open in ["a_{TS", "a_TS}", "{"] {
            assert_eq!(named(open, "db"), Err(TemplateError::Open), "{open}");
        }
        for outside in ["", "/etc/passwd", "../a", "a/../../b", "{YYYY}/../../x", "a/", "."] {
            // Before anything is looked at.
            assert_eq!(Template::parse(outside), Err(TemplateError::Outside), "{outside}");
        }
    }

    #[test]
    fn every_word_is_filled_in() {
        for (word, _) in WORDS {
            let name = named(&format!("x{{{word}}}"), "db").expect(word);
            assert!(!name.contains('{') && name.len() > 1, "{name}");
        }
    }
}
