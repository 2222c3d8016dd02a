//! What the master aggregator decides: a core without I/O.
//!
//! ```text
//!   consensus ──leads, metadata──►┌─────────┐──proposals──► consensus
//!   leaves ──answers, reports────►│ Manager │──messages───► leaves
//!   masters ──requests───────────►└─────────┘
//! ```
//!
//! At each step it looks at the metadata as they are committed here and at what it has heard, and proposes what is
//! missing. It keeps nothing that the next one would need: a decision is a command, and a command that was lost,
//! or proposed twice, or comes late, is found missing, done, or refused. So another aggregator goes on where this
//! one stopped.
//!
//! Before it decides anything it takes office ([`Command::TakeOffice`]): that this was applied proves that a quorum
//! followed it after it had asked, and that everything acknowledged before is in the state from which it reads.
//! What it proposes afterwards is void as soon as somebody else has taken office (catalogue rule 3).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use resprout_replication::{Decided, Instance, Report, Request};

use crate::detector::{self, Detector};
use crate::metadata::{
    At, Command, DatabaseEntry, DatabaseState, Decree, Happened, Metadata, Node, NodeState, Outcome,
};
use crate::reconcile::{CopyName, Doing, Held};
use crate::{Copy, Incarnation, LeafId, NodeId, Ordinal, Partition, Term};

use back::Back;
use elections::Gathering;
use plans::Plans;
pub use plans::{Ended, Errand, Shown};

mod attach;
mod back;
mod elections;
mod figures;
mod leaves;
mod left;
mod plans;
mod reference;

/// Settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// When a node counts as lost.
    pub detector: detector::Config,
    /// Leaves that come back are taken in without a command.
    pub auto_attach: bool,
    /// How long a leaf that came back waits for others that are on their way.
    pub attach_wait: Duration,
    /// How long reports are waited for of copies whose leaf is there.
    pub gather: Duration,
    /// What was not answered is asked again.
    pub retry: Duration,
    /// `attach_rebalance_delay_seconds`: nothing must have changed for so long before masters move back.
    pub stable: Duration,
    /// A bug, for the tests that must find it.
    #[cfg(any(test, feature = "testing"))]
    pub planted: Option<crate::testing::Planted>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            detector: detector::Config::default(),
            auto_attach: true,
            attach_wait: Duration::from_secs(120),
            gather: Duration::from_millis(500),
            retry: Duration::from_millis(500),
            stable: Duration::from_secs(120),
            #[cfg(any(test, feature = "testing"))]
            planted: None,
        }
    }
}

/// The time: for what is waited for, and for people.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// Runs evenly.
    pub at: Duration,
    /// Milliseconds since 1970, for events; nothing is decided by it.
    pub wall_ms: u64,
}

/// How far a leaf's process is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    /// It replays.
    #[default]
    Recovering,
    /// All that can be recovered is.
    Ready,
    /// It says that it cannot recover.
    Failed,
}

/// A leaf's answer to a heartbeat.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// Its run.
    pub incarnation: Incarnation,
    /// How far it is.
    pub phase: Phase,
    /// What it has.
    pub held: Held,
    /// The newest metadata that it has fulfilled.
    pub fulfilled: u64,
    /// Whatever it makes or removes from now on is by these metadata, or newer ones: what it does not have and they do not
    /// give it, it will not have by older ones.
    pub looked: u64,
}

/// Something happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Time has passed, or the metadata have changed.
    Look,
    /// Consensus says that this aggregator leads, or does not any more.
    Leads(bool),
    /// A proposal was applied.
    Applied(u64, Outcome),
    /// What became of a proposal is not known.
    Unknown(u64),
    /// A node answered a heartbeat. Aggregators have nothing to say in it.
    Answered(NodeId, Answer),
    /// Nobody listens at a node's address.
    Refused(NodeId),
    /// A copy has reported.
    Reported(CopyName, Report),
    /// A master asks for a change of its record.
    Requested(CopyName, Request),
    /// ATTACH LEAF; with FORCE also with copies that nobody knows.
    Attach(NodeId, bool),
    /// The partition of that lock stands still, and the copy that shall be master has everything.
    Drained {
        /// The office that asked.
        office: u64,
        /// The lock's number.
        lock: u64,
    },
    /// A plan is to be carried out: [`Output::ended`].
    Run(Errand),
    /// The plan of a database is to end as soon as it can.
    Cancel(String),
    /// Other settings.
    Configure(Config),
}

