//! Records one by one.

use serde::Serialize;

use super::statistics::OfTable;
use super::{KINDS, WalArgs, Window};
use crate::commands::inspect::arena::Seen;
use crate::output;

/// The records of one log that are shown.
pub(super) struct Records {
    window: Window,
    is_json: bool,
    pub(super) lines: Vec<Line>,
}

/// One record. Serialised, fields are added, never renamed.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Line {
    lsn: u64,
    end_lsn: u64,
    term: u64,
    txn: u64,
    record: String,
    wall_ms: u64,
    operations: u32,
    bytes: usize,
    kinds: Vec<(&'static str, u64)>,
    tables: Vec<OfTable>,
}

const HEADING: &str = "LSN                TERM         TXN  RECORD               BYTES  OPERATIONS";

impl Records {
    pub(super) fn new(args: &WalArgs) -> Self {
        if !args.json {
            output::line(HEADING);
        }
        Self { window: Window::of(args), is_json: args.json, lines: Vec::new() }
    }

    /// A record and what it does to which table.
    pub(super) fn record(&mut self, seen: &Seen<'_>, tables: Vec<OfTable>) {
        if !self.window.takes(seen.end.0) {
            return;
        }
        let count = |kind: &'static str| {
            let of_kind = tables.iter().filter(|table| table.kind == kind);
            (kind, of_kind.map(|table| table.count).sum::<u64>())
        };
        let kinds = KINDS.iter().map(|(_, kind)| count(kind)).filter(|(_, count)| *count > 0);
        let header = seen.record.header();
        let line = Line {
            lsn: seen.lsn.0,
            end_lsn: seen.end.0,
            term: seen.term,
            txn: header.txn_id,
            record: format!("{:?}", header.kind).to_uppercase(),
            wall_ms: header.wall_ms,
            operations: seen.record.op_count(),
            bytes: seen.bytes,
            kinds: kinds.collect(),
            tables,
        };
        if self.is_json {
            self.lines.push(line);
        } else {
            output::line(line.text());
        }
    }
}

impl Line {
    fn text(&self) -> String {
        let told = |table: &OfTable| format!("{} {} {}", table.kind, table.table, table.count);
        let operations: Vec<String> = self.tables.iter().map(told).collect();
        let lsn = format!("0:{}", self.lsn);
        let line = format!(
            "{lsn:<17} {:>5} {:>11}  {:<15} {:>10}  {}",
            self.term,
            self.txn,
            self.record,
            self.bytes,
            operations.join(", "),
        );
        line.trim_end().to_owned()
    }
}
