//! Which slots a log has, and which of them must stay.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crate::Lsn;
use crate::lock::lock;
use crate::log::Shared;

/// One slot of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SlotRef {
    /// Where in the arena.
    pub(crate) index: u32,
    /// This use of it.
    pub(crate) nonce: u64,
    /// Its first position.
    pub(crate) base: Lsn,
}

/// The slots of a log, oldest first; the last is the one being written.
#[derive(Debug, Default)]
pub(crate) struct SlotTable {
    pub(crate) slots: VecDeque<SlotRef>,
    holds: BTreeMap<u64, Lsn>,
    next_hold: u64,
}

impl SlotTable {
    pub(crate) fn new(slots: impl IntoIterator<Item = SlotRef>) -> Self {
        let slots: VecDeque<SlotRef> = slots.into_iter().collect();
        assert!(!slots.is_empty(), "a log has at least one slot");
        Self { slots, ..Self::default() }
    }

    /// The first position still there.
    pub(crate) fn first(&self) -> Lsn {
        self.slots.front().expect("a log has at least one slot").base
    }

    /// The slot that holds `lsn`, and where it ends if another follows.
    pub(crate) fn holding(&self, lsn: Lsn) -> Option<(SlotRef, Option<Lsn>)> {
        let next = self.slots.partition_point(|slot| slot.base <= lsn);
        let slot = *self.slots.get(next.checked_sub(1)?)?;
        Some((slot, self.slots.get(next).map(|slot| slot.base)))
    }

    /// The oldest slot, if all of it lies below `lsn` and below every hold.
    pub(crate) fn releasable(&self, lsn: Lsn) -> Option<SlotRef> {
        let held = self.holds.values().min().copied().unwrap_or(lsn);
        let end = self.slots.get(1)?.base;
        (end <= lsn.min(held)).then(|| self.slots[0])
    }
}

/// Keeps the log from a position on, however far it is released, until dropped.
#[derive(Debug)]
pub struct Hold {
    log: Arc<Shared>,
    key: u64,
}

impl Hold {
    /// Holds from `lsn`, or from the first position still there.
    pub(super) fn new(log: Arc<Shared>, lsn: Lsn) -> Self {
        let key = {
            let mut table = lock(&log.slots);
            table.next_hold += 1;
            let key = table.next_hold;
            table.holds.insert(key, lsn);
            key
        };
        Self { log, key }
    }

    /// Moves the hold on: what is below `lsn` may go.
    pub fn advance(&self, lsn: Lsn) {
        let mut table = lock(&self.log.slots);
        let held = table.holds.get_mut(&self.key).expect("a hold is registered while it lives");
        *held = lsn.max(*held);
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        lock(&self.log.slots).holds.remove(&self.key);
    }
}
