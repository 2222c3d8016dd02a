//! The values of statements that name rows: mostly literals and parameters, which need no tree.

use resprout_engine::table::{Decimal, Value};
use sqlparser::ast::{Expr, UnaryOperator, Value as Literal};
use sqlparser::tokenizer::Token;

use super::admin::ends_list;
use super::cursor::{Cursor, Parsing};
use super::tree::Sql;

/// A value in a statement.
#[derive(Clone, Debug, PartialEq)]
pub enum Operand {
    /// A literal: whole numbers are `Int`, beyond that `UInt`, beyond that `Decimal`; numbers with
    /// a point are `Decimal`, with an exponent `Double`; TRUE and FALSE are 1 and 0; hex and bit
    /// literals are `Bytes`. It is not yet brought to the type of a column.
    Literal(Value),
    /// A parameter, from 1.
    Parameter(u16),
    /// `DEFAULT`: of the column.
    Default,
    /// Anything else.
    Expression(Sql<Box<Expr>>),
}

impl Operand {
    /// One operand of a list.
    pub(super) fn parse(cursor: &mut Cursor<'_>) -> Parsing<Self> {
        if ends_list(cursor.peek_nth(1))
            && let Some(operand) = Self::of_token(cursor.peek())
        {
            cursor.advance();
            return Ok(operand);
        }
        let expression = cursor.expression()?;
        Ok(Self::of_expression(&expression).unwrap_or(Self::Expression(expression)))
    }

    /// The operand that a token is by itself.
    pub(super) fn of_token(token: &Token) -> Option<Self> {
        Some(match token {
            Token::Number(digits, _) => Self::Literal(number(digits, false)?),
            Token::SingleQuotedString(text) => Self::Literal(Value::Text(text.clone())),
            Token::HexStringLiteral(digits) => Self::Literal(Value::Bytes(bytes_of_hex(digits)?)),
            Token::SingleQuotedByteStringLiteral(digits) => {
                Self::Literal(Value::Bytes(bytes_of_bits(digits)?))
            }
            Token::Placeholder(name) => Self::Parameter(parameter(name)?),
            Token::Word(word) if word.quote_style.is_none() => match word.value.as_str() {
                word if word.eq_ignore_ascii_case("NULL") => Self::Literal(Value::Null),
                word if word.eq_ignore_ascii_case("DEFAULT") => Self::Default,
                word if word.eq_ignore_ascii_case("TRUE") => Self::Literal(Value::Int(1)),
                word if word.eq_ignore_ascii_case("FALSE") => Self::Literal(Value::Int(0)),
                _ => return None,
            },
            _ => return None,
        })
    }

    /// The literal or parameter that an expression is.
    #[must_use]
    pub fn of_expression(expression: &Expr) -> Option<Self> {
        match expression {
            Expr::Value(value) => Self::of_value(&value.value),
            Expr::Nested(inner) => Self::of_expression(inner),
            Expr::UnaryOp { op: UnaryOperator::Plus, expr } => match Self::of_expression(expr)? {
                literal @ Self::Literal(Value::Int(_) | Value::UInt(_) | Value::Decimal(_)) => {
                    Some(literal)
                }
                _ => None,
            },
            Expr::UnaryOp { op: UnaryOperator::Minus, expr } => match &**expr {
                Expr::Value(value) => match &value.value {
                    Literal::Number(digits, _) => Some(Self::Literal(number(digits, true)?)),
                    _ => None,
                },
                _ => None,
            },
            _ => None,
        }
    }

    fn of_value(value: &Literal) -> Option<Self> {
        Some(match value {
            Literal::Number(digits, _) => Self::Literal(number(digits, false)?),
            Literal::SingleQuotedString(text) | Literal::DoubleQuotedString(text) => {
                Self::Literal(Value::Text(text.clone()))
            }
            Literal::HexStringLiteral(digits) => Self::Literal(Value::Bytes(bytes_of_hex(digits)?)),
            Literal::SingleQuotedByteStringLiteral(digits) => {
                Self::Literal(Value::Bytes(bytes_of_bits(digits)?))
            }
            Literal::Boolean(is) => Self::Literal(Value::Int(i64::from(*is))),
            Literal::Null => Self::Literal(Value::Null),
            Literal::Placeholder(name) => Self::Parameter(parameter(name)?),
            _ => return None,
        })
    }
}

/// The number of a parameter, from its name `$n`.
fn parameter(name: &str) -> Option<u16> {
    name.strip_prefix('$')?.parse().ok()
}

/// A number as MySQL takes it: exact unless it has an exponent.
pub(super) fn number(digits: &str, negative: bool) -> Option<Value> {
    let signed = |digits: &str| if negative { format!("-{digits}") } else { digits.to_owned() };
    if digits.bytes().all(|byte| byte.is_ascii_digit()) {
        if let Ok(number) = digits.parse::<i64>() {
            return Some(Value::Int(if negative { -number } else { number }));
        }
        if negative && digits == "9223372036854775808" {
            return Some(Value::Int(i64::MIN));
        }
        if let (false, Ok(number)) = (negative, digits.parse::<u64>()) {
            return Some(Value::UInt(number));
        }
    }
    if !digits.bytes().any(|byte| matches!(byte, b'e' | b'E'))
        && let Some(number) = Decimal::parse(&signed(digits))
    {
        return Some(Value::Decimal(number));
    }
    let number = signed(digits).parse::<f64>().ok().filter(|number| number.is_finite());
    number.map(Value::Double)
}

fn bytes_of_hex(digits: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|value| u8::try_from(value).ok());
    let pairs = digits.as_bytes().chunks(2);
    pairs.map(|pair| Some(digit(pair[0])? << 4 | digit(*pair.get(1)?)?)).collect()
}

/// Bits as MySQL makes bytes of them: the last one is the lowest.
fn bytes_of_bits(digits: &str) -> Option<Vec<u8>> {
    let chunks = digits.as_bytes().rchunks(8);
    let mut bytes: Vec<u8> = chunks
        .map(|bits| bits.iter().try_fold(0_u8, |sum, bit| Some(sum << 1 | bit.checked_sub(b'0')?)))
        .collect::<Option<_>>()?;
    bytes.reverse();
    Some(bytes)
}
