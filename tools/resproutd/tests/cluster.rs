//! A cluster of real processes: what views show of it.

mod support;

use std::time::Instant;

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Error, OptsBuilder};
use support::cluster::{Cluster, PATIENCE, Shape, connect, until};
use support::directory;

const ACCOUNTS: u64 = 40;
const SHAPE: Shape = Shape { voters: 3, leaves: 2, redundancy: 2 };

async fn make(conn: &mut Conn) -> Result<(), Error> {
    conn.query_drop("CREATE DATABASE bank PARTITIONS 4").await?;
    conn.query_drop("CREATE TABLE bank.accounts (id BIGINT PRIMARY KEY, balance BIGINT NOT NULL)")
        .await?;
    let rows = (0..ACCOUNTS).map(|id| format!("({id},100)")).collect::<Vec<_>>();
    conn.query_drop(format!("INSERT INTO bank.accounts VALUES {}", rows.join(","))).await
}

/// A copy as `DISTRIBUTED_PARTITIONS` has it: ordinal, port, role, offline, sync, state, term, instance.
type Copy = (u64, Option<u16>, String, u64, u64, String, u64, u64);

async fn copies(conn: &mut Conn) -> Vec<Copy> {
    let asked = "SELECT ordinal, port, role, is_offline, sync_desired, state, term, instance_id \
                 FROM information_schema.distributed_partitions \
                 WHERE database_name = 'bank' AND ordinal = 0 ORDER BY role";
    conn.query(asked).await.expect("answered")
}

/// Rows of what only leaves know: how many of each, in the order of [`LOCAL`].
async fn local(conn: &mut Conn) -> Vec<u64> {
    let mut counts = Vec::new();
    for asked in LOCAL {
        let count = conn.query_first::<u64, _>(format!("SELECT COUNT(*) FROM {asked}")).await;
        counts.push(count.expect("answered").expect("a row"));
    }
    counts
}

/// What is counted by [`local`].
const LOCAL: [&str; 7] = [
    "information_schema.mv_cluster_status WHERE database_name = 'cluster'",
    "information_schema.mv_cluster_status WHERE role = 'Master' AND state = 'online' \
     AND metadata_role = 'Master' AND database_name LIKE 'bank%'",
    "information_schema.mv_cluster_status WHERE role = 'Replica' AND state = 'replicating' \
     AND master_port = metadata_master_port AND committed_position LIKE '0:%' \
     AND database_name LIKE 'bank%'",
    "information_schema.mv_replication_status WHERE is_sync = 1 AND is_dr = 0 \
     AND primary_state = 'online' AND secondary_state = 'replicating'",
    "information_schema.mv_recovery_status WHERE database_name = 'bank' AND percent = 100 \
     AND port IS NOT NULL",
    "information_schema.distributed_partitions_on_leaves WHERE database_name = 'bank' \
     AND role = metadata_role",
    "information_schema.mv_cluster_status WHERE details = 'the node does not answer'",
];

async fn summary(conn: &mut Conn) -> (String, u64, u64, u64) {
    let asked = "SELECT summary, online, replicating, offline \
                 FROM information_schema.mv_distributed_databases_status";
    conn.query_first(asked).await.expect("answered").expect("a row")
}

/// Promise: views of what only leaves know have all copies as their leaves have them; a leaf that stands still has rows that
/// say so, within seconds, and nothing of it is made up.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn views_ask_the_leaves() {
    let dir = directory();
    let mut cluster = Cluster::start(dir.path(), SHAPE);
    cluster.join().await;
    let mut conn = connect(&cluster.doors()).await;
    make(&mut conn).await.expect("made");
    cluster.whole("bank").await;
    let nodes = (SHAPE.voters + SHAPE.leaves) as u64;
    // Of reference tables each leaf has a copy more.
    until("all copies are shown", async || {
        local(&mut conn).await == [nodes, 4, 4, 5, 10, 8, 0]
            && summary(&mut conn).await == ("healthy".to_owned(), 4, 4, 0)
    })
    .await;
    let still = cluster.leaf(1);
    cluster.signal(still, "STOP");
    until("the leaf's rows say that it does not answer", async || {
        let asked = Instant::now();
        let counts = local(&mut conn).await;
        assert!(asked.elapsed() < PATIENCE / 2, "nobody waits for who does not answer");
        // Its four copies, that of reference tables, and what it has of the metadata.
        counts[6] == 6
    })
    .await;
    until("its copies count as offline", async || {
        // The other leaf takes over all partitions.
        summary(&mut conn).await == ("degraded".to_owned(), 4, 0, 4)
    })
    .await;
    cluster.signal(still, "CONT");
    cluster.whole("bank").await;
    until("all copies are shown again", async || {
        summary(&mut conn).await.0 == "healthy" && local(&mut conn).await[4..] == [10, 8, 0]
    })
    .await;
    cluster.end();
}

