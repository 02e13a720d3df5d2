//! Every single tampering is found and named (CUS-21).

use proptest::prelude::*;

use super::fixture::{chain, checkpoint, draft, extend, signer};
use super::*;
use crate::verdict::Verdict;

fn links(entries: &[Entry]) -> Vec<Link> {
    entries.iter().map(|entry| Link::read(&entry.bytes())).collect()
}

fn report(entries: &[Entry], checkpoints: &[Signed<Checkpoint>]) -> Report {
    verify("ledger", &links(entries), &[signer(1).public_key()], checkpoints)
}

fn words(report: &Report) -> Vec<String> {
    report.faults.iter().map(ToString::to_string).collect()
}

#[test]
fn an_untouched_chain_passes() {
    let entries = chain(5);
    let report = report(&entries, &[checkpoint(&entries[2], &signer(1))]);
    assert_eq!(report.faults, []);
    assert_eq!(report.verdict, Verdict::Pass);
    assert_eq!(report.anchored, Some(3));
    assert_eq!(report.head, Some(entries[4].head(signer(1).public_key())));
    assert_eq!(entries[0].key, Some(signer(1).public_key()));
    assert_eq!(entries[1].key, None);
}

#[test]
fn nothing_proves_nothing() {
    assert_eq!(report(&[], &[]).verdict, Verdict::Inconclusive);
    let entries = chain(3);
    let untrusted = verify("ledger", &links(&entries), &[], &[]);
    assert_eq!(untrusted.verdict, Verdict::Inconclusive);
    assert!(!untrusted.trusted);
    assert_eq!(untrusted.faults, []);
}

#[test]
fn the_form_on_disk_is_fixed() {
    insta::assert_snapshot!(String::from_utf8(chain(1)[0].bytes()).expect("text"));
}

#[test]
fn there_is_one_way_to_write_an_entry() {
    let text = String::from_utf8(chain(1)[0].bytes()).expect("text");
    let spaced = text.replace(",\"chain\"", ", \"chain\"");
    let twice = text.replace("{\"action\":\"backup\"", "{\"action\":\"x\",\"action\":\"backup\"");
    let escaped = text.replace("\"ops\"", "\"\\u006fps\"");
    let with_null = text.replace(",\"key\"", ",\"of\":null,\"key\"");
    let with_more = text.replace(",\"key\"", ",\"kex\":1,\"key\"");
    for changed in [spaced, twice, escaped, with_null, with_more, format!("{text}\n")] {
        assert_ne!(changed, text);
        let link = Link::read(changed.as_bytes());
        assert!(matches!(link, Link::Broken(_)), "{changed}");
        let report = verify("ledger", &[link], &[signer(1).public_key()], &[]);
        assert_eq!(words(&report), ["entry 1 was edited"]);
    }
}

#[test]
fn a_newer_format_is_refused() {
    let text = String::from_utf8(chain(1)[0].bytes()).expect("text");
    let newer = text.replace("\"format\":1", "\"format\":2");
    assert!(matches!(Entry::read(newer.as_bytes()), Err(ChainError::Newer(2))));
    let link = Link::read(newer.as_bytes());
    let report = verify("ledger", &[link], &[signer(1).public_key()], &[]);
    assert_eq!(report.verdict, Verdict::Inconclusive);
    assert_eq!(words(&report), ["entry 1: written by a newer version"]);
}

#[test]
fn fractions_become_text() {
    let mut with = draft(1);
    with.detail.insert("ratio".into(), serde_json::json!({"x": [1.5]}));
    let entry = seal(None, with, &signer(1)).expect("sealed");
    assert_eq!(entry.detail["ratio"], serde_json::json!({"x": ["1.5"]}));
    assert!(Entry::read(&entry.bytes()).is_ok());
}

#[test]
fn keys_change_only_when_announced() {
    let (old, new) = (signer(1), signer(2));
    let mut announcing = draft(1);
    announcing.next_key = Some(new.public_key());
    let first = seal(None, announcing, &old).expect("sealed");
    let (second, head) = extend(Some(first.head(old.public_key())), 2, &new);
    assert_eq!(second.key, Some(new.public_key()));
    let (third, _) = extend(Some(head), 3, &new);
    assert_eq!(third.key, None);
    let announced = [first, second, third];
    assert_eq!(report(&announced, &[checkpoint(&announced[2], &new)]).verdict, Verdict::Pass);

    let (first, head) = extend(None, 1, &old);
    let (second, head) = extend(Some(head), 2, &new);
    let (third, _) = extend(Some(head), 3, &new);
    let silent = report(&[first, second, third], &[]);
    assert_eq!(silent.verdict, Verdict::Fail);
    assert!(words(&silent)[0].starts_with("entries 2 to 3 were signed by key"), "{silent:?}");
}

