//! What sqlparser's MySQL dialect leaves open or gets wrong: the precedence of operators, `MOD`,
//! `DIV`, `!`, and how long parsing may take.

use std::any::TypeId;
use std::cell::Cell;

use sqlparser::ast::{BinaryOperator, CastKind, DataType, Expr, UnaryOperator};
use sqlparser::dialect::{Dialect, MySqlDialect, Precedence};
use sqlparser::keywords::Keyword;
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::Token;

use super::limits::STEPS_PER_TOKEN;

const OR: u8 = 5;
const XOR: u8 = 8;
const AND: u8 = 10;
const NOT: u8 = 15;
/// `=`, `<`, `IS` and their like: of one rank, from left to right.
const COMPARISON: u8 = 20;
/// `IN`, `LIKE`, `BETWEEN`: they bind more tightly than `=`.
const PREDICATE: u8 = 21;
const BIT_OR: u8 = 22;
const BIT_AND: u8 = 24;
const SHIFT: u8 = 26;
const SUM: u8 = 30;
const PRODUCT: u8 = 40;
const BIT_XOR: u8 = 45;
const UNARY: u8 = 50;
/// `:=`, the weakest.
const ASSIGNMENT: u8 = 2;

/// MySQL's dialect, for one statement.
#[derive(Debug)]
pub(super) struct Mysql {
    steps: Cell<usize>,
}

impl Mysql {
    /// For a statement of so many tokens.
    pub(super) fn new(tokens: usize) -> Self {
        Self { steps: Cell::new((tokens + 10).saturating_mul(STEPS_PER_TOKEN)) }
    }

    /// Counts a step. When none is left the parser unwinds as if it were too deep: the only error
    /// that makes it give up its alternatives.
    fn step(&self) -> Result<(), ParserError> {
        let left = self.steps.get().checked_sub(1).ok_or(ParserError::RecursionLimitExceeded)?;
        self.steps.set(left);
        Ok(())
    }

    fn precedence(&self, parser: &Parser<'_>) -> u8 {
        let next = |ahead: usize| match &parser.peek_nth_token_ref(ahead).token {
            Token::Word(word) => word.keyword,
            _ => Keyword::NoKeyword,
        };
        match &parser.peek_token_ref().token {
            Token::Word(_) => word_precedence(next(0), next(1)),
            Token::Assignment => ASSIGNMENT,
            Token::Eq
            | Token::Lt
            | Token::LtEq
            | Token::Neq
            | Token::Gt
            | Token::GtEq
            | Token::Spaceship => COMPARISON,
            Token::Pipe => BIT_OR,
            Token::Ampersand => BIT_AND,
            Token::ShiftLeft | Token::ShiftRight => SHIFT,
            Token::Plus | Token::Minus => SUM,
            Token::Mul | Token::Div | Token::Mod => PRODUCT,
            Token::Caret => BIT_XOR,
            Token::Arrow | Token::LongArrow => UNARY + 1,
            Token::Period => self.prec_value(Precedence::Period),
            _ => 0,
        }
    }
}

fn word_precedence(word: Keyword, next: Keyword) -> u8 {
    match word {
        Keyword::OR => OR,
        Keyword::XOR => XOR,
        Keyword::AND => AND,
        Keyword::IS => COMPARISON,
        Keyword::DIV | Keyword::MOD => PRODUCT,
        Keyword::NOT => match next {
            Keyword::IN | Keyword::BETWEEN | Keyword::LIKE | Keyword::RLIKE | Keyword::REGEXP => {
                PREDICATE
            }
            _ => 0,
        },
        Keyword::IN
        | Keyword::BETWEEN
        | Keyword::LIKE
        | Keyword::RLIKE
        | Keyword::REGEXP
        | Keyword::MEMBER => PREDICATE,
        _ => 0,
    }
}

/// What the parser asks of the dialect and MySQL's answers.
macro_rules! yes {
    ($($name:ident),* $(,)?) => {
        $(fn $name(&self) -> bool { true })*
    };
}

impl Dialect for Mysql {
    /// The parser asks in places whether this is MySQL.
    fn dialect(&self) -> TypeId {
        TypeId::of::<MySqlDialect>()
    }

