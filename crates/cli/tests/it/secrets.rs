//! Secrets never reach output, arguments, ledger, evidence or any file but the key's own.

use std::fs;

use crate::kit::{App, KEY, contents};

#[test]
fn the_key_stands_nowhere_but_in_its_file() {
    let app = App::new();
    let mut said = String::new();
    for args in [
        &["lint"][..],
        &["backup", "--verify"],
        &["list"],
        &["verify"],
        &["restore", "--all", "--to", "../back"],
        &["drill", "run"],
        &["status"],
        &["audit", "log"],
        &["audit", "verify"],
        &["doctor"],
    ] {
        for form in [&[][..], &["--json"]] {
            let mut args = [args, form].concat();
            if args.contains(&"../back") && args.contains(&"--json") {
                args[3] = "../back2";
            }
            let ran = app.run(&args);
            said.push_str(&ran.out);
            said.push_str(&ran.err);
        }
    }
    assert!(said.len() > 4000, "the commands said next to nothing");
    assert!(!said.contains(KEY));
    for (path, content) in contents(app.dir.path()) {
        if path.ends_with("vault.key") {
            continue;
        }
        let found = content.windows(KEY.len()).any(|window| window == KEY.as_bytes());
        assert!(!found, "the key stands in {}", path.display());
    }
}

#[test]
fn a_wrong_key_is_not_shown_either() {
    let app = App::new();
    app.run(&["backup"]).ends(0);
    let wrong = "hush-this-is-another-key-hush-hush";
    fs::write(&app.key, wrong).unwrap();
    let ran = app.run(&["verify", "--json"]).ends(2);
    assert!(!ran.out.contains(wrong) && !ran.err.contains(wrong));
}

#[test]
fn the_state_folder_is_private() {
    use std::os::unix::fs::PermissionsExt;
    let app = App::new();
    app.run(&["backup"]).ends(0);
    let mode = |path: &str| fs::metadata(app.root.join(path)).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(".lifeboat"), 0o700);
    assert_eq!(mode(".lifeboat/sign.key"), 0o600);
}