/// Promise (W05): `MV_REBALANCE_STATUS` has the steps of the last plan of each database as SHOW has them, and how much each
/// copy was.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_view_shows_plans() {
    let dir = directory();
    let mut cluster = Cluster::start(dir.path(), Shape { voters: 1, leaves: 4, redundancy: 2 });
    cluster.join().await;
    let mut conn = connect(&cluster.doors()).await;
    make(&mut conn).await.expect("made");
    cluster.whole("bank").await;
    let view = "information_schema.mv_rebalance_status";
    let count = format!("SELECT COUNT(*) FROM {view}");
    assert_eq!(conn.query_first::<u64, _>(&count).await.expect("answered"), Some(0));
    let free: Option<(String, u16)> = conn
        .query_first(
            "SELECT l.host, l.port FROM information_schema.leaves l WHERE l.port NOT IN \
             (SELECT port FROM information_schema.distributed_partitions \
             WHERE database_name = 'bank' AND ordinal = 0)",
        )
        .await
        .expect("answered");
    let (host, port) = free.expect("a leaf without a copy");
    conn.query_drop(format!("COPY PARTITION bank:0 TO '{host}':{port}")).await.expect("copied");
    until("the copy's leaf has told how much it was", async || {
        let asked = format!(
            "SELECT COUNT(*) FROM {view} WHERE database_name = 'bank' AND ordinal = 0 \
             AND action LIKE 'COPY PARTITION%' AND target_host = '{host}' AND target_port = {port} \
             AND status = 'success' AND running_time > 0 AND estimated_time_remaining_ms = 0 \
             AND copied_bytes > 0 AND copied_bytes = total_bytes AND bytes_per_second > 0 \
             AND waiting_for IS NULL"
        );
        conn.query_first::<u64, _>(asked).await.expect("answered") == Some(1)
    })
    .await;
    cluster.end();
}

/// Promise (W03): the views of the cluster show copies as documented, before and after a leaf is lost and when it is
/// back; nodes, databases and events; to those who may look.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn views_show_the_cluster() {
    let dir = directory();
    let mut cluster = Cluster::start(dir.path(), SHAPE);
    cluster.join().await;
    let mut conn = connect(&cluster.doors()).await;
    make(&mut conn).await.expect("made");
    cluster.whole("bank").await;
    let before = copies(&mut conn).await;
    let [(_, Some(victim), ..), (_, Some(survivor), ..)] = before[..] else {
        panic!("not two copies: {before:?}")
    };
    let copy = |port, role: &str, is_offline, state: &str, term, instance| {
        (0, Some(port), role.to_owned(), is_offline, 1, state.to_owned(), term, instance)
    };
    let expected =
        [copy(victim, "Master", 0, "", 2, 1), copy(survivor, "Replica", 0, "sync", 0, 5)];
    assert_eq!(before, expected);
    cluster.kill(cluster.at(victim));
    until("the other copy is master", async || {
        let now = copies(&mut conn).await;
        let term = now[0].6;
        let expected =
            [copy(survivor, "Master", 0, "", term, 5), copy(victim, "Replica", 1, "async", 0, 1)];
        // Greater than all terms that the database had: it began with one for each partition.
        now == expected && term > 5
    })
    .await;
    let leaves = "SELECT state FROM information_schema.leaves ORDER BY state";
    let states: Vec<String> = conn.query(leaves).await.expect("answered");
    assert_eq!(states, ["offline", "online"]);
    let roles = "SELECT role, master_aggregator FROM information_schema.aggregators ORDER BY role";
    let roles: Vec<(String, u64)> = conn.query(roles).await.expect("answered");
    let voter = ("Voting Member".to_owned(), 0);
    assert_eq!(roles, [("Leader".to_owned(), 1), voter.clone(), voter]);
    let databases = "SELECT database_name, num_partitions, is_sync, is_sync_durability \
                     FROM information_schema.distributed_databases";
    let databases: Vec<(String, u64, u64, u64)> = conn.query(databases).await.expect("answered");
    assert_eq!(databases, [("bank".to_owned(), 4, 1, 1)]);
    cluster.run(cluster.at(victim));
    cluster.whole("bank").await;
    let events = "SELECT event_type, severity FROM information_schema.mv_events";
    let events: Vec<(String, String)> = conn.query(events).await.expect("answered");
    for (what, severity) in [
        ("AGGREGATOR_ADD", "NOTICE"),
        ("LEAF_ADD", "NOTICE"),
        ("NODE_OFFLINE", "WARNING"),
        ("PARTITION_FENCED", "NOTICE"),
        ("PARTITION_PROMOTED", "NOTICE"),
        ("NODE_ATTACHING", "NOTICE"),
        ("NODE_ONLINE", "NOTICE"),
    ] {
        let expected = (what.to_owned(), severity.to_owned());
        assert!(events.contains(&expected), "{what}: {events:?}");
    }
    let account = "CREATE USER nobody IDENTIFIED WITH mysql_native_password BY 'a password'";
    conn.query_drop(account).await.expect("made");
    let options = OptsBuilder::default().ip_or_hostname("127.0.0.1").prefer_socket(false);
    let options = options.tcp_port(cluster.port(0)).user(Some("nobody"));
    let mut nobody = Conn::new(options.pass(Some("a password"))).await.expect("let in");
    let seen = "SELECT COUNT(*) FROM information_schema.mv_events";
    assert_eq!(nobody.query_first::<u64, _>(seen).await.expect("answered"), Some(0));
    cluster.end();
}
