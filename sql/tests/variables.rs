//! System variables: set for a session and for the node, and what that does.

mod running;
mod runtime;

use std::time::{Duration, Instant};

use mysql_async::prelude::Queryable;
use running::*;
use runtime::run;

/// Promise: a session has its own values, which begin as the node's were when it began; DEFAULT is
/// the node's; COM_RESET_CONNECTION begins anew.
#[test]
fn sessions_begin_with_the_nodes_values() {
    run(async {
        let (_dir, server, mut conn) = fresh().await;
        let ask = "SELECT @@wait_timeout, @@session.wait_timeout, @@global.wait_timeout";
        assert_eq!(rows(&mut conn, ask).await, ["28800,28800,28800"]);
        conn.query_drop("SET GLOBAL wait_timeout = 100, SESSION wait_timeout = 50").await.unwrap();
        assert_eq!(rows(&mut conn, ask).await, ["50,50,100"]);
        let mut other = server.connect().await;
        assert_eq!(rows(&mut other, ask).await, ["100,100,100"]);
        other.query_drop("SET @@global.wait_timeout = DEFAULT").await.unwrap();
        assert_eq!(rows(&mut other, ask).await, ["100,100,28800"]);
        other.query_drop("SET wait_timeout = DEFAULT").await.unwrap();
        assert_eq!(rows(&mut other, ask).await, ["28800,28800,28800"]);
        let shown = "SHOW GLOBAL VARIABLES LIKE 'wait_timeout'";
        assert_eq!(rows(&mut conn, shown).await, ["wait_timeout,28800"]);
        let shown = "SHOW VARIABLES LIKE 'wait_timeout'";
        assert_eq!(rows(&mut conn, shown).await, ["wait_timeout,50"]);
        assert!(conn.reset().await.unwrap());
        assert_eq!(rows(&mut conn, ask).await, ["28800,28800,28800"]);
        conn.query_drop("SET GLOBAL autocommit = OFF").await.unwrap();
        assert_eq!(rows(&mut conn, "SELECT @@autocommit, @@global.autocommit").await, ["1,0"]);
        let mut off = server.connect().await;
        assert_eq!(rows(&mut off, "SHOW VARIABLES LIKE 'autocommit'").await, ["autocommit,OFF"]);
        drop((conn, other, off));
        server.end().await;
    });
}

/// Promise: what cannot be set is refused with MySQL's numbers; a number out of bounds becomes the nearest,
/// which is told.
#[test]
fn wrong_values_are_refused() {
    run(async {
        let (_dir, server, mut conn) = fresh().await;
        for (text, expected) in [
            ("SET GLOBAL nothing = 1", 1193),
            ("SET GLOBAL last_insert_id = 1", 1228),
            ("SET max_connections = 1", 1229),
            ("SET autocommit = 2", 1231),
            ("SET wait_timeout = 'long'", 1232),
            ("SET GLOBAL max_connections = 1.5", 1232),
            ("SET GLOBAL version = '9'", 1238),
            ("SET max_allowed_packet = 4096", 1621),
            ("SELECT @@session.max_connections", 1193),
        ] {
            assert_eq!(fails(&mut conn, text).await, expected, "{text}");
        }
        conn.query_drop("SET GLOBAL max_connections = 0, wait_timeout = 99999999").await.unwrap();
        let said = rows(&mut conn, "SHOW WARNINGS").await;
        // The helper puts quotes of its own.
        assert_eq!(
            said,
            [
                "Warning,1292,Truncated incorrect max_connections value: ''0",
                "Warning,1292,Truncated incorrect wait_timeout value: ''99999999",
            ]
        );
        let now = "SELECT @@max_connections, @@global.wait_timeout";
        assert_eq!(rows(&mut conn, now).await, ["1,31536000"]);
        drop(conn);
        server.end().await;
    });
}

/// Promise: a session waits for a row's lock as long as it says, under either name.
#[test]
fn waiting_for_locks_has_the_sessions_limit() {
    run(async {
        let (_dir, server, mut conn) = fresh().await;
        conn.query_drop("CREATE TABLE t (id INT PRIMARY KEY); INSERT INTO t VALUES (1)")
            .await
            .unwrap();
        conn.query_drop("BEGIN; SELECT id FROM t WHERE id = 1 FOR UPDATE").await.unwrap();
        let mut other = server.connect().await;
        other.query_drop("USE d; SET innodb_lock_wait_timeout = 1").await.unwrap();
        assert_eq!(rows(&mut other, "SELECT @@lock_wait_timeout").await, ["1"]);
        let began = Instant::now();
        assert_eq!(fails(&mut other, "DELETE FROM t WHERE id = 1").await, 1205);
        let waited = began.elapsed();
        // The engine's own limit is half a second here.
        assert!(
            waited > Duration::from_millis(900) && waited < Duration::from_secs(5),
            "{waited:?}"
        );
        drop((conn, other));
        server.end().await;
    });
}

/// Promise: who is idle for longer than its session may be is sent away; others are not.
#[test]
fn idle_sessions_end() {
    run(async {
        let (_dir, server, mut conn) = fresh().await;
        let mut idle = server.connect().await;
        idle.query_drop("SET wait_timeout = 1").await.unwrap();
        tokio::time::sleep(Duration::from_millis(400)).await;
        idle.query_drop("DO 0").await.unwrap();
        tokio::time::sleep(Duration::from_millis(1500)).await;
        assert!(idle.query_drop("DO 0").await.is_err());
        conn.query_drop("DO 0").await.unwrap();
        drop((conn, idle));
        server.end().await;
    });
}

/// Promise: limits of connections and packets hold for who comes from then on, and the engine's settings at
/// once; impossible ones are refused.
#[test]
fn the_nodes_limits_hold() {
    run(async {
        let (_dir, server, mut conn) = fresh().await;
        conn.query_drop("SET GLOBAL max_allowed_packet = 2048, GLOBAL snapshots_to_keep = 3")
            .await
            .unwrap();
        let large = format!("SELECT LENGTH('{}')", "x".repeat(5000));
        assert_eq!(rows(&mut conn, &large).await, ["5000"]);
        let mut other = server.connect().await;
        assert_eq!(rows(&mut other, "SELECT @@max_allowed_packet").await, ["2048"]);
        assert!(other.query_drop(&large).await.is_err());
        assert_eq!(server.engine.tuning().snapshots_to_keep, 3);
        conn.query_drop("SET GLOBAL recovery_time_target = 0, GLOBAL maximum_memory = 33554432")
            .await
            .unwrap();
        let tuning = server.engine.tuning();
        assert_eq!((tuning.recovery_time_target, tuning.maximum_memory), (None, 32 << 20));
        conn.query_drop("SET GLOBAL maximum_memory = DEFAULT").await.unwrap();
        assert_eq!(server.engine.tuning().maximum_memory, 256 << 20);
        conn.query_drop("SET GLOBAL max_connections = 1").await.unwrap();
        drop(other);
        // Root takes the place that is kept for an administrator, and then there is none.
        let held = server.connect().await;
        assert!(server.try_connect(false).await.is_err());
        drop((conn, held));
        server.end().await;
    });
}
