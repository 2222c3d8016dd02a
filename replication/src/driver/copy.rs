//! One copy, driven: events in, outputs carried out in their order. See [`super`].

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::thread::JoinHandle;

use crossbeam::channel::{Sender, unbounded};
use resprout_engine::{Shipper, State as StoredState, StoredCopy};
use resprout_wal::frame::FRAME_BYTES_MAX;
use resprout_wal::{Frame, Hold, LogError, Lsn, Term};

use super::images::Images;
use super::kept::Kept;
use super::worker::{Job, Worker};
use super::{Shared, StartError};
use crate::{
    Alarm, Config, End, Envelope, Event, Identity, ImageProgress, Incarnation, Instance,
    MemberStatus, Message, Mode, Output, PartitionCopy, Role, Seed, Stamp, State, Tail, Turn,
    Write,
};

/// The core and what it wants done.
#[derive(Debug)]
struct Core {
    copy: PartitionCopy,
    outbox: VecDeque<Output>,
    /// Somebody is carrying out what is in the outbox.
    is_busy: bool,
    state: State,
    /// The image that it gets, or took last.
    image: Option<ImageProgress>,
    /// On a master: the rate of catching up that it was told last, in bytes a beat.
    catch_up_rate: Option<u64>,
    /// On a master: the log from here on is kept for others.
    hold: Option<Hold>,
    /// Where the log began when the core was told.
    first: Lsn,
    /// The device had no space for what is to come.
    is_full: bool,
    alarms: u64,
}

/// One copy, driven. See [`super`].
pub struct CopyDriver {
    node: Weak<Shared>,
    config: Config,
    identity: Identity,
    stored: OnceLock<StoredCopy>,
    core: Mutex<Option<Core>>,
    jobs: Sender<Job>,
    worker: Mutex<Option<JoinHandle<Kept>>>,
    /// Where the run before ended, if that was in order.
    ended: Option<End>,
    /// It was told to stop: without its worker nothing counts any more.
    is_stopping: AtomicBool,
    /// A position on the medium that the core is not told while the tree lags behind; 0 if none.
    untold_durable: AtomicU64,
}

impl fmt::Debug for CopyDriver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CopyDriver({:?})", self.identity)
    }
}

/// Where a copy stands, for people and programs.
#[derive(Clone, Debug)]
pub struct CopyStatus {
    /// Which copy, in which run.
    pub identity: Identity,
    /// What it is.
    pub state: State,
    /// The newest decision that it goes by, in this run.
    pub knows: Stamp,
    /// The term that it promised to take nothing older than.
    pub promised: Term,
    /// Term of its last record.
    pub last_term: Term,
    /// Where its log ends.
    pub end: Lsn,
    /// Known acknowledged.
    pub committed: Lsn,
    /// The run before ended in order, and nothing has happened to the copy since.
    pub is_untouched: bool,
    /// Bytes that have come and are not applied.
    pub unapplied_bytes: u64,
    /// The image that it gets, or took last in this run.
    pub image: Option<ImageProgress>,
    /// On a master, the others.
    pub members: Vec<MemberStatus>,
    /// Things that an operator should know, counted; each is one line of the log.
    pub alarms: u64,
}

