//! What the names in an expression mean: the columns of one table, or what somebody else says; and
//! the session's variables.

use resprout_engine::table::{ColumnId, TableSchema};
use sqlparser::ast::{Expr, Ident};

use super::collation::Collation;
use super::context::{NoSession, Session};
use super::error::Error;
use super::ty::Type;

/// A part of an expression that comes from outside, as a column of the row does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Given {
    /// Under which number the row has it.
    pub column: ColumnId,
    /// Its type.
    pub ty: Type,
    /// How it compares, if it is text.
    pub collation: Collation,
}

/// Who knows parts of expressions that are no scalar expressions of one table: columns of several
/// tables, aggregates, subqueries.
pub trait Names {
    /// The part, if it comes from outside. Asked of each part before it is looked into.
    ///
    /// # Errors
    /// If it is wrong.
    fn given(&self, part: &Expr) -> Result<Option<Given>, Error>;
}

/// The names that an expression may use.
#[derive(Clone, Copy)]
pub struct Scope<'s> {
    table: Option<&'s TableSchema>,
    database: Option<&'s str>,
    alias: Option<&'s str>,
    pub(super) names: Option<&'s dyn Names>,
    pub(super) clause: &'static str,
    pub(super) session: &'s dyn Session,
    pub(super) collation: Collation,
    pub(super) parameter_types: &'s [Type],
}

impl std::fmt::Debug for Scope<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scope")
            .field("table", &self.table.map(|table| &table.name))
            .field("alias", &self.alias)
            .field("clause", &self.clause)
            .field("collation", &self.collation)
            .finish_non_exhaustive()
    }
}

impl Scope<'static> {
    /// No table, no session.
    #[must_use]
    pub fn empty() -> Self {
        Self::new(&NoSession)
    }
}

impl<'s> Scope<'s> {
    /// No table; the session's variables.
    #[must_use]
    pub fn new(session: &'s dyn Session) -> Self {
        Self {
            table: None,
            database: None,
            alias: None,
            names: None,
            clause: "field list",
            session,
            collation: Collation::default(),
            parameter_types: &[],
        }
    }

    /// With the columns of a table, which may be called by an alias.
    #[must_use]
    pub const fn with_table(
        mut self,
        database: &'s str,
        table: &'s TableSchema,
        alias: Option<&'s str>,
    ) -> Self {
        (self.database, self.table, self.alias) = (Some(database), Some(table), alias);
        self
    }

    /// With parts that come from outside.
    #[must_use]
    pub const fn with_names(mut self, names: &'s dyn Names) -> Self {
        self.names = Some(names);
        self
    }

    /// How errors call the place of the expression: `field list` unless set, `where clause`, …
    #[must_use]
    pub const fn in_clause(mut self, clause: &'static str) -> Self {
        self.clause = clause;
        self
    }

    /// How text compares where nobody says otherwise: utf8mb4_general_ci unless set.
    #[must_use]
    pub const fn with_collation(mut self, collation: Collation) -> Self {
        self.collation = collation;
        self
    }

    /// The types of parameters, if they are known: then results have known types too.
    #[must_use]
    pub const fn with_parameter_types(mut self, types: &'s [Type]) -> Self {
        self.parameter_types = types;
        self
    }

    /// The column of a name, which may have the table's and the database's before it.
    pub(super) fn column(&self, name: &[Ident]) -> Result<(ColumnId, &'s TableSchema), Error> {
        let unknown = || {
            let parts: Vec<_> = name.iter().map(|part| part.value.as_str()).collect();
            Error::UnknownColumn { name: parts.join("."), clause: self.clause }
        };
        let table = self.table.ok_or_else(unknown)?;
        let (column, qualifier) = name.split_last().ok_or_else(unknown)?;
        let matches = match qualifier {
            [] => true,
            [of] => of.value == self.alias.unwrap_or(&table.name),
            [database, of] => {
                self.alias.is_none()
                    && Some(database.value.as_str()) == self.database
                    && of.value == table.name
            }
            _ => false,
        };
        let id = matches.then(|| table.column_named(&column.value)).flatten();
        Ok((id.ok_or_else(unknown)?, table))
    }
}
