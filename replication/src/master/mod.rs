//! A master: one mastership of one copy.
//!
//! ```text
//!   Starting ── term-start record in its log, and committed ──► Online
//!      │                                                          │
//!      └──────── a newer term, by record or by a peer ────────────┴──► Ended
//! ```
//!
//! | part | file |
//! |---|---|
//! | one other copy: how it stands, how far it is | `member` |
//! | when a commit is acknowledged; leases | `commit` |
//! | entering and leaving the wait set, with the authority | `wait_set` |
//! | where a replica goes on | `greet` |
//! | shipping, acknowledgements | `ship` |
//! | images for copies that need pages | `provide` |
//! | how fast copies catch up | `pace` |

use std::collections::BTreeMap;
use std::time::Duration;

use resprout_wal::{Lsn, Term};

use crate::recent::Recent;
use crate::{
    Alarm, Config, Decided, Envelope, Event, Halt, Identity, Instance, Message, Output, Promise,
    Seed, State, StreamId, Tail, Turn, Write,
};

use member::Member;
pub use member::Standing;
use pace::Pace;
pub use status::{MemberStatus, Status};

mod commit;
mod greet;
mod member;
mod pace;
mod provide;
mod ship;
mod status;
mod wait_set;

/// Numbers of peers above this come from no peer that follows the rules.
const NUMBER_MAX: u64 = 1 << 62;

/// See the module.
#[derive(Clone, Debug)]
pub struct Master {
    identity: Identity,
    config: Config,
    /// Newest record of the own term.
    decided: Decided,
    promise: Promise,
    phase: Phase,
    tail: Tail,
    /// Where the log begins.
    first: Lsn,
    recent: Recent,
    committed: Lsn,
    applied: Lsn,
    members: BTreeMap<Instance, Member>,
    /// How fast copies catch up, and where the log ended at the beat before.
    pace: Pace,
    now: Duration,
    next_beat: Duration,
    told: State,
    out: Output,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Not writable: the record that starts the term is not committed.
    Starting {
        /// It was asked for.
        asked: bool,
        /// Behind it.
        start: Option<Lsn>,
    },
    Online,
    /// By this term.
    Ended(Term),
    Halted(Halt),
}

impl Master {
    /// The master of the record's term. Its log must be settled, and end with a whole group.
    ///
    /// # Panics
    /// If the record does not say that this copy is master, or is older than its promise.
    #[must_use]
    pub fn new(seed: Seed, decided: Decided, now: Duration) -> Self {
        let Seed { identity, mut config, promise, tail, committed, first, resumes } = seed;
        let record = &decided.record;
        config.go_by(record);
        assert_eq!(record.master, Some(identity.instance), "master by the record");
        assert!(record.term >= promise.term, "term {} is over", record.term);
        let is_new = record.term > tail.last_term();
        assert!(is_new || resumes == Some(record.term), "an LSN is never reused inside a term");
        assert!(!tail.is_inside_a_group(), "a group that is not complete");
        let recent = Recent::new(tail.end(), config.limits.recent_bytes_max);
        let pace = Pace::new(tail.end());
        let term = record.term;
        let (others, own) = (record.copies.iter(), identity.instance);
        let members = others.filter(|(instance, _)| **instance != own);
        let members = members.map(|(instance, copy)| (*instance, Member::new(copy, &config, now)));
        Self {
            identity,
            config,
            promise,
            phase: Phase::Starting { asked: false, start: None },
            applied: tail.whole(),
            tail,
            first,
            recent,
            committed,
            members: members.collect(),
            decided,
            pace,
            now,
            next_beat: now,
            told: State::Transitioning(term),
            out: Output::default(),
        }
    }

    /// What the copy is, for the replica that it becomes.
    #[must_use]
    pub fn seed(&self) -> Seed {
        Seed {
            identity: self.identity,
            config: self.config,
            promise: self.promise,
            tail: self.tail.clone(),
            committed: self.committed,
            first: self.first,
            resumes: None,
        }
    }

