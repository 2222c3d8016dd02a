//! A device that takes a request and never answers. Row D28.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use resprout_engine::table::{TableSchema, Value};
use resprout_engine::{
    Committed, DatabaseOptions, Durability, Engine, Error, Options, Partition, State, Transaction,
};
use resprout_wal::World;
use resprout_wal::disk::sim::{Effect, Fault, OpKind, SimDisk};
use resprout_wal::world::{SimClock, SimEntropy};

const LIMIT: Duration = Duration::from_secs(30);

fn open(disk: &SimDisk, clock: &Arc<SimClock>, run: u64) -> Engine {
    let world = World {
        disk: Arc::new(disk.clone()),
        clock: clock.clone(),
        entropy: Arc::new(SimEntropy::new(run)),
    };
    let options = Options { threads: true, stuck_after: LIMIT, ..Options::simulated(world) };
    Engine::open("/data", options).expect("the directory opens")
}

fn partitions(engine: &Engine) -> Vec<Partition> {
    engine.database("d").expect("it was made").partitions().to_vec()
}

fn try_with_row(partition: &Partition, id: i64) -> Result<Transaction, Error> {
    let table = partition.table("t")?;
    let mut txn = partition.begin()?;
    txn.insert(&table, &[Value::Int(id)])?;
    Ok(txn)
}

fn with_row(partition: &Partition, id: i64) -> Transaction {
    try_with_row(partition, id).expect("a new row")
}

fn ids(partition: &Partition) -> Vec<i64> {
    let table = partition.table("t").expect("it was made");
    let has = |id: &i64| {
        let txn = partition.begin().expect("online");
        txn.get(&table, &[Value::Int(*id)]).expect("readable").is_some()
    };
    (0..10).filter(has).collect()
}

/// From now on the device takes what the log writes and does not answer. Many faults, because the
/// arena also grows meanwhile, by other means.
fn hang(disk: &SimDisk) {
    for _ in 0..50 {
        disk.fail(Fault::on(OpKind::Write, 0, Effect::Hang).in_path("wal.arena"));
    }
}

type Commit<'a> = Pin<&'a mut dyn Future<Output = Result<Committed, Error>>>;

fn poll(commit: &mut Commit<'_>) -> Poll<Result<Committed, Error>> {
    commit.as_mut().poll(&mut Context::from_waker(Waker::noop()))
}

fn assert_unknown(outcome: Result<Committed, Error>) {
    let error = outcome.expect_err("nobody knows");
    assert!(matches!(error, Error::OutcomeUnknown(_)), "{error}");
    let text = error.to_string();
    assert!(text.contains("/data/wal.arena: the device has not answered for 3"), "{text}");
}

/// Two partitions with row 0 in each.
fn node(disk: &SimDisk, clock: &Arc<SimClock>) -> Engine {
    let engine = open(disk, clock, 1);
    let options = DatabaseOptions { partitions: 2, durability: Durability::Sync };
    let database = engine.create_database("d", options).expect("a new database");
    let schema = TableSchema::builder("t").column("id", "bigint").primary_key(&["id"]);
    database.create_table(&schema.build().expect("a sound schema")).expect("a new table");
    for partition in database.partitions() {
        with_row(partition, 0).commit().expect("durable");
    }
    engine
}

