//! From the errors of the system and of `object_store` to [`StoreErrorKind`].

use std::error::Error;
use std::io;

use lifeboat_vault::{StoreError, StoreErrorKind};
use rustix::io::Errno;

/// Builds the error of one call.
pub(super) fn new(
    kind: StoreErrorKind,
    verb: &'static str,
    key: &str,
    place: &str,
    source: impl Into<Box<dyn Error + Send + Sync>>,
) -> StoreError {
    StoreError {
        kind,
        verb,
        key: key.to_owned(),
        place: place.to_owned(),
        source: Some(source.into()),
    }
}

/// The same, its kind taken from the system's error.
pub(super) fn from_io(verb: &'static str, key: &str, place: &str, source: io::Error) -> StoreError {
    new(kind_of_io(&source), verb, key, place, source)
}

/// Builds the error of a failed call of `object_store`. Its own words repeat those of the system,
/// with file names and the backend's around them: what the system said is the cause.
pub(super) fn of_object_store(
    kind: StoreErrorKind,
    verb: &'static str,
    key: &str,
    place: &str,
    source: object_store::Error,
) -> StoreError {
    match io_below(&source).map(|io| (io.raw_os_error(), io.kind(), io.to_string())) {
        Some((Some(code), ..)) => new(kind, verb, key, place, io::Error::from_raw_os_error(code)),
        Some((None, sort, text)) => new(kind, verb, key, place, io::Error::new(sort, text)),
        None => new(kind, verb, key, place, source),
    }
}

/// The system's error below one of `object_store`.
fn io_below(error: &object_store::Error) -> Option<&io::Error> {
    let mut cause = error.source();
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return Some(error);
        }
        cause = error.source();
    }
    None
}

/// The kind of a failure of `object_store`, whose own words for access and space are all "generic":
/// the system's error below decides.
pub(super) fn kind_of(error: &object_store::Error) -> StoreErrorKind {
    match error {
        object_store::Error::NotFound { .. } => return StoreErrorKind::NotFound,
        object_store::Error::AlreadyExists { .. } => return StoreErrorKind::Exists,
        object_store::Error::PermissionDenied { .. }
        | object_store::Error::Unauthenticated { .. } => return StoreErrorKind::Denied,
        _ => {}
    }
    io_below(error).map_or(StoreErrorKind::Other, kind_of_io)
}

/// The kind of a failure of the system.
pub(super) fn kind_of_io(error: &io::Error) -> StoreErrorKind {
    let Some(code) = Errno::from_io_error(error) else { return StoreErrorKind::Other };
    match code {
        Errno::NOENT | Errno::NOTDIR => StoreErrorKind::NotFound,
        Errno::EXIST => StoreErrorKind::Exists,
        Errno::ACCESS | Errno::PERM | Errno::ROFS => StoreErrorKind::Denied,
        Errno::NOSPC | Errno::DQUOT => StoreErrorKind::NoSpace,
        Errno::STALE
        | Errno::NOTCONN
        | Errno::TIMEDOUT
        | Errno::HOSTDOWN
        | Errno::HOSTUNREACH
        | Errno::NODEV
        | Errno::NXIO
        | Errno::SHUTDOWN => StoreErrorKind::Unreachable,
        _ => StoreErrorKind::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_errno_has_its_kind() {
        for (code, kind) in [
            (Errno::NOENT, StoreErrorKind::NotFound),
            (Errno::EXIST, StoreErrorKind::Exists),
            (Errno::ACCESS, StoreErrorKind::Denied),
            (Errno::PERM, StoreErrorKind::Denied),
            (Errno::ROFS, StoreErrorKind::Denied),
            (Errno::NOSPC, StoreErrorKind::NoSpace),
            (Errno::DQUOT, StoreErrorKind::NoSpace),
            (Errno::STALE, StoreErrorKind::Unreachable),
            (Errno::IO, StoreErrorKind::Other),
        ] {
            assert_eq!(kind_of_io(&io::Error::from(code)), kind, "{code:?}");
        }
    }
}
