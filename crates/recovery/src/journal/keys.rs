//! Who signs a journal, and whose objects are believed.

use lifeboat_model::chain::{Entry, MemorySigner, PublicKey, Signed, Signer};
use lifeboat_model::journal::StreamKey;
use zeroize::Zeroizing;

use crate::env::World;
use crate::error::{Error, Result};
use crate::ledger::remote::safe_name;
use crate::ledger::{Local, remote, signer, trust};
use crate::random::random;
use crate::tier::OpenTier;

/// A signer, and the word of the host's key where it is not that.
pub type StreamSigner = (Box<dyn Signer + Send>, Option<Signed<StreamKey>>);

/// What signs the objects of a stream: the host's key, or where a command has that, a key of the
/// stream's own, which lives as long as the process and which the command certifies once.
pub fn stream_signer(world: &World, component: &str) -> Result<StreamSigner> {
    let host = signer::of_host(world)?;
    if world.plan.key.sign_command.is_none() {
        return Ok((host, None));
    }
    let seed = Zeroizing::new(random::<32>()?);
    let own = MemorySigner::from_seed(&seed);
    let document = StreamKey {
        format: 1,
        component: safe_name(component),
        host: world.host.clone(),
        key: own.public_key(),
        time: world.clock.wall(),
    };
    let certificate = Signed::new(document, &*host)
        .map_err(|source| Error::Sign { what: "the key of a stream", source })?;
    Ok((Box::new(own), Some(certificate)))
}

/// The keys whose journal objects are believed: those that this host and the ledgers in the tier are
/// believed by ([`trust`]), and those that they announced. A sentence for each that is believed on
/// first sight.
pub fn trusted_keys(world: &World, tier: &OpenTier) -> Result<(Vec<PublicKey>, Vec<String>)> {
    let read = |lines: &[Vec<u8>]| -> Vec<Entry> {
        lines.iter().filter_map(|line| Entry::read(line).ok()).collect()
    };
    let local = read(&Local::new(&world.state, &world.host).lines()?.0);
    let mut keys = trust::own(world, &local)?;
    let mut notes = Vec::new();
    add_announced(&local, &mut keys);
    if let Ok(sealer) = &tier.sealer
        && sealer.opens()
    {
        for name in remote::hosts(&*tier.store)? {
            let entries = read(&remote::lines(&*tier.store, sealer, &name)?.lines);
            let Some(host) = entries.first().map(|entry| entry.host.clone()) else { continue };
            let trusted = trust::of(world, &host, &entries)?;
            let first = trusted.first_sight.filter(|key| !keys.contains(key));
            notes.extend(first.map(|key| trust::first_sight(&host, &key)));
            let mut of_host = trusted.keys;
            add_announced(&entries, &mut of_host);
            keys.extend(of_host);
        }
    }
    keys.sort_unstable();
    keys.dedup();
    Ok((keys, notes))
}

fn add_announced(entries: &[Entry], keys: &mut Vec<PublicKey>) {
    let believed = trust::tell(entries, keys).believed;
    keys.extend(believed.iter().filter_map(|entry| entry.next_key).collect::<Vec<_>>());
}
