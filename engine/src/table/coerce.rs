//! Bringing a value to the type of its column, by the rules of MySQL in strict mode: what does
//! not fit is an error, never silently changed. Rounding is no change in that sense.

use std::borrow::Cow;

use super::column_type::{ColumnType, IntSize};
use super::json;
use super::value::{Date, DateTime, Decimal, Time, Value, ValueRef};

/// Why a value does not fit its column. The text leaves out which column: whoever knows it adds
/// it ([`RowError::Value`](super::RowError::Value)).
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ValueError {
    /// A number, date or time is beyond the range of its type (MySQL 1264).
    #[error("out of range value '{value}' for type {ty}")]
    OutOfRange {
        /// The column's type.
        ty: ColumnType,
        /// The value, shortened if long.
        value: String,
    },
    /// Text or bytes are too long (MySQL 1406).
    #[error("data too long for type {ty}: {length}")]
    TooLong {
        /// The column's type.
        ty: ColumnType,
        /// Length as given, in the type's unit: characters or bytes.
        length: usize,
    },
    /// The value means nothing in this type (MySQL 1366; 1292 for dates and times; 3140 for
    /// JSON).
    #[error("incorrect {ty} value: '{value}'")]
    Incorrect {
        /// The column's type.
        ty: ColumnType,
        /// The value, shortened if long.
        value: String,
    },
    /// NULL in a column that is NOT NULL (MySQL 1048).
    #[error("cannot be null")]
    Null,
    /// No value given for a column without default (MySQL 1364).
    #[error("has no default value")]
    NoDefault,
}

impl ValueError {
    /// MySQL's number of this error.
    #[must_use]
    pub const fn mysql_code(&self) -> u16 {
        match self {
            Self::OutOfRange { .. } => 1264,
            Self::TooLong { .. } => 1406,
            Self::Incorrect { ty: ColumnType::Json, .. } => 3140,
            Self::Incorrect {
                ty:
                    ColumnType::Date
                    | ColumnType::Time(_)
                    | ColumnType::DateTime(_)
                    | ColumnType::Timestamp(_),
                ..
            } => 1292,
            Self::Incorrect { .. } => 1366,
            Self::Null => 1048,
            Self::NoDefault => 1364,
        }
    }
}

