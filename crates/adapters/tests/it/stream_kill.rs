//! Streams that are killed, at every step and at any moment, beside an application that goes on.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use lifeboat_adapters::SystemClock;
use lifeboat_adapters::sqlite::stream::Limits;
use lifeboat_recovery::ports::{LogEvent, LogSource, RecoverTo};
use lifeboat_vault::Clock;
use rusqlite::Connection;

use crate::stream_kit::{BOOKS, Base, Scene, Stream, at, transfer, whole_transactions};

const FOLDER: &str = "LIFEBOAT_TEST_STREAM_FOLDER";
const STEP: &str = "LIFEBOAT_TEST_STREAM_STEP";

#[allow(clippy::disallowed_methods, reason = "the other process is told by its environment")]
fn told(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// A clock whose k-th look is the last thing that the process does.
struct Deadly(SystemClock, AtomicI64);

impl Deadly {
    fn step(&self) {
        if self.1.fetch_sub(1, Ordering::SeqCst) == 1 {
            let own = rustix::process::getpid();
            rustix::process::kill_process(own, rustix::process::Signal::KILL).expect("killed");
        }
    }
}

impl Clock for Deadly {
    fn wall(&self) -> jiff::Timestamp {
        self.step();
        self.0.wall()
    }
    fn monotonic(&self) -> Duration {
        self.step();
        self.0.monotonic()
    }
    fn sleep(&self, span: Duration) {
        self.step();
        self.0.sleep(span);
    }
}

/// The stream as another process: this test binary started again.
#[test]
#[ignore = "the other process of the tests below; by itself it proves nothing, and fails"]
fn streaming_process() {
    let folder = told(FOLDER).expect("only the tests below start this");
    let step: i64 = told(STEP).expect("step").parse().expect("number");
    let scene = Scene::at(&PathBuf::from(folder));
    let clock = Arc::new(Deadly(SystemClock::new(), AtomicI64::new(step)));
    // Small parts where the step counts: batches of several ranges are killed, too.
    let small = Limits { part: 96 << 10, frames: 100 };
    let limits = if step > 0 { small } else { Limits::default() };
    let mut stream = Stream::over(&scene, limits, clock.clone()).expect("started");
    loop {
        let event = stream.next(Duration::from_millis(30)).expect("event");
        clock.step();
        if let LogEvent::Range(range) = &event {
            stream.journal.append(&event);
            clock.step();
            stream.log.durable(range.to).expect("durable");
            clock.step();
        }
    }
}

fn start(scene: &Scene, step: i64) -> Child {
    let this = std::env::current_exe().expect("executable");
    Command::new(this)
        .args(["--exact", "stream_kill::streaming_process", "--ignored", "--nocapture"])
        .env(FOLDER, scene.folder.path())
        .env(STEP, step.to_string())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("started")
}

/// Waits for its end, at most for `limit`; then kills it. True if it ended by SIGKILL.
fn end(mut child: Child, limit: Duration) -> bool {
    use std::os::unix::process::ExitStatusExt;
    let clock = SystemClock::new();
    let start = clock.monotonic();
    loop {
        if let Some(status) = child.try_wait().expect("wait") {
            return status.signal() == Some(9);
        }
        if clock.monotonic() - start > limit {
            child.kill().expect("kill");
        }
        clock.sleep(Duration::from_millis(2));
    }
}

/// An application at a pace, which notes how long each transaction took.
struct App {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Vec<Duration>>>,
    pub committed: Arc<AtomicI64>,
}

impl App {
    fn start(scene: &Scene, per_second: u32) -> App {
        let (stop, committed) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicI64::new(0)));
        let (halt, count, live) = (Arc::clone(&stop), Arc::clone(&committed), scene.live());
        let thread = std::thread::spawn(move || {
            let connection = Connection::open(live).expect("open");
            connection.busy_timeout(Duration::from_secs(30)).expect("timeout");
            connection.execute_batch("PRAGMA synchronous=NORMAL").expect("pragma");
            let newest = "SELECT ifnull(max(number), 0) FROM entry";
            let first: i64 = connection.query_row(newest, [], |row| row.get(0)).expect("newest");
            let (clock, mut took) = (SystemClock::new(), Vec::new());
            let begun = clock.monotonic();
            for number in first + 1.. {
                if halt.load(Ordering::Relaxed) {
                    break;
                }
                let start = clock.monotonic();
                transfer(&connection, number).expect("transfer");
                took.push(clock.monotonic() - start);
                count.store(number, Ordering::SeqCst);
                let due = begun + Duration::from_secs(1) * took.len() as u32 / per_second;
                clock.sleep(due.saturating_sub(clock.monotonic()));
            }
            took
        });
        App { stop, thread: Some(thread), committed }
    }

    fn stop(mut self) -> Vec<Duration> {
        self.stop.store(true, Ordering::Relaxed);
        let mut took = self.thread.take().expect("thread").join().expect("the application failed");
        took.sort_unstable();
        took
    }
}

fn p99(took: &[Duration]) -> Duration {
    took[took.len() * 99 / 100]
}

/// A few states of the journal, picked by `seed`, and the newest: each restores whole.
fn judge(scene: &Scene, base: &Base, seed: u64) {
    let pieces = scene.journal().pieces();
    let whole: Vec<u64> = pieces
        .iter()
        .filter(|piece| piece.to > piece.from && piece.facts.contains_key("after"))
        .map(|piece| piece.to.offset)
        .collect();
    let mut before = (0, 0);
    let mut picks: Vec<usize> =
        (1..=6_u64).map(|n| (seed * n * 7919 % whole.len() as u64) as usize).collect();
    picks.sort_unstable();
    for pick in picks {
        let (copy, _) = base.recover(&scene.journal(), &at(whole[pick])).expect("recovered");
        let found = whole_transactions(&copy.join("app.db"));
        assert!((whole[pick], found) >= before, "{} has {found}, {before:?}", whole[pick]);
        before = (whole[pick], found);
    }
}

