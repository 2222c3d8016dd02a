//! What walkthroughs do and look at again and again.

use std::time::Duration;

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Error, Row};

use crate::support::cluster::{Cluster, Shape, connect, until};

/// `SELECT MIN(id), MAX(id), COUNT(*) FROM test.x`.
pub(crate) type Probe = (i64, i64, u64);

/// A statement that waits is taken for one that is blocked when it has waited for so long; nothing that goes through
/// takes as long.
pub(crate) const BLOCKED: Duration = Duration::from_secs(8);

pub(crate) async fn probe(conn: &mut Conn) -> Result<Probe, Error> {
    let found = conn.query_first("SELECT MIN(id), MAX(id), COUNT(*) FROM test.x").await?;
    Ok(found.expect("one row"))
}

/// Number, SQLSTATE and text of an error that came from the server.
pub(crate) fn refused<T: std::fmt::Debug>(result: Result<T, Error>) -> (u16, String, String) {
    match result {
        Err(Error::Server(error)) => (error.code, error.state, error.message),
        other => panic!("not refused: {other:?}"),
    }
}

/// What a read or write gets that needs a partition without a master.
pub(crate) fn no_master(ordinal: u64) -> (u16, String, String) {
    (1777, "HY000".to_owned(), format!("Partition test:{ordinal} has no master instance."))
}

/// A row of SHOW LEAVES; nodes by their port.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Leaf {
    pub(crate) port: u16,
    pub(crate) group: u64,
    pub(crate) pair: Option<u16>,
    pub(crate) state: String,
    pub(crate) connections: u64,
    pub(crate) has_latency: bool,
}

pub(crate) async fn leaves(conn: &mut Conn) -> Vec<Leaf> {
    let rows: Vec<Row> = conn.query("SHOW LEAVES").await.expect("answered");
    let leaf = |row: &Row| {
        let pair: Option<u16> = row.get("Pair_Port").expect("a column");
        let pair_host: Option<String> = row.get("Pair_Host").expect("a column");
        assert_eq!(pair.is_some(), pair_host.is_some(), "both or neither");
        let latency: Option<f64> = row.get("Average_Roundtrip_Latency").expect("a column");
        Leaf {
            port: row.get("Port").expect("a column"),
            group: row.get("Availability_Group").expect("a column"),
            pair,
            state: row.get("State").expect("a column"),
            connections: row.get("Opened_Connections").expect("a column"),
            has_latency: latency.is_some(),
        }
    };
    rows.iter().map(leaf).collect()
}

/// Waits until the leaf of that port is in this state.
pub(crate) async fn until_leaf(conn: &mut Conn, port: u16, state: &str) -> Leaf {
    let mut found = None;
    until(&format!("leaf {port} is {state}"), async || {
        let leaves = leaves(conn).await;
        found = leaves.into_iter().find(|leaf| leaf.port == port && leaf.state == state);
        found.is_some()
    })
    .await;
    found.expect("it was found")
}

/// A row of SHOW PARTITIONS: ordinal, port, role, locked.
pub(crate) type Shown = (u64, Option<u16>, Option<String>, u64);

pub(crate) async fn partitions(conn: &mut Conn) -> Vec<Shown> {
    let rows: Vec<Row> = conn.query("SHOW PARTITIONS ON test").await.expect("answered");
    let shown = |row: &Row| {
        let get = |name: &str| -> Option<u64> { row.get(name).expect("a column") };
        let port = get("Port").map(|port| u16::try_from(port).expect("a port"));
        let host: Option<String> = row.get("Host").expect("a column");
        assert_eq!(port.is_some(), host.is_some(), "both or neither");
        let (ordinal, locked) = (get("Ordinal"), get("Locked"));
        let role = row.get("Role").expect("a column");
        (ordinal.expect("not null"), port, role, locked.expect("not null"))
    };
    rows.iter().map(shown).collect()
}

/// A copy as `DISTRIBUTED_PARTITIONS` has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Copy {
    pub(crate) ordinal: u64,
    pub(crate) port: u16,
    pub(crate) role: String,
    pub(crate) is_offline: bool,
    pub(crate) sync_desired: bool,
    pub(crate) state: String,
    pub(crate) term: u64,
    pub(crate) instance: u64,
}

impl Copy {
    pub(crate) fn is_master(&self) -> bool {
        self.role == "Master"
    }
}

/// All copies that there are, in the order of ordinals and instances.
pub(crate) async fn copies(conn: &mut Conn) -> Vec<Copy> {
    try_copies(conn).await.expect("answered")
}

pub(crate) async fn try_copies(conn: &mut Conn) -> Result<Vec<Copy>, Error> {
    let asked = "SELECT ordinal, port, role, is_offline, sync_desired, state, term, instance_id \
                 FROM information_schema.distributed_partitions \
                 WHERE database_name = 'test' AND port IS NOT NULL ORDER BY ordinal, instance_id";
    type Read = (u64, u16, String, u64, u64, String, u64, u64);
    let rows: Vec<Read> = conn.query(asked).await?;
    let copy = |(ordinal, port, role, offline, sync, state, term, instance)| Copy {
        ordinal,
        port,
        role,
        is_offline: offline == 1,
        sync_desired: sync == 1,
        state,
        term,
        instance,
    };
    Ok(rows.into_iter().map(copy).collect())
}

/// The copies of one partition: the master, and the first of the others. They are on two leaves.
pub(crate) fn master_and_replica(copies: &[Copy], ordinal: u64) -> (Copy, Copy) {
    let of: Vec<_> = copies.iter().filter(|copy| copy.ordinal == ordinal).cloned().collect();
    let master = of.iter().find(|copy| copy.is_master()).cloned().expect("a master");
    let replica = of.iter().find(|copy| !copy.is_master()).cloned().expect("a replica");
    (master, replica)
}

/// Waits until the copy that is not master is asynchronous, as this aggregator knows it: who acknowledges may have
/// heard of the decision a moment before.
pub(crate) async fn until_async(conn: &mut Conn) {
    until("the replica is asynchronous", async || {
        master_and_replica(&copies(conn).await, 0).1.state == "async"
    })
    .await;
}

/// What has happened in the cluster, oldest first: type, details, node.
pub(crate) async fn events(conn: &mut Conn) -> Vec<(String, String, Option<u64>)> {
    let asked = "SELECT event_type, details, origin_node_id FROM information_schema.mv_events";
    conn.query(asked).await.expect("answered")
}

/// Inserts these ids into test.x with one statement.
pub(crate) async fn insert(
    conn: &mut Conn,
    ids: std::ops::RangeInclusive<i64>,
) -> Result<(), Error> {
    let rows: Vec<_> = ids.map(|id| format!("({id})")).collect();
    conn.query_drop(format!("INSERT INTO test.x VALUES {}", rows.join(","))).await
}

/// Makes database `test` with table `x` and ids 1 to 100, and waits until all copies are in step.
pub(crate) async fn with_test(cluster: &Cluster, options: &str) -> Conn {
    cluster.join().await;
    let mut conn = connect(&cluster.doors()[..1]).await;
    conn.query_drop(format!("CREATE DATABASE test {options}")).await.expect("made");
    conn.query_drop("CREATE TABLE test.x (id BIGINT PRIMARY KEY)").await.expect("made");
    insert(&mut conn, 1..=100).await.expect("inserted");
    cluster.whole("test").await;
    conn
}

/// Three voters, two leaves that are a pair.
pub(crate) const SMALL: Shape = Shape { voters: 3, leaves: 2, redundancy: 2 };
