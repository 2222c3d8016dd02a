//! Who takes part, and how that may change: one member at a time, so that the majorities before
//! and after always share a voter (Ongaro's dissertation, section 4.1).

use std::collections::BTreeMap;

use rkyv::{Archive, Deserialize, Serialize};

use crate::{NodeId, StoreId};

/// The nodes that have the log, and which of them decide.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Membership {
    /// All of them.
    pub members: BTreeMap<NodeId, Member>,
}

/// One node that has the log.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq, Hash)]
pub struct Member {
    /// Its data directory: another one under the same node id is not this member.
    pub store: StoreId,
    /// Where its transport listens, as `host:port`.
    pub address: String,
    /// Whether it counts.
    pub vote: Vote,
}

/// Whether a member counts for elections and commits.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Vote {
    /// It does.
    Voter,
    /// It has the log, and that is all.
    Learner,
}

/// One change of the members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A node that has no part yet gets the log.
    AddLearner {
        /// Its id.
        node: NodeId,
        /// Its data directory.
        store: StoreId,
        /// Where it listens.
        address: String,
    },
    /// A learner becomes a voter.
    Promote(NodeId),
    /// A voter becomes a learner.
    Demote(NodeId),
    /// A member goes.
    Remove(NodeId),
}

/// Why a change was refused. Nothing has changed then.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    /// Only the leader changes members.
    #[error("not the leader; {}", Hint(*leader))]
    NotLeader {
        /// Who is, as far as known.
        leader: Option<NodeId>,
    },
    /// Row M04: until an entry of its own term is committed, a leader may not know of a change
    /// that its predecessor began.
    #[error("the leader has not committed an entry of its term yet; try again")]
    TermNotCommitted,
    /// One at a time.
    #[error("another change of the members is not committed yet; try again")]
    Pending,
    /// Leadership is being handed over.
    #[error("leadership is being transferred; try again at the new leader")]
    Transferring,
    /// A node with that id is a member.
    #[error("{node} is a member already, with store {store}; remove it first")]
    AlreadyMember {
        /// It.
        node: NodeId,
        /// Its store.
        store: StoreId,
    },
    /// No such member.
    #[error("{node} is not a member")]
    NotMember {
        /// It.
        node: NodeId,
    },
    /// It has a vote already.
    #[error("{node} is a voter already")]
    AlreadyVoter {
        /// It.
        node: NodeId,
    },
    /// It has no vote.
    #[error("{node} is a learner already")]
    AlreadyLearner {
        /// It.
        node: NodeId,
    },
    /// It would be asked for acknowledgements that it cannot give yet.
    #[error("{node} lacks {missing} entries; promote it when it has caught up")]
    Behind {
        /// It.
        node: NodeId,
        /// How far it is behind the commit mark.
        missing: u64,
    },
    /// Nobody would be left to decide.
    #[error("{node} is the only voter")]
    LastVoter {
        /// It.
        node: NodeId,
    },
}

impl ChangeError {
    /// Whether the same change may be possible in a moment.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        matches!(
            self,
            Self::NotLeader { leader: None }
                | Self::TermNotCommitted
                | Self::Pending
                | Self::Transferring
                | Self::Behind { .. }
        )
    }
}

struct Hint(Option<NodeId>);

impl std::fmt::Display for Hint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some(node) => write!(f, "ask {node}"),
            None => write!(f, "none is known"),
        }
    }
}

impl Membership {
    /// Those that decide, in order.
    pub fn voters(&self) -> impl Iterator<Item = NodeId> {
        let voters = self.members.iter().filter(|(_, member)| member.vote == Vote::Voter);
        voters.map(|(node, _)| *node)
    }

    /// Whether the node decides.
    #[must_use]
    pub fn is_voter(&self, node: NodeId) -> bool {
        self.members.get(&node).is_some_and(|member| member.vote == Vote::Voter)
    }

    /// The member, if it is one.
    #[must_use]
    pub fn get(&self, node: NodeId) -> Option<&Member> {
        self.members.get(&node)
    }

