//! A store in memory that does what [`Content`] says, and nothing more: what a store on a medium is
//! held to.

use std::collections::VecDeque;
use std::sync::Arc;

use resprout_consensus::{Ballot, Content, Entry, EntryId, Recovered, Snapshot, Write, WriteId};

/// What is on the medium, and what is on its way there.
#[derive(Clone, Debug, Default)]
pub(crate) struct Store {
    pub(crate) ballot: Ballot,
    pub(crate) snapshot: Option<Arc<Snapshot>>,
    pub(crate) base: EntryId,
    pub(crate) entries: Vec<Entry>,
    pub(crate) boot: u64,
    pending: VecDeque<Write>,
}

impl Store {
    /// As it is recovered, with nothing under way.
    pub(crate) fn of(recovered: Recovered) -> Self {
        let Recovered { ballot, snapshot, base, entries, boot } = recovered;
        Self { ballot, snapshot, base, entries, boot, pending: VecDeque::new() }
    }

    /// Another start of the process: what was under way is lost.
    pub(crate) fn recover(&mut self) -> Recovered {
        self.pending.clear();
        self.boot += 1;
        let Self { ballot, snapshot, base, entries, boot, .. } = self.clone();
        Recovered { ballot, snapshot, base, entries, boot }
    }

    pub(crate) fn write(&mut self, writes: Vec<Write>) {
        self.pending.extend(writes);
    }

    /// Makes at most so many writes durable. The last of them.
    pub(crate) fn persist(&mut self, count: usize) -> Option<WriteId> {
        let count = count.min(self.pending.len());
        let done: Vec<Write> = self.pending.drain(..count).collect();
        let last = done.last().map(|write| write.id);
        for write in done {
            self.take(write.content);
        }
        last
    }

    fn take(&mut self, content: Content) {
        match content {
            Content::Vote(ballot) => self.ballot = ballot,
            Content::Entries(entries) => {
                let first = entries.first().expect("a write of no entries").id.index;
                self.entries.retain(|entry| entry.id.index < first);
                let last = self.entries.last().map_or(self.base, |entry| entry.id);
                assert_eq!(first, last.index.next(), "a gap in the store");
                self.entries.extend(entries);
            }
            Content::Snapshot { snapshot, base, installed } => {
                let keep = |entry: &Entry| !installed && entry.id.index > base.index;
                self.entries.retain(keep);
                self.base = base;
                self.snapshot = Some(snapshot);
            }
        }
    }
}
