//! Opening a tier: what is there is compared with what is known before anything is written.
//!
//! - A vault is known there and none is found: an unmounted disk. Unreachable, nothing written.
//! - Another vault than the known one: refused.
//! - One of another plan, by the state folder or by the ledgers in the tier: refused where anything
//!   would be changed, said where something is only read.
//! - Other things and no vault: refused.
//! - Nothing, and nothing known: a backup makes the vault; everything else says that there is none.

mod hold;
mod identity;

use std::path::Path;
use std::sync::Arc;

use lifeboat_vault::cache::DEFAULT_LIMIT;
use lifeboat_vault::{Cache, Error as VaultError, Store, Vault};

pub use self::hold::{HOLD, Hold};
use crate::env::World;
use crate::error::{Error, Result};
use crate::ledger::trust;
use crate::ports::Presence;
use crate::read_only::ReadOnly;
use crate::report::{Failure, TierRef};
use crate::seal::Sealer;
use crate::state::{FileLock, KnownTier};

/// Names that a tier has of its own: a place with these alone is one whose making was interrupted.
const OURS: &[&str] = &["vault", "journal", "ledger", "plan", "proof.json", HOLD];

/// What a vault has in it.
const VAULTS: &[&str] = &["config", "keys/", "data/", "index/", "snapshots/", "locks/"];

/// What a flow may do in the tier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Make the vault if nothing is there, and add to it.
    Make,
    /// Add to the ledger, take locks; the vault must be there.
    Write,
    /// Read, without a lock and without a trace, in the local state too.
    Read,
}

/// The recipient of a tier that this host knows, and its objects, or why it cannot be reached.
pub type KnownStore = (String, Result<Arc<dyn Store>>);

/// An opened tier.
pub struct OpenTier {
    /// Its objects.
    pub store: Arc<dyn Store>,
    /// Its vault.
    pub vault: Vault,
    /// What seals and opens ledger objects, or why there is nothing to do so.
    pub sealer: Result<Arc<Sealer>, Failure>,
    /// Why this is the vault of another plan: it may be read, and nothing more.
    pub other_plan: Option<String>,
}

impl OpenTier {
    /// The same tier, every byte of it read from there: for what is to prove that it is there.
    pub fn uncached(&self) -> OpenTier {
        OpenTier {
            store: self.store.clone(),
            vault: self.vault.without_cache(),
            sealer: self.sealer.clone(),
            other_plan: self.other_plan.clone(),
        }
    }
}

impl World {
    /// The tier, for reports.
    pub fn tier_ref(&self) -> TierRef {
        TierRef { name: self.tier.name.clone(), url: self.tier.url.clone() }
    }

    /// Opens the tier. Nothing, where nothing is there yet and the flow may make it
    /// ([`World::make_or_join_tier`]); writes nothing but an identity that is missing.
    pub fn open_tier(&self, access: Access) -> Result<Option<OpenTier>> {
        let key = self.key()?;
        let known = self.state.known_tier(&self.tier.name)?;
        let none = || match access {
            Access::Make => Ok(None),
            _ => Err(Error::NoVault { tier: self.tier.name.clone() }),
        };
        if self.nothing_there(known.as_ref())? {
            return none();
        }
        let opened = self.tier.place.open(access == Access::Make)?;
        if !Vault::exists(&*opened.vault)? {
            self.may_be_made(&*opened.vault, known.is_some())?;
            return none();
        }
        let locks = (access != Access::Read).then(|| opened.locks.clone());
        let (store, environment) = (opened.vault.clone(), self.environment());
        let vault = Vault::open(store, locks, &key.password(), environment);
        if matches!(vault, Err(VaultError::WrongPassword { .. })) {
            // The plan has the new key already, and still the old tier first.
            self.refuse_on_hold()?;
        }
        let vault = vault?;
        self.is_ours(&vault, known.as_ref())?;
        let store: Arc<dyn Store> = match access {
            Access::Read => Arc::new(ReadOnly(opened.store)),
            _ => opened.store,
        };
        let sealer = self.sealer(&*store, access, known.as_ref(), vault.key_id());
        let other_plan = self.other_plan(&*store, &sealer, known.as_ref())?;
        if let Some(why) = &other_plan {
            if access == Access::Make {
                return Err(self.of_other_plan(why));
            }
            let sealer = sealer.map(Arc::new).map_err(|error| Failure::of(&error));
            return Ok(Some(OpenTier { store, vault, sealer, other_plan }));
        }
        self.opened(store, vault, sealer, known, access).map(Some)
    }

