//! A client's session: statements come in, one after the other, and are sent to who runs them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use resprout_engine::table::Value;

use super::service::Node;
use super::state::State;
use super::transaction::{Open, Wait};
use super::waiting::Waiter;
use crate::accounts::{Access, AccountChange, Requirement, Seat, is_information_schema, required};
use crate::error::{Code, SqlError};
use crate::execute;
use crate::place::{Database, Transaction};
use crate::protocol::column::{Column, Columns};
use crate::protocol::flags::Capabilities;
use crate::protocol::resultset::Completion;
use crate::protocol::value::Value as WireValue;
use crate::server::{Opening, Preparation, ResultWriter, Session, Times};
use crate::statement::{
    Afterwards, ClusterStatement, Explain, Explained, Parsed, Secret, Statement, Statements,
    TableName, TransactionStatement, User, parse,
};
use crate::variables::{execution_time, lock_wait, times};

/// A client's session. Dropping it rolls back.
#[derive(Debug)]
pub struct Client {
    pub(crate) node: Arc<Node>,
    pub(crate) opening: Opening,
    pub(crate) access: Access,
    pub(crate) state: State,
    pub(crate) open: Open,
    pub(crate) savepoints: Vec<(String, super::transaction::Mark)>,
    /// System variables were set that the connection has to heed.
    times_changed: bool,
    /// Its place among the sessions of its account.
    _seat: Seat,
}

/// A statement that was prepared. Its plan is kept as long as the table is the same.
#[derive(Debug)]
pub struct Prepared {
    pub(crate) statement: Arc<Statement>,
    required: Vec<Requirement>,
    /// When it was last permitted: after so many changes of accounts, with this database in use.
    permitted: Option<(u64, Option<String>)>,
    pub(crate) plan: Option<execute::SharedPlan>,
}

impl Client {
    pub(crate) fn new(node: Arc<Node>, opening: Opening, access: Access, seat: Seat) -> Self {
        let user = format!("{}@{}", opening.login.user, opening.peer.ip().to_canonical());
        let names = (user, access.name().to_owned());
        let (number, database) = (opening.number.into(), opening.login.database.clone());
        let state = State::new(names, number, database, &node.globals);
        let open = Open::new(opening.number, Arc::clone(&node.waits));
        let savepoints = Vec::new();
        let mut client = Self {
            node,
            opening,
            access,
            state,
            open,
            savepoints,
            times_changed: false,
            _seat: seat,
        };
        client.begin_variables();
        client
    }

    /// As a session begins: an interactive one is idle for longer.
    fn begin_variables(&mut self) {
        if self.opening.login.capabilities.contains(Capabilities::INTERACTIVE)
            && let Some(time) = self.state.variables.get("interactive_timeout").cloned()
        {
            self.state.variables.insert("wait_timeout", time);
        }
        self.heed_variables();
    }

    /// System variables changed.
    pub(crate) fn heed_variables(&mut self) {
        self.open.set_lock_wait(lock_wait(&self.state.variables));
        self.times_changed = true;
    }

    /// Whether rows that an UPDATE found count as affected, changed or not.
    pub(crate) fn counts_found(&self) -> bool {
        self.opening.login.capabilities.contains(Capabilities::FOUND_ROWS)
    }

    /// The part of the session's transaction in a partition, and what to wait with for its locks.
    ///
    /// # Errors
    /// If the partition does not serve.
    pub(crate) fn part(
        &mut self,
        database: &Database,
        ordinal: usize,
    ) -> Result<(&mut Transaction, Waiter), SqlError> {
        self.open.waiting(database, ordinal, &self.opening.interrupt)
    }

    /// Whether a write to a database may commit itself with the message that it is: it stands alone, and is far.
    pub(crate) fn writes_alone(&self, database: &Database) -> bool {
        let is_alone = !self.state.in_transaction() && self.open.is_empty();
        is_alone && matches!(database, Database::Far(_))
    }

    /// Returns when the statement is to stop.
    pub(crate) fn stopped(&self) -> impl Future<Output = ()> + Send + use<> {
        let interrupt = Arc::clone(&self.opening.interrupt);
        async move {
            let _reason = interrupt.fired().await;
        }
    }

