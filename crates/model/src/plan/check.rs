//! Checks as the plan declares them: a question with an expected answer.

use serde::Serialize;

use crate::check::CheckResult;
use crate::duration::Duration;
use crate::plan::read::{Reader, table};
use crate::plan::value::Scalar;
use crate::span::{At, Span};
use crate::verdict::Verdict;

table! {
    /// A question asked of restored data or of a running service.
    "a check" pub struct Check {
        /// Name in reports.
        name: At<String>,
        /// SQL asked of the restored database, read-only; the first column of the first row counts.
        query: Option<At<String>>,
        /// The answer is a number of at least this.
        min: Option<At<i64>>,
        /// The answer is a number of at most this.
        max: Option<At<i64>>,
        /// The answer is exactly this.
        equals: Option<At<Scalar>>,
        /// Same as `equals`; for `http` the status.
        expect: Option<At<Scalar>>,
        /// A path inside the restored component that must exist.
        file: Option<At<String>>,
        /// Another component: each row's first column is a path that must exist in its copy.
        exists_in: Option<At<String>>,
        /// Folder inside that component under which the paths lie.
        under: Option<At<String>>,
        /// An address that must answer; for running services.
        http: Option<At<String>>,
        /// A text that the answer must contain.
        contains: Option<At<String>>,
        /// A shell command that must succeed; for running services.
        command: Option<At<String>>,
        /// Fails after so long.
        timeout: Option<At<Duration>>,
    }
    validate Check::validate;
}

