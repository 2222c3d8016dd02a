//! Text to tokens, by MySQL's rules. It makes sqlparser's tokens, so that its parser can go on
//! with expressions and queries, but reads the text itself: where a string or comment ends decides
//! what is a statement, and there must be one opinion about it.
//!
//! * `'…'` and `"…"` are strings (`ANSI_QUOTES` is off) with `\` escapes; `` `…` `` is a name.
//! * `#…`, `-- …` (a blank must follow) and `/*…*/` are comments. `/*!50100 …*/` is text for
//!   servers of version 5.1.0 and later, of which this is one up to [`VERSION_OF_COMMENTS`].
//! * `?` is a parameter. They are numbered from 1 and become `$1`, `$2`, …, the way the query
//!   library wants them.
//! * `_binary'…'` and other bytes become hex literals, so that no byte is lost; strings with other
//!   introducers of character sets are UTF-8 like all text here.
//! * `@name` and `@@name` are one word each; `user@host` are two.
//! * `||` is OR and `&&` is AND, as `PIPES_AS_CONCAT` is off.

use std::borrow::Cow;

use sqlparser::tokenizer::{Location, Span, Token, TokenWithSpan};

use super::error::{ParseError, Place};
use super::limits::PARAMETERS_MAX;

/// The version as which the server takes the text of version comments: 5.7.44.
pub const VERSION_OF_COMMENTS: u32 = 50_744;

/// A token and where it begins.
#[derive(Clone, Debug)]
pub(super) struct Lexeme {
    pub(super) token: Token,
    pub(super) place: Place,
    /// Bytes before it in its line.
    column: usize,
}

impl Lexeme {
    /// Whether it is this word, not quoted, whatever the case.
    pub(super) fn is_word(&self, text: &str) -> bool {
        is_word(&self.token, text)
    }

    /// Whether nothing follows in this statement.
    pub(super) fn is_end(&self) -> bool {
        matches!(self.token, Token::EOF | Token::SemiColon)
    }

    /// As the parser takes it. Columns are counted in bytes; they serve to find the token again.
    pub(super) fn with_span(self) -> TokenWithSpan {
        let start = Location::new(u64::from(self.place.line), self.column as u64 + 1);
        TokenWithSpan::new(self.token, Span::new(start, start))
    }
}

/// Whether a token is this word, not quoted, whatever the case.
pub(super) fn is_word(token: &Token, text: &str) -> bool {
    matches!(token, Token::Word(word)
        if word.quote_style.is_none() && word.value.eq_ignore_ascii_case(text))
}

/// Reads tokens one by one.
#[derive(Clone, Debug)]
pub(super) struct Lexer<'t> {
    text: &'t [u8],
    at: usize,
    line: u32,
    line_start: usize,
    in_version_comment: bool,
    parameters: usize,
    at_semicolon: bool,
}

impl<'t> Lexer<'t> {
    pub(super) fn new(text: &'t [u8]) -> Self {
        Self {
            text,
            at: 0,
            line: 1,
            line_start: 0,
            in_version_comment: false,
            parameters: 0,
            at_semicolon: false,
        }
    }

