//! Exit codes, frozen: scripts depend on them. An unknown code means failure.

/// What a command's end means to a script.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Exit {
    /// Done.
    Done = 0,
    /// Failed.
    Failed = 1,
    /// Usage or plan error; also a wrong or missing key.
    Usage = 2,
    /// Done with problems: something was skipped.
    Problems = 3,
    /// Refused; nothing was changed.
    Refused = 4,
    /// Interrupted; the state is resumable.
    Interrupted = 5,
    /// Component, snapshot or object not found.
    NotFound = 6,
    /// Locked by somebody else.
    Locked = 7,
    /// A tier is unreachable.
    Unreachable = 8,
    /// Verification failed.
    Unverified = 9,
    /// All checks passed, an objective was missed.
    ObjectiveMissed = 10,
    /// A drill or scenario failed or was inconclusive.
    DrillFailed = 11,
}

impl Exit {
    /// The process exit status.
    pub fn code(self) -> u8 {
        self as u8
    }
}
