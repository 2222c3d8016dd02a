//! Which databases there are, and where their partitions are.

use std::collections::HashMap;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use resprout_access::{Client, Definition};
use resprout_engine::table::Value;
use resprout_engine::{DatabaseOptions, Durability, Engine, Error};

use super::database::Database;
use super::partition::Partition;
use crate::error::{Code, SqlError};
use crate::execute::unknown_database;
use crate::statement::{ClusterStatement, ParseError};

/// Work that is waited for.
pub type Work<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// So long is waited for news of partitions at least, and at most, before a look without them: that a new master is recorded is news,
/// that it serves a moment later is not.
const LOOK_AGAIN: (Duration, Duration) = (Duration::from_millis(2), Duration::from_millis(50));
/// How long a node that stands alone waits before it looks again whether what a crash cut off is ended.
const SETTLES: Duration = Duration::from_millis(2);

/// The wait after one has waited so long: a part of that, so that what is over soon is found soon, and what lasts is not asked often.
fn next_look(waited: Duration) -> Duration {
    (waited / 8).clamp(LOOK_AGAIN.0, LOOK_AGAIN.1)
}

/// Where a partition is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Home {
    /// Where the leaf with its master listens for aggregators (`host:port`); none if it has no master now.
    pub leaf: Option<String>,
    /// The mastership.
    pub term: u64,
}

/// Where the partitions of a database are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Map {
    /// Its name.
    pub name: String,
    /// Its number in the cluster.
    pub number: u32,
    /// When commits are acknowledged.
    pub durability: Durability,
    /// Whether commits wait for replicas.
    pub sync_replication: bool,
    /// Those that rows are spread over: by ordinal, without a gap.
    pub partitions: Vec<Home>,
    /// The one behind these, with the rows of reference tables; none in a database that was made before there was one: there
    /// the first partition has them.
    pub reference: Option<Home>,
}

/// How a database is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Create {
    /// Its partitions; as many as usual if not said.
    pub partitions: Option<u32>,
    /// When commits are acknowledged; as usual if not said.
    pub durability: Option<Durability>,
    /// Whether commits wait for replicas; as usual if not said.
    pub sync_replication: Option<bool>,
}

/// What a cluster shows of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listed {
    /// SHOW LEAVES.
    Leaves,
    /// `SHOW AGGREGATORS [EXTENDED]`.
    Aggregators {
        /// With more columns.
        extended: bool,
    },
    /// `SHOW PARTITIONS [EXTENDED] ON` a database.
    Partitions {
        /// Which.
        database: String,
        /// With more columns.
        extended: bool,
    },
    /// SHOW CLUSTER STATUS.
    ClusterStatus,
    /// SHOW REPLICATION STATUS.
    ReplicationStatus,
    /// SHOW DATABASES EXTENDED.
    DatabasesExtended,
    /// SHOW DATABASE STATUS.
    DatabaseStatus {
        /// Of which.
        database: String,
    },
    /// A view of information_schema, with the columns that it has there.
    View(ClusterView),
}

/// A view of the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClusterView {
    /// LEAVES.
    Leaves,
    /// AGGREGATORS.
    Aggregators,
    /// `DISTRIBUTED_DATABASES`.
    Databases,
    /// `DISTRIBUTED_PARTITIONS`.
    Partitions,
    /// `MV_EVENTS`.
    Events,
    /// `MV_CLUSTER_STATUS`.
    ClusterStatus,
    /// `MV_REPLICATION_STATUS`.
    ReplicationStatus,
    /// `MV_DISTRIBUTED_DATABASES_STATUS`.
    DatabasesStatus,
    /// `MV_RECOVERY_STATUS` of all leaves.
    RecoveryStatus,
    /// `DISTRIBUTED_PARTITIONS_ON_LEAVES`.
    PartitionsOnLeaves,
    /// `MV_ORPHANS`.
    Orphans,
    /// `MV_REBALANCE_STATUS`.
    RebalanceStatus,
}

