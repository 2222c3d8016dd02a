//! One run: a cluster, its clients and its faults, event by event.
//!
//! ```text
//!   storm: faults, safety checked at every step ──► lull: one leaf is away, all else is well: what can be
//!   served is ──► healing: nothing is wrong; writes are acknowledged and everything is equal, in time
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use resprout_cluster::manager::{Manager, Phase};
use resprout_cluster::metadata::{Command, Decree, Metadata, NewHome, Role};
use resprout_cluster::placement::initial;
use resprout_cluster::{Address, Incarnation, Instance, NodeId, Ordinal};
use resprout_consensus::machine::Applier;
use resprout_consensus::{
    Ballot, Entry, EntryId, Event as RaftEvent, Identity, Index, Member, Membership, Payload,
    Proposal, ProposalId, Raft, StoreId, Term, Vote, WriteId,
};
use resprout_replication::{Event as CopyEvent, Partition, Promise};
use resprout_wal::world::Rng;

use super::asked::Carried;
use super::check::Checks;
use super::faults::Undo;
use super::mail::Mail;
use super::node::{At, Leaf, Node, Process};
use super::operator::Operator;
use super::plan::{Plan, VOTERS};
use super::planted::Planted;
use crate::agenda::Agenda;
use crate::coverage::Coverage;
use crate::network::Network;
use crate::raft::image::Image;
use crate::raft::store::ModelStore;
use crate::trace::Trace;
use crate::{Violation, hold};

/// A cluster without faults, but for its network, has opened its database by then.
const OPEN_WITHIN: Duration = Duration::from_secs(20);

/// What happens at some time.
#[derive(Clone, Debug)]
pub(super) enum Event {
    /// Something arrives.
    Arrives {
        from: u64,
        to: u64,
        mail: Mail,
    },
    /// Something of a node's own, in one run of its process.
    Own {
        node: u64,
        run: u64,
        own: Own,
    },
    /// An answer of a copy's disk or tree, or its deadline.
    Copy(At, Box<CopyEvent>),
    /// The first operation of a copy's queue is done.
    DiskDone(At),
    /// A promise of a copy is on its disk.
    PromiseDone(At, Promise),
    Client,
    Reader,
    Storm,
    Fault,
    Undo(Undo),
    /// Somebody who asks for things looks.
    Operator,
    /// Whoever takes part in a step ends, as power does.
    Kill(u64),
    /// A removed leaf's machine is taken away.
    Gone(u64),
    Lull,
    Heal,
    Poll,
}

/// What a process does by itself.
#[derive(Clone, Copy, Debug)]
pub(super) enum Own {
    RaftTick(Duration),
    Flushed(WriteId),
    OfficeTick(Duration),
    Propose(ProposalId),
    /// A leaf compares what it has with the metadata; once more in a while, or just now.
    Look {
        again: bool,
    },
    Files,
    /// A leaf looks at partitions that stand still.
    Locks,
    /// Orphans are looked at once more.
    Orphans,
    Recovered,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Simulation {
    pub(super) plan: Plan,
    pub(super) rng: Rng,
    pub(super) agenda: Agenda<Event>,
    pub(super) network: Network<Event>,
    pub(super) nodes: BTreeMap<u64, Node>,
    pub(super) checks: Checks,
    pub(super) coverage: Coverage,
    pub(super) trace: Trace,
    pub(super) serial: u64,
    pub(super) images: u64,
    pub(super) next_value: u64,
    /// The storm has begun.
    pub(super) stormy: bool,
    /// A leaf has lost its rows, and all is not well again since.
    pub(super) wiped: bool,
    /// When that was, the last time.
    pub(super) wiped_at: Duration,
    pub(super) operator: Operator,
    /// Leaves that were removed: their machines are gone.
    pub(super) gone: BTreeSet<u64>,
    /// The storm is over: since when, and which leaf stays away.
    pub(super) lull: Option<(Duration, u64)>,
    pub(super) healed: Option<Duration>,
    pub(super) done: bool,
}

/// What a run did.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// How often what happened.
    pub coverage: Coverage,
    /// Of everything that happened, in order.
    pub digest: u64,
    /// How long after the storm all was well.
    pub well_after: Duration,
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
    let healed = simulation.healed.unwrap_or_default();
    Ok(Summary {
        well_after: simulation.agenda.now().saturating_sub(healed),
        digest: simulation.trace.digest(),
        coverage: simulation.coverage,
    })
}

