//! A partition's record as its copies go by it, and back: there the copies are named by their numbers only.

use resprout_replication::{CopyRecord, CopyState, Decided, Mode, Record};
use resprout_wal::Term;
use thiserror::Error;

use crate::{Copy, Following, Instance, LeafId, Partition, Stamp};

/// A record that is not of this partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum RecordError {
    /// It names a copy that is on no leaf.
    #[error("copy {0} is on no leaf")]
    NoLeaf(Instance),
    /// It leaves a copy out.
    #[error("copy {0} is missing")]
    Missing(Instance),
}

impl Partition {
    /// The record for its copies, in a database whose commits are acknowledged so.
    #[must_use]
    pub fn record(&self, mode: Mode) -> Record {
        let copies = self.copies.iter().map(|(leaf, copy)| {
            let state = copy.state(self.master == Some(*leaf));
            (copy.instance, CopyRecord { state, incarnation: copy.incarnation })
        });
        let master = self.master.and_then(|leaf| self.copies.get(&leaf));
        Record {
            term: self.term,
            cfg: self.cfg,
            master: master.map(|copy| copy.instance),
            copies: copies.collect(),
            mode: Some(mode),
        }
    }

    /// The record with the decision behind it.
    #[must_use]
    pub fn decided(&self, mode: Mode) -> Decided {
        Decided { stamp: self.stamp, record: self.record(mode) }
    }

    /// Takes what a record says; it says so of the same copies. Its mode is the database's.
    ///
    /// # Errors
    /// [`RecordError`] if its copies are others; nothing has changed then.
    pub fn take_record(&mut self, record: &Record) -> Result<(), RecordError> {
        for copy in self.copies.values().map(|copy| copy.instance) {
            record.copies.get(&copy).ok_or(RecordError::Missing(copy))?;
        }
        for instance in record.copies.keys().chain(&record.master) {
            self.leaf_of(*instance).ok_or(RecordError::NoLeaf(*instance))?;
        }
        self.master = record.master.and_then(|master| self.leaf_of(master));
        (self.term, self.cfg) = (record.term, record.cfg);
        for copy in self.copies.values_mut() {
            let said = record.copy(copy.instance);
            copy.incarnation = said.incarnation;
            copy.following = match said.state {
                CopyState::Sync => Following::Sync,
                CopyState::Ready => Following::Ready,
                CopyState::Async | CopyState::Offline => Following::Async,
            };
        }
        Ok(())
    }

    /// Where a copy is.
    #[must_use]
    pub fn leaf_of(&self, instance: Instance) -> Option<LeafId> {
        self.copies.iter().find(|(_, copy)| copy.instance == instance).map(|(leaf, _)| *leaf)
    }

    /// A new version by this decision.
    pub(crate) fn decide(&mut self, stamp: Stamp) {
        self.cfg.0 += 1;
        self.stamp = stamp;
    }

    /// The database waits for replicas from now on, or does not any more. Either way nobody may be promoted for having been
    /// waited for: its master stops waiting when it hears this, or has not begun to. Whoever is synchronous while a master
    /// is being chosen has everything that was acknowledged, and keeps its right.
    pub(crate) fn change_mode(&mut self, stamp: Stamp) {
        if let Some(master) = self.master {
            let others = self.copies.iter_mut().filter(|(leaf, _)| **leaf != master);
            others.for_each(|(_, copy)| copy.following = Following::Async);
        }
        self.decide(stamp);
    }

    /// Fences the mastership that is: nobody is master in the next term, until somebody is elected. Whoever
    /// was master has everything that it acknowledged, so it stays among those that may be elected.
    pub(crate) fn fence(&mut self, term: Term, stamp: Stamp) {
        if let Some(master) = self.master.take() {
            self.former.get_or_insert(master);
            if let Some(copy) = self.copies.get_mut(&master) {
                copy.following = Following::Sync;
            }
        }
        self.term = term;
        self.decide(stamp);
    }
}

impl Copy {
    /// How the record states it. That a leaf is lost changes nothing of what a copy has: who was waited for
    /// stays promotable until the record says that nobody waits for it.
    fn state(&self, is_master: bool) -> CopyState {
        match self.following {
            _ if is_master => CopyState::Sync,
            Following::Sync => CopyState::Sync,
            Following::Ready => CopyState::Ready,
            Following::Async if self.offline => CopyState::Offline,
            Following::Async => CopyState::Async,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Cfg, Incarnation};

    fn partition() -> Partition {
        let copy = |instance, following| Copy {
            instance: Instance(instance),
            following,
            offline: false,
            incarnation: Incarnation(instance + 10),
        };
        let copies = [
            (LeafId(7), copy(1, Following::Async)),
            (LeafId(8), copy(2, Following::Sync)),
            (LeafId(9), copy(3, Following::Ready)),
        ];
        let (master, copies) = (Some(LeafId(7)), copies.into());
        Partition { master, term: Term(5), cfg: Cfg(9), copies, ..Partition::default() }
    }

    /// Promise: to the copies' record and back nothing is lost, and the master counts as synchronous.
    #[test]
    fn a_record_goes_there_and_back() {
        let mut partition = partition();
        let record = partition.record(Mode::Received);
        assert_eq!((record.master, record.version()), (Some(Instance(1)), (Term(5), Cfg(9))));
        assert_eq!(record.copy(Instance(1)).state, CopyState::Sync);
        assert_eq!(record.copy(Instance(3)).state, CopyState::Ready);
        assert_eq!(record.copy(Instance(2)).incarnation, Incarnation(12));
        partition.take_record(&record).unwrap();
        assert_eq!(partition.record(Mode::Received), record);
    }

    /// Promise: a record of other copies is refused, and changes nothing.
    #[test]
    fn a_record_of_other_copies_is_refused() {
        let mut partition = partition();
        let before = partition.clone();
        let mut record = partition.record(Mode::Received);
        let third = record.copies.remove(&Instance(3)).unwrap();
        assert_eq!(partition.take_record(&record), Err(RecordError::Missing(Instance(3))));
        record.copies.extend([(Instance(3), third), (Instance(4), third)]);
        assert_eq!(partition.take_record(&record), Err(RecordError::NoLeaf(Instance(4))));
        assert_eq!(partition, before);
    }

    /// Promise: a lost leaf does not take from a copy what it has: synchronous ones stay so, and the
    /// master that is fenced stays one of them.
    #[test]
    fn what_is_lost_keeps_its_right() {
        let mut partition = partition();
        for copy in partition.copies.values_mut() {
            copy.offline = true;
        }
        let stamp = Stamp { term: 1, index: 20 };
        partition.fence(Term(8), stamp);
        assert_eq!((partition.master, partition.former), (None, Some(LeafId(7))));
        let decided = partition.decided(Mode::Received);
        assert_eq!((decided.stamp, decided.record.version()), (stamp, (Term(8), Cfg(10))));
        assert_eq!(decided.record.copy(Instance(1)).state, CopyState::Sync);
        assert_eq!(decided.record.copy(Instance(2)).state, CopyState::Sync);
    }
}
