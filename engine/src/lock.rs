//! Row locks: who may write which row, who waits for whom.
//!
//! Locks are exclusive and held from the first write of a row until its transaction ends; readers
//! take none. A transaction waits for at most one row at a time, so the graph of waiting is a set
//! of chains and a deadlock is a chain that comes back to its start: whoever would close the ring
//! is refused, nobody else is disturbed.
//!
//! ```text
//!   acquire ──► Granted                       (free, or already ours)
//!          ├──► Wait      the row's queue ──► granted by release, in order of arrival
//!          └──► Deadlock  the chain owner → row → owner … ends at us
//! ```
//!
//! Who writes many rows at once may take all their locks in one step, if nobody has any of them. They
//! lie in a sorted list then, and one becomes a row of the table only when somebody else asks for it.
//!
//! A partition whose master is about to change is closed: who holds nothing yet waits before the first row, and those who do
//! come to their end (`closed`).
//!
//! [`LockTable`] is plain rules without threads or clocks; [`RowLocks`] adds the waiting.

use std::cmp::Ordering;
use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering as Atomic};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use foldhash::fast::FixedState;

mod closed;

/// Number of a transaction, unique in one run of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TxnId(pub u64);

/// The key of a lockable row, shared by the lock, the write set and whoever waits.
pub type RowKey = Arc<[u8]>;

/// Answer of [`LockTable::acquire`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acquired {
    /// The caller holds the lock.
    Granted,
    /// Another transaction holds it; the caller is in its queue.
    Wait,
    /// Waiting would close a ring; the caller is not in the queue.
    Deadlock,
}

#[derive(Debug)]
struct Row {
    owner: TxnId,
    queue: VecDeque<TxnId>,
}

/// The rules. See the module.
#[derive(Debug, Default)]
pub struct LockTable {
    rows: HashMap<RowKey, Row, FixedState>,
    owned: HashMap<TxnId, Vec<RowKey>, FixedState>,
    waiting: HashMap<TxnId, RowKey, FixedState>,
    /// Keys that were taken together, in order. Few: one for each that runs.
    batches: Vec<(TxnId, Vec<RowKey>)>,
}

/// Who took this key in a batch.
fn batch_owner(batches: &[(TxnId, Vec<RowKey>)], key: &[u8]) -> Option<TxnId> {
    let has = |keys: &[RowKey]| keys.binary_search_by(|own| (**own).cmp(key)).is_ok();
    batches.iter().find(|(_, keys)| has(keys)).map(|(owner, _)| *owner)
}

impl LockTable {
    /// Takes keys, sorted and each once, if no other transaction has one of them; else gives them back.
    ///
    /// # Panics
    /// If `txn` waits.
    ///
    /// # Errors
    /// The keys: none of them was taken.
    pub fn acquire_sorted(&mut self, txn: TxnId, keys: Vec<RowKey>) -> Result<(), Vec<RowKey>> {
        assert!(!self.waiting.contains_key(&txn), "{txn:?} asks while it waits");
        let is_of_others = |owner: Option<TxnId>| owner.is_some_and(|owner| owner != txn);
        let in_rows = !self.rows.is_empty()
            && keys.iter().any(|key| is_of_others(self.rows.get(key).map(|row| row.owner)));
        let mut others = self.batches.iter().filter(|(owner, _)| *owner != txn);
        if in_rows || others.any(|(_, taken)| have_one_in_common(&keys, taken)) {
            return Err(keys);
        }
        if !keys.is_empty() {
            self.batches.push((txn, keys));
        }
        Ok(())
    }

