//! A partition as one of two copies, shipped by hand: what is acknowledged, shown, taken over, taken
//! back.

use std::future::Future;
use std::ops::ControlFlow;
use std::pin::Pin;
use std::sync::{Arc, Mutex, Weak};
use std::task::{Context, Poll, Waker};
use std::thread::JoinHandle;

use resprout_engine::table::{Change, ColumnId, NewColumn, Table, TableSchema, Value};
use resprout_engine::{
    COPY_FILE, CopyOptions, Durability, Engine, Error, Options, Partition, Shipper, State,
    StoredCopy, Unknown, Vote,
};
use resprout_wal::disk::sim::{Effect, Fault, SimDisk};
use resprout_wal::world::{SimClock, SimEntropy};
use resprout_wal::{Frame, LogError, Lsn, Term, World};

/// Keeps what a log ships.
#[derive(Debug, Default)]
struct Shipped(Mutex<Vec<Frame>>);

impl Shipper for Shipped {
    fn appended(&self, frames: &[Frame]) {
        self.0.lock().expect("not poisoned").extend(frames.iter().cloned());
    }
    fn durable(&self, _lsn: Lsn) {}
    fn failed(&self, _error: &LogError) {}
}

/// One node with one copy.
struct Node {
    engine: Engine,
    copy: Arc<StoredCopy>,
    shipped: Arc<Shipped>,
    dir: Arc<tempfile::TempDir>,
}

fn options() -> Options {
    Options { cluster: Some(7), attach: false, slot_bytes: 64 << 10, ..Options::default() }
}

/// Opens a directory again.
fn reopen(dir: &tempfile::TempDir, options: &Options) -> Engine {
    Engine::open(dir.path(), options.clone()).expect("opens")
}

impl Node {
    fn new(instance: u64, durability: Durability) -> Self {
        let dir = Arc::new(tempfile::tempdir().expect("a directory"));
        let engine = Engine::open(dir.path(), options()).expect("opens");
        let copies = CopyOptions { number: 3, instances: vec![instance], durability };
        engine.create_copies("d", &copies).expect("made");
        Self::of(engine, dir)
    }

    fn of(engine: Engine, dir: Arc<tempfile::TempDir>) -> Self {
        let partition = engine.database("d").expect("there").partitions()[0].clone();
        let shipped = Arc::new(Shipped::default());
        let weak = Arc::downgrade(&shipped);
        let weak: Weak<dyn Shipper> = weak;
        let copy = Arc::new(partition.store_copy(weak).expect("it is PENDING"));
        Self { engine, copy, shipped, dir }
    }

    /// Stops without an orderly end, and comes back.
    fn crash(self) -> Self {
        let Self { engine, copy, shipped, dir } = self;
        drop((engine, copy, shipped));
        Self::of(reopen(&dir, &options()), dir)
    }

    fn lead(&self, term: u64) {
        self.copy.enter(State::Transitioning, "test");
        assert!(self.copy.begin_term(Term(term), true, self.copy.call()).expect("begun"));
        self.copy.enter(State::Online, "test");
    }

    fn partition(&self) -> &Partition {
        self.copy.partition()
    }

    fn end(&self) -> Lsn {
        self.partition().status().end
    }

    /// Frames that were shipped and not taken. What is due goes first, as when an answer comes.
    fn has_shipped(&self) -> usize {
        self.copy.set_committed(Lsn::ZERO);
        self.shipped.0.lock().expect("not poisoned").len()
    }

    fn take(&self) -> Vec<Frame> {
        std::mem::take(&mut self.shipped.0.lock().expect("not poisoned"))
    }

    /// Takes what `master` has shipped, and applies it; shows nothing.
    fn follow(&self, master: &Self) {
        self.copy.enter(State::Replicating, "test");
        let frames = master.take();
        self.copy.reserve(frames.iter().map(Frame::padded_bytes).sum()).expect("space");
        self.copy.follow(frames).expect("they follow");
        self.copy.apply().expect("applied");
    }

    fn put(&self, id: i64, name: &str) -> JoinHandle<Result<(), Error>> {
        let partition = self.partition().clone();
        let row = [Value::Int(id), Value::Text(name.to_owned())];
        std::thread::spawn(move || {
            let table = partition.table("t")?;
            let mut txn = partition.begin()?;
            txn.insert(&table, &row)?;
            txn.commit().map(drop)
        })
    }

