//! A cluster of real nodes: databases are made, leaves and aggregators are killed, and nothing that was
//! acknowledged is lost.
#![allow(clippy::unwrap_used, reason = "a test may")]

use std::time::{Duration, Instant};

use resprout_cluster::NodeId;
use resprout_engine::table::{TableSchema, Value, ValueRef};
use resprout_engine::{Error, Partition};
use resprout_node::testing::{Cluster, PATIENCE};

const PARTITIONS: u32 = 4;

fn schema() -> TableSchema {
    let builder = TableSchema::builder("t").column("id", "bigint").column("text", "text");
    builder.primary_key(&["id"]).build().unwrap()
}

/// Inserts a row into a partition, wherever its master is by then; how long that took.
async fn put(cluster: &Cluster, ordinal: u32, id: i64) -> Duration {
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

async fn insert(partition: &Partition, id: i64) -> Result<(), String> {
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
async fn rewrite(cluster: &Cluster, ordinal: u32) -> Duration {
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

fn rows(partition: &Partition) -> Vec<i64> {
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

async fn with_table(cluster: &Cluster) {
    cluster.create_database("d", Some(PARTITIONS)).await.unwrap();
    for ordinal in 0..PARTITIONS {
        let (_, partition) = cluster.master_of("d", ordinal).unwrap();
        tokio::task::block_in_place(|| partition.create_table(schema())).unwrap();
    }
}

/// Promise: a killed leaf's partitions are served by their other copies with every acknowledged row, and the leaf
/// is taken in again when it is back.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn p01_a_killed_leaf_is_replaced_and_taken_back() {
    let mut cluster = Cluster::builder().voters(3).leaves(2).redundancy(2).start().await.unwrap();
    with_table(&cluster).await;
    for id in 0..50 {
        for ordinal in 0..PARTITIONS {
            put(&cluster, ordinal, id).await;
        }
    }
    let (victim, _) = cluster.master_of("d", 0).unwrap();
    cluster.kill(victim).await;
    for ordinal in 0..PARTITIONS {
        let paused = put(&cluster, ordinal, 100).await;
        assert!(paused < Duration::from_secs(10), "partition {ordinal} paused for {paused:?}");
    }
    // Nobody waits for the copies that are gone, nor anew a moment later.
    let calm = Instant::now();
    while calm.elapsed() < Duration::from_secs(3) {
        for ordinal in 0..PARTITIONS {
            let paused = put(&cluster, ordinal, 100).await;
            let written = rewrite(&cluster, ordinal).await;
            let paused = paused + written;
            assert!(paused < Duration::from_secs(3), "partition {ordinal} paused for {paused:?}");
        }
    }
    for ordinal in 0..PARTITIONS {
        let (leaf, partition) = cluster.master_of("d", ordinal).unwrap();
        assert_ne!(leaf, victim);
        let expected: Vec<i64> = (0..50).chain([100]).collect();
        assert_eq!(rows(&partition), expected, "partition {ordinal}");
    }
    cluster.start(victim).await.unwrap();
    cluster.until_whole().await.unwrap();
    let survivor = cluster.leaves().into_iter().find(|leaf| *leaf != victim).unwrap();
    cluster.kill(survivor).await;
    for ordinal in 0..PARTITIONS {
        put(&cluster, ordinal, 200).await;
        let (leaf, partition) = cluster.master_of("d", ordinal).unwrap();
        assert_eq!(leaf, victim);
        assert_eq!(rows(&partition).len(), 52, "partition {ordinal}");
    }
}

/// Promise: another aggregator takes over when the master aggregator is killed; who only writes notices nothing,
/// and databases can be made again.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_killed_master_aggregator_is_replaced() {
    let mut cluster = Cluster::builder().voters(3).leaves(2).redundancy(2).start().await.unwrap();
    with_table(&cluster).await;
    let before: NodeId = cluster.master().unwrap();
    cluster.kill(before).await;
    let paused = put(&cluster, 0, 1).await;
    assert!(paused < Duration::from_secs(3), "writes paused for {paused:?}");
    cluster.create_database("e", Some(2)).await.unwrap();
    let after = cluster.master().unwrap();
    assert_ne!(before, after);
    cluster.start(before).await.unwrap();
    cluster.until_whole().await.unwrap();
}
