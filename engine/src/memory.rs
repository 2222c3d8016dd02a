//! How much page memory transactions may use. Recovery is not bound by it: rows that were
//! accepted once are never refused (catalogue P13, P14).

use crate::error::Error;
use crate::tree::{MemoryLimit, Tree};
use crate::write_set::WriteSet;

/// Upper bound of the page memory that one changed key costs beside its bytes: its share of the
/// copied leaf and of the nodes above. Sorted keys share leaves, so this is generous.
const BYTES_PER_KEY: u64 = 512;
/// Pages that any change may cost: a path from the root with a split on each level.
const BYTES_PER_CHANGE: u64 = 64 << 10;

/// The bound of one engine, shared by its partitions.
#[derive(Clone, Debug)]
pub(crate) struct MemoryBound {
    /// Counts what all partitions took.
    pub(crate) taken: MemoryLimit,
    /// Most bytes that may be taken.
    pub(crate) maximum: u64,
}

impl MemoryBound {
    /// Lets a change in, or refuses it before anything was changed. Removing rows is always let
    /// in: it is the way out.
    ///
    /// # Errors
    /// [`Error::MemoryLimit`].
    pub(crate) fn admit(&self, tree: &mut Tree, writes: &WriteSet) -> Result<(), Error> {
        let rows = writes.rows().len();
        let grows = writes.rows().any(|(_, write)| write.value.is_some());
        let bytes = writes.bytes() as u64 + rows as u64 * BYTES_PER_KEY + BYTES_PER_CHANGE;
        let free = tree.memory().free_bytes();
        let needed = bytes.saturating_sub(free);
        if grows && needed > 0 && self.taken.charged_bytes().saturating_add(needed) > self.maximum {
            return Err(Error::MemoryLimit { needed, limit: self.maximum });
        }
        tree.reserve(rows as u64, writes.bytes() as u64).map_err(Error::Tree)
    }
}
