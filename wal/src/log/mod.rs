//! One log while it runs: appending, waiting, reading, giving space back.
//!
//! ```text
//!  reserve ─► lock ─► append ─► (drop) ─► wait_durable
//!                │                            ▲
//!                ▼                            │ observer.durable, then waiters
//!           open group ──seal──► frames ──► durable
//!                 generation g     driver of the device
//! ```
//!
//! Locks, in the order in which they may be taken together; the driver takes `open` only by trying:
//!
//! | lock | guards |
//! |---|---|
//! | `open` | the open group; the writer lock of whoever uses the log |
//! | driver | queue, what is in flight (of all logs of the device) |
//! | `sealed`, `space`, `slots`, `events`, `progress` | their own field, for a few instructions |

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError, TryLockError};
use std::task::Waker;

use bytes::BytesMut;

use crate::device::Core;
use crate::lock::lock;
use crate::reader::Reader;
use crate::{CutError, Frame, Full, LogError, LogIdentity, Lsn, ReadError, Term};

pub use appender::Appender;
pub use follow::FrameSpace;
pub use observer::{NoObserver, Observer};
pub use progress::{Durable, Position, Positions};
pub use slots::Hold;
pub use space::Reservation;

pub(crate) use group::{OpenGroup, Sealed, worst_bytes};
pub(crate) use progress::Progress;
pub(crate) use slots::{SlotRef, SlotTable};
pub(crate) use space::LogSpace;

mod appender;
mod follow;
mod group;
mod observer;
mod progress;
mod slots;
mod space;

/// A log that takes entries. Cheap to clone; all clones are the same log.
#[derive(Clone)]
pub struct Log {
    pub(crate) shared: Arc<Shared>,
}

/// What the handles, the driver and the readers of one log share.
pub(crate) struct Shared {
    pub(crate) core: Arc<Core>,
    pub(crate) identity: LogIdentity,
    /// Names the log in the driver.
    pub(crate) number: u32,
    open: Mutex<OpenGroup>,
    pub(crate) sealed: Mutex<VecDeque<Sealed>>,
    pub(crate) space: Mutex<LogSpace>,
    pub(crate) slots: Mutex<SlotTable>,
    pub(crate) progress: Mutex<Progress>,
    progressed: Condvar,
    events: Mutex<Events>,
    observer: Arc<dyn Observer>,
    pub(crate) committed: AtomicU64,
    /// Writes of this log that the device has; the driver's count for who decides to signal.
    pub(crate) in_flight: AtomicUsize,
    /// Something waits to be written.
    pub(crate) dirty: AtomicBool,
    failed: AtomicBool,
    /// Who ships the log seals its groups, not the driver.
    shipped: AtomicBool,
    /// How often the log was cut: what was read before may be void.
    pub(crate) cuts: AtomicU64,
    /// The end of a group that was found last on the medium.
    pub(crate) boundary: Mutex<Option<FoundBoundary>>,
}

/// A position at which a group ends, found by walking its slot.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FoundBoundary {
    pub(crate) lsn: Lsn,
    pub(crate) chain: u64,
    /// Cuts of the log before: void after another.
    pub(crate) cuts: u64,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Log({})", self.identity)
    }
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.shared.fmt(f)
    }
}

/// What observer and waiters are told, in order.
#[derive(Debug)]
pub(crate) enum Event {
    Sealed { generation: u64, end: Lsn, frames: Vec<Frame> },
    Durable { generation: u64, end: Lsn },
    Flushed { end: Lsn },
    Failed(LogError),
}

#[derive(Debug, Default)]
struct Events {
    queue: VecDeque<Event>,
    delivering: bool,
    /// How many were queued, and how many are told, since the log runs.
    queued: u64,
    told: u64,
}

/// With what a log begins to run.
#[derive(Debug)]
pub(crate) struct Start {
    pub(crate) identity: LogIdentity,
    pub(crate) number: u32,
    pub(crate) end: Lsn,
    pub(crate) chain: u64,
    pub(crate) term: Term,
    pub(crate) slots: SlotTable,
    /// Bytes left of the last slot.
    pub(crate) room: u64,
}

