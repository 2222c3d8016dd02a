//! Functions that make text longer: whoever asks for too much gets NULL and a warning.

use resprout_engine::table::ValueRef;

use super::{Function, like_first, may_make, read, text, text_or_bytes};
use crate::expression::error::Error;
use crate::expression::node::Env;
use crate::expression::number::{bytes_of, integer_of};
use crate::expression::ty::Type;

pub(super) const FUNCTIONS: &[Function] = &[
    Function::strict("repeat", (2, 2), Type::Text, repeat).returning(like_first),
    Function::strict("space", (1, 1), Type::Text, space),
    Function::strict("lpad", (2, 3), Type::Text, |all, env| pad(all, true, env))
        .returning(text_or_bytes),
    Function::strict("rpad", (2, 3), Type::Text, |all, env| pad(all, false, env))
        .returning(text_or_bytes),
];

fn times(value: &ValueRef<'_>, env: &Env<'_>) -> Result<usize, Error> {
    let number = integer_of(value, env.context)?.unwrap_or(0).max(0);
    Ok(usize::try_from(number).unwrap_or(usize::MAX))
}

fn repeat<'e>(all: &[ValueRef<'e>], env: &Env<'e>) -> Result<ValueRef<'e>, Error> {
    let times = times(&all[1], env)?;
    if let ValueRef::Bytes(bytes) = &all[0] {
        let fits = may_make(bytes.len().saturating_mul(times), "repeat", env)?;
        let times = if bytes.is_empty() { 0 } else { times };
        return Ok(if fits { ValueRef::Bytes(bytes.repeat(times).into()) } else { ValueRef::Null });
    }
    let one = read(&all[0]);
    let fits = may_make(one.len().saturating_mul(times), "repeat", env)?;
    let times = if one.is_empty() { 0 } else { times };
    Ok(if fits { text(one.repeat(times)) } else { ValueRef::Null })
}

fn space<'e>(all: &[ValueRef<'e>], env: &Env<'e>) -> Result<ValueRef<'e>, Error> {
    let times = times(&all[0], env)?;
    let fits = may_make(times, "space", env)?;
    Ok(if fits { text(" ".repeat(times)) } else { ValueRef::Null })
}

fn pad<'e>(all: &[ValueRef<'e>], before: bool, env: &Env<'e>) -> Result<ValueRef<'e>, Error> {
    let wanted = integer_of(&all[1], env.context)?.unwrap_or(0);
    let Ok(wanted) = usize::try_from(wanted) else { return Ok(ValueRef::Null) };
    let function = if before { "lpad" } else { "rpad" };
    if all.iter().any(|value| matches!(value, ValueRef::Bytes(_))) {
        if !may_make(wanted, function, env)? {
            return Ok(ValueRef::Null);
        }
        let whole = bytes_of(all[0].clone());
        let filler = all.get(2).map_or(vec![0], |value| bytes_of(value.clone()).into_owned());
        let padded = filled(whole.to_vec(), filler, wanted, before);
        return Ok(padded.map_or(ValueRef::Null, |bytes| ValueRef::Bytes(bytes.into())));
    }
    // A character has up to four bytes.
    if !may_make(wanted, function, env)? {
        return Ok(ValueRef::Null);
    }
    let whole: Vec<char> = read(&all[0]).chars().collect();
    let filler = all.get(2).map_or(vec![' '], |value| read(value).chars().collect());
    let padded = filled(whole, filler, wanted, before);
    Ok(padded.map_or(ValueRef::Null, |characters| text(characters.into_iter().collect())))
}

/// Filled up or cut to a length; `None` if there is nothing to fill with.
fn filled<T: Copy>(
    mut whole: Vec<T>,
    filler: Vec<T>,
    wanted: usize,
    before: bool,
) -> Option<Vec<T>> {
    let missing = wanted.saturating_sub(whole.len());
    if missing == 0 {
        whole.truncate(wanted);
        return Some(whole);
    }
    if filler.is_empty() {
        return None;
    }
    let fill = filler.into_iter().cycle().take(missing);
    if before {
        return Some(fill.collect::<Vec<_>>().into_iter().chain(whole).collect());
    }
    whole.extend(fill.collect::<Vec<_>>());
    Some(whole)
}
