//! Walking the frames of a log, and deciding what its end means.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::batch::{Batch, Group};
use super::stream::{READS_AHEAD, ReadFailed, Stream};
use super::{Chain, Found, read_patiently};
use crate::arena::{Geometry, HeadFlaw, MarkKind};
use crate::disk::{AlignedBuf, Disk, FileRef};
use crate::error::Witness;
use crate::frame::{Entries, Flaw, HEADER_BYTES, Header};
use crate::{Damage, History, LogIdentity, Lsn, Range, SECTOR, Term};

/// What the caller knows to have been durable: from a snapshot, a replica, the metadata.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Evidence {
    /// Everything below was durable in this log.
    pub durable: Lsn,
}

/// What a snapshot says of the place in the log where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Anchor {
    /// The place: between two groups.
    pub lsn: Lsn,
    /// Chain there.
    pub chain: u64,
    /// The terms of the log up to there.
    pub history: History,
}

/// How a log ended that is not damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tail {
    /// Nothing lies behind the end.
    Clean,
    /// A crash left something unfinished behind the end; it is erased before the log goes on.
    Torn {
        /// Where the log is cut.
        at: Lsn,
        /// How far traces were found behind that.
        bytes: u64,
    },
}

/// Bytes of frames after which a batch is handed out.
const BATCH_BYTES: u64 = 1 << 20;

/// The file that is read.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) file: FileRef,
    pub(crate) path: PathBuf,
    pub(crate) geometry: Geometry,
}

/// A log read to its end.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) chain: Chain,
    pub(crate) history: History,
    pub(crate) ended: Ended,
}

/// From where a log is read, and what is handed out of it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Reading {
    /// For the next start: what lies behind a snapshot, or all.
    From(Lsn),
    /// For people: everything that is there. The next start would read from this position, if it
    /// is known.
    Whole(Option<Lsn>),
}

/// What was found where the next frame should be, at the end of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stop {
    /// Byte position in the arena.
    pub offset: u64,
    /// Position in the log.
    pub lsn: Lsn,
    /// What is wrong with it.
    pub flaw: Flaw,
}

/// A frame as it was passed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Passed {
    pub(crate) header: Header,
    pub(crate) slot: u32,
    pub(crate) offset: u64,
}

/// A log being read and verified from the front.
pub(crate) struct Walk {
    place: Place,
    identity: LogIdentity,
    chain: Chain,
    /// Which slot of the chain is being read.
    at: usize,
    stream: Stream,
    lsn: Lsn,
    /// Where the walk began: the base of a slot.
    began: Lsn,
    sum: u64,
    history: History,
    from: Lsn,
    reading: Reading,
    hint: Lsn,
    sum_at_from: Option<u64>,
    group: Option<Partial>,
    ended: Option<Ended>,
    /// Frames passed, if somebody wants to see them.
    passed: Option<Vec<Passed>>,
}

/// A group whose last frame was not seen yet.
struct Partial {
    start: Lsn,
    sum: u64,
    term: Term,
    committed: Lsn,
    /// Its first frames lie before where the walk began.
    headless: bool,
    pieces: Vec<Bytes>,
}

/// Where and how a log ends.
#[derive(Clone, Debug)]
pub(crate) struct Ended {
    pub(crate) end: Lsn,
    pub(crate) sum: u64,
    pub(crate) tail: Tail,
    pub(crate) clean: bool,
    /// At what reading stopped, if not at a mark.
    pub(crate) stop: Option<Stop>,
    /// Traces lie up to here; what is erased.
    pub(crate) traces: Lsn,
}

impl std::fmt::Debug for Walk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Walk({} at {})", self.identity, self.lsn)
    }
}

