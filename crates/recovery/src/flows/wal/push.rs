//! Push: a file of the log into every tier of its component.
//!
//! A host that knows its tiers opens no vault for it, and needs no vault key: it seals to their
//! recipient, signs, and creates. The first push on a host is recorded in the ledger, so that its key
//! is known to whoever restores.

use std::collections::BTreeSet;
use std::sync::Arc;

use lifeboat_model::exit::Exit;
use lifeboat_model::journal::native;
use serde::Serialize;
use serde_json::json;

use super::{logs_of, postgres};
use crate::env::{Tier, World};
use crate::error::{Error, Result};
use crate::flows::stream::tiers;
use crate::journal::{
    Away, JournalTier, PushTier, Pushed, Pushing, WalFile, handed_logs, push, standing,
    trusted_keys,
};
use crate::ledger::{Detail, signer};
use crate::report::Failure;
use crate::seal::Sealer;
use crate::session::{Ended, Opening, Session, within};
use crate::tier::{Access, OpenTier};

/// What became of a push.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct WalPushed {
    /// The component.
    pub component: String,
    /// The log: its system identifier.
    pub lineage: String,
    /// The file.
    pub name: String,
    /// What the tiers did.
    #[serde(flatten)]
    pub pushed: Pushed,
    /// What should be looked at.
    pub warnings: Vec<String>,
}

/// Stores a file for a component: the named one, or the one that its log is known by.
pub fn wal_push(world: &World, component: Option<&str>, file: &WalFile) -> Result<WalPushed> {
    let names = postgres(world, component)?;
    let lineage = file.lineage.as_deref().ok_or_else(|| Error::Usage {
        what: format!("nothing says of which server {} is", file.name),
        hint: "run it as the server does, in its data directory".to_owned(),
    })?;
    if let Some(reached) = known(world, &names, lineage)? {
        return store(world, (&reached.component, lineage), file, &reached.sealer, reached.tiers);
    }
    let world = &tiers::first_that_answers(world)?;
    world.refuse_on_hold()?;
    let what = component.map_or_else(|| names.join(", "), str::to_owned);
    let opening = Opening {
        action: "wal push",
        object: &what,
        detail: Detail::from([("file".to_owned(), json!(file.name.to_string()))]),
        access: Access::Write,
        changes_nothing: false,
    };
    let body = |session: &mut Session<'_>, tier: &OpenTier| {
        let report = first(session, tier, &names, component.is_some(), (lineage, file))?;
        Ok(Ended { report, exit: Exit::Done, detail: Detail::new(), facts: Vec::new() })
    };
    within(world, &opening, body, |report: &mut WalPushed, warnings| {
        report.warnings.extend(warnings);
    })
}

/// A tier as a host reaches it that knows it: its place, and its objects or why not.
type Reach = (Tier, std::result::Result<JournalTier, String>);

/// What a push needs on a host that has pushed before.
struct Reached {
    component: String,
    sealer: Arc<Sealer>,
    tiers: Vec<Reach>,
}

/// Nothing, where the log, the host's key or every tier that could count is not known here. Another
/// tier that is not known is one that is away.
fn known(world: &World, names: &[String], lineage: &str) -> Result<Option<Reached>> {
    if signer::public_keys(world)?.is_empty() {
        return Ok(None);
    }
    let mut of_log = Vec::new();
    for name in names {
        let mut logs = handed_logs(&world.state, name)?;
        let streamed = standing(&world.state, name)?.0.into_iter().filter_map(|tier| tier.lineage);
        logs.extend(streamed.map(|lineage| native(&lineage).to_owned()));
        if logs.contains(lineage) {
            of_log.push(name);
        }
    }
    let [component] = of_log[..] else { return Ok(None) };
    let mut sealer: Option<Arc<Sealer>> = None;
    let mut reached: Vec<Reach> = Vec::new();
    let mut unknown = Vec::new();
    for tier in &world.tiers {
        let there = world.with_tier(tier);
        let Some((recipient, store)) = there.known_store()? else {
            unknown.push(tier.clone());
            continue;
        };
        let known = match &sealer {
            Some(known) => Arc::clone(known),
            None => Arc::clone(sealer.insert(Arc::new(Sealer::new(&recipient, None)?))),
        };
        let store = match (store, known.recipient() == recipient) {
            (Ok(store), true) => Ok(JournalTier::of(tier, store, &world.state)),
            (Ok(_), false) => Err("its identity is another one than the first tier's".to_owned()),
            (Err(error), _) => Err(Failure::of(&error).line()),
        };
        reached.push((tier.clone(), store));
    }
    let far = |tier: &Tier| lies_elsewhere(world, tier);
    if unknown.iter().any(far) && !reached.iter().any(|(tier, _)| far(tier)) {
        return Ok(None);
    }
    let why = "this host does not know it yet; a `backup` or `copy` into it makes it known";
    reached.extend(unknown.into_iter().map(|tier| (tier, Err(why.to_owned()))));
    let component = component.clone();
    Ok(sealer.map(|sealer| Reached { component, sealer, tiers: reached }))
}

