//! What a session knows: its database, modes, variables and the outcome of its last statement.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use resprout_engine::table::Value;

use crate::error::Code;
use crate::expression::{self, VariableScope, Warning};
use crate::protocol::flags::Status;
use crate::variables::{Globals, Reach, Values, Variable};

/// Most user variables of a session, and most bytes of one.
const USER_VARIABLES_MAX: usize = 4096;
const USER_VARIABLE_BYTES_MAX: usize = 16 << 20;

/// The version that clients are told: one that they take for MySQL 8.
pub const VERSION: &str = concat!("8.0.36-resprout-", env!("CARGO_PKG_VERSION"));

/// A session's state. Its own thread reads it; statements on other threads get a copy.
#[derive(Clone, Debug)]
pub(crate) struct State {
    pub(crate) database: Option<String>,
    /// The name and host that the client came with.
    pub(crate) user: String,
    /// Its account.
    pub(crate) account: String,
    pub(crate) connection: u64,
    pub(crate) autocommit: bool,
    /// BEGIN was said.
    pub(crate) explicit: bool,
    pub(crate) last_insert_id: u64,
    pub(crate) row_count: i64,
    pub(crate) found_rows: u64,
    pub(crate) warnings: Vec<Warning>,
    pub(crate) user_variables: BTreeMap<String, Value>,
    /// System variables that were set, for this session or for all before it began.
    pub(crate) variables: Values,
    pub(crate) globals: Arc<Globals>,
}

impl State {
    /// Of a client called `user`, with the account `account`.
    pub(crate) fn new(
        (user, account): (String, String),
        connection: u64,
        database: Option<String>,
        globals: &Arc<Globals>,
    ) -> Self {
        let variables = globals.of_sessions();
        Self {
            database,
            user,
            account,
            connection,
            autocommit: variables.get("autocommit") != Some(&Value::Int(0)),
            explicit: false,
            last_insert_id: 0,
            row_count: -1,
            found_rows: 0,
            warnings: Vec::new(),
            user_variables: BTreeMap::new(),
            variables,
            globals: Arc::clone(globals),
        }
    }

    /// The session's value of a system variable.
    pub(crate) fn variable(&self, variable: &Variable) -> Value {
        match variable.name {
            "autocommit" => Value::Int(self.autocommit.into()),
            "last_insert_id" => Value::UInt(self.last_insert_id),
            "warning_count" => Value::UInt(self.warnings.len() as u64),
            name => {
                let set = self.variables.get(name).cloned();
                set.unwrap_or_else(|| self.globals.initial(variable))
            }
        }
    }

    /// Notes that something was asked for that is not done.
    pub(crate) fn warn(&mut self, text: &str) {
        self.warn_as(Code::NOT_SUPPORTED_YET, text);
    }

    /// Notes a warning.
    pub(crate) fn warn_as(&mut self, code: Code, text: &str) {
        if self.warnings.len() < expression::WARNINGS_MAX {
            self.warnings.push(Warning { code: code.0, text: text.to_owned() });
        }
    }

    /// Whether what statements write waits for COMMIT.
    pub(crate) const fn in_transaction(&self) -> bool {
        self.explicit || !self.autocommit
    }

    /// What clients are told.
    pub(crate) fn status(&self, wrote: bool) -> Status {
        Status(0)
            .with(Status::AUTOCOMMIT, self.autocommit)
            .with(Status::IN_TRANSACTION, self.explicit || (!self.autocommit && wrote))
    }

    /// What expressions of a statement see and do.
    pub(crate) fn surroundings(&self) -> Surroundings {
        Surroundings { state: self.clone(), set: Mutex::default() }
    }

    /// Takes in what expressions set.
    pub(crate) fn take_in(&mut self, surroundings: Surroundings) {
        self.take_in_set(&surroundings);
        drop(surroundings);
    }

    /// The same of expressions that others may still hold.
    pub(crate) fn take_in_set(&mut self, surroundings: &Surroundings) {
        let set = std::mem::take(&mut *surroundings.set());
        if let Some(number) = set.last_insert_id {
            self.last_insert_id = number;
        }
        for (name, value) in set.variables {
            self.set_user_variable(name, value);
        }
    }

    /// Sets `@name`; one too many or too large is left out.
    pub(crate) fn set_user_variable(&mut self, name: String, value: Value) {
        let bytes = match &value {
            Value::Text(text) => text.len(),
            Value::Bytes(bytes) => bytes.len(),
            _ => 0,
        };
        let is_new = !self.user_variables.contains_key(&name);
        if bytes <= USER_VARIABLE_BYTES_MAX
            && !(is_new && self.user_variables.len() >= USER_VARIABLES_MAX)
        {
            self.user_variables.insert(name, value);
        }
    }
}

#[derive(Debug, Default)]
struct Set {
    last_insert_id: Option<u64>,
    variables: BTreeMap<String, Value>,
}

/// A copy of the state for the expressions of one statement, and what they set.
#[derive(Debug)]
pub(crate) struct Surroundings {
    state: State,
    set: Mutex<Set>,
}

impl Surroundings {
    fn set(&self) -> std::sync::MutexGuard<'_, Set> {
        self.set.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl expression::Session for Surroundings {
    fn database(&self) -> Option<String> {
        self.state.database.clone()
    }

    fn user(&self) -> String {
        self.state.user.clone()
    }

    fn current_user(&self) -> String {
        self.state.account.clone()
    }

    fn version(&self) -> String {
        VERSION.to_owned()
    }

    fn connection_id(&self) -> u64 {
        self.state.connection
    }

    fn last_insert_id(&self) -> u64 {
        self.state.last_insert_id
    }

    fn set_last_insert_id(&self, number: u64) {
        self.set().last_insert_id = Some(number);
    }

    fn row_count(&self) -> i64 {
        self.state.row_count
    }

    fn found_rows(&self) -> u64 {
        self.state.found_rows
    }

    fn user_variable(&self, name: &str) -> Value {
        let set = self.set();
        let value = set.variables.get(name).or_else(|| self.state.user_variables.get(name));
        value.cloned().unwrap_or(Value::Null)
    }

    fn set_user_variable(&self, name: &str, value: &Value) {
        let mut set = self.set();
        if set.variables.len() < USER_VARIABLES_MAX {
            set.variables.insert(name.to_owned(), value.clone());
        }
    }

    fn system_variable(&self, scope: VariableScope, name: &str) -> Option<Value> {
        let variable = Variable::named(name)?;
        let own = variable.is_of_sessions();
        match scope {
            VariableScope::Session if !own => None,
            VariableScope::Global if variable.reach == Reach::Session => None,
            VariableScope::Session | VariableScope::Any if own => {
                Some(self.state.variable(variable))
            }
            _ => Some(self.state.globals.get(variable)),
        }
    }
}
