//! A leaf of one large row: a run of consecutive pages.

use super::{
    AT_PREFIX_LENGTH, AT_ROWS, AT_RUN, HEADER_BYTES, KIND_JUMBO, PAGE_BYTES, put_u16, put_u32,
    u16_at, u32_at,
};

pub(super) const AT_KEY_LENGTH: usize = AT_PREFIX_LENGTH;
pub(super) const AT_VALUE_LENGTH: usize = 8;

/// Pages that a large row needs.
pub(crate) fn run_for(key_bytes: usize, value_bytes: usize) -> u32 {
    let pages = (HEADER_BYTES + key_bytes + value_bytes).div_ceil(PAGE_BYTES);
    u32::try_from(pages).expect("rows are limited to 64 MiB")
}

/// Writes a run with one row; `run` has the pages that [`run_for`] says.
pub(crate) fn write_jumbo(run: &mut [u8], key: &[u8], value: &[u8]) {
    let pages = run_for(key.len(), value.len());
    assert!(run.len() == pages as usize * PAGE_BYTES, "a run is as long as its row needs");
    run[..HEADER_BYTES].fill(0);
    run[0] = KIND_JUMBO;
    put_u16(run, AT_ROWS, 1);
    put_u16(run, AT_KEY_LENGTH, key.len());
    put_u32(run, AT_VALUE_LENGTH, u32::try_from(value.len()).expect("limited to 64 MiB"));
    put_u32(run, AT_RUN, pages);
    let value_at = HEADER_BYTES + key.len();
    let end = value_at + value.len();
    run[HEADER_BYTES..value_at].copy_from_slice(key);
    run[value_at..end].copy_from_slice(value);
    run[end..].fill(0);
}

/// A leaf of one large row, to be read.
#[derive(Clone, Copy)]
pub(crate) struct Jumbo<'a>(pub(crate) &'a [u8]);

impl<'a> Jumbo<'a> {
    /// Pages in the run, told by its first page.
    pub(crate) fn run(first_page: &[u8]) -> u32 {
        u32_at(first_page, AT_RUN)
    }

    /// The key.
    pub(crate) fn key(&self) -> &'a [u8] {
        &self.0[HEADER_BYTES..HEADER_BYTES + u16_at(self.0, AT_KEY_LENGTH)]
    }

    /// The value.
    pub(crate) fn value(&self) -> &'a [u8] {
        let value_at = HEADER_BYTES + u16_at(self.0, AT_KEY_LENGTH);
        &self.0[value_at..value_at + u32_at(self.0, AT_VALUE_LENGTH) as usize]
    }
}