    fn rows(&self) -> Vec<String> {
        let Ok(table) = self.partition().table("t") else { return Vec::new() };
        rows(self.partition(), &table)
    }
}

fn rows(partition: &Partition, table: &Table) -> Vec<String> {
    let mut seen = Vec::new();
    let txn = partition.begin().expect("readable");
    txn.scan(table, &table.rows(), |row| {
        let values = row.values().expect("a good row");
        let shown: Vec<String> = values.iter().map(ToString::to_string).collect();
        seen.push(shown.join("="));
        ControlFlow::Continue(())
    })
    .expect("a scan of good rows");
    seen
}

fn schema() -> TableSchema {
    TableSchema::builder("t")
        .column("id", "bigint")
        .column("name", "varchar(100)")
        .primary_key(&["id"])
        .index("by_name", &["name"])
        .build()
        .expect("a sound schema")
}

/// Waits until something is so, which another thread sees to.
fn until(what: &str, mut so: impl FnMut() -> bool) {
    let start = std::time::Instant::now();
    while !so() {
        assert!(start.elapsed().as_secs() < 20, "{what}");
        std::thread::yield_now();
    }
}

/// Lets everything that was shipped be followed and acknowledged.
fn settle(master: &Node, replica: &Node) {
    replica.follow(master);
    show(replica, replica.end());
    show(master, replica.end());
}

/// Tells a copy what is acknowledged, and lets its disk go on until it shows that.
fn show(node: &Node, end: Lsn) {
    node.copy.set_committed(end);
    until("it is shown", || node.partition().status().committed >= end);
    node.copy.disk_went_on();
}

/// A master of term 2 with a table, and its replica.
fn pair(durability: Durability) -> (Node, Node) {
    let (master, replica) = (Node::new(1, durability), Node::new(2, durability));
    master.lead(2);
    settle(&master, &replica);
    let partition = master.partition().clone();
    let made = std::thread::spawn(move || partition.create_table(schema()));
    until("the table is shipped", || master.has_shipped() > 0);
    settle(&master, &replica);
    made.join().expect("no panic").expect("made");
    (master, replica)
}

/// Commits a row that everybody gets.
fn commit(master: &Node, replica: &Node, id: i64) {
    let waiting = master.put(id, "x");
    until("the row is shipped", || master.has_shipped() > 0 || waiting.is_finished());
    settle(master, replica);
    waiting.join().expect("no panic").expect("committed");
}

/// Has row 1 promised to be this, new or changed, and everybody has the promise.
fn promise(master: &Node, replica: &Node, id: &'static [u8], text: &str) {
    let (partition, text) = (master.partition().clone(), Value::Text(text.to_owned()));
    let prepared = std::thread::spawn(move || {
        let table = partition.table("t")?;
        let mut txn = partition.begin()?;
        if !txn.update(&table, &[Value::Int(1)], &[(ColumnId(1), text.clone())])? {
            txn.insert(&table, &[Value::Int(1), text])?;
        }
        txn.prepare(id, &[0])
    });
    until("the promise is shipped", || {
        settle(master, replica);
        prepared.is_finished()
    });
    prepared.join().expect("no panic").expect("promised");
}

/// Promise (rules 4 and 13): a commit is neither acknowledged nor seen, on either side, before everybody
/// has it who is waited for; then it is, and the copies are equal.
#[test]
fn a_commit_waits_for_the_other_copies() {
    for durability in [Durability::Sync, Durability::Async] {
        let (master, replica) = pair(durability);
        let waiting = master.put(1, "one");
        until("the row is shipped", || master.has_shipped() > 0);
        replica.follow(&master);
        assert!(!waiting.is_finished());
        assert_eq!((master.rows(), replica.rows()), (vec![], vec![]));
        let end = replica.end();
        assert_eq!(end, master.end());
        show(&replica, end);
        show(&master, end);
        waiting.join().expect("no panic").expect("committed");
        assert_eq!((master.rows(), replica.rows()), (vec!["1=one".into()], vec!["1=one".into()]));
        let proof = |node: &Node| node.copy.end().expect("runs");
        assert_eq!(proof(&master), proof(&replica), "one history");
    }
}

