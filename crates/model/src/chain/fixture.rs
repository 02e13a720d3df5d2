//! A chain to try things on.

use super::*;

pub(crate) fn signer(seed: u8) -> MemorySigner {
    MemorySigner::from_seed(&[seed; 32])
}

pub(crate) fn draft(n: i64) -> Draft {
    Draft {
        chain: "ledger".into(),
        time: jiff::Timestamp::from_second(1_700_000_000 + n).expect("in range"),
        host: "db1".into(),
        operator: "ops".into(),
        action: "backup".into(),
        object: format!("component-{n}"),
        phase: Phase::Note,
        of: None,
        outcome: Some("pass".into()),
        detail: [("n".to_owned(), serde_json::json!(n))].into(),
        plan: Some(PlanRef { name: "Example".into(), revision: "ab".repeat(32) }),
        next_key: None,
    }
}

pub(crate) fn extend(head: Option<Head>, n: i64, by: &MemorySigner) -> (Entry, Head) {
    let entry = seal(head.as_ref(), draft(n), by).expect("sealed");
    let head = entry.head(by.public_key());
    (entry, head)
}

pub(crate) fn chain(length: i64) -> Vec<Entry> {
    let key = signer(1);
    let mut head = None;
    let mut all = Vec::new();
    for n in 1..=length {
        let (entry, next) = extend(head, n, &key);
        head = Some(next);
        all.push(entry);
    }
    all
}

pub(crate) fn checkpoint(entry: &Entry, by: &MemorySigner) -> Signed<Checkpoint> {
    let document = Checkpoint {
        format: 1,
        chain: "ledger".into(),
        host: "db1".into(),
        seq: entry.seq,
        head: entry.hash(),
        time: entry.time,
    };
    Signed::new(document, by).expect("signed")
}
