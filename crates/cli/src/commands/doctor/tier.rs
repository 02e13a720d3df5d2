//! Whether the tier is there, can be written, has room, and is not the data's own disk.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use lifeboat_adapters::store::is_writable;
use lifeboat_recovery::ports::Presence;
use lifeboat_recovery::report::Failure;

use super::Finding;
use crate::hands::Wired;
use crate::text;

/// Less than this free is a warning, bytes.
const LITTLE: u64 = 1 << 30;

/// Findings about the tier.
pub fn findings(wired: &Wired) -> Vec<Finding> {
    let tier = &wired.world.tier;
    let name = &tier.name;
    let mut list = Vec::new();
    let known = matches!(wired.world.state.known_tier(name), Ok(Some(_)));
    match tier.place.look() {
        Ok(Presence::Vault) => list.push(vault(wired)),
        Ok(Presence::Absent | Presence::Empty) if known => list.push(
            Finding::critical("tier", format!("tier {name} has no vault, but one is known there"))
                .why("most likely its disk is not mounted; nothing is written until it is back")
                .fix(format!("mount the disk of {}", tier.url)),
        ),
        Ok(Presence::Absent | Presence::Empty) => list.push(
            Finding::warning("tier", format!("tier {name} has no vault yet"))
                .why("nothing is protected so far")
                .fix("lifeboat backup"),
        ),
        Ok(Presence::Other(found)) => list.push(
            Finding::critical("tier", format!("tier {name} holds {}", found.join(", ")))
                .why("a vault is made in an empty folder only")
                .fix("give the tier another folder in the plan"),
        ),
        Err(error) => list.push(
            Finding::critical("tier", format!("tier {name}: {error}"))
                .why("no copy can be made or read")
                .fix(format!("look at {}", tier.url)),
        ),
    }
    if let Some(folder) = tier.place.folder() {
        list.extend(room(wired, &folder));
        list.extend(same_disk(wired, &folder));
    }
    list
}

/// There is a vault; whether this key opens it, and it is this plan's, is what counts.
fn vault(wired: &Wired) -> Finding {
    let name = &wired.world.tier.name;
    if wired.world.key.is_none() {
        return Finding::fine("tier", format!("tier {name} has a vault"));
    }
    let opened = wired.world.read_tier();
    match opened.map(|tier| tier.other_plan) {
        Ok(None) => Finding::fine("tier", format!("tier {name} has a vault that the key opens")),
        Ok(Some(why)) => {
            Finding::critical("tier", format!("tier {name} has the vault of another plan: {why}"))
                .why("it can be read, and no backup is made there")
                .fix("give this plan a tier of its own")
        }
        Err(error) => {
            let mut finding = Finding::critical("tier", Failure::of(&error).line())
                .why("no copy can be made or read");
            finding.fix = error.hint();
            finding
        }
    }
}

fn room(wired: &Wired, folder: &Path) -> Option<Finding> {
    let name = &wired.world.tier.name;
    if folder.exists() && !is_writable(folder) {
        return Some(
            Finding::critical("tier", format!("tier {name} cannot be written"))
                .why("no backup can be made")
                .fix(format!("chown or remount {}", folder.display())),
        );
    }
    let free = wired.world.disk.free(folder)?;
    let words = format!("tier {name} has {} free", text::size(free));
    Some(if free < LITTLE {
        Finding::warning("tier", words)
            .why("the next backups may not fit")
            .fix(format!("free some space on the disk of {}", folder.display()))
    } else {
        Finding::fine("tier", words)
    })
}

fn same_disk(wired: &Wired, folder: &Path) -> Option<Finding> {
    let device = |path: &Path| {
        path.ancestors().find_map(|above| std::fs::metadata(above).ok()).map(|meta| meta.dev())
    };
    let (data, tier) = (device(&wired.file.base())?, device(folder)?);
    (data == tier).then(|| {
        Finding::warning(
            "tier",
            format!("tier {} lies on the same disk as the plan's data", wired.world.tier.name),
        )
        .why("a lost disk takes both")
        .fix(format!("move the tier to another disk and change tier.{}.url", wired.world.tier.name))
    })
}
