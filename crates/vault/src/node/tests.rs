use std::os::unix::ffi::OsStrExt;

use proptest::prelude::*;

use super::*;

fn name(bytes: &[u8]) -> OsString {
    OsStr::from_bytes(bytes).to_owned()
}

#[test]
fn names_are_quoted_as_go_does() {
    for (bytes, quoted) in [
        (&b"plain name.txt"[..], "plain name.txt"),
        (b"say \"hi\"", "say \\\"hi\\\""),
        (b"back\\slash", "back\\\\slash"),
        (b"new\nline\ttab\rcr", "new\\nline\\ttab\\rcr"),
        (b"\x07\x08\x0b\x0c\x1b\x7f", "\\a\\b\\v\\f\\x1b\\x7f"),
        (b"latin1 \xe9t\xe9", "latin1 \\xe9t\\xe9"),
        ("grün 漢字 🦀".as_bytes(), "grün 漢字 🦀"),
        ("a\u{301} combined".as_bytes(), "a\u{301} combined"),
        ("nbsp\u{a0}zwsp\u{200b}".as_bytes(), "nbsp\\u00a0zwsp\\u200b"),
        ("private\u{e000}far\u{e0001}".as_bytes(), "private\\ue000far\\U000e0001"),
        ("replacement\u{fffd}".as_bytes(), "replacement\u{fffd}"),
    ] {
        assert_eq!(quote::quote(&name(bytes)), quoted);
        assert_eq!(quote::unquote(quoted), Some(name(bytes)));
    }
}

#[test]
fn wrong_escapes_are_refused() {
    for wrong in ["\\", "\\q", "\\x1", "\\xzz", "\\x+1", "\\u12", "\\ud800", "\\9", "a\"b", "\\400"]
    {
        assert_eq!(quote::unquote(wrong), None, "{wrong}");
    }
    assert_eq!(quote::unquote("\\101"), Some(name(b"A")));
}

#[test]
fn a_tree_is_spelled_as_restic_spells_it() {
    let mut file = Node::new(OsStr::new("a<b>&c"), NodeKind::File);
    file.set_unix_mode(0o104_755);
    file.mtime = "2024-05-06T07:08:09.120Z".parse().unwrap();
    file.atime = file.mtime;
    file.ctime = "1965-01-01T00:00:00Z".parse().unwrap();
    file.uid = 1000;
    file.user = "lena".to_owned();
    file.inode = 7;
    file.size = 3;
    file.links = 1;
    file.content = Some(Vec::new());
    let mut link = Node::new(OsStr::new("l"), NodeKind::Symlink);
    link.set_link_target(b"to/\xff");
    let json = Tree { nodes: vec![file, link] }.to_json().unwrap();
    assert_eq!(
        String::from_utf8(json).unwrap(),
        concat!(
            r#"{"nodes":[{"name":"a\u003cb\u003e\u0026c","type":"file","mode":8389101,"#,
            r#""mtime":"2024-05-06T07:08:09.12Z","atime":"2024-05-06T07:08:09.12Z","#,
            r#""ctime":"1965-01-01T00:00:00Z","uid":1000,"gid":0,"user":"lena","inode":7,"#,
            r#""size":3,"links":1,"content":[]},{"name":"l","type":"symlink","#,
            r#""mtime":"1970-01-01T00:00:00Z","atime":"1970-01-01T00:00:00Z","#,
            r#""ctime":"1970-01-01T00:00:00Z","uid":0,"gid":0,"linktarget":"to/�","#,
            r#""linktarget_raw":"dG8v/w==","content":null}]}"#,
            "\n"
        )
    );
}

#[test]
fn what_restic_leaves_out_is_read() {
    let tree = Tree::from_json(
        br#"{"nodes":[{"name":"x","type":"file","mtime":"9999-12-31T23:59:59+01:00","uid":0,"gid":0,
        "extended_attributes":null,"content":null,"generic_attributes":{"windows.x":1}},
        {"name":"y","type":"whatever","extended_attributes":[{"name":"user.a","value":null}]}]}"#,
    )
    .unwrap();
    assert_eq!(tree.nodes[0].content, None);
    assert_eq!(tree.nodes[1].kind, NodeKind::Irregular);
    assert_eq!(tree.nodes[1].extended_attributes[0].value, b"");
    assert!(Tree::from_json(b"{\"nodes\":null}").unwrap().nodes.is_empty());
}

#[test]
fn a_name_that_leaves_its_folder_is_refused() {
    for wrong in ["..", ".", "", "a/b", "a\\x00b"] {
        let wrong = wrong.replace('\\', "\\\\");
        let json = format!(r#"{{"nodes":[{{"name":"{wrong}","type":"file"}}]}}"#);
        assert!(Tree::from_json(json.as_bytes()).is_err(), "{wrong}");
    }
}

#[test]
fn times_out_of_range_are_clamped() {
    assert_eq!(clamp_time(i64::MAX, 0), Timestamp::MAX);
    assert_eq!(clamp_time(i64::MIN, 0).to_string(), "0000-01-01T00:00:00Z");
    assert_eq!(clamp_time(-1, 500_000_000).to_string(), "1969-12-31T23:59:59.5Z");
}

proptest! {
    #[test]
    fn any_name_survives(bytes in proptest::collection::vec(any::<u8>(), 1..64)) {
        let name = name(&bytes);
        prop_assert_eq!(quote::unquote(&quote::quote(&name)), Some(name));
    }

    #[test]
    fn any_node_survives(
        bytes in proptest::collection::vec(1u8..=255, 1..24),
        target in proptest::collection::vec(1u8..=255, 0..24),
        mode in 0u32..0o10000,
        seconds in -62_000_000_000i64..200_000_000_000,
        nanos in 0i64..1_000_000_000,
    ) {
        let mut node = Node::new(&name(&bytes), NodeKind::Symlink);
        prop_assume!(node.has_valid_name());
        node.set_unix_mode(mode);
        prop_assert_eq!(node.unix_mode(), mode);
        node.set_link_target(&target);
        node.mtime = clamp_time(seconds, nanos);
        let tree = Tree { nodes: vec![node] };
        let read = Tree::from_json(&tree.to_json().unwrap()).unwrap();
        prop_assert_eq!(&read, &tree);
        prop_assert_eq!(read.nodes[0].link_target(), &target[..]);
    }
}