/// The value as an error shows it: at most 64 characters.
fn excerpt(value: &ValueRef<'_>) -> String {
    let text = value.to_string();
    match text.char_indices().nth(64) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

impl ColumnType {
    /// The value as a column of this type stores it. NULL stays NULL.
    ///
    /// # Errors
    /// If it is out of range, too long, or means nothing in this type.
    pub fn coerce(&self, value: Value) -> Result<Value, ValueError> {
        if self.fits(&value.as_ref()) {
            return Ok(value);
        }
        self.converted(&value.as_ref())
    }

    /// The value of a field of text, such as of a CSV file. An empty field is an empty text:
    /// whether it means NULL is for the caller to say.
    ///
    /// # Errors
    /// As [`coerce`](Self::coerce).
    pub fn parse_text(&self, text: &str) -> Result<Value, ValueError> {
        match self {
            // The common case, without a second look.
            Self::Int { size, unsigned: false } => {
                if let Ok(number) = text.parse::<i64>()
                    && self.fits(&ValueRef::Int(number))
                {
                    return Ok(Value::Int(number));
                }
                self.integer(*size, false, &ValueRef::Text(Cow::Borrowed(text)))
            }
            _ => {
                let value = ValueRef::Text(Cow::Borrowed(text));
                if self.fits(&value) {
                    return Ok(value.into_owned());
                }
                self.converted(&value)
            }
        }
    }

    fn converted(&self, value: &ValueRef<'_>) -> Result<Value, ValueError> {
        match self {
            _ if value.is_null() => Ok(Value::Null),
            Self::Int { size, unsigned } => self.integer(*size, *unsigned, value),
            Self::Float | Self::Double => self.floating(value),
            Self::Decimal { precision, scale } => {
                let number = self.exact(value)?.rescaled(*scale);
                let number = number.filter(|number| number.fits(*precision));
                Ok(Value::Decimal(number.ok_or_else(|| self.out_of_range(value))?))
            }
            Self::Date => self.date(value),
            Self::Time(fsp) => self.time(*fsp, value),
            Self::DateTime(fsp) | Self::Timestamp(fsp) => self.moment(*fsp, value),
            Self::Char(_) | Self::VarChar(_) | Self::Text(_) => self.text(value),
            Self::Json => {
                let text = self.plain_text(value)?;
                json::check(&text).map_err(|_| self.incorrect(value))?;
                Ok(Value::Text(text.into_owned()))
            }
            Self::Binary(_) | Self::VarBinary(_) | Self::Blob(_) => self.bytes(value),
        }
    }

    fn out_of_range(&self, value: &ValueRef<'_>) -> ValueError {
        ValueError::OutOfRange { ty: *self, value: excerpt(value) }
    }

    fn incorrect(&self, value: &ValueRef<'_>) -> ValueError {
        ValueError::Incorrect { ty: *self, value: excerpt(value) }
    }

    fn integer(
        &self,
        size: IntSize,
        unsigned: bool,
        value: &ValueRef<'_>,
    ) -> Result<Value, ValueError> {
        let number = match value {
            // Doubles round half to even, exact numbers half away from zero, as in MySQL.
            ValueRef::Double(_) | ValueRef::Float(_) => {
                let number = self.double_of(value)?.round_ties_even();
                #[expect(clippy::cast_possible_truncation, reason = "saturates, then is refused")]
                let number = number as i128;
                number
            }
            _ => {
                let number = self.exact(value)?.rescaled(0);
                number.ok_or_else(|| self.out_of_range(value))?.unscaled()
            }
        };
        let (low, high) = Self::int_range(size, unsigned);
        if number < low || number > high {
            return Err(self.out_of_range(value));
        }
        let out_of_range = |_| self.out_of_range(value);
        if unsigned {
            return u64::try_from(number).map(Value::UInt).map_err(out_of_range);
        }
        i64::try_from(number).map(Value::Int).map_err(out_of_range)
    }

    /// The value as an exact number; dates and times as MySQL's digits, `20240229`.
    fn exact(&self, value: &ValueRef<'_>) -> Result<Decimal, ValueError> {
        let number = match value {
            ValueRef::Int(number) => Some(Decimal::from(*number)),
            ValueRef::UInt(number) => Some(Decimal::from(*number)),
            ValueRef::Decimal(number) => Some(*number),
            ValueRef::Float(_) | ValueRef::Double(_) => {
                let number = Decimal::from_f64(self.double_of(value)?);
                return number.ok_or_else(|| self.out_of_range(value));
            }
            ValueRef::Text(_) | ValueRef::Bytes(_) => {
                let text = self.plain_text(value)?;
                let number = Decimal::parse(text.trim());
                // A number of more than 38 digits is a number nonetheless.
                if number.is_none() && text.trim().parse::<f64>().is_ok_and(f64::is_finite) {
                    return Err(self.out_of_range(value));
                }
                number
            }
            ValueRef::Date(_) | ValueRef::Time(_) | ValueRef::DateTime(_) => {
                let digits = value.to_string().replace(['-', ':', ' '], "");
                Decimal::parse(&digits)
            }
            ValueRef::Null => None,
        };
        number.ok_or_else(|| self.incorrect(value))
    }

    fn floating(&self, value: &ValueRef<'_>) -> Result<Value, ValueError> {
        // Adding zero turns negative zero into zero.
        let number = self.double_of(value)? + 0.0;
        if !number.is_finite() {
            return Err(self.out_of_range(value));
        }
        if *self == Self::Double {
            return Ok(Value::Double(number));
        }
        #[expect(clippy::cast_possible_truncation, reason = "to the nearest, as is asked for")]
        let single = match value {
            ValueRef::Float(single) => *single + 0.0,
            _ => number as f32 + 0.0,
        };
        single.is_finite().then_some(Value::Float(single)).ok_or_else(|| self.out_of_range(value))
    }

    fn double_of(&self, value: &ValueRef<'_>) -> Result<f64, ValueError> {
        #[expect(clippy::cast_precision_loss, reason = "the nearest double is what is asked for")]
        match value {
            ValueRef::Int(number) => Ok(*number as f64),
            ValueRef::UInt(number) => Ok(*number as f64),
            ValueRef::Float(number) if number.is_nan() => Err(self.incorrect(value)),
            ValueRef::Double(number) if number.is_nan() => Err(self.incorrect(value)),
            ValueRef::Float(number) => {
                // By its shortest text, so that a float of 0.1 becomes the double 0.1.
                number.to_string().parse().map_err(|_| self.incorrect(value))
            }
            ValueRef::Double(number) => Ok(*number),
            ValueRef::Decimal(number) => Ok(number.to_f64()),
            ValueRef::Text(_) | ValueRef::Bytes(_) => {
                let text = self.plain_text(value)?;
                let number = text.trim();
                // Rust also reads words such as "nan" and "infinity".
                let words = number
                    .bytes()
                    .any(|byte| byte.is_ascii_alphabetic() && !matches!(byte, b'e' | b'E'));
                let number = number.parse().ok().filter(|_| !words);
                number.ok_or_else(|| self.incorrect(value))
            }
            ValueRef::Date(_) | ValueRef::Time(_) | ValueRef::DateTime(_) | ValueRef::Null => {
                self.exact(value).map(Decimal::to_f64)
            }
        }
    }

    fn date(&self, value: &ValueRef<'_>) -> Result<Value, ValueError> {
        let date = match value {
            ValueRef::DateTime(moment) => Some(moment.date()),
            _ => {
                let text = self.plain_text(value)?;
                let text = text.trim();
                Date::parse(text).or_else(|| DateTime::parse(text).map(DateTime::date))
            }
        };
        date.map(Value::Date).ok_or_else(|| self.incorrect(value))
    }

    fn time(&self, fsp: u8, value: &ValueRef<'_>) -> Result<Value, ValueError> {
        let time = match value {
            ValueRef::Time(time) => Some(*time),
            ValueRef::DateTime(moment) => Some(moment.time()),
            _ => Time::parse(self.plain_text(value)?.trim()),
        };
        let time = time.ok_or_else(|| self.incorrect(value))?;
        Ok(Value::Time(time.rounded(fsp)))
    }

    fn moment(&self, fsp: u8, value: &ValueRef<'_>) -> Result<Value, ValueError> {
        let moment = match value {
            ValueRef::DateTime(moment) => Some(*moment),
            ValueRef::Date(date) => Some(date.midnight()),
            _ => DateTime::parse(self.plain_text(value)?.trim()),
        };
        let moment = moment.ok_or_else(|| self.incorrect(value))?;
        let rounded = moment.rounded(fsp).filter(|rounded| self.moment_in_range(*rounded));
        // MySQL calls a moment beyond the range of TIMESTAMP incorrect, not out of range.
        rounded.map(Value::DateTime).ok_or_else(|| self.incorrect(value))
    }

    fn text(&self, value: &ValueRef<'_>) -> Result<Value, ValueError> {
        let text = self.plain_text(value)?;
        let kept = match self {
            Self::Char(_) => text.trim_end_matches(' '),
            // Blanks at the end that do not fit are cut off without an error, as in MySQL.
            Self::VarChar(most) => {
                let end =
                    text.char_indices().nth(*most as usize).map_or(text.len(), |(end, _)| end);
                if text[end..].bytes().all(|byte| byte == b' ') { &text[..end] } else { &text }
            }
            _ => &text,
        };
        if self.fits(&ValueRef::Text(Cow::Borrowed(kept))) {
            return Ok(Value::Text(kept.to_owned()));
        }
        let length = if let Self::Text(_) = self { kept.len() } else { kept.chars().count() };
        Err(ValueError::TooLong { ty: *self, length })
    }

    fn plain_text<'v>(&self, value: &'v ValueRef<'v>) -> Result<Cow<'v, str>, ValueError> {
        match value {
            ValueRef::Text(text) => Ok(Cow::Borrowed(text)),
            ValueRef::Bytes(bytes) => {
                std::str::from_utf8(bytes).map(Cow::Borrowed).map_err(|_| self.incorrect(value))
            }
            _ => Ok(Cow::Owned(value.to_string())),
        }
    }

    fn bytes(&self, value: &ValueRef<'_>) -> Result<Value, ValueError> {
        let mut bytes = match value {
            ValueRef::Bytes(bytes) => bytes.to_vec(),
            _ => self.plain_text(value)?.into_owned().into_bytes(),
        };
        if let Self::Binary(length) = self
            && bytes.len() < usize::from(*length)
        {
            bytes.resize(usize::from(*length), 0);
        }
        let length = bytes.len();
        let value = Value::Bytes(bytes);
        if self.fits(&value.as_ref()) {
            return Ok(value);
        }
        Err(ValueError::TooLong { ty: *self, length })
    }
}