impl Shared {
    pub(crate) fn new(core: Arc<Core>, start: Start, observer: Arc<dyn Observer>) -> Self {
        let open = OpenGroup {
            generation: 1,
            start: start.end,
            chain: start.chain,
            payload: BytesMut::new(),
            entries: 0,
            term: start.term,
            promised: 0,
            forced: false,
            room: start.room,
            inside: false,
            closed: false,
        };
        Self {
            core,
            identity: start.identity,
            number: start.number,
            open: Mutex::new(open),
            sealed: Mutex::default(),
            space: Mutex::new(LogSpace { room: start.room, ..LogSpace::default() }),
            slots: Mutex::new(start.slots),
            progress: Mutex::new(Progress::starting(start.end)),
            progressed: Condvar::new(),
            events: Mutex::default(),
            observer,
            committed: AtomicU64::new(0),
            in_flight: AtomicUsize::new(0),
            dirty: AtomicBool::new(false),
            failed: AtomicBool::new(false),
            shipped: false.into(),
            cuts: AtomicU64::new(0),
            boundary: Mutex::default(),
        }
    }

    /// Ends the open group and queues it for the driver.
    pub(crate) fn seal(&self, group: &mut OpenGroup) {
        let promised = group.promised;
        let (sealed, new_slots) = group.seal(self.core.geometry);
        let frames = sealed.frames.iter().cloned().collect();
        self.queue(sealed, frames, (group, new_slots, promised));
    }

    /// Queues what was sealed: for the driver, and for who is told of it.
    fn queue(
        &self,
        sealed: Sealed,
        frames: Vec<Frame>,
        (group, new_slots, promised): (&OpenGroup, u32, u64),
    ) {
        {
            let mut space = lock(&self.space);
            space.owed += new_slots;
            space.room = group.room;
            space.settle(promised, &self.core);
        }
        if sealed.is_whole() {
            {
                let mut progress = lock(&self.progress);
                progress.positions.end = sealed.end;
                progress.positions.check();
            }
            let (generation, end) = (sealed.generation, sealed.end);
            self.tell(Event::Sealed { generation, end, frames });
        }
        lock(&self.sealed).push_back(sealed);
        self.dirty.store(true, Ordering::SeqCst);
    }

    /// The driver's way to the open group: never waits. `None` if somebody appends right now.
    pub(crate) fn try_seal(&self) -> Result<Option<()>, LogError> {
        let mut group = match self.open.try_lock() {
            Ok(group) => group,
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Poisoned(_)) => return Err(LogError::Interrupted),
        };
        if !group.is_empty() && !self.is_shipped() {
            self.seal(&mut group);
        }
        // All that was sealed is taken over next; nobody adds anything while the group is locked.
        self.dirty.store(false, Ordering::SeqCst);
        Ok(Some(()))
    }

    /// Waits until nobody appends.
    pub(crate) fn wait_for_appender(&self) {
        // A poisoned lock is the driver's to report; here only the waiting counts.
        drop(self.open.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Whether who ships the log seals its groups.
    pub(crate) fn is_shipped(&self) -> bool {
        self.shipped.load(Ordering::SeqCst)
    }

    pub(crate) fn check_running(&self) -> Result<(), LogError> {
        if !self.failed.load(Ordering::Acquire) {
            return Ok(());
        }
        let failed = lock(&self.progress).failed.clone();
        failed.map_or(Ok(()), Err)
    }

    /// Queues an event for [`Shared::deliver`].
    pub(crate) fn tell(&self, event: Event) {
        let mut events = lock(&self.events);
        events.queued += 1;
        events.queue.push_back(event);
    }

    /// Tells observer and waiters what was queued, in order, without holding a lock meanwhile.
    /// If another thread is at it, that one also tells what was queued since.
    pub(crate) fn deliver(&self) {
        let mut events = lock(&self.events);
        if events.delivering {
            return;
        }
        events.delivering = true;
        while let Some(event) = events.queue.pop_front() {
            drop(events);
            self.deliver_one(event);
            events = lock(&self.events);
            events.told += 1;
        }
        events.delivering = false;
    }

    fn deliver_one(&self, event: Event) {
        let wakers = match event {
            Event::Sealed { generation, end, frames } => {
                self.observer.sealed(generation, end, &frames);
                return;
            }
            Event::Durable { generation, end } => {
                self.observer.durable(generation, end);
                self.note_durable(generation, end)
            }
            Event::Flushed { end } => {
                self.observer.flushed(end);
                return;
            }
            Event::Failed(error) => {
                let wakers = self.note_failed(&error);
                self.observer.failed(&error);
                wakers
            }
        };
        self.progressed.notify_all();
        for waker in wakers {
            waker.wake();
        }
    }

    fn note_durable(&self, generation: u64, end: Lsn) -> Vec<Waker> {
        let mut progress = lock(&self.progress);
        assert!(generation > progress.durable_generation, "durable out of order");
        progress.durable_generation = generation;
        progress.positions.durable = end;
        progress.positions.written = progress.positions.written.max(end);
        progress.positions.check();
        progress.take_ready()
    }

    fn note_failed(&self, error: &LogError) -> Vec<Waker> {
        let mut progress = lock(&self.progress);
        progress.failed.get_or_insert_with(|| error.clone());
        self.failed.store(true, Ordering::Release);
        progress.take_ready()
    }

    /// Waits until what is queued now is told.
    pub(crate) fn wait_told(&self) {
        let queued = lock(&self.events).queued;
        loop {
            self.deliver();
            if lock(&self.events).told >= queued {
                return;
            }
            std::thread::yield_now();
        }
    }

    /// Waits while another thread is telling what this one waits for.
    pub(crate) fn wait_while_delivering(&self, position: Position) {
        let progress = lock(&self.progress);
        if progress.outcome(position).is_none() && lock(&self.events).delivering {
            let woken = self.progressed.wait(progress);
            drop(woken.expect("a thread panicked while it changed the progress"));
        }
    }

    /// Lets blocked waiters look again: the driver is free.
    pub(crate) fn wake_waiters(&self) {
        drop(lock(&self.progress));
        self.progressed.notify_all();
    }

    /// Locks the open group for whoever must keep everyone out.
    pub(crate) fn lock_open(&self) -> Result<std::sync::MutexGuard<'_, OpenGroup>, LogError> {
        self.open.lock().map_err(|_| LogError::Interrupted)
    }
}

