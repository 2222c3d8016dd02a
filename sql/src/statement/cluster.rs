//! Statements about the cluster: leaves, partitions, rebalancing, aggregators, snapshots.

use sqlparser::tokenizer::Token;

use super::cursor::{Cursor, Parsing};
use super::error::ParseError;
use super::name::{NodeAddress, PartitionName, host_after_at};
use super::secret::Secret;

/// A statement about the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClusterStatement {
    /// `ADD LEAF user[:'password']@'host':port [INTO GROUP n]`.
    AddLeaf {
        /// Where it is and how to log in.
        node: Login,
        /// Its availability group, 1 or 2; the smallest if none is given.
        group: Option<u8>,
    },
    /// `REMOVE LEAF 'host':port [FORCE] [KILL]`, `REMOVE LEAVES (…) [FORCE]`.
    RemoveLeaves {
        /// Which ones.
        leaves: Vec<NodeAddress>,
        /// Without moving its partitions away.
        force: bool,
        /// Ends what is running.
        kill: bool,
    },
    /// `ATTACH LEAF {'host':port | ALL} [FORCE] [NO REBALANCE]`.
    AttachLeaf {
        /// Which one; all that are detached if none is given.
        leaf: Option<NodeAddress>,
        /// Although its data is in conflict with the cluster.
        force: bool,
        /// Whether its pair is then rebalanced.
        rebalance: bool,
    },
    /// `DETACH LEAF 'host':port [KILL] [ENSURE_PARTITION_SAFETY]`, `DETACH LEAVES (…) …`.
    DetachLeaves {
        /// Which ones.
        leaves: Vec<NodeAddress>,
        /// Ends what is running.
        kill: bool,
        /// Refuses to take away the last online instance of a partition.
        ensure_partition_safety: bool,
    },
    /// `{ATTACH | DETACH | CREATE | DROP} PARTITION db:n ON 'host':port`, with `FORCE` after CREATE,
    /// `COPY PARTITION db:n TO 'host':port`.
    Partition {
        /// What happens to it.
        action: PartitionAction,
        /// Which partition.
        partition: PartitionName,
        /// On which node.
        node: NodeAddress,
    },
    /// `PROMOTE PARTITION db:n ON 'host':port [WITH {DROP | REPOINT}]`.
    PromotePartition {
        /// Which partition.
        partition: PartitionName,
        /// The node that becomes its master.
        node: NodeAddress,
        /// What becomes of the old master.
        old_master: OldMaster,
    },
    /// `FAILOVER LEAF 'host':port`: only explained. Leaves fail by themselves.
    FailoverLeaf {
        /// Which one.
        leaf: NodeAddress,
    },
    /// `RESTORE REDUNDANCY ON db`.
    RestoreRedundancy {
        /// The database.
        database: String,
    },
    /// `REBALANCE PARTITIONS ON db [FULL] [FORCE] [KILL] [ENSURE_ONLINE_NODES]`.
    RebalancePartitions {
        /// The database.
        database: String,
        /// How.
        options: RebalanceOptions,
    },
    /// `REBALANCE ALL DATABASES [KILL] [ENSURE_ONLINE_NODES]`.
    RebalanceAllDatabases {
        /// How. Each database is rebalanced fully.
        options: RebalanceOptions,
    },
    /// `CLEAR ORPHAN DATABASES`.
    ClearOrphanDatabases,
    /// `BOOTSTRAP AGGREGATOR 'host'[:port]`.
    BootstrapAggregator {
        /// How other nodes reach it.
        host: String,
        /// Its port; the one it listens on if none is given.
        port: Option<u16>,
    },
    /// `ADD AGGREGATOR user[:'password']@'host':port [AS VOTING MEMBER]`.
    AddAggregator {
        /// Where it is and how to log in.
        node: Login,
        /// Whether it votes in elections.
        voting_member: bool,
    },
    /// `REMOVE AGGREGATOR 'host':port`.
    RemoveAggregator(NodeAddress),
    /// `PROMOTE AGGREGATOR 'host':port TO MASTER`.
    PromoteAggregator(NodeAddress),
    /// `AGGREGATOR SET AS MASTER`.
    AggregatorSetAsMaster,
    /// `SNAPSHOT [DATABASE] db`, `_SYNC_SNAPSHOT db`.
    Snapshot {
        /// The database.
        database: String,
        /// Whether to wait until replicas have taken theirs.
        replicas: bool,
    },
    /// `_SYNC_PARTITIONS [ON db] [lsn]`: waits until nodes have applied the metadata.
    SyncPartitions {
        /// The database, else all.
        database: Option<String>,
        /// The position of the metadata, else the newest.
        lsn: Option<u64>,
    },
}

