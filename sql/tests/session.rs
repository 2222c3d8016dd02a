//! Statements of a real driver against an engine in a temporary directory.

mod running;
mod runtime;

use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use running::*;
use runtime::run;

/// Promise: a client makes a database and a table, writes, reads, changes and deletes rows.
#[test]
fn rows_are_written_and_read() {
    run(async {
        let (_dir, server, mut conn) = fresh().await;
        assert_eq!(rows(&mut conn, "SELECT 1").await, ["1"]);
        conn.query_drop("CREATE TABLE t (id BIGINT PRIMARY KEY, v INT, s VARCHAR(10))")
            .await
            .unwrap();
        conn.query_drop("INSERT INTO t VALUES (1, 10, 'a'), (2, 20, 'b'), (3, NULL, 'c')")
            .await
            .unwrap();
        assert_eq!(conn.affected_rows(), 3);
        assert_eq!(rows(&mut conn, "SELECT v, s FROM t WHERE id = 2").await, ["20,b"]);
        let all = "SELECT * FROM t WHERE v IS NULL OR v >= 10 ORDER BY id DESC LIMIT 2";
        assert_eq!(rows(&mut conn, all).await, ["3,NULL,c", "2,20,b"]);
        conn.query_drop("UPDATE t SET v = v + 1 WHERE id IN (1, 2, 9)").await.unwrap();
        assert_eq!(conn.affected_rows(), 2);
        conn.query_drop("UPDATE t SET v = 11 WHERE id = 1").await.unwrap();
        assert_eq!(conn.affected_rows(), 0);
        let mut found = server.connect_with(true).await;
        found.query_drop("UPDATE d.t SET v = 11 WHERE id = 1").await.unwrap();
        assert_eq!(found.affected_rows(), 1);
        let sums = "SELECT COUNT(*), COUNT(v), SUM(v), MIN(s), MAX(v), AVG(v) FROM t";
        assert_eq!(rows(&mut conn, sums).await, ["3,2,32,a,21,16.0000"]);
        conn.query_drop("DELETE FROM t WHERE v > 11").await.unwrap();
        assert_eq!(conn.affected_rows(), 1);
        let prepared: Vec<(i64, String)> =
            conn.exec("SELECT id, s FROM t WHERE id >= ? ORDER BY id", (1,)).await.unwrap();
        assert_eq!(prepared, [(1, "a".to_owned()), (3, "c".to_owned())]);
        conn.query_drop("TRUNCATE TABLE t").await.unwrap();
        assert!(rows(&mut conn, "SELECT * FROM t").await.is_empty());
        drop((conn, found));
        server.end().await;
    });
}

/// Promise: a reference table is one whatever keys it has and loses, and its unique keys hold over all rows; of a table with
/// shards a unique key that partitions cannot keep apart is refused also when it is added, and hides no row.
#[test]
fn unique_keys_go_with_where_rows_are() {
    run(async {
        let (_dir, server, mut conn) = fresh().await;
        let values: Vec<_> = (0..20).map(|n| format!("({n})")).collect();
        for (kind, table) in [("REFERENCE ", "r"), ("", "t")] {
            conn.query_drop(format!("CREATE {kind}TABLE {table} (n INT)")).await.unwrap();
            let insert = format!("INSERT INTO {table} VALUES {}", values.join(","));
            conn.query_drop(insert).await.unwrap();
            let shown = rows(&mut conn, &format!("SHOW CREATE TABLE {table}")).await;
            assert_eq!(shown[0].contains("REFERENCE"), table == "r", "{shown:?}");
        }
        conn.query_drop("ALTER TABLE r ADD UNIQUE KEY once (n)").await.unwrap();
        assert_eq!(fails(&mut conn, "INSERT INTO r VALUES (7)").await, 1062);
        conn.query_drop("DROP INDEX once ON r").await.unwrap();
        conn.query_drop("INSERT INTO r VALUES (7)").await.unwrap();
        assert_eq!(fails(&mut conn, "ALTER TABLE t ADD UNIQUE KEY once (n)").await, 1744);
        assert_eq!(fails(&mut conn, "CREATE UNIQUE INDEX once ON t (n)").await, 1744);
        assert_eq!(rows(&mut conn, "SELECT COUNT(*) FROM r").await, ["21"]);
        assert_eq!(rows(&mut conn, "SELECT COUNT(*) FROM t").await, ["20"]);
        conn.query_drop("CREATE TABLE s (id INT PRIMARY KEY, v INT)").await.unwrap();
        assert_eq!(fails(&mut conn, "ALTER TABLE s ADD UNIQUE KEY once (v)").await, 1744);
        conn.query_drop("ALTER TABLE s ADD UNIQUE KEY both_of_them (v, id)").await.unwrap();
        drop(conn);
        server.end().await;
    });
}

