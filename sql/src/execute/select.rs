//! SELECT from one table, or from none: planned once, run in pieces that are sent as they come.

use std::collections::BTreeSet;

use resprout_engine::table::{ColumnId, IndexId, Value};
use sqlparser::ast::{
    Distinct, Expr, GroupByExpr, LimitClause, OrderByKind, Query, Select, SelectItem,
    SelectItemQualifiedWildcardKind, SetExpr, TableFactor,
};

use super::aggregate::{Aggregate, Running};
use super::order::{SORT_BYTES_MAX, Sorter, bytes_of, identity, too_much};
use super::router::{Found, Target, by_key};
use super::rows::{Budget, Search, Stop};
use super::value;
use crate::error::{Code, SqlError};
use crate::expression::{Compiled, Context, NoRow, NoSession, Row, Scope, compile};
use crate::place::Transaction;
use crate::protocol::column::{Column, Columns};
use crate::pushdown::{Pushdown, of_filter};
use crate::server::Interrupt;
use crate::statement::direct::{self, Rows};
use crate::statement::{Operand, RowLock, row_lock};

/// Where a value of a result comes from.
#[derive(Debug)]
enum Output {
    Column(ColumnId),
    Expression(Compiled),
    Aggregate(Aggregate),
}

/// What rows are ordered by.
#[derive(Debug)]
enum OrderKey {
    /// An output, from 0.
    Output(usize),
    Expression(Compiled),
}

/// A number of rows.
#[derive(Clone, Debug)]
enum Count {
    Literal(u64),
    Parameter(usize),
}

/// A SELECT that is ready to be run.
#[derive(Debug)]
pub(crate) struct Plan {
    /// The table; none if nothing is read.
    pub(crate) target: Option<Target>,
    /// Its result's columns.
    pub(crate) columns: Columns,
    outputs: Vec<Output>,
    rows: Option<Rows>,
    filter: Option<Compiled>,
    /// The filter as it was written, for rows that are on other nodes.
    written: Option<Box<Expr>>,
    distinct: bool,
    order: Vec<(OrderKey, bool)>,
    offset: Option<Count>,
    limit: Option<Count>,
    /// `FOR UPDATE`.
    pub(crate) lock: Option<RowLock>,
}

/// The table of a query of one table, or that there is none.
pub(crate) enum From<'q> {
    /// No table.
    Nothing(&'q Select),
    /// One: its database, name and alias.
    Table(&'q Select, Option<&'q str>, &'q str, Option<&'q str>),
}

/// What a query reads.
///
/// # Errors
/// 1235 if it is more than one table.
pub(crate) fn from(query: &Query) -> Result<From<'_>, SqlError> {
    let unsupported = |what| Err(SqlError::not_supported(what));
    // Its tables have names that may be those of others.
    if query.with.is_some() {
        return unsupported("WITH");
    }
    let SetExpr::Select(select) = &*query.body else {
        return unsupported("UNION, VALUES and nested queries");
    };
    let [from] = &select.from[..] else {
        return match select.from.is_empty() {
            true => Ok(From::Nothing(select)),
            false => unsupported("joins"),
        };
    };
    if !from.joins.is_empty() {
        return unsupported("joins");
    }
    let TableFactor::Table { name, alias, .. } = &from.relation else {
        return unsupported("subqueries");
    };
    let parts: Vec<&str> =
        name.0.iter().filter_map(|part| Some(part.as_ident()?.value.as_str())).collect();
    let alias = alias.as_ref().map(|alias| alias.name.value.as_str());
    match parts[..] {
        [table] if table.eq_ignore_ascii_case("dual") && alias.is_none() => {
            Ok(From::Nothing(select))
        }
        [table] => Ok(From::Table(select, None, table, alias)),
        [database, table] => Ok(From::Table(select, Some(database), table, alias)),
        _ => unsupported("names of more than two parts"),
    }
}

