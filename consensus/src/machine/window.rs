//! Which proposals were applied lately, and with what answer: so a repetition is recognised.
//!
//! ```text
//!   log   ──────────┼──────────────────────────────┤ applied
//!                 floor      every proposal here is remembered
//! ```
//!
//! A proposal says what was applied where it was made (`since`): it cannot have been applied before
//! that. If that is at or behind the floor and the window does not have it, it was never applied;
//! if it is before the floor, nobody can say, and it is refused for good.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use rkyv::{Archive, Deserialize, Serialize};

use crate::{Index, ProposalId};

/// Proposals remembered at most.
const PROPOSALS_MAX: usize = 16 << 10;
/// About the most bytes of answers remembered.
const ANSWER_BYTES_MAX: usize = 16 << 20;

/// See the module. The same on every node, so it is part of the state.
#[derive(Clone, Debug)]
pub(super) struct Window {
    proposals_max: usize,
    floor: Index,
    order: VecDeque<ProposalId>,
    known: BTreeMap<ProposalId, (Index, Bytes)>,
    answer_bytes: usize,
}

/// A window in a snapshot.
#[derive(Archive, Serialize, Deserialize, Debug)]
pub(super) struct WindowImage {
    floor: Index,
    proposals: Vec<(ProposalId, Index, Bytes)>,
}

/// What the window knows of a proposal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Known {
    /// It was applied there, with that answer.
    Applied(Index, Bytes),
    /// It was not applied.
    New,
    /// Nobody can say.
    TooOld,
}

impl Default for Window {
    fn default() -> Self {
        Self::of(PROPOSALS_MAX)
    }
}

impl Window {
    /// One that remembers so many proposals; as many on every node.
    pub(super) fn of(proposals_max: usize) -> Self {
        let (order, known) = (VecDeque::new(), BTreeMap::new());
        Self { proposals_max, floor: Index(0), order, known, answer_bytes: 0 }
    }

    pub(super) fn look(&self, id: ProposalId, since: Index) -> Known {
        match self.known.get(&id) {
            Some((index, answer)) => Known::Applied(*index, answer.clone()),
            None if since < self.floor => Known::TooOld,
            None => Known::New,
        }
    }

    pub(super) fn remember(&mut self, id: ProposalId, index: Index, answer: Bytes) {
        self.answer_bytes += answer.len();
        let before = self.known.insert(id, (index, answer));
        assert!(before.is_none(), "proposal {id} applied twice");
        self.order.push_back(id);
        while self.order.len() > self.proposals_max || self.answer_bytes > ANSWER_BYTES_MAX {
            let Some(oldest) = self.order.pop_front() else { return };
            if let Some((index, answer)) = self.known.remove(&oldest) {
                self.floor = index;
                self.answer_bytes -= answer.len();
            }
        }
    }

    pub(super) fn image(&self) -> WindowImage {
        let proposals = self.order.iter().filter_map(|id| {
            let (index, answer) = self.known.get(id)?;
            Some((*id, *index, answer.clone()))
        });
        WindowImage { floor: self.floor, proposals: proposals.collect() }
    }

    /// What an image says, with the same bound as before.
    pub(super) fn restored(&self, image: WindowImage) -> Self {
        let mut window = Self { floor: image.floor, ..Self::of(self.proposals_max) };
        for (id, index, answer) in image.proposals {
            window.answer_bytes += answer.len();
            window.order.push_back(id);
            window.known.insert(id, (index, answer));
        }
        window
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Promise: what was applied is known with its answer; what fell out of the window is refused
    /// rather than applied a second time.
    #[test]
    fn what_fell_out_is_refused() {
        let mut window = Window::default();
        for n in 1..=(PROPOSALS_MAX as u64 + 1) {
            window.remember(ProposalId(n.into()), Index(n), Bytes::new());
        }
        assert_eq!(window.look(ProposalId(1), Index(0)), Known::TooOld);
        assert_eq!(window.look(ProposalId(2), Index(0)), Known::Applied(Index(2), Bytes::new()));
        assert_eq!(window.look(ProposalId(0), Index(1)), Known::New);
    }

    /// Promise: a window that went through a snapshot knows the same, and forgets in the same order.
    #[test]
    fn a_snapshot_keeps_the_window() {
        let mut window = Window::default();
        let large = Bytes::from(vec![1; ANSWER_BYTES_MAX / 2]);
        for n in [5, 3, 9] {
            window.remember(ProposalId(n), Index(n as u64), large.clone());
        }
        let mut restored = Window::default().restored(window.image());
        for id in [5, 3, 9] {
            let id = ProposalId(id);
            assert_eq!(restored.look(id, Index(4)), window.look(id, Index(4)));
            assert_eq!(restored.look(id, Index(0)), window.look(id, Index(0)));
        }
        restored.remember(ProposalId(11), Index(11), large.clone());
        window.remember(ProposalId(11), Index(11), large);
        assert_eq!(restored.look(ProposalId(3), Index(0)), window.look(ProposalId(3), Index(0)));
    }
}