#[test]
fn an_entry_of_another_chain_does_not_belong() {
    let mut foreign = draft(9);
    foreign.chain = "scenario/x".into();
    let mut entries = chain(3);
    entries.insert(1, seal(None, foreign, &signer(1)).expect("sealed"));
    assert_eq!(words(&report(&entries, &[])), ["entry 2 was inserted"]);
}

#[test]
fn history_signed_anew_with_the_right_key_is_caught_by_the_anchor() {
    let entries = chain(4);
    let anchor = checkpoint(&entries[3], &signer(1));
    let mut forged = chain(2);
    let mut head = forged[1].head(signer(1).public_key());
    for n in [33, 34] {
        let (entry, next) = extend(Some(head), n, &signer(1));
        head = next;
        forged.push(entry);
    }
    assert_eq!(report(&forged, &[]).faults, []);
    assert_eq!(words(&report(&forged, &[anchor])), ["entry 4 was rewritten and signed anew"]);
}

#[test]
fn one_entry_signed_anew_breaks_the_next() {
    let mut entries = chain(4);
    let head = entries[0].head(signer(1).public_key());
    entries[1] = extend(Some(head), 77, &signer(1)).0;
    assert_eq!(words(&report(&entries, &[])), ["entry 2 was rewritten and signed anew"]);
}

#[test]
fn a_forged_checkpoint_counts_for_nothing() {
    let entries = chain(3);
    let mut forged = checkpoint(&entries[2], &signer(1));
    forged.document.seq = 9;
    let of_another = checkpoint(&entries[2], &signer(7));
    let report = report(&entries, &[forged, of_another]);
    assert_eq!(report.verdict, Verdict::Fail);
    assert_eq!(report.anchored, None);
    assert_eq!(report.faults.len(), 2);
}

#[test]
fn a_whole_chain_cut_off_is_found() {
    let entries = chain(3);
    let report = report(&[], &[checkpoint(&entries[2], &signer(1))]);
    assert_eq!(words(&report), ["entries 1 to 3 were cut off from the end"]);
    assert_eq!(report.verdict, Verdict::Fail);
}

#[test]
fn actions_without_an_end_are_open() {
    let with = |n, phase, of| Draft { phase, of, ..draft(n) };
    let first = seal(None, with(1, Phase::Started, None), &signer(1)).expect("sealed");
    let head = first.head(signer(1).public_key());
    let second = seal(Some(&head), with(2, Phase::Started, None), &signer(1)).expect("sealed");
    let head = second.head(signer(1).public_key());
    let third = seal(Some(&head), with(3, Phase::Finished, Some(1)), &signer(1)).expect("sealed");
    let all = [first, second, third];
    let open: Vec<u64> = open_actions(&all).iter().map(|entry| entry.seq).collect();
    assert_eq!(open, [2]);
}

