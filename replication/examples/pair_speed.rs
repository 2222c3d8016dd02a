//! What replication costs: two nodes in one process, each with its own directory, over TCP on this
//! machine. Both copies are compared behind what a pair has done; what one engine does alone is not
//! verified here (`resprout bench replicate` does, with two processes).
//!
//! ```text
//! cargo run --release -p resprout-replication --example pair_speed -- [SECONDS] [ROWS]
//! ```

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use resprout_engine::table::{TableSchema, Value};
use resprout_engine::{CopyOptions, DatabaseOptions, Durability, Engine, Options};
use resprout_replication::driver::{CopyDriver, MemoryAuthority, Node, RecordListener};
use resprout_replication::transport::{LocalNode, NodeId, Secret, Transport, TransportOptions};
use resprout_replication::{Config, CopyState, Instance, Mode, Partition, State};
use resprout_wal::world::SystemClock;
use tokio::runtime::Runtime;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

const PARTITION: Partition = Partition { cluster: 7, database: 1, ordinal: 0 };

/// One node of the pair.
struct Member {
    engine: Engine,
    node: Arc<Node>,
    copy: Arc<CopyDriver>,
    transport: Transport,
}

struct Pair {
    runtime: Runtime,
    authority: Arc<MemoryAuthority>,
    dirs: [tempfile::TempDir; 2],
    members: BTreeMap<u64, Member>,
    addresses: BTreeMap<NodeId, String>,
    mode: Mode,
    runs: u64,
}

impl Pair {
    fn new(mode: Mode, base: &Path) -> Result<Self> {
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(2).enable_all().build()?;
        let dirs = [tempfile::tempdir_in(base)?, tempfile::tempdir_in(base)?];
        let authority = Arc::new(MemoryAuthority::default());
        let (members, addresses) = (BTreeMap::new(), BTreeMap::new());
        let mut pair = Self { runtime, authority, dirs, members, addresses, mode, runs: 0 };
        pair.start(1)?;
        pair.start(2)?;
        pair.promote(1)?;
        let schema = TableSchema::builder("t")
            .column("id", "bigint")
            .column("filler", "varchar(100)")
            .primary_key(&["id"])
            .build()?;
        pair.partition(1).create_table(schema)?;
        pair.until("the replica is sync", |pair| pair.is_sync(2))?;
        Ok(pair)
    }

    fn start(&mut self, number: u64) -> Result<()> {
        self.runs += 1;
        let secret = Secret::new(b"known to the two of them")?;
        let options = TransportOptions::new("127.0.0.1:0", secret, number);
        let local = LocalNode { node: NodeId(number), cluster: 7, run: self.runs };
        let _in_runtime = self.runtime.enter();
        let transport = self.runtime.block_on(Transport::bind(options, local))?;
        let dir = &self.dirs[usize::try_from(number)? - 1];
        let options = Options { cluster: Some(7), attach: false, ..Options::default() };
        let engine = Engine::open(dir.path(), options)?;
        let database = match engine.database("d") {
            Ok(database) => database,
            Err(_) => engine.create_copies(
                "d",
                &CopyOptions {
                    number: 1,
                    instances: vec![number],
                    durability: match self.mode {
                        Mode::Durable => Durability::Sync,
                        _ => Durability::Async,
                    },
                },
            )?,
        };
        let sender = Arc::new(transport.sender());
        let node = Node::start(sender, self.authority.clone(), Arc::new(SystemClock::default()))?;
        let node = Arc::new(node);
        let config = Config { mode: self.mode, ..Config::default() };
        let copy = node.add(&database.partitions()[0], config)?;
        let listener: Weak<dyn RecordListener> = {
            let weak: Weak<Node> = Arc::downgrade(&node);
            weak
        };
        self.authority.listen(listener);
        self.addresses.insert(NodeId(number), transport.address().to_string());
        transport.start(node.inbox());
        let incarnation = copy.identity().incarnation;
        self.members.insert(number, Member { engine, node, copy, transport });
        for member in self.members.values() {
            member
                .node
                .set_homes(self.addresses.keys().map(|id| ((1, Instance(id.0)), *id)).collect());
            member.transport.set_peers(&self.addresses);
        }
        self.authority.register(PARTITION, Instance(number), incarnation);
        Ok(())
    }

    fn stop(&mut self, number: u64) -> Result<()> {
        let Some(member) = self.members.remove(&number) else { return Ok(()) };
        let Member { engine, node, copy, transport } = member;
        node.stop();
        self.runtime.block_on(transport.close());
        drop((node, copy));
        engine.close()?;
        Ok(())
    }

    fn copy(&self, number: u64) -> &Arc<CopyDriver> {
        &self.members[&number].copy
    }

    fn partition(&self, number: u64) -> &resprout_engine::Partition {
        self.copy(number).stored().partition()
    }

