//! What the cluster agrees on: a state that committed commands change, the same on every node.
//!
//! ```text
//!   master aggregator ──Decree──► consensus ──committed──► Metadata::apply ──► Outcome
//!                                                │ on every node, in one order
//!                                                ▼
//!                                reconciliation, routing, placement, views
//! ```
//!
//! No time, no randomness, no unordered maps. A command that does not fit is refused with a reason and changes
//! nothing; it never panics, because it is in every node's log. What a partition's record says changes by
//! compare-and-set on `(term, cfg)` only (catalogue rule 1). Every command but the first two of a cluster carries
//! the office under which it was decided, and is void once another aggregator has taken office: so what a
//! deposed master aggregator has on its way does nothing, however late it comes (rule 3).
//!
//! Terms and instances are counted per database, as clients see them: instances from 1, masters first; terms from
//! 2, and every later mastership takes the next.

use std::collections::{BTreeMap, VecDeque};

use crate::{
    Address, Database, Instance, Leaf, LeafId, Mode, NodeId, Ordinal, Partition, Stamp, Standing,
};

pub use bytes::CodecError;
pub use codec::VERSION;
pub use command::{At, Command, Decree, NewHome, Outcome, Refusal};
pub use event::{EVENTS_MAX, Event, Happened};
pub use left::{LEFT_MAX, Left, LeftBy};
pub use node::{Kind, Node, NodeState, Role};

pub(crate) mod bytes;
pub(crate) mod codec;
mod command;
mod databases;
mod event;
mod left;
mod machine;
mod node;
mod nodes;
mod records;

/// Who decides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Office {
    /// The index of the command that took it; 0 before the first.
    pub number: u64,
    /// Which aggregator has it.
    pub holder: Option<NodeId>,
}

/// Bytes that mean something to others only, and how often they were replaced.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Versioned {
    /// Counted from 1.
    pub version: u64,
    /// They.
    pub bytes: Box<[u8]>,
}

impl Versioned {
    /// Puts other bytes in their place, if they are still of this version.
    fn replace(&mut self, version: u64, bytes: &[u8]) -> Result<(), Refusal> {
        if self.version != version {
            return Err(Refusal::Version { version: self.version });
        }
        *self = Self { version: version + 1, bytes: bytes.into() };
        Ok(())
    }
}

/// How far a database is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DatabaseState {
    /// Its copies are being made.
    #[default]
    Creating,
    /// They were all there.
    Open,
}

/// A database with everything that is said of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DatabaseEntry {
    /// Its number: never used again, so that a copy of a dropped database is known for one.
    pub number: u32,
    /// Commits wait for disks.
    pub durable: bool,
    /// Copies of each partition.
    pub redundancy: u32,
    /// How far it is.
    pub state: DatabaseState,
    /// Its tables.
    pub schema: Versioned,
    /// Its partitions.
    pub map: Database,
    /// Copies that left the record, oldest first, until their leaves do not have them.
    pub left: Vec<Left>,
}

/// The state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metadata {
    cluster: u128,
    applied: u64,
    office: Office,
    mode: Option<Mode>,
    next_node: u64,
    next_database: u32,
    nodes: BTreeMap<NodeId, Node>,
    databases: BTreeMap<String, DatabaseEntry>,
    variables: BTreeMap<String, String>,
    accounts: Versioned,
    events: VecDeque<Event>,
    /// Where leaves listened that were removed with copies, as long as a note names them.
    removed: BTreeMap<NodeId, Address>,
    /// A bug, for the tests that must find it.
    #[cfg(any(test, feature = "testing"))]
    planted: Option<crate::testing::Planted>,
}

#[cfg(any(test, feature = "testing"))]
impl Metadata {
    /// An empty state that has a bug.
    #[must_use]
    pub fn with_planted(planted: Option<crate::testing::Planted>) -> Self {
        Self { planted, ..Self::default() }
    }

    /// Which one.
    #[must_use]
    pub fn planted(&self) -> Option<crate::testing::Planted> {
        self.planted
    }
}

impl Metadata {
    /// Applies a committed command. What is refused has changed nothing but [`Metadata::applied`].
    pub fn apply(&mut self, index: u64, decree: &Decree) -> Outcome {
        self.applied = index;
        match self.check_office(decree).and_then(|()| self.carry_out(index, decree)) {
            Ok(outcome) => outcome,
            Err(refusal) => Outcome::Refused { refusal },
        }
    }

    fn check_office(&self, decree: &Decree) -> Result<(), Refusal> {
        let is_first = matches!(decree.command, Command::Found { .. });
        if is_first != self.nodes.is_empty() {
            return Err(if is_first { Refusal::Founded } else { Refusal::NotFounded });
        }
        let is_free = is_first || matches!(decree.command, Command::TakeOffice { .. });
        if !is_free && decree.office != self.office.number && !planted!(self, DecideOutOfOffice) {
            return Err(Refusal::NotInOffice { office: self.office.number });
        }
        Ok(())
    }

