//! Gives a recovering server its log: our side of its `restore_command`.
//!
//! The command is a small shell script, because a copy's server runs as somebody who may not be able
//! to run our own program. The two meet in a folder: the script asks by a file in `want`, and takes
//! the answer away by a rename, from `ready`, where segments lie ahead of replay.
//!
//! | the script ends with | when |
//! |---|---|
//! | 0 | the file is there |
//! | 1 | it is proven that the way has none (`absent`) |
//! | 255 | anything else: it cannot be had, or we do not answer; recovery ends in an error |
//!
//! That we live is told by `beat`, which changes every second; a server that outlives us is not
//! told "absent".

use std::collections::HashSet;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lifeboat_recovery::journal::JournalError;
use lifeboat_recovery::ports::EngineError;
use lifeboat_vault::{Cancel, Clock, Monitor};

use super::account::Account;
use super::failed;
use super::tablespaces::harmless;
use super::way::{Found, Way};

/// Segments made ready ahead of replay: at most this many bytes, and always two.
const AHEAD: u64 = 128 << 20;
/// Threads that put segments together.
const MAKERS: usize = 4;
/// Between two looks at what is wanted.
const LOOK: Duration = Duration::from_millis(5);
/// Between two signs of life.
const BEAT: Duration = Duration::from_secs(1);
/// How long what cannot be had is tried again, and the first wait.
pub(super) const PATIENCE: Duration = Duration::from_secs(300);
const FIRST_WAIT: Duration = Duration::from_millis(250);
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// Asked as `fetch FOLDER FILE TARGET`.
const SCRIPT: &str = r#"# Lifeboat's restore_command. 0: there it is; 1: there is none; 255: not known.
folder=$1 file=$2 target=$3 last= still=0
while :; do
  if [ -e "$folder/ready/$file" ]; then
    mv -f "$folder/ready/$file" "$target" && exit 0
    exit 255
  fi
  if [ -e "$folder/absent/$file" ]; then exit 1; fi
  if [ -e "$folder/failed" ]; then exit 255; fi
  [ -e "$folder/want/$file" ] || : > "$folder/want/$file" || exit 255
  read -r beat < "$folder/beat" || exit 255
  if [ "$beat" = "$last" ]; then still=$((still + 1)); else still=0 last=$beat; fi
  if [ "$still" -gt 1500 ]; then exit 255; fi
  sleep 0.02 || exit 255
done
"#;

/// What serving needs.
pub(super) struct Supply<'a> {
    /// Where the log comes from; without one, everything is absent: the base has its own.
    pub way: Option<&'a Way<'a>>,
    /// Where the two meet; ours to make.
    pub folder: PathBuf,
    pub account: Account,
    pub clock: &'a dyn Clock,
    pub monitor: &'a dyn Monitor,
    pub cancel: &'a Cancel,
    /// How long what cannot be had is tried again.
    pub patience: Duration,
}

/// The state of a supply, shared by its threads.
pub(super) struct Server<'a> {
    supply: Supply<'a>,
    stop: AtomicBool,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    /// The segment after the last one that was begun.
    next: Option<(u32, u64)>,
    /// What is being put together, or lies ready.
    begun: HashSet<String>,
    /// What was asked for and is not begun.
    asked: Vec<String>,
    /// The first thing that could not be had.
    error: Option<EngineError>,
    /// How often something could not be had at once.
    retries: u64,
    /// What was put together.
    served: HashSet<String>,
}

impl<'a> Server<'a> {
    /// Makes the folder in which the two meet.
    pub fn new(supply: Supply<'a>) -> Result<Server<'a>, EngineError> {
        let make = |path: &Path| {
            DirBuilder::new().mode(0o700).create(path)?;
            supply.account.own(path)
        };
        let all = ["", "want", "ready", "absent"].map(|name| supply.folder.join(name));
        for path in &all {
            make(path).map_err(failed(format!("make {}", path.display())))?;
        }
        let server = Server { supply, stop: AtomicBool::new(false), inner: Mutex::default() };
        let told = server.put("fetch", SCRIPT.as_bytes()).and_then(|()| server.put("beat", b"0\n"));
        told.map_err(failed("write the restore_command"))?;
        Ok(server)
    }

    /// What the server is told to run.
    pub fn command(&self) -> String {
        let folder = quoted(&self.supply.folder);
        format!("/bin/sh {folder}/fetch {folder} \"%f\" \"%p\"")
    }

    /// Serves until [`Server::stop`]; begins with the segment of the base's start.
    pub fn run(&self, first: Option<(u32, u64)>) {
        self.inner().next = first.filter(|_| self.supply.way.is_some());
        std::thread::scope(|scope| {
            for _ in 0..MAKERS {
                scope.spawn(|| self.make());
            }
            self.answer();
        });
    }

    /// Ends serving.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::SeqCst);
    }

