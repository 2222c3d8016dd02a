//! Values of rows, one behind the other: what a leaf sends of rows that it has looked at.
//!
//! ```text
//! 0 NULL   1 integer, zigzag varint   2 unsigned, varint   3 decimal: scale u8, zigzag varint   4 float 4 bytes   5 double 8 bytes
//! 6 text, 7 bytes: length varint, bytes   8 date: days, zigzag   9 time, 10 moment: microseconds, zigzag
//! ```
//!
//! Varints have seven bits in each byte, the lowest first, and a bit that says whether more come.

use std::borrow::Cow;

use resprout_engine::Error;
use resprout_engine::table::{Date, DateTime, Decimal, Time, ValueRef};
use rkyv::{Archive, Deserialize, Serialize};

/// Rows of values, packed.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct Packed {
    bytes: Vec<u8>,
    rows: u32,
}

const fn zigzag(number: i128) -> u128 {
    ((number << 1) ^ (number >> 127)).cast_unsigned()
}

const fn unzigzag(number: u128) -> i128 {
    (number >> 1).cast_signed() ^ -((number & 1).cast_signed())
}

impl Packed {
    /// Adds a value of the row that is being made.
    pub fn value(&mut self, value: &ValueRef<'_>) {
        let out = &mut self.bytes;
        let mut number = |tag: u8, number: i128| {
            out.push(tag);
            varint(zigzag(number), out);
        };
        match value {
            ValueRef::Null => out.push(0),
            ValueRef::Int(value) => number(1, (*value).into()),
            ValueRef::UInt(value) => {
                out.push(2);
                varint((*value).into(), out);
            }
            ValueRef::Decimal(value) => {
                out.extend_from_slice(&[3, value.scale()]);
                varint(zigzag(value.unscaled()), out);
            }
            ValueRef::Float(value) => {
                out.push(4);
                out.extend_from_slice(&value.to_le_bytes());
            }
            ValueRef::Double(value) => {
                out.push(5);
                out.extend_from_slice(&value.to_le_bytes());
            }
            ValueRef::Text(text) => blob(6, text.as_bytes(), out),
            ValueRef::Bytes(bytes) => blob(7, bytes, out),
            ValueRef::Date(date) => number(8, date.days().into()),
            ValueRef::Time(time) => number(9, time.micros().into()),
            ValueRef::DateTime(moment) => number(10, moment.micros().into()),
        }
    }

    /// The row is whole.
    pub const fn end_row(&mut self) {
        self.rows += 1;
    }

    /// Forgets all of them, and keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.rows = 0;
    }

    /// All of them as bytes: those of the same values are the same.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Bytes of all of them.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// How many rows.
    #[must_use]
    pub const fn rows(&self) -> usize {
        self.rows as usize
    }

    /// Reads the values from the first on.
    #[must_use]
    pub fn values(&self) -> Unpacking<'_> {
        Unpacking { rest: &self.bytes }
    }
}

