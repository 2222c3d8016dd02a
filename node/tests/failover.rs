//! A cluster of real nodes: databases are made, leaves and aggregators are killed, and nothing that was
//! acknowledged is lost.
#![allow(clippy::unwrap_used, reason = "a test may")]

mod support;

use std::time::{Duration, Instant};

use resprout_access::Definition;
use resprout_cluster::NodeId;
use resprout_cluster::metadata::Metadata;
use resprout_engine::table::TableSchema;
use resprout_node::testing::Cluster;
use resprout_sql::place::{Database, Directory as _};
use support::{PARTITIONS, put, record, rewrite, rows, with_table};

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

/// Stops all nodes, aggregators first, and starts them again: leaves, and then the master aggregator or the others. A leaf may
/// crash in place of that.
async fn restart(cluster: &mut Cluster, master_is_last: bool, crashes: Option<NodeId>) {
    let (aggregators, leaves) = (cluster.aggregators(), cluster.leaves());
    let master = cluster.master().unwrap();
    let office = cluster.node(master).unwrap().metadata().read().office().number;
    let others: Vec<_> = aggregators.iter().copied().filter(|node| *node != master).collect();
    for node in [master].iter().chain(&others).chain(&leaves) {
        if crashes == Some(*node) {
            cluster.kill(*node).await;
        } else {
            cluster.stop(*node).await;
        }
    }
    let mut order = leaves;
    if master_is_last {
        order.extend(others.iter().chain([&master]));
    } else {
        order.extend([&master].into_iter().chain(&others));
    }
    for node in order {
        cluster.start(node).await.unwrap();
    }
    let decides = |metadata: &Metadata| metadata.office().number > office;
    cluster.until("there is a master aggregator", decides).await.unwrap();
}

/// Promise (W07, rule 14): a cluster that is stopped in order, aggregators first, and started in either of the two orders, comes
/// back with the same masters in the same terms, and goes on from there; of a leaf that crashed instead new terms begin.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_restart_in_order_changes_no_term() {
    let mut cluster = Cluster::builder().voters(3).leaves(2).redundancy(2).start().await.unwrap();
    with_table(&cluster).await;
    let leaf = cluster.leaves()[0];
    for (round, master_is_last, crashes) in
        [(0, true, None), (1, false, None), (2, true, Some(leaf)), (3, false, None)]
    {
        for ordinal in 0..PARTITIONS {
            put(&cluster, ordinal, round).await;
        }
        let before = record(&cluster);
        restart(&mut cluster, master_is_last, crashes).await;
        for ordinal in 0..PARTITIONS {
            put(&cluster, ordinal, 100 + round).await;
        }
        cluster.until_whole().await.unwrap();
        for (ordinal, (now, then)) in (0..PARTITIONS).zip(record(&cluster).iter().zip(&before)) {
            let has_crashed = crashes.is_some_and(|leaf| then.master == Some(leaf.0));
            assert!(
                now == then || has_crashed && now.term > then.term,
                "round {round}, partition {ordinal}: {then:?} became {now:?}"
            );
            let (_, partition) = cluster.master_of("d", ordinal).unwrap();
            let expected = (0..=round).chain(100..=100 + round).collect::<Vec<_>>();
            assert_eq!(rows(&partition), expected, "partition {ordinal}");
        }
    }
}

/// Promise (M10): tables are changed by the master aggregator that is in office: one that was replaced and does not know is
/// refused by leaves, and changes nothing, also where it has begun before.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn m10_a_replaced_master_aggregator_changes_no_tables() {
    let mut cluster = Cluster::builder().voters(3).leaves(2).redundancy(2).start().await.unwrap();
    with_table(&cluster).await;
    let before = cluster.master().unwrap();
    let (directory, access) = cluster.statements_of(before).unwrap();
    let map = directory.database("d").unwrap();
    let office = |cluster: &Cluster| {
        let node = cluster.node(cluster.aggregators()[0]).unwrap();
        node.metadata().read().office().number
    };
    let old = office(&cluster);
    let as_if_in_office = |office: u64, name: &str| {
        let builder = TableSchema::builder(name).column("id", "bigint").primary_key(&["id"]);
        let definition = Definition::Create(builder.build().unwrap());
        let database = Database::far(&map, &access).in_office(office);
        tokio::task::block_in_place(|| (database.begin_office(), database.define(&definition)))
    };
    let (begun, made) = as_if_in_office(old, "a");
    assert!(begun.unwrap() && made.is_ok());
    cluster.kill(before).await;
    cluster.create_database("e", Some(2)).await.unwrap();
    let new = office(&cluster);
    assert!(new > old);
    cluster.until_whole().await.unwrap();
    let (begun, made) = as_if_in_office(old, "b");
    assert!(!begun.unwrap());
    let refused = made.unwrap_err().to_string();
    assert!(refused.contains("another master aggregator"), "{refused}");
    let (begun, made) = as_if_in_office(new, "c");
    assert!(begun.unwrap() && made.is_ok());
    for ordinal in 0..PARTITIONS {
        let (_, partition) = cluster.master_of("d", ordinal).unwrap();
        let catalog = partition.catalog().unwrap();
        let names: Vec<_> = catalog.tables().map(|table| table.name()).collect();
        assert_eq!(names, ["t", "a", "c"], "partition {ordinal}");
    }
}