impl Plan {
    /// Plans a query.
    ///
    /// # Errors
    /// 1054 and its like; 1235 for what is not done here.
    pub(crate) fn new(
        query: &Query,
        select: &Select,
        target: Option<Target>,
        alias: Option<&str>,
        scope: Scope<'_>,
    ) -> Result<Self, SqlError> {
        refuse(select)?;
        let mut results = Results::default();
        let from = target.as_ref().map(|target| (target, alias));
        for item in &select.projection {
            add_item(item, from, &scope, &mut results)?;
        }
        let Results { outputs, columns } = results;
        let filter = select.selection.as_ref();
        let rows = target.as_ref().and_then(|target| {
            let name = alias.unwrap_or(&target.schema().name);
            direct::rows(filter, target.schema(), name)
        });
        let needs_filter = rows.as_ref().is_none_or(|rows| !rows.residual.is_empty());
        // Also where a key says it all: parameters that are no keys go the long way.
        let has_parameters = rows.as_ref().is_some_and(has_parameters);
        let whole = filter.filter(|_| needs_filter || has_parameters);
        let filter =
            whole.map(|filter| compile(filter, &scope.in_clause("where clause"))).transpose()?;
        let is_far = target.as_ref().is_some_and(|target| target.database.is_far());
        let written = whole.filter(|_| is_far).map(|filter| Box::new(filter.clone()));
        let aggregates = outputs.iter().any(|output| matches!(output, Output::Aggregate(_)));
        let plain = outputs.iter().any(|output| match output {
            Output::Column(_) => true,
            Output::Expression(compiled) => !compiled.columns().is_empty(),
            Output::Aggregate(_) => false,
        });
        if aggregates && plain {
            return Err(SqlError::not_supported("columns beside aggregates"));
        }
        let order = if aggregates { Vec::new() } else { order(query, select, &scope, &outputs)? };
        let (offset, limit) = window(query)?;
        Ok(Self {
            target,
            columns: Columns::new(columns),
            outputs,
            rows,
            filter,
            written,
            distinct: matches!(select.distinct, Some(Distinct::Distinct)),
            order,
            offset,
            limit,
            lock: row_lock(query),
        })
    }

    /// Where its rows are. The filter has to be applied unless a key says it all.
    ///
    /// # Errors
    /// If a key cannot be made.
    pub(crate) fn find(&self, parameters: &[Value]) -> Result<(Found, bool), SqlError> {
        let Some(target) = &self.target else { return Ok((Found::Keys(Vec::new()), false)) };
        if let Some(rows) = &self.rows
            && let Some(found) = by_key(target, rows, parameters)?
        {
            return Ok((found, !rows.residual.is_empty()));
        }
        Ok((Found::all(target), true))
    }

    /// How its rows are found, in a line.
    ///
    /// # Errors
    /// If a key cannot be made.
    pub(crate) fn explain(&self, parameters: &[Value]) -> Result<String, SqlError> {
        let Some(target) = &self.target else { return Ok("One row without a table".to_owned()) };
        let (found, filtered) = self.find(parameters)?;
        let name_of = |id: &IndexId| {
            let index = target.schema().indexes.iter().find(|index| index.id == *id);
            index.map_or("", |index| &index.name)
        };
        let how = match &found {
            Found::Keys(keys) => format!("{} rows by primary key", keys.len()),
            Found::Range(_, range) if *range == target.table.rows() => "all rows".to_owned(),
            Found::Range(..) => "a range of the primary key".to_owned(),
            Found::Index(_, id, _) => format!("a range of index '{}'", name_of(id)),
            Found::Ranges(id, parts) => {
                let ranges: BTreeSet<_> =
                    parts.iter().flat_map(|(_, ranges)| ranges).map(|range| &range.from).collect();
                let of = id.as_ref().map(|id| format!("index '{}'", name_of(id)));
                let of = of.as_deref().unwrap_or("the primary key");
                format!("{} ranges of {of}", ranges.len())
            }
        };
        let partitions = match &found {
            Found::Keys(_) => String::new(),
            found => format!(" of {} partitions", found.partitions().len()),
        };
        let filter = if filtered && self.filter.is_some() { ", filtered" } else { "" };
        let context = Context::new(&NoSession, parameters);
        let is_pushed =
            filtered && !matches!(found, Found::Keys(_)) && self.pushdown(&context).is_some();
        let where_they_are = if is_pushed { " on the leaves" } else { "" };
        Ok(format!("Direct: {}: {how}{partitions}{filter}{where_they_are}", target.table.name()))
    }