/// D28: within a stated time everybody who waits for a commit is told that its outcome is unknown,
/// tasks and threads, in every partition of the device; before that time nobody is. What was
/// committed stays readable, further writes are refused with the reason, and a new start heals.
#[test]
fn d28_a_device_that_hangs_keeps_nobody_waiting() {
    for lets_go in [true, false] {
        let disk = SimDisk::new(1);
        let clock = Arc::new(SimClock::default());
        let engine = node(&disk, &clock);
        let partitions = partitions(&engine);
        hang(&disk);
        let mut first = pin!(with_row(&partitions[0], 1).commit_async());
        let mut second = pin!(with_row(&partitions[1], 1).commit_async());
        let mut tasks: [Commit<'_>; 2] = [first.as_mut(), second.as_mut()];
        for task in &mut tasks {
            assert!(poll(task).is_pending());
        }
        // Who waits from now on does not drive.
        while engine.times().log_waiting.is_none() {
            std::thread::yield_now();
        }
        std::thread::scope(|scope| {
            let third = with_row(&partitions[0], 2);
            let third = scope.spawn(move || third.commit());
            clock.advance(LIMIT - Duration::from_secs(10));
            engine.tick();
            for task in &mut tasks {
                assert!(poll(task).is_pending(), "before the time is over");
            }
            assert_eq!(partitions[0].status().error, None);
            clock.advance(Duration::from_secs(10));
            engine.tick();
            for task in &mut tasks {
                let Poll::Ready(outcome) = poll(task) else { panic!("a task still waits") };
                assert_unknown(outcome);
            }
            let third = third.join().expect("no panic");
            // It may have come when the time was over: then nothing of it was written.
            match third {
                Err(Error::Stopped { .. }) => {}
                unknown => assert_unknown(unknown),
            }
        });
        for partition in &partitions {
            let error = partition.status().error.expect("a reason");
            assert!(error.contains("has not answered"), "{error}");
            assert_eq!(ids(partition), [0], "what was committed is read");
            let refused = try_with_row(partition, 5).map(drop);
            assert!(matches!(refused, Err(Error::Stopped { .. })), "{refused:?}");
        }
        assert!(engine.times().log_waiting >= Some(LIMIT));
        disk.heal();
        if lets_go {
            disk.let_go();
        }
        let disk = disk.crash(2);
        drop((partitions, engine));
        let engine = open(&disk, &clock, 2);
        for partition in self::partitions(&engine) {
            assert_eq!(partition.state(), State::Online);
            let ids = ids(&partition);
            assert!(ids.starts_with(&[0]) && !ids.contains(&5), "{ids:?}");
            with_row(&partition, 7).commit().expect("it goes on");
        }
    }
}

/// Promise: commits are counted with the time they took, by durability, and so are flushes.
#[test]
fn commits_and_flushes_are_timed() {
    let disk = SimDisk::new(1);
    let clock = Arc::new(SimClock::default());
    let engine = node(&disk, &clock);
    let before = engine.times();
    // Row 0 in each of the partitions.
    assert_eq!((before.sync_commits.count(), before.async_commits.count()), (2, 0));
    let partition = &partitions(&engine)[0];
    hang(&disk);
    let mut commit = pin!(with_row(partition, 1).commit_async());
    let mut commit: Commit<'_> = commit.as_mut();
    assert!(poll(&mut commit).is_pending());
    while engine.times().log_waiting.is_none() {
        std::thread::yield_now();
    }
    clock.advance(Duration::from_secs(1));
    disk.heal();
    disk.let_go();
    while poll(&mut commit).is_pending() {
        std::thread::yield_now();
    }
    let after = engine.times();
    assert_eq!((after.sync_commits.count(), after.async_commits.count()), (3, 0));
    let took = after.sync_commits.sum() - before.sync_commits.sum();
    assert!(took >= Duration::from_secs(1) && took < Duration::from_secs(2), "{took:?}");
    let flush = after.flushes.sum() - before.flushes.sum();
    assert!(flush >= Duration::from_secs(1) && flush <= took, "{flush:?}");
    let options = DatabaseOptions { partitions: 1, durability: Durability::Async };
    let database = engine.create_database("a", options).expect("a new database");
    let schema = TableSchema::builder("t").column("id", "bigint").primary_key(&["id"]);
    database.create_table(&schema.build().expect("a sound schema")).expect("a new table");
    for id in 0..3 {
        with_row(&database.partitions()[0], id).commit().expect("appended");
    }
    drop(with_row(&database.partitions()[0], 4));
    let times = engine.times();
    let counted = (times.sync_commits.count(), times.async_commits.count());
    assert_eq!(counted, (3, 3), "what is rolled back does not count");
    engine.close().expect("closes");
}
