//! SELECT of one table by key.

use resprout_engine::table::{ColumnId, TableSchema};
use sqlparser::ast::{
    Distinct, DuplicateTreatment, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments,
    GroupByExpr, LimitClause, OrderByKind, Query, Select, SelectItem,
    SelectItemQualifiedWildcardKind, SetExpr, TableFactor,
};

use super::condition::rows;
use super::{DirectPlan, KeyPart, Scope, row_count};
use crate::statement::operand::Operand;
use crate::statement::query::{RowLock, row_lock};

/// What is read of the rows.
#[derive(Clone, Debug, PartialEq)]
pub struct Read {
    /// The columns of the result and their names.
    pub outputs: Vec<(Output, String)>,
    /// `DISTINCT`.
    pub distinct: bool,
    /// `ORDER BY`: columns, and whether from the highest down. Not over aggregates.
    pub order_by: Vec<(ColumnId, bool)>,
    /// Rows passed over.
    pub offset: Option<KeyPart>,
    /// At most so many rows.
    pub limit: Option<KeyPart>,
    /// `FOR UPDATE` and its like.
    pub lock: Option<RowLock>,
}

impl Read {
    /// Whether the result is one row that sums up all rows read.
    #[must_use]
    pub fn aggregates(&self) -> bool {
        self.outputs.iter().any(|(output, _)| matches!(output, Output::Aggregate(..)))
    }
}

/// A column of a result.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// A column of the table.
    Column(ColumnId),
    /// A constant. Literals are as they were written.
    Constant(Operand),
    /// A sum over all rows; of the rows themselves for `COUNT(*)`.
    Aggregate(Aggregate, Option<ColumnId>),
}

/// Functions over all rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aggregate {
    /// `COUNT`.
    Count,
    /// `SUM`.
    Sum,
    /// `MIN`.
    Min,
    /// `MAX`.
    Max,
}

/// The plan of a query.
pub(super) fn plan(query: &Query, schema: &TableSchema) -> Option<DirectPlan> {
    let SetExpr::Select(select) = &*query.body else { return None };
    if !is_plain(query, select) {
        return None;
    }
    let [from] = &select.from[..] else { return None };
    let TableFactor::Table { name, alias, args, version, partitions, sample, .. } = &from.relation
    else {
        return None;
    };
    let plain = args.is_none() && version.is_none() && partitions.is_empty() && sample.is_none();
    if !plain || !from.joins.is_empty() {
        return None;
    }
    let own = &name.0.last()?.as_ident()?.value;
    let name = match alias {
        Some(alias) if alias.columns.is_empty() => &alias.name.value,
        Some(_) => return None,
        None => own,
    };
    let scope = Scope { schema, name };
    let rows = rows(scope, select.selection.as_ref())?;
    let distinct = match &select.distinct {
        None | Some(Distinct::All) => false,
        Some(Distinct::Distinct) => true,
        Some(_) => return None,
    };
    let (offset, limit) = window(query)?;
    let read = Read {
        outputs: outputs(scope, select)?,
        distinct,
        order_by: order_by(scope, query, select)?,
        offset,
        limit,
        lock: row_lock(query),
    };
    let columns = read.outputs.iter().any(|(output, _)| matches!(output, Output::Column(_)));
    if read.aggregates() && (columns || !read.order_by.is_empty() || distinct) {
        return None;
    }
    Some(DirectPlan::Read(rows, read))
}

/// Whether a query has only the clauses that are known here.
fn is_plain(query: &Query, select: &Select) -> bool {
    let grouped = match &select.group_by {
        GroupByExpr::All(_) => true,
        GroupByExpr::Expressions(expressions, modifiers) => {
            !expressions.is_empty() || !modifiers.is_empty()
        }
    };
    query.with.is_none()
        && query.fetch.is_none()
        && query.locks.len() <= 1
        && !grouped
        && select.top.is_none()
        && select.having.is_none()
        && select.qualify.is_none()
        && select.named_window.is_empty()
        && select.connect_by.is_empty()
        && select.lateral_views.is_empty()
        && select.prewhere.is_none()
}

