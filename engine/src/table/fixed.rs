//! Values of fixed width as bytes that compare like the values: used in keys, where order
//! matters, and in rows, so that there is one form and not two.
//!
//! ```text
//! integers    big endian at natural width, sign bit flipped if signed        1 2 3 4 8 bytes
//! float       IEEE bits; positive: sign bit flipped, negative: all flipped   4 bytes
//! double      the same                                                       8 bytes
//! decimal     unscaled number as a signed integer; the scale is the column's 8 bytes up to 18
//!                                                                            digits, else 16
//! date        days, as a signed integer                                      4 bytes
//! time, datetime, timestamp   microseconds, as a signed integer              8 bytes
//! ```

use super::column_type::ColumnType;
use super::value::{Date, DateTime, Decimal, Time, ValueRef};

/// Bytes of the widest value.
pub(crate) const WIDTH_MAX: usize = 16;

/// One encoded value.
#[derive(Clone, Copy)]
pub(crate) struct Encoded {
    bytes: [u8; WIDTH_MAX],
    width: usize,
}

impl Encoded {
    #[inline]
    pub(crate) fn as_slice(&self) -> &[u8] {
        &self.bytes[WIDTH_MAX - self.width..]
    }

    /// Appends the bytes; the commonest width without a call to copy them.
    #[inline]
    pub(crate) fn append_to(&self, out: &mut Vec<u8>) {
        if self.width == 8 {
            out.extend_from_slice(&self.bytes[WIDTH_MAX - 8..]);
        } else {
            out.extend_from_slice(self.as_slice());
        }
    }
}

const SIGN: u64 = 1 << 63;

/// The low `width` bytes of `bits`, big endian.
#[inline]
fn low(bits: u64, width: usize) -> Encoded {
    let mut bytes = [0; WIDTH_MAX];
    bytes[8..].copy_from_slice(&bits.to_be_bytes());
    Encoded { bytes, width }
}

#[inline]
fn signed(number: i64, width: usize) -> Encoded {
    // The sign bit of the narrow number, which is where the order begins.
    low(number.cast_unsigned() ^ (1 << (8 * width - 1)), width)
}

fn exact(number: i128, width: usize) -> Encoded {
    let bits = number.cast_unsigned() ^ (1 << (8 * width - 1));
    Encoded { bytes: bits.to_be_bytes(), width }
}

/// The bytes of a value of fixed width; `None` if the value does not [fit](ColumnType::fits) the
/// type as it is, or the type is not of fixed width.
#[inline]
pub(crate) fn encode(ty: &ColumnType, value: &ValueRef<'_>) -> Option<Encoded> {
    if !ty.fits(value) {
        return None;
    }
    let width = ty.fixed_width()?;
    Some(match value {
        ValueRef::Int(number) => signed(*number, width),
        ValueRef::UInt(number) => low(*number, width),
        ValueRef::Float(number) => {
            let bits = number.to_bits();
            let flip = if number.is_sign_negative() { u32::MAX } else { 1 << 31 };
            low(u64::from(bits ^ flip), width)
        }
        ValueRef::Double(number) => {
            let flip = if number.is_sign_negative() { u64::MAX } else { SIGN };
            low(number.to_bits() ^ flip, width)
        }
        ValueRef::Decimal(number) => exact(number.unscaled(), width),
        ValueRef::Date(date) => signed(i64::from(date.days()), width),
        ValueRef::Time(time) => signed(time.micros(), width),
        ValueRef::DateTime(moment) => signed(moment.micros(), width),
        ValueRef::Null | ValueRef::Text(_) | ValueRef::Bytes(_) => return None,
    })
}

fn unsigned_of(bytes: &[u8]) -> u64 {
    if let Ok(eight) = bytes.try_into() {
        return u64::from_be_bytes(eight);
    }
    bytes.iter().fold(0, |bits, byte| bits << 8 | u64::from(*byte))
}

/// The signed number of up to eight bytes: its own sign bit flipped back, then spread upwards.
fn signed_of(bytes: &[u8]) -> i64 {
    let spare = 64 - 8 * bytes.len();
    let flipped = unsigned_of(bytes) ^ (1 << (8 * bytes.len() - 1));
    (flipped << spare).cast_signed() >> spare
}

/// The value of exactly as many bytes as the type's width; `None` if no value of the type has
/// such bytes.
pub(crate) fn decode(ty: &ColumnType, bytes: &[u8]) -> Option<ValueRef<'static>> {
    if ty.fixed_width() != Some(bytes.len()) {
        return None;
    }
    let value = match ty {
        // Every pattern of bits is an integer.
        ColumnType::Int { unsigned: true, .. } => return Some(ValueRef::UInt(unsigned_of(bytes))),
        ColumnType::Int { .. } => return Some(ValueRef::Int(signed_of(bytes))),
        ColumnType::Float => ValueRef::Float(float_of(bytes.try_into().ok()?)),
        ColumnType::Double => ValueRef::Double(double_of(unsigned_of(bytes))),
        ColumnType::Decimal { scale, .. } => ValueRef::Decimal(decimal_of(bytes, *scale)?),
        ColumnType::Date => ValueRef::Date(Date::from_days(i32::try_from(signed_of(bytes)).ok()?)?),
        ColumnType::Time(_) => ValueRef::Time(Time::from_micros(signed_of(bytes))?),
        _ => ValueRef::DateTime(DateTime::from_micros(signed_of(bytes))?),
    };
    ty.fits(&value).then_some(value)
}

fn float_of(bytes: [u8; 4]) -> f32 {
    let bits = u32::from_be_bytes(bytes);
    let flip = if bits >> 31 == 1 { 1 << 31 } else { u32::MAX };
    f32::from_bits(bits ^ flip)
}

fn double_of(bits: u64) -> f64 {
    let flip = if bits & SIGN == SIGN { SIGN } else { u64::MAX };
    f64::from_bits(bits ^ flip)
}

fn decimal_of(bytes: &[u8], scale: u8) -> Option<Decimal> {
    let unscaled = match bytes.try_into() {
        Ok(sixteen) => (u128::from_be_bytes(sixteen) ^ (1 << 127)).cast_signed(),
        Err(_) => i128::from(signed_of(bytes)),
    };
    Decimal::new(unscaled, scale)
}
