//! What must be true of the whole, by what was committed, what clients, readers and disks saw.
//!
//! | promise | check |
//! |---|---|
//! | metadata | one log: all nodes apply the same; one state in the end |
//! | A1, A2, A4, A7 | [`Promises`] of each partition, forgiven what an election says may be gone |
//! | A3 | at one (term, LSN) there is one chain; in one term one master |
//! | A9 | in the end each partition has all its copies, equal, whatever was lost |
//! | rules 2, 4, 5, 9, 10, 15 | where copies act, against the record that is committed |
//! | rules 1, 3, 9, 14 | where the record changes |
//! | no partition without a master that could have one | in lulls and when all is well |

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use resprout_cluster::execution::Change;
use resprout_cluster::metadata::{
    Command, DatabaseState, Decree, Happened, Metadata, NodeState, Outcome,
};
use resprout_cluster::reconcile::{Difference, Success};
use resprout_cluster::{Copy, Database, LeafId, NodeId, Ordinal, Partition};
use resprout_consensus::machine::Applier;
use resprout_consensus::{Entry, Payload};
use resprout_replication::{
    CopyState, Envelope, Instance, Message, Mode, Record, Report, Role, Standing, State,
};
use resprout_wal::Term;

use super::heal::BEREFT_WITHIN;
use super::kept::Kept;
use super::node::{At, Driven, Key};
use super::plan::Plan;
use super::planted::Planted;
use super::simulation::Simulation;
use crate::copy::{Promises, Waiting};
use crate::raft::image::entry_digest;
use crate::{Violation, hold};

/// What is known of the whole.
#[derive(Debug)]
pub(super) struct Checks {
    mode: Mode,
    pub(super) rules: bool,
    promises: BTreeMap<Key, Promises>,
    /// The metadata as committed: as whoever is ahead has applied them.
    truth: Applier<Metadata>,
    digests: Vec<u64>,
    masters: BTreeMap<(Key, Term), Instance>,
    bereft: BTreeMap<Ordinal, Duration>,
    quiet_since: Duration,
    pub(super) kept: Kept,
    /// Leaves that were removed.
    pub(super) removed: BTreeSet<u64>,
}

impl Checks {
    pub(super) fn new(plan: &Plan) -> Self {
        let planted = plan.planted.and_then(Planted::of_record);
        Self {
            mode: plan.commit(),
            rules: !plan.outcomes_only,
            promises: BTreeMap::new(),
            truth: Applier::new(Metadata::with_planted(planted)),
            digests: Vec::new(),
            masters: BTreeMap::new(),
            bereft: BTreeMap::new(),
            quiet_since: Duration::ZERO,
            kept: Kept::default(),
            removed: BTreeSet::new(),
        }
    }

    pub(super) fn promises(&mut self, key: Key) -> &mut Promises {
        let mode = self.mode;
        self.promises.entry(key).or_insert_with(|| Promises::new(mode))
    }

    pub(super) fn quiet_since(&mut self, now: Duration) {
        self.quiet_since = now;
    }

    pub(super) fn promises_of(&self, key: Key) -> Option<&Promises> {
        self.promises.get(&key)
    }

    pub(super) fn metadata(&self) -> &Metadata {
        self.truth.state()
    }

    /// Whether the database was made, with all its copies.
    pub(super) fn is_open(&self) -> bool {
        let entry = self.metadata().databases().get("db");
        entry.is_some_and(|entry| entry.state == DatabaseState::Open)
    }

    pub(super) fn map(&self) -> Option<&Database> {
        self.metadata().databases().get("db").map(|entry| &entry.map)
    }

    pub(super) fn partitions(&self) -> &[Partition] {
        self.map().map_or(&[], |map| &map.partitions)
    }

    /// When a commit is acknowledged, by the record.
    fn present_mode(&self) -> Mode {
        let entry = self.metadata().databases().get("db");
        entry.map_or(self.mode, |entry| entry.replication(Ordinal(0)))
    }

