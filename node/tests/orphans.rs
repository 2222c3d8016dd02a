//! Orphans over real nodes: listed, attached, cleared, and kept where they may be the last copy.
#![allow(clippy::unwrap_used, reason = "a test may")]

mod door;
mod support;

use door::Door;
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Row};
use resprout_cluster::metadata::{Metadata, NodeState};
use resprout_cluster::{NodeId, Ordinal, Partition};
use resprout_engine::table::Value;
use resprout_node::testing::Cluster;
use resprout_sql::place::{ClusterView, Directory as _, Listed};
use support::{text, until};

const ROWS: i64 = 40;

/// Two leaves with a database of two partitions, all of it in step, and a client.
struct World {
    cluster: Cluster,
    _door: Door,
    client: Conn,
}

impl World {
    async fn start() -> Self {
        let cluster = Cluster::builder().voters(1).leaves(2).redundancy(2).start().await.unwrap();
        let door = Door::of(&cluster).await;
        let mut client = door.client().await;
        client.query_drop("CREATE DATABASE x_test PARTITIONS 2").await.unwrap();
        client.query_drop("CREATE TABLE x_test.t (id BIGINT PRIMARY KEY)").await.unwrap();
        let mut world = Self { cluster, _door: door, client };
        world.insert(0..ROWS).await;
        world.cluster.until_whole().await.unwrap();
        world
    }

    async fn insert(&mut self, ids: std::ops::Range<i64>) {
        let rows: Vec<_> = ids.map(|id| format!("({id})")).collect();
        let insert = format!("INSERT INTO x_test.t VALUES {}", rows.join(", "));
        self.run(&insert).await;
    }

    async fn run(&mut self, statement: &str) {
        let done = self.client.query_drop(statement).await;
        done.unwrap_or_else(|error| panic!("{statement}: {error}"));
    }

    /// The error that it gives.
    async fn refused(&mut self, statement: &str) -> String {
        self.client.query_drop(statement).await.expect_err(statement).to_string()
    }

    async fn rows(&mut self, statement: &str) -> Vec<Row> {
        self.client.query(statement).await.unwrap_or_else(|error| panic!("{statement}: {error}"))
    }

    async fn ids(&mut self) -> Vec<i64> {
        let rows = self.rows("SELECT id FROM x_test.t").await;
        let mut ids: Vec<i64> = rows.iter().map(|row| row.get(0).unwrap()).collect();
        ids.sort_unstable();
        ids
    }

    fn partition(&self, ordinal: u32) -> Partition {
        let node = self.cluster.node(self.cluster.aggregators()[0]).unwrap();
        node.metadata().read().partition("x_test", Ordinal(ordinal)).unwrap().clone()
    }

    /// `db:n ON 'host':port`.
    fn on(&self, ordinal: u32, leaf: NodeId) -> String {
        let node = self.cluster.node(self.cluster.aggregators()[0]).unwrap();
        let port = node.metadata().read().nodes()[&leaf].address.port;
        format!("x_test:{ordinal} ON '127.0.0.1':{port}")
    }

    /// The leaf with the master of a partition, and the other one.
    fn leaves_of(&self, ordinal: u32) -> (NodeId, NodeId) {
        let master = NodeId::from(self.partition(ordinal).master.unwrap());
        let other = self.cluster.leaves().into_iter().find(|leaf| *leaf != master).unwrap();
        (master, other)
    }

    /// Role, state and details of a partition on a leaf, by SHOW CLUSTER STATUS.
    async fn shown(&mut self, ordinal: u32, leaf: NodeId) -> Vec<[String; 3]> {
        let name = format!("x_test_{ordinal}");
        let rows = self.rows("SHOW CLUSTER STATUS").await;
        let is_it = |row: &&Row| {
            text(row, "DATABASE_NAME") == name && text(row, "NODE_ID") == leaf.0.to_string()
        };
        let columns = ["ROLE", "STATE", "DETAILS"];
        rows.iter().filter(is_it).map(|row| columns.map(|column| text(row, column))).collect()
    }

    /// Waits until a partition has that role on a leaf.
    async fn until_role(&mut self, ordinal: u32, leaf: NodeId, role: &str, state: &str) {
        let what = format!("{role} {state} of {ordinal} on {leaf}");
        until(&what, async || {
            let shown = self.shown(ordinal, leaf).await;
            shown.len() == 1 && shown[0][0] == role && shown[0][1] == state
        })
        .await;
    }

