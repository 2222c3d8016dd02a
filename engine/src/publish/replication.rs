//! Publishing where a partition is one of several copies: nothing is visible, and no commit is
//! acknowledged, before every copy that it waits for has it (catalogue rules 4 and 13).
//!
//! ```text
//!  master   append ─► sealed ─► ship ─► … ─► replicated(position) ─► committed root, waiting commits
//!  replica  frames ─► applied(end, root) ──────► replicated(position) ─► committed root
//! ```
//!
//! The position is what the replication's core says: on the master what the wait set has, on a replica
//! what its master said.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, MutexGuard, PoisonError, RwLock, Weak};
use std::task::{Context, Poll, Waker};

use resprout_wal::{Frame, LogError, Lsn, Position};

use super::{Boundary, Marks, Pending, Publisher};
use crate::tree::Root;

/// Who ships a partition's log to its other copies. Called in the log's order, on whichever thread
/// made the log go on; must not wait for the log or the partition.
pub trait Shipper: Send + Sync + fmt::Debug {
    /// Frames that were made here.
    fn appended(&self, frames: &[Frame]);
    /// The log is on the medium up to here, perhaps in the middle of a group.
    fn durable(&self, lsn: Lsn);
    /// The log has ended.
    fn failed(&self, error: &LogError);
}

/// The shipper of a partition.
#[derive(Debug)]
pub(super) struct Shipping {
    shipper: RwLock<Weak<dyn Shipper>>,
    /// Groups that are sealed here and not committed.
    under_way: AtomicU64,
}

/// Why commits that are waited for have no known outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lost {
    /// The log has failed.
    Failed,
    /// The copy is not master any more.
    Fenced,
}

/// What is known of the other copies.
#[derive(Debug)]
pub(crate) struct Replicated {
    /// Everybody that is waited for has the log up to here.
    pub(super) position: Lsn,
    /// Readers see nothing before this is acknowledged: what was recovered may be taken back.
    floor: Lsn,
    /// Where the root was applied that is shown, if that was not recovered.
    applied: Lsn,
    /// Groups of this master that are not committed: number and end.
    groups: VecDeque<(u64, Lsn)>,
    /// The newest group that is committed.
    newest: u64,
    /// The first group of the present mastership, or why there is none.
    master: Result<u64, Lost>,
    /// Who waits, and for what.
    wakers: BTreeMap<u64, (Until, Waker)>,
    next_key: u64,
}

/// What somebody waits for.
#[derive(Clone, Copy, Debug)]
enum Until {
    /// A commit here is acknowledged.
    Committed(Position),
    /// Readers see everything before.
    Shown(Lsn),
}

impl Replicated {
    fn new(position: Lsn, floor: Lsn) -> Self {
        Self {
            position,
            floor,
            applied: Lsn::ZERO,
            groups: VecDeque::new(),
            newest: 0,
            master: Err(Lost::Fenced),
            wakers: BTreeMap::new(),
            next_key: 0,
        }
    }

    /// Somebody else ships the log, which ends there: what of it is not known acknowledged may be taken back.
    fn begin_anew(&mut self, end: Lsn) {
        self.applied = self.shown();
        self.floor = end;
        self.groups.clear();
        self.master = Err(Lost::Fenced);
    }

    /// Everything before is in the root that readers see.
    fn shown(&self) -> Lsn {
        let recovered = if self.position >= self.floor { self.floor } else { Lsn::ZERO };
        self.applied.max(recovered)
    }

    /// The root after everything before `lsn` is shown.
    pub(super) fn show(&mut self, lsn: Lsn) {
        self.applied = self.applied.max(lsn);
    }

    /// Notes that the log is committed up to there; the newest committed group, if that is another.
    pub(super) fn settle(&mut self, committed: Lsn) -> Option<u64> {
        let before = self.newest;
        while let Some((generation, _)) = self.groups.pop_front_if(|(_, end)| *end <= committed) {
            self.newest = generation;
        }
        (self.newest > before).then_some(self.newest)
    }

    /// What somebody is told who waits, if anything yet. A commit of an earlier mastership is told that
    /// nobody knows, whatever became of it.
    fn outcome(&self, until: Until) -> Option<Result<(), Lost>> {
        let position = match until {
            Until::Shown(lsn) => return (self.shown() >= lsn).then_some(Ok(())),
            Until::Committed(position) => position,
        };
        match self.master {
            Err(lost) => Some(Err(lost)),
            Ok(first) if position.generation < first => Some(Err(Lost::Fenced)),
            Ok(_) => (self.newest >= position.generation).then_some(Ok(())),
        }
    }

    fn take_ready(&mut self) -> Vec<Waker> {
        let (newest, shown) = (self.newest, self.shown());
        let ready = self.wakers.extract_if(.., |_, (until, _)| match until {
            Until::Committed(position) => position.generation <= newest,
            Until::Shown(lsn) => *lsn <= shown,
        });
        ready.map(|(_, (_, waker))| waker).collect()
    }
}

