//! Splitting, merging and dropping nodes.
//!
//! A change that does not fit in place is first planned: from the old page, new pages are written into
//! scratch memory, and the leaf becomes a list of pieces.
//!
//! ```text
//!   rebuild   [old ∪ row]                 page had dead bytes, or too long a prefix
//!   split     [left half] [right half]
//!   sequence  [old] [row]                 rows come in key order: full pages stay behind
//!             [old until row] [row, old]
//!   jumbo     [before] [large row] [after]
//! ```
//!
//! Then the pieces take the place of the leaf in its parent, and if the parent has to be split, its
//! pieces take its place, up to the root.

use std::cmp::Ordering;

use super::TreeError;
use super::inner::{Inner, units_for};
use super::leaf::{self, Entry, Page, Place, Sequence, Shared};
use super::memory::{INNER_BYTES, PAGE_BYTES};
use super::nodes::Nodes;
use super::reader::{Leaf, MAX_HEIGHT};
use super::versions::NONE;
use super::writer::{Put, Tree};

/// A page or node with fewer bytes is merged with a neighbour if that makes one of at most three
/// quarters: far enough apart that rows put and removed in turn do not split and merge in turn.
const SMALL_PAGE_BYTES: usize = PAGE_BYTES / 4;
const MERGED_PAGE_BYTES: usize = PAGE_BYTES / 4 * 3;
const SMALL_INNER_BYTES: usize = INNER_BYTES / 4;
const MERGED_INNER_BYTES: usize = INNER_BYTES / 4 * 3;

/// So many inserts right after each other, or as many as the page has rows, are a sequence.
const SEQUENCE: usize = 8;
const NO_INSERT: Sequence = Sequence { length: 0, last: 0 };
const ONE_INSERT: Sequence = Sequence { length: 1, last: 0 };

#[derive(Clone, Copy, PartialEq, Eq)]
enum Piece {
    /// The old leaf as it is.
    Old,
    /// The page in this scratch.
    Built(usize),
    /// The run of the large row.
    Run,
}

/// What becomes of a leaf: pieces with their separators; the first takes over that of the leaf.
struct Plan {
    pieces: Vec<(Vec<u8>, Piece)>,
    replaced: bool,
}

/// Children that take the place of others in a parent.
pub(super) struct Change {
    /// How many inner nodes are above these children.
    pub(super) level: usize,
    pub(super) index: usize,
    pub(super) removed: usize,
    /// The separator of the first counts only at the root.
    pub(super) added: Vec<(Vec<u8>, u32)>,
    /// Whether the change was at the end of the parent and more of it will follow.
    pub(super) appended: bool,
}

impl Tree {
    /// Puts a row that does not fit into the leaf of the path as it is.
    pub(super) fn put_restructuring(&mut self, key: &[u8], value: &[u8]) -> Result<Put, TreeError> {
        let run = if leaf::is_shared(key.len(), value.len()) {
            NONE
        } else {
            self.write_run(key, value)?
        };
        self.changed = true;
        if self.root == NONE {
            self.plant(key, value, run);
            return Ok(Put::Inserted);
        }
        let old = self.nodes.reader(self.root, self.height).leaf(self.path.leaf);
        let new = Entry::new(key, value);
        let plan = match old {
            Leaf::Jumbo(jumbo) => {
                beside_jumbo(Entry::new(jumbo.key(), jumbo.value()), new, run, &mut self.scratch)
            }
            Leaf::Shared(shared) if run != NONE => among(shared, key, &mut self.scratch),
            Leaf::Shared(shared) => into_page(shared, new, &mut self.scratch),
        };
        self.carry_out(&plan, run);
        if plan.replaced {
            return Ok(Put::Replaced);
        }
        self.rows += 1;
        Ok(Put::Inserted)
    }

