//! The node's metrics: made anew from one [`NodeView`] per scrape, so that they agree with the
//! status and a dropped partition leaves nothing behind.
//!
//! Names follow the rules of Prometheus (prefix, base units); counters get `_total` from the
//! encoder. A node exports only its own partitions, so labels stay bounded.

use std::fmt;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, EncodeMetric, MetricEncoder, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use resprout_wal::HistogramReading;

use super::member;
use super::view::{NodeView, PartitionView};

/// Content type of the text.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

const NODE_STATES: [&str; 5] = ["WAITING", "RECOVERING", "ONLINE", "RECOVERY_FAILED", "STOPPING"];
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

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Stage {
    stage: String,
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
    describe_times(&mut registry, view);
    if let Some(member) = &view.member {
        member::describe(&mut registry, member);
    }
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
    let unwritten = |p: &PartitionView| p.end_lsn.saturating_sub(p.durable_lsn);
    let log = view.partitions.iter().map(unwritten).sum();
    used.get_or_create(&Use { r#use: "log".into() }).set(signed(log));
    let help = "Memory in use: pages of rows and indexes; log that is sealed and not on disk";
    registry.register("memory_used_bytes", help, used);
    let limit: Gauge = Gauge::default();
    limit.set(signed(view.maximum_memory_bytes));
    registry.register("memory_limit_bytes", "Most page memory", limit);
}

/// Durations that the engine has counted, by the value of one label.
#[derive(Debug)]
struct Counted {
    label: Option<&'static str>,
    by: Vec<(&'static str, HistogramReading)>,
}

impl EncodeMetric for Counted {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        for (value, reading) in &self.by {
            match self.label {
                Some(label) => {
                    let labels = [(label, *value)];
                    encode_reading(&mut encoder.encode_family(&labels)?, reading)?;
                }
                None => encode_reading(&mut encoder, reading)?,
            }
        }
        Ok(())
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Histogram
    }
}

fn encode_reading(encoder: &mut MetricEncoder<'_>, reading: &HistogramReading) -> fmt::Result {
    let bound = |bound: Option<Duration>| bound.map_or(f64::INFINITY, |bound| bound.as_secs_f64());
    let buckets: Vec<(f64, u64)> =
        reading.buckets().map(|(below, count)| (bound(below), count)).collect();
    let (sum, count) = (reading.sum().as_secs_f64(), reading.count());
    encoder.encode_histogram::<[(&str, &str); 0]>(sum, count, &buckets, None)
}

fn describe_times(registry: &mut Registry, view: &NodeView) {
    let times = &view.times;
    let by = vec![("true", times.sync_commits.clone()), ("false", times.async_commits.clone())];
    let help = "Acknowledged commits, from the call to the answer, by sync durability";
    registry.register("commit_seconds", help, Counted { label: Some("sync"), by });
    let by = vec![("", times.flushes.clone())];
    let help = "Flushes of the log, and writes that are durable by themselves";
    registry.register("wal_fsync_seconds", help, Counted { label: None, by });
    let waiting = Float::default();
    waiting.set(view.log_waiting_s);
    let help = "How long the oldest request has been with the log's device";
    registry.register("wal_waiting_seconds", help, waiting);
    let Some(report) = view.recovered else { return };
    let stages = Family::<Stage, Counter<f64, AtomicU64>>::default();
    let records: Counter = Counter::default();
    for (stage, took) in [("snapshot", report.snapshot), ("log", report.log)] {
        stages.get_or_create(&Stage { stage: stage.into() }).inc_by(took.as_secs_f64());
    }
    records.inc_by(report.log_operations);
    let help = "Time to the last page of the last snapshot, and what log took after that";
    registry.register("recovery_stage_seconds", help, stages);
    let help = "Operations of the log that recovery has applied";
    registry.register("recovery_replayed_operations", help, records);
    let total = Float::default();
    total.set(report.total.as_secs_f64());
    registry.register("recovery_duration_seconds", "How long the last recovery took", total);
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
    let age = Family::<Of, Float>::default();
    for partition in partitions {
        let seconds = partition.snapshot_age_s.unwrap_or(f64::NAN);
        age.get_or_create(&of(partition)).set(seconds);
    }
    registry.register("snapshot_age_seconds", "Age of the newest snapshot, NaN without one", age);
    let stopped = ("partition_stopped", "1 if the copy takes no more writes, whatever its state");
    per_partition(registry, stopped, partitions, |p| u64::from(p.error.is_some()));
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
    use resprout_engine::{RecoveryReport, Times};
    use resprout_wal::Histogram;

    use super::*;

    fn times() -> Times {
        let (commits, flushes) = (Histogram::default(), Histogram::default());
        commits.record(Duration::from_nanos(900));
        commits.record(Duration::from_millis(4));
        flushes.record(Duration::from_millis(1));
        Times { sync_commits: commits.read(), flushes: flushes.read(), ..Times::default() }
    }

    /// Promise: the names that dashboards and alerts use, with their labels and units.
    #[test]
    fn names_are_those_of_the_contract() {
        let partition = PartitionView {
            database: "demo".into(),
            ordinal: 3,
            state: "ONLINE".into(),
            end_lsn: 8192,
            entries: 7,
            durable_lsn: 4096,
            snapshot_age_s: Some(1.5),
            ..PartitionView::default()
        };
        let view = NodeView {
            version: "1.2.3".into(),
            state: "ONLINE".into(),
            partitions: vec![partition],
            times: times(),
            recovered: Some(RecoveryReport {
                total: Duration::from_secs(3),
                log: Duration::from_secs(1),
                log_operations: 9,
                ..RecoveryReport::default()
            }),
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
            "resprout_memory_used_bytes{use=\"log\"} 4096",
            "resprout_recovery_remaining_seconds NaN",
            "resprout_recovery_duration_seconds 3.0",
            "resprout_recovery_stage_seconds_total{stage=\"log\"} 1.0",
            "resprout_recovery_replayed_operations_total 9",
            "resprout_snapshot_age_seconds{db=\"demo\",ordinal=\"3\"} 1.5",
            "resprout_partition_stopped{db=\"demo\",ordinal=\"3\"} 0",
            "resprout_wal_waiting_seconds 0.0",
            "resprout_commit_seconds_count{sync=\"true\"} 2",
            "resprout_commit_seconds_count{sync=\"false\"} 0",
            "resprout_commit_seconds_sum{sync=\"true\"} 0.0040009",
            "resprout_commit_seconds_bucket{le=\"0.000004096\",sync=\"true\"} 1",
            "resprout_commit_seconds_bucket{le=\"0.004194304\",sync=\"true\"} 2",
            "resprout_commit_seconds_bucket{le=\"+Inf\",sync=\"true\"} 2",
            "resprout_wal_fsync_seconds_count 1",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
    }
}
