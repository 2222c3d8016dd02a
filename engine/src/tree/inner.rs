//! The bytes of an inner node. In memory only, so the layout may change at any time.
//!
//! ```text
//!   0   u64  version that the node was created in
//!   8   u16  children n
//!   10  u16  units of 1024 bytes (1, but for a few very long separators)
//!   12  u16  prefix length
//!   14  u16  offset of the prefix
//!   16       heads     u64 × (n - 1)
//!            children  u32 × n
//!            slots     u16 × (n - 1)
//!            (free)
//!            tails and prefix, to the end
//! ```
//!
//! Child `i` holds the keys from separator `i` to before separator `i + 1`; the first separator is that of
//! the node itself and is kept in its parent, so a node has one less than children. Separator =
//! prefix + first up to 8 bytes + tail. A head is these 8 bytes as a big-endian number, padded with
//! zeros. A slot below 16 is the number of bytes that count in the head; a greater one is the offset
//! of the tail: its length (u16) and its bytes.
//!
//! Heads of 8 bytes rather than 4: several tables share a tree, so near the root separators of one
//! table have no common prefix beyond what all tables share, and 4 bytes would tie.

use super::bytes::{head8, strip_prefix};
use super::memory::INNER_BYTES;

pub(super) const HEADER_BYTES: usize = 16;

const AT_CHILDREN: usize = 8;
const AT_UNITS: usize = 10;
const AT_PREFIX_LENGTH: usize = 12;
const AT_PREFIX: usize = 14;
const HEAD_BYTES: usize = 8;

/// A node with fewer children than this is not split but gets more units.
pub(super) const MIN_SPLIT_CHILDREN: usize = 8;

#[inline]
fn u16_at(bytes: &[u8], at: usize) -> usize {
    usize::from(u16::from_le_bytes([bytes[at], bytes[at + 1]]))
}

fn put_u16(bytes: &mut [u8], at: usize, value: usize) {
    let value = u16::try_from(value).expect("an inner node is far below 64 KiB");
    bytes[at..at + 2].copy_from_slice(&value.to_le_bytes());
}

/// An inner node, to be read.
#[derive(Clone, Copy)]
pub(super) struct Inner<'a> {
    bytes: &'a [u8],
    children: usize,
}