    /// About what it takes as an entry.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.members.values().map(|member| 32 + member.address.len()).sum()
    }

    /// The members after a change.
    ///
    /// # Errors
    /// [`ChangeError`] if the change makes no sense here.
    pub fn changed(&self, change: &Change) -> Result<Self, ChangeError> {
        let mut after = self.clone();
        match change {
            Change::AddLearner { node, store, address } => {
                if let Some(member) = self.get(*node) {
                    return Err(ChangeError::AlreadyMember { node: *node, store: member.store });
                }
                let (store, address) = (*store, address.clone());
                after.members.insert(*node, Member { store, address, vote: Vote::Learner });
            }
            Change::Promote(node) => {
                if self.is_voter(*node) {
                    return Err(ChangeError::AlreadyVoter { node: *node });
                }
                after.set_vote(*node, Vote::Voter)?;
            }
            Change::Demote(node) => {
                if self.get(*node).is_some_and(|member| member.vote == Vote::Learner) {
                    return Err(ChangeError::AlreadyLearner { node: *node });
                }
                after.set_vote(*node, Vote::Learner)?;
            }
            Change::Remove(node) => {
                let removed = after.members.remove(node);
                removed.ok_or(ChangeError::NotMember { node: *node })?;
            }
        }
        if after.voters().next().is_none() {
            return Err(ChangeError::LastVoter { node: change.node() });
        }
        Ok(after)
    }

    fn set_vote(&mut self, node: NodeId, vote: Vote) -> Result<(), ChangeError> {
        let member = self.members.get_mut(&node).ok_or(ChangeError::NotMember { node })?;
        member.vote = vote;
        Ok(())
    }
}

impl Change {
    /// Whom it concerns.
    #[must_use]
    pub fn node(&self) -> NodeId {
        match self {
            Self::AddLearner { node, .. }
            | Self::Promote(node)
            | Self::Demote(node)
            | Self::Remove(node) => *node,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(voters: &[u64], learners: &[u64]) -> Membership {
        let member = |id: &u64, vote| {
            (NodeId(*id), Member { store: StoreId(*id + 100), address: String::new(), vote })
        };
        let voters = voters.iter().map(|id| member(id, Vote::Voter));
        let learners = learners.iter().map(|id| member(id, Vote::Learner));
        Membership { members: voters.chain(learners).collect() }
    }

    /// Promise: each change does what it says, to one member.
    #[test]
    fn changes_concern_one_member() {
        let before = members(&[1, 2], &[3]);
        let after = |change| before.changed(&change).unwrap();
        assert_eq!(after(Change::Promote(NodeId(3))), members(&[1, 2, 3], &[]));
        assert_eq!(after(Change::Demote(NodeId(2))), members(&[1], &[2, 3]));
        assert_eq!(after(Change::Remove(NodeId(2))), members(&[1], &[3]));
        let added =
            Change::AddLearner { node: NodeId(4), store: StoreId(104), address: String::new() };
        assert_eq!(after(added), members(&[1, 2], &[3, 4]));
    }

    /// Promise: a change that makes no sense is refused by name (row M06 for the second store).
    #[test]
    fn nonsense_is_refused() {
        let before = members(&[1], &[3]);
        let refused = |change| before.changed(&change).unwrap_err();
        let (one, three, four) = (NodeId(1), NodeId(3), NodeId(4));
        assert_eq!(refused(Change::Remove(one)), ChangeError::LastVoter { node: one });
        assert_eq!(refused(Change::Demote(one)), ChangeError::LastVoter { node: one });
        assert_eq!(refused(Change::Remove(four)), ChangeError::NotMember { node: four });
        assert_eq!(refused(Change::Promote(four)), ChangeError::NotMember { node: four });
        assert_eq!(refused(Change::Promote(one)), ChangeError::AlreadyVoter { node: one });
        assert_eq!(refused(Change::Demote(three)), ChangeError::AlreadyLearner { node: three });
        let again = Change::AddLearner { node: three, store: StoreId(9), address: "a:1".into() };
        let error = ChangeError::AlreadyMember { node: three, store: StoreId(103) };
        assert_eq!(refused(again), error);
    }
}
