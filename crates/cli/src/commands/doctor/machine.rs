//! This machine: clock, room for a scratch restore, private state, versions.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use jiff::Timestamp;
use lifeboat_recovery::flows::{self, ListRequest};

use super::Finding;
use crate::hands::{Hands, Wired};
use crate::text;

/// This program did not exist before; seconds since 1970.
const EARLIEST: i64 = 1_760_000_000;

/// Findings about this machine.
pub fn findings(wired: &Wired, hands: &Hands<'_>) -> Vec<Finding> {
    let mut list = vec![clock(wired, hands)];
    list.extend(scratch(wired));
    list.extend(private(wired));
    list.push(Finding::fine(
        "tools",
        format!("lifeboat {}, SQLite {} built in", env!("CARGO_PKG_VERSION"), rusqlite::version()),
    ));
    list
}

fn clock(wired: &Wired, hands: &Hands<'_>) -> Finding {
    let now = hands.now();
    let ahead = flows::audit_log(&wired.world, 1)
        .ok()
        .and_then(|log| log.entries.last().map(|entry| entry.time))
        .filter(|last| *last > now);
    match ahead {
        _ if now.as_second() < EARLIEST => {
            Finding::critical("clock", format!("the clock says {}", text::time(now)))
                .why("restore points would carry times that never were")
                .fix("set the clock, and keep it with NTP")
        }
        Some(last) => Finding::warning("clock", set_back(last, now))
            .why("ages and objectives cannot be trusted until the clock has passed that time")
            .fix("set the clock, and keep it with NTP"),
        None => Finding::fine("clock", format!("it is {}", text::time(now))),
    }
}

fn set_back(last: Timestamp, now: Timestamp) -> String {
    format!("the last entry of the ledger is of {}, {}", text::time(last), text::age(last, now))
}

/// A verification or a drill restores into the state folder.
fn scratch(wired: &Wired) -> Option<Finding> {
    let free = wired.world.disk.free(wired.world.state.folder())?;
    let report = flows::list(&wired.world, &ListRequest::default()).ok()?;
    let largest = wired
        .file
        .plan
        .component
        .keys()
        .filter_map(|name| {
            report.snapshots.iter().find(|s| s.component.as_ref() == Some(name))?.bytes
        })
        .max()?;
    let words = format!(
        "{} free for scratch restores, the largest component has {}",
        text::size(free),
        text::size(largest)
    );
    Some(if free < largest {
        Finding::critical("scratch", words)
            .why("verifications and drills would be refused")
            .fix(format!("free some space at {}", wired.world.state.folder().display()))
    } else {
        Finding::fine("scratch", words)
    })
}

/// The state folder and the signing key are nobody else's business.
fn private(wired: &Wired) -> Vec<Finding> {
    let folder = wired.world.state.folder();
    let mut list = Vec::new();
    for (path, limit, command) in
        [(folder.to_path_buf(), 0o700, "chmod 700"), (folder.join("sign.key"), 0o600, "chmod 600")]
    {
        let Some(mode) = mode(&path) else { continue };
        if mode & !limit & 0o777 != 0 {
            list.push(
                Finding::warning(
                    "state",
                    format!("others can use {} (mode {mode:04o})", path.display()),
                )
                .why("who has the signing key can write entries in this host's name")
                .fix(format!("{command} {}", path.display())),
            );
        }
    }
    if list.is_empty() && folder.exists() {
        list.push(Finding::fine("state", format!("{} is private", folder.display())));
    }
    list
}

fn mode(path: &Path) -> Option<u32> {
    fs::metadata(path).ok().map(|meta| meta.permissions().mode() & 0o777)
}