/// A small table: names of columns, and rows of as many values.
#[derive(Clone, Debug, PartialEq)]
pub struct Shown {
    /// The names.
    pub names: Vec<String>,
    /// The rows.
    pub rows: Vec<Vec<Value>>,
}

impl Shown {
    /// Without rows.
    #[must_use]
    pub fn new(names: &[&str]) -> Self {
        Self { names: names.iter().map(|name| (*name).to_owned()).collect(), rows: Vec::new() }
    }
}

/// A cluster, as statements need it.
pub trait Directory: fmt::Debug + Send + Sync + 'static {
    /// Another number whenever something may have changed.
    fn version(&self) -> u64;

    /// Where a database's partitions are now.
    fn database(&self, name: &str) -> Option<Arc<Map>>;

    /// All of them, by name.
    fn databases(&self) -> Vec<Arc<Map>>;

    /// Makes a database; returns when it serves.
    fn create<'a>(&'a self, name: &'a str, how: Create) -> Work<'a, Result<(), SqlError>>;

    /// Whether commits of a database wait for replicas from now on; known here when it returns.
    fn set_replication<'a>(&'a self, name: &'a str, sync: bool) -> Work<'a, Result<(), SqlError>>;

    /// Drops one.
    fn drop_database<'a>(&'a self, name: &'a str) -> Work<'a, Result<(), SqlError>>;

    /// Changes a database's tables; returns when that is done. One aggregator does so for all.
    fn define<'a>(
        &'a self,
        database: &'a str,
        definition: Definition,
    ) -> Work<'a, Result<(), SqlError>>;

    /// How often the accounts that all aggregators share were changed; 0 if they share none yet.
    fn accounts_version(&self) -> u64;

    /// That, and they.
    fn accounts(&self) -> (u64, Vec<u8>);

    /// Puts others in their place, if that is still their version; whether it was. Known here when it returns.
    fn set_accounts(&self, version: u64, bytes: Vec<u8>) -> Work<'_, Result<bool, SqlError>>;

    /// What a variable of the cluster is; none if it is none of the cluster's.
    fn variable(&self, name: &str) -> Option<String>;

    /// Sets one for all nodes, none for its default; known here when it returns.
    fn set_variable<'a>(
        &'a self,
        name: &'a str,
        value: Option<String>,
    ) -> Work<'a, Result<(), SqlError>>;

    /// A statement about the cluster.
    fn carry_out<'a>(&'a self, statement: &'a ClusterStatement) -> Work<'a, Result<(), SqlError>>;

    /// The plan that a statement would carry out, as EXPLAIN shows it.
    fn explain<'a>(&'a self, statement: &'a ClusterStatement) -> Work<'a, Result<Shown, SqlError>>;

    /// The plan of a database that runs, or ran last; those of all of them, with their names, if none is said.
    fn plans<'a>(&'a self, database: Option<&'a str>) -> Work<'a, Result<Shown, SqlError>>;

    /// What the cluster shows of itself. What only nodes know is asked of them, within about a second; so this is for a
    /// thread that may wait, or for one of a runtime that has more.
    ///
    /// # Errors
    /// 1049; 1235 for what is not shown yet.
    fn show(&self, listed: &Listed) -> Result<Shown, SqlError>;

    /// Until something of this has changed, or for so long.
    fn changed(&self, within: Duration) -> Work<'_, ()>;
}

/// The databases that sessions see.
#[derive(Clone, Debug)]
pub enum Databases {
    /// Those of an engine.
    Near(Engine),
    /// Those of a cluster.
    Far(Arc<Cluster>),
}

/// The databases of a cluster, with those that were looked up last.
#[derive(Debug)]
pub struct Cluster {
    directory: Arc<dyn Directory>,
    access: Client,
    known: Mutex<Known>,
}

/// Databases as they are at one version of the directory.
#[derive(Debug, Default)]
struct Known {
    version: u64,
    databases: HashMap<String, Database>,
}

