//! The example application: a print shop with a SQLite database and a folder of photographs.
//!
//! It runs as a process of its own, as a real one would, so that its locks, its latency and the
//! proof that it was stopped are real too. Each order is one transaction over four tables; the
//! totals in `till` are changed with it, so that half an order can be seen.
//!
//! It reports each acknowledged order on standard output and ends when its standard input does.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use jiff::Timestamp;
use lifeboat_adapters::SystemClock;
use lifeboat_vault::Clock;
use rusqlite::{Connection, params};

use super::picture;

/// The argument by which this program runs as the example application.
pub const ARGUMENT: &str = "__demo-application";
/// Where its database is, below its folder.
pub const DATABASE: &str = "data/orders.db";
/// Between two orders.
const PAUSE: Duration = Duration::from_micros(700);
/// After so many orders a page view looks at the shop through a connection of its own.
const PROBE_EVERY: i64 = 32;
/// Products on sale.
pub const PRODUCTS: i64 = 48;

const TABLES: &str = "
pragma journal_mode = wal;
create table product (id integer primary key, name text not null, photo text not null unique,
                      cents integer not null);
create table orders (id integer primary key, placed_at text not null, customer text not null,
                     lines integer not null, cents integer not null);
create table line (order_id integer not null references orders(id),
                   number integer not null, product_id integer not null references product(id),
                   quantity integer not null, cents integer not null,
                   primary key (order_id, number)) without rowid;
create table till (id integer primary key check (id = 1), orders integer not null,
                   cents integer not null);
insert into till values (1, 0, 0);";

/// One acknowledged order.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Order {
    /// Its number, counted from 1 without gaps.
    pub id: i64,
    /// Wall time of the acknowledgement.
    pub at: Timestamp,
    /// How long the transaction took.
    pub took: Duration,
    /// When it was heard here, by the monotonic clock.
    pub heard: Duration,
}

/// How it ended, if it did not end well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Wall time at which it noticed.
    pub at: Timestamp,
    /// When it was heard here, by the monotonic clock.
    pub heard: Duration,
    /// What it noticed.
    pub why: String,
}

/// What the application has said so far.
#[derive(Debug, Default)]
pub struct Told {
    /// Acknowledged orders.
    pub orders: Vec<Order>,
    /// When it failed, and why.
    pub failed: Option<Failure>,
}

/// A running application.
#[derive(Debug)]
pub struct Application {
    child: Child,
    stdin: Option<ChildStdin>,
    reader: Option<JoinHandle<()>>,
    told: Arc<Mutex<Told>>,
}

impl Application {
    /// Starts it on `folder`; `clock` stamps what it says.
    ///
    /// # Errors
    /// If this program cannot be started again.
    pub fn start(folder: &Path, clock: Arc<SystemClock>) -> std::io::Result<Application> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg(ARGUMENT)
            .arg(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let told = Arc::new(Mutex::new(Told::default()));
        let heard = Arc::clone(&told);
        let stdin = child.stdin.take();
        let stdout = child.stdout.take().ok_or_else(|| std::io::Error::other("no pipe"))?;
        let reader = std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let now = clock.monotonic();
                hear(&mut lock(&heard), &line, now);
            }
        });
        Ok(Application { child, stdin, reader: Some(reader), told })
    }

    /// What it has said so far.
    pub fn told(&self) -> MutexGuard<'_, Told> {
        lock(&self.told)
    }

    /// Asks it to end, waits, and hands over what it said.
    ///
    /// # Errors
    /// If it cannot be waited for.
    pub fn stop(mut self) -> std::io::Result<Told> {
        drop(self.stdin.take());
        self.child.wait()?;
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
        Ok(std::mem::take(&mut *lock(&self.told)))
    }
}

impl Drop for Application {
    /// Never leaves the process behind.
    fn drop(&mut self) {
        drop(self.stdin.take());
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn lock(told: &Mutex<Told>) -> MutexGuard<'_, Told> {
    told.lock().unwrap_or_else(PoisonError::into_inner)
}

/// `order ID MICROSECONDS_SINCE_1970 MICROSECONDS` or `failed MICROSECONDS_SINCE_1970 WHY`.
fn hear(told: &mut Told, line: &str, heard: Duration) {
    let mut words = line.splitn(4, ' ');
    let kind = words.next();
    match kind {
        Some("order") => {
            let mut number = || words.next().and_then(|word| word.parse::<i64>().ok());
            if let (Some(id), Some(at), Some(took)) = (number(), number(), number())
                && let Ok(at) = Timestamp::from_microsecond(at)
            {
                let took = Duration::from_micros(took.unsigned_abs());
                told.orders.push(Order { id, at, took, heard });
            }
        }
        Some("failed") => {
            let at = words.next().and_then(|word| word.parse::<i64>().ok());
            let why = words.collect::<Vec<_>>().join(" ");
            if let Some(at) = at.and_then(|at| Timestamp::from_microsecond(at).ok()) {
                told.failed = Some(Failure { at, heard, why });
            }
        }
        _ => {}
    }
}

/// Makes the folder: database, photographs, configuration. Returns bytes of media written.
///
/// # Errors
/// If files cannot be written.
pub fn make(folder: &Path) -> Result<u64, Box<dyn std::error::Error>> {
    for below in ["data", "media/photos", "config"] {
        std::fs::create_dir_all(folder.join(below))?;
    }
    let mut connection = Connection::open(folder.join(DATABASE))?;
    connection.execute_batch(TABLES)?;
    let transaction = connection.transaction()?;
    let mut bytes = 0;
    for id in 1..=PRODUCTS {
        let photo = format!("photos/print-{id:03}.bmp");
        let picture = picture::bitmap(id.unsigned_abs(), picture::WIDTH, picture::HEIGHT);
        bytes += picture.len() as u64;
        std::fs::write(folder.join("media").join(&photo), picture)?;
        transaction.execute(
            "insert into product values (?1, ?2, ?3, ?4)",
            params![id, format!("Tide no. {id}"), photo, 900 + 50 * id],
        )?;
    }
    transaction.commit()?;
    let settings = "title = \"Tidewater Prints\"\ncurrency = \"EUR\"\nshipping_cents = 490\n";
    std::fs::write(folder.join("config/shop.toml"), settings)?;
    Ok(bytes)
}

/// The application itself, in its own process: takes orders until standard input ends.
pub fn serve(folder: &Path) -> std::process::ExitCode {
    let clock = SystemClock::new();
    let (asked, stopping) = std::sync::mpsc::channel::<()>();
    std::thread::spawn(move || {
        // The end of standard input means that somebody stopped us or is gone.
        let _ = std::io::stdin().lock().read_to_end(&mut Vec::new());
        drop(asked);
    });
    let result = take_orders(&folder.join(DATABASE), &clock, || {
        stopping.try_recv() == Err(std::sync::mpsc::TryRecvError::Disconnected)
    });
    match result {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("failed {} {error}", clock.wall().as_microsecond()));
            std::process::ExitCode::FAILURE
        }
    }
}

