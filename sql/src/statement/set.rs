//! SET: system variables, user variables, character sets, isolation, passwords.

use sqlparser::ast::Expr;
use sqlparser::tokenizer::Token;

use super::charset;
use super::cursor::{Cursor, Parsing};
use super::error::ParseError;
use super::name::User;
use super::secret::Secret;
use super::tree::Sql;

/// Whose variable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scope {
    /// The session's.
    #[default]
    Session,
    /// The server's.
    Global,
    /// The server's, also after a restart (`PERSIST`).
    Persist,
    /// The server's after the next restart (`PERSIST_ONLY`).
    PersistOnly,
    /// The next transaction's (`SET TRANSACTION` without a scope).
    NextTransaction,
}

/// One item of a SET.
#[derive(Clone, Debug, PartialEq)]
pub enum Assignment {
    /// `[GLOBAL | SESSION] name = value`, `@@scope.name = value`.
    Variable {
        /// Whose.
        scope: Scope,
        /// Its name, in lower case.
        name: String,
        /// Its new value.
        value: SetValue,
    },
    /// `@name = value`.
    User {
        /// Its name without `@`, in lower case.
        name: String,
        /// Its new value.
        value: Sql<Box<Expr>>,
    },
    /// `NAMES charset [COLLATE collation]`, `CHARACTER SET charset`; no charset for DEFAULT.
    Names {
        /// The character set, in lower case.
        charset: Option<String>,
        /// The collation, in lower case.
        collation: Option<String>,
    },
    /// `PASSWORD [FOR user] = 'password'`.
    Password {
        /// Whose.
        user: User,
        /// The new one.
        password: Secret,
    },
    /// `[GLOBAL | SESSION] TRANSACTION …`.
    Transaction {
        /// Of which transactions.
        scope: Scope,
        /// `ISOLATION LEVEL …`.
        isolation: Option<Isolation>,
        /// `READ ONLY` or `READ WRITE`.
        read_only: Option<bool>,
    },
}

/// What a system variable is set to.
#[derive(Clone, Debug, PartialEq)]
pub enum SetValue {
    /// `DEFAULT`.
    Default,
    /// A word alone, such as ON or utf8mb4: a value, not a column.
    Word(String),
    /// Anything else.
    Expression(Sql<Box<Expr>>),
}

/// What a transaction sees of others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isolation {
    /// `READ UNCOMMITTED`.
    ReadUncommitted,
    /// `READ COMMITTED`.
    ReadCommitted,
    /// `REPEATABLE READ`.
    RepeatableRead,
    /// `SERIALIZABLE`.
    Serializable,
}

/// What follows SET.
pub(super) fn parse(cursor: &mut Cursor<'_>) -> Parsing<Vec<Assignment>> {
    if let Some(refused) = cursor.one_of(&["DEFAULT ROLE", "ROLE", "RESOURCE GROUP"]) {
        return Err(ParseError::unsupported(format!("SET {refused}")));
    }
    let mut assignments = Vec::new();
    // A scope holds for what follows it without one, up to the next.
    let mut inherited = Scope::Session;
    loop {
        assignments.push(assignment(cursor, &mut inherited)?);
        if !cursor.symbol(&Token::Comma) {
            return Ok(assignments);
        }
    }
}

fn assignment(cursor: &mut Cursor<'_>, inherited: &mut Scope) -> Parsing<Assignment> {
    if cursor.word("NAMES") {
        return names(cursor);
    }
    if cursor.one_of(&["CHARACTER SET", "CHARSET"]).is_some() {
        return names(cursor);
    }
    if cursor.is_word("PASSWORD") && !matches!(cursor.peek_nth(1), Token::Period) {
        return password(cursor);
    }
    if let Token::Word(word) = cursor.peek()
        && word.value.starts_with('@')
        && !word.value.starts_with("@@")
    {
        let name = word.value[1..].to_lowercase();
        cursor.advance();
        equals(cursor)?;
        return Ok(Assignment::User { name, value: cursor.expression()? });
    }
    let given = scope(cursor);
    if cursor.word("TRANSACTION") {
        return transaction(cursor, given.unwrap_or(Scope::NextTransaction));
    }
    if let Some(scope) = given {
        *inherited = scope;
    }
    let (scope, name) = variable(cursor, *inherited)?;
    equals(cursor)?;
    Ok(Assignment::Variable { scope, name, value: value(cursor)? })
}