/// Promise: while one group is on its way the next one gathers, and goes when the answer has come.
#[test]
fn commits_gather_while_one_is_on_its_way() {
    let (master, replica) = pair(Durability::Async);
    let before = master.end();
    let first = master.put(0, "x");
    until("the first is shipped", || master.has_shipped() == 1);
    let more: Vec<_> = (1..9).map(|id| master.put(id, "x")).collect();
    // The locks of a row are free once it is appended.
    until("the others are appended", || {
        let partition = master.partition();
        let table = partition.table("t").expect("there");
        let is_there = |id| {
            let mut txn = partition.begin().expect("online");
            txn.set_lock_wait_limit(std::time::Duration::ZERO);
            let row = [Value::Int(id), Value::Text("x".into())];
            let mut step = Box::pin(txn.insert_async(&table, &row));
            let waker = Waker::noop();
            // It waits for the row of the other to be committed, before it says that it is there.
            step.as_mut().poll(&mut Context::from_waker(waker)).is_pending()
        };
        (1..9).all(is_there)
    });
    settle(&master, &replica);
    first.join().expect("no panic").expect("committed");
    until("all are committed", || {
        settle(&master, &replica);
        more.iter().all(JoinHandle::is_finished)
    });
    for waiting in more {
        waiting.join().expect("no panic").expect("committed");
    }
    // Each group takes a sector: nine commits share far fewer.
    let groups = master.end().since(before) / 4096;
    assert!(groups < 5, "{groups} groups");
    assert_eq!(replica.rows().len(), 9);
}

/// Promise (A5, rule 11): who waits when the copy is fenced learns that the outcome is unknown, nothing is
/// written any more, and the copy that takes over has what was shipped.
#[test]
fn a_fenced_master_says_that_it_does_not_know() {
    let (master, replica) = pair(Durability::Sync);
    commit(&master, &replica, 1);
    let mut open = master.partition().begin().expect("online");
    let table = master.partition().table("t").expect("there");
    open.insert(&table, &[Value::Int(9), Value::Text("open".into())]).expect("a row");
    let waiting = master.put(2, "two");
    until("the row is shipped", || master.has_shipped() > 0);
    replica.follow(&master);
    master.copy.fence().expect("fenced");
    let outcome = waiting.join().expect("no panic").expect_err("nobody knows");
    assert!(matches!(outcome, Error::OutcomeUnknown(Unknown::Fenced)), "{outcome}");
    open.commit().expect_err("it is over");
    let refused = master.partition().begin().expect_err("fenced");
    assert!(matches!(refused, Error::NotOnline { state: State::Transitioning, .. }), "{refused}");

    replica.lead(3);
    show(&replica, replica.end());
    assert_eq!(replica.rows(), ["1=x", "2=two"]);
    // The other way round, from where they part: nothing of the fenced master is missing.
    settle(&replica, &master);
    commit(&replica, &master, 3);
    assert_eq!(master.rows(), replica.rows());
    assert_eq!(master.partition().status().term, Term(3));
}

/// Promise: a master that is closed to writers comes to a standstill when those under way have ended; new ones wait, and
/// go on here when it opens again.
#[test]
fn writers_wait_while_a_master_stands_still() {
    let (master, replica) = pair(Durability::Async);
    let table = master.partition().table("t").expect("there");
    let mut open = master.partition().begin().expect("online");
    open.insert(&table, &[Value::Int(1), Value::Text("x".into())]).expect("a row");
    master.copy.close_to_writers();
    assert_eq!(master.copy.standstill(), None, "one is under way");
    let late = master.put(2, "y");
    let (partition, changed) = (master.partition().clone(), table.clone());
    let altered = std::thread::spawn(move || partition.drop_table(changed.name()));
    let ended = std::thread::spawn(move || open.commit().map(drop));
    until("a standstill", || {
        settle(&master, &replica);
        master.copy.standstill().is_some()
    });
    until("it is acknowledged", || {
        settle(&master, &replica);
        ended.is_finished()
    });
    ended.join().expect("no panic").expect("it was under way");
    settle(&master, &replica);
    assert_eq!(master.copy.standstill(), Some(replica.end()));
    assert_eq!(replica.rows(), ["1=x"], "the other two wait");
    assert!(!late.is_finished() && !altered.is_finished());
    master.copy.open_to_writers();
    until("they go on", || {
        settle(&master, &replica);
        late.is_finished() && altered.is_finished()
    });
    altered.join().expect("no panic").expect("dropped");
}

