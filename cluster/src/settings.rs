//! Settings of the cluster: variables that SET GLOBAL gave the metadata, read by whoever goes by them.
//!
//! ```text
//!   SET GLOBAL ─► master aggregator ─► Command::SetVariable ─► metadata of every node ─► Settings
//!                                                                                        │ set: wins
//!                                             what the node was started with ────────────┴─► what holds
//! ```
//!
//! Values are texts as people write them: `ON`, `OFF`, whole numbers, words. One that is not understood counts as not
//! set: nothing that is in the log may stop a node.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::detector;
use crate::manager;
use crate::metadata::{Kind, Metadata, Node, Refusal, Role};
use crate::{Mode, NodeId, Partition};

/// Copies of each partition, 1 or 2. Changes the [`Mode`].
pub const REDUNDANCY_LEVEL: &str = "redundancy_level";
/// [`PAIRED`] or [`LOAD_BALANCED`]: where the second copies are. Changes the [`Mode`].
pub const LEAF_FAILOVER_FANOUT: &str = "leaf_failover_fanout";
/// The replicas of a leaf's masters are on its pair.
pub const PAIRED: &str = "paired";
/// They are spread over the other group.
pub const LOAD_BALANCED: &str = "load_balanced";
/// Leaves that come back are taken in without a command.
pub const AUTO_ATTACH: &str = "auto_attach";
/// Seconds without a change before masters move back.
pub const ATTACH_REBALANCE_DELAY_SECONDS: &str = "attach_rebalance_delay_seconds";
/// Aggregators that are voting members elect the master aggregator; else one has the office until it is told otherwise.
pub const CONSENSUS_ENABLED: &str = "consensus_enabled";
/// Milliseconds without a sign of the master aggregator before another is elected.
pub const CONSENSUS_ELECTION_TIMEOUT: &str = "consensus_election_timeout";
/// Partitions of a new database for which nothing is said, by leaf.
pub const DEFAULT_PARTITIONS_PER_LEAF: &str = "default_partitions_per_leaf";
/// Snapshots kept of each partition.
pub const SNAPSHOTS_TO_KEEP: &str = "snapshots_to_keep";
/// Bytes of log that cause a snapshot.
pub const SNAPSHOT_TRIGGER_SIZE: &str = "snapshot_trigger_size";
/// Milliseconds that a master waits for a replica that says nothing.
pub const SYNC_REPLICATION_TIMEOUT_MS: &str = "sync_replication_timeout_ms";
/// MiB that a leaf sends in a second to copies that lack much, while clients use it.
pub const CATCH_UP_MIB_PER_SECOND: &str = "catch_up_mib_per_second";
/// Milliseconds between two heartbeats.
pub const HEARTBEAT_INTERVAL_MS: &str = "heartbeat_interval_ms";
/// Heartbeats in a row without an answer after which a node is lost.
pub const HEARTBEAT_MISS_LIMIT: &str = "heartbeat_miss_limit";
/// Refused connections in a row after which a node is lost.
pub const HEARTBEAT_CONNECT_FAILURE_LIMIT: &str = "heartbeat_connect_failure_limit";
/// Whether leaves are ever found lost.
pub const LEAF_FAILURE_DETECTION: &str = "leaf_failure_detection";
/// Whether aggregators are ever found lost.
pub const AGGREGATOR_FAILURE_DETECTION: &str = "aggregator_failure_detection";

/// What was set.
#[derive(Clone, Copy, Debug)]
pub struct Settings<'a>(&'a BTreeMap<String, String>);

impl Settings<'_> {
    /// A switch; none if it was not set.
    #[must_use]
    pub fn switch(&self, name: &str) -> Option<bool> {
        let text = self.0.get(name)?;
        let is = |word: &str| text.eq_ignore_ascii_case(word);
        match (is("ON"), is("OFF")) {
            (true, _) => Some(true),
            (_, true) => Some(false),
            _ => None,
        }
    }

    /// A whole number; none if it was not set.
    #[must_use]
    pub fn count(&self, name: &str) -> Option<u64> {
        self.0.get(name)?.parse().ok()
    }

    /// A time that is set in milliseconds; none if it was not set.
    #[must_use]
    pub fn millis(&self, name: &str) -> Option<Duration> {
        self.count(name).map(Duration::from_millis)
    }

    /// A bound that fits 32 bits and is not 0.
    fn bound(&self, name: &str) -> Option<u32> {
        self.count(name).and_then(|count| u32::try_from(count).ok()).filter(|count| *count > 0)
    }
}

