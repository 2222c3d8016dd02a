//! The seam to the query library: statements of several tables, with groups, subqueries or
//! windows, are planned and run by somebody else, if there is somebody.
//!
//! ```text
//!  session ── tree, Catalogue, Moment ──► Queries::plan ─► Planned ── run ──► Batches ─► client
//!               │                                            │
//!               └ open: a transaction and a state            └ Stored::evaluate: what comes of rows of a
//!                 of each partition that is read               partition, of that state, with own writes
//! ```
//!
//! Without an implementation ([`SingleNode::with_queries`](crate::session::SingleNode)) such
//! statements answer 1235. This package builds none, so that it stays quick to build.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use resprout_access::pushdown::{Limits, Pushdown, Sink};
use resprout_engine::table::{ColumnId, Index, KeyRange, Table, TableSchema, Value, ValueRef};
use sqlparser::ast::{Expr, Query};
use tokio::sync::{mpsc, oneshot};

use crate::accounts::is_information_schema;
use crate::error::{Code, SqlError};
use crate::execute::{self, Target, Views};
use crate::expression::{Context, Session, Type};
use crate::place::{Database, Databases, Transaction, View};
use crate::protocol::column::{Column, Columns};
use crate::server::Interrupt;
use crate::session::{Open, Part};

/// Plans the queries that are not done here.
pub trait Queries: fmt::Debug + Send + Sync {
    /// Plans a query. What it will read is found in the catalogue while it is planned.
    ///
    /// # Errors
    /// With what the client is told; 1235 for what cannot be done at all.
    fn plan(
        &self,
        query: &Query,
        catalogue: &Catalogue,
        moment: &Arc<Moment>,
    ) -> Result<Box<dyn Planned>, SqlError>;
}

/// A query that is ready to be run, once.
pub trait Planned: Send {
    /// Its result's columns.
    fn columns(&self) -> &Columns;

    /// How it will be run, a line for each step.
    fn explain(&self) -> Vec<String>;

    /// Runs it. Dropping the batches ends it.
    fn run(self: Box<Self>, interrupt: Arc<Interrupt>) -> Batches;
}

/// Rows of a result as they come, in batches of which few are waiting.
pub type Batches = mpsc::Receiver<Result<Box<dyn Batch>, SqlError>>;

/// Some rows of a result.
pub trait Batch: Send + Sync {
    /// How many.
    fn rows(&self) -> usize;

    /// A value: of a row and a column, both from 0.
    fn value(&self, row: usize, column: usize) -> ValueRef<'_>;
}

/// What a statement's expressions see of the world, fixed when the statement begins.
pub struct Moment {
    /// The session.
    pub session: Arc<dyn Session + Send + Sync>,
    /// The values of the parameters; none while the statement is prepared.
    pub parameters: Option<Vec<Value>>,
    /// Microseconds from 1970.
    pub now: i64,
    /// Seconds east of UTC.
    pub zone: i32,
}

impl fmt::Debug for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Moment").field("now", &self.now).finish_non_exhaustive()
    }
}

impl Moment {
    /// Of a statement that begins now.
    #[must_use]
    pub fn new(session: Arc<dyn Session + Send + Sync>, parameters: Option<Vec<Value>>) -> Self {
        let (now, zone) = {
            let context = Context::new(&*session, &[]);
            (context.now, context.zone)
        };
        Self { session, parameters, now, zone }
    }

    /// What expressions are evaluated in.
    #[must_use]
    pub fn context(&self) -> Context<'_> {
        let parameters = self.parameters.as_deref().unwrap_or_default();
        let mut context = Context::new(&*self.session, parameters);
        (context.now, context.zone) = (self.now, self.zone);
        context
    }
}

/// What tables there are, for one statement.
#[derive(Clone, Debug)]
pub struct Catalogue {
    databases: Databases,
    database: Option<String>,
    views: Views,
    reads: Arc<Reads>,
}

/// A table to read from.
#[derive(Clone, Debug)]
pub enum Source {
    /// Of a database.
    Stored(Stored),
    /// Rows that were made for the statement, such as those of information_schema.
    Made(Made),
}

/// Rows in memory.
#[derive(Clone, Debug)]
pub struct Made {
    /// The database that they pretend to be in.
    pub database: String,
    /// What they look like.
    pub schema: Arc<TableSchema>,
    /// The rows: values of the living columns in order.
    pub rows: Arc<Vec<Vec<Value>>>,
}

impl Catalogue {
    pub(crate) fn new(databases: Databases, database: Option<String>, views: Views) -> Self {
        Self { databases, database, views, reads: Arc::default() }
    }

