//! ALTER DATABASE … REPLICATION: whether commits wait for replicas changes while clients write, while leaves are away, and
//! while the master aggregator is killed.
#![allow(clippy::unwrap_used, reason = "a test may")]

mod door;
mod support;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, Instant};

use door::Door;
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Row};
use resprout_cluster::Following;
use resprout_cluster::metadata::Metadata;
use resprout_node::testing::Cluster;
use resprout_sql::place::{ClusterView, Directory as _, Listed};
use support::{insert, put, rows, text, until};
use tokio::task::JoinHandle;

const PARTITIONS: u32 = 2;

/// A database whose commits do not wait for disks, with a table, and a client of an aggregator that is not the master, if
/// there is one.
async fn with_database(voters: u32) -> (Cluster, Arc<Door>, Conn) {
    let cluster = Cluster::builder().voters(voters).leaves(2).redundancy(2).start().await.unwrap();
    let master = cluster.master().unwrap();
    let child = cluster.aggregators().into_iter().find(|node| *node != master).unwrap_or(master);
    let door = Arc::new(Door::on(cluster.statements_of(child).unwrap()).await);
    let mut client = door.client().await;
    let create = format!("CREATE DATABASE d PARTITIONS {PARTITIONS} WITH ASYNC DURABILITY");
    client.query_drop(create).await.unwrap();
    client.query_drop("CREATE TABLE d.t (id BIGINT PRIMARY KEY, text TEXT)").await.unwrap();
    (cluster, door, client)
}

/// Clients that write all the time, each row once, and note what was acknowledged.
struct Writers {
    stop: Arc<AtomicBool>,
    /// So many were acknowledged by now.
    count: Arc<AtomicI64>,
    tasks: Vec<JoinHandle<BTreeSet<i64>>>,
}

impl Writers {
    fn start(door: &Arc<Door>, count: i64) -> Self {
        let (stop, next) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicI64::new(0)));
        let acked = Arc::new(AtomicI64::new(0));
        let writer = |_| {
            let (stop, next, door) = (stop.clone(), next.clone(), door.clone());
            let acked = acked.clone();
            tokio::spawn(async move {
                let (mut client, mut acknowledged) = (door.client().await, BTreeSet::new());
                while !stop.load(Ordering::Acquire) {
                    let id = next.fetch_add(1, Ordering::Relaxed);
                    let insert = format!("INSERT INTO d.t VALUES ({id}, 'x')");
                    if client.query_drop(insert).await.is_ok() {
                        acknowledged.insert(id);
                        acked.fetch_add(1, Ordering::Relaxed);
                    } else {
                        // Its outcome is unknown: not counted.
                        client = door.client().await;
                    }
                }
                acknowledged
            })
        };
        Self { tasks: (0..count).map(writer).collect(), count: acked, stop }
    }

    /// Waits until so many more are acknowledged.
    async fn go_on(&self, more: i64) {
        let before = self.count.load(Ordering::Relaxed);
        until("writers go on", async || self.count.load(Ordering::Relaxed) >= before + more).await;
    }

    async fn end(self) -> BTreeSet<i64> {
        self.stop.store(true, Ordering::Release);
        let mut all = BTreeSet::new();
        for task in self.tasks {
            all.extend(task.await.unwrap());
        }
        all
    }
}

async fn alter(client: &mut Conn, sync: bool) {
    let replication = if sync { "SYNC" } else { "ASYNC" };
    client.query_drop(format!("ALTER DATABASE d SET {replication} REPLICATION")).await.unwrap();
}

/// Whether all replicas are synchronous, or all are not.
fn all_are(metadata: &Metadata, sync: bool) -> bool {
    let entry = &metadata.databases()["d"];
    let is_so = |partition: &resprout_cluster::Partition| {
        let mut replicas =
            partition.copies.iter().filter(|(leaf, _)| partition.master != Some(**leaf));
        let following = if sync { Following::Sync } else { Following::Async };
        partition.serving().is_some() && replicas.all(|(_, copy)| copy.following == following)
    };
    entry.map.sync == sync && entry.map.partitions.iter().all(is_so)
}

/// A view of information_schema, as the query library gets it.
fn view(cluster: &Cluster, view: ClusterView) -> Vec<Vec<String>> {
    let (directory, _) = cluster.statements().unwrap();
    let shown = tokio::task::block_in_place(|| directory.show(&Listed::View(view))).unwrap();
    let shown = shown.rows.iter().map(|row| row.iter().map(ToString::to_string).collect());
    shown.collect()
}

