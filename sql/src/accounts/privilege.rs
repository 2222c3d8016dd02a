//! Privileges, and sets of them.

use std::fmt;
use std::ops::{BitAnd, BitOr, BitOrAssign, Not};

/// The narrowest thing that a privilege can be granted on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Reach {
    /// `*.*` only.
    Global,
    /// A database.
    Database,
    /// A table.
    Table,
}

/// A set of privileges. The bits are those of the file of accounts: they keep their meaning.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Privileges(u64);

macro_rules! privileges {
    ($($name:ident = $bit:literal, $text:literal, $reach:ident;)*) => {
        impl Privileges {
            $(#[doc = concat!("`", $text, "`")]
            pub(crate) const $name: Self = Self(1 << $bit);)*
        }

        /// All of them, in the order in which SHOW GRANTS names them.
        const ALL: &[(Privileges, &str, Reach)] =
            &[$((Privileges::$name, $text, Reach::$reach)),*];
    };
}

privileges! {
    SELECT = 0, "SELECT", Table;
    INSERT = 1, "INSERT", Table;
    UPDATE = 2, "UPDATE", Table;
    DELETE = 3, "DELETE", Table;
    CREATE = 4, "CREATE", Table;
    DROP = 5, "DROP", Table;
    RELOAD = 6, "RELOAD", Global;
    SHUTDOWN = 7, "SHUTDOWN", Global;
    PROCESS = 8, "PROCESS", Global;
    FILE = 9, "FILE", Global;
    REFERENCES = 10, "REFERENCES", Table;
    INDEX = 11, "INDEX", Table;
    ALTER = 12, "ALTER", Table;
    SHOW_DATABASES = 13, "SHOW DATABASES", Global;
    SUPER = 14, "SUPER", Global;
    CREATE_TEMPORARY_TABLES = 15, "CREATE TEMPORARY TABLES", Database;
    LOCK_TABLES = 16, "LOCK TABLES", Database;
    EXECUTE = 17, "EXECUTE", Database;
    REPLICATION_SLAVE = 18, "REPLICATION SLAVE", Global;
    REPLICATION_CLIENT = 19, "REPLICATION CLIENT", Global;
    CREATE_VIEW = 20, "CREATE VIEW", Table;
    SHOW_VIEW = 21, "SHOW VIEW", Table;
    CREATE_ROUTINE = 22, "CREATE ROUTINE", Database;
    ALTER_ROUTINE = 23, "ALTER ROUTINE", Database;
    CREATE_USER = 24, "CREATE USER", Global;
    EVENT = 25, "EVENT", Database;
    TRIGGER = 26, "TRIGGER", Table;
    CREATE_TABLESPACE = 27, "CREATE TABLESPACE", Global;
    ALTER_VIEW = 28, "ALTER VIEW", Table;
    DROP_VIEW = 29, "DROP VIEW", Table;
    CREATE_DATABASE = 30, "CREATE DATABASE", Database;
    DROP_DATABASE = 31, "DROP DATABASE", Database;
    BACKUP = 32, "BACKUP", Database;
    SHOW_METADATA = 33, "SHOW METADATA", Global;
    CLUSTER = 34, "CLUSTER", Global;
    REPLICATION = 35, "REPLICATION", Global;
    FILE_READ = 36, "FILE READ", Global;
    FILE_WRITE = 37, "FILE WRITE", Global;
    GRANT_OPTION = 38, "GRANT OPTION", Table;
}

impl Privileges {
    /// `USAGE`: none.
    pub(crate) const NONE: Self = Self(0);

    /// Those that can be granted at a level, GRANT OPTION apart: `ALL` there.
    pub(crate) fn all_at(level: Reach) -> Self {
        let fits =
            |(one, _, reach): &&(Self, &str, Reach)| *reach >= level && *one != Self::GRANT_OPTION;
        ALL.iter().filter(fits).fold(Self::NONE, |set, (one, ..)| set | *one)
    }

    /// The privilege of this name, in capitals; ALL and USAGE are none.
    pub(crate) fn named(name: &str) -> Option<Self> {
        ALL.iter().find(|(_, own, _)| *own == name).map(|(one, ..)| *one)
    }

    /// From the bits of a file; none if there are unknown ones.
    pub(crate) fn from_bits(bits: u64) -> Option<Self> {
        let known = Self::all_at(Reach::Global) | Self::GRANT_OPTION;
        (bits & !known.0 == 0).then_some(Self(bits))
    }

    pub(crate) const fn bits(self) -> u64 {
        self.0
    }

    pub(crate) const fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(crate) const fn contains(self, others: Self) -> bool {
        self.0 & others.0 == others.0
    }

    pub(crate) const fn intersects(self, others: Self) -> bool {
        self.0 & others.0 != 0
    }

    /// Their names, GRANT OPTION apart, which is not named among them.
    pub(crate) fn names(self) -> impl Iterator<Item = &'static str> {
        let held = move |(one, ..): &&(Self, &str, Reach)| {
            self.contains(*one) && *one != Self::GRANT_OPTION
        };
        ALL.iter().filter(held).map(|(_, name, _)| *name)
    }
}

impl BitOr for Privileges {
    type Output = Self;

    fn bitor(self, others: Self) -> Self {
        Self(self.0 | others.0)
    }
}

impl BitOrAssign for Privileges {
    fn bitor_assign(&mut self, others: Self) {
        self.0 |= others.0;
    }
}

impl BitAnd for Privileges {
    type Output = Self;

    fn bitand(self, others: Self) -> Self {
        Self(self.0 & others.0)
    }
}

impl Not for Privileges {
    type Output = Self;

    fn not(self) -> Self {
        Self(!self.0)
    }
}

impl fmt::Display for Privileges {
    /// As they stand in errors: `SELECT, INSERT`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.names().collect::<Vec<_>>().join(", "))
    }
}

impl fmt::Debug for Privileges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let grants = if self.contains(Self::GRANT_OPTION) { " + GRANT" } else { "" };
        write!(f, "{{{self}{grants}}}")
    }
}
