//! One log in the driver: where its next frame goes, and what of it is in flight.
//!
//! Changing slots takes one more round trip, in which nothing else of this log is written:
//!
//! ```text
//!  old slot:   … frame, frame ┐                       ┌ link (both marks)
//!  new slot:   header ────────┴─ all of it durable ──►┴ frame, frame …
//! ```
//!
//! The header is durable before the link, and the old slot's frames before the link that vouches
//! for them. Frames behind the link count only when the link does.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::{Io, publish_in_flight, tell};
use crate::arena::{HEAD_BYTES, Link, Mark, MarkKind, SlotHeader};
use crate::device::{Core, count};
use crate::disk::AlignedBuf;
use crate::frame::{Frame, HEADER_BYTES, Header};
use crate::lock::lock;
use crate::log::{Event, Sealed, Shared, SlotRef};
use crate::{History, LogError, Lsn, SECTOR};

/// The slot being written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Active {
    pub(crate) slot: SlotRef,
    /// Sequence of its newest mark.
    pub(crate) marks: u64,
}

/// With what a lane begins.
#[derive(Debug)]
pub(crate) struct LaneStart {
    pub(crate) active: Active,
    pub(crate) lsn: Lsn,
    pub(crate) chain: u64,
    pub(crate) history: History,
}

/// One request in flight.
#[derive(Clone, Copy, Debug)]
struct Item {
    offset: u64,
    lsn: Lsn,
    /// The last group that ends in it; none does if it is a frame inside of one.
    ends: Option<u64>,
    /// Behind it, if it is frames.
    end: Option<Lsn>,
    written: bool,
    durable: bool,
}

/// Token bit of marks, which are not part of the order.
const MARK_BIT: u32 = 1 << 31;

/// A log as the driver sees it.
#[derive(Debug)]
pub(crate) struct Lane {
    log: Arc<Shared>,
    active: Active,
    /// Header written or being written: the slot that follows.
    next: Option<SlotRef>,
    groups: VecDeque<Sealed>,
    lsn: Lsn,
    chain: u64,
    history: History,
    flight: VecDeque<Item>,
    /// Number of the first item in flight.
    first: u32,
    durable: Lsn,
    marked: Lsn,
    mark_in_flight: bool,
    last_activity: Duration,
    completed: bool,
    failed: bool,
    news: bool,
}

impl Lane {
    pub(crate) fn new(log: Arc<Shared>, start: LaneStart) -> Self {
        assert!(start.lsn >= start.active.slot.base, "the end lies before its slot");
        Self {
            log,
            active: start.active,
            next: None,
            groups: VecDeque::new(),
            lsn: start.lsn,
            chain: start.chain,
            history: start.history,
            flight: VecDeque::new(),
            first: 0,
            durable: start.lsn,
            marked: start.lsn,
            mark_in_flight: false,
            last_activity: Duration::ZERO,
            completed: false,
            failed: false,
            news: false,
        }
    }

    pub(crate) fn log(&self) -> &Arc<Shared> {
        &self.log
    }

    pub(crate) fn durable(&self) -> Lsn {
        self.durable
    }

    pub(crate) fn active(&self) -> Active {
        self.active
    }

    pub(crate) fn history(&self) -> &History {
        &self.history
    }

    /// The slot that was made ready to follow.
    pub(crate) fn prepared(&self) -> Option<u32> {
        self.next.map(|slot| slot.index)
    }

    /// Takes the news flag.
    pub(crate) fn take_news(&mut self) -> bool {
        std::mem::take(&mut self.news)
    }

    /// Whether something is to be written or in flight.
    pub(crate) fn has_work(&self) -> bool {
        let dirty = self.log.dirty.load(Ordering::SeqCst);
        !self.failed && (dirty || !self.groups.is_empty() || !self.flight.is_empty())
    }

    /// Whether nothing at all is on its way, marks counted.
    pub(crate) fn is_quiet(&self) -> bool {
        !self.has_work() && !self.mark_in_flight
    }

