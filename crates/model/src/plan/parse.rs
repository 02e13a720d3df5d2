//! Texts in, plan out.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::{PlanError, PlanErrors};
use super::read::{Map, Read, Reader, describe};
use super::{Header, Key, Plan};
use crate::plan::error::suggest;
use crate::span::{At, Span};

/// Top-level tables with named entries.
const NAMED: &[&str] = &[
    "class",
    "component",
    "tier",
    "schedule",
    "scenario",
    "drill",
    "detector",
    "contact",
    "vendor",
    "escalation",
    "channel",
    "alert",
    "template",
    "prevention",
    "price",
];
/// The others.
const SINGLE: &[&str] = &["plan", "key", "include"];
/// How the sentence about a repeated name ends.
const TWICE: &str = " is given twice";
/// How the sentence about broken text begins.
const NOT_TOML: &str = "not TOML: ";
/// A plan longer than this is a mistake, not a plan.
const LONGEST: usize = 4 << 20;

impl Plan {
    /// Reads a plan from its texts, each with its name: the plan file first, then what it includes.
    /// Entries of all texts are merged; the same entry in two of them is an error.
    ///
    /// # Errors
    /// All that is wrong, in the order of the texts.
    pub fn parse(texts: &[(&str, &str)]) -> Result<Plan, PlanErrors> {
        let mut reader = Reader::default();
        let documents: Vec<Spanned<DeTable<'_>>> = (0..)
            .zip(texts)
            .filter_map(|(source, (_, text))| document(source, text, &mut reader))
            .collect();
        if reader.errors.iter().any(|error| error.message.starts_with(NOT_TOML)) {
            // What could be recovered from broken text only adds noise.
            reader.errors.retain(|error| error.message.starts_with(NOT_TOML));
            return Err(PlanErrors(reader.errors));
        }
        let merged = Merged { documents: &documents };
        for (source, document) in merged.each() {
            reader.source = source;
            unknown_tables(document, &mut reader);
        }
        let plan = merged.plan(&mut reader);
        let mut errors = reader.errors;
        errors.sort_by_key(|error| error.span);
        match plan {
            Some(plan) if errors.is_empty() => Ok(plan),
            _ => {
                if errors.is_empty() {
                    errors.push(PlanError::new(Span::default(), "there is no plan to read"));
                }
                Err(PlanErrors(errors))
            }
        }
    }

    /// The files that a text includes, as written, with their places.
    ///
    /// # Errors
    /// If the text is no TOML or `include` is no list of texts.
    pub fn includes(source: usize, text: &str) -> Result<Vec<At<String>>, PlanErrors> {
        let mut reader = Reader::default();
        let list = document(source, text, &mut reader).and_then(|document| {
            let Some(node) = document.get_ref().get("include") else { return Some(Vec::new()) };
            Vec::<At<String>>::read(node, &mut reader)
        });
        match list {
            Some(list) if reader.errors.is_empty() => Ok(list),
            _ => Err(PlanErrors(reader.errors)),
        }
    }
}

/// The document of one text; what is not TOML is reported.
fn document<'a>(source: usize, text: &'a str, reader: &mut Reader) -> Option<Spanned<DeTable<'a>>> {
    reader.source = source;
    if text.len() > LONGEST {
        reader.error(Span::new(source, 0..0), "the plan is longer than 4 MiB");
        return Some(Spanned::new(0..0, DeTable::new()));
    }
    let (table, errors) = DeTable::parse_recoverable(text);
    let mut twice_from = None;
    for error in errors {
        let span = reader.span(error.span().unwrap_or(0..0));
        let error = syntax(span, &error, text);
        // A table given twice has its keys twice: one error is enough.
        let table = header_before(text, span.start);
        if error.message.ends_with(TWICE) {
            if twice_from.is_some() && twice_from == table {
                continue;
            }
            if table.as_ref().is_some_and(|header| header.contains(&span.start)) {
                twice_from = table;
            }
        }
        reader.errors.push(error);
    }
    Some(table)
}

/// The bytes of the last table header that begins at or before `at`.
fn header_before(text: &str, at: usize) -> Option<std::ops::Range<usize>> {
    let line_end = text.get(at..)?.find('\n').map_or(text.len(), |end| at + end);
    let upto = text.get(..line_end)?;
    let start = match upto.rfind("\n[") {
        Some(newline) => newline + 1,
        None if upto.starts_with('[') => 0,
        None => return None,
    };
    let length = upto[start..].find('\n').unwrap_or(upto.len() - start);
    Some(start..start + length)
}

/// The TOML parser's words, made a sentence of ours.
fn syntax(span: Span, error: &toml::de::Error, text: &str) -> PlanError {
    let message = error.message().lines().next().unwrap_or_default().trim_end_matches('.');
    if message.starts_with("duplicate key") {
        let name = text.get(span.range()).unwrap_or_default();
        return PlanError::new(span, format!("`{name}`{TWICE}"))
            .help("a name can stand only once: rename one or remove it");
    }
    PlanError::new(span, format!("{NOT_TOML}{message}"))
}