/// Promise: errors have MySQL's numbers.
#[test]
fn errors_have_mysqls_numbers() {
    run(async {
        let (_dir, server, mut conn) = fresh().await;
        conn.query_drop("CREATE TABLE t (id TINYINT PRIMARY KEY, s VARCHAR(3) NOT NULL)")
            .await
            .unwrap();
        conn.query_drop("INSERT INTO t VALUES (1, 'a')").await.unwrap();
        for (text, expected) in [
            ("INSERT INTO t VALUES (1, 'b')", 1062),
            ("INSERT INTO t VALUES (2, NULL)", 1048),
            ("INSERT INTO t VALUES (2000, 'b')", 1264),
            ("INSERT INTO t VALUES (2, 'bbbb')", 1406),
            ("INSERT INTO t VALUES ('x', 'b')", 1366),
            ("INSERT INTO t (id) VALUES (2)", 1364),
            ("INSERT INTO t VALUES (2)", 1136),
            ("SELECT x FROM t", 1054),
            ("SELECT 1 FROM u", 1146),
            ("SELECT 1 FROM nowhere.u", 1049),
            ("USE nowhere", 1049),
            ("CREATE DATABASE d", 1007),
            ("DROP DATABASE nowhere", 1008),
            ("ALTER DATABASE nowhere SET SYNC REPLICATION", 1049),
            ("ALTER DATABASE nowhere CHARACTER SET utf8mb4", 1049),
            ("ALTER DATABASE d SET ASYNC REPLICATION", 2038),
            ("ALTER DATABASE d SET ASYNC DURABILITY", 1235),
            ("CREATE TABLE t (id INT)", 1050),
            ("DROP TABLE u", 1051),
            ("SELECT * FROM t, t AS u", 1235),
            ("SELECT s, COUNT(*) FROM t GROUP BY s", 1235),
            ("SELEC", 1064),
            ("KILL 4000000", 1094),
        ] {
            assert_eq!(fails(&mut conn, text).await, expected, "{text}");
        }
        assert_eq!(rows(&mut conn, "SELECT COUNT(*) FROM t").await, ["1"]);
        drop(conn);
        server.end().await;
    });
}