fn varint(mut number: u128, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push((number & 0x7F) as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn blob(tag: u8, bytes: &[u8], out: &mut Vec<u8>) {
    out.push(tag);
    varint(bytes.len() as u128, out);
    out.extend_from_slice(bytes);
}

/// Packed values on their way out.
#[derive(Clone, Debug)]
pub struct Unpacking<'p> {
    rest: &'p [u8],
}

/// The other side got something wrong.
fn malformed() -> Error {
    Error::Elsewhere("values of rows that are not understood".to_owned())
}

impl<'p> Unpacking<'p> {
    /// The next value.
    ///
    /// # Errors
    /// If there is none, or none that can be.
    pub fn value(&mut self) -> Result<ValueRef<'p>, Error> {
        self.read().ok_or_else(malformed)
    }

    /// Whether all values were read.
    #[must_use]
    pub const fn is_over(&self) -> bool {
        self.rest.is_empty()
    }

    fn read(&mut self) -> Option<ValueRef<'p>> {
        let [tag] = *self.take::<1>()?;
        Some(match tag {
            0 => ValueRef::Null,
            1 => ValueRef::Int(self.signed()?),
            2 => ValueRef::UInt(u64::try_from(self.varint()?).ok()?),
            3 => {
                let [scale] = *self.take::<1>()?;
                ValueRef::Decimal(Decimal::new(unzigzag(self.varint()?), scale)?)
            }
            4 => ValueRef::Float(f32::from_le_bytes(*self.take()?)),
            5 => ValueRef::Double(f64::from_le_bytes(*self.take()?)),
            6 => ValueRef::Text(Cow::Borrowed(std::str::from_utf8(self.blob()?).ok()?)),
            7 => ValueRef::Bytes(Cow::Borrowed(self.blob()?)),
            8 => ValueRef::Date(Date::from_days(i32::try_from(self.signed()?).ok()?)?),
            9 => ValueRef::Time(Time::from_micros(self.signed()?)?),
            10 => ValueRef::DateTime(DateTime::from_micros(self.signed()?)?),
            _ => return None,
        })
    }

    fn take<const N: usize>(&mut self) -> Option<&'p [u8; N]> {
        let (taken, rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        Some(taken)
    }

    fn blob(&mut self) -> Option<&'p [u8]> {
        let length = usize::try_from(self.varint()?).ok()?;
        let (blob, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        Some(blob)
    }

    fn signed(&mut self) -> Option<i64> {
        i64::try_from(unzigzag(self.varint()?)).ok()
    }

    fn varint(&mut self) -> Option<u128> {
        let (mut number, mut shift) = (0_u128, 0_u32);
        loop {
            let [byte] = *self.take::<1>()?;
            let bits = u128::from(byte & 0x7F);
            // Bits beyond 128 are lost by a shift, and must not be there.
            if shift >= 128 || (bits << shift) >> shift != bits {
                return None;
            }
            number |= bits << shift;
            if byte < 0x80 {
                return Some(number);
            }
            shift += 7;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use resprout_engine::table::Value;
    use resprout_wal::world::Rng;

    fn samples() -> Vec<Value> {
        let decimal =
            |unscaled, scale| Value::Decimal(Decimal::new(unscaled, scale).expect("fits"));
        vec![
            Value::Null,
            Value::Int(i64::MIN),
            Value::Int(i64::MAX),
            Value::Int(-1),
            Value::UInt(u64::MAX),
            decimal(10_i128.pow(38) - 1, 30),
            decimal(1 - 10_i128.pow(38), 0),
            Value::Float(-0.0),
            Value::Double(f64::MAX),
            Value::Text("ä text".to_owned()),
            Value::Text(String::new()),
            Value::Bytes(vec![0, 255, 128]),
            Value::Date(Date::from_civil(1999, 12, 31).expect("a date")),
            Value::Time(Time::from_micros(-1_500_000).expect("a time")),
            Value::DateTime(DateTime::from_micros(1_700_000_000_000_001).expect("a moment")),
        ]
    }

    /// Promise (N15): values come as they were packed; bytes that pretend to be values are an error or values, and never
    /// more than there are bytes.
    #[test]
    fn n15_values_come_as_they_were_packed_or_not_at_all() {
        let mut packed = Packed::default();
        for value in samples() {
            packed.value(&value.as_ref());
        }
        packed.end_row();
        let mut values = packed.values();
        for value in samples() {
            assert_eq!(values.value().expect("a value"), value.as_ref());
        }
        assert!(values.is_over() && values.value().is_err());
        let mut rng = Rng::new(8);
        for _ in 0..20_000 {
            let mut bytes = packed.bytes.clone();
            for _ in 0..=rng.below(3) {
                let at = usize::try_from(rng.below(bytes.len() as u64)).expect("small");
                bytes[at] = rng.below(256) as u8;
            }
            bytes.truncate(usize::try_from(rng.below(bytes.len() as u64 + 1)).expect("small"));
            let changed = Packed { rows: u32::MAX, bytes };
            let (mut values, mut read) = (changed.values(), 0);
            while !values.is_over() && values.value().is_ok() {
                read += 1;
            }
            assert!(read <= changed.bytes());
        }
    }
}
