//! Clients: one operation at a time each; a write is repeated under its name until its outcome is
//! known or the client gives up, and a read that got no answer is begun anew.

use std::time::Duration;

use resprout_consensus::{Index, Proposal, ProposalId, ReadProof};
use resprout_wal::world::Rng;

use super::machine::{Version, command, proposal_id};
use super::node::Question;

/// Registers that there are.
pub const KEYS: u64 = 3;

/// One client.
#[derive(Debug)]
pub struct Client {
    /// Names its proposals; another after every outcome that stays unknown.
    session: u64,
    number: u64,
    /// Counts every question, so that an old answer is known.
    pub attempt: u64,
    /// What it waits for.
    pub operation: Option<Operation>,
    /// The node that it asked last.
    pub node: u64,
    /// Operations that it finished.
    pub finished: u64,
}

/// What a client waits for.
#[derive(Clone, Debug)]
pub struct Operation {
    /// What it asks.
    pub question: Question,
    /// When it began.
    pub began: Duration,
    /// How often it was asked.
    pub tries: u32,
}

/// What a node answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Written, by this entry.
    Written(Index),
    /// What was read.
    Read(Version),
    /// Not taken here and now.
    Refused,
    /// It was made too long ago to be recognised.
    Unknown,
}

impl Client {
    /// A client that has done nothing yet.
    #[must_use]
    pub fn new(number: u64) -> Self {
        let session = (number + 1) << 32;
        Self { session, number: 0, attempt: 0, operation: None, node: 1, finished: 0 }
    }

    /// A write of a value that nobody else writes, named where `since` was applied last.
    pub fn next_write(
        &mut self,
        rng: &mut Rng,
        padding: usize,
        since: Index,
    ) -> (ProposalId, u8, u64, Question) {
        self.number += 1;
        let id = proposal_id(self.session, self.number);
        let key = u8::try_from(rng.below(KEYS)).expect("few registers");
        let value = rng.next();
        let command = command(key, value, padding);
        (id, key, value, Question::Write(Proposal { id, since, command }))
    }

    /// A read.
    pub fn next_read(rng: &mut Rng) -> Question {
        let key = u8::try_from(rng.below(KEYS)).expect("few registers");
        let proof = if rng.chance(1, 2) { ReadProof::Lease } else { ReadProof::Round };
        Question::Read(key, proof)
    }

    /// Gives up: what became of it stays unknown.
    pub fn give_up(&mut self) {
        self.operation = None;
        self.session += 1;
        self.number = 0;
    }
}
