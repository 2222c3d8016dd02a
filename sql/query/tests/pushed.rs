//! What is pushed down to where rows are: whatever is asked, the answer is that of the same question which is not.
//!
//! `c XOR 0` is true where `c` is, and no leaf judges it: so the second form of each question reads columns, and the
//! rest is done where it was asked. `RESPROUT_MEASURE=400000` measures both forms with so many rows.
#![allow(clippy::unwrap_used, reason = "a test may")]

mod support;

use std::time::{Duration, Instant};

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Row, Value};
use resprout_node::testing::Cluster;
use resprout_wal::world::Rng;
use support::{Running, run};

const MEMORY: usize = 256 << 20;

const TABLE: &str = "CREATE TABLE m (id BIGINT PRIMARY KEY, k INT, u BIGINT UNSIGNED, d DECIMAL(12,3), s VARCHAR(20), \
    w VARCHAR(20), b VARBINARY(8), day DATE, ts TIMESTAMP NULL, f DOUBLE, t TIME, n BIGINT NOT NULL, KEY by_k (k))";

fn below(rng: &mut Rng, end: u64) -> i64 {
    i64::try_from(rng.below(end)).unwrap()
}

fn one_of<'a>(rng: &mut Rng, of: &[&'a str]) -> &'a str {
    of[usize::try_from(rng.below(of.len() as u64)).unwrap()]
}

/// A literal of a column.
fn literal(rng: &mut Rng, column: &str) -> String {
    match column {
        "id" => below(rng, 3000).to_string(),
        "k" => (below(rng, 9) - 4).to_string(),
        "u" => below(rng, 5).to_string(),
        "d" => format!("{}.{:03}", below(rng, 5) - 2, below(rng, 3) * 250),
        "s" => {
            one_of(rng, &["'a'", "'A '", "'ä'", "'b'", "'B'", "''", "' '", "'straße'"]).to_owned()
        }
        "w" => format!("'w{:02}'", below(rng, 20)),
        "b" => one_of(rng, &["'x'", "'X'", "'x '", "''"]).to_owned(),
        "day" => format!("'2024-02-2{}'", below(rng, 9) + 1),
        "ts" => format!("'2024-03-10 0{}:30:00'", below(rng, 9)),
        "f" => format!("{}.5", below(rng, 5) - 2),
        "t" => format!("'0{}:15:00'", below(rng, 9)),
        _ => below(rng, 1000).to_string(),
    }
}

const COLUMNS: [&str; 12] = ["id", "k", "u", "d", "s", "w", "b", "day", "ts", "f", "t", "n"];

fn values(rng: &mut Rng, id: i64) -> String {
    let mut row = vec![id.to_string()];
    for column in &COLUMNS[1..] {
        let null = *column != "n" && rng.below(6) == 0;
        row.push(if null { "NULL".to_owned() } else { literal(rng, column) });
    }
    format!("({})", row.join(","))
}

/// A constant that a column is compared with: mostly of its own type.
fn constant(rng: &mut Rng, column: &str) -> String {
    match rng.below(12) {
        0 => "NULL".to_owned(),
        1 => one_of(rng, &["1", "'1'", "0.5", "-1", "'2024-02-21'", "1e0", "18446744073709551615"])
            .to_owned(),
        _ => literal(rng, column),
    }
}

