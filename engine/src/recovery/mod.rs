//! Coming back: from files to partitions that serve.
//!
//! ```text
//!  directory ─► partitions in RECOVERING ─┬► worker: partition ─┬► load snapshot ─► apply log ─► PENDING
//!                                         ├► worker: …          └► read, check, sort log ──┘        │
//!                                         └► …                                             attach ─► ONLINE
//! ```
//!
//! The largest partitions begin first. Within one, the log is read, checked and sorted while the
//! snapshot still loads. A partition that cannot be recovered becomes UNRECOVERABLE with the
//! reason; the others go on (catalogue D04, AV).

mod load;
mod partition;
mod replay;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::database::Database;
use crate::engine::Engine;
use crate::error::Error;
use crate::keeper::Keeper;
use crate::partition::{Partition, PartitionStatus};
use crate::progress::Progress;
use crate::state::State;

pub(crate) use partition::{read_bounds, read_catalog, rebuild, remove_files, start_empty};
pub(crate) use replay::{Batch, Collector};

/// What a recovery did, for benches and operators.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct RecoveryReport {
    /// From the start to the last partition.
    pub total: Duration,
    /// From the start to the last page of the last snapshot.
    pub snapshot: Duration,
    /// What came after that: log that was not hidden behind the loading of snapshots.
    pub log: Duration,
    /// Bytes of the snapshots.
    pub snapshot_bytes: u64,
    /// Bytes of log read.
    pub log_bytes: u64,
    /// Operations in the log.
    pub log_operations: u64,
    /// Rows and index entries afterwards.
    pub rows: u64,
    /// Partitions that came back.
    pub recovered: usize,
    /// Partitions that did not.
    pub unrecoverable: usize,
}

/// What the recovery of one partition did. Times are since the recovery of the node began.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct PartitionReport {
    pub(crate) snapshot_at: Duration,
    pub(crate) snapshot_time: Duration,
    pub(crate) log_time: Duration,
    pub(crate) snapshot_bytes: u64,
    pub(crate) log_bytes: u64,
    pub(crate) log_operations: u64,
    pub(crate) rows: u64,
}

/// A recovery on its way.
#[derive(Debug)]
pub struct Recovery {
    engine: Engine,
    work: Option<JoinHandle<Result<RecoveryReport, Error>>>,
    report: Option<RecoveryReport>,
}

impl Recovery {
    /// Of all partitions together.
    #[must_use]
    pub fn progress(&self) -> Progress {
        self.engine.status().progress
    }

    /// Of each partition.
    #[must_use]
    pub fn status(&self) -> Vec<PartitionStatus> {
        self.engine.status().partitions
    }

    /// Whether every partition is through, well or not.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.work.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// The engine while it recovers: for status. Partitions refuse work until they are online.
    #[must_use]
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Waits to the end.
    ///
    /// # Errors
    /// If the recovery itself failed. Partitions that cannot be recovered are no error here:
    /// see [`Engine::status`].
    pub fn wait(self) -> Result<Engine, Error> {
        Ok(self.wait_with_report()?.0)
    }

    /// Waits to the end, and tells what was done.
    ///
    /// # Errors
    /// As [`Recovery::wait`].
    pub fn wait_with_report(mut self) -> Result<(Engine, RecoveryReport), Error> {
        let report = match self.work.take() {
            Some(work) => work.join().map_err(|_| Error::Closing)??,
            None => self.report.unwrap_or_default(),
        };
        Ok((self.engine, report))
    }
}

/// Begins; without threads of its own, also ends.
pub(crate) fn start(engine: Engine) -> Recovery {
    let threads = engine.shared.context.options.threads;
    let running = engine.clone();
    if threads {
        let body = move || run(&running);
        match std::thread::Builder::new().name("resprout-recovery".to_owned()).spawn(body) {
            Ok(work) => return Recovery { engine, work: Some(work), report: None },
            Err(error) => tracing::warn!(%error, "no thread for recovery: it runs in the caller"),
        }
        let report = run(&engine).ok();
        return Recovery { engine, work: None, report };
    }
    let report = run(&engine).ok();
    Recovery { engine, work: None, report }
}

