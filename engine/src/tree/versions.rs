//! Who still looks at which version of the tree.
//!
//! ```text
//!   version   5        6        7        8 = latest frozen      9 = being written
//!             │        │        │        │
//!          a view   (nobody)  committed  always alive
//! ```
//!
//! A version is *alive* while it is the latest frozen one, the committed (published) one, held, or
//! looked at by a view. The writer reuses a node only when no alive version can reach it, so what a
//! view or hold reaches never changes and never goes away. A [`Root`] by itself keeps nothing alive.
//!
//! Reading takes no lock: a view claims a slot, writes the committed version into it and then checks
//! that this is still the committed one. The writer looks through the slots after the committed
//! version moved; both sides have a sequentially consistent fence between their write and their read,
//! so either the writer sees the slot or the view sees the move and tries again. When all slots are
//! taken, views are counted under the lock like holds.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::cursor::{Leaves, OwnedScan, Scan};
use super::memory::PageMemory;
use super::multi_get::search_all;
use super::reader::Reader;

/// No node: the root of an empty tree.
pub(super) const NONE: u32 = u32::MAX;

/// Views that need no lock, per tree.
const SLOTS: usize = 256;

/// Slot values beside versions, which start at 1.
const FREE: u64 = 0;
const CLAIMED: u64 = u64::MAX;

/// No root is published under an odd number.
const NEVER_COMMITTED: u64 = u64::MAX;

/// One frozen version of a tree. A name, not a hold: see [`Versions::hold`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Root {
    /// Which version; grows with every freeze that had something to freeze.
    pub version: u64,
    /// Rows of all tables and indexes together.
    pub rows: u64,
    /// Leaf pages of 4096 bytes.
    pub pages: u64,
    pub(super) node: u32,
    /// Levels of inner nodes above the leaves.
    pub(super) height: u32,
}

impl Root {
    pub(super) const fn empty(version: u64) -> Self {
        Self { version, rows: 0, pages: 0, node: NONE, height: 0 }
    }
}

#[repr(align(64))]
struct Slot(AtomicU64);

/// The committed root, readable without a lock: `sequence` is odd while the others change.
#[derive(Default)]
struct Committed {
    sequence: AtomicU64,
    version: AtomicU64,
    rows: AtomicU64,
    pages: AtomicU64,
    node: AtomicU32,
    height: AtomicU32,
}

/// What the lock guards: all that is alive but views in slots.
#[derive(Debug)]
struct Alive {
    latest: Root,
    committed: Root,
    held: BTreeMap<u64, usize>,
}

/// Registry of the versions of one tree, shared by the writer and all readers.
pub struct Versions {
    memory: Arc<PageMemory>,
    committed: Committed,
    slots: Box<[Slot]>,
    /// Slots from here on were never claimed.
    slots_used: AtomicUsize,
    alive: Mutex<Alive>,
}

thread_local! {
    /// The slot this thread used last, of whichever tree. Only a hint.
    static LAST_SLOT: Cell<usize> = const { Cell::new(0) };
}

impl Versions {
    pub(super) fn new(memory: Arc<PageMemory>, first: Root) -> Arc<Self> {
        let versions = Self {
            memory,
            committed: Committed::default(),
            slots: (0..SLOTS).map(|_| Slot(AtomicU64::new(FREE))).collect(),
            slots_used: AtomicUsize::new(0),
            alive: Mutex::new(Alive { latest: first, committed: first, held: BTreeMap::new() }),
        };
        versions.committed.store(&first);
        Arc::new(versions)
    }

    fn lock(&self) -> MutexGuard<'_, Alive> {
        self.alive.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a root the committed one, which [`Versions::acquire`] gives to readers. May also go back
    /// to an older one.
    ///
    /// # Panics
    /// When the root is not alive: hold it from its freeze until it is published.
    pub fn publish(&self, root: Root) {
        let mut alive = self.lock();
        assert!(alive.contains(root.version), "published a root that nobody held: {root:?}");
        alive.committed = root;
        self.committed.store(&root);
    }

