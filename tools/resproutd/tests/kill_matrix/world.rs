//! A cluster with rows to copy and clients that use it, and what is asked of it.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use mysql_async::Error;
use mysql_async::prelude::Queryable;
use tokio::task::JoinHandle;

use crate::clients::Clients;
use crate::steps::{
    Copy, SMALL, add_leaf, copies, counts, explained, master_and_replica, statuses,
};
use crate::support::cluster::{Cluster, PATIENCE, connect, master, open, until};
use crate::support::tell;

/// Statements that fill partitions, and rows of each: 2 MiB for a partition.
const LOADS: usize = 16;
const ROWS: usize = 500;
const ROW_BYTES: usize = 1000;
/// No partition is without a master for longer.
const PAUSE_MAX: Duration = Duration::from_secs(10);

const REBALANCE: &str = "REBALANCE PARTITIONS ON test";

/// A copy by name: partition, port, number.
pub(crate) type Name = (u64, u16, u64);

pub(crate) struct World {
    pub(crate) cluster: Cluster,
    pub(crate) clients: Clients,
    /// Whether a REBALANCE has nothing to do.
    pub(crate) is_balanced: bool,
}

/// Names of copies; of those that have everything, if that is asked for.
fn names(copies: &[Copy], is_wanted: impl Fn(&Copy) -> bool) -> BTreeSet<Name> {
    let wanted = copies.iter().filter(|copy| is_wanted(copy));
    wanted.map(|copy| (copy.ordinal, copy.port, copy.instance)).collect()
}

fn is_full(copy: &Copy) -> bool {
    !copy.is_offline && (copy.is_master() || copy.state == "sync")
}

/// Copies that are where they were have not been made anew.
pub(crate) fn kept(before: &BTreeSet<Name>, after: &BTreeSet<Name>) {
    for (ordinal, port, instance) in before {
        let now = after.iter().find(|now| (now.0, now.1) == (*ordinal, *port));
        let is_kept = now.is_none_or(|now| now.2 == *instance);
        assert!(is_kept, "{ordinal} on {port} was {instance} and was copied again: {now:?}");
    }
}

impl World {
    /// Three aggregators, a pair of leaves with all copies, and another pair with none.
    pub(crate) async fn start(dir: &Path) -> Self {
        let mut cluster = Cluster::start(dir, SMALL);
        cluster.join().await;
        let mut conn = connect(&cluster.doors()).await;
        let made = [
            // Masters go back by no plan but the cells'.
            "SET GLOBAL attach_rebalance_delay_seconds = 3600",
            "CREATE DATABASE test PARTITIONS 4",
            "CREATE TABLE test.bulk (id BIGINT PRIMARY KEY, pad VARCHAR(1000))",
            "CREATE TABLE test.w (id BIGINT PRIMARY KEY)",
            "CREATE TABLE test.held (id BIGINT PRIMARY KEY)",
        ];
        for statement in made {
            conn.query_drop(statement).await.unwrap_or_else(|error| panic!("{statement}: {error}"));
        }
        let pad = "x".repeat(ROW_BYTES);
        for load in 0..LOADS {
            let rows: Vec<_> =
                (load * ROWS..(load + 1) * ROWS).map(|id| format!("({id},'{pad}')")).collect();
            let insert = format!("INSERT INTO test.bulk VALUES {}", rows.join(","));
            conn.query_drop(insert).await.expect("inserted");
        }
        for group in [1, 2] {
            add_leaf(&mut cluster, &mut conn, group).await;
        }
        let clients = Clients::start(&cluster.doors());
        let world = Self { cluster, clients, is_balanced: false };
        world.whole().await;
        world
    }

