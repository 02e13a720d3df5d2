//! The manifest that `pg_verifybackup` judges a copy by, in PostgreSQL's own format.

use std::fmt::Write;

use jiff::Timestamp;
use sha2::{Digest, Sha256};

use super::lsn;

/// From this version on a manifest names its cluster.
const WITH_SYSTEM: u32 = 170_000;

/// A manifest that grows.
pub(crate) struct BackupManifest {
    text: String,
    any: bool,
}

impl BackupManifest {
    pub(crate) fn new(version: u32, system_identifier: u64) -> BackupManifest {
        let mut text = String::from("{ \"PostgreSQL-Backup-Manifest-Version\": 1,\n");
        if version >= WITH_SYSTEM {
            text = format!(
                "{{ \"PostgreSQL-Backup-Manifest-Version\": 2,\n\
                 \"System-Identifier\": {system_identifier},\n"
            );
        }
        text.push_str("\"Files\": [");
        BackupManifest { text, any: false }
    }

    /// A file, by its path in the data directory.
    pub(crate) fn file(&mut self, path: &str, size: u64, mtime: Timestamp, crc32c: u32) {
        let lead = if self.any { ",\n" } else { "\n" };
        self.any = true;
        let name = serde_json::Value::from(path);
        let time = mtime.strftime("%Y-%m-%d %H:%M:%S GMT");
        // As it stands in memory.
        let sum = hex::encode(crc32c.to_le_bytes());
        let line = format!(
            "{lead}{{ \"Path\": {name}, \"Size\": {size}, \"Last-Modified\": \"{time}\", \
             \"Checksum-Algorithm\": \"CRC32C\", \"Checksum\": \"{sum}\" }}"
        );
        self.text.push_str(&line);
    }

    /// The whole, with the log that makes the copy consistent and its own checksum.
    pub(crate) fn finish(mut self, timeline: u32, start: u64, end: u64) -> String {
        let (start, end) = (lsn::text(start), lsn::text(end));
        let range = format!(
            "\n],\n\"WAL-Ranges\": [\n{{ \"Timeline\": {timeline}, \"Start-LSN\": \"{start}\", \
             \"End-LSN\": \"{end}\" }}\n],\n"
        );
        self.text.push_str(&range);
        let sum = hex::encode(Sha256::digest(self.text.as_bytes()));
        // Writing into a text does not fail.
        let _ = writeln!(self.text, "\"Manifest-Checksum\": \"{sum}\"}}");
        self.text
    }
}
