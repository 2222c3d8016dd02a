//! Clients that leave at the wrong moment, are sent away, hold on for ever, or call things by wrong names.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod running;
mod runtime;

use std::path::Path;
use std::time::Duration;

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Error, Params, Value};
use resprout_engine::{Engine, Options};
use running::*;
use runtime::run;

/// A table whose rows 0 to 7 lie in several partitions.
async fn spread() -> (tempfile::TempDir, Running, Conn) {
    let (dir, server, mut conn) = fresh().await;
    conn.query_drop("CREATE TABLE t (id INT PRIMARY KEY, v INT)").await.unwrap();
    (dir, server, conn)
}

/// Writes rows `8 n` to `8 n + 7`, which lie in several partitions, in a transaction that stays open.
async fn write(conn: &mut Conn, n: i64) {
    let rows: Vec<String> = (8 * n..8 * n + 8).map(|id| format!("({id}, {n})")).collect();
    conn.query_drop("USE d").await.unwrap();
    conn.query_drop("BEGIN").await.unwrap();
    conn.query_drop(format!("INSERT INTO t VALUES {}", rows.join(","))).await.unwrap();
}

/// All of the rows of a transaction are there, or none; and nobody holds them, soon.
async fn whole(conn: &mut Conn, n: i64) -> bool {
    conn.query_drop("BEGIN").await.unwrap();
    let mut there = 0;
    for id in 8 * n..8 * n + 8 {
        // Waits for who holds the row, such as a commit on its way. The limit is half a second.
        conn.query_drop(format!("INSERT INTO t VALUES ({id}, -1) ON DUPLICATE KEY UPDATE v = v"))
            .await
            .unwrap_or_else(|error| panic!("row {id} of {n} is held: {error}"));
        there += usize::from(conn.affected_rows() == 0);
    }
    conn.query_drop("ROLLBACK").await.unwrap();
    assert!(there == 0 || there == 8, "{there} of 8 rows of transaction {n}");
    there == 8
}

/// K14: a client that goes while its COMMIT is on the way leaves all of its transaction or nothing, and
/// no lock.
#[test]
fn k14_clients_that_vanish_in_a_commit_leave_it_whole() {
    run(async {
        let (_dir, server, mut conn) = spread().await;
        let mut committed = 0;
        for n in 0..60_i64 {
            let mut other = server.connect().await;
            write(&mut other, n).await;
            let commit = other.query_drop("COMMIT");
            let moment = Duration::from_micros(n as u64 % 20 * 40);
            let _answered = tokio::time::timeout(moment, commit).await;
            // Dropped in the middle of an answer, it closes its socket.
            drop(other);
            committed += usize::from(whole(&mut conn, n).await);
        }
        assert!(committed > 0, "no COMMIT came through");
        drop(conn);
        server.end().await;
    });
}

/// K15: KILL during a commit ends the session, and the commit one way.
#[test]
fn k15_a_commit_that_is_killed_is_whole() {
    run(async {
        let (_dir, server, mut conn) = spread().await;
        for n in 0..40_i64 {
            let mut other = server.connect().await;
            write(&mut other, n).await;
            let number = other.id();
            let commit = tokio::spawn(async move { other.query_drop("COMMIT").await });
            tokio::time::sleep(Duration::from_micros(n as u64 % 10 * 60)).await;
            let what = if n % 2 == 0 { "KILL" } else { "KILL QUERY" };
            // It may be over already, and its connection closed.
            let killed = conn.query_drop(format!("{what} {number}")).await;
            assert!(killed.map_or_else(|error| code(&error) == 1094, |()| true));
            let answer = tokio::time::timeout(Duration::from_secs(5), commit).await;
            let answer = answer.expect("it ends soon").unwrap();
            let there = whole(&mut conn, n).await;
            assert!(answer.is_err() || there, "transaction {n} was acknowledged and is gone");
        }
        drop(conn);
        server.end().await;
    });
}

/// K19: a transaction that stays open is seen, holds no log back, and gives its locks back when it is
/// killed.
#[test]
fn k19_long_transactions_are_seen_and_killed() {
    run(async {
        let (_dir, server, mut conn) = spread().await;
        let mut long = server.connect().await;
        write(&mut long, 0).await;
        let seen = rows(&mut conn, "SHOW PROCESSLIST").await;
        let its = format!("{},", long.id());
        assert!(seen.iter().any(|line| line.starts_with(&its)), "{seen:?}");
        for id in 100..200 {
            conn.query_drop(format!("INSERT INTO t VALUES ({id}, 0)")).await.unwrap();
        }
        conn.query_drop("SNAPSHOT DATABASE d").await.unwrap();
        assert_eq!(fails(&mut conn, "INSERT INTO t VALUES (3, 3)").await, 1205);
        conn.query_drop(format!("KILL {}", long.id())).await.unwrap();
        while conn.query_drop("INSERT INTO t VALUES (3, 3)").await.is_err() {}
        assert!(long.query_drop("COMMIT").await.is_err());
        assert!(rows(&mut conn, "SELECT v FROM t WHERE id = 4").await.is_empty());
        drop((conn, long));
        server.end().await;
    });
}

