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
//! frame is durable. With async durability they see each transaction at once; what is durable is
//! then known at frame boundaries, and only those serve snapshots and rewinding.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use resprout_wal::{LogError, Lsn, Observer};

use crate::commit_rule::{Durability, Positions};
use crate::tree::{Hold, Root, Versions};

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
    /// Newest root at a frame boundary that is durable and committed.
    boundary: Boundary,
    /// Older boundaries, oldest first, for rewinding.
    kept: VecDeque<Boundary>,
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
            boundary: Boundary { lsn, hold, root },
            kept: VecDeque::new(),
        };
        Self {
            durability,
            keep,
            versions: Arc::clone(versions),
            committed: AtomicU64::new(lsn.0),
            rewinds: AtomicU64::new(0),
            marks: Mutex::new(marks),
            failed: Mutex::new(None),
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
    pub(crate) fn note(&self, generation: u64, root: Root) {
        let hold = self.versions.hold(&root);
        let mut marks = self.marks();
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

    /// With async durability a transaction is visible as soon as it is appended.
    pub(crate) fn appended(&self, root: Root) {
        if self.durability == Durability::Async {
            self.versions.publish(root);
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
        let positions = Positions { end: marks.end, durable: marks.durable, replicated: marks.end };
        let committed = self.durability.committed(positions);
        let firm = committed.min(marks.durable);
        let mut reached = None;
        while marks.pending.front().is_some_and(|p| p.end.is_some_and(|end| end <= firm)) {
            reached = marks.pending.pop_front();
        }
        if let Some(Pending { end: Some(lsn), root, hold, .. }) = reached {
            if self.durability == Durability::Sync {
                self.versions.publish(root);
            }
            let next = Boundary { lsn, hold: Arc::new(hold), root };
            let previous = std::mem::replace(&mut marks.boundary, next);
            self.keep(marks, previous);
        }
        let before = self.committed.fetch_max(committed.0, Ordering::AcqRel);
        Self::check(marks, Lsn(before).max(committed));
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
    fn sealed(&self, generation: u64, end: Lsn) {
        let mut marks = self.marks();
        assert!(end >= marks.end, "the log's end went back");
        marks.end = end;
        if let Some(pending) = marks.pending.iter_mut().find(|p| p.generation == generation) {
            pending.end = Some(end);
        }
        self.advance(&mut marks);
    }

    fn durable(&self, _generation: u64, end: Lsn) {
        let mut marks = self.marks();
        assert!(end >= marks.durable, "what was durable went back");
        marks.durable = end;
        self.advance(&mut marks);
    }

    fn failed(&self, error: &LogError) {
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        failed.get_or_insert_with(|| error.clone());
    }
}
