//! Settings that may change while an engine runs.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::engine::Engine;
use crate::error::Error;
use crate::options::Options;
use crate::partition::Context;

/// Those of the [`Options`] that may change while an engine runs. They hold until it is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tuning {
    /// See [`Options::maximum_memory`]. Below what is taken already, only writes that need no more
    /// memory go on.
    pub maximum_memory: u64,
    /// See [`Options::snapshot_trigger_size`].
    pub snapshot_trigger_size: u64,
    /// See [`Options::snapshots_to_keep`]. More than that are removed with the next snapshot.
    pub snapshots_to_keep: usize,
    /// See [`Options::recovery_time_target`].
    pub recovery_time_target: Option<Duration>,
}

impl Tuning {
    /// What the options say.
    pub(crate) const fn of(options: &Options) -> Self {
        Self {
            maximum_memory: options.maximum_memory,
            snapshot_trigger_size: options.snapshot_trigger_size,
            snapshots_to_keep: options.snapshots_to_keep,
            recovery_time_target: options.recovery_time_target,
        }
    }
}

impl Context {
    pub(crate) fn tuning(&self) -> Tuning {
        *self.tuning.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Engine {
    /// What holds now.
    #[must_use]
    pub fn tuning(&self) -> Tuning {
        self.shared.context.tuning()
    }

    /// How long a statement waits for a row's lock, unless its transaction says otherwise.
    #[must_use]
    pub fn lock_wait_limit(&self) -> Duration {
        self.shared.context.options.lock_wait_limit
    }

    /// Changes settings, all that are given together.
    ///
    /// # Errors
    /// [`Error::BadOption`] with the first impossible one; nothing is changed then.
    pub fn tune(&self, change: impl FnOnce(&mut Tuning)) -> Result<(), Error> {
        let context = &self.shared.context;
        let mut tuning = context.tuning.write().unwrap_or_else(PoisonError::into_inner);
        let mut changed = *tuning;
        change(&mut changed);
        let Tuning { maximum_memory, snapshot_trigger_size, .. } = changed;
        let Tuning { snapshots_to_keep, recovery_time_target, .. } = changed;
        Options {
            maximum_memory,
            snapshot_trigger_size,
            snapshots_to_keep,
            recovery_time_target,
            ..context.options.clone()
        }
        .validate()?;
        *tuning = changed;
        context.bound.maximum.store(maximum_memory, Ordering::Relaxed);
        tracing::info!(?changed, "settings changed");
        Ok(())
    }
}
