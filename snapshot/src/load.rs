//! Loading pages at the speed of the device.
//!
//! [`Loader`] only plans: it cuts the pages into large sequential reads that begin and end with a
//! leaf, so that each read can be checked alone and land straight in page memory. Whoever uses it
//! owns queue, memory and threads. [`load_all`] is the simple use: one thread, one queue, several
//! reads in flight.
//!
//! ```text
//!   next_read ─► prepared (x depth) ─► in flight (x depth) ─► arrived ─► verify ─► done
//!                memory is there        │ failed or short: again, 3 attempts (row D25)
//! ```

use std::collections::VecDeque;
use std::io;

use resprout_wal::disk::{AlignedBuf, Completion, Disk, HUGE_PAGE, IoBuf, Queue, Request};

use crate::PAGE;
use crate::error::{Damage, SnapshotError};
use crate::open::{READ_ATTEMPTS, Snapshot};

/// Bytes of one read in [`load_all`], unless one leaf is longer: one huge page.
pub const READ_BYTES: usize = 2 << 20;

/// Reads in flight while a snapshot is verified.
const VERIFY_DEPTH: usize = 4;

/// One read of whole leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageRead {
    /// Byte position in the file, a multiple of the sector.
    pub offset: u64,
    /// Number of its first page in the snapshot.
    pub first_page: u32,
    /// Number of pages.
    pub pages: u32,
    /// Number of its first leaf.
    pub first_leaf: usize,
    /// Number of leaves.
    pub leaves: usize,
}

impl PageRead {
    /// Length in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.pages as usize * PAGE
    }
}

/// Plans the reads of a snapshot from its first page to its last.
#[derive(Debug)]
pub struct Loader {
    snapshot: Snapshot,
    pages_per_read: u32,
    next_leaf: usize,
    next_page: u32,
}

impl Loader {
    /// A plan of reads of at most `read_size` bytes, except where one leaf is longer.
    ///
    /// # Panics
    /// If `read_size` is less than a page.
    #[must_use]
    pub fn new(snapshot: &Snapshot, read_size: usize) -> Self {
        assert!(read_size >= PAGE, "reads are whole pages");
        let pages_per_read = u32::try_from(read_size / PAGE).unwrap_or(u32::MAX);
        Self { snapshot: snapshot.clone(), pages_per_read, next_leaf: 0, next_page: 0 }
    }

    /// The next read; `None` after the last page.
    pub fn next_read(&mut self) -> Option<PageRead> {
        let (first_leaf, first_page) = (self.next_leaf, self.next_page);
        while self.next_leaf < self.snapshot.leaf_count() {
            let leaf = self.snapshot.leaf(self.next_leaf);
            assert_eq!(leaf.first_page, self.next_page, "leaves follow each other without a gap");
            let is_first = self.next_leaf == first_leaf;
            if !is_first && leaf.first_page - first_page + leaf.run > self.pages_per_read {
                break;
            }
            self.next_leaf += 1;
            self.next_page += leaf.run;
        }
        let pages = self.next_page - first_page;
        let offset = self.snapshot.offset_of(first_page);
        let leaves = self.next_leaf - first_leaf;
        (pages > 0).then_some(PageRead { offset, first_page, pages, first_leaf, leaves })
    }

    /// Pages of the reads given out so far.
    #[must_use]
    pub fn pages_planned(&self) -> u32 {
        self.next_page
    }

    /// Pages of the whole snapshot.
    #[must_use]
    pub fn pages_total(&self) -> u32 {
        self.snapshot.pages()
    }

    /// The snapshot, whose [`Snapshot::verify`] other threads may use on what was read.
    #[must_use]
    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }
}

