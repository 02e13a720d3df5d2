//! A quick look whether the local chain still hangs together, for every run that reads it anyway:
//! each entry names the one before by its hash. Signatures are left to `audit verify`.

use lifeboat_model::chain::{Entry, Hash};

use super::Local;
use crate::env::World;
use crate::error::Result;

/// The sentence about a local chain that was changed, if it was.
pub fn broken(world: &World) -> Result<Option<String>> {
    let local = Local::new(&world.state, &world.host);
    // First the head: what is appended meanwhile makes the lines longer than it says, never shorter.
    let (head, base) = (local.acknowledged()?, local.base()?);
    // Of a branch that was just set aside: the chain goes on without it.
    let head = match head {
        Some(head) if local.is_aside(&head)? => None,
        head => head,
    };
    let (lines, _) = local.lines()?;
    let mut before = base.map_or((0, Hash::NONE), |base| (base.seq, base.hash));
    for line in &lines {
        let read = Entry::read(line).ok();
        let Some(entry) = read.filter(|one| one.seq == before.0 + 1 && one.prev == before.1) else {
            return Ok(Some(said(before.0)));
        };
        before = (entry.seq, entry.hash());
        if head.is_some_and(|head| head.seq == before.0 && head.hash != before.1) {
            return Ok(Some(said(before.0)));
        }
    }
    Ok(head.filter(|head| head.seq > before.0).map(|_| said(before.0)))
}

fn said(last_good: u64) -> String {
    format!(
        "the local ledger was changed or cut off near entry {}: `lifeboat audit verify` names what \
         is wrong",
        last_good + 1
    )
}
