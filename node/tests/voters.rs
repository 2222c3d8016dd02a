//! Who votes: with consensus turned off one aggregator is the master until somebody says otherwise.
#![allow(clippy::unwrap_used, reason = "a test may")]

mod door;
mod support;

use std::time::Duration;

use door::Door;
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Row};
use resprout_cluster::NodeId;
use resprout_cluster::control::Operation;
use resprout_cluster::metadata::Role;
use resprout_node::testing::Cluster;
use support::{text, until};

/// Of the clusters here.
const ELECTION_TIMEOUT: Duration = Duration::from_millis(500);

/// The roles as they are shown, in the order of the nodes.
async fn roles(client: &mut Conn) -> Vec<String> {
    let rows: Vec<Row> = client.query("SHOW AGGREGATORS").await.unwrap();
    rows.iter().map(|row| text(row, "Role")).collect()
}

/// Those that vote, as each aggregator that runs knows it.
fn voters(cluster: &Cluster) -> Vec<Vec<NodeId>> {
    let aggregators = cluster.aggregators().into_iter();
    aggregators.map(|node| cluster.node(node).unwrap().voters()).collect()
}

async fn until_voters(cluster: &Cluster, wanted: &[NodeId]) {
    let what = format!("{wanted:?} vote");
    until(&what, async || voters(cluster).iter().all(|voters| voters == wanted)).await;
}

fn address(cluster: &Cluster, node: NodeId) -> String {
    let address = cluster.node(node).unwrap().address();
    format!("'{}':{}", address.host, address.port)
}

/// Promise (seed 004): with consensus turned off the master aggregator alone votes, so that it needs nobody; when it is gone
/// there is none, rows are read and written all the same, and it is the master again when it is back. Turned on, voting
/// members vote again, and replace it.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn without_consensus_the_master_stays_alone() {
    let cluster = Cluster::builder().voters(3).leaves(2).redundancy(2);
    let mut cluster = cluster.election_timeout(ELECTION_TIMEOUT).start().await.unwrap();
    let (all, master) = (cluster.aggregators(), cluster.master().unwrap());
    let others: Vec<NodeId> = all.iter().copied().filter(|node| *node != master).collect();
    let door = Door::on(cluster.statements_of(others[0]).unwrap()).await;
    let mut client = door.client().await;
    client.query_drop("CREATE DATABASE d PARTITIONS 2").await.unwrap();
    client.query_drop("CREATE TABLE d.t (id INT PRIMARY KEY)").await.unwrap();
    client.query_drop("SET GLOBAL consensus_enabled = OFF").await.unwrap();
    until_voters(&cluster, &[master]).await;
    assert_eq!(roles(&mut client).await, ["Leader", "Follower", "Follower"]);
    // It is the master without any of the others.
    let address = resprout_cluster::Address { host: "127.0.0.1".to_owned(), port: 1 };
    let voting = cluster.call(Operation::AddAggregator { address, role: Role::Voter }).await;
    let why = voting.unwrap_err().to_string();
    assert!(why.contains("SET GLOBAL consensus_enabled = ON first"), "{why}");
    cluster.kill(master).await;
    // In so many election timeouts somebody would be.
    tokio::time::sleep(3 * ELECTION_TIMEOUT).await;
    assert_eq!(cluster.master(), None, "nobody is elected");
    client.query_drop("INSERT INTO d.t VALUES (1), (2), (3)").await.unwrap();
    let rows: Option<u64> = client.query_first("SELECT COUNT(*) FROM d.t").await.unwrap();
    assert_eq!(rows, Some(3));
    cluster.start(master).await.unwrap();
    until("it is the master again", async || cluster.master() == Some(master)).await;
    client.query_drop("CREATE TABLE d.u (id INT PRIMARY KEY)").await.unwrap();
    for node in &others {
        cluster.kill(*node).await;
    }
    let alone = Door::on(cluster.statements_of(master).unwrap()).await;
    let mut client = alone.client().await;
    client.query_drop("CREATE TABLE d.v (id INT PRIMARY KEY)").await.unwrap();
    for node in &others {
        cluster.start(*node).await.unwrap();
    }
    client.query_drop("SET GLOBAL consensus_enabled = ON").await.unwrap();
    until_voters(&cluster, &all).await;
    assert_eq!(roles(&mut client).await, ["Leader", "Voting Member", "Voting Member"]);
    cluster.kill(master).await;
    until("another is elected", async || cluster.master().is_some()).await;
}

