//! The copies of one node, driven: the cores joined with the engine, the connections and the authority.
//!
//! ```text
//!  connections ── deliver ─►┌──────────────┐─── Post ──────────────► connections
//!  log ── Shipper ─────────►│ CopyDriver   │─── follow, committed ─► StoredCopy   (on whichever thread
//!  authority ── record ────►│  core, outbox│                                       brought the event)
//!  clock ── tick ──────────►└──────────────┘─── jobs ──────────────► worker: apply, cut, begin a term,
//!                                  ▲                                  store promises, read, images
//!                                  └────────────── results ───────────────┘
//! ```
//!
//! - A core is stepped by the thread that has news, behind one lock; what comes out is carried out by
//!   one thread at a time, in order. So a commit costs a wake-up at the replica and one at the master,
//!   and no more.
//! - Messages leave at once. Frames are appended and positions are published on the same thread, which
//!   waits for nothing; whatever may wait is done by the copy's own worker.
//! - Space in the log is reserved before a core sees frames: nothing that it took is refused.
//! - What has come and is not applied is bounded: positions that the disk has are told to the core only
//!   while the tree keeps up, and without them it gives no credit.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::Duration;

use resprout_wal::world::Clock;

use crate::transport::{Deliver, NodeId, Sender};
use crate::{Config, Decided, Envelope, Event, Incarnation, Instance, Partition};

pub use authority::{Authority, MemoryAuthority, RecordListener};
pub use copy::{CopyDriver, CopyStatus};
pub use error::StartError;

mod authority;
mod copy;
mod error;
mod images;
mod kept;
mod worker;

/// What carries messages to other nodes. They may be lost, doubled and overtaken.
pub trait Post: Send + Sync + fmt::Debug {
    /// Sends to a node. Waits for nothing.
    fn send(&self, to: NodeId, envelopes: &[Envelope]);
}

impl Post for Sender {
    fn send(&self, to: NodeId, envelopes: &[Envelope]) {
        self.send_all(to, envelopes);
    }
}

/// On which node a copy lives, by the number of its database: instances are counted in each.
pub type Homes = BTreeMap<(u32, Instance), NodeId>;

/// What all copies of a node share.
#[derive(Debug)]
pub(crate) struct Shared {
    post: Arc<dyn Post>,
    authority: Arc<dyn Authority>,
    clock: Arc<dyn Clock>,
    copies: RwLock<BTreeMap<Partition, Arc<CopyDriver>>>,
    /// On which node a copy lives.
    homes: RwLock<Homes>,
    /// Bytes that the node may send in a second to copies that lack much, to all together.
    catch_up_rate: AtomicU64,
    stopping: AtomicBool,
}

/// The copies of one node. Dropping it stops them, as a crash would: nothing is acknowledged any more. [`Node::stop`] ends
/// them in order.
#[derive(Debug)]
pub struct Node {
    shared: Arc<Shared>,
    timer: Mutex<Option<JoinHandle<()>>>,
}

/// Between two looks at the clock.
const TICK: Duration = Duration::from_millis(10);

impl Shared {
    fn home(&self, partition: Partition, instance: Instance) -> Option<NodeId> {
        let homes = self.homes.read().unwrap_or_else(PoisonError::into_inner);
        homes.get(&(partition.database, instance)).copied()
    }

    fn copy(&self, partition: Partition) -> Option<Arc<CopyDriver>> {
        self.copies.read().unwrap_or_else(PoisonError::into_inner).get(&partition).cloned()
    }

    /// What goes by time. Copies that catch up share the rate for that.
    fn tick(&self) {
        let copies = self.all();
        let catching_up: usize = copies.iter().map(|copy| copy.catching_up()).sum();
        let rate = self.catch_up_rate.load(Ordering::Relaxed) / catching_up.max(1) as u64;
        copies.iter().for_each(|copy| copy.tick(rate));
    }

    fn all(&self) -> Vec<Arc<CopyDriver>> {
        self.copies.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }
}

/// The last run of a copy that is counted in its folder; 0 if there was none, or nobody can tell. For whoever puts another one
/// in its place: [`Node::add_run`].
#[must_use]
pub fn last_run(partition: &resprout_engine::Partition) -> Incarnation {
    kept::Kept::last_run(partition.dir())
}

