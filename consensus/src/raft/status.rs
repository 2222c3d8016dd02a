//! What a member can say of itself.

use super::Raft;
use crate::progress::Phase;
use crate::{EntryId, Index, NodeId, State, Vote};

/// What a member knows at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Role, term, leader, members.
    pub state: State,
    /// The last entry.
    pub last: EntryId,
    /// Up to here the log is on this member's medium.
    pub durable: Index,
    /// Up to here a majority has it, as far as this member knows.
    pub committed: Index,
    /// Up to here it was handed out for applying.
    pub applied: Index,
    /// The last entry in the newest snapshot.
    pub snapshot: Option<EntryId>,
    /// How far the others are: at a leader only.
    pub members: Vec<MemberStatus>,
    /// Whether a leader may read without asking.
    pub has_lease: bool,
}

/// How far another member is, as its leader sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberStatus {
    /// Which.
    pub node: NodeId,
    /// Whether it counts.
    pub vote: Option<Vote>,
    /// Up to here it has the log on its medium.
    pub matched: Index,
    /// What it gets: `probe`, `replicate` or `snapshot`.
    pub phase: &'static str,
    /// It has lost what it had acknowledged.
    pub forgot: bool,
}

impl Raft {
    /// What this member knows now.
    #[must_use]
    pub fn status(&self) -> Status {
        let (index, membership) = self.log.membership();
        let state = State {
            term: self.ballot.term,
            role: self.role(),
            leader: self.leader,
            membership: (index, membership.clone()),
        };
        Status {
            state,
            last: self.log.last(),
            durable: self.log.durable(),
            committed: self.log.committed(),
            applied: self.applied,
            snapshot: self.log.snapshot().map(|snapshot| snapshot.meta.last),
            members: self.member_status(),
            has_lease: self.has_lease(),
        }
    }

    fn member_status(&self) -> Vec<MemberStatus> {
        let Some(leader) = self.leadership() else { return Vec::new() };
        let membership = self.log.membership().1;
        let status = leader.progress.iter().map(|(node, progress)| MemberStatus {
            node: *node,
            vote: membership.get(*node).map(|member| member.vote),
            matched: progress.matched,
            phase: match progress.phase {
                Phase::Probe { .. } => "probe",
                Phase::Replicate(_) => "replicate",
                Phase::Snapshot(_) => "snapshot",
            },
            forgot: progress.forgot,
        });
        status.collect()
    }
}