    /// Waits until every aggregator knows that every copy is there.
    pub(crate) async fn whole(&self) {
        self.cluster.whole("test").await;
        for door in self.cluster.doors() {
            until("every aggregator knows it", async || {
                let Ok(mut conn) = open(door).await else { return false };
                let all_full = crate::steps::try_copies(&mut conn).await;
                master(&mut conn).await.is_some()
                    && all_full.is_ok_and(|copies| copies.iter().all(is_full))
            })
            .await;
        }
    }

    /// An aggregator that is not the master aggregator.
    pub(crate) async fn child(&self) -> SocketAddr {
        let master = self.cluster.master().await.expect("a master aggregator");
        let doors = self.cluster.doors();
        *doors.iter().find(|door| **door != self.cluster.address(master)).expect("three of them")
    }

    /// A statement that runs beside, and how it ends.
    pub(crate) async fn beside(&self, statement: String) -> JoinHandle<Result<(), Error>> {
        let mut conn = connect(&[self.child().await]).await;
        tokio::spawn(async move { conn.query_drop(statement).await })
    }

    /// A statement that must be done, whoever is master aggregator by then.
    pub(crate) async fn done(&self, statement: &str) {
        let mut conn = connect(&[self.child().await]).await;
        conn.query_drop(statement).await.unwrap_or_else(|error| panic!("{statement}: {error}"));
    }

    /// Copies come slowly, while clients use their leaves, or as fast as usual.
    pub(crate) async fn slow(&self, is_slow: bool) {
        let mib = u8::from(is_slow);
        let set = format!("SET GLOBAL catch_up_mib_per_second = {mib}");
        until(&set, async || connect(&self.cluster.doors()).await.query_drop(&set).await.is_ok())
            .await;
    }

    pub(crate) async fn copies(&self) -> Vec<Copy> {
        copies(&mut connect(&self.cluster.doors()).await).await
    }

    /// Waits until what the former master of partition 0 had beyond the next one, if anything, is taken back: until it follows.
    pub(crate) async fn until_followed(&self) {
        let asked = "SELECT role, state FROM information_schema.mv_cluster_status \
                     WHERE database_name = 'test_0' ORDER BY role, state";
        let mut conn = connect(&self.cluster.doors()).await;
        let follows = ("Replica".to_owned(), "replicating".to_owned());
        let expected = [("Master".to_owned(), "online".to_owned()), follows.clone(), follows];
        until("the former master follows", async || {
            let found: Vec<(String, String)> = conn.query(asked).await.expect("answered");
            found == expected
        })
        .await;
        self.whole().await;
    }

    /// How often a leaf was taken in.
    pub(crate) async fn times_online(&self, port: u16) -> u64 {
        let asked = format!(
            "SELECT COUNT(*) FROM information_schema.mv_events e \
             JOIN information_schema.leaves l ON l.node_id = e.origin_node_id \
             WHERE e.event_type = 'NODE_ONLINE' AND l.port = {port}"
        );
        let mut conn = connect(&self.cluster.doors()).await;
        conn.query_first(asked).await.expect("answered").expect("a row")
    }

    pub(crate) async fn names(&self) -> BTreeSet<Name> {
        names(&self.copies().await, |_| true)
    }

    /// Partition 0: the leaf of its master, and one that has no copy of it.
    pub(crate) async fn ends_of_a_move(&self) -> (u16, u16) {
        let copies = self.copies().await;
        let (master, _) = master_and_replica(&copies, 0);
        let with: BTreeSet<_> =
            copies.iter().filter(|copy| copy.ordinal == 0).map(|copy| copy.port).collect();
        let all: BTreeSet<_> = copies.iter().map(|copy| copy.port).collect();
        let to = all.difference(&with).next().expect("four leaves have copies");
        (master.port, *to)
    }

    /// A leaf as statements name it.
    pub(crate) fn leaf(&self, port: u16) -> String {
        self.cluster.named(self.cluster.at(port))
    }

    /// Waits until a step like that runs.
    pub(crate) async fn until_running(&self, action: &str) {
        let mut conn = connect(&[self.child().await]).await;
        until(&format!("{action} runs"), async || {
            let rows = statuses(&mut conn, "test").await;
            rows.iter().any(|row| row.action.starts_with(action) && row.status == "running")
        })
        .await;
    }

