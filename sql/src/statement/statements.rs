//! A text of one or more statements, one by one: MySQL runs the first before it looks at the
//! second.

use super::Statement;
use super::cursor::{Cursor, Parsing};
use super::dialect::Mysql;
use super::error::{ParseError, Place};
use super::insert;
use super::lexer::{Lexeme, Lexer};
use super::limits::TEXT_BYTES_MAX;
use super::parse::statement as parse_statement;
use super::tokens::Tokens;

/// A statement, and what belongs to it.
#[derive(Clone, Debug, PartialEq)]
pub struct Parsed<'t> {
    /// The statement.
    pub statement: Statement,
    /// How many parameters it has.
    pub parameters: u16,
    /// Its text, without the `;`.
    pub text: &'t [u8],
}

/// The statements of a text. Ends after the first error. Empty statements behind a `;` are passed
/// over; a text without any is [`ParseError::Empty`].
#[derive(Clone, Debug)]
pub struct Statements<'t> {
    lexer: Lexer<'t>,
    any: bool,
    ended: bool,
}

impl<'t> Statements<'t> {
    /// Of this text, which should be UTF-8; in strings after `_binary` all bytes may be.
    #[must_use]
    pub fn new(text: &'t [u8]) -> Self {
        Self { lexer: Lexer::new(text), any: false, ended: false }
    }

    /// Whether blanks and comments are all that is left.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.ended || first_of_statement(&mut self.lexer.clone()).is_ok_and(|first| first.is_none())
    }

    fn statement(&mut self) -> Parsing<Option<Parsed<'t>>> {
        let text = self.lexer.text();
        if text.len() > TEXT_BYTES_MAX {
            return Err(ParseError::TooLarge { what: "bytes", limit: TEXT_BYTES_MAX });
        }
        self.lexer.start_statement();
        let Some(first) = first_of_statement(&mut self.lexer)? else {
            return if self.any { Ok(None) } else { Err(ParseError::Empty) };
        };
        let start = first.place.start;
        let is_insert = first.is_word("INSERT") || first.is_word("REPLACE");
        let mut tokens = Tokens::default();
        tokens.push(first, text)?;
        let rows = match is_insert {
            true => insert::gather(&mut tokens, &mut self.lexer)?,
            false => {
                tokens.push_statement(&mut self.lexer)?;
                None
            }
        };
        let end = self.lexer.position() - usize::from(self.lexer.at_semicolon());
        if tokens.is_word(0, "SELECT") || tokens.is_word(0, "WITH") {
            tokens.modernise_locks();
            tokens.drop_charsets();
        }
        let statement = {
            let dialect = Mysql::new(tokens.tokens.len());
            let place = Place { start: end, line: self.lexer.line() };
            // What lies behind the statement is none of its errors' business.
            let mut cursor = Cursor::new(tokens, &dialect, &text[..end], place);
            let statement = parse_statement(&mut cursor, rows)?;
            cursor.expect_end()?;
            statement
        };
        let parameters = u16::try_from(self.lexer.parameters());
        let parameters = parameters.map_err(|_| ParseError::TooManyParameters)?;
        self.any = true;
        Ok(Some(Parsed { statement, parameters, text: text[start..end].trim_ascii_end() }))
    }
}

/// The first token of the next statement that has any.
fn first_of_statement(lexer: &mut Lexer<'_>) -> Parsing<Option<Lexeme>> {
    loop {
        let lexeme = lexer.next()?;
        if !lexeme.is_end() {
            return Ok(Some(lexeme));
        }
        if lexeme.token == sqlparser::tokenizer::Token::EOF {
            return Ok(None);
        }
    }
}

impl<'t> Iterator for Statements<'t> {
    type Item = Result<Parsed<'t>, ParseError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let item = self.statement().transpose();
        self.ended = !matches!(item, Some(Ok(_)));
        item
    }
}

/// The one statement of a text: for a session without multi-statements, and to prepare.
///
/// # Errors
/// If it is none, or a second one follows.
pub fn parse(text: &[u8]) -> Result<Parsed<'_>, ParseError> {
    let mut statements = Statements::new(text);
    let first = statements.next().unwrap_or(Err(ParseError::Empty))?;
    match first_of_statement(&mut statements.lexer)? {
        None => Ok(first),
        Some(second) => Err(second.place.syntax(text)),
    }
}
