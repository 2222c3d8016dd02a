//! System variables: which there are, what they may be set to, and what setting them does.
//!
//! ```text
//!  SET GLOBAL x ──► globals of the node ──copied at the start──► session ◄── SET [SESSION] x
//!                        │                                          │
//!                   server, engine                       timeouts, waits for locks
//! ```
//!
//! Those of a cluster are in its metadata: whichever aggregator is asked, they are set and shown for all nodes.
//!
//! The [table](table::VARIABLES) says it for each; `docs/variables.md` is made of it. A variable that
//! has no effect here says so with a warning when it is set to something else than it is. Globals
//! hold until the node ends: what has to last belongs into its configuration.

mod globals;
mod table;
mod value;

use std::collections::BTreeMap;

use resprout_engine::table::Value;

use crate::error::{Code, SqlError};

pub(crate) use globals::{Globals, execution_time, lock_wait, times, twins};
pub(crate) use table::VARIABLES;
pub(crate) use value::{Converted, Given};

/// Who has a value of a variable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// Each session.
    Session,
    /// The node.
    Global,
    /// The node, and each session one of its own that begins as the node's.
    Both,
    /// The cluster: it is set for all nodes, and stays set.
    Cluster,
}

/// What values a variable may have.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Form {
    /// ON and OFF; 1 and 0 in expressions.
    Switch,
    /// A whole number; one outside of the bounds becomes the nearest.
    Number(u64, u64),
    /// A text.
    Text,
    /// One of these words.
    Words(&'static [&'static str]),
}

/// What SET does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// The new value holds.
    Holds,
    /// The new value holds, and only GLOBAL can be set.
    HoldsGlobally,
    /// Any value is taken and changes nothing, for nothing depends on it.
    Nothing,
    /// It stays as it is: another value leaves a warning.
    Stays,
    /// It cannot be set (1238).
    ReadOnly,
}

/// The value at the start.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Initial {
    Switch(bool),
    Number(u64),
    Text(&'static str),
    /// As the node was configured.
    Configured,
}

/// A variable.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Variable {
    pub(crate) name: &'static str,
    pub(crate) reach: Reach,
    pub(crate) form: Form,
    pub(crate) initial: Initial,
    pub(crate) effect: Effect,
    /// What it means here, for the documentation.
    pub(crate) about: &'static str,
}

/// Values of variables by name.
pub(crate) type Values = BTreeMap<&'static str, Value>;

impl Variable {
    /// The variable of this name, in lower case.
    pub(crate) fn named(name: &str) -> Option<&'static Self> {
        let at = VARIABLES.binary_search_by(|variable| variable.name.cmp(name)).ok()?;
        Some(&VARIABLES[at])
    }

    /// The same, for a statement.
    ///
    /// # Errors
    /// 1193.
    pub(crate) fn known(name: &str) -> Result<&'static Self, SqlError> {
        Self::named(name).ok_or_else(|| {
            let text = format!("Unknown system variable '{name}'");
            SqlError::new(Code::UNKNOWN_SYSTEM_VARIABLE, text)
        })
    }

    /// Whether sessions have values of their own.
    pub(crate) fn is_of_sessions(&self) -> bool {
        matches!(self.reach, Reach::Session | Reach::Both)
    }

    /// The value at the start, where it does not depend on the configuration.
    fn initial(&self) -> Value {
        match self.initial {
            Initial::Switch(on) => Value::Int(on.into()),
            Initial::Number(number) => Value::UInt(number),
            Initial::Text(text) => Value::Text(text.to_owned()),
            Initial::Configured => Value::Null,
        }
    }

    /// A value as SHOW VARIABLES has it.
    pub(crate) fn shown(&self, value: &Value) -> String {
        match (self.form, value) {
            (Form::Switch, Value::Int(0)) => "OFF".to_owned(),
            (Form::Switch, _) => "ON".to_owned(),
            (_, value) => value.to_string(),
        }
    }

    /// Whether SET may change it for a session, or for the node.
    ///
    /// # Errors
    /// 1228, 1229, 1238, 1621.
    pub(crate) fn check_settable(&self, global: bool) -> Result<(), SqlError> {
        let name = self.name;
        let refused = |code: Code, text: String| Err(SqlError::new(code, text));
        match (self.effect, self.reach) {
            (Effect::ReadOnly, _) => refused(
                Code::READ_ONLY_VARIABLE,
                format!("Variable '{name}' is a read only variable"),
            ),
            (_, Reach::Session) if global => {
                let text = format!(
                    "Variable '{name}' is a SESSION variable and can't be used with SET GLOBAL"
                );
                refused(Code::LOCAL_VARIABLE, text)
            }
            (_, Reach::Global | Reach::Cluster) if !global => {
                let text = format!(
                    "Variable '{name}' is a GLOBAL variable and should be set with SET GLOBAL"
                );
                refused(Code::GLOBAL_VARIABLE, text)
            }
            (Effect::HoldsGlobally, _) if !global => {
                let text = format!(
                    "SESSION variable '{name}' is read-only. Use SET GLOBAL to assign the value"
                );
                refused(Code::VARIABLE_IS_READ_ONLY, text)
            }
            _ => Ok(()),
        }
    }
}
