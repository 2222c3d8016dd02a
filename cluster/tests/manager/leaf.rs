//! A leaf with model copies. A log is a list of (term, value); an exchange between two copies is one step.

use std::collections::{BTreeMap, BTreeSet};

use resprout_cluster::metadata::Metadata;
use resprout_cluster::reconcile::{Action, CopyName, Doing, Held, HeldCopy, Progress};
use resprout_cluster::{Incarnation, Instance, NodeId, Ordinal, Stamp, Term};
use resprout_replication::{CopyRecord, CopyState, Decided, Mode, Record, Report, Request};
use resprout_wal::Lsn;

/// A replica that a master has not met for so long is to be left behind: five seconds.
pub(crate) const SILENT_ROUNDS: u64 = 100;

/// A lock that was not said again for so long lapses: five seconds.
const LOCK_ROUNDS: u64 = 100;

/// A bug of a copy: replication has its own tests; these show that the checkers here see them too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LeafBug {
    /// Rule 5: a replica is published before it is waited for.
    PublishBeforeWaiting,
    /// Rule 6: a silent replica is not waited for any more, before anybody said so.
    StopWaitingUnasked,
    /// Rule 6: nobody is waited for any more as soon as that is wanted, before the record says so.
    AsyncBeforeRecorded,
    /// Rule 11: what waits when a newer term is heard is acknowledged.
    ZombieAcknowledges,
}

/// What a master knows of a copy.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Member {
    has: usize,
    run: Incarnation,
    heard: u64,
    /// It is waited for, whatever the record says: its publication was or is to be asked for.
    admitted: bool,
    /// It is to be left behind: any later record that does not call it synchronous ends the waiting.
    leaving: bool,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct ModelCopy {
    pub(crate) log: Vec<(Term, u64)>,
    pub(crate) flushed: usize,
    pub(crate) committed: usize,
    /// What clients were told is safe, until somebody notes it.
    pub(crate) acknowledged: Vec<(Term, u64)>,
    pub(crate) run: Incarnation,
    pub(crate) doing: Doing,
    pub(crate) knows: Stamp,
    pub(crate) promised: Term,
    pub(crate) record: Record,
    pub(crate) clean: bool,
    pub(crate) members: BTreeMap<Instance, Member>,
    pub(crate) locked: Option<Locked>,
    /// It was told that nobody is to be waited for, and goes by that: a bug.
    pub(crate) hurries: bool,
}

/// A lock that a copy is under.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Locked {
    pub(crate) office: u64,
    pub(crate) number: u64,
    pub(crate) to: Instance,
    /// When it was said last.
    pub(crate) said: u64,
}

/// What a copy says to the managers.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Said {
    Report(CopyName, Report),
    Request(CopyName, Request),
    Drained { office: u64, lock: u64 },
}

#[derive(Clone, Debug)]
pub(crate) struct Leaf {
    pub(crate) node: NodeId,
    pub(crate) run: Incarnation,
    /// Since when it runs; none while it is down.
    pub(crate) up: bool,
    pub(crate) ready_at: u64,
    pub(crate) paused_until: u64,
    pub(crate) metadata: Metadata,
    pub(crate) applied: usize,
    pub(crate) copies: BTreeMap<CopyName, ModelCopy>,
    pub(crate) progress: Progress,
    pub(crate) durable: bool,
    /// Its masters go on in their term after an orderly stop.
    pub(crate) resumes: bool,
    pub(crate) bug: Option<LeafBug>,
}

impl ModelCopy {
    pub(crate) fn last_term(&self) -> Term {
        self.log.last().map_or(Term(0), |(term, _)| *term)
    }

    pub(crate) fn is_master(&self) -> bool {
        matches!(self.doing, Doing::Transitioning(_) | Doing::Online(_))
    }

    fn report(&self, name: CopyName) -> Report {
        Report {
            promised: self.promised,
            last_term: self.last_term(),
            last: Lsn(self.log.len() as u64),
            instance: name.instance,
            incarnation: self.run,
            healthy: self.doing != Doing::Unrecoverable,
        }
    }

    /// Whether commits wait for other copies, by the record that it goes by.
    pub(crate) fn is_sync(&self) -> bool {
        self.record.mode.is_none_or(Mode::is_sync)
    }

