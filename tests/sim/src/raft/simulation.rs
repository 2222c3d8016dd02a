//! One run: a cluster, its clients and its faults, event by event.
//!
//! ```text
//!   storm: faults, safety checked at every step ──► healing: none; a proposal must commit, and all
//!                                                   healthy members must come to one state, in time
//! ```

use std::collections::BTreeMap;
use std::time::Duration;

use resprout_consensus::{
    Ballot, Config, Entry, EntryId, Identity, Index, Member, Membership, NodeId, Payload, Raft,
    Recovered, StoreId, Term, Timing, Vote,
};
use resprout_wal::world::Rng;

use super::check::Promises;
use super::client::{Answer, Client};
use super::disk_store::DiskStore;
use super::faults::Fault;
use super::image::Image;
use super::machine::Machine;
use super::node::{Asker, Input, Node, Process, store_id};
use super::plan::{Plan, StoreKind};
use super::store::{ModelStore, Store};
use crate::Violation;
use crate::agenda::Agenda;
use crate::clock::{NodeClock, TRUE_RATE};
use crate::coverage::Coverage;
use crate::network::Network;
use crate::trace::Trace;

/// What happens at some time.
#[derive(Debug)]
pub(super) enum Event {
    /// Something arrives at a node; what stems from a process only at that process.
    Input { node: u64, run: Option<u64>, input: Input },
    /// An answer arrives at a client.
    Answer(Asker, Answer),
    /// A client has waited long enough, if it has asked nothing since.
    Wake(Asker),
    /// The next fault is due.
    Fault,
    /// A fault that waited for a moment of the core.
    Ambush(u64, Fault),
    /// The cluster of one is to grow.
    Grow,
    /// A node starts.
    Start(u64),
    /// A stopped process goes on.
    Resume { node: u64, run: u64 },
    /// Ways are mended.
    Mend(Vec<(u64, u64)>),
    /// A clogged way is released.
    Release(u64, u64),
    /// A slow disk is a usual one again.
    DiskFast(u64),
    /// A node whose store has ended is ended, and will start again.
    StoreEnded { node: u64, run: u64 },
    /// The storm is over.
    Heal,
    /// Is the cluster well again?
    Poll,
}

/// See the module.
#[derive(Debug)]
pub struct Simulation {
    pub(super) plan: Plan,
    pub(super) rng: Rng,
    pub(super) agenda: Agenda<Event>,
    pub(super) network: Network<Input>,
    pub(super) nodes: BTreeMap<u64, Node>,
    pub(super) clients: Vec<Client>,
    pub(super) promises: Promises,
    pub(super) coverage: Coverage,
    pub(super) trace: Trace,
    pub(super) config: Config,
    /// When the storm ended.
    pub(super) healed: Option<Duration>,
    /// When a proposal that was made since was acknowledged.
    pub(super) served: Option<Duration>,
    /// Clients begin nothing any more.
    pub(super) quiet: bool,
    pub(super) done: bool,
}

/// What a run did.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// How often what happened.
    pub coverage: Coverage,
    /// Of everything that happened, in order.
    pub digest: u64,
    /// How long after the storm a proposal was acknowledged, in election timeouts.
    pub served_after: f64,
    /// How long after the storm all members were equal, in election timeouts.
    pub equal_after: f64,
}

/// Runs one plan; `prints` writes the trace to stdout.
///
/// # Errors
/// [`Violation`], the first.
pub fn run(plan: Plan, prints: bool) -> Result<Summary, Violation> {
    let mut simulation = Simulation::new(plan, prints);
    simulation.begin()?;
    while !simulation.done {
        let event = simulation.agenda.pass().expect("a poll is always due");
        simulation.happen(event)?;
    }
    Ok(simulation.summary())
}

fn member(node: u64, vote: Vote) -> Member {
    Member { store: store_id(node, 1), address: String::new(), vote }
}

/// A store of the kind wanted. The seed is for what a disk decides.
pub(super) fn new_store(kind: StoreKind, id: StoreId, image: &Image, seed: u64) -> Box<dyn Store> {
    match kind {
        StoreKind::Model => Box::new(ModelStore::new(image.clone())),
        StoreKind::Disk => Box::new(DiskStore::new(id, image, seed)),
    }
}

/// The store of every first member, as if its one entry had been committed.
fn founded(voters: u64, learners: u64) -> Image {
    let vote = |node| if node <= voters { Vote::Voter } else { Vote::Learner };
    let members = (1..=voters + learners).map(|node| (NodeId(node), member(node, vote(node))));
    let membership = Membership { members: members.collect() };
    let id = EntryId::new(Term(1), Index(1));
    let entries = [Entry { id, payload: Payload::Membership(membership) }].into();
    let ballot = Ballot { term: id.term, vote: None };
    Image { ballot, entries, ..Image::default() }
}

impl Simulation {
    fn new(plan: Plan, prints: bool) -> Self {
        let mut rng = Rng::new(plan.seed);
        let timing = Timing::new(plan.election).expect("the plan's times are possible");
        let mut config = Config::new(timing);
        (config.limits, config.planted) = (plan.limits, plan.planted);
        let mut nodes = BTreeMap::new();
        for node in 1..=plan.nodes() {
            let image = match node {
                1 if plan.grows => Image::of(&Recovered::first(NodeId(1), member(1, Vote::Voter))),
                _ if plan.grows || node > plan.voters + plan.learners => Image::default(),
                _ => founded(plan.voters, plan.learners),
            };
            let shows = Duration::from_nanos(rng.below(1 << 40));
            let clock = NodeClock::new(Duration::ZERO, shows, skewed(&mut rng, plan.skew));
            let store = new_store(plan.store, store_id(node, 1), &image, plan.seed ^ node << 48);
            nodes.insert(node, Node::new(node, clock, image, store));
        }
        let promises = Promises::new(plan.outcomes_only, plan.window);
        Self {
            network: Network::new(rng.next(), plan.weather),
            agenda: Agenda::default(),
            nodes,
            clients: (0..plan.clients).map(Client::new).collect(),
            promises,
            coverage: Coverage::default(),
            trace: Trace::new(prints),
            config,
            healed: None,
            served: None,
            quiet: false,
            done: false,
            rng,
            plan,
        }
    }

