//! INSERT and REPLACE.

use std::collections::BTreeMap;

use resprout_engine::Error;
use resprout_engine::table::{Column, ColumnId, DuplicateEntry, Value};

use super::change::{NewValue, RowAt, apply, assignments, moment, new_value, write};
use super::error::{at_row, of_row, unknown_column};
use super::router::{Target, home};
use crate::error::{Code, SqlError};
use crate::expression::{Context, NoRow, Scope, Warning};
use crate::place::Database;
use crate::protocol::resultset::Completion;
use crate::session::Client;
use crate::statement::{Insert, InsertSource, Operand};

/// Rows with the same keys that may come and go while one is inserted, before it is given up.
const TRIES: usize = 100;

/// What duplicates of the primary key are named after.
const PRIMARY: &str = "PRIMARY";

/// What became of the rows.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub(super) affected: u64,
    first_id: Option<u64>,
    pub(super) left_out: u64,
}

/// What holds for all rows of a statement.
pub(super) struct Job<'a> {
    pub(super) target: Target,
    pub(super) insert: &'a Insert,
    pub(super) parameters: &'a [Value],
    pub(super) moments: Moments,
    /// One row and nothing else: if it is far, it commits itself.
    pub(super) is_one: bool,
}

/// `DEFAULT CURRENT_TIMESTAMP`: what columns get that are not given.
#[derive(Debug)]
pub(super) struct Moments(Vec<(ColumnId, Value)>);

impl Moments {
    /// Of a statement that begins now.
    pub(super) fn of(client: &Client, target: &Target) -> Self {
        let columns = target.schema().live_columns();
        let wanted: Vec<_> = columns.filter(|(_, column)| column.notes.default_now).collect();
        if wanted.is_empty() {
            return Self(Vec::new());
        }
        let surroundings = client.state.surroundings();
        let context = Context::new(&surroundings, &[]);
        let now = |(id, column): (ColumnId, &Column)| (id, moment(&context, column.ty));
        Self(wanted.into_iter().map(now).collect())
    }

    /// Completes what is given.
    pub(super) fn add(&self, given: &mut Vec<(ColumnId, Value)>) {
        for (id, now) in &self.0 {
            if given.iter().all(|(other, _)| other != id) {
                given.push((*id, now.clone()));
            }
        }
    }
}

/// INSERT and REPLACE.
///
/// # Errors
/// With what the client is told.
pub(crate) async fn insert(
    client: &mut Client,
    insert: &Insert,
    parameters: &[Value],
) -> Result<Completion, SqlError> {
    let database = insert.table.database.as_deref().or(client.state.database.as_deref());
    let target = Target::find(&client.node.databases, database, &insert.table.table)?;
    let columns = columns(&target, insert)?;
    let moments = Moments::of(client, &target);
    let rows = match &insert.source {
        InsertSource::Rows(rows) => rows.iter().count(),
        InsertSource::Query(_) => usize::MAX,
    };
    let is_plain = insert.on_duplicate.is_empty() && !insert.replace && !insert.ignore;
    let is_far = matches!(target.database, Database::Far(_));
    let job = Job { target, insert, parameters, moments, is_one: rows == 1 && is_plain };
    let mut outcome = Outcome::default();
    client.state.warnings.clear();
    match &insert.source {
        InsertSource::Rows(rows) => {
            let columns = if rows.width == 0 { Vec::new() } else { columns };
            if columns.len() != rows.width {
                return Err(wrong_count(1));
            }
            if is_plain && is_far && !job.is_one {
                let given = (1..).zip(rows.iter()).map(|(number, row)| {
                    values(client, &columns, row, parameters).map(|given| (number, given))
                });
                // What is before a row that cannot be is tried too: the first error is told.
                let given = given.collect::<Vec<_>>();
                together(client, &job, given, &mut outcome).await?;
            } else {
                for (number, row) in (1..).zip(rows.iter()) {
                    let given = values(client, &columns, row, parameters)?;
                    one(client, &job, (number, given), &mut outcome).await?;
                }
            }
        }
        InsertSource::Query(query) => {
            let rows = super::query::gather(client, query, parameters).await?;
            for (number, row) in (1..).zip(rows) {
                if row.len() != columns.len() {
                    return Err(wrong_count(number));
                }
                let given = columns.iter().copied().zip(row).collect();
                one(client, &job, (number, given), &mut outcome).await?;
            }
        }
    }
    if let Some(id) = outcome.first_id {
        client.state.last_insert_id = id;
    }
    Ok(Completion {
        affected_rows: outcome.affected,
        last_insert_id: outcome.first_id.unwrap_or(0),
        warnings: u16::try_from(outcome.left_out).unwrap_or(u16::MAX),
        info: "".into(),
    })
}

fn wrong_count(row: usize) -> SqlError {
    let text = format!("Column count doesn't match value count at row {row}");
    SqlError::new(Code::WRONG_VALUE_COUNT_ON_ROW, text)
}