    fn window(&self, parameters: &[Value]) -> Result<(u64, Option<u64>), SqlError> {
        let count = |count: &Option<Count>| match count {
            None => Ok(None),
            Some(Count::Literal(number)) => Ok(Some(*number)),
            Some(Count::Parameter(at)) => match parameters.get(*at) {
                Some(Value::Int(number @ 0..)) => Ok(Some(number.unsigned_abs())),
                Some(Value::UInt(number)) => Ok(Some(*number)),
                Some(Value::Text(text)) if text.parse::<u64>().is_ok() => Ok(text.parse().ok()),
                _ => Err(SqlError::new(Code::WRONG_ARGUMENTS, "Incorrect arguments to LIMIT")),
            },
        };
        Ok((count(&self.offset)?.unwrap_or(0), count(&self.limit)?))
    }

    /// So many rows of a range are enough, whatever the others have.
    ///
    /// # Errors
    /// 1210 for a wrong limit.
    pub(crate) fn rows_wanted(
        &self,
        found: &(Found, bool),
        parameters: &[Value],
    ) -> Result<u64, SqlError> {
        let is_filtered = found.1 && self.filter.is_some();
        if is_filtered || self.distinct || !self.order.is_empty() || self.aggregates() {
            return Ok(u64::MAX);
        }
        let (offset, limit) = self.window(parameters)?;
        Ok(limit.map_or(u64::MAX, |limit| limit.saturating_add(offset)))
    }

    /// Runs it: gives rows to `sink` until that has enough.
    ///
    /// # Errors
    /// Of reading, expressions, `sink` or the interrupt.
    pub(crate) fn run(
        &self,
        (found, parts): (&(Found, bool), &[(usize, &Transaction)]),
        context: &Context<'_>,
        (interrupt, budget): (&Interrupt, &Budget),
        sink: &mut dyn FnMut(Vec<Value>) -> Result<(), Stop>,
    ) -> Result<(), SqlError> {
        let (mut offset, limit) = self.window(context.parameters)?;
        let mut left = limit.unwrap_or(u64::MAX);
        if left == 0 {
            return Ok(());
        }
        let mut emit = move |row: Vec<Value>| -> Result<(), Stop> {
            if offset > 0 {
                offset -= 1;
                return Ok(());
            }
            sink(row)?;
            left -= 1;
            if left == 0 { Err(Stop::Enough) } else { Ok(()) }
        };
        let Some(target) = &self.target else {
            let holds = self.filter.as_ref().map_or(Ok(true), |f| f.matches(&NoRow, context))?;
            return if self.aggregates() {
                self.aggregate(
                    &mut |visit| if holds { visit(&NoRow) } else { Ok(()) },
                    context,
                    &mut emit,
                )
            } else if holds {
                let row = self.row(&NoRow, context)?;
                ended(emit(row))
            } else {
                Ok(())
            };
        };
        let filter = self.filter.as_ref().filter(|_| found.1);
        let pushdown = filter.and(self.pushdown(context));
        let pushdown = pushdown.as_ref();
        let (table, found) = (&target.table, &found.0);
        let search = Search { table, found, filter, pushdown, context, interrupt, budget };
        if self.aggregates() {
            let mut rows = |visit: &mut dyn FnMut(&dyn Row) -> Result<(), SqlError>| {
                search.visit(parts, &mut |_, row| visit(row).map_err(Stop::Failed))
            };
            return self.aggregate(&mut rows, context, &mut emit);
        }
        let keep = limit.map(|limit| {
            usize::try_from(
                limit.saturating_add(self.window(context.parameters).map_or(0, |w| w.0)),
            )
            .unwrap_or(usize::MAX)
        });
        self.rows(&search, parts, keep, &mut emit)
    }

    /// What other nodes can judge of the filter.
    pub(crate) fn pushdown(&self, context: &Context<'_>) -> Option<Pushdown> {
        let schema = self.target.as_ref()?.schema();
        of_filter(self.written.as_deref()?, schema, context.parameters, context.zone)
    }

    /// What must hold of a row, if it has to be looked at.
    pub(crate) fn filter(&self, applies: bool) -> Option<&Compiled> {
        self.filter.as_ref().filter(|_| applies)
    }

