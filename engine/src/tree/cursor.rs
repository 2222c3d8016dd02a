//! Walking over a version of the tree: rows in a range of keys, and leaf pages for a snapshot.
//!
//! ```text
//!   from                                   to
//!    ├─ row ─ row ─ row ─ row ─ row ─ row ─┤
//!   ^ before the first                     ^ after the last
//! ```
//!
//! A scan stands on a row, before the first or after the last. A new scan stands outside: `next` goes
//! to the first row, `prev` to the last. Nothing is allocated per row; the bounds are compared once per
//! leaf.

use super::reader::{Leaf, MAX_HEIGHT, Reader};
use super::versions::{NONE, View};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stand {
    New,
    BeforeFirst,
    OnRow,
    AfterLast,
}

/// Where a scan is; it borrows nothing, so that a scan may own its view.
#[derive(Debug)]
struct Position {
    from: Vec<u8>,
    to: Option<Vec<u8>>,
    stand: Stand,
    /// Inner nodes from the root down, and which child was taken.
    path: [(u32, u16); MAX_HEIGHT],
    leaf: u32,
    row: usize,
    /// Rows of this leaf that lie in the range.
    low: usize,
    high: usize,
}

impl Position {
    fn new(from: &[u8], to: Option<&[u8]>) -> Self {
        Self {
            from: from.to_vec(),
            to: to.map(<[u8]>::to_vec),
            stand: Stand::New,
            path: [(0, 0); MAX_HEIGHT],
            leaf: NONE,
            row: 0,
            low: 0,
            high: 0,
        }
    }

    fn next(&mut self, reader: Reader<'_>) -> bool {
        match self.stand {
            Stand::AfterLast => return false,
            Stand::OnRow if self.row + 1 < self.high => {
                self.row += 1;
                return true;
            }
            Stand::OnRow => {
                if !self.step(reader, true) {
                    self.stand = Stand::AfterLast;
                    return false;
                }
            }
            Stand::New | Stand::BeforeFirst => {
                let from = std::mem::take(&mut self.from);
                let found = self.descend(reader, Some(&from));
                self.from = from;
                if !found {
                    self.stand = Stand::AfterLast;
                    return false;
                }
            }
        }
        self.forward_to_row(reader)
    }

    fn prev(&mut self, reader: Reader<'_>) -> bool {
        match self.stand {
            Stand::BeforeFirst => return false,
            Stand::OnRow if self.row > self.low => {
                self.row -= 1;
                return true;
            }
            Stand::OnRow => {
                if !self.step(reader, false) {
                    self.stand = Stand::BeforeFirst;
                    return false;
                }
            }
            Stand::New | Stand::AfterLast => {
                let to = self.to.take();
                let found = self.descend(reader, to.as_deref());
                self.to = to;
                if !found {
                    self.stand = Stand::BeforeFirst;
                    return false;
                }
            }
        }
        self.backward_to_row(reader)
    }

    /// From the beginning of this leaf to the first row in range, here or in a later leaf.
    fn forward_to_row(&mut self, reader: Reader<'_>) -> bool {
        loop {
            self.bound(reader);
            if self.low < self.high {
                self.row = self.low;
                self.stand = Stand::OnRow;
                return true;
            }
            // A leaf that ends inside the range may only have been before its beginning.
            let ends_here = self.high < reader.leaf(self.leaf).rows();
            if ends_here || !self.step(reader, true) {
                self.stand = Stand::AfterLast;
                return false;
            }
        }
    }

    fn backward_to_row(&mut self, reader: Reader<'_>) -> bool {
        loop {
            self.bound(reader);
            if self.low < self.high {
                self.row = self.high - 1;
                self.stand = Stand::OnRow;
                return true;
            }
            if self.low > 0 || !self.step(reader, false) {
                self.stand = Stand::BeforeFirst;
                return false;
            }
        }
    }

    /// Which rows of this leaf lie in the range.
    fn bound(&mut self, reader: Reader<'_>) {
        let leaf = reader.leaf(self.leaf);
        self.low = leaf.lower_bound(&self.from);
        self.high = self.to.as_deref().map_or(leaf.rows(), |to| leaf.lower_bound(to));
    }

    /// To the leaf that covers a key, or to the last one.
    fn descend(&mut self, reader: Reader<'_>, key: Option<&[u8]>) -> bool {
        if reader.root == NONE {
            return false;
        }
        let mut node = reader.root;
        for level in 0..reader.height {
            let inner = reader.inner(node);
            let index = key.map_or(inner.children() - 1, |key| inner.child_for(key));
            self.path[level] = (node, u16::try_from(index).expect("children are counted in u16"));
            node = inner.child(index);
        }
        self.leaf = node;
        true
    }

