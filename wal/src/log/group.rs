//! The group that is being filled, and how a finished one is cut into frames.
//!
//! ```text
//!  open group ──append──► open group ──seal──► Sealed ──driver──► frames on disk
//!  generation g                                generation g; the open group is now g + 1
//!                                 follow ──────► frames of another copy's log, verbatim
//! ```
//!
//! Everything about a frame but its place in the arena is settled at sealing, by arithmetic and one
//! pass over the payload: so it can be shipped while it is written. Frames fill a slot to its last
//! sector; those of another copy, whose slots begin elsewhere, may leave the end of one unused.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

use crate::arena::Geometry;
use crate::frame::{CONTINUED, CONTINUES, ENTRY_PREFIX_BYTES, Flaw, HEADER_BYTES, Header};
use crate::{Frame, Lsn, SECTOR, Term};

/// The group that takes entries.
#[derive(Debug)]
pub(crate) struct OpenGroup {
    /// Its number; grows by one with each group.
    pub(crate) generation: u64,
    /// Where the next frame will begin.
    pub(crate) start: Lsn,
    /// Chain there.
    pub(crate) chain: u64,
    /// Encoded entries.
    pub(crate) payload: BytesMut,
    /// How many.
    pub(crate) entries: u64,
    /// The mastership that its frames are written in.
    pub(crate) term: Term,
    /// Bytes of log promised to its entries by reservations.
    pub(crate) promised: u64,
    /// Write a frame even without entries: it makes a term durable.
    pub(crate) forced: bool,
    /// Bytes left of the slot that the next frame starts in.
    pub(crate) room: u64,
    /// Frames of the group are sealed and its last one is to come: only when following.
    pub(crate) inside: bool,
    /// No more entries: the log was closed.
    pub(crate) closed: bool,
}

/// Frames on their way to the disk: a group, or the piece of one that has come.
#[derive(Debug)]
pub(crate) struct Sealed {
    pub(crate) generation: u64,
    pub(crate) end: Lsn,
    pub(crate) entries: u64,
    pub(crate) frames: VecDeque<Frame>,
}

impl Sealed {
    /// Whether the group's last frame is among them.
    pub(crate) fn is_whole(&self) -> bool {
        self.frames.back().is_some_and(|frame| !frame.header.continues())
    }
}

impl OpenGroup {
    /// Whether there is nothing to seal.
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
    pub(crate) fn seal(&mut self, geometry: Geometry) -> (Sealed, u32) {
        assert!(!self.is_empty(), "sealing nothing");
        assert!(!self.inside, "entries behind half a group");
        let mut rest = self.payload.split().freeze();
        let (mut frames, mut new_slots, mut continued) = (VecDeque::with_capacity(1), 0, 0);
        loop {
            if self.room == 0 {
                new_slots += 1;
                self.room = geometry.capacity();
            }
            let piece = rest.split_to(piece_bytes(rest.len(), self.room, geometry));
            let flags = continued | if rest.is_empty() { 0 } else { CONTINUES };
            let frame = self.frame(piece, flags);
            self.advance(&frame.header);
            frames.push_back(frame);
            continued = CONTINUED;
            if rest.is_empty() {
                break;
            }
        }
        let (generation, end, entries) = (self.generation, self.start, self.entries);
        self.generation += 1;
        (self.entries, self.promised, self.forced) = (0, 0, false);
        (Sealed { generation, end, entries, frames }, new_slots)
    }

    fn frame(&self, payload: Bytes, flags: u16) -> Frame {
        let header = Header {
            lsn: self.start,
            term: self.term,
            chain: self.chain,
            flags,
            payload_len: payload.len() as u32,
            payload_crc: crc32fast::hash(&payload),
            // What one disk knows is filled in where it is written.
            committed: Lsn::ZERO,
            durable: Lsn::ZERO,
        };
        Frame { header, payload }
    }

    fn advance(&mut self, header: &Header) {
        (self.start, self.chain) = (header.end(), header.next_chain());
        self.room -= header.padded_bytes();
    }

    /// Takes a frame of another copy's log as it is: what it is a part of, and how many new slots
    /// it reaches into.
    ///
    /// # Errors
    /// Why it is not the next frame of this log.
    pub(crate) fn follow(
        &mut self,
        frame: Frame,
        geometry: Geometry,
    ) -> Result<(Sealed, u32), Flaw> {
        assert!(self.is_empty(), "following with entries of its own");
        let header = frame.header;
        self.check_next(&header)?;
        if header.padded_bytes() > geometry.capacity() {
            return Err(Flaw::Length { found: header.payload_len });
        }
        let new_slots = u32::from(header.padded_bytes() > self.room);
        if new_slots > 0 {
            self.room = geometry.capacity();
        }
        self.advance(&header);
        self.term = header.term;
        self.inside = header.continues();
        let generation = self.generation;
        self.generation += u64::from(!self.inside);
        let frames = VecDeque::from([frame]);
        Ok((Sealed { generation, end: self.start, entries: 0, frames }, new_slots))
    }

