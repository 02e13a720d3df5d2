//! Writing what was believed into the new folder: the plan's files, the ledgers and their keys, the
//! evidence, what is known of the tiers, and last the secrets that commands there need.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use lifeboat_model::chain::{Evidence, Head, PlanText, PublicKey, Revision, Signed};
use lifeboat_model::plan::paths;
use serde_json::json;

use super::BootstrapRequest;
use super::plan::Chosen;
use super::view::{Chain, View};
use crate::env::World;
use crate::error::{Error, Result};
use crate::kit::Rescue;
use crate::ledger::{Detail, Ledger, Local, keys, remote};
use crate::report::{BootstrapFinding, BootstrapReport, Trouble};
use crate::state::{KnownTier, create_new};

/// The plan file's name in the new folder.
const PLAN: &str = "lifeboat.toml";

/// Writes everything below the world's plan folder.
pub(super) fn bring(
    world: &World,
    request: &BootstrapRequest<'_>,
    own: &View,
    others: &[View],
    chosen: &Chosen,
    report: &mut BootstrapReport,
) -> Result<()> {
    for file in inside(&chosen.revision)? {
        let path = world.plan_folder.join(&file.name);
        let parent = path.parent().unwrap_or(Path::new("/"));
        fs::create_dir_all(parent).map_err(Error::io("create", parent))?;
        create_new(&path, file.text.as_bytes())?;
    }
    for chain in &own.chains {
        report.entries += take_over(world, chain, &own.name)?;
        report.evidence += evidence(own, chain, world, report)?;
    }
    for view in std::iter::once(own).chain(others) {
        remember(world, view)?;
    }
    world.state.remember_plan(world.plan.header.name.as_str(), &request.folder.join(PLAN))?;
    if !request.rehearsal {
        note(world, request, own, report)?;
    }
    rescue(request, own).write(&world.state)
}

/// A ledger, if it is whole and believed: what is not stays in the tier, where it can be looked at.
fn take_over(world: &World, chain: &Chain, tier: &str) -> Result<u64> {
    let Some(last) = chain.entries.last().filter(|_| chain.sound) else { return Ok(0) };
    let believed = keys::accepted(&world.state, &chain.host)?;
    let announced = chain.told().filter_map(|entry| entry.next_key);
    let all: Vec<PublicKey> = believed.into_iter().chain(announced).collect();
    let Some(key) = all.iter().find(|key| last.signed_by(key)) else { return Ok(0) };
    let local = Local::new(&world.state, &chain.host);
    let head = Head { seq: last.seq, hash: last.hash(), key: *key };
    keys::accept(&world.state, &chain.host, &all)?;
    local.take_over(&chain.lines, None, &head)?;
    local.set_shipped(tier, last.seq)?;
    Ok(chain.lines.len() as u64)
}

/// The evidence of a chain that its keys signed.
fn evidence(own: &View, chain: &Chain, world: &World, report: &mut BootstrapReport) -> Result<u64> {
    let believed = keys::accepted(&world.state, &chain.host)?;
    let (Ok(sealer), false) = (&own.tier.sealer, believed.is_empty()) else { return Ok(0) };
    let folder = world.state.make("evidence")?;
    let mut count = 0;
    let name = remote::safe_name(&chain.host);
    for (id, body) in remote::evidence(&*own.tier.store, sealer, &name)? {
        let signed = body.and_then(|body| {
            let signed = Signed::<Evidence>::read(&body).map_err(|error| error.to_string())?;
            signed.verify(&believed).map_err(|error| error.to_string())?;
            Ok(body)
        });
        let name = Path::new(&id).file_name().is_some_and(|name| name.to_str() == Some(&id));
        match signed {
            Ok(body) if name => {
                create_new(&folder.join(format!("{id}.json")), &body)?;
                count += 1;
            }
            Ok(_) => {}
            Err(why) => report.findings.push(BootstrapFinding {
                trouble: Trouble::Note,
                tier: own.name.clone(),
                what: format!("evidence {id} is not believed: {why}"),
            }),
        }
    }
    Ok(count)
}

