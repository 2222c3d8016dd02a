//! Rows of values: `(a, b) = (1, 2)` and `(a, b) IN ((1, 2), (3, 4))`, as comparisons of their parts.

use sqlparser::ast::Expr;

use super::Compiler;
use crate::expression::comparison::Comparator;
use crate::expression::error::Error;
use crate::expression::node::{Expression, Node};
use crate::expression::ty::Type;

/// The parts of a row of more than one value.
fn parts(expression: &Expr) -> Option<&[Expr]> {
    match expression {
        Expr::Tuple(parts) if parts.len() > 1 => Some(parts),
        Expr::Nested(inner) => parts(inner),
        _ => None,
    }
}

impl Compiler<'_> {
    /// Two rows compared; `None` if the left side is none.
    pub(super) fn compare_rows(
        &mut self,
        op: Comparator,
        left: &Expr,
        right: &Expr,
    ) -> Result<Option<Expression>, Error> {
        let Some(left) = parts(left) else { return Ok(None) };
        let right = parts(right).filter(|right| right.len() == left.len());
        let right = right.ok_or(Error::OperandColumns(left.len()))?;
        Ok(Some(match op {
            Comparator::Equal => self.equal_rows(left, right)?,
            Comparator::NotEqual => {
                let equal = self.equal_rows(left, right)?;
                self.made(Node::Not(Box::new(equal)), Type::Int)
            }
            Comparator::Less | Comparator::LessOrEqual => {
                self.ordered_rows(Comparator::Less, op, left, right)?
            }
            Comparator::Greater | Comparator::GreaterOrEqual => {
                self.ordered_rows(Comparator::Greater, op, left, right)?
            }
        }))
    }

    fn equal_rows(&mut self, left: &[Expr], right: &[Expr]) -> Result<Expression, Error> {
        let mut equal = Vec::with_capacity(left.len());
        for (one, other) in left.iter().zip(right) {
            let (one, other) = self.pair(one, other)?;
            equal.push(self.compared(Comparator::Equal, one, other)?);
        }
        Ok(self.made(Node::All(equal.into()), Type::Int))
    }

    /// The first parts that differ decide: `a < c OR a = c AND b < d`.
    fn ordered_rows(
        &mut self,
        strict: Comparator,
        last: Comparator,
        left: &[Expr],
        right: &[Expr],
    ) -> Result<Expression, Error> {
        let mut ways = Vec::with_capacity(left.len());
        for position in 0..left.len() {
            let equal = self.equal_rows(&left[..position], &right[..position])?;
            let op = if position + 1 == left.len() { last } else { strict };
            let (one, other) = self.pair(&left[position], &right[position])?;
            let ordered = self.compared(op, one, other)?;
            ways.push(self.made(Node::All(Box::new([equal, ordered])), Type::Int));
        }
        Ok(self.made(Node::Any(ways.into()), Type::Int))
    }

    /// A row looked for in a list of rows; `None` if the operand is none.
    pub(super) fn row_in_list(
        &mut self,
        operand: &Expr,
        list: &[Expr],
        negated: bool,
    ) -> Result<Option<Expression>, Error> {
        if parts(operand).is_none() {
            return Ok(None);
        }
        let mut ways = Vec::with_capacity(list.len());
        for item in list {
            ways.extend(self.compare_rows(Comparator::Equal, operand, item)?);
        }
        let found = self.made(Node::Any(ways.into()), Type::Int);
        let node = if negated { Node::Not(Box::new(found)) } else { return Ok(Some(found)) };
        Ok(Some(self.made(node, Type::Int)))
    }
}
