//! Queries that are planned elsewhere: run for a session, with its transaction lent to them.

use std::sync::Arc;

use resprout_engine::table::Value;
use sqlparser::ast::Query;

use super::order::{SORT_BYTES_MAX, bytes_of, too_much};
use super::value;
use super::views::Views;
use crate::error::{Code, SqlError};
use crate::expression::Session;
use crate::planned::{Batch, Batches, Catalogue, Moment, Planned, Queries, Returned};
use crate::protocol::column::{Column, Columns, WireType};
use crate::protocol::value::Value as WireValue;
use crate::server::{Interrupt, ResultWriter, Rows};
use crate::session::{Client, Surroundings};
use crate::statement::row_lock;

/// Who plans a query that is not done here for this reason; the reason itself if nobody does.
///
/// # Errors
/// With the reason.
pub(crate) fn instead(client: &Client, reason: SqlError) -> Result<Arc<dyn Queries>, SqlError> {
    match &client.node.queries {
        Some(queries) if [Code::NOT_SUPPORTED_YET, Code(1111)].contains(&reason.code) => {
            Ok(Arc::clone(queries))
        }
        _ => Err(reason),
    }
}

/// A planned query and what it reads from.
struct Ready {
    planned: Box<dyn Planned>,
    catalogue: Catalogue,
    surroundings: Arc<Surroundings>,
}

/// Plans on a thread of its own: that may take long, and neither the session's thread nor whoever
/// ends the statement waits for it. What is planned in vain ends at the limits of statements, and
/// only so many are at once.
async fn plan(
    client: &Client,
    queries: Arc<dyn Queries>,
    query: &Query,
    parameters: Option<&[Value]>,
) -> Result<Ready, SqlError> {
    if row_lock(query).is_some() {
        return Err(SqlError::not_supported("row locks beside joins, groups and subqueries"));
    }
    let surroundings = Arc::new(client.state.surroundings());
    let session: Arc<dyn Session + Send + Sync> = surroundings.clone();
    let moment = Arc::new(Moment::new(session, parameters.map(<[Value]>::to_vec)));
    let catalogue = Catalogue::new(
        client.node.databases.clone(),
        client.state.database.clone(),
        Views::of(client),
    );
    let (query, own) = (query.clone(), catalogue.clone());
    let planning = async {
        let place = Arc::clone(&client.node.planners).acquire_owned().await;
        let thread = tokio::task::spawn_blocking(move || {
            let _place = place;
            queries.plan(&query, &own, &moment)
        });
        thread.await.map_err(|_| SqlError::new(Code::UNKNOWN_ERROR, "planning failed inside"))?
    };
    let planned = tokio::select! {
        biased;
        reason = client.opening.interrupt.fired() => return Err(reason.error()),
        planned = planning => planned?,
    };
    Ok(Ready { planned, catalogue, surroundings })
}

/// The columns of a query, for PREPARE.
///
/// # Errors
/// As planning.
pub(crate) async fn columns(
    client: &Client,
    queries: Arc<dyn Queries>,
    query: &Query,
) -> Result<Columns, SqlError> {
    Ok(plan(client, queries, query, None).await?.planned.columns().clone())
}

/// A query that runs.
struct Running {
    batches: Batches,
    interrupt: Arc<Interrupt>,
    returned: Returned,
    surroundings: Arc<Surroundings>,
}

impl Running {
    fn start(client: &mut Client, ready: Ready) -> Result<Self, SqlError> {
        let Ready { planned, catalogue, surroundings } = ready;
        let interrupt = Arc::clone(&client.opening.interrupt);
        let returned = catalogue.open(&mut client.open)?;
        let batches = planned.run(Arc::clone(&interrupt));
        Ok(Self { batches, interrupt, returned, surroundings })
    }

    /// The next rows, unless it is told to stop, or `left` says that nobody waits for them.
    async fn next(
        &mut self,
        left: impl Future<Output = SqlError>,
    ) -> Result<Option<Box<dyn Batch>>, SqlError> {
        tokio::select! {
            biased;
            reason = self.interrupt.fired() => Err(reason.error()),
            batch = self.batches.recv() => batch.transpose(),
            gone = left => Err(gone),
        }
    }

