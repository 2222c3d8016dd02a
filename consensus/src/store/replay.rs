//! From the records of the log to what the store holds.
//!
//! A log whose front was given up begins anywhere: with a part of the entries, or with a snapshot's
//! record whose entries are gone. What it says is *whole* from the first record of a snapshot on
//! that finds all it needs. The one that counts always does, since the front is given up only as
//! far as that one allows.
//!
//! ```text
//!   given up │ entries 20–25   snapshot 15, needs 11–25   entries 26–31   snapshot 30, needs 26–31
//!            │ not whole       still not                                  whole
//! ```

use std::collections::VecDeque;

use resprout_wal::Lsn;

use super::marks::Marks;
use super::record::{Checkpoint, Record, follows};
use crate::{Ballot, Entry, EntryId, Index, Term};

/// A record that cannot stand behind those before it, or a log that cannot end as it does.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Contradiction {
    /// Starts of the process are counted up.
    #[error("start {found} behind start {before}")]
    Boot {
        /// Known.
        before: u64,
        /// Stored behind it.
        found: u64,
    },
    /// Terms never fall, and a vote is given once.
    #[error("term and vote {found:?} behind {before:?}")]
    Ballot {
        /// Known.
        before: Ballot,
        /// Stored behind it.
        found: Ballot,
    },
    /// Entries that do not follow those that are there.
    #[error("entry {found} behind {before}")]
    Entry {
        /// The entry that it would follow.
        before: EntryId,
        /// Stored behind it.
        found: EntryId,
    },
    /// What is in a snapshot is committed and stays.
    #[error("entry {found} would replace what the snapshot of {snapshot} holds")]
    TakesBack {
        /// The last entry in the snapshot.
        snapshot: EntryId,
        /// Stored behind it.
        found: EntryId,
    },
    /// A snapshot of something else.
    #[error(
        "a snapshot of {last} with the log from {base} to {end}, where the log is from {from} to {to}"
    )]
    Snapshot {
        /// The last entry in it.
        last: EntryId,
        /// Before the first entry that it needs.
        base: EntryId,
        /// The last entry that it needs.
        end: EntryId,
        /// Before the first entry that is there.
        from: EntryId,
        /// The last entry that is there.
        to: EntryId,
    },
    /// The front was given up, and nothing says that it may be missing.
    #[error("the front of the log is missing, and no snapshot stands for it")]
    NotWhole,
    /// Terms are known before entries of them are written.
    #[error("entry {last} of a term later than {term}, the newest known")]
    Term {
        /// The last entry.
        last: EntryId,
        /// The newest term known.
        term: Term,
    },
}

/// What the records so far say.
#[derive(Debug)]
pub(super) struct Replay {
    /// Starts of the process; 0 while the making of the store has not ended.
    pub(super) boot: u64,
    pub(super) ballot: Ballot,
    /// The newest snapshot, and where its record lies.
    pub(super) checkpoint: Option<(Checkpoint, Lsn)>,
    /// The entry before the first; its term is not known while the log is not whole.
    pub(super) base: EntryId,
    pub(super) entries: VecDeque<Entry>,
    pub(super) marks: Marks,
    /// Nothing that is needed is missing.
    whole: bool,
}

impl Replay {
    /// Of a log whose front is there, or was given up.
    pub(super) fn new(whole: bool) -> Self {
        Self {
            boot: 0,
            ballot: Ballot::default(),
            checkpoint: None,
            base: EntryId::ZERO,
            entries: VecDeque::new(),
            marks: Marks::default(),
            whole,
        }
    }

    /// The last entry.
    pub(super) fn last(&self) -> EntryId {
        self.entries.back().map_or(self.base, |entry| entry.id)
    }

    /// Takes the next record, which lies in the group at `lsn`.
    pub(super) fn apply(&mut self, record: Record, lsn: Lsn) -> Result<(), Contradiction> {
        match record {
            Record::Boot(number) => self.count(number),
            Record::Vote(ballot) => self.vote(ballot),
            Record::Entries(entries) => self.extend(entries, lsn),
            Record::Snapshot(checkpoint) => self.snapshot(checkpoint, lsn),
        }
    }

    /// Checks the end of the log.
    pub(super) fn finish(&self) -> Result<(), Contradiction> {
        if !self.whole {
            return Err(Contradiction::NotWhole);
        }
        let (last, term) = (self.last(), self.ballot.term);
        if last.term > term {
            return Err(Contradiction::Term { last, term });
        }
        Ok(())
    }