pub(super) fn address(node: u64) -> Address {
    Address { host: "n".to_owned(), port: u16::try_from(node).expect("few nodes") }
}

/// What made the cluster, as if all of it had been committed.
fn founding(plan: &Plan) -> Vec<Decree> {
    let mut metadata = Metadata::default();
    let mut decrees = Vec::new();
    let mut take = |command, metadata: &mut Metadata| {
        let decree = Decree { office: metadata.office().number, at_ms: 0, command };
        // The first entry lays down the members.
        metadata.apply(decrees.len() as u64 + 2, &decree);
        decrees.push(decree);
    };
    let incarnation = Incarnation(1);
    take(Command::Found { cluster: 7, address: address(1) }, &mut metadata);
    take(Command::TakeOffice { node: NodeId(1), after: 0 }, &mut metadata);
    for id in 2..plan.first_leaf() {
        let role = if id <= VOTERS { Role::Voter } else { Role::Learner };
        let command = Command::AddAggregator { address: address(id), role, incarnation };
        take(command, &mut metadata);
    }
    take(Command::SetMode { mode: plan.mode }, &mut metadata);
    for id in plan.first_leaf()..plan.first_spare() {
        let command = Command::AddLeaf { address: address(id), group: None, incarnation };
        take(command, &mut metadata);
    }
    let homes = initial(&metadata.leaves(), plan.mode, plan.partitions).expect("placeable");
    let homes = homes.partitions.iter();
    let homes = homes.map(|new| NewHome { master: new.home.master, replica: new.home.replica });
    let create = Command::CreateDatabase {
        name: "db".to_owned(),
        homes: homes.collect(),
        sync: true,
        durable: plan.durable,
        redundancy: 2,
        reference: false,
    };
    take(create, &mut metadata);
    decrees
}

/// The store of every node at the beginning.
fn founded(plan: &Plan) -> Image {
    let term = Term(1);
    let member = |node| {
        let vote = if node <= VOTERS { Vote::Voter } else { Vote::Learner };
        (NodeId(node), Member { store: StoreId(node), address: String::new(), vote })
    };
    let members = (1..=plan.nodes()).map(member).collect();
    let payloads = std::iter::once(Payload::Membership(Membership { members }));
    let commands = (1..).zip(founding(plan)).map(|(number, decree)| {
        let (id, command) = (ProposalId(number), decree.encode().into());
        Payload::Command(Proposal { id, since: Index(0), command })
    });
    let entries = (1..).zip(payloads.chain(commands));
    let entries =
        entries.map(|(index, payload)| Entry { id: EntryId::new(term, Index(index)), payload });
    let ballot = Ballot { term, vote: None };
    Image { ballot, entries: entries.collect(), ..Image::default() }
}

impl Simulation {
    fn new(plan: Plan, prints: bool) -> Self {
        let mut rng = Rng::new(plan.seed ^ 0x7265_7370);
        let image = founded(&plan);
        let nodes = (1..=plan.nodes()).map(|id| {
            let store = Box::new(ModelStore::new(image.clone()));
            (id, Node::new(id, store))
        });
        Self {
            network: Network::new(rng.next(), plan.weather),
            nodes: nodes.collect(),
            checks: Checks::new(&plan),
            agenda: Agenda::default(),
            coverage: Coverage::default(),
            trace: Trace::new(prints),
            serial: 0,
            images: 0,
            next_value: 1,
            stormy: false,
            wiped: false,
            wiped_at: Duration::ZERO,
            operator: Operator::default(),
            gone: BTreeSet::new(),
            lull: None,
            healed: None,
            done: false,
            rng,
            plan,
        }
    }