    /// Where the master of a partition is, by the record.
    pub(super) fn master(&self, ordinal: usize) -> Option<u64> {
        Some(self.partitions().get(ordinal)?.master?.0)
    }

    pub(super) fn record(&self, key: Key) -> Option<Record> {
        let partition = self.metadata().database_of(key.0)?.map.partition(key.1)?;
        Some(partition.record(self.present_mode()))
    }
}

/// What the record says.
impl Simulation {
    /// A node has applied an entry.
    pub(super) fn check_applied(&mut self, id: u64, entry: &Entry) -> Result<(), Violation> {
        let now = self.agenda.now();
        let digest = entry_digest(entry);
        let place = usize::try_from(entry.id.index.0 - 1).expect("small");
        let checks = &mut self.checks;
        if let Some(known) = checks.digests.get(place) {
            let same = *known == digest;
            return hold(same, "the metadata have one log", || format!("n{id}: {entry:?}"));
        }
        let follows = place == checks.digests.len();
        hold(follows, "entries are applied in order", || format!("n{id}: {entry:?}"))?;
        checks.digests.push(digest);
        let (before, office) = (checks.partitions().to_vec(), checks.metadata().office().number);
        let applied = checks.truth.apply(entry);
        let Payload::Command(proposal) = &entry.payload else { return Ok(()) };
        let Ok(decree) = Decree::decode(&proposal.command) else { return Ok(()) };
        let applied = applied.and_then(|outcome| outcome.applied.ok());
        let applied = applied.filter(|applied| applied.index == entry.id.index);
        let outcome = applied.and_then(|applied| Outcome::decode(&applied.answer).ok());
        self.trace.line(now, id, || format!("* {} {:?} -> {outcome:?}", entry.id, decree.command));
        if outcome.is_none_or(|outcome| matches!(outcome, Outcome::Refused { .. })) {
            return Ok(());
        }
        self.coverage.note(name(&decree.command));
        self.forgive(entry.id.index.0);
        self.change_is_committed(&decree.command, &before);
        self.check_plan(&decree.command, &before)?;
        if self.checks.rules { self.check_decree(&decree, office, &before) } else { Ok(()) }
    }

    /// What an election says that may be gone counts no more.
    fn forgive(&mut self, index: u64) {
        let metadata = self.checks.truth.state();
        let events = metadata.events().iter().rev().take_while(|event| event.index == index);
        let lossy = events.filter_map(|event| match &event.happened {
            Happened::Elected { may_have_lost: true, database, ordinal, .. } => {
                Some((metadata.databases().get(database)?.number, *ordinal))
            }
            _ => None,
        });
        for key in lossy.collect::<Vec<_>>() {
            self.coverage.note("an election that may have lost something");
            self.checks.promises(key).forgive();
        }
    }

    fn check_decree(
        &self,
        decree: &Decree,
        office: u64,
        before: &[Partition],
    ) -> Result<(), Violation> {
        let command = &decree.command;
        let is_free = matches!(command, Command::Found { .. } | Command::TakeOffice { .. });
        hold(is_free || decree.office == office, "nobody decides out of office", || {
            format!("{decree:?} in office {office}")
        })?;
        self.check_version(command, before)?;
        if let Command::Elect { at, reported, .. } = command {
            // Rule 9: a position that was read before the fencing is worthless.
            for (id, node) in &self.nodes {
                let disks = node.rows.iter().filter(|(name, _)| name.ordinal == at.ordinal);
                for (name, disk) in disks {
                    let counts = reported.contains(&name.instance);
                    let is_fenced = disk.promise.term >= at.term;
                    hold(!counts || is_fenced, "who counts in an election is fenced", || {
                        format!("n{id} {name:?} has promised {:?}: {decree:?}", disk.promise)
                    })?;
                }
            }
        }
        self.check_restarts(decree, before)
    }

