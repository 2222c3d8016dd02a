//! Running numbers: of AUTO_INCREMENT columns, and of rows without a primary key. Each number is given once, whatever
//! happens: the log promises a bound before, and after a restart counting goes on behind it (catalogue T05).

use std::sync::{MutexGuard, PoisonError};

use crate::core::{Change, Core, Sequences};
use crate::error::Error;
use crate::partition::Partition;
use crate::record::RecordKind;
use crate::table::TableId;
use crate::table::system::{Sequence, sequence_key};
use crate::write_set::WriteSet;

impl Core {
    fn next_numbers(&self) -> MutexGuard<'_, Sequences> {
        self.next_numbers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins anew to count numbers: what was promised is in the log.
    pub(crate) fn restart_numbers(&self, bounds: Sequences) {
        *self.next_numbers() = bounds;
    }

    /// A fresh number of a sequence, from 1 on.
    pub(crate) fn next_number(&self, sequence: &[u8]) -> u64 {
        let mut next = self.next_numbers();
        let slot = next.entry(sequence.to_vec()).or_insert(1);
        let value = (*slot).max(1);
        *slot = value.saturating_add(1);
        value
    }

    /// A number was given by hand: the sequence goes on behind it.
    pub(crate) fn skip_number(&self, sequence: &[u8], used: u64) {
        let mut next = self.next_numbers();
        let slot = next.entry(sequence.to_vec()).or_insert(1);
        *slot = (*slot).max(used.saturating_add(1));
    }
}

impl Partition {
    /// Takes `count` numbers of a table's AUTO_INCREMENT column in one piece, for somebody who gives them to rows of any
    /// partition; the first of them. None is below `from`, and none was or will be given to anybody else: that is durable,
    /// and on all copies that are waited for, by the time of the answer. Blocks.
    ///
    /// # Errors
    /// As a commit.
    pub fn take_numbers(&self, table: TableId, from: u64, count: u64) -> Result<u64, Error> {
        let core = self.online()?;
        let entered = core.enter()?;
        let sequence = sequence_key(table, Sequence::Column);
        let (first, last) = {
            let mut next = core.next_numbers();
            let slot = next.entry(sequence.clone()).or_insert(1);
            let first = (*slot).max(from).max(1);
            *slot = first.saturating_add(count);
            (first, slot.saturating_sub(1))
        };
        let appended = core.append(&Change {
            kind: RecordKind::Commit,
            txn: entered.txn,
            writes: &WriteSet::default(),
            tables: &[],
            numbers: &Sequences::from([(sequence, last)]),
        })?;
        drop(entered);
        core.wait_firm(appended.position)?;
        Ok(first)
    }
}
