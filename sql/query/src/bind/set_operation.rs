//! UNION, INTERSECT and EXCEPT; and DISTINCT, which UNION needs too.

use datafusion::functions_aggregate::min_max::{max_udaf, min_udaf};
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, Operator, binary_expr, lit};
use resprout_sql::expression::Type;
use resprout_sql::{Code, SqlError};
use sqlparser::ast::SetOperator;

use super::names::{Bound, Named};
use super::native::identity;
use super::{Binder, Relational, Result, column, planned};
use crate::aggregate::call;
use crate::computed::convert;

/// Queries side by side that do not have as many columns (1222).
pub(super) fn different_columns() -> SqlError {
    SqlError::plain(Code::WRONG_NUMBER_OF_COLUMNS_IN_SELECT)
}

/// On which side of a set operation a row is.
const LEFT: &str = "left";
const RIGHT: &str = "right";

impl Binder<'_> {
    /// Two queries as one.
    ///
    /// # Errors
    /// 1222 if they have not the same number of columns.
    pub(super) fn set_operation(
        &self,
        left: Relational,
        (operator, all): (SetOperator, bool),
        right: Relational,
    ) -> Result<Relational> {
        if left.outputs.len() != right.outputs.len() {
            return Err(different_columns());
        }
        let sides = left.outputs.iter().zip(&right.outputs);
        let outputs: Vec<Named> = sides
            .map(|(left, right)| {
                let ty = left.bound.ty.merge(right.bound.ty);
                let collation = left.bound.collation;
                let expr = column(self.fresh(&left.name));
                Named {
                    name: left.name.clone(),
                    bound: Bound { expr, ty, collation, origin: None },
                }
            })
            .collect();
        let tagged = operator != SetOperator::Union;
        let (left, right) = (
            self.side(left, &outputs, tagged.then_some((1, 0)))?,
            self.side(right, &outputs, tagged.then_some((0, 1)))?,
        );
        let both = LogicalPlanBuilder::from(left).union(right);
        let plan = planned(both.and_then(LogicalPlanBuilder::build))?;
        let whole = Relational { plan, outputs, single_row: false };
        match (operator, all) {
            (SetOperator::Union, true) => Ok(whole),
            (SetOperator::Union, false) => self.distinct(whole, None),
            (_, true) => Err(SqlError::not_supported("INTERSECT ALL and EXCEPT ALL")),
            (SetOperator::Intersect, false) => self.distinct(whole, Some(1)),
            (SetOperator::Except | SetOperator::Minus, false) => self.distinct(whole, Some(0)),
        }
    }

    /// A side, in the types and under the names of the whole.
    fn side(
        &self,
        side: Relational,
        outputs: &[Named],
        tag: Option<(i64, i64)>,
    ) -> Result<LogicalPlan> {
        let mut columns = Vec::with_capacity(outputs.len() + 2);
        for (own, output) in side.outputs.iter().zip(outputs) {
            let (from, to): (Type, Type) = (own.bound.ty, output.bound.ty);
            let value = convert(own.bound.expr.clone(), from, to, self.moment);
            let Expr::Column(name) = &output.bound.expr else { continue };
            columns.push(value.alias(&name.name));
        }
        if let Some((left, right)) = tag {
            columns.push(lit(left).alias(LEFT));
            columns.push(lit(right).alias(RIGHT));
        }
        let plan = LogicalPlanBuilder::from(side.plan).project(columns);
        planned(plan.and_then(LogicalPlanBuilder::build))
    }

    /// Each row once; with a tag, those that are on the left side and on the right as often as it
    /// says, once or never.
    pub(super) fn distinct(&self, whole: Relational, tag: Option<i64>) -> Result<Relational> {
        let Relational { plan, outputs, single_row } = whole;
        let plan = LogicalPlanBuilder::from(plan);
        if tag.is_none() && !outputs.iter().any(|output| output.bound.needs_key()) {
            let plan = planned(plan.distinct().and_then(LogicalPlanBuilder::build))?;
            return Ok(Relational { plan, outputs, single_row });
        }
        let (mut before, mut by, mut calls, mut after, mut made) =
            (vec![], vec![], vec![], vec![], vec![]);
        for output in outputs {
            let name = self.fresh(&output.name);
            let key = self.fresh("key");
            before.push(identity(&output.bound).alias(&key));
            by.push(column(&key));
            if output.bound.needs_key() {
                let text = self.fresh("text");
                before.push(output.bound.expr.clone().alias(&text));
                let least = call(min_udaf(), vec![column(text)], false);
                after.push(column(least.schema_name().to_string()).alias(&name));
                calls.push(least);
            } else {
                after.push(column(key).alias(&name));
            }
            made.push(Named { bound: output.bound.at(column(name)), ..output });
        }
        let mut sides = Vec::new();
        if tag.is_some() {
            for side in [LEFT, RIGHT] {
                before.push(column(side));
                let most = call(max_udaf(), vec![column(side)], false);
                sides.push(column(most.schema_name().to_string()));
                calls.push(most);
            }
        }
        let mut plan = planned(plan.project(before).and_then(|plan| plan.aggregate(by, calls)))?;
        if let (Some(tag), [left, right]) = (tag, &sides[..]) {
            let is =
                |side: &Expr, number: i64| binary_expr(side.clone(), Operator::Eq, lit(number));
            plan = planned(plan.filter(is(left, 1).and(is(right, tag))))?;
        }
        let plan = planned(plan.project(after).and_then(LogicalPlanBuilder::build))?;
        Ok(Relational { plan, outputs: made, single_row })
    }
}
