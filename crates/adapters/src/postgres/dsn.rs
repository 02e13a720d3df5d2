//! Connection strings, as libpq reads them: `postgresql://user:password@host/database?…` or
//! `host=… user=…`. Errors never repeat what may be a password.

use std::path::PathBuf;
use std::time::Duration;

use super::error::{PgError, Result};
use super::secret::Secret;

/// Where one server may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// Folder of its socket, and port.
    Socket(PathBuf, u16),
    /// Name or number of a host, and port.
    Tcp(String, u16),
}

impl std::fmt::Display for Address {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Address::Socket(folder, port) => write!(formatter, "{}:{port}", folder.display()),
            Address::Tcp(host, port) if host.contains(':') => write!(formatter, "[{host}]:{port}"),
            Address::Tcp(host, port) => write!(formatter, "{host}:{port}"),
        }
    }
}

/// How much of TLS is asked for; each as libpq's `sslmode` of that name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsMode {
    /// None.
    Disable,
    /// If the server has it.
    Prefer,
    /// No connection without.
    Require,
    /// And a certificate of a known authority.
    VerifyCa,
    /// And for this very host.
    VerifyFull,
}

/// A connection string, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dsn {
    /// Tried in order.
    pub addresses: Vec<Address>,
    /// Role.
    pub user: String,
    /// Its password, if the string has one.
    pub password: Option<Secret>,
    /// Database for questions.
    pub database: String,
    /// Encryption.
    pub tls: TlsMode,
    /// File with the certificates of authorities, instead of the system's.
    pub root: Option<PathBuf>,
    /// Longest wait for one address.
    pub connect_timeout: Duration,
    /// A file of passwords as `~/.pgpass`.
    pub passfile: Option<PathBuf>,
    /// Only a server that is no standby will do (`target_session_attrs`).
    pub primary: bool,
    /// Settings of the session (`-c name=value`).
    pub options: Option<String>,
}

/// Known to libpq, without meaning here.
const WITHOUT_MEANING: [&str; 12] = [
    "application_name",
    "fallback_application_name",
    "client_encoding",
    "keepalives",
    "keepalives_idle",
    "keepalives_interval",
    "keepalives_count",
    "tcp_user_timeout",
    "gssencmode",
    "channel_binding",
    "sslcompression",
    "sslsni",
];

const SHAPE: &str = "write it as `postgresql://user@host:5432/database` or \
    `host=/var/run/postgresql user=backup dbname=postgres`";

fn wrong(what: impl Into<String>) -> PgError {
    PgError::unfit(format!("the connection string is wrong: {}", what.into()), SHAPE)
}

/// What has been read so far, as libpq names it.
#[derive(Default)]
struct Words(Vec<(String, String)>);

impl Words {
    fn get(&self, name: &str) -> Option<&str> {
        let last = self.0.iter().rev().find(|(known, _)| known == name);
        last.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }
}

impl Dsn {
    /// Reads a connection string.
    pub fn parse(text: &str) -> Result<Dsn> {
        let text = text.trim();
        let uri = ["postgresql://", "postgres://"].iter().find_map(|lead| text.strip_prefix(lead));
        let words = match uri {
            Some(rest) => read_uri(rest)?,
            None if text.contains("://") => return Err(wrong("it is of another kind of server")),
            None => read_pairs(text)?,
        };
        build(&words)
    }
}

