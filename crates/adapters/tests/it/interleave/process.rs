//! Processes that run beside each other, and what Lifeboat's does.

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use lifeboat_adapters::SystemClock;
use lifeboat_adapters::store::LocalTier;
use lifeboat_vault::{
    BackupOptions, Cancel, Clock, CopyOptions, Environment, Error, Id, KeepAll, KeyStrength,
    MaxUnused, NoMonitor, Password, PruneOptions, Result, Root, SnapshotMeta, Vault, WalkSpec,
};
use rustix::process::{Pid, Signal, kill_process};

const PASSWORD: &str = "both know it";
/// Where the other process finds what it shall do: words, one a line.
const TASK: &str = "LIFEBOAT_INTERLEAVED";
/// Exit status of the other process that found the vault locked.
const LOCKED: i32 = 7;
const PACK_BYTES: usize = 128 << 10;

#[allow(clippy::disallowed_methods, reason = "processes outside take real time")]
pub fn wait(milliseconds: u64) {
    std::thread::sleep(Duration::from_millis(milliseconds));
}

/// What it gives, and how long it took in milliseconds.
#[allow(clippy::disallowed_methods, reason = "processes outside take real time")]
pub fn timed<T>(work: impl FnOnce() -> T) -> (T, u64) {
    let begun = std::time::Instant::now();
    let done = work();
    (done, begun.elapsed().as_millis() as u64)
}

/// How a process ended; what it printed, if it says that it did its work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    Done(String),
    Locked,
    Killed,
}

pub struct Running {
    child: Child,
    restic: bool,
    what: String,
    output: Option<std::thread::JoinHandle<String>>,
    errors: Option<std::thread::JoinHandle<String>>,
}

impl Running {
    fn start(command: &mut Command, restic: bool, what: String) -> Running {
        let child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let hint = "cannot run restic: install it with `apt-get install restic`";
        let mut child = child.unwrap_or_else(|error| panic!("{hint} ({error})"));
        let output = Some(collect(child.stdout.take().unwrap()));
        let errors = Some(collect(child.stderr.take().unwrap()));
        Running { child, restic, what, output, errors }
    }

    /// The stock restic, in a folder.
    pub fn restic(repository: &Path, folder: &Path, words: &[&str]) -> Running {
        let mut command = Command::new("restic");
        command
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .env("HOME", "/nonexistent")
            .env("RESTIC_PASSWORD", PASSWORD)
            .current_dir(folder)
            .args(["--no-cache", "-r"])
            .arg(repository)
            .args(words);
        Running::start(&mut command, true, format!("restic {words:?}"))
    }

    /// Lifeboat on a vault, for a parent folder of `media`, with another vault to copy into.
    pub fn lifeboat(vault: &Path, folder: &Path, other: &Path, words: &[&str]) -> Running {
        let places = [vault, folder, other].map(|path| path.to_str().unwrap());
        let task = [&places[..], words].concat().join("\n");
        // restic asks by SIGHUP whether the process of a lock lives; without this it would not.
        let mut command = Command::new("env");
        command.arg("--ignore-signal=HUP").arg(std::env::current_exe().unwrap());
        let test = "interleave::other_process";
        command.args(["--exact", test, "--ignored", "--nocapture"]).env(TASK, task);
        Running::start(&mut command, false, format!("lifeboat {words:?}"))
    }

    fn signal(&self, signal: Signal) {
        // A process that has ended is not reaped yet, so that its number is nobody else's.
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    pub fn kill(&mut self) {
        self.signal(Signal::KILL);
    }

    pub fn halt(&mut self) {
        self.signal(Signal::STOP);
    }

    pub fn go_on(&mut self) {
        self.signal(Signal::CONT);
    }

    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    pub fn finish_input(&mut self) {
        let mut input = self.child.stdin.take().unwrap();
        // Of one that has ended its end says why.
        let _ = input.write_all(b"typed in");
    }

    /// Waits for the end; one that is neither done, nor locked out, nor killed, is a failure.
    #[track_caller]
    pub fn end(mut self) -> End {
        drop(self.child.stdin.take());
        let status = self.child.wait().unwrap();
        let output = self.output.take().unwrap().join().unwrap();
        let errors = self.errors.take().unwrap().join().unwrap();
        if was_killed(status) {
            return End::Killed;
        }
        let locked = if self.restic {
            status.code() == Some(1) && errors.contains("already locked")
        } else {
            status.code() == Some(LOCKED)
        };
        match status.success() {
            true => End::Done(output),
            false if locked => End::Locked,
            false => panic!("{}: {status}\n{output}\n{errors}", self.what),
        }
    }
}

fn was_killed(status: ExitStatus) -> bool {
    use std::os::unix::process::ExitStatusExt;
    status.signal() == Some(Signal::KILL.as_raw())
}

fn collect(mut from: impl Read + Send + 'static) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let mut text = Vec::new();
        from.read_to_end(&mut text).unwrap();
        String::from_utf8_lossy(&text).into_owned()
    })
}

