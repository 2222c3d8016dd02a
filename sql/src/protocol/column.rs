//! What clients are told about the columns of a result, as MySQL tells it: connectors choose
//! their own types by these numbers.

use bytes::{BufMut, BytesMut};

use super::packet::Outbound;
use super::wire::{put_lenenc, put_lenenc_bytes};

/// Most columns of one result, as in MySQL.
pub const COLUMNS_MAX: usize = 4096;
/// Most characters of a name; longer ones are cut.
const NAME_CHARS_MAX: usize = 256;
/// Collation number of bytes without a character set.
pub const BINARY: u16 = 63;

/// The type of a column or parameter on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[expect(missing_docs, reason = "the names are MySQL's")]
pub enum WireType {
    Decimal = 0,
    Tiny = 1,
    Short = 2,
    Long = 3,
    Float = 4,
    Double = 5,
    Null = 6,
    Timestamp = 7,
    LongLong = 8,
    Int24 = 9,
    Date = 10,
    Time = 11,
    DateTime = 12,
    Year = 13,
    VarChar = 15,
    Bit = 16,
    Json = 245,
    NewDecimal = 246,
    Enum = 247,
    Set = 248,
    TinyBlob = 249,
    MediumBlob = 250,
    LongBlob = 251,
    Blob = 252,
    VarString = 253,
    String = 254,
    Geometry = 255,
}

impl WireType {
    /// All of them.
    pub const ALL: [Self; 27] = [
        Self::Decimal,
        Self::Tiny,
        Self::Short,
        Self::Long,
        Self::Float,
        Self::Double,
        Self::Null,
        Self::Timestamp,
        Self::LongLong,
        Self::Int24,
        Self::Date,
        Self::Time,
        Self::DateTime,
        Self::Year,
        Self::VarChar,
        Self::Bit,
        Self::Json,
        Self::NewDecimal,
        Self::Enum,
        Self::Set,
        Self::TinyBlob,
        Self::MediumBlob,
        Self::LongBlob,
        Self::Blob,
        Self::VarString,
        Self::String,
        Self::Geometry,
    ];

    /// The type of this number.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|known| *known as u8 == number)
    }
}

/// Bits that say more about a column.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ColumnFlags(pub u16);

impl ColumnFlags {
    /// Never NULL.
    pub const NOT_NULL: Self = Self(1);
    /// Part of the primary key.
    pub const PRIMARY_KEY: Self = Self(1 << 1);
    /// Part of a unique key.
    pub const UNIQUE_KEY: Self = Self(1 << 2);
    /// Part of a key that is not unique.
    pub const MULTIPLE_KEY: Self = Self(1 << 3);
    /// A BLOB or TEXT.
    pub const BLOB: Self = Self(1 << 4);
    /// No negative numbers.
    pub const UNSIGNED: Self = Self(1 << 5);
    /// Compared byte by byte.
    pub const BINARY: Self = Self(1 << 7);
    /// Filled by AUTO_INCREMENT.
    pub const AUTO_INCREMENT: Self = Self(1 << 9);
    /// A TIMESTAMP.
    pub const TIMESTAMP: Self = Self(1 << 10);
    /// Has no default and must be given.
    pub const NO_DEFAULT: Self = Self(1 << 12);
    /// A number.
    pub const NUMBER: Self = Self(1 << 15);

    /// With the bits of `other` too.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether all bits of `other` are set.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

/// One column of a result, or one parameter of a statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// Database that the table is in; empty if it is computed.
    pub schema: String,
    /// Alias of the table.
    pub table: String,
    /// Name of the table.
    pub org_table: String,
    /// Alias of the column: what a client shows.
    pub name: String,
    /// Name of the column in its table.
    pub org_name: String,
    /// Collation; [`BINARY`] for numbers, dates and bytes.
    pub collation: u16,
    /// Most bytes of a value in its text form.
    pub length: u32,
    /// Type of the values.
    pub wire_type: WireType,
    /// More about it.
    pub flags: ColumnFlags,
    /// Digits behind the point; 31 for floating point that has no fixed number, which is also
    /// what a parameter gets.
    pub decimals: u8,
}

/// Decimals of a number whose digits behind the point are not fixed.
pub const DECIMALS_NOT_FIXED: u8 = 31;

