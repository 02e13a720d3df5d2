//! Brings a physical base to a point.
//!
//! 1. The base's own manifest is verified (`pg_verifybackup`) before a server touches it.
//! 2. A throw-away server replays the log, which it gets from this process alone, up to a target, and
//!    waits there.
//! 3. What it replayed is compared with the target. Only then is it told to end its recovery, and the
//!    history of the line that it begins is compared once more: it tells for ever where it left which
//!    line.
//! 4. It is stopped in order, and everything is flushed.
//!
//! Whatever goes wrong takes the copy its `pg_control`: it does not start.

use std::fs;
use std::path::Path;

use lifeboat_model::check::CheckResult;
use lifeboat_model::manifest::{Manifest, PostgresContent};
use lifeboat_model::position::{LogPosition, Position};
use lifeboat_model::verdict::Verdict;
use lifeboat_recovery::ports::{EngineError, LogReader, RecoverContext, RecoverTo, Recovered};

use super::control::Control;
use super::goal::{Base, Goal};
use super::install::Installation;
use super::instance::{Instance, Start};
use super::layout::Layout;
use super::lsn::{parse as lsn, text as lsn_text};
use super::serve::{self, Server, Supply};
use super::sql::Session;
use super::tool::Tools;
use super::way::{BaseLog, Way};
use super::{broken, fork, refused, stage, tablespaces};

/// Names of the checks of a recovery.
pub const VERIFIED: &str = "pg_verifybackup";
/// The place that was reached.
pub const REACHED: &str = "position reached";
/// The line that was followed.
pub const TIMELINE: &str = "timeline";

/// What a recovery works with.
pub(super) struct Recovery<'a> {
    pub tools: &'a Tools,
    /// Nothing where the copy is only to be staged.
    pub installed: Option<&'a Installation>,
    pub preload: &'a [String],
    pub patience: std::time::Duration,
    pub context: &'a RecoverContext<'a>,
}

/// Recovers, or takes the copy from every server.
pub(super) fn recover(
    recovery: &Recovery<'_>,
    copy: &Path,
    (manifest, content): (&Manifest, &PostgresContent),
    log: Option<&dyn LogReader>,
    to: &RecoverTo,
) -> Result<Recovered, EngineError> {
    let layout = Layout::of(copy)?;
    let done = attempt(recovery, &layout, (manifest, content), log, to);
    // A directory on which a server runs is not this copy: nothing of it is touched.
    if done.is_err() && super::layout::running(&layout.data).is_none() {
        layout.disable();
    }
    done
}

fn attempt(
    recovery: &Recovery<'_>,
    layout: &Layout,
    (manifest, content): (&Manifest, &PostgresContent),
    log: Option<&dyn LogReader>,
    to: &RecoverTo,
) -> Result<Recovered, EngineError> {
    let account = recovery.tools.account;
    if !layout.is_base() {
        return Err(refused(
            "the copy has no backup_label: it is no base backup, or was recovered before",
            "restore the snapshot again",
        ));
    }
    let base = base_of(manifest, content)?;
    let lineage = lineage(content)?;
    layout.prepare(content, account)?;
    let along = match (log, to) {
        (_, RecoverTo::Base) | (None, RecoverTo::Newest) => None,
        (Some(log), _) => Some(log),
        (None, _) => {
            return Err(refused(
                "the base has no journal, along which that point could be reached",
                "name a snapshot, or leave `--at` out",
            ));
        }
    };
    let own = layout.data.join("pg_wal");
    let of_base = BaseLog {
        lineage: lineage.clone(),
        start: base.start,
        stop: base.stop,
        size: content.wal_segment_size,
        folder: &own,
    };
    tablespaces::harmless_base(&of_base)?;
    let now = recovery.context.clock.wall();
    let (way, goal) = match along.map(|log| fork::lead(log, &of_base, to)).transpose()? {
        Some((mut way, note)) => {
            let mut goal = Goal::along(&way, &base, to, now)?;
            goal.notes.extend(note);
            // What lies behind is neither read nor judged.
            way.end_at(goal.exact.unwrap_or(goal.most));
            (Some(way), goal)
        }
        None => (None, Goal::base(&base)),
    };
    let Some(installed) = recovery.installed else {
        return stage::stage(layout, recovery, way.as_ref(), &goal, &base);
    };
    let mut checks = vec![verify(recovery.tools, installed, layout)?];
    let control = Control::read(recovery.tools, installed, &layout.data)?;
    same_server(&control, content)?;
    let reached = replay(recovery, installed, layout, way.as_ref(), &goal, &control, &base)?;
    checks.extend(reached.checks);
    let lineage = along.map_or(lineage, |log| log.start().lineage.clone());
    let position = Position::new(reached.line, reached.at);
    let mut notes = vec![format!(
        "recovered to {} on timeline {}; the copy goes on on timeline {}",
        lsn_text(reached.at),
        reached.line,
        reached.new_line
    )];
    notes.extend(goal.notes.iter().cloned());
    notes.extend(reaches_out(layout));
    Ok(Recovered {
        position: Some(LogPosition { lineage, position }),
        // What a server handed over may have nothing in it that tells a time.
        complete_up_to: complete(&goal, way.as_ref(), reached.at).max(Some(base.started)),
        checks,
        notes,
    })
}

