//! `CAST` and `CONVERT`: the types that they name.

use resprout_engine::table::{PRECISION_MAX, SCALE_MAX};
use sqlparser::ast::{BinaryLength, CharacterLength, DataType, ExactNumberInfo, Expr};

use super::Compiler;
use crate::expression::convert::Target;
use crate::expression::error::{Error, excerpt};
use crate::expression::node::{Expression, Node};

/// Most digits that MySQL allows; more than [`PRECISION_MAX`] are taken for that many.
const MYSQL_PRECISION_MAX: u64 = 65;

/// Most digits of a fraction of a second.
const FSP_MAX: u64 = 6;

impl Compiler<'_> {
    pub(super) fn cast(&mut self, operand: &Expr, ty: &DataType) -> Result<Expression, Error> {
        let target = target(ty, operand)?;
        let mut operand = self.expression(operand)?;
        if matches!(
            target,
            Target::Signed | Target::Unsigned | Target::Decimal { .. } | Target::Double
        ) {
            operand = super::operator::as_number(operand);
        }
        Ok(self.made(Node::Cast(Box::new(operand), target), target.ty()))
    }

    /// `CONVERT(value USING charset)`.
    pub(super) fn convert_using(
        &mut self,
        operand: &Expr,
        charset: &str,
    ) -> Result<Expression, Error> {
        let target = match charset.to_ascii_lowercase().as_str() {
            "utf8" | "utf8mb3" | "utf8mb4" | "latin1" | "ascii" => Target::Char(None),
            "binary" => Target::Binary(None),
            other => return Err(Error::Unsupported(format!("CONVERT USING {other}"))),
        };
        let operand = self.boxed(operand)?;
        Ok(self.made(Node::Cast(operand, target), target.ty()))
    }
}

fn target(ty: &DataType, operand: &Expr) -> Result<Target, Error> {
    let characters = |length: &Option<CharacterLength>| match length {
        Some(CharacterLength::IntegerLength { length, .. }) => Some(*length),
        _ => None,
    };
    Ok(match ty {
        DataType::Signed | DataType::SignedInteger => Target::Signed,
        DataType::Int(_) | DataType::Integer(_) | DataType::BigInt(_) => Target::Signed,
        DataType::Unsigned | DataType::UnsignedInteger => Target::Unsigned,
        DataType::Decimal(digits) | DataType::Dec(digits) | DataType::Numeric(digits) => {
            decimal(digits, operand)?
        }
        DataType::Double(_) | DataType::DoublePrecision | DataType::Real => Target::Double,
        DataType::Float(_) => Target::Float,
        DataType::Char(length) | DataType::Character(length) | DataType::Varchar(length) => {
            Target::Char(characters(length))
        }
        DataType::JSON => Target::Char(None),
        DataType::Binary(length) => Target::Binary(*length),
        DataType::Varbinary(Some(BinaryLength::IntegerLength { length })) => {
            Target::Binary(Some(*length))
        }
        DataType::Date => Target::Date,
        DataType::Time(fsp, _) => Target::Time(fraction(*fsp, operand)?),
        DataType::Datetime(fsp) => Target::DateTime(fraction(*fsp, operand)?),
        DataType::Custom(name, _) if name.to_string().eq_ignore_ascii_case("year") => Target::Year,
        DataType::Custom(name, _) if name.to_string().eq_ignore_ascii_case("nchar") => {
            Target::Char(None)
        }
        other => return Err(Error::Unsupported(format!("CAST AS {other}"))),
    })
}

fn too_big(what: &'static str, found: u64, operand: &Expr, limit: u64) -> Error {
    Error::TooBig { what, found, of: excerpt(operand), limit }
}

fn fraction(fsp: Option<u64>, operand: &Expr) -> Result<u8, Error> {
    let fsp = fsp.unwrap_or(0);
    let narrow = u8::try_from(fsp).ok().filter(|_| fsp <= FSP_MAX);
    narrow.ok_or_else(|| too_big("precision", fsp, operand, FSP_MAX))
}

fn decimal(digits: &ExactNumberInfo, operand: &Expr) -> Result<Target, Error> {
    let (precision, scale) = match digits {
        ExactNumberInfo::None => (10, 0),
        ExactNumberInfo::Precision(precision) => (*precision, 0),
        ExactNumberInfo::PrecisionAndScale(precision, scale) => {
            (*precision, u64::try_from(*scale).unwrap_or(u64::MAX))
        }
    };
    if precision > MYSQL_PRECISION_MAX {
        return Err(too_big("precision", precision, operand, MYSQL_PRECISION_MAX));
    }
    if scale > u64::from(SCALE_MAX) {
        return Err(too_big("scale", scale, operand, u64::from(SCALE_MAX)));
    }
    // DECIMAL(0) means the default.
    let precision = if precision == 0 { 10 } else { precision.max(scale) };
    let narrow = |number: u64| u8::try_from(number).unwrap_or(PRECISION_MAX).min(PRECISION_MAX);
    Ok(Target::Decimal { precision: narrow(precision), scale: narrow(scale) })
}