    /// Seals if it is time, and takes over what was sealed. Whether an appender was in the way.
    pub(crate) fn gather(&mut self, core: &Core) -> bool {
        if self.failed || !self.log.dirty.load(Ordering::SeqCst) {
            return false;
        }
        let due = self.flight.is_empty() || std::mem::take(&mut self.completed);
        let mut contended = false;
        if self.groups.is_empty() && due {
            match self.log.try_seal() {
                Ok(Some(())) => {}
                Ok(None) => contended = true,
                Err(error) => self.fail(error),
            }
        }
        let sealed = std::mem::take(&mut *lock(&self.log.sealed));
        self.news |= !sealed.is_empty();
        self.groups.extend(sealed);
        self.last_activity = core.world.clock.now();
        contended && self.groups.is_empty()
    }

    /// Pushes as much as may go now.
    pub(crate) fn place(&mut self, core: &Core, io: &mut Io) {
        while !self.failed
            && !self.groups.is_empty()
            && self.flight.len() < core.options.log_depth
            && io.has_room()
        {
            let result =
                if self.fits(core) { self.place_frames(core, io) } else { self.switch(core, io) };
            match result {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => {
                    let error = self.write_error(core, self.lsn, self.active.slot.index, error);
                    self.fail(error);
                }
            }
        }
        publish_in_flight(&self.log, self.flight.len());
    }

    /// Whether the next frame fits what is left of the slot.
    fn fits(&self, core: &Core) -> bool {
        let room = core.geometry.capacity() - self.lsn.since(self.active.slot.base);
        let next = self.groups.front().and_then(|group| group.frames.front());
        next.is_some_and(|frame| frame.padded_bytes() <= room)
    }

    /// The next step of changing slots. False if it has to wait.
    fn switch(&mut self, core: &Core, io: &mut Io) -> io::Result<bool> {
        match self.next {
            None => self.push_slot_header(core, io),
            Some(next) if self.flight.is_empty() => self.push_link(core, io, next),
            Some(_) => Ok(false),
        }
    }

    fn push_slot_header(&mut self, core: &Core, io: &mut Io) -> io::Result<bool> {
        let Some(mut buf) = io.pool.get()? else { return Ok(false) };
        let index = lock(&self.log.space).enter();
        let slot = SlotRef { index, nonce: core.world.entropy.next(), base: self.lsn };
        let header = SlotHeader {
            identity: self.log.identity,
            base: self.lsn,
            chain: self.chain,
            history: self.history.clone(),
            nonce: slot.nonce,
        };
        let len = HEAD_BYTES as usize + SECTOR;
        // Zeros over the marks, and over the first frame of the slot's earlier use: so a slot
        // whose header is bad and whose first frame is zero never had a frame.
        buf[..len].fill(0);
        buf[..SECTOR].copy_from_slice(&header.encode());
        self.next = Some(slot);
        let offset = core.geometry.slot_offset(index);
        self.push(io, Item::aside(offset, self.lsn), (buf, len));
        Ok(true)
    }

    fn push_link(&mut self, core: &Core, io: &mut Io, next: SlotRef) -> io::Result<bool> {
        assert!(self.durable == self.lsn, "a slot is linked only when it is durable to its end");
        let Some(mut buf) = io.pool.get()? else { return Ok(false) };
        let link = Link { index: next.index, nonce: next.nonce, end: self.lsn };
        let kind = MarkKind::Linked(link);
        let mark = Mark { sequence: self.active.marks + 1, durable: self.lsn, kind };
        let sector = mark.encode(self.active.slot.nonce);
        buf[..SECTOR].copy_from_slice(&sector);
        buf[SECTOR..2 * SECTOR].copy_from_slice(&sector);
        let offset = core.geometry.slot_offset(self.active.slot.index) + SECTOR as u64;
        self.active = Active { slot: next, marks: 0 };
        self.next = None;
        lock(&self.log.slots).slots.push_back(next);
        count(&core.counting.marks, 1);
        self.push(io, Item::aside(offset, self.lsn), (buf, 2 * SECTOR));
        Ok(true)
    }