    /// Asks for a row's lock on behalf of `txn`.
    ///
    /// # Panics
    /// If `txn` already waits: a transaction does one thing at a time.
    pub fn acquire(&mut self, txn: TxnId, key: &RowKey) -> Acquired {
        assert!(!self.waiting.contains_key(&txn), "{txn:?} asks while it waits");
        let owner = match self.rows.entry(Arc::clone(key)) {
            Entry::Occupied(row) => row.get().owner,
            Entry::Vacant(free) => {
                let owner = batch_owner(&self.batches, key).unwrap_or(txn);
                free.insert(Row { owner, queue: VecDeque::new() });
                self.owned.entry(owner).or_default().push(Arc::clone(key));
                owner
            }
        };
        if owner == txn {
            return Acquired::Granted;
        }
        if self.would_close_ring(txn, owner) {
            return Acquired::Deadlock;
        }
        if let Some(row) = self.rows.get_mut(key) {
            row.queue.push_back(txn);
        }
        self.waiting.insert(txn, Arc::clone(key));
        Acquired::Wait
    }

    /// Follows owner → awaited row → its owner … from `start`.
    fn would_close_ring(&self, txn: TxnId, start: TxnId) -> bool {
        let mut at = start;
        // A chain is never longer than the number of waiting transactions; the bound guards
        // against a ring that must not exist.
        for _ in 0..=self.waiting.len() {
            if at == txn {
                return true;
            }
            let Some(row) = self.waiting.get(&at).and_then(|key| self.rows.get(key)) else {
                return false;
            };
            at = row.owner;
        }
        unreachable!("a ring of waiting transactions that does not contain {txn:?}")
    }

    /// Ends `txn`: gives up its place in a queue and all its locks. Returns those that now hold
    /// what they waited for.
    pub fn release_all(&mut self, txn: TxnId) -> Vec<TxnId> {
        self.stop_waiting(txn);
        self.batches.retain(|(owner, _)| *owner != txn);
        let mut granted = Vec::new();
        for key in self.owned.remove(&txn).unwrap_or_default() {
            let Entry::Occupied(mut row) = self.rows.entry(Arc::clone(&key)) else { continue };
            assert_eq!(row.get().owner, txn, "a released row belongs to somebody else");
            let Some(next) = row.get_mut().queue.pop_front() else {
                row.remove();
                continue;
            };
            row.get_mut().owner = next;
            self.waiting.remove(&next);
            self.owned.entry(next).or_default().push(key);
            granted.push(next);
        }
        granted
    }

    /// Takes `txn` out of the queue it stands in; whether it stood in one.
    pub fn stop_waiting(&mut self, txn: TxnId) -> bool {
        let Some(key) = self.waiting.remove(&txn) else { return false };
        if let Some(row) = self.rows.get_mut(&key) {
            row.queue.retain(|waiter| *waiter != txn);
        }
        true
    }

    /// Whether `txn` holds a row.
    #[must_use]
    pub fn holds(&self, txn: TxnId) -> bool {
        self.owned.contains_key(&txn) || self.batches.iter().any(|(owner, _)| *owner == txn)
    }

    /// Transactions that hold a row.
    pub fn writers(&self) -> impl Iterator<Item = TxnId> + '_ {
        self.owned.keys().copied().chain(self.batches.iter().map(|(owner, _)| *owner))
    }

    /// Who holds a row.
    #[must_use]
    pub fn owner(&self, key: &[u8]) -> Option<TxnId> {
        let row = self.rows.get(key).map(|row| row.owner);
        row.or_else(|| batch_owner(&self.batches, key))
    }

    /// The keys that a transaction holds, sorted.
    #[must_use]
    pub fn owned_by(&self, txn: TxnId) -> Vec<RowKey> {
        let single = self.owned.get(&txn).into_iter().flatten();
        let batches = self.batches.iter().filter(|(owner, _)| *owner == txn);
        let mut keys: Vec<_> = single.chain(batches.flat_map(|(_, keys)| keys)).cloned().collect();
        keys.sort_unstable();
        keys.dedup();
        keys
    }

    /// Who holds the row that `txn` waits for; none if it waits for none.
    #[must_use]
    pub fn awaited(&self, txn: TxnId) -> Option<TxnId> {
        self.owner(self.waiting.get(&txn)?)
    }

    /// Locked rows.
    #[must_use]
    pub fn len(&self) -> usize {
        let only_in_batches = |key: &&RowKey| !self.rows.contains_key(*key);
        let mut batches: Vec<_> =
            self.batches.iter().flat_map(|(_, keys)| keys).filter(only_in_batches).collect();
        batches.sort_unstable();
        batches.dedup();
        self.rows.len() + batches.len()
    }

    /// Whether no row is locked.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty() && self.batches.is_empty()
    }
}

