//! Queries in sessions: transactions, prepared statements, KILL, bounds, and what clients are told.

mod support;

use std::time::{Duration, Instant};

use mysql_async::consts::{ColumnFlags, ColumnType};
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Value};
use support::{Running, code, run};

const MEMORY: usize = 64 << 20;

async fn shop(server: &Running, partitions: u32) -> Conn {
    let mut conn = server.connect().await;
    conn.query_drop(format!("CREATE DATABASE d PARTITIONS {partitions}")).await.expect("an answer");
    for sql in [
        "USE d",
        "CREATE TABLE a (id INT PRIMARY KEY, x INT NOT NULL, s VARCHAR(20))",
        "CREATE TABLE b (id INT PRIMARY KEY, a INT, d DECIMAL(10,2), KEY (a))",
        "INSERT INTO a VALUES (1, 10, 'one'), (2, 20, 'two'), (3, 30, 'three')",
        "INSERT INTO b VALUES (1, 1, 1.5), (2, 1, 2.5), (3, 2, NULL)",
    ] {
        conn.query_drop(sql).await.expect("an answer");
    }
    conn
}

/// Numbers from 0, in a table `n`.
async fn numbers(conn: &mut Conn, count: usize) {
    conn.query_drop("CREATE TABLE n (id INT PRIMARY KEY, k INT)").await.expect("an answer");
    for from in (0..count).step_by(10_000) {
        let rows: Vec<String> =
            (from..count.min(from + 10_000)).map(|id| format!("({id},{})", id % 1000)).collect();
        conn.query_drop(format!("INSERT INTO n VALUES {}", rows.join(",")))
            .await
            .expect("an answer");
    }
}

/// Promise: inside of a transaction, a query sees what the session wrote and nobody else does;
/// after it, the transaction goes on.
#[test]
fn own_writes_are_seen() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let server = Running::start(dir.path(), Some(MEMORY)).await;
        let mut conn = shop(&server, 3).await;
        let mut other = server.connect().await;
        other.query_drop("USE d").await.unwrap();
        let sql = "SELECT COUNT(*), SUM(a.x) FROM a JOIN b ON a.id = b.a";
        conn.query_drop("BEGIN").await.unwrap();
        conn.query_drop("INSERT INTO b VALUES (9, 3, 9)").await.unwrap();
        conn.query_drop("UPDATE a SET x = x + 1").await.unwrap();
        conn.query_drop("DELETE FROM b WHERE id = 1").await.unwrap();
        let seen: Option<(i64, String)> = conn.query_first(sql).await.unwrap();
        assert_eq!(seen, Some((3, "63".to_owned())));
        let seen: Option<(i64, String)> = other.query_first(sql).await.unwrap();
        assert_eq!(seen, Some((3, "40".to_owned())));
        // An error inside leaves the transaction as it is.
        let error = conn.query_drop("SELECT (SELECT id FROM a) FROM b").await.unwrap_err();
        assert_eq!(code(&error), 1242);
        conn.query_drop("INSERT INTO b VALUES (10, 3, 9)").await.unwrap();
        conn.query_drop("COMMIT").await.unwrap();
        let seen: Option<(i64, String)> = other.query_first(sql).await.unwrap();
        assert_eq!(seen, Some((4, "94".to_owned())));
        conn.query_drop("BEGIN").await.unwrap();
        conn.query_drop("DELETE FROM b").await.unwrap();
        let seen: Option<(i64, Option<String>)> = conn.query_first(sql).await.unwrap();
        assert_eq!(seen, Some((0, None)));
        conn.query_drop("ROLLBACK").await.unwrap();
        let seen: Option<(i64, String)> = conn.query_first(sql).await.unwrap();
        assert_eq!(seen, Some((4, "94".to_owned())));
        server.end().await;
    });
}

