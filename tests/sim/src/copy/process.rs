//! A copy that runs: the core, what it has in memory, and what is on the way to its disk.
//!
//! A crash keeps a prefix of what was under way, by the seed; an append may be torn between frames.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use resprout_replication::{
    Config, End, Event, Identity, ImageHead, Incarnation, Instance, PageWork, Partition,
    PartitionCopy, Seed, Stance, State, Write,
};
use resprout_wal::world::Rng;
use resprout_wal::{Lsn, Term};

use super::disk::{Disk, Op};
use super::log::{Log, digest, pages, values};
use crate::coverage::Coverage;

/// A write of a client that is not acknowledged yet.
#[derive(Clone, Copy, Debug)]
pub struct Waiting {
    /// What was written.
    pub value: u64,
    /// In which term.
    pub term: Term,
    /// Behind it.
    pub end: Lsn,
}

/// Pages that one read gives.
const READ_PAGES: usize = 2;

/// A root that a master holds for a copy.
#[derive(Clone, Debug)]
pub struct Held {
    /// What it is.
    pub head: ImageHead,
    /// Its pages.
    pub pages: Vec<Bytes>,
}

/// A running copy.
#[derive(Clone, Debug)]
pub struct Process {
    /// The rules.
    pub copy: PartitionCopy,
    /// The log as it is in memory.
    pub log: Log,
    /// What is on its way to the disk.
    pub queue: VecDeque<Op>,
    /// When the disk is done with that.
    pub disk_free: Duration,
    /// What the core said last that it is.
    pub state: State,
    /// The root that readers see.
    pub visible: Lsn,
    /// Writes of clients.
    pub waiting: Vec<Waiting>,
    /// Roots held for others.
    pub held: BTreeMap<Instance, Held>,
    /// Digests of the image that is fetched.
    pub wanted: (u64, BTreeMap<u64, u64>),
    /// The newest term that was handed to it.
    pub heard: Term,
    /// When it is to be stepped, as noted.
    pub deadline: Duration,
    /// How far its clock is ahead of time: those of nodes have nothing to do with each other.
    pub ahead: Duration,
    /// As which run it began.
    pub identity: Identity,
    /// Where the run before ended, if that was in order.
    pub ended: Option<End>,
}

/// What a copy is started with.
#[derive(Clone, Copy, Debug)]
pub struct Start {
    /// Of which partition.
    pub partition: Partition,
    /// Which copy.
    pub instance: Instance,
    /// Its run has at least this number.
    pub least: Incarnation,
    /// Its settings.
    pub config: Config,
    /// The time of the world.
    pub now: Duration,
    /// How far its clock is ahead of that.
    pub ahead: Duration,
}

/// What comes of work with pages.
#[derive(Clone, Debug)]
pub enum Paged {
    /// Nothing.
    Nothing,
    /// An answer to the core.
    Answer(Event),
    /// An operation of the disk.
    Write(Op),
}

impl Process {
    /// Starts on what a disk has, as its next run.
    #[must_use]
    pub fn start(disk: &mut Disk, start: Start) -> Self {
        let Start { partition, instance, least, config, now, ahead } = start;
        disk.incarnation = (disk.incarnation + 1).max(least.0);
        disk.log.recover();
        let ended = disk.ended.take();
        let log = disk.log.clone();
        let identity = Identity { partition, instance, incarnation: Incarnation(disk.incarnation) };
        let committed = log.known_committed();
        let (promise, tail, first) = (disk.promise, log.tail(), log.first());
        let at = End { term: tail.last_term(), lsn: tail.end() };
        let resumes = ended.filter(|ended| *ended == at).map(|ended| ended.term);
        let seed = Seed { identity, config, promise, tail, committed, first, resumes };
        Self {
            copy: PartitionCopy::new(seed, now + ahead),
            queue: VecDeque::new(),
            disk_free: now,
            state: State::Pending,
            visible: committed,
            waiting: Vec::new(),
            held: BTreeMap::new(),
            wanted: (0, BTreeMap::new()),
            heard: promise.term,
            deadline: now + ahead,
            ahead,
            log,
            identity,
            ended,
        }
    }

    /// Ends as power does: some of what was under way is on the disk. The writes that nobody knows of any more.
    pub fn crash(mut self, disk: &mut Disk, rng: &mut Rng) -> Vec<Waiting> {
        let kept = if self.queue.is_empty() { 0 } else { rng.below(self.queue.len() as u64 + 1) };
        for _ in 0..kept {
            let op = self.queue.pop_front().expect("counted");
            disk.apply(op);
        }
        // The one after that may be torn.
        if let Some(Op::Write(Write::Append(mut frames))) = self.queue.pop_front() {
            frames.truncate(usize::try_from(rng.below(frames.len() as u64)).expect("a length"));
            disk.apply(Op::Write(Write::Append(frames)));
        }
        self.waiting
    }

    /// Ends in order: everything is on the disk, and the next run is told where this one ended.
    pub fn stop(mut self, disk: &mut Disk) -> Vec<Waiting> {
        let goes_on = self.stance().ends_in_order(self.identity.incarnation, self.ended);
        self.queue.drain(..).for_each(|op| disk.apply(op));
        if goes_on {
            disk.ended = Some(End { term: disk.log.tail().last_term(), lsn: disk.log.end() });
        }
        self.waiting
    }

