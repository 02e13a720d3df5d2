//! Login: trust, clear text, MD5 and SCRAM-SHA-256.

use std::time::Duration;

use bytes::{Buf, Bytes};
use postgres_protocol::authentication::md5_hash;
use postgres_protocol::authentication::sasl::{ChannelBinding, SCRAM_SHA_256, ScramSha256};
use postgres_protocol::message::frontend;

use super::dsn::{Address, Dsn};
use super::error::{PgError, Result};
use super::secret::Secret;
use super::wire::{Connection, Frame, Purpose, server_error, text, unexpected};

/// Answers the server's questions until it is ready for the first statement.
pub(crate) fn log_in(
    connection: &mut Connection,
    user: &str,
    password: Option<&Secret>,
    timeout: Duration,
) -> Result<()> {
    loop {
        let mut frame = next(connection, timeout)?;
        match frame.tag {
            b'R' => match number(&mut frame.body)? {
                0 => {}
                3 => send(connection, needed(password)?.reveal().as_bytes())?,
                5 if frame.body.len() == 4 => {
                    let salt = [frame.body[0], frame.body[1], frame.body[2], frame.body[3]];
                    let secret = needed(password)?.reveal().as_bytes();
                    send(connection, md5_hash(user.as_bytes(), secret, salt).as_bytes())?;
                }
                10 => scram(connection, frame.body, needed(password)?, timeout)?,
                _ => {
                    let what = "the server asks for a kind of login that Lifeboat does not know";
                    let hint = "let it use scram-sha-256 for this role in pg_hba.conf";
                    return Err(PgError::unfit(what, hint));
                }
            },
            b'K' => {
                let pid = number(&mut frame.body)?;
                connection.set_pid(pid);
            }
            b'v' => {}
            b'Z' => return Ok(()),
            b'E' => {
                let said = server_error(frame.body)?;
                return Err(PgError::Refused { what: "the login".to_owned(), said });
            }
            other => return Err(unexpected(other, "the login")),
        }
    }
}

fn scram(
    connection: &mut Connection,
    mut offered: Bytes,
    password: &Secret,
    timeout: Duration,
) -> Result<()> {
    let mut known = false;
    while offered.first().is_some_and(|byte| *byte != 0) {
        known |= text(&mut offered)? == SCRAM_SHA_256;
    }
    if !known {
        let what = "the server offers no SCRAM-SHA-256 login";
        return Err(PgError::unfit(what, "let it use scram-sha-256 for this role in pg_hba.conf"));
    }
    let secret = password.reveal().as_bytes();
    let mut scram = ScramSha256::new(secret, ChannelBinding::unsupported());
    connection
        .send_with(|to| frontend::sasl_initial_response(SCRAM_SHA_256, scram.message(), to))?;
    let bad = |_| {
        PgError::unfit(
            "the server does not know the password itself",
            "somebody may stand between: use sslmode=verify-full",
        )
    };
    let first = sasl(connection, 11, timeout)?;
    scram.update(&first).map_err(|error| PgError::io("the login failed", error))?;
    connection.send_with(|to| frontend::sasl_response(scram.message(), to))?;
    let last = sasl(connection, 12, timeout)?;
    scram.finish(&last).map_err(bad)
}

fn sasl(connection: &mut Connection, kind: u32, timeout: Duration) -> Result<Bytes> {
    let mut frame = next(connection, timeout)?;
    match frame.tag {
        b'R' if number(&mut frame.body)? == kind => Ok(frame.body),
        b'E' => {
            let said = server_error(frame.body)?;
            Err(PgError::Refused { what: "the login".to_owned(), said })
        }
        other => Err(unexpected(other, "the login")),
    }
}

fn next(connection: &mut Connection, timeout: Duration) -> Result<Frame> {
    let late = || PgError::lost("the server did not answer the login in time");
    connection.frame_within(timeout)?.ok_or_else(late)
}

fn number(body: &mut Bytes) -> Result<u32> {
    body.try_get_u32().map_err(|_| PgError::protocol("a message is cut off"))
}

fn needed(password: Option<&Secret>) -> Result<&Secret> {
    password.ok_or_else(|| {
        let hint = "add it to the connection string, or to ~/.pgpass (mode 0600)";
        PgError::unfit("the server wants a password and none is given", hint)
    })
}

fn send(connection: &mut Connection, password: &[u8]) -> Result<()> {
    connection.send_with(|to| frontend::password_message(password, to))
}

/// A refused login as a sentence that says what to do.
pub(crate) fn explain(error: PgError, dsn: &Dsn, address: &Address, purpose: Purpose) -> PgError {
    let PgError::Refused { said, .. } = error else { return error };
    let (user, database) = (&dsn.user, &dsn.database);
    let (what, hint) = match &said.code[..] {
        "28P01" => (
            format!("{address} refuses user `{user}`: wrong password"),
            "check the password in the connection string or in ~/.pgpass".to_owned(),
        ),
        "28000" if purpose == Purpose::Replication => (
            format!("{address} lets user `{user}` not replicate"),
            format!(
                "`alter role {user} replication`, and a line `host replication {user} … \
                scram-sha-256` in pg_hba.conf"
            ),
        ),
        "28000" => (
            format!("{address} refuses user `{user}`"),
            format!("create the role, and a line for it in pg_hba.conf (database `{database}`)"),
        ),
        "3D000" => (
            format!("{address} has no database `{database}`"),
            "name one that is there with `dbname=`; `postgres` usually is".to_owned(),
        ),
        "42501" if purpose == Purpose::Replication => (
            format!("user `{user}` of {address} has not the right to replicate"),
            format!("`alter role {user} replication`"),
        ),
        _ => return PgError::Refused { what: "the login".to_owned(), said }.explained(),
    };
    PgError::Unfit { what, hint, said: Some(said) }
}
