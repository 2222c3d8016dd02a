//! Reference tables over real nodes: on every leaf, written through one of them, whatever happens to it.
#![allow(clippy::unwrap_used, reason = "a test may")]

mod door;
mod support;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use door::Door;
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Row};
use resprout_cluster::control::Operation;
use resprout_cluster::metadata::{Command, NewHome};
use resprout_cluster::{LeafId, NodeId, Ordinal};
use resprout_engine::table::Value;
use resprout_node::testing::{Cluster, PATIENCE};
use resprout_sql::place::{ClusterView, Directory, Listed};
use support::{PARTITIONS, text};
use tokio::task::JoinSet;

/// The partition of reference tables is behind the others.
const REFERENCE: u32 = PARTITIONS;

async fn with_tables(cluster: &Cluster) -> (Door, Conn) {
    let door = Door::of(cluster).await;
    let mut client = door.client().await;
    client.query_drop(format!("CREATE DATABASE d PARTITIONS {PARTITIONS}")).await.unwrap();
    client.query_drop("USE d").await.unwrap();
    client
        .query_drop("CREATE REFERENCE TABLE r (id BIGINT PRIMARY KEY, n INT, UNIQUE KEY (n))")
        .await
        .unwrap();
    client.query_drop("CREATE TABLE t (id BIGINT PRIMARY KEY, r BIGINT)").await.unwrap();
    (door, client)
}

async fn numbers(client: &mut Conn, statement: &str) -> Vec<i64> {
    client.query(statement).await.unwrap_or_else(|error| panic!("{statement}: {error}"))
}

/// The leaf that is their master.
fn master(cluster: &Cluster) -> NodeId {
    cluster.master_of("d", REFERENCE).unwrap().0
}

fn port(cluster: &Cluster, node: NodeId) -> u16 {
    cluster.node(cluster.aggregators()[0]).unwrap().metadata().read().nodes()[&node].address.port
}

/// Rows of a table in a partition.
fn count_in(cluster: &Cluster, ordinal: u32, table: &str) -> usize {
    let (_, partition) = cluster.master_of("d", ordinal).unwrap();
    let (table, transaction) = (partition.table(table).unwrap(), partition.begin().unwrap());
    let mut count = 0;
    let scanned = transaction.scan(&table, &table.rows(), |_| {
        count += 1;
        std::ops::ControlFlow::Continue(())
    });
    scanned.unwrap();
    count
}

/// Each leaf in turn becomes master, and says which rows it has: all copies are alike.
async fn all_copies_have(cluster: &Cluster, client: &mut Conn, expected: &BTreeSet<i64>) {
    cluster.until_whole().await.unwrap();
    for leaf in cluster.leaves() {
        if master(cluster) != leaf {
            let promote =
                format!("PROMOTE PARTITION d:{REFERENCE} ON '127.0.0.1':{}", port(cluster, leaf));
            client.query_drop(&promote).await.unwrap_or_else(|error| panic!("{promote}: {error}"));
        }
        // Who answered knows it; the others hear of it a moment later.
        let is_master = |metadata: &resprout_cluster::metadata::Metadata| {
            let partition = metadata.partition("d", Ordinal(REFERENCE)).unwrap();
            partition.serving() == Some(LeafId::from(leaf))
        };
        cluster.until("it is master", is_master).await.unwrap();
        let found = numbers(client, "SELECT id FROM d.r").await;
        let found: BTreeSet<i64> = found.into_iter().collect();
        assert_eq!(found, *expected, "on leaf {leaf}");
    }
}