    /// What a write that stands alone came to; if it was stopped, with the reason.
    ///
    /// # Errors
    /// Of the engine; with the reason to stop.
    pub(crate) fn alone<T>(
        &self,
        done: Result<T, resprout_engine::Error>,
    ) -> Result<Result<T, resprout_engine::Error>, SqlError> {
        if matches!(done, Err(resprout_engine::Error::TransactionEnded)) {
            self.opening.interrupt.check()?;
        }
        Ok(done)
    }

    /// Commits what is open.
    ///
    /// # Errors
    /// As a commit.
    pub(crate) async fn commit(&mut self) -> Result<(), SqlError> {
        self.state.explicit = false;
        self.savepoints.clear();
        self.commit_open().await
    }

    async fn commit_open(&mut self) -> Result<(), SqlError> {
        let wait = if self.node.connections.is_calm() { Wait::Here } else { Wait::Elsewhere };
        self.open.commit((&self.node.coordinator, &self.node.databases), wait).await
    }

    /// Whether the account may do this, as accounts are now.
    ///
    /// # Errors
    /// 1044, 1045, 1142, 1227; 1046.
    fn permit(&mut self, required: impl FnOnce() -> Vec<Requirement>) -> Result<(), SqlError> {
        self.access.refresh();
        if self.access.is_everything() {
            return Ok(());
        }
        let permitted = self.access.check(&required(), self.state.database.as_deref());
        if permitted.is_err() {
            self.state.row_count = -1;
        }
        permitted
    }

    /// The same for a prepared statement: asked once, as long as accounts stay as they are.
    fn permit_again(&mut self, prepared: &mut Prepared) -> Result<(), SqlError> {
        self.access.refresh();
        let known = prepared.permitted.as_ref().is_some_and(|(changes, database)| {
            *changes == self.access.changes() && *database == self.state.database
        });
        if known {
            return Ok(());
        }
        self.permit(|| prepared.required.clone())?;
        prepared.permitted = Some((self.access.changes(), self.state.database.clone()));
        Ok(())
    }

    /// SET PASSWORD.
    ///
    /// # Errors
    /// 1133 if there is no such account.
    pub(crate) async fn set_password(
        &mut self,
        user: &User,
        password: &Secret,
    ) -> Result<(), SqlError> {
        let change = AccountChange::Password(user.clone(), password.clone());
        self.change_accounts(change).await.map(drop)
    }

    /// CREATE USER, GRANT and the like.
    async fn change_accounts(&mut self, change: AccountChange) -> Result<Completion, SqlError> {
        let accounts = Arc::clone(self.access.accounts());
        let database = self.state.database.as_deref();
        let change = (change, self.opening.encrypted);
        self.state.warnings = accounts.change(&self.access, database, change).await?;
        self.access.refresh();
        let warnings = u16::try_from(self.state.warnings.len()).unwrap_or(u16::MAX);
        Ok(Completion { warnings, ..Completion::default() })
    }

    fn rollback(&mut self) {
        self.state.explicit = false;
        self.savepoints.clear();
        self.open.rollback();
    }

    /// Runs a statement, commits it if nobody else will, and takes back what it wrote if it
    /// fails.
    async fn run(
        &mut self,
        statement: &Statement,
        kept: Option<&mut Option<execute::SharedPlan>>,
        parameters: &[Value],
        out: &mut ResultWriter<'_>,
    ) -> Result<(), SqlError> {
        if statement.commits_implicitly() {
            self.commit().await?;
        }
        // As MySQL: of queries only.
        let time = execution_time(&self.state.variables);
        let time = time.filter(|_| matches!(statement, Statement::Query(_)));
        let _limit = time.map(|time| self.opening.interrupt.limit(time));
        let (began, mut kept) = (Instant::now(), kept);
        loop {
            // Whatever the statement does is all that there is.
            let is_alone = self.open.is_empty() && !out.has_begun();
            let done = self.run_once(statement, kept.as_deref_mut(), parameters, out).await;
            let Err(error) = done else { return Ok(()) };
            let has_moved =
                matches!(error.code, Code::PARTITION_HAS_NO_MASTER | Code::TABLE_DEF_CHANGED);
            let may_again = has_moved && is_alone && !out.has_begun();
            let is_late = began.elapsed() > AGAIN_MAX;
            if !may_again || is_late || !self.node.databases.look_again(began.elapsed()).await {
                return Err(error);
            }
            self.opening.interrupt.check()?;
        }
    }

