//! A copy that is not master: it waits for the record, follows whom the record names, and is made
//! ready for its own mastership.
//!
//! ```text
//!            record: follow            Welcome: Continue
//!   Pending ────────────────► Greeting ────────────────► Streaming
//!     ▲  ▲                     ▲  │ │ ▲                      │
//!     │  │           cut done  │  │ │ └── silence, misfit ───┘
//!     │  │                     │  │ └─► Provision: Fetching ─► Installing ─┐
//!     │  │   Cutting ◄─ Checking ◄┘                                        │
//!     │  └── a newer record: fenced, whatever was going on                 │
//!     └─────────────────────────── (Greeting, as another run) ◄────────────┘
//! ```
//!
//! | part | file |
//! |---|---|
//! | the record: fencing, reports, turning master | `orders` |
//! | finding the place to go on; cutting | `join` |
//! | frames, acknowledgements | `stream` |
//! | images | `fetch` |

use std::time::Duration;

use resprout_wal::{Lsn, Term};

use crate::{
    Alarm, Config, Decided, Envelope, Event, Halt, Identity, Incarnation, Instance, Leave, Message,
    Mode, Output, Promise, State, StreamId, Tail, Write,
};
use fetch::Fetch;
pub use fetch::ImageProgress;

mod fetch;
mod join;
mod orders;
mod stream;

/// What a copy is when it becomes one or takes another role.
#[derive(Clone, Debug)]
pub struct Seed {
    /// Which copy, in which run.
    pub identity: Identity,
    /// Its settings.
    pub config: Config,
    /// What it has promised, durably.
    pub promise: Promise,
    /// The end of its log.
    pub tail: Tail,
    /// What it knows acknowledged.
    pub committed: Lsn,
    /// Where its log begins.
    pub first: Lsn,
    /// The term in which it was master to an orderly end, with which its log ends and after which nothing happened to it: it
    /// may go on in it (rule 14). Only the run before this one can know.
    pub resumes: Option<Term>,
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Replica {
    identity: Identity,
    config: Config,
    /// What binds it: from the moment it is heard (row R12).
    promised: Promise,
    /// What of it is on the medium.
    stored: Promise,
    /// Newest record of the promised term, or of an older one while that is all there is.
    decided: Option<Decided>,
    /// The record is not acted on yet.
    to_act: bool,
    phase: Phase,
    tail: Tail,
    first: Lsn,
    /// See [`Seed::resumes`].
    resumes: Option<Term>,
    /// Known acknowledged, of any history that this copy followed; perhaps behind its end.
    committed: Lsn,
    /// What its readers see.
    visible: Lsn,
    applied: Lsn,
    /// A cut that the log has not confirmed.
    cutting: Option<Lsn>,
    /// The last stream that it began.
    newest_stream: StreamId,
    /// The newest sign of life of its master.
    echo: Duration,
    /// The device is full, or the node stops: nothing is taken, and nobody is to wait for it.
    closed: bool,
    /// An image that it fetches: outlives streams.
    fetch: Option<Fetch>,
    /// The last image that it took in place of what it was.
    replaced_by: Option<ImageProgress>,
    now: Duration,
    next_beat: Duration,
    told: State,
    out: Output,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Pending,
    /// It has said hello, at this time.
    Greeting(Duration),
    /// The chain at the place where it is to cut is looked up; what it must be.
    Checking {
        to: Lsn,
        chain: Option<u64>,
    },
    Cutting,
    /// Heard last.
    Streaming(Duration),
    /// Heard last.
    Fetching(Duration),
    Installing,
    /// It is master.
    Turned,
    Halted(Halt),
}

impl Replica {
    /// A copy that follows nobody yet.
    #[must_use]
    pub fn new(seed: Seed, now: Duration) -> Self {
        let Seed { identity, config, promise, tail, committed, first, resumes } = seed;
        let visible = committed.min(tail.whole());
        Self {
            identity,
            config,
            promised: promise,
            stored: promise,
            decided: None,
            to_act: false,
            phase: Phase::Pending,
            applied: Lsn::ZERO,
            tail,
            first,
            resumes,
            committed,
            visible,
            cutting: None,
            newest_stream: StreamId { run: identity.incarnation, number: 0 },
            echo: Duration::ZERO,
            closed: false,
            fetch: None,
            replaced_by: None,
            now,
            next_beat: now,
            told: State::Halted(Halt::LogFailed),
            out: Output::default(),
        }
    }

