//! The arena's free slots, and its growth.
//!
//! A slot is given out only after it was written with zeros and flushed: then no write to it
//! changes the file's length or extents. A failed growth leaves at most a part of a slot beyond
//! the last whole one, which the next growth overwrites and which an opening ignores.

use std::collections::BTreeSet;
use std::io;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use super::Core;
use crate::disk::AlignedBuf;
use crate::lock::lock;

/// Bytes written at once while growing.
const GROWTH_WRITE_BYTES: usize = 1 << 20;

/// Which slots are free.
#[derive(Debug)]
pub(crate) struct Space {
    state: Mutex<State>,
    /// Held while the file grows: one growth at a time.
    growing: Mutex<()>,
    /// A growth was refused; said once until one succeeds.
    refused: AtomicBool,
}

#[derive(Debug)]
struct State {
    free: BTreeSet<u32>,
    /// Whole slots in the file.
    slots: u32,
    /// Bytes of the file were zeroed up to here: growth needs no new space below.
    max: u32,
}

/// Slots could not be had.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) free: u32,
    pub(crate) reason: Option<String>,
}

impl Space {
    pub(crate) fn new(free: BTreeSet<u32>, slots: u32, max: u32) -> Self {
        assert!(free.last().is_none_or(|last| *last < slots), "free slots beyond the file");
        Self {
            state: Mutex::new(State { free, slots, max }),
            growing: Mutex::new(()),
            refused: AtomicBool::new(false),
        }
    }

    /// Takes `count` slots, lowest first, growing the file if there are not enough. All or none.
    pub(crate) fn take(&self, count: usize, core: &Core) -> Result<Vec<u32>, Refused> {
        loop {
            {
                let mut state = lock(&self.state);
                if state.free.len() >= count {
                    let taken: Vec<u32> = state.free.iter().take(count).copied().collect();
                    state.free.retain(|slot| !taken.contains(slot));
                    let low = (state.free.len() as u64) < u64::from(core.options.slots_ahead);
                    drop(state);
                    if low && count > 0 {
                        core.signal.grow();
                    }
                    return Ok(taken);
                }
            }
            let enough = |state: &State| state.free.len() >= count;
            if let Err(reason) = self.grow_unless(enough, core) {
                let free = lock(&self.state).free.len() as u32;
                return Err(Refused { free, reason });
            }
        }
    }

    /// Gives a slot back. What it held must be erased durably before.
    pub(crate) fn give(&self, slot: u32) {
        let mut state = lock(&self.state);
        assert!(slot < state.slots, "slot {slot} of {}", state.slots);
        assert!(state.free.insert(slot), "slot {slot} given back twice");
    }

    /// Free slots.
    pub(crate) fn free(&self) -> u32 {
        lock(&self.state).free.len() as u32
    }

    /// Slots in the file.
    pub(crate) fn slots(&self) -> u32 {
        lock(&self.state).slots
    }

    /// Grows until as many slots are free as the options say. Whether it grew.
    pub(crate) fn grow_ahead(&self, core: &Core) -> bool {
        let ahead = core.options.slots_ahead as usize;
        let mut grew = false;
        while lock(&self.state).free.len() < ahead {
            if self.grow_unless(|state| state.free.len() >= ahead, core).is_err() {
                return grew;
            }
            grew = true;
        }
        grew
    }

    /// Adds one slot to the file, unless another thread did so meanwhile.
    fn grow_unless(
        &self,
        enough: impl Fn(&State) -> bool,
        core: &Core,
    ) -> Result<(), Option<String>> {
        let _growing = lock(&self.growing);
        let slot = {
            let state = lock(&self.state);
            if enough(&state) {
                return Ok(());
            }
            if state.slots >= state.max {
                return Err(Some(format!("the limit of {} slots is reached", state.max)));
            }
            state.slots
        };
        if core.signal.is_device_failed() {
            return Err(Some("the device failed".to_owned()));
        }
        if let Err(error) = write_zeros(core, slot) {
            if !self.refused.swap(true, Ordering::Relaxed) {
                tracing::warn!(path = %core.path.display(), slot, %error, "the log cannot grow");
            }
            return Err(Some(error.to_string()));
        }
        if self.refused.swap(false, Ordering::Relaxed) {
            tracing::info!(path = %core.path.display(), slot, "the log grows again");
        }
        let mut state = lock(&self.state);
        state.slots = slot + 1;
        state.free.insert(slot);
        Ok(())
    }
}

fn write_zeros(core: &Core, slot: u32) -> io::Result<()> {
    let slot_bytes = core.geometry.slot_bytes();
    let step = slot_bytes.min(GROWTH_WRITE_BYTES as u64);
    let zeros = AlignedBuf::new(step as usize)?;
    let start = core.geometry.slot_offset(slot);
    for offset in (start..start + slot_bytes).step_by(step as usize) {
        core.file.write_at(&zeros, offset)?;
    }
    core.flush_file()
}
