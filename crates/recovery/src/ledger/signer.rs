//! What signs for this host: `.lifeboat/sign.key` (mode 0600, 32 secret bytes in hexadecimal), or the
//! plan's `[key] sign_command`, whose key this host need not hold.
//!
//! The command runs as `/bin/sh -c` in the plan's folder, for a minute at most, and says one line:
//!
//! | `LIFEBOAT_SIGN` | further variables | the line |
//! |---|---|---|
//! | `public-key` | | the public half of its Ed25519 key, 32 bytes |
//! | `message` | `LIFEBOAT_MESSAGE`, a file that holds the message | the Ed25519 signature of that file's bytes (RFC 8032, not prehashed), 64 bytes |
//!
//! Both as hexadecimal digits. The public half is asked once and kept in `.lifeboat/sign.pub`; a
//! signature that is not of that key is refused, so that nothing unsigned reaches the ledger.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use lifeboat_model::chain::{ChainError, MemorySigner, PublicKey, SignError, Signature, Signer};
use zeroize::Zeroizing;

use crate::env::World;
use crate::error::{Error, Result};
use crate::ports::{Request, Runner};
use crate::random::random;
use crate::state::{FileLock, State, create_new, read_optional, replace};

/// The key's file in the state folder.
pub const NAME: &str = "sign.key";
/// The file of the public half of the command's key.
pub const PUBLIC: &str = "sign.pub";
/// What the command is to sign; one at a time, under a lock.
const MESSAGE: &str = "sign.message";
const LOCK: &str = "sign.lock";
/// For a person to touch a device.
const TIMEOUT: Duration = Duration::from_secs(60);

impl Error {
    /// True where the ledger's key is not at hand: a device that lies elsewhere, say.
    pub(crate) fn lacks_a_signature(&self) -> bool {
        matches!(self, Error::Sign { .. } | Error::Chain(ChainError::Sign(_)))
    }
}

/// The public halves that this host signs with, as far as its state knows them. Nothing is run.
pub fn public_keys(world: &World) -> Result<Vec<PublicKey>> {
    let held = existing(&world.state)?.map(|signer| signer.public_key());
    let asked = match world.plan.key.sign_command {
        Some(_) => kept_public(&world.state)?,
        None => None,
    };
    Ok(held.into_iter().chain(asked).collect())
}

/// What signs for this host; first use makes a key, or asks the command for its public half.
pub fn of_host(world: &World) -> Result<Box<dyn Signer + Send>> {
    let Some(command) = &world.plan.key.sign_command else {
        return Ok(Box::new(existing_or_new(&world.state)?));
    };
    let asked = Command {
        command: command.as_str().to_owned(),
        folder: world.plan_folder.clone(),
        state: world.state.clone(),
        runner: world.runner.clone(),
    };
    let failed = |source| Error::Sign { what: "the ledger", source };
    let key = match kept_public(&world.state)? {
        Some(key) => key,
        None => {
            let key = asked.public_key().map_err(failed)?;
            world.state.make("")?;
            replace(&world.state.path(PUBLIC), format!("{key}\n").as_bytes())?;
            key
        }
    };
    Ok(Box::new(CommandSigner { asked, key }))
}

/// True if the body of [`NAME`] or [`PUBLIC`] can be understood.
pub fn is_readable(body: &[u8]) -> bool {
    hex::decode_to_slice(body.trim_ascii(), &mut *Zeroizing::new([0u8; 32])).is_ok()
}

/// The key in the state folder. One that cannot be understood is as good as lost: it must stop
/// neither a look nor a restore. The session that writes next sets it aside and says so.
fn existing(state: &State) -> Result<Option<MemorySigner>> {
    let Some(text) = read_optional(&state.path(NAME))?.map(Zeroizing::new) else { return Ok(None) };
    let mut seed = Zeroizing::new([0u8; 32]);
    let understood = hex::decode_to_slice(text.trim_ascii(), &mut *seed).is_ok();
    Ok(understood.then(|| MemorySigner::from_seed(&seed)))
}

