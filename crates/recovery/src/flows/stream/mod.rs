//! Stream: each component's log goes into the tiers as it is written, in ranges at most a second old,
//! until somebody asks to stop. Killed at any moment, the next stream goes on where this one stood.

mod behind;
mod follow;
mod lag;
mod late;
mod live;
mod tally;
pub(super) mod tiers;
mod watch;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc;

use lifeboat_model::plan::Kind;
use lifeboat_model::position::LogPosition;
use serde_json::json;

pub use live::{Live, wanted_base};

use self::follow::{Task, follow};
use self::watch::{Desk, Told};
use super::StreamRequest;
use super::point::components;
use crate::env::World;
use crate::error::{Error, Result};
use crate::journal::{Settings, local_folder, standing, stream_signer, trusted_keys};
use crate::ledger::Detail;
use crate::ports::Resume;
use crate::report::{
    DetachReport, Failure, PlannedStream, PlannedStreamOf, StreamReport, StreamedComponent,
};
use crate::session::{Ended, Opening, Session, within};
use crate::state::FileLock;
use crate::tier::{Access, OpenTier};

/// Bytes that may wait in the local state where the source keeps nothing.
const SPOOL: u64 = 1 << 30;

/// Streams.
pub fn stream(world: &World, request: &StreamRequest) -> Result<StreamReport> {
    let names = chosen(world, &request.components)?;
    let world = &tiers::first_that_answers(world)?;
    world.refuse_on_hold()?;
    let opening = Opening {
        action: "stream",
        object: &names.join(", "),
        detail: Detail::new(),
        access: Access::Make,
        changes_nothing: false,
    };
    let body = |session: &mut Session<'_>, tier: &OpenTier| execute(session, tier, &names, request);
    within(world, &opening, body, |report: &mut StreamReport, warnings| {
        report.warnings.extend(warnings);
    })
}

/// What a stream would make in the sources. Writes nothing at all.
pub fn plan_stream(world: &World, request: &StreamRequest) -> Result<PlannedStream> {
    let start = world.start();
    let names = chosen(world, &request.components)?;
    let planned = names.iter().map(|name| {
        let resume = resume(world, name)?;
        let at = resume.as_ref().map(|resume| resume.at.clone());
        let makes = (world.adapters.log)(name)
            .and_then(|mut source| source.would_make(resume.as_ref()))
            .map_err(Error::Log);
        Ok(of(name, at, makes))
    });
    Ok(PlannedStream {
        components: planned.collect::<Result<_>>()?,
        tiers: tiers::refs(world),
        warnings: Vec::new(),
        head: world.head("lifeboat/stream-recipe", start),
    })
}

/// Where the journal ends, as the local state knows it.
fn resume(world: &World, name: &str) -> Result<Option<Resume>> {
    let (tiers, _) = standing(&world.state, name)?;
    let ends = tiers
        .into_iter()
        .filter_map(|tier| Some(LogPosition { lineage: tier.lineage?, position: tier.position? }));
    let at = ends.max_by_key(|end| end.position);
    Ok(at.map(|at| Resume { at, facts: Default::default(), proven: None }))
}

fn of(name: &str, resume: Option<LogPosition>, makes: Result<Vec<String>>) -> PlannedStreamOf {
    let (makes, error) = match makes {
        Ok(makes) => (makes, None),
        Err(error) => (Vec::new(), Some(Failure::of(&error))),
    };
    PlannedStreamOf { component: name.to_owned(), resume, makes, error }
}

/// Removes from the sources what streams made in them; with `dry` only says what that is.
pub fn detach(world: &World, names: &[String], dry: bool) -> Result<DetachReport> {
    let start = world.start();
    let names = chosen(world, names)?;
    if dry {
        let components = names.iter().map(|name| detach_one(world, name, true)).collect();
        let head = world.head("lifeboat/stream-detach-recipe", start);
        return Ok(DetachReport { components, warnings: Vec::new(), head });
    }
    let opening = Opening {
        action: "stream detach",
        object: &names.join(", "),
        detail: Detail::new(),
        access: Access::Make,
        changes_nothing: false,
    };
    let body = |session: &mut Session<'_>, _: &OpenTier| {
        let world = session.world;
        let components: Vec<_> = names.iter().map(|name| detach_one(world, name, false)).collect();
        let removed: BTreeMap<_, _> =
            components.iter().map(|c| (c.component.clone(), c.makes.clone())).collect();
        let head = world.head("lifeboat/stream-detach", session.start);
        let report = DetachReport { components, warnings: Vec::new(), head };
        let detail = Detail::from([("removed".to_owned(), json!(removed))]);
        Ok(Ended { exit: report.exit(), report, detail, facts: Vec::new() })
    };
    within(world, &opening, body, |report: &mut DetachReport, warnings| {
        report.warnings.extend(warnings);
    })
}

