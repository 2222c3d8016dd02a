//! The metadata of this node: applied by consensus, read by everybody else here.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use bytes::Bytes;
use resprout_cluster::metadata::Metadata;
use resprout_consensus::Index;
use resprout_consensus::machine::{RestoreError, StateMachine};
use tokio::sync::watch;

/// The metadata as they are applied here. Cheap to clone.
#[derive(Clone)]
pub struct Shared {
    state: Arc<RwLock<Metadata>>,
    applied: watch::Sender<u64>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Metadata(applied {})", *self.applied.borrow())
    }
}

impl Shared {
    /// Nothing is applied.
    pub(crate) fn new() -> Self {
        Self { state: Arc::default(), applied: watch::Sender::new(0) }
    }

    /// The metadata as they are now. To be held for a moment only: nothing is applied meanwhile.
    pub fn read(&self) -> RwLockReadGuard<'_, Metadata> {
        // A command is applied as a whole or refused: what a panic leaves is no less true than before.
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells of every change: the newest command that was applied.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.applied.subscribe()
    }

    /// What consensus applies to.
    pub(crate) fn machine(&self) -> Machine {
        Machine(self.clone())
    }

    fn change<T>(&self, change: impl FnOnce(&mut Metadata) -> T) -> T {
        let (done, applied) = {
            let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
            let done = change(&mut state);
            (done, state.applied())
        };
        self.applied.send_replace(applied);
        done
    }
}

/// The state machine that consensus has.
#[derive(Debug)]
pub(crate) struct Machine(Shared);

impl StateMachine for Machine {
    fn apply(&mut self, index: Index, command: &[u8]) -> Bytes {
        self.0.change(|state| StateMachine::apply(state, index, command))
    }

    fn snapshot(&self) -> Bytes {
        StateMachine::snapshot(&*self.0.read())
    }

    fn restore(&mut self, bytes: &[u8]) -> Result<(), RestoreError> {
        self.0.change(|state| state.restore(bytes))
    }
}
