//! Which way statements on one table go, and that rows found by key are those of a full scan.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod running;
mod runtime;

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Value};
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
            (
                "SELECT c FROM s WHERE k IN (5, 6, NULL, 5)",
                "s: 2 ranges of index 'k_1' of 4 partitions, filtered",
            ),
            (
                "SELECT v FROM two WHERE a IN (1, 2, 3)",
                "two: 3 ranges of the primary key of 3 partitions, filtered",
            ),
            (
                "SELECT c FROM s WHERE k IN (NULL)",
                "s: 0 ranges of index 'k_1' of 0 partitions, filtered",
            ),
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

/// Numbers that are the same in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % bound
    }

    fn of<'a>(&mut self, choices: &[&'a str]) -> &'a str {
        choices[self.below(choices.len())]
    }
}

/// Literals of a column: of its type, of others that become it, and some that do not.
fn literals(column: &str) -> &'static [&'static str] {
    match column {
        "d" => &["'2024-01-01'", "'2024-01-02'", "DATE '2024-01-03'", "20240101", "NULL"],
        "m" => &["0.5", "1.50", "1", "'1.5'", "2.005", "-1.25", "1e0", "NULL"],
        "s" => &["'a'", "'A'", "'b'", "'b '", "'ä'", "1", "'1'", "''", "NULL"],
        "v" => &["'a'", "'A'", "x'6200'", "'b'", "_binary'b'", "NULL"],
        "big" => &["0", "1", "18446744073709551615", "-1", "'1'", "NULL"],
        _ => &[
            "0",
            "1",
            "2",
            "2",
            "'2'",
            "'2.0'",
            "2.0",
            "2.5",
            "'x'",
            "-3",
            "TRUE",
            "5000000000",
            "NULL",
        ],
    }
}

const COLUMNS: [&str; 8] = ["a", "b", "k", "d", "m", "s", "v", "big"];

/// A condition of a few parts, one at least a list; and the values of its parameters.
fn condition(random: &mut Random, parameters: &mut Vec<Value>) -> String {
    let parts = 1 + random.below(3);
    let mut all = Vec::new();
    for part in 0..parts {
        let column = COLUMNS[random.below(COLUMNS.len())];
        if part > 0 && random.below(3) == 0 {
            let op = random.of(&["=", "<", ">=", "<>"]);
            all.push(format!("{column} {op} {}", random.of(literals(column))));
            continue;
        }
        let list: Vec<String> = (0..1 + random.below(6))
            .map(|_| match random.below(8) {
                0 => {
                    parameters.push(match random.below(5) {
                        0 => Value::NULL,
                        1 => Value::Bytes(b"2".to_vec()),
                        2 => Value::Bytes(b"a".to_vec()),
                        number => Value::Int(number as i64),
                    });
                    "?".to_owned()
                }
                _ => random.of(literals(column)).to_owned(),
            })
            .collect();
        all.push(format!("{column} IN ({})", list.join(",")));
    }
    all.join(" AND ")
}

/// Two tables with the same rows: one with indexes, the other to be read as a whole.
async fn twins(conn: &mut Conn, random: &mut Random) {
    let columns = "id INT NOT NULL, a INT NOT NULL, b INT NOT NULL, k INT, d DATE, m DECIMAL(6,2), \
        s VARCHAR(10), v VARBINARY(6), big BIGINT UNSIGNED";
    for (name, keys) in [
        (
            "t",
            "PRIMARY KEY (a, b, id), SHARD KEY (a), KEY (k), KEY (d, k), KEY (m), KEY (s), \
                KEY (k, s), KEY (v), UNIQUE KEY (a, big, id), KEY (b, k, big)",
        ),
        ("u", "PRIMARY KEY (id)"),
    ] {
        conn.query_drop(format!("CREATE TABLE {name} ({columns}, {keys})")).await.unwrap();
    }
    let values: Vec<String> = (0..400)
        .map(|id| {
            let number = |random: &mut Random| random.below(4).to_string();
            let (a, b) = (number(random), number(random));
            let k = random.of(&["0", "1", "2", "3", "-3", "NULL"]);
            let d = random.of(&["'2024-01-01'", "'2024-01-02'", "'2024-01-03'", "NULL"]);
            let m = random.of(&["0.50", "1.50", "1", "2.01", "-1.25", "NULL"]);
            let s = random.of(&["'a'", "'A'", "'b'", "'B'", "'Ä'", "'1'", "''", "NULL"]);
            let v = random.of(&["'a'", "'A'", "'b'", "x'6200'", "NULL"]);
            let big = random.of(&["0", "1", "18446744073709551615", "NULL"]);
            format!("({id},{a},{b},{k},{d},{m},{s},{v},{big})")
        })
        .collect();
    for name in ["t", "u"] {
        conn.query_drop(format!("INSERT INTO {name} VALUES {}", values.join(","))).await.unwrap();
    }
}

