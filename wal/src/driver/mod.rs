//! Group commit: what is written when, for all logs of a device together.
//!
//! ```text
//!  turn:   seal ─► place frames ─► submit ─► wait for one completion ─► advance ─► submit again
//!                                                                        │
//!                                            observers and waiters ◄─────┘ told after the turn
//! ```
//!
//! The driver owns the queue and decides; who runs it does not matter ([`crate::DriverMode`]).
//! It never waits for an appender: it tries, and leaves the log out of this turn.
//!
//! A group is sealed at once when nothing of its log is in flight or a completion has just
//! arrived; while the device is busy entries gather, and a group seals itself by size. So a lone
//! client waits for nothing, and many share a write.
//!
//! Durable positions advance in LSN order, over writes that complete in any order:
//!
//! ```text
//!  in flight:  [frame 8: done] [frame 9: pending] [frame 10: done]     durable = end of 8
//! ```
//!
//! With [`DurableMode::BatchFlush`] the writes of one turn share a flush. A write that is alone in
//! its turn is made durable by itself instead: one step, which is what a lone client feels.
//!
//! A failed write ends its log; a failed flush or queue ends all logs of the device, because one
//! flush covers them all. Nothing is tried again (catalogue rows D18, D20).

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::device::{Core, count};
use crate::disk::{BufPool, Completion, IoBuf, Queue, Request};
use crate::log::{Event, Shared};
use crate::{DurableMode, LogError};

pub(crate) use lane::{Active, Lane, LaneStart, mark_offset};

mod lane;

/// How a turn ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Something was in flight, and completions were taken.
    Progress,
    /// Nothing is left to write.
    Idle,
    /// Nothing is in flight, and what is left belongs to a log that somebody appends to.
    Contended,
}

/// The requests of a device.
pub(crate) struct Io {
    queue: Box<dyn Queue>,
    pub(crate) pool: BufPool,
    mode: DurableMode,
    batch: Batch,
    /// Writes of this turn, not pushed yet: how many there are decides how.
    gathered: Vec<Gathered>,
}

/// A write about to be pushed.
struct Gathered {
    token: u64,
    offset: u64,
    buf: IoBuf,
}

/// Where a batch of [`DurableMode::BatchFlush`] stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Batch {
    /// Taking writes.
    Open,
    /// Writes are in flight; what comes now waits for the next batch.
    Writing,
    /// One write is in flight that is durable by itself.
    Alone,
    /// The flush is in flight.
    Flushing,
}

/// Token of the flush; lanes use theirs in the upper half.
const FLUSH_TOKEN: u64 = u64::MAX;

/// Decides what is written when.
pub(crate) struct Driver {
    io: Io,
    lanes: BTreeMap<u32, Lane>,
    completions: Vec<Completion>,
    /// Logs with news, in order.
    told: Vec<Arc<Shared>>,
    /// Which lane comes first in the next turn, so that none starves.
    first: u32,
}

impl std::fmt::Debug for Driver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Driver({} logs, {} in flight)", self.lanes.len(), self.io.queue.in_flight())
    }
}

impl Io {
    /// Whether another write may be pushed now.
    pub(crate) fn has_room(&self) -> bool {
        // One place stays free for the flush.
        let depth = self.queue.depth() - 1;
        self.queue.in_flight() + self.gathered.len() < depth && self.batch == Batch::Open
    }

    /// Adds a write to this turn's.
    pub(crate) fn write(&mut self, token: u64, offset: u64, buf: IoBuf) {
        assert!(token != FLUSH_TOKEN, "the flush's token on a write");
        assert!(self.batch == Batch::Open, "a write into a batch that is on its way");
        self.gathered.push(Gathered { token, offset, buf });
    }

