//! The authority: one record, changed by compare-and-set; failures seen by silence; promotions by
//! the crate's own rules. What it says and hears travels like everything else, and may be lost.

use std::collections::BTreeMap;
use std::time::Duration;

use resprout_replication::{
    Cfg, Config, CopyRecord, CopyState, Decided, Incarnation, Instance, Mode, Record, Report,
    Request, Stamp, choose,
};
use resprout_wal::Term;

/// What a node says to it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Said {
    Alive(Incarnation),
    Report(Report),
    Request(Request),
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Authority {
    pub(crate) decided: Decided,
    config: Config,
    reports: BTreeMap<Instance, Report>,
    alive: BTreeMap<Instance, (Duration, Incarnation)>,
    since: Duration,
    /// Acknowledged writes may be gone, by rule 15 or by configuration.
    pub(crate) may_have_lost: bool,
    pub(crate) promotions: u64,
    /// The newest term that began without its master before being waited for: until that one hears of it, what it
    /// acknowledges is gone by configuration.
    pub(crate) unwaited: Term,
}

/// A master that says nothing for so long is replaced.
const SILENT: Duration = Duration::from_millis(400);

/// How long reports are waited for.
const GATHER: Duration = Duration::from_millis(120);

impl Authority {
    /// Its record says when commits are acknowledged, if that is to change.
    pub(crate) fn new(copies: u64, config: Config, alters: bool) -> Self {
        let state = if config.mode.is_sync() { CopyState::Sync } else { CopyState::Async };
        let copy = CopyRecord { state, incarnation: Incarnation(1) };
        let copies = (1..=copies).map(|number| (Instance(number), copy)).collect();
        let record = Record {
            term: Term(1),
            cfg: Cfg(1),
            master: None,
            copies,
            mode: alters.then_some(config.mode),
        };
        Self {
            decided: Decided { stamp: Stamp { term: 1, index: 1 }, record },
            config,
            reports: BTreeMap::new(),
            alive: BTreeMap::new(),
            since: Duration::ZERO,
            may_have_lost: false,
            promotions: 0,
            unwaited: Term(0),
        }
    }

    fn commit(&mut self, record: Record, now: Duration) {
        let Stamp { term, index } = self.decided.stamp;
        self.decided = Decided { stamp: Stamp { term, index: index + 1 }, record };
        self.since = now;
    }

    /// Another leader of the metadata goes on where this one was.
    pub(crate) fn change_leader(&mut self) {
        self.decided.stamp.term += 1;
        self.reports.clear();
        self.alive.clear();
    }

    /// The other replication: as the metadata decide it.
    pub(crate) fn alter(&mut self) {
        let mut record = self.decided.record.clone();
        let sync = record.mode.is_some_and(Mode::is_sync);
        record.mode = Some(if sync { Mode::Local } else { Mode::Received });
        record.cfg.0 += 1;
        if let Some(master) = record.master {
            let others = record.copies.iter_mut().filter(|(instance, _)| **instance != master);
            others.for_each(|(_, copy)| copy.state = CopyState::Async);
        }
        self.decided.record = record;
        self.decided.stamp.index += 1;
    }

    /// Begins to look for another master.
    pub(crate) fn intend(&mut self, now: Duration) {
        let record = self.decided.record.intent();
        self.reports.clear();
        self.commit(record, now);
    }

    pub(crate) fn hear(&mut self, from: Instance, said: Said, now: Duration) {
        match said {
            Said::Alive(incarnation) => {
                self.alive.insert(from, (now, incarnation));
            }
            Said::Report(report) => {
                let promised = report.promised;
                if promised == self.decided.record.term {
                    self.reports.insert(from, report);
                }
            }
            Said::Request(request) => {
                if let Some(record) = self.decided.record.after(&request) {
                    self.commit(record, now);
                }
            }
        }
    }

    /// Once in a while: is the master there, and can another be chosen?
    pub(crate) fn look(&mut self, now: Duration) {
        let record = &self.decided.record;
        if let Some(master) = record.master {
            let named = record.copy(master).incarnation;
            let seen = self.alive.get(&master);
            let gone = seen.is_none_or(|(at, _)| now.saturating_sub(*at) > SILENT);
            let restarted = seen.is_some_and(|(_, incarnation)| *incarnation > named);
            if gone && now.saturating_sub(self.since) > SILENT || restarted {
                self.intend(now);
            }
            return;
        }
        let all = record.copies.keys().all(|instance| self.reports.contains_key(instance));
        if all || now.saturating_sub(self.since) > GATHER {
            self.promote(now);
        }
    }

    fn promote(&mut self, now: Duration) {
        // A report of a run that is over says nothing.
        let alive = &self.alive;
        self.reports.retain(|instance, report| {
            alive.get(instance).is_none_or(|(_, incarnation)| *incarnation <= report.incarnation)
        });
        let Ok(choice) = choose(&self.decided.record, &self.config, &self.reports) else { return };
        self.may_have_lost |= choice.may_have_lost;
        let waits = self.decided.record.mode.is_none_or(Mode::is_sync);
        if choice.may_have_lost && !waits {
            self.unwaited = self.decided.record.term;
        }
        self.promotions += 1;
        let report = choice.report;
        let mut record = self.decided.record.elected(report.instance, report.incarnation);
        // Who did not report is not waited for.
        for (instance, copy) in &mut record.copies {
            let reported = self.reports.contains_key(instance);
            if *instance != report.instance && !reported && copy.state == CopyState::Sync {
                copy.state = CopyState::Async;
            }
        }
        self.commit(record, now);
        self.alive.insert(report.instance, (now, report.incarnation));
    }
}