impl ClusterStatement {
    /// Whether clients are told that one row was affected: by statements that add, remove, attach or detach leaves, or that
    /// move what is on them.
    #[must_use]
    pub fn counts_as_a_row(&self) -> bool {
        matches!(
            self,
            Self::AddLeaf { .. }
                | Self::RemoveLeaves { .. }
                | Self::AttachLeaf { .. }
                | Self::DetachLeaves { .. }
                | Self::RebalancePartitions { .. }
                | Self::RebalanceAllDatabases { .. }
                | Self::RestoreRedundancy { .. }
        )
    }
}

/// How to reach a node and log in there: `user[:'password']@'host':port`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    /// The user.
    pub user: String,
    /// The password.
    pub password: Option<Secret>,
    /// The node.
    pub node: NodeAddress,
}

impl Login {
    fn parse(cursor: &mut Cursor<'_>) -> Parsing<Self> {
        let user = cursor.name_or_string()?;
        let password = match cursor.symbol(&Token::Colon) {
            true => Some(Secret::new(cursor.name_or_string()?)),
            false => None,
        };
        let host = host_after_at(cursor)?.ok_or_else(|| cursor.unexpected())?;
        Ok(Self { user, password, node: NodeAddress::with_port(host, cursor)? })
    }
}

/// What happens to an instance of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PartitionAction {
    /// An orphan becomes an instance.
    Attach,
    /// An instance becomes an orphan.
    Detach,
    /// An empty instance is made.
    Create {
        /// Although orphans of the partition are known.
        force: bool,
    },
    /// A replica is removed with its files.
    Drop,
    /// A replica is made of the master.
    Copy,
}

/// What becomes of the old master of a partition that is promoted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OldMaster {
    /// Nothing was said.
    #[default]
    Unspecified,
    /// It is dropped.
    Drop,
    /// It becomes a replica of the new one.
    Repoint,
}

/// How to rebalance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RebalanceOptions {
    /// Also moves what is good enough.
    pub full: bool,
    /// Makes empty partitions of those that have no instance.
    pub force: bool,
    /// Ends what is running.
    pub kill: bool,
    /// Refuses unless all leaves are online.
    pub ensure_online_nodes: bool,
}

impl RebalanceOptions {
    fn parse(cursor: &mut Cursor<'_>) -> Self {
        let mut options = Self::default();
        let words = ["FULL", "FORCE", "KILL", "ENSURE_ONLINE_NODES"];
        while let Some(word) = cursor.one_of(&words) {
            match word {
                "FULL" => options.full = true,
                "FORCE" => options.force = true,
                "KILL" => options.kill = true,
                _ => options.ensure_online_nodes = true,
            }
        }
        options
    }
}

