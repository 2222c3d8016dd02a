//! The changes to a log that are not appends: making, opening, cutting, closing, giving back.
//!
//! All are done by blocking writes, each step flushed before the next, so that a crash between
//! any two leaves something that recovery understands:
//!
//! ```text
//!  cut:      mark "cut at X" ─► zeros behind X, later heads erased ─► mark "runs, durable X"
//!            from the first step on the log is cut; whoever finds that mark does the rest again
//!  release:  oldest slot's head erased ─► next oldest … : what is left is always a whole tail
//! ```

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::core::Core;
use super::{LogStart, count};
use crate::arena::{HEAD_BYTES, Mark, MarkKind, SlotHeader};
use crate::disk::AlignedBuf;
use crate::driver::{Active, Lane, LaneStart, mark_offset};
use crate::lock::lock;
use crate::log::{Log, Observer, Shared, SlotRef, SlotTable, Start, worst_bytes};
use crate::reader::boundary_before;
use crate::recovery::{Chain, Ended, Found, Recovered, Tail, survey};
use crate::{CutError, Damage, DurableMode, History, LogError, LogIdentity, Lsn, SECTOR};

/// Bytes zeroed at once.
const ZERO_WRITE_BYTES: u64 = 1 << 20;

/// What a cut needs to know.
struct Cut {
    active: Active,
    to: Lsn,
    /// Everything of the slot below is to be zeroed.
    traces: Lsn,
    /// Slots to be erased.
    later: Vec<u32>,
}

impl Core {
    pub(super) fn write(&self, bytes: &AlignedBuf, offset: u64, lsn: Lsn) -> Result<(), LogError> {
        self.file.write_at(bytes, offset).map_err(|error| LogError::Write {
            path: self.path.clone(),
            offset,
            lsn,
            error: Arc::new(error),
        })
    }

    /// Flushes; a failure ends all logs of the device, since they share the file.
    fn flush(&self, lsn: Lsn) -> Result<(), LogError> {
        count(&self.counting.flushes, 1);
        self.flush_file().map_err(|error| LogError::Flush {
            path: self.path.clone(),
            lsn,
            error: Arc::new(error),
        })
    }

    /// Flushes the arena. After a failure the device's own writes that wait for their flush may be
    /// lost, and no later flush would say so (catalogue D18): then none of it counts any more.
    pub(super) fn flush_file(&self) -> io::Result<()> {
        let flushed = self.file.flush();
        if flushed.is_err() && self.options.durable == DurableMode::BatchFlush {
            self.signal.fail_device();
        }
        flushed
    }

    fn zeroed(&self, bytes: u64, lsn: Lsn) -> Result<AlignedBuf, LogError> {
        AlignedBuf::new(bytes as usize).map_err(|error| self.out_of_memory(error, lsn))
    }

    fn out_of_memory(&self, error: io::Error, lsn: Lsn) -> LogError {
        LogError::Write { path: self.path.clone(), offset: 0, lsn, error: Arc::new(error) }
    }

    fn write_mark(
        &self,
        active: &mut Active,
        durable: Lsn,
        kind: MarkKind,
    ) -> Result<(), LogError> {
        active.marks += 1;
        let mark = Mark { sequence: active.marks, durable, kind };
        let mut sector = self.zeroed(SECTOR as u64, durable)?;
        sector.copy_from_slice(&mark.encode(active.slot.nonce));
        count(&self.counting.marks, 1);
        self.write(&sector, mark_offset(self, *active), durable)?;
        self.flush(durable)
    }

    fn write_zeros(&self, start: u64, end: u64, lsn: Lsn) -> Result<(), LogError> {
        assert!(start <= end, "zeros from {start} to {end}");
        if start == end {
            return Ok(());
        }
        let step = ZERO_WRITE_BYTES.min(end - start);
        let zeros = self.zeroed(step, lsn)?;
        let mut at = start;
        while at + step <= end {
            self.write(&zeros, at, lsn)?;
            at += step;
        }
        if at < end { self.write(&self.zeroed(end - at, lsn)?, at, lsn) } else { Ok(()) }
    }

    /// Erases a slot's head and first frame, so that it counts as free. The header goes first,
    /// durably: a slot that had lost its link and not its header would end its log there.
    fn erase(&self, slot: u32, lsn: Lsn) -> Result<(), LogError> {
        let start = self.geometry.slot_offset(slot);
        let behind = start + SECTOR as u64;
        self.write_zeros(start, behind, lsn)?;
        self.flush(lsn)?;
        self.write_zeros(behind, start + HEAD_BYTES + SECTOR as u64, lsn)
    }

