//! Character sets and collations. There is one, UTF-8 compared by its bytes; the names of others
//! that MySQL's clients send out of habit are taken, and what is neither is refused.

use super::cursor::{Cursor, Parsing};
use super::database::optional_equals;
use super::error::ParseError;

/// Character sets whose names are taken.
const KNOWN: &[&str] =
    &["utf8", "utf8mb3", "utf8mb4", "binary", "ascii", "latin1", "ucs2", "utf16", "utf32"];

/// `[DEFAULT] {CHARACTER SET | CHARSET | COLLATE} [=] name`, if it is next.
pub(super) fn option(cursor: &mut Cursor<'_>) -> Parsing<bool> {
    let after_default = usize::from(cursor.is_word("DEFAULT"));
    let follows = ["CHARACTER", "CHARSET", "COLLATE"];
    if !follows.iter().any(|word| cursor.is_word_at(after_default, word)) {
        return Ok(false);
    }
    let _optional = cursor.word("DEFAULT");
    match cursor.one_of(&["CHARACTER SET", "CHARSET", "COLLATE"]) {
        Some("COLLATE") => {
            optional_equals(cursor);
            collation(cursor)?;
        }
        Some(_) => {
            optional_equals(cursor);
            name(cursor)?;
        }
        None => return Err(cursor.unexpected()),
    }
    Ok(true)
}

/// The name of a character set.
pub(super) fn name(cursor: &mut Cursor<'_>) -> Parsing<String> {
    let name = cursor.name_or_string()?.to_ascii_lowercase();
    if KNOWN.contains(&name.as_str()) {
        return Ok(name);
    }
    Err(ParseError::UnknownCharset { collation: false, name })
}

/// The name of a collation: a character set's name and a suffix.
pub(super) fn collation(cursor: &mut Cursor<'_>) -> Parsing<String> {
    let name = cursor.name_or_string()?.to_ascii_lowercase();
    let charset = name.split('_').next().unwrap_or_default();
    if KNOWN.contains(&charset) && (charset == "binary" || name.len() > charset.len() + 1) {
        return Ok(name);
    }
    Err(ParseError::UnknownCharset { collation: true, name })
}
