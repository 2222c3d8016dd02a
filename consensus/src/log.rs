//! The log in memory, and how far it has come.
//!
//! ```text
//!   snapshot.last      base                 committed    durable        last
//!  ─────────┼───────────┼──────────────────────┼────────────┼────────────┤
//!   in the snapshot     │ entries in memory …                           │
//!            base ≤ snapshot.last: some entries are kept for slow members
//! ```
//!
//! Always `base ≤ committed`, `committed ≤ last`, `durable ≤ last`; nothing at or below
//! `committed` ever changes. Durable follows the writes to the store in their order, so what was
//! taken back and written again counts only when written again.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;

use crate::{Entry, EntryId, Index, Membership, Payload, SnapshotMeta, Term, WriteId};

#[cfg(test)]
mod model;

/// A state with everything up to an entry in it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Snapshot {
    /// Which state.
    pub meta: SnapshotMeta,
    /// The state machine's, and what is kept with it.
    pub state: Bytes,
}

impl Snapshot {
    /// A state, its size and checksum noted.
    #[must_use]
    pub fn new(last: EntryId, membership: (Index, Membership), state: Bytes) -> Self {
        let (membership_index, membership) = membership;
        let (bytes, crc) = (state.len() as u64, crc32fast::hash(&state));
        Self { meta: SnapshotMeta { last, membership, membership_index, bytes, crc }, state }
    }
}

/// See the module.
#[derive(Clone, Debug, Hash)]
pub(crate) struct Log {
    snapshot: Option<Arc<Snapshot>>,
    base: EntryId,
    entries: VecDeque<Entry>,
    entries_bytes: usize,
    /// Bytes of those behind `committed`.
    uncommitted_bytes: usize,
    committed: Index,
    durable: Index,
    /// Writes under way and the last entry when each was handed out, or the last of those that was
    /// not cut since.
    writes: VecDeque<(WriteId, EntryId)>,
    /// Members laid down, oldest first; the first is committed.
    memberships: VecDeque<(Index, Membership)>,
}

impl Log {
    /// A log as the store holds it: all of it is durable, what the snapshot has is committed.
    pub(crate) fn recovered(
        snapshot: Option<Arc<Snapshot>>,
        base: EntryId,
        entries: Vec<Entry>,
    ) -> Self {
        let committed = snapshot.as_ref().map_or(base.index, |snapshot| snapshot.meta.last.index);
        let first = snapshot.as_ref().map_or_else(Default::default, |snapshot| {
            (snapshot.meta.membership_index, snapshot.meta.membership.clone())
        });
        let mut log = Self {
            snapshot,
            base,
            entries: VecDeque::new(),
            entries_bytes: 0,
            uncommitted_bytes: 0,
            committed,
            durable: base.index,
            writes: VecDeque::new(),
            memberships: VecDeque::from([first]),
        };
        for entry in entries {
            log.push(entry);
        }
        log.durable = log.last().index;
        log.check();
        log
    }

    pub(crate) fn last(&self) -> EntryId {
        self.entries.back().map_or(self.base, |entry| entry.id)
    }

    pub(crate) fn base(&self) -> EntryId {
        self.base
    }

    pub(crate) fn committed(&self) -> Index {
        self.committed
    }

    pub(crate) fn durable(&self) -> Index {
        self.durable
    }

    /// What may be applied: committed, and here durable, so that a state never holds what the
    /// log behind it could still lose.
    pub(crate) fn ready(&self) -> Index {
        self.committed.min(self.durable)
    }

    pub(crate) fn snapshot(&self) -> Option<&Arc<Snapshot>> {
        self.snapshot.as_ref()
    }

    /// Bytes of entries in memory.
    pub(crate) fn entries_bytes(&self) -> usize {
        self.entries_bytes
    }

    /// The members as the newest entry lays them down, and where.
    pub(crate) fn membership(&self) -> (Index, &Membership) {
        let (index, membership) = self.memberships.back().expect("the first is never dropped");
        (*index, membership)
    }

    /// The members as of the entry at `index`, which must be committed.
    pub(crate) fn membership_at(&self, index: Index) -> (Index, Membership) {
        let at = self.memberships.iter().rev().find(|(laid, _)| *laid <= index);
        at.cloned().expect("the first membership is not newer than the snapshot")
    }

    /// The newest members, and while these are not known to be committed, those before: one of the
    /// two is what a majority goes by, because changes are made one at a time.
    pub(crate) fn memberships_open(&self) -> impl Iterator<Item = &Membership> {
        let open = if self.membership().0 > self.committed { 2 } else { 1 };
        self.memberships.iter().rev().take(open).map(|(_, membership)| membership)
    }

