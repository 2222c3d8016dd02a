//! Dates and times as MySQL has them: proleptic Gregorian, years 0 to 9999, microseconds, no
//! time zone. A timestamp is a [`DateTime`] in UTC; turning it to a session's zone is the front
//! door's business.
//!
//! ```text
//! Date      days since 1970-01-01          0000-01-01            ..= 9999-12-31
//! Time      microseconds, signed           -838:59:59.000000     ..= 838:59:59.000000
//! DateTime  microseconds since 1970-01-01  0000-01-01 00:00:00   ..= 9999-12-31 23:59:59.999999
//! ```

use std::fmt;

const SECOND: i64 = 1_000_000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

/// Most digits of a fraction of a second.
pub const FSP_MAX: u8 = 6;

/// A day.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    rkyv::Archive,
    rkyv::Serialize,
    rkyv::Deserialize,
)]
pub struct Date(i32);

/// A time of day or a span of time, up to 839 hours either way.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    rkyv::Archive,
    rkyv::Serialize,
    rkyv::Deserialize,
)]
pub struct Time(i64);

/// A day and a time of that day.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    rkyv::Archive,
    rkyv::Serialize,
    rkyv::Deserialize,
)]
pub struct DateTime(i64);

/// Days from 1970-01-01 to the given day. Years are counted from March, so that the leap day is
/// the last of a year and the lengths of months follow one formula.
const fn days_from_civil(year: i32, month: u32, day: u32) -> i32 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let month_from_march = (month + 9) % 12;
    let day_of_year = ((153 * month_from_march + 2) / 5 + day - 1).cast_signed();
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

const fn is_leap(year: i32) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

const fn days_in_month(year: i32, month: u32) -> u32 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

impl Date {
    /// The first day that can be held.
    pub const MIN: Self = Self(days_from_civil(0, 1, 1));
    /// The last day that can be held.
    pub const MAX: Self = Self(days_from_civil(9999, 12, 31));

    /// The day `days` after 1970-01-01; `None` outside of years 0 to 9999.
    #[must_use]
    pub fn from_days(days: i32) -> Option<Self> {
        (Self::MIN.0..=Self::MAX.0).contains(&days).then_some(Self(days))
    }

    /// A day of the calendar; `None` if there is no such day.
    #[must_use]
    pub fn from_civil(year: u32, month: u32, day: u32) -> Option<Self> {
        let year = i32::try_from(year).ok().filter(|year| *year <= 9999)?;
        let exists = (1..=12).contains(&month) && day >= 1 && day <= days_in_month(year, month);
        exists.then(|| Self(days_from_civil(year, month, day)))
    }

    /// Days since 1970-01-01.
    #[must_use]
    pub const fn days(self) -> i32 {
        self.0
    }

    /// Year, month and day.
    #[must_use]
    pub fn civil(self) -> (u32, u32, u32) {
        let days = self.0 + 719_468;
        let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
        let year_of_era =
            (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
        let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
        let year = year_of_era + era * 400 + i32::from(month <= 2);
        (year.cast_unsigned(), month.cast_unsigned(), day.cast_unsigned())
    }

    /// Reads `2024-02-29`, `2024/2/29`, `2024.02.29` or `20240229`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() == 8 && text.bytes().all(|byte| byte.is_ascii_digit()) {
            let (year, rest) = text.split_at(4);
            let (month, day) = rest.split_at(2);
            return Self::from_civil(digits(year, 4)?, digits(month, 2)?, digits(day, 2)?);
        }
        let mut parts = text.split(['-', '/', '.']);
        let (year, month, day) = (parts.next()?, parts.next()?, parts.next()?);
        if parts.next().is_some() || year.len() != 4 {
            return None;
        }
        Self::from_civil(digits(year, 4)?, digits(month, 2)?, digits(day, 2)?)
    }

    /// Midnight at the start of the day.
    #[must_use]
    pub fn midnight(self) -> DateTime {
        DateTime(i64::from(self.0) * DAY)
    }
}

/// A number of one to `most` digits.
fn digits(text: &str, most: usize) -> Option<u32> {
    let plain = (1..=most).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| text.parse().ok()).flatten()
}

/// Microseconds of `h:mm[:ss[.ffffff]]` with at most `hour_digits` digits of hours. Digits of a
/// fraction beyond the sixth are rounded.
fn clock_micros(text: &str, hour_digits: usize) -> Option<i64> {
    let (text, fraction) = text.split_once('.').unwrap_or((text, ""));
    let mut parts = text.split(':');
    let hours = digits(parts.next()?, hour_digits)?;
    let minutes = digits(parts.next()?, 2).filter(|minutes| *minutes < 60)?;
    let seconds = match parts.next() {
        Some(seconds) => digits(seconds, 2).filter(|seconds| *seconds < 60)?,
        None if fraction.is_empty() => 0,
        None => return None,
    };
    if parts.next().is_some() {
        return None;
    }
    let whole = i64::from(hours) * HOUR + i64::from(minutes) * MINUTE + i64::from(seconds) * SECOND;
    Some(whole + fraction_micros(fraction)?)
}

