//! Queries: planned, run, and sent to the client as rows come.
//!
//! The first [`ROWS_INLINE`] rows are read where the session runs: most statements read fewer, and
//! a change of threads would cost more than they do. A statement that goes on is begun again on a
//! thread of its own, so that long scans hold up no other session; its rows come over a channel of
//! few batches, so that a slow client slows the scan and memory stays bounded.

use std::sync::Arc;

use resprout_engine::table::Value;
use sqlparser::ast::Query;

use super::planned;
use super::router::{Found, Target};
use super::rows::{Budget, Living, Stop};
use super::select::{From, Plan, from};
use super::value;
use crate::accounts::is_information_schema;
use crate::error::{Code, SqlError};
use crate::expression::{Context, Scope};
use crate::place::Transaction;
use crate::protocol::column::Columns;
use crate::server::{ResultWriter, Rows};
use crate::session::{Client, Part, Surroundings};

/// A plan that is shared with the thread that runs it.
pub(crate) type SharedPlan = Arc<Plan>;

/// Rows that a statement may give before it goes to a thread of its own.
const ROWS_INLINE: usize = 1000;

/// Rows of one batch of a thread, and batches that may wait.
const ROWS_OF_BATCH: usize = 256;
const BATCHES_WAITING: usize = 4;

/// Plans a query.
///
/// # Errors
/// 1046, 1049, 1146, 1054 and others; 1235 for what is not done here.
pub(crate) fn plan(client: &Client, query: &Query) -> Result<Plan, SqlError> {
    let surroundings = client.state.surroundings();
    let scope = Scope::new(&surroundings);
    match from(query)? {
        From::Nothing(select) => Plan::new(query, select, None, None, scope),
        From::Table(select, database, table, alias) => {
            let database = database.or(client.state.database.as_deref());
            if database.is_some_and(is_information_schema) {
                return Err(SqlError::not_supported(
                    "information_schema without the query library",
                ));
            }
            let target = Target::find(&client.node.databases, database, table)?;
            let held = target.clone();
            let scope = scope.with_table(held.database.name(), held.schema(), alias);
            Plan::new(query, select, Some(target), alias, scope)
        }
    }
}

/// The columns of a query and its plan, if that is worth keeping.
///
/// # Errors
/// As [`plan`].
pub(crate) async fn prepare(
    client: &Client,
    query: &Query,
) -> Result<(Columns, Option<SharedPlan>), SqlError> {
    match plan(client, query) {
        Ok(plan) => Ok((plan.columns.clone(), Some(Arc::new(plan)))),
        Err(reason) => {
            let queries = planned::instead(client, reason)?;
            Ok((Box::pin(planned::columns(client, queries, query)).await?, None))
        }
    }
}

/// Runs a query and sends its rows.
///
/// # Errors
/// With what the client is told.
pub(crate) async fn query(
    client: &mut Client,
    query: &Query,
    kept: Option<&mut Option<SharedPlan>>,
    parameters: &[Value],
    out: &mut ResultWriter<'_>,
) -> Result<(), SqlError> {
    let plan = match kept {
        Some(Some(plan)) if is_current(plan) => Arc::clone(plan),
        kept => match plan(client, query) {
            Ok(plan) => {
                let plan = Arc::new(plan);
                if let Some(place) = kept {
                    *place = Some(Arc::clone(&plan));
                }
                plan
            }
            Err(reason) => {
                let queries = planned::instead(client, reason)?;
                return Box::pin(planned::query(client, queries, query, parameters, out)).await;
            }
        },
    };
    let found = plan.find(parameters)?;
    if plan.lock.is_some() && plan.target.is_some() {
        let rows = locked(client, &plan, &found, parameters).await?;
        client.end_statement(out).await?;
        let mut result = out.rows(&plan.columns).await?;
        put_all(&mut result, &plan, &rows).await?;
        result.end(0);
        client.state.found_rows = rows.len() as u64;
        return Ok(());
    }
    let surroundings = client.state.surroundings();
    let mut parts = take_parts(client, plan.target.as_ref(), &found.0)?;
    let interrupt = Arc::clone(&client.opening.interrupt);
    let parameters = parameters.to_vec();
    let job = Job { plan: Arc::clone(&plan), found, parameters, surroundings };
    let fetched = fetch(&job, &mut parts, &interrupt).await;
    let inline = fetched.and_then(|()| run_inline(&job, &parts, &interrupt));
    let rows = match inline {
        Ok(Some(rows)) => rows,
        Ok(None) => {
            let parts = match in_columns(client, query, &job, parts, out).await? {
                Some(parts) => parts,
                None => return Ok(()),
            };
            client.end_reading(out);
            let result = out.rows(&plan.columns).await?;
            let (parts, sent) = stream(job, parts, interrupt, result).await;
            give_back(client, plan.target.as_ref(), parts);
            client.state.found_rows = sent?;
            client.state.row_count = -1;
            return Ok(());
        }
        Err(error) => {
            give_back(client, plan.target.as_ref(), parts);
            return Err(error);
        }
    };
    give_back(client, plan.target.as_ref(), parts);
    client.state.take_in(job.surroundings);
    client.end_reading(out);
    client.state.row_count = -1;
    client.state.found_rows = rows.len() as u64;
    let mut result = out.rows(&plan.columns).await?;
    put_all(&mut result, &plan, &rows).await?;
    result.end(0);
    Ok(())
}

