//! A check: a question with an expected answer, and what came of it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::verdict::Verdict;

/// The outcome of one check, as reports and evidence keep it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CheckResult {
    /// Name, as the plan or the engine gives it (`orders present`, `integrity_check`).
    pub name: String,
    /// The verdict.
    pub verdict: Verdict,
    /// What was expected, in words.
    pub expected: String,
    /// What was found, in words; why, if it could not be told.
    pub found: String,
}

impl CheckResult {
    /// A check that compared: passes exactly if `found == expected`.
    pub fn compare(name: impl Into<String>, expected: impl ToString, found: impl ToString) -> Self {
        let (expected, found) = (expected.to_string(), found.to_string());
        let verdict = if expected == found { Verdict::Pass } else { Verdict::Fail };
        CheckResult { name: name.into(), verdict, expected, found }
    }

    /// A check with a verdict decided by the caller.
    pub fn new(
        name: impl Into<String>,
        verdict: Verdict,
        expected: impl ToString,
        found: impl ToString,
    ) -> Self {
        CheckResult {
            name: name.into(),
            verdict,
            expected: expected.to_string(),
            found: found.to_string(),
        }
    }
}
