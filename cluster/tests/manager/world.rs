//! Aggregators, leaves, a log of commands, and messages between them, in rounds of 50 ms.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use resprout_cluster::manager::{
    Answer, Config, Event, Lock, Manager, Message, Now, Output, Phase, Proposal,
};
use resprout_cluster::metadata::{Command, Decree, Happened, Metadata, NewHome, Outcome, Role};
use resprout_cluster::reconcile::{CopyName, Doing, MayGo, may_go};
use resprout_cluster::testing::Planted;
use resprout_cluster::{Address, Incarnation, LeafId, Mode, NodeId, Ordinal};

use crate::check::Checker;
use crate::leaf::{Leaf, Locked, ModelCopy, Said};

/// One round.
pub(crate) const ROUND: Duration = Duration::from_millis(50);

/// Voters: nodes 1 to 3. Leaves follow.
pub(crate) const VOTERS: u64 = 3;

/// Small numbers that are the same everywhere.
#[derive(Clone, Debug)]
pub(crate) struct Rng(pub(crate) u64);

impl Rng {
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let mixed = (self.0 >> 32) ^ (self.0 >> 11);
        mixed % limit.max(1)
    }

    pub(crate) fn chance(&mut self, of: u64) -> bool {
        of > 0 && self.below(of) == 0
    }
}

#[derive(Clone, Debug)]
enum Parcel {
    ToLeaf(NodeId, NodeId, Message),
    ToManager(NodeId, Event),
    Propose(NodeId, Proposal),
}

pub(crate) struct Aggregator {
    pub(crate) manager: Manager,
    pub(crate) metadata: Metadata,
    applied: usize,
    pub(crate) paused_until: u64,
}

pub(crate) struct World {
    pub(crate) rng: Rng,
    pub(crate) round: u64,
    pub(crate) mode: Mode,
    /// What consensus has committed, and what came of it.
    pub(crate) log: Vec<Decree>,
    pub(crate) metadata: Metadata,
    owners: BTreeMap<usize, (NodeId, u64)>,
    outcomes: Vec<Outcome>,
    pub(crate) aggregators: BTreeMap<NodeId, Aggregator>,
    pub(crate) leader: NodeId,
    pub(crate) leaves: BTreeMap<NodeId, Leaf>,
    parcels: Vec<(u64, Parcel)>,
    pub(crate) cuts: BTreeSet<(NodeId, NodeId)>,
    /// One message of so many is lost; 0 for none.
    pub(crate) loss: u64,
    /// Aggregators that do not learn what is committed, and until when.
    stale: BTreeMap<NodeId, u64>,
    pub(crate) checker: Checker,
    next_value: u64,
}

/// What a world is made with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setup {
    pub(crate) seed: u64,
    pub(crate) mode: Mode,
    pub(crate) leaves: u64,
    pub(crate) partitions: u32,
    pub(crate) sync: bool,
    pub(crate) durable: bool,
    /// With a partition for reference tables.
    pub(crate) reference: bool,
    pub(crate) planted: Option<Planted>,
    pub(crate) config: Config,
}

impl Default for Setup {
    fn default() -> Self {
        let config = Config {
            stable: Duration::from_secs(10),
            attach_wait: Duration::from_secs(5),
            ..Config::default()
        };
        Self {
            seed: 1,
            mode: Mode::Paired,
            leaves: 2,
            partitions: 2,
            sync: true,
            durable: false,
            reference: false,
            planted: None,
            config,
        }
    }
}

fn address(node: u64) -> Address {
    Address { host: "h".to_owned(), port: u16::try_from(node).expect("small") }
}

impl World {
    pub(crate) fn new(setup: Setup) -> Self {
        let config = Config { planted: setup.planted, ..setup.config };
        let aggregator = |id: u64| Aggregator {
            manager: Manager::new(NodeId(id), config),
            metadata: Metadata::with_planted(setup.planted),
            applied: 0,
            paused_until: 0,
        };
        let leaf = |id: u64| {
            let mut leaf = Leaf::new(NodeId(id), setup.durable);
            leaf.metadata = Metadata::with_planted(setup.planted);
            leaf
        };
        let (voters, leaves) = (1..=VOTERS, VOTERS + 1..=VOTERS + setup.leaves);
        let mut world = Self {
            rng: Rng(setup.seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1),
            round: 0,
            mode: setup.mode,
            log: Vec::new(),
            metadata: Metadata::with_planted(setup.planted),
            owners: BTreeMap::new(),
            outcomes: Vec::new(),
            aggregators: voters.map(|id| (NodeId(id), aggregator(id))).collect(),
            leader: NodeId(1),
            leaves: leaves.map(|id| (NodeId(id), leaf(id))).collect(),
            parcels: Vec::new(),
            cuts: BTreeSet::new(),
            loss: 0,
            stale: BTreeMap::new(),
            checker: Checker::default(),
            next_value: 1,
        };
        world.found(setup);
        world
    }

