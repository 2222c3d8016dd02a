//! The functions, by name: how many arguments each takes, what it returns, what it does.

mod control;
mod date_parts;
mod dates;
mod encoding;
mod information;
mod math;
mod numeric;
mod padding;
mod search;
mod text;

pub(super) use dates::shifted_type;
pub(super) use encoding::bytes_of_hex;

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::LazyLock;

use resprout_engine::table::ValueRef;

use super::collation::Collation;
use super::error::Error;
use super::node::{Env, Expression};
use super::number::text_of;
use super::temporal::interval::Unit;
use super::ty::Type;

/// A function that is NULL if an argument is; it sees the arguments' values.
pub(super) type StrictBody = for<'e> fn(&[ValueRef<'e>], &Env<'e>) -> Result<ValueRef<'e>, Error>;

/// A function that evaluates its arguments itself.
pub(super) type LazyBody = for<'e> fn(&'e Call, &Env<'e>) -> Result<ValueRef<'e>, Error>;

/// What a function does.
#[derive(Clone, Copy)]
pub(super) enum Body {
    Strict(StrictBody),
    Lazy(LazyBody),
}

/// The type of a function's result.
#[derive(Clone, Copy)]
pub(super) enum Returns {
    Always(Type),
    /// Of the types of its arguments.
    Of(fn(&[Expression]) -> Type),
}

/// A function.
pub(super) struct Function {
    pub(super) name: &'static str,
    least: usize,
    most: usize,
    returns: Returns,
    pub(super) body: Body,
    /// Whether it depends on nothing but its arguments.
    pub(super) pure: bool,
}

impl std::fmt::Debug for Function {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

/// A function with its arguments.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) function: &'static Function,
    pub(super) arguments: Box<[Expression]>,
    pub(super) ty: Type,
    /// How the arguments compare where they are text.
    pub(super) collation: Collation,
    /// The unit of an interval among the arguments.
    pub(super) unit: Option<Unit>,
}

/// Any number of arguments.
const MANY: usize = usize::MAX;

impl Function {
    const fn strict(
        name: &'static str,
        arguments: (usize, usize),
        returns: Type,
        body: StrictBody,
    ) -> Self {
        let (least, most) = arguments;
        let returns = Returns::Always(returns);
        Self { name, least, most, returns, body: Body::Strict(body), pure: true }
    }

    const fn lazy(
        name: &'static str,
        arguments: (usize, usize),
        returns: Type,
        body: LazyBody,
    ) -> Self {
        let (least, most) = arguments;
        let returns = Returns::Always(returns);
        Self { name, least, most, returns, body: Body::Lazy(body), pure: true }
    }

    /// With a type that depends on the arguments'.
    const fn returning(mut self, returns: fn(&[Expression]) -> Type) -> Self {
        self.returns = Returns::Of(returns);
        self
    }

    /// Depends on the moment, the session or chance.
    const fn impure(mut self) -> Self {
        self.pure = false;
        self
    }

    pub(super) fn ty(&self, arguments: &[Expression]) -> Type {
        match self.returns {
            Returns::Always(ty) => ty,
            Returns::Of(returns) => returns(arguments),
        }
    }

    pub(super) fn takes(&self, arguments: usize) -> bool {
        (self.least..=self.most).contains(&arguments)
    }
}

/// The functions of MySQL that aggregate: known, but no scalars.
const AGGREGATES: &[&str] = &[
    "avg",
    "bit_and",
    "bit_or",
    "bit_xor",
    "count",
    "group_concat",
    "json_arrayagg",
    "json_objectagg",
    "max",
    "min",
    "std",
    "stddev",
    "stddev_pop",
    "stddev_samp",
    "sum",
    "var_pop",
    "var_samp",
    "variance",
];

/// Whether a name in lower case is that of an aggregate.
pub(super) fn is_aggregate(name: &str) -> bool {
    AGGREGATES.binary_search(&name).is_ok()
}

