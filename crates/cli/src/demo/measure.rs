//! What is measured and done by hand in a demonstration: rates and latencies from the orders,
//! damage to files, comparison of photographs.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;

use super::application::{Order, PRODUCTS};
use super::picture;
use super::story::Writer;

/// A transaction that took longer during a backup counts as stalled, unless the machine is so busy
/// that others took half as long without one.
const STALL: Duration = Duration::from_secs(1);

/// True if a backup held the application up.
pub fn stalled(writer: &Writer) -> bool {
    writer.longest_backup_ms > STALL.as_secs_f64() * 1000.0
        && writer.longest_backup_ms > 2.0 * writer.longest_quiet_ms
}

/// Orders a second, from the first to the last.
pub fn rate(orders: &[Order]) -> f64 {
    match orders {
        [first, .., last] => {
            (orders.len() - 1) as f64 / (last.heard - first.heard).as_secs_f64().max(0.001)
        }
        _ => 0.0,
    }
}

/// Seconds from one wall time to another.
pub fn seconds_between(from: Timestamp, to: Timestamp) -> f64 {
    to.duration_since(from).as_secs_f64()
}

/// What the application noticed of the backups.
pub fn writer(
    orders: &[Order],
    backups: &[(Duration, Duration)],
    began: Duration,
    damaged: Duration,
) -> Writer {
    let before: Vec<Order> = orders.iter().filter(|order| order.heard < damaged).copied().collect();
    let during = |order: &&Order| {
        backups.iter().any(|(from, to)| order.heard >= *from && order.heard - order.took <= *to)
    };
    let mut backup: Vec<Duration> = before.iter().filter(during).map(|order| order.took).collect();
    backup.sort();
    let quiet = before.iter().filter(|order| !during(order)).map(|order| order.took).max();
    let milliseconds = |span: Option<Duration>| span.map_or(0.0, |it| it.as_secs_f64() * 1000.0);
    let mut tenths: Vec<u32> = Vec::new();
    for order in orders {
        let at = (order.heard.saturating_sub(began).as_millis() / 100) as usize;
        if tenths.len() <= at {
            tenths.resize(at + 1, 0);
        }
        tenths[at] += 1;
    }
    Writer {
        orders: orders.len() as u64,
        orders_per_second: rate(&before),
        longest_quiet_ms: milliseconds(quiet),
        longest_backup_ms: milliseconds(backup.last().copied()),
        p99_backup_ms: milliseconds(backup.get(backup.len() * 99 / 100).copied()),
        tenths,
    }
}

/// Overwrites a file in place with what is no database. A file that is not there stays away.
pub fn overwrite(path: &Path) -> io::Result<()> {
    let length = match fs::metadata(path) {
        Ok(meta) => meta.len(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    let file = OpenOptions::new().write(true).open(path)?;
    let junk: Vec<u8> = b"this is not the file you are looking for\n".repeat(1600);
    let mut at = 0;
    while at < length {
        let part = junk.len().min((length - at) as usize);
        file.write_all_at(&junk[..part], at)?;
        at += part as u64;
    }
    Ok(())
}

/// Photographs that are missing or not the ones that were made.
pub fn wrong_photographs(shop: &Path) -> u64 {
    let wrong = (1..=PRODUCTS.unsigned_abs()).filter(|id| {
        let path = shop.join(format!("media/photos/print-{id:03}.bmp"));
        fs::read(path).ok() != Some(picture::bitmap(*id, picture::WIDTH, picture::HEIGHT))
    });
    wrong.count() as u64
}

/// The largest data object of a vault, by key, and a place in its middle.
pub fn largest_pack(vault: &Path) -> io::Result<(String, u64)> {
    let mut largest = None;
    for folder in fs::read_dir(vault.join("data"))? {
        let folder = folder?;
        if !folder.file_type()?.is_dir() {
            continue;
        }
        for pack in fs::read_dir(folder.path())? {
            let pack = pack?;
            let size = pack.metadata()?.len();
            if largest.as_ref().is_none_or(|(most, _)| size > *most) {
                let name = |name: std::ffi::OsString| name.to_string_lossy().into_owned();
                let key = format!("data/{}/{}", name(folder.file_name()), name(pack.file_name()));
                largest = Some((size, key));
            }
        }
    }
    largest
        .map(|(size, key)| (key, size / 2))
        .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the vault holds no data"))
}

/// Inverts one byte of a file. Twice is the file as it was, with its mode.
pub fn flip(path: &Path, offset: u64) -> io::Result<()> {
    let mode = fs::metadata(path)?.permissions();
    fs::set_permissions(path, fs::Permissions::from_mode(mode.mode() | 0o600))?;
    let file = OpenOptions::new().read(true).write(true).open(path)?;
    let mut byte = [0u8];
    file.read_exact_at(&mut byte, offset)?;
    file.write_all_at(&[!byte[0]], offset)?;
    file.sync_all()?;
    fs::set_permissions(path, mode)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(heard: u64, took: u64) -> Order {
        Order {
            id: 1,
            at: Timestamp::UNIX_EPOCH,
            took: Duration::from_millis(took),
            heard: Duration::from_millis(heard),
        }
    }

    #[test]
    fn an_order_that_waited_for_a_backup_counts_as_during() {
        let orders = [order(900, 1), order(1100, 2), order(2400, 450), order(3000, 3)];
        let backups = [(Duration::from_millis(1000), Duration::from_millis(2000))];
        let all = Duration::from_secs(9);
        let writer = writer(&orders, &backups, Duration::ZERO, all);
        // The third was acknowledged after the backup, but began in it.
        assert_eq!(writer.longest_backup_ms, 450.0);
        assert_eq!(writer.longest_quiet_ms, 3.0);
        assert_eq!(writer.tenths.iter().sum::<u32>(), 4);
        assert!(!stalled(&writer));
        assert!(stalled(&Writer { longest_backup_ms: 1500.0, ..writer }));
    }

    #[test]
    fn a_byte_flipped_twice_is_the_byte() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pack");
        fs::write(&path, b"lifeboat").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
        flip(&path, 3).unwrap();
        assert_ne!(fs::read(&path).unwrap(), b"lifeboat");
        flip(&path, 3).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"lifeboat");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o400);
    }
}