    fn found(&mut self, setup: Setup) {
        let incarnation = Incarnation(1);
        self.commit(Command::Found { cluster: 9, address: address(1) });
        self.commit(Command::TakeOffice { node: NodeId(1), after: 0 });
        for id in 2..=VOTERS {
            let (address, role) = (address(id), Role::Voter);
            self.commit(Command::AddAggregator { address, role, incarnation });
        }
        self.commit(Command::SetMode { mode: setup.mode });
        for id in VOTERS + 1..=VOTERS + setup.leaves {
            self.commit(Command::AddLeaf { address: address(id), group: None, incarnation });
        }
        let first = resprout_cluster::placement::initial(
            &self.metadata.leaves(),
            setup.mode,
            setup.partitions,
        );
        let homes = first.expect("placeable").partitions;
        let home =
            |new: &resprout_cluster::placement::NewPartition| (new.home.master, new.home.replica);
        let homes = homes.iter().map(home);
        let homes = homes.map(|(master, replica): (LeafId, _)| NewHome { master, replica });
        self.commit(Command::CreateDatabase {
            name: "db".to_owned(),
            homes: homes.collect(),
            sync: setup.sync,
            durable: setup.durable,
            redundancy: u32::try_from(setup.mode.copies()).expect("small"),
            reference: setup.reference,
        });
        let leader = self.leader;
        self.aggregator(leader, Event::Leads(true));
    }

    /// ADD LEAF of one that starts there.
    pub(crate) fn add_leaf(&mut self) -> NodeId {
        let id = self.metadata.nodes().keys().map(|node| node.0).max().expect("some") + 1;
        self.add_leaf_at(address(id))
    }

    pub(crate) fn add_leaf_at(&mut self, address: Address) -> NodeId {
        let incarnation = Incarnation(1);
        let added = self.commit(Command::AddLeaf { address, group: None, incarnation });
        let Outcome::Added { node: NodeId(id) } = added else { panic!("{added:?}") };
        let durable = self.leaves.values().any(|leaf| leaf.durable);
        self.leaves.insert(NodeId(id), Leaf::new(NodeId(id), durable));
        NodeId(id)
    }

    /// What the office decides, without a manager.
    pub(crate) fn commit(&mut self, command: Command) -> Outcome {
        let office = self.metadata.office().number;
        self.append(Decree { office, at_ms: 0, command }, None)
    }

    fn append(&mut self, decree: Decree, owner: Option<(NodeId, u64)>) -> Outcome {
        let index = self.log.len() as u64 + 1;
        let office = self.metadata.office().number;
        let outcome = self.metadata.apply(index, &decree);
        self.trace(|| {
            format!(
                "{index} of {owner:?} in {}: {:?} -> {outcome:?}",
                decree.office, decree.command
            )
        });
        if !matches!(outcome, Outcome::Refused { .. }) {
            self.checker.decided(office, &decree, &self.metadata, &self.leaves);
        }
        if let Some(owner) = owner {
            self.owners.insert(self.log.len(), owner);
        }
        self.log.push(decree);
        self.outcomes.push(outcome.clone());
        outcome
    }

    /// `TRACE=1 SEED=5` shows what happens in one seed.
    pub(crate) fn trace(&self, what: impl FnOnce() -> String) {
        if std::env::var_os("TRACE").is_some() {
            println!("{} {}", self.round, what());
        }
    }

    pub(crate) fn now(&self) -> Now {
        Now { at: ROUND * u32::try_from(self.round).expect("small"), wall_ms: 50 * self.round }
    }

    pub(crate) fn is_cut(&self, one: NodeId, other: NodeId) -> bool {
        self.cuts.contains(&(one.min(other), one.max(other)))
    }

    pub(crate) fn cut(&mut self, one: NodeId, other: NodeId) {
        self.cuts.insert((one.min(other), one.max(other)));
    }

    /// Delivered a little later, or not at all.
    fn post(&mut self, parcel: Parcel) {
        if self.rng.chance(self.loss) && !matches!(parcel, Parcel::Propose(..)) {
            return;
        }
        let due = self.round + 1 + self.rng.below(3);
        self.parcels.push((due, parcel));
    }

