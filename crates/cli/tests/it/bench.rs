//! `scripts/bench` works: a benchmark that does not run measures nothing.

use std::path::Path;
use std::process::Command;

/// Two workloads of next to no data, with every step of theirs and every check of what was restored.
#[test]
fn the_benchmark_runs_and_compares() {
    let folder = tempfile::tempdir().unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let document = folder.path().join("benchmarks.md");
    let marks = ["<!-- scripts/bench -->\n", "<!-- end of scripts/bench -->\n"];
    std::fs::write(&document, format!("above\n{}old\n{}below\n", marks[0], marks[1])).unwrap();
    let done = Command::new(root.join("scripts/bench"))
        .args(["--only", "database,prune", "--quick", "--scale", "0.002", "--dir"])
        .arg(folder.path())
        .arg("--write")
        .arg(&document)
        .env("LIFEBOAT", env!("CARGO_BIN_EXE_lifeboat"))
        .output()
        .unwrap();
    let (table, said) =
        (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    assert!(done.status.success(), "{said}");
    let rows = [
        ("database", "backup"),
        ("database", "again"),
        ("database", "restore"),
        ("database", "1 % in runs"),
        ("database", "1 % at random"),
        ("prune", "prune"),
    ];
    for (workload, step) in rows {
        for tool in ["lifeboat", "restic"] {
            let row = format!("| {workload} | {step} | {tool} |");
            assert_eq!(table.matches(&row).count(), 1, "{row} in {table}");
            // As it came, before the table: a run that is killed is not lost.
            assert!(said.contains(&format!("{workload}, {step}, {tool}: ")), "{said}");
        }
    }
    let written = std::fs::read_to_string(&document).unwrap();
    assert_eq!(written, format!("above\n{}{table}{}below\n", marks[0], marks[1]));
    let left = std::fs::read_dir(folder.path()).unwrap().count();
    assert_eq!(left, 1, "only the document is left");
}
