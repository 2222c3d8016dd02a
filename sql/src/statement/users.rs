//! CREATE, ALTER and DROP USER; GRANT and REVOKE.

use sqlparser::tokenizer::Token;

use super::cursor::{Cursor, Parsing};
use super::error::ParseError;
use super::name::{Account, TableName, User};
use super::secret::Secret;

/// `CREATE USER [IF NOT EXISTS] …`, `ALTER USER [IF EXISTS] …`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserDefinitions {
    /// `IF NOT EXISTS` of CREATE, `IF EXISTS` of ALTER.
    pub conditional: bool,
    /// The users.
    pub users: Vec<UserDefinition>,
    /// `REQUIRE …`, if anything is said about it.
    pub require_tls: Option<bool>,
    /// `ACCOUNT LOCK` or `ACCOUNT UNLOCK`.
    pub locked: Option<bool>,
    /// `WITH MAX_USER_CONNECTIONS n` and other limits, in capitals.
    pub limits: Vec<(String, u64)>,
}

/// One user of a CREATE USER, ALTER USER or GRANT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserDefinition {
    /// Who.
    pub user: User,
    /// How the user logs in, if anything is said about it.
    pub identified: Option<Identified>,
}

/// `IDENTIFIED …`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identified {
    /// The plugin that checks passwords.
    pub plugin: Option<String>,
    /// What it checks.
    pub credential: Credential,
}

/// What a user is known by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credential {
    /// A plugin was named and nothing else: no password.
    None,
    /// A password in the clear, to be hashed.
    Password(Secret),
    /// What the plugin stores, hashed already.
    Hash(Secret),
}

impl UserDefinition {
    fn parse(cursor: &mut Cursor<'_>) -> Parsing<Self> {
        Ok(Self { user: User::parse(cursor)?, identified: Identified::parse(cursor)? })
    }
}

impl Identified {
    fn parse(cursor: &mut Cursor<'_>) -> Parsing<Option<Self>> {
        if !cursor.word("IDENTIFIED") {
            return Ok(None);
        }
        if cursor.word("WITH") {
            let plugin = Some(cursor.name_or_string()?);
            let credential = match cursor.one_of(&["BY", "AS"]) {
                Some("BY") => Credential::Password(Secret::new(cursor.string()?)),
                Some(_) => Credential::Hash(Secret::new(cursor.string()?)),
                None => Credential::None,
            };
            return Ok(Some(Self { plugin, credential }));
        }
        cursor.expect_words("BY")?;
        let hashed = cursor.word("PASSWORD");
        let secret = Secret::new(cursor.string()?);
        let credential =
            if hashed { Credential::Hash(secret) } else { Credential::Password(secret) };
        Ok(Some(Self { plugin: None, credential }))
    }
}

impl UserDefinitions {
    /// What follows CREATE USER or ALTER USER.
    pub(super) fn parse(cursor: &mut Cursor<'_>, create: bool) -> Parsing<Self> {
        let conditional = cursor.words(if create { "IF NOT EXISTS" } else { "IF EXISTS" });
        let users = cursor.list(UserDefinition::parse)?;
        let mut definitions =
            Self { conditional, users, require_tls: None, locked: None, limits: Vec::new() };
        if cursor.word("REQUIRE") {
            definitions.require_tls = Some(require(cursor)?);
        }
        if cursor.word("WITH") {
            definitions.limits = limits(cursor)?;
        }
        match cursor.one_of(&["ACCOUNT LOCK", "ACCOUNT UNLOCK"]) {
            Some(words) => definitions.locked = Some(words == "ACCOUNT LOCK"),
            None => refuse_options(cursor)?,
        }
        Ok(definitions)
    }
}

fn refuse_options(cursor: &Cursor<'_>) -> Parsing<()> {
    const OPTIONS: [&str; 7] = [
        "PASSWORD",
        "DEFAULT ROLE",
        "FAILED_LOGIN_ATTEMPTS",
        "PASSWORD_LOCK_TIME",
        "COMMENT",
        "ATTRIBUTE",
        "ACCOUNT",
    ];
    match OPTIONS.iter().find(|option| cursor.are_words(option)) {
        Some(option) => Err(ParseError::unsupported(format!("{option} of users"))),
        None => Ok(()),
    }
}

