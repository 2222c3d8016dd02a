//! One node's storage: partitions that are in memory, logged, and back fast.
//!
//! An [`Engine`] is a data directory. It holds [`Database`]s; each is split in [`Partition`]s, and
//! each partition has its own versioned page tree ([`tree`]), log and snapshots. Nothing here knows
//! of networks or SQL.
//!
//! ```
//! use resprout_engine::table::{TableSchema, Value};
//! use resprout_engine::{DatabaseOptions, Engine, Options};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let dir = tempfile::tempdir()?;
//! # let path = dir.path();
//! let engine = Engine::open(path, Options::default())?; // returns when everything is recovered
//! let database = engine.create_database("shop", DatabaseOptions::default())?;
//! let schema = TableSchema::builder("orders")
//!     .column("id", "bigint")
//!     .column("note", "varchar(100)")
//!     .primary_key(&["id"])
//!     .build()?;
//! database.create_table(&schema)?;
//!
//! let id = Value::Int(7);
//! let partition = database.partition_for("orders", &[id.clone()])?;
//! let orders = partition.table("orders")?;
//! let mut txn = partition.begin()?;
//! txn.insert(&orders, &[id.clone(), Value::Text("two lamps".into())])?;
//! txn.commit()?; // on disk now
//!
//! let txn = partition.begin()?;
//! let row = txn.get(&orders, &[id])?.expect("it was committed");
//! assert_eq!(row[1], Value::Text("two lamps".into()));
//! engine.close()?;
//! # Ok(())
//! # }
//! ```
//!
//! The same from tasks, on any runtime: every call that may wait has a twin that ends in `_async`.
//!
//! ```
//! use resprout_engine::table::{TableSchema, Value};
//! use resprout_engine::{DatabaseOptions, Engine, Error, Options, Partition};
//!
//! async fn add(partition: &Partition, id: i64) -> Result<(), Error> {
//!     let table = partition.table("t")?;
//!     let mut txn = partition.begin()?;
//!     txn.insert_async(&table, &[Value::Int(id)]).await?;
//!     txn.commit_async().await?;
//!     Ok(())
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let dir = tempfile::tempdir()?;
//! let engine = Engine::open(dir.path(), Options::default())?;
//! let database = engine.create_database("d", DatabaseOptions::default())?;
//! let schema = TableSchema::builder("t").column("id", "bigint").primary_key(&["id"]).build()?;
//! database.create_table(&schema)?;
//! let runtime = tokio::runtime::Builder::new_current_thread().build()?;
//! runtime.block_on(add(&database.partitions()[0], 1))?;
//! # engine.close()?;
//! # Ok(())
//! # }
//! ```
//!
//! Recovery in the background, with progress:
//!
//! ```
//! # use resprout_engine::{Engine, Options};
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let dir = tempfile::tempdir()?;
//! let recovery = Engine::recover(dir.path(), Options::default())?;
//! while !recovery.is_finished() {
//!     let progress = recovery.progress();
//!     eprintln!("{} {:.0}%, {:?} left", progress.phase, 100.0 * progress.fraction(), progress.eta);
//! }
//! let engine = recovery.wait()?;
//! # engine.close()?;
//! # Ok(())
//! # }
//! ```
//!
//! # Guarantees
//!
//! * With [`Durability::Sync`] a commit that returned survives `kill -9` and power loss. With
//!   [`Durability::Async`] the last milliseconds may be missing after a crash; what is there is
//!   always whole transactions, in order.
//! * Readers see committed transactions only, and never lock anything.
//! * A damaged copy says so ([`State::Unrecoverable`], with file, offset and LSN) and never
//!   answers with wrong rows; the other partitions go on.
//! * No global state: any number of engines in one process, each on its own directory.
//!
//! # Which module
//!
//! | to | see |
//! |---|---|
//! | describe tables, read and write rows | [`table`] |
//! | understand versions and reading without locks | [`tree`] |
//! | read the log's records | [`record`] |
//! | know the states of a copy | [`state`] |
//! | show progress | [`progress`] |
//! | know when a commit counts | [`commit_rule`] |

mod batch;
mod blocking;
pub mod commit_rule;
mod core;
mod database;
mod definition;
mod encoded;
mod engine;
mod error;
mod identity;
mod inherited;
mod keeper;
pub mod lock;
mod manifest;
mod memory;
mod numbers;
mod options;
mod overlay;
mod partition;
mod prepared;
pub mod progress;
mod publish;
pub mod record;
mod recovery;
mod rewind;
mod row_block;
mod schema_change;
mod snapshotting;
pub mod state;
mod stored_copy;
pub mod table;
mod times;
mod transaction;
pub mod tree;
mod tuning;
mod write_set;

pub use batch::Refused;
pub use commit_rule::Durability;
pub use database::{Database, shard_of};
pub use definition::{TableHome, TablesOf, copy_tables};
pub use encoded::EncodedRows;
pub use engine::{CopyOptions, DatabaseOptions, Engine, MAX_PARTITIONS, NodeStatus};
pub use error::{Error, Unknown};
pub use identity::{FORMAT_VERSION, Identity};
pub use manifest::{MAX_COPIES_NAME, MAX_DATABASE_NAME, Manifest, partition_dir};
pub use options::Options;
pub use partition::{Partition, PartitionStatus};
pub use prepared::{InDoubt, Promise, Vote};
pub use progress::{Phase, Progress};
pub use publish::Shipper;
pub use recovery::{Recovery, RecoveryReport};
pub use rewind::RewindReport;
pub use row_block::RowBlock;
pub use snapshotting::SnapshotReport;
pub use state::State;
pub use stored_copy::{
    COPY_FILE, Call, Image, OwnChunks, PlainCopy, PlainImage, ReadBack, StoredCopy,
};
pub use times::Times;
pub use transaction::{Committed, Savepoint, Transaction};
pub use tuning::Tuning;

pub use resprout_wal::Position;
