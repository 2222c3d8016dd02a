//! Writing whole pages: rebuilding, splitting, merging, bulk load.

use super::edit::{Sequence, write_record};
use super::{
    AT_HEAP_START, AT_PREFIX_LENGTH, AT_ROWS, AT_RUN, HEADER_BYTES, KIND_SHARED, PAGE_BYTES, Page,
    RECORD_HEADER_BYTES, ROW_OVERHEAD, Shared, head, pad4, put_u16, put_u32,
};

/// A row whose key is in two parts: the prefix of the page it comes from, and its suffix.
#[derive(Clone, Copy)]
pub(crate) struct Entry<'a> {
    pub(crate) key: (&'a [u8], &'a [u8]),
    pub(crate) value: &'a [u8],
}

impl<'a> Entry<'a> {
    pub(crate) fn new(key: &'a [u8], value: &'a [u8]) -> Self {
        Self { key: (key, &[]), value }
    }

    pub(crate) fn key_length(&self) -> usize {
        self.key.0.len() + self.key.1.len()
    }

    fn key_bytes(&self) -> impl Iterator<Item = u8> + 'a {
        self.key.0.iter().chain(self.key.1).copied()
    }

    /// The key without its first bytes, in two parts.
    fn suffix(&self, prefix_length: usize) -> (&'a [u8], &'a [u8]) {
        let (first, second) = self.key;
        if prefix_length >= first.len() {
            (&second[prefix_length - first.len()..], &[])
        } else {
            (&first[prefix_length..], second)
        }
    }
}

/// A row of a page.
#[inline]
pub(crate) fn entry(shared: Shared<'_>, row: usize) -> Entry<'_> {
    let (suffix, value) = shared.record(row);
    Entry { key: (shared.prefix(), suffix), value }
}

/// All rows of a page.
pub(crate) fn entries(shared: Shared<'_>) -> impl Iterator<Item = Entry<'_>> {
    (0..shared.rows()).map(move |row| entry(shared, row))
}

/// Length of the longest common prefix of two keys.
pub(crate) fn shared_prefix(a: &Entry<'_>, b: &Entry<'_>) -> usize {
    a.key_bytes().zip(b.key_bytes()).take_while(|(x, y)| x == y).count()
}

/// The shortest key that is greater than `left` and not greater than `right`.
pub(crate) fn separator(left: &Entry<'_>, right: &Entry<'_>) -> Vec<u8> {
    let length = shared_prefix(left, right) + 1;
    assert!(length <= right.key_length(), "keys of neighbours are in order and different");
    right.key_bytes().take(length).collect()
}

/// Bytes of a page with these sorted rows; the prefix is what first and last have in common.
pub(crate) fn used_by(entries: &[Entry<'_>]) -> usize {
    let (Some(first), Some(last)) = (entries.first(), entries.last()) else {
        return HEADER_BYTES;
    };
    let prefix_length = shared_prefix(first, last);
    let row = |e: &Entry<'_>| ROW_OVERHEAD + e.key_length() - prefix_length + e.value.len();
    HEADER_BYTES + pad4(prefix_length) + entries.iter().map(row).sum::<usize>()
}

/// Whether sorted rows fit in one page.
pub(crate) fn fits(entries: &[Entry<'_>]) -> bool {
    used_by(entries) <= PAGE_BYTES
}

/// Writes a page with these sorted rows, which must fit. `prefix_length` is that of a prefix all keys
/// have.
pub(crate) fn rebuild(
    page: &mut Page,
    entries: &[Entry<'_>],
    prefix_length: usize,
    sequence: Sequence,
) {
    page[..HEADER_BYTES].fill(0);
    page[0] = KIND_SHARED;
    sequence.write(page);
    put_u16(page, AT_ROWS, entries.len());
    put_u16(page, AT_PREFIX_LENGTH, prefix_length);
    put_u32(page, AT_RUN, 1);
    let heads_at = HEADER_BYTES + pad4(prefix_length);
    let slots_at = heads_at + 4 * entries.len();
    let gap_at = slots_at + 2 * entries.len();
    page[HEADER_BYTES..heads_at].fill(0);
    if let Some(first) = entries.first() {
        for (to, from) in
            page[HEADER_BYTES..HEADER_BYTES + prefix_length].iter_mut().zip(first.key_bytes())
        {
            *to = from;
        }
    }
    let mut heap = PAGE_BYTES;
    for (row, entry) in entries.iter().enumerate() {
        let suffix = entry.suffix(prefix_length);
        heap -= RECORD_HEADER_BYTES + suffix.0.len() + suffix.1.len() + entry.value.len();
        write_record(page, heap, suffix, entry.value);
        let h = head(&page[heap + RECORD_HEADER_BYTES..][..suffix.0.len() + suffix.1.len()]);
        put_u32(page, heads_at + 4 * row, h);
        put_u16(page, slots_at + 2 * row, heap);
    }
    put_u16(page, AT_HEAP_START, heap);
    page[gap_at..heap].fill(0);
}

/// Writes a page with these sorted rows, of which there is at least one. Its prefix is what their keys
/// have in common.
pub(crate) fn build(page: &mut Page, entries: &[Entry<'_>], sequence: Sequence) {
    let (Some(first), Some(last)) = (entries.first(), entries.last()) else {
        unreachable!("a page is built of at least one row")
    };
    rebuild(page, entries, shared_prefix(first, last), sequence);
}

/// Whether rows cut there make two pages.
pub(crate) fn cut_fits(entries: &[Entry<'_>], cut: usize) -> bool {
    let (left, right) = entries.split_at(cut);
    fits(left) && fits(right)
}

/// Where to cut rows so that two pages get about the same bytes; `None` if they would not fit.
pub(crate) fn balanced_cut(entries: &[Entry<'_>]) -> Option<usize> {
    let (first, last) = (entries.first()?, entries.last()?);
    let prefix_length = shared_prefix(first, last);
    let bytes = |e: &Entry<'_>| ROW_OVERHEAD + e.key_length() - prefix_length + e.value.len();
    let total: usize = entries.iter().map(bytes).sum();
    let mut sum = 0;
    let mut best = (usize::MAX, 1);
    for (row, entry) in entries[..entries.len() - 1].iter().enumerate() {
        sum += bytes(entry);
        best = best.min((sum.max(total - sum), row + 1));
    }
    cut_fits(entries, best.1).then_some(best.1)
}
