//! How long things take, for metrics.

use std::sync::Arc;
use std::time::Duration;

use resprout_wal::world::Clock;
use resprout_wal::{Histogram, HistogramReading};

use crate::commit_rule::Durability;

/// Of commits, by what they wait for.
#[derive(Debug, Default)]
pub(crate) struct CommitTimes {
    sync: Histogram,
    asynchronous: Histogram,
}

impl CommitTimes {
    fn of(&self, durability: Durability) -> &Histogram {
        match durability {
            Durability::Sync => &self.sync,
            Durability::Async => &self.asynchronous,
        }
    }

    /// A commit begins.
    pub(crate) fn begin<'a>(
        &'a self,
        durability: Durability,
        clock: &'a Arc<dyn Clock>,
    ) -> Timer<'a> {
        Timer { times: self.of(durability), clock, began: clock.now() }
    }

    pub(crate) fn read(&self) -> (HistogramReading, HistogramReading) {
        (self.sync.read(), self.asynchronous.read())
    }
}

/// A commit on its way. Counts only if it is acknowledged.
pub(crate) struct Timer<'a> {
    times: &'a Histogram,
    clock: &'a Arc<dyn Clock>,
    began: Duration,
}

impl Timer<'_> {
    pub(crate) fn acknowledged(self) {
        self.times.record(self.clock.now().saturating_sub(self.began));
    }
}

/// What an engine has measured since it was opened.
#[derive(Clone, Debug, Default)]
pub struct Times {
    /// Acknowledged commits of databases with sync durability, from the call to the answer.
    pub sync_commits: HistogramReading,
    /// The same with async durability.
    pub async_commits: HistogramReading,
    /// Flushes of the log, and writes that are durable by themselves.
    pub flushes: HistogramReading,
    /// How long the oldest request has been with the log's device by now; `None` if it has none.
    pub log_waiting: Option<Duration>,
}
