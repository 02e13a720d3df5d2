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
        JournalError::NotCovered { broken, .. } => broken.as_deref().map(str::to_owned),
        JournalError::None { .. }
        | JournalError::Beyond { .. }
        | JournalError::BeforeBase { .. } => None,
        JournalError::Broken { why, .. } if why.recorded => None,
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
        // What nobody recorded comes first: it is what has to be looked after.
        JournalError::Broken { why, .. } if !why.recorded => 6,
        JournalError::NotCovered { broken: Some(_), .. } => 5,
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

/// True if an instant cannot be had and nothing is wrong: it lies beyond the end, where no journal
/// leads, or where the stream recorded that something is lost.
pub(in crate::flows) fn is_no_point(error: &Error) -> bool {
    match error {
        Error::Journal(error) => lost(error).is_none(),
        Error::Refused { .. } => true,
        _ => false,
    }
}
