//! What `inspect wal` says of one log, to people and to programs.

use serde::Serialize;

use resprout_wal::{FoundLog, History};

use super::{End, KINDS, Seen, WalArgs};
use crate::output;
use crate::quantity::{Bytes, grouped};

/// One log. Serialised, fields are added, never renamed.
#[derive(Serialize)]
pub(super) struct Report {
    partition: String,
    instance: String,
    first_lsn: u64,
    end_lsn: u64,
    terms: Vec<(u64, u64)>,
    slots: u32,
    records: u64,
    operations: u64,
    kinds: Vec<Kind>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    shown: Vec<Line>,
    verdict: &'static str,
    torn_bytes: u64,
    damage: Option<String>,
    #[serde(skip)]
    from: u64,
    #[serde(skip)]
    limit: u64,
    #[serde(skip)]
    is_json: bool,
    #[serde(skip)]
    is_stats: bool,
}

#[derive(Clone, Debug, Default, Serialize)]
struct Kind {
    kind: &'static str,
    count: u64,
    bytes: u64,
}

#[derive(Serialize)]
struct Line {
    lsn: u64,
    end_lsn: u64,
    term: u64,
    txn: u64,
    record: String,
    wall_ms: u64,
    operations: u32,
    bytes: usize,
    kinds: Vec<(&'static str, u64)>,
}

/// All logs.
#[derive(Serialize)]
pub(super) struct All {
    schema_version: u32,
    logs: Vec<Report>,
    unreadable_slots: usize,
}

impl All {
    pub(super) fn new(logs: Vec<Report>, unreadable_slots: usize) -> Self {
        Self { schema_version: 1, logs, unreadable_slots }
    }
}

impl Report {
    pub(super) fn new(partition: &str, log: &FoundLog, args: &WalArgs) -> Self {
        let report = Self {
            partition: partition.to_owned(),
            instance: format!("{:016x}", log.identity.instance),
            first_lsn: log.first_lsn.0,
            end_lsn: log.first_lsn.0,
            terms: Vec::new(),
            slots: log.slots,
            records: 0,
            operations: 0,
            kinds: KINDS.iter().map(|(_, kind)| Kind { kind, ..Kind::default() }).collect(),
            shown: Vec::new(),
            verdict: "clean",
            torn_bytes: 0,
            damage: None,
            from: args.from.unwrap_or(0),
            limit: args.limit.unwrap_or(u64::MAX),
            is_json: args.json,
            is_stats: args.stats,
        };
        if !report.is_json {
            let (name, slots) = (&report.partition, report.slots);
            output::line(format_args!("{name}  instance {}  {slots} slots", report.instance));
            if !report.is_stats {
                output::line(HEADING);
            }
        }
        report
    }

    /// Counts a record, and shows it if it is asked for.
    pub(super) fn record(&mut self, seen: &Seen<'_>) {
        self.records += 1;
        self.end_lsn = seen.end.0;
        let mut counts = [0_u64; KINDS.len()];
        for op in seen.record.ops() {
            self.operations += 1;
            let at = KINDS.iter().position(|(kind, _)| *kind == op.kind).unwrap_or(0);
            counts[at] += 1;
            self.kinds[at].count += 1;
            self.kinds[at].bytes += (op.key.len() + op.value.len()) as u64;
        }
        if self.is_stats || seen.end.0 <= self.from || self.limit == 0 {
            return;
        }
        self.limit -= 1;
        let kinds = KINDS.iter().zip(counts).filter(|(_, count)| *count > 0);
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
            kinds: kinds.map(|((_, name), count)| (*name, count)).collect(),
        };
        if self.is_json {
            self.shown.push(line);
        } else {
            output::line(line.text());
        }
    }

    /// Says how the log ended.
    pub(super) fn finish(&mut self, end: &End, history: &History) {
        let terms = history.entries().iter().map(|entry| (entry.term.0, entry.start.0));
        self.terms = terms.collect();
        match end {
            End::Clean { at, .. } => self.end_lsn = at.0,
            End::Torn { at, bytes } => {
                (self.end_lsn, self.torn_bytes, self.verdict) = (at.0, *bytes, "torn");
            }
            End::Damaged { why } => (self.damage, self.verdict) = (Some(why.clone()), "damaged"),
        }
        if self.is_json {
            return;
        }
        if self.is_stats {
            self.tell_statistics();
        }
        output::line(sentence(end));
        output::line("");
    }

    fn tell_statistics(&self) {
        let log = self.end_lsn.saturating_sub(self.first_lsn);
        let terms: Vec<String> = self.terms.iter().map(|(term, _)| term.to_string()).collect();
        output::line(format_args!(
            "{}, {} records, {} operations, LSN 0:{} - 0:{}, terms {}",
            Bytes(log),
            grouped(self.records),
            grouped(self.operations),
            self.first_lsn,
            self.end_lsn,
            terms.join(" "),
        ));
        output::line(format_args!("{:<14}{:>14}{:>6}{:>14}", "OPERATION", "COUNT", "%", "BYTES"));
        for Kind { kind, count, bytes } in self.kinds.iter().filter(|kind| kind.count > 0) {
            let share = u128::from(*count) * 100 / u128::from(self.operations.max(1));
            let (count, bytes) = (grouped(*count), Bytes(*bytes));
            output::line(format_args!("{kind:<14}{count:>14}{share:>6}{bytes:>14}"));
        }
    }
}

const HEADING: &str =
    "LSN                TERM         TXN  RECORD            OPERATIONS                      BYTES";

impl Line {
    fn text(&self) -> String {
        let kinds: Vec<String> =
            self.kinds.iter().map(|(kind, count)| format!("{kind} {count}")).collect();
        let lsn = format!("0:{}", self.lsn);
        format!(
            "{lsn:<17} {:>5} {:>11}  {:<16}  {:<26} {:>10}",
            self.term,
            self.txn,
            self.record,
            kinds.join(", "),
            self.bytes
        )
    }
}

/// The end of a log in words: clean, torn and damaged are three different things.
pub(in crate::commands::inspect) fn sentence(end: &End) -> String {
    match end {
        End::Clean { at, closed: true } => format!("End: clean at {at}, closed in order."),
        End::Clean { at, closed: false } => {
            format!("End: clean at {at}. The node was not stopped in order; nothing is missing.")
        }
        End::Torn { at, bytes } => format!(
            "End: torn at {at}: traces of {bytes} bytes that were never acknowledged. \
             Recovery drops them. This is normal after a crash."
        ),
        End::Damaged { why } => format!("Damaged: {why}"),
    }
}
