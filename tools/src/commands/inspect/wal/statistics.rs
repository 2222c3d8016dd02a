//! Counts over a log: operations by kind and table, records by kind, frames.

use std::collections::BTreeMap;

use resprout_wal::inspect::FrameInfo;
use serde::Serialize;

use super::KINDS;
use crate::commands::inspect::arena::Seen;
use crate::commands::inspect::tables::Tables;
use crate::output;
use crate::quantity::{Bytes, grouped};

/// Operations of one kind.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Kind {
    pub(super) kind: &'static str,
    pub(super) count: u64,
    pub(super) bytes: u64,
}

/// Operations of one kind on one table or index.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct OfTable {
    pub(super) table: String,
    pub(super) kind: &'static str,
    pub(super) count: u64,
    pub(super) bytes: u64,
}

/// Records of one kind.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct OfRecord {
    record: String,
    count: u64,
    bytes: u64,
}

/// Frames.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(super) struct OfFrames {
    count: u64,
    groups: u64,
    bytes: u64,
    payload_bytes: u64,
}

/// What was counted.
#[derive(Debug, Default)]
pub(super) struct Statistics {
    pub(super) records: u64,
    pub(super) operations: u64,
    pub(super) frames: OfFrames,
    by_kind: [(u64, u64); KINDS.len()],
    by_table: BTreeMap<(String, usize), (u64, u64)>,
    by_record: BTreeMap<String, (u64, u64)>,
}

impl Statistics {
    /// Counts a frame.
    pub(super) fn frame(&mut self, frame: &FrameInfo) {
        self.frames.count += 1;
        self.frames.groups += u64::from(!frame.header.continues());
        self.frames.bytes += frame.header.padded_bytes();
        self.frames.payload_bytes += u64::from(frame.header.payload_len);
    }

    /// Counts a record; what it does to which table, or to this one.
    pub(super) fn record(
        &mut self,
        seen: &Seen<'_>,
        tables: &Tables,
        only: Option<&str>,
    ) -> Vec<OfTable> {
        let mut counts: BTreeMap<(String, usize), (u64, u64)> = BTreeMap::new();
        let wanted = |op: &_| only.is_none_or(|table| tables.is_of(op, table));
        for op in seen.record.ops().filter(wanted) {
            let kind = KINDS.iter().position(|(kind, _)| *kind == op.kind).unwrap_or(0);
            let bytes = (op.key.len() + op.value.len()) as u64;
            add(counts.entry((tables.label(op.key), kind)).or_default(), (1, bytes));
        }
        if only.is_none() || !counts.is_empty() {
            self.records += 1;
            let record = format!("{:?}", seen.record.kind()).to_uppercase();
            add(self.by_record.entry(record).or_default(), (1, seen.bytes as u64));
        }
        for ((table, kind), count) in &counts {
            self.operations += count.0;
            add(&mut self.by_kind[*kind], *count);
            add(self.by_table.entry((table.clone(), *kind)).or_default(), *count);
        }
        of_tables(&counts)
    }

    /// Operations by kind, all kinds.
    pub(super) fn kinds(&self) -> Vec<Kind> {
        let kinds = KINDS.iter().zip(self.by_kind);
        kinds.map(|((_, kind), (count, bytes))| Kind { kind, count, bytes }).collect()
    }

    /// Operations by table and kind.
    pub(super) fn tables(&self) -> Vec<OfTable> {
        of_tables(&self.by_table)
    }

    /// Records by kind.
    pub(super) fn by_record(&self) -> Vec<OfRecord> {
        let of = |(record, (count, bytes)): (&String, &(u64, u64))| OfRecord {
            record: record.clone(),
            count: *count,
            bytes: *bytes,
        };
        self.by_record.iter().map(of).collect()
    }

    /// Tables of all counts, for people.
    pub(super) fn tell(&self) {
        let OfFrames { count, groups, bytes, payload_bytes } = self.frames;
        output::line(format_args!(
            "{} frames of {} groups in {}, {} of it payload",
            grouped(count),
            grouped(groups),
            Bytes(bytes),
            Bytes(payload_bytes)
        ));
        heading("RECORD");
        let all = self.by_record.values().map(|(_, bytes)| bytes).sum();
        for OfRecord { record, count, bytes } in self.by_record() {
            row(&record, (count, self.records), (bytes, all));
        }
        heading("OPERATION");
        let all = self.by_kind.iter().map(|(_, bytes)| bytes).sum();
        for Kind { kind, count, bytes } in self.kinds().iter().filter(|kind| kind.count > 0) {
            row(kind, (*count, self.operations), (*bytes, all));
        }
        heading("TABLE");
        for OfTable { table, kind, count, bytes } in self.tables() {
            row(&format!("{table} {kind}"), (count, self.operations), (bytes, all));
        }
    }
}

fn heading(name: &str) {
    output::line(format_args!("{name:<34}{:>14}{:>5}{:>14}{:>5}", "COUNT", "%", "BYTES", "%"));
}

fn row(name: &str, (count, counts): (u64, u64), (bytes, all): (u64, u64)) {
    let share = |part: u64, all: u64| u128::from(part) * 100 / u128::from(all.max(1));
    let (of_count, of_bytes) = (share(count, counts), share(bytes, all));
    let (count, bytes) = (grouped(count), Bytes(bytes));
    output::line(format_args!("{name:<34}{count:>14}{of_count:>5}{bytes:>14}{of_bytes:>5}"));
}

fn add(to: &mut (u64, u64), (count, bytes): (u64, u64)) {
    to.0 += count;
    to.1 += bytes;
}

fn of_tables(counts: &BTreeMap<(String, usize), (u64, u64)>) -> Vec<OfTable> {
    let of = |((table, kind), (count, bytes)): (&(String, usize), &(u64, u64))| OfTable {
        table: table.clone(),
        kind: KINDS[*kind].1,
        count: *count,
        bytes: *bytes,
    };
    counts.iter().map(of).collect()
}
