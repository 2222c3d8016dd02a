//! The one log that everybody must agree on: what any node calls committed.

use std::collections::BTreeMap;

use resprout_consensus::machine::Outcome;
use resprout_consensus::{Entry, EntryId, Index, Membership, Payload, Term};

use super::history::History;
use crate::raft::image::{Image, entry_digest};
use crate::raft::machine::Machine;
use crate::{Violation, hold};

/// Entries that were committed, and what a state machine makes of them.
#[derive(Debug)]
pub struct Committed {
    entries: Vec<Entry>,
    /// The term of the leader that found each committed.
    by: Vec<Term>,
    /// The machine's digest behind each entry.
    digests: Vec<u64>,
    machine: Machine,
    /// Of each run of a node, the commit mark.
    marks: BTreeMap<(u64, u64), Index>,
    /// Of each run of a node, the last entry applied.
    applied: BTreeMap<(u64, u64), Index>,
}

impl Committed {
    /// Nothing; machines remember so many proposals.
    #[must_use]
    pub fn new(window: usize) -> Self {
        Self {
            entries: Vec::new(),
            by: Vec::new(),
            digests: Vec::new(),
            machine: Machine::new(window),
            marks: BTreeMap::new(),
            applied: BTreeMap::new(),
        }
    }

    /// The last one.
    #[must_use]
    pub fn last(&self) -> EntryId {
        self.entries.last().map_or(EntryId::ZERO, |entry| entry.id)
    }

    /// The machine that applied all of it.
    #[must_use]
    pub fn machine(&self) -> &Machine {
        &self.machine
    }

    /// The entry at an index.
    #[must_use]
    pub fn entry(&self, index: Index) -> Option<&Entry> {
        self.entries.get(usize::try_from(index.0.checked_sub(1)?).ok()?)
    }

    /// The members that it lays down last.
    #[must_use]
    pub fn membership(&self) -> Option<&Membership> {
        self.entries.iter().rev().find_map(|entry| match &entry.payload {
            Payload::Membership(membership) => Some(membership),
            _ => None,
        })
    }

    /// A run of a node calls everything up to `mark` committed, and has written `log`. Whether that
    /// is more than anybody has.
    ///
    /// # Errors
    /// [`Violation`] if another entry was committed at one of these places.
    pub fn marked(
        &mut self,
        run: (u64, u64),
        (mark, log, term): (Index, &Image, Term),
        history: &mut History,
    ) -> Result<bool, Violation> {
        let before = self.marks.insert(run, mark).unwrap_or_default();
        hold(before <= mark, "a commit mark never falls", || format!("{before} to {mark}"))?;
        let mut news = false;
        let mut index = before;
        while index < mark {
            index = index.next();
            let Some(id) = log.id_at(index) else { continue };
            if let Some(known) = self.entry(index) {
                let same = known.id == id && log.entry(index).is_none_or(|entry| entry == known);
                hold(same, "what is committed never changes", || {
                    format!("{} was committed, n{} has {id}", known.id, run.0)
                })?;
            } else {
                let entry = log.entry(index).cloned();
                let Some(entry) = entry.filter(|_| index == self.last().index.next()) else {
                    let seen = format!("{id} behind {}", self.last());
                    return Err(Violation::new(
                        "what is committed was committed by somebody",
                        seen,
                    ));
                };
                self.push(entry, history)?;
                self.by.push(term);
                news = true;
            }
        }
        Ok(news)
    }

    fn push(&mut self, entry: Entry, history: &mut History) -> Result<(), Violation> {
        let outcome = self.machine.apply(&entry);
        if let Some(Outcome { id, applied: Ok(applied) }) = outcome
            && applied.index == entry.id.index
        {
            history.place(id, entry.id.index)?;
        }
        self.digests.push(self.machine.digest());
        self.entries.push(entry);
        Ok(())
    }

