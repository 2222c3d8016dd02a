//! INSERT and REPLACE.

use sqlparser::ast::Query;
use sqlparser::tokenizer::Token;

use super::change::ColumnValue;
use super::cursor::{Cursor, Parsing};
use super::error::ParseError;
use super::lexer::Lexer;
use super::name::TableName;
use super::operand::Operand;
use super::rows::Rows;
use super::tokens::Tokens;
use super::tree::Sql;

/// `{INSERT | REPLACE} [IGNORE] [INTO] t [(columns)] …`.
#[derive(Clone, Debug, PartialEq)]
pub struct Insert {
    /// The table.
    pub table: TableName,
    /// `REPLACE`: rows with the same keys are deleted before.
    pub replace: bool,
    /// `IGNORE`: rows that cannot be inserted are left out with a warning.
    pub ignore: bool,
    /// The columns; all if empty.
    pub columns: Vec<String>,
    /// Where the rows come from. `SET a = 1` is one row.
    pub source: InsertSource,
    /// `AS new [(columns)]`: the name of the row to be inserted, for ON DUPLICATE KEY UPDATE.
    pub alias: Option<RowAlias>,
    /// `ON DUPLICATE KEY UPDATE …`: what else happens to a row that exists. `VALUES(column)` in
    /// it is a function call.
    pub on_duplicate: Vec<ColumnValue>,
}

/// Where the rows of an INSERT come from.
#[derive(Clone, Debug, PartialEq)]
pub enum InsertSource {
    /// Rows in the statement.
    Rows(Rows),
    /// A query.
    Query(Sql<Box<Query>>),
}

/// The name of the row to be inserted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowAlias {
    /// Its name.
    pub name: String,
    /// Names of its columns; those of the table if empty.
    pub columns: Vec<String>,
}

/// Gathers the tokens of an INSERT, whose first ones are read, and the rows apart.
pub(super) fn gather(tokens: &mut Tokens, lexer: &mut Lexer<'_>) -> Parsing<Option<Rows>> {
    loop {
        let lexeme = lexer.next()?;
        if lexeme.is_end() {
            return Ok(None);
        }
        let top = tokens.depth() == 0;
        // What follows these is no list of rows, though VALUES may be in it.
        let other = ["SELECT", "SET", "WITH", "TABLE"].iter().any(|word| lexeme.is_word(word));
        let begins = top && (lexeme.is_word("VALUES") || lexeme.is_word("VALUE"));
        let named = matches!(tokens.last(), Some(Token::Period))
            || tokens.is_word(tokens.tokens.len().wrapping_sub(1), "INTO");
        tokens.push(lexeme, lexer.text())?;
        if top && other && !named {
            tokens.push_statement(lexer)?;
            return Ok(None);
        }
        if begins && !named {
            let (rows, next) = Rows::scan(lexer)?;
            if !next.is_end() {
                tokens.push(next, lexer.text())?;
                tokens.push_statement(lexer)?;
            }
            return Ok(Some(rows));
        }
    }
}

impl Insert {
    /// The whole statement; `rows` are those that were gathered apart.
    pub(super) fn parse(cursor: &mut Cursor<'_>, rows: Option<Rows>) -> Parsing<Self> {
        let replace = cursor.word("REPLACE");
        if !replace {
            cursor.expect_words("INSERT")?;
        }
        while cursor.one_of(&["LOW_PRIORITY", "DELAYED", "HIGH_PRIORITY"]).is_some() {}
        let ignore = !replace && cursor.word("IGNORE");
        let _optional = cursor.word("INTO");
        let table = TableName::parse(cursor)?;
        if cursor.is_word("PARTITION") {
            return Err(ParseError::unsupported("PARTITION in INSERT"));
        }
        let mut insert = Self {
            table,
            replace,
            ignore,
            columns: Vec::new(),
            source: InsertSource::Rows(Rows::default()),
            alias: None,
            on_duplicate: Vec::new(),
        };
        if *cursor.peek() == Token::LParen && !starts_query(cursor) {
            insert.columns = cursor.in_parentheses(|cursor| insert.column(cursor))?;
        }
        insert.source(cursor, rows)?;
        insert.alias(cursor)?;
        if !insert.replace && cursor.words("ON DUPLICATE KEY UPDATE") {
            let (name, table) = (None, insert.table.clone());
            insert.on_duplicate = cursor.list(|cursor| ColumnValue::parse(cursor, &table, name))?;
        }
        Ok(insert)
    }

    /// The name of a column, perhaps behind the table's.
    fn column(&self, cursor: &mut Cursor<'_>) -> Parsing<String> {
        super::change::column(cursor, &self.table, None)
    }

    fn source(&mut self, cursor: &mut Cursor<'_>, rows: Option<Rows>) -> Parsing<()> {
        if let Some(rows) = rows {
            if cursor.one_of(&["VALUES", "VALUE"]).is_none() {
                return Err(cursor.unexpected());
            }
            if !self.columns.is_empty() && rows.width != self.columns.len() && rows.width != 0 {
                return Err(ParseError::ValueCount { row: 1 });
            }
            self.source = InsertSource::Rows(rows);
        } else if self.columns.is_empty() && cursor.word("SET") {
            let pairs = cursor.list(|cursor| ColumnValue::parse(cursor, &self.table, None))?;
            let mut values = Vec::with_capacity(pairs.len());
            for pair in pairs {
                self.columns.push(pair.column);
                values.push(pair.value);
            }
            let rows = Rows { width: values.len(), count: 1, values };
            self.source = InsertSource::Rows(rows);
        } else {
            self.source = InsertSource::Query(cursor.query()?);
        }
        Ok(())
    }

    fn alias(&mut self, cursor: &mut Cursor<'_>) -> Parsing<()> {
        if self.replace || !cursor.word("AS") {
            return Ok(());
        }
        let name = cursor.name()?;
        let columns = match cursor.peek() {
            Token::LParen => cursor.in_parentheses(Cursor::name)?,
            _ => Vec::new(),
        };
        self.alias = Some(RowAlias { name, columns });
        Ok(())
    }

    /// Whether all values are literals or parameters: no expression has to be evaluated.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        match &self.source {
            InsertSource::Rows(rows) => {
                rows.values.iter().all(|value| !matches!(value, Operand::Expression(_)))
            }
            InsertSource::Query(_) => false,
        }
    }
}

/// Whether a parenthesis opens a query rather than a list of columns.
fn starts_query(cursor: &Cursor<'_>) -> bool {
    let mut ahead = 1;
    while *cursor.peek_nth(ahead) == Token::LParen {
        ahead += 1;
    }
    ["SELECT", "WITH", "VALUES"].iter().any(|word| cursor.is_word_at(ahead, word))
}