/// Of two sorted lists.
fn have_one_in_common(one: &[RowKey], other: &[RowKey]) -> bool {
    let (mut one, mut other) = (one, other);
    while let ([first, ..], [second, ..]) = (one, other) {
        match first.cmp(second) {
            Ordering::Equal => return true,
            Ordering::Less => one = &one[one.partition_point(|key| key < second)..],
            Ordering::Greater => other = &other[other.partition_point(|key| key < first)..],
        }
    }
    false
}

/// Why a wait for a lock ended without it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockRefused {
    /// The limit passed (MySQL 1205).
    Timeout,
    /// It could never have been granted (MySQL 1213).
    Deadlock,
    /// The transaction is over: the partition was rewound, or is not master any more, or its master is about to change
    /// and waits no longer.
    Ended,
}

/// How a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The lock is held.
    Granted,
    /// The partition was closed, and is not any more: the lock may be asked for again.
    AskAgain,
}

#[derive(Debug, Default)]
struct WaitState {
    answer: Option<Result<Answer, LockRefused>>,
    waker: Option<Waker>,
}

/// One transaction's place in a queue, to be waited for by a thread or a task.
#[derive(Debug, Default)]
struct Place {
    state: Mutex<WaitState>,
    changed: Condvar,
}

impl Place {
    fn lock(&self) -> MutexGuard<'_, WaitState> {
        // Holders only assign plain fields; a panic in between leaves nothing half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn settle(&self, answer: Result<Answer, LockRefused>) {
        let waker = {
            let mut state = self.lock();
            state.answer = Some(answer);
            state.waker.take()
        };
        self.changed.notify_one();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

#[derive(Debug, Default)]
struct Shared {
    table: LockTable,
    /// Transactions with smaller numbers are over.
    first_live: Option<TxnId>,
    places: HashMap<TxnId, (Arc<Place>, Duration), FixedState>,
    closed: closed::Closed,
}

impl Shared {
    fn is_over(&self, txn: TxnId) -> bool {
        self.first_live.is_some_and(|first| txn < first) || self.closed.has_ended(txn)
    }
}

/// The row locks of one partition.
#[derive(Debug, Default)]
pub struct RowLocks {
    shared: Mutex<Shared>,
    /// Whether transactions were ended one by one: who commits looks.
    any_ended: AtomicBool,
}

/// What [`RowLocks::acquire`] says at once.
#[derive(Debug)]
pub enum Request<'a> {
    /// The lock is held.
    Granted,
    /// Wait for it, by thread or as a future.
    Wait(LockWait<'a>),
}

impl RowLocks {
    fn lock(&self) -> MutexGuard<'_, Shared> {
        // The table asserts its own invariants; whoever panicked inside took its partition down.
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks for a row. `deadline` is on the partition's clock.
    ///
    /// # Errors
    /// [`LockRefused::Deadlock`], [`LockRefused::Ended`].
    pub fn acquire(
        &self,
        txn: TxnId,
        key: &RowKey,
        deadline: Duration,
    ) -> Result<Request<'_>, LockRefused> {
        let mut shared = self.lock();
        if let Some(wait) = self.admit(&mut shared, txn, deadline)? {
            return Ok(Request::Wait(wait));
        }
        match shared.table.acquire(txn, key) {
            Acquired::Granted => Ok(Request::Granted),
            Acquired::Deadlock => Err(LockRefused::Deadlock),
            Acquired::Wait => Ok(Request::Wait(self.wait(&mut shared, txn, deadline))),
        }
    }