impl Metadata {
    /// What SET GLOBAL has set.
    #[must_use]
    pub fn settings(&self) -> Settings<'_> {
        Settings(self.variables())
    }

    /// Whether aggregators elect their master: [`CONSENSUS_ENABLED`], on unless it was set.
    #[must_use]
    pub fn elects(&self) -> bool {
        self.settings().switch(CONSENSUS_ENABLED).unwrap_or(true)
    }

    /// Whether a node is to vote: with elections whoever was added as a voting member, without the master aggregator alone.
    /// (seed 004: without consensus there is one master aggregator, and nobody else decides)
    #[must_use]
    pub fn votes(&self, node: NodeId) -> bool {
        let is_voter = |found: &Node| found.kind == Kind::Aggregator { role: Role::Voter };
        let is_master = self.office().holder == Some(node);
        is_master || self.elects() && self.nodes().get(&node).is_some_and(is_voter)
    }

    /// Where second copies are, or would be: [`PAIRED`] or [`LOAD_BALANCED`].
    #[must_use]
    pub fn fanout(&self) -> &'static str {
        let set = self.variables().get(LEAF_FAILOVER_FANOUT);
        match self.mode() {
            Mode::LoadBalanced => LOAD_BALANCED,
            Mode::Single if set.is_some_and(|set| set == LOAD_BALANCED) => LOAD_BALANCED,
            Mode::Single | Mode::Paired => PAIRED,
        }
    }

    /// The mode that a variable leads to, if it is one that does.
    ///
    /// # Errors
    /// If databases that are there would not fit it.
    pub(crate) fn mode_by(&self, name: &str, value: Option<&str>) -> Result<Option<Mode>, Refusal> {
        let by_fanout = |fanout| match fanout {
            LOAD_BALANCED => Mode::LoadBalanced,
            _ => Mode::Paired,
        };
        let mode = match name {
            REDUNDANCY_LEVEL if value == Some("2") => by_fanout(self.fanout()),
            REDUNDANCY_LEVEL => Mode::Single,
            LEAF_FAILOVER_FANOUT if self.mode() == Mode::Single => return Ok(None),
            LEAF_FAILOVER_FANOUT => by_fanout(value.unwrap_or(PAIRED)),
            _ => return Ok(None),
        };
        self.check_mode(mode).map(|()| Some(mode))
    }

    /// Copies that are placed otherwise would be given up when their leaves return.
    fn check_mode(&self, mode: Mode) -> Result<(), Refusal> {
        if mode == self.mode() {
            return Ok(());
        }
        for entry in self.databases().values() {
            let why = match mode {
                Mode::Single if entry.redundancy > 1 => "has two copies of each partition",
                Mode::Paired if !entry.map.partitions.iter().all(|one| self.is_paired(one)) => {
                    "has copies on leaves that are no pair"
                }
                _ => continue,
            };
            let text = format!("database '{}' {why}", entry.map.name);
            return Err(Refusal::NotPossible { text });
        }
        Ok(())
    }

    fn is_paired(&self, partition: &Partition) -> bool {
        let leaves: Vec<NodeId> = partition.copies.keys().map(|leaf| (*leaf).into()).collect();
        let pair = |leaf: &NodeId| match self.nodes().get(leaf)?.kind {
            Kind::Leaf { pair, .. } => pair,
            Kind::Aggregator { .. } => None,
        };
        match leaves[..] {
            [one, other] => pair(&one) == Some(other),
            _ => true,
        }
    }
}

impl manager::Config {
    /// The same with what was set, which wins over what the node was started with.
    #[must_use]
    pub fn as_set(self, metadata: &Metadata) -> Self {
        let (set, given) = (metadata.settings(), self.detector);
        let stable = set.count(ATTACH_REBALANCE_DELAY_SECONDS).map(Duration::from_secs);
        let interval = set.millis(HEARTBEAT_INTERVAL_MS).filter(|interval| !interval.is_zero());
        Self {
            detector: detector::Config {
                interval: interval.unwrap_or(given.interval),
                beats: set.bound(HEARTBEAT_MISS_LIMIT).unwrap_or(given.beats),
                refusals: set.bound(HEARTBEAT_CONNECT_FAILURE_LIMIT).unwrap_or(given.refusals),
                leaves: set.switch(LEAF_FAILURE_DETECTION).unwrap_or(given.leaves),
                aggregators: set.switch(AGGREGATOR_FAILURE_DETECTION).unwrap_or(given.aggregators),
            },
            auto_attach: set.switch(AUTO_ATTACH).unwrap_or(self.auto_attach),
            stable: stable.unwrap_or(self.stable),
            ..self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::{Command, Decree};
    use crate::{Address, NodeId};

    fn with(pairs: &[(&str, &str)]) -> Metadata {
        let mut metadata = Metadata::default();
        let address = Address { host: "h".to_owned(), port: 1 };
        let first = [
            Command::Found { cluster: 1, address },
            Command::TakeOffice { node: NodeId(1), after: 0 },
        ];
        let set = |(name, value): &(&str, &str)| Command::SetVariable {
            name: (*name).to_owned(),
            value: Some((*value).to_owned()),
        };
        for (index, command) in (1..).zip(first.into_iter().chain(pairs.iter().map(set))) {
            let office = metadata.office().number;
            metadata.apply(index, &Decree { office, at_ms: 0, command });
        }
        metadata
    }

    /// Promise: what is set wins over what a node was started with; what is not understood counts as not set.
    #[test]
    fn what_is_set_wins() {
        let given = manager::Config { auto_attach: false, ..manager::Config::default() };
        assert_eq!(given.as_set(&with(&[])), given);
        let set = given.as_set(&with(&[
            (AUTO_ATTACH, "ON"),
            (ATTACH_REBALANCE_DELAY_SECONDS, "7"),
            (HEARTBEAT_MISS_LIMIT, "9"),
            (LEAF_FAILURE_DETECTION, "OFF"),
        ]));
        assert!(set.auto_attach && !set.detector.leaves && set.detector.aggregators);
        assert_eq!((set.stable, set.detector.beats), (Duration::from_secs(7), 9));
        let nonsense = [
            (AUTO_ATTACH, "perhaps"),
            (HEARTBEAT_INTERVAL_MS, "0"),
            (HEARTBEAT_MISS_LIMIT, "99999999999"),
            (HEARTBEAT_CONNECT_FAILURE_LIMIT, "-1"),
        ];
        assert_eq!(given.as_set(&with(&nonsense)), given);
    }
}
