//! What follows a table's columns: ENGINE, AUTO_INCREMENT, CHARSET, COMMENT and many that say how
//! MySQL stores rows.

use sqlparser::tokenizer::Token;

use super::charset;
use super::cursor::{Cursor, Parsing};
use super::database::optional_equals;
use super::error::ParseError;

/// The options that mean something here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TableOptions {
    /// `AUTO_INCREMENT = n`: the first number that is given.
    pub auto_increment: Option<u64>,
    /// `COMMENT = '…'`.
    pub comment: Option<String>,
    /// Names of options that were taken and change nothing, in capitals: `ENGINE`, `ROW_FORMAT` …
    pub ignored: Vec<&'static str>,
}

/// Options that are taken and change nothing. Their value is a word, a string or a number.
const IGNORED: &[&str] = &[
    "ENGINE",
    "TYPE",
    "ROW_FORMAT",
    "KEY_BLOCK_SIZE",
    "AVG_ROW_LENGTH",
    "CHECKSUM",
    "DELAY_KEY_WRITE",
    "MAX_ROWS",
    "MIN_ROWS",
    "PACK_KEYS",
    "INSERT_METHOD",
    "STATS_AUTO_RECALC",
    "STATS_PERSISTENT",
    "STATS_SAMPLE_PAGES",
    "COMPRESSION",
    "PAGE_CHECKSUM",
    "TRANSACTIONAL",
    "AUTOSTATS_ENABLED",
];

const REFUSED: &[(&str, &str)] = &[
    ("PARTITION BY", "PARTITION BY"),
    ("DATA DIRECTORY", "DATA DIRECTORY"),
    ("INDEX DIRECTORY", "INDEX DIRECTORY"),
    ("TABLESPACE", "TABLESPACE"),
    ("ENCRYPTION", "ENCRYPTION"),
    ("CONNECTION", "CONNECTION"),
    ("UNION", "UNION of tables"),
    ("PASSWORD", "PASSWORD of tables"),
];

impl TableOptions {
    /// All options that are next, with or without commas between.
    pub(super) fn parse(&mut self, cursor: &mut Cursor<'_>) -> Parsing<bool> {
        let mut any = false;
        while self.option(cursor)? {
            any = true;
            if *cursor.peek() == Token::Comma && Self::is_option(cursor, 1) {
                cursor.advance();
            }
        }
        Ok(any)
    }

    /// Whether an option begins so many tokens ahead.
    fn is_option(cursor: &Cursor<'_>, ahead: usize) -> bool {
        let others = ["AUTO_INCREMENT", "COMMENT", "DEFAULT", "CHARACTER", "CHARSET", "COLLATE"];
        IGNORED.iter().chain(&others).any(|word| cursor.is_word_at(ahead, word))
    }

    fn option(&mut self, cursor: &mut Cursor<'_>) -> Parsing<bool> {
        if let Some((_, what)) = REFUSED.iter().find(|(words, _)| cursor.are_words(words)) {
            return Err(ParseError::unsupported(*what));
        }
        if let Some(name) = cursor.one_of(IGNORED) {
            optional_equals(cursor);
            match cursor.peek() {
                Token::Number(..) => cursor.advance(),
                _ => {
                    cursor.name_or_default()?;
                }
            }
            self.ignored.push(name);
            return Ok(true);
        }
        match cursor.one_of(&["AUTO_INCREMENT", "COMMENT"]) {
            Some("AUTO_INCREMENT") => {
                optional_equals(cursor);
                self.auto_increment = Some(cursor.number()?);
            }
            Some(_) => {
                optional_equals(cursor);
                self.comment = Some(cursor.string()?);
            }
            None => return charset::option(cursor),
        }
        Ok(true)
    }
}
