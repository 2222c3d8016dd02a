//! Partial aggregates where rows are: the first of the two steps in which DataFusion makes groups becomes a part of the
//! scan, if it is one that means the same there.
//!
//! ```text
//!   Aggregate: Final ◄─ … ◄─ Aggregate: Partial ◄─ columns, keys ◄─ Leaves         as it was planned
//!   Aggregate: Final ◄─ … ◄─ Leaves: groups, each with what its rows came to       as it is run
//! ```
//!
//! Sums and averages of floating point are not made there: in which order they are added shows.

use std::any::Any;
use std::cmp::Ordering;
use std::sync::Arc;

use datafusion::common::ScalarValue;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::error::Result;
use datafusion::functions_aggregate::count::Count;
use datafusion::functions_aggregate::min_max::{Max, Min};
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;
use datafusion::physical_expr::expressions::{Column, Literal};
use datafusion::physical_expr::{PhysicalExpr, ScalarFunctionExpr};
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateMode};
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::{ExecutionPlan, Partitioning};
use resprout_sql::expression::Type;
use resprout_sql::pushdown::{Call, Gives, Input, Pushdown, Rule, is_possible};

use crate::aggregate::{Best, Sum};
use crate::computed::Key;
use crate::leaves::Leaves;
use crate::pushdown::rule;

/// Digits of a sum.
const PRECISION: u8 = 38;

/// The plan, with partial aggregates made where rows are.
///
/// # Errors
/// If DataFusion refuses.
pub(crate) fn pushed_down(plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    let changed = plan.transform_up(|plan| {
        let any: &dyn Any = &*plan;
        let Some(aggregate) = any.downcast_ref::<AggregateExec>() else {
            return Ok(Transformed::no(plan));
        };
        Ok(match instead(aggregate)? {
            Some(instead) => Transformed::yes(instead),
            None => Transformed::no(plan),
        })
    })?;
    Ok(changed.data)
}

/// What an aggregate becomes, if its rows are those of a scan.
fn instead(aggregate: &AggregateExec) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    let partial = match aggregate.mode() {
        AggregateMode::Partial => aggregate.schema(),
        // The rows of one partition: the second step is added.
        AggregateMode::Single => {
            let first = AggregateExec::try_new(
                AggregateMode::Partial,
                Arc::new(aggregate.group_expr().clone()),
                aggregate.aggr_expr().to_vec(),
                aggregate.filter_expr().to_vec(),
                Arc::clone(aggregate.input()),
                aggregate.input_schema(),
            )?;
            first.schema()
        }
        _ => return Ok(None),
    };
    let Some((leaves, pushdown, types)) = groups(aggregate) else { return Ok(None) };
    let scan: Arc<dyn ExecutionPlan> = Arc::new(leaves.with(pushdown, (partial, types)));
    if *aggregate.mode() == AggregateMode::Partial {
        return Ok(Some(scan));
    }
    let last = AggregateExec::try_new(
        AggregateMode::Final,
        Arc::new(aggregate.group_expr().as_final()),
        aggregate.aggr_expr().to_vec(),
        aggregate.filter_expr().to_vec(),
        scan,
        aggregate.input_schema(),
    )?;
    Ok(Some(Arc::new(last)))
}

/// The scan, what is to be done there, and the types of what comes of it; none if that is for DataFusion.
fn groups(aggregate: &AggregateExec) -> Option<(&Leaves, Pushdown, Vec<Type>)> {
    let by = aggregate.group_expr();
    let is_plain = (by.is_empty() || by.is_single())
        && !by.has_grouping_set()
        && aggregate.filter_expr().iter().all(Option::is_none);
    if !is_plain {
        return None;
    }
    let leaves = scan_of(aggregate.input()).filter(|leaves| leaves.limit().is_none())?;
    let mut made = Making { leaves, inputs: leaves.pushdown().inputs.clone(), types: Vec::new() };
    let mut keys = Vec::with_capacity(by.expr().len());
    for (key, _) in by.expr() {
        let (input, ty) = made.input(key, aggregate.input())?;
        if !is_exact(ty) {
            return None;
        }
        made.types.push(ty);
        keys.push(input);
    }
    let calls: Option<Vec<Call>> =
        aggregate.aggr_expr().iter().map(|call| made.call(call, aggregate.input())).collect();
    let gives = Gives::Groups { by: keys, calls: calls? };
    let pushdown = Pushdown { inputs: made.inputs, gives, ..leaves.pushdown().clone() };
    is_possible(&pushdown, leaves.stored().table().schema())
        .then_some((leaves, pushdown, made.types))
}

