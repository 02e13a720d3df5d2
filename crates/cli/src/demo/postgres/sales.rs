//! Clients that sell: each sale is a transaction of two rows, and each remembers when it was told
//! that it is committed.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use lifeboat_adapters::SystemClock;
use lifeboat_adapters::postgres::{Connection, Dsn, Login, PgError, Purpose};
use lifeboat_model::exit::Exit;
use lifeboat_vault::{Cancel, Clock};

use crate::fault::{Fault, Outcome};

/// Clients at once.
pub const CLIENTS: u64 = 2;

/// What one client sold: when each sale was acknowledged, by the monotonic clock, in order.
pub type Told = Vec<Duration>;

/// Clients at work.
pub struct Sales {
    stop: Arc<AtomicBool>,
    asked: Vec<Arc<AtomicU64>>,
    clients: Vec<JoinHandle<Told>>,
}

/// What is in a restored copy, held against what the clients were told.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct Count {
    /// Sales in the copy.
    pub there: u64,
    /// Sales that clients had been told of.
    pub acknowledged: u64,
    /// Of these, those that are not there.
    pub lost: u64,
    /// From the acknowledgement of the oldest lost one to the kill, seconds; 0 if none is lost.
    pub loss_seconds: f64,
    /// Sales of which only a part is there.
    pub torn: u64,
    /// Sales that nobody ever asked for.
    pub invented: u64,
}

/// Opens a connection.
pub fn connect(dsn: &str) -> Outcome<Connection> {
    let dsn = Dsn::parse(dsn).map_err(|error| failed(&error))?;
    let (cancel, name) = (Cancel::default(), "lifeboat demo");
    let login = Login {
        dsn: &dsn,
        name,
        purpose: Purpose::Sql,
        database: None,
        passfile: None,
        cancel: &cancel,
    };
    Connection::open(&login).map_err(|error| failed(&error))
}

fn failed(error: &PgError) -> Fault {
    Fault::caused(Exit::Failed, "the server of the demonstration does not answer", error)
}

/// Makes the table.
pub fn prepare(dsn: &str) -> Outcome<()> {
    let sql = "create table sale (client int, number bigint, part int, \
               primary key (client, number, part))";
    connect(dsn)?.query(sql).map(drop).map_err(|error| failed(&error))
}

impl Sales {
    /// Opens.
    pub fn start(dsn: &str, clock: &Arc<SystemClock>) -> Outcome<Sales> {
        let stop = Arc::new(AtomicBool::new(false));
        let (mut asked, mut clients) = (Vec::new(), Vec::new());
        for client in 0..CLIENTS {
            let mut connection = connect(dsn)?;
            let (stop, clock, count) = (stop.clone(), clock.clone(), Arc::new(AtomicU64::new(0)));
            asked.push(count.clone());
            clients.push(std::thread::spawn(move || {
                let mut told = Told::new();
                while !stop.load(Ordering::Relaxed) {
                    let number = count.fetch_add(1, Ordering::Relaxed) + 1;
                    let sql = format!(
                        "begin; insert into sale values ({client}, {number}, 1); \
                         insert into sale values ({client}, {number}, 2); commit"
                    );
                    if connection.query(&sql).is_err() {
                        break;
                    }
                    told.push(clock.monotonic());
                }
                told
            }));
        }
        Ok(Sales { stop, asked, clients })
    }

    /// Closes: what each client asked for, and what it was told.
    pub fn close(self) -> Vec<(u64, Told)> {
        self.stop.store(true, Ordering::Relaxed);
        let told = self.clients.into_iter().map(|client| client.join().unwrap_or_default());
        self.asked.iter().map(|asked| asked.load(Ordering::Relaxed)).zip(told).collect()
    }
}

/// Counts what came back. `killed` is when the server died, by the monotonic clock.
pub fn count(dsn: &str, sold: &[(u64, Told)], killed: Duration) -> Outcome<Count> {
    let mut connection = connect(dsn)?;
    let mut count =
        Count { there: 0, acknowledged: 0, lost: 0, loss_seconds: 0.0, torn: 0, invented: 0 };
    for (client, (asked, told)) in sold.iter().enumerate() {
        let sql = format!("select number, count(*) from sale where client = {client} group by 1");
        let rows = connection.query(&sql).map_err(|error| failed(&error))?;
        let cell = |row: &[Option<String>], at: usize| row.get(at)?.as_deref()?.parse::<u64>().ok();
        let mut there = BTreeSet::new();
        for row in &rows {
            let (Some(number), Some(parts)) = (cell(row, 0), cell(row, 1)) else {
                return Err(Fault::new(Exit::Failed, "the copy's table of sales cannot be read"));
            };
            count.torn += u64::from(parts != 2);
            count.invented += u64::from(number > *asked);
            there.insert(number);
        }
        count.there += there.len() as u64;
        count.acknowledged += told.len() as u64;
        for (at, moment) in told.iter().enumerate() {
            if !there.contains(&(at as u64 + 1)) {
                count.lost += 1;
                let ago = killed.saturating_sub(*moment).as_secs_f64();
                count.loss_seconds = count.loss_seconds.max(ago);
            }
        }
    }
    Ok(count)
}
