//! Turns what the node says about itself, once a second, into log lines for people.
//!
//! ```text
//! INFO recovery demo:3 replaying snapshot 41% 0.9/2.2 GiB 118.0 MiB/s eta 11s
//! INFO recovery node 61% 18.2/29.9 GiB 757.8 MiB/s eta 16s partitions 14/24
//! WARN recovery node stalled 12s at 61%
//! INFO recovery node done 29.9 GiB in 29.7 s, 41,200,311 entries, 24 partitions
//! ```
//!
//! Steps between states are told by the partitions themselves, at the moment they happen.
//! [`Narrator::tick`] decides, [`tell`] writes: so what is said is tested without a clock or a
//! log.

use std::collections::BTreeMap;
use std::time::Duration;

use super::view::{NodeView, PartitionView, ProgressView};
use crate::quantity::{Bytes, grouped, of_total, rate, rough};

/// A position that has not moved for so long is told as stalled.
pub const STALL: Duration = Duration::from_secs(10);

/// How much a line matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// As expected.
    Info,
    /// Somebody may have to look.
    Warn,
    /// Somebody must act.
    Error,
}

/// One line of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// How much it matters.
    pub level: Level,
    /// Stable name of the event, for programs.
    pub event: &'static str,
    /// `database:ordinal`, if it is about one partition.
    pub partition: Option<String>,
    /// The sentence.
    pub text: String,
}

/// Remembers what was said, so that nothing is said twice.
#[derive(Debug, Default)]
pub struct Narrator {
    done: BTreeMap<String, u64>,
    node_done: Option<u64>,
    is_finished: bool,
}

impl Narrator {
    /// What is new in `view`, `elapsed` after the start.
    pub fn tick(&mut self, view: &NodeView, elapsed: Duration) -> Vec<Line> {
        let mut lines = Vec::new();
        for partition in &view.partitions {
            self.progress_of(partition, &mut lines);
        }
        self.node(view, elapsed, &mut lines);
        lines
    }

    fn progress_of(&mut self, partition: &PartitionView, lines: &mut Vec<Line>) {
        let progress = &partition.progress;
        let name = partition.name();
        let before = self.done.insert(name.clone(), progress.done_bytes);
        let is_working = partition.state == "RECOVERING" && progress.phase.starts_with("replaying");
        if !is_working {
            return;
        }
        let moved = before.is_none_or(|done| done != progress.done_bytes);
        if moved {
            let text = format!("recovery {name} {} {}", progress.phase, amounts(progress));
            lines.push(line(Level::Info, "recovery.progress", Some(name), text));
        } else if let Some(text) = stalled(progress) {
            let text = format!("recovery {name} {} {text}", progress.phase);
            lines.push(line(Level::Warn, "recovery.stalled", Some(name), text));
        }
    }

    fn node(&mut self, view: &NodeView, elapsed: Duration, lines: &mut Vec<Line>) {
        let progress = &view.progress;
        if view.is_recovering() {
            let before = self.node_done.replace(progress.done_bytes);
            let online = view.partitions.iter().filter(|p| p.state != "RECOVERING").count();
            let count = format!("partitions {online}/{}", view.partitions.len());
            if progress.total_bytes > 0 && before != Some(progress.done_bytes) {
                let text = format!("recovery node {} {count}", amounts(progress));
                lines.push(line(Level::Info, "recovery.progress", None, text));
            } else if let Some(stall) = stalled(progress) {
                let text = format!("recovery node {stall}");
                lines.push(line(Level::Warn, "recovery.stalled", None, text));
            }
        } else if view.state != "RECOVERY_FAILED" && !std::mem::replace(&mut self.is_finished, true)
        {
            // A failure is told once, by whoever ends the process.

            lines.push(outcome(view, elapsed));
        }
    }
}

fn outcome(view: &NodeView, elapsed: Duration) -> Line {
    let entries: u64 = view.partitions.iter().map(|p| p.entries).sum();
    let mut text = format!(
        "recovery node done {} in {:.1} s, {} entries, {} partitions",
        Bytes(view.progress.done_bytes),
        elapsed.as_secs_f64(),
        grouped(entries),
        view.partitions.len(),
    );
    let lost = view.partitions.iter().filter(|p| p.is_unrecoverable()).count();
    if lost > 0 {
        text.push_str(&format!(", {lost} of them UNRECOVERABLE"));
    }
    let level = if lost > 0 { Level::Warn } else { Level::Info };
    line(level, "recovery.done", None, text)
}

fn line(level: Level, event: &'static str, partition: Option<String>, text: String) -> Line {
    Line { level, event, partition, text }
}

