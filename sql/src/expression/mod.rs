//! Scalar expressions with MySQL's meaning: what INSERT, UPDATE, DELETE, SET and statements that
//! name rows by key evaluate themselves.
//!
//! ```text
//!  sqlparser's tree ──compile(scope)──► Compiled ──evaluate(row, context)──► Value
//!    names, functions, constants           │          parameters, variables,
//!    are resolved once                     └ ty()     the moment; warnings come back
//! ```
//!
//! ```
//! use resprout_engine::table::Value;
//! use resprout_sql::expression::{Context, NoRow, NoSession, Scope, compile};
//! use sqlparser::{dialect::MySqlDialect, parser::Parser};
//!
//! let parsed = Parser::new(&MySqlDialect {}).try_with_sql("CONCAT('a', ? + 1)")?.parse_expr()?;
//! let compiled = compile(&parsed, &Scope::empty())?;
//! let parameters = [Value::Int(6)];
//! let context = Context::new(&NoSession, &parameters);
//! assert_eq!(compiled.evaluate(&NoRow, &context)?, Value::Text("a7".into()));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What may be relied on
//!
//! * Results, their types, warnings and errors are those of MariaDB 10.11 for the corpus in
//!   `tests/expressions`, which was made by asking one.
//! * Any tree gives a result or an [`Error`]: never a panic, a stack that overflows, or a value
//!   larger than [`Context::max_packet`].
//! * Numbers are computed without memory from the heap, and text of rows, constants and parameters
//!   is borrowed until it is changed.
//! * A [`Compiled`] holds nothing of a session: it may be kept and shared.
//!
//! # What differs from MySQL
//!
//! * Decimals have 38 digits, not 65: results that need more lose digits after the point, and
//!   beyond that are out of range (1690).
//! * Dates with a zero month or day do not exist; they read as incorrect.
//! * A session's zone is a fixed offset ([`Context::zone`]), UTC unless set.
//! * Regular expressions have no look-around and no back references.
//! * `UUID()` is random. Subqueries, aggregates and JSON are not for here
//!   ([`Error::Unsupported`], [`Error::GroupFunction`]).

mod arithmetic;
mod collation;
mod comparison;
mod compile;
mod context;
mod convert;
mod decimal;
mod error;
mod functions;
mod like;
mod logic;
mod node;
mod number;
mod regexp;
mod scope;
mod temporal;
mod ty;

use resprout_engine::table::{ColumnId, Value, ValueRef};

pub use collation::Collation;
pub use compile::{DEPTH_MAX, NODES_MAX, compile};
pub use context::{
    Context, Mode, NoRow, NoSession, PACKET_MAX, Row, Session, VariableScope, WARNINGS_MAX, Warning,
};
pub use error::Error;
pub(crate) use like::Pattern;
pub use scope::{Given, Names, Scope};
pub use ty::Type;

use node::{Env, Expression};

/// A value in the type of a result that several expressions share, such as those of `CASE` or the
/// sides of UNION.
///
/// # Errors
/// In strict mode, if it does not fit.
pub fn adapt<'e>(
    value: ValueRef<'e>,
    ty: Type,
    context: &'e Context<'e>,
) -> Result<ValueRef<'e>, Error> {
    convert::adapt(value, ty, &Env { row: &NoRow, context })
}

/// An expression ready to be evaluated, for any number of rows and sessions.
#[derive(Debug)]
pub struct Compiled {
    root: Expression,
    columns: Vec<ColumnId>,
}

impl Compiled {
    /// The type of its values.
    #[must_use]
    pub const fn ty(&self) -> Type {
        self.root.ty
    }

    /// How its values compare, if they are text.
    #[must_use]
    pub const fn collation(&self) -> Collation {
        self.root.text_rule.collation
    }

    /// The column that it is, if it is nothing else.
    #[must_use]
    pub const fn as_column(&self) -> Option<ColumnId> {
        match &self.root.node {
            node::Node::Column { id, .. } => Some(*id),
            _ => None,
        }
    }

    /// The value, if it is the same for all rows, parameters and sessions.
    #[must_use]
    pub const fn constant(&self) -> Option<&Value> {
        self.root.constant()
    }

    /// The columns that it reads, without doubles, in order.
    #[must_use]
    pub fn columns(&self) -> &[ColumnId] {
        &self.columns
    }

    /// Its value for a row.
    ///
    /// # Errors
    /// If a number is out of range, the row cannot be read, or in strict mode a value does not
    /// fit.
    pub fn evaluate(&self, row: &dyn Row, context: &Context<'_>) -> Result<Value, Error> {
        Ok(self.evaluate_ref(row, context)?.into_owned())
    }

    /// The same without a copy of text that the row, a parameter or the expression itself has.
    ///
    /// # Errors
    /// As [`evaluate`](Self::evaluate).
    pub fn evaluate_ref<'e>(
        &'e self,
        row: &'e dyn Row,
        context: &'e Context<'e>,
    ) -> Result<ValueRef<'e>, Error> {
        self.root.eval(&Env { row, context })
    }

    /// Whether it is true for a row; `None` for NULL.
    ///
    /// # Errors
    /// As [`evaluate`](Self::evaluate).
    pub fn truth(&self, row: &dyn Row, context: &Context<'_>) -> Result<Option<bool>, Error> {
        self.root.truth(&Env { row, context })
    }

    /// Whether it is true for a row, as WHERE asks: NULL is not.
    ///
    /// # Errors
    /// As [`evaluate`](Self::evaluate).
    pub fn matches(&self, row: &dyn Row, context: &Context<'_>) -> Result<bool, Error> {
        Ok(self.root.truth(&Env { row, context })? == Some(true))
    }
}
