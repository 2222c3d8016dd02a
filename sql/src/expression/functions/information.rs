//! Functions that tell of the session and the server.

use resprout_engine::table::{Value, ValueRef};

use super::{Call, Function, text};
use crate::expression::context::random_number;
use crate::expression::error::Error;
use crate::expression::node::{Env, Expression};
use crate::expression::number::{bits_of, integer_of};
use crate::expression::ty::Type;

pub(super) const FUNCTIONS: &[Function] = &[
    Function::strict("database", (0, 0), Type::Text, |_, env| {
        Ok(env.context.session.database().map_or(ValueRef::Null, text))
    })
    .impure(),
    Function::strict("user", (0, 0), Type::Text, |_, env| Ok(text(env.context.session.user())))
        .impure(),
    Function::strict("current_user", (0, 0), Type::Text, |_, env| {
        Ok(text(env.context.session.current_user()))
    })
    .impure(),
    Function::strict("version", (0, 0), Type::Text, |_, env| {
        Ok(text(env.context.session.version()))
    })
    .impure(),
    Function::strict("connection_id", (0, 0), Type::UInt, |_, env| {
        Ok(ValueRef::UInt(env.context.session.connection_id()))
    })
    .impure(),
    Function::lazy("last_insert_id", (0, 1), Type::UInt, last_insert_id).impure(),
    Function::strict("row_count", (0, 0), Type::Int, |_, env| {
        Ok(ValueRef::Int(env.context.session.row_count()))
    })
    .impure(),
    Function::strict("found_rows", (0, 0), Type::UInt, |_, env| {
        Ok(ValueRef::UInt(env.context.session.found_rows()))
    })
    .impure(),
    Function::strict("uuid", (0, 0), Type::Text, |_, _| Ok(text(uuid()))).impure(),
    Function::lazy("charset", (1, 1), Type::Text, |call, _| {
        Ok(text(charset(&call.arguments[0]).into()))
    }),
    Function::lazy("collation", (1, 1), Type::Text, |call, _| {
        Ok(text(collation(&call.arguments[0]).into()))
    }),
    Function::strict("sleep", (1, 1), Type::Int, |_, _| Err(Error::Unsupported("SLEEP".into())))
        .impure(),
];

/// Without an argument the session's number, with one that becomes the session's.
fn last_insert_id<'e>(call: &'e Call, env: &Env<'e>) -> Result<ValueRef<'e>, Error> {
    let session = env.context.session;
    let Some(argument) = call.arguments.first() else {
        return Ok(ValueRef::UInt(session.last_insert_id()));
    };
    let number = integer_of(&argument.eval(env)?, env.context)?;
    session.set_last_insert_id(number.map_or(0, bits_of));
    Ok(number.map_or(ValueRef::Null, |number| ValueRef::UInt(bits_of(number))))
}

/// A random one (version 4): MySQL's tell the machine and the moment, which is of no use here.
fn uuid() -> String {
    let high = random_number() & !0xF000 | 0x4000;
    let low = random_number() & (u64::MAX >> 2) | 1 << 63;
    format!(
        "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
        high >> 32,
        high >> 16 & 0xFFFF,
        high & 0xFFFF,
        low >> 48,
        low & 0xFFFF_FFFF_FFFF
    )
}

fn is_text(argument: &Expression) -> bool {
    argument.ty == Type::Text || matches!(argument.constant(), Some(Value::Text(_)))
}

fn charset(argument: &Expression) -> &'static str {
    if is_text(argument) { "utf8mb4" } else { "binary" }
}

fn collation(argument: &Expression) -> &'static str {
    use crate::expression::collation::Collation;
    match (is_text(argument), argument.text_rule.collation) {
        (true, Collation::GeneralCi) => "utf8mb4_general_ci",
        (true, Collation::Bin) => "utf8mb4_bin",
        _ => "binary",
    }
}
