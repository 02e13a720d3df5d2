//! Rates, printed: `cargo test --release -p lifeboat-adapters --test it -- --ignored --nocapture rates`.

use lifeboat_adapters::SystemClock;
use lifeboat_adapters::sqlite::{SqliteOptions, capture};
use lifeboat_vault::{Cancel, Clock, NoMonitor};

use crate::sqlite_kit::{Bench, faults};

/// User and system time of this process, seconds: says more than wall time on a busy machine.
fn processor_time() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("proc");
    let after = stat.rsplit_once(')').expect("name").1;
    let ticks =
        after.split_whitespace().skip(11).take(2).map(|ticks| ticks.parse::<f64>().expect("ticks"));
    ticks.sum::<f64>() / 100.0
}

/// Copies a database of about 1 GB to nowhere, in both modes, and checks a copy of it.
#[test]
#[ignore = "prints rates, says nothing of right or wrong"]
fn rates() {
    let bench = Bench::new();
    let live = bench.open(
        "PRAGMA synchronous=OFF; PRAGMA journal_mode=OFF;
         CREATE TABLE orders(id INTEGER PRIMARY KEY, customer INTEGER, at TEXT, total REAL, note TEXT);
         CREATE TABLE lines(id INTEGER PRIMARY KEY, orders INTEGER, item TEXT, amount INTEGER, data BLOB);
         BEGIN;
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1500000)
         INSERT INTO orders SELECT i, i % 9973, '2026-01-01T00:00:' || i, i * 1.1, hex(randomblob(60)) FROM n;
         INSERT INTO lines SELECT id, id, 'item ' || id, id % 7, randomblob(450) FROM orders; COMMIT;",
    );
    drop(live);
    let clock = SystemClock::new();
    for mode in ["WAL", "DELETE"] {
        drop(bench.open(&format!("PRAGMA journal_mode={mode};")));
        let options = SqliteOptions::new(bench.live());
        for round in 0..2 {
            let busy = processor_time();
            let (start, mut pages, mut bytes) = (clock.monotonic(), 0.0, 0);
            let captured =
                capture(&options, &clock, &NoMonitor, &Cancel::default(), &mut |reader| {
                    let start = clock.monotonic();
                    let mut buffer = vec![0; 4 << 20];
                    bytes = 0;
                    loop {
                        match reader.read(&mut buffer)? {
                            0 => break,
                            count => bytes += count,
                        }
                    }
                    pages = (clock.monotonic() - start).as_secs_f64();
                    Ok(())
                });
            let all = (clock.monotonic() - start).as_secs_f64();
            let content = captured.expect("captured").content;
            let size = bytes as f64 / 1e6;
            eprintln!(
                "{mode} {round}: {size:.0} MB, pages {:.0} MB/s, all {:.0} MB/s, {:.0} MB a second of \
                 processor, held {} ms ({})",
                size / pages,
                size / all,
                size / (processor_time() - busy),
                content.blocked_ms,
                content.method
            );
        }
    }
    let captured = bench.capture();
    let start = clock.monotonic();
    let found = faults(&bench.copy(), &captured.content);
    eprintln!("check of the copy {:.2} s {found:?}", (clock.monotonic() - start).as_secs_f64());
}
