//! Small values of a plan that several tables share.

use std::borrow::Cow;

use jiff::civil::Date;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Serialize;
use toml::de::DeValue;

use crate::duration::Duration;
use crate::plan::error::suggest;
use crate::plan::read::{Fields, Node, Read, Reader, describe};
use crate::plan::scalars::integer;
use crate::schedule::{Cron, CronError};

impl Read for Cron {
    fn read(node: Node<'_>, reader: &mut Reader) -> Option<Self> {
        let text = String::read(node, reader)?;
        match text.parse::<Cron>() {
            Ok(cron) => Some(cron),
            Err(error) => {
                let error: CronError = error;
                let span = reader.span(node.span());
                reader.error_with(span, error.to_string(), error.hint());
                None
            }
        }
    }
}

/// A calendar date, `2026-01-24`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct Day(pub Date);

impl Read for Day {
    fn read(node: Node<'_>, reader: &mut Reader) -> Option<Self> {
        let text = match node.as_ref() {
            DeValue::String(text) => text.to_string(),
            DeValue::Datetime(date) => date.to_string(),
            _ => return reader.wrong_type(node, "a date such as 2026-01-24"),
        };
        match text.parse() {
            Ok(date) => Some(Day(date)),
            Err(_) => reader.wrong_type(node, "a date such as 2026-01-24"),
        }
    }
}

impl JsonSchema for Day {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Day".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "description": "A date, `2026-01-24`." })
    }
}

/// How often the plan is reviewed (`quarterly`, `90d`) or the day of the next review.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Review {
    /// Again after so long.
    Every(Duration),
    /// On that day.
    On(Day),
}

impl Read for Review {
    fn read(node: Node<'_>, reader: &mut Reader) -> Option<Self> {
        if let DeValue::Datetime(_) = node.as_ref() {
            return Day::read(node, reader).map(Review::On);
        }
        let text = String::read(node, reader)?;
        let days = match text.as_str() {
            "weekly" => Some(7),
            "monthly" => Some(31),
            "quarterly" => Some(92),
            "yearly" | "annually" => Some(366),
            _ => None,
        };
        if let Some(days) = days {
            return Some(Review::Every(Duration::from_days(days)));
        }
        if let Ok(date) = text.parse() {
            return Some(Review::On(Day(date)));
        }
        if let Ok(span) = text.parse() {
            return Some(Review::Every(span));
        }
        let help = suggest(&text, "accepted", ["weekly", "monthly", "quarterly", "yearly"]);
        let span = reader.span(node.span());
        reader.error_with(
            span,
            format!("`{text}` is no review cycle"),
            format!("{help}, a span such as `90d`, or a date"),
        );
        None
    }
}

impl JsonSchema for Review {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Review".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "`weekly`, `monthly`, `quarterly`, `yearly`, a span of time, or the \
                            date of the next review."
        })
    }
}

/// A single value to compare with: text, number or truth.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(untagged)]
#[schemars(inline)]
pub enum Scalar {
    /// A text.
    Text(String),
    /// A whole number.
    Integer(i64),
    /// A number with a fraction.
    Number(f64),
    /// True or false.
    Truth(bool),
}

impl Read for Scalar {
    fn read(node: Node<'_>, reader: &mut Reader) -> Option<Self> {
        match node.as_ref() {
            DeValue::String(text) => Some(Scalar::Text(text.to_string())),
            DeValue::Boolean(value) => Some(Scalar::Truth(*value)),
            DeValue::Float(number) => match number.as_str().parse::<f64>() {
                Ok(number) if number.is_finite() => Some(Scalar::Number(number)),
                _ => reader.wrong_type(node, "a finite number"),
            },
            other => match integer(other) {
                Some(number) => Some(Scalar::Integer(number)),
                None => reader.wrong_type(node, "a text, a number or true/false"),
            },
        }
    }
}

impl std::fmt::Display for Scalar {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Scalar::Text(text) => f.write_str(text),
            Scalar::Integer(number) => number.fmt(f),
            Scalar::Number(number) => number.fmt(f),
            Scalar::Truth(value) => value.fmt(f),
        }
    }
}

/// A part of a whole: `80%`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Percent(pub f64);

impl Read for Percent {
    fn read(node: Node<'_>, reader: &mut Reader) -> Option<Self> {
        let number = match node.as_ref() {
            DeValue::String(text) => {
                text.trim().strip_suffix('%').and_then(|n| n.trim().parse::<f64>().ok())
            }
            _ => None,
        };
        match number.filter(|n| (0.0..=100.0).contains(n)) {
            Some(number) => Some(Percent(number)),
            None => reader.wrong_type(node, "a percentage such as \"80%\""),
        }
    }
}

impl JsonSchema for Percent {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Percent".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "%\\s*$", "examples": ["80%"] })
    }
}

