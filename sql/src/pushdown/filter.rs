//! WHERE of a statement of one table: what of it is pushed down.

use std::ops::ControlFlow;

use resprout_access::pushdown::{Gives, Input, Pushdown, Step};
use resprout_engine::table::{ColumnId, TableSchema, Value};
use sqlparser::ast::{BinaryOperator, Expr, visit_expressions};

use super::condition::{is_possible, steps};

/// The parts of a filter that all must hold, and that other nodes can judge; none if there are no such parts. The rows
/// that they leave still have to be looked at by the whole.
pub(crate) fn of_filter(
    filter: &Expr,
    schema: &TableSchema,
    parameters: &[Value],
    zone: i32,
) -> Option<Pushdown> {
    // Who counts rows by a variable counts all of them.
    if assigns(filter) {
        return None;
    }
    let (mut inputs, mut condition, mut parts) = (Vec::new(), Vec::new(), 0);
    for part in conjuncts(filter) {
        let (known, before) = (inputs.len(), condition.len());
        let mut input = |part: &Expr| number(column(part, schema)?, &mut inputs);
        if steps(part, parameters, &mut input, &mut condition) {
            parts += 1;
        } else {
            inputs.truncate(known);
            condition.truncate(before);
        }
    }
    if parts == 0 {
        return None;
    }
    condition.push(Step::All(parts));
    let pushdown = Pushdown { inputs, condition, gives: Gives::Rows, zone };
    is_possible(&pushdown, schema).then_some(pushdown)
}

fn assigns(filter: &Expr) -> bool {
    visit_expressions(filter, |part| match part {
        Expr::BinaryOp { op: BinaryOperator::Assignment, .. } => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    })
    .is_break()
}

/// What all must hold, as AND joins it.
fn conjuncts(filter: &Expr) -> Vec<&Expr> {
    let (mut parts, mut waiting) = (Vec::new(), vec![filter]);
    while let Some(next) = waiting.pop() {
        match next {
            Expr::BinaryOp { left, op: BinaryOperator::And, right } => {
                waiting.extend([&**right, &**left]);
            }
            Expr::Nested(inner) => waiting.push(inner),
            other => parts.push(other),
        }
    }
    parts
}

/// The column that a name is: that it is one of this table was found when the filter was compiled.
fn column(part: &Expr, schema: &TableSchema) -> Option<ColumnId> {
    let name = match part {
        Expr::Identifier(name) => name,
        Expr::CompoundIdentifier(names) => names.last()?,
        _ => return None,
    };
    let is_plain = name.quote_style.is_some() || !name.value.starts_with('@');
    is_plain.then(|| schema.column_named(&name.value)).flatten()
}

/// The number of a column among inputs.
fn number(column: ColumnId, inputs: &mut Vec<Input>) -> Option<u16> {
    let wanted = Input::Column(column);
    let at = inputs.iter().position(|known| *known == wanted).unwrap_or(inputs.len());
    if at == inputs.len() {
        inputs.push(wanted);
    }
    u16::try_from(at).ok()
}
