//! CREATE TABLE, and the other statements about whole tables.

use sqlparser::tokenizer::Token;

use super::column::ColumnDefinition;
use super::cursor::{Cursor, Parsing};
use super::error::ParseError;
use super::index::KeyDefinition;
use super::name::TableName;
use super::table_options::TableOptions;

/// `CREATE [ROWSTORE] [REFERENCE] TABLE [IF NOT EXISTS] t (…) …`.
#[derive(Clone, Debug, PartialEq)]
pub struct CreateTable {
    /// Whether it is no error that it exists.
    pub if_not_exists: bool,
    /// `REFERENCE`: every node has all rows.
    pub reference: bool,
    /// Its name.
    pub name: TableName,
    /// Its columns, at least one.
    pub columns: Vec<ColumnDefinition>,
    /// Its keys, those behind columns apart.
    pub keys: Vec<KeyDefinition>,
    /// `SHARD KEY (columns)`; empty for `SHARD KEY ()`: rows may lie anywhere.
    pub shard_key: Option<Vec<String>>,
    /// Its options.
    pub options: TableOptions,
}

/// `CREATE TABLE [IF NOT EXISTS] t LIKE other`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateTableLike {
    /// Whether it is no error that it exists.
    pub if_not_exists: bool,
    /// `REFERENCE`.
    pub reference: bool,
    /// Its name.
    pub name: TableName,
    /// The table whose columns and keys it gets.
    pub like: TableName,
}

/// What CREATE TABLE can be.
pub(super) enum Created {
    Table(CreateTable),
    Like(CreateTableLike),
}

impl CreateTable {
    /// What follows CREATE, if it is a table.
    pub(super) fn parse(cursor: &mut Cursor<'_>) -> Parsing<Option<Created>> {
        const STARTS: &[&str] =
            &["TABLE", "ROWSTORE TABLE", "REFERENCE TABLE", "ROWSTORE REFERENCE TABLE"];
        if cursor.are_words("ROWSTORE TEMPORARY") || cursor.are_words("ROWSTORE GLOBAL TEMPORARY") {
            return Err(ParseError::unsupported("CREATE TEMPORARY TABLE"));
        }
        let Some(start) = cursor.one_of(STARTS) else { return Ok(None) };
        let reference = start.contains("REFERENCE");
        let if_not_exists = cursor.words("IF NOT EXISTS");
        let name = TableName::parse(cursor)?;
        if let Some(like) = like(cursor)? {
            let like = CreateTableLike { if_not_exists, reference, name, like };
            return Ok(Some(Created::Like(like)));
        }
        if cursor.is_word("AS") || cursor.is_word("SELECT") || *cursor.peek() != Token::LParen {
            refuse_select(cursor)?;
            return Err(cursor.unexpected());
        }
        let mut table = Self {
            if_not_exists,
            reference,
            name,
            columns: Vec::new(),
            keys: Vec::new(),
            shard_key: None,
            options: TableOptions::default(),
        };
        cursor.in_parentheses(|cursor| table.item(cursor))?;
        if table.columns.is_empty() {
            return Err(cursor.unexpected());
        }
        table.options.parse(cursor)?;
        refuse_select(cursor)?;
        Ok(Some(Created::Table(table)))
    }

    /// A column or a key.
    fn item(&mut self, cursor: &mut Cursor<'_>) -> Parsing<()> {
        refuse_select(cursor)?;
        if let Some(columns) = shard_key(cursor)? {
            return match self.shard_key.replace(columns) {
                None => Ok(()),
                Some(_) => Err(cursor.unexpected()),
            };
        }
        match KeyDefinition::parse(cursor)? {
            Some(key) => self.keys.push(key),
            None => self.columns.push(ColumnDefinition::parse(cursor)?),
        }
        Ok(())
    }
}

fn refuse_select(cursor: &Cursor<'_>) -> Parsing<()> {
    let words = ["AS", "SELECT", "IGNORE", "REPLACE", "WITH"];
    let query = words.iter().any(|word| cursor.is_word(word))
        || *cursor.peek() == Token::LParen && cursor.is_word_at(1, "SELECT");
    if query { Err(ParseError::unsupported("CREATE TABLE … SELECT")) } else { Ok(()) }
}

/// `LIKE t` or `(LIKE t)`.
fn like(cursor: &mut Cursor<'_>) -> Parsing<Option<TableName>> {
    if cursor.word("LIKE") {
        return TableName::parse(cursor).map(Some);
    }
    if *cursor.peek() != Token::LParen || !cursor.is_word_at(1, "LIKE") {
        return Ok(None);
    }
    cursor.advance();
    cursor.advance();
    let like = TableName::parse(cursor)?;
    cursor.expect(&Token::RParen)?;
    Ok(Some(like))
}

/// `SHARD KEY [name] [USING …] ([columns])`.
pub(super) fn shard_key(cursor: &mut Cursor<'_>) -> Parsing<Option<Vec<String>>> {
    if !cursor.words("SHARD KEY") {
        return Ok(None);
    }
    if *cursor.peek() != Token::LParen {
        cursor.name()?;
    }
    cursor.in_parentheses(Cursor::name).map(Some)
}

/// `DROP TABLE [IF EXISTS] t, …`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DropTables {
    /// Whether it is no error that there is none.
    pub if_exists: bool,
    /// The tables.
    pub tables: Vec<TableName>,
}

impl DropTables {
    /// What follows DROP TABLE.
    pub(super) fn parse(cursor: &mut Cursor<'_>) -> Parsing<Self> {
        let if_exists = cursor.words("IF EXISTS");
        let tables = cursor.list(TableName::parse)?;
        let _without_effect = cursor.one_of(&["RESTRICT", "CASCADE"]);
        Ok(Self { if_exists, tables })
    }
}

/// `RENAME TABLE a TO b, …`: the old names and the new ones.
pub(super) fn rename(cursor: &mut Cursor<'_>) -> Parsing<Vec<(TableName, TableName)>> {
    cursor.list(|cursor| {
        let from = TableName::parse(cursor)?;
        cursor.expect_words("TO")?;
        Ok((from, TableName::parse(cursor)?))
    })
}
