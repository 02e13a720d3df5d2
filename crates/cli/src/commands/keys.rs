//! `key add` and `key rotate`: the new key's file, the confirmation, the flow.

use std::io::IsTerminal;
use std::path::Path;

use lifeboat_model::plan::SecretSource;
use lifeboat_recovery::env::{Secret, VaultKey};
use lifeboat_recovery::flows::{self, KeyRequest};
use lifeboat_recovery::report::KeyReport;

use super::maintain::ask;
use crate::args::{KeyAdd, KeyRotate};
use crate::fault::{Fault, Outcome};
use crate::hands::{Hands, Wired};
use crate::key;
use crate::render;
use crate::screen::{Reply, log_line};

/// `lifeboat key add`
pub fn add(args: &KeyAdd, hands: &Hands<'_>) -> Outcome<Reply> {
    let wired = hands.open()?;
    let request = request(&wired, hands, &args.new_key_file, args.tier.as_deref(), None)?;
    let report = match args.dry_run {
        true => flows::plan_key_add(&wired.world, &request),
        false => flows::key_add(&wired.world, &request),
    };
    reply(report, &wired, hands)
}

/// `lifeboat key rotate`
pub fn rotate(args: &KeyRotate, hands: &Hands<'_>) -> Outcome<Reply> {
    let mut wired = hands.open()?;
    let (tier, to) = (args.tier.as_deref(), args.to.as_deref());
    let request = request(&wired, hands, &args.new_key_file, tier, to)?;
    if args.compromised {
        wired = wired.in_tier(tier)?;
    }
    let plan = || match args.compromised {
        true => flows::plan_key_compromised(&wired.world, &request),
        false => flows::plan_key_rotate(&wired.world, &request),
    };
    if args.dry_run {
        return reply(plan(), &wired, hands);
    }
    if !args.yes {
        confirm(&plan()?, &wired, hands)?;
    }
    let report = match args.compromised {
        true => flows::key_compromised(&wired.world, &request),
        false => flows::key_rotate(&wired.world, &request),
    };
    reply(report, &wired, hands)
}

fn reply(
    report: lifeboat_recovery::Result<KeyReport>,
    wired: &Wired,
    hands: &Hands<'_>,
) -> Outcome<Reply> {
    wired.progress.clear();
    let report = report?;
    let words = render::key(&report, hands.screen);
    let name = if report.dry_run { "key-recipe" } else { "key" };
    Reply::new(report.exit(), name, &report, words)
}

fn request(
    wired: &Wired,
    hands: &Hands<'_>,
    file: &Path,
    tier: Option<&str>,
    to: Option<&str>,
) -> Outcome<KeyRequest> {
    if let Some(tier) = tier {
        let known = wired.world.tiers.iter().any(|one| one.name == tier);
        if !known {
            let names: Vec<&str> = wired.world.tiers.iter().map(|one| one.name.as_str()).collect();
            return Err(Fault::usage(format!(
                "the plan has no tier {tier} that this version uses"
            ))
            .hint(format!("it has {}", names.join(", "))));
        }
    }
    let file = std::path::absolute(file).map_err(|error| {
        Fault::caused(
            lifeboat_model::exit::Exit::Usage,
            "the key file\u{2019}s path is unusable",
            &error,
        )
    })?;
    Ok(KeyRequest {
        new: new_key(wired, hands, &file)?,
        file,
        tier: tier.map(ToOwned::to_owned),
        to: to.map(ToOwned::to_owned),
    })
}

/// The new key comes from a private file, as the plan's may: arguments and variables are seen by
/// others.
fn new_key(wired: &Wired, hands: &Hands<'_>, file: &Path) -> Outcome<VaultKey> {
    let place = file.display();
    if !file.exists() {
        return Err(Fault::usage(format!("there is no file {place} with the new key"))
            .hint(format!("(umask 077; openssl rand -hex 32 > {place})")));
    }
    let source = place.to_string();
    let secret = key::read(
        "the new key",
        &SecretSource::File(&source),
        |path| path.into(),
        hands.environment,
        hands.clock.as_ref(),
    )?;
    if secret.contains(|c: char| c.is_control()) {
        return Err(Fault::usage(format!("{place} holds more than one line, or no key"))
            .hint("a key is one line of text"));
    }
    let real = file.canonicalize().unwrap_or_else(|_| file.to_owned());
    let inside = wired.world.tiers.iter().find(|tier| {
        let folder = tier.place.folder().and_then(|folder| folder.canonicalize().ok());
        folder.is_some_and(|folder| real.starts_with(folder))
    });
    if let Some(tier) = inside {
        return Err(Fault::refused(format!("the new key lies inside tier {}", tier.name))
            .hint("keep keys apart from what they open: whoever gets the tier has both"));
    }
    Ok(VaultKey { strength: key::strength(&secret), secret: Secret::new(secret.as_str()) })
}

/// Says what will be done, and asks.
fn confirm(planned: &KeyReport, wired: &Wired, hands: &Hands<'_>) -> Outcome<()> {
    wired.progress.clear();
    if !(std::io::stdin().is_terminal() && std::io::stderr().is_terminal()) {
        return Err(Fault::refused("replacing the vault key wants a confirmation")
            .hint("in a script: --yes; `--dry-run` shows what would be done"));
    }
    log_line(&render::key(planned, hands.screen));
    ask(match planned.successor {
        None => "Replace the vault key? The old one will open nothing any more.",
        Some(_) => "Make the new vault, and put the old ones on hold?",
    })
}