    /// The term that ended it, if one did.
    #[must_use]
    pub fn fenced_by(&self) -> Option<Term> {
        match self.phase {
            Phase::Ended(term) => Some(term),
            _ => None,
        }
    }

    /// Its term.
    #[must_use]
    pub fn term(&self) -> Term {
        self.decided.record.term
    }

    /// When to step at the latest.
    #[must_use]
    pub fn deadline(&self) -> Duration {
        self.next_beat
    }

    /// Takes an event.
    pub fn step(&mut self, now: Duration, event: Event) -> Output {
        self.now = self.now.max(now);
        if matches!(self.phase, Phase::Starting { .. } | Phase::Online) {
            self.handle(event);
        }
        if matches!(self.phase, Phase::Starting { .. } | Phase::Online) {
            self.begin();
            self.commit();
            self.pump_all();
            self.check();
        }
        self.tell_state();
        std::mem::take(&mut self.out)
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Tick => {}
            Event::Receive(envelope) => self.receive(envelope),
            Event::Record(decided) => self.take_record(decided),
            Event::Appended(frame) => self.appended(frame),
            Event::Durable(lsn) => self.tail.flushed(lsn),
            Event::Applied(lsn) => self.applied = self.applied.max(lsn),
            Event::Chain { at, chain } => self.take_chain(at, chain),
            Event::Read { read, frames } => self.take_read(&read, frames),
            Event::Trimmed(lsn) => self.first = self.first.max(lsn),
            Event::CatchUpRate { bytes_per_beat } => self.set_catch_up_rate(bytes_per_beat),
            Event::Image { replica, head } => self.take_image(replica, head),
            Event::Digests { image, from, digests } => self.send_digests(image, from, digests),
            Event::Pages { image, pages } => self.send_pages(image, pages),
            Event::LogFailed => self.phase = Phase::Halted(Halt::LogFailed),
            // A replica's.
            Event::Promised(promise) => self.promise = self.promise.joined(promise),
            Event::Connected(_)
            | Event::Cut { .. }
            | Event::Differ { .. }
            | Event::Stored { .. }
            | Event::Installed { .. }
            | Event::Spoiled { .. }
            | Event::Full
            | Event::SpaceBack
            | Event::Stopping => {}
        }
        if self.now >= self.next_beat {
            self.beat();
        }
    }

    /// Asks for the record that starts the term: first of all, and once.
    fn begin(&mut self) {
        if self.phase == (Phase::Starting { asked: false, start: None }) {
            self.phase = Phase::Starting { asked: true, start: None };
            self.out.writes.push(Write::BeginTerm(self.term()));
        }
    }

    fn appended(&mut self, frame: crate::Frame) {
        assert_eq!(frame.header.term, self.term(), "a frame of another term");
        let taken = self.tail.take(&frame.header);
        assert_eq!(taken, Ok(()), "the log's own frame {frame:?}");
        self.recent.push(frame);
        if let Phase::Starting { start: start @ None, .. } = &mut self.phase
            && !self.tail.is_inside_a_group()
        {
            *start = Some(self.tail.whole());
        }
    }

    /// Everything that goes by time.
    fn beat(&mut self) {
        self.next_beat = self.now + self.config.timing.beat;
        self.look_after_members();
        self.resend();
        self.allow_more();
        self.provide_more();
        let beat =
            Message::Beat { sent: self.now, end: self.tail.end(), committed: self.committed };
        let listening = self.members.iter().filter_map(|(instance, member)| {
            let stream = member.stream.as_ref()?;
            Some((*instance, stream.id))
        });
        for (to, stream) in listening.collect::<Vec<_>>() {
            self.send(to, stream, beat.clone());
        }
    }

    fn receive(&mut self, envelope: Envelope) {
        let Envelope { from, to, term, stream, message } = envelope;
        if to != self.identity.instance || from.partition != self.identity.partition {
            self.mark("not for this copy");
            return;
        }
        if term.0 > NUMBER_MAX {
            self.out.alarms.push(Alarm::Unsound(from.instance));
            return;
        }
        if term > self.term() {
            self.mark("a peer knows a newer term");
            self.end(term, None);
            return;
        }
        if term < self.term() {
            self.mark("a peer of an older term");
            if !matches!(message, Message::Refuse) {
                self.send(from.instance, stream, Message::Refuse);
            }
            return;
        }
        if message.is_of_master() {
            self.out.alarms.push(Alarm::Unsound(from.instance));
            return;
        }
        if let Message::Hello(hello) = message {
            self.take_hello(from, stream, hello);
            return;
        }
        if !self.is_of_stream(&from, stream, &message) {
            self.mark("of an older stream");
            return;
        }
        if let Some(member) = self.members.get_mut(&from.instance) {
            member.heard = self.now;
        }
        match message {
            Message::Ack(ack) => self.take_ack(from.instance, &ack),
            Message::Leave(_) => self.leave(from.instance, "a replica asks to leave"),
            Message::AskDigests { image, from: first, count } => {
                self.read_digests(from.instance, image, first, count);
            }
            Message::Want { image, pages } => self.want(from.instance, image, pages),
            _ => {}
        }
    }

    /// Whether a message belongs to what its sender does now: anything else proves nothing (R01,
    /// R02).
    fn is_of_stream(&self, from: &Identity, stream: StreamId, message: &Message) -> bool {
        let known = self.members.get(&from.instance).and_then(|member| member.stream.as_ref());
        let is_ack = matches!(message, Message::Ack(_));
        let is_same =
            known.is_some_and(|known| known.id == stream && stream.run == from.incarnation);
        is_same || is_ack && planted!(self.config, CountOldStreams)
    }

    /// A newer term: the mastership is over. What waits for an acknowledgement stays unknown; nothing
    /// is cut or deleted (catalogue rule 11).
    fn end(&mut self, by: Term, decided: Option<Decided>) {
        self.mark("fenced");
        self.phase = Phase::Ended(by);
        self.out.turn = Some(Turn::Replica(decided));
    }

    fn tell_state(&mut self) {
        let state = match self.phase {
            Phase::Starting { .. } => State::Transitioning(self.term()),
            Phase::Online => State::Online(self.term()),
            Phase::Ended(by) => State::Fenced(by),
            Phase::Halted(why) => State::Halted(why),
        };
        if state != self.told {
            self.told = state;
            self.out.state = Some(state);
        }
    }

    fn send(&mut self, to: Instance, stream: StreamId, message: Message) {
        let (from, term) = (self.identity, self.term());
        self.out.messages.push(Envelope { from, to, term, stream, message });
    }

    /// What must hold behind every step.
    fn check(&self) {
        self.tail.check();
        assert!(self.committed <= self.tail.end(), "committed {} behind the end", self.committed);
        // The wait set contains whoever the record lets be promoted (rule 5).
        for (instance, member) in &self.members {
            let can = self.decided.record.copy(*instance).state == crate::CopyState::Sync;
            let waits = member.standing != Standing::Async;
            let bugs = [
                planted!(self.config, StopWaitingUnasked),
                planted!(self.config, LeaveBeforeLaterVersion),
            ];
            let lax = bugs.contains(&true);
            assert!(waits || !can || lax, "{instance} may be promoted and is not waited for");
        }
    }

    /// Ties a line to the tests that explain it.
    #[cfg(any(test, feature = "testing"))]
    fn mark(&mut self, mark: &'static str) {
        self.out.marks.push(mark);
    }

    #[cfg(not(any(test, feature = "testing")))]
    #[expect(clippy::unused_self, reason = "only tests have marks")]
    fn mark(&mut self, _mark: &'static str) {}
}
