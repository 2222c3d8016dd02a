//! Many rows in key order at once: the work of replay, of replicas and of large transactions.
//!
//! ```text
//!   rows in key order   a b c d | e f g h i | j …       cut at the separators of the leaves
//!                          │          │
//!   room for all           ▼          ▼   no room: this leaf and its neighbours that have rows as well
//!                      in place   [page][page][page]    are written as full pages, in one pass
//! ```
//!
//! One row after the other, rows spread over many full leaves would split each of them into two halves:
//! twice the pages, and the parent written once for each of its leaves.

use std::cmp::Ordering;

use super::leaf::{self, Entry, Page, Place, Sequence, Shared};
use super::reader::Leaf;
use super::restructure::Change;
use super::versions::NONE;
use super::writer::{PAGES_FOR_REMOVING, Tree, check_lengths};
use super::{PAGE_BYTES, TreeError};

/// A key, and the value to put, or `None` to remove its row.
type Row<'a> = (&'a [u8], Option<&'a [u8]>);

/// From so many rows on, a leaf is written anew at once. With fewer there may be room, and rows that come
/// one transaction at a time should leave full pages behind, which `restructure` sees to.
const MERGE_FROM: usize = 8;

/// Most rows and bytes of rows taken together: enough for the leaves of one parent, and what they become
/// stays in the cache.
const GROUP_ROWS: usize = 4096;
const GROUP_BYTES: usize = 256 << 10;

/// Rows of so many bytes fit in a page, whatever their prefix.
const SURELY_FITS: usize = PAGE_BYTES - leaf::HEADER_BYTES;

/// A last page with fewer bytes gets rows of the one before.
const BALANCED_BYTES: usize = PAGE_BYTES / 2;

/// Neighbours under one parent, from the leaf of the path on, and the first rows of those to come that
/// belong to them.
#[derive(Clone, Copy)]
struct Stretch {
    leaves: usize,
    rows: usize,
}

