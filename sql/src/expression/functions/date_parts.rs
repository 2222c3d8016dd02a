//! Functions that take a date or time apart.

use resprout_engine::table::{Date, DateTime, Time, ValueRef};

use super::{Call, Function, read, text};
use crate::expression::error::Error;
use crate::expression::node::{Env, Expression};
use crate::expression::number::integer_of;
use crate::expression::temporal::convert::{date_of, moment_of, time_of};
use crate::expression::temporal::format::{Shown, day_name, month_name};
use crate::expression::temporal::week::{day_of_year, week, weekday};
use crate::expression::temporal::{HOUR, MINUTE, SECOND};
use crate::expression::ty::Type;

/// A function of a day.
macro_rules! of_date {
    ($name:literal, $body:expr) => {
        Function::strict($name, (1, 1), Type::Int, |all, env| {
            let body: fn(Date) -> i64 = $body;
            let date = date_of(&all[0], env.context)?;
            Ok(date.map_or(ValueRef::Null, |date| ValueRef::Int(body(date))))
        })
    };
}

/// A function of the size of a time.
macro_rules! of_time {
    ($name:literal, $body:expr) => {
        Function::strict($name, (1, 1), Type::Int, |all, env| {
            let body: fn(i64) -> i64 = $body;
            let time = time_of(&all[0], env.context)?;
            Ok(time.map_or(ValueRef::Null, |time| ValueRef::Int(body(time.micros().abs()))))
        })
    };
}

pub(super) const FUNCTIONS: &[Function] = &[
    of_date!("year", |date| i64::from(date.civil().0)),
    of_date!("quarter", |date| i64::from(date.civil().1.div_ceil(3))),
    of_date!("month", |date| i64::from(date.civil().1)),
    of_date!("day", |date| i64::from(date.civil().2)),
    of_date!("dayofweek", |date| i64::from((weekday(date) + 1) % 7 + 1)),
    of_date!("weekday", |date| i64::from(weekday(date))),
    of_date!("dayofyear", |date| i64::from(day_of_year(date))),
    of_date!("weekofyear", |date| i64::from(week(date, 3).1)),
    of_date!("to_days", to_days),
    of_time!("hour", |micros| micros / HOUR),
    of_time!("minute", |micros| micros / MINUTE % 60),
    of_time!("second", |micros| micros / SECOND % 60),
    of_time!("microsecond", |micros| micros % SECOND),
    Function::strict("time_to_sec", (1, 1), Type::Int, |all, env| {
        let time = time_of(&all[0], env.context)?;
        Ok(time.map_or(ValueRef::Null, |time| ValueRef::Int(time.micros() / SECOND)))
    }),
    Function::strict("week", (1, 2), Type::Int, |all, env| {
        Ok(week_of(all, env)?.map_or(ValueRef::Null, |(_, week)| ValueRef::Int(i64::from(week))))
    }),
    Function::strict("yearweek", (1, 2), Type::Int, year_week),
    Function::strict("dayname", (1, 1), Type::Text, |all, env| {
        let date = date_of(&all[0], env.context)?;
        Ok(date.map_or(ValueRef::Null, |date| text(day_name(weekday(date)).into())))
    }),
    Function::strict("monthname", (1, 1), Type::Text, |all, env| {
        let date = date_of(&all[0], env.context)?;
        Ok(date.map_or(ValueRef::Null, |date| text(month_name(date.civil().1).into())))
    }),
    Function::strict("date_format", (2, 2), Type::Text, date_format),
    Function::strict("time_format", (2, 2), Type::Text, time_format),
    Function::lazy("extract", (1, 1), Type::Int, extract),
    Function::strict("date", (1, 1), Type::Date, |all, env| {
        Ok(date_of(&all[0], env.context)?.map_or(ValueRef::Null, ValueRef::Date))
    }),
    Function::strict("time", (1, 1), Type::Time(0), |all, env| {
        Ok(time_of(&all[0], env.context)?.map_or(ValueRef::Null, ValueRef::Time))
    })
    .returning(|all| Type::Time(fraction_of(&all[0]))),
];

