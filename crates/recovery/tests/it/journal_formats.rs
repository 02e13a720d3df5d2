//! The frozen journal of format 1, read by this program and by `tools/open.py`.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;

use bytes::Bytes;
use lifeboat_model::chain::Signer;
use lifeboat_model::journal::WalName;
use lifeboat_model::position::{LogPosition, Position};
use lifeboat_recovery::journal::{FaultKind, Journal, PackPolicy, ReadFrom, WalFile};
use lifeboat_recovery::ports::{Joint, LogEvent, LogReader, RecoverTo};
use lifeboat_recovery::seal::Sealer;
use lifeboat_testkit::MemoryStore;
use lifeboat_vault::{Cancel, Store};

use crate::journal_kit::{
    BEGIN, COMPONENT, Kit, LINEAGE, at, base, identity, log, range, replay, sealer, signer, start,
};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn frozen() -> PathBuf {
    root().join("testdata/formats/journal-1")
}

/// Makes such a journal anew; the frozen one was made by it once, and is never edited.
#[test]
#[ignore = "writes an example to be frozen for a new format"]
fn freeze() {
    let store = Arc::new(MemoryStore::default());
    let kit = Kit::new(store.clone());
    let mut writer = kit.stream();
    kit.ranges(&mut writer, 4);
    let policy = PackPolicy { most_slices: 4, ..PackPolicy::default() };
    writer.pack(&policy).unwrap().expect("a pack");
    let packed = store.keys(&format!("journal/{COMPONENT}/{LINEAGE}/ranges"));
    packed.iter().take(4).for_each(|key| store.tamper(key, |_| None));
    kit.idle(&mut writer, 60);
    writer.stop().unwrap();
    drop(writer);
    let mut writer = kit.writer();
    let gap = Joint::Gap { why: "the slot was dropped".to_owned() };
    writer.begin(&start(base(BEGIN + 100), gap)).unwrap();
    writer.append(&range(BEGIN + 100, kit.now())).unwrap();
    let branch = LogEvent::Branch {
        from: at(BEGIN + 105),
        to: lifeboat_model::position::Position::new(2, BEGIN + 105),
        time: kit.now(),
        history: Bytes::from_static(b"1\t0/451\tno recovery target specified\n"),
    };
    writer.append(&branch).unwrap();
    let LogEvent::Range(mut last) = range(BEGIN + 105, kit.now()) else { unreachable!() };
    (last.from.line, last.to.line) = (2, 2);
    writer.append(&LogEvent::Range(last)).unwrap();
    let folder = save(&store, "journal-1");
    std::fs::write(folder.join("log"), expected()).unwrap();
}

/// Writes an example, with the keys to it.
fn save(store: &MemoryStore, name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    for key in store.keys("journal") {
        let path = folder.join(&key);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, store.get(&key).unwrap()).unwrap();
    }
    std::fs::write(folder.join("identity.txt"), format!("{}\n", identity())).unwrap();
    std::fs::write(folder.join("recipient.txt"), sealer().recipient()).unwrap();
    std::fs::write(folder.join("key.txt"), format!("{}\n", signer(1).public_key())).unwrap();
    println!("{}", folder.display());
    folder
}

/// The log in it.
fn expected() -> Vec<u8> {
    let places = [BEGIN, BEGIN + 10, BEGIN + 20, BEGIN + 30, BEGIN + 100, BEGIN + 105];
    places.into_iter().flat_map(|at| log(at).to_vec()).collect()
}

fn handed_over() -> PathBuf {
    root().join("testdata/formats/wal-1")
}

/// Bytes of a segment, and the history of a line that leaves the first one amid the second segment.
const SEGMENT: u64 = 1 << 20;
const HISTORY: &str = "1\t0/100400\tno recovery target specified\n";

