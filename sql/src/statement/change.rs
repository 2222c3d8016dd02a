//! UPDATE and DELETE of one table.

use sqlparser::ast::{Expr, OrderByExpr};
use sqlparser::tokenizer::Token;

use super::cursor::{Cursor, Parsing};
use super::error::ParseError;
use super::name::TableName;
use super::operand::Operand;
use super::tree::Sql;

/// `column = value`.
#[derive(Clone, Debug, PartialEq)]
pub struct ColumnValue {
    /// The column.
    pub column: String,
    /// Its new value.
    pub value: Operand,
}

impl ColumnValue {
    pub(super) fn parse(
        cursor: &mut Cursor<'_>,
        table: &TableName,
        alias: Option<&str>,
    ) -> Parsing<Self> {
        let column = column(cursor, table, alias)?;
        if !cursor.symbol(&Token::Assignment) {
            cursor.expect(&Token::Eq)?;
        }
        let defaulted = cursor.is_word("DEFAULT") && *cursor.peek_nth(1) != Token::LParen;
        if defaulted {
            cursor.advance();
            return Ok(Self { column, value: Operand::Default });
        }
        Ok(Self { column, value: Operand::parse(cursor)? })
    }
}

/// A column of the table that is changed: `c`, `t.c` or `db.t.c`.
pub(super) fn column(
    cursor: &mut Cursor<'_>,
    table: &TableName,
    alias: Option<&str>,
) -> Parsing<String> {
    let mut parts = vec![cursor.name()?];
    while parts.len() < 3 && cursor.symbol(&Token::Period) {
        parts.push(cursor.name()?);
    }
    let known = match parts.as_slice() {
        [_] => true,
        [of, _] => of == alias.unwrap_or(&table.table),
        [database, of, _] => {
            let database = table.database.as_ref().is_none_or(|given| given == database);
            database && alias.is_none() && *of == table.table
        }
        _ => false,
    };
    match parts.pop() {
        Some(column) if known => Ok(column),
        column => {
            parts.extend(column);
            Err(ParseError::UnknownColumn(parts.join(".")))
        }
    }
}

/// Which rows a statement changes, and in which order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Selection {
    /// `WHERE …`; all rows without.
    pub filter: Option<Sql<Box<Expr>>>,
    /// `ORDER BY …`.
    pub order_by: Vec<Sql<OrderByExpr>>,
    /// `LIMIT n`: the most rows, a number or a parameter.
    pub limit: Option<Operand>,
}

impl Selection {
    fn parse(cursor: &mut Cursor<'_>) -> Parsing<Self> {
        let filter = if cursor.word("WHERE") { Some(cursor.expression()?) } else { None };
        let order_by =
            if cursor.words("ORDER BY") { cursor.list(Cursor::order_by)? } else { Vec::new() };
        let limit = if cursor.word("LIMIT") { Some(limit(cursor)?) } else { None };
        Ok(Self { filter, order_by, limit })
    }
}

fn limit(cursor: &mut Cursor<'_>) -> Parsing<Operand> {
    let limit = Operand::of_token(cursor.peek()).ok_or_else(|| cursor.unexpected())?;
    use resprout_engine::table::Value;
    match limit {
        Operand::Literal(Value::Int(_) | Value::UInt(_)) | Operand::Parameter(_) => {
            cursor.advance();
            Ok(limit)
        }
        _ => Err(cursor.unexpected()),
    }
}

/// `UPDATE [IGNORE] t [AS a] SET … [WHERE …] [ORDER BY …] [LIMIT n]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Update {
    /// The table.
    pub table: TableName,
    /// Its name in the expressions.
    pub alias: Option<String>,
    /// `IGNORE`: rows that cannot be changed are left with a warning.
    pub ignore: bool,
    /// The new values, in order: later ones see earlier ones, as in MySQL.
    pub set: Vec<ColumnValue>,
    /// Which rows.
    pub selection: Selection,
}

impl Update {
    /// What follows UPDATE.
    pub(super) fn parse(cursor: &mut Cursor<'_>) -> Parsing<Self> {
        let _optional = cursor.word("LOW_PRIORITY");
        let ignore = cursor.word("IGNORE");
        if *cursor.peek() == Token::LParen {
            return Err(ParseError::unsupported("multi-table UPDATE"));
        }
        let table = TableName::parse(cursor)?;
        let alias = alias(cursor, &["SET", "JOIN", "INNER", "LEFT", "RIGHT", "CROSS", "NATURAL"])?;
        if !cursor.word("SET") {
            refuse_tables(cursor, "multi-table UPDATE")?;
            return Err(cursor.unexpected());
        }
        let set = cursor.list(|cursor| ColumnValue::parse(cursor, &table, alias.as_deref()))?;
        Ok(Self { table, alias, ignore, set, selection: Selection::parse(cursor)? })
    }
}

/// `DELETE [IGNORE] FROM t [AS a] [WHERE …] [ORDER BY …] [LIMIT n]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Delete {
    /// The table.
    pub table: TableName,
    /// Its name in the expressions.
    pub alias: Option<String>,
    /// `IGNORE`: rows that cannot be deleted are left with a warning.
    pub ignore: bool,
    /// Which rows.
    pub selection: Selection,
}

impl Delete {
    /// What follows DELETE.
    pub(super) fn parse(cursor: &mut Cursor<'_>) -> Parsing<Self> {
        while cursor.one_of(&["LOW_PRIORITY", "QUICK"]).is_some() {}
        let ignore = cursor.word("IGNORE");
        if !cursor.word("FROM") {
            let before = cursor.unexpected();
            // `DELETE t FROM …`, or no DELETE at all.
            cursor.name()?;
            let several =
                matches!(cursor.peek(), Token::Comma | Token::Period) || cursor.is_word("FROM");
            let refused = ParseError::unsupported("multi-table DELETE");
            return Err(if several { refused } else { before });
        }
        let table = TableName::parse(cursor)?;
        let ends = ["WHERE", "ORDER", "LIMIT", "USING", "JOIN", "INNER", "LEFT", "RIGHT", "CROSS"];
        let alias = alias(cursor, &ends)?;
        if cursor.is_word("USING") || *cursor.peek() == Token::Period {
            return Err(ParseError::unsupported("multi-table DELETE"));
        }
        refuse_tables(cursor, "multi-table DELETE")?;
        Ok(Self { table, alias, ignore, selection: Selection::parse(cursor)? })
    }
}

/// `[AS] name`, unless one of these words is next.
fn alias(cursor: &mut Cursor<'_>, ends: &[&str]) -> Parsing<Option<String>> {
    if cursor.word("AS") {
        return cursor.name().map(Some);
    }
    let is_name = matches!(cursor.peek(), Token::Word(_));
    if !is_name || ends.iter().any(|end| cursor.is_word(end)) {
        return Ok(None);
    }
    cursor.name().map(Some)
}

fn refuse_tables(cursor: &Cursor<'_>, what: &'static str) -> Parsing<()> {
    let joins = ["JOIN", "INNER", "LEFT", "RIGHT", "CROSS", "NATURAL", "STRAIGHT_JOIN"];
    let several = *cursor.peek() == Token::Comma || joins.iter().any(|word| cursor.is_word(word));
    if several { Err(ParseError::unsupported(what)) } else { Ok(()) }
}
