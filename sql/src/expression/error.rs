//! What can be wrong with an expression: numbers, SQLSTATEs and wording are MySQL's, because
//! drivers and people's scripts look at them.

use std::fmt;

/// Most bytes of a piece of the expression that an error or warning shows.
const EXCERPT_MAX: usize = 128;

/// Why an expression cannot be compiled or evaluated.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No such column (MySQL 1054).
    #[error("Unknown column '{name}' in '{clause}'")]
    UnknownColumn {
        /// As it was written.
        name: String,
        /// The clause, such as `field list`.
        clause: &'static str,
    },
    /// No such function (MySQL 1305).
    #[error("FUNCTION {0} does not exist")]
    UnknownFunction(String),
    /// A function with more or fewer arguments than it takes (MySQL 1582).
    #[error("Incorrect parameter count in the call to native function '{0}'")]
    ParameterCount(String),
    /// A function with arguments that it does not take (MySQL 1583).
    #[error("Incorrect parameters in the call to native function '{0}'")]
    Parameters(String),
    /// An aggregate where there are no rows to aggregate (MySQL 1111).
    #[error("Invalid use of group function")]
    GroupFunction,
    /// No such system variable (MySQL 1193).
    #[error("Unknown system variable '{0}'")]
    UnknownSystemVariable(String),
    /// No such collation (MySQL 1273).
    #[error("Unknown collation: '{0}'")]
    UnknownCollation(String),
    /// Two collations that were both asked for (MySQL 1267).
    #[error("Illegal mix of collations for operation '{0}'")]
    CollationMix(&'static str),
    /// A row of so many values where another number is needed (MySQL 1241).
    #[error("Operand should contain {0} column(s)")]
    OperandColumns(usize),
    /// More digits, or more after the point, than there may be (MySQL 1425, 1426).
    #[error("Too big {what} {found} specified for '{of}'. Maximum is {limit}")]
    TooBig {
        /// `precision` or `scale`.
        what: &'static str,
        /// The number as given.
        found: u64,
        /// What it was given for.
        of: String,
        /// The largest possible.
        limit: u64,
    },
    /// The column has no default (MySQL 1364).
    #[error("Field '{0}' doesn't have a default value")]
    NoDefault(String),
    /// Something that this server does not have, or that is no scalar expression, such as a
    /// subquery (MySQL 1235).
    #[error("This version of Resprout doesn't yet support '{0}'")]
    Unsupported(String),
    /// Operators inside of each other beyond [`DEPTH_MAX`](super::DEPTH_MAX) (MySQL 1436).
    #[error("Thread stack overrun: the expression is nested too deeply")]
    TooDeep,
    /// A number does not fit its type (MySQL 1690).
    #[error("{ty} value is out of range in '{expression}'")]
    OutOfRange {
        /// The type: `BIGINT`, `BIGINT UNSIGNED`, `DECIMAL`, `DOUBLE`.
        ty: &'static str,
        /// The expression, shortened if long.
        expression: String,
    },
    /// A value that means nothing in the type it is needed in, in a strict write (MySQL 1292).
    #[error("Truncated incorrect {ty} value: '{value}'")]
    Truncated {
        /// The type.
        ty: &'static str,
        /// The value, shortened if long.
        value: String,
    },
    /// A date or time that there is not, in a literal or in a strict write (MySQL 1292, 1525).
    #[error("Incorrect {ty} value: '{value}'")]
    Incorrect {
        /// The type.
        ty: &'static str,
        /// The value, shortened if long.
        value: String,
        /// Whether it was a literal.
        literal: bool,
    },
    /// A number does not fit the type that it is cast to, in a strict write (MySQL 1264).
    #[error("Out of range value for column '{0}' at row 1")]
    OutOfColumn(String),
    /// Division by zero in a strict write (MySQL 1365).
    #[error("Division by 0")]
    DivisionByZero,
    /// A value would be longer than a packet, in a strict write (MySQL 1301).
    #[error("Result of {function}() was larger than max_allowed_packet ({limit}) - truncated")]
    TooLong {
        /// The function.
        function: &'static str,
        /// The limit.
        limit: usize,
    },
    /// A pattern that is no regular expression (MySQL 1139).
    #[error("Got error '{0}' from regexp")]
    Regexp(String),
    /// A parameter that was given no value (MySQL 1210).
    #[error("Incorrect arguments to EXECUTE")]
    MissingParameter,
    /// The row could not be read.
    #[error("{0}")]
    Row(String),
}

impl Error {
    /// MySQL's number of this error.
    #[must_use]
    pub const fn mysql_code(&self) -> u16 {
        match self {
            Self::UnknownColumn { .. } => 1054,
            Self::UnknownFunction(_) => 1305,
            Self::ParameterCount(_) => 1582,
            Self::Parameters(_) => 1583,
            Self::GroupFunction => 1111,
            Self::UnknownSystemVariable(_) => 1193,
            Self::UnknownCollation(_) => 1273,
            Self::CollationMix(_) => 1267,
            Self::OperandColumns(_) => 1241,
            Self::TooBig { what, .. } => match what.as_bytes() {
                b"scale" => 1425,
                _ => 1426,
            },
            Self::NoDefault(_) => 1364,
            Self::Unsupported(_) => 1235,
            Self::TooDeep => 1436,
            Self::OutOfRange { .. } => 1690,
            Self::Truncated { .. } => 1292,
            Self::Incorrect { literal, .. } => {
                if *literal {
                    1525
                } else {
                    1292
                }
            }
            Self::OutOfColumn(_) => 1264,
            Self::DivisionByZero => 1365,
            Self::TooLong { .. } => 1301,
            Self::Regexp(_) => 1139,
            Self::MissingParameter => 1210,
            Self::Row(_) => 1105,
        }
    }

    /// The SQLSTATE that goes with the number.
    #[must_use]
    pub const fn sqlstate(&self) -> &'static str {
        match self {
            Self::UnknownColumn { .. } => "42S22",
            Self::UnknownFunction(_)
            | Self::ParameterCount(_)
            | Self::Parameters(_)
            | Self::TooBig { .. }
            | Self::Unsupported(_)
            | Self::Regexp(_) => "42000",
            Self::OperandColumns(_) => "21000",
            Self::OutOfRange { .. } | Self::OutOfColumn(_) => "22003",
            Self::Truncated { .. } => "22007",
            Self::Incorrect { literal: false, .. } => "22007",
            Self::DivisionByZero => "22012",
            _ => "HY000",
        }
    }
}

/// The beginning of what is displayed, at most [`EXCERPT_MAX`] bytes. Writing stops there, so the
/// excerpt of a large tree costs no more than that of a small one.
pub(super) fn excerpt(shown: &impl fmt::Display) -> String {
    struct Limited(String);
    impl fmt::Write for Limited {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            for character in text.chars() {
                if self.0.len() + character.len_utf8() > EXCERPT_MAX {
                    return Err(fmt::Error);
                }
                self.0.push(character);
            }
            Ok(())
        }
    }
    let mut limited = Limited(String::new());
    match fmt::write(&mut limited, format_args!("{shown}")) {
        Ok(()) => limited.0,
        Err(fmt::Error) => limited.0 + "...",
    }
}
