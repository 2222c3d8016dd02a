//! The types of results: derived when an expression is compiled, for the columns of a result.

use std::borrow::Cow;

use resprout_engine::table::{ColumnType, FSP_MAX, PRECISION_MAX, SCALE_MAX, Value, ValueRef};

/// The type of an expression.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// Always NULL.
    Null,
    /// Known only when parameters and variables have values.
    Unknown,
    /// BIGINT.
    Int,
    /// BIGINT UNSIGNED.
    UInt,
    /// DECIMAL.
    Decimal {
        /// Digits in all.
        precision: u8,
        /// Digits after the point.
        scale: u8,
    },
    /// FLOAT.
    Float,
    /// DOUBLE.
    Double,
    /// VARCHAR or TEXT. How long a text may be is not derived.
    Text,
    /// VARBINARY or BLOB.
    Bytes,
    /// DATE.
    Date,
    /// TIME with so many digits of a fraction.
    Time(u8),
    /// DATETIME or TIMESTAMP with so many digits of a fraction.
    DateTime(u8),
}

/// Digits of the longest BIGINT UNSIGNED.
const BIGINT_DIGITS: u8 = 20;

impl Type {
    /// The type of a column's values.
    #[must_use]
    pub const fn of_column(ty: &ColumnType) -> Self {
        match ty {
            ColumnType::Int { unsigned: false, .. } => Self::Int,
            ColumnType::Int { unsigned: true, .. } => Self::UInt,
            ColumnType::Float => Self::Float,
            ColumnType::Double => Self::Double,
            ColumnType::Decimal { precision, scale } => {
                Self::Decimal { precision: *precision, scale: *scale }
            }
            ColumnType::Char(_)
            | ColumnType::VarChar(_)
            | ColumnType::Text(_)
            | ColumnType::Json => Self::Text,
            ColumnType::Binary(_) | ColumnType::VarBinary(_) | ColumnType::Blob(_) => Self::Bytes,
            ColumnType::Date => Self::Date,
            ColumnType::Time(fsp) => Self::Time(*fsp),
            ColumnType::DateTime(fsp) | ColumnType::Timestamp(fsp) => Self::DateTime(*fsp),
        }
    }

    /// The type that a value has by itself.
    #[must_use]
    pub fn of_value(value: &Value) -> Self {
        let fsp = |micros: i64| if micros % 1_000_000 == 0 { 0 } else { FSP_MAX };
        match value {
            Value::Null => Self::Null,
            Value::Int(_) => Self::Int,
            Value::UInt(_) => Self::UInt,
            Value::Float(_) => Self::Float,
            Value::Double(_) => Self::Double,
            Value::Decimal(number) => {
                let digits = number.unscaled().unsigned_abs().checked_ilog10().unwrap_or(0) + 1;
                let digits = u8::try_from(digits).unwrap_or(PRECISION_MAX).max(number.scale());
                Self::Decimal { precision: digits, scale: number.scale() }
            }
            Value::Text(_) => Self::Text,
            Value::Bytes(_) => Self::Bytes,
            Value::Date(_) => Self::Date,
            Value::Time(time) => Self::Time(fsp(time.micros())),
            Value::DateTime(moment) => Self::DateTime(fsp(moment.micros())),
        }
    }

    /// Whether it is DATE, TIME or DATETIME.
    #[must_use]
    pub const fn is_temporal(self) -> bool {
        matches!(self, Self::Date | Self::Time(_) | Self::DateTime(_))
    }

    /// Whether it is a number, exact or not.
    #[must_use]
    pub const fn is_number(self) -> bool {
        matches!(self, Self::Int | Self::UInt | Self::Decimal { .. } | Self::Float | Self::Double)
    }

    /// A decimal type within the limits.
    pub(super) fn decimal(whole: u32, scale: u32) -> Self {
        let scale = u8::try_from(scale).unwrap_or(SCALE_MAX).min(SCALE_MAX);
        let whole = u8::try_from(whole).unwrap_or(PRECISION_MAX).max(1);
        Self::Decimal { precision: whole.saturating_add(scale).min(PRECISION_MAX), scale }
    }

    /// Digits before and after the point, of a type that arithmetic takes as an exact number.
    pub(super) fn digits(self) -> Option<(u32, u32)> {
        match self {
            Self::Int | Self::UInt => Some((u32::from(BIGINT_DIGITS), 0)),
            Self::Decimal { precision, scale } => {
                Some((u32::from(precision.saturating_sub(scale)), u32::from(scale)))
            }
            Self::Date => Some((8, 0)),
            Self::Time(fsp) => Some((7, u32::from(fsp))),
            Self::DateTime(fsp) => Some((14, u32::from(fsp))),
            Self::Null | Self::Unknown | Self::Float | Self::Double | Self::Text | Self::Bytes => {
                None
            }
        }
    }

    /// The type that holds the values of both: that of `CASE`, `IF` and `COALESCE`.
    #[must_use]
    pub fn merge(self, other: Self) -> Self {
        match (self, other) {
            _ if self == other => self,
            (Self::Unknown, _) | (_, Self::Unknown) => Self::Unknown,
            (Self::Null, ty) | (ty, Self::Null) => ty,
            (Self::Bytes, _) | (_, Self::Bytes) => Self::Bytes,
            (Self::Text, _) | (_, Self::Text) => Self::Text,
            _ if self.is_temporal() && other.is_temporal() => self.merge_temporal(other),
            _ if self.is_temporal() || other.is_temporal() => Self::Text,
            (Self::Float | Self::Double, _) | (_, Self::Float | Self::Double) => Self::Double,
            _ => match (self.digits(), other.digits()) {
                (Some(one), Some(other)) => Self::decimal(one.0.max(other.0), one.1.max(other.1)),
                _ => Self::Unknown,
            },
        }
    }

    fn merge_temporal(self, other: Self) -> Self {
        let fsp = self.fsp().max(other.fsp());
        match (self, other) {
            (Self::Time(_), Self::Time(_)) => Self::Time(fsp),
            _ => Self::DateTime(fsp),
        }
    }

    /// Digits of a fraction of a second.
    pub(super) const fn fsp(self) -> u8 {
        match self {
            Self::Time(fsp) | Self::DateTime(fsp) => fsp,
            _ => 0,
        }
    }

    /// The value as the text protocol shows it in a result of this type: times and decimals with
    /// as many digits as the type has. Bytes stay bytes, so they are not for this.
    #[must_use]
    pub fn show<'v>(self, value: &'v ValueRef<'v>) -> Cow<'v, str> {
        let column = match (self, value) {
            (_, ValueRef::Text(text)) => return Cow::Borrowed(text),
            (_, ValueRef::Bytes(bytes)) => return String::from_utf8_lossy(bytes),
            (Self::Time(fsp), _) => ColumnType::Time(fsp),
            (Self::DateTime(fsp), _) => ColumnType::DateTime(fsp),
            _ => ColumnType::Double,
        };
        Cow::Owned(column.show(value).to_string())
    }
}