impl Publisher {
    /// From now on the partition is one of several copies. What was recovered is known acknowledged
    /// up to `acknowledged` only; if it was one before, up to where that is known by now. How far that is.
    pub(crate) fn replicate(&self, acknowledged: Lsn, shipper: Weak<dyn Shipper>) -> Lsn {
        let mut marks = self.marks();
        let end = marks.end;
        let known = marks.replicated.get_or_insert_with(|| Replicated::new(acknowledged, end));
        known.begin_anew(end);
        if let Some(shipping) = self.shipper.get() {
            *shipping.shipper.write().unwrap_or_else(PoisonError::into_inner) = shipper;
        } else {
            let shipping = Shipping { shipper: RwLock::new(shipper), under_way: 0.into() };
            assert!(self.shipper.set(shipping).is_ok(), "set with the marks locked");
        }
        self.note_under_way(known);
        known.position
    }

    /// Whether the partition is one of several copies.
    pub(crate) fn is_replicated(&self) -> bool {
        self.shipper.get().is_some()
    }

    /// Groups that are sealed here and not committed.
    pub(crate) fn under_way(&self) -> u64 {
        self.shipper.get().map_or(0, |shipping| shipping.under_way.load(Ordering::Acquire))
    }

    pub(super) fn tell_shipper(&self, tell: impl FnOnce(&dyn Shipper)) {
        let shipper = self.shipper.get().and_then(|shipping| {
            shipping.shipper.read().unwrap_or_else(PoisonError::into_inner).upgrade()
        });
        if let Some(shipper) = shipper {
            tell(&*shipper);
        }
    }

    pub(super) fn ship(&self, frames: &[Frame]) {
        if !frames.is_empty() {
            self.tell_shipper(|shipper| shipper.appended(frames));
        }
    }

    /// Tells those who decide whether to seal, without the lock.
    fn note_under_way(&self, known: &Replicated) {
        if let Some(shipping) = self.shipper.get() {
            shipping.under_way.store(known.groups.len() as u64, Ordering::Release);
        }
    }

    /// A group is sealed here.
    pub(super) fn note_group(&self, known: &mut Replicated, generation: u64, end: Lsn) {
        known.groups.push_back((generation, end));
        self.note_under_way(known);
    }

    /// This copy becomes master: its first group has this number.
    pub(crate) fn begin_mastership(&self, generation: u64) {
        if let Some(known) = &mut self.marks().replicated {
            known.master = Ok(generation);
        }
    }

    /// Everybody that is waited for has the log up to here, or so the master says.
    pub(crate) fn replicated(&self, position: Lsn) {
        let mut marks = self.marks();
        let Some(known) = &mut marks.replicated else { return };
        known.position = known.position.max(position);
        self.advance(&mut marks);
        self.wake(marks);
    }

