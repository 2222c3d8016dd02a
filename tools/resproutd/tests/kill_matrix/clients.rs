//! Who uses the cluster meanwhile, and what they hold against it.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Error};
use tokio::task::JoinHandle;

use crate::steps::{Copy, try_copies};
use crate::support::cluster::connect;
use crate::support::outcome::{Outcome, judged};

/// Rows of one statement: so many that all partitions have some of nearly all of them.
const ROWS: i64 = 16;
/// Copies of each partition.
const REDUNDANCY: usize = 2;
/// What is in doubt is ended so long after it was on the first leaf.
const IN_DOUBT: Duration = Duration::from_millis(300);
/// Between two looks of who only looks.
const LOOK: Duration = Duration::from_millis(50);

/// What clients and the test know of each other.
#[derive(Debug)]
pub(crate) struct Seen {
    is_over: AtomicBool,
    /// The last batch that was acknowledged.
    last: AtomicI64,
    /// The longest time between two batches that were acknowledged.
    longest: Mutex<Duration>,
    /// Copies that may be missing or behind, since their leaves were: partition and port.
    disturbed: Mutex<BTreeSet<(u64, u16)>>,
    broken: Mutex<Vec<String>>,
}

fn locked<T>(what: &Mutex<T>) -> MutexGuard<'_, T> {
    what.lock().expect("nobody panics with it")
}

impl Seen {
    fn new() -> Self {
        let last = AtomicI64::new(-1);
        let (longest, disturbed, broken) = (Mutex::default(), Mutex::default(), Mutex::default());
        Self { is_over: AtomicBool::new(false), last, longest, disturbed, broken }
    }

    fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Acquire)
    }

    fn breaks(&self, what: String) {
        locked(&self.broken).push(what);
    }
}

/// What became of the batches.
#[derive(Debug, Default)]
struct Batches {
    done: BTreeSet<i64>,
    refused: BTreeSet<i64>,
}

pub(crate) struct Clients {
    seen: Arc<Seen>,
    writer: JoinHandle<Batches>,
    others: [JoinHandle<()>; 2],
}

impl Clients {
    /// A writer that begins with the first of these aggregators, a reader with the last, and somebody who looks at copies.
    pub(crate) fn start(doors: &[SocketAddr]) -> Self {
        let seen = Arc::new(Seen::new());
        let backwards: Vec<_> = doors.iter().rev().copied().collect();
        let writer = tokio::spawn(write(doors.to_vec(), seen.clone()));
        let reader = tokio::spawn(read(backwards.clone(), seen.clone()));
        let watcher = tokio::spawn(watch(backwards, seen.clone()));
        Self { seen, writer, others: [reader, watcher] }
    }

    /// Copies that the leaf has may be missing from now on.
    pub(crate) fn disturb(&self, copies: &[Copy], port: u16) {
        let of_leaf = copies.iter().filter(|copy| copy.port == port);
        locked(&self.seen.disturbed).extend(of_leaf.map(|copy| (copy.ordinal, port)));
    }

    /// All copies are there again.
    pub(crate) fn calm(&self) {
        locked(&self.seen.disturbed).clear();
    }

    /// Nothing was found that is not as promised; the longest pause since this was asked last.
    pub(crate) fn longest_pause(&self) -> Duration {
        let broken = locked(&self.seen.broken);
        assert!(broken.is_empty(), "{broken:#?}");
        std::mem::take(&mut *locked(&self.seen.longest))
    }

    /// Waits until writes go on.
    pub(crate) async fn go_on(&self) {
        let before = self.seen.last.load(Ordering::Acquire);
        crate::support::cluster::until("writes go on", async || {
            self.seen.last.load(Ordering::Acquire) > before + 1
        })
        .await;
    }

