//! The engine with threads on a real disk: many clients, snapshots meanwhile, clean ends, and
//! processes that are killed under load or run out of memory or descriptors (rows P01, P15, D37).

use std::alloc::{GlobalAlloc, Layout, System};
use std::future::Future;
use std::io::{BufRead, BufReader, Lines};
use std::ops::ControlFlow;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use resprout_engine::table::{Table, TableSchema, Value};
use resprout_engine::{
    DatabaseOptions, Durability, Engine, Error, Options, Partition, State, Transaction,
};
use resprout_wal::world::{Entropy, OsEntropy, Rng};

const ACCOUNTS: i64 = 20;
const BALANCE: i64 = 1000;

fn options() -> Options {
    Options { slot_bytes: 1 << 20, snapshot_trigger_size: 1 << 20, ..Options::default() }
}

fn schema(name: &str, column: &str) -> TableSchema {
    TableSchema::builder(name)
        .column("id", "bigint")
        .column(column, "bigint")
        .primary_key(&["id"])
        .index("by_value", &[column])
        .build()
        .expect("a sound schema")
}

/// Opens the bank, making it if it is new.
fn bank(dir: &Path) -> Engine {
    let engine = Engine::open(dir, options()).expect("the directory opens");
    if engine.databases().is_empty() {
        let options = DatabaseOptions { partitions: 2, durability: Durability::Sync };
        engine.create_database("bank", options).expect("a new database");
    }
    for partition in partitions(&engine) {
        assert_eq!(partition.state(), State::Online, "{:?}", partition.status().error);
        // A process may have been killed anywhere in this.
        for (name, column) in [("accounts", "balance"), ("done", "thread")] {
            if partition.table(name).is_err() {
                partition.create_table(schema(name, column)).expect("a new table");
            }
        }
        let accounts = partition.table("accounts").expect("just made");
        let mut txn = partition.begin().expect("online");
        if txn.get(&accounts, &[Value::Int(0)]).expect("a sound row").is_none() {
            for id in 0..ACCOUNTS {
                let row = [Value::Int(id), Value::Int(BALANCE)];
                txn.insert(&accounts, &row).expect("a new account");
            }
        }
        txn.commit().expect("a commit");
    }
    engine
}

fn partitions(engine: &Engine) -> Vec<Partition> {
    engine.databases().iter().flat_map(|database| database.partitions().to_vec()).collect()
}

fn number(value: &Value) -> i64 {
    match value {
        Value::Int(number) => *number,
        other => panic!("{other:?} is no number"),
    }
}

/// Sum of all balances at one moment, by rows and by index.
fn sums(partition: &Partition) -> [i64; 2] {
    let accounts = partition.table("accounts").expect("there is one");
    let txn = partition.begin().expect("online");
    let mut sums = [0, 0];
    txn.scan(&accounts, &accounts.rows(), |row| {
        let values = row.values().expect("a sound row");
        sums[0] += number(&values[1].clone().into_owned());
        ControlFlow::Continue(())
    })
    .expect("a scan of sound rows");
    let index = accounts.schema().index_named("by_value").expect("there is one");
    let range = accounts.index_range(index, &[]).expect("no values, no misfit");
    txn.scan_index(&accounts, index, &range, |row| {
        let values = row.values().expect("a sound row");
        sums[1] += number(&values[1].clone().into_owned());
        ControlFlow::Continue(())
    })
    .expect("a scan of sound rows");
    sums
}

/// Ids in the table of what was done.
fn done(partition: &Partition) -> std::collections::BTreeSet<i64> {
    let table = partition.table("done").expect("there is one");
    let txn = partition.begin().expect("online");
    let mut ids = std::collections::BTreeSet::new();
    txn.scan(&table, &table.rows(), |row| {
        let values = row.values().expect("a sound row");
        ids.insert(number(&values[0].clone().into_owned()));
        ControlFlow::Continue(())
    })
    .expect("a scan of sound rows");
    ids
}

/// Moves money between two accounts and notes the transfer's id, all or nothing.
async fn transfer(partition: &Partition, id: i64, rng: &mut Rng) -> Result<(), Error> {
    let accounts = partition.table("accounts")?;
    let noted = partition.table("done")?;
    let mut txn = partition.begin()?;
    let from = rng.below(ACCOUNTS as u64) as i64;
    let to = (from + 1 + rng.below(ACCOUNTS as u64 - 1) as i64) % ACCOUNTS;
    let amount = rng.below(50) as i64;
    change(&mut txn, &accounts, from, -amount).await?;
    change(&mut txn, &accounts, to, amount).await?;
    txn.insert_async(&noted, &[Value::Int(id), Value::Int(from)]).await?;
    txn.commit_async().await.map(drop)
}

