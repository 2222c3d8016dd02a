//! Waiting for locks: until they are granted, the statement is to stop, or nobody could go on.
//!
//! A partition refuses whoever would close a ring of waiting inside of it. A ring over several
//! partitions is seen by none of them:
//!
//! ```text
//!   session 7 ──waits in partition 0──► transaction of session 9
//!       ▲                                     │
//!       └── transaction of session 7 ◄──waits in partition 3
//! ```
//!
//! So a session that waits for longer than a moment looks where the chain from it leads, again and
//! again. Those of one ring all see it; the one with the highest number, the youngest connection,
//! gives up (1213). A session waits for one row at a time, so there is one chain.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use resprout_engine::Error;
use resprout_engine::lock::TxnId;

use super::transaction::PartitionId;
use crate::error::{Code, SqlError};
use crate::place::Partition;
use crate::server::Interrupt;

/// Between two looks at the chain. Most waits are over before the first.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// A transaction of the engine.
type Txn = (PartitionId, TxnId);

/// Who holds what and who waits for what, over all sessions of a node.
#[derive(Debug, Default)]
pub(crate) struct Waits {
    graph: Mutex<Graph>,
}

#[derive(Debug, Default)]
struct Graph {
    sessions: HashMap<Txn, u32>,
    waiting: HashMap<u32, At>,
}

/// Where a session waits.
#[derive(Clone, Debug)]
pub(crate) struct At {
    pub(crate) partition: Partition,
    pub(crate) id: PartitionId,
    pub(crate) txn: TxnId,
}

impl Waits {
    fn graph(&self) -> MutexGuard<'_, Graph> {
        // Each change is one insertion or removal.
        self.graph.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes whose a transaction is, until the answer is dropped.
    pub(crate) fn hold(self: &Arc<Self>, txn: Txn, session: u32) -> Held {
        self.graph().sessions.insert(txn, session);
        Held { waits: Arc::clone(self), txn }
    }
}

/// A transaction that a session holds.
#[derive(Debug)]
pub(crate) struct Held {
    waits: Arc<Waits>,
    txn: Txn,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.waits.graph().sessions.remove(&self.txn);
    }
}

impl Graph {
    /// Whether the chain from a session comes back to it, and it is the youngest on the way.
    fn gives_up(&self, session: u32) -> bool {
        let (mut at, mut youngest) = (session, session);
        // A chain that runs into a ring of others never comes back.
        for _ in 0..self.waiting.len() {
            let Some(next) = self.waits_for(at) else { return false };
            if next == session {
                return youngest == session;
            }
            (at, youngest) = (next, youngest.max(next));
        }
        false
    }

    fn waits_for(&self, session: u32) -> Option<u32> {
        let At { partition, id, txn } = self.waiting.get(&session)?;
        self.sessions.get(&(*id, partition.awaited(*txn)?)).copied()
    }
}

/// Waits on behalf of a session.
#[derive(Debug)]
pub(crate) struct Waiter {
    session: u32,
    at: At,
    waits: Arc<Waits>,
    interrupt: Arc<Interrupt>,
}

impl Waiter {
    pub(super) const fn new(
        session: u32,
        at: At,
        waits: Arc<Waits>,
        interrupt: Arc<Interrupt>,
    ) -> Self {
        Self { session, at, waits, interrupt }
    }

    /// Waits for work that takes locks.
    ///
    /// # Errors
    /// Of the engine; with the reason to stop; 1213.
    pub(crate) async fn wait<T>(
        &self,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, SqlError> {
        Ok(self.outcome(work).await??)
    }

    /// The same where the engine's own answer is wanted.
    ///
    /// # Errors
    /// With the reason to stop; 1213.
    pub(crate) async fn outcome<T>(
        &self,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<Result<T, Error>, SqlError> {
        self.interrupt.check()?;
        tokio::pin!(work);
        let mut waiting = None;
        loop {
            tokio::select! {
                biased;
                done = &mut work => return Ok(done),
                reason = self.interrupt.fired() => return Err(reason.error()),
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
            waiting.get_or_insert_with(|| self.enter());
            if self.waits.graph().gives_up(self.session) {
                return Err(SqlError::plain(Code::LOCK_DEADLOCK));
            }
        }
    }

    fn enter(&self) -> Waiting<'_> {
        self.waits.graph().waiting.insert(self.session, self.at.clone());
        Waiting(self)
    }
}

/// A session that stands in the graph.
struct Waiting<'a>(&'a Waiter);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waits.graph().waiting.remove(&self.0.session);
    }
}
