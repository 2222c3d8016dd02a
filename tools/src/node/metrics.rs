//! The node's metrics: made anew from one [`NodeView`] per scrape, so that they agree with the
//! status and a dropped partition leaves nothing behind.
//!
//! Names follow the rules of Prometheus (prefix, base units); counters get `_total` from the
//! encoder. A node exports only its own partitions, so labels stay bounded.

use std::fmt;
use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::view::{NodeView, PartitionView};

/// Content type of the text.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

const NODE_STATES: [&str; 4] = ["RECOVERING", "ONLINE", "RECOVERY_FAILED", "STOPPING"];
const PARTITION_STATES: [&str; 5] =
    ["RECOVERING", "PENDING", "TRANSITIONING", "ONLINE", "UNRECOVERABLE"];

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Build {
    version: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OfNode {
    state: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Of {
    db: String,
    ordinal: u32,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct InState {
    db: String,
    ordinal: u32,
    state: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Use {
    r#use: String,
}

type Float = Gauge<f64, AtomicU64>;

/// The metrics of `view` as OpenMetrics text.
///
/// # Errors
/// Only if formatting itself fails.
pub fn encode(view: &NodeView) -> Result<String, fmt::Error> {
    let mut registry = Registry::with_prefix("resprout");
    describe_node(&mut registry, view);
    describe_recovery(&mut registry, view);
    describe_partitions(&mut registry, &view.partitions);
    let mut out = String::new();
    text::encode(&mut out, &registry)?;
    Ok(out)
}

fn describe_node(registry: &mut Registry, view: &NodeView) {
    let build = Family::<Build, Gauge>::default();
    build.get_or_create(&Build { version: view.version.clone() }).set(1);
    registry.register("build_info", "Version of the software", build);
    let state = Family::<OfNode, Gauge>::default();
    for name in NODE_STATES {
        let is = i64::from(view.state == name);
        state.get_or_create(&OfNode { state: name.to_lowercase() }).set(is);
    }
    registry.register("node_state", "1 for the node's state, 0 for the others", state);
    let used = Family::<Use, Gauge>::default();
    let rows = view.partitions.iter().map(|p| p.memory_bytes).sum();
    used.get_or_create(&Use { r#use: "rows".into() }).set(signed(rows));
    registry.register("memory_used_bytes", "Page memory in use", used);
    let limit: Gauge = Gauge::default();
    limit.set(signed(view.maximum_memory_bytes));
    registry.register("memory_limit_bytes", "Most page memory", limit);
}

fn describe_recovery(registry: &mut Registry, view: &NodeView) {
    let remaining = Float::default();
    remaining.set(view.progress.eta_s.unwrap_or(f64::NAN));
    let help = "Time left of recovery at its present rate, NaN while unknown";
    registry.register("recovery_remaining_seconds", help, remaining);
    let stalled = Float::default();
    let stalled_s = if view.is_recovering() { view.progress.stalled_s } else { 0.0 };
    stalled.set(stalled_s);
    registry.register("recovery_stalled_seconds", "Time since recovery last moved", stalled);
    let predicted = Float::default();
    // Partitions recover beside each other, so the slowest one is the bound.
    let slowest = view.partitions.iter().map(|p| p.predicted_recovery_s).fold(0.0, f64::max);
    predicted.set(slowest);
    let help = "How long a restart now would take";
    registry.register("predicted_recovery_seconds", help, predicted);
}

/// One gauge per partition from one of its numbers.
fn per_partition(
    registry: &mut Registry,
    (name, help): (&str, &str),
    partitions: &[PartitionView],
    number: impl Fn(&PartitionView) -> u64,
) {
    let family = Family::<Of, Gauge>::default();
    for partition in partitions {
        family.get_or_create(&of(partition)).set(signed(number(partition)));
    }
    registry.register(name, help, family);
}

fn describe_partitions(registry: &mut Registry, partitions: &[PartitionView]) {
    let state = Family::<InState, Gauge>::default();
    let replayed = Family::<Of, Counter>::default();
    for partition in partitions {
        for name in PARTITION_STATES {
            let Of { db, ordinal } = of(partition);
            let labels = InState { db, ordinal, state: name.to_lowercase() };
            state.get_or_create(&labels).set(i64::from(partition.state == name));
        }
        replayed.get_or_create(&of(partition)).inc_by(partition.progress.done_bytes);
    }
    registry.register("partition_state", "1 for the copy's state, 0 for the others", state);
    registry.register("recovery_replayed_bytes", "Bytes recovered since the start", replayed);
    let target = ("recovery_target_bytes", "Bytes that recovery has to do");
    per_partition(registry, target, partitions, |p| p.progress.total_bytes);
    let since = ("wal_since_snapshot_bytes", "Log bytes since the newest snapshot");
    per_partition(registry, since, partitions, |p| p.log_since_snapshot_bytes);
    let written = Family::<Of, Counter>::default();
    for partition in partitions {
        written.get_or_create(&of(partition)).inc_by(partition.end_lsn);
    }
    registry.register("wal_written_bytes", "Log bytes in all of the log's life", written);
    let entries = ("partition_entries", "Rows of all tables and entries of their indexes");
    per_partition(registry, entries, partitions, |p| p.entries);
    let memory = ("partition_memory_bytes", "Page memory of the partition");
    per_partition(registry, memory, partitions, |p| p.memory_bytes);
}

fn of(partition: &PartitionView) -> Of {
    Of { db: partition.database.clone(), ordinal: partition.ordinal }
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Promise: the names that dashboards and alerts use, with their labels and units.
    #[test]
    fn names_are_those_of_the_contract() {
        let partition = PartitionView {
            database: "demo".into(),
            ordinal: 3,
            state: "ONLINE".into(),
            end_lsn: 8192,
            entries: 7,
            ..PartitionView::default()
        };
        let view = NodeView {
            version: "1.2.3".into(),
            state: "ONLINE".into(),
            partitions: vec![partition],
            ..NodeView::default()
        };
        let text = encode(&view).expect("formatting into a string");
        for line in [
            "resprout_build_info{version=\"1.2.3\"} 1",
            "resprout_node_state{state=\"online\"} 1",
            "resprout_node_state{state=\"recovering\"} 0",
            "resprout_partition_state{db=\"demo\",ordinal=\"3\",state=\"online\"} 1",
            "resprout_partition_state{db=\"demo\",ordinal=\"3\",state=\"unrecoverable\"} 0",
            "resprout_wal_written_bytes_total{db=\"demo\",ordinal=\"3\"} 8192",
            "resprout_partition_entries{db=\"demo\",ordinal=\"3\"} 7",
            "resprout_memory_used_bytes{use=\"rows\"} 0",
            "resprout_recovery_remaining_seconds NaN",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
    }
}
