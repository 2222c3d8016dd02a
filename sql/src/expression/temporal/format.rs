//! `DATE_FORMAT` and `TIME_FORMAT`.

use std::fmt::Write;

use resprout_engine::table::DateTime;

use super::week::{day_of_year, week, weekday};
use super::{HOUR, MINUTE, SECOND};

pub(super) const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// From Monday, as [`weekday`] counts.
pub(super) const DAYS: [&str; 7] =
    ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];

/// The English name of a month, from 1.
pub(in super::super) fn month_name(month: u32) -> &'static str {
    MONTHS[(month.clamp(1, 12) - 1) as usize]
}

/// The English name of a day of the week, Monday 0.
pub(in super::super) fn day_name(weekday: i32) -> &'static str {
    DAYS[weekday.rem_euclid(7).cast_unsigned() as usize]
}

fn suffix(day: u32) -> &'static str {
    match day {
        11..=13 => "th",
        _ => match day % 10 {
            1 => "st",
            2 => "nd",
            3 => "rd",
            _ => "th",
        },
    }
}

/// What a format shows: a moment, or a time that may have more than 24 hours.
#[derive(Clone, Copy)]
pub(in super::super) struct Shown {
    pub(in super::super) moment: DateTime,
    /// Microseconds of the time, never negative.
    pub(in super::super) clock: i64,
}

impl Shown {
    pub(in super::super) fn of(moment: DateTime) -> Self {
        Self { moment, clock: moment.time().micros() }
    }

    /// The format filled in.
    pub(in super::super) fn fill(self, format: &str) -> String {
        let mut out = String::with_capacity(format.len() + 16);
        let mut marks = format.chars();
        while let Some(mark) = marks.next() {
            if mark != '%' {
                out.push(mark);
                continue;
            }
            let Some(mark) = marks.next() else { break };
            if self.date_part(mark, &mut out).or_else(|| self.time_part(mark, &mut out)).is_none() {
                out.push(mark);
            }
        }
        out
    }

    fn date_part(self, mark: char, out: &mut String) -> Option<()> {
        let date = self.moment.date();
        let (year, month, day) = date.civil();
        let of_week = |mode: u8| week(date, mode);
        let written = match mark {
            'Y' => write!(out, "{year:04}"),
            'y' => write!(out, "{:02}", year % 100),
            'm' => write!(out, "{month:02}"),
            'c' => write!(out, "{month}"),
            'd' => write!(out, "{day:02}"),
            'e' => write!(out, "{day}"),
            'D' => write!(out, "{day}{}", suffix(day)),
            'M' => write!(out, "{}", month_name(month)),
            'b' => write!(out, "{}", &month_name(month)[..3]),
            'W' => write!(out, "{}", day_name(weekday(date))),
            'a' => write!(out, "{}", &day_name(weekday(date))[..3]),
            'w' => write!(out, "{}", (weekday(date) + 1) % 7),
            'j' => write!(out, "{:03}", day_of_year(date)),
            'U' => write!(out, "{:02}", of_week(0).1),
            'u' => write!(out, "{:02}", of_week(1).1),
            'V' => write!(out, "{:02}", of_week(2).1),
            'v' => write!(out, "{:02}", of_week(3).1),
            'X' => write!(out, "{:04}", of_week(2).0),
            'x' => write!(out, "{:04}", of_week(3).0),
            _ => return None,
        };
        written.ok()
    }

    fn time_part(self, mark: char, out: &mut String) -> Option<()> {
        let (hours, minutes, seconds) =
            (self.clock / HOUR, self.clock / MINUTE % 60, self.clock / SECOND % 60);
        let twelve = (hours + 11) % 12 + 1;
        let half = if hours % 24 < 12 { "AM" } else { "PM" };
        let written = match mark {
            'H' => write!(out, "{hours:02}"),
            'k' => write!(out, "{hours}"),
            'h' | 'I' => write!(out, "{twelve:02}"),
            'l' => write!(out, "{twelve}"),
            'i' => write!(out, "{minutes:02}"),
            's' | 'S' => write!(out, "{seconds:02}"),
            'f' => write!(out, "{:06}", self.clock % SECOND),
            'p' => write!(out, "{half}"),
            'T' => write!(out, "{hours:02}:{minutes:02}:{seconds:02}"),
            'r' => write!(out, "{twelve:02}:{minutes:02}:{seconds:02} {half}"),
            _ => return None,
        };
        written.ok()
    }
}
