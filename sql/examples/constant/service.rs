//! A server without data: it answers what clients ask at their start, and a few made-up statements
//! that show everything the protocol can carry. The tests and the measurements of the protocol run
//! against it.
//!
//! | statement | answer |
//! |---|---|
//! | `SELECT c FROM …` | a row as sysbench has them |
//! | `SELECT ?, …` | the parameters |
//! | `SELECT 7`, `SELECT 'x'`, `SELECT @@name, …` | a row |
//! | `types` | a row of every type |
//! | `rows N`, `wide N` | N rows; a row of N bytes |
//! | `error N` | error number N |
//! | `sleep` | nothing, until it is interrupted |
//! | `begin`, `commit`, `whoami`, `kill N`, `warn N` | what they say |
//! | `LOAD DATA LOCAL INFILE 'name' …` | number of bytes that came |

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use resprout_sql::error::{Code, SqlError, utf8};
use resprout_sql::protocol::auth::Secret;
use resprout_sql::protocol::column::{Column, ColumnFlags, Columns, WireType};
use resprout_sql::protocol::flags::Status;
use resprout_sql::protocol::handshake::Login;
use resprout_sql::protocol::resultset::Completion;
use resprout_sql::protocol::session::Identity;
use resprout_sql::protocol::value::{Date, DateTime, Time, Value};
use resprout_sql::server::{
    Account, Connections, Interrupt, Kill, Opening, Preparation, ResultWriter, Service, Session,
};

/// What a row of sysbench has in its column `c`.
const C: &str = "68487932199-96439406143-93774651418-41631865787-96406072701-20604855487-\
    25459966574-28203206787-41238978918-19503783441";

/// The accounts: `root` without a password, the others with the password `secret`.
pub(crate) const ACCOUNTS: [(&str, Kind); 6] = [
    ("root", Kind::Empty),
    ("sha2", Kind::Sha2),
    ("native", Kind::Native),
    ("both", Kind::Both),
    ("salted", Kind::Salted),
    ("tls", Kind::TlsOnly),
];

/// How an account logs in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Without a password.
    Empty,
    /// `caching_sha2_password`.
    Sha2,
    /// `mysql_native_password`.
    Native,
    /// Either.
    Both,
    /// By the password itself.
    Salted,
    /// Over TLS only.
    TlsOnly,
}

/// The service.
#[derive(Debug)]
pub(crate) struct Constant {
    connections: Arc<Connections>,
    /// Logins that were refused.
    pub(crate) denied: Arc<AtomicU64>,
}

impl Constant {
    /// With the connections of its server.
    #[must_use]
    pub(crate) fn new(connections: Arc<Connections>) -> Self {
        Self { connections, denied: Arc::default() }
    }
}

impl Service for Constant {
    type Session = Client;

    async fn account(&self, login: &Login, _peer: SocketAddr) -> Option<Account> {
        let (_, kind) = *ACCOUNTS.iter().find(|(name, _)| *name == login.user)?;
        let secret = match kind {
            Kind::Empty => Secret::Empty,
            Kind::Sha2 | Kind::TlsOnly => Secret::sha2_of("secret"),
            Kind::Native => Secret::native_of("secret"),
            Kind::Both => Secret::of("secret"),
            Kind::Salted => Secret::Salted,
        };
        let identity = Identity { secret, require_tls: kind == Kind::TlsOnly };
        Some(Account { identity, is_administrator: login.user == "root", number: 0 })
    }

    async fn is_password(
        &self,
        _login: &Login,
        _account: Option<&Account>,
        password: &[u8],
    ) -> bool {
        password == b"secret"
    }

    async fn open(&self, opening: Opening) -> Result<Client, SqlError> {
        if let Some(name) = &opening.login.database {
            check_database(name)?;
        }
        Ok(Client {
            connections: self.connections.clone(),
            opening,
            sbtest: Columns::new(vec![Column::new("c", WireType::String).of_table("d", "sbtest1")]),
            in_transaction: false,
        })
    }

    async fn denied(&self, _login: &Login, _peer: SocketAddr) {
        self.denied.fetch_add(1, Ordering::Relaxed);
    }

