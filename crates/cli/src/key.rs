//! The vault key and other secrets, from where the plan says: an environment variable, a private
//! file, or a command whose output nobody else sees.

use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use lifeboat_model::exit::Exit;
use lifeboat_model::plan::SecretSource;
use lifeboat_vault::{Clock, KeyStrength};
use zeroize::Zeroizing;

use crate::environment::Environment;
use crate::fault::{Fault, Outcome};

/// How long a command may take to print a secret.
const TIMEOUT: Duration = Duration::from_secs(60);
/// Between two looks whether it has ended.
const POLL: Duration = Duration::from_millis(20);
/// A secret longer than this is some other file.
const LONGEST: usize = 64 << 10;

/// A secret text, wiped when dropped.
pub type Secret = Zeroizing<String>;

/// Reads a secret. `what` names it in messages: `the vault key`.
///
/// # Errors
/// Exit 2 if there is none; exit 4 if its file can be read by others.
pub fn read(
    what: &str,
    source: &SecretSource<'_>,
    resolve: impl Fn(&str) -> PathBuf,
    environment: Environment,
    clock: &dyn Clock,
) -> Outcome<Secret> {
    let secret = match source {
        SecretSource::Env(name) => from_variable(what, name, environment)?,
        SecretSource::File(path) => from_file(what, &resolve(path))?,
        SecretSource::Command(line) => from_command(what, line, &resolve("."), clock)?,
    };
    if secret.is_empty() {
        return Err(Fault::usage(format!("{what} is empty")).hint(match source {
            SecretSource::Env(name) => format!("set {name}"),
            SecretSource::File(path) => format!("put the key into {path}"),
            SecretSource::Command(_) => "look at the command of the plan's [key]".to_owned(),
        }));
    }
    Ok(secret)
}

/// A generated key has 256 random bits and needs no costly derivation; a typed one does.
pub fn strength(secret: &str) -> KeyStrength {
    let hexadecimal = secret.len() == 64 && secret.bytes().all(|b| b.is_ascii_hexdigit());
    let base64 = |b: u8| b.is_ascii_alphanumeric() || b"+/-_=".contains(&b);
    let encoded = matches!(secret.len(), 43 | 44) && secret.bytes().all(base64);
    if hexadecimal || encoded { KeyStrength::Generated } else { KeyStrength::Typed }
}

/// A new key: 256 random bits, hexadecimal.
///
/// # Errors
/// If the system gives no random bytes.
pub fn generate() -> Outcome<Secret> {
    let mut bytes = Zeroizing::new([0u8; 32]);
    getrandom::fill(bytes.as_mut_slice()).map_err(|error| {
        Fault::new(Exit::Failed, format!("the system gives no random bytes: {error}"))
    })?;
    Ok(Zeroizing::new(hex::encode(bytes.as_slice())))
}

fn from_variable(what: &str, name: &str, environment: Environment) -> Outcome<Secret> {
    environment.text(name).map(Zeroizing::new).ok_or_else(|| {
        Fault::usage(format!("there is no {}: {name} is not set", bare(what)))
            .hint(format!("export {name}, or name a `vault_file` or `vault_command` in [key]"))
    })
}

fn from_file(what: &str, path: &Path) -> Outcome<Secret> {
    let place = path.display();
    let cannot = |error: std::io::Error| {
        let fault = Fault::caused(Exit::Usage, format!("cannot read {what} from {place}"), &error);
        if error.kind() == std::io::ErrorKind::NotFound {
            return fault.hint("bring the file back from the copy that you keep elsewhere");
        }
        fault.hint("the file must be readable for the user that runs lifeboat")
    };
    let meta = fs::metadata(path).map_err(cannot)?;
    if !meta.is_file() {
        return Err(Fault::usage(format!("{place}, the file of {what}, is not a file")));
    }
    let mode = meta.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(Fault::refused(format!("others can read {what} in {place} (mode {mode:04o})"))
            .hint(format!("chmod 600 {place}")));
    }
    if meta.len() > LONGEST as u64 {
        return Err(Fault::usage(format!("{place} is too long to be {what}")));
    }
    let bytes = Zeroizing::new(fs::read(path).map_err(cannot)?);
    trimmed(&bytes).ok_or_else(|| Fault::usage(format!("{what} in {place} is not text")))
}