/// Promise: a statement is whole or not at all, alone and in a transaction; ROLLBACK and
/// savepoints take back what they should, and others see only what is committed.
#[test]
fn statements_and_transactions_are_whole() {
    run(async {
        let (_dir, server, mut conn) = fresh().await;
        let mut other = server.connect().await;
        conn.query_drop("CREATE TABLE t (id INT PRIMARY KEY)").await.unwrap();
        let insert = "INSERT INTO t VALUES (1), (2), (3), (1)";
        assert_eq!(fails(&mut conn, insert).await, 1062);
        assert!(rows(&mut conn, "SELECT * FROM t").await.is_empty());
        conn.query_drop("BEGIN").await.unwrap();
        conn.query_drop("INSERT INTO t VALUES (7)").await.unwrap();
        assert_eq!(fails(&mut conn, insert).await, 1062);
        conn.query_drop("SAVEPOINT s").await.unwrap();
        conn.query_drop("INSERT INTO t VALUES (8), (9), (10)").await.unwrap();
        assert_eq!(rows(&mut conn, "SELECT COUNT(*) FROM t").await, ["4"]);
        conn.query_drop("ROLLBACK TO s").await.unwrap();
        assert_eq!(rows(&mut conn, "SELECT * FROM t").await, ["7"]);
        assert!(rows(&mut other, "SELECT * FROM d.t").await.is_empty());
        conn.query_drop("INSERT INTO t VALUES (11), (12), (13), (14)").await.unwrap();
        conn.query_drop("COMMIT").await.unwrap();
        let all = "SELECT * FROM d.t ORDER BY id";
        assert_eq!(rows(&mut other, all).await, ["7", "11", "12", "13", "14"]);
        conn.query_drop("SET autocommit = 0").await.unwrap();
        conn.query_drop("DELETE FROM t").await.unwrap();
        conn.query_drop("ROLLBACK").await.unwrap();
        assert_eq!(rows(&mut conn, "SELECT COUNT(*) FROM t").await, ["5"]);
        drop((conn, other));
        server.end().await;
    });
}

async fn shown(conn: &mut Conn) -> Vec<String> {
    rows(conn, "SHOW PROCESSLIST").await
}

/// Promise: a locked row is waited for, KILL QUERY ends the wait, and a session that goes lets its
/// locks go.
#[test]
fn locks_are_waited_for_and_let_go() {
    run(async {
        let (_dir, server, mut conn) = fresh().await;
        let mut other = server.connect().await;
        conn.query_drop("CREATE TABLE t (id INT PRIMARY KEY, v INT)").await.unwrap();
        conn.query_drop("INSERT INTO t VALUES (1, 1)").await.unwrap();
        conn.query_drop("BEGIN").await.unwrap();
        let locked = "SELECT v FROM d.t WHERE id = 1 FOR UPDATE";
        assert_eq!(rows(&mut conn, locked).await, ["1"]);
        assert_eq!(fails(&mut other, locked).await, 1205);
        let number = other.id();
        let killed = async {
            let waits = format!("{number},root");
            while !shown(&mut conn)
                .await
                .iter()
                .any(|line| line.starts_with(&waits) && line.contains("executing"))
            {}
            conn.query_drop(format!("KILL QUERY {number}")).await.unwrap();
        };
        let (code, ()) = tokio::join!(fails(&mut other, locked), killed);
        assert_eq!(code, 1317);
        drop(conn);
        while shown(&mut other).await.len() > 1 {}
        assert_eq!(rows(&mut other, locked).await, ["1"]);
        drop(other);
        server.end().await;
    });
}

/// Promise: sessions that wait for each other in different partitions are told apart from slow ones:
/// one of them gives up at once, the other goes on.
#[test]
fn rings_over_several_partitions_are_found() {
    run(async {
        let (_dir, server, mut setup) = fresh().await;
        setup.query_drop("CREATE TABLE t (id INT PRIMARY KEY, v INT)").await.unwrap();
        setup.query_drop("INSERT INTO t VALUES (1,0),(2,0),(3,0),(4,0),(5,0),(6,0)").await.unwrap();
        // So many that some of them are in different partitions.
        let ids = [1, 2, 3, 4, 5, 6];
        let mut sessions = Vec::new();
        for id in ids {
            let mut conn = server.connect().await;
            conn.query_drop("USE d").await.unwrap();
            conn.query_drop("BEGIN").await.unwrap();
            conn.query_drop(format!("UPDATE t SET v = v + 1 WHERE id = {id}")).await.unwrap();
            sessions.push(conn);
        }
        let step = |(mut conn, id): (Conn, i32)| {
            tokio::spawn(async move {
                let next = id % 6 + 1;
                let waited = conn.query_drop(format!("UPDATE t SET v = v + 1 WHERE id = {next}"));
                let ended = match waited.await {
                    Ok(()) => conn.query_drop("COMMIT").await.map(|()| 0),
                    Err(error) => Ok(code(&error)),
                };
                ended.unwrap()
            })
        };
        let waits: Vec<_> = sessions.into_iter().zip(ids).map(step).collect();
        let mut codes = Vec::new();
        for wait in waits {
            codes.push(wait.await.unwrap());
        }
        codes.sort_unstable();
        assert_eq!(codes, [0, 0, 0, 0, 0, 1213]);
        server.end().await;
    });
}