fn first_base(scene: &Scene) -> Base {
    drop(scene.open(&format!("PRAGMA journal_mode=WAL; {BOOKS}")));
    let mut stream = scene.stream();
    stream.drain();
    let base = scene.base("base");
    stream.log.stop().expect("stopped");
    base
}

/// The stream is killed at one step after the other, by itself, while the application writes 500
/// transactions a second. What the journal then has is whole; what comes after goes on from it.
#[test]
fn a_stream_that_is_killed_at_any_step_loses_nothing() {
    let scene = Scene::new();
    let base = first_base(&scene);
    let app = App::start(&scene, 500);
    let mut killed = 0;
    for step in (1..=30).chain([37, 45, 60, 75, 90, 120, 150, 200]) {
        killed += u32::from(end(start(&scene, step), Duration::from_secs(20)));
    }
    assert!(killed >= 35, "only {killed} of 38 streams were killed at their step");
    let lineages = std::fs::read_dir(scene.folder.path().join("journal")).expect("list").count();
    assert_eq!(lineages, 2, "a kill led to another lineage");
    let committed = app.committed.load(Ordering::SeqCst);
    let mut stream = scene.stream();
    stream.tick();
    let (copy, _) = base.recover(&scene.journal(), &RecoverTo::Newest).expect("recovered");
    assert!(whole_transactions(&copy.join("app.db")) >= committed);
    let took = app.stop();
    stream.drain();
    scene.equal(&base);
    judge(&scene, &base, 11);
    eprintln!("{killed} kills, {} transactions, p99 {:?}", took.len(), p99(&took));
}

/// The writer at a pace, alone and beside a stream: what it notices.
fn slowdown(per_second: u32, span: Duration) {
    let clock = SystemClock::new();
    let mut told = Vec::new();
    for streamed in [false, true] {
        let scene = Scene::new();
        let base = first_base(&scene);
        let child = streamed.then(|| start(&scene, -1));
        let app = App::start(&scene, per_second);
        let (begun, mut longest) = (clock.monotonic(), 0);
        while clock.monotonic() - begun < span {
            clock.sleep(Duration::from_millis(50));
            longest = longest.max(std::fs::metadata(scene.wal()).map_or(0, |found| found.len()));
        }
        let took = app.stop();
        let rate = took.len() as f64 / span.as_secs_f64();
        told.push(format!(
            "{}: {rate:.0} transactions/s, p99 {:?}, longest {:?}, log at most {} KiB",
            if streamed { "beside a stream" } else { "alone" },
            p99(&took),
            took[took.len() - 1],
            longest >> 10,
        ));
        if let Some(child) = child {
            clock.sleep(Duration::from_millis(500));
            end(child, Duration::ZERO);
            assert!(scene.journal().ways().iter().filter(|way| *way == "difference").count() <= 1);
            let mut stream = scene.stream();
            stream.drain();
            scene.equal(&base);
            assert!(p99(&took) < Duration::from_millis(50), "{told:?}");
            assert!(longest < 64 << 20, "{told:?}");
        }
    }
    eprintln!("{per_second} transactions/s asked for: {}", told.join("; "));
}

/// Generous: the machine may be busy with something else.
#[test]
fn a_stream_does_not_hold_the_application_up_and_its_log_stays_small() {
    slowdown(500, Duration::from_secs(3));
}

/// `scripts/soak stream`: LIFEBOAT_SOAK_SEED and LIFEBOAT_SOAK_ROUNDS say which and how many.
#[test]
#[ignore = "long form, run by scripts/soak"]
fn soak_streams_killed_at_random_moments() {
    let number =
        |name: &str, default| told(name).map_or(default, |text| text.parse().expect("number"));
    let (seed, rounds) = (number("LIFEBOAT_SOAK_SEED", 3), number("LIFEBOAT_SOAK_ROUNDS", 20_u64));
    let mut random = seed * 2 + 1;
    let mut next = move |below: u64| {
        random =
            random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % below
    };
    let clock = SystemClock::new();
    let mut all = Vec::new();
    for round in 0..rounds {
        let scene = Scene::new();
        let base = first_base(&scene);
        let app = App::start(&scene, 500);
        for _ in 0..5 {
            let child = start(&scene, -1);
            end(child, Duration::from_millis(200 + next(1500)));
            clock.sleep(Duration::from_millis(next(200)));
        }
        let child = start(&scene, -1);
        clock.sleep(Duration::from_millis(2000 + next(1000)));
        let acknowledged = app.committed.load(Ordering::SeqCst);
        clock.sleep(Duration::from_secs(1));
        end(child, Duration::ZERO);
        // Everything committed a second before the kill is in the journal.
        let (copy, _) = base.recover(&scene.journal(), &RecoverTo::Newest).expect("recovered");
        let found = whole_transactions(&copy.join("app.db"));
        assert!(found >= acknowledged, "round {round}: {found} of {acknowledged}");
        all.extend(app.stop());
        let mut stream = scene.stream();
        stream.drain();
        scene.equal(&base);
        judge(&scene, &base, seed + round);
    }
    all.sort_unstable();
    eprintln!(
        "stream: seed {seed}: {rounds} rounds, {} kills; {} transactions, p99 {:?}, longest {:?}",
        rounds * 6,
        all.len(),
        p99(&all),
        all[all.len() - 1]
    );
    assert!(p99(&all) < Duration::from_millis(50));
    slowdown(500, Duration::from_secs(20));
    slowdown(5000, Duration::from_secs(20));
}