/// Promise: prepared statements take parameters everywhere, and see tables as they are by then.
#[test]
fn prepared_statements() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let server = Running::start(dir.path(), Some(MEMORY)).await;
        let mut conn = shop(&server, 2).await;
        let sql = "SELECT a.id, b.d + ? AS v FROM a JOIN b ON a.id = b.a WHERE a.x > ? AND a.s <> ? \
                   ORDER BY b.id LIMIT ?";
        let statement = conn.prep(sql).await.unwrap();
        assert_eq!(statement.params().len(), 4);
        assert_eq!(statement.columns().len(), 2);
        let rows: Vec<(i32, Option<String>)> =
            conn.exec(&statement, (1, 5, "none", 2)).await.unwrap();
        assert_eq!(rows, [(1, Some("2.50".to_owned())), (1, Some("3.50".to_owned()))]);
        let rows: Vec<(i32, Option<String>)> =
            conn.exec(&statement, (1, 15, "none", 9)).await.unwrap();
        assert_eq!(rows, [(2, None)]);
        conn.query_drop("INSERT INTO b VALUES (7, 3, 7)").await.unwrap();
        let rows: Vec<(i32, Option<String>)> =
            conn.exec(&statement, (Value::NULL, 25, "none", 9)).await.unwrap();
        assert_eq!(rows, [(3, None)]);
        server.end().await;
    });
}

/// Promise: clients are told of tables' columns as of one table, and of computed ones by MySQL's
/// types.
#[test]
fn columns_are_described() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let server = Running::start(dir.path(), Some(MEMORY)).await;
        let mut conn = shop(&server, 2).await;
        let sql = "SELECT q.id AS k, q.x, r.d, COUNT(*) AS n, SUM(r.a), AVG(r.a), MAX(q.s), 1 / 3 \
                   FROM a q JOIN b r ON q.id = r.a GROUP BY q.id, r.d";
        let result = conn.query_iter(sql).await.unwrap();
        let columns = result.columns().unwrap();
        let described: Vec<_> = columns
            .iter()
            .map(|column| {
                let name = column.name_str().into_owned();
                (name, column.org_table_str().into_owned(), column.column_type(), column.decimals())
            })
            .collect();
        let expected = [
            ("k", "a", ColumnType::MYSQL_TYPE_LONG, 0),
            ("x", "a", ColumnType::MYSQL_TYPE_LONG, 0),
            ("d", "b", ColumnType::MYSQL_TYPE_NEWDECIMAL, 2),
            ("n", "", ColumnType::MYSQL_TYPE_LONGLONG, 0),
            ("SUM(r.a)", "", ColumnType::MYSQL_TYPE_NEWDECIMAL, 0),
            ("AVG(r.a)", "", ColumnType::MYSQL_TYPE_NEWDECIMAL, 4),
            ("MAX(q.s)", "", ColumnType::MYSQL_TYPE_VAR_STRING, 31),
            ("1 / 3", "", ColumnType::MYSQL_TYPE_NEWDECIMAL, 4),
        ];
        for (described, expected) in described.iter().zip(expected) {
            assert_eq!(described.0, expected.0);
            assert_eq!(described.1, expected.1);
            assert_eq!(described.2, expected.2);
            if described.2 == ColumnType::MYSQL_TYPE_NEWDECIMAL {
                assert_eq!(described.3, expected.3, "{}", described.0);
            }
        }
        assert!(columns[0].flags().contains(ColumnFlags::PRI_KEY_FLAG));
        assert_eq!(columns[0].table_str(), "q");
        drop(result);
        server.end().await;
    });
}