    /// Whom it waits for: who may be promoted, and whose publication it asked for.
    pub(crate) fn waits_for(&self, own: Instance) -> BTreeSet<Instance> {
        let copies = self.record.copies.iter();
        let sync = copies.filter(|(_, copy)| copy.state == CopyState::Sync).map(|(name, _)| *name);
        let admitted = self.members.iter().filter(|(_, m)| m.admitted).map(|(name, _)| *name);
        sync.chain(admitted).filter(|name| *name != own).collect()
    }
}

impl Leaf {
    pub(crate) fn new(node: NodeId, durable: bool) -> Self {
        Self {
            node,
            run: Incarnation(1),
            up: true,
            ready_at: 0,
            paused_until: 0,
            metadata: Metadata::default(),
            applied: 0,
            copies: BTreeMap::new(),
            progress: Progress::default(),
            durable,
            resumes: true,
            bug: None,
        }
    }

    /// The partition of reference tables, as far as is known here.
    pub(crate) fn reference(&self) -> Option<Ordinal> {
        let entry = self.metadata.databases().get("db")?;
        entry.map.reference.as_ref().map(|reference| reference.partition.ordinal)
    }

    /// Whether commits of a copy wait for disks.
    pub(crate) fn is_durable(&self, name: CopyName) -> bool {
        self.durable || self.reference() == Some(name.ordinal)
    }

    pub(crate) fn runs(&self, round: u64) -> bool {
        self.up && round >= self.paused_until
    }

    pub(crate) fn is_ready(&self, round: u64) -> bool {
        self.runs(round) && round >= self.ready_at
    }

    pub(crate) fn held(&self, round: u64) -> Held {
        let held = |copy: &ModelCopy| HeldCopy {
            incarnation: copy.run,
            doing: if round < self.ready_at { Doing::Recovering } else { copy.doing },
            knows: copy.knows,
            promised: copy.promised,
            last_term: copy.last_term(),
            last: Lsn(copy.log.len() as u64),
            clean: copy.clean,
            ..HeldCopy::default()
        };
        self.copies.iter().map(|(name, copy)| (*name, held(copy))).collect()
    }

    /// The process ends; in order, or with what was not flushed lost.
    pub(crate) fn stop(&mut self, clean: bool) {
        self.up = false;
        for copy in self.copies.values_mut() {
            if clean {
                copy.flushed = copy.log.len();
            }
            // A copy that was interrupted while it was taken in is not what it was.
            copy.clean = clean && (copy.is_master() || copy.doing == Doing::Following);
            copy.log.truncate(copy.flushed);
            copy.committed = copy.committed.min(copy.flushed);
        }
    }

    pub(crate) fn start(&mut self, ready_at: u64) {
        (self.up, self.ready_at, self.paused_until) = (true, ready_at, 0);
        self.run.0 += 1;
        self.progress = Progress::default();
        for copy in self.copies.values_mut() {
            (copy.run, copy.doing, copy.locked) = (self.run, Doing::Pending, None);
            (copy.record, copy.knows) = (Record::default(), Stamp::default());
            copy.members.clear();
        }
    }

    /// Compares, and acts.
    pub(crate) fn reconcile(&mut self, round: u64) -> Vec<Said> {
        if !self.is_ready(round) {
            return Vec::new();
        }
        let held = self.held(round);
        let pass = self.progress.look(&self.metadata, (self.node, self.run), &held);
        let mut said = Vec::new();
        for action in pass.actions {
            match action {
                Action::Create { copy, decided } => {
                    let new = ModelCopy { run: Incarnation(1), ..ModelCopy::default() };
                    self.copies.entry(copy).or_insert(new);
                    said.extend(self.hear(copy, &decided));
                }
                Action::Tell { copy, decided, .. } => said.extend(self.hear(copy, &decided)),
                Action::Provision { copy, decided, .. } => {
                    if let Some(found) = self.copies.get_mut(&copy) {
                        *found = ModelCopy { run: found.run, ..ModelCopy::default() };
                    }
                    said.extend(self.hear(copy, &decided));
                }
                Action::Close { copy } => {
                    if let Some(found) = self.copies.get_mut(&copy) {
                        found.doing = Doing::Pending;
                    }
                }
                Action::Drop { copy } => drop(self.copies.remove(&copy)),
            }
        }
        said
    }

