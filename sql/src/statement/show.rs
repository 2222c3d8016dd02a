//! SHOW and DESCRIBE.

use sqlparser::ast::Expr;
use sqlparser::tokenizer::Token;

use super::cursor::{Cursor, Parsing};
use super::error::ParseError;
use super::name::{TableName, User};
use super::set::Scope;
use super::tree::Sql;

/// Which rows of a SHOW.
#[derive(Clone, Debug, PartialEq)]
pub enum Filter {
    /// `LIKE 'pattern'`, on the first column.
    Like(String),
    /// `WHERE condition`, on the columns of the result.
    Where(Sql<Box<Expr>>),
}

/// `SHOW …`.
#[derive(Clone, Debug, PartialEq)]
pub enum Show {
    /// `SHOW LEAVES`.
    Leaves,
    /// `SHOW AGGREGATORS [EXTENDED]`.
    Aggregators {
        /// With more columns.
        extended: bool,
    },
    /// `SHOW PARTITIONS [EXTENDED] [ON db]`.
    Partitions {
        /// With more columns.
        extended: bool,
        /// The database, else the one in use.
        database: Option<String>,
    },
    /// `SHOW REBALANCE STATUS ON db`.
    RebalanceStatus {
        /// The database.
        database: String,
    },
    /// `SHOW REBALANCE ALL DATABASES STATUS`.
    RebalanceAllDatabasesStatus,
    /// `SHOW CLUSTER STATUS`.
    ClusterStatus,
    /// `SHOW REPLICATION STATUS`.
    ReplicationStatus,
    /// `SHOW DATABASES [EXTENDED] [LIKE … | WHERE …]`.
    Databases {
        /// With more columns.
        extended: bool,
        /// Which ones.
        filter: Option<Filter>,
    },
    /// `[USING db] SHOW DATABASE STATUS`.
    DatabaseStatus {
        /// The database, else the one in use.
        database: Option<String>,
    },
    /// `SHOW [FULL] TABLES [FROM db] [LIKE … | WHERE …]`.
    Tables {
        /// With their kind.
        full: bool,
        /// The database, else the one in use.
        database: Option<String>,
        /// Which ones.
        filter: Option<Filter>,
    },
    /// `SHOW TABLE STATUS [FROM db] [LIKE … | WHERE …]`.
    TableStatus {
        /// The database, else the one in use.
        database: Option<String>,
        /// Which ones.
        filter: Option<Filter>,
    },
    /// `SHOW [FULL] COLUMNS FROM t [FROM db] …`, `DESCRIBE t [column]`.
    Columns {
        /// With collation, privileges and comment.
        full: bool,
        /// The table.
        table: TableName,
        /// Which ones.
        filter: Option<Filter>,
    },
    /// `SHOW {INDEX | KEYS} FROM t [FROM db] [WHERE …]`.
    Index {
        /// The table.
        table: TableName,
        /// Which ones.
        filter: Option<Filter>,
    },
    /// `SHOW CREATE TABLE t`.
    CreateTable(TableName),
    /// `SHOW CREATE DATABASE [IF NOT EXISTS] db`.
    CreateDatabase {
        /// Whether the answer says IF NOT EXISTS.
        if_not_exists: bool,
        /// The database.
        name: String,
    },
    /// `SHOW CREATE USER [user]`.
    CreateUser(User),
    /// `SHOW [GLOBAL | SESSION] VARIABLES [LIKE … | WHERE …]`.
    Variables {
        /// Whose.
        scope: Scope,
        /// Which ones.
        filter: Option<Filter>,
    },
    /// `SHOW [GLOBAL | SESSION] STATUS [LIKE … | WHERE …]`.
    Status {
        /// Whose.
        scope: Scope,
        /// Which ones.
        filter: Option<Filter>,
    },
    /// `SHOW [FULL] PROCESSLIST`.
    Processlist {
        /// With whole statements.
        full: bool,
    },
    /// `SHOW WARNINGS [LIMIT [offset,] n]`.
    Warnings(Option<Window>),
    /// `SHOW ERRORS [LIMIT [offset,] n]`.
    Errors(Option<Window>),
    /// `SHOW COUNT(*) {WARNINGS | ERRORS}`.
    Count {
        /// Of errors only.
        errors: bool,
    },
    /// `SHOW GRANTS [FOR user]`.
    Grants(User),
    /// `SHOW CHARACTER SET …`.
    CharacterSet(Option<Filter>),
    /// `SHOW COLLATION …`.
    Collation(Option<Filter>),
    /// `SHOW [STORAGE] ENGINES`.
    Engines,
    /// `SHOW PLUGINS`.
    Plugins,
    /// `SHOW PRIVILEGES`.
    Privileges,
    /// What this server never has, so that the answer has no rows.
    Absent {
        /// Of what.
        what: Absent,
        /// Which ones.
        filter: Option<Filter>,
    },
}

