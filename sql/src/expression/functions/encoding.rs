//! Functions that write values in other ways: HEX, digests, character codes.

use std::fmt::Write;

use resprout_engine::table::ValueRef;
use sha1::Digest;

use super::{Call, Function, MANY, may_make, read, text};
use crate::expression::error::Error;
use crate::expression::node::Env;
use crate::expression::number::{Number, bits_of, bytes_of, integer_of, number_of};
use crate::expression::ty::Type;

pub(super) const FUNCTIONS: &[Function] = &[
    Function::strict("hex", (1, 1), Type::Text, hex),
    Function::strict("unhex", (1, 1), Type::Bytes, unhex),
    Function::strict("bin", (1, 1), Type::Text, |all, env| {
        let number = integer_of(&all[0], env.context)?.unwrap_or(0);
        Ok(text(format!("{:b}", bits_of(number))))
    }),
    Function::strict("oct", (1, 1), Type::Text, |all, env| {
        let number = integer_of(&all[0], env.context)?.unwrap_or(0);
        Ok(text(format!("{:o}", bits_of(number))))
    }),
    Function::strict("conv", (3, 3), Type::Text, conv),
    Function::strict("ascii", (1, 1), Type::Int, |all, _| {
        let first = bytes_of(all[0].clone()).first().copied();
        Ok(ValueRef::Int(i64::from(first.unwrap_or(0))))
    }),
    Function::strict("ord", (1, 1), Type::Int, ord),
    Function::lazy("char", (1, MANY), Type::Bytes, character),
    Function::strict("md5", (1, 1), Type::Text, |all, _| {
        Ok(text(hex_of(&md5::Md5::digest(bytes_of(all[0].clone())), false)))
    }),
    Function::strict("sha1", (1, 1), Type::Text, |all, _| {
        Ok(text(hex_of(&sha1::Sha1::digest(bytes_of(all[0].clone())), false)))
    }),
    Function::strict("sha2", (2, 2), Type::Text, sha2),
    Function::strict("crc32", (1, 1), Type::UInt, |all, _| {
        Ok(ValueRef::UInt(u64::from(crc32fast::hash(&bytes_of(all[0].clone())))))
    }),
    Function::strict("quote", (1, 1), Type::Text, quote),
    Function::strict("bit_count", (1, 1), Type::Int, |all, env| {
        let number = integer_of(&all[0], env.context)?.unwrap_or(0);
        Ok(ValueRef::Int(i64::from(bits_of(number).count_ones())))
    }),
];

fn hex_of(bytes: &[u8], upper: bool) -> String {
    let mut digits = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        let written =
            if upper { write!(digits, "{byte:02X}") } else { write!(digits, "{byte:02x}") };
        written.expect("writing to a String cannot fail");
    }
    digits
}

/// Numbers in base 16, text by its bytes.
fn hex<'e>(all: &[ValueRef<'e>], env: &Env<'e>) -> Result<ValueRef<'e>, Error> {
    let value = &all[0];
    let number = match value {
        ValueRef::Text(_) | ValueRef::Bytes(_) => None,
        ValueRef::Date(_) | ValueRef::Time(_) | ValueRef::DateTime(_) => None,
        _ => number_of(value, env.context)?.map(Number::to_i128),
    };
    if let Some(number) = number {
        return Ok(text(format!("{:X}", bits_of(number))));
    }
    let bytes = bytes_of(value.clone());
    let fits = may_make(bytes.len() * 2, "hex", env)?;
    Ok(if fits { text(hex_of(&bytes, true)) } else { ValueRef::Null })
}

/// The bytes of hexadecimal digits; `None` if there is anything else among them. A first digit
/// without a second counts as if it came after a zero.
pub(in crate::expression) fn bytes_of_hex(digits: &str) -> Option<Vec<u8>> {
    let value = |digit: u8| char::from(digit).to_digit(16).and_then(|four| u8::try_from(four).ok());
    let (first, pairs) = digits.as_bytes().split_at(digits.len() % 2);
    let mut bytes = Vec::with_capacity(digits.len().div_ceil(2));
    if let [digit] = first {
        bytes.push(value(*digit)?);
    }
    for pair in pairs.chunks_exact(2) {
        bytes.push(value(pair[0])? << 4 | value(pair[1])?);
    }
    Some(bytes)
}

fn unhex<'e>(all: &[ValueRef<'e>], _env: &Env<'e>) -> Result<ValueRef<'e>, Error> {
    let bytes = bytes_of_hex(&read(&all[0]));
    Ok(bytes.map_or(ValueRef::Null, |bytes| ValueRef::Bytes(bytes.into())))
}