impl CopyDriver {
    pub(super) fn start(
        node: &Arc<Shared>,
        partition: &resprout_engine::Partition,
        (config, least): (Config, Incarnation),
    ) -> Result<Arc<Self>, StartError> {
        let (kept, ended) = Kept::begin_run(partition.dir(), least)?;
        let log = partition.log_identity();
        let identity = Identity {
            partition: log.into(),
            instance: Instance(log.instance),
            incarnation: kept.incarnation,
        };
        let (jobs, to_do) = unbounded();
        let copy = Arc::new(Self {
            node: Arc::downgrade(node),
            config,
            identity,
            stored: OnceLock::new(),
            core: Mutex::default(),
            jobs,
            worker: Mutex::default(),
            ended,
            is_stopping: AtomicBool::new(false),
            untold_durable: AtomicU64::new(0),
        });
        let shipper: Weak<dyn Shipper> = {
            let weak: Weak<Self> = Arc::downgrade(&copy);
            weak
        };
        let stored = partition.store_copy(shipper)?;
        let (end, lineage) = stored.end()?;
        let first = stored.first();
        let tail = Tail::new(end, lineage);
        let at = End { term: tail.last_term(), lsn: end };
        let seed = Seed {
            identity,
            config,
            promise: kept.promise,
            tail,
            committed: stored.acknowledged().min(end),
            first,
            resumes: ended.filter(|ended| *ended == at).map(|ended| ended.term),
        };
        let core = Core {
            copy: PartitionCopy::new(seed, node.clock.now()),
            outbox: VecDeque::new(),
            is_busy: false,
            state: State::Pending,
            image: None,
            catch_up_rate: None,
            hold: None,
            first,
            is_full: false,
            alarms: 0,
        };
        assert!(copy.stored.set(stored).is_ok(), "set once");
        *copy.core() = Some(core);
        let images = Images::new(config.limits.digests_max);
        let worker = Worker { copy: copy.clone(), kept, images };
        let name = format!("resprout-copy-{}", partition.ordinal());
        let thread = std::thread::Builder::new().name(name).spawn(move || worker.run(&to_do));
        let thread = thread.map_err(StartError::Thread)?;
        *copy.worker.lock().unwrap_or_else(PoisonError::into_inner) = Some(thread);
        Ok(copy)
    }

    /// Which copy, in the run that it was started with.
    #[must_use]
    pub fn identity(&self) -> Identity {
        self.identity
    }

