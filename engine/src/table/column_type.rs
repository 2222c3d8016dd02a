//! The types of columns, in MySQL's words: which values each holds, how it is spelled, how it
//! shows its values.

use std::fmt;
use std::str::FromStr;

use super::value::{Date, DateTime, Decimal, FSP_MAX, PRECISION_MAX, SCALE_MAX, Time, ValueRef};

/// Bytes of the longest row of MySQL, hence the longest VARCHAR or VARBINARY.
const VAR_MAX: u32 = 65_535;

/// Size of an integer column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
pub enum IntSize {
    /// TINYINT: 1 byte.
    Tiny,
    /// SMALLINT: 2 bytes.
    Small,
    /// MEDIUMINT: 3 bytes.
    Medium,
    /// INT: 4 bytes.
    Int,
    /// BIGINT: 8 bytes.
    Big,
}

impl IntSize {
    /// Bytes that hold such a number.
    #[must_use]
    pub const fn bytes(self) -> usize {
        match self {
            Self::Tiny => 1,
            Self::Small => 2,
            Self::Medium => 3,
            Self::Int => 4,
            Self::Big => 8,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Tiny => "tinyint",
            Self::Small => "smallint",
            Self::Medium => "mediumint",
            Self::Int => "int",
            Self::Big => "bigint",
        }
    }
}

/// Size of a TEXT or BLOB column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
pub enum LobSize {
    /// Up to 255 bytes.
    Tiny,
    /// Up to 64 KiB - 1.
    Regular,
    /// Up to 16 MiB - 1.
    Medium,
    /// Up to 4 GiB - 1, though the limit of a whole row comes first.
    Long,
}

impl LobSize {
    /// Most bytes of a value.
    #[must_use]
    pub const fn bytes(self) -> usize {
        match self {
            Self::Tiny => 0xFF,
            Self::Regular => 0xFFFF,
            Self::Medium => 0xFF_FFFF,
            Self::Long => 0xFFFF_FFFF,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Tiny => "tiny",
            Self::Regular => "",
            Self::Medium => "medium",
            Self::Long => "long",
        }
    }
}

/// The type of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
pub enum ColumnType {
    /// TINYINT to BIGINT.
    Int {
        /// Bytes of a number.
        size: IntSize,
        /// No negative numbers, twice the positive ones.
        unsigned: bool,
    },
    /// FLOAT: single precision.
    Float,
    /// DOUBLE: double precision.
    Double,
    /// DECIMAL: exact.
    Decimal {
        /// Digits in all, 1 to 38.
        precision: u8,
        /// Digits after the point.
        scale: u8,
    },
    /// CHAR: characters, trailing blanks do not count.
    Char(u8),
    /// VARCHAR: characters.
    VarChar(u32),
    /// TINYTEXT to LONGTEXT.
    Text(LobSize),
    /// BINARY: bytes, filled up with zeros.
    Binary(u8),
    /// VARBINARY: bytes.
    VarBinary(u32),
    /// TINYBLOB to LONGBLOB.
    Blob(LobSize),
    /// DATE.
    Date,
    /// TIME with so many digits of a fraction.
    Time(u8),
    /// DATETIME with so many digits of a fraction.
    DateTime(u8),
    /// TIMESTAMP with so many digits of a fraction.
    Timestamp(u8),
    /// JSON, kept as text.
    Json,
}

/// What is wrong with the spelling of a type.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TypeError {
    /// No such type, or text after it that does not belong to one.
    #[error("unknown column type '{0}'")]
    Unknown(String),
    /// A number in brackets is missing, not a number, or not expected here.
    #[error("column type '{0}': wrong arguments in brackets")]
    Arguments(String),
    /// A number in brackets is beyond its limit (MySQL 1074, 1425, 1426).
    #[error("column type '{text}': {found} is out of range, at most {limit} is possible")]
    TooLarge {
        /// The type as given.
        text: String,
        /// The number as given.
        found: u32,
        /// The largest possible.
        limit: u32,
    },
}

impl ColumnType {
    /// Reads a type as MySQL spells it: `bigint unsigned`, `decimal(10,2)`, `varchar(20)`.
    ///
    /// # Errors
    /// If there is no such type or a number in brackets is out of range.
    pub fn parse(text: &str) -> Result<Self, TypeError> {
        Spelling::read(text)?.resolve()
    }

    /// Bytes of a value in a row or key, if all values of the type have the same number.
    #[must_use]
    pub const fn fixed_width(&self) -> Option<usize> {
        Some(match self {
            Self::Int { size, .. } => size.bytes(),
            Self::Float | Self::Date => 4,
            Self::Double | Self::Time(_) | Self::DateTime(_) | Self::Timestamp(_) => 8,
            Self::Decimal { precision, .. } => {
                if *precision <= 18 {
                    8
                } else {
                    16
                }
            }
            _ => return None,
        })
    }