fn fraction_micros(fraction: &str) -> Option<i64> {
    let mut micros = 0;
    for (position, digit) in fraction.bytes().enumerate() {
        let digit = digit.is_ascii_digit().then(|| i64::from(digit - b'0'))?;
        match position {
            0..6 => micros += digit * 10_i64.pow(5 - u32::try_from(position).ok()?),
            6 => micros += i64::from(digit >= 5),
            _ => {}
        }
    }
    Some(micros)
}

/// `micros` rounded, half up, to `fsp` digits of a fraction of a second.
fn rounded(micros: i64, fsp: u8) -> i64 {
    let unit = 10_i64.pow(u32::from(FSP_MAX.saturating_sub(fsp)));
    (micros + unit / 2).div_euclid(unit) * unit
}

impl Time {
    /// The longest span.
    pub const MAX: Self = Self(838 * HOUR + 59 * MINUTE + 59 * SECOND);

    /// A span of so many microseconds; `None` beyond 838:59:59 either way.
    #[must_use]
    pub fn from_micros(micros: i64) -> Option<Self> {
        (micros.abs_diff(0) <= Self::MAX.0.abs_diff(0)).then_some(Self(micros))
    }

    /// Microseconds.
    #[must_use]
    pub const fn micros(self) -> i64 {
        self.0
    }

    /// Rounded to `fsp` digits of a fraction of a second, half away from zero.
    #[must_use]
    pub fn rounded(self, fsp: u8) -> Self {
        let size = rounded(self.0.abs(), fsp).min(Self::MAX.0);
        Self(if self.0 < 0 { -size } else { size })
    }

    /// Reads `[-][d ]h:mm[:ss[.ffffff]]`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (negative, text) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (days, text) = match text.split_once(' ') {
            Some((days, rest)) => (i64::from(digits(days, 2)?), rest),
            None => (0, text),
        };
        let size = days * DAY + clock_micros(text, 3)?;
        Self::from_micros(if negative { -size } else { size })
    }

    /// Writes it with exactly `fsp` digits of a fraction.
    pub(crate) fn write(self, f: &mut fmt::Formatter<'_>, fsp: u8) -> fmt::Result {
        f.write_str(if self.0 < 0 { "-" } else { "" })?;
        write_clock(f, self.0.abs(), fsp)
    }
}

fn write_clock(f: &mut fmt::Formatter<'_>, micros: i64, fsp: u8) -> fmt::Result {
    let (hours, minutes, seconds) = (micros / HOUR, micros / MINUTE % 60, micros / SECOND % 60);
    write!(f, "{hours:02}:{minutes:02}:{seconds:02}")?;
    if fsp == 0 {
        return Ok(());
    }
    let unit = 10_i64.pow(u32::from(FSP_MAX.saturating_sub(fsp)));
    write!(f, ".{:0width$}", micros % SECOND / unit, width = usize::from(fsp))
}

/// Digits of a fraction to show where no column says how many: none or all six.
const fn natural_fsp(micros: i64) -> u8 {
    if micros % SECOND == 0 { 0 } else { FSP_MAX }
}

impl DateTime {
    /// The first moment that can be held.
    pub const MIN: Self = Self(Date::MIN.0 as i64 * DAY);
    /// The last moment that can be held.
    pub const MAX: Self = Self((Date::MAX.0 as i64 + 1) * DAY - 1);
    /// The first moment of a TIMESTAMP column, 1970-01-01 00:00:01, as in MySQL.
    pub const TIMESTAMP_MIN: Self = Self(SECOND);
    /// The last moment of a TIMESTAMP column, 2038-01-19 03:14:07.999999, as in MySQL.
    pub const TIMESTAMP_MAX: Self = Self((1 << 31) * SECOND - 1);

    /// So many microseconds after 1970-01-01 00:00:00; `None` outside of years 0 to 9999.
    #[must_use]
    pub fn from_micros(micros: i64) -> Option<Self> {
        (Self::MIN.0..=Self::MAX.0).contains(&micros).then_some(Self(micros))
    }

    /// Microseconds since 1970-01-01 00:00:00.
    #[must_use]
    pub const fn micros(self) -> i64 {
        self.0
    }

    /// The day.
    #[must_use]
    pub fn date(self) -> Date {
        let days = self.0.div_euclid(DAY);
        Date(i32::try_from(days).expect("a moment of years 0 to 9999 has such a day"))
    }

    /// The time of the day.
    #[must_use]
    pub const fn time(self) -> Time {
        Time(self.0.rem_euclid(DAY))
    }

    /// Rounded, half up, to `fsp` digits of a fraction of a second; `None` after year 9999.
    #[must_use]
    pub fn rounded(self, fsp: u8) -> Option<Self> {
        Self::from_micros(rounded(self.0, fsp))
    }

