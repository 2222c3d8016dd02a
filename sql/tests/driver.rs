//! A real driver, mysql_async, against the constant service.

mod runtime;
mod support;

use mysql_async::prelude::Queryable;
use mysql_async::{ChangeUserOpts, Compression, Conn, Error, OptsBuilder, Row, Value};
use resprout_sql::server::{Kill, Options};
use runtime::run;
use support::{Running, start};

fn opts(server: &Running, user: &str, password: &str) -> OptsBuilder {
    OptsBuilder::default()
        .ip_or_hostname("127.0.0.1")
        .tcp_port(server.address.port())
        .prefer_socket(false)
        .user(Some(user))
        .pass(Some(password))
}

async fn connect(server: &Running) -> Conn {
    Conn::new(opts(server, "root", "")).await.expect("a connection")
}

fn code(error: &Error) -> u16 {
    match error {
        Error::Server(error) => error.code,
        other => panic!("not from the server: {other}"),
    }
}

/// Promise (S01): by both plugins the right password lets in and a wrong one does not, also where
/// the account's way is not the one that is tried first.
#[test]
fn s01_both_plugins() {
    run(async {
        let server = start(Options::default()).await;
        for user in ["sha2", "native", "both"] {
            let mut conn = Conn::new(opts(&server, user, "secret")).await.unwrap();
            let name: Option<String> = conn.query_first("whoami").await.unwrap();
            assert_eq!(name.as_deref(), Some(user));
            for wrong in ["wrong", "", "secret "] {
                let error = Conn::new(opts(&server, user, wrong)).await.unwrap_err();
                assert_eq!(code(&error), 1045, "{user} {wrong}");
            }
        }
        let error = Conn::new(opts(&server, "nobody", "secret")).await.unwrap_err();
        assert_eq!(code(&error), 1045);
        assert!(Conn::new(opts(&server, "root", "x")).await.is_err());
        let database = opts(&server, "root", "").db_name(Some("nowhere"));
        assert_eq!(code(&Conn::new(database).await.unwrap_err()), 1049);
        assert_eq!(server.denied.load(std::sync::atomic::Ordering::Relaxed), 11);
    });
}

/// Promise (K16): COM_CHANGE_USER checks the password, whatever ways both users log in, and a
/// wrong one ends the connection.
#[test]
fn k16_change_user() {
    run(async {
        let server = start(Options::default()).await;
        let to = |user: &str, password: &str| {
            let opts = ChangeUserOpts::new().with_user(Some(user.into()));
            opts.with_pass(Some(password.into()))
        };
        for first in ["sha2", "native", "both"] {
            for second in ["sha2", "native", "both"] {
                let mut conn = Conn::new(opts(&server, first, "secret")).await.unwrap();
                conn.query_drop("begin").await.unwrap();
                conn.change_user(to(second, "secret")).await.unwrap();
                let name: Option<String> = conn.query_first("whoami").await.unwrap();
                assert_eq!(name.as_deref(), Some(second), "{first} to {second}");
                let error = conn.change_user(to(second, "wrong")).await.unwrap_err();
                assert_eq!(code(&error), 1045);
                assert!(conn.query_drop("whoami").await.is_err(), "the connection has ended");
            }
        }
    });
}

/// Promise: a row of every type arrives as it is, as text and in binary form.
#[test]
fn every_type_arrives() {
    run(async {
        let server = start(Options::default()).await;
        let mut conn = connect(&server).await;
        let bytes = |text: &str| Value::Bytes(text.as_bytes().to_vec());
        let expected = vec![
            Value::Int(-128),
            Value::Int(65_535),
            Value::Int(-8_388_608),
            Value::Int(i32::MIN.into()),
            Value::UInt(u64::MAX),
            Value::Float(0.5),
            Value::Double(-2.5e-20),
            bytes("12345678901234567890.12"),
            Value::Date(2024, 2, 29, 0, 0, 0, 0),
            Value::Time(true, 2, 1, 2, 3, 500_000),
            Value::Date(2024, 2, 29, 1, 2, 3, 45_000),
            Value::Date(2024, 2, 29, 1, 2, 3, 0),
            Value::Int(2024),
            bytes("grün"),
            Value::Bytes(vec![0, 255, 10]),
            bytes("{\"a\": 1}"),
            Value::NULL,
        ];
        let row: Row = conn.exec_first("types", ()).await.unwrap().unwrap();
        assert_eq!(row.unwrap(), expected);
        let row: Row = conn.query_first("types").await.unwrap().unwrap();
        let text: Vec<_> = row.unwrap().iter().map(|value| value.as_sql(true)).collect();
        assert_eq!(text[0], "'-128'");
        assert_eq!(text[6], "'-2.5e-20'");
        assert_eq!(text[9], "'-49:02:03.500000'");
        assert_eq!(text[10], "'2024-02-29 01:02:03.045000'");
        assert_eq!(text[11], "'2024-02-29 01:02:03'");
        assert_eq!(text[16], "NULL");
    });
}

