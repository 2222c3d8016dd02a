//! Values as numbers, by MySQL's implicit conversions. Text counts as the number it begins with.

use std::borrow::Cow;

use resprout_engine::table::{Decimal, ValueRef};

use super::context::Context;
use super::error::{Error, excerpt};

/// What arithmetic works with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Number {
    Int(i64),
    UInt(u64),
    Decimal(Decimal),
    Double(f64),
}

impl Number {
    #[expect(clippy::cast_precision_loss, reason = "the nearest double is what is asked for")]
    pub(super) fn to_f64(self) -> f64 {
        match self {
            Self::Int(number) => number as f64,
            Self::UInt(number) => number as f64,
            Self::Decimal(number) => number.to_f64(),
            Self::Double(number) => number,
        }
    }

    /// As an exact number, unless it is a double.
    pub(super) fn to_decimal(self) -> Option<Decimal> {
        match self {
            Self::Int(number) => Some(Decimal::from(number)),
            Self::UInt(number) => Some(Decimal::from(number)),
            Self::Decimal(number) => Some(number),
            Self::Double(_) => None,
        }
    }

    /// Rounded to a whole number: decimals half away from zero, doubles half to even.
    #[expect(clippy::cast_possible_truncation, reason = "`as` saturates, which is enough")]
    pub(super) fn to_i128(self) -> i128 {
        match self {
            Self::Int(number) => i128::from(number),
            Self::UInt(number) => i128::from(number),
            Self::Decimal(number) => number.rescaled(0).map_or(0, Decimal::unscaled),
            Self::Double(number) => number.round_ties_even() as i128,
        }
    }

    pub(super) fn is_zero(self) -> bool {
        match self {
            Self::Int(number) => number == 0,
            Self::UInt(number) => number == 0,
            Self::Decimal(number) => number.unscaled() == 0,
            Self::Double(number) => number == 0.0,
        }
    }

    pub(super) const fn is_unsigned(self) -> bool {
        matches!(self, Self::UInt(_))
    }
}

impl From<Number> for ValueRef<'_> {
    fn from(number: Number) -> Self {
        match number {
            Number::Int(number) => Self::Int(number),
            Number::UInt(number) => Self::UInt(number),
            Number::Decimal(number) => Self::Decimal(number),
            Number::Double(number) => Self::Double(number),
        }
    }
}

/// The value as a number; `None` for NULL.
#[inline]
pub(super) fn number_of(
    value: &ValueRef<'_>,
    context: &Context<'_>,
) -> Result<Option<Number>, Error> {
    Ok(Some(match value {
        ValueRef::Int(number) => Number::Int(*number),
        ValueRef::UInt(number) => Number::UInt(*number),
        ValueRef::Double(number) => Number::Double(*number),
        ValueRef::Decimal(number) => Number::Decimal(*number),
        ValueRef::Null => return Ok(None),
        other => converted(other, context)?,
    }))
}

fn converted(value: &ValueRef<'_>, context: &Context<'_>) -> Result<Number, Error> {
    match value {
        ValueRef::Float(number) => Ok(Number::Double(f64::from(*number))),
        ValueRef::Text(_) | ValueRef::Bytes(_) => {
            Ok(Number::Double(double_of_text(&text_of(value.clone()), context)?))
        }
        // 2024-02-29 counts as 20240229.
        other => {
            let digits: String =
                other.to_string().chars().filter(|mark| !matches!(mark, ':' | ' ')).collect();
            let (sign, digits) = match digits.strip_prefix('-') {
                Some(digits) => ("-", digits),
                None => ("", digits.as_str()),
            };
            let digits = format!("{sign}{}", digits.replace('-', ""));
            Ok(match (digits.parse(), Decimal::parse(&digits)) {
                (Ok(whole), _) => Number::Int(whole),
                (_, Some(number)) => Number::Decimal(number),
                _ => Number::Int(0),
            })
        }
    }
}

/// The value as a double; `None` for NULL.
pub(super) fn double_of(value: &ValueRef<'_>, context: &Context<'_>) -> Result<Option<f64>, Error> {
    Ok(number_of(value, context)?.map(Number::to_f64))
}

/// The value as a whole number; `None` for NULL. Text counts as the whole number it begins with.
pub(super) fn integer_of(
    value: &ValueRef<'_>,
    context: &Context<'_>,
) -> Result<Option<i128>, Error> {
    match value {
        ValueRef::Text(_) | ValueRef::Bytes(_) => {
            let text = text_of(value.clone());
            Ok(Some(integer_of_text(&text, context)?))
        }
        _ => Ok(number_of(value, context)?.map(Number::to_i128)),
    }
}

