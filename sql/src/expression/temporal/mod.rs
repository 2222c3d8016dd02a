//! Dates and times: MySQL's lenient reading of them, intervals, formats. Dates with a zero for
//! the month or the day, which MySQL has, do not exist here and read as incorrect.

pub(super) mod convert;
pub(super) mod format;
pub(super) mod interval;
mod parse;
pub(super) mod scan;
pub(super) mod week;

/// Microseconds of a second.
pub(super) const SECOND: i64 = 1_000_000;
/// Microseconds of a minute.
pub(super) const MINUTE: i64 = 60 * SECOND;
/// Microseconds of an hour.
pub(super) const HOUR: i64 = 60 * MINUTE;
/// Microseconds of a day.
pub(super) const DAY: i64 = 24 * HOUR;