/// A statement about the cluster, if one is next.
pub(super) fn parse(cursor: &mut Cursor<'_>) -> Parsing<Option<ClusterStatement>> {
    const STARTS: &[&str] = &[
        "ADD LEAF",
        "REMOVE LEAF",
        "REMOVE LEAVES",
        "ATTACH LEAF",
        "DETACH LEAF",
        "DETACH LEAVES",
        "ADD AGGREGATOR",
        "REMOVE AGGREGATOR",
        "PROMOTE AGGREGATOR",
        "BOOTSTRAP AGGREGATOR",
        "AGGREGATOR SET AS MASTER",
        "SNAPSHOT DATABASE",
        "SNAPSHOT",
        "_SYNC_SNAPSHOT",
        "_SYNC_PARTITIONS",
    ];
    if let Some(plan) = planned(cursor)? {
        return Ok(Some(plan));
    }
    if let Some(partition) = partition(cursor)? {
        return Ok(Some(partition));
    }
    let Some(start) = cursor.one_of(STARTS) else { return Ok(None) };
    let statement = match start {
        "ADD LEAF" => add_leaf(cursor)?,
        "REMOVE LEAF" | "REMOVE LEAVES" => remove_leaves(cursor, start.ends_with('S'))?,
        "ATTACH LEAF" => attach_leaf(cursor)?,
        "DETACH LEAF" | "DETACH LEAVES" => detach_leaves(cursor, start.ends_with('S'))?,
        "ADD AGGREGATOR" => {
            let node = Login::parse(cursor)?;
            let voting_member = cursor.words("AS VOTING MEMBER");
            ClusterStatement::AddAggregator { node, voting_member }
        }
        "REMOVE AGGREGATOR" => ClusterStatement::RemoveAggregator(NodeAddress::parse(cursor)?),
        "PROMOTE AGGREGATOR" => {
            let node = NodeAddress::parse(cursor)?;
            cursor.expect_words("TO MASTER")?;
            ClusterStatement::PromoteAggregator(node)
        }
        "BOOTSTRAP AGGREGATOR" => bootstrap(cursor)?,
        "AGGREGATOR SET AS MASTER" => ClusterStatement::AggregatorSetAsMaster,
        "_SYNC_PARTITIONS" => {
            let database = if cursor.word("ON") { Some(cursor.name()?) } else { None };
            let lsn = if cursor.at_end() { None } else { Some(cursor.number()?) };
            ClusterStatement::SyncPartitions { database, lsn }
        }
        _ => {
            let database = cursor.name()?;
            ClusterStatement::Snapshot { database, replicas: start == "_SYNC_SNAPSHOT" }
        }
    };
    Ok(Some(statement))
}

/// What EXPLAIN shows of the cluster, if that is next: a statement's plan, or what the loss of a leaf would do.
pub(super) fn explained(cursor: &mut Cursor<'_>) -> Parsing<Option<ClusterStatement>> {
    if cursor.words("FAILOVER LEAF") {
        return Ok(Some(ClusterStatement::FailoverLeaf { leaf: NodeAddress::parse(cursor)? }));
    }
    planned(cursor)
}

/// A statement whose plan EXPLAIN can show, if one is next.
fn planned(cursor: &mut Cursor<'_>) -> Parsing<Option<ClusterStatement>> {
    const STARTS: &[&str] = &[
        "RESTORE REDUNDANCY ON",
        "REBALANCE PARTITIONS ON",
        "REBALANCE ALL DATABASES",
        "CLEAR ORPHAN DATABASES",
    ];
    let Some(start) = cursor.one_of(STARTS) else { return Ok(None) };
    Ok(Some(match start {
        "RESTORE REDUNDANCY ON" => ClusterStatement::RestoreRedundancy { database: cursor.name()? },
        "REBALANCE PARTITIONS ON" => {
            let database = cursor.name()?;
            let options = RebalanceOptions::parse(cursor);
            ClusterStatement::RebalancePartitions { database, options }
        }
        "REBALANCE ALL DATABASES" => {
            let options = RebalanceOptions::parse(cursor);
            if options.force || options.full {
                return Err(ParseError::Argument("REBALANCE ALL DATABASES"));
            }
            ClusterStatement::RebalanceAllDatabases { options }
        }
        _ => ClusterStatement::ClearOrphanDatabases,
    }))
}

