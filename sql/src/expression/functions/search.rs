//! Functions that look for text in text.

use resprout_engine::table::ValueRef;

use super::text::count;
use super::{Call, Function, MANY, read, truth};
use crate::expression::collation::Collation;
use crate::expression::comparison::compare;
use crate::expression::error::Error;
use crate::expression::node::Env;
use crate::expression::number::{bytes_of, integer_of, text_of};
use crate::expression::regexp;
use crate::expression::ty::Type;

pub(super) const FUNCTIONS: &[Function] = &[
    Function::lazy("instr", (2, 2), Type::Int, |call, env| locate(call, 0, 1, env)),
    Function::lazy("locate", (2, 3), Type::Int, |call, env| locate(call, 1, 0, env)),
    Function::lazy("find_in_set", (2, 2), Type::Int, find_in_set),
    Function::lazy("field", (2, MANY), Type::Int, field),
    Function::lazy("elt", (2, MANY), Type::Text, elt),
    Function::lazy("strcmp", (2, 2), Type::Int, strcmp),
    Function::lazy("regexp_like", (2, 2), Type::Int, regexp_like),
];

/// The position of a text in another, from 1; 0 if it is not there.
fn locate<'e>(
    call: &'e Call,
    whole: usize,
    part: usize,
    env: &Env<'e>,
) -> Result<ValueRef<'e>, Error> {
    let whole = call.arguments[whole].eval(env)?;
    let part = call.arguments[part].eval(env)?;
    if whole.is_null() || part.is_null() {
        return Ok(ValueRef::Null);
    }
    let from = match call.arguments.get(2) {
        None => 1,
        Some(from) => match integer_of(&from.eval(env)?, env.context)? {
            None => return Ok(ValueRef::Null),
            Some(from) => from,
        },
    };
    let Some(from) = usize::try_from(from).ok().and_then(|from| from.checked_sub(1)) else {
        return Ok(count(0));
    };
    let bytes = matches!(whole, ValueRef::Bytes(_)) || matches!(part, ValueRef::Bytes(_));
    let keys = |value: ValueRef<'_>| -> Vec<u32> {
        if bytes {
            return bytes_of(value).iter().map(|byte| u32::from(*byte)).collect();
        }
        text_of(value).chars().map(|character| call.collation.key(character)).collect()
    };
    Ok(count(position(&keys(whole), &keys(part), from)))
}

fn position(whole: &[u32], part: &[u32], from: usize) -> usize {
    let Some(rest) = whole.get(from..) else { return 0 };
    if part.is_empty() {
        return from + 1;
    }
    // The first character is searched for fast; what follows is compared only there.
    let mut at = 0;
    while let Some(step) = rest[at..].iter().position(|key| *key == part[0]) {
        at += step;
        if rest[at..].starts_with(part) {
            return from + at + 1;
        }
        at += 1;
    }
    0
}

fn find_in_set<'e>(call: &'e Call, env: &Env<'e>) -> Result<ValueRef<'e>, Error> {
    let wanted = call.arguments[0].eval(env)?;
    let set = call.arguments[1].eval(env)?;
    if wanted.is_null() || set.is_null() {
        return Ok(ValueRef::Null);
    }
    let (wanted, set) = (read(&wanted), read(&set));
    if set.is_empty() || wanted.contains(',') {
        return Ok(count(0));
    }
    let found = set.split(',').position(|member| call.collation.equal(member, &wanted));
    Ok(count(found.map_or(0, |position| position + 1)))
}

/// The position of the first argument among the others, compared as text if all are, else as
/// numbers.
fn field<'e>(call: &'e Call, env: &Env<'e>) -> Result<ValueRef<'e>, Error> {
    let wanted = call.arguments[0].eval(env)?;
    for (position, argument) in call.arguments.iter().enumerate().skip(1) {
        let value = argument.eval(env)?;
        if compare(&wanted, &value, call.collation, env)?.is_some_and(std::cmp::Ordering::is_eq) {
            return Ok(count(position));
        }
    }
    Ok(count(0))
}

fn elt<'e>(call: &'e Call, env: &Env<'e>) -> Result<ValueRef<'e>, Error> {
    let Some(number) = integer_of(&call.arguments[0].eval(env)?, env.context)? else {
        return Ok(ValueRef::Null);
    };
    let chosen = usize::try_from(number).ok().filter(|number| *number > 0);
    let Some(chosen) = chosen.and_then(|number| call.arguments.get(number)) else {
        return Ok(ValueRef::Null);
    };
    let value = chosen.eval(env)?;
    Ok(if value.is_null() { value } else { ValueRef::Text(text_of(value)) })
}

fn strcmp<'e>(call: &'e Call, env: &Env<'e>) -> Result<ValueRef<'e>, Error> {
    let left = call.arguments[0].eval(env)?;
    let right = call.arguments[1].eval(env)?;
    if left.is_null() || right.is_null() {
        return Ok(ValueRef::Null);
    }
    let bytes = matches!(left, ValueRef::Bytes(_)) || matches!(right, ValueRef::Bytes(_));
    let collation = if bytes { Collation::Binary } else { call.collation };
    let order = collation.compare(&read(&left), &read(&right));
    Ok(ValueRef::Int(i64::from(order as i8)))
}

fn regexp_like<'e>(call: &'e Call, env: &Env<'e>) -> Result<ValueRef<'e>, Error> {
    let whole = call.arguments[0].eval(env)?;
    let pattern = call.arguments[1].eval(env)?;
    if whole.is_null() || pattern.is_null() {
        return Ok(ValueRef::Null);
    }
    Ok(truth(regexp::compile(&read(&pattern), call.collation)?.is_match(&read(&whole))))
}
