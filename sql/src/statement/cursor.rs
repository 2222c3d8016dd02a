//! Reading a statement word by word: what all of our own parsing is made of. Expressions and
//! queries are handed to sqlparser, whose parser is underneath.

use sqlparser::ast::{Expr, OrderByExpr, Query};
use sqlparser::keywords::Keyword;
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::{Token, TokenWithSpan};

use super::dialect::Mysql;
use super::error::{ParseError, Place};
use super::lexer::is_word;
use super::limits::RECURSION_MAX;
use super::name::check_length;
use super::tokens::Tokens;
use super::tree::Sql;

/// What a parsing function gives.
pub(super) type Parsing<T> = Result<T, ParseError>;

/// A place among the tokens of a statement.
pub(super) struct Cursor<'a> {
    parser: Parser<'a>,
    places: Vec<Place>,
    crowded: Option<Place>,
    text: &'a [u8],
    end: Place,
}

impl<'a> Cursor<'a> {
    /// At the first of these tokens. `end` is where the statement ends in `text`.
    pub(super) fn new(tokens: Tokens, dialect: &'a Mysql, text: &'a [u8], end: Place) -> Self {
        let crowded = tokens.crowded();
        let parser = Parser::new(dialect)
            .with_recursion_limit(RECURSION_MAX)
            .with_tokens_with_locations(tokens.tokens);
        Self { parser, places: tokens.places, crowded, text, end }
    }

    /// The next token, which stays the next.
    pub(super) fn peek(&self) -> &Token {
        &self.parser.peek_token_ref().token
    }

    /// The token so many after the next.
    pub(super) fn peek_nth(&self, ahead: usize) -> &Token {
        &self.parser.peek_nth_token_ref(ahead).token
    }

    pub(super) fn advance(&mut self) {
        self.parser.advance_token();
    }

    /// Whether the token so many after the next is this word.
    pub(super) fn is_word_at(&self, ahead: usize, word: &str) -> bool {
        is_word(self.peek_nth(ahead), word)
    }

    /// Whether this word is next.
    pub(super) fn is_word(&self, word: &str) -> bool {
        is_word(self.peek(), word)
    }

    /// Whether these words, separated by blanks, are next.
    pub(super) fn are_words(&self, words: &str) -> bool {
        words.split(' ').enumerate().all(|(ahead, word)| self.is_word_at(ahead, word))
    }

    /// Takes this word if it is next.
    pub(super) fn word(&mut self, word: &str) -> bool {
        let found = self.is_word(word);
        if found {
            self.advance();
        }
        found
    }

    /// Takes these words, separated by blanks, if all of them are next.
    pub(super) fn words(&mut self, words: &str) -> bool {
        let found = self.are_words(words);
        if found {
            words.split(' ').for_each(|_| self.advance());
        }
        found
    }

