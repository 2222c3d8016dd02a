//! INSERT, UPDATE and DELETE by key.

use resprout_engine::table::{ColumnId, TableSchema, Value};
use sqlparser::ast::{
    BinaryOperator, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments,
};

use super::condition::rows;
use super::{DirectPlan, KeyPart, Scope, row_count};
use crate::statement::change::{ColumnValue, Delete, Update};
use crate::statement::insert::{Insert, InsertSource};
use crate::statement::operand::Operand;
use crate::statement::tree::Sql;

/// What a column becomes.
#[derive(Clone, Debug, PartialEq)]
pub enum NewValue {
    /// A literal, not yet brought to the column's type: errors of that are told when it runs.
    Literal(Value),
    /// A parameter, from 1.
    Parameter(u16),
    /// The column's default.
    Default,
    /// `column + value` or `column - value`.
    Arithmetic(Arithmetic),
    /// `VALUES(column)` or `new.column`: what would have been inserted.
    Inserted(ColumnId),
    /// Anything else.
    Expression(Sql<Box<Expr>>),
}

/// A sum of a column and a constant.
#[derive(Clone, Debug, PartialEq)]
pub struct Arithmetic {
    /// The column.
    pub column: ColumnId,
    /// Whether the constant is taken away.
    pub minus: bool,
    /// The constant, not brought to a type.
    pub value: KeyPart,
}

/// The plan of an UPDATE.
pub(super) fn update(update: &Update, schema: &TableSchema) -> Option<DirectPlan> {
    // IGNORE and ORDER BY change which rows and which errors there are.
    if update.ignore || !update.selection.order_by.is_empty() {
        return None;
    }
    let name = update.alias.as_deref().unwrap_or(&update.table.table);
    let scope = Scope { schema, name };
    let rows = rows(scope, update.selection.filter.as_ref().map(|filter| &***filter))?;
    let set = assignments(scope, &update.set, None)?;
    let is_key = |id: &ColumnId| schema.is_primary(*id) || schema.shard_key.contains(id);
    let moves = set.iter().any(|(column, _)| is_key(column));
    let limit = limit(update.selection.limit.as_ref())?;
    Some(DirectPlan::Update { rows, set, moves, limit })
}

/// The plan of a DELETE.
pub(super) fn delete(delete: &Delete, schema: &TableSchema) -> Option<DirectPlan> {
    if delete.ignore || !delete.selection.order_by.is_empty() {
        return None;
    }
    let name = delete.alias.as_deref().unwrap_or(&delete.table.table);
    let rows =
        rows(Scope { schema, name }, delete.selection.filter.as_ref().map(|filter| &***filter))?;
    Some(DirectPlan::Delete { rows, limit: limit(delete.selection.limit.as_ref())? })
}

/// None if there is one that is no number of rows.
#[expect(clippy::option_option, reason = "no limit and no plan are different answers")]
fn limit(limit: Option<&Operand>) -> Option<Option<KeyPart>> {
    match limit {
        None => Some(None),
        Some(limit) => row_count(limit).map(Some),
    }
}

/// The plan of an INSERT of literals and parameters.
pub(super) fn insert(insert: &Insert, schema: &TableSchema) -> Option<DirectPlan> {
    let InsertSource::Rows(rows) = &insert.source else { return None };
    if !insert.is_plain() {
        return None;
    }
    let columns: Vec<ColumnId> = if insert.columns.is_empty() {
        schema.live_columns().map(|(id, _)| id).collect()
    } else {
        insert.columns.iter().map(|name| schema.column_named(name)).collect::<Option<_>>()?
    };
    // A row of defaults: `VALUES ()`.
    let columns = if rows.width == 0 { Vec::new() } else { columns };
    if columns.len() != rows.width || repeats(&columns) {
        return None;
    }
    let scope = Scope { schema, name: &insert.table.table };
    let alias = insert.alias.as_ref();
    if alias.is_some_and(|alias| !alias.columns.is_empty()) {
        return None;
    }
    let alias = alias.map(|alias| &alias.name[..]);
    let on_duplicate = assignments(scope, &insert.on_duplicate, alias)?;
    Some(DirectPlan::Insert { columns, on_duplicate })
}

fn repeats(columns: &[ColumnId]) -> bool {
    columns.iter().enumerate().any(|(at, column)| columns[..at].contains(column))
}

fn assignments(
    scope: Scope<'_>,
    set: &[ColumnValue],
    inserted: Option<&str>,
) -> Option<Vec<(ColumnId, NewValue)>> {
    let one = |pair: &ColumnValue| {
        let column = scope.schema.column_named(&pair.column)?;
        Some((column, new_value(scope, &pair.value, inserted)))
    };
    set.iter().map(one).collect()
}

fn new_value(scope: Scope<'_>, operand: &Operand, inserted: Option<&str>) -> NewValue {
    match operand {
        Operand::Literal(value) => NewValue::Literal(value.clone()),
        Operand::Parameter(number) => NewValue::Parameter(*number),
        Operand::Default => NewValue::Default,
        Operand::Expression(expression) => {
            let known = arithmetic(scope, expression).map(NewValue::Arithmetic);
            let known = known
                .or_else(|| inserted_column(scope, expression, inserted).map(NewValue::Inserted));
            known.unwrap_or_else(|| NewValue::Expression(expression.clone()))
        }
    }
}

fn arithmetic(scope: Scope<'_>, expression: &Expr) -> Option<Arithmetic> {
    let Expr::BinaryOp { left, op, right } = expression else { return None };
    let minus = match op {
        BinaryOperator::Plus => false,
        BinaryOperator::Minus => true,
        _ => return None,
    };
    let value = |side: &Expr| match Operand::of_expression(side)? {
        Operand::Literal(value) => Some(KeyPart::Literal(value)),
        Operand::Parameter(number) => Some(KeyPart::Parameter(number)),
        _ => None,
    };
    if let Some(column) = scope.column(left) {
        return Some(Arithmetic { column, minus, value: value(right)? });
    }
    let column = scope.column(right).filter(|_| !minus)?;
    Some(Arithmetic { column, minus, value: value(left)? })
}

/// `VALUES(column)`, or `alias.column` of the inserted row.
fn inserted_column(scope: Scope<'_>, expression: &Expr, alias: Option<&str>) -> Option<ColumnId> {
    match expression {
        Expr::Function(function) => values_function(scope, function),
        Expr::CompoundIdentifier(parts) => match (&parts[..], alias) {
            ([table, name], Some(alias)) if table.value == alias => {
                scope.schema.column_named(&name.value)
            }
            _ => None,
        },
        _ => None,
    }
}

fn values_function(scope: Scope<'_>, function: &Function) -> Option<ColumnId> {
    let [name] = &function.name.0[..] else { return None };
    let named = name.as_ident()?.value.eq_ignore_ascii_case("VALUES");
    let FunctionArguments::List(list) = &function.args else { return None };
    match &list.args[..] {
        [FunctionArg::Unnamed(FunctionArgExpr::Expr(column))] if named => scope.column(column),
        _ => None,
    }
}