    fn count(&mut self, found: u64) -> Result<(), Contradiction> {
        let before = self.boot;
        if found <= before {
            return Err(Contradiction::Boot { before, found });
        }
        self.boot = found;
        Ok(())
    }

    fn vote(&mut self, found: Ballot) -> Result<(), Contradiction> {
        let before = self.ballot;
        let again = found.term == before.term && before.vote.is_some() && found.vote != before.vote;
        if found.term < before.term || again {
            return Err(Contradiction::Ballot { before, found });
        }
        self.ballot = found;
        Ok(())
    }

    fn extend(&mut self, entries: Vec<Entry>, lsn: Lsn) -> Result<(), Contradiction> {
        let Some(found) = entries.first().map(|entry| entry.id) else { return Ok(()) };
        let begins_here = self.entries.is_empty() || found.index <= self.base.index;
        if !self.whole && begins_here {
            self.entries.clear();
            self.base = EntryId::new(Term(0), found.index.previous());
        }
        if let Some((Checkpoint { last: snapshot, .. }, _)) = self.checkpoint
            && self.whole
            && found.index <= snapshot.index
        {
            return Err(Contradiction::TakesBack { snapshot, found });
        }
        let kept = found.index.0.checked_sub(self.base.index.0 + 1);
        let kept = kept.and_then(|kept| usize::try_from(kept).ok());
        let before = match kept {
            Some(0) => self.base,
            Some(kept) if kept <= self.entries.len() => self.entries[kept - 1].id,
            _ => return Err(Contradiction::Entry { before: self.last(), found }),
        };
        if !follows(before, found) {
            return Err(Contradiction::Entry { before, found });
        }
        self.entries.truncate(kept.unwrap_or_default());
        self.entries.extend(entries);
        self.marks.put(found.index, lsn);
        Ok(())
    }

    fn snapshot(&mut self, checkpoint: Checkpoint, lsn: Lsn) -> Result<(), Contradiction> {
        let Checkpoint { last, base, end, installed, boot, ballot } = checkpoint;
        if boot < self.boot {
            return Err(Contradiction::Boot { before: self.boot, found: boot });
        }
        self.boot = boot;
        self.vote(ballot)?;
        let needs_none = base == end;
        if installed || (needs_none && !self.whole) {
            self.entries.clear();
            self.marks.clear();
            (self.base, self.whole) = (base, true);
        } else if self.has(base, end) && self.has_or_needs_not(last) {
            let given_up = (base.index.0 - self.base.index.0) as usize;
            self.entries.drain(..given_up);
            if needs_none {
                self.marks.clear();
            }
            self.marks.forget_before(base.index.next());
            (self.base, self.whole) = (base, true);
        } else if self.whole {
            let (from, to) = (self.base, self.last());
            return Err(Contradiction::Snapshot { last, base, end, from, to });
        }
        self.checkpoint = Some((checkpoint, lsn));
        Ok(())
    }

    /// Whether the entries behind `base` up to `end` are there, and no others behind.
    fn has(&self, base: EntryId, end: EntryId) -> bool {
        let has_base = match self.id_at(base.index) {
            Some(id) => id == base,
            None => base.index == self.base.index && !self.whole,
        };
        has_base && self.last() == end
    }

    fn has_or_needs_not(&self, last: EntryId) -> bool {
        self.id_at(last.index).is_none_or(|id| id == last)
    }