fn condition(rng: &mut Rng, depth: u32) -> String {
    let column = one_of(rng, &COLUMNS);
    match rng.below(9) {
        0 if depth > 0 => format!("NOT ({})", condition(rng, depth - 1)),
        1 if depth > 0 => {
            format!("({}) AND ({})", condition(rng, depth - 1), condition(rng, depth - 1))
        }
        2 | 3 if depth > 0 => {
            format!("({}) OR ({})", condition(rng, depth - 1), condition(rng, depth - 1))
        }
        4 => format!("{column} IS {}NULL", one_of(rng, &["", "NOT "])),
        5 => {
            let items = [constant(rng, column), constant(rng, column), constant(rng, column)];
            format!("{column} {}IN ({})", one_of(rng, &["", "NOT "]), items.join(", "))
        }
        6 => {
            let (low, high) = (constant(rng, column), constant(rng, column));
            format!("{column} {}BETWEEN {low} AND {high}", one_of(rng, &["", "NOT "]))
        }
        _ => {
            let op = one_of(rng, &["=", "<>", "<", "<=", ">", ">="]);
            format!("{column} {op} {}", constant(rng, column))
        }
    }
}

const CALLS: [&str; 18] = [
    "COUNT(*)", "COUNT(k)", "COUNT(s)", "COUNT(f)", "SUM(k)", "SUM(u)", "SUM(d)", "SUM(f)",
    "SUM(n)", "AVG(n)", "AVG(d)", "MIN(k)", "MAX(d)", "MIN(w)", "MAX(w)", "MAX(ts)", "MIN(day)",
    "MAX(t)",
];

/// A question, without its condition: what is asked, and what it ends with.
fn question(rng: &mut Rng) -> (String, String) {
    let mut calls = Vec::new();
    for _ in 0..=rng.below(4) {
        calls.push(one_of(rng, &CALLS));
    }
    let calls = calls.join(", ");
    let by = one_of(rng, &["", "", "k", "s", "w, u", "day", "d", "n", "ts", "b", "f", "k, s"]);
    if by.is_empty() {
        return (format!("SELECT {calls} FROM m"), String::new());
    }
    (format!("SELECT {by}, {calls} FROM m"), format!("GROUP BY {by}"))
}

async fn rows(conn: &mut Conn, sql: &str) -> Vec<String> {
    let rows: Vec<Row> = conn.query(sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    let show = |value: Value| match value {
        Value::Bytes(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        other => format!("{other:?}"),
    };
    let mut rows: Vec<String> = rows
        .into_iter()
        .map(|row| row.unwrap().into_iter().map(show).collect::<Vec<_>>().join("|"))
        .collect();
    rows.sort_unstable();
    rows
}

async fn is_pushed(conn: &mut Conn, sql: &str) -> bool {
    let lines: Vec<String> = conn.query(format!("EXPLAIN {sql}")).await.unwrap();
    lines.iter().any(|line| line.contains("n the leaves"))
}

/// Asks both forms of many questions.
async fn compare(conn: &mut Conn, rng: &mut Rng, rounds: usize) {
    let mut pushed = 0;
    for round in 0..rounds {
        let (asks, by) = match round % 5 {
            0 => ("SELECT id, s FROM m".to_owned(), "ORDER BY id".to_owned()),
            1 => (
                "SELECT m.id, x.w FROM m JOIN m x ON m.id = x.n AND x.k = 1".to_owned(),
                String::new(),
            ),
            _ => question(rng),
        };
        let mut of = if round % 7 == 3 { "m.id IS NOT NULL".to_owned() } else { condition(rng, 2) };
        if round % 5 == 1 {
            let columns = ["id", "k", "u", "d", "s", "w", "b", "day", "ts", "f", "t", "n"];
            let words = of.split_inclusive([' ', '(']).map(|word| {
                let is_column = columns.contains(&word.trim_end_matches([' ', '(']));
                if is_column { format!("m.{word}") } else { word.to_owned() }
            });
            of = words.collect();
        }
        let short = format!("{asks} WHERE {of} {by}");
        let long = format!("{asks} WHERE ({of}) XOR 0 {by}");
        assert_eq!(rows(conn, &short).await, rows(conn, &long).await, "{short}");
        pushed += usize::from(is_pushed(conn, &short).await);
        if round % 5 > 1 {
            assert!(!is_pushed(conn, &long).await, "{long}");
        }
    }
    assert!(pushed > rounds / 3, "{pushed} of {rounds} are pushed down");
}

async fn fill(conn: &mut Conn, rng: &mut Rng, partitions: usize) {
    conn.query_drop(format!("CREATE DATABASE d{partitions} PARTITIONS {partitions}"))
        .await
        .unwrap();
    conn.query_drop(format!("USE d{partitions}")).await.unwrap();
    conn.query_drop(TABLE).await.unwrap();
    for from in (0..3000).step_by(500) {
        let values: Vec<String> = (from..from + 500).map(|id| values(rng, id)).collect();
        conn.query_drop(format!("INSERT INTO m VALUES {}", values.join(","))).await.unwrap();
    }
}

/// Own writes that nobody else sees, by which every row differs.
async fn change(conn: &mut Conn) {
    conn.query_drop("BEGIN").await.unwrap();
    conn.query_drop("UPDATE m SET k = k + 1, s = 'own' WHERE n < 300").await.unwrap();
    conn.query_drop("DELETE FROM m WHERE n BETWEEN 300 AND 350").await.unwrap();
}

/// Promise: on one node, with one partition and several, and inside of a transaction that has written.
#[test]
fn one_node_answers_the_same() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let server = Running::start(dir.path(), Some(MEMORY)).await;
        let mut rng = Rng::new(41);
        for partitions in [1, 3] {
            let mut conn = server.connect().await;
            fill(&mut conn, &mut rng, partitions).await;
            compare(&mut conn, &mut rng, 120).await;
            change(&mut conn).await;
            compare(&mut conn, &mut rng, 30).await;
            conn.query_drop("ROLLBACK").await.unwrap();
        }
        server.end().await;
    });
}

