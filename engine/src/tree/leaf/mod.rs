//! The bytes of a leaf page: the same in memory and in a snapshot file.
//!
//! ```text
//!   shared page (4096 bytes, many rows)            jumbo leaf (a run of pages, one row)
//!   0   u8   kind = b'L'                           0   u8   kind = b'J'
//!   1   u8   inserts in sequence                    1   u8   0
//!   2   u16  rows                                  2   u16  1
//!   4   u16  prefix length                         4   u16  key length
//!   6   u16  heap start                            6   u16  0
//!   8   u16  dead bytes in the heap                8   u32  value length
//!   10  u16  row of the last insert
//!   12  u32  1                                     12  u32  pages in the run
//!   16  prefix, padded to 4 with zeros             16  key, value, zeros
//!       heads  u32 × rows
//!       slots  u16 × rows
//!       (free)
//!       heap, to the end: records
//!       record = suffix length u16, value length u16, suffix, value
//! ```
//!
//! All numbers are little-endian. Rows are in key order; key = prefix + suffix. A head is the first 4
//! bytes of the suffix as a big-endian number, padded with zeros: comparing heads decides nearly every
//! comparison of keys without touching the records. A slot is the offset of a record. Removed and
//! outgrown records stay in the heap as dead bytes until the page is rebuilt. The bytes of a page are
//! a function of the operations on it: the free part of a new page is zero.
//!
//! Inserts are in sequence when each comes right after the one before. A page that is split during a
//! sequence is cut there, so that rows that come in key order leave full pages behind, also in the
//! middle of a page.
//!
//! A row of more than [`MAX_SHARED_RECORD`] bytes gets a jumbo leaf. So two halves of a full page with one
//! more row always fit in two pages.
//!
//! [`check`] accepts only bytes on which every other function here is free of panics. The code does
//! not rely on it for memory safety: all access is by checked slices.

mod build;
mod check;
mod edit;
mod jumbo;

use std::cmp::Ordering;

pub(super) use self::build::{
    Entry, balanced_cut, build, cut_fits, entries, entry, fits, rebuild, separator, shared_prefix,
    used_by,
};
pub use self::check::{LeafView, PageDamage, check, run_of};
pub(super) use self::edit::{Sequence, insert, overwrite, remove, replace};
pub(super) use self::jumbo::{Jumbo, run_for, write_jumbo};
use super::bytes::{head4, is_equal, strip_prefix};
pub use super::memory::{PAGE_BYTES, Page};

/// First byte of a page of many rows.
pub(super) const KIND_SHARED: u8 = b'L';
/// First byte of a leaf of one large row.
pub(super) const KIND_JUMBO: u8 = b'J';

pub(super) const HEADER_BYTES: usize = 16;
/// Bytes of a record beside suffix and value.
pub(super) const RECORD_HEADER_BYTES: usize = 4;
/// Bytes of a row beside suffix and value: head, slot, record header.
pub(super) const ROW_OVERHEAD: usize = 4 + 2 + RECORD_HEADER_BYTES;

/// A row of more bytes, overhead included, does not share its page.
///
/// With p bytes of prefix, all rows of a page and one more take at most 4080 - p + (2000 - p) bytes. Cut
/// at the row that balances them best, the larger half has at most half of that plus half a row, plus
/// its prefix: at most 4040 of 4080 bytes.
pub const MAX_SHARED_RECORD: usize = 2000;

pub(super) const AT_SEQUENCE: usize = 1;
pub(super) const AT_ROWS: usize = 2;
pub(super) const AT_PREFIX_LENGTH: usize = 4;
pub(super) const AT_HEAP_START: usize = 6;
pub(super) const AT_DEAD: usize = 8;
pub(super) const AT_LAST_INSERT: usize = 10;
pub(super) const AT_RUN: usize = 12;

/// Whether a row lies on a page with others.
pub(super) fn is_shared(key_bytes: usize, value_bytes: usize) -> bool {
    key_bytes + value_bytes + ROW_OVERHEAD <= MAX_SHARED_RECORD
}

#[inline]
pub(super) fn u16_at(bytes: &[u8], at: usize) -> usize {
    usize::from(u16::from_le_bytes([bytes[at], bytes[at + 1]]))
}

#[inline]
pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

#[inline]
pub(super) fn put_u16(bytes: &mut [u8], at: usize, value: usize) {
    let value = u16::try_from(value).expect("offsets and counts inside a page fit in 16 bits");
    bytes[at..at + 2].copy_from_slice(&value.to_le_bytes());
}

#[inline]
pub(super) fn put_u32(bytes: &mut [u8], at: usize, value: u32) {
    bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
}

#[inline]
pub(super) fn pad4(bytes: usize) -> usize {
    (bytes + 3) & !3
}

/// The first 4 bytes as a number that compares like the bytes, but for trailing zeros.
#[inline]
pub(super) fn head(suffix: &[u8]) -> u32 {
    head4(suffix, 0)
}

/// Where a key is in a page, or would be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// It is this row.
    Row(usize),
    /// It would become this row.
    Before(usize),
    /// It lacks the prefix of the page, and lies before or after all rows.
    Outside(Ordering),
}

/// A page of many rows, to be read.
#[derive(Clone, Copy)]
pub(super) struct Shared<'a> {
    page: &'a Page,
    rows: usize,
    prefix_length: usize,
}