    /// Rule 1: a change of a record holds for one version of it.
    fn check_version(&self, command: &Command, before: &[Partition]) -> Result<(), Violation> {
        let meant = match command {
            Command::Intend { at }
            | Command::Elect { at, .. }
            | Command::TakeBack { at, .. }
            | Command::Orphan { at, .. } => (at.ordinal, at.term, at.cfg),
            Command::Publish { ordinal, request, .. } => (*ordinal, request.term, request.cfg),
            _ => return Ok(()),
        };
        let was = before.iter().find(|partition| partition.ordinal == meant.0);
        let was = was.map(|partition| (partition.ordinal, partition.term, partition.cfg));
        hold(was == Some(meant), "a change holds for one version of the record", || {
            format!("{command:?}: {was:?}")
        })
    }

    /// Rule 14: in one term there is one run of its master, unless it ended in order.
    fn check_restarts(&self, decree: &Decree, before: &[Partition]) -> Result<(), Violation> {
        if matches!(decree.command, Command::TakeBack { clean: true, .. }) {
            return Ok(());
        }
        for (was, is) in before.iter().zip(self.checks.partitions()) {
            let master = was.master.filter(|_| was.term == is.term && was.master == is.master);
            let run =
                |of: &Partition, leaf: LeafId| of.copies.get(&leaf).map(|copy| copy.incarnation);
            let same = master.is_none_or(|leaf| run(was, leaf) == run(is, leaf));
            hold(same, "a restart ends a mastership", || format!("{decree:?}: {was:?}, {is:?}"))?;
        }
        Ok(())
    }
}

/// What copies do.
impl Simulation {
    pub(super) fn check_state(&mut self, at: At, state: State) -> Result<(), Violation> {
        let rules = self.checks.rules;
        let process = self.copy(at);
        let instance = process.identity.instance;
        if let State::Online(term) = state {
            self.coverage.note("a master serves");
            let process = self.copy(at);
            // Rule 10: writable only with the record that starts the term, and that acknowledged.
            let begun = process.log.frames().iter().find(|frame| frame.header.term == term);
            let end = begun.map(|frame| frame.header.end());
            let Role::Master(master) = process.copy.role() else { unreachable!("online") };
            let (committed, first) = (master.committed(), process.log.first());
            let is_begun = end.map_or(first > resprout_wal::Lsn::ZERO, |end| committed >= end);
            hold(!rules || is_begun, "a master's term has begun", || {
                format!("n{} {state:?}: {end:?}, committed {committed}", at.node)
            })?;
            let known = *self.checks.masters.entry((at.key, term)).or_insert(instance);
            hold(known == instance, "a term has one master", || {
                format!("{:?} {term}: {known} and {instance}", at.key)
            })?;
        }
        let is_halted = matches!(state, State::Halted(_));
        let may = self.checks.promises(at.key).is_forgiven();
        hold(!is_halted || may, "no copy halts", || format!("n{} {:?} {state:?}", at.node, at.key))
    }

    /// Rules 4, 5 and 15: unfenced, on the own disk if the mode says so, and at everybody who may be promoted.
    pub(super) fn check_acknowledged(&self, at: At, write: Waiting) -> Result<(), Violation> {
        let (id, mode) = (at.node, self.checks.mode);
        let own = self.node(id).driven(at.key).expect("it is driven");
        if !self.checks.rules || !own.process.copy.mode().is_sync() || !self.checks.is_sync() {
            return Ok(());
        }
        let heard = own.process.heard;
        hold(heard <= write.term, "who heard of a newer term acknowledges nothing", || {
            format!("n{id} {write:?}, heard of {heard}")
        })?;
        let on_disk = self.node(id).rows[&own.name].log.end() >= write.end;
        hold(mode != Mode::Durable || on_disk, "acknowledged means on the own disk", || {
            format!("n{id} {write:?}")
        })?;
        let Some(record) = self.checks.record(at.key) else { return Ok(()) };
        for (other, node) in self.nodes.iter().filter(|(other, _)| **other != id) {
            let Some(driven) = node.driven(at.key) else { continue };
            let copy = record.copy(driven.name.instance);
            let disk = &node.rows[&driven.name];
            let same = disk.incarnation == copy.incarnation.0;
            let is_durable = mode == Mode::Durable;
            if copy.state != CopyState::Sync || !same && !is_durable {
                continue;
            }
            let has = if is_durable { disk.log.end() } else { driven.process.log.end() };
            hold(has >= write.end, "acknowledged means at all who may be promoted", || {
                format!("n{id} {write:?}, n{other} has {has}: {record:?}")
            })?;
        }
        self.check_runs(at, write, &record)
    }

