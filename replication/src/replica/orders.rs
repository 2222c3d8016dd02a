//! The record: what binds this copy, what it reports, and whom it follows (catalogue rules 2, 3, 9).
//!
//! A newer term binds from the moment it is heard: nothing of an older one is taken or acknowledged
//! from then on. It is acted on when it is on the medium, and a position is reported when nothing
//! that was taken before is still on its way there (rows R12, R13).

use resprout_wal::Term;

use super::{Phase, Replica};
use crate::{Decided, Promise, Report, Turn, Write};

impl Replica {
    /// A committed record.
    pub(super) fn take_record(&mut self, decided: Decided) {
        let term = decided.record.term;
        if decided.stamp < self.promised.stamp || term < self.promised.term {
            self.mark("an older decision");
            return;
        }
        let known = self.decided.as_ref().map(|known| known.record.version());
        let is_news = known < Some(decided.record.version());
        let newer_term = known.is_none_or(|(known, _)| known < term);
        let other_master =
            self.decided.as_ref().is_none_or(|known| known.record.master != decided.record.master);
        let promise = Promise { term, stamp: decided.stamp };
        if planted!(self.config, FenceWhenStored) && newer_term && self.stored < promise {
            // Goes on as if nothing had been heard until the medium has it.
            self.out.writes.push(Write::Promise(promise));
            return;
        }
        if is_news && !newer_term && other_master && self.two_masters(&decided) {
            self.halt(crate::Halt::TwoMasters(term));
            return;
        }
        self.bind(promise);
        // The same decision once more: report again, but do not begin anew what is under way.
        let again = !is_news && decided.record.master.is_none();
        let taken_back = self.is_taken_back(&decided);
        if newer_term || other_master || again || taken_back {
            self.stop_following();
            self.to_act = true;
        }
        if is_news || taken_back {
            self.config.go_by(&decided.record);
            self.decided = Some(decided);
        }
    }

    /// The record names another run of this copy as master than it did: this one, which may go on in the term.
    fn is_taken_back(&self, decided: &Decided) -> bool {
        let own = self.identity.instance;
        let run = |decided: &Decided| decided.record.copy(own).incarnation;
        let is_newer = |known: &Decided| known.stamp < decided.stamp && run(known) < run(decided);
        let is_other_run = self.decided.as_ref().is_some_and(is_newer);
        is_other_run && decided.record.master == Some(own)
    }

    /// Within a term a master can be named once.
    fn two_masters(&self, decided: &Decided) -> bool {
        let before = self.decided.as_ref().and_then(|known| known.record.master);
        before.is_some() && before != decided.record.master
    }

    /// Promises, and has it stored.
    fn bind(&mut self, promise: Promise) {
        let joined = self.promised.joined(promise);
        if joined != self.promised {
            self.promised = joined;
            self.write_promise();
        }
    }

    pub(super) fn promise_stored(&mut self, promise: Promise) {
        self.stored = self.stored.joined(promise);
        self.promised = self.promised.joined(promise);
    }

    /// This copy was master until it heard of a newer term.
    pub fn demoted(&mut self, by: Option<Term>, decided: Option<Decided>) {
        if let Some(term) = by {
            let stamp = decided.as_ref().map_or(self.promised.stamp, |decided| decided.stamp);
            self.bind(Promise { term, stamp });
        }
        if let Some(decided) = decided {
            self.config.go_by(&decided.record);
            self.decided = Some(decided);
            self.to_act = true;
        }
    }

    /// Nothing of an older stream is taken any more.
    fn stop_following(&mut self) {
        if !matches!(self.phase, Phase::Installing) {
            self.phase = Phase::Pending;
        }
    }

    /// Acts on the record once the promise is on the medium.
    pub(super) fn act(&mut self) {
        if !self.to_act || self.stored != self.promised || self.phase == Phase::Installing {
            return;
        }
        let Some(decided) = self.decided.clone() else { return };
        let record = &decided.record;
        if record.term < self.promised.term {
            return;
        }
        match record.master {
            None => self.report(),
            Some(master) if master == self.identity.instance => {
                if self.is_named(&decided) {
                    self.turn(decided);
                } else {
                    self.mark("the record names an earlier run: a new term is needed");
                    self.report();
                }
            }
            Some(_) => {
                if self.cutting.is_none() {
                    self.to_act = false;
                    self.greet();
                }
            }
        }
    }

    /// Whether the record names this run as master, and its term has no record yet, or the run before ended in order in it: any
    /// other restart ends a mastership, and no two runs write the same place in one term (rule 14).
    fn is_named(&self, decided: &Decided) -> bool {
        let record = &decided.record;
        let named = record.copy(self.identity.instance).incarnation;
        let last = self.tail.last_term();
        let goes_on = self.resumes == Some(record.term) && record.term == last;
        named == self.identity.incarnation && (record.term > last || goes_on)
    }

    /// Whether it is about to become master, once its promise is on the medium and its log is settled.
    pub(super) fn will_turn(&self) -> bool {
        let names_this = |decided: &&Decided| {
            let record = &decided.record;
            record.master == Some(self.identity.instance) && record.term >= self.promised.term
        };
        let decided = self.decided.as_ref().filter(names_this);
        self.to_act && decided.is_some_and(|decided| self.is_named(decided))
    }

    /// Whether everything that was handed to the log is on the medium, and nothing is being cut.
    fn is_settled(&self) -> bool {
        self.cutting.is_none()
            && (self.tail.is_drained() || planted!(self.config, ReportBeforeDrained))
    }

    fn report(&mut self) {
        if !self.is_settled() {
            self.mark("the position is not settled");
            return;
        }
        self.to_act = false;
        self.mark("reports");
        self.out.report = Some(Report {
            promised: self.promised.term,
            last_term: self.tail.last_term(),
            last: self.tail.whole(),
            instance: self.identity.instance,
            incarnation: self.identity.incarnation,
            healthy: true,
        });
    }

    /// Becomes master: with its whole log, but for a group that never was complete.
    fn turn(&mut self, decided: Decided) {
        if !self.is_settled() {
            return;
        }
        if self.tail.is_inside_a_group() {
            self.mark("a group that is not complete is cut off");
            let to = self.tail.whole();
            self.tail.cut_partial();
            self.cutting = Some(to);
            self.out.writes.push(Write::Cut { to, save: false });
            return;
        }
        if planted!(self.config, ForgetTailOnPromotion) && self.committed < self.tail.whole() {
            self.phase = Phase::Checking { to: self.committed, chain: None };
            self.out.lookups.push(crate::Lookup(self.committed));
            return;
        }
        self.to_act = false;
        self.phase = Phase::Turned;
        self.out.turn = Some(Turn::Master(decided));
    }
}