    /// Reads a date, alone or with a time of day after a blank or a `T`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let Some((date, time)) = text.split_once([' ', 'T']) else {
            return Date::parse(text).map(Date::midnight);
        };
        let micros = clock_micros(time, 2).filter(|micros| *micros <= DAY)?;
        let hour = time.split(':').next().and_then(|hour| digits(hour, 2))?;
        // A fraction that rounds up may reach the next day, but 24:00:00 is no time of day.
        (hour < 24).then(|| Self::from_micros(Date::parse(date)?.midnight().0 + micros)).flatten()
    }

    /// Writes it with exactly `fsp` digits of a fraction.
    pub(crate) fn write(self, f: &mut fmt::Formatter<'_>, fsp: u8) -> fmt::Result {
        write!(f, "{} ", self.date())?;
        write_clock(f, self.time().0, fsp)
    }
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = self.civil();
        write!(f, "{year:04}-{month:02}-{day:02}")
    }
}

/// With a fraction of six digits, or none if it is zero. A column shows its own number of
/// digits: [`ColumnType::show`](crate::table::ColumnType::show).
impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, natural_fsp(self.0))
    }
}

/// With a fraction of six digits, or none if it is zero. A column shows its own number of
/// digits: [`ColumnType::show`](crate::table::ColumnType::show).
impl fmt::Display for DateTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, natural_fsp(self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_day_of_ten_thousand_years_converts_there_and_back() {
        let mut expected = (0, 1, 1);
        for days in Date::MIN.days()..=Date::MAX.days() {
            let date = Date::from_days(days).unwrap();
            assert_eq!(date.civil(), expected, "day {days}");
            assert_eq!(Date::from_civil(expected.0, expected.1, expected.2), Some(date));
            let (year, month, day) = expected;
            expected = if day < days_in_month(year.cast_signed(), month) {
                (year, month, day + 1)
            } else if month < 12 {
                (year, month + 1, 1)
            } else {
                (year + 1, 1, 1)
            };
        }
        assert_eq!(Date::from_civil(1970, 1, 1).unwrap().days(), 0);
        assert!(Date::from_days(Date::MAX.days() + 1).is_none());
    }

    #[test]
    fn dates_that_do_not_exist_are_refused() {
        for text in [
            "2023-02-29",
            "1900-02-29",
            "2024-13-01",
            "2024-00-10",
            "2024-01-00",
            "24-01-01",
            "2024-1",
            "",
            "20240230",
            "2024-01-01-01",
            "2024-0a-01",
            "2024-001-01",
        ] {
            assert!(Date::parse(text).is_none(), "{text}");
        }
    }

    #[track_caller]
    fn shows(parsed: Option<impl fmt::Display>, expected: &str) {
        assert_eq!(parsed.expect("it parses").to_string(), expected);
    }

    #[test]
    fn text_is_read_and_shown_as_mysql_does() {
        shows(Date::parse("2024-2-9"), "2024-02-09");
        shows(Date::parse("20240229"), "2024-02-29");
        shows(Date::parse("2024/12/31"), "2024-12-31");
        shows(Time::parse("838:59:59"), "838:59:59");
        shows(Time::parse("-1:02:03.5"), "-01:02:03.500000");
        shows(Time::parse("2 03:04"), "51:04:00");
        shows(DateTime::parse("2024-02-29"), "2024-02-29 00:00:00");
        shows(DateTime::parse("2024-02-29T23:59:59.000001"), "2024-02-29 23:59:59.000001");
        shows(DateTime::parse("1969-12-31 23:59:59.9999999"), "1970-01-01 00:00:00");
        shows(DateTime::parse("0000-01-01 0:00"), "0000-01-01 00:00:00");
    }

    #[test]
    fn times_that_do_not_exist_are_refused() {
        for text in ["839:00:00", "1:60:00", "1:00:60", "12", "1:2:3:4", "a:00:00", "1:00.5", ""] {
            assert!(Time::parse(text).is_none(), "{text}");
        }
        for text in ["2024-01-01 24:00:00", "2024-01-01 ", "9999-12-31 23:59:59.9999999", "x y"] {
            assert!(DateTime::parse(text).is_none(), "{text}");
        }
    }

    #[test]
    fn rounding_to_fewer_digits_is_half_up() {
        let at = |text: &str| DateTime::parse(text).unwrap();
        assert_eq!(at("2024-01-01 00:00:00.5").rounded(0), Some(at("2024-01-01 00:00:01")));
        assert_eq!(at("1960-01-01 00:00:00.25").rounded(1), Some(at("1960-01-01 00:00:00.3")));
        assert_eq!(at("9999-12-31 23:59:59.9").rounded(0), None);
        assert_eq!(Time::parse("-0:00:00.5").unwrap().rounded(0), Time::parse("-0:00:01").unwrap());
        assert_eq!(Time::MAX.rounded(0), Time::MAX);
    }
}