    /// Pushes what was gathered, and flushes what is written.
    fn advance_batch(&mut self, core: &Core) {
        let durable = self.mode == DurableMode::EachWrite || self.gathered.len() == 1;
        if self.mode == DurableMode::BatchFlush && !self.gathered.is_empty() {
            self.batch = if durable { Batch::Alone } else { Batch::Writing };
        }
        for Gathered { token, offset, buf } in self.gathered.drain(..) {
            count(&core.counting.flushes, u64::from(durable));
            let file = core.file.clone();
            self.queue.push(token, Request::Write { file, offset, buf, durable });
        }
        if self.queue.in_flight() > 0 {
            return;
        }
        if self.batch == Batch::Writing {
            self.batch = Batch::Flushing;
            count(&core.counting.flushes, 1);
            self.queue.push(FLUSH_TOKEN, Request::Flush { file: core.file.clone() });
        } else if self.batch == Batch::Alone {
            self.batch = Batch::Open;
        }
    }

    /// Whether a write that has completed now is on the medium.
    fn completes_durable(&self) -> bool {
        self.mode == DurableMode::EachWrite || self.batch == Batch::Alone
    }
}

impl Driver {
    pub(crate) fn new(queue: Box<dyn Queue>, mode: DurableMode, frame_bytes_max: u64) -> Self {
        assert!(queue.depth() >= 2, "a queue for a write and a flush");
        let pool = BufPool::new(frame_bytes_max as usize, queue.depth());
        Self {
            io: Io { queue, pool, mode, batch: Batch::Open, gathered: Vec::new() },
            lanes: BTreeMap::new(),
            completions: Vec::new(),
            told: Vec::new(),
            first: 0,
        }
    }

    /// Takes a log in.
    pub(crate) fn add(&mut self, lane: Lane) {
        let number = lane.log().number;
        assert!(self.lanes.insert(number, lane).is_none(), "log number {number} twice");
    }

    /// Lets a log go. Nothing of it may be in flight, unless it failed.
    pub(crate) fn remove(&mut self, number: u32) -> Option<Lane> {
        self.lanes.remove(&number)
    }

    pub(crate) fn lane(&mut self, number: u32) -> Option<&mut Lane> {
        self.lanes.get_mut(&number)
    }

    /// The log of that identity, if it runs.
    pub(crate) fn running(&self, identity: crate::LogIdentity) -> Option<Arc<Shared>> {
        self.lanes.values().map(Lane::log).find(|log| log.identity == identity).cloned()
    }

    /// Logs that have news for observers and waiters.
    pub(crate) fn take_told(&mut self) -> Vec<Arc<Shared>> {
        std::mem::take(&mut self.told)
    }

    /// Whether any log has something to write or in flight.
    pub(crate) fn has_work(&self) -> bool {
        self.io.queue.in_flight() > 0 || self.lanes.values().any(Lane::has_work)
    }

    /// Lets all logs go: the device is closed.
    pub(crate) fn clear(&mut self) {
        self.lanes.clear();
    }

    /// Writes what is there, waits for one completion, and writes again.
    pub(crate) fn turn(&mut self, core: &Core) -> Turn {
        let contended = self.submit(core);
        if self.io.queue.in_flight() == 0 {
            return if contended { Turn::Contended } else { Turn::Idle };
        }
        // With no room for another write nobody needs to ring.
        let heed = self.io.has_room();
        core.signal.set_waiting(heed);
        // What was added between the look and the flag has rung no bell: look again instead.
        let at_least = usize::from(!(heed && core.signal.is_wanted()));
        let waited = self.complete(core, at_least);
        core.signal.set_waiting(false);
        if waited {
            self.submit(core);
            // Starts what was pushed, so that the device works while others are told.
            self.complete(core, 0);
        }
        Turn::Progress
    }

    /// Seals and pushes what may go now. Whether a log was left out because somebody appends.
    fn submit(&mut self, core: &Core) -> bool {
        core.signal.looking();
        let mut contended = false;
        let (later, sooner): (Vec<u32>, Vec<u32>) =
            self.lanes.keys().partition(|number| **number < self.first);
        for number in sooner.into_iter().chain(later) {
            let Some(lane) = self.lanes.get_mut(&number) else { continue };
            // Without room entries rather gather than be sealed.
            if !self.io.has_room() {
                self.first = number;
                break;
            }
            contended |= lane.gather(core);
            lane.place(core, &mut self.io);
            if lane.take_news() {
                self.told.push(lane.log().clone());
            }
        }
        self.io.advance_batch(core);
        contended
    }