    fn write_run(&mut self, key: &[u8], value: &[u8]) -> Result<u32, TreeError> {
        let pages = leaf::run_for(key.len(), value.len());
        let run = match self.nodes.new_run(pages) {
            Ok(run) => run,
            Err(_) => {
                self.nodes.reclaim(&self.versions);
                self.nodes.new_run(pages)?
            }
        };
        leaf::write_jumbo(self.nodes.run_mut(run, pages), key, value);
        // The run may have taken what was promised for the rest.
        if let Err(error) = self.promise(key, 0) {
            self.nodes.retire_leaf(run, pages);
            return Err(error);
        }
        Ok(run)
    }

    /// The first row of an empty tree.
    fn plant(&mut self, key: &[u8], value: &[u8], run: u32) {
        assert!(self.height == 0 && self.rows == 0, "an empty tree has neither levels nor rows");
        self.root = run;
        if run == NONE {
            self.root = self.nodes.new_leaf();
            leaf::rebuild(self.nodes.leaf_mut(self.root), &[Entry::new(key, value)], 0, ONE_INSERT);
        }
        self.rows = 1;
        self.invalidate_path();
    }

    fn carry_out(&mut self, plan: &Plan, run: u32) {
        let old = self.path.leaf;
        if plan.pieces.len() == 1 && plan.pieces[0].1 == Piece::Built(0) && self.is_own_page(old) {
            let Self { nodes, scratch, .. } = self;
            nodes.leaf_mut(old).copy_from_slice(&scratch[0][..]);
            return;
        }
        let mut added = Vec::with_capacity(plan.pieces.len());
        for (separator, piece) in &plan.pieces {
            let id = match *piece {
                Piece::Old => old,
                Piece::Run => run,
                Piece::Built(index) => self.nodes.take_built(&self.scratch[index]),
            };
            added.push((separator.clone(), id));
        }
        if plan.pieces.iter().all(|(_, piece)| *piece != Piece::Old) {
            self.retire_leaf(old);
        }
        if let [(_, id)] = added[..] {
            self.path.leaf = id;
            self.relink(self.height, id);
            return;
        }
        let appended = plan.pieces[0].1 == Piece::Old;
        self.replace_children(Change {
            level: self.height,
            index: self.index_at(self.height),
            removed: 1,
            added,
            appended,
        });
    }

    fn is_own_page(&self, id: u32) -> bool {
        self.nodes.owns_leaf(id) && matches!(self.reader().leaf(id), Leaf::Shared(_))
    }

    /// The child taken above `level`; 0 for the root.
    pub(super) fn index_at(&self, level: usize) -> usize {
        if level == 0 { 0 } else { usize::from(self.path.steps[level - 1].1) }
    }

    pub(super) fn retire_leaf(&mut self, id: u32) {
        let bytes = self.reader().leaf_bytes(id).len();
        let pages = u32::try_from(bytes / PAGE_BYTES).expect("rows are limited to 64 MiB");
        self.nodes.retire_leaf(id, pages);
    }

    /// Takes the leaf of the path out of the tree.
    pub(super) fn drop_leaf(&mut self) {
        self.changed = true;
        self.retire_leaf(self.path.leaf);
        self.replace_children(Change {
            level: self.height,
            index: self.index_at(self.height),
            removed: 1,
            added: Vec::new(),
            appended: false,
        });
    }

    /// Merges the leaf of the path, this version's own, with a neighbour if both are small.
    pub(super) fn merge_if_small(&mut self) {
        let own = self.path.leaf;
        let Leaf::Shared(shared) = self.reader().leaf(own) else { return };
        let bytes = shared.live_bytes();
        if self.height == 0 || bytes >= SMALL_PAGE_BYTES {
            return;
        }
        let (parent, index) = self.path.steps[self.height - 1];
        let index = usize::from(index);
        let parent = self.nodes.inner(parent);
        let right = (index + 1 < parent.children()).then(|| (index, own, parent.child(index + 1)));
        let left = (index > 0).then(|| (index - 1, parent.child(index - 1), own));
        for (first, left, right) in right.into_iter().chain(left) {
            let other = if left == own { right } else { left };
            if merge_pages(&self.nodes, left, right, &mut self.scratch[0]) {
                self.nodes.leaf_mut(own).copy_from_slice(&self.scratch[0][..]);
                self.retire_leaf(other);
                self.replace_children(Change {
                    level: self.height,
                    index: first,
                    removed: 2,
                    added: vec![(Vec::new(), own)],
                    appended: false,
                });
                return;
            }
        }
    }

