//! Linearizable registers (Herlihy and Wing, 1990). Every write has a place in one order, its entry's
//! index, and every value names the write that it stems from; so nothing has to be searched: a
//! history is linearizable exactly if that order agrees with real time, register by register.
//!
//! ```text
//!   A ended before B began        B is a read            B is a write
//!   A wrote, or read, version a   B must see  ≥ a        B's index must be  > a
//! ```
//!
//! Registers can be judged one by one (the theorem of locality). A write whose outcome nobody knows
//! may take its place at any later time, or never; it binds from the moment that it is seen.

use std::collections::BTreeMap;

use resprout_consensus::{Index, ProposalId};

use crate::raft::machine::Version;
use crate::{Violation, hold};

/// What clients did and saw.
#[derive(Debug, Default)]
pub struct History {
    /// Of each register the newest version that a finished operation wrote or saw.
    seen: BTreeMap<u8, Index>,
    writes: BTreeMap<ProposalId, Begun>,
    /// The writes that took place.
    placed: BTreeMap<Index, (u8, u64)>,
}

#[derive(Debug)]
struct Begun {
    key: u8,
    value: u64,
    /// What had been seen then.
    after: Index,
    at: Option<Index>,
}

impl History {
    /// A write begins.
    pub fn begin_write(&mut self, id: ProposalId, key: u8, value: u64) {
        let after = self.begin_read(key);
        self.writes.entry(id).or_insert(Begun { key, value, after, at: None });
    }

    /// A read begins: what it must see at the least.
    #[must_use]
    pub fn begin_read(&self, key: u8) -> Index {
        self.seen.get(&key).copied().unwrap_or_default()
    }

    /// A proposal took its place in the committed log, for the first time.
    ///
    /// # Errors
    /// [`Violation`] if nobody proposed it, or if it comes before what had been seen when it began.
    pub fn place(&mut self, id: ProposalId, index: Index) -> Result<(), Violation> {
        let begun = self.writes.get_mut(&id);
        hold(begun.is_some(), "nothing is applied that was not proposed", || id.to_string())?;
        let Some(Begun { key, value, after, at }) = begun else { return Ok(()) };
        hold(index > *after, "a write comes behind what was seen before it began", || {
            format!("{id} at {index}, {after} had been seen")
        })?;
        hold(at.is_none(), "a proposal is applied once", || format!("{id} at {at:?} and {index}"))?;
        *at = Some(index);
        self.placed.insert(index, (*key, *value));
        Ok(())
    }

    /// A write is acknowledged.
    ///
    /// # Errors
    /// [`Violation`] if it is not in the committed log, or elsewhere than said.
    pub fn end_write(&mut self, id: ProposalId, index: Index) -> Result<(), Violation> {
        let Some(begun) = self.writes.get(&id) else {
            return Err(Violation::new("only what was begun ends", id.to_string()));
        };
        hold(begun.at == Some(index), "no acknowledged proposal is lost", || {
            format!("{id} acknowledged at {index}, is at {:?}", begun.at)
        })?;
        self.saw(begun.key, index);
        Ok(())
    }

    /// A read that began `after` has seen a version.
    ///
    /// # Errors
    /// [`Violation`] if it is older than what had been seen, or no such thing was written.
    pub fn end_read(&mut self, key: u8, after: Index, saw: Version) -> Result<(), Violation> {
        hold(saw.index >= after, "a read sees what was seen before it began", || {
            format!("register {key}: saw {}, {after} had been seen", saw.index)
        })?;
        let written = match saw.index {
            Index(0) => saw.value == 0,
            index => self.placed.get(&index) == Some(&(key, saw.value)),
        };
        hold(written, "a read sees what was written", || format!("register {key}: {saw:?}"))?;
        self.saw(key, saw.index);
        Ok(())
    }

    fn saw(&mut self, key: u8, index: Index) {
        let seen = self.seen.entry(key).or_default();
        *seen = (*seen).max(index);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: u8 = 3;

    fn version(index: u64, value: u64) -> Version {
        Version { index: Index(index), value }
    }

    /// Promise: a stale read, an invented value and another register's value are seen; what overlaps
    /// may be seen or not.
    #[test]
    fn wrong_reads_are_seen() {
        let mut history = History::default();
        let id = ProposalId(1);
        let early = history.begin_read(KEY);
        history.begin_write(id, KEY, 10);
        assert_eq!(history.place(id, Index(4)), Ok(()));
        assert_eq!(history.end_read(KEY, early, version(0, 0)), Ok(()));
        assert_eq!(history.end_write(id, Index(4)), Ok(()));
        let late = history.begin_read(KEY);
        assert!(history.end_read(KEY, late, version(0, 0)).is_err());
        assert!(history.end_read(KEY, late, version(4, 11)).is_err());
        assert!(history.end_read(KEY, late, version(5, 10)).is_err());
        assert!(history.end_read(KEY + 1, Index(0), version(4, 10)).is_err());
        assert_eq!(history.end_read(KEY, early, version(0, 0)), Ok(()));
        assert_eq!(history.end_read(KEY, late, version(4, 10)), Ok(()));
    }

    /// Promise: a read that saw a write binds the reads behind it, also if nobody acknowledged it.
    #[test]
    fn a_seen_write_binds() {
        let mut history = History::default();
        history.begin_write(ProposalId(1), KEY, 10);
        history.place(ProposalId(1), Index(4)).unwrap();
        history.end_read(KEY, Index(0), version(4, 10)).unwrap();
        let after = history.begin_read(KEY);
        assert!(history.end_read(KEY, after, version(0, 0)).is_err());
    }

    /// Promise: writes that come twice, from nowhere, before what they follow, or never, are seen.
    #[test]
    fn wrong_writes_are_seen() {
        let mut history = History::default();
        history.begin_write(ProposalId(1), KEY, 10);
        assert!(history.end_write(ProposalId(1), Index(4)).is_err());
        assert!(history.place(ProposalId(9), Index(3)).is_err());
        assert_eq!(history.place(ProposalId(1), Index(4)), Ok(()));
        assert!(history.place(ProposalId(1), Index(5)).is_err());
        assert_eq!(history.end_write(ProposalId(1), Index(4)), Ok(()));
        history.begin_write(ProposalId(2), KEY, 20);
        assert!(history.place(ProposalId(2), Index(3)).is_err());
    }
}