/// Promise: KILL QUERY ends a query that would take long, at once, and the connection goes on; the
/// same for a client that goes away.
#[test]
fn kill_ends_a_query() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let server = Running::start(dir.path(), Some(MEMORY)).await;
        let mut conn = shop(&server, 2).await;
        numbers(&mut conn, 20_000).await;
        let number = conn.id();
        let mut other = server.connect().await;
        let killer = tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(500)).await;
            other.query_drop(format!("KILL QUERY {number}")).await.unwrap();
            (Instant::now(), other)
        });
        // 4 * 10^8 rows, each computed.
        let sql = "SELECT COUNT(*) FROM n x, n y WHERE x.k + y.k = -1";
        let error = conn.query_drop(sql).await.unwrap_err();
        let (killed, mut other) = killer.await.unwrap();
        assert_eq!(code(&error), 1317);
        assert!(killed.elapsed() < Duration::from_secs(2), "{:?}", killed.elapsed());
        let count: Option<i64> =
            conn.query_first("SELECT COUNT(*) FROM a JOIN b ON a.id = b.a").await.unwrap();
        assert_eq!(count, Some(3));
        // Gone in the middle: dropping the future closes the connection.
        let gone = tokio::time::timeout(Duration::from_millis(300), conn.query_drop(sql)).await;
        assert!(gone.is_err());
        drop(conn);
        other.query_drop("USE d").await.unwrap();
        let count: Option<i64> =
            other.query_first("SELECT COUNT(*) FROM a JOIN b ON a.id = b.a").await.unwrap();
        assert_eq!(count, Some(3));
        drop(other);
        // Its thread is not busy with what nobody wants: the server ends at once.
        let began = Instant::now();
        server.end().await;
        assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    });
}

/// Promise: a query that needs more memory than queries may have fails with 1038, and the next one
/// runs.
#[test]
fn memory_is_bounded() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let server = Running::start(dir.path(), Some(4 << 20)).await;
        let mut conn = shop(&server, 2).await;
        numbers(&mut conn, 100_000).await;
        let sql = "SELECT COUNT(*) FROM (SELECT id, COUNT(*) AS c FROM n GROUP BY id ORDER BY c, id LIMIT 90000) q";
        let error = conn.query_drop(sql).await.unwrap_err();
        assert_eq!(code(&error), 1038);
        let count: Option<i64> =
            conn.query_first("SELECT COUNT(*) FROM (SELECT k FROM n GROUP BY k) q").await.unwrap();
        assert_eq!(count, Some(1000));
        server.end().await;
    });
}

/// Promise: rows are read by the primary key's range and by an index where a condition says so,
/// and the result is that of reading all.
#[test]
fn keys_and_indexes_are_used() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let server = Running::start(dir.path(), Some(MEMORY)).await;
        let mut conn = shop(&server, 3).await;
        numbers(&mut conn, 30_000).await;
        for (condition, expected) in [
            ("x.id = 7", 1),
            ("x.id >= 10 AND x.id < 20", 10),
            ("x.id > 10 AND x.id <= 20", 10),
            ("x.id BETWEEN 100 AND 199 AND x.k = 150", 1),
            ("x.id > 29990", 9),
            ("x.id < 0", 0),
            ("x.id > 1.5 AND x.id < '4'", 2),
            ("x.id = 1 OR x.id = 2", 2),
        ] {
            let sql = format!("SELECT COUNT(*) FROM n x JOIN n y ON x.id = y.id WHERE {condition}");
            let count: Option<i64> = conn.query_first(&sql).await.unwrap();
            assert_eq!(count, Some(expected), "{condition}");
        }
        let sql = "SELECT a.id, b.id FROM a, b WHERE b.a = 1 AND a.id = b.a ORDER BY b.id";
        let rows: Vec<(i32, i32)> = conn.query(sql).await.unwrap();
        assert_eq!(rows, [(1, 1), (1, 2)]);
        conn.query_drop("BEGIN").await.unwrap();
        conn.query_drop("UPDATE b SET a = 2 WHERE id = 2").await.unwrap();
        conn.query_drop("INSERT INTO b VALUES (8, 1, 8)").await.unwrap();
        let rows: Vec<(i32, i32)> = conn.query(sql).await.unwrap();
        assert_eq!(rows, [(1, 1), (1, 8)]);
        server.end().await;
    });
}

