//! What a store holds, as a value: the obvious version that everything else is compared with.

use std::collections::VecDeque;
use std::sync::Arc;

use resprout_consensus::{
    Ballot, Content, Entry, EntryId, Index, Membership, Payload, Recovered, Snapshot, Write,
};

use crate::trace::Digest;

/// Term and vote, state, and log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Image {
    /// Term and vote.
    pub ballot: Ballot,
    /// The newest state.
    pub snapshot: Option<Arc<Snapshot>>,
    /// The entry before the first of `entries`.
    pub base: EntryId,
    /// The log.
    pub entries: VecDeque<Entry>,
}

impl Image {
    /// Of what a store gave back.
    #[must_use]
    pub fn of(recovered: &Recovered) -> Self {
        let Recovered { ballot, snapshot, base, entries, .. } = recovered.clone();
        Self { ballot, snapshot, base, entries: entries.into() }
    }

    /// As a store gives it back.
    #[must_use]
    pub fn recovered(&self, boot: u64) -> Recovered {
        let Self { ballot, snapshot, base, entries } = self.clone();
        Recovered { ballot, snapshot, base, entries: entries.into(), boot }
    }

    /// Takes one write, as the contract of [`Content`] says.
    ///
    /// # Panics
    /// If the write leaves a gap: no core may ask for that.
    pub fn take(&mut self, write: &Write) {
        match &write.content {
            Content::Vote(ballot) => self.ballot = *ballot,
            Content::Entries(entries) => self.take_entries(entries),
            Content::Snapshot { snapshot, base, installed } => {
                self.snapshot = Some(snapshot.clone());
                if *installed {
                    self.entries.clear();
                }
                while self.entries.front().is_some_and(|entry| entry.id.index <= base.index) {
                    self.entries.pop_front();
                }
                self.base = *base;
            }
        }
    }

    fn take_entries(&mut self, entries: &[Entry]) {
        let Some(first) = entries.first() else { return };
        assert!(first.id.index > self.base.index, "{} at or before {}", first.id, self.base);
        while self.entries.back().is_some_and(|entry| entry.id.index >= first.id.index) {
            self.entries.pop_back();
        }
        for entry in entries {
            let last = self.last();
            assert!(entry.id.index == last.index.next(), "{} written behind {last}", entry.id);
            self.entries.push_back(entry.clone());
        }
    }

    /// The last entry.
    #[must_use]
    pub fn last(&self) -> EntryId {
        self.entries.back().map_or(self.base, |entry| entry.id)
    }

    /// The entry at an index, if it is in the log.
    #[must_use]
    pub fn entry(&self, index: Index) -> Option<&Entry> {
        let offset = index.0.checked_sub(self.base.index.0 + 1)?;
        self.entries.get(usize::try_from(offset).ok()?)
    }

    /// The name of the entry at an index, if it is known.
    #[must_use]
    pub fn id_at(&self, index: Index) -> Option<EntryId> {
        if index == self.base.index {
            return Some(self.base);
        }
        self.entry(index).map(|entry| entry.id)
    }

    /// Whether the entry is in the log or in the state.
    #[must_use]
    pub fn has(&self, id: EntryId) -> bool {
        let in_state = self.snapshot.as_ref().is_some_and(|one| one.meta.last.index >= id.index);
        match self.id_at(id.index) {
            Some(found) => found == id,
            None => in_state && id.index < self.base.index,
        }
    }

    /// The members that the log or the state lays down last, and where.
    #[must_use]
    pub fn membership(&self) -> (Index, Membership) {
        let laid = self.entries.iter().rev().find_map(|entry| match &entry.payload {
            Payload::Membership(membership) => Some((entry.id.index, membership.clone())),
            _ => None,
        });
        laid.unwrap_or_else(|| {
            self.snapshot.as_ref().map_or_else(Default::default, |snapshot| {
                (snapshot.meta.membership_index, snapshot.meta.membership.clone())
            })
        })
    }
}

/// A number that names what an entry says.
#[must_use]
pub fn entry_digest(entry: &Entry) -> u64 {
    let mut digest = Digest::default();
    digest.add(entry.id.term.0);
    digest.add(entry.id.index.0);
    match &entry.payload {
        Payload::TermStart => digest.add(1),
        Payload::Command(proposal) => {
            digest.add_bytes(&proposal.id.0.to_le_bytes());
            digest.add_bytes(&proposal.command);
        }
        Payload::Membership(membership) => {
            for (node, member) in &membership.members {
                digest.add(node.0);
                digest.add(member.store.0);
                digest.add(2 + u64::from(membership.is_voter(*node)));
            }
        }
    }
    digest.value()
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use resprout_consensus::{Term, WriteId};

    fn entry(term: u64, index: u64) -> Entry {
        Entry { id: EntryId::new(Term(term), Index(index)), payload: Payload::TermStart }
    }

    fn write(content: Content) -> Write {
        Write { id: WriteId(1), content }
    }

    /// Promise: entries replace what is at or behind them, and a state takes the log before it away.
    #[test]
    fn an_image_takes_writes() {
        let mut image = Image::default();
        image.take(&write(Content::Entries(vec![entry(1, 1), entry(1, 2), entry(1, 3)])));
        image.take(&write(Content::Entries(vec![entry(2, 3)])));
        assert_eq!(image.last(), entry(2, 3).id);
        assert!(image.has(entry(2, 3).id) && !image.has(entry(1, 3).id));
        let at = |id| Arc::new(Snapshot::new(id, Default::default(), Bytes::new()));
        let (snapshot, base) = (at(entry(1, 2).id), entry(1, 1).id);
        image.take(&write(Content::Snapshot { snapshot, base, installed: false }));
        assert_eq!((image.base, image.entries.len()), (base, 2));
        let (snapshot, base) = (at(entry(3, 9).id), entry(3, 9).id);
        image.take(&write(Content::Snapshot { snapshot, base, installed: true }));
        assert_eq!((image.last(), image.entries.len()), (base, 0));
        assert!(image.has(entry(2, 4).id));
    }
}