/// What follows REQUIRE: whether TLS is needed.
fn require(cursor: &mut Cursor<'_>) -> Parsing<bool> {
    match cursor.one_of(&["NONE", "SSL"]) {
        Some(word) => Ok(word == "SSL"),
        None if ["X509", "ISSUER", "SUBJECT", "CIPHER"].iter().any(|word| cursor.is_word(word)) => {
            Err(ParseError::unsupported("REQUIRE of a certificate"))
        }
        None => Err(cursor.unexpected()),
    }
}

fn limits(cursor: &mut Cursor<'_>) -> Parsing<Vec<(String, u64)>> {
    const LIMITS: &[&str] = &[
        "MAX_QUERIES_PER_HOUR",
        "MAX_UPDATES_PER_HOUR",
        "MAX_CONNECTIONS_PER_HOUR",
        "MAX_USER_CONNECTIONS",
    ];
    let mut limits = Vec::new();
    while let Some(limit) = cursor.one_of(LIMITS) {
        limits.push((limit.to_owned(), cursor.number()?));
    }
    if limits.is_empty() { Err(cursor.unexpected()) } else { Ok(limits) }
}

/// `DROP USER [IF EXISTS] …`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DropUsers {
    /// Whether it is no error that there is none.
    pub if_exists: bool,
    /// Who.
    pub users: Vec<User>,
}

impl DropUsers {
    pub(super) fn parse(cursor: &mut Cursor<'_>) -> Parsing<Self> {
        Ok(Self { if_exists: cursor.words("IF EXISTS"), users: cursor.list(User::parse)? })
    }
}

/// `RENAME USER a TO b, …`.
pub(super) fn rename(cursor: &mut Cursor<'_>) -> Parsing<Vec<(Account, Account)>> {
    cursor.list(|cursor| {
        let from = Account::parse(cursor)?;
        cursor.expect_words("TO")?;
        Ok((from, Account::parse(cursor)?))
    })
}

/// On what a privilege is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Level {
    /// `*.*`.
    Global,
    /// `*`: the database in use.
    CurrentDatabase,
    /// `db.*`.
    Database(String),
    /// `t` or `db.t`.
    Table(TableName),
}

impl Level {
    fn parse(cursor: &mut Cursor<'_>) -> Parsing<Self> {
        let _optional = cursor.word("TABLE");
        if let Some(kind) = cursor.one_of(&["FUNCTION", "PROCEDURE"]) {
            return Err(ParseError::unsupported(format!("privileges ON {kind}")));
        }
        if cursor.symbol(&Token::Mul) {
            if !cursor.symbol(&Token::Period) {
                return Ok(Self::CurrentDatabase);
            }
            cursor.expect(&Token::Mul)?;
            return Ok(Self::Global);
        }
        let first = cursor.name()?;
        if !cursor.symbol(&Token::Period) {
            return Ok(Self::Table(TableName { database: None, table: first }));
        }
        if cursor.symbol(&Token::Mul) {
            return Ok(Self::Database(first));
        }
        Ok(Self::Table(TableName { database: Some(first), table: cursor.name()? }))
    }
}

/// A privilege, perhaps on some columns only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Privilege {
    /// Its name in capitals: `SELECT`, `CREATE TEMPORARY TABLES`, `ALL`.
    pub name: &'static str,
    /// On which columns; on all if empty.
    pub columns: Vec<String>,
}