/// K13: bytes that are no text are refused where text belongs, kept where bytes do, and never end a
/// session.
#[test]
fn k13_rows_hold_any_bytes_or_refuse_them() {
    run(async {
        let (_dir, server, mut conn) = fresh().await;
        conn.query_drop("CREATE TABLE b (id INT PRIMARY KEY, s VARCHAR(20), x VARBINARY(20))")
            .await
            .unwrap();
        let odd: [&[u8]; 5] =
            [b"\xff\xfe", b"a\0b", b"\xc0\x80", b"\xed\xa0\x80", b"\xf0\x9f\x8c\xb1"];
        for (id, bytes) in odd.iter().enumerate() {
            let text = std::str::from_utf8(bytes).is_ok();
            let values = |at: usize| {
                let mut values = vec![Value::from(id), Value::NULL, Value::NULL];
                values[at] = Value::Bytes(bytes.to_vec());
                Params::Positional(values)
            };
            let stored = conn.exec_drop("INSERT INTO b VALUES (?, ?, ?)", values(1)).await;
            match stored {
                Ok(()) => assert!(text, "{bytes:?} is no text"),
                Err(Error::Server(error)) => assert!(!text && error.code == 1366, "{error}"),
                Err(error) => panic!("{error}"),
            }
            conn.exec_drop("REPLACE INTO b VALUES (?, ?, ?)", values(2)).await.unwrap();
            let kept: Option<Vec<u8>> =
                conn.exec_first("SELECT x FROM b WHERE id = ?", (id,)).await.unwrap();
            assert_eq!(kept.as_deref(), Some(*bytes));
        }
        drop(conn);
        server.end().await;
    });
}

fn entries(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// S22: a name of a database is refused, or kept inside of the data directory and found again after a
/// restart; it collides with nothing.
#[test]
fn s22_names_of_databases_stay_inside() {
    run(async {
        let outside = tempfile::tempdir().unwrap();
        let dir = outside.path().join("data");
        std::fs::create_dir(&dir).unwrap();
        let server = Running::start(&dir).await;
        let mut conn = server.connect().await;
        conn.query_drop("CREATE DATABASE first PARTITIONS 1").await.unwrap();
        let (before, at_first) = (entries(outside.path()), entries(&dir));
        let long = "x".repeat(200);
        let odd = [
            "../x",
            "..",
            ".",
            "a/b",
            "/tmp/x",
            "d_3",
            "con",
            "a.db",
            "a db",
            "ä",
            "🌱",
            "A",
            "a",
            "",
            "lock",
            "identity",
            "wal.arena",
            "databases",
            "information_schema",
            &long,
        ];
        let mut made = vec!["first"];
        for name in odd {
            match conn.query_drop(format!("CREATE DATABASE `{name}` PARTITIONS 1")).await {
                Ok(()) => made.push(name),
                Err(error) => assert_ne!(code(&error), 1105, "{name}: {error}"),
            }
        }
        assert!(made.contains(&"a") && !made.contains(&""), "{made:?}");
        assert_eq!((entries(outside.path()), entries(&dir)), (before, at_first));
        for (number, name) in made.iter().enumerate() {
            let text = format!("CREATE TABLE `{name}`.t (id INT PRIMARY KEY)");
            conn.query_drop(text).await.unwrap();
            conn.query_drop(format!("INSERT INTO `{name}`.t VALUES ({number})")).await.unwrap();
        }
        drop(conn);
        server.end().await;
        let engine = Engine::open(&dir, Options::default()).unwrap();
        assert_eq!(engine.databases().len(), made.len());
        engine.close().unwrap();
        drop(engine);
        let server = Running::start(&dir).await;
        let mut conn = server.connect().await;
        for (number, name) in made.iter().enumerate() {
            let found = rows(&mut conn, &format!("SELECT id FROM `{name}`.t")).await;
            assert_eq!(found, [number.to_string()], "{name}");
            conn.query_drop(format!("DROP DATABASE `{name}`")).await.unwrap();
        }
        drop(conn);
        server.end().await;
    });
}