fn run(engine: &Engine) -> Result<RecoveryReport, Error> {
    let context = &engine.shared.context;
    let begun = context.now();
    let databases = engine.databases();
    let mut partitions: Vec<Partition> =
        databases.iter().map(Database::partitions).flat_map(<[_]>::to_vec).collect();
    for partition in &partitions {
        partition::expect(partition);
    }
    // The largest first, so that no worker is left alone with it at the end.
    let size = |partition: &Partition| partition.inner.progress.read(begun).total;
    partitions.sort_by_key(|partition| std::cmp::Reverse(size(partition)));
    let reports = work(engine, &partitions, begun);

    let total = context.now().saturating_sub(begun);
    let report = summary(&reports, total, &partitions);
    note_rates(engine, &reports);
    tracing::info!(
        seconds = total.as_secs_f64(),
        snapshot_bytes = report.snapshot_bytes,
        log_bytes = report.log_bytes,
        rows = report.rows,
        partitions = report.recovered,
        unrecoverable = report.unrecoverable,
        "recovery done"
    );
    if context.options.threads {
        let keeper = Keeper::start(&engine.shared)?;
        *engine.keeper.lock().unwrap_or_else(PoisonError::into_inner) = Some(keeper);
    }
    Ok(report)
}

/// Recovers all partitions with as many workers as the options say.
fn work(engine: &Engine, partitions: &[Partition], begun: Duration) -> Vec<PartitionReport> {
    let context = &engine.shared.context;
    let next = AtomicUsize::new(0);
    let reports = Mutex::new(Vec::new());
    let worker = &|| {
        while let Some(partition) = partitions.get(next.fetch_add(1, Ordering::Relaxed)) {
            match partition::recover(partition, begun) {
                Ok(report) => reports.lock().unwrap_or_else(PoisonError::into_inner).push(report),
                Err(error) => partition.give_up(&error.to_string()),
            }
            let waits = partition.state() == State::Pending;
            if context.options.attach && waits && partition.is_driven() {
                let partition = partition.name();
                tracing::warn!(
                    partition,
                    "one of several copies: PENDING until it is told its role"
                );
            } else if context.options.attach && waits {
                // The state and the log already tell the reason.
                if let Err(error) = partition.attach() {
                    tracing::error!(partition = partition.name(), %error, "not attached");
                }
            }
        }
    };
    if context.options.threads {
        std::thread::scope(|scope| {
            for number in 1..context.options.recovery_threads.min(partitions.len()) {
                let name = format!("recovery-{number}");
                let spawned = std::thread::Builder::new().name(name).spawn_scoped(scope, worker);
                if let Err(error) = spawned {
                    tracing::warn!(%error, "recovery goes on with fewer threads");
                    break;
                }
            }
            worker();
        });
    } else {
        worker();
    }
    reports.into_inner().unwrap_or_else(PoisonError::into_inner)
}

fn summary(
    reports: &[PartitionReport],
    total: Duration,
    partitions: &[Partition],
) -> RecoveryReport {
    let snapshot = reports.iter().map(|r| r.snapshot_at).max().unwrap_or_default();
    RecoveryReport {
        total,
        snapshot,
        log: total.saturating_sub(snapshot),
        snapshot_bytes: reports.iter().map(|r| r.snapshot_bytes).sum(),
        log_bytes: reports.iter().map(|r| r.log_bytes).sum(),
        log_operations: reports.iter().map(|r| r.log_operations).sum(),
        rows: reports.iter().map(|r| r.rows).sum(),
        recovered: reports.len(),
        unrecoverable: partitions.len() - reports.len(),
    }
}

/// Remembers the speeds reached, for predictions. Too small amounts say nothing.
fn note_rates(engine: &Engine, reports: &[PartitionReport]) {
    const ENOUGH: u64 = 16 << 20;
    let rate = |bytes: u64, time: Duration| {
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX).max(1);
        (bytes >= ENOUGH).then(|| bytes.saturating_mul(1_000_000) / micros)
    };
    let context = &engine.shared.context;
    let sum = |bytes: fn(&PartitionReport) -> u64, time: fn(&PartitionReport) -> Duration| {
        rate(reports.iter().map(bytes).sum(), reports.iter().map(time).sum())
    };
    if let Some(rate) = sum(|r| r.snapshot_bytes, |r| r.snapshot_time) {
        context.snapshot_rate.store(rate, Ordering::Relaxed);
    }
    if let Some(rate) = sum(|r| r.log_bytes, |r| r.log_time) {
        context.log_rate.store(rate, Ordering::Relaxed);
    }
}

/// Shared by the modules of recovery: the engine's context of a partition.
fn context_of(partition: &Partition) -> &Arc<crate::partition::Context> {
    &partition.inner.context
}
