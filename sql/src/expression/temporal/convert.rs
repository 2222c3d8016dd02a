//! Values as dates, times and moments. What cannot be one is NULL with a warning, or an error in
//! strict mode.

use resprout_engine::table::{Date, DateTime, Time, ValueRef};

use super::super::context::Context;
use super::super::error::{Error, excerpt};
use super::super::number::{Number, number_of, text_of};
use super::parse::{self, Read};

/// The value as a moment; a time is one of today.
pub(in super::super) fn moment_of(
    value: &ValueRef<'_>,
    context: &Context<'_>,
) -> Result<Option<DateTime>, Error> {
    let read = match value {
        ValueRef::Null => return Ok(None),
        ValueRef::DateTime(moment) => return Ok(Some(*moment)),
        ValueRef::Date(date) => return Ok(Some(date.midnight())),
        ValueRef::Time(time) => return Ok(today_at(*time, context)),
        ValueRef::Text(text) => parse::date_time(text),
        ValueRef::Bytes(_) => parse::date_time(&text_of(value.clone())),
        _ => {
            let (number, micros) = whole_and_micros(value, context)?;
            parse::date_time_of_number(number, micros).map(|moment| (moment, false))
        }
    };
    accept(read, "datetime", value, context)
}

/// A time of today: how MySQL makes a moment of a time.
fn today_at(time: Time, context: &Context<'_>) -> Option<DateTime> {
    let today = context.moment(0, true)?.date().midnight();
    DateTime::from_micros(today.micros() + time.micros())
}

/// The value as a day.
pub(in super::super) fn date_of(
    value: &ValueRef<'_>,
    context: &Context<'_>,
) -> Result<Option<Date>, Error> {
    match value {
        ValueRef::Date(date) => Ok(Some(*date)),
        _ => Ok(moment_of(value, context)?.map(DateTime::date)),
    }
}

/// The value as a time.
pub(in super::super) fn time_of(
    value: &ValueRef<'_>,
    context: &Context<'_>,
) -> Result<Option<Time>, Error> {
    let read = match value {
        ValueRef::Null => return Ok(None),
        ValueRef::Time(time) => return Ok(Some(*time)),
        ValueRef::DateTime(moment) => return Ok(Some(moment.time())),
        ValueRef::Date(_) => return Ok(Time::from_micros(0)),
        ValueRef::Text(text) => parse::time(text),
        ValueRef::Bytes(_) => parse::time(&text_of(value.clone())),
        _ => {
            let (number, micros) = whole_and_micros(value, context)?;
            parse::time_of_number(number, micros)
        }
    };
    accept(read, "time", value, context)
}

/// A number's whole part and the microseconds of its fraction.
fn whole_and_micros(value: &ValueRef<'_>, context: &Context<'_>) -> Result<(i128, i64), Error> {
    let Some(number) = number_of(value, context)? else { return Ok((0, 0)) };
    let number = match number {
        Number::Double(number) => resprout_engine::table::Decimal::from_f64(number),
        other => other.to_decimal(),
    };
    let Some(micros) = number.and_then(|number| number.rescaled(6)) else { return Ok((-1, 0)) };
    let fraction = i64::try_from(micros.unscaled() % 1_000_000).unwrap_or(0);
    Ok((micros.unscaled() / 1_000_000, fraction.abs()))
}

fn accept<T>(
    read: Read<T>,
    ty: &'static str,
    value: &ValueRef<'_>,
    context: &Context<'_>,
) -> Result<Option<T>, Error> {
    match read {
        Some((read, false)) => Ok(Some(read)),
        Some((read, true)) => {
            context.complain(Error::Truncated { ty, value: excerpt(value) })?;
            Ok(Some(read))
        }
        None => {
            let value = excerpt(value);
            context.complain(Error::Incorrect { ty, value, literal: false })?;
            Ok(None)
        }
    }
}

/// The moment of text in a comparison, in silence: `None` if it is none.
pub(in super::super) fn quiet_moment(text: &str) -> Option<DateTime> {
    parse::date_time(text).filter(|(_, left)| !left).map(|(moment, _)| moment)
}

/// The time of text in a comparison, in silence: `None` if it is none.
pub(in super::super) fn quiet_time(text: &str) -> Option<Time> {
    parse::time(text).filter(|(_, left)| !left).map(|(time, _)| time)
}

/// Digits of the fraction of a second that text shows, for the type of a literal.
pub(in super::super) fn fraction_digits(text: &str) -> u8 {
    let digits = text.rsplit_once('.').map_or(0, |(_, fraction)| fraction.trim_end().len());
    u8::try_from(digits.min(6)).unwrap_or(6)
}

/// A literal such as `DATE '2024-02-29'`.
pub(in super::super) fn literal<T>(
    ty: &'static str,
    text: &str,
    read: impl Fn(&str) -> Option<T>,
) -> Result<T, Error> {
    let wrong = || Error::Incorrect { ty, value: excerpt(&text), literal: true };
    read(text).ok_or_else(wrong)
}

/// The day of a literal: text with a time of day is none.
pub(in super::super) fn quiet_date(text: &str) -> Option<Date> {
    let moment = quiet_moment(text)?;
    (moment.time().micros() == 0).then(|| moment.date())
}
