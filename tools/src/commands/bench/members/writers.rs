//! Clients that write: each numbers its rows, all of one partition, and knows which were acknowledged when.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Error};
use resprout_engine::shard_of;
use resprout_engine::table::{Table, TableSchema, Value};
use tokio::task::JoinHandle;

use super::cluster::{PATIENCE, open, unanswered};
use crate::bench::testbed::failed;
use crate::failure::Failure;

/// A row that is there already; after an unknown outcome that is the client's own.
const DUPLICATE: u16 = 1062;
/// Between two attempts.
const AGAIN_AFTER: Duration = Duration::from_millis(2);

/// Which keys are in which partition: leaves and aggregators go by the same hash.
pub(in crate::commands::bench) struct Keys {
    table: Table,
    partitions: usize,
}

impl Keys {
    pub(in crate::commands::bench) fn new(partitions: usize) -> Result<Self, Failure> {
        let schema = TableSchema::builder("writes");
        let schema = schema.column("id", "bigint").primary_key(&["id"]).build();
        let table = Table::new(schema.map_err(|error| failed(&error.into()))?);
        let table = table.map_err(|error| failed(&error.into()))?;
        Ok(Self { table, partitions })
    }

    /// The first key after that one which is in a partition.
    pub(in crate::commands::bench) fn next(&self, after: i64, partition: usize) -> i64 {
        let is_there = |id: &i64| {
            shard_of(&self.table, &[Value::Int(*id)], self.partitions)
                .is_ok_and(|found| found == partition)
        };
        (after + 1..).find(is_there).unwrap_or(i64::MAX)
    }
}

/// A write that was acknowledged.
#[derive(Clone, Copy, Debug)]
pub(in crate::commands::bench) struct Ack {
    /// When it was sent; if more than once, the last time.
    pub(in crate::commands::bench) begun: Instant,
    pub(in crate::commands::bench) acked: Instant,
}

/// What a client did.
#[derive(Clone, Debug, Default)]
pub(in crate::commands::bench) struct Written {
    pub(in crate::commands::bench) client: i64,
    /// Its rows have the numbers below.
    pub(in crate::commands::bench) rows: u64,
    /// All that were acknowledged; not those that were found after an unknown outcome.
    pub(in crate::commands::bench) acks: Vec<Ack>,
    pub(in crate::commands::bench) errors: u64,
    /// The last error, for people.
    pub(in crate::commands::bench) last_error: Option<String>,
}

impl Written {
    /// The first acknowledged write that began after that moment.
    pub(in crate::commands::bench) fn first_since(&self, moment: Instant) -> Option<Ack> {
        let at = self.acks.partition_point(|ack| ack.begun < moment);
        self.acks.get(at).copied()
    }

    /// The longest time between two acknowledged writes of which the second is in this range.
    pub(in crate::commands::bench) fn longest_pause(&self, from: Instant, to: Instant) -> Duration {
        let ends = self.acks.windows(2).filter(|pair| (from..=to).contains(&pair[1].acked));
        ends.map(|pair| pair[1].acked - pair[0].acked).max().unwrap_or_default()
    }
}

/// A client to be: through which aggregator it writes to which partition.
#[derive(Clone, Copy, Debug)]
pub(in crate::commands::bench) struct Client {
    pub(in crate::commands::bench) number: i64,
    pub(in crate::commands::bench) door: u16,
    pub(in crate::commands::bench) partition: usize,
    /// Its keys are above that.
    pub(in crate::commands::bench) above: i64,
}

/// A client at work.
struct Running {
    written: Arc<Mutex<Written>>,
    task: JoinHandle<Result<(), Failure>>,
}

/// Clients that write until they are told to end.
pub(in crate::commands::bench) struct Writers {
    stop: Arc<AtomicBool>,
    all: Vec<Running>,
}