impl Walk {
    pub(crate) fn new(
        place: Place,
        identity: LogIdentity,
        chain: Chain,
        (reading, hint): (Reading, Evidence),
    ) -> Result<Self, Damage> {
        if let Some(damage) = chain.damage.clone() {
            return Err(damage);
        }
        let first = chain.slots[0].header.base;
        let (from, begin) = match reading {
            Reading::From(from) => (from, from),
            Reading::Whole(from) => (from.unwrap_or(first), first),
        };
        if from < first {
            let present = vec![Range { start: first, end: None }];
            let missing = vec![Range { start: from, end: Some(first) }];
            return Err(Damage::Missing { path: place.path, identity, present, missing });
        }
        let at = chain.slots.partition_point(|slot| slot.header.base <= begin) - 1;
        let queue = place.disk.queue(READS_AHEAD).map_err(|error| Damage::Read {
            path: place.path.clone(),
            offset: 0,
            error: Arc::new(error),
        })?;
        let stream = Stream::new(place.file.clone(), queue, place.geometry.slot_bytes());
        let header = &chain.slots[at].header;
        let mut walk = Self {
            identity,
            at,
            stream,
            lsn: header.base,
            began: header.base,
            sum: header.chain,
            history: header.history.clone(),
            from,
            reading,
            hint: hint.durable.max(from),
            sum_at_from: None,
            group: None,
            ended: None,
            passed: None,
            place,
            chain,
        };
        walk.begin_slot()?;
        Ok(walk)
    }

    /// A walk that begins right at the anchor when the frame there proves that everything before it
    /// is what the snapshot holds: its chain is the anchor's. Else it begins at the slot's base and
    /// finds out. The frames before the anchor, up to a whole slot, are not read for nothing.
    pub(crate) fn behind(
        place: Place,
        identity: LogIdentity,
        chain: Chain,
        (anchor, hint): (&Anchor, Evidence),
    ) -> Result<Self, Damage> {
        let mut walk = Self::new(place, identity, chain, (Reading::From(anchor.lsn), hint))?;
        let base = walk.lsn;
        if anchor.lsn > base {
            walk.lsn = anchor.lsn;
            walk.begin_slot()?;
            if walk.stands_at(anchor) {
                walk.began = anchor.lsn;
                walk.sum = anchor.chain;
                walk.history = anchor.history.clone();
            } else {
                walk.lsn = base;
                walk.begin_slot()?;
            }
        }
        Ok(walk)
    }

    /// Whether the frame at the present position begins a group and continues what the anchor knows.
    fn stands_at(&mut self, anchor: &Anchor) -> bool {
        let nonce = self.slot().header.nonce;
        let head = self.stream.peek().ok().map(|bytes| Header::decode(bytes, nonce));
        let is_next = |header: &Header| {
            header.lsn == anchor.lsn && header.chain == anchor.chain && !header.continued()
        };
        head.and_then(Result::ok).is_some_and(|header| is_next(&header))
    }

    /// The first position that is still there.
    pub(crate) fn first_lsn(&self) -> Lsn {
        self.chain.slots[0].header.base
    }

    /// How far it was read.
    pub(crate) fn position(&self) -> Lsn {
        self.lsn
    }

    /// About how many bytes there are to read in all, and how many were read: for progress.
    pub(crate) fn done_and_total(&self) -> (u64, u64) {
        let last = self.chain.slots.last().expect("a log has at least one slot");
        let end = last.header.base.max(last.durable()).max(self.lsn);
        (self.lsn.since(self.from), end.since(self.from))
    }

    /// Chain at the position asked for, once it was passed: what a snapshot of that position must
    /// carry, or it is of another history.
    pub(crate) fn chain_at_from(&self) -> Option<u64> {
        self.sum_at_from
    }

    /// The next verified groups at or behind the position asked for; `None` at the end.
    ///
    /// # Errors
    /// [`Damage`] if what is there is not what was durable. What came before was good.
    pub(crate) fn next(&mut self) -> Result<Option<Batch>, Damage> {
        let mut batch = Batch::default();
        let start = self.lsn;
        while self.ended.is_none() {
            self.note_from()?;
            if let Some(group) = self.frame()? {
                if group.lsn < self.from && group.end > self.from {
                    return Err(self.not_a_boundary());
                }
                if group.lsn >= self.from || matches!(self.reading, Reading::Whole(_)) {
                    batch.push(group);
                }
            }
            if self.lsn.since(start) >= BATCH_BYTES && !batch.is_empty() {
                return Ok(Some(batch));
            }
        }
        Ok((!batch.is_empty()).then_some(batch))
    }

