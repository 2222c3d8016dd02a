//! Commands, and what becomes of them.

use std::collections::BTreeSet;

use resprout_replication::Request;
use resprout_wal::Lsn;
use thiserror::Error;

use super::event::Happened;
use super::{NodeState, Role};
use crate::execution;
use crate::{Address, Cfg, Group, Incarnation, Instance, LeafId, Mode, NodeId, Ordinal, Term};

/// A command as it is proposed. All but the first two commands of a cluster are decisions of the master
/// aggregator, and void once another has taken office (catalogue rule 3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decree {
    /// The office under which it was decided: the index of its [`Command::TakeOffice`].
    pub office: u64,
    /// When, milliseconds since 1970. For events only: nothing is decided by it.
    pub at_ms: u64,
    /// What.
    pub command: Command,
}

/// Names a partition's record at one version: a change holds only for that (catalogue rule 1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct At {
    /// The database.
    pub database: String,
    /// The partition.
    pub ordinal: Ordinal,
    /// The term that must be the record's.
    pub term: Term,
    /// The version that must be the record's.
    pub cfg: Cfg,
}

/// Where the copies of a new partition are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewHome {
    /// The master.
    pub master: LeafId,
    /// The replica.
    pub replica: Option<LeafId>,
}

/// What is asked of the state. See `docs/protocols/cluster.md` for the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// The cluster begins, with one voting aggregator.
    Found {
        /// Its identity, drawn at random.
        cluster: u128,
        /// Where the aggregator listens.
        address: Address,
    },
    /// An aggregator that leads decides from now on. Its office is the index of this command; that it was applied
    /// proves that a quorum followed it after it had asked. It is a voting member from then on.
    TakeOffice {
        /// Which.
        node: NodeId,
        /// The office that it follows: who comes late takes nothing.
        after: u64,
    },
    /// Redundancy and fan-out.
    SetMode {
        /// How copies are placed from now on.
        mode: Mode,
    },
    /// One more aggregator.
    AddAggregator {
        /// Where it listens.
        address: Address,
        /// Its part in consensus.
        role: Role,
        /// Its run.
        incarnation: Incarnation,
    },
    /// ADD LEAF.
    AddLeaf {
        /// Where it listens.
        address: Address,
        /// INTO GROUP.
        group: Option<Group>,
        /// Its run.
        incarnation: Incarnation,
    },
    /// An aggregator votes from now on, or does not.
    SetRole {
        /// Which.
        node: NodeId,
        /// What it is now.
        role: Role,
    },
    /// REMOVE LEAF, REMOVE AGGREGATOR.
    RemoveNode {
        /// Which.
        node: NodeId,
        /// Although it still has copies.
        force: bool,
    },
    /// A node goes from one state to another, in this run.
    SetNodeState {
        /// Which.
        node: NodeId,
        /// Where it must be.
        from: NodeState,
        /// Where it goes.
        to: NodeState,
        /// The run that is meant: an older one than is known is refused.
        incarnation: Incarnation,
    },
    /// CREATE DATABASE.
    CreateDatabase {
        /// Its name.
        name: String,
        /// Where its partitions are, by ordinal.
        homes: Vec<NewHome>,
        /// Commits wait for replicas.
        sync: bool,
        /// Commits wait for disks.
        durable: bool,
        /// Copies of each partition.
        redundancy: u32,
        /// With a partition for reference tables, a copy of it on each leaf that is there.
        reference: bool,
    },
    /// DROP DATABASE: its copies go wherever they are, also from leaves that come back later.
    DropDatabase {
        /// Its name.
        name: String,
    },
    /// ALTER DATABASE … REPLICATION. Replicas are asynchronous by it: to be waited for again they come in one by one.
    SetReplication {
        /// Its name.
        name: String,
        /// Commits wait for replicas.
        sync: bool,
    },
    /// All its copies are there.
    Opened {
        /// Its name.
        name: String,
    },
    /// Its tables, as bytes for others.
    SetSchema {
        /// Of which database.
        database: String,
        /// The version that is replaced.
        version: u64,
        /// The next one.
        bytes: Box<[u8]>,
    },
    /// Fences a mastership; somebody is elected afterwards (catalogue rule 9).
    Intend {
        /// Of which record.
        at: At,
    },
    /// A fenced and chosen copy becomes master.
    Elect {
        /// Of which record.
        at: At,
        /// Which copy.
        instance: Instance,
        /// In which run.
        incarnation: Incarnation,
        /// The copies that reported, this one too: others are not waited for.
        reported: BTreeSet<Instance>,
        /// Acknowledged writes may be gone.
        may_have_lost: bool,
        /// An operator insists on a copy that the record does not allow.
        forced: bool,
        /// Term of its last record.
        last_term: Term,
        /// End of its log.
        last: Lsn,
    },
    /// How a replica stands: its master asks, or the master aggregator for one that is lost (rules 5 to 7).
    Publish {
        /// Of which database.
        database: String,
        /// Which partition.
        ordinal: Ordinal,
        /// What is asked.
        request: Request,
    },
    /// A copy is back, in a run that the record shall name.
    TakeBack {
        /// Of which record.
        at: At,
        /// Which copy.
        instance: Instance,
        /// Its run.
        incarnation: Incarnation,
        /// It stopped in order, with everything flushed: what was said of it before is true of this run (rules 14
        /// and 15), and a master goes on in its term.
        clean: bool,
    },
    /// A returning copy that is of no use there leaves the record.
    Orphan {
        /// Of which record.
        at: At,
        /// Which copy.
        instance: Instance,
    },
    /// A step of a plan.
    Execute {
        /// Of which database.
        database: String,
        /// What.
        change: execution::Change,
    },
    /// SET GLOBAL of a variable that all nodes share.
    SetVariable {
        /// Its name.
        name: String,
        /// What it is; none for its default.
        value: Option<String>,
    },
    /// All accounts with their grants, as bytes for others.
    SetAccounts {
        /// The version that is replaced, 0 for none.
        version: u64,
        /// The next one.
        bytes: Box<[u8]>,
    },
    /// A partition that began anew, or with an orphan, has the tables of its database.
    Aligned {
        /// Of which database.
        database: String,
        /// Which partition.
        ordinal: Ordinal,
        /// In which term: it may have begun anew once more.
        term: Term,
    },
    /// Leaves do not have copies any more that left the record.
    ForgetLeft {
        /// Of which database.
        database: String,
        /// Which copies.
        copies: Vec<Instance>,
    },
    /// Something for people to know.
    Record {
        /// About which node.
        node: Option<NodeId>,
        /// What.
        happened: Happened,
    },
}