    /// To the neighbouring leaf.
    fn step(&mut self, reader: Reader<'_>, forward: bool) -> bool {
        let has_next = |&(node, index): &(u32, u16)| {
            if forward { usize::from(index) + 1 < reader.inner(node).children() } else { index > 0 }
        };
        let Some(level) = self.path[..reader.height].iter().rposition(has_next) else {
            return false;
        };
        let (node, index) = self.path[level];
        let index = if forward { index + 1 } else { index - 1 };
        self.path[level].1 = index;
        let mut node = reader.inner(node).child(usize::from(index));
        for level in level + 1..reader.height {
            let inner = reader.inner(node);
            let index = if forward { 0 } else { inner.children() - 1 };
            self.path[level] = (node, u16::try_from(index).expect("children are counted in u16"));
            node = inner.child(index);
        }
        self.leaf = node;
        true
    }

    /// The leaf that follows, if it has the same parent.
    fn next_leaf(&self, reader: Reader<'_>) -> Option<u32> {
        let &(node, index) = self.path[..reader.height].last()?;
        let (inner, next) = (reader.inner(node), usize::from(index) + 1);
        (next < inner.children()).then(|| inner.child(next))
    }

    fn row<'a>(&self, reader: Reader<'a>) -> (&'a [u8], &'a [u8], &'a [u8]) {
        assert!(self.stand == Stand::OnRow, "asked for a row before next or prev found one");
        reader.leaf(self.leaf).row(self.row)
    }
}

/// A scan of a range of rows.
pub struct Scan<'a> {
    reader: Reader<'a>,
    position: Position,
}

impl<'a> Scan<'a> {
    pub(super) fn new(reader: Reader<'a>, from: &[u8], to: Option<&[u8]>) -> Self {
        Self { reader, position: Position::new(from, to) }
    }

    /// Goes to the next row; from outside, to the first. `false` when there is none.
    #[expect(clippy::should_implement_trait, reason = "a cursor: the row is asked for afterwards")]
    pub fn next(&mut self) -> bool {
        self.position.next(self.reader)
    }

    /// Goes to the row before; from outside, to the last. `false` when there is none.
    pub fn prev(&mut self) -> bool {
        self.position.prev(self.reader)
    }

    /// The key of the row, in two parts: what it shares with its neighbours and the rest.
    ///
    /// # Panics
    /// Unless the last `next` or `prev` returned `true`.
    #[must_use]
    pub fn key_parts(&self) -> (&'a [u8], &'a [u8]) {
        let (prefix, suffix, _) = self.position.row(self.reader);
        (prefix, suffix)
    }

    /// Puts the key of the row into `key`, in place of what was there.
    ///
    /// # Panics
    /// As [`Scan::key_parts`].
    pub fn key_into(&self, key: &mut Vec<u8>) {
        let (prefix, suffix) = self.key_parts();
        key.clear();
        key.extend_from_slice(prefix);
        key.extend_from_slice(suffix);
    }

    /// Puts the key of the row into `key`, in place of what was there; the value.
    ///
    /// # Panics
    /// As [`Scan::key_parts`].
    pub fn row_into(&self, key: &mut Vec<u8>) -> &'a [u8] {
        let (prefix, suffix, value) = self.position.row(self.reader);
        key.clear();
        key.extend_from_slice(prefix);
        key.extend_from_slice(suffix);
        value
    }

    /// The value of the row.
    ///
    /// # Panics
    /// As [`Scan::key_parts`].
    #[must_use]
    pub fn value(&self) -> &'a [u8] {
        self.position.row(self.reader).2
    }

    /// This row and those that follow it on its leaf, as far as they lie in the range. Goes to the
    /// last of them. The next leaf, which may come from far, is asked for meanwhile.
    ///
    /// # Panics
    /// As [`Scan::key_parts`].
    pub fn rest_of_leaf(&mut self) -> LeafRows<'a> {
        let position = &mut self.position;
        assert!(position.stand == Stand::OnRow, "asked for rows before next or prev found one");
        let next = position.next_leaf(self.reader);
        let from = std::mem::replace(&mut position.row, position.high - 1);
        let (reader, leaf) = (self.reader, self.reader.leaf(position.leaf));
        LeafRows { reader, leaf, from, to: position.high, next }
    }
}