    /// Takes completions; false if the queue broke.
    fn complete(&mut self, core: &Core, at_least: usize) -> bool {
        let mut completions = std::mem::take(&mut self.completions);
        if let Err(error) = self.io.queue.wait(at_least, &mut completions) {
            let error = Arc::new(error);
            self.fail_all(core, &LogError::Queue { path: core.path.clone(), error });
        }
        for completion in completions.drain(..) {
            self.complete_one(core, completion);
        }
        self.completions = completions;
        self.io.advance_batch(core);
        !core.signal.is_device_failed()
    }

    fn complete_one(&mut self, core: &Core, completion: Completion) {
        if let Some(buf) = completion.buf {
            self.io.pool.put_io(buf);
        }
        if completion.token == FLUSH_TOKEN {
            self.complete_flush(core, completion.result);
            return;
        }
        let number = (completion.token >> 32) as u32;
        let Some(lane) = self.lanes.get_mut(&number) else { return };
        let durable = self.io.completes_durable();
        lane.complete(core, completion.token as u32, completion.result, durable);
        if lane.take_news() {
            self.told.push(lane.log().clone());
        }
    }

    fn complete_flush(&mut self, core: &Core, result: io::Result<usize>) {
        assert!(self.io.batch == Batch::Flushing, "a flush that was not asked for");
        self.io.batch = Batch::Open;
        let failed = match result {
            Ok(_) if core.signal.is_device_failed() => {
                Some(io::Error::other("another flush failed while this one was due"))
            }
            result => result.err(),
        };
        if let Some(error) = failed {
            let error = Arc::new(error);
            let lsn = crate::Lsn::ZERO;
            self.fail_all(core, &LogError::Flush { path: core.path.clone(), lsn, error });
            return;
        }
        for lane in self.lanes.values_mut() {
            lane.complete_batch(core);
            if lane.take_news() {
                self.told.push(lane.log().clone());
            }
        }
    }

    /// Ends all logs: the file or the queue is not to be trusted.
    pub(crate) fn fail_all(&mut self, core: &Core, error: &LogError) {
        core.signal.fail_device();
        if !matches!(error, LogError::Closed) {
            tracing::error!(path = %core.path.display(), %error, "all logs of the device end");
        }
        for lane in self.lanes.values_mut() {
            lane.fail(at_lane(error, lane.durable()));
            self.told.push(lane.log().clone());
        }
    }

    /// Pushes the marks of logs that have been idle long enough; when the next is due.
    pub(crate) fn mark_idle(&mut self, core: &Core) -> Option<Duration> {
        let now = core.world.clock.now();
        let mut next: Option<Duration> = None;
        let mut pushed = false;
        for lane in self.lanes.values_mut() {
            let Some(due) = lane.mark_due(core.options.idle) else { continue };
            if due > now {
                let wait = due - now;
                next = Some(next.map_or(wait, |next| next.min(wait)));
            } else if self.io.has_room() {
                pushed |= lane.push_mark(core, &mut self.io);
            }
        }
        if pushed {
            self.io.advance_batch(core);
            while self.io.queue.in_flight() > 0 && self.complete(core, 1) {}
        }
        next
    }
}

/// The device's error as one log sees it.
fn at_lane(error: &LogError, durable: crate::Lsn) -> LogError {
    match error {
        LogError::Flush { path, error, .. } => {
            LogError::Flush { path: path.clone(), lsn: durable, error: error.clone() }
        }
        other => other.clone(),
    }
}

/// Queues an event and remembers that there is news.
pub(crate) fn tell(log: &Shared, event: Event, news: &mut bool) {
    log.tell(event);
    *news = true;
    log.core.signal.activity();
}

/// Publishes how much of a log is in flight, for who decides whether to ring.
pub(crate) fn publish_in_flight(log: &Shared, count: usize) {
    log.in_flight.store(count, Ordering::SeqCst);
}
