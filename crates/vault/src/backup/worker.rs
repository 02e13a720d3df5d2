//! What one worker thread owns.

use super::BackupOptions;
use super::sealer::Sealer;
use super::window::Window;
use crate::error::Result;

/// A worker's compressor and read buffer.
pub(crate) struct Worker {
    pub(crate) sealer: Sealer,
    pub(crate) window: Window,
}

impl Worker {
    pub(crate) fn new(options: &BackupOptions) -> Result<Self> {
        Ok(Self { sealer: Sealer::new(options.compression)?, window: Window::default() })
    }
}
