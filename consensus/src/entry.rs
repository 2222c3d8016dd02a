//! What the log holds.

use bytes::Bytes;
use rkyv::{Archive, Deserialize, Serialize};

use crate::{EntryId, Index, Membership, ProposalId};

/// One place of the log.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq, Hash)]
pub struct Entry {
    /// Its name.
    pub id: EntryId,
    /// What it says.
    pub payload: Payload,
}

/// What an entry says.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq, Hash)]
pub enum Payload {
    /// A leader's first: until it is committed, the leader knows of nothing that it is (paper,
    /// section 8).
    TermStart,
    /// For the state machine.
    Command(Proposal),
    /// The members from here on. Holds from the moment it is in the log, committed or not.
    Membership(Membership),
}

/// A command and its name, so that a repetition is recognised wherever it arrives.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq, Hash)]
pub struct Proposal {
    /// Its name.
    pub id: ProposalId,
    /// What was applied where it was first proposed. What is remembered of earlier proposals
    /// reaches back to a certain entry: whether one that is older was applied, nobody can say.
    pub since: Index,
    /// For the state machine.
    pub command: Bytes,
}

/// Bytes that an entry takes beside its command: an upper bound for what is counted.
const OVERHEAD_BYTES: usize = 64;

impl Entry {
    /// About what it takes in memory, on the wire and in the log.
    #[must_use]
    pub fn bytes(&self) -> usize {
        OVERHEAD_BYTES
            + match &self.payload {
                Payload::TermStart => 0,
                Payload::Command(proposal) => proposal.command.len(),
                Payload::Membership(membership) => membership.bytes(),
            }
    }
}
