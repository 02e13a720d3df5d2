//! The four verdicts. No pass without a check that looked at the data.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The outcome of a check, a verification or a drill.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Looked at the data and found what was expected.
    Pass,
    /// Looked and found something else.
    Fail,
    /// Could not be told, or there was nothing to look at. Never counted as pass.
    Inconclusive,
    /// Not attempted because something it depends on failed.
    Skipped,
}

impl Verdict {
    /// Judges a set of outcomes: an empty set is inconclusive, any fail fails, anything but pass
    /// keeps the whole from passing.
    pub fn of<I: IntoIterator<Item = Verdict>>(outcomes: I) -> Verdict {
        let mut seen = false;
        let mut worst = Verdict::Pass;
        for outcome in outcomes {
            seen = true;
            worst = match (worst, outcome) {
                (Verdict::Fail, _) | (_, Verdict::Fail) => Verdict::Fail,
                (Verdict::Pass, Verdict::Pass) => Verdict::Pass,
                _ => Verdict::Inconclusive,
            };
        }
        if seen { worst } else { Verdict::Inconclusive }
    }

    /// The word as documents and messages print it.
    pub fn word(self) -> &'static str {
        match self {
            Verdict::Pass => "pass",
            Verdict::Fail => "fail",
            Verdict::Inconclusive => "inconclusive",
            Verdict::Skipped => "skipped",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Verdict::{self, Fail, Inconclusive, Pass, Skipped};

    #[test]
    fn zero_checks_never_pass() {
        assert_eq!(Verdict::of([]), Inconclusive);
    }

    #[test]
    fn only_all_pass_is_pass() {
        assert_eq!(Verdict::of([Pass, Pass]), Pass);
        assert_eq!(Verdict::of([Pass, Skipped]), Inconclusive);
        assert_eq!(Verdict::of([Skipped, Skipped]), Inconclusive);
        assert_eq!(Verdict::of([Inconclusive, Fail, Pass]), Fail);
    }
}