    /// Makes a change to the children of the node above them, and what follows from it further up.
    pub(super) fn replace_children(&mut self, mut change: Change) {
        self.changed = true;
        self.invalidate_path();
        let mut children = std::mem::take(&mut self.children);
        while change.level > 0 {
            children.clear();
            let (parent, _) = self.path.steps[change.level - 1];
            children.append(self.nodes.inner(parent), &[]);
            change.apply_to(&mut children);
            let shrinking = change.added.len() < change.removed;
            match self.rewrite(parent, &mut children, &change, shrinking) {
                Some(above) => change = above,
                None => break,
            }
        }
        self.children = children;
        if change.level == 0 {
            self.replace_root(change);
        }
        self.lower_root();
    }

    /// Writes the children of `parent` as one or more nodes. Returns the change to the level above.
    fn rewrite(
        &mut self,
        parent: u32,
        children: &mut super::inner::Children,
        change: &Change,
        shrinking: bool,
    ) -> Option<Change> {
        let level = change.level - 1;
        let index = self.index_at(level);
        let above =
            |removed, added, appended| Some(Change { level, index, removed, added, appended });
        if children.len() == 0 {
            self.nodes.retire_inner(parent);
            return above(1, Vec::new(), false);
        }
        if shrinking && let Some(merged) = self.merge_inner(parent, children, level) {
            return Some(merged);
        }
        let mut ends = Vec::new();
        children.partition(0, children.len(), change.appended, &mut ends);
        if let [end] = ends[..] {
            let units = units_for(children.bytes(0, end));
            if self.nodes.owns_inner(parent) && self.nodes.inner(parent).units_used() == units {
                let version = self.nodes.version();
                children.write(self.nodes.inner_mut(parent, units), version, 0, end);
                return None;
            }
            let id = self.nodes.write_inner(children, 0, end);
            self.nodes.retire_inner(parent);
            self.relink(level, id);
            return None;
        }
        let mut from = 0;
        let mut added = Vec::with_capacity(ends.len());
        for end in ends {
            let id = self.nodes.write_inner(children, from, end);
            added.push((children.separator(from).to_vec(), id));
            from = end;
        }
        self.nodes.retire_inner(parent);
        above(1, added, change.appended)
    }

    /// Merges a node that became small with a neighbour. `children` are the new ones of `parent`.
    fn merge_inner(
        &mut self,
        parent: u32,
        children: &mut super::inner::Children,
        level: usize,
    ) -> Option<Change> {
        if level == 0 || children.bytes(0, children.len()) >= SMALL_INNER_BYTES {
            return None;
        }
        let (above, index) = self.path.steps[level - 1];
        let index = usize::from(index);
        let above = self.nodes.inner(above);
        let mut merged = super::inner::Children::default();
        let mut separator = Vec::new();
        let (first, other) = if index + 1 < above.children() {
            let other = above.child(index + 1);
            above.separator_into(index + 1, &mut separator);
            merged.append_all(children);
            merged.append(self.nodes.inner(other), &separator);
            (index, other)
        } else if index > 0 {
            let other = above.child(index - 1);
            above.separator_into(index, &mut separator);
            merged.append(self.nodes.inner(other), &[]);
            children.set_separator(0, &separator);
            merged.append_all(children);
            (index - 1, other)
        } else {
            return None;
        };
        if merged.bytes(0, merged.len()) > MERGED_INNER_BYTES {
            return None;
        }
        let id = self.nodes.write_inner(&merged, 0, merged.len());
        self.nodes.retire_inner(parent);
        self.nodes.retire_inner(other);
        let added = vec![(Vec::new(), id)];
        Some(Change { level, index: first, removed: 2, added, appended: false })
    }

