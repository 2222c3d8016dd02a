//! `REGEXP` and `RLIKE`. The expressions are those of the `regex` crate: no look-around and no
//! back references, and in return a time that grows with the text only.

use regex::{Regex, RegexBuilder};
use resprout_engine::table::{Value, ValueRef};

use super::collation::Collation;
use super::error::Error;
use super::logic::three_valued;
use super::node::{Env, Expression};
use super::number::text_of;

/// Bytes that a compiled expression may take.
const COMPILED_MAX: usize = 1 << 20;

/// Bytes of the longest expression.
const PATTERN_MAX: usize = 16 << 10;

/// `operand REGEXP pattern`.
#[derive(Debug)]
pub(super) struct Regexp {
    pub(super) operand: Expression,
    pub(super) pattern: Expression,
    /// The compiled pattern when it is a constant.
    fixed: Option<Regex>,
    pub(super) collation: Collation,
    pub(super) negated: bool,
}

/// Compiles a pattern.
pub(super) fn compile(pattern: &str, collation: Collation) -> Result<Regex, Error> {
    if pattern.len() > PATTERN_MAX {
        return Err(Error::Regexp("regular expression is too large".into()));
    }
    RegexBuilder::new(pattern)
        .case_insensitive(collation == Collation::GeneralCi)
        .size_limit(COMPILED_MAX)
        .dfa_size_limit(COMPILED_MAX)
        .build()
        .map_err(|error| {
            // The crate draws the place of the error on several lines; the last says what it is.
            let text = error.to_string();
            Error::Regexp(text.lines().last().unwrap_or_default().trim().to_owned())
        })
}

impl Regexp {
    pub(super) fn new(
        operand: Expression,
        pattern: Expression,
        collation: Collation,
        negated: bool,
    ) -> Result<Self, Error> {
        let fixed = match pattern.constant() {
            Some(Value::Text(text)) => Some(compile(text, collation)?),
            _ => None,
        };
        Ok(Self { operand, pattern, fixed, collation, negated })
    }

    pub(super) fn evaluate<'e>(&'e self, env: &Env<'e>) -> Result<ValueRef<'e>, Error> {
        let operand = self.operand.eval(env)?;
        if operand.is_null() {
            return Ok(ValueRef::Null);
        }
        if let Some(regex) = &self.fixed {
            let matches = regex.is_match(&text_of(operand));
            return Ok(three_valued(Some(matches != self.negated)));
        }
        let pattern = self.pattern.eval(env)?;
        if pattern.is_null() {
            return Ok(ValueRef::Null);
        }
        let regex = compile(&text_of(pattern), self.collation)?;
        Ok(three_valued(Some(regex.is_match(&text_of(operand)) != self.negated)))
    }
}
