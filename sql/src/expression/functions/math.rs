//! Functions of doubles. What is not defined for an argument is NULL, as MySQL has it.

use std::ptr;

use resprout_engine::table::ValueRef;

use super::{Call, Function};
use crate::expression::error::Error;
use crate::expression::node::Env;
use crate::expression::number::{bits_of, double_of, integer_of};
use crate::expression::ty::Type;

/// A function of one double, which may be undefined for it.
macro_rules! of_one {
    ($name:literal, $body:expr) => {
        Function::strict($name, (1, 1), Type::Double, |all, env| {
            let body: fn(f64) -> Option<f64> = $body;
            let number = double_of(&all[0], env.context)?.unwrap_or(0.0);
            result($name, body(number), env)
        })
    };
}

pub(super) const FUNCTIONS: &[Function] = &[
    of_one!("sqrt", |x| (x >= 0.0).then(|| x.sqrt())),
    of_one!("exp", |x| Some(x.exp())),
    of_one!("ln", |x| (x > 0.0).then(|| x.ln())),
    of_one!("log2", |x| (x > 0.0).then(|| x.log2())),
    of_one!("log10", |x| (x > 0.0).then(|| x.log10())),
    of_one!("sin", |x| Some(x.sin())),
    of_one!("cos", |x| Some(x.cos())),
    of_one!("tan", |x| Some(x.tan())),
    of_one!("cot", |x| Some(1.0 / x.tan())),
    of_one!("asin", |x| (x.abs() <= 1.0).then(|| x.asin())),
    of_one!("acos", |x| (x.abs() <= 1.0).then(|| x.acos())),
    of_one!("degrees", |x| Some(x.to_degrees())),
    of_one!("radians", |x| Some(x.to_radians())),
    Function::strict("atan", (1, 2), Type::Double, atan),
    Function::strict("atan2", (2, 2), Type::Double, atan),
    Function::strict("power", (2, 2), Type::Double, |all, env| {
        let base = double_of(&all[0], env.context)?.unwrap_or(0.0);
        let exponent = double_of(&all[1], env.context)?.unwrap_or(0.0);
        result("power", Some(base.powf(exponent)), env)
    }),
    Function::strict("log", (1, 2), Type::Double, log),
    Function::strict("pi", (0, 0), Type::Double, |_, _| Ok(ValueRef::Double(std::f64::consts::PI))),
    Function::lazy("rand", (0, 1), Type::Double, rand).impure(),
];

/// NULL if it is undefined, of which logarithms warn; an error if it is too large.
fn result<'e>(function: &str, number: Option<f64>, env: &Env<'e>) -> Result<ValueRef<'e>, Error> {
    match number {
        None => {
            if function.starts_with('l') {
                env.context.complain(Error::DivisionByZero)?;
            }
            Ok(ValueRef::Null)
        }
        Some(number) if number.is_finite() => Ok(ValueRef::Double(number)),
        Some(_) => Err(Error::OutOfRange { ty: "DOUBLE", expression: format!("{function}(...)") }),
    }
}

fn atan<'e>(all: &[ValueRef<'e>], env: &Env<'e>) -> Result<ValueRef<'e>, Error> {
    let first = double_of(&all[0], env.context)?.unwrap_or(0.0);
    Ok(ValueRef::Double(match all.get(1) {
        None => first.atan(),
        Some(second) => first.atan2(double_of(second, env.context)?.unwrap_or(0.0)),
    }))
}

/// Of one number the natural logarithm, of two that of the second to the base of the first.
fn log<'e>(all: &[ValueRef<'e>], env: &Env<'e>) -> Result<ValueRef<'e>, Error> {
    let first = double_of(&all[0], env.context)?.unwrap_or(0.0);
    let Some(second) = all.get(1) else {
        return result("log", (first > 0.0).then(|| first.ln()), env);
    };
    let second = double_of(second, env.context)?.unwrap_or(0.0);
    let defined = first > 0.0 && second > 0.0 && first != 1.0;
    result("log", defined.then(|| second.ln() / first.ln()), env)
}

fn rand<'e>(call: &'e Call, env: &Env<'e>) -> Result<ValueRef<'e>, Error> {
    let Some(seed) = call.arguments.first() else {
        return Ok(ValueRef::Double(env.context.random()));
    };
    let seed = integer_of(&seed.eval(env)?, env.context)?.unwrap_or(0);
    #[expect(clippy::cast_possible_truncation, reason = "MySQL takes 32 bits")]
    let seed = bits_of(seed) as u32;
    // Each place in a statement has its own sequence; the address tells the places apart.
    Ok(ValueRef::Double(env.context.random_seeded(ptr::from_ref(call).addr(), seed)))
}
