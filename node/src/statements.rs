//! Statements about the cluster, and what it shows of itself.

use resprout_cluster::control::{Operation, OrphanAct};
use resprout_cluster::metadata::{Kind, Metadata, Node, NodeState, Role};
use resprout_cluster::{Address, Copy, Following, Group, LeafId, NodeId, Ordinal, Partition};
use resprout_engine::table::Value;
use resprout_sql::error::{Code, SqlError};
use resprout_sql::place::{ClusterView, Listed, Shown};
use resprout_sql::statement::{
    ClusterStatement, Login, NodeAddress, PartitionAction, PartitionName,
};

use crate::asked::leaf_with;
use crate::surveyed::{database_status, databases_extended};
use crate::views;

/// How a node is reached from here.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Reached {
    /// Connections that are open.
    pub(crate) connections: u64,
    /// Of the last sign of life.
    pub(crate) latency_ms: Option<f64>,
    /// It was asked, and did not answer.
    pub(crate) is_silent: bool,
}

pub(crate) fn text(text: impl Into<String>) -> Value {
    Value::Text(text.into())
}

pub(crate) fn number(number: impl Into<u64>) -> Value {
    Value::UInt(number.into())
}

fn address(node: &NodeAddress) -> Address {
    Address { host: node.host.clone(), port: node.port }
}

fn address_of(login: &Login) -> Address {
    address(&login.node)
}

/// What the master aggregator is to do for a statement, in this order.
///
/// # Errors
/// 1235 for what cannot be done yet; what is wrong with it.
pub(crate) fn operations(
    statement: &ClusterStatement,
    metadata: &Metadata,
) -> Result<Vec<Operation>, SqlError> {
    Ok(match statement {
        ClusterStatement::AddLeaf { node, group } => {
            let group = match group {
                None => None,
                Some(1) => Some(Group::One),
                Some(2) => Some(Group::Two),
                Some(other) => {
                    let why = format!("there is no availability group {other}: write 1 or 2");
                    return Err(SqlError::new(Code::WRONG_ARGUMENTS, why));
                }
            };
            vec![Operation::AddLeaf { address: address_of(node), group }]
        }
        ClusterStatement::AddAggregator { node, voting_member } => {
            let role = if *voting_member { Role::Voter } else { Role::Learner };
            vec![Operation::AddAggregator { address: address_of(node), role }]
        }
        ClusterStatement::RemoveLeaves { leaves, force, .. } => {
            let remove = |leaf| Operation::RemoveNode { address: address(leaf), force: *force };
            leaves.iter().map(remove).collect()
        }
        ClusterStatement::RemoveAggregator(node) => {
            vec![Operation::RemoveNode { address: address(node), force: false }]
        }
        ClusterStatement::AttachLeaf { leaf, force, rebalance } => {
            let (force, rebalance) = (*force, *rebalance);
            let attach = |address| Operation::AttachLeaf { address, force, rebalance };
            match leaf {
                Some(leaf) => vec![attach(address(leaf))],
                None => {
                    let nodes = metadata.nodes().values();
                    let detached =
                        nodes.filter(|node| node.is_leaf() && node.state == NodeState::Detached);
                    detached.map(|node| attach(node.address.clone())).collect()
                }
            }
        }
        ClusterStatement::DetachLeaves { leaves, .. } => {
            leaves.iter().map(|leaf| Operation::DetachLeaf { address: address(leaf) }).collect()
        }
        ClusterStatement::ClearOrphanDatabases => vec![Operation::ClearOrphans],
        ClusterStatement::Partition { action, partition, node } => {
            let leaf = leaf_with(metadata, (*action, partition), node)?;
            on_orphan(*action, partition, leaf, metadata).into_iter().collect()
        }
        // All that they need are plans.
        ClusterStatement::RebalancePartitions { .. }
        | ClusterStatement::RebalanceAllDatabases { .. }
        | ClusterStatement::RestoreRedundancy { .. }
        | ClusterStatement::PromotePartition { .. } => Vec::new(),
        ClusterStatement::PromoteAggregator(node) => vec![promotion(metadata, address(node))?],
        ClusterStatement::BootstrapAggregator { .. } => {
            let why = "this node is an aggregator of a cluster already; a new cluster begins with `resproutd member --found` and an empty directory";
            return Err(SqlError::new(Code::WRONG_ARGUMENTS, why));
        }
        _ => return Err(SqlError::not_supported("this statement about the cluster")),
    })
}

