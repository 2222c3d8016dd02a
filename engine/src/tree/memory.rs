//! The memory under one tree: address ranges, and the bytes of a page by its number.
//!
//! ```text
//!   base                         leaf range                    inner range
//!   |0      |1      |2      | ... (not yet usable) ...         |0  |1  |2  | ...
//!   └ 4096 ─┘  page = base + number × 4096                     └1 KiB┘
//! ```
//!
//! Both ranges are reserved once without access rights, so a page never moves and its number is its
//! address. They become usable in steps of whole 2 MiB blocks, which the kernel is asked to back by
//! huge pages: a random read of a large tree costs a TLB miss per page otherwise. Which pages are in
//! use is not known here but in `space`; who may write which page is decided by versions, in `tree`.
//!
//! Callers may rely on: bytes are always initialised (fresh memory is zero); nothing is returned to
//! the system before the last owner of the `PageMemory` is gone; a limit is charged before memory
//! becomes usable, so exceeding it is an error and never a killed process.

use std::any::Any;
use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use resprout_wal::disk::IoBuf;

use super::TreeError;

/// Bytes of a leaf page, in memory and on disk.
pub const PAGE_BYTES: usize = 4096;

/// Bytes of one unit of inner nodes; nearly all inner nodes are one unit.
pub(super) const INNER_BYTES: usize = 1024;

/// A leaf page.
pub type Page = [u8; PAGE_BYTES];

/// Bytes of a cache line, and how many of them a search in a page of rows of 100 bytes reads.
const LINE_BYTES: usize = 64;
const SEARCH_LINES: usize = 4;

/// Lines that a guess of a record's place covers, and bytes of records in a full page. Keys spread by
/// a hash lie up to some five rows of 100 bytes from where an even spread would put them.
const RECORD_LINES: usize = 16;
const HEAP_GUESS_BYTES: f32 = 3840.0;

/// Memory becomes usable in multiples of this: the size of a huge page.
const BLOCK_BYTES: u64 = 2 << 20;

/// A range grows by this part of itself, or a block: system calls stay rare, and what is taken stays
/// near what is needed.
const GROWTH_SHARE: u64 = 16;

/// How many bytes the trees that share this limit may make usable together. Clones share the count.
#[derive(Clone, Debug)]
pub struct MemoryLimit(Arc<Ledger>);

#[derive(Debug)]
struct Ledger {
    limit_bytes: u64,
    charged_bytes: AtomicU64,
}

impl MemoryLimit {
    /// A limit of so many bytes. Each tree takes at least two blocks of 2 MiB as soon as it has a row.
    #[must_use]
    pub fn new(limit_bytes: u64) -> Self {
        Self(Arc::new(Ledger { limit_bytes, charged_bytes: AtomicU64::new(0) }))
    }

    /// As much as the machine has.
    #[must_use]
    pub fn physical_memory() -> Self {
        // SAFETY: sysconf reads a system value and touches no memory of ours.
        let pages = unsafe { libc::sysconf(libc::_SC_PHYS_PAGES) };
        let pages = u64::try_from(pages).unwrap_or(1 << 20);
        Self::new(pages.saturating_mul(PAGE_BYTES as u64))
    }

    /// The limit in bytes.
    #[must_use]
    pub fn limit_bytes(&self) -> u64 {
        self.0.limit_bytes
    }

    /// Bytes made usable so far by all that share this limit.
    #[must_use]
    pub fn charged_bytes(&self) -> u64 {
        self.0.charged_bytes.load(Ordering::Relaxed)
    }

    fn charge(&self, bytes: u64) -> Result<(), TreeError> {
        let grow =
            |charged: u64| charged.checked_add(bytes).filter(|&total| total <= self.0.limit_bytes);
        self.0
            .charged_bytes
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, grow)
            .map(|_| ())
            .map_err(|charged| TreeError::OutOfMemory {
                needed_bytes: bytes,
                charged_bytes: charged,
                limit_bytes: self.0.limit_bytes,
            })
    }

    fn refund(&self, bytes: u64) {
        let before = self.0.charged_bytes.fetch_sub(bytes, Ordering::Relaxed);
        assert!(before >= bytes, "refunded {bytes} bytes of {before} charged");
    }
}

