//! The definition of a column.

use resprout_engine::table::{ColumnType, FSP_MAX, Value};
use sqlparser::tokenizer::Token;

use super::charset;
use super::column_type;
use super::cursor::{Cursor, Parsing};
use super::error::ParseError;
use super::operand::{Operand, number};

/// `name type attributes`.
#[derive(Clone, Debug, PartialEq)]
pub struct ColumnDefinition {
    /// Its name.
    pub name: String,
    /// Its type.
    pub ty: ColumnType,
    /// `NULL` or `NOT NULL`, if said. Without, it may be NULL unless it is part of the primary
    /// key or AUTO_INCREMENT.
    pub nullable: Option<bool>,
    /// `DEFAULT …`.
    pub default: Option<DefaultValue>,
    /// `ON UPDATE CURRENT_TIMESTAMP`.
    pub on_update_now: bool,
    /// `AUTO_INCREMENT`.
    pub auto_increment: bool,
    /// `PRIMARY KEY` or `UNIQUE` behind the column.
    pub key: Option<ColumnKey>,
    /// `COMMENT '…'`.
    pub comment: Option<String>,
}

/// A key that is said behind a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColumnKey {
    /// `[PRIMARY] KEY`.
    Primary,
    /// `UNIQUE [KEY]`.
    Unique,
}

/// What a column has when nothing is given.
#[derive(Clone, Debug, PartialEq)]
pub enum DefaultValue {
    /// A literal, not yet brought to the column's type.
    Literal(Value),
    /// `CURRENT_TIMESTAMP`: the time of the statement.
    Now,
}

impl ColumnDefinition {
    pub(super) fn parse(cursor: &mut Cursor<'_>) -> Parsing<Self> {
        let name = cursor.name()?;
        Self::with_name(name, cursor)
    }

    /// What follows the name.
    pub(super) fn with_name(name: String, cursor: &mut Cursor<'_>) -> Parsing<Self> {
        let spelled = column_type::parse(cursor, &name)?;
        let mut column = Self {
            name,
            ty: spelled.ty,
            nullable: spelled.serial.then_some(false),
            default: None,
            on_update_now: false,
            auto_increment: spelled.serial,
            key: spelled.serial.then_some(ColumnKey::Unique),
            comment: None,
        };
        while column.attribute(cursor)? {}
        Ok(column)
    }

    /// One attribute, if one is next.
    fn attribute(&mut self, cursor: &mut Cursor<'_>) -> Parsing<bool> {
        const ATTRIBUTES: &[&str] = &[
            "NOT NULL",
            "NULL",
            "DEFAULT",
            "ON UPDATE",
            "AUTO_INCREMENT",
            "PRIMARY KEY",
            "PRIMARY",
            "UNIQUE KEY",
            "UNIQUE",
            "KEY",
            "COMMENT",
            "COLUMN_FORMAT",
            "STORAGE",
            "VISIBLE",
        ];
        match cursor.one_of(ATTRIBUTES) {
            Some("NOT NULL") => self.nullable = Some(false),
            Some("NULL") => self.nullable = Some(true),
            Some("DEFAULT") => self.default = Some(DefaultValue::parse(cursor, self)?),
            Some("ON UPDATE") => {
                self.now(cursor)?;
                self.on_update_now = true;
            }
            Some("AUTO_INCREMENT") => self.auto_increment = true,
            Some("UNIQUE KEY" | "UNIQUE") => self.key = self.key.or(Some(ColumnKey::Unique)),
            Some("PRIMARY KEY" | "PRIMARY" | "KEY") => self.key = Some(ColumnKey::Primary),
            Some("COMMENT") => self.comment = Some(cursor.string()?),
            Some("COLUMN_FORMAT" | "STORAGE") => {
                cursor.name_or_default()?;
            }
            Some(_) => {}
            None => return refuse_attributes(cursor).and_then(|()| charset::option(cursor)),
        }
        Ok(true)
    }

    /// `CURRENT_TIMESTAMP` and its other names, with the digits of the column.
    fn now(&self, cursor: &mut Cursor<'_>) -> Parsing<()> {
        const NAMES: &[&str] = &["CURRENT_TIMESTAMP", "NOW", "LOCALTIMESTAMP", "LOCALTIME"];
        if cursor.one_of(NAMES).is_none() {
            return Err(cursor.unexpected());
        }
        let given = match cursor.peek() {
            Token::LParen => cursor.in_parentheses(Cursor::small_number)?,
            _ => Vec::new(),
        };
        let fsp = given.first().copied().unwrap_or(0);
        match self.ty {
            ColumnType::DateTime(own) | ColumnType::Timestamp(own)
                if given.len() <= 1 && fsp <= u32::from(FSP_MAX) && u32::from(own) == fsp =>
            {
                Ok(())
            }
            _ => Err(ParseError::Default(self.name.clone())),
        }
    }

    /// Whether the column may be NULL, as far as its own definition says.
    #[must_use]
    pub fn may_be_null(&self) -> bool {
        self.nullable.unwrap_or(!self.auto_increment && self.key != Some(ColumnKey::Primary))
    }
}

impl DefaultValue {
    /// What follows DEFAULT.
    fn parse(cursor: &mut Cursor<'_>, column: &ColumnDefinition) -> Parsing<Self> {
        let parenthesis = cursor.symbol(&Token::LParen);
        let value = Self::value(cursor, column)?;
        if parenthesis && !cursor.symbol(&Token::RParen) {
            return Err(ParseError::unsupported("expressions as DEFAULT"));
        }
        Ok(value)
    }

    fn value(cursor: &mut Cursor<'_>, column: &ColumnDefinition) -> Parsing<Self> {
        let negative = cursor.symbol(&Token::Minus);
        if !negative && cursor.symbol(&Token::Plus) && !matches!(cursor.peek(), Token::Number(..)) {
            return Err(cursor.unexpected());
        }
        if let Token::Number(digits, _) = cursor.peek() {
            let value = number(digits, negative);
            let value = value.ok_or_else(|| ParseError::Default(column.name.clone()))?;
            cursor.advance();
            return Ok(Self::Literal(value));
        }
        if negative {
            return Err(cursor.unexpected());
        }
        if let Some(text) = cursor.optional_string() {
            return Ok(Self::Literal(Value::Text(text)));
        }
        if let Some(Operand::Literal(value)) = Operand::of_token(cursor.peek()) {
            cursor.advance();
            return Ok(Self::Literal(value));
        }
        if ["CURRENT_TIMESTAMP", "NOW", "LOCALTIMESTAMP", "LOCALTIME"]
            .iter()
            .any(|name| cursor.is_word(name))
        {
            column.now(cursor)?;
            return Ok(Self::Now);
        }
        match cursor.peek() {
            Token::Word(_) => Err(ParseError::unsupported("expressions as DEFAULT")),
            _ => Err(cursor.unexpected()),
        }
    }
}

fn refuse_attributes(cursor: &Cursor<'_>) -> Parsing<()> {
    const REFUSED: &[(&str, &str)] = &[
        ("GENERATED", "generated columns"),
        ("AS", "computed columns"),
        ("REFERENCES", "FOREIGN KEY"),
        ("CHECK", "CHECK"),
        ("INVISIBLE", "INVISIBLE columns"),
        ("SERIES", "SERIES TIMESTAMP"),
        ("OPTION", "OPTION of columns"),
        ("SPARSE", "SPARSE columns"),
    ];
    match REFUSED.iter().find(|(word, _)| cursor.is_word(word)) {
        Some((_, what)) => Err(ParseError::unsupported(*what)),
        None => Ok(()),
    }
}