/// Promise: parameters of every type come back from a prepared statement.
#[test]
fn parameters_come_back() {
    run(async {
        let server = start(Options::default()).await;
        let mut conn = connect(&server).await;
        let values = vec![
            Value::NULL,
            Value::Int(-7),
            Value::UInt(u64::MAX),
            Value::Float(0.25),
            Value::Double(1e300),
            Value::Bytes(vec![0, 1, 255]),
            Value::Bytes(vec![7; 100_000]),
            Value::Date(2024, 2, 29, 0, 0, 0, 0),
            Value::Date(2024, 2, 29, 1, 2, 3, 4),
            Value::Time(true, 3, 1, 2, 3, 4),
            Value::Time(false, 0, 0, 0, 0, 0),
        ];
        let marks = vec!["?"; values.len()].join(", ");
        let statement = conn.prep(format!("SELECT {marks}")).await.unwrap();
        assert_eq!(usize::from(statement.num_params()), values.len());
        for _ in 0..3 {
            let row: Row = conn.exec_first(&statement, values.clone()).await.unwrap().unwrap();
            assert_eq!(row.unwrap(), values);
        }
        conn.close(statement).await.unwrap();
    });
}

/// Promise: a parameter of 20 MiB, which the driver sends as long data or in several pieces, comes
/// back.
#[test]
fn k04_large_parameters_come_back() {
    run(async {
        let server = start(Options::default()).await;
        let mut conn = connect(&server).await;
        let value = Value::Bytes(vec![b'x'; 20 << 20]);
        let row: Row = conn.exec_first("SELECT ?", vec![value.clone()]).await.unwrap().unwrap();
        assert!(row.unwrap() == [value]);
        let small: Option<i64> = conn.exec_first("SELECT ?", (5,)).await.unwrap();
        assert_eq!(small, Some(5), "long data counts once");
    });
}

/// Promise: all results of several statements arrive, and an error among them after those before.
#[test]
fn all_results_arrive() {
    run(async {
        let server = start(Options::default()).await;
        let mut conn = connect(&server).await;
        let mut results = conn.query_iter("SELECT 1; insert; rows 3; SELECT 'x'").await.unwrap();
        assert_eq!(results.collect::<i64>().await.unwrap(), [1]);
        assert_eq!(results.affected_rows(), 3);
        assert_eq!(results.last_insert_id(), Some(7));
        assert_eq!(results.info(), "Records: 3  Duplicates: 0  Warnings: 0");
        assert!(results.collect::<Row>().await.unwrap().is_empty());
        assert_eq!(results.collect::<(u64, String)>().await.unwrap().len(), 3);
        assert_eq!(results.collect::<String>().await.unwrap(), ["x"]);
        assert!(results.is_empty());
        drop(results);
        let mut results = conn.query_iter("SELECT 1; error 1777; SELECT 2").await.unwrap();
        assert_eq!(results.collect::<i64>().await.unwrap(), [1]);
        assert_eq!(code(&results.collect::<i64>().await.unwrap_err()), 1777);
        drop(results);
        assert_eq!(conn.query_first::<i64, _>("SELECT 3").await.unwrap(), Some(3));
        conn.query_drop("warn 5").await.unwrap();
        assert_eq!(conn.get_warnings(), 5);
    });
}