/// Digits of a fraction that the time of an argument may have.
pub(super) fn fraction_of(argument: &Expression) -> u8 {
    use resprout_engine::table::Value;
    match (argument.constant(), argument.ty) {
        (Some(Value::Text(text)), _) => crate::expression::temporal::convert::fraction_digits(text),
        (_, Type::Decimal { scale, .. }) => scale.min(6),
        (_, Type::Text | Type::Bytes | Type::Double | Type::Float | Type::Unknown) => 6,
        (_, ty) => ty.fsp(),
    }
}

/// Days since the year 0, as MySQL counts them.
pub(super) fn to_days(date: Date) -> i64 {
    const TO_1970: i64 = 719_528;
    i64::from(date.days()) + TO_1970
}

fn week_of(all: &[ValueRef<'_>], env: &Env<'_>) -> Result<Option<(u32, i32)>, Error> {
    let mode = match all.get(1) {
        Some(mode) => integer_of(mode, env.context)?.unwrap_or(0),
        None => 0,
    };
    let mode = u8::try_from(mode.rem_euclid(8)).unwrap_or(0);
    Ok(date_of(&all[0], env.context)?.map(|date| week(date, mode)))
}

/// The week with its year, which then is that of most of its days.
fn year_week<'e>(all: &[ValueRef<'e>], env: &Env<'e>) -> Result<ValueRef<'e>, Error> {
    let mode = match all.get(1) {
        Some(mode) => integer_of(mode, env.context)?.unwrap_or(0),
        None => 0,
    };
    let mode = u8::try_from(mode.rem_euclid(8)).unwrap_or(0) | 2;
    let date = date_of(&all[0], env.context)?;
    Ok(date.map_or(ValueRef::Null, |date| {
        let (year, week) = week(date, mode);
        ValueRef::Int(i64::from(year) * 100 + i64::from(week))
    }))
}

fn date_format<'e>(all: &[ValueRef<'e>], env: &Env<'e>) -> Result<ValueRef<'e>, Error> {
    let moment = moment_of(&all[0], env.context)?;
    Ok(moment.map_or(ValueRef::Null, |moment| text(Shown::of(moment).fill(&read(&all[1])))))
}

fn time_format<'e>(all: &[ValueRef<'e>], env: &Env<'e>) -> Result<ValueRef<'e>, Error> {
    let Some(time) = time_of(&all[0], env.context)? else { return Ok(ValueRef::Null) };
    let moment = Date::MIN.midnight();
    let filled = Shown { moment, clock: time.micros().abs() }.fill(&read(&all[1]));
    Ok(text(if time.micros() < 0 { format!("-{filled}") } else { filled }))
}

fn extract<'e>(call: &'e Call, env: &Env<'e>) -> Result<ValueRef<'e>, Error> {
    let value = call.arguments[0].eval(env)?;
    let Some(unit) = call.unit else { return Ok(ValueRef::Null) };
    if value.is_null() {
        return Ok(value);
    }
    let timed = unit.has_time() && !matches!(value, ValueRef::Date(_) | ValueRef::DateTime(_));
    let number = if timed {
        // Text without a date is a time: its days are those of its hours.
        let moment = match &value {
            ValueRef::Text(text) if text.trim_start_matches(['-', ' ']).contains('-') => {
                crate::expression::temporal::convert::quiet_moment(text)
            }
            _ => None,
        };
        match moment {
            Some(moment) => Some(unit.extract(moment, moment.time())),
            None => time_of(&value, env.context)?.map(|time| unit.extract(days_of(time), time)),
        }
    } else {
        moment_of(&value, env.context)?.map(|moment| unit.extract(moment, moment.time()))
    };
    Ok(number.map_or(ValueRef::Null, ValueRef::Int))
}

/// A moment whose date is of no interest.
fn days_of(_time: Time) -> DateTime {
    Date::MIN.midnight()
}