    fn is_sync(&self, number: u64) -> bool {
        let record = self.authority.record(PARTITION);
        record.is_some_and(|known| known.record.copy(Instance(number)).state == CopyState::Sync)
    }

    fn promote(&self, number: u64) -> Result<()> {
        self.until("it may be promoted", |pair| {
            let run = pair.copy(number).status().identity.incarnation;
            pair.authority.promote(PARTITION, Instance(number), run)
        })?;
        self.until("it is online", |pair| {
            matches!(pair.copy(number).status().state, State::Online(_))
        })
    }

    fn until(&self, what: &str, so: impl Fn(&Self) -> bool) -> Result<()> {
        let start = Instant::now();
        while !so(self) {
            if start.elapsed() > Duration::from_secs(120) {
                return Err(format!("not within two minutes: {what}").into());
            }
            std::thread::sleep(Duration::from_micros(200));
        }
        Ok(())
    }

    /// Both copies have the same rows and the same history.
    fn verify(&self) -> Result<u64> {
        let (one, other) = (self.copy(1), self.copy(2));
        self.until("one end", |_| one.status().end == other.status().end)?;
        self.until("it is shown", |_| other.stored().shown() >= one.status().end)?;
        if one.stored().end()? != other.stored().end()? {
            return Err("the copies are of different histories".into());
        }
        let (mine, theirs) = (digest(self.partition(1))?, digest(self.partition(2))?);
        if mine != theirs {
            return Err(format!("the copies differ: {mine:?} and {theirs:?}").into());
        }
        Ok(mine.0)
    }
}

/// Number of rows, and a sum over all.
fn digest(partition: &resprout_engine::Partition) -> Result<(u64, u32)> {
    let table = partition.table("t")?;
    let mut hasher = crc32fast::Hasher::new();
    let mut rows = 0;
    partition.begin()?.scan(&table, &table.rows(), |row| {
        if let Ok(values) = row.values() {
            values.iter().for_each(|value| hasher.update(value.to_string().as_bytes()));
        }
        rows += 1;
        ControlFlow::Continue(())
    })?;
    Ok((rows, hasher.finalize()))
}

fn put(partition: &resprout_engine::Partition, id: i64) -> Result<()> {
    let table = partition.table("t")?;
    let mut txn = partition.begin()?;
    txn.insert(&table, &[Value::Int(id), Value::Text("x".repeat(100))])?;
    txn.commit()?;
    Ok(())
}

/// Commits per second, and half of them take less than so long.
fn commits(
    partition: &resprout_engine::Partition,
    clients: usize,
    time: Duration,
    ids: &AtomicI64,
) -> Result<(f64, Duration)> {
    let stop = AtomicBool::new(false);
    let start = Instant::now();
    let times: Vec<Duration> = std::thread::scope(|scope| {
        let client = || {
            let mut times = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                let begun = Instant::now();
                if put(partition, ids.fetch_add(1, Ordering::Relaxed)).is_ok() {
                    times.push(begun.elapsed());
                }
            }
            times
        };
        let running: Vec<_> = (0..clients).map(|_| scope.spawn(client)).collect();
        std::thread::sleep(time);
        stop.store(true, Ordering::Relaxed);
        running.into_iter().filter_map(|client| client.join().ok()).flatten().collect()
    });
    let took = start.elapsed();
    let mut times = times;
    times.sort_unstable();
    let half = times.get(times.len() / 2).copied().ok_or("no commit at all")?;
    Ok((times.len() as f64 / took.as_secs_f64(), half))
}

/// Half of the round trips of 4 KiB there and 64 bytes back take less than so long: two threads.
fn round_trip(time: Duration) -> Result<Duration> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let answering = std::thread::spawn(move || -> std::io::Result<()> {
        let (mut stream, _) = listener.accept()?;
        stream.set_nodelay(true)?;
        let mut request = [0; 4096];
        while stream.read_exact(&mut request).is_ok() {
            stream.write_all(&[0; 64])?;
        }
        Ok(())
    });
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    let (mut times, mut answer) = (Vec::new(), [0; 64]);
    let start = Instant::now();
    while start.elapsed() < time {
        let begun = Instant::now();
        stream.write_all(&[0; 4096])?;
        stream.read_exact(&mut answer)?;
        times.push(begun.elapsed());
    }
    drop(stream);
    answering.join().map_err(|_| "the answering thread panicked")??;
    times.sort_unstable();
    Ok(times[times.len() / 2])
}

/// Commits on an engine that stands alone.
fn alone(
    base: &Path,
    durability: Durability,
    clients: usize,
    time: Duration,
) -> Result<(f64, Duration)> {
    let dir = tempfile::tempdir_in(base)?;
    let engine = Engine::open(dir.path(), Options::default())?;
    let options = DatabaseOptions { partitions: 1, durability };
    let database = engine.create_database("d", options)?;
    let schema = TableSchema::builder("t")
        .column("id", "bigint")
        .column("filler", "varchar(100)")
        .primary_key(&["id"])
        .build()?;
    database.create_table(&schema)?;
    let measured = commits(&database.partitions()[0], clients, time, &AtomicI64::new(0))?;
    engine.close()?;
    Ok(measured)
}

