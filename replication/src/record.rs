//! A partition's entry in the metadata, as far as its copies go by it.
//!
//! ```text
//!   term T, cfg c, master m           m serves; cfg grows with each change of a copy's state
//!        │ somebody else shall be master: intent
//!   term T+1, cfg c', no master       fenced: copies promise T+1 and report; requests of T fail
//!        │ the best report is chosen
//!   term T+1, cfg c'+1, master n      n begins its term
//! ```

use std::collections::BTreeMap;

use resprout_wal::Term;

use crate::{Cfg, Incarnation, Instance, Mode, Stamp};

/// How a copy stands in the record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CopyState {
    /// Not reachable: neither waited for nor promoted.
    Offline,
    /// Not waited for; promoted only in a database made for that.
    #[default]
    Async,
    /// Its master says that it waits for it; not promoted yet.
    Ready,
    /// Waited for, and may be promoted (catalogue rule 8).
    Sync,
}

/// One copy in the record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CopyRecord {
    /// How it stands.
    pub state: CopyState,
    /// The run that this was said of (catalogue rule 15).
    pub incarnation: Incarnation,
}

/// The record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// The mastership.
    pub term: Term,
    /// Version within the partition; grows with every change.
    pub cfg: Cfg,
    /// Who is master; nobody while one is being chosen.
    pub master: Option<Instance>,
    /// All copies, the master's too.
    pub copies: BTreeMap<Instance, CopyRecord>,
    /// When a commit is acknowledged by a master that goes by this record, and who is chosen where it has none; as
    /// the copies were configured if it does not say. So a change of the database's replication is one more version,
    /// and what was asked for or chosen under the mode before it is void (catalogue rule 6).
    pub mode: Option<Mode>,
}

/// A record with the decision that made it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decided {
    /// The decision.
    pub stamp: Stamp,
    /// What was decided.
    pub record: Record,
}

/// What a master asks the authority for: a compare-and-set on `(term, cfg)`. The authority counts
/// `cfg` up even if the copy stands so already: whatever was asked at the same `cfg` is then void.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// The term that must be the record's.
    pub term: Term,
    /// The version that must be the record's.
    pub cfg: Cfg,
    /// Which copy.
    pub instance: Instance,
    /// How it shall stand.
    pub to: CopyRecord,
}

impl Record {
    /// Its place among the records of the partition.
    #[must_use]
    pub fn version(&self) -> (Term, Cfg) {
        (self.term, self.cfg)
    }

    /// How a copy stands; who is not listed is offline.
    #[must_use]
    pub fn copy(&self, instance: Instance) -> CopyRecord {
        let unknown = CopyRecord { state: CopyState::Offline, incarnation: Incarnation(0) };
        self.copies.get(&instance).copied().unwrap_or(unknown)
    }

    /// The record after a request, if it applies: what every authority does (catalogue rule 1).
    #[must_use]
    pub fn after(&self, request: &Request) -> Option<Self> {
        let applies = (request.term, request.cfg) == self.version()
            && self.master.is_some()
            && self.master != Some(request.instance)
            && self.copies.contains_key(&request.instance);
        applies.then(|| {
            let mut next = self.clone();
            next.cfg = Cfg(self.cfg.0 + 1);
            next.copies.insert(request.instance, request.to);
            next
        })
    }

    /// The record that fences the present mastership and names no master yet.
    #[must_use]
    pub fn intent(&self) -> Self {
        let (term, cfg) = (Term(self.term.0 + 1), Cfg(self.cfg.0 + 1));
        Self { term, cfg, master: None, ..self.clone() }
    }

    /// The record that makes a copy master after an intent. If it says that nobody is waited for, all others are
    /// asynchronous: what they had of the term before says nothing of this one.
    #[must_use]
    pub fn elected(&self, master: Instance, incarnation: Incarnation) -> Self {
        let mut copies = self.copies.clone();
        if self.mode.is_some_and(|mode| !mode.is_sync()) {
            for copy in copies.values_mut().filter(|copy| copy.state == CopyState::Sync) {
                copy.state = CopyState::Async;
            }
        }
        copies.insert(master, CopyRecord { state: CopyState::Sync, incarnation });
        let (term, cfg) = (self.term, Cfg(self.cfg.0 + 1));
        Self { term, cfg, master: Some(master), copies, mode: self.mode }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        let copy = |state| CopyRecord { state, incarnation: Incarnation(1) };
        let copies = [(Instance(1), copy(CopyState::Sync)), (Instance(2), copy(CopyState::Sync))];
        let (term, cfg, master) = (Term(3), Cfg(7), Some(Instance(1)));
        Record { term, cfg, master, copies: copies.into(), mode: None }
    }

    fn request() -> Request {
        let to = CopyRecord { state: CopyState::Async, incarnation: Incarnation(1) };
        Request { term: Term(3), cfg: Cfg(7), instance: Instance(2), to }
    }

    /// Promise (R04): of a demotion of a copy and a promotion of it, exactly one applies.
    #[test]
    fn r04_one_of_two_changes_at_one_version_applies() {
        let before = record();
        let demoted = before.after(&request()).unwrap();
        assert_eq!(demoted.version(), (Term(3), Cfg(8)));
        assert_eq!(demoted.copy(Instance(2)).state, CopyState::Async);
        assert_eq!(before.intent().after(&request()), None, "the intent came first");
        assert_eq!(demoted.after(&request()), None, "asked once too often");
    }

    /// Promise: the mode goes with the record, and where nobody is waited for an election leaves nobody synchronous but
    /// the master: who was so in the term before need not have what this one acknowledges.
    #[test]
    fn an_election_without_waiting_leaves_nobody_synchronous() {
        let states = |record: &Record| [1, 2].map(|n| record.copy(Instance(n)).state);
        let of = |mode| Record { mode, ..record() }.intent().elected(Instance(2), Incarnation(1));
        assert_eq!(of(Some(Mode::Local)).mode, Some(Mode::Local));
        assert_eq!(states(&of(Some(Mode::Local))), [CopyState::Async, CopyState::Sync]);
        assert_eq!(states(&of(Some(Mode::Received))), [CopyState::Sync, CopyState::Sync]);
    }

    /// Promise: nobody changes how the master stands, or adds a copy, by a request.
    #[test]
    fn requests_change_other_copies_only() {
        let of = |n| Request { instance: Instance(n), ..request() };
        assert_eq!(record().after(&of(1)), None);
        assert_eq!(record().after(&of(9)), None);
        assert_eq!(record().copy(Instance(9)).state, CopyState::Offline);
    }
}
