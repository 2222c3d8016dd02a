//! What a leaf does for plans of the master aggregator: partitions stand still, files of copies go.
//!
//! ```text
//!   Lock ──► closed to writers ──► stands still, and the copy has everything ──► Drained
//!               │                        └─► another master by the record: whoever waits asks there
//!               └─ Unlock, a later office, or nothing said for 5 s ──► open: whoever waits goes on
//! ```
//!
//! So a lock never outlives who asked for it by more than that. It may lapse while the promotion is being committed: a
//! database with synchronous replication loses nothing then, since the copy is one that is waited for.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use resprout_cluster::control::{Control, Order};
use resprout_cluster::manager::Lock;
use resprout_cluster::reconcile::CopyName;
use resprout_cluster::{Instance, NodeId, Ordinal};
use resprout_replication::State;
use resprout_replication::driver::CopyDriver;
use resprout_wal::Lsn;

use crate::copies::Copies;
use crate::post::Post;
use crate::state::Shared;

/// Between two looks at a partition that is to stand still.
const LOOK_EVERY: Duration = Duration::from_millis(1);
/// A lock that was not said again for so long is over.
const LAPSES_AFTER: Duration = Duration::from_secs(5);
/// That it stands still is said again, in case it was lost on the way.
const SAY_EVERY: Duration = Duration::from_millis(500);

/// See the module.
#[derive(Clone, Debug)]
pub(crate) struct Orders {
    metadata: Shared,
    post: Post,
    copies: Arc<Copies>,
    locks: Arc<Mutex<BTreeMap<(u32, Ordinal), Held>>>,
}

/// A lock that holds.
#[derive(Clone, Copy, Debug)]
struct Held {
    office: u64,
    number: u64,
    /// When it was said last.
    said: Instant,
}

impl Orders {
    pub(crate) fn new(metadata: Shared, post: Post, copies: Arc<Copies>) -> Self {
        Self { metadata, post, copies, locks: Arc::default() }
    }

    fn locks(&self) -> MutexGuard<'_, BTreeMap<(u32, Ordinal), Held>> {
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
        let held = Held { office, number: lock.number, said: Instant::now() };
        let known = self.locks().insert(of, held);
        if known.is_some_and(|known| (known.office, known.number) == (office, lock.number)) {
            return;
        }
        tracing::info!(database, ordinal = lock.ordinal.0, to = %lock.to, kill = lock.kill, "closed to writers");
        copy.stored().close_to_writers();
        if lock.kill
            && let Err(error) = copy.stored().end_writers()
        {
            tracing::warn!(%error, "transactions under way were not ended");
        }
        let (orders, watched) = (self.clone(), Watched { from, office, of, lock });
        tokio::spawn(async move { orders.watch(&copy, watched).await });
    }

    fn unlock(&self, of: (u32, Ordinal)) {
        if self.locks().remove(&of).is_some()
            && let Some(copy) = self.copies.driven(of.0, of.1)
        {
            copy.stored().open_to_writers();
        }
    }

    /// Until the lock is over.
    async fn watch(&self, copy: &Arc<CopyDriver>, watched: Watched) {
        let Watched { from, office, of, lock } = watched;
        let mut told: Option<Instant> = None;
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let held = self.locks().get(&of).copied();
            let is_same = |held: &Held| (held.office, held.number) == (office, lock.number);
            let Some(held) = held.filter(is_same) else { return };
            if !matches!(copy.status().state, State::Online(_)) {
                // Another master, or none: whoever waited was told.
                self.locks().remove(&of);
                return;
            }
            let is_over = self.metadata.read().office().number > office;
            if is_over || held.said.elapsed() > LAPSES_AFTER {
                tracing::warn!(database = of.0, ordinal = of.1.0, is_over, "the lock has lapsed");
                return self.unlock(of);
            }
            let Some(end) = copy.stored().standstill() else { continue };
            if told.is_none_or(|told| told.elapsed() > SAY_EVERY)
                && self.has_all(copy, &watched, end)
            {
                told = Some(Instant::now());
                self.post.send(from, Control::Drained { office, lock: lock.number });
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

/// A lock, and who asked for it.
#[derive(Clone, Copy, Debug)]
struct Watched {
    from: NodeId,
    office: u64,
    of: (u32, Ordinal),
    lock: Lock,
}
