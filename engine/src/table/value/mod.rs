//! The values that columns hold: [`Value`] owns its bytes, [`ValueRef`] borrows them from a row
//! or a key, so that reading allocates nothing.

mod decimal;
mod temporal;

use std::borrow::Cow;
use std::fmt;

pub use decimal::{Decimal, PRECISION_MAX, SCALE_MAX};
pub use temporal::{Date, DateTime, FSP_MAX, Time};

/// One value, of any type.
#[derive(Clone, Debug, PartialEq, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
pub enum Value {
    /// No value.
    Null,
    /// A signed integer.
    Int(i64),
    /// An unsigned integer.
    UInt(u64),
    /// A number of single precision: what FLOAT columns hold.
    Float(f32),
    /// A number of double precision.
    Double(f64),
    /// An exact number.
    Decimal(Decimal),
    /// Characters.
    Text(String),
    /// Bytes.
    Bytes(Vec<u8>),
    /// A day.
    Date(Date),
    /// A time of day or a span of time.
    Time(Time),
    /// A moment: of DATETIME without a zone, of TIMESTAMP in UTC.
    DateTime(DateTime),
}

/// A [`Value`] that borrows its text and bytes where it can. (Text in a key is stored escaped;
/// one with zero bytes in it has to be copied.)
#[derive(Clone, Debug, PartialEq)]
pub enum ValueRef<'a> {
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
    /// An exact number.
    Decimal(Decimal),
    /// Characters.
    Text(Cow<'a, str>),
    /// Bytes.
    Bytes(Cow<'a, [u8]>),
    /// A day.
    Date(Date),
    /// A time of day or a span of time.
    Time(Time),
    /// A moment.
    DateTime(DateTime),
}

impl Value {
    /// The same value, borrowed.
    #[must_use]
    pub fn as_ref(&self) -> ValueRef<'_> {
        match self {
            Self::Null => ValueRef::Null,
            Self::Int(number) => ValueRef::Int(*number),
            Self::UInt(number) => ValueRef::UInt(*number),
            Self::Float(number) => ValueRef::Float(*number),
            Self::Double(number) => ValueRef::Double(*number),
            Self::Decimal(number) => ValueRef::Decimal(*number),
            Self::Text(text) => ValueRef::Text(Cow::Borrowed(text)),
            Self::Bytes(bytes) => ValueRef::Bytes(Cow::Borrowed(bytes)),
            Self::Date(date) => ValueRef::Date(*date),
            Self::Time(time) => ValueRef::Time(*time),
            Self::DateTime(moment) => ValueRef::DateTime(*moment),
        }
    }

    /// Whether it is NULL.
    #[must_use]
    pub const fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }
}

impl ValueRef<'_> {
    /// The same value with its own bytes.
    #[must_use]
    pub fn into_owned(self) -> Value {
        match self {
            Self::Null => Value::Null,
            Self::Int(number) => Value::Int(number),
            Self::UInt(number) => Value::UInt(number),
            Self::Float(number) => Value::Float(number),
            Self::Double(number) => Value::Double(number),
            Self::Decimal(number) => Value::Decimal(number),
            Self::Text(text) => Value::Text(text.into_owned()),
            Self::Bytes(bytes) => Value::Bytes(bytes.into_owned()),
            Self::Date(date) => Value::Date(date),
            Self::Time(time) => Value::Time(time),
            Self::DateTime(moment) => Value::DateTime(moment),
        }
    }

    /// Whether it is NULL.
    #[must_use]
    pub const fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }
}

impl From<Value> for ValueRef<'_> {
    fn from(value: Value) -> Self {
        match value {
            Value::Text(text) => Self::Text(text.into()),
            Value::Bytes(bytes) => Self::Bytes(bytes.into()),
            Value::Null => Self::Null,
            Value::Int(number) => Self::Int(number),
            Value::UInt(number) => Self::UInt(number),
            Value::Float(number) => Self::Float(number),
            Value::Double(number) => Self::Double(number),
            Value::Decimal(number) => Self::Decimal(number),
            Value::Date(date) => Self::Date(date),
            Value::Time(time) => Self::Time(time),
            Value::DateTime(moment) => Self::DateTime(moment),
        }
    }
}

impl<'a> From<&'a Value> for ValueRef<'a> {
    fn from(value: &'a Value) -> Self {
        value.as_ref()
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Int(number)
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Self::UInt(number)
    }
}

impl From<f64> for Value {
    fn from(number: f64) -> Self {
        Self::Double(number)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<Vec<u8>> for Value {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Bytes(bytes)
    }
}

impl<T: Into<Self>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

/// As MySQL prints it in a result without a column type: text plain, bytes as `0x…`.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_ref().fmt(f)
    }
}

/// As MySQL prints it in a result without a column type: text plain, bytes as `0x…`.
impl fmt::Display for ValueRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("NULL"),
            Self::Int(number) => number.fmt(f),
            Self::UInt(number) => number.fmt(f),
            Self::Float(number) => write_float(f, f64::from(*number), number),
            Self::Double(number) => write_float(f, *number, number),
            Self::Decimal(number) => number.fmt(f),
            Self::Text(text) => f.write_str(text),
            Self::Bytes(bytes) => {
                f.write_str("0x")?;
                bytes.iter().try_for_each(|byte| write!(f, "{byte:02X}"))
            }
            Self::Date(date) => date.fmt(f),
            Self::Time(time) => time.fmt(f),
            Self::DateTime(moment) => moment.fmt(f),
        }
    }
}

/// MySQL's way with floating point: the shortest digits that read back, in scientific form
/// (`1e20`, `1e-16`) when the plain form would be mostly zeros.
fn write_float<T: fmt::Display + fmt::LowerExp>(
    f: &mut fmt::Formatter<'_>,
    size: f64,
    number: &T,
) -> fmt::Result {
    let plain = size == 0.0 || (1e-15..1e15).contains(&size.abs());
    if plain { write!(f, "{number}") } else { write!(f, "{number:e}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_print_as_mysql_prints_them() {
        for (value, expected) in [
            (Value::Null, "NULL"),
            (Value::Int(-5), "-5"),
            (Value::UInt(u64::MAX), "18446744073709551615"),
            (Value::Float(0.1), "0.1"),
            (Value::Double(1.0), "1"),
            (Value::Double(1e20), "1e20"),
            (Value::Double(-2.5e-20), "-2.5e-20"),
            (Value::Text("a b".into()), "a b"),
            (Value::Bytes(vec![0, 255]), "0x00FF"),
            (Value::Date(Date::from_civil(2024, 2, 29).unwrap()), "2024-02-29"),
        ] {
            assert_eq!(value.to_string(), expected);
        }
    }
}
