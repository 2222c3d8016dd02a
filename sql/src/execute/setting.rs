//! SET and KILL.

use resprout_engine::table::Value;
use sqlparser::ast::Expr;

use crate::accounts::Privileges;
use crate::error::{Code, SqlError};
use crate::expression::{self, Context, NoRow, Scope, Session as _, compile};
use crate::server::Kill as Killed;
use crate::session::Client;
use crate::statement::{
    Assignment, Isolation, Kill, Operand, Scope as VariableScope, SetValue, Sql,
};

/// Session variables that clients and dumps set and that change nothing here, whatever their value.
const WITHOUT_EFFECT: [&str; 6] = [
    "foreign_key_checks",
    "net_read_timeout",
    "sql_auto_is_null",
    "sql_notes",
    "sql_quote_show_create",
    "unique_checks",
];

/// SET. What cannot be set and would change what later statements do is refused; what clients say in
/// passing leaves a warning and stays as it is. Gives the number of warnings.
///
/// # Errors
/// 1193 and 1231 for variables, 1115 for character sets, 1235 for what is not done yet, and those of
/// expressions.
pub(crate) async fn set(
    client: &mut Client,
    assignments: &[Assignment],
    parameters: &[Value],
) -> Result<u16, SqlError> {
    client.state.warnings.clear();
    for assignment in assignments {
        match assignment {
            Assignment::Variable { scope, name, value } => {
                if *scope != VariableScope::Session {
                    return Err(SqlError::not_supported("SET GLOBAL and PERSIST"));
                }
                let value = new_value(client, value, parameters)?;
                variable(client, name, value.as_deref()).await?;
            }
            Assignment::User { name, value } => {
                let value = evaluate(client, value, parameters)?;
                client.state.set_user_variable(name.clone(), value);
            }
            Assignment::Password { user, password } => client.set_password(user, password).await?,
            Assignment::Names { charset, .. } => known_charset(charset.as_deref())?,
            Assignment::Transaction { isolation, read_only, .. } => {
                if *read_only == Some(true) {
                    return Err(SqlError::not_supported("READ ONLY transactions"));
                }
                if isolation.is_some_and(|level| level != Isolation::ReadCommitted) {
                    client.state.warn("the isolation level stays READ COMMITTED");
                }
            }
        }
    }
    Ok(u16::try_from(client.state.warnings.len()).unwrap_or(u16::MAX))
}

/// A new value as text; none for DEFAULT.
fn new_value(
    client: &mut Client,
    value: &SetValue,
    parameters: &[Value],
) -> Result<Option<String>, SqlError> {
    Ok(match value {
        SetValue::Default => None,
        SetValue::Word(word) => Some(word.clone()),
        SetValue::Expression(expression) => {
            Some(evaluate(client, expression, parameters)?.to_string())
        }
    })
}

async fn variable(client: &mut Client, name: &str, value: Option<&str>) -> Result<(), SqlError> {
    if WITHOUT_EFFECT.contains(&name) {
        return Ok(());
    }
    let now = client.state.surroundings().system_variable(expression::VariableScope::Any, name);
    let Some(now) = now else {
        let text = format!("Unknown system variable '{name}'");
        return Err(SqlError::new(Code::UNKNOWN_SYSTEM_VARIABLE, text));
    };
    if name == "autocommit" {
        return autocommit(client, value.unwrap_or("on")).await;
    }
    // There are no others than the defaults.
    let Some(value) = value else { return Ok(()) };
    if name.starts_with("character_set_") {
        return known_charset(Some(value));
    }
    let is_utc = ["SYSTEM", "UTC", "+00:00"].iter().any(|zone| value.eq_ignore_ascii_case(zone));
    match name {
        "time_zone" if is_utc => {}
        "time_zone" => return Err(SqlError::not_supported("time zones other than UTC")),
        _ if now.to_string().eq_ignore_ascii_case(value) => {}
        _ => client.state.warn(&format!("variable {name} stays {now}")),
    }
    Ok(())
}

async fn autocommit(client: &mut Client, value: &str) -> Result<(), SqlError> {
    let on = match value.to_ascii_lowercase().as_str() {
        "on" | "1" | "true" => true,
        "off" | "0" | "false" => false,
        _ => {
            let text = format!("Variable 'autocommit' can't be set to the value of '{value}'");
            return Err(SqlError::new(Code(1231), text));
        }
    };
    // As MySQL: what is open is committed when it is switched on.
    if on && !client.state.autocommit {
        client.commit().await?;
    }
    client.state.autocommit = on;
    Ok(())
}

/// Texts are UTF-8 on their way, whatever it is called.
fn known_charset(charset: Option<&str>) -> Result<(), SqlError> {
    let known = ["utf8mb4", "utf8mb3", "utf8", "binary"];
    match charset {
        Some(other) if !known.iter().any(|name| name.eq_ignore_ascii_case(other)) => {
            Err(SqlError::new(Code(1115), format!("Unknown character set: '{other}'")))
        }
        _ => Ok(()),
    }
}

/// DO: expressions for what they do.
///
/// # Errors
/// Those of expressions.
pub(crate) fn evaluate_all(
    client: &mut Client,
    expressions: &[Sql<Box<Expr>>],
    parameters: &[Value],
) -> Result<(), SqlError> {
    for expression in expressions {
        evaluate(client, expression, parameters)?;
    }
    Ok(())
}

fn evaluate(
    client: &mut Client,
    expression: &Expr,
    parameters: &[Value],
) -> Result<Value, SqlError> {
    let surroundings = client.state.surroundings();
    let compiled = compile(expression, &Scope::new(&surroundings))?;
    let value = compiled.evaluate(&NoRow, &Context::new(&surroundings, parameters))?;
    client.state.take_in(surroundings);
    Ok(value)
}

/// KILL.
///
/// # Errors
/// 1094 if there is no such connection.
pub(crate) async fn kill(
    client: &mut Client,
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