fn build(words: &Words) -> Result<Dsn> {
    for (name, _) in &words.0 {
        let known = [
            "host",
            "hostaddr",
            "port",
            "user",
            "password",
            "dbname",
            "sslmode",
            "sslrootcert",
            "connect_timeout",
            "passfile",
            "options",
            "target_session_attrs",
        ];
        if !known.contains(&&name[..]) && !WITHOUT_MEANING.contains(&&name[..]) {
            let hint = "leave it out; client certificates and service files are not supported";
            let name: String = name.chars().filter(char::is_ascii_graphic).take(30).collect();
            let what = format!("the connection string has the unknown parameter `{name}`");
            return Err(PgError::unfit(what, hint));
        }
    }
    let user = words.get("user").ok_or_else(|| wrong("it names no user"))?.to_owned();
    let tls = match words.get("sslmode").unwrap_or("prefer") {
        "disable" => TlsMode::Disable,
        "allow" | "prefer" => TlsMode::Prefer,
        "require" => TlsMode::Require,
        "verify-ca" => TlsMode::VerifyCa,
        "verify-full" => TlsMode::VerifyFull,
        _ => {
            return Err(wrong(
                "`sslmode` is one of disable, prefer, require, verify-ca, verify-full",
            ));
        }
    };
    let seconds = match words.get("connect_timeout") {
        None => 10,
        Some(text) => {
            text.parse().map_err(|_| wrong("`connect_timeout` is a number of seconds"))?
        }
    };
    let root = words.get("sslrootcert").filter(|root| *root != "system").map(PathBuf::from);
    Ok(Dsn {
        addresses: addresses(words)?,
        database: words.get("dbname").unwrap_or(&user).to_owned(),
        user,
        password: words.get("password").map(Secret::new),
        // As libpq: with a file of authorities, `require` means that they are asked.
        tls: if tls == TlsMode::Require && root.is_some() { TlsMode::VerifyCa } else { tls },
        root,
        connect_timeout: Duration::from_secs(if seconds == 0 { 3600 } else { seconds }),
        passfile: words.get("passfile").map(PathBuf::from),
        primary: matches!(words.get("target_session_attrs"), Some("read-write" | "primary")),
        options: words.get("options").map(str::to_owned),
    })
}

fn addresses(words: &Words) -> Result<Vec<Address>> {
    let hosts: Vec<&str> = match words.get("host").or(words.get("hostaddr")) {
        Some(hosts) => hosts.split(',').collect(),
        None => vec!["/var/run/postgresql"],
    };
    let ports: Vec<&str> = words.get("port").unwrap_or("5432").split(',').collect();
    if ports.len() != 1 && ports.len() != hosts.len() {
        return Err(wrong("it has not one port for each host"));
    }
    let mut all = Vec::new();
    for (at, host) in hosts.iter().enumerate() {
        let port = match ports[if ports.len() == 1 { 0 } else { at }] {
            "" => 5432,
            text => text
                .parse()
                .ok()
                .filter(|port| *port != 0)
                .ok_or_else(|| wrong("a port is a number up to 65535"))?,
        };
        all.push(match host.starts_with('/') {
            true => Address::Socket(PathBuf::from(host), port),
            false if host.is_empty() => return Err(wrong("a host is empty")),
            false => Address::Tcp((*host).to_owned(), port),
        });
    }
    Ok(all)
}

fn read_uri(rest: &str) -> Result<Words> {
    let mut words = Words::default();
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, database) = rest.split_once('/').unwrap_or((rest, ""));
    let (login, hosts) = authority.rsplit_once('@').unwrap_or(("", authority));
    let (user, password) = login.split_once(':').unwrap_or((login, ""));
    let (mut names, mut ports) = (Vec::new(), Vec::new());
    for host in hosts.split(',') {
        let (name, port) = split_port(host)?;
        names.push(decode(name)?);
        ports.push(port.to_owned());
    }
    let mut put = |name: &str, value: String| words.0.push((name.to_owned(), value));
    put("user", decode(user)?);
    put("password", decode(password)?);
    put("dbname", decode(database)?);
    put("host", names.join(","));
    if ports.iter().any(|port| !port.is_empty()) {
        put("port", ports.join(","));
    }
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) =
            pair.split_once('=').ok_or_else(|| wrong("a parameter has no value"))?;
        put(&decode(name)?, decode(value)?);
    }
    Ok(words)
}

