//! Reading dates and times from text and numbers as MySQL does: any punctuation, years of two
//! digits, digits without any separator.

use resprout_engine::table::{Date, DateTime, Time};

use super::{DAY, HOUR, MINUTE, SECOND};

/// What was read, and whether text was left over.
pub(super) type Read<T> = Option<(T, bool)>;

/// Years of two digits: 70 to 99 are of the last century.
const PIVOT: u32 = 70;

fn full_year(year: u32, digits: usize) -> u32 {
    match digits {
        0..=2 if year < PIVOT => year + 2000,
        0..=2 => year + 1900,
        _ => year,
    }
}

/// A cursor over ASCII text.
struct Scanner<'t> {
    rest: &'t [u8],
}

impl Scanner<'_> {
    /// Up to `most` digits, and how many there were.
    fn number(&mut self, most: usize) -> Option<(u32, usize)> {
        let digits = self.rest.iter().take(most).take_while(|byte| byte.is_ascii_digit()).count();
        let number = self.rest[..digits].iter().fold(0_u32, |number, digit| {
            number.saturating_mul(10).saturating_add(u32::from(digit - b'0'))
        });
        self.rest = &self.rest[digits..];
        (digits > 0).then_some((number, digits))
    }

    fn digits_ahead(&self) -> usize {
        self.rest.iter().take_while(|byte| byte.is_ascii_digit()).count()
    }

    fn take(&mut self, wanted: impl Fn(u8) -> bool) -> bool {
        let found = self.rest.first().is_some_and(|byte| wanted(*byte));
        if found {
            self.rest = &self.rest[1..];
        }
        found
    }

    /// Microseconds of a fraction after a point; digits beyond the sixth round.
    fn fraction(&mut self) -> i64 {
        if self.rest.first() != Some(&b'.') {
            return 0;
        }
        self.rest = &self.rest[1..];
        let digits = self.digits_ahead();
        let mut micros = 0;
        for position in 0..6 {
            let digit =
                self.rest[..digits].get(position).map_or(0, |digit| i64::from(digit - b'0'));
            micros = micros * 10 + digit;
        }
        let up = self.rest[..digits].get(6).is_some_and(|digit| *digit >= b'5');
        self.rest = &self.rest[digits..];
        micros + i64::from(up)
    }

    fn left_over(&self) -> bool {
        self.rest.iter().any(|byte| !byte.is_ascii_whitespace())
    }
}

fn moment(date: (u32, u32, u32), clock: i64) -> Option<DateTime> {
    let date = Date::from_civil(date.0, date.1, date.2)?;
    DateTime::from_micros(date.midnight().micros() + clock)
}

fn clock(hours: u32, minutes: u32, seconds: u32) -> Option<i64> {
    let exists = hours < 24 && minutes < 60 && seconds < 60;
    let micros =
        i64::from(hours) * HOUR + i64::from(minutes) * MINUTE + i64::from(seconds) * SECOND;
    exists.then_some(micros)
}

/// Reads a date, alone or with a time of day.
pub(super) fn date_time(text: &str) -> Read<DateTime> {
    let mut scanner = Scanner { rest: text.trim_start().as_bytes() };
    let ahead = scanner.digits_ahead();
    if ahead >= 5 {
        return compact(scanner, ahead);
    }
    let (year, digits) = scanner.number(4)?;
    let separated = |scanner: &mut Scanner<'_>| scanner.take(|byte| byte.is_ascii_punctuation());
    separated(&mut scanner).then_some(())?;
    let (month, _) = scanner.number(2)?;
    separated(&mut scanner).then_some(())?;
    let (day, _) = scanner.number(2)?;
    let date = (full_year(year, digits), month, day);
    let before_time = scanner.rest;
    let time_follows = match scanner.rest.first() {
        Some(b'T') => scanner.take(|_| true),
        Some(b' ') => {
            while scanner.take(|byte| byte == b' ') {}
            true
        }
        _ => false,
    };
    if !time_follows || scanner.digits_ahead() == 0 {
        scanner.rest = before_time;
        return Some((moment(date, 0)?, scanner.left_over()));
    }
    let mut parts = [0_u32; 3];
    for part in &mut parts {
        let Some((number, _)) = scanner.number(2) else { break };
        *part = number;
        // The next separator belongs to the time only if digits follow it.
        let goes_on = scanner.rest.first() == Some(&b':')
            && scanner.rest.get(1).is_some_and(u8::is_ascii_digit);
        if !goes_on {
            break;
        }
        scanner.rest = &scanner.rest[1..];
    }
    let micros = scanner.fraction();
    let moment = moment(date, clock(parts[0], parts[1], parts[2])? + micros)?;
    Some((moment, scanner.left_over()))
}