    /// Orders and cuts rows that were gathered one by one, with their order keys.
    ///
    /// # Errors
    /// 1210 for a wrong limit; 1235 for aggregates and DISTINCT.
    pub(crate) fn finish_locked(
        &self,
        rows: Vec<(Vec<Value>, Vec<Value>)>,
        parameters: &[Value],
    ) -> Result<Vec<Vec<Value>>, SqlError> {
        if self.aggregates() || self.distinct {
            return Err(SqlError::not_supported("FOR UPDATE with aggregates or DISTINCT"));
        }
        let (offset, limit) = self.window(parameters)?;
        let at = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
        let descending = self.order.iter().map(|(_, descending)| *descending).collect();
        let mut sorter = Sorter::new(descending, None, |row: &Vec<Value>| bytes_of(row));
        for (keys, row) in rows {
            sorter.add(keys, row)?;
        }
        let rows = sorter.finish().skip(at(offset)).take(limit.map_or(usize::MAX, at));
        Ok(rows.collect())
    }

    /// Whether it gives one row of aggregates.
    pub(crate) fn aggregates(&self) -> bool {
        self.outputs.iter().any(|output| matches!(output, Output::Aggregate(_)))
    }

    /// A result of rows: as they come, or sorted and without doubles.
    fn rows(
        &self,
        search: &Search<'_>,
        parts: &[(usize, &Transaction)],
        keep: Option<usize>,
        emit: &mut dyn FnMut(Vec<Value>) -> Result<(), Stop>,
    ) -> Result<(), SqlError> {
        let mut seen = std::collections::HashSet::new();
        let mut bytes = 0;
        let mut is_new = |row: &[Value]| -> Result<bool, SqlError> {
            if !self.distinct {
                return Ok(true);
            }
            let identity = identity(row);
            bytes += identity.len() + 64;
            if bytes > SORT_BYTES_MAX {
                return Err(too_much());
            }
            Ok(seen.insert(identity))
        };
        let context = search.context;
        if self.order.is_empty() {
            return search.visit(parts, &mut |_, row| {
                let row = self.row(row, context)?;
                if is_new(&row)? { emit(row) } else { Ok(()) }
            });
        }
        let descending = self.order.iter().map(|(_, descending)| *descending).collect();
        let mut sorter = Sorter::new(descending, keep, |row: &Vec<Value>| bytes_of(row));
        search.visit(parts, &mut |_, row| {
            let values = self.row(row, context)?;
            if is_new(&values)? {
                sorter.add(self.order_keys(row, &values, context)?, values)?;
            }
            Ok(())
        })?;
        for row in sorter.finish() {
            match emit(row) {
                Ok(()) => {}
                Err(Stop::Enough) => break,
                Err(Stop::Failed(error)) => return Err(error),
            }
        }
        Ok(())
    }

    /// What a row is ordered by.
    pub(crate) fn order_keys(
        &self,
        row: &dyn Row,
        values: &[Value],
        context: &Context<'_>,
    ) -> Result<Vec<Value>, SqlError> {
        let key = |(key, _): &(OrderKey, bool)| match key {
            OrderKey::Output(at) => Ok(values[*at].clone()),
            OrderKey::Expression(compiled) => Ok(compiled.evaluate(row, context)?),
        };
        self.order.iter().map(key).collect()
    }

    /// The outputs of a row.
    pub(crate) fn row(&self, row: &dyn Row, context: &Context<'_>) -> Result<Vec<Value>, SqlError> {
        let output = |output: &Output| match output {
            Output::Column(id) => Ok(row.column(*id)?.into_owned()),
            Output::Expression(compiled) => Ok(compiled.evaluate(row, context)?),
            Output::Aggregate(_) => Ok(Value::Null),
        };
        self.outputs.iter().map(output).collect()
    }