    /// A message to a node, in a while.
    pub(crate) fn order(&mut self, from: NodeId, to: NodeId, message: Message) {
        self.post(Parcel::ToLeaf(from, to, message));
    }

    /// A command of an aggregator by the office that it knows of, in a while.
    pub(crate) fn propose(&mut self, by: NodeId, command: Command) {
        let office = self.aggregators[&by].metadata.office().number;
        let decree = Decree { office, at_ms: 0, command };
        // Nobody waits for what becomes of it.
        self.post(Parcel::Propose(by, Proposal { id: u64::MAX, decree }));
    }

    /// One step of a manager.
    pub(crate) fn aggregator(&mut self, node: NodeId, event: Event) {
        let now = self.now();
        let Some(found) = self.aggregators.get_mut(&node) else { return };
        let Output { proposals, messages, .. } = found.manager.step(now, &found.metadata, event);
        for proposal in proposals {
            self.post(Parcel::Propose(node, proposal));
        }
        for (to, message) in messages {
            self.post(Parcel::ToLeaf(node, to, message));
        }
    }

    /// Another aggregator leads. The old one hears of it now, or much later.
    pub(crate) fn change_leader(&mut self, to: NodeId, unheard_for: u64) {
        let old = std::mem::replace(&mut self.leader, to);
        if old == to {
            return;
        }
        let parcel = Parcel::ToManager(old, Event::Leads(false));
        self.parcels.push((self.round + unheard_for, parcel));
        // It does not learn what is committed meanwhile either.
        self.stale.insert(old, self.round + unheard_for);
        self.stale.remove(&to);
        self.catch_up(to, usize::MAX);
        self.aggregator(to, Event::Leads(true));
    }

    /// Applies what is committed, as far as it goes.
    fn catch_up(&mut self, node: NodeId, most: usize) {
        let mut mine = Vec::new();
        if let Some(aggregator) = self.aggregators.get_mut(&node) {
            for _ in 0..most.min(self.log.len() - aggregator.applied) {
                let at = aggregator.applied;
                aggregator.metadata.apply(at as u64 + 1, &self.log[at]);
                aggregator.applied += 1;
                let owner = self.owners.get(&at).filter(|(owner, _)| *owner == node);
                mine.extend(owner.map(|(_, id)| (*id, self.outcomes[at].clone())));
            }
        }
        for (id, outcome) in mine {
            self.aggregator(node, Event::Applied(id, outcome));
        }
    }

    pub(crate) fn step(&mut self) {
        self.round += 1;
        self.deliver();
        for node in self.aggregators.keys().copied().collect::<Vec<_>>() {
            let is_stale = self.stale.get(&node).is_some_and(|until| *until > self.round);
            if !is_stale {
                self.stale.remove(&node);
                self.catch_up(node, usize::MAX);
            }
            if self.aggregators[&node].paused_until <= self.round {
                self.aggregator(node, Event::Look);
            }
        }
        for node in self.leaves.keys().copied().collect::<Vec<_>>() {
            self.step_leaf(node);
        }
        self.exchange();
        for node in self.leaves.keys().copied().collect::<Vec<_>>() {
            let leaf = self.leaves.get_mut(&node).expect("known");
            let said = leaf.serve(self.round);
            self.say(node, said);
        }
        self.write();
        self.checker.look(self.round, &self.metadata, &mut self.leaves);
    }

    fn step_leaf(&mut self, node: NodeId) {
        let reachable = !self.is_cut(node, self.leader);
        let leaf = self.leaves.get_mut(&node).expect("known");
        if !leaf.runs(self.round) {
            return;
        }
        let office = leaf.metadata.office();
        while reachable && leaf.applied < self.log.len() {
            let at = leaf.applied;
            leaf.metadata.apply(at as u64 + 1, &self.log[at]);
            leaf.applied += 1;
            if self.rng.chance(2) {
                break;
            }
        }
        if leaf.metadata.office() != office {
            // Whoever asked for locks is not in office any more.
            leaf.copies.values_mut().for_each(|copy| copy.locked = None);
        }
        let said = leaf.reconcile(self.round);
        self.say(node, said);
    }

    fn say(&mut self, from: NodeId, said: Vec<Said>) {
        for said in said {
            let event = match said {
                Said::Report(copy, report) => Event::Reported(copy, report),
                Said::Request(copy, request) => Event::Requested(copy, request),
                Said::Drained { office, lock } => Event::Drained { office, lock },
            };
            for manager in self.aggregators.keys().copied().collect::<Vec<_>>() {
                if !self.is_cut(from, manager) {
                    self.post(Parcel::ToManager(manager, event.clone()));
                }
            }
        }
    }

