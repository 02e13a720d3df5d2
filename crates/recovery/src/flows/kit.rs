//! The making of a recovery kit: one sealed file and the page that goes with it, both private, never
//! over an older kit unless that is asked for. No secret stands on the page or in the ledger.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use lifeboat_model::chain::{Checkpoint, Document, Hash, PublicKey, Revision, Signed};
use serde_json::json;

use crate::env::{Secret, World};
use crate::error::{Error, Result, ends_run};
use crate::kit::{self, Kit, KitSecret, KitTier, Seen};
use crate::ledger::{Detail, keys, public_keys, remote};
use crate::report::{Failure, KitAccess, KitFacts, KitReport, KitTierFacts};
use crate::session::{Ended, Opening, Session, within};
use crate::state::{create_new, replace};
use crate::tier::{Access, OpenTier};

/// The sealed file, the page for a browser and for a printer, the same as text.
pub const KIT_FILES: [&str; 3] = ["lifeboat-kit.age", "lifeboat-kit.html", "lifeboat-kit.txt"];

/// The page of a kit.
pub struct KitPages {
    /// With print style, without anything from elsewhere.
    pub html: String,
    /// The same as text.
    pub text: String,
}

/// What the kit takes along of a tier's credential.
#[derive(Debug, Clone)]
pub struct TierAccess {
    /// The tier.
    pub name: String,
    /// Its place: of a folder the whole path.
    pub place: String,
    /// What the credential can do.
    pub access: KitAccess,
}

/// Asks for a kit.
pub struct KitRequest<'a> {
    /// Where it goes.
    pub folder: PathBuf,
    /// What seals it.
    pub passphrase: Secret,
    /// An older kit there is replaced.
    pub force: bool,
    /// What the plan's sources of keys and credentials give, by their names.
    pub secrets: BTreeMap<String, Secret>,
    /// The tiers, in the plan's order.
    pub tiers: Vec<TierAccess>,
    /// Writes the page.
    pub pages: &'a dyn Fn(&KitFacts) -> KitPages,
}

/// Makes a kit.
///
/// # Errors
/// [`Error::Refused`] where an older kit stands; a tier's.
pub fn make_kit(world: &World, request: &KitRequest<'_>) -> Result<KitReport> {
    refuse_older(&request.folder, request.force)?;
    let opening = Opening {
        action: kit::ACTION,
        object: world.plan.header.name.as_str(),
        detail: Detail::new(),
        access: Access::Write,
        changes_nothing: false,
    };
    let body = |session: &mut Session<'_>, tier: &OpenTier| {
        let (kit, mut report) = gather(world, tier, request, session.start)?;
        let sealed = kit.seal(&request.passphrase)?;
        report.facts.sha256 = Hash::of(&sealed).to_string();
        write(request, &sealed, &report.facts)?;
        report.head = world.head("lifeboat/kit", session.start);
        let detail = Detail::from([("kit".to_owned(), recorded(world, &report.facts))]);
        Ok(Ended { exit: report.exit(), report, detail, facts: Vec::new() })
    };
    within(world, &opening, body, |report: &mut KitReport, warnings| {
        report.warnings.extend(warnings);
    })
}

/// What a kit would hold. Writes nothing.
///
/// # Errors
/// As [`make_kit`].
pub fn plan_kit(world: &World, request: &KitRequest<'_>) -> Result<KitReport> {
    refuse_older(&request.folder, request.force)?;
    let start = world.start();
    let tier = world.read_tier()?;
    if let Some(why) = &tier.other_plan {
        return Err(world.of_other_plan(why));
    }
    let (_, mut report) = gather(world, &tier, request, start)?;
    report.dry_run = true;
    report.head = world.head("lifeboat/kit-recipe", start);
    Ok(report)
}

fn refuse_older(folder: &Path, force: bool) -> Result<()> {
    // A link that leads nowhere is there too: to a stick that was taken out, say.
    let there = |path: &PathBuf| path.symlink_metadata().is_ok();
    match KIT_FILES.iter().map(|name| folder.join(name)).find(there) {
        Some(path) if !force => Err(older(&path)),
        _ => Ok(()),
    }
}