    #[expect(clippy::type_complexity, reason = "a source of rows, whatever they are")]
    fn aggregate(
        &self,
        rows: &mut dyn FnMut(
            &mut dyn FnMut(&dyn Row) -> Result<(), SqlError>,
        ) -> Result<(), SqlError>,
        context: &Context<'_>,
        emit: &mut dyn FnMut(Vec<Value>) -> Result<(), Stop>,
    ) -> Result<(), SqlError> {
        let mut running: Vec<Running> = self.outputs.iter().map(|_| Running::default()).collect();
        rows(&mut |row| {
            for (output, running) in self.outputs.iter().zip(&mut running) {
                let Output::Aggregate(aggregate) = output else { continue };
                let value = match aggregate.argument() {
                    Some(argument) => Some(argument.evaluate(row, context)?),
                    None => None,
                };
                running.add(aggregate, value)?;
            }
            Ok(())
        })?;
        let finished = self.outputs.iter().zip(running).map(|(output, running)| match output {
            Output::Aggregate(aggregate) => Ok(running.finish(aggregate)),
            Output::Expression(compiled) => Ok(compiled.evaluate(&NoRow, context)?),
            Output::Column(_) => Ok(Value::Null),
        });
        let row = finished.collect::<Result<_, SqlError>>()?;
        ended(emit(row))
    }
}

fn ended(emitted: Result<(), Stop>) -> Result<(), SqlError> {
    match emitted {
        Ok(()) | Err(Stop::Enough) => Ok(()),
        Err(Stop::Failed(error)) => Err(error),
    }
}

fn has_parameters(rows: &Rows) -> bool {
    use direct::{Access, KeyPart};
    let is = |part: &KeyPart| matches!(part, KeyPart::Parameter(_));
    match &rows.access {
        Access::Points(points) | Access::Prefixes(points) => points.iter().flatten().any(is),
        Access::Range { prefix, lower, upper } => {
            prefix.iter().any(is) || [lower, upper].into_iter().flatten().any(|(part, _)| is(part))
        }
    }
}

/// Clauses that are for the query library.
fn refuse(select: &Select) -> Result<(), SqlError> {
    let grouped = match &select.group_by {
        GroupByExpr::All(_) => true,
        GroupByExpr::Expressions(expressions, modifiers) => {
            !expressions.is_empty() || !modifiers.is_empty()
        }
    };
    let what = if grouped {
        "GROUP BY"
    } else if select.having.is_some() {
        "HAVING"
    } else if !select.named_window.is_empty() || select.qualify.is_some() {
        "window functions"
    } else if matches!(select.distinct, Some(Distinct::On(_))) || select.top.is_some() {
        "DISTINCT ON and TOP"
    } else {
        return Ok(());
    };
    Err(SqlError::not_supported(what))
}

/// What a SELECT gives.
#[derive(Debug, Default)]
struct Results {
    outputs: Vec<Output>,
    columns: Vec<Column>,
}

/// What a column without an alias is called.
pub(crate) fn name_of(expression: &Expr) -> String {
    match expression {
        Expr::Identifier(name) => name.value.clone(),
        Expr::CompoundIdentifier(parts) => {
            parts.last().map(|part| part.value.clone()).unwrap_or_default()
        }
        Expr::Value(value) => match &value.value {
            sqlparser::ast::Value::SingleQuotedString(text) => text.clone(),
            other => other.to_string(),
        },
        other => other.to_string(),
    }
}

type Source<'a> = Option<(&'a Target, Option<&'a str>)>;

fn add_item(
    item: &SelectItem,
    from: Source<'_>,
    scope: &Scope<'_>,
    results: &mut Results,
) -> Result<(), SqlError> {
    match item {
        SelectItem::UnnamedExpr(expression) => {
            let name = name_of(expression);
            add_output(expression, &name, from, scope, results)
        }
        SelectItem::ExprWithAlias { expr, alias } => {
            add_output(expr, &alias.value, from, scope, results)
        }
        SelectItem::Wildcard(_) => add_all(from, results),
        SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(of), _) => {
            let of = of.0.last().and_then(|part| Some(part.as_ident()?.value.as_str()));
            let own = from.map(|(target, alias)| alias.unwrap_or(&target.schema().name));
            if of.is_none() || of != own {
                let text = format!("Unknown table '{}'", of.unwrap_or_default());
                return Err(SqlError::new(Code::BAD_TABLE, text));
            }
            add_all(from, results)
        }
        _ => Err(SqlError::not_supported("this item of a SELECT")),
    }
}

