//! A query: WITH, its body, ORDER BY and LIMIT.

use std::ops::ControlFlow;
use std::sync::Arc;

use arrow::datatypes::{Field, Schema};
use datafusion::catalog::cte_worktable::CteWorkTable;
use datafusion::catalog::default_table_source::provider_as_source;
use datafusion::common::{Column as PlanColumn, TableReference};
use datafusion::logical_expr::{Expr, LogicalPlanBuilder};
use resprout_engine::table::Value;
use resprout_sql::statement::Operand;
use resprout_sql::{Code, SqlError};
use sqlparser::ast::{
    self, Cte, LimitClause, OrderBy, OrderByKind, Query, SetExpr, SetOperator, SetQuantifier,
    visit_relations,
};

use super::names::{Bound, Named, Names, Relation};
use super::{Binder, Common, Env, Relational, Result, planned};
use crate::computed::convert;
use crate::values::data_type;

/// What is left out before rows come, and how many come.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Window {
    pub(super) skip: usize,
    pub(super) take: Option<usize>,
}

impl Window {
    pub(super) const fn is_all(self) -> bool {
        self.skip == 0 && self.take.is_none()
    }
}

/// How the rows of a body are ordered and cut.
#[derive(Clone, Copy, Default)]
pub(super) struct Tail<'q> {
    pub(super) order_by: &'q [ast::OrderByExpr],
    pub(super) window: Window,
}

