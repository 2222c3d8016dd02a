//! UPDATE and DELETE: the rows are looked for first, then each is locked, looked at again as it is
//! now, and changed.

use std::sync::Arc;

use resprout_access::{Assign, Changed};
use resprout_engine::table::{ColumnId, ColumnType, Value};
use sqlparser::ast::{BinaryOperator, Expr};

use super::error::unknown_column;
use super::order::{SORT_BYTES_MAX, Sorter, too_much};
use super::router::{Found, Target, by_key, home};
use super::rows::{Budget, Living, Search};
use crate::beside::beside_tasks;
use crate::error::{Code, SqlError};
use crate::expression::{Compiled, Context, Scope, compile};
use crate::protocol::resultset::Completion;
use crate::pushdown::{Pushdown, of_filter};
use crate::session::Client;
use crate::statement::direct;
use crate::statement::{ColumnValue, Delete, Operand, Selection, TableName, Update};

/// A row by partition and key.
pub(crate) type RowAt = (usize, Vec<u8>);

/// The keys of rows that match now. They may change until they are locked.
///
/// # Errors
/// Of reading; 1038 if there are too many.
pub(crate) async fn candidates(
    client: &mut Client,
    target: &Target,
    found: &Found,
    (filter, pushdown): (Option<&Compiled>, Option<&Pushdown>),
    parameters: &[Value],
) -> Result<Vec<RowAt>, SqlError> {
    if let Found::Keys(keys) = found {
        return Ok(keys.clone());
    }
    let mut rows = Vec::new();
    let mut bytes = 0;
    for partition in found.partitions() {
        let surroundings = client.state.surroundings();
        let interrupt = Arc::clone(&client.opening.interrupt);
        let part = client.open.part(&target.database, partition)?;
        let context = Context::new(&surroundings, parameters);
        let here = found.within(partition);
        let search = Search {
            table: &target.table,
            found: &here,
            filter,
            pushdown,
            context: &context,
            interrupt: &interrupt,
            budget: &Budget::unlimited(),
        };
        beside_tasks(|| {
            search.visit(&[(partition, &*part)], &mut |partition, row| {
                bytes += row.key().len() + 64;
                if bytes > SORT_BYTES_MAX {
                    return Err(too_much().into());
                }
                rows.push((partition, row.key().to_vec()));
                Ok(())
            })
        })?;
    }
    Ok(rows)
}

/// What UPDATE and DELETE share: which rows, in which order, how many.
struct Changes {
    target: Target,
    found: Found,
    filter: Option<Compiled>,
    /// What other nodes can judge of the filter.
    pushdown: Option<Pushdown>,
    order: Vec<(Compiled, bool)>,
    limit: u64,
}

impl Changes {
    fn new(
        client: &Client,
        (table, alias): (&TableName, Option<&str>),
        selection: &Selection,
        parameters: &[Value],
    ) -> Result<Self, SqlError> {
        let database = table.database.as_deref().or(client.state.database.as_deref());
        let target = Target::find(&client.node.databases, database, &table.table)?;
        let surroundings = client.state.surroundings();
        let scope = Scope::new(&surroundings);
        let scope = scope.with_table(target.database.name(), target.schema(), alias);
        let filter: Option<&Expr> = selection.filter.as_ref().map(|filter| &***filter);
        let rows = direct::rows(filter, target.schema(), alias.unwrap_or(&table.table));
        let by_key = match &rows {
            Some(rows) => by_key(&target, rows, parameters)?,
            None => None,
        };
        let complete =
            by_key.is_some() && rows.as_ref().is_some_and(|rows| rows.residual.is_empty());
        let found = by_key.unwrap_or_else(|| Found::all(&target));
        let compiled = match filter {
            Some(filter) if !complete => Some(compile(filter, &scope.in_clause("where clause"))?),
            _ => None,
        };
        let pushdown = filter.filter(|_| compiled.is_some() && target.database.is_far());
        let zone = Context::new(&surroundings, parameters).zone;
        let pushdown =
            pushdown.and_then(|filter| of_filter(filter, target.schema(), parameters, zone));
        let order = selection.order_by.iter().map(|item| {
            let compiled = compile(&item.expr, &scope.in_clause("order clause"))?;
            Ok((compiled, item.options.asc == Some(false)))
        });
        let order = order.collect::<Result<_, SqlError>>()?;
        let limit = limit(selection.limit.as_ref(), parameters)?;
        Ok(Self { target, found, filter: compiled, pushdown, order, limit })
    }

