//! Statements that are carried out by plans, from whichever aggregator: REBALANCE, RESTORE REDUNDANCY, REMOVE LEAF, and those
//! about single partitions.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use resprout_cluster::control::{Operation, ShownStep};
use resprout_cluster::metadata::{Left, Metadata};
use resprout_cluster::plan::{
    Asked, ExplainRow, FailoverRow, One, StatusRow, ensure_safety, failover_rows,
};
use resprout_cluster::{LeafId, Ordinal};
use resprout_engine::table::Value;
use resprout_sql::error::{Code, SqlError};
use resprout_sql::place::Shown;
use resprout_sql::statement::{
    ClusterStatement, NodeAddress, OldMaster, PartitionAction, PartitionName, RebalanceOptions,
};

use crate::calls::Calls;
use crate::directory::{DEFINITION, Directory, refused};
use crate::statements::{is_recorded, number, text};

/// Plans, and leaves that are attached, are waited for as long as they take; who does not want to any more ends the wait.
pub(crate) const AS_LONG_AS_IT_TAKES: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// A plan that is asked for, and how.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    asked: Asked,
    kill: bool,
    ensure_online: bool,
}

impl From<Asked> for Wanted {
    fn from(asked: Asked) -> Self {
        Self { asked, kill: false, ensure_online: false }
    }
}

/// The leaf at an address.
///
/// # Errors
/// 1737.
pub(crate) fn leaf(metadata: &Metadata, at: &NodeAddress) -> Result<LeafId, SqlError> {
    let is_it =
        |address: &resprout_cluster::Address| address.host == at.host && address.port == at.port;
    let mut leaves = metadata.nodes().iter().filter(|(_, node)| node.is_leaf());
    let found = leaves.find(|(_, node)| is_it(&node.address)).map(|(id, _)| (*id).into());
    found.ok_or_else(|| {
        let NodeAddress { host, port } = at;
        let text = format!("Leaf {host}:{port} is not part of the cluster");
        SqlError::new(Code::LEAF_NOT_FOUND, text)
    })
}

/// The leaf at an address; of DROP PARTITION also one that was removed with a copy of that partition.
///
/// # Errors
/// 1737.
pub(crate) fn leaf_with(
    metadata: &Metadata,
    (action, partition): (PartitionAction, &PartitionName),
    at: &NodeAddress,
) -> Result<LeafId, SqlError> {
    let entry = metadata.databases().get(&partition.database);
    let was_there = |found: &Left| {
        let address = metadata.removed().get(&found.leaf.into());
        found.ordinal == Ordinal(partition.ordinal)
            && address.is_some_and(|one| one.host == at.host && one.port == at.port)
    };
    let found = leaf(metadata, at);
    let note = entry.and_then(|entry| entry.left.iter().find(|left| was_there(left)));
    match note {
        Some(note) if action == PartitionAction::Drop && found.is_err() => Ok(note.leaf),
        _ => found,
    }
}

fn names(metadata: &Metadata) -> Vec<String> {
    metadata.databases().keys().cloned().collect()
}

/// The plans that a statement needs, in this order; none if it needs none.
///
/// # Errors
/// 1737 for a leaf that is not known.
pub(crate) fn wanted(
    statement: &ClusterStatement,
    metadata: &Metadata,
) -> Result<Vec<Wanted>, SqlError> {
    let rebalance = |database: String, options: &RebalanceOptions| Wanted {
        asked: Asked::Rebalance { database, full: options.full, force: options.force },
        kill: options.kill,
        ensure_online: options.ensure_online_nodes,
    };
    Ok(match statement {
        ClusterStatement::RebalancePartitions { database, options } => {
            vec![rebalance(database.clone(), options)]
        }
        ClusterStatement::RebalanceAllDatabases { options } => {
            let options = RebalanceOptions { full: true, ..*options };
            names(metadata).into_iter().map(|name| rebalance(name, &options)).collect()
        }
        ClusterStatement::RestoreRedundancy { database } => {
            vec![Asked::Restore { database: database.clone() }.into()]
        }
        ClusterStatement::RemoveLeaves { leaves, force: false, kill } => {
            free(metadata, leaves, (*kill, false))?
        }
        ClusterStatement::DetachLeaves { leaves, kill, ensure_partition_safety } => {
            if *ensure_partition_safety {
                check_safety(metadata, leaves)?;
            }
            free(metadata, leaves, (*kill, true))?
        }
        ClusterStatement::Partition { action, partition, node } => {
            let leaf = leaf_with(metadata, (*action, partition), node)?;
            let one = match action {
                PartitionAction::Copy => One::Copy,
                PartitionAction::Drop if is_recorded(metadata, partition, leaf) => One::Drop,
                PartitionAction::Detach => One::Detach,
                // About orphans, which the leaves know.
                PartitionAction::Attach
                | PartitionAction::Create { .. }
                | PartitionAction::Drop => {
                    return Ok(Vec::new());
                }
            };
            vec![single(&partition.database, partition.ordinal, leaf, one)]
        }
        ClusterStatement::PromotePartition { partition, node, old_master } => {
            let one = match old_master {
                OldMaster::Drop => One::PromoteWithDrop,
                OldMaster::Unspecified | OldMaster::Repoint => One::Promote,
            };
            vec![single(&partition.database, partition.ordinal, leaf(metadata, node)?, one)]
        }
        _ => Vec::new(),
    })
}

