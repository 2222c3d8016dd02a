//! One copy's node: its disk and its process, which come and go. The model of both is shared with the simulation of whole
//! clusters.

use std::time::Duration;

use resprout_replication::{Config, Incarnation, Instance, Partition};
use resprout_sim::copy::Start;
pub(crate) use resprout_sim::copy::{Disk, Op, Process, Waiting};
use resprout_wal::world::Rng;

/// See the module.
#[derive(Clone, Debug, Default)]
pub(crate) struct Node {
    pub(crate) disk: Disk,
    pub(crate) process: Option<Process>,
    /// Counts processes: events of an earlier one are dropped.
    pub(crate) run: u64,
    pub(crate) paused: bool,
    /// What arrived while it was paused.
    pub(crate) kept: Vec<crate::world::Event>,
    /// Flushes take so many times as long.
    pub(crate) slow: u64,
    pub(crate) full: bool,
}

/// The only partition.
pub(crate) const PARTITION: Partition = Partition { cluster: 7, database: 1, ordinal: 0 };

impl Node {
    /// Starts its process on what the disk has.
    pub(crate) fn start(&mut self, number: u64, config: Config, now: Duration) {
        self.run += 1;
        self.full = false;
        let ahead = Duration::from_secs((number * 7_919 + self.run * 104_729) % 40);
        let (instance, least) = (Instance(number), Incarnation(1));
        let start = Start { partition: PARTITION, instance, least, config, now, ahead };
        self.process = Some(Process::start(&mut self.disk, start));
    }

    /// Ends its process; some of what was under way is on the disk.
    pub(crate) fn crash(&mut self, rng: &mut Rng) -> Vec<Waiting> {
        let Some(process) = self.process.take() else { return Vec::new() };
        self.paused = false;
        self.kept.clear();
        process.crash(&mut self.disk, rng)
    }
}
