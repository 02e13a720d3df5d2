//! Bootstrap: on a machine that has only the binary, from one tier and the recovery kit, the plan,
//! the ledgers and the evidence.
//!
//! Nothing is believed that a key of the kit, or one that such a key announced, did not sign; nothing
//! of a plan is run. The ledgers of all tiers that answer are compared with each other and with where
//! they stood when the kit was made: a tier that was set back is named, and nothing is taken from it
//! without being asked for.

mod back;
mod compare;
mod plan;
mod view;

use std::path::PathBuf;
use std::sync::Arc;

use self::view::View;
use crate::env::World;
use crate::error::{Error, Result, ends_run};
use crate::kit::Kit;
use crate::ledger::keys;
use crate::report::{BootstrapFinding, BootstrapHead, BootstrapReport, Failure, TierRef, Trouble};

/// Asks for a bootstrap. The world's tier is the one that everything comes from, and its state the
/// one that is being made.
pub struct BootstrapRequest<'a> {
    /// The kit.
    pub kit: &'a Kit,
    /// The folder that all of it will stand in at the end.
    pub folder: PathBuf,
    /// Take the plan that is in the kit, whatever the tier has.
    pub kit_plan: bool,
    /// Go on in spite of what was found wrong in the tier.
    pub anyway: bool,
    /// A rehearsal: nothing is recorded.
    pub rehearsal: bool,
    /// Say what would be brought back.
    pub dry_run: bool,
}

/// Brings back plan, ledgers and evidence into the folder of the world's plan.
///
/// # Errors
/// [`Error::Untrusted`] where the tier is not what the kit knows, [`Error::OtherVault`] where it is
/// another plan's.
pub fn bootstrap(world: &World, request: &BootstrapRequest<'_>) -> Result<BootstrapReport> {
    let (start, kit) = (world.start(), request.kit);
    for (host, believed) in &kit.signers {
        keys::accept(&world.state, host, believed)?;
    }
    let own = View::of(world, kit)?;
    let (mut others, mut away) = (Vec::new(), Vec::new());
    for tier in world.elsewhere() {
        match View::of(&world.with_tier(tier), kit) {
            Ok(view) => others.push(view),
            Err(error) if ends_run(&error) => return Err(error),
            Err(error) => away.push((tier.name.clone(), Failure::of(&error).line())),
        }
    }
    let mut findings = own.findings.clone();
    findings.extend(others.iter().flat_map(|view| view.findings.clone()));
    let views: Vec<&View> = std::iter::once(&own).chain(&others).collect();
    findings.extend(compare::with_the_kit(&views, kit));
    findings.extend(compare::with_each_other(&views));
    let chosen = plan::choose(&own, kit, request.kit_plan);
    findings.extend(chosen.findings.clone());
    refuse(&own, &findings, request)?;
    let world = &World {
        plan: Arc::new(chosen.plan.clone()),
        revision: chosen.revision.revision.clone(),
        texts: Arc::new(chosen.revision.files.clone()),
        ..world.clone()
    };
    let mut report = BootstrapReport {
        tier: TierRef { name: own.name.clone(), url: world.tier.url.clone() },
        folder: request.folder.display().to_string(),
        plan_revision: chosen.revision.revision.clone(),
        plan_from: chosen.from.clone(),
        heads: views.iter().flat_map(|view| heads(view)).collect(),
        away,
        entries: 0,
        evidence: 0,
        findings,
        next: next(request),
        dry_run: request.dry_run,
        head: world.head("lifeboat/bootstrap", start),
    };
    if !request.dry_run {
        back::bring(world, request, &own, &others, &chosen, &mut report)?;
    }
    report.head = world.head(
        if request.dry_run { "lifeboat/bootstrap-recipe" } else { "lifeboat/bootstrap" },
        start,
    );
    Ok(report)
}

/// Nothing is taken from a tier that is not what the kit's keys say, without being asked for.
fn refuse(own: &View, findings: &[BootstrapFinding], request: &BootstrapRequest<'_>) -> Result<()> {
    let wrong = |finding: &&BootstrapFinding| {
        finding.trouble == Trouble::Untrusted && finding.tier == own.name
    };
    let found: Vec<&str> = findings.iter().filter(wrong).map(|f| f.what.as_str()).collect();
    if found.is_empty() || request.anyway {
        return Ok(());
    }
    Err(Error::Untrusted {
        what: format!(
            "tier {} is not what the recovery kit vouches for: {}",
            own.name,
            found.join("; ")
        ),
        hint:
            "bootstrap from another tier; where there is none, `--anyway` takes what is believed, \
               and `--kit-plan` the plan that is in the kit"
                .to_owned(),
    })
}

fn heads(view: &View) -> Vec<BootstrapHead> {
    let head = |chain: &view::Chain| {
        let (seq, hash) = chain.end()?;
        Some(BootstrapHead {
            tier: view.name.clone(),
            host: chain.host.clone(),
            seq,
            hash: hash.to_string(),
            believed: chain.believed.len() as u64,
        })
    };
    view.chains.iter().filter_map(head).collect()
}

/// What comes next, in order.
fn next(request: &BootstrapRequest<'_>) -> Vec<String> {
    let folder = request.folder.display();
    vec![
        format!("cd {folder}"),
        "lifeboat list".to_owned(),
        "lifeboat restore --all --to DIR   # every component, in the order of recovery".to_owned(),
        "put the plan's own keys and credentials in place, then: rm .lifeboat/kit.json".to_owned(),
        "lifeboat backup".to_owned(),
    ]
}
