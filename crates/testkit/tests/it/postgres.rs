//! The servers of the tests do what their names say.

use lifeboat_testkit::postgres::{Server, Version};

#[test]
fn every_version_starts_loads_dies_and_comes_back() {
    for version in Version::ALL {
        let mut server = Server::start(version, &[("max_wal_senders", "4")]);
        assert_eq!(server.psql("show max_wal_senders"), "4", "{version:?}");
        server.pgbench_init(1);
        let load = server.pgbench(&["-T", "60", "-c", "2"]);
        while server.psql("select count(*) > 20 from pgbench_history") != "t" {}
        server.kill();
        assert!(!server.runs() && server.try_psql("postgres", "select 1").is_err());
        assert!(!load.wait(), "pgbench noticed");
        server.start_again();
        assert!(server.log().contains("not properly shut down"), "{}", server.log());
        server.restart();
        assert_eq!(server.psql("select count(*) > 20 from pgbench_history"), "t");
    }
}

#[test]
fn a_standby_follows_and_is_promoted() {
    let mut primary = Server::start(Version::V15, &[]);
    let standby = primary.standby(&[("max_standby_streaming_delay", "1s")]);
    primary.psql("create table t as select 1");
    let there = "select count(*) from pg_class where relname = 't'";
    while standby.psql(there) != "1" {}
    primary.kill();
    standby.promote();
    standby.psql("insert into t values (2)");
    assert_eq!(standby.psql("select timeline_id from pg_control_checkpoint()"), "1");
    assert_eq!(standby.psql("checkpoint; select timeline_id from pg_control_checkpoint()"), "2");
}

#[test]
fn a_server_listens_where_it_is_told_to() {
    let server = Server::build(Version::V15).initdb("--wal-segsize=1").tcp().start();
    assert_eq!(server.psql("show wal_segment_size"), "1MB");
    assert!(std::net::TcpStream::connect(("127.0.0.1", server.port())).is_ok());
}