/// Aggregates over many rows are several times faster column by column, if somebody does that: runs
/// the query there, or gives the parts back.
async fn in_columns(
    client: &mut Client,
    query: &Query,
    job: &Job,
    parts: Vec<ReadPart>,
    out: &mut ResultWriter<'_>,
) -> Result<Option<Vec<ReadPart>>, SqlError> {
    let Some(queries) = client.node.queries.clone().filter(|_| job.plan.aggregates()) else {
        return Ok(Some(parts));
    };
    let target = job.plan.target.as_ref();
    give_back(client, target, parts);
    match Box::pin(planned::query(client, queries, query, &job.parameters, out)).await {
        Ok(()) => Ok(None),
        Err(error) if error.code == Code::NOT_SUPPORTED_YET => {
            take_parts(client, target, &job.found.0).map(Some)
        }
        Err(error) => Err(error),
    }
}

/// Whether a plan is of the table as it is now.
fn is_current(plan: &Plan) -> bool {
    let Some(target) = &plan.target else { return true };
    let now = target.database.table(target.table.name());
    now.is_ok_and(|now| Arc::ptr_eq(&now, &target.table))
}

/// A partition's part of a read: in the session's transaction, or of its own.
type ReadPart = (usize, ReadOf);

enum ReadOf {
    Session(Part),
    Own(Transaction),
}

impl ReadOf {
    const fn transaction(&self) -> &Transaction {
        match self {
            Self::Session(part) => &part.inner,
            Self::Own(transaction) => transaction,
        }
    }
}

fn take_parts(
    client: &mut Client,
    target: Option<&Target>,
    found: &Found,
) -> Result<Vec<ReadPart>, SqlError> {
    let Some(target) = target else { return Ok(Vec::new()) };
    let one = |ordinal: usize| {
        let part = match client.open.take(&target.database, ordinal) {
            Some(part) => ReadOf::Session(part),
            None => ReadOf::Own(target.database.partition(ordinal).begin()?),
        };
        Ok((ordinal, part))
    };
    found.partitions().into_iter().map(one).collect()
}

fn give_back(client: &mut Client, target: Option<&Target>, parts: Vec<ReadPart>) {
    let Some(target) = target else { return };
    for (_, part) in parts {
        if let ReadOf::Session(part) = part {
            client.open.put_back(&target.database, part);
        }
    }
}

/// Fetches what the session has not touched from other nodes, if that is little: at once, and no thread waits for it.
async fn fetch(
    job: &Job,
    parts: &mut [ReadPart],
    interrupt: &crate::server::Interrupt,
) -> Result<(), SqlError> {
    let Some(target) = &job.plan.target else { return Ok(()) };
    let mut far = Vec::new();
    for (ordinal, part) in parts {
        if let ReadOf::Own(transaction) = part
            && transaction.is_far()
        {
            far.push((transaction, job.found.0.looked(*ordinal)));
        }
    }
    if far.is_empty() {
        return Ok(());
    }
    let each = job.plan.rows_wanted(&job.found, &job.parameters)?;
    let rows = |rows: u64| u32::try_from(rows).unwrap_or(u32::MAX);
    let limits = (rows(ROWS_INLINE as u64), rows(each));
    tokio::select! {
        biased;
        fetched = crate::place::fetch(&target.table, far, limits) => Ok(fetched?),
        reason = interrupt.fired() => Err(reason.error()),
    }
}

/// The rows, if there are few.
fn run_inline(
    job: &Job,
    parts: &[ReadPart],
    interrupt: &crate::server::Interrupt,
) -> Result<Option<Vec<Vec<Value>>>, SqlError> {
    let borrowed: Vec<_> =
        parts.iter().map(|(ordinal, part)| (*ordinal, part.transaction())).collect();
    let context = Context::new(&job.surroundings, &job.parameters);
    let mut rows = Vec::new();
    let budget = Budget::of(ROWS_INLINE);
    job.plan.run((&job.found, &borrowed), &context, (interrupt, &budget), &mut |row| {
        rows.push(row);
        Ok(())
    })?;
    Ok((!budget.is_exceeded()).then_some(rows))
}

struct Job {
    plan: SharedPlan,
    found: (Found, bool),
    parameters: Vec<Value>,
    surroundings: Surroundings,
}

