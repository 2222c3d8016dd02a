//! Functions that make dates and times, and add to them.

use resprout_engine::table::{Date, DateTime, Decimal, Time, Value, ValueRef};

use super::date_parts::{fraction_of, to_days};
use super::{Call, Function, read};
use crate::expression::error::{Error, excerpt};
use crate::expression::node::{Env, Expression};
use crate::expression::number::{Number, integer_of, number_of, text_of};
use crate::expression::temporal::convert::{date_of, moment_of, quiet_moment, time_of};
use crate::expression::temporal::format::Shown;
use crate::expression::temporal::interval::{Span, Unit, difference};
use crate::expression::temporal::scan::{Kind, kind, scan};
use crate::expression::temporal::{DAY, SECOND};
use crate::expression::ty::Type;

pub(super) const FUNCTIONS: &[Function] = &[
    Function::lazy("now", (0, 1), Type::DateTime(0), |call, env| now(call, true, env))
        .returning(|all| Type::DateTime(fsp(all)))
        .impure(),
    Function::lazy("sysdate", (0, 1), Type::DateTime(0), |call, env| now(call, true, env))
        .returning(|all| Type::DateTime(fsp(all)))
        .impure(),
    Function::lazy("utc_timestamp", (0, 1), Type::DateTime(0), |call, env| now(call, false, env))
        .returning(|all| Type::DateTime(fsp(all)))
        .impure(),
    Function::lazy("curtime", (0, 1), Type::Time(0), |call, env| clock(call, true, env))
        .returning(|all| Type::Time(fsp(all)))
        .impure(),
    Function::lazy("utc_time", (0, 1), Type::Time(0), |call, env| clock(call, false, env))
        .returning(|all| Type::Time(fsp(all)))
        .impure(),
    Function::strict("curdate", (0, 0), Type::Date, |_, env| Ok(today(true, env))).impure(),
    Function::strict("utc_date", (0, 0), Type::Date, |_, env| Ok(today(false, env))).impure(),
    Function::lazy("date_add", (2, 2), Type::Text, |call, env| shift(call, false, env))
        .returning(|all| all[0].ty),
    Function::lazy("date_sub", (2, 2), Type::Text, |call, env| shift(call, true, env))
        .returning(|all| all[0].ty),
    Function::strict("datediff", (2, 2), Type::Int, |all, env| {
        let (one, other) = (date_of(&all[0], env.context)?, date_of(&all[1], env.context)?);
        let days = one.zip(other).map(|(one, other)| to_days(one) - to_days(other));
        Ok(days.map_or(ValueRef::Null, ValueRef::Int))
    }),
    Function::lazy("timestampdiff", (2, 2), Type::Int, timestamp_difference),
    Function::lazy("unix_timestamp", (0, 1), Type::Int, unix_timestamp)
        .returning(unix_type)
        .impure(),
    Function::strict("from_unixtime", (1, 2), Type::DateTime(0), from_unixtime)
        .returning(|all| match all.len() {
            1 => Type::DateTime(fraction_of(&all[0])),
            _ => Type::Text,
        })
        .impure(),
    Function::lazy("str_to_date", (2, 2), Type::DateTime(6), str_to_date).returning(scanned_type),
    Function::strict("last_day", (1, 1), Type::Date, last_day),
    Function::strict("makedate", (2, 2), Type::Date, make_date),
    Function::strict("maketime", (3, 3), Type::Time(0), make_time),
    Function::strict("sec_to_time", (1, 1), Type::Time(0), sec_to_time)
        .returning(|all| Type::Time(fraction_of(&all[0]))),
    Function::strict("from_days", (1, 1), Type::Date, from_days),
    Function::strict("timediff", (2, 2), Type::Time(0), time_difference)
        .returning(|all| Type::Time(fraction_of(&all[0]).max(fraction_of(&all[1])))),
    Function::strict("timestamp", (1, 2), Type::DateTime(0), timestamp)
        .returning(|all| Type::DateTime(all.iter().map(fraction_of).max().unwrap_or(0))),
];

