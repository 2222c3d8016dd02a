//! Making a whole tree at once: from sorted rows, or above pages that were loaded from a snapshot, whether the memory
//! was empty then ([`Tree::adopt`]) or is in use ([`Tree::take_leaf`], [`Tree::join_leaves`]).

use super::TreeError;
use super::inner::Children;
use super::leaf::{self, Entry};
use super::memory::PAGE_BYTES;
use super::reader::MAX_HEIGHT;
use super::versions::NONE;
use super::writer::Tree;

/// A leaf that was loaded into page memory.
#[derive(Clone, Copy, Debug)]
pub struct LoadedLeaf<'a> {
    /// Its first page.
    pub page: u32,
    /// Its pages.
    pub run: u32,
    /// Its rows.
    pub rows: u32,
    /// Its separator: see [`super::LeafPage::separator`].
    pub separator: &'a [u8],
}

/// A leaf's separator is one, and above that of the leaf before.
fn check_separator(
    children: &Children,
    index: usize,
    leaf: &LoadedLeaf<'_>,
) -> Result<(), TreeError> {
    let refuse = |reason| Err(TreeError::Adoption { leaf: index as u64, page: leaf.page, reason });
    if leaf.separator.len() > super::MAX_KEY_BYTES {
        return refuse("its separator is too long");
    }
    if index > 0 && children.separator(index - 1) >= leaf.separator {
        return refuse("its separator is not greater than the one before");
    }
    Ok(())
}

/// Inner nodes built at once get so many children at most: some room for inserts.
const CHILDREN_AT_BUILD: usize = 64;

