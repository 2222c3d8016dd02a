//! A session's life: commands one after the other, each answered before the next is read.

use std::sync::Arc;

use tokio::time::Instant;

use super::interrupt::Reason;
use super::login::{LoggingIn, Shared};
use super::registry::Present;
use super::results::{ResultWriter, next_of_file};
use super::service::{Service, Session};
use super::wire::{Gone, Wire};
use crate::error::{Code, SqlError, utf8};
use crate::protocol::command::Command;
use crate::protocol::resultset::{Completion, Form, PreparedAnswer};
use crate::protocol::session::Event;
use crate::protocol::statement::Statements;

type StatementOf<S> = <<S as Service>::Session as Session>::Statement;

/// A client that is in.
struct Client<'a, S: Service> {
    shared: &'a Arc<Shared<S>>,
    wire: &'a mut Wire,
    session: S::Session,
    statements: Statements<StatementOf<S>>,
}

/// Serves a client until it goes or is sent away.
pub(super) async fn serve<S: Service>(
    shared: Arc<Shared<S>>,
    mut wire: Wire,
    mut present: Present,
) {
    let gone = run(&shared, &mut wire, &mut present).await;
    let error = match &gone {
        Gone::Interrupted(Reason::Shutdown) => Some(Code::SERVER_SHUTDOWN),
        Gone::Interrupted(_) if wire.connection.is_admitted() => Some(Code::QUERY_INTERRUPTED),
        Gone::Timeout("idle") => Some(Code::IDLE_TIMEOUT),
        Gone::Timeout("receiving") if wire.connection.is_admitted() => {
            Some(Code::NET_READ_INTERRUPTED)
        }
        _ => None,
    };
    tracing::debug!(connection = present.entry.number, %gone, "connection ended");
    if let Some(code) = error {
        wire.connection.refuse(&SqlError::plain(code));
    }
    // Who never got in may be anybody, in any number: nothing is waited for.
    let waits = present.has_slot();
    // The place is free before the last words are read, so that they keep nobody out.
    drop(present);
    if error.is_some() || matches!(gone, Gone::Protocol(_) | Gone::Refused) {
        wire.close(waits).await;
    }
}

/// Never returns well: a connection always ends for a reason.
async fn run<S: Service>(shared: &Arc<Shared<S>>, wire: &mut Wire, present: &mut Present) -> Gone {
    let mut event = None;
    loop {
        let mut session = match LoggingIn::new(shared, wire, present).run(event).await {
            Ok(session) => session,
            Err(gone) => return gone,
        };
        if let Some(times) = session.take_times() {
            wire.set_times(times);
        }
        let statements = Statements::new(wire.options.statement_limits());
        let mut client = Client { shared, wire, session, statements };
        // The session of the user before ends here, with its transaction, whoever comes next.
        event = match client.run().await {
            Ok(login) => Some(login),
            Err(gone) => return gone,
        };
    }
}

