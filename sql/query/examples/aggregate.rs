//! How fast queries read: rows of about 100 bytes in an engine, asked through a MySQL client.
//!
//! ```text
//! cargo run --release -p resprout-query --example aggregate -- [ROWS] [PARTITIONS]
//! ```

use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, OptsBuilder, Row};
use resprout_engine::table::Value;
use resprout_engine::{DatabaseOptions, Durability, Engine, Options as EngineOptions};
use resprout_query::{Limits, QueryEngine};
use resprout_sql::accounts::AccountOptions;
use resprout_sql::server::{Connections, Options, Server};
use resprout_sql::session::SingleNode;
use tokio::net::TcpListener;

const QUERIES: &[&str] = &[
    "SELECT COUNT(*) FROM t HAVING COUNT(*) > 0",
    "SELECT MIN(id), MAX(id), COUNT(*) FROM t HAVING COUNT(*) > 0",
    "SELECT MIN(k), MAX(k), COUNT(*) FROM t HAVING COUNT(*) > 0",
    "SELECT SUM(k) FROM t HAVING COUNT(*) > 0",
    "SELECT k % 100 AS g, COUNT(*), SUM(id) FROM t GROUP BY g ORDER BY g LIMIT 3",
    "SELECT k, COUNT(*) FROM t GROUP BY k ORDER BY 2 DESC, 1 LIMIT 3",
    "SELECT COUNT(*) FROM t x JOIN t y ON x.id = y.id",
    "SELECT MIN(id), MAX(id), COUNT(*) FROM t",
];

type Failed = Box<dyn std::error::Error>;

fn fill(engine: &Engine, rows: i64, partitions: u32) -> Result<(), Failed> {
    let options = DatabaseOptions { partitions, durability: Durability::Async };
    let database = engine.create_database("d", options)?;
    let schema = resprout_engine::table::TableSchema::builder("t")
        .column("id", "bigint")
        .column("k", "int")
        .column("pad", "char(80)")
        .primary_key(&["id"])
        .build()?;
    database.create_table(&schema)?;
    let table = database.partitions()[0].table("t")?;
    let mut open: Vec<_> =
        database.partitions().iter().map(|part| part.begin()).collect::<Result<_, _>>()?;
    for id in 0..rows {
        let home = database.partition_of(&table, &[Value::Int(id)])?.ordinal() as usize;
        let partition = &database.partitions()[home];
        let k = id.wrapping_mul(7919) % 10_000;
        let row = [Value::Int(id), Value::Int(k), Value::Text("x".repeat(80))];
        let own = partition.table("t")?;
        open[home].insert(&own, &row)?;
        if open[home].changes() >= 10_000 {
            std::mem::replace(&mut open[home], partition.begin()?).commit()?;
        }
    }
    for transaction in open {
        transaction.commit()?;
    }
    Ok(())
}

async fn ask(conn: &mut Conn, sql: &str) -> Result<(), Failed> {
    let mut best = Duration::MAX;
    let mut first = String::new();
    for _ in 0..5 {
        let began = Instant::now();
        let rows: Vec<Row> = conn.query(sql).await?;
        best = best.min(began.elapsed());
        first = rows.first().map(|row| format!("{row:?}")).unwrap_or_default();
    }
    writeln!(std::io::stdout(), "{:>9.2} ms  {sql}  {first}", best.as_secs_f64() * 1e3)?;
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Failed> {
    let mut arguments = std::env::args().skip(1);
    let rows: i64 = arguments.next().map_or(Ok(1_000_000), |rows| rows.parse())?;
    let partitions: u32 = arguments.next().map_or(Ok(2), |count| count.parse())?;
    let dir = tempfile::tempdir()?;
    let options = EngineOptions { maximum_memory: 8 << 30, ..EngineOptions::default() };
    let engine = Engine::open(dir.path(), options)?;
    fill(&engine, rows, partitions)?;
    let connections = Connections::new();
    let node =
        SingleNode::new(engine.clone(), Arc::clone(&connections), &AccountOptions::default())?;
    node.recovered()?;
    let node = node.with_queries(Arc::new(QueryEngine::new(Limits::default())?));
    let server = Server::new(node, Options::default(), None, connections)?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let port = listener.local_addr()?.port();
    let task = tokio::spawn(async move { server.serve(listener, std::future::pending()).await });
    let opts = OptsBuilder::default().ip_or_hostname("127.0.0.1").tcp_port(port);
    let opts = opts.prefer_socket(false).user(Some("root")).db_name(Some("d"));
    let mut conn = Conn::new(opts).await?;
    for sql in QUERIES {
        ask(&mut conn, sql).await?;
    }
    task.abort();
    Ok(())
}