    /// What EXPLAIN CLEAR ORPHAN DATABASES lists: databases.
    async fn explained(&mut self) -> Vec<String> {
        let rows = self.rows("EXPLAIN CLEAR ORPHAN DATABASES").await;
        if let Some(first) = rows.first() {
            let names: Vec<_> = first.columns_ref().iter().map(|one| one.name_str()).collect();
            assert_eq!(names, ["Host", "Port", "Database"]);
        }
        rows.iter().map(|row| text(row, "Database")).collect()
    }

    /// Kills a leaf, and waits until its next run is online.
    async fn restart(&mut self, leaf: NodeId) {
        self.cluster.kill(leaf).await;
        self.come_back(leaf).await;
    }

    async fn come_back(&mut self, leaf: NodeId) {
        let run = {
            let node = self.cluster.node(self.cluster.aggregators()[0]).unwrap();
            node.metadata().read().nodes()[&leaf].incarnation
        };
        self.cluster.start(leaf).await.unwrap();
        let is_back = |metadata: &Metadata| {
            let node = &metadata.nodes()[&leaf];
            node.state == NodeState::Online && node.incarnation > run
        };
        self.cluster.until("the leaf is online", is_back).await.unwrap();
    }

    /// Copies on a leaf's disk.
    fn stored(&self, leaf: NodeId) -> usize {
        let copies = self.cluster.dir(leaf).unwrap().join("rows/databases");
        std::fs::read_dir(copies).unwrap().count()
    }
}

/// Promise (W09 step 6, W11, O03): a copy that left the record and is still on its leaf is an orphan, also after restarts:
/// shown with what made it and whether it may go, kept by everything but CLEAR ORPHAN DATABASES, which removes just those
/// that are safe; said again, it finds nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn o03_leftovers_are_listed_and_cleared() {
    let mut world = World::start().await;
    let (_, replica) = world.leaves_of(0);
    assert_eq!(world.explained().await, Vec::<String>::new());
    let on = world.on(0, replica);
    world.run(&format!("DETACH PARTITION {on}")).await;
    world.until_role(0, replica, "Orphan", "pending").await;
    let details = world.shown(0, replica).await.remove(0)[2].clone();
    assert!(details.starts_with("made by DETACH PARTITION, 20"), "{details}");
    assert!(details.ends_with(" bytes; safe to drop: yes"), "{details}");
    assert!(!details.contains(" 0 bytes"), "{details}");
    // Restarts and new copies beside it leave it alone.
    world.insert(ROWS..2 * ROWS).await;
    world.restart(replica).await;
    world.run("RESTORE REDUNDANCY ON x_test").await;
    world.cluster.until_whole().await.unwrap();
    assert_eq!(world.stored(replica), 4, "two copies, one of reference tables, and an orphan");
    assert_eq!(world.explained().await, ["x_test_0"]);
    world.run("CLEAR ORPHAN DATABASES").await;
    assert_eq!(world.explained().await, Vec::<String>::new());
    world.run("CLEAR ORPHAN DATABASES").await;
    assert_eq!(world.stored(replica), 3);
    world.until_role(0, replica, "Replica", "replicating").await;
    assert_eq!(world.ids().await, (0..2 * ROWS).collect::<Vec<_>>());
    // What leaves do not have needs no note any more.
    let has_none = |metadata: &Metadata| metadata.databases()["x_test"].left.is_empty();
    world.cluster.until("the note is gone", has_none).await.unwrap();
}