/// PROMOTE AGGREGATOR … TO MASTER.
fn promotion(metadata: &Metadata, address: Address) -> Result<Operation, SqlError> {
    let is_it = |found: &Node| found.address == address && !found.is_leaf();
    if !metadata.nodes().values().any(is_it) {
        let why = format!("{address} is no aggregator of the cluster; SHOW AGGREGATORS lists them");
        return Err(SqlError::new(Code::WRONG_ARGUMENTS, why));
    }
    if metadata.elects() {
        return Err(not_promoted(metadata));
    }
    Ok(Operation::PromoteAggregator { address })
}

/// What is done with an orphan, where a statement is about one; the rest is done by plans.
fn on_orphan(
    action: PartitionAction,
    partition: &PartitionName,
    leaf: LeafId,
    metadata: &Metadata,
) -> Option<Operation> {
    let what = match action {
        PartitionAction::Attach => OrphanAct::Attach,
        PartitionAction::Create { force } => OrphanAct::Create { force },
        PartitionAction::Drop if is_recorded(metadata, partition, leaf) => return None,
        PartitionAction::Drop => OrphanAct::Drop,
        PartitionAction::Detach | PartitionAction::Copy => return None,
    };
    let (database, ordinal) = (partition.database.clone(), Ordinal(partition.ordinal));
    Some(Operation::Orphan { database, ordinal, leaf, what })
}

/// Whether the record has a copy of a partition on a leaf.
pub(crate) fn is_recorded(metadata: &Metadata, partition: &PartitionName, leaf: LeafId) -> bool {
    let record = metadata.partition(&partition.database, Ordinal(partition.ordinal));
    record.is_some_and(|record| record.copies.contains_key(&leaf))
}

/// Aggregators elect their master: nobody is told to be it.
fn not_promoted(metadata: &Metadata) -> SqlError {
    let master = metadata.office().holder.and_then(|holder| metadata.nodes().get(&holder));
    let what = match master {
        Some(master) => {
            format!("stop {} in order (SIGTERM) to have another one elected", master.address)
        }
        None => "start more of them: most voting members are needed".to_owned(),
    };
    let why = format!(
        "aggregators elect their master here (consensus_enabled is ON), and do so by themselves when it is lost; {what}"
    );
    SqlError::new(Code::WRONG_ARGUMENTS, why)
}

/// What is shown. `reached` tells how a node is reached from here.
pub(crate) fn listing(
    metadata: &Metadata,
    own: NodeId,
    listed: &Listed,
    reached: impl Fn(NodeId, &Node) -> Reached,
) -> Result<Shown, SqlError> {
    match listed {
        Listed::Leaves => Ok(leaves(metadata, reached)),
        Listed::Aggregators { extended } => Ok(aggregators(metadata, *extended, reached)),
        Listed::Partitions { database, extended } => partitions(metadata, database, *extended),
        Listed::DatabasesExtended => Ok(databases_extended(metadata, own)),
        Listed::DatabaseStatus { database } => database_status(metadata, own, database),
        Listed::View(view) => Ok(view_of(metadata, *view, reached)),
        Listed::ClusterStatus | Listed::ReplicationStatus => {
            Err(SqlError::not_supported("this SHOW without an answer of the nodes"))
        }
    }
}

/// The rows of a view; its columns are known where it is read.
fn view_of(
    metadata: &Metadata,
    view: ClusterView,
    reached: impl Fn(NodeId, &Node) -> Reached,
) -> Shown {
    let rows = match view {
        ClusterView::Leaves => leaves(metadata, reached).rows,
        ClusterView::Aggregators => aggregators(metadata, false, reached).rows,
        ClusterView::Databases => views::databases(metadata),
        ClusterView::Partitions => views::partitions(metadata),
        ClusterView::Events => views::events(metadata),
        // These are of what nodes say.
        ClusterView::ClusterStatus
        | ClusterView::ReplicationStatus
        | ClusterView::DatabasesStatus
        | ClusterView::RecoveryStatus
        | ClusterView::PartitionsOnLeaves
        | ClusterView::Orphans
        // And this of what the master aggregator knows.
        | ClusterView::RebalanceStatus => Vec::new(),
    };
    Shown { names: Vec::new(), rows }
}

fn leaves(metadata: &Metadata, reached: impl Fn(NodeId, &Node) -> Reached) -> Shown {
    let mut shown = Shown::new(&[
        "Host",
        "Port",
        "Availability_Group",
        "Pair_Host",
        "Pair_Port",
        "State",
        "Opened_Connections",
        "Average_Roundtrip_Latency",
        "NodeId",
    ]);
    for (id, node) in metadata.nodes() {
        let Kind::Leaf { group, pair } = node.kind else { continue };
        let pair = pair.and_then(|pair| metadata.nodes().get(&pair)).map(|pair| &pair.address);
        let Reached { connections, latency_ms, .. } = reached(*id, node);
        let is_away = node.state == NodeState::Offline;
        let latency_ms = latency_ms.filter(|_| !is_away);
        shown.rows.push(vec![
            text(&node.address.host),
            number(node.address.port),
            number(group.number()),
            pair.map_or(Value::Null, |pair| text(&pair.host)),
            pair.map_or(Value::Null, |pair| number(pair.port)),
            text(node.state.text()),
            number(if is_away { 0 } else { connections }),
            latency(latency_ms),
            number(id.0),
        ]);
    }
    shown
}

