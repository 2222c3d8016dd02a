//! ORDER BY, DISTINCT and LIMIT over rows in memory, within a bound.

use std::cmp::Ordering;

use resprout_engine::table::Value;

use crate::error::{Code, SqlError};
use crate::expression::Collation;

/// Most bytes of rows that one statement sorts or compares with each other.
pub(crate) const SORT_BYTES_MAX: usize = 256 << 20;

/// How values of one column are ordered: NULL first, text without regard to case.
pub(crate) fn compare(left: &Value, right: &Value) -> Ordering {
    use Value::{Bytes, Date, DateTime, Decimal, Double, Float, Int, Null, Text, Time, UInt};
    match (left, right) {
        (Null, Null) => Ordering::Equal,
        (Null, _) => Ordering::Less,
        (_, Null) => Ordering::Greater,
        (Int(one), Int(other)) => one.cmp(other),
        (UInt(one), UInt(other)) => one.cmp(other),
        (Int(one), UInt(other)) => i128::from(*one).cmp(&i128::from(*other)),
        (UInt(one), Int(other)) => i128::from(*one).cmp(&i128::from(*other)),
        (Float(one), Float(other)) => one.total_cmp(other),
        (Double(one), Double(other)) => one.total_cmp(other),
        (Text(one), Text(other)) => Collation::default().compare(one, other),
        (Bytes(one), Bytes(other)) => one.cmp(other),
        (Date(one), Date(other)) => one.days().cmp(&other.days()),
        (Time(one), Time(other)) => one.micros().cmp(&other.micros()),
        (DateTime(one), DateTime(other)) => one.micros().cmp(&other.micros()),
        (Decimal(one), Decimal(other)) => {
            let scale = one.scale().max(other.scale());
            match (one.rescaled(scale), other.rescaled(scale)) {
                (Some(one), Some(other)) => one.unscaled().cmp(&other.unscaled()),
                _ => one.to_f64().total_cmp(&other.to_f64()),
            }
        }
        _ => match (number(left), number(right)) {
            (Some(one), Some(other)) => one.total_cmp(&other),
            _ => left.as_ref().to_string().cmp(&right.as_ref().to_string()),
        },
    }
}

/// A number, for values of different types.
pub(crate) fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Int(number) => Some(*number as f64),
        Value::UInt(number) => Some(*number as f64),
        Value::Float(number) => Some(f64::from(*number)),
        Value::Double(number) => Some(*number),
        Value::Decimal(number) => Some(number.to_f64()),
        _ => None,
    }
}

/// A row of a result with what it is ordered by.
#[derive(Debug)]
pub(crate) struct Keyed<T> {
    /// Values of the ORDER BY expressions.
    pub(crate) keys: Vec<Value>,
    /// The row.
    pub(crate) row: T,
}

/// Gathers rows to be sorted. With a limit only as many are kept as may be among the first.
#[derive(Debug)]
pub(crate) struct Sorter<T> {
    rows: Vec<Keyed<T>>,
    descending: Vec<bool>,
    keep: Option<usize>,
    bytes: usize,
    size: fn(&T) -> usize,
}

impl<T> Sorter<T> {
    /// For keys of these directions; `keep` is OFFSET and LIMIT together.
    pub(crate) const fn new(
        descending: Vec<bool>,
        keep: Option<usize>,
        size: fn(&T) -> usize,
    ) -> Self {
        Self { rows: Vec::new(), descending, keep, bytes: 0, size }
    }

    fn order(descending: &[bool], one: &Keyed<T>, other: &Keyed<T>) -> Ordering {
        let pairs = one.keys.iter().zip(&other.keys).zip(descending);
        for ((one, other), descending) in pairs {
            let order = compare(one, other);
            if order.is_ne() {
                return if *descending { order.reverse() } else { order };
            }
        }
        Ordering::Equal
    }

    /// Adds a row.
    ///
    /// # Errors
    /// 1038 if there are too many.
    pub(crate) fn add(&mut self, keys: Vec<Value>, row: T) -> Result<(), SqlError> {
        self.bytes += bytes_of(&keys) + (self.size)(&row);
        self.rows.push(Keyed { keys, row });
        if let Some(keep) = self.keep
            && self.rows.len() >= keep.saturating_mul(2).saturating_add(1024)
        {
            self.sort();
            self.rows.truncate(keep);
            let size = self.size;
            self.bytes =
                self.rows.iter().map(|keyed| bytes_of(&keyed.keys) + size(&keyed.row)).sum();
        }
        if self.bytes > SORT_BYTES_MAX {
            return Err(too_much());
        }
        Ok(())
    }

    fn sort(&mut self) {
        let descending = &self.descending;
        self.rows.sort_by(|one, other| Self::order(descending, one, other));
    }

    /// The rows in order.
    pub(crate) fn finish(mut self) -> impl Iterator<Item = T> {
        self.sort();
        self.rows.into_iter().map(|keyed| keyed.row)
    }
}

/// More rows than are held in memory (MySQL 1038).
pub(crate) fn too_much() -> SqlError {
    SqlError::new(Code(1038), "Out of sort memory; use LIMIT or an index")
}

/// About how much memory values take.
pub(crate) fn bytes_of(values: &[Value]) -> usize {
    let one = |value: &Value| match value {
        Value::Text(text) => text.len(),
        Value::Bytes(bytes) => bytes.len(),
        _ => 0,
    };
    size_of_val(values) + values.iter().map(one).sum::<usize>()
}

/// A row as bytes that are equal for rows that DISTINCT takes for the same.
pub(crate) fn identity(values: &[Value]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(values.len() * 16);
    let mut put = |kind: u8, content: &[u8]| {
        bytes.push(kind);
        bytes.extend_from_slice(&content.len().to_le_bytes());
        bytes.extend_from_slice(content);
    };
    let collation = Collation::default();
    let mut folded = Vec::new();
    for value in values {
        match value {
            Value::Null => put(0, &[]),
            Value::Text(text) => {
                fold(text.trim_end_matches(' '), collation, &mut folded);
                put(1, &folded);
            }
            Value::Bytes(content) => put(2, content),
            other => put(3, other.as_ref().to_string().as_bytes()),
        }
    }
    bytes
}

/// What a text counts as: one byte for each letter of ASCII, five for others.
fn fold(text: &str, collation: Collation, folded: &mut Vec<u8>) {
    folded.clear();
    for character in text.chars() {
        match u8::try_from(collation.key(character)) {
            Ok(key) if key.is_ascii() => folded.push(key),
            _ => {
                folded.push(u8::MAX);
                folded.extend_from_slice(&collation.key(character).to_le_bytes());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Promise: DISTINCT takes texts for the same that compare as equal, and no others.
    #[test]
    fn rows_are_identical_when_they_compare_equal() {
        let of = |text: &str| identity(&[Value::Text(text.to_owned())]);
        assert_eq!(of("Café "), of("CAFE"));
        assert_eq!(of("straße"), of("STRASE"));
        assert_ne!(of("a"), of("b"));
        assert_ne!(of("Ā日"), of("A"));
        let pair = |one: &str, other: &str| {
            identity(&[Value::Text(one.to_owned()), Value::Text(other.to_owned())])
        };
        assert_ne!(pair("ab", "c"), pair("a", "bc"));
    }
}
