//! Whatever stands in a store, reading it is an error at worst and never a panic.

use std::sync::{Arc, OnceLock};

use lifeboat_testkit::{MemoryStore, environment};
use lifeboat_vault::crypto::Key;
use lifeboat_vault::index::IndexFile;
use lifeboat_vault::{
    CheckOptions, Config, Id, MasterSeed, Snapshot, Store, Tree, Vault, compress, pack,
};
use proptest::prelude::*;

use crate::support::{contents, filled_by_restic, key_of, noise, open};

struct Fixture {
    store: MemoryStore,
    seed: MasterSeed,
    key: Key,
    /// Plain documents of every kind that has one.
    documents: Vec<Vec<u8>>,
    header: Vec<u8>,
}

fn fixture() -> &'static Fixture {
    static FIXTURE: OnceLock<Fixture> = OnceLock::new();
    FIXTURE.get_or_init(|| {
        let source = tempfile::tempdir().unwrap();
        std::fs::create_dir(source.path().join("sub")).unwrap();
        for name in ["a", "sub/b", "quote\"\\"] {
            std::fs::write(source.path().join(name), noise(name.len() as u64, 2000)).unwrap();
        }
        let store = Arc::new(filled_by_restic(&[source.path()]));
        let vault = open(&store).unwrap();
        let seed = vault.seed().unwrap();
        let key = key_of(&seed);
        let mut documents = vec![key.open(&store.get("config").unwrap()).unwrap()];
        for name in store.keys("snapshots").into_iter().chain(store.keys("index")) {
            let plain = key.open(&store.get(&name).unwrap()).unwrap();
            documents.push(compress::decompress_bounded(&plain[1..], 1 << 20).unwrap());
        }
        let (_, snapshot) = vault.snapshots().unwrap().pop().unwrap();
        let tree = vault.load_blob(lifeboat_vault::BlobKind::Tree, &snapshot.tree).unwrap();
        documents.push(tree.to_vec());
        documents.push(store.get(&store.keys("keys")[0]).unwrap().to_vec());
        let body = store.get(&store.keys("data")[0]).unwrap();
        let blobs = pack::open_header(&key, &body, body.len() as u64).unwrap().unwrap();
        let header = pack::encode_header(&blobs);
        drop(vault);
        let store = store.image();
        Fixture { store, seed, key, documents, header }
    })
}

/// One of several changes to bytes that were good.
fn mutate(mut bytes: Vec<u8>, changes: &[(u8, prop::sample::Index, u8)]) -> Vec<u8> {
    for (how, at, value) in changes {
        if bytes.is_empty() {
            return bytes;
        }
        let at = at.index(bytes.len());
        match how % 5 {
            0 => bytes[at] = *value,
            1 => bytes[at] ^= 1 << (value % 8),
            2 => bytes.truncate(at),
            3 => drop(bytes.remove(at)),
            _ => {
                let end = (at + usize::from(*value)).min(bytes.len());
                let part = bytes[at..end].to_vec();
                bytes.splice(at..at, part);
            }
        }
    }
    bytes
}

fn changes() -> impl Strategy<Value = Vec<(u8, prop::sample::Index, u8)>> {
    prop::collection::vec(any::<(u8, prop::sample::Index, u8)>(), 1..6)
}

/// All parsers on the same bytes; each says yes or no.
fn parse_all(bytes: &[u8]) {
    let _ = Config::parse(bytes);
    let _ = IndexFile::parse(bytes);
    let _ = serde_json::from_slice::<Snapshot>(bytes);
    let _ = Tree::from_json(bytes);
    let _ = compress::decompress_bounded(bytes, 1 << 20);
    let _ = compress::decompress_exact(bytes, 1 << 16);
    let _ = MasterSeed::from_bytes(bytes);
    if let Ok(blobs) = pack::decode_header(bytes) {
        assert_eq!(pack::encode_header(&blobs), bytes, "a header that is read is written the same");
    }
    for size in [0, 1, bytes.len() as u64, u64::MAX] {
        let _ = pack::open_header(&fixture().key, bytes, size);
    }
    let _ = fixture().key.open(bytes);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..Default::default() })]

    #[test]
    fn random_bytes(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        parse_all(&bytes);
    }

    #[test]
    fn changed_documents(which: prop::sample::Index, changes in changes()) {
        let documents = &fixture().documents;
        parse_all(&mutate(documents[which.index(documents.len())].clone(), &changes));
    }

    #[test]
    fn changed_headers(changes in changes(), tail in any::<[u8; 4]>()) {
        let changed = mutate(fixture().header.clone(), &changes);
        parse_all(&changed);
        // The header's MAC is right and its content hostile: still no panic, no huge allocation.
        let mut pack = noise(1, 300);
        pack.extend(fixture().key.seal(&changed).unwrap());
        let length = (pack.len() - 300) as u32;
        pack.extend(length.to_le_bytes());
        let size = pack.len() as u64;
        let _ = pack::open_header(&fixture().key, &pack, size);
        let at = pack.len() - 4;
        pack[at..].copy_from_slice(&tail);
        let _ = pack::open_header(&fixture().key, &pack, size);
    }
}

/// Stores a document under its right name and with a right MAC: what somebody with the key, or a
/// buggy program, could have written.
fn plant(store: &MemoryStore, folder: &str, plain: &[u8]) {
    let mut packed = vec![2];
    packed.extend(compress::compress(plain, 3).unwrap());
    let body = fixture().key.seal(&packed).unwrap();
    store.plant(&format!("{folder}/{}", Id::of(&body)), body);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..Default::default() })]

    /// Whole vaults with one hostile or damaged object: opening, listing, reading and checking end.
    #[test]
    fn vaults_with_a_changed_object(
        which: prop::sample::Index,
        document: prop::sample::Index,
        authentic: bool,
        changes in changes(),
    ) {
        let store = Arc::new(fixture().store.image());
        if authentic {
            let documents = &fixture().documents;
            let changed = mutate(documents[document.index(documents.len())].clone(), &changes);
            plant(&store, ["index", "snapshots", "locks"][which.index(3)], &changed);
        } else {
            let keys = store.keys("");
            store.tamper(&keys[which.index(keys.len())], |body| Some(mutate(body, &changes)));
        }
        let env = environment(store.clock().clone());
        if let Ok(vault) = Vault::open_with_seed(store.clone(), None, &fixture().seed, env) {
            for (_, snapshot) in vault.snapshots().unwrap() {
                let _ = contents(&vault, &snapshot);
            }
            let _ = vault.check(&CheckOptions::default());
        }
        let env = environment(store.clock().clone());
        let store: Arc<dyn Store> = store;
        let _ = Vault::open_with_seed(store, None, &fixture().seed, env);
    }
}