    fn check_next(&self, header: &Header) -> Result<(), Flaw> {
        if header.lsn != self.start {
            return Err(Flaw::Position { found: header.lsn });
        }
        if header.chain != self.chain {
            return Err(Flaw::Chain { expected: self.chain, found: header.chain });
        }
        if header.term < self.term {
            return Err(Flaw::Term { before: self.term, found: header.term });
        }
        if header.continued() != self.inside {
            return Err(Flaw::Group { flags: header.flags, inside: self.inside });
        }
        Ok(())
    }
}

fn entry_fits(len: usize) -> bool {
    len <= crate::frame::ENTRY_BYTES_MAX
}

/// How much of `rest` the next frame carries where `room` bytes are left in the slot.
fn piece_bytes(rest: usize, room: u64, geometry: Geometry) -> usize {
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

/// Most bytes of log that frames of another copy take which have so many: each may leave less than
/// its own length unused at the end of a slot.
pub(crate) const fn worst_frame_bytes(bytes: u64) -> u64 {
    2 * bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(room: u64) -> OpenGroup {
        OpenGroup {
            generation: 1,
            start: Lsn(SECTOR as u64 * 7),
            chain: 99,
            payload: BytesMut::new(),
            entries: 0,
            term: Term(1),
            promised: 0,
            forced: false,
            room,
            inside: false,
            closed: false,
        }
    }

    /// A group of one entry that begins with `room` left in its slot: its frames, the slots that it
    /// enters, the bytes that it takes.
    fn sealed(len: usize, room: u64, geometry: Geometry) -> (Sealed, u32, u64, OpenGroup) {
        let mut group = open(room);
        let start = group.start;
        group.push(&[&vec![5; len]], 0);
        let (sealed, slots) = group.seal(geometry);
        let bytes = sealed.end.since(start);
        (sealed, slots, bytes, group)
    }

    /// Promise (D21): what was reserved for an entry is never less than what it takes, whatever
    /// is left of the slot it starts in.
    #[test]
    fn d21_the_worst_case_covers_every_case() {
        for slot_bytes in [64 << 10, 1 << 20, 16 << 20] {
            let geometry = Geometry::new(slot_bytes).expect("a valid size");
            let step = (geometry.capacity() / 16).next_multiple_of(SECTOR as u64);
            for len in [0, 1, 4028, 4029, 51_000, 52_000, 1 << 20, 3_333_333] {
                let worst = worst_bytes(len, geometry);
                for room in (0..geometry.capacity()).step_by(step as usize) {
                    let (sealed, _, bytes, _) = sealed(len, room, geometry);
                    assert!(bytes <= worst, "{len} bytes with room {room}: {sealed:?}");
                }
            }
        }
    }

    /// Promise: a group counts whole sectors and exactly the slots that it enters.
    #[test]
    fn groups_fill_slots() {
        let geometry = Geometry::new(64 << 10).expect("a valid size");
        let capacity = geometry.capacity();
        let taken = |len: usize, room| {
            let (_, slots, bytes, group) = sealed(len - ENTRY_PREFIX_BYTES, room, geometry);
            (bytes, slots, group.room)
        };
        assert_eq!(taken(10, 2 * SECTOR as u64), (4096, 0, 4096));
        assert_eq!(taken(SECTOR, SECTOR as u64), (8192, 1, capacity - 4096));
        assert_eq!(taken(10, 0), (4096, 1, capacity - 4096));
    }

    /// Promise: frames that are followed give the log that they come from, position by position,
    /// wherever its slots begin; and never more space than their worst case.
    #[test]
    fn d21_frames_fit_other_slots() {
        let geometry = Geometry::new(64 << 10).expect("a valid size");
        for len in [0, 5000, 52_000, 400_000] {
            for room in (0..geometry.capacity()).step_by(SECTOR) {
                let (source, _, bytes, _) = sealed(len, 3 * SECTOR as u64, geometry);
                let mut group = open(room);
                let mut slots = 0;
                for frame in source.frames.clone() {
                    let (piece, entered) = group.follow(frame, geometry).expect("the next frame");
                    assert_eq!(piece.is_whole(), piece.end == source.end);
                    slots += entered;
                }
                assert_eq!((group.start, group.inside, group.generation), (source.end, false, 2));
                let used = room + u64::from(slots) * geometry.capacity() - group.room;
                assert!(used <= worst_frame_bytes(bytes), "{used} of {bytes} with room {room}");
            }
        }
    }

    /// Promise (D26): a frame that does not continue the log changes nothing.
    #[test]
    fn d26_a_frame_that_is_not_the_next_is_refused() {
        let geometry = Geometry::new(64 << 10).expect("a valid size");
        let (source, ..) = sealed(60_000, 3 * SECTOR as u64, geometry);
        let first = source.frames[0].clone();
        let refused = |change: fn(&mut Header)| {
            let mut group = open(geometry.capacity());
            let mut frame = first.clone();
            change(&mut frame.header);
            let flaw = group.follow(frame, geometry).expect_err("not the next frame");
            assert_eq!((group.start, group.chain, group.inside), (first.header.lsn, 99, false));
            flaw
        };
        assert!(matches!(refused(|header| header.lsn.0 += 4096), Flaw::Position { .. }));
        assert!(matches!(refused(|header| header.chain ^= 1), Flaw::Chain { .. }));
        assert!(matches!(refused(|header| header.term = Term(0)), Flaw::Term { .. }));
        assert!(matches!(refused(|header| header.flags |= CONTINUED), Flaw::Group { .. }));
    }
}
