//! From appended to visible: roots wait here until their part of the log is committed.
//!
//! ```text
//!  writer ── note(generation, root) ──► pending ── durable(generation, end) ──► committed root
//!                                          │                                        │
//!                                          └──────── every few MiB of log ──► kept roots (rewind)
//! ```
//!
//! A generation is one frame of the log while it is open; all transactions in it share its fate,
//! so only the root after the last of them matters. With sync durability readers see it when the
//! frame is durable; a prepared transaction that takes effect they see at once if everything
//! below it is committed or cannot be taken back. With async durability they see each transaction at once; what is durable is
//! then known at frame boundaries, and only those serve snapshots and rewinding. What changes where a
//! partition is one of several copies is in `replication`.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use resprout_wal::{Frame, LogError, Lsn, Observer};

use crate::commit_rule::{Durability, Positions};
use crate::record::RecordKind;
use crate::tree::{Hold, Root, Versions};

pub use replication::Shipper;
pub(crate) use replication::{Lost, Replicated};

mod replication;

/// A root that one position of the log describes.
#[derive(Clone, Debug)]
pub(crate) struct Boundary {
    /// Everything before it is in the root, nothing after it.
    pub(crate) lsn: Lsn,
    /// Keeps the root's pages.
    pub(crate) hold: Arc<Hold>,
    /// The root.
    pub(crate) root: Root,
}

#[derive(Debug)]
struct Pending {
    generation: u64,
    /// Known once the frame is sealed.
    end: Option<Lsn>,
    root: Root,
    hold: Hold,
}

#[derive(Debug)]
struct Marks {
    end: Lsn,
    durable: Lsn,
    pending: VecDeque<Pending>,
    /// Newest generation with a change that is not committed before it is durable; 0 once all are.
    undecided: u64,
    /// Version of the root that readers see.
    seen: u64,
    /// Newest root at a frame boundary that is durable and committed.
    boundary: Boundary,
    /// Older boundaries, oldest first, for rewinding.
    kept: VecDeque<Boundary>,
    /// What is known of the other copies, if there are any.
    replicated: Option<Replicated>,
}

/// How many boundaries are kept for rewinding, and how far apart.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Keep {
    pub(crate) roots: usize,
    pub(crate) spacing: u64,
}

/// The publishing half of one partition.
#[derive(Debug)]
pub(crate) struct Publisher {
    durability: Durability,
    keep: Keep,
    versions: Arc<Versions>,
    committed: AtomicU64,
    rewinds: AtomicU64,
    marks: Mutex<Marks>,
    failed: Mutex<Option<LogError>>,
    /// Who ships the log, once the partition is one of several copies.
    shipper: OnceLock<replication::Shipping>,
}

impl Publisher {
    /// Starts at a recovered root, which becomes the committed one.
    pub(crate) fn new(
        durability: Durability,
        keep: Keep,
        versions: &Arc<Versions>,
        (lsn, root): (Lsn, Root),
    ) -> Self {
        let hold = Arc::new(versions.hold(&root));
        versions.publish(root);
        let marks = Marks {
            end: lsn,
            durable: lsn,
            pending: VecDeque::new(),
            undecided: 0,
            seen: root.version,
            boundary: Boundary { lsn, hold, root },
            kept: VecDeque::new(),
            replicated: None,
        };
        Self {
            durability,
            keep,
            versions: Arc::clone(versions),
            committed: AtomicU64::new(lsn.0),
            rewinds: AtomicU64::new(0),
            marks: Mutex::new(marks),
            failed: Mutex::new(None),
            shipper: OnceLock::new(),
        }
    }

    fn marks(&self) -> MutexGuard<'_, Marks> {
        // The marks are changed by assertions-checked steps below; a panic in one of them stops
        // the log's driver and with it every acknowledgement, so what is left is never trusted.
        self.marks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A transaction was applied and is about to be appended to `generation`; `root` is the tree
    /// after it. Called under the writer's lock and the log's, so in log order, and before the
    /// append: once that is done, the frame may be sealed and durable at any moment.
    pub(crate) fn note(&self, generation: u64, root: Root, kind: RecordKind) {
        let hold = self.versions.hold(&root);
        let mut marks = self.marks();
        if kind.is_undecided() {
            marks.undecided = generation;
        }
        if let Some(last) = marks.pending.back_mut() {
            assert!(last.generation <= generation, "generations go back");
            if last.generation == generation {
                assert!(last.end.is_none(), "a transaction joined a sealed frame");
                (last.root, last.hold) = (root, hold);
                return;
            }
        }
        marks.pending.push_back(Pending { generation, end: None, root, hold });
    }