fn partition(cursor: &mut Cursor<'_>) -> Parsing<Option<ClusterStatement>> {
    const STARTS: &[&str] = &[
        "ATTACH PARTITION",
        "DETACH PARTITION",
        "CREATE PARTITION",
        "DROP PARTITION",
        "COPY PARTITION",
        "PROMOTE PARTITION",
    ];
    let Some(start) = cursor.one_of(STARTS) else { return Ok(None) };
    let partition = PartitionName::parse(cursor)?;
    cursor.expect_words(if start == "COPY PARTITION" { "TO" } else { "ON" })?;
    let node = NodeAddress::parse(cursor)?;
    let action = match start {
        "ATTACH PARTITION" => PartitionAction::Attach,
        "DETACH PARTITION" => PartitionAction::Detach,
        "CREATE PARTITION" => PartitionAction::Create { force: cursor.word("FORCE") },
        "DROP PARTITION" => PartitionAction::Drop,
        "COPY PARTITION" => PartitionAction::Copy,
        _ => {
            let old_master = match cursor.one_of(&["WITH DROP", "WITH REPOINT"]) {
                Some("WITH DROP") => OldMaster::Drop,
                Some(_) => OldMaster::Repoint,
                None => OldMaster::Unspecified,
            };
            return Ok(Some(ClusterStatement::PromotePartition { partition, node, old_master }));
        }
    };
    Ok(Some(ClusterStatement::Partition { action, partition, node }))
}

fn add_leaf(cursor: &mut Cursor<'_>) -> Parsing<ClusterStatement> {
    let node = Login::parse(cursor)?;
    let group = match cursor.words("INTO GROUP") {
        true => {
            let group = u8::try_from(cursor.number()?).ok().filter(|group| (1..=2).contains(group));
            Some(group.ok_or(ParseError::Argument("INTO GROUP"))?)
        }
        false => None,
    };
    Ok(ClusterStatement::AddLeaf { node, group })
}

fn leaves(cursor: &mut Cursor<'_>, several: bool) -> Parsing<Vec<NodeAddress>> {
    if !several {
        return Ok(vec![NodeAddress::parse(cursor)?]);
    }
    let leaves = cursor.in_parentheses(NodeAddress::parse)?;
    if leaves.is_empty() { Err(cursor.unexpected()) } else { Ok(leaves) }
}

fn remove_leaves(cursor: &mut Cursor<'_>, several: bool) -> Parsing<ClusterStatement> {
    let leaves = leaves(cursor, several)?;
    let (mut force, mut kill) = (false, false);
    while let Some(word) = cursor.one_of(&["FORCE", "KILL"]) {
        *(if word == "FORCE" { &mut force } else { &mut kill }) = true;
    }
    Ok(ClusterStatement::RemoveLeaves { leaves, force, kill })
}

fn attach_leaf(cursor: &mut Cursor<'_>) -> Parsing<ClusterStatement> {
    let leaf = if cursor.word("ALL") { None } else { Some(NodeAddress::parse(cursor)?) };
    let (mut force, mut rebalance) = (false, true);
    while let Some(word) = cursor.one_of(&["FORCE", "NO REBALANCE"]) {
        match word {
            "FORCE" => force = true,
            _ => rebalance = false,
        }
    }
    Ok(ClusterStatement::AttachLeaf { leaf, force, rebalance })
}

fn detach_leaves(cursor: &mut Cursor<'_>, several: bool) -> Parsing<ClusterStatement> {
    let leaves = leaves(cursor, several)?;
    let (mut kill, mut safety) = (false, false);
    while let Some(word) = cursor.one_of(&["KILL", "ENSURE_PARTITION_SAFETY"]) {
        *(if word == "KILL" { &mut kill } else { &mut safety }) = true;
    }
    Ok(ClusterStatement::DetachLeaves { leaves, kill, ensure_partition_safety: safety })
}

fn bootstrap(cursor: &mut Cursor<'_>) -> Parsing<ClusterStatement> {
    let host = cursor.name_or_string()?;
    let given = *cursor.peek() == Token::Colon;
    let node = NodeAddress::with_port(host, cursor)?;
    let port = given.then_some(node.port);
    Ok(ClusterStatement::BootstrapAggregator { host: node.host, port })
}