    /// What the copy is, for the master that it becomes.
    #[must_use]
    pub fn seed(&self) -> Seed {
        Seed {
            identity: self.identity,
            config: self.config,
            promise: self.stored,
            tail: self.tail.clone(),
            committed: self.committed.min(self.tail.whole()),
            first: self.first,
            resumes: self.resumes,
        }
    }

    /// When to step at the latest.
    #[must_use]
    pub fn deadline(&self) -> Duration {
        self.next_beat
    }

    /// Takes an event.
    pub fn step(&mut self, now: Duration, event: Event) -> Output {
        self.now = self.now.max(now);
        if !matches!(self.phase, Phase::Turned | Phase::Halted(_)) {
            self.handle(event);
            self.act();
            self.show();
            self.check();
        }
        self.tell_state();
        std::mem::take(&mut self.out)
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Tick => {}
            Event::Receive(envelope) => self.receive(envelope),
            Event::Connected(instance) => self.connected(instance),
            Event::Record(decided) => self.take_record(decided),
            Event::Durable(lsn) => self.flushed(lsn),
            Event::Promised(promise) => self.promise_stored(promise),
            Event::Applied(lsn) => self.applied = self.applied.max(lsn),
            Event::Cut { to } => self.cut_done(to),
            Event::Chain { at, chain } => self.take_chain(at, chain),
            Event::Trimmed(lsn) => self.first = self.first.max(lsn),
            Event::Differ { image, until, pages } => self.compared(image, until, pages),
            Event::Stored { image } => self.pages_stored(image),
            Event::Installed { image, incarnation } => self.installed(image, incarnation),
            Event::Spoiled { image } => self.spoiled(image),
            Event::Full => self.leave(Leave::Full),
            Event::Stopping => self.leave(Leave::Stopping),
            Event::SpaceBack => self.space_back(),
            Event::LogFailed => self.halt(Halt::LogFailed),
            // A master's: what it asked for before it was fenced.
            Event::Appended(frame) => self.appended(&frame),
            Event::Read { .. }
            | Event::CatchUpRate { .. }
            | Event::Image { .. }
            | Event::Digests { .. }
            | Event::Pages { .. } => {}
        }
        if self.now >= self.next_beat {
            self.next_beat = self.now + self.config.timing.beat;
            self.beat();
        }
    }

    /// What was handed to the log by the master that this copy was: it is in the log, and whoever is
    /// master now decides about it.
    fn appended(&mut self, frame: &crate::Frame) {
        if self.tail.take(&frame.header).is_err() {
            self.halt(Halt::LogFailed);
        }
    }

    /// Everything that goes by time.
    fn beat(&mut self) {
        let (now, timing) = (self.now, self.config.timing);
        match self.phase {
            Phase::Greeting(at) if now.saturating_sub(at) >= timing.retry => self.greet(),
            Phase::Streaming(heard) | Phase::Fetching(heard)
                if now.saturating_sub(heard) >= timing.silent =>
            {
                self.mark("the master is silent");
                self.greet();
            }
            Phase::Fetching(_) => self.fetch_again(),
            _ => {}
        }
    }

    fn receive(&mut self, envelope: Envelope) {
        let Envelope { from, to, term, stream, message } = envelope;
        if to != self.identity.instance || from.partition != self.identity.partition {
            self.mark("not for this replica");
            return;
        }
        let record_term = self.decided.as_ref().map_or(Term(0), |known| known.record.term);
        if term < self.promised.term && !planted!(self.config, FenceWhenStored)
            || term < record_term
        {
            self.mark("a peer of an older term");
            if !matches!(message, Message::Refuse) {
                self.send(from.instance, stream, Message::Refuse);
            }
            return;
        }
        if term > self.promised.term {
            // Roles are not inferred from messages: the record will say so (rules 1 and 20).
            self.mark("a term that the record does not know here");
            self.out.alarms.push(Alarm::NewerTerm(term));
            return;
        }
        let of_master = self.master() == Some(from.instance) && message.is_of_master();
        if !of_master || stream != self.newest_stream {
            self.mark("not of the stream");
            return;
        }
        if let Phase::Streaming(heard) | Phase::Fetching(heard) = &mut self.phase {
            *heard = self.now;
        }
        match message {
            Message::Welcome(start) => self.welcomed(start),
            Message::Frames { frames, committed } => self.take_frames(frames, committed),
            Message::Beat { sent, end: _, committed } => self.take_beat(sent, committed),
            Message::Digests { image, from, digests } => self.take_digests(image, from, digests),
            Message::Pages { image, pages } => self.take_pages(image, pages),
            _ => {}
        }
    }