    /// A transaction is appended; `root` is the tree after it. Whether readers see it now: with
    /// async durability always, else if nothing in the root can be taken back any more (rule 13).
    pub(crate) fn appended(&self, root: Root, kind: RecordKind) -> bool {
        let mut marks = self.marks();
        let firm = kind.is_decided() && marks.undecided == 0;
        let alone = marks.replicated.is_none();
        let seen = alone && self.durability == Durability::Async || firm;
        if seen {
            self.show(&mut marks, root);
        }
        seen
    }

    /// Readers see this root, unless they see a newer one.
    fn show(&self, marks: &mut Marks, root: Root) {
        if root.version > marks.seen {
            self.versions.publish(root);
            marks.seen = root.version;
        }
    }

    /// Up to where the log is committed.
    pub(crate) fn committed(&self) -> Lsn {
        Lsn(self.committed.load(Ordering::Acquire))
    }

    /// How often the partition was rewound: positions grow only between two of these.
    pub(crate) fn rewinds(&self) -> u64 {
        self.rewinds.load(Ordering::Acquire)
    }

    /// Newest durable, committed root at a frame boundary.
    pub(crate) fn boundary(&self) -> Boundary {
        self.marks().boundary.clone()
    }

    /// Begins to go back to `to`: positions are there from now on, while readers still see what
    /// they saw. Gives the newest kept boundary at or before it from which the log, which begins
    /// at `log_from`, leads there.
    ///
    /// # Panics
    /// If commits are still on their way.
    pub(crate) fn begin_rewind(&self, to: Lsn, log_from: Lsn) -> Option<Boundary> {
        let mut marks = self.marks();
        assert!(marks.pending.is_empty(), "rewound while commits are on their way");
        let serves = |b: &&Boundary| b.lsn == to || (log_from..to).contains(&b.lsn);
        let newest = Some(&marks.boundary).filter(serves);
        let base = newest.or_else(|| marks.kept.iter().rev().find(serves)).cloned();
        marks.kept.retain(|boundary| boundary.lsn < to);
        marks.boundary.lsn = marks.boundary.lsn.min(to);
        (marks.end, marks.durable) = (to, to);
        // First the count: who sees the lower position must also see why.
        self.rewinds.fetch_add(1, Ordering::AcqRel);
        self.committed.store(to.0, Ordering::Release);
        base
    }

    /// Positions of the boundaries that rewinding can reach by root, oldest first.
    pub(crate) fn kept_positions(&self) -> Vec<Lsn> {
        let marks = self.marks();
        let kept = marks.kept.iter().map(|b| b.lsn);
        kept.chain(std::iter::once(marks.boundary.lsn)).collect()
    }

    /// Forgets kept boundaries, to give their pages back when memory is short.
    pub(crate) fn drop_kept(&self) {
        self.marks().kept.clear();
    }

    /// Ends a rewind: the tree was put back to `root`, which is the state up to `end`, where the
    /// log's new term begins.
    pub(crate) fn end_rewind(&self, end: Lsn, root: Root) {
        let hold = Arc::new(self.versions.hold(&root));
        self.versions.publish(root);
        let mut marks = self.marks();
        assert!(end <= marks.end, "rewound to behind the end");
        marks.boundary = Boundary { lsn: end, hold, root };
        marks.seen = root.version;
        Self::check(&marks, self.committed());
    }

    /// Why the log failed, if it has.
    pub(crate) fn failure(&self) -> Option<LogError> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn check(marks: &Marks, committed: Lsn) {
        assert!(marks.boundary.lsn <= committed, "boundary beyond what is committed");
        assert!(committed <= marks.end, "committed beyond the end");
        assert!(marks.durable <= marks.end, "durable beyond the end");
    }

    /// Publishes what the commit rule now allows.
    fn advance(&self, marks: &mut Marks) {
        let (end, durable) = (marks.end, marks.durable);
        let replicated = marks.replicated.as_ref().map_or(end, |known| known.position.min(end));
        let committed = self.durability.committed(Positions { end, durable, replicated });
        if self.durability == Durability::Sync || marks.replicated.is_some() {
            let within = |p: &&Pending| p.end.is_some_and(|end| end <= committed);
            let newest = marks.pending.iter().take_while(within).last().map(|p| (p.end, p.root));
            if let Some((end, root)) = newest {
                self.show(marks, root);
                if let (Some(known), Some(end)) = (&mut marks.replicated, end) {
                    known.show(end);
                }
            }
        }
        let firm = committed.min(durable);
        let mut reached = None;
        while marks.pending.front().is_some_and(|p| p.end.is_some_and(|end| end <= firm)) {
            reached = marks.pending.pop_front();
        }
        if let Some(Pending { end: Some(lsn), root, hold, .. }) = reached {
            let next = Boundary { lsn, hold: Arc::new(hold), root };
            let previous = std::mem::replace(&mut marks.boundary, next);
            self.keep(marks, previous);
        }
        let before = self.committed.fetch_max(committed.0, Ordering::AcqRel);
        Self::check(marks, Lsn(before).max(committed));
        if let Some(newest) = marks.replicated.as_mut().and_then(|known| known.settle(committed))
            && marks.undecided <= newest
        {
            marks.undecided = 0;
        }
    }

