//! What an engine does by itself: ends lock waits that took too long, takes snapshots that are
//! due, gives kept roots up when memory is short, and a device that does not answer.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::engine::Shared;
use crate::error::Error;

/// How late a lock wait may end.
const LOCK_STEP: Duration = Duration::from_millis(10);
/// How late a due snapshot may begin; also how long a failed one is not tried again, at least.
const SNAPSHOT_STEP: Duration = Duration::from_millis(200);
/// Longest wait after a failed snapshot (D24).
const SNAPSHOT_RETRY_MAX: Duration = Duration::from_secs(60);

/// Two threads, so that a snapshot does not delay the end of a lock wait. They end with it.
#[derive(Debug)]
pub(crate) struct Keeper {
    stop: Arc<Stop>,
    engine: Weak<Shared>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Stop {
    asked: Mutex<bool>,
    changed: Condvar,
}

impl Stop {
    /// Waits; whether it is time to end.
    fn wait(&self, time: Duration) -> bool {
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.changed.wait_timeout_while(asked, time, |asked| !*asked);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

impl Keeper {
    /// Starts the threads. Each handle of the engine holds the keeper, so dropping the last one ends them; a snapshot
    /// under way is given up.
    pub(crate) fn start(shared: &Arc<Shared>) -> Result<Self, Error> {
        let stop = Arc::new(Stop::default());
        let mut threads = Vec::new();
        for (name, snapshots) in [("resprout-keeper", false), ("resprout-snapshot", true)] {
            let (stop, engine) = (Arc::clone(&stop), Arc::downgrade(shared));
            let body = move || run(&stop, &engine, snapshots);
            let thread = std::thread::Builder::new().name(name.to_owned()).spawn(body);
            threads.push(thread.map_err(|source| Error::Disk {
                operation: "start a thread for",
                path: shared.context.dir.clone(),
                source,
            })?);
        }
        Ok(Self { stop, engine: Arc::downgrade(shared), threads })
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        *self.stop.asked.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.stop.changed.notify_all();
        if let Some(shared) = self.engine.upgrade() {
            shared.stop_snapshots();
        }
        for thread in self.threads.drain(..) {
            // Whoever is told of a log's progress, on one of these threads, may drop the last handle.
            if thread.thread().id() != std::thread::current().id() && thread.join().is_err() {
                tracing::error!("a keeper thread had panicked");
            }
        }
    }
}

fn run(stop: &Stop, engine: &Weak<Shared>, snapshots: bool) {
    let mut pause = if snapshots { SNAPSHOT_STEP } else { LOCK_STEP };
    while !stop.wait(pause) {
        let Some(shared) = engine.upgrade() else { return };
        if !snapshots {
            tick(&shared, false);
            continue;
        }
        pause = match take_due_snapshots(&shared) {
            Ok(()) => SNAPSHOT_STEP,
            Err(()) => (pause * 2).min(SNAPSHOT_RETRY_MAX),
        };
    }
}

/// One round of everything that is quick; with `snapshots`, of everything.
pub(crate) fn tick(shared: &Arc<Shared>, snapshots: bool) {
    let context = &shared.context;
    // A device that does not answer (D28): nobody may wait for it without end.
    context.device.give_up_if_stuck(context.options.stuck_after);
    let now = context.now();
    for partition in shared.partitions() {
        if let Some(core) = partition.core() {
            core.locks.expire(now);
            // What nobody waits for is written all the same, within a step.
            core.log.write_soon();
            let bound = &core.bound;
            // Kept roots are a convenience; rows come first.
            if bound.taken.charged_bytes() > bound.maximum() / 10 * 9 {
                core.publisher.drop_kept();
            }
        }
    }
    if snapshots && take_due_snapshots(shared).is_err() {
        tracing::debug!("a due snapshot failed; the next tick tries again");
    }
}

fn take_due_snapshots(shared: &Arc<Shared>) -> Result<(), ()> {
    let mut outcome = Ok(());
    for partition in shared.partitions() {
        let Some(trigger) = partition.snapshot_due() else { continue };
        if partition.inner.closing.load(Ordering::Relaxed) {
            continue;
        }
        tracing::info!(partition = partition.name(), ?trigger, "snapshot begins");
        if let Err(error) = partition.snapshot() {
            tracing::warn!(partition = partition.name(), %error, "no snapshot; the older ones and the log stay");
            outcome = Err(());
        }
    }
    outcome
}
