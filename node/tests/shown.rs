//! What a cluster shows that only its nodes know, and statements about aggregators that consensus refuses.
#![allow(clippy::unwrap_used, reason = "a test may")]

mod door;
mod support;

use std::time::{Duration, Instant};

use door::Door;
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Row};
use resprout_cluster::NodeId;
use resprout_cluster::metadata::NodeState;
use resprout_node::testing::Cluster;
use support::{text, until};

fn names(rows: &[Row]) -> Vec<String> {
    rows[0].columns_ref().iter().map(|column| column.name_str().into_owned()).collect()
}

/// SHOW CLUSTER STATUS of partitions, without the metadata and reference tables.
async fn copies(client: &mut Conn) -> Vec<Row> {
    let rows: Vec<Row> = client.query("SHOW CLUSTER STATUS").await.unwrap();
    let is_other = |row: &Row| ["cluster", "d"].contains(&&*text(row, "DATABASE_NAME"));
    rows.into_iter().filter(|row| !is_other(row)).collect()
}

/// Role, state, role in the metadata, and port of the master that it really has, of each copy of a node.
async fn of_node(client: &mut Conn, node: NodeId) -> Vec<[String; 4]> {
    let of_it = |row: &Row| text(row, "NODE_ID") == node.0.to_string();
    let columns = ["ROLE", "STATE", "METADATA_ROLE", "MASTER_PORT"];
    let rows = copies(client).await;
    rows.iter()
        .filter(|row| of_it(row))
        .map(|row| columns.map(|column| text(row, column)))
        .collect()
}

/// A database of two partitions on two leaves, and a client of an aggregator that is not the master.
async fn with_database() -> (Cluster, Door, Conn) {
    let cluster = Cluster::builder().voters(2).leaves(2).redundancy(2).start().await.unwrap();
    let master = cluster.master().unwrap();
    let child = cluster.aggregators().into_iter().find(|node| *node != master).unwrap();
    let door = Door::on(cluster.statements_of(child).unwrap()).await;
    let mut client = door.client().await;
    client.query_drop("CREATE DATABASE d PARTITIONS 2").await.unwrap();
    client.query_drop("CREATE TABLE d.t (id BIGINT PRIMARY KEY)").await.unwrap();
    client.query_drop("INSERT INTO d.t VALUES (1), (2), (3), (4)").await.unwrap();
    (cluster, door, client)
}

/// Waits until all copies are what the metadata say: masters serve, and replicas follow just those.
async fn until_whole(client: &mut Conn) {
    let is_so = |row: &Row| {
        let really = text(row, "MASTER_PORT");
        let does = match text(row, "ROLE").as_str() {
            "Master" => text(row, "STATE") == "online" && really.is_empty(),
            _ => text(row, "STATE") == "replicating" && !really.is_empty(),
        };
        does && really == text(row, "METADATA_MASTER_PORT")
            && text(row, "ROLE") == text(row, "METADATA_ROLE")
    };
    until("all copies serve or follow", async || {
        let rows = copies(client).await;
        rows.len() == 4 && rows.iter().all(is_so)
    })
    .await;
}

/// Each leaf has a copy of them, under the name of the database; one is followed by the other.
fn reference_tables_are_shown(rows: &[Row]) {
    let of_it = rows.iter().filter(|row| text(row, "DATABASE_NAME") == "d");
    let columns = ["ROLE", "METADATA_ROLE", "STATE", "MASTER_PORT", "METADATA_MASTER_PORT"];
    let mut shown: Vec<_> = of_it.map(|row| columns.map(|column| text(row, column))).collect();
    shown.sort();
    let follows = shown[1][3].clone();
    assert!(!follows.is_empty());
    let row =
        |state: &str, port: &str| ["Reference", "Reference", state, port, port].map(str::to_owned);
    assert_eq!(shown, [row("online", ""), row("replicating", &follows)]);
}

/// Promise: EXPLAIN FAILOVER LEAF says of each partition of the leaf who is master then, and how many that leaf would have;
/// when the leaf is lost, it is so. A leaf that is not known is refused.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_failover_is_explained_before_it_happens() {
    let (mut cluster, _door, mut client) = with_database().await;
    let leaf = cluster.leaves()[0];
    let port = |cluster: &Cluster, node| {
        let metadata = cluster.node(cluster.aggregators()[0]).unwrap().metadata().read();
        metadata.nodes()[&node].address.port
    };
    let (lost, other) = (port(&cluster, leaf), port(&cluster, cluster.leaves()[1]));
    let explain = format!("EXPLAIN FAILOVER LEAF '127.0.0.1':{lost}");
    let rows: Vec<Row> = client.query(&explain).await.unwrap();
    let expected = "Database Ordinal Effect From_Host From_Port Target_Host Target_Port \
                    Masters_Before Masters_After";
    assert_eq!(names(&rows).join(" "), expected);
    let shown: Vec<_> = rows
        .iter()
        .map(|row| {
            ["Database", "Effect", "From_Port", "Target_Port", "Masters_Before", "Masters_After"]
                .map(|column| text(row, column))
                .join(" ")
        })
        .collect();
    let mut shown = shown;
    shown.sort();
    assert_eq!(
        shown,
        [
            format!("d another master {lost} {other} 1 2"),
            format!("d one copy less {lost} {other} 1 2"),
        ]
    );
    let unknown = client.query_drop("EXPLAIN FAILOVER LEAF 'nowhere':1").await.unwrap_err();
    assert!(unknown.to_string().contains("nowhere:1"), "{unknown}");
    cluster.kill(leaf).await;
    until("the other leaf has all masters", async || {
        let rows: Vec<Row> = client.query("SHOW PARTITIONS ON d").await.unwrap();
        let masters = rows.iter().filter(|row| text(row, "Role") == "Master");
        masters.filter(|row| text(row, "Port") == other.to_string()).count() == 2
    })
    .await;
}