    /// Rule 15: where acknowledgements do not follow a flush, only the run counts that the record names.
    fn check_runs(&self, at: At, write: Waiting, record: &Record) -> Result<(), Violation> {
        let own = &self.node(at.node).driven(at.key).expect("it is driven").process;
        let Role::Master(master) = own.copy.role() else { return Ok(()) };
        let is_current = master.term() == record.term && master.cfg() == record.cfg;
        if self.checks.mode != Mode::Received || !is_current {
            return Ok(());
        }
        for member in master.status().members {
            let named = record.copy(member.instance);
            let is_sync = named.state == CopyState::Sync;
            let is_other = member.incarnation.is_some_and(|run| run != named.incarnation);
            hold(!is_sync || !is_other, "acknowledgements are of the run on record", || {
                format!("n{} {write:?}: {member:?}, {named:?}", at.node)
            })?;
        }
        Ok(())
    }

    /// Rules 2 and 17: nothing of a term that is over, and nothing durable that is not.
    pub(super) fn check_message(&mut self, at: At, envelope: &Envelope) -> Result<(), Violation> {
        let Message::Ack(ack) = &envelope.message else { return Ok(()) };
        if !self.checks.rules {
            return Ok(());
        }
        let (driven, disk) = self.node_mut(at.node).copy_mut(at.key).expect("it is driven");
        let (heard, end) = (driven.process.heard, disk.log.end());
        hold(envelope.term >= heard, "a fenced copy acknowledges nothing", || {
            format!("n{} heard of {heard}: {envelope:?}", at.node)
        })?;
        hold(ack.durable <= end, "durable means on the disk", || {
            format!("n{} has {end}: {ack:?}", at.node)
        })
    }

    /// Rule 9: a report is of a stored promise and of what cannot go away.
    pub(super) fn check_report(&mut self, at: At, report: Report) -> Result<(), Violation> {
        if !self.checks.rules {
            return Ok(());
        }
        let (_, disk) = self.node_mut(at.node).copy_mut(at.key).expect("it is driven");
        let (promise, end) = (disk.promise, disk.log.end());
        hold(promise.term >= report.promised, "a report follows its promise", || {
            format!("n{} {promise:?}: {report:?}", at.node)
        })?;
        hold(end >= report.last, "a report is of what is on the disk", || {
            format!("n{} has {end}: {report:?}", at.node)
        })
    }
}

/// What comes of it in the end.
impl Simulation {
    /// Whether a partition has a master that serves in the term of the record.
    pub(super) fn is_served(&self, partition: &Partition) -> bool {
        let key = (1, partition.ordinal);
        self.leaves().any(|leaf| {
            self.node(leaf).active().is_some() && self.online(leaf, key) == Some(partition.term)
        })
    }

    /// Whether a copy runs that may be master by the record.
    fn could_be_served(&self, partition: &Partition) -> bool {
        let record = partition.record(self.checks.present_mode());
        partition.copies.iter().any(|(leaf, copy)| {
            let driven = self.node(leaf.0).driven((1, partition.ordinal));
            let said = record.copy(copy.instance);
            driven.is_some_and(|driven| {
                let run = driven.process.stance().incarnation;
                driven.name.instance == copy.instance
                    && said.state == CopyState::Sync
                    && (said.incarnation == run || self.checks.mode == Mode::Durable)
            })
        })
    }

