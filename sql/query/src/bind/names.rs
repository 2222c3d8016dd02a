//! What names mean: the columns of the tables of a SELECT.

use std::sync::Arc;

use datafusion::logical_expr::Expr;
use resprout_engine::table::{ColumnId, TableSchema};
use resprout_sql::expression::{Collation, Type};
use resprout_sql::planned::{column_of_table, column_of_values};
use resprout_sql::protocol::column::Column;
use resprout_sql::{Code, SqlError};
use sqlparser::ast::Ident;

/// A value: how it is computed of the columns of a plan, and what it is to MySQL.
#[derive(Clone, Debug)]
pub(crate) struct Bound {
    pub(crate) expr: Expr,
    pub(crate) ty: Type,
    pub(crate) collation: Collation,
    /// The table's column that it is, if it is nothing else.
    pub(crate) origin: Option<Origin>,
}

/// Where a value comes from, for clients that ask.
#[derive(Clone, Debug)]
pub(crate) struct Origin {
    pub(crate) database: Arc<str>,
    pub(crate) schema: Arc<TableSchema>,
    pub(crate) alias: Arc<str>,
    pub(crate) id: ColumnId,
}

impl Bound {
    /// A value that is no table's column.
    pub(crate) fn of(expr: Expr, ty: Type) -> Self {
        Self { expr, ty, collation: Collation::default(), origin: None }
    }

    /// The same value, computed elsewhere and called by a name here.
    pub(crate) fn at(&self, expr: Expr) -> Self {
        Self { expr, ..self.clone() }
    }

    /// Whether it is text that compares otherwise than by its bytes.
    pub(crate) fn needs_key(&self) -> bool {
        matches!(self.ty, Type::Text | Type::Unknown) && self.collation != Collation::Binary
    }

    /// What clients are told of it.
    pub(crate) fn column(&self, name: &str) -> Column {
        match &self.origin {
            Some(Origin { database, schema, alias, id }) => {
                column_of_table((database, schema), *id, Some(alias), name)
            }
            None => column_of_values(name, self.ty),
        }
    }
}

/// A value with a name.
#[derive(Clone, Debug)]
pub(crate) struct Named {
    pub(crate) name: String,
    pub(crate) bound: Bound,
}

impl Named {
    fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name)
    }
}

/// A table of a SELECT, whatever it is made of.
#[derive(Clone, Debug)]
pub(crate) struct Relation {
    /// None for derived tables.
    pub(crate) database: Option<Arc<str>>,
    pub(crate) alias: Arc<str>,
    pub(crate) columns: Vec<Named>,
}

impl Relation {
    /// The columns of its primary key, if all of them are there.
    pub(crate) fn key(&self) -> Option<Vec<&Bound>> {
        let schema = &self.columns.first()?.bound.origin.as_ref()?.schema;
        let key = schema.primary.columns();
        let of = |id: &ColumnId| {
            let is =
                |named: &&Named| named.bound.origin.as_ref().is_some_and(|origin| origin.id == *id);
            self.columns.iter().find(is).map(|named| &named.bound)
        };
        let columns: Option<Vec<&Bound>> = key.iter().map(of).collect();
        columns.filter(|columns| !columns.is_empty())
    }
}

/// The names that the expressions of a SELECT may use.
#[derive(Clone, Debug, Default)]
pub(crate) struct Names {
    pub(crate) relations: Vec<Relation>,
    /// What `*` means: columns that USING made one come once, and first.
    pub(crate) visible: Vec<Named>,
    /// Columns that are equal in all rows.
    pub(crate) equal: Vec<(Expr, Expr)>,
}

impl Names {
    /// Of one table.
    pub(crate) fn of(relation: Relation) -> Self {
        let visible = relation.columns.clone();
        Self { relations: vec![relation], visible, equal: Vec::new() }
    }

    /// What a name means; none if there is no such column.
    ///
    /// # Errors
    /// 1052 if it may mean several.
    pub(crate) fn resolve(&self, name: &[Ident], clause: &str) -> Result<Option<&Bound>, SqlError> {
        let Some((column, qualifier)) = name.split_last() else { return Ok(None) };
        let mut found: Option<&Bound> = None;
        let candidates: Vec<&Bound> = match qualifier {
            [] => matching(&self.visible, &column.value),
            [of] => self
                .relations
                .iter()
                .filter(|relation| *relation.alias == *of.value)
                .flat_map(|relation| matching(&relation.columns, &column.value))
                .collect(),
            [database, of] => self
                .relations
                .iter()
                .filter(|relation| {
                    relation.database.as_deref() == Some(&*database.value)
                        && *relation.alias == *of.value
                })
                .flat_map(|relation| matching(&relation.columns, &column.value))
                .collect(),
            _ => Vec::new(),
        };
        for candidate in candidates {
            match found {
                Some(found) if found.expr != candidate.expr => {
                    let name: Vec<&str> = name.iter().map(|part| &*part.value).collect();
                    let text = format!("Column '{}' in '{clause}' is ambiguous", name.join("."));
                    return Err(SqlError::new(Code::AMBIGUOUS_COLUMN, text));
                }
                _ => found = Some(candidate),
            }
        }
        Ok(found)
    }

    /// The columns of `t.*`; none if there is no such table.
    pub(crate) fn all_of(&self, qualifier: &[Ident]) -> Option<&[Named]> {
        let relation = self.relations.iter().find(|relation| match qualifier {
            [of] => *relation.alias == *of.value,
            [database, of] => {
                relation.database.as_deref() == Some(&*database.value)
                    && *relation.alias == *of.value
            }
            _ => false,
        });
        relation.map(|relation| &*relation.columns)
    }
}

fn matching<'n>(columns: &'n [Named], name: &str) -> Vec<&'n Bound> {
    columns.iter().filter(|own| own.is(name)).map(|own| &own.bound).collect()
}
