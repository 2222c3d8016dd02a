//! The rows of one partition: a copy-on-write B+tree in page memory.
//!
//! ```text
//!   Root 7 (committed)        Root 8 (latest)        keys: bytes, compared as bytes
//!      └───────┐        ┌────────┘                   values: bytes
//!            inner    inner'                         leaves: 4096-byte pages, on disk the same
//!           /  |   ╲ ╱   |                           inner nodes: in memory only
//!        leaf leaf leaf leaf'
//! ```
//!
//! One writer ([`Tree`]), any number of readers ([`View`]). [`Tree::freeze`] makes the contents so far
//! a [`Root`] that never changes again; [`Versions::publish`] makes a root the one that readers get.
//! A root stays readable while it is the latest, the committed, held ([`Hold`]) or looked at; then the
//! pages that only it reached are used again.
//!
//! Callers may rely on:
//! * nothing that a view or hold reaches is ever changed, moved or freed;
//! * an operation on one row that fails has changed nothing ([`Tree::reserve`] extends this to many);
//! * row and page counts of every root are exact;
//! * the bytes of pages depend on the operations only, never on time, threads or addresses.
//!
//! Files: `bytes` compares, `memory` has the address ranges, `space` the free units, `nodes` decides what may be changed
//! in place and when it is reused, `leaf` and `inner` are the bytes, `reader` and `cursor` go down and
//! along, `multi_get` goes down for several keys at once, `versions` knows who still reads. The writer is in `writer` (one row), `merge` (many rows in
//! key order), `restructure` (splits and merges), `cut` (ranges), `build` (bulk load and pages from a snapshot), `rewind` and `audit`.

mod audit;
mod build;
mod bytes;
mod cursor;
mod cut;
mod inner;
pub mod leaf;
mod memory;
mod merge;
mod multi_get;
mod nodes;
mod reader;
mod restructure;
mod rewind;
mod space;
mod versions;
mod writer;

use std::io;

pub use self::audit::Audit;
pub use self::build::LoadedLeaf;
pub use self::cursor::{LeafPage, LeafRows, Leaves, OwnedScan, Scan};
pub(crate) use self::memory::prefetch;
pub use self::memory::{MemoryLimit, PAGE_BYTES, PageMemory};
pub use self::multi_get::get_many;
pub use self::versions::{Hold, Root, Versions, View};
pub use self::writer::{Put, Tree};

/// Longest key in bytes.
pub const MAX_KEY_BYTES: usize = 3072;

/// Longest value in bytes: 64 MiB less the rest of its first page.
pub const MAX_VALUE_BYTES: usize = (64 << 20) - PAGE_BYTES;

/// What can go wrong in a tree.
#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    /// The memory limit is reached. Nothing changed; rows can be removed, or the limit raised.
    #[error(
        "memory limit: {needed_bytes} bytes more needed, {charged_bytes} of {limit_bytes} taken"
    )]
    OutOfMemory {
        /// Bytes asked for.
        needed_bytes: u64,
        /// Bytes in use by all that share the limit.
        charged_bytes: u64,
        /// The limit.
        limit_bytes: u64,
    },
    /// The system refused memory below our own limit.
    #[error("the system refused {bytes} bytes of memory: {source}")]
    Map {
        /// Bytes asked for.
        bytes: u64,
        /// Its reason.
        source: io::Error,
    },
    /// A key is too long.
    #[error("key of {found} bytes, at most {MAX_KEY_BYTES} are possible")]
    KeyTooLong {
        /// Its length in bytes.
        found: usize,
    },
    /// A value is too long.
    #[error("value of {found} bytes, at most {MAX_VALUE_BYTES} are possible")]
    ValueTooLong {
        /// Its length in bytes.
        found: usize,
    },
    /// Rows that should come in key order do not.
    #[error("row {row} of a sorted batch is not after the row before it")]
    NotSorted {
        /// Which row of the batch, from 0.
        row: u64,
    },
    /// Bulk load and adoption need an empty tree.
    #[error("the tree has {rows} rows already, and must be empty for this")]
    NotEmpty {
        /// Its rows.
        rows: u64,
    },
    /// The leaves to adopt do not make a tree.
    #[error("leaf {leaf} at page {page} cannot be adopted: {reason}")]
    Adoption {
        /// Which leaf, from 0.
        leaf: u64,
        /// Its first page.
        page: u32,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The root to rewind to is not an earlier state of what the tree holds now: the tree was rewound
    /// to before it since.
    #[error("version {version} is not an ancestor of the latest: the tree was rewound past it")]
    NotAncestor {
        /// The version asked for.
        version: u64,
    },
}
