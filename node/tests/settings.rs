//! Settings of a cluster: SET GLOBAL by whichever aggregator, what follows on all nodes, and what is refused.
#![allow(clippy::unwrap_used, reason = "a test may")]

mod door;

use std::time::{Duration, Instant};

use door::Door;
use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use resprout_cluster::NodeId;
use resprout_cluster::metadata::NodeState;
use resprout_node::testing::{Cluster, PATIENCE};

/// Waits until something is so.
async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !is_so().await {
        assert!(Instant::now() < end, "{what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn shown(client: &mut Conn, name: &str) -> String {
    let text = format!("SHOW VARIABLES LIKE '{name}'");
    let row: Option<(String, String)> = client.query_first(text).await.unwrap();
    row.unwrap().1
}

/// All aggregators that run show that value.
async fn everywhere(cluster: &Cluster, name: &str, value: &str) {
    for node in cluster.aggregators() {
        let door = Door::on(cluster.statements_of(node).unwrap()).await;
        let mut client = door.client().await;
        let what = format!("{name} is {value} on {node}");
        until(&what, async || shown(&mut client, name).await == value).await;
    }
}

async fn on_leaves(cluster: &Cluster, leaves: &[NodeId], keep: usize) {
    for leaf in leaves {
        let engine = cluster.node(*leaf).unwrap().engine().unwrap();
        let what = format!("{leaf} keeps {keep} snapshots");
        until(&what, async || engine.tuning().snapshots_to_keep == keep).await;
    }
}

/// Promise (O17): SET GLOBAL through any aggregator holds on all, and on leaves; also one that is said while the master
/// aggregator is gone. It is there on the next master aggregator, and on nodes that start again.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn o17_set_global_holds_on_every_node() {
    let mut cluster = Cluster::builder().voters(3).leaves(2).redundancy(2).start().await.unwrap();
    let master = cluster.master().unwrap();
    let child = cluster.aggregators().into_iter().find(|node| *node != master).unwrap();
    let door = Door::on(cluster.statements_of(child).unwrap()).await;
    let mut client = door.client().await;
    client.query_drop("SET GLOBAL auto_attach = Off").await.unwrap();
    client.query_drop("SET @@GLOBAL.snapshots_to_keep = 5").await.unwrap();
    client.query_drop("SET GLOBAL default_partitions_per_leaf = 3").await.unwrap();
    everywhere(&cluster, "auto_attach", "OFF").await;
    everywhere(&cluster, "snapshots_to_keep", "5").await;
    let leaves = cluster.leaves();
    on_leaves(&cluster, &leaves, 5).await;
    cluster.kill(master).await;
    client.query_drop("SET GLOBAL attach_rebalance_delay_seconds = 7").await.unwrap();
    assert_ne!(cluster.master(), Some(master));
    cluster.start(master).await.unwrap();
    for (name, value) in [
        ("auto_attach", "OFF"),
        ("attach_rebalance_delay_seconds", "7"),
        ("default_partitions_per_leaf", "3"),
    ] {
        everywhere(&cluster, name, value).await;
    }
    client.query_drop("CREATE DATABASE d").await.unwrap();
    let partitions: Vec<mysql_async::Row> = client.query("SHOW PARTITIONS ON d").await.unwrap();
    assert_eq!(partitions.len(), 12, "two copies of three partitions for each leaf");
    // A leaf that comes back waits for somebody, as auto_attach says to the master aggregator of now.
    cluster.stop(leaves[0]).await;
    let state = |wanted| {
        let leaf = leaves[0];
        move |metadata: &resprout_cluster::metadata::Metadata| {
            metadata.nodes()[&leaf].state == wanted
        }
    };
    cluster.until("the leaf is lost", state(NodeState::Offline)).await.unwrap();
    cluster.start(leaves[0]).await.unwrap();
    on_leaves(&cluster, &leaves, 5).await;
    cluster.until("the leaf waits", state(NodeState::Detached)).await.unwrap();
    let on: Option<u8> = client.query_first("SELECT @@GLOBAL.auto_attach").await.unwrap();
    assert_eq!(on, Some(0));
    client
        .query_drop("SET GLOBAL auto_attach = DEFAULT, GLOBAL snapshots_to_keep = DEFAULT")
        .await
        .unwrap();
    client.query_drop("ATTACH LEAF ALL").await.unwrap();
    cluster.until_whole().await.unwrap();
    on_leaves(&cluster, &leaves, 2).await;
}

