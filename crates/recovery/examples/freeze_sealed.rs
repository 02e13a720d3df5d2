//! Writes the sealed objects of this version, to be frozen in `testdata/formats/`.
//!
//! `cargo run -p lifeboat-recovery --example freeze_sealed -- testdata/formats/sealed-N`
//! Refuses a folder that exists: what is frozen is never edited.

#![allow(clippy::unwrap_used, reason = "a tool for developers, which may fail by panicking")]

use lifeboat_recovery::seal::Sealer;

fn main() {
    let folder = std::path::PathBuf::from(std::env::args_os().nth(1).expect("the folder to write"));
    assert!(!folder.exists(), "{} exists: what is frozen is never edited", folder.display());
    std::fs::create_dir_all(&folder).unwrap();
    let (sealer, identity) = Sealer::generate("frozen", false).unwrap();
    std::fs::write(folder.join("identity.age"), identity).unwrap();
    let plain = b"{\"frozen\":true}\n";
    std::fs::write(folder.join("object.jsonl.zst.age"), sealer.seal(plain).unwrap()).unwrap();
    std::fs::write(folder.join("object.jsonl"), plain).unwrap();
}