    async fn run_once(
        &mut self,
        statement: &Statement,
        kept: Option<&mut Option<execute::SharedPlan>>,
        parameters: &[Value],
        out: &mut ResultWriter<'_>,
    ) -> Result<(), SqlError> {
        let is_alone = self.open.is_empty();
        let mark = self.state.in_transaction().then(|| self.open.mark());
        let is_part = mark.is_some();
        match self.statement(statement, kept, parameters, out).await {
            Ok(()) => Ok(()),
            Err(error) => {
                self.state.row_count = -1;
                // As InnoDB: a deadlock ends the whole transaction, another error the statement. A part that is
                // lost on another node ends it too: it cannot be committed any more.
                let ends =
                    matches!(error.code, Code::LOCK_DEADLOCK | Code::PARTITION_HAS_NO_MASTER);
                match mark {
                    Some(mark) if !ends => self.open.rollback_to(&mark),
                    _ => self.open.rollback(),
                }
                if error.code == Code::PARTITION_HAS_NO_MASTER && is_part && !is_alone {
                    self.state.explicit = false;
                    return Err(SqlError::plain(Code::ROLLED_BACK_TRANSACTION));
                }
                let status = self.state.status(!self.open.is_empty());
                out.set_status(status);
                Err(error)
            }
        }
    }

    async fn statement(
        &mut self,
        statement: &Statement,
        kept: Option<&mut Option<execute::SharedPlan>>,
        parameters: &[Value],
        out: &mut ResultWriter<'_>,
    ) -> Result<(), SqlError> {
        match statement {
            Statement::Query(query) => execute::query(self, query, kept, parameters, out).await,
            Statement::Transaction(transaction) => {
                self.transaction(transaction).await?;
                self.done(Completion::default(), out).await
            }
            Statement::Use(name) => {
                self.use_named(name)?;
                out.set_database(name);
                self.done(Completion::default(), out).await
            }
            Statement::Insert(insert) => {
                let done = execute::insert(self, insert, parameters).await?;
                self.done(done, out).await
            }
            Statement::Update(update) => {
                let done = execute::update(self, update, parameters).await?;
                self.done(done, out).await
            }
            Statement::Delete(delete) => {
                let done = execute::delete(self, delete, parameters).await?;
                self.done(done, out).await
            }
            Statement::LoadData(load) => {
                let done = execute::load(self, load, out).await?;
                self.done(done, out).await
            }
            Statement::Kill(kill) => {
                execute::kill(self, kill, parameters).await?;
                self.done(Completion::default(), out).await
            }
            Statement::Set(assignments) => {
                let warnings = execute::set(self, assignments, parameters).await?;
                self.done(Completion { warnings, ..Completion::default() }, out).await
            }
            Statement::Do(expressions) => {
                execute::evaluate_all(self, expressions, parameters)?;
                self.done(Completion::default(), out).await
            }
            Statement::Flush(_) | Statement::UnlockTables | Statement::LockTables(_) => {
                let done = self.lock_nothing(statement);
                self.done(done, out).await
            }
            Statement::Explain(explain) => self.explain(explain, parameters, out).await,
            Statement::CreateUsers(_)
            | Statement::AlterUsers(_)
            | Statement::DropUsers(_)
            | Statement::RenameUsers(_)
            | Statement::Grant(_)
            | Statement::Revoke(_) => {
                let change = AccountChange::Statement(statement.clone());
                let done = self.change_accounts(change).await?;
                self.done(done, out).await
            }
            Statement::Show(show) => execute::show(self, show, out).await,
            Statement::Cluster(statement) => {
                self.cluster(statement).await?;
                let done = Completion::rows(u64::from(statement.counts_as_a_row()));
                self.done(done, out).await
            }
            definition => {
                let done = execute::define(self, definition).await?;
                self.done(done, out).await
            }
        }
    }