/// Makes the files that a server hands over anew; the frozen ones are never edited.
#[test]
#[ignore = "writes an example to be frozen for a new format"]
fn freeze_handed_over() {
    let store = Arc::new(MemoryStore::default());
    let kit = Kit::new(store.clone());
    let file =
        |name, from, to, content| WalFile { name, lineage: None, from, to, ended: None, content };
    let on = |line, offset| Position::new(line, offset);
    let first = on(2, SEGMENT);
    for file in [
        file(
            WalName::segment(first, SEGMENT),
            first,
            on(2, 2 * SEGMENT),
            vec![7; SEGMENT as usize].into(),
        ),
        file(WalName::history(2), on(1, SEGMENT + 1024), on(2, SEGMENT + 1024), HISTORY.into()),
    ] {
        kit.hand_over(&file);
    }
    save(&store, "wal-1");
}

/// The log that a server handed over is read by both readers, and a changed bit by neither.
#[test]
fn the_frozen_files_that_were_handed_over_read() {
    let store = Arc::new(MemoryStore::load_from(&handed_over()).unwrap());
    let opened = journal_of(&handed_over(), store.clone());
    let base =
        LogPosition { lineage: LINEAGE.to_owned(), position: Position::new(2, SEGMENT + 2000) };
    let way = opened.way(&base, &RecoverTo::Newest).unwrap();
    assert_eq!(way.target().position, Position::new(2, 2 * SEGMENT));
    assert_eq!(way.histories().unwrap(), [(2, Bytes::from_static(HISTORY.as_bytes()))]);
    let folder = tempfile::tempdir().unwrap();
    store.save_to(folder.path()).unwrap();
    let key = std::fs::read_to_string(handed_over().join("key.txt")).unwrap().trim().to_owned();
    let out = folder.path().join("out");
    for (name, content) in [
        ("000000020000000000000001", vec![7; SEGMENT as usize]),
        ("00000002.history", HISTORY.into()),
    ] {
        let path = folder.path().join(format!("journal/{COMPONENT}/{LINEAGE}/wal/{name}"));
        let more = ["--key", &key, "--out", out.to_str().unwrap()];
        let done = open_py("object", &handed_over(), &path, &more);
        assert!(done.status.success() && text(&done).contains("handed"), "{}", text(&done));
        assert_eq!(std::fs::read(&out).unwrap(), content);
        let other = ["--key", &"ab".repeat(32)];
        let done = open_py("object", &handed_over(), &path, &other);
        assert_eq!(done.status.code(), Some(9), "{}", text(&done));
        assert!(text(&done).contains("not believed"));
        // Under another name it is not what it is there, and among the records it is none.
        let record = format!("00000009-0000000000000000-{:08x}", 1);
        for (folder, what) in [("elsewhere", "object"), ("ranges", "journal")] {
            let lineage = path.parent().unwrap().parent().unwrap();
            let other = lineage.join(folder).join(&record);
            std::fs::create_dir_all(other.parent().unwrap()).unwrap();
            std::fs::copy(&path, &other).unwrap();
            let whole = if what == "object" { &other } else { lineage };
            let done = open_py(what, &handed_over(), whole, &["--key", &key]);
            assert_eq!(done.status.code(), Some(9), "{}", text(&done));
            assert!(text(&done).contains(&format!("it is {name} of")), "{}", text(&done));
        }
        let mut changed = std::fs::read(&path).unwrap();
        *changed.last_mut().unwrap() ^= 1;
        std::fs::write(&path, changed).unwrap();
        let done = open_py("object", &handed_over(), &path, &["--key", &key]);
        assert_eq!(done.status.code(), Some(9), "{}", text(&done));
    }
}

fn journal(store: Arc<dyn Store>) -> Journal {
    journal_of(&frozen(), store)
}

fn journal_of(frozen: &Path, store: Arc<dyn Store>) -> Journal {
    let identity = std::fs::read_to_string(frozen.join("identity.txt")).unwrap();
    let recipient = std::fs::read_to_string(frozen.join("recipient.txt")).unwrap();
    Journal::open(ReadFrom {
        store,
        sealer: Arc::new(Sealer::new(&recipient, Some(&identity)).unwrap()),
        component: COMPONENT.to_owned(),
        trusted: vec![signer(1).public_key()],
        local: None,
        cancel: Cancel::default(),
    })
    .unwrap()
}