/// Promise: who waits for a master that stands still, and is fenced, has done nothing and may ask the next one; who does
/// not end is ended, and nothing of theirs is written.
#[test]
fn writers_find_the_next_master_after_a_standstill() {
    let (master, replica) = pair(Durability::Sync);
    let table = master.partition().table("t").expect("there");
    let mut long = master.partition().begin().expect("online");
    long.insert(&table, &[Value::Int(5), Value::Text("long".into())]).expect("a row");
    promise(&master, &replica, b"kept", "promised");
    master.copy.close_to_writers();
    let late = master.put(2, "late");
    master.copy.end_writers().expect("no fault");
    assert_eq!(master.copy.standstill(), None, "a promise is waited for");
    master.partition().commit_prepared(b"kept").expect("it promised");
    let ended = long.commit().expect_err("it was ended");
    assert!(matches!(ended, Error::TransactionEnded), "{ended}");
    let end = master.copy.standstill().expect("nothing is under way");
    settle(&master, &replica);
    assert_eq!(replica.end(), end);
    master.copy.fence().expect("fenced");
    let outcome = late.join().expect("no panic").expect_err("it waited");
    assert!(matches!(outcome, Error::NotOnline { .. }), "{outcome}");
    replica.lead(3);
    show(&replica, replica.end());
    assert_eq!(replica.rows(), ["1=promised"]);
}

/// Promise (rules 10 and 16): a tail that nobody else has is taken back, kept in a file, and the copy goes
/// on with its new master's; readers never saw it.
#[test]
fn a_tail_that_nobody_has_is_taken_back() {
    for crashes in [false, true] {
        let (master, replica) = pair(Durability::Sync);
        commit(&master, &replica, 1);
        let common = replica.end();
        let waiting = master.put(2, "lost");
        until("the row is shipped", || master.has_shipped() > 0);
        master.take();
        master.copy.fence().expect("fenced");
        waiting.join().expect("no panic").expect_err("nobody knows");
        // Flushed, so that a crash keeps it.
        master.copy.end().expect("runs");
        let master = if crashes { master.crash() } else { master };
        assert!(master.end() > common);
        if crashes {
            // What it has is perhaps not acknowledged.
            assert!(master.copy.acknowledged() <= common);
            master.copy.enter(State::Replicating, "test");
            let refused = master.partition().view().map(drop).expect_err("it may vanish");
            assert!(matches!(refused, Error::NotOnline { .. }), "{refused}");
        }
        master.copy.cut(common, true).expect("cut");
        let saved = std::fs::read_dir(master.partition().dir()).expect("there");
        let saved = saved.filter_map(Result::ok).map(|file| file.file_name());
        let saved: Vec<_> = saved.filter_map(|name| name.into_string().ok()).collect();
        assert!(saved.iter().any(|name| name.starts_with("cut-")), "{saved:?}");
        assert_eq!(master.end(), common);

        replica.lead(3);
        settle(&replica, &master);
        commit(&replica, &master, 5);
        assert_eq!(master.rows(), ["1=x", "5=x"]);
        assert_eq!(master.copy.end().expect("runs"), replica.copy.end().expect("runs"));
    }
}

/// Promise (R21): a replica knows a table's new form from the position on where its master changed it.
#[test]
fn r21_changes_of_tables_arrive_in_order() {
    let (master, replica) = pair(Durability::Sync);
    commit(&master, &replica, 1);
    let partition = master.partition().clone();
    let column = NewColumn::parse("note", "varchar(9)").expect("a type");
    let change = Change::AddColumn(column);
    let changed = std::thread::spawn(move || partition.alter_table("t", change));
    until("the change is shipped", || master.has_shipped() > 0);
    replica.follow(&master);
    assert_eq!(replica.partition().table("t").expect("there").schema().columns.len(), 2);
    show(&replica, replica.end());
    assert_eq!(replica.partition().table("t").expect("there").schema().columns.len(), 3);
    show(&master, replica.end());
    changed.join().expect("no panic").expect("changed");
    assert_eq!(replica.rows(), master.rows());
}

