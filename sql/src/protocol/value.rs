//! Values in rows and parameters, in both forms: as text (results of queries) and binary (prepared
//! statements).
//!
//! ```text
//!   binary date or time:  length u8 │ fields, of which zeros at the end are left out
//!     DATE, DATETIME:  0 │ 4: year u16 month u8 day u8 │ 7: hour minute second u8 │ 11: microsecond u32
//!     TIME:            0 │ 8: negative u8 days u32 hour minute second u8 │ 12: microsecond u32
//! ```

use std::fmt::Write as _;

use bytes::{BufMut, BytesMut};

use super::column::{Column, WireType};
use super::wire::{Malformed, Reader, put_lenenc_bytes};

/// One value. Decimals, JSON, and all that has characters or bytes is [`Value::Bytes`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    /// No value.
    Null,
    /// A signed integer.
    Int(i64),
    /// An unsigned integer.
    UInt(u64),
    /// A number of single precision.
    Float(f32),
    /// A number of double precision.
    Double(f64),
    /// Characters or bytes.
    Bytes(&'a [u8]),
    /// A day.
    Date(Date),
    /// A moment.
    DateTime(DateTime),
    /// A time of day or a span of time.
    Time(Time),
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(text: &'a str) -> Self {
        Self::Bytes(text.as_bytes())
    }
}

/// A day. Zeros are what MySQL calls a zero date.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Date {
    /// 0 to 9999.
    pub year: u16,
    /// 0 to 12.
    pub month: u8,
    /// 0 to 31.
    pub day: u8,
}

/// A moment without a zone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DateTime {
    /// The day.
    pub date: Date,
    /// 0 to 23.
    pub hour: u8,
    /// 0 to 59.
    pub minute: u8,
    /// 0 to 59.
    pub second: u8,
    /// 0 to 999,999.
    pub microsecond: u32,
}

/// A time of day or a span of time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Time {
    /// Below zero.
    pub negative: bool,
    /// Whole hours, of any number of days.
    pub hours: u32,
    /// 0 to 59.
    pub minute: u8,
    /// 0 to 59.
    pub second: u8,
    /// 0 to 999,999.
    pub microsecond: u32,
}

/// A value that its column cannot hold in the binary form: a mistake of who makes the rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a value that does not fit the type of its column")]
pub struct Misfit;

/// Appends a value as text: its length and characters, or the byte that means NULL.
pub fn put_text(out: &mut BytesMut, value: &Value<'_>, decimals: u8) {
    match value {
        Value::Null => out.put_u8(0xFB),
        Value::Bytes(bytes) => put_lenenc_bytes(out, bytes),
        value => put_short_text(out, value, decimals),
    }
}

/// Numbers, dates and times have fewer than 251 characters, so their length is one byte, which is
/// filled in behind them.
fn put_short_text(out: &mut BytesMut, value: &Value<'_>, decimals: u8) {
    let start = out.len();
    out.put_u8(0);
    let written = match value {
        Value::Int(number) => write!(out, "{number}"),
        Value::UInt(number) => write!(out, "{number}"),
        Value::Float(number) => write_float(out, f64::from(*number), number, decimals),
        Value::Double(number) => write_float(out, *number, number, decimals),
        Value::Date(date) => write_date(out, date),
        Value::DateTime(moment) => write_date(out, &moment.date).and_then(|()| {
            write!(out, " {:02}:{:02}:{:02}", moment.hour, moment.minute, moment.second)?;
            write_fraction(out, moment.microsecond, decimals)
        }),
        Value::Time(time) => {
            let sign = if time.negative { "-" } else { "" };
            write!(out, "{sign}{:02}:{:02}:{:02}", time.hours, time.minute, time.second)
                .and_then(|()| write_fraction(out, time.microsecond, decimals))
        }
        Value::Null | Value::Bytes(_) => Ok(()),
    };
    debug_assert!(written.is_ok(), "a buffer takes any text");
    out[start] = (out.len() - start - 1) as u8;
}

fn write_date(out: &mut BytesMut, date: &Date) -> std::fmt::Result {
    write!(out, "{:04}-{:02}-{:02}", date.year, date.month, date.day)
}