fn add_all(from: Source<'_>, results: &mut Results) -> Result<(), SqlError> {
    let Some((target, alias)) = from else {
        return Err(SqlError::new(Code(1096), "No tables used"));
    };
    let (schema, database) = (target.schema(), target.database.name());
    for (id, column) in schema.live_columns() {
        results.outputs.push(Output::Column(id));
        results.columns.push(value::of_column(database, schema, id, alias, &column.name));
    }
    Ok(())
}

fn add_output(
    expression: &Expr,
    name: &str,
    from: Source<'_>,
    scope: &Scope<'_>,
    results: &mut Results,
) -> Result<(), SqlError> {
    if let Some(aggregate) = Aggregate::of(expression, scope)? {
        results.columns.push(value::of_expression(name, aggregate.ty()));
        results.outputs.push(Output::Aggregate(aggregate));
        return Ok(());
    }
    let compiled = compile(expression, scope)?;
    let is_name = matches!(expression, Expr::Identifier(_) | Expr::CompoundIdentifier(_));
    match (from, compiled.columns()) {
        (Some((target, alias)), [id]) if is_name => {
            let database = target.database.name();
            results.columns.push(value::of_column(database, target.schema(), *id, alias, name));
            results.outputs.push(Output::Column(*id));
        }
        _ => {
            results.columns.push(value::of_expression(name, compiled.ty()));
            results.outputs.push(Output::Expression(compiled));
        }
    }
    Ok(())
}

fn order(
    query: &Query,
    select: &Select,
    scope: &Scope<'_>,
    outputs: &[Output],
) -> Result<Vec<(OrderKey, bool)>, SqlError> {
    let Some(order_by) = &query.order_by else { return Ok(Vec::new()) };
    let OrderByKind::Expressions(items) = &order_by.kind else {
        return Err(SqlError::not_supported("ORDER BY ALL"));
    };
    let scope = scope.in_clause("order clause");
    let aliased = |name: &str| {
        let has = |item: &SelectItem| {
            matches!(item, SelectItem::ExprWithAlias { alias, .. }
                if alias.value.eq_ignore_ascii_case(name))
        };
        // Positions are those of outputs only where no item is more than one.
        let simple = select.projection.len() == outputs.len();
        select.projection.iter().position(has).filter(|_| simple)
    };
    let one = |item: &sqlparser::ast::OrderByExpr| {
        let descending = item.options.asc == Some(false);
        let key = match (&item.expr, Operand::of_expression(&item.expr)) {
            (_, Some(Operand::Literal(Value::Int(at)))) => {
                let at = usize::try_from(at).ok().and_then(|at| at.checked_sub(1));
                let at = at.filter(|at| *at < outputs.len());
                let unknown = || {
                    let text = format!("Unknown column '{}' in 'order clause'", item.expr);
                    SqlError::new(Code::BAD_FIELD, text)
                };
                OrderKey::Output(at.ok_or_else(unknown)?)
            }
            (Expr::Identifier(name), _) if aliased(&name.value).is_some() => {
                OrderKey::Output(aliased(&name.value).unwrap_or_default())
            }
            (expression, _) => OrderKey::Expression(compile(expression, &scope)?),
        };
        Ok((key, descending))
    };
    items.iter().map(one).collect()
}

/// OFFSET and LIMIT.
fn window(query: &Query) -> Result<(Option<Count>, Option<Count>), SqlError> {
    let count = |expression: &Expr| match Operand::of_expression(expression) {
        Some(Operand::Literal(Value::Int(number @ 0..))) => {
            Ok(Some(Count::Literal(number.unsigned_abs())))
        }
        Some(Operand::Literal(Value::UInt(number))) => Ok(Some(Count::Literal(number))),
        Some(Operand::Parameter(number)) => {
            Ok(Some(Count::Parameter(usize::from(number).saturating_sub(1))))
        }
        _ => Err(SqlError::new(Code::WRONG_ARGUMENTS, "Incorrect arguments to LIMIT")),
    };
    match &query.limit_clause {
        None => Ok((None, None)),
        Some(LimitClause::LimitOffset { limit, offset, .. }) => Ok((
            offset.as_ref().map_or(Ok(None), |offset| count(&offset.value))?,
            limit.as_ref().map_or(Ok(None), count)?,
        )),
        Some(LimitClause::OffsetCommaLimit { offset, limit }) => {
            Ok((count(offset)?, count(limit)?))
        }
    }
}