    fn begin(&mut self) -> Result<(), Violation> {
        for node in 1..=self.plan.nodes() {
            self.start(node)?;
        }
        for client in 0..self.clients.len() {
            self.agenda.after(self.plan.think, Event::Wake(Asker { client, attempt: 0 }));
        }
        self.agenda.after(self.plan.calm, Event::Fault);
        if self.plan.grows {
            self.agenda.after(self.plan.election / 2, Event::Grow);
        }
        self.agenda.after(self.plan.storm, Event::Heal);
        Ok(())
    }

    fn happen(&mut self, event: Event) -> Result<(), Violation> {
        match event {
            Event::Input { node, run, input } => return self.input(node, run, input),
            Event::Answer(asker, answer) => self.answered(asker, answer),
            Event::Wake(asker) => self.wake(asker),
            Event::Fault => return self.next_fault(),
            Event::Ambush(node, fault) => return self.inflict(fault, Some(node)),
            Event::Grow => return self.grow(),
            Event::Start(node) => return self.start(node),
            Event::Resume { node, run } => return self.resume(node, run),
            Event::Mend(ways) => self.network.mend(&ways),
            Event::Release(from, to) => self.release(from, to),
            Event::DiskFast(node) => self.node_mut(node).disk_slowness = 1,
            Event::StoreEnded { node, run } => self.end_failed(node, run),
            Event::Heal => return self.heal(),
            Event::Poll => return self.poll(),
        }
        Ok(())
    }

    pub(super) fn node_mut(&mut self, node: u64) -> &mut Node {
        self.nodes.get_mut(&node).expect("nodes are never taken away")
    }

    /// Starts a process, if none runs.
    pub(super) fn start(&mut self, id: u64) -> Result<(), Violation> {
        let now = self.agenda.now();
        let (seed, config) = (self.rng.next(), self.config.clone());
        let node = self.nodes.get_mut(&id).expect("nodes are never taken away");
        if node.process.is_some() {
            return Ok(());
        }
        let recovered = node.store.recover();
        node.store.take_notes().into_iter().for_each(|what| self.coverage.note(what));
        let Ok(recovered) = recovered else {
            self.trace.line(now, id, || "! the store does not open");
            let wait = if self.healed.is_some() { Duration::ZERO } else { self.tenths(0, 5) };
            self.agenda.after(wait, Event::Start(id));
            return Ok(());
        };
        node.ledger.recover(&recovered)?;
        self.promises.elections.starts(node.store_id, recovered.ballot)?;
        let mut machine = Machine::new(self.plan.window);
        recovered.snapshot.iter().for_each(|snapshot| machine.restore(snapshot));
        let identity = Identity { node: NodeId(id), store: node.store_id };
        let raft = Raft::new(identity, config, recovered, (node.clock.shows(now), seed));
        node.starts += 1;
        let run = (id, node.starts);
        self.promises.committed.applied(run, &machine, None)?;
        node.process = Some(Process::new(raft, machine));
        node.stopped = 0;
        drop(node.take_inbox());
        self.trace.note(now, id, "start", [run.1, 0]);
        self.trace.line(now, id, || format!("+ start {}", run.1));
        self.set_tick(id);
        Ok(())
    }

    /// Ends a process; what its disk has not flushed is lost, or a part of it.
    pub(super) fn crash(&mut self, id: u64) {
        let now = self.agenda.now();
        let node = self.nodes.get_mut(&id).expect("nodes are never taken away");
        if node.process.take().is_none() {
            return;
        }
        node.store.crash(&mut self.rng);
        node.store.take_notes().into_iter().for_each(|what| self.coverage.note(what));
        if self.rng.chance(1, 4) {
            // The whole machine: its clock begins anew.
            let rate = skewed(&mut self.rng, self.plan.skew);
            node.clock = NodeClock::new(now, Duration::ZERO, rate);
        }
        self.trace.note(now, id, "crash", [0, 0]);
        self.trace.line(now, id, || "x crash");
    }

    /// A time from `from` to `to` tenths of an election timeout.
    pub(super) fn tenths(&mut self, from: u32, to: u32) -> Duration {
        let tenth = self.plan.election / 10;
        crate::network::between(&mut self.rng, tenth * from, tenth * to)
    }

    fn summary(self) -> Summary {
        let election = self.plan.election.as_secs_f64();
        let healed = self.healed.unwrap_or_default();
        let since = |then: Duration| then.saturating_sub(healed).as_secs_f64() / election;
        Summary {
            served_after: since(self.served.unwrap_or_default()),
            equal_after: since(self.agenda.now()),
            coverage: self.coverage,
            digest: self.trace.digest(),
        }
    }
}

/// A rate of a clock within `percent` of the true one; the bounds themselves are the most likely.
pub(super) fn skewed(rng: &mut Rng, percent: u64) -> u64 {
    let by = percent * TRUE_RATE / 100;
    match rng.below(3) {
        0 => TRUE_RATE - by,
        1 => TRUE_RATE + by,
        _ => TRUE_RATE - by + rng.below(2 * by + 1),
    }
}