    fn statistics(&self) -> String {
        format!("Threads: {}", self.connections.sessions())
    }
}

fn check_database(name: &str) -> Result<(), SqlError> {
    if name == "nowhere" {
        return Err(SqlError::new(Code::BAD_DB, format!("Unknown database '{name}'")));
    }
    Ok(())
}

/// A session.
#[derive(Debug)]
pub(crate) struct Client {
    connections: Arc<Connections>,
    opening: Opening,
    sbtest: Columns,
    in_transaction: bool,
}

/// A prepared statement: its text and what it gives.
#[derive(Debug)]
pub(crate) struct Statement {
    text: String,
    parameters: usize,
}

impl Session for Client {
    type Statement = Statement;

    async fn query(&mut self, text: &[u8], out: &mut ResultWriter<'_>) -> Result<(), SqlError> {
        let text = utf8(text)?;
        // As simple as it looks: no literal here has a semicolon in it.
        let many = text.split(';').map(str::trim).filter(|one| !one.is_empty());
        if many.clone().nth(1).is_some() && !out.multi_statements() {
            let text = format!("only one statement is allowed, near '{text}' at line 1");
            return Err(SqlError::new(Code::PARSE_ERROR, text));
        }
        for one in many {
            self.statement(one, &[], out).await?;
        }
        Ok(())
    }

    async fn prepare(&mut self, text: &[u8]) -> Result<Preparation<Statement>, SqlError> {
        let text = utf8(text)?.to_owned();
        let parameters = text.matches('?').count();
        let columns = if text.starts_with("SELECT c FROM") {
            self.sbtest.clone()
        } else if text == "types" {
            Columns::new(type_columns())
        } else if is_word(&text, "select") {
            let echoed = (0..parameters).map(|n| Column::new(n.to_string(), WireType::VarString));
            Columns::new(echoed.collect())
        } else {
            Columns::default()
        };
        Ok(Preparation::new(Statement { text, parameters }, parameters, columns))
    }

