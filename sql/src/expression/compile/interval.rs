//! `INTERVAL` beside `+` and `-` and in the functions that add one to a date.

use sqlparser::ast::{Expr, Interval};

use super::Compiler;
use crate::expression::arithmetic::Operator;
use crate::expression::error::Error;
use crate::expression::functions::{self, Call, shifted_type};
use crate::expression::node::{Expression, Node};
use crate::expression::temporal::interval::Unit;

/// A date, an interval, and whether it is taken away.
pub(super) struct Shifted<'x> {
    date: &'x Expr,
    interval: &'x Interval,
    back: bool,
}

/// The operands of `date + INTERVAL …`, of which the interval may come first.
pub(super) fn operands<'x>(op: Operator, left: &'x Expr, right: &'x Expr) -> Option<Shifted<'x>> {
    match (op, left, right) {
        (Operator::Add, date, Expr::Interval(interval))
        | (Operator::Add, Expr::Interval(interval), date) => {
            Some(Shifted { date, interval, back: false })
        }
        (Operator::Subtract, date, Expr::Interval(interval)) => {
            Some(Shifted { date, interval, back: true })
        }
        _ => None,
    }
}

impl Compiler<'_> {
    pub(super) fn shifted(&mut self, shifted: &Shifted<'_>) -> Result<Expression, Error> {
        let Shifted { date, interval, back } = *shifted;
        let field = interval.leading_field.as_ref();
        let unit = field.and_then(Unit::of_field);
        let unit = unit.ok_or_else(|| Error::Unsupported(interval.to_string()))?;
        let (date, amount) = self.pair(date, &interval.value)?;
        self.shift(date, amount, unit, back)
    }

    /// A date with so many of a unit added to it or taken away.
    pub(super) fn shift(
        &mut self,
        date: Expression,
        amount: Expression,
        unit: Unit,
        back: bool,
    ) -> Result<Expression, Error> {
        let name = if back { "date_sub" } else { "date_add" };
        let function = functions::named(name).ok_or_else(|| Error::UnknownFunction(name.into()))?;
        let ty = shifted_type(date.ty, unit);
        let call = Call {
            function,
            arguments: Box::new([date, super::operator::as_number(amount)]),
            ty,
            collation: self.scope.collation,
            unit: Some(unit),
        };
        Ok(self.made(Node::Call(Box::new(call)), ty))
    }

    /// The arguments of `DATE_ADD` and its like.
    pub(super) fn date_and_interval(
        &mut self,
        name: &str,
        arguments: &[&Expr],
        back: bool,
    ) -> Result<Expression, Error> {
        match arguments {
            [date, Expr::Interval(interval)] => self.shifted(&Shifted { date, interval, back }),
            // ADDDATE(date, days).
            [date, days] if matches!(name, "adddate" | "subdate") => {
                let (date, days) = self.pair(date, days)?;
                self.shift(date, days, Unit::Day, back)
            }
            _ => Err(Error::ParameterCount(name.to_owned())),
        }
    }
}
