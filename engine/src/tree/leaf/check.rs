//! Checking the bytes of a leaf that came from outside.

use super::{
    AT_DEAD, AT_HEAP_START, AT_LAST_INSERT, AT_PREFIX_LENGTH, AT_ROWS, AT_RUN, HEADER_BYTES, Jumbo,
    KIND_JUMBO, KIND_SHARED, PAGE_BYTES, Page, RECORD_HEADER_BYTES, Shared, head, jumbo, pad4,
    run_for, u16_at, u32_at,
};
use crate::tree::{MAX_KEY_BYTES, MAX_VALUE_BYTES};

/// What is wrong with the bytes of a leaf.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PageDamage {
    /// Not a whole number of pages, or not as many as the header says.
    #[error("leaf of {found} bytes, its header says {expected}")]
    Length {
        /// Bytes by the header; at least one page.
        expected: u64,
        /// Bytes given.
        found: u64,
    },
    /// The first byte names no kind of leaf.
    #[error("unknown kind of leaf {found:#04x}")]
    Kind {
        /// The byte.
        found: u8,
    },
    /// A header field contradicts the others.
    #[error("header field at byte {at} has the impossible value {found}")]
    Header {
        /// Offset of the field in the page.
        at: usize,
        /// Its value.
        found: u64,
    },
    /// A record is not inside the heap, overlaps another, or its key is too long.
    #[error("row {row} has a record at byte {at} that cannot be")]
    Record {
        /// Which row.
        row: usize,
        /// Its slot.
        at: usize,
    },
    /// A head is not that of its key.
    #[error("row {row} has a head that is not that of its key")]
    Head {
        /// Which row.
        row: usize,
    },
    /// Keys are not in order.
    #[error("row {row} has a key that is not greater than the one before")]
    Order {
        /// Which row.
        row: usize,
    },
    /// Bytes that must be zero are not.
    #[error("byte {at} must be zero and is not")]
    NotZero {
        /// Its offset.
        at: usize,
    },
}

/// A leaf that was checked.
#[derive(Clone, Copy)]
pub struct LeafView<'a>(Kind<'a>);

#[derive(Clone, Copy)]
enum Kind<'a> {
    Shared(Shared<'a>),
    Jumbo(Jumbo<'a>),
}

impl<'a> LeafView<'a> {
    /// Number of rows.
    #[must_use]
    pub fn rows(&self) -> usize {
        match self.0 {
            Kind::Shared(shared) => shared.rows(),
            Kind::Jumbo(_) => 1,
        }
    }

    /// Key, in two parts, and value of a row.
    ///
    /// # Panics
    /// When there is no such row.
    #[must_use]
    pub fn row(&self, row: usize) -> ((&'a [u8], &'a [u8]), &'a [u8]) {
        assert!(row < self.rows(), "row {row} of {}", self.rows());
        match self.0 {
            Kind::Shared(shared) => {
                let (suffix, value) = shared.record(row);
                ((shared.prefix(), suffix), value)
            }
            Kind::Jumbo(jumbo) => ((jumbo.key(), &[]), jumbo.value()),
        }
    }
}

/// How many pages a leaf has, by the header in its first page: nothing of it is checked.
#[must_use]
pub fn run_of(page: &Page) -> u32 {
    u32_at(page, AT_RUN)
}

/// Checks the bytes of a leaf: everything that reading or changing it relies on.
///
/// # Errors
/// The first thing found wrong.
pub fn check(bytes: &[u8]) -> Result<LeafView<'_>, PageDamage> {
    let Some(page) = bytes.first_chunk::<PAGE_BYTES>() else {
        let expected = PAGE_BYTES as u64;
        return Err(PageDamage::Length { expected, found: bytes.len() as u64 });
    };
    let expected = u64::from(u32_at(page, AT_RUN)) * PAGE_BYTES as u64;
    if bytes.len() as u64 != expected {
        return Err(PageDamage::Length { expected, found: bytes.len() as u64 });
    }
    match page[0] {
        KIND_SHARED if bytes.len() == PAGE_BYTES => {
            check_shared(page).map(|shared| LeafView(Kind::Shared(shared)))
        }
        KIND_SHARED => {
            Err(PageDamage::Header { at: AT_RUN, found: u64::from(u32_at(page, AT_RUN)) })
        }
        KIND_JUMBO => check_jumbo(bytes).map(|jumbo| LeafView(Kind::Jumbo(jumbo))),
        found => Err(PageDamage::Kind { found }),
    }
}

fn header(bytes: &[u8], at: usize) -> PageDamage {
    PageDamage::Header { at, found: u16_at(bytes, at) as u64 }
}

fn all_zero(bytes: &[u8], from: usize, to: usize) -> Result<(), PageDamage> {
    match bytes[from..to].iter().position(|&byte| byte != 0) {
        Some(at) => Err(PageDamage::NotZero { at: from + at }),
        None => Ok(()),
    }
}

