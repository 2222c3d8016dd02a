//! Bits that both sides exchange: what each can do, and the state of a session.

use std::ops::{BitAnd, BitOr, BitOrAssign};

/// What a side of a connection can do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capabilities(pub u32);

impl Capabilities {
    /// MySQL, as opposed to MariaDB, whose own capabilities stand elsewhere.
    pub const MYSQL: Self = Self(1);
    /// UPDATE counts rows that were found, not only those that changed.
    pub const FOUND_ROWS: Self = Self(1 << 1);
    /// Columns have all their flags.
    pub const LONG_FLAG: Self = Self(1 << 2);
    /// The login names a database.
    pub const CONNECT_WITH_DB: Self = Self(1 << 3);
    /// Packets come compressed with zlib.
    pub const COMPRESS: Self = Self(1 << 5);
    /// The client hands over files for LOAD DATA LOCAL.
    pub const LOCAL_FILES: Self = Self(1 << 7);
    /// Blanks before brackets do not count. A matter of the parser; accepted.
    pub const IGNORE_SPACE: Self = Self(1 << 8);
    /// The protocol of MySQL 4.1; without it nobody gets in.
    pub const PROTOCOL_41: Self = Self(1 << 9);
    /// Somebody sits in front: the longer idle limit is meant. Accepted.
    pub const INTERACTIVE: Self = Self(1 << 10);
    /// TLS.
    pub const SSL: Self = Self(1 << 11);
    /// The state of the transaction comes with each OK.
    pub const TRANSACTIONS: Self = Self(1 << 13);
    /// The login's answer to the salt stands behind its length.
    pub const SECURE_CONNECTION: Self = Self(1 << 15);
    /// Several statements in one query.
    pub const MULTI_STATEMENTS: Self = Self(1 << 16);
    /// Several results of one query.
    pub const MULTI_RESULTS: Self = Self(1 << 17);
    /// Several results of one prepared statement.
    pub const PS_MULTI_RESULTS: Self = Self(1 << 18);
    /// Ways to log in have names.
    pub const PLUGIN_AUTH: Self = Self(1 << 19);
    /// The login carries attributes.
    pub const CONNECT_ATTRS: Self = Self(1 << 20);
    /// The login's answer may be longer than 255 bytes.
    pub const PLUGIN_AUTH_LENENC: Self = Self(1 << 21);
    /// An OK packet ends rows, no EOF packet.
    pub const DEPRECATE_EOF: Self = Self(1 << 24);

    /// Whether all bits of `other` are set.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Without the bits of `other`.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
}

impl BitOr for Capabilities {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitAnd for Capabilities {
    type Output = Self;
    fn bitand(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

impl BitOrAssign for Capabilities {
    fn bitor_assign(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

/// The state of a session, told with each OK and EOF. Connectors show it to their users
/// (`in_transaction`, `autocommit`) and decide by it whether another result follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status(pub u16);

impl Status {
    /// A transaction is open.
    pub const IN_TRANSACTION: Self = Self(1);
    /// Statements commit by themselves.
    pub const AUTOCOMMIT: Self = Self(1 << 1);
    /// Another result follows. Set by the protocol itself.
    pub const MORE_RESULTS: Self = Self(1 << 3);
    /// No index was of use.
    pub const NO_INDEX_USED: Self = Self(1 << 5);
    /// `\\` is a plain character in literals.
    pub const NO_BACKSLASH_ESCAPES: Self = Self(1 << 9);
    /// The open transaction only reads.
    pub const IN_TRANSACTION_READ_ONLY: Self = Self(1 << 13);

    /// With the bits of `other` set or cleared.
    #[must_use]
    pub const fn with(self, other: Self, set: bool) -> Self {
        if set { Self(self.0 | other.0) } else { Self(self.0 & !other.0) }
    }

    /// Whether all bits of `other` are set.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

/// A session that was just opened: autocommit, no transaction.
impl Default for Status {
    fn default() -> Self {
        Self::AUTOCOMMIT
    }
}