impl<'a> Inner<'a> {
    #[inline]
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        let children = u16_at(bytes, AT_CHILDREN);
        debug_assert!(children > 0, "an inner node has a child");
        Self { bytes, children }
    }

    /// Units of a node, told by its first.
    #[inline]
    pub(super) fn units(bytes: &[u8]) -> usize {
        u16_at(bytes, AT_UNITS)
    }

    pub(super) fn version(&self) -> u64 {
        version(self.bytes)
    }

    #[inline]
    pub(super) fn units_used(&self) -> usize {
        Self::units(self.bytes)
    }

    #[inline]
    pub(super) fn children(&self) -> usize {
        self.children
    }

    #[inline]
    fn heads(&self) -> &'a [[u8; HEAD_BYTES]] {
        self.bytes[HEADER_BYTES..HEADER_BYTES + HEAD_BYTES * (self.children - 1)].as_chunks().0
    }

    #[inline]
    pub(super) fn child(&self, index: usize) -> u32 {
        debug_assert!(index < self.children, "child {index} of {}", self.children);
        let at = child_at(self.children, index);
        u32::from_le_bytes(*self.bytes[at..].first_chunk().expect("children are inside the node"))
    }

    #[inline]
    fn prefix(&self) -> &'a [u8] {
        let at = u16_at(self.bytes, AT_PREFIX);
        &self.bytes[at..at + u16_at(self.bytes, AT_PREFIX_LENGTH)]
    }

    fn slot(&self, separator: usize) -> usize {
        u16_at(self.bytes, child_at(self.children, self.children) + 2 * separator)
    }

    /// The separator before child `index`, which is not the first, without the prefix: the bytes in
    /// the head and the tail.
    fn parts(&self, index: usize) -> ([u8; HEAD_BYTES], usize, &'a [u8]) {
        let separator = index - 1;
        let first = u64::from_le_bytes(self.heads()[separator]).to_be_bytes();
        let slot = self.slot(separator);
        if slot < HEADER_BYTES {
            return (first, slot, &[]);
        }
        let length = u16_at(self.bytes, slot);
        (first, HEAD_BYTES, &self.bytes[slot + 2..slot + 2 + length])
    }

    /// Appends the separator before child `index`, which is not the first.
    pub(super) fn separator_into(&self, index: usize, key: &mut Vec<u8>) {
        let (first, length, tail) = self.parts(index);
        key.extend_from_slice(self.prefix());
        key.extend_from_slice(&first[..length]);
        key.extend_from_slice(tail);
    }

    /// Which child holds a key.
    #[inline]
    pub(super) fn child_for(&self, key: &[u8]) -> usize {
        let prefix = self.prefix();
        let Some(rest) = strip_prefix(key, prefix) else {
            return if key < prefix { 0 } else { self.children - 1 };
        };
        let wanted = head8(key, prefix.len());
        let heads = self.heads();
        let mut index = count_less(heads, wanted);
        while index < heads.len()
            && u64::from_le_bytes(heads[index]) == wanted
            && self.tail_is_not_greater(index + 1, rest)
        {
            index += 1;
        }
        index
    }

    /// How far a key lies between the separators around child `index`, as a part of 1: where in the
    /// child it would be if keys were spread evenly. `None` at the ends of the node.
    #[inline]
    pub(super) fn share_of(&self, key: &[u8], index: usize) -> Option<f32> {
        let heads = self.heads();
        let low = u64::from_le_bytes(*heads.get(index.wrapping_sub(1))?);
        let high = u64::from_le_bytes(*heads.get(index)?);
        let at = u16_at(self.bytes, AT_PREFIX_LENGTH);
        if at > key.len() {
            return None;
        }
        // Halved, for signed numbers are converted without a branch.
        let half = |part: u64| (part >> 1).cast_signed() as f32;
        Some(half(head8(key, at).saturating_sub(low)) / half(high - low))
    }

    /// Of a separator whose head is that of `rest`: whether it is less or equal.
    fn tail_is_not_greater(&self, index: usize, rest: &[u8]) -> bool {
        let slot = self.slot(index - 1);
        if slot < HEADER_BYTES {
            // Equal up to zeros: the shorter is a prefix of the longer.
            return slot <= rest.len();
        }
        rest.len() > HEAD_BYTES && self.parts(index).2 <= &rest[HEAD_BYTES..]
    }
}

#[inline]
fn child_at(children: usize, index: usize) -> usize {
    HEADER_BYTES + HEAD_BYTES * (children - 1) + 4 * index
}

/// How many of the sorted heads are less, without a branch that depends on the data: first by the
/// last of each 8, then inside these 8. All cache lines are asked for at once.
#[inline]
fn count_less(heads: &[[u8; HEAD_BYTES]], wanted: u64) -> usize {
    let less = |h: &[u8; HEAD_BYTES]| usize::from(u64::from_le_bytes(*h) < wanted);
    let (blocks, _) = heads.as_chunks::<8>();
    let whole: usize = blocks.iter().map(|block| less(&block[7])).sum();
    let rest = &heads[8 * whole..heads.len().min(8 * whole + 8)];
    8 * whole + rest.iter().map(less).sum::<usize>()
}

pub(super) fn version(bytes: &[u8]) -> u64 {
    u64::from_le_bytes(*bytes.first_chunk().expect("a node has a header"))
}

pub(super) fn set_version(bytes: &mut [u8], version: u64) {
    bytes[..8].copy_from_slice(&version.to_le_bytes());
}

pub(super) fn set_child(bytes: &mut [u8], index: usize, child: u32) {
    let at = child_at(u16_at(bytes, AT_CHILDREN), index);
    bytes[at..at + 4].copy_from_slice(&child.to_le_bytes());
}

/// The children of a node, or of several, taken apart to be changed.
#[derive(Debug, Default)]
pub(super) struct Children {
    keys: Vec<u8>,
    list: Vec<Child>,
}

#[derive(Clone, Copy, Debug)]
struct Child {
    from: usize,
    to: usize,
    id: u32,
}

impl Children {
    pub(super) fn clear(&mut self) {
        self.keys.clear();
        self.list.clear();
    }

    pub(super) fn len(&self) -> usize {
        self.list.len()
    }

    pub(super) fn id(&self, index: usize) -> u32 {
        self.list[index].id
    }