/// What every listing says of the database's replication.
async fn check_shown(cluster: &Cluster, client: &mut Conn, sync: bool) {
    let (number, word) = if sync { ("1", "sync") } else { ("0", "async") };
    until("every aggregator knows it", async || {
        let mut nodes = cluster.aggregators().into_iter().map(|node| cluster.node(node).unwrap());
        nodes.all(|node| all_are(&node.metadata().read(), sync))
    })
    .await;
    let databases = view(cluster, ClusterView::Databases);
    assert_eq!(databases[0][6], number, "IS_SYNC");
    let partitions = view(cluster, ClusterView::Partitions);
    assert_eq!(partitions.len(), 4);
    for row in &partitions {
        let (role, desired, state) = (&row[4], &row[8], &row[9]);
        let of_master = if sync { "" } else { "async" };
        let expected = if role == "Master" { of_master } else { word };
        assert_eq!((desired.as_str(), state.as_str()), (number, expected), "{row:?}");
    }
    let extended: Vec<Row> = client.query("SHOW PARTITIONS EXTENDED ON d").await.unwrap();
    let replicas = extended.iter().filter(|row| text(row, "Role") == "Replica");
    assert!(
        replicas.into_iter().all(|row| text(row, "Replication_Status") == word),
        "{extended:?}"
    );
    let databases: Vec<Row> = client.query("SHOW DATABASES EXTENDED").await.unwrap();
    let of_d = databases.iter().find(|row| text(row, "Database") == "d").unwrap();
    let slaves = (text(of_d, "AsyncSlaves"), text(of_d, "SyncSlaves"));
    let (waited, others) = if sync { (PARTITIONS, 0) } else { (0, PARTITIONS) };
    assert_eq!(slaves, (others.to_string(), waited.to_string()));
    let create = text(
        &client.query_first("SHOW CREATE DATABASE d").await.unwrap().unwrap(),
        "Create Database",
    );
    let mode = word.to_uppercase();
    let expected =
        format!("CREATE DATABASE `d` PARTITIONS 2 WITH ASYNC DURABILITY {mode} REPLICATION");
    assert_eq!(create, expected);
    let status: Vec<Row> = client.query("USING d SHOW DATABASE STATUS").await.unwrap();
    let replication = status.iter().find(|row| text(row, "Key") == "Replication").unwrap();
    assert_eq!(text(replication, "Value"), word);
    // What leaves say of it follows what is on record.
    until("leaves do it", async || {
        view(cluster, ClusterView::DatabasesStatus)[0].contains(&"healthy".to_owned())
    })
    .await;
    // All follow their masters, and are shown whether they are waited for or not.
    until("all follow", async || {
        let links: Vec<Row> = client.query("SHOW REPLICATION STATUS").await.unwrap();
        links.iter().filter(|row| text(row, "Database") != "d").count() == 2
    })
    .await;
}

/// Promise: while clients write, replicas are waited for no more, and then again, without a restart; every listing says so;
/// and once they are synchronous on record again, everything that was ever acknowledged outlives a killed leaf.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn replication_changes_while_clients_write() {
    let (mut cluster, door, mut client) = with_database(2).await;
    cluster.until("all are synchronous", |metadata| all_are(metadata, true)).await.unwrap();
    check_shown(&cluster, &mut client, true).await;
    let writers = Writers::start(&door, 4);
    for _ in 0..3 {
        writers.go_on(20).await;
        alter(&mut client, false).await;
        cluster.until("nobody is waited for", |metadata| all_are(metadata, false)).await.unwrap();
        writers.go_on(20).await;
        check_shown(&cluster, &mut client, false).await;
        alter(&mut client, true).await;
        cluster.until("all are synchronous", |metadata| all_are(metadata, true)).await.unwrap();
    }
    check_shown(&cluster, &mut client, true).await;
    let (victim, _) = cluster.master_of("d", 0).unwrap();
    cluster.kill(victim).await;
    writers.go_on(20).await;
    let acknowledged = writers.end().await;
    assert!(acknowledged.len() > 100, "{}", acknowledged.len());
    let mut there = BTreeSet::new();
    for ordinal in 0..PARTITIONS {
        put(&cluster, ordinal, -1 - i64::from(ordinal)).await;
        let (leaf, partition) = cluster.master_of("d", ordinal).unwrap();
        assert_ne!(leaf, victim);
        there.extend(rows(&partition));
    }
    let lost: Vec<_> = acknowledged.difference(&there).collect();
    assert!(lost.is_empty(), "{lost:?}");
}