fn detach_one(world: &World, name: &str, dry: bool) -> PlannedStreamOf {
    let removed = || -> Result<Vec<String>> {
        let lock = local_folder(&world.state, name).join("lock");
        // A running stream would make it all again.
        let held = match lock.exists() {
            true => FileLock::try_folder(&lock)?,
            false => None,
        };
        if lock.exists() && held.is_none() {
            return Err(Error::Busy { what: format!("component {name}: a stream of it") });
        }
        Ok((world.adapters.log)(name)?.detach(dry)?)
    };
    of(name, None, removed())
}

/// The components that are asked for, all that stream without names.
fn chosen(world: &World, asked: &[String]) -> Result<Vec<String>> {
    let streams = |name: &String| {
        world.plan.component.get(name).is_some_and(|component| component.kind.streams())
    };
    let names = components(world, asked)?;
    if asked.is_empty() {
        let names: Vec<String> = names.into_iter().filter(streams).collect();
        return match names.is_empty() {
            false => Ok(names),
            true => Err(Error::Usage {
                what: "no component of the plan streams".to_owned(),
                hint: "add `stream = true` to its `sqlite` or `postgres`".to_owned(),
            }),
        };
    }
    match names.iter().find(|name| !streams(name)) {
        None => Ok(names),
        Some(name) => Err(Error::Usage {
            what: format!("the plan does not say that {name} streams"),
            hint: "add `stream = true` to its `sqlite` or `postgres`".to_owned(),
        }),
    }
}

fn execute(
    session: &mut Session<'_>,
    tier: &OpenTier,
    names: &[String],
    request: &StreamRequest,
) -> Result<Ended<StreamReport>> {
    let world = session.world;
    let sealer = match &tier.sealer {
        Ok(sealer) => Arc::clone(sealer),
        Err(why) => {
            let hint = why.hint.clone().unwrap_or_else(|| "`lifeboat doctor`".to_owned());
            return Err(Error::refused(format!("nothing can be sealed: {}", why.line()), hint));
        }
    };
    let writes_to = tiers::open(world, tier, &sealer, &mut session.warnings)?;
    let (trusted, notes) = trusted_keys(world, tier)?;
    session.warnings.extend(notes);
    let open: BTreeMap<String, AtomicBool> =
        names.iter().map(|name| (name.clone(), AtomicBool::new(false))).collect();
    let until = request.span.map(|span| world.clock.monotonic() + span);
    let mut settings = Vec::new();
    for name in names {
        let (signer, certificate) = stream_signer(world, name)?;
        settings.push(Settings {
            component: name.clone(),
            host: world.host.clone(),
            tiers: writes_to.clone(),
            every_tier: tiers::all_answer(world, &writes_to),
            sealer: Arc::clone(&sealer),
            signer,
            certificate,
            trusted: trusted.clone(),
            state: world.state.clone(),
            clock: world.clock.clone(),
            monitor: world.monitor.clone(),
            spool: spools(world, name).then_some(SPOOL),
        });
    }
    let (tell, said) = mpsc::channel();
    let components = std::thread::scope(|scope| {
        for (name, settings) in names.iter().zip(settings) {
            let (tell, base_open) = (tell.clone(), &open[name]);
            scope.spawn(move || {
                let (tell, failed) = (tell.clone(), AtomicBool::new(false));
                let task = Task {
                    world,
                    component: name,
                    request,
                    until,
                    base_open,
                    failed,
                    tell: tell.clone(),
                };
                let ended = catch_unwind(AssertUnwindSafe(|| follow(&task, settings)));
                let told = match ended {
                    Ok(ended) => Told::Ended(Box::new(ended)),
                    Err(fault) => {
                        // Whoever listens would wait for ever.
                        let _ = tell.send((name.clone(), Told::Died));
                        resume_unwind(fault);
                    }
                };
                let _ = tell.send((name.clone(), told));
            });
        }
        let desk = Desk { world, once: request.once, open: &open, tell };
        desk.listen(scope, &said, session, tier)
    });
    let report = StreamReport {
        tiers: tiers::refs(world),
        interrupted: world.cancel.is_cancelled(),
        components,
        warnings: Vec::new(),
        head: world.head("lifeboat/stream", session.start),
    };
    let detail = Detail::from([("components".to_owned(), json!(summary(&report.components)))]);
    Ok(Ended { exit: report.exit(), report, detail, facts: Vec::new() })
}

/// True where what was read from the source is gone there.
fn spools(world: &World, name: &str) -> bool {
    world.plan.component.get(name).is_some_and(|one| matches!(one.kind, Kind::Sqlite(_)))
}

fn summary(components: &[StreamedComponent]) -> Vec<serde_json::Value> {
    components
        .iter()
        .map(|c| {
            json!({
                "component": c.component,
                "lineage": c.lineage,
                "from": c.from,
                "to": c.to,
                "ranges": c.ranges,
                "bytes": c.bytes,
                "gaps": c.gaps,
                "error": c.error.as_ref().map(Failure::line),
            })
        })
        .collect()
}
