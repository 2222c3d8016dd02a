//! What of a member's state decides what it will do, for tests that visit every state: they must
//! not take two states for different that only differ in counters or in the time of day.

use std::hash::{Hash, Hasher};
use std::time::Duration;

use super::{Part, Raft};
use crate::WriteId;

impl Raft {
    /// Puts this member into the state that stands for all that differ from it only by
    /// - the time: it is as if no leader was ever heard of, so that it protects none, and its own
    ///   timers are due. A search that steps it whenever it likes sees all that any clock allows;
    /// - the number of writes that are durable: the next to become durable is 1;
    /// - what happens next at random.
    pub fn project(&mut self) {
        let now = self.config.timing.election() * 4;
        self.now = now;
        self.heard = Duration::ZERO;
        self.election_at = now;
        self.woke_late = false;
        self.patient_until = Duration::ZERO;
        self.rng = resprout_wal::world::Rng::new(0);
        if let Part::Leader(leader) = &mut self.part {
            leader.heartbeat_at = now;
            for (_, asked) in &mut leader.rounds {
                *asked = now;
            }
        }
        self.renumber_writes();
    }

    fn renumber_writes(&mut self) {
        let before = self.writes.durable.0;
        let renumber = |id: &mut WriteId| id.0 = id.0.saturating_sub(before);
        renumber(&mut self.writes.last);
        renumber(&mut self.writes.durable);
        self.writes.held.iter_mut().for_each(|(id, _)| renumber(id));
        self.log.writes_mut().for_each(renumber);
        if let Part::Candidate { own_vote, .. } = &mut self.part {
            renumber(own_vote);
        }
        if let Some(storing) = &mut self.storing {
            renumber(&mut storing.write);
        }
    }
}

/// Everything that decides, and so not the time, which [`Raft::project`] has taken out.
impl Hash for Raft {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.identity.node.hash(state);
        self.ballot.hash(state);
        self.log.hash(state);
        self.part.hash(state);
        self.leader.hash(state);
        self.called.hash(state);
        self.writes.hash(state);
        self.applied.hash(state);
        self.receiving.hash(state);
        self.storing.hash(state);
    }
}