/// What became of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is done.
    Done,
    /// The office is taken, with that number.
    Office {
        /// The number.
        office: u64,
    },
    /// A node was added, with that number.
    Added {
        /// The number.
        node: NodeId,
    },
    /// A database was made, with that number.
    Created {
        /// The number.
        database: u32,
    },
    /// Nothing has changed.
    Refused {
        /// Why.
        refusal: Refusal,
    },
}

/// Why a command changed nothing.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Refusal {
    /// The bytes are no command of this version.
    #[error("the command is not understood: {text}")]
    Malformed {
        /// What is wrong.
        text: String,
    },
    /// The cluster exists.
    #[error("the cluster is founded already")]
    Founded,
    /// The cluster does not exist.
    #[error("the cluster is not founded yet")]
    NotFounded,
    /// Another aggregator decides by now.
    #[error("not the master aggregator any more: office {office} is taken since")]
    NotInOffice {
        /// The present office.
        office: u64,
    },
    /// There is no such node.
    #[error("there is no node {node}")]
    NoNode {
        /// Which was named.
        node: NodeId,
    },
    /// It is a node of the other kind.
    #[error("node {node} is not of that kind")]
    WrongKind {
        /// Which was named.
        node: NodeId,
    },
    /// The place is no place for a new node.
    #[error("{text}")]
    NotJoined {
        /// Why.
        text: String,
    },
    /// The last voter stays.
    #[error("node {node} is the last voting member")]
    LastVoter {
        /// Which.
        node: NodeId,
    },
    /// It has copies.
    #[error("node {node} still has {copies} copies; move them, or use FORCE")]
    HasCopies {
        /// Which.
        node: NodeId,
        /// How many.
        copies: u64,
    },
    /// The node is in another state, or cannot go there.
    #[error("node {node} is {state}")]
    NodeState {
        /// Which.
        node: NodeId,
        /// Its state.
        state: NodeState,
    },
    /// A newer run of the node is known.
    #[error("a newer run of node {node} is known: {incarnation}")]
    OlderRun {
        /// Which.
        node: NodeId,
        /// The run that is known.
        incarnation: Incarnation,
    },
    /// The name is in use.
    #[error("database '{name}' exists")]
    DatabaseExists {
        /// The name.
        name: String,
    },
    /// There is none of that name.
    #[error("there is no database '{name}'")]
    NoDatabase {
        /// The name.
        name: String,
    },
    /// That cannot be made so.
    #[error("{text}")]
    NotPossible {
        /// Why.
        text: String,
    },
    /// There is no such partition.
    #[error("there is no partition {ordinal}")]
    NoPartition {
        /// Which was named.
        ordinal: Ordinal,
    },
    /// Somebody else was first.
    #[error("the record is at term {term}, version {cfg} by now")]
    Changed {
        /// Its term.
        term: Term,
        /// Its version.
        cfg: Cfg,
    },
    /// What is known of that copy does not allow it.
    #[error("copy {instance} cannot: {text}")]
    NotEligible {
        /// Which.
        instance: Instance,
        /// Why.
        text: String,
    },
    /// A step of a plan that the record does not allow.
    #[error("{refused}")]
    Step {
        /// Why.
        refused: execution::Refused,
    },
    /// Somebody else changed it meanwhile.
    #[error("version {version} is there by now")]
    Version {
        /// What is there.
        version: u64,
    },
}
