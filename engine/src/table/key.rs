//! Keys: values as bytes whose order is the order of the values, so that the tree needs to know
//! nothing of types.
//!
//! ```text
//! key      u32 big endian: index | column | column | …            at most 3072 bytes in all
//! column   NOT NULL   body
//!          nullable   00                        NULL, before every value
//!                     01 body                   a value
//! body     fixed width: see `fixed`
//!          text, bytes: each 00 becomes 00 FF; ends with 00 00
//! ```
//!
//! The end mark makes short text sort before longer text that starts with it, whatever column
//! follows. Text compares by its bytes (as `utf8mb4_bin` does), CHAR without trailing blanks.
//! Nothing but the key stores the columns of a primary key, so keys decode to exactly the values
//! that were given.

use std::borrow::Cow;

use super::column_type::ColumnType;
use super::fixed;
use super::schema::IndexId;
use super::value::ValueRef;

/// Most bytes of a key, as in MySQL and in the tree.
pub const KEY_MAX: usize = 3072;

const NULL: u8 = 0;
const VALUE: u8 = 1;
const ESCAPED_ZERO: [u8; 2] = [0, 0xFF];
const END: [u8; 2] = [0, 0];

/// Why values cannot be a key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The key has more bytes than are possible (MySQL 1071).
    #[error("key of {bytes} bytes, at most {KEY_MAX} are possible")]
    TooLong {
        /// Its bytes.
        bytes: usize,
    },
    /// NULL where the column does not allow it (MySQL 1048).
    #[error("NULL in a key column that is NOT NULL")]
    Null,
    /// The value was not brought to the column's type first.
    #[error("value does not fit key column of type {0}")]
    Value(ColumnType),
}

/// Why bytes are no key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyDamage {
    /// The key ends inside a column.
    #[error("key ends inside a column of type {0}")]
    Short(ColumnType),
    /// Bytes after the last column.
    #[error("{0} bytes after the last column of a key")]
    Long(usize),
    /// Neither the mark of NULL nor that of a value.
    #[error("mark {0:#04x} before a nullable key column")]
    Mark(u8),
    /// Bytes that no value of the type has.
    #[error("impossible bytes in a key column of type {0}")]
    Value(ColumnType),
    /// The key belongs to another index.
    #[error("key of index {found}, expected index {expected}")]
    Index {
        /// The index that was expected.
        expected: IndexId,
        /// The index of the key; 0 if it is too short for one.
        found: IndexId,
    },
}

/// Starts a key of the index in `key`, which is emptied.
#[inline]
pub fn start(index: IndexId, key: &mut Vec<u8>) {
    key.clear();
    key.extend_from_slice(&index.0.to_be_bytes());
}

/// Appends one column to a key.
///
/// # Errors
/// If the value does not [fit](ColumnType::fits), is NULL where it may not be, or the key gets
/// too long. What was appended then is of no use.
#[inline]
pub fn append(
    ty: &ColumnType,
    nullable: bool,
    value: &ValueRef<'_>,
    key: &mut Vec<u8>,
) -> Result<(), KeyError> {
    match (nullable, value.is_null()) {
        (false, true) => return Err(KeyError::Null),
        (true, true) => key.push(NULL),
        (true, false) => key.push(VALUE),
        (false, false) => {}
    }
    match value {
        ValueRef::Null => {}
        ValueRef::Text(_) | ValueRef::Bytes(_) if !ty.fits(value) => {
            return Err(KeyError::Value(*ty));
        }
        ValueRef::Text(text) => append_escaped(text.as_bytes(), key),
        ValueRef::Bytes(bytes) => append_escaped(bytes, key),
        _ => {
            let encoded = fixed::encode(ty, value).ok_or(KeyError::Value(*ty))?;
            encoded.append_to(key);
        }
    }
    within_limit(key)
}

/// A key of one value of fixed width in a nullable column, the commonest key to route by: on the
/// stack.
pub(crate) struct Short {
    bytes: [u8; 1 + fixed::WIDTH_MAX],
    length: usize,
}

