//! Running plans: on threads of their own, within a bound of memory, until nobody wants more.

use std::fmt;
use std::num::NonZeroUsize;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use arrow::record_batch::RecordBatch;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::GreedyMemoryPool;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::execution::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use datafusion::prelude::SessionConfig;
use futures::{FutureExt, StreamExt};
use resprout_engine::table::ValueRef;
use resprout_sql::expression::Type;
use resprout_sql::planned::{Batch, Batches, Catalogue, Moment, Planned, Queries};
use resprout_sql::protocol::column::Columns;
use resprout_sql::server::Interrupt;
use resprout_sql::{Code, SqlError};
use sqlparser::ast::Query;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::mpsc;

use crate::error::told;
use crate::partial::pushed_down;
use crate::scan::BATCH_ROWS;
use crate::stopping::stoppable;
use crate::values::Reader;
use crate::{bind, explain};

/// Batches that may wait for a client.
const BATCHES_WAITING: usize = 4;

/// What all queries together may use.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes for groups, sorting and the built sides of joins.
    pub memory: usize,
    /// Threads.
    pub threads: usize,
}

impl Default for Limits {
    fn default() -> Self {
        let threads = std::thread::available_parallelism().map_or(2, NonZeroUsize::get);
        Self { memory: 1 << 30, threads }
    }
}

/// Plans and runs queries, for a [`SingleNode`](resprout_sql::session::SingleNode).
pub struct QueryEngine {
    /// There until it is dropped.
    runtime: Option<Runtime>,
    state: Arc<SessionState>,
}

impl fmt::Debug for QueryEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QueryEngine").finish_non_exhaustive()
    }
}

impl QueryEngine {
    /// Starts its threads.
    ///
    /// # Errors
    /// If they cannot be started.
    pub fn new(limits: Limits) -> std::io::Result<Self> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(limits.threads)
            .thread_name("query")
            .enable_time()
            .build()?;
        // Nothing is written to disk: a query that needs more memory than there is fails.
        let disk = DiskManagerBuilder::default().with_mode(DiskManagerMode::Disabled);
        let environment = RuntimeEnvBuilder::new()
            .with_memory_pool(Arc::new(GreedyMemoryPool::new(limits.memory)))
            .with_disk_manager_builder(disk)
            .build_arc()
            .map_err(std::io::Error::other)?;
        let config =
            SessionConfig::new().with_target_partitions(limits.threads).with_batch_size(BATCH_ROWS);
        let state =
            SessionStateBuilder::new().with_config(config).with_runtime_env(environment).build();
        Ok(Self { runtime: Some(runtime), state: Arc::new(state) })
    }
}

impl Drop for QueryEngine {
    fn drop(&mut self) {
        // It may be dropped by a task, which must not wait.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Queries for QueryEngine {
    fn plan(
        &self,
        query: &Query,
        catalogue: &Catalogue,
        moment: &Arc<Moment>,
    ) -> std::result::Result<Box<dyn Planned>, SqlError> {
        let bound = bind::query(query, catalogue, moment)?;
        let Some(runtime) = &self.runtime else {
            return Err(SqlError::plain(Code::SERVER_SHUTDOWN));
        };
        // A plan that is not run, for its parameters have no values, is not worth the time.
        let plan = match &moment.parameters {
            Some(_) => self.state.optimize(&bound.plan).map_err(|error| told(&error))?,
            None => bound.plan,
        };
        Ok(Box::new(Ready {
            plan,
            columns: Columns::new(bound.columns),
            types: bound.types.into(),
            state: Arc::clone(&self.state),
            handle: runtime.handle().clone(),
        }))
    }
}

/// A plan that is ready to be run.
struct Ready {
    plan: LogicalPlan,
    columns: Columns,
    types: Arc<[Type]>,
    state: Arc<SessionState>,
    handle: Handle,
}

impl Planned for Ready {
    fn columns(&self) -> &Columns {
        &self.columns
    }

    fn explain(&self) -> Vec<String> {
        let mut lines = explain::lines(&self.plan);
        // Nothing of it waits for anything.
        let physical = physical(&self.plan, &self.state).now_or_never();
        if let Some(Ok(physical)) = physical {
            explain::add_leaves(&physical, &mut lines);
        }
        lines
    }

    fn run(self: Box<Self>, interrupt: Arc<Interrupt>) -> Batches {
        let (sender, receiver) = mpsc::channel(BATCHES_WAITING);
        let handle = self.handle.clone();
        handle.spawn(async move {
            let work =
                AssertUnwindSafe(work(self.plan, (self.state, &interrupt), self.types, &sender));
            let outcome = tokio::select! {
                biased;
                // Nobody wants the rows: what runs ends when it is dropped.
                () = sender.closed() => return,
                reason = interrupt.fired() => Err(reason.error()),
                outcome = work.catch_unwind() => match outcome {
                    Ok(outcome) => outcome.map_err(|error| told(&error)),
                    Err(_) => Err(SqlError::new(Code::UNKNOWN_ERROR, "the query failed inside")),
                },
            };
            if let Err(error) = outcome {
                let _gone = sender.send(Err(error)).await;
            }
        });
        receiver
    }
}

/// Where rows go.
pub(crate) type Sender = mpsc::Sender<std::result::Result<Box<dyn Batch>, SqlError>>;

/// How an optimized plan is run.
async fn physical(plan: &LogicalPlan, state: &SessionState) -> Result<Arc<dyn ExecutionPlan>> {
    let physical = state.query_planner().create_physical_plan(plan, state).await?;
    pushed_down(physical)
}

/// The plan is optimized already.
async fn work(
    plan: LogicalPlan,
    (state, interrupt): (Arc<SessionState>, &Arc<Interrupt>),
    types: Arc<[Type]>,
    sender: &Sender,
) -> Result<()> {
    let physical = physical(&plan, &state).await?;
    drop(plan);
    let physical = stoppable(physical, interrupt, sender)?;
    let mut batches = execute_stream(physical, state.task_ctx())?;
    while let Some(batch) = batches.next().await {
        let batch = batch?;
        if batch.num_columns() != types.len() {
            return Err(DataFusionError::Internal("a result of other columns".into()));
        }
        // Each is looked at once, here: then every value can be read.
        for (array, ty) in batch.columns().iter().zip(&*types) {
            Reader::new(&**array, *ty)?;
        }
        let rows = Box::new(Arrays { batch, types: Arc::clone(&types) });
        if sender.send(Ok(rows)).await.is_err() {
            return Ok(());
        }
    }
    Ok(())
}

/// Rows of a result.
struct Arrays {
    batch: RecordBatch,
    types: Arc<[Type]>,
}

impl Batch for Arrays {
    fn rows(&self) -> usize {
        self.batch.num_rows()
    }

    fn value(&self, row: usize, column: usize) -> ValueRef<'_> {
        let reader = Reader::new(&**self.batch.column(column), self.types[column]);
        reader.map_or(ValueRef::Null, |reader| reader.get(row))
    }
}