/// Something to be proposed. [`Event::Applied`] or [`Event::Unknown`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposal {
    /// Its number, of this manager.
    pub id: u64,
    /// What.
    pub decree: Decree,
}

/// Something to be sent to a node. May be lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// A heartbeat: [`Event::Answered`] or [`Event::Refused`].
    Beat,
    /// A fenced copy shall report, once more if it has: [`Event::Reported`]. The decision was committed.
    AskReport {
        /// Which copy.
        copy: CopyName,
        /// What it is fenced by.
        decided: Decided,
    },
    /// No writes to a partition, for a while: [`Event::Drained`]. Said again while it holds. Void, as
    /// what follows, if the leaf knows a later office.
    Lock {
        /// The office.
        office: u64,
        /// Of which database.
        database: u32,
        /// Which partition, and for whom.
        lock: Lock,
    },
    /// Writes go on.
    Unlock {
        /// The office.
        office: u64,
        /// Of which database.
        database: u32,
        /// Which partition.
        ordinal: Ordinal,
    },
    /// The files of a copy that left the record are removed. Said again until the leaf does not have it any more.
    Remove {
        /// The office.
        office: u64,
        /// Which copy.
        copy: CopyName,
        /// The newest command that the office knows: in those metadata the copy is not in the record.
        known: u64,
    },
}

/// A partition that is to stand still, so that another copy can be its master.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lock {
    /// Names it, in its office.
    pub number: u64,
    /// The partition.
    pub ordinal: Ordinal,
    /// Whose copy must have everything.
    pub to: LeafId,
    /// Transactions that are under way are ended.
    pub kill: bool,
}

/// What is to be done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Output {
    /// To be proposed, in this order.
    pub proposals: Vec<Proposal>,
    /// To be sent.
    pub messages: Vec<(NodeId, Message)>,
    /// Errands that are over, by their numbers.
    pub ended: Vec<(u64, Ended)>,
}

/// What a proposal is about: of each at most one is under way.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum About {
    Office,
    Node(NodeId),
    Record(u32, Ordinal),
    Database(u32),
    /// That everything was evened out.
    Rebalanced,
    /// Copies that left the record of that database.
    Left(u32),
    /// Of the plan in a database.
    Step(u32, usize),
    /// For people only; each for itself.
    News(u64),
}

#[derive(Clone, Copy, Debug)]
struct Pending {
    id: u64,
    since: Duration,
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Manager {
    node: NodeId,
    config: Config,
    leads: bool,
    office: Option<u64>,
    detector: Detector,
    now: Now,
    proposals: u64,
    /// The newest command in the metadata that it looks at.
    known: u64,
    pending: BTreeMap<About, Pending>,
    seen: BTreeMap<NodeId, Answer>,
    elections: BTreeMap<(u32, Ordinal), Gathering>,
    /// Since when a leaf's copies cannot be used, as far as is known here.
    away: BTreeMap<NodeId, Duration>,
    /// Since when a leaf that came back waits for others.
    waiting: BTreeMap<NodeId, Duration>,
    /// Since when a leaf's copies are being taken back.
    attaching: BTreeMap<NodeId, Duration>,
    /// Leaves that are attached although they have copies that nobody knows.
    forced: BTreeSet<NodeId>,
    /// News that were told, so that they are told once.
    told: BTreeSet<(u32, Ordinal, Term)>,
    plans: Plans,
    back: Back,
    out: Output,
}

impl Manager {
    /// One that does not lead.
    #[must_use]
    pub fn new(node: NodeId, config: Config) -> Self {
        Self {
            node,
            config,
            leads: false,
            office: None,
            detector: Detector::new(config.detector),
            now: Now::default(),
            proposals: 0,
            known: 0,
            pending: BTreeMap::new(),
            seen: BTreeMap::new(),
            elections: BTreeMap::new(),
            away: BTreeMap::new(),
            waiting: BTreeMap::new(),
            attaching: BTreeMap::new(),
            forced: BTreeSet::new(),
            told: BTreeSet::new(),
            plans: Plans::default(),
            back: Back::default(),
            out: Output::default(),
        }
    }

    /// Whether it may decide.
    #[must_use]
    pub fn is_in_office(&self) -> bool {
        self.office.is_some()
    }

    /// When to step at the latest. While it has no office it sends no heartbeats, and asks for one again then.
    #[must_use]
    pub fn deadline(&self) -> Duration {
        let (beat, now) = (self.detector.deadline(), self.now.at);
        if beat > now { beat } else { now + self.config.retry }
    }