    /// Most bytes of a value, before any escaping.
    #[must_use]
    pub const fn max_bytes(&self) -> usize {
        match self {
            // A character of UTF-8 has up to four bytes.
            Self::Char(characters) => *characters as usize * 4,
            Self::VarChar(characters) => *characters as usize * 4,
            Self::Binary(bytes) => *bytes as usize,
            Self::VarBinary(bytes) => *bytes as usize,
            Self::Text(size) | Self::Blob(size) => size.bytes(),
            Self::Json => LobSize::Long.bytes(),
            _ => match self.fixed_width() {
                Some(width) => width,
                None => 0,
            },
        }
    }

    /// Whether values are text.
    #[must_use]
    pub const fn is_text(&self) -> bool {
        matches!(self, Self::Char(_) | Self::VarChar(_) | Self::Text(_) | Self::Json)
    }

    /// Whether a column of this type may be part of a key: TEXT, BLOB and JSON may not (MySQL
    /// 1170, 3152).
    #[must_use]
    pub const fn can_be_key(&self) -> bool {
        !matches!(self, Self::Text(_) | Self::Blob(_) | Self::Json)
    }

    /// The smallest and the largest number of an integer type.
    pub(crate) const fn int_range(size: IntSize, unsigned: bool) -> (i128, i128) {
        let bits = size.bytes() * 8;
        if unsigned { (0, (1 << bits) - 1) } else { (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) }
    }

    /// Whether `value` can be stored as it is, without [coercion](Self::coerce). NULL fits every
    /// type.
    #[must_use]
    #[inline]
    pub fn fits(&self, value: &ValueRef<'_>) -> bool {
        match (self, value) {
            (_, ValueRef::Null) => true,
            (Self::Int { size, unsigned: false }, ValueRef::Int(number)) => {
                let spare = 64 - 8 * size.bytes();
                *number << spare >> spare == *number
            }
            (Self::Int { size, unsigned: true }, ValueRef::UInt(number)) => {
                let spare = 64 - 8 * size.bytes();
                *number << spare >> spare == *number
            }
            // Negative zero equals zero but has other bytes: it is made zero by coercion.
            (Self::Float, ValueRef::Float(number)) => {
                number.is_finite() && (*number != 0.0 || number.is_sign_positive())
            }
            (Self::Double, ValueRef::Double(number)) => {
                number.is_finite() && (*number != 0.0 || number.is_sign_positive())
            }
            (Self::Decimal { precision, scale }, ValueRef::Decimal(number)) => {
                number.scale() == *scale && number.fits(*precision)
            }
            (Self::Date, ValueRef::Date(date)) => Date::from_days(date.days()).is_some(),
            (Self::Time(fsp), ValueRef::Time(time)) => {
                Time::from_micros(time.micros()).is_some_and(|time| time.rounded(*fsp) == time)
            }
            (Self::DateTime(fsp) | Self::Timestamp(fsp), ValueRef::DateTime(moment)) => {
                self.moment_in_range(*moment) && moment.rounded(*fsp) == Some(*moment)
            }
            _ => self.fits_bytes(value),
        }
    }

    /// Whether a moment lies in the range of this DATETIME or TIMESTAMP type.
    pub(crate) fn moment_in_range(&self, moment: DateTime) -> bool {
        let range = match self {
            Self::Timestamp(_) => DateTime::TIMESTAMP_MIN..=DateTime::TIMESTAMP_MAX,
            _ => DateTime::MIN..=DateTime::MAX,
        };
        range.contains(&moment)
    }

    fn fits_bytes(&self, value: &ValueRef<'_>) -> bool {
        match (self, value) {
            (Self::Char(most), ValueRef::Text(text)) => {
                !text.ends_with(' ') && characters_within(text, usize::from(*most))
            }
            (Self::VarChar(most), ValueRef::Text(text)) => characters_within(text, *most as usize),
            (Self::Text(size), ValueRef::Text(text)) => text.len() <= size.bytes(),
            (Self::Json, ValueRef::Text(text)) => super::json::check(text).is_ok(),
            (Self::Binary(length), ValueRef::Bytes(bytes)) => bytes.len() == usize::from(*length),
            (Self::VarBinary(most), ValueRef::Bytes(bytes)) => bytes.len() <= *most as usize,
            (Self::Blob(size), ValueRef::Bytes(bytes)) => bytes.len() <= size.bytes(),
            _ => false,
        }
    }

    /// The value as a result of a query shows it for a column of this type: times with all
    /// digits of their fraction. The rest as its `Display`.
    #[must_use]
    pub fn show<'v>(&self, value: &'v ValueRef<'v>) -> Shown<'v> {
        let fsp = match self {
            Self::Time(fsp) | Self::DateTime(fsp) | Self::Timestamp(fsp) => Some(*fsp),
            _ => None,
        };
        Shown { value, fsp }
    }
}