    fn begin(&mut self) -> Result<(), Violation> {
        for node in 1..=self.plan.nodes() {
            self.start(node)?;
        }
        self.agenda.at(Duration::from_millis(200), Event::Client);
        self.agenda.at(Duration::from_millis(210), Event::Reader);
        self.agenda.at(Duration::from_millis(300), Event::Storm);
        if self.plan.asks.is_some() {
            self.agenda.at(Duration::from_millis(320), Event::Operator);
        }
        Ok(())
    }

    /// The storm begins when the database is open: of one that is not, copies may be lost before there were any, and an
    /// operator makes it anew.
    fn begin_storm(&mut self) -> Result<(), Violation> {
        let now = self.agenda.now();
        if self.checks.is_open() {
            self.stormy = true;
            let first = self.micros(500_000);
            self.agenda.after(first, Event::Fault);
            let end = if self.plan.lull { Event::Lull } else { Event::Heal };
            self.agenda.after(first + self.plan.storm, end);
            return Ok(());
        }
        hold(now < OPEN_WITHIN, "a database is opened in time", || self.show())?;
        self.agenda.after(Duration::from_millis(50), Event::Storm);
        Ok(())
    }

    pub(super) fn node(&self, id: u64) -> &Node {
        self.nodes.get(&id).expect("nodes are never taken away")
    }

    pub(super) fn node_mut(&mut self, id: u64) -> &mut Node {
        self.nodes.get_mut(&id).expect("nodes are never taken away")
    }

    pub(super) fn process(&mut self, id: u64) -> &mut Process {
        self.node_mut(id).process.as_mut().expect("it runs")
    }

    pub(super) fn says<T: std::fmt::Display>(&self, node: u64, text: impl FnOnce() -> T) {
        self.trace.line(self.agenda.now(), node, text);
    }

    /// Notes something of a node's own for later.
    pub(super) fn own(&mut self, node: u64, wait: Duration, own: Own) {
        let run = self.node(node).run;
        self.agenda.after(wait, Event::Own { node, run, own });
    }

    /// A time up to `micros`.
    pub(super) fn micros(&mut self, micros: u64) -> Duration {
        Duration::from_micros(self.rng.below(micros + 1))
    }

    /// Starts a process, if none runs.
    pub(super) fn start(&mut self, id: u64) -> Result<(), Violation> {
        if self.node(id).process.is_some() || self.gone.contains(&id) {
            return Ok(());
        }
        let (now, seed) = (self.agenda.now(), self.rng.next());
        let ahead = Duration::from_millis(self.rng.below(40_000));
        let most = if self.rng.chance(1, 4) { 600_000 } else { 20_000 };
        let recovering = self.micros(most);
        let (config, manager) = (self.plan.consensus(), self.plan.manager());
        let planted = self.plan.planted.and_then(Planted::of_record);
        let is_leaf = id >= self.plan.first_leaf();
        let node = self.node_mut(id);
        let recovered = node.store.recover().expect("a model");
        let mut machine = Applier::new(Metadata::with_planted(planted));
        if let Some(snapshot) = &recovered.snapshot {
            machine.restore(snapshot).expect("a state that some machine gave");
        }
        let offered = machine.applied().index;
        let identity = Identity { node: NodeId(id), store: StoreId(id) };
        node.run += 1;
        node.process = Some(Process {
            ahead,
            raft: Raft::new(identity, config, recovered, (now + ahead, seed)),
            machine,
            leads: false,
            manager: (!is_leaf).then(|| Manager::new(NodeId(id), manager)),
            proposals: BTreeMap::new(),
            proposed: 0,
            carried: Carried::default(),
            written: WriteId::default(),
            flushes: false,
            offered,
            raft_tick: None,
            office_tick: None,
            leaf: is_leaf.then(Leaf::default),
        });
        let run = node.run;
        self.trace.note(now, id, "start", [run, 0]);
        self.says(id, || format!("+ start {run}"));
        if is_leaf {
            self.own(id, recovering, Own::Recovered);
        }
        self.raft(id, RaftEvent::Tick)
    }