    /// Reads to the end, and says what it is.
    pub(crate) fn finish(mut self) -> Result<Finished, Damage> {
        while self.next()?.is_some() {}
        self.note_from()?;
        if self.sum_at_from.is_none() {
            return Err(self.not_a_boundary());
        }
        let ended = self.ended.expect("`next` says `None` only at the end");
        Ok(Finished { chain: self.chain, history: self.history, ended })
    }

    /// From now on remembers the frames that it passes.
    pub(crate) fn watch(&mut self) {
        self.passed.get_or_insert_default();
    }

    /// The frames passed since the last call.
    pub(crate) fn take_passed(&mut self) -> Vec<Passed> {
        self.passed.as_mut().map(std::mem::take).unwrap_or_default()
    }

    fn not_a_boundary(&self) -> Damage {
        let (path, lsn) = (self.place.path.clone(), self.from);
        Damage::NotABoundary { path, identity: self.identity, lsn }
    }

    fn note_from(&mut self) -> Result<(), Damage> {
        if self.lsn == self.from && self.sum_at_from.is_none() {
            if self.group.is_some() {
                return Err(self.not_a_boundary());
            }
            self.sum_at_from = Some(self.sum);
        }
        Ok(())
    }

    fn slot(&self) -> &Found {
        &self.chain.slots[self.at]
    }

    fn offset(&self) -> u64 {
        let slot = self.slot();
        self.place.geometry.frame_offset(slot.index, slot.header.base, self.lsn)
    }

    fn begin_slot(&mut self) -> Result<(), Damage> {
        let (index, kind) = (self.slot().index, self.slot().kind());
        let start = self.offset();
        let end = match kind {
            MarkKind::Linked(link) => start + link.end.since(self.lsn),
            _ => self.place.geometry.slot_offset(index + 1),
        };
        let end = end.min(self.place.geometry.slot_offset(index + 1));
        self.stream.begin(start, end).map_err(|failed| self.read_failed(failed))
    }

    fn read_failed(&self, failed: ReadFailed) -> Damage {
        let ReadFailed { offset, error } = failed;
        Damage::Read { path: self.place.path.clone(), offset, error: Arc::new(error) }
    }

    /// One step: a frame, the next slot, or the end. A group if the frame ended one.
    fn frame(&mut self) -> Result<Option<Group>, Damage> {
        match self.slot().kind() {
            MarkKind::Linked(link) if link.end == self.lsn => {
                self.next_slot()?;
                return Ok(None);
            }
            MarkKind::Clean if self.ends_clean_here() => {
                self.end(self.lsn, !self.slot().mark_flawed, None);
                return Ok(None);
            }
            MarkKind::Cut if self.slot().durable() == self.lsn => {
                let slot_end = self.slot().header.base.advanced(self.place.geometry.capacity());
                self.end(slot_end, false, None);
                return Ok(None);
            }
            _ => {}
        }
        match self.check_frame()? {
            Ok((header, frame)) => self.accept(&header, &frame),
            Err(flaw) => {
                self.judge(flaw)?;
                Ok(None)
            }
        }
    }

    /// The clean mark speaks of this place, and nobody knows of more.
    fn ends_clean_here(&self) -> bool {
        self.slot().durable() == self.lsn && self.group.is_none() && self.hint <= self.lsn
    }

