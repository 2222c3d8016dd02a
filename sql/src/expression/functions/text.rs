//! Functions that take text apart and put it together.

use std::borrow::Cow;
use std::ops::Range;

use resprout_engine::table::ValueRef;

use super::{Call, Function, MANY, like_first, may_make, piece, read, text, text_or_bytes};
use crate::expression::error::Error;
use crate::expression::node::Env;
use crate::expression::number::{bytes_of, integer_of, text_of};
use crate::expression::ty::Type;

pub(super) const FUNCTIONS: &[Function] = &[
    Function::strict("concat", (1, MANY), Type::Text, concat).returning(text_or_bytes),
    Function::lazy("concat_ws", (2, MANY), Type::Text, concat_ws).returning(text_or_bytes),
    Function::strict("substring", (2, 3), Type::Text, substring).returning(like_first),
    Function::strict("left", (2, 2), Type::Text, left).returning(like_first),
    Function::strict("right", (2, 2), Type::Text, right).returning(like_first),
    Function::strict("length", (1, 1), Type::Int, length),
    Function::strict("bit_length", (1, 1), Type::Int, |all, _| {
        Ok(count(bytes_of(all[0].clone()).len() * 8))
    }),
    Function::strict("char_length", (1, 1), Type::Int, |all, _| Ok(count(characters(&all[0])))),
    Function::strict("upper", (1, 1), Type::Text, |all, _| changed(all, str::to_uppercase))
        .returning(like_first),
    Function::strict("lower", (1, 1), Type::Text, |all, _| changed(all, str::to_lowercase))
        .returning(like_first),
    Function::strict("reverse", (1, 1), Type::Text, |all, _| match &all[0] {
        ValueRef::Bytes(bytes) => {
            Ok(ValueRef::Bytes(bytes.iter().rev().copied().collect::<Vec<_>>().into()))
        }
        value => Ok(text(read(value).chars().rev().collect())),
    })
    .returning(like_first),
    Function::strict("replace", (3, 3), Type::Text, replace).returning(text_or_bytes),
    Function::strict("insert", (4, 4), Type::Text, insert).returning(text_or_bytes),
    Function::strict("ltrim", (1, 2), Type::Text, |all, _| Ok(trim(all, true, false)))
        .returning(like_first),
    Function::strict("rtrim", (1, 2), Type::Text, |all, _| Ok(trim(all, false, true)))
        .returning(like_first),
    Function::strict("trim", (1, 2), Type::Text, |all, _| Ok(trim(all, true, true)))
        .returning(like_first),
    Function::strict("substring_index", (3, 3), Type::Text, substring_index)
        .returning(text_or_bytes),
];

/// A number of bytes or characters as a value.
pub(super) fn count<'e>(number: usize) -> ValueRef<'e> {
    ValueRef::Int(i64::try_from(number).unwrap_or(i64::MAX))
}

/// Characters of text, bytes of bytes.
pub(super) fn characters(value: &ValueRef<'_>) -> usize {
    match value {
        ValueRef::Bytes(bytes) => bytes.len(),
        value => read(value).chars().count(),
    }
}

/// Bytes that so many characters from the start of a text take.
fn offset(value: &ValueRef<'_>, character: usize) -> usize {
    match value {
        ValueRef::Bytes(bytes) => character.min(bytes.len()),
        value => {
            let text = read(value);
            text.char_indices().nth(character).map_or(text.len(), |(offset, _)| offset)
        }
    }
}

/// The piece of text between two positions in characters.
fn slice<'e>(value: &ValueRef<'e>, range: Range<usize>) -> ValueRef<'e> {
    let (start, end) = (offset(value, range.start), offset(value, range.end));
    piece(value, start..end.max(start))
}

fn concat<'e>(all: &[ValueRef<'e>], env: &Env<'e>) -> Result<ValueRef<'e>, Error> {
    if all.iter().any(|value| matches!(value, ValueRef::Bytes(_))) {
        let parts: Vec<_> = all.iter().map(|value| bytes_of(value.clone())).collect();
        let total = parts.iter().map(|part| part.len()).sum();
        let fits = may_make(total, "concat", env)?;
        return Ok(if fits { ValueRef::Bytes(parts.concat().into()) } else { ValueRef::Null });
    }
    let mut joined = String::new();
    for value in all {
        let part = read(value);
        if !may_make(joined.len() + part.len(), "concat", env)? {
            return Ok(ValueRef::Null);
        }
        joined.push_str(&part);
    }
    Ok(text(joined))
}

/// NULLs behind the separator are left out.
fn concat_ws<'e>(call: &'e Call, env: &Env<'e>) -> Result<ValueRef<'e>, Error> {
    let separator = call.arguments[0].eval(env)?;
    if separator.is_null() {
        return Ok(ValueRef::Null);
    }
    let separator = text_of(separator);
    let mut joined = String::new();
    let mut first = true;
    for argument in &call.arguments[1..] {
        let value = argument.eval(env)?;
        if value.is_null() {
            continue;
        }
        let part = text_of(value);
        if !may_make(joined.len() + separator.len() + part.len(), "concat_ws", env)? {
            return Ok(ValueRef::Null);
        }
        if !first {
            joined.push_str(&separator);
        }
        joined.push_str(&part);
        first = false;
    }
    Ok(match call.ty {
        Type::Bytes => ValueRef::Bytes(joined.into_bytes().into()),
        _ => text(joined),
    })
}