/// Which of the two ranges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Range {
    Leaf,
    Inner,
}

impl Range {
    pub(super) fn unit_bytes(self) -> u64 {
        match self {
            Self::Leaf => PAGE_BYTES as u64,
            Self::Inner => INNER_BYTES as u64,
        }
    }
}

/// What is known about pages that a loader fills before the tree takes over.
#[derive(Debug, Default)]
struct Loading {
    /// A tree has taken this memory: no more loading.
    taken: bool,
    /// Pages `0..area` are set aside for the loader.
    area: u32,
    /// Pages that became usable for it: whole blocks.
    usable: u32,
    /// Spans handed out, as sorted `[from, to)` without gaps between neighbours.
    handed: Vec<(u32, u32)>,
    /// Buffers handed out and not yet dropped.
    in_flight: usize,
}

/// The memory of one tree. See the module documentation.
#[derive(Debug)]
pub struct PageMemory {
    base: NonNull<u8>,
    mapped_bytes: usize,
    inner_offset: usize,
    limit: MemoryLimit,
    charged_bytes: AtomicU64,
    used_bytes: AtomicU64,
    loading: Mutex<Loading>,
}

// SAFETY: the pointer is to memory that this value owns until it is dropped. All access goes through
// the unsafe methods below, whose callers answer for data races by the version rules of the tree.
unsafe impl Send for PageMemory {}
// SAFETY: as above; everything else inside is atomic or behind a mutex.
unsafe impl Sync for PageMemory {}

impl PageMemory {
    /// Reserves the address ranges of a tree that may grow up to the limit. Uses no memory yet.
    ///
    /// # Errors
    /// [`TreeError::Map`] when the system refuses the address range.
    pub fn new(limit: MemoryLimit) -> Result<Arc<Self>, TreeError> {
        let most = (u64::from(u32::MAX) * PAGE_BYTES as u64) & !(BLOCK_BYTES - 1);
        let leaf_bytes = limit.limit_bytes().clamp(BLOCK_BYTES, most).next_multiple_of(BLOCK_BYTES);
        let inner_bytes = leaf_bytes.min(u64::from(u32::MAX) * INNER_BYTES as u64);
        let inner_bytes = inner_bytes.next_multiple_of(BLOCK_BYTES);
        // One block more, so that both ranges can start on a block boundary.
        let mapped = leaf_bytes + inner_bytes + BLOCK_BYTES;
        let mapped_bytes = usize::try_from(mapped).map_err(|_| TreeError::Map {
            bytes: mapped,
            source: io::Error::from(io::ErrorKind::OutOfMemory),
        })?;
        let start = reserve(mapped_bytes)?;
        let inner_offset = usize::try_from(leaf_bytes).expect("less than mapped_bytes, a usize");
        Ok(Arc::new(Self {
            base: start,
            mapped_bytes,
            inner_offset,
            limit,
            charged_bytes: AtomicU64::new(0),
            used_bytes: AtomicU64::new(0),
            loading: Mutex::new(Loading::default()),
        }))
    }

    /// Bytes made usable and charged to the limit.
    #[must_use]
    pub fn allocated_bytes(&self) -> u64 {
        self.charged_bytes.load(Ordering::Relaxed)
    }

    /// Of these, bytes that hold no page or node, as of the last frozen version.
    #[must_use]
    pub fn free_bytes(&self) -> u64 {
        self.allocated_bytes().saturating_sub(self.used_bytes.load(Ordering::Relaxed))
    }

    /// The limit this memory is charged to.
    #[must_use]
    pub fn limit(&self) -> &MemoryLimit {
        &self.limit
    }

