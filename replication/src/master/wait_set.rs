//! Entering and leaving the wait set: waited for first and published after; published first and
//! no longer waited for after (catalogue rules 5 to 7).

use std::collections::BTreeSet;

use super::member::Member;
use super::{Master, Phase, Standing};
use crate::{
    Alarm, Cfg, CopyRecord, CopyState, Decided, Halt, Instance, Mode, Promise, Request, Write,
};

impl Master {
    /// A committed record: an answer, or news.
    pub(super) fn take_record(&mut self, decided: Decided) {
        let record = &decided.record;
        if record.term == self.term() && planted!(self.config, ModeOfAnyRecord) {
            self.config.go_by(record);
        }
        if decided.stamp < self.decided.stamp || record.version() <= self.decided.record.version() {
            self.mark("an older record");
            return;
        }
        if record.term > self.term() && planted!(self.config, ZombieAcknowledges) {
            return;
        }
        if record.term > self.term() {
            self.end(record.term, Some(decided));
            return;
        }
        if record.master != Some(self.identity.instance) {
            self.phase = Phase::Halted(Halt::TwoMasters(self.term()));
            return;
        }
        // The newest decision is remembered over a restart (rule 3).
        let promise = Promise { term: record.term, stamp: decided.stamp };
        self.out.writes.push(Write::Promise(promise));
        self.decided = decided;
        self.config.go_by(&self.decided.record);
        let copies = self.decided.record.copies.clone();
        let own = self.identity.instance;
        for (instance, copy) in copies.iter().filter(|(instance, _)| **instance != own) {
            self.member_recorded(*instance, copy);
        }
        // Who is not in the record any more was dropped: the record is published, so is that.
        let gone = self.members.keys().filter(|instance| !copies.contains_key(instance));
        for instance in gone.copied().collect::<BTreeSet<_>>() {
            self.release(instance);
            self.members.remove(&instance);
        }
    }

    fn member_recorded(&mut self, instance: Instance, copy: &CopyRecord) {
        let config = self.config;
        let cfg = self.decided.record.cfg;
        let new = Member::new(copy, &config, self.now);
        let known = self.members.contains_key(&instance);
        let member = self.members.entry(instance).or_insert(new);
        member.asked = None;
        if copy.state == CopyState::Sync {
            if known && !member.is_waited_for(&config) {
                self.out.alarms.push(Alarm::NotWaitedFor(instance));
            }
            member.counted = copy.incarnation;
            member.sync_since.get_or_insert(self.now);
            if member.standing != Standing::Leaving {
                member.standing = Standing::Sync;
            }
            return;
        }
        if !config.mode.is_sync() && member.standing != Standing::Async {
            // No fault of the copy: when commits are to wait for it again, it comes in like any other.
            member.standing = Standing::Async;
            (member.behind, member.near, member.sync_since) = (None, None, None);
            member.counted = copy.incarnation;
            self.mark("the database does not wait for replicas any more");
            return;
        }
        match member.standing {
            // Whatever was asked at an older version is void now.
            Standing::Sync | Standing::Leaving => {
                member.standing = Standing::Async;
                member.back_off(&config, self.now);
                self.mark("published asynchronous: no longer waited for");
            }
            Standing::Asked { cfg: asked } if asked < cfg => {
                member.standing = Standing::Held { from: self.tail.end() };
                self.mark("the publication lost against another change");
            }
            // Nobody waits for it, and how far it is counts all the same: a promotion goes by it.
            Standing::Async => member.counted = copy.incarnation,
            Standing::Asked { .. } | Standing::Held { .. } => {}
        }
    }

    /// Who is silent or does not get on falls out; who has caught up comes in; what is not answered
    /// is asked again.
    pub(super) fn look_after_members(&mut self) {
        for instance in self.members.keys().copied().collect::<Vec<_>>() {
            self.look_for_silence(instance);
            self.admit(instance);
            self.ask(instance);
        }
    }

