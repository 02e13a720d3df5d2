//! Promise 3: what is sealed opens with stock `age` and `zstd`.

use std::path::Path;
use std::process::{Command, Stdio};

use lifeboat_recovery::seal::{SealError, Sealer};

const KEY: &str = "correct horse battery staple";

fn run(program: &str, args: &[&str], input: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let hint = format!("{program} is needed by this test: apt-get install {program}");
    let mut child = Command::new(program)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect(&hint);
    child.stdin.take().unwrap().write_all(input).unwrap();
    let out = child.wait_with_output().unwrap();
    assert!(out.status.success(), "{program}: {}", String::from_utf8_lossy(&out.stderr));
    out.stdout
}

#[test]
fn stock_age_and_zstd_open_a_sealed_object() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("identity.txt");
    // A fresh identity from stock age-keygen, so that both directions are the stock format.
    let text = run("age-keygen", &[], b"");
    std::fs::write(&file, &text).unwrap();
    let text = String::from_utf8(text).unwrap();
    let recipient = text.lines().find_map(|l| l.strip_prefix("# public key: ")).unwrap();
    let sealer = Sealer::new(recipient, Some(&text)).unwrap();

    let plain = b"{\"seq\":1}\n".repeat(1000);
    let sealed = sealer.seal(&plain).unwrap();
    let packed = run("age", &["-d", "-i", file.to_str().unwrap()], &sealed);
    assert_eq!(run("zstd", &["-d", "-c"], &packed), plain);
    assert_eq!(sealer.open(&sealed).unwrap(), plain);

    // And what stock tools seal, we open.
    let packed = run("zstd", &["-c"], b"from outside");
    let sealed = run("age", &["-r", recipient], &packed);
    assert_eq!(sealer.open(&sealed).unwrap(), b"from outside");
}

/// One secret opens everything: the identity in the tier is an age file with the vault key as
/// passphrase. `age` asks for a passphrase on a terminal only, so `script` lends it one.
#[test]
fn stock_age_opens_the_identity_with_the_vault_key() {
    let folder = tempfile::tempdir().unwrap();
    let (sealer, sealed) = Sealer::generate(KEY, false).unwrap();
    let (locked, open) = (folder.path().join("identity.age"), folder.path().join("identity.txt"));
    std::fs::write(&locked, &sealed).unwrap();
    let command = format!("age -d -o {} {}", open.display(), locked.display());
    let log = folder.path().join("log");
    // `script` feeds its standard input to the terminal once age has asked.
    let python = format!(
        "import pty,os,sys,select\n\
         pid, fd = pty.fork()\n\
         if pid == 0: os.execvp('sh', ['sh', '-c', {command:?}])\n\
         seen = b''\n\
         while b'passphrase' not in seen: seen += os.read(fd, 1024)\n\
         os.write(fd, {KEY:?}.encode() + b'\\n')\n\
         try:\n\
         \x20 while os.read(fd, 1024): pass\n\
         except OSError: pass\n\
         sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))\n"
    );
    std::fs::write(&log, &python).unwrap();
    run("python3", &[log.to_str().unwrap()], b"");
    let text = std::fs::read_to_string(&open).unwrap();
    let again = Sealer::new(&sealer.recipient(), Some(&text)).unwrap();
    assert_eq!(again.open(&sealer.seal(b"x").unwrap()).unwrap(), b"x");
}

#[test]
fn the_identity_opens_with_its_key_only_and_quickly() {
    let (sealer, sealed) = Sealer::generate(KEY, false).unwrap();
    let again = Sealer::unlock(&sealed, KEY).unwrap();
    assert_eq!(again.recipient(), sealer.recipient());
    assert!(matches!(Sealer::unlock(&sealed, "wrong"), Err(SealError::WrongKey)));
    // N = 2^12: the work factor stands in clear in the header.
    let header = String::from_utf8_lossy(&sealed[..120]).into_owned();
    assert!(header.contains("-> scrypt ") && header.contains(" 12\n"), "{header}");
    assert!(!String::from_utf8_lossy(&sealed).contains("AGE-SECRET-KEY"));
}

#[test]
fn a_changed_or_foreign_object_does_not_open() {
    let (sealer, _) = Sealer::generate(KEY, false).unwrap();
    let (other, _) = Sealer::generate(KEY, false).unwrap();
    let sealed = sealer.seal(b"content").unwrap();
    assert!(matches!(other.open(&sealed), Err(SealError::Decrypt(_))));
    for at in [10, sealed.len() / 2, sealed.len() - 1] {
        let mut broken = sealed.clone();
        broken[at] ^= 1;
        assert!(sealer.open(&broken).is_err(), "a flipped bit at {at} was not noticed");
    }
    assert!(sealer.open(&sealed[..sealed.len() - 1]).is_err());
    assert!(sealer.open(b"").is_err());
    let closed = Sealer::new(&sealer.recipient(), None).unwrap();
    assert!(matches!(closed.open(&sealed), Err(SealError::NoIdentity)));
    assert!(matches!(Sealer::new("age1nonsense", None), Err(SealError::BadRecipient(_))));
    assert!(!Path::new("identity.txt").exists());
}

/// What a released version sealed is opened for ever.
#[test]
fn frozen_sealed_objects_open() {
    let formats = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/formats");
    let mut seen = 0;
    for entry in std::fs::read_dir(formats).unwrap() {
        let folder = entry.unwrap().path();
        if !folder.file_name().unwrap().to_string_lossy().starts_with("sealed-") {
            continue;
        }
        let read = |name: &str| std::fs::read(folder.join(name)).unwrap();
        let sealer = Sealer::unlock(&read("identity.age"), "frozen").unwrap();
        assert_eq!(sealer.open(&read("object.jsonl.zst.age")).unwrap(), read("object.jsonl"));
        seen += 1;
    }
    assert!(seen > 0, "at least the first format is frozen");
}