/// Promise: rows of a reference table are on each leaf once, and in no other partition, also of one without a key; unique keys
/// hold over all of it; a transaction over both kinds of tables is whole or not at all; what lists partitions lists those
/// that rows are spread over, and SHOW CLUSTER STATUS has the copies of both.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn rows_are_on_every_leaf() {
    let cluster = Cluster::builder().voters(1).leaves(4).redundancy(2).start().await.unwrap();
    let (door, mut client) = with_tables(&cluster).await;
    client.query_drop("CREATE REFERENCE TABLE k (n INT)").await.unwrap();
    client.query_drop("INSERT INTO r VALUES (1, 10), (2, 20), (3, 30), (4, 40)").await.unwrap();
    client.query_drop("INSERT INTO k VALUES (7), (7), (8), (9), (9)").await.unwrap();
    client.query_drop("INSERT INTO t VALUES (1, 1), (2, 2), (3, 3), (4, 4), (5, 1)").await.unwrap();
    for (table, of_reference, of_others) in [("r", 4, 0), ("k", 5, 0), ("t", 0, 5)] {
        let others: usize = (0..PARTITIONS).map(|at| count_in(&cluster, at, table)).sum();
        assert_eq!(
            (count_in(&cluster, REFERENCE, table), others),
            (of_reference, of_others),
            "{table}"
        );
    }
    let duplicate = client.query_drop("INSERT INTO r VALUES (5, 40)").await.unwrap_err();
    assert!(duplicate.to_string().contains("1062"), "{duplicate}");
    client.query_drop("UPDATE r SET n = n + 1 WHERE n >= 30").await.unwrap();
    client.query_drop("DELETE FROM k WHERE n = 7").await.unwrap();
    assert_eq!(numbers(&mut client, "SELECT n FROM k ORDER BY n").await, [8, 9, 9]);
    // Both kinds, taken back and kept.
    let mut other = door.client().await;
    client.query_drop("BEGIN").await.unwrap();
    client.query_drop("INSERT INTO r VALUES (5, 50)").await.unwrap();
    client.query_drop("INSERT INTO t VALUES (6, 5), (7, 5), (8, 5)").await.unwrap();
    assert_eq!(numbers(&mut other, "SELECT COUNT(*) FROM d.r").await, [4]);
    client.query_drop("ROLLBACK").await.unwrap();
    assert_eq!(numbers(&mut other, "SELECT COUNT(*) FROM d.t").await, [5]);
    client.query_drop("BEGIN").await.unwrap();
    client.query_drop("INSERT INTO r VALUES (5, 50)").await.unwrap();
    client.query_drop("INSERT INTO t VALUES (6, 5), (7, 5), (8, 5)").await.unwrap();
    client.query_drop("COMMIT").await.unwrap();
    assert_eq!(numbers(&mut other, "SELECT n FROM d.r ORDER BY id").await, [10, 20, 31, 41, 50]);
    assert_eq!(numbers(&mut other, "SELECT COUNT(*) FROM d.t").await, [8]);
    is_shown(&mut client).await;
    let (directory, _) = cluster.statements().unwrap();
    let view = |view| directory.show(&Listed::View(view)).unwrap().rows;
    assert_eq!(view(ClusterView::Partitions).len(), 2 * PARTITIONS as usize);
    assert_eq!(view(ClusterView::PartitionsOnLeaves).len(), 2 * PARTITIONS as usize);
    let databases = view(ClusterView::Databases);
    assert_eq!(databases[0][2], Value::UInt(PARTITIONS.into()), "{databases:?}");
    all_copies_have(&cluster, &mut client, &(1..=5).collect()).await;
}

async fn is_shown(client: &mut Conn) {
    let rows: Vec<Row> = client.query("SHOW PARTITIONS ON d").await.unwrap();
    assert_eq!(rows.len(), 2 * PARTITIONS as usize);
    let rows: Vec<Row> = client.query("SHOW CLUSTER STATUS").await.unwrap();
    let reference = rows.iter().filter(|row| text(row, "ROLE") == "Reference");
    let names: Vec<_> = reference.map(|row| text(row, "DATABASE_NAME")).collect();
    assert_eq!(names, ["d"; 4], "each leaf has it, under the name of the database");
    let rows: Vec<Row> = client.query("EXPLAIN REBALANCE PARTITIONS ON d").await.unwrap();
    assert!(rows.is_empty(), "{rows:?}");
    for (table, is_reference) in [("r", true), ("k", true), ("t", false)] {
        let shown: Vec<(String, String)> =
            client.query(format!("SHOW CREATE TABLE {table}")).await.unwrap();
        assert_eq!(shown[0].1.contains("REFERENCE"), is_reference, "{shown:?}");
    }
    let tables: Vec<String> = client.query("SHOW TABLES").await.unwrap();
    assert_eq!(tables, ["k", "r", "t"]);
}

