//! `[key] sign_command`: the ledger is signed by a key that this host need not hold. The stock
//! openssl signs here.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::kit::App;

/// What the command prints beside a failure, and nobody may see.
const PIN: &str = "pin-271828";

/// An application whose ledger `sign.sh` signs with `key.pem` in a folder of its own.
pub fn app() -> (App, PathBuf) {
    let app = App::new();
    let folder = app.dir.path().join("device");
    fs::create_dir(&folder).unwrap();
    new_key(&folder);
    let script = folder.join("sign.sh");
    let key = folder.join("key.pem");
    let text = format!(
        "set -e\nhex() {{ od -An -v -tx1 | tr -d ' \\n'; }}\ncase \"$LIFEBOAT_SIGN\" in\n\
         public-key) openssl pkey -in {key} -pubout -outform DER | tail -c 32 | hex ;;\n\
         message) openssl pkeyutl -sign -rawin -inkey {key} -in \"$LIFEBOAT_MESSAGE\" | hex ;;\n\
         *) exit 9 ;;\nesac\n",
        key = key.display()
    );
    fs::write(&script, text).unwrap();
    let line = format!("[key]\nsign_command = \"sh {}\"", script.display());
    app.write_plan(&app.plan_text().replace("[key]", &line));
    (app, folder)
}

fn new_key(folder: &Path) {
    let made = Command::new("openssl")
        .args(["genpkey", "-algorithm", "ed25519", "-out"])
        .arg(folder.join("key.pem"))
        .stderr(Stdio::null())
        .status()
        .unwrap_or_else(|e| panic!("openssl: {e}; apt-get install openssl"));
    assert!(made.success());
}

fn actions(app: &App) -> Vec<String> {
    let log = app.run(&["audit", "log", "--json"]).ends(0).json();
    let entries = log["entries"].as_array().unwrap();
    entries.iter().map(|entry| entry["action"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_command_signs_and_no_key_is_made_here() {
    let (app, _) = app();
    app.run(&["lint"]).ends(0);
    app.run(&["backup"]).ends(0);
    app.run(&["drill", "run"]).ends(0);
    let verified = app.run(&["audit", "verify", "--json"]).ends(0).json();
    assert_eq!(verified["verdict"], "pass", "{verified:#}");
    let state = app.root.join(".lifeboat");
    assert!(!state.join("sign.key").exists());
    assert!(!state.join("sign.message").exists());
    let public = fs::read_to_string(state.join("sign.pub")).unwrap();
    let ledger = fs::read_dir(state.join("ledger")).unwrap().flatten().map(|entry| entry.path());
    let ledger = ledger.into_iter().find(|path| path.extension().is_some_and(|e| e == "jsonl"));
    let first = fs::read_to_string(ledger.unwrap()).unwrap();
    assert!(first.lines().next().unwrap().contains(public.trim()), "the first entry names the key");
}

/// Nothing is recorded, and so nothing is done, under another key or no signature.
#[test]
fn a_command_that_signs_otherwise_is_refused() {
    let (app, folder) = app();
    app.run(&["backup"]).ends(0);
    let before = (actions(&app), app.snapshots().len());
    let script = folder.join("sign.sh");
    let honest = fs::read_to_string(&script).unwrap();

    new_key(&folder);
    app.run(&["backup"]).ends(1).says("gave a signature that is not of key", "sign_command");
    let answers = [
        (format!("echo {PIN}; exit 3"), "ended with status 3"),
        (format!("echo {PIN}"), "said something else"),
        ("kill -9 $$".to_owned(), "ended with status 137"),
    ];
    for (lie, sentence) in answers {
        fs::write(&script, lie).unwrap();
        let ran = app.run(&["backup"]).ends(1).says(sentence, "sign_command");
        assert!(!ran.err.contains(PIN) && !ran.out.contains(PIN), "{}", ran.err);
    }
    // What changes nothing runs all the same, and says so.
    for args in [&["restore", "media", "--to", "../back"][..], &["verify", "--quick"]] {
        let ran = app.run(args).ends(0);
        assert!(ran.out.contains("is not recorded in the ledger"), "{}{}", ran.out, ran.err);
        assert!(!ran.err.contains(PIN) && !ran.out.contains(PIN), "{}", ran.err);
    }
    app.run(&["drill", "run"]).ends(1);
    assert_eq!((actions(&app), app.snapshots().len()), before);

    // A new key on purpose: said, recorded, and the ledger goes on.
    fs::write(&script, honest).unwrap();
    fs::remove_file(app.root.join(".lifeboat/sign.pub")).unwrap();
    let ran = app.run(&["backup"]).ends(0);
    assert!(ran.err.contains("signing key changed") || ran.out.contains("signing key changed"));
    app.run(&["audit", "verify"]).ends(0);
}

/// A host that had a key of its own goes over to a command, and back.
#[test]
fn a_host_goes_over_to_a_command() {
    let (app, _) = app();
    let by_command = fs::read_to_string(app.root.join("lifeboat.toml")).unwrap();
    app.write_plan(&app.plan_text());
    app.run(&["backup"]).ends(0);
    app.write_plan(&by_command);
    let over = app.run(&["backup"]).ends(0);
    assert!(over.err.contains("signing key changed") || over.out.contains("signing key changed"));
    app.run(&["audit", "verify"]).ends(0);
    app.write_plan(&app.plan_text());
    app.run(&["backup"]).ends(0);
    app.run(&["audit", "verify"]).ends(0);
    app.run(&["status"]).ends(0);
}