    /// The root became these nodes: puts levels above them until there is one.
    fn replace_root(&mut self, change: Change) {
        let mut nodes = change.added;
        while nodes.len() > 1 {
            let mut children = super::inner::Children::default();
            for (separator, id) in &nodes {
                children.push(separator, *id);
            }
            nodes.clear();
            let mut ends = Vec::new();
            children.partition(0, children.len(), false, &mut ends);
            let mut from = 0;
            for end in ends {
                let id = self.nodes.write_inner(&children, from, end);
                nodes.push((children.separator(from).to_vec(), id));
                from = end;
            }
            self.height += 1;
            assert!(self.height < MAX_HEIGHT, "nodes have several children");
        }
        self.root = nodes.first().map_or(NONE, |node| node.1);
        if self.root == NONE {
            self.height = 0;
        }
    }

    /// Takes away roots that have a single child.
    pub(super) fn lower_root(&mut self) {
        while self.height > 0 {
            let root: Inner<'_> = self.nodes.inner(self.root);
            if root.children() > 1 {
                return;
            }
            let child = root.child(0);
            self.nodes.retire_inner(self.root);
            self.root = child;
            self.height -= 1;
        }
    }
}

impl Change {
    fn apply_to(&self, children: &mut super::inner::Children) {
        let Some((first, rest)) = self.added.split_first() else {
            for _ in 0..self.removed {
                children.remove(self.index);
            }
            return;
        };
        for _ in 1..self.removed {
            children.remove(self.index + 1);
        }
        children.set_id(self.index, first.1);
        for (offset, (separator, id)) in rest.iter().enumerate() {
            children.insert(self.index + 1 + offset, separator, *id);
        }
    }
}

impl Nodes {
    /// A new leaf with the bytes of a page built elsewhere.
    pub(super) fn take_built(&mut self, page: &Page) -> u32 {
        let id = self.new_leaf();
        self.leaf_mut(id).copy_from_slice(page);
        id
    }

    /// A new node of this version with children `from..to`.
    pub(super) fn write_inner(
        &mut self,
        children: &super::inner::Children,
        from: usize,
        to: usize,
    ) -> u32 {
        let units = units_for(children.bytes(from, to));
        let id = self.new_inner(units);
        let version = self.version();
        children.write(self.inner_mut(id, units), version, from, to);
        id
    }
}

/// Builds the page of two neighbours' rows, if they make a page of moderate size.
fn merge_pages(nodes: &Nodes, left: u32, right: u32, scratch: &mut Page) -> bool {
    let reader = nodes.reader(NONE, 0);
    let (Leaf::Shared(left), Leaf::Shared(right)) = (reader.leaf(left), reader.leaf(right)) else {
        return false;
    };
    if left.live_bytes() + right.live_bytes() > MERGED_PAGE_BYTES {
        return false;
    }
    let all: Vec<Entry<'_>> = leaf::entries(left).chain(leaf::entries(right)).collect();
    if leaf::used_by(&all) > MERGED_PAGE_BYTES {
        return false;
    }
    leaf::build(scratch, &all, NO_INSERT);
    true
}

/// A row and a leaf of one large row, which it replaces or stands beside.
fn beside_jumbo(old: Entry<'_>, new: Entry<'_>, run: u32, scratch: &mut [Box<Page>; 2]) -> Plan {
    let piece = if run == NONE {
        leaf::rebuild(&mut scratch[0], &[new], 0, ONE_INSERT);
        Piece::Built(0)
    } else {
        Piece::Run
    };
    let pieces = match new.key.0.cmp(old.key.0) {
        Ordering::Equal => vec![(Vec::new(), piece)],
        Ordering::Less => vec![(Vec::new(), piece), (leaf::separator(&new, &old), Piece::Old)],
        Ordering::Greater => vec![(Vec::new(), Piece::Old), (leaf::separator(&old, &new), piece)],
    };
    Plan { replaced: pieces.len() == 1, pieces }
}