    /// Why something could not be had, if so.
    pub fn error(&self) -> Option<EngineError> {
        self.inner().error.take()
    }

    /// True once something could not be had.
    pub fn has_failed(&self) -> bool {
        self.inner().error.is_some()
    }

    /// How often something could not be had at once.
    pub fn retries(&self) -> u64 {
        self.inner().retries
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::SeqCst) || self.supply.cancel.is_cancelled()
    }

    /// Reads what is wanted, and beats.
    fn answer(&self) {
        let mut beat = 0_u64;
        let mut beaten = self.supply.clock.monotonic();
        while !self.stopped() {
            let done = self.look().and_then(|()| {
                let now = self.supply.clock.monotonic();
                if now.saturating_sub(beaten) < BEAT {
                    return Ok(());
                }
                (beat, beaten) = (beat + 1, now);
                self.put("beat", format!("{beat}\n").as_bytes())
            });
            if let Err(error) = done {
                self.fail(failed("answer a recovering server")(error));
            }
            self.supply.clock.sleep(LOOK);
        }
        self.stop();
        // Whoever still waits is not told "absent".
        let _ = self.put("failed", b"");
    }

    fn look(&self) -> io::Result<()> {
        for entry in fs::read_dir(self.supply.folder.join("want"))? {
            let name = entry?.file_name();
            let Some(name) = name.to_str() else { continue };
            let place = |folder: &str| self.supply.folder.join(folder).join(name);
            if place("absent").exists() || place("ready").exists() {
                remove(&place("want"))?;
                continue;
            }
            let mut inner = self.inner();
            // It was taken away once and is wanted again.
            let taken = inner.served.contains(name);
            if taken && inner.begun.remove(name) {
                inner.served.remove(name);
            }
            if !inner.begun.contains(name) && !inner.asked.iter().any(|asked| asked == name) {
                inner.asked.push(name.to_owned());
            }
        }
        Ok(())
    }

    /// Puts files together: first what is asked for, then what comes next.
    fn make(&self) {
        let _unwinding = Unwinding(self);
        while !self.stopped() {
            let Some((name, asked)) = self.choose() else {
                self.supply.clock.sleep(LOOK);
                continue;
            };
            let made = match asked {
                true => self.with_patience(|| self.file(&name)),
                false => self.file(&name),
            };
            match made {
                Ok(Found::Segment(bytes)) => {
                    let put = self.put(&format!("ready/{name}"), &bytes);
                    if let Err(error) = put {
                        self.fail(failed(format!("stage {name}"))(error));
                    }
                    self.inner().served.insert(name);
                }
                Ok(Found::Absent) => {
                    if let Err(error) = self.put(&format!("absent/{name}"), b"") {
                        self.fail(failed(format!("answer for {name}"))(error));
                    }
                }
                // Nobody asked for it, and perhaps nobody will.
                Err(_) if !asked => {
                    let mut inner = self.inner();
                    inner.begun.remove(&name);
                    inner.next = None;
                }
                // Whoever asked has reached its target meanwhile.
                Err(_) if self.stopped() => {}
                Err(error) => self.fail(error),
            }
        }
    }

    /// What to put together next, and whether it was asked for.
    fn choose(&self) -> Option<(String, bool)> {
        let mut inner = self.inner();
        if let Some(name) = inner.asked.pop() {
            if let Some(number) = self.supply.way.and_then(|way| way.number(&name)) {
                inner.next = Some((number.0, number.1 + 1));
            }
            inner.begun.insert(name.clone());
            return Some((name, true));
        }
        let (way, (line, number)) = (self.supply.way?, inner.next?);
        let room = (AHEAD / way.size).max(2) as usize;
        let waiting = inner.begun.iter().filter(|name| self.waits(&inner, name)).count();
        if waiting >= room || number * way.size >= way.end() {
            return None;
        }
        // The newest line that the way has there, as a server asks.
        let line = way.line_at(((number + 1) * way.size).min(way.end())).unwrap_or(line);
        inner.next = Some((line, number + 1));
        let name = way.name(line, number);
        inner.begun.insert(name.clone()).then_some((name, false))
    }

    /// Is it being made, or not yet taken away?
    fn waits(&self, inner: &Inner, name: &str) -> bool {
        !inner.served.contains(name) || self.supply.folder.join("ready").join(name).exists()
    }

    fn file(&self, name: &str) -> Result<Found<Vec<u8>>, EngineError> {
        let Some(way) = self.supply.way else { return Ok(Found::Absent) };
        if let Some(line) = name.strip_suffix(".history") {
            let line = u32::from_str_radix(line, 16).ok();
            let found = line.and_then(|line| way.history(line));
            return Ok(found.map_or(Found::Absent, |bytes| Found::Segment(bytes.to_vec())));
        }
        // A name of no kind that the way can hold.
        let Some((line, number)) = way.number(name) else { return Ok(Found::Absent) };
        let found = way.segment(line, number)?;
        if let Found::Segment(bytes) = &found {
            harmless(way, (line, number), bytes)?;
        }
        Ok(found)
    }

    /// Tries again what cannot be had, for as long as patience lasts. A refusal is one at once.
    fn with_patience<T>(
        &self,
        mut attempt: impl FnMut() -> Result<T, EngineError>,
    ) -> Result<T, EngineError> {
        let begun = self.supply.clock.monotonic();
        let mut wait = FIRST_WAIT;
        loop {
            let error = match attempt() {
                Ok(done) => return Ok(done),
                Err(error) if is_final(&error) => return Err(error),
                Err(error) => error,
            };
            let waited = self.supply.clock.monotonic().saturating_sub(begun);
            if waited >= self.supply.patience || self.stopped() {
                return Err(error);
            }
            if wait == FIRST_WAIT {
                self.supply.monitor.note(&format!("{error}: trying again"));
            }
            self.inner().retries += 1;
            self.supply.clock.sleep(wait.min(self.supply.patience.saturating_sub(waited)));
            wait = (wait * 2).min(LONGEST_WAIT);
        }
    }

    /// From now on every question is answered with 255.
    fn fail(&self, error: EngineError) {
        self.inner().error.get_or_insert(error);
        let _ = self.put("failed", b"");
    }

    /// Writes a file for the server, whole or not at all.
    fn put(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let path = self.supply.folder.join(name);
        let made = self.supply.folder.join(format!("{}.part", name.replace('/', "-")));
        fs::write(&made, bytes)?;
        self.supply.account.own(&made)?;
        fs::rename(made, path)
    }
}