    /// The committed root, as a name.
    #[must_use]
    pub fn committed(&self) -> Root {
        self.lock().committed
    }

    /// The latest frozen root, as a name.
    #[must_use]
    pub fn latest(&self) -> Root {
        self.lock().latest
    }

    /// A view of the committed root. Takes no lock unless more than 256 views are open.
    #[must_use]
    pub fn acquire(self: &Arc<Self>) -> View {
        let Some(index) = self.claim_slot() else {
            let mut alive = self.lock();
            let root = alive.committed;
            alive.add(root.version);
            // Cannot change while the lock is held.
            let sequence = self.committed.sequence.load(Ordering::Relaxed);
            drop(alive);
            return View { root, sequence, pin: Pin::Counted, versions: Arc::clone(self) };
        };
        let (sequence, root) = self.pin_committed(index);
        View { root, sequence, pin: Pin::Slot(index), versions: Arc::clone(self) }
    }

    /// Makes a claimed slot keep the committed version alive instead of what it kept before.
    fn pin_committed(&self, index: usize) -> (u64, Root) {
        let slot = &self.slots[index].0;
        loop {
            let (sequence, root) = self.committed.load();
            // Release: our reads of pages of the version before come before the writer's reuse.
            slot.store(root.version, Ordering::Release);
            fence(Ordering::SeqCst);
            // Unchanged after the fence: a writer that frees nodes later sees the slot.
            if self.committed.sequence.load(Ordering::Relaxed) == sequence {
                return (sequence, root);
            }
        }
    }

    fn claim_slot(&self) -> Option<usize> {
        let claim = |index: usize| {
            // Before the claim, so that a writer that could miss the slot has not missed its number.
            if self.slots_used.load(Ordering::Relaxed) <= index {
                self.slots_used.fetch_max(index + 1, Ordering::SeqCst);
            }
            let slot = &self.slots[index].0;
            slot.load(Ordering::Relaxed) == FREE
                && slot
                    .compare_exchange(FREE, CLAIMED, Ordering::Acquire, Ordering::Relaxed)
                    .is_ok()
        };
        let hint = LAST_SLOT.get();
        if claim(hint) {
            return Some(hint);
        }
        let index = (0..SLOTS).find(|&index| claim(index))?;
        LAST_SLOT.set(index);
        Some(index)
    }

    /// Keeps a version alive until the hold is dropped: for a snapshot, for a commit that waits, or to
    /// rewind to.
    ///
    /// # Panics
    /// When the root is not alive any more: only the latest, the committed or a held one can be held.
    #[must_use]
    pub fn hold(self: &Arc<Self>, root: &Root) -> Hold {
        let mut alive = self.lock();
        assert!(alive.contains(root.version), "held a root too late: {root:?}");
        alive.add(root.version);
        drop(alive);
        Hold { root: *root, versions: Arc::clone(self) }
    }

    fn slots_in_use(&self) -> impl Iterator<Item = u64> + '_ {
        let used = self.slots_used.load(Ordering::SeqCst);
        self.slots[..used]
            .iter()
            .map(|slot| slot.0.load(Ordering::Acquire))
            .filter(|&version| version != FREE && version != CLAIMED)
    }

    /// Moves the latest frozen root, and lists all versions alive after that, in order.
    pub(super) fn set_latest(&self, root: Root) {
        self.lock().latest = root;
    }

    /// All versions alive now, in order. Versions that become alive later are newer than all of
    /// these, or are among them.
    pub(super) fn alive(&self, into: &mut Vec<u64>) {
        into.clear();
        let alive = self.lock();
        into.extend([alive.latest.version, alive.committed.version]);
        into.extend(alive.held.keys());
        // Pairs with the fence in `acquire`; the lock orders it after every publish so far.
        fence(Ordering::SeqCst);
        into.extend(self.slots_in_use());
        drop(alive);
        into.sort_unstable();
        into.dedup();
    }

    /// # Safety
    /// `root` must be alive for as long as the reader lives.
    unsafe fn reader(&self, root: &Root) -> Reader<'_> {
        // SAFETY: the caller keeps the root alive, so nothing it reaches is written.
        unsafe { Reader::new(&self.memory, root.node, root.height) }
    }
}

