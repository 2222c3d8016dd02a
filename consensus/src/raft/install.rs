//! Snapshots: giving up the log behind one's own, sending it to members that are behind the log, and
//! taking one from a leader.
//!
//! ```text
//!  leader  ── piece 0, piece 1, … ──►  member: gathers, checks the sum, writes ─► durable ─► begins anew
//!          ◄── received so much ─────          old log and state until then
//! ```
//!
//! Pieces may be lost: the leader's signs of life ask how much is there, and it goes on from that. A
//! member keeps what it has of a snapshot over lost connections and changes of the leader, as long
//! as what it is sent is the same one.

use std::sync::Arc;

use bytes::Bytes;

use super::{Part, Raft, Storing};
use crate::log::Snapshot;
use crate::progress::{Phase, Transfer};
use crate::{Alarm, AppendResult, Content, EntryId, Message, NodeId, Round, SnapshotMeta};

/// A snapshot of which this member has a part.
#[derive(Clone, Debug, Hash)]
pub(super) struct Receiving {
    meta: SnapshotMeta,
    state: Vec<u8>,
    /// Whom to answer when it is durable.
    from: NodeId,
}

impl Raft {
    /// A state of this member's own is to replace the log up to it.
    pub(super) fn compact(&mut self, snapshot: Arc<Snapshot>) {
        let last = snapshot.meta.last;
        assert!(last.index <= self.applied, "a snapshot of what was not handed out");
        let newer = self.log.snapshot().is_none_or(|old| old.meta.last < last);
        if self.storing.is_some() || !newer {
            self.mark("snapshot not needed");
            return;
        }
        let limits = &self.config.limits;
        let kept = self.log.tail(last.index, limits.entries_kept, limits.entries_kept_bytes);
        self.store(snapshot, kept, false);
    }

    fn store(&mut self, snapshot: Arc<Snapshot>, base: EntryId, installed: bool) {
        let content = Content::Snapshot { snapshot: snapshot.clone(), base, installed };
        let write = self.write(content);
        self.storing = Some(Storing { write, snapshot, base, installed });
        if installed && planted!(self, InstallBeforeDurable) {
            self.installed_early();
        }
    }

    /// A snapshot is durable: the log before it goes.
    pub(super) fn stored(&mut self) {
        let durable = self.writes.durable;
        let Some(storing) = self.storing.take_if(|storing| storing.write <= durable) else {
            return;
        };
        let Storing { snapshot, base, installed, .. } = storing;
        if !installed {
            self.log.compact(snapshot, base.index);
            return;
        }
        let last = snapshot.meta.last.index;
        self.log.install(snapshot.clone());
        self.applied = last;
        self.out.restore = Some(snapshot);
        self.mark("snapshot installed");
        if let Some(Receiving { from, .. }) = self.receiving.take()
            && self.leader == Some(from)
        {
            // In answer to no question: the round of the pieces may be one of an older term, and
            // must not vouch for that leader in this one.
            self.answer_append(from, Round(0), AppendResult::Matched(last));
        }
    }