impl Node {
    /// A node without copies.
    ///
    /// # Errors
    /// [`StartError::Thread`].
    pub fn start(
        post: Arc<dyn Post>,
        authority: Arc<dyn Authority>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, StartError> {
        let shared = Arc::new(Shared {
            post,
            authority,
            clock,
            copies: RwLock::default(),
            homes: RwLock::default(),
            catch_up_rate: u64::MAX.into(),
            stopping: false.into(),
        });
        let ticking = shared.clone();
        let timer = std::thread::Builder::new().name("resprout-tick".to_owned()).spawn(move || {
            while !ticking.stopping.load(Ordering::Acquire) {
                ticking.tick();
                std::thread::park_timeout(TICK);
            }
        });
        let timer = Mutex::new(Some(timer.map_err(StartError::Thread)?));
        Ok(Self { shared, timer })
    }

    /// What hands messages that come in to the copies: for [`crate::transport::Transport::start`].
    #[must_use]
    pub fn inbox(&self) -> Arc<dyn Deliver> {
        self.shared.clone()
    }

    /// Tells where copies live. Messages of a copy are taken from its node only.
    pub fn set_homes(&self, homes: Homes) {
        *self.shared.homes.write().unwrap_or_else(PoisonError::into_inner) = homes;
    }

    /// How many bytes the node may send in a second to copies that lack much, to all together: of pages, or of the log beyond
    /// what it grows by. Until it is said, as many as it can. They share it alike. Within a beat ([`crate::Timing`]) it holds.
    pub fn set_catch_up_rate(&self, bytes_per_second: u64) {
        self.shared.catch_up_rate.store(bytes_per_second, Ordering::Relaxed);
    }

    /// Takes over a recovered partition, which is PENDING. It waits for the record.
    ///
    /// # Errors
    /// [`StartError`]: what it has promised cannot be read or stored, or the engine refuses.
    pub fn add(
        &self,
        partition: &resprout_engine::Partition,
        config: Config,
    ) -> Result<Arc<CopyDriver>, StartError> {
        self.add_run(partition, config, Incarnation(1))
    }

    /// As [`Node::add`], for a copy whose folder is new while the record knows runs of it: its run has at least
    /// that number.
    ///
    /// # Errors
    /// As there.
    pub fn add_run(
        &self,
        partition: &resprout_engine::Partition,
        config: Config,
        least: Incarnation,
    ) -> Result<Arc<CopyDriver>, StartError> {
        let copy = CopyDriver::start(&self.shared, partition, (config, least))?;
        let mut copies = self.shared.copies.write().unwrap_or_else(PoisonError::into_inner);
        copies.insert(copy.identity().partition, copy.clone());
        Ok(copy)
    }

    /// Stops the copy of a partition in order, as [`Node::stop`] does all of them; its files stay. Whether there was one.
    pub fn remove(&self, partition: Partition) -> bool {
        self.end_copy(partition).is_some()
    }

    /// The same, for a copy that stays and may be driven again: what has come is applied, and it is PENDING.
    pub fn give_up(&self, partition: Partition) -> bool {
        let ended = self.end_copy(partition);
        if let Some(copy) = &ended {
            copy.give_back();
        }
        ended.is_some()
    }

    fn end_copy(&self, partition: Partition) -> Option<Arc<CopyDriver>> {
        let mut copies = self.shared.copies.write().unwrap_or_else(PoisonError::into_inner);
        let removed = copies.remove(&partition);
        drop(copies);
        if let Some(copy) = &removed {
            copy.step(Event::Stopping);
            copy.stop(true);
        }
        removed
    }

    /// All copies that were added and not removed.
    #[must_use]
    pub fn copies(&self) -> Vec<Arc<CopyDriver>> {
        self.shared.all()
    }

    /// The copy of a partition, if there is one here.
    #[must_use]
    pub fn copy(&self, partition: Partition) -> Option<Arc<CopyDriver>> {
        self.shared.copy(partition)
    }

    /// A committed record: an answer of the authority, or seen in the metadata.
    pub fn record(&self, partition: Partition, decided: Decided) {
        if let Some(copy) = self.shared.copy(partition) {
            copy.step(Event::Record(decided));
        }
    }

    /// Stops in order: replicas say that they are not to be waited for, then all copies stop. What is
    /// acknowledged stays; a mastership is not handed over, that is for the authority before. To be
    /// called before the engine is closed.
    pub fn stop(&self) {
        self.end(true);
    }

    fn end(&self, in_order: bool) {
        let copies = self.shared.all();
        copies.iter().for_each(|copy| copy.step(Event::Stopping));
        self.shared.stopping.store(true, Ordering::Release);
        if let Some(timer) = self.timer.lock().unwrap_or_else(PoisonError::into_inner).take() {
            timer.thread().unpark();
            if timer.join().is_err() {
                tracing::error!("the thread that looks at the clock had panicked");
            }
        }
        copies.iter().for_each(|copy| copy.stop(in_order));
        self.shared.copies.write().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.end(false);
    }
}

impl RecordListener for Node {
    fn record(&self, partition: Partition, decided: &Decided) {
        Self::record(self, partition, decided.clone());
    }
}

impl Deliver for Shared {
    fn deliver(&self, from: NodeId, envelope: Envelope) {
        if self.home(envelope.from.partition, envelope.from.instance) != Some(from) {
            tracing::debug!(%from, instance = %envelope.from.instance, "a message of a copy that does not live there");
            return;
        }
        if let Some(copy) = self.copy(envelope.from.partition) {
            copy.receive(envelope);
        }
    }

    fn connected(&self, node: NodeId, _run: u64) {
        for copy in self.all() {
            let partition = copy.identity().partition;
            copy.connected(|instance| self.home(partition, instance) == Some(node));
        }
    }
}