    /// Wakes who has waited for what the marks say now.
    pub(super) fn wake(&self, mut marks: MutexGuard<'_, Marks>) {
        let Some(known) = &mut marks.replicated else { return };
        let wakers = known.take_ready();
        self.note_under_way(known);
        drop(marks);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Everything before is in the root that readers see.
    pub(crate) fn shown_now(&self) -> Lsn {
        self.marks().replicated.as_ref().map_or(Lsn::ZERO, Replicated::shown)
    }

    /// Whether readers may see what is published: nothing of it can vanish.
    pub(crate) fn is_readable(&self) -> bool {
        self.marks().replicated.as_ref().is_none_or(|known| known.position >= known.floor)
    }

    /// Whether the group of a position is committed, and durable here.
    pub(crate) fn is_committed(&self, position: Position) -> bool {
        let marks = self.marks();
        marks.replicated.as_ref().is_none_or(|known| known.newest >= position.generation)
    }

    /// A replica has applied a part of the log, which ends here.
    pub(crate) fn applied(&self, end: Lsn, root: Root) {
        let hold = self.versions.hold(&root);
        let mut marks = self.marks();
        let in_order = marks.pending.back().and_then(|last| last.end).is_none_or(|last| last < end);
        assert!(in_order, "applied up to {end}, out of order");
        // The log may be about to tell of it.
        marks.end = marks.end.max(end);
        // No group that a master seals has this number.
        marks.pending.push_back(Pending { generation: 0, end: Some(end), root, hold });
        self.advance(&mut marks);
        self.wake(marks);
    }

    /// Commits that are waited for have an unknown outcome from now on.
    pub(crate) fn lose(&self, why: Lost) {
        let mut marks = self.marks();
        let Some(known) = &mut marks.replicated else { return };
        known.master = Err(why);
        known.groups.clear();
        self.note_under_way(known);
        // Who waits for more than commits waits on.
        let wakers = std::mem::take(&mut known.wakers);
        marks.undecided = 0;
        drop(marks);
        wakers.into_values().for_each(|(_, waker)| waker.wake());
    }

    /// Waits until a commit is acknowledged by everybody, without a thread.
    pub(crate) fn acknowledged(self: &Arc<Self>, position: Position) -> Acknowledged {
        Acknowledged { publisher: self.clone(), until: Until::Committed(position), key: None }
    }

    /// Waits until readers see everything before `lsn`.
    pub(crate) fn shown(self: &Arc<Self>, lsn: Lsn) -> Acknowledged {
        Acknowledged { publisher: self.clone(), until: Until::Shown(lsn), key: None }
    }

    /// The newest root at or before `to` from which the log, which begins at `log_from`, leads there;
    /// what is behind `to` is forgotten. Readers still see what they saw.
    pub(crate) fn begin_cut(&self, to: Lsn, log_from: Lsn) -> Option<Boundary> {
        let mut marks = self.marks();
        marks.pending.retain(|pending| pending.end.is_some_and(|end| end <= to));
        let pending = marks.pending.back().map(|last| (last.end.unwrap_or(to), last.root));
        let newest = pending
            .filter(|(lsn, _)| *lsn == to || *lsn >= log_from)
            .map(|(lsn, root)| Boundary { lsn, hold: Arc::new(self.versions.hold(&root)), root });
        let serves = |b: &&Boundary| b.lsn == to || (log_from..to).contains(&b.lsn);
        let older = Some(&marks.boundary).filter(serves);
        let older = older.or_else(|| marks.kept.iter().rev().find(serves)).cloned();
        marks.kept.retain(|boundary| boundary.lsn < to);
        marks.boundary.lsn = marks.boundary.lsn.min(to);
        (marks.end, marks.durable) = (to, to);
        if let Some(known) = &mut marks.replicated {
            known.position = known.position.min(to);
            known.floor = known.floor.min(to);
            known.applied = known.applied.min(to);
        }
        self.rewinds.fetch_add(1, Ordering::AcqRel);
        self.committed.fetch_min(to.0, Ordering::AcqRel);
        newest.or(older)
    }

    /// An image is in the place of what was: `root` is its state at `lsn`, all of it committed.
    pub(crate) fn replace(&self, lsn: Lsn, root: Root) {
        let mut marks = self.marks();
        marks.pending.clear();
        marks.kept.clear();
        (marks.end, marks.durable, marks.undecided) = (lsn, lsn, 0);
        let hold = Arc::new(self.versions.hold(&root));
        self.versions.publish(root);
        marks.seen = root.version;
        marks.boundary = Boundary { lsn, hold, root };
        if let Some(known) = &mut marks.replicated {
            (known.position, known.floor, known.applied) = (lsn, lsn, lsn);
        }
        self.rewinds.fetch_add(1, Ordering::AcqRel);
        self.committed.store(lsn.0, Ordering::Release);
        self.wake(marks);
    }

    /// Ends a cut: the tree was put back to `root`, the state at `to`.
    pub(crate) fn end_cut(&self, to: Lsn, root: Root) {
        let mut marks = self.marks();
        let hold = self.versions.hold(&root);
        if to > self.committed() {
            let there = marks.pending.back().is_some_and(|last| last.end == Some(to));
            if !there {
                marks.pending.push_back(Pending { generation: 0, end: Some(to), root, hold });
            }
        } else {
            self.versions.publish(root);
            marks.pending.clear();
            marks.seen = root.version;
            marks.boundary = Boundary { lsn: to, hold: Arc::new(hold), root };
        }
        Self::check(&marks, self.committed());
    }
}

/// See [`Publisher::acknowledged`].
#[derive(Debug)]
pub(crate) struct Acknowledged {
    publisher: Arc<Publisher>,
    until: Until,
    key: Option<u64>,
}

impl Acknowledged {
    fn register(&mut self, marks: &mut Marks, waker: &Waker) -> Option<Result<(), Lost>> {
        let Some(known) = &mut marks.replicated else { return Some(Ok(())) };
        if let Some(outcome) = known.outcome(self.until) {
            return Some(outcome);
        }
        let key = *self.key.get_or_insert_with(|| {
            known.next_key += 1;
            known.next_key
        });
        known.wakers.insert(key, (self.until, waker.clone()));
        None
    }
}

impl Future for Acknowledged {
    type Output = Result<(), Lost>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let publisher = self.publisher.clone();
        let outcome = self.register(&mut publisher.marks(), context.waker());
        outcome.map_or(Poll::Pending, Poll::Ready)
    }
}

impl Drop for Acknowledged {
    fn drop(&mut self) {
        if let Some(key) = self.key.take()
            && let Some(known) = &mut self.publisher.marks().replicated
        {
            known.wakers.remove(&key);
        }
    }
}
