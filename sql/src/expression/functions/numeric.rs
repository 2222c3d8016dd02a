//! Functions of numbers that keep them exact.

use resprout_engine::table::{Decimal, SCALE_MAX, ValueRef};

use super::{Function, read, text};
use crate::expression::arithmetic::whole_value;
use crate::expression::decimal;
use crate::expression::error::Error;
use crate::expression::node::{Env, Expression};
use crate::expression::number::{Number, integer_of, number_of};
use crate::expression::ty::Type;

pub(super) const FUNCTIONS: &[Function] = &[
    Function::strict("abs", (1, 1), Type::Double, abs).returning(numeric),
    Function::strict("sign", (1, 1), Type::Int, |all, env| {
        let number = number_of(&all[0], env.context)?.map_or(0.0, Number::to_f64);
        Ok(ValueRef::Int(if number == 0.0 { 0 } else { number.signum() as i64 }))
    }),
    Function::strict("ceiling", (1, 1), Type::Double, |all, env| whole(all, true, env))
        .returning(whole_type),
    Function::strict("floor", (1, 1), Type::Double, |all, env| whole(all, false, env))
        .returning(whole_type),
    Function::strict("round", (1, 2), Type::Double, |all, env| round(all, true, env))
        .returning(rounded_type),
    Function::strict("truncate", (2, 2), Type::Double, |all, env| round(all, false, env))
        .returning(rounded_type),
    Function::strict("format", (2, 3), Type::Text, format),
];

/// Exact numbers stay what they are, everything else is a double.
fn numeric(arguments: &[Expression]) -> Type {
    match arguments[0].ty {
        ty @ (Type::Int | Type::UInt | Type::Decimal { .. } | Type::Unknown) => ty,
        _ => Type::Double,
    }
}

fn whole_type(arguments: &[Expression]) -> Type {
    match arguments[0].ty {
        ty @ (Type::Int | Type::UInt | Type::Unknown) => ty,
        Type::Decimal { precision, scale } if precision - scale.min(precision) < 18 => Type::Int,
        Type::Decimal { precision, scale } => {
            Type::decimal(u32::from(precision.saturating_sub(scale)), 0)
        }
        _ => Type::Double,
    }
}

fn rounded_type(arguments: &[Expression]) -> Type {
    let digits = arguments.get(1).map(|digits| digits.constant().cloned());
    let digits = match digits {
        None => Some(0),
        Some(Some(resprout_engine::table::Value::Int(digits))) => Some(digits),
        Some(_) => None,
    };
    match (arguments[0].ty, digits) {
        (Type::Decimal { precision, scale }, Some(digits)) => {
            let kept = u32::try_from(digits.max(0)).unwrap_or(u32::MAX).min(u32::from(SCALE_MAX));
            let whole = u32::from(precision.saturating_sub(scale));
            Type::decimal(whole + u32::from(kept < u32::from(scale)), kept)
        }
        _ => numeric(arguments),
    }
}

fn out_of_range(function: &str, value: &ValueRef<'_>) -> Error {
    Error::OutOfRange { ty: "BIGINT", expression: format!("{function}({value})") }
}

fn abs<'e>(all: &[ValueRef<'e>], env: &Env<'e>) -> Result<ValueRef<'e>, Error> {
    Ok(match number_of(&all[0], env.context)? {
        None => ValueRef::Null,
        Some(Number::Int(number)) => {
            let size = number.checked_abs().ok_or_else(|| out_of_range("abs", &all[0]))?;
            ValueRef::Int(size)
        }
        Some(Number::UInt(number)) => ValueRef::UInt(number),
        Some(Number::Decimal(number)) if number.unscaled() < 0 => {
            ValueRef::Decimal(decimal::negated(number))
        }
        Some(Number::Decimal(number)) => ValueRef::Decimal(number),
        Some(Number::Double(number)) => ValueRef::Double(number.abs()),
    })
}

/// Up or down to a whole number.
fn whole<'e>(all: &[ValueRef<'e>], up: bool, env: &Env<'e>) -> Result<ValueRef<'e>, Error> {
    Ok(match number_of(&all[0], env.context)? {
        None => ValueRef::Null,
        Some(Number::Double(number)) => {
            ValueRef::Double(if up { number.ceil() } else { number.floor() })
        }
        Some(Number::Decimal(number)) => {
            let cut = decimal::truncated(number, 0);
            let rest = number > cut;
            let below = number < cut;
            let step = i128::from(up && rest) - i128::from(!up && below);
            whole_value(cut.unscaled() + step)
        }
        Some(number) => number.into(),
    })
}