    /// The entry's name, if it is known.
    pub(super) fn id_at(&self, index: Index) -> Option<EntryId> {
        if index == self.base.index {
            return self.whole.then_some(self.base);
        }
        let offset = index.0.checked_sub(self.base.index.0 + 1)?;
        self.entries.get(usize::try_from(offset).ok()?).map(|entry| entry.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Payload;

    fn id(term: u64, index: u64) -> EntryId {
        EntryId::new(Term(term), Index(index))
    }

    fn entries(term: u64, indexes: std::ops::RangeInclusive<u64>) -> Record {
        let entry = |index| Entry { id: id(term, index), payload: Payload::TermStart };
        Record::Entries(indexes.map(entry).collect())
    }

    fn checkpoint(last: EntryId, base: EntryId, end: EntryId) -> Checkpoint {
        let ballot = Ballot { term: Term(9), vote: None };
        Checkpoint { last, base, end, installed: false, boot: 1, ballot }
    }

    fn replayed(whole: bool, records: Vec<Record>) -> Result<Replay, Contradiction> {
        let mut replay = Replay::new(whole);
        for (n, record) in (0..).zip(records) {
            replay.apply(record, Lsn(n * 4096))?;
        }
        replay.finish().map(|()| replay)
    }

    fn range(replay: &Replay) -> (EntryId, EntryId) {
        (replay.base, replay.last())
    }

    fn ballot(term: u64) -> Record {
        Record::Vote(Ballot { term: Term(term), vote: None })
    }

    /// Promise: entries take back what was at and behind their first.
    #[test]
    fn what_was_taken_back_does_not_return() {
        let records = vec![ballot(3), entries(1, 1..=9), entries(2, 4..=5), entries(3, 6..=6)];
        let replay = replayed(true, records).unwrap();
        let terms: Vec<u64> = replay.entries.iter().map(|entry| entry.id.term.0).collect();
        assert_eq!(terms, [1, 1, 1, 2, 2, 3]);
    }

    /// Promise (M17): a log whose front was given up is whole again from the snapshot on that
    /// counts, and from no earlier one.
    #[test]
    fn m17_a_log_without_its_front_is_whole_behind_its_snapshot() {
        let old = checkpoint(id(2, 15), id(2, 10), id(2, 25));
        let newest = checkpoint(id(2, 30), id(2, 25), id(2, 31));
        let mut records = vec![
            entries(2, 20..=27),
            entries(2, 22..=25),
            Record::Snapshot(old),
            entries(2, 26..=31),
        ];
        let missing = replayed(false, records.clone()).unwrap_err();
        assert_eq!(missing, Contradiction::NotWhole);
        records.push(Record::Snapshot(newest));
        let replay = replayed(false, records).unwrap();
        assert_eq!(range(&replay), (id(2, 25), id(2, 31)));
        assert_eq!(replay.marks.position(Index(26)), Some(Lsn(3 * 4096)));
    }

    /// Promise: a snapshot that needs no entries stands alone; one that needs some does not.
    #[test]
    fn a_snapshot_says_what_it_needs() {
        let alone = checkpoint(id(2, 30), id(2, 30), id(2, 30));
        let replay = replayed(false, vec![Record::Snapshot(alone)]).unwrap();
        assert_eq!(range(&replay), (id(2, 30), id(2, 30)));
        let needs = checkpoint(id(2, 30), id(2, 30), id(2, 31));
        let missing = replayed(false, vec![Record::Snapshot(needs)]).unwrap_err();
        assert_eq!(missing, Contradiction::NotWhole);
    }

    /// Promise (M08): an installed snapshot stands for the whole log; entries go on behind it.
    #[test]
    fn m08_an_installed_snapshot_begins_the_log_anew() {
        let point = id(7, 50);
        let installed = Checkpoint { installed: true, ..checkpoint(point, point, point) };
        let records =
            vec![ballot(3), entries(3, 1..=60), Record::Snapshot(installed), entries(8, 51..=52)];
        let replay = replayed(true, records).unwrap();
        assert_eq!(range(&replay), (point, id(8, 52)));
        assert_eq!(replay.ballot.term, Term(9));
    }

    /// Promise: a record that does not fit those before it is told, whatever it is.
    #[test]
    fn contradictions_are_told() {
        let vote = |node| {
            let vote = Some(crate::NodeId(node));
            Record::Vote(Ballot { term: Term(9), vote })
        };
        let snapshot = checkpoint(id(1, 3), id(1, 2), id(1, 5));
        let of_another = checkpoint(id(2, 3), id(1, 2), id(1, 5));
        let wrong = [
            vec![ballot(2), ballot(1)],
            vec![vote(1), vote(2)],
            vec![Record::Boot(2), Record::Boot(2)],
            vec![entries(1, 2..=3)],
            vec![ballot(9), entries(1, 1..=3), entries(1, 5..=5)],
            vec![ballot(9), entries(2, 1..=3), entries(1, 4..=5)],
            vec![entries(1, 1..=5), Record::Snapshot(of_another)],
            vec![entries(1, 1..=4), Record::Snapshot(snapshot)],
            vec![entries(1, 1..=5), Record::Snapshot(snapshot), entries(9, 3..=6)],
            vec![ballot(1), entries(2, 1..=1)],
        ];
        for (n, records) in wrong.into_iter().enumerate() {
            assert!(replayed(true, records).is_err(), "number {n}");
        }
    }
}