impl Cluster {
    fn database(&self, name: &str) -> Option<Database> {
        let version = self.directory.version();
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.version != version {
            *known = Known { version, databases: HashMap::new() };
        }
        if let Some(database) = known.databases.get(name) {
            return Some(database.clone());
        }
        let map = self.directory.database(name)?;
        let database = Database::far(&map, &self.access);
        known.databases.insert(name.to_owned(), database.clone());
        Some(database)
    }
}

impl Databases {
    /// Those of a cluster.
    pub(crate) fn far(directory: Arc<dyn Directory>, access: Client) -> Self {
        Self::Far(Arc::new(Cluster { directory, access, known: Mutex::default() }))
    }

    /// One by its name.
    ///
    /// # Errors
    /// [`Error::NoSuchDatabase`].
    pub fn database(&self, name: &str) -> Result<Database, Error> {
        match self {
            Self::Near(engine) => engine.database(name).map(Database::Near),
            Self::Far(cluster) => {
                let missing = || Error::NoSuchDatabase { database: name.to_owned() };
                cluster.database(name).ok_or_else(missing)
            }
        }
    }

    /// A partition where it is now, by the number of its database and its ordinal.
    pub(crate) fn partition(&self, (database, ordinal): (u32, u32)) -> Option<Partition> {
        let found = self.databases().into_iter().find(|found| found.number() == database)?;
        found.partitions().nth(ordinal as usize)
    }

    /// All of them, by name.
    #[must_use]
    pub fn databases(&self) -> Vec<Database> {
        match self {
            Self::Near(engine) => engine.databases().into_iter().map(Database::Near).collect(),
            Self::Far(cluster) => {
                let far = |map: &Arc<Map>| Database::far(map, &cluster.access);
                cluster.directory.databases().iter().map(far).collect()
            }
        }
    }

    /// SET GLOBAL of a variable of the cluster, for all nodes; none for its default.
    ///
    /// # Errors
    /// 1231 for what does not go with the databases that are there; 1235 on a node that stands alone.
    pub(crate) async fn set_variable(
        &self,
        name: &str,
        value: Option<String>,
    ) -> Result<(), SqlError> {
        match self {
            Self::Near(_) => {
                Err(SqlError::not_supported("this variable on a node that stands alone"))
            }
            Self::Far(cluster) => cluster.directory.set_variable(name, value).await,
        }
    }

    /// A statement about the cluster.
    ///
    /// # Errors
    /// 1235 on a node that stands alone; what hinders it.
    pub(crate) async fn carry_out(&self, statement: &ClusterStatement) -> Result<(), SqlError> {
        match self {
            Self::Near(_) => {
                let what = match statement {
                    ClusterStatement::BootstrapAggregator { .. } => {
                        "BOOTSTRAP AGGREGATOR: a cluster begins with `resproutd member --found`"
                    }
                    _ => "this statement on a node that stands alone",
                };
                Err(SqlError::not_supported(what))
            }
            Self::Far(cluster) => cluster.directory.carry_out(statement).await,
        }
    }

    /// As [`Directory::explain`].
    ///
    /// # Errors
    /// As [`Databases::carry_out`].
    pub(crate) async fn explain(&self, statement: &ClusterStatement) -> Result<Shown, SqlError> {
        match self {
            Self::Near(_) => {
                Err(SqlError::not_supported("this EXPLAIN on a node that stands alone"))
            }
            Self::Far(cluster) => cluster.directory.explain(statement).await,
        }
    }

    /// As [`Directory::plans`].
    ///
    /// # Errors
    /// As [`Databases::carry_out`].
    pub(crate) async fn plans(&self, database: Option<&str>) -> Result<Shown, SqlError> {
        match self {
            Self::Near(_) => Err(SqlError::not_supported("this SHOW on a node that stands alone")),
            Self::Far(cluster) => cluster.directory.plans(database).await,
        }
    }

    /// What the cluster shows of itself.
    ///
    /// # Errors
    /// As [`Databases::carry_out`].
    pub(crate) fn show(&self, listed: &Listed) -> Result<Shown, SqlError> {
        match self {
            Self::Near(_) => Err(SqlError::not_supported("this SHOW on a node that stands alone")),
            Self::Far(cluster) => cluster.directory.show(listed),
        }
    }