/// As many digits as the column has; a fraction that has no place there is cut, as MySQL does.
fn write_fraction(out: &mut BytesMut, microsecond: u32, decimals: u8) -> std::fmt::Result {
    let digits = u32::from(decimals.min(6));
    if digits == 0 {
        return Ok(());
    }
    let shown = microsecond.min(999_999) / 10_u32.pow(6 - digits);
    write!(out, ".{shown:0width$}", width = digits as usize)
}

/// Fixed digits where the column has a number of them; else the shortest digits that read back, in
/// scientific form when the plain one would be mostly zeros.
fn write_float<T: std::fmt::Display + std::fmt::LowerExp>(
    out: &mut BytesMut,
    size: f64,
    number: &T,
    decimals: u8,
) -> std::fmt::Result {
    let plain = size == 0.0 || (1e-15..1e15).contains(&size.abs());
    match decimals {
        digits @ 0..=30 if plain => write!(out, "{number:.*}", usize::from(digits)),
        _ if plain => write!(out, "{number}"),
        _ => write!(out, "{number:e}"),
    }
}

/// Appends a value that is not NULL in the binary form of its column.
///
/// # Errors
/// If the column's type cannot hold it. What was appended must be taken back.
pub fn put_binary(out: &mut BytesMut, value: &Value<'_>, column: &Column) -> Result<(), Misfit> {
    let bits = match value {
        Value::Int(number) => Some(*number),
        Value::UInt(number) => Some(*number as i64),
        _ => None,
    };
    match (column.wire_type, value, bits) {
        (WireType::Tiny, _, Some(number)) => out.put_i8(number as i8),
        (WireType::Short | WireType::Year, _, Some(number)) => out.put_i16_le(number as i16),
        (WireType::Long | WireType::Int24, _, Some(number)) => out.put_i32_le(number as i32),
        (WireType::LongLong, _, Some(number)) => out.put_i64_le(number),
        (WireType::Float, Value::Float(number), _) => out.put_f32_le(*number),
        (WireType::Float, Value::Double(number), _) => out.put_f32_le(*number as f32),
        (WireType::Double, Value::Double(number), _) => out.put_f64_le(*number),
        (WireType::Double, Value::Float(number), _) => out.put_f64_le(f64::from(*number)),
        (WireType::Double, Value::Int(number), _) => out.put_f64_le(*number as f64),
        (WireType::Double, Value::UInt(number), _) => out.put_f64_le(*number as f64),
        (WireType::Date, Value::Date(date), _) => put_date(out, date),
        (WireType::Date | WireType::DateTime | WireType::Timestamp, Value::DateTime(moment), _) => {
            put_date_time(out, moment);
        }
        (WireType::DateTime | WireType::Timestamp, Value::Date(date), _) => {
            put_date_time(out, &DateTime { date: *date, ..DateTime::default() });
        }
        (WireType::Time, Value::Time(time), _) => put_time(out, time),
        (wire_type, value, _) if is_stringlike(wire_type) => put_text(out, value, column.decimals),
        _ => return Err(Misfit),
    }
    Ok(())
}

/// Whether the binary form is a length and bytes.
const fn is_stringlike(wire_type: WireType) -> bool {
    matches!(
        wire_type,
        WireType::Decimal
            | WireType::NewDecimal
            | WireType::VarChar
            | WireType::VarString
            | WireType::String
            | WireType::Enum
            | WireType::Set
            | WireType::Bit
            | WireType::Json
            | WireType::Geometry
            | WireType::TinyBlob
            | WireType::MediumBlob
            | WireType::LongBlob
            | WireType::Blob
    )
}

fn put_date(out: &mut BytesMut, date: &Date) {
    if *date == Date::default() {
        return out.put_u8(0);
    }
    out.put_u8(4);
    put_date_fields(out, date);
}

fn put_date_fields(out: &mut BytesMut, date: &Date) {
    out.put_u16_le(date.year);
    out.put_slice(&[date.month, date.day]);
}

fn put_date_time(out: &mut BytesMut, moment: &DateTime) {
    let has_time = (moment.hour, moment.minute, moment.second) != (0, 0, 0);
    let len = match (moment.microsecond, has_time) {
        (0, false) => return put_date(out, &moment.date),
        (0, true) => 7,
        _ => 11,
    };
    out.put_u8(len);
    put_date_fields(out, &moment.date);
    out.put_slice(&[moment.hour, moment.minute, moment.second]);
    if len == 11 {
        out.put_u32_le(moment.microsecond);
    }
}