    /// Ends them, and reads everything back.
    pub(crate) async fn end(self, conn: &mut Conn) {
        self.longest_pause();
        self.seen.is_over.store(true, Ordering::Release);
        let batches = self.writer.await.expect("no panic");
        for other in self.others {
            other.await.expect("no panic");
        }
        // What was in doubt when it was ended on one leaf takes effect on the others a moment later.
        let of = |batch: i64| batch * ROWS..(batch + 1) * ROWS;
        let mut found = BTreeSet::new();
        for _ in 0..2 {
            let ids: Vec<i64> = conn.query("SELECT id FROM test.w").await.expect("answered");
            found = ids.iter().copied().collect();
            assert_eq!(ids.len(), found.len(), "a row is there once");
            tokio::time::sleep(IN_DOUBT).await;
        }
        let count = |batch: i64| of(batch).filter(|id| found.contains(id)).count() as i64;
        let all: BTreeSet<i64> = found.iter().map(|id| id.div_euclid(ROWS)).collect();
        let halves: Vec<_> = all.into_iter().filter(|batch| count(*batch) != ROWS).collect();
        assert!(halves.is_empty(), "half of a statement is there: {halves:?}");
        let lost: Vec<_> = batches.done.iter().filter(|batch| count(**batch) == 0).collect();
        assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");
        let there: Vec<_> = batches.refused.iter().filter(|batch| count(**batch) > 0).collect();
        assert!(there.is_empty(), "refused, and there: {there:?}");
        assert!(batches.done.len() > 10, "they got on");
    }
}

/// Inserts batches, one after the other.
async fn write(doors: Vec<SocketAddr>, seen: Arc<Seen>) -> Batches {
    let (mut conn, mut batches) = (connect(&doors).await, Batches::default());
    let mut last = Instant::now();
    for batch in 0.. {
        if seen.is_over() {
            break;
        }
        let rows: Vec<_> = (batch * ROWS..(batch + 1) * ROWS).map(|id| format!("({id})")).collect();
        let ended = conn.query_drop(format!("INSERT INTO test.w VALUES {}", rows.join(","))).await;
        match judged(&ended) {
            Outcome::Done => {
                let pause = std::mem::replace(&mut last, Instant::now()).elapsed();
                let mut longest = locked(&seen.longest);
                *longest = pause.max(*longest);
                batches.done.insert(batch);
                seen.last.store(batch, Ordering::Release);
            }
            Outcome::Refused => {
                batches.refused.insert(batch);
                tokio::time::sleep(LOOK / 5).await;
            }
            Outcome::Unknown => conn = connect(&doors).await,
        }
    }
    batches
}

/// Reads the last batch that was acknowledged, again and again.
async fn read(doors: Vec<SocketAddr>, seen: Arc<Seen>) {
    let mut conn = connect(&doors).await;
    while !seen.is_over() {
        tokio::time::sleep(LOOK / 5).await;
        let batch = seen.last.load(Ordering::Acquire);
        if batch < 0 {
            continue;
        }
        let (from, to) = (batch * ROWS, (batch + 1) * ROWS - 1);
        let asked = format!("SELECT COUNT(*) FROM test.w WHERE id BETWEEN {from} AND {to}");
        match conn.query_first::<i64, _>(asked).await {
            Ok(count) if count == Some(ROWS) => {}
            Ok(count) => seen.breaks(format!("of batch {batch} there are {count:?} rows")),
            Err(Error::Server(_)) => {}
            Err(_) => conn = connect(&doors).await,
        }
    }
}

/// Looks whether each partition has its copies, but for those that may be missing.
async fn watch(doors: Vec<SocketAddr>, seen: Arc<Seen>) {
    let mut conn = connect(&doors).await;
    while !seen.is_over() {
        tokio::time::sleep(LOOK).await;
        // Those that were disturbed before or after it was asked.
        let mut disturbed = locked(&seen.disturbed).clone();
        match try_copies(&mut conn).await {
            Ok(copies) => {
                disturbed.extend(locked(&seen.disturbed).iter());
                if let Some(short) = short_of_copies(&copies, &disturbed) {
                    seen.breaks(format!("partition {short} is short of a copy: {copies:?}"));
                }
            }
            Err(Error::Server(_)) => {}
            Err(_) => conn = connect(&doors).await,
        }
    }
}

/// A partition that has fewer copies than it should, with those that may be missing.
fn short_of_copies(copies: &[Copy], disturbed: &BTreeSet<(u64, u16)>) -> Option<u64> {
    let ordinals: BTreeSet<u64> = copies.iter().map(|copy| copy.ordinal).collect();
    let has_all = |ordinal: &u64| {
        let of = copies.iter().filter(|copy| copy.ordinal == *ordinal);
        let full = of.filter(|copy| !copy.is_offline && (copy.is_master() || copy.state == "sync"));
        let mut counted: BTreeSet<u16> = full.map(|copy| copy.port).collect();
        counted.extend(disturbed.iter().filter(|one| one.0 == *ordinal).map(|one| one.1));
        counted.len() >= REDUNDANCY
    };
    ordinals.into_iter().find(|ordinal| !has_all(ordinal))
}