    async fn cluster(&self, statement: &ClusterStatement) -> Result<(), SqlError> {
        match statement {
            ClusterStatement::Snapshot { database, .. } => execute::snapshot(self, database).await,
            // Whoever gives up the wait ends what is waited for, where that can be ended.
            statement => tokio::select! {
                biased;
                reason = self.opening.interrupt.fired() => Err(reason.error()),
                done = self.node.databases.carry_out(statement) => done,
            },
        }
    }

    /// Ends a statement without rows: commits it if it stands alone, then tells the client.
    async fn done(&mut self, done: Completion, out: &mut ResultWriter<'_>) -> Result<(), SqlError> {
        self.end_statement(out).await?;
        self.state.row_count = i64::try_from(done.affected_rows).unwrap_or(i64::MAX);
        out.ok(done).await
    }

    /// Commits a statement that stands alone and says how the session is now.
    pub(crate) async fn end_statement(
        &mut self,
        out: &mut ResultWriter<'_>,
    ) -> Result<(), SqlError> {
        if !self.state.in_transaction() {
            self.commit_open().await?;
        }
        let status = self.state.status(!self.open.is_empty());
        out.set_status(status);
        Ok(())
    }

    /// A statement that only read has nothing to commit.
    pub(crate) fn end_reading(&self, out: &mut ResultWriter<'_>) {
        let status = self.state.status(!self.open.is_empty());
        out.set_status(status);
    }

    /// Nothing is kept that could be flushed, and no table is ever locked. Dumps ask for locks, when
    /// they are made and when they are read: they are told.
    fn lock_nothing(&mut self, statement: &Statement) -> Completion {
        self.state.warnings.clear();
        if let Statement::LockTables(_) = statement {
            self.state.warn("tables are not locked: each statement sees what is committed");
        }
        let warnings = self.state.warnings.len().min(1) as u16;
        Completion { warnings, ..Completion::default() }
    }

    async fn explain(
        &mut self,
        explain: &Explain,
        parameters: &[Value],
        out: &mut ResultWriter<'_>,
    ) -> Result<(), SqlError> {
        let explained = match &explain.explained {
            Explained::Statement(explained) => explained,
            Explained::Cluster(statement) => {
                return execute::explain_plan(self, statement, out).await;
            }
        };
        match &**explained {
            Statement::Query(query) if !explain.analyze => {
                execute::explain(self, query, parameters, out).await
            }
            _ => Err(SqlError::not_supported("EXPLAIN of what is no query, and with ANALYZE")),
        }
    }

    async fn transaction(&mut self, statement: &TransactionStatement) -> Result<(), SqlError> {
        let chain = |after: &Afterwards| after.chain;
        match statement {
            TransactionStatement::Begin { read_only: true, .. } => {
                return Err(SqlError::not_supported("READ ONLY transactions"));
            }
            TransactionStatement::Begin { consistent_snapshot, .. } => {
                self.state.explicit = true;
                if *consistent_snapshot {
                    self.state.warn("each statement sees what is committed when it begins");
                }
            }
            TransactionStatement::Commit(after) => {
                self.commit().await?;
                self.state.explicit = chain(after);
            }
            TransactionStatement::Rollback(after) => {
                self.rollback();
                self.state.explicit = chain(after);
            }
            TransactionStatement::Savepoint(name) => {
                if self.state.in_transaction() {
                    self.savepoints.retain(|(own, _)| !own.eq_ignore_ascii_case(name));
                    if self.savepoints.len() >= SAVEPOINTS_MAX {
                        return Err(SqlError::not_supported("more than 1000 savepoints"));
                    }
                    let mark = self.open.mark();
                    self.savepoints.push((name.clone(), mark));
                }
            }
            TransactionStatement::RollbackTo(name) => {
                let at = self.savepoint(name)?;
                self.savepoints.truncate(at + 1);
                let mark = self.savepoints[at].1.clone();
                self.open.rollback_to(&mark);
            }
            TransactionStatement::Release(name) => {
                let at = self.savepoint(name)?;
                self.savepoints.truncate(at);
            }
        }
        Ok(())
    }