    /// Waits until a copy is under way, and some of it is there; its partition and the leaf that gets it.
    pub(crate) async fn until_copying(&self) -> (u64, u16) {
        let mut conn = connect(&[self.child().await]).await;
        let asked = "SELECT ordinal, target_port FROM information_schema.mv_rebalance_status \
                     WHERE database_name = 'test' AND action LIKE 'COPY PARTITION%' \
                     AND status = 'running' AND copied_bytes > 0 AND copied_bytes < total_bytes";
        let mut found = None;
        until("some of a copy is there", async || {
            found = conn.query_first::<(u64, u16), _>(asked).await.expect("answered");
            found.is_some()
        })
        .await;
        found.expect("it was found")
    }

    /// Orphans, with their ports, whether each is safe to drop, and the text of all.
    pub(crate) async fn orphans(&self) -> Vec<(u16, u64, u64, Option<String>)> {
        let asked = "SELECT port, ordinal, is_safe_to_drop, reason \
                     FROM information_schema.mv_orphans WHERE database_name = 'test'";
        let mut conn = connect(&self.cluster.doors()).await;
        conn.query(asked).await.expect("answered")
    }

    /// What holds after each cell, when who was killed is back.
    pub(crate) async fn judge(&mut self, cell: &str) {
        self.whole().await;
        self.clients.go_on().await;
        let orphans = self.orphans().await;
        let unsafe_ones: Vec<_> = orphans.iter().filter(|orphan| orphan.2 == 0).collect();
        assert!(unsafe_ones.is_empty(), "{cell}: masters have all of it: {unsafe_ones:?}");
        self.done("CLEAR ORPHAN DATABASES").await;
        assert_eq!(self.orphans().await, [], "{cell}");
        let took = self.rebalance(cell).await;
        self.clients.calm();
        self.clients.go_on().await;
        let pause = self.clients.longest_pause();
        tell(&format!(
            "{cell}: paused for {pause:?}, {} orphans, rebalanced in {took:?}",
            orphans.len()
        ));
        assert!(pause < PAUSE_MAX, "{cell}: writes stood still for {pause:?}");
    }

    /// The next REBALANCE brings all to its place, and copies nothing that is there.
    async fn rebalance(&mut self, cell: &str) -> Duration {
        let began = Instant::now();
        let mut conn = connect(&self.cluster.doors()).await;
        let before = names(&copies(&mut conn).await, is_full);
        let plan = explained(&mut conn, REBALANCE).await;
        for (action, ordinal, port, _) in &plan {
            let is_there = before.iter().any(|copy| (copy.0, copy.1) == (*ordinal, *port));
            let is_copy = action.starts_with("COPY");
            assert!(!is_copy || !is_there, "{cell}: {ordinal} is on {port}: {plan:?}");
        }
        let done = tokio::time::timeout(PATIENCE, conn.query_drop(REBALANCE)).await;
        done.expect("it ends").unwrap_or_else(|error| panic!("{cell}: {error}"));
        assert_eq!(explained(&mut conn, REBALANCE).await, [], "{cell}");
        let after = copies(&mut conn).await;
        kept(&before, &names(&after, |_| true));
        assert!(counts(&after).values().all(|count| *count == 2), "{cell}: {after:?} by {plan:?}");
        self.whole().await;
        self.is_balanced = true;
        began.elapsed()
    }

    pub(crate) async fn end(mut self) {
        let mut conn = connect(&self.cluster.doors()).await;
        self.clients.end(&mut conn).await;
        let bulk: Option<usize> =
            conn.query_first("SELECT COUNT(*) FROM test.bulk").await.expect("answered");
        assert_eq!(bulk, Some(LOADS * ROWS));
        self.cluster.end();
    }
}
