//! `LIKE`: `%` stands for any characters, `_` for one.

use std::borrow::Cow;

use resprout_engine::table::{Value, ValueRef};

use super::collation::Collation;
use super::error::Error;
use super::logic::three_valued;
use super::node::{Env, Expression};
use super::number::{bytes_of, text_of};

/// `operand LIKE pattern ESCAPE escape`.
#[derive(Debug)]
pub(super) struct Like {
    pub(super) operand: Expression,
    pub(super) pattern: Expression,
    /// The pattern when it is a constant.
    pub(super) fixed: Option<Pattern>,
    pub(super) escape: Option<char>,
    pub(super) collation: Collation,
    pub(super) negated: bool,
}

/// A pattern taken apart.
#[derive(Debug)]
pub(crate) struct Pattern {
    parts: Vec<Part>,
    /// The pattern is these ASCII letters, in upper case where case does not count, and then
    /// anything: `'abc%'`.
    prefix: Option<Box<[u8]>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// A character, by its [key](Collation::key).
    Key(u32),
    /// `_`.
    One,
    /// `%`.
    Any,
}

impl Pattern {
    pub(crate) fn new(pattern: &str, escape: Option<char>, collation: Collation) -> Self {
        Self::of(pattern.chars(), escape, collation)
    }

    fn of(
        mut marks: impl Iterator<Item = char>,
        escape: Option<char>,
        collation: Collation,
    ) -> Self {
        let mut parts = Vec::new();
        while let Some(mark) = marks.next() {
            parts.push(match mark {
                _ if Some(mark) == escape => {
                    // An escape at the end stands for itself.
                    Part::Key(collation.key(marks.next().unwrap_or(mark)))
                }
                '%' if parts.last() == Some(&Part::Any) => continue,
                '%' => Part::Any,
                '_' => Part::One,
                _ => Part::Key(collation.key(mark)),
            });
        }
        let prefix = Self::ascii_prefix(&parts);
        Self { parts, prefix }
    }

    fn ascii_prefix(parts: &[Part]) -> Option<Box<[u8]>> {
        let (Part::Any, keys) = parts.split_last()? else { return None };
        let byte = |part: &Part| match part {
            Part::Key(key) => u8::try_from(*key).ok().filter(u8::is_ascii),
            _ => None,
        };
        keys.iter().map(byte).collect()
    }

    pub(crate) fn matches(&self, text: &str, collation: Collation) -> bool {
        if let Some(prefix) = &self.prefix
            && let Some(begin) = text.as_bytes().get(..prefix.len())
            && begin.is_ascii()
        {
            return match collation {
                Collation::GeneralCi => begin.eq_ignore_ascii_case(prefix),
                Collation::Bin | Collation::Binary => *begin == **prefix,
            };
        }
        let next = |at: usize| {
            let character = text[at..].chars().next()?;
            Some((collation.key(character), at + character.len_utf8()))
        };
        self.matches_keys(next)
    }

    fn matches_bytes(&self, bytes: &[u8]) -> bool {
        self.matches_keys(|at| bytes.get(at).map(|byte| (u32::from(*byte), at + 1)))
    }

    /// Matches from the left. On a mismatch the last `%` takes one character more, so the time is
    /// bounded by the product of both lengths.
    fn matches_keys(&self, next: impl Fn(usize) -> Option<(u32, usize)>) -> bool {
        let (mut at, mut part) = (0, 0);
        let mut retry: Option<(usize, usize)> = None;
        loop {
            let advanced = match self.parts.get(part) {
                Some(Part::Any) => {
                    retry = Some((at, part + 1));
                    part += 1;
                    continue;
                }
                Some(Part::One) => next(at).map(|(_, after)| after),
                Some(Part::Key(key)) => next(at).filter(|read| read.0 == *key).map(|read| read.1),
                None if next(at).is_none() => return true,
                None => None,
            };
            if let Some(after) = advanced {
                (at, part) = (after, part + 1);
                continue;
            }
            // What remains must be at the end, so nothing is won by going on there.
            let Some((from, behind)) = retry else { return false };
            let Some((_, after)) = next(from) else { return false };
            retry = Some((after, behind));
            (at, part) = (after, behind);
        }
    }
}

impl Like {
    /// The pattern of a constant, so that rows do not take it apart again.
    pub(super) fn prepare(mut self) -> Self {
        self.fixed = match self.pattern.constant() {
            Some(Value::Text(text)) => Some(Pattern::new(text, self.escape, self.collation)),
            _ => None,
        };
        self
    }

    pub(super) fn evaluate<'e>(&'e self, env: &Env<'e>) -> Result<ValueRef<'e>, Error> {
        let operand = self.operand.eval(env)?;
        if operand.is_null() {
            return Ok(ValueRef::Null);
        }
        if let (Some(pattern), false) = (&self.fixed, matches!(operand, ValueRef::Bytes(_))) {
            let matches = match &operand {
                ValueRef::Text(text) => pattern.matches(text, self.collation),
                _ => pattern.matches(&text_of(operand), self.collation),
            };
            return Ok(three_valued(Some(matches != self.negated)));
        }
        let pattern = self.pattern.eval(env)?;
        if pattern.is_null() {
            return Ok(ValueRef::Null);
        }
        let matches = self.match_once(operand, pattern);
        Ok(three_valued(Some(matches != self.negated)))
    }

    fn match_once(&self, operand: ValueRef<'_>, pattern: ValueRef<'_>) -> bool {
        if matches!(operand, ValueRef::Bytes(_)) || matches!(pattern, ValueRef::Bytes(_)) {
            let marks: Cow<'_, [u8]> = bytes_of(pattern);
            let marks = marks.iter().map(|byte| char::from(*byte));
            return Pattern::of(marks, self.escape, Collation::Binary)
                .matches_bytes(&bytes_of(operand));
        }
        let pattern = Pattern::new(&text_of(pattern), self.escape, self.collation);
        pattern.matches(&text_of(operand), self.collation)
    }
}
