//! A prompt for those who have no MySQL client at hand. A client like any other.

use std::io::IsTerminal;
use std::time::Instant;

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Error, Row};
use resprout_tools::failure::Failure;
use resprout_tools::output;
use rustyline::DefaultEditor;
use rustyline::error::ReadlineError;

use super::table;

const PROMPT: &str = "demo> ";
const PROMPT_INSIDE: &str = "    > ";

/// Most rows that are shown of one result.
const ROWS_SHOWN: usize = 1000;

/// Whether somebody sits there.
pub(super) fn is_possible() -> bool {
    std::io::stdin().is_terminal() && std::io::stdout().is_terminal()
}

/// Reads statements and shows results until the end of the input.
///
/// # Errors
/// If the terminal cannot be used, or the connection is lost.
pub(super) async fn run(mut conn: Conn) -> Result<(), Failure> {
    let cannot = |error: ReadlineError| {
        Failure::new("cannot read from the terminal", error, "use --no-shell and a MySQL client")
    };
    let mut editor = DefaultEditor::new().map_err(cannot)?;
    let mut statement = String::new();
    loop {
        let prompt = if statement.is_empty() { PROMPT } else { PROMPT_INSIDE };
        let reading = tokio::task::spawn_blocking(move || {
            let read = editor.readline(prompt);
            (editor, read)
        });
        let (back, read) = reading.await.unwrap_or_else(|panic| {
            std::panic::resume_unwind(panic.into_panic());
        });
        editor = back;
        let line = match read {
            Ok(line) => line,
            Err(ReadlineError::Interrupted) => {
                statement.clear();
                continue;
            }
            Err(ReadlineError::Eof) => return Ok(()),
            Err(error) => return Err(cannot(error)),
        };
        if statement.is_empty()
            && matches!(line.trim(), "exit" | "quit" | "\\q" | "exit;" | "quit;")
        {
            return Ok(());
        }
        if statement.is_empty() && line.trim().is_empty() {
            continue;
        }
        statement.push_str(&line);
        if !line.trim_end().ends_with(';') {
            statement.push('\n');
            continue;
        }
        let whole = std::mem::take(&mut statement);
        // A line that cannot be remembered can still be run.
        let _ = editor.add_history_entry(&whole);
        show(&mut conn, &whole).await?;
    }
}

/// Runs a statement and shows what comes. Whether it was carried out.
///
/// # Errors
/// If the connection is lost.
pub(super) async fn show(conn: &mut Conn, statement: &str) -> Result<bool, Failure> {
    let lost = |error: Error| Failure::new("the connection is lost", error, "start it again");
    let began = Instant::now();
    let mut result = match conn.query_iter(statement).await {
        Ok(result) => result,
        Err(Error::Server(error)) => {
            output::line(format_args!("ERROR {} ({}): {}", error.code, error.state, error.message));
            return Ok(false);
        }
        Err(error) => return Err(lost(error)),
    };
    loop {
        let columns = result.columns().unwrap_or_default();
        if columns.is_empty() {
            let took = began.elapsed().as_secs_f64();
            output::line(format_args!(
                "OK, {} rows affected ({took:.3} s)",
                result.affected_rows()
            ));
        } else {
            let rows: Vec<Row> = match result.collect().await {
                Ok(rows) => rows,
                Err(Error::Server(error)) => {
                    output::line(format_args!("ERROR {}: {}", error.code, error.message));
                    return Ok(false);
                }
                Err(error) => return Err(lost(error)),
            };
            let took = began.elapsed().as_secs_f64();
            table::print(&columns, &rows[..rows.len().min(ROWS_SHOWN)]);
            let more = if rows.len() > ROWS_SHOWN { ", the first 1000 shown" } else { "" };
            output::line(format_args!("{} rows{more} ({took:.3} s)", rows.len()));
        }
        output::line("");
        if result.is_empty() {
            return Ok(true);
        }
    }
}