    pub(super) fn create(
        self: &Arc<Self>,
        identity: LogIdentity,
        start: LogStart,
        observer: Arc<dyn Observer>,
    ) -> Result<Log, LogError> {
        assert!(start.lsn.0.is_multiple_of(SECTOR as u64), "a log begins at a sector");
        let index = self.take_first_slot()?;
        let lane = self.write_first_slot(identity, index, start)?;
        Ok(self.run(identity, SlotTable::new([lane.active.slot]), lane, observer))
    }

    /// A slot for a log to begin with.
    fn take_first_slot(&self) -> Result<u32, LogError> {
        let taken = self.space.take(1, self).map_err(|refused| crate::Full {
            path: self.path.clone(),
            needed: worst_bytes(0, self.geometry),
            available: u64::from(refused.free) * self.geometry.capacity(),
            reason: refused.reason,
        })?;
        Ok(taken[0])
    }

    /// Writes the slot that a log begins with, durably.
    fn write_first_slot(
        &self,
        identity: LogIdentity,
        index: u32,
        start: LogStart,
    ) -> Result<LaneStart, LogError> {
        let LogStart { lsn, chain, history } = start;
        let slot = SlotRef { index, nonce: self.world.entropy.next(), base: lsn };
        let header =
            SlotHeader { identity, base: lsn, chain, history: history.clone(), nonce: slot.nonce };
        let mut head = self.zeroed(HEAD_BYTES + SECTOR as u64, lsn)?;
        head[..SECTOR].copy_from_slice(&header.encode());
        self.write(&head, self.geometry.slot_offset(index), lsn)?;
        self.flush(lsn)?;
        Ok(LaneStart { active: Active { slot, marks: 0 }, lsn, chain, history })
    }

    /// Gives up all of a log, and begins it anew elsewhere. See [`Log::restart`].
    pub(crate) fn restart(
        self: &Arc<Self>,
        log: &Arc<Shared>,
        start: &LogStart,
    ) -> Result<(), LogError> {
        log.check_running()?;
        let index = self.take_first_slot()?;
        loop {
            self.turn_until_idle();
            let mut open = log.lock_open()?;
            let mut driver = self.driver();
            let lane = driver.lane(log.number).ok_or(LogError::Closed)?;
            if !open.is_empty() || !lane.is_quiet() {
                continue;
            }
            let mut old: Vec<u32> = lock(&log.slots).slots.iter().map(|slot| slot.index).collect();
            old.extend(lane.prepared());
            let begun =
                self.write_first_slot(log.identity, index, start.clone()).and_then(|begun| {
                    old.iter().try_for_each(|slot| self.erase(*slot, begun.lsn))?;
                    self.flush(begun.lsn).map(|()| begun)
                });
            let begun = begun.inspect_err(|error| lane.fail(error.clone()))?;
            let LaneStart { active, lsn, chain, .. } = begun;
            let room = self.geometry.capacity();
            (open.start, open.chain, open.room) = (lsn, chain, room);
            (open.term, open.inside) = (begun.history.term(), false);
            log.cuts.fetch_add(1, Ordering::AcqRel);
            lock(&log.slots).slots = [active.slot].into();
            lock(&log.space).room = room;
            lock(&log.progress).positions =
                crate::Positions { end: lsn, written: lsn, durable: lsn };
            lane.restart(begun);
            old.into_iter().for_each(|slot| self.space.give(slot));
            return Ok(());
        }
    }

    /// Lets a log take entries.
    fn run(
        self: &Arc<Self>,
        identity: LogIdentity,
        slots: SlotTable,
        lane: LaneStart,
        observer: Arc<dyn Observer>,
    ) -> Log {
        let used = lane.lsn.since(lane.active.slot.base);
        let start = Start {
            identity,
            number: self.numbers.fetch_add(1, Ordering::Relaxed),
            end: lane.lsn,
            chain: lane.chain,
            term: lane.history.term(),
            slots,
            room: self.geometry.capacity() - used,
        };
        let shared = Arc::new(Shared::new(self.clone(), start, observer));
        lock(&self.running).insert(shared.number, Arc::downgrade(&shared));
        self.driver().add(Lane::new(shared.clone(), lane));
        Log { shared }
    }