/// Writers, each with a transaction over a reference table and a table with shards for each row.
struct Writers {
    stop: Arc<AtomicBool>,
    tasks: JoinSet<(BTreeSet<i64>, Duration)>,
}

impl Writers {
    async fn start(door: &Door, from: i64) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let mut tasks = JoinSet::new();
        for writer in 0..3 {
            let (mut client, stop) = (door.client().await, stop.clone());
            client.query_drop("USE d").await.unwrap();
            tasks.spawn(async move {
                let (mut acknowledged, mut longest) = (BTreeSet::new(), Duration::ZERO);
                let mut id = from + writer * 1_000_000;
                while !stop.load(Ordering::Acquire) {
                    let began = Instant::now();
                    if both(&mut client, id).await {
                        acknowledged.insert(id);
                        longest = longest.max(began.elapsed());
                    }
                    id += 1;
                }
                (acknowledged, longest)
            });
        }
        Self { stop, tasks }
    }

    async fn stop(mut self) -> (BTreeSet<i64>, Duration) {
        self.stop.store(true, Ordering::Release);
        let all = std::mem::take(&mut self.tasks).join_all().await;
        let longest = all.iter().map(|(_, longest)| *longest).max().unwrap();
        (all.into_iter().flat_map(|(ids, _)| ids).collect(), longest)
    }
}

/// A test that fails must end: its runtime waits for tasks that write.
impl Drop for Writers {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
    }
}

/// One row in each table, or none; whether that is known.
async fn both(client: &mut Conn, id: i64) -> bool {
    let statements = [
        "BEGIN".to_owned(),
        format!("INSERT INTO r VALUES ({id}, {id})"),
        format!("INSERT INTO t VALUES ({id}, {id})"),
        "COMMIT".to_owned(),
    ];
    for statement in statements {
        if client.query_drop(&statement).await.is_err() {
            drop(client.query_drop("ROLLBACK").await);
            return false;
        }
    }
    true
}