fn outputs(scope: Scope<'_>, select: &Select) -> Option<Vec<(Output, String)>> {
    let mut outputs = Vec::with_capacity(select.projection.len());
    for item in &select.projection {
        match item {
            SelectItem::UnnamedExpr(expression) => {
                let name = match expression {
                    Expr::Identifier(name) => name.value.clone(),
                    Expr::CompoundIdentifier(parts) => parts.last()?.value.clone(),
                    other => other.to_string(),
                };
                outputs.push((output(scope, expression)?, name));
            }
            SelectItem::ExprWithAlias { expr, alias } => {
                outputs.push((output(scope, expr)?, alias.value.clone()));
            }
            SelectItem::Wildcard(_) => {
                let all = scope.schema.live_columns();
                outputs.extend(all.map(|(id, own)| (Output::Column(id), own.name.clone())));
            }
            SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(of), _)
                if of.0.last()?.as_ident()?.value == scope.name =>
            {
                let all = scope.schema.live_columns();
                outputs.extend(all.map(|(id, own)| (Output::Column(id), own.name.clone())));
            }
            _ => return None,
        }
    }
    Some(outputs)
}

fn output(scope: Scope<'_>, expression: &Expr) -> Option<Output> {
    if let Some(column) = scope.column(expression) {
        return Some(Output::Column(column));
    }
    if let Some(operand) = Operand::of_expression(expression) {
        return Some(Output::Constant(operand));
    }
    match expression {
        Expr::Function(function) => aggregate(scope, function),
        _ => None,
    }
}

fn aggregate(scope: Scope<'_>, function: &Function) -> Option<Output> {
    let [name] = &function.name.0[..] else { return None };
    let kind = match name.as_ident()?.value.to_ascii_uppercase().as_str() {
        "COUNT" => Aggregate::Count,
        "SUM" => Aggregate::Sum,
        "MIN" => Aggregate::Min,
        "MAX" => Aggregate::Max,
        _ => return None,
    };
    let plain = function.over.is_none()
        && function.filter.is_none()
        && function.null_treatment.is_none()
        && function.within_group.is_empty();
    let FunctionArguments::List(list) = &function.args else { return None };
    let distinct = list.duplicate_treatment == Some(DuplicateTreatment::Distinct);
    if !plain || distinct || !list.clauses.is_empty() {
        return None;
    }
    match &list.args[..] {
        [FunctionArg::Unnamed(FunctionArgExpr::Wildcard)] if kind == Aggregate::Count => {
            Some(Output::Aggregate(kind, None))
        }
        [FunctionArg::Unnamed(FunctionArgExpr::Expr(column))] => {
            Some(Output::Aggregate(kind, Some(scope.column(column)?)))
        }
        _ => None,
    }
}

fn order_by(scope: Scope<'_>, query: &Query, select: &Select) -> Option<Vec<(ColumnId, bool)>> {
    let Some(order_by) = &query.order_by else { return Some(Vec::new()) };
    let OrderByKind::Expressions(items) = &order_by.kind else { return None };
    // An alias may hide a column of the same name.
    let hidden = |name: &str| {
        select.projection.iter().any(|item| {
            matches!(item, SelectItem::ExprWithAlias { alias, .. }
                if alias.value.eq_ignore_ascii_case(name))
        })
    };
    let item = |item: &sqlparser::ast::OrderByExpr| {
        if matches!(&item.expr, Expr::Identifier(name) if hidden(&name.value)) {
            return None;
        }
        let plain = item.with_fill.is_none() && item.options.nulls_first.is_none();
        let column = scope.column(&item.expr).filter(|_| plain)?;
        Some((column, item.options.asc == Some(false)))
    };
    items.iter().map(item).collect()
}

/// OFFSET and LIMIT; none if they are no plain numbers.
fn window(query: &Query) -> Option<(Option<KeyPart>, Option<KeyPart>)> {
    let count = |expression: &Expr| row_count(&Operand::of_expression(expression)?);
    match &query.limit_clause {
        None => Some((None, None)),
        Some(LimitClause::LimitOffset { limit, offset, limit_by }) if limit_by.is_empty() => {
            let limit = match limit {
                Some(limit) => Some(count(limit)?),
                None => None,
            };
            let offset = match offset {
                Some(offset) => Some(count(&offset.value)?),
                None => None,
            };
            Some((offset, limit))
        }
        Some(LimitClause::LimitOffset { .. }) => None,
        Some(LimitClause::OffsetCommaLimit { offset, limit }) => {
            Some((Some(count(offset)?), Some(count(limit)?)))
        }
    }
}
