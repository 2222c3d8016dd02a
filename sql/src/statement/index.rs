//! Keys and indexes, in CREATE TABLE, ALTER TABLE and CREATE INDEX.
//!
//! An index holds whole values in ascending order. So the prefix lengths and DESC that MySQL knows
//! are taken and change nothing but speed: an index is read backwards as well as forwards. Only in
//! a unique index would a prefix change what is allowed, so it is refused there.

use sqlparser::tokenizer::Token;

use super::cursor::{Cursor, Parsing};
use super::database::optional_equals;
use super::error::ParseError;
use super::name::TableName;

/// `[PRIMARY | UNIQUE] {KEY | INDEX} [name] (columns)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyDefinition {
    /// Of what kind.
    pub kind: KeyKind,
    /// Its name, if given.
    pub name: Option<String>,
    /// Its columns, in the order of comparison.
    pub columns: Vec<KeyColumn>,
}

/// Kinds of keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyKind {
    /// The primary key.
    Primary,
    /// A unique index.
    Unique,
    /// A plain index.
    Plain,
}

/// A column of a key.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyColumn {
    /// The column.
    pub name: String,
    /// `(n)`: MySQL would index so many characters.
    pub prefix: Option<u32>,
    /// `DESC`.
    pub descending: bool,
}

impl std::fmt::Debug for KeyColumn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.name)?;
        if let Some(prefix) = self.prefix {
            write!(f, "({prefix})")?;
        }
        f.write_str(if self.descending { " desc" } else { "" })
    }
}

impl KeyColumn {
    fn parse(cursor: &mut Cursor<'_>) -> Parsing<Self> {
        if *cursor.peek() == Token::LParen {
            return Err(ParseError::unsupported("expressions as parts of a key"));
        }
        let name = cursor.name()?;
        let prefix = if cursor.symbol(&Token::LParen) {
            let length = cursor.small_number()?;
            cursor.expect(&Token::RParen)?;
            // MySQL 1391: a key part of no length.
            Some(Some(length).filter(|length| *length > 0).ok_or(ParseError::Argument("key"))?)
        } else {
            None
        };
        let descending = cursor.one_of(&["ASC", "DESC"]) == Some("DESC");
        Ok(Self { name, prefix, descending })
    }
}

/// The columns of a key, in parentheses; at least one.
pub(super) fn key_columns(cursor: &mut Cursor<'_>) -> Parsing<Vec<KeyColumn>> {
    let columns = cursor.in_parentheses(KeyColumn::parse)?;
    if columns.is_empty() { Err(cursor.unexpected()) } else { Ok(columns) }
}

impl KeyDefinition {
    /// A key, if one is next.
    pub(super) fn parse(cursor: &mut Cursor<'_>) -> Parsing<Option<Self>> {
        refuse_kinds(cursor)?;
        let mut constraint = None;
        if cursor.word("CONSTRAINT") {
            let unnamed = ["PRIMARY", "UNIQUE", "FOREIGN", "CHECK"];
            if !unnamed.iter().any(|word| cursor.is_word(word)) {
                constraint = Some(cursor.name()?);
            }
            refuse_kinds(cursor)?;
            if !cursor.is_word("PRIMARY") && !cursor.is_word("UNIQUE") {
                return Err(cursor.unexpected());
            }
        }
        const STARTS: &[&str] =
            &["PRIMARY KEY", "UNIQUE KEY", "UNIQUE INDEX", "UNIQUE", "KEY", "INDEX"];
        let kind = match cursor.one_of(STARTS) {
            Some("PRIMARY KEY") => KeyKind::Primary,
            Some("KEY" | "INDEX") => KeyKind::Plain,
            Some(_) => KeyKind::Unique,
            None => return Ok(None),
        };
        let named = *cursor.peek() != Token::LParen && !cursor.is_word("USING");
        let own = if named { Some(cursor.name()?) } else { None };
        let name = if kind == KeyKind::Primary { None } else { own.or(constraint) };
        Self::columns(cursor, kind, name).map(Some)
    }

    /// The columns and options.
    fn columns(cursor: &mut Cursor<'_>, kind: KeyKind, name: Option<String>) -> Parsing<Self> {
        options(cursor)?;
        let columns = key_columns(cursor)?;
        options(cursor)?;
        if kind != KeyKind::Plain && columns.iter().any(|column| column.prefix.is_some()) {
            return Err(ParseError::unsupported("prefixes in a unique key"));
        }
        Ok(Self { kind, name, columns })
    }
}

