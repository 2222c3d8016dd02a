//! `AND OR XOR NOT IS`: three-valued logic, where NULL is neither true nor false.

use resprout_engine::table::ValueRef;

use super::error::Error;
use super::node::{Env, Expression};
use super::number::number_of;

/// What `IS` asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Test {
    Null,
    True,
    False,
}

/// 1, 0 or NULL.
#[inline]
pub(super) fn three_valued<'e>(truth: Option<bool>) -> ValueRef<'e> {
    truth.map_or(ValueRef::Null, |truth| ValueRef::Int(i64::from(truth)))
}

/// Whether a value counts as true: a number other than zero.
#[inline]
pub(super) fn truth_of(value: &ValueRef<'_>, env: &Env<'_>) -> Result<Option<bool>, Error> {
    if let ValueRef::Int(number) = value {
        return Ok(Some(*number != 0));
    }
    Ok(number_of(value, env.context)?.map(|number| !number.is_zero()))
}

/// Operands joined by AND (`until` false) or OR (`until` true): the first that is `until` decides,
/// and those behind it are not evaluated.
pub(super) fn join(
    operands: &[Expression],
    until: bool,
    env: &Env<'_>,
) -> Result<Option<bool>, Error> {
    let mut null = false;
    for operand in operands {
        match operand.truth(env)? {
            Some(truth) if truth == until => return Ok(Some(until)),
            Some(_) => {}
            None => null = true,
        }
    }
    Ok(if null { None } else { Some(!until) })
}

/// Whether just one of two is true.
pub(super) fn exclusive(operands: &[Expression; 2], env: &Env<'_>) -> Result<Option<bool>, Error> {
    let [left, right] = operands;
    let Some(left) = left.truth(env)? else { return Ok(None) };
    Ok(right.truth(env)?.map(|right| left != right))
}

/// `operand IS [NOT] test`.
pub(super) fn is(
    operand: &Expression,
    test: Test,
    negated: bool,
    env: &Env<'_>,
) -> Result<bool, Error> {
    let holds = match test {
        Test::Null => operand.eval(env)?.is_null(),
        Test::True => operand.truth(env)? == Some(true),
        Test::False => operand.truth(env)? == Some(false),
    };
    Ok(holds != negated)
}