    /// The rows in the order in which they are to be changed.
    async fn candidates(
        &self,
        client: &mut Client,
        parameters: &[Value],
    ) -> Result<Vec<RowAt>, SqlError> {
        let filter = (self.filter.as_ref(), self.pushdown.as_ref());
        let rows = candidates(client, &self.target, &self.found, filter, parameters).await?;
        if self.order.is_empty() {
            return Ok(rows);
        }
        let descending = self.order.iter().map(|(_, descending)| *descending).collect();
        let mut sorter = Sorter::new(descending, None, |row: &RowAt| row.1.len());
        for (partition, key) in rows {
            let surroundings = client.state.surroundings();
            let part = client.open.part(&self.target.database, partition)?;
            let context = Context::new(&surroundings, parameters);
            let keys = part.look(&self.target.table, &key, |row| {
                let key = |(compiled, _): &(Compiled, bool)| compiled.evaluate(row, &context);
                self.order.iter().map(key).collect::<Result<Vec<_>, _>>()
            })?;
            if let Some(keys) = keys {
                sorter.add(keys?, (partition, key))?;
            }
        }
        Ok(sorter.finish().collect())
    }

    /// Whether a key says all of it, and there is no more than one.
    fn is_one_key(&self) -> bool {
        let is_one = matches!(&self.found, Found::Keys(keys) if keys.len() == 1);
        is_one && self.filter.is_none() && self.limit > 0
    }

    /// What is set, if a row's own node can do that without seeing more than the row: new values that are known, and
    /// sums of a column and a number. None if rows are here, where nothing is gained.
    fn simple(
        &self,
        set: &[(ColumnId, NewValue)],
        given: &[ColumnValue],
        parameters: &[Value],
    ) -> Option<Vec<(ColumnId, Assign)>> {
        let schema = self.target.schema();
        let touches = schema.live_columns().any(|(_, column)| column.notes.on_update_now);
        let is_far = matches!(self.target.database, crate::place::Database::Far(_));
        if touches || !is_far || self.filter.is_some() {
            return None;
        }
        let mut simple: Vec<(ColumnId, Assign)> = Vec::with_capacity(set.len());
        for ((id, value), given) in set.iter().zip(given) {
            let is_again = simple.iter().any(|(other, _)| other == id);
            if is_again || schema.shard_key.contains(id) {
                return None;
            }
            let assign = match value {
                NewValue::Given(value) => {
                    Assign::Value(self.target.table.coerce(*id, value.clone()).ok()?)
                }
                NewValue::Default => return None,
                NewValue::Computed(_) => Assign::Add(added(given, parameters)?),
            };
            simple.push((*id, assign));
        }
        Some(simple)
    }

    /// Locks a row; its values if it is there and still matches.
    async fn lock(
        &self,
        client: &mut Client,
        (partition, key): &RowAt,
        parameters: &[Value],
    ) -> Result<Option<Vec<Value>>, SqlError> {
        let (part, waiter) = client.part(&self.target.database, *partition)?;
        let lock = part.lock_key_async(&self.target.table, key);
        let Some(values) = waiter.wait(lock).await? else { return Ok(None) };
        if let Some(filter) = &self.filter {
            let surroundings = client.state.surroundings();
            let context = Context::new(&surroundings, parameters);
            let living = Living { table: &self.target.table, values: &values, inserted: None };
            if !filter.matches(&living, &context)? {
                return Ok(None);
            }
        }
        Ok(Some(values))
    }
}

fn limit(limit: Option<&Operand>, parameters: &[Value]) -> Result<u64, SqlError> {
    let wrong = || SqlError::new(Code::WRONG_ARGUMENTS, "Incorrect arguments to LIMIT");
    let value = match limit {
        None => return Ok(u64::MAX),
        Some(Operand::Literal(value)) => value,
        Some(Operand::Parameter(number)) => {
            parameters.get(usize::from(*number).saturating_sub(1)).ok_or_else(wrong)?
        }
        Some(_) => return Err(wrong()),
    };
    match value {
        Value::Int(number @ 0..) => Ok(number.unsigned_abs()),
        Value::UInt(number) => Ok(*number),
        _ => Err(wrong()),
    }
}

