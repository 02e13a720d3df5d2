//! Components that are restored in place together, with a real application that holds them open:
//! all of them go back, or none, also when the restore is killed between two steps.

use std::fs;
use std::path::PathBuf;
use std::process::Child;
use std::time::Duration;

use lifeboat_adapters::SystemClock;
use lifeboat_vault::Clock;
use rusqlite::Connection;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::kit::{App, add_orders, count_orders};

/// Rows in the snapshot, and in the live database when the restore begins.
const SAVED: u32 = 500;
const LIVE: u32 = 507;

/// An application of three components that holds its database open, backed up, then written to.
/// `amedia` and `orders` are bound by a check; all have one stop and one start command.
struct Shop {
    app: App,
}

impl Shop {
    /// `probe` is what the probe's script does.
    fn new(probe: &str) -> Shop {
        let app = App::bare();
        fs::rename(app.root.join("media"), app.root.join("amedia")).unwrap();
        fs::write(app.root.join("amedia/state"), "saved").unwrap();
        let service = "stop = \". ./stop\"\nstart = \". ./start\"\n";
        let plan = app.plan_text();
        let plan =
            plan.replace("[class.critical]\norder = 1\n", "").replace("class = \"critical\"\n", "");
        let plan = plan
            .replace("[component.media]\nfiles = { paths = [\"media\"]", &format!(
                "[component.amedia]\n{service}probe = \". ./probe\"\nfiles = {{ paths = [\"amedia\"]"
            ))
            .replace("exists_in = \"media\", under = \"media\"", "exists_in = \"amedia\", under = \"amedia\"")
            .replace("[component.orders]\n", &format!("[component.orders]\n{service}"));
        app.write_plan(&plan);
        let start = "echo start >> log\n\
            (exec 9<>data/orders.db; exec sleep 600) >/dev/null 2>&1 &\necho $! > pid\n";
        let stop = "echo stop >> log\nif test -f pid; then kill $(cat pid); rm pid; fi\n";
        for (name, script) in [("start", start), ("stop", stop), ("probe", probe)] {
            // Whoever runs it dies at its end, once, if a file says so.
            let die = format!(
                "if test -f die-in-{name}; then rm die-in-{name}; kill -9 $PPID; sleep 1; fi\n"
            );
            let script = match name {
                "probe" => format!("{die}{script}\n"),
                _ => format!("{script}{die}"),
            };
            fs::write(app.root.join(name), script).unwrap();
        }
        app.run(&["backup"]).ends(0);
        fs::write(app.root.join("amedia/state"), "live").unwrap();
        let mut open = Connection::open(app.database()).unwrap();
        add_orders(&mut open, LIVE - SAVED);
        drop(open);
        let shop = Shop { app };
        shop.sh("start");
        fs::remove_file(shop.app.root.join("log")).unwrap();
        shop
    }

    fn sh(&self, script: &str) {
        let status = std::process::Command::new("sh")
            .arg(self.app.root.join(script))
            .current_dir(&self.app.root)
            .status();
        assert!(status.unwrap().success());
    }

    fn restore(&self) -> Vec<&'static str> {
        vec!["restore", "--all", "--in-place", "--yes", "--confirm", "Shop"]
    }

    /// Rows and media, as they are now.
    fn now(&self) -> (u32, String) {
        let media = fs::read_to_string(self.app.root.join("amedia/state")).unwrap();
        (count_orders(&self.app.database()), media)
    }

    fn pid(&self) -> Option<i32> {
        fs::read_to_string(self.app.root.join("pid")).ok()?.trim().parse().ok()
    }

    /// Does the application run, and is the live database what it has open?
    fn serves(&self) -> bool {
        let Some(pid) = self.pid() else { return false };
        let open = PathBuf::from(format!("/proc/{pid}/fd/9"));
        let live = self.app.database().canonicalize().unwrap();
        fs::read_link(open).is_ok_and(|open| open == live)
    }
}

impl Drop for Shop {
    fn drop(&mut self) {
        if let Some(pid) = self.pid().and_then(Pid::from_raw) {
            let _ = kill_process(pid, Signal::KILL);
        }
    }
}

fn former() -> (u32, String) {
    (LIVE, "live".to_owned())
}

fn restored() -> (u32, String) {
    (SAVED, "saved".to_owned())
}

fn entry<'a>(report: &'a Value, name: &str) -> &'a Value {
    let all = report["components"].as_array().unwrap();
    all.iter().find(|one| one["component"] == name).unwrap()
}

#[test]
fn a_failing_probe_takes_all_of_a_group_back_under_one_stop() {
    let shop = Shop::new("exit 1");
    let (code, report) = shop.app.json(&shop.restore());
    assert_eq!(code, 1, "{report:#}");
    assert_eq!(shop.now(), former(), "{report:#}");
    assert!(shop.serves(), "{report:#}");
    let log = fs::read_to_string(shop.app.root.join("log")).unwrap();
    assert_eq!(log, "stop\nstart\nstop\nstart\n");
    for name in ["amedia", "orders"] {
        assert_eq!(entry(&report, name)["target"], Value::Null, "{report:#}");
    }
    let warnings = report["warnings"].to_string();
    assert!(!warnings.contains("could not be put back"), "{warnings}");
    assert!(shop.app.json(&["status"]).1["findings"].as_array().unwrap().is_empty());
}

impl Shop {
    fn spawn(&self) -> Child {
        let mut command = self.app.command(&self.restore());
        let quiet = std::process::Stdio::null;
        command.stdout(quiet()).stderr(quiet()).spawn().unwrap()
    }

