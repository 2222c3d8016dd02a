//! How much page memory transactions may use. Recovery is not bound by it: rows that were
//! accepted once are never refused (catalogue P13, P14).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::Error;
use crate::tree::{MemoryLimit, Tree};
use crate::write_set::WriteSet;

/// The bound of one engine, shared by its partitions.
#[derive(Clone, Debug)]
pub(crate) struct MemoryBound {
    /// Counts what all partitions took.
    pub(crate) taken: MemoryLimit,
    /// Most bytes that may be taken.
    pub(crate) maximum: Arc<AtomicU64>,
}

impl MemoryBound {
    /// Most bytes that may be taken now.
    pub(crate) fn maximum(&self) -> u64 {
        self.maximum.load(Ordering::Relaxed)
    }

    /// Lets a change in, or refuses it before anything was changed. Removing rows is always let
    /// in: it is the way out.
    ///
    /// # Errors
    /// [`Error::MemoryLimit`].
    pub(crate) fn admit(&self, tree: &mut Tree, writes: &WriteSet) -> Result<(), Error> {
        let rows = writes.rows().len();
        let grows = writes.rows().any(|(_, write)| write.value.is_some());
        let bytes = writes.bytes() as u64;
        let needed = if grows { tree.shortfall(rows as u64, bytes) } else { 0 };
        let limit = self.maximum();
        if needed > 0 && self.taken.charged_bytes().saturating_add(needed) > limit {
            return Err(Error::MemoryLimit { needed, limit });
        }
        tree.reserve(rows as u64, bytes).map_err(Error::Tree)
    }
}