    pub(super) fn set_used_bytes(&self, bytes: u64) {
        self.used_bytes.store(bytes, Ordering::Relaxed);
    }

    /// Sets pages aside for a loader, to be filled through [`PageMemory::io_span`] and given to the
    /// tree with `Tree::adopt`. Must come before `Tree::new`, once. The first page has number 0.
    ///
    /// # Errors
    /// [`TreeError::OutOfMemory`] or [`TreeError::Map`].
    pub fn set_aside(&self, pages: u32) -> Result<(), TreeError> {
        let mut loading = self.lock();
        assert!(!loading.taken && loading.area == 0, "pages are set aside once, before the tree");
        loading.usable = self.make_usable(Range::Leaf, 0, pages)?;
        loading.area = pages;
        Ok(())
    }

    /// The memory of pages that were set aside, to be read into from a snapshot. Every page is handed
    /// out at most once: `None` when one of them was before, or was not set aside.
    #[must_use]
    pub fn io_span(self: &Arc<Self>, first_page: u32, pages: u32) -> Option<IoBuf> {
        let end = first_page.checked_add(pages)?;
        let mut loading = self.lock();
        if loading.taken || pages == 0 || end > loading.area {
            return None;
        }
        loading.hand_out(first_page, end)?;
        loading.in_flight += 1;
        drop(loading);
        let owner: Arc<dyn Any + Send + Sync> = Arc::new(Lease(Arc::clone(self)));
        // SAFETY: the page lies inside the leaf range, below the area set aside.
        let start = unsafe { self.base.add(first_page as usize * PAGE_BYTES) };
        let len = pages as usize * PAGE_BYTES;
        // SAFETY: the span is usable (`set_aside`) zeroed memory, kept mapped by the lease's `Arc`;
        // no other buffer and no tree has it: `hand_out` refuses overlaps, `take` refuses leases.
        Some(unsafe { IoBuf::from_raw(start, len, owner) })
    }

    /// A tree takes over. Returns how many pages were set aside, and how many are usable.
    pub(super) fn take(&self) -> (u32, u32) {
        let mut loading = self.lock();
        assert!(!loading.taken, "a page memory belongs to one tree");
        assert!(loading.in_flight == 0, "a tree takes its memory after the last read is done");
        loading.taken = true;
        (loading.area, loading.usable)
    }