/// To so many digits after the point, or before it if negative; rounded or cut off.
fn round<'e>(all: &[ValueRef<'e>], nearest: bool, env: &Env<'e>) -> Result<ValueRef<'e>, Error> {
    let digits = match all.get(1) {
        Some(digits) => integer_of(digits, env.context)?.unwrap_or(0),
        None => 0,
    };
    let digits = i32::try_from(digits.clamp(-400, 400)).unwrap_or(0);
    Ok(match number_of(&all[0], env.context)? {
        None => ValueRef::Null,
        Some(Number::Double(number)) => ValueRef::Double(round_double(number, digits, nearest)),
        Some(Number::Decimal(number)) => ValueRef::Decimal(round_decimal(number, digits, nearest)),
        Some(number) if digits >= 0 => number.into(),
        Some(number) => {
            let rounded = round_whole(number.to_i128(), digits.unsigned_abs(), nearest);
            match number {
                Number::UInt(_) => match u64::try_from(rounded) {
                    Ok(rounded) => ValueRef::UInt(rounded),
                    Err(_) => return Err(out_of_range("round", &all[0])),
                },
                _ => match i64::try_from(rounded) {
                    Ok(rounded) => ValueRef::Int(rounded),
                    Err(_) => return Err(out_of_range("round", &all[0])),
                },
            }
        }
    })
}

/// With zeros instead of the last digits.
fn round_whole(number: i128, zeros: u32, nearest: bool) -> i128 {
    if zeros > 37 {
        return 0;
    }
    let unit = 10_i128.pow(zeros);
    let (cut, rest) = (number / unit, number % unit);
    let away = nearest && rest.abs() * 2 >= unit;
    (cut + if away { number.signum() } else { 0 }) * unit
}

fn round_decimal(number: Decimal, digits: i32, nearest: bool) -> Decimal {
    let Ok(scale) = u8::try_from(digits.min(i32::from(SCALE_MAX))) else {
        let whole = if nearest { number } else { decimal::truncated(number, 0) };
        // Rounding twice is avoided by cutting off first: only whole digits decide.
        let cut = decimal::truncated(whole, 0).unscaled();
        let rounded = round_whole(cut, digits.unsigned_abs(), nearest);
        return Decimal::new(rounded, 0).unwrap_or(number);
    };
    if !nearest {
        let cut = decimal::truncated(number, scale);
        return cut.rescaled(scale).unwrap_or(cut);
    }
    number.rescaled(scale).unwrap_or(number)
}

/// By the decimal digits of the number, as far as a double has them.
fn round_double(number: f64, digits: i32, nearest: bool) -> f64 {
    let unit = 10_f64.powi(digits.abs());
    if !unit.is_finite() {
        return if digits < 0 { 0.0 } else { number };
    }
    let scaled = if digits < 0 { number / unit } else { number * unit };
    if !scaled.is_finite() {
        return number;
    }
    let rounded = if nearest { scaled.round_ties_even() } else { scaled.trunc() };
    if digits < 0 { rounded * unit } else { rounded / unit }
}

/// With commas between thousands and so many digits after the point.
fn format<'e>(all: &[ValueRef<'e>], env: &Env<'e>) -> Result<ValueRef<'e>, Error> {
    let digits = integer_of(&all[1], env.context)?.unwrap_or(0).clamp(0, i128::from(SCALE_MAX));
    let digits = u8::try_from(digits).unwrap_or(0);
    let plain = match number_of(&all[0], env.context)? {
        Some(Number::Double(number)) => {
            let rounded = round_double(number, i32::from(digits), true);
            format!("{rounded:.*}", usize::from(digits))
        }
        Some(number) => match number.to_decimal().and_then(|number| number.rescaled(digits)) {
            Some(number) => number.to_string(),
            None => read(&all[0]).into_owned(),
        },
        None => return Ok(ValueRef::Null),
    };
    let (sign, plain) = match plain.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", plain.as_str()),
    };
    let (whole, fraction) = plain.split_at(plain.find('.').unwrap_or(plain.len()));
    let mut out = String::from(sign);
    for (position, digit) in whole.chars().enumerate() {
        if position > 0 && (whole.len() - position).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out.push_str(fraction);
    Ok(text(out))
}