    /// The rows of a view; none on a node that stands alone.
    ///
    /// # Errors
    /// As [`Directory::show`].
    pub(crate) fn view(&self, view: ClusterView) -> Result<Vec<Vec<Value>>, SqlError> {
        match self {
            Self::Near(_) => Ok(Vec::new()),
            Self::Far(cluster) => Ok(cluster.directory.show(&Listed::View(view))?.rows),
        }
    }

    /// What was looked up may be out of date: partitions are elsewhere by now, or tables are others. Whether a statement
    /// that has done nothing yet may be run again; waits for a moment, or for news. A node that stands alone and has just
    /// recovered is about to end what a crash cut off. `waited`: how long it has tried.
    pub(crate) async fn look_again(&self, waited: Duration) -> bool {
        match self {
            Self::Near(engine) => {
                let is_unsettled = engine.databases().iter().any(|database| {
                    database.partitions().iter().any(resprout_engine::Partition::is_unsettled)
                });
                if is_unsettled {
                    tokio::time::sleep(SETTLES).await;
                }
                is_unsettled
            }
            Self::Far(cluster) => {
                self.databases().iter().for_each(Database::forget_tables);
                cluster.directory.changed(next_look(waited)).await;
                true
            }
        }
    }

    /// CREATE DATABASE.
    ///
    /// # Errors
    /// 1007, and what hinders it.
    pub(crate) async fn create(&self, name: &str, how: Create) -> Result<(), SqlError> {
        match self {
            Self::Near(engine) => {
                let defaults = DatabaseOptions::default();
                let options = DatabaseOptions {
                    partitions: how.partitions.unwrap_or(defaults.partitions),
                    durability: how.durability.unwrap_or(Durability::Sync),
                };
                let (engine, name) = (engine.clone(), name.to_owned());
                blocking(move || engine.create_database(&name, options)).await.map(drop)
            }
            Self::Far(cluster) => cluster.directory.create(name, how).await,
        }
    }

    /// Changes a database's tables.
    ///
    /// # Errors
    /// As the engine's; what hinders it.
    pub(crate) async fn define(
        &self,
        database: &Database,
        definition: Definition,
    ) -> Result<(), SqlError> {
        match self {
            Self::Near(_) => {
                let database = database.clone();
                blocking(move || database.define(&definition)).await
            }
            Self::Far(cluster) => {
                let done = cluster.directory.define(database.name(), definition).await;
                database.forget_tables();
                done
            }
        }
    }

    /// ALTER DATABASE … REPLICATION. A node that stands alone has nobody to wait for: nothing changes there.
    ///
    /// # Errors
    /// 1049; 2038 if a database whose commits wait for the disk is not to wait for replicas; what hinders it.
    pub(crate) async fn set_replication(&self, name: &str, sync: bool) -> Result<(), SqlError> {
        let database = self.database(name).map_err(|_| unknown_database(name))?;
        if !sync && database.durability() == Durability::Sync {
            return Err(ParseError::AsyncReplicationSyncDurability.into());
        }
        match self {
            Self::Near(_) => Ok(()),
            Self::Far(cluster) => cluster.directory.set_replication(name, sync).await,
        }
    }

    /// DROP DATABASE.
    ///
    /// # Errors
    /// 1049, and what hinders it.
    pub(crate) async fn drop_database(&self, name: &str) -> Result<(), SqlError> {
        match self {
            Self::Near(engine) => {
                let (engine, name) = (engine.clone(), name.to_owned());
                blocking(move || engine.drop_database(&name)).await
            }
            Self::Far(cluster) => cluster.directory.drop_database(name).await,
        }
    }
}

/// The engine waits for disks here, which a task must not.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, SqlError> {
    let done = tokio::task::spawn_blocking(work).await;
    let ended = |_| SqlError::new(Code::UNKNOWN_ERROR, "the thread of the statement ended");
    Ok(done.map_err(ended)??)
}