    fn wait(&self, shared: &mut Shared, txn: TxnId, deadline: Duration) -> LockWait<'_> {
        let place = Arc::new(Place::default());
        shared.places.insert(txn, (Arc::clone(&place), deadline));
        LockWait { locks: self, txn, place }
    }

    /// As [`LockTable::acquire_sorted`]; a transaction that is over, or has to wait before its first row, gets none.
    ///
    /// # Errors
    /// The keys, to be asked for one by one.
    pub fn acquire_sorted(&self, txn: TxnId, keys: Vec<RowKey>) -> Result<(), Vec<RowKey>> {
        let mut shared = self.lock();
        if shared.is_over(txn) || shared.holds_back(txn) {
            return Err(keys);
        }
        shared.table.acquire_sorted(txn, keys)
    }

    /// Ends a transaction's locks and lets in who waited for them.
    pub fn release_all(&self, txn: TxnId) {
        let granted: Vec<Arc<Place>> = {
            let mut shared = self.lock();
            shared.closed.leave(txn);
            let next = shared.table.release_all(txn);
            next.iter()
                .filter_map(|txn| shared.places.remove(txn))
                .map(|(place, _)| place)
                .collect()
        };
        for place in granted {
            place.settle(Ok(Answer::Granted));
        }
    }

    /// Ends all transactions below `first_live`: their locks and waits are gone, and they get no
    /// others.
    pub(crate) fn end_all_before(&self, first_live: TxnId) {
        let waiting: Vec<Arc<Place>> = {
            let mut shared = self.lock();
            shared.first_live = Some(first_live);
            shared.table = LockTable::default();
            shared.closed = closed::Closed::default();
            self.any_ended.store(false, Atomic::Release);
            shared.places.drain().map(|(_, (place, _))| place).collect()
        };
        for place in waiting {
            place.settle(Err(LockRefused::Ended));
        }
    }

    /// Ends the waits whose deadline is at or before `now`. Called by the engine's keeper, so
    /// that tasks need no timers of their own; a few milliseconds late is fine.
    pub fn expire(&self, now: Duration) {
        let expired: Vec<Arc<Place>> = {
            let mut shared = self.lock();
            let mut late: Vec<TxnId> = shared
                .places
                .iter()
                .filter(|(_, (_, deadline))| *deadline <= now)
                .map(|(txn, _)| *txn)
                .collect();
            late.sort_unstable();
            late.into_iter()
                .filter_map(|txn| {
                    shared.table.stop_waiting(txn);
                    shared.places.remove(&txn).map(|(place, _)| place)
                })
                .collect()
        };
        for place in expired {
            place.settle(Err(LockRefused::Timeout));
        }
    }

    /// The keys that a transaction holds, sorted.
    #[must_use]
    pub fn owned_by(&self, txn: TxnId) -> Vec<Vec<u8>> {
        self.lock().table.owned_by(txn).iter().map(|key| key.to_vec()).collect()
    }

    /// As [`LockTable::awaited`].
    #[must_use]
    pub fn awaited(&self, txn: TxnId) -> Option<TxnId> {
        self.lock().table.awaited(txn)
    }

    /// Locked rows, for assertions and status.
    #[must_use]
    pub fn locked_rows(&self) -> usize {
        self.lock().table.len()
    }

    fn give_up(&self, txn: TxnId) -> bool {
        let mut shared = self.lock();
        shared.places.remove(&txn);
        shared.table.stop_waiting(txn)
    }
}

/// A wait for a row's lock. Dropping it gives the place in the queue back; a lock that was
/// granted in that moment stays with the transaction until it ends.
#[derive(Debug)]
pub struct LockWait<'a> {
    locks: &'a RowLocks,
    txn: TxnId,
    place: Arc<Place>,
}

