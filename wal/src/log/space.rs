//! Space promised before anything is applied (catalogue row D21).
//!
//! After an append there is no way back, so a transaction reserves its bytes first and is refused
//! while nothing has changed. A reservation is a number; behind it stand slots taken from the
//! device's free ones and *claimed* by this log, enough for all its promises at their worst:
//!
//! ```text
//!  promised − room ≤ (claimed − owed) × capacity
//!             │                  └ slots that sealed groups reach into, not yet entered
//!             └ left in the slot that the open group starts in
//! ```

use std::collections::VecDeque;

use crate::Full;
use crate::device::Core;
use crate::lock::lock;
use crate::log::Shared;

/// What a log holds of the device.
#[derive(Debug, Default)]
pub(crate) struct LogSpace {
    /// Bytes promised by reservations, used or not, of groups not yet sealed.
    pub(crate) promised: u64,
    /// Bytes left of the slot that the open group starts in.
    pub(crate) room: u64,
    /// Slots set aside for this log.
    pub(crate) claimed: VecDeque<u32>,
    /// How many of them sealed groups will enter.
    pub(crate) owed: u32,
}

impl LogSpace {
    fn needed_slots(&self, capacity: u64) -> usize {
        self.owed as usize + self.promised.saturating_sub(self.room).div_ceil(capacity) as usize
    }

    /// Promises `bytes`, with slots from the device behind them.
    pub(crate) fn promise(&mut self, bytes: u64, core: &Core) -> Result<(), Full> {
        self.promised += bytes;
        let needed = self.needed_slots(core.geometry.capacity());
        let missing = needed.saturating_sub(self.claimed.len());
        match core.space.take(missing, core) {
            Ok(slots) => self.claimed.extend(slots),
            Err(refused) => {
                self.promised -= bytes;
                let spare = self.claimed.len().saturating_sub(self.owed as usize) as u64;
                let slots = spare + u64::from(refused.free);
                let held = slots * core.geometry.capacity() + self.room;
                return Err(Full {
                    path: core.path.clone(),
                    needed: bytes,
                    available: held.saturating_sub(self.promised),
                    reason: refused.reason,
                });
            }
        }
        assert!(self.claimed.len() >= needed, "a promise without slots behind it");
        Ok(())
    }

    /// Takes a promise back, because it was not used or because its group was sealed.
    pub(crate) fn settle(&mut self, bytes: u64, core: &Core) {
        assert!(self.promised >= bytes, "{bytes} bytes of {} promised", self.promised);
        self.promised -= bytes;
        // One spare stays, so that a log at a slot's end does not go to the device each time.
        let keep = self.needed_slots(core.geometry.capacity()) + 1;
        while self.claimed.len() > keep {
            if let Some(slot) = self.claimed.pop_back() {
                core.space.give(slot);
            }
        }
    }

    /// The next slot to enter, for a group that was sealed.
    pub(crate) fn enter(&mut self) -> u32 {
        assert!(self.owed > 0, "entering a slot that no group reaches into");
        self.owed -= 1;
        self.claimed.pop_front().expect("every sealed group has its slots claimed")
    }
}

/// Space for one entry. Given to [`crate::Appender::append`]; without that it is free again when
/// dropped.
#[derive(Debug)]
pub struct Reservation {
    log: std::sync::Arc<Shared>,
    bytes: u64,
    entry_bytes: usize,
}

impl Reservation {
    pub(super) fn new(log: std::sync::Arc<Shared>, bytes: u64, entry_bytes: usize) -> Self {
        Self { log, bytes, entry_bytes }
    }

    /// Most bytes that the entry may have.
    #[must_use]
    pub fn entry_bytes(&self) -> usize {
        self.entry_bytes
    }

    /// Hands the promise to the group that the entry went into.
    pub(super) fn consume(mut self, log: &Shared, entry_bytes: usize) -> u64 {
        assert!(std::ptr::eq(&raw const *self.log, log), "a reservation of another log");
        let reserved = self.entry_bytes;
        assert!(entry_bytes <= reserved, "{entry_bytes} bytes where {reserved} are reserved");
        std::mem::take(&mut self.bytes)
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if self.bytes > 0 {
            lock(&self.log.space).settle(self.bytes, &self.log.core);
        }
    }
}
