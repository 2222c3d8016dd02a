//! MySQL's spellings of column types, brought to the engine's.
//!
//! Beyond the engine's own names: `INT1` to `INT8`, `MIDDLEINT`, `SERIAL`, `DEC`, `FIXED`,
//! `NCHAR`, `NVARCHAR` and their long forms, `LONG [VARCHAR | VARBINARY]`, `TEXT(n)` and `BLOB(n)`
//! of the smallest size that fits, `FLOAT(p)`, widths of integers, ZEROFILL (as UNSIGNED; nothing
//! is filled up). ENUM, SET, BIT, YEAR, GEOMETRY, VECTOR and floats with digits after the point
//! are refused.

use resprout_engine::table::{ColumnType, LobSize};
use sqlparser::tokenizer::Token;

use super::charset;
use super::cursor::{Cursor, Parsing};
use super::error::ParseError;

/// A type, and what else its spelling says.
pub(super) struct Spelled {
    pub(super) ty: ColumnType,
    /// `SERIAL`: also NOT NULL AUTO_INCREMENT UNIQUE.
    pub(super) serial: bool,
}

/// Names of several words, or other names, and how the engine calls them. Longer ones first.
const NAMES: &[(&str, &str)] = &[
    ("DOUBLE PRECISION", "double"),
    ("NATIONAL CHARACTER VARYING", "varchar"),
    ("NATIONAL CHAR VARYING", "varchar"),
    ("NATIONAL VARCHAR", "varchar"),
    ("NATIONAL CHARACTER", "char"),
    ("NATIONAL CHAR", "char"),
    ("NCHAR VARYING", "varchar"),
    ("NCHAR VARCHAR", "varchar"),
    ("CHARACTER VARYING", "varchar"),
    ("CHAR VARYING", "varchar"),
    ("CHAR BYTE", "binary"),
    ("LONG VARCHAR", "mediumtext"),
    ("LONG VARBINARY", "mediumblob"),
    ("LONG", "mediumtext"),
    ("NVARCHAR", "varchar"),
    ("NCHAR", "char"),
    ("INT1", "tinyint"),
    ("INT2", "smallint"),
    ("INT3", "mediumint"),
    ("MIDDLEINT", "mediumint"),
    ("INT4", "int"),
    ("INT8", "bigint"),
    ("FLOAT4", "float"),
    ("FLOAT8", "double"),
    ("SERIAL", "bigint unsigned"),
];

const REFUSED: &[&str] = &[
    "ENUM",
    "SET",
    "BIT",
    "YEAR",
    "GEOMETRY",
    "POINT",
    "LINESTRING",
    "POLYGON",
    "MULTIPOINT",
    "MULTILINESTRING",
    "MULTIPOLYGON",
    "GEOMETRYCOLLECTION",
    "GEOGRAPHY",
    "GEOGRAPHYPOINT",
    "VECTOR",
    "BSON",
    "UUID",
    "INET6",
];

/// The type of a column of this name.
pub(super) fn parse(cursor: &mut Cursor<'_>, column: &str) -> Parsing<Spelled> {
    if let Some(refused) = cursor.one_of(REFUSED) {
        return Err(ParseError::unsupported(format!("column type {refused}")));
    }
    let serial = cursor.is_word("SERIAL");
    let known = NAMES.iter().find(|(words, _)| cursor.words(words));
    let name = match known {
        Some((_, name)) => (*name).to_owned(),
        None => cursor.name()?.to_ascii_lowercase(),
    };
    let arguments = match cursor.peek() {
        Token::LParen => cursor.in_parentheses(Cursor::small_number)?,
        _ => Vec::new(),
    };
    let unsigned = attributes(cursor)?;
    let ty = resolve(&name, &arguments, unsigned, column)?;
    Ok(Spelled { ty, serial })
}

/// UNSIGNED, SIGNED, ZEROFILL, BINARY and character sets, in any order; whether it is unsigned.
fn attributes(cursor: &mut Cursor<'_>) -> Parsing<bool> {
    let mut unsigned = false;
    loop {
        match cursor.one_of(&["UNSIGNED", "ZEROFILL", "SIGNED", "BINARY", "UNICODE", "ASCII"]) {
            Some("UNSIGNED" | "ZEROFILL") => unsigned = true,
            Some(_) => {}
            None if cursor.is_word("DEFAULT") || !charset::option(cursor)? => return Ok(unsigned),
            None => {}
        }
    }
}

fn resolve(name: &str, arguments: &[u32], unsigned: bool, column: &str) -> Parsing<ColumnType> {
    match (name, arguments) {
        ("float", [bits]) => return Ok(float(*bits)),
        ("float" | "double" | "real", [_, ..]) => {
            return Err(ParseError::unsupported("FLOAT and DOUBLE with digits"));
        }
        ("text", [length]) => return Ok(ColumnType::Text(lob(*length, 4))),
        ("blob", [length]) => return Ok(ColumnType::Blob(lob(*length, 1))),
        _ => {}
    }
    let mut spelled = name.to_owned();
    if !arguments.is_empty() {
        let arguments: Vec<_> = arguments.iter().map(u32::to_string).collect();
        spelled = format!("{name}({})", arguments.join(","));
    }
    if unsigned && !name.ends_with("unsigned") {
        if matches!(name, "float" | "double" | "real" | "decimal" | "numeric" | "dec" | "fixed") {
            return Err(ParseError::unsupported(format!("{} UNSIGNED", name.to_uppercase())));
        }
        spelled.push_str(" unsigned");
    }
    ColumnType::parse(&spelled)
        .map_err(|source| ParseError::Type { column: column.to_owned(), source })
}

/// FLOAT with so many bits of a mantissa.
fn float(bits: u32) -> ColumnType {
    if bits <= 24 { ColumnType::Float } else { ColumnType::Double }
}

/// The smallest size for so many characters of so many bytes.
fn lob(length: u32, bytes: u64) -> LobSize {
    let sizes = [LobSize::Tiny, LobSize::Regular, LobSize::Medium];
    let needed = u64::from(length) * bytes;
    sizes.into_iter().find(|size| needed <= size.bytes() as u64).unwrap_or(LobSize::Long)
}
