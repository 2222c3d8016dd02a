//! Failover, by the order of catalogue rule 9: fence, hear reports, choose, record.
//!
//! ```text
//!   master's leaf is lost, a copy may take over ──► Intend (T+1, nobody)
//!   copies promise T+1, and report                  …asked again until they have
//!   all that are there have, or long enough ──────► choose ──► Elect
//!   nobody may: the partition waits; the lost master alone, or an operator, can go on
//! ```

use std::collections::BTreeMap;
use std::time::Duration;

use resprout_replication::{
    Choice, Config as Replication, CopyRecord, CopyState, Instance, Report, Request, choose,
};

use super::attach::goes_on;
use super::{About, Manager, Message, Phase, at, copy_name, is_there};
use crate::metadata::{Command, DatabaseEntry, Happened, Metadata, NodeState};
use crate::reconcile::{CopyName, Doing};
use crate::{Following, LeafId, NodeId, Partition, Term};

/// Reports to one fencing.
#[derive(Clone, Debug)]
pub(super) struct Gathering {
    term: Term,
    since: Duration,
    asked: Option<Duration>,
    reports: BTreeMap<Instance, Report>,
}

impl Manager {
    pub(super) fn look_at_record(
        &mut self,
        metadata: &Metadata,
        entry: &DatabaseEntry,
        partition: &Partition,
    ) {
        if self.is_stale(entry, partition) {
            return;
        }
        self.give_up_unrecoverable(metadata, entry, partition);
        self.look_at_returned(metadata, entry, partition);
        let key = (entry.number, partition.ordinal);
        if partition.master.is_none() {
            self.gather(metadata, entry, partition);
            return;
        }
        self.elections.remove(&key);
        self.told.retain(|(database, ordinal, _)| (*database, *ordinal) != key);
        if self.must_end(metadata, entry, partition) {
            let command = Command::Intend { at: at(entry, partition) };
            self.propose(About::Record(key.0, key.1), command);
        } else {
            self.leave_behind(metadata, entry, partition);
        }
    }

    /// Whether the mastership is over: its leaf is lost and somebody may take over, or its run is.
    fn must_end(&self, metadata: &Metadata, entry: &DatabaseEntry, partition: &Partition) -> bool {
        let Some(leaf) = partition.master else { return false };
        let Some(copy) = partition.copies.get(&leaf) else { return true };
        let name = copy_name(entry, partition, copy.instance);
        if copy.offline {
            if !self.config.detector.leaves || self.is_coming_back(metadata, leaf, name) {
                return false;
            }
            // Without an heir nothing is fenced: whoever still reaches the old master goes on with it.
            return partition.copies.iter().any(|(other, heir)| {
                let is_heard = self.heard_as_known(metadata, (*other).into()).is_some();
                *other != leaf
                    && is_heard
                    && entry.map.is_promotable(partition, heir)
                    && is_there(metadata, *other)
            });
        }
        let answer = self.heard_as_known(metadata, leaf.into());
        let Some(held) = answer.and_then(|answer| answer.held.get(&name)) else { return false };
        // A restart ends a mastership, also if nobody noticed it (rule 14): the copy is another run, unless the one before
        // ended in order, or it knows what was decided and does not take it up.
        let declines =
            held.knows == partition.stamp && matches!(held.doing, Doing::Pending | Doing::Fenced);
        declines || held.incarnation > copy.incarnation && !goes_on(held, partition)
    }

    /// Whether the master is about to be taken back: then it goes on sooner than another would.
    fn is_coming_back(&self, metadata: &Metadata, leaf: LeafId, name: CopyName) -> bool {
        let node = NodeId::from(leaf);
        let state = metadata.nodes().get(&node).map(|node| node.state);
        let answer = self.seen.get(&node).filter(|answer| answer.phase == Phase::Ready);
        let held = answer.and_then(|answer| answer.held.get(&name));
        let is_whole = held.is_some_and(|held| held.doing != Doing::Unrecoverable);
        let is_soon = match state {
            Some(NodeState::Attaching) => true,
            Some(NodeState::Recovering) => {
                let since = self.waiting.get(&node).copied().unwrap_or(self.now.at);
                self.now.at.saturating_sub(since) < self.config.gather
            }
            _ => false,
        };
        is_whole && is_soon
    }

