//! Subqueries in expressions. DataFusion makes joins of them; what it would take for something else
//! than MySQL means is written here in a form that says what is meant.

use std::sync::Arc;

use datafusion::functions_aggregate::count::count_udaf;
use datafusion::logical_expr::expr::{Exists, InSubquery};
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, Operator, Subquery, lit};
use resprout_sql::expression::Type;
use resprout_sql::{Code, SqlError};
use sqlparser::ast::{self, BinaryOperator, Ident};

use super::condition::{Place, comparator, unnested};
use super::expression::outer;
use super::names::{Bound, Named, Names};
use super::{Binder, Env, Relational, Result, column, planned};
use crate::aggregate::{self, OneRow};

fn operand_columns(wanted: usize) -> SqlError {
    SqlError::new(Code::OPERAND_COLUMNS, format!("Operand should contain {wanted} column(s)"))
}

fn subquery(plan: LogicalPlan) -> Subquery {
    let outer_ref_columns = plan.all_out_ref_exprs();
    Subquery { subquery: Arc::new(plan), outer_ref_columns, spans: Default::default() }
}

/// `left op right` of two names.
fn comparison(op: &BinaryOperator) -> ast::Expr {
    let name = |name: &str| Box::new(ast::Expr::Identifier(Ident::new(name)));
    ast::Expr::BinaryOp { left: name("left"), op: op.clone(), right: name("right") }
}

const fn inverse(op: &BinaryOperator) -> Option<BinaryOperator> {
    Some(match op {
        BinaryOperator::Eq => BinaryOperator::NotEq,
        BinaryOperator::NotEq => BinaryOperator::Eq,
        BinaryOperator::Lt => BinaryOperator::GtEq,
        BinaryOperator::LtEq => BinaryOperator::Gt,
        BinaryOperator::Gt => BinaryOperator::LtEq,
        BinaryOperator::GtEq => BinaryOperator::Lt,
        _ => return None,
    })
}

