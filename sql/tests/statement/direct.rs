//! Filters that name rows by key.

use std::time::Instant;

use resprout_engine::table::TableSchema;
use resprout_sql::statement::direct::{Rows, rows};
use resprout_sql::statement::{Statement, TableName, parse};
use sqlparser::ast::{Expr, Query, SetExpr, TableFactor};

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
            c CHAR(120) DEFAULT '' NOT NULL, pad CHAR(60) DEFAULT '' NOT NULL, PRIMARY KEY (id), \
            KEY k_1 (k), UNIQUE KEY k_c (id, k, c))",
        ),
        schema(
            "CREATE TABLE two (a BIGINT, b VARCHAR(20), v DOUBLE, d DATE, PRIMARY KEY (a, b), \
            SHARD KEY (a))",
        ),
        schema("CREATE TABLE heap (a INT, b INT)"),
        schema("CREATE TABLE dec2 (p DECIMAL(6,2) PRIMARY KEY, at DATETIME)"),
    ]
}

/// The table of a statement, the name it has there, and its filter.
fn parts(statement: &Statement) -> Option<(String, String, Option<&Expr>)> {
    let changed = |table: &TableName, alias: Option<&str>| {
        (table.table.clone(), alias.unwrap_or(&table.table).to_owned())
    };
    let (table, name, filter) = match statement {
        Statement::Query(query) => return parts_of_query(query),
        Statement::Update(update) => {
            let (table, name) = changed(&update.table, update.alias.as_deref());
            (table, name, &update.selection.filter)
        }
        Statement::Delete(delete) => {
            let (table, name) = changed(&delete.table, delete.alias.as_deref());
            (table, name, &delete.selection.filter)
        }
        _ => return None,
    };
    Some((table, name, filter.as_ref().map(|filter| &***filter)))
}

fn parts_of_query(query: &Query) -> Option<(String, String, Option<&Expr>)> {
    let SetExpr::Select(select) = &*query.body else { return None };
    let TableFactor::Table { name, alias, .. } = &select.from.first()?.relation else {
        return None;
    };
    let table = name.0.last()?.as_ident()?.value.clone();
    let alias = alias.as_ref().map_or(&table, |alias| &alias.name.value).clone();
    Some((table, alias, select.selection.as_ref()))
}

fn found(statement: &Statement, schemas: &[TableSchema]) -> Option<Rows> {
    let (table, name, filter) = parts(statement)?;
    let schema = schemas.iter().find(|schema| schema.name == table);
    rows(filter, schema.unwrap_or_else(|| panic!("no table {table}")), &name)
}

/// The debug form of the rows on one line; `-` if they are looked for in the whole table.
fn answer(text: &str) -> String {
    let statement = parse(text.as_bytes()).unwrap_or_else(|error| panic!("{text}: {error}"));
    let found = found(&statement.statement, &schemas());
    found.map_or("-".to_owned(), |rows| format!("{rows:?}"))
}

/// Guards: each filter names the rows that the file says, or none.
#[test]
fn rows_are_named_as_they_should_be() {
    check("direct.txt", answer);
}

/// Measures how long it takes to see which rows are named, and to parse; prints nanoseconds. With
/// `cargo test --release -p resprout-sql -- --ignored --nocapture naming`.
#[test]
#[ignore = "a measurement"]
fn naming_rows_takes_less_than_five_microseconds() {
    let schemas = schemas();
    for text in [
        "SELECT c FROM sbtest1 WHERE id=?",
        "SELECT c FROM sbtest1 WHERE id=5",
        "SELECT SUM(k) FROM sbtest1 WHERE id BETWEEN ? AND ?",
        "SELECT DISTINCT c FROM sbtest1 WHERE id BETWEEN ? AND ? ORDER BY c",
        "UPDATE sbtest1 SET k=k+1 WHERE id=?",
        "DELETE FROM sbtest1 WHERE id=?",
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
            std::hint::black_box(
                found(std::hint::black_box(&statement), &schemas).expect("direct"),
            );
        }
        let planning = begun.elapsed() / ROUNDS;
        println!("{planning:>10.2?} to see the rows, {parsing:>10.2?} to parse: {text}");
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