/// Promise: a value that cannot be is refused with MySQL's numbers, and changes nothing: also one that does not go with
/// the databases that are there. With an empty cluster redundancy and fan-out go both ways.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_cannot_be_is_refused() {
    let cluster = Cluster::builder().voters(1).leaves(2).redundancy(2).start().await.unwrap();
    let door = Door::of(&cluster).await;
    let mut client = door.client().await;
    client.query_drop("SET GLOBAL leaf_failover_fanout = 'load_balanced'").await.unwrap();
    assert_eq!(shown(&mut client, "leaf_failover_fanout").await, "load_balanced");
    client.query_drop("SET GLOBAL redundancy_level = 1").await.unwrap();
    assert_eq!(shown(&mut client, "leaf_failover_fanout").await, "load_balanced");
    client.query_drop("SET GLOBAL redundancy_level = 2").await.unwrap();
    assert_eq!(shown(&mut client, "leaf_failover_fanout").await, "load_balanced");
    client.query_drop("SET GLOBAL leaf_failover_fanout = paired").await.unwrap();
    client.query_drop("CREATE DATABASE d PARTITIONS 2").await.unwrap();
    for (text, code, name, value) in [
        ("SET GLOBAL auto_attach = 2", 1231, "auto_attach", "ON"),
        ("SET GLOBAL auto_attach = NULL", 1231, "auto_attach", "ON"),
        ("SET auto_attach = OFF", 1229, "auto_attach", "ON"),
        ("SET GLOBAL heartbeat_interval_ms = 'often'", 1232, "heartbeat_interval_ms", "150"),
        ("SET GLOBAL heartbeat_miss_limit = 0", 1231, "heartbeat_miss_limit", "20"),
        ("SET GLOBAL snapshots_to_keep = 0", 1231, "snapshots_to_keep", "2"),
        ("SET GLOBAL redundancy_level = 3", 1231, "redundancy_level", "2"),
        ("SET GLOBAL redundancy_level = 1", 1231, "redundancy_level", "2"),
        ("SET GLOBAL leaf_failover_fanout = 'all'", 1231, "leaf_failover_fanout", "paired"),
        (
            "SET GLOBAL catch_up_mib_per_second = 2000000",
            1231,
            "catch_up_mib_per_second",
            &(10 * std::thread::available_parallelism().unwrap().get()).to_string(),
        ),
        ("SET GLOBAL consensus_enabled = 'maybe'", 1231, "consensus_enabled", "ON"),
        ("SET GLOBAL sync_replication_timeout_ms = 1", 1231, "sync_replication_timeout_ms", "5000"),
    ] {
        let refused = client.query_drop(text).await.unwrap_err().to_string();
        assert!(refused.contains(&format!("ERROR {code}")), "{text}: {refused}");
        assert_eq!(shown(&mut client, name).await, value, "{text}");
    }
    let refused = client.query_drop("SET GLOBAL redundancy_level = 1").await.unwrap_err();
    let why =
        "Variable 'redundancy_level' can't be set to the value of '1': database 'd' has two copies";
    assert!(refused.to_string().contains(why), "{refused}");
}

/// Promise: the election timeout that is set holds for nodes that run: another aggregator takes over long before the one
/// that they were started with.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_election_timeout_holds_at_once() {
    let slow = Duration::from_secs(120);
    let cluster = Cluster::builder().voters(3).leaves(1).election_timeout(slow);
    let mut cluster = cluster.start().await.unwrap();
    let master = cluster.master().unwrap();
    let child = cluster.aggregators().into_iter().find(|node| *node != master).unwrap();
    let door = Door::on(cluster.statements_of(child).unwrap()).await;
    let mut client = door.client().await;
    assert_eq!(shown(&mut client, "consensus_election_timeout").await, "120000");
    client.query_drop("SET GLOBAL consensus_election_timeout = 500").await.unwrap();
    everywhere(&cluster, "consensus_election_timeout", "500").await;
    let killed = Instant::now();
    cluster.kill(master).await;
    until("another aggregator takes over", async || cluster.master().is_some()).await;
    assert!(killed.elapsed() < slow / 2, "{:?}", killed.elapsed());
}