/// Promise (rule 6): copies go by the record that they were told, with nobody to ask: without a master aggregator a
/// synchronous master waits for its lost replica, and one whose database was altered before does not.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn without_a_master_aggregator_the_last_record_counts() {
    for sync in [true, false] {
        let (mut cluster, _door, mut client) = with_database(1).await;
        cluster.until("all are synchronous", |metadata| all_are(metadata, true)).await.unwrap();
        alter(&mut client, false).await;
        if sync {
            alter(&mut client, true).await;
        }
        cluster.until("as it shall be", |metadata| all_are(metadata, sync)).await.unwrap();
        let (serving, partition) = cluster.master_of("d", 0).unwrap();
        insert(&partition, 1).await.unwrap();
        // The copies have heard it, and whoever is left behind could be waited for again by now.
        tokio::time::sleep(Duration::from_secs(2)).await;
        let other = cluster.leaves().into_iter().find(|leaf| *leaf != serving).unwrap();
        let aggregator = cluster.master().unwrap();
        cluster.kill(aggregator).await;
        cluster.kill(other).await;
        let began = Instant::now();
        let written = tokio::time::timeout(Duration::from_secs(3), insert(&partition, 2)).await;
        assert_eq!(written.is_err(), sync, "{written:?} after {:?}", began.elapsed());
        if sync {
            cluster.start(aggregator).await.unwrap();
            put(&cluster, 0, 2).await;
        }
    }
}

/// Promise: a leaf that is away while replication changes goes by the change when it is back.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_leaf_that_was_away_goes_by_the_change() {
    let (mut cluster, _door, mut client) = with_database(1).await;
    cluster.until("all are synchronous", |metadata| all_are(metadata, true)).await.unwrap();
    for sync in [false, true] {
        let (away, _) = cluster.master_of("d", 0).unwrap();
        cluster.kill(away).await;
        put(&cluster, 0, i64::from(sync)).await;
        alter(&mut client, sync).await;
        put(&cluster, 1, i64::from(sync)).await;
        cluster.start(away).await.unwrap();
        cluster.until_whole().await.unwrap();
        cluster.until("as it shall be", |metadata| all_are(metadata, sync)).await.unwrap();
    }
    // Waited for again: the other one alone has everything.
    let (serving, _) = cluster.master_of("d", 0).unwrap();
    cluster.kill(serving).await;
    for ordinal in 0..PARTITIONS {
        put(&cluster, ordinal, 100).await;
        let (_, partition) = cluster.master_of("d", ordinal).unwrap();
        assert_eq!(rows(&partition), [0, 1, 100], "partition {ordinal}");
    }
}

/// Promise: a statement whose master aggregator is killed in the middle is carried out by the next one, and however often
/// it is changed, and how quickly, the last one counts.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_last_change_counts() {
    let (mut cluster, door, mut client) = with_database(3).await;
    let writers = Writers::start(&door, 2);
    for turn in 0..20 {
        alter(&mut client, turn % 2 == 1).await;
    }
    cluster.until("all are synchronous", |metadata| all_are(metadata, true)).await.unwrap();
    let own = door.clone();
    let altering = tokio::spawn(async move {
        let mut client = own.client().await;
        for turn in 0..50 {
            alter(&mut client, turn % 2 == 1).await;
        }
        alter(&mut client, false).await;
    });
    tokio::time::sleep(Duration::from_millis(30)).await;
    let before = cluster.master().unwrap();
    cluster.kill(before).await;
    altering.await.unwrap();
    cluster.until("nobody is waited for", |metadata| all_are(metadata, false)).await.unwrap();
    assert_ne!(cluster.master(), Some(before));
    alter(&mut client, true).await;
    cluster.until("all are synchronous", |metadata| all_are(metadata, true)).await.unwrap();
    let acknowledged = writers.end().await;
    let mut there = BTreeSet::new();
    for ordinal in 0..PARTITIONS {
        there.extend(rows(&cluster.master_of("d", ordinal).unwrap().1));
    }
    let lost: Vec<_> = acknowledged.difference(&there).collect();
    assert!(lost.is_empty(), "{lost:?}");
}

/// Promise: what cannot be is refused by number and text, whoever asks, and changes nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_cannot_be_is_refused() {
    let (cluster, _door, mut client) = with_database(1).await;
    client.query_drop("CREATE DATABASE durable PARTITIONS 1").await.unwrap();
    for (statement, code, part) in [
        ("ALTER DATABASE durable SET ASYNC REPLICATION", 2038, "asynchronous replication"),
        ("ALTER DATABASE d WITH SYNC DURABILITY", 1235, "cannot be changed"),
        ("ALTER DATABASE nowhere SET SYNC REPLICATION", 1049, "Unknown database 'nowhere'"),
        ("ALTER DATABASE SET SYNC REPLICATION", 1046, "No database selected"),
    ] {
        match client.query_drop(statement).await.unwrap_err() {
            mysql_async::Error::Server(error) => {
                assert_eq!(error.code, code, "{statement}: {error}");
                assert!(error.message.contains(part), "{statement}: {error}");
            }
            other => panic!("{statement}: {other}"),
        }
    }
    client.query_drop("ALTER DATABASE durable WITH SYNC REPLICATION").await.unwrap();
    client.query_drop("USE d").await.unwrap();
    client.query_drop("ALTER DATABASE SET ASYNC REPLICATION").await.unwrap();
    cluster.until("nobody is waited for", |metadata| all_are(metadata, false)).await.unwrap();
}
