//! Settings of the cluster on this node: what holds, and what changes here while the node runs.
//!
//! ```text
//!   metadata ─┬─► Given::text ─────────────────► SHOW VARIABLES
//!   started  ─┘   Given::manager ──► Office ───► Manager
//!   with          Applying ──┬──► consensus: election timeout
//!                            └──► engine of a leaf: snapshots
//! ```

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use resprout_cluster::manager;
use resprout_cluster::metadata::Metadata;
use resprout_cluster::settings::{
    AGGREGATOR_FAILURE_DETECTION, ATTACH_REBALANCE_DELAY_SECONDS, AUTO_ATTACH,
    CATCH_UP_MIB_PER_SECOND, CONSENSUS_ELECTION_TIMEOUT, CONSENSUS_ENABLED,
    DEFAULT_PARTITIONS_PER_LEAF, HEARTBEAT_CONNECT_FAILURE_LIMIT, HEARTBEAT_INTERVAL_MS,
    HEARTBEAT_MISS_LIMIT, LEAF_FAILOVER_FANOUT, LEAF_FAILURE_DETECTION, REDUNDANCY_LEVEL,
    SNAPSHOT_TRIGGER_SIZE, SNAPSHOTS_TO_KEEP, SYNC_REPLICATION_TIMEOUT_MS,
};
use resprout_consensus::Timing;
use resprout_consensus::node::Handle;
use resprout_replication::{Config, Mode};

use crate::copies::Copies;
use crate::options::Options;
use crate::state::{Machine, Shared};

/// What `catch_up_mib_per_second` is for each processor, if nothing was set: with 16, clients that need all processors kept
/// 0.73 of their writes (docs/benchmarks.md), and 0.8 is what they are to keep.
const MIB_PER_PROCESSOR: u64 = 10;
static PROCESSORS: LazyLock<u64> =
    LazyLock::new(|| std::thread::available_parallelism().map_or(1, usize::from) as u64);
/// Partitions of a database for which nothing is said, by leaf, if nothing was set.
const PARTITIONS_PER_LEAF: u32 = 8;

/// What the node was started with: it holds where nothing was set.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Given {
    manager: manager::Config,
    election_timeout: Duration,
    snapshots_to_keep: usize,
    snapshot_trigger_size: u64,
}

fn switch(on: bool) -> String {
    if on { "ON" } else { "OFF" }.to_owned()
}

impl Given {
    pub(crate) fn of(options: &Options) -> Self {
        Self {
            manager: options.manager,
            election_timeout: options.election_timeout,
            snapshots_to_keep: options.engine.snapshots_to_keep,
            snapshot_trigger_size: options.engine.snapshot_trigger_size,
        }
    }

    /// What the master aggregator goes by.
    pub(crate) fn manager(&self, metadata: &Metadata) -> manager::Config {
        self.manager.as_set(metadata)
    }

    /// A value that consensus does not take counts as not set.
    fn timing(&self, metadata: &Metadata) -> Option<Timing> {
        let set = metadata.settings().millis(CONSENSUS_ELECTION_TIMEOUT);
        let set = set.and_then(|timeout| Timing::new(timeout).ok());
        set.or_else(|| Timing::new(self.election_timeout).ok())
    }

    /// `snapshots_to_keep` and `snapshot_trigger_size`.
    fn snapshots(&self, metadata: &Metadata) -> (usize, u64) {
        let set = metadata.settings();
        let keep = set.count(SNAPSHOTS_TO_KEEP).and_then(|count| usize::try_from(count).ok());
        let size = set.count(SNAPSHOT_TRIGGER_SIZE);
        (keep.unwrap_or(self.snapshots_to_keep), size.unwrap_or(self.snapshot_trigger_size))
    }