impl Writers {
    pub(in crate::commands::bench) fn start(
        keys: &Arc<Keys>,
        clients: impl IntoIterator<Item = Client>,
    ) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let start = |client: Client| {
            let written = Written { client: client.number, ..Written::default() };
            let written = Arc::new(Mutex::new(written));
            let work = work(client, keys.clone(), written.clone(), stop.clone());
            Running { written, task: tokio::spawn(work) }
        };
        let all = clients.into_iter().map(start).collect();
        Self { stop, all }
    }

    /// Waits until every client had a write acknowledged that it began after that moment.
    pub(in crate::commands::bench) async fn all_since(
        &self,
        moment: Instant,
    ) -> Result<(), Failure> {
        let end = Instant::now() + PATIENCE;
        let has = |written: &Written| written.first_since(moment).is_some();
        while let Some(waiting) = self.all.iter().find(|of| !has(&lock(&of.written))) {
            if Instant::now() > end {
                let written = lock(&waiting.written);
                let why = written.last_error.clone().unwrap_or_else(|| "no answer".to_owned());
                return Err(unanswered(format!("client {} waits: {why}", written.client)));
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }

    /// Ends all, each behind the write that it is at; what they did.
    pub(in crate::commands::bench) async fn end(self) -> Result<Vec<Written>, Failure> {
        self.stop.store(true, Ordering::Release);
        let mut all = Vec::new();
        for Running { written, task } in self.all {
            task.await.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))?;
            all.push(std::mem::take(&mut *lock(&written)));
        }
        Ok(all)
    }
}

fn lock(written: &Mutex<Written>) -> MutexGuard<'_, Written> {
    written.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn work(
    client: Client,
    keys: Arc<Keys>,
    written: Arc<Mutex<Written>>,
    stop: Arc<AtomicBool>,
) -> Result<(), Failure> {
    let (mut conn, mut id) = (None, client.above);
    for number in 0_u64.. {
        if stop.load(Ordering::Acquire) {
            break;
        }
        id = keys.next(id, client.partition);
        let insert = format!("INSERT INTO bench.writes VALUES ({id}, {}, {number})", client.number);
        let ack = write(&mut conn, client.door, &insert, &written).await?;
        let mut written = lock(&written);
        written.rows = number + 1;
        written.acks.extend(ack);
    }
    Ok(())
}

/// Writes a row, however often it takes; none if an attempt with an unknown outcome turns out to have done it.
async fn write(
    conn: &mut Option<Conn>,
    door: u16,
    insert: &str,
    written: &Mutex<Written>,
) -> Result<Option<Ack>, Failure> {
    let (end, mut is_again) = (Instant::now() + PATIENCE, false);
    loop {
        let begun = Instant::now();
        let error = match attempt(conn, door, insert).await {
            Ok(()) => return Ok(Some(Ack { begun, acked: Instant::now() })),
            Err(Error::Server(error)) if error.code == DUPLICATE && is_again => return Ok(None),
            Err(Error::Server(error)) => Error::Server(error),
            Err(error) => {
                // The connection is of no use any more.
                *conn = None;
                error
            }
        };
        if Instant::now() > end {
            return Err(unanswered(format!("{insert}: {error}")));
        }
        is_again = true;
        {
            let mut written = lock(written);
            written.errors += 1;
            written.last_error = Some(error.to_string());
        }
        tokio::time::sleep(AGAIN_AFTER).await;
    }
}

async fn attempt(conn: &mut Option<Conn>, door: u16, insert: &str) -> Result<(), Error> {
    let conn = match conn {
        Some(conn) => conn,
        None => conn.insert(open(door).await?),
    };
    conn.query_drop(insert).await
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Promise: pauses and first writes are what their names say.
    #[test]
    fn pauses_are_between_acknowledged_writes() {
        let zero = Instant::now();
        let at = |ms| zero + Duration::from_millis(ms);
        let acks = [(0, 1), (1, 2), (2, 90), (91, 92), (93, 120)];
        let acks = acks.map(|(begun, acked)| Ack { begun: at(begun), acked: at(acked) });
        let written = Written { acks: acks.to_vec(), ..Written::default() };
        assert_eq!(written.longest_pause(at(0), at(200)), Duration::from_millis(88));
        assert_eq!(written.longest_pause(at(91), at(200)), Duration::from_millis(28));
        assert_eq!(written.longest_pause(at(121), at(200)), Duration::ZERO);
        // What was sent before was perhaps answered by who was lost.
        let first = written.first_since(at(3)).expect("there is one");
        assert_eq!(first.acked, at(92));
        assert!(written.first_since(at(94)).is_none());
    }

    /// Promise: each partition has keys, and they are its own.
    #[test]
    fn keys_are_of_their_partition() {
        let keys = Keys::new(8).expect("a table");
        for partition in 0..8 {
            let first = keys.next(0, partition);
            let next = keys.next(first, partition);
            assert!(first > 0 && next > first);
            assert!((0..8).all(|other| other == partition || keys.next(first - 1, other) != first));
        }
    }
}
