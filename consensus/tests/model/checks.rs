//! What must hold in every state.

use std::collections::BTreeMap;

use resprout_consensus::{Entry, EntryId, Role, Term};

use crate::world::Member;

/// A promise of Raft that does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Broken {
    /// Two leaders of one term (paper, figure 3: election safety).
    TwoLeaders,
    /// Two logs have one entry in common, but not all before it (log matching).
    LogsDiffer,
    /// Two members hold different entries at one index for committed (state machine safety).
    CommittedDiffer,
    /// A leader lacks what was committed in an earlier term (leader completeness).
    IncompleteLeader,
    /// The core itself stopped at an assertion.
    Asserted,
}

impl Broken {
    pub(crate) const ALL: [Self; 5] = [
        Self::TwoLeaders,
        Self::LogsDiffer,
        Self::CommittedDiffer,
        Self::IncompleteLeader,
        Self::Asserted,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::TwoLeaders => "one leader in a term",
            Self::LogsDiffer => "logs match",
            Self::CommittedDiffer => "committed entries never differ",
            Self::IncompleteLeader => "leaders have what is committed",
            Self::Asserted => "the core's assertions hold",
        }
    }
}

/// What has been seen on the way to a state.
#[derive(Clone, Debug, Default, Hash)]
pub(crate) struct History {
    leaders: BTreeMap<Term, usize>,
    /// Each entry that a member held for committed, and the term it was in then.
    pub(crate) committed: Vec<(EntryId, Term)>,
}

impl History {
    /// Looks at a member after its step; `was` is its role before.
    pub(crate) fn check(
        &mut self,
        members: &[std::sync::Arc<Member>; 3],
        at: usize,
        was: Role,
    ) -> Option<Broken> {
        let member = &members[at];
        let status = member.raft.status();
        let term = status.state.term;
        let others = (0..3).filter(|other| *other != at);
        if others.into_iter().any(|other| !agree(&member.log, &members[other].log)) {
            return Some(Broken::LogsDiffer);
        }
        if status.state.role == Role::Leader {
            if *self.leaders.entry(term).or_insert(at) != at {
                return Some(Broken::TwoLeaders);
            }
            // Who is elected late in an old term may lack what a newer leader has committed.
            let earlier = self.committed.iter().filter(|(_, committed)| *committed < term);
            let has = |id: &EntryId| member.id_at(id.index) == Some(*id);
            if was != Role::Leader && !earlier.into_iter().all(|(id, _)| has(id)) {
                return Some(Broken::IncompleteLeader);
            }
        }
        for (place, entry) in member.log.iter().enumerate().take(status.committed.0 as usize) {
            match self.committed.get(place) {
                Some((id, _)) if *id != entry.id => return Some(Broken::CommittedDiffer),
                Some(_) => {}
                None => self.committed.push((entry.id, term)),
            }
        }
        None
    }

    /// How many terms had a leader.
    pub(crate) fn leaderships(&self) -> usize {
        self.leaders.len()
    }
}

/// Whether two logs are equal up to the last entry that they have in common.
fn agree(left: &[Entry], right: &[Entry]) -> bool {
    let common = left.iter().zip(right).rposition(|(left, right)| left.id == right.id);
    common.is_none_or(|last| left[..=last] == right[..=last])
}
