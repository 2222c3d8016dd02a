//! `+ - * / DIV %`, signs and bit operations.

use resprout_engine::table::{Decimal, ValueRef};

use super::decimal;
use super::error::Error;
use super::node::{Env, Expression};
use super::number::{Number, bits_of, integer, integer_of, number_of};
use super::ty::Type;

/// An operator of two numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operator {
    Add,
    Subtract,
    Multiply,
    Divide,
    DivideWhole,
    Modulo,
}

/// A bit operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BitOperator {
    And,
    Or,
    Xor,
    Left,
    Right,
}

/// An operator with its operands.
#[derive(Debug)]
pub(super) struct Arithmetic {
    pub(super) op: Operator,
    pub(super) left: Expression,
    pub(super) right: Expression,
    /// How the expression was written, for an error.
    pub(super) text: Box<str>,
    /// Whether whoever shows the result rounds it to the digits of its type.
    pub(super) rounds_later: bool,
}

impl Operator {
    /// The type of a result.
    pub(super) fn result(self, left: Type, right: Type) -> Type {
        if left == Type::Unknown || right == Type::Unknown {
            return Type::Unknown;
        }
        let (Some(one), Some(other)) = (left.digits(), right.digits()) else {
            return match self {
                Self::DivideWhole => Type::Int,
                _ => Type::Double,
            };
        };
        let unsigned = match self {
            Self::Modulo => left == Type::UInt,
            _ => left == Type::UInt || right == Type::UInt,
        };
        match self {
            Self::DivideWhole if unsigned => Type::UInt,
            Self::DivideWhole => Type::Int,
            Self::Divide => {
                Type::decimal(one.0 + other.1, one.1 + u32::from(decimal::DIVISION_DIGITS))
            }
            Self::Multiply if one.1 + other.1 > 0 || is_exact(left, right) => {
                Type::decimal(one.0 + other.0, one.1 + other.1)
            }
            _ if one.1 + other.1 > 0 || is_exact(left, right) => {
                Type::decimal(one.0.max(other.0) + 1, one.1.max(other.1))
            }
            _ if unsigned => Type::UInt,
            _ => Type::Int,
        }
    }
}

fn is_exact(left: Type, right: Type) -> bool {
    matches!(left, Type::Decimal { .. }) || matches!(right, Type::Decimal { .. })
}

impl Arithmetic {
    pub(super) fn evaluate<'e>(&'e self, env: &Env<'e>) -> Result<ValueRef<'e>, Error> {
        let (left, right) = (self.left.eval_exactly(env)?, self.right.eval_exactly(env)?);
        // The common case first.
        if let (ValueRef::Int(one), ValueRef::Int(other)) = (&left, &right) {
            let result = match self.op {
                Operator::Add => one.checked_add(*other),
                Operator::Subtract => one.checked_sub(*other),
                Operator::Multiply => one.checked_mul(*other),
                _ => None,
            };
            if let Some(result) = result {
                return Ok(ValueRef::Int(result));
            }
        }
        let Some(left) = number_of(&left, env.context)? else { return Ok(ValueRef::Null) };
        let Some(right) = number_of(&right, env.context)? else { return Ok(ValueRef::Null) };
        self.numbers(left, right, env)
    }