/// Milliseconds with three decimals.
fn latency(latency_ms: Option<f64>) -> Value {
    latency_ms.map_or(Value::Null, |latency| Value::Double((latency * 1e3).round() / 1e3))
}

/// Whether an aggregator is there is what the one that is asked finds.
fn aggregators(
    metadata: &Metadata,
    extended: bool,
    reached: impl Fn(NodeId, &Node) -> Reached,
) -> Shown {
    let names = [
        "Host",
        "Port",
        "State",
        "Opened_Connections",
        "Average_Roundtrip_Latency_ms",
        "Master_Aggregator",
        "Role",
        "NodeID",
        "Runtime_State",
    ];
    let more = ["Local_Minimum_Pre_Prepare_Ts", "Minimum_Pre_Prepare_Ts", "Availability_Group"];
    let names: Vec<_> = names.iter().chain(more.iter().filter(|_| extended)).copied().collect();
    let mut shown = Shown::new(&names);
    let master = metadata.office().holder;
    for (id, node) in metadata.nodes() {
        let Kind::Aggregator { role } = node.kind else { continue };
        let is_master = master == Some(*id);
        let role = match role {
            _ if is_master => "Leader",
            Role::Voter if metadata.elects() => "Voting Member",
            Role::Voter | Role::Learner => "Follower",
        };
        let Reached { connections, latency_ms, is_silent } = reached(*id, node);
        let state = if is_silent { NodeState::Offline } else { node.state };
        let mut row = vec![
            text(&node.address.host),
            number(node.address.port),
            text(state.text()),
            number(connections),
            latency(latency_ms),
            number(u64::from(is_master)),
            text(role),
            number(id.0),
            text(state.text()),
        ];
        // Transactions have no such times here, and aggregators are in no group.
        row.extend(more.iter().filter(|_| extended).map(|_| Value::Null));
        shown.rows.push(row);
    }
    shown
}

/// A partition's copies, the master first.
fn copies(partition: &Partition) -> Vec<(LeafId, &Copy)> {
    let mut copies: Vec<_> = partition.copies.iter().map(|(leaf, copy)| (*leaf, copy)).collect();
    copies.sort_by_key(|(leaf, _)| (partition.master != Some(*leaf), *leaf));
    copies
}

/// How a copy follows, as people read it; of a master nothing.
fn following(partition: &Partition, leaf: LeafId, copy: &Copy) -> &'static str {
    match copy.following {
        _ if partition.serving() == Some(leaf) => "",
        Following::Async => "async",
        Following::Ready => "ready",
        Following::Sync => "sync",
    }
}

fn partitions(metadata: &Metadata, database: &str, extended: bool) -> Result<Shown, SqlError> {
    let entry = metadata.databases().get(database);
    let entry = entry
        .ok_or_else(|| SqlError::new(Code::BAD_DB, format!("Unknown database '{database}'")))?;
    let names = ["Ordinal", "Host", "Port", "Role", "Locked"];
    let more = ["Replication_Status", "Term", "Online"];
    let names: Vec<_> = names.iter().chain(more.iter().filter(|_| extended)).copied().collect();
    let mut shown = Shown::new(&names);
    for partition in &entry.map.partitions {
        let ordinal = number(partition.ordinal.0);
        let mut any = false;
        for (leaf, copy) in copies(partition) {
            let Some(node) = metadata.nodes().get(&leaf.into()) else { continue };
            if copy.offline && !extended {
                continue;
            }
            any = true;
            let is_master = partition.master == Some(leaf);
            let mut row = vec![
                ordinal.clone(),
                text(&node.address.host),
                number(node.address.port),
                text(if is_master { "Master" } else { "Replica" }),
                number(0_u64),
            ];
            if extended {
                row.push(text(following(partition, leaf, copy)));
                row.push(number(if is_master { partition.term.0 } else { 0 }));
                row.push(number(u64::from(!copy.offline)));
            }
            shown.rows.push(row);
        }
        if !any {
            let mut row = vec![Value::Null; names.len()];
            row[0] = ordinal;
            row[4] = number(0_u64);
            shown.rows.push(row);
        }
    }
    Ok(shown)
}
