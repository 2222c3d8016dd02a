//! The file that holds all logs of one device, and where in it things lie.
//!
//! ```text
//!  0        superblock, first copy      ┐ one sector each
//!  4 KiB    superblock, second copy     ┘
//!  64 KiB   slot 0 │ slot 1 │ slot 2 │ …      all of one size
//! ```
//!
//! One file, so that one flush covers all logs; written with zeros before use, so that no write
//! on the hot path changes the file's length or its extents.

pub use geometry::{ARENA_FILE, Geometry, Superblock, SuperblockFlaw};
pub(crate) use slot::HEAD_BYTES;
pub use slot::{HeadFlaw, Link, Mark, MarkKind, SlotHeader};

mod geometry;
mod slot;
