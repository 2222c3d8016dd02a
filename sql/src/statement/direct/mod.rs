//! Statements that name their rows by primary key, recognised: such a one goes to its partition
//! without the query library. This is a pure look at the statement and the table's schema; what
//! it does not recognise has no plan and goes the long way, where errors are told too.
//!
//! ```text
//!  SELECT c FROM t WHERE id = ?            point       UPDATE t SET k = k + 1 WHERE id = ?
//!  … WHERE id IN (1, 2, ?)                 points      DELETE FROM t WHERE id = 5 AND v > 3
//!  … WHERE id BETWEEN ? AND ? LIMIT 10     range       INSERT INTO t (…) VALUES (…), (…)
//! ```
//!
//! Key values must compare as the column's type does. `id = 5.5` and `id = 'x'` have rules of
//! their own in MySQL and are left alone. Literals in a plan are brought to their column's type;
//! whoever binds a parameter brings it there by [`key_value`], and takes the long way if that
//! gives nothing.

mod change;
mod condition;
mod select;

use resprout_engine::table::{ColumnId, ColumnType, IndexId, TableSchema, Value};
use sqlparser::ast::{Expr, ObjectName, Query, SetExpr, TableFactor};

use super::name::TableName;
use super::tree::Sql;
use super::{Operand, Statement};

pub use change::{Arithmetic, NewValue};
pub use condition::{Comparison, Condition};
pub use select::{Aggregate, Output, Read};

/// Points of one plan: beyond, an IN list is not small any more.
pub const POINTS_MAX: usize = 1000;

/// How a statement is run without the query library.
#[derive(Clone, Debug, PartialEq)]
pub enum DirectPlan {
    /// Reads rows by key.
    Read(Rows, Read),
    /// Changes rows by key.
    Update {
        /// Which rows.
        rows: Rows,
        /// What they become: the columns in order of assignment.
        set: Vec<(ColumnId, NewValue)>,
        /// Whether a column of the primary or shard key is set, so that a row may have to move.
        moves: bool,
        /// At most so many rows.
        limit: Option<KeyPart>,
    },
    /// Deletes rows by key.
    Delete {
        /// Which rows.
        rows: Rows,
        /// At most so many rows.
        limit: Option<KeyPart>,
    },
    /// Inserts rows that are all literals and parameters; they stay in the statement.
    Insert {
        /// The column of each value of a row.
        columns: Vec<ColumnId>,
        /// What happens to a row that exists.
        on_duplicate: Vec<(ColumnId, NewValue)>,
    },
}

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

/// The table of a statement that may have a direct plan, to look its schema up.
#[must_use]
pub fn table(statement: &Statement) -> Option<TableName> {
    match statement {
        Statement::Insert(insert) => Some(insert.table.clone()),
        Statement::Update(update) => Some(update.table.clone()),
        Statement::Delete(delete) => Some(delete.table.clone()),
        Statement::Query(query) => table_of_query(query),
        _ => None,
    }
}

fn table_of_query(query: &Query) -> Option<TableName> {
    let SetExpr::Select(select) = &*query.body else { return None };
    let [from] = &select.from[..] else { return None };
    let TableFactor::Table { name, .. } = &from.relation else { return None };
    if from.joins.is_empty() { table_name(name) } else { None }
}

fn table_name(name: &ObjectName) -> Option<TableName> {
    let part = |index: usize| Some(name.0.get(index)?.as_ident()?.value.clone());
    match name.0.len() {
        1 => Some(TableName { database: None, table: part(0)? }),
        2 => Some(TableName { database: part(0), table: part(1)? }),
        _ => None,
    }
}

/// The plan of a statement on the table of this schema, if it names its rows by key.
#[must_use]
pub fn plan(statement: &Statement, schema: &TableSchema) -> Option<DirectPlan> {
    match statement {
        Statement::Query(query) => select::plan(query, schema),
        Statement::Update(update) => change::update(update, schema),
        Statement::Delete(delete) => change::delete(delete, schema),
        Statement::Insert(insert) => change::insert(insert, schema),
        _ => None,
    }
}

/// The rows of the table of this schema, called `name`, that a filter names by primary key or by an
/// index, if it does: for statements that have no whole plan. Of an index, the whole filter
/// has to be asked of each row.
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

/// A number of rows.
fn row_count(operand: &Operand) -> Option<KeyPart> {
    match operand {
        Operand::Literal(value @ (Value::Int(0..) | Value::UInt(_))) => {
            Some(KeyPart::Literal(value.clone()))
        }
        Operand::Parameter(number) => Some(KeyPart::Parameter(*number)),
        _ => None,
    }
}

/// A copy of a node of the tree.
fn kept(expression: &Expr) -> Sql<Box<Expr>> {
    Sql(Box::new(expression.clone()))
}