    /// The first operation of the queue is on the disk: what the core is told.
    pub fn disk_done(&mut self, disk: &mut Disk) -> Option<Event> {
        let op = self.queue.pop_front()?;
        disk.apply(op.clone());
        Some(match op {
            Op::Write(Write::Cut { to, .. }) => Event::Cut { to },
            Op::Write(_) => Event::Durable(disk.log.end()),
            Op::Store(image, _) => Event::Stored { image },
            Op::Install(head, _) => {
                self.log = disk.log.clone();
                self.visible = head.lsn;
                let incarnation = Incarnation(disk.incarnation);
                Event::Installed { image: head.id, incarnation }
            }
        })
    }

    /// What it says of itself.
    #[must_use]
    pub fn stance(&self) -> Stance {
        self.copy.stance(self.state)
    }

    /// Whether nothing has happened to the copy since the run before ended in order.
    #[must_use]
    pub fn is_untouched(&self) -> bool {
        self.stance().is_untouched(self.identity.incarnation, self.ended)
    }

    /// The values of the root that readers see.
    #[must_use]
    pub fn rows(&self) -> Vec<u64> {
        self.log.rows_at(self.visible)
    }

    /// Works with pages. A root that is held gets the number `next`. `lax` installs what is not complete.
    pub fn page_work(
        &mut self,
        disk: &Disk,
        work: PageWork,
        (next, lax): (u64, bool),
        coverage: &mut Coverage,
    ) -> Paged {
        match work {
            PageWork::Hold { replica, plain } => {
                let (lsn, pages) = (self.visible, pages(&self.rows()));
                let lineage = self.log.lineage_at(lsn);
                let bytes = pages.iter().map(|page| page.len() as u64).sum();
                let plain = plain && !pages.is_empty();
                let count = pages.len() as u64;
                let head = ImageHead { id: next, lsn, lineage, pages: count, bytes, plain };
                self.held.insert(replica, Held { head: head.clone(), pages });
                Paged::Answer(Event::Image { replica, head })
            }
            PageWork::Release { replica } => {
                self.held.remove(&replica);
                Paged::Nothing
            }
            PageWork::Digests { image, from, count } => {
                let Some(pages) = self.image(image) else { return Paged::Nothing };
                let pages = pages.iter().skip(from as usize).take(count as usize);
                let digests = pages.map(|page| digest(page)).collect();
                Paged::Answer(Event::Digests { image, from, digests })
            }
            PageWork::Read { image, pages: wanted } => {
                let Some(all) = self.image(image) else { return Paged::Nothing };
                // As many as fit: the rest is read behind them.
                let few = wanted.iter().take(READ_PAGES);
                let pages = few.map(|page| (*page, all[*page as usize].clone())).collect();
                Paged::Answer(Event::Pages { image, pages })
            }
            PageWork::Compare { head, from, digests: _ } if head.plain => {
                coverage.note("a plain image");
                Paged::Answer(self.compare_plain(disk, &head, from))
            }
            PageWork::Compare { head, from, digests } => {
                Paged::Answer(self.compare(disk, (head.id, from), &digests, coverage))
            }
            PageWork::Store { image, pages } => {
                if self.wanted.0 == image {
                    for (number, page) in &pages {
                        self.wanted.1.entry(*number).or_insert_with(|| digest(page));
                    }
                }
                let pages = pages.into_iter().map(|(_, page)| page).collect();
                coverage.note("pages stored");
                Paged::Write(Op::Store(image, pages))
            }
            PageWork::Install(head) => match self.assembled(disk, &head, lax) {
                Some(rows) => Paged::Write(Op::Install(head, rows)),
                None => Paged::Answer(Event::Spoiled { image: head.id }),
            },
        }
    }

    fn image(&self, image: u64) -> Option<&[Bytes]> {
        let mut held = self.held.values();
        held.find(|held| held.head.id == image).map(|held| held.pages.as_slice())
    }

    fn compare(
        &mut self,
        disk: &Disk,
        (image, from): (u64, u64),
        digests: &[u64],
        coverage: &mut Coverage,
    ) -> Event {
        if self.wanted.0 != image {
            self.wanted = (image, BTreeMap::new());
        }
        let own: BTreeSet<u64> = pages(&self.rows()).iter().map(|page| digest(page)).collect();
        let mut missing = Vec::new();
        for (page, digest) in (from..).zip(digests) {
            self.wanted.1.insert(page, *digest);
            if !own.contains(digest) && !disk.pages.contains_key(digest) {
                missing.push(page);
            } else {
                coverage.note("page was here");
            }
        }
        Event::Differ { image, until: from + digests.len() as u64, pages: missing }
    }

    /// Pages of a plain image have no digests: those that came are known by their numbers.
    fn compare_plain(&mut self, disk: &Disk, head: &ImageHead, from: u64) -> Event {
        if self.wanted.0 != head.id {
            self.wanted = (head.id, BTreeMap::new());
        }
        let here = |page: &u64| self.wanted.1.get(page).is_some_and(|d| disk.pages.contains_key(d));
        let pages = (from..head.pages).filter(|page| !here(page)).collect();
        Event::Differ { image: head.id, until: head.pages, pages }
    }

    /// The rows of a fetched image, or nothing if a page of it is missing.
    fn assembled(&self, disk: &Disk, head: &ImageHead, lax: bool) -> Option<Vec<u64>> {
        let own = pages(&self.rows());
        let own: BTreeMap<u64, Bytes> = own.into_iter().map(|page| (digest(&page), page)).collect();
        let mut rows = Vec::new();
        for page in 0..head.pages {
            let digest = self.wanted.1.get(&page).filter(|_| self.wanted.0 == head.id);
            let found = digest.and_then(|digest| disk.pages.get(digest).or(own.get(digest)));
            match found {
                Some(page) => rows.extend(values(page)),
                None if lax => {}
                None => return None,
            }
        }
        Some(rows)
    }
}