fn columns(target: &Target, insert: &Insert) -> Result<Vec<ColumnId>, SqlError> {
    if insert.columns.is_empty() {
        return Ok(target.table.live().to_vec());
    }
    let mut columns = Vec::with_capacity(insert.columns.len());
    for name in &insert.columns {
        let id = target.schema().column_named(name).ok_or_else(|| unknown_column(name))?;
        if columns.contains(&id) {
            let text = format!("Column '{name}' specified twice");
            return Err(SqlError::new(Code(1110), text));
        }
        columns.push(id);
    }
    Ok(columns)
}

/// The values of a row; those that are to be the default are left out.
fn values(
    client: &Client,
    columns: &[ColumnId],
    row: &[Operand],
    parameters: &[Value],
) -> Result<Vec<(ColumnId, Value)>, SqlError> {
    let mut given = Vec::with_capacity(row.len());
    let mut surroundings = None;
    for (id, operand) in columns.iter().zip(row) {
        let value = match operand {
            Operand::Literal(value) => value.clone(),
            Operand::Default => continue,
            operand => {
                let surroundings = surroundings.get_or_insert_with(|| client.state.surroundings());
                let scope = Scope::new(surroundings);
                match new_value(operand, &scope, parameters)? {
                    NewValue::Given(value) => value,
                    NewValue::Default => continue,
                    NewValue::Computed(compiled) => {
                        let context = Context::new(surroundings, parameters).strict();
                        compiled.evaluate(&NoRow, &context)?
                    }
                }
            }
        };
        given.push((*id, value));
    }
    Ok(given)
}

/// Inserts one row of which some values are given.
async fn one(
    client: &mut Client,
    job: &Job<'_>,
    (number, mut given): (usize, Vec<(ColumnId, Value)>),
    outcome: &mut Outcome,
) -> Result<(), SqlError> {
    job.moments.add(&mut given);
    match job.target.table.complete(given).map_err(|error| of_row(&error, number)) {
        Ok(row) => put(client, job, (number, row), outcome).await,
        Err(error) if job.insert.ignore => leave_out(client, error, outcome),
        Err(error) => Err(error),
    }
}

/// A row as it is given, with its number in the statement, or what is wrong with it.
type Given = Result<(usize, Vec<(ColumnId, Value)>), SqlError>;

/// The rows of one partition, with their numbers in the statement.
type Rows = (Vec<usize>, Vec<Vec<Value>>);

/// Inserts rows that go to other nodes: each partition gets all of its own before the first is answered. Of several
/// errors that of the first row is told.
async fn together(
    client: &mut Client,
    job: &Job<'_>,
    rows: Vec<Given>,
    outcome: &mut Outcome,
) -> Result<(), SqlError> {
    let Target { database, table } = &job.target;
    let (mut parts, mut refused) = (BTreeMap::<usize, Rows>::new(), None);
    for row in rows {
        match row.and_then(|row| placed(client, job, row, outcome)) {
            Ok((partition, number, row)) => {
                let part = parts.entry(partition).or_default();
                part.0.push(number);
                part.1.push(row);
            }
            Err(error) => {
                refused = Some((usize::MAX, error));
                break;
            }
        }
    }
    for (partition, (numbers, rows)) in parts {
        let (part, waiter) = client.part(database, partition)?;
        let errors = waiter.wait(part.insert_all_async(table, &rows)).await?;
        outcome.affected += rows.len() as u64;
        let Some((at, error)) = errors.into_iter().next() else { continue };
        let number = numbers[at];
        if refused.as_ref().is_none_or(|(first, _)| number < *first) {
            refused = Some((number, at_row(error, number)));
        }
    }
    refused.map_or(Ok(()), |(_, error)| Err(error))
}

/// A whole row, and the partition that it belongs to.
fn placed(
    client: &Client,
    job: &Job<'_>,
    (number, mut given): (usize, Vec<(ColumnId, Value)>),
    outcome: &mut Outcome,
) -> Result<(usize, usize, Vec<Value>), SqlError> {
    job.moments.add(&mut given);
    let mut row = job.target.table.complete(given).map_err(|error| of_row(&error, number))?;
    let made = number_of(client, &job.target, &mut row)?;
    outcome.first_id = outcome.first_id.or(made);
    Ok((home(&job.target, &row, number)?, number, row))
}

/// Inserts a row; if it is all that there is, it commits with the same message.
async fn write_one(
    client: &mut Client,
    job: &Job<'_>,
    partition: usize,
    row: &[Value],
) -> Result<Result<Option<u64>, Error>, SqlError> {
    let Target { database, table } = &job.target;
    if job.is_one && client.writes_alone(database) {
        let alone = client.open.alone(database, partition)?;
        let done = alone.insert_last(table, row, client.stopped()).await;
        return client.alone(done);
    }
    let (part, waiter) = client.part(database, partition)?;
    waiter.outcome(part.insert_async(table, row)).await
}