    /// The entry's name, if the log still knows it.
    pub(crate) fn id_at(&self, index: Index) -> Option<EntryId> {
        if index == self.base.index {
            return Some(self.base);
        }
        if let Some(snapshot) = &self.snapshot
            && snapshot.meta.last.index == index
        {
            return Some(snapshot.meta.last);
        }
        self.get(index).map(|entry| entry.id)
    }

    pub(crate) fn get(&self, index: Index) -> Option<&Entry> {
        let offset = index.0.checked_sub(self.base.index.0 + 1)?;
        self.entries.get(usize::try_from(offset).ok()?)
    }

    pub(crate) fn has(&self, id: EntryId) -> bool {
        self.id_at(id.index) == Some(id)
    }

    /// Entries from `from` on up to `last`, about `bytes_max` of them, and at least one.
    pub(crate) fn slice(&self, from: Index, last: Index, bytes_max: usize) -> Vec<Entry> {
        let mut taken = Vec::new();
        let mut bytes = 0;
        let mut index = from;
        while index <= last
            && let Some(entry) = self.get(index)
        {
            bytes += entry.bytes();
            if bytes > bytes_max && !taken.is_empty() {
                break;
            }
            taken.push(entry.clone());
            index = index.next();
        }
        taken
    }

    /// The last entry at or below `index` whose term is at most `term`: where two logs may agree
    /// at the latest (paper, section 5.3, end; etcd/raft skips whole terms the same way).
    pub(crate) fn last_of_term(&self, index: Index, term: Term) -> EntryId {
        let mut at = index.min(self.last().index);
        while at > self.base.index {
            match self.id_at(at) {
                Some(id) if id.term <= term => return id,
                _ => at = at.previous(),
            }
        }
        self.base
    }

    /// Adds entries of a leadership of this node.
    pub(crate) fn push(&mut self, entry: Entry) {
        let last = self.last();
        assert!(entry.id.index == last.index.next(), "entry {} behind {last}", entry.id);
        assert!(entry.id.term >= last.term, "terms fall: entry {} behind {last}", entry.id);
        if let Payload::Membership(membership) = &entry.payload
            && entry.id.index > self.memberships[0].0
        {
            self.memberships.push_back((entry.id.index, membership.clone()));
        }
        self.entries_bytes += entry.bytes();
        if entry.id.index > self.committed {
            self.uncommitted_bytes += entry.bytes();
        }
        self.entries.push_back(entry);
    }

    /// Takes a leader's entries behind one that both have; what contradicts them goes. Those that
    /// are new, for the store.
    pub(crate) fn take(&mut self, entries: Vec<Entry>) -> Vec<Entry> {
        let is_known = |entry: &Entry| entry.id.index <= self.base.index || self.has(entry.id);
        let fresh: Vec<Entry> = entries.into_iter().skip_while(is_known).collect();
        let Some(first) = fresh.first() else { return Vec::new() };
        self.cut(first.id.index);
        for entry in &fresh {
            self.push(entry.clone());
        }
        fresh
    }

