use super::*;
use crate::chain::fixture::signer;
use crate::chain::{ChainError, Hash, Signed, Signer};
use crate::position::Position;

use std::time::Duration;

fn draft(kind: Kind, from: u64, to: u64) -> Draft {
    Draft {
        kind,
        from: Position::new(1, from),
        to: Position::new(1, to),
        time: jiff::Timestamp::from_second(1_700_000_000 + from as i64).unwrap(),
        host: "db1".into(),
        facts: [("rate".to_owned(), serde_json::json!(0.5))].into(),
    }
}

const CHAIN: &str = "journal/orders/abcd";

fn three() -> Vec<Header> {
    let key = signer(1);
    let mut head = None;
    [(Kind::Start, 16, 16), (Kind::Range, 16, 20), (Kind::Keepalive, 20, 20)]
        .into_iter()
        .map(|(kind, from, to)| {
            let header =
                seal(head.as_ref(), CHAIN, draft(kind, from, to), b"abcd", &key, None).unwrap();
            head = Some(header.head(key.public_key()));
            header
        })
        .collect()
}

#[test]
fn a_header_reads_back_and_any_changed_byte_is_found() {
    let trusted = [signer(1).public_key()];
    for header in three() {
        let line = header.line();
        assert_eq!(Header::read(&line).unwrap(), header);
        assert_eq!(header.signer(&trusted), Ok(trusted[0]));
        assert!(header.holds(b"abcd") && !header.holds(b"abce") && !header.holds(b"abc"));
        for at in 0..line.len() {
            let mut changed = line.clone();
            changed[at] ^= 1;
            let found = Header::read(&changed)
                .map_or(true, |changed| changed.signer(&trusted) == Err(Mistrust::Forged));
            assert!(found, "byte {at} of {}", String::from_utf8_lossy(&line));
        }
    }
}

#[test]
fn a_newer_format_is_refused_as_that() {
    let line = String::from_utf8(three()[0].line()).unwrap();
    let newer = line.replace(r#""format":1"#, r#""format":2"#);
    assert!(matches!(Header::read(newer.as_bytes()), Err(ChainError::Newer(2))));
}

#[test]
fn a_foreign_key_is_told_from_a_broken_signature() {
    let headers = three();
    let other = [signer(2).public_key()];
    let own = signer(1).public_key();
    assert_eq!(headers[0].signer(&other), Err(Mistrust::Foreign(own)));
    // Those that do not name their key.
    assert_eq!(headers[1].signer(&other), Err(Mistrust::Forged));
}

#[test]
fn a_streams_own_key_counts_only_with_a_certificate_of_a_trusted_one_for_its_component() {
    let (host, stream) = (signer(1), signer(7));
    let certify = |component: &str, by| {
        let document = StreamKey {
            format: 1,
            component: component.to_owned(),
            host: "db1".into(),
            key: stream.public_key(),
            time: jiff::Timestamp::UNIX_EPOCH,
        };
        Signed::new(document, by).unwrap()
    };
    let make = |certificate: Signed<StreamKey>| {
        seal(None, CHAIN, draft(Kind::Start, 16, 16), b"", &stream, Some(&certificate)).unwrap()
    };
    let trusted = [host.public_key()];
    let good = make(certify("orders", &host));
    assert_eq!(Header::read(&good.line()).unwrap().signer(&trusted), Ok(stream.public_key()));
    let elsewhere = make(certify("accounts", &host));
    assert_eq!(elsewhere.signer(&trusted), Err(Mistrust::Foreign(host.public_key())));
    let own = make(certify("orders", &stream));
    assert_eq!(own.signer(&trusted), Err(Mistrust::Foreign(stream.public_key())));
    let mut forged = good;
    forged.seq = 9;
    assert_eq!(forged.signer(&trusted), Err(Mistrust::Forged));
}

#[test]
fn each_kind_follows_in_its_own_way() {
    let headers = three();
    assert_eq!(follows(&headers[0], &headers[0].hash(), &headers[1]), Ok(()));
    assert_eq!(follows(&headers[1], &headers[1].hash(), &headers[2]), Ok(()));
    assert_eq!(follows(&headers[0], &headers[0].hash(), &headers[2]), Err(Break::Seq));
    assert_eq!(follows(&headers[0], &Hash::NONE, &headers[1]), Err(Break::Prev));
    let after = |kind, from: Position, to: Position| {
        let draft = Draft { from, to, ..draft(kind, 0, 0) };
        let head = headers[1].head(signer(1).public_key());
        let next = seal(Some(&head), CHAIN, draft, b"", &signer(1), None).unwrap();
        follows(&headers[1], &headers[1].hash(), &next)
    };
    let p = Position::new;
    assert_eq!(after(Kind::Range, p(1, 21), p(1, 25)), Err(Break::Position), "a hole");
    assert_eq!(after(Kind::Range, p(1, 20), p(2, 25)), Err(Break::Position));
    assert_eq!(after(Kind::Gap, p(1, 20), p(1, 90)), Ok(()));
    assert_eq!(after(Kind::Branch, p(1, 18), p(2, 18)), Ok(()), "left before its end");
    assert_eq!(after(Kind::Branch, p(1, 22), p(2, 22)), Err(Break::Position));
    assert_eq!(after(Kind::Keepalive, p(1, 20), p(1, 21)), Err(Break::Position));
}

#[test]
fn names_sort_like_positions_and_are_written_in_one_way() {
    let names = [
        Name { from: Position::new(1, 16), seq: 9 },
        Name { from: Position::new(1, 256), seq: 1 },
        Name { from: Position::new(2, 0), seq: 3 },
    ];
    for pair in names.windows(2) {
        assert!(pair[0].to_string() < pair[1].to_string());
    }
    for name in names {
        assert_eq!(name.to_string().parse(), Ok(name));
        let pack = PackName { first: name, count: 12 };
        assert_eq!(pack.to_string().parse(), Ok(pack));
        assert_eq!(pack.last_seq(), name.seq + 11);
    }
    for text in ["", "00000001-0000000000000010", "00000001-0000000000000010-0000000A"] {
        assert_eq!(text.parse::<Name>(), Err(()), "{text}");
    }
    assert_eq!("00000001-0000000000000010-00000001-00000000".parse::<PackName>(), Err(()));
}

#[test]
fn a_chain_that_cannot_be_continued_takes_the_next_number() {
    assert_eq!(next_lineage("ab", ["cd", "cd+2"].into_iter()), "ab");
    assert_eq!(next_lineage("ab", ["ab"].into_iter()), "ab+2");
    assert_eq!(next_lineage("ab", ["ab", "ab+2", "ab+10"].into_iter()), "ab+11");
    assert_eq!((native("ab+2"), turn("ab+2")), ("ab", 2));
    assert_eq!((native("a+b"), turn("a+b")), ("a+b", 1));
    assert!(
        is_lineage("0000abcd+2") && !is_lineage("") && !is_lineage("../x") && !is_lineage("a/b")
    );
}

#[test]
fn an_idle_stream_speaks_each_quarter_of_the_rpo_and_at_most_each_minute() {
    let minutes = |n: u64| Duration::from_secs(60 * n);
    assert_eq!(keepalive_every(Some(minutes(60))), minutes(15));
    assert_eq!(keepalive_every(Some(minutes(2))), minutes(1));
    assert_eq!(keepalive_every(Some(Duration::from_secs(1))), minutes(1));
    assert!(keepalive_every(None) >= minutes(1));
    assert!(keepalive_due(Some(minutes(8)), minutes(2)));
    assert!(!keepalive_due(Some(minutes(8)), Duration::from_millis(119_999)));
}
