//! What a node says of itself and of what it knows of the cluster, at one moment: for probes, metrics and people.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use resprout_cluster::manager::Phase;
use resprout_cluster::metadata::{Kind, Metadata, NodeState};
use resprout_cluster::reconcile::CopyName;
use resprout_cluster::{Address, Following, LeafId, NodeId};
use resprout_consensus::node::Handle;
use resprout_engine::{Engine, State as Stored};
use resprout_replication::State;
use resprout_replication::driver::CopyStatus;

use crate::copies::Copies;
use crate::member::NodeKind;
use crate::state::{Machine, Shared};

/// Looks at a node while it runs, without keeping it.
#[derive(Clone)]
pub struct Observer {
    pub(crate) node: NodeId,
    pub(crate) kind: NodeKind,
    pub(crate) run: u64,
    pub(crate) address: Address,
    pub(crate) metadata: Shared,
    pub(crate) consensus: Handle<Machine>,
    pub(crate) copies: Option<Arc<Copies>>,
}

impl fmt::Debug for Observer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Observer({}, {:?})", self.node, self.kind)
    }
}

/// A node at one moment. What is of the cluster is as it is known here, which may be late.
#[derive(Clone, Debug)]
pub struct Status {
    /// The cluster's identity; 0 before the metadata are here.
    pub cluster: u128,
    /// The node's number.
    pub node: NodeId,
    /// What it is for.
    pub kind: NodeKind,
    /// Where clients reach it.
    pub address: Address,
    /// How often its process was started.
    pub run: u64,
    /// What the cluster takes it for; nothing before the metadata that name it are here.
    pub state: Option<NodeState>,
    /// How far its own recovery is; an aggregator has none.
    pub phase: Phase,
    /// Of an aggregator, whether it votes.
    pub is_voter: bool,
    /// Of a leaf, its availability group.
    pub group: Option<u32>,
    /// The master aggregator.
    pub master: Option<(NodeId, Address)>,
    /// Whether this node is it, and leads consensus.
    pub is_master: bool,
    /// Term of consensus.
    pub term: u64,
    /// Whether it knows who leads.
    pub has_leader: bool,
    /// Aggregators that vote.
    pub voters: usize,
    /// Index of the newest command of the metadata that was applied here.
    pub applied: u64,
    /// Of a leaf, the newest that it has fulfilled.
    pub fulfilled: Option<u64>,
    /// Of a leaf, its copies.
    pub copies: Vec<CopyShown>,
    /// The databases, by name.
    pub databases: Vec<DatabaseShown>,
}

/// A database as the metadata have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatabaseShown {
    /// Its name.
    pub name: String,
    /// Partitions.
    pub partitions: usize,
    /// Those whose master is nobody, or on a leaf that is gone.
    pub without_master: usize,
    /// Those with fewer usable copies than the database is to have.
    pub under_replicated: usize,
}

/// One copy on a leaf.
#[derive(Clone, Debug)]
pub struct CopyShown {
    /// Its database; empty if the metadata do not know it.
    pub database: String,
    /// Its partition.
    pub ordinal: u32,
    /// Which copy of it.
    pub instance: u64,
    /// `Master` or `Replica` as the record has it, `Orphan` if it has another copy here, or none.
    pub role: &'static str,
    /// How it follows, as the record has it: `sync`, `ready` or `async`; of a master nothing.
    pub following: &'static str,
    /// What it does.
    pub state: &'static str,
    /// Term of its last record.
    pub term: u64,
    /// Where its log ends.
    pub end: u64,
    /// Known acknowledged.
    pub committed: u64,
    /// Bytes that have come and are not applied.
    pub unapplied_bytes: u64,
    /// On a master, the others.
    pub replicas: Vec<ReplicaShown>,
}

/// How far another copy is, as its master knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplicaShown {
    /// Its leaf, if the record has one.
    pub node: Option<NodeId>,
    /// Which copy.
    pub instance: u64,
    /// What counts of it.
    pub position: u64,
    /// Bytes of the log that it lacks.
    pub lag_bytes: u64,
    /// For how long it has lacked something.
    pub behind_for: Duration,
}

impl Observer {
    /// On a leaf, the engine with its copies.
    #[must_use]
    pub fn engine(&self) -> Option<&Engine> {
        self.copies.as_ref()?.engine()
    }