/// How long snapshots are kept.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(untagged)]
#[schemars(inline)]
pub enum Keep {
    /// Every snapshot for so long, `7d`, or for ever: `unlimited`.
    Simple(KeepFor),
    /// Thinned out by rules; a snapshot stays while any rule wants it.
    Rules(KeepRules),
}

/// A span, or for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum KeepFor {
    /// So long.
    For(Duration),
    /// The word `unlimited`.
    Unlimited(Unlimited),
}

/// The word `unlimited`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Unlimited {
    /// For ever.
    #[serde(rename = "unlimited")]
    Unlimited,
}

impl JsonSchema for KeepFor {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "KeepFor".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "A span of time such as `7d`, or `unlimited`.",
            "examples": ["7d", "unlimited"]
        })
    }
}

/// The rules of thinning. Each span says how far back its rule reaches.
#[derive(Debug, Clone, Default, PartialEq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields, inline)]
pub struct KeepRules {
    /// Everything for so long.
    pub all: Option<Duration>,
    /// The last one of each hour, this far back.
    pub hourly: Option<Duration>,
    /// The last one of each day (UTC), this far back.
    pub daily: Option<Duration>,
    /// The last one of each week (Monday to Sunday, UTC), this far back.
    pub weekly: Option<Duration>,
    /// The last one of each month (UTC), this far back.
    pub monthly: Option<Duration>,
    /// The last one of each year (UTC), this far back.
    pub yearly: Option<Duration>,
    /// At least so many of the newest, however old.
    pub min: Option<u32>,
    /// Never remove anything.
    #[serde(default)]
    pub unlimited: bool,
}

impl Read for Keep {
    fn read(node: Node<'_>, reader: &mut Reader) -> Option<Self> {
        match node.as_ref() {
            DeValue::Table(table) => {
                let span = reader.span(node.span());
                let mut fields = Fields::new(table, span, "retention rules");
                let all = fields.take("all", reader);
                let hourly = fields.take("hourly", reader);
                let daily = fields.take("daily", reader);
                let weekly = fields.take("weekly", reader);
                let monthly = fields.take("monthly", reader);
                let yearly = fields.take("yearly", reader);
                let min = fields.take("min", reader);
                let unlimited = fields.take("unlimited", reader);
                fields.finish(reader);
                let rules = KeepRules {
                    all: all?,
                    hourly: hourly?,
                    daily: daily?,
                    weekly: weekly?,
                    monthly: monthly?,
                    yearly: yearly?,
                    min: min?,
                    unlimited: unlimited?,
                };
                if rules == KeepRules::default() {
                    let help = "give at least one of `all`, `hourly`, `daily`, `weekly`, \
                                `monthly`, `yearly`, `min`, `unlimited`";
                    reader.error_with(span, "retention rules that keep nothing", help);
                }
                Some(Keep::Rules(rules))
            }
            DeValue::String(text) if text.trim() == "unlimited" => {
                Some(Keep::Simple(KeepFor::Unlimited(Unlimited::Unlimited)))
            }
            DeValue::String(_) | DeValue::Integer(_) => {
                Duration::read(node, reader).map(|span| Keep::Simple(KeepFor::For(span)))
            }
            other => {
                let found = describe(other);
                let span = reader.span(node.span());
                reader.error(
                    span,
                    format!("expected a span such as \"7d\" or a table of rules, found {found}"),
                );
                None
            }
        }
    }
}

impl Keep {
    /// As rules: a plain span keeps everything for so long.
    pub fn rules(&self) -> KeepRules {
        match self {
            Keep::Simple(KeepFor::For(span)) => {
                KeepRules { all: Some(*span), ..KeepRules::default() }
            }
            Keep::Simple(KeepFor::Unlimited(_)) => {
                KeepRules { unlimited: true, ..KeepRules::default() }
            }
            Keep::Rules(rules) => rules.clone(),
        }
    }
}

impl std::fmt::Display for Keep {
    /// `7d`, `unlimited`, `daily 30d, weekly 26w`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.rules().fmt(f)
    }
}

impl std::fmt::Display for KeepRules {
    /// As [`Keep`]; a span for everything stands by itself where it is the only rule.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(span) = self.all
            && *self == (KeepRules { all: self.all, ..KeepRules::default() })
        {
            return span.fmt(f);
        }
        let mut parts = Vec::new();
        for (name, span) in [
            ("all", self.all),
            ("hourly", self.hourly),
            ("daily", self.daily),
            ("weekly", self.weekly),
            ("monthly", self.monthly),
            ("yearly", self.yearly),
        ] {
            parts.extend(span.map(|span| format!("{name} {span}")));
        }
        parts.extend(self.min.map(|n| format!("at least {n}")));
        parts.extend(self.unlimited.then(|| "unlimited".to_owned()));
        f.write_str(&parts.join(", "))
    }
}
