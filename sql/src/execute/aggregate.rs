//! COUNT, SUM, AVG, MIN and MAX over all rows of a statement.

use std::cmp::Ordering;

use resprout_engine::table::{Decimal, Value};
use sqlparser::ast::{
    BinaryOperator, DuplicateTreatment, Expr, Function, FunctionArg, FunctionArgExpr,
    FunctionArguments,
};

use super::order::{SORT_BYTES_MAX, compare, identity, number, too_much};
use crate::error::{Code, SqlError};
use crate::expression::{Compiled, Scope, Type, compile};

/// Which one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Count,
    Sum,
    Average,
    Min,
    Max,
}

/// An aggregate of a statement.
#[derive(Debug)]
pub(crate) struct Aggregate {
    kind: Kind,
    /// Of what; rows themselves without.
    argument: Option<Compiled>,
    distinct: bool,
}

/// Digits that AVG adds behind the point.
const AVERAGE_DIGITS: u8 = 4;

impl Aggregate {
    /// The aggregate that an expression is, if it is one.
    ///
    /// # Errors
    /// If its argument is wrong.
    pub(crate) fn of(expression: &Expr, scope: &Scope<'_>) -> Result<Option<Self>, SqlError> {
        let Expr::Function(function) = expression else { return Ok(None) };
        let Some(kind) = kind_of(function) else { return Ok(None) };
        let FunctionArguments::List(list) = &function.args else { return Ok(None) };
        let distinct = list.duplicate_treatment == Some(DuplicateTreatment::Distinct);
        if function.over.is_some() || function.filter.is_some() || !list.clauses.is_empty() {
            return Ok(None);
        }
        let argument = match &list.args[..] {
            [FunctionArg::Unnamed(FunctionArgExpr::Wildcard)] if kind == Kind::Count => None,
            [FunctionArg::Unnamed(FunctionArgExpr::Expr(argument))] => {
                let compiled = compile(argument, scope)?;
                let sums = matches!(kind, Kind::Sum | Kind::Average);
                Some(match compiled.ty() {
                    // Text and dates are added up as the numbers that `+ 0` makes of them.
                    ty if sums && !ty.is_number() => compile(&plus_zero(argument), scope)?,
                    _ => compiled,
                })
            }
            _ => return Ok(None),
        };
        Ok(Some(Self { kind, argument, distinct }))
    }

    /// The type of its result.
    pub(crate) fn ty(&self) -> Type {
        let argument = self.argument.as_ref().map_or(Type::Int, Compiled::ty);
        match (self.kind, argument) {
            (Kind::Count, _) => Type::Int,
            (Kind::Min | Kind::Max, argument) => argument,
            (Kind::Sum, Type::Int | Type::UInt) => Type::Decimal { precision: 38, scale: 0 },
            (Kind::Sum, Type::Decimal { scale, .. }) => Type::Decimal { precision: 38, scale },
            (Kind::Average, Type::Int | Type::UInt) => {
                Type::Decimal { precision: 38, scale: AVERAGE_DIGITS }
            }
            (Kind::Average, Type::Decimal { scale, .. }) => {
                Type::Decimal { precision: 38, scale: scale.saturating_add(AVERAGE_DIGITS).min(30) }
            }
            _ => Type::Double,
        }
    }

    /// What it is computed of.
    pub(crate) const fn argument(&self) -> Option<&Compiled> {
        self.argument.as_ref()
    }
}

fn plus_zero(argument: &Expr) -> Expr {
    let zero = sqlparser::ast::Value::Number("0".into(), false);
    Expr::BinaryOp {
        left: Box::new(argument.clone()),
        op: BinaryOperator::Plus,
        right: Box::new(Expr::Value(zero.into())),
    }
}

fn kind_of(function: &Function) -> Option<Kind> {
    let [name] = &function.name.0[..] else { return None };
    Some(match name.as_ident()?.value.to_ascii_uppercase().as_str() {
        "COUNT" => Kind::Count,
        "SUM" => Kind::Sum,
        "AVG" => Kind::Average,
        "MIN" => Kind::Min,
        "MAX" => Kind::Max,
        _ => return None,
    })
}

