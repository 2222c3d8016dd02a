//! What only the nodes themselves know, asked of all at once.
//!
//! ```text
//!   aggregator                      each node that is not known to be offline
//!     │ Call(Survey) ──────────────────►│ looks at engine and copies, on a thread beside its tasks
//!     │◄──────── Return(Surveyed) ───────│
//!     │ after 1 s: whoever has not answered has rows that say so
//! ```

use std::collections::BTreeMap;
use std::time::Duration;

use resprout_cluster::NodeId;
use resprout_cluster::control::{Control, Operation, Returned};
use resprout_cluster::metadata::{Metadata, NodeState};
use resprout_cluster::reconcile::{CopyName, Doing};
use resprout_cluster::survey::{CopyReport, FollowerReport, RecoveryReport, Survey};
use resprout_engine::{PartitionStatus, State};
use resprout_replication::{MemberStatus, Standing};
use resprout_sql::error::{Code, SqlError};
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use crate::calls::Calls;
use crate::copies::Copies;

/// Whoever has not answered by then is not waited for.
const ANSWER: Duration = Duration::from_secs(1);

/// What nodes said; none for those that did not.
pub(crate) type Surveys = BTreeMap<NodeId, Option<Survey>>;

/// A question on its way to one node.
struct Asked<'a> {
    calls: &'a Calls,
    number: u64,
    answer: oneshot::Receiver<Returned>,
}

impl Asked<'_> {
    /// The answer, if it comes by then.
    async fn answer(mut self, end: Instant) -> Option<Returned> {
        timeout_at(end, &mut self.answer).await.ok()?.ok()
    }
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        self.calls.forget(self.number);
    }
}

impl Calls {
    /// Asks a node, whatever it is, once: a question that is lost has no answer.
    fn ask(&self, to: NodeId, operation: Operation) -> Asked<'_> {
        let (number, answer) = self.begin();
        self.post().send(to, Control::Call { number, operation });
        Asked { calls: self, number, answer }
    }

    /// How long a node takes to answer; none if it does not in time.
    pub(crate) async fn ping(&self, to: NodeId) -> Option<Duration> {
        let began = Instant::now();
        self.ask(to, Operation::Ping).answer(began + ANSWER).await?;
        Some(began.elapsed())
    }
}

/// Asks all nodes. Those that the metadata know to be offline are not asked.
pub(crate) async fn ask_all(calls: &Calls, metadata: &Metadata) -> Surveys {
    let there = metadata.nodes().iter().filter(|(_, node)| node.state != NodeState::Offline);
    let mut surveys = ask(calls, there.map(|(node, _)| *node)).await;
    for node in metadata.nodes().keys() {
        surveys.entry(*node).or_insert(None);
    }
    surveys
}

/// Asks these nodes, whatever is known of them.
pub(crate) async fn ask(calls: &Calls, nodes: impl Iterator<Item = NodeId>) -> Surveys {
    let end = Instant::now() + ANSWER;
    let asked: Vec<_> = nodes.map(|node| (node, calls.ask(node, Operation::Survey))).collect();
    let mut surveys = Surveys::new();
    for (node, asked) in asked {
        let said = match asked.answer(end).await {
            Some(Returned::Surveyed { survey }) => Some(survey),
            _ => None,
        };
        surveys.insert(node, said);
    }
    surveys
}

/// Waits for others on whoever is no task: a thread that may wait, or one of the runtime beside its tasks.
///
/// # Errors
/// If the runtime has one thread only, which cannot wait.
pub(crate) fn wait_beside<T>(answer: impl Future<Output = T>) -> Result<T, SqlError> {
    let runtime = Handle::try_current().ok();
    let runtime = runtime.filter(|found| found.runtime_flavor() == RuntimeFlavor::MultiThread);
    let runtime = runtime.ok_or_else(|| {
        SqlError::new(Code::UNKNOWN_ERROR, "other nodes cannot be asked on this thread")
    })?;
    Ok(tokio::task::block_in_place(|| runtime.block_on(answer)))
}

impl Copies {
    /// What this node says of itself. Looks at each copy: for a thread that may wait.
    pub(crate) fn survey(&self) -> BTreeMap<CopyName, CopyReport> {
        let report = |(name, stored): (CopyName, resprout_engine::Partition)| {
            let (held, status) = (self.held_copy(name, &stored), stored.status());
            let driven = self.driver.copy(self.partition(name));
            let driven = driven.filter(|copy| copy.identity().instance == name.instance);
            let driven = driven.map(|copy| copy.status());
            let mut report = reported(&status);
            let terms = stored.history();
            report.terms = terms.entries().iter().map(|one| (one.term, one.start)).collect();
            (report.doing, report.term) = (held.doing, held.last_term.max(status.term));
            if driven.is_none() && stored.state() == State::Pending {
                // Nobody drives an orphan.
                report.doing = Doing::Pending;
            }
            if let Some(driven) = driven {
                (report.end, report.committed) = (driven.end, driven.committed);
                report.unapplied_bytes = driven.unapplied_bytes;
                report.followers = driven.members.iter().map(follower).collect();
            }
            (name, report)
        };
        self.stored().into_iter().map(report).collect()
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// What the engine knows.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a rate for people: it saturates"
)]
fn reported(status: &PartitionStatus) -> CopyReport {
    let progress = &status.progress;
    CopyReport {
        stored: status.database.clone(),
        term: status.term,
        end: status.end,
        durable: status.durable,
        committed: status.committed,
        memory_bytes: status.memory_bytes,
        disk_bytes: status.snapshot_bytes + status.log_since_snapshot,
        recovery: RecoveryReport {
            phase: progress.phase.to_string(),
            done: progress.done,
            total: progress.total,
            rate: progress.rate as u64,
            left_ms: progress.eta.map(millis),
            stalled_ms: millis(progress.stalled),
            predicted_ms: millis(status.predicted_recovery),
        },
        error: status.error.clone(),
        ..CopyReport::default()
    }
}

fn follower(member: &MemberStatus) -> FollowerReport {
    FollowerReport {
        instance: member.instance,
        is_connected: member.incarnation.is_some(),
        is_waited_for: !matches!(member.standing, Standing::Async),
        position: member.position,
        lag_bytes: member.lag,
    }
}