    fn keep(&self, marks: &mut Marks, boundary: Boundary) {
        let due =
            marks.kept.back().is_none_or(|last| boundary.lsn.since(last.lsn) >= self.keep.spacing);
        if self.keep.roots == 0 || !due {
            return;
        }
        if marks.kept.len() == self.keep.roots {
            marks.kept.pop_front();
        }
        marks.kept.push_back(boundary);
    }
}

impl Observer for Publisher {
    fn sealed(&self, generation: u64, end: Lsn, frames: &[Frame]) {
        let mut marks = self.marks();
        // A replica may have applied more than the log has told of.
        assert!(end >= marks.end || marks.replicated.is_some(), "the log's end went back");
        marks.end = marks.end.max(end);
        if let Some(pending) = marks.pending.iter_mut().find(|p| p.generation == generation) {
            pending.end = Some(end);
        }
        if let Some(known) = &mut marks.replicated
            && !frames.is_empty()
        {
            self.note_group(known, generation, end);
        }
        self.advance(&mut marks);
        drop(marks);
        self.ship(frames);
    }

    fn durable(&self, generation: u64, end: Lsn) {
        let mut marks = self.marks();
        assert!(end >= marks.durable, "what was durable went back");
        marks.durable = end;
        if marks.replicated.is_none() && marks.undecided <= generation {
            marks.undecided = 0;
        }
        self.advance(&mut marks);
        self.wake(marks);
        self.tell_shipper(|shipper| shipper.durable(end));
    }

    fn flushed(&self, end: Lsn) {
        self.tell_shipper(|shipper| shipper.durable(end));
    }

    fn failed(&self, error: &LogError) {
        self.failed
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get_or_insert_with(|| error.clone());
        self.lose(Lost::Failed);
        self.tell_shipper(|shipper| shipper.failed(error));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::{MemoryLimit, PageMemory, Tree};

    /// A tree that changes with each root, and its publisher.
    struct Scene {
        tree: Tree,
        publisher: Publisher,
    }

    impl Scene {
        fn new() -> Self {
            let memory = PageMemory::new(MemoryLimit::new(64 << 20)).expect("some memory");
            let mut tree = Tree::new(memory);
            let root = tree.freeze();
            let keep = Keep { roots: 0, spacing: 0 };
            let start = (Lsn(0), root);
            let publisher = Publisher::new(Durability::Sync, keep, tree.versions(), start);
            Self { tree, publisher }
        }

        /// Appends a change. Its version, and whether readers see it at once.
        fn append(&mut self, generation: u64, kind: RecordKind) -> (u64, bool) {
            self.tree.put(b"key", b"value").expect("there is memory");
            let root = self.tree.freeze();
            self.publisher.note(generation, root, kind);
            (root.version, self.publisher.appended(root, kind))
        }

        fn seen(&self) -> u64 {
            self.tree.versions().committed().version
        }
    }

    /// Rule 13: what was decided before is seen at once, but never together with a change that can
    /// still be taken back, and readers never go back.
    #[test]
    fn what_is_decided_is_seen_at_once_and_nothing_else() {
        let mut scene = Scene::new();
        let start = scene.seen();
        assert!(!scene.append(1, RecordKind::Commit).1);
        let (waits, seen) = scene.append(1, RecordKind::CommitPrepared);
        assert_eq!((seen, scene.seen()), (false, start));
        scene.publisher.sealed(1, Lsn(10), &[]);
        assert!(!scene.append(2, RecordKind::CommitPrepared).1, "the commit is not durable yet");
        assert_eq!(scene.seen(), start);
        scene.publisher.durable(1, Lsn(10));
        assert_eq!(scene.seen(), waits);

        assert!(!scene.append(2, RecordKind::Prepare).1);
        assert_eq!(scene.seen(), waits);
        scene.publisher.sealed(2, Lsn(20), &[]);
        let (newer, seen) = scene.append(3, RecordKind::CommitPrepared);
        assert_eq!((seen, scene.seen()), (true, newer));
        scene.publisher.durable(2, Lsn(20));
        assert_eq!(scene.seen(), newer, "an older root does not come back");
        assert_eq!(scene.publisher.committed(), Lsn(20));

        let (last, seen) = scene.append(3, RecordKind::Schema);
        assert_eq!((seen, scene.seen()), (false, newer));
        scene.publisher.sealed(3, Lsn(30), &[]);
        scene.publisher.durable(3, Lsn(30));
        assert_eq!(scene.seen(), last);
    }
}
