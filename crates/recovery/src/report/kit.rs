//! The reports of a recovery kit's making, of a bootstrap, and of a drill with the kit alone.

use std::collections::BTreeMap;

use jiff::Timestamp;
use lifeboat_model::exit::Exit;
use lifeboat_model::verdict::Verdict;
use serde::Serialize;

use super::{EvidenceRef, Head, TierRef};

/// What a kit's credential of a tier can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum KitAccess {
    /// A folder: none is needed.
    Folder,
    /// Read alone.
    Read,
    /// Write too: the plan names no other one.
    Write,
    /// It was not at hand.
    Missing,
}

/// A tier, for the page.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KitTierFacts {
    /// Its name in the plan.
    pub name: String,
    /// Its place, as the plan writes it.
    pub url: String,
    /// The place itself.
    pub place: String,
    /// Its vault; nothing if it did not answer.
    pub vault: Option<String>,
    /// What the kit's credential can do there.
    pub access: KitAccess,
}

/// What a kit says of itself to anybody: nothing of it is secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KitFacts {
    /// The plan's name.
    pub plan_name: String,
    /// Its revision.
    pub plan_revision: String,
    /// When the kit was made.
    pub made: Timestamp,
    /// On which host.
    pub made_on: String,
    /// By which version.
    pub lifeboat: String,
    /// Fingerprint of the vaults' master key.
    pub master: String,
    /// To what sealed objects are sealed.
    pub recipient: Option<String>,
    /// Fingerprints of the signing keys that are believed, by host.
    pub signers: BTreeMap<String, Vec<String>>,
    /// The tiers, in the plan's order.
    pub tiers: Vec<KitTierFacts>,
    /// The sealed file's name.
    pub file: String,
    /// Its SHA-256, hexadecimal; empty before it is made.
    pub sha256: String,
}

/// A kit that was made, or would be. Schema `lifeboat/kit`, `lifeboat/kit-recipe`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct KitReport {
    /// Who, what, when.
    #[serde(flatten)]
    pub head: Head,
    /// What it says of itself.
    pub facts: KitFacts,
    /// The sealed file and the pages.
    pub files: Vec<String>,
    /// Nothing was written.
    pub dry_run: bool,
    /// What should be looked at.
    pub warnings: Vec<String>,
}

impl KitReport {
    /// 0; 3 if something of it should be looked at.
    pub fn exit(&self) -> Exit {
        if self.warnings.is_empty() { Exit::Done } else { Exit::Problems }
    }
}

/// How much a finding of a bootstrap says against what was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Trouble {
    /// Nothing, but it should be known.
    Note,
    /// The tier lacks what another one has, or an older plan was taken.
    Behind,
    /// Something was removed, changed, or signed by a stranger.
    Untrusted,
}

/// What a bootstrap found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BootstrapFinding {
    /// How much it says.
    pub trouble: Trouble,
    /// In which tier.
    pub tier: String,
    /// One sentence.
    pub what: String,
}

/// The ledger of one host in one tier.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BootstrapHead {
    /// The tier.
    pub tier: String,
    /// Whose ledger.
    pub host: String,
    /// Number of its last entry.
    pub seq: u64,
    /// Hash of that entry.
    pub hash: String,
    /// How many entries are believed by the kit's keys.
    pub believed: u64,
}

/// What was brought back. Schema `lifeboat/bootstrap`, `lifeboat/bootstrap-recipe`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BootstrapReport {
    /// Who, what, when.
    #[serde(flatten)]
    pub head: Head,
    /// From where.
    pub tier: TierRef,
    /// The folder.
    pub folder: String,
    /// The revision of the plan that was taken.
    pub plan_revision: String,
    /// Where it came from, in words.
    pub plan_from: String,
    /// The ledgers of all tiers that answered.
    pub heads: Vec<BootstrapHead>,
    /// Tiers that do not answer, and why.
    pub away: Vec<(String, String)>,
    /// Entries of ledgers that were brought back.
    pub entries: u64,
    /// Pieces of evidence.
    pub evidence: u64,
    /// What was found.
    pub findings: Vec<BootstrapFinding>,
    /// What comes next.
    pub next: Vec<String>,
    /// Nothing was written.
    pub dry_run: bool,
}

impl BootstrapReport {
    /// 0; 3 if a tier is behind; 9 if something was removed, changed or signed by a stranger.
    pub fn exit(&self) -> Exit {
        match self.findings.iter().map(|finding| finding.trouble).max() {
            Some(Trouble::Untrusted) => Exit::Unverified,
            Some(Trouble::Behind) => Exit::Problems,
            _ => Exit::Done,
        }
    }
}

/// One step of a drill with the kit alone.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct KitStep {
    /// `bootstrap`, `restore`.
    pub step: String,
    /// What it ended with.
    pub exit: u8,
    /// How long it took, seconds.
    pub seconds: f64,
    /// The verdict.
    pub verdict: Verdict,
    /// What was found, in one sentence.
    pub found: String,
}

/// A drill with the kit alone. Schema `lifeboat/kit-drill`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct KitDrillReport {
    /// Who, what, when.
    #[serde(flatten)]
    pub head: Head,
    /// Its id.
    pub id: String,
    /// SHA-256 of the kit's sealed file.
    pub kit: String,
    /// The tier that everything came from.
    pub tier: TierRef,
    /// Pass only if every step did.
    pub verdict: Verdict,
    /// The steps.
    pub steps: Vec<KitStep>,
    /// The components that came back, in recovery order.
    pub components: Vec<String>,
    /// True if nothing was left behind.
    pub sandbox_removed: bool,
    /// What should be looked at.
    pub findings: Vec<String>,
    /// The signed evidence.
    pub evidence: Option<EvidenceRef>,
}

impl KitDrillReport {
    /// 0; 11 if a step did not pass.
    pub fn exit(&self) -> Exit {
        if self.verdict == Verdict::Pass { Exit::Done } else { Exit::DrillFailed }
    }
}
