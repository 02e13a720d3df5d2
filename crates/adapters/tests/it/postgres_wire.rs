//! Connections to real servers: every kind of login, and every refusal as a sentence.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use lifeboat_adapters::postgres::{Connection, Dsn, Facts, Login, PgError, Purpose};
use lifeboat_testkit::postgres::{Server, Version};
use lifeboat_vault::Cancel;

fn open(dsn: &str, purpose: Purpose) -> Result<Connection, PgError> {
    let (dsn, cancel) = (Dsn::parse(dsn).unwrap(), Cancel::default());
    let name = "lifeboat/test";
    let login = Login { dsn: &dsn, name, purpose, database: None, passfile: None, cancel: &cancel };
    Connection::open(&login)
}

fn refused(dsn: &str, purpose: Purpose) -> (String, String) {
    match open(dsn, purpose).unwrap_err() {
        PgError::Unfit { what, hint, .. } => (what, hint),
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_version_tells_what_it_is() {
    for (version, number) in [(Version::V15, 15), (Version::V16, 16), (Version::V18, 18)] {
        let server = Server::build(version).initdb("--wal-segsize=2").start();
        let mut sql = open(&server.dsn(), Purpose::Sql).unwrap();
        let facts = Facts::read(&mut sql).unwrap();
        assert_eq!(facts.version / 10_000, number);
        assert_eq!(facts.segment_size, 2 << 20);
        assert_eq!(facts.setting("data_directory"), server.data().to_str());
        let system = open(&server.dsn(), Purpose::Replication).unwrap().identify_system().unwrap();
        assert_eq!((system.identifier, system.timeline), (facts.system_identifier, 1));
        let error = sql.query("select no_such_thing").unwrap_err();
        assert!(matches!(error, PgError::Refused { .. }), "{error:?}");
        let answers = sql.query_all("select 1, null; select 'ä'").unwrap();
        assert_eq!(answers[0], [[Some("1".to_owned()), None]]);
        assert_eq!(answers[1], [[Some("ä".to_owned())]]);
    }
}

#[test]
fn every_login_works_and_every_refusal_says_why() {
    let rules = "local all postgres trust\nhost all md5er 127.0.0.1/32 md5\n\
        host all plain 127.0.0.1/32 password\nhost all,replication all 127.0.0.1/32 scram-sha-256\n";
    let server = Server::build(Version::V15).tcp().hba(rules).start();
    server.psql(
        "set password_encryption = 'md5'; create role md5er login password 'pässword';
         set password_encryption = 'scram-sha-256';
         create role plain login password 'pässword'; create role scram login password 'pässword'",
    );
    let dsn = |user: &str, password: &str| {
        let port = server.port();
        format!("host=127.0.0.1 port={port} user={user} password={password} dbname=postgres")
    };
    for user in ["md5er", "plain", "scram"] {
        let mut sql = open(&dsn(user, "pässword"), Purpose::Sql).unwrap();
        assert_eq!(sql.value("select current_user").unwrap().as_deref(), Some(user));
        let (what, hint) = refused(&dsn(user, "hunter2"), Purpose::Sql);
        assert!(what.contains("wrong password") && !what.contains("hunter2"), "{what}");
        assert!(hint.contains("pgpass"));
    }
    let (what, hint) = refused(&dsn("scram", "''"), Purpose::Sql);
    assert!(what.contains("wants a password") && hint.contains("pgpass"), "{what}");
    let (what, hint) = refused(&dsn("scram", "pässword"), Purpose::Replication);
    assert!(what.contains("right to replicate") && hint.contains("alter role"), "{what} {hint}");
    let (what, _) =
        refused(&dsn("scram", "pässword").replace("dbname=postgres", "dbname=no"), Purpose::Sql);
    assert!(what.contains("no database `no`"), "{what}");
    let error = open(&dsn("scram", "x").replace("127.0.0.1", "127.0.0.1,127.0.0.1"), Purpose::Sql);
    assert!(matches!(error, Err(PgError::Unfit { .. })), "{error:?}");
    let error = open("host=127.0.0.1 port=1 user=a", Purpose::Sql).unwrap_err();
    assert!(matches!(error, PgError::Lost { .. }), "{error:?}");
}

#[test]
fn encryption_is_as_strict_as_asked_for() {
    let server = Server::build(Version::V15).tcp().start();
    let (key, certificate) = (server.data().join("server.key"), server.data().join("server.crt"));
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-days",
            "30",
            "-subj",
            "/CN=localhost",
        ])
        .args([
            "-addext",
            "subjectAltName=DNS:localhost",
            "-addext",
            "basicConstraints=critical,CA:TRUE",
        ])
        .arg("-keyout")
        .arg(&key)
        .arg("-out")
        .arg(&certificate)
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    // Given to the server's account.
    let text = fs::read_to_string(&key).unwrap();
    fs::remove_file(&key).unwrap();
    server.write("server.key", &text);
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    let (port, root) = (server.port(), certificate.display());
    let dsn = |host: &str, rest: &str| format!("host={host} port={port} user=postgres {rest}");
    let (what, hint) = refused(&dsn("127.0.0.1", "sslmode=require"), Purpose::Sql);
    assert!(what.contains("offers no TLS") && hint.contains("ssl = on"));
    server.configure(&[("ssl", "on")]);
    server.reload();
    let encrypted = "select ssl from pg_stat_ssl where pid = pg_backend_pid()";
    let ask = |dsn: &str| open(dsn, Purpose::Sql).unwrap().value(encrypted).unwrap();
    while ask(&dsn("127.0.0.1", "")).as_deref() != Some("t") {}
    assert_eq!(ask(&dsn("127.0.0.1", "sslmode=disable")).as_deref(), Some("f"));
    assert_eq!(ask(&dsn("127.0.0.1", "sslmode=require")).as_deref(), Some("t"));
    let ca = format!("sslmode=verify-ca sslrootcert={root}");
    assert_eq!(ask(&dsn("127.0.0.1", &ca)).as_deref(), Some("t"));
    let full = format!("sslmode=verify-full sslrootcert={root}");
    assert_eq!(ask(&dsn("localhost", &full)).as_deref(), Some("t"));
    for strict in [dsn("127.0.0.1", &full), dsn("localhost", "sslmode=verify-full")] {
        let (what, _) = refused(&strict, Purpose::Sql);
        assert!(what.contains("cannot be trusted"), "{what}");
    }
}
