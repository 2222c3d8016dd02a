//! `INTERVAL value unit`: reading it and adding it to a moment.

use resprout_engine::table::{Date, DateTime, Time, ValueRef};
use sqlparser::ast::DateTimeField;

use super::super::context::Context;
use super::super::error::Error;
use super::super::number::{Number, integer_of, number_of, text_of};
use super::{DAY, HOUR, MINUTE, SECOND};

/// The unit of an interval; those of two words take text such as `'1:30'`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Unit {
    Microsecond,
    Second,
    Minute,
    Hour,
    Day,
    Week,
    Month,
    Quarter,
    Year,
    YearMonth,
    /// From the first of these to the second: positions in [`PARTS`].
    Span(u8, u8),
}

/// Microseconds of the parts of a composed interval, from days to microseconds.
const PARTS: [i64; 5] = [DAY, HOUR, MINUTE, SECOND, 1];

const UNITS: &[(&str, Unit)] = &[
    ("MICROSECOND", Unit::Microsecond),
    ("SECOND", Unit::Second),
    ("MINUTE", Unit::Minute),
    ("HOUR", Unit::Hour),
    ("DAY", Unit::Day),
    ("WEEK", Unit::Week),
    ("MONTH", Unit::Month),
    ("QUARTER", Unit::Quarter),
    ("YEAR", Unit::Year),
    ("YEAR_MONTH", Unit::YearMonth),
    ("DAY_HOUR", Unit::Span(0, 1)),
    ("DAY_MINUTE", Unit::Span(0, 2)),
    ("DAY_SECOND", Unit::Span(0, 3)),
    ("DAY_MICROSECOND", Unit::Span(0, 4)),
    ("HOUR_MINUTE", Unit::Span(1, 2)),
    ("HOUR_SECOND", Unit::Span(1, 3)),
    ("HOUR_MICROSECOND", Unit::Span(1, 4)),
    ("MINUTE_SECOND", Unit::Span(2, 3)),
    ("MINUTE_MICROSECOND", Unit::Span(2, 4)),
    ("SECOND_MICROSECOND", Unit::Span(3, 4)),
];

impl Unit {
    /// The unit of a word, with or without `SQL_TSI_` before it.
    pub(in super::super) fn named(word: &str) -> Option<Self> {
        let upper = word.to_ascii_uppercase();
        let name = upper.strip_prefix("SQL_TSI_").unwrap_or(&upper);
        UNITS.iter().find(|(known, _)| *known == name).map(|(_, unit)| *unit)
    }

    pub(in super::super) fn of_field(field: &DateTimeField) -> Option<Self> {
        Self::named(&field.to_string())
    }

    /// Whether adding it changes the time of day, so that a date becomes a moment.
    pub(in super::super) const fn has_time(self) -> bool {
        matches!(
            self,
            Self::Microsecond | Self::Second | Self::Minute | Self::Hour | Self::Span(..)
        )
    }

    /// Whether it may have microseconds.
    pub(in super::super) const fn has_micros(self) -> bool {
        matches!(self, Self::Microsecond | Self::Span(_, 4))
    }

    /// The parts of a moment that `EXTRACT` reads: the number is put together from them.
    pub(in super::super) fn extract(self, moment: DateTime, time: Time) -> i64 {
        let (year, month, day) = moment.date().civil();
        let negative = time.micros() < 0;
        let micros = time.micros().abs();
        let parts = [
            i64::from(day),
            micros / HOUR,
            micros / MINUTE % 60,
            micros / SECOND % 60,
            micros % SECOND,
        ];
        let size = match self {
            Self::Microsecond => parts[4],
            Self::Second => parts[3],
            Self::Minute => parts[2],
            Self::Hour => parts[1],
            Self::Day => return parts[0],
            Self::Week => return i64::from(super::week::week(moment.date(), 0).1),
            Self::Month => return i64::from(month),
            Self::Quarter => return i64::from(month.div_ceil(3)),
            Self::Year => return i64::from(year),
            Self::YearMonth => return i64::from(year) * 100 + i64::from(month),
            Self::Span(first, last) => {
                let range = usize::from(first)..=usize::from(last);
                range.fold(0, |number, part| {
                    number * if part == 4 { SECOND } else { 100 } + parts[part]
                })
            }
        };
        if negative { -size } else { size }
    }
}

/// A span of time: months, which have no fixed length, and microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct Span {
    pub(in super::super) months: i64,
    pub(in super::super) micros: i128,
}

impl Span {
    /// Reads `value` as so many of a unit; `None` for NULL.
    pub(in super::super) fn read(
        value: &ValueRef<'_>,
        unit: Unit,
        context: &Context<'_>,
    ) -> Result<Option<Self>, Error> {
        if value.is_null() {
            return Ok(None);
        }
        let months = |number: i128, by: i64| Self {
            months: i64::try_from(number).unwrap_or(i64::MAX).saturating_mul(by),
            micros: 0,
        };
        let micros = |number: i128, by: i64| Self {
            months: 0,
            micros: number.saturating_mul(i128::from(by)),
        };
        let whole = || integer_of(value, context).map(Option::unwrap_or_default);
        Ok(Some(match unit {
            Unit::Microsecond => micros(whole()?, 1),
            Unit::Second => micros(second_micros(value, context)?, 1),
            Unit::Minute => micros(whole()?, MINUTE),
            Unit::Hour => micros(whole()?, HOUR),
            Unit::Day => micros(whole()?, DAY),
            Unit::Week => micros(whole()?, 7 * DAY),
            Unit::Month => months(whole()?, 1),
            Unit::Quarter => months(whole()?, 3),
            Unit::Year => months(whole()?, 12),
            Unit::YearMonth => {
                let (negative, parts) = numbers(&text_of(value.clone()), 2);
                let size = i128::from(parts[3]) * 12 + i128::from(parts[4]);
                months(if negative { -size } else { size }, 1)
            }
            Unit::Span(first, last) => composed(&text_of(value.clone()), first, last),
        }))
    }

