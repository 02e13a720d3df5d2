//! Plain-text rendering of findings: message, place with its text, help.

use lifeboat_model::plan::{Plan, PlanErrors};
use lifeboat_model::span::Span;

/// The example plan of the documentation.
pub const EXAMPLE: &str = include_str!("../../../../plans/example.toml");

/// Parses a plan that must be right.
pub fn plan(text: &str) -> Plan {
    Plan::parse(&[("lifeboat.toml", text)]).unwrap_or_else(|e| panic!("{}", render(text, &e)))
}

/// Parses a plan that must be wrong and renders what is said.
pub fn errors(text: &str) -> String {
    match Plan::parse(&[("lifeboat.toml", text)]) {
        Ok(_) => "no error".to_owned(),
        Err(errors) => render(text, &errors),
    }
}

/// `line:col | text of the span`.
pub fn place(text: &str, span: Span) -> String {
    let before = &text[..span.start];
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
    let shown = text[span.range()].lines().next().unwrap_or("");
    format!("{line}:{column} | {shown}")
}

/// Every error with its place and help.
pub fn render(text: &str, errors: &PlanErrors) -> String {
    let mut out = String::new();
    for error in &errors.0 {
        out += &format!("{error}\n  {}\n", place(text, error.span));
        if let Some((span, what)) = &error.related {
            out += &format!("  also {}: {what}\n", place(text, *span));
        }
        if let Some(help) = &error.help {
            out += &format!("  help: {help}\n");
        }
    }
    out
}
