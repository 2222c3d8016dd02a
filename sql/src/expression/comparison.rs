//! `= < > <=> BETWEEN IN`: values of any two types compared by MySQL's implicit conversions.

use std::borrow::Cow;
use std::cmp::Ordering;

use resprout_engine::table::{Decimal, Value, ValueRef};

use super::collation::Collation;
use super::error::{Error, excerpt};
use super::logic::three_valued;
use super::node::{Env, Expression};
use super::number::{Number, number_of, text_of};
use super::temporal::convert::{moment_of, quiet_moment, quiet_time};

/// An operator that compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Comparator {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Comparator {
    fn holds(self, order: Ordering) -> bool {
        match self {
            Self::Equal => order.is_eq(),
            Self::NotEqual => order.is_ne(),
            Self::Less => order.is_lt(),
            Self::LessOrEqual => order.is_le(),
            Self::Greater => order.is_gt(),
            Self::GreaterOrEqual => order.is_ge(),
        }
    }
}

/// Two expressions compared.
#[derive(Debug)]
pub(super) struct Comparison {
    pub(super) op: Comparator,
    pub(super) left: Expression,
    pub(super) right: Expression,
    pub(super) collation: Collation,
}

impl Comparison {
    pub(super) fn evaluate(&self, env: &Env<'_>) -> Result<Option<bool>, Error> {
        let left = self.left.eval_exactly(env)?;
        if left.is_null() {
            return Ok(None);
        }
        let right = self.right.eval_exactly(env)?;
        Ok(compare(&left, &right, self.collation, env)?.map(|order| self.op.holds(order)))
    }
}

/// `left <=> right`: NULL equals NULL.
#[derive(Debug)]
pub(super) struct NullSafe {
    pub(super) left: Expression,
    pub(super) right: Expression,
    pub(super) collation: Collation,
}

impl NullSafe {
    pub(super) fn evaluate(&self, env: &Env<'_>) -> Result<bool, Error> {
        let (left, right) = (self.left.eval_exactly(env)?, self.right.eval_exactly(env)?);
        if left.is_null() || right.is_null() {
            return Ok(left.is_null() && right.is_null());
        }
        Ok(compare(&left, &right, self.collation, env)?.is_some_and(Ordering::is_eq))
    }
}

/// `operand BETWEEN low AND high`.
#[derive(Debug)]
pub(super) struct Between {
    pub(super) operand: Expression,
    pub(super) low: Expression,
    pub(super) high: Expression,
    pub(super) collation: Collation,
    pub(super) negated: bool,
}

impl Between {
    pub(super) fn evaluate<'e>(&'e self, env: &Env<'e>) -> Result<ValueRef<'e>, Error> {
        let operand = self.operand.eval_exactly(env)?;
        let low = self.low.eval_exactly(env)?;
        let above = compare(&operand, &low, self.collation, env)?.map(Ordering::is_ge);
        let high = self.high.eval_exactly(env)?;
        let below = compare(&operand, &high, self.collation, env)?.map(Ordering::is_le);
        let inside = match (above, below) {
            (Some(false), _) | (_, Some(false)) => Some(false),
            (Some(true), Some(true)) => Some(true),
            _ => None,
        };
        Ok(three_valued(inside.map(|inside| inside != self.negated)))
    }
}

/// `operand IN (items)`.
#[derive(Debug)]
pub(super) struct InList {
    pub(super) operand: Expression,
    pub(super) items: Items,
    pub(super) collation: Collation,
    pub(super) negated: bool,
}

/// What an operand is looked for in.
#[derive(Debug)]
pub(super) enum Items {
    /// Signed integers in order, for an operand that is one: the usual list of ids.
    Sorted {
        numbers: Box<[i64]>,
        /// Whether NULL is in the list.
        null: bool,
        /// The same as expressions, for an operand that turns out to be something else.
        all: Box<[Expression]>,
    },
    /// Anything.
    Any(Box<[Expression]>),
}

impl Items {
    pub(super) fn new(items: Vec<Expression>) -> Self {
        let mut numbers = Vec::with_capacity(items.len());
        let mut null = false;
        for item in &items {
            match item.constant() {
                Some(Value::Int(number)) => numbers.push(*number),
                Some(Value::Null) => null = true,
                _ => return Self::Any(items.into()),
            }
        }
        numbers.sort_unstable();
        Self::Sorted { numbers: numbers.into(), null, all: items.into() }
    }
}

impl InList {
    pub(super) fn evaluate<'e>(&'e self, env: &Env<'e>) -> Result<ValueRef<'e>, Error> {
        let operand = self.operand.eval_exactly(env)?;
        if operand.is_null() {
            return Ok(ValueRef::Null);
        }
        let (found, null) = match (&self.items, &operand) {
            (Items::Sorted { numbers, null, .. }, ValueRef::Int(number)) => {
                (numbers.binary_search(number).is_ok(), *null)
            }
            (Items::Sorted { all, .. } | Items::Any(all), _) => self.search(&operand, all, env)?,
        };
        if !found && null {
            return Ok(ValueRef::Null);
        }
        Ok(three_valued(Some(found != self.negated)))
    }