impl Short {
    /// `None` if the type is not of fixed width or the value does not fit it.
    #[inline]
    pub(crate) fn new(ty: &ColumnType, value: &ValueRef<'_>) -> Option<Self> {
        let encoded = fixed::encode(ty, value)?;
        let encoded = encoded.as_slice();
        let mut bytes = [VALUE; 1 + fixed::WIDTH_MAX];
        match encoded.first_chunk::<8>() {
            // The commonest width, without a call to copy it.
            Some(word) if encoded.len() == 8 => bytes[1..9].copy_from_slice(word),
            _ => bytes[1..=encoded.len()].copy_from_slice(encoded),
        }
        Some(Self { bytes, length: 1 + encoded.len() })
    }

    #[inline]
    pub(crate) fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

/// Appends bytes that are part of a key already, such as a primary key after an index's columns.
pub(crate) fn append_encoded(part: &[u8], key: &mut Vec<u8>) -> Result<(), KeyError> {
    key.extend_from_slice(part);
    within_limit(key)
}

fn within_limit(key: &[u8]) -> Result<(), KeyError> {
    if key.len() > KEY_MAX {
        return Err(KeyError::TooLong { bytes: key.len() });
    }
    Ok(())
}

fn append_escaped(bytes: &[u8], key: &mut Vec<u8>) {
    for (position, run) in bytes.split(|byte| *byte == 0).enumerate() {
        if position > 0 {
            key.extend_from_slice(&ESCAPED_ZERO);
        }
        key.extend_from_slice(run);
    }
    key.extend_from_slice(&END);
}

/// Reads the columns of a key one after the other.
#[derive(Clone, Debug)]
pub struct Reader<'k> {
    rest: &'k [u8],
}

impl<'k> Reader<'k> {
    /// Starts after the index number.
    ///
    /// # Errors
    /// If the key belongs to another index.
    pub fn new(expected: IndexId, key: &'k [u8]) -> Result<Self, KeyDamage> {
        match index_of(key) {
            Some((found, rest)) if found == expected => Ok(Self { rest }),
            found => {
                let found = found.map_or(IndexId::default(), |(found, _)| found);
                Err(KeyDamage::Index { expected, found })
            }
        }
    }

    /// What has not been read yet.
    #[must_use]
    pub const fn rest(&self) -> &'k [u8] {
        self.rest
    }

    /// The next column.
    ///
    /// # Errors
    /// If its bytes are damaged.
    pub fn next(&mut self, ty: &ColumnType, nullable: bool) -> Result<ValueRef<'k>, KeyDamage> {
        let Some(body) = self.body(ty, nullable)? else { return Ok(ValueRef::Null) };
        let value = match ty.fixed_width() {
            Some(_) => fixed::decode(ty, body),
            None => escaped_value(ty, body),
        };
        value.ok_or(KeyDamage::Value(*ty))
    }

    /// Passes over the next column.
    ///
    /// # Errors
    /// If its end cannot be found.
    pub fn skip(&mut self, ty: &ColumnType, nullable: bool) -> Result<(), KeyDamage> {
        self.body(ty, nullable).map(|_| ())
    }

    /// Says that there is no further column.
    ///
    /// # Errors
    /// If there are bytes left.
    pub fn finish(&self) -> Result<(), KeyDamage> {
        if self.rest.is_empty() { Ok(()) } else { Err(KeyDamage::Long(self.rest.len())) }
    }

    /// The next column's bytes, without mark and end; `None` for NULL.
    fn body(&mut self, ty: &ColumnType, nullable: bool) -> Result<Option<&'k [u8]>, KeyDamage> {
        let mut rest = self.rest;
        if nullable {
            let (mark, after) = rest.split_first().ok_or(KeyDamage::Short(*ty))?;
            rest = after;
            match *mark {
                NULL => {
                    self.rest = rest;
                    return Ok(None);
                }
                VALUE => {}
                mark => return Err(KeyDamage::Mark(mark)),
            }
        }
        let (width, end) = match ty.fixed_width() {
            Some(width) => (width, 0),
            None => (escaped_width(rest).ok_or(KeyDamage::Short(*ty))?, END.len()),
        };
        let body = rest.get(..width).ok_or(KeyDamage::Short(*ty))?;
        self.rest = &rest[width + end..];
        Ok(Some(body))
    }
}