    async fn execute(
        &mut self,
        statement: &mut Statement,
        values: &[Value<'_>],
        out: &mut ResultWriter<'_>,
    ) -> Result<(), SqlError> {
        assert_eq!(statement.parameters, values.len(), "the protocol counts parameters");
        self.statement(&statement.text, values, out).await
    }

    async fn use_database(&mut self, name: &str) -> Result<(), SqlError> {
        check_database(name)?;
        self.opening.login.database = Some(name.to_owned());
        Ok(())
    }

    async fn reset(&mut self) -> Result<(), SqlError> {
        self.in_transaction = false;
        Ok(())
    }

    async fn kill(&mut self, number: u32) -> Result<(), SqlError> {
        if self.connections.kill(number, Kill::Connection) {
            return Ok(());
        }
        Err(SqlError::new(Code::NO_SUCH_THREAD, format!("Unknown thread id: {number}")))
    }

    async fn field_list(&mut self, _table: &str, _pattern: &str) -> Result<Vec<Column>, SqlError> {
        Ok(self.sbtest.columns().to_vec())
    }
}

impl Client {
    async fn statement(
        &mut self,
        text: &str,
        values: &[Value<'_>],
        out: &mut ResultWriter<'_>,
    ) -> Result<(), SqlError> {
        if text.starts_with("SELECT c FROM") {
            return one_row(out, &self.sbtest, &[Value::from(C)]).await;
        }
        let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
        match &*word.to_ascii_lowercase() {
            "select" if !values.is_empty() => echo(values, out).await,
            "select" => self.select(rest, out).await,
            "types" => {
                let columns = Columns::new(type_columns());
                one_row(out, &columns, &type_values()).await
            }
            "rows" => rows(number(rest)?, out).await,
            "wide" => {
                let wide = "w".repeat(number(rest)? as usize);
                let columns = Columns::new(vec![Column::new("wide", WireType::LongBlob)]);
                one_row(out, &columns, &[Value::from(&*wide)]).await
            }
            "error" => Err(made_up_error(number(rest)?)),
            "sleep" => sleep(&self.opening.interrupt).await,
            "begin" | "commit" | "rollback" => {
                self.in_transaction = word.eq_ignore_ascii_case("begin");
                out.set_status(Status::default().with(Status::IN_TRANSACTION, self.in_transaction));
                out.ok(Completion::default()).await
            }
            "warn" => {
                let warnings = number(rest)? as u16;
                out.ok(Completion { warnings, ..Completion::default() }).await
            }
            "insert" => {
                let info = "Records: 3  Duplicates: 0  Warnings: 0".into();
                let done = Completion { affected_rows: 3, last_insert_id: 7, warnings: 0, info };
                out.ok(done).await
            }
            "kill" => {
                self.kill(number(rest)? as u32).await?;
                out.ok(Completion::default()).await
            }
            "whoami" => {
                let found = self.opening.login.user.clone();
                one_row(out, &text_column("user"), &[Value::from(&*found)]).await
            }
            "load" => load(rest, out).await,
            "set" | "use" | "create" | "drop" => out.ok(Completion::default()).await,
            "show" => out.rows(&text_column("name")).await.map(|rows| rows.end(0)),
            _ => {
                let text = format!("unknown statement near '{text}' at line 1");
                Err(SqlError::new(Code::PARSE_ERROR, text))
            }
        }
    }

    /// A row of plain expressions, as clients ask at their start.
    async fn select(&self, list: &str, out: &mut ResultWriter<'_>) -> Result<(), SqlError> {
        let list = list.split(" LIMIT ").next().unwrap_or(list);
        let expressions: Vec<_> = list.split(',').map(str::trim).collect();
        let mut columns = Vec::new();
        let mut values = Vec::new();
        for expression in &expressions {
            let lower = expression.to_ascii_lowercase();
            let name = lower.trim_start_matches("@@").trim_start_matches("session.");
            let (wire_type, value) = match name {
                "max_allowed_packet" => (WireType::LongLong, "104857600".to_owned()),
                "wait_timeout" => (WireType::LongLong, "28800".to_owned()),
                "autocommit" => (WireType::LongLong, "1".to_owned()),
                "connection_id()" => (WireType::LongLong, self.opening.number.to_string()),
                "database()" => {
                    let name = self.opening.login.database.clone();
                    (WireType::VarString, name.unwrap_or_default())
                }
                _ if name.parse::<i64>().is_ok() => (WireType::LongLong, name.to_owned()),
                _ => (WireType::VarString, expression.trim_matches('\'').to_owned()),
            };
            columns.push(Column::new(*expression, wire_type));
            values.push(value);
        }
        let values: Vec<_> = values.iter().map(|value| Value::from(&**value)).collect();
        one_row(out, &Columns::new(columns), &values).await
    }
}

fn is_word(text: &str, word: &str) -> bool {
    text.get(..word.len()).is_some_and(|front| front.eq_ignore_ascii_case(word))
}

fn number(text: &str) -> Result<u64, SqlError> {
    let parsed = text.trim().parse();
    parsed.map_err(|_| SqlError::new(Code::PARSE_ERROR, format!("a number, not near '{text}'")))
}

fn made_up_error(number: u64) -> SqlError {
    let text = match number {
        1777 => "Partition test:3 has no master instance.",
        _ => "an error that was asked for",
    };
    SqlError::new(Code(number as u16), text)
}

async fn sleep(interrupt: &Interrupt) -> Result<(), SqlError> {
    Err(interrupt.fired().await.error())
}

fn text_column(name: &str) -> Columns {
    Columns::new(vec![Column::new(name, WireType::VarString)])
}

async fn one_row(
    out: &mut ResultWriter<'_>,
    columns: &Columns,
    values: &[Value<'_>],
) -> Result<(), SqlError> {
    let mut rows = out.rows(columns).await?;
    rows.put(values)?;
    rows.end(0);
    Ok(())
}

async fn rows(count: u64, out: &mut ResultWriter<'_>) -> Result<(), SqlError> {
    let columns = Columns::new(vec![
        Column::new("id", WireType::LongLong),
        Column::new("c", WireType::VarString),
    ]);
    let mut rows = out.rows(&columns).await?;
    for id in 0..count {
        rows.put(&[Value::UInt(id), Value::from(C)])?;
        rows.ready().await?;
    }
    rows.end(0);
    Ok(())
}

async fn echo(values: &[Value<'_>], out: &mut ResultWriter<'_>) -> Result<(), SqlError> {
    let column = |(number, value): (usize, &Value<'_>)| {
        let (wire_type, flags) = match value {
            Value::Null => (WireType::Null, ColumnFlags::default()),
            Value::Int(_) => (WireType::LongLong, ColumnFlags::default()),
            Value::UInt(_) => (WireType::LongLong, ColumnFlags::UNSIGNED),
            Value::Float(_) => (WireType::Float, ColumnFlags::default()),
            Value::Double(_) => (WireType::Double, ColumnFlags::default()),
            Value::Bytes(_) => (WireType::Blob, ColumnFlags::default()),
            Value::Date(_) => (WireType::Date, ColumnFlags::default()),
            Value::DateTime(_) => (WireType::DateTime, ColumnFlags::default()),
            Value::Time(_) => (WireType::Time, ColumnFlags::default()),
        };
        Column { decimals: 6, ..Column::new(number.to_string(), wire_type).with_flags(flags) }
    };
    let columns = Columns::new(values.iter().enumerate().map(column).collect());
    one_row(out, &columns, values).await
}

fn type_columns() -> Vec<Column> {
    let fraction = |mut column: Column| {
        column.decimals = 6;
        column
    };
    vec![
        Column::new("tiny", WireType::Tiny),
        Column::new("small", WireType::Short).with_flags(ColumnFlags::UNSIGNED),
        Column::new("medium", WireType::Int24),
        Column::new("int", WireType::Long),
        Column::new("big", WireType::LongLong).with_flags(ColumnFlags::UNSIGNED),
        Column::new("float", WireType::Float),
        Column::new("double", WireType::Double),
        Column { decimals: 2, ..Column::new("decimal", WireType::NewDecimal) },
        Column::new("date", WireType::Date),
        fraction(Column::new("time", WireType::Time)),
        fraction(Column::new("datetime", WireType::DateTime)),
        Column::new("timestamp", WireType::Timestamp),
        Column::new("year", WireType::Year),
        Column::new("text", WireType::VarString),
        Column::new("blob", WireType::Blob),
        Column::new("json", WireType::Json),
        Column::new("null", WireType::Long),
    ]
}

fn type_values() -> Vec<Value<'static>> {
    let date = Date { year: 2024, month: 2, day: 29 };
    let time = Time { negative: true, hours: 49, minute: 2, second: 3, microsecond: 500_000 };
    let moment = DateTime { date, hour: 1, minute: 2, second: 3, microsecond: 45_000 };
    vec![
        Value::Int(-128),
        Value::UInt(65_535),
        Value::Int(-8_388_608),
        Value::Int(i32::MIN.into()),
        Value::UInt(u64::MAX),
        Value::Float(0.5),
        Value::Double(-2.5e-20),
        Value::from("12345678901234567890.12"),
        Value::Date(date),
        Value::Time(time),
        Value::DateTime(moment),
        Value::DateTime(DateTime { microsecond: 0, ..moment }),
        Value::Int(2024),
        Value::from("grün"),
        Value::Bytes(&[0, 255, 10]),
        Value::from("{\"a\": 1}"),
        Value::Null,
    ]
}

async fn load(rest: &str, out: &mut ResultWriter<'_>) -> Result<(), SqlError> {
    let name = rest.split('\'').nth(1).unwrap_or_default().to_owned();
    let mut file = out.file(&name).await?;
    let mut bytes = 0;
    while let Some(piece) = file.next().await? {
        bytes += piece.len() as u64;
        if name == "refused" {
            return Err(SqlError::new(Code::DATA_TRUNCATED, "the first piece was enough"));
        }
    }
    out.ok(Completion::rows(bytes)).await
}
