//! Plans that the master aggregator carries out: who asked for one waits here until it is over.
//!
//! ```text
//!   operation ──Run(errand)──► office (manager) ──ended──► operation
//!        └──── shown, averages: what the manager knows ◄───┘
//! ```

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use resprout_cluster::execution;
use resprout_cluster::manager::{Ended, Errand, Manager};
use resprout_cluster::plan::Plan;
use tokio::sync::oneshot;

/// See the module. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Errands {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    manager: Mutex<Manager>,
    last: AtomicU64,
    waiting: Mutex<BTreeMap<u64, oneshot::Sender<Ended>>>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Errands {
    pub(crate) fn new(manager: Manager) -> Self {
        let (manager, last, waiting) = (Mutex::new(manager), AtomicU64::new(0), Mutex::default());
        Self { shared: Arc::new(Shared { manager, last, waiting }) }
    }

    /// What decides. Held for as long as a look takes.
    pub(crate) fn manager(&self) -> MutexGuard<'_, Manager> {
        locked(&self.shared.manager)
    }

    /// An errand that can be waited for, to be given to the manager.
    pub(crate) fn errand(
        &self,
        plan: Plan,
        config: execution::Config,
    ) -> (Errand, oneshot::Receiver<Ended>) {
        let number = self.shared.last.fetch_add(1, Ordering::Relaxed) + 1;
        let (over, waits) = oneshot::channel();
        locked(&self.shared.waiting).insert(number, over);
        (Errand { number, plan, config }, waits)
    }

    /// These are over.
    pub(crate) fn ended(&self, ended: Vec<(u64, Ended)>) {
        for (number, ended) in ended {
            if let Some(waiting) = locked(&self.shared.waiting).remove(&number) {
                // Whoever asked may not want to know any more.
                let _unheard = waiting.send(ended);
            }
        }
    }
}
