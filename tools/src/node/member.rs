//! What a node of a cluster says beside what any node does: who it is there, its copies, and what it knows of the rest.

use std::fmt;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use serde::Serialize;
use std::sync::atomic::AtomicU64;

use super::view::Verdict;

/// A node of a cluster. What is of the cluster is as this node knows it, which may be late.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct MemberView {
    /// The cluster's identity in hexadecimal digits.
    pub cluster: String,
    /// The node's number.
    pub node: u64,
    /// `leaf` or `aggregator`.
    pub role: String,
    /// `host:port` for clients.
    pub address: String,
    /// How often its process was started.
    pub run: u64,
    /// What the cluster takes it for: `online`, `offline`, `recovering`, `attaching`, `detached`, `recovery_failed`;
    /// absent until it knows.
    pub state: Option<String>,
    /// Of an aggregator, whether it votes.
    pub is_voter: bool,
    /// Of a leaf, its availability group.
    pub availability_group: Option<u32>,
    /// The master aggregator, if one is known.
    pub master_aggregator: Option<MasterView>,
    /// Whether this node is the master aggregator, and leads.
    pub is_master_aggregator: bool,
    /// Term of consensus.
    pub consensus_term: u64,
    /// Whether it knows who leads.
    pub has_leader: bool,
    /// Aggregators that vote.
    pub voters: usize,
    /// Newest change of the metadata that is applied here.
    pub metadata_applied: u64,
    /// Of a leaf, the newest that it has done what it says of.
    pub metadata_fulfilled: Option<u64>,
    /// Of a leaf, its copies.
    pub copies: Vec<CopyView>,
    /// The databases.
    pub databases: Vec<DatabaseView>,
}

/// The master aggregator.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct MasterView {
    /// Its number.
    pub node: u64,
    /// `host:port` for clients.
    pub address: String,
}

/// A copy of a partition.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct CopyView {
    /// Its database.
    pub database: String,
    /// Its partition.
    pub ordinal: u32,
    /// Which copy.
    pub instance: u64,
    /// `Master`, `Replica` or `Orphan`.
    pub role: String,
    /// `sync`, `ready` or `async`; of a master empty.
    pub replication: String,
    /// What it does: `recovering`, `pending`, `connecting`, `provisioning`, `replicating`, `transitioning`, `online`,
    /// `fenced`, `unrecoverable`.
    pub state: String,
    /// Term of its last record.
    pub term: u64,
    /// Where its log ends.
    pub end_lsn: u64,
    /// Known acknowledged.
    pub committed_lsn: u64,
    /// Bytes that have come and are not applied.
    pub unapplied_bytes: u64,
    /// On a master, the others.
    pub replicas: Vec<ReplicaView>,
}

/// How far another copy is, as its master knows it.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ReplicaView {
    /// Its leaf; absent while the record has none.
    pub node: Option<u64>,
    /// Which copy.
    pub instance: u64,
    /// What counts of it.
    pub position_lsn: u64,
    /// Bytes of the log that it lacks.
    pub lag_bytes: u64,
    /// Seconds for which it has lacked something.
    pub lag_s: f64,
}

/// A database.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct DatabaseView {
    /// Its name.
    pub database: String,
    /// Its partitions.
    pub partitions: usize,
    /// Those without a master that is there.
    pub without_master: usize,
    /// Those with fewer copies than they are to have.
    pub under_replicated: usize,
}

impl MemberView {
    /// `/readyz` of a node that has recovered: a leaf serves once the cluster takes it for online; an aggregator once
    /// it knows the cluster and who leads.
    #[must_use]
    pub fn readiness(&self) -> Verdict {
        let state = self.state.as_deref().unwrap_or("unknown");
        if state != "online" {
            return Verdict { ok: false, reason: format!("the cluster takes it for {state}") };
        }
        if self.role == "aggregator" && !self.has_leader {
            return Verdict { ok: false, reason: "nobody is known to lead".into() };
        }
        Verdict { ok: true, reason: "online".into() }
    }