    /// Whether a loader got this whole span.
    pub(super) fn was_handed_out(&self, first_page: u32, pages: u32) -> bool {
        let end = u64::from(first_page) + u64::from(pages);
        let loading = self.lock();
        let at = loading.handed.partition_point(|span| span.0 <= first_page);
        at > 0 && u64::from(loading.handed[at - 1].1) >= end
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Loading> {
        self.loading.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many units fit in a range at most.
    pub(super) fn capacity(&self, range: Range) -> u32 {
        let bytes = match range {
            Range::Leaf => self.inner_offset,
            Range::Inner => self.mapped_bytes - self.inner_offset - BLOCK_BYTES as usize,
        };
        // The last number stays unused: it means "no node".
        u32::try_from(bytes as u64 / range.unit_bytes()).unwrap_or(u32::MAX).min(u32::MAX - 1)
    }

    /// Makes at least the units up to `wanted` usable, `usable` being so already. Returns the new
    /// number of usable units.
    ///
    /// # Errors
    /// [`TreeError::OutOfMemory`], nothing changed.
    pub(super) fn make_usable(
        &self,
        range: Range,
        usable: u32,
        wanted: u32,
    ) -> Result<u32, TreeError> {
        let unit = range.unit_bytes();
        let have = u64::from(usable) * unit;
        let need = u64::from(wanted) * unit;
        let most = u64::from(self.capacity(range)) * unit;
        let least = need.next_multiple_of(BLOCK_BYTES);
        let more = least.max(have + growth_step(have));
        let last = if more <= most && self.limit.charge(more - have).is_ok() {
            more
        } else {
            if need > most {
                return Err(self.out_of_range(need - have));
            }
            self.limit.charge(least - have)?;
            least
        };
        let offset = if range == Range::Leaf { 0 } else { self.inner_offset };
        if let Err(error) = self.allow_access(offset as u64 + have, last - have) {
            self.limit.refund(last - have);
            return Err(error);
        }
        self.charged_bytes.fetch_add(last - have, Ordering::Relaxed);
        Ok(u32::try_from(last / unit).unwrap_or(u32::MAX).min(self.capacity(range)))
    }

    fn out_of_range(&self, needed_bytes: u64) -> TreeError {
        TreeError::OutOfMemory {
            needed_bytes,
            charged_bytes: self.limit.charged_bytes(),
            limit_bytes: self.limit.limit_bytes(),
        }
    }

    fn allow_access(&self, offset: u64, bytes: u64) -> Result<(), TreeError> {
        let len = usize::try_from(bytes).expect("inside a mapping whose length is a usize");
        let offset = usize::try_from(offset).expect("inside a mapping whose length is a usize");
        assert!(offset + len <= self.mapped_bytes, "usable memory stays inside the mapping");
        // SAFETY: inside the mapping (asserted).
        let start = unsafe { self.base.add(offset) };
        // SAFETY: changes the rights of our own mapping from none to read and write.
        let failed = unsafe {
            libc::mprotect(start.as_ptr().cast(), len, libc::PROT_READ | libc::PROT_WRITE)
        };
        if failed != 0 {
            return Err(TreeError::Map { bytes, source: io::Error::last_os_error() });
        }
        Ok(())
    }

    /// The bytes of a run of leaf pages.
    ///
    /// # Safety
    /// The pages are in use, and nobody changes them while the reference lives.
    pub(super) unsafe fn leaf_run(&self, id: u32, pages: u32) -> &[u8] {
        // SAFETY: a page in use lies in the usable part of the leaf range.
        let start = unsafe { self.base.add(id as usize * PAGE_BYTES) };
        // SAFETY: usable memory is initialised; nobody writes it (caller).
        unsafe { std::slice::from_raw_parts(start.as_ptr(), pages as usize * PAGE_BYTES) }
    }

    /// The first page of a leaf.
    ///
    /// # Safety
    /// As for `leaf_run`.
    #[inline]
    pub(super) unsafe fn leaf(&self, id: u32) -> &Page {
        // SAFETY: a page in use lies in the usable part of the leaf range.
        let start = unsafe { self.base.add(id as usize * PAGE_BYTES) };
        // SAFETY: usable memory is initialised; nobody writes it (caller).
        unsafe { start.cast::<Page>().as_ref() }
    }

    /// Asks for the first lines of a leaf: header, heads and slots. A search needs them one after the
    /// other, and each comes from far when the tree is large.
    #[inline]
    pub(super) fn prefetch_search(&self, id: u32) {
        self.prefetch_lines(id as usize * PAGE_BYTES, SEARCH_LINES);
    }

    /// Asks for the lines where a record may be, `share` being how many rows come before it as a part
    /// of 1: records of a full page lie from its end in key order.
    #[inline]
    pub(super) fn prefetch_record(&self, id: u32, share: f32) {
        let before = (share.clamp(0.0, 1.0) * HEAP_GUESS_BYTES) as usize;
        let at = (PAGE_BYTES - before).saturating_sub((RECORD_LINES / 2 + 1) * LINE_BYTES);
        let at = (at & !(LINE_BYTES - 1)).min(PAGE_BYTES - RECORD_LINES * LINE_BYTES);
        self.prefetch_lines(id as usize * PAGE_BYTES + at, RECORD_LINES);
    }

    /// Asks for all lines of a page that will be copied.
    #[inline]
    pub(super) fn prefetch_page(&self, id: u32) {
        self.prefetch_lines(id as usize * PAGE_BYTES, PAGE_BYTES / LINE_BYTES);
    }

    /// Asks for a part of the lines of a page: the so-manieth of so many.
    #[inline]
    pub(super) fn prefetch_page_part(&self, id: u32, part: usize, parts: usize) {
        const LINES: usize = PAGE_BYTES / LINE_BYTES;
        let (from, to) = (part * LINES / parts, (part + 1) * LINES / parts);
        self.prefetch_lines(id as usize * PAGE_BYTES + from * LINE_BYTES, to - from);
    }

    /// Asks for all lines of an inner node, for the same reason.
    #[inline]
    pub(super) fn prefetch_inner(&self, id: u32) {
        self.prefetch_lines(
            self.inner_offset + id as usize * INNER_BYTES,
            INNER_BYTES / LINE_BYTES,
        );
    }

    #[inline]
    fn prefetch_lines(&self, offset: usize, lines: usize) {
        #[cfg(target_arch = "x86_64")]
        for line in 0..lines {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            let at = self.base.as_ptr().wrapping_add(offset + line * LINE_BYTES);
            // SAFETY: a prefetch is a hint: it does not fault and changes no memory, whatever the
            // address.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast()) };
        }
    }

    /// The bytes of a run of leaf pages, to be changed.
    ///
    /// # Safety
    /// The pages are in use by the caller alone: no root that reaches them is or becomes held while
    /// the reference lives, and there is no other reference.
    #[expect(clippy::mut_from_ref, reason = "the version rules decide who may write a page")]
    pub(super) unsafe fn leaf_run_mut(&self, id: u32, pages: u32) -> &mut [u8] {
        // SAFETY: a page in use lies in the usable part of the leaf range.
        let start = unsafe { self.base.add(id as usize * PAGE_BYTES) };
        // SAFETY: usable memory is initialised; the caller is the only one to access it.
        unsafe { std::slice::from_raw_parts_mut(start.as_ptr(), pages as usize * PAGE_BYTES) }
    }

    /// The bytes of `units` units of an inner node.
    ///
    /// # Safety
    /// As for `leaf_run`.
    #[inline]
    pub(super) unsafe fn inner(&self, id: u32, units: usize) -> &[u8] {
        let offset = self.inner_offset + id as usize * INNER_BYTES;
        // SAFETY: a node in use lies in the usable part of the inner range.
        let start = unsafe { self.base.add(offset) };
        // SAFETY: usable memory is initialised; nobody writes it (caller).
        unsafe { std::slice::from_raw_parts(start.as_ptr(), units * INNER_BYTES) }
    }

    /// The bytes of an inner node, to be changed.
    ///
    /// # Safety
    /// As for `leaf_run_mut`.
    #[expect(clippy::mut_from_ref, reason = "the version rules decide who may write a node")]
    pub(super) unsafe fn inner_mut(&self, id: u32, units: usize) -> &mut [u8] {
        let offset = self.inner_offset + id as usize * INNER_BYTES;
        // SAFETY: a node in use lies in the usable part of the inner range.
        let start = unsafe { self.base.add(offset) };
        // SAFETY: usable memory is initialised; the caller is the only one to access it.
        unsafe { std::slice::from_raw_parts_mut(start.as_ptr(), units * INNER_BYTES) }
    }
}

/// Asks for the first lines of bytes that will be read soon.
#[inline]
pub(crate) fn prefetch(bytes: &[u8]) {
    const LINES: usize = 3;
    #[cfg(target_arch = "x86_64")]
    for line in bytes.chunks(LINE_BYTES).take(LINES) {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a prefetch is a hint: it changes no memory, and these bytes are there.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(line.as_ptr().cast()) };
    }
}

impl Drop for PageMemory {
    fn drop(&mut self) {
        self.limit.refund(self.charged_bytes.load(Ordering::Relaxed));
        let slack = self.base.as_ptr().cast();
        // SAFETY: unmaps what `reserve` left mapped; no reference into it can outlive `self`.
        unsafe { libc::munmap(slack, self.mapped_bytes - BLOCK_BYTES as usize) };
    }
}

impl Loading {
    /// Notes that `[from, to)` is handed out, or refuses because a part of it was before.
    fn hand_out(&mut self, from: u32, to: u32) -> Option<()> {
        let at = self.handed.partition_point(|span| span.0 < from);
        let after_last = at == 0 || self.handed[at - 1].1 <= from;
        let before_next = self.handed.get(at).is_none_or(|span| to <= span.0);
        if !(after_last && before_next) {
            return None;
        }
        self.handed.insert(at, (from, to));
        if self.handed.get(at + 1).is_some_and(|next| next.0 == to) {
            self.handed[at].1 = self.handed.remove(at + 1).1;
        }
        if at > 0 && self.handed[at - 1].1 == from {
            self.handed[at - 1].1 = self.handed.remove(at).1;
        }
        Some(())
    }
}

/// By how much a range of so many usable bytes grows when it is full.
fn growth_step(usable_bytes: u64) -> u64 {
    (usable_bytes / GROWTH_SHARE / BLOCK_BYTES * BLOCK_BYTES).max(BLOCK_BYTES)
}

/// Keeps the memory mapped while a request may write into it.
struct Lease(Arc<PageMemory>);

impl Drop for Lease {
    fn drop(&mut self) {
        self.0.lock().in_flight -= 1;
    }
}

/// Reserves `bytes` of addresses, the last block of which is given back so that the rest starts on a
/// block boundary.
fn reserve(bytes: usize) -> Result<NonNull<u8>, TreeError> {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    // SAFETY: asks for a new mapping anywhere; touches none that exists.
    let raw = unsafe { libc::mmap(std::ptr::null_mut(), bytes, libc::PROT_NONE, flags, -1, 0) };
    let Some(raw) = NonNull::new(raw.cast::<u8>()).filter(|_| raw != libc::MAP_FAILED) else {
        return Err(TreeError::Map { bytes: bytes as u64, source: io::Error::last_os_error() });
    };
    let block = BLOCK_BYTES as usize;
    let before = raw.as_ptr().align_offset(block);
    // SAFETY: `before` is less than a block, and the mapping is longer than one.
    let start = unsafe { raw.add(before) };
    if before > 0 {
        // SAFETY: gives back the unaligned beginning of our own mapping.
        unsafe { libc::munmap(raw.as_ptr().cast(), before) };
    }
    let rest = block - before;
    if rest > 0 {
        // SAFETY: the mapping ends `rest` bytes after the aligned part of `bytes - block`.
        let end = unsafe { start.add(bytes - block) };
        // SAFETY: gives back the end of our own mapping.
        unsafe { libc::munmap(end.as_ptr().cast(), rest) };
    }
    // SAFETY: advice about our own mapping. Refusal (no huge pages) costs speed only.
    unsafe { libc::madvise(start.as_ptr().cast(), bytes - block, libc::MADV_HUGEPAGE) };
    Ok(start)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guards: a range that fills up page by page has at most a block or a sixteenth more than it
    /// needs, and is extended rarely all the same.
    #[test]
    fn ranges_grow_in_proportion() {
        let memory = PageMemory::new(MemoryLimit::new(1 << 30)).unwrap();
        let (mut usable, mut steps) = (0, 0);
        let last = (512 << 20) / PAGE_BYTES as u32;
        while usable < last {
            let needed = (u64::from(usable) + 1) * PAGE_BYTES as u64;
            usable = memory.make_usable(Range::Leaf, usable, usable + 1).unwrap();
            steps += 1;
            let slack = memory.allocated_bytes() - needed;
            assert!(slack < BLOCK_BYTES.max(needed / GROWTH_SHARE), "{slack} beyond {needed}");
        }
        assert!(steps <= 80, "{steps} system calls");
    }
}
