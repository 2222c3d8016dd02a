//! Going back to an older root.
//!
//! ```text
//!   version   5 ──── 6 ──── 7 ──── 8          before: 9 is being written
//!             │
//!             └──────────────────── 9         after rewind to 5: 6, 7, 8 are dead
//! ```
//!
//! Version numbers are not used again. Nodes that were created after the root and are still in use are
//! retired; retired ones that the root reaches are taken back. Both are found by versions alone,
//! because the root is held and on the line of ancestors of what is being written: then it reaches a
//! node exactly if it lies in `created..retired`. A root that is not (one of 6, 7, 8 afterwards) is
//! refused, for it there is no such rule.

use super::TreeError;
use super::memory::Range;
use super::versions::{Hold, NONE};
use super::writer::Tree;

impl Tree {
    /// Makes an older root the latest. What was written since, frozen or not, is gone from the tree;
    /// views and holds of these versions stay valid. The committed root is not touched: publish the
    /// older one before its readers may see rows that no longer exist. Costs time for the nodes that
    /// differ.
    ///
    /// # Errors
    /// [`TreeError::NotAncestor`]; nothing changed.
    ///
    /// # Panics
    /// When the hold is of another tree.
    pub fn rewind(&mut self, hold: &Hold) -> Result<(), TreeError> {
        assert!(hold.belongs_to(&self.versions), "rewound to a root of another tree");
        let root = hold.root();
        let version = root.version;
        if self.dead.iter().any(|&(from, to)| (from..to).contains(&version)) {
            return Err(TreeError::NotAncestor { version });
        }
        assert!(version < self.nodes.version(), "a frozen version is older than the one written");
        self.nodes.unretire(version);
        if self.root != NONE {
            self.retire_newer(self.root, 0, version);
        }
        if version + 1 < self.nodes.version() {
            self.dead.retain(|&(from, _)| from <= version);
            self.dead.push((version + 1, self.nodes.version()));
        }
        self.root = root.node;
        self.height = root.height as usize;
        self.rows = root.rows;
        self.nodes.set_pages(root.pages);
        self.latest = root;
        self.changed = false;
        self.invalidate_path();
        self.versions.set_latest(root);
        self.nodes.reclaim(&self.versions);
        Ok(())
    }

    /// Retires the nodes of a subtree that were created after `version`. Below an older node there are
    /// none: a change copies the whole path.
    fn retire_newer(&mut self, node: u32, level: usize, version: u64) {
        if level == self.height {
            if self.nodes.leaf_version(node) > version {
                self.retire_leaf(node);
            }
            return;
        }
        if self.nodes.inner(node).version() <= version {
            return;
        }
        for index in 0..self.nodes.inner(node).children() {
            let child = self.nodes.inner(node).child(index);
            self.retire_newer(child, level + 1, version);
        }
        self.nodes.retire_inner(node);
    }

    /// Units of a range that were in use at some time.
    pub(super) fn units_known(&self, range: Range) -> usize {
        self.nodes.space(range).end() as usize
    }
}