    /// A copy hears a committed record.
    pub(crate) fn hear(&mut self, name: CopyName, decided: &Decided) -> Option<Said> {
        let (bug, metadata, may_resume) = (self.bug, &self.metadata, self.resumes);
        let copy = self.copies.get_mut(&name)?;
        let record = &decided.record;
        if record.term < copy.promised || decided.stamp < copy.knows {
            return None;
        }
        let is_newer = record.term > copy.promised;
        if is_newer && copy.is_master() && bug == Some(LeafBug::ZombieAcknowledges) {
            copy.acknowledge(copy.log.len());
        }
        (copy.promised, copy.knows) = (record.term, decided.stamp);
        let before = std::mem::replace(&mut copy.record, record.clone());
        copy.flushed = copy.log.len();
        // It stopped in order, and nothing was written since.
        let resumes = may_resume && copy.clean && copy.last_term() == record.term;
        match record.master {
            None => {
                (copy.doing, copy.locked) = (Doing::Fenced, None);
                Some(Said::Report(name, copy.report(name)))
            }
            Some(master) if master == name.instance => {
                let is_named = record.copy(master).incarnation == copy.run;
                if copy.is_master() && !is_newer {
                    copy.learn(&before, name.instance);
                    None
                } else if is_named && (copy.last_term() < record.term || resumes) {
                    copy.begin(record.term, !resumes);
                    None
                } else if is_named && copy.doing == Doing::Pending && trusts_unclean(metadata) {
                    copy.begin(record.term, false);
                    None
                } else {
                    copy.doing = Doing::Fenced;
                    Some(Said::Report(name, copy.report(name)))
                }
            }
            Some(_) => {
                (copy.doing, copy.locked) = (Doing::Following, None);
                copy.members.clear();
                None
            }
        }
    }

    /// What masters do on their own: ask for changes of their records, and acknowledge.
    pub(crate) fn serve(&mut self, round: u64) -> Vec<Said> {
        let mut said = Vec::new();
        if !self.runs(round) {
            return said;
        }
        let (bug, all_durable, reference) = (self.bug, self.durable, self.reference());
        for (name, copy) in &mut self.copies {
            let durable = all_durable || reference == Some(name.ordinal);
            if !copy.is_master() {
                continue;
            }
            said.extend(copy.ask(*name, round, bug, durable).map(|r| Said::Request(*name, r)));
            copy.commit(name.instance, (round, bug), durable);
            copy.locked = copy.locked.filter(|locked| round - locked.said <= LOCK_ROUNDS);
            if let Some(Locked { office, number: lock, to, .. }) = copy.locked {
                let has = copy.members.get(&to).map_or(0, |member| member.has);
                if has == copy.log.len() && copy.committed == has {
                    said.push(Said::Drained { office, lock });
                }
            }
        }
        said
    }
}

/// Whether the bug is wanted of which a resumed master must be part.
fn trusts_unclean(metadata: &Metadata) -> bool {
    metadata.planted() == Some(resprout_cluster::testing::Planted::ResumeUnclean)
}

impl ModelCopy {
    fn begin(&mut self, term: Term, is_new: bool) {
        self.members.clear();
        self.hurries = false;
        self.doing = Doing::Transitioning(term);
        if is_new {
            self.log.push((term, 0));
            self.clean = false;
        }
    }

    /// Another version of the own record: who was published or left behind is known for it.
    fn learn(&mut self, before: &Record, own: Instance) {
        let waited = before.mode.is_none_or(Mode::is_sync);
        if !self.is_sync() {
            // Nobody is waited for, whatever was asked for before.
            self.members.values_mut().for_each(|member| {
                (member.admitted, member.leaving) = (false, false);
            });
        } else if !waited {
            // From now on only this copy may be promoted, and it has what it acknowledged without waiting.
            self.acknowledged.extend(&self.log[..self.committed]);
        }
        self.hurries &= self.is_sync();
        for (instance, member) in &mut self.members {
            let (was, is) = (before.copy(*instance).state, self.record.copy(*instance).state);
            // Synchronous ones are waited for by the record; left behind they are not.
            if *instance != own && (was != is || member.leaving) {
                (member.admitted, member.leaving) = (false, false);
            }
        }
    }

