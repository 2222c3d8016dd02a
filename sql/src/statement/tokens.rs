//! The tokens of one statement, gathered within their limits.

use sqlparser::keywords::Keyword;
use sqlparser::tokenizer::{Token, TokenWithSpan};

use super::error::{ParseError, Place};
use super::lexer::{Lexeme, Lexer, is_word};
use super::limits::{OPERATORS_MAX, PARENTHESES_MAX, SUBQUERIES_MAX, TOKENS_MAX};

/// Tokens, and for each where it is in the text.
#[derive(Debug, Default)]
pub(super) struct Tokens {
    pub(super) tokens: Vec<TokenWithSpan>,
    pub(super) places: Vec<Place>,
    depth: usize,
    operators: usize,
    /// A bit for each open parenthesis, and one for none, that has a SELECT right in it.
    selects: u128,
    /// The first operator that is too many, if expressions follow that long.
    crowded: Option<Place>,
}

impl Tokens {
    /// Takes one in.
    pub(super) fn push(&mut self, lexeme: Lexeme, text: &[u8]) -> Result<(), ParseError> {
        match lexeme.token {
            Token::LParen => self.depth += 1,
            Token::RParen => {
                self.selects &= !(1 << self.depth);
                self.depth = self.depth.saturating_sub(1);
            }
            Token::Word(ref word) if word.keyword == Keyword::SELECT => {
                self.selects |= 1 << self.depth;
            }
            _ if is_operator(&lexeme.token) => self.operators += 1,
            _ => {}
        }
        if self.depth > PARENTHESES_MAX || self.selects.count_ones() > SUBQUERIES_MAX + 1 {
            return Err(lexeme.place.too_deep(text));
        }
        if self.operators > OPERATORS_MAX {
            self.crowded.get_or_insert(lexeme.place);
        }
        if self.tokens.len() >= TOKENS_MAX {
            return Err(ParseError::TooLarge { what: "tokens", limit: TOKENS_MAX });
        }
        self.places.push(lexeme.place);
        self.tokens.push(lexeme.with_span());
        Ok(())
    }

    /// Takes in the rest of the statement; its end is read too.
    pub(super) fn push_statement(&mut self, lexer: &mut Lexer<'_>) -> Result<(), ParseError> {
        loop {
            let lexeme = lexer.next()?;
            if lexeme.is_end() {
                return Ok(());
            }
            self.push(lexeme, lexer.text())?;
        }
    }

    /// The first operator that is one too many for an expression or query.
    pub(super) fn crowded(&self) -> Option<Place> {
        self.crowded
    }

    /// Parentheses that are open.
    pub(super) fn depth(&self) -> usize {
        self.depth
    }

    pub(super) fn last(&self) -> Option<&Token> {
        self.tokens.last().map(|token| &token.token)
    }

    pub(super) fn is_word(&self, index: usize, text: &str) -> bool {
        self.tokens.get(index).is_some_and(|token| is_word(&token.token, text))
    }

    /// Leaves out the character set of `CAST(… AS CHAR CHARACTER SET utf8mb4)`, which the parser
    /// does not know: there is one.
    pub(super) fn drop_charsets(&mut self) {
        let mut at = 1;
        while at + 2 < self.tokens.len() {
            let of_type =
                self.is_word(at - 1, "CHAR") || self.tokens[at - 1].token == Token::RParen;
            if of_type && self.is_word(at, "CHARACTER") && self.is_word(at + 1, "SET") {
                self.tokens.drain(at..at + 3);
                self.places.drain(at..at + 3);
            }
            at += 1;
        }
    }

    /// Writes `LOCK IN SHARE MODE` as `FOR SHARE`, which means the same and which the parser
    /// knows.
    pub(super) fn modernise_locks(&mut self) {
        let old = ["LOCK", "IN", "SHARE", "MODE"];
        let mut at = 0;
        while at + old.len() <= self.tokens.len() {
            if old.iter().enumerate().all(|(n, word)| self.is_word(at + n, word)) {
                self.tokens[at].token = Token::make_keyword("FOR");
                self.tokens[at + 1].token = Token::make_keyword("SHARE");
                self.tokens.drain(at + 2..at + 4);
                self.places.drain(at + 2..at + 4);
            }
            at += 1;
        }
    }
}

/// Whether the tree of an expression may grow deeper with this token.
fn is_operator(token: &Token) -> bool {
    match token {
        Token::Word(word) => matches!(
            word.keyword,
            Keyword::AND
                | Keyword::OR
                | Keyword::XOR
                | Keyword::NOT
                | Keyword::IS
                | Keyword::IN
                | Keyword::LIKE
                | Keyword::ILIKE
                | Keyword::RLIKE
                | Keyword::REGEXP
                | Keyword::SIMILAR
                | Keyword::MEMBER
                | Keyword::MATCH
                | Keyword::BETWEEN
                | Keyword::OVERLAPS
                | Keyword::DIV
                | Keyword::MOD
                | Keyword::COLLATE
                | Keyword::AT
                | Keyword::NOTNULL
                | Keyword::UNION
                | Keyword::EXCEPT
                | Keyword::MINUS
                | Keyword::INTERSECT
                | Keyword::JOIN
                | Keyword::STRAIGHT_JOIN
                | Keyword::APPLY
                | Keyword::PIVOT
                | Keyword::UNPIVOT
                | Keyword::MATCH_RECOGNIZE
                | Keyword::OPERATOR
        ),
        Token::Comma
        | Token::Period
        | Token::Number(..)
        | Token::SingleQuotedString(_)
        | Token::HexStringLiteral(_)
        | Token::SingleQuotedByteStringLiteral(_)
        | Token::Placeholder(_)
        | Token::LParen
        | Token::RParen
        | Token::Colon
        | Token::AtSign => false,
        _ => true,
    }
}