    /// The file that has the database's name.
    fn database_file(&self) -> Option<u64> {
        use std::os::unix::fs::MetadataExt;
        fs::metadata(self.app.database()).ok().map(|found| found.ino())
    }

    fn media(&self) -> String {
        fs::read_to_string(self.app.root.join("amedia/state")).unwrap_or_default()
    }

    /// What must hold once the next command settled what was left.
    #[track_caller]
    fn settled_by(&self, args: &[&str], expected: &(u32, String)) {
        let status = self.app.json(&["status"]).1;
        let said = status["findings"].to_string();
        assert!(said.contains("of amedia, orders was cut off"), "{status:#}");
        for one in status["components"].as_array().unwrap() {
            let name = one["component"].as_str().unwrap();
            assert_eq!(one["state"] == "failing", name != "config", "{status:#}");
        }
        let ran = self.app.run(args).ends(0);
        assert!(format!("{}{}", ran.out, ran.err).contains("was cut off"), "{ran:?}");
        assert_eq!(self.now(), *expected);
        assert!(self.serves(), "the application does not run on the live data: {ran:?}");
        let status = self.app.json(&["status"]).1;
        assert!(!status["findings"].to_string().contains("was cut off"), "{status:#}");
        // What was saved is of one time.
        if args == ["backup"] {
            self.app.run(&["restore", "--all", "--to", "../saved"]).ends(0);
            let saved = self.app.dir.path().join("saved");
            let media = fs::read_to_string(saved.join("amedia/amedia/state")).unwrap();
            assert_eq!((count_orders(&saved.join("orders/orders.db")), media), *expected);
        }
    }
}

#[test]
fn killed_at_a_command_the_next_backup_finds_one_state_and_starts_the_application() {
    for (probe, die_in, stops, expected) in [
        ("true", "stop", 1, former()),
        ("true", "start", 1, restored()),
        ("true", "probe", 1, restored()),
        // In the way back.
        ("touch die-in-stop; exit 1", "", 2, former()),
        ("touch die-in-start; exit 1", "", 2, former()),
    ] {
        let shop = Shop::new(probe);
        if !die_in.is_empty() {
            fs::write(shop.app.root.join(format!("die-in-{die_in}")), "").unwrap();
        }
        assert_eq!(shop.spawn().wait().unwrap().code(), None, "not killed: {probe} {die_in}");
        let log = fs::read_to_string(shop.app.root.join("log")).unwrap();
        assert_eq!(log.matches("stop").count(), stops, "{probe} {die_in}: {log}");
        shop.settled_by(&["backup"], &expected);
    }
}

/// Runs restores until one could be killed while `amedia` is the copy and `orders` is not, the
/// `turn`th time that it is so: between the swaps, or between the two undos.
fn killed_in_between(probe: &str, after_probe: bool) -> Shop {
    let clock = SystemClock::new();
    for _ in 0..20 {
        let shop = Shop::new(probe);
        let old = shop.database_file();
        let mut child = shop.spawn();
        let pid = Pid::from_child(&child);
        let mut began = !after_probe;
        let mixed = || shop.media() == "saved" && shop.database_file() == old;
        while child.try_wait().unwrap().is_none() {
            began |= shop.app.root.join("probed").exists();
            if began && mixed() {
                kill_process(pid, Signal::STOP).unwrap();
                clock.sleep(Duration::from_millis(20));
                if mixed() {
                    break;
                }
                kill_process(pid, Signal::CONT).unwrap();
            }
        }
        let ended = child.try_wait().unwrap().is_some();
        child.kill().unwrap();
        child.wait().unwrap();
        if !ended {
            assert_eq!(shop.now(), (LIVE, "saved".to_owned()), "a mix");
            return shop;
        }
    }
    panic!("no restore was caught between two steps");
}

#[test]
fn killed_between_two_swaps_all_go_back_whichever_command_comes_next() {
    killed_in_between("true", false).settled_by(&["backup"], &former());
    let shop = killed_in_between("true", false);
    // Somebody helped himself meanwhile.
    shop.sh("start");
    shop.settled_by(&["backup", "orders"], &former());
    let shop = killed_in_between("true", false);
    let again = shop.restore();
    shop.settled_by(&again, &restored());
}

#[test]
fn killed_between_two_undos_all_go_back() {
    killed_in_between("touch probed; exit 1", true).settled_by(&["backup"], &former());
}

#[test]
fn a_mix_that_cannot_be_mended_is_not_saved() {
    let shop = killed_in_between("true", false);
    let kept = fs::read_dir(&shop.app.root).unwrap().map(|entry| entry.unwrap().path());
    let kept: Vec<_> =
        kept.filter(|path| path.display().to_string().contains(".before-")).collect();
    let away = shop.app.dir.path().join("away");
    fs::rename(&kept[0], &away).unwrap();
    let ran = shop.app.run(&["backup"]).ends(1);
    let said = format!("{}{}", ran.out, ran.err);
    assert!(said.contains("was cut off between") && said.contains("in-place/"), "{said}");
    assert!(shop.app.json(&["list"]).1["snapshots"].to_string().matches("\"config\"").count() > 1);
    shop.app.run(&shop.restore()).ends(4);
    assert_eq!(shop.now(), (LIVE, "saved".to_owned()));
    fs::rename(&away, &kept[0]).unwrap();
    shop.settled_by(&["backup"], &former());
}
