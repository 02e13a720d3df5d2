//! `bootstrap`: a folder with plan, ledgers and evidence, from one tier and the recovery kit.
//!
//! It is made beside its place and renamed at the end: what was broken off leaves the target as it
//! was.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lifeboat_model::exit::Exit;
use lifeboat_recovery::flows::{self, BootstrapRequest};
use lifeboat_recovery::kit::{Kit, KitTier, Rescue};

use super::kit::{absolute, open};
use crate::args;
use crate::fault::{Fault, Outcome};
use crate::hands::{Hands, Wired};
use crate::plan_file::PlanFile;
use crate::render;
use crate::screen::Reply;
use crate::wire;

/// `lifeboat bootstrap URL --kit FILE`
pub fn bootstrap(args: &args::Bootstrap, hands: &Hands<'_>) -> Outcome<Reply> {
    let folder = absolute(&args.to)?;
    empty(&folder)?;
    let kit = open(&args.kit, &args.passphrase, hands)?;
    let parent = folder.parent().unwrap_or(Path::new("/")).to_path_buf();
    let made = |error: &std::io::Error| {
        Fault::caused(Exit::Failed, format!("cannot make a folder in {}", parent.display()), error)
            .hint("name a place that can be written: `--to DIR`")
    };
    let above = match args.dry_run {
        true => std::env::temp_dir(),
        false => {
            std::fs::create_dir_all(&parent).map_err(|error| made(&error))?;
            parent.clone()
        }
    };
    let staging = tempfile::Builder::new().prefix(".lifeboat-bootstrap-").tempdir_in(above);
    let staging = staging.map_err(|error| made(&error))?;
    let wired = wired(args, &kit, staging.path(), hands)?;
    let request = BootstrapRequest {
        kit: &kit,
        folder: folder.clone(),
        kit_plan: args.kit_plan,
        anyway: args.anyway,
        rehearsal: args.rehearsal,
        dry_run: args.dry_run,
    };
    let report = flows::bootstrap(&wired.world, &request);
    wired.progress.clear();
    let report = report.map_err(|error| in_words(error.into(), &kit))?;
    if !args.dry_run {
        let staged = staging.keep();
        std::fs::rename(&staged, &folder).map_err(|error| {
            let shown = staged.display();
            Fault::caused(Exit::Failed, format!("cannot rename {shown}"), &error)
                .hint(format!("all of it is there: mv {shown} {}", folder.display()))
        })?;
    }
    let words = render::bootstrap(&report, hands.screen);
    let name = if args.dry_run { "bootstrap-recipe" } else { "bootstrap" };
    Reply::new(report.exit(), name, &report, words)
}

/// The hints of other commands speak of a plan that is there.
fn in_words(fault: Fault, kit: &Kit) -> Fault {
    let places: Vec<&str> = kit.tiers.iter().map(|tier| tier.place.as_str()).collect();
    let places = places.join(", ");
    match fault.exit {
        Exit::NotFound => fault.hint(format!("the tiers that the kit knows: {places}")),
        Exit::Refused => fault.hint(format!("take the kit of that plan, or one of {places}")),
        Exit::Unreachable => fault.hint_if(
            Some(format!("try another tier that the kit knows: {places}"))
                .filter(|_| kit.tiers.len() > 1),
        ),
        _ => fault,
    }
}

/// Nothing that stands somewhere is written over.
fn empty(folder: &Path) -> Outcome<()> {
    let shown = folder.display();
    let refused =
        |what: String| Err(Fault::refused(what).hint("name an empty or absent folder: `--to DIR`"));
    match std::fs::read_dir(folder) {
        Ok(mut entries) => match entries.next() {
            None => Ok(()),
            Some(_) => refused(format!("{shown} is not empty")),
        },
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(_) => refused(format!("{shown} is not an empty folder")),
    }
}

/// The world of the kit's plan, its state in the folder that is being made.
fn wired(args: &args::Bootstrap, kit: &Kit, folder: &Path, hands: &Hands<'_>) -> Outcome<Wired> {
    let (guess, place) = tier_of(kit, &args.url)?;
    let wired = in_tier(kit, &guess.name, &place, folder, args.rehearsal, hands)?;
    if kit.tier_at(&place).is_some() {
        return Ok(wired);
    }
    // Not where it was: its vault tells which tier it is.
    let id = wired.world.read_tier().ok().map(|tier| tier.vault.repository_id().to_owned());
    let known = kit.tiers.iter().find(|tier| id.is_some() && tier.vault == id);
    match known.filter(|tier| tier.name != guess.name) {
        Some(tier) => in_tier(kit, &tier.name, &place, folder, args.rehearsal, hands),
        None => Ok(wired),
    }
}

fn in_tier(
    kit: &Kit,
    tier: &str,
    place: &str,
    folder: &Path,
    rehearsal: bool,
    hands: &Hands<'_>,
) -> Outcome<Wired> {
    let known = kit.tiers.iter().map(|tier| (tier.name.clone(), tier.place.clone()));
    let mut places: BTreeMap<String, String> = known.collect();
    places.insert(tier.to_owned(), place.to_owned());
    let rescue = Rescue {
        format: Rescue::FORMAT,
        tier: tier.to_owned(),
        places,
        secrets: kit.secrets.clone(),
        rehearsal,
    };
    let file = PlanFile::of_kit(folder, &kit.plan, Arc::new(rescue))?;
    let mut wired = wire::build(hands, file)?;
    match wired.no_key.take() {
        Some(fault) => Err(fault),
        None => Ok(wired),
    }
}

/// The tier that an address means, as far as that can be told before it is looked at, and the place.
fn tier_of<'k>(kit: &'k Kit, url: &str) -> Outcome<(&'k KitTier, String)> {
    let scheme = |url: &str| match url.split_once("://") {
        Some(("file", _)) | None => None,
        Some((scheme, _)) => Some(scheme.to_owned()),
    };
    let wanted = scheme(url);
    let place = match wanted {
        Some(_) => url.trim_end_matches('/').to_owned(),
        None => folder_of(url)?.display().to_string(),
    };
    let known = kit.tier_at(url).or_else(|| kit.tier_at(&place));
    let like = || kit.tiers.iter().find(|tier| scheme(&tier.place) == wanted);
    // A folder may be the copy of any tier: its vault tells which.
    let any = || kit.tiers.first().filter(|_| wanted.is_none());
    let found = known.or_else(like).or_else(any);
    let found = found.ok_or_else(|| {
        let places: Vec<&str> = kit.tiers.iter().map(|tier| tier.place.as_str()).collect();
        Fault::usage(format!("the recovery kit has no credential for {url}"))
            .hint(format!("its tiers are {}", places.join(", ")))
    })?;
    Ok((found, place))
}

fn folder_of(url: &str) -> Outcome<PathBuf> {
    let path = url.strip_prefix("file://").unwrap_or(url);
    if path.is_empty() {
        return Err(Fault::usage("the address of the tier is empty")
            .hint("a folder, or s3://, gs:// or az:// with bucket and prefix"));
    }
    absolute(Path::new(path))
}
