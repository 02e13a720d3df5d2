//! The frozen examples of stored formats are read for ever. They are never edited; a new format
//! gets a folder of its own.

use lifeboat_model::chain::{
    Checkpoint, Evidence, Link, MemorySigner, Revision, Signed, Signer, verify,
};
use lifeboat_model::verdict::Verdict;

const LEDGER: &str = include_str!("../../../../testdata/formats/chain-1/ledger.jsonl");
const CHECKPOINT: &str = include_str!("../../../../testdata/formats/chain-1/checkpoint.json");
const EVIDENCE: &str = include_str!("../../../../testdata/formats/chain-1/evidence.json");

/// The key that signed the examples: 32 bytes of 7. It protects nothing.
fn key() -> MemorySigner {
    MemorySigner::from_seed(&[7; 32])
}

#[test]
fn ledger_1() {
    let links: Vec<Link> = LEDGER.lines().map(|line| Link::read(line.as_bytes())).collect();
    let checkpoint = Signed::<Checkpoint>::read(CHECKPOINT.trim_end().as_bytes()).expect("reads");
    let report = verify("ledger", &links, &[key().public_key()], &[checkpoint]);
    assert_eq!(report.faults, []);
    assert_eq!(report.verdict, Verdict::Pass);
    assert_eq!((report.entries, report.anchored), (3, Some(2)));
}

#[test]
fn evidence_1() {
    let evidence = Signed::<Evidence>::read(EVIDENCE.trim_end().as_bytes()).expect("reads");
    evidence.verify(&[key().public_key()]).expect("genuine");
    assert_eq!(evidence.document.verdict, Verdict::Pass);
    assert_eq!(evidence.document.components.len(), 1);
}

#[test]
fn plan_1() {
    let plan = include_str!("../../../../testdata/formats/plan-1/plan.json");
    let signed = Signed::<Revision>::read(plan.trim_end().as_bytes()).expect("reads");
    signed.verify(&[key().public_key()]).expect("genuine");
    let plan = signed.document.plan().expect("parses");
    assert_eq!(plan.header.name.as_str(), "Example");
    assert_eq!(plan.component.len(), 1);
    // What was written later may be read otherwise, and is still the revision that was signed.
    assert_eq!(signed.document.revision.len(), 64);
    assert_eq!(signed.document.files.len(), 2);
}

#[test]
fn newer_documents_are_refused() {
    let newer = CHECKPOINT.trim_end().replace("\"format\":1", "\"format\":2");
    let error = Signed::<Checkpoint>::read(newer.as_bytes()).expect_err("newer");
    assert_eq!(error.to_string(), "the document has format 2, this version reads up to 1");
}