/// Promise: errors arrive with number, SQLSTATE and text, those too that no MySQL has.
#[test]
fn errors_arrive() {
    run(async {
        let server = start(Options::default()).await;
        let mut conn = connect(&server).await;
        for (number, state) in [(1777, "HY000"), (2261, "HY000"), (1317, "70100"), (1062, "23000")]
        {
            let error = conn.query_drop(format!("error {number}")).await.unwrap_err();
            let Error::Server(error) = error else { panic!("{error}") };
            assert_eq!((error.code, &*error.state), (number, state));
        }
        let error = conn.query_drop("error 1777").await.unwrap_err();
        assert!(error.to_string().contains("Partition test:3 has no master instance."));
        conn.ping().await.unwrap();
    });
}

/// Promise: rows of 20 MiB and results of 200,000 rows arrive, compressed or not, in the clear.
#[test]
fn large_results_arrive() {
    run(async {
        let server = start(Options::default()).await;
        for compression in [None, Some(Compression::fast())] {
            let opts = opts(&server, "sha2", "secret").compression(compression);
            let mut conn = Conn::new(opts.max_allowed_packet(Some(64 << 20))).await.unwrap();
            for len in [(1 << 24) - 1, (1 << 24) - 5, 20 << 20] {
                let wide: Vec<u8> = conn.query_first(format!("wide {len}")).await.unwrap().unwrap();
                assert_eq!(wide.len(), len);
            }
            let rows: Vec<(u64, String)> = conn.query("rows 200000").await.unwrap();
            assert_eq!(rows.last().map(|row| row.0), Some(199_999));
            let value = Value::Bytes(vec![b'x'; 300_000]);
            let row: Row = conn.exec_first("SELECT ?", vec![value.clone()]).await.unwrap().unwrap();
            assert_eq!(row.unwrap(), [value]);
        }
    });
}

/// Promise: LOAD DATA LOCAL streams a file, and a server that stops early reads the rest and goes
/// on; a client without files is told.
#[test]
fn local_files_are_streamed() {
    run(async {
        let server = start(Options::default()).await;
        let dir = tempfile::tempdir().unwrap();
        for (name, len) in [("large", 30 << 20), ("empty", 0), ("refused", 5 << 20)] {
            let path = dir.path().join(name);
            std::fs::write(&path, vec![b'x'; len]).unwrap();
            std::env::set_current_dir(dir.path()).unwrap();
            let handler = mysql_async::WhiteListFsHandler::new([name]);
            let opts = opts(&server, "root", "").local_infile_handler(Some(handler));
            let mut conn = Conn::new(opts).await.unwrap();
            let loaded =
                conn.query_drop(format!("LOAD DATA LOCAL INFILE '{name}' INTO TABLE t")).await;
            if name == "refused" {
                assert_eq!(code(&loaded.unwrap_err()), 1265);
            } else {
                loaded.unwrap();
                assert_eq!(conn.affected_rows(), len as u64);
            }
            conn.ping().await.unwrap();
        }
    });
}

/// Promise: COM_RESET_CONNECTION forgets statements and transactions; the state of the session
/// reaches the client.
#[test]
fn a_reset_session_is_as_new() {
    run(async {
        let server = start(Options::default()).await;
        let mut conn = connect(&server).await;
        conn.query_drop("begin").await.unwrap();
        let status = |conn: &Conn| conn.last_ok_packet().unwrap().status_flags().bits() & 3;
        assert_eq!(status(&conn), 3);
        assert!(conn.reset().await.unwrap());
        assert_eq!(status(&conn), 2);
    });
}

/// Promise (K15): a connection that sleeps, waits or runs is ended by KILL in time, and KILL QUERY
/// ends the statement only.
#[test]
fn k15_kill() {
    run(async {
        let server = start(Options::default()).await;
        for what in [Kill::Query, Kill::Connection] {
            let mut conn = connect(&server).await;
            let id = conn.id();
            let connections = server.connections.clone();
            let killer = tokio::spawn(async move {
                while connections.list().iter().all(|one| one.command != "Query") {
                    tokio::task::yield_now().await;
                }
                assert!(connections.kill(id, what));
            });
            let error = conn.query_drop("sleep").await.unwrap_err();
            assert_eq!(code(&error), 1317);
            killer.await.unwrap();
            assert_eq!(conn.ping().await.is_ok(), what == Kill::Query);
        }
        let mut idle = connect(&server).await;
        let mut other = connect(&server).await;
        other.query_drop(format!("kill {}", idle.id())).await.unwrap();
        assert!(idle.ping().await.is_err());
        assert_eq!(code(&other.query_drop("kill 999999").await.unwrap_err()), 1094);
    });
}