/// `YYYYMMDD`, `YYMMDD`, and the same with `hhmmss` behind.
fn compact(mut scanner: Scanner<'_>, ahead: usize) -> Read<DateTime> {
    let long = matches!(ahead, 8) || ahead >= 14;
    let (year, digits) = scanner.number(if long { 4 } else { 2 })?;
    let (month, _) = scanner.number(2)?;
    let (day, _) = scanner.number(2)?;
    scanner.take(|byte| byte == b'T');
    let hours = scanner.number(2).map_or(0, |read| read.0);
    let minutes = scanner.number(2).map_or(0, |read| read.0);
    let seconds = scanner.number(2).map_or(0, |read| read.0);
    let micros = scanner.fraction();
    let date = (full_year(year, digits), month, day);
    let moment = moment(date, clock(hours, minutes, seconds)? + micros)?;
    Some((moment, scanner.left_over()))
}

/// Reads a time: `[-][D ]h:m[:s]`, digits `hmmss`, or that of a date with a time.
pub(super) fn time(text: &str) -> Read<Time> {
    let trimmed = text.trim();
    let (negative, body) = match trimmed.strip_prefix('-') {
        Some(body) => (true, body),
        None => (false, trimmed),
    };
    let looks_dated = body.bytes().filter(|byte| *byte == b'-').count() == 2
        || body.bytes().take_while(u8::is_ascii_digit).count() >= 12;
    if looks_dated {
        let (moment, left) = date_time(body)?;
        return Some((moment.time(), left));
    }
    let mut scanner = Scanner { rest: body.as_bytes() };
    let ahead = scanner.digits_ahead();
    let (first, _) = scanner.number(10)?;
    let mut days = 0;
    let mut parts = [first, 0, 0];
    let spaced =
        scanner.rest.first() == Some(&b' ') && scanner.rest.get(1).is_some_and(u8::is_ascii_digit);
    if spaced {
        scanner.rest = &scanner.rest[1..];
        days = first;
        parts[0] = scanner.number(2)?.0;
    }
    let mut count = 1;
    while count < 3 && scanner.take(|byte| byte == b':') {
        parts[count] = scanner.number(2)?.0;
        count += 1;
    }
    if count == 1 && !spaced {
        let number = if ahead > 7 { 8_400_000 } else { first };
        parts = [number / 10_000, number / 100 % 100, number % 100];
    }
    let fraction = scanner.fraction();
    if parts[1] >= 60 || parts[2] >= 60 {
        return None;
    }
    let micros = i64::from(days) * DAY
        + i64::from(parts[0]) * HOUR
        + i64::from(parts[1]) * MINUTE
        + i64::from(parts[2]) * SECOND
        + fraction;
    let fits = Time::from_micros(micros).is_some();
    let micros = micros.min(Time::MAX.micros());
    let time = Time::from_micros(if negative { -micros } else { micros })?;
    Some((time, scanner.left_over() || !fits))
}

/// Reads a date or moment from a number such as 20240229 or 20240229103000.
pub(super) fn date_time_of_number(number: i128, micros: i64) -> Option<DateTime> {
    let number = u64::try_from(number).ok()?;
    let (date, time) = match number {
        0..=99_999_999 => (number, 0),
        _ => (number / 1_000_000, number % 1_000_000),
    };
    let part = |number: u64| u32::try_from(number).ok();
    let date = match date {
        101..=691_231 => date + 20_000_000,
        700_101..=991_231 => date + 19_000_000,
        _ => date,
    };
    let clock = clock(part(time / 10_000)?, part(time / 100 % 100)?, part(time % 100)?)?;
    let date = (part(date / 10_000)?, part(date / 100 % 100)?, part(date % 100)?);
    moment(date, clock + micros)
}

/// Reads a time from a number such as 103000.
pub(super) fn time_of_number(number: i128, micros: i64) -> Read<Time> {
    let size = u64::try_from(number.unsigned_abs()).ok()?;
    if size >= 10_000_000_000 {
        return date_time_of_number(number, micros).map(|moment| (moment.time(), false));
    }
    let (hours, minutes, seconds) = (size / 10_000, size / 100 % 100, size % 100);
    if minutes >= 60 || seconds >= 60 {
        return None;
    }
    let whole = i64::try_from(hours * 3600 + minutes * 60 + seconds).ok()? * SECOND + micros;
    let fits = whole <= Time::MAX.micros();
    let whole = whole.min(Time::MAX.micros());
    Some((Time::from_micros(if number < 0 { -whole } else { whole })?, !fits))
}
