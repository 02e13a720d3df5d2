//! The plan in each tier: once a revision, signed, sealed, never another one's.

use bytes::Bytes;
use lifeboat_model::chain::{MemorySigner, PublicKey, Revision, Signed, Signer};
use lifeboat_recovery::flows::{self, BackupRequest, CopyRequest};
use lifeboat_recovery::ledger::revision;
use lifeboat_recovery::seal::Sealer;
use lifeboat_vault::Store;

use crate::bench::{Bench, KEY, bench};

fn sealer(store: &dyn Store) -> Sealer {
    Sealer::unlock(&store.get("journal/identity.age").unwrap(), KEY).unwrap()
}

fn keys(store: &dyn Store) -> Vec<String> {
    store.list("plan").unwrap().into_iter().map(|entry| entry.key).collect()
}

fn own_key(bench: &Bench) -> PublicKey {
    let seed = std::fs::read_to_string(bench.state().join("sign.key")).unwrap();
    let mut bytes = [0; 32];
    hex::decode_to_slice(seed.trim(), &mut bytes).unwrap();
    MemorySigner::from_seed(&bytes).public_key()
}

#[test]
fn each_revision_stands_once_in_each_tier() {
    let mut bench = bench();
    let (tier, second) = (bench.tier(), bench.tier());
    let world = bench.world_of(&tier, &second);
    let first = world.revision.clone();
    flows::backup(&world, &BackupRequest::default()).unwrap();
    flows::backup(&world, &BackupRequest::default()).unwrap();
    let key = own_key(&bench);
    assert_eq!(keys(&*tier), [revision::object(&first, &key)]);
    // Another comment is the same revision: what is there stays.
    bench.plan = format!("# a word\n{}", bench.plan);
    std::fs::remove_file(bench.state().join("ledger/plans.json")).unwrap();
    let report = flows::backup(&bench.world(&tier), &BackupRequest::default()).unwrap();
    assert!(!report.warnings.iter().any(|line| line.contains("plan")), "{:?}", report.warnings);
    // Another plan is another one, beside it.
    bench.plan = bench.plan.replace("rto = \"4h\"", "rto = \"2h\"");
    let world = bench.world_of(&tier, &second);
    assert_ne!(world.revision, first);
    flows::backup(&world, &BackupRequest::default()).unwrap();
    flows::copy(&world, &CopyRequest::default()).unwrap();
    let found = revision::all(&*tier, &sealer(&*tier), &[key]).unwrap();
    assert_eq!(found.len(), 2);
    for one in &found {
        let plan = one.read.as_ref().unwrap().plan().unwrap();
        assert_eq!(plan.header.name.as_str(), "Shop");
        assert_eq!(plan.revision(), one.revision);
    }
    let there = revision::object(&world.revision, &key);
    assert!(keys(&*second).contains(&there), "{:?}", keys(&*second));
}

#[test]
fn a_plan_that_somebody_else_signed_or_moved_is_not_believed() {
    let bench = bench();
    let tier = bench.tier();
    let world = bench.world(&tier);
    flows::backup(&world, &BackupRequest::default()).unwrap();
    let (sealer, own) = (sealer(&*tier), own_key(&bench));
    let genuine = revision::all(&*tier, &sealer, &[own]).unwrap().remove(0).read.unwrap();
    let stranger = MemorySigner::from_seed(&[9; 32]);
    let put = |key: &str, revision: Revision, signer: &dyn Signer| {
        let body = Signed::new(revision, signer).unwrap().bytes();
        tier.create(key, &[Bytes::from(sealer.seal(&body).unwrap())]).unwrap();
    };
    // A stranger's, under his own name and under ours.
    let mut other = genuine.clone();
    other.revision = "ab".repeat(32);
    put(&revision::object(&other.revision, &stranger.public_key()), other.clone(), &stranger);
    other.revision = "cd".repeat(32);
    put(&revision::object(&other.revision, &own), other, &stranger);
    // Ours, under the name of another revision.
    let moved = revision::object(&"ef".repeat(32), &own);
    let body = tier.get(&revision::object(&world.revision, &own)).unwrap();
    tier.create(&moved, &[body]).unwrap();
    let found = revision::all(&*tier, &sealer, &[own]).unwrap();
    assert_eq!(found.len(), 4);
    for one in found {
        let believed = one.read.is_ok();
        assert_eq!(believed, one.revision == world.revision, "{}: {:?}", one.object, one.read);
    }
    // Without a key to trust, nothing is believed.
    let found = revision::all(&*tier, &sealer, &[]).unwrap();
    assert!(found.iter().all(|one| one.read.is_err()));
}
