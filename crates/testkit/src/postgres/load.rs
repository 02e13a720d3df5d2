//! Work for a server.

use std::process::Child;

use super::process;

/// A running pgbench.
pub struct Load(pub(super) Option<Child>);

impl Load {
    /// Waits for its end; true if it ended well.
    pub fn wait(mut self) -> bool {
        self.0.take().is_some_and(|mut child| child.wait().unwrap().success())
    }

    /// Ends it now.
    pub fn stop(self) {}
}

impl Drop for Load {
    fn drop(&mut self) {
        if let Some(child) = self.0.take() {
            process::end(child, "KILL");
        }
    }
}