fn show(what: &str, figure: &str) {
    let line = format!("{what:<58} {figure}\n");
    std::io::stdout().write_all(line.as_bytes()).unwrap_or_default();
}

fn latencies(base: &Path, time: Duration) -> Result<()> {
    show("loopback round trip, 4 KiB and 64 bytes, p50", &format!("{:?}", round_trip(time)?));
    for (mode, durability, name) in [
        (Mode::Received, Durability::Async, "sync replication, async durability"),
        (Mode::Durable, Durability::Sync, "sync replication, sync durability"),
    ] {
        let pair = Pair::new(mode, base)?;
        let ids = AtomicI64::new(0);
        for clients in [1, 64] {
            let (own, own_half) = alone(base, durability, clients, time)?;
            let (rate, half) = commits(pair.partition(1), clients, time, &ids)?;
            show(
                &format!("{name}, {clients} clients"),
                &format!("{rate:.0}/s p50 {half:?}; alone {own:.0}/s p50 {own_half:?}"),
            );
        }
        let start = Instant::now();
        pair.promote(2)?;
        put(pair.partition(2), -1)?;
        show("  promotion: order to first acknowledged write", &format!("{:?}", start.elapsed()));
        let rows = pair.verify()?;
        show("  verified: rows equal on both", &rows.to_string());
    }
    Ok(())
}

/// A replica that comes late: by the log, then by an image that differs in little.
fn catching_up(base: &Path, rows: i64) -> Result<()> {
    let mut pair = Pair::new(Mode::Received, base)?;
    pair.stop(2)?;
    pair.authority.register(PARTITION, Instance(2), resprout_replication::Incarnation(1));
    fill(&pair, 0..rows)?;
    let bytes = pair.copy(1).status().end.0;
    let start = Instant::now();
    pair.start(2)?;
    pair.until("the replica is sync", |pair| pair.is_sync(2))?;
    let took = start.elapsed().as_secs_f64();
    let rate = bytes as f64 / took / 1e6;
    show(
        "shipping a log, start of the replica included",
        &format!("{rate:.0} MB/s ({bytes} bytes)"),
    );
    pair.verify()?;
    for (what, more) in [("1 % of the rows are new", rows / 100), ("few rows are new", 100)] {
        pair.stop(2)?;
        let run = pair.authority.record(PARTITION).map(|known| known.record.copy(Instance(2)));
        let run = run.unwrap_or_default().incarnation;
        pair.authority.register(PARTITION, Instance(2), run);
        let end = pair.copy(1).status().end;
        let id = rows * 2 + i64::try_from(pair.runs)? * rows;
        fill(&pair, id..id + more)?;
        while pair.copy(1).stored().first() <= end {
            // The same few rows again and again: the log moves on, and little is new.
            for round in 0..40 {
                touch(&pair, round)?;
            }
            pair.partition(1).snapshot()?;
        }
        let start = Instant::now();
        pair.start(2)?;
        pair.until("the replica is sync", |pair| pair.is_sync(2))?;
        let received: u64 =
            pair.members[&2].transport.status().iter().map(|peer| peer.received_bytes).sum();
        let all = pair.partition(1).status().rows * 120;
        let share = received as f64 / all as f64 * 100.0;
        show(
            &format!("an image where {what}"),
            &format!("{:?}, {received} bytes came, {share:.1} % of the rows'", start.elapsed()),
        );
        pair.verify()?;
    }
    Ok(())
}

fn fill(pair: &Pair, ids: std::ops::Range<i64>) -> Result<()> {
    let partition = pair.partition(1);
    let table = partition.table("t")?;
    let ids: Vec<i64> = ids.collect();
    for some in ids.chunks(2000) {
        let mut txn = partition.begin()?;
        for id in some {
            txn.insert(&table, &[Value::Int(*id), Value::Text(format!("{id:0100}"))])?;
        }
        txn.commit()?;
    }
    Ok(())
}

/// Changes some rows.
fn touch(pair: &Pair, round: i64) -> Result<()> {
    let partition = pair.partition(1);
    let table = partition.table("t")?;
    let filler = resprout_engine::table::ColumnId(1);
    let mut txn = partition.begin()?;
    for id in 0..2000 {
        let text = Value::Text(format!("{:0100}", id + round));
        txn.update(&table, &[Value::Int(id)], &[(filler, text)])?;
    }
    txn.commit()?;
    Ok(())
}

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let seconds: u64 = arguments.next().map_or(Ok(3), |text| text.parse())?;
    let rows: i64 = arguments.next().map_or(Ok(1_000_000), |text| text.parse())?;
    let base = std::env::current_dir()?;
    latencies(&base, Duration::from_secs(seconds))?;
    catching_up(&base, rows)
}
