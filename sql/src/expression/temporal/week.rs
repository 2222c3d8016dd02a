//! Weeks of a year, by MySQL's eight ways to count them.

use resprout_engine::table::Date;

/// Day of the week, Monday 0.
pub(in super::super) fn weekday(date: Date) -> i32 {
    // 1970-01-01 was a Thursday.
    (date.days() + 3).rem_euclid(7)
}

/// Day of the year, from 1.
pub(in super::super) fn day_of_year(date: Date) -> i32 {
    date.days() - first_day(date.civil().0) + 1
}

fn first_day(year: u32) -> i32 {
    Date::from_civil(year, 1, 1).map_or(0, Date::days)
}

fn days_in_year(year: u32) -> i32 {
    first_day(year.min(9998) + 1) - first_day(year.min(9998))
}

/// Whether weeks begin on Monday, weeks are numbered from 1 in the year of most of their days,
/// and the first week is the first that begins in the year.
fn rules(mode: u8) -> (bool, bool, bool) {
    let (mut monday, year, mut first) = (mode & 1 != 0, mode & 2 != 0, mode & 4 != 0);
    if !monday {
        first = !first;
    }
    monday &= mode < 8;
    (monday, year, first)
}

/// The week of a day and the year that the week belongs to, by `mode` 0 to 7 of `WEEK`.
pub(in super::super) fn week(date: Date, mode: u8) -> (u32, i32) {
    let (monday, by_year, first_weekday) = rules(mode & 7);
    let mut year = date.civil().0;
    let day = date.days();
    let mut first = first_day(year);
    let weekday_of = |days: i32| {
        if monday { (days + 3).rem_euclid(7) } else { (days + 4).rem_euclid(7) }
    };
    let mut weekday = weekday_of(first);
    let mut by_year = by_year;
    if date.civil().1 == 1 && date.civil().2 <= (7 - weekday).cast_unsigned() {
        if !by_year && ((first_weekday && weekday != 0) || (!first_weekday && weekday >= 4)) {
            return (year, 0);
        }
        by_year = true;
        if (first_weekday && weekday != 0) || (!first_weekday && weekday >= 4) {
            year = year.saturating_sub(1);
            first = first_day(year);
            weekday = (weekday + 53 * 7 - days_in_year(year)).rem_euclid(7);
        }
    }
    let skipped = (first_weekday && weekday != 0) || (!first_weekday && weekday >= 4);
    let days = if skipped { day - (first + 7 - weekday) } else { day - (first - weekday) };
    if by_year && days >= 52 * 7 {
        weekday = (weekday + days_in_year(year)) % 7;
        if (!first_weekday && weekday < 4) || (first_weekday && weekday == 0) {
            return (year + 1, 1);
        }
    }
    (year, days / 7 + 1)
}