fn base_of(manifest: &Manifest, content: &PostgresContent) -> Result<Base, EngineError> {
    let place = |text: &str| {
        lsn(text).ok_or_else(|| broken(format!("the manifest names no place in the log: {text:?}")))
    };
    Ok(Base {
        start: Position::new(content.timeline, place(&content.start_lsn)?),
        stop: place(&content.stop_lsn)?,
        started: manifest.started,
        finished: manifest.read_until(),
    })
}

/// The system identifier as a journal names it.
fn lineage(content: &PostgresContent) -> Result<String, EngineError> {
    let text = &content.system_identifier;
    let number: u64 =
        text.parse().map_err(|_| broken(format!("no system identifier: {text:?}")))?;
    Ok(format!("{number:016x}"))
}

fn same_server(control: &Control, content: &PostgresContent) -> Result<(), EngineError> {
    let of_copy = control.get("Database system identifier")?;
    if of_copy != content.system_identifier {
        return Err(broken(format!(
            "the copy is of system identifier {of_copy}, its manifest of {}",
            content.system_identifier
        )));
    }
    let size = control.segment_size()?;
    if size != content.wal_segment_size {
        return Err(broken(format!(
            "the copy's log has segments of {size} bytes, its manifest says {}",
            content.wal_segment_size
        )));
    }
    Ok(())
}

/// The base as its own manifest has it, before anything is replayed.
fn verify(
    tools: &Tools,
    installed: &Installation,
    layout: &Layout,
) -> Result<CheckResult, EngineError> {
    let expected = "every file as in the base's own manifest";
    let told = |verdict, found: String| CheckResult::new(VERIFIED, verdict, expected, found);
    if !layout.data.join("backup_manifest").is_file() {
        return Ok(told(Verdict::Inconclusive, "the base has no backup_manifest".to_owned()));
    }
    let program = installed.program("pg_verifybackup")?;
    tools.account.let_pass(&layout.data)?;
    let mut command = tools.command(&program, Path::new("/"));
    let said = tools.run(command.arg("-q").arg(&layout.data))?;
    match said.status.code() {
        Some(0) => Ok(told(Verdict::Pass, "it says so".to_owned())),
        Some(_) => Err(broken(format!("the base is not whole: {}", said.why()))),
        // The program itself is broken: that says nothing of the base.
        None => Ok(told(Verdict::Inconclusive, format!("it broke down: {}", said.status))),
    }
}

/// Where a replay ended.
struct Reached {
    at: u64,
    line: u32,
    new_line: u32,
    checks: Vec<CheckResult>,
}

