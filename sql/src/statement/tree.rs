//! Nodes of sqlparser's tree inside of ours.

use std::fmt;
use std::ops::Deref;

/// A node of sqlparser's tree. For debugging it prints as SQL: the node itself prints a page for
/// `a = 1`.
///
/// Parameters are `Value::Placeholder("$n")`, numbered from 1; variables are identifiers that
/// begin with `@` or `@@`; strings of bytes are `Value::HexStringLiteral`, bits
/// `Value::SingleQuotedByteStringLiteral`.
#[derive(Clone, PartialEq)]
pub struct Sql<T>(pub T);

impl<T: fmt::Display> fmt::Debug for Sql<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "«{}»", self.0)
    }
}

impl<T> Deref for Sql<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}
