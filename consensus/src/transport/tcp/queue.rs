//! What waits for one connection, bounded by count and by bytes.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::{Envelope, wire};

/// Messages for one peer. One task takes, anybody puts.
#[derive(Debug)]
pub(super) struct Queue {
    state: Mutex<State>,
    changed: Notify,
    messages_max: usize,
    bytes_max: usize,
}

#[derive(Debug, Default)]
struct State {
    messages: VecDeque<(Envelope, usize)>,
    counts: Counts,
    closed: bool,
}

/// What became of messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// That wait.
    pub(super) messages: usize,
    /// About their bytes.
    pub(super) bytes: usize,
    /// That did not fit, or waited for a connection that was lost.
    pub(super) dropped: u64,
    /// That were written.
    pub(super) sent: u64,
}

impl Queue {
    pub(super) fn new(messages_max: usize, bytes_max: usize) -> Self {
        Self { state: Mutex::default(), changed: Notify::new(), messages_max, bytes_max }
    }

    /// Takes a message, or drops it if there is no room.
    pub(super) fn push(&self, envelope: Envelope) {
        let bytes = wire::size(&envelope);
        let mut state = self.state();
        let fits = state.messages.len() < self.messages_max
            && state.counts.bytes.saturating_add(bytes) <= self.bytes_max;
        if state.closed || !fits {
            state.counts.dropped += 1;
            return;
        }
        state.counts.bytes += bytes;
        state.messages.push_back((envelope, bytes));
        drop(state);
        self.changed.notify_one();
    }

    /// Waits until there is something, then takes about `bytes_max` of it, and at least one message.
    /// Nothing once the queue is closed.
    pub(super) async fn take(&self, bytes_max: usize) -> Option<Vec<Envelope>> {
        loop {
            {
                let mut state = self.state();
                if state.closed {
                    return None;
                }
                let taken = state.take(bytes_max);
                if !taken.is_empty() {
                    return Some(taken);
                }
            }
            self.changed.notified().await;
        }
    }

    /// Waits until there is something, or the queue is closed.
    pub(super) async fn wait(&self) {
        loop {
            {
                let state = self.state();
                if state.closed || !state.messages.is_empty() {
                    return;
                }
            }
            self.changed.notified().await;
        }
    }

    /// Drops what waits: what was sent to a peer that is gone is out of date when it is back.
    pub(super) fn clear(&self) {
        let mut state = self.state();
        state.counts.dropped += state.messages.len() as u64;
        state.messages.clear();
        state.counts.bytes = 0;
    }

    /// Nothing is taken any more, in either sense.
    pub(super) fn close(&self) {
        self.state().closed = true;
        self.changed.notify_one();
    }

    /// What was taken was written, or not.
    pub(super) fn settle(&self, sent: u64, dropped: u64) {
        let mut state = self.state();
        state.counts.sent += sent;
        state.counts.dropped += dropped;
    }

    pub(super) fn counts(&self) -> Counts {
        let state = self.state();
        Counts { messages: state.messages.len(), ..state.counts }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Counts may be off by one message if a holder has panicked, and nothing else.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn take(&mut self, bytes_max: usize) -> Vec<Envelope> {
        let mut taken = Vec::new();
        let mut bytes_taken = 0_usize;
        while let Some((_, bytes)) = self.messages.front() {
            bytes_taken = bytes_taken.saturating_add(*bytes);
            if bytes_taken > bytes_max && !taken.is_empty() {
                break;
            }
            let Some((envelope, bytes)) = self.messages.pop_front() else { break };
            self.counts.bytes -= bytes;
            taken.push(envelope);
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::{EntryId, Message, NodeId, Proposal, ProposalId, StoreId, Term};

    fn envelope(bytes: usize) -> Envelope {
        let command = Bytes::from(vec![0; bytes]);
        let proposal = Proposal { id: ProposalId(1), since: crate::Index(0), command };
        let message = match bytes {
            0 => Message::PreVote { last: EntryId::ZERO },
            _ => Message::Propose { proposals: vec![proposal] },
        };
        let (from, to) = (NodeId(1), NodeId(2));
        let (from_store, to_store) = (StoreId(1), StoreId(2));
        Envelope { from, from_store, to, to_store, term: Term(1), message }
    }

    /// Promise: what waits is bounded by count and by bytes, what does not fit is counted, and what
    /// is taken makes room.
    #[tokio::test]
    async fn what_does_not_fit_is_dropped_and_counted() {
        let queue = Queue::new(3, 10_000);
        for _ in 0..5 {
            queue.push(envelope(0));
        }
        let counts = queue.counts();
        assert_eq!((counts.messages, counts.dropped), (3, 2));
        assert_eq!(queue.take(usize::MAX).await.unwrap().len(), 3);
        assert_eq!(queue.counts().bytes, 0);
        queue.push(envelope(9_000));
        queue.push(envelope(9_000));
        assert_eq!((queue.counts().messages, queue.counts().dropped), (1, 3));
        queue.clear();
        assert_eq!(queue.counts(), Counts { dropped: 4, ..Counts::default() });
    }

    /// Promise: a batch is bounded, but a message larger than it goes alone; order is kept.
    #[tokio::test]
    async fn batches_are_bounded() {
        let queue = Queue::new(10, usize::MAX);
        for bytes in [5_000, 0, 0] {
            queue.push(envelope(bytes));
        }
        assert_eq!(queue.take(2_000).await.unwrap(), [envelope(5_000)]);
        assert_eq!(queue.take(2_000).await.unwrap(), [envelope(0), envelope(0)]);
    }

    /// Promise: who waits for messages learns that none will come.
    #[tokio::test]
    async fn closing_wakes_who_waits() {
        let queue = Queue::new(1, 1_000);
        let (taken, ()) = tokio::join!(queue.take(1), async { queue.close() });
        assert_eq!(taken, None);
        queue.push(envelope(0));
        assert_eq!(queue.counts().dropped, 1);
    }
}