/// Reads and checks all pages of `snapshot` with up to `depth` reads in flight on `queue`, and as
/// many each that are prepared and that have arrived. `span` gives the memory for each read, of
/// exactly [`PageRead::bytes`]; `done` gets it back filled and checked, in no particular order.
///
/// # Errors
/// Damage, or a read that failed in several attempts. Everything in flight has been waited for,
/// and `done` was called for nothing that was not checked.
///
/// # Panics
/// If `queue` is in use or `span` gives memory of another length.
pub fn load_all(
    snapshot: &Snapshot,
    queue: &mut dyn Queue,
    depth: usize,
    span: impl FnMut(PageRead) -> io::Result<IoBuf>,
    done: impl FnMut(PageRead, IoBuf),
) -> Result<(), SnapshotError> {
    assert_eq!(queue.in_flight(), 0, "the queue is for this load alone");
    let depth = depth.clamp(1, queue.depth());
    let mut flight = Flight {
        plan: Loader::new(snapshot, READ_BYTES),
        queue,
        prepared: VecDeque::with_capacity(depth),
        slots: vec![None; depth],
        completions: Vec::with_capacity(depth),
        arrived: VecDeque::with_capacity(depth),
    };
    let result = flight.run(span, done);
    if result.is_err() {
        flight.land();
    }
    result
}

/// One read under way.
#[derive(Clone, Copy)]
struct UnderWay {
    read: PageRead,
    attempt: u32,
}

/// The reads of one load. The token of a request is the number of its slot.
struct Flight<'a> {
    plan: Loader,
    queue: &'a mut dyn Queue,
    /// With memory that is there, to be started.
    prepared: VecDeque<(PageRead, IoBuf)>,
    slots: Vec<Option<UnderWay>>,
    completions: Vec<Completion>,
    /// Read whole, not yet checked.
    arrived: VecDeque<(PageRead, IoBuf)>,
}

