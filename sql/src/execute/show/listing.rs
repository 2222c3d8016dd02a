//! A small table that is an answer.

use resprout_engine::table::{ColumnId, TableSchema, Value, ValueRef};
use sqlparser::ast::{Expr, Ident, Value as Literal};

use crate::error::{Code, SqlError};
use crate::execute::value;
use crate::expression::{self, Context, Row, Scope, compile};
use crate::place::Shown;
use crate::protocol::column::{Column, Columns, WireType};
use crate::server::ResultWriter;
use crate::session::Client;
use crate::statement::Filter;

/// Columns with their names, and rows of as many values: texts, numbers or NULL.
#[derive(Debug)]
pub(in crate::execute) struct Listing {
    names: Vec<String>,
    rows: Vec<Vec<Value>>,
}

/// A text, as a value of a listing.
pub(super) fn text(text: impl Into<String>) -> Value {
    Value::Text(text.into())
}

/// A count, as a value of a listing.
pub(super) const fn number(number: u64) -> Value {
    Value::UInt(number)
}

impl Listing {
    pub(super) fn new(names: &[&str]) -> Self {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        Self { names, rows: Vec::new() }
    }

    /// One that was made elsewhere.
    pub(super) fn of(shown: Shown) -> Self {
        Self { names: shown.names, rows: shown.rows }
    }

    /// With a name for the first column that depends on what is asked.
    pub(super) fn with_first(mut self, name: String) -> Self {
        self.names[0] = name;
        self
    }

    pub(super) fn push<const N: usize>(&mut self, row: [Value; N]) {
        assert!(N == self.names.len(), "a value for each column");
        self.rows.push(row.into());
    }

    /// The rows.
    pub(in crate::execute) fn into_rows(self) -> Vec<Vec<Value>> {
        self.rows
    }

    /// Keeps the rows of a window.
    pub(super) fn cut(&mut self, offset: u64, rows: u64) {
        let clamp = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
        self.rows.drain(..clamp(offset).min(self.rows.len()));
        self.rows.truncate(clamp(rows));
    }

    /// Keeps the rows that a filter wants: LIKE is about the first column.
    ///
    /// # Errors
    /// As of an expression: 1054 for columns that there are not, and others.
    pub(super) fn keep(&mut self, client: &Client, filter: &Filter) -> Result<(), SqlError> {
        let schema = self.schema()?;
        let surroundings = client.state.surroundings();
        let scope = Scope::new(&surroundings);
        let scope = scope.with_table("information_schema", &schema, None).in_clause("where clause");
        let compiled = match filter {
            Filter::Like(pattern) => compile(&like(&self.names[0], pattern), &scope)?,
            Filter::Where(condition) => compile(condition, &scope)?,
        };
        let context = Context::new(&surroundings, &[]);
        let mut kept = Vec::new();
        for row in self.rows.drain(..) {
            if compiled.matches(&Listed(&row), &context)? {
                kept.push(row);
            }
        }
        self.rows = kept;
        Ok(())
    }

    /// The columns as those of a table, for expressions.
    fn schema(&self) -> Result<TableSchema, SqlError> {
        let mut builder = TableSchema::builder("listing");
        for (at, name) in self.names.iter().enumerate() {
            let ty = if self.is_number(at) { "bigint unsigned" } else { "varchar(1024)" };
            builder = builder.column(name, ty);
        }
        builder.build().map_err(|error| SqlError::new(Code::UNKNOWN_ERROR, error.to_string()))
    }

    fn is_number(&self, at: usize) -> bool {
        let mut values = self.rows.iter().map(|row| &row[at]).filter(|value| !value.is_null());
        values.next().is_some_and(|value| matches!(value, Value::UInt(_)))
    }

    /// Sends it.
    ///
    /// # Errors
    /// If the client is gone.
    pub(super) async fn send(&self, out: &mut ResultWriter<'_>) -> Result<(), SqlError> {
        let column = |(at, name): (usize, &String)| {
            let number = self.is_number(at);
            Column::new(name, if number { WireType::LongLong } else { WireType::VarString })
        };
        let columns = Columns::new(self.names.iter().enumerate().map(column).collect());
        let mut result = out.rows(&columns).await?;
        for values in &self.rows {
            let mut row = result.row();
            for (value, column) in values.iter().zip(columns.columns()) {
                value::put(&mut row, &value.as_ref(), column);
            }
            row.end()?;
            result.ready().await?;
        }
        result.end(0);
        Ok(())
    }
}

/// `name LIKE 'pattern'`.
fn like(name: &str, pattern: &str) -> Expr {
    Expr::Like {
        negated: false,
        any: false,
        expr: Box::new(Expr::Identifier(Ident::with_quote('`', name))),
        pattern: Box::new(Expr::Value(Literal::SingleQuotedString(pattern.to_owned()).into())),
        escape_char: None,
    }
}

struct Listed<'a>(&'a [Value]);

impl Row for Listed<'_> {
    fn column(&self, column: ColumnId) -> Result<ValueRef<'_>, expression::Error> {
        Ok(self.0.get(usize::from(column.0)).map_or(ValueRef::Null, Value::as_ref))
    }
}