/// Promise: what was in doubt at the old master is in doubt at the new one, with its locks, and ends there.
#[test]
fn what_is_in_doubt_is_taken_over() {
    let (master, replica) = pair(Durability::Async);
    promise(&master, &replica, b"g", "promised");
    master.copy.fence().expect("fenced");
    replica.lead(3);
    show(&replica, replica.end());
    let partition = replica.partition();
    assert_eq!(partition.in_doubt().expect("online").len(), 1);
    let table = partition.table("t").expect("there");
    let mut txn = partition.begin().expect("online");
    txn.set_lock_wait_limit(std::time::Duration::ZERO);
    let row = [Value::Int(1), Value::Text("other".into())];
    let refused = txn.insert(&table, &row).expect_err("the row is locked");
    assert!(matches!(refused, Error::LockWaitTimeout { .. }), "{refused}");
    drop(txn);
    partition.commit_prepared(b"g").expect("committed");
    let voting = {
        let p = partition.clone();
        std::thread::spawn(move || p.vote(b"g"))
    };
    until("the vote is shipped", || {
        settle(&replica, &master);
        voting.is_finished()
    });
    assert_eq!(voting.join().expect("no panic").expect("a vote"), Vote::Committed);
    assert_eq!(replica.rows(), ["1=promised"]);
    assert_eq!(master.rows(), replica.rows());
}

/// Promise (rule 13): a copy that was restarted with something in doubt, and follows, is master of it later, whatever came in
/// between: what ended meanwhile, and what promised to write the same row since, included.
#[test]
fn what_was_in_doubt_at_a_restart_is_the_log_s_to_say() {
    let (master, replica) = pair(Durability::Sync);
    commit(&master, &replica, 1);
    promise(&master, &replica, b"one", "first");
    replica.copy.end().expect("runs");
    let replica = replica.crash();
    master.partition().commit_prepared(b"one").expect("committed");
    promise(&master, &replica, b"two", "second");
    master.copy.fence().expect("fenced");
    replica.lead(3);
    show(&replica, replica.end());
    let in_doubt = replica.partition().in_doubt().expect("online");
    assert_eq!(in_doubt.len(), 1);
    assert_eq!(in_doubt[0].global_id, b"two");
    assert_eq!(replica.rows(), ["1=first"]);
}

/// Promise (A1, A7): who reads what a transaction changes that was in doubt when the term began waits for its end, and sees it;
/// other rows are not waited for.
#[test]
fn readers_wait_for_what_was_taken_over_in_doubt() {
    let (master, replica) = pair(Durability::Async);
    promise(&master, &replica, b"g", "promised");
    master.copy.fence().expect("fenced");
    replica.lead(3);
    show(&replica, replica.end());
    let partition = replica.partition().clone();
    assert!(partition.in_doubt().expect("online")[0].inherited);
    let table = partition.table("t").expect("there");
    let key = |id| table.primary_key(&[Value::Int(id)]).expect("a key");
    type Settling = Pin<Box<dyn Future<Output = Result<(), Error>>>>;
    let settled = |key: Vec<u8>| -> Settling {
        let (partition, behind) = (partition.clone(), [&key[..], &[0]].concat());
        Box::pin(async move { partition.settled(&key, Some(&behind)).await })
    };
    let mut context = Context::from_waker(Waker::noop());
    let mut poll = |waiting: &mut Settling| waiting.as_mut().poll(&mut context);
    assert!(matches!(poll(&mut settled(key(2))), Poll::Ready(Ok(()))), "nothing to wait for");
    let mut waiting = settled(key(1));
    assert!(poll(&mut waiting).is_pending(), "the row is in doubt");
    let woken = {
        let (partition, key) = (partition.clone(), key(1));
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
            runtime.block_on(partition.settled(&key, None))
        })
    };
    let ending = {
        let partition = partition.clone();
        std::thread::spawn(move || partition.commit_prepared(b"g"))
    };
    until("the end is appended", || partition.in_doubt().expect("online").is_empty());
    let mut is_settled = false;
    until("it is seen", || {
        is_settled = is_settled || poll(&mut waiting).is_ready();
        assert!(!is_settled || replica.rows() == ["1=promised"]);
        settle(&replica, &master);
        is_settled && woken.is_finished()
    });
    woken.join().expect("no panic").expect("settled");
    ending.join().expect("no panic").expect("committed");
    assert!(matches!(poll(&mut settled(key(1))), Poll::Ready(Ok(()))), "nothing is in doubt");
    replica.copy.fence().expect("fenced");
    let Poll::Ready(Err(refused)) = poll(&mut settled(key(1))) else { panic!("no master") };
    assert!(matches!(refused, Error::NotOnline { .. }), "{refused}");
}

