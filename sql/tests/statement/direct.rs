//! Statements that name their rows by key.

use std::time::Instant;

use resprout_engine::table::TableSchema;
use resprout_sql::statement::direct::{plan, table};
use resprout_sql::statement::{Statement, parse};

use crate::golden::check;

fn schema(text: &str) -> TableSchema {
    match parse(text.as_bytes()).expect("sound").statement {
        Statement::CreateTable(table) => table.definition().expect("sound").schema,
        other => panic!("{other:?}"),
    }
}

fn schemas() -> Vec<TableSchema> {
    vec![
        schema(
            "CREATE TABLE sbtest1 (id INT NOT NULL AUTO_INCREMENT, k INT DEFAULT '0' NOT NULL, \
            c CHAR(120) DEFAULT '' NOT NULL, pad CHAR(60) DEFAULT '' NOT NULL, PRIMARY KEY (id))",
        ),
        schema(
            "CREATE TABLE two (a BIGINT, b VARCHAR(20), v DOUBLE, d DATE, PRIMARY KEY (a, b), \
            SHARD KEY (a))",
        ),
        schema("CREATE TABLE heap (a INT, b INT)"),
        schema("CREATE TABLE dec2 (p DECIMAL(6,2) PRIMARY KEY, at DATETIME)"),
    ]
}

/// The debug form of the plan on one line; `-` if there is none.
fn answer(text: &str) -> String {
    let statement =
        parse(text.as_bytes()).unwrap_or_else(|error| panic!("{text}: {error}")).statement;
    let Some(name) = table(&statement) else { return "-".to_owned() };
    let schemas = schemas();
    let schema = schemas.iter().find(|schema| schema.name == name.table);
    let schema = schema.unwrap_or_else(|| panic!("{text}: {name}"));
    plan(&statement, schema).map_or("-".to_owned(), |plan| format!("{plan:?}"))
}

/// Guards: each statement has the plan that the file says, or none.
#[test]
fn plans_are_what_they_should_be() {
    check("direct.txt", answer);
}

/// Measures planning and parsing of direct statements; prints nanoseconds. With
/// `cargo test --release -p resprout-sql -- --ignored --nocapture planning`.
#[test]
#[ignore = "a measurement"]
fn planning_takes_less_than_five_microseconds() {
    let schema = &schemas()[0];
    for text in [
        "SELECT c FROM sbtest1 WHERE id=?",
        "SELECT c FROM sbtest1 WHERE id=5",
        "SELECT SUM(k) FROM sbtest1 WHERE id BETWEEN ? AND ?",
        "SELECT DISTINCT c FROM sbtest1 WHERE id BETWEEN ? AND ? ORDER BY c",
        "UPDATE sbtest1 SET k=k+1 WHERE id=?",
        "DELETE FROM sbtest1 WHERE id=?",
        "INSERT INTO sbtest1 (id, k, c, pad) VALUES (?, ?, ?, ?)",
    ] {
        const ROUNDS: u32 = 20_000;
        let statement = parse(text.as_bytes()).expect("sound").statement;
        let begun = Instant::now();
        for _ in 0..ROUNDS {
            std::hint::black_box(parse(std::hint::black_box(text.as_bytes())).expect("sound"));
        }
        let parsing = begun.elapsed() / ROUNDS;
        let begun = Instant::now();
        for _ in 0..ROUNDS {
            std::hint::black_box(plan(std::hint::black_box(&statement), schema).expect("direct"));
        }
        let planning = begun.elapsed() / ROUNDS;
        println!("{planning:>10.2?} to plan, {parsing:>10.2?} to parse: {text}");
        assert!(planning.as_micros() < 5, "{planning:?}: {text}");
    }
    let rows = vec!["(123456,7890,'abcdefghijklmnopqrstuvwxyz','some more text here')"; 1000];
    let text = format!("INSERT INTO sbtest1 (id, k, c, pad) VALUES {}", rows.join(","));
    let begun = Instant::now();
    for _ in 0..100 {
        std::hint::black_box(parse(text.as_bytes()).expect("sound"));
    }
    let each = begun.elapsed() / 100;
    let rate = 1000.0 / each.as_secs_f64() / 1e6;
    println!("{each:?} for an INSERT of 1000 rows ({} bytes): {rate:.2} M rows/s", text.len());
}