    pub(super) fn separator(&self, index: usize) -> &[u8] {
        let child = self.list[index];
        &self.keys[child.from..child.to]
    }

    /// Adds all children of a node. `first` is the separator of the node.
    pub(super) fn append(&mut self, node: Inner<'_>, first: &[u8]) {
        self.push(first, node.child(0));
        for index in 1..node.children() {
            let from = self.keys.len();
            node.separator_into(index, &mut self.keys);
            self.list.push(Child { from, to: self.keys.len(), id: node.child(index) });
        }
    }

    pub(super) fn push(&mut self, separator: &[u8], id: u32) {
        self.insert(self.list.len(), separator, id);
    }

    pub(super) fn insert(&mut self, index: usize, separator: &[u8], id: u32) {
        let from = self.keys.len();
        self.keys.extend_from_slice(separator);
        self.list.insert(index, Child { from, to: self.keys.len(), id });
    }

    /// Adds all of `others`.
    pub(super) fn append_all(&mut self, others: &Self) {
        for index in 0..others.len() {
            self.push(others.separator(index), others.id(index));
        }
    }

    pub(super) fn set_separator(&mut self, index: usize, separator: &[u8]) {
        let from = self.keys.len();
        self.keys.extend_from_slice(separator);
        let child = &mut self.list[index];
        (child.from, child.to) = (from, self.keys.len());
    }

    pub(super) fn set_id(&mut self, index: usize, id: u32) {
        self.list[index].id = id;
    }

    /// Takes a child out. The child before it, if any, takes over its keys; without one, the next
    /// child takes over its separator.
    pub(super) fn remove(&mut self, index: usize) {
        let gone = self.list.remove(index);
        if index == 0
            && let Some(next) = self.list.first_mut()
        {
            (next.from, next.to) = (gone.from, gone.to);
        }
    }

    fn prefix_length(&self, from: usize, to: usize) -> usize {
        if to - from < 2 {
            return 0;
        }
        let (first, last) = (self.separator(from + 1), self.separator(to - 1));
        first.iter().zip(last).take_while(|(a, b)| a == b).count()
    }

    /// Bytes of a node of children `from..to`.
    pub(super) fn bytes(&self, from: usize, to: usize) -> usize {
        let prefix_length = self.prefix_length(from, to);
        let tail = |index: usize| tail_bytes(self.separator(index).len() - prefix_length);
        let tails: usize = (from + 1..to).map(tail).sum();
        child_at(to - from, to - from) + 2 * (to - from - 1) + prefix_length + tails
    }

    /// Whether children `from..to` make one node. A long common prefix alone is no reason to split.
    pub(super) fn is_one_node(&self, from: usize, to: usize) -> bool {
        to - from < MIN_SPLIT_CHILDREN
            || self.bytes(from, to) - self.prefix_length(from, to) <= INNER_BYTES
    }

    /// Cuts `from..to` into nodes; `ends` gets the end of each. `appended`: the last child is new,
    /// more like it will probably follow, and the left node is left full.
    pub(super) fn partition(&self, from: usize, to: usize, appended: bool, ends: &mut Vec<usize>) {
        if self.is_one_node(from, to) {
            ends.push(to);
            return;
        }
        let cut = if appended { to - 2 } else { self.middle(from, to) };
        self.partition(from, cut, false, ends);
        self.partition(cut, to, false, ends);
    }

    /// Where to cut so that both halves have about the same bytes.
    fn middle(&self, from: usize, to: usize) -> usize {
        let cost = |index: usize| 14 + self.separator(index).len();
        let total: usize = (from..to).map(cost).sum();
        let mut sum = 0;
        for index in from..to {
            sum += cost(index);
            if 2 * sum >= total {
                return (index + 1).clamp(from + 2, to - 2);
            }
        }
        usize::midpoint(from, to)
    }