/// Promise: a reader who knows a position of the master finds there what was written.
#[test]
fn readers_of_a_replica_wait_for_a_position() {
    let (master, replica) = pair(Durability::Sync);
    let waiting = master.put(1, "one");
    until("the row is shipped", || master.has_shipped() > 0);
    let end = master.end();
    let reader = {
        let (partition, table) = (replica.partition().clone(), replica.partition().table("t"));
        let table = table.expect("there");
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
            runtime.block_on(partition.shown(end)).expect("readable");
            rows(&partition, &table)
        })
    };
    settle(&master, &replica);
    waiting.join().expect("no panic").expect("committed");
    assert_eq!(reader.join().expect("no panic"), ["1=one"]);
    let mut txn = replica.partition().begin().expect("it reads");
    let table = replica.partition().table("t").expect("there");
    let refused = txn.insert(&table, &[Value::Int(2), Value::Text("no".into())]).expect_err("only");
    assert!(matches!(refused, Error::NotOnline { state: State::Replicating, .. }), "{refused}");
}

/// Brings `to` to what `from` is by an image; how many pieces of how many had to come.
fn provision(from: &Node, to: &Node) -> (usize, usize) {
    let image = from.copy.image().expect("held");
    let own = to.copy.own_chunks().expect("runs");
    let missing: Vec<(u64, u64)> =
        (0..).zip(image.digests().iter().copied()).filter(|(_, d)| !own.contains(*d)).collect();
    let pieces: std::collections::BTreeMap<u64, bytes::Bytes> =
        missing.iter().map(|(n, digest)| (*digest, image.piece(*n).expect("there"))).collect();
    let at = (image.lsn(), image.lineage().clone());
    let whole =
        to.copy.install(at, image.digests(), &mut |digest| Ok(pieces.get(&digest).cloned()));
    assert!(whole.expect("installed"));
    (missing.len(), image.digests().len())
}

fn fill(node: &Node, ids: std::ops::Range<i64>, name: &str) {
    let partition = node.partition().clone();
    let name = name.to_owned();
    let filled = std::thread::spawn(move || {
        let table = partition.table("t")?;
        let mut txn = partition.begin()?;
        for id in ids {
            txn.insert(&table, &[Value::Int(id), Value::Text(format!("{name} {id}"))])?;
        }
        txn.commit()
    });
    until("it is shipped", || node.has_shipped() > 0);
    until("it is committed", || {
        show(node, node.end());
        filled.is_finished()
    });
    filled.join().expect("no panic").expect("committed");
}

/// Promise (R16, D32): an image brings only the pieces that differ, whatever the copies' pages look like;
/// what it becomes is there after a crash, and the log goes on behind it.
#[test]
fn r16_an_image_brings_what_differs() {
    let (master, replica) = pair(Durability::Sync);
    fill(&master, 0..20_000, "row");
    let first = provision(&master, &replica);
    assert!(first.0 >= first.1 - 2 && first.1 > 100, "{first:?}: nothing was there");
    replica.copy.enter(State::Replicating, "test");
    assert_eq!(replica.rows(), master.rows());
    assert_eq!(replica.copy.end().expect("runs"), master.copy.end().expect("runs"));

    // Some rows in between, whatever had been shipped is lost.
    master.take();
    for id in [30_000, 40_000] {
        fill(&master, id..id + 40, "more");
    }
    let second = provision(&master, &replica);
    assert!(second.0 * 20 < second.1, "{second:?}: few pieces differ");
    let replica = replica.crash();
    assert_eq!(replica.copy.end().expect("runs"), master.copy.end().expect("runs"));
    assert_eq!(replica.copy.acknowledged(), master.end());
    master.take();
    commit(&master, &replica, 50_000);
    assert_eq!(replica.rows(), master.rows());
    assert_eq!(replica.rows().len(), 20_081);
}

