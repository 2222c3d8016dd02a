//! Changing a page of many rows where it is. Each function changes nothing and says so when the
//! change does not fit; the page then has to be rebuilt.

use super::super::bytes;
use super::{
    AT_DEAD, AT_HEAP_START, AT_LAST_INSERT, AT_ROWS, AT_SEQUENCE, Page, RECORD_HEADER_BYTES,
    Shared, head, put_u16, u16_at,
};

/// How the last inserts into a page followed each other.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sequence {
    /// How many came right after the one before (at most 255).
    pub(crate) length: u8,
    /// Where the last one went.
    pub(crate) last: usize,
}

impl Sequence {
    pub(crate) fn of(page: &Page) -> Self {
        Self { length: page[AT_SEQUENCE], last: u16_at(page, AT_LAST_INSERT) }
    }

    /// The sequence after an insert at `row`.
    pub(crate) fn then(self, row: usize) -> Self {
        let follows = self.length > 0 && row == self.last + 1;
        Self { length: if follows { self.length.saturating_add(1) } else { 1 }, last: row }
    }

    pub(super) fn write(self, page: &mut Page) {
        page[AT_SEQUENCE] = self.length;
        put_u16(page, AT_LAST_INSERT, self.last);
    }
}

/// Writes a value of the same length over that of a row.
#[inline]
pub(crate) fn overwrite(page: &mut Page, row: usize, value: &[u8]) -> bool {
    let at = Shared::new(page).slot(row);
    if u16_at(page, at + 2) != value.len() {
        return false;
    }
    let value_at = at + RECORD_HEADER_BYTES + u16_at(page, at);
    page[value_at..value_at + value.len()].copy_from_slice(value);
    true
}

/// Gives a row a value of another length.
pub(crate) fn replace(page: &mut Page, row: usize, value: &[u8]) -> bool {
    let shared = Shared::new(page);
    let at = shared.slot(row);
    let (suffix, old) = shared.record(row);
    let (suffix_length, old_length) = (suffix.len(), old.len());
    let suffix_at = at + RECORD_HEADER_BYTES;
    let mut dead = u16_at(page, AT_DEAD);
    if value.len() <= old_length {
        put_u16(page, at + 2, value.len());
        let value_at = suffix_at + suffix_length;
        page[value_at..value_at + value.len()].copy_from_slice(value);
        dead += old_length - value.len();
    } else {
        let bytes = RECORD_HEADER_BYTES + suffix_length + value.len();
        if shared.gap() < bytes {
            return false;
        }
        let slot_at = shared.slots_at() + 2 * row;
        let new_at = u16_at(page, AT_HEAP_START) - bytes;
        page.copy_within(at..suffix_at + suffix_length, new_at);
        put_u16(page, new_at + 2, value.len());
        let value_at = new_at + RECORD_HEADER_BYTES + suffix_length;
        page[value_at..value_at + value.len()].copy_from_slice(value);
        put_u16(page, slot_at, new_at);
        put_u16(page, AT_HEAP_START, new_at);
        dead += RECORD_HEADER_BYTES + suffix_length + old_length;
    }
    put_u16(page, AT_DEAD, dead);
    true
}

/// Puts a new row at `row`. `suffix` is the key without the prefix of the page.
#[inline]
pub(crate) fn insert(page: &mut Page, row: usize, suffix: &[u8], value: &[u8]) -> bool {
    let shared = Shared::new(page);
    let rows = shared.rows();
    assert!(row <= rows, "a row is put among {rows} rows, not at {row}");
    let bytes = RECORD_HEADER_BYTES + suffix.len() + value.len();
    if shared.gap() < bytes + 6 {
        return false;
    }
    let (heads_at, slots_at) = (shared.heads_at(), shared.slots_at());
    // The slots after the new one move by a head and a slot, those before by a head.
    let slot_at = slots_at + 2 * row;
    page.copy_within(slot_at..slots_at + 2 * rows, slot_at + 6);
    page.copy_within(slots_at..slot_at, slots_at + 4);
    let head_at = heads_at + 4 * row;
    page.copy_within(head_at..slots_at, head_at + 4);
    page[head_at..head_at + 4].copy_from_slice(&head(suffix).to_le_bytes());
    let record_at = u16_at(page, AT_HEAP_START) - bytes;
    put_u16(page, slot_at + 4, record_at);
    put_u16(page, AT_ROWS, rows + 1);
    put_u16(page, AT_HEAP_START, record_at);
    write_record(page, record_at, (suffix, &[]), value);
    Sequence::of(page).then(row).write(page);
    true
}

/// Writes a record whose suffix is in two parts.
#[inline]
pub(super) fn write_record(page: &mut Page, at: usize, suffix: (&[u8], &[u8]), value: &[u8]) {
    let suffix_length = suffix.0.len() + suffix.1.len();
    put_u16(page, at, suffix_length);
    put_u16(page, at + 2, value.len());
    let at = at + RECORD_HEADER_BYTES;
    let middle = at + suffix.0.len();
    bytes::copy(&mut page[at..middle], suffix.0);
    bytes::copy(&mut page[middle..at + suffix_length], suffix.1);
    let value_at = at + suffix_length;
    page[value_at..value_at + value.len()].copy_from_slice(value);
}

/// Takes rows `from..to` out.
pub(crate) fn remove(page: &mut Page, from: usize, to: usize) {
    let shared = Shared::new(page);
    let rows = shared.rows();
    assert!(from <= to && to <= rows, "rows {from}..{to} of {rows} are removed");
    let mut heap_start = u16_at(page, AT_HEAP_START);
    let mut dead = u16_at(page, AT_DEAD);
    for row in from..to {
        let (suffix, value) = shared.record(row);
        let bytes = RECORD_HEADER_BYTES + suffix.len() + value.len();
        // The record at the start of the heap gives its bytes back to the gap.
        if shared.slot(row) == heap_start {
            heap_start += bytes;
        } else {
            dead += bytes;
        }
    }
    let (heads_at, slots_at) = (shared.heads_at(), shared.slots_at());
    let gone = to - from;
    page.copy_within(heads_at + 4 * to..slots_at, heads_at + 4 * from);
    let new_slots_at = slots_at - 4 * gone;
    page.copy_within(slots_at..slots_at + 2 * from, new_slots_at);
    page.copy_within(slots_at + 2 * to..slots_at + 2 * rows, new_slots_at + 2 * from);
    put_u16(page, AT_ROWS, rows - gone);
    put_u16(page, AT_HEAP_START, heap_start);
    put_u16(page, AT_DEAD, dead);
    Sequence::default().write(page);
}