/// Things of MySQL that this server does not have, but that clients and dump tools ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Absent {
    /// `SHOW TRIGGERS`.
    Triggers,
    /// `SHOW EVENTS`.
    Events,
    /// `SHOW FUNCTION STATUS`.
    Functions,
    /// `SHOW PROCEDURE STATUS`.
    Procedures,
    /// `SHOW OPEN TABLES`.
    OpenTables,
    /// `SHOW {MASTER | BINARY LOG} STATUS`.
    BinaryLog,
    /// `SHOW {SLAVE | REPLICA} STATUS`.
    Replica,
}

/// `LIMIT [offset,] rows`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Rows passed over.
    pub offset: u64,
    /// Rows at most.
    pub rows: u64,
}

fn window(cursor: &mut Cursor<'_>) -> Parsing<Option<Window>> {
    if !cursor.word("LIMIT") {
        return Ok(None);
    }
    let first = cursor.number()?;
    Ok(Some(if cursor.symbol(&Token::Comma) {
        Window { offset: first, rows: cursor.number()? }
    } else if cursor.word("OFFSET") {
        Window { offset: cursor.number()?, rows: first }
    } else {
        Window { offset: 0, rows: first }
    }))
}

fn filter(cursor: &mut Cursor<'_>) -> Parsing<Option<Filter>> {
    if cursor.word("LIKE") {
        return Ok(Some(Filter::Like(cursor.string()?)));
    }
    if cursor.word("WHERE") {
        return Ok(Some(Filter::Where(cursor.expression()?)));
    }
    Ok(None)
}

fn from_database(cursor: &mut Cursor<'_>) -> Parsing<Option<String>> {
    match cursor.one_of(&["FROM", "IN"]) {
        Some(_) => cursor.name().map(Some),
        None => Ok(None),
    }
}

/// `FROM t [FROM db]`.
fn from_table(cursor: &mut Cursor<'_>) -> Parsing<TableName> {
    if cursor.one_of(&["FROM", "IN"]).is_none() {
        return Err(cursor.unexpected());
    }
    let mut table = TableName::parse(cursor)?;
    if let Some(database) = from_database(cursor)? {
        table.database = Some(database);
    }
    Ok(table)
}

impl Show {
    /// What follows SHOW.
    pub(super) fn parse(cursor: &mut Cursor<'_>) -> Parsing<Self> {
        if let Some(show) = Self::of_cluster(cursor)? {
            return Ok(show);
        }
        if let Some(show) = Self::of_tables(cursor)? {
            return Ok(show);
        }
        if let Some(show) = Self::of_session(cursor)? {
            return Ok(show);
        }
        if let Some(show) = Self::of_absent(cursor)? {
            return Ok(show);
        }
        match cursor.peek() {
            Token::Word(word) if word.quote_style.is_none() && is_refused(&word.value) => {
                let what = format!("SHOW {}", word.value.to_ascii_uppercase());
                Err(ParseError::unsupported(what))
            }
            _ => Err(cursor.unexpected()),
        }
    }