/// The constant number of digits of a fraction.
fn fsp(arguments: &[Expression]) -> u8 {
    match arguments.first().and_then(Expression::constant) {
        Some(Value::Int(digits)) => u8::try_from((*digits).clamp(0, 6)).unwrap_or(0),
        _ => 0,
    }
}

fn now<'e>(call: &'e Call, zone: bool, env: &Env<'e>) -> Result<ValueRef<'e>, Error> {
    let moment = env.context.moment(call.ty.fsp(), zone);
    Ok(moment.map_or(ValueRef::Null, ValueRef::DateTime))
}

fn clock<'e>(call: &'e Call, zone: bool, env: &Env<'e>) -> Result<ValueRef<'e>, Error> {
    let moment = env.context.moment(call.ty.fsp(), zone);
    Ok(moment.map_or(ValueRef::Null, |moment| ValueRef::Time(moment.time())))
}

fn today<'e>(zone: bool, env: &Env<'e>) -> ValueRef<'e> {
    env.context.moment(0, zone).map_or(ValueRef::Null, |moment| ValueRef::Date(moment.date()))
}

/// The type of a date or time with a unit added to it.
pub(in crate::expression) fn shifted_type(ty: Type, unit: Unit) -> Type {
    match ty {
        Type::Date if unit.has_time() => Type::DateTime(if unit.has_micros() { 6 } else { 0 }),
        Type::DateTime(_) if unit.has_micros() => Type::DateTime(6),
        Type::Time(_) if unit.has_micros() => Type::Time(6),
        Type::Date | Type::DateTime(_) | Type::Time(_) | Type::Unknown => ty,
        _ => Type::Text,
    }
}

/// A date stays one unless the unit has a time; text stays text.
fn shift<'e>(call: &'e Call, back: bool, env: &Env<'e>) -> Result<ValueRef<'e>, Error> {
    let value = call.arguments[0].eval(env)?;
    let amount = call.arguments[1].eval(env)?;
    let Some(unit) = call.unit else { return Ok(ValueRef::Null) };
    let Some(span) = Span::read(&amount, unit, env.context)? else { return Ok(ValueRef::Null) };
    let span = if back { span.negated() } else { span };
    if let ValueRef::Time(time) = &value {
        let micros = i64::try_from(span.micros).ok().and_then(|by| time.micros().checked_add(by));
        let shifted = micros.filter(|_| span.months == 0).and_then(Time::from_micros);
        return Ok(shifted.map_or(ValueRef::Null, ValueRef::Time));
    }
    let Some(moment) = moment_of(&value, env.context)? else { return Ok(ValueRef::Null) };
    let Some(shifted) = span.after(moment) else {
        env.context.warn(1441, "Datetime function: datetime field overflow".into());
        return Ok(ValueRef::Null);
    };
    let only_date = match &value {
        ValueRef::Date(_) => true,
        ValueRef::DateTime(_) => false,
        other => !text_of(other.clone()).trim().contains([' ', 'T', ':']) && is_day(moment),
    };
    let stays_date = only_date && !unit.has_time();
    let shifted =
        if stays_date { ValueRef::Date(shifted.date()) } else { ValueRef::DateTime(shifted) };
    let temporal = matches!(value, ValueRef::Date(_) | ValueRef::DateTime(_));
    Ok(if temporal { shifted } else { ValueRef::Text(text_of(shifted)) })
}

fn is_day(moment: DateTime) -> bool {
    moment.micros().rem_euclid(DAY) == 0
}

fn timestamp_difference<'e>(call: &'e Call, env: &Env<'e>) -> Result<ValueRef<'e>, Error> {
    let from = moment_of(&call.arguments[0].eval(env)?, env.context)?;
    let to = moment_of(&call.arguments[1].eval(env)?, env.context)?;
    let unit = call.unit.unwrap_or(Unit::Microsecond);
    let count = from.zip(to).map(|(from, to)| difference(unit, from, to));
    Ok(count.map_or(ValueRef::Null, ValueRef::Int))
}