/// Whether values that are equal are the same, and order by themselves. (Of floating point the two zeros differ.)
const fn is_exact(ty: Type) -> bool {
    !matches!(ty, Type::Float | Type::Double | Type::Null | Type::Unknown)
}

/// The scan that rows come from, without anything that drops or changes them.
fn scan_of(plan: &Arc<dyn ExecutionPlan>) -> Option<&Leaves> {
    let any: &dyn Any = &**plan;
    match any.downcast_ref::<Leaves>() {
        Some(leaves) => Some(leaves),
        None => scan_of(below(plan)?),
    }
}

/// The plan whose rows these are, one by one.
fn below(plan: &Arc<dyn ExecutionPlan>) -> Option<&Arc<dyn ExecutionPlan>> {
    let any: &dyn Any = &**plan;
    if let Some(projection) = any.downcast_ref::<ProjectionExec>() {
        return Some(projection.input());
    }
    let spread = any.downcast_ref::<RepartitionExec>().is_some_and(|repartition| {
        matches!(repartition.partitioning(), Partitioning::RoundRobinBatch(_))
    });
    (spread || any.is::<CooperativeExec>()).then(|| plan.children().into_iter().next()).flatten()
}

/// What is read of rows, so far.
struct Making<'p> {
    leaves: &'p Leaves,
    inputs: Vec<Input>,
    types: Vec<Type>,
}

impl Making<'_> {
    /// The input that an expression of a plan's rows is, with its type.
    fn input(
        &mut self,
        expr: &Arc<dyn PhysicalExpr>,
        plan: &Arc<dyn ExecutionPlan>,
    ) -> Option<(u16, Type)> {
        let any: &dyn Any = &**expr;
        if let Some(call) = any.downcast_ref::<ScalarFunctionExpr>() {
            let key: &dyn Any = &**call.fun().inner();
            let key = key.downcast_ref::<Key>().filter(|key| !key.as_text)?;
            let [text] = call.args() else { return None };
            let (at, _) = self.input(text, plan)?;
            let Input::Column(id) = self.inputs[usize::from(at)] else { return None };
            let input = Input::Key(id, rule(key.collation));
            return Some((self.number(input)?, Type::Bytes));
        }
        let column = any.downcast_ref::<Column>()?;
        let here: &dyn Any = &**plan;
        if here.is::<Leaves>() {
            let Gives::Inputs(gives) = &self.leaves.pushdown().gives else { return None };
            let at = column.index();
            return Some((*gives.get(at)?, *self.leaves.types().get(at)?));
        }
        let below = below(plan)?;
        match here.downcast_ref::<ProjectionExec>() {
            Some(projection) => {
                let expr = projection.expr().get(column.index())?.expr.clone();
                self.input(&expr, below)
            }
            None => self.input(expr, below),
        }
    }

    fn number(&mut self, wanted: Input) -> Option<u16> {
        let known = self.inputs.iter().position(|known| *known == wanted);
        if known.is_none() {
            self.inputs.push(wanted);
        }
        u16::try_from(known.unwrap_or(self.inputs.len() - 1)).ok()
    }

    /// An aggregate, and the types of what it comes to.
    fn call(
        &mut self,
        call: &AggregateFunctionExpr,
        plan: &Arc<dyn ExecutionPlan>,
    ) -> Option<Call> {
        if call.is_distinct() || !call.order_bys().is_empty() {
            return None;
        }
        let arguments = call.expressions();
        let [argument] = &arguments[..] else { return None };
        let function: &dyn Any = &**call.fun().inner();
        if function.is::<Count>() {
            self.types.push(Type::Int);
            return match literal(argument) {
                Some(value) => (!value.is_null()).then_some(Call::Rows),
                None => Some(Call::Count(self.input(argument, plan)?.0)),
            };
        }
        let (input, ty) = self.input(argument, plan)?;
        if function.is::<Sum>() {
            let scale = match ty {
                Type::Int | Type::UInt => 0,
                Type::Decimal { scale, .. } => scale,
                _ => return None,
            };
            self.types.extend([Type::Decimal { precision: PRECISION, scale }, Type::Int]);
            return Some(Call::Sum(input));
        }
        let (greatest, by) = if let Some(best) = function.downcast_ref::<Best>() {
            (best.wanted() == Ordering::Greater, rule(best.collation()))
        } else {
            let greatest = function.is::<Max>();
            (greatest || function.is::<Min>()).then_some((greatest, Rule::Plain))?
        };
        self.types.push(ty);
        is_exact(ty).then_some(Call::Best { input, greatest, by })
    }
}

fn literal(expr: &Arc<dyn PhysicalExpr>) -> Option<&ScalarValue> {
    let any: &dyn Any = &**expr;
    any.downcast_ref::<Literal>().map(Literal::value)
}