    #[cfg_attr(
        not(any(test, feature = "testing")),
        expect(clippy::unused_self, reason = "only tests want this")
    )]
    fn installed_early(&mut self) {
        #[cfg(any(test, feature = "testing"))]
        if let Some(storing) = &mut self.storing {
            storing.write = self.writes.durable;
            self.stored();
            // The acknowledgement was held back until the write.
            let held = self.writes.held.pop_back();
            self.out.messages.extend(held.map(|(_, envelope)| envelope));
        }
    }

    /// Takes a piece of a leader's snapshot.
    pub(super) fn take_piece(
        &mut self,
        from: NodeId,
        meta: SnapshotMeta,
        (offset, data): (u64, Bytes),
        round: Round,
    ) {
        if meta.last.index <= self.log.committed() {
            self.receiving = None;
            let matched =
                if self.was_taken_over() { meta.last.index } else { self.log.committed() };
            if !self.ends_by_difference(from, &[meta.last]) {
                self.answer_append(from, round, AppendResult::Matched(matched));
            }
            return;
        }
        if self.storing.is_some() {
            self.answer_while_storing(from, meta.last, round);
            return;
        }
        if self.log.has(meta.last) {
            // All of it is here, and what lies behind may be acknowledged already: a majority may
            // count on it (paper, figure 13, rule 6). The sender did not know that yet.
            self.mark("snapshot of what the log has");
            self.receiving = None;
            self.log.commit(meta.last.index);
            self.answer_append(from, round, AppendResult::Matched(meta.last.index));
            return;
        }
        if self.receiving.as_ref().is_none_or(|receiving| receiving.meta != meta) {
            self.receiving = Some(Receiving { meta, state: Vec::new(), from });
        }
        let Some(receiving) = &mut self.receiving else { return };
        receiving.from = from;
        if offset == receiving.state.len() as u64 {
            receiving.state.extend_from_slice(&data);
        }
        let (received, last) = (receiving.state.len() as u64, receiving.meta.last);
        if received < receiving.meta.bytes {
            self.send(from, Message::SnapshotAnswer { last, received, round });
            return;
        }
        let meta = receiving.meta.clone();
        let state = Bytes::from(std::mem::take(&mut receiving.state));
        if crc32fast::hash(&state) != meta.crc {
            self.receiving = None;
            self.out.alarms.push(Alarm::Unsound { node: from });
            return;
        }
        self.store(Arc::new(Snapshot { meta, state }), last, true);
    }

    /// Answers a leader while the store writes a snapshot: that may take longer than a leader waits
    /// for a majority.
    pub(super) fn answer_while_storing(&mut self, from: NodeId, last: EntryId, round: Round) {
        self.mark("answered while a snapshot is stored");
        let whole = self.storing.as_ref().filter(|storing| storing.installed);
        let whole = whole.map(|storing| &storing.snapshot.meta).filter(|meta| meta.last == last);
        let part = self.receiving.as_ref().filter(|receiving| receiving.meta.last == last);
        let part = part.map_or(0, |receiving| receiving.state.len() as u64);
        let received = whole.map_or(part, |meta| meta.bytes);
        self.send(from, Message::SnapshotAnswer { last, received, round });
    }

    /// Forgets the part of a snapshot that is not needed any more.
    pub(super) fn drop_received(&mut self) {
        let committed = self.log.committed();
        if self.storing.is_none() {
            self.receiving.take_if(|receiving| receiving.meta.last.index <= committed);
        }
    }

    /// Begins to send the newest snapshot. False: nothing more can be sent now.
    pub(super) fn begin_snapshot(&mut self, to: NodeId) -> bool {
        let snapshot = self.log.snapshot().expect("a log that begins late has a snapshot").clone();
        let Part::Leader(leader) = &mut self.part else { return false };
        let Some(progress) = leader.progress.get_mut(&to) else { return false };
        progress.send_snapshot(snapshot);
        self.mark("snapshot begun");
        self.send_pieces(to);
        false
    }

    /// Sends as many pieces as may be under way.
    fn send_pieces(&mut self, to: NodeId) {
        let limits = self.config.limits;
        let ahead = limits.snapshot_piece_bytes as u64 * limits.snapshot_pieces_max as u64;
        loop {
            let Some((transfer, round)) = self.snapshot_to(to) else { return };
            let bytes = transfer.snapshot.meta.bytes;
            let first = transfer.sent == 0 && bytes == 0;
            if (transfer.sent >= bytes && !first) || transfer.sent >= transfer.received + ahead {
                return;
            }
            let (offset, meta) = (transfer.sent, transfer.snapshot.meta.clone());
            let end = (offset + limits.snapshot_piece_bytes as u64).min(bytes);
            let data = transfer.snapshot.state.slice(offset as usize..end as usize);
            transfer.sent = end;
            self.send(to, Message::Snapshot { meta, offset, data, round });
            if first {
                return;
            }
        }
    }

    fn snapshot_to(&mut self, to: NodeId) -> Option<(&mut Transfer, Round)> {
        let leader = self.leadership_mut()?;
        let round = leader.round;
        match &mut leader.progress.get_mut(&to)?.phase {
            Phase::Snapshot(transfer) => Some((transfer, round)),
            _ => None,
        }
    }

    /// Asks how much of the snapshot is there: the sign of life while one is sent.
    pub(super) fn ask_for_received(&mut self, to: NodeId, round: Round) {
        let Some((transfer, _)) = self.snapshot_to(to) else { return };
        let (meta, offset) = (transfer.snapshot.meta.clone(), transfer.received);
        self.send(to, Message::Snapshot { meta, offset, data: Bytes::new(), round });
    }

    pub(super) fn take_snapshot_answer(
        &mut self,
        from: NodeId,
        (last, received): (EntryId, u64),
        round: Round,
    ) {
        let Part::Leader(leader) = &mut self.part else { return };
        let Some(progress) = leader.progress.get_mut(&from) else { return };
        progress.round = progress.round.max(round.min(leader.round));
        self.continue_snapshot(from, (last, received));
        self.count_rounds();
    }

    /// Goes on from what a member has.
    fn continue_snapshot(&mut self, to: NodeId, (last, received): (EntryId, u64)) {
        if let Some((transfer, _)) = self.snapshot_to(to)
            && transfer.snapshot.meta.last == last
            && received <= transfer.snapshot.meta.bytes
        {
            if received > transfer.received {
                transfer.stalled = false;
                transfer.sent = transfer.sent.max(received);
            } else if std::mem::take(&mut transfer.stalled) {
                // It was asked and has no more: what was sent behind is lost. Less than before: it
                // has begun again. Without a question such an answer is old, or one of many about
                // the same loss; pieces sent for each would breed more.
                transfer.sent = received;
            } else {
                return;
            }
            transfer.received = received;
            self.send_pieces(to);
        }
    }
}