async fn change(
    txn: &mut Transaction,
    accounts: &Arc<Table>,
    id: i64,
    by: i64,
) -> Result<(), Error> {
    let key = [Value::Int(id)];
    let row = txn.get_for_update_async(accounts, &key).await?.expect("no account is closed");
    let balance = accounts.live()[1];
    let new = Value::Int(number(&row[1]) + by);
    assert!(txn.update_async(accounts, &key, &[(balance, new)]).await?);
    Ok(())
}

struct Unpark(std::thread::Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Runs several tasks to their ends in this thread.
fn run_all(tasks: impl IntoIterator<Item = impl Future<Output = ()>>) {
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut tasks: Vec<_> = tasks.into_iter().map(Box::pin).collect();
    while !tasks.is_empty() {
        tasks.retain_mut(|task| task.as_mut().poll(&mut context) == Poll::Pending);
        if !tasks.is_empty() {
            std::thread::park();
        }
    }
}

/// One client: transfers until told to stop; those that were refused are counted.
async fn client(
    partition: Partition,
    seed: u64,
    stop: &AtomicBool,
    transfers: &AtomicU64,
    tell: impl Fn(i64),
) {
    let mut rng = Rng::new(seed);
    while !stop.load(Ordering::Relaxed) {
        let id = (rng.next() >> 2) as i64;
        match transfer(&partition, id, &mut rng).await {
            Ok(()) => {
                transfers.fetch_add(1, Ordering::Relaxed);
                tell(id);
            }
            Err(Error::Deadlock | Error::LockWaitTimeout { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

/// Promise: a directory is free when the last handle of its engine is dropped, whatever the engine does by itself just then.
#[test]
fn a_dropped_engine_leaves_its_directory_free() {
    let dir = tempfile::tempdir().expect("a directory");
    let options = Options { snapshot_trigger_size: 64 << 10, ..options() };
    let text = Value::Text("x".repeat(100_000));
    for round in 0..10 {
        let engine = Engine::open(dir.path(), options.clone()).expect("the directory is free");
        let database = engine.database("d").or_else(|_| {
            let made = engine.create_database(
                "d",
                DatabaseOptions { partitions: 1, durability: Durability::Async },
            )?;
            let builder = TableSchema::builder("t").column("id", "bigint").column("x", "longtext");
            made.create_table(&builder.primary_key(&["id"]).build().expect("a sound schema"))?;
            Ok::<_, Error>(made)
        });
        let partition = database.expect("it is there").partitions()[0].clone();
        let table = partition.table("t").expect("it is there");
        // Long enough for snapshots to begin, and for one to be under way at the end.
        let began = Instant::now();
        let mut id = round * 1_000;
        while began.elapsed() < Duration::from_millis(230) {
            let mut transaction = partition.begin().expect("begun");
            transaction.insert(&table, &[Value::Int(id), text.clone()]).expect("inserted");
            transaction.commit().expect("committed");
            id += 1;
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// Promise: with async durability a commit reaches the disk by itself, soon, with nobody waiting and
/// nothing following it.
#[test]
fn async_commits_reach_the_disk_by_themselves() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let engine = Engine::open(dir.path(), options()).expect("the directory opens");
    let quick = DatabaseOptions { partitions: 1, durability: Durability::Async };
    let database = engine.create_database("quick", quick).expect("a new database");
    database.create_table(&schema("accounts", "balance")).expect("a new table");
    let partition = &database.partitions()[0];
    let accounts = partition.table("accounts").expect("just made");
    for id in 0..20 {
        let mut txn = partition.begin().expect("online");
        txn.insert(&accounts, &[Value::Int(id), Value::Int(BALANCE)]).expect("a new account");
        let start = txn.commit().expect("a commit").position.expect("a row was written").start;
        let begun = Instant::now();
        while partition.status().durable <= start {
            assert!(begun.elapsed() < Duration::from_secs(5), "row {id} never flushed");
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    engine.close().expect("a clean end");
}

/// Transfers, by threads that block and by tasks that share a thread, keep every sum in every
/// scan, with snapshots meanwhile; everything acknowledged is there after a clean end.
#[test]
fn transfers_keep_the_sum_in_every_scan() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let engine = bank(dir.path());
    let (stop, transfers) = (AtomicBool::new(false), AtomicU64::new(0));
    let told = std::sync::Mutex::new(Vec::new());
    let all = partitions(&engine);
    std::thread::scope(|scope| {
        for partition in &all {
            for seed in 0..2 {
                let (stop, transfers, told) = (&stop, &transfers, &told);
                let tasks = move || {
                    let tell = |id| told.lock().expect("nobody panicked").push(id);
                    let first = 100 * u64::from(partition.ordinal()) + 8 * seed;
                    let tasks = first..first + 8;
                    run_all(tasks.map(|n| client(partition.clone(), n, stop, transfers, tell)));
                };
                scope.spawn(tasks);
            }
            let (stop, transfers) = (&stop, &transfers);
            scope.spawn(move || {
                let mut scans = 0;
                while transfers.load(Ordering::Relaxed) < 3000 || scans < 50 {
                    assert_eq!(sums(partition), [ACCOUNTS * BALANCE; 2]);
                    scans += 1;
                    if scans % 20 == 0 {
                        partition.snapshot().expect("a snapshot");
                    }
                }
                stop.store(true, Ordering::Relaxed);
            });
        }
    });
    engine.close().expect("a clean end");
    drop((all, engine));
    let engine = bank(dir.path());
    let all: std::collections::BTreeSet<i64> = partitions(&engine).iter().flat_map(done).collect();
    let told = told.into_inner().expect("nobody panicked");
    assert!(told.len() >= 3000 && told.iter().all(|id| all.contains(id)));
    assert_eq!(all.len(), told.len(), "a transfer was done that was not acknowledged");
    for partition in partitions(&engine) {
        assert_eq!(sums(&partition), [ACCOUNTS * BALANCE; 2]);
    }
}

/// Names the directory to a process that is there to be killed.
const CHILD: &str = "RESPROUT_TEST_CHILD_DIR";

/// Which allocation of that process fails, counted once its bank is open.
const FAILS_AT: &str = "RESPROUT_TEST_ALLOCATION_FAILS_AT";

/// Allocations until one fails; none does while it is zero.
static UNTIL_FAILURE: AtomicU64 = AtomicU64::new(0);

struct Failing;

#[global_allocator]
static FAILING: Failing = Failing;

fn fails() -> bool {
    let left = UNTIL_FAILURE.load(Ordering::Relaxed);
    left > 0 && UNTIL_FAILURE.fetch_sub(1, Ordering::Relaxed) == 1
}

// SAFETY: everything is the system's allocator, or no memory, which an allocator may answer.
unsafe impl GlobalAlloc for Failing {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if fails() {
            return std::ptr::null_mut();
        }
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(memory, layout) }
    }
}

/// Not a test of its own: what [`p01_killed_processes_lose_nothing`] runs and kills.
#[test]
fn child() {
    let Ok(dir) = std::env::var(CHILD) else { return };
    let engine = bank(Path::new(&dir));
    if let Some(at) = std::env::var(FAILS_AT).ok().and_then(|at| at.parse().ok()) {
        UNTIL_FAILURE.store(at, Ordering::Relaxed);
    }
    let (stop, transfers) = (AtomicBool::new(false), AtomicU64::new(0));
    let all = partitions(&engine);
    std::thread::scope(|scope| {
        for (at, partition) in all.iter().enumerate() {
            let (stop, transfers) = (&stop, &transfers);
            let seed = OsEntropy.next();
            let told = move |id| println!("\nacknowledged {at} {id}");
            let tasks =
                (0..8).map(move |n| client(partition.clone(), seed ^ n, stop, transfers, told));
            scope.spawn(move || run_all(tasks));
            let partition = partition.clone();
            scope.spawn(move || {
                while partition.snapshot().is_ok() {
                    std::thread::yield_now();
                }
            });
        }
    });
}

/// A process that runs clients until it ends, and what it said was acknowledged.
struct Victim {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Victim {
    fn start(dir: &Path, fails_at: u64) -> Self {
        let mut child = Command::new(std::env::current_exe().expect("a running program"))
            .args(["child", "--exact", "--nocapture", "--test-threads=1"])
            .env(CHILD, dir)
            .env(FAILS_AT, fails_at.to_string())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("a process");
        let lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        Self { child, lines }
    }

    /// The next acknowledgement, as partition and id; `None` when the process has ended. A line
    /// that its end cut short is no acknowledgement that anybody got.
    fn next(&mut self) -> Option<(usize, i64)> {
        loop {
            let line = self.lines.next()?.ok()?;
            let Some((at, id)) =
                line.strip_prefix("acknowledged ").and_then(|rest| rest.split_once(' '))
            else {
                continue;
            };
            if let (Ok(at), Ok(id)) = (at.parse(), id.parse()) {
                return Some((at, id));
            }
        }
    }
}

/// What was acknowledged over the lives of several processes.
#[derive(Default)]
struct Acknowledged(Vec<(usize, i64)>);

impl Acknowledged {
    /// Opens the bank of a process that has ended, and checks all that was ever acknowledged. The
    /// very last line may be a part of one.
    fn check(&mut self, dir: &Path, round: u64) -> Engine {
        let last = self.0.pop();
        let engine = bank(dir);
        let all: Vec<_> = partitions(&engine).iter().map(done).collect();
        for (at, id) in &self.0 {
            assert!(all[*at].contains(id), "round {round}: {id} is lost");
        }
        self.0.extend(last.filter(|(at, id)| all[*at].contains(id)));
        for partition in partitions(&engine) {
            assert_eq!(sums(&partition), [ACCOUNTS * BALANCE; 2], "round {round}");
        }
        engine
    }
}

/// P01 on one node: a process killed at any moment loses no acknowledged commit, and no transfer
/// is ever half done.
#[test]
fn p01_killed_processes_lose_nothing() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut acknowledged = Acknowledged::default();
    let mut rng = Rng::new(1);
    for round in 0..40 {
        let mut victim = Victim::start(dir.path(), 0);
        let wanted = 20 + rng.below(400) as usize;
        let before = acknowledged.0.len();
        acknowledged.0.extend(std::iter::from_fn(|| victim.next()).take(wanted));
        victim.child.kill().expect("it runs");
        victim.child.wait().expect("it was killed");
        // What is still in the pipe was said before the end.
        acknowledged.0.extend(std::iter::from_fn(|| victim.next()));
        assert!(acknowledged.0.len() > before, "round {round}: the process did nothing");
        let engine = acknowledged.check(dir.path(), round);
        if round % 3 == 0 {
            engine.close().expect("a clean end");
        }
    }
}

/// P15: a process that is refused memory, whichever allocation it is, ends at once, and loses no
/// acknowledged commit.
#[test]
fn p15_allocation_failures_end_the_process_and_lose_nothing() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut acknowledged = Acknowledged::default();
    let mut rng = Rng::new(2);
    for round in 0..25 {
        let mut victim = Victim::start(dir.path(), 1 + rng.below(1 << (4 + round % 12)));
        acknowledged.0.extend(std::iter::from_fn(|| victim.next()));
        let ended = victim.child.wait().expect("it ended");
        assert!(!ended.success(), "round {round}: nothing failed");
        drop(acknowledged.check(dir.path(), round));
    }
    assert!(acknowledged.0.len() > 100, "{} acknowledged", acknowledged.0.len());
}

/// Lets this process open no more files, or as many as before.
fn limit_descriptors(to: Option<u64>) -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the pointer is to a limit of our own.
    let read = unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) };
    assert_eq!(read, 0, "a process knows its limits");
    let before = limit.rlim_cur;
    limit.rlim_cur = to.unwrap_or(before);
    // SAFETY: the pointer is to a limit of our own.
    let set = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) };
    assert_eq!(set, 0, "a process may lower its limits, and raise them to what they were");
    before
}

/// Not a test of its own: what [`d37_without_descriptors_the_rest_goes_on`] runs, because a limit
/// is the whole process's.
#[test]
fn child_without_descriptors() {
    let Ok(dir) = std::env::var(format!("{CHILD}_DESCRIPTORS")) else { return };
    let engine = bank(Path::new(&dir));
    let partition = &partitions(&engine)[0];
    let mut rng = Rng::new(1);
    let before = limit_descriptors(Some(3));
    let refused = partition.snapshot().expect_err("no descriptor for a file");
    assert!(refused.to_string().contains(&dir), "{refused} names no file");
    run_all([async { transfer(partition, 1, &mut rng).await.expect("the log is open") }]);
    limit_descriptors(Some(before));
    partition.snapshot().expect("there are descriptors again");
    assert_eq!(sums(partition), [ACCOUNTS * BALANCE; 2]);
    engine.close().expect("a clean end");
}

/// D37: without descriptors a snapshot is refused with the file's name, commits go on, and the
/// next snapshot succeeds once there are some.
#[test]
fn d37_without_descriptors_the_rest_goes_on() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let ended = Command::new(std::env::current_exe().expect("a running program"))
        .args(["child_without_descriptors", "--exact", "--nocapture"])
        .env(format!("{CHILD}_DESCRIPTORS"), dir.path())
        .output()
        .expect("a process");
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    assert!(done(&partitions(&bank(dir.path()))[0]).contains(&1));
}