/// Rows of both tables; every acknowledged one is in both, and they are the same, as soon as what was in doubt has ended.
async fn is_whole(client: &mut Conn, acknowledged: &BTreeSet<i64>) -> BTreeSet<i64> {
    let began = Instant::now();
    loop {
        let mut found = [BTreeSet::new(), BTreeSet::new()];
        for (found, table) in found.iter_mut().zip(["r", "t"]) {
            found.extend(numbers(client, &format!("SELECT id FROM d.{table}")).await);
            let lost: Vec<_> = acknowledged.difference(found).collect();
            assert!(lost.is_empty(), "lost of {table}: {lost:?}");
        }
        let [reference, spread] = found;
        let differ: Vec<_> = reference.symmetric_difference(&spread).collect();
        if differ.is_empty() {
            return reference;
        }
        assert!(began.elapsed() < PATIENCE, "half of a transaction: {differ:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Promise (P01, W17 step 4): the leaf that is master of reference tables is killed while transactions over them and over tables
/// with shards run: another goes on, every acknowledged transaction is there, none is there by half, and all copies
/// are alike when the leaf is back. So it is when the master aggregator is killed.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn p01_w17_their_master_is_killed_under_load() {
    let mut cluster = Cluster::builder().voters(3).leaves(4).redundancy(2).start().await.unwrap();
    let (_, mut client) = with_tables(&cluster).await;
    let office = cluster.master().unwrap();
    let child = cluster.aggregators().into_iter().find(|node| *node != office).unwrap();
    let door = Door::on(cluster.statements_of(child).unwrap()).await;
    let mut acknowledged = BTreeSet::new();
    for (round, victim) in [(1, master(&cluster)), (2, office)] {
        let writers = Writers::start(&door, round * 10_000_000).await;
        tokio::time::sleep(Duration::from_millis(500)).await;
        let before = master(&cluster);
        cluster.kill(victim).await;
        let is_over = |metadata: &resprout_cluster::metadata::Metadata| {
            let partition = metadata.partition("d", Ordinal(REFERENCE)).unwrap();
            let serving = partition.serving();
            victim == office || serving.is_some_and(|leaf| leaf != LeafId::from(before))
        };
        cluster.until("another leaf is master", is_over).await.unwrap();
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        let (written, longest) = writers.stop().await;
        println!("round {round}: {} acknowledged, the longest took {longest:?}", written.len());
        assert!(written.len() > 10 && longest < Duration::from_secs(10), "{longest:?}");
        acknowledged.extend(written);
        client = door.client().await;
        client.query_drop("USE d").await.unwrap();
        is_whole(&mut client, &acknowledged).await;
        cluster.start(victim).await.unwrap();
        cluster.until_whole().await.unwrap();
    }
    let all = is_whole(&mut client, &acknowledged).await;
    all_copies_have(&cluster, &mut client, &all).await;
}

/// Copies of reference tables that count, by leaf.
fn has(cluster: &Cluster) -> Vec<NodeId> {
    let metadata = cluster.node(cluster.aggregators()[0]).unwrap().metadata().read();
    let map = &metadata.databases()["d"].map;
    let partition = map.partition(Ordinal(REFERENCE)).unwrap();
    let is_full = |(leaf, copy): &(&LeafId, &resprout_cluster::Copy)| {
        partition.serving() == Some(**leaf) || map.is_promotable(partition, copy)
    };
    partition.copies.iter().filter(is_full).map(|(leaf, _)| NodeId::from(*leaf)).collect()
}

async fn until_has(cluster: &Cluster, expected: &[NodeId]) {
    let end = Instant::now() + PATIENCE;
    while has(cluster) != expected {
        assert!(Instant::now() < end, "{:?} have copies, not {expected:?}", has(cluster));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Promise: a leaf that is added gets a copy, beside writers; one that is removed gives its own up, after handing over what it is
/// master of, and is not given another; one that is detached is waited for by nobody, and catches up when it is attached.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn leaves_come_and_go() {
    let mut cluster = Cluster::builder().voters(1).leaves(2).redundancy(2).start().await.unwrap();
    let (door, mut client) = with_tables(&cluster).await;
    let first = cluster.leaves();
    let writers = Writers::start(&door, 1_000).await;
    let new = [cluster.add_leaf().await.unwrap(), cluster.add_leaf().await.unwrap()];
    let all: Vec<_> = first.iter().chain(&new).copied().collect();
    until_has(&cluster, &all).await;
    let gone = new[0];
    let promote = |leaf| format!("PROMOTE PARTITION d:{REFERENCE} ON '127.0.0.1':{leaf}");
    client.query_drop(promote(port(&cluster, gone))).await.unwrap();
    assert_eq!(master(&cluster), gone);
    let remove = format!("REMOVE LEAF '127.0.0.1':{}", port(&cluster, gone));
    client.query_drop(remove).await.unwrap();
    let left: Vec<_> = all.iter().copied().filter(|leaf| *leaf != gone).collect();
    assert_eq!(has(&cluster), left);
    assert_ne!(master(&cluster), gone);
    // One leaf away, and back.
    let away = first[0];
    client.query_drop(promote(port(&cluster, away))).await.unwrap();
    client.query_drop(format!("DETACH LEAF '127.0.0.1':{}", port(&cluster, away))).await.unwrap();
    let rest: Vec<_> = left.iter().copied().filter(|leaf| *leaf != away).collect();
    until_has(&cluster, &rest).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    client.query_drop(format!("ATTACH LEAF '127.0.0.1':{}", port(&cluster, away))).await.unwrap();
    until_has(&cluster, &left).await;
    let (acknowledged, longest) = writers.stop().await;
    println!("{} acknowledged, the longest took {longest:?}", acknowledged.len());
    let rows = is_whole(&mut client, &acknowledged).await;
    assert!(acknowledged.len() > 10);
    all_copies_have(&cluster, &mut client, &rows).await;
}

/// Promise (O12, W07): after everything was stopped in order, and after everything was killed at once, every acknowledged row is
/// there, and all copies are alike, also in a database whose commits wait neither for disks nor for replicas.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn o12_everything_is_started_again() {
    let mut cluster = Cluster::builder().voters(1).leaves(3).redundancy(1).start().await.unwrap();
    let door = Door::of(&cluster).await;
    let mut client = door.client().await;
    let asynchronous = "WITH ASYNC DURABILITY WITH ASYNC REPLICATION";
    client
        .query_drop(format!("CREATE DATABASE d {asynchronous} PARTITIONS {PARTITIONS}"))
        .await
        .unwrap();
    client.query_drop("CREATE REFERENCE TABLE d.r (id BIGINT PRIMARY KEY)").await.unwrap();
    let mut rows = BTreeSet::new();
    for (round, kill) in [(0, false), (1, true), (2, true)] {
        for id in round * 100..round * 100 + 30 {
            client.query_drop(format!("INSERT INTO d.r VALUES ({id})")).await.unwrap();
            rows.insert(id);
        }
        let office = cluster.node(cluster.master().unwrap()).unwrap();
        let office = office.metadata().read().office().number;
        let nodes: Vec<_> = cluster.aggregators().into_iter().chain(cluster.leaves()).collect();
        for node in &nodes {
            if kill {
                cluster.kill(*node).await;
            } else {
                cluster.stop(*node).await;
            }
        }
        for node in &nodes {
            cluster.start(*node).await.unwrap();
        }
        let door = Door::of(&cluster).await;
        client = door.client().await;
        let decides =
            |metadata: &resprout_cluster::metadata::Metadata| metadata.office().number > office;
        cluster.until("there is a master aggregator", decides).await.unwrap();
        // Whoever reads waits until there is a master.
        let found = numbers(&mut client, "SELECT id FROM d.r").await;
        assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), rows, "round {round}");
        all_copies_have(&cluster, &mut client, &rows).await;
    }
}

