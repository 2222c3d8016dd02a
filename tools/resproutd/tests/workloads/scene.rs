//! What clients of all workloads and the test know of each other.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use mysql_async::Conn;

use crate::support::cluster::{PATIENCE, open, until};

/// Workloads, for their progress.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Workload {
    Bank,
    Set,
    Append,
    Register,
}

const WORKLOADS: usize = 4;
/// So many acknowledged operations of each workload show that clients get on.
const GOES_ON: u64 = 20;
/// What a client does between two operations: nothing. Nodes have the processors for themselves then.
const PAUSE: Duration = Duration::from_millis(10);

/// A time without contact between the two sides, up to when all was whole again.
#[derive(Clone, Copy, Debug)]
struct Cut {
    from: Duration,
    to: Option<Duration>,
}

pub(crate) struct Scene {
    pub(crate) doors: Vec<SocketAddr>,
    /// Aggregators on the side that stays behind in a cut.
    behind: Vec<SocketAddr>,
    pub(crate) database: String,
    began: Instant,
    is_over: AtomicBool,
    progress: [AtomicU64; WORKLOADS],
    cuts: Mutex<Vec<Cut>>,
}

pub(crate) fn locked<T>(what: &Mutex<T>) -> MutexGuard<'_, T> {
    what.lock().expect("nobody panics with it")
}

impl Scene {
    pub(crate) fn new(doors: Vec<SocketAddr>, behind: Vec<SocketAddr>, database: String) -> Self {
        let (is_over, progress, cuts) =
            (AtomicBool::new(false), Default::default(), Mutex::default());
        Self { doors, behind, database, began: Instant::now(), is_over, progress, cuts }
    }

    pub(crate) fn now(&self) -> Duration {
        // Nothing happens at the moment at which it began.
        self.began.elapsed() + Duration::from_nanos(1)
    }

    /// Aggregators on the side that goes on in a cut.
    pub(crate) fn ahead(&self) -> Vec<SocketAddr> {
        self.doors.iter().filter(|door| !self.behind.contains(door)).copied().collect()
    }

    pub(crate) fn cut(&self) {
        locked(&self.cuts).push(Cut { from: self.now(), to: None });
    }

    pub(crate) fn healed(&self) {
        let now = self.now();
        if let Some(cut) = locked(&self.cuts).last_mut() {
            cut.to = Some(now);
        }
    }

    /// The moment since when all that was acknowledged is seen by who reads through that aggregator from then to now: the beginning of the
    /// read, or of a cut that falls into it, if the aggregator is on the side that stays behind.
    pub(crate) fn reads_since(&self, door: SocketAddr, from: Duration) -> Duration {
        if !self.behind.contains(&door) {
            return from;
        }
        let cuts = locked(&self.cuts);
        let falls_in = cuts.iter().filter(|cut| cut.to.is_none_or(|to| from <= to));
        falls_in.map(|cut| cut.from).fold(from, Duration::min)
    }

    pub(crate) fn end(&self) {
        self.is_over.store(true, Ordering::Release);
    }

    /// Whether there is something left to do, after a moment of rest.
    pub(crate) async fn goes_on(&self) -> bool {
        tokio::time::sleep(PAUSE).await;
        !self.is_over.load(Ordering::Acquire)
    }

    /// An operation was acknowledged, by whichever side.
    pub(crate) fn acknowledged(&self, of: Workload) {
        self.progress[of as usize].fetch_add(1, Ordering::AcqRel);
    }

    /// Waits until all workloads have got on.
    pub(crate) async fn until_all_get_on(&self) {
        let now = || self.progress.each_ref().map(|one| one.load(Ordering::Acquire));
        let before = now();
        until("all clients get on", async || {
            before.iter().zip(now()).all(|(before, now)| now >= before + GOES_ON)
        })
        .await;
    }
}

/// A client that begins with one aggregator, and goes to the next when its own is lost.
pub(crate) struct Client {
    doors: Vec<SocketAddr>,
    /// The aggregator that it talks to.
    pub(crate) door: SocketAddr,
    pub(crate) conn: Conn,
}

impl Client {
    pub(crate) async fn of(doors: &[SocketAddr], number: usize) -> Self {
        let mut doors = doors.to_vec();
        let first = number % doors.len();
        doors.rotate_left(first);
        let (door, conn) = find(&doors).await;
        Self { doors, door, conn }
    }

    /// Connects anew.
    pub(crate) async fn again(&mut self) {
        (self.door, self.conn) = find(&self.doors).await;
    }
}

async fn find(doors: &[SocketAddr]) -> (SocketAddr, Conn) {
    let end = Instant::now() + PATIENCE;
    loop {
        for door in doors {
            if let Ok(conn) = open(*door).await {
                return (*door, conn);
            }
        }
        assert!(Instant::now() < end, "no aggregator answers");
        tokio::time::sleep(PAUSE).await;
    }
}