/// Promise: AUTO_INCREMENT numbers come once over all partitions, also after a restart;
/// REPLACE, IGNORE and ON DUPLICATE KEY UPDATE do what they say and count as MySQL does.
#[test]
fn inserts_count_as_mysql_does() {
    run(async {
        let (dir, server, mut conn) = fresh().await;
        conn.query_drop("CREATE TABLE t (id BIGINT AUTO_INCREMENT PRIMARY KEY, v INT)")
            .await
            .unwrap();
        conn.query_drop("INSERT INTO t (v) VALUES (10), (20), (30)").await.unwrap();
        assert_eq!((conn.affected_rows(), conn.last_insert_id()), (3, Some(1)));
        assert_eq!(rows(&mut conn, "SELECT LAST_INSERT_ID()").await, ["1"]);
        conn.query_drop("INSERT IGNORE INTO t VALUES (1, 5), (9, 90)").await.unwrap();
        assert_eq!((conn.affected_rows(), conn.get_warnings()), (1, 1));
        conn.query_drop("REPLACE INTO t VALUES (1, 11), (10, 100)").await.unwrap();
        assert_eq!(conn.affected_rows(), 3);
        let upsert =
            "INSERT INTO t VALUES (1, 4), (11, 1) ON DUPLICATE KEY UPDATE v = v + VALUES(v)";
        conn.query_drop(upsert).await.unwrap();
        assert_eq!(conn.affected_rows(), 3);
        assert_eq!(rows(&mut conn, "SELECT v FROM t WHERE id = 1").await, ["15"]);
        conn.query_drop("CREATE TABLE u (id BIGINT PRIMARY KEY, v INT)").await.unwrap();
        conn.query_drop("INSERT INTO u SELECT id + 100, v FROM t WHERE id < 4").await.unwrap();
        assert_eq!(rows(&mut conn, "SELECT id FROM u ORDER BY v").await, ["101", "102", "103"]);
        drop(conn);
        server.end().await;
        let server = Running::start(dir.path()).await;
        let mut conn = server.connect().await;
        conn.query_drop("INSERT INTO d.t (v) VALUES (1)").await.unwrap();
        assert!(conn.last_insert_id().is_some_and(|id| id > 11));
        assert_eq!(rows(&mut conn, "SELECT COUNT(*) FROM d.t").await, ["7"]);
        drop(conn);
        server.end().await;
    });
}

/// Promise: a result that is longer than what is read at once comes whole, and a table without
/// primary key is changed like any other.
#[test]
fn long_results_and_hidden_keys() {
    run(async {
        let (_dir, server, mut conn) = fresh().await;
        conn.query_drop("CREATE TABLE t (v INT)").await.unwrap();
        let values: Vec<String> = (0..5000).map(|n| format!("({n})")).collect();
        conn.query_drop(format!("INSERT INTO t VALUES {}", values.join(","))).await.unwrap();
        assert_eq!(rows(&mut conn, "SELECT v FROM t").await.len(), 5000);
        assert_eq!(rows(&mut conn, "SELECT SUM(v) FROM t").await, ["12497500"]);
        conn.query_drop("UPDATE t SET v = -v WHERE v % 2 = 1").await.unwrap();
        assert_eq!(conn.affected_rows(), 2500);
        conn.query_drop("DELETE FROM t WHERE v < 0 ORDER BY v LIMIT 100").await.unwrap();
        assert_eq!(conn.affected_rows(), 100);
        assert_eq!(rows(&mut conn, "SELECT MIN(v), COUNT(*) FROM t").await, ["-4799,4900"]);
        drop(conn);
        server.end().await;
    });
}