impl<S: Service> Client<'_, S> {
    /// Runs commands until another user is to log in.
    async fn run(&mut self) -> Result<Event, Gone> {
        let mut began = None;
        loop {
            // Commands that were sent ahead are not run any more.
            if let Some(reason) = self.wire.entry.interrupt.ending() {
                return Err(Gone::Interrupted(reason));
            }
            match self.wire.connection.next_event()? {
                Some(Event::Command(Command::Quit)) => return Err(Gone::Client),
                Some(Event::Command(command)) => {
                    began = None;
                    self.command(command).await?;
                    if let Some(times) = self.session.take_times() {
                        self.wire.set_times(times);
                    }
                    self.wire.flush().await?;
                    self.wire.connection.restart_frames();
                }
                Some(login) => return Ok(login),
                None if self.wire.connection.is_receiving() => {
                    let began = *began.get_or_insert_with(Instant::now);
                    self.wire.fill(self.wire.read_deadline(began)).await?;
                }
                None => self.wire.fill_idle().await?,
            }
        }
    }

    async fn command(&mut self, command: Command) -> Result<(), Gone> {
        self.wire.entry.interrupt.forget_query();
        let text = match &command {
            Command::Query(text) | Command::Prepare(text) => Some(text.clone()),
            _ => None,
        };
        let running = self.wire.entry.runs(command.name(), text);
        let is_answered = command.is_answered();
        let done = self.run_command(command).await;
        if let Some(gone) = self.wire.broken.take() {
            return Err(gone);
        }
        // An error that the session made of it is for a client that is still there.
        while self.wire.file_open {
            next_of_file(self.wire).await?;
        }
        if let Err(error) = done
            && is_answered
        {
            let (results, out) = self.wire.connection.answers();
            results.error(out, &error);
        }
        self.wire.connection.finish();
        drop(running);
        Ok(())
    }

    async fn run_command(&mut self, command: Command) -> Result<(), SqlError> {
        match command {
            Command::Query(text) => {
                let mut out = ResultWriter { wire: self.wire, form: Form::Text, has_begun: false };
                self.session.query(&text, &mut out).await?;
                self.end_of_results()
            }
            Command::Execute { statement, rest } => self.execute(statement, &rest).await,
            Command::Prepare(text) => self.prepare(&text).await,
            Command::CloseStatement(number) => {
                self.statements.close(number);
                Ok(())
            }
            Command::LongData { statement, parameter, data } => {
                self.statements.long_data(statement, parameter, &data);
                Ok(())
            }
            Command::ResetStatement(number) => {
                self.statements.reset(number)?;
                self.ok()
            }
            Command::Fetch(number) => Err(self.statements.fetch_error(number)),
            Command::InitDb(name) => {
                let name = utf8(&name)?;
                self.session.use_database(name).await?;
                self.wire.entry.database(name);
                self.ok()
            }
            Command::FieldList { table, pattern } => {
                let (table, pattern) = (utf8(&table)?, utf8(&pattern)?);
                let columns = self.session.field_list(table, pattern).await?;
                let (results, out) = self.wire.connection.answers();
                results.field_list(out, &columns);
                Ok(())
            }
            Command::Statistics => {
                let line = self.shared.service.statistics();
                let (_, out) = self.wire.connection.answers();
                out.packet(|payload| payload.extend_from_slice(line.as_bytes()));
                Ok(())
            }
            Command::Kill(number) => {
                self.session.kill(number).await?;
                self.ok()
            }
            Command::Ping => self.ok(),
            Command::ResetConnection => {
                self.session.reset().await?;
                self.statements.clear();
                self.wire.connection.reset();
                self.ok()
            }
            Command::SetMultiStatements(allowed) => {
                self.wire.connection.set_multi_statements(allowed);
                // MySQL answers with an EOF packet, which is an OK where those are gone.
                self.wire.connection.answers().0.end_rows(0);
                Ok(())
            }
            Command::Quit | Command::ChangeUser(_) | Command::Unknown(_) => {
                Err(SqlError::plain(Code::UNKNOWN_COMMAND))
            }
        }
    }

    async fn prepare(&mut self, text: &[u8]) -> Result<(), SqlError> {
        self.statements.check_room()?;
        let made = self.session.prepare(text).await?;
        let number = self.statements.insert(made.statement, made.parameters.len())?;
        let answer = PreparedAnswer {
            number,
            columns: &made.columns,
            parameters: &made.parameters,
            warnings: made.warnings,
        };
        let (results, out) = self.wire.connection.answers();
        results.prepared(out, &answer);
        Ok(())
    }

    async fn execute(&mut self, number: u32, rest: &[u8]) -> Result<(), SqlError> {
        let execution = self.statements.execution(number, rest)?;
        if execution.wants_cursor {
            return Err(SqlError::not_supported("cursors; fetch all rows at once"));
        }
        let mut out = ResultWriter { wire: self.wire, form: Form::Binary, has_begun: false };
        let done = self.session.execute(execution.statement, &execution.values, &mut out).await;
        self.statements.executed(number);
        done?;
        self.end_of_results()
    }

    /// A client must get at least one result, and all of each.
    fn end_of_results(&mut self) -> Result<(), SqlError> {
        let (results, out) = self.wire.connection.answers();
        if results.has_open_rows() {
            return Err(SqlError::new(Code::UNKNOWN_ERROR, "rows were not ended"));
        }
        if !results.has_end() {
            results.ok(out, Completion::default());
        }
        Ok(())
    }

    fn ok(&mut self) -> Result<(), SqlError> {
        let (results, out) = self.wire.connection.answers();
        results.ok(out, Completion::default());
        Ok(())
    }
}
