//! A base and its log side by side, for a machine that has the server's version: what
//! `--prepare-only` leaves where it is missing.
//!
//! `wal/` beside `pgdata` holds every segment up to the target and the histories; `pgdata` is told to
//! replay them from there to the target when its server is first started. Until somebody removes our
//! lines it keeps to itself: no TCP, no archiving, no replication, no preloaded library.

use std::fs;
use std::path::Path;

use lifeboat_model::check::CheckResult;
use lifeboat_model::verdict::Verdict;
use lifeboat_recovery::ports::{EngineError, Recovered};

use super::goal::{Base, Goal};
use super::install::major_of_data;
use super::instance;
use super::layout::Layout;
use super::recover::{Recovery, reaches_out};
use super::tablespaces::harmless;
use super::way::{Found, Way};
use super::{broken, failed};

/// Name of the check of a copy that nobody started.
pub const RECOVERY: &str = "recovery";
/// Where the settings stand that a staged copy is started with.
const AUTO: &str = "postgresql.auto.conf";

/// Stages the log beside the base.
pub(super) fn stage(
    layout: &Layout,
    recovery: &Recovery<'_>,
    way: Option<&Way<'_>>,
    goal: &Goal,
    base: &Base,
) -> Result<Recovered, EngineError> {
    let account = recovery.tools.account;
    let folder = layout.data.with_file_name("wal");
    fs::create_dir_all(&folder).map_err(failed(format!("make {}", folder.display())))?;
    if let Some(way) = way {
        let (first, last) = (base.start.offset / way.size, (way.end() - 1) / way.size);
        for number in first..=last {
            if recovery.context.cancel.is_cancelled() {
                return Err(broken("somebody asked to stop"));
            }
            segment(way, goal.line, number, &folder)?;
        }
        for line in way.lines() {
            if let Some(history) = way.history(line) {
                write(&folder, &format!("{line:08X}.history"), history)?;
            }
        }
    }
    account.own_all(&folder).map_err(failed("pass the log on"))?;
    let path = layout.data.join(AUTO);
    let own = fs::read_to_string(&path).unwrap_or_default();
    let reaching = reaches_out(layout);
    let mut text = format!(
        "{own}\n# Lifeboat: replays the log in `wal` beside this folder when first started.\n\
         # Remove these lines afterwards.\nrestore_command = 'cp \"../wal/%f\" \"%p\"'\n\
         recovery_target_action = 'promote'\n"
    );
    let alone = instance::alone(major_of_data(&layout.data)?, recovery.preload);
    for (name, value) in alone.iter().chain(&goal.settings) {
        text.push_str(&format!("{name} = '{}'\n", value.replace('\'', "''")));
    }
    layout.write(AUTO, &text, account)?;
    let map = layout.data.join("tablespace_map");
    if map.exists() {
        fs::remove_file(&map).map_err(failed("remove the list of tablespaces"))?;
    }
    layout.write("recovery.signal", "", account)?;
    let found = "staged; no server of its version is here";
    let mut notes = vec![
        "start it with the plain server of its version, as the owner of its files: it replays \
         `wal` to the target, and fails where it cannot"
            .to_owned(),
    ];
    notes.extend(goal.notes.iter().cloned());
    notes.extend(reaching);
    Ok(Recovered {
        position: None,
        complete_up_to: None,
        checks: vec![CheckResult::new(
            RECOVERY,
            Verdict::Inconclusive,
            "replayed to its target",
            found,
        )],
        notes,
    })
}

/// Writes a segment under each line's name that a server may ask for.
fn segment(way: &Way<'_>, line: u32, number: u64, folder: &Path) -> Result<(), EngineError> {
    for line in way.lines().into_iter().filter(|of| *of <= line) {
        if let Found::Segment(bytes) = way.segment(line, number)? {
            harmless(way, (line, number), &bytes)?;
            write(folder, &way.name(line, number), &bytes)?;
        }
    }
    Ok(())
}

fn write(folder: &Path, name: &str, bytes: &[u8]) -> Result<(), EngineError> {
    let path = folder.join(name);
    fs::write(&path, bytes).map_err(failed(format!("write {}", path.display())))
}
