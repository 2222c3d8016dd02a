//! Frames as they lie in the arena: good ones, the one at which reading stopped, and what is good
//! behind damage.

use resprout_wal::Stop;
use resprout_wal::frame::Flaw;
use resprout_wal::inspect::FrameInfo;
use serde::Serialize;

use super::{WalArgs, Window};
use crate::commands::inspect::arena::End;
use crate::output;

/// The frames of one log that are shown.
pub(super) struct Frames {
    window: Window,
    is_json: bool,
    pub(super) lines: Vec<Line>,
}

/// One frame. Serialised, fields are added, never renamed.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Line {
    offset: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    slot: Option<u32>,
    lsn: u64,
    /// What its header says; absent where that cannot be trusted.
    #[serde(skip_serializing_if = "Option::is_none")]
    header: Option<Head>,
    /// `ok`, `torn`, `damaged` or `behind damage`.
    verdict: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    flaw: Option<String>,
}

#[derive(Clone, Debug, Serialize)]
struct Head {
    end_lsn: u64,
    term: u64,
    payload_bytes: u32,
    payload_crc: String,
    chain: String,
    continued: bool,
    continues: bool,
    committed_lsn: u64,
    durable_lsn: u64,
}

const HEADING: &str =
    "OFFSET        SLOT  LSN                TERM   PAYLOAD  CHAIN             GROUP  CHECKSUMS";

impl Frames {
    pub(super) fn new(args: &WalArgs) -> Self {
        if !args.json {
            output::line(HEADING);
        }
        Self { window: Window::of(args), is_json: args.json, lines: Vec::new() }
    }

    /// A frame of the log.
    pub(super) fn good(&mut self, frame: &FrameInfo) {
        self.add(frame, "ok");
    }

    /// What lies where the log ends.
    pub(super) fn end(&mut self, end: &End) {
        match end {
            End::Clean { .. } => {}
            End::Torn { stop, .. } => {
                if let Some(Stop { offset, lsn, flaw }) = stop {
                    self.bad((*offset, lsn.0, flaw), "torn");
                }
            }
            End::Damaged(damage) => {
                if let (Some(offset), Some(lsn), Some(flaw)) =
                    (damage.offset, damage.lsn, &damage.flaw)
                {
                    self.bad((offset, lsn, flaw), "damaged");
                }
                let behind = damage.behind.iter().flat_map(|behind| &behind.frames);
                for frame in behind {
                    self.add(frame, "behind damage");
                }
            }
        }
    }

    fn add(&mut self, frame: &FrameInfo, verdict: &'static str) {
        let FrameInfo { header, slot, offset } = *frame;
        if !self.window.takes(header.end().0) {
            return;
        }
        let head = Head {
            end_lsn: header.end().0,
            term: header.term.0,
            payload_bytes: header.payload_len,
            payload_crc: format!("{:08x}", header.payload_crc),
            chain: format!("{:016x}", header.chain),
            continued: header.continued(),
            continues: header.continues(),
            committed_lsn: header.committed.0,
            durable_lsn: header.durable.0,
        };
        let (slot, lsn) = (Some(slot), header.lsn.0);
        self.push(Line { offset, slot, lsn, header: Some(head), verdict, flaw: None });
    }

    fn bad(&mut self, (offset, lsn, flaw): (u64, u64, &Flaw), verdict: &'static str) {
        if self.window.takes(lsn + 1) {
            let flaw = Some(flaw.to_string());
            self.push(Line { offset, slot: None, lsn, header: None, verdict, flaw });
        }
    }

    fn push(&mut self, line: Line) {
        if self.is_json {
            self.lines.push(line);
        } else {
            output::line(line.text());
        }
    }
}

impl Line {
    fn text(&self) -> String {
        let slot = self.slot.map_or_else(|| "-".to_owned(), |slot| slot.to_string());
        let (offset, lsn) = (self.offset, format!("0:{}", self.lsn));
        let flaw = self.flaw.as_deref().map(|flaw| format!(": {flaw}")).unwrap_or_default();
        let Some(head) = &self.header else {
            return format!("{offset:<12} {slot:>5}  {lsn:<17} {}{flaw}", self.verdict);
        };
        // A group over several frames: its first, those between, its last.
        let group = match (head.continued, head.continues) {
            (false, false) => "",
            (false, true) => "first",
            (true, true) => "more",
            (true, false) => "last",
        };
        format!(
            "{offset:<12} {slot:>5}  {lsn:<17} {:>5} {:>9}  {}  {group:<5}  {}{flaw}",
            head.term, head.payload_bytes, head.chain, self.verdict
        )
    }
}