    /// Ends it, done or not, and takes back what it was lent.
    async fn end(self, client: &mut Client) -> Result<(), SqlError> {
        drop(self.batches);
        self.returned.wait(&mut client.open).await?;
        client.state.take_in_set(&self.surroundings);
        Ok(())
    }
}

/// Runs a query and sends its rows.
///
/// # Errors
/// With what the client is told.
pub(crate) async fn query(
    client: &mut Client,
    queries: Arc<dyn Queries>,
    query: &Query,
    parameters: &[Value],
    out: &mut ResultWriter<'_>,
) -> Result<(), SqlError> {
    let ready = plan(client, queries, query, Some(parameters)).await?;
    let columns = ready.planned.columns().clone();
    client.end_reading(out);
    let mut running = Running::start(client, ready)?;
    let sent = send(&mut running, &columns, out).await;
    running.end(client).await?;
    client.state.found_rows = sent?;
    client.state.row_count = -1;
    Ok(())
}

/// Nothing is sent before the first rows are there: until then an error may still be all.
async fn send(
    running: &mut Running,
    columns: &Columns,
    out: &mut ResultWriter<'_>,
) -> Result<u64, SqlError> {
    let mut batch = running.next(out.left()).await?;
    let mut result = out.rows(columns).await?;
    let mut sent = 0;
    while let Some(rows) = batch {
        put(&mut result, columns, &*rows).await?;
        sent += rows.rows() as u64;
        batch = running.next(result.left()).await?;
    }
    result.end(0);
    Ok(sent)
}

async fn put(result: &mut Rows<'_>, columns: &Columns, rows: &dyn Batch) -> Result<(), SqlError> {
    let columns = columns.columns();
    for number in 0..rows.rows() {
        let mut row = result.row();
        for (at, column) in columns.iter().enumerate() {
            value::put(&mut row, &rows.value(number, at), column);
        }
        row.end()?;
        if result.is_full() {
            result.ready().await?;
        }
    }
    Ok(())
}

/// All rows of a query, for INSERT … SELECT.
///
/// # Errors
/// As of a query; 1038 if there are too many.
pub(crate) async fn gather(
    client: &mut Client,
    queries: Arc<dyn Queries>,
    query: &Query,
    parameters: &[Value],
) -> Result<Vec<Vec<Value>>, SqlError> {
    let ready = plan(client, queries, query, Some(parameters)).await?;
    let width = ready.planned.columns().columns().len();
    let mut running = Running::start(client, ready)?;
    let rows = all(&mut running, width).await;
    running.end(client).await?;
    rows
}

async fn all(running: &mut Running, width: usize) -> Result<Vec<Vec<Value>>, SqlError> {
    let (mut rows, mut bytes) = (Vec::new(), 0);
    while let Some(batch) = running.next(std::future::pending()).await? {
        for number in 0..batch.rows() {
            let row: Vec<Value> =
                (0..width).map(|at| batch.value(number, at).into_owned()).collect();
            bytes += bytes_of(&row);
            if bytes > SORT_BYTES_MAX {
                return Err(too_much());
            }
            rows.push(row);
        }
    }
    Ok(rows)
}

/// EXPLAIN of a query: a line for each step. One that is done here is one step.
///
/// # Errors
/// As planning.
pub(crate) async fn explain(
    client: &Client,
    query: &Query,
    parameters: &[Value],
    out: &mut ResultWriter<'_>,
) -> Result<(), SqlError> {
    let lines = match super::plan(client, query) {
        Ok(plan) => vec![plan.explain(parameters)?],
        Err(reason) => {
            let queries = instead(client, reason)?;
            plan(client, queries, query, Some(parameters)).await?.planned.explain()
        }
    };
    client.end_reading(out);
    let columns = Columns::new(vec![Column::new("EXPLAIN", WireType::VarString)]);
    let mut rows = out.rows(&columns).await?;
    for line in &lines {
        rows.put(&[WireValue::from(&**line)])?;
        rows.ready().await?;
    }
    rows.end(0);
    Ok(())
}
