//! The program from outside with a real PostgreSQL server: what it proves, and a copy over a copy.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use lifeboat_testkit::postgres::{Server, Version};
use serde_json::Value;

use crate::kit::App;
use crate::site::{Site, wait};

const LOCKED: &str = ", stream = true, window = \"7d\", fingerprint = \"locked\"";

fn check<'a>(report: &'a Value, name: &str) -> Option<&'a Value> {
    let checks = report["snapshots"][0]["checks"].as_array().unwrap();
    checks.iter().find(|check| check["name"] == name)
}

fn stream(site: &Site) {
    let (code, report) = site.json(&["stream", "--once"]);
    assert_eq!(code, 0, "{report:#}");
}

/// AUD-33: what production held when it was fingerprinted is what the copy holds, at that very place.
#[test]
fn tables_are_compared_at_the_place_where_production_was_fingerprinted() {
    let site = Site::new(Version::V15, LOCKED);
    let (code, report) = site.json(&["verify"]);
    let warnings = report["warnings"].to_string();
    assert!(warnings.contains("not compared with their fingerprints"), "{report:#}");
    assert_eq!((code, check(&report, "fingerprints")), (0, None), "{report:#}");
    stream(&site);
    site.server.psql("insert into t select from generate_series(1, 500)");
    site.server.psql("create table later as select 1 as n, '3'::money as m, 't'::regclass as r");
    let ran = site.run(&["backup"]).ends(0);
    assert!(!ran.err.contains("no fingerprints"), "{}", ran.err);
    // Production goes on; nothing of it is in the copy that is compared.
    site.server.psql("update t set at = now()");
    site.server.psql("drop table later");
    stream(&site);
    let (code, report) = site.json(&["verify"]);
    let compared = check(&report, "fingerprints").unwrap_or_else(|| panic!("{report:#}"));
    assert_eq!((code, &compared["verdict"]), (0, &"pass".into()), "{report:#}");
    assert_eq!(compared["found"], "2 equal", "{report:#}");
    assert!(report["warnings"].as_array().unwrap().is_empty(), "{report:#}");
}

/// An answer of a restored copy, by its plain server.
fn asked_only(target: &Path, sql: &str) -> String {
    let mut back = Server::on(Version::V15, &target.join("pgdata"));
    back.configure(&[("archive_mode", "off"), ("archive_command", "")]);
    back.start_again();
    let answer = back.psql(sql);
    back.stop();
    answer
}

/// A restore that did not come to its end leaves nothing that a server starts.
#[test]
fn what_is_left_of_a_restore_that_failed_does_not_start() {
    let site = Site::new(Version::V15, "");
    site.server.pgbench_init(2);
    site.run(&["backup"]).ends(0);
    // A part of it is damaged, in the largest pack, of the tables.
    let packs = walk(&site.root.join("tier/vault/data"));
    let largest = packs.iter().max_by_key(|path| fs::metadata(path).unwrap().len()).unwrap();
    let mut pack = fs::read(largest).unwrap();
    let middle = pack.len() / 2;
    pack[middle] ^= 1;
    fs::write(largest, pack).unwrap();
    let target = site.root.join("back");
    let args = ["restore", "accounts", "--to", target.to_str().unwrap(), "--keep-failed", "--json"];
    let ran = site.run(&args);
    assert_eq!(ran.code, 9, "{}", ran.err);
    let report = ran.json();
    let kept =
        report["components"][0]["failed_copy"].as_str().unwrap_or_else(|| panic!("{report:#}"));
    let data = Path::new(kept).join("pgdata");
    assert!(data.join("PG_VERSION").exists() && data.join("global").is_dir());
    assert!(!data.join("global/pg_control").exists(), "it would start");
}

fn walk(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
}

/// TEC-24: an older copy is brought to a newer state, and nothing of the older one is left.
#[test]
fn a_data_directory_that_stands_there_is_brought_to_another_state() {
    let site = Site::new(Version::V15, ", stream = true, window = \"7d\"");
    site.server.pgbench_init(1);
    // The servers of a group that may read it.
    let control = "global/pg_control";
    fs::set_permissions(site.server.data().join(control), Permissions::from_mode(0o640)).unwrap();
    stream(&site);
    let target = site.root.join("back");
    let to = target.to_str().unwrap();
    let restore = |more: &[&str]| {
        let args = [&["restore", "accounts", "--to", to], more].concat();
        let (code, report) = site.json(&args);
        assert_eq!(code, 0, "{report:#}");
        report
    };
    let asked = |sql: &str| {
        let mut back = Server::on(Version::V15, &target.join("pgdata"));
        back.configure(&[("archive_mode", "off"), ("archive_command", "")]);
        back.start_again();
        let answer = back.psql(sql);
        // What is in the copy alone; it would be in the way if it were there still.
        back.psql("create table own as select 1 as n; checkpoint");
        back.stop();
        answer
    };
    let sum = "select count(*), coalesce(sum(abalance), 0) from pgbench_accounts";
    restore(&[]);
    let mode = fs::metadata(target.join("pgdata").join(control)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o640, "{mode:o}");
    let first = site.server.psql(sum);
    assert_eq!(asked(sum), first);
    drop(site.server.pgbench(&["-c", "1", "-T", "1"]));
    wait(1500);
    site.run(&["backup"]).ends(0);
    site.server.psql("update pgbench_accounts set abalance = 7 where aid % 100 = 0");
    stream(&site);
    let refused = site.run(&["restore", "accounts", "--to", to]);
    assert_eq!(refused.code, 4, "it is not empty: {}", refused.err);
    let second = site.server.psql(sum);
    assert_ne!(first, second);
    let refused = site.run(&["restore", "accounts", "--to", to, "--verify-existing", "--yes"]);
    refused.ends(4).says("cannot stay in another one", "--delete");
    assert_eq!(asked_only(&target, sum), first, "nothing was touched");
    let report = restore(&["--verify-existing", "--delete", "--yes"]);
    let unchanged = report["components"][0]["unchanged"].as_u64().unwrap_or(0);
    assert!(unchanged > 1 << 20, "most of it stood there: {report:#}");
    assert_eq!(asked(sum), second);
    let kept = fs::read_dir(&site.root).unwrap().filter(|entry| {
        let name = entry.as_ref().unwrap().file_name();
        name.to_string_lossy().starts_with("back.")
    });
    assert_eq!(kept.count(), 0, "nothing is left beside it");
}

/// A managed server that gives dumps only: what is lost between two of them is said.
#[test]
fn doctor_says_what_rpo_dumps_leave() {
    let app = App::new();
    let dumps = "\n[component.managed]\nrpo = \"1h\"\n\
        postgres = { dsn_env = \"NOBODY\", mode = \"logical\" }\n\
        [schedule.dumps]\ncomponents = [\"managed\"]\ncron = \"0 2 * * *\"\n";
    app.write_plan(&format!("{}{dumps}", app.plan_text()));
    let doctor = app.run(&["doctor"]);
    assert!(doctor.out.contains("managed is captured as dumps: up to 1d"), "{}", doctor.out);
    assert!(doctor.out.contains("between two dumps nothing can be restored"), "{}", doctor.out);
    app.write_plan(&format!("{}{}", app.plan_text(), dumps.replace("1h", "2d")));
    let doctor = app.run(&["doctor"]);
    assert!(!doctor.out.contains("between two dumps"), "{}", doctor.out);
}
