//! What `inspect wal` says of one log, to people and to programs.

use resprout_wal::History;
use resprout_wal::inspect::LogInfo;
use serde::Serialize;

use super::Seeing;
use super::frames::Line as FrameLine;
use super::records::Line;
use super::statistics::{Kind, OfFrames, OfRecord, OfTable, Statistics};
use crate::commands::inspect::arena::End;
use crate::commands::inspect::damage::Damaged;
use crate::failure::Exit;
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
    slots: usize,
    records: u64,
    operations: u64,
    kinds: Vec<Kind>,
    record_kinds: Vec<OfRecord>,
    tables: Vec<OfTable>,
    frame_counts: OfFrames,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    shown: Vec<Line>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    frames: Vec<FrameLine>,
    verdict: &'static str,
    torn_bytes: u64,
    damage: Option<String>,
    damage_at: Option<Damaged>,
    #[serde(skip)]
    exit: Exit,
    #[serde(skip)]
    statistics: Statistics,
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
    pub(super) fn new(partition: &str, log: &LogInfo) -> Self {
        Self {
            partition: partition.to_owned(),
            instance: format!("{:016x}", log.identity.instance),
            first_lsn: log.first_lsn.0,
            end_lsn: log.first_lsn.0,
            terms: Vec::new(),
            slots: log.slots.len(),
            records: 0,
            operations: 0,
            kinds: Vec::new(),
            record_kinds: Vec::new(),
            tables: Vec::new(),
            frame_counts: OfFrames::default(),
            shown: Vec::new(),
            frames: Vec::new(),
            verdict: "clean",
            torn_bytes: 0,
            damage: None,
            damage_at: None,
            exit: Exit::Done,
            statistics: Statistics::default(),
        }
    }

    /// Exit code that the log's end means.
    pub(super) fn exit(&self) -> Exit {
        self.exit
    }

    /// Whose log it is.
    pub(super) fn tell_head(&self) {
        let (name, slots) = (&self.partition, self.slots);
        output::line(format_args!("{name}  instance {}  {slots} slots", self.instance));
    }

    /// Takes over what was seen, and how the log ended.
    pub(super) fn finish(&mut self, end: &End, history: &History, seen: Seeing<'_>) {
        let terms = history.entries().iter().map(|entry| (entry.term.0, entry.start.0));
        self.terms = terms.collect();
        self.exit = end.exit();
        match end {
            End::Clean { at, .. } => self.end_lsn = at.0,
            End::Torn { at, bytes, .. } => {
                (self.end_lsn, self.torn_bytes, self.verdict) = (at.0, *bytes, "torn");
            }
            End::Damaged(damage) => {
                self.end_lsn = damage.lsn.unwrap_or(self.end_lsn);
                (self.damage, self.verdict) = (Some(damage.to_string()), "damaged");
                self.damage_at = Some((**damage).clone());
            }
        }
        let statistics = seen.statistics;
        (self.records, self.operations) = (statistics.records, statistics.operations);
        (self.kinds, self.tables) = (statistics.kinds(), statistics.tables());
        self.record_kinds = statistics.by_record();
        self.frame_counts = statistics.frames;
        self.shown = seen.records.map(|records| records.lines).unwrap_or_default();
        self.frames = seen.frames.map(|frames| frames.lines).unwrap_or_default();
        self.statistics = statistics;
    }

    /// How it ended, with counts if they are asked for.
    pub(super) fn tell_end(&self, end: &End, stats: bool) {
        if stats {
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
            self.statistics.tell();
        }
        output::line(end);
        output::line("");
    }
}