/// A vault in a folder; made if there is none.
pub fn vault(folder: &Path) -> (Vault, Arc<LocalTier>) {
    let tier = Arc::new(LocalTier::create(folder).unwrap());
    let locks = Arc::new(tier.locks(""));
    let password = Password::new(PASSWORD);
    let vault = match Vault::exists(&*tier).unwrap() {
        true => Vault::open(tier.clone(), Some(locks), &password, environment()),
        false => {
            let strength = KeyStrength::Generated;
            Vault::init(tier.clone(), locks, &password, strength, environment(), None)
        }
    };
    (vault.unwrap(), tier)
}

/// This process as it is: locks name it.
fn environment() -> Environment {
    Environment {
        clock: Arc::new(SystemClock::new()),
        monitor: Arc::new(NoMonitor),
        cancel: Cancel::default(),
        host: rustix::system::uname().nodename().to_string_lossy().into_owned(),
        user: "tester".into(),
        pid: std::process::id(),
    }
}

/// Does what the environment says; prints ids of what it made and ends the process.
pub fn be_the_other() {
    #[allow(clippy::disallowed_methods, reason = "how this process is told what to do")]
    let task = std::env::var(TASK).expect("the tests beside this one start it, with a task");
    let words: Vec<&str> = task.lines().collect();
    let status = match perform(&words) {
        Ok(ids) => {
            for (id, copy) in ids {
                println!("did {id} {copy}");
            }
            0
        }
        Err(Error::Locked(_)) => LOCKED,
        Err(error) => {
            let mut cause: Option<&dyn std::error::Error> = Some(&error);
            while let Some(one) = cause {
                eprintln!("{one}");
                cause = one.source();
            }
            1
        }
    };
    std::process::exit(status);
}

fn perform(words: &[&str]) -> Result<Vec<(Id, Id)>> {
    let [place, folder, other, what, rest @ ..] = words else { panic!("{words:?}") };
    let (vault, tier) = vault(Path::new(place));
    let deleter = Arc::new(tier.deleter());
    let prune = |grace: u64| PruneOptions {
        max_unused: MaxUnused::Bytes(0),
        grace: Duration::from_secs(grace),
        pack_bytes: PACK_BYTES,
        ..PruneOptions::default()
    };
    match *what {
        // Held: with its lock, until its input ends.
        "backup" | "held-backup" => {
            let source = Path::new(folder).join("media");
            backup(&vault, &source, *what == "held-backup").map(|id| vec![(id, id)])
        }
        "prune" | "held-prune" => {
            let hands = vault.maintain(deleter)?;
            if *what == "held-prune" {
                wait_for_input();
            }
            hands.prune(&prune(rest[0].parse().unwrap()))?;
            Ok(Vec::new())
        }
        "forget" => {
            let ids: Vec<Id> = rest.iter().map(|id| id.parse().unwrap()).collect();
            let hands = vault.maintain(deleter)?;
            // What the other side has forgotten meanwhile is gone as it should.
            let there = hands.vault().complete_snapshots(&[])?;
            let left: Vec<Id> =
                ids.into_iter().filter(|id| there.iter().any(|(one, _)| one == id)).collect();
            hands.forget(&left, &[])?;
            hands.prune(&prune(0))?;
            Ok(Vec::new())
        }
        "copy" => {
            let (other, _) = self::vault(Path::new(other));
            let options = CopyOptions { pack_bytes: PACK_BYTES, ..CopyOptions::default() };
            let report = vault.copy_to(&other, options)?.finish()?;
            assert!(report.left_out.is_empty(), "{report:?}");
            let all = report.copied.iter().chain(&report.present);
            Ok(all.map(|one| (one.source, one.copy)).collect())
        }
        _ => panic!("{words:?}"),
    }
}

fn wait_for_input() {
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
}

fn backup(vault: &Vault, source: &Path, held: bool) -> Result<Id> {
    let parent = vault.snapshots()?.pop().map(|(id, _)| id);
    let options =
        BackupOptions { parent, pack_bytes: PACK_BYTES, readers: 2, ..BackupOptions::default() };
    let mut session = vault.backup(options)?;
    if held {
        wait_for_input();
    }
    let roots = vec![Root { source: source.to_owned(), tree: "media".into() }];
    let filter = Arc::new(KeepAll);
    session.add_paths(&WalkSpec { roots, filter, one_file_system: false })?;
    assert_eq!(session.problems(), []);
    let time = SystemClock::new().wall();
    let paths = vec![source.to_owned()];
    Ok(session.finish(SnapshotMeta { time, tags: Vec::new(), paths })?.snapshot)
}