static BY_NAME: LazyLock<HashMap<&'static str, &'static Function>> = LazyLock::new(|| {
    let tables = [
        control::FUNCTIONS,
        date_parts::FUNCTIONS,
        dates::FUNCTIONS,
        encoding::FUNCTIONS,
        information::FUNCTIONS,
        math::FUNCTIONS,
        numeric::FUNCTIONS,
        padding::FUNCTIONS,
        search::FUNCTIONS,
        text::FUNCTIONS,
    ];
    tables.into_iter().flatten().map(|function| (function.name, function)).collect()
});

/// Other names of the same functions.
const SYNONYMS: &[(&str, &str)] = &[
    ("adddate", "date_add"),
    ("ceil", "ceiling"),
    ("character_length", "char_length"),
    ("current_date", "curdate"),
    ("current_time", "curtime"),
    ("current_timestamp", "now"),
    ("dayofmonth", "day"),
    ("lcase", "lower"),
    ("localtime", "now"),
    ("localtimestamp", "now"),
    ("mid", "substring"),
    ("nvl", "ifnull"),
    ("octet_length", "length"),
    ("pow", "power"),
    ("schema", "database"),
    ("session_user", "user"),
    ("sha", "sha1"),
    ("subdate", "date_sub"),
    ("substr", "substring"),
    ("system_user", "user"),
    ("ucase", "upper"),
];

/// The function of a name in lower case.
pub(super) fn named(name: &str) -> Option<&'static Function> {
    let synonym = SYNONYMS.binary_search_by_key(&name, |(synonym, _)| synonym);
    let name = synonym.map_or(name, |found| SYNONYMS[found].1);
    BY_NAME.get(name).copied()
}

/// A value as text to look at.
fn read<'v>(value: &'v ValueRef<'_>) -> Cow<'v, str> {
    match value {
        ValueRef::Text(text) => Cow::Borrowed(text),
        other => Cow::Owned(text_of(other.clone()).into_owned()),
    }
}

/// A piece of a text as a value, borrowed if the text is.
fn piece<'e>(value: &ValueRef<'e>, range: std::ops::Range<usize>) -> ValueRef<'e> {
    match value {
        ValueRef::Text(Cow::Borrowed(text)) => ValueRef::Text(Cow::Borrowed(&text[range])),
        ValueRef::Bytes(Cow::Borrowed(bytes)) => ValueRef::Bytes(Cow::Borrowed(&bytes[range])),
        ValueRef::Bytes(bytes) => ValueRef::Bytes(bytes[range].to_vec().into()),
        other => ValueRef::Text(read(other)[range].to_owned().into()),
    }
}

/// Whether a result of so many bytes may be made; if not, the result is NULL, with a warning.
fn may_make(bytes: usize, function: &'static str, env: &Env<'_>) -> Result<bool, Error> {
    let limit = env.context.max_packet;
    if bytes > limit {
        env.context.complain(Error::TooLong { function, limit })?;
    }
    Ok(bytes <= limit)
}

fn text<'e>(text: String) -> ValueRef<'e> {
    ValueRef::Text(text.into())
}

fn truth<'e>(truth: bool) -> ValueRef<'e> {
    ValueRef::Int(i64::from(truth))
}

/// The type of a text function: bytes if an argument is bytes.
fn text_or_bytes(arguments: &[Expression]) -> Type {
    let bytes = arguments.iter().any(|argument| argument.ty == Type::Bytes);
    if bytes { Type::Bytes } else { Type::Text }
}

/// The type of the first argument, where that is bytes, else text.
fn like_first(arguments: &[Expression]) -> Type {
    text_or_bytes(&arguments[..arguments.len().min(1)])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lists that are searched by halves are sorted, and every synonym means a function.
    #[test]
    fn names_are_found() {
        assert!(SYNONYMS.is_sorted());
        assert!(AGGREGATES.is_sorted());
        for (synonym, name) in SYNONYMS {
            assert_eq!(named(synonym).map(|function| function.name), Some(*name));
        }
        assert!(named("nope").is_none());
    }
}