    /// Whether all partitions are served that could be; and whether those that are not have not waited for too long.
    pub(super) fn check_bereft(&mut self) -> Result<bool, Violation> {
        let now = self.agenda.now();
        let mut all = true;
        for partition in self.checks.partitions().to_vec() {
            let (is_served, could_be) =
                (self.is_served(&partition), self.could_be_served(&partition));
            let quiet = self.checks.quiet_since;
            let since = self.checks.bereft.entry(partition.ordinal).or_insert(now);
            if is_served || !could_be {
                *since = now;
            }
            let waited = now.saturating_sub((*since).max(quiet));
            all &= is_served || !could_be;
            hold(waited < BEREFT_WITHIN, "who can be served is served in time", || {
                format!("{partition:?} has had no master for {waited:?}\n{}", self.show())
            })?;
        }
        Ok(all)
    }

    /// Whether all copies of the record do what it says, in the runs that it names, and its master takes them for synchronous.
    fn is_in_step(&self, partition: &Partition) -> bool {
        let key = (1, partition.ordinal);
        let does = |leaf: &LeafId, copy: &Copy| {
            let Some(driven) = self.node(leaf.0).driven(key) else { return false };
            let stance = driven.process.stance();
            let is_it = driven.name.instance == copy.instance;
            let is_right = match driven.process.copy.role() {
                Role::Master(master) => {
                    let members = master.status().members;
                    stance.state == State::Online(partition.term)
                        && members.iter().all(|member| member.standing == Standing::Sync)
                }
                Role::Replica(_) => stance.state == State::Replicating,
            };
            let is_run =
                stance.incarnation == copy.incarnation || self.checks.mode == Mode::Durable;
            is_it && is_right && is_run
        };
        self.is_served(partition) && partition.copies.iter().all(|(leaf, copy)| does(leaf, copy))
    }

    /// Everybody is there, and each partition has all its copies.
    pub(super) fn is_settled(&self) -> bool {
        let is_there = |id: &u64| self.gone.contains(id) || self.node(*id).active().is_some();
        let are_there = (1..=self.plan.nodes()).all(|id| is_there(&id));
        let metadata = self.checks.metadata();
        let are_online = metadata.nodes().values().all(|node| node.state == NodeState::Online);
        let Some(entry) = metadata.databases().get("db") else { return false };
        let is_full = |partition: &Partition| {
            let full = entry.map.full_copies(partition);
            full >= 2 && full == partition.copies.len() && self.is_in_step(partition)
        };
        are_there && are_online && self.checks.partitions().iter().all(is_full)
    }

    /// The same; all is equal, and something was acknowledged everywhere since then.
    pub(super) fn is_whole(&self, since: Duration) -> bool {
        let applied = self.checks.metadata().applied();
        let has_all = |id: &u64| {
            if self.gone.contains(id) {
                return true;
            }
            let node = self.node(*id);
            if !self.checks.metadata().nodes().contains_key(&NodeId(*id)) {
                return node.metadata().is_some_and(|metadata| metadata.applied() == applied);
            }
            let is_done = node
                .leaf()
                .is_none_or(|leaf| leaf.progress.success == Success::Found(Difference::None));
            node.metadata().is_some_and(|metadata| metadata.applied() == applied) && is_done
        };
        let is_equal = |partition: &Partition| {
            let key = (1, partition.ordinal);
            let promises = self.checks.promises.get(&key);
            let writes = promises.is_some_and(|promises| promises.acknowledged_since(since));
            let mut copies = self.on_record(key).map(|one| {
                let log = &one.process.log;
                (log.end(), log.chain_at(log.end()), one.process.visible)
            });
            let first = copies.next();
            writes && first.is_some() && copies.all(|copy| Some(copy) == first)
        };
        self.is_settled()
            && (1..=self.plan.nodes()).all(|id| has_all(&id))
            && self.checks.partitions().iter().all(is_equal)
    }

