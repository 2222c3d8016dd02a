//! Rows as key and value of the tree. The key holds the columns of the primary key (see
//! [`key`](super::key)), the value all others:
//!
//! ```text
//! 0         2              fixed_end            offsets_end
//! ├ version ┼ null bitmap ─ fixed part ┼ end offsets ┼ bytes of variable columns ┤
//!   u16 LE    1 bit per      fixed-width  u16 LE each,  text and bytes, one
//!   top bit:  nullable       columns,     u32 LE if     after the other
//!   wide      column         NULL is 0s   wide
//! ```
//!
//! An end offset counts from the first variable byte; the last one equals their number, so a
//! value knows its own length. Wide offsets are used exactly when narrow ones do not suffice. A
//! column is found by arithmetic, without looking at the others. Equal rows have equal bytes.
//!
//! A row keeps the version under which it was written. Columns that came later answer their
//! default, columns that were dropped are passed over: adding and dropping a column rewrites no
//! row.

pub(crate) mod encode;
mod layout;
mod view;
mod whole;

pub use encode::RowEncoder;
pub(crate) use layout::Layout;
pub use view::{RowDamage, RowView};
pub(crate) use whole::WholeColumn;

/// Most bytes of a row value: what the tree can hold in one run of pages, with a margin for its
/// headers.
pub const ROW_MAX: usize = (64 << 20) - (64 << 10);

/// The bit of a row's version that says that its offsets are four bytes long.
pub(crate) const WIDE: u16 = 0x8000;