/// True of a tier that does not lie on this machine.
fn lies_elsewhere(world: &World, tier: &Tier) -> bool {
    tier.place.folder().is_none() || tier.place.is_farther_than(world.state.folder())
}

/// A push of a log, in a tier or on a host that does not know it yet.
fn first(
    session: &mut Session<'_>,
    tier: &OpenTier,
    names: &[String],
    named: bool,
    (lineage, file): (&str, &WalFile),
) -> Result<WalPushed> {
    let world = session.world;
    let component = of_component(tier, names, named, lineage)?;
    let sealer = match &tier.sealer {
        Ok(sealer) => Arc::clone(sealer),
        Err(why) => {
            let hint = why.hint.clone().unwrap_or_else(|| "`lifeboat doctor`".to_owned());
            return Err(Error::refused(format!("nothing can be sealed: {}", why.line()), hint));
        }
    };
    let own = JournalTier::of(&world.tier, tier.store.clone(), &world.state);
    let mut reached = vec![(world.tier.clone(), Ok(own))];
    for other in world.elsewhere() {
        let there = tiers::one(&world.with_tier(other), tier, &sealer);
        let there = there.map(|there| JournalTier::of(other, there.store, &world.state));
        reached.push((other.clone(), there.map_err(|error| Failure::of(&error).line())));
    }
    store(world, (&component, lineage), file, &sealer, reached)
}

/// The one component that a log is of. Where nothing is known of any of a component's logs, it is
/// its first one.
fn of_component(tier: &OpenTier, names: &[String], named: bool, lineage: &str) -> Result<String> {
    let (mut exactly, mut open, mut others) = (Vec::new(), Vec::new(), BTreeSet::new());
    for name in names {
        let logs = logs_of(tier, name)?;
        if logs.contains(lineage) {
            exactly.push(name);
        } else if logs.is_empty() {
            open.push(name);
        } else {
            others.extend(logs.into_iter().map(|log| format!("{log} ({name})")));
        }
    }
    match (&exactly[..], &open[..]) {
        ([name], _) => Ok((*name).clone()),
        ([], [name]) if named || names.len() == 1 => Ok((*name).clone()),
        ([], []) => {
            let others = others.into_iter().collect::<Vec<_>>().join(", ");
            Err(Error::refused(
                format!("the log is of system identifier {lineage}; known are {others}"),
                "another server's log never goes among it. If this server took the other's place, \
                 take its base first: `lifeboat backup COMPONENT`",
            ))
        }
        _ => Err(Error::refused(
            format!("several components could be that of system identifier {lineage}"),
            "name it: `lifeboat wal push --component NAME PATH`",
        )),
    }
}

fn store(
    world: &World,
    (component, lineage): (&str, &str),
    file: &WalFile,
    sealer: &Sealer,
    tiers: Vec<Reach>,
) -> Result<WalPushed> {
    let signer = signer::of_host(world)?;
    let pushing = Pushing {
        component,
        lineage,
        host: &world.host,
        sealer,
        signer: &*signer,
        state: &world.state,
        clock: &*world.clock,
    };
    let (mut there, mut away) = (Vec::new(), Vec::new());
    for (tier, reached) in tiers {
        match reached {
            Ok(journal) => {
                let world = world.with_tier(&tier);
                let opens = move || {
                    let tier = world.read_tier()?;
                    let sealer = tier.sealer.clone().map_err(|why| {
                        Error::refused(why.line(), why.hint.clone().unwrap_or_default())
                    })?;
                    Ok((sealer, trusted_keys(&world, &tier)?.0))
                };
                there.push(PushTier { tier: journal, opens: Box::new(opens) });
            }
            Err(why) => {
                let elsewhere = lies_elsewhere(world, &tier);
                away.push(Away { name: tier.name.clone(), elsewhere, why });
            }
        }
    }
    let pushed = push(&pushing, there, &away, file)?;
    let late = pushed.owed.iter().map(|why| format!("a later push brings it to tier {why}"));
    Ok(WalPushed {
        component: component.to_owned(),
        lineage: lineage.to_owned(),
        name: file.name.to_string(),
        warnings: late.collect(),
        pushed,
    })
}