/// Whether `text` has at most `most` characters; they are only counted if it might not.
pub(crate) fn characters_within(text: &str, most: usize) -> bool {
    text.len() <= most || text.chars().count() <= most
}

/// Prints a value as its column shows it: made by [`ColumnType::show`].
#[derive(Debug)]
pub struct Shown<'v> {
    value: &'v ValueRef<'v>,
    fsp: Option<u8>,
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.value, self.fsp) {
            (ValueRef::Time(time), Some(fsp)) => time.write(f, fsp),
            (ValueRef::DateTime(moment), Some(fsp)) => moment.write(f, fsp),
            (value, _) => value.fmt(f),
        }
    }
}

impl FromStr for ColumnType {
    type Err = TypeError;

    fn from_str(text: &str) -> Result<Self, TypeError> {
        Self::parse(text)
    }
}

/// As MySQL spells it, in lower case.
impl fmt::Display for ColumnType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let with_fsp = |f: &mut fmt::Formatter<'_>, name: &str, fsp: u8| {
            if fsp == 0 { f.write_str(name) } else { write!(f, "{name}({fsp})") }
        };
        match self {
            Self::Int { size, unsigned } => {
                write!(f, "{}{}", size.name(), if *unsigned { " unsigned" } else { "" })
            }
            Self::Float => f.write_str("float"),
            Self::Double => f.write_str("double"),
            Self::Decimal { precision, scale } => write!(f, "decimal({precision},{scale})"),
            Self::Char(characters) => write!(f, "char({characters})"),
            Self::VarChar(characters) => write!(f, "varchar({characters})"),
            Self::Text(size) => write!(f, "{}text", size.name()),
            Self::Binary(bytes) => write!(f, "binary({bytes})"),
            Self::VarBinary(bytes) => write!(f, "varbinary({bytes})"),
            Self::Blob(size) => write!(f, "{}blob", size.name()),
            Self::Date => f.write_str("date"),
            Self::Time(fsp) => with_fsp(f, "time", *fsp),
            Self::DateTime(fsp) => with_fsp(f, "datetime", *fsp),
            Self::Timestamp(fsp) => with_fsp(f, "timestamp", *fsp),
            Self::Json => f.write_str("json"),
        }
    }
}

/// A type's spelling, cut in parts: `name(arguments) unsigned`.
struct Spelling {
    text: String,
    name: String,
    arguments: Vec<u32>,
    unsigned: bool,
}

impl Spelling {
    fn read(text: &str) -> Result<Self, TypeError> {
        let lower = text.trim().to_ascii_lowercase();
        let unknown = || TypeError::Unknown(text.trim().to_owned());
        let (head, unsigned) = match lower.strip_suffix("unsigned") {
            Some(head) => (head.trim_end(), true),
            None => (lower.as_str(), false),
        };
        let (name, arguments) = match head.split_once('(') {
            Some((name, rest)) => (name, rest.strip_suffix(')').ok_or_else(unknown)?),
            None => (head, ""),
        };
        let arguments = arguments
            .split(',')
            .filter(|_| head.contains('('))
            .map(|argument| argument.trim().parse())
            .collect::<Result<_, _>>()
            .map_err(|_| TypeError::Arguments(text.trim().to_owned()))?;
        let name = name.trim_end().to_owned();
        Ok(Self { text: text.trim().to_owned(), name, arguments, unsigned })
    }

    fn resolve(&self) -> Result<ColumnType, TypeError> {
        if let Some(int) = self.integer()? {
            return Ok(int);
        }
        if self.unsigned {
            return Err(TypeError::Unknown(self.text.clone()));
        }
        match self.name.as_str() {
            "float" => self.bare(ColumnType::Float),
            "double" | "real" | "double precision" => self.bare(ColumnType::Double),
            "decimal" | "numeric" | "dec" | "fixed" => self.decimal(),
            "date" => self.bare(ColumnType::Date),
            "time" => self.fsp().map(ColumnType::Time),
            "datetime" => self.fsp().map(ColumnType::DateTime),
            "timestamp" => self.fsp().map(ColumnType::Timestamp),
            "json" => self.bare(ColumnType::Json),
            _ => self.bytes(),
        }
    }

    fn integer(&self) -> Result<Option<ColumnType>, TypeError> {
        let size = match self.name.as_str() {
            "bool" | "boolean" if !self.unsigned && self.arguments.is_empty() => IntSize::Tiny,
            "tinyint" => IntSize::Tiny,
            "smallint" => IntSize::Small,
            "mediumint" => IntSize::Medium,
            "int" | "integer" => IntSize::Int,
            "bigint" => IntSize::Big,
            _ => return Ok(None),
        };
        // The width for display, as in `int(11)`, means nothing since MySQL 8.0.17.
        if self.arguments.len() > 1 {
            return Err(TypeError::Arguments(self.text.clone()));
        }
        Ok(Some(ColumnType::Int { size, unsigned: self.unsigned }))
    }