impl LockWait<'_> {
    /// Waits in this thread for at most `limit`.
    ///
    /// # Errors
    /// [`LockRefused::Timeout`], [`LockRefused::Ended`].
    pub fn block(self, limit: Duration) -> Result<Answer, LockRefused> {
        let state = self.place.lock();
        let (state, _) = self
            .place
            .changed
            .wait_timeout_while(state, limit, |state| state.answer.is_none())
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(answer) = state.answer {
            return answer;
        }
        drop(state);
        self.resolve_late()
    }

    /// After a timeout: the lock may have been granted between the clock and the table.
    fn resolve_late(&self) -> Result<Answer, LockRefused> {
        self.locks.give_up(self.txn);
        self.place.lock().answer.unwrap_or(Err(LockRefused::Timeout))
    }
}

impl Future for LockWait<'_> {
    type Output = Result<Answer, LockRefused>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.place.lock();
        if let Some(answer) = state.answer {
            return Poll::Ready(answer);
        }
        state.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for LockWait<'_> {
    fn drop(&mut self) {
        self.locks.give_up(self.txn);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> RowKey {
        Arc::from(name.as_bytes())
    }

    const A: TxnId = TxnId(1);
    const B: TxnId = TxnId(2);
    const C: TxnId = TxnId(3);

    /// A row has one owner, and its queue is served in order of arrival.
    #[test]
    fn queue_is_first_come_first_served() {
        let mut table = LockTable::default();
        assert_eq!(table.acquire(A, &key("r")), Acquired::Granted);
        assert_eq!(table.acquire(A, &key("r")), Acquired::Granted);
        assert_eq!(table.acquire(B, &key("r")), Acquired::Wait);
        assert_eq!(table.acquire(C, &key("r")), Acquired::Wait);
        assert_eq!(table.release_all(A), vec![B]);
        assert_eq!(table.owner(b"r"), Some(B));
        assert_eq!(table.release_all(B), vec![C]);
        assert_eq!(table.release_all(C), vec![]);
        assert!(table.is_empty());
    }

    /// The one who closes a ring is refused; the others go on once it has let go.
    #[test]
    fn ring_of_three_is_refused_to_the_last() {
        let mut table = LockTable::default();
        for (txn, row) in [(A, "a"), (B, "b"), (C, "c")] {
            assert_eq!(table.acquire(txn, &key(row)), Acquired::Granted);
        }
        assert_eq!(table.acquire(A, &key("b")), Acquired::Wait);
        assert_eq!(table.acquire(B, &key("c")), Acquired::Wait);
        assert_eq!(table.acquire(C, &key("a")), Acquired::Deadlock);
        assert_eq!(table.release_all(C), vec![B]);
        assert_eq!(table.release_all(B), vec![A]);
    }

    /// A waiter that gives up leaves the queue to the others.
    #[test]
    fn giving_up_leaves_the_queue() {
        let mut table = LockTable::default();
        table.acquire(A, &key("r"));
        table.acquire(B, &key("r"));
        table.acquire(C, &key("r"));
        assert!(table.stop_waiting(B));
        assert!(!table.stop_waiting(B));
        assert_eq!(table.release_all(A), vec![C]);
    }

    /// No lock, transaction or wait survives its session (assertion 12 of the catalogue): random
    /// histories against a slow model that recomputes reachability.
    #[test]
    fn random_histories_agree_with_a_naive_model() {
        let mut seed = 7_u64;
        let mut random = move |below: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (seed >> 33) % below
        };
        let mut table = LockTable::default();
        let mut waiting = [false; 6];
        for _ in 0..50_000 {
            let txn = random(6);
            if waiting[txn as usize] || random(4) == 0 {
                for granted in table.release_all(TxnId(txn)) {
                    waiting[granted.0 as usize] = false;
                }
                waiting[txn as usize] = false;
            } else if random(4) == 0 {
                let rows = random(32);
                let rows: Vec<_> = (0..5)
                    .filter(|at| rows & 1 << at != 0)
                    .map(|at| key(&at.to_string()))
                    .collect();
                let of_others =
                    |row: &RowKey| table.owner(row).is_some_and(|owner| owner != TxnId(txn));
                let free = !rows.iter().any(of_others);
                assert_eq!(table.acquire_sorted(TxnId(txn), rows.clone()).is_ok(), free);
                let owned = table.owned_by(TxnId(txn));
                assert!(!free || rows.iter().all(|row| owned.contains(row)));
            } else {
                let row = key(&random(5).to_string());
                waiting[txn as usize] = table.acquire(TxnId(txn), &row) == Acquired::Wait;
            }
            assert!(waiting.iter().any(|w| !w), "everybody waits: a deadlock went unseen");
        }
        for txn in 0..6 {
            table.release_all(TxnId(txn));
        }
        assert!(table.is_empty() && table.owned.is_empty() && table.waiting.is_empty());
    }

    /// Keys that were taken together are waited for like any other, and each is free when their
    /// transaction ends; who has some of them may ask for all.
    #[test]
    fn keys_taken_together_are_locked() {
        let mut table = LockTable::default();
        let keys = |names: &[&str]| names.iter().map(|name| key(name)).collect::<Vec<_>>();
        assert_eq!(table.acquire(A, &key("c")), Acquired::Granted);
        assert_eq!(table.acquire_sorted(A, keys(&["a", "c", "e"])), Ok(()));
        assert_eq!(table.acquire_sorted(B, keys(&["b", "e", "f"])), Err(keys(&["b", "e", "f"])));
        assert_eq!(table.acquire_sorted(B, keys(&["b", "d", "f"])), Ok(()));
        assert_eq!((table.owner(b"e"), table.owner(b"d"), table.len()), (Some(A), Some(B), 6));
        assert_eq!(table.acquire(B, &key("e")), Acquired::Wait);
        assert_eq!((table.awaited(B), table.len()), (Some(A), 6));
        assert_eq!(table.acquire(A, &key("d")), Acquired::Deadlock);
        assert_eq!(table.acquire(A, &key("a")), Acquired::Granted);
        assert_eq!(table.owned_by(A), keys(&["a", "c", "e"]));
        assert_eq!(table.release_all(A), vec![B]);
        assert_eq!(table.owned_by(B), keys(&["b", "d", "e", "f"]));
        assert_eq!(table.release_all(B), vec![]);
        assert!(table.is_empty());
    }

    /// A wait ends with a clear refusal when its limit passes, and its place is free again.
    #[test]
    fn wait_expires() {
        let locks = RowLocks::default();
        let row = key("r");
        let limit = Duration::from_millis(5);
        assert!(matches!(locks.acquire(A, &row, limit), Ok(Request::Granted)));
        let Ok(Request::Wait(wait)) = locks.acquire(B, &row, limit) else { panic!("not queued") };
        assert_eq!(wait.block(limit), Err(LockRefused::Timeout));
        locks.release_all(A);
        assert_eq!(locks.locked_rows(), 0);
    }

    /// A granted lock wakes a waiting thread.
    #[test]
    fn release_wakes_a_thread() {
        let locks = RowLocks::default();
        let row = key("r");
        let long = Duration::from_secs(30);
        assert!(matches!(locks.acquire(A, &row, long), Ok(Request::Granted)));
        let Ok(Request::Wait(wait)) = locks.acquire(B, &row, long) else { panic!("not queued") };
        std::thread::scope(|scope| {
            let waiter = scope.spawn(move || wait.block(long));
            locks.release_all(A);
            assert_eq!(waiter.join().expect("the waiter does not panic"), Ok(Answer::Granted));
        });
        assert_eq!(locks.lock().table.owner(b"r"), Some(B));
    }
}