impl fmt::Debug for Versions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let alive = self.lock();
        f.debug_struct("Versions").field("alive", &*alive).finish_non_exhaustive()
    }
}

impl Alive {
    /// Without the views in slots: a slot may for a moment show a version that its reader is about
    /// to give up.
    fn contains(&self, version: u64) -> bool {
        version == self.latest.version
            || version == self.committed.version
            || self.held.contains_key(&version)
    }

    fn add(&mut self, version: u64) {
        *self.held.entry(version).or_insert(0) += 1;
    }

    fn release(&mut self, version: u64) {
        let count = self.held.get_mut(&version).expect("what is released was counted before");
        *count -= 1;
        if *count == 0 {
            self.held.remove(&version);
        }
    }
}

impl Committed {
    /// Callers hold the lock: there is one writer.
    fn store(&self, root: &Root) {
        let sequence = self.sequence.load(Ordering::Relaxed);
        self.sequence.store(sequence + 1, Ordering::Relaxed);
        fence(Ordering::Release);
        self.version.store(root.version, Ordering::Relaxed);
        self.rows.store(root.rows, Ordering::Relaxed);
        self.pages.store(root.pages, Ordering::Relaxed);
        self.node.store(root.node, Ordering::Relaxed);
        self.height.store(root.height, Ordering::Relaxed);
        self.sequence.store(sequence + 2, Ordering::Release);
    }

    /// A root and the even sequence number under which it was read. It may be torn: only a later look
    /// at the same number makes it valid.
    fn load(&self) -> (u64, Root) {
        loop {
            let sequence = self.sequence.load(Ordering::Acquire);
            if sequence.is_multiple_of(2) {
                let root = Root {
                    version: self.version.load(Ordering::Relaxed),
                    rows: self.rows.load(Ordering::Relaxed),
                    pages: self.pages.load(Ordering::Relaxed),
                    node: self.node.load(Ordering::Relaxed),
                    height: self.height.load(Ordering::Relaxed),
                };
                return (sequence, root);
            }
            std::hint::spin_loop();
        }
    }
}

/// Keeps one version alive.
#[derive(Debug)]
pub struct Hold {
    root: Root,
    versions: Arc<Versions>,
}

impl Hold {
    /// Which root is held.
    #[must_use]
    pub fn root(&self) -> Root {
        self.root
    }

    /// A view of the held root; it stays valid after the hold is gone.
    #[must_use]
    pub fn view(&self) -> View {
        self.versions.lock().add(self.root.version);
        let (root, versions) = (self.root, Arc::clone(&self.versions));
        View { root, sequence: NEVER_COMMITTED, pin: Pin::Counted, versions }
    }

    pub(super) fn belongs_to(&self, versions: &Arc<Versions>) -> bool {
        Arc::ptr_eq(&self.versions, versions)
    }
}

impl Clone for Hold {
    fn clone(&self) -> Self {
        self.versions.lock().add(self.root.version);
        Self { root: self.root, versions: Arc::clone(&self.versions) }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.versions.lock().release(self.root.version);
    }
}

#[derive(Debug)]
enum Pin {
    Slot(usize),
    Counted,
}

/// A version to read from. It never changes, and costs the writer memory while it lives.
#[derive(Debug)]
pub struct View {
    root: Root,
    /// Number under which the root was read as the committed one.
    sequence: u64,
    pin: Pin,
    versions: Arc<Versions>,
}

