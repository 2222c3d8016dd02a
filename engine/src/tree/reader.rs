//! Going down a version of the tree.

use super::inner::Inner;
use super::leaf::{Jumbo, KIND_JUMBO, PAGE_BYTES, Place, Shared};
use super::memory::{PageMemory, prefetch};
use super::versions::NONE;

/// Levels of inner nodes at most. A node has at least 2 children, nearly always more than 30.
pub(super) const MAX_HEIGHT: usize = 32;

/// The upper levels are always in the cache: some thousand children, 64 KiB.
pub(super) const HOT_LEVELS: usize = 2;

/// One version of a tree, to be read. Whoever made the reader keeps the version alive and unchanged.
#[derive(Clone, Copy)]
pub(super) struct Reader<'a> {
    memory: &'a PageMemory,
    pub(super) root: u32,
    pub(super) height: usize,
}

/// A leaf of either kind.
#[derive(Clone, Copy)]
pub(super) enum Leaf<'a> {
    Shared(Shared<'a>),
    Jumbo(Jumbo<'a>),
}

impl<'a> Leaf<'a> {
    pub(super) fn rows(&self) -> usize {
        match self {
            Self::Shared(shared) => shared.rows(),
            Self::Jumbo(_) => 1,
        }
    }

    /// Key, in two parts, and value.
    pub(super) fn row(&self, row: usize) -> (&'a [u8], &'a [u8], &'a [u8]) {
        match self {
            Self::Shared(shared) => {
                let (suffix, value) = shared.record(row);
                (shared.prefix(), suffix, value)
            }
            Self::Jumbo(jumbo) => (jumbo.key(), &[], jumbo.value()),
        }
    }

    /// The first row whose key is not less, or the number of rows.
    pub(super) fn lower_bound(&self, key: &[u8]) -> usize {
        match self {
            Self::Shared(shared) => shared.lower_bound(key),
            Self::Jumbo(jumbo) => usize::from(jumbo.key() < key),
        }
    }
}

impl<'a> Reader<'a> {
    /// # Safety
    /// All nodes that `root` reaches exist and are not written while the reader lives.
    pub(super) unsafe fn new(memory: &'a PageMemory, root: u32, height: u32) -> Self {
        Self { memory, root, height: height as usize }
    }

    #[inline]
    pub(super) fn inner(&self, id: u32) -> Inner<'a> {
        // SAFETY: only ids reached from the root are asked for (contract of `new`).
        let first = unsafe { self.memory.inner(id, 1) };
        let units = Inner::units(first);
        if units == 1 {
            return Inner::new(first);
        }
        // SAFETY: as above; a node says itself how many units it has.
        Inner::new(unsafe { self.memory.inner(id, units) })
    }

    #[inline]
    pub(super) fn leaf(&self, id: u32) -> Leaf<'a> {
        // SAFETY: only ids reached from the root are asked for (contract of `new`).
        let page = unsafe { self.memory.leaf(id) };
        if page[0] == KIND_JUMBO {
            return Leaf::Jumbo(Jumbo(self.leaf_bytes(id)));
        }
        Leaf::Shared(Shared::new(page))
    }

    /// All pages of a leaf.
    pub(super) fn leaf_bytes(&self, id: u32) -> &'a [u8] {
        // SAFETY: only ids reached from the root are asked for (contract of `new`).
        let page = unsafe { self.memory.leaf(id) };
        if page[0] != KIND_JUMBO {
            return page;
        }
        let run = Jumbo::run(page);
        // SAFETY: as above; a leaf in use says itself how many pages it has.
        let bytes = unsafe { self.memory.leaf_run(id, run) };
        assert!(bytes.len() >= PAGE_BYTES, "a leaf has a page");
        bytes
    }

    #[inline]
    pub(super) fn get(&self, key: &[u8]) -> Option<&'a [u8]> {
        if self.root == NONE {
            return None;
        }
        let mut node = self.root;
        for level in 0..self.height {
            node = self.child_for::<true>(node, level, key);
        }
        self.value_in(node, key)
    }

    /// The child of an inner node that may hold a key. What a search will read of it is asked for: it
    /// may come from far. Of a leaf, `GUESS` asks for lines where the record may be, too.
    #[inline]
    pub(super) fn child_for<const GUESS: bool>(&self, node: u32, level: usize, key: &[u8]) -> u32 {
        let inner = self.inner(node);
        let index = inner.child_for(key);
        let child = inner.child(index);
        if level + 1 == self.height {
            self.memory.prefetch_search(child);
            if GUESS && let Some(share) = inner.share_of(key, index) {
                self.memory.prefetch_record(child, share);
            }
        } else if level + 1 >= HOT_LEVELS {
            self.memory.prefetch_inner(child);
        }
        child
    }

    /// Asks for a part of a leaf's first page.
    #[inline]
    pub(super) fn prefetch_page_part(&self, leaf: u32, part: usize, parts: usize) {
        self.memory.prefetch_page_part(leaf, part, parts);
    }

    /// Asks for the record of a key in the leaf that may hold it.
    #[inline]
    pub(super) fn prefetch_record(&self, leaf: u32, key: &[u8]) {
        if let Leaf::Shared(shared) = self.leaf(leaf)
            && let Some(record) = shared.record_from(key)
        {
            prefetch(record);
        }
    }

    /// The value of a key in the leaf that may hold it.
    #[inline]
    pub(super) fn value_in(&self, leaf: u32, key: &[u8]) -> Option<&'a [u8]> {
        match self.leaf(leaf) {
            Leaf::Shared(shared) => match shared.search(key) {
                Place::Row(row) => Some(shared.record(row).1),
                _ => None,
            },
            Leaf::Jumbo(jumbo) => (jumbo.key() == key).then(|| jumbo.value()),
        }
    }
}
