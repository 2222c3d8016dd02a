//! The writer's hold on nodes: taking, copying, retiring and reusing them.
//!
//! ```text
//!   version   4     5     6     7     8 (being written)
//!   node A          ├─────────────────►            created 5, in use: copy before a change
//!   node B                            ├►           created 8, in use: change in place
//!   node C    ├───────────┤                        created 4, retired in 7: needed by 4, 5, 6
//! ```
//!
//! A node created in the version being written is known to no root and may be changed in place or freed
//! at once. Any other is copied, and the old one retired: it is reachable from the versions in
//! `created..retired` at most, and is reused when none of them is alive. Retired nodes wait in the
//! bucket of the largest alive version that may need them, so that a hold that lasts long costs one
//! look at each node, not one per freeze.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::TreeError;
use super::inner::{self, Inner};
use super::leaf::Page;
use super::memory::{PageMemory, Range};
use super::reader::Reader;
use super::space::Space;
use super::versions::Versions;

/// Retired nodes are looked at together, when there are so many: cheap, and few enough to come back
/// from the cache.
const RECLAIM_BATCH: usize = 256;

/// A node that no longer belongs to the version being written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Retired {
    pub(super) created: u64,
    pub(super) retired: u64,
    pub(super) id: u32,
    pub(super) units: u32,
    pub(super) range: Range,
}

#[derive(Debug)]
pub(super) struct Nodes {
    memory: Arc<PageMemory>,
    leaves: Space,
    inners: Space,
    /// By page: the version that a leaf was created in. Not in the page, whose bytes are those of the
    /// snapshot file.
    leaf_versions: Vec<u64>,
    /// The version being written.
    version: u64,
    /// Leaf pages that the version being written reaches.
    pages: u64,
    recent: Vec<Retired>,
    /// By the largest alive version that may need them.
    buckets: BTreeMap<u64, Vec<Retired>>,
    alive: Vec<u64>,
}

impl Nodes {
    pub(super) fn new(memory: Arc<PageMemory>, version: u64) -> Self {
        let (set_aside, usable) = memory.take();
        Self {
            memory,
            leaves: Space::new(Range::Leaf, set_aside, usable),
            inners: Space::new(Range::Inner, 0, 0),
            leaf_versions: vec![0; set_aside as usize],
            version,
            pages: 0,
            recent: Vec::new(),
            buckets: BTreeMap::new(),
            alive: Vec::new(),
        }
    }

    pub(super) fn memory(&self) -> &Arc<PageMemory> {
        &self.memory
    }

    pub(super) fn version(&self) -> u64 {
        self.version
    }

    pub(super) fn pages(&self) -> u64 {
        self.pages
    }

    pub(super) fn set_pages(&mut self, pages: u64) {
        self.pages = pages;
    }

