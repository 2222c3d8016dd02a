//! Nodes with one partition each, over TCP on this machine, and an authority in memory.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use resprout_engine::table::{TableSchema, Value, ValueRef};
use resprout_engine::{CopyOptions, Durability, Engine, Error, Options};
use resprout_replication::driver::{
    Authority, CopyDriver, MemoryAuthority, Node, Post, RecordListener,
};
use resprout_replication::transport::{
    LocalNode, NodeId, Secret, Sender, Transport, TransportOptions,
};
use resprout_replication::{
    Config, CopyState, Envelope, Instance, Mode, Partition, Report, Request, State, Timing,
};
use resprout_wal::world::SystemClock;
use tempfile::TempDir;
use tokio::runtime::Runtime;

pub(crate) const PARTITION: Partition = Partition { cluster: 7, database: 3, ordinal: 0 };

/// An authority that has a bug when it is told to.
#[derive(Debug, Default)]
pub(crate) struct Touchy {
    authority: Arc<MemoryAuthority>,
    pub(crate) panics: AtomicBool,
}

impl Authority for Touchy {
    fn request(&self, partition: Partition, request: Request) {
        assert!(!self.panics.load(Ordering::SeqCst), "a bug");
        self.authority.request(partition, request);
    }

    fn report(&self, partition: Partition, report: Report) {
        self.authority.report(partition, report);
    }
}

/// Messages, unless the node is cut off.
#[derive(Debug)]
struct Line {
    sender: Sender,
    is_cut: AtomicBool,
}

impl Post for Line {
    fn send(&self, to: NodeId, envelopes: &[Envelope]) {
        if !self.is_cut.load(Ordering::SeqCst) {
            self.sender.send_all(to, envelopes);
        }
    }
}

/// A node that runs.
pub(crate) struct Running {
    pub(crate) engine: Engine,
    pub(crate) node: Arc<Node>,
    pub(crate) copy: Arc<CopyDriver>,
    transport: Transport,
    line: Arc<Line>,
}

/// All nodes, by number; one that is `None` is down.
pub(crate) struct World {
    pub(crate) authority: Arc<MemoryAuthority>,
    pub(crate) touchy: Arc<Touchy>,
    pub(crate) nodes: BTreeMap<u64, Option<Running>>,
    dirs: BTreeMap<u64, TempDir>,
    addresses: Mutex<BTreeMap<NodeId, String>>,
    pub(crate) config: Config,
    durability: Durability,
    runtime: Runtime,
    runs: u64,
}

/// Times that make failures short.
fn quick(mode: Mode) -> Config {
    let ms = Duration::from_millis;
    let timing = Timing {
        beat: ms(20),
        silent: ms(400),
        retry: ms(60),
        resend: ms(100),
        admit: ms(100),
        readmit: ms(50),
        readmit_max: ms(400),
        lease: ms(300),
        ..Timing::default()
    };
    let mut config = Config { mode, timing, ..Config::default() };
    config.limits.window_bytes = 1 << 20;
    // So that copies that come back are served from the arena too.
    config.limits.recent_bytes_max = 64 << 10;
    config
}

/// Waits until something is so.
pub(crate) fn until(what: &str, so: impl FnMut() -> bool) {
    assert!(comes_true(so), "{what}");
}

