//! `lifeboat demo --postgres`: a real PostgreSQL server under load, its log streamed; killed with
//! SIGKILL, its data directory deleted, restored, started again, and counted by what its clients had
//! been told. Every number is measured.

mod sales;
mod server;
mod tell;

use std::fs;
use std::process::Child;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use lifeboat_model::exit::Exit;
use lifeboat_model::verdict::Verdict;
use lifeboat_recovery::flows::{
    self, At, BackupRequest, Destination, Live, RestoreRequest, StreamRequest,
};
use lifeboat_recovery::report::{RestoreReport, StreamReport};
use lifeboat_vault::{Cancel, Clock, NoMonitor};

use self::sales::Sales;
use self::server::Server;
use self::tell::Story;
use super::ground::{Ground, cannot};
use crate::args::Demo;
use crate::fault::{Fault, Outcome};
use crate::hands::{Hands, Wired};
use crate::plan_file::PlanFile;
use crate::screen::{Reply, Screen};
use crate::{render, wire};

const PLAN: &str = include_str!("plan.toml");
/// How long the shop sells before it burns.
const TRADE: Duration = Duration::from_secs(10);
/// How long to wait for anything.
const PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(20);

/// `lifeboat demo --postgres`
pub fn demo(args: &Demo, hands: &Hands<'_>) -> Outcome<Reply> {
    let installed = server::newest()?;
    let mut ground = Ground::make(args, PLAN)?;
    let live = Server::new(&installed, &ground.path("server/data"))?;
    ground.secret("accounts.dsn", &live.dsn())?;
    let scenes = Scenes { hands, ground: &ground, wired: open(hands, &ground)? };
    scenes.note("making a server");
    live.make()?;
    sales::prepare(&live.dsn())?;
    let mut bench = load(&live)?;
    scenes.note("taking a base");
    let base = scenes.base()?;
    scenes.note("streaming and selling");
    let stream = scenes.stream()?;
    let sales = Sales::start(&live.dsn(), &hands.clock)?;
    scenes.pause(TRADE)?;
    let killed = hands.clock.monotonic();
    if !live.kill() {
        return Err(Fault::new(Exit::Failed, "the server was gone before it was killed"));
    }
    fs::remove_dir_all(live.data()).map_err(|error| cannot(live.data(), &error))?;
    let sold = sales.close();
    if let Some(bench) = &mut bench {
        let _ = bench.kill();
        let _ = bench.wait();
    }
    let streamed = stream.end()?;
    scenes.note("restoring");
    let target = ground.path("restored");
    let restored = scenes.restore(&target)?;
    let back = Server::new(&installed, &target.join("pgdata"))?;
    back.start()?;
    let counted = sales::count(&back.dsn(), &sold, killed)?;
    let answered = hands.clock.monotonic().saturating_sub(killed).as_secs_f64();
    back.stop()?;
    let story = Story::new(base, &streamed, &restored, counted, answered, bench.is_some(), &scenes);
    ground.keep |= story.verdict != Verdict::Pass;
    let exit = if story.verdict == Verdict::Pass { Exit::Done } else { Exit::Failed };
    let told = story.text(hands.screen);
    Reply::new(exit, "demo-postgres", &story, told)
}

fn open(hands: &Hands<'_>, ground: &Ground) -> Outcome<Wired> {
    let file = PlanFile::read(&ground.plan(), false)?;
    let quiet = Arc::new(crate::progress::Progress::new(false, true));
    wire::build_with(hands, file, quiet, Arc::new(NoMonitor))
}

