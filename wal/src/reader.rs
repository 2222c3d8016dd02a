//! Reading a log while it is written: for shipping it, for inspection, before a cut.
//!
//! Frames are read from the file and checked again, so that damage stays where it is (catalogue
//! row D26). A slot that is released meanwhile is noticed by its nonce and by the slot table.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;

use crate::disk::AlignedBuf;
use crate::error::Witness;
use crate::frame::{Flaw, Frame, HEADER_BYTES, Header};
use crate::lock::lock;
use crate::log::{FoundBoundary, Hold, Shared, SlotRef};
use crate::recovery::read_patiently;
use crate::{CutError, Damage, Lsn, ReadError, SECTOR, Term};

/// Bytes read at first; a longer frame is read a second time, whole.
const READ_BYTES: u64 = 64 << 10;
/// Bytes read at once by who reads on.
const READ_AHEAD_BYTES: u64 = 1 << 20;

/// Frames of a log from a position on. Holds the log from there, so that nothing is released
/// under it.
#[derive(Debug)]
pub struct Reader {
    log: Arc<Shared>,
    lsn: Lsn,
    hold: Hold,
    /// Term of the frame that was read last, so that another begins at `lsn`.
    last: Option<Term>,
    ahead: Option<Ahead>,
}

/// Bytes that were read and may hold the next frames.
#[derive(Debug)]
struct Ahead {
    from: Lsn,
    /// The use of the slot that they are of.
    nonce: u64,
    /// Cuts of the log before: what was read is void after another.
    cuts: u64,
    bytes: Bytes,
}

impl Ahead {
    /// What is known from `lsn` on.
    fn behind(&self, log: &Shared, lsn: Lsn, nonce: u64) -> Option<Bytes> {
        let valid = self.nonce == nonce && self.cuts == log.cuts.load(Ordering::Acquire);
        let at = (valid && lsn >= self.from).then(|| lsn.since(self.from) as usize)?;
        (at < self.bytes.len()).then(|| self.bytes.slice(at..))
    }
}

impl Reader {
    pub(crate) fn new(log: Arc<Shared>, lsn: Lsn) -> Result<Self, ReadError> {
        let hold = crate::Log { shared: log.clone() }.hold(lsn)?;
        Ok(Self { log, lsn, hold, last: None, ahead: None })
    }

    /// The position of the next frame.
    #[must_use]
    pub fn position(&self) -> Lsn {
        self.lsn
    }

    /// The next frame; `None` at the end of what is written now.
    ///
    /// # Errors
    /// [`ReadError`].
    #[expect(clippy::should_implement_trait, reason = "more may come after `None`")]
    pub fn next(&mut self) -> Result<Option<Frame>, ReadError> {
        let written = lock(&self.log.progress).positions.written;
        if self.lsn >= written {
            return Ok(None);
        }
        let frame = match self.read_frame(written, false) {
            Err(ReadError::NotAFrame { .. }) if self.continues() => {
                self.read_frame(written, true)?
            }
            other => other?,
        };
        self.last = Some(frame.header.term);
        assert!(frame.header.end() > self.lsn, "a frame has a length");
        self.lsn = frame.header.end();
        self.hold.advance(self.lsn);
        Ok(Some(frame))
    }

    /// Whether a frame must begin where the last one ended: it was read, and the log was not cut
    /// before it since, which would have begun a newer term there.
    fn continues(&self) -> bool {
        let Some(last) = self.last else { return false };
        let mut driver = self.log.core.driver();
        let Some(lane) = driver.lane(self.log.number) else { return false };
        let mut terms = lane.history().entries().iter();
        !terms.any(|begun| begun.term > last && begun.start < self.lsn)
    }

    /// Reads one frame. `begins`: a frame is known to begin there, so anything else is damage.
    fn read_frame(&mut self, written: Lsn, begins: bool) -> Result<Frame, ReadError> {
        let (log, lsn) = (self.log.clone(), self.lsn);
        let place = Place::of(&log, lsn, written)?;
        let bytes = match self.ahead.as_ref().and_then(|a| a.behind(&log, lsn, place.slot.nonce)) {
            Some(bytes) => bytes,
            None => {
                self.fetch(&place, if self.last.is_some() { READ_AHEAD_BYTES } else { READ_BYTES })?
            }
        };
        let header = place.header(&bytes, begins)?;
        let len = header.padded_bytes();
        let bytes = if len > bytes.len() as u64 {
            if header.end() > place.end {
                return Err(place.bad(Flaw::Short { missing: header.end().since(place.end) }));
            }
            self.fetch(&place, len.max(READ_AHEAD_BYTES))?
        } else {
            bytes
        };
        // Read anew, it may not be the header that was seen before.
        let header = place.header(&bytes, begins)?;
        header.check_payload(&bytes).map_err(|flaw| place.bad(flaw))?;
        let payload = bytes.slice(HEADER_BYTES..HEADER_BYTES + header.payload_len as usize);
        Ok(Frame { header, payload })
    }