    fn look_for_silence(&mut self, instance: Instance) {
        let (now, config, end) = (self.now, self.config, self.tail.whole());
        let Some(member) = self.members.get_mut(&instance) else { return };
        let position = member.position(&config);
        if member.behind.is_some_and(|(target, _)| position >= target) {
            member.behind = None;
        }
        if position < end && member.behind.is_none() {
            member.behind = Some((end, now));
        }
        let silent = now.saturating_sub(member.heard) > config.timing.silent;
        let slow = member
            .behind
            .is_some_and(|(_, since)| now.saturating_sub(since) > config.timing.silent);
        let waited = !matches!(member.standing, Standing::Async | Standing::Leaving);
        if silent {
            member.stream = None;
        }
        if waited && (silent || slow) && config.mode.is_sync() {
            self.out.alarms.push(Alarm::Silent(instance));
            self.leave(instance, "a replica is silent or too slow");
        }
    }

    /// A copy is to be waited for no longer: at once if nobody was told that it is, else when the
    /// record says so. There is no other way (rule 6).
    pub(super) fn leave(&mut self, instance: Instance, why: &'static str) {
        let (config, now) = (self.config, self.now);
        let Some(member) = self.members.get(&instance) else { return };
        let at_once = match member.standing {
            Standing::Held { .. } => true,
            Standing::Asked { .. } => planted!(config, LeaveBeforeLaterVersion),
            Standing::Sync => planted!(config, StopWaitingUnasked),
            Standing::Async | Standing::Leaving => return,
        };
        self.mark(why);
        let Some(member) = self.members.get_mut(&instance) else { return };
        if at_once {
            member.standing = Standing::Async;
            member.back_off(&config, now);
        } else {
            member.standing = Standing::Leaving;
            member.asked = None;
            self.ask(instance);
        }
    }

    /// Takes in a copy that has caught up: it is waited for from here on, and published when it has
    /// everything before (rule 7).
    pub(super) fn admit(&mut self, instance: Instance) {
        let (config, now, end) = (self.config, self.now, self.tail.whole());
        if !config.mode.is_sync() || self.phase != Phase::Online {
            return;
        }
        let cfg = self.decided.record.cfg;
        let Some(member) = self.members.get_mut(&instance) else { return };
        if member.standing == Standing::Async && now >= member.readmit.0 {
            // One that is gone has caught up too, until something is written: then it would be waited for as long
            // as a silent one.
            if now.saturating_sub(member.heard) > config.timing.retry {
                return;
            }
            if !member.is_near(end, &config, now) {
                return;
            }
            let Some(stream) = &member.stream else { return };
            member.counted = stream.id.run;
            member.standing = Standing::Held { from: end };
            self.mark("a replica has caught up: waited for");
        }
        let Some(member) = self.members.get_mut(&instance) else { return };
        if let Standing::Held { from } = member.standing
            && member.position(&config) >= from
        {
            member.standing = Standing::Asked { cfg };
            member.asked = None;
            self.mark("it has everything: to be published");
            self.ask(instance);
        }
    }

    /// Asks the authority, if there is something to ask and the last question is not fresh.
    fn ask(&mut self, instance: Instance) {
        let record = &self.decided.record;
        let (term, now_cfg) = record.version();
        let Some(member) = self.members.get_mut(&instance) else { return };
        let state = match member.standing {
            Standing::Asked { .. } => CopyState::Sync,
            Standing::Leaving => CopyState::Async,
            _ => return,
        };
        let fresh = |at| self.now.saturating_sub(at) < self.config.timing.retry;
        if member.asked.is_some_and(fresh) {
            return;
        }
        member.asked = Some(self.now);
        let cfg = match member.standing {
            Standing::Asked { cfg } => cfg,
            _ => now_cfg,
        };
        let to = CopyRecord { state, incarnation: member.counted };
        self.out.requests.push(Request { term, cfg, instance, to });
    }

    /// A copy has come with a stream of another run than the record knows: what it acknowledges does
    /// not count until it was taken in anew (rule 15).
    pub(super) fn run_changed(&mut self, instance: Instance) {
        if self.config.mode != Mode::Durable && !planted!(self.config, CountAnyIncarnation) {
            self.leave(instance, "another run of a replica than was waited for");
        }
    }

    /// The version of the record that it goes by.
    #[must_use]
    pub fn cfg(&self) -> Cfg {
        self.decided.record.cfg
    }
}
