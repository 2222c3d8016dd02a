//! How nodes end, and come back.

use std::sync::Arc;
use std::time::Duration;

use resprout_consensus::{NodeId, Role};

use crate::cluster::{Cluster, until_role};

/// Promise: a leader that stops hands over first: nobody waits for an election timeout.
#[tokio::test]
async fn a_stopping_leader_hands_over() {
    let mut cluster = Cluster::start(3).await;
    let node = cluster.nodes.remove(&1).expect("it runs");
    node.stop().await;
    let leader = cluster.leader(2).await;
    let term = cluster.handle(leader).status().await.expect("it runs").state.term;
    cluster.handle(leader).propose("on").await.expect("applied");
    let after = cluster.handle(leader).status().await.expect("it runs").state.term;
    assert_eq!(term, after, "no election came after the transfer");
}

/// Promise: a node whose store fails takes no part any more and says why; the others go on (D19).
#[tokio::test]
async fn d19_a_failed_store_ends_participation() {
    let cluster = Cluster::start(3).await;
    cluster.stores[&1].fail(Arc::new(std::io::Error::other("the disk is gone")));
    let failure = cluster.handle(1).propose("x").await.expect_err("it has ended");
    let said = failure.to_string();
    assert!(said.contains("the disk is gone") && said.contains("restart"), "{said}");
    until_role(&cluster.handle(1), Role::Leader).await;
    let brief = cluster.handle(2).within(Duration::from_secs(30));
    brief.propose("y").await.expect("the others go on");
}

/// Promise: a whole cluster that stops and starts has everything, snapshots or not.
#[tokio::test]
async fn a_restarted_cluster_has_everything() {
    let mut cluster = Cluster::start(3).await;
    cluster.snapshot_log_bytes = 2000;
    for id in 1..=3 {
        drop(cluster.nodes.remove(&id));
    }
    for round in 0..3 {
        for id in 1..=3 {
            cluster.run(id);
        }
        for n in 0..40 {
            let wanted = cluster.handle(2).within(Duration::from_secs(30));
            wanted.propose(format!("{round}.{n}")).await.expect("applied");
        }
        cluster.until_snapshot(2).await;
        for id in 1..=3 {
            drop(cluster.nodes.remove(&id));
        }
    }
    for id in 1..=3 {
        cluster.run(id);
    }
    let lines = cluster.lines(3).await;
    let expected: Vec<String> =
        (0..3).flat_map(|round| (0..40).map(move |n| format!("{round}.{n}"))).collect();
    assert_eq!(lines, expected);
}

/// Promise: a member that was away for longer than the log reaches back gets the state.
#[tokio::test]
async fn a_member_behind_the_log_gets_the_state() {
    let mut cluster = Cluster::start(3).await;
    drop(cluster.nodes.remove(&3));
    cluster.snapshot_log_bytes = 2000;
    for id in 1..=2 {
        drop(cluster.nodes.remove(&id));
        cluster.run(id);
    }
    let writer = cluster.handle(1).within(Duration::from_secs(30));
    for n in 0..200 {
        writer.propose(format!("line {n}")).await.expect("applied");
    }
    for id in 1..=2 {
        cluster.until_snapshot(id).await;
    }
    cluster.run(3);
    assert_eq!(cluster.lines(3).await.len(), 200);
    let status = cluster.handle(3).status().await.expect("it runs");
    assert!(status.snapshot.is_some(), "it came by a snapshot: {status:?}");
}

/// Promise: a removed member learns it, and the others go on without it (M05).
#[tokio::test]
async fn m05_a_removed_member_learns_it() {
    let cluster = Cluster::start(3).await;
    cluster.handle(1).remove(NodeId(3)).await.expect("removed");
    let mut state = cluster.handle(3).watch();
    let gone = state.wait_for(|state| state.membership.1.get(NodeId(3)).is_none()).await;
    assert!(gone.is_ok());
    cluster.handle(2).propose("on").await.expect("applied");
}