    /// Reads from the place on, and keeps what comes behind the frame.
    fn fetch(&mut self, place: &Place<'_>, want: u64) -> Result<Bytes, ReadError> {
        let cuts = self.log.cuts.load(Ordering::Acquire);
        let there = place.end.min(place.written).since(place.lsn);
        let len = want.min(there).max(SECTOR as u64) as usize;
        let mut buf = AlignedBuf::new(len).map_err(|error| place.failed(error))?;
        read_patiently(&*self.log.core.file, &mut buf, place.offset)
            .map_err(|error| place.failed(error))?;
        let bytes = Bytes::from_owner(buf);
        let (from, nonce) = (place.lsn, place.slot.nonce);
        self.ahead = Some(Ahead { from, nonce, cuts, bytes: bytes.clone() });
        Ok(bytes)
    }
}

/// Where a frame is to be read.
struct Place<'a> {
    log: &'a Shared,
    lsn: Lsn,
    written: Lsn,
    slot: SlotRef,
    /// Where the slot's frames end at the latest.
    end: Lsn,
    offset: u64,
}

impl<'a> Place<'a> {
    fn of(log: &'a Shared, lsn: Lsn, written: Lsn) -> Result<Self, ReadError> {
        let (held, first) = {
            let table = lock(&log.slots);
            (table.holding(lsn), table.first())
        };
        let Some((slot, end)) = held else { return Err(ReadError::Released { lsn, first }) };
        if !lsn.0.is_multiple_of(SECTOR as u64) {
            return Err(ReadError::NotAFrame { lsn, written });
        }
        let geometry = log.core.geometry;
        let offset = geometry.frame_offset(slot.index, slot.base, lsn);
        let end = end.unwrap_or_else(|| slot.base.advanced(geometry.capacity()));
        Ok(Self { log, lsn, written, slot, end, offset })
    }

    fn failed(&self, error: std::io::Error) -> ReadError {
        let (path, error) = (self.log.core.path.clone(), Arc::new(error));
        ReadError::Damage(Damage::Read { path, offset: self.offset, error })
    }

    fn bad(&self, flaw: Flaw) -> ReadError {
        let (path, lsn, offset) = (self.log.core.path.clone(), self.lsn, self.offset);
        let (witness, durable) = (Witness::Frame { lsn }, self.written);
        ReadError::Damage(Damage::Frame { path, offset, lsn, flaw, durable, witness })
    }

    fn header(&self, bytes: &[u8], begins: bool) -> Result<Header, ReadError> {
        let (lsn, written) = (self.lsn, self.written);
        match Header::decode(bytes, self.slot.nonce) {
            Ok(header) if header.lsn == lsn => Ok(header),
            Ok(header) => Err(self.bad(Flaw::Position { found: header.lsn })),
            Err(Flaw::Magic { .. } | Flaw::HeaderSum { .. }) if !begins => {
                Err(ReadError::NotAFrame { lsn, written })
            }
            Err(flaw) => Err(self.bad(flaw)),
        }
    }
}

/// Whether a group runs across the beginning of a slot.
fn begins_inside(log: &Arc<Shared>, slot: SlotRef, written: Lsn) -> bool {
    let reader = Reader::new(log.clone(), slot.base);
    reader
        .and_then(|mut reader| reader.read_frame(written, true))
        .is_ok_and(|frame| frame.header.continued())
}

/// Checks that a group ends at `to`, by walking its slot, and gives the chain there. Who cuts asks twice:
/// what was found last is remembered until the log is cut.
pub(crate) fn boundary_before(log: &Arc<Shared>, to: Lsn) -> Result<u64, CutError> {
    let written = lock(&log.progress).positions.written;
    let held = lock(&log.slots).slots.iter().rev().find(|slot| slot.base <= to).copied();
    let (Some(slot), true) = (held, to <= written) else {
        return Err(CutError::NotABoundary { to });
    };
    let cuts = log.cuts.load(Ordering::Acquire);
    if let Some(found) = lock(&log.boundary).filter(|found| (found.lsn, found.cuts) == (to, cuts)) {
        return Ok(found.chain);
    }
    let (header, inside) = slot_start(log, slot)?;
    let (mut at, mut chain, mut inside) = (slot.base, header, inside);
    let mut stretch = Stretch { log, slot, written, from: slot.base, bytes: None };
    while at < to {
        let header = stretch.frame_at(at)?;
        chain = header.next_chain();
        inside = header.continues();
        at = header.end();
    }
    if at != to || inside {
        return Err(CutError::NotABoundary { to });
    }
    *lock(&log.boundary) = Some(FoundBoundary { lsn: to, chain, cuts });
    Ok(chain)
}