    /// Who is to be followed: the master of the promised term.
    fn master(&self) -> Option<Instance> {
        let decided = self.decided.as_ref()?;
        decided.record.master.filter(|master| *master != self.identity.instance)
    }

    fn send(&mut self, to: Instance, stream: StreamId, message: Message) {
        let (from, term) = (self.identity, self.promised.term);
        self.out.messages.push(Envelope { from, to, term, stream, message });
    }

    fn send_to_master(&mut self, message: Message) {
        if let Some(master) = self.master() {
            self.send(master, self.newest_stream, message);
        }
    }

    /// Shows readers what is acknowledged and here, whole groups only (rule 13).
    fn show(&mut self) {
        let mut known = self.committed.min(self.tail.whole());
        if planted!(self.config, VisibleBeforeCommitted) {
            known = self.tail.whole();
        }
        if planted!(self.config, ShowPartialGroups) {
            known = self.committed.min(self.tail.end());
        }
        if known > self.visible {
            self.visible = known;
            self.out.committed = Some(known);
        }
    }

    /// Stops for good, files untouched.
    fn halt(&mut self, why: Halt) {
        self.phase = Phase::Halted(why);
    }

    fn tell_state(&mut self) {
        let state = match self.phase {
            Phase::Pending => State::Pending,
            Phase::Greeting(_) | Phase::Checking { .. } | Phase::Cutting => State::Connecting,
            Phase::Fetching(_) | Phase::Installing => {
                let (done, total) = self.fetch.as_ref().map_or((0, 0), Fetch::progress);
                State::Provisioning { done, total }
            }
            Phase::Streaming(_) => State::Replicating,
            Phase::Turned => State::Transitioning(self.promised.term),
            Phase::Halted(why) => State::Halted(why),
        };
        if state != self.told {
            self.told = state;
            self.out.state = Some(state);
        }
    }

    /// What must hold behind every step.
    fn check(&self) {
        self.tail.check();
        let lax = planted!(self.config, ShowPartialGroups);
        assert!(self.visible <= self.tail.whole() || lax, "visible {} beyond", self.visible);
        assert!(self.stored.term <= self.promised.term, "stored before it was promised");
    }

    /// The end of its log.
    #[must_use]
    pub fn tail(&self) -> &Tail {
        &self.tail
    }

    /// Known acknowledged, and here.
    #[must_use]
    pub fn visible(&self) -> Lsn {
        self.visible
    }

    /// The record that it goes by.
    #[must_use]
    pub fn decided(&self) -> Option<&Decided> {
        self.decided.as_ref()
    }

    /// The term whose master it is about to be: the record says so, and it only has to make that durable.
    #[must_use]
    pub fn turns_in(&self) -> Option<Term> {
        let is_halted = matches!(self.phase, Phase::Halted(_));
        let turns = self.phase == Phase::Turned || self.will_turn() && !is_halted;
        turns.then_some(self.promised.term)
    }

    /// The term that it promised to take nothing older than.
    #[must_use]
    pub fn promised(&self) -> Term {
        self.promised.term
    }

    /// When commits of its partition are acknowledged, as far as it knows.
    pub(crate) fn mode(&self) -> Mode {
        self.config.mode
    }

    /// Which run it is: a provisioned copy is another one.
    #[must_use]
    pub fn incarnation(&self) -> Incarnation {
        self.identity.incarnation
    }

    /// Ties a line to the tests that explain it.
    #[cfg(any(test, feature = "testing"))]
    fn mark(&mut self, mark: &'static str) {
        self.out.marks.push(mark);
    }

    #[cfg(not(any(test, feature = "testing")))]
    #[expect(clippy::unused_self, reason = "only tests have marks")]
    fn mark(&mut self, _mark: &'static str) {}

    fn write_promise(&mut self) {
        self.out.writes.push(Write::Promise(self.promised));
    }
}