    fn deliver(&mut self) {
        let round = self.round;
        let (due, later) = self.parcels.drain(..).partition(|(at, _)| *at <= round);
        self.parcels = later;
        for (_, parcel) in due {
            match parcel {
                // It leads again.
                Parcel::ToManager(node, Event::Leads(false)) if node == self.leader => {}
                Parcel::ToManager(node, event) => {
                    if self.aggregators[&node].paused_until > round {
                        self.parcels.push((round + 1, Parcel::ToManager(node, event)));
                    } else {
                        self.aggregator(node, event);
                    }
                }
                // Whoever leads takes proposals of others too: rule 3 is not consensus' business.
                Parcel::Propose(node, Proposal { id, decree }) => {
                    self.append(decree, Some((node, id)));
                }
                Parcel::ToLeaf(from, to, message) => self.at_node(from, to, message),
            }
        }
    }

    fn at_node(&mut self, from: NodeId, to: NodeId, message: Message) {
        if self.is_cut(from, to) {
            return;
        }
        let round = self.round;
        let Some(leaf) = self.leaves.get_mut(&to) else {
            if message == Message::Beat {
                self.post(Parcel::ToManager(from, Event::Answered(to, Answer::default())));
            }
            return;
        };
        if !leaf.up {
            if message == Message::Beat {
                self.post(Parcel::ToManager(from, Event::Refused(to)));
            }
            return;
        }
        if round < leaf.paused_until {
            return;
        }
        match message {
            Message::Beat => {
                let answer = Answer {
                    incarnation: leaf.run,
                    phase: if round < leaf.ready_at { Phase::Recovering } else { Phase::Ready },
                    held: leaf.held(round),
                    fulfilled: leaf.progress.fulfilled,
                    looked: leaf.progress.working,
                };
                self.post(Parcel::ToManager(from, Event::Answered(to, answer)));
            }
            Message::AskReport { copy, decided } => {
                if leaf.is_ready(round) {
                    let said = leaf.hear(copy, &decided);
                    self.say(to, said.into_iter().collect());
                }
            }
            Message::Lock { office, database, lock } => {
                if office >= leaf.metadata.office().number {
                    self.lock(to, (database, lock.ordinal), Some((office, lock)));
                }
            }
            Message::Unlock { office, database, ordinal } => {
                if office >= leaf.metadata.office().number {
                    self.lock(to, (database, ordinal), None);
                }
            }
            Message::Remove { office, copy, known } => {
                let may = may_go(&leaf.metadata, to.into(), copy, known) == MayGo::Yes;
                if office >= leaf.metadata.office().number && may {
                    leaf.copies.remove(&copy);
                }
            }
        }
    }

    fn lock(&mut self, at: NodeId, of: (u32, Ordinal), lock: Option<(u64, Lock)>) {
        let leaf = self.leaves.get_mut(&at).expect("known");
        for (name, copy) in &mut leaf.copies {
            if (name.database, name.ordinal) != of || !copy.is_master() {
                continue;
            }
            let partition = leaf.metadata.partition("db", name.ordinal).expect("it exists");
            copy.locked = lock.and_then(|(office, lock)| {
                let to = partition.copies.get(&lock.to)?;
                Some(Locked { office, number: lock.number, to: to.instance, said: self.round })
            });
        }
    }

    /// Replicas meet their masters, where they can.
    fn exchange(&mut self) {
        let round = self.round;
        for (node, name) in self.copies_that(|copy| copy.doing == Doing::Following) {
            for (master, of) in self.copies_that(ModelCopy::is_master) {
                let same = (of.database, of.ordinal) == (name.database, name.ordinal);
                let lost = self.rng.chance(self.loss.max(20));
                if !same || master == node || self.is_cut(node, master) || lost {
                    continue;
                }
                let runs = |node| self.leaves[&node].is_ready(round);
                if !runs(node) || !runs(master) {
                    continue;
                }
                let mut one = self.take_copy(master, of);
                let mut other = self.take_copy(node, name);
                let durable = self.leaves[&node].is_durable(name);
                ModelCopy::exchange(&mut one, &mut other, name.instance, round, durable);
                self.put_copy(master, of, one);
                self.put_copy(node, name, other);
            }
        }
    }

