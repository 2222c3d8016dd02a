//! The corpus in `tests/sqllogic`: what MariaDB answers to several hundred statements, asked of a
//! server with queries.
//!
//! `RESPROUT_CORPUS=joins` runs the files of that name only.

mod support;

use std::path::{Path, PathBuf};

use mysql_async::consts::ColumnType as WireType;
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Row, Value};
use sqllogictest::{
    AsyncDB, DBOutput, DefaultColumnType, Record, Runner, parse_file, strict_column_validator,
};
use support::{Running, run};

/// An error as the files name it.
#[derive(Debug)]
struct Refused(String);

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Refused {}

impl From<mysql_async::Error> for Refused {
    fn from(error: mysql_async::Error) -> Self {
        match error {
            mysql_async::Error::Server(error) => {
                Self(format!("ERROR {}: {}", error.code, error.message))
            }
            other => Self(other.to_string()),
        }
    }
}

struct Client(Conn);

fn type_of(wire: WireType) -> DefaultColumnType {
    use WireType as W;
    match wire {
        W::MYSQL_TYPE_TINY
        | W::MYSQL_TYPE_SHORT
        | W::MYSQL_TYPE_LONG
        | W::MYSQL_TYPE_INT24
        | W::MYSQL_TYPE_LONGLONG
        | W::MYSQL_TYPE_YEAR => DefaultColumnType::Integer,
        W::MYSQL_TYPE_DECIMAL
        | W::MYSQL_TYPE_NEWDECIMAL
        | W::MYSQL_TYPE_FLOAT
        | W::MYSQL_TYPE_DOUBLE => DefaultColumnType::FloatingPoint,
        _ => DefaultColumnType::Text,
    }
}

fn show(value: Value) -> String {
    match value {
        Value::NULL => "NULL".to_owned(),
        Value::Bytes(bytes) => {
            let text = String::from_utf8_lossy(&bytes).into_owned();
            if text.trim().is_empty() { "(empty)".to_owned() } else { text }
        }
        other => panic!("not as text: {other:?}"),
    }
}

#[async_trait::async_trait]
impl AsyncDB for Client {
    type Error = Refused;
    type ColumnType = DefaultColumnType;

    async fn run(&mut self, sql: &str) -> Result<DBOutput<DefaultColumnType>, Refused> {
        let mut result = self.0.query_iter(sql).await?;
        let columns = result.columns();
        let rows: Vec<Row> = result.collect().await?;
        let Some(columns) = columns.filter(|columns| !columns.is_empty()) else {
            return Ok(DBOutput::StatementComplete(0));
        };
        let types = columns.iter().map(|column| type_of(column.column_type())).collect();
        let rows = rows.into_iter().map(|row| row.unwrap().into_iter().map(show).collect());
        Ok(DBOutput::Rows { types, rows: rows.collect() })
    }

    async fn shutdown(&mut self) {}
}

fn files() -> Vec<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/sqllogic");
    let wanted = std::env::var("RESPROUT_CORPUS").unwrap_or_default();
    let entries =
        std::fs::read_dir(&dir).expect("the corpus").map(|entry| entry.expect("a file").path());
    let mut files: Vec<PathBuf> = entries
        .filter(|path| path.extension().is_some_and(|extension| extension == "slt"))
        .filter(|path| path.to_string_lossy().contains(&wanted))
        .collect();
    files.sort();
    files
}

/// Promise: the statements of the corpus give the rows, types and errors of MariaDB, on tables of
/// one partition and of several.
#[test]
fn answers_as_mariadb() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let server = Running::start(dir.path(), Some(256 << 20)).await;
        let (mut asked, mut wrong) = (0, Vec::new());
        for file in files() {
            let name = file.file_stem().unwrap().to_string_lossy().into_owned();
            let records = parse_file::<DefaultColumnType>(&file).unwrap();
            for partitions in [1, 3] {
                let database = format!("{name}{partitions}");
                let mut conn = server.connect().await;
                let create = format!("CREATE DATABASE {database} PARTITIONS {partitions}");
                conn.query_drop(create).await.unwrap();
                conn.query_drop(format!("USE {database}")).await.unwrap();
                let mut held = Some(conn);
                let mut runner = Runner::new(move || {
                    let conn = held.take().expect("one connection for each file");
                    async move { Ok::<_, Refused>(Client(conn)) }
                });
                runner.with_column_validator(strict_column_validator);
                for record in &records {
                    if matches!(record, Record::Statement { .. } | Record::Query { .. }) {
                        asked += 1;
                    }
                    if let Err(error) = runner.run_async(record.clone()).await {
                        wrong.push(format!("{partitions} partitions: {error}"));
                    }
                }
            }
        }
        let shown = wrong.join("\n\n");
        assert!(wrong.is_empty(), "{} of {asked} statements:\n{shown}", wrong.len());
        assert!(asked > 100 || std::env::var("RESPROUT_CORPUS").is_ok(), "{asked} statements");
        server.end().await;
    });
}