/// Promise (D32): a piece that is missing, or is not what it should be, leaves everything as it was.
#[test]
fn d32_an_image_that_is_not_whole_changes_nothing() {
    let (master, replica) = pair(Durability::Sync);
    fill(&master, 0..3000, "row");
    let image = master.copy.image().expect("held");
    let before = (replica.copy.end().expect("runs"), replica.rows());
    let pieces = image.digests().len() as u64;
    for spoils in [false, true] {
        let at = (image.lsn(), image.lineage().clone());
        let mut number = 0;
        let mut fetched = |_digest| {
            number += 1;
            let piece = image.piece(number - 1).expect("there");
            let last = number == pieces;
            let other = bytes::Bytes::from(piece.iter().map(|byte| byte ^ 1).collect::<Vec<_>>());
            Ok((!last || spoils).then_some(if last { other } else { piece }))
        };
        let whole = replica.copy.install(at, image.digests(), &mut fetched).expect("no fault");
        assert!(!whole);
        assert_eq!((replica.copy.end().expect("runs"), replica.rows()), before);
    }
    replica.follow(&master);
    show(&replica, replica.end());
    assert_eq!(replica.rows(), master.rows());
}

/// A node on a simulated disk, which a test may stop anywhere.
fn simulated(disk: &SimDisk, seed: u64) -> Result<Engine, Error> {
    let world = World {
        disk: Arc::new(disk.clone()),
        clock: Arc::new(SimClock::default()),
        entropy: Arc::new(SimEntropy::new(seed)),
    };
    let simulated = Options::simulated(world);
    Engine::open("/data", Options { cluster: Some(7), attach: false, ..simulated })
}

/// Promise (D32, P03): a crash at any operation of a switch to an image leaves what was before, or the
/// image; interrupted again while it is finished, too.
#[test]
fn d32_a_crash_inside_the_switch_to_an_image() {
    let (master, other) = pair(Durability::Sync);
    fill(&master, 0..300, "row");
    let first = master.copy.image().expect("held");
    master.take();
    fill(&master, 300..400, "more");
    let second = master.copy.image().expect("held");
    drop(other);
    let install = |copy: &StoredCopy, image: &resprout_engine::Image| {
        let at = (image.lsn(), image.lineage().clone());
        let numbers: std::collections::BTreeMap<u64, u64> =
            image.digests().iter().copied().zip(0..).collect();
        copy.install(at, image.digests(), &mut |digest| Ok(image.piece(numbers[&digest])))
    };
    let (mut before, mut after) = (0, 0);
    for k in 0..90 {
        let disk = SimDisk::new(k);
        let engine = simulated(&disk, 1).expect("opens");
        let options = CopyOptions { number: 3, instances: vec![5], durability: Durability::Sync };
        let database = engine.create_copies("d", &options).expect("made");
        let shipped: Arc<dyn Shipper> = Arc::new(Shipped::default());
        let copy = database.partitions()[0].store_copy(Arc::downgrade(&shipped)).expect("pending");
        assert!(install(&copy, &first).expect("installed"));
        disk.fail(Fault::at(k, Effect::CrashDuring));
        let done = install(&copy, &second);
        drop((copy, database, engine));
        let mut disk = disk.crash(k);
        disk.heal();
        for again in 0..3 {
            disk.fail(Fault::at(again * 3, Effect::CrashDuring));
            drop(simulated(&disk, 2 + again));
            disk = disk.crash(again);
            disk.heal();
        }
        let engine = simulated(&disk, 9).expect("opens");
        let partition = engine.database("d").expect("there").partitions()[0].clone();
        let status = partition.status();
        assert_eq!(status.state, State::Pending, "crash at {k}: {status:?}");
        let copy = partition.store_copy(Arc::downgrade(&shipped)).expect("pending");
        let (end, lineage) = copy.end().expect("runs");
        let image = if end == first.lsn() { &first } else { &second };
        assert_eq!((end, &lineage), (image.lsn(), image.lineage()), "crash at {k}");
        let own = copy.own_chunks().expect("runs");
        assert!(image.digests().iter().all(|digest| own.contains(*digest)), "crash at {k}");
        assert!(done.is_err() || end == second.lsn(), "what was done is lost: crash at {k}");
        before += u64::from(end == first.lsn());
        after += u64::from(end == second.lsn());
    }
    assert!(before > 5 && after > 5, "{before} before, {after} after: both were met");
}