/// Promise: over a cluster of two leaves too; and what one node answers, a cluster does.
#[test]
fn a_cluster_answers_the_same() {
    run(async {
        let cluster = Cluster::builder().voters(1).leaves(2).redundancy(1).start().await.unwrap();
        let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let one = Running::start(dirs[0].path(), Some(MEMORY)).await;
        let all = Running::over(dirs[1].path(), cluster.statements().unwrap(), MEMORY).await;
        let (mut near, mut far) = (one.connect().await, all.connect().await);
        fill(&mut near, &mut Rng::new(43), 4).await;
        fill(&mut far, &mut Rng::new(43), 4).await;
        let mut rng = Rng::new(47);
        compare(&mut far, &mut rng, 100).await;
        for _ in 0..60 {
            let ((asks, by), of) = (question(&mut rng), condition(&mut rng, 2));
            let sql = format!("{asks} WHERE {of} {by}");
            assert_eq!(rows(&mut far, &sql).await, rows(&mut near, &sql).await, "{sql}");
        }
        change(&mut far).await;
        compare(&mut far, &mut rng, 30).await;
        far.query_drop("ROLLBACK").await.unwrap();
        let few = "SELECT COUNT(*) FROM (SELECT id FROM m WHERE n >= 0 LIMIT 7) x";
        assert_eq!(rows(&mut far, few).await, ["7"]);
        let asked = "SELECT COUNT(*), SUM(n) FROM m WHERE k = ? AND d < ? OR s IN (?, ?)";
        let found: Option<(i64, String)> =
            far.exec_first(asked, (1, "0.5", "A", "b")).await.unwrap();
        let written = "SELECT COUNT(*), SUM(n) FROM m WHERE k = 1 AND d < '0.5' OR s IN ('A', 'b')";
        let (count, sum) = found.unwrap();
        assert_eq!(rows(&mut near, written).await, [format!("{count}|{sum}")]);
        one.end().await;
        all.end().await;
    });
}