    pub(in super::super) fn negated(self) -> Self {
        Self { months: self.months.saturating_neg(), micros: self.micros.saturating_neg() }
    }

    /// The moment that much later; `None` outside of years 0 to 9999.
    pub(in super::super) fn after(self, moment: DateTime) -> Option<DateTime> {
        let shifted = if self.months == 0 { moment } else { add_months(moment, self.months)? };
        let micros = i128::from(shifted.micros()).checked_add(self.micros)?;
        DateTime::from_micros(i64::try_from(micros).ok()?)
    }
}

fn second_micros(value: &ValueRef<'_>, context: &Context<'_>) -> Result<i128, Error> {
    let number = number_of(value, context)?.unwrap_or(Number::Int(0));
    let exact = match number {
        Number::Double(number) => resprout_engine::table::Decimal::from_f64(number),
        other => other.to_decimal(),
    };
    Ok(exact.and_then(|number| number.rescaled(6)).map_or(i128::MAX, |number| number.unscaled()))
}

/// The same day so many months later, or the last day of that month.
fn add_months(moment: DateTime, months: i64) -> Option<DateTime> {
    let (year, month, day) = moment.date().civil();
    let total = (i64::from(year) * 12 + i64::from(month) - 1).checked_add(months)?;
    let (year, month) = (u32::try_from(total.div_euclid(12)).ok()?, total.rem_euclid(12));
    let month = u32::try_from(month).ok()? + 1;
    let date = (1..=day).rev().find_map(|day| Date::from_civil(year, month, day))?;
    DateTime::from_micros(date.midnight().micros() + moment.time().micros())
}

/// The last `count` numbers in a text at the end of five places, and whether it has a sign.
fn numbers(text: &str, count: usize) -> (bool, [i64; 5]) {
    let (parts, given) = split(text, count);
    let mut placed = [0; 5];
    for (index, part) in parts.iter().take(given).enumerate() {
        placed[5 - given + index] = *part;
    }
    (text.trim_start().starts_with('-'), placed)
}

/// Up to `count` numbers of a text.
fn split(text: &str, count: usize) -> ([i64; 5], usize) {
    let mut parts = [0_i64; 5];
    let found = text
        .split(|character: char| !character.is_ascii_digit())
        .filter(|part| !part.is_empty())
        .take(count.min(5));
    let mut given = 0;
    for (place, part) in parts.iter_mut().zip(found) {
        *place = part.parse().unwrap_or(i64::MAX);
        given += 1;
    }
    (parts, given)
}

/// Text such as `'1 10:30'` as the parts from one unit to another. Fewer parts than units are the
/// last ones.
fn composed(text: &str, first: u8, last: u8) -> Span {
    let (first, last) = (usize::from(first), usize::from(last));
    let count = last - first + 1;
    let (mut parts, given) = split(text, count);
    if last == 4 && given > 0 {
        // The microseconds are a fraction: `1.5` is half a second.
        let digits = text.rsplit(|mark: char| !mark.is_ascii_digit()).next().map_or(0, str::len);
        let missing = u32::try_from(6_usize.saturating_sub(digits)).unwrap_or(0);
        parts[given - 1] = parts[given - 1].saturating_mul(10_i64.pow(missing));
    }
    let mut micros = 0_i128;
    for (index, part) in parts.iter().take(given).enumerate() {
        let unit = PARTS[last + 1 - given + index];
        micros = micros.saturating_add(i128::from(*part).saturating_mul(i128::from(unit)));
    }
    let negative = text.trim_start().starts_with('-');
    Span { months: 0, micros: if negative { -micros } else { micros } }
}

/// Whole units from one moment to another, as `TIMESTAMPDIFF` counts them.
pub(in super::super) fn difference(unit: Unit, from: DateTime, to: DateTime) -> i64 {
    let micros = to.micros() - from.micros();
    let months = || {
        let of = |moment: DateTime| {
            let (year, month, day) = moment.date().civil();
            let rest = i64::from(day) * DAY + moment.time().micros();
            (i64::from(year) * 12 + i64::from(month), rest)
        };
        let (start, end) = if micros < 0 { (of(to), of(from)) } else { (of(from), of(to)) };
        let months = end.0 - start.0 - i64::from(end.1 < start.1);
        if micros < 0 { -months } else { months }
    };
    match unit {
        Unit::Microsecond | Unit::Span(..) | Unit::YearMonth => micros,
        Unit::Second => micros / SECOND,
        Unit::Minute => micros / MINUTE,
        Unit::Hour => micros / HOUR,
        Unit::Day => micros / DAY,
        Unit::Week => micros / (7 * DAY),
        Unit::Month => months(),
        Unit::Quarter => months() / 3,
        Unit::Year => months() / 12,
    }
}