    fn of_cluster(cursor: &mut Cursor<'_>) -> Parsing<Option<Self>> {
        const STARTS: &[&str] = &[
            "LEAVES",
            "AGGREGATORS",
            "PARTITIONS",
            "REBALANCE STATUS ON",
            "REBALANCE ALL DATABASES STATUS",
            "CLUSTER STATUS",
            "REPLICATION STATUS",
            "DATABASES",
            "SCHEMAS",
            "DATABASE STATUS",
        ];
        let Some(start) = cursor.one_of(STARTS) else { return Ok(None) };
        Ok(Some(match start {
            "LEAVES" => Self::Leaves,
            "AGGREGATORS" => Self::Aggregators { extended: cursor.word("EXTENDED") },
            "PARTITIONS" => {
                let extended = cursor.word("EXTENDED");
                let database = if cursor.word("ON") { Some(cursor.name()?) } else { None };
                Self::Partitions { extended, database }
            }
            "REBALANCE STATUS ON" => Self::RebalanceStatus { database: cursor.name()? },
            "REBALANCE ALL DATABASES STATUS" => Self::RebalanceAllDatabasesStatus,
            "CLUSTER STATUS" => Self::ClusterStatus,
            "REPLICATION STATUS" => Self::ReplicationStatus,
            "DATABASE STATUS" => Self::DatabaseStatus { database: None },
            _ => {
                let extended = cursor.word("EXTENDED");
                Self::Databases { extended, filter: filter(cursor)? }
            }
        }))
    }

    fn of_tables(cursor: &mut Cursor<'_>) -> Parsing<Option<Self>> {
        const STARTS: &[&str] = &[
            "TABLES",
            "EXTENDED FULL TABLES",
            "FULL TABLES",
            "EXTENDED TABLES",
            "TABLE STATUS",
            "COLUMNS",
            "FIELDS",
            "EXTENDED COLUMNS",
            "FULL COLUMNS",
            "FULL FIELDS",
            "INDEX",
            "INDEXES",
            "KEYS",
            "CREATE TABLE",
            "CREATE DATABASE",
            "CREATE SCHEMA",
            "CREATE USER",
        ];
        let Some(start) = cursor.one_of(STARTS) else { return Ok(None) };
        Ok(Some(match start {
            _ if start.ends_with("TABLES") => {
                let (full, database) = (start.contains("FULL"), from_database(cursor)?);
                Self::Tables { full, database, filter: filter(cursor)? }
            }
            "TABLE STATUS" => {
                let database = from_database(cursor)?;
                Self::TableStatus { database, filter: filter(cursor)? }
            }
            _ if start.ends_with("COLUMNS") || start.ends_with("FIELDS") => {
                let (full, table) = (start.contains("FULL"), from_table(cursor)?);
                Self::Columns { full, table, filter: filter(cursor)? }
            }
            "INDEX" | "INDEXES" | "KEYS" => {
                let table = from_table(cursor)?;
                Self::Index { table, filter: filter(cursor)? }
            }
            "CREATE TABLE" => Self::CreateTable(TableName::parse(cursor)?),
            "CREATE USER" if cursor.at_end() => Self::CreateUser(User::Current),
            "CREATE USER" => Self::CreateUser(User::parse(cursor)?),
            _ => {
                let if_not_exists = cursor.words("IF NOT EXISTS");
                Self::CreateDatabase { if_not_exists, name: cursor.name()? }
            }
        }))
    }

