//! GROUP BY: what groups are made of, and what may be said of them.

use std::cell::RefCell;

use datafusion::common::ScalarValue;
use datafusion::functions_aggregate::min_max::min_udaf;
use datafusion::logical_expr::expr::GroupingSet;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, when};
use resprout_sql::{Code, SqlError};
use sqlparser::ast;

use super::condition::unnested;
use super::names::{Bound, Names};
use super::native::identity;
use super::{Binder, Env, Result, column, planned};
use crate::aggregate::call;
use crate::values::data_type;

/// What is grouped by.
struct Key {
    /// How it was written, if it is more than a column.
    text: Option<String>,
    /// The value in a row.
    row: Bound,
    /// The value of a group.
    group: Bound,
    /// What it is called while groups are made.
    name: String,
}

/// What is made for each group.
#[derive(Default)]
struct Made {
    keys: Vec<Key>,
    /// Values of rows that aggregates take, with their names.
    arguments: Vec<(Expr, String)>,
    /// Aggregates, with the names of their values.
    aggregates: Vec<(Expr, String)>,
}

/// The groups of a SELECT, while its outputs are bound: what they need is added here.
pub(super) struct Group<'g> {
    /// Where the rows' expressions stand.
    pub(super) rows: Env<'g>,
    /// Whether there is a GROUP BY: else all rows are one group.
    by: bool,
    rollup: bool,
    made: RefCell<Made>,
}

/// An expression as it is compared with GROUP BY's: upper and lower case count for nothing.
fn text_of(expression: &ast::Expr) -> Option<String> {
    match unnested(expression) {
        ast::Expr::Identifier(_) | ast::Expr::CompoundIdentifier(_) | ast::Expr::Value(_) => None,
        other => Some(other.to_string().to_lowercase()),
    }
}

impl<'g> Group<'g> {
    pub(super) fn new(rows: Env<'g>, by: bool, rollup: bool) -> Self {
        Self { rows, by, rollup, made: RefCell::default() }
    }

    /// Groups by an expression too.
    ///
    /// # Errors
    /// With what the client is told.
    pub(super) fn add_key(&self, binder: &Binder<'_>, expression: &ast::Expr) -> Result<()> {
        let row = binder.value(&self.rows, expression)?;
        self.add(binder, row, text_of(expression));
        Ok(())
    }

    /// Groups by a column too.
    #[expect(clippy::unnecessary_wraps, reason = "as the other ways to add a key")]
    pub(super) fn add_column(&self, binder: &Binder<'_>, of_row: &Bound) -> Result<()> {
        self.add(binder, of_row.clone(), None);
        Ok(())
    }

    fn add(&self, binder: &Binder<'_>, row: Bound, text: Option<String>) -> Bound {
        let name = binder.fresh("group");
        let group = row.at(column(binder.fresh("by")));
        let key = Key { text, row, group: group.clone(), name };
        self.made.borrow_mut().keys.push(key);
        group
    }

    /// The key that an expression is.
    pub(super) fn key(&self, expression: &ast::Expr) -> Option<Bound> {
        let made = self.made.borrow();
        if made.keys.iter().all(|key| key.text.is_none()) {
            return None;
        }
        let text = text_of(expression)?;
        let key = made.keys.iter().find(|key| key.text.as_ref() == Some(&text));
        key.map(|key| key.group.clone())
    }

    /// The key that a column is.
    pub(super) fn known(&self, of_row: &Bound) -> Option<Bound> {
        let made = self.made.borrow();
        let key = made.keys.iter().find(|key| key.row.expr == of_row.expr);
        key.map(|key| of_row.at(key.group.expr.clone()))
    }

    /// A column of the rows, if it is the same in all rows of a group.
    ///
    /// # Errors
    /// 1055, or 1140 without GROUP BY.
    pub(super) fn column(
        &self,
        binder: &Binder<'_>,
        of_row: &Bound,
        clause: &str,
    ) -> Result<Bound> {
        if let Some(known) = self.known(of_row) {
            return Ok(known);
        }
        if matches!(of_row.expr, Expr::Literal(..)) {
            return Ok(of_row.clone());
        }
        if self.by && !self.rollup && self.depends(of_row) {
            return Ok(self.add(binder, of_row.clone(), None));
        }
        let name = match &of_row.origin {
            Some(origin) => {
                let column = &origin.schema.column(origin.id).name;
                format!("{}.{}.{}", origin.database, origin.alias, column)
            }
            None => of_row.expr.to_string(),
        };
        Err(if self.by {
            let text = format!("'{name}' in {clause} is not in GROUP BY and not determined by it");
            SqlError::new(Code::WRONG_FIELD_WITH_GROUP, text)
        } else {
            let text = format!(
                "In aggregated query without GROUP BY, {clause} contains nonaggregated column '{name}'"
            );
            SqlError::new(Code(1140), text)
        })
    }