fn unix_type(arguments: &[Expression]) -> Type {
    match arguments.first().map_or(0, fraction_of) {
        0 => Type::Int,
        fsp => Type::decimal(12, u32::from(fsp)),
    }
}

/// Seconds since 1970; 0 before.
fn unix_timestamp<'e>(call: &'e Call, env: &Env<'e>) -> Result<ValueRef<'e>, Error> {
    let Some(argument) = call.arguments.first() else {
        return Ok(ValueRef::Int(env.context.now.div_euclid(SECOND)));
    };
    let value = argument.eval(env)?;
    let Some(moment) = moment_of(&value, env.context)? else { return Ok(ValueRef::Null) };
    let micros = env.context.to_utc(moment).map_or(0, DateTime::micros).max(0);
    Ok(match call.ty {
        Type::Decimal { scale, .. } => Decimal::new(i128::from(micros), 6)
            .and_then(|seconds| seconds.rescaled(scale))
            .map_or(ValueRef::Null, ValueRef::Decimal),
        _ => ValueRef::Int(micros / SECOND),
    })
}

fn from_unixtime<'e>(all: &[ValueRef<'e>], env: &Env<'e>) -> Result<ValueRef<'e>, Error> {
    let Some(micros) = micros_of(&all[0], env)?.filter(|micros| *micros >= 0) else {
        return Ok(ValueRef::Null);
    };
    let utc = i64::try_from(micros).ok().and_then(DateTime::from_micros);
    let Some(moment) = utc.and_then(|moment| env.context.from_utc(moment)) else {
        return Ok(ValueRef::Null);
    };
    Ok(match all.get(1) {
        Some(format) => super::text(Shown::of(moment).fill(&read(format))),
        None => ValueRef::DateTime(moment),
    })
}

/// A number of seconds in microseconds.
fn micros_of(value: &ValueRef<'_>, env: &Env<'_>) -> Result<Option<i128>, Error> {
    let exact = match number_of(value, env.context)? {
        Some(Number::Double(number)) => Decimal::from_f64(number),
        Some(number) => number.to_decimal(),
        None => None,
    };
    Ok(exact.and_then(|number| number.rescaled(6)).map(Decimal::unscaled))
}

fn scanned_type(arguments: &[Expression]) -> Type {
    let (kind, fsp) = match arguments[1].constant() {
        Some(Value::Text(format)) => kind(format),
        _ => (Kind::DateTime, 6),
    };
    match kind {
        Kind::Date => Type::Date,
        Kind::Time => Type::Time(fsp),
        Kind::DateTime => Type::DateTime(fsp),
    }
}

fn str_to_date<'e>(call: &'e Call, env: &Env<'e>) -> Result<ValueRef<'e>, Error> {
    let value = call.arguments[0].eval(env)?;
    let format = call.arguments[1].eval(env)?;
    if value.is_null() || format.is_null() {
        return Ok(ValueRef::Null);
    }
    let whole = read(&value);
    match scan(&whole, &read(&format)) {
        Some((read, left)) => {
            if left {
                let value = excerpt(&whole);
                env.context.complain(Error::Truncated { ty: "datetime", value })?;
            }
            Ok(read)
        }
        None => {
            let text =
                format!("Incorrect datetime value: '{}' for function str_to_date", excerpt(&whole));
            env.context.warn(1411, text);
            Ok(ValueRef::Null)
        }
    }
}

fn last_day<'e>(all: &[ValueRef<'e>], env: &Env<'e>) -> Result<ValueRef<'e>, Error> {
    let Some(date) = date_of(&all[0], env.context)? else { return Ok(ValueRef::Null) };
    let (year, month, _) = date.civil();
    let last = (28..=31).rev().find_map(|day| Date::from_civil(year, month, day));
    Ok(last.map_or(ValueRef::Null, ValueRef::Date))
}

