//! What has come of a master's log and is not applied yet.

use std::collections::VecDeque;

use bytes::BytesMut;
use resprout_wal::{Frame, Group, Lsn};

use crate::error::Error;
use crate::record::{Record, RecordKind};
use crate::recovery::{Batch, Collector};
use crate::table::Catalog;

/// Log bytes that are applied together: enough for a sort by key to pay, and no long pause.
const BATCH_BYTES: u64 = 4 << 20;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Inflow {
    /// Where the group begins that is not whole yet, and its payload so far.
    partial: Option<(Lsn, BytesMut)>,
    groups: VecDeque<Group>,
    bytes: u64,
    /// Tables from a position on, which readers do not see yet.
    tables: VecDeque<(Lsn, Catalog)>,
}

/// Groups to be applied at once.
pub(super) struct Applicable {
    pub(super) ops: Batch,
    pub(super) changes_tables: bool,
}

impl Inflow {
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Takes the next frame of the log.
    pub(super) fn push(&mut self, frame: Frame) {
        let Frame { header, payload } = frame;
        let (lsn, payload) = match self.partial.take() {
            None if !header.continues() => (header.lsn, payload),
            partial => {
                let (lsn, mut bytes) = partial.unwrap_or((header.lsn, BytesMut::new()));
                bytes.extend_from_slice(&payload);
                if header.continues() {
                    self.partial = Some((lsn, bytes));
                    return;
                }
                (lsn, bytes.freeze())
            }
        };
        let (end, term, committed) = (header.end(), header.term, header.committed);
        self.bytes += end.since(lsn);
        self.groups.push_back(Group { lsn, end, term, committed, payload });
    }

    /// The groups that are applied next.
    ///
    /// # Errors
    /// [`Error::DataDamaged`] if an entry is not a record.
    pub(super) fn take(&mut self, place: &str) -> Result<Option<Applicable>, Error> {
        let mut collector = Collector::new(BATCH_BYTES, place.to_owned());
        let mut changes_tables = false;
        while let Some(group) = self.groups.pop_front() {
            self.bytes -= group.end.since(group.lsn);
            changes_tables |= changes_tables_in(&group);
            if let Some(ops) = collector.add(&group)? {
                return Ok(Some(Applicable { ops, changes_tables }));
            }
        }
        let ops = collector.take();
        Ok((!ops.is_empty()).then_some(Applicable { ops, changes_tables }))
    }

    /// Notes how the tables are from a position on.
    pub(super) fn tables_changed(&mut self, from: Lsn, tables: Catalog) {
        self.tables.push_back((from, tables));
    }

    /// The tables that readers see who see everything before `lsn`, if they are others than before.
    pub(super) fn tables_at(&mut self, lsn: Lsn) -> Option<Catalog> {
        let mut newest = None;
        while let Some((_, tables)) = self.tables.pop_front_if(|(from, _)| *from <= lsn) {
            newest = Some(tables);
        }
        newest
    }

    /// Forgets what is not applied: the log is cut.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

fn changes_tables_in(group: &Group) -> bool {
    let mut records = group.entries().filter_map(|entry| Record::decode(entry.bytes).ok());
    records.any(|record| record.kind() == RecordKind::Schema)
}