    /// The bug: where its own entries differ, it keeps them.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn take_keeping(&mut self, entries: Vec<Entry>) -> Vec<Entry> {
        let last = self.last();
        let new = entries.into_iter();
        let new = new.filter(|entry| entry.id.index > last.index && entry.id.term >= last.term);
        let new: Vec<Entry> = new.collect();
        for entry in &new {
            self.push(entry.clone());
        }
        new
    }

    /// The bug: members that a cut takes back stay.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn take_forgetting(&mut self, entries: Vec<Entry>) -> Vec<Entry> {
        let kept = self.memberships.clone();
        let new = self.take(entries);
        if self.memberships.len() < kept.len() {
            self.memberships = kept;
        }
        new
    }

    /// Drops everything from `from` on.
    fn cut(&mut self, from: Index) {
        assert!(from > self.committed, "cutting at {from}, committed to {}", self.committed);
        while self.last().index >= from
            && let Some(entry) = self.entries.pop_back()
        {
            self.entries_bytes -= entry.bytes();
            self.uncommitted_bytes -= entry.bytes();
        }
        let left = self.last();
        self.durable = self.durable.min(left.index);
        // What is cut may come again while these writes are under way: it is then in a later one.
        for (_, last) in &mut self.writes {
            *last = left.min(*last);
        }
        while self.memberships.len() > 1
            && self.memberships.back().is_some_and(|(at, _)| *at >= from)
        {
            self.memberships.pop_back();
        }
    }

    /// The entry before the last few at or below `index`: at most `count` of them, about `bytes`.
    pub(crate) fn tail(&self, index: Index, count: u64, bytes: usize) -> EntryId {
        let (mut at, mut left, mut room) = (index, count, bytes);
        while left > 0
            && let Some(entry) = self.get(at)
            && let Some(rest) = room.checked_sub(entry.bytes())
        {
            (at, left, room) = (at.previous(), left - 1, rest);
        }
        self.id_at(at).expect("a log knows the entry before those it has")
    }

    /// Bytes of entries that are not committed.
    pub(crate) fn uncommitted_bytes(&self) -> usize {
        self.uncommitted_bytes
    }

    /// Moves the commit mark; whether it moved. It never falls.
    pub(crate) fn commit(&mut self, to: Index) -> bool {
        assert!(to <= self.last().index, "committing {to} of {}", self.last());
        let moved = to > self.committed;
        while self.committed < to {
            self.committed = self.committed.next();
            let bytes = self.get(self.committed).map_or(0, Entry::bytes);
            self.uncommitted_bytes -= bytes;
        }
        moved
    }

    /// Notes that a write with everything up to here is under way.
    pub(crate) fn wrote(&mut self, write: WriteId) {
        self.writes.push_back((write, self.last()));
    }

    /// The names of the writes under way.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn writes_mut(&mut self) -> impl Iterator<Item = &mut WriteId> {
        self.writes.iter_mut().map(|(write, _)| write)
    }

    /// Notes that all writes up to `write` are durable.
    pub(crate) fn persisted(&mut self, write: WriteId) {
        while let Some((_, last)) = self.writes.front().copied().filter(|(id, _)| *id <= write) {
            self.writes.pop_front();
            self.durable = self.durable.max(last.index);
        }
    }

    /// A snapshot of this node's own is durable: entries up to `base` go from memory.
    pub(crate) fn compact(&mut self, snapshot: Arc<Snapshot>, base: Index) {
        let last = snapshot.meta.last;
        let newer = self.snapshot.as_ref().is_none_or(|old| old.meta.last < last);
        if !newer {
            return;
        }
        assert!(last.index <= self.committed, "a snapshot of what is not committed");
        while self.memberships.len() > 1 && self.memberships[1].0 <= last.index {
            self.memberships.pop_front();
        }
        self.snapshot = Some(snapshot);
        while self.base.index < base
            && let Some(entry) = self.entries.pop_front()
        {
            self.entries_bytes -= entry.bytes();
            self.base = entry.id;
        }
    }

    /// Begins anew behind a leader's snapshot, which is durable.
    pub(crate) fn install(&mut self, snapshot: Arc<Snapshot>) {
        let last = snapshot.meta.last;
        assert!(last.index > self.committed, "a snapshot of what is committed here");
        self.memberships.clear();
        let membership = snapshot.meta.membership.clone();
        self.memberships.push_back((snapshot.meta.membership_index, membership));
        self.entries.clear();
        (self.entries_bytes, self.uncommitted_bytes) = (0, 0);
        self.base = last;
        self.committed = last.index;
        self.durable = last.index;
        // What they wrote is gone, also if it comes again.
        for (_, written) in &mut self.writes {
            *written = last;
        }
        self.snapshot = Some(snapshot);
    }

    /// The marks in their order.
    pub(crate) fn check(&self) {
        let (base, last) = (self.base.index, self.last().index);
        assert!(base <= self.committed, "{base} > {}", self.committed);
        assert!(self.committed <= last, "committed {} of {last}", self.committed);
        assert!(self.durable <= last, "durable {} of {last}", self.durable);
        if let Some(snapshot) = &self.snapshot {
            assert!(snapshot.meta.last.index >= base, "entries behind the snapshot are missing");
            assert!(snapshot.meta.last.index <= self.committed, "an uncommitted snapshot");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(term: u64, index: u64) -> Entry {
        Entry { id: EntryId::new(Term(term), Index(index)), payload: Payload::TermStart }
    }

    /// Promise: what was taken back and came again is durable when its new write is, not its old one:
    /// between the two the store holds something else there.
    #[test]
    fn durable_follows_the_newest_write() {
        let mut log = Log::recovered(None, EntryId::ZERO, vec![entry(1, 1)]);
        log.take(vec![entry(1, 2), entry(1, 3)]);
        log.wrote(WriteId(1));
        log.take(vec![entry(2, 2)]);
        log.wrote(WriteId(2));
        log.take(vec![entry(1, 2), entry(1, 3)]);
        log.wrote(WriteId(3));
        log.persisted(WriteId(1));
        assert_eq!(log.durable(), Index(1));
        log.persisted(WriteId(2));
        assert_eq!(log.durable(), Index(1));
        log.persisted(WriteId(3));
        assert_eq!(log.durable(), Index(3));
    }
}