/// Promise: a database that was made before there was a partition for them has its reference tables in the first partition, with
/// all that they promise there.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn older_databases_keep_them_where_they_are() {
    let mut cluster = Cluster::builder().voters(1).leaves(2).redundancy(2).start().await.unwrap();
    let leaves = cluster.leaves();
    let home = |master: NodeId, replica: NodeId| NewHome {
        master: master.into(),
        replica: Some(replica.into()),
    };
    let homes = vec![home(leaves[0], leaves[1]), home(leaves[1], leaves[0])];
    let (name, redundancy) = ("d".to_owned(), 2);
    let (sync, durable, reference) = (true, true, false);
    let command = Command::CreateDatabase { name, homes, sync, durable, redundancy, reference };
    cluster.call(Operation::Propose { command }).await.unwrap();
    cluster.until_whole().await.unwrap();
    let door = Door::of(&cluster).await;
    let mut client = door.client().await;
    client.query_drop("USE d").await.unwrap();
    client.query_drop("CREATE REFERENCE TABLE r (id BIGINT PRIMARY KEY)").await.unwrap();
    client.query_drop("INSERT INTO r VALUES (1), (2), (3), (4)").await.unwrap();
    assert_eq!((count_in(&cluster, 0, "r"), count_in(&cluster, 1, "r")), (4, 0));
    cluster.kill(leaves[0]).await;
    assert_eq!(numbers(&mut client, "SELECT id FROM r ORDER BY id").await, [1, 2, 3, 4]);
    client.query_drop("CREATE REFERENCE TABLE s (id BIGINT PRIMARY KEY)").await.unwrap();
    client.query_drop("INSERT INTO s VALUES (1)").await.unwrap();
    let rows: Vec<Row> = client.query("SHOW CLUSTER STATUS").await.unwrap();
    assert!(rows.iter().all(|row| text(row, "ROLE") != "Reference"));
}