    /// Takes an event and says what is to be done.
    pub fn step(&mut self, now: Now, metadata: &Metadata, event: Event) -> Output {
        (self.now, self.known) = (now, metadata.applied());
        self.take(metadata, event);
        if self.leads && self.check_office(metadata) {
            self.look(metadata);
        }
        std::mem::take(&mut self.out)
    }

    fn take(&mut self, metadata: &Metadata, event: Event) {
        match event {
            Event::Look => {}
            Event::Leads(leads) => self.set_leads(leads),
            Event::Applied(id, outcome) => self.applied(id, outcome),
            Event::Unknown(id) => self.unknown(metadata, id),
            Event::Answered(node, answer) => self.answered(node, answer),
            Event::Refused(node) => drop(self.detector.refused(node)),
            Event::Reported(copy, report) => self.reported(metadata, copy, report),
            Event::Requested(copy, request) => self.requested(metadata, copy, request),
            Event::Attach(node, force) => self.attach(metadata, node, force),
            Event::Drained { office, lock } if self.office == Some(office) => {
                self.plans.drained(lock);
            }
            Event::Drained { .. } => {}
            Event::Run(errand) => self.run_errand(metadata, errand),
            Event::Cancel(database) => self.plans.cancel(metadata, &database),
            Event::Configure(config) => {
                self.config = config;
                self.detector.configure(config.detector);
            }
        }
    }

    /// Whoever begins to lead knows nothing yet; whoever does not any more forgets.
    fn set_leads(&mut self, leads: bool) {
        if leads != self.leads {
            let (node, config, proposals) = (self.node, self.config, self.proposals);
            let out = Output { ended: self.plans.lose(), ..Output::default() };
            *self = Self { leads, proposals, now: self.now, out, ..Self::new(node, config) };
        }
    }

    fn applied(&mut self, id: u64, outcome: Outcome) {
        let about = self.pending.iter().find(|(_, pending)| pending.id == id);
        let Some(about) = about.map(|(about, _)| about.clone()) else { return };
        self.pending.remove(&about);
        match (about, outcome) {
            (About::Office, Outcome::Office { office }) => self.office = Some(office),
            (About::Step(database, step), outcome) => {
                self.plans.answered((database, step), &outcome);
            }
            _ => {}
        }
    }

    /// Whatever it was, if it is still missing it is proposed again. A step of a plan cannot be waited for any more.
    fn unknown(&mut self, metadata: &Metadata, id: u64) {
        let about = self.pending.iter().find(|(_, pending)| pending.id == id);
        let Some(about) = about.map(|(about, _)| about.clone()) else { return };
        self.pending.remove(&about);
        if let About::Step(database, _) = about {
            self.begin_anew(metadata, database);
        }
    }

    /// Something for people to know, once.
    fn tell(&mut self, node: Option<NodeId>, happened: Happened) {
        self.propose(About::News(self.proposals), Command::Record { node, happened });
    }

    /// Whether it has the office; takes it if it leads and has none.
    fn check_office(&mut self, metadata: &Metadata) -> bool {
        let present = metadata.office().number;
        if self.office.is_some_and(|own| present > own) {
            // Somebody else has it: what is known here may be old. If consensus still says that this one leads,
            // it begins anew.
            self.set_leads(false);
            self.set_leads(true);
        }
        if self.office.is_some() {
            return self.office == Some(present);
        }
        let node = self.node;
        self.propose(About::Office, Command::TakeOffice { node, after: present });
        false
    }

    /// Looks at everything, and proposes what is missing.
    fn look(&mut self, metadata: &Metadata) {
        self.beat(metadata);
        self.look_at_leaves(metadata);
        for entry in metadata.databases().values() {
            for partition in entry.map.all() {
                self.look_at_record(metadata, entry, partition);
            }
            self.open(metadata, entry);
            self.look_at_reference(metadata, entry);
            self.forget_left(metadata, entry);
        }
        self.settle(metadata);
        self.go_on_with_plans(metadata);
    }