    /// A lost replica is published as left behind, once its master has been heard of since, as the one that it was: if both are
    /// lost, both may have everything, and either may be needed (rules 6 and 15). A master that has just started again may have
    /// lost its rows.
    fn leave_behind(&mut self, metadata: &Metadata, entry: &DatabaseEntry, of: &Partition) {
        let Some(master) = of.serving() else { return };
        let heard = self.detector.heard(master.into());
        for (leaf, copy) in &of.copies {
            let is_held_up = copy.offline && copy.following != Following::Async;
            if !is_held_up || *leaf == master || !is_there(metadata, master) {
                continue;
            }
            let since = self.away.get(&NodeId::from(*leaf));
            if since.is_none_or(|since| heard.is_none_or(|heard| heard <= *since)) {
                continue;
            }
            if !self.is_master_still(metadata, entry, of) {
                continue;
            }
            let to = CopyRecord { state: CopyState::Async, incarnation: copy.incarnation };
            let request = Request { term: of.term, cfg: of.cfg, instance: copy.instance, to };
            let (database, ordinal) = (entry.map.name.clone(), of.ordinal);
            let command = Command::Publish { database, ordinal, request };
            self.propose(About::Record(entry.number, ordinal), command);
        }
    }

    /// Whether the master of a partition is, by its last answer, in the run that is known, and in its term.
    fn is_master_still(&self, metadata: &Metadata, entry: &DatabaseEntry, of: &Partition) -> bool {
        let Some(master) = of.serving() else { return false };
        let Some(copy) = of.copies.get(&master) else { return false };
        let answer = self.heard_as_known(metadata, master.into());
        let held = answer.and_then(|answer| answer.held.get(&copy_name(entry, of, copy.instance)));
        let doing = held.map(|held| held.doing);
        matches!(doing, Some(Doing::Transitioning(term) | Doing::Online(term)) if term == of.term)
    }

    pub(super) fn reported(&mut self, metadata: &Metadata, copy: CopyName, report: Report) {
        let entry = metadata.database_of(copy.database);
        let partition = entry.and_then(|entry| entry.map.partition(copy.ordinal));
        let Some(partition) = partition else { return };
        if partition.master.is_some() {
            return;
        }
        let (key, now) = ((copy.database, copy.ordinal), self.now.at);
        let gathering =
            self.elections.entry(key).or_insert_with(|| Gathering::new(partition.term, now));
        if gathering.term == partition.term && report.promised >= partition.term {
            gathering.reports.insert(report.instance, report);
        }
    }

    fn gather(&mut self, metadata: &Metadata, entry: &DatabaseEntry, partition: &Partition) {
        let (key, now) = ((entry.number, partition.ordinal), self.now.at);
        let mut gathering = self
            .elections
            .remove(&key)
            .filter(|gathering| gathering.term == partition.term)
            .unwrap_or_else(|| Gathering::new(partition.term, now));
        self.drop_old_runs(metadata, entry, partition, &mut gathering);
        let expected = self.expected(metadata, partition);
        let is_missing =
            |(_, instance): &&(LeafId, Instance)| !gathering.reports.contains_key(instance);
        let missing: Vec<_> = expected.iter().filter(is_missing).copied().collect();
        let is_due = |asked: Duration| now.saturating_sub(asked) >= self.config.retry;
        if gathering.asked.is_none_or(is_due) && !missing.is_empty() {
            gathering.asked = Some(now);
            for (leaf, instance) in &missing {
                let copy = copy_name(entry, partition, *instance);
                let message = Message::AskReport {
                    copy,
                    decided: partition.decided(entry.replication(partition.ordinal)),
                };
                self.out.messages.push(((*leaf).into(), message));
            }
        }
        let waited = now.saturating_sub(gathering.since);
        if missing.is_empty() || waited >= self.config.gather {
            self.choose(entry, partition, &gathering);
        }
        self.elections.insert(key, gathering);
    }

