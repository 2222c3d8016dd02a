//! What is there before, and clients that read it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use tokio::task::JoinHandle;

use super::super::members::cluster::{PATIENCE, lost, open, unanswered};
use crate::bench::testbed::wrong;
use crate::failure::Failure;

/// Bytes of one statement that fills, roughly.
const BATCH_BYTES: usize = 256 << 10;
/// Rows of one statement that verifies.
const VERIFIED_AT_ONCE: u64 = 5_000;
/// Clients that fill.
const FILLERS: u64 = 4;
/// Between two attempts.
const AGAIN_AFTER: Duration = Duration::from_millis(5);

/// Rows `0 … rows - 1`, each with a text that follows from its number.
#[derive(Clone, Copy, Debug)]
pub(super) struct Data {
    pub(super) rows: u64,
    pub(super) row_bytes: usize,
}

impl Data {
    fn text(&self, id: u64) -> String {
        let mut text = String::with_capacity(self.row_bytes + 16);
        let mut next = id;
        while text.len() < self.row_bytes {
            // Any numbers that follow from the last will do.
            next = next
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            text.push_str(&format!("{next:016x}"));
        }
        text.truncate(self.row_bytes);
        text
    }

    /// Makes the table and its rows.
    pub(super) async fn fill(self, doors: &[u16]) -> Result<(), Failure> {
        let mut conn = open(doors[0]).await.map_err(lost)?;
        let create = "CREATE TABLE bench.data (id BIGINT PRIMARY KEY, pad LONGTEXT NOT NULL)";
        conn.query_drop(create).await.map_err(lost)?;
        let fillers = (0..FILLERS).map(|filler| {
            let door = doors[usize::try_from(filler).unwrap_or(0) % doors.len()];
            tokio::spawn(self.fill_every(door, filler))
        });
        for filler in fillers.collect::<Vec<_>>() {
            filler.await.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))?;
        }
        Ok(())
    }

    /// Every so-and-so-many-th batch.
    async fn fill_every(self, door: u16, filler: u64) -> Result<(), Failure> {
        let mut conn = open(door).await.map_err(lost)?;
        let rows = u64::try_from(BATCH_BYTES / self.row_bytes).unwrap_or(1).clamp(1, 1_000);
        let mut from = filler * rows;
        while from < self.rows {
            let ids = from..(from + rows).min(self.rows);
            let values = ids.map(|id| format!("({id}, '{}')", self.text(id)));
            let values = values.collect::<Vec<_>>().join(", ");
            let insert = format!("INSERT INTO bench.data VALUES {values}");
            conn.query_drop(insert).await.map_err(lost)?;
            from += rows * FILLERS;
        }
        Ok(())
    }

    /// All rows are there, with their texts, and no others.
    pub(super) async fn verify(self, doors: &[u16]) -> Result<(), Failure> {
        let mut conn = open(doors[0]).await.map_err(lost)?;
        let count: Option<u64> =
            conn.query_first("SELECT COUNT(*) FROM bench.data").await.map_err(lost)?;
        if count != Some(self.rows) {
            return Err(wrong(format!("{} rows were filled in, {count:?} are there", self.rows)));
        }
        let mut from = 0;
        while from < self.rows {
            let end = (from + VERIFIED_AT_ONCE).min(self.rows);
            let asked = format!(
                "SELECT id, pad FROM bench.data WHERE id >= {from} AND id < {end} ORDER BY id"
            );
            let rows: Vec<(u64, String)> = conn.query(asked).await.map_err(lost)?;
            let mut found = rows.into_iter();
            for id in from..end {
                if found.next() != Some((id, self.text(id))) {
                    return Err(wrong(format!("row {id} of bench.data is not what was written")));
                }
            }
            from = end;
        }
        Ok(())
    }

    /// Clients that read rows by key, each checked, until they are told to end.
    pub(super) fn read(self, doors: &[u16], readers: u32) -> Readers {
        let (stop, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let tasks = (0..readers).map(|reader| {
            let door = doors[reader as usize % doors.len()];
            let work = read(self, (door, u64::from(reader)), stop.clone(), count.clone());
            tokio::spawn(work)
        });
        let tasks = tasks.collect();
        Readers { stop, count, tasks }
    }
}

/// Clients that read.
pub(super) struct Readers {
    stop: Arc<AtomicBool>,
    count: Arc<AtomicU64>,
    tasks: Vec<JoinHandle<Result<(), Failure>>>,
}

impl Readers {
    /// Rows that were read so far.
    pub(super) fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    pub(super) async fn end(self) -> Result<(), Failure> {
        self.stop.store(true, Ordering::Release);
        for task in self.tasks {
            task.await.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))?;
        }
        Ok(())
    }
}

async fn read(
    data: Data,
    (door, mut next): (u16, u64),
    stop: Arc<AtomicBool>,
    count: Arc<AtomicU64>,
) -> Result<(), Failure> {
    let mut conn: Option<Conn> = None;
    let mut since = Instant::now();
    while !stop.load(Ordering::Acquire) {
        next = next.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let id = (next >> 33) % data.rows.max(1);
        let asked = format!("SELECT pad FROM bench.data WHERE id = {id}");
        let open_conn = match &mut conn {
            Some(conn) => Ok(conn),
            None => open(door).await.map(|opened| conn.insert(opened)),
        };
        let found = match open_conn {
            Ok(conn) => conn.query_first::<String, _>(asked).await,
            Err(error) => Err(error),
        };
        match found {
            Ok(found) if found.as_deref() == Some(&data.text(id)) => {
                count.fetch_add(1, Ordering::Relaxed);
                since = Instant::now();
            }
            Ok(_) => return Err(wrong(format!("row {id} of bench.data was read otherwise"))),
            Err(error) if since.elapsed() > PATIENCE => return Err(unanswered(error)),
            Err(error) => {
                if !matches!(error, mysql_async::Error::Server(_)) {
                    conn = None;
                }
                tokio::time::sleep(AGAIN_AFTER).await;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Promise: texts have their length and follow from their number.
    #[test]
    fn texts_follow_from_their_number() {
        let data = Data { rows: 10, row_bytes: 37 };
        assert_eq!(data.text(3).len(), 37);
        assert_eq!(data.text(3), data.text(3));
        assert_ne!(data.text(3), data.text(4));
    }
}
