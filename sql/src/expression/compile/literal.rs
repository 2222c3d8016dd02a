//! Literals: numbers by MySQL's rules, text, bytes, dates and times, parameters.

use resprout_engine::table::{Decimal, FSP_MAX, Value};
use sqlparser::ast::{DataType, Expr, Ident, TypedString, Value as Literal};

use super::Compiler;
use crate::expression::error::Error;
use crate::expression::functions::bytes_of_hex;
use crate::expression::node::{Expression, Node};
use crate::expression::temporal::convert::{
    fraction_digits, literal, quiet_date, quiet_moment, quiet_time,
};
use crate::expression::ty::Type;

impl Compiler<'_> {
    pub(super) fn literal(&self, value: &Literal) -> Result<Expression, Error> {
        Ok(match value {
            Literal::Null => self.constant(Value::Null),
            Literal::Boolean(truth) => self.constant(Value::Int(i64::from(*truth))),
            Literal::Number(digits, _) => self.constant(number(digits)?),
            Literal::SingleQuotedString(text)
            | Literal::DoubleQuotedString(text)
            | Literal::NationalStringLiteral(text) => self.constant(Value::Text(text.clone())),
            Literal::HexStringLiteral(digits) => {
                let bytes = bytes_of_hex(digits).ok_or_else(|| no_literal('x', digits))?;
                self.made(Node::Hex(bytes.into()), Type::Bytes)
            }
            Literal::SingleQuotedByteStringLiteral(digits) => {
                let bytes = bytes_of_bits(digits).ok_or_else(|| no_literal('b', digits))?;
                self.made(Node::Hex(bytes.into()), Type::Bytes)
            }
            Literal::Placeholder(name) => return self.parameter(name),
            other => return Err(Error::Unsupported(other.to_string())),
        })
    }

    /// `?` with its number, from 1, behind it. Whoever makes the tree numbers them.
    fn parameter(&self, name: &str) -> Result<Expression, Error> {
        let number = name.trim_start_matches(['?', ':', '$']);
        let number = if number.is_empty() { Some(1) } else { number.parse::<usize>().ok() };
        let index = number.and_then(|number| number.checked_sub(1));
        let index = index.ok_or_else(|| Error::Unsupported(name.to_owned()))?;
        let ty = self.scope.parameter_types.get(index).copied().unwrap_or(Type::Unknown);
        Ok(self.made(Node::Parameter(index), ty))
    }

    /// `DATE '…'`, `TIME '…'`, `TIMESTAMP '…'`.
    pub(super) fn typed_literal(&self, typed: &TypedString) -> Result<Expression, Error> {
        let text = typed.value.clone().into_string().unwrap_or_default();
        let fsp = fraction_digits(&text).min(FSP_MAX);
        Ok(match &typed.data_type {
            DataType::Date => self.constant(Value::Date(literal("DATE", &text, quiet_date)?)),
            DataType::Time(..) => {
                let time = literal("TIME", &text, quiet_time)?;
                self.made(Node::Constant(Value::Time(time)), Type::Time(fsp))
            }
            DataType::Timestamp(..) | DataType::Datetime(_) => {
                let moment = literal("DATETIME", &text, quiet_moment)?;
                self.made(Node::Constant(Value::DateTime(moment)), Type::DateTime(fsp))
            }
            // `BINARY 'text'` is an operator and its operand.
            DataType::Binary(_) => self.constant(Value::Bytes(text.into_bytes())),
            other => return Err(Error::Unsupported(format!("{other} '…'"))),
        })
    }

    /// `_utf8mb4 '…'`, `_binary '…'`.
    pub(super) fn introduced(&mut self, prefix: &Ident, value: &Expr) -> Result<Expression, Error> {
        let set = prefix.value.to_ascii_lowercase();
        let operand = self.expression(value)?;
        match (set.as_str(), operand.node) {
            ("_binary", Node::Constant(Value::Text(text))) => {
                Ok(self.constant(Value::Bytes(text.into_bytes())))
            }
            ("_utf8" | "_utf8mb3" | "_utf8mb4", Node::Hex(bytes)) => {
                let text = String::from_utf8(bytes.into_vec());
                let wrong = |_| Error::Unsupported(format!("{set} of other bytes than UTF-8"));
                Ok(self.constant(Value::Text(text.map_err(wrong)?)))
            }
            ("_binary" | "_utf8" | "_utf8mb3" | "_utf8mb4" | "_latin1" | "_ascii", node) => {
                Ok(self.made(node, operand.ty))
            }
            _ => Err(Error::Unsupported(set)),
        }
    }
}

fn no_literal(kind: char, digits: &str) -> Error {
    Error::Unsupported(format!("{kind}'{}'", crate::expression::error::excerpt(&digits)))
}

/// Whole numbers are BIGINT, beyond that BIGINT UNSIGNED, beyond that DECIMAL; numbers with a point
/// are DECIMAL, with an exponent DOUBLE.
fn number(digits: &str) -> Result<Value, Error> {
    let wrong =
        || Error::Unsupported(format!("number {}", crate::expression::error::excerpt(&digits)));
    if digits.contains(['e', 'E']) {
        let number: f64 = digits.parse().map_err(|_| wrong())?;
        if !number.is_finite() {
            return Err(Error::OutOfRange { ty: "DOUBLE", expression: digits.to_owned() });
        }
        return Ok(Value::Double(number));
    }
    if let Ok(number) = digits.parse() {
        return Ok(Value::Int(number));
    }
    if let Ok(number) = digits.parse() {
        return Ok(Value::UInt(number));
    }
    match Decimal::parse(digits) {
        Some(number) => Ok(Value::Decimal(number)),
        // More digits than a decimal has are those of a double.
        None => digits.parse().map(Value::Double).map_err(|_| wrong()),
    }
}

/// The bytes of binary digits, filled up with zeros in front.
fn bytes_of_bits(digits: &str) -> Option<Vec<u8>> {
    let mut bytes = vec![0; digits.len().div_ceil(8)];
    for (position, digit) in digits.bytes().rev().enumerate() {
        let bit = match digit {
            b'0' => 0,
            b'1' => 1,
            _ => return None,
        };
        let byte = bytes.len() - 1 - position / 8;
        bytes[byte] |= bit << (position % 8);
    }
    Some(bytes)
}
