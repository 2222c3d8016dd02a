//! Which way statements on one table go, and that rows found by key are those of a full scan.

mod running;
mod runtime;

use mysql_async::prelude::Queryable;
use running::*;
use runtime::run;

/// Promise: EXPLAIN tells the way that a query goes: by key, by index, or through the whole table.
#[test]
fn explain_tells_how_rows_are_found() {
    run(async {
        let (_dir, server, mut conn) = fresh().await;
        conn.query_drop(
            "CREATE TABLE s (id INT NOT NULL PRIMARY KEY, k INT NOT NULL, c CHAR(20), KEY k_1 (k))",
        )
        .await
        .unwrap();
        conn.query_drop(
            "CREATE TABLE two (a BIGINT, b VARCHAR(20), v DOUBLE, PRIMARY KEY (a, b), SHARD KEY (a))",
        )
        .await
        .unwrap();
        for (text, way) in [
            ("SELECT c FROM s WHERE id = 5", "s: 1 rows by primary key"),
            ("SELECT UPPER(c) FROM s AS t WHERE t.id = '7'", "s: 1 rows by primary key"),
            ("SELECT c FROM s WHERE id IN (1, 2, 2, 3)", "s: 3 rows by primary key"),
            ("SELECT c FROM s WHERE id = 1 AND id = 2", "s: 1 rows by primary key, filtered"),
            ("SELECT c FROM s WHERE id = 1 FOR UPDATE", "s: 1 rows by primary key"),
            (
                "SELECT DISTINCT c FROM s WHERE id BETWEEN 1 AND 3 ORDER BY c LIMIT 5, 10",
                "s: a range of the primary key of 4 partitions",
            ),
            (
                "SELECT COUNT(*), MIN(k), MAX(id), COUNT(DISTINCT c) FROM s WHERE id > 5",
                "s: a range of the primary key of 4 partitions",
            ),
            (
                "SELECT k AS c FROM s WHERE id > 5 ORDER BY c",
                "s: a range of the primary key of 4 partitions",
            ),
            ("SELECT v FROM two WHERE a = 1", "two: a range of the primary key of 1 partitions"),
            ("SELECT c FROM s WHERE k = 5", "s: a range of index 'k_1' of 4 partitions, filtered"),
            ("SELECT c FROM s", "s: all rows of 4 partitions"),
            ("SELECT c FROM s WHERE id = 5.5", "s: all rows of 4 partitions, filtered"),
            ("SELECT c FROM s WHERE id + 1 = 5", "s: all rows of 4 partitions, filtered"),
            ("SELECT c FROM s WHERE id = 5 OR id = 6", "s: all rows of 4 partitions, filtered"),
            ("SELECT 1", "One row without a table"),
        ] {
            let expected =
                if way.contains(": ") { format!("Direct: {way}") } else { way.to_owned() };
            let told = rows(&mut conn, &format!("EXPLAIN {text}")).await;
            // The helper doubles quotes.
            assert_eq!(told[0].replace("''", "'"), expected, "{text}");
        }
        for (text, expected) in [
            ("SELECT x FROM s WHERE id = 5", 1054),
            ("SELECT c FROM s AS t WHERE s.id = 5", 1054),
            ("SELECT c FROM s WHERE id = 5 GROUP BY c", 1235),
            ("SELECT c FROM s WHERE id = 5 HAVING c > 1", 1235),
            ("SELECT c, COUNT(*) FROM s WHERE id = 5", 1235),
            ("SELECT c FROM s WHERE id = 5 UNION SELECT 1", 1235),
            ("SELECT a.c FROM s a JOIN s b ON a.id = b.id WHERE a.id = 1", 1235),
        ] {
            assert_eq!(fails(&mut conn, &format!("EXPLAIN {text}")).await, expected, "{text}");
        }
        drop(conn);
        server.end().await;
    });
}
