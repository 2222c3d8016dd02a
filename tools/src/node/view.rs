//! What a node says about itself, at one moment.
//!
//! Serialised, this is the answer of `/api/status`: fields are added, never renamed or removed
//! within one `schema_version`. Sizes are bytes, times seconds.

use resprout_engine::{RecoveryReport, Times};
use serde::Serialize;

use super::member::MemberView;

/// Version of the JSON.
pub const SCHEMA_VERSION: u32 = 1;

/// A long thing and how far it is.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ProgressView {
    /// `waiting`, `replaying snapshot`, `replaying log` or `done`.
    pub phase: String,
    /// Bytes finished.
    pub done_bytes: u64,
    /// Bytes in all.
    pub total_bytes: u64,
    /// Bytes per second, recently.
    pub rate_bytes_per_s: f64,
    /// Seconds left at that rate; absent while the rate is not known.
    pub eta_s: Option<f64>,
    /// Seconds since the position last moved.
    pub stalled_s: f64,
}

impl ProgressView {
    /// Share done in percent, 100 when there was nothing to do.
    #[must_use]
    pub fn percent(&self) -> u64 {
        if self.total_bytes == 0 {
            return 100;
        }
        let share = u128::from(self.done_bytes) * 100 / u128::from(self.total_bytes);
        u64::try_from(share.min(100)).unwrap_or(100)
    }
}

/// One copy of a partition.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct PartitionView {
    /// Its database.
    pub database: String,
    /// Its ordinal in the database.
    pub ordinal: u32,
    /// `RECOVERING`, `PENDING`, `TRANSITIONING`, `ONLINE` or `UNRECOVERABLE`.
    pub state: String,
    /// Why it is unrecoverable or takes no more writes.
    pub error: Option<String>,
    /// Recovery.
    pub progress: ProgressView,
    /// Term of its log.
    pub term: u64,
    /// End of its log.
    pub end_lsn: u64,
    /// On local disk up to here.
    pub durable_lsn: u64,
    /// Readers see everything up to here.
    pub committed_lsn: u64,
    /// Position of its newest snapshot.
    pub snapshot_lsn: Option<u64>,
    /// Log bytes since that snapshot.
    pub log_since_snapshot_bytes: u64,
    /// Rows of all its tables, entries of their indexes, and what the partition keeps of itself.
    pub entries: u64,
    /// Page memory.
    pub memory_bytes: u64,
    /// How long a restart now would take.
    pub predicted_recovery_s: f64,
    /// Age of its newest snapshot; absent if there is none.
    pub snapshot_age_s: Option<f64>,
}

impl PartitionView {
    /// `database:ordinal`, its name in logs and messages.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{}:{}", self.database, self.ordinal)
    }

    /// Whether it reads and writes.
    #[must_use]
    pub fn is_online(&self) -> bool {
        self.state == "ONLINE"
    }

    /// Whether it takes writes: online, and not stopped by its log.
    #[must_use]
    pub fn serves(&self) -> bool {
        self.is_online() && self.error.is_none()
    }

    /// Whether this copy has failed.
    #[must_use]
    pub fn is_unrecoverable(&self) -> bool {
        self.state == "UNRECOVERABLE"
    }
}

/// A node.
#[derive(Clone, Debug, Default, Serialize)]
pub struct NodeView {
    /// [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// Version of the software.
    pub version: String,
    /// `WAITING` (to be added to a cluster), `RECOVERING`, `ONLINE`, `RECOVERY_FAILED` or `STOPPING`.
    pub state: String,
    /// Why recovery as a whole failed.
    pub error: Option<String>,
    /// Recovery of all partitions together.
    pub progress: ProgressView,
    /// Most bytes of page memory.
    pub maximum_memory_bytes: u64,
    /// The node's partitions, by database and ordinal.
    pub partitions: Vec<PartitionView>,
    /// How long the oldest request has been with the log's device by now.
    pub log_waiting_s: f64,
    /// After how long the device is given up.
    pub log_stuck_after_s: f64,
    /// Of a node of a cluster, what it is there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub member: Option<MemberView>,
    /// What was measured since the start; for metrics.
    #[serde(skip)]
    pub times: Times,
    /// What recovery did, once it is over; for metrics.
    #[serde(skip)]
    pub recovered: Option<RecoveryReport>,
}

/// An answer to a probe: whether it is yes, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// The answer.
    pub ok: bool,
    /// The reason, for people.
    pub reason: String,
}

/// A replay position that has not moved for so long is no progress any more: `/startupz` fails.
pub const STARTUP_STALL_S: f64 = 60.0;

impl NodeView {
    /// Whether the node still recovers.
    #[must_use]
    pub fn is_recovering(&self) -> bool {
        self.state == "RECOVERING"
    }

    /// `/livez`: the process answers, and its core loop, the writing of the log, is not stuck inside
    /// the system (catalogue row D28). Only a restart helps then.
    #[must_use]
    pub fn liveness(&self) -> Verdict {
        let (waiting, limit) = (self.log_waiting_s, self.log_stuck_after_s);
        if limit > 0.0 && waiting >= limit {
            let reason = format!("the log's device has not answered for {waiting:.0} s");
            return Verdict { ok: false, reason };
        }
        Verdict { ok: true, reason: "alive".into() }
    }

