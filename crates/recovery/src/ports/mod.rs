//! The traits by which flows meet the world, one a file.

pub mod engine;
pub mod runner;
pub mod source;

pub use engine::{Answer, Engine, EngineError, InPlace, WriterProof};
pub use runner::{Outcome, Request, Runner};
pub use source::{Capture, CaptureContext, Source, SourceError};