impl Flight<'_> {
    /// The device comes first: after each piece of work that takes this thread's time, be it one
    /// read checked or memory for one prepared, reads are started in the places that became free.
    fn run(
        &mut self,
        mut span: impl FnMut(PageRead) -> io::Result<IoBuf>,
        mut done: impl FnMut(PageRead, IoBuf),
    ) -> Result<(), SnapshotError> {
        loop {
            self.exchange(0)?;
            if self.step(&mut span, &mut done)? {
                continue;
            }
            if self.slots.iter().all(Option::is_none) {
                return Ok(());
            }
            self.exchange(1)?;
        }
    }

    /// Starts what is prepared and takes what has arrived, waiting for `at_least` reads, until
    /// neither leads to the other: devices tend to end many reads at once, and then idle.
    fn exchange(&mut self, mut at_least: usize) -> Result<(), SnapshotError> {
        loop {
            self.start();
            let waited = self.queue.wait(at_least, &mut self.completions);
            waited.map_err(|e| self.failed("read", e))?;
            if self.completions.is_empty() {
                return Ok(());
            }
            at_least = 0;
            while let Some(completion) = self.completions.pop() {
                self.complete(completion)?;
            }
        }
    }

    /// Gives free slots the reads that are prepared.
    fn start(&mut self) {
        while let Some(slot) = self.slots.iter().position(Option::is_none) {
            let Some((read, buf)) = self.prepared.pop_front() else { break };
            self.push(slot, UnderWay { read, attempt: 1 }, buf);
        }
    }

    /// One piece of work; `false` when there is none until a read arrives. While the device idles,
    /// the next read comes before the last one's check.
    fn step(
        &mut self,
        span: &mut impl FnMut(PageRead) -> io::Result<IoBuf>,
        done: &mut impl FnMut(PageRead, IoBuf),
    ) -> Result<bool, SnapshotError> {
        if self.prepared.is_empty() && self.prepare(span)? {
            return Ok(true);
        }
        if let Some((read, buf)) = self.arrived.pop_front() {
            self.plan.snapshot.verify(read.first_page, buf.as_slice())?;
            done(read, buf);
            return Ok(true);
        }
        Ok(self.prepared.len() < self.slots.len() && self.prepare(span)?)
    }

    /// Finds memory for the next read; `false` after the last.
    fn prepare(
        &mut self,
        span: &mut impl FnMut(PageRead) -> io::Result<IoBuf>,
    ) -> Result<bool, SnapshotError> {
        let Some(read) = self.plan.next_read() else { return Ok(false) };
        let mut buf = span(read).map_err(|e| self.failed("find memory to load", e))?;
        assert_eq!(buf.len(), read.bytes(), "memory of the length of the read");
        buf.populate();
        self.prepared.push_back((read, buf));
        Ok(true)
    }

    fn push(&mut self, slot: usize, under_way: UnderWay, buf: IoBuf) {
        let file = self.plan.snapshot.file().clone();
        let offset = under_way.read.offset;
        self.slots[slot] = Some(under_way);
        self.queue.push(slot as u64, Request::Read { file, offset, buf });
    }

    fn complete(&mut self, completion: Completion) -> Result<(), SnapshotError> {
        let slot = completion.token as usize;
        let UnderWay { read, attempt } = self.slots[slot].take().expect("a slot that was filled");
        let buf = completion.buf.expect("a read gives its buffer back");
        let path = self.plan.snapshot.path();
        match completion.result {
            Ok(taken) if taken == buf.len() => {
                self.arrived.push_back((read, buf));
                Ok(())
            }
            _ if attempt < READ_ATTEMPTS => {
                self.push(slot, UnderWay { read, attempt: attempt + 1 }, buf);
                Ok(())
            }
            Ok(taken) => {
                let found = read.offset + taken as u64;
                let damage = Damage::Short { expected: read.offset + read.bytes() as u64, found };
                Err(SnapshotError::damaged(path, found, damage))
            }
            Err(source) => {
                let (path, offset) = (path.to_owned(), read.offset);
                Err(SnapshotError::Read { path, offset, attempts: attempt, source })
            }
        }
    }

    /// Waits for everything in flight, so that no memory of the caller is written to afterwards.
    fn land(&mut self) {
        while self.queue.in_flight() > 0 {
            if self.queue.wait(1, &mut self.completions).is_err() {
                // An unusable queue waits for its requests when it is dropped.
                return;
            }
        }
    }

    fn failed(&self, doing: &'static str, source: io::Error) -> SnapshotError {
        SnapshotError::io(doing, self.plan.snapshot.path(), source)
    }
}

/// Reads and checks all pages of `snapshot` into memory that is thrown away. `step` hears of each
/// read after it was checked, and may take its time.
///
/// # Errors
/// As [`load_all`].
pub fn verify_all(
    disk: &dyn Disk,
    snapshot: &Snapshot,
    mut step: impl FnMut(PageRead),
) -> Result<(), SnapshotError> {
    read_back(disk, snapshot, |read, _| step(read))
}

/// The same; `take` gets the pages too.
pub(crate) fn read_back(
    disk: &dyn Disk,
    snapshot: &Snapshot,
    mut take: impl FnMut(PageRead, &[u8]),
) -> Result<(), SnapshotError> {
    let failed = |e| SnapshotError::io("read", snapshot.path(), e);
    let mut queue = disk.queue(VERIFY_DEPTH as u32).map_err(failed)?;
    let spare = std::cell::RefCell::new(Vec::with_capacity(VERIFY_DEPTH));
    let span = |read: PageRead| {
        let fits = |buf: &AlignedBuf| buf.len() >= read.bytes();
        let reused = spare.borrow_mut().pop().filter(fits);
        let buf = match reused {
            Some(buf) => buf,
            None => AlignedBuf::new(read.bytes().max(HUGE_PAGE))?,
        };
        Ok(buf.into_io_prefix(read.bytes()))
    };
    let done = |read, buf: IoBuf| {
        take(read, buf.as_slice());
        spare.borrow_mut().extend(AlignedBuf::from_io(buf));
    };
    load_all(snapshot, queue.as_mut(), VERIFY_DEPTH, span, done)
}
