//! What is wrong with a plan's text, each with its place.

use crate::span::Span;

/// One finding of the parser: a lower-case sentence, its place and what mends it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct PlanError {
    /// Where it stands.
    pub span: Span,
    /// One lower-case sentence without a full stop.
    pub message: String,
    /// What to write instead: the nearest known name, the accepted values.
    pub help: Option<String>,
    /// Another place that belongs to it, and what is there.
    pub related: Option<(Span, String)>,
}

impl PlanError {
    /// An error at a place.
    pub fn new(span: Span, message: impl Into<String>) -> Self {
        PlanError { span, message: message.into(), help: None, related: None }
    }

    /// Adds what mends it.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

/// All that is wrong with a plan, in the order of the text. Never empty.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the plan has {} {}", .0.len(), if .0.len() == 1 { "error" } else { "errors" })]
pub struct PlanErrors(pub Vec<PlanError>);

/// The known name nearest to a mistyped one, if any is near enough to be meant.
pub fn nearest<'a>(wrong: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let wrong = wrong.to_lowercase();
    known
        .into_iter()
        .map(|name| (strsim::damerau_levenshtein(&wrong, &name.to_lowercase()), name))
        .filter(|(distance, name)| *distance <= 1 + name.len().max(wrong.len()) / 4)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// `did you mean X?` if something is near, and the list of known names.
pub fn suggest<'a>(wrong: &str, what: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let known: Vec<&str> = known.into_iter().collect();
    let list = known.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    match (nearest(wrong, known.iter().copied()), known.is_empty()) {
        (Some(name), _) => format!("did you mean `{name}`? {what}: {list}"),
        (None, false) => format!("{what}: {list}"),
        (None, true) => format!("{what}: none"),
    }
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn nearest_is_near() {
        assert_eq!(nearest("compnent", ["class", "component"]), Some("component"));
        assert_eq!(nearest("RPO", ["rto", "rpo"]), Some("rpo"));
        assert_eq!(nearest("zebra", ["class", "component"]), None);
    }
}
