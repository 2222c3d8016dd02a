//! What walkthroughs do and look at again and again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Error, Row};
use tokio::task::JoinHandle;

use crate::support::cluster::{Cluster, PATIENCE, Shape, connect, until};

/// `SELECT MIN(id), MAX(id), COUNT(*) FROM test.x`.
pub(crate) type Probe = (i64, i64, u64);

/// A statement that waits is taken for one that is blocked when it has waited for so long; nothing that goes through
/// takes as long.
pub(crate) const BLOCKED: Duration = Duration::from_secs(8);

/// The error of who is to begin a transaction again, since its partition has moved.
pub(crate) const MOVED: u16 = 1857;

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

/// A row of SHOW REBALANCE STATUS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Status {
    pub(crate) action: String,
    pub(crate) ordinal: u64,
    pub(crate) port: u16,
    pub(crate) phase: u64,
    pub(crate) status: String,
    pub(crate) running_ms: Option<u64>,
    pub(crate) remaining_ms: Option<u64>,
}

/// A step of a plan: action, ordinal, port, phase.
pub(crate) type Step = (String, u64, u16, u64);

impl Status {
    pub(crate) fn step(&self) -> Step {
        (self.action.clone(), self.ordinal, self.port, self.phase)
    }
}

/// SHOW REBALANCE STATUS ON a database.
pub(crate) async fn statuses(conn: &mut Conn, database: &str) -> Vec<Status> {
    let shown = format!("SHOW REBALANCE STATUS ON {database}");
    let rows: Vec<Row> = conn.query(shown).await.expect("answered");
    let status = |row: &Row| Status {
        action: row.get("Action").expect("a column"),
        ordinal: row.get("Ordinal").expect("a column"),
        port: row.get("Target_Port").expect("a column"),
        phase: row.get("Phase").expect("a column"),
        status: row.get("Status").expect("a column"),
        running_ms: row.get("Running_Time").expect("a column"),
        remaining_ms: row.get("Estimated_Time_Remaining_Ms").expect("a column"),
    };
    rows.iter().map(status).collect()
}

/// The plan that EXPLAIN REBALANCE PARTITIONS ON, or another of its kind, shows.
pub(crate) async fn explained(conn: &mut Conn, statement: &str) -> Vec<Step> {
    let rows: Vec<Row> = conn.query(format!("EXPLAIN {statement}")).await.expect("answered");
    let step = |row: &Row| {
        let get = |name: &str| -> u64 { row.get(name).expect("a column") };
        let port = u16::try_from(get("Target_Port")).expect("a port");
        let action = row.get("Action").expect("a column");
        (action, get("Ordinal"), port, get("Phase"))
    };
    rows.iter().map(step).collect()
}

/// Starts one more leaf and adds it to a group; its port.
pub(crate) async fn add_leaf(cluster: &mut Cluster, conn: &mut Conn, group: u64) -> u16 {
    let at = cluster.run_another();
    let statement = format!("ADD LEAF root@{} INTO GROUP {group}", cluster.named(at));
    until(&statement, async || conn.query_drop(&statement).await.is_ok()).await;
    cluster.port(at)
}

/// A statement that runs while the test goes on.
pub(crate) struct Beside {
    /// For KILL.
    pub(crate) id: u32,
    /// How many rows it says that it affected.
    pub(crate) task: JoinHandle<Result<u64, Error>>,
}

pub(crate) async fn beside(cluster: &Cluster, statement: &'static str) -> Beside {
    let mut conn = connect(&cluster.doors()[..1]).await;
    let id = conn.id();
    let task = tokio::spawn(async move {
        let result = conn.query_iter(statement).await?;
        let affected = result.affected_rows();
        result.drop_result().await?;
        Ok(affected)
    });
    Beside { id, task }
}

impl Beside {
    /// Its end, which must come.
    pub(crate) async fn ended(self) -> Result<u64, Error> {
        let ended = tokio::time::timeout(PATIENCE, self.task).await;
        ended.expect("it ends").expect("no panic")
    }
}

/// Waits until a step of the plan for `test` is as it is to be.
pub(crate) async fn until_step(conn: &mut Conn, what: &str, is_it: impl Fn(&Status) -> bool) {
    until(what, async || statuses(conn, "test").await.iter().any(&is_it)).await;
}

/// Waits until nothing of the last plan for `test` is under way.
pub(crate) async fn until_over(conn: &mut Conn) {
    until("the plan is over", async || {
        let rows = statuses(conn, "test").await;
        rows.iter().all(|row| !["scheduled", "running"].contains(&row.status.as_str()))
    })
    .await;
}

/// Ordinal, port and term of each master of `test`.
pub(crate) async fn masters(conn: &mut Conn) -> Vec<(u64, u16, u64)> {
    let masters = copies(conn).await.into_iter().filter(Copy::is_master);
    masters.map(|copy| (copy.ordinal, copy.port, copy.term)).collect()
}

/// How many copies of `test` a leaf has: masters, and others.
pub(crate) fn load(copies: &[Copy], port: u16) -> (usize, usize) {
    let on = copies.iter().filter(|copy| copy.port == port && !copy.is_offline);
    let (masters, others): (Vec<_>, Vec<_>) = on.partition(|copy| copy.is_master());
    (masters.len(), others.len())
}

/// The leaves that have the other copies of a leaf's masters.
pub(crate) fn takers(copies: &[Copy], port: u16) -> BTreeSet<u16> {
    let on = copies.iter().filter(|copy| copy.port == port && copy.is_master());
    let ordinals: BTreeSet<_> = on.map(|copy| copy.ordinal).collect();
    let others = copies.iter().filter(|copy| !copy.is_master() && ordinals.contains(&copy.ordinal));
    others.map(|copy| copy.port).collect()
}

/// How many copies each partition of `test` has that are not offline.
pub(crate) fn counts(copies: &[Copy]) -> BTreeMap<u64, usize> {
    let mut counts = BTreeMap::new();
    for copy in copies.iter().filter(|copy| !copy.is_offline) {
        *counts.entry(copy.ordinal).or_default() += 1;
    }
    counts
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
    make_test(cluster, &mut conn, options).await;
    conn
}

/// The same in a cluster whose nodes are joined.
pub(crate) async fn make_test(cluster: &Cluster, conn: &mut Conn, options: &str) {
    conn.query_drop(format!("CREATE DATABASE test {options}")).await.expect("made");
    conn.query_drop("CREATE TABLE test.x (id BIGINT PRIMARY KEY)").await.expect("made");
    insert(conn, 1..=100).await.expect("inserted");
    cluster.whole("test").await;
}

/// One voter, two leaves that are a pair.
pub(crate) const PAIR: Shape = Shape { voters: 1, leaves: 2, redundancy: 2 };

/// Three voters, two leaves that are a pair.
pub(crate) const SMALL: Shape = Shape { voters: 3, leaves: 2, redundancy: 2 };