/// Promise (W24): without a master the orphan stays, whatever is cleared; ATTACH PARTITION makes it the master in a new
/// term, and nothing of what it had is lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn w24_an_orphan_is_kept_and_becomes_master() {
    let mut world = World::start().await;
    let (master, replica) = world.leaves_of(1);
    // The replica misses what is written while it is away; then the master is lost.
    world.cluster.kill(replica).await;
    world.insert(ROWS..2 * ROWS).await;
    world.cluster.kill(master).await;
    world.come_back(replica).await;
    let (at_master, at_replica) = (world.on(1, master), world.on(1, replica));
    let term = world.partition(1).term;
    world.run(&format!("DETACH PARTITION {at_master}")).await;
    world.cluster.start(master).await.unwrap();
    world.until_role(0, master, "Master", "online").await;
    // 1: a partition without a master, and an orphan of it.
    world.until_role(1, master, "Orphan", "pending").await;
    assert_eq!(world.partition(1).serving(), None);
    let refused = world.refused("SELECT id FROM x_test.t").await;
    assert!(refused.contains("1777"), "{refused}");
    let details = world.shown(1, master).await.remove(0)[2].clone();
    assert!(details.contains("no master: it may be the last copy"), "{details}");
    // 2: it stays, and so does the replica.
    assert_eq!(world.explained().await, Vec::<String>::new());
    world.run("CLEAR ORPHAN DATABASES").await;
    let dropped = world.refused(&format!("DROP PARTITION {at_master}")).await;
    assert!(dropped.contains("2036"), "{dropped}");
    let dropped = world.refused(&format!("DROP PARTITION {at_replica}")).await;
    assert!(dropped.contains("2036"), "{dropped}");
    let made = world.refused(&format!("CREATE PARTITION {at_master}")).await;
    assert!(made.contains("2036") && made.contains("ATTACH PARTITION"), "{made}");
    world.until_role(1, master, "Orphan", "pending").await;
    // 3: attached, it is the master.
    world.run(&format!("ATTACH PARTITION {at_master}")).await;
    assert!(world.partition(1).term > term);
    world.until_role(1, master, "Master", "online").await;
    world.until_role(1, replica, "Replica", "replicating").await;
    assert_eq!(world.ids().await, (0..2 * ROWS).collect::<Vec<_>>());
    world.insert(2 * ROWS..3 * ROWS).await;
    world.cluster.until_whole().await.unwrap();
    assert_eq!(world.ids().await, (0..3 * ROWS).collect::<Vec<_>>());
}

/// Promise (W24, O07): a copy that is detached keeps what it has, and is a replica again when it is attached, without a
/// restart of its leaf; a master is detached once another one serves, and the last copy is not.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn o07_a_copy_is_detached_and_attached_again() {
    let mut world = World::start().await;
    let (master, replica) = world.leaves_of(0);
    let (at_master, at_replica) = (world.on(0, master), world.on(0, replica));
    world.run(&format!("DETACH PARTITION {at_replica}")).await;
    let last = world.refused(&format!("DETACH PARTITION {at_master}")).await;
    assert!(last.contains("2036") && last.contains("x_test:0"), "{last}");
    let gone = world.refused(&format!("DETACH PARTITION {at_replica}")).await;
    assert!(gone.contains("no copy"), "{gone}");
    world.insert(ROWS..2 * ROWS).await;
    world.until_role(0, replica, "Orphan", "pending").await;
    world.run(&format!("ATTACH PARTITION {at_replica}")).await;
    world.cluster.until_whole().await.unwrap();
    world.until_role(0, replica, "Replica", "replicating").await;
    let again = world.refused(&format!("ATTACH PARTITION {at_replica}")).await;
    assert!(again.contains("has no orphan"), "{again}");
    // The master's copy goes the same way.
    let term = world.partition(0).term;
    world.run(&format!("DETACH PARTITION {at_master}")).await;
    assert_eq!(world.leaves_of(0), (replica, master));
    assert!(world.partition(0).term > term);
    world.insert(2 * ROWS..3 * ROWS).await;
    world.until_role(0, master, "Orphan", "pending").await;
    world.run(&format!("ATTACH PARTITION {at_master}")).await;
    world.cluster.until_whole().await.unwrap();
    // What both had meanwhile is on both.
    world.cluster.kill(replica).await;
    world.insert(3 * ROWS..4 * ROWS).await;
    assert_eq!(world.ids().await, (0..4 * ROWS).collect::<Vec<_>>());
}