/// Longer names first, so that `CREATE USER` is not taken for `CREATE`.
const PRIVILEGES: &[&str] = &[
    "ALL PRIVILEGES",
    "ALL",
    "ALTER ROUTINE",
    "ALTER VIEW",
    "ALTER",
    "BACKUP",
    "CLUSTER",
    "CREATE DATABASE",
    "CREATE ROUTINE",
    "CREATE TABLESPACE",
    "CREATE TEMPORARY TABLES",
    "CREATE USER",
    "CREATE VIEW",
    "CREATE",
    "DELETE",
    "DROP DATABASE",
    "DROP VIEW",
    "DROP",
    "EVENT",
    "EXECUTE",
    "FILE READ",
    "FILE WRITE",
    "FILE",
    "GRANT OPTION",
    "INDEX",
    "INSERT",
    "LOCK TABLES",
    "PROCESS",
    "REFERENCES",
    "RELOAD",
    "REPLICATION CLIENT",
    "REPLICATION SLAVE",
    "REPLICATION",
    "SELECT",
    "SHOW DATABASES",
    "SHOW METADATA",
    "SHOW VIEW",
    "SHUTDOWN",
    "SUPER",
    "TRIGGER",
    "UPDATE",
    "USAGE",
];

impl Privilege {
    fn parse(cursor: &mut Cursor<'_>) -> Parsing<Self> {
        let found = cursor.one_of(PRIVILEGES).ok_or_else(|| cursor.unexpected())?;
        let name = if found == "ALL PRIVILEGES" { "ALL" } else { found };
        let with_columns = ["SELECT", "INSERT", "UPDATE", "REFERENCES"].contains(&name);
        let columns = match cursor.peek() {
            Token::LParen if with_columns => cursor.in_parentheses(Cursor::name)?,
            _ => Vec::new(),
        };
        Ok(Self { name, columns })
    }
}

/// `GRANT privileges ON level TO users …`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// What is granted.
    pub privileges: Vec<Privilege>,
    /// On what.
    pub level: Level,
    /// To whom. MySQL 5.7 and SingleStore let a grant also make users and set passwords.
    pub users: Vec<UserDefinition>,
    /// `REQUIRE …`, if anything is said about it.
    pub require_tls: Option<bool>,
    /// `WITH GRANT OPTION`.
    pub grant_option: bool,
}

impl Grant {
    pub(super) fn parse(cursor: &mut Cursor<'_>) -> Parsing<Self> {
        refuse_roles(cursor)?;
        let privileges = cursor.list(Privilege::parse)?;
        cursor.expect_words("ON")?;
        let level = Level::parse(cursor)?;
        cursor.expect_words("TO")?;
        let users = cursor.list(UserDefinition::parse)?;
        let require_tls = if cursor.word("REQUIRE") { Some(require(cursor)?) } else { None };
        let grant_option = cursor.words("WITH GRANT OPTION");
        Ok(Self { privileges, level, users, require_tls, grant_option })
    }
}

/// `REVOKE privileges ON level FROM users`, `REVOKE ALL, GRANT OPTION FROM users`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revoke {
    /// What is taken away.
    pub privileges: Vec<Privilege>,
    /// On what; on everything if not given.
    pub level: Option<Level>,
    /// From whom.
    pub users: Vec<User>,
}

impl Revoke {
    pub(super) fn parse(cursor: &mut Cursor<'_>) -> Parsing<Self> {
        refuse_roles(cursor)?;
        let privileges = cursor.list(Privilege::parse)?;
        let level = if cursor.word("ON") { Some(Level::parse(cursor)?) } else { None };
        let names: Vec<_> = privileges.iter().map(|privilege| privilege.name).collect();
        if level.is_none() && names != ["ALL", "GRANT OPTION"] {
            return Err(cursor.unexpected());
        }
        cursor.expect_words("FROM")?;
        Ok(Self { privileges, level, users: cursor.list(User::parse)? })
    }
}

fn refuse_roles(cursor: &Cursor<'_>) -> Parsing<()> {
    if cursor.is_word("PROXY") {
        return Err(ParseError::unsupported("GRANT PROXY"));
    }
    if cursor.is_word("ROLE") || cursor.is_word("GROUP") {
        return Err(ParseError::unsupported("roles and groups"));
    }
    Ok(())
}