impl Binder<'_> {
    /// A query.
    ///
    /// # Errors
    /// With what the client is told.
    pub(super) fn query(&self, query: &Query, parent: Option<&Env<'_>>) -> Result<Relational> {
        if !query.locks.is_empty() {
            return Err(SqlError::not_supported("row locks beside joins, groups and subqueries"));
        }
        if query.fetch.is_some() || !query.pipe_operators.is_empty() {
            return Err(SqlError::not_supported("FETCH and pipes"));
        }
        let order_by = match &query.order_by {
            None => &[][..],
            Some(OrderBy { kind: OrderByKind::Expressions(items), .. }) => items,
            Some(_) => return Err(SqlError::not_supported("ORDER BY ALL")),
        };
        let window = match &query.limit_clause {
            None => Window::default(),
            Some(clause) => self.limit(clause)?,
        };
        let tail = Tail { order_by, window };
        self.deeper(|| {
            let mark = self.common.borrow().len();
            let done = self.with(query).and_then(|()| self.body(&query.body, tail, parent));
            self.common.borrow_mut().truncate(mark);
            done
        })
    }

    /// What a query consists of, ordered and cut.
    pub(super) fn body(
        &self,
        body: &SetExpr,
        tail: Tail<'_>,
        parent: Option<&Env<'_>>,
    ) -> Result<Relational> {
        match body {
            SetExpr::Select(select) => self.select(select, tail, parent),
            SetExpr::Query(inner) => {
                let inner = self.query(inner, parent)?;
                self.tailed(inner, tail, parent)
            }
            SetExpr::SetOperation { left, op, set_quantifier, right } => {
                let all = match set_quantifier {
                    SetQuantifier::All => true,
                    SetQuantifier::None | SetQuantifier::Distinct => false,
                    _ => return Err(SqlError::not_supported("UNION BY NAME")),
                };
                let (left, right) = self.deeper(|| {
                    let none = Tail::default();
                    Ok((self.body(left, none, parent)?, self.body(right, none, parent)?))
                })?;
                let whole = self.set_operation(left, (*op, all), right)?;
                self.tailed(whole, tail, parent)
            }
            _ => Err(SqlError::not_supported("VALUES and TABLE as queries")),
        }
    }

    /// Rows ordered by what they have, and cut.
    fn tailed(
        &self,
        whole: Relational,
        tail: Tail<'_>,
        parent: Option<&Env<'_>>,
    ) -> Result<Relational> {
        if tail.order_by.is_empty() && tail.window.is_all() {
            return Ok(whole);
        }
        let relation =
            Relation { database: None, alias: "".into(), columns: whole.outputs.clone() };
        let names = Names::of(relation);
        let env = Env::new(&names, parent, "order clause");
        let keys = self.sort_keys(&env, tail.order_by, &whole.outputs)?;
        self.finished(whole.plan, &whole.outputs, &keys, (false, tail.window))
    }

    fn with(&self, query: &Query) -> Result<()> {
        let Some(with) = &query.with else { return Ok(()) };
        for cte in &with.cte_tables {
            let common = match with.recursive && mentions(&cte.query, &cte.alias.name.value) {
                true => self.recursive(cte)?,
                false => Common::Query(Arc::new(cte.clone())),
            };
            self.common.borrow_mut().push(common);
        }
        Ok(())
    }

    /// A table of WITH RECURSIVE: rows to begin with, and rows that come of the rows before.
    fn recursive(&self, cte: &Cte) -> Result<Common> {
        let SetExpr::SetOperation { left, op: SetOperator::Union, set_quantifier, right } =
            &*cte.query.body
        else {
            let text = format!(
                "Recursive Common Table Expression '{}' should contain a UNION",
                cte.alias.name.value
            );
            return Err(SqlError::new(Code(3573), text));
        };
        let alias = cte.alias.name.value.clone();
        if cte.query.order_by.is_some() || cte.query.limit_clause.is_some() {
            return Err(SqlError::not_supported("ORDER BY and LIMIT in WITH RECURSIVE"));
        }
        let first = self.body(left, Tail::default(), None)?;
        let mut first = self.renamed(first)?;
        if !cte.alias.columns.is_empty() {
            if cte.alias.columns.len() != first.outputs.len() {
                let text = "WITH column list and SELECT field list have different column counts";
                return Err(SqlError::new(Code(1353), text));
            }
            for (output, column) in first.outputs.iter_mut().zip(&cte.alias.columns) {
                output.name.clone_from(&column.name.value);
            }
        }
        let name = self.qualifier(&alias);
        let itself = work_table(&name, &first)?;
        self.common.borrow_mut().push(Common::Itself(alias.clone(), itself));
        let next = self.body(right, Tail::default(), None);
        self.common.borrow_mut().pop();
        let next = next?;
        if next.outputs.len() != first.outputs.len() {
            return Err(super::set_operation::different_columns());
        }
        let columns = first.outputs.iter().zip(&next.outputs).map(|(first, next)| {
            let Named { bound, .. } = next;
            let value = convert(bound.expr.clone(), bound.ty, first.bound.ty, self.moment);
            match &first.bound.expr {
                Expr::Column(column) => value.alias(&column.name),
                _ => value,
            }
        });
        let next = LogicalPlanBuilder::from(next.plan).project(columns.collect::<Vec<_>>());
        let next = planned(next.and_then(LogicalPlanBuilder::build))?;
        let distinct = !matches!(set_quantifier, SetQuantifier::All);
        let plan = LogicalPlanBuilder::from(first.plan).to_recursive_query(name, next, distinct);
        let plan = planned(plan.and_then(LogicalPlanBuilder::build))?;
        Ok(Common::Bound(alias, Relational { plan, outputs: first.outputs, single_row: false }))
    }

    /// OFFSET and LIMIT.
    fn limit(&self, clause: &LimitClause) -> Result<Window> {
        let count = |expression: &ast::Expr| -> Result<usize> {
            let wrong = || SqlError::new(Code::WRONG_ARGUMENTS, "Incorrect arguments to LIMIT");
            let value = match Operand::of_expression(expression) {
                Some(Operand::Literal(value)) => Some(value),
                Some(Operand::Parameter(number)) => match &self.moment.parameters {
                    // It has no value yet, and the plan will not run.
                    None => Some(Value::UInt(1)),
                    Some(all) => {
                        usize::from(number).checked_sub(1).and_then(|at| all.get(at)).cloned()
                    }
                },
                _ => None,
            };
            let number = match value.ok_or_else(wrong)? {
                Value::Int(number) => u64::try_from(number).ok(),
                Value::UInt(number) => Some(number),
                Value::Text(text) => text.parse().ok(),
                _ => None,
            };
            Ok(usize::try_from(number.ok_or_else(wrong)?).unwrap_or(usize::MAX))
        };
        // What DataFusion takes: beyond it there are no rows.
        let bounded = |number: usize| number.min(i64::MAX as usize);
        Ok(match clause {
            LimitClause::LimitOffset { limit, offset, limit_by } if limit_by.is_empty() => Window {
                skip: offset.as_ref().map_or(Ok(0), |offset| count(&offset.value)).map(bounded)?,
                take: limit.as_ref().map(count).transpose()?.map(bounded),
            },
            LimitClause::LimitOffset { .. } => return Err(SqlError::not_supported("LIMIT BY")),
            LimitClause::OffsetCommaLimit { offset, limit } => {
                Window { skip: bounded(count(offset)?), take: Some(bounded(count(limit)?)) }
            }
        })
    }
}

/// Whether a query reads a table of this name.
fn mentions(query: &Query, name: &str) -> bool {
    let found = visit_relations(query, |relation| {
        let is = match &relation.0[..] {
            [part] => part.as_ident().is_some_and(|own| own.value.eq_ignore_ascii_case(name)),
            _ => false,
        };
        if is { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    found.is_break()
}

/// What a recursive table is read from inside of itself.
fn work_table(name: &str, first: &Relational) -> Result<Relational> {
    let (mut fields, mut outputs) = (Vec::new(), Vec::new());
    let reference = TableReference::bare(name);
    for output in &first.outputs {
        let Expr::Column(column) = &output.bound.expr else { continue };
        fields.push(Field::new(&column.name, data_type(output.bound.ty), true));
        let column = Expr::Column(PlanColumn::new(Some(reference.clone()), &column.name));
        let bound = Bound { origin: None, ..output.bound.at(column) };
        outputs.push(Named { name: output.name.clone(), bound });
    }
    let table = CteWorkTable::new(name, Arc::new(Schema::new(fields)));
    let plan = LogicalPlanBuilder::scan(reference, provider_as_source(Arc::new(table)), None);
    let plan = planned(plan.and_then(LogicalPlanBuilder::build))?;
    Ok(Relational { plan, outputs, single_row: false })
}