    fn take_copy(&mut self, node: NodeId, name: CopyName) -> ModelCopy {
        self.leaves.get_mut(&node).expect("known").copies.remove(&name).expect("known")
    }

    fn put_copy(&mut self, node: NodeId, name: CopyName, copy: ModelCopy) {
        self.leaves.get_mut(&node).expect("known").copies.insert(name, copy);
    }

    pub(crate) fn copies_that(&self, is: impl Fn(&ModelCopy) -> bool) -> Vec<(NodeId, CopyName)> {
        let copies = self.leaves.iter().flat_map(|(node, leaf)| {
            leaf.copies.iter().map(move |(name, copy)| (*node, *name, copy))
        });
        copies.filter(|(_, _, copy)| is(copy)).map(|(node, name, _)| (node, name)).collect()
    }

    /// Clients write wherever somebody takes it; disks flush now and then.
    fn write(&mut self) {
        let round = self.round;
        for leaf in self.leaves.values_mut().filter(|leaf| leaf.is_ready(round)) {
            let (all_durable, reference) = (leaf.durable, leaf.reference());
            for (name, copy) in &mut leaf.copies {
                let durable = all_durable || reference == Some(name.ordinal);
                if let Doing::Online(term) = copy.doing
                    && copy.locked.is_none()
                    && self.rng.chance(2)
                {
                    copy.log.push((term, self.next_value));
                    copy.clean = false;
                    self.next_value += 1;
                }
                if durable || self.rng.chance(8) {
                    copy.flushed = copy.log.len();
                }
            }
        }
    }

    /// Runs until it is so.
    pub(crate) fn until(&mut self, rounds: u64, what: &str, is: impl Fn(&Self) -> bool) -> u64 {
        let began = self.round;
        while !is(self) {
            assert!(self.round - began < rounds, "{what}: {}", self.show());
            self.step();
        }
        self.round - began
    }

    pub(crate) fn run(&mut self, rounds: u64) {
        for _ in 0..rounds {
            self.step();
        }
    }

    /// Everybody is there, and everything is as the metadata want it.
    pub(crate) fn is_whole(&self) -> bool {
        let online = resprout_cluster::metadata::NodeState::Online;
        let nodes = self.metadata.nodes().values().all(|node| node.state == online);
        let is_settled = |leaf: &Leaf| {
            leaf.is_ready(self.round)
                && leaf.applied == self.log.len()
                && leaf.progress.success.text() == "Success"
                && leaf.copies.values().all(|copy| copy.locked.is_none())
        };
        let partitions = self
            .metadata
            .databases()
            .values()
            .flat_map(|entry| entry.map.all().map(move |partition| (entry, partition)));
        let is_orphaned = |ordinal: Ordinal| {
            let events = self.metadata.events().iter();
            events.map(|event| &event.happened).any(|happened| {
                matches!(happened, Happened::Orphaned { ordinal: of, .. } if *of == ordinal)
            })
        };
        let mut full = partitions.map(|(entry, partition)| {
            // What became an orphan is replaced by a rebalance, which is not part of this.
            let least = if is_orphaned(partition.ordinal) { 1 } else { self.mode.copies() };
            let is_reference = entry.map.is_reference(partition.ordinal);
            let least = if is_reference { self.leaves.len() } else { least };
            let copies = entry.map.full_copies(partition);
            partition.serving().is_some() && copies == partition.copies.len() && copies >= least
        });
        nodes && full.all(|full| full) && self.leaves.values().all(is_settled)
    }

    pub(crate) fn show(&self) -> String {
        let mut lines = vec![format!("round {} leader {}", self.round, self.leader)];
        for (id, node) in self.metadata.nodes() {
            lines.push(format!("{id}: {} run {}", node.state, node.incarnation));
        }
        for partition in self.metadata.databases().values().flat_map(|e| e.map.all()) {
            lines.push(format!("{partition:?}"));
        }
        for (node, leaf) in &self.leaves {
            let (up, success) = (leaf.up, leaf.progress.success.text());
            lines.push(format!("{node}: up {up} run {} {success}", leaf.run));
            for (name, copy) in &leaf.copies {
                let log = copy.log.len();
                let state = (copy.doing, copy.promised, copy.run, copy.committed, log, copy.clean);
                lines.push(format!("  {name:?}: {state:?}"));
            }
        }
        let from = self.log.len().saturating_sub(12);
        for (decree, outcome) in self.log.iter().zip(&self.outcomes).skip(from) {
            lines.push(format!("{} {:?} -> {outcome:?}", decree.office, decree.command));
        }
        lines.join("\n")
    }
}