fn amounts(progress: &ProgressView) -> String {
    let eta = progress.eta_s.map(Duration::from_secs_f64);
    format!(
        "{}% {} {} eta {}",
        progress.percent(),
        of_total(progress.done_bytes, progress.total_bytes),
        rate(progress.rate_bytes_per_s),
        eta.map_or("unknown".into(), rough),
    )
}

/// Said once per multiple of ten seconds, not every second.
fn stalled(progress: &ProgressView) -> Option<String> {
    let stalled = Duration::from_secs_f64(progress.stalled_s.max(0.0));
    let due = stalled >= STALL && stalled.as_secs().is_multiple_of(STALL.as_secs());
    due.then(|| format!("stalled {} at {}%", rough(stalled), progress.percent()))
}

/// Writes lines to the log.
pub fn tell(lines: &[Line]) {
    for Line { level, event, partition, text } in lines {
        let partition = partition.as_deref();
        match level {
            Level::Info => tracing::info!(event, partition, "{text}"),
            Level::Warn => tracing::warn!(event, partition, "{text}"),
            Level::Error => tracing::error!(event, partition, "{text}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    fn node(state: &str, partition: PartitionView) -> NodeView {
        NodeView {
            state: state.into(),
            progress: partition.progress.clone(),
            partitions: vec![partition],
            ..NodeView::default()
        }
    }

    fn replaying(done: u64, stalled_s: f64) -> PartitionView {
        PartitionView {
            database: "demo".into(),
            ordinal: 3,
            state: "RECOVERING".into(),
            progress: ProgressView {
                phase: "replaying snapshot".into(),
                done_bytes: done,
                total_bytes: 4 * GIB,
                rate_bytes_per_s: 118.0 * 1024.0 * 1024.0,
                eta_s: Some(11.2),
                stalled_s,
            },
            ..PartitionView::default()
        }
    }

    fn texts(lines: &[Line]) -> Vec<&str> {
        lines.iter().map(|line| line.text.as_str()).collect()
    }

    /// Promise: progress is said with phase, share, amounts, recent rate and time left.
    #[test]
    fn progress_lines_are_those_operators_know() {
        let mut narrator = Narrator::default();
        let view = node("RECOVERING", replaying(GIB, 0.0));
        let lines = narrator.tick(&view, Duration::from_secs(1));
        assert_eq!(
            texts(&lines),
            [
                "recovery demo:3 replaying snapshot 25% 1.0/4.0 GiB 118.0 MiB/s eta 11s",
                "recovery node 25% 1.0/4.0 GiB 118.0 MiB/s eta 11s partitions 0/1",
            ]
        );
        assert!(narrator.tick(&view, Duration::from_secs(2)).is_empty(), "nothing moved");
    }

    /// Promise: a position that does not move for 10 s is told as stalled, once per 10 s.
    #[test]
    fn a_stall_is_told() {
        let mut narrator = Narrator::default();
        narrator.tick(&node("RECOVERING", replaying(GIB, 0.0)), Duration::ZERO);
        let mut tick = |stalled_s| {
            narrator.tick(&node("RECOVERING", replaying(GIB, stalled_s)), Duration::ZERO)
        };
        assert!(tick(9.9).is_empty());
        let lines = tick(10.2);
        assert_eq!(texts(&lines)[1], "recovery node stalled 10s at 25%");
        assert_eq!(lines[1].level, Level::Warn);
        assert!(tick(11.3).is_empty(), "said a second ago");
        assert_eq!(tick(20.1).len(), 2);
    }

    /// Promise: the end of a recovery is told once, with its totals.
    #[test]
    fn the_end_is_told_once() {
        let mut narrator = Narrator::default();
        narrator.tick(&node("RECOVERING", replaying(GIB, 0.0)), Duration::ZERO);
        let online =
            PartitionView { state: "ONLINE".into(), entries: 1_234, ..replaying(4 * GIB, 0.0) };
        let view = node("ONLINE", online);
        let lines = narrator.tick(&view, Duration::from_millis(29_700));
        assert_eq!(
            texts(&lines),
            ["recovery node done 4.0 GiB in 29.7 s, 1,234 entries, 1 partitions"]
        );
        assert!(narrator.tick(&view, Duration::from_secs(31)).is_empty());
    }

    /// D04: a node with an unrecoverable copy says so in its last line, as a warning.
    #[test]
    fn d04_unrecoverable_copies_are_counted() {
        let mut narrator = Narrator::default();
        let lost = PartitionView { state: "UNRECOVERABLE".into(), ..replaying(GIB, 0.0) };
        let lines = narrator.tick(&node("ONLINE", lost), Duration::ZERO);
        assert_eq!(lines[0].level, Level::Warn);
        assert!(lines[0].text.ends_with("1 of them UNRECOVERABLE"), "{}", lines[0].text);
    }
}