/// Promise: EXPLAIN says what is done on the leaves.
#[test]
fn explain_says_what_is_done_there() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let server = Running::start(dir.path(), Some(MEMORY)).await;
        let mut conn = server.connect().await;
        fill(&mut conn, &mut Rng::new(3), 3).await;
        let sql = "EXPLAIN SELECT u, COUNT(*), AVG(d) FROM m WHERE n < 10 AND f > 0.5 AND s LIKE 'a%' GROUP BY u";
        let lines: Vec<String> = conn.query(sql).await.unwrap();
        assert_eq!(
            lines.last().unwrap(),
            "On the leaves: m: WHERE n < 10 AND f > 0.5",
            "{lines:#?}"
        );
        let sql = "EXPLAIN SELECT u, COUNT(*), AVG(d), MAX(s) FROM m WHERE u < 10 GROUP BY u";
        let lines: Vec<String> = conn.query(sql).await.unwrap();
        let expected =
            "On the leaves: m: WHERE u < 10; GROUP BY u; COUNT(*), SUM(d), COUNT(d), MAX(s)";
        assert_eq!(lines.last().unwrap(), expected, "{lines:#?}");
        server.end().await;
    });
}

/// The least time of some runs.
async fn time(conn: &mut Conn, sql: &str) -> Duration {
    let mut least = Duration::MAX;
    for _ in 0..5 {
        let began = Instant::now();
        rows(conn, sql).await;
        least = least.min(began.elapsed());
    }
    least
}

/// What it is worth, over a cluster of two leaves and on one node.
#[test]
fn measured() {
    let Some(rows) =
        std::env::var("RESPROUT_MEASURE").ok().and_then(|rows| rows.parse::<i64>().ok())
    else {
        return;
    };
    run(async {
        let cluster = Cluster::builder().voters(1).leaves(2).redundancy(1).start().await.unwrap();
        let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let one = Running::start(dirs[0].path(), Some(MEMORY)).await;
        let all = Running::over(dirs[1].path(), cluster.statements().unwrap(), MEMORY).await;
        for (name, server) in [("one node", &one), ("two leaves", &all)] {
            let mut conn = server.connect().await;
            conn.query_drop("CREATE DATABASE d PARTITIONS 4").await.unwrap();
            conn.query_drop("USE d").await.unwrap();
            let table = "CREATE TABLE m (id BIGINT PRIMARY KEY, k INT, n BIGINT, d DECIMAL(12,2), s VARCHAR(60))";
            conn.query_drop(table).await.unwrap();
            for from in (0..rows).step_by(5000) {
                let values = (from..from + 5000).map(|id| {
                    format!(
                        "({id},{},{},{}.25,'a text of the usual length {}')",
                        id % 10,
                        id * 7919 % 100,
                        id % 1000,
                        id % 50
                    )
                });
                let values: Vec<String> = values.collect();
                conn.query_drop(format!("INSERT INTO m VALUES {}", values.join(",")))
                    .await
                    .unwrap();
            }
            for (asks, of, by) in [
                ("SELECT MIN(n), MAX(n), COUNT(*) FROM m", "", ""),
                ("SELECT k, COUNT(*), SUM(n) FROM m", "", "GROUP BY k"),
                ("SELECT s, COUNT(*), SUM(d) FROM m", "", "GROUP BY s"),
                ("SELECT id, s FROM m", "n = 42", ""),
                ("SELECT COUNT(*), SUM(d) FROM m", "s = 'A TEXT of the usual length 7'", ""),
                ("SELECT k, COUNT(*) FROM m", "n < 50", "GROUP BY k"),
            ] {
                let (short, long) = match of {
                    "" => (format!("{asks} {by}"), format!("{asks} WHERE id IS NULL XOR 1 {by}")),
                    of => (
                        format!("{asks} WHERE {of} {by}"),
                        format!("{asks} WHERE ({of}) XOR 0 {by}"),
                    ),
                };
                let (pushed, not) = (time(&mut conn, &short).await, time(&mut conn, &long).await);
                println!("{name}: {short}: {pushed:?}, columns alone {not:?}");
            }
        }
    });
}
