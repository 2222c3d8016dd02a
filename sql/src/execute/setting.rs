//! SET and KILL.

use resprout_engine::table::Value;

use crate::accounts::Privileges;
use crate::error::{Code, SqlError};
use crate::expression::{Context, NoRow, Scope, compile};
use crate::server::Kill as Killed;
use crate::session::Client;
use crate::statement::{Assignment, Kill, Operand, SetValue};

/// SET.
///
/// # Errors
/// With what the client is told.
pub(crate) async fn set(
    client: &mut Client,
    assignments: &[Assignment],
    parameters: &[Value],
) -> Result<(), SqlError> {
    for assignment in assignments {
        match assignment {
            Assignment::Variable { name, value, .. } if name == "autocommit" => {
                let on = match value {
                    SetValue::Default => true,
                    SetValue::Word(word) => !word.eq_ignore_ascii_case("off"),
                    SetValue::Expression(expression) => {
                        !matches!(evaluate(client, expression, parameters)?, Value::Int(0))
                    }
                };
                // As MySQL: what is open is committed when it is switched on.
                if on && !client.state.autocommit {
                    client.commit().await?;
                }
                client.state.autocommit = on;
            }
            Assignment::User { name, value } => {
                let value = evaluate(client, value, parameters)?;
                client.state.set_user_variable(name.clone(), value);
            }
            Assignment::Password { user, password } => client.set_password(user, password).await?,
            Assignment::Variable { .. }
            | Assignment::Names { .. }
            | Assignment::Transaction { .. } => {}
        }
    }
    Ok(())
}

fn evaluate(
    client: &Client,
    expression: &sqlparser::ast::Expr,
    parameters: &[Value],
) -> Result<Value, SqlError> {
    let surroundings = client.state.surroundings();
    let compiled = compile(expression, &Scope::new(&surroundings))?;
    Ok(compiled.evaluate(&NoRow, &Context::new(&surroundings, parameters))?)
}

/// KILL.
///
/// # Errors
/// 1094 if there is no such connection.
pub(crate) async fn kill(
    client: &Client,
    kill: &Kill,
    parameters: &[Value],
) -> Result<(), SqlError> {
    let number = match &kill.connection {
        Operand::Literal(value) => value.clone(),
        Operand::Parameter(number) => {
            let value = parameters.get(usize::from(*number).saturating_sub(1));
            value.cloned().unwrap_or(Value::Null)
        }
        Operand::Expression(expression) => evaluate(client, expression, parameters)?,
        Operand::Default => Value::Null,
    };
    let number = match number {
        Value::Int(number) => u32::try_from(number).ok(),
        Value::UInt(number) => u32::try_from(number).ok(),
        _ => None,
    };
    let what = if kill.query_only { Killed::Query } else { Killed::Connection };
    kill_connection(client, number.unwrap_or(0), what)
}

/// Ends a statement or a connection: an own one, or any with SUPER.
///
/// # Errors
/// 1094 if there is no such connection, 1095 if it is another's.
pub(crate) fn kill_connection(client: &Client, number: u32, what: Killed) -> Result<(), SqlError> {
    if !client.access.has(Privileges::SUPER) {
        let all = client.node.connections.list();
        let found = all.iter().find(|info| info.number == number);
        if found.is_some_and(|info| info.user != client.opening.login.user) {
            let text = format!("You are not owner of thread {number}");
            return Err(SqlError::new(Code::KILL_DENIED, text));
        }
    }
    if client.node.connections.kill(number, what) {
        return Ok(());
    }
    Err(SqlError::new(Code::NO_SUCH_THREAD, format!("Unknown thread id: {number}")))
}
