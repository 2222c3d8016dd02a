//! What must be true, by what clients, readers and disks saw.
//!
//! | promise | check |
//! |---|---|
//! | A1, A2 | what was acknowledged is in every copy in the end |
//! | A3 | at one (term, LSN) there is one chain |
//! | A4 | what was refused is nowhere |
//! | A7 | what a reader saw is there in the end; a master's reader sees what was acknowledged before |
//! | rules 2, 4, 5, 9, 10 | checked where they act, by `drive` |

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use resprout_replication::{Frame, Mode};
use resprout_sim::{Violation, hold};
use resprout_wal::{Lsn, Term};

/// See the module.
#[derive(Debug)]
pub(crate) struct Promises {
    mode: Mode,
    chains: BTreeMap<(Term, Lsn), u64>,
    acknowledged: BTreeMap<u64, Duration>,
    unknown: BTreeSet<u64>,
    refused: BTreeSet<u64>,
    seen: BTreeSet<u64>,
    /// The last value of each value's group.
    groups: BTreeMap<u64, u64>,
    /// The authority says that acknowledged writes may be gone.
    pub(crate) may_have_lost: bool,
    /// Acknowledged in the order of time.
    order: Vec<(Duration, u64)>,
}

impl Promises {
    pub(crate) fn new(mode: Mode) -> Self {
        Self {
            mode,
            chains: BTreeMap::new(),
            acknowledged: BTreeMap::new(),
            unknown: BTreeSet::new(),
            refused: BTreeSet::new(),
            seen: BTreeSet::new(),
            groups: BTreeMap::new(),
            may_have_lost: false,
            order: Vec::new(),
        }
    }

    /// A frame came into some copy's log.
    pub(crate) fn logged(&mut self, frame: &Frame) -> Result<(), Violation> {
        let header = &frame.header;
        let chain = header.next_chain();
        let known = *self.chains.entry((header.term, header.end())).or_insert(chain);
        hold(known == chain, "at one (term, LSN) there is one history", || format!("{frame:?}"))
    }

    /// Values that are committed together.
    pub(crate) fn group(&mut self, values: &[u64]) {
        let Some(last) = values.last() else { return };
        self.groups.extend(values.iter().map(|value| (*value, *last)));
    }

    pub(crate) fn acknowledge(&mut self, value: u64, now: Duration) -> Result<(), Violation> {
        let told = self.unknown.contains(&value) || self.refused.contains(&value);
        hold(!told, "an outcome is told once", || format!("{value}"))?;
        self.acknowledged.insert(value, now);
        self.order.push((now, value));
        Ok(())
    }

    pub(crate) fn unknown(&mut self, value: u64) {
        self.unknown.insert(value);
    }

    pub(crate) fn refuse(&mut self, value: u64) {
        self.refused.insert(value);
    }

    /// A reader saw these rows; at a master, everything that was acknowledged before `stale` must be
    /// among them.
    pub(crate) fn read(&mut self, rows: &[u64], stale: Option<Duration>) -> Result<(), Violation> {
        self.seen.extend(rows);
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

    pub(crate) fn acknowledged_since(&self, time: Duration) -> bool {
        self.order.last().is_some_and(|(at, _)| *at > time)
    }

    /// In the end, when all copies are equal.
    pub(crate) fn finish(&self, rows: &[Vec<u64>]) -> Result<(), Violation> {
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