/// What is added to a column that becomes itself and a whole number.
fn added(given: &ColumnValue, parameters: &[Value]) -> Option<i64> {
    let Operand::Expression(expression) = &given.value else { return None };
    let Expr::BinaryOp { left, op, right } = &***expression else { return None };
    let Expr::Identifier(name) = &**left else { return None };
    if !name.value.eq_ignore_ascii_case(&given.column) {
        return None;
    }
    let by = match Operand::of_expression(right)? {
        Operand::Literal(Value::Int(by)) => by,
        Operand::Parameter(number) => {
            let at = usize::from(number).checked_sub(1)?;
            let Some(Value::Int(by)) = parameters.get(at) else { return None };
            *by
        }
        _ => return None,
    };
    match op {
        BinaryOperator::Plus => Some(by),
        BinaryOperator::Minus => by.checked_neg(),
        _ => None,
    }
}

/// Changes a row where it is, and commits if the statement is that alone.
async fn change(
    client: &mut Client,
    changes: &Changes,
    (partition, key): &RowAt,
    simple: &[(ColumnId, Assign)],
) -> Result<Changed, SqlError> {
    let Target { database, table } = &changes.target;
    if changes.is_one_key() && client.writes_alone(database) {
        let alone = client.open.alone(database, *partition)?;
        let done = alone.change_last(table, (key, simple), client.stopped()).await;
        if let Some(changed) = client.alone(done)?? {
            return Ok(changed);
        }
    }
    let (part, waiter) = client.part(database, *partition)?;
    waiter.wait(part.change_key_async(table, key, simple)).await
}

/// The columns that differ, with their new values.
pub(crate) type Differing = Vec<(ColumnId, Value)>;

/// A new value of a column.
#[derive(Debug)]
pub(crate) enum NewValue {
    Given(Value),
    Default,
    Computed(Compiled),
}

/// Assignments ready to be applied, in their order.
///
/// # Errors
/// 1054 and those of expressions.
pub(crate) fn assignments(
    target: &Target,
    set: &[ColumnValue],
    scope: &Scope<'_>,
    parameters: &[Value],
) -> Result<Vec<(ColumnId, NewValue)>, SqlError> {
    let one = |item: &ColumnValue| {
        let id = target.schema().column_named(&item.column);
        let id = id.ok_or_else(|| unknown_column(&item.column))?;
        Ok((id, new_value(&item.value, scope, parameters)?))
    };
    set.iter().map(one).collect()
}

/// A value as a statement gives it.
///
/// # Errors
/// Those of expressions.
pub(crate) fn new_value(
    operand: &Operand,
    scope: &Scope<'_>,
    parameters: &[Value],
) -> Result<NewValue, SqlError> {
    Ok(match operand {
        Operand::Literal(value) => NewValue::Given(value.clone()),
        Operand::Parameter(number) => {
            let value = parameters.get(usize::from(*number).saturating_sub(1));
            let missing = || SqlError::new(Code::WRONG_ARGUMENTS, "a parameter is missing");
            NewValue::Given(value.ok_or_else(missing)?.clone())
        }
        Operand::Default => NewValue::Default,
        Operand::Expression(expression) => NewValue::Computed(compile(expression, scope)?),
    })
}

/// A row with assignments applied, each of which sees those before it; and which columns differ.
///
/// # Errors
/// If a value does not fit.
pub(crate) fn apply(
    target: &Target,
    old: &[Value],
    inserted: Option<&[Value]>,
    set: &[(ColumnId, NewValue)],
    context: &Context<'_>,
) -> Result<(Vec<Value>, Differing), SqlError> {
    let table = &target.table;
    let mut new = old.to_vec();
    for (id, value) in set {
        let column = target.schema().column(*id);
        let value = match value {
            NewValue::Given(value) => value.clone(),
            NewValue::Default if column.notes.default_now => moment(context, column.ty),
            NewValue::Default => column.default.clone().unwrap_or(Value::Null),
            NewValue::Computed(compiled) => {
                let living = Living { table, values: &new, inserted };
                compiled.evaluate(&living, context)?
            }
        };
        let value = table.coerce(*id, value).map_err(|error| super::error::of_row(&error, 1))?;
        new[table.position(*id)] = value;
    }
    let mut changed = Vec::new();
    for id in table.live() {
        let at = table.position(*id);
        if new[at] != old[at] {
            changed.push((*id, new[at].clone()));
        }
    }
    if !changed.is_empty() {
        touch(target, set, &mut new, (&mut changed, context))?;
    }
    Ok((new, changed))
}