    pub(super) fn text(&self) -> &'t [u8] {
        self.text
    }

    /// Bytes read.
    pub(super) fn position(&self) -> usize {
        self.at
    }

    pub(super) fn line(&self) -> u32 {
        self.line
    }

    /// Whether the last token was a `;`.
    pub(super) fn at_semicolon(&self) -> bool {
        self.at_semicolon
    }

    /// Parameters seen since [`start_statement`](Self::start_statement).
    pub(super) fn parameters(&self) -> usize {
        self.parameters
    }

    /// Begins to count parameters anew.
    pub(super) fn start_statement(&mut self) {
        self.parameters = 0;
    }

    fn peek(&self, ahead: usize) -> u8 {
        // Zero is never part of anything, so it may stand for the end.
        self.text.get(self.at + ahead).copied().unwrap_or(0)
    }

    fn rest(&self) -> &'t [u8] {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn place(&self) -> Place {
        Place { start: self.at, line: self.line }
    }

    /// The next token; at the end of the text `EOF`, again and again.
    pub(super) fn next(&mut self) -> Result<Lexeme, ParseError> {
        self.skip_blanks()?;
        let (place, column) = (self.place(), self.at - self.line_start);
        let token = match self.peek(0) {
            _ if self.at >= self.text.len() => Token::EOF,
            quote @ (b'\'' | b'"') => self.string(quote, place)?,
            b'`' => self.quoted_name(place)?,
            b'@' => self.variable(place)?,
            b'?' => self.parameter()?,
            b'.' if self.peek(1).is_ascii_digit() && !self.follows_name() => self.number(),
            b'0'..=b'9' => self.number_or_name()?,
            byte if is_name_byte(byte) => self.word(place)?,
            byte => self.symbol(byte).ok_or_else(|| place.syntax(self.text))?,
        };
        self.at_semicolon = token == Token::SemiColon;
        Ok(Lexeme { token, place, column })
    }

    fn skip_blanks(&mut self) -> Result<(), ParseError> {
        loop {
            match self.peek(0) {
                b'\n' => {
                    self.at += 1;
                    self.line += 1;
                    self.line_start = self.at;
                }
                b' ' | b'\t' | b'\r' | 0x0b | 0x0c => self.at += 1,
                b'#' => self.skip_line(),
                b'-' if self.peek(1) == b'-' && self.ends_dashes(self.at + 2) => self.skip_line(),
                b'/' if self.peek(1) == b'*' => self.comment()?,
                b'*' if self.peek(1) == b'/' && self.in_version_comment => {
                    self.in_version_comment = false;
                    self.at += 2;
                }
                _ => return Ok(()),
            }
        }
    }

    /// `--` is a comment only before a blank or the end: `5--3` is 8.
    fn ends_dashes(&self, at: usize) -> bool {
        self.text.get(at).is_none_or(|byte| byte.is_ascii_whitespace() || byte.is_ascii_control())
    }

    fn skip_line(&mut self) {
        let rest = self.rest();
        self.at += rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
    }

    fn comment(&mut self) -> Result<(), ParseError> {
        if self.peek(2) == b'!' && !self.in_version_comment {
            let digits = self.text[self.at + 3..].iter().take(6);
            let digits = digits.take_while(|byte| byte.is_ascii_digit()).count();
            let digits = if digits >= 5 { digits } else { 0 };
            let version = &self.text[self.at + 3..self.at + 3 + digits];
            let version = version.iter().fold(0, |sum, byte| sum * 10 + u32::from(byte - b'0'));
            if version <= VERSION_OF_COMMENTS {
                self.in_version_comment = true;
                self.at += 3 + digits;
                return Ok(());
            }
        }
        let place = self.place();
        let inside = self.text.get(self.at + 2..).unwrap_or_default();
        let Some(length) = inside.windows(2).position(|pair| pair == b"*/") else {
            return Err(place.syntax(self.text));
        };
        self.advance_over(2 + length + 2);
        Ok(())
    }

    /// Goes on by so many bytes, some of which may end lines.
    fn advance_over(&mut self, length: usize) {
        let end = (self.at + length).min(self.text.len());
        for at in self.at..end {
            if self.text[at] == b'\n' {
                self.line += 1;
                self.line_start = at + 1;
            }
        }
        self.at = end;
    }

    /// The bytes between quotes, and how many bytes the whole takes.
    fn quoted(&mut self, quote: u8, place: Place) -> Result<Cow<'t, [u8]>, ParseError> {
        let (text, start) = (self.text, self.at + 1);
        let (mut at, mut copied) = (start, start);
        let mut out: Option<Vec<u8>> = None;
        let end = loop {
            let byte = *text.get(at).ok_or_else(|| place.syntax(text))?;
            let escape = byte == b'\\' && quote != b'`';
            if byte == quote && text.get(at + 1) != Some(&quote) {
                break at;
            }
            if byte != quote && !escape {
                at += 1;
                continue;
            }
            let next = *text.get(at + 1).ok_or_else(|| place.syntax(text))?;
            let out = out.get_or_insert_default();
            out.extend_from_slice(&text[copied..at]);
            if escape {
                unescape(next, out);
            } else {
                out.push(quote);
            }
            at += 2;
            copied = at;
        };
        self.advance_over(end + 1 - self.at);
        Ok(match out {
            Some(mut out) => {
                out.extend_from_slice(&text[copied..end]);
                Cow::Owned(out)
            }
            None => Cow::Borrowed(&text[start..end]),
        })
    }

    fn string(&mut self, quote: u8, place: Place) -> Result<Token, ParseError> {
        Ok(Token::SingleQuotedString(characters(self.quoted(quote, place)?)?))
    }

    fn quoted_name(&mut self, place: Place) -> Result<Token, ParseError> {
        let name = characters(self.quoted(b'`', place)?)?;
        if name.is_empty() {
            return Err(place.syntax(self.text));
        }
        Ok(Token::make_word(&name, Some('`')))
    }

    /// `@name`, `@'name'`, `@@name`; a lone `@` stays a symbol.
    fn variable(&mut self, place: Place) -> Result<Token, ParseError> {
        self.at += 1;
        let mut name = String::from("@");
        if self.peek(0) == b'@' {
            self.at += 1;
            name.push('@');
        }
        match self.peek(0) {
            quote @ (b'\'' | b'"' | b'`') => {
                name.push_str(&characters(self.quoted(quote, place)?)?);
            }
            _ => {
                let rest = self.rest();
                // Names of user variables may have points in them.
                let part = |byte: &u8| is_name_byte(*byte) || (*byte == b'.' && name == "@");
                let length = rest.iter().take_while(|byte| part(byte)).count();
                let word = characters(Cow::Borrowed(&rest[..length]))?;
                self.at += length;
                name.push_str(&word);
                if name == "@" {
                    return Ok(Token::AtSign);
                }
            }
        }
        Ok(Token::make_word(&name, None))
    }

    fn parameter(&mut self) -> Result<Token, ParseError> {
        self.at += 1;
        self.parameters += 1;
        if self.parameters > PARAMETERS_MAX {
            return Err(ParseError::TooManyParameters);
        }
        Ok(Token::Placeholder(format!("${}", self.parameters)))
    }

    /// Whether the byte before belongs to a name, so that a point here divides names.
    fn follows_name(&self) -> bool {
        let before = self.at.checked_sub(1).and_then(|at| self.text.get(at));
        before.is_some_and(|byte| is_name_byte(*byte) || *byte == b'`')
    }

    fn number(&mut self) -> Token {
        let rest = self.rest();
        let digits = |from: usize| {
            rest.get(from..).unwrap_or_default().iter().take_while(|b| b.is_ascii_digit()).count()
        };
        let at = |at: usize| rest.get(at).copied().unwrap_or(0);
        let mut length = digits(0);
        if at(length) == b'.' {
            length += 1 + digits(length + 1);
        }
        if matches!(at(length), b'e' | b'E') {
            let sign = usize::from(matches!(at(length + 1), b'+' | b'-'));
            let exponent = digits(length + 1 + sign);
            if exponent > 0 {
                length += 1 + sign + exponent;
            }
        }
        self.at += length;
        Token::Number(String::from_utf8_lossy(&rest[..length]).into_owned(), false)
    }

    /// A number, or a name that begins with digits.
    fn number_or_name(&mut self) -> Result<Token, ParseError> {
        let place = self.place();
        let rest = self.rest();
        let after_point = self.at > 0 && self.text[self.at - 1] == b'.' && self.at > 1;
        let name_length = rest.iter().take_while(|byte| is_name_byte(**byte)).count();
        let name = &rest[..name_length];
        if name.len() > 2 && name.starts_with(b"0x") && hex(&name[2..]) {
            self.at += name_length;
            let digits = String::from_utf8_lossy(&name[2..]);
            let odd = if digits.len() % 2 == 1 { "0" } else { "" };
            return Ok(Token::HexStringLiteral(format!("{odd}{digits}")));
        }
        if name.len() > 2 && name.starts_with(b"0b") && binary(&name[2..]) {
            self.at += name_length;
            let digits = String::from_utf8_lossy(&name[2..]).into_owned();
            return Ok(Token::SingleQuotedByteStringLiteral(digits));
        }
        let mut scout = self.clone();
        let number = scout.number();
        // `1e5` is a number as a whole, `1e` and `1abc` are names; behind a point all are names.
        let numeric = scout.at - self.at >= name_length && !is_name_byte(scout.peek(0));
        if numeric && !(after_point && self.name_before_point()) {
            self.at = scout.at;
            return Ok(number);
        }
        self.word(place)
    }

    /// Whether the point just read divides names, as in `t.1st`.
    fn name_before_point(&self) -> bool {
        let before = self.text.get(self.at.wrapping_sub(2));
        before.is_some_and(|byte| is_name_byte(*byte) || *byte == b'`')
    }

    fn word(&mut self, place: Place) -> Result<Token, ParseError> {
        let rest = self.rest();
        let length = rest.iter().take_while(|byte| is_name_byte(**byte)).count();
        let name = &rest[..length];
        self.at += length;
        let quote = self.peek(0);
        if matches!(quote, b'\'' | b'"')
            && let Some(token) = self.prefixed_string(name, quote, place)?
        {
            return Ok(token);
        }
        let name = std::str::from_utf8(name)
            .map_err(|_| ParseError::Characters(hex_of(&name[..name.len().min(16)])))?;
        Ok(Token::make_word(name, None))
    }

    /// `x'…'`, `b'…'`, `n'…'` and strings with a character set before them.
    fn prefixed_string(
        &mut self,
        prefix: &[u8],
        quote: u8,
        place: Place,
    ) -> Result<Option<Token>, ParseError> {
        let token = match prefix.to_ascii_lowercase().as_slice() {
            b"x" => {
                let digits = characters(self.quoted(quote, place)?)?;
                if digits.len() % 2 == 1 || !(digits.is_empty() || hex(digits.as_bytes())) {
                    return Err(place.syntax(self.text));
                }
                Token::HexStringLiteral(digits)
            }
            b"b" => {
                let digits = characters(self.quoted(quote, place)?)?;
                if !digits.bytes().all(|byte| matches!(byte, b'0' | b'1')) {
                    return Err(place.syntax(self.text));
                }
                Token::SingleQuotedByteStringLiteral(digits)
            }
            b"_binary" => Token::HexStringLiteral(hex_of(&self.quoted(quote, place)?)),
            b"n" | b"_utf8" | b"_utf8mb3" | b"_utf8mb4" | b"_latin1" | b"_ascii" => {
                self.string(quote, place)?
            }
            _ => return Ok(None),
        };
        Ok(Some(token))
    }

    fn symbol(&mut self, byte: u8) -> Option<Token> {
        let (token, length) = match (byte, self.peek(1), self.peek(2)) {
            (b'<', b'=', b'>') => (Token::Spaceship, 3),
            (b'<', b'=', _) => (Token::LtEq, 2),
            (b'<', b'>', _) | (b'!', b'=', _) => (Token::Neq, 2),
            (b'<', b'<', _) => (Token::ShiftLeft, 2),
            (b'<', _, _) => (Token::Lt, 1),
            (b'>', b'=', _) => (Token::GtEq, 2),
            (b'>', b'>', _) => (Token::ShiftRight, 2),
            (b'>', _, _) => (Token::Gt, 1),
            (b'-', b'>', b'>') => (Token::LongArrow, 3),
            (b'-', b'>', _) => (Token::Arrow, 2),
            (b'-', _, _) => (Token::Minus, 1),
            (b':', b'=', _) => (Token::Assignment, 2),
            (b':', _, _) => (Token::Colon, 1),
            (b'&', b'&', _) => (Token::make_keyword("AND"), 2),
            (b'&', _, _) => (Token::Ampersand, 1),
            (b'|', b'|', _) => (Token::make_keyword("OR"), 2),
            (b'|', _, _) => (Token::Pipe, 1),
            (b'!', _, _) => (Token::ExclamationMark, 1),
            (b'=', _, _) => (Token::Eq, 1),
            (b'+', _, _) => (Token::Plus, 1),
            (b'*', _, _) => (Token::Mul, 1),
            (b'/', _, _) => (Token::Div, 1),
            (b'%', _, _) => (Token::Mod, 1),
            (b'^', _, _) => (Token::Caret, 1),
            (b'~', _, _) => (Token::Tilde, 1),
            (b'(', _, _) => (Token::LParen, 1),
            (b')', _, _) => (Token::RParen, 1),
            (b',', _, _) => (Token::Comma, 1),
            (b'.', _, _) => (Token::Period, 1),
            (b';', _, _) => (Token::SemiColon, 1),
            _ => return None,
        };
        self.at += length;
        Some(token)
    }
}