/// Promise: rows that an index leads to are those that reading everything finds, in reads and in
/// changes, in and outside of transactions; EXPLAIN names the index.
#[test]
fn indexes_lead_to_the_same_rows() {
    run(async {
        let (_dir, server, mut conn) = fresh().await;
        conn.query_drop(
            "CREATE TABLE t (id INT PRIMARY KEY, a INT, b INT, d DECIMAL(6,2), s VARCHAR(9), \
             KEY by_ab (a, b), KEY by_d (d), KEY by_s (s))",
        )
        .await
        .unwrap();
        let row = |n: i32| {
            let a = if n % 7 == 0 { "NULL".to_owned() } else { (n % 5).to_string() };
            format!("({n},{a},{},{}.5,'{}')", n % 11 - 5, n % 13, ["x", "X", "y"][n as usize % 3])
        };
        let all: Vec<String> = (1..300).map(row).collect();
        conn.query_drop(format!("INSERT INTO t VALUES {}", all.join(","))).await.unwrap();
        conn.query_drop("BEGIN").await.unwrap();
        conn.query_drop("UPDATE t SET a = a + 1, d = d * 2 WHERE id < 50").await.unwrap();
        conn.query_drop("DELETE FROM t WHERE id BETWEEN 60 AND 90").await.unwrap();
        let conditions = [
            ("a = 3", "by_ab"),
            ("a < 3", "by_ab"),
            ("a <= 3 AND b = 2", "by_ab"),
            ("a = 3 AND b > -2 AND b <= 4", "by_ab"),
            ("b = 1 AND 2 = a AND s = 'x'", "by_ab"),
            ("a > 100", "by_ab"),
            ("d BETWEEN 3.5 AND 7.5", "by_d"),
            ("d = 7", "by_d"),
            ("id > 10 AND a = 1", "by_ab"),
            ("d >= 2.25 AND a IS NULL", "by_d"),
        ];
        for (condition, index) in conditions {
            let ids = format!("SELECT id FROM t WHERE {condition} ORDER BY id");
            let slowly = format!("SELECT id FROM t WHERE NOT NOT ({condition}) ORDER BY id");
            assert_eq!(rows(&mut conn, &ids).await, rows(&mut conn, &slowly).await, "{condition}");
            let explained = rows(&mut conn, &format!("EXPLAIN {ids}")).await;
            assert!(explained[0].contains(index), "{explained:?}");
        }
        assert_eq!(rows(&mut conn, "SELECT COUNT(*) FROM t WHERE s = 'x'").await, ["178"]);
        let explained = rows(&mut conn, "EXPLAIN SELECT id FROM t WHERE s = 'x'").await;
        assert!(explained[0].contains("all rows"), "letters' case does not count: {explained:?}");
        conn.query_drop("COMMIT").await.unwrap();
        let expected = rows(&mut conn, "SELECT COUNT(*) FROM t WHERE NOT NOT (a = 2)").await;
        conn.query_drop("UPDATE t SET a = 2, b = 99 WHERE a = 2").await.unwrap();
        assert_eq!(vec![conn.affected_rows().to_string()], expected);
        conn.exec_drop("DELETE FROM t WHERE a = ? AND b = ?", (2, 99)).await.unwrap();
        assert_eq!(vec![conn.affected_rows().to_string()], expected);
        server.end().await;
    });
}

