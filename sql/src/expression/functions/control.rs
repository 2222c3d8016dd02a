//! Functions that choose among their arguments.

use std::cmp::Ordering;

use resprout_engine::table::ValueRef;

use super::{Call, Function, MANY};
use crate::expression::comparison::compare;
use crate::expression::convert::adapt;
use crate::expression::error::Error;
use crate::expression::node::{Env, Expression};
use crate::expression::number::double_of;
use crate::expression::ty::Type;

pub(super) const FUNCTIONS: &[Function] = &[
    Function::lazy("if", (3, 3), Type::Null, choose).returning(|all| merged(&all[1..])),
    Function::lazy("ifnull", (2, 2), Type::Null, first_known).returning(merged),
    Function::lazy("coalesce", (1, MANY), Type::Null, first_known).returning(merged),
    Function::lazy("nullif", (2, 2), Type::Null, null_if).returning(|all| all[0].ty),
    Function::lazy("isnull", (1, 1), Type::Int, is_null),
    Function::lazy("greatest", (2, MANY), Type::Null, |call, env| {
        extreme(call, Ordering::Greater, env)
    })
    .returning(comparable),
    Function::lazy("least", (2, MANY), Type::Null, |call, env| extreme(call, Ordering::Less, env))
        .returning(comparable),
    Function::lazy("interval", (2, MANY), Type::Int, interval),
];

/// The type that holds all of them.
pub(super) fn merged(arguments: &[Expression]) -> Type {
    arguments.iter().map(|argument| argument.ty).fold(Type::Null, Type::merge)
}

/// The type in which `GREATEST` and `LEAST` compare: numbers and text meet as doubles.
fn comparable(arguments: &[Expression]) -> Type {
    let merged = merged(arguments);
    let numbers = arguments.iter().any(|argument| argument.ty.is_number());
    let only_text = arguments.iter().all(|one| one.ty.is_number() || one.ty == Type::Text);
    if merged == Type::Text && numbers && only_text { Type::Double } else { merged }
}

fn choose<'e>(call: &'e Call, env: &Env<'e>) -> Result<ValueRef<'e>, Error> {
    let chosen = if call.arguments[0].truth(env)? == Some(true) { 1 } else { 2 };
    adapt(call.arguments[chosen].eval(env)?, call.ty, env)
}

fn first_known<'e>(call: &'e Call, env: &Env<'e>) -> Result<ValueRef<'e>, Error> {
    for argument in &call.arguments {
        let value = argument.eval(env)?;
        if !value.is_null() {
            return adapt(value, call.ty, env);
        }
    }
    Ok(ValueRef::Null)
}

fn null_if<'e>(call: &'e Call, env: &Env<'e>) -> Result<ValueRef<'e>, Error> {
    let first = call.arguments[0].eval(env)?;
    let second = call.arguments[1].eval(env)?;
    let equal = compare(&first, &second, call.collation, env)? == Some(Ordering::Equal);
    Ok(if equal { ValueRef::Null } else { first })
}

fn is_null<'e>(call: &'e Call, env: &Env<'e>) -> Result<ValueRef<'e>, Error> {
    Ok(super::truth(call.arguments[0].eval(env)?.is_null()))
}

fn extreme<'e>(call: &'e Call, wanted: Ordering, env: &Env<'e>) -> Result<ValueRef<'e>, Error> {
    let mut best = ValueRef::Null;
    for argument in &call.arguments {
        let value = adapt(argument.eval(env)?, call.ty, env)?;
        if value.is_null() {
            return Ok(ValueRef::Null);
        }
        let better = compare(&value, &best, call.collation, env)?;
        if better.is_none_or(|order| order == wanted) {
            best = value;
        }
    }
    Ok(best)
}

/// How many of the numbers, which are in order, are not above the first.
fn interval<'e>(call: &'e Call, env: &Env<'e>) -> Result<ValueRef<'e>, Error> {
    let Some(first) = double_of(&call.arguments[0].eval(env)?, env.context)? else {
        return Ok(ValueRef::Int(-1));
    };
    let mut count = 0;
    for argument in &call.arguments[1..] {
        match double_of(&argument.eval(env)?, env.context)? {
            Some(number) if number > first => break,
            _ => count += 1,
        }
    }
    Ok(ValueRef::Int(count))
}
