//! Finding the place where this copy goes on with its master: at its end, at a cut, or from an
//! image (catalogue rule 16).

use std::time::Duration;

use resprout_wal::{Lineage, Lsn};

use super::{Phase, Replica};
use crate::{Alarm, Halt, Hello, Instance, Lookup, Message, Mode, Start, StreamId, Write};

impl Replica {
    /// Begins a stream: nothing of an earlier one counts from now on.
    pub(super) fn greet(&mut self) {
        if self.closed {
            self.phase = Phase::Pending;
            return;
        }
        if planted!(self.config, CutAtWatermark) && self.committed < self.tail.whole() {
            self.phase = Phase::Checking { to: self.committed, chain: None };
            self.out.lookups.push(Lookup(self.committed));
            return;
        }
        self.say_hello();
    }

    /// A hello that was said without a connection has not arrived: it is said now, and not when it is late.
    pub(super) fn connected(&mut self, instance: Instance) {
        if self.master() == Some(instance) && matches!(self.phase, Phase::Greeting(_)) {
            self.mark("the way to the master is there");
            self.greet();
        }
    }

    fn say_hello(&mut self) {
        let (run, number) = (self.identity.incarnation, self.newest_stream.number + 1);
        self.newest_stream = StreamId { run, number };
        // What another master's clock said means nothing to this one: it would keep its lease too long, or take this copy's
        // acknowledgements for unsound until its own clock is there.
        self.echo = Duration::ZERO;
        self.phase = Phase::Greeting(self.now);
        let history = self.tail.history().clone();
        let lineage = Lineage { term: history.term(), history, chain: self.tail.chain() };
        let wants_pages = self.fetch.is_some();
        let hello = Hello { lineage, end: self.tail.end(), wants_pages };
        self.send_to_master(Message::Hello(hello));
    }

    pub(super) fn welcomed(&mut self, start: Start) {
        // A stream may turn out to be behind what its master keeps: then pages are offered on it.
        let streams = matches!(self.phase, Phase::Streaming(_));
        let turns_to_pages = streams && matches!(start, Start::Provision(_));
        if !matches!(self.phase, Phase::Greeting(_)) && !turns_to_pages {
            return;
        }
        match start {
            Start::Continue { from } if from == self.tail.end() => {
                self.mark("goes on from its end");
                self.phase = Phase::Streaming(self.now);
                self.fetch = None;
                self.acknowledge();
            }
            Start::Truncate { to, chain } if to < self.tail.end() => {
                self.phase = Phase::Checking { to, chain: Some(chain) };
                self.out.lookups.push(Lookup(to));
            }
            Start::Provision(head) => self.offered(head),
            Start::Continue { .. } | Start::Truncate { .. } => {
                let master = self.master().unwrap_or_default();
                self.out.alarms.push(Alarm::Unsound(master));
            }
        }
    }

    /// The own chain where the master says that the logs part.
    pub(super) fn take_chain(&mut self, at: Lsn, own: Option<u64>) {
        let Phase::Checking { to, chain } = self.phase else { return };
        if at != to {
            return;
        }
        match (own, chain) {
            (Some(own), None) => self.cut(to, own),
            (Some(own), Some(chain)) if own == chain => {
                if self.may_cut(to) {
                    self.cut(to, own);
                }
            }
            _ => {
                self.mark("no common point: pages are needed");
                self.want_image();
            }
        }
    }

    /// Never below what this copy knows was acknowledged (assertion 7), but where the database was
    /// made to go back at a failover.
    fn may_cut(&mut self, to: Lsn) -> bool {
        let acknowledged = self.committed.min(self.tail.whole());
        if to >= acknowledged {
            return true;
        }
        if self.config.mode == Mode::Local {
            self.out.alarms.push(Alarm::Lost { from: to, to: acknowledged });
            return true;
        }
        self.mark("a cut below what was acknowledged");
        self.halt(Halt::CutBelowAcknowledged { to, acknowledged });
        false
    }

    fn cut(&mut self, to: Lsn, chain: u64) {
        self.mark("cuts its tail");
        self.tail.cut(to, chain);
        self.committed = self.committed.min(to);
        self.visible = self.visible.min(to);
        self.cutting = Some(to);
        self.resumes = None;
        self.phase = Phase::Cutting;
        self.out.writes.push(Write::Cut { to, save: true });
    }

    pub(super) fn cut_done(&mut self, to: Lsn) {
        if self.cutting != Some(to) {
            return;
        }
        self.cutting = None;
        // A cut is durable, with everything before it.
        self.tail.flushed(to);
        if self.phase == Phase::Cutting {
            self.say_hello();
        }
    }
}
