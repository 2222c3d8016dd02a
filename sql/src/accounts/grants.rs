//! What an account may do, and where.
//!
//! Privileges add up: on everything, on databases whose name matches a pattern, on tables. MySQL
//! takes one of several matching patterns; which one, its manual advises not to rely on.

use std::collections::BTreeMap;

use super::privilege::{Privileges, Reach};
use crate::expression::{Collation, Pattern};

/// The database of the views about databases, which everybody may read and nobody change.
pub(crate) const INFORMATION_SCHEMA: &str = "information_schema";

/// A database's name as a key of grants may have wildcards: `%`, `_`, and a backslash before one
/// that is meant.
type DatabasePattern = String;

/// What an account may do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Grants {
    /// On everything.
    pub(crate) global: Privileges,
    /// On databases. None is empty.
    pub(crate) databases: BTreeMap<DatabasePattern, Privileges>,
    /// On tables, by database and name. None is empty.
    pub(crate) tables: BTreeMap<(String, String), Privileges>,
}

impl Grants {
    /// All there is, also to give it on.
    pub(crate) fn everything() -> Self {
        let global = Privileges::all_at(Reach::Global) | Privileges::GRANT_OPTION;
        Self { global, ..Self::default() }
    }

    /// Whether nothing is denied.
    pub(crate) fn is_everything(&self) -> bool {
        self.global.contains(Privileges::all_at(Reach::Global) | Privileges::GRANT_OPTION)
    }

    /// Privileges on a database, those on everything included.
    pub(crate) fn on_database(&self, database: &str) -> Privileges {
        let matching = self.databases.iter().filter(|(pattern, _)| matches(pattern, database));
        matching.fold(self.global, |set, (_, privileges)| set | *privileges)
    }

    /// Privileges on a table, those on its database included.
    pub(crate) fn on_table(&self, database: &str, table: &str) -> Privileges {
        let own = self.tables.get(&(database.to_owned(), table.to_owned()));
        self.on_database(database) | own.copied().unwrap_or_default()
    }

    /// Whether a database may be used: there is something that may be done in it.
    pub(crate) fn enters(&self, database: &str) -> bool {
        is_information_schema(database)
            || self.on_database(database).intersects(Privileges::all_at(Reach::Database))
            || self.tables.keys().any(|(own, _)| own == database)
    }

    /// Whether a database is listed.
    pub(crate) fn sees_database(&self, database: &str) -> bool {
        self.global.contains(Privileges::SHOW_DATABASES) || self.enters(database)
    }

    /// Whether a table is listed.
    pub(crate) fn sees_table(&self, database: &str, table: &str) -> bool {
        is_information_schema(database)
            || self.on_table(database, table).intersects(Privileges::all_at(Reach::Table))
    }
}

/// Whether it is the database of the views, whose name may be written in any case.
pub(crate) fn is_information_schema(database: &str) -> bool {
    database.eq_ignore_ascii_case(INFORMATION_SCHEMA)
}

fn matches(pattern: &str, database: &str) -> bool {
    if pattern == database {
        return true;
    }
    pattern.contains(['%', '_', '\\'])
        && Pattern::new(pattern, Some('\\'), Collation::Bin).matches(database, Collation::Bin)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grants() -> Grants {
        let table = |database: &str, table: &str| (database.to_owned(), table.to_owned());
        Grants {
            global: Privileges::PROCESS,
            databases: [
                ("shop".to_owned(), Privileges::SELECT | Privileges::INSERT),
                ("t\\_%".to_owned(), Privileges::ALTER),
                ("_x".to_owned(), Privileges::DELETE),
            ]
            .into(),
            tables: [
                (table("shop", "orders"), Privileges::UPDATE),
                (table("hr", "people"), Privileges::SELECT),
            ]
            .into(),
        }
    }

    /// Promise (S09): privileges hold where they were granted, add up, and hold nowhere else.
    #[test]
    fn s09_grants_hold_where_they_are() {
        use Privileges as P;
        let grants = grants();
        assert_eq!(grants.on_database("shop"), P::PROCESS | P::SELECT | P::INSERT);
        assert_eq!(
            grants.on_table("shop", "orders"),
            P::PROCESS | P::SELECT | P::INSERT | P::UPDATE
        );
        for other in ["Shop", "shop2", "sho", "", "SHOP"] {
            assert_eq!(grants.on_database(other), P::PROCESS, "{other}");
            assert_eq!(grants.on_table(other, "orders"), P::PROCESS, "{other}");
        }
        assert_eq!(grants.on_table("hr", "people"), P::PROCESS | P::SELECT);
        assert_eq!(grants.on_table("hr", "People"), P::PROCESS);
        assert_eq!(grants.on_database("t_1"), P::PROCESS | P::ALTER);
        assert_eq!(grants.on_database("tx1"), P::PROCESS);
        assert_eq!(grants.on_database("ax"), P::PROCESS | P::DELETE);
        assert_eq!(grants.on_database("aax"), P::PROCESS);
    }

    /// Promise (S09): who may do nothing in a database neither sees nor uses it.
    #[test]
    fn s09_only_what_is_granted_is_seen() {
        let mut grants = grants();
        for (database, expected) in [("shop", true), ("hr", true), ("t_a", true), ("other", false)]
        {
            assert_eq!(grants.sees_database(database), expected, "{database}");
            assert_eq!(grants.enters(database), expected, "{database}");
        }
        assert!(grants.sees_table("shop", "anything") && grants.sees_table("hr", "people"));
        assert!(!grants.sees_table("hr", "salaries") && !grants.sees_table("other", "people"));
        assert!(grants.sees_table("INFORMATION_SCHEMA", "TABLES"));
        grants.global |= Privileges::SHOW_DATABASES;
        assert!(grants.sees_database("other") && !grants.enters("other"));
        assert!(!grants.is_everything() && Grants::everything().is_everything());
    }
}