fn split_port(host: &str) -> Result<(&str, &str)> {
    if let Some(rest) = host.strip_prefix('[') {
        let (name, after) = rest.split_once(']').ok_or_else(|| wrong("`[` without `]`"))?;
        return match after.strip_prefix(':') {
            Some(port) => Ok((name, port)),
            None if after.is_empty() => Ok((name, "")),
            None => Err(wrong("after `]` comes the port")),
        };
    }
    Ok(host.split_once(':').unwrap_or((host, "")))
}

fn decode(text: &str) -> Result<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || char::from(rest.next()?).to_digit(16);
        let value = digit().zip(digit()).map(|(high, low)| (high * 16 + low) as u8);
        bytes.push(value.filter(|byte| *byte != 0).ok_or_else(|| {
            wrong("`%` begins no two hexadecimal digits; a `%` in a password is written `%25`")
        })?);
    }
    String::from_utf8(bytes).map_err(|_| wrong("it is not UTF-8"))
}

/// `name = value`, values in single quotes where they have blanks, `\` before a quote.
fn read_pairs(text: &str) -> Result<Words> {
    let mut words = Words::default();
    let mut rest = text.chars().peekable();
    loop {
        while rest.next_if(|char| char.is_whitespace()).is_some() {}
        if rest.peek().is_none() {
            return Ok(words);
        }
        let mut name = String::new();
        while let Some(char) = rest.next_if(|char| *char != '=' && !char.is_whitespace()) {
            name.push(char);
        }
        while rest.next_if(|char| char.is_whitespace()).is_some() {}
        if rest.next() != Some('=') {
            return Err(wrong("a word is not followed by `=`"));
        }
        while rest.next_if(|char| char.is_whitespace()).is_some() {}
        let quoted = rest.next_if_eq(&'\'').is_some();
        let mut value = String::new();
        loop {
            match rest.next() {
                None if quoted => return Err(wrong("a quote is not closed")),
                None => break,
                Some('\'') if quoted => break,
                Some(char) if !quoted && char.is_whitespace() => break,
                Some('\\') => value.extend(rest.next()),
                Some(char) => value.push(char),
            }
        }
        words.0.push((name, value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_shapes_say_the_same() {
        let uri = Dsn::parse("postgresql://me:p%40ss@db:6432/app?sslmode=require").unwrap();
        let pairs =
            Dsn::parse(r"host=db port=6432 user=me password='p@ss' dbname = app sslmode=require");
        assert_eq!(uri, pairs.unwrap());
        assert_eq!(uri.password.as_ref().unwrap().reveal(), "p@ss");
        assert!(!format!("{uri:?}").contains("p@ss"));
        let many = Dsn::parse("postgres://me@a,[::1]:7000/").unwrap();
        assert_eq!(many.database, "me");
        assert_eq!(many.addresses[0], Address::Tcp("a".into(), 5432));
        assert_eq!(many.addresses[1], Address::Tcp("::1".into(), 7000));
        let socket = Dsn::parse("postgresql://me@%2Frun%2Fpg/x").unwrap();
        assert_eq!(socket.addresses, [Address::Socket("/run/pg".into(), 5432)]);
    }

    #[test]
    fn a_wrong_string_is_one_sentence_without_its_secrets() {
        for text in [
            "",
            "secret",
            "user=a password='secret",
            "user=a secret",
            "mysql://a:secret@b/c",
            "postgresql://a:secret%zz@b/c",
            "postgresql://b/c",
            "user=a port=secret",
            "user=a password=secret sslmode=maybe",
            "user=a password=secret sslcert=x",
            "host=a,b port=1,2,3 user=secret",
            "postgresql://a:secret@[::1/x",
        ] {
            let error = Dsn::parse(text).unwrap_err();
            let PgError::Unfit { what, hint, .. } = &error else { panic!("{error:?}") };
            assert!(!what.contains("secret") && !hint.is_empty(), "{text}: {what}");
        }
    }
}
