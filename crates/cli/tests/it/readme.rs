//! The commands of README.md and of the guides run as they stand there.
//!
//! A block is executed if the line `<!-- test -->` stands before it. It runs in an application's
//! folder with `lifeboat` in the PATH; each line must end with 0.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::kit::App;

fn blocks(text: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if line.trim() != "<!-- test -->" {
            continue;
        }
        assert_eq!(lines.next(), Some("```sh"), "a tested block begins with ```sh");
        let body: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
        blocks.push(body.join("\n"));
    }
    blocks
}

fn documents() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut list = vec![root.join("README.md")];
    let docs = root.join("docs");
    if let Ok(entries) = std::fs::read_dir(docs) {
        list.extend(
            entries
                .map(|entry| entry.unwrap().path())
                .filter(|path| path.extension().is_some_and(|end| end == "md")),
        );
    }
    list
}

#[test]
fn commands_of_the_documents_work() {
    let binary = Path::new(env!("CARGO_BIN_EXE_lifeboat"));
    let mut tested = 0;
    for document in documents() {
        let text = std::fs::read_to_string(&document).unwrap();
        for block in blocks(&text) {
            tested += 1;
            let app = App::bare();
            let path =
                format!("{}:/usr/local/bin:/usr/bin:/bin", binary.parent().unwrap().display());
            let output = Command::new("/bin/sh")
                .args(["-ec", &block])
                .current_dir(&app.root)
                .env("PATH", path)
                .env_remove("LIFEBOAT_PLAN")
                .output()
                .unwrap();
            assert!(
                output.status.success(),
                "{}: {}\n{block}\n{}{}",
                document.display(),
                output.status,
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr)
            );
        }
    }
    assert!(tested > 0, "README.md has no block marked <!-- test -->");
}

#[test]
fn blocks_are_found() {
    let text = "a\n<!-- test -->\n```sh\nlifeboat lint\nls\n```\n```sh\nno\n```\n";
    assert_eq!(blocks(text), ["lifeboat lint\nls"]);
}
