//! Comparisons that mean the same to Arrow: of two values of one type, of keys of texts, and of
//! what can be brought to that without a change of meaning.

use datafusion::common::ScalarValue;
use datafusion::logical_expr::{Expr, Operator, binary_expr, cast};
use resprout_engine::table::{Date, DateTime, Decimal, Time, Value};
use resprout_sql::expression::{Collation, Type};

use super::Binder;
use super::names::Bound;
use crate::computed::key;
use crate::values::{data_type, of_scalar};

/// Digits of decimals, and of integers.
const PRECISION: u8 = 38;
const INT_DIGITS: u8 = 20;

/// Integers up to here are the same as DOUBLEs, by which numbers and text are compared.
const DOUBLE_EXACT: i64 = 1 << 53;

const fn is_text(ty: Type) -> bool {
    matches!(ty, Type::Text)
}

/// Whether Arrow compares values of this type as MySQL does. (Not floating point: to Arrow the two
/// zeros differ.)
const fn compares(ty: Type) -> bool {
    matches!(
        ty,
        Type::Int
            | Type::UInt
            | Type::Decimal { .. }
            | Type::Bytes
            | Type::Date
            | Type::Time(_)
            | Type::DateTime(_)
    )
}

const fn same(left: Type, right: Type) -> bool {
    match (left, right) {
        (Type::Int, Type::Int)
        | (Type::UInt, Type::UInt)
        | (Type::Bytes, Type::Bytes)
        | (Type::Date, Type::Date)
        | (Type::Time(_), Type::Time(_))
        | (Type::DateTime(_), Type::DateTime(_)) => true,
        (Type::Decimal { scale, .. }, Type::Decimal { scale: other, .. }) => scale == other,
        _ => false,
    }
}

/// Digits before and after the point, of exact numbers.
const fn digits(ty: Type) -> Option<(u8, u8)> {
    match ty {
        Type::Int | Type::UInt => Some((INT_DIGITS, 0)),
        Type::Decimal { precision, scale } => Some((precision.saturating_sub(scale), scale)),
        _ => None,
    }
}

fn literal(bound: &Bound) -> Option<&ScalarValue> {
    match &bound.expr {
        Expr::Literal(value, _) => Some(value),
        _ => None,
    }
}

impl Binder<'_> {
    /// Two values compared; none if only MySQL's own rules do.
    pub(super) fn native(&self, left: &Bound, op: Operator, right: &Bound) -> Option<Expr> {
        let null = |bound: &Bound| literal(bound).is_some_and(ScalarValue::is_null);
        if null(left) || null(right) {
            return None;
        }
        if is_text(left.ty) && is_text(right.ty) {
            let collation = common_collation(left, right)?;
            let side = |bound: &Bound| text_key(bound, collation);
            return Some(binary_expr(side(left), op, side(right)));
        }
        if same(left.ty, right.ty) {
            return Some(binary_expr(left.expr.clone(), op, right.expr.clone()));
        }
        if let Some(constant) = literal(right) {
            let right = self.in_type(constant, right.ty, left.ty)?;
            return Some(binary_expr(left.expr.clone(), op, right));
        }
        if let Some(constant) = literal(left) {
            let left = self.in_type(constant, left.ty, right.ty)?;
            return Some(binary_expr(left, op, right.expr.clone()));
        }
        if let (Some(one), Some(other)) = (digits(left.ty), digits(right.ty)) {
            let (whole, scale) = (one.0.max(other.0), one.1.max(other.1));
            if whole + scale > PRECISION {
                return None;
            }
            let ty = Type::Decimal { precision: PRECISION, scale };
            let side = |bound: &Bound| cast(bound.expr.clone(), data_type(ty));
            return Some(binary_expr(side(left), op, side(right)));
        }
        let moments = |ty| matches!(ty, Type::Date | Type::DateTime(_));
        if moments(left.ty) && moments(right.ty) {
            let side = |bound: &Bound| cast(bound.expr.clone(), data_type(Type::DateTime(6)));
            return Some(binary_expr(side(left), op, side(right)));
        }
        None
    }

    /// A constant in the type of what it is compared with; none if it has no equal there.
    fn in_type(&self, constant: &ScalarValue, from: Type, to: Type) -> Option<Expr> {
        if !compares(to) {
            return None;
        }
        let value = of_scalar(constant, from).ok()?;
        self.literal(&exactly(&value, to)?, to).ok()
    }
}

fn exactly(value: &Value, to: Type) -> Option<Value> {
    match (to, value) {
        (Type::Int, Value::UInt(number)) => Some(Value::Int(i64::try_from(*number).ok()?)),
        (Type::Int, Value::Decimal(number)) => {
            Some(Value::Int(i64::try_from(whole(*number)?).ok()?))
        }
        (Type::Int, Value::Text(text)) => {
            let number: i64 = text.parse().ok()?;
            (-DOUBLE_EXACT..=DOUBLE_EXACT).contains(&number).then_some(Value::Int(number))
        }
        (Type::UInt, Value::Int(number)) => Some(Value::UInt(u64::try_from(*number).ok()?)),
        (Type::UInt, Value::Decimal(number)) => {
            Some(Value::UInt(u64::try_from(whole(*number)?).ok()?))
        }
        (Type::Decimal { scale, .. }, Value::Int(number)) => {
            at_scale(Decimal::new((*number).into(), 0)?, scale)
        }
        (Type::Decimal { scale, .. }, Value::UInt(number)) => {
            at_scale(Decimal::new((*number).into(), 0)?, scale)
        }
        (Type::Decimal { scale, .. }, Value::Decimal(number)) => at_scale(*number, scale),
        (Type::Date, Value::Text(text)) => Some(Value::Date(Date::parse(text)?)),
        (Type::Date, Value::DateTime(moment)) => {
            let date = moment.date();
            (date.midnight() == *moment).then_some(Value::Date(date))
        }
        (Type::DateTime(_), Value::Text(text)) => {
            let date = || Date::parse(text).map(Date::midnight);
            Some(Value::DateTime(DateTime::parse(text).or_else(date)?))
        }
        (Type::DateTime(_), Value::Date(date)) => Some(Value::DateTime(date.midnight())),
        (Type::Time(_), Value::Text(text)) if text.matches(':').count() == 2 => {
            Some(Value::Time(Time::parse(text)?))
        }
        _ => None,
    }
}

/// A decimal that is an integer.
fn whole(number: Decimal) -> Option<i128> {
    let whole = number.rescaled(0)?;
    (whole.rescaled(number.scale())? == number).then(|| whole.unscaled())
}

fn at_scale(number: Decimal, scale: u8) -> Option<Value> {
    let scaled = number.rescaled(scale)?;
    (scaled.rescaled(number.scale())? == number).then_some(Value::Decimal(scaled))
}

/// How two texts compare; none if that is for the expression's own rules.
fn common_collation(left: &Bound, right: &Bound) -> Option<Collation> {
    // A constant gives way, unless it says itself how it compares.
    let weak = |bound: &Bound| literal(bound).is_some() && bound.collation == Collation::default();
    if left.collation == right.collation || weak(right) {
        return Some(left.collation);
    }
    weak(left).then_some(right.collation)
}

/// By what a text compares.
pub(super) fn text_key(bound: &Bound, collation: Collation) -> Expr {
    if collation == Collation::Binary {
        return bound.expr.clone();
    }
    key(bound.expr.clone(), collation)
}

/// By what a value is grouped, sorted and told apart.
pub(super) fn identity(bound: &Bound) -> Expr {
    if bound.needs_key() { text_key(bound, bound.collation) } else { bound.expr.clone() }
}
