//! How far a plan is: `MV_REBALANCE_STATUS`, as lines for people.

use std::time::Duration;

use super::super::master::{Client, Rows, quoted};
use crate::failure::Failure;
use crate::output;
use crate::quantity::{of_total, rate, rough};

/// Characters of a bar.
const BAR: u64 = 15;

/// A step, as the view has it.
#[derive(Clone, Debug, Default)]
struct Step {
    action: String,
    ordinal: String,
    target: String,
    status: String,
    left_ms: Option<u64>,
    copied: Option<u64>,
    total: Option<u64>,
    rate: Option<u64>,
    waiting_for: Option<String>,
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub(super) struct Progress {
    steps: Vec<Step>,
}

impl Progress {
    /// # Errors
    /// What the server says.
    pub(super) fn ask(client: &mut Client, database: &str) -> Result<Self, Failure> {
        let asked = format!(
            "SELECT action, ordinal, target_host, target_port, status, estimated_time_remaining_ms, \
             copied_bytes, total_bytes, bytes_per_second, waiting_for \
             FROM information_schema.mv_rebalance_status WHERE database_name = {}",
            quoted(database)
        );
        client.query(&asked).map(Self::of)
    }

    fn of(rows: Rows) -> Self {
        let step = |row: Vec<Option<String>>| {
            let mut cells = row.into_iter();
            let mut next = || cells.next().flatten();
            let number = |cell: Option<String>| cell?.parse::<u64>().ok();
            let (action, ordinal) = (next().unwrap_or_default(), next().unwrap_or_default());
            let target = [next(), next()].map(Option::unwrap_or_default).join(":");
            let status = next().unwrap_or_default();
            let [left_ms, copied, total, rate] = [next(), next(), next(), next()].map(number);
            let waiting_for = next();
            Step { action, ordinal, target, status, left_ms, copied, total, rate, waiting_for }
        };
        Self { steps: rows.into_iter().map(step).collect() }
    }

    fn count(&self, status: &str) -> usize {
        self.steps.iter().filter(|step| step.status == status).count()
    }

    /// In one line: how many steps have ended, and how.
    pub(super) fn sentence(&self, database: &str) -> String {
        let all = self.steps.len();
        let mut text = format!("{database}: {} of {all} steps done", self.count("success"));
        for status in ["running", "failed", "canceled"] {
            let count = self.count(status);
            if count > 0 {
                text.push_str(&format!(", {count} {status}"));
            }
        }
        text
    }

    /// A line for each step that runs.
    fn running(&self, database: &str) -> Vec<String> {
        let running = self.steps.iter().filter(|step| step.status == "running");
        running.map(|step| step.line(database)).collect()
    }

    pub(super) fn show(&self, database: &str) {
        for line in self.running(database) {
            output::line(line);
        }
        output::line(self.sentence(database));
    }
}

impl Step {
    fn line(&self, database: &str) -> String {
        let Self { action, ordinal, target, .. } = self;
        let what = action.split_whitespace().next().unwrap_or_default().to_ascii_lowercase();
        let mut text = format!("{what:<8} {database}:{ordinal} → {target}");
        if let (Some(copied), Some(total)) = (self.copied, self.total) {
            let percent = u128::from(copied) * 100 / u128::from(total.max(1));
            text.push_str(&format!("  {} {percent:>3}%", bar(copied, total)));
            text.push_str(&format!("  {}", of_total(copied, total)));
        }
        if let Some(per_second) = self.rate.filter(|rate| *rate > 0) {
            #[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
            let per_second = rate(per_second as f64);
            text.push_str(&format!("  {per_second}"));
        }
        if let Some(left) = self.left_ms {
            text.push_str(&format!("  {} left", rough(Duration::from_millis(left))));
        }
        if let Some(waiting_for) = &self.waiting_for {
            text.push_str(&format!("  waits for {waiting_for}"));
        }
        text
    }
}

fn bar(done: u64, total: u64) -> String {
    let full = u128::from(done) * u128::from(BAR) / u128::from(total.max(1));
    let full = usize::try_from(full.min(u128::from(BAR))).unwrap_or_default();
    let empty = usize::try_from(BAR).unwrap_or_default() - full;
    format!("{}{}", "█".repeat(full), "░".repeat(empty))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Promise: steps that run are shown with what is known of them; what ended is counted.
    #[test]
    fn what_runs_has_a_line() {
        let row = |cells: [&str; 10]| {
            cells.map(|cell| (cell != "NULL").then(|| cell.to_owned())).to_vec()
        };
        let copy = "COPY PARTITION";
        let mib = (1_u64 << 20).to_string();
        let progress = Progress::of(vec![
            row([copy, "0", "h", "1", "success", "0", "9", "9", "3", "NULL"]),
            row([copy, "3", "h", "2", "running", "4000", &mib, &mib, &mib, "pages"]),
            row([
                "PROMOTE PARTITION",
                "3",
                "h",
                "2",
                "running",
                "NULL",
                "NULL",
                "NULL",
                "NULL",
                "log",
            ]),
            row(["DROP PARTITION", "3", "h", "1", "canceled", "0", "NULL", "NULL", "NULL", "NULL"]),
        ]);
        assert_eq!(
            progress.running("d"),
            [
                "copy     d:3 → h:2  ███████████████ 100%  1.0/1.0 MiB  1.0 MiB/s  4s left  waits for pages",
                "promote  d:3 → h:2  waits for log",
            ]
        );
        assert_eq!(progress.sentence("d"), "d: 1 of 4 steps done, 2 running, 1 canceled");
        assert_eq!(bar(1, 2), "███████░░░░░░░░");
    }
}