    /// Places the next frame, and whole groups of one frame behind it that fit into the same request: a log that
    /// follows another one has many small ones, and each request of a batch waits for the same flush.
    fn place_frames(&mut self, core: &Core, io: &mut Io) -> io::Result<bool> {
        let Some(mut buf) = io.pool.get()? else { return Ok(false) };
        let (slot, start) = (self.active.slot, self.lsn);
        let (mut len, mut ends) = (0, None);
        while len == 0 || (ends.is_some() && self.joins(core, buf.len() - len)) {
            let Some(group) = self.groups.front_mut() else { break };
            let Some(Frame { mut header, payload }) = group.frames.pop_front() else { break };
            header.committed = Lsn(self.log.committed.load(Ordering::Relaxed));
            header.durable = self.durable;
            ends = (!header.continues()).then_some(group.generation);
            let (payload_at, behind) = (len + HEADER_BYTES, len + HEADER_BYTES + payload.len());
            buf[len..payload_at].copy_from_slice(&header.encode(slot.nonce));
            buf[payload_at..behind].copy_from_slice(&payload);
            len += header.padded_bytes() as usize;
            buf[behind..len].fill(0);
            self.advance(core, &header);
        }
        if len == 0 {
            return Ok(false);
        }
        let offset = core.geometry.frame_offset(slot.index, slot.base, start);
        let end = Some(self.lsn);
        let item = Item { offset, lsn: start, ends, end, written: false, durable: false };
        self.push(io, item, (buf, len));
        Ok(true)
    }

    /// Whether the next frame is a group of its own that fits into the slot and into `room` bytes of a request.
    fn joins(&self, core: &Core, room: usize) -> bool {
        let next = self.groups.front().and_then(|group| group.frames.front());
        let is_whole = |frame: &&Frame| !frame.header.continued() && !frame.header.continues();
        let next = next.filter(is_whole).map(Frame::padded_bytes);
        next.is_some_and(|bytes| bytes <= room as u64) && self.fits(core)
    }

    /// Notes that a frame was placed.
    fn advance(&mut self, core: &Core, header: &Header) {
        assert!((header.lsn, header.chain) == (self.lsn, self.chain), "a frame out of its place");
        if header.term > self.history.term() {
            self.history.begin(header.term, header.lsn);
        }
        assert!(header.term == self.history.term(), "terms grow along a log");
        self.chain = header.next_chain();
        self.lsn = header.end();
        count(&core.counting.frames, 1);
        count(&core.counting.bytes, header.padded_bytes());
        if let Some(group) = self.groups.pop_front_if(|group| group.frames.is_empty()) {
            assert!(group.end == self.lsn, "a group ends where sealing said");
            count(&core.counting.groups, u64::from(!header.continues()));
            count(&core.counting.entries, group.entries);
        }
    }

    fn push(&mut self, io: &mut Io, item: Item, (buf, len): (AlignedBuf, usize)) {
        let sequence = self.first.wrapping_add(self.flight.len() as u32) & !MARK_BIT;
        self.flight.push_back(item);
        io.write(self.token(sequence), item.offset, buf.into_io_prefix(len));
    }

    fn token(&self, sequence: u32) -> u64 {
        u64::from(self.log.number) << 32 | u64::from(sequence)
    }

    /// Takes the end of a request.
    pub(crate) fn complete(
        &mut self,
        core: &Core,
        sequence: u32,
        result: io::Result<usize>,
        durable: bool,
    ) {
        if self.failed {
            return;
        }
        let mark = sequence & MARK_BIT != 0;
        let at = (sequence.wrapping_sub(self.first) & !MARK_BIT) as usize;
        if let Err(error) = result {
            let slot = self.active.slot.index;
            let lsn = if mark { self.durable } else { self.flight[at].lsn };
            let mut error = self.write_error(core, lsn, slot, error);
            if let (LogError::Write { offset, .. }, false) = (&mut error, mark) {
                *offset = self.flight[at].offset;
            }
            self.fail(error);
            return;
        }
        if mark {
            self.mark_in_flight = false;
            return;
        }
        let item = &mut self.flight[at];
        assert!(!item.written, "a request completed twice");
        item.written = true;
        item.durable = durable;
        self.settle(core);
    }