    /// Reads and checks the frame at the present position.
    fn check_frame(&mut self) -> Result<Result<(Header, Bytes), Flaw>, Damage> {
        let nonce = self.slot().header.nonce;
        let head = match self.stream.peek() {
            Ok(bytes) => Header::decode(bytes, nonce),
            Err(failed) => return Err(self.read_failed(failed)),
        };
        let header = match head.and_then(|header| self.check_place(&header)) {
            Ok(header) => header,
            Err(flaw) => return Ok(Err(flaw)),
        };
        let len = header.padded_bytes() as usize;
        let frame = match self.stream.take(len) {
            Ok(frame) => frame,
            Err(failed) => return Err(self.read_failed(failed)),
        };
        if frame.len() < len {
            return Ok(Err(Flaw::Short { missing: (len - frame.len()) as u64 }));
        }
        Ok(header.check_payload(&frame).map(|_| (header, frame.clone())))
    }

    /// Checks that a good header is the one that belongs here.
    fn check_place(&self, header: &Header) -> Result<Header, Flaw> {
        if header.lsn != self.lsn {
            return Err(Flaw::Position { found: header.lsn });
        }
        if header.chain != self.sum {
            return Err(Flaw::Chain { expected: self.sum, found: header.chain });
        }
        let before = self.group.as_ref().map_or(self.history.term(), |group| group.term);
        if header.term < before {
            return Err(Flaw::Term { before, found: header.term });
        }
        let inside = self.group.is_some() || self.begins_inside(header);
        if header.continued() != inside || (inside && header.term != before) {
            return Err(Flaw::Group { flags: header.flags, inside });
        }
        Ok(*header)
    }

    /// Whether the walk begins in the middle of a group, one that began in a slot before. It ends
    /// at or before the position asked for, so nothing of it is wanted; where none was asked for,
    /// it is what remains of a group whose beginning was released, and no whole one.
    fn begins_inside(&self, header: &Header) -> bool {
        let begins = self.lsn == self.began && self.lsn > Lsn::ZERO && header.continued();
        begins && (self.lsn < self.from || self.begins_anywhere())
    }

    fn begins_anywhere(&self) -> bool {
        matches!(self.reading, Reading::Whole(None))
    }

    /// Takes a good frame.
    fn accept(&mut self, header: &Header, frame: &Bytes) -> Result<Option<Group>, Damage> {
        let payload = frame.slice(HEADER_BYTES..HEADER_BYTES + header.payload_len as usize);
        let group = self.group.get_or_insert_with(|| Partial {
            start: header.lsn,
            sum: self.sum,
            term: header.term,
            committed: header.committed,
            headless: header.continued(),
            pieces: Vec::new(),
        });
        if !group.headless {
            group.pieces.push(payload);
        }
        let (offset, lsn, slot) = (self.offset(), self.lsn, self.slot().index);
        if let Some(passed) = &mut self.passed {
            passed.push(Passed { header: *header, slot, offset });
        }
        self.sum = header.next_chain();
        self.lsn = header.end();
        if header.continues() {
            return Ok(None);
        }
        let group = self.group.take().expect("set above");
        if group.term > self.history.term() {
            self.history.begin(group.term, group.start);
        }
        if group.headless {
            let wanted = self.lsn > self.from && !self.begins_anywhere();
            return if wanted { Err(self.not_a_boundary()) } else { Ok(None) };
        }
        let payload = joined(group.pieces);
        if let Err(flaw) = Entries::check(&payload) {
            let (path, witness) = (self.place.path.clone(), Witness::Frame { lsn });
            return Err(Damage::Frame { path, offset, lsn, flaw, durable: self.lsn, witness });
        }
        Ok(Some(Group {
            lsn: group.start,
            end: self.lsn,
            term: group.term,
            committed: group.committed,
            payload,
        }))
    }

    fn next_slot(&mut self) -> Result<(), Damage> {
        self.at += 1;
        let (lsn, sum) = (self.lsn, self.sum);
        let Found { index, header, .. } = self.slot();
        assert!(header.base == lsn, "the survey links slots whose positions meet");
        let term = self.group.as_ref().map_or(self.history.term(), |group| group.term);
        if header.chain != sum || header.history.term() > term {
            let (slot, flaw) = (*index, HeadFlaw::Content);
            let offset = self.place.geometry.slot_offset(slot);
            return Err(Damage::Slot { path: self.place.path.clone(), offset, slot, lsn, flaw });
        }
        self.begin_slot()
    }