    /// Whether the keys determine a column: they have the primary key of its table.
    fn depends(&self, of_row: &Bound) -> bool {
        let names: &Names = self.rows.names;
        let is_fixed = |expr: &Expr| {
            let made = self.made.borrow();
            let is_key = |expr: &Expr| made.keys.iter().any(|key| key.row.expr == *expr);
            let equal = names.equal.iter().any(|(one, other)| {
                (one == expr && is_key(other)) || (other == expr && is_key(one))
            });
            is_key(expr) || equal
        };
        let relation = names
            .relations
            .iter()
            .find(|relation| relation.columns.iter().any(|own| own.bound.expr == of_row.expr));
        is_fixed(&of_row.expr)
            || relation
                .and_then(super::names::Relation::key)
                .is_some_and(|key| key.iter().all(|column| is_fixed(&column.expr)))
    }

    /// A value of the rows, as an aggregate takes it.
    pub(super) fn argument(&self, binder: &Binder<'_>, of_row: Expr) -> Expr {
        let mut made = self.made.borrow_mut();
        if let Some((_, name)) = made.arguments.iter().find(|(known, _)| *known == of_row) {
            return column(name);
        }
        let name = binder.fresh("of");
        made.arguments.push((of_row, name.clone()));
        column(name)
    }

    /// The value of an aggregate.
    pub(super) fn aggregate(&self, binder: &Binder<'_>, of_arguments: Expr) -> Expr {
        let mut made = self.made.borrow_mut();
        if let Some((_, name)) = made.aggregates.iter().find(|(known, _)| *known == of_arguments) {
            return column(name);
        }
        let name = binder.fresh("aggregate");
        made.aggregates.push((of_arguments, name.clone()));
        column(name)
    }

    /// The groups of rows.
    ///
    /// # Errors
    /// If DataFusion refuses.
    pub(super) fn plan(&self, rows: LogicalPlan) -> Result<LogicalPlan> {
        let made = self.made.borrow();
        let (mut before, mut by, mut calls, mut after) = (vec![], vec![], vec![], vec![]);
        for key in &made.keys {
            before.push(identity(&key.row).alias(&key.name));
            by.push(column(&key.name));
            let Expr::Column(name) = &key.group.expr else { continue };
            if !key.row.needs_key() {
                after.push(column(&key.name).alias(&name.name));
                continue;
            }
            // Texts that are equal may differ: a group shows the least of them.
            let text = format!("{}text", key.name);
            before.push(key.row.expr.clone().alias(&text));
            let least = call(min_udaf(), vec![column(&text)], false);
            let made = column(least.schema_name().to_string());
            calls.push(least);
            let null = ScalarValue::try_from(&data_type(key.row.ty));
            let null = Expr::Literal(planned(null)?, None);
            let shown = match self.rollup {
                true => planned(when(column(&key.name).is_null(), null).otherwise(made))?,
                false => made,
            };
            after.push(shown.alias(&name.name));
        }
        before.extend(made.arguments.iter().map(|(of_row, name)| of_row.clone().alias(name)));
        for (aggregate, name) in &made.aggregates {
            after.push(column(aggregate.schema_name().to_string()).alias(name));
            calls.push(aggregate.clone());
        }
        if self.rollup {
            by = vec![Expr::GroupingSet(GroupingSet::Rollup(by))];
        }
        let mut plan = LogicalPlanBuilder::from(rows);
        if !before.is_empty() {
            plan = planned(plan.project(before))?;
        }
        if by.is_empty() && calls.is_empty() {
            // HAVING alone: one group, of which nothing is asked.
            let one = call(
                datafusion::functions_aggregate::count::count_udaf(),
                vec![datafusion::logical_expr::lit(1_i64)],
                false,
            );
            calls.push(one);
        }
        let plan = plan.aggregate(by, calls);
        let plan = planned(plan)?;
        if after.is_empty() {
            return planned(plan.build());
        }
        planned(plan.project(after).and_then(LogicalPlanBuilder::build))
    }
}
