//! Every row of docs/pitfalls.md and docs/requirements.md names a test that exists.

use std::path::{Path, PathBuf};

/// One row: its line, and the test that it names.
#[derive(Debug, PartialEq, Eq)]
struct Row {
    line: usize,
    engine: String,
    test: Option<String>,
}

fn rows(text: &str) -> Vec<Row> {
    let mut engine = String::new();
    let mut rows = Vec::new();
    for (at, line) in text.lines().enumerate() {
        if let Some(heading) = line.strip_prefix("## ") {
            engine = heading.to_owned();
        }
        let named = ["pitfall", "requirement", "case", "input"];
        let heads = line.starts_with("|---")
            || named.iter().any(|first| line.starts_with(&format!("| {first} |")));
        if !line.starts_with('|') || heads {
            continue;
        }
        // A bar in a cell is written `\|`.
        let plain = line.replace("\\|", "/");
        let cells: Vec<&str> = plain.trim_matches('|').split('|').map(str::trim).collect();
        let test = match cells[..] {
            [pitfall, does, test] if !pitfall.is_empty() && !does.is_empty() => {
                Some(test.trim_matches('`').to_owned())
            }
            _ => None,
        };
        rows.push(Row { line: at + 1, engine: engine.clone(), test });
    }
    rows
}

fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|end| end == "rs") {
            found.push(path);
        }
    }
}

/// True if the text holds a test of this name: an attribute that ends in `test` stands before it.
fn holds_test(text: &str, name: &str) -> bool {
    let wanted = format!("fn {name}(");
    let mut marked = false;
    for line in text.lines().map(str::trim) {
        if line.starts_with("#[test") {
            marked = true;
        } else if line.contains(&wanted) && marked {
            return true;
        } else if !line.starts_with("#[") && !line.starts_with("//") {
            marked = false;
        }
    }
    false
}

/// Why `crate::module::test` is no test, if it is none.
fn missing(crates: &Path, test: &str) -> Option<String> {
    let parts: Vec<&str> = test.split("::").collect();
    let [krate, modules @ .., name] = &parts[..] else {
        return Some(format!("`{test}` is not CRATE::MODULE::TEST"));
    };
    let Some(module) = modules.last() else {
        return Some(format!("`{test}` names no module"));
    };
    let mut files = Vec::new();
    rust_files(&crates.join(krate).join("src"), &mut files);
    rust_files(&crates.join(krate).join("tests"), &mut files);
    let of_module = |path: &PathBuf, text: &str| {
        path.components().any(|part| {
            let part = part.as_os_str().to_string_lossy();
            part == *module || part == format!("{module}.rs")
        }) || text.contains(&format!("mod {module} {{"))
    };
    let holds = files.iter().any(|path| {
        let text = std::fs::read_to_string(path).unwrap();
        of_module(path, &text) && holds_test(&text, name)
    });
    (!holds).then(|| format!("there is no test `{test}`"))
}

fn names_tests_that_exist(document: &str) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let text = std::fs::read_to_string(root.join(document)).unwrap();
    let rows = rows(&text);
    assert!(rows.len() > 20, "{document} has {} rows", rows.len());
    let wrong: Vec<String> = rows
        .into_iter()
        .filter_map(|row| {
            let why = match &row.test {
                Some(test) => missing(&root.join("crates"), test)?,
                None => "a row has a pitfall, what is done, and a test".to_owned(),
            };
            Some(format!("{document}:{}: {why}", row.line))
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_pitfall_names_a_test_that_exists() {
    names_tests_that_exist("docs/pitfalls.md");
}

#[test]
fn every_requirement_names_a_test_that_exists() {
    names_tests_that_exist("docs/requirements.md");
}

#[test]
fn a_row_without_a_test_is_found() {
    let text = "## SQLite\n\n| pitfall | what Lifeboat does | test |\n|---|---|---|\n\
                | a | b | `cli::pitfalls::a_row_without_a_test_is_found` |\n| a | b | |\n| a | b |\n";
    let found = rows(text);
    assert_eq!(found.len(), 3);
    assert_eq!(found[0].engine, "SQLite");
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    assert_eq!(missing(&crates, found[0].test.as_deref().unwrap()), None);
    assert!(missing(&crates, found[1].test.as_deref().unwrap()).is_some());
    assert_eq!(found[2].test, None);
    for none in [
        "cli::pitfalls::rows",
        "cli::pitfalls::no_such_test",
        "cli::readme::a_row_without_a_test_is_found",
        "nowhere::pitfalls::a_row_without_a_test_is_found",
        "a_row_without_a_test_is_found",
    ] {
        assert!(missing(&crates, none).is_some(), "{none}");
    }
}
