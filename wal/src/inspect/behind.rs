//! What of a log can still be read behind damage: for people who must decide what to do.

use super::FrameInfo;
use crate::arena::{HEAD_BYTES, MarkKind};
use crate::disk::AlignedBuf;
use crate::frame::{Entries, HEADER_BYTES, Header};
use crate::recovery::{Found, Place, read_patiently};
use crate::{Lsn, SECTOR};

/// Bytes looked at with one read: as many as the longest frame has.
const LOOK_BYTES: u64 = crate::frame::FRAME_BYTES_MAX as u64;

/// Good frames behind a place of a log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Behind {
    /// The frames, slot by slot: header and payload have their checksums, and each lies where its
    /// position says. That they continue each other is not checked.
    pub frames: Vec<FrameInfo>,
    /// Groups whose frames are all among them.
    pub groups: u64,
    /// Entries of these groups.
    pub entries: u64,
    /// Bytes that the device could not read.
    pub unreadable: u64,
}

/// A group whose last frame was not seen yet.
struct Open {
    next: Lsn,
    payload: Vec<u8>,
}

/// Where it is looked.
struct Looking<'a> {
    place: &'a Place,
    after: Lsn,
    open: Option<Open>,
    found: Behind,
}

impl Behind {
    pub(super) fn look<'a>(
        place: &Place,
        slots: impl Iterator<Item = &'a Found>,
        after: Lsn,
    ) -> Self {
        let mut looking = Looking { place, after, open: None, found: Self::default() };
        let mut slots: Vec<&Found> = slots.collect();
        slots.sort_by_key(|slot| slot.header.base);
        for slot in slots {
            looking.at_slot(slot);
        }
        looking.found
    }
}

impl Looking<'_> {
    fn at_slot(&mut self, slot: &Found) {
        let geometry = self.place.geometry;
        let start = geometry.slot_offset(slot.index) + HEAD_BYTES;
        let whole = geometry.slot_offset(slot.index + 1);
        let end = match slot.kind() {
            MarkKind::Linked(link) => whole.min(start + link.end.since(slot.header.base)),
            _ => whole,
        };
        let mut offset = start;
        while offset < end {
            let len = LOOK_BYTES.min(end - offset);
            offset += match self.read(offset, len) {
                Some(bytes) => self.frames(slot, offset, &bytes[..len as usize]),
                None => {
                    self.found.unreadable += len;
                    len
                }
            };
        }
    }

    fn read(&self, offset: u64, len: u64) -> Option<AlignedBuf> {
        let mut buf = AlignedBuf::new(len as usize).ok()?;
        read_patiently(&*self.place.file, &mut buf[..len as usize], offset).ok()?;
        Some(buf)
    }

    /// Takes the good frames in `bytes`; how many bytes are done with. A frame that goes on behind
    /// them is left for the next read.
    fn frames(&mut self, slot: &Found, offset: u64, bytes: &[u8]) -> u64 {
        let geometry = self.place.geometry;
        let first = geometry.slot_offset(slot.index) + HEAD_BYTES;
        let mut at = 0;
        while at < bytes.len() {
            let here = offset + at as u64;
            let lsn = slot.header.base.advanced(here - first);
            let header = Header::decode(&bytes[at..at + HEADER_BYTES], slot.header.nonce);
            let Some(header) = header.ok().filter(|header| header.lsn == lsn) else {
                at += SECTOR;
                continue;
            };
            let len = header.padded_bytes() as usize;
            if at > 0 && at + len > bytes.len() {
                break;
            }
            let frame = bytes.get(at..at + len);
            let Some(payload) = frame.and_then(|frame| header.check_payload(frame).ok()) else {
                at += SECTOR;
                continue;
            };
            at += len;
            if lsn > self.after {
                self.found.frames.push(FrameInfo { header, slot: slot.index, offset: here });
                self.add(&header, payload);
            }
        }
        at as u64
    }

    fn add(&mut self, header: &Header, payload: &[u8]) {
        let begun = self.open.take().filter(|open| header.continued() && open.next == header.lsn);
        let mut all = match begun {
            Some(open) => open.payload,
            None if header.continued() => return,
            None => Vec::new(),
        };
        all.extend_from_slice(payload);
        if header.continues() {
            self.open = Some(Open { next: header.end(), payload: all });
        } else if let Ok(entries) = Entries::check(&all) {
            self.found.groups += 1;
            self.found.entries += entries;
        }
    }
}
