//! What a store should hold, and writes as a member of a cluster would hand them in.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use resprout_consensus::{
    Ballot, Content, Entry, EntryId, Index, Member, Membership, NodeId, Payload, Proposal,
    ProposalId, Recovered, Snapshot, StoreId, Term, Vote, Write, WriteId,
};
use resprout_wal::world::Rng;

/// The obvious store.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Model {
    pub(crate) ballot: Ballot,
    pub(crate) snapshot: Option<Arc<Snapshot>>,
    pub(crate) base: EntryId,
    pub(crate) entries: Vec<Entry>,
}

impl Model {
    pub(crate) fn of(recovered: &Recovered) -> Self {
        Self {
            ballot: recovered.ballot,
            snapshot: recovered.snapshot.clone(),
            base: recovered.base,
            entries: recovered.entries.clone(),
        }
    }

    pub(crate) fn last(&self) -> EntryId {
        self.entries.last().map_or(self.base, |entry| entry.id)
    }

    fn id_at(&self, index: u64) -> EntryId {
        match index - self.base.index.0 {
            0 => self.base,
            offset => self.entries[offset as usize - 1].id,
        }
    }

    pub(crate) fn take(&mut self, content: &Content) {
        match content {
            Content::Vote(ballot) => self.ballot = *ballot,
            Content::Entries(entries) => {
                let first = entries[0].id.index;
                self.entries.retain(|entry| entry.id.index < first);
                self.entries.extend(entries.iter().cloned());
            }
            Content::Snapshot { snapshot, base, installed } => {
                self.snapshot = Some(snapshot.clone());
                self.base = *base;
                self.entries.retain(|entry| entry.id.index > base.index && !installed);
            }
        }
    }
}

pub(crate) fn membership() -> Membership {
    let member = Member { store: StoreId(7), address: "h:1".to_owned(), vote: Vote::Voter };
    Membership { members: BTreeMap::from([(NodeId(1), member)]) }
}

/// An entry whose content follows from its name.
pub(crate) fn entry(term: u64, index: u64, len: usize) -> Entry {
    let id = EntryId::new(Term(term), Index(index));
    let payload = match index % 7 {
        1 => Payload::Membership(membership()),
        2 => Payload::TermStart,
        _ => {
            let id = ProposalId(u128::from(index) << 64 | u128::from(term));
            Payload::Command(Proposal { id, since: Index(0), command: text(term ^ index, len) })
        }
    };
    Entry { id, payload }
}

pub(crate) fn text(seed: u64, len: usize) -> Bytes {
    let mut rng = Rng::new(seed);
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        bytes.extend_from_slice(&rng.next().to_le_bytes());
    }
    bytes.truncate(len);
    Bytes::from(bytes)
}

pub(crate) fn snapshot(last: EntryId, len: usize) -> Arc<Snapshot> {
    let state = text(last.index.0 << 20 | last.term.0, len);
    Arc::new(Snapshot::new(last, (Index(0), membership()), state))
}

/// A member that gets what members get, at random: votes, entries, entries that replace others,
/// snapshots of its own and of a leader.
pub(crate) struct Life {
    pub(crate) rng: Rng,
    pub(crate) now: Model,
    /// What may not be taken back any more.
    committed: u64,
    next: u64,
    /// The state after each write of this run, with its id; the first is the state before.
    pub(crate) states: Vec<(WriteId, Model)>,
}

impl Life {
    pub(crate) fn new(seed: u64, now: Model) -> Self {
        let committed = now.snapshot.as_ref().map_or(0, |snapshot| snapshot.meta.last.index.0);
        let states = vec![(WriteId(0), now.clone())];
        Self { rng: Rng::new(seed), now, committed, next: 1, states }
    }

    /// The next batch of writes.
    pub(crate) fn batch(&mut self) -> Vec<Write> {
        let mut contents = Vec::new();
        match self.rng.below(10) {
            0 | 1 => contents.push(self.vote()),
            2 => {
                contents.push(self.vote());
                contents.push(self.replace());
            }
            3 => contents.extend(self.own_snapshot()),
            4 if self.rng.chance(1, 2) => contents.push(self.installed()),
            _ => contents.push(self.entries()),
        }
        if contents.is_empty() {
            contents.push(self.entries());
        }
        contents.into_iter().map(|content| self.number(content)).collect()
    }

    fn number(&mut self, content: Content) -> Write {
        let id = WriteId(self.next);
        self.next += 1;
        // What was made in one batch was made from states that already had what came before.
        let mut before = self.states.last().expect("the first").1.clone();
        before.take(&content);
        self.states.push((id, before));
        Write { id, content }
    }

    fn did(&mut self, content: Content) -> Content {
        self.now.take(&content);
        content
    }

    fn vote(&mut self) -> Content {
        let term = Term(self.now.ballot.term.0 + 1);
        let vote = self.rng.chance(1, 2).then_some(NodeId(self.rng.below(3)));
        self.did(Content::Vote(Ballot { term, vote }))
    }

    fn some(&mut self, first: u64) -> Content {
        let term = self.now.ballot.term.0;
        let count = 1 + self.rng.below(4);
        let len = [30, 200, 5000, 17_000][self.rng.below(4) as usize];
        let entries = (first..first + count).map(|index| entry(term, index, len)).collect();
        self.did(Content::Entries(entries))
    }

    fn entries(&mut self) -> Content {
        let first = self.now.last().index.0 + 1;
        self.some(first)
    }

    fn replace(&mut self) -> Content {
        let last = self.now.last().index.0;
        let first = self.committed + 1 + self.rng.below(last - self.committed + 1);
        self.some(first)
    }

    fn own_snapshot(&mut self) -> Option<Content> {
        let last = self.now.last().index.0;
        let from = self.now.base.index.0.max(self.committed);
        if last == from {
            return None;
        }
        let at = from + 1 + self.rng.below(last - from);
        self.committed = at;
        let kept = self.rng.below(6);
        let base = at.saturating_sub(kept).max(self.now.base.index.0);
        let (last, base) = (self.now.id_at(at), self.now.id_at(base));
        let snapshot = snapshot(last, 1 + self.rng.below(9000) as usize);
        Some(self.did(Content::Snapshot { snapshot, base, installed: false }))
    }

    fn installed(&mut self) -> Content {
        let index = Index(self.now.last().index.0 + self.rng.below(9) + 1);
        let last = EntryId::new(self.now.ballot.term, index);
        self.committed = index.0;
        let snapshot = snapshot(last, self.rng.below(9000) as usize);
        self.did(Content::Snapshot { snapshot, base: last, installed: true })
    }
}
