//! The writer: one row, or many rows in key order.

use std::sync::Arc;

use super::cursor::Scan;
use super::inner::Children;
use super::leaf::{self, Place};
use super::memory::PageMemory;
use super::nodes::Nodes;
use super::reader::{HOT_LEVELS, Leaf, MAX_HEIGHT, Reader};
use super::versions::{NONE, Root, Versions};
use super::{MAX_KEY_BYTES, MAX_VALUE_BYTES, PAGE_BYTES, TreeError};

/// What a put did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Put {
    /// There was no row with this key.
    Inserted,
    /// There was one.
    Replaced,
}

/// The inner nodes from the root to a leaf, and the child taken in each.
#[derive(Debug)]
pub(super) struct Path {
    pub(super) steps: [(u32, u16); MAX_HEIGHT],
    pub(super) leaf: u32,
    /// Whether it still leads to the leaf: cleared when nodes are split or merged.
    pub(super) valid: bool,
    /// Whether the last child was taken everywhere.
    pub(super) rightmost: bool,
}

/// The writer of one partition's rows. See the module documentation of [`crate::tree`].
#[derive(Debug)]
pub struct Tree {
    pub(super) nodes: Nodes,
    pub(super) versions: Arc<Versions>,
    pub(super) root: u32,
    pub(super) height: usize,
    pub(super) rows: u64,
    pub(super) latest: Root,
    /// Whether something changed since the latest root.
    pub(super) changed: bool,
    pub(super) path: Path,
    /// Separators have been so long that inner nodes may need several units.
    pub(super) long_separators: bool,
    /// Versions `from..to` that a rewind took out of the history.
    pub(super) dead: Vec<(u64, u64)>,
    /// Pages being built.
    pub(super) scratch: [Box<leaf::Page>; 2],
    pub(super) pieces: Vec<leaf::Page>,
    pub(super) children: Children,
}

/// Separators up to this length: 8 children fit in one unit.
const SHORT_SEPARATOR_BYTES: usize = 100;

/// Pages that one change of a row may take, beside the run of a large row.
const PAGES_PER_ROW: u64 = 4;

/// What puts leave untouched, so that rows can be removed when memory is full.
pub(super) const PAGES_FOR_REMOVING: u64 = 16;

/// Units of inner nodes that a change may take per level: copies, and the pieces of a node whose
/// common prefix was lost.
const INNERS_PER_LEVEL: u64 = 8;
const LONG_INNERS_PER_LEVEL: u64 = 256;

impl Tree {
    /// An empty tree in this memory, which it takes over. The empty root is frozen and published.
    ///
    /// # Panics
    /// When another tree has the memory, or a loader still reads into it.
    #[must_use]
    pub fn new(memory: Arc<PageMemory>) -> Self {
        let empty = Root::empty(1);
        let versions = Versions::new(Arc::clone(&memory), empty);
        Self {
            nodes: Nodes::new(memory, empty.version + 1),
            versions,
            root: NONE,
            height: 0,
            rows: 0,
            latest: empty,
            changed: false,
            path: Path { steps: [(0, 0); MAX_HEIGHT], leaf: NONE, valid: false, rightmost: false },
            long_separators: false,
            dead: Vec::new(),
            scratch: [Box::new([0; PAGE_BYTES]), Box::new([0; PAGE_BYTES])],
            pieces: Vec::new(),
            children: Children::default(),
        }
    }

    /// The registry through which readers get at roots.
    #[must_use]
    pub fn versions(&self) -> &Arc<Versions> {
        &self.versions
    }

    /// The memory of this tree.
    #[must_use]
    pub fn memory(&self) -> &Arc<PageMemory> {
        self.nodes.memory()
    }

    /// Rows now, frozen or not.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Leaf pages now, frozen or not.
    #[must_use]
    pub fn pages(&self) -> u64 {
        self.nodes.pages()
    }

    /// Levels of inner nodes.
    #[must_use]
    pub fn height(&self) -> usize {
        self.height
    }