    fn carry_out(&mut self, index: u64, decree: &Decree) -> Result<Outcome, Refusal> {
        let news = News { index, at_ms: decree.at_ms };
        let done = |result: Result<(), Refusal>| result.map(|()| Outcome::Done);
        match &decree.command {
            Command::Found { cluster, address } => self.found(*cluster, address),
            Command::TakeOffice { node, after } => self.take_office(*node, *after, news),
            Command::AddAggregator { address, role, incarnation } => {
                self.add_aggregator((address, *incarnation), *role, news)
            }
            Command::AddLeaf { address, group, incarnation } => {
                self.add_leaf((address, *incarnation), *group, news)
            }
            Command::SetRole { node, role } => done(self.set_role(*node, *role)),
            Command::RemoveNode { node, force } => done(self.remove_node(*node, *force, news)),
            Command::SetNodeState { node, from, to, incarnation } => {
                done(self.set_node_state((*node, *incarnation), (*from, *to), news))
            }
            Command::SetMode { mode } => {
                self.mode = Some(*mode);
                Ok(Outcome::Done)
            }
            Command::Record { node, happened } => {
                self.tell(news, *node, happened.clone());
                Ok(Outcome::Done)
            }
            Command::SetVariable { name, value } => done(self.set_variable(name, value.as_ref())),
            Command::SetAccounts { version, bytes } => done(self.accounts.replace(*version, bytes)),
            command => self.carry_out_on_database(command, news),
        }
    }

    fn set_variable(&mut self, name: &str, value: Option<&String>) -> Result<(), Refusal> {
        if let Some(mode) = self.mode_by(name, value.map(String::as_str))? {
            self.mode = Some(mode);
        }
        match value {
            Some(value) => self.variables.insert(name.to_owned(), value.clone()),
            None => self.variables.remove(name),
        };
        Ok(())
    }

    fn tell(&mut self, news: News, node: Option<NodeId>, happened: Happened) {
        let event = Event { index: news.index, at_ms: news.at_ms, node, happened };
        event::record(&mut self.events, event);
    }

    /// The decision that a command is, for the copies: newer offices and later commands have greater ones.
    fn stamp(&self, news: News) -> Stamp {
        Stamp { term: self.office.number, index: news.index }
    }
}

/// Where and when a command is applied.
#[derive(Clone, Copy, Debug)]
struct News {
    index: u64,
    at_ms: u64,
}

/// What is read.
impl Metadata {
    /// The cluster's identity; 0 before it is founded.
    #[must_use]
    pub fn cluster(&self) -> u128 {
        self.cluster
    }

    /// The newest command that was applied.
    #[must_use]
    pub fn applied(&self) -> u64 {
        self.applied
    }

    /// Who decides.
    #[must_use]
    pub fn office(&self) -> Office {
        self.office
    }

    /// How copies are placed: one of each, unless it was set.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.mode.unwrap_or(Mode::Single)
    }

    /// All nodes.
    #[must_use]
    pub fn nodes(&self) -> &BTreeMap<NodeId, Node> {
        &self.nodes
    }

    /// All databases.
    #[must_use]
    pub fn databases(&self) -> &BTreeMap<String, DatabaseEntry> {
        &self.databases
    }

    /// The database of a number.
    #[must_use]
    pub fn database_of(&self, number: u32) -> Option<&DatabaseEntry> {
        self.databases.values().find(|entry| entry.number == number)
    }

    /// The copy that is master of a partition.
    #[must_use]
    pub fn master_of(&self, database: u32, ordinal: Ordinal) -> Option<Instance> {
        let partition = self.database_of(database)?.map.partition(ordinal)?;
        Some(partition.copies.get(&partition.master?)?.instance)
    }

    /// Whether a database of that number existed and was dropped. A number that was never given out is of
    /// metadata that are newer than these: of such a copy nothing is known (row M16).
    #[must_use]
    pub fn was_dropped(&self, number: u32) -> bool {
        number < self.next_database && self.database_of(number).is_none()
    }

    /// A partition.
    #[must_use]
    pub fn partition(&self, database: &str, ordinal: Ordinal) -> Option<&Partition> {
        self.databases.get(database)?.map.partition(ordinal)
    }

    /// Variables that all nodes share and that were set.
    #[must_use]
    pub fn variables(&self) -> &BTreeMap<String, String> {
        &self.variables
    }

    /// All accounts with their grants; version 0 if aggregators still have their own.
    #[must_use]
    pub fn accounts(&self) -> &Versioned {
        &self.accounts
    }

    /// The newest events, oldest first.
    #[must_use]
    pub fn events(&self) -> &VecDeque<Event> {
        &self.events
    }

    /// Where leaves listened that were removed with copies which nobody has looked for since.
    #[must_use]
    pub fn removed(&self) -> &BTreeMap<NodeId, Address> {
        &self.removed
    }

    /// The leaves as placement sees them.
    #[must_use]
    pub fn leaves(&self) -> Vec<Leaf> {
        let leaf = |(id, node): (&NodeId, &Node)| {
            let Kind::Leaf { group, pair } = node.kind else { return None };
            let standing = match node.state {
                NodeState::Online => Standing::Online,
                NodeState::Attaching => Standing::Attaching,
                _ => Standing::Away,
            };
            let (id, pair) = (LeafId::from(*id), pair.map(LeafId::from));
            Some(Leaf { id, address: node.address.clone(), group, pair, standing })
        };
        self.nodes.iter().filter_map(leaf).collect()
    }

    /// Copies that the record has on a node, with the database, the partition and whether it is master.
    pub fn copies_on(
        &self,
        node: NodeId,
    ) -> impl Iterator<Item = (&DatabaseEntry, &Partition, &crate::Copy)> {
        let leaf = LeafId::from(node);
        self.databases.values().flat_map(move |entry| {
            entry.map.all().filter_map(move |partition| {
                partition.copies.get(&leaf).map(|copy| (entry, partition, copy))
            })
        })
    }
}
