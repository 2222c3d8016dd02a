//! Conditions: WHERE, ON and HAVING. Only whether they are true counts, so what is not true may be
//! false or NULL.

use datafusion::logical_expr::{Expr, Operator, in_list, not};
use sqlparser::ast::{self, BinaryOperator, UnaryOperator};

use super::names::Bound;
use super::{Binder, Env, Result};

/// The operator of a comparison.
pub(super) const fn comparator(op: &BinaryOperator) -> Option<Operator> {
    Some(match op {
        BinaryOperator::Eq => Operator::Eq,
        BinaryOperator::NotEq => Operator::NotEq,
        BinaryOperator::Lt => Operator::Lt,
        BinaryOperator::LtEq => Operator::LtEq,
        BinaryOperator::Gt => Operator::Gt,
        BinaryOperator::GtEq => Operator::GtEq,
        _ => return None,
    })
}

pub(super) fn unnested(mut expression: &ast::Expr) -> &ast::Expr {
    while let ast::Expr::Nested(inner) = expression {
        expression = inner;
    }
    expression
}

/// The operands of a chain of AND or OR, from left to right, however long.
fn chain<'x>(expression: &'x ast::Expr, wanted: &[BinaryOperator]) -> Vec<&'x ast::Expr> {
    let (mut operands, mut waiting) = (Vec::new(), vec![expression]);
    while let Some(next) = waiting.pop() {
        match unnested(next) {
            ast::Expr::BinaryOp { left, op, right } if wanted.contains(op) => {
                waiting.push(right);
                waiting.push(left);
            }
            other => operands.push(other),
        }
    }
    operands
}

const AND: &[BinaryOperator] = &[BinaryOperator::And];
const OR: &[BinaryOperator] = &[BinaryOperator::Or, BinaryOperator::StringConcat];

/// What all of a condition's parts must hold, as AND joins them.
pub(super) fn conjuncts(expression: &ast::Expr) -> Vec<&ast::Expr> {
    chain(expression, AND)
}

/// Many joined by one operator, as a tree that is no deeper than it must be.
fn joined(mut parts: Vec<Expr>, join: fn(Expr, Expr) -> Expr) -> Option<Expr> {
    while parts.len() > 1 {
        let mut pairs = Vec::with_capacity(parts.len().div_ceil(2));
        let mut all = parts.into_iter();
        while let Some(one) = all.next() {
            pairs.push(match all.next() {
                Some(other) => join(one, other),
                None => one,
            });
        }
        parts = pairs;
    }
    parts.pop()
}

/// Where a condition stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// It must hold.
    Top,
    /// It is beside others.
    Inside,
}

impl Binder<'_> {
    /// Conditions that must all hold.
    ///
    /// # Errors
    /// With what the client is told.
    pub(super) fn conditions(&self, env: &Env<'_>, expression: &ast::Expr) -> Result<Vec<Expr>> {
        let parts = conjuncts(expression).into_iter();
        parts.map(|part| self.condition(env, part, (Place::Top, false))).collect()
    }

    /// A condition, or that it is false.
    pub(super) fn condition(
        &self,
        env: &Env<'_>,
        expression: &ast::Expr,
        (place, negated): (Place, bool),
    ) -> Result<Expr> {
        let expression = unnested(expression);
        let many =
            |wanted: &[BinaryOperator], join: fn(Expr, Expr) -> Expr| -> Result<Option<Expr>> {
                let parts = chain(expression, wanted).into_iter();
                let parts: Result<Vec<Expr>> =
                    parts.map(|part| self.condition(env, part, (Place::Inside, negated))).collect();
                Ok(joined(parts?, join))
            };
        let bound = match expression {
            ast::Expr::BinaryOp { op, .. } if AND.contains(op) => {
                many(AND, if negated { Expr::or } else { Expr::and })?
            }
            ast::Expr::BinaryOp { op, .. } if OR.contains(op) => {
                many(OR, if negated { Expr::and } else { Expr::or })?
            }
            ast::Expr::UnaryOp { op: UnaryOperator::Not | UnaryOperator::BangNot, expr } => {
                return self.condition(env, expr, (place, !negated));
            }
            ast::Expr::Exists { subquery, negated: not } => {
                return self.exists(env, subquery, negated != *not);
            }
            ast::Expr::InSubquery { expr, subquery, negated: not } => {
                return self.in_subquery(env, (expr, subquery), (negated != *not, place));
            }
            ast::Expr::AnyOp { left, compare_op, right, .. } => {
                return self.quantified(env, (left, compare_op, right), (false, negated, place));
            }
            ast::Expr::AllOp { left, compare_op, right } => {
                return self.quantified(env, (left, compare_op, right), (true, negated, place));
            }
            other => {
                let bound = match self.simple(env, other)? {
                    Some(bound) => bound,
                    None => self.truth(env, other)?,
                };
                Some(if negated { not(bound) } else { bound })
            }
        };
        match bound {
            Some(bound) => Ok(bound),
            None => self.truth(env, expression),
        }
    }

    /// A condition that means the same to Arrow; none if it is computed.
    fn simple(&self, env: &Env<'_>, expression: &ast::Expr) -> Result<Option<Expr>> {
        Ok(match expression {
            ast::Expr::BinaryOp { left, op, right } => match comparator(op) {
                Some(op) if !is_row(left) => {
                    self.native(&self.value(env, left)?, op, &self.value(env, right)?)
                }
                _ => None,
            },
            ast::Expr::IsNull(of) if !is_row(of) => Some(self.value(env, of)?.expr.is_null()),
            ast::Expr::IsNotNull(of) if !is_row(of) => {
                Some(self.value(env, of)?.expr.is_not_null())
            }
            ast::Expr::Between { expr, negated, low, high } => {
                let of = self.value(env, expr)?;
                let low = self.native(&of, Operator::GtEq, &self.value(env, low)?);
                let high = self.native(&of, Operator::LtEq, &self.value(env, high)?);
                let both = low.zip(high).map(|(low, high)| low.and(high));
                both.map(|both| if *negated { not(both) } else { both })
            }
            ast::Expr::InList { expr, list, negated } if !is_row(expr) => {
                let of = self.value(env, expr)?;
                let mut items = Vec::with_capacity(list.len());
                for item in list {
                    items.push(self.value(env, item)?);
                }
                self.native_list(&of, &items, *negated)
            }
            _ => None,
        })
    }

    /// A value among others, if all compare alike.
    fn native_list(&self, of: &Bound, items: &[Bound], negated: bool) -> Option<Expr> {
        let (mut operand, mut list) = (None, Vec::with_capacity(items.len()));
        for item in items {
            let Expr::BinaryExpr(equal) = self.native(of, Operator::Eq, item)? else { return None };
            match &operand {
                Some(operand) if *operand != *equal.left => return None,
                Some(_) => {}
                None => operand = Some(*equal.left),
            }
            list.push(*equal.right);
        }
        operand.map(|operand| in_list(operand, list, negated))
    }
}

/// Whether it is `(a, b)`.
pub(super) fn is_row(expression: &ast::Expr) -> bool {
    matches!(unnested(expression), ast::Expr::Tuple(parts) if parts.len() > 1)
}