    fn savepoint(&self, name: &str) -> Result<usize, SqlError> {
        let at = self.savepoints.iter().position(|(own, _)| own.eq_ignore_ascii_case(name));
        at.ok_or_else(|| SqlError::new(Code(1305), format!("SAVEPOINT {name} does not exist")))
    }

    fn use_named(&mut self, name: &str) -> Result<(), SqlError> {
        self.permit(|| vec![Requirement::Enter(Some(name.to_owned()))])?;
        if !is_information_schema(name) {
            let known = self.node.databases.database(name);
            known.map_err(|_| execute::unknown_database(name))?;
        }
        self.state.database = Some(name.to_owned());
        Ok(())
    }
}

/// So long a statement that has done nothing yet is tried again, when its partitions are being moved.
const AGAIN_MAX: Duration = Duration::from_secs(10);

/// Most savepoints of a transaction.
const SAVEPOINTS_MAX: usize = 1000;

impl Session for Client {
    type Statement = Prepared;

    async fn query(&mut self, text: &[u8], out: &mut ResultWriter<'_>) -> Result<(), SqlError> {
        let mut statements = Statements::new(text);
        while let Some(parsed) = statements.next() {
            let Parsed { statement, parameters, .. } = parsed?;
            if parameters > 0 {
                return Err(SqlError::new(Code::PARSE_ERROR, "parameters in a plain statement"));
            }
            if !out.multi_statements() && !statements.is_finished() {
                return Err(SqlError::new(
                    Code::PARSE_ERROR,
                    "You have an error in your SQL syntax; only one statement is allowed",
                ));
            }
            self.permit(|| required(&statement))?;
            Box::pin(self.run(&statement, None, &[], out)).await?;
        }
        Ok(())
    }

    async fn prepare(&mut self, text: &[u8]) -> Result<Preparation<Prepared>, SqlError> {
        let Parsed { statement, parameters, .. } = parse(text)?;
        let required = required(&statement);
        self.permit(|| required.clone())?;
        let mut columns = Columns::default();
        let mut plan = None;
        if let Statement::Query(query) = &statement {
            (columns, plan) = execute::prepare(self, query).await?;
        }
        let statement = Arc::new(statement);
        let prepared = Prepared { statement, required, permitted: None, plan };
        Ok(Preparation::new(prepared, parameters.into(), columns))
    }

    async fn execute(
        &mut self,
        prepared: &mut Prepared,
        values: &[WireValue<'_>],
        out: &mut ResultWriter<'_>,
    ) -> Result<(), SqlError> {
        let parameters: Vec<Value> =
            values.iter().map(execute::of_parameter).collect::<Result<_, _>>()?;
        let statement = Arc::clone(&prepared.statement);
        self.permit_again(prepared)?;
        Box::pin(self.run(&statement, Some(&mut prepared.plan), &parameters, out)).await
    }

    async fn use_database(&mut self, name: &str) -> Result<(), SqlError> {
        self.use_named(name)
    }

    async fn reset(&mut self) -> Result<(), SqlError> {
        self.rollback();
        let database = self.state.database.take();
        let names = (self.state.user.clone(), self.state.account.clone());
        let number = self.opening.number.into();
        self.state = State::new(names, number, database, &self.node.globals);
        self.begin_variables();
        Ok(())
    }

    fn take_times(&mut self) -> Option<Times> {
        std::mem::take(&mut self.times_changed).then(|| times(&self.state.variables))
    }

    async fn kill(&mut self, number: u32) -> Result<(), SqlError> {
        self.access.refresh();
        execute::kill_connection(self, number, crate::server::Kill::Connection)
    }

    async fn field_list(&mut self, table: &str, _pattern: &str) -> Result<Vec<Column>, SqlError> {
        let name = TableName { database: None, table: table.to_owned() };
        self.permit(|| vec![Requirement::See(name)])?;
        execute::columns_of(self, table)
    }
}