/// The index that a key belongs to, and the rest of the key; `None` if it is too short.
#[must_use]
pub fn index_of(key: &[u8]) -> Option<(IndexId, &[u8])> {
    let (index, rest) = key.split_first_chunk()?;
    Some((IndexId(u32::from_be_bytes(*index)), rest))
}

/// Bytes up to the end mark; `None` if there is none.
fn escaped_width(bytes: &[u8]) -> Option<usize> {
    let mut from = 0;
    loop {
        let zero = from + bytes[from..].iter().position(|byte| *byte == 0)?;
        match bytes.get(zero + 1)? {
            0 => return Some(zero),
            0xFF => from = zero + 2,
            _ => return None,
        }
    }
}

fn escaped_value<'k>(ty: &ColumnType, escaped: &'k [u8]) -> Option<ValueRef<'k>> {
    let bytes = if escaped.contains(&0) {
        let mut bytes = Vec::with_capacity(escaped.len());
        let mut after_zero = false;
        for byte in escaped {
            // The FF after a zero is the escape; the structure was checked when the end was found.
            if !after_zero {
                bytes.push(*byte);
            }
            after_zero = !after_zero && *byte == 0;
        }
        Cow::Owned(bytes)
    } else {
        Cow::Borrowed(escaped)
    };
    if !ty.is_text() {
        return Some(ValueRef::Bytes(bytes));
    }
    Some(ValueRef::Text(match bytes {
        Cow::Borrowed(bytes) => Cow::Borrowed(std::str::from_utf8(bytes).ok()?),
        Cow::Owned(bytes) => Cow::Owned(String::from_utf8(bytes).ok()?),
    }))
}

/// Keys from `from` on and before `to`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRange {
    /// The first key that may be in it.
    pub from: Vec<u8>,
    /// The first key that is not; `None` if all from `from` on are.
    pub to: Option<Vec<u8>>,
}

impl KeyRange {
    /// All keys of an index.
    #[must_use]
    pub fn of_index(index: IndexId) -> Self {
        Self::with_prefix(index.0.to_be_bytes().to_vec())
    }

    /// All keys that start with these bytes, such as an index number and the values of its first
    /// columns.
    #[must_use]
    pub fn with_prefix(prefix: Vec<u8>) -> Self {
        let to = successor(&prefix);
        Self { from: prefix, to }
    }

    /// Whether the key is in it.
    #[must_use]
    pub fn contains(&self, key: &[u8]) -> bool {
        key >= &self.from[..] && self.to.as_ref().is_none_or(|to| key < &to[..])
    }
}

/// The smallest bytes that are greater than everything that starts with `prefix`; `None` if
/// there are none, because it is empty or all FF.
#[must_use]
pub fn successor(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|byte| *byte != 0xFF)?;
    let mut successor = prefix[..=last].to_vec();
    successor[last] += 1;
    Some(successor)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guards: a short key has the bytes that [`append`] gives, since rows were placed by these, and
    /// is refused where that refuses or the width is not fixed.
    #[test]
    fn short_keys_are_the_same_bytes() {
        let values = [
            ValueRef::Int(-5),
            ValueRef::Int(300),
            ValueRef::Int(i64::MIN),
            ValueRef::UInt(7),
            ValueRef::Float(1.5),
            ValueRef::Double(-2.5),
            ValueRef::Text("text".into()),
            ValueRef::Null,
        ];
        for ty in ["tinyint", "int", "bigint", "bigint unsigned", "float", "double", "varchar(9)"] {
            let ty: ColumnType = ty.parse().expect("a type");
            for value in &values {
                let mut key = Vec::new();
                let appended = append(&ty, true, value, &mut key);
                let fixed = ty.fixed_width().is_some() && !value.is_null() && appended.is_ok();
                let short = Short::new(&ty, value);
                assert_eq!(short.is_some(), fixed, "{ty} {value:?}");
                assert!(short.is_none_or(|short| short.as_slice() == key), "{ty} {value:?}");
            }
        }
    }
}