impl Log {
    /// Whose log it is.
    #[must_use]
    pub fn identity(&self) -> LogIdentity {
        self.shared.identity
    }

    /// Promises space for one entry of up to `entry_bytes`, before anything is applied. Grows the
    /// arena if need be, and waits while more than [`crate::Options::backlog_bytes`] are appended
    /// and not durable: not to be called with an [`Appender`] held.
    ///
    /// # Errors
    /// [`Full`] if there is no such space; a later call may succeed.
    pub fn reserve(&self, entry_bytes: usize) -> Result<Reservation, Full> {
        self.wait_for_backlog();
        let bytes = worst_bytes(entry_bytes, self.shared.core.geometry);
        lock(&self.shared.space).promise(bytes, &self.shared.core)?;
        Ok(Reservation::new(self.shared.clone(), bytes, entry_bytes))
    }

    /// Lets the device catch up, so that appending without waiting cannot fill the memory.
    fn wait_for_backlog(&self) {
        let Positions { end, durable, .. } = self.positions();
        if end.since(durable) <= self.shared.core.options.backlog_bytes {
            return;
        }
        let generation = self.durable_generation() + 1;
        // A log that has ended says so to the append.
        drop(self.wait_durable(Position { generation, start: durable }));
    }

    /// Locks the open group.
    ///
    /// # Errors
    /// [`LogError::Interrupted`] if somebody panicked while holding it.
    pub fn lock(&self) -> Result<Appender<'_>, LogError> {
        Ok(Appender::new(&self.shared, self.shared.lock_open()?))
    }

    /// Waits until the group of `position` is durable and the observer was told; the end of what
    /// is durable then. If nobody drives the device, the caller does.
    ///
    /// # Errors
    /// If the log ended before. Whether the entry survives is then unknown (promise A5).
    pub fn wait_durable(&self, position: Position) -> Result<Lsn, LogError> {
        let shared = &self.shared;
        shared.seal_shipped(position);
        loop {
            let progress = lock(&shared.progress);
            if let Some(outcome) = progress.outcome(position) {
                return outcome;
            }
            match shared.core.try_driver() {
                Some(driver) => {
                    drop(progress);
                    shared.core.lead(driver, shared, position);
                }
                None => {
                    let woken = shared.progressed.wait(progress);
                    drop(woken.expect("a thread panicked while it changed the progress"));
                }
            }
        }
    }

    /// As [`Log::wait_durable`], without blocking. Needs no runtime: the driver wakes the task.
    /// In [`crate::DriverMode::Inline`] polling drives the device, and blocks for that.
    #[must_use]
    pub fn durable(&self, position: Position) -> Durable {
        self.shared.seal_shipped(position);
        Durable::new(self.shared.clone(), position)
    }

    /// Where the log stands.
    #[must_use]
    pub fn positions(&self) -> Positions {
        lock(&self.shared.progress).positions
    }

    /// Number of the newest durable group.
    #[must_use]
    pub fn durable_generation(&self) -> u64 {
        lock(&self.shared.progress).durable_generation
    }

    /// The first position that is still there.
    #[must_use]
    pub fn first_lsn(&self) -> Lsn {
        lock(&self.shared.slots).first()
    }

    /// The error that ended the log, if one did.
    #[must_use]
    pub fn failure(&self) -> Option<LogError> {
        lock(&self.shared.progress).failed.clone()
    }

    /// Has what was appended and left for later ([`Appender::leave_for_later`]) written, without
    /// waiting. Without a driver thread, turns of the device do it.
    pub fn write_soon(&self) {
        if self.shared.dirty.load(Ordering::SeqCst) {
            self.shared.core.signal.work(true);
        }
    }

    /// Tells which position is committed, for the headers of the next frames.
    pub fn set_committed(&self, lsn: Lsn) {
        self.shared.committed.fetch_max(lsn.0, Ordering::Relaxed);
    }

    /// Begins a term with a frame of its own, so that it is durable when the position is. What is
    /// open goes into the old term.
    ///
    /// # Errors
    /// If the log ended or has no space for the frame.
    ///
    /// # Panics
    /// If `term` is not newer (rule 2).
    pub fn begin_term(&self, term: Term) -> Result<Position, LogError> {
        let space = self.reserve(0)?;
        let mut appender = self.lock()?;
        let position = appender.begin_term(term, space)?;
        drop(appender);
        Ok(position)
    }

    /// Keeps everything from `lsn` on until the hold is dropped.
    ///
    /// # Errors
    /// [`ReadError::Released`] if it is gone already.
    pub fn hold(&self, lsn: Lsn) -> Result<Hold, ReadError> {
        let hold = Hold::new(self.shared.clone(), lsn);
        // Registered first, looked second: what is there now stays.
        let first = self.first_lsn();
        if lsn < first { Err(ReadError::Released { lsn, first }) } else { Ok(hold) }
    }

    /// Frees the slots that lie wholly below `lsn` and below every [`Hold`]. To be called only
    /// behind a verified snapshot (rule 18). Returns the first position still there.
    ///
    /// # Errors
    /// If the device refuses; the log has ended then.
    pub fn release_before(&self, lsn: Lsn) -> Result<Lsn, LogError> {
        self.shared.core.release(&self.shared, lsn)
    }

    /// Reads frames from `lsn` on, where a frame must begin, up to what is written.
    ///
    /// # Errors
    /// [`ReadError::Released`] if it was given up.
    pub fn read_from(&self, lsn: Lsn) -> Result<Reader, ReadError> {
        Reader::new(self.shared.clone(), lsn)
    }

    /// Takes back everything from `to` on, where a group must end, and goes on in `term`. Waits
    /// until nothing is in flight. Whoever needs what is cut reads it before.
    ///
    /// Safe under a crash at any moment: either the log is as before or cut.
    ///
    /// # Errors
    /// [`CutError`]; only [`CutError::Log`] leaves the log changed, and ended.
    pub fn cut(&self, to: Lsn, term: Term) -> Result<Position, CutError> {
        let last = self.term()?;
        if term <= last {
            return Err(CutError::Term { term, last });
        }
        self.cut_back(to)?;
        Ok(self.begin_term(term)?)
    }

    /// As [`Log::cut`], without beginning a term: for a copy, which follows where it is cut. The log's
    /// term is that of its last frame again.
    ///
    /// # Errors
    /// As there.
    pub fn cut_back(&self, to: Lsn) -> Result<(), CutError> {
        self.set_shipped(false);
        self.shared.core.cut(&self.shared, to)
    }

    /// Writes everything, notes a clean end, and ends the log for all its handles. Half a group, of
    /// which the rest never came, is cut off.
    ///
    ///
    /// # Errors
    /// If the device refuses; the end is not clean then.
    pub fn close_clean(&self) -> Result<Lsn, LogError> {
        self.set_shipped(false);
        self.shared.cut_half_a_group()?;
        self.shared.core.close_log(&self.shared)
    }

    /// Waits until everything appended so far is durable.
    ///
    /// # Errors
    /// As [`Log::wait_durable`].
    pub fn flush(&self) -> Result<Lsn, LogError> {
        let (generation, start, empty) = {
            let group = self.shared.lock_open()?;
            (group.generation, group.start, group.is_empty())
        };
        let generation = if empty { generation - 1 } else { generation };
        self.wait_durable(Position { generation, start })
    }
}