    /// A report of a run that is over says nothing.
    fn drop_old_runs(
        &self,
        metadata: &Metadata,
        entry: &DatabaseEntry,
        partition: &Partition,
        gathering: &mut Gathering,
    ) {
        for (leaf, copy) in &partition.copies {
            let answer = self.heard_as_known(metadata, (*leaf).into());
            let held = answer
                .and_then(|answer| answer.held.get(&copy_name(entry, partition, copy.instance)));
            let reported = gathering.reports.get(&copy.instance).map(|report| report.incarnation);
            let is_over = reported
                .is_some_and(|reported| held.is_some_and(|held| held.incarnation > reported));
            if copy.offline || is_over {
                gathering.reports.remove(&copy.instance);
            }
            if let Some(held) = held.filter(|_| planted!(self.config, ElectUnfenced)) {
                let report = Report {
                    promised: partition.term,
                    last_term: held.last_term,
                    last: held.last,
                    instance: copy.instance,
                    incarnation: held.incarnation,
                    healthy: true,
                };
                gathering.reports.insert(copy.instance, report);
            }
        }
    }

    /// Copies whose reports are worth waiting for.
    fn expected(&self, metadata: &Metadata, partition: &Partition) -> Vec<(LeafId, Instance)> {
        let copies = partition.copies.iter().filter(|(leaf, copy)| {
            let is_lost = self.detector.is_lost(NodeId::from(**leaf));
            !copy.offline && !is_lost && is_there(metadata, **leaf)
        });
        copies.map(|(leaf, copy)| (*leaf, copy.instance)).collect()
    }

    fn choose(&mut self, entry: &DatabaseEntry, partition: &Partition, from: &Gathering) {
        let config = Replication {
            #[cfg(any(test, feature = "testing"))]
            planted: planted!(self.config, ElectAnyCopy)
                .then_some(resprout_replication::testing::Planted::ChooseAnyCopy),
            ..Replication::default()
        };
        let key = (entry.number, partition.ordinal, partition.term);
        match choose(
            &partition.record(entry.replication(partition.ordinal)),
            &config,
            &from.reports,
        ) {
            Ok(choice) => {
                let choice = prefer_former(partition, choice, &from.reports);
                let Report { instance, incarnation, last_term, last, .. } = choice.report;
                let command = Command::Elect {
                    at: at(entry, partition),
                    instance,
                    incarnation,
                    reported: from.reports.keys().copied().collect(),
                    may_have_lost: choice.may_have_lost,
                    forced: false,
                    last_term,
                    last,
                };
                self.propose(About::Record(key.0, key.1), command);
            }
            Err(_) if self.told.insert(key) => {
                let (database, ordinal) = (entry.map.name.clone(), partition.ordinal);
                let happened = Happened::NobodyEligible { database, ordinal };
                self.tell(None, happened);
            }
            Err(_) => {}
        }
    }
}

impl Gathering {
    fn new(term: Term, since: Duration) -> Self {
        Self { term, since, asked: None, reports: BTreeMap::new() }
    }
}

/// Of copies that have the same the one that was master stays master: a restart moves nothing without need (O12).
/// That it restarted does not matter then: it has what the choice has.
fn prefer_former(
    partition: &Partition,
    choice: Choice,
    reports: &BTreeMap<Instance, Report>,
) -> Choice {
    let former = partition.former.and_then(|leaf| partition.copies.get(&leaf));
    let report = former.and_then(|copy| reports.get(&copy.instance).map(|report| (copy, report)));
    let Some((copy, report)) = report else { return choice };
    let has_as_much =
        (report.last_term, report.last) == (choice.report.last_term, choice.report.last);
    let may =
        copy.following == Following::Sync && report.healthy && report.promised >= partition.term;
    if has_as_much && may { Choice { report: *report, ..choice } } else { choice }
}