impl<'a> Shared<'a> {
    #[inline]
    pub(super) fn new(page: &'a Page) -> Self {
        debug_assert_eq!(page[0], KIND_SHARED, "the kind was looked at before");
        let rows = u16_at(page, AT_ROWS);
        Self { page, rows, prefix_length: u16_at(page, AT_PREFIX_LENGTH) }
    }

    pub(super) fn page(&self) -> &'a Page {
        self.page
    }

    #[inline]
    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    #[inline]
    pub(super) fn prefix(&self) -> &'a [u8] {
        &self.page[HEADER_BYTES..HEADER_BYTES + self.prefix_length]
    }

    #[inline]
    fn heads_at(&self) -> usize {
        HEADER_BYTES + pad4(self.prefix_length)
    }

    #[inline]
    fn heads(&self) -> &'a [[u8; 4]] {
        let from = self.heads_at();
        self.page[from..from + 4 * self.rows].as_chunks().0
    }

    #[inline]
    pub(super) fn slots_at(&self) -> usize {
        self.heads_at() + 4 * self.rows
    }

    #[inline]
    pub(super) fn slot(&self, row: usize) -> usize {
        debug_assert!(row < self.rows, "row {row} of {}", self.rows);
        u16_at(self.page, self.slots_at() + 2 * row)
    }

    /// Suffix and value of a row.
    #[inline]
    pub(super) fn record(&self, row: usize) -> (&'a [u8], &'a [u8]) {
        let at = self.slot(row);
        let suffix_length = u16_at(self.page, at);
        let value_length = u16_at(self.page, at + 2);
        let suffix_at = at + RECORD_HEADER_BYTES;
        let both = &self.page[suffix_at..suffix_at + suffix_length + value_length];
        both.split_at(suffix_length)
    }

    #[inline]
    pub(super) fn suffix(&self, row: usize) -> &'a [u8] {
        self.record(row).0
    }

    /// Bytes between the slots and the heap.
    pub(super) fn gap(&self) -> usize {
        u16_at(self.page, AT_HEAP_START) - (self.slots_at() + 2 * self.rows)
    }

    /// Bytes that a rebuilt page would need at most.
    pub(super) fn live_bytes(&self) -> usize {
        PAGE_BYTES - self.gap() - u16_at(self.page, AT_DEAD)
    }

    /// Finds a key.
    #[inline]
    pub(super) fn search(&self, key: &[u8]) -> Place {
        let Some(rest) = strip_prefix(key, self.prefix()) else {
            return Place::Outside(key.cmp(self.prefix()));
        };
        let wanted = head4(key, self.prefix_length);
        let heads = self.heads();
        let from = count_less(heads, wanted);
        let is_tie = |row: usize| heads.get(row).is_some_and(|&h| u32::from_le_bytes(h) == wanted);
        if !is_tie(from) {
            return Place::Before(from);
        }
        if !is_tie(from + 1) {
            let suffix = self.suffix(from);
            if is_equal(suffix, rest) {
                return Place::Row(from);
            }
            return match suffix.cmp(rest) {
                Ordering::Less => Place::Before(from + 1),
                Ordering::Equal => Place::Row(from),
                Ordering::Greater => Place::Before(from),
            };
        }
        self.search_ties(from, wanted, rest)
    }

    /// The page from the record on that a key has if it is here and its head is no other's: found without
    /// a look at any record.
    #[inline]
    pub(super) fn record_from(&self, key: &[u8]) -> Option<&'a [u8]> {
        strip_prefix(key, self.prefix())?;
        let row = count_less(self.heads(), head4(key, self.prefix_length));
        (row < self.rows).then(|| &self.page[self.slot(row)..])
    }

    /// Finds a suffix among rows whose heads are equal, by halving.
    #[cold]
    fn search_ties(&self, from: usize, wanted: u32, rest: &[u8]) -> Place {
        let mut low = from;
        let mut high = from
            + self.heads()[from..].iter().take_while(|h| u32::from_le_bytes(**h) == wanted).count();
        while low < high {
            let middle = usize::midpoint(low, high);
            match self.suffix(middle).cmp(rest) {
                Ordering::Less => low = middle + 1,
                Ordering::Equal => return Place::Row(middle),
                Ordering::Greater => high = middle,
            }
        }
        Place::Before(low)
    }

    /// The first row whose key is not less, or the number of rows.
    pub(super) fn lower_bound(&self, key: &[u8]) -> usize {
        match self.search(key) {
            Place::Row(row) | Place::Before(row) => row,
            Place::Outside(Ordering::Less) => 0,
            Place::Outside(_) => self.rows,
        }
    }
}

/// How many of the sorted heads are less. Halving to a few cache lines, then without branches.
#[inline]
fn count_less(heads: &[[u8; 4]], wanted: u32) -> usize {
    let mut heads = heads;
    let mut before = 0;
    while heads.len() > 64 {
        let (left, right) = heads.split_at(heads.len() / 2);
        if u32::from_le_bytes(right[0]) < wanted {
            before += left.len();
            heads = right;
        } else {
            heads = left;
        }
    }
    let less: u32 = heads.iter().map(|&h| u32::from(u32::from_le_bytes(h) < wanted)).sum();
    before + less as usize
}

#[cfg(test)]
mod tests;