    /// Takes the first of these words that is next, and says which it is.
    pub(super) fn one_of<'w>(&mut self, words: &[&'w str]) -> Option<&'w str> {
        words.iter().copied().find(|word| self.words(word))
    }

    /// Takes these words, which must be next.
    pub(super) fn expect_words(&mut self, words: &str) -> Parsing<()> {
        words.split(' ').try_for_each(|word| self.must(word))
    }

    fn must(&mut self, word: &str) -> Parsing<()> {
        if self.word(word) { Ok(()) } else { Err(self.unexpected()) }
    }

    /// Takes this symbol if it is next.
    pub(super) fn symbol(&mut self, symbol: &Token) -> bool {
        let found = self.peek() == symbol;
        if found {
            self.advance();
        }
        found
    }

    /// Takes this symbol, which must be next.
    pub(super) fn expect(&mut self, symbol: &Token) -> Parsing<()> {
        if self.symbol(symbol) { Ok(()) } else { Err(self.unexpected()) }
    }

    /// Whether nothing is left.
    pub(super) fn at_end(&self) -> bool {
        *self.peek() == Token::EOF
    }

    /// Nothing may be left.
    pub(super) fn expect_end(&self) -> Parsing<()> {
        if self.at_end() { Ok(()) } else { Err(self.unexpected()) }
    }

    /// The error that the next token is not one that may stand here.
    pub(super) fn unexpected(&self) -> ParseError {
        self.place().syntax(self.text)
    }

    fn place(&self) -> Place {
        self.places.get(self.parser.index()).copied().unwrap_or(self.end)
    }

    /// An identifier: a word, quoted or not. It keeps its case.
    pub(super) fn name(&mut self) -> Parsing<String> {
        let Token::Word(word) = self.peek() else { return Err(self.unexpected()) };
        if word.quote_style.is_none() && (word.value.starts_with('@') || reserved(word.keyword)) {
            return Err(self.unexpected());
        }
        let name = word.value.clone();
        check_length(&name)?;
        self.advance();
        Ok(name)
    }

    /// A string.
    pub(super) fn string(&mut self) -> Parsing<String> {
        self.optional_string().ok_or_else(|| self.unexpected())
    }

    /// A string, if one is next. Adjacent ones are one.
    pub(super) fn optional_string(&mut self) -> Option<String> {
        let mut text: Option<String> = None;
        while let Token::SingleQuotedString(part) = self.peek() {
            match &mut text {
                Some(text) => text.push_str(part),
                None => text = Some(part.clone()),
            }
            self.advance();
        }
        text
    }

    /// A name or a string.
    pub(super) fn name_or_string(&mut self) -> Parsing<String> {
        match self.optional_string() {
            Some(text) => Ok(text),
            None => self.name(),
        }
    }

    /// A name, a string, or the word DEFAULT: values of options.
    pub(super) fn name_or_default(&mut self) -> Parsing<String> {
        if self.word("DEFAULT") { Ok("DEFAULT".to_owned()) } else { self.name_or_string() }
    }

    /// A whole number without sign.
    pub(super) fn number(&mut self) -> Parsing<u64> {
        let Token::Number(digits, _) = self.peek() else { return Err(self.unexpected()) };
        let number = digits.parse().map_err(|_| self.unexpected())?;
        self.advance();
        Ok(number)
    }

    /// A whole number without sign that fits 32 bits.
    pub(super) fn small_number(&mut self) -> Parsing<u32> {
        let before = self.unexpected();
        u32::try_from(self.number()?).map_err(|_| before)
    }

    /// Something once or more, with commas between.
    pub(super) fn list<T>(
        &mut self,
        mut item: impl FnMut(&mut Self) -> Parsing<T>,
    ) -> Parsing<Vec<T>> {
        let mut items = vec![item(self)?];
        while self.symbol(&Token::Comma) {
            items.push(item(self)?);
        }
        Ok(items)
    }

    /// A list in parentheses, which may be empty.
    pub(super) fn in_parentheses<T>(
        &mut self,
        item: impl FnMut(&mut Self) -> Parsing<T>,
    ) -> Parsing<Vec<T>> {
        self.expect(&Token::LParen)?;
        if self.symbol(&Token::RParen) {
            return Ok(Vec::new());
        }
        let items = self.list(item)?;
        self.expect(&Token::RParen)?;
        Ok(items)
    }

    /// An expression, by sqlparser.
    pub(super) fn expression(&mut self) -> Parsing<Sql<Box<Expr>>> {
        self.delegate(Parser::parse_expr).map(Box::new).map(Sql)
    }

    /// A query, by sqlparser.
    pub(super) fn query(&mut self) -> Parsing<Sql<Box<Query>>> {
        self.delegate(Parser::parse_query).map(Sql)
    }

    /// One item of ORDER BY, by sqlparser.
    pub(super) fn order_by(&mut self) -> Parsing<Sql<OrderByExpr>> {
        self.delegate(Parser::parse_order_by_expr).map(Sql)
    }

    fn delegate<T>(
        &mut self,
        parse: impl FnOnce(&mut Parser<'a>) -> Result<T, ParserError>,
    ) -> Parsing<T> {
        if let Some(place) = self.crowded {
            return Err(place.too_deep(self.text));
        }
        parse(&mut self.parser).map_err(|error| match error {
            ParserError::RecursionLimitExceeded => self.place().too_deep(self.text),
            ParserError::TokenizerError(text) | ParserError::ParserError(text) => {
                self.place_named_in(&text).syntax(self.text)
            }
        })
    }

    /// Where an error of sqlparser's parser is: it says so at the end of its text and nowhere
    /// else. Its own index may be anywhere by then. Without one, the text ended too early.
    fn place_named_in(&self, text: &str) -> Place {
        let column = text.rsplit_once(", Column: ").and_then(|(rest, column)| {
            let line = rest.rsplit_once(" at Line: ")?.1.parse::<u64>().ok()?;
            Some((line, column.parse::<u64>().ok()?))
        });
        let Some((line, column)) = column else { return self.end };
        let at = |index: usize| self.parser.token_at(index).span.start;
        let same = |index: &usize| at(*index).line == line && at(*index).column == column;
        let found = (0..self.places.len()).find(same);
        found.map_or(self.end, |index| self.places[index])
    }

    /// All tokens that are left, for nodes that keep them unread.
    pub(super) fn rest(&self) -> impl Iterator<Item = &TokenWithSpan> {
        (self.parser.index()..self.places.len()).map(|index| self.parser.token_at(index))
    }
}

/// Words that are no names unless quoted. MySQL has more of them; these are the ones that would
/// otherwise hide an error.
fn reserved(word: Keyword) -> bool {
    matches!(
        word,
        Keyword::SELECT
            | Keyword::INSERT
            | Keyword::UPDATE
            | Keyword::DELETE
            | Keyword::FROM
            | Keyword::WHERE
            | Keyword::SET
            | Keyword::VALUES
            | Keyword::CREATE
            | Keyword::DROP
            | Keyword::ALTER
            | Keyword::TABLE
            | Keyword::INTO
            | Keyword::ON
            | Keyword::AND
            | Keyword::OR
            | Keyword::NOT
            | Keyword::NULL
            | Keyword::ORDER
            | Keyword::GROUP
            | Keyword::BY
            | Keyword::LIMIT
            | Keyword::JOIN
            | Keyword::UNION
            | Keyword::IN
            | Keyword::IS
            | Keyword::LIKE
            | Keyword::AS
            | Keyword::IF
            | Keyword::EXISTS
            | Keyword::PRIMARY
            | Keyword::UNIQUE
            | Keyword::KEY
            | Keyword::INDEX
            | Keyword::FOREIGN
            | Keyword::CONSTRAINT
            | Keyword::CHECK
            | Keyword::DEFAULT
            | Keyword::WITH
            | Keyword::TO
            | Keyword::FOR
            | Keyword::USING
            | Keyword::USE
            | Keyword::GRANT
            | Keyword::REVOKE
    )
}