    /// `/readyz?master`: whether it is the master aggregator.
    #[must_use]
    pub fn mastership(&self) -> Verdict {
        match (self.is_master_aggregator, &self.master_aggregator) {
            (true, _) => Verdict { ok: true, reason: "the master aggregator".into() },
            (false, Some(master)) => {
                let reason = format!("the master aggregator is {}", master.address);
                Verdict { ok: false, reason }
            }
            (false, None) => Verdict { ok: false, reason: "nobody is known to be it".into() },
        }
    }
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OfDatabase {
    db: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OfReplica {
    db: String,
    ordinal: u32,
    replica: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OfCopy {
    db: String,
    ordinal: u32,
    instance: u64,
    role: String,
    state: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OfState {
    state: String,
}

type Float = Gauge<f64, AtomicU64>;

/// Adds the metrics of a node of a cluster. What is of all databases, the master aggregator says alone.
pub(super) fn describe(registry: &mut Registry, member: &MemberView) {
    let set = |registry: &mut Registry, (name, help): (&str, &str), value: u64| {
        let gauge: Gauge = Gauge::default();
        gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        registry.register(name, help, gauge);
    };
    set(registry, ("consensus_term", "Term of consensus"), member.consensus_term);
    let leads = u64::from(member.is_master_aggregator);
    let help = "1 if this node is the master aggregator and leads";
    set(registry, ("consensus_is_leader", help), leads);
    let voters = member.voters as u64;
    set(registry, ("consensus_voters", "Aggregators that vote"), voters);
    let help = "Newest change of the metadata that is applied here";
    set(registry, ("metadata_applied", help), member.metadata_applied);
    let state = Family::<OfState, Gauge>::default();
    for name in ["online", "offline", "recovering", "attaching", "detached", "recovery_failed"] {
        let is = member.state.as_deref() == Some(name);
        state.get_or_create(&OfState { state: name.into() }).set(i64::from(is));
    }
    registry.register("member_state", "1 for what the cluster takes this node for", state);
    describe_copies(registry, &member.copies);
    if member.is_master_aggregator {
        describe_databases(registry, &member.databases);
    }
}

fn describe_copies(registry: &mut Registry, copies: &[CopyView]) {
    let (state, bytes, seconds) = (
        Family::<OfCopy, Gauge>::default(),
        Family::<OfReplica, Gauge>::default(),
        Family::<OfReplica, Float>::default(),
    );
    for copy in copies {
        let of = OfCopy {
            db: copy.database.clone(),
            ordinal: copy.ordinal,
            instance: copy.instance,
            role: copy.role.to_lowercase(),
            state: copy.state.clone(),
        };
        state.get_or_create(&of).set(1);
        for replica in &copy.replicas {
            let to = replica.node.map_or_else(|| "unknown".to_owned(), |node| node.to_string());
            let of = OfReplica { db: copy.database.clone(), ordinal: copy.ordinal, replica: to };
            bytes.get_or_create(&of).set(i64::try_from(replica.lag_bytes).unwrap_or(i64::MAX));
            seconds.get_or_create(&of).set(replica.lag_s);
        }
    }
    registry.register("copy_state", "1 for the role and state that a copy is in", state);
    registry.register("replication_lag_bytes", "Log that a replica lacks, by its node", bytes);
    let help = "For how long a replica has lacked something, by its node";
    registry.register("replication_lag_seconds", help, seconds);
}

fn describe_databases(registry: &mut Registry, databases: &[DatabaseView]) {
    let (without, under) =
        (Family::<OfDatabase, Gauge>::default(), Family::<OfDatabase, Gauge>::default());
    let count = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
    for database in databases {
        let of = OfDatabase { db: database.database.clone() };
        without.get_or_create(&of).set(count(database.without_master));
        under.get_or_create(&of).set(count(database.under_replicated));
    }
    registry.register("partitions_without_master", "Partitions that nobody serves", without);
    let help = "Partitions with fewer copies than they are to have";
    registry.register("partitions_under_replicated", help, under);
}

impl fmt::Display for MasterView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "node {} on {}", self.node, self.address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::metrics::encode;
    use crate::node::view::NodeView;

    fn member() -> MemberView {
        let replica =
            ReplicaView { node: Some(5), lag_bytes: 77, lag_s: 0.5, ..Default::default() };
        let copy = CopyView {
            database: "demo".into(),
            ordinal: 3,
            instance: 9,
            role: "Master".into(),
            state: "online".into(),
            replicas: vec![replica],
            ..CopyView::default()
        };
        MemberView {
            role: "leaf".into(),
            state: Some("online".into()),
            copies: vec![copy],
            databases: vec![DatabaseView {
                database: "demo".into(),
                partitions: 4,
                without_master: 1,
                under_replicated: 2,
            }],
            consensus_term: 8,
            ..MemberView::default()
        }
    }

    /// Promise: names and labels of the metrics of a node of a cluster; what is of all, only the master aggregator says.
    #[test]
    fn metrics_of_members_have_the_names_of_the_contract() {
        let mut view = NodeView { member: Some(member()), ..NodeView::default() };
        let text = encode(&view).expect("formatting into a string");
        let has = |text: &str, line: &str| text.lines().any(|found| found == line);
        for line in [
            "resprout_consensus_term 8",
            "resprout_consensus_is_leader 0",
            "resprout_member_state{state=\"online\"} 1",
            "resprout_member_state{state=\"detached\"} 0",
            "resprout_copy_state{db=\"demo\",ordinal=\"3\",instance=\"9\",role=\"master\",state=\"online\"} 1",
            "resprout_replication_lag_bytes{db=\"demo\",ordinal=\"3\",replica=\"5\"} 77",
            "resprout_replication_lag_seconds{db=\"demo\",ordinal=\"3\",replica=\"5\"} 0.5",
        ] {
            assert!(has(&text, line), "{line} is not in\n{text}");
        }
        assert!(!text.contains("partitions_without_master"), "{text}");
        if let Some(member) = &mut view.member {
            member.is_master_aggregator = true;
        }
        let text = encode(&view).expect("formatting into a string");
        assert!(has(&text, "resprout_partitions_without_master{db=\"demo\"} 1"), "{text}");
        assert!(has(&text, "resprout_partitions_under_replicated{db=\"demo\"} 2"), "{text}");
    }

    /// Promise: a leaf that the cluster does not use is not ready, and says why; an aggregator that knows of no
    /// leader is not either.
    #[test]
    fn who_is_not_used_is_not_ready() {
        let mut member = member();
        assert!(member.readiness().ok);
        member.state = Some("detached".into());
        let verdict = member.readiness();
        assert!(!verdict.ok && verdict.reason.contains("detached"), "{verdict:?}");
        member.state = None;
        assert!(!member.readiness().ok);
        (member.state, member.role) = (Some("online".into()), "aggregator".into());
        assert!(!member.readiness().ok);
        member.has_leader = true;
        assert!(member.readiness().ok);
        let node = 1;
        member.master_aggregator = Some(MasterView { node, address: "a:3306".into() });
        assert!(member.mastership().reason.contains("a:3306"));
    }
}