    /// There is no good frame where the next should be: a crash or damage?
    fn judge(&mut self, flaw: Flaw) -> Result<(), Damage> {
        let (mut durable, mut witness) = (self.hint, Witness::Caller);
        let mut consider = |lsn: Lsn, by: Witness| {
            if lsn > durable {
                (durable, witness) = (lsn, by);
            }
        };
        for slot in self.chain.slots.iter().chain(&self.chain.leftovers) {
            consider(slot.durable(), Witness::Mark { slot: slot.index });
        }
        let mut traces = self.lsn;
        let rest = self.chain.slots[self.at..].iter().chain(&self.chain.leftovers);
        let (mut here, slots): (bool, Vec<Found>) = (true, rest.cloned().collect());
        for slot in &slots {
            let from = if here { self.lsn } else { slot.header.base };
            self.scan(slot, from, &mut |header: &Header, at: Lsn| {
                consider(header.durable, Witness::Frame { lsn: header.lsn });
                if here {
                    traces = traces.max(at.advanced(header.padded_bytes()));
                }
            })?;
            here = false;
        }
        if durable > self.lsn {
            let (path, offset, lsn) = (self.place.path.clone(), self.offset(), self.lsn);
            return Err(Damage::Frame { path, offset, lsn, flaw, durable, witness });
        }
        let stop = Stop { offset: self.offset(), lsn: self.lsn, flaw };
        self.end(traces, false, Some(stop));
        Ok(())
    }

    /// Looks at every sector of a slot from `from` on for headers of its present use. Those are
    /// witnesses wherever they lie.
    fn scan(
        &self,
        slot: &Found,
        from: Lsn,
        seen: &mut dyn FnMut(&Header, Lsn),
    ) -> Result<(), Damage> {
        let geometry = self.place.geometry;
        let mut offset = geometry.frame_offset(slot.index, slot.header.base, from);
        let end = geometry.slot_offset(slot.index + 1);
        let failed = |offset, error: std::io::Error| Damage::Read {
            path: self.place.path.clone(),
            offset,
            error: Arc::new(error),
        };
        let step = (end - offset).min(BATCH_BYTES) as usize;
        if step == 0 {
            return Ok(());
        }
        let mut buf = AlignedBuf::new(step).map_err(|error| failed(offset, error))?;
        let mut lsn = from;
        while offset < end {
            let len = step.min((end - offset) as usize);
            read_patiently(&*self.place.file, &mut buf[..len], offset)
                .map_err(|error| failed(offset, error))?;
            for sector in buf[..len].chunks_exact(SECTOR) {
                if let Ok(header) = Header::decode(sector, slot.header.nonce) {
                    seen(&header, lsn);
                }
                lsn = lsn.advanced(SECTOR as u64);
            }
            offset += len as u64;
        }
        Ok(())
    }

    /// Ends the walk here; an unfinished group does not count.
    fn end(&mut self, traces: Lsn, clean: bool, stop: Option<Stop>) {
        let (end, sum) = self.group.as_ref().map_or((self.lsn, self.sum), |g| (g.start, g.sum));
        let traces = traces.max(self.lsn);
        let tail = if traces > end {
            Tail::Torn { at: end, bytes: traces.since(end) }
        } else {
            Tail::Clean
        };
        assert!(!clean || tail == Tail::Clean, "a clean end with something behind it");
        self.ended = Some(Ended { end, sum, tail, clean, stop, traces });
        self.lsn = end;
        self.sum = sum;
        self.group = None;
    }
}

/// The pieces of a group as one.
fn joined(mut pieces: Vec<Bytes>) -> Bytes {
    if pieces.len() == 1 {
        return pieces.swap_remove(0);
    }
    let mut all = BytesMut::with_capacity(pieces.iter().map(Bytes::len).sum());
    for piece in &pieces {
        all.extend_from_slice(piece);
    }
    all.freeze()
}