/// pgbench at full speed, where it is installed.
fn load(server: &Server) -> Outcome<Option<Child>> {
    let Some(mut prepare) = server.pgbench() else { return Ok(None) };
    let failed = |error| Fault::caused(Exit::Failed, "cannot run pgbench", &error);
    prepare.args(["-i", "-q", "-s", "5", "postgres"]);
    let done = prepare.stderr(std::process::Stdio::null()).status().map_err(failed)?;
    if !done.success() {
        return Err(Fault::new(Exit::Failed, format!("pgbench -i ended with {done}")));
    }
    let Some(mut run) = server.pgbench() else { return Ok(None) };
    run.args(["-n", "-c", "2", "-T", "600", "postgres"]);
    run.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
    run.spawn().map(Some).map_err(failed)
}

/// What the scenes act in.
struct Scenes<'a> {
    hands: &'a Hands<'a>,
    ground: &'a Ground,
    wired: Wired,
}

/// What a base took.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct Base {
    /// Seconds.
    pub seconds: f64,
    /// Bytes of the cluster.
    pub bytes: u64,
}

/// A stream in the background.
struct Stream {
    cancel: Cancel,
    thread: JoinHandle<Result<StreamReport, lifeboat_recovery::Error>>,
}

impl Stream {
    fn end(self) -> Outcome<StreamReport> {
        self.cancel.cancel();
        let done = self.thread.join();
        Ok(done.map_err(|_| Fault::new(Exit::Failed, "the stream died"))??)
    }
}

impl Scenes<'_> {
    fn note(&self, what: &str) {
        if !self.hands.global.quiet && !self.hands.global.json {
            self.hands.screen.note(format!("{what} …"));
        }
    }

    fn base(&self) -> Outcome<Base> {
        let began = self.hands.clock.monotonic();
        let report = flows::backup(&self.wired.world, &BackupRequest::default())?;
        let seconds = self.hands.clock.monotonic().saturating_sub(began).as_secs_f64();
        let bytes = report.components.iter().map(|component| component.bytes_total).sum();
        Ok(Base { seconds, bytes })
    }

    fn stream(&self) -> Outcome<Stream> {
        let cancel = Cancel::default();
        let world =
            lifeboat_recovery::env::World { cancel: cancel.clone(), ..self.wired.world.clone() };
        let request = StreamRequest::default();
        let thread = std::thread::spawn(move || flows::stream(&world, &request));
        let until = self.hands.clock.monotonic() + PATIENCE;
        let joined = || {
            let live = Live::read(&self.wired.world.state, "accounts").ok().flatten();
            live.is_some_and(|live| live.joined)
        };
        while !joined() && !thread.is_finished() && self.hands.clock.monotonic() < until {
            self.hands.clock.sleep(POLL);
        }
        if thread.is_finished() {
            let report = Stream { cancel, thread }.end()?;
            let why = report.components.iter().filter_map(|component| component.error.as_ref());
            return Err(Fault {
                causes: why.map(lifeboat_recovery::report::Failure::line).collect(),
                ..Fault::new(Exit::Failed, "the stream ended before anything happened")
            });
        }
        Ok(Stream { cancel, thread })
    }

    /// Lets time pass, unless somebody asks to stop.
    fn pause(&self, span: Duration) -> Outcome<()> {
        let until = self.hands.clock.monotonic() + span;
        while self.hands.clock.monotonic() < until {
            if self.hands.cancel.is_cancelled() {
                return Err(Fault::new(Exit::Interrupted, "stopped on request"));
            }
            self.hands.clock.sleep(POLL);
        }
        Ok(())
    }

    fn restore(&self, target: &std::path::Path) -> Outcome<RestoreReport> {
        let request = RestoreRequest {
            components: vec!["accounts".to_owned()],
            all: false,
            at: At::Newest,
            verified_only: false,
            to: Destination::Folder(target.to_owned()),
            path: None,
            keep_failed: true,
            base: None,
            prepare_only: false,
        };
        let report = flows::restore(&self.wired.world, &request)?;
        if !target.exists() {
            return Err(Fault {
                causes: vec![render::restore(&report, &Screen::new(false, true, true))],
                ..Fault::new(report.exit(), "the server did not come back")
            });
        }
        Ok(report)
    }
}
