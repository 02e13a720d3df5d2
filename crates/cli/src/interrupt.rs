//! Ctrl-C: the first asks the run to stop at the next safe point, the second ends the process.
//!
//! SIGHUP changes nothing: restic sends it to the process that a lock names, to see whether it
//! lives (`processExists` in its `internal/restic/lock_unix.go`), and passes over it itself.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use lifeboat_model::exit::Exit;
use lifeboat_vault::Cancel;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// Installs the handlers for SIGINT, SIGTERM and SIGHUP.
///
/// # Errors
/// If a handler cannot be installed.
pub fn install(cancel: &Cancel, quiet: bool) -> io::Result<()> {
    // A handler, for what is ignored stays ignored in the commands that are run.
    signal_hook::flag::register(SIGHUP, Arc::new(AtomicBool::new(false)))?;
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    let cancel = cancel.clone();
    let wait = move || {
        let mut asked = false;
        for _ in signals.forever() {
            if asked {
                std::process::exit(i32::from(Exit::Interrupted.code()));
            }
            asked = true;
            cancel.cancel();
            if !quiet {
                let text = "stopping at the next safe point; once more to stop at once";
                crate::screen::log_line(text);
            }
        }
    };
    std::thread::Builder::new().name("signals".to_owned()).spawn(wait).map(drop)
}