fn older(path: &Path) -> Error {
    Error::refused(
        format!("{} is there already: an older kit is not overwritten", path.display()),
        "name another folder with `--to DIR`, or say `--force`",
    )
}

/// Everything that the kit holds, and what is said of it.
fn gather(
    world: &World,
    tier: &OpenTier,
    request: &KitRequest<'_>,
    start: crate::session::Start,
) -> Result<(Kit, KitReport)> {
    let sealer = tier.sealer.as_ref().map_err(|why| {
        Error::refused(
            format!("nothing can be sealed for the tier: {}", why.line()),
            "`lifeboat doctor` says what is wrong with it",
        )
    })?;
    let mut warnings = Vec::new();
    let identity = sealer.opens().then(|| sealer.identity_text()).transpose()?;
    if identity.is_none() {
        warnings.push(
            "the identity is not at hand here: with this kit alone no journal, no ledger and no \
             plan can be opened; make it where `[key] identity_*` is"
                .to_owned(),
        );
    }
    let mut tiers = Vec::new();
    for access in &request.tiers {
        tiers.push(of_tier(world, tier, access, &mut warnings)?);
    }
    let signers = signers(world, &tiers)?;
    let master = tier.vault.master_fingerprint();
    let kit = Kit {
        format: Kit::FORMAT,
        made: world.clock.wall(),
        host: world.host.clone(),
        lifeboat: world.version.clone(),
        plan: Revision {
            format: Revision::FORMAT,
            name: world.plan.header.name.as_str().to_owned(),
            revision: world.revision.clone(),
            files: world.texts.to_vec(),
        },
        master,
        recipient: Some(sealer.recipient()),
        identity: identity.map(KitSecret),
        vault_key: KitSecret(world.key()?.secret.clone()),
        signers,
        tiers,
        secrets: request.secrets.iter().map(|(n, s)| (n.clone(), KitSecret(s.clone()))).collect(),
    };
    let facts = facts(&kit, request);
    let report = KitReport {
        files: KIT_FILES.map(|name| request.folder.join(name).display().to_string()).to_vec(),
        facts,
        dry_run: false,
        warnings,
        head: world.head("lifeboat/kit", start),
    };
    Ok((kit, report))
}

/// A tier as it is now. One that does not answer is in the kit with its place alone.
fn of_tier(
    world: &World,
    first: &OpenTier,
    access: &TierAccess,
    warnings: &mut Vec<String>,
) -> Result<KitTier> {
    let name = &access.name;
    let found = world.tiers.iter().find(|tier| tier.name == *name);
    let url = found.map_or_else(|| access.place.clone(), |tier| tier.url.clone());
    let mut known = KitTier {
        name: name.clone(),
        url,
        place: access.place.clone(),
        vault: None,
        key: None,
        heads: BTreeMap::new(),
        writes: access.access == KitAccess::Write,
    };
    match access.access {
        KitAccess::Write => warnings.push(format!(
            "tier {name}: the kit holds the credential that can also write, for the plan names no \
             other one; name one that can only read (`read_access_key_env` and \
             `read_secret_key_env`, `read_connection_env` or `read_credentials_file`)"
        )),
        KitAccess::Missing => warnings.push(format!(
            "tier {name}: its credential is not at hand here, and is not in the kit"
        )),
        KitAccess::Folder | KitAccess::Read => {}
    }
    let Some(tier) = found else { return Ok(known) };
    let opened = world.with_tier(tier).read_tier();
    let opened = match opened {
        Ok(opened) => opened,
        Err(error) if ends_run(&error) => return Err(error),
        Err(error) => {
            let why = Failure::of(&error).line();
            warnings.push(format!("tier {name}: the kit does not know its vault: {why}"));
            return Ok(known);
        }
    };
    if opened.vault.master_fingerprint() != first.vault.master_fingerprint() {
        warnings.push(format!("tier {name} has a vault with another master key: it is left out"));
        return Ok(known);
    }
    known.vault = Some(opened.vault.repository_id().to_owned());
    known.key = opened.vault.key_id().map(ToString::to_string);
    known.heads = heads(world, &opened)?;
    Ok(known)
}

