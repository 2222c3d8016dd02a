//! Reading a log while it is written: for shipping it, for inspection, before a cut.
//!
//! Frames are read from the file and checked again, so that damage stays where it is (catalogue
//! row D26). A slot that is released meanwhile is noticed by its nonce and by the slot table.

use std::sync::Arc;

use bytes::Bytes;

use crate::disk::AlignedBuf;
use crate::error::Witness;
use crate::frame::{Entries, Flaw, Header};
use crate::lock::lock;
use crate::log::{Hold, Shared};
use crate::recovery::read_patiently;
use crate::{CutError, Damage, Lsn, ReadError, SECTOR, Term};

/// Bytes read at once; a longer frame is read a second time, whole.
const READ_BYTES: usize = 64 << 10;

/// One frame, verbatim.
#[derive(Clone, Debug)]
pub struct Frame {
    /// What its header says.
    pub header: Header,
    /// Header, payload and padding, as on disk. The header's checksum is bound to the slot: a
    /// receiver checks payload and chain and encodes the header anew.
    pub bytes: Bytes,
}

impl Frame {
    /// The payload.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        let start = crate::frame::HEADER_BYTES;
        &self.bytes[start..start + self.header.payload_len as usize]
    }

    /// Its entries, if it holds a whole group.
    #[must_use]
    pub fn entries(&self) -> Option<Entries<'_>> {
        let whole = !self.header.continues() && !self.header.continued();
        whole.then(|| Entries::new(self.payload()))
    }
}

/// Frames of a log from a position on. Holds the log from there, so that nothing is released
/// under it.
#[derive(Debug)]
pub struct Reader {
    log: Arc<Shared>,
    lsn: Lsn,
    hold: Hold,
    /// Term of the frame that was read last, so that another begins at `lsn`.
    last: Option<Term>,
}

impl Reader {
    pub(crate) fn new(log: Arc<Shared>, lsn: Lsn) -> Result<Self, ReadError> {
        let hold = crate::Log { shared: log.clone() }.hold(lsn)?;
        Ok(Self { log, lsn, hold, last: None })
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
        let frame = match read_frame(&self.log, self.lsn, (written, false)) {
            Err(ReadError::NotAFrame { .. }) if self.continues() => {
                read_frame(&self.log, self.lsn, (written, true))?
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
}

/// Reads one frame. `begins`: a frame is known to begin there, so anything else is damage.
fn read_frame(log: &Shared, lsn: Lsn, (written, begins): (Lsn, bool)) -> Result<Frame, ReadError> {
    let (held, first) = {
        let table = lock(&log.slots);
        (table.holding(lsn), table.first())
    };
    let Some((slot, end)) = held else { return Err(ReadError::Released { lsn, first }) };
    if !lsn.0.is_multiple_of(SECTOR as u64) {
        return Err(ReadError::NotAFrame { lsn, written });
    }
    let core = &log.core;
    let offset = core.geometry.frame_offset(slot.index, slot.base, lsn);
    let slot_end = end.unwrap_or_else(|| slot.base.advanced(core.geometry.capacity()));
    let failed = |error: std::io::Error| {
        let (path, error) = (core.path.clone(), Arc::new(error));
        ReadError::Damage(Damage::Read { path, offset, error })
    };
    let want = READ_BYTES.min(slot_end.since(lsn) as usize);
    let mut buf = AlignedBuf::new(want).map_err(failed)?;
    read_patiently(&*core.file, &mut buf, offset).map_err(failed)?;
    let bad = |flaw: Flaw| {
        let (path, witness) = (core.path.clone(), Witness::Frame { lsn });
        ReadError::Damage(Damage::Frame { path, offset, lsn, flaw, durable: written, witness })
    };
    let header = match Header::decode(&buf, slot.nonce) {
        Ok(header) => header,
        Err(Flaw::Magic { .. } | Flaw::HeaderSum { .. }) if !begins => {
            return Err(ReadError::NotAFrame { lsn, written });
        }
        Err(flaw) => return Err(bad(flaw)),
    };
    if header.lsn != lsn {
        return Err(bad(Flaw::Position { found: header.lsn }));
    }
    let len = header.padded_bytes() as usize;
    if len > buf.len() {
        if header.end() > slot_end {
            return Err(bad(Flaw::Short { missing: header.end().since(slot_end) }));
        }
        buf = AlignedBuf::new(len).map_err(failed)?;
        read_patiently(&*core.file, &mut buf, offset).map_err(failed)?;
    }
    header.check_payload(&buf).map_err(bad)?;
    Ok(Frame { header, bytes: Bytes::copy_from_slice(&buf[..len]) })
}

/// Checks that a group ends at `to`, by walking its slot, and gives the chain there.
pub(crate) fn boundary_before(log: &Shared, to: Lsn) -> Result<u64, CutError> {
    let written = lock(&log.progress).positions.written;
    let held = lock(&log.slots).slots.iter().rev().find(|slot| slot.base <= to).copied();
    let (Some(slot), true) = (held, to <= written) else {
        return Err(CutError::NotABoundary { to });
    };
    let (header, inside) = slot_start(log, slot)?;
    let (mut at, mut chain, mut inside) = (slot.base, header, inside);
    let mut stretch = Stretch { log, slot, written, from: slot.base, bytes: None };
    while at < to {
        let header = stretch.frame_at(at)?;
        chain = header.next_chain();
        inside = header.continues();
        at = header.end();
    }
    if at != to || inside { Err(CutError::NotABoundary { to }) } else { Ok(chain) }
}

/// Bytes of a stretch: few reads, and none that keeps the device from a commit for long.
const STRETCH_BYTES: u64 = 256 << 10;

/// Frames of one slot, read many at a time.
struct Stretch<'a> {
    log: &'a Shared,
    slot: crate::log::SlotRef,
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
fn slot_start(log: &Shared, slot: crate::log::SlotRef) -> Result<(u64, bool), ReadError> {
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
    let inside = slot.base < written
        && read_frame(log, slot.base, (written, true)).is_ok_and(|frame| frame.header.continued());
    Ok((header.chain, inside))
}
