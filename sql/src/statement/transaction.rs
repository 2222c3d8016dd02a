//! BEGIN, COMMIT, ROLLBACK and savepoints.

use super::cursor::{Cursor, Parsing};

/// A statement about the session's transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TransactionStatement {
    /// `BEGIN [WORK]`, `START TRANSACTION …`.
    Begin {
        /// `READ ONLY`.
        read_only: bool,
        /// `WITH CONSISTENT SNAPSHOT`.
        consistent_snapshot: bool,
    },
    /// `COMMIT [WORK] …`.
    Commit(Afterwards),
    /// `ROLLBACK [WORK] …`.
    Rollback(Afterwards),
    /// `SAVEPOINT name`.
    Savepoint(String),
    /// `ROLLBACK [WORK] TO [SAVEPOINT] name`.
    RollbackTo(String),
    /// `RELEASE SAVEPOINT name`.
    Release(String),
}

/// What follows the end of a transaction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Afterwards {
    /// `AND CHAIN`: another transaction.
    pub chain: bool,
    /// `RELEASE`: the end of the connection.
    pub release: bool,
}

impl Afterwards {
    fn parse(cursor: &mut Cursor<'_>) -> Self {
        let chain = !cursor.words("AND NO CHAIN") && cursor.words("AND CHAIN");
        Self { chain, release: !cursor.words("NO RELEASE") && cursor.word("RELEASE") }
    }
}

/// A statement about the transaction, if one is next.
pub(super) fn parse(cursor: &mut Cursor<'_>) -> Parsing<Option<TransactionStatement>> {
    const STARTS: &[&str] =
        &["BEGIN", "START TRANSACTION", "COMMIT", "ROLLBACK", "SAVEPOINT", "RELEASE SAVEPOINT"];
    let Some(start) = cursor.one_of(STARTS) else { return Ok(None) };
    Ok(Some(match start {
        "BEGIN" => {
            let _optional = cursor.word("WORK");
            TransactionStatement::Begin { read_only: false, consistent_snapshot: false }
        }
        "START TRANSACTION" => begin(cursor)?,
        "COMMIT" => {
            let _optional = cursor.word("WORK");
            TransactionStatement::Commit(Afterwards::parse(cursor))
        }
        "ROLLBACK" => {
            let _optional = cursor.word("WORK");
            if cursor.word("TO") {
                let _optional = cursor.word("SAVEPOINT");
                TransactionStatement::RollbackTo(cursor.name()?)
            } else {
                TransactionStatement::Rollback(Afterwards::parse(cursor))
            }
        }
        "SAVEPOINT" => TransactionStatement::Savepoint(cursor.name()?),
        _ => TransactionStatement::Release(cursor.name()?),
    }))
}

fn begin(cursor: &mut Cursor<'_>) -> Parsing<TransactionStatement> {
    let (mut read_only, mut consistent_snapshot) = (false, false);
    if !cursor.at_end() {
        let options = ["READ ONLY", "READ WRITE", "WITH CONSISTENT SNAPSHOT"];
        let option = |cursor: &mut Cursor<'_>| match cursor.one_of(&options) {
            Some(found) => Ok(found),
            None => Err(cursor.unexpected()),
        };
        let found = cursor.list(option)?;
        read_only = found.contains(&"READ ONLY");
        consistent_snapshot = found.contains(&"WITH CONSISTENT SNAPSHOT");
        if read_only && found.contains(&"READ WRITE") {
            return Err(cursor.unexpected());
        }
    }
    Ok(TransactionStatement::Begin { read_only, consistent_snapshot })
}