/// In each database, leaves go.
fn free(
    metadata: &Metadata,
    leaves: &[NodeAddress],
    (kill, detach): (bool, bool),
) -> Result<Vec<Wanted>, SqlError> {
    let leaves: Result<Vec<_>, _> = leaves.iter().map(|at| leaf(metadata, at)).collect();
    let leaves = leaves?;
    let free = |database| Asked::Free { database, leaves: leaves.clone(), detach };
    let wanted = |asked| Wanted { asked, kill, ensure_online: false };
    Ok(names(metadata).into_iter().map(free).map(wanted).collect())
}

/// ENSURE_PARTITION_SAFETY.
fn check_safety(metadata: &Metadata, leaves: &[NodeAddress]) -> Result<(), SqlError> {
    let going: Result<BTreeSet<_>, _> = leaves.iter().map(|at| leaf(metadata, at)).collect();
    let databases = metadata.databases().values().map(|entry| entry.map.clone());
    let databases: Vec<_> = databases.collect();
    let safe = ensure_safety(&metadata.leaves(), &databases, &going?);
    safe.map_err(|error| SqlError::new(Code::PARTITION_SAFETY, error.to_string()))
}

fn single(database: &str, ordinal: u32, leaf: LeafId, one: One) -> Wanted {
    Asked::One { database: database.to_owned(), ordinal: Ordinal(ordinal), leaf, one }.into()
}

/// Ends a plan when nobody waits for it any more.
struct Cancel {
    calls: Arc<Calls>,
    database: Option<String>,
}

impl Drop for Cancel {
    fn drop(&mut self) {
        let Some(database) = self.database.take() else { return };
        // Without a runtime the node stops, and with it what it waits for.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let calls = self.calls.clone();
        runtime.spawn(async move {
            let cancelled = calls.call(Operation::CancelPlan { database }, DEFINITION).await;
            if let Err(error) = cancelled {
                tracing::warn!(%error, "a plan that nobody waits for was not cancelled");
            }
        });
    }
}

impl Directory {
    /// Has a plan carried out; whoever gives up the wait cancels it.
    pub(crate) async fn carry_out_plan(&self, wanted: Wanted) -> Result<(), SqlError> {
        let Wanted { asked, kill, ensure_online } = wanted;
        let database = Some(asked.database().to_owned());
        let mut cancel = Cancel { calls: self.calls.clone(), database };
        let done = self
            .calls
            .call(Operation::Plan { asked, kill, ensure_online }, AS_LONG_AS_IT_TAKES)
            .await;
        cancel.database = None;
        done.map(drop).map_err(|error| refused(&error))
    }

    async fn steps(
        &self,
        database: &str,
        asked: Option<Asked>,
    ) -> Result<Vec<ShownStep>, SqlError> {
        let operation = Operation::ShowPlan { database: database.to_owned(), asked };
        self.calls.steps(operation, DEFINITION).await.map_err(|error| refused(&error))
    }