/// Whether a byte may be part of a name that is not quoted. All bytes of characters beyond ASCII
/// may, as in MySQL.
fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$') || byte >= 0x80
}

fn hex(digits: &[u8]) -> bool {
    digits.iter().all(u8::is_ascii_hexdigit)
}

fn binary(digits: &[u8]) -> bool {
    digits.iter().all(|byte| matches!(byte, b'0' | b'1'))
}

fn hex_of(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let digit = |value: u8| char::from(DIGITS[usize::from(value)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 0xF)]).collect()
}

/// What stands for `\` and this byte. `\%` and `\_` keep the backslash, because only patterns of
/// LIKE give them a meaning.
fn unescape(byte: u8, out: &mut Vec<u8>) {
    let meaning = match byte {
        b'0' => 0,
        b'b' => 0x08,
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'Z' => 0x1A,
        b'%' | b'_' => {
            out.push(b'\\');
            byte
        }
        other => other,
    };
    out.push(meaning);
}

fn characters(bytes: Cow<'_, [u8]>) -> Result<String, ParseError> {
    let text = String::from_utf8(bytes.into_owned());
    text.map_err(|error| {
        let (at, bytes) = (error.utf8_error().valid_up_to(), error.as_bytes());
        ParseError::Characters(hex_of(&bytes[at..bytes.len().min(at + 16)]))
    })
}