/// From one base to another; a negative base means with a sign.
fn conv<'e>(all: &[ValueRef<'e>], env: &Env<'e>) -> Result<ValueRef<'e>, Error> {
    let base = |value: &ValueRef<'_>| -> Result<Option<(u32, bool)>, Error> {
        let base = integer_of(value, env.context)?.unwrap_or(0);
        let size = u32::try_from(base.unsigned_abs()).ok();
        Ok(size.filter(|size| (2..=36).contains(size)).map(|size| (size, base < 0)))
    };
    let (Some((from, _)), Some((to, signed))) = (base(&all[1])?, base(&all[2])?) else {
        return Ok(ValueRef::Null);
    };
    let digits = read(&all[0]);
    let trimmed = digits.trim_start();
    let (negative, body) = match trimmed.strip_prefix('-') {
        Some(body) => (true, body),
        None => (false, trimmed.strip_prefix('+').unwrap_or(trimmed)),
    };
    let mut number = 0_u64;
    for digit in body.chars().map_while(|digit| digit.to_digit(from)) {
        number = number.saturating_mul(u64::from(from)).saturating_add(u64::from(digit));
    }
    let number = if negative { number.wrapping_neg() } else { number };
    let (minus, size) = match number.cast_signed() {
        below if signed && below < 0 => ("-", below.unsigned_abs()),
        _ => ("", number),
    };
    Ok(text(format!("{minus}{}", in_base(size, to))))
}

fn in_base(mut number: u64, base: u32) -> String {
    let mut digits = Vec::new();
    loop {
        let digit = u32::try_from(number % u64::from(base)).unwrap_or(0);
        digits.push(char::from_digit(digit, base).unwrap_or('0').to_ascii_uppercase());
        number /= u64::from(base);
        if number == 0 {
            return digits.iter().rev().collect();
        }
    }
}

/// The first character's bytes as one number.
fn ord<'e>(all: &[ValueRef<'e>], _env: &Env<'e>) -> Result<ValueRef<'e>, Error> {
    let bytes = bytes_of(all[0].clone());
    let length = match &all[0] {
        ValueRef::Bytes(_) => 1,
        value => read(value).chars().next().map_or(0, char::len_utf8),
    };
    let code = bytes.iter().take(length).fold(0, |code, byte| code << 8 | i64::from(*byte));
    Ok(ValueRef::Int(code))
}

/// Bytes of numbers, large ones as several; NULLs are left out.
fn character<'e>(call: &'e Call, env: &Env<'e>) -> Result<ValueRef<'e>, Error> {
    let mut bytes = Vec::new();
    for argument in &call.arguments {
        let Some(number) = integer_of(&argument.eval(env)?, env.context)? else { continue };
        #[expect(clippy::cast_possible_truncation, reason = "MySQL takes 32 bits")]
        let four = (bits_of(number) as u32).to_be_bytes();
        let zeros = four.iter().take(3).take_while(|byte| **byte == 0).count();
        bytes.extend_from_slice(&four[zeros..]);
    }
    Ok(ValueRef::Bytes(bytes.into()))
}

fn sha2<'e>(all: &[ValueRef<'e>], env: &Env<'e>) -> Result<ValueRef<'e>, Error> {
    let bytes = bytes_of(all[0].clone());
    let digest = match integer_of(&all[1], env.context)?.unwrap_or(-1) {
        224 => sha2::Sha224::digest(bytes).to_vec(),
        0 | 256 => sha2::Sha256::digest(bytes).to_vec(),
        384 => sha2::Sha384::digest(bytes).to_vec(),
        512 => sha2::Sha512::digest(bytes).to_vec(),
        _ => {
            env.context.complain(Error::Parameters("sha2".into()))?;
            return Ok(ValueRef::Null);
        }
    };
    Ok(text(hex_of(&digest, false)))
}

fn quote<'e>(all: &[ValueRef<'e>], env: &Env<'e>) -> Result<ValueRef<'e>, Error> {
    let whole = read(&all[0]);
    if !may_make(whole.len() * 2 + 2, "quote", env)? {
        return Ok(ValueRef::Null);
    }
    let mut quoted = String::from("'");
    for character in whole.chars() {
        match character {
            '\'' | '\\' => quoted.extend(['\\', character]),
            '\0' => quoted.push_str("\\0"),
            '\u{1a}' => quoted.push_str("\\Z"),
            _ => quoted.push(character),
        }
    }
    quoted.push('\'');
    Ok(text(quoted))
}