/// Ends the serving threads on every path.
struct Serving<'a, 'b>(&'a Server<'b>);

impl Drop for Serving<'_, '_> {
    fn drop(&mut self) {
        self.0.stop();
    }
}

fn replay(
    recovery: &Recovery<'_>,
    installed: &Installation,
    layout: &Layout,
    way: Option<&Way<'_>>,
    goal: &Goal,
    control: &Control,
    base: &Base,
) -> Result<Reached, EngineError> {
    let (tools, context) = (recovery.tools, recovery.context);
    let scratch =
        fs::canonicalize(context.scratch).map_err(super::failed("find the scratch folder"))?;
    tools.account.own(&scratch).map_err(super::failed("pass the scratch folder on"))?;
    tools.account.let_pass(&scratch)?;
    let server = Server::new(Supply {
        way,
        folder: scratch.join("wal"),
        account: tools.account,
        clock: &*tools.clock,
        monitor: context.monitor,
        cancel: context.cancel,
        patience: recovery.patience,
    })?;
    layout.begin(tools.account)?;
    let mut settings = control.settings()?;
    settings.extend(goal.settings.iter().cloned());
    settings.push(("recovery_target_action".to_owned(), "pause".to_owned()));
    settings.push(("restore_command".to_owned(), server.command()));
    let start = Start { installed, data: &layout.data, settings, preload: recovery.preload };
    let first = way.map(|way| (base.start.line, base.start.offset / way.size));
    let reached = std::thread::scope(|scope| {
        let serving = Serving(&server);
        scope.spawn(|| server.run(first));
        let reached = follow(tools, &start, &server, goal);
        drop(serving);
        reached
    });
    if server.retries() > 0 {
        context
            .monitor
            .note(&format!("{} reads of the journal were tried again", server.retries()));
    }
    // Why the log could not be had explains what the server made of it.
    match (reached, server.error()) {
        (Ok(reached), None) => Ok(reached),
        (_, Some(error)) => Err(error),
        (Err(error), None) => Err(error),
    }
}

/// Follows a recovery to its end.
fn follow(
    tools: &Tools,
    start: &Start<'_>,
    server: &Server<'_>,
    goal: &Goal,
) -> Result<Reached, EngineError> {
    let mut instance = Instance::start(tools, start)?;
    instance.wait_until(None, &mut |log| {
        if server.has_failed() {
            return Err(broken("the log cannot be had"));
        }
        let paused = log.contains("pausing at the end of recovery")
            && log.contains("is ready to accept read");
        Ok(paused || log.contains("database system is ready to accept connections"))
    })?;
    let user = instance.superuser()?;
    let session = Session { user: &user, database: "template1", limit: None, writes: false };
    let one = |instance: &Instance, sql: &str| -> Result<String, EngineError> {
        let rows = instance.ask(&session, sql)?;
        let cell = rows.into_iter().next().and_then(|row| row.into_iter().next()).flatten();
        cell.ok_or_else(|| broken(format!("the copy's server does not answer {sql}")))
    };
    // A server that could not take questions at its target has gone on by itself: what it came to
    // is compared below all the same.
    if one(&instance, "select pg_is_in_recovery()")? == "t" {
        let at = one(&instance, "select pg_last_wal_replay_lsn()")?;
        within(goal, lsn(&at).unwrap_or_default())?;
        let _ = one(&instance, "select coalesce(pg_wal_replay_resume()::text, '')")?;
    }
    instance.wait_ready()?;
    if server.has_failed() {
        return Err(broken("the log cannot be had"));
    }
    let name = one(&instance, "select pg_walfile_name(pg_current_wal_insert_lsn())")?;
    let reached = left(&instance.data, &name)?;
    within(goal, reached.at)?;
    if reached.line != goal.line {
        return Err(broken(format!(
            "recovery left timeline {}, not timeline {} as it was told",
            reached.line, goal.line
        )));
    }
    instance.stop()?;
    let expected = match goal.exact {
        Some(exact) => lsn_text(exact),
        None => format!("{} or later", lsn_text(goal.least)),
    };
    let checks = vec![
        CheckResult::new(REACHED, Verdict::Pass, expected, lsn_text(reached.at)),
        CheckResult::compare(TIMELINE, goal.line, reached.line),
    ];
    Ok(Reached { checks, ..reached })
}

