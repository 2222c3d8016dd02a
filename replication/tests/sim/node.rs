//! One copy's node: its disk, what is on the way there, and its process.
//!
//! What the disk has changes only when an operation completes, in order. A crash keeps a prefix of
//! what was under way, by the seed; an append may be torn between frames.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use resprout_replication::{
    Config, Identity, ImageHead, Incarnation, Instance, Partition, PartitionCopy, Promise, Seed,
    State, Write,
};
use resprout_wal::world::Rng;
use resprout_wal::{Lsn, Term};

use crate::support::{Log, digest, values};

/// What survives.
#[derive(Clone, Debug, Default)]
pub(crate) struct Disk {
    pub(crate) promise: Promise,
    pub(crate) log: Log,
    pub(crate) incarnation: u64,
    /// Pages stored beside what is served, by digest.
    pub(crate) pages: BTreeMap<u64, Bytes>,
}

/// One operation on its way to the disk.
#[derive(Clone, Debug)]
pub(crate) enum Op {
    Write(Write),
    Store(u64, Vec<Bytes>),
    Install(ImageHead, Vec<u64>),
}

/// A write of a client that is not acknowledged yet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Waiting {
    pub(crate) value: u64,
    pub(crate) term: Term,
    pub(crate) end: Lsn,
}

/// A root that a master holds for a copy.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    pub(crate) head: ImageHead,
    pub(crate) pages: Vec<Bytes>,
}

/// A running process.
#[derive(Clone, Debug)]
pub(crate) struct Process {
    pub(crate) copy: PartitionCopy,
    /// The log as it is in memory.
    pub(crate) log: Log,
    pub(crate) queue: VecDeque<Op>,
    pub(crate) disk_free: Duration,
    pub(crate) state: State,
    /// The root that readers see.
    pub(crate) visible: Lsn,
    pub(crate) waiting: Vec<Waiting>,
    pub(crate) held: BTreeMap<Instance, Held>,
    /// Digests of the image that is fetched.
    pub(crate) wanted: (u64, BTreeMap<u64, u64>),
    /// The newest term that was handed to it.
    pub(crate) heard: Term,
    pub(crate) deadline: Duration,
    /// How far its clock is ahead of time: those of nodes have nothing to do with each other.
    pub(crate) ahead: Duration,
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub(crate) struct Node {
    pub(crate) disk: Disk,
    pub(crate) process: Option<Process>,
    /// Counts processes: events of an earlier one are dropped.
    pub(crate) run: u64,
    pub(crate) paused: bool,
    /// What arrived while it was paused.
    pub(crate) kept: Vec<crate::world::Event>,
    /// Flushes take so many times as long.
    pub(crate) slow: u64,
    pub(crate) full: bool,
}

/// The only partition.
pub(crate) const PARTITION: Partition = Partition { cluster: 7, database: 1, ordinal: 0 };

impl Node {
    /// Starts its process on what the disk has.
    pub(crate) fn start(&mut self, number: u64, config: Config, now: Duration) {
        self.run += 1;
        self.disk.incarnation += 1;
        self.disk.log.recover();
        self.full = false;
        let log = self.disk.log.clone();
        let identity = Identity {
            partition: PARTITION,
            instance: Instance(number),
            incarnation: Incarnation(self.disk.incarnation),
        };
        let committed = log.known_committed();
        let (promise, tail, first) = (self.disk.promise, log.tail(), log.first());
        let seed = Seed { identity, config, promise, tail, committed, first, resumes: None };
        let ahead = Duration::from_secs((number * 7_919 + self.run * 104_729) % 40);
        self.process = Some(Process {
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
        });
    }

    /// Ends its process; some of what was under way is on the disk.
    pub(crate) fn crash(&mut self, rng: &mut Rng) -> Vec<Waiting> {
        let Some(mut process) = self.process.take() else { return Vec::new() };
        let kept =
            if process.queue.is_empty() { 0 } else { rng.below(process.queue.len() as u64 + 1) };
        for _ in 0..kept {
            let op = process.queue.pop_front().expect("counted");
            self.disk.apply(op);
        }
        // The one after that may be torn.
        if let Some(Op::Write(Write::Append(mut frames))) = process.queue.pop_front() {
            frames.truncate(usize::try_from(rng.below(frames.len() as u64)).expect("a length"));
            self.disk.apply(Op::Write(Write::Append(frames)));
        }
        self.paused = false;
        self.kept.clear();
        process.waiting
    }
}

impl Disk {
    pub(crate) fn apply(&mut self, op: Op) {
        match op {
            Op::Write(Write::Append(frames)) => {
                frames.into_iter().for_each(|frame| self.log.push(frame));
            }
            Op::Write(Write::Cut { to, .. }) => self.log.cut(to),
            Op::Write(write) => unreachable!("not in the log's queue: {write:?}"),
            Op::Store(_, pages) => {
                self.pages.extend(pages.into_iter().map(|page| (digest(&page), page)));
            }
            Op::Install(head, rows) => {
                self.log = Log::behind(head.lsn, head.lineage, rows);
                self.incarnation += 1;
                self.pages.clear();
            }
        }
    }
}

impl Process {
    /// The values of the root that readers see.
    pub(crate) fn rows(&self) -> Vec<u64> {
        self.log.rows_at(self.visible)
    }

    /// The rows of a fetched image, or nothing if a page of it is missing.
    pub(crate) fn assembled(&self, disk: &Disk, head: &ImageHead, lax: bool) -> Option<Vec<u64>> {
        let own = crate::support::pages(&self.rows());
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