fn scope(cursor: &mut Cursor<'_>) -> Option<Scope> {
    let word = cursor.one_of(&["GLOBAL", "SESSION", "LOCAL", "PERSIST", "PERSIST_ONLY"])?;
    Some(scope_named(word))
}

fn scope_named(word: &str) -> Scope {
    match word {
        "GLOBAL" => Scope::Global,
        "PERSIST" => Scope::Persist,
        "PERSIST_ONLY" => Scope::PersistOnly,
        _ => Scope::Session,
    }
}

/// `name`, `@@name` or `@@scope.name`.
fn variable(cursor: &mut Cursor<'_>, inherited: Scope) -> Parsing<(Scope, String)> {
    let Token::Word(word) = cursor.peek() else { return Err(cursor.unexpected()) };
    let Some(name) = word.value.strip_prefix("@@") else {
        return Ok((inherited, cursor.name()?.to_lowercase()));
    };
    let name = name.to_owned();
    cursor.advance();
    if !cursor.symbol(&Token::Period) {
        return Ok((Scope::Session, name.to_lowercase()));
    }
    let scope = match name.to_ascii_uppercase().as_str() {
        known @ ("GLOBAL" | "SESSION" | "LOCAL" | "PERSIST" | "PERSIST_ONLY") => scope_named(known),
        _ => return Err(cursor.unexpected()),
    };
    Ok((scope, cursor.name()?.to_lowercase()))
}

fn equals(cursor: &mut Cursor<'_>) -> Parsing<()> {
    if cursor.symbol(&Token::Assignment) { Ok(()) } else { cursor.expect(&Token::Eq) }
}

fn value(cursor: &mut Cursor<'_>) -> Parsing<SetValue> {
    let ends = matches!(cursor.peek_nth(1), Token::Comma | Token::EOF);
    if let Token::Word(word) = cursor.peek()
        && ends
        && !word.value.starts_with('@')
        && !["NULL", "TRUE", "FALSE"].iter().any(|known| known.eq_ignore_ascii_case(&word.value))
    {
        let value = word.value.clone();
        cursor.advance();
        let default = value.eq_ignore_ascii_case("DEFAULT");
        return Ok(if default { SetValue::Default } else { SetValue::Word(value) });
    }
    cursor.expression().map(SetValue::Expression)
}

fn names(cursor: &mut Cursor<'_>) -> Parsing<Assignment> {
    if cursor.word("DEFAULT") {
        return Ok(Assignment::Names { charset: None, collation: None });
    }
    let charset = charset::name(cursor)?;
    let collation = if cursor.word("COLLATE") { Some(charset::collation(cursor)?) } else { None };
    Ok(Assignment::Names { charset: Some(charset), collation })
}

fn password(cursor: &mut Cursor<'_>) -> Parsing<Assignment> {
    cursor.expect_words("PASSWORD")?;
    let user = if cursor.word("FOR") { User::parse(cursor)? } else { User::Current };
    equals(cursor)?;
    let function = cursor.word("PASSWORD");
    if function {
        cursor.expect(&Token::LParen)?;
    }
    let password = Secret::new(cursor.string()?);
    if function {
        cursor.expect(&Token::RParen)?;
    }
    Ok(Assignment::Password { user, password })
}

fn transaction(cursor: &mut Cursor<'_>, scope: Scope) -> Parsing<Assignment> {
    let (mut isolation, mut read_only) = (None, None);
    cursor.list(|cursor| {
        const WORDS: &[&str] = &["ISOLATION LEVEL", "READ ONLY", "READ WRITE"];
        match cursor.one_of(WORDS) {
            Some("ISOLATION LEVEL") if isolation.is_none() => {
                isolation = Some(isolation_level(cursor)?);
            }
            Some(word) if word.starts_with("READ") && read_only.is_none() => {
                read_only = Some(word == "READ ONLY");
            }
            _ => return Err(cursor.unexpected()),
        }
        Ok(())
    })?;
    Ok(Assignment::Transaction { scope, isolation, read_only })
}

fn isolation_level(cursor: &mut Cursor<'_>) -> Parsing<Isolation> {
    const LEVELS: &[&str] =
        &["READ UNCOMMITTED", "READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"];
    Ok(match cursor.one_of(LEVELS) {
        Some("READ UNCOMMITTED") => Isolation::ReadUncommitted,
        Some("READ COMMITTED") => Isolation::ReadCommitted,
        Some("REPEATABLE READ") => Isolation::RepeatableRead,
        Some(_) => Isolation::Serializable,
        None => return Err(cursor.unexpected()),
    })
}
