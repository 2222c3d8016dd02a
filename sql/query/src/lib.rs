//! Queries of several tables, with groups, subqueries or windows: bound to MySQL's names and types
//! here, then optimized and run by DataFusion.
//!
//! ```text
//!  syntax tree ─► bind: names, types, clauses ─► LogicalPlan ─► DataFusion ─► batches ─► session
//!                   │                                             │
//!                   └ computed: each scalar expression is one     └ leaves: what comes of rows
//!                     function of its columns, with the             of partitions, done there
//!                     meaning of `resprout_sql::expression`
//! ```
//!
//! DataFusion's own SQL front end and functions mean what PostgreSQL means, so neither is used. What
//! is left to it is what is the same everywhere: joins, grouping, sorting, windows, subqueries made
//! joins; and comparisons of two values of one type, AND, OR, NOT, IS NULL.
//!
//! | file | does |
//! |---|---|
//! | `bind` | the syntax tree to a plan |
//! | `computed` | scalar functions: expressions, conditions, keys of text |
//! | `aggregate` | SUM, GROUP_CONCAT and others that mean something of their own |
//! | `values` | MySQL's types and values in Arrow's arrays |
//! | `scan` | tables: where their rows are, and what is wanted of them |
//! | `leaves` | partitions, near or far, read batch by batch |
//! | `pushdown`, `partial` | conditions and partial aggregates that are done where rows are |
//! | `run` | memory, threads, interruption, results |
//! | `stopping` | an end to long joins |
//! | `explain` | what EXPLAIN shows |
//! | `error` | errors as clients see them |

#![forbid(unsafe_code)]

mod aggregate;
mod bind;
mod computed;
mod error;
mod explain;
mod leaves;
mod partial;
mod pushdown;
mod run;
mod scan;
mod stopping;
mod values;

pub use run::{Limits, QueryEngine};