fn comes_true(mut so: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    while !so() {
        if start.elapsed() > Duration::from_secs(30) {
            return false;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    true
}

pub(crate) fn schema() -> TableSchema {
    let builder = TableSchema::builder("t").column("id", "bigint").column("name", "varchar(3000)");
    builder.primary_key(&["id"]).build().expect("a sound schema")
}

impl World {
    /// So many nodes, of which the first is master and the others are sync, with an empty table.
    pub(crate) fn new(nodes: u64, mode: Mode) -> Self {
        let durability = if mode == Mode::Durable { Durability::Sync } else { Durability::Async };
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let touchy = Arc::new(Touchy::default());
        let mut world = Self {
            authority: touchy.authority.clone(),
            touchy,
            nodes: BTreeMap::new(),
            dirs: BTreeMap::new(),
            addresses: Mutex::default(),
            config: quick(mode),
            durability,
            runtime: runtime.worker_threads(2).enable_all().build().expect("a runtime"),
            runs: 0,
        };
        for number in 1..=nodes {
            world.dirs.insert(number, tempfile::tempdir().expect("a directory"));
            world.start(number);
        }
        world.promote(1);
        world.until_online(1);
        world.running(1).copy.stored().partition().create_table(schema()).expect("made");
        if mode.is_sync() {
            (2..=nodes).for_each(|number| world.until_sync(number));
        }
        world
    }

    /// A node that was not there before.
    pub(crate) fn join(&mut self, number: u64) {
        self.dirs.insert(number, tempfile::tempdir().expect("a directory"));
        self.start(number);
    }

    pub(crate) fn running(&self, number: u64) -> &Running {
        self.nodes[&number].as_ref().expect("the node runs")
    }

    /// Starts a node on what its directory has.
    pub(crate) fn start(&mut self, number: u64) {
        self.runs += 1;
        let _in_runtime = self.runtime.enter();
        let secret = Secret::new(b"sixteen bytes at least").expect("long enough");
        let options = TransportOptions::new("127.0.0.1:0", secret, number);
        let local = LocalNode { node: NodeId(number), cluster: 7, run: self.runs };
        let transport =
            self.runtime.block_on(Transport::bind(options, local)).expect("a free port");
        let options =
            Options { cluster: Some(7), attach: false, slot_bytes: 1 << 20, ..Options::default() };
        let engine = open(self.dirs[&number].path(), &options);
        let database = engine.database("d").unwrap_or_else(|_| {
            let durability = self.durability;
            let copies = CopyOptions { number: 3, instances: vec![number], durability };
            engine.create_copies("d", &copies).expect("made")
        });
        let line = Arc::new(Line { sender: transport.sender(), is_cut: false.into() });
        let node = Node::start(line.clone(), self.touchy.clone(), Arc::new(SystemClock::default()));
        let node = Arc::new(node.expect("a thread"));
        let homes = self
            .dirs
            .keys()
            .map(|number| ((PARTITION.database, Instance(*number)), NodeId(*number)));
        node.set_homes(homes.collect());
        let copy = node.add(&database.partitions()[0], self.config).expect("started");
        self.authority.listen(listener(&node));
        let address = transport.address().to_string();
        self.addresses.lock().expect("not poisoned").insert(NodeId(number), address);
        transport.start(node.inbox());
        let incarnation = copy.identity().incarnation;
        self.nodes.insert(number, Some(Running { engine, node, copy, transport, line }));
        self.tell_addresses();
        self.authority.register(PARTITION, Instance(number), incarnation);
    }

    fn tell_addresses(&self) {
        let addresses = self.addresses.lock().expect("not poisoned");
        for running in self.nodes.values().flatten() {
            running.node.set_homes(
                addresses.keys().map(|id| ((PARTITION.database, Instance(id.0)), *id)).collect(),
            );
            running.transport.set_peers(&addresses);
        }
    }

    /// Ends a node's process, as far as that can be had inside of one.
    pub(crate) fn kill(&mut self, number: u64) {
        let Some(running) = self.nodes.get_mut(&number).and_then(Option::take) else { return };
        let Running { engine, node, copy, transport, line } = running;
        line.is_cut.store(true, Ordering::SeqCst);
        self.runtime.block_on(transport.close());
        drop((copy, node, line));
        drop(engine);
    }

    /// Cuts a node off, or heals it.
    pub(crate) fn cut(&self, number: u64, is_cut: bool) {
        self.running(number).line.is_cut.store(is_cut, Ordering::SeqCst);
        for other in self.nodes.iter().filter(|(other, _)| **other != number).flat_map(|(_, o)| o) {
            let mut addresses = self.addresses.lock().expect("not poisoned").clone();
            if is_cut {
                addresses.remove(&NodeId(number));
            }
            other.transport.set_peers(&addresses);
        }
    }

    /// Waits until the node's copy may be promoted, and does it.
    pub(crate) fn promote(&self, number: u64) {
        until(&format!("node {number} may be promoted"), || self.try_promote(number));
    }

    /// Whether the node's copy could be promoted.
    pub(crate) fn try_promote(&self, number: u64) -> bool {
        let run = self.running(number).copy.status().identity.incarnation;
        self.authority.promote(PARTITION, Instance(number), run)
    }

    pub(crate) fn is_online(&self, number: u64) -> bool {
        matches!(self.running(number).copy.status().state, State::Online(_))
    }

    pub(crate) fn until_online(&self, number: u64) {
        until(&format!("node {number} is online"), || self.is_online(number));
    }

    pub(crate) fn state_in_record(&self, number: u64) -> CopyState {
        let decided = self.authority.record(PARTITION).expect("there is one");
        decided.record.copy(Instance(number)).state
    }

    pub(crate) fn until_sync(&self, number: u64) {
        if !comes_true(|| self.state_in_record(number) == CopyState::Sync) {
            let running = self.nodes.values().flatten();
            let statuses: Vec<_> = running.map(|node| node.copy.status()).collect();
            panic!("node {number} is not synchronous: {statuses:#?}");
        }
    }

    /// Writes a row on a node.
    ///
    /// # Errors
    /// As the engine.
    pub(crate) fn put(&self, number: u64, id: i64, name: &str) -> Result<(), Error> {
        put(self.running(number).copy.stored().partition(), id, name)
    }

    /// The rows that a node shows.
    pub(crate) fn rows(&self, number: u64) -> BTreeMap<i64, String> {
        rows(self.running(number).copy.stored().partition()).expect("readable")
    }

    /// Waits until a replica shows what the master shows, then compares them, proofs included.
    pub(crate) fn until_equal(&self, master: u64, replica: u64) {
        until("the replica shows what the master shows", || {
            let partition = self.running(replica).copy.stored().partition();
            rows(partition).is_ok_and(|rows| rows == self.rows(master))
        });
        let end = |number| self.running(number).copy.stored().end().expect("runs");
        until("one end", || end(master).0 == end(replica).0);
        assert_eq!(end(master), end(replica), "one history");
    }
}

/// Opens the engine. Who wrote to it before it was killed may hold it for a moment.
fn open(dir: &std::path::Path, options: &Options) -> Engine {
    let mut opened = None;
    until("the directory is free", || match Engine::open(dir, options.clone()) {
        Ok(engine) => {
            opened = Some(engine);
            true
        }
        Err(Error::InUse { .. } | Error::Log(resprout_wal::OpenError::InUse { .. })) => false,
        Err(error) => panic!("{error}"),
    });
    opened.expect("it was opened")
}

fn listener(node: &Arc<Node>) -> Weak<dyn RecordListener> {
    let weak: Weak<Node> = Arc::downgrade(node);
    weak
}

pub(crate) fn put(
    partition: &resprout_engine::Partition,
    id: i64,
    name: &str,
) -> Result<(), Error> {
    let table = partition.table("t")?;
    let mut txn = partition.begin()?;
    txn.insert(&table, &[Value::Int(id), Value::Text(name.to_owned())])?;
    txn.commit().map(drop)
}

pub(crate) fn rows(partition: &resprout_engine::Partition) -> Result<BTreeMap<i64, String>, Error> {
    let table = partition.table("t")?;
    let txn = partition.begin()?;
    let mut seen = BTreeMap::new();
    txn.scan(&table, &table.rows(), |row| {
        let values = row.values().expect("a good row");
        if let ValueRef::Int(id) = values[0] {
            seen.insert(id, values[1].to_string());
        }
        ControlFlow::Continue(())
    })?;
    Ok(seen)
}