    /// The database that names without one are in.
    #[must_use]
    pub fn database(&self) -> Option<&str> {
        self.database.as_deref()
    }

    /// Looks a table up.
    ///
    /// # Errors
    /// 1046, 1049, 1109, 1146.
    pub fn find(&self, database: Option<&str>, table: &str) -> Result<Source, SqlError> {
        let database = database.or(self.database());
        if database.is_some_and(is_information_schema) {
            return self.views.find(table).map(Source::Made);
        }
        let target = Target::find(&self.databases, database, table)?;
        self.reads.will_read(&target);
        Ok(Source::Stored(Stored { target, reads: Arc::clone(&self.reads) }))
    }

    /// Fixes what is read: a state of each partition that was found, with what the session wrote
    /// there. What is the session's comes back once nobody reads any more.
    pub(crate) fn open(&self, open: &mut Open) -> Result<Returned, SqlError> {
        let wanted = std::mem::take(&mut *lock(&self.reads.wanted));
        let (mut parts, mut lent) = (BTreeMap::new(), 0);
        let mut failed = None;
        for (id, database) in wanted {
            let of = match open.take(&database, id.1) {
                Some(part) => {
                    lent += 1;
                    ReadOf::Session(database.clone(), part)
                }
                None => match database.partition(id.1).begin() {
                    Ok(own) => ReadOf::Own(own),
                    Err(error) => {
                        failed = Some(error.into());
                        break;
                    }
                },
            };
            match of.transaction().view() {
                Ok(view) => {
                    parts.insert(id, Read { view, of });
                }
                Err(error) => {
                    failed = Some(error.into());
                    if let ReadOf::Session(database, part) = of {
                        open.put_back(&database, part);
                    }
                    break;
                }
            }
        }
        if let Some(error) = failed {
            for part in parts.into_values() {
                if let ReadOf::Session(database, part) = part.of {
                    open.put_back(&database, part);
                }
            }
            return Err(error);
        }
        let (sender, receiver) = oneshot::channel();
        if lent > 0 {
            *lock(&self.reads.back) = Some(sender);
        }
        // Nobody else sets it: the catalogue is of one statement.
        let _first = self.reads.parts.set(parts);
        Ok(Returned((lent > 0).then_some(receiver)))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A partition: number of the database, and ordinal.
type PartitionId = (u32, usize);

/// What one statement reads from.
#[derive(Debug, Default)]
struct Reads {
    wanted: Mutex<BTreeMap<PartitionId, Database>>,
    parts: OnceLock<BTreeMap<PartitionId, Read>>,
    back: Mutex<Option<oneshot::Sender<Lent>>>,
}

/// What was the session's.
type Lent = Vec<(Database, Part)>;

#[derive(Debug)]
struct Read {
    view: View,
    of: ReadOf,
}

#[derive(Debug)]
enum ReadOf {
    Session(Database, Part),
    Own(Transaction),
}

impl ReadOf {
    const fn transaction(&self) -> &Transaction {
        match self {
            Self::Session(_, part) => &part.inner,
            Self::Own(transaction) => transaction,
        }
    }
}

impl Reads {
    fn will_read(&self, target: &Target) {
        let mut wanted = lock(&self.wanted);
        for ordinal in target.everywhere() {
            wanted.insert((target.database.number(), ordinal), target.database.clone());
        }
    }
}

impl Drop for Reads {
    fn drop(&mut self) {
        let Some(back) = lock(&self.back).take() else { return };
        let parts = self.parts.take().unwrap_or_default();
        let lent = parts.into_values().filter_map(|read| match read.of {
            ReadOf::Session(database, part) => Some((database, part)),
            ReadOf::Own(_) => None,
        });
        // If the session is gone, dropping them rolls back.
        let _gone = back.send(lent.collect());
    }
}

/// Where the session gets back what it lent.
#[derive(Debug)]
pub(crate) struct Returned(Option<oneshot::Receiver<Lent>>);

impl Returned {
    /// Waits until nobody reads any more. The catalogue, the plan and the batches must be gone.
    pub(crate) async fn wait(self, open: &mut Open) -> Result<(), SqlError> {
        let Some(receiver) = self.0 else { return Ok(()) };
        let ended = |_| SqlError::new(Code::UNKNOWN_ERROR, "a thread of the statement ended");
        for (database, part) in receiver.await.map_err(ended)? {
            open.put_back(&database, part);
        }
        Ok(())
    }
}

/// A table of a database.
#[derive(Clone, Debug)]
pub struct Stored {
    target: Target,
    reads: Arc<Reads>,
}

impl Stored {
    /// The name of its database.
    #[must_use]
    pub fn database(&self) -> &str {
        self.target.database.name()
    }

    /// The table.
    #[must_use]
    pub const fn table(&self) -> &Arc<Table> {
        &self.target.table
    }

    /// The partitions that have rows of it.
    #[must_use]
    pub fn partitions(&self) -> Vec<usize> {
        self.target.everywhere()
    }

    /// The partition that has the rows with these values of the shard key; none if any may.
    ///
    /// # Errors
    /// If a value does not fit its column.
    pub fn partition_of(&self, shard_values: &[Value]) -> Result<Option<usize>, SqlError> {
        if self.target.schema().shard_key.is_empty() {
            return Ok(None);
        }
        execute::partition_of(&self.target, shard_values).map(Some)
    }

    /// The range of rows whose primary key begins with these values, and goes on between two;
    /// each bound with whether it belongs to the range.
    ///
    /// # Errors
    /// If a value does not fit its column.
    pub fn range(
        &self,
        prefix: &[Value],
        lower: Option<(Value, bool)>,
        upper: Option<(Value, bool)>,
    ) -> Result<KeyRange, SqlError> {
        execute::key_range(&self.target, prefix, lower, upper)
    }

    /// Whether its rows are on other nodes.
    #[must_use]
    pub fn is_far(&self) -> bool {
        self.target.database.is_far()
    }

    /// Gives what comes of the rows of a piece of a range, done where they are, and where the next piece begins; none if
    /// that was all. `is_first` says that little may be enough.
    ///
    /// # Errors
    /// If the partition does not serve, or a row is damaged; of the sink.
    pub fn evaluate(
        &self,
        partition: usize,
        range: &KeyRange,
        how: (&Pushdown, Limits, bool),
        sink: &mut dyn Sink,
    ) -> Result<Option<Vec<u8>>, SqlError> {
        self.evaluated(partition, (None, range), how, sink)
    }

    /// The same for the rows that an index leads to, by a [range](Stored::index_range) of it.
    ///
    /// # Errors
    /// As [`Stored::evaluate`].
    pub fn evaluate_index(
        &self,
        partition: usize,
        (index, range): (&Index, &KeyRange),
        how: (&Pushdown, Limits, bool),
        sink: &mut dyn Sink,
    ) -> Result<Option<Vec<u8>>, SqlError> {
        self.evaluated(partition, (Some(index), range), how, sink)
    }

    fn evaluated(
        &self,
        partition: usize,
        (index, range): (Option<&Index>, &KeyRange),
        how: (&Pushdown, Limits, bool),
        sink: &mut dyn Sink,
    ) -> Result<Option<Vec<u8>>, SqlError> {
        let read = self.read(partition)?;
        let of = (&*self.target.table, index, range);
        Ok(read.of.transaction().evaluate(&read.view, of, how, sink)?)
    }

    /// What is done where its rows are, in words; nothing for columns alone.
    #[must_use]
    pub fn pushed(&self, pushdown: &Pushdown) -> String {
        crate::pushdown::shown(pushdown, self.target.schema())
    }

    /// The range of an index, for values of its first columns.
    ///
    /// # Errors
    /// If a value does not fit its column.
    pub fn index_range(&self, index: &Index, values: &[Value]) -> Result<KeyRange, SqlError> {
        let range = self.target.table.index_range(index, values);
        Ok(range.map_err(resprout_engine::Error::from)?)
    }

    fn read(&self, partition: usize) -> Result<&Read, SqlError> {
        let parts = self.reads.parts.get();
        let id = (self.target.database.number(), partition);
        let read = parts.and_then(|parts| parts.get(&id));
        read.ok_or_else(|| SqlError::new(Code::UNKNOWN_ERROR, "a partition was not opened"))
    }
}

/// What clients are told of a table's column that is a column of a result.
#[must_use]
pub fn column_of_table(
    (database, schema): (&str, &TableSchema),
    id: ColumnId,
    alias: Option<&str>,
    name: &str,
) -> Column {
    execute::of_column(database, schema, id, alias, name)
}

/// What a column of a result without an alias is called.
#[must_use]
pub fn name_of(expression: &Expr) -> String {
    execute::name_of(expression)
}

/// What clients are told of a column of computed values.
#[must_use]
pub fn column_of_values(name: &str, ty: Type) -> Column {
    execute::of_expression(name, ty)
}
