//! Databases, partitions, sessions and what this server is.

use resprout_engine::PartitionStatus;

use super::listing::{Listing, number, text};
use crate::accounts::{INFORMATION_SCHEMA, Privileges};
use crate::error::SqlError;
use crate::place::{Databases, Listed};
use crate::protocol::column::BINARY;
use crate::protocol::handshake::UTF8MB4;
use crate::session::Client;
use crate::statement::{Absent, Window};
use resprout_engine::table::Value;

/// Bytes of a statement that SHOW PROCESSLIST shows without FULL.
const STATEMENT_SHOWN: usize = 100;

pub(super) fn databases(client: &Client) -> Listing {
    let mut listing = Listing::new(&["Database"]);
    listing.push([text(INFORMATION_SCHEMA)]);
    for database in client.node.databases.databases() {
        if client.access.sees_database(database.name()) {
            listing.push([text(database.name())]);
        }
    }
    listing
}

/// A row for each partition, named `db_n`, with its state and how far it has come back. On an aggregator, a row for each
/// database.
pub(super) fn databases_extended(client: &Client) -> Result<Listing, SqlError> {
    if let Databases::Far(_) = client.node.databases {
        let mut shown = client.node.databases.show(&Listed::DatabasesExtended)?;
        shown.rows.retain(|row| match &row[0] {
            Value::Text(name) => name == INFORMATION_SCHEMA || client.access.sees_database(name),
            _ => false,
        });
        return Ok(Listing::of(shown));
    }
    let mut listing = Listing::new(&[
        "Database",
        "Role",
        "State",
        "Position",
        "Details",
        "AsyncSlaves",
        "SyncSlaves",
        "Term",
        "Memory (MBs)",
    ]);
    for status in client.node.engine.status().partitions {
        if !client.access.sees_database(&status.database) {
            continue;
        }
        let name = format!("{}_{}", status.database, status.ordinal);
        listing.push([
            text(name),
            text("master"),
            text(status.state.to_string().to_lowercase()),
            text(position(&status)),
            text(details(&status)),
            number(0),
            number(0),
            number(status.term.0),
            number(status.memory_bytes >> 20),
        ]);
    }
    Ok(listing)
}

fn position(status: &PartitionStatus) -> String {
    status.committed.to_string()
}

/// Why it is damaged, or how far recovery is.
fn details(status: &PartitionStatus) -> String {
    use resprout_engine::State;
    match (&status.error, status.state) {
        (Some(error), _) => error.clone(),
        (None, State::Recovering) => {
            let progress = &status.progress;
            let percent = progress.fraction() * 100.0;
            let left = progress.eta.map_or("unknown".to_owned(), |eta| format!("{eta:.1?}"));
            format!("{} {percent:.0}%, time left {left}", progress.phase)
        }
        _ => String::new(),
    }
}

/// Own sessions, all of them for whoever has PROCESS.
pub(super) fn processes(client: &Client, full: bool) -> Listing {
    let names = ["Id", "User", "Host", "db", "Command", "Time", "State", "Info"];
    let mut listing = Listing::new(&names);
    let sees_all = client.access.has(Privileges::PROCESS);
    for info in client.node.connections.list() {
        if !sees_all && info.user != client.opening.login.user {
            continue;
        }
        let statement = info.statement.map(|bytes| {
            let statement = without_passwords(&bytes);
            let shown = if full { usize::MAX } else { STATEMENT_SHOWN };
            Value::Text(statement.chars().take(shown).collect())
        });
        let is_running = statement.is_some();
        listing.push([
            number(info.number.into()),
            text(info.user),
            text(info.host),
            info.database.map_or(Value::Null, text),
            text(info.command),
            number(info.time.as_secs()),
            text(if is_running { "executing" } else { "" }),
            statement.unwrap_or(Value::Null),
        ]);
    }
    listing
}

/// A statement as others may see it: one that may hold a password is not shown.
pub(in crate::execute) fn without_passwords(statement: &[u8]) -> String {
    let text = String::from_utf8_lossy(statement);
    let upper = text.to_ascii_uppercase();
    if upper.contains("IDENTIFIED") || upper.contains("PASSWORD") {
        return "(a statement that may hold a password)".to_owned();
    }
    text.into_owned()
}