    #[inline]
    pub(super) fn reader(&self) -> Reader<'_> {
        self.nodes.reader(self.root, self.height)
    }

    /// The value of a key, as of now.
    #[must_use]
    pub fn get(&self, key: &[u8]) -> Option<&[u8]> {
        self.reader().get(key)
    }

    /// The rows with keys in `[from, to)` as of now, or from `from` to the end.
    #[must_use]
    pub fn range(&self, from: &[u8], to: Option<&[u8]>) -> Scan<'_> {
        Scan::new(self.reader(), from, to)
    }

    /// Makes the contents so far a root that never changes. It is alive as the latest until the next
    /// freeze that has something to freeze, or a rewind; hold it to keep it longer. Without a change
    /// since the last freeze, gives that root again.
    pub fn freeze(&mut self) -> Root {
        if !self.changed {
            return self.latest;
        }
        let root = Root {
            version: self.nodes.version(),
            rows: self.rows,
            pages: self.nodes.pages(),
            node: self.root,
            height: u32::try_from(self.height).expect("at most MAX_HEIGHT"),
        };
        assert!(root.version > self.latest.version, "versions grow");
        self.latest = root;
        self.changed = false;
        self.versions.set_latest(root);
        self.nodes.begin_version(&self.versions);
        root
    }

    /// Makes memory for a batch of changes usable: so many rows put or removed, keys and values of
    /// puts so many bytes together. After that, the batch does not fail for memory, unless holds or
    /// views make it copy a page twice: no freeze may come in between. A row of many pages may still
    /// fail at the limit, when enough pages are free but not side by side: rewind to the root before.
    ///
    /// # Errors
    /// [`TreeError::OutOfMemory`] when the limit does not allow the worst case; nothing changed.
    pub fn reserve(&mut self, rows: u64, bytes: u64) -> Result<(), TreeError> {
        let (leaves, inners) = self.worst_case(rows, bytes);
        let promised = self.nodes.promise(leaves, inners);
        if promised.is_ok() {
            return promised;
        }
        self.nodes.reclaim(&self.versions);
        self.nodes.promise(leaves, inners)
    }

    /// Bytes that [`Tree::reserve`] would have to add to what is usable already.
    pub fn shortfall(&mut self, rows: u64, bytes: u64) -> u64 {
        let (leaves, inners) = self.worst_case(rows, bytes);
        let short = self.nodes.shortfall(leaves, inners);
        if short == 0 {
            return 0;
        }
        self.nodes.reclaim(&self.versions);
        self.nodes.shortfall(leaves, inners)
    }

    /// Leaf pages and units of inner nodes that a batch takes at most.
    fn worst_case(&self, rows: u64, bytes: u64) -> (u64, u64) {
        let pages = self.nodes.pages();
        let touched = rows.min(pages);
        // Every page touched is copied once; what is put splits pages, each half being at least a
        // third full; a large row takes whole pages.
        let new = (bytes + rows * leaf::ROW_OVERHEAD as u64).div_ceil(PAGE_BYTES as u64 / 3);
        let leaves = touched * 2 + new.min(rows * 2) + new + PAGES_PER_ROW + PAGES_FOR_REMOVING;
        let levels = self.height as u64 + 2;
        let inners = (touched * levels).min(pages / 4 + levels) * 2 + new + self.inners_at_hand();
        (leaves, inners)
    }

    fn inners_at_hand(&self) -> u64 {
        INNERS_PER_LEVEL * (self.height as u64 + 2) * 2
    }

    /// A separator may become as long as this.
    #[inline]
    pub(super) fn note_separator(&mut self, key: &[u8]) {
        self.long_separators |= key.len() > SHORT_SEPARATOR_BYTES;
    }

    /// Makes sure that a change of one row cannot fail for memory once it has begun. `spare` pages
    /// stay beyond that.
    #[inline]
    pub(super) fn promise(&mut self, key: &[u8], spare: u64) -> Result<(), TreeError> {
        self.note_separator(key);
        if self.try_promise(spare).is_ok() {
            return Ok(());
        }
        self.nodes.reclaim(&self.versions);
        self.try_promise(spare)
    }

    #[inline]
    fn try_promise(&mut self, spare: u64) -> Result<(), TreeError> {
        let levels = (self.height as u64 + 2) * (1 + spare.min(1));
        self.nodes.promise(PAGES_PER_ROW + spare, INNERS_PER_LEVEL * levels)?;
        if self.long_separators {
            self.nodes.promise_runs(LONG_INNERS_PER_LEVEL * levels)?;
        }
        Ok(())
    }

    /// As [`Tree::promise`], for `pages` that take the place of one leaf.
    pub(super) fn try_promise_pages(&mut self, pages: u64) -> Result<(), TreeError> {
        let levels = (self.height as u64 + 2) * 2;
        self.nodes.promise(pages + PAGES_FOR_REMOVING, INNERS_PER_LEVEL * levels + pages)?;
        if self.long_separators {
            self.nodes.promise_runs((LONG_INNERS_PER_LEVEL + pages) * levels)?;
        }
        Ok(())
    }

    /// Puts a row, in place of the one with the same key if there is one.
    ///
    /// # Errors
    /// [`TreeError::KeyTooLong`], [`TreeError::ValueTooLong`], or that memory is short; nothing changed.
    pub fn put(&mut self, key: &[u8], value: &[u8]) -> Result<Put, TreeError> {
        check_lengths(key, value)?;
        self.promise(key, PAGES_FOR_REMOVING)?;
        if !self.continues_at_the_end(key) {
            self.descend(key);
        }
        self.put_here(key, value)
    }

    /// Removes a row. `false` when there is none.
    ///
    /// # Errors
    /// That memory for the copies is short; nothing changed.
    pub fn remove(&mut self, key: &[u8]) -> Result<bool, TreeError> {
        self.promise(&[], 0)?;
        self.descend(key);
        Ok(self.remove_here(key))
    }

    /// Goes down to the leaf for a key.
    #[inline]
    pub(super) fn descend(&mut self, key: &[u8]) {
        let mut node = self.root;
        let mut rightmost = true;
        for level in 0..self.height {
            if level >= HOT_LEVELS {
                self.nodes.prefetch_inner(node);
            }
            let inner = self.nodes.inner(node);
            let index = inner.child_for(key);
            rightmost &= index + 1 == inner.children();
            let child = inner.child(index);
            self.path.steps[level] = (node, index as u16);
            node = child;
        }
        if node != NONE {
            self.nodes.prefetch(node);
        }
        self.path.leaf = node;
        self.path.rightmost = rightmost;
        self.path.valid = node != NONE;
    }

    /// Whether a key comes after all rows, and the path leads to the last leaf already.
    #[inline]
    fn continues_at_the_end(&self, key: &[u8]) -> bool {
        if !(self.path.valid && self.path.rightmost) {
            return false;
        }
        match self.reader().leaf(self.path.leaf) {
            Leaf::Shared(shared) => {
                shared.rows() > 0 && shared.search(key) == Place::Before(shared.rows())
            }
            Leaf::Jumbo(jumbo) => jumbo.key() < key,
        }
    }

    /// Asks for the leaf after that of the path, which rows in key order will need next.
    pub(super) fn prefetch_next_leaf(&self) {
        let Some(&(node, index)) = self.path.steps[..self.height].last() else { return };
        let (inner, next) = (self.nodes.inner(node), usize::from(index) + 1);
        if next < inner.children() {
            self.nodes.prefetch_page(inner.child(next));
        }
    }

    /// The separator after the leaf of the path: keys below it belong there.
    pub(super) fn upper_fence(&self, fence: &mut Option<Vec<u8>>) {
        let steps = &self.path.steps[..self.height];
        for &(node, index) in steps.iter().rev() {
            let inner = self.nodes.inner(node);
            let next = usize::from(index) + 1;
            if next < inner.children() {
                let key = fence.get_or_insert_default();
                key.clear();
                inner.separator_into(next, key);
                return;
            }
        }
        *fence = None;
    }

    /// Whether a key comes before the separator after the parent of the path's leaf.
    pub(super) fn is_below_parents_end(&self, key: &[u8]) -> bool {
        let above = self.height.saturating_sub(1);
        for &(node, index) in self.path.steps[..above].iter().rev() {
            let inner = self.nodes.inner(node);
            if usize::from(index) + 1 < inner.children() {
                return inner.child_for(key) <= usize::from(index);
            }
        }
        true
    }

    /// Makes the nodes of the path this version's own, and gives the leaf.
    #[inline]
    pub(super) fn own_leaf(&mut self) -> u32 {
        let leaf = self.path.leaf;
        self.changed = true;
        if self.nodes.owns_leaf(leaf) {
            return leaf;
        }
        let copy = self.nodes.copy_leaf(leaf);
        self.path.leaf = copy;
        self.relink(self.height, copy);
        copy
    }

    /// A node below `level` inner nodes of the path has a new number: tells its parent, whose number
    /// then may be new as well.
    #[inline]
    pub(super) fn relink(&mut self, level: usize, mut child: u32) {
        self.changed = true;
        for level in (0..level).rev() {
            let (node, index) = self.path.steps[level];
            if self.nodes.owns_inner(node) {
                self.nodes.set_child(node, usize::from(index), child);
                return;
            }
            let copy = self.nodes.copy_inner(node);
            self.nodes.set_child(copy, usize::from(index), child);
            self.path.steps[level].0 = copy;
            child = copy;
        }
        self.root = child;
    }

    pub(super) fn invalidate_path(&mut self) {
        self.path.valid = false;
    }

    /// Puts a row into the leaf of the path. `promise` came before.
    fn put_here(&mut self, key: &[u8], value: &[u8]) -> Result<Put, TreeError> {
        match self.put_in_place(key, value) {
            Some(put) => Ok(put),
            None => self.put_restructuring(key, value),
        }
    }

    /// Puts a row into the leaf of the path if it has room for it. `promise` came before.
    pub(super) fn put_in_place(&mut self, key: &[u8], value: &[u8]) -> Option<Put> {
        if self.root == NONE || !leaf::is_shared(key.len(), value.len()) {
            return None;
        }
        let Leaf::Shared(shared) = self.reader().leaf(self.path.leaf) else { return None };
        let prefix_length = shared.prefix().len();
        match shared.search(key) {
            Place::Row(row) => {
                let (suffix, old) = shared.record(row);
                let needed = leaf::RECORD_HEADER_BYTES + suffix.len() + value.len();
                if value.len() > old.len() && shared.gap() < needed {
                    return None;
                }
                let id = self.own_leaf();
                let page = self.nodes.leaf_mut(id);
                let done = leaf::overwrite(page, row, value) || leaf::replace(page, row, value);
                assert!(done, "the room was looked at before");
                Some(Put::Replaced)
            }
            Place::Before(row) => {
                let suffix = &key[prefix_length..];
                if shared.gap() < leaf::ROW_OVERHEAD + suffix.len() + value.len() {
                    return None;
                }
                let id = self.own_leaf();
                let done = leaf::insert(self.nodes.leaf_mut(id), row, suffix, value);
                assert!(done, "the room was looked at before");
                self.rows += 1;
                Some(Put::Inserted)
            }
            Place::Outside(_) => None,
        }
    }

    /// Removes a row from the leaf of the path. `promise` came before.
    pub(super) fn remove_here(&mut self, key: &[u8]) -> bool {
        if self.root == NONE {
            return false;
        }
        let row = match self.reader().leaf(self.path.leaf) {
            Leaf::Jumbo(jumbo) if jumbo.key() == key => 0,
            Leaf::Jumbo(_) => return false,
            Leaf::Shared(shared) => match shared.search(key) {
                Place::Row(row) => row,
                _ => return false,
            },
        };
        self.rows -= 1;
        if self.reader().leaf(self.path.leaf).rows() == 1 {
            self.drop_leaf();
        } else {
            let id = self.own_leaf();
            leaf::remove(self.nodes.leaf_mut(id), row, row + 1);
            self.merge_if_small();
        }
        true
    }
}

pub(super) fn check_lengths(key: &[u8], value: &[u8]) -> Result<(), TreeError> {
    if key.len() > MAX_KEY_BYTES {
        return Err(TreeError::KeyTooLong { found: key.len() });
    }
    if value.len() > MAX_VALUE_BYTES {
        return Err(TreeError::ValueTooLong { found: value.len() });
    }
    Ok(())
}