    /// What holds, as people read it; none for what is no setting of the cluster.
    pub(crate) fn text(&self, metadata: &Metadata, name: &str) -> Option<String> {
        let manager = self.manager(metadata);
        let detector = manager.detector;
        Some(match name {
            REDUNDANCY_LEVEL => metadata.mode().copies().to_string(),
            LEAF_FAILOVER_FANOUT => metadata.fanout().to_owned(),
            AUTO_ATTACH => switch(manager.auto_attach),
            ATTACH_REBALANCE_DELAY_SECONDS => manager.stable.as_secs().to_string(),
            CONSENSUS_ENABLED => switch(metadata.elects()),
            CONSENSUS_ELECTION_TIMEOUT => {
                let timing = self.timing(metadata);
                timing.map_or(0, |timing| timing.election().as_millis()).to_string()
            }
            DEFAULT_PARTITIONS_PER_LEAF => partitions_per_leaf(metadata).to_string(),
            SNAPSHOTS_TO_KEEP => self.snapshots(metadata).0.to_string(),
            SNAPSHOT_TRIGGER_SIZE => self.snapshots(metadata).1.to_string(),
            SYNC_REPLICATION_TIMEOUT_MS => {
                let config = of_copy(metadata, Mode::default());
                config.timing.silent.as_millis().to_string()
            }
            CATCH_UP_MIB_PER_SECOND => (catch_up_rate(metadata) >> 20).to_string(),
            HEARTBEAT_INTERVAL_MS => detector.interval.as_millis().to_string(),
            HEARTBEAT_MISS_LIMIT => detector.beats.to_string(),
            HEARTBEAT_CONNECT_FAILURE_LIMIT => detector.refusals.to_string(),
            LEAF_FAILURE_DETECTION => switch(detector.leaves),
            AGGREGATOR_FAILURE_DETECTION => switch(detector.aggregators),
            _ => return None,
        })
    }
}

/// `default_partitions_per_leaf`.
pub(crate) fn partitions_per_leaf(metadata: &Metadata) -> u32 {
    let set = metadata.settings().count(DEFAULT_PARTITIONS_PER_LEAF);
    let set = set.and_then(|count| u32::try_from(count).ok()).filter(|count| *count > 0);
    set.unwrap_or(PARTITIONS_PER_LEAF)
}

/// Bytes that a leaf sends in a second to copies that lack much, while clients use it: `catch_up_mib_per_second`.
pub(crate) fn catch_up_rate(metadata: &Metadata) -> u64 {
    let set = metadata.settings().count(CATCH_UP_MIB_PER_SECOND).filter(|mib| *mib > 0);
    set.unwrap_or_else(|| MIB_PER_PROCESSOR * *PROCESSORS).saturating_mul(1 << 20)
}

/// What a copy begins with that is driven from now on.
pub(crate) fn of_copy(metadata: &Metadata, mode: Mode) -> Config {
    let usual = Config { mode, ..Config::default() };
    let Some(silent) = metadata.settings().millis(SYNC_REPLICATION_TIMEOUT_MS) else {
        return usual;
    };
    let mut config = usual;
    config.timing.silent = silent;
    // The table of variables has the bounds; what comes from elsewhere must not stop a copy.
    if config.validate().is_ok() { config } else { usual }
}

/// Makes what was set hold on this node, whenever it changes.
pub(crate) struct Applying {
    pub(crate) given: Given,
    pub(crate) metadata: Shared,
    pub(crate) consensus: Handle<Machine>,
    pub(crate) copies: Option<Arc<Copies>>,
}

impl Applying {
    pub(crate) async fn run(self) {
        let mut changes = self.metadata.watch();
        let mut timing = Timing::new(self.given.election_timeout).ok();
        loop {
            self.tune();
            timing = self.pace(timing).await;
            if changes.changed().await.is_err() {
                return;
            }
        }
    }

    /// The engine of a leaf.
    fn tune(&self) {
        let Some(engine) = self.copies.as_ref().and_then(|copies| copies.engine()) else { return };
        let (keep, size) = self.given.snapshots(&self.metadata.read());
        let now = engine.tuning();
        if (now.snapshots_to_keep, now.snapshot_trigger_size) == (keep, size) {
            return;
        }
        let tuned = engine.tune(|tuning| {
            (tuning.snapshots_to_keep, tuning.snapshot_trigger_size) = (keep, size);
        });
        if let Err(error) = tuned {
            tracing::warn!(%error, "settings of snapshots stay as they are here");
        }
    }

    /// The pace of consensus. A leader slows down last, and speeds up first: so that it never beats too seldom for those
    /// who follow it.
    async fn pace(&self, before: Option<Timing>) -> Option<Timing> {
        let wanted = self.given.timing(&self.metadata.read());
        let (Some(next), Some(now)) = (wanted, before) else { return before.or(wanted) };
        if next == now {
            return before;
        }
        let leads = self.consensus.watch().borrow().leader == Some(self.consensus.node());
        if leads && next.election() > now.election() {
            tokio::time::sleep(now.election()).await;
        }
        self.consensus.set_timing(next).await;
        tracing::info!(timeout = ?next.election(), "election timeout of consensus");
        wanted
    }
}
