//! One simulated node: a clock, a disk, and a process that comes and goes.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use resprout_consensus::{
    Entry, Envelope, Index, NodeId, Proposal, ProposalId, Raft, ReadId, ReadProof, Snapshot,
    StoreId, Term, WriteId,
};

use super::image::Image;
use super::ledger::Ledger;
use super::machine::Machine;
use super::store::Store;
use crate::clock::NodeClock;

/// The moment after a leader has told another voter to stand, as a mark.
pub const SENT_TRANSFER: &str = "told another to stand";

/// Inputs that a stopped process finds when it goes on; more are lost, as sockets lose them.
const INBOX_MAX: usize = 1000;

/// See the module.
#[derive(Debug)]
pub struct Node {
    /// Its id.
    pub id: u64,
    /// Its data directory.
    pub store_id: StoreId,
    /// How many directories it has had.
    pub stores: u64,
    /// Its clock.
    pub clock: NodeClock,
    /// Its disk.
    pub store: Box<dyn Store>,
    /// What the checkers know of that.
    pub ledger: Ledger,
    /// Its disk is that much slower than usual.
    pub disk_slowness: u32,
    /// It was put back to an older state: what it has acknowledged before counts no more.
    pub restored: bool,
    /// A copy of its directory, for that.
    pub copy: Option<(StoreId, Box<dyn Store>, Ledger)>,
    /// The process, if it runs.
    pub process: Option<Process>,
    /// The process is stopped, until it is told to go on as often as it was stopped.
    pub stopped: u32,
    /// What waits for a stopped process.
    inbox: VecDeque<Input>,
    /// Which start of a process was the last, over all stores.
    pub starts: u64,
}

/// A running process.
#[derive(Debug)]
pub struct Process {
    /// The rules.
    pub raft: Raft,
    /// The state machine.
    pub machine: Machine,
    /// The term in which it leads.
    pub leads: Option<Term>,
    /// What the core has handed out and the machine has not taken.
    pub work: VecDeque<Work>,
    /// The last entry in the newest snapshot that it offered to the core.
    pub offered: Index,
    /// A run of the machine is on the agenda.
    pub works: bool,
    /// A flush is under way.
    pub flushes: bool,
    /// Its store has ended: it takes no part until it starts again (row D19).
    pub failed: bool,
    /// When the next tick is on the agenda.
    pub tick_at: Option<Duration>,
    /// Proposals that are gathered.
    pub batch: Vec<Proposal>,
    /// Who waits for a proposal.
    pub proposals: BTreeMap<ProposalId, Asker>,
    /// Who waits for the proof of a read, of which register, and what it must see.
    pub reads: BTreeMap<ReadId, (Asker, u8, Index)>,
    /// Reads that wait for an entry to be applied.
    pub proven: Vec<(ReadId, Index)>,
    /// The last number of a read in this run: the core tells runs apart.
    pub last_read: u64,
}

/// A client's question, by the client's number and which of its attempts it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asker {
    /// Which client.
    pub client: usize,
    /// Which attempt.
    pub attempt: u64,
}

/// Work for the state machine.
#[derive(Clone, Debug)]
pub enum Work {
    /// A state replaces what is there.
    Restore(Arc<Snapshot>),
    /// An entry.
    Apply(Entry),
}

/// What arrives at a node.
#[derive(Clone, Debug)]
pub enum Input {
    /// A message.
    Receive(Envelope),
    /// A client asks.
    Ask(Asker, Question),
    /// A connection was lost.
    Unreachable(NodeId),
    /// Time to look at the clock, as noted for that moment of the world.
    Tick(Duration),
    /// The disk has flushed.
    Flushed(WriteId),
    /// The state machine has time.
    Work,
    /// What was gathered is to be proposed.
    Propose,
}

/// What a client wants.
#[derive(Clone, Debug)]
pub enum Question {
    /// That it is written.
    Write(Proposal),
    /// A register.
    Read(u8, ReadProof),
}

impl Node {
    /// A node that does not run, with a store that holds `image`.
    #[must_use]
    pub fn new(id: u64, clock: NodeClock, image: Image, store: Box<dyn Store>) -> Self {
        Self {
            id,
            store_id: store_id(id, 1),
            stores: 1,
            clock,
            store,
            ledger: Ledger::new(image),
            disk_slowness: 1,
            restored: false,
            copy: None,
            process: None,
            stopped: 0,
            inbox: VecDeque::new(),
            starts: 0,
        }
    }

    /// Which run of its process this is, or was the last.
    #[must_use]
    pub fn run(&self) -> u64 {
        self.starts
    }

    /// Whether the member with this directory is one that can be relied on.
    #[must_use]
    pub fn is_healthy(&self, store: StoreId) -> bool {
        self.store_id == store && !self.restored
    }

    /// The process, if it runs, is not stopped, and takes part.
    #[must_use]
    pub fn active(&self) -> Option<&Process> {
        self.process.as_ref().filter(|process| self.stopped == 0 && !process.failed)
    }

    /// Keeps an input for later, if the process is stopped.
    pub fn keep(&mut self, input: Input) -> Option<Input> {
        if self.stopped == 0 || self.process.is_none() {
            return Some(input);
        }
        if self.inbox.len() < INBOX_MAX
            || matches!(input, Input::Flushed(_) | Input::Work | Input::Propose)
        {
            self.inbox.push_back(input);
        }
        None
    }

    /// What waits for it.
    pub fn take_inbox(&mut self) -> VecDeque<Input> {
        std::mem::take(&mut self.inbox)
    }

    /// An empty directory.
    pub fn wipe(&mut self, store: Box<dyn Store>) {
        self.stores += 1;
        self.store_id = store_id(self.id, self.stores);
        (self.store, self.ledger) = (store, Ledger::default());
        (self.restored, self.copy) = (false, None);
    }
}

/// The n-th directory of a node.
#[must_use]
pub fn store_id(node: u64, nth: u64) -> StoreId {
    StoreId(node * 1000 + nth)
}

impl Process {
    /// A process that has just started.
    #[must_use]
    pub fn new(raft: Raft, machine: Machine) -> Self {
        Self {
            raft,
            machine,
            leads: None,
            work: VecDeque::new(),
            offered: Index(0),
            works: false,
            flushes: false,
            failed: false,
            tick_at: None,
            batch: Vec::new(),
            proposals: BTreeMap::new(),
            reads: BTreeMap::new(),
            proven: Vec::new(),
            last_read: 0,
        }
    }
}
