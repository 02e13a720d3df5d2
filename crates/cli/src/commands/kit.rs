//! `kit`: the recovery kit is made; and how its passphrase is asked for.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use lifeboat_model::exit::Exit;
use lifeboat_model::plan::SecretSource;
use lifeboat_recovery::env::Secret;
use lifeboat_recovery::flows::{self, KitRequest};
use lifeboat_recovery::kit::Kit;

use crate::args;
use crate::fault::{Fault, Outcome};
use crate::hands::Hands;
use crate::key;
use crate::render;
use crate::screen::Reply;
use crate::wire;

/// The variable of a passphrase where nothing else is named.
pub const PASSPHRASE: &str = "LIFEBOAT_KIT_PASSPHRASE";
/// A shorter passphrase is guessed.
const SHORT: usize = 16;
/// A sealed file longer than this is something else, bytes.
const LONGEST: u64 = 64 << 20;

/// `lifeboat kit`
pub fn kit(args: &args::Kit, hands: &Hands<'_>) -> Outcome<Reply> {
    let wired = hands.open()?;
    let (secrets, tiers) = wire::kit_contents(hands, &wired.file)?;
    let folder = absolute(&args.to)?;
    let passphrase = match args.dry_run {
        true => Secret::new(String::new()),
        false => passphrase(&args.passphrase, hands, true)?,
    };
    let mut warnings = Vec::new();
    if !args.dry_run && passphrase.expose().chars().count() < SHORT {
        warnings.push(format!(
            "the passphrase has fewer than {SHORT} characters: whoever finds the file can try \
             many; take several random words"
        ));
    }
    let pages = |facts: &_| render::kit_pages(facts);
    let force = args.force;
    let request = KitRequest { folder, passphrase, force, secrets, tiers, pages: &pages };
    let report = match args.dry_run {
        true => flows::plan_kit(&wired.world, &request),
        false => flows::make_kit(&wired.world, &request),
    };
    wired.progress.clear();
    let mut report = report?;
    report.warnings.extend(warnings);
    let words = render::kit(&report, hands.screen);
    let name = if args.dry_run { "kit-recipe" } else { "kit" };
    Reply::new(report.exit(), name, &report, words)
}

/// An absolute path.
///
/// # Errors
/// Exit 2.
pub fn absolute(path: &Path) -> Outcome<PathBuf> {
    std::path::absolute(path)
        .map(|path| lifeboat_model::plan::paths::normal(&path))
        .map_err(|error| Fault::caused(Exit::Usage, "the folder's path is unusable", &error))
}

/// The passphrase of a kit: from where the arguments say, else the variable, else asked for; twice
/// where it seals.
///
/// # Errors
/// Exit 2: there is none.
pub fn passphrase(from: &args::Passphrase, hands: &Hands<'_>, seals: bool) -> Outcome<Secret> {
    let file = from.passphrase_file.as_ref().map(|path| path.display().to_string());
    let source = match (&from.passphrase_env, &file, &from.passphrase_command) {
        (Some(name), ..) => SecretSource::Env(name),
        (_, Some(file), _) => SecretSource::File(file),
        (.., Some(line)) => SecretSource::Command(line),
        _ if hands.environment.text(PASSPHRASE).is_some() => SecretSource::Env(PASSPHRASE),
        _ => return ask(seals),
    };
    let what = "the kit's passphrase";
    let read =
        key::read(what, &source, |path| path.into(), hands.environment, hands.clock.as_ref());
    let secret = read.map_err(|fault| match source {
        SecretSource::Env(name) => fault.hint(format!("export {name}")),
        SecretSource::Command(_) => fault.hint("run the command by hand to see why"),
        SecretSource::File(_) => fault,
    })?;
    Ok(Secret::new(secret.as_str()))
}

fn ask(seals: bool) -> Outcome<Secret> {
    let hint = "--passphrase-file FILE, --passphrase-command LINE or --passphrase-env NAME";
    if !(std::io::stdin().is_terminal() && std::io::stderr().is_terminal()) {
        return Err(Fault::usage("there is no passphrase for the recovery kit").hint(hint));
    }
    let question = inquire::Password::new("Passphrase of the recovery kit:")
        .with_display_mode(inquire::PasswordDisplayMode::Hidden);
    let asked = match seals {
        true => question.with_custom_confirmation_message("The same again:").prompt(),
        false => question.without_confirmation().prompt(),
    };
    match asked {
        Ok(text) if text.is_empty() => Err(Fault::usage("the kit's passphrase is empty")),
        Ok(text) => Ok(Secret::new(text)),
        Err(inquire::InquireError::OperationInterrupted) => {
            Err(Fault::new(Exit::Interrupted, "stopped on request"))
        }
        Err(error) => {
            Err(Fault::caused(Exit::Usage, "cannot ask for the passphrase", &error).hint(hint))
        }
    }
}

/// A kit's sealed bytes.
///
/// # Errors
/// Exit 6 where there is no such file, 2 for something else than a kit.
pub fn sealed(path: &Path) -> Outcome<Vec<u8>> {
    let shown = path.display();
    let meta = std::fs::metadata(path).map_err(|error| {
        let exit = match error.kind() {
            std::io::ErrorKind::NotFound => Exit::NotFound,
            _ => Exit::Usage,
        };
        Fault::caused(exit, format!("cannot read the recovery kit {shown}"), &error)
            .hint("name the sealed file that `lifeboat kit` wrote, `lifeboat-kit.age`")
    })?;
    if !meta.is_file() || meta.len() > LONGEST {
        return Err(Fault::usage(format!("{shown} is no recovery kit"))
            .hint("name the sealed file that `lifeboat kit` wrote, `lifeboat-kit.age`"));
    }
    std::fs::read(path).map_err(|error| {
        Fault::caused(Exit::Usage, format!("cannot read the recovery kit {shown}"), &error)
    })
}

/// Opens a kit.
///
/// # Errors
/// Exit 2 for a wrong passphrase, 9 for a kit that was changed.
pub fn open(path: &Path, from: &args::Passphrase, hands: &Hands<'_>) -> Outcome<Kit> {
    let sealed = sealed(path)?;
    let passphrase = passphrase(from, hands, false)?;
    Ok(Kit::open(&sealed, &passphrase)?)
}