/// Runs a command and takes what it prints. Its messages are dropped: they may hold the secret.
fn from_command(what: &str, line: &str, folder: &Path, clock: &dyn Clock) -> Outcome<Secret> {
    let hint = "run the command of the plan's [key] by hand to see why";
    let mut child = Command::new("/bin/sh")
        .args(["-c", line])
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| {
            Fault::caused(Exit::Usage, format!("cannot run the command for {what}"), &error)
        })?;
    let stdout = child.stdout.take();
    let reader = std::thread::spawn(move || {
        let mut bytes = Zeroizing::new(Vec::with_capacity(LONGEST + 1));
        if let Some(stdout) = stdout {
            // A short read shows in the exit status or in the secret itself.
            let _ = stdout.take(LONGEST as u64 + 1).read_to_end(&mut bytes);
        }
        bytes
    });
    let began = clock.monotonic();
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if clock.monotonic() - began > TIMEOUT => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(Fault::usage(format!(
                    "the command for {what} did not end within {}",
                    crate::text::span(TIMEOUT)
                ))
                .hint(hint));
            }
            Ok(None) => clock.sleep(POLL),
            Err(error) => {
                return Err(Fault::caused(
                    Exit::Usage,
                    format!("cannot wait for the command for {what}"),
                    &error,
                ));
            }
        }
    };
    let bytes = reader.join().unwrap_or_default();
    if !status.success() {
        return Err(Fault::usage(format!("the command for {what} failed: {status}")).hint(hint));
    }
    if bytes.len() > LONGEST {
        return Err(Fault::usage(format!("the command for {what} prints too much")).hint(hint));
    }
    trimmed(&bytes).ok_or_else(|| {
        Fault::usage(format!("the command for {what} does not print text")).hint(hint)
    })
}

/// Without white space at both ends, as restic reads a password file.
fn trimmed(bytes: &[u8]) -> Option<Secret> {
    std::str::from_utf8(bytes).ok().map(|text| Zeroizing::new(text.trim().to_owned()))
}

/// `the vault key` → `vault key`.
fn bare(what: &str) -> &str {
    what.strip_prefix("the ").unwrap_or(what)
}

#[cfg(test)]
mod tests {
    use lifeboat_adapters::SystemClock;

    use super::*;

    fn read_from(source: &SecretSource<'_>) -> Outcome<Secret> {
        let clock = SystemClock::new();
        read("the vault key", source, |path| PathBuf::from(path), Environment, &clock)
    }

    #[test]
    fn generated_keys_are_told_from_typed_ones() {
        assert_eq!(strength(&generate().unwrap()), KeyStrength::Generated);
        assert_eq!(
            strength("K3Jq8n6t2xVdY0pZ5mWcR7sBuT1aLgHfEoXiNyQkMvA="),
            KeyStrength::Generated
        );
        assert_eq!(strength("correct horse battery staple"), KeyStrength::Typed);
        assert_ne!(*generate().unwrap(), *generate().unwrap());
    }

    #[test]
    fn a_key_file_that_others_can_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("vault.key");
        fs::write(&path, "secret\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let source = path.display().to_string();
        let fault = read_from(&SecretSource::File(&source)).unwrap_err();
        assert_eq!(fault.exit, Exit::Refused);
        assert_eq!(fault.hint.unwrap(), format!("chmod 600 {source}"));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(*read_from(&SecretSource::File(&source)).unwrap(), "secret");
    }

    #[test]
    fn a_command_prints_the_key_and_shows_nothing_else() {
        let secret = read_from(&SecretSource::Command("echo '  from a command '")).unwrap();
        assert_eq!(*secret, "from a command");
        let fault =
            read_from(&SecretSource::Command("echo hush; echo hush >&2; false")).unwrap_err();
        assert_eq!(fault.exit, Exit::Usage);
        assert!(!format!("{fault:?}").contains("hush"));
        assert_eq!(
            read_from(&SecretSource::Command("true")).unwrap_err().message,
            "the vault key is empty"
        );
    }

    #[test]
    fn a_missing_variable_is_named() {
        let fault = read_from(&SecretSource::Env("LIFEBOAT_TEST_NO_SUCH_VARIABLE")).unwrap_err();
        assert_eq!(fault.exit, Exit::Usage);
        assert!(fault.message.contains("LIFEBOAT_TEST_NO_SUCH_VARIABLE is not set"));
    }
}
