//! How far one member has come, as its leader sees it.
//!
//! ```text
//!            answered: matched                    behind what is kept
//!   Probe ───────────────────► Replicate ────────────────────────► Snapshot
//!     ▲ ◄─── rejected, lost ───────┘                                   │
//!     └──────────────────────── installed ◄────────────────────────────┘
//! ```
//!
//! *Probe* looks for the place where the logs agree, one message at a time. *Replicate* sends
//! ahead of the answers, within bounds. *Snapshot* sends the state in pieces.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::log::Snapshot;
use crate::{EntryId, Index, Limits, Round};

#[cfg(test)]
mod model;

/// See the module.
#[derive(Clone, Debug, Hash)]
pub(crate) struct Progress {
    /// The logs are equal up to here, and there it is durable.
    pub(crate) matched: Index,
    /// What is sent next.
    pub(crate) next: Index,
    pub(crate) phase: Phase,
    /// Newest round that it has answered.
    pub(crate) round: Round,
    /// The newest round when it acknowledged `matched`. An answer to a later one was given after
    /// that, whatever order the answers arrive in and however often it has started since.
    matched_in: Round,
    /// It has lost what it had acknowledged, and counts for nothing (row M07).
    pub(crate) forgot: bool,
    /// Newest commit mark that it was told.
    pub(crate) commit_sent: Index,
}

#[derive(Clone, Debug, Hash)]
pub(crate) enum Phase {
    Probe {
        /// A question is under way.
        asked: bool,
    },
    Replicate(Inflight),
    Snapshot(Transfer),
}

/// Appends under way to one member.
#[derive(Clone, Debug, Default, Hash)]
pub(crate) struct Inflight {
    /// Last entry and bytes of each.
    sent: VecDeque<(Index, usize)>,
    bytes: usize,
}

/// A snapshot on its way to one member.
#[derive(Clone, Debug, Hash)]
pub(crate) struct Transfer {
    pub(crate) snapshot: Arc<Snapshot>,
    /// Bytes that it has, from the front.
    pub(crate) received: u64,
    /// Bytes that were sent.
    pub(crate) sent: u64,
    /// A sign of life has asked how much it has, and nothing has come since.
    pub(crate) stalled: bool,
}

impl Progress {
    /// Of a member about which nothing is known.
    pub(crate) fn new(last: Index) -> Self {
        Self {
            matched: Index(0),
            next: last.next(),
            phase: Phase::Probe { asked: false },
            round: Round(0),
            matched_in: Round(0),
            forgot: false,
            commit_sent: Index(0),
        }
    }

    /// Notes that the logs agree up to `index`, `newest` being the leader's newest round. Whether
    /// that is news.
    pub(crate) fn matched(&mut self, index: Index, newest: Round) -> bool {
        let news = index > self.matched;
        if news {
            (self.matched, self.matched_in) = (index, newest);
        }
        self.next = self.next.max(self.matched.next());
        match &mut self.phase {
            Phase::Probe { .. } => {
                self.next = self.matched.next();
                self.phase = Phase::Replicate(Inflight::default());
            }
            Phase::Replicate(inflight) => inflight.answered(index),
            Phase::Snapshot(transfer) if self.matched >= transfer.snapshot.meta.last.index => {
                self.next = self.matched.next();
                self.phase = Phase::Replicate(Inflight::default());
            }
            Phase::Snapshot(_) => {}
        }
        news
    }

    /// Notes that it does not have the entry at `previous`, and goes back to `hint`. False if that
    /// was known, because the answer is old, or if there is no way back: then nothing is sent
    /// before the next sign of life, which finds out more.
    pub(crate) fn rejected(&mut self, previous: Index, hint: Index) -> bool {
        let stale = match &self.phase {
            // Where the logs are known to agree only a member rejects that has lost what it had; to
            // ask again at once would go on for ever.
            Phase::Probe { .. } => previous != self.next.previous() || previous <= self.matched,
            Phase::Replicate(_) => previous <= self.matched,
            Phase::Snapshot(_) => true,
        };
        if stale {
            return false;
        }
        let next = hint.min(previous.previous()).max(self.matched).next();
        if next >= self.next {
            return false;
        }
        self.next = next;
        self.phase = Phase::Probe { asked: false };
        true
    }

    /// Whether its answer to `round`, that its log ends at `last`, proves that it has lost what it
    /// had acknowledged: within a term a follower's log never gets shorter.
    pub(crate) fn has_lost(&self, round: Round, last: Index) -> bool {
        last < self.matched && round > self.matched_in
    }

    /// Notes that it has lost what it had acknowledged.
    pub(crate) fn forget(&mut self) {
        self.forgot = true;
        self.phase = Phase::Probe { asked: true };
    }

    /// What it counts with for a commit.
    pub(crate) fn counted(&self) -> Index {
        if self.forgot { Index(0) } else { self.matched }
    }

    /// Begins to send a snapshot.
    pub(crate) fn send_snapshot(&mut self, snapshot: Arc<Snapshot>) {
        let transfer = Transfer { snapshot, received: 0, sent: 0, stalled: false };
        self.phase = Phase::Snapshot(transfer);
    }