/// Promise (rules 1 and 14): a partition that somebody replicates never makes itself master, whatever the
/// options say.
#[test]
fn a_copy_does_not_attach_itself() {
    let node = Node::new(1, Durability::Sync);
    let folder = node.partition().dir().to_owned();
    let Node { engine, copy, shipped, dir } = node;
    drop((engine, copy, shipped));
    std::fs::write(folder.join(COPY_FILE), b"whatever it keeps").expect("written");
    let engine = reopen(&dir, &Options { attach: true, ..options() });
    assert_eq!(engine.database("d").expect("there").partitions()[0].state(), State::Pending);
    drop(engine);
    std::fs::remove_file(folder.join(COPY_FILE)).expect("removed");
    let engine = reopen(&dir, &Options { attach: true, ..options() });
    assert_eq!(engine.database("d").expect("there").partitions()[0].state(), State::Online);
}

/// Promise (rules 1, 2 and 11): who was called to be master and is fenced before it began does not begin;
/// called again it takes over what is in doubt as if nothing had been.
#[test]
fn a_call_to_be_master_is_void_after_a_fence() {
    let (master, replica) = pair(Durability::Async);
    promise(&master, &replica, b"g", "promised");
    let call = replica.copy.call();
    replica.copy.fence().expect("fenced");
    let end = replica.end();
    assert!(!replica.copy.begin_term(Term(3), true, call).expect("no fault"));
    assert_eq!(replica.end(), end, "nothing was written");
    replica.lead(4);
    show(&replica, replica.end());
    assert_eq!(replica.partition().in_doubt().expect("online").len(), 1);
    assert_eq!(replica.partition().status().term, Term(4));
}

/// Promise (rule 1): nobody but whoever replicates a partition makes it master or takes something back.
#[test]
fn a_replicated_partition_is_not_changed_by_hand() {
    let node = Node::new(1, Durability::Sync);
    let refused = node.partition().attach().expect_err("the record decides");
    assert!(matches!(refused, Error::OneOfSeveral { .. }), "{refused}");
    assert_eq!(node.partition().state(), State::Pending);
    node.lead(1);
    let refused = node.partition().rewind(Lsn::ZERO).expect_err("the record decides");
    assert!(matches!(refused, Error::OneOfSeveral { .. }), "{refused}");
}

/// Promise: a database whose copies were provisioned is dropped with everything in it.
#[test]
fn a_provisioned_database_is_dropped_whole() {
    let (master, replica) = pair(Durability::Sync);
    fill(&master, 0..300, "row");
    provision(&master, &replica);
    let dir = replica.partition().dir().to_owned();
    std::fs::write(dir.join("image").join("pieces"), b"left of another").expect("written");
    replica.engine.drop_database("d").expect("dropped");
    let left: Vec<_> = std::fs::read_dir(dir).expect("its folder").collect();
    assert!(left.is_empty(), "{left:?}");
}

/// Promise: what a process that was killed in the middle left of making or dropping a copy does not stop that copy from
/// being made; it begins empty.
#[test]
fn a_copy_that_was_half_made_is_made_anew() {
    let node = Node::new(1, Durability::Sync);
    node.lead(1);
    let dir = node.dir.clone();
    drop(node);
    // The manifest is stored last, and removed first.
    std::fs::remove_file(dir.path().join("databases").join("d.db")).expect("removed");
    let engine = reopen(&dir, &options());
    assert_eq!(engine.databases().len(), 0);
    let copies = CopyOptions { number: 3, instances: vec![1], durability: Durability::Sync };
    let made = engine.create_copies("d", &copies).expect("made");
    assert_eq!(made.partitions()[0].status().end, Lsn::ZERO);
    drop((made, engine));
    let engine = reopen(&dir, &options());
    assert_eq!(engine.databases().len(), 1);
}