/// Neighbouring rows of a leaf.
#[derive(Clone, Copy)]
pub struct LeafRows<'a> {
    reader: Reader<'a>,
    leaf: Leaf<'a>,
    from: usize,
    to: usize,
    /// The leaf behind.
    next: Option<u32>,
}

impl std::fmt::Debug for LeafRows<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "LeafRows({}..{})", self.from, self.to)
    }
}

impl<'a> LeafRows<'a> {
    /// How many rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.to - self.from
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.from == self.to
    }

    /// Asks for the part of the next leaf that is as far in it as the so-manieth row is here: who does so for each row has the
    /// next leaf when it comes to it. All of it at once would be more than a processor can wait for beside its work.
    #[inline]
    pub fn ask_ahead(&self, number: usize) {
        if let Some(next) = self.next {
            self.reader.prefetch_page_part(next, number, self.len());
        }
    }

    /// The key, in two parts, and the value of the so-manieth of these rows.
    ///
    /// # Panics
    /// If there are not so many.
    #[inline]
    #[must_use]
    pub fn row(&self, number: usize) -> (&'a [u8], &'a [u8], &'a [u8]) {
        assert!(number < self.len(), "row {number} of {}", self.len());
        self.leaf.row(self.from + number)
    }
}

/// A [`Scan`] that owns its view.
#[derive(Debug)]
pub struct OwnedScan {
    view: View,
    position: Position,
}

impl OwnedScan {
    pub(super) fn new(view: View, from: &[u8], to: Option<&[u8]>) -> Self {
        Self { view, position: Position::new(from, to) }
    }

    /// See [`Scan::next`].
    #[expect(clippy::should_implement_trait, reason = "a cursor: the row is asked for afterwards")]
    pub fn next(&mut self) -> bool {
        self.position.next(self.view.reader())
    }

    /// See [`Scan::prev`].
    pub fn prev(&mut self) -> bool {
        self.position.prev(self.view.reader())
    }

    /// See [`Scan::key_parts`].
    #[must_use]
    pub fn key_parts(&self) -> (&[u8], &[u8]) {
        let (prefix, suffix, _) = self.position.row(self.view.reader());
        (prefix, suffix)
    }

    /// See [`Scan::key_into`].
    pub fn key_into(&self, key: &mut Vec<u8>) {
        let (prefix, suffix) = self.key_parts();
        key.clear();
        key.extend_from_slice(prefix);
        key.extend_from_slice(suffix);
    }

    /// See [`Scan::value`].
    #[must_use]
    pub fn value(&self) -> &[u8] {
        self.position.row(self.view.reader()).2
    }

    /// The view that is scanned.
    #[must_use]
    pub fn view(&self) -> &View {
        &self.view
    }
}

/// A leaf as a snapshot stores it.
#[derive(Clone, Debug)]
pub struct LeafPage<'a> {
    /// Its pages, one or for a large row a run of them.
    pub bytes: &'a [u8],
    /// Rows on it.
    pub rows: u32,
    /// A short key, greater than all keys before this leaf and not greater than its first. Empty for
    /// the first leaf.
    pub separator: Vec<u8>,
}

/// The leaves of a version in key order.
pub struct Leaves<'a> {
    reader: Reader<'a>,
    position: Position,
}

impl<'a> Leaves<'a> {
    /// From the leaf on to which a key belongs.
    pub(super) fn new(reader: Reader<'a>, from: &[u8]) -> Self {
        Self { reader, position: Position::new(from, None) }
    }

    /// The separator before this leaf: of the lowest node on the path that is not a first child.
    fn separator(&self) -> Vec<u8> {
        let mut key = Vec::new();
        let path = &self.position.path[..self.reader.height];
        if let Some(&(node, index)) = path.iter().rev().find(|(_, index)| *index > 0) {
            self.reader.inner(node).separator_into(usize::from(index), &mut key);
        }
        key
    }
}

impl<'a> Iterator for Leaves<'a> {
    type Item = LeafPage<'a>;

    fn next(&mut self) -> Option<LeafPage<'a>> {
        let found = match self.position.stand {
            Stand::New => {
                let from = std::mem::take(&mut self.position.from);
                self.position.descend(self.reader, Some(&from))
            }
            _ => self.position.step(self.reader, true),
        };
        if !found {
            return None;
        }
        self.position.stand = Stand::OnRow;
        let leaf: Leaf<'a> = self.reader.leaf(self.position.leaf);
        Some(LeafPage {
            bytes: self.reader.leaf_bytes(self.position.leaf),
            rows: u32::try_from(leaf.rows()).expect("a page has fewer rows than bytes"),
            separator: self.separator(),
        })
    }
}