    fn numbers<'e>(
        &self,
        left: Number,
        right: Number,
        env: &Env<'e>,
    ) -> Result<ValueRef<'e>, Error> {
        use Operator::{Divide, DivideWhole, Modulo};
        if matches!(self.op, Divide | DivideWhole | Modulo) && right.is_zero() {
            env.context.complain(Error::DivisionByZero)?;
            return Ok(ValueRef::Null);
        }
        let number = match (left, right) {
            (Number::Double(_), _) | (_, Number::Double(_)) => {
                self.doubles(left.to_f64(), right.to_f64())
            }
            (Number::Decimal(_), _) | (_, Number::Decimal(_)) => self.exact(left, right),
            _ if self.op == Divide => self.exact(left, right),
            _ => self.integers(left, right),
        };
        number.map(ValueRef::from)
    }

    fn out_of_range(&self, ty: &'static str) -> Error {
        Error::OutOfRange { ty, expression: self.text.to_string() }
    }

    fn integers(&self, left: Number, right: Number) -> Result<Number, Error> {
        let (one, other) = (left.to_i128(), right.to_i128());
        let result = match self.op {
            Operator::Add => one + other,
            Operator::Subtract => one - other,
            // Two numbers of 64 bits: at most 128, with the sign at most 127.
            Operator::Multiply => one.saturating_mul(other),
            Operator::Divide | Operator::DivideWhole => one / other,
            Operator::Modulo => one % other,
        };
        let unsigned = match self.op {
            Operator::Modulo => left.is_unsigned(),
            _ => left.is_unsigned() || right.is_unsigned(),
        };
        self.whole(result, unsigned)
    }

    fn whole(&self, result: i128, unsigned: bool) -> Result<Number, Error> {
        if unsigned {
            let result = u64::try_from(result).map(Number::UInt);
            return result.map_err(|_| self.out_of_range("BIGINT UNSIGNED"));
        }
        i64::try_from(result).map(Number::Int).map_err(|_| self.out_of_range("BIGINT"))
    }

    fn doubles(&self, left: f64, right: f64) -> Result<Number, Error> {
        let result = match self.op {
            Operator::Add => left + right,
            Operator::Subtract => left - right,
            Operator::Multiply => left * right,
            Operator::Divide => left / right,
            Operator::Modulo => left % right,
            Operator::DivideWhole => {
                let whole = (left / right).trunc();
                #[expect(clippy::cast_possible_truncation, reason = "saturates, then is refused")]
                let whole = whole as i128;
                return self.whole(whole, false);
            }
        };
        if result.is_finite() {
            return Ok(Number::Double(result));
        }
        Err(self.out_of_range("DOUBLE"))
    }

    fn exact(&self, left: Number, right: Number) -> Result<Number, Error> {
        let (Some(one), Some(other)) = (left.to_decimal(), right.to_decimal()) else {
            return self.doubles(left.to_f64(), right.to_f64());
        };
        let result = match self.op {
            Operator::Add => decimal::add(one, other),
            Operator::Subtract => decimal::add(one, decimal::negated(other)),
            Operator::Multiply => decimal::multiply(one, other),
            Operator::Divide => {
                decimal::divide(one, other).map(|result| self.quotient(one, result))
            }
            Operator::Modulo => decimal::remainder(one, other),
            Operator::DivideWhole => {
                let whole = decimal::divide_whole(one, other);
                let whole = whole.ok_or_else(|| self.out_of_range("BIGINT"))?;
                return self.whole(whole, left.is_unsigned() || right.is_unsigned());
            }
        };
        result.map(Number::Decimal).ok_or_else(|| self.out_of_range("DECIMAL"))
    }

    fn quotient(&self, dividend: Decimal, result: Decimal) -> Decimal {
        let scale = dividend.scale() + decimal::DIVISION_DIGITS;
        if self.rounds_later || scale >= result.scale() {
            return result;
        }
        result.rescaled(scale).unwrap_or(result)
    }
}

/// `-value`.
pub(super) fn negate<'e>(
    operand: &'e Expression,
    text: &str,
    env: &Env<'e>,
) -> Result<ValueRef<'e>, Error> {
    let value = operand.eval_exactly(env)?;
    let Some(number) = number_of(&value, env.context)? else { return Ok(ValueRef::Null) };
    let out_of_range = || Error::OutOfRange { ty: "BIGINT", expression: text.to_owned() };
    Ok(match number {
        Number::Int(number) => ValueRef::Int(number.checked_neg().ok_or_else(out_of_range)?),
        Number::UInt(number) => {
            let negative = i64::try_from(-i128::from(number));
            ValueRef::Int(negative.map_err(|_| out_of_range())?)
        }
        Number::Decimal(number) => ValueRef::Decimal(decimal::negated(number)),
        Number::Double(number) => ValueRef::Double(-number),
    })
}

/// A bit operation on 64 bits.
pub(super) fn bits<'e>(
    op: BitOperator,
    operands: &'e [Expression; 2],
    env: &Env<'e>,
) -> Result<ValueRef<'e>, Error> {
    let [left, right] = operands;
    let Some(left) = integer_of(&left.eval(env)?, env.context)? else { return Ok(ValueRef::Null) };
    let Some(right) = integer_of(&right.eval(env)?, env.context)? else {
        return Ok(ValueRef::Null);
    };
    let (left, right) = (bits_of(left), bits_of(right));
    // Shifting by all bits or more leaves none.
    let by = u32::try_from(right).unwrap_or(u32::MAX);
    Ok(ValueRef::UInt(match op {
        BitOperator::And => left & right,
        BitOperator::Or => left | right,
        BitOperator::Xor => left ^ right,
        BitOperator::Left => left.checked_shl(by).unwrap_or(0),
        BitOperator::Right => left.checked_shr(by).unwrap_or(0),
    }))
}

/// `~value`.
pub(super) fn invert<'e>(operand: &'e Expression, env: &Env<'e>) -> Result<ValueRef<'e>, Error> {
    let number = integer_of(&operand.eval(env)?, env.context)?;
    Ok(number.map_or(ValueRef::Null, |number| ValueRef::UInt(!bits_of(number))))
}

/// A whole number as a value, as wide as it must be.
pub(super) fn whole_value<'e>(number: i128) -> ValueRef<'e> {
    match integer(number) {
        Some(number) => number.into(),
        None => Decimal::new(number, 0).map_or(ValueRef::Null, ValueRef::Decimal),
    }
}