    /// Whether the log of a leader of this term, with the state before it, has everything that was
    /// committed in earlier terms. An election may be won so late that later terms have begun.
    #[must_use]
    pub fn is_complete(&self, term: Term, log: &Image) -> bool {
        let last = self.by.iter().rposition(|by| *by < term);
        last.is_none_or(|last| log.has(self.entries[last].id))
    }

    /// A run of a node applies an entry to the machine, or begins with a state.
    ///
    /// # Errors
    /// [`Violation`] if one was skipped or came twice, or if the state differs from that of others.
    pub fn applied(
        &mut self,
        run: (u64, u64),
        machine: &Machine,
        entry: Option<&Entry>,
    ) -> Result<(), Violation> {
        let index = machine.applied().index;
        let before = self.applied.insert(run, index).unwrap_or_default();
        if let Some(entry) = entry {
            hold(index == before.next(), "every entry is applied once, in order", || {
                format!("n{}: {} behind {before}", run.0, entry.id)
            })?;
            let known = self.entry(index);
            hold(known == Some(entry), "what is applied was committed", || {
                let known = known.map(|known| (known.id, entry_digest(known)));
                format!("n{} applied {} where {known:?} was committed", run.0, entry.id)
            })?;
        }
        let position = usize::try_from(index.0.max(1) - 1).unwrap_or(usize::MAX);
        let expected = self.digests.get(position).copied();
        let same = index == Index(0) || expected == Some(machine.digest());
        hold(same, "states of one index are equal", || format!("n{} at {index}", run.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use resprout_consensus::{Content, Write, WriteId};

    fn entry(term: u64, index: u64) -> Entry {
        Entry { id: EntryId::new(Term(term), Index(index)), payload: Payload::TermStart }
    }

    fn log(entries: &[Entry]) -> Image {
        let mut log = Image::default();
        log.take(&Write { id: WriteId(1), content: Content::Entries(entries.to_vec()) });
        log
    }

    /// Promise: this checker sees a committed entry that changed, a mark that falls, and a log without
    /// a committed entry.
    #[test]
    fn changed_commitments_are_seen() {
        let (mut committed, mut history) = (Committed::new(10), History::default());
        let one = log(&[entry(1, 1), entry(1, 2)]);
        assert_eq!(committed.marked((1, 1), (Index(2), &one, Term(1)), &mut history), Ok(true));
        let two = log(&[entry(1, 1), entry(2, 2)]);
        assert_eq!(committed.marked((2, 1), (Index(1), &two, Term(1)), &mut history), Ok(false));
        assert!(!committed.is_complete(Term(2), &two) && committed.is_complete(Term(2), &one));
        assert!(committed.is_complete(Term(1), &two));
        assert!(committed.marked((2, 1), (Index(2), &two, Term(1)), &mut history).is_err());
        assert!(committed.marked((1, 1), (Index(1), &one, Term(1)), &mut history).is_err());
    }

    /// Promise: this checker sees an entry applied twice, skipped, or before it was committed.
    #[test]
    fn m12_wrong_applications_are_seen() {
        let (mut committed, mut history) = (Committed::new(10), History::default());
        let one = log(&[entry(1, 1), entry(1, 2)]);
        committed.marked((1, 1), (Index(2), &one, Term(1)), &mut history).unwrap();
        let mut machine = Machine::new(10);
        machine.apply(&entry(1, 1));
        assert_eq!(committed.applied((1, 1), &machine, Some(&entry(1, 1))), Ok(()));
        assert!(committed.applied((1, 1), &machine, Some(&entry(1, 1))).is_err());
        machine.apply(&entry(1, 2));
        assert!(committed.applied((2, 1), &machine, Some(&entry(1, 2))).is_err());
        assert_eq!(committed.applied((1, 1), &machine, Some(&entry(1, 2))), Ok(()));
        machine.apply(&entry(1, 3));
        assert!(committed.applied((1, 1), &machine, Some(&entry(1, 3))).is_err());
    }
}