/// Promise: large results come whole, through the bounds on what waits.
#[test]
fn large_results_come_whole() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let server = Running::start(dir.path(), Some(MEMORY)).await;
        let mut conn = shop(&server, 3).await;
        numbers(&mut conn, 100_000).await;
        let rows: Vec<(i64, i64)> =
            conn.query("SELECT x.id, y.k FROM n x JOIN n y ON x.id = y.id").await.unwrap();
        assert_eq!(rows.len(), 100_000);
        assert!(rows.iter().all(|(id, k)| id % 1000 == *k));
        let mut ids: Vec<i64> = rows.into_iter().map(|(id, _)| id).collect();
        ids.sort_unstable();
        assert!(ids.iter().enumerate().all(|(at, id)| at as i64 == *id));
        server.end().await;
    });
}

/// Promise: aggregates over many rows of one table, which go the way of queries, are those of few.
#[test]
fn aggregates_of_many_rows() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let server = Running::start(dir.path(), Some(MEMORY)).await;
        let mut conn = shop(&server, 3).await;
        numbers(&mut conn, 50_000).await;
        let sql = "SELECT COUNT(*), SUM(k), AVG(k), MIN(id), MAX(id) FROM n WHERE k > ?";
        let row: Option<(i64, String, String, i32, i32)> =
            conn.exec_first(sql, (899,)).await.unwrap();
        let expected = (5000, "4747500".to_owned(), "949.5000".to_owned(), 900, 49_999);
        assert_eq!(row, Some(expected));
        conn.query_drop("BEGIN").await.unwrap();
        conn.query_drop("DELETE FROM n WHERE id = 49999").await.unwrap();
        let row: Option<(i64, i32)> =
            conn.query_first("SELECT COUNT(*), MAX(id) FROM n").await.unwrap();
        assert_eq!(row, Some((49_999, 49_998)));
        conn.query_drop("ROLLBACK").await.unwrap();
        let count: Option<i64> = conn.query_first("SELECT COUNT(*) FROM n").await.unwrap();
        assert_eq!(count, Some(50_000));
        server.end().await;
    });
}

/// Promise: EXPLAIN shows the steps of a query, and that of one table is one step.
#[test]
fn explain_shows_steps() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let server = Running::start(dir.path(), Some(MEMORY)).await;
        let mut conn = shop(&server, 2).await;
        let sql =
            "EXPLAIN SELECT a.s, SUM(b.d) FROM a JOIN b ON a.id = b.a WHERE a.x > 5 GROUP BY a.s";
        let lines: Vec<String> = conn.query(sql).await.unwrap();
        let all = lines.join("\n");
        for word in ["Aggregate", "Inner Join", "TableScan: a", "TableScan: b", "a.x > "] {
            assert!(all.contains(word), "{word} in\n{all}");
        }
        assert!(lines.len() < 12, "{all}");
        let lines: Vec<String> = conn.query("EXPLAIN SELECT x FROM a WHERE id = 1").await.unwrap();
        assert_eq!(lines, ["Direct: a: 1 rows by primary key"]);
        server.end().await;
    });
}

/// Promise: without somebody who runs queries, joins answer 1235; with somebody, what nobody can
/// run does.
#[test]
fn what_is_not_supported_says_so() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let server = Running::start(dir.path(), None).await;
        let mut conn = shop(&server, 1).await;
        for sql in ["SELECT * FROM a JOIN b ON a.id = b.a", "SELECT x FROM a GROUP BY x"] {
            assert_eq!(code(&conn.query_drop(sql).await.unwrap_err()), 1235, "{sql}");
        }
        drop(conn);
        server.end().await;
        let dir = tempfile::tempdir().unwrap();
        let server = Running::start(dir.path(), Some(MEMORY)).await;
        let mut conn = shop(&server, 1).await;
        for sql in [
            "SELECT a.id FROM a JOIN b ON a.id = b.a FOR UPDATE",
            "SELECT a.id, @n := a.id FROM a JOIN b ON a.id = b.a",
            "SELECT a.id, RAND(1) FROM a JOIN b ON a.id = b.a",
            "SELECT a.id, a.x IN (SELECT id FROM b) FROM a",
            "SELECT x, GROUPING(x) FROM a GROUP BY x WITH ROLLUP",
            "SELECT JSON_ARRAYAGG(x) FROM a GROUP BY s",
        ] {
            let error = conn.query_drop(sql).await.unwrap_err();
            assert!([1235, 1305].contains(&code(&error)), "{sql}: {error}");
        }
        server.end().await;
    });
}

