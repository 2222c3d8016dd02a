//! Clients that ask for much and read nothing: what they hold meanwhile, and for how long.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod running;
mod runtime;
mod support;

use std::time::Duration;

use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use running::{Running, fresh, rows};
use runtime::run;
use support::Raw;

/// More than sockets take in, of few rows, which a session reads itself, and of many, which a thread
/// reads for it.
const FEW: &str = "SELECT REPEAT(c, 20) FROM d.t LIMIT 900";
const MANY: &str = "SELECT REPEAT(c, 20) FROM d.t";

async fn large() -> (tempfile::TempDir, Running, Conn) {
    let (dir, server, mut conn) = fresh().await;
    conn.query_drop("CREATE TABLE t (id INT PRIMARY KEY, c VARCHAR(2000))").await.unwrap();
    for piece in 0..10 {
        let values: Vec<_> =
            (0..200).map(|at| format!("({}, '{}')", piece * 200 + at, "x".repeat(2000))).collect();
        conn.query_drop(format!("INSERT INTO t VALUES {}", values.join(","))).await.unwrap();
    }
    conn.query_drop("SET innodb_lock_wait_timeout = 40").await.unwrap();
    (dir, server, conn)
}

/// A client that logs in, runs what has no rows or few, and asks for more than it ever reads. Its
/// result has begun.
async fn stalled(server: &Running, before: &[&str], last: &str) -> Raw<tokio::net::TcpStream> {
    let mut raw = Raw::root(server.address).await;
    let command = |text: &str| [b"\x03", text.as_bytes()].concat();
    for text in before {
        let answer = raw.ask(&command(text)).await;
        assert_ne!(answer[0], 0xFF, "{text}: {answer:?}");
        if answer[0] != 0 {
            // One column, its end, one row, the end.
            for _ in 0..4 {
                raw.receive().await.unwrap();
            }
        }
    }
    let answer = raw.ask(&command(last)).await;
    assert_eq!(answer[..], [1], "one column");
    raw
}

/// How many others run a statement.
async fn others_running(conn: &mut Conn) -> usize {
    let own = format!("{},", conn.id());
    let shown = rows(conn, "SHOW PROCESSLIST").await;
    shown.iter().filter(|line| !line.starts_with(&own) && line.contains("executing")).count()
}

/// Promise (K09): who does not read the rows that a statement locked holds none of them: a statement
/// that stands alone is committed before its rows are sent.
#[test]
fn k09_rows_that_nobody_reads_are_not_locked() {
    run(async {
        let (_dir, server, mut conn) = large().await;
        for query in [FEW, MANY] {
            let raw = stalled(&server, &[], &format!("{query} FOR UPDATE")).await;
            conn.query_drop("UPDATE t SET c = c WHERE id >= 0").await.unwrap();
            assert_eq!(others_running(&mut conn).await, 1, "it still sends: {query}");
            drop(raw);
            while others_running(&mut conn).await > 0 {}
        }
        drop(conn);
        server.end().await;
    });
}

/// Promise (K09): a transaction whose client does not read is over when the time for that is, and its
/// locks with it.
#[test]
fn k09_locks_of_slow_readers_end_in_time() {
    run(async {
        let (_dir, server, mut conn) = large().await;
        for query in [FEW, MANY] {
            let locks =
                ["SET net_write_timeout = 1", "BEGIN", "UPDATE d.t SET c = '' WHERE id = 1"];
            let raw = stalled(&server, &locks, query).await;
            assert_eq!(others_running(&mut conn).await, 1);
            conn.query_drop("DELETE FROM t WHERE id = 1 AND c = ''").await.unwrap();
            assert_eq!(conn.affected_rows(), 0, "it was taken back: {query}");
            assert_eq!(others_running(&mut conn).await, 0);
            drop(raw);
        }
        drop(conn);
        server.end().await;
    });
}

/// Promise (K09): KILL ends who does not read at once, and gives its locks back.
#[test]
fn k09_slow_readers_are_killed() {
    run(async {
        let (_dir, server, mut conn) = large().await;
        for query in [FEW, MANY] {
            let locks = ["BEGIN", "UPDATE d.t SET c = '' WHERE id = 1"];
            let raw = stalled(&server, &locks, query).await;
            let own = conn.id();
            let number = rows(&mut conn, "SHOW PROCESSLIST").await.into_iter().find_map(|line| {
                let number: u32 = line.split(',').next()?.parse().ok()?;
                (number != own).then_some(number)
            });
            conn.query_drop(format!("KILL {}", number.unwrap())).await.unwrap();
            let freed = conn.query_drop("DELETE FROM t WHERE id = 1 AND c = ''");
            tokio::time::timeout(Duration::from_secs(5), freed).await.expect("soon").unwrap();
            assert_eq!(conn.affected_rows(), 0, "{query}");
            drop(raw);
        }
        drop(conn);
        server.end().await;
    });
}
