//! Proposals and reads.

use std::time::Duration;

use resprout_consensus::node::ProposeFailure;
use resprout_consensus::{NodeId, ReadProof, Role};

use crate::cluster::{Cluster, until_role};

/// Promise: a proposal at any member is applied once, and a read at any member sees it.
#[tokio::test]
async fn a_proposal_at_any_member_is_seen_at_any_member() {
    let cluster = Cluster::start(3).await;
    for id in 1..=3 {
        let applied = cluster.handle(id).propose(format!("from {id}")).await.expect("applied");
        assert_eq!(applied.answer, id.to_string());
    }
    for id in 1..=3 {
        assert_eq!(cluster.lines(id).await, ["from 1", "from 2", "from 3"]);
    }
    let leased = cluster.handle(1).read_by(ReadProof::Lease, |lines| lines.0.len()).await;
    assert_eq!(leased.expect("a read"), 3);
}

/// Promise: the same proposal, sent again and elsewhere, is applied once and answered alike (M19).
#[tokio::test]
async fn a_repeated_proposal_is_applied_once() {
    let cluster = Cluster::start(3).await;
    let proposal = cluster.handle(2).proposal("once");
    let first = cluster.handle(2).submit(proposal.clone()).await.expect("applied");
    let again = cluster.handle(3).submit(proposal.clone()).await.expect("applied");
    assert_eq!(first, again);
    let leader = cluster.handle(1);
    let (other, third) = tokio::join!(leader.propose("other"), leader.submit(proposal));
    assert_eq!(other.expect("applied").answer, "2");
    assert_eq!(third.expect("applied"), first);
    assert_eq!(cluster.lines(1).await, ["once", "other"]);
}

/// Promise: a leader that is gone is replaced, what it had acknowledged is there, and who waits for a
/// proposal meanwhile gets its answer.
#[tokio::test]
async fn a_lost_leader_is_replaced_and_nothing_is_lost() {
    let mut cluster = Cluster::start(3).await;
    cluster.handle(1).propose("before").await.expect("applied");
    drop(cluster.nodes.remove(&1));
    let applied = cluster.handle(2).within(Duration::from_secs(30)).propose("after").await;
    assert_eq!(applied.expect("applied").answer, "2");
    let leader = cluster.leader(3).await;
    assert_eq!(cluster.lines(leader).await, ["before", "after"]);
    cluster.run(1);
    assert_eq!(cluster.lines(1).await, ["before", "after"]);
}

/// Promise: a member cut off says so: never "failed" for what may come true (A5), and what it never
/// sent to anybody will not.
#[tokio::test]
async fn a_member_cut_off_does_not_know() {
    let cluster = Cluster::start(3).await;
    for other in [2, 3] {
        cluster.hub.cut(NodeId(1), NodeId(other));
        cluster.hub.cut(NodeId(other), NodeId(1));
    }
    let brief = cluster.handle(1).within(Duration::from_millis(200));
    let failure = brief.propose("lost?").await.expect_err("nobody answers");
    assert!(matches!(failure, ProposeFailure::Unknown), "{failure}");
    until_role(&cluster.handle(1), Role::PreCandidate).await;
    let failure = brief.propose("never").await.expect_err("nobody to ask");
    assert!(matches!(failure, ProposeFailure::NoLeader), "{failure}");
    brief.read(|_| ()).await.expect_err("nobody vouches");
    cluster.hub.heal_all();
    let lines = cluster.lines(1).await;
    assert!(!lines.contains(&"never".to_owned()), "{lines:?}");
}

/// Promise: a command too large is refused by size, and nothing else is.
#[tokio::test]
async fn a_large_command_is_refused() {
    let cluster = Cluster::start(1).await;
    let failure = cluster.handle(1).propose(vec![b'x'; 2 << 20]).await.expect_err("too large");
    assert_eq!(failure.to_string(), "a command of 2097152 bytes, at most 1048576 are possible");
    cluster.handle(1).propose("small").await.expect("applied");
}

/// Promise: leadership goes where it is told to, and proposals go on.
#[tokio::test]
async fn leadership_is_handed_over() {
    let cluster = Cluster::start(3).await;
    cluster.handle(1).transfer_leadership(NodeId(3)).await.expect("handed over");
    cluster.handle(1).propose("still").await.expect("applied");
    assert_eq!(cluster.leader(2).await, 3);
    let error = cluster.handle(1).transfer_leadership(NodeId(2)).await.expect_err("not the leader");
    assert_eq!(error.to_string(), "not the leader");
}

/// Promise: many callers at once share writes and messages, and each gets its own answer.
#[tokio::test]
async fn many_callers_are_answered() {
    let cluster = Cluster::start(3).await;
    let callers: Vec<_> = (0..500_u32)
        .map(|n| {
            let handle = cluster.handle(u64::from(n % 3) + 1);
            tokio::spawn(async move { handle.propose(n.to_string()).await })
        })
        .collect();
    for caller in callers {
        caller.await.expect("no panic").expect("applied");
    }
    let mut lines = cluster.lines(2).await;
    lines.sort();
    lines.dedup();
    assert_eq!(lines.len(), 500);
}