    fn happen(&mut self, event: Event) -> Result<(), Violation> {
        let Some(event) = self.keep(event) else { return Ok(()) };
        match event {
            Event::Arrives { from, to, mail } => self.arrives(from, to, mail),
            Event::Own { node, own, .. } => self.happens(node, own),
            Event::Copy(at, input) => {
                if self.is_driven(at) {
                    self.step_copy(at, *input)
                } else {
                    Ok(())
                }
            }
            Event::DiskDone(at) => self.disk_done(at),
            Event::PromiseDone(at, promise) => self.promise_done(at, promise),
            Event::Client => self.client(),
            Event::Reader => self.reader(),
            Event::Storm => self.begin_storm(),
            Event::Fault => self.fault(),
            Event::Undo(undo) => self.undo(undo),
            Event::Operator => self.operator(),
            Event::Kill(id) => {
                self.kill(id);
                Ok(())
            }
            Event::Gone(id) => {
                self.is_gone(id);
                Ok(())
            }
            Event::Lull => self.begin_lull(),
            Event::Heal => self.heal(),
            Event::Poll => self.poll(),
        }
    }

    /// What is for a process that is none any more is dropped, and what is for one that is paused waits.
    fn keep(&mut self, event: Event) -> Option<Event> {
        let (id, run) = match &event {
            Event::Arrives { to, .. } => (*to, None),
            Event::Own { node, run, .. } => (*node, Some(*run)),
            Event::Copy(at, _) => (at.node, None),
            _ => return Some(event),
        };
        let node = self.node_mut(id);
        if node.process.is_none() || run.is_some_and(|run| run != node.run) {
            return None;
        }
        if !node.paused {
            return Some(event);
        }
        node.kept.push(event);
        None
    }

    fn arrives(&mut self, from: u64, to: u64, mail: Mail) -> Result<(), Violation> {
        match mail {
            Mail::Raft(envelope) => self.raft(to, RaftEvent::Receive(*envelope)),
            Mail::Copy(envelope) => self.copy_receives(from, to, *envelope),
            Mail::Control(control) => self.control(from, to, *control),
            Mail::Refused => {
                self.office(to, resprout_cluster::manager::Event::Refused(NodeId(from)))
            }
            Mail::Write(key, values) => self.write_arrives(to, key, &values),
            Mail::Asked(asked) => self.asked_mail(from, to, *asked),
        }
    }

    fn happens(&mut self, id: u64, own: Own) -> Result<(), Violation> {
        match own {
            Own::RaftTick(at) => self.raft_tick(id, at),
            Own::Flushed(upto) => self.raft_flushed(id, upto),
            Own::OfficeTick(at) => self.office_tick(id, at),
            Own::Propose(proposal) => self.propose(id, proposal),
            Own::Look { again } => self.look(id, again),
            Own::Files => self.files(id),
            Own::Locks => self.look_at_locks(id),
            Own::Orphans => self.look_at_orphans(id),
            Own::Recovered => {
                if let Some(leaf) = self.node_mut(id).leaf_mut() {
                    leaf.phase = Phase::Ready;
                }
                self.own(id, Duration::ZERO, Own::Files);
                self.look(id, true)
            }
        }
    }

    /// The leaves.
    pub(super) fn leaves(&self) -> std::ops::RangeInclusive<u64> {
        self.plan.first_leaf()..=self.plan.nodes()
    }

    /// One of the leaves.
    pub(super) fn any_leaf(&mut self) -> u64 {
        self.plan.first_leaf() + self.rng.below(self.plan.leaves + self.plan.spares())
    }

    /// Where a copy lives, as a node knows it.
    pub(super) fn home(&self, node: u64, of: Partition, instance: Instance) -> Option<u64> {
        let entry = self.node(node).metadata()?.database_of(of.database)?;
        let leaf = entry.map.partition(Ordinal(of.ordinal))?.leaf_of(instance)?;
        Some(leaf.0)
    }
}