fn unknown_tables(document: &DeTable<'_>, reader: &mut Reader) {
    for name in document.keys() {
        let key: &str = name.get_ref();
        if !NAMED.contains(&key) && !SINGLE.contains(&key) {
            let known = SINGLE.iter().chain(NAMED).copied();
            let help = suggest(key, "known tables", known);
            let span = reader.span(name.span());
            reader.error_with(span, format!("unknown table `{key}`"), help);
        }
    }
}

/// All documents of a plan as one.
struct Merged<'a> {
    documents: &'a [Spanned<DeTable<'a>>],
}

impl<'a> Merged<'a> {
    fn each(&self) -> impl Iterator<Item = (usize, &'a DeTable<'a>)> + use<'a> {
        (0..).zip(self.documents).map(|(source, document)| (source, document.get_ref()))
    }

    fn plan(&self, reader: &mut Reader) -> Option<Plan> {
        let include = self.includes(reader);
        let header: Option<Option<Header>> = self.single("plan", reader);
        if let Some(None) = header {
            reader.error_with(
                Span::default(),
                "the plan has no `[plan]` table",
                "begin with `[plan]` and `name = \"…\"`",
            );
        }
        let key: Option<Option<Key>> = self.single("key", reader);
        let class = self.named("class", reader);
        let component = self.named("component", reader);
        let tier = self.named("tier", reader);
        let schedule = self.named("schedule", reader);
        let scenario = self.named("scenario", reader);
        let drill = self.named("drill", reader);
        let detector = self.named("detector", reader);
        let contact = self.named("contact", reader);
        let vendor = self.named("vendor", reader);
        let escalation = self.named("escalation", reader);
        let channel = self.named("channel", reader);
        let alert = self.named("alert", reader);
        let template = self.named("template", reader);
        let prevention = self.named("prevention", reader);
        let price = self.named("price", reader);
        Some(Plan {
            include: include?,
            header: header??,
            key: key?.unwrap_or_default(),
            class: class?,
            component: component?,
            tier: tier?,
            schedule: schedule?,
            scenario: scenario?,
            drill: drill?,
            detector: detector?,
            contact: contact?,
            vendor: vendor?,
            escalation: escalation?,
            channel: channel?,
            alert: alert?,
            template: template?,
            prevention: prevention?,
            price: price?,
        })
    }

    fn includes(&self, reader: &mut Reader) -> Option<Vec<At<String>>> {
        let mut all = Vec::new();
        let mut whole = true;
        for (source, document) in self.each() {
            reader.source = source;
            let Some(node) = document.get("include") else { continue };
            match Vec::read(node, reader) {
                Some(list) => all.extend::<Vec<At<String>>>(list),
                None => whole = false,
            }
        }
        whole.then_some(all)
    }

    /// A table that stands once: `Some(None)` if it is nowhere, `None` after an error.
    fn single<T: Read>(&self, name: &'static str, reader: &mut Reader) -> Option<Option<T>> {
        let mut found: Option<(Option<T>, Span)> = None;
        for (source, document) in self.each() {
            reader.source = source;
            let Some((key, node)) = document.get_key_value(name) else { continue };
            let span = reader.span(key.span());
            if let Some((_, first)) = &found {
                let first = *first;
                let error = reader.error(span, format!("`[{name}]` is given twice"));
                error.related = Some((first, "the first one".to_owned()));
                continue;
            }
            found = Some((T::read(node, reader), span));
        }
        match found {
            Some((Some(value), _)) => Some(Some(value)),
            Some((None, _)) => None,
            None => Some(None),
        }
    }

    /// A table of named entries, from all texts.
    fn named<T: Read>(&self, name: &'static str, reader: &mut Reader) -> Option<Map<T>> {
        let mut all = Map::<T>::new();
        let mut whole = true;
        for (source, document) in self.each() {
            reader.source = source;
            let Some(node) = document.get(name) else { continue };
            if !matches!(node.as_ref(), DeValue::Table(_)) {
                let found = describe(node.as_ref());
                let span = reader.span(node.span());
                let help = format!("write `[{name}.NAME]`");
                reader.error_with(span, format!("expected named entries, found {found}"), help);
                whole = false;
                continue;
            }
            let Some(map) = Map::<T>::read(node, reader) else {
                whole = false;
                continue;
            };
            for (key, value) in map {
                if let Some(first) = all.get(&key) {
                    let (first, span) = (first.span(), value.span());
                    let error = reader.error(span, format!("{name} `{key}` is given twice"));
                    error.related = Some((first, "the first one".to_owned()));
                    continue;
                }
                all.insert(key, value);
            }
        }
        whole.then_some(all)
    }
}