/// The rows that a condition finds, or the number of the error.
async fn found(
    conn: &mut Conn,
    table: &str,
    condition: &str,
    parameters: &[Value],
) -> Result<Vec<i64>, u16> {
    let text = format!("SELECT id FROM {table} WHERE {condition}");
    let found: Result<Vec<i64>, _> = match parameters {
        [] => conn.query(text).await,
        _ => conn.exec(text, parameters.to_vec()).await,
    };
    let mut found = found.map_err(|error| code(&error))?;
    found.sort_unstable();
    Ok(found)
}

/// Promise: rows that a list of values finds by an index or the front of a key are those of a full scan,
/// each once: with NULLs, values named twice, values of other types, letters of either case, other
/// conditions beside, parameters, and the session's own changes.
#[test]
fn lists_find_by_index_what_a_full_scan_finds() {
    run(async {
        let (_dir, server, mut conn) = fresh().await;
        let mut random = Random(7);
        twins(&mut conn, &mut random).await;
        let (mut by_ranges, mut rows_found) = (0, 0);
        for round in 0..1200 {
            if round == 800 {
                conn.query_drop("BEGIN").await.unwrap();
                for table in ["t", "u"] {
                    for change in [
                        format!("UPDATE {table} SET k = 2, big = 1 WHERE id % 7 = 0"),
                        format!("DELETE FROM {table} WHERE id % 11 = 0"),
                        format!("INSERT INTO {table} VALUES (900,1,1,1,NULL,1.5,'a','a',NULL)"),
                        format!("UPDATE {table} SET a = 1 WHERE id % 13 = 0"),
                    ] {
                        conn.query_drop(change).await.unwrap();
                    }
                }
            }
            let mut parameters = Vec::new();
            let condition = condition(&mut random, &mut parameters);
            let expected = found(&mut conn, "u", &condition, &parameters).await;
            let Ok(expected) = expected else { continue };
            let actual = found(&mut conn, "t", &condition, &parameters).await;
            assert_eq!(actual.as_ref(), Ok(&expected), "{condition} {parameters:?}");
            rows_found += expected.len();
            if parameters.is_empty() {
                let way =
                    rows(&mut conn, &format!("EXPLAIN SELECT id FROM t WHERE {condition}")).await;
                by_ranges += usize::from(way[0].contains("ranges of"));
            }
        }
        assert!(by_ranges > 200 && rows_found > 5000, "{by_ranges} {rows_found}");
        conn.query_drop("ROLLBACK").await.unwrap();
        for _ in 0..60 {
            let condition = condition(&mut random, &mut Vec::new()).replace('?', "2");
            let change = |table: &str| match random.0 % 2 {
                0 => format!("DELETE FROM {table} WHERE {condition}"),
                _ => format!("UPDATE {table} SET k = k + 1, big = 0 WHERE {condition}"),
            };
            let [t, u] = [change("t"), change("u")];
            conn.query_drop("BEGIN").await.unwrap();
            if conn.query_drop(u).await.is_ok() {
                let affected = conn.affected_rows();
                conn.query_drop(&t).await.unwrap();
                assert_eq!(conn.affected_rows(), affected, "{t}");
                let all = "SELECT id, a, b, k, big FROM {} ORDER BY id";
                let now = [all.replace("{}", "t"), all.replace("{}", "u")];
                assert_eq!(rows(&mut conn, &now[0]).await, rows(&mut conn, &now[1]).await, "{t}");
            }
            conn.query_drop("ROLLBACK").await.unwrap();
        }
        drop(conn);
        server.end().await;
    });
}