    pub(super) fn reader(&self, root: u32, height: usize) -> Reader<'_> {
        let height = u32::try_from(height).expect("at most MAX_HEIGHT");
        // SAFETY: the reader borrows `self`, and writing a node needs `&mut self`; the caller gives
        // the root of the version being written, all of whose nodes exist.
        unsafe { Reader::new(&self.memory, root, height) }
    }

    /// Makes sure that so many units can be taken.
    ///
    /// # Errors
    /// [`TreeError::OutOfMemory`]; nothing changed.
    #[inline]
    pub(super) fn promise(&mut self, pages: u64, inners: u64) -> Result<(), TreeError> {
        self.leaves.ensure(&self.memory, pages)?;
        self.inners.ensure(&self.memory, inners)
    }

    /// Bytes by which [`Nodes::promise`] would have to extend what is usable.
    pub(super) fn shortfall(&self, pages: u64, inners: u64) -> u64 {
        self.leaves.shortfall(pages) + self.inners.shortfall(inners)
    }

    /// Makes sure that so many units of inner nodes can be taken as runs of any lengths.
    ///
    /// # Errors
    /// [`TreeError::OutOfMemory`]; nothing changed.
    pub(super) fn promise_runs(&mut self, inners: u64) -> Result<(), TreeError> {
        self.inners.ensure(&self.memory, self.inners.free_units() + inners)
    }

    /// A leaf page of this version. `promise` comes before.
    pub(super) fn new_leaf(&mut self) -> u32 {
        let id = self.leaves.take();
        self.register(id, 1);
        id
    }

    /// A run of leaf pages of this version.
    ///
    /// # Errors
    /// [`TreeError::OutOfMemory`]; nothing changed.
    pub(super) fn new_run(&mut self, pages: u32) -> Result<u32, TreeError> {
        let id = self.leaves.take_run(&self.memory, pages)?;
        self.register(id, pages);
        Ok(id)
    }

    fn register(&mut self, id: u32, pages: u32) {
        if self.leaf_versions.len() < self.leaves.end() as usize {
            self.leaf_versions.resize(self.leaves.end() as usize, 0);
        }
        self.leaf_versions[id as usize] = self.version;
        self.pages += u64::from(pages);
    }

    #[inline]
    pub(super) fn owns_leaf(&self, id: u32) -> bool {
        self.leaf_versions[id as usize] == self.version
    }

    /// Asks early for what a change of this leaf will read.
    #[inline]
    pub(super) fn prefetch(&self, id: u32) {
        self.memory.prefetch_search(id);
        if !self.owns_leaf(id) {
            self.memory.prefetch_page(id);
        }
    }

    #[inline]
    pub(super) fn prefetch_page(&self, id: u32) {
        self.memory.prefetch_page(id);
    }

    #[inline]
    pub(super) fn prefetch_inner(&self, id: u32) {
        self.memory.prefetch_inner(id);
    }

    pub(super) fn leaf_version(&self, id: u32) -> u64 {
        self.leaf_versions[id as usize]
    }

    /// A leaf that was loaded: it belongs to this version from now on.
    pub(super) fn adopt_leaf(&mut self, id: u32, pages: u32) {
        self.register(id, pages);
    }

    /// Gives back pages that were set aside and belong to no leaf.
    pub(super) fn give_unused(&mut self, id: u32, pages: u32) {
        self.leaves.give(id, pages);
    }

    /// A leaf to be changed.
    #[inline]
    pub(super) fn leaf_mut(&mut self, id: u32) -> &mut Page {
        let bytes = self.run_mut(id, 1);
        bytes.first_chunk_mut().expect("a run has at least a page")
    }

    /// A run of pages to be changed.
    #[inline]
    pub(super) fn run_mut(&mut self, id: u32, pages: u32) -> &mut [u8] {
        assert!(self.owns_leaf(id), "page {id} is of an older version: copy it before a change");
        // SAFETY: created in the version being written, so no root reaches it; and `&mut self` keeps
        // the writer's own readers away.
        unsafe { self.memory.leaf_run_mut(id, pages) }
    }

    /// A copy of a page, which is retired.
    #[inline]
    pub(super) fn copy_leaf(&mut self, id: u32) -> u32 {
        let new = self.new_leaf();
        assert!(new != id, "a page in use is not free");
        // SAFETY: both are in use, they differ, and nobody else knows the new one.
        let to = unsafe { self.memory.leaf_run_mut(new, 1) };
        // SAFETY: in use by the version being written; only written through `&mut self`.
        let from = unsafe { self.memory.leaf_run(id, 1) };
        to.copy_from_slice(from);
        self.retire_leaf(id, 1);
        new
    }

    #[inline]
    pub(super) fn retire_leaf(&mut self, id: u32, pages: u32) {
        let created = self.leaf_versions[id as usize];
        self.pages -= u64::from(pages);
        self.retire(created, id, pages, Range::Leaf);
    }

    #[inline]
    pub(super) fn owns_inner(&self, id: u32) -> bool {
        self.inner(id).version() == self.version
    }

    #[inline]
    pub(super) fn inner(&self, id: u32) -> Inner<'_> {
        self.reader(id, 0).inner(id)
    }

    /// An inner node of this version, not yet written. `promise` comes before.
    pub(super) fn new_inner(&mut self, units: usize) -> u32 {
        if units == 1 {
            return self.inners.take();
        }
        let units = u32::try_from(units).expect("an inner node is far below 64 KiB");
        self.inners.take_run(&self.memory, units).expect("promised by promise_runs before")
    }

    /// A node just taken, or of this version, to be written.
    pub(super) fn inner_mut(&mut self, id: u32, units: usize) -> &mut [u8] {
        // SAFETY: taken in the version being written (by contract of this module), so no root
        // reaches it; and `&mut self` keeps the writer's own readers away.
        unsafe { self.memory.inner_mut(id, units) }
    }

    /// Points a node of this version to another child.
    #[inline]
    pub(super) fn set_child(&mut self, id: u32, index: usize, child: u32) {
        let node = self.inner(id);
        assert!(node.version() == self.version, "node {id} is of an older version");
        let units = node.units_used();
        inner::set_child(self.inner_mut(id, units), index, child);
    }

    /// A copy of a node that belongs to this version; the old one is retired.
    #[inline]
    pub(super) fn copy_inner(&mut self, id: u32) -> u32 {
        let units = self.inner(id).units_used();
        let new = self.new_inner(units);
        assert!(new != id, "a node in use is not free");
        // SAFETY: both are in use, they differ, and nobody else knows the new one.
        let to = unsafe { self.memory.inner_mut(new, units) };
        // SAFETY: in use by the version being written; only written through `&mut self`.
        let from = unsafe { self.memory.inner(id, units) };
        to.copy_from_slice(from);
        inner::set_version(to, self.version);
        self.retire_inner(id);
        new
    }

    #[inline]
    pub(super) fn retire_inner(&mut self, id: u32) {
        let node = self.inner(id);
        let units = u32::try_from(node.units_used()).expect("far below 64 KiB");
        let created = node.version();
        self.retire(created, id, units, Range::Inner);
    }

    #[inline]
    fn retire(&mut self, created: u64, id: u32, units: u32, range: Range) {
        assert!(created <= self.version, "a node is not created after now");
        if created == self.version {
            self.free(range, id, units);
        } else {
            self.recent.push(Retired { created, retired: self.version, id, units, range });
        }
    }

    #[inline]
    fn free(&mut self, range: Range, id: u32, units: u32) {
        match range {
            Range::Leaf => self.leaves.give(id, units),
            Range::Inner => self.inners.give(id, units),
        }
    }

    /// The version being written is frozen: a new one begins.
    pub(super) fn begin_version(&mut self, versions: &Versions) {
        self.version += 1;
        if self.recent.len() >= RECLAIM_BATCH {
            self.reclaim(versions);
        }
        self.memory.set_used_bytes(self.leaves.used_bytes() + self.inners.used_bytes());
    }

    /// Frees the retired nodes that no alive version needs.
    pub(super) fn reclaim(&mut self, versions: &Versions) {
        versions.alive(&mut self.alive);
        let alive = std::mem::take(&mut self.alive);
        let ended: Vec<u64> =
            self.buckets.keys().copied().filter(|v| alive.binary_search(v).is_err()).collect();
        for version in ended {
            let bucket = self.buckets.remove(&version).unwrap_or_default();
            self.recent.extend(bucket);
        }
        let mut recent = std::mem::take(&mut self.recent);
        for node in recent.drain(..) {
            let before = alive.partition_point(|&version| version < node.retired);
            match alive[..before].last() {
                Some(&version) if version >= node.created => {
                    self.buckets.entry(version).or_default().push(node);
                }
                _ => self.free(node.range, node.id, node.units),
            }
        }
        self.recent = recent;
        self.alive = alive;
    }

    /// Takes back all retired nodes that `version` reaches.
    pub(super) fn unretire(&mut self, version: u64) {
        let stays = |node: &Retired| node.created > version || version >= node.retired;
        self.recent.retain(stays);
        for bucket in self.buckets.values_mut() {
            bucket.retain(stays);
        }
        self.buckets.retain(|_, bucket| !bucket.is_empty());
    }

    pub(super) fn space(&self, range: Range) -> &Space {
        match range {
            Range::Leaf => &self.leaves,
            Range::Inner => &self.inners,
        }
    }

    pub(super) fn retired(&self) -> impl Iterator<Item = &Retired> {
        self.recent.iter().chain(self.buckets.values().flatten())
    }
}