impl View {
    pub(super) fn reader(&self) -> Reader<'_> {
        // SAFETY: this view keeps the version alive, and the reader borrows the view.
        unsafe { self.versions.reader(&self.root) }
    }

    /// Which root this is a view of.
    #[must_use]
    pub fn root(&self) -> Root {
        self.root
    }

    /// Moves to the committed root, if that is another one by now; says whether it moved. Without a
    /// commit in between this costs one look at a number that nobody writes, where a new view takes a
    /// slot, a reference and a fence: for one who reads again and again and wants the newest.
    #[inline]
    pub fn refresh(&mut self) -> bool {
        // Acquire: what was published before the number is seen by those who see the number.
        let now = self.versions.committed.sequence.load(Ordering::Acquire);
        now != self.sequence && self.move_to_committed()
    }

    #[cold]
    fn move_to_committed(&mut self) -> bool {
        let before = self.root.version;
        match self.pin {
            Pin::Slot(index) => (self.sequence, self.root) = self.versions.pin_committed(index),
            Pin::Counted => *self = self.versions.acquire(),
        }
        self.root.version != before
    }

    pub(crate) fn is_of(&self, versions: &Arc<Versions>) -> bool {
        Arc::ptr_eq(&self.versions, versions)
    }

    /// The value of a key.
    #[must_use]
    pub fn get(&self, key: &[u8]) -> Option<&[u8]> {
        self.reader().get(key)
    }

    /// The values of several keys, in any order and any number, searched for together: in a large tree that
    /// is about one and a half times as fast as one [`View::get`] after the other. Calls `each` with the position of
    /// the key, from 0, and its value, in the order of the keys. For keys of several views there is
    /// [`get_many`](super::get_many()).
    ///
    /// ```
    /// use resprout_engine::tree::{MemoryLimit, PageMemory, Tree};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut tree = Tree::new(PageMemory::new(MemoryLimit::new(64 << 20))?);
    /// tree.put(b"one", b"1")?;
    /// tree.put(b"two", b"2")?;
    /// # let root = tree.freeze();
    /// # tree.versions().publish(root);
    /// let view = tree.versions().acquire();
    /// let mut found = Vec::new();
    /// view.get_many(["two", "three", "one"], |_, value| found.push(value));
    /// assert_eq!(found, [Some(&b"2"[..]), None, Some(b"1")]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn get_many<'v, K: AsRef<[u8]>>(
        &'v self,
        keys: impl IntoIterator<Item = K>,
        each: impl FnMut(usize, Option<&'v [u8]>),
    ) {
        let reader = self.reader();
        search_all(keys.into_iter().map(|key| (reader, key)), each);
    }

    /// The rows with keys in `[from, to)`, or from `from` to the end.
    #[must_use]
    pub fn range(&self, from: &[u8], to: Option<&[u8]>) -> Scan<'_> {
        Scan::new(self.reader(), from, to)
    }

    /// The same, owning the view: for a scan that outlives its caller.
    #[must_use]
    pub fn into_range(self, from: &[u8], to: Option<&[u8]>) -> OwnedScan {
        OwnedScan::new(self, from, to)
    }

    /// The leaf pages in key order, as a snapshot stores them.
    #[must_use]
    pub fn leaves(&self) -> Leaves<'_> {
        self.leaves_from(&[])
    }

    /// The same from the leaf on to which a key belongs: with a leaf's separator, that leaf.
    #[must_use]
    pub fn leaves_from(&self, key: &[u8]) -> Leaves<'_> {
        Leaves::new(self.reader(), key)
    }

    /// Keeps this version alive beyond the view.
    #[must_use]
    pub fn hold(&self) -> Hold {
        self.versions.lock().add(self.root.version);
        Hold { root: self.root, versions: Arc::clone(&self.versions) }
    }
}

impl Drop for View {
    fn drop(&mut self) {
        match self.pin {
            // Release: our reads of the pages come before the writer's reuse of them.
            Pin::Slot(index) => self.versions.slots[index].0.store(FREE, Ordering::Release),
            Pin::Counted => self.versions.lock().release(self.root.version),
        }
    }
}