    fn decimal(&self) -> Result<ColumnType, TypeError> {
        let (precision, scale) = match self.arguments[..] {
            [] => (10, 0),
            [precision] => (precision, 0),
            [precision, scale] => (precision, scale),
            _ => return Err(TypeError::Arguments(self.text.clone())),
        };
        let precision = self.limited(precision, u32::from(PRECISION_MAX))?;
        let scale = self.limited(scale, u32::from(SCALE_MAX.min(precision)))?;
        if precision == 0 {
            return Err(TypeError::Arguments(self.text.clone()));
        }
        Ok(ColumnType::Decimal { precision, scale })
    }

    fn bytes(&self) -> Result<ColumnType, TypeError> {
        let lob = |rest: &str| match rest {
            "tiny" => Some(LobSize::Tiny),
            "" => Some(LobSize::Regular),
            "medium" => Some(LobSize::Medium),
            "long" => Some(LobSize::Long),
            _ => None,
        };
        match self.name.as_str() {
            "char" | "character" => self.short().map(ColumnType::Char),
            "binary" => self.short().map(ColumnType::Binary),
            // Characters have up to four bytes, but MySQL only counts what a value really has.
            "varchar" | "character varying" => self.long().map(ColumnType::VarChar),
            "varbinary" => self.long().map(ColumnType::VarBinary),
            name => {
                let text = name.strip_suffix("text").and_then(lob).map(ColumnType::Text);
                let lob =
                    text.or_else(|| name.strip_suffix("blob").and_then(lob).map(ColumnType::Blob));
                self.bare(lob.ok_or_else(|| TypeError::Unknown(self.text.clone()))?)
            }
        }
    }

    fn bare(&self, ty: ColumnType) -> Result<ColumnType, TypeError> {
        match self.arguments[..] {
            [] => Ok(ty),
            _ => Err(TypeError::Arguments(self.text.clone())),
        }
    }

    fn fsp(&self) -> Result<u8, TypeError> {
        match self.arguments[..] {
            [] => Ok(0),
            [fsp] => self.limited(fsp, u32::from(FSP_MAX)),
            _ => Err(TypeError::Arguments(self.text.clone())),
        }
    }

    fn short(&self) -> Result<u8, TypeError> {
        match self.arguments[..] {
            [] => Ok(1),
            [length] => self.limited(length, 255),
            _ => Err(TypeError::Arguments(self.text.clone())),
        }
    }

    fn long(&self) -> Result<u32, TypeError> {
        match self.arguments[..] {
            [length] if length <= VAR_MAX => Ok(length),
            [found] => Err(TypeError::TooLarge { text: self.text.clone(), found, limit: VAR_MAX }),
            _ => Err(TypeError::Arguments(self.text.clone())),
        }
    }

    fn limited(&self, found: u32, limit: u32) -> Result<u8, TypeError> {
        match u8::try_from(found) {
            Ok(number) if found <= limit => Ok(number),
            _ => Err(TypeError::TooLarge { text: self.text.clone(), found, limit }),
        }
    }
}

impl ColumnType {
    /// Whether the numbers of the type are within their limits; false only for what was read
    /// from damaged bytes or put together by hand.
    #[must_use]
    pub(crate) fn is_valid(&self) -> bool {
        match self {
            Self::Decimal { precision, scale } => {
                (1..=PRECISION_MAX).contains(precision) && *scale <= SCALE_MAX.min(*precision)
            }
            Self::Time(fsp) | Self::DateTime(fsp) | Self::Timestamp(fsp) => *fsp <= FSP_MAX,
            Self::VarChar(length) | Self::VarBinary(length) => *length <= VAR_MAX,
            _ => true,
        }
    }

    /// The value that a row has in a NOT NULL column which was added later, without a default:
    /// MySQL's implicit default. `None` for dates, times and JSON, which have none.
    #[must_use]
    pub(crate) fn implicit_default(&self) -> Option<super::Value> {
        use super::Value;
        Some(match self {
            Self::Int { unsigned: false, .. } => Value::Int(0),
            Self::Int { unsigned: true, .. } => Value::UInt(0),
            Self::Float => Value::Float(0.0),
            Self::Double => Value::Double(0.0),
            Self::Decimal { scale, .. } => Value::Decimal(Decimal::new(0, *scale)?),
            Self::Char(_) | Self::VarChar(_) | Self::Text(_) => Value::Text(String::new()),
            Self::Binary(length) => Value::Bytes(vec![0; usize::from(*length)]),
            Self::VarBinary(_) | Self::Blob(_) => Value::Bytes(Vec::new()),
            _ => return None,
        })
    }
}