    /// The flush of a batch is done: all that was written is durable.
    pub(crate) fn complete_batch(&mut self, core: &Core) {
        for item in &mut self.flight {
            item.durable = item.written;
        }
        self.settle(core);
    }

    /// Advances over what is durable without a gap.
    fn settle(&mut self, core: &Core) {
        let written = self.flight.iter().take_while(|item| item.written);
        if let Some(end) = written.filter(|item| item.ends.is_some()).filter_map(|i| i.end).last() {
            let mut progress = lock(&self.log.progress);
            progress.positions.written = progress.positions.written.max(end);
            progress.positions.check();
        }
        let mut inside = None;
        while let Some(item) = self.flight.front().copied().filter(|item| item.durable) {
            self.flight.pop_front();
            self.first = self.first.wrapping_add(1) & !MARK_BIT;
            self.completed = true;
            let Some(end) = item.end else { continue };
            assert!(end > self.durable, "durable positions grow");
            self.durable = end;
            inside = Some(end);
            if let Some(generation) = item.ends {
                tell(&self.log, Event::Durable { generation, end }, &mut self.news);
                inside = None;
            }
        }
        if let Some(end) = inside {
            tell(&self.log, Event::Flushed { end }, &mut self.news);
        }
        self.last_activity = core.world.clock.now();
        publish_in_flight(&self.log, self.flight.len());
    }

    fn write_error(&self, core: &Core, lsn: Lsn, slot: u32, error: io::Error) -> LogError {
        let offset = core.geometry.slot_offset(slot);
        LogError::Write { path: core.path.clone(), offset, lsn, error: Arc::new(error) }
    }

    /// Ends the log. What is in flight completes into nothing.
    pub(crate) fn fail(&mut self, error: LogError) {
        if std::mem::replace(&mut self.failed, true) {
            return;
        }
        if !matches!(error, LogError::Closed) {
            tracing::error!(log = %self.log.identity, %error, "the log ends");
        }
        self.groups.clear();
        self.flight.clear();
        self.mark_in_flight = false;
        publish_in_flight(&self.log, 0);
        tell(&self.log, Event::Failed(error), &mut self.news);
    }

    /// When an idle mark is due; `None` if nothing is unmarked or something is on its way.
    pub(crate) fn mark_due(&self, idle: Duration) -> Option<Duration> {
        let quiet = !self.failed && self.is_quiet() && self.next.is_none();
        (quiet && self.marked < self.durable).then(|| self.last_activity + idle)
    }

    /// Pushes a mark that says how far the log is durable.
    pub(crate) fn push_mark(&mut self, core: &Core, io: &mut Io) -> bool {
        let Ok(Some(mut buf)) = io.pool.get() else { return false };
        let mark = self.next_mark(MarkKind::Running);
        buf[..SECTOR].copy_from_slice(&mark.encode(self.active.slot.nonce));
        let offset = mark_offset(core, self.active);
        self.marked = self.durable;
        self.mark_in_flight = true;
        count(&core.counting.marks, 1);
        io.write(self.token(MARK_BIT), offset, buf.into_io_prefix(SECTOR));
        true
    }

    /// The mark that follows in the active slot.
    pub(crate) fn next_mark(&mut self, kind: MarkKind) -> Mark {
        self.active.marks += 1;
        Mark { sequence: self.active.marks, durable: self.durable, kind }
    }

    /// Takes over where a cut has left the log.
    pub(crate) fn restart(&mut self, start: LaneStart) {
        assert!(self.is_quiet(), "restarting a lane with writes on their way");
        *self = Self::new(self.log.clone(), start);
    }
}

/// Where the newest mark of a slot goes: the two sectors take turns.
pub(crate) fn mark_offset(core: &Core, active: Active) -> u64 {
    let sector = 1 + (active.marks + 1) % 2;
    core.geometry.slot_offset(active.slot.index) + sector * SECTOR as u64
}

impl Item {
    /// A write that no position follows from.
    fn aside(offset: u64, lsn: Lsn) -> Self {
        Self { offset, lsn, ends: None, end: None, written: false, durable: false }
    }
}