    /// The node now.
    #[must_use]
    pub fn status(&self) -> Status {
        let (term, leader, voters) = {
            let watch = self.consensus.watch();
            let state = watch.borrow();
            (state.term.0, state.leader, state.membership.1.voters().count())
        };
        let held = self.copies.as_ref().map(|copies| copies.statuses()).unwrap_or_default();
        let metadata = self.metadata.read();
        let holder = metadata.office().holder;
        let master = holder.and_then(|id| Some((id, metadata.nodes().get(&id)?.address.clone())));
        let own = metadata.nodes().get(&self.node);
        let copies = held.into_iter();
        let copies =
            copies.map(|(name, stored, driven)| self.copy(&metadata, name, (stored, driven)));
        Status {
            cluster: metadata.cluster(),
            node: self.node,
            kind: self.kind,
            address: self.address.clone(),
            run: self.run,
            state: own.map(|node| node.state),
            phase: self.copies.as_ref().map_or(Phase::Ready, |copies| copies.phase()),
            is_voter: metadata.votes(self.node),
            group: own.and_then(|node| match node.kind {
                Kind::Leaf { group, .. } => Some(group.number()),
                Kind::Aggregator { .. } => None,
            }),
            is_master: leader == Some(self.node) && holder == Some(self.node),
            master,
            term,
            has_leader: leader.is_some(),
            voters,
            applied: metadata.applied(),
            fulfilled: self.copies.as_ref().map(|copies| copies.progress().fulfilled),
            copies: copies.collect(),
            databases: databases(&metadata),
        }
    }

    fn copy(
        &self,
        metadata: &Metadata,
        name: CopyName,
        (stored, driven): (Stored, Option<CopyStatus>),
    ) -> CopyShown {
        let entry = metadata.database_of(name.database);
        let partition = entry.and_then(|entry| entry.map.partition(name.ordinal));
        let leaf = LeafId::from(self.node);
        let recorded = partition.and_then(|partition| partition.copies.get(&leaf));
        let recorded = recorded.filter(|copy| copy.instance == name.instance);
        let is_master = partition.is_some_and(|partition| partition.master == Some(leaf));
        let (role, following) = match recorded {
            None => ("Orphan", ""),
            Some(_) if is_master => ("Master", ""),
            Some(copy) => ("Replica", text(copy.following)),
        };
        let node_of = |instance| {
            let copies = partition.into_iter().flat_map(|partition| &partition.copies);
            let mut found = copies.filter(|(_, copy)| copy.instance == instance);
            found.next().map(|(leaf, _)| NodeId::from(*leaf))
        };
        let members = driven.iter().flat_map(|status| &status.members);
        let replicas = members.map(|member| ReplicaShown {
            node: node_of(member.instance),
            instance: member.instance.0,
            position: member.position.0,
            lag_bytes: member.lag,
            behind_for: member.behind_for,
        });
        CopyShown {
            database: entry.map(|entry| entry.map.name.clone()).unwrap_or_default(),
            ordinal: name.ordinal.0,
            instance: name.instance.0,
            role,
            following,
            state: doing(stored, driven.as_ref()),
            term: driven.as_ref().map_or(0, |status| status.last_term.0),
            end: driven.as_ref().map_or(0, |status| status.end.0),
            committed: driven.as_ref().map_or(0, |status| status.committed.0),
            unapplied_bytes: driven.as_ref().map_or(0, |status| status.unapplied_bytes),
            replicas: replicas.collect(),
        }
    }
}

fn text(following: Following) -> &'static str {
    match following {
        Following::Async => "async",
        Following::Ready => "ready",
        Following::Sync => "sync",
    }
}

/// The word for what a copy does.
fn doing(stored: Stored, driven: Option<&CopyStatus>) -> &'static str {
    let Some(status) = driven else {
        return if stored == Stored::Unrecoverable { "unrecoverable" } else { "recovering" };
    };
    match status.state {
        State::Pending => "pending",
        State::Connecting => "connecting",
        State::Provisioning { .. } => "provisioning",
        State::Replicating => "replicating",
        State::Transitioning(_) => "transitioning",
        State::Online(_) => "online",
        State::Fenced(_) => "fenced",
        State::Halted(_) => "unrecoverable",
    }
}

fn databases(metadata: &Metadata) -> Vec<DatabaseShown> {
    let shown = |(name, entry): (&String, &resprout_cluster::metadata::DatabaseEntry)| {
        let partitions = &entry.map.partitions;
        let wanted = usize::try_from(entry.redundancy).unwrap_or(usize::MAX);
        DatabaseShown {
            name: name.clone(),
            partitions: partitions.len(),
            without_master: entry.map.all().filter(|one| one.serving().is_none()).count(),
            under_replicated: partitions.iter().filter(|one| one.usable().count() < wanted).count(),
        }
    };
    metadata.databases().iter().map(shown).collect()
}
