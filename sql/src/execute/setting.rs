//! SET and KILL.

use resprout_engine::table::Value;
use sqlparser::ast::Expr;

use crate::accounts::Privileges;
use crate::error::{Code, SqlError};
use crate::expression::{Context, NoRow, Scope, compile};
use crate::server::Kill as Killed;
use crate::session::Client;
use crate::statement::{
    Assignment, Isolation, Kill, Operand, Scope as VariableScope, SetValue, Sql,
};
use crate::variables::{Converted, Effect, Given, Initial, Reach, Variable, twins};

/// SET. What a variable cannot be set to here, and would change what later statements do, is refused; what
/// clients say in passing leaves a warning and stays as it is. Gives the number of warnings.
///
/// # Errors
/// 1193, 1228, 1229, 1231, 1232, 1238 and 1621 for variables, 1115 for character sets, 1235 for what is
/// not done yet, and those of expressions.
pub(crate) async fn set(
    client: &mut Client,
    assignments: &[Assignment],
    parameters: &[Value],
) -> Result<u16, SqlError> {
    client.state.warnings.clear();
    for assignment in assignments {
        match assignment {
            Assignment::Variable { scope, name, value } => {
                let given = given(client, value, parameters)?;
                variable(client, *scope, name, given).await?;
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

fn given(client: &mut Client, value: &SetValue, parameters: &[Value]) -> Result<Given, SqlError> {
    Ok(match value {
        SetValue::Default => Given::Default,
        SetValue::Word(word) => Given::Value(Value::Text(word.clone())),
        SetValue::Expression(expression) => Given::Value(evaluate(client, expression, parameters)?),
    })
}

async fn variable(
    client: &mut Client,
    scope: VariableScope,
    name: &str,
    given: Given,
) -> Result<(), SqlError> {
    let variable = Variable::known(name)?;
    let global = match scope {
        VariableScope::Global => true,
        VariableScope::Session | VariableScope::NextTransaction => false,
        VariableScope::Persist | VariableScope::PersistOnly => {
            return Err(SqlError::not_supported(
                "SET PERSIST: settings that last belong into the node's configuration",
            ));
        }
    };
    variable.check_settable(global)?;
    match variable.effect {
        Effect::Nothing => return Ok(()),
        Effect::Stays => return stays(client, variable, global, given),
        _ => {}
    }
    if variable.reach == Reach::Cluster {
        if client.node.globals.cluster().is_some() {
            return for_all(client, variable, &given).await;
        }
        if variable.initial != Initial::Configured {
            // Nothing depends on it on a node that stands alone.
            return stays(client, variable, global, given);
        }
    }
    if variable.name == "require_secure_transport" {
        refuse_to_lock_all_out(client, variable, &given)?;
    }
    let clamped = match global {
        true => client.node.globals.set(&client.node.engine, variable, &given)?,
        false => for_session(client, variable, &given).await?,
    };
    if let (true, Given::Value(value)) = (clamped, &given) {
        let text = format!("Truncated incorrect {name} value: '{value}'");
        client.state.warn_as(Code(1292), &text);
    }
    Ok(())
}

/// Sets a variable of the cluster, by the master aggregator.
async fn for_all(client: &Client, variable: &Variable, given: &Given) -> Result<(), SqlError> {
    let value = match given {
        Given::Default => None,
        Given::Value(value) => Some(variable.convert_for_all(value)?),
    };
    client.node.databases.set_variable(variable.name, value).await
}

/// Without TLS nobody could log in again to take it back.
fn refuse_to_lock_all_out(
    client: &Client,
    variable: &Variable,
    given: &Given,
) -> Result<(), SqlError> {
    let value = match given {
        Given::Default => client.node.globals.initial(variable),
        Given::Value(value) => variable.convert(value)?.value,
    };
    if value != Value::Int(0) && !client.opening.tls_offered {
        return Err(SqlError::plain(Code::NO_SECURE_TRANSPORTS_CONFIGURED));
    }
    Ok(())
}

/// Sets a session's variable. Whether the value had to be brought within its bounds.
async fn for_session(
    client: &mut Client,
    variable: &'static Variable,
    given: &Given,
) -> Result<bool, SqlError> {
    let (value, clamped) = match given {
        Given::Default => (client.node.globals.get(variable), false),
        Given::Value(value) => {
            let Converted { value, clamped } = variable.convert(value)?;
            (value, clamped)
        }
    };
    match (variable.name, &value) {
        ("autocommit", on) => autocommit(client, *on != Value::Int(0)).await?,
        ("last_insert_id", Value::UInt(number)) => client.state.last_insert_id = *number,
        _ => {
            for name in twins(variable.name) {
                client.state.variables.insert(name, value.clone());
            }
            client.heed_variables();
        }
    }
    Ok(clamped)
}

/// A variable that is what it is: told, if it is asked to be something else.
fn stays(
    client: &mut Client,
    variable: &Variable,
    global: bool,
    given: Given,
) -> Result<(), SqlError> {
    let Given::Value(value) = given else { return Ok(()) };
    let of_charset = variable.name.starts_with("character_set_");
    if of_charset && value.is_null() {
        // As drivers say that results are not to be converted.
        return Ok(());
    }
    let text = variable.convert(&value)?.value.to_string();
    if of_charset {
        return known_charset(Some(&text));
    }
    if variable.name == "time_zone" {
        let is_utc = ["SYSTEM", "UTC", "+00:00"].iter().any(|zone| text.eq_ignore_ascii_case(zone));
        return match is_utc {
            true => Ok(()),
            false => Err(SqlError::not_supported("time zones other than UTC")),
        };
    }
    let now = match global {
        true => client.node.globals.get(variable),
        false => client.state.variable(variable),
    };
    if !now.to_string().eq_ignore_ascii_case(&text) {
        client.state.warn(&format!("variable {} stays {now}", variable.name));
    }
    Ok(())
}

async fn autocommit(client: &mut Client, on: bool) -> Result<(), SqlError> {
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
