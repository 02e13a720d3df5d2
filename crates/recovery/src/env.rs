//! The world that a flow acts in, built once by the command line: nothing here is global.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use lifeboat_model::chain::PlanText;
use lifeboat_model::manifest::Manifest;
use lifeboat_model::plan::{Plan, SecretSource};
use lifeboat_vault::{Cancel, Clock, Environment, KeyStrength, Monitor, Password, Snapshot, Vault};
use zeroize::Zeroizing;

use crate::error::{Error, Result};
use crate::ports::{
    Disk, Engine, EngineError, InPlace, LogError, LogSource, Place, Runner, Source, SourceError,
};
use crate::state::State;

/// A secret text: wiped when dropped, never shown.
#[derive(Clone)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes over a secret.
    pub fn new(text: impl Into<String>) -> Secret {
        Secret(Zeroizing::new(text.into()))
    }

    /// The text; handle with care.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// The vault key.
#[derive(Debug, Clone)]
pub struct VaultKey {
    /// restic's password.
    pub secret: Secret,
    /// Generated with 256 bits, or typed by a person.
    pub strength: KeyStrength,
}

impl VaultKey {
    /// As the vault takes it.
    pub fn password(&self) -> Password {
        Password::new(self.secret.expose().as_bytes())
    }

    /// True for a key that a person typed.
    pub fn typed(&self) -> bool {
        self.strength == KeyStrength::Typed
    }
}

/// The tier that is carried out.
#[derive(Clone)]
pub struct Tier {
    /// Name in the plan.
    pub name: String,
    /// The place as the plan writes it.
    pub url: String,
    /// The place itself.
    pub place: Arc<dyn Place>,
}

/// Makes the reader of a component's live data.
pub type MakeSource = dyn Fn(&str) -> Result<Box<dyn Source>, SourceError> + Send + Sync;
/// Makes the reader of a component's log.
pub type MakeLog = dyn Fn(&str) -> Result<Box<dyn LogSource>, LogError> + Send + Sync;
/// Makes the judge of a component's restored copy. The manifest says what kind it is; the vault
/// and the snapshot are where it came from, for kinds that compare entry by entry.
pub type MakeEngine = dyn Fn(&str, &Manifest, &Vault, &Snapshot) -> Result<Box<dyn Engine>, EngineError>
    + Send
    + Sync;
/// Makes what swaps a component's live data.
pub type MakeInPlace =
    dyn Fn(&str, &Manifest) -> Result<Box<dyn InPlace>, EngineError> + Send + Sync;

/// Looks for what a swap that was cut off has left.
pub type Unsettled = dyn Fn(&str) -> Option<String> + Send + Sync;

/// Looks for who is at work on data that stand at, in or around a folder.
pub type InUse = dyn Fn(&Path) -> Option<String> + Send + Sync;

/// The adapters by component name.
#[derive(Clone)]
pub struct Adapters {
    /// Reads production. A drill never sees it.
    pub source: Arc<MakeSource>,
    /// Reads the log of production. A drill never sees it.
    pub log: Arc<MakeLog>,
    /// Judges restored copies.
    pub engine: Arc<MakeEngine>,
    /// Swaps live data; used by `restore --in-place` alone.
    pub in_place: Arc<MakeInPlace>,
    /// What a swap that was cut off has left at a component's live data, in words; only looks.
    pub unsettled: Arc<Unsettled>,
    /// Which server runs on a folder, in words, whoever's it is; only looks. A restore never writes
    /// under a running one.
    pub in_use: Arc<InUse>,
}

/// Everything that a flow needs.
#[derive(Clone)]
pub struct World {
    /// The plan.
    pub plan: Arc<Plan>,
    /// The folder of the plan file, against which its paths are resolved.
    pub plan_folder: PathBuf,
    /// The plan file, absolute: a plan that is renamed in it stays the same plan.
    pub plan_file: PathBuf,
    /// The plan's revision: the hash of its canonical form.
    pub revision: String,
    /// The plan's files: each tier gets them, signed. None where nobody read them from files.
    pub texts: Arc<Vec<PlanText>>,
    /// The local state folder, `.lifeboat/`.
    pub state: State,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Progress.
    pub monitor: Arc<dyn Monitor>,
    /// Stop request.
    pub cancel: Cancel,
    /// Who asked, for the ledger.
    pub operator: String,
    /// This host.
    pub host: String,
    /// The user that this process runs as.
    pub user: String,
    /// This process.
    pub pid: u32,
    /// The tier that is carried out.
    pub tier: Tier,
    /// All tiers of the plan that this version reaches, in the plan's order.
    pub tiers: Vec<Tier>,
    /// Further tiers of the plan, which this version does not carry out, by name.
    pub other_tiers: Vec<String>,
    /// The vault key; nothing if the plan's source for it gave none.
    pub key: Option<VaultKey>,
    /// `[key] identity_*`, where this host has it: `AGE-SECRET-KEY-1…`.
    pub identity: Option<Secret>,
    /// Adapters.
    pub adapters: Adapters,
    /// Outside actions (`stop`, `start`).
    pub runner: Arc<dyn Runner>,
    /// Room on disks.
    pub disk: Arc<dyn Disk>,
    /// Why nothing that changes nothing is recorded here, nor written to a tier: the folder is that
    /// of a rehearsal.
    pub rehearsal: Option<String>,
    /// Version of the program, for manifests and evidence.
    pub version: String,
}

impl World {
    /// What the vault needs of it.
    pub fn environment(&self) -> Environment {
        Environment {
            clock: self.clock.clone(),
            monitor: self.monitor.clone(),
            cancel: self.cancel.clone(),
            host: self.host.clone(),
            user: self.user.clone(),
            pid: self.pid,
        }
    }

    /// The tiers within reach but the one that is carried out.
    pub fn elsewhere(&self) -> impl Iterator<Item = &Tier> {
        self.tiers.iter().filter(|tier| tier.name != self.tier.name)
    }

    /// The same world with another tier.
    pub fn with_tier(&self, tier: &Tier) -> World {
        World { tier: tier.clone(), ..self.clone() }
    }

    /// The vault key, or the error that there is none.
    pub fn key(&self) -> Result<&VaultKey> {
        self.key.as_ref().ok_or(Error::NoKey)
    }

    /// The vault key's file, if it lies in the state folder: losing that folder loses the key too.
    pub fn key_in_state(&self) -> Option<PathBuf> {
        let SecretSource::File(written) = self.plan.key.vault() else { return None };
        let path = self.plan.path(&self.plan_folder, written);
        path.starts_with(self.state.folder()).then_some(path)
    }

    /// An error once somebody asked to stop.
    pub fn stop_if_cancelled(&self) -> Result<()> {
        if self.cancel.is_cancelled() { Err(Error::Cancelled) } else { Ok(()) }
    }
}
