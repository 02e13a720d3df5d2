//! The flows: each reads as a table of contents.

mod request;

pub use request::{
    At, AuditRequest, BackupRequest, Destination, DrillRequest, ListRequest, RestoreRequest,
    VerifyRequest,
};