/// Where the ledgers in a tier stand, by their newest checkpoints that keys which are believed here
/// signed: one that a stranger put there would later look like something that was removed.
fn heads(world: &World, tier: &OpenTier) -> Result<BTreeMap<String, Seen>> {
    let mut heads = BTreeMap::new();
    let Some(sealer) = tier.sealer.as_ref().ok().filter(|sealer| sealer.opens()) else {
        return Ok(heads);
    };
    for name in remote::hosts(&*tier.store)? {
        let host = remote::host_name(&name);
        let mut believed = keys::accepted(&world.state, &host)?;
        if host == world.host {
            believed.extend(public_keys(world)?);
        }
        let (checkpoints, _) = remote::checkpoints(&*tier.store, sealer, &name)?;
        let signed =
            |one: &&Signed<Checkpoint>| !believed.is_empty() && one.verify(&believed).is_ok();
        if let Some(last) = checkpoints.iter().rev().find(signed) {
            heads.insert(host, Seen { seq: last.document.seq, hash: last.document.head });
        }
    }
    Ok(heads)
}

/// The keys that are believed here: of this host, and of each whose ledger was seen.
fn signers(world: &World, tiers: &[KitTier]) -> Result<BTreeMap<String, Vec<PublicKey>>> {
    let mut signers = BTreeMap::new();
    let seen = tiers.iter().flat_map(|tier| tier.heads.keys().cloned());
    for host in seen.chain([world.host.clone()]) {
        let mut believed = keys::accepted(&world.state, &host)?;
        if host == world.host {
            believed.extend(public_keys(world)?);
        }
        believed.sort_unstable();
        believed.dedup();
        if !believed.is_empty() {
            signers.insert(host, believed);
        }
    }
    Ok(signers)
}

/// What may be shown to anybody.
fn facts(kit: &Kit, request: &KitRequest<'_>) -> KitFacts {
    let tier = |tier: &KitTier| KitTierFacts {
        name: tier.name.clone(),
        url: tier.url.clone(),
        place: tier.place.clone(),
        vault: tier.vault.clone(),
        access: request
            .tiers
            .iter()
            .find(|one| one.name == tier.name)
            .map_or(KitAccess::Missing, |one| one.access),
    };
    let prints = |keys: &Vec<PublicKey>| keys.iter().map(PublicKey::fingerprint).collect();
    KitFacts {
        plan_name: kit.plan.name.clone(),
        plan_revision: kit.plan.revision.clone(),
        made: kit.made,
        made_on: kit.host.clone(),
        lifeboat: kit.lifeboat.clone(),
        master: kit.master.clone(),
        recipient: kit.recipient.clone(),
        signers: kit.signers.iter().map(|(host, keys)| (host.clone(), prints(keys))).collect(),
        tiers: kit.tiers.iter().map(tier).collect(),
        file: KIT_FILES[0].to_owned(),
        sha256: String::new(),
    }
}

/// What the ledger keeps, for later questions whether the kit is new enough.
fn recorded(world: &World, facts: &KitFacts) -> serde_json::Value {
    let signers: Vec<&String> = facts.signers.values().flatten().collect();
    let tiers: BTreeMap<&str, &Option<String>> =
        facts.tiers.iter().map(|tier| (tier.name.as_str(), &tier.vault)).collect();
    json!({
        "sha256": facts.sha256,
        "master": facts.master,
        "recipient": facts.recipient,
        "signers": signers,
        "tiers": tiers,
        "matters": kit::matters(&world.plan),
    })
}

/// The sealed file first: a page without it would promise what is not there.
fn write(request: &KitRequest<'_>, sealed: &[u8], facts: &KitFacts) -> Result<()> {
    let folder = &request.folder;
    std::fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
    let pages = (request.pages)(facts);
    let bodies = [sealed, pages.html.as_bytes(), pages.text.as_bytes()];
    for (name, body) in KIT_FILES.iter().zip(bodies) {
        let path = folder.join(name);
        if request.force {
            replace(&path, body)?;
        } else if !create_new(&path, body)? {
            return Err(older(&path));
        }
    }
    Ok(())
}