/// Promise: SHOW CLUSTER STATUS has its documented columns, the metadata of every node, and every copy as its leaf has it:
/// who serves, who follows whom, and how far; SHOW REPLICATION STATUS has who follows.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn copies_are_shown_as_leaves_have_them() {
    let (_cluster, _door, mut client) = with_database().await;
    let rows: Vec<Row> = client.query("SHOW CLUSTER STATUS").await.unwrap();
    let expected = "NODE_ID HOST PORT DATABASE_NAME ROLE STATE POSITION MASTER_HOST MASTER_PORT \
                    METADATA_MASTER_NODE_ID METADATA_MASTER_HOST METADATA_MASTER_PORT METADATA_ROLE \
                    DETAILS COMMITTED_POSITION HARDENED_POSITION REPLAY_POSITION";
    assert_eq!(names(&rows).join(" "), expected);
    let metadata = rows.iter().filter(|row| text(row, "DATABASE_NAME") == "cluster");
    let metadata: Vec<_> = metadata.map(|row| (text(row, "ROLE"), text(row, "STATE"))).collect();
    assert_eq!(metadata.len(), 4, "{metadata:?}");
    let serving = metadata.iter().filter(|one| **one == ("Master".to_owned(), "online".to_owned()));
    assert_eq!(serving.count(), 1, "{metadata:?}");
    until_whole(&mut client).await;
    reference_tables_are_shown(&rows);
    // Copies of one partition end at one position, once nobody writes.
    until("positions are equal", async || {
        let rows = copies(&mut client).await;
        ["d_0", "d_1"].iter().all(|name| {
            let of_it = rows.iter().filter(|row| text(row, "DATABASE_NAME") == *name);
            let at: Vec<_> = of_it.map(|row| text(row, "COMMITTED_POSITION")).collect();
            at.len() == 2 && at[0] == at[1] && at[0].starts_with("0:")
        })
    })
    .await;
    let links: Vec<Row> = client.query("SHOW REPLICATION STATUS").await.unwrap();
    let mut of: Vec<_> = links.iter().map(|link| text(link, "Database")).collect();
    of.sort();
    assert_eq!(of, ["d", "d_0", "d_1"], "two partitions, and reference tables");
    for link in &links {
        let found = ["Role", "Connected", "Master_State", "Slave_State"].map(|of| text(link, of));
        assert_eq!(found, ["master", "yes", "online", "replicating"]);
    }
}

/// Promise (W04): a leaf that is gone has rows that say so, and nobody waits for it; one that waits to be attached has its
/// copies, of which those that were told nothing are pending, each its own master.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn w04_a_leaf_that_is_away_is_shown_so() {
    let (mut cluster, _door, mut client) = with_database().await;
    client.query_drop("SET GLOBAL auto_attach = OFF").await.unwrap();
    until_whole(&mut client).await;
    let (lost, _) = cluster.master_of("d", 0).unwrap();
    cluster.kill(lost).await;
    until("the leaf's copies are offline", async || {
        let asked = Instant::now();
        let rows = of_node(&mut client, lost).await;
        assert!(asked.elapsed() < Duration::from_secs(20), "nobody waits for who does not answer");
        rows.len() == 2 && rows.iter().all(|row| row[0].is_empty() && row[1] == "offline")
    })
    .await;
    let is_silent = |row: &Row| text(row, "DETAILS") == "the node does not answer";
    assert_eq!(copies(&mut client).await.into_iter().filter(is_silent).count(), 2);
    let is = |wanted| {
        let nodes = resprout_cluster::metadata::Metadata::nodes;
        move |metadata: &resprout_cluster::metadata::Metadata| {
            nodes(metadata)[&lost].state == wanted
        }
    };
    cluster.until("the leaf is lost", is(NodeState::Offline)).await.unwrap();
    cluster.start(lost).await.unwrap();
    cluster.until("the leaf waits to be attached", is(NodeState::Detached)).await.unwrap();
    // One that was told of its master by metadata of before, while these were replayed, follows it already.
    until("its copies are pending, or follow", async || {
        let rows = of_node(&mut client, lost).await;
        let state = |row: &[String; 4]| match [&*row[0], &*row[1], &*row[2]] {
            ["Master", "pending", "Replica"] => true,
            ["Replica", "replicating", "Replica"] => !row[3].is_empty(),
            _ => false,
        };
        rows.len() == 2 && rows.iter().all(state)
    })
    .await;
    client.query_drop("ATTACH LEAF ALL").await.unwrap();
    until_whole(&mut client).await;
}