/// What is known of a tier from now on: another vault in its place is refused.
fn remember(world: &World, view: &View) -> Result<()> {
    let sealer = view.tier.sealer.as_ref().ok();
    let known = KnownTier {
        vault: view.tier.vault.repository_id().to_owned(),
        master: view.tier.vault.master_fingerprint(),
        url: view.world.tier.url.clone(),
        recipient: sealer.map(|sealer| sealer.recipient()),
        identity: sealer.and_then(|sealer| sealer.sealed_as()).map(str::to_owned),
        successor: None,
    };
    Ok(world.state.remember_tier(&view.name, &known)?)
}

/// The first entry of this machine.
fn note(
    world: &World,
    request: &BootstrapRequest<'_>,
    own: &View,
    report: &mut BootstrapReport,
) -> Result<()> {
    let mut warnings = Vec::new();
    if world.plan.key.sign_command.is_some() {
        // A command of the plan is not run here: whether it means the same on this machine, a person
        // decides.
        report.findings.push(BootstrapFinding {
            trouble: Trouble::Note,
            tier: own.name.clone(),
            what: "the plan signs by a command, which was not run: this bootstrap is not recorded"
                .to_owned(),
        });
        return Ok(());
    }
    let mut ledger = Ledger::open(world, None, &mut warnings)?;
    let found: Vec<&str> = report.findings.iter().map(|finding| finding.what.as_str()).collect();
    let detail = Detail::from([
        ("tier".to_owned(), json!(own.name)),
        ("plan".to_owned(), json!(report.plan_from)),
        ("made".to_owned(), json!(request.kit.made)),
        ("findings".to_owned(), json!(found)),
    ]);
    ledger.note("bootstrap", world.plan.header.name.as_str(), "done", detail)?;
    warnings.extend(ledger.take_notes());
    report.findings.extend(warnings.into_iter().map(|what| BootstrapFinding {
        trouble: Trouble::Note,
        tier: own.name.clone(),
        what,
    }));
    Ok(())
}

fn rescue(request: &BootstrapRequest<'_>, own: &View) -> Rescue {
    let place = |tier: &crate::kit::KitTier| (tier.name.clone(), tier.place.clone());
    let mut places: BTreeMap<String, String> = request.kit.tiers.iter().map(place).collect();
    places.insert(own.name.clone(), own.world.tier.url.clone());
    Rescue {
        format: Rescue::FORMAT,
        tier: own.name.clone(),
        places,
        secrets: request.kit.secrets.clone(),
        rehearsal: request.rehearsal,
    }
}

/// The plan's files under names that do not lead out of the folder. One that the plan includes from
/// elsewhere gets a name inside, and the plan's words are changed to it: it must be the same plan.
fn inside(revision: &Revision) -> Result<Vec<PlanText>> {
    let mut files = revision.files.clone();
    let mut moved = Vec::new();
    for (at, file) in files.iter_mut().enumerate() {
        if at == 0 {
            file.name = PLAN.to_owned();
            continue;
        }
        let below = paths::inside(&file.name).filter(|path| {
            path.as_os_str() != PLAN && !path.as_os_str().is_empty() && !hidden(path)
        });
        if below.is_some() {
            continue;
        }
        let name = Path::new(&file.name).file_name().unwrap_or_default().to_string_lossy();
        let new = format!("included/{at}-{name}");
        moved.push((std::mem::replace(&mut file.name, new.clone()), new));
    }
    if moved.is_empty() {
        return Ok(files);
    }
    for file in &mut files {
        for (old, new) in &moved {
            for quote in ['"', '\''] {
                let (old, new) = (format!("{quote}{old}{quote}"), format!("{quote}{new}{quote}"));
                file.text = file.text.replace(&old, &new);
            }
        }
    }
    let same = |files: &[PlanText]| {
        let read = Revision { files: files.to_vec(), ..revision.clone() }.plan().ok()?;
        Some(read.revision())
    };
    match same(&files) == same(&revision.files) {
        true => Ok(files),
        false => Err(Error::refused(
            "the plan includes files from outside its folder in a way that cannot be followed here",
            "`tools/open.py plan` prints the plan's files: put them in place by hand",
        )),
    }
}

/// True for what would lie in the state folder.
fn hidden(path: &Path) -> bool {
    path.starts_with(PathBuf::from(".lifeboat"))
}
