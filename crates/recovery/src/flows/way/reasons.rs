//! What a refusal of the journal, or of a snapshot, means for the choice.

use lifeboat_model::check::CheckResult;
use lifeboat_model::verdict::Verdict;

use crate::error::Error;
use crate::journal::JournalError;
use crate::recover::UNBROKEN;

/// The check of a way that was to lead as far as the journal does, and does not.
pub(super) fn not_all_of_it(found: String) -> CheckResult {
    CheckResult::new(UNBROKEN, Verdict::Inconclusive, "all that was streamed", found)
}

/// True for what says that a snapshot is not what it should be, and nothing of the tier.
pub(super) fn unreadable(error: &Error) -> bool {
    use lifeboat_vault::Error as Vault;
    matches!(
        error,
        Error::Manifest { .. } | Error::Vault(Vault::Damaged { .. } | Vault::NotFound { .. })
    )
}

/// What is wrong with the journal, where that may be why it does not lead from a base to a point.
pub(super) fn lost(error: &JournalError) -> Option<String> {
    match error {
        JournalError::NotCovered { broken, .. } => broken.clone(),
        JournalError::None { .. } | JournalError::Beyond { .. } => None,
        other => Some(other.to_string()),
    }
}

/// True for what is known of the journal; a tier that fails says nothing about what is there.
pub(super) fn says_something(error: &JournalError) -> bool {
    matches!(
        error,
        JournalError::None { .. }
            | JournalError::NotCovered { .. }
            | JournalError::BeforeBase { .. }
            | JournalError::Beyond { .. }
            | JournalError::Broken { .. }
            | JournalError::Missing { .. }
            | JournalError::Damaged { .. }
            | JournalError::Foreign { .. }
    )
}

/// Of two refusals the one that says more of the wanted point.
pub(super) fn clearer(first: Option<JournalError>, second: JournalError) -> JournalError {
    let rank = |error: &JournalError| match error {
        JournalError::Broken { .. } => 4,
        JournalError::Beyond { .. } => 3,
        JournalError::Damaged { .. } | JournalError::Foreign { .. } => 2,
        JournalError::NotCovered { .. } => 1,
        _ => 0,
    };
    match first {
        Some(first) if rank(&first) >= rank(&second) => first,
        _ => second,
    }
}