/// Promise: a partition without any copy begins anew only where no orphan of it is known, or by force; what the orphan has
/// and the new master has not is kept by CLEAR ORPHAN DATABASES, and dropped by name only.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_only_an_orphan_has_is_dropped_by_name_only() {
    let mut world = World::start().await;
    let (master, replica) = world.leaves_of(0);
    let (at_master, at_replica) = (world.on(0, master), world.on(0, replica));
    world.run(&format!("DETACH PARTITION {at_replica}")).await;
    world.insert(ROWS..2 * ROWS).await;
    world.cluster.kill(master).await;
    let offline = |metadata: &Metadata| metadata.nodes()[&master].state == NodeState::Offline;
    world.cluster.until("the leaf is lost", offline).await.unwrap();
    // The lost master has more than the orphan: it is not passed over silently.
    let behind = world.refused(&format!("ATTACH PARTITION {at_replica}")).await;
    assert!(behind.contains("may have more"), "{behind}");
    let taken = world.refused(&format!("CREATE PARTITION {at_replica} FORCE")).await;
    assert!(taken.contains("has copies"), "{taken}");
    world.run(&format!("DETACH PARTITION {at_master}")).await;
    let known = world.refused(&format!("CREATE PARTITION {at_replica}")).await;
    assert!(known.contains("2036"), "{known}");
    world.run(&format!("CREATE PARTITION {at_replica} FORCE")).await;
    let serves = |metadata: &Metadata| {
        let partition = metadata.partition("x_test", Ordinal(0)).unwrap();
        partition.serving() == Some(replica.into())
    };
    world.cluster.until("it begins anew", serves).await.unwrap();
    // It has the tables of its database, and no other partition loses them with the next change.
    let rest = world.ids().await;
    assert!(!rest.is_empty() && rest.len() < 2 * ROWS as usize, "{} rows", rest.len());
    world.run("CREATE TABLE x_test.u (id BIGINT PRIMARY KEY)").await;
    world.insert(2 * ROWS..3 * ROWS).await;
    assert_eq!(world.ids().await.len(), rest.len() + ROWS as usize);
    world.come_back(master).await;
    world.until_role(0, master, "Orphan", "pending").await;
    let is_kept = async |world: &mut World| {
        until("kept, with the reason", async || {
            let details = world.shown(0, master).await.remove(0)[2].clone();
            details.contains("it has what the master of its partition does not have")
        })
        .await;
    };
    is_kept(&mut world).await;
    assert_eq!(world.explained().await, Vec::<String>::new());
    world.run("CLEAR ORPHAN DATABASES").await;
    is_kept(&mut world).await;
    world.run(&format!("DROP PARTITION {at_master}")).await;
    assert!(world.shown(0, master).await.is_empty());
}

/// Promise: what a leaf has that was removed by force is listed with where it is and what made it; its partition does not begin anew
/// over it unless forced, CLEAR ORPHAN DATABASES leaves it alone, and DROP PARTITION by name ends the list.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_a_removed_leaf_has_is_listed() {
    let mut world = World::start().await;
    let (gone, rest) = world.leaves_of(0);
    let on = [world.on(0, gone), world.on(1, gone)];
    world.cluster.kill(gone).await;
    let serves = |metadata: &Metadata| {
        let serves = |ordinal| {
            metadata.partition("x_test", Ordinal(ordinal)).unwrap().serving() == Some(rest.into())
        };
        metadata.nodes()[&gone].state == NodeState::Offline && serves(0) && serves(1)
    };
    world.cluster.until("the leaf is lost", serves).await.unwrap();
    let at = on[0].split(" ON ").nth(1).unwrap().to_owned();
    world.run(&format!("REMOVE LEAF {at} FORCE")).await;
    let listed = |world: &World| {
        let (directory, _) = world.cluster.statements().unwrap();
        let view = Listed::View(ClusterView::Orphans);
        let shown = tokio::task::block_in_place(|| directory.show(&view)).unwrap();
        // Where, what, its bytes, what made it, and whether it is safe to drop.
        let columns = [1, 2, 3, 4, 6, 7, 11];
        let row = |row: &Vec<Value>| columns.map(|at| row[at].to_string()).join(" ");
        let mut rows: Vec<_> = shown.rows.iter().map(row).collect();
        rows.sort();
        rows
    };
    let port = at.split(':').nth(1).unwrap();
    let expected =
        |ordinal: u32| format!("127.0.0.1 {port} x_test {ordinal} NULL REMOVE LEAF FORCE 0");
    assert_eq!(listed(&world), [expected(0), expected(1)]);
    world.run("CLEAR ORPHAN DATABASES").await;
    assert_eq!(listed(&world), [expected(0), expected(1)]);
    world.run(&format!("DROP PARTITION {}", on[0])).await;
    assert_eq!(listed(&world), [expected(1)]);
    let unknown = world.refused(&format!("DROP PARTITION {}", on[0])).await;
    assert!(unknown.contains("1737"), "{unknown}");
    let attached = world.refused(&format!("ATTACH PARTITION {}", on[1])).await;
    assert!(attached.contains("1737"), "{attached}");
    assert_eq!(world.ids().await, (0..ROWS).collect::<Vec<_>>());
}
