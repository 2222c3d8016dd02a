//! Removing a range of keys: whole subtrees are retired, only the leaves at both ends are changed.

use super::TreeError;
use super::inner::{Children, units_for};
use super::leaf;
use super::reader::Leaf;
use super::versions::NONE;
use super::writer::Tree;

/// The part of the range that concerns a subtree; `None` where the whole subtree lies inside.
#[derive(Clone, Copy)]
struct Bounds<'a> {
    from: Option<&'a [u8]>,
    to: Option<&'a [u8]>,
}

impl Tree {
    /// Removes the rows with keys in `[from, to)`, or from `from` to the end. Returns how many there
    /// were. Costs a look at each leaf in the range and at none of its rows.
    ///
    /// # Errors
    /// That memory for the copies at the ends is short; nothing changed.
    pub fn remove_range(&mut self, from: &[u8], to: Option<&[u8]>) -> Result<u64, TreeError> {
        // Both ends of the range take a copy per level.
        self.promise(&[], 0)?;
        if self.root == NONE || to.is_some_and(|to| to <= from) {
            return Ok(0);
        }
        self.invalidate_path();
        let rows_before = self.rows;
        let bounds = Bounds { from: Some(from), to };
        match self.cut(self.root, 0, bounds) {
            Some(root) => self.root = root,
            None => (self.root, self.height) = (NONE, 0),
        }
        self.lower_root();
        let removed = rows_before - self.rows;
        self.changed |= removed > 0;
        Ok(removed)
    }

    /// Cuts the range out of a subtree. Returns what takes its place, `None` if nothing is left.
    fn cut(&mut self, node: u32, level: usize, bounds: Bounds<'_>) -> Option<u32> {
        if level == self.height {
            return self.cut_leaf(node, bounds);
        }
        let inner = self.nodes.inner(node);
        let first = bounds.from.map_or(0, |from| inner.child_for(from));
        let last = bounds.to.map_or(inner.children() - 1, |to| inner.child_for(to));
        let mut children = Children::default();
        children.append(inner, &[]);
        let mut same = true;
        for index in (first..=last).rev() {
            let part = Bounds {
                from: bounds.from.filter(|_| index == first),
                to: bounds.to.filter(|_| index == last),
            };
            let child = children.id(index);
            let left = if part.from.is_none() && part.to.is_none() {
                self.drop_subtree(child, level + 1);
                None
            } else {
                self.cut(child, level + 1, part)
            };
            same &= left == Some(child);
            match left {
                Some(id) => children.set_id(index, id),
                None => children.remove(index),
            }
        }
        if same {
            return Some(node);
        }
        if children.len() == 0 {
            self.nodes.retire_inner(node);
            return None;
        }
        Some(self.shrink_inner(node, &children))
    }

    /// Writes what is left of the children of a node, in place if it is this version's own.
    fn shrink_inner(&mut self, node: u32, children: &Children) -> u32 {
        let end = children.len();
        let units = units_for(children.bytes(0, end));
        if self.nodes.owns_inner(node) && self.nodes.inner(node).units_used() == units {
            let version = self.nodes.version();
            children.write(self.nodes.inner_mut(node, units), version, 0, end);
            return node;
        }
        let id = self.nodes.write_inner(children, 0, end);
        self.nodes.retire_inner(node);
        id
    }

    fn cut_leaf(&mut self, id: u32, bounds: Bounds<'_>) -> Option<u32> {
        let leaf = self.reader().leaf(id);
        let rows = leaf.rows();
        let low = bounds.from.map_or(0, |from| leaf.lower_bound(from));
        let high = bounds.to.map_or(rows, |to| leaf.lower_bound(to));
        if low >= high {
            return Some(id);
        }
        let is_shared = matches!(leaf, Leaf::Shared(_));
        self.rows -= (high - low) as u64;
        if high - low == rows {
            self.retire_leaf(id);
            return None;
        }
        assert!(is_shared, "a large row is removed whole or not at all");
        let own = if self.nodes.owns_leaf(id) { id } else { self.nodes.copy_leaf(id) };
        leaf::remove(self.nodes.leaf_mut(own), low, high);
        Some(own)
    }

    fn drop_subtree(&mut self, node: u32, level: usize) {
        if level == self.height {
            self.rows -= self.reader().leaf(node).rows() as u64;
            self.retire_leaf(node);
            return;
        }
        for index in 0..self.nodes.inner(node).children() {
            let child = self.nodes.inner(node).child(index);
            self.drop_subtree(child, level + 1);
        }
        self.nodes.retire_inner(node);
    }
}