pub(super) fn status(client: &Client) -> Listing {
    let mut listing = Listing::new(&["Variable_name", "Value"]);
    let node = &client.node;
    let (log, status) = (node.engine.log_counters(), node.engine.status());
    let memory: u64 = status.partitions.iter().map(|partition| partition.memory_bytes).sum();
    let counters = [
        ("Log_bytes_written", log.bytes),
        ("Log_flushes", log.flushes),
        ("Memory_bytes", memory),
        ("Threads_connected", node.connections.sessions() as u64),
        ("Uptime", node.started.elapsed().as_secs()),
    ];
    for (name, count) in counters {
        listing.push([text(name), text(count.to_string())]);
    }
    listing
}

pub(in crate::execute) fn engines() -> Listing {
    let names = ["Engine", "Support", "Comment", "Transactions", "XA", "Savepoints"];
    let mut listing = Listing::new(&names);
    let comment = "Rows in memory, every commit in a log";
    let [engine, support, comment] = [text("Resprout"), text("DEFAULT"), text(comment)];
    listing.push([engine, support, comment, text("YES"), text("NO"), text("YES")]);
    listing
}

pub(in crate::execute) fn plugins() -> Listing {
    let mut listing = Listing::new(&["Name", "Status", "Type", "Library", "License"]);
    for name in ["mysql_native_password", "caching_sha2_password"] {
        let [status, kind] = [text("ACTIVE"), text("AUTHENTICATION")];
        listing.push([text(name), status, kind, Value::Null, text("MIT OR Apache-2.0")]);
    }
    listing
}

pub(in crate::execute) fn character_sets() -> Listing {
    let mut listing = Listing::new(&["Charset", "Description", "Default collation", "Maxlen"]);
    let [binary, utf8] = [text("binary"), text("utf8mb4")];
    listing.push([binary, text("Binary pseudo charset"), text("binary"), number(1)]);
    listing.push([utf8, text("UTF-8 Unicode"), text("utf8mb4_general_ci"), number(4)]);
    listing
}

pub(in crate::execute) fn collations() -> Listing {
    let names = ["Collation", "Charset", "Id", "Default", "Compiled", "Sortlen"];
    let mut listing = Listing::new(&names);
    let known =
        [("binary", "binary", BINARY, "Yes"), ("utf8mb4_general_ci", "utf8mb4", UTF8MB4, "Yes")];
    for (name, charset, id, default) in known {
        let (id, default) = (number(id.into()), text(default));
        listing.push([text(name), text(charset), id, default, text("Yes"), number(1)]);
    }
    listing
}

pub(super) fn warnings(client: &Client, window: Option<Window>) -> Listing {
    let mut listing = errors();
    for warning in &client.state.warnings {
        let code = number(warning.code.into());
        listing.push([text("Warning"), code, text(warning.text.clone())]);
    }
    if let Some(Window { offset, rows }) = window {
        listing.cut(offset, rows);
    }
    listing
}

/// A statement that fails leaves its error with the client; none is kept.
pub(super) fn errors() -> Listing {
    Listing::new(&["Level", "Code", "Message"])
}

pub(super) fn count(client: &Client, errors: bool) -> Listing {
    let what = if errors { "@@session.error_count" } else { "@@session.warning_count" };
    let count = if errors { 0 } else { client.state.warnings.len() as u64 };
    let mut listing = Listing::new(&[what]);
    listing.push([number(count)]);
    listing
}

/// What this server never has.
pub(super) fn absent(what: Absent) -> Listing {
    Listing::new(match what {
        Absent::Triggers => &[
            "Trigger",
            "Event",
            "Table",
            "Statement",
            "Timing",
            "Created",
            "sql_mode",
            "Definer",
            "character_set_client",
            "collation_connection",
            "Database Collation",
        ],
        Absent::Events => &["Db", "Name", "Definer", "Time zone", "Type", "Status"],
        Absent::Functions | Absent::Procedures => {
            &["Db", "Name", "Type", "Definer", "Modified", "Created", "Security_type", "Comment"]
        }
        Absent::OpenTables => &["Database", "Table", "In_use", "Name_locked"],
        Absent::BinaryLog => &["File", "Position", "Binlog_Do_DB", "Binlog_Ignore_DB"],
        Absent::Replica => &["Replica_IO_State", "Source_Host", "Source_User", "Source_Port"],
    })
}