    /// Opens a log that was read: erases what is torn, and takes back the clean mark, so that a
    /// crash from now on is seen as one.
    pub(crate) fn adopt(
        self: &Arc<Self>,
        recovered: Recovered,
        observer: Arc<dyn Observer>,
    ) -> Result<Log, LogError> {
        let Recovered { slots: Chain { slots, leftovers, .. }, ended, identity, .. } = recovered;
        let Ended { end, sum, tail, traces, .. } = ended;
        let at = slots.partition_point(|slot| slot.header.base <= end) - 1;
        let found = &slots[at];
        let kept = slots[..=at].iter().map(slot_ref);
        let later = slots[at + 1..].iter().chain(&leftovers).map(|slot| slot.index);
        let marks = found.mark.map_or(0, |mark| mark.sequence);
        let mut cut = Cut {
            active: Active { slot: slot_ref(found), marks },
            to: end,
            traces,
            later: later.collect(),
        };
        self.write_again(&slots[..=at], end)?;
        // What is older may still be in a cache of the device.
        self.flush(end)?;
        if matches!(tail, Tail::Torn { .. }) || !cut.later.is_empty() {
            tracing::warn!(log = %identity, %end, ?tail, "the log is cut behind its last whole group");
            self.cut_on_disk(&mut cut)?;
        } else {
            self.write_mark(&mut cut.active, end, MarkKind::Running)?;
        }
        lock(&self.found).remove(&identity);
        let table = SlotTable::new(kept);
        let lane =
            LaneStart { active: cut.active, lsn: end, chain: sum, history: recovered.history };
        Ok(self.run(identity, table, lane, observer))
    }

    fn cut_on_disk(&self, cut: &mut Cut) -> Result<(), LogError> {
        let slot = cut.active.slot;
        self.write_mark(&mut cut.active, cut.to, MarkKind::Cut)?;
        let start = self.geometry.frame_offset(slot.index, slot.base, cut.to);
        let slot_end = slot.base.advanced(self.geometry.capacity());
        let traces = cut.traces.clamp(cut.to, slot_end);
        let end = self.geometry.frame_offset(slot.index, slot.base, traces);
        self.write_zeros(start, end, cut.to)?;
        for later in &cut.later {
            self.erase(*later, cut.to)?;
        }
        self.flush(cut.to)?;
        self.write_mark(&mut cut.active, cut.to, MarkKind::Running)?;
        for later in &cut.later {
            self.space.give(*later);
        }
        Ok(())
    }

    /// Takes back everything from `to` on. See [`Log::cut`].
    pub(crate) fn cut(&self, log: &Arc<Shared>, to: Lsn) -> Result<(), CutError> {
        log.check_running()?;
        loop {
            self.turn_until_idle();
            let mut open = log.lock_open()?;
            let mut driver = self.driver();
            let lane = driver.lane(log.number).ok_or(LogError::Closed)?;
            if !open.is_empty() || !lane.is_quiet() {
                // Somebody appended, or a mark is on its way: once more around.
                continue;
            }
            let sum = boundary_before(log, to)?;
            let history = cut_before(lane.history(), to);
            let (mut cut, kept) = self.plan_cut(log, to)?;
            self.cut_on_disk(&mut cut).inspect_err(|error| lane.fail(error.clone()))?;
            let room = self.geometry.capacity() - to.since(cut.active.slot.base);
            (open.start, open.chain, open.room) = (to, sum, room);
            (open.term, open.inside) = (history.term(), false);
            log.cuts.fetch_add(1, Ordering::AcqRel);
            lock(&log.slots).slots.truncate(kept);
            lock(&log.space).room = room;
            lock(&log.progress).positions = crate::Positions { end: to, written: to, durable: to };
            lane.restart(LaneStart { active: cut.active, lsn: to, chain: sum, history });
            return Ok(());
        }
    }

    /// What a cut at `to` erases, and how many slots stay.
    fn plan_cut(&self, log: &Shared, to: Lsn) -> Result<(Cut, usize), CutError> {
        let table = lock(&log.slots);
        let not_a_boundary = CutError::NotABoundary { to };
        let next = table.slots.partition_point(|slot| slot.base <= to);
        let Some(at) = next.checked_sub(1) else { return Err(not_a_boundary) };
        let slot = table.slots[at];
        let later: Vec<u32> = table.slots.iter().skip(next).map(|slot| slot.index).collect();
        drop(table);
        let traces = slot.base.advanced(self.geometry.capacity());
        let marks = self.newest_mark(slot).map_err(|error| self.out_of_memory(error, to))?;
        Ok((Cut { active: Active { slot, marks }, to, traces, later }, next))
    }

    /// Sequence of the newest mark of a slot, from the disk.
    fn newest_mark(&self, slot: SlotRef) -> io::Result<u64> {
        let mut head = AlignedBuf::new(HEAD_BYTES as usize)?;
        let offset = self.geometry.slot_offset(slot.index);
        crate::recovery::read_patiently(&*self.file, &mut head, offset)?;
        let marks = head.chunks_exact(SECTOR).skip(1).filter_map(|sector| {
            let mark = Mark::decode(sector.first_chunk()?, slot.nonce).ok()?;
            Some(mark.sequence)
        });
        Ok(marks.max().unwrap_or(0))
    }

