//! How often an idle stream says that nothing was written.

use std::time::Duration;

/// At most one a minute.
const LEAST: Duration = Duration::from_secs(60);
/// Where no objective says how much may be lost.
const WITHOUT: Duration = Duration::from_secs(15 * 60);

/// The span between two keepalives: a quarter of the RPO, at least a minute. What is longer than a
/// minute late would be reported as loss that there was not.
pub fn keepalive_every(rpo: Option<Duration>) -> Duration {
    (rpo.unwrap_or(WITHOUT) / 4).max(LEAST)
}

/// True if an idle stream whose newest object is `since` old is to store a keepalive.
pub fn keepalive_due(rpo: Option<Duration>, since: Duration) -> bool {
    since >= keepalive_every(rpo)
}
