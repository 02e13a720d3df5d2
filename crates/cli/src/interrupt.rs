//! Ctrl-C: the first asks the run to stop at the next safe point, the second ends the process.

use std::sync::atomic::{AtomicBool, Ordering};

use lifeboat_model::exit::Exit;
use lifeboat_vault::Cancel;

/// Installs the handler for SIGINT, SIGTERM and SIGHUP.
///
/// # Errors
/// If a handler cannot be installed.
pub fn install(cancel: &Cancel, quiet: bool) -> Result<(), ctrlc::Error> {
    let cancel = cancel.clone();
    let asked = AtomicBool::new(false);
    ctrlc::set_handler(move || {
        if asked.swap(true, Ordering::SeqCst) {
            std::process::exit(i32::from(Exit::Interrupted.code()));
        }
        cancel.cancel();
        if !quiet {
            crate::screen::log_line("stopping at the next safe point; once more to stop at once");
        }
    })
}