fn make_date<'e>(all: &[ValueRef<'e>], env: &Env<'e>) -> Result<ValueRef<'e>, Error> {
    let year = integer_of(&all[0], env.context)?.unwrap_or(-1);
    let day = integer_of(&all[1], env.context)?.unwrap_or(0);
    let year = match year {
        0..=69 => year + 2000,
        70..=99 => year + 1900,
        _ => year,
    };
    let first = u32::try_from(year).ok().and_then(|year| Date::from_civil(year, 1, 1));
    let day = i32::try_from(day).ok().filter(|day| *day > 0);
    let date = first
        .zip(day)
        .and_then(|(first, day)| first.days().checked_add(day - 1))
        .and_then(Date::from_days);
    Ok(date.map_or(ValueRef::Null, ValueRef::Date))
}

fn make_time<'e>(all: &[ValueRef<'e>], env: &Env<'e>) -> Result<ValueRef<'e>, Error> {
    let hours = integer_of(&all[0], env.context)?.unwrap_or(0).clamp(-839, 839);
    let minutes = integer_of(&all[1], env.context)?.unwrap_or(60);
    let micros = micros_of(&all[2], env)?.unwrap_or(-1);
    if !(0..60).contains(&minutes) || !(0..60_000_000).contains(&micros) {
        return Ok(ValueRef::Null);
    }
    let size = (hours.abs() * 60 + minutes) * 60_000_000 + micros;
    let size = i64::try_from(size).unwrap_or(i64::MAX).min(Time::MAX.micros());
    let time = Time::from_micros(if hours < 0 { -size } else { size });
    Ok(time.map_or(ValueRef::Null, ValueRef::Time))
}

fn sec_to_time<'e>(all: &[ValueRef<'e>], env: &Env<'e>) -> Result<ValueRef<'e>, Error> {
    let most = i128::from(Time::MAX.micros());
    let micros = micros_of(&all[0], env)?.unwrap_or(0).clamp(-most, most);
    let time = i64::try_from(micros).ok().and_then(Time::from_micros);
    Ok(time.map_or(ValueRef::Null, ValueRef::Time))
}

fn from_days<'e>(all: &[ValueRef<'e>], env: &Env<'e>) -> Result<ValueRef<'e>, Error> {
    let days = integer_of(&all[0], env.context)?.unwrap_or(0);
    let days = days.saturating_sub(i128::from(to_days_of_1970()));
    let date = i32::try_from(days).ok().and_then(Date::from_days);
    Ok(date.map_or(ValueRef::Null, ValueRef::Date))
}

fn to_days_of_1970() -> i64 {
    Date::from_days(0).map_or(0, to_days)
}

/// Of two moments or two times.
fn time_difference<'e>(all: &[ValueRef<'e>], env: &Env<'e>) -> Result<ValueRef<'e>, Error> {
    let dated = |value: &ValueRef<'_>| match value {
        ValueRef::Date(date) => Some(date.midnight()),
        ValueRef::DateTime(moment) => Some(*moment),
        ValueRef::Text(text) if text.contains('-') => quiet_moment(text),
        _ => None,
    };
    let micros = match (dated(&all[0]), dated(&all[1])) {
        (Some(one), Some(other)) => one.micros() - other.micros(),
        (None, None) => {
            let (one, other) = (time_of(&all[0], env.context)?, time_of(&all[1], env.context)?);
            let Some((one, other)) = one.zip(other) else { return Ok(ValueRef::Null) };
            one.micros() - other.micros()
        }
        _ => return Ok(ValueRef::Null),
    };
    let most = Time::MAX.micros();
    Ok(Time::from_micros(micros.clamp(-most, most)).map_or(ValueRef::Null, ValueRef::Time))
}

fn timestamp<'e>(all: &[ValueRef<'e>], env: &Env<'e>) -> Result<ValueRef<'e>, Error> {
    let Some(moment) = moment_of(&all[0], env.context)? else { return Ok(ValueRef::Null) };
    let added = match all.get(1) {
        None => Some(moment),
        Some(time) => time_of(time, env.context)?
            .and_then(|time| DateTime::from_micros(moment.micros() + time.micros())),
    };
    Ok(added.map_or(ValueRef::Null, ValueRef::DateTime))
}