/// An aggregate on its way over rows.
#[derive(Debug, Default)]
pub(crate) struct Running {
    count: u64,
    exact: Option<Decimal>,
    inexact: f64,
    is_inexact: bool,
    best: Option<Value>,
    seen: std::collections::HashSet<Vec<u8>>,
    bytes: usize,
}

impl Running {
    /// Takes in a row's value; none for `COUNT(*)`.
    ///
    /// # Errors
    /// 1690 if a sum is too large, 1038 if DISTINCT needs too much memory.
    pub(crate) fn add(
        &mut self,
        aggregate: &Aggregate,
        value: Option<Value>,
    ) -> Result<(), SqlError> {
        let Some(value) = value else {
            self.count += 1;
            return Ok(());
        };
        if value.is_null() {
            return Ok(());
        }
        if aggregate.distinct {
            let identity = identity(std::slice::from_ref(&value));
            self.bytes += identity.len() + 64;
            if self.bytes > SORT_BYTES_MAX {
                return Err(too_much());
            }
            if !self.seen.insert(identity) {
                return Ok(());
            }
        }
        self.count += 1;
        match aggregate.kind {
            Kind::Count => {}
            Kind::Sum | Kind::Average => self.sum(&value)?,
            Kind::Min | Kind::Max => {
                let wanted =
                    if aggregate.kind == Kind::Min { Ordering::Less } else { Ordering::Greater };
                if self.best.as_ref().is_none_or(|best| compare(&value, best) == wanted) {
                    self.best = Some(value);
                }
            }
        }
        Ok(())
    }

    fn sum(&mut self, value: &Value) -> Result<(), SqlError> {
        let exact = match value {
            Value::Int(number) => Decimal::new((*number).into(), 0),
            Value::UInt(number) => Decimal::new((*number).into(), 0),
            Value::Decimal(number) => Some(*number),
            _ => None,
        };
        let Some(exact) = exact else {
            self.is_inexact = true;
            let text = value.as_ref().to_string();
            self.inexact += number(value).or_else(|| text.trim().parse().ok()).unwrap_or(0.0);
            return Ok(());
        };
        let sum = match self.exact {
            None => Some(exact),
            Some(sum) => add(sum, exact),
        };
        let too_large = || SqlError::new(Code(1690), "DECIMAL value is out of range in 'sum'");
        self.exact = Some(sum.ok_or_else(too_large)?);
        Ok(())
    }

    /// The result.
    pub(crate) fn finish(self, aggregate: &Aggregate) -> Value {
        let exact = self.exact;
        let sum_inexact = self.inexact + exact.map_or(0.0, Decimal::to_f64);
        match aggregate.kind {
            Kind::Count => Value::Int(i64::try_from(self.count).unwrap_or(i64::MAX)),
            Kind::Min | Kind::Max => self.best.unwrap_or(Value::Null),
            _ if self.count == 0 => Value::Null,
            Kind::Sum if self.is_inexact => Value::Double(sum_inexact),
            Kind::Sum => exact.map_or(Value::Null, Value::Decimal),
            Kind::Average => {
                let mean = exact.filter(|_| !self.is_inexact).and_then(|sum| {
                    let scale = sum.scale().saturating_add(AVERAGE_DIGITS).min(30);
                    let sum = sum.rescaled(scale)?.unscaled();
                    let count = i128::from(self.count);
                    let half = if sum < 0 { -(count / 2) } else { count / 2 };
                    Decimal::new((sum + half) / count, scale)
                });
                match mean {
                    Some(mean) => Value::Decimal(mean),
                    None => Value::Double(sum_inexact / self.count as f64),
                }
            }
        }
    }
}

fn add(one: Decimal, other: Decimal) -> Option<Decimal> {
    let scale = one.scale().max(other.scale());
    let sum = one.rescaled(scale)?.unscaled().checked_add(other.rescaled(scale)?.unscaled())?;
    Decimal::new(sum, scale)
}