fn existing_or_new(state: &State) -> Result<MemorySigner> {
    if let Some(signer) = existing(state)? {
        return Ok(signer);
    }
    let seed = Zeroizing::new(random::<32>()?);
    state.make("")?;
    let text = Zeroizing::new(format!("{}\n", hex::encode(*seed)));
    if create_new(&state.path(NAME), text.as_bytes())? {
        return Ok(MemorySigner::from_seed(&seed));
    }
    // Another process was first.
    let why = "it is not 64 hexadecimal digits";
    existing(state)?.ok_or_else(|| Error::SignKey { path: state.path(NAME), why })
}

fn kept_public(state: &State) -> Result<Option<PublicKey>> {
    let Some(text) = read_optional(&state.path(PUBLIC))? else { return Ok(None) };
    Ok(std::str::from_utf8(&text).ok().and_then(|text| text.trim().parse().ok()))
}

/// The plan's command.
struct Command {
    command: String,
    folder: PathBuf,
    state: State,
    runner: Arc<dyn Runner>,
}

/// Signs by the plan's command with the key that is known.
struct CommandSigner {
    asked: Command,
    key: PublicKey,
}

impl Signer for CommandSigner {
    fn public_key(&self) -> PublicKey {
        self.key
    }

    fn sign(&self, message: &[u8]) -> Result<Signature, SignError> {
        let signature = self.asked.sign(message)?;
        if self.key.verifies(message, &signature) {
            return Ok(signature);
        }
        let kept = self.asked.state.path(PUBLIC);
        Err(failed(format!(
            "`sign_command` gave a signature that is not of key {}; if it signs with a new one on \
             purpose, remove {}",
            &self.key.fingerprint()[..16],
            kept.display()
        )))
    }
}

impl Command {
    fn public_key(&self) -> Result<PublicKey, SignError> {
        self.ask("public-key", None)
    }

    fn sign(&self, message: &[u8]) -> Result<Signature, SignError> {
        let because = |what: &str, error: crate::state::StateError| SignError {
            what: what.to_owned(),
            source: Some(Box::new(error)),
        };
        let not_kept = |error| because("the message to be signed cannot be kept", error);
        let _lock = FileLock::exclusive(&self.state.path(LOCK)).map_err(not_kept)?;
        let file = self.state.path(MESSAGE);
        replace(&file, message).map_err(not_kept)?;
        let signature = self.ask("message", Some(&file));
        // What a kill leaves here the next message replaces.
        let _ = std::fs::remove_file(&file);
        signature
    }

    /// What the command says is never repeated: it handles a secret.
    fn ask<T: FromStr>(&self, what: &str, message: Option<&Path>) -> Result<T, SignError> {
        let mut environment = BTreeMap::from([("LIFEBOAT_SIGN".to_owned(), what.to_owned())]);
        let message = message.map(|file| ("LIFEBOAT_MESSAGE".to_owned(), text(file)));
        environment.extend(message);
        let request = Request {
            command: self.command.clone(),
            environment,
            folder: self.folder.clone(),
            timeout: TIMEOUT,
        };
        let outcome = self.runner.run(&request).map_err(|source| SignError {
            what: "`sign_command` cannot be started".to_owned(),
            source: Some(Box::new(source)),
        })?;
        match outcome.status {
            _ if outcome.timed_out => {
                Err(failed(format!("`sign_command` did not end in {} s", TIMEOUT.as_secs())))
            }
            Some(0) => outcome.output.trim().parse().map_err(|_| {
                failed(format!("`sign_command` said something else than its {what} in hexadecimal"))
            }),
            Some(status) => Err(failed(format!("`sign_command` ended with status {status}"))),
            None => Err(failed("`sign_command` was killed".to_owned())),
        }
    }
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

fn failed(what: String) -> SignError {
    SignError { what, source: None }
}