/// Promise: an aggregator lists the databases of the cluster, with how they are replicated, and tells what it has of each.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn databases_are_listed_with_their_replicas() {
    let cluster = Cluster::builder().voters(1).leaves(2).redundancy(2).start().await.unwrap();
    let door = Door::of(&cluster).await;
    let mut client = door.client().await;
    client.query_drop("CREATE DATABASE d PARTITIONS 3").await.unwrap();
    let rows: Vec<Row> = client.query("SHOW DATABASES EXTENDED").await.unwrap();
    let columns = ["Database", "Role", "State", "AsyncSlaves", "SyncSlaves"];
    let shown: Vec<_> = rows.iter().map(|row| columns.map(|column| text(row, column))).collect();
    let expected = [
        ["cluster", "master", "online", "2", "0"],
        ["information_schema", "master", "online", "0", "0"],
        ["d", "master", "online", "0", "3"],
    ];
    assert_eq!(shown, expected);
    let filtered: Vec<Row> = client.query("SHOW DATABASES EXTENDED LIKE 'd'").await.unwrap();
    assert_eq!(filtered.len(), 1);
    client.query_drop("USE d").await.unwrap();
    let status: Vec<(String, String)> = client.query("SHOW DATABASE STATUS").await.unwrap();
    for (key, value) in [("Role", "master"), ("Partitions", "3"), ("Log type", "sync durability")] {
        assert!(status.contains(&(key.to_owned(), value.to_owned())), "{key}: {status:?}");
    }
    let refused = client.query_drop("USING nothing SHOW DATABASE STATUS").await.unwrap_err();
    assert!(refused.to_string().contains("1049"), "{refused}");
}

/// Promise: SHOW AGGREGATORS has its documented columns; another aggregator has a latency while it answers and is offline
/// when it does not. With consensus nobody is told to be master, and a node of a cluster begins no other: each is told what
/// to do instead.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn aggregators_are_shown_and_elect_by_themselves() {
    let mut cluster = Cluster::builder().voters(3).leaves(1).start().await.unwrap();
    let master = cluster.master().unwrap();
    let others: Vec<_> = cluster.aggregators().into_iter().filter(|node| *node != master).collect();
    let door = Door::on(cluster.statements_of(master).unwrap()).await;
    let mut client = door.client().await;
    let shown: Vec<Row> = client.query("SHOW AGGREGATORS EXTENDED").await.unwrap();
    let expected = [
        "Host",
        "Port",
        "State",
        "Opened_Connections",
        "Average_Roundtrip_Latency_ms",
        "Master_Aggregator",
        "Role",
        "NodeID",
        "Runtime_State",
        "Local_Minimum_Pre_Prepare_Ts",
        "Minimum_Pre_Prepare_Ts",
        "Availability_Group",
    ];
    assert_eq!(names(&shown), expected);
    let state_of = async |client: &mut Conn, node: NodeId| {
        let rows: Vec<Row> = client.query("SHOW AGGREGATORS").await.unwrap();
        assert_eq!(names(&rows), expected[..9]);
        let row = rows.iter().find(|row| text(row, "NodeID") == node.0.to_string()).unwrap();
        (text(row, "State"), !text(row, "Average_Roundtrip_Latency_ms").is_empty())
    };
    for node in &others {
        until("the other answers", async || {
            state_of(&mut client, *node).await == ("online".to_owned(), true)
        })
        .await;
    }
    assert_eq!(state_of(&mut client, master).await, ("online".to_owned(), false));
    let port = cluster.node(others[0]).unwrap().address().port;
    for (statement, why) in [
        (format!("PROMOTE AGGREGATOR '127.0.0.1':{port} TO MASTER"), "elect their master"),
        ("PROMOTE AGGREGATOR 'nowhere':1 TO MASTER".to_owned(), "'nowhere':1 is no aggregator"),
        ("AGGREGATOR SET AS MASTER".to_owned(), "is the master aggregator as far as is known"),
        ("BOOTSTRAP AGGREGATOR '127.0.0.1'".to_owned(), "of a cluster already"),
    ] {
        let refused = client.query_drop(&statement).await.unwrap_err().to_string();
        assert!(refused.contains(why), "{statement}: {refused}");
    }
    cluster.kill(others[0]).await;
    until("the one that is gone is offline", async || {
        state_of(&mut client, others[0]).await == ("offline".to_owned(), false)
    })
    .await;
}