fn put_time(out: &mut BytesMut, time: &Time) {
    if (time.hours, time.minute, time.second, time.microsecond) == (0, 0, 0, 0) {
        return out.put_u8(0);
    }
    out.put_u8(if time.microsecond == 0 { 8 } else { 12 });
    out.put_u8(u8::from(time.negative));
    out.put_u32_le(time.hours / 24);
    out.put_slice(&[(time.hours % 24) as u8, time.minute, time.second]);
    if time.microsecond != 0 {
        out.put_u32_le(time.microsecond);
    }
}

/// The type of a parameter, as a client binds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParameterType {
    /// Its type.
    pub wire_type: WireType,
    /// Whether a number has no sign.
    pub unsigned: bool,
}

/// Reads a parameter that is not NULL.
///
/// # Errors
/// If it is cut off, or of a length that its type does not have.
pub fn read_binary<'a>(reader: &mut Reader<'a>, of: ParameterType) -> Result<Value<'a>, Malformed> {
    let unsigned = of.unsigned;
    let int = |signed: i64, plain: u64| {
        if unsigned { Value::UInt(plain) } else { Value::Int(signed) }
    };
    Ok(match of.wire_type {
        WireType::Tiny => reader.u8().map(|n| int((n as i8).into(), n.into()))?,
        WireType::Short | WireType::Year => {
            reader.u16().map(|n| int((n as i16).into(), n.into()))?
        }
        WireType::Long | WireType::Int24 => {
            reader.u32().map(|n| int((n as i32).into(), n.into()))?
        }
        WireType::LongLong => reader.u64().map(|n| int(n as i64, n))?,
        WireType::Float => Value::Float(f32::from_le_bytes(reader.array()?)),
        WireType::Double => Value::Double(f64::from_le_bytes(reader.array()?)),
        WireType::Date => Value::Date(read_date_time(reader)?.date),
        WireType::DateTime | WireType::Timestamp => Value::DateTime(read_date_time(reader)?),
        WireType::Time => Value::Time(read_time(reader)?),
        WireType::Null => Value::Null,
        stringlike if is_stringlike(stringlike) => Value::Bytes(reader.lenenc_bytes()?),
        _ => return Err(Malformed("a parameter of a type that is none")),
    })
}

fn read_date_time(reader: &mut Reader<'_>) -> Result<DateTime, Malformed> {
    let len = reader.u8()?;
    let mut moment = DateTime::default();
    if !matches!(len, 0 | 4 | 7 | 11) {
        return Err(Malformed("a date of a length that it cannot have"));
    }
    if len >= 4 {
        let year = reader.u16()?;
        let [month, day] = reader.array()?;
        moment.date = Date { year, month, day };
    }
    if len >= 7 {
        [moment.hour, moment.minute, moment.second] = reader.array()?;
    }
    if len == 11 {
        moment.microsecond = reader.u32()?;
    }
    let fits = moment.date.year <= 9999
        && moment.date.month <= 12
        && moment.date.day <= 31
        && moment.hour < 24
        && is_within_hour(moment.minute, moment.second, moment.microsecond);
    if fits { Ok(moment) } else { Err(Malformed("a date that is none")) }
}

const fn is_within_hour(minute: u8, second: u8, microsecond: u32) -> bool {
    minute < 60 && second < 60 && microsecond < 1_000_000
}

fn read_time(reader: &mut Reader<'_>) -> Result<Time, Malformed> {
    let len = reader.u8()?;
    let mut time = Time::default();
    if !matches!(len, 0 | 8 | 12) {
        return Err(Malformed("a time of a length that it cannot have"));
    }
    if len >= 8 {
        time.negative = reader.u8()? != 0;
        let days = reader.u32()?;
        let [hour, minute, second] = reader.array()?;
        let hours = days.checked_mul(24).and_then(|hours| hours.checked_add(hour.into()));
        time.hours = hours.ok_or(Malformed("a time that is none"))?;
        (time.minute, time.second) = (minute, second);
    }
    if len == 12 {
        time.microsecond = reader.u32()?;
    }
    let fits = is_within_hour(time.minute, time.second, time.microsecond);
    if fits { Ok(time) } else { Err(Malformed("a time that is none")) }
}

#[cfg(test)]
#[path = "value_tests.rs"]
mod tests;
