//! A tier as a machine sees it that has only the kit.

use std::collections::BTreeSet;

use lifeboat_model::chain::{Entry, Hash, PublicKey};
use lifeboat_vault::Error as VaultError;

use crate::env::World;
use crate::error::{Error, Result};
use crate::flows::{AuditRequest, audit_verify};
use crate::kit::Kit;
use crate::ledger::{keys, remote, revision, trust};
use crate::ports::Presence;
use crate::report::{BootstrapFinding, FindingKind, Trouble};
use crate::tier::OpenTier;

/// What a tier has.
pub(super) struct View {
    /// Its name.
    pub name: String,
    /// The world whose tier it is.
    pub world: World,
    /// The tier.
    pub tier: OpenTier,
    /// The ledgers.
    pub chains: Vec<Chain>,
    /// The revisions of the plan.
    pub plans: Vec<revision::Found>,
    /// What is wrong with it by itself.
    pub findings: Vec<BootstrapFinding>,
}

/// The ledger of one host.
pub(super) struct Chain {
    /// Whose.
    pub host: String,
    /// Its lines, as they are stored.
    pub lines: Vec<Vec<u8>>,
    /// Those that can be read.
    pub entries: Vec<Entry>,
    /// Numbers of those that are believed.
    pub believed: BTreeSet<u64>,
    /// It holds together, and all of it is believed.
    pub sound: bool,
}

impl Chain {
    /// Its last entry.
    pub(super) fn end(&self) -> Option<(u64, Hash)> {
        self.entries.last().map(|entry| (entry.seq, entry.hash()))
    }

    /// The hash of an entry.
    pub(super) fn at(&self, seq: u64) -> Option<Hash> {
        self.entries.iter().find(|entry| entry.seq == seq).map(Entry::hash)
    }

    /// The entries that are believed, oldest first.
    pub(super) fn told(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(|entry| self.believed.contains(&entry.seq))
    }
}

impl View {
    /// Looks at the world's tier.
    pub(super) fn of(world: &World, kit: &Kit) -> Result<View> {
        let name = world.tier.name.clone();
        match world.tier.place.look()? {
            Presence::Vault => {}
            _ => return Err(Error::NoVault { tier: name }),
        }
        let tier = match world.read_tier() {
            Err(Error::Vault(VaultError::WrongPassword { .. })) => {
                return Err(closed(world, kit, &name));
            }
            opened => opened?,
        };
        if tier.vault.master_fingerprint() != kit.master {
            let why = "its master key is not the one in the recovery kit".to_owned();
            return Err(Error::OtherVault { tier: name, why });
        }
        let mut view = View {
            name,
            world: world.clone(),
            tier,
            chains: Vec::new(),
            plans: Vec::new(),
            findings: Vec::new(),
        };
        view.read()?;
        Ok(view)
    }

    fn read(&mut self) -> Result<()> {
        let sealer = match &self.tier.sealer {
            Ok(sealer) if sealer.opens() => sealer.clone(),
            Ok(_) => return Err(crate::seal::SealError::NoIdentity.into()),
            Err(why) => {
                let what = format!("its ledgers and plans cannot be opened: {}", why.line());
                self.find(Trouble::Untrusted, what);
                return Ok(());
            }
        };
        let store = self.tier.store.clone();
        let mut trusted: Vec<PublicKey> = Vec::new();
        for name in remote::hosts(&*store)? {
            let host = remote::host_name(&name);
            let believed = keys::accepted(&self.world.state, &host)?;
            let fetched = remote::lines(&*store, &sealer, &name)?;
            let entries: Vec<Entry> =
                fetched.lines.iter().filter_map(|line| Entry::read(line).ok()).collect();
            if believed.is_empty() {
                let what =
                    format!("the kit knows no key of host {host}: its ledger is not believed");
                self.find(Trouble::Note, what);
            }
            let told = match believed.is_empty() {
                true => trust::Told::default(),
                false => trust::tell(&entries, &believed),
            };
            let announced = told.believed.iter().filter_map(|entry| entry.next_key);
            trusted.extend(believed.iter().copied().chain(announced));
            let numbers = told.believed.iter().map(|entry| entry.seq).collect();
            let sound = !believed.is_empty() && self.audited(&host)?;
            self.chains.push(Chain {
                host,
                lines: fetched.lines,
                entries,
                believed: numbers,
                sound,
            });
        }
        self.plans = revision::all(&*store, &sealer, &trusted)?;
        Ok(())
    }

    /// What the audit finds in a chain: true if nothing is wrong.
    fn audited(&mut self, host: &str) -> Result<bool> {
        let request = AuditRequest { host: Some(host.to_owned()), key: None };
        let report = audit_verify(&self.world, &request)?;
        let wrong = report.findings.into_iter().filter(|f| f.kind != FindingKind::Note);
        let wrong: Vec<String> = wrong.map(|finding| finding.what).collect();
        for what in &wrong {
            self.find(Trouble::Untrusted, format!("the ledger of {host}: {what}"));
        }
        Ok(wrong.is_empty())
    }

    fn find(&mut self, trouble: Trouble, what: String) {
        self.findings.push(BootstrapFinding { trouble, tier: self.name.clone(), what });
    }
}

/// The kit's key does not open the vault. What the kit saw there, if it is still there, tells a key
/// that was changed from another plan's vault.
fn closed(world: &World, kit: &Kit, name: &str) -> Error {
    let known = kit.tiers.iter().find(|tier| tier.name == *name);
    let seen = known.into_iter().flat_map(|tier| &tier.heads);
    let key = |(host, seen): (&String, &crate::kit::Seen)| {
        remote::checkpoint_key(host, seen.seq, &seen.hash)
    };
    let keys: Vec<String> = seen.map(key).collect();
    let ours = world
        .tier
        .place
        .open(false)
        .is_ok_and(|opened| keys.iter().any(|key| opened.store.stat(key).is_ok()));
    match ours {
        true => Error::Usage {
            what: format!("the key in the recovery kit does not open tier {name} any more"),
            hint: "the vault key was changed after the kit was made: take the newest kit"
                .to_owned(),
        },
        false => Error::OtherVault {
            tier: name.to_owned(),
            why: "the key in the recovery kit does not open it".to_owned(),
        },
    }
}