/// Inserts one row, or does what is to be done instead.
pub(super) async fn put(
    client: &mut Client,
    job: &Job<'_>,
    (number, mut row): (usize, Vec<Value>),
    outcome: &mut Outcome,
) -> Result<(), SqlError> {
    let Job { target, insert, .. } = job;
    let made = number_of(client, target, &mut row)?;
    for _ in 0..TRIES {
        let partition = home(target, &row, number)?;
        let duplicate = match write_one(client, job, partition, &row).await? {
            Ok(_) => {
                outcome.affected += 1;
                outcome.first_id = outcome.first_id.or(made);
                return Ok(());
            }
            Err(Error::Duplicate(duplicate)) => duplicate,
            Err(error) => {
                let error = at_row(error, number);
                let retried = error.code == Code::LOCK_DEADLOCK;
                let fits = !insert.ignore || retried || error.code == Code::LOCK_WAIT_TIMEOUT;
                return if fits { Err(error) } else { leave_out(client, error, outcome) };
            }
        };
        if insert.on_duplicate.is_empty() && !insert.replace {
            let error = at_row(Error::Duplicate(duplicate), number);
            return if insert.ignore { leave_out(client, error, outcome) } else { Err(error) };
        }
        let Some(there) = find_duplicate(client, target, partition, &duplicate, &row)? else {
            continue;
        };
        if insert.replace {
            let (part, waiter) = client.part(&target.database, partition)?;
            if waiter.wait(part.delete_key_async(&target.table, &there.1)).await? {
                outcome.affected += 1;
            }
        } else if update_there(client, job, (&there, &row), outcome).await? {
            return Ok(());
        }
    }
    Err(SqlError::plain(Code::LOCK_DEADLOCK))
}

/// Counts a row that is left out, with a warning.
#[expect(clippy::unnecessary_wraps, reason = "it ends a row as an error would")]
fn leave_out(client: &mut Client, error: SqlError, outcome: &mut Outcome) -> Result<(), SqlError> {
    outcome.left_out += 1;
    if client.state.warnings.len() < crate::expression::WARNINGS_MAX {
        let warning = Warning { code: error.code.0, text: error.text.into_owned() };
        client.state.warnings.push(warning);
    }
    Ok(())
}

/// Fills AUTO_INCREMENT in; gives the number if one was made.
pub(super) fn number_of(
    client: &Client,
    target: &Target,
    row: &mut [Value],
) -> Result<Option<u64>, SqlError> {
    let Some(column) = target.schema().auto_increment else { return Ok(None) };
    let at = target.table.position(column);
    let counter = client.node.sequences.of(&target.database, &target.table)?;
    match &row[at] {
        Value::Null | Value::Int(0) | Value::UInt(0) => {}
        Value::Int(given) => {
            if let Ok(given) = u64::try_from(*given) {
                counter.used(given)?;
            }
            return Ok(None);
        }
        Value::UInt(given) => {
            counter.used(*given)?;
            return Ok(None);
        }
        _ => return Ok(None),
    }
    let number = counter.next()?;
    let value = target.table.coerce(column, Value::UInt(number));
    row[at] = value.map_err(|error| of_row(&error, 1))?;
    Ok(Some(number))
}

/// The row that is in the way; none if it is gone by now.
fn find_duplicate(
    client: &mut Client,
    target: &Target,
    partition: usize,
    duplicate: &DuplicateEntry,
    row: &[Value],
) -> Result<Option<RowAt>, SqlError> {
    let (table, schema) = (&target.table, target.schema());
    let of = |columns: &[ColumnId]| -> Vec<Value> {
        columns.iter().map(|id| row[table.position(*id)].clone()).collect()
    };
    let Some(index) = schema.index_named(&duplicate.index) else {
        if duplicate.index != PRIMARY {
            // An index that this session's table does not have yet: it is looked up anew.
            return Err(Error::SchemaChanged { table: schema.name.clone() }.into());
        }
        let key = table.primary_key(&of(schema.primary.columns())).map_err(Error::from)?;
        return Ok(Some((partition, key)));
    };
    let range = table.index_range(index, &of(&index.columns)).map_err(Error::from)?;
    let part = client.open.part(&target.database, partition)?;
    let mut found = None;
    part.scan_index(table, index, &range, |row| {
        found = Some((partition, row.key().to_vec()));
        std::ops::ControlFlow::Break(())
    })?;
    Ok(found)
}

/// ON DUPLICATE KEY UPDATE of a row that exists; whether it still did.
async fn update_there(
    client: &mut Client,
    job: &Job<'_>,
    (there, row): (&RowAt, &[Value]),
    outcome: &mut Outcome,
) -> Result<bool, SqlError> {
    let Job { target, insert, parameters, .. } = job;
    let (part, waiter) = client.part(&target.database, there.0)?;
    let lock = part.lock_key_async(&target.table, &there.1);
    let Some(old) = waiter.wait(lock).await? else { return Ok(false) };
    let surroundings = client.state.surroundings();
    let (new, changed) = {
        let scope = Scope::new(&surroundings);
        let scope = scope.with_table(target.database.name(), target.schema(), None);
        let set = assignments(target, &insert.on_duplicate, &scope, parameters)?;
        let context = Context::new(&surroundings, parameters).strict();
        apply(target, &old, Some(row), &set, &context)?
    };
    if changed.is_empty() {
        outcome.affected += u64::from(client.counts_found());
    } else {
        write(client, target, there, &new, &changed).await?;
        outcome.affected += 2;
    }
    client.state.take_in(surroundings);
    Ok(true)
}