    /// EXPLAIN of a statement that is carried out by plans.
    pub(crate) async fn explained(&self, statement: &ClusterStatement) -> Result<Shown, SqlError> {
        if *statement == ClusterStatement::ClearOrphanDatabases {
            return Ok(self.explained_orphans().await);
        }
        if let ClusterStatement::FailoverLeaf { leaf } = statement {
            return failover(&self.metadata.read(), leaf);
        }
        let wanted = wanted(statement, &self.metadata.read())?;
        let is_about_all = matches!(statement, ClusterStatement::RebalanceAllDatabases { .. });
        if wanted.is_empty() && !is_about_all {
            return Err(SqlError::not_supported("this EXPLAIN"));
        }
        let mut shown = table(&ExplainRow::COLUMNS, is_about_all);
        for Wanted { asked, .. } in wanted {
            let database = asked.database().to_owned();
            for step in self.steps(&database, Some(asked)).await? {
                let mut row: Vec<_> =
                    is_about_all.then(|| text(database.clone())).into_iter().collect();
                row.extend(step_columns(&step));
                row.push(known(step.remaining_ms));
                shown.rows.push(row);
            }
        }
        Ok(shown)
    }

    /// SHOW REBALANCE STATUS.
    pub(crate) async fn shown_plans(&self, database: Option<&str>) -> Result<Shown, SqlError> {
        let databases = match database {
            Some(one) => vec![one.to_owned()],
            None => names(&self.metadata.read()),
        };
        let mut shown = table(&StatusRow::COLUMNS, database.is_none());
        for name in databases {
            for step in self.steps(&name, None).await? {
                let name = database.is_none().then(|| text(name.clone()));
                shown.rows.push(name.into_iter().chain(status_columns(&step)).collect());
            }
        }
        Ok(shown)
    }

    /// `MV_REBALANCE_STATUS`. A database that is dropped meanwhile has no plan any more.
    pub(crate) async fn view_of_plans(&self) -> Result<Shown, SqlError> {
        let mut shown = Shown::new(&[]);
        let databases = names(&self.metadata.read());
        for name in databases {
            let steps = match self.steps(&name, None).await {
                Ok(steps) => steps,
                Err(error) if error.code == Code::BAD_DB => continue,
                Err(error) => return Err(error),
            };
            for step in steps {
                let row = [text(name.clone())].into_iter().chain(status_columns(&step));
                shown.rows.push(row.chain(more_columns(&step)).collect());
            }
        }
        Ok(shown)
    }
}

fn status_columns(step: &ShownStep) -> impl Iterator<Item = Value> {
    let stands = [
        step.status.clone().map_or(Value::Null, text),
        known(step.running_ms),
        known(step.remaining_ms),
    ];
    step_columns(step).into_iter().chain(stands)
}

/// What only the view has.
fn more_columns(step: &ShownStep) -> [Value; 4] {
    let copied = step.copied;
    [
        known(copied.map(|copied| copied.bytes)),
        known(copied.map(|copied| copied.total_bytes)),
        known(copied.map(|copied| copied.rate)),
        step.waiting_for.clone().map_or(Value::Null, text),
    ]
}

/// EXPLAIN FAILOVER LEAF.
fn failover(metadata: &Metadata, at: &NodeAddress) -> Result<Shown, SqlError> {
    let lost = leaf(metadata, at)?;
    let databases: Vec<_> = metadata.databases().values().map(|entry| &entry.map).collect();
    let mut shown = Shown::new(&FailoverRow::COLUMNS);
    for row in failover_rows(&metadata.leaves(), &databases, lost) {
        let target = row.target.map(|address| [text(address.host), number(address.port)]);
        let mut columns = vec![
            text(row.database),
            number(row.ordinal),
            text(row.effect),
            text(&at.host),
            number(at.port),
        ];
        columns.extend(target.unwrap_or([Value::Null, Value::Null]));
        columns.extend([known(row.masters_before), known(row.masters_after)]);
        shown.rows.push(columns);
    }
    Ok(shown)
}

/// For all databases, their names come first.
fn table(columns: &[&str], for_all: bool) -> Shown {
    let first = for_all.then_some("Database");
    Shown::new(&first.iter().chain(columns).copied().collect::<Vec<_>>())
}

fn step_columns(step: &ShownStep) -> [Value; 5] {
    [
        text(step.action.clone()),
        number(step.ordinal),
        text(step.target.host.clone()),
        number(step.target.port),
        number(step.phase),
    ]
}

fn known(figure: Option<u64>) -> Value {
    figure.map_or(Value::Null, number)
}