impl Binder<'_> {
    /// Two values compared, by Arrow or computed.
    pub(super) fn compare(
        &self,
        (left, right): (&Bound, &Bound),
        op: &BinaryOperator,
    ) -> Result<Expr> {
        if let Some(native) = comparator(op).and_then(|op| self.native(left, op, right)) {
            return Ok(native);
        }
        self.with_names(&[("left", left), ("right", right)], |env| self.truth(env, &comparison(op)))
    }

    /// Something bound where these names are all that there is.
    pub(super) fn with_names<T>(
        &self,
        names: &[(&str, &Bound)],
        bind: impl FnOnce(&Env<'_>) -> Result<T>,
    ) -> Result<T> {
        let named = |(name, bound): &(&str, &Bound)| Named {
            name: (*name).to_owned(),
            bound: (*bound).clone(),
        };
        let visible = names.iter().map(named).collect();
        let names = Names { visible, ..Names::default() };
        bind(&Env::new(&names, None, "field list"))
    }

    /// A subquery that is a value.
    ///
    /// # Errors
    /// 1241 if it has several columns. Several rows are 1242 when it runs.
    pub(super) fn scalar_subquery(&self, env: &Env<'_>, query: &ast::Query) -> Result<Bound> {
        let Relational { plan, outputs, single_row } = self.query(query, Some(env))?;
        let [output] = &outputs[..] else { return Err(operand_columns(1)) };
        let plan = match single_row {
            true => plan,
            false => {
                let function = aggregate::function(OneRow::new());
                let one = aggregate::call(function, vec![output.bound.expr.clone()], false);
                self.aggregated(plan, one)?
            }
        };
        let expr = Expr::ScalarSubquery(subquery(plan));
        Ok(Bound { expr, origin: None, ..output.bound.clone() })
    }

    /// The one value of an aggregate over all rows.
    fn aggregated(&self, plan: LogicalPlan, call: Expr) -> Result<LogicalPlan> {
        let made = column(call.schema_name().to_string());
        let plan = LogicalPlanBuilder::from(plan).aggregate(Vec::<Expr>::new(), vec![call]);
        let name = self.fresh("value");
        planned(plan.and_then(|plan| plan.project(vec![made.alias(name)])?.build()))
    }

    /// `EXISTS` as a condition.
    pub(super) fn exists(&self, env: &Env<'_>, query: &ast::Query, negated: bool) -> Result<Expr> {
        let plan = self.query(query, Some(env))?.plan;
        Ok(Expr::Exists(Exists::new(subquery(plan), negated)))
    }

    /// `EXISTS` as a number: whether there are rows when they are counted.
    pub(super) fn exists_value(
        &self,
        env: &Env<'_>,
        query: &ast::Query,
        negated: bool,
    ) -> Result<Bound> {
        let plan = self.query(query, Some(env))?.plan;
        let count = aggregate::call(count_udaf(), vec![lit(1_i64)], false);
        let plan = self.aggregated(plan, count)?;
        let count = Bound::of(Expr::ScalarSubquery(subquery(plan)), Type::Int);
        let zero = Bound::of(lit(0_i64), Type::Int);
        let op = if negated { BinaryOperator::Eq } else { BinaryOperator::Gt };
        self.with_names(&[("left", &count), ("right", &zero)], |env| {
            self.value(env, &comparison(&op))
        })
    }

    /// `a IN (SELECT …)`.
    pub(super) fn in_subquery(
        &self,
        env: &Env<'_>,
        (left, query): (&ast::Expr, &ast::Query),
        (negated, place): (bool, Place),
    ) -> Result<Expr> {
        let left = match unnested(left) {
            ast::Expr::Tuple(parts) => {
                parts.iter().map(|part| self.value(env, part)).collect::<Result<Vec<_>>>()?
            }
            one => vec![self.value(env, one)?],
        };
        let inner = self.query(query, Some(env))?;
        if inner.outputs.len() != left.len() {
            return Err(operand_columns(left.len()));
        }
        // A join that knows of NULL is for NOT IN alone, and for rows of the subquery alone.
        let correlated = !inner.plan.all_out_ref_exprs().is_empty();
        let fits = !negated || (place == Place::Top && !correlated);
        if let ([left], [output]) = (&left[..], &inner.outputs[..])
            && fits
            && let Some(Expr::BinaryExpr(equal)) = self.native(left, Operator::Eq, &output.bound)
        {
            let name = self.fresh("in");
            let plan = LogicalPlanBuilder::from(inner.plan).project(vec![equal.right.alias(name)]);
            let inner = planned(plan.and_then(LogicalPlanBuilder::build))?;
            return Ok(Expr::InSubquery(InSubquery::new(equal.left, subquery(inner), negated)));
        }
        self.exists_such(&left, &BinaryOperator::Eq, inner, negated)
    }

    /// Whether there is a row that compares so; negated, that there is none which does or might,
    /// for a NULL.
    fn exists_such(
        &self,
        left: &[Bound],
        op: &BinaryOperator,
        inner: Relational,
        negated: bool,
    ) -> Result<Expr> {
        let mut plan = LogicalPlanBuilder::from(inner.plan);
        for (left, output) in left.iter().zip(&inner.outputs) {
            let left = left.at(outer(left)?);
            let mut condition = self.compare((&left, &output.bound), op)?;
            if negated {
                let nulls = left.expr.is_null().or(output.bound.expr.clone().is_null());
                condition = condition.or(nulls);
            }
            plan = planned(plan.filter(condition))?;
        }
        Ok(Expr::Exists(Exists::new(subquery(planned(plan.build())?), negated)))
    }

    /// `a > ANY (SELECT …)`, `a > ALL (SELECT …)`.
    pub(super) fn quantified(
        &self,
        env: &Env<'_>,
        (left, op, right): (&ast::Expr, &BinaryOperator, &ast::Expr),
        (all, negated, place): (bool, bool, Place),
    ) -> Result<Expr> {
        let ast::Expr::Subquery(query) = unnested(right) else {
            return Err(SqlError::not_supported("ANY and ALL of what is no subquery"));
        };
        let ((BinaryOperator::Eq, false) | (BinaryOperator::NotEq, true)) = (op, all) else {
            let left = vec![self.value(env, left)?];
            let inner = self.query(query, Some(env))?;
            if inner.outputs.len() != 1 {
                return Err(operand_columns(1));
            }
            let unknown = || SqlError::not_supported("this operator before ANY and ALL");
            let inverse = inverse(op).ok_or_else(unknown)?;
            // All are so if there is none that is not.
            let op = if all { &inverse } else { op };
            return self.exists_such(&left, op, inner, all != negated);
        };
        self.in_subquery(env, (left, query), (all != negated, place))
    }
}
