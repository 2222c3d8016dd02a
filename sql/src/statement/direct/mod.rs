//! Filters that name rows by primary key or by an index, recognised: such rows are looked up in
//! their partitions without the query library. This is a pure look at the filter and the table's
//! schema; what it does not recognise is looked for in the whole table.
//!
//! ```text
//!  … WHERE id = ?                          point       … WHERE id BETWEEN ? AND ?          range
//!  … WHERE id IN (1, 2, ?)                 points      … WHERE a = 5 AND b > 3             range
//!  … WHERE k IN (1, 2, NULL)               ranges, one for each value
//! ```
//!
//! Key values must compare as the column's type does. `id = 5.5` and `id = 'x'` have rules of
//! their own in MySQL and are left alone. Literals are brought to their column's type; whoever
//! binds a parameter brings it there by [`key_value`], and looks in the whole table if that gives
//! nothing.

mod condition;

use resprout_engine::table::{ColumnId, ColumnType, IndexId, TableSchema, Value};
use sqlparser::ast::Expr;

use super::Operand;
use super::tree::Sql;

pub use condition::{Comparison, Condition};

/// Points of one plan: beyond, an IN list is not small any more.
pub const POINTS_MAX: usize = 1000;

/// The rows that a statement names.
#[derive(Clone, Debug, PartialEq)]
pub struct Rows {
    /// The index whose keys are named; none for the primary key.
    pub index: Option<IndexId>,
    /// By key.
    pub access: Access,
    /// For each column of the shard key its position in that key, if all have one.
    pub shard_positions: Option<Vec<usize>>,
    /// What else must hold of a row.
    pub residual: Vec<Condition>,
}

/// How rows are found.
#[derive(Clone, Debug, PartialEq)]
pub enum Access {
    /// One row for each of these whole primary keys. Two may turn out to be the same when
    /// parameters are bound: it is one row then.
    Points(Vec<Vec<KeyPart>>),
    /// All rows whose key begins with `prefix` and whose next column is in a range.
    Range {
        /// The values of the first columns.
        prefix: Vec<KeyPart>,
        /// The lowest value of the next column, and whether it is part of the range.
        lower: Option<(KeyPart, bool)>,
        /// The highest value of the next column, and whether it is part of the range.
        upper: Option<(KeyPart, bool)>,
    },
    /// All rows whose key begins with one of these, which have a part for each of the same first columns.
    Prefixes(Vec<Vec<KeyPart>>),
}

impl Rows {
    /// Whether some column of the key is given: such rows are few, as a rule.
    fn is_narrow(&self) -> bool {
        !matches!(&self.access, Access::Range { prefix, .. } if prefix.is_empty())
    }

    /// Whether all rows of a range lie in one partition, as far as the key tells. Each point has
    /// its partition anyway.
    #[must_use]
    pub fn range_in_one_partition(&self) -> bool {
        match (&self.access, &self.shard_positions) {
            (Access::Range { prefix, .. }, Some(positions)) => {
                !positions.is_empty() && positions.iter().all(|position| *position < prefix.len())
            }
            _ => false,
        }
    }
}

/// A value of a key or condition: known, or known when parameters are bound.
#[derive(Clone, Debug, PartialEq)]
pub enum KeyPart {
    /// A literal, of its column's type.
    Literal(Value),
    /// A parameter, from 1.
    Parameter(u16),
}

/// The value as a column of this type compares with it, if it does by the column's own order.
/// NULL does not: nothing equals it.
#[must_use]
pub fn key_value(ty: ColumnType, value: Value) -> Option<Value> {
    let exact = match (&value, ty) {
        (Value::Null, _) => false,
        (Value::Int(_) | Value::UInt(_), ColumnType::Int { .. } | ColumnType::Decimal { .. }) => {
            true
        }
        (Value::Decimal(_), ColumnType::Decimal { .. }) => true,
        (Value::Text(_), _) if ty.is_text() => !matches!(ty, ColumnType::Json),
        // Whether text is a whole number or a moment is for coercion to say.
        (
            Value::Text(text),
            ColumnType::Int { .. }
            | ColumnType::Date
            | ColumnType::DateTime(_)
            | ColumnType::Timestamp(_),
        ) => is_exact_text(text, ty),
        (Value::Bytes(_), ColumnType::Binary(_) | ColumnType::VarBinary(_)) => true,
        (Value::Text(_), ColumnType::VarBinary(_)) => true,
        _ => ty.fits(&value.as_ref()),
    };
    if !exact {
        return None;
    }
    let given = value.clone();
    let coerced = ty.coerce(value).ok()?;
    match (&given, &coerced) {
        // 5.5 is no key of a column of whole numbers, nor 1.005 of one with two digits.
        (Value::Decimal(before), Value::Decimal(after))
            if before.scale() > after.scale()
                && after.rescaled(before.scale()) != Some(*before) =>
        {
            None
        }
        _ => Some(coerced),
    }
}

/// Whether text stands for a value of this type without rounding: digits only, or a moment
/// without more digits than the column has.
fn is_exact_text(text: &str, ty: ColumnType) -> bool {
    match ty {
        ColumnType::Int { .. } => {
            let digits = text.strip_prefix('-').unwrap_or(text);
            !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
        }
        _ => !text.contains('.') && text.len() >= 8 && (ty != ColumnType::Date || text.len() == 10),
    }
}

/// The rows of the table of this schema, called `name`, that a filter names by primary key or by an
/// index, if it does. Of an index, the whole filter has to be asked of each row.
#[must_use]
pub fn rows(filter: Option<&Expr>, schema: &TableSchema, name: &str) -> Option<Rows> {
    let scope = Scope { schema, name };
    let by_key = condition::rows(scope, filter);
    if by_key.as_ref().is_some_and(Rows::is_narrow) {
        return by_key;
    }
    let by_index = condition::by_index(scope, filter);
    let better = by_key.is_none() || by_index.as_ref().is_some_and(Rows::is_narrow);
    by_index.filter(|_| better).or(by_key)
}

/// The table that a statement speaks of, under the names it has there.
#[derive(Clone, Copy, Debug)]
struct Scope<'a> {
    schema: &'a TableSchema,
    /// Its alias, else its name.
    name: &'a str,
}

impl Scope<'_> {
    /// The column that an expression is.
    fn column(&self, expression: &Expr) -> Option<ColumnId> {
        match expression {
            Expr::Identifier(name) if !name.value.starts_with('@') => {
                self.schema.column_named(&name.value)
            }
            Expr::CompoundIdentifier(parts) => match &parts[..] {
                [table, name] if table.value == self.name => self.schema.column_named(&name.value),
                _ => None,
            },
            Expr::Nested(inner) => self.column(inner),
            _ => None,
        }
    }

    /// The value that an expression is for a column to be compared with.
    fn part(&self, column: ColumnId, expression: &Expr) -> Option<KeyPart> {
        match Operand::of_expression(expression)? {
            Operand::Literal(value) => {
                key_value(self.schema.column(column).ty, value).map(KeyPart::Literal)
            }
            Operand::Parameter(number) => Some(KeyPart::Parameter(number)),
            Operand::Default | Operand::Expression(_) => None,
        }
    }
}

/// A copy of a node of the tree.
fn kept(expression: &Expr) -> Sql<Box<Expr>> {
    Sql(Box::new(expression.clone()))
}