    fn is_identifier_start(&self, ch: char) -> bool {
        MySqlDialect {}.is_identifier_start(ch)
    }

    fn is_identifier_part(&self, ch: char) -> bool {
        MySqlDialect {}.is_identifier_part(ch)
    }

    fn is_delimited_identifier_start(&self, ch: char) -> bool {
        ch == '`'
    }

    fn identifier_quote_style(&self, _identifier: &str) -> Option<char> {
        Some('`')
    }

    yes!(
        supports_string_literal_backslash_escape,
        supports_string_literal_concatenation,
        ignores_wildcard_escapes,
        supports_numeric_prefix,
        supports_bitwise_shift_operators,
        require_interval_qualifier,
        supports_limit_comma,
        supports_user_host_grantee,
        supports_table_hints,
        supports_match_against,
        supports_select_modifiers,
        supports_data_type_signed_suffix,
        supports_cross_join_constraint,
        supports_group_by_with_modifier,
    );

    fn is_table_factor_alias(&self, explicit: bool, kw: &Keyword, parser: &mut Parser) -> bool {
        MySqlDialect {}.is_table_factor_alias(explicit, kw, parser)
    }

    fn prec_value(&self, prec: Precedence) -> u8 {
        match prec {
            Precedence::Period => 100,
            Precedence::DoubleColon | Precedence::PgOther => UNARY,
            Precedence::AtTz | Precedence::MulDivModOp => PRODUCT,
            Precedence::PlusMinus => SUM,
            Precedence::Caret => BIT_XOR,
            Precedence::Ampersand => BIT_AND,
            Precedence::Pipe | Precedence::Colon => BIT_OR,
            Precedence::Between | Precedence::Like => PREDICATE,
            Precedence::Eq | Precedence::Is => COMPARISON,
            Precedence::UnaryNot => NOT,
            Precedence::And => AND,
            Precedence::Xor => XOR,
            Precedence::Or => OR,
        }
    }

    fn get_next_precedence(&self, parser: &Parser) -> Option<Result<u8, ParserError>> {
        Some(Ok(self.precedence(parser)))
    }

    fn parse_prefix(&self, parser: &mut Parser) -> Option<Result<Expr, ParserError>> {
        if let Err(error) = self.step() {
            return Some(Err(error));
        }
        match &parser.peek_token_ref().token {
            // sqlparser gives BINARY everything up to the end: `BINARY a = b` compares bytes.
            Token::Word(word) if word.keyword == Keyword::BINARY && word.quote_style.is_none() => {
                parser.advance_token();
                Some(parser.parse_subexpr(UNARY).map(|expr| Expr::Cast {
                    kind: CastKind::Cast,
                    expr: Box::new(expr),
                    data_type: DataType::Binary(None),
                    array: false,
                    format: None,
                }))
            }
            Token::ExclamationMark => {
                parser.advance_token();
                let operand = parser.parse_subexpr(UNARY);
                let not = |expr| Expr::UnaryOp { op: UnaryOperator::Not, expr: Box::new(expr) };
                Some(operand.map(not).map(|expr| Expr::Nested(Box::new(expr))))
            }
            // Other systems' parameters and literals.
            Token::Colon | Token::AtSign => {
                let found = parser.peek_token_ref().clone();
                Some(parser.expected("an expression", found))
            }
            _ => None,
        }
    }

    fn parse_infix(
        &self,
        parser: &mut Parser,
        expr: &Expr,
        precedence: u8,
    ) -> Option<Result<Expr, ParserError>> {
        if let Err(error) = self.step() {
            return Some(Err(error));
        }
        let op = match &parser.peek_token_ref().token {
            Token::Word(word) if word.keyword == Keyword::DIV => BinaryOperator::MyIntegerDivide,
            Token::Word(word) if word.keyword == Keyword::MOD => BinaryOperator::Modulo,
            _ => return None,
        };
        parser.advance_token();
        let right = parser.parse_subexpr(precedence);
        Some(right.map(|right| Expr::BinaryOp {
            left: Box::new(expr.clone()),
            op,
            right: Box::new(right),
        }))
    }
}