    /// The copies that the record has. Others are orphans, which people clear, where there are any.
    fn on_record(&self, key: Key) -> impl Iterator<Item = &Driven> {
        let partition = self.checks.partitions().iter().find(|found| found.ordinal == key.1);
        let has = move |leaf: u64, driven: &Driven| {
            let copy = partition.and_then(|partition| partition.copies.get(&LeafId(leaf)));
            copy.is_some_and(|copy| copy.instance == driven.name.instance)
        };
        self.leaves()
            .filter_map(move |leaf| self.node(leaf).driven(key).filter(|driven| has(leaf, driven)))
    }

    /// All is well: what was promised is there.
    pub(super) fn finish(&self) -> Result<(), Violation> {
        let truth = self.checks.metadata();
        for (id, node) in self.nodes.iter().filter(|(id, _)| !self.gone.contains(id)) {
            let same = node.metadata() == Some(truth);
            hold(same, "the metadata converge", || {
                format!("n{id}: {:?}, {truth:?}", node.metadata())
            })?;
        }
        for (key, promises) in &self.checks.promises {
            let rows: Vec<Vec<u64>> =
                self.on_record(*key).map(|driven| driven.process.rows()).collect();
            promises.finish(&rows)?;
        }
        Ok(())
    }

    /// For whoever looks for the reason.
    pub(super) fn show(&self) -> String {
        let mut lines = Vec::new();
        let metadata = self.checks.metadata();
        lines.push(format!("office {:?}, applied {}", metadata.office(), metadata.applied()));
        for (id, node) in metadata.nodes() {
            lines.push(format!("{id}: {} run {}", node.state.text(), node.incarnation));
        }
        lines.extend(self.checks.partitions().iter().map(|partition| format!("{partition:?}")));
        for (id, node) in &self.nodes {
            let applied = node.metadata().map(Metadata::applied);
            let success = node.leaf().map(|leaf| (leaf.phase, leaf.progress.success.text()));
            lines.push(format!("n{id}: run {} applied {applied:?} {success:?}", node.run));
            for name in node.rows.keys() {
                let driven = node.driven((name.database, name.ordinal));
                let stance = driven.filter(|one| one.name == *name).map(|one| one.process.stance());
                lines.push(format!("  {name:?}: {stance:?}"));
            }
        }
        lines.join("\n")
    }
}

/// A command, to be counted.
fn name(command: &Command) -> &'static str {
    match command {
        Command::TakeOffice { .. } => "decided: office",
        Command::SetNodeState { .. } => "decided: a node's state",
        Command::Intend { .. } => "decided: a mastership ends",
        Command::Elect { .. } => "decided: a master",
        Command::Publish { .. } => "decided: how a copy stands",
        Command::TakeBack { clean: true, .. } => "decided: a copy is back in order",
        Command::TakeBack { .. } => "decided: a copy is back",
        Command::Orphan { .. } => "decided: a copy is none any more",
        Command::Execute { change: Change::AddCopy { .. }, .. } => "decided: another copy",
        Command::Execute { change: Change::Promote { drop_leaving: None, .. }, .. } => {
            "decided: a promotion"
        }
        Command::Execute { change: Change::Promote { .. }, .. } => "decided: a promotion with drop",
        Command::Execute { change: Change::Remove { .. }, .. } => "decided: a copy leaves",
        Command::Execute { .. } => "decided: another change of a plan",
        Command::SetReplication { sync: true, .. } => "decided: synchronous",
        Command::SetReplication { sync: false, .. } => "decided: asynchronous",
        Command::AddLeaf { .. } => "decided: a leaf is added",
        Command::RemoveNode { .. } => "decided: a leaf is removed",
        Command::ForgetLeft { .. } => "decided: orphans are forgotten",
        _ => "decided: something else",
    }
}
