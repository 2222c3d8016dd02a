//! The plan that runs, looked at again and again: which step stood how, and when.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Row};

use super::super::members::cluster::{lost, value};
use crate::failure::Failure;

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// When a step was seen to stand so, for the first and the last time.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Seen {
    pub(super) ordinal: usize,
    pub(super) is_copy: bool,
    pub(super) is_promotion: bool,
    /// Seen last before it ran.
    pub(super) scheduled: Option<Instant>,
    /// Seen first when it had ended well.
    pub(super) done: Option<Instant>,
    pub(super) took: Duration,
}

/// Steps by their place in the plan.
#[derive(Clone, Debug, Default)]
pub(super) struct Steps(pub(super) BTreeMap<usize, Seen>);

impl Steps {
    /// Takes down how steps stand.
    fn see(&mut self, now: Instant, rows: &[Row]) {
        for (at, row) in rows.iter().enumerate() {
            let action = value::<String>(row, "Action").unwrap_or_default();
            let seen = self.0.entry(at).or_default();
            seen.ordinal = value(row, "Ordinal").unwrap_or_default();
            seen.is_copy = action.starts_with("COPY");
            seen.is_promotion = action.starts_with("PROMOTE");
            match value::<String>(row, "Status").as_deref() {
                Some("scheduled") => seen.scheduled = Some(now),
                Some("success") if seen.done.is_none() => {
                    seen.done = Some(now);
                    let took = value::<u64>(row, "Running_Time").unwrap_or_default();
                    seen.took = Duration::from_millis(took);
                }
                _ => {}
            }
        }
    }

    /// From the beginning of the first copy to the end of the last.
    pub(super) fn copying(&self) -> Duration {
        let copies = self.0.values().filter(|seen| seen.is_copy);
        let ends = copies.filter_map(|seen| Some((seen.done?, seen.took)));
        let ends: Vec<(Instant, Duration)> = ends.collect();
        let first = ends.iter().filter_map(|(done, took)| done.checked_sub(*took)).min();
        let last = ends.iter().map(|(done, _)| *done).max();
        first.zip(last).map_or(Duration::ZERO, |(first, last)| last - first)
    }
}

/// Looks until that is over.
pub(super) async fn watch<T>(
    conn: &mut Conn,
    over: impl Future<Output = T>,
) -> Result<(Steps, T), Failure> {
    let (mut steps, mut over) = (Steps::default(), Box::pin(over));
    loop {
        let done = tokio::select! {
            done = &mut over => Some(done),
            () = tokio::time::sleep(LOOK_EVERY) => None,
        };
        let rows: Vec<Row> = conn.query("SHOW REBALANCE STATUS ON bench").await.map_err(lost)?;
        // The plan before this one is shown until this one begins; it has nothing that is scheduled.
        let is_this = done.is_some() || !steps.0.is_empty() || rows.iter().any(is_open);
        if is_this {
            steps.see(Instant::now(), &rows);
        }
        if let Some(done) = done {
            return Ok((steps, done));
        }
    }
}

/// Whether a step has not ended.
pub(super) fn is_open(row: &Row) -> bool {
    matches!(value::<String>(row, "Status").as_deref(), Some("scheduled" | "running"))
}