    fn beat(&mut self, metadata: &Metadata) {
        let others = metadata.nodes().iter().filter(|(node, _)| **node != self.node);
        self.detector.watch(others.map(|(node, found)| (*node, found.is_leaf())));
        let (beats, _) = self.detector.beat(self.now.at);
        self.out.messages.extend(beats.into_iter().map(|node| (node, Message::Beat)));
        for (node, found) in metadata.nodes() {
            if matches!(found.state, NodeState::Online | NodeState::Attaching) {
                self.away.remove(node);
            } else {
                self.away.entry(*node).or_insert(self.now.at);
            }
            if found.state != NodeState::Attaching {
                self.attaching.remove(node);
            }
            if self.detector.is_lost(*node) {
                self.seen.remove(node);
                self.waiting.remove(node);
            }
        }
    }

    fn answered(&mut self, node: NodeId, answer: Answer) {
        self.detector.answered(node, self.now.at);
        // Answers may overtake each other.
        let known = self.seen.get(&node).map(|seen| seen.incarnation);
        if known.is_none_or(|known| known <= answer.incarnation) {
            self.seen.insert(node, answer);
        }
    }

    /// The last answer of a leaf that is not lost, in the run that the metadata know or a later one.
    fn heard(&self, node: NodeId, known: &Node) -> Option<&Answer> {
        let seen = self.seen.get(&node)?;
        (seen.incarnation >= known.incarnation).then_some(seen)
    }

    /// The last answer of a leaf in just the run that was taken in. What a later run has counts when that is taken in.
    fn heard_as_known(&self, metadata: &Metadata, node: NodeId) -> Option<&Answer> {
        let known = metadata.nodes().get(&node)?;
        self.seen.get(&node).filter(|seen| seen.incarnation == known.incarnation)
    }

    /// Proposes, unless something about the same is under way.
    fn propose(&mut self, about: About, command: Command) {
        let (now, retry) = (self.now.at, self.config.retry);
        let waits = |pending: &Pending| now.saturating_sub(pending.since) < retry;
        if self.pending.get(&about).is_some_and(waits) {
            return;
        }
        self.proposals += 1;
        let (id, office) = (self.proposals, self.office.unwrap_or(0));
        self.pending.insert(about, Pending { id, since: now });
        let decree = Decree { office, at_ms: self.now.wall_ms, command };
        self.out.proposals.push(Proposal { id, decree });
    }

    /// A new database is open once all of its copies do what the record says.
    fn open(&mut self, metadata: &Metadata, entry: &DatabaseEntry) {
        if entry.state != DatabaseState::Creating {
            return;
        }
        let does = |partition: &Partition, leaf: &LeafId, copy: &Copy| {
            let name = copy_name(entry, partition, copy.instance);
            let answer = self.heard_as_known(metadata, (*leaf).into());
            let doing = answer.and_then(|answer| answer.held.get(&name)).map(|held| held.doing);
            if partition.master == Some(*leaf) {
                doing == Some(Doing::Online(partition.term))
            } else {
                doing == Some(Doing::Following)
                    && (!entry.map.is_sync(partition) || entry.map.is_promotable(partition, copy))
            }
        };
        let are_there = entry.map.all().all(|partition| {
            let mut copies = partition.copies.iter().filter(|(_, copy)| !copy.offline);
            partition.serving().is_some() && copies.all(|(leaf, copy)| does(partition, leaf, copy))
        });
        if are_there {
            let command = Command::Opened { name: entry.map.name.clone() };
            self.propose(About::Database(entry.number), command);
        }
    }

    fn requested(&mut self, metadata: &Metadata, copy: CopyName, request: Request) {
        let Some(entry) = metadata.database_of(copy.database) else { return };
        if self.office.is_none() || entry.map.partition(copy.ordinal).is_none() {
            return;
        }
        let (database, ordinal) = (entry.map.name.clone(), copy.ordinal);
        let command = Command::Publish { database, ordinal, request };
        self.propose(About::Record(copy.database, ordinal), command);
    }
}

/// The record of a partition at its version.
fn at(entry: &DatabaseEntry, partition: &Partition) -> At {
    At {
        database: entry.map.name.clone(),
        ordinal: partition.ordinal,
        term: partition.term,
        cfg: partition.cfg,
    }
}

fn copy_name(entry: &DatabaseEntry, partition: &Partition, instance: Instance) -> CopyName {
    CopyName { database: entry.number, ordinal: partition.ordinal, instance }
}

/// Whether a leaf's copies may be used.
fn is_there(metadata: &Metadata, leaf: LeafId) -> bool {
    let state = metadata.nodes().get(&leaf.into()).map(|node| node.state);
    matches!(state, Some(NodeState::Online | NodeState::Attaching))
}