fn take_orders(
    database: &Path,
    clock: &SystemClock,
    stop: impl Fn() -> bool,
) -> rusqlite::Result<()> {
    let mut connection = Connection::open(database)?;
    connection.busy_timeout(Duration::from_secs(5))?;
    connection.pragma_update(None, "synchronous", "normal")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    while !stop() {
        let began = clock.monotonic();
        let id = place_order(&mut connection, clock)?;
        let took = clock.monotonic() - began;
        let at = clock.wall().as_microsecond();
        if !say(&format!("order {id} {at} {}", took.as_micros())) {
            return Ok(()); // nobody listens any more
        }
        if id % PROBE_EVERY == 0 {
            probe(database)?;
        }
        clock.sleep(PAUSE);
    }
    connection.close().map_err(|(_, error)| error)
}

/// A page view: a fresh connection, as another process of the shop would open, and the newest
/// orders. This is what notices a damaged file; the writer itself lives on its cache for long.
fn probe(database: &Path) -> rusqlite::Result<()> {
    let view = Connection::open_with_flags(
        database,
        rusqlite::OpenFlags::SQLITE_OPEN_READ_WRITE | rusqlite::OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    view.busy_timeout(Duration::from_secs(5))?;
    view.query_row("select count(*) from product", [], |row| row.get::<_, i64>(0))?;
    view.query_row("select max(id) from orders", [], |row| row.get::<_, i64>(0)).map(drop)
}

/// One whole order: its head, its lines, the till.
fn place_order(connection: &mut Connection, clock: &SystemClock) -> rusqlite::Result<i64> {
    let transaction =
        connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    let id: i64 = transaction.query_row("select orders + 1 from till", [], |row| row.get(0))?;
    let lines = 2 + id % 4;
    let mut total = 0;
    transaction.execute(
        "insert into orders values (?1, ?2, ?3, ?4, 0)",
        params![id, clock.wall().to_string(), format!("customer {}", id * 7919 % 5003), lines],
    )?;
    for number in 1..=lines {
        let product = 1 + (id * 31 + number * 17) % PRODUCTS;
        let quantity = 1 + (id + number) % 3;
        let cents: i64 = transaction.query_row(
            "select cents * ?2 from product where id = ?1",
            params![product, quantity],
            |row| row.get(0),
        )?;
        total += cents;
        transaction.execute(
            "insert into line values (?1, ?2, ?3, ?4, ?5)",
            params![id, number, product, quantity, cents],
        )?;
    }
    transaction.execute("update orders set cents = ?2 where id = ?1", params![id, total])?;
    transaction.execute("update till set orders = ?1, cents = cents + ?2", params![id, total])?;
    transaction.commit()?;
    Ok(id)
}

fn say(line: &str) -> bool {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).is_ok()
}

/// What a look at the database found; every number is counted from its rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Count {
    /// Orders.
    pub orders: i64,
    /// The highest order number.
    pub newest: i64,
    /// Orders whose lines are not all there, or do not add up to the order's total.
    pub broken: i64,
    /// True if the till agrees with the orders.
    pub till_agrees: bool,
    /// Products whose photograph is missing from the media folder.
    pub photos_missing: i64,
}

/// Counts orders, and looks for halves of transactions.
///
/// # Errors
/// If the database cannot be read.
pub fn count(folder: &Path) -> rusqlite::Result<Count> {
    let mut connection = Connection::open_with_flags(
        folder.join(DATABASE),
        rusqlite::OpenFlags::SQLITE_OPEN_READ_WRITE,
    )?;
    // One state of the database for all questions, while orders come in.
    let connection = connection.transaction()?;
    let one = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, i64>(0));
    let broken = one("select count(*) from orders o where
        (select count(*) from line l where l.order_id = o.id) <> o.lines or
        (select coalesce(sum(cents), 0) from line l where l.order_id = o.id) <> o.cents")?;
    let till_agrees = one("select exists (select 1 from till t where
        t.orders = (select count(*) from orders) and
        t.cents = (select coalesce(sum(cents), 0) from orders))")?
        == 1;
    let mut photos = connection.prepare("select photo from product")?;
    let mut photos_missing = 0;
    for photo in photos.query_map([], |row| row.get::<_, String>(0))? {
        photos_missing += i64::from(!folder.join("media").join(photo?).is_file());
    }
    Ok(Count {
        orders: one("select count(*) from orders")?,
        newest: one("select coalesce(max(id), 0) from orders")?,
        broken,
        till_agrees,
        photos_missing,
    })
}