    /// The vault through the cache in the local state, where its place is farther away than that. A
    /// flow that leaves no trace uses what is there.
    fn cached(&self, vault: Vault, access: Access) -> Vault {
        let folder = self.state.cache();
        if !self.tier.place.is_farther_than(&folder) {
            return vault;
        }
        if access == Access::Read || self.state.is_stand_in() {
            return vault.with_cache(&Cache::open_to_read(&folder, self.clock.clone()));
        }
        match self.make_cache(&folder) {
            Ok(cache) => vault.with_cache(&cache),
            Err(error) => {
                let why = Failure::of(&error).line();
                self.monitor.note(&format!("going on without the cache: {why}"));
                vault
            }
        }
    }

    fn make_cache(&self, folder: &Path) -> Result<Cache> {
        self.state.make("")?;
        Ok(Cache::open(folder, DEFAULT_LIMIT, self.clock.clone())?)
    }

    /// Opens the tier for reading alone: no lock, no trace.
    pub fn read_tier(&self) -> Result<OpenTier> {
        self.open_tier(Access::Read)?.ok_or_else(|| Error::NoVault { tier: self.tier.name.clone() })
    }

    /// As [`World::read_tier`], but nothing where a backup would make the vault.
    pub fn open_tier_to_look(&self) -> Result<Option<OpenTier>> {
        match self.open_tier(Access::Read) {
            Ok(tier) => Ok(tier),
            Err(Error::NoVault { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The tier's objects without its vault, and the recipient to which they are sealed: for what
    /// only adds to the journal, and is to cost no key. Nothing where this host does not know the
    /// tier; why it cannot be reached, where it does.
    pub fn known_store(&self) -> Result<Option<KnownStore>> {
        let Some(known) = self.state.known_tier(&self.tier.name)? else { return Ok(None) };
        let recipient = self.plan.key.recipient.as_ref().map(|key| key.trim().to_owned());
        let Some(recipient) = recipient.or(known.recipient.clone()) else { return Ok(None) };
        self.refuse_on_hold()?;
        if let Some(why) = self.state_of_other_plan()? {
            return Err(self.of_other_plan(&why));
        }
        let reach = || {
            self.nothing_there(Some(&known))?;
            let opened = self.tier.place.open(false)?;
            if !Vault::exists(&*opened.vault)? {
                let (tier, place) = (self.tier.name.clone(), self.tier.url.clone());
                return Err(Error::Unmounted { tier, place });
            }
            Ok(opened.store)
        };
        Ok(Some((recipient, reach())))
    }

    /// Makes the vault; of two processes that are the first, one makes it and the other joins.
    pub fn make_or_join_tier(&self, access: Access, like: Option<&OpenTier>) -> Result<OpenTier> {
        self.state.make("")?;
        let _gate = FileLock::exclusive(&self.state.path("making.lock"))?;
        match self.open_tier(access)? {
            Some(tier) => Ok(tier),
            None => self.make_tier(like),
        }
    }

    /// Makes the vault in a place where nothing is, or goes on with a making that was interrupted.
    /// It shares master key, cuts and identity with the tier that it is to be `like`.
    fn make_tier(&self, like: Option<&OpenTier>) -> Result<OpenTier> {
        let key = self.key()?;
        let opened = self.tier.place.open(true)?;
        let seed = match like {
            Some(like) => {
                self.same_identity(&*opened.store, like)?;
                Some(like.vault.seed()?)
            }
            None => None,
        };
        let vault = Vault::init(
            opened.vault.clone(),
            opened.locks.clone(),
            &key.password(),
            key.strength,
            self.environment(),
            seed.as_ref(),
        )?;
        let sealer = self.sealer(&*opened.store, Access::Make, None, vault.key_id());
        self.opened(opened.store, vault, sealer, None, Access::Make)
    }

    fn opened(
        &self,
        store: Arc<dyn Store>,
        vault: Vault,
        sealer: Result<Sealer>,
        known: Option<KnownTier>,
        access: Access,
    ) -> Result<OpenTier> {
        let sealer = sealer.map(Arc::new).map_err(|error| Failure::of(&error));
        if access != Access::Read {
            self.remember(&vault, known, sealer.as_deref().ok())?;
        }
        let vault = self.cached(vault, access);
        Ok(OpenTier { store, vault, sealer, other_plan: None })
    }

    /// True if there is nothing and nothing is known to be there.
    pub fn nothing_there(&self, known: Option<&KnownTier>) -> Result<bool> {
        let tier = || self.tier.name.clone();
        let place = || self.tier.url.clone();
        // What was known may be lost: then nothing says that the place is new.
        let known = known.is_some() || self.state.tiers_were_lost()?;
        match (self.tier.place.look()?, known) {
            (Presence::Vault, _) => Ok(false),
            (Presence::Other(names), _) if names.iter().any(|name| name == "vault") => Ok(false),
            (_, true) => Err(Error::Unmounted { tier: tier(), place: place() }),
            (Presence::Absent | Presence::Empty, false) => Ok(true),
            (Presence::Other(names), false) => {
                if names.iter().all(|name| OURS.contains(&name.as_str())) {
                    Ok(true)
                } else {
                    Err(Error::NotAVault { tier: tier(), place: place(), found: names })
                }
            }
        }
    }

    /// A folder `vault/` without a vault in it: a disk that is mounted there and is not now, or other
    /// things of that name, are not where one is made. What an interrupted making left is.
    fn may_be_made(&self, vault: &dyn Store, known: bool) -> Result<()> {
        let (tier, place) = (self.tier.name.clone(), self.tier.url.clone());
        if known || self.state.tiers_were_lost()? {
            return Err(Error::Unmounted { tier, place });
        }
        let ours = |key: &str| VAULTS.iter().any(|name| key.starts_with(name));
        let keys = vault.list("")?.into_iter().map(|entry| entry.key);
        let mut found: Vec<String> =
            keys.filter(|key| !ours(key)).map(|key| format!("vault/{key}")).collect();
        found.truncate(3);
        match found.is_empty() {
            true => Ok(()),
            false => Err(Error::NotAVault { tier, place, found }),
        }
    }

    /// The vault is the one that is known. A damaged config has no id; then the key must do.
    fn is_ours(&self, vault: &Vault, known: Option<&KnownTier>) -> Result<()> {
        let Some(known) = known else { return Ok(()) };
        let other = |why: &str| {
            Err(Error::OtherVault { tier: self.tier.name.clone(), why: why.to_owned() })
        };
        if known.master != vault.master_fingerprint() {
            return other("its master key is not the known one");
        }
        let both_known = !vault.repository_id().is_empty() && !known.vault.is_empty();
        if both_known && vault.repository_id() != known.vault {
            return other("its id is not the known one");
        }
        Ok(())
    }

    /// The error that this vault is another plan's.
    pub(crate) fn of_other_plan(&self, why: &str) -> Error {
        Error::OtherPlan { tier: self.tier.name.clone(), why: why.to_owned() }
    }

    /// Why the state folder is that of another plan. One that was renamed in its file, or whose old
    /// file is gone, is the same.
    pub(crate) fn state_of_other_plan(&self) -> Result<Option<String>> {
        let Some(known) = self.state.known_plan()? else { return Ok(None) };
        let same = known.name == self.plan.header.name.as_str() || known.file == self.plan_file;
        Ok((!same && known.file.exists()).then(|| {
            format!("the state folder is that of plan {} ({})", known.name, known.file.display())
        }))
    }

    /// Why this is the vault of another plan. What the state folder does not know the ledgers in the
    /// tier say.
    fn other_plan(
        &self,
        store: &dyn Store,
        sealer: &Result<Sealer>,
        known: Option<&KnownTier>,
    ) -> Result<Option<String>> {
        if let Some(why) = self.state_of_other_plan()? {
            return Ok(Some(why));
        }
        if known.is_some() && self.state.known_plan()?.is_some() {
            return Ok(None);
        }
        self.ledgers_of_other_plan(store, sealer)
    }

    /// A plan keeps every name that a believed entry gives it: it may have been renamed since. A tier
    /// without a ledger, or whose ledgers cannot be opened here, is taken as it is: the key opened
    /// the vault.
    fn ledgers_of_other_plan(
        &self,
        store: &dyn Store,
        sealer: &Result<Sealer>,
    ) -> Result<Option<String>> {
        let Ok(sealer) = sealer else { return Ok(None) };
        if !sealer.opens() {
            return Ok(None);
        }
        let plans = trust::plans(self, store, sealer)?;
        let ours = self.plan.header.name.as_str();
        if plans.is_empty() || plans.iter().any(|plan| plan == ours) {
            return Ok(None);
        }
        Ok(Some(format!("its ledger names {}", plans.join(", "))))
    }

    fn remember(
        &self,
        vault: &Vault,
        known: Option<KnownTier>,
        sealer: Option<&Sealer>,
    ) -> Result<()> {
        let recipient = sealer.map(Sealer::recipient);
        let identity = sealer.and_then(Sealer::sealed_as).map(str::to_owned);
        let now = match known {
            Some(known) => KnownTier {
                url: self.tier.url.clone(),
                recipient: recipient.or(known.recipient.clone()),
                identity: identity.or(known.identity.clone()),
                ..known
            },
            None => KnownTier {
                vault: vault.repository_id().to_owned(),
                master: vault.master_fingerprint(),
                url: self.tier.url.clone(),
                recipient,
                identity,
                successor: None,
            },
        };
        Ok(self.state.remember_tier(&self.tier.name, &now)?)
    }
}