    /// When its commits are acknowledged, by the newest record that it goes by.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.core().as_ref().map_or(self.config.mode, |core| core.copy.mode())
    }

    /// The engine's side.
    ///
    /// # Panics
    /// Never: it is there from the start on.
    #[must_use]
    pub fn stored(&self) -> &StoredCopy {
        self.stored.get().expect("set when the copy was started")
    }

    fn core(&self) -> MutexGuard<'_, Option<Core>> {
        // After a panic there is no core: see `stop_after_panic`.
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where it stands.
    #[must_use]
    pub fn status(&self) -> CopyStatus {
        let core = self.core();
        let mut status = CopyStatus {
            identity: self.identity,
            state: State::Pending,
            knows: Stamp::default(),
            promised: Term(0),
            last_term: Term(0),
            end: Lsn::ZERO,
            committed: Lsn::ZERO,
            is_untouched: false,
            unapplied_bytes: self.stored().unapplied_bytes(),
            image: None,
            members: Vec::new(),
            alarms: 0,
        };
        let Some(core) = core.as_ref() else { return status };
        let stance = core.copy.stance(core.state);
        status.identity.incarnation = stance.incarnation;
        (status.state, status.knows, status.promised) =
            (stance.state, stance.knows, stance.promised);
        (status.last_term, status.end, status.committed) =
            (stance.last_term, stance.end, stance.committed);
        (status.image, status.alarms) = (core.image, core.alarms);
        if let Role::Master(master) = core.copy.role() {
            status.members = master.status().members;
        }
        status.is_untouched = stance.is_untouched(self.identity.incarnation, self.ended);
        status
    }

    /// Hands an event to the core, and carries out what comes of it, unless another thread is at it.
    ///
    /// A panic on this way, an assertion of the core above all, stops this copy and nothing else: the
    /// thread belongs to a connection, the log or the clock, which serve others too.
    pub(super) fn step(&self, event: Event) {
        let stepped = catch_unwind(AssertUnwindSafe(|| self.step_unguarded(event)));
        if stepped.is_err() {
            self.stop_after_panic();
        }
    }

    /// Nothing is acknowledged any more, and who waits learns that nobody knows.
    fn stop_after_panic(&self) {
        *self.core() = None;
        self.stored().give_up("a panic interrupted the replication of this copy");
        if let Err(error) = self.stored().fence() {
            tracing::error!(copy = ?self.identity, %error, "not fenced in order");
        }
    }

    fn step_unguarded(&self, event: Event) {
        let Some(node) = self.node.upgrade() else { return };
        let mut guard = self.core();
        let Some(core) = guard.as_mut() else { return };
        let waits = core.copy.mode().is_sync();
        for mut output in core.copy.step(node.clock.now(), event) {
            self.post(&node, &std::mem::take(&mut output.messages));
            if output.turn.is_some() {
                core.catch_up_rate = None;
            }
            core.outbox.push_back(output);
        }
        if core.copy.mode().is_sync() != waits {
            // Behind the beginning of its term, which may be under way. Without the worker nothing counts any more.
            drop(self.jobs.send(Job::Pace));
        }
        if let Role::Replica(replica) = core.copy.role() {
            core.image = replica.image().or(core.image);
        }
        if std::mem::replace(&mut core.is_busy, true) {
            return;
        }
        loop {
            let Some(core) = guard.as_mut() else { return };
            let Some(output) = core.outbox.pop_front() else {
                core.is_busy = false;
                return;
            };
            drop(guard);
            self.carry_out(&node, output);
            guard = self.core();
        }
    }

    /// Messages leave before anything else is done: they say what the core has decided.
    fn post(&self, node: &Shared, messages: &[Envelope]) {
        let mut rest = messages;
        while let Some(first) = rest.first() {
            let same = rest.iter().take_while(|message| message.to == first.to).count();
            let (batch, behind) = rest.split_at(same);
            rest = behind;
            match node.home(self.identity.partition, first.to) {
                Some(home) => node.post.send(home, batch),
                None => {
                    tracing::debug!(copy = ?self.identity, to = %first.to, "nobody knows where");
                }
            }
        }
    }

    fn carry_out(&self, node: &Shared, output: Output) {
        if let Some(turn) = &output.turn {
            self.turn(turn);
        }
        for write in output.writes {
            self.write(write);
        }
        if let Some(lsn) = output.committed {
            self.stored().set_committed(lsn);
        }
        if let Some(state) = output.state {
            self.enter(state);
        }
        let partition = self.identity.partition;
        for request in output.requests {
            node.authority.request(partition, request);
        }
        if let Some(report) = output.report {
            node.authority.report(partition, report);
        }
        output.lookups.into_iter().for_each(|lookup| self.later(Job::Lookup(lookup)));
        output.reads.into_iter().for_each(|read| self.later(Job::Read(read)));
        output.pages.into_iter().for_each(|work| self.later(Job::Pages(work)));
        output.alarms.iter().for_each(|alarm| self.alarm(alarm));
    }

    fn turn(&self, turn: &Turn) {
        match turn {
            Turn::Master(_) => {
                self.stored().enter(StoredState::Transitioning, "becomes master");
                let hold = self.stored().hold();
                if let Some(core) = self.core().as_mut() {
                    core.hold = Some(hold);
                }
            }
            Turn::Replica(_) => {
                if let Err(error) = self.stored().fence() {
                    self.fail(&error);
                }
                if let Some(core) = self.core().as_mut() {
                    core.hold = None;
                }
            }
        }
    }

    fn write(&self, write: Write) {
        match write {
            Write::Append(frames) => match self.stored().follow(frames) {
                Ok(()) => self.later(Job::Apply),
                Err(error) => self.fail(&error),
            },
            Write::Promise(promise) => self.later(Job::Promise(promise)),
            Write::Cut { to, save } => self.later(Job::Cut { to, save }),
            // Called here, in order with what fences: by the time the worker is there it may be over.
            Write::BeginTerm(term) => self.later(Job::BeginTerm(term, self.stored().call())),
        }
    }

    fn later(&self, job: Job) {
        if self.jobs.send(job).is_err() && !self.is_stopping.load(Ordering::Acquire) {
            self.fail(&io::Error::other("the thread of the copy has panicked"));
        }
    }

    /// The engine's state follows the core's.
    fn enter(&self, state: State) {
        if let Some(core) = self.core().as_mut() {
            core.state = state;
        }
        let stored = self.stored();
        match state {
            State::Pending => stored.enter(StoredState::Pending, "waits for the record"),
            // A copy that lost its master goes on to be read.
            State::Connecting => {}
            State::Provisioning { .. } => {
                stored.enter(StoredState::Provisioning, "gets pages of its master");
            }
            State::Replicating => stored.enter(StoredState::Replicating, "follows its master"),
            State::Transitioning(_) | State::Fenced(_) => {
                stored.enter(StoredState::Transitioning, "its role changes");
            }
            State::Online(_) => stored.enter(StoredState::Online, "master by the record"),
            State::Halted(why) => stored.give_up(&why.to_string()),
        }
    }

    fn alarm(&self, alarm: &Alarm) {
        if let Some(core) = self.core().as_mut() {
            core.alarms += 1;
        }
        match alarm {
            Alarm::Lost { .. } | Alarm::Differs { .. } => {
                tracing::error!(copy = ?self.identity, ?alarm, "alarm");
            }
            _ => tracing::warn!(copy = ?self.identity, ?alarm, "alarm"),
        }
    }

    /// Stops the copy for good: its files are left as they are.
    pub(super) fn fail(&self, error: &dyn std::error::Error) {
        tracing::error!(copy = ?self.identity, %error, "the copy stops");
        self.stored().give_up(&error.to_string());
        self.step(Event::LogFailed);
    }

    /// A message of another copy of the partition.
    pub(super) fn receive(&self, envelope: Envelope) {
        if matches!(envelope.message, Message::Frames { .. }) {
            self.make_room();
        }
        self.step(Event::Receive(envelope));
    }

    /// There is a connection with the node on which copies are that `is_there` knows.
    pub(super) fn connected(&self, is_there: impl Fn(Instance) -> bool) {
        let master = match self.core().as_ref().map(|core| core.copy.role()) {
            Some(Role::Replica(replica)) => replica.decided().and_then(|known| known.record.master),
            _ => None,
        };
        if let Some(master) = master.filter(|master| is_there(*master)) {
            self.step(Event::Connected(master));
        }
    }

    /// Reserves what the core may take next. Whether there is room now and was not, or the other way
    /// round, is told to it first.
    fn make_room(&self) {
        let wanted = self.config.limits.window_bytes + FRAME_BYTES_MAX as u64;
        let room = self.stored().reserve(wanted);
        let was_full = match self.core().as_mut() {
            Some(core) => std::mem::replace(&mut core.is_full, room.is_err()),
            None => return,
        };
        let event = match (&room, was_full) {
            (Ok(()), true) => Event::SpaceBack,
            (Err(_), false) => Event::Full,
            _ => return,
        };
        if let Err(full) = room {
            tracing::warn!(copy = ?self.identity, %full, "takes nothing more until there is room");
        }
        self.step(event);
    }

    /// What has come is applied as far as it goes.
    pub(super) fn applied(&self) {
        let held_back = self.untold_durable.swap(0, Ordering::AcqRel);
        if held_back > 0 {
            self.tell_durable(Lsn(held_back));
        }
        self.step(Event::Applied(self.stored().shown()));
    }

    fn tell_durable(&self, lsn: Lsn) {
        if self.stored().unapplied_bytes() <= self.config.limits.window_bytes {
            self.step(Event::Durable(lsn));
        } else {
            // Told when something is applied; nothing before it waits longer than that.
            self.untold_durable.fetch_max(lsn.0, Ordering::AcqRel);
            self.later(Job::Apply);
        }
    }

    /// How many copies catch up with this one.
    pub(super) fn catching_up(&self) -> usize {
        match self.core().as_ref().map(|core| core.copy.role()) {
            Some(Role::Master(master)) => master.catching_up(),
            _ => 0,
        }
    }

    /// Now and then: what goes by time. Each copy that lacks much may get so many bytes a second.
    pub(super) fn tick(&self, catch_up_bytes_per_second: u64) {
        let Some(node) = self.node.upgrade() else { return };
        let beat_ms = u64::try_from(self.config.timing.beat.as_millis()).unwrap_or(u64::MAX);
        let bytes_per_beat = (catch_up_bytes_per_second / 1_000).saturating_mul(beat_ms);
        let (is_due, leads, is_full, first, rate) = {
            let mut guard = self.core();
            let Some(core) = guard.as_mut() else { return };
            let is_due = node.clock.now() >= core.copy.deadline();
            let leads = matches!(core.copy.role(), Role::Master(_));
            if let (Role::Master(master), Some(hold)) = (core.copy.role(), &core.hold) {
                hold.advance(master.needed_from());
            }
            let first = self.stored().first();
            let moved = (first > core.first).then_some(first);
            core.first = first;
            let rate =
                (leads && core.catch_up_rate != Some(bytes_per_beat)).then_some(bytes_per_beat);
            core.catch_up_rate = rate.or(core.catch_up_rate);
            (is_due, leads, core.is_full, moved, rate)
        };
        if let Some(bytes_per_beat) = rate {
            self.step(Event::CatchUpRate { bytes_per_beat });
        }
        if let Some(first) = first {
            self.step(Event::Trimmed(first));
        }
        if is_full {
            self.make_room();
        }
        if leads {
            // What nobody waits for goes all the same.
            self.stored().ship();
        }
        if is_due {
            self.step(Event::Tick);
        }
    }

    /// Ends the worker. Nothing is carried out any more. In order: the next run is told where this one ended.
    pub(super) fn stop(&self, in_order: bool) {
        self.is_stopping.store(true, Ordering::Release);
        self.later(Job::Stop);
        let worker = self.worker.lock().unwrap_or_else(PoisonError::into_inner).take();
        let worker = worker.filter(|worker| worker.thread().id() != std::thread::current().id());
        let kept = worker.and_then(|worker| {
            let ended = worker.join();
            ended
                .inspect_err(|_| tracing::error!(copy = ?self.identity, "its thread had panicked"))
                .ok()
        });
        let state = self.core().as_ref().map_or(State::Pending, |core| core.state);
        if matches!(state, State::Online(_) | State::Transitioning(_))
            && let Err(error) = self.stored().fence()
        {
            tracing::warn!(copy = ?self.identity, %error, "stopped with its log");
        }
        let core = self.core().take();
        let (began, ended) = (self.identity.incarnation, self.ended);
        let goes_on = |core: &Core| core.copy.stance(core.state).ends_in_order(began, ended);
        let is_settled = in_order && core.as_ref().is_some_and(goes_on);
        if let Some(kept) = kept.filter(|_| is_settled)
            && let Err(error) = self.end_run(kept)
        {
            tracing::warn!(copy = ?self.identity, %error, "the next run does not go on from here");
        }
    }

    /// After it was stopped: what has come is applied, and the copy is PENDING, so that it can be driven again. One that was
    /// getting pages is not: it is recovered first.
    pub(super) fn give_back(&self) {
        let stored = self.stored();
        if !matches!(
            stored.partition().state(),
            StoredState::Replicating | StoredState::Transitioning
        ) {
            return;
        }
        stored.wait_told();
        match stored.apply() {
            Ok(()) => stored.enter(StoredState::Pending, "given up by whoever drove it"),
            Err(error) => stored.give_up(&error.to_string()),
        }
    }

    /// Keeps where the log ends, for the next run. Whatever is appended after that voids it.
    fn end_run(&self, mut kept: Kept) -> Result<(), StartError> {
        let (lsn, _) = self.stored().end()?;
        let term = self.stored().last_term()?;
        kept.end_run(End { term, lsn })
    }
}

impl Shipper for CopyDriver {
    fn appended(&self, frames: &[Frame]) {
        for frame in frames {
            self.step(Event::Appended(frame.clone()));
        }
    }

    fn durable(&self, lsn: Lsn) {
        // Before that there is no core to be told.
        if let Some(stored) = self.stored.get() {
            self.tell_durable(lsn);
            stored.disk_went_on();
        }
    }

    fn failed(&self, _error: &LogError) {
        self.step(Event::LogFailed);
    }
}