fn refuse_kinds(cursor: &Cursor<'_>) -> Parsing<()> {
    const REFUSED: &[(&str, &str)] = &[
        ("FOREIGN KEY", "FOREIGN KEY"),
        ("CHECK", "CHECK"),
        ("FULLTEXT", "FULLTEXT indexes"),
        ("SPATIAL", "SPATIAL indexes"),
        ("VECTOR INDEX", "VECTOR indexes"),
        ("VECTOR KEY", "VECTOR indexes"),
        ("MULTI VALUE", "MULTI VALUE indexes"),
        ("SORT KEY", "SORT KEY, which belongs to columnstore tables,"),
        ("CLUSTERED COLUMNSTORE", "CLUSTERED COLUMNSTORE keys"),
    ];
    // A column may have such a name too; its type follows then.
    let is_column = matches!(cursor.peek_nth(1), Token::Word(word)
        if ["INT", "BIGINT", "VARCHAR", "TEXT"].iter().any(|ty| word.value.eq_ignore_ascii_case(ty)));
    match REFUSED.iter().find(|(words, _)| cursor.are_words(words)) {
        Some((_, what)) if !is_column => Err(ParseError::unsupported(*what)),
        _ => Ok(()),
    }
}

/// `USING {BTREE | HASH}`, `COMMENT '…'` and other options of indexes: nothing depends on them.
fn options(cursor: &mut Cursor<'_>) -> Parsing<()> {
    const OPTIONS: &[&str] =
        &["USING BTREE", "USING HASH", "USING SKIPLIST", "TYPE BTREE", "TYPE HASH", "VISIBLE"];
    loop {
        if cursor.one_of(OPTIONS).is_some() {
            continue;
        }
        match cursor.one_of(&["COMMENT", "KEY_BLOCK_SIZE", "BUCKET_COUNT", "INVISIBLE"]) {
            Some("INVISIBLE") => return Err(ParseError::unsupported("INVISIBLE indexes")),
            Some("COMMENT") => {
                cursor.string()?;
            }
            Some(_) => {
                optional_equals(cursor);
                cursor.number()?;
            }
            None => return Ok(()),
        }
    }
}

/// `CREATE [UNIQUE] INDEX name ON t (columns)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateIndex {
    /// The table.
    pub table: TableName,
    /// The index; it has a name.
    pub key: KeyDefinition,
}

impl CreateIndex {
    /// What follows CREATE, if it is an index.
    pub(super) fn parse(cursor: &mut Cursor<'_>) -> Parsing<Option<Self>> {
        const STARTS: &[&str] =
            &["UNIQUE INDEX", "ONLINE INDEX", "OFFLINE INDEX", "INDEX", "UNIQUE KEY", "KEY"];
        let kind = match cursor.one_of(STARTS) {
            Some("UNIQUE INDEX" | "UNIQUE KEY") => KeyKind::Unique,
            Some(_) => KeyKind::Plain,
            None => return Ok(None),
        };
        let name = Some(cursor.name()?);
        options(cursor)?;
        cursor.expect_words("ON")?;
        let table = TableName::parse(cursor)?;
        let key = KeyDefinition::columns(cursor, kind, name)?;
        algorithm(cursor)?;
        Ok(Some(Self { table, key }))
    }
}

/// `ALGORITHM = …`, `LOCK = …`: how MySQL changes tables. Here it is always online.
pub(super) fn algorithm(cursor: &mut Cursor<'_>) -> Parsing<bool> {
    let mut any = false;
    while cursor.one_of(&["ALGORITHM", "LOCK"]).is_some() {
        optional_equals(cursor);
        cursor.name_or_default()?;
        any = true;
    }
    Ok(any)
}

/// `DROP INDEX name ON t`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DropIndex {
    /// The table.
    pub table: TableName,
    /// The index; `PRIMARY` for the primary key.
    pub name: String,
}

impl DropIndex {
    /// What follows DROP INDEX.
    pub(super) fn parse(cursor: &mut Cursor<'_>) -> Parsing<Self> {
        let name = index_name(cursor)?;
        cursor.expect_words("ON")?;
        let drop = Self { name, table: TableName::parse(cursor)? };
        algorithm(cursor)?;
        Ok(drop)
    }
}

/// The name of an index, which may be PRIMARY.
pub(super) fn index_name(cursor: &mut Cursor<'_>) -> Parsing<String> {
    if cursor.word("PRIMARY") { Ok("PRIMARY".to_owned()) } else { cursor.name() }
}
