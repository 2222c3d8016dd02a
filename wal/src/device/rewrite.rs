//! What was found at a start, and may be in a cache only, is written again.
//!
//! After a flush that failed, the kernel (or the device) may hold the data as clean: the next
//! process reads it, and no flush of its own ever writes it (Rebello et al., "Can Applications
//! Recover from fsync Failures?", 2020; row D18). Everything from the newest mark on is in that
//! state as far as a start can know: marks are written only behind a flush that went well. It is
//! little, as marks follow commits within milliseconds, and the same bytes over the same bytes are
//! safe to be interrupted.

use std::io;

use super::core::Core;
use crate::arena::{Geometry, HEAD_BYTES};
use crate::disk::{AlignedBuf, File};
use crate::recovery::{Found, read_patiently};
use crate::{LogError, Lsn, SECTOR};

/// Bytes that are written at once.
const STEP_BYTES: u64 = 1 << 20;

/// Makes the length of an arena of so many whole slots durable before anything is put into them: a
/// growth whose flush failed may have left it in a cache only, and the file would end within a slot
/// that is in use.
pub(super) fn settle_length(file: &dyn File, geometry: Geometry, slots: u32) -> io::Result<()> {
    if slots == 0 {
        return Ok(());
    }
    let last = geometry.slot_offset(slots) - SECTOR as u64;
    file.write_at(&read(file, last, SECTOR as u64)?, last)?;
    file.flush()
}

fn read(file: &dyn File, offset: u64, len: u64) -> io::Result<AlignedBuf> {
    let mut bytes = AlignedBuf::new(len as usize)?;
    read_patiently(file, &mut bytes, offset)?;
    Ok(bytes)
}

impl Core {
    /// Writes what the slots of a log hold between their newest mark and `end` once more, heads
    /// included. The caller flushes.
    pub(super) fn write_again(&self, slots: &[Found], end: Lsn) -> Result<(), LogError> {
        let durable = slots.iter().map(Found::durable).max().unwrap_or(Lsn::ZERO);
        if durable >= end {
            return Ok(());
        }
        // A link that says so itself may be what is in a cache only.
        let first = slots.partition_point(|slot| slot.header.base < durable).saturating_sub(1);
        for (at, slot) in slots.iter().enumerate().skip(first) {
            let base = slot.header.base;
            let slot_end = slots.get(at + 1).map_or(end, |next| next.header.base).min(end);
            let from = durable.clamp(base, slot_end);
            let head = self.geometry.slot_offset(slot.index);
            self.copy_in_place(head, head + HEAD_BYTES, base)?;
            let frames = |lsn| self.geometry.frame_offset(slot.index, base, lsn);
            self.copy_in_place(frames(from), frames(slot_end), from)?;
        }
        Ok(())
    }

    fn copy_in_place(&self, start: u64, end: u64, lsn: Lsn) -> Result<(), LogError> {
        let mut at = start;
        while at < end {
            let len = STEP_BYTES.min(end - at);
            let bytes = read(&*self.file, at, len).map_err(|error| LogError::Read {
                path: self.path.clone(),
                offset: at,
                lsn,
                error: error.into(),
            })?;
            self.write(&bytes, at, lsn)?;
            at += len;
        }
        Ok(())
    }
}
