//! The rules that make the promises true (catalogue rule 20), checked where they are kept or broken:
//! a run that breaks one need not have the luck that somebody suffers from it.

use std::collections::BTreeMap;

use resprout_consensus::{
    Alarm, AppendResult, Content, EntryId, Envelope, Index, Message, Payload, Refusal, Role,
    Status, Write,
};

use super::committed::Committed;
use crate::raft::ledger::Ledger;
use crate::raft::node::Node;
use crate::{Violation, hold};

/// What a message promises is on the medium of whoever sends it.
///
/// # Errors
/// [`Violation`] if not.
pub fn sent(envelope: &Envelope, ledger: &Ledger) -> Result<(), Violation> {
    let durable = &ledger.durable;
    let vote = match &envelope.message {
        Message::Vote { .. } => Some(envelope.from),
        Message::VoteAnswer { granted: true } => Some(envelope.to),
        _ => None,
    };
    if let Some(vote) = vote {
        let kept = durable.ballot.term == envelope.term && durable.ballot.vote == Some(vote);
        hold(kept, "a vote is durable before it is given", || {
            format!("{} in term {}: {:?}", envelope.from, envelope.term, durable.ballot)
        })?;
    }
    if let Message::AppendAnswer { result: AppendResult::Matched(index), .. } = envelope.message {
        hold(durable.last().index >= index, "what is acknowledged is durable", || {
            format!("{} acknowledged {index}, has {}", envelope.from, durable.last())
        })?;
    }
    Ok(())
}

/// A leader changes members one at a time, and not before it has committed an entry of its term.
///
/// # Errors
/// [`Violation`] if not.
pub fn written(write: &Write, ledger: &Ledger, status: &Status) -> Result<(), Violation> {
    let Content::Entries(entries) = &write.content else { return Ok(()) };
    let changes = |entry: &&resprout_consensus::Entry| {
        matches!(entry.payload, Payload::Membership(_)) && entry.id.term == status.state.term
    };
    let Some(change) = entries.iter().find(changes) else { return Ok(()) };
    if status.state.role != Role::Leader {
        return Ok(());
    }
    // The new entry may be committed already, where one node decides alone.
    let committed = Index(status.committed.0.min(change.id.index.0 - 1));
    let (previous, _) = ledger.written.membership();
    hold(previous <= committed, "members change one at a time", || {
        format!("{} while the one at {previous} is not committed", change.id)
    })?;
    let own = ledger.written.id_at(committed).is_some_and(|id| id.term == change.id.term);
    hold(own, "members change after an entry of the leader's term is committed", || {
        format!("{} with {committed} committed", change.id)
    })
}

/// Only leaders find that something is committed: an entry of their own term, which a majority of the
/// voters has on its medium.
///
/// # Errors
/// [`Violation`] if not.
pub fn committed(
    nodes: &BTreeMap<u64, Node>,
    (leader, status): (u64, &Status),
    last: EntryId,
    was_leader: bool,
) -> Result<(), Violation> {
    hold(was_leader, "leaders decide what is committed", || format!("{last} by n{leader}"))?;
    // A leader that was removed is none any more when it has committed that.
    hold(last.term == status.state.term, "a leader counts for entries of its own term", || {
        format!("{last} in term {}", status.state.term)
    })?;
    let membership = &status.state.membership.1;
    let has = |voter: &resprout_consensus::NodeId| {
        let node = &nodes[&voter.0];
        let is_lost = membership.get(*voter).is_none_or(|member| !node.is_healthy(member.store));
        is_lost || node.ledger.durable.has(last)
    };
    let (voters, having) = (membership.voters().count(), membership.voters().filter(has).count());
    hold(having > voters / 2, "what is committed is durable on a majority", || {
        format!("{last} on {having} of {voters}")
    })
}

/// A node goes by the members that its log lays down.
///
/// # Errors
/// [`Violation`] if not.
pub fn members(node: &Node, status: &Status) -> Result<(), Violation> {
    if node.ledger.is_installing() {
        return Ok(());
    }
    let (laid, _) = node.ledger.written.membership();
    let used = status.state.membership.0;
    hold(laid == used, "members are those that the log lays down", || {
        format!("n{}: laid down at {laid}, used from {used}", node.id)
    })
}

/// Nobody is accused or refused without a cause.
///
/// # Errors
/// [`Violation`] if somebody is.
pub fn alarmed(
    nodes: &BTreeMap<u64, Node>,
    committed: &Committed,
    (at, alarm): (u64, Alarm),
) -> Result<(), Violation> {
    let damaged = |node: u64| nodes.get(&node).is_some_and(|node| node.stores > 1 || node.restored);
    let just = match alarm {
        // Nobody takes over here.
        Alarm::Unsound { .. } | Alarm::Refused { why: Refusal::TakenOver { .. }, .. } => false,
        Alarm::Forgot { node, .. } => damaged(node.0),
        Alarm::StrangeStore { node, .. } => damaged(node.0),
        Alarm::Refused { why: Refusal::Forgot { .. } | Refusal::StrangeStore { .. }, .. } => {
            damaged(at)
        }
        Alarm::Refused { why: Refusal::Removed { membership }, .. } => {
            let entry = committed.entry(membership).map(|entry| &entry.payload);
            let Some(Payload::Membership(members)) = entry else {
                return Err(Violation::new("a refusal names a change", membership.to_string()));
            };
            !members.members.contains_key(&resprout_consensus::NodeId(at))
        }
    };
    hold(just, "nobody is accused without a cause", || format!("n{at}: {alarm:?}"))
}
