//! What GRANT and REVOKE name: privileges, and on what.

use super::privilege::{Privileges, Reach};
use crate::error::{Code, SqlError};
use crate::statement::{Level, Privilege, TableName};

/// The privileges of a GRANT or REVOKE.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Privileged(Privileges);

/// The narrowest thing that a level can be.
pub(super) const fn reach(level: &Level) -> Reach {
    match level {
        Level::Global => Reach::Global,
        Level::CurrentDatabase | Level::Database(_) => Reach::Database,
        Level::Table(_) => Reach::Table,
    }
}

impl Privileged {
    /// What names mean at a level.
    ///
    /// # Errors
    /// 1235 for columns, 1221 and 1144 for privileges that are not granted on such a thing.
    pub(super) fn of(named: &[Privilege], level: Reach) -> Result<Self, SqlError> {
        let mut set = Privileges::NONE;
        for Privilege { name, columns } in named {
            if !columns.is_empty() {
                return Err(SqlError::not_supported("privileges on columns"));
            }
            set |= match *name {
                "ALL" => Privileges::all_at(level),
                "USAGE" => Privileges::NONE,
                name => one(name, level)?,
            };
        }
        Ok(Self(set))
    }

    pub(super) const fn set(self) -> Privileges {
        self.0
    }
}

fn one(name: &str, level: Reach) -> Result<Privileges, SqlError> {
    let unknown = || SqlError::not_supported(&format!("the privilege {name}"));
    let privilege = Privileges::named(name).ok_or_else(unknown)?;
    let fits = Privileges::all_at(level) | Privileges::GRANT_OPTION;
    if fits.contains(privilege) {
        return Ok(privilege);
    }
    Err(match level {
        Reach::Table => SqlError::plain(Code::ILLEGAL_GRANT_FOR_TABLE),
        Reach::Global | Reach::Database => {
            let text = "Incorrect usage of DB GRANT and GLOBAL PRIVILEGES";
            SqlError::new(Code::WRONG_USAGE, text)
        }
    })
}

/// On what, with the database in use filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Everything.
    Global,
    /// Databases whose names match a pattern.
    Databases(String),
    /// A table of a database.
    Table(String, String),
}

impl Place {
    /// Of a level.
    ///
    /// # Errors
    /// 1046 if no database is in use.
    pub(super) fn of(level: &Level, database: Option<&str>) -> Result<Self, SqlError> {
        let in_use = || database.ok_or_else(|| SqlError::plain(Code::NO_DB));
        Ok(match level {
            Level::Global => Self::Global,
            Level::CurrentDatabase => Self::Databases(literal(in_use()?)),
            Level::Database(pattern) => Self::Databases(pattern.clone()),
            Level::Table(TableName { database: Some(database), table }) => {
                Self::Table(database.clone(), table.clone())
            }
            Level::Table(TableName { database: None, table }) => {
                Self::Table(in_use()?.to_owned(), table.clone())
            }
        })
    }
}

/// A pattern that matches this name only.
fn literal(name: &str) -> String {
    let mut pattern = String::with_capacity(name.len());
    for character in name.chars() {
        if ['%', '_', '\\'].contains(&character) {
            pattern.push('\\');
        }
        pattern.push(character);
    }
    pattern
}

/// The only name that a pattern matches; none if there may be more.
pub(super) fn only_match(pattern: &str) -> Option<String> {
    let mut name = String::with_capacity(pattern.len());
    let mut characters = pattern.chars();
    while let Some(character) = characters.next() {
        match character {
            '%' | '_' => return None,
            '\\' => name.push(characters.next().unwrap_or('\\')),
            other => name.push(other),
        }
    }
    Some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &'static str) -> Privilege {
        Privilege { name, columns: Vec::new() }
    }

    /// Promise: privileges are granted on what they are about; anything else is refused, not
    /// granted as something else.
    #[test]
    fn privileges_fit_their_levels() {
        let on = |name, level| Privileged::of(&[named(name)], level).map(Privileged::set);
        let code = |name, level| on(name, level).unwrap_err().code.0;
        assert_eq!(on("SELECT", Reach::Table), Ok(Privileges::SELECT));
        assert_eq!(on("USAGE", Reach::Table), Ok(Privileges::NONE));
        assert_eq!(on("GRANT OPTION", Reach::Database), Ok(Privileges::GRANT_OPTION));
        assert_eq!(code("SUPER", Reach::Database), 1221);
        assert_eq!(code("SUPER", Reach::Table), 1144);
        assert_eq!(code("LOCK TABLES", Reach::Table), 1144);
        let all = |level| on("ALL", level).unwrap();
        assert!(all(Reach::Global).contains(Privileges::SUPER | Privileges::LOCK_TABLES));
        assert!(!all(Reach::Global).contains(Privileges::GRANT_OPTION));
        assert!(all(Reach::Database).contains(Privileges::LOCK_TABLES | Privileges::SELECT));
        assert!(!all(Reach::Database).intersects(Privileges::SUPER | Privileges::PROCESS));
        assert!(!all(Reach::Table).intersects(Privileges::LOCK_TABLES));
        let column = Privilege { name: "SELECT", columns: vec!["c".into()] };
        assert_eq!(Privileged::of(&[column], Reach::Table).unwrap_err().code.0, 1235);
    }

    /// Promise: the database in use is meant itself, not as a pattern.
    #[test]
    fn the_database_in_use_is_no_pattern() {
        let place = Place::of(&Level::CurrentDatabase, Some("a_b")).unwrap();
        assert_eq!(place, Place::Databases("a\\_b".into()));
        assert_eq!(only_match("a\\_b").as_deref(), Some("a_b"));
        assert_eq!(only_match("a_b"), None);
        assert_eq!(only_match("a%"), None);
        assert_eq!(only_match("ab\\").as_deref(), Some("ab\\"));
        assert_eq!(Place::of(&Level::CurrentDatabase, None).unwrap_err().code.0, 1046);
    }
}