/// Is that what the goal demands?
fn within(goal: &Goal, at: u64) -> Result<(), EngineError> {
    let right = match goal.exact {
        Some(exact) => at == exact,
        None => (goal.least..=goal.most).contains(&at),
    };
    if right {
        return Ok(());
    }
    let wanted = match goal.exact {
        Some(exact) => lsn_text(exact),
        None => format!("a place from {} on", lsn_text(goal.least)),
    };
    Err(broken(format!("recovery reached {} and was to reach {wanted}", lsn_text(at))))
}

/// Which line was left where, by the history of the line that was begun.
fn left(data: &Path, file: &str) -> Result<Reached, EngineError> {
    let unknown = |what: &str| broken(format!("the line that the copy began {what}"));
    let line = file.get(..8).ok_or_else(|| unknown("has no name"))?;
    let new_line = u32::from_str_radix(line, 16).map_err(|_| unknown("has no number"))?;
    let path = data.join(format!("pg_wal/{line}.history"));
    let history =
        fs::read_to_string(&path).map_err(super::failed(format!("read {}", path.display())))?;
    let entry = history.lines().rfind(|entry| !entry.trim().is_empty());
    let mut fields = entry.unwrap_or_default().split_ascii_whitespace();
    let old = fields.next().and_then(|field| field.parse().ok());
    let at = fields.next().and_then(lsn);
    let (Some(line), Some(at)) = (old, at) else { return Err(unknown("has no history")) };
    Ok(Reached { at, line, new_line, checks: Vec::new() })
}

/// The instant up to which a copy is complete: that of the last piece that was replayed whole.
fn complete(goal: &Goal, way: Option<&Way<'_>>, at: u64) -> Option<jiff::Timestamp> {
    goal.complete.or_else(|| {
        let whole = way?.all().iter().take_while(|piece| piece.to.offset <= at);
        whole.last().map(|piece| piece.time)
    })
}

/// What of the copy's own settings reaches out once its plain server is started with them.
pub(super) fn reaches_out(layout: &Layout) -> Option<String> {
    const REACHING: [&str; 5] = [
        "archive_command",
        "archive_library",
        "primary_conninfo",
        "shared_preload_libraries",
        "synchronous_standby_names",
    ];
    let settings = layout.own_settings();
    let is_set = |name: &&str| {
        settings.lines().any(|line| {
            let line = line.trim();
            let rest =
                line.strip_prefix(*name).map(|rest| rest.trim_start_matches([' ', '=', '\t']));
            rest.is_some_and(|value| !value.is_empty() && !value.starts_with("''"))
        })
    };
    let set: Vec<&str> = REACHING.into_iter().filter(is_set).collect();
    (!set.is_empty()).then(|| {
        format!(
            "the copy's own configuration sets {}: look at it before its plain server is started \
             beside production",
            set.join(", ")
        )
    })
}

/// How long what cannot be had of a journal is tried again.
pub(super) const PATIENCE: std::time::Duration = serve::PATIENCE;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_place_than_the_target_is_an_error() {
        let goal = |exact: Option<u64>| Goal {
            settings: Vec::new(),
            line: 1,
            exact,
            least: 100,
            most: 200,
            complete: None,
            notes: Vec::new(),
        };
        within(&goal(Some(150)), 150).unwrap();
        within(&goal(None), 100).unwrap();
        within(&goal(None), 200).unwrap();
        for (exact, at) in [(Some(150), 149), (Some(150), 151), (None, 99), (None, 201)] {
            assert!(within(&goal(exact), at).is_err(), "{exact:?} {at}");
        }
    }
}