    /// Writes children `from..to` as a node into as many units as [`Children::bytes`] needs.
    pub(super) fn write(&self, node: &mut [u8], version: u64, from: usize, to: usize) {
        let children = to - from;
        assert!(children > 0, "an inner node has a child");
        assert!(self.bytes(from, to) <= node.len(), "the caller made the node large enough");
        let prefix_length = self.prefix_length(from, to);
        set_version(node, version);
        put_u16(node, AT_CHILDREN, children);
        put_u16(node, AT_UNITS, node.len() / INNER_BYTES);
        put_u16(node, AT_PREFIX_LENGTH, prefix_length);
        let mut heap = node.len() - prefix_length;
        put_u16(node, AT_PREFIX, heap);
        if prefix_length > 0 {
            let prefix = &self.separator(from + 1)[..prefix_length];
            node[heap..heap + prefix_length].copy_from_slice(prefix);
        }
        let slots_at = child_at(children, children);
        for index in 0..children {
            set_child(node, index, self.id(from + index));
            if index == 0 {
                continue;
            }
            let suffix = &self.separator(from + index)[prefix_length..];
            let head_at = HEADER_BYTES + HEAD_BYTES * (index - 1);
            node[head_at..head_at + HEAD_BYTES].copy_from_slice(&head8(suffix, 0).to_le_bytes());
            let mut slot = suffix.len();
            if slot > HEAD_BYTES {
                let tail = &suffix[HEAD_BYTES..];
                heap -= tail_bytes(suffix.len());
                put_u16(node, heap, tail.len());
                node[heap + 2..heap + 2 + tail.len()].copy_from_slice(tail);
                slot = heap;
            }
            put_u16(node, slots_at + 2 * (index - 1), slot);
        }
    }
}

fn tail_bytes(suffix_bytes: usize) -> usize {
    if suffix_bytes > HEAD_BYTES { suffix_bytes - HEAD_BYTES + 2 } else { 0 }
}

/// Units that a node of so many bytes takes.
pub(super) fn units_for(bytes: usize) -> usize {
    bytes.div_ceil(INNER_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn build(separators: &[Vec<u8>]) -> Vec<u8> {
        let mut children = Children::default();
        children.push(b"", 0);
        for (index, separator) in separators.iter().enumerate() {
            children.push(separator, 1 + u32::try_from(index).unwrap());
        }
        let mut node = vec![0; units_for(children.bytes(0, children.len())) * INNER_BYTES];
        children.write(&mut node, 7, 0, children.len());
        node
    }

    /// Guards: a key goes to the last child whose separator is not greater, whatever the lengths,
    /// trailing zeros and common prefixes are.
    #[test]
    fn a_key_goes_to_the_child_that_covers_it() {
        let mut sets: Vec<Vec<Vec<u8>>> = vec![
            (0..60u64).map(|i| (i * 1000).to_be_bytes().to_vec()).skip(1).collect(),
            (0..20usize).map(|i| vec![0; i + 1]).collect(),
            (0..20usize).map(|i| [b"common-prefix-".to_vec(), vec![0; i]].concat()).collect(),
            (1..40u8)
                .map(|i| [vec![9; 100], vec![i], vec![0xff; usize::from(i)]].concat())
                .collect(),
            vec![],
        ];
        sets.push((1..200u8).map(|i| vec![i / 16, 0, 0, 0, 0, 0, 0, i, i, i % 7]).collect());
        for separators in sets {
            let node = build(&separators);
            let inner = Inner::new(&node);
            assert_eq!(inner.version(), 7);
            let mut keys: Vec<Vec<u8>> = separators.clone();
            for separator in &separators {
                keys.push([separator.as_slice(), &[0]].concat());
                keys.push(separator[..separator.len() - 1].to_vec());
                keys.push([separator.as_slice(), &[0xff; 12]].concat());
            }
            keys.extend([vec![], vec![0xff; 30], b"common".to_vec(), b"common-prefiy".to_vec()]);
            for key in keys {
                let expected = separators.iter().filter(|s| **s <= key).count();
                assert_eq!(inner.child_for(&key), expected, "{key:?} in {separators:?}");
            }
        }
    }

    /// Guards: taking a node apart and writing it again gives the same bytes.
    #[test]
    fn taking_apart_and_writing_is_the_identity() {
        let separators: Vec<Vec<u8>> =
            (1..50u8).map(|i| [vec![3; 20], vec![i; usize::from(i % 13) + 1]].concat()).collect();
        let node = build(&separators);
        let mut children = Children::default();
        children.append(Inner::new(&node), b"");
        let mut again = vec![0; node.len()];
        children.write(&mut again, 7, 0, children.len());
        assert!(node == again);
    }
}