fn load() -> Arc<MemoryStore> {
    Arc::new(MemoryStore::load_from(&frozen()).unwrap())
}

#[test]
fn the_frozen_journal_reads() {
    let journal = journal(load());
    let survey = journal.survey().unwrap();
    assert_eq!(survey.faults, []);
    assert_eq!((survey.windows.len(), survey.gaps.len()), (2, 1));
    assert_eq!(survey.gaps[0].why, "the slot was dropped");
    let before = journal.way(&base(BEGIN), &RecoverTo::Newest).unwrap();
    assert_eq!(replay(&before), expected()[..40]);
    assert_eq!(before.facts()["engine"], "test");
    let after = journal.way(&base(BEGIN + 100), &RecoverTo::Newest).unwrap();
    let rest: Vec<u8> = after.pieces().iter().flat_map(|p| after.read(p).unwrap()).collect();
    assert_eq!(rest, expected()[40..]);
    assert_eq!(after.histories().unwrap()[0].0, 2);
}

fn open_py(what: &str, folder: &Path, path: &Path, more: &[&str]) -> Output {
    Command::new("python3")
        .arg(root().join("tools/open.py"))
        .args([what.as_ref(), path.as_os_str()])
        .args(["--identity".as_ref(), folder.join("identity.txt").as_os_str()])
        .args(more)
        .output()
        .expect("python3 is there: apt-get install python3 age zstd")
}

/// A copy of the frozen journal, to be damaged.
fn copy() -> (tempfile::TempDir, PathBuf, String) {
    let folder = tempfile::tempdir().unwrap();
    load().save_to(folder.path()).unwrap();
    let lineage = folder.path().join(format!("journal/{COMPONENT}/{LINEAGE}"));
    let key = std::fs::read_to_string(frozen().join("key.txt")).unwrap().trim().to_owned();
    (folder, lineage, key)
}

fn text(output: &Output) -> String {
    let both = [&output.stdout[..], &output.stderr[..]].concat();
    String::from_utf8_lossy(&both).into_owned()
}

