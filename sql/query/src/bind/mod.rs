//! From the syntax tree to a plan: names, types and clauses as MySQL has them.
//!
//! ```text
//!  FROM ─► WHERE ─► columns of groups ─► Aggregate ─► HAVING ─► Window ─► outputs and sort keys
//!                                                                           │
//!                                              LIMIT ◄─ ORDER BY ◄─ DISTINCT┘
//! ```
//!
//! Every column that a plan makes has a name of its own, with a number, so that no two plans that
//! are joined, however, have columns of one name.

mod aggregates;
mod condition;
mod expression;
mod from;
mod group;
mod names;
mod native;
mod query;
mod select;
mod set_operation;
mod subquery;
mod window;

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use datafusion::common::Column as PlanColumn;
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{Expr, LogicalPlan, ScalarUDF};
use resprout_sql::expression::Type;
use resprout_sql::planned::{Catalogue, Moment};
use resprout_sql::protocol::column::Column;
use resprout_sql::{Code, SqlError};
use sqlparser::ast::{Cte, Query};

use crate::error::told;
use names::{Named, Names};

/// SELECTs inside of each other.
const DEPTH_MAX: usize = 40;

type Result<T> = std::result::Result<T, SqlError>;

/// A query that DataFusion can run.
#[derive(Debug)]
pub(crate) struct BoundQuery {
    pub(crate) plan: LogicalPlan,
    /// What clients are told of its columns.
    pub(crate) columns: Vec<Column>,
    pub(crate) types: Vec<Type>,
}

/// Binds a query.
///
/// # Errors
/// With what the client is told.
pub(crate) fn query(
    query: &Query,
    catalogue: &Catalogue,
    moment: &Arc<Moment>,
) -> Result<BoundQuery> {
    let parameters = moment.parameters.as_deref().unwrap_or_default();
    let binder = Binder {
        catalogue,
        moment,
        parameter_types: parameters.iter().map(Type::of_value).collect(),
        numbers: Cell::new(0),
        depth: Cell::new(0),
        computed: RefCell::default(),
        qualifiers: RefCell::default(),
        common: RefCell::default(),
    };
    let Relational { plan, outputs, .. } = binder.query(query, None)?;
    let columns = outputs.iter().map(|output| output.bound.column(&output.name)).collect();
    let types = outputs.iter().map(|output| output.bound.ty).collect();
    Ok(BoundQuery { plan, columns, types })
}

/// A plan with what its columns are to MySQL.
#[derive(Clone, Debug)]
struct Relational {
    plan: LogicalPlan,
    /// In the order of the plan's columns, which they are.
    outputs: Vec<Named>,
    /// Whether it has one row at most, by its form.
    single_row: bool,
}

/// Which computed function an expression became: its text and what it is given.
type ComputedId = (String, Vec<Expr>, bool);

/// What holds for one statement.
struct Binder<'c> {
    catalogue: &'c Catalogue,
    moment: &'c Arc<Moment>,
    parameter_types: Vec<Type>,
    numbers: Cell<usize>,
    depth: Cell<usize>,
    computed: RefCell<HashMap<ComputedId, Arc<ScalarUDF>>>,
    /// Names of tables in plans, so far.
    qualifiers: RefCell<HashSet<String>>,
    /// WITH, innermost last.
    common: RefCell<Vec<Common>>,
}

/// A table of WITH.
#[derive(Clone, Debug)]
enum Common {
    /// Bound where it is used.
    Query(Arc<Cte>),
    /// A recursive one, inside of itself: what it is read from, and its columns.
    Itself(String, Relational),
    /// A recursive one that is bound already.
    Bound(String, Relational),
}

impl Common {
    fn name(&self) -> &str {
        match self {
            Self::Query(cte) => &cte.alias.name.value,
            Self::Itself(name, _) | Self::Bound(name, _) => name,
        }
    }
}

impl Binder<'_> {
    fn number(&self) -> usize {
        self.numbers.set(self.numbers.get() + 1);
        self.numbers.get()
    }

    /// A name for a column that no other has.
    fn fresh(&self, name: &str) -> String {
        format!("{name}#{}", self.number())
    }

    /// A name for a table in plans that no other has.
    fn qualifier(&self, alias: &str) -> String {
        let mut known = self.qualifiers.borrow_mut();
        if known.insert(alias.to_owned()) {
            return alias.to_owned();
        }
        let name = self.fresh(alias);
        known.insert(name.clone());
        name
    }

    /// Goes one SELECT deeper.
    fn deeper<T>(&self, inside: impl FnOnce() -> Result<T>) -> Result<T> {
        if self.depth.get() >= DEPTH_MAX {
            return Err(SqlError::new(Code(1436), "Thread stack overrun: too many nested queries"));
        }
        self.depth.set(self.depth.get() + 1);
        let done = inside();
        self.depth.set(self.depth.get() - 1);
        done
    }
}

/// A column of a plan by its name.
fn column(name: impl Into<String>) -> Expr {
    Expr::Column(PlanColumn::new_unqualified(name))
}

/// What the client is told of DataFusion's refusal.
fn planned<T>(done: datafusion::error::Result<T>) -> Result<T> {
    done.map_err(|error: DataFusionError| told(&error))
}

/// Where an expression stands, and what it may name.
#[derive(Clone, Copy)]
struct Env<'e> {
    names: &'e Names,
    /// Of the query around, whose columns may be named too.
    parent: Option<&'e Env<'e>>,
    /// How errors call the place.
    clause: &'static str,
    /// After GROUP BY: what groups have.
    group: Option<&'e group::Group<'e>>,
    /// Where window functions may stand.
    windows: Option<&'e window::Windows<'e>>,
    /// Outputs by name.
    aliases: &'e [Named],
    /// Whether names mean outputs before they mean columns.
    aliases_first: bool,
}

impl<'e> Env<'e> {
    const fn new(names: &'e Names, parent: Option<&'e Self>, clause: &'static str) -> Self {
        Self {
            names,
            parent,
            clause,
            group: None,
            windows: None,
            aliases: &[],
            aliases_first: false,
        }
    }
}