fn check_jumbo(bytes: &[u8]) -> Result<Jumbo<'_>, PageDamage> {
    all_zero(bytes, 1, 2)?;
    all_zero(bytes, 6, 8)?;
    if u16_at(bytes, AT_ROWS) != 1 {
        return Err(header(bytes, AT_ROWS));
    }
    let key_length = u16_at(bytes, jumbo::AT_KEY_LENGTH);
    if key_length > MAX_KEY_BYTES {
        return Err(header(bytes, jumbo::AT_KEY_LENGTH));
    }
    let value_length = u32_at(bytes, jumbo::AT_VALUE_LENGTH) as usize;
    let pages = bytes.len() / PAGE_BYTES;
    if value_length > MAX_VALUE_BYTES || run_for(key_length, value_length) as usize != pages {
        let found = value_length as u64;
        return Err(PageDamage::Header { at: jumbo::AT_VALUE_LENGTH, found });
    }
    all_zero(bytes, HEADER_BYTES + key_length + value_length, bytes.len())?;
    Ok(Jumbo(bytes))
}

fn check_shared(page: &Page) -> Result<Shared<'_>, PageDamage> {
    let rows = u16_at(page, AT_ROWS);
    let prefix_length = u16_at(page, AT_PREFIX_LENGTH);
    let heap_start = u16_at(page, AT_HEAP_START);
    if prefix_length > MAX_KEY_BYTES {
        return Err(header(page, AT_PREFIX_LENGTH));
    }
    if u16_at(page, AT_LAST_INSERT) >= PAGE_BYTES {
        return Err(header(page, AT_LAST_INSERT));
    }
    let heads_at = HEADER_BYTES + pad4(prefix_length);
    if rows == 0 || heads_at + 6 * rows > PAGE_BYTES {
        return Err(header(page, AT_ROWS));
    }
    if heap_start > PAGE_BYTES || heads_at + 6 * rows > heap_start {
        return Err(header(page, AT_HEAP_START));
    }
    all_zero(page, HEADER_BYTES + prefix_length, heads_at)?;
    check_records(page, heap_start)?;
    let shared = Shared::new(page);
    for row in 0..rows {
        let suffix = shared.suffix(row);
        if u32_at(page, heads_at + 4 * row) != head(suffix) {
            return Err(PageDamage::Head { row });
        }
        if row > 0 && shared.suffix(row - 1) >= suffix {
            return Err(PageDamage::Order { row });
        }
    }
    Ok(shared)
}

/// Marks the bytes `from..to`, of which there is one at least; false if one was marked before.
fn take(taken: &mut [u64; PAGE_BYTES / 64], from: usize, to: usize) -> bool {
    let (first, last) = (from / 64, (to - 1) / 64);
    let mut free = true;
    for (word, bits) in taken.iter_mut().enumerate().take(last + 1).skip(first) {
        let low = if word == first { u64::MAX << (from % 64) } else { u64::MAX };
        let high = if word == last { u64::MAX >> (63 - (to - 1) % 64) } else { u64::MAX };
        free &= *bits & low & high == 0;
        *bits |= low & high;
    }
    free
}

/// Every record lies inside the heap, none overlaps another, and with the dead bytes they fill it:
/// otherwise an in-place change of one row could change another.
fn check_records(page: &Page, heap_start: usize) -> Result<(), PageDamage> {
    let shared = Shared::new(page);
    let mut taken = [0u64; PAGE_BYTES / 64];
    let mut live = 0;
    for row in 0..shared.rows() {
        let at = shared.slot(row);
        let damage = PageDamage::Record { row, at };
        if at < heap_start || at + RECORD_HEADER_BYTES > PAGE_BYTES {
            return Err(damage);
        }
        let suffix_length = u16_at(page, at);
        let bytes = RECORD_HEADER_BYTES + suffix_length + u16_at(page, at + 2);
        let too_long = shared.prefix().len() + suffix_length > MAX_KEY_BYTES;
        if too_long || at + bytes > PAGE_BYTES {
            return Err(damage);
        }
        live += bytes;
        if !take(&mut taken, at, at + bytes) {
            return Err(damage);
        }
    }
    if live + u16_at(page, AT_DEAD) != PAGE_BYTES - heap_start {
        return Err(header(page, AT_DEAD));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Promise: bytes are marked as one by one, and what overlaps is found.
    #[test]
    fn records_that_overlap_are_found() {
        let mut taken = [0; PAGE_BYTES / 64];
        for (from, to) in [(0, 1), (1, 64), (64, 128), (130, 131), (131, 700), (4000, 4096)] {
            assert!(take(&mut taken, from, to), "{from}..{to}");
        }
        for (from, to) in
            [(0, 1), (63, 64), (100, 129), (128, 131), (699, 701), (700, 4001), (4095, 4096)]
        {
            assert!(!take(&mut taken.clone(), from, to), "{from}..{to}");
        }
        assert!(take(&mut taken, 128, 130) && take(&mut taken, 700, 4000));
        assert_eq!(taken, [u64::MAX; PAGE_BYTES / 64]);
    }
}