#[test]
fn the_stand_alone_reader_reads_it_and_writes_the_same_log() {
    let (folder, lineage, key) = copy();
    let out = folder.path().join("out");
    let more = ["--key", &key, "--out", out.to_str().unwrap()];
    let done = open_py("journal", folder.path(), &lineage, &more);
    assert!(done.status.success(), "{}", text(&done));
    assert_eq!(std::fs::read(&out).unwrap(), expected());
    assert_eq!(std::fs::read(frozen().join("log")).unwrap(), expected());
    let shown = text(&done);
    for word in ["start", "range", "keepalive", "stop", "gap", "branch", "the slot was dropped"] {
        assert!(shown.contains(word), "{word}: {shown}");
    }
    let pack = std::fs::read_dir(lineage.join("packs")).unwrap().next().unwrap().unwrap().path();
    assert!(open_py("pack", folder.path(), &pack, &["--key", &key]).status.success());
    let mut loose: Vec<PathBuf> = std::fs::read_dir(lineage.join("ranges"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    loose.sort();
    assert!(open_py("object", folder.path(), &loose[0], &["--key", &key]).status.success());
    // Somebody else's key.
    let other = open_py("journal", folder.path(), &lineage, &["--key", &"ab".repeat(32)]);
    assert_eq!(other.status.code(), Some(9), "{}", text(&other));
    assert!(text(&other).contains("not believed"));
    assert_eq!(
        open_py("object", folder.path(), &folder.path().join("none"), &[]).status.code(),
        Some(2)
    );
}

/// Changed, missing and exchanged objects are found by both readers.
#[test]
fn both_readers_find_what_was_done_to_it() {
    let keys: Vec<String> = load().keys("journal");
    for key in &keys {
        let (folder, lineage, signer) = copy();
        let path = folder.path().join(key);
        let whole = std::fs::read(&path).unwrap();
        let mut changed = whole.clone();
        changed[whole.len() / 2] ^= 1;
        std::fs::write(&path, &changed).unwrap();
        let done = open_py("journal", folder.path(), &lineage, &["--key", &signer]);
        assert_eq!(done.status.code(), Some(9), "{key}: {}", text(&done));
        let store = load();
        store.plant(key, changed);
        let survey = journal(store).survey().unwrap();
        // A changed slice of a pack is found when it is read: its index is whole.
        if !key.contains("/packs/") {
            assert!(survey.faults.iter().any(|f| f.kind == FaultKind::Damaged), "{key}");
        }
    }
    let (folder, lineage, signer) = copy();
    let middle = keys.iter().filter(|key| key.contains("/ranges/")).nth(2).unwrap();
    std::fs::remove_file(folder.path().join(middle)).unwrap();
    let done = open_py("journal", folder.path(), &lineage, &["--key", &signer]);
    assert_eq!(done.status.code(), Some(9), "{}", text(&done));
    assert!(text(&done).contains("does not follow"));
}

#[test]
fn both_readers_refuse_a_newer_format() {
    let (folder, lineage, key) = copy();
    let store = load();
    let newest = store.keys(&format!("journal/{COMPONENT}/{LINEAGE}/ranges")).pop().unwrap();
    let recipient = std::fs::read_to_string(frozen().join("recipient.txt")).unwrap();
    let identity = std::fs::read_to_string(frozen().join("identity.txt")).unwrap();
    let sealer = Sealer::new(&recipient, Some(&identity)).unwrap();
    let plain = sealer.open(&store.get(&newest).unwrap()).unwrap();
    let newer = String::from_utf8(plain).unwrap().replace(r#""format":1"#, r#""format":2"#);
    let sealed = sealer.seal(newer.as_bytes()).unwrap();
    std::fs::write(folder.path().join(&newest), &sealed).unwrap();
    store.plant(&newest, sealed);
    let survey = journal(store).survey().unwrap();
    assert_eq!(survey.faults[0].kind, FaultKind::Newer);
    let done = open_py("journal", folder.path(), &lineage, &["--key", &key]);
    assert!(text(&done).contains("has format 2"), "{}", text(&done));
    assert_eq!(done.status.code(), Some(9));
}

/// Promise 3: the ledger too.
#[test]
fn the_stand_alone_reader_verifies_a_ledger() {
    let folder = tempfile::tempdir().unwrap();
    let host = folder.path().join("ledger/db1");
    let recipient = std::fs::read_to_string(frozen().join("recipient.txt")).unwrap();
    let sealer = Sealer::new(&recipient, None).unwrap();
    let formats = root().join("testdata/formats/chain-1");
    std::fs::copy(frozen().join("identity.txt"), folder.path().join("identity.txt")).unwrap();
    let put = |name: &str, plain: &[u8]| {
        let path = host.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, sealer.seal(plain).unwrap()).unwrap();
    };
    let lines = std::fs::read(formats.join("ledger.jsonl")).unwrap();
    let checkpoint = std::fs::read(formats.join("checkpoint.json")).unwrap();
    put("entries/1-3.jsonl.zst.age", &lines);
    put("checkpoints/2.json.zst.age", checkpoint.trim_ascii());
    let done = open_py("ledger", folder.path(), &host, &[]);
    assert!(done.status.success(), "{}", text(&done));
    assert!(text(&done).contains("nobody vouches"));
    let changed = String::from_utf8(lines).unwrap().replacen("\"ops\"", "\"eve\"", 1);
    put("entries/1-3.jsonl.zst.age", changed.as_bytes());
    let done = open_py("ledger", folder.path(), &host, &[]);
    assert_eq!(done.status.code(), Some(9), "{}", text(&done));
}

#[test]
fn the_stand_alone_reader_is_short() {
    let lines = std::fs::read_to_string(root().join("tools/open.py")).unwrap().lines().count();
    assert!(lines <= 250, "{lines} lines");
}