fn integer_of_text(text: &str, context: &Context<'_>) -> Result<i128, Error> {
    let trimmed = text.trim_start_matches(is_blank);
    let sign = usize::from(trimmed.starts_with(['-', '+']));
    let digits = trimmed[sign..].bytes().take_while(u8::is_ascii_digit).count();
    let number = &trimmed[..sign + digits];
    let rest = trimmed[sign + digits..].trim_end_matches(is_blank);
    if digits == 0 || !rest.is_empty() {
        let value = excerpt(&text);
        context.complain(Error::Truncated { ty: "INTEGER", value })?;
    }
    if digits == 0 {
        return Ok(0);
    }
    let bound = if trimmed.starts_with('-') { i128::from(i64::MIN) } else { i128::from(u64::MAX) };
    let parsed: i128 = number.parse().unwrap_or(bound);
    if parsed < i128::from(i64::MIN) || parsed > i128::from(u64::MAX) {
        context.complain(Error::Truncated { ty: "INTEGER", value: excerpt(&text) })?;
        return Ok(bound);
    }
    Ok(parsed)
}

/// Bits of a whole number, as bit operations take them: beyond 64 bits it is the nearest that
/// fits.
pub(super) fn bits_of(number: i128) -> u64 {
    if number < 0 {
        let number = i64::try_from(number).unwrap_or(i64::MIN);
        return number.cast_unsigned();
    }
    u64::try_from(number).unwrap_or(u64::MAX)
}

const fn is_blank(character: char) -> bool {
    matches!(character, ' ' | '\t' | '\n' | '\r' | '\x0b' | '\x0c')
}

/// Bytes of the longest beginning of `text` that is a number, blanks before it included.
fn number_prefix(text: &str) -> (usize, usize) {
    let bytes = text.as_bytes();
    let start = text.len() - text.trim_start_matches(is_blank).len();
    let digits = |from: usize| {
        from + bytes[from.min(bytes.len())..]
            .iter()
            .take_while(|byte| byte.is_ascii_digit())
            .count()
    };
    let sign = start + usize::from(matches!(bytes.get(start), Some(b'-' | b'+')));
    let whole = digits(sign);
    let mut end = whole;
    if bytes.get(whole) == Some(&b'.') {
        let fraction = digits(whole + 1);
        if fraction > whole + 1 || whole > sign {
            end = fraction;
        }
    }
    if end == sign {
        return (start, start);
    }
    if matches!(bytes.get(end), Some(b'e' | b'E')) {
        let sign = end + 1 + usize::from(matches!(bytes.get(end + 1), Some(b'-' | b'+')));
        let exponent = digits(sign);
        if exponent > sign {
            end = exponent;
        }
    }
    (start, end)
}

/// The number that text begins with, and whether there is nothing else but blanks.
pub(super) fn parse_double(text: &str) -> (f64, bool) {
    let (start, end) = number_prefix(text);
    let whole = end > start && text[end..].trim_end_matches(is_blank).is_empty();
    let number: f64 = text[start..end].parse().unwrap_or(0.0);
    if number.is_finite() {
        return (number, whole);
    }
    (f64::MAX.copysign(number), false)
}

/// The exact number that text begins with, and whether there is nothing else but blanks.
pub(super) fn parse_decimal(text: &str) -> (Option<Decimal>, bool) {
    let (start, end) = number_prefix(text);
    let whole = end > start && text[end..].trim_end_matches(is_blank).is_empty();
    if end == start {
        return (Some(Decimal::from(0_i64)), false);
    }
    (Decimal::parse(&text[start..end]), whole)
}

fn double_of_text(text: &str, context: &Context<'_>) -> Result<f64, Error> {
    let (number, whole) = parse_double(text);
    if !whole {
        context.complain(Error::Truncated { ty: "DOUBLE", value: excerpt(&text) })?;
    }
    Ok(number)
}

/// The value as text; NULL as no text. Bytes that are no UTF-8 are replaced.
pub(super) fn text_of(value: ValueRef<'_>) -> Cow<'_, str> {
    match value {
        ValueRef::Text(text) => text,
        ValueRef::Null => Cow::Borrowed(""),
        ValueRef::Bytes(Cow::Borrowed(bytes)) => String::from_utf8_lossy(bytes),
        ValueRef::Bytes(Cow::Owned(bytes)) => Cow::Owned(match String::from_utf8(bytes) {
            Ok(text) => text,
            Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
        }),
        ValueRef::Int(number) => Cow::Owned(number.to_string()),
        other => Cow::Owned(other.to_string()),
    }
}

/// The value as bytes: text in UTF-8.
pub(super) fn bytes_of(value: ValueRef<'_>) -> Cow<'_, [u8]> {
    match value {
        ValueRef::Bytes(bytes) => bytes,
        other => match text_of(other) {
            Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
            Cow::Owned(text) => Cow::Owned(text.into_bytes()),
        },
    }
}

/// The integer that a whole number is, BIGINT UNSIGNED if it must; `None` beyond both.
pub(super) fn integer(number: i128) -> Option<Number> {
    match i64::try_from(number) {
        Ok(number) => Some(Number::Int(number)),
        Err(_) => u64::try_from(number).ok().map(Number::UInt),
    }
}