impl Tree {
    /// Puts (`Some`) and removes (`None`) rows that come in key order; of several with one key the last
    /// counts. One descent per leaf: several times faster than single calls.
    ///
    /// # Errors
    /// As [`Tree::put`], and [`TreeError::NotSorted`]. The rows before the failing one are applied:
    /// [`Tree::reserve`] and sort before, or rewind after.
    pub fn apply_sorted<'a>(
        &mut self,
        rows: impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)>,
    ) -> Result<(), TreeError> {
        let mut group: Vec<Row<'a>> = Vec::with_capacity(GROUP_ROWS);
        let mut fence: Option<Vec<u8>> = None;
        let mut bytes = 0;
        for (number, (key, value)) in rows.enumerate() {
            let refused = match group.last() {
                Some((before, _)) if *before > key => {
                    Some(TreeError::NotSorted { row: number as u64 })
                }
                _ => check_lengths(key, value.unwrap_or_default()).err(),
            };
            if let Some(error) = refused {
                self.apply_group(&group, &mut fence)?;
                return Err(error);
            }
            if let Some(last) = group.last_mut().filter(|last| last.0 == key) {
                last.1 = value;
                continue;
            }
            if group.len() == GROUP_ROWS || bytes >= GROUP_BYTES {
                // The last one stays, so that the order of the next is seen.
                let last = group.pop();
                self.apply_group(&group, &mut fence)?;
                group.clear();
                bytes = 0;
                group.extend(last);
            }
            bytes += key.len() + value.map_or(0, <[u8]>::len);
            group.push((key, value));
        }
        self.apply_group(&group, &mut fence)
    }

    fn apply_group(
        &mut self,
        group: &[Row<'_>],
        fence: &mut Option<Vec<u8>>,
    ) -> Result<(), TreeError> {
        self.invalidate_path();
        let mut rest = group;
        while let Some((key, _)) = rest.first() {
            self.descend(key);
            self.upper_fence(fence);
            let here = match fence.as_deref() {
                Some(fence) => rest.partition_point(|(key, _)| *key < fence),
                None => rest.len(),
            };
            self.prefetch_next_leaf();
            let done = self.apply_to_leaf(rest, here)?;
            rest = &rest[done..];
        }
        Ok(())
    }

    /// Applies the first rows, of which `here` belong to the leaf of the path, as long as it stays their
    /// leaf; how many that were, at least one.
    fn apply_to_leaf(&mut self, rows: &[Row<'_>], here: usize) -> Result<usize, TreeError> {
        if here >= MERGE_FROM
            && let Some(stretch) = self.stretch(rows)
        {
            return self.merge(rows, stretch);
        }
        for (done, &(key, value)) in rows[..here].iter().enumerate() {
            self.promise(key, if value.is_some() { PAGES_FOR_REMOVING } else { 0 })?;
            match value {
                Some(value) if self.put_in_place(key, value).is_some() => {}
                Some(value) => {
                    let stretch = self.stretch(&rows[done..]).filter(|s| s.rows >= MERGE_FROM);
                    if let Some(stretch) = stretch {
                        return Ok(done + self.merge(&rows[done..], stretch)?);
                    }
                    self.put_restructuring(key, value)?;
                    return Ok(done + 1);
                }
                None => {
                    self.remove_here(key);
                }
            }
            if !self.path.valid {
                return Ok(done + 1);
            }
        }
        Ok(here)
    }

    /// How far neighbours have a row each, on average, that fits on a page with others. `None` if not
    /// even the leaf of the path has.
    fn stretch(&self, rows: &[Row<'_>]) -> Option<Stretch> {
        let large = |&(key, value): &Row<'_>| {
            value.is_some_and(|value| !leaf::is_shared(key.len(), value.len()))
        };
        if self.root == NONE {
            return None;
        }
        let Some(&(parent, first)) = self.path.steps[..self.height].last() else {
            let small = rows.iter().position(large).unwrap_or(rows.len());
            let whole = Stretch { leaves: 1, rows: small };
            return (small > 0 && self.is_shared_leaf(self.path.leaf)).then_some(whole);
        };
        let (parent, first) = (self.nodes.inner(parent), usize::from(first));
        let mut stretch = None;
        let (mut taken, mut fence) = (0, Vec::new());
        for child in first..parent.children() {
            if !self.is_shared_leaf(parent.child(child)) {
                break;
            }
            let belongs: &dyn Fn(&Row<'_>) -> bool = if child + 1 < parent.children() {
                fence.clear();
                parent.separator_into(child + 1, &mut fence);
                &|(key, _)| *key < fence.as_slice()
            } else {
                &|(key, _)| self.is_below_parents_end(key)
            };
            let small = |row: &&Row<'_>| belongs(row) && !large(row);
            taken += rows[taken..].iter().take_while(small).count();
            let leaves = child - first + 1;
            if taken < leaves {
                break;
            }
            stretch = Some(Stretch { leaves, rows: taken });
            if rows.get(taken).is_none_or(large) {
                break;
            }
        }
        stretch
    }

    fn is_shared_leaf(&self, leaf: u32) -> bool {
        matches!(self.nodes.reader(NONE, 0).leaf(leaf), Leaf::Shared(_))
    }

    /// Writes the rows of neighbours and these as full pages; how many rows that were.
    fn merge(&mut self, rows: &[Row<'_>], stretch: Stretch) -> Result<usize, TreeError> {
        let rows = &rows[..stretch.rows];
        let first = self.index_at(self.height);
        let old: Vec<u32> = match self.path.steps[..self.height].last() {
            None => vec![self.path.leaf],
            Some(&(parent, _)) => {
                let parent = self.nodes.inner(parent);
                (first..first + stretch.leaves).map(|child| parent.child(child)).collect()
            }
        };
        let Self { nodes, pieces, path, .. } = self;
        let mut merged = Vec::with_capacity(64 * old.len() + rows.len());
        let (mut before, mut taken) = (0, 0);
        for (number, &id) in old.iter().enumerate() {
            if let Some(&next) = old.get(number + 1) {
                nodes.prefetch_page(next);
            }
            let Leaf::Shared(page) = nodes.reader(NONE, 0).leaf(id) else {
                unreachable!("a stretch is of leaves of many rows")
            };
            before += page.rows() as u64;
            // Rows behind the last one of a leaf belong to the next, unless there is none.
            let last = number + 1 == old.len();
            taken += merge_page(page, &rows[taken..], last, &mut merged);
        }
        assert!(taken == rows.len(), "{taken} of {} rows found a page", rows.len());
        let ends = page_ends(&merged, path.rightmost);
        let separators = write_pages(&merged, &ends, pieces);
        let after = merged.len() as u64;
        for key in separators.iter().map(Vec::as_slice).chain(rows.iter().map(|row| row.0)) {
            self.note_separator(key);
        }
        self.promise_pages(separators.len() as u64)?;
        self.rows = self.rows - before + after;
        self.replace_leaves(first, &old, separators);
        Ok(rows.len())
    }

    /// Makes sure that `pages` can take the place of a leaf.
    fn promise_pages(&mut self, pages: u64) -> Result<(), TreeError> {
        if self.try_promise_pages(pages).is_ok() {
            return Ok(());
        }
        self.nodes.reclaim(&self.versions);
        self.try_promise_pages(pages)
    }

    /// Puts the pages in `pieces`, with these separators, in the place of neighbours; the first takes over
    /// the separator of the first. Pages of this version are written over.
    fn replace_leaves(&mut self, index: usize, old: &[u32], separators: Vec<Vec<u8>>) {
        self.changed = true;
        let mut own = Vec::with_capacity(old.len());
        for &id in old {
            if self.nodes.owns_leaf(id) {
                own.push(id);
            } else {
                self.retire_leaf(id);
            }
        }
        let mut own = own.into_iter();
        let mut added = Vec::with_capacity(separators.len());
        for (separator, page) in separators.into_iter().zip(&self.pieces) {
            let id = match own.next() {
                Some(id) => {
                    self.nodes.leaf_mut(id).copy_from_slice(page);
                    id
                }
                None => self.nodes.take_built(page),
            };
            added.push((separator, id));
        }
        for id in own {
            self.retire_leaf(id);
        }
        if let ([_], [(_, id)]) = (old, &added[..]) {
            if *id != old[0] {
                self.path.leaf = *id;
                self.relink(self.height, *id);
            }
            self.merge_if_small();
            return;
        }
        let (level, appended) = (self.height, self.path.rightmost);
        self.replace_children(Change { level, index, removed: old.len(), added, appended });
    }
}

/// Adds the rows of a page and, in their places, those of `rows` that belong to it; for a key of both
/// the other counts. How many of `rows` that were.
fn merge_page<'a>(
    page: Shared<'a>,
    rows: &[Row<'a>],
    is_last: bool,
    merged: &mut Vec<Entry<'a>>,
) -> usize {
    let count = page.rows();
    let mut from = 0;
    let mut taken = 0;
    for &(key, value) in rows {
        let (at, next) = match page.search(key) {
            Place::Row(row) => (row, row + 1),
            Place::Before(row) => (row, row),
            Place::Outside(Ordering::Less) => (0, 0),
            Place::Outside(_) => (count, count),
        };
        if next == count && at == count && !is_last {
            break;
        }
        merged.extend((from..at).map(|row| leaf::entry(page, row)));
        from = next;
        merged.extend(value.map(|value| Entry::new(key, value)));
        taken += 1;
    }
    merged.extend((from..count).map(|row| leaf::entry(page, row)));
    taken
}

/// Where each page of sorted rows ends: full ones, and if nothing will follow, the last two even.
fn page_ends(rows: &[Entry<'_>], more_will_follow: bool) -> Vec<usize> {
    let mut ends = Vec::new();
    let (mut start, mut bytes) = (0, 0);
    for (at, row) in rows.iter().enumerate() {
        bytes += leaf::ROW_OVERHEAD + row.key_length() + row.value.len();
        // The prefix that the keys share makes it less: looked at when it matters.
        if bytes > SURELY_FITS && !leaf::fits(&rows[start..=at]) {
            ends.push(at);
            start = at;
            bytes = leaf::ROW_OVERHEAD + row.key_length() + row.value.len();
        }
    }
    if start < rows.len() {
        ends.push(rows.len());
    }
    if !more_will_follow && bytes < BALANCED_BYTES && ends.len() > 1 {
        let last_two = if ends.len() > 2 { ends[ends.len() - 3] } else { 0 };
        if let Some(cut) = leaf::balanced_cut(&rows[last_two..]) {
            let full = ends.len() - 2;
            ends[full] = last_two + cut;
        }
    }
    ends
}

/// Writes the pages that end at `ends`; their separators, that of the first being empty.
fn write_pages(rows: &[Entry<'_>], ends: &[usize], pages: &mut Vec<Page>) -> Vec<Vec<u8>> {
    let mut separators = Vec::with_capacity(ends.len());
    let mut from = 0;
    if pages.len() < ends.len() {
        pages.resize(ends.len(), [0; PAGE_BYTES]);
    }
    for (&end, page) in ends.iter().zip(pages) {
        separators.push(match from {
            0 => Vec::new(),
            _ => leaf::separator(&rows[from - 1], &rows[from]),
        });
        leaf::build(page, &rows[from..end], Sequence::default());
        from = end;
    }
    separators
}
