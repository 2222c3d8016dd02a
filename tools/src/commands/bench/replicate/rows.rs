//! The rows of the figures in bulk: which are there, in which version.
//!
//! ```text
//!  keys  0 ──── adjacent ────┬──────────── one page in a hundred ───────────── rows
//!        the first hundredth │      ▒                  ▒                  ▒
//! ```

use resprout_engine::table::Value;
use resprout_engine::{Error, Partition};

use crate::bench::dataset::Dataset;
use crate::bench::testbed::{TABLE, id, insert_all};

/// Bytes of a page of the tree.
const PAGE_BYTES: u64 = 4096;
/// About what a page spends for a row beside its payload.
const ROW_OVERHEAD: u64 = 16;
/// Rows of a transaction.
const BATCH: usize = 1000;
/// One page in so many differs.
const ONE_IN: u64 = 100;

/// Rows that are changed together: about a hundredth of all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Changed {
    /// Behind each other.
    Adjacent,
    /// About a page of them, one page in a hundred.
    Scattered,
}

/// All rows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rows {
    pub(super) data: Dataset,
    per_page: u64,
    adjacent: u32,
    scattered: u32,
}

impl Rows {
    /// As many as have so many bytes, keys included.
    pub(super) fn of(bytes: u64, row_bytes: usize) -> Self {
        let rows = (bytes / (row_bytes as u64 + 8)).max(2 * ONE_IN);
        let per_page = (PAGE_BYTES / (row_bytes as u64 + ROW_OVERHEAD)).max(1);
        let data = Dataset::new(rows, row_bytes, 1, 0.0);
        Self { data, per_page, adjacent: 0, scattered: 0 }
    }

    /// Bytes of keys and payloads.
    pub(super) fn bytes(&self) -> u64 {
        self.data.rows * (self.data.row_bytes as u64 + 8)
    }

    fn changed(&self, key: u64) -> Option<Changed> {
        if key < self.data.rows / ONE_IN {
            Some(Changed::Adjacent)
        } else {
            (key / self.per_page % ONE_IN == ONE_IN / 2).then_some(Changed::Scattered)
        }
    }

    /// The version in which a row is.
    pub(super) fn version(&self, key: u64) -> u32 {
        match self.changed(key) {
            Some(Changed::Adjacent) => self.adjacent,
            Some(Changed::Scattered) => self.scattered,
            None => 0,
        }
    }

    /// Writes all of them.
    pub(super) fn fill(&self, partition: &Partition) -> Result<u64, Error> {
        insert_all(partition, &self.data, (0..self.data.rows).map(Ok), (0, BATCH))
    }

    /// Changes each of these rows once.
    pub(super) fn change(&mut self, partition: &Partition, which: Changed) -> Result<(), Error> {
        let version = match which {
            Changed::Adjacent => &mut self.adjacent,
            Changed::Scattered => &mut self.scattered,
        };
        *version += 1;
        let version = *version;
        let table = partition.table(TABLE)?;
        let payload = table.live()[1];
        let keys = (0..self.data.rows).filter(|key| self.changed(*key) == Some(which));
        let mut txn = partition.begin()?;
        for (count, key) in keys.enumerate() {
            let value = Value::Bytes(self.data.payload(key, version));
            txn.update(&table, &[id(key)], &[(payload, value)])?;
            if count % BATCH == BATCH - 1 {
                std::mem::replace(&mut txn, partition.begin()?).commit()?;
            }
        }
        txn.commit().map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Promise: each set is about a hundredth of the rows, and no row is in both.
    #[test]
    fn a_hundredth_of_the_rows_is_changed() {
        let rows = Rows::of(100 << 20, 100);
        for which in [Changed::Adjacent, Changed::Scattered] {
            let count = (0..rows.data.rows).filter(|key| rows.changed(*key) == Some(which)).count();
            let share = count as f64 / rows.data.rows as f64;
            assert!((0.009..0.011).contains(&share), "{which:?}: {share}");
        }
    }
}
