//! Queries: parsed by sqlparser, then searched for what MySQL does not have or we do not.

use std::ops::ControlFlow;

use sqlparser::ast::{LockType, NonBlock, Query, SetExpr};

use super::cursor::{Cursor, Parsing};
use super::error::ParseError;
use super::tree::Sql;

/// How a query locks the rows that it reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowLock {
    /// `FOR UPDATE`; else `FOR SHARE`, once `LOCK IN SHARE MODE`.
    pub exclusive: bool,
    /// What happens if somebody else has a lock.
    pub wait: bool,
    /// `SKIP LOCKED`: such rows are left out; else with `NOWAIT` it is an error.
    pub skip: bool,
}

/// Whether a query locks the rows that it reads.
#[must_use]
pub fn row_lock(query: &Query) -> Option<RowLock> {
    let lock = query.locks.first()?;
    Some(RowLock {
        exclusive: matches!(lock.lock_type, LockType::Update),
        wait: lock.nonblock.is_none(),
        skip: matches!(lock.nonblock, Some(NonBlock::SkipLocked)),
    })
}

/// A query at the beginning of a statement.
pub(super) fn parse(cursor: &mut Cursor<'_>) -> Parsing<Sql<Box<Query>>> {
    if into(cursor) {
        return Err(ParseError::unsupported("SELECT … INTO"));
    }
    let query = cursor.query()?;
    match refused(&query.body) {
        ControlFlow::Continue(()) => Ok(query),
        ControlFlow::Break(error) => Err(error),
    }
}

/// `INTO OUTFILE`, `INTO DUMPFILE` and `INTO @variable`: sqlparser stumbles over them, and a
/// syntax error would not tell why.
fn into(cursor: &Cursor<'_>) -> bool {
    let mut after_into = false;
    cursor.rest().any(|token| {
        let is = |word: &str| super::lexer::is_word(&token.token, word);
        let variable = matches!(&token.token, sqlparser::tokenizer::Token::Word(word)
            if word.value.starts_with('@') && word.quote_style.is_none());
        let found = after_into && (is("OUTFILE") || is("DUMPFILE") || variable);
        after_into = is("INTO");
        found
    })
}

/// Statements that sqlparser takes for queries, and clauses of other systems.
fn refused(body: &SetExpr) -> ControlFlow<ParseError> {
    let what = match body {
        SetExpr::Select(select) if select.into.is_some() => "SELECT … INTO",
        SetExpr::Insert(_) | SetExpr::Update(_) | SetExpr::Delete(_) | SetExpr::Merge(_) => {
            "WITH before a change of rows"
        }
        SetExpr::Table(_) => "TABLE",
        SetExpr::SetOperation { left, right, .. } => {
            refused(left)?;
            return refused(right);
        }
        _ => return ControlFlow::Continue(()),
    };
    ControlFlow::Break(ParseError::unsupported(what))
}