    /// `/startupz`: recovered, or recovering with a position that moved in the last minute. A
    /// clock never ends a recovery that advances.
    #[must_use]
    pub fn startup(&self) -> Verdict {
        let stalled = self.progress.stalled_s;
        match self.state.as_str() {
            "RECOVERING" if stalled >= STARTUP_STALL_S => {
                let reason = format!("recovery has not advanced for {stalled:.0} s");
                Verdict { ok: false, reason }
            }
            "RECOVERING" => Verdict { ok: true, reason: "recovering".into() },
            "RECOVERY_FAILED" => Verdict { ok: false, reason: self.failure() },
            "WAITING" => Verdict { ok: true, reason: "waits to be added to a cluster".into() },
            _ => Verdict { ok: true, reason: "recovered".into() },
        }
    }

    /// `/readyz`: whether this node can serve. One unrecoverable copy does not make the others
    /// unready; a node without any partition is ready to get one.
    #[must_use]
    pub fn readiness(&self) -> Verdict {
        let online = self.partitions.iter().filter(|p| p.serves()).count();
        let all = self.partitions.len();
        let count = format!("{online} of {all} partitions are online");
        if let (Some(member), "ONLINE") = (&self.member, self.state.as_str()) {
            return member.readiness();
        }
        match self.state.as_str() {
            "WAITING" => Verdict { ok: false, reason: "waits to be added to a cluster".into() },
            "ONLINE" if online > 0 || all == 0 => Verdict { ok: true, reason: count },
            "ONLINE" => Verdict { ok: false, reason: count },
            "RECOVERY_FAILED" => Verdict { ok: false, reason: self.failure() },
            "STOPPING" => Verdict { ok: false, reason: "stopping".into() },
            _ => {
                let reason = format!("recovering, {} %", self.progress.percent());
                Verdict { ok: false, reason }
            }
        }
    }

    /// `/readyz?master`: whether this node is ready, and the master aggregator of its cluster.
    #[must_use]
    pub fn mastership(&self) -> Verdict {
        match (self.readiness(), &self.member) {
            (Verdict { ok: true, .. }, Some(member)) => member.mastership(),
            (Verdict { ok: true, .. }, None) => {
                Verdict { ok: false, reason: "it is no node of a cluster".into() }
            }
            (unready, _) => unready,
        }
    }

    fn failure(&self) -> String {
        self.error.clone().unwrap_or_else(|| "recovery failed".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn partition(state: &str) -> PartitionView {
        PartitionView { state: state.into(), ..PartitionView::default() }
    }

    fn node(state: &str, partitions: Vec<PartitionView>) -> NodeView {
        NodeView { state: state.into(), partitions, ..NodeView::default() }
    }

    /// Promise: a startup probe gives recovery as long as it needs while it advances, and fails
    /// once it does not.
    #[test]
    fn startup_follows_the_position_not_the_clock() {
        let mut recovering = node("RECOVERING", vec![]);
        recovering.progress.stalled_s = 59.9;
        assert!(recovering.startup().ok);
        recovering.progress.stalled_s = 60.0;
        let stalled = recovering.startup();
        assert!(!stalled.ok && stalled.reason.contains("60 s"), "{stalled:?}");
        assert!(node("ONLINE", vec![]).startup().ok);
        assert!(!node("RECOVERY_FAILED", vec![]).startup().ok);
    }

    /// D28: a device that does not answer makes the node dead to its supervisor once the stated time
    /// is over, not before; D18: a copy that takes no more writes does not make it ready.
    #[test]
    fn d18_d28_a_log_that_ended_is_neither_alive_nor_ready() {
        let mut stuck = node("ONLINE", vec![partition("ONLINE")]);
        (stuck.log_waiting_s, stuck.log_stuck_after_s) = (29.9, 30.0);
        assert!(stuck.liveness().ok && stuck.readiness().ok);
        stuck.log_waiting_s = 31.0;
        let dead = stuck.liveness();
        assert!(!dead.ok && dead.reason.contains("31 s"), "{dead:?}");
        stuck.log_waiting_s = 0.0;
        stuck.partitions[0].error = Some("flushing failed".into());
        assert!(stuck.liveness().ok && !stuck.readiness().ok);
        stuck.partitions.push(partition("ONLINE"));
        assert!(stuck.readiness().ok, "the other serves");
    }

    /// D06: one unrecoverable copy leaves the node ready for the others; none serving is unready
    /// with a reason.
    #[test]
    fn d06_other_partitions_keep_the_node_ready() {
        assert!(
            node("ONLINE", vec![partition("UNRECOVERABLE"), partition("ONLINE")]).readiness().ok
        );
        let none = node("ONLINE", vec![partition("UNRECOVERABLE")]).readiness();
        assert_eq!(none, Verdict { ok: false, reason: "0 of 1 partitions are online".into() });
        assert!(
            node("ONLINE", vec![]).readiness().ok,
            "an empty node waits for its first database"
        );
        assert!(!node("RECOVERING", vec![partition("ONLINE")]).readiness().ok);
        assert!(!node("STOPPING", vec![partition("ONLINE")]).readiness().ok);
    }

    /// Promise: percentages never exceed 100 and nothing to do is all done.
    #[test]
    fn percent_is_bounded() {
        let of = |done_bytes, total_bytes| ProgressView {
            done_bytes,
            total_bytes,
            ..ProgressView::default()
        };
        assert_eq!(of(0, 0).percent(), 100);
        assert_eq!(of(41, 100).percent(), 41);
        assert_eq!(of(u64::MAX, u64::MAX).percent(), 100);
        assert_eq!(of(999, 1000).percent(), 99, "not done is never 100");
    }
}