    fn of_session(cursor: &mut Cursor<'_>) -> Parsing<Option<Self>> {
        const STARTS: &[&str] = &[
            "GLOBAL VARIABLES",
            "SESSION VARIABLES",
            "LOCAL VARIABLES",
            "VARIABLES",
            "GLOBAL STATUS",
            "SESSION STATUS",
            "LOCAL STATUS",
            "STATUS",
            "PROCESSLIST",
            "FULL PROCESSLIST",
            "WARNINGS",
            "ERRORS",
            "COUNT",
            "GRANTS",
            "CHARACTER SET",
            "CHARSET",
            "COLLATION",
            "STORAGE ENGINES",
            "ENGINES",
            "PLUGINS",
            "PRIVILEGES",
        ];
        let Some(start) = cursor.one_of(STARTS) else { return Ok(None) };
        let scope = if start.starts_with("GLOBAL") { Scope::Global } else { Scope::Session };
        Ok(Some(match start {
            _ if start.ends_with("VARIABLES") => Self::Variables { scope, filter: filter(cursor)? },
            _ if start.ends_with("STATUS") => Self::Status { scope, filter: filter(cursor)? },
            "PROCESSLIST" | "FULL PROCESSLIST" => {
                Self::Processlist { full: start.starts_with("FULL") }
            }
            "WARNINGS" => Self::Warnings(window(cursor)?),
            "ERRORS" => Self::Errors(window(cursor)?),
            "COUNT" => {
                cursor.expect(&Token::LParen)?;
                cursor.expect(&Token::Mul)?;
                cursor.expect(&Token::RParen)?;
                match cursor.one_of(&["WARNINGS", "ERRORS"]) {
                    Some(word) => Self::Count { errors: word == "ERRORS" },
                    None => return Err(cursor.unexpected()),
                }
            }
            "GRANTS" if cursor.word("FOR") => Self::Grants(User::parse(cursor)?),
            "GRANTS" => Self::Grants(User::Current),
            "CHARACTER SET" | "CHARSET" => Self::CharacterSet(filter(cursor)?),
            "COLLATION" => Self::Collation(filter(cursor)?),
            "PLUGINS" => Self::Plugins,
            "PRIVILEGES" => Self::Privileges,
            _ => Self::Engines,
        }))
    }

    fn of_absent(cursor: &mut Cursor<'_>) -> Parsing<Option<Self>> {
        const STARTS: &[&str] = &[
            "FULL TRIGGERS",
            "TRIGGERS",
            "EVENTS",
            "FUNCTION STATUS",
            "PROCEDURE STATUS",
            "OPEN TABLES",
            "MASTER STATUS",
            "BINARY LOG STATUS",
            "SLAVE STATUS",
            "REPLICA STATUS",
        ];
        let Some(start) = cursor.one_of(STARTS) else { return Ok(None) };
        let what = match start {
            "TRIGGERS" | "FULL TRIGGERS" => Absent::Triggers,
            "EVENTS" => Absent::Events,
            "FUNCTION STATUS" => Absent::Functions,
            "PROCEDURE STATUS" => Absent::Procedures,
            "OPEN TABLES" => Absent::OpenTables,
            "SLAVE STATUS" | "REPLICA STATUS" => Absent::Replica,
            _ => Absent::BinaryLog,
        };
        let _whichever = from_database(cursor)?;
        Ok(Some(Self::Absent { what, filter: filter(cursor)? }))
    }

    /// `{DESCRIBE | DESC | EXPLAIN} t [column | 'pattern']`; the verb is read already.
    pub(super) fn describe(cursor: &mut Cursor<'_>) -> Parsing<Self> {
        let table = TableName::parse(cursor)?;
        let filter = if cursor.at_end() { None } else { Some(cursor.name_or_string()?) };
        Ok(Self::Columns { full: false, table, filter: filter.map(Filter::Like) })
    }
}

/// What MySQL or SingleStore can show and this server cannot.
fn is_refused(word: &str) -> bool {
    const WORDS: &[&str] = &[
        "BINARY",
        "BINLOG",
        "CREATE",
        "ENGINE",
        "PIPELINES",
        "PROCEDURES",
        "FUNCTIONS",
        "VIEWS",
        "PROFILE",
        "PROFILES",
        "RELAYLOG",
        "REPLICAS",
        "SLAVE",
        "WORKLOAD",
        "RESOURCE",
        "LINKS",
        "MILESTONES",
        "PROCEDURE",
        "FUNCTION",
        "MASTER",
        "ROLES",
        "GROUPS",
        "PLAN",
        "PLANCACHE",
    ];
    WORDS.iter().any(|refused| refused.eq_ignore_ascii_case(word))
}
