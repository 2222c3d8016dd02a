//! What must be true, by what clients, readers and disks saw.
//!
//! | promise | check |
//! |---|---|
//! | A1, A2 | what was acknowledged is in every copy in the end |
//! | A3 | at one (term, LSN) there is one chain |
//! | A4 | what was refused is nowhere |
//! | A7 | what a reader saw is there in the end; a master's reader sees what was acknowledged before |
//! | rules 2, 4, 5, 9, 10 | checked where they act, by whoever drives the copies |

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use resprout_replication::{Frame, Mode};
use resprout_wal::{Lsn, Term};

use crate::{Violation, hold};

/// See the module.
#[derive(Debug)]
pub struct Promises {
    mode: Mode,
    chains: BTreeMap<(Term, Lsn), u64>,
    acknowledged: BTreeMap<u64, Duration>,
    unknown: BTreeSet<u64>,
    refused: BTreeSet<u64>,
    seen: BTreeSet<u64>,
    /// The last value of each value's group.
    groups: BTreeMap<u64, u64>,
    /// The authority says that acknowledged writes may be gone.
    pub may_have_lost: bool,
    is_forgiven: bool,
    /// Acknowledged in the order of time.
    order: Vec<(Duration, u64)>,
}

impl Promises {
    /// Of copies that acknowledge so.
    #[must_use]
    pub fn new(mode: Mode) -> Self {
        Self {
            mode,
            chains: BTreeMap::new(),
            acknowledged: BTreeMap::new(),
            unknown: BTreeSet::new(),
            refused: BTreeSet::new(),
            seen: BTreeSet::new(),
            groups: BTreeMap::new(),
            may_have_lost: false,
            is_forgiven: false,
            order: Vec::new(),
        }
    }

    /// A frame came into some copy's log.
    ///
    /// # Errors
    /// [`Violation`].
    pub fn logged(&mut self, frame: &Frame) -> Result<(), Violation> {
        let header = &frame.header;
        let chain = header.next_chain();
        let known = *self.chains.entry((header.term, header.end())).or_insert(chain);
        hold(known == chain, "at one (term, LSN) there is one history", || format!("{frame:?}"))
    }

    /// Values that are committed together.
    pub fn group(&mut self, values: &[u64]) {
        let Some(last) = values.last() else { return };
        self.groups.extend(values.iter().map(|value| (*value, *last)));
    }

    /// A client is told that it is done.
    ///
    /// # Errors
    /// [`Violation`].
    pub fn acknowledge(&mut self, value: u64, now: Duration) -> Result<(), Violation> {
        let told = self.unknown.contains(&value) || self.refused.contains(&value);
        hold(!told, "an outcome is told once", || format!("{value}"))?;
        self.acknowledged.insert(value, now);
        self.order.push((now, value));
        Ok(())
    }

    /// A client is told that nobody knows.
    pub fn unknown(&mut self, value: u64) {
        self.unknown.insert(value);
    }

    /// A client is told that it is not done.
    pub fn refuse(&mut self, value: u64) {
        self.refused.insert(value);
    }

    /// A reader saw these rows; at a master, everything that was acknowledged before `stale` must be
    /// among them.
    ///
    /// # Errors
    /// [`Violation`].
    pub fn read(&mut self, rows: &[u64], stale: Option<Duration>) -> Result<(), Violation> {
        if stale.is_some() || !self.is_forgiven {
            self.seen.extend(rows);
        }
        let torn = rows.last().filter(|last| self.groups.get(last).is_some_and(|end| end != *last));
        hold(torn.is_none(), "readers see whole groups", || format!("{torn:?}"))?;
        let Some(stale) = stale.filter(|_| self.mode.is_sync() && !self.may_have_lost) else {
            return Ok(());
        };
        let upto = self.order.partition_point(|(at, _)| *at < stale);
        let rows: BTreeSet<u64> = rows.iter().copied().collect();
        let missing = self.order[..upto].iter().rev().take(40).find(|(_, v)| !rows.contains(v));
        hold(missing.is_none(), "reads are stale for no longer than a lease", || {
            format!("{missing:?} is missing, read at {stale:?} and a lease")
        })
    }

    /// Whether anything was acknowledged since then.
    #[must_use]
    pub fn acknowledged_since(&self, time: Duration) -> bool {
        self.order.last().is_some_and(|(at, _)| *at > time)
    }

    /// An election says that what was acknowledged may be gone: only what is acknowledged from now on counts. What is read
    /// at replicas counts no more, since one that has not heard of it still shows what was before.
    pub fn forgive(&mut self) {
        self.acknowledged.clear();
        self.order.clear();
        self.seen.clear();
        self.is_forgiven = true;
    }

    /// A master that nobody waits for was replaced although it might have gone on since then: what it acknowledged may be gone.
    pub fn forgive_since(&mut self, time: Duration) {
        self.acknowledged.retain(|_, at| *at < time);
        self.order.retain(|(at, _)| *at < time);
    }

    /// Those of some rows that count as acknowledged.
    #[must_use]
    pub fn acknowledged_of(&self, rows: &[u64]) -> Vec<u64> {
        rows.iter().filter(|row| self.acknowledged.contains_key(row)).copied().collect()
    }

    /// Whether everything that was acknowledged before is among these rows.
    #[must_use]
    pub fn has_all_before(&self, rows: &[u64], time: Duration) -> bool {
        let rows: BTreeSet<u64> = rows.iter().copied().collect();
        let upto = self.order.partition_point(|(at, _)| *at < time);
        self.order[..upto].iter().all(|(_, value)| rows.contains(value))
    }

    /// Whether something was forgiven.
    #[must_use]
    pub fn is_forgiven(&self) -> bool {
        self.is_forgiven
    }

    /// In the end, when all copies are equal.
    ///
    /// # Errors
    /// [`Violation`].
    pub fn finish(&self, rows: &[Vec<u64>]) -> Result<(), Violation> {
        for rows in rows {
            let set: BTreeSet<u64> = rows.iter().copied().collect();
            hold(set.len() == rows.len(), "a write is there once", || format!("{rows:?}"))?;
            let refused = self.refused.intersection(&set).next();
            hold(refused.is_none(), "what was refused never appears", || format!("{refused:?}"))?;
            if self.may_have_lost {
                continue;
            }
            let lost = self.acknowledged.iter().find(|(value, _)| !set.contains(value));
            hold(lost.is_none(), "no acknowledged write is lost", || format!("{lost:?}"))?;
            let vanished = self.seen.iter().find(|value| !set.contains(value));
            hold(vanished.is_none(), "what a reader saw is there", || format!("{vanished:?}"))?;
        }
        Ok(())
    }
}