/// What a check asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Question<'a> {
    /// SQL, judged by [`Check::judge`].
    Query(&'a str),
    /// SQL whose rows name paths in another component.
    RowsExistIn {
        /// The SQL.
        query: &'a str,
        /// The other component.
        component: &'a str,
        /// Folder in it; empty for its root.
        under: &'a str,
    },
    /// A path that must exist.
    File(&'a str),
    /// An address.
    Http(&'a str),
    /// A command.
    Command(&'a str),
}

impl Check {
    fn validate(&self, span: Span, reader: &mut Reader) {
        let questions = [&self.query, &self.file, &self.http, &self.command];
        let given = questions.iter().filter(|q| q.is_some()).count();
        if given != 1 {
            let message = if given == 0 {
                "a check does not ask anything"
            } else {
                "a check asks more than one question"
            };
            reader.error_with(
                span,
                message,
                "give exactly one of `query`, `file`, `http`, `command`",
            );
        }
        if let (Some(one), Some(_)) = (&self.expect, &self.equals) {
            reader.error_with(
                one.span(),
                "a check cannot have both `expect` and `equals`",
                "they mean the same",
            );
        }
        let compared = self.min.is_some()
            || self.max.is_some()
            || self.equals.is_some()
            || self.expect.is_some()
            || self.exists_in.is_some();
        if let (Some(query), false) = (&self.query, compared) {
            reader.error_with(
                query.span(),
                "a query without an expected answer proves nothing",
                "add `min`, `max`, `equals` or `exists_in`",
            );
        }
        if let (Some(min), Some(max)) = (&self.min, &self.max)
            && **min > **max
        {
            reader.error(max.span(), format!("`max` is below `min` ({max} < {min})"));
        }
        if let (Some(under), None) = (&self.under, &self.exists_in) {
            reader.error_with(under.span(), "`under` without `exists_in`", "name the component");
        }
        if let (Some(exists_in), None) = (&self.exists_in, &self.query) {
            reader.error_with(
                exists_in.span(),
                "`exists_in` without `query`",
                "the query gives the paths",
            );
        }
        for path in [&self.file, &self.under].into_iter().flatten() {
            if crate::plan::paths::inside(path).is_none() {
                reader.error_with(
                    path.span(),
                    "the path leaves the restored copy",
                    "write it relative, without `..`",
                );
            }
        }
    }

    /// What it asks. A plan that was parsed asks exactly one thing of each check.
    pub fn question(&self) -> Option<Question<'_>> {
        let text = |value: &'_ Option<At<String>>| value.is_some();
        if let Some(query) = &self.query {
            return Some(match &self.exists_in {
                Some(component) => Question::RowsExistIn {
                    query,
                    component,
                    under: self.under.as_ref().map_or("", |under| under.as_str()),
                },
                None => Question::Query(query),
            });
        }
        if text(&self.file) {
            return self.file.as_ref().map(|file| Question::File(file));
        }
        if text(&self.http) {
            return self.http.as_ref().map(|url| Question::Http(url));
        }
        self.command.as_ref().map(|command| Question::Command(command))
    }

    /// What is expected, in words.
    pub fn expectation(&self) -> String {
        let mut parts = Vec::new();
        parts.extend(self.min.as_ref().map(|min| format!("at least {min}")));
        parts.extend(self.max.as_ref().map(|max| format!("at most {max}")));
        parts.extend(self.equals.as_ref().or(self.expect.as_ref()).map(|value| value.to_string()));
        parts.extend(self.contains.as_ref().map(|text| format!("contains {:?}", text.as_str())));
        if let Some(component) = &self.exists_in {
            parts.push(format!("each path exists in {component}"));
        }
        if self.file.is_some() {
            parts.push("exists".to_owned());
        }
        if parts.is_empty() { "succeeds".to_owned() } else { parts.join(", ") }
    }

    /// Judges the first cell of a query's answer: `None` for no row, `Some(None)` for NULL.
    /// Nothing to compare fails: a checker that finds nothing to check never passes (CSO-82, X-19).
    pub fn judge(&self, answer: Option<Option<&str>>) -> CheckResult {
        let (verdict, found) = match answer {
            None => (Verdict::Fail, "no row".to_owned()),
            Some(None) => (Verdict::Fail, "NULL".to_owned()),
            Some(Some(text)) => (self.compare(text), text.to_owned()),
        };
        CheckResult::new(self.name.as_str(), verdict, self.expectation(), found)
    }

    fn compare(&self, text: &str) -> Verdict {
        let mut outcomes = Vec::new();
        let number = text.trim().parse::<f64>().ok().filter(|n| n.is_finite());
        if let Some(min) = &self.min {
            outcomes.push(number.is_some_and(|n| n >= **min as f64));
        }
        if let Some(max) = &self.max {
            outcomes.push(number.is_some_and(|n| n <= **max as f64));
        }
        if let Some(value) = self.equals.as_ref().or(self.expect.as_ref()) {
            outcomes.push(same(value, text));
        }
        if let Some(part) = &self.contains {
            outcomes.push(text.contains(part.as_str()));
        }
        Verdict::of(outcomes.into_iter().map(|ok| if ok { Verdict::Pass } else { Verdict::Fail }))
    }

    /// Judges a comparison of paths with a copy: how many were asked for, which are missing.
    /// No path at all fails, for nothing was looked at.
    pub fn judge_paths(&self, asked: u64, missing: &[String]) -> CheckResult {
        const SHOWN: usize = 5;
        let (verdict, found) = match (asked, missing) {
            (0, _) => (Verdict::Fail, "no paths to look for".to_owned()),
            (_, []) => (Verdict::Pass, format!("all {asked} exist")),
            (_, some) => {
                let names = some.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>();
                let more = some.len().saturating_sub(SHOWN);
                let tail = if more > 0 { format!(" and {more} more") } else { String::new() };
                let list = names.join(", ");
                (Verdict::Fail, format!("{} of {asked} missing: {list}{tail}", some.len()))
            }
        };
        CheckResult::new(self.name.as_str(), verdict, self.expectation(), found)
    }
}

/// Equality as people mean it: `1`, `1.0` and the number 1 are the same answer.
fn same(expected: &Scalar, found: &str) -> bool {
    match expected {
        Scalar::Text(text) => text == found,
        Scalar::Integer(number) => {
            found.trim().parse::<i64>() == Ok(*number)
                || found.trim().parse::<f64>() == Ok(*number as f64)
        }
        Scalar::Number(number) => found.trim().parse::<f64>() == Ok(*number),
        Scalar::Truth(value) => {
            let truth = match found.trim().to_ascii_lowercase().as_str() {
                "1" | "true" | "t" | "yes" => Some(true),
                "0" | "false" | "f" | "no" => Some(false),
                _ => None,
            };
            truth == Some(*value)
        }
    }
}