/// `ON UPDATE CURRENT_TIMESTAMP` of a row that changes.
fn touch(
    target: &Target,
    set: &[(ColumnId, NewValue)],
    new: &mut [Value],
    (changed, context): (&mut Differing, &Context<'_>),
) -> Result<(), SqlError> {
    let touched = target.schema().live_columns().filter(|(_, column)| column.notes.on_update_now);
    for (id, column) in touched.filter(|(id, _)| set.iter().all(|(given, _)| given != id)) {
        let now = target.table.coerce(id, moment(context, column.ty));
        let now = now.map_err(|error| super::error::of_row(&error, 1))?;
        new[target.table.position(id)] = now.clone();
        changed.push((id, now));
    }
    Ok(())
}

/// The time of a statement, for a column of this type: with as many digits as that has.
pub(super) fn moment(context: &Context<'_>, ty: ColumnType) -> Value {
    let digits = match ty {
        ColumnType::DateTime(digits) | ColumnType::Timestamp(digits) => digits,
        _ => 0,
    };
    context.moment(digits, true).map_or(Value::Null, Value::DateTime)
}

/// Writes a changed row, in another partition if it has to move.
///
/// # Errors
/// As an update.
pub(crate) async fn write(
    client: &mut Client,
    target: &Target,
    (partition, key): &RowAt,
    new: &[Value],
    changed: &[(ColumnId, Value)],
) -> Result<(), SqlError> {
    let moves = changed.iter().any(|(id, _)| target.schema().shard_key.contains(id));
    let to = if moves { home(target, new, *partition)? } else { *partition };
    let (part, waiter) = client.part(&target.database, *partition)?;
    if to == *partition {
        waiter.wait(part.update_key_async(&target.table, key, changed)).await?;
        return Ok(());
    }
    waiter.wait(part.delete_key_async(&target.table, key)).await?;
    let (part, waiter) = client.part(&target.database, to)?;
    waiter.wait(part.insert_async(&target.table, new)).await?;
    Ok(())
}

/// UPDATE.
///
/// # Errors
/// With what the client is told.
pub(crate) async fn update(
    client: &mut Client,
    update: &Update,
    parameters: &[Value],
) -> Result<Completion, SqlError> {
    let alias = update.alias.as_deref();
    let changes = Changes::new(client, (&update.table, alias), &update.selection, parameters)?;
    let surroundings = client.state.surroundings();
    let set = {
        let target = &changes.target;
        let scope = Scope::new(&surroundings);
        let scope = scope.with_table(target.database.name(), target.schema(), alias);
        assignments(target, &update.set, &scope, parameters)?
    };
    let (mut matched, mut affected) = (0_u64, 0_u64);
    let simple = changes.simple(&set, &update.set, parameters);
    for at in changes.candidates(client, parameters).await? {
        if matched >= changes.limit {
            break;
        }
        if let Some(simple) = &simple {
            match change(client, &changes, &at, simple).await? {
                Changed::Gone => continue,
                Changed::Done(is_changed) => {
                    matched += 1;
                    affected += u64::from(is_changed);
                    continue;
                }
                Changed::Locked(_) => {}
            }
        }
        let Some(old) = changes.lock(client, &at, parameters).await? else { continue };
        matched += 1;
        let (new, changed) = {
            let context = Context::new(&surroundings, parameters).strict();
            apply(&changes.target, &old, None, &set, &context)?
        };
        if changed.is_empty() {
            continue;
        }
        write(client, &changes.target, &at, &new, &changed).await?;
        affected += 1;
    }
    client.state.take_in(surroundings);
    let info = format!("Rows matched: {matched}  Changed: {affected}  Warnings: 0").into();
    let affected_rows = if client.counts_found() { matched } else { affected };
    Ok(Completion { affected_rows, info, ..Completion::default() })
}

/// DELETE.
///
/// # Errors
/// With what the client is told.
pub(crate) async fn delete(
    client: &mut Client,
    delete: &Delete,
    parameters: &[Value],
) -> Result<Completion, SqlError> {
    let named = (&delete.table, delete.alias.as_deref());
    let changes = Changes::new(client, named, &delete.selection, parameters)?;
    let mut affected = 0;
    for at in changes.candidates(client, parameters).await? {
        if affected >= changes.limit {
            break;
        }
        let Target { database, table } = &changes.target;
        if changes.is_one_key() && client.writes_alone(database) {
            let alone = client.open.alone(database, at.0)?;
            let done = alone.delete_last(table, &at.1, client.stopped()).await;
            affected += u64::from(client.alone(done)??);
            continue;
        }
        if changes.filter.is_some() && changes.lock(client, &at, parameters).await?.is_none() {
            continue;
        }
        let (part, waiter) = client.part(database, at.0)?;
        let was = waiter.wait(part.delete_key_async(table, &at.1)).await?;
        affected += u64::from(was);
    }
    Ok(Completion::rows(affected))
}
