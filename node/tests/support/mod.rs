//! A database of four partitions, and rows in it; what is shown, and waited for.
#![allow(dead_code, reason = "each test uses some of it")]

use std::time::{Duration, Instant};

use mysql_async::Row;
use resprout_engine::table::{TableSchema, Value, ValueRef};
use resprout_engine::{Error, Partition};
use resprout_node::testing::{Cluster, PATIENCE};

pub(crate) const PARTITIONS: u32 = 4;

/// Waits until something is so.
pub(crate) async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !is_so().await {
        assert!(Instant::now() < end, "{what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A value of a row that is shown; nothing for NULL.
pub(crate) fn text(row: &Row, column: &str) -> String {
    row.get::<Option<String>, _>(column)
        .unwrap_or_else(|| panic!("no {column}"))
        .unwrap_or_default()
}

pub(crate) fn schema() -> TableSchema {
    let builder = TableSchema::builder("t").column("id", "bigint").column("text", "text");
    builder.primary_key(&["id"]).build().unwrap()
}

/// Inserts a row into a partition, wherever its master is by then; how long that took.
pub(crate) async fn put(cluster: &Cluster, ordinal: u32, id: i64) -> Duration {
    let began = Instant::now();
    loop {
        let written = match cluster.master_of("d", ordinal) {
            Some((_, partition)) => insert(&partition, id).await,
            None => Err("no master".to_owned()),
        };
        match written {
            Ok(()) => return began.elapsed(),
            Err(error) => {
                assert!(began.elapsed() < PATIENCE, "partition {ordinal}: {error}");
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    }
}

pub(crate) async fn insert(partition: &Partition, id: i64) -> Result<(), String> {
    let told = |error: Error| error.to_string();
    let table = partition.table("t").map_err(told)?;
    let mut transaction = partition.begin().map_err(told)?;
    match transaction.insert_async(&table, &[Value::Int(id), Value::Text("row".into())]).await {
        Ok(_) => {}
        // What had an unknown outcome is there.
        Err(Error::Duplicate(_)) => return Ok(()),
        Err(error) => return Err(error.to_string()),
    }
    transaction.commit_async().await.map(drop).map_err(told)
}

/// Writes a row that is there once more, and waits for that; how long it took.
pub(crate) async fn rewrite(cluster: &Cluster, ordinal: u32) -> Duration {
    let began = Instant::now();
    let (_, partition) = cluster.master_of("d", ordinal).unwrap();
    let table = partition.table("t").unwrap();
    let mut transaction = partition.begin().unwrap();
    let text = [(table.live()[1], Value::Text(format!("{began:?}")))];
    let key = table.primary_key(&[Value::Int(100)]).unwrap();
    assert!(transaction.update_key_async(&table, &key, &text).await.unwrap());
    transaction.commit_async().await.unwrap();
    began.elapsed()
}

pub(crate) fn rows(partition: &Partition) -> Vec<i64> {
    let table = partition.table("t").unwrap();
    let mut ids = Vec::new();
    let transaction = partition.begin().unwrap();
    let scanned = transaction.scan(&table, &table.rows(), |row| {
        ids.extend(row.values().unwrap().first().and_then(|value| match value {
            ValueRef::Int(id) => Some(*id),
            _ => None,
        }));
        std::ops::ControlFlow::Continue(())
    });
    scanned.unwrap();
    ids
}

pub(crate) async fn with_table(cluster: &Cluster) {
    cluster.create_database("d", Some(PARTITIONS)).await.unwrap();
    // That of reference tables is behind the others, and says what tables there are.
    for ordinal in (0..=PARTITIONS).rev() {
        let (_, partition) = cluster.master_of("d", ordinal).unwrap();
        tokio::task::block_in_place(|| partition.create_table(schema())).unwrap();
    }
}

/// A partition as the metadata have it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Recorded {
    pub(crate) term: u64,
    pub(crate) master: Option<u64>,
    /// Leaves and instances.
    pub(crate) copies: Vec<(u64, u64)>,
}

/// The partitions of database `d`.
pub(crate) fn record(cluster: &Cluster) -> Vec<Recorded> {
    let aggregator = cluster.aggregators()[0];
    let metadata = cluster.node(aggregator).unwrap().metadata().read();
    let partitions = metadata.databases()["d"].map.partitions.iter();
    let shown = partitions.map(|one| Recorded {
        term: one.term.0,
        master: one.master.map(|leaf| leaf.0),
        copies: one.copies.iter().map(|(leaf, copy)| (leaf.0, copy.instance.0)).collect(),
    });
    shown.collect()
}
