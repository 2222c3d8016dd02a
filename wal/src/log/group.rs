//! The group that is being filled, and how a finished one is cut into frames.
//!
//! ```text
//!  open group ──append──► open group ──seal──► Sealed ──driver──► frames on disk
//!  generation g                                generation g; the open group is now g + 1
//! ```
//!
//! Positions are settled at sealing, by arithmetic alone: frames fill a slot to its last sector,
//! so where a group ends follows from where it starts, its length and the room left in the slot.

use crate::arena::Geometry;
use crate::frame::{ENTRY_PREFIX_BYTES, HEADER_BYTES, padded_bytes};
use crate::{Lsn, SECTOR, Term};

/// The group that takes entries.
#[derive(Debug)]
pub(crate) struct OpenGroup {
    /// Its number; grows by one with each seal.
    pub(crate) generation: u64,
    /// Where its first frame will begin.
    pub(crate) start: Lsn,
    /// Encoded entries.
    pub(crate) payload: Vec<u8>,
    /// How many.
    pub(crate) entries: u64,
    /// The mastership that its frames are written in.
    pub(crate) term: Term,
    /// Bytes of log promised to its entries by reservations.
    pub(crate) promised: u64,
    /// Write a frame even without entries: it makes a term durable.
    pub(crate) forced: bool,
    /// Bytes left of the slot that the group starts in.
    pub(crate) room: u64,
    /// No more entries: the log was closed.
    pub(crate) closed: bool,
}

/// A group on its way to the disk.
#[derive(Debug)]
pub(crate) struct Sealed {
    pub(crate) generation: u64,
    pub(crate) start: Lsn,
    pub(crate) end: Lsn,
    pub(crate) term: Term,
    pub(crate) entries: u64,
    pub(crate) payload: Vec<u8>,
}

impl OpenGroup {
    /// Whether there is nothing to write.
    pub(crate) fn is_empty(&self) -> bool {
        self.entries == 0 && !self.forced
    }

    /// Adds one entry made of `parts`.
    pub(crate) fn push(&mut self, parts: &[&[u8]], promised: u64) {
        let len: usize = parts.iter().map(|part| part.len()).sum();
        assert!(entry_fits(len), "an entry of {len} bytes");
        self.payload.reserve(len + ENTRY_PREFIX_BYTES);
        self.payload.extend_from_slice(&(len as u32).to_le_bytes());
        for part in parts {
            self.payload.extend_from_slice(part);
        }
        self.entries += 1;
        self.promised += promised;
    }

    /// Ends the group: what it became, and how many new slots it reaches into.
    pub(crate) fn seal(&mut self, geometry: Geometry, spare: Vec<u8>) -> (Sealed, u32) {
        assert!(!self.is_empty(), "sealing nothing");
        let extent = Extent::of(self.payload.len(), self.room, geometry);
        let sealed = Sealed {
            generation: self.generation,
            start: self.start,
            end: self.start.advanced(extent.bytes),
            term: self.term,
            entries: self.entries,
            payload: std::mem::replace(&mut self.payload, spare),
        };
        assert!(sealed.end > sealed.start, "a group has at least one frame");
        assert!(self.payload.is_empty(), "the spare buffer holds something");
        self.generation += 1;
        self.start = sealed.end;
        self.room = extent.room_after;
        (self.entries, self.promised, self.forced) = (0, 0, false);
        (sealed, extent.new_slots)
    }
}

fn entry_fits(len: usize) -> bool {
    len <= crate::frame::ENTRY_BYTES_MAX
}

/// What a group takes of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Extent {
    bytes: u64,
    new_slots: u32,
    room_after: u64,
}

impl Extent {
    fn of(payload: usize, room: u64, geometry: Geometry) -> Self {
        let mut extent = Self { bytes: 0, new_slots: 0, room_after: room };
        let mut rest = payload;
        loop {
            if extent.room_after == 0 {
                extent.new_slots += 1;
                extent.room_after = geometry.capacity();
            }
            let piece = piece_bytes(rest, extent.room_after, geometry);
            rest -= piece;
            extent.bytes += padded_bytes(piece);
            extent.room_after -= padded_bytes(piece);
            if rest == 0 {
                return extent;
            }
        }
    }
}

/// How much of `rest` the next frame carries where `room` bytes are left in the slot.
pub(crate) fn piece_bytes(rest: usize, room: u64, geometry: Geometry) -> usize {
    assert!(room >= SECTOR as u64 && room.is_multiple_of(SECTOR as u64), "room of {room} bytes");
    let frame = geometry.frame_bytes_max().min(room) as usize;
    rest.min(frame - HEADER_BYTES)
}

/// Most bytes of log that an entry of `len` bytes can take, wherever it falls.
///
/// Every frame of a group but the last fills its frame or its slot, so only headers and the last
/// padding come on top; and at most every second frame is a short one before a slot's end.
pub(crate) fn worst_bytes(len: usize, geometry: Geometry) -> u64 {
    let payload = (len + ENTRY_PREFIX_BYTES) as u64;
    let header = HEADER_BYTES as u64;
    let frames = 2 * payload.div_ceil(geometry.frame_bytes_max() - header) + 2;
    (payload + frames * header).next_multiple_of(SECTOR as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Promise (D21): what was reserved for an entry is never less than what it takes, whatever
    /// is left of the slot it starts in.
    #[test]
    fn d21_the_worst_case_covers_every_case() {
        for slot_bytes in [64 << 10, 1 << 20, 16 << 20] {
            let geometry = Geometry::new(slot_bytes).expect("a valid size");
            for len in [0, 1, 4028, 4029, 51_000, 52_000, 1 << 20, 3_333_333] {
                let worst = worst_bytes(len, geometry);
                for room in (0..geometry.capacity()).step_by(SECTOR * 3) {
                    let extent = Extent::of(len + ENTRY_PREFIX_BYTES, room, geometry);
                    assert!(extent.bytes <= worst, "{len} bytes with room {room}: {extent:?}");
                }
            }
        }
    }

    /// Promise: an extent counts whole sectors and exactly the slots that it enters.
    #[test]
    fn extents_fill_slots() {
        let geometry = Geometry::new(64 << 10).expect("a valid size");
        let capacity = geometry.capacity();
        let one = Extent::of(10, 2 * SECTOR as u64, geometry);
        assert_eq!(one, Extent { bytes: 4096, new_slots: 0, room_after: 4096 });
        let split = Extent::of(SECTOR, SECTOR as u64, geometry);
        assert_eq!(split, Extent { bytes: 8192, new_slots: 1, room_after: capacity - 4096 });
        let at_the_end = Extent::of(10, 0, geometry);
        assert_eq!(at_the_end, Extent { bytes: 4096, new_slots: 1, room_after: capacity - 4096 });
    }
}