/// A thread that breaks down takes the server's hope with it: nobody waits for what never comes.
struct Unwinding<'a, 'b>(&'a Server<'b>);

impl Drop for Unwinding<'_, '_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.fail(super::broken("a thread that reads the journal broke down"));
        }
    }
}

/// Would another try say the same? So it is with a refusal, and with a record that is damaged.
fn is_final(error: &EngineError) -> bool {
    let EngineError::Failed { source: Some(source), .. } = error else {
        return matches!(error, EngineError::Refused { .. });
    };
    source.downcast_ref::<JournalError>().is_some_and(|error| !error.is_transient())
}

/// Removes a file that may be gone.
fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// A path for the shell, in a setting in which `%` means something.
fn quoted(path: &Path) -> String {
    let text = String::from_utf8_lossy(path.as_os_str().as_bytes()).into_owned();
    format!("'{}'", text.replace('\'', r"'\''").replace('%', "%%"))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use lifeboat_vault::NoMonitor;

    use super::*;
    use crate::SystemClock;

    /// How the script ends, for a file that is asked for.
    fn asked(folder: &Path, file: &str) -> Option<i32> {
        let script = [folder.join("fetch"), folder.to_owned(), file.into(), folder.join("target")];
        Command::new("/bin/sh")
            .args(script)
            .stderr(std::process::Stdio::null())
            .status()
            .unwrap()
            .code()
    }

    #[test]
    fn only_proven_absence_is_said_to_be_absence() {
        let home = tempfile::tempdir().unwrap();
        let (clock, cancel) = (SystemClock::new(), Cancel::default());
        let server = Server::new(Supply {
            way: None,
            folder: home.path().join("a 'quoted' 100% folder"),
            account: Account::for_servers(),
            clock: &clock,
            monitor: &NoMonitor,
            cancel: &cancel,
            patience: PATIENCE,
        })
        .unwrap();
        let folder = server.supply.folder.clone();
        server.put("ready/there", b"log").unwrap();
        assert_eq!(asked(&folder, "there"), Some(0));
        assert_eq!(fs::read(folder.join("target")).unwrap(), b"log");
        server.put("absent/none", b"").unwrap();
        assert_eq!(asked(&folder, "none"), Some(1));
        server.fail(super::super::broken("the store is down"));
        assert_eq!(asked(&folder, "unknown"), Some(255));
        // What is known stays known.
        assert_eq!(asked(&folder, "none"), Some(1));
        fs::remove_file(folder.join("failed")).unwrap();
        fs::remove_file(folder.join("beat")).unwrap();
        assert_eq!(asked(&folder, "unknown"), Some(255), "nobody is there to answer");
        let command = server.command();
        assert!(
            command.contains(r"'\''quoted'\''") && command.contains("100%% folder"),
            "{command}"
        );
    }
}