impl Column {
    /// A computed column: lengths, flags and collation as MySQL gives them for the type.
    #[must_use]
    pub fn new(name: impl Into<String>, wire_type: WireType) -> Self {
        use super::handshake::UTF8MB4;
        let (length, decimals) = match wire_type {
            WireType::Tiny => (4, 0),
            WireType::Short => (6, 0),
            WireType::Int24 => (9, 0),
            WireType::Long => (11, 0),
            WireType::LongLong => (21, 0),
            WireType::Float => (12, DECIMALS_NOT_FIXED),
            WireType::Double => (23, DECIMALS_NOT_FIXED),
            WireType::Decimal | WireType::NewDecimal => (40, 0),
            WireType::Date | WireType::Time => (10, 0),
            WireType::DateTime | WireType::Timestamp => (19, 0),
            WireType::Year => (4, 0),
            WireType::Null => (0, 0),
            WireType::Bit => (1, 0),
            WireType::TinyBlob => (0xFF, 0),
            WireType::Blob => (0xFFFF, 0),
            WireType::MediumBlob => (0xFF_FFFF, 0),
            WireType::LongBlob | WireType::Json | WireType::Geometry => (u32::MAX, 0),
            WireType::VarChar
            | WireType::VarString
            | WireType::String
            | WireType::Enum
            | WireType::Set => (1024, 0),
        };
        let is_text = matches!(
            wire_type,
            WireType::VarChar
                | WireType::VarString
                | WireType::String
                | WireType::Enum
                | WireType::Set
                | WireType::Json
        );
        let flags = if is_text { ColumnFlags::default() } else { ColumnFlags::BINARY };
        Self {
            schema: String::new(),
            table: String::new(),
            org_table: String::new(),
            name: name.into(),
            org_name: String::new(),
            collation: if is_text { UTF8MB4 } else { BINARY },
            length,
            wire_type,
            flags,
            decimals,
        }
    }

    /// With these flags too.
    #[must_use]
    pub const fn with_flags(mut self, flags: ColumnFlags) -> Self {
        self.flags = self.flags.and(flags);
        self
    }

    /// Of this table.
    #[must_use]
    pub fn of_table(mut self, schema: &str, table: &str) -> Self {
        schema.clone_into(&mut self.schema);
        table.clone_into(&mut self.table);
        table.clone_into(&mut self.org_table);
        self.org_name.clone_from(&self.name);
        self
    }

    /// Whether numbers in it have no sign.
    #[must_use]
    pub const fn is_unsigned(&self) -> bool {
        self.flags.contains(ColumnFlags::UNSIGNED)
    }

    /// Appends the payload of its definition.
    pub fn encode(&self, out: &mut BytesMut) {
        put_lenenc_bytes(out, b"def");
        for name in [&self.schema, &self.table, &self.org_table, &self.name, &self.org_name] {
            put_lenenc_bytes(out, cut(name).as_bytes());
        }
        put_lenenc(out, 12);
        out.put_u16_le(self.collation);
        out.put_u32_le(self.length);
        out.put_u8(self.wire_type as u8);
        out.put_u16_le(self.flags.0);
        out.put_u8(self.decimals);
        out.put_u16_le(0);
    }
}

fn cut(name: &str) -> &str {
    name.char_indices().nth(NAME_CHARS_MAX).map_or(name, |(end, _)| &name[..end])
}

/// The columns of a result with their packets, written once: a statement that is run often keeps
/// them.
#[derive(Clone, Debug, Default)]
pub struct Columns {
    columns: Vec<Column>,
    packets: Vec<u8>,
}

impl Columns {
    /// Of these columns. A result has at most [`COLUMNS_MAX`]; further ones are refused when rows
    /// are to be written.
    #[must_use]
    pub fn new(columns: Vec<Column>) -> Self {
        let mut out = Outbound::default();
        for column in &columns {
            out.packet(|payload| column.encode(payload));
        }
        Self { packets: out.bytes().to_vec(), columns }
    }

    /// Each column.
    #[must_use]
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// Number of columns.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.columns.len()
    }

    /// Whether there are none: the statement gives no rows.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.columns.is_empty()
    }

    /// Their packets, numbered from 0.
    #[must_use]
    pub fn packets(&self) -> &[u8] {
        &self.packets
    }
}

impl From<Vec<Column>> for Columns {
    fn from(columns: Vec<Column>) -> Self {
        Self::new(columns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Promise: a definition is laid out as MySQL documents it: `SELECT 1` gives this one.
    #[test]
    fn a_definition_is_laid_out_as_documented() {
        let mut column = Column::new("1", WireType::LongLong).with_flags(ColumnFlags::NOT_NULL);
        column.length = 1;
        let mut out = BytesMut::new();
        column.encode(&mut out);
        let expected = b"\x03def\0\0\0\x011\0\x0c\x3f\0\x01\0\0\0\x08\x81\0\0\0\0";
        assert_eq!(&out[..], expected);
    }

    /// Promise: numbers and types map one to one.
    #[test]
    fn types_have_one_number() {
        for wire_type in WireType::ALL {
            assert_eq!(WireType::from_number(wire_type as u8), Some(wire_type));
        }
        assert_eq!(WireType::from_number(200), None);
    }

    /// Promise: text has a character set, numbers and bytes have none.
    #[test]
    fn text_has_a_character_set() {
        assert_eq!(Column::new("c", WireType::VarString).collation, 45);
        for wire_type in [WireType::Long, WireType::Blob, WireType::Date] {
            assert_eq!(Column::new("c", wire_type).collation, BINARY);
        }
    }

    /// Promise: a name of any length makes a packet.
    #[test]
    fn names_are_cut_between_characters() {
        assert_eq!(cut(&"ä".repeat(300)).len(), 512);
        assert_eq!(cut("short"), "short");
        let columns = Columns::new(vec![Column::new("x".repeat(1 << 20), WireType::Long)]);
        assert!(columns.packets().len() < 1000);
    }
}