/// Promise (PROMOTE AGGREGATOR … TO MASTER): the office goes to another aggregator, voting member or not, and the vote with
/// it; refused while there are elections, for what is no aggregator, and for one that is away, after which all is as it was.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn without_consensus_the_master_is_appointed() {
    let mut cluster = Cluster::builder().voters(1).leaves(1).start().await.unwrap();
    let master = cluster.master().unwrap();
    let (one, two) =
        (cluster.add(Role::Learner).await.unwrap(), cluster.add(Role::Learner).await.unwrap());
    let promote = |node| format!("PROMOTE AGGREGATOR {} TO MASTER", address(&cluster, node));
    let (to_one, to_two, to_first) = (promote(one), promote(two), promote(master));
    let to_leaf = promote(cluster.leaves()[0]);
    let door = Door::on(cluster.statements_of(one).unwrap()).await;
    let mut client = door.client().await;
    let why = async |client: &mut Conn, text: &str| {
        client.query_drop(text).await.unwrap_err().to_string()
    };
    // It has just joined, and learns of the cluster.
    until("elections are in the way", async || {
        why(&mut client, &to_one).await.contains("consensus_enabled is ON")
    })
    .await;
    client.query_drop("SET GLOBAL consensus_enabled = OFF").await.unwrap();
    let refused = why(&mut client, &to_leaf).await;
    assert!(refused.contains("no aggregator"), "{refused}");
    client.query_drop(&to_one).await.unwrap();
    until_voters(&cluster, &[one]).await;
    assert_eq!(cluster.master(), Some(one));
    client.query_drop("CREATE DATABASE d PARTITIONS 2").await.unwrap();
    client.query_drop(&to_one).await.unwrap();
    cluster.kill(two).await;
    let refused = why(&mut client, &to_two).await;
    assert!(refused.contains("is not online"), "{refused}");
    assert_eq!(cluster.master(), Some(one));
    client.query_drop("CREATE DATABASE e PARTITIONS 2").await.unwrap();
    client.query_drop(&to_first).await.unwrap();
    until_voters(&cluster, &[master]).await;
    assert_eq!(cluster.master(), Some(master));
}

/// Promise (AGGREGATOR SET AS MASTER): with the only voter lost, another aggregator goes on by order, with everything that it
/// knows; leaves follow it, and fail over under it. Refused while somebody leads. The lost one, back, has no say.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn without_the_master_another_is_set() {
    let mut cluster = Cluster::builder().voters(1).leaves(2).redundancy(2).start().await.unwrap();
    let master = cluster.master().unwrap();
    let (one, two) =
        (cluster.add(Role::Learner).await.unwrap(), cluster.add(Role::Learner).await.unwrap());
    let door = Door::on(cluster.statements_of(one).unwrap()).await;
    let mut client = door.client().await;
    client.query_drop("SET GLOBAL consensus_enabled = OFF").await.unwrap();
    client.query_drop("CREATE DATABASE d PARTITIONS 2").await.unwrap();
    client.query_drop("CREATE TABLE d.t (id INT PRIMARY KEY)").await.unwrap();
    client.query_drop("INSERT INTO d.t VALUES (1), (2), (3)").await.unwrap();
    let set = "AGGREGATOR SET AS MASTER";
    let refused = client.query_drop(set).await.unwrap_err().to_string();
    assert!(refused.contains("is the master aggregator"), "{refused}");
    cluster.kill(master).await;
    let mut last = String::new();
    until("it is forgotten, and another set", async || match client.query_drop(set).await {
        Ok(()) => true,
        Err(refused) => {
            last = refused.to_string();
            false
        }
    })
    .await;
    assert!(last.is_empty() || last.contains("an election timeout ago"), "{last}");
    assert_eq!(cluster.master(), Some(one));
    client.query_drop("CREATE TABLE d.u (id INT PRIMARY KEY)").await.unwrap();
    let leaf = cluster.master_of("d", 0).unwrap().0;
    cluster.kill(leaf).await;
    until("its partitions are written elsewhere", async || {
        client.query_drop("REPLACE INTO d.u VALUES (1), (2), (3), (4)").await.is_ok()
    })
    .await;
    let rows: Option<u64> = client.query_first("SELECT COUNT(*) FROM d.t").await.unwrap();
    assert_eq!(rows, Some(3));
    // The one that was lost may begin alone; nobody follows it, and it finds out.
    cluster.start(master).await.unwrap();
    cluster.start(leaf).await.unwrap();
    client.query_drop("CREATE TABLE d.v (id INT PRIMARY KEY)").await.unwrap();
    until("one master is left", async || {
        cluster.node(one).unwrap().is_master() && !cluster.node(master).unwrap().is_master()
    })
    .await;
    // What it knows stays as it was: the others are asked whether all is well.
    cluster.kill(master).await;
    cluster.until_whole().await.unwrap();
    until_known_by(&cluster, two, "v").await;
}

/// Waits until an aggregator answers questions about a table.
async fn until_known_by(cluster: &Cluster, node: NodeId, table: &str) {
    let door = Door::on(cluster.statements_of(node).unwrap()).await;
    let mut client = door.client().await;
    until("the other follower knows", async || {
        client.query_drop(format!("SELECT * FROM d.{table}")).await.is_ok()
    })
    .await;
}