    fn search<'e>(
        &'e self,
        operand: &ValueRef<'_>,
        items: &'e [Expression],
        env: &Env<'e>,
    ) -> Result<(bool, bool), Error> {
        let mut null = false;
        for item in items {
            let item = item.eval_exactly(env)?;
            match compare(operand, &item, self.collation, env)? {
                Some(Ordering::Equal) => return Ok((true, null)),
                Some(_) => {}
                None => null = true,
            }
        }
        Ok((false, null))
    }
}

/// The order of two values; `None` if one is NULL.
#[inline]
pub(super) fn compare(
    left: &ValueRef<'_>,
    right: &ValueRef<'_>,
    collation: Collation,
    env: &Env<'_>,
) -> Result<Option<Ordering>, Error> {
    match (left, right) {
        (ValueRef::Int(one), ValueRef::Int(other)) => Ok(Some(one.cmp(other))),
        (ValueRef::Text(one), ValueRef::Text(other)) => Ok(Some(collation.compare(one, other))),
        (ValueRef::Null, _) | (_, ValueRef::Null) => Ok(None),
        _ => compare_mixed(left, right, env),
    }
}

fn compare_mixed(
    left: &ValueRef<'_>,
    right: &ValueRef<'_>,
    env: &Env<'_>,
) -> Result<Option<Ordering>, Error> {
    match (left, right) {
        (ValueRef::Bytes(one), ValueRef::Bytes(other)) => Ok(Some(one.cmp(other))),
        (ValueRef::Bytes(one), ValueRef::Text(other)) => {
            Ok(Some(one.as_ref().cmp(other.as_bytes())))
        }
        (ValueRef::Text(one), ValueRef::Bytes(other)) => {
            Ok(Some(one.as_bytes().cmp(other.as_ref())))
        }
        _ if is_temporal(left) => compare_temporal(left, right, env),
        _ if is_temporal(right) => Ok(compare_temporal(right, left, env)?.map(Ordering::reverse)),
        _ => {
            let left = number_of(left, env.context)?;
            let right = number_of(right, env.context)?;
            Ok(left.zip(right).and_then(|(left, right)| compare_numbers(left, right)))
        }
    }
}

const fn is_temporal(value: &ValueRef<'_>) -> bool {
    matches!(value, ValueRef::Date(_) | ValueRef::Time(_) | ValueRef::DateTime(_))
}

/// The order of two numbers: exact unless one is a double.
pub(super) fn compare_numbers(left: Number, right: Number) -> Option<Ordering> {
    match (left, right) {
        (Number::Double(_), _) | (_, Number::Double(_)) => {
            left.to_f64().partial_cmp(&right.to_f64())
        }
        (Number::Decimal(_), _) | (_, Number::Decimal(_)) => {
            let exact: Option<(Decimal, Decimal)> = left.to_decimal().zip(right.to_decimal());
            exact.map(|(left, right)| left.cmp(&right))
        }
        _ => Some(left.to_i128().cmp(&right.to_i128())),
    }
}

fn compare_temporal(
    temporal: &ValueRef<'_>,
    other: &ValueRef<'_>,
    env: &Env<'_>,
) -> Result<Option<Ordering>, Error> {
    let text = match other {
        ValueRef::Text(_) | ValueRef::Bytes(_) => Some(text_of(other.clone())),
        _ => None,
    };
    match (temporal, other) {
        (ValueRef::Time(one), ValueRef::Time(other)) => Ok(Some(one.cmp(other))),
        (ValueRef::Time(one), _) if text.is_some() => {
            let text = text.unwrap_or_default();
            if let Some(other) = quiet_time(&text) {
                return Ok(Some(one.cmp(&other)));
            }
            compare_as_text(temporal, &text, "time", env)
        }
        (_, ValueRef::Text(_) | ValueRef::Bytes(_)) => {
            let text = text.unwrap_or_default();
            let moment = moment_of(temporal, env.context)?;
            if let Some((one, other)) = moment.zip(quiet_moment(&text)) {
                return Ok(Some(one.cmp(&other)));
            }
            compare_as_text(temporal, &text, "datetime", env)
        }
        _ if is_temporal(other) => {
            let (one, other) = (moment_of(temporal, env.context)?, moment_of(other, env.context)?);
            Ok(one.zip(other).map(|(one, other)| one.cmp(&other)))
        }
        _ => {
            let one = number_of(temporal, env.context)?;
            let other = number_of(other, env.context)?;
            Ok(one.zip(other).and_then(|(one, other)| compare_numbers(one, other)))
        }
    }
}

/// A date against text that is none: compared as text, with a warning.
fn compare_as_text(
    temporal: &ValueRef<'_>,
    text: &str,
    ty: &'static str,
    env: &Env<'_>,
) -> Result<Option<Ordering>, Error> {
    env.context.complain(Error::Truncated { ty, value: excerpt(&text) })?;
    let temporal: Cow<'_, str> = text_of(temporal.clone());
    Ok(Some(temporal.as_ref().cmp(text)))
}