/// A large row among the rows of a page.
fn among(shared: Shared<'_>, key: &[u8], scratch: &mut [Box<Page>; 2]) -> Plan {
    let all: Vec<Entry<'_>> = leaf::entries(shared).collect();
    let (at, replaced) = match shared.search(key) {
        Place::Row(row) => (row, true),
        _ => (shared.lower_bound(key), false),
    };
    let new = Entry::new(key, &[]);
    let (before, after) = (&all[..at], &all[at + usize::from(replaced)..]);
    let mut pieces = Vec::with_capacity(3);
    if !before.is_empty() {
        let untouched = after.is_empty() && !replaced;
        pieces.push((Vec::new(), page_of(before, untouched, 0, scratch)));
    }
    let low = before.last().map_or_else(Vec::new, |last| leaf::separator(last, &new));
    pieces.push((low, Piece::Run));
    if let Some(first) = after.first() {
        let untouched = before.is_empty() && !replaced;
        pieces.push((leaf::separator(&new, first), page_of(after, untouched, 1, scratch)));
    }
    Plan { pieces, replaced }
}

fn page_of(
    entries: &[Entry<'_>],
    untouched: bool,
    index: usize,
    scratch: &mut [Box<Page>; 2],
) -> Piece {
    if untouched {
        return Piece::Old;
    }
    leaf::build(&mut scratch[index], entries, NO_INSERT);
    Piece::Built(index)
}

/// A row for a page in which it has no room, or whose prefix it lacks.
fn into_page(shared: Shared<'_>, new: Entry<'_>, scratch: &mut [Box<Page>; 2]) -> Plan {
    let mut all: Vec<Entry<'_>> = Vec::with_capacity(shared.rows() + 1);
    all.extend(leaf::entries(shared));
    let mut sequence = Sequence::of(shared.page());
    let (at, replaced) = match shared.search(new.key.0) {
        Place::Row(row) => (row, true),
        _ => (shared.lower_bound(new.key.0), false),
    };
    if replaced {
        all[at] = new;
    } else {
        sequence = sequence.then(at);
        all.insert(at, new);
    }
    let plan = |pieces| Plan { pieces, replaced };
    if leaf::fits(&all) {
        leaf::build(&mut scratch[0], &all, sequence);
        return plan(vec![(Vec::new(), Piece::Built(0))]);
    }
    let in_sequence = !replaced && usize::from(sequence.length) > SEQUENCE.min(shared.rows());
    let at_end = !replaced && at + 1 == all.len();
    if !(in_sequence && at_end) {
        let here = if in_sequence && at > 0 { cut_in_sequence(&all, at) } else { None };
        if let Some(cut) = here.or_else(|| leaf::balanced_cut(&all)) {
            let (left, right) = all.split_at(cut);
            let (before, after) = match here {
                Some(_) if cut > at => (sequence, NO_INSERT),
                Some(_) => (NO_INSERT, ONE_INSERT),
                None => (NO_INSERT, NO_INSERT),
            };
            leaf::build(&mut scratch[0], left, before);
            leaf::build(&mut scratch[1], right, after);
            let separator = leaf::separator(&all[cut - 1], &all[cut]);
            return plan(vec![(Vec::new(), Piece::Built(0)), (separator, Piece::Built(1))]);
        }
    }
    // In a sequence, or without the prefix that keeps the others small: alone.
    if at_end {
        let last = &all[at - 1];
        leaf::rebuild(&mut scratch[0], &[new], leaf::shared_prefix(last, &new), ONE_INSERT);
        let separator = leaf::separator(last, &new);
        return plan(vec![(Vec::new(), Piece::Old), (separator, Piece::Built(0))]);
    }
    assert!(at == 0 && !replaced, "rows with the prefix of a page can be cut into two pages");
    leaf::rebuild(&mut scratch[0], &[new], 0, ONE_INSERT);
    plan(vec![(Vec::new(), Piece::Built(0)), (leaf::separator(&new, &all[1]), Piece::Old)])
}

/// After the new row if possible: then the rows that follow do not drag the rest along.
fn cut_in_sequence(entries: &[Entry<'_>], at: usize) -> Option<usize> {
    [at + 1, at].into_iter().find(|&cut| cut < entries.len() && leaf::cut_fits(entries, cut))
}
