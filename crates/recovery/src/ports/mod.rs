//! The traits by which flows meet the world, one a file.

pub mod capture;
pub mod disk;
pub mod engine;
pub mod log;
pub mod place;
pub mod runner;
pub mod source;

pub use capture::{Capture, CaptureContext, SourceError};
pub use disk::Disk;
pub use engine::{Answer, Engine, EngineError, InPlace, WriterProof};
pub use log::{
    Joint, LogContext, LogError, LogEvent, LogFacts, LogHealth, LogRange, LogReader, LogSource,
    LogStart, Piece, RecoverContext, RecoverTo, Recovered, Resume,
};
pub use place::{KeyRights, Opened, Place, Presence};
pub use runner::{Outcome, RefusingRunner, Request, Runner};
pub use source::Source;
