//! The rows that EXPLAIN and STATUS show, as data: names, order and spelling are read by tools.

use super::{Averages, Awaited, Copied, Live, Orphan, Plan, Step};
use crate::Leaf;

/// A row of EXPLAIN REBALANCE PARTITIONS and EXPLAIN RESTORE REDUNDANCY. The form for all databases has
/// `Database` before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExplainRow {
    /// `Action`.
    pub action: &'static str,
    /// `Ordinal`.
    pub ordinal: u32,
    /// `Target_Host`.
    pub target_host: String,
    /// `Target_Port`.
    pub target_port: u16,
    /// `Phase`.
    pub phase: u64,
    /// `Estimated_Time_Remaining_Ms`, NULL if not known.
    pub estimated_time_remaining_ms: Option<u64>,
}

impl ExplainRow {
    /// The columns, in their order.
    pub const COLUMNS: [&str; 6] =
        ["Action", "Ordinal", "Target_Host", "Target_Port", "Phase", "Estimated_Time_Remaining_Ms"];
}

/// How a step stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Not begun.
    Scheduled,
    /// Under way.
    Running,
    /// Done.
    Success,
    /// Ended without success: the plan ends with it.
    Failed,
    /// Never begun, because the plan ended.
    Canceled,
}

impl Status {
    /// The word in the column `Status`.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::Scheduled => "scheduled",
            Self::Running => "running",
            Self::Success => "success",
            Self::Failed => "failed",
            Self::Canceled => "canceled",
        }
    }
}

/// How far a step is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// How it stands.
    pub status: Status,
    /// How long it has run, or ran; none before it began.
    pub running_ms: Option<u64>,
    /// What is known while it runs; of a copy that was made, how much it was.
    pub live: Option<Live>,
    /// What it waits for, until it has ended.
    pub awaits: Option<Awaited>,
}

/// A row of SHOW REBALANCE STATUS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusRow {
    /// The columns of EXPLAIN; `Status` and `Running_Time` come before the last of them.
    pub step: ExplainRow,
    /// `Status`.
    pub status: &'static str,
    /// `Running_Time` in milliseconds, NULL while scheduled.
    pub running_time: Option<u64>,
    /// Of a copy, how much of it there is, if that is known: only in the view.
    pub copied: Option<Copied>,
    /// What it waits for, until it has ended: only in the view.
    pub waiting_for: Option<&'static str>,
}

impl StatusRow {
    /// The columns, in their order.
    pub const COLUMNS: [&str; 8] = [
        "Action",
        "Ordinal",
        "Target_Host",
        "Target_Port",
        "Phase",
        "Status",
        "Running_Time",
        "Estimated_Time_Remaining_Ms",
    ];
}

/// The rows of a plan that has not begun.
#[must_use]
pub fn explain(leaves: &[Leaf], plan: &Plan, averages: &Averages) -> Vec<ExplainRow> {
    let row = |step: &Step| {
        let expected = averages.expected_ms(&plan.database, step.action);
        explain_row(leaves, step, step.action.text(), expected)
    };
    plan.steps.iter().map(row).collect()
}

/// The rows of a plan that runs or ran, one progress for each step.
#[must_use]
pub fn status(
    leaves: &[Leaf],
    plan: &Plan,
    averages: &Averages,
    progress: &[Progress],
) -> Vec<StatusRow> {
    let row = |(step, progress): (&Step, &Progress)| {
        let text = match progress.status {
            Status::Scheduled | Status::Canceled => step.action.text(),
            _ => step.action.running_text(),
        };
        let remaining = match progress.status {
            Status::Scheduled => averages.expected_ms(&plan.database, step.action),
            Status::Running => progress.live.and_then(|live| live.remaining_ms(step.action)),
            Status::Success | Status::Failed | Status::Canceled => Some(0),
        };
        StatusRow {
            step: explain_row(leaves, step, text, remaining),
            status: progress.status.text(),
            running_time: progress.running_ms,
            copied: progress.live.and_then(|live| live.copied),
            waiting_for: progress.awaits.map(Awaited::text),
        }
    };
    plan.steps.iter().zip(progress).map(row).collect()
}

fn explain_row(
    leaves: &[Leaf],
    step: &Step,
    action: &'static str,
    estimated_time_remaining_ms: Option<u64>,
) -> ExplainRow {
    let address = leaves.iter().find(|leaf| leaf.id == step.target).map(|leaf| &leaf.address);
    ExplainRow {
        action,
        ordinal: step.ordinal.0,
        target_host: address.map_or_else(String::new, |address| address.host.clone()),
        target_port: address.map_or(0, |address| address.port),
        phase: step.phase.number(),
        estimated_time_remaining_ms,
    }
}

/// A row of EXPLAIN CLEAR ORPHAN DATABASES.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrphanRow {
    /// `Host`.
    pub host: String,
    /// `Port`.
    pub port: u16,
    /// `Database`: that of the partition, as in `test_3`.
    pub database: String,
}

impl OrphanRow {
    /// The columns, in their order.
    pub const COLUMNS: [&str; 3] = ["Host", "Port", "Database"];
}

/// The rows of orphans that would be dropped.
pub fn orphan_rows<'a>(
    leaves: &[Leaf],
    orphans: impl IntoIterator<Item = &'a Orphan>,
) -> Vec<OrphanRow> {
    let row = |orphan: &Orphan| {
        let address = leaves.iter().find(|leaf| leaf.id == orphan.leaf).map(|leaf| &leaf.address);
        OrphanRow {
            host: address.map_or_else(String::new, |address| address.host.clone()),
            port: address.map_or(0, |address| address.port),
            database: format!("{}_{}", orphan.database, orphan.ordinal),
        }
    };
    orphans.into_iter().map(row).collect()
}