/// A position or length as given, brought to what fits.
fn number(value: &ValueRef<'_>, env: &Env<'_>) -> Result<i64, Error> {
    let number = integer_of(value, env.context)?.unwrap_or(0);
    Ok(i64::try_from(number).unwrap_or(if number < 0 { i64::MIN } else { i64::MAX }))
}

fn size(value: &ValueRef<'_>, env: &Env<'_>) -> Result<usize, Error> {
    Ok(usize::try_from(number(value, env)?.max(0)).unwrap_or(usize::MAX))
}

fn substring<'e>(all: &[ValueRef<'e>], env: &Env<'e>) -> Result<ValueRef<'e>, Error> {
    let position = number(&all[1], env)?;
    let length = match all.get(2) {
        Some(length) => size(length, env)?,
        None => usize::MAX,
    };
    let total = characters(&all[0]);
    let start = match position {
        1.. => usize::try_from(position - 1).ok(),
        0 => None,
        _ => usize::try_from(position.unsigned_abs()).ok().and_then(|back| total.checked_sub(back)),
    };
    let Some(start) = start.filter(|start| *start < total) else { return Ok(piece(&all[0], 0..0)) };
    Ok(slice(&all[0], start..start.saturating_add(length).min(total)))
}

fn left<'e>(all: &[ValueRef<'e>], env: &Env<'e>) -> Result<ValueRef<'e>, Error> {
    Ok(slice(&all[0], 0..size(&all[1], env)?))
}

fn right<'e>(all: &[ValueRef<'e>], env: &Env<'e>) -> Result<ValueRef<'e>, Error> {
    let total = characters(&all[0]);
    Ok(slice(&all[0], total.saturating_sub(size(&all[1], env)?)..total))
}

fn length<'e>(all: &[ValueRef<'e>], _env: &Env<'e>) -> Result<ValueRef<'e>, Error> {
    Ok(count(match &all[0] {
        ValueRef::Bytes(bytes) => bytes.len(),
        value => read(value).len(),
    }))
}

/// Bytes have no case.
fn changed<'e>(
    all: &[ValueRef<'e>],
    change: impl Fn(&str) -> String,
) -> Result<ValueRef<'e>, Error> {
    Ok(match &all[0] {
        ValueRef::Bytes(_) => all[0].clone(),
        value => text(change(&read(value))),
    })
}

fn replace<'e>(all: &[ValueRef<'e>], env: &Env<'e>) -> Result<ValueRef<'e>, Error> {
    let (whole, from, to) = (read(&all[0]), read(&all[1]), read(&all[2]));
    let found = if from.is_empty() { 0 } else { whole.matches(&*from).count() };
    if found == 0 {
        return Ok(all[0].clone());
    }
    let grown = to.len().saturating_sub(from.len()).saturating_mul(found);
    if !may_make(whole.len().saturating_add(grown), "replace", env)? {
        return Ok(ValueRef::Null);
    }
    Ok(text(whole.replace(&*from, &to)))
}

fn insert<'e>(all: &[ValueRef<'e>], env: &Env<'e>) -> Result<ValueRef<'e>, Error> {
    let total = characters(&all[0]);
    let position = number(&all[1], env)?;
    let Some(start) = usize::try_from(position).ok().filter(|at| (1..=total).contains(at)) else {
        return Ok(all[0].clone());
    };
    let start = start - 1;
    let length = usize::try_from(number(&all[2], env)?).unwrap_or(usize::MAX);
    let end = start.saturating_add(length).min(total);
    let whole = read(&all[0]);
    let new = read(&all[3]);
    if !may_make(whole.len() + new.len(), "insert", env)? {
        return Ok(ValueRef::Null);
    }
    let at = |character| offset(&ValueRef::Text(Cow::Borrowed(&whole)), character);
    Ok(text(format!("{}{new}{}", &whole[..at(start)], &whole[at(end)..])))
}

/// Takes a word, a blank unless given, from the ends as often as it stands there.
fn trim<'e>(all: &[ValueRef<'e>], start: bool, end: bool) -> ValueRef<'e> {
    let word = all.get(1).map_or(Cow::Borrowed(" "), read);
    let whole = read(&all[0]);
    if word.is_empty() {
        return all[0].clone();
    }
    let mut range = 0..whole.len();
    while start && whole[range.clone()].starts_with(&*word) {
        range.start += word.len();
    }
    while end && whole[range.clone()].ends_with(&*word) {
        range.end -= word.len();
    }
    match &all[0] {
        // Bytes that are no UTF-8 have other lengths as text.
        ValueRef::Bytes(_) => ValueRef::Bytes(whole[range].as_bytes().to_vec().into()),
        value => piece(value, range),
    }
}

/// What stands before the n-th separator, or from the end behind it.
fn substring_index<'e>(all: &[ValueRef<'e>], env: &Env<'e>) -> Result<ValueRef<'e>, Error> {
    let (whole, separator) = (read(&all[0]), read(&all[1]));
    let wanted = number(&all[2], env)?;
    if separator.is_empty() || wanted == 0 {
        return Ok(text(String::new()));
    }
    let nth = usize::try_from(wanted.unsigned_abs() - 1).unwrap_or(usize::MAX);
    let found = if wanted > 0 {
        whole.match_indices(&*separator).nth(nth).map(|(at, _)| 0..at)
    } else {
        let at = whole.rmatch_indices(&*separator).nth(nth);
        at.map(|(at, _)| at + separator.len()..whole.len())
    };
    Ok(match found {
        Some(range) => text(whole[range].to_owned()),
        None => all[0].clone(),
    })
}