#[test]
fn signed_documents_notice_every_change() {
    let entries = chain(1);
    let signed = checkpoint(&entries[0], &signer(1));
    let bytes = signed.bytes();
    let read = Signed::<Checkpoint>::read(&bytes).expect("reads");
    read.verify(&[signer(1).public_key()]).expect("genuine");
    assert!(matches!(read.verify(&[signer(2).public_key()]), Err(DocumentError::Foreign(_))));
    for at in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        let outcome = Signed::<Checkpoint>::read(&changed)
            .and_then(|read| read.verify(&[signer(1).public_key()]));
        assert!(outcome.is_err(), "byte {at} changed unseen");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_edited_byte_is_found(at in 0usize..6, byte in any::<prop::sample::Index>(), flip in 1u8..=255) {
        let entries = chain(6);
        let mut lines: Vec<Vec<u8>> = entries.iter().map(Entry::bytes).collect();
        let index = byte.index(lines[at].len());
        lines[at][index] ^= flip;
        let links: Vec<Link> = lines.iter().map(|line| Link::read(line)).collect();
        let report = verify("ledger", &links, &[signer(1).public_key()], &[]);
        let seq = at as u64 + 1;
        prop_assert_ne!(report.verdict, Verdict::Pass);
        prop_assert_eq!(report.faults.len(), 1, "{:?}", report.faults);
        prop_assert_eq!((report.faults[0].from, report.faults[0].to), (seq, seq));
    }

    #[test]
    fn any_removal_is_named(keep in prop::collection::vec(any::<bool>(), 7)) {
        let all = chain(8);
        // The last one stays: what is missing at the end only an anchor can tell.
        let kept: Vec<Entry> = all.iter().enumerate()
            .filter(|(index, _)| keep.get(*index).copied().unwrap_or(true))
            .map(|(_, entry)| entry.clone()).collect();
        let report = report(&kept, &[]);
        let mut missing = Vec::new();
        for fault in &report.faults {
            prop_assert_eq!(&fault.kind, &FaultKind::Removed);
            missing.extend(fault.from..=fault.to);
        }
        let expected: Vec<u64> = (1..=8).filter(|seq| !kept.iter().any(|e| e.seq == *seq)).collect();
        prop_assert_eq!(missing, expected);
    }

    #[test]
    fn any_move_is_named(from in 0usize..7, to in 0usize..7) {
        prop_assume!(from != to);
        let mut entries = chain(7);
        let moved = entries.remove(from);
        let seq = moved.seq;
        entries.insert(to, moved);
        let report = report(&entries, &[]);
        prop_assert_eq!(report.verdict, Verdict::Fail);
        // Two neighbours swapped: either may be called the one that moved.
        prop_assert!(report.faults.iter().all(|fault| fault.kind == FaultKind::Moved));
        let near = report.faults[0].from.abs_diff(seq) <= 1;
        prop_assert!(report.faults.len() == 1 && near, "{:?}", report.faults);
    }

    #[test]
    fn any_shuffle_is_found(order in Just((0..7usize).collect::<Vec<_>>()).prop_shuffle()) {
        let entries = chain(7);
        let shuffled: Vec<Entry> = order.iter().map(|at| entries[*at].clone()).collect();
        let sorted = order.windows(2).all(|pair| pair[0] < pair[1]);
        prop_assert_eq!(report(&shuffled, &[]).verdict == Verdict::Pass, sorted);
    }

    #[test]
    fn any_truncation_is_named(length in 0usize..8, anchor in 0usize..8) {
        let entries = chain(8);
        let checkpoint = checkpoint(&entries[anchor], &signer(1));
        let report = report(&entries[..length], &[checkpoint]);
        if length > anchor {
            prop_assert_eq!(report.faults, []);
            prop_assert_eq!(report.anchored, Some(anchor as u64 + 1));
        } else {
            let fault = Fault {
                from: length as u64 + 1, to: anchor as u64 + 1, kind: FaultKind::Truncated,
            };
            prop_assert_eq!(report.faults, [fault]);
        }
    }

    #[test]
    fn any_copy_is_named(from in 0usize..6, to in 0usize..=6) {
        let mut entries = chain(6);
        entries.insert(to, entries[from].clone());
        let report = report(&entries, &[]);
        let seq = from as u64 + 1;
        prop_assert!(
            report.faults.contains(&Fault { from: seq, to: seq, kind: FaultKind::Twice }),
            "{:?}", report.faults
        );
    }

    #[test]
    fn an_entry_of_another_key_is_named(at in 0usize..5) {
        let mut entries = chain(5);
        let other = signer(9);
        let head = at.checked_sub(1).map(|before| entries[before].head(other.public_key()));
        entries[at] = extend(head, 50, &other).0;
        let report = report(&entries, &[]);
        prop_assert_eq!(report.verdict, Verdict::Fail);
        let seq = at as u64 + 1;
        prop_assert!(report.faults.iter().all(|fault| fault.from == seq), "{:?}", report.faults);
    }

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..100), text in "\\PC{0,60}") {
        let links = [Link::read(&bytes), Link::read(text.as_bytes())];
        prop_assert_ne!(verify("ledger", &links, &[], &[]).verdict, Verdict::Pass);
    }
}
