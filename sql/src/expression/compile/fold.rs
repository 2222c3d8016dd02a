//! Folding: an operation on constants is done once, when the expression is compiled.

use resprout_engine::table::Value;

use super::Compiler;
use crate::expression::context::NoRow;
use crate::expression::node::{Env, Expression, Node};

/// Whether an operand is a constant that means the same on every day: a time does not beside a
/// date.
fn fixed(operand: &Expression) -> bool {
    operand.constant().is_some_and(|value| !matches!(value, Value::Time(_)))
}

fn foldable(node: &Node) -> bool {
    match node {
        Node::Arithmetic(arithmetic) => fixed(&arithmetic.left) && fixed(&arithmetic.right),
        Node::Negate(operand, _) | Node::Invert(operand) | Node::Not(operand) => fixed(operand),
        Node::Cast(operand, _) => fixed(operand),
        Node::Bits(_, operands) | Node::Exclusive(operands) => operands.iter().all(fixed),
        Node::All(operands) | Node::Any(operands) => operands.iter().all(fixed),
        Node::Is { operand, .. } => fixed(operand),
        Node::Compare(comparison) => fixed(&comparison.left) && fixed(&comparison.right),
        Node::NullSafe(comparison) => fixed(&comparison.left) && fixed(&comparison.right),
        Node::Between(between) => {
            fixed(&between.operand) && fixed(&between.low) && fixed(&between.high)
        }
        Node::Call(call) => call.function.pure && call.arguments.iter().all(fixed),
        _ => false,
    }
}

impl Compiler<'_> {
    /// The value in place of the operation, unless it fails or warns: that is said each time the
    /// expression is evaluated.
    pub(super) fn fold(&self, expression: Expression) -> Expression {
        if !foldable(&expression.node) {
            return expression;
        }
        let env = Env { row: &NoRow, context: self.context };
        let value = expression.eval_exactly(&env).map(resprout_engine::table::ValueRef::into_owned);
        let warned = !self.context.take_warnings().is_empty();
        match value {
            Ok(value) if !warned && size(&value) <= FOLDED_MAX => {
                Expression { node: Node::Constant(value), ..expression }
            }
            _ => expression,
        }
    }
}

/// Bytes of the largest value that is kept: `REPEAT('a', 10000000)` is made when it is needed.
const FOLDED_MAX: usize = 4096;

fn size(value: &Value) -> usize {
    match value {
        Value::Text(text) => text.len(),
        Value::Bytes(bytes) => bytes.len(),
        _ => 0,
    }
}