/// Promise: what ONLY_FULL_GROUP_BY refuses is refused, and what the keys determine is not.
#[test]
fn groups_are_checked() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let server = Running::start(dir.path(), Some(MEMORY)).await;
        let mut conn = shop(&server, 1).await;
        for (sql, expected) in [
            ("SELECT x, COUNT(*) FROM a GROUP BY s", 1055),
            ("SELECT s FROM a GROUP BY s HAVING x > 1", 1055),
            ("SELECT s FROM a GROUP BY s ORDER BY x", 1055),
            ("SELECT x, COUNT(*) FROM a", 1140),
            ("SELECT *, COUNT(*) FROM a", 1140),
            ("SELECT a.s, COUNT(*) FROM a JOIN b ON a.id = b.a GROUP BY b.id, a.x", 1055),
        ] {
            assert_eq!(code(&conn.query_drop(sql).await.unwrap_err()), expected, "{sql}");
        }
        let rows: Vec<(i32, String, i64)> =
            conn.query("SELECT x, s, COUNT(*) FROM a GROUP BY id ORDER BY id").await.unwrap();
        assert_eq!(rows.len(), 3);
        assert_eq!(rows[1], (20, "two".to_owned(), 1));
        let rows: Vec<(String, i64)> = conn
            .query("SELECT a.s, COUNT(*) FROM a JOIN b ON a.id = b.a GROUP BY b.a ORDER BY a.s")
            .await
            .unwrap();
        assert_eq!(rows, [("one".to_owned(), 2), ("two".to_owned(), 1)]);
        server.end().await;
    });
}

/// Promise: information_schema says what there is, as MySQL does, and can be asked like any tables.
#[test]
fn views_say_what_there_is() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let server = Running::start(dir.path(), Some(MEMORY)).await;
        let mut conn = shop(&server, 2).await;
        let rows: Vec<(String, String, String)> = conn
            .query(
                "SELECT table_name, column_name, column_key FROM information_schema.columns \
                 WHERE table_schema = DATABASE() ORDER BY table_name, ordinal_position",
            )
            .await
            .unwrap();
        let shown: Vec<_> = rows.iter().map(|(t, c, k)| format!("{t}.{c} {k}")).collect();
        assert_eq!(shown, ["a.id PRI", "a.x ", "a.s ", "b.id PRI", "b.a MUL", "b.d "]);
        let joined: Vec<(String, u64)> = conn
            .exec(
                "SELECT t.TABLE_NAME, COUNT(*) FROM information_schema.TABLES t \
                 JOIN information_schema.STATISTICS s USING (TABLE_SCHEMA, TABLE_NAME) \
                 WHERE t.TABLE_SCHEMA = ? GROUP BY t.TABLE_NAME ORDER BY 1",
                ("d",),
            )
            .await
            .unwrap();
        assert_eq!(joined, [("a".to_owned(), 1), ("b".to_owned(), 2)]);
        conn.query_drop("USE information_schema").await.unwrap();
        let state: Vec<(String, f64)> = conn
            .query("SELECT STATE, PERCENT FROM MV_RECOVERY_STATUS WHERE DATABASE_NAME = 'd'")
            .await
            .unwrap();
        assert_eq!(state, vec![("ONLINE".to_owned(), 100.0); 2]);
        let views: Vec<String> = conn.query("SHOW TABLES LIKE '%TABLES'").await.unwrap();
        assert_eq!(views, ["TABLES"]);
        for (sql, expected) in [
            ("SELECT * FROM nothing", 1109),
            ("CREATE DATABASE Information_Schema", 1007),
            ("DELETE FROM tables", 1049),
        ] {
            let error = conn.query_drop(sql).await.unwrap_err();
            assert_eq!(code(&error), expected, "{sql}");
        }
        conn.disconnect().await.unwrap();
        server.end().await;
    });
}
