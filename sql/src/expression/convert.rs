//! `CAST` and `CONVERT`, and bringing a value to the type of a result.

use std::borrow::Cow;

use resprout_engine::table::{DateTime, Decimal, Value, ValueRef};

use super::error::{Error, excerpt};
use super::node::Env;
use super::number::{Number, bytes_of, double_of, integer_of, number_of, parse_decimal, text_of};
use super::temporal::convert::{date_of, moment_of, time_of};
use super::ty::Type;

/// What `CAST` makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    Signed,
    Unsigned,
    Decimal {
        precision: u8,
        scale: u8,
    },
    Double,
    Float,
    /// At most so many characters.
    Char(Option<u64>),
    /// At most so many bytes, and filled with zeros up to them.
    Binary(Option<u64>),
    Date,
    Time(u8),
    DateTime(u8),
    Year,
}

impl Target {
    pub(super) const fn ty(self) -> Type {
        match self {
            Self::Signed | Self::Year => Type::Int,
            Self::Unsigned => Type::UInt,
            Self::Decimal { precision, scale } => Type::Decimal { precision, scale },
            Self::Double => Type::Double,
            Self::Float => Type::Float,
            Self::Char(_) => Type::Text,
            Self::Binary(_) => Type::Bytes,
            Self::Date => Type::Date,
            Self::Time(fsp) => Type::Time(fsp),
            Self::DateTime(fsp) => Type::DateTime(fsp),
        }
    }

    pub(super) fn cast<'e>(
        self,
        value: ValueRef<'e>,
        env: &Env<'e>,
    ) -> Result<ValueRef<'e>, Error> {
        if value.is_null() {
            return Ok(value);
        }
        let context = env.context;
        Ok(match self {
            Self::Signed | Self::Unsigned => self.cast_integer(&value, env)?,
            Self::Decimal { precision, scale } => cast_decimal(&value, precision, scale, env)?,
            Self::Double => double_of(&value, context)?.map_or(ValueRef::Null, ValueRef::Double),
            #[expect(clippy::cast_possible_truncation, reason = "to the nearest is asked for")]
            Self::Float => double_of(&value, context)?
                .map_or(ValueRef::Null, |number| ValueRef::Float(number as f32)),
            Self::Char(most) => cast_text(text_of(value), most, env)?,
            Self::Binary(length) => cast_bytes(bytes_of(value), length, env)?,
            Self::Date => date_of(&value, context)?.map_or(ValueRef::Null, ValueRef::Date),
            Self::Time(fsp) => time_of(&value, context)?
                .map_or(ValueRef::Null, |time| ValueRef::Time(cut_time(time, fsp))),
            Self::DateTime(fsp) => moment_of(&value, context)?
                .and_then(|moment| cut_moment(moment, fsp))
                .map_or(ValueRef::Null, ValueRef::DateTime),
            Self::Year => {
                let year = integer_of(&value, context)?.unwrap_or(0);
                ValueRef::Int(i64::try_from(year).unwrap_or(0))
            }
        })
    }

    /// Integers keep their bits when only the sign is read otherwise.
    fn cast_integer<'e>(self, value: &ValueRef<'_>, env: &Env<'e>) -> Result<ValueRef<'e>, Error> {
        let number = integer_of(value, env.context)?.unwrap_or(0);
        let truncated = || Error::Truncated { ty: "INTEGER", value: excerpt(value) };
        if self == Self::Signed {
            let signed = match i64::try_from(number) {
                Ok(signed) => signed,
                Err(_) if matches!(value, ValueRef::UInt(_) | ValueRef::Text(_)) => {
                    u64::try_from(number).map_or(i64::MIN, u64::cast_signed)
                }
                Err(_) => {
                    env.context.complain(truncated())?;
                    if number < 0 { i64::MIN } else { i64::MAX }
                }
            };
            return Ok(ValueRef::Int(signed));
        }
        let unsigned = match (u64::try_from(number), i64::try_from(number)) {
            (Ok(unsigned), _) => unsigned,
            (_, Ok(negative)) if matches!(value, ValueRef::Decimal(_) | ValueRef::Double(_)) => {
                env.context.complain(truncated())?;
                if matches!(value, ValueRef::Decimal(_)) { 0 } else { negative.cast_unsigned() }
            }
            (_, Ok(negative)) => negative.cast_unsigned(),
            _ => {
                env.context.complain(truncated())?;
                if number < 0 { 0 } else { u64::MAX }
            }
        };
        Ok(ValueRef::UInt(unsigned))
    }
}

fn cut_time(time: resprout_engine::table::Time, fsp: u8) -> resprout_engine::table::Time {
    let unit = 10_i64.pow(u32::from(6 - fsp.min(6)));
    resprout_engine::table::Time::from_micros(time.micros() / unit * unit).unwrap_or(time)
}