impl Tree {
    /// Fills an empty tree with rows that come in strictly ascending key order. Pages are full.
    ///
    /// # Errors
    /// [`TreeError::NotEmpty`], [`TreeError::NotSorted`], lengths, or that memory is short. The tree is
    /// empty then.
    pub fn bulk_build<'a>(
        &mut self,
        rows: impl Iterator<Item = (&'a [u8], &'a [u8])>,
    ) -> Result<(), TreeError> {
        if self.rows > 0 {
            return Err(TreeError::NotEmpty { rows: self.rows });
        }
        let filled = self.append_all(rows);
        if filled.is_err() {
            self.remove_range(&[], None)?;
        }
        filled
    }

    fn append_all<'a>(
        &mut self,
        rows: impl Iterator<Item = (&'a [u8], &'a [u8])>,
    ) -> Result<(), TreeError> {
        let mut before: Option<&[u8]> = None;
        for (row, (key, value)) in rows.enumerate() {
            if before.is_some_and(|before| before >= key) {
                return Err(TreeError::NotSorted { row: row as u64 });
            }
            before = Some(key);
            self.put(key, value)?;
        }
        Ok(())
    }

    /// Makes an empty tree of leaves in the pages that were set aside and loaded. Their bytes are not
    /// read: the caller has verified them, and `rows` is what they hold. Pages set aside that belong to
    /// no leaf become free.
    ///
    /// # Errors
    /// [`TreeError::NotEmpty`], [`TreeError::Adoption`], or that memory is short. The tree is not usable
    /// then; drop it.
    pub fn adopt<'a>(
        &mut self,
        leaves: impl Iterator<Item = LoadedLeaf<'a>>,
    ) -> Result<(), TreeError> {
        if self.rows > 0 || self.root != NONE {
            return Err(TreeError::NotEmpty { rows: self.rows });
        }
        let mut children = Children::default();
        let mut next_page = 0;
        for (index, leaf) in leaves.enumerate() {
            let refuse =
                |reason| Err(TreeError::Adoption { leaf: index as u64, page: leaf.page, reason });
            if leaf.run == 0 || leaf.rows == 0 {
                return refuse("it has no pages or no rows");
            }
            if leaf.page < next_page || !self.memory().was_handed_out(leaf.page, leaf.run) {
                return refuse("its pages were not loaded, or belong to the leaf before it");
            }
            check_separator(&children, index, &leaf)?;
            if leaf.page > next_page {
                self.nodes.give_unused(next_page, leaf.page - next_page);
            }
            next_page = leaf.page + leaf.run;
            self.note_separator(leaf.separator);
            self.nodes.adopt_leaf(leaf.page, leaf.run);
            self.rows += u64::from(leaf.rows);
            children.push(leaf.separator, leaf.page);
        }
        self.give_rest(next_page);
        if self.rows > 0 {
            self.build_levels(children)?;
            self.changed = true;
        }
        Ok(())
    }

    /// Copies a leaf's pages to where they stay; its first page. Nobody reaches it before [`Tree::join_leaves`].
    ///
    /// # Errors
    /// [`TreeError::OutOfMemory`]; nothing changed.
    ///
    /// # Panics
    /// If the bytes are not whole pages.
    pub fn take_leaf(&mut self, bytes: &[u8]) -> Result<u32, TreeError> {
        assert!(!bytes.is_empty() && bytes.len().is_multiple_of(PAGE_BYTES), "whole pages");
        let run = u32::try_from(bytes.len() / PAGE_BYTES).expect("a leaf of less than 16 TiB");
        let page = if run == 1 {
            self.nodes.promise(1, 0)?;
            self.nodes.new_leaf()
        } else {
            self.nodes.new_run(run)?
        };
        self.nodes.run_mut(page, run).copy_from_slice(bytes);
        Ok(page)
    }

    /// Gives back a leaf that was taken and not joined.
    pub fn give_back_leaf(&mut self, page: u32, run: u32) {
        self.nodes.retire_leaf(page, run);
    }

    /// Makes an empty tree of leaves that were taken, in key order. Their bytes are not read: the caller has verified
    /// them, and `rows` is what they hold.
    ///
    /// # Errors
    /// [`TreeError::NotEmpty`], [`TreeError::Adoption`], or that memory is short. The tree is empty then, and the leaves are
    /// still taken.
    pub fn join_leaves<'a>(
        &mut self,
        leaves: impl Iterator<Item = LoadedLeaf<'a>>,
    ) -> Result<(), TreeError> {
        if self.rows > 0 || self.root != NONE {
            return Err(TreeError::NotEmpty { rows: self.rows });
        }
        let (mut children, mut rows) = (Children::default(), 0);
        for (index, leaf) in leaves.enumerate() {
            check_separator(&children, index, &leaf)?;
            self.note_separator(leaf.separator);
            rows += u64::from(leaf.rows);
            children.push(leaf.separator, leaf.page);
        }
        if rows > 0 {
            self.build_levels(children)?;
            self.rows = rows;
            self.changed = true;
        }
        Ok(())
    }

    /// Gives back the pages set aside behind the last leaf.
    fn give_rest(&mut self, next_page: u32) {
        let end = u32::try_from(self.units_known(super::memory::Range::Leaf)).unwrap_or(u32::MAX);
        if next_page < end {
            self.nodes.give_unused(next_page, end - next_page);
        }
    }

    /// Puts levels of inner nodes above leaves until there is one node. Leaves nothing behind if memory is short.
    fn build_levels(&mut self, children: Children) -> Result<(), TreeError> {
        let mut written = Vec::new();
        let built = self.write_levels(children, &mut written);
        if built.is_err() {
            self.height = 0;
            written.into_iter().for_each(|id| self.nodes.retire_inner(id));
        }
        built
    }

    fn write_levels(
        &mut self,
        mut children: Children,
        written: &mut Vec<u32>,
    ) -> Result<(), TreeError> {
        while children.len() > 1 {
            let mut above = Children::default();
            let mut from = 0;
            while from < children.len() {
                let to = self.node_end(&children, from);
                let units = super::inner::units_for(children.bytes(from, to)) as u64;
                self.nodes.promise_runs(units)?;
                let id = self.nodes.write_inner(&children, from, to);
                written.push(id);
                above.push(children.separator(from), id);
                from = to;
            }
            children = above;
            self.height += 1;
            assert!(self.height < MAX_HEIGHT, "nodes have several children");
        }
        self.root = children.id(0);
        self.invalidate_path();
        Ok(())
    }

    /// How far a node that begins at `from` reaches. At least two children, so that each level has
    /// at most half as many nodes, unless only one is left.
    fn node_end(&self, children: &Children, from: usize) -> usize {
        let most = children.len().min(from + CHILDREN_AT_BUILD);
        let mut to = most;
        while to > from + 2 && !children.is_one_node(from, to) {
            to -= (to - from).div_ceil(8).max(1);
        }
        // Not a single child for the next node.
        if children.len() - to == 1 && to - from > 2 { to - 1 } else { to }
    }

    /// The packed bytes that rows of these lengths take on pages, for planning: without what is lost at
    /// the end of pages.
    #[must_use]
    pub fn packed_bytes(key: &[u8], value: &[u8]) -> usize {
        if leaf::is_shared(key.len(), value.len()) {
            return Entry::new(key, value).key_length() + value.len() + leaf::ROW_OVERHEAD;
        }
        leaf::run_for(key.len(), value.len()) as usize * PAGE_BYTES
    }
}