/// Bytes of a stretch: few reads, and none that keeps the device from a commit for long.
const STRETCH_BYTES: u64 = 256 << 10;

/// Frames of one slot, read many at a time.
struct Stretch<'a> {
    log: &'a Shared,
    slot: SlotRef,
    written: Lsn,
    /// Where `bytes` begin.
    from: Lsn,
    bytes: Option<AlignedBuf>,
}

impl Stretch<'_> {
    /// Checks the frame that begins at `at`.
    fn frame_at(&mut self, at: Lsn) -> Result<Header, ReadError> {
        self.check(at).map_err(|damage| {
            // A slot that was released and used again holds other frames than was thought.
            let table = lock(&self.log.slots);
            let still = table.holding(at).is_some_and(|(slot, _)| slot.nonce == self.slot.nonce);
            if still {
                damage.into()
            } else {
                ReadError::Released { lsn: at, first: table.first() }
            }
        })
    }

    fn check(&mut self, at: Lsn) -> Result<Header, Damage> {
        let (core, written) = (&self.log.core, self.written);
        let offset = core.geometry.frame_offset(self.slot.index, self.slot.base, at);
        let damaged = |flaw: Flaw| {
            let (path, witness) = (core.path.clone(), Witness::Frame { lsn: at });
            Damage::Frame { path, offset, lsn: at, flaw, durable: written, witness }
        };
        let nonce = self.slot.nonce;
        let header = Header::decode(self.bytes_at(at, SECTOR as u64)?, nonce).map_err(damaged)?;
        if header.lsn != at {
            return Err(damaged(Flaw::Position { found: header.lsn }));
        }
        if header.end() > self.written {
            return Err(damaged(Flaw::Short { missing: header.end().since(self.written) }));
        }
        let bytes = self.bytes_at(at, header.padded_bytes())?;
        header.check_payload(bytes).map_err(damaged)?;
        Ok(header)
    }

    /// At least `len` written bytes from `at` on.
    fn bytes_at(&mut self, at: Lsn, len: u64) -> Result<&[u8], Damage> {
        let core = &self.log.core;
        let known = self.bytes.as_ref().map_or(0, |bytes| bytes.len() as u64);
        if at < self.from || at.since(self.from) + len > known {
            let offset = core.geometry.frame_offset(self.slot.index, self.slot.base, at);
            let failed = |error: std::io::Error| Damage::Read {
                path: core.path.clone(),
                offset,
                error: Arc::new(error),
            };
            let rest = self.written.since(at).max(len);
            let want = rest.min(STRETCH_BYTES.max(len)).next_multiple_of(SECTOR as u64);
            let mut bytes = AlignedBuf::new(want as usize).map_err(failed)?;
            read_patiently(&*core.file, &mut bytes, offset).map_err(failed)?;
            (self.from, self.bytes) = (at, Some(bytes));
        }
        let bytes = self.bytes.as_ref().expect("read just now, or before");
        Ok(&bytes[at.since(self.from) as usize..])
    }
}

/// Chain at a slot's base, and whether a group runs across it.
fn slot_start(log: &Arc<Shared>, slot: SlotRef) -> Result<(u64, bool), ReadError> {
    let core = &log.core;
    let offset = core.geometry.slot_offset(slot.index);
    let failed = |error: std::io::Error| {
        let (path, error) = (core.path.clone(), Arc::new(error));
        ReadError::Damage(Damage::Read { path, offset, error })
    };
    let mut sector = AlignedBuf::new(SECTOR).map_err(failed)?;
    read_patiently(&*core.file, &mut sector, offset).map_err(failed)?;
    let head = sector.first_chunk().expect("a sector was read");
    let header = crate::arena::SlotHeader::decode(head)
        .ok()
        .filter(|header| header.nonce == slot.nonce)
        .ok_or_else(|| {
            let (path, flaw) = (core.path.clone(), crate::arena::HeadFlaw::Content);
            Damage::Slot { path, offset, slot: slot.index, lsn: slot.base, flaw }
        })?;
    let written = lock(&log.progress).positions.written;
    let inside = slot.base < written && begins_inside(log, slot, written);
    Ok((header.chain, inside))
}