/// Promise: columns get the time of the statement where that is their default, and when their row
/// changes where that is asked for; comments are kept; all of it survives a restart.
#[test]
fn columns_have_the_time_of_the_statement() {
    run(async {
        let (dir, server, mut conn) = fresh().await;
        let create = "CREATE TABLE t (id INT PRIMARY KEY, v INT COMMENT 'of no use', \
                      made TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6), \
                      changed DATETIME NULL DEFAULT NULL ON UPDATE CURRENT_TIMESTAMP) \
                      COMMENT='a table'";
        conn.query_drop(create).await.unwrap();
        let before = rows(&mut conn, "SELECT NOW(6)").await[0].clone();
        conn.query_drop("INSERT INTO t (id, v) VALUES (1, 1), (2, 2)").await.unwrap();
        conn.query_drop("INSERT INTO t VALUES (3, 3, DEFAULT, NULL)").await.unwrap();
        conn.query_drop("INSERT INTO t VALUES (4, 4, '2020-01-01', NULL)").await.unwrap();
        let after = rows(&mut conn, "SELECT NOW(6)").await[0].clone();
        let made = rows(&mut conn, "SELECT made FROM t ORDER BY id").await;
        assert_eq!(made[0], made[1], "one moment for a statement");
        assert!(before <= made[0] && made[2] <= after, "{before} {made:?} {after}");
        assert_eq!(made[3], "2020-01-01 00:00:00.000000");
        conn.query_drop("UPDATE t SET v = 1 WHERE id <= 2").await.unwrap();
        conn.query_drop("UPDATE t SET v = 9, changed = '2001-01-01' WHERE id = 3").await.unwrap();
        let touched = rows(&mut conn, "SELECT id, changed IS NULL FROM t ORDER BY id").await;
        assert_eq!(
            touched,
            ["1,1", "2,0", "3,0", "4,1"],
            "a row that stays the same is not touched"
        );
        assert_eq!(rows(&mut conn, "SELECT YEAR(changed) FROM t WHERE id = 3").await, ["2001"]);
        let shown = rows(&mut conn, "SHOW CREATE TABLE t").await;
        drop(conn);
        server.end().await;

        let server = Running::start(dir.path()).await;
        let mut conn = server.connect().await;
        conn.query_drop("USE d").await.unwrap();
        assert_eq!(rows(&mut conn, "SHOW CREATE TABLE t").await, shown);
        for part in
            ["DEFAULT CURRENT_TIMESTAMP(6)", "ON UPDATE CURRENT_TIMESTAMP", "of no use", "a table"]
        {
            assert!(shown[0].contains(part), "{part}: {shown:?}");
        }
        let add = "ALTER TABLE t ADD COLUMN seen DATETIME NOT NULL DEFAULT CURRENT_TIMESTAMP";
        conn.query_drop(add).await.unwrap();
        let seen = rows(&mut conn, "SELECT DISTINCT seen FROM t").await;
        assert!(seen.len() == 1 && seen[0][..] >= before[..19], "{seen:?}");
        server.end().await;
    });
}

/// Promise: a table made like another has its columns and keys, and rows of its own.
#[test]
fn a_table_is_made_like_another() {
    run(async {
        let (_dir, server, mut conn) = fresh().await;
        let create = "CREATE TABLE t (id INT AUTO_INCREMENT PRIMARY KEY, v INT DEFAULT 4, \
                      gone INT, KEY by_v (v))";
        conn.query_drop(create).await.unwrap();
        conn.query_drop("ALTER TABLE t DROP COLUMN gone").await.unwrap();
        conn.query_drop("INSERT INTO t (v) VALUES (1), (2)").await.unwrap();
        conn.query_drop("CREATE TABLE u LIKE t").await.unwrap();
        let shown = rows(&mut conn, "SHOW CREATE TABLE u").await[0].clone();
        let expected = rows(&mut conn, "SHOW CREATE TABLE t").await[0].replace("`t`", "`u`");
        assert_eq!(shown[1..], expected[1..]);
        conn.query_drop("INSERT INTO u VALUES (NULL, DEFAULT)").await.unwrap();
        assert_eq!(rows(&mut conn, "SELECT * FROM u WHERE v = 4").await, ["1,4"]);
        assert_eq!(rows(&mut conn, "SELECT COUNT(*) FROM t").await, ["2"]);
        assert_eq!(fails(&mut conn, "CREATE TABLE u LIKE t").await, 1050);
        assert_eq!(fails(&mut conn, "CREATE TABLE w LIKE nothing").await, 1146);
        conn.query_drop("CREATE TABLE IF NOT EXISTS u LIKE t").await.unwrap();
        server.end().await;
    });
}
