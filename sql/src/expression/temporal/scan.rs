//! `STR_TO_DATE`: reading a date or time by a format.

use resprout_engine::table::{Date, DateTime, Time, ValueRef};

use super::format::{DAYS, MONTHS};
use super::{HOUR, MINUTE, SECOND};

/// What a format can read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Kind {
    Date,
    Time,
    DateTime,
}

/// What the format reads, and digits of a fraction. A mark that is unknown makes a date.
pub(in super::super) fn kind(format: &str) -> (Kind, u8) {
    let (mut date, mut time, mut fsp) = (false, false, 0);
    let mut marks = format.chars();
    while let Some(mark) = marks.next() {
        if mark != '%' {
            continue;
        }
        match marks.next() {
            Some('f') => (time, fsp) = (true, 6),
            Some('H' | 'k' | 'h' | 'I' | 'l' | 'i' | 's' | 'S' | 'p' | 'T' | 'r') => time = true,
            Some('%') | None => {}
            Some(_) => date = true,
        }
    }
    match (date, time) {
        (true, true) => (Kind::DateTime, fsp),
        (false, true) => (Kind::Time, fsp),
        _ => (Kind::Date, 0),
    }
}

#[derive(Default)]
struct Parts {
    year: u32,
    month: u32,
    day: u32,
    hours: i64,
    minutes: i64,
    seconds: i64,
    micros: i64,
    day_of_year: Option<u32>,
    afternoon: Option<bool>,
    twelve: bool,
}

struct Scanner<'t> {
    rest: &'t str,
}

impl Scanner<'_> {
    fn number(&mut self, most: usize) -> Option<(u32, usize)> {
        let digits = self.rest.bytes().take(most).take_while(u8::is_ascii_digit).count();
        let number = self.rest[..digits].parse().ok()?;
        self.rest = &self.rest[digits..];
        Some((number, digits))
    }

    fn clock_number(&mut self) -> Option<i64> {
        self.number(2).map(|(number, _)| i64::from(number))
    }

    /// A name, in full or by its first three letters, as its position.
    fn name(&mut self, names: &[&str], letters: Option<usize>) -> Option<u32> {
        for (position, name) in (0_u32..).zip(names) {
            let name = &name[..letters.unwrap_or(name.len())];
            let begins = self.rest.get(..name.len());
            if begins.is_some_and(|begin| begin.eq_ignore_ascii_case(name)) {
                self.rest = &self.rest[name.len()..];
                return Some(position);
            }
        }
        None
    }

    fn literal(&mut self, mark: char) -> Option<()> {
        self.rest = self.rest.strip_prefix(mark)?;
        Some(())
    }

    fn blanks(&mut self) {
        self.rest = self.rest.trim_start();
    }
}

/// Reads `text` by `format`; the second part is whether text was left over.
pub(in super::super) fn scan(text: &str, format: &str) -> Option<(ValueRef<'static>, bool)> {
    let mut scanner = Scanner { rest: text };
    let mut parts = Parts::default();
    let mut marks = format.chars();
    while let Some(mark) = marks.next() {
        if mark == ' ' {
            scanner.blanks();
            continue;
        }
        scanner.blanks();
        if mark != '%' {
            scanner.literal(mark)?;
            continue;
        }
        let mark = marks.next()?;
        read_date_part(mark, &mut scanner, &mut parts)
            .or_else(|| read_time_part(mark, &mut scanner, &mut parts))?;
    }
    let left = !scanner.rest.trim().is_empty();
    Some((finish(&parts, kind(format).0)?, left))
}

fn read_date_part(mark: char, scanner: &mut Scanner<'_>, parts: &mut Parts) -> Option<()> {
    match mark {
        'Y' | 'y' => {
            let most = if mark == 'Y' { 4 } else { 2 };
            let (year, digits) = scanner.number(most)?;
            let century = if year < 70 { 2000 } else { 1900 };
            parts.year = if digits <= 2 { year + century } else { year };
        }
        'm' | 'c' => parts.month = scanner.number(2)?.0,
        'd' | 'e' => parts.day = scanner.number(2)?.0,
        'D' => {
            parts.day = scanner.number(2)?.0;
            scanner.rest = scanner.rest.get(2..)?;
        }
        'M' => parts.month = scanner.name(&MONTHS, None)? + 1,
        'b' => parts.month = scanner.name(&MONTHS, Some(3))? + 1,
        'W' => drop(scanner.name(&DAYS, None)?),
        'a' => drop(scanner.name(&DAYS, Some(3))?),
        'w' => drop(scanner.number(1)?),
        'j' => parts.day_of_year = Some(scanner.number(3)?.0),
        _ => return None,
    }
    Some(())
}

fn read_time_part(mark: char, scanner: &mut Scanner<'_>, parts: &mut Parts) -> Option<()> {
    match mark {
        'H' | 'k' => parts.hours = scanner.clock_number()?,
        'h' | 'I' | 'l' => {
            parts.hours = scanner.clock_number().filter(|hours| (1..=12).contains(hours))?;
            parts.twelve = true;
        }
        'i' => parts.minutes = scanner.clock_number()?,
        's' | 'S' => parts.seconds = scanner.clock_number()?,
        'f' => {
            let (number, digits) = scanner.number(6)?;
            let missing = u32::try_from(6 - digits).unwrap_or(0);
            parts.micros = i64::from(number) * 10_i64.pow(missing);
        }
        'p' => {
            parts.afternoon = Some(scanner.name(&["AM", "PM"], None)? == 1);
            parts.twelve = true;
        }
        'T' | 'r' => {
            parts.hours = scanner.clock_number()?;
            scanner.literal(':')?;
            parts.minutes = scanner.clock_number()?;
            scanner.literal(':')?;
            parts.seconds = scanner.clock_number()?;
            if mark == 'r' {
                scanner.blanks();
                parts.afternoon = Some(scanner.name(&["AM", "PM"], None)? == 1);
                parts.twelve = true;
            }
        }
        '%' => scanner.literal('%')?,
        _ => return None,
    }
    Some(())
}

fn finish(parts: &Parts, kind: Kind) -> Option<ValueRef<'static>> {
    let hours = match parts.twelve {
        true => parts.hours % 12 + if parts.afternoon == Some(true) { 12 } else { 0 },
        false => parts.hours,
    };
    if hours > 23 || parts.minutes > 59 || parts.seconds > 59 {
        return None;
    }
    let clock = hours * HOUR + parts.minutes * MINUTE + parts.seconds * SECOND + parts.micros;
    if kind == Kind::Time {
        return Time::from_micros(clock).map(ValueRef::Time);
    }
    let date = match parts.day_of_year {
        Some(day) if parts.month == 0 => {
            let first = Date::from_civil(parts.year, 1, 1)?;
            let day = i32::try_from(day).ok().filter(|day| (1..=366).contains(day))?;
            Date::from_days(first.days() + day - 1)?
        }
        _ => Date::from_civil(parts.year, parts.month, parts.day)?,
    };
    if kind == Kind::Date {
        return Some(ValueRef::Date(date));
    }
    DateTime::from_micros(date.midnight().micros() + clock).map(ValueRef::DateTime)
}
