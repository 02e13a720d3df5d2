//! What `pg_control` says of a data directory, through `pg_controldata`.

use std::collections::BTreeMap;
use std::path::Path;

use lifeboat_recovery::ports::EngineError;

use super::broken;
use super::install::Installation;
use super::tool::Tools;

/// Settings that a server must have at least as large as they were where the log was written, by
/// their names here and there.
const AT_LEAST: [(&str, &str); 5] = [
    ("max_connections", "max_connections setting"),
    ("max_worker_processes", "max_worker_processes setting"),
    ("max_wal_senders", "max_wal_senders setting"),
    ("max_prepared_transactions", "max_prepared_xacts setting"),
    ("max_locks_per_transaction", "max_locks_per_xact setting"),
];
/// Without it the server throws the recorded commit times away when recovery ends.
const COMMIT_TIMES: (&str, &str) = ("track_commit_timestamp", "track_commit_timestamp setting");

/// The lines of `pg_controldata`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Control(BTreeMap<String, String>);

impl Control {
    /// Reads it.
    pub fn read(
        tools: &Tools,
        installed: &Installation,
        data: &Path,
    ) -> Result<Control, EngineError> {
        let program = installed.program("pg_controldata")?;
        let said = tools.run(tools.command(&program, data).arg("-D").arg(data))?;
        if !said.status.success() {
            return Err(broken(format!("pg_controldata: {}", said.why())));
        }
        let control = Control::of(&String::from_utf8_lossy(&said.out));
        // It goes on, with a warning, where the file's checksum does not match.
        match said.error.trim() {
            "" if said.out.windows(7).all(|part| part != b"WARNING") => Ok(control),
            warning => Err(broken(format!("pg_control is damaged: {warning}"))),
        }
    }

    fn of(text: &str) -> Control {
        let line = |line: &str| {
            let (name, value) = line.split_once(':')?;
            Some((name.trim().to_owned(), value.trim().to_owned()))
        };
        Control(text.lines().filter_map(line).collect())
    }

    /// One line's value.
    pub fn get(&self, name: &str) -> Result<&str, EngineError> {
        let value = self.0.get(name).map(String::as_str);
        value.ok_or_else(|| broken(format!("pg_controldata does not tell the {name}")))
    }

    /// Did the server end in order?
    pub fn is_shut_down(&self) -> bool {
        self.get("Database cluster state").is_ok_and(|state| state == "shut down")
    }

    /// Do its pages carry checksums?
    pub fn has_checksums(&self) -> bool {
        self.get("Data page checksum version").is_ok_and(|version| version != "0")
    }

    /// The bytes of a segment of its log.
    pub fn segment_size(&self) -> Result<u64, EngineError> {
        let text = self.get("Bytes per WAL segment")?;
        let size = text.parse().ok();
        size.filter(|size: &u64| size.is_power_of_two() && (1 << 20..=1 << 30).contains(size))
            .ok_or_else(|| broken(format!("no segment of the log has {text} bytes")))
    }

    /// The settings with which a server can replay its log.
    pub fn settings(&self) -> Result<Vec<(String, String)>, EngineError> {
        let all = AT_LEAST.iter().chain([&COMMIT_TIMES]);
        all.map(|(name, line)| Ok(((*name).to_owned(), self.get(line)?.to_owned()))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_become_settings() {
        let text = "Database cluster state:               in production\n\
            max_connections setting:              250\nmax_worker_processes setting: 9\n\
            max_wal_senders setting: 11\nmax_prepared_xacts setting:           7\n\
            max_locks_per_xact setting:           65\ntrack_commit_timestamp setting: on\n\
            Bytes per WAL segment:                1048576\nData page checksum version: 1\n";
        let control = Control::of(text);
        let settings = control.settings().unwrap();
        let of = |name: &str| settings.iter().find(|(is, _)| is == name).unwrap().1.as_str();
        assert_eq!((of("max_connections"), of("max_prepared_transactions")), ("250", "7"));
        assert_eq!((of("max_locks_per_transaction"), of("track_commit_timestamp")), ("65", "on"));
        assert_eq!(control.segment_size().unwrap(), 1 << 20);
        assert!(control.has_checksums() && !control.is_shut_down());
    }

    #[test]
    fn what_is_not_told_is_an_error() {
        assert!(Control::of("").settings().is_err());
        assert!(Control::of("Bytes per WAL segment: 3").segment_size().is_err());
    }
}
