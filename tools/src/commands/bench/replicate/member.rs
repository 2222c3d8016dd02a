//! One of the two nodes: an engine with one partition, its copy, and its connections.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use resprout_engine::{CopyOptions, Database, Durability, Engine};
use resprout_replication::driver::{Authority, CopyDriver, Node};
use resprout_replication::transport::{LocalNode, NodeId, Secret, Transport, TransportOptions};
use resprout_replication::{Config, Incarnation, Instance, Mode, Partition};
use resprout_wal::world::SystemClock;
use tokio::runtime::{Builder, Runtime};

use super::lines::{Contents, Sums};
use crate::access::{self, DiskChoice};
use crate::bench::dataset::Dataset;
use crate::bench::testbed::{self, DATABASE, failed, wrong};
use crate::bench::verify::every_row;
use crate::commands::bench::commit::SEQUENCE_BITS;
use crate::commands::bench::io_failed;
use crate::failure::Failure;

pub(super) const CLUSTER: u128 = 7;
pub(super) const PARTITION: Partition = Partition { cluster: CLUSTER, database: 1, ordinal: 0 };
pub(super) const MASTER: u64 = 1;
pub(super) const REPLICA: u64 = 2;
/// Longer than anything that is waited for may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(300);

/// A node. Fields are dropped in this order: what acknowledges first.
pub(super) struct Member {
    pub(super) node: Arc<Node>,
    pub(super) copy: Arc<CopyDriver>,
    pub(super) transport: Transport,
    pub(super) database: Database,
    _engine: Engine,
    _runtime: Runtime,
}

pub(super) fn cannot<E: std::fmt::Display>(what: &'static str) -> impl Fn(E) -> Failure {
    move |error| Failure::new(what, error, "run the bench again; if it stays, report it")
}

/// Waits until something is so.
pub(super) fn until(what: &str, mut so: impl FnMut() -> bool) -> Result<(), Failure> {
    let start = Instant::now();
    while !so() {
        if start.elapsed() > PATIENCE {
            let why = format!("{} s are over", PATIENCE.as_secs());
            return Err(Failure::new(format!("waited in vain until {what}"), why, "see stderr"));
        }
        thread::sleep(Duration::from_micros(100));
    }
    Ok(())
}

impl Member {
    pub(super) fn start(
        dir: &Path,
        disk: DiskChoice,
        (number, mode, run): (u64, Mode, u64),
        secret: &str,
        authority: Arc<dyn Authority>,
    ) -> Result<Self, Failure> {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.map_err(io_failed("start the connections"))?;
        let secret = Secret::new(secret.as_bytes()).map_err(cannot("the secret is no good"))?;
        let options = TransportOptions::new("127.0.0.1:0", secret, number);
        let local = LocalNode { node: NodeId(number), cluster: CLUSTER, run };
        let transport = runtime.block_on(Transport::bind(options, local));
        let transport = transport.map_err(cannot("cannot listen on 127.0.0.1"))?;
        let mut options = testbed::options(disk)?;
        (options.cluster, options.attach) = (Some(CLUSTER), false);
        // So that the log is given up where a bench wants that.
        options.snapshots_to_keep = 1;
        let engine = access::open(dir, options)?;
        let durability = if mode == Mode::Durable { Durability::Sync } else { Durability::Async };
        let copies = CopyOptions { number: 1, instances: vec![number], durability };
        let database = engine.create_copies(DATABASE, &copies).map_err(|error| failed(&error))?;
        let sender = Arc::new(transport.sender());
        let node = Node::start(sender, authority, Arc::new(SystemClock::default()));
        let node = Arc::new(node.map_err(cannot("cannot start the node"))?);
        let homes = [MASTER, REPLICA].map(|number| ((1, Instance(number)), NodeId(number)));
        node.set_homes(homes.into());
        let config = Config { mode, ..Config::default() };
        let copy = node.add_run(&database.partitions()[0], config, Incarnation(run));
        let copy = copy.map_err(cannot("cannot start the copy"))?;
        {
            let _in_runtime = runtime.enter();
            transport.start(node.inbox());
        }
        Ok(Self { node, copy, transport, database, _engine: engine, _runtime: runtime })
    }

    /// Tells where the other one is.
    pub(super) fn meet(&self, number: u64, address: String) {
        let _in_runtime = self._runtime.enter();
        self.transport.set_peers(&BTreeMap::from([(NodeId(number), address)]));
    }

    /// Lets go of the other one.
    pub(super) fn part(&self) {
        self.transport.set_peers(&BTreeMap::new());
    }

    /// Where the log ends, everything before it on the disk.
    pub(super) fn end(&self) -> Result<u64, Failure> {
        self.copy.stored().end().map(|(end, _)| end.0).map_err(|error| failed(&error))
    }

    /// Reads all rows, each whole and in a version that `judge` accepts; what the copy has.
    pub(super) fn sums(
        &self,
        row_bytes: usize,
        judge: impl Fn(u64, u32) -> bool + Sync,
    ) -> Result<Sums, Failure> {
        let data = Dataset::new(1, row_bytes, 1, 0.0);
        let digest = AtomicU64::new(0);
        let rows = every_row(&self.database, &data, false, |_, found| {
            if !judge(found.key, found.version) {
                return Err(format!("row {} in version {}", found.key, found.version));
            }
            digest.fetch_add(mixed(found.key, found.version), Ordering::Relaxed);
            Ok(())
        })?;
        let (end, lineage) = self.copy.stored().end().map_err(|error| failed(&error))?;
        let contents = Contents { rows, end: end.0, chain: lineage.chain };
        Ok(Sums { contents, digest: digest.into_inner() })
    }

    /// Checks that exactly the acknowledged rows are there, each whole; what the copy has.
    pub(super) fn verify(
        &self,
        acknowledged: &[u64],
        row_bytes: usize,
    ) -> Result<Contents, Failure> {
        let data = Dataset::new(1, row_bytes, 1, 0.0);
        let rows = every_row(&self.database, &data, false, |_, found| {
            let client = usize::try_from(found.key >> SEQUENCE_BITS).unwrap_or(usize::MAX);
            let sequence = found.key & ((1 << SEQUENCE_BITS) - 1);
            match acknowledged.get(client) {
                Some(count) if sequence < *count => Ok(()),
                _ => Err(format!("row {} was never acknowledged", found.key)),
            }
        })?;
        let expected: u64 = acknowledged.iter().sum();
        if rows != expected {
            return Err(wrong(format!("{rows} rows, {expected} were acknowledged")));
        }
        let (end, lineage) = self.copy.stored().end().map_err(|error| failed(&error))?;
        Ok(Contents { rows, end: end.0, chain: lineage.chain })
    }
}

/// A number in which all bits of key and version are, so that a sum tells sets of rows apart.
fn mixed(key: u64, version: u32) -> u64 {
    let mut word = key.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ u64::from(version) << 32;
    word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb)
}
