//! Segments that were read ahead: each call of a `restore_command` is a program of its own, and most
//! of its time goes into opening a tier. Only whole segments lie here
//! (`.lifeboat/journal/COMPONENT/ahead/`), each behind its SHA-256; one that was cut off or changed
//! is not used.

use std::fs;
use std::path::PathBuf;

use bytes::Bytes;
use lifeboat_model::chain::Hash;
use lifeboat_model::journal::WalName;
use lifeboat_model::position::Position;

use crate::journal::local_folder;
use crate::ledger::remote::safe_name;
use crate::state::State;

/// Bytes that are read ahead at most.
const AHEAD: u64 = 128 << 20;
/// Segments that are read ahead at most.
const MOST: u64 = 8;
/// Bytes of a hash.
const HASH: usize = 32;

fn folder(state: &State, component: &str) -> PathBuf {
    local_folder(state, component).join("ahead")
}

/// Takes a segment away.
pub(super) fn take(state: &State, component: &str, log: &str, name: &WalName) -> Option<Bytes> {
    let path = folder(state, component).join(format!("{log}~{name}"));
    let held = Bytes::from(fs::read(&path).ok()?);
    // It is wanted once; a server that asks again asks the tiers.
    fs::remove_file(&path).ok()?;
    let content = held.slice(HASH.min(held.len())..);
    (held.len() > HASH && held[..HASH] == Hash::of(&content).0).then_some(content)
}

/// The segments to be read ahead after one, and away with what is not wanted any more.
pub(super) fn next(state: &State, component: &str, name: &WalName, size: u64) -> Vec<WalName> {
    let folder = folder(state, component);
    for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
        // Of another recovery, or passed by: a call that gets here found nothing of use in it.
        let _ = fs::remove_file(entry.path());
    }
    if state.make(&format!("journal/{}/ahead", safe_name(component))).is_err() || size == 0 {
        return Vec::new();
    }
    let start = name.start(size);
    let count = (AHEAD / size).min(MOST);
    let at = |number: u64| Position::new(start.line, start.offset.saturating_add(number * size));
    (1..=count).map(|number| WalName::segment(at(number), size)).collect()
}

/// Puts a segment there, whole or not at all.
pub(super) fn put(state: &State, component: &str, log: &str, name: &WalName, content: &[u8]) {
    let folder = folder(state, component);
    let part = folder.join(format!("part-{}-{name}", std::process::id()));
    let held = [&Hash::of(content).0[..], content].concat();
    // What fails is read again when it is asked for.
    if fs::write(&part, held).is_err()
        || fs::rename(&part, folder.join(format!("{log}~{name}"))).is_err()
    {
        let _ = fs::remove_file(&part);
    }
}
