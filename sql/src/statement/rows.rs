//! The rows of `INSERT … VALUES`, read straight from the text: a load of a thousand rows is all
//! literals, and a tree for each would cost ten times as much as the rows themselves.

use sqlparser::tokenizer::Token;

use super::cursor::{Cursor, Parsing};
use super::dialect::Mysql;
use super::error::ParseError;
use super::lexer::{Lexeme, Lexer};
use super::limits::VALUES_MAX;
use super::operand::{Operand, number};
use super::tokens::Tokens;

/// Rows of values, one after the other in one list.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rows {
    /// Values of each row. None in `VALUES ()`, a row of defaults.
    pub width: usize,
    /// How many rows.
    pub count: usize,
    /// All their values.
    pub values: Vec<Operand>,
}

impl Rows {
    /// The rows in order.
    pub fn iter(&self) -> impl Iterator<Item = &[Operand]> {
        (0..self.count).map(|row| &self.values[row * self.width..(row + 1) * self.width])
    }

    /// Reads `(…), (…), …` and the token behind.
    pub(super) fn scan(lexer: &mut Lexer<'_>) -> Parsing<(Self, Lexeme)> {
        let mut rows = Self::default();
        loop {
            let mut open = lexer.next()?;
            if open.is_word("ROW") {
                open = lexer.next()?;
            }
            if open.token != Token::LParen {
                return Err(open.place.syntax(lexer.text()));
            }
            rows.row(lexer)?;
            let next = lexer.next()?;
            if next.token != Token::Comma {
                return Ok((rows, next));
            }
        }
    }

    /// One row, behind its opening parenthesis.
    fn row(&mut self, lexer: &mut Lexer<'_>) -> Parsing<()> {
        let before = self.values.len();
        let mut next = lexer.next()?;
        while next.token != Token::RParen {
            let (operand, end) = operand(lexer, next)?;
            if self.values.len() >= VALUES_MAX {
                return Err(ParseError::TooLarge { what: "values", limit: VALUES_MAX });
            }
            self.values.push(operand);
            if end.token == Token::RParen {
                break;
            }
            next = lexer.next()?;
            if next.token == Token::RParen {
                return Err(next.place.syntax(lexer.text()));
            }
        }
        let width = self.values.len() - before;
        self.count += 1;
        if self.count == 1 {
            self.width = width;
        }
        if width != self.width {
            return Err(ParseError::ValueCount { row: self.count });
        }
        Ok(())
    }
}

fn ends_value(lexeme: &Lexeme) -> bool {
    matches!(lexeme.token, Token::Comma | Token::RParen)
}

/// The operand that begins with `first`, and the comma or parenthesis that ends it.
fn operand(lexer: &mut Lexer<'_>, first: Lexeme) -> Parsing<(Operand, Lexeme)> {
    let second = lexer.next()?;
    if ends_value(&second) {
        if let Some(operand) = Operand::of_token(&first.token) {
            return Ok((operand, second));
        }
        return expression(lexer, vec![first], second);
    }
    if let (Token::Minus, Token::Number(digits, _)) = (&first.token, &second.token) {
        let literal = number(digits, true);
        let third = lexer.next()?;
        return match literal {
            Some(literal) if ends_value(&third) => Ok((Operand::Literal(literal), third)),
            _ => expression(lexer, vec![first, second], third),
        };
    }
    expression(lexer, vec![first], second)
}

/// An operand that needs a tree: the tokens read so far, the next one, and all up to its end.
fn expression(
    lexer: &mut Lexer<'_>,
    read: Vec<Lexeme>,
    mut next: Lexeme,
) -> Parsing<(Operand, Lexeme)> {
    let text = lexer.text();
    let mut tokens = Tokens::default();
    for lexeme in read {
        tokens.push(lexeme, text)?;
    }
    while tokens.depth() > 0 || !ends_value(&next) {
        if next.is_end() {
            return Err(next.place.syntax(text));
        }
        tokens.push(next, text)?;
        next = lexer.next()?;
    }
    let dialect = Mysql::new(tokens.tokens.len());
    let mut cursor = Cursor::new(tokens, &dialect, text, next.place);
    let operand = Operand::parse(&mut cursor)?;
    cursor.expect_end()?;
    Ok((operand, next))
}