fn cut_moment(moment: DateTime, fsp: u8) -> Option<DateTime> {
    let unit = 10_i64.pow(u32::from(6 - fsp.min(6)));
    DateTime::from_micros(moment.micros().div_euclid(unit) * unit)
}

fn cast_decimal<'e>(
    value: &ValueRef<'_>,
    precision: u8,
    scale: u8,
    env: &Env<'e>,
) -> Result<ValueRef<'e>, Error> {
    let truncated = || Error::Truncated { ty: "DECIMAL", value: excerpt(value) };
    let exact = match value {
        ValueRef::Text(_) | ValueRef::Bytes(_) => {
            let (number, whole) = parse_decimal(&text_of(value.clone()));
            if !whole {
                env.context.complain(truncated())?;
            }
            number
        }
        _ => match number_of(value, env.context)? {
            Some(Number::Double(number)) => Decimal::from_f64(number),
            Some(number) => number.to_decimal(),
            None => None,
        },
    };
    let fitting =
        exact.and_then(|number| number.rescaled(scale)).filter(|number| number.fits(precision));
    if let Some(number) = fitting {
        return Ok(ValueRef::Decimal(number));
    }
    // The largest number of the type stands for all that are beyond it.
    env.context.complain(Error::OutOfColumn(format!("cast({} as decimal)", excerpt(value))))?;
    let negative = number_of(value, env.context)?.is_some_and(|number| number.to_f64() < 0.0);
    let nines = 10_i128.pow(u32::from(precision.min(38))) - 1;
    let most = Decimal::new(if negative { -nines } else { nines }, scale);
    Ok(most.map_or(ValueRef::Null, ValueRef::Decimal))
}

fn cast_text<'e>(
    text: Cow<'e, str>,
    most: Option<u64>,
    env: &Env<'e>,
) -> Result<ValueRef<'e>, Error> {
    let most = most.and_then(|most| usize::try_from(most).ok());
    let Some((end, _)) = most.and_then(|most| text.char_indices().nth(most)) else {
        return Ok(ValueRef::Text(text));
    };
    env.context.complain(Error::Truncated { ty: "CHAR", value: excerpt(&text) })?;
    Ok(ValueRef::Text(match text {
        Cow::Borrowed(text) => Cow::Borrowed(&text[..end]),
        Cow::Owned(mut text) => {
            text.truncate(end);
            Cow::Owned(text)
        }
    }))
}

fn cast_bytes<'e>(
    bytes: Cow<'e, [u8]>,
    length: Option<u64>,
    env: &Env<'e>,
) -> Result<ValueRef<'e>, Error> {
    let Some(length) = length else { return Ok(ValueRef::Bytes(bytes)) };
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    if length > env.context.max_packet {
        let limit = env.context.max_packet;
        env.context.complain(Error::TooLong { function: "cast_as_binary", limit })?;
        return Ok(ValueRef::Null);
    }
    if bytes.len() > length {
        let value = excerpt(&String::from_utf8_lossy(&bytes));
        env.context.complain(Error::Truncated { ty: "BINARY", value })?;
    }
    let mut bytes = bytes.into_owned();
    bytes.resize(length, 0);
    Ok(ValueRef::Bytes(bytes.into()))
}

/// The value in the type of a result that several expressions share, such as those of `CASE`.
pub(super) fn adapt<'e>(
    value: ValueRef<'e>,
    ty: Type,
    env: &Env<'e>,
) -> Result<ValueRef<'e>, Error> {
    Ok(match (ty, value) {
        (_, ValueRef::Null) => ValueRef::Null,
        (Type::Decimal { scale, .. }, value) => match number_of(&value, env.context)? {
            Some(Number::Double(_)) | None => value,
            Some(number) => number
                .to_decimal()
                .and_then(|number| number.rescaled(scale))
                .map_or(value, ValueRef::Decimal),
        },
        (Type::Double, value) => {
            double_of(&value, env.context)?.map_or(ValueRef::Null, ValueRef::Double)
        }
        (Type::Text, value) => ValueRef::Text(text_of(value)),
        (Type::Bytes, value) => ValueRef::Bytes(bytes_of(value)),
        (Type::DateTime(_), value @ (ValueRef::Date(_) | ValueRef::Time(_))) => {
            moment_of(&value, env.context)?.map_or(ValueRef::Null, ValueRef::DateTime)
        }
        (_, value) => value,
    })
}

/// A literal's bytes as the number that they are where a number is needed.
pub(super) fn number_of_bytes(bytes: &[u8]) -> Value {
    let tail = &bytes[bytes.len().saturating_sub(8)..];
    Value::UInt(tail.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
}