    /// What is under way of a snapshot may be lost: its next answer will tell.
    pub(crate) fn doubt_pieces(&mut self) {
        if let Phase::Snapshot(transfer) = &mut self.phase {
            transfer.stalled = true;
        }
    }

    /// Whether entries may be sent now.
    pub(crate) fn may_append(&self, limits: &Limits) -> bool {
        match &self.phase {
            _ if self.forgot => false,
            Phase::Probe { asked } => !asked,
            Phase::Replicate(inflight) => !inflight.is_full(limits),
            Phase::Snapshot(_) => false,
        }
    }

    /// Notes that entries up to `last` were sent.
    pub(crate) fn sent(&mut self, last: EntryId, bytes: usize) {
        match &mut self.phase {
            Phase::Probe { asked } => *asked = true,
            Phase::Replicate(inflight) => {
                inflight.push(last.index, bytes);
                self.next = last.index.next();
            }
            Phase::Snapshot(_) => {}
        }
    }
}

impl Inflight {
    fn push(&mut self, last: Index, bytes: usize) {
        self.sent.push_back((last, bytes));
        self.bytes += bytes;
    }

    fn answered(&mut self, index: Index) {
        while let Some((_, bytes)) = self.sent.front().copied().filter(|(last, _)| *last <= index) {
            self.sent.pop_front();
            self.bytes -= bytes;
        }
    }

    fn is_full(&self, limits: &Limits) -> bool {
        self.sent.len() >= limits.inflight_appends_max || self.bytes >= limits.inflight_bytes_max
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replicating(matched: u64, next: u64) -> Progress {
        let mut progress = Progress::new(Index(matched));
        progress.matched(Index(matched), Round(0));
        progress.next = Index(next);
        progress
    }

    /// Promise: an old rejection moves nothing back.
    #[test]
    fn an_old_rejection_is_ignored() {
        let mut progress = replicating(5, 9);
        assert!(!progress.rejected(Index(5), Index(3)));
        assert_eq!((progress.matched, progress.next), (Index(5), Index(9)));
    }

    /// Promise: a member that rejects what it had acknowledged is not asked again at once (seed 911).
    #[test]
    fn a_rejection_of_what_matched_is_ignored() {
        let mut progress = replicating(5, 6);
        progress.phase = Phase::Probe { asked: true };
        assert!(!progress.rejected(Index(5), Index(0)));
        assert!(matches!(progress.phase, Phase::Probe { asked: true }));
    }

    /// Promise: a rejection goes back to the hint, never below what is known to match.
    #[test]
    fn a_rejection_goes_back_to_the_hint() {
        let mut progress = replicating(5, 20);
        assert!(progress.rejected(Index(19), Index(7)));
        assert_eq!(progress.next, Index(8));
        let mut progress = replicating(5, 20);
        assert!(progress.rejected(Index(19), Index(2)));
        assert_eq!(progress.next, Index(6));
    }

    /// Promise: a member that lacks what it had acknowledged is not asked for it again and again.
    #[test]
    fn a_rejection_without_a_way_back_is_left_alone() {
        let mut progress = replicating(5, 20);
        assert!(progress.rejected(Index(19), Index(3)));
        progress.sent(EntryId::new(crate::Term(1), Index(19)), 0);
        assert!(!progress.rejected(Index(5), Index(3)));
        assert!(!progress.may_append(&Limits::default()));
    }

    /// Promise: sending ahead stops at either bound and goes on with an answer.
    #[test]
    fn sending_ahead_is_bounded() {
        let limits =
            Limits { inflight_appends_max: 2, inflight_bytes_max: 100, ..Limits::default() };
        let id = |index| EntryId::new(crate::Term(1), Index(index));
        let mut progress = replicating(0, 1);
        progress.sent(id(1), 10);
        assert!(progress.may_append(&limits));
        progress.sent(id(2), 10);
        assert!(!progress.may_append(&limits));
        progress.matched(Index(1), Round(0));
        assert!(progress.may_append(&limits));
        progress.sent(id(3), 100);
        assert!(!progress.may_append(&limits));
        progress.matched(Index(3), Round(0));
        assert!(progress.may_append(&limits));
    }

    /// Promise: only an answer to a question that was asked after the acknowledgement proves a loss.
    #[test]
    fn m07_a_loss_is_proven_by_a_later_round() {
        let mut progress = replicating(0, 1);
        progress.matched(Index(9), Round(4));
        assert!(!progress.has_lost(Round(4), Index(5)), "asked before it was acknowledged");
        assert!(!progress.has_lost(Round(5), Index(9)), "nothing is missing");
        assert!(progress.has_lost(Round(5), Index(8)));
        assert!(!progress.matched(Index(7), Round(8)), "an old acknowledgement");
        assert!(progress.has_lost(Round(5), Index(8)));
    }

    /// Promise: one question at a time while the place is looked for.
    #[test]
    fn probing_asks_once() {
        let mut progress = Progress::new(Index(4));
        assert!(progress.may_append(&Limits::default()));
        progress.sent(EntryId::new(crate::Term(1), Index(4)), 0);
        assert!(!progress.may_append(&Limits::default()));
    }
}