    fn ask(
        &mut self,
        name: CopyName,
        round: u64,
        bug: Option<LeafBug>,
        durable: bool,
    ) -> Option<Request> {
        let (term, cfg) = self.record.version();
        let is_sync = self.is_sync();
        let end = self.log.len();
        let others: Vec<_> = self.record.copies.keys().copied().collect();
        for instance in others.into_iter().filter(|other| *other != name.instance) {
            let said = self.record.copy(instance);
            let member = self
                .members
                .entry(instance)
                .or_insert(Member { heard: round, ..Member::default() });
            let is_silent = round - member.heard > SILENT_ROUNDS;
            let other_run = member.run != Incarnation(0) && member.run != said.incarnation;
            let request = |state, incarnation| {
                let to = CopyRecord { state, incarnation };
                Some(Request { term, cfg, instance, to })
            };
            match said.state {
                CopyState::Sync if is_silent || other_run && !durable => {
                    return request(CopyState::Async, said.incarnation);
                }
                CopyState::Async | CopyState::Ready
                    if !is_silent && member.run.0 > 0 && is_sync =>
                {
                    if bug == Some(LeafBug::PublishBeforeWaiting) {
                        return request(CopyState::Sync, member.run);
                    }
                    if !member.admitted && end - member.has.min(end) <= 3 {
                        member.admitted = true;
                    } else if member.admitted
                        && member.has >= self.committed.max(1)
                        && member.has + 3 >= end
                    {
                        return request(CopyState::Sync, member.run);
                    }
                }
                // Its publication may be under way: only a later record ends the waiting.
                CopyState::Async | CopyState::Ready if is_silent && member.admitted => {
                    member.leaving = true;
                    return request(CopyState::Async, said.incarnation);
                }
                _ => {}
            }
        }
        None
    }

    fn acknowledge(&mut self, until: usize) {
        let from = self.committed.min(until);
        // What nobody waited for is not promised to outlive its master.
        if self.is_sync() {
            self.acknowledged.extend(&self.log[from..until]);
        }
        self.committed = self.committed.max(until);
    }

    fn commit(&mut self, own: Instance, (round, bug): (u64, Option<LeafBug>), durable: bool) {
        let mut least = if durable { self.flushed } else { self.log.len() };
        let waits = self.is_sync() && !self.hurries;
        for instance in self.waits_for(own).into_iter().filter(|_| waits) {
            let member = self.members.get(&instance).copied().unwrap_or_default();
            let said = self.record.copy(instance);
            let is_named = durable
                || said.incarnation == member.run
                || member.admitted && said.state != CopyState::Sync;
            if bug == Some(LeafBug::StopWaitingUnasked) && round - member.heard > SILENT_ROUNDS {
                continue;
            }
            least = least.min(if is_named { member.has } else { 0 });
        }
        self.acknowledge(least);
        if let Doing::Transitioning(term) = self.doing {
            let start = self.log.iter().position(|(of, _)| *of == term);
            if start.is_some_and(|start| self.committed > start) {
                self.doing = Doing::Online(term);
            }
        }
    }

    /// A replica and its master meet.
    pub(crate) fn exchange(
        master: &mut Self,
        replica: &mut Self,
        instance: Instance,
        round: u64,
        durable: bool,
    ) {
        if !master.is_master()
            || replica.doing != Doing::Following
            || replica.promised != master.promised
        {
            return;
        }
        let same = master.log.iter().zip(&replica.log).take_while(|(one, other)| one == other);
        let common = same.count();
        if common < replica.log.len().max(master.log.len()) {
            replica.clean = false;
        }
        replica.log.truncate(common);
        replica.flushed = replica.flushed.min(common);
        let next = master.log[common..].iter().take(4);
        replica.log.extend(next);
        if durable {
            replica.flushed = replica.log.len();
        }
        replica.committed = master.committed.min(replica.log.len());
        let member = master.members.entry(instance).or_default();
        (member.has, member.run, member.heard) = (replica.log.len(), replica.run, round);
    }
}
