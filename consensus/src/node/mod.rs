//! A member at work: the core, its store, its transport and its state machine on one task.
//!
//! ```text
//!             ┌──────────────────── task ───────────────────────┐
//!  Handle ──► │ requests ─┐                                      │
//!  Transport ►│ incoming ─┼─► Raft::step ─► writes ─► Storage ───┼──► disk
//!  Storage ──►│ durable ──┤       │                              │
//!  clock ────►│ deadline ─┘       ├─► messages ─► Transport ─────┼──► network
//!             │                   └─► apply ─► StateMachine ─► waiting callers
//!             └──────────────────────────────────────────────────┘
//! ```
//!
//! A leader's entries go to the disk and to the members at the same time. Everything that arrives while
//! the task is busy is taken together at its next turn: many proposals become one write and one
//! message. Every queue is bounded; a full one makes its writer wait.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use resprout_wal::world::{BootClock, Clock, Entropy, OsEntropy};

use crate::machine::{Applier, RestoreError, StateMachine};
use crate::transport::{Incoming, Transport};
use crate::{Config, ConfigError, Identity, Raft, Recovered, State};

pub use failure::{ChangeFailure, Ended, ProposeFailure, ReadFailure, StorageFailure};
pub use handle::Handle;
pub use memory::MemoryStorage;
pub use storage::{Durability, Keeper, Storage};

use task::{Edge, Task};

mod alarm;
mod failure;
mod handle;
mod memory;
mod request;
mod storage;
mod task;
mod waiting;

/// How a node runs.
#[derive(Clone, Debug)]
pub struct Options {
    /// Who it is.
    pub identity: Identity,
    /// Times and bounds of the protocol.
    pub config: Config,
    /// Bytes of commands applied since the last snapshot after which the next is made.
    pub snapshot_log_bytes: usize,
    /// Requests that wait for the task, before callers wait to hand theirs over.
    pub requests_max: usize,
    /// How long a node that stops waits for another to take over its leadership.
    pub handover: Duration,
    /// A clock that runs while the machine is suspended.
    pub clock: Arc<dyn Clock>,
    /// Names proposals, and spreads elections.
    pub entropy: Arc<dyn Entropy>,
}

impl Options {
    /// The usual values.
    #[must_use]
    pub fn new(identity: Identity, config: Config) -> Self {
        Self {
            identity,
            handover: config.timing.election(),
            config,
            snapshot_log_bytes: 16 << 20,
            requests_max: 4096,
            clock: Arc::new(BootClock),
            entropy: Arc::new(OsEntropy),
        }
    }
}

/// What a node works with.
#[derive(Debug)]
pub struct Parts<S, D, T> {
    /// The state, with nothing applied.
    pub state: S,
    /// Its store.
    pub storage: D,
    /// What the store holds.
    pub recovered: Recovered,
    /// Its way to the others.
    pub transport: T,
    /// What that brings.
    pub incoming: mpsc::Receiver<Incoming>,
}

/// Why a node does not start. Nothing has changed then.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    /// The bounds make no sense.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The store's snapshot is not of this state machine.
    #[error(transparent)]
    Restore(#[from] RestoreError),
}

/// A running member. Dropping it ends it as a crash would; [`Node::stop`] ends it in order.
pub struct Node<S> {
    handle: Handle<S>,
    task: JoinHandle<()>,
}

impl<S> fmt::Debug for Node<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Node({:?})", self.handle)
    }
}

impl<S: StateMachine> Node<S> {
    /// Starts a member on the current tokio runtime.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn start<D: Storage, T: Transport>(
        options: Options,
        parts: Parts<S, D, T>,
    ) -> Result<Self, StartError> {
        options.config.limits.validate()?;
        let mut applier = Applier::new(parts.state);
        if let Some(snapshot) = &parts.recovered.snapshot {
            applier.restore(snapshot)?;
        }
        let time = (options.clock.now(), options.entropy.next());
        let raft = Raft::new(options.identity, options.config.clone(), parts.recovered, time);
        let (requests, received) = mpsc::channel(options.requests_max);
        let (told, state) = watch::channel(State::default());
        let applied = Arc::new(AtomicU64::new(applier.applied().index.0));
        let handle = Handle::new(requests, state, applied.clone(), &options);
        let edge = Edge { storage: parts.storage, transport: parts.transport, told, applied };
        let task = Task::new(options, (raft, applier), edge);
        let task = tokio::spawn(task.run(received, parts.incoming));
        Ok(Self { handle, task })
    }

    /// What callers use.
    #[must_use]
    pub fn handle(&self) -> &Handle<S> {
        &self.handle
    }

    /// Hands leadership over if it has it, writes everything, and ends.
    pub async fn stop(mut self) {
        self.handle.stop().await;
        // A panic there was reported when it happened.
        drop((&mut self.task).await);
    }
}

impl<S> Drop for Node<S> {
    fn drop(&mut self) {
        self.task.abort();
    }
}