    /// Writes everything, notes a clean end, ends the log. See [`Log::close_clean`].
    pub(crate) fn close_log(&self, log: &Shared) -> Result<Lsn, LogError> {
        loop {
            log.check_running()?;
            self.turn_until_idle();
            let mut open = log.lock_open()?;
            let mut driver = self.driver();
            let lane = driver.lane(log.number).ok_or(LogError::Closed)?;
            if !open.is_empty() || !lane.is_quiet() {
                continue;
            }
            open.closed = true;
            let (mut active, end) = (lane.active(), lane.durable());
            assert!(end == open.start, "everything appended is durable");
            let marked = self.flush(end);
            let marked = marked.and_then(|()| self.write_mark(&mut active, end, MarkKind::Clean));
            lane.fail(marked.clone().err().unwrap_or(LogError::Closed));
            driver.remove(log.number);
            lock(&self.running).remove(&log.number);
            drop((driver, open));
            self.give_back_claimed(log);
            log.deliver();
            return marked.map(|()| end);
        }
    }

    /// Gives back slots. See [`Log::release_before`].
    pub(crate) fn release(&self, log: &Shared, lsn: Lsn) -> Result<Lsn, LogError> {
        log.check_running()?;
        let lsn = lsn.min(lock(&log.progress).positions.durable);
        loop {
            let slot = {
                let mut table = lock(&log.slots);
                let Some(slot) = table.releasable(lsn) else { return Ok(table.first()) };
                table.slots.pop_front();
                slot
            };
            let erased = self.erase(slot.index, slot.base).and_then(|()| self.flush(slot.base));
            if let Err(error) = erased {
                // A refused write is this log's own matter: nothing of the others was in doubt.
                if matches!(error, LogError::Flush { .. }) {
                    self.fail_all(&error);
                } else if let Some(lane) = self.driver().lane(log.number) {
                    lane.fail(error.clone());
                }
                log.deliver();
                return Err(error);
            }
            self.space.give(slot.index);
        }
    }

    /// Frees all slots of a log, oldest first, so that an interrupted removal leaves a tail.
    pub(super) fn remove(&self, identity: LogIdentity) -> Result<(), LogError> {
        let mut slots: Vec<u32> = Vec::new();
        if let Some(chain) = lock(&self.found).get(&identity) {
            slots.extend(chain.slots.iter().chain(&chain.leftovers).map(|slot| slot.index));
        }
        let running = self.driver().running(identity);
        if let Some(log) = running {
            self.turn_until_idle();
            let mut driver = self.driver();
            lock(&self.running).remove(&log.number);
            if let Some(mut lane) = driver.remove(log.number) {
                lane.fail(LogError::Closed);
                slots.extend(lane.prepared());
            }
            drop(driver);
            log.deliver();
            self.give_back_claimed(&log);
            slots.splice(0..0, lock(&log.slots).slots.iter().map(|slot| slot.index));
        }
        for slot in slots {
            self.erase(slot, Lsn::ZERO)?;
            self.flush(Lsn::ZERO)?;
            self.space.give(slot);
        }
        lock(&self.found).remove(&identity);
        Ok(())
    }

    /// A log that ends gives back the slots it set aside and never entered.
    fn give_back_claimed(&self, log: &Shared) {
        let claimed = std::mem::take(&mut lock(&log.space).claimed);
        for slot in claimed {
            self.space.give(slot);
        }
    }

    /// The slots of a log that does not run.
    pub(super) fn find(&self, identity: LogIdentity) -> Result<Option<Chain>, Damage> {
        if let Some(chain) = lock(&self.found).get(&identity) {
            return Ok(Some(chain.clone()));
        }
        // It ran since the opening: what is on the disk now counts.
        let survey = survey(&*self.world.disk, &self.file, self.geometry, self.options.cluster);
        let mut survey = survey.map_err(|error| Damage::Read {
            path: self.path.clone(),
            offset: 0,
            error: Arc::new(error),
        })?;
        Ok(survey.logs.remove(&identity))
    }
}

fn slot_ref(found: &Found) -> SlotRef {
    SlotRef { index: found.index, nonce: found.header.nonce, base: found.header.base }
}

/// The terms of a log that ends at `to`: a term that would start there has no frame left.
fn cut_before(history: &History, to: Lsn) -> History {
    let mut kept = history.entries().to_vec();
    while kept.len() > 1 && kept.last().is_some_and(|entry| entry.start >= to) {
        kept.pop();
    }
    History::from_entries(kept).expect("a part of a good history is one")
}
