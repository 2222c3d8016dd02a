//! What a leaf does for plans of the master aggregator: partitions stand still, files of copies go.
//!
//! What becomes of a lock is decided by [`Locks`]; here partitions are closed, looked at and opened.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use resprout_cluster::control::{Control, Order};
use resprout_cluster::manager::Lock;
use resprout_cluster::reconcile::{CopyName, Locks, Standstill};
use resprout_cluster::{Instance, NodeId, Ordinal};
use resprout_replication::State;
use resprout_replication::driver::CopyDriver;
use resprout_wal::Lsn;

use crate::copies::Copies;
use crate::post::Post;
use crate::state::Shared;

/// Between two looks at a partition that is to stand still.
const LOOK_EVERY: Duration = Duration::from_millis(1);

/// See the module.
#[derive(Clone, Debug)]
pub(crate) struct Orders {
    metadata: Shared,
    post: Post,
    copies: Arc<Copies>,
    locks: Arc<Mutex<Locks>>,
    /// Locks are measured from then on.
    began: Instant,
}

impl Orders {
    pub(crate) fn new(metadata: Shared, post: Post, copies: Arc<Copies>) -> Self {
        Self { metadata, post, copies, locks: Arc::default(), began: Instant::now() }
    }

    fn locks(&self) -> MutexGuard<'_, Locks> {
        self.locks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Orders of an office that is over are void.
    pub(crate) fn take(&self, from: NodeId, (office, database): (u64, u32), order: Order) {
        if office < self.metadata.read().office().number {
            tracing::debug!(%from, office, ?order, "an order of an office that is over");
            return;
        }
        match order {
            Order::Lock { lock } => self.lock(from, (office, database), lock),
            Order::Unlock { ordinal } => self.unlock((database, ordinal)),
            Order::Remove { ordinal, instance, known } => {
                self.copies.remove_orphan(CopyName { database, ordinal, instance }, known);
            }
        }
    }

    fn lock(&self, from: NodeId, (office, database): (u64, u32), lock: Lock) {
        let of = (database, lock.ordinal);
        let is_master = |copy: &Arc<CopyDriver>| matches!(copy.status().state, State::Online(_));
        // Nobody stands still who is no master: the record has changed, and whoever asks will see.
        let Some(copy) = self.copies.driven(database, lock.ordinal).filter(is_master) else {
            return;
        };
        let is_new = self.locks().lock(self.began.elapsed(), (from, office), database, lock);
        if !is_new {
            return;
        }
        tracing::info!(database, ordinal = lock.ordinal.0, to = %lock.to, kill = lock.kill, "closed to writers");
        copy.stored().close_to_writers();
        if lock.kill
            && let Err(error) = copy.stored().end_writers()
        {
            tracing::warn!(%error, "transactions under way were not ended");
        }
        let (orders, watched) = (self.clone(), Watched { office, of, lock });
        tokio::spawn(async move { orders.watch(&copy, watched).await });
    }

    fn unlock(&self, of: (u32, Ordinal)) {
        if self.locks().unlock(of) {
            self.open(of);
        }
    }

    fn open(&self, of: (u32, Ordinal)) {
        if let Some(copy) = self.copies.driven(of.0, of.1) {
            copy.stored().open_to_writers();
        }
    }

    /// Until the lock is over.
    async fn watch(&self, copy: &Arc<CopyDriver>, watched: Watched) {
        let Watched { office, of, lock } = watched;
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let serves = matches!(copy.status().state, State::Online(_));
            let end = copy.stored().standstill().filter(|_| serves);
            let drained = end.is_some_and(|end| self.has_all(copy, &watched, end));
            let present = self.metadata.read().office().number;
            let (now, which) = (self.began.elapsed(), (of, office, lock.number));
            let next = self.locks().look(now, which, present, (serves, drained));
            match next {
                Standstill::Gone => return,
                Standstill::Holds => {}
                Standstill::Lapsed => {
                    tracing::warn!(database = of.0, ordinal = of.1.0, "the lock has lapsed");
                    return self.open(of);
                }
                Standstill::Drained { from, office, lock } => {
                    self.post.send(from, Control::Drained { office, lock });
                }
            }
        }
    }

    /// Whether the copy that shall be master has everything before `end`.
    fn has_all(&self, copy: &CopyDriver, watched: &Watched, end: Lsn) -> bool {
        let (database, ordinal) = watched.of;
        let to: Option<Instance> = {
            let metadata = self.metadata.read();
            let partition =
                metadata.database_of(database).and_then(|entry| entry.map.partition(ordinal));
            let to = partition.and_then(|partition| partition.copies.get(&watched.lock.to));
            to.map(|copy| copy.instance)
        };
        let status = copy.status();
        let member = status.members.iter().find(|member| Some(member.instance) == to);
        member.is_some_and(|member| member.position >= end)
    }
}

/// A lock that is looked at.
#[derive(Clone, Copy, Debug)]
struct Watched {
    office: u64,
    of: (u32, Ordinal),
    lock: Lock,
}