/// Runs a plan on a thread of its own and sends its rows; gives the parts back, and how many rows
/// there were.
async fn stream(
    job: Job,
    parts: Vec<ReadPart>,
    interrupt: Arc<crate::server::Interrupt>,
    mut result: Rows<'_>,
) -> (Vec<ReadPart>, Result<u64, SqlError>) {
    let (sender, mut batches) = tokio::sync::mpsc::channel::<Vec<Vec<Value>>>(BATCHES_WAITING);
    let plan = Arc::clone(&job.plan);
    let thread = tokio::task::spawn_blocking(move || {
        let borrowed: Vec<_> =
            parts.iter().map(|(ordinal, part)| (*ordinal, part.transaction())).collect();
        let context = Context::new(&job.surroundings, &job.parameters);
        let mut batch = Vec::new();
        let budget = Budget::unlimited();
        let limits = (&*interrupt, &budget);
        let done = job.plan.run((&job.found, &borrowed), &context, limits, &mut |row| {
            batch.push(row);
            if batch.len() >= ROWS_OF_BATCH {
                // Nobody takes them any more: the client is gone.
                sender.blocking_send(std::mem::take(&mut batch)).map_err(|_| Stop::Enough)?;
            }
            Ok(())
        });
        let _nobody_takes_the_last = sender.blocking_send(batch);
        (parts, done)
    });
    let mut sent = 0;
    let mut failed = None;
    while let Some(rows) = batches.recv().await {
        sent += rows.len() as u64;
        if let Err(error) = put_all(&mut result, &plan, &rows).await {
            failed = Some(error);
            break;
        }
    }
    drop(batches);
    match thread.await {
        Ok((parts, done)) => {
            let outcome = failed.map_or(done, Err).map(|()| {
                result.end(0);
                sent
            });
            (parts, outcome)
        }
        Err(_) => {
            let text = "the thread of the statement ended";
            (Vec::new(), Err(SqlError::new(Code::UNKNOWN_ERROR, text)))
        }
    }
}

async fn put_all(result: &mut Rows<'_>, plan: &Plan, rows: &[Vec<Value>]) -> Result<(), SqlError> {
    let columns = plan.columns.columns();
    for values in rows {
        let mut row = result.row();
        for (value, column) in values.iter().zip(columns) {
            value::put(&mut row, &value.as_ref(), column);
        }
        row.end()?;
        result.ready().await?;
    }
    Ok(())
}

/// The rows of `SELECT … FOR UPDATE`, each locked before it is looked at.
async fn locked(
    client: &mut Client,
    plan: &Plan,
    found: &(Found, bool),
    parameters: &[Value],
) -> Result<Vec<Vec<Value>>, SqlError> {
    if plan.lock.is_some_and(|lock| !lock.wait) {
        return Err(SqlError::not_supported("NOWAIT and SKIP LOCKED"));
    }
    let Some(target) = plan.target.clone() else { return Ok(Vec::new()) };
    let surroundings = client.state.surroundings();
    let pushdown = plan.pushdown(&Context::new(&surroundings, parameters));
    let filter = (plan.filter(found.1), pushdown.as_ref().filter(|_| found.1));
    let keys = super::change::candidates(client, &target, &found.0, filter, parameters).await?;
    let mut rows = Vec::new();
    for (partition, key) in keys {
        let (part, waiter) = client.part(&target.database, partition)?;
        let lock = part.lock_key_async(&target.table, &key);
        let Some(values) = waiter.wait(lock).await? else { continue };
        let living = Living { table: &target.table, values: &values, inserted: None };
        let context = Context::new(&surroundings, parameters);
        let holds =
            plan.filter(true).map_or(Ok(true), |filter| filter.matches(&living, &context))?;
        if holds {
            let row = plan.row(&living, &context)?;
            rows.push((plan.order_keys(&living, &row, &context)?, row));
        }
    }
    plan.finish_locked(rows, parameters)
}

/// All rows of a query, for INSERT … SELECT.
///
/// # Errors
/// As of a query; 1038 if there are too many.
pub(crate) async fn gather(
    client: &mut Client,
    query: &Query,
    parameters: &[Value],
) -> Result<Vec<Vec<Value>>, SqlError> {
    let plan = match plan(client, query) {
        Ok(plan) => Arc::new(plan),
        Err(reason) => {
            let queries = planned::instead(client, reason)?;
            return planned::gather(client, queries, query, parameters).await;
        }
    };
    let found = plan.find(parameters)?;
    let surroundings = client.state.surroundings();
    let interrupt = Arc::clone(&client.opening.interrupt);
    let parts = take_parts(client, plan.target.as_ref(), &found.0)?;
    let (thread_plan, parameters) = (Arc::clone(&plan), parameters.to_vec());
    let thread = tokio::task::spawn_blocking(move || {
        let borrowed: Vec<_> =
            parts.iter().map(|(ordinal, part)| (*ordinal, part.transaction())).collect();
        let context = Context::new(&surroundings, &parameters);
        let (mut rows, mut bytes) = (Vec::new(), 0);
        let limits = (&*interrupt, &Budget::unlimited());
        let done = thread_plan.run((&found, &borrowed), &context, limits, &mut |row| {
            bytes += super::order::bytes_of(&row);
            if bytes > super::order::SORT_BYTES_MAX {
                return Err(super::order::too_much().into());
            }
            rows.push(row);
            Ok(())
        });
        (parts, done.map(|()| rows))
    });
    let ended = |_| SqlError::new(Code::UNKNOWN_ERROR, "the thread of the statement ended");
    let (parts, rows) = thread.await.map_err(ended)?;
    give_back(client, plan.target.as_ref(), parts);
    rows
}
