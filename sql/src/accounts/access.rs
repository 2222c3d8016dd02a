//! What a session may do: its account as it is now, asked before each statement.

use std::sync::Arc;

use super::Accounts;
use super::book::{Account, Book};
use super::grants::{Grants, is_information_schema};
use super::level::{Place, only_match};
use super::privilege::Privileges;
use super::required::Requirement;
use crate::error::{Code, SqlError};
use crate::statement::{Account as Name, Level, TableName, User};

/// A session's account. It is looked at anew whenever accounts have changed; one that is gone may
/// do nothing.
#[derive(Clone, Debug)]
pub(crate) struct Access {
    accounts: Arc<Accounts>,
    id: u64,
    /// How often accounts had been changed when they were last looked at.
    changes: u64,
    book: Arc<Book>,
    account: Option<Arc<Account>>,
    /// `'user'@'address'`, for errors.
    client: String,
    /// `user@host` of the account, also when it is gone.
    name: String,
}

impl Access {
    /// Of a client that logged in as the account of this number, for whom errors call it
    /// `user`@`address`.
    ///
    /// # Errors
    /// 1045 if the account is gone, 3118 if it is locked.
    pub(crate) fn new(
        accounts: &Arc<Accounts>,
        id: u64,
        user: &str,
        address: &str,
    ) -> Result<Self, SqlError> {
        let client = format!("'{user}'@'{address}'");
        let changes = accounts.changes();
        let book = accounts.now();
        let account = book.by_id(id).cloned().ok_or_else(|| {
            let text = format!("Access denied for user {client} (using password: YES)");
            SqlError::new(Code::ACCESS_DENIED, text)
        })?;
        if account.locked {
            let text = format!("Access denied for user {client}. Account is locked.");
            return Err(SqlError::new(Code::ACCOUNT_LOCKED, text));
        }
        let (accounts, name) = (Arc::clone(accounts), account.name());
        Ok(Self { accounts, id, changes, book, account: Some(account), client, name })
    }

    /// All accounts of the node.
    pub(crate) const fn accounts(&self) -> &Arc<Accounts> {
        &self.accounts
    }

    /// Most sessions that the account may have at once; 0 if the node's limit holds.
    pub(crate) fn max_sessions(&self) -> u32 {
        self.account.as_ref().map_or(0, |account| account.max_sessions)
    }

    /// The number of the account.
    pub(crate) const fn id(&self) -> u64 {
        self.id
    }

    /// `CURRENT_USER()`.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// How often accounts had been changed when they were last looked at.
    pub(crate) const fn changes(&self) -> u64 {
        self.changes
    }

    /// Sees what was changed.
    pub(crate) fn refresh(&mut self) {
        let changes = self.accounts.changes();
        if changes != self.changes {
            self.book = self.accounts.now();
            self.account = self.book.by_id(self.id).cloned();
            self.changes = changes;
        }
    }

    fn grants(&self) -> Option<&Grants> {
        self.account.as_ref().map(|account| &account.grants)
    }

    /// Whether nothing is denied, so that nothing needs to be asked.
    pub(crate) fn is_everything(&self) -> bool {
        self.grants().is_some_and(Grants::is_everything)
    }

    /// Whether it has one of these on everything.
    pub(crate) fn has(&self, any_of: Privileges) -> bool {
        self.grants().is_some_and(|grants| grants.global.intersects(any_of))
    }

    /// Whether a database is listed.
    pub(crate) fn sees_database(&self, database: &str) -> bool {
        self.grants().is_some_and(|grants| grants.sees_database(database))
    }

    /// Whether a table is listed.
    pub(crate) fn sees_table(&self, database: &str, table: &str) -> bool {
        self.grants().is_some_and(|grants| grants.sees_table(database, table))
    }

    /// The account that a statement means.
    pub(crate) fn meant(&self, user: &User) -> Option<&Arc<Account>> {
        match user {
            User::Current => self.account.as_ref(),
            User::Named(name) => self.book.meant(name),
        }
    }

    /// Whether all of these may be done, with `database` in use.
    ///
    /// # Errors
    /// 1044, 1045, 1142, 1227; 1046 if a database is needed and none is in use.
    pub(crate) fn check(
        &self,
        requirements: &[Requirement],
        database: Option<&str>,
    ) -> Result<(), SqlError> {
        requirements.iter().try_for_each(|one| self.check_one(one, database))
    }

    fn check_one(&self, requirement: &Requirement, in_use: Option<&str>) -> Result<(), SqlError> {
        let resolved = |name: &'_ Option<String>| {
            let name = name.clone().or_else(|| in_use.map(str::to_owned));
            name.ok_or_else(|| SqlError::plain(Code::NO_DB))
        };
        match requirement {
            Requirement::Global(any_of) if self.has(*any_of) => Ok(()),
            Requirement::Global(any_of) => Err(needs(*any_of)),
            Requirement::Database(name, any_of) => {
                let name = resolved(name)?;
                let held = self.grants().is_some_and(|grants| {
                    grants.on_database(&name).intersects(*any_of) && !is_information_schema(&name)
                });
                if held { Ok(()) } else { Err(self.no_database(&name)) }
            }
            Requirement::Enter(name) => {
                let name = resolved(name)?;
                let enters = self.grants().is_some_and(|grants| grants.enters(&name));
                if enters { Ok(()) } else { Err(self.no_database(&name)) }
            }
            Requirement::Table { table, any_of, command } => {
                let name = resolved(&table.database)?;
                self.check_table(&name, table, (*any_of, command))
            }
            Requirement::See(table) => {
                let name = resolved(&table.database)?;
                let sees = self.sees_table(&name, &table.table);
                if sees { Ok(()) } else { Err(self.no_table("SELECT", table)) }
            }
            Requirement::Users(users) => {
                let own =
                    |user: &User| self.meant(user).is_some_and(|account| account.id == self.id);
                let may = self.has(Privileges::CREATE_USER) || users.iter().all(own);
                if may { Ok(()) } else { Err(needs(Privileges::CREATE_USER)) }
            }
            Requirement::Give(level, privileges) => self.check_give(level, *privileges, in_use),
        }
    }

    fn check_table(
        &self,
        database: &str,
        table: &TableName,
        (any_of, command): (Privileges, &str),
    ) -> Result<(), SqlError> {
        if is_information_schema(database) {
            // Its tables are read by everybody, each row by whom it concerns.
            let reads = any_of.contains(Privileges::SELECT);
            return if reads { Ok(()) } else { Err(self.no_database(database)) };
        }
        let grants = self.grants();
        let held =
            grants.is_some_and(|grants| grants.on_table(database, &table.table).intersects(any_of));
        if held { Ok(()) } else { Err(self.no_table(command, table)) }
    }

    /// Whoever gives something on has it, and may give it on.
    fn check_give(
        &self,
        level: &Level,
        privileges: Privileges,
        in_use: Option<&str>,
    ) -> Result<(), SqlError> {
        let wanted = privileges | Privileges::GRANT_OPTION;
        let held = |on: &dyn Fn(&Grants) -> Privileges| {
            self.grants().is_some_and(|grants| on(grants).contains(wanted))
        };
        match Place::of(level, in_use)? {
            Place::Global if held(&|grants| grants.global) => Ok(()),
            Place::Global => {
                let text = format!("Access denied for user {} (using password: YES)", self.client);
                Err(SqlError::new(Code::ACCESS_DENIED, text))
            }
            Place::Databases(pattern) => {
                let may = held(&|grants| match only_match(&pattern) {
                    Some(name) => grants.on_database(&name),
                    // What a pattern matches, another covers only if it is the same.
                    None => {
                        let same = grants.databases.get(&pattern).copied();
                        grants.global | same.unwrap_or_default()
                    }
                });
                if may { Ok(()) } else { Err(self.no_database(&pattern)) }
            }
            Place::Table(database, table) => {
                let may = held(&|grants| grants.on_table(&database, &table));
                let name = TableName { database: Some(database), table };
                if may { Ok(()) } else { Err(self.no_table("GRANT", &name)) }
            }
        }
    }

    fn no_database(&self, database: &str) -> SqlError {
        let (user, host) = self.name.rsplit_once('@').unwrap_or((&self.name, ""));
        let text = format!("Access denied for user '{user}'@'{host}' to database '{database}'");
        SqlError::new(Code::DB_ACCESS_DENIED, text)
    }

    fn no_table(&self, command: &str, table: &TableName) -> SqlError {
        let text =
            format!("{command} command denied to user {} for table '{}'", self.client, table.table);
        SqlError::new(Code::TABLE_ACCESS_DENIED, text)
    }

    /// The name of the own account, for statements that mean the current one.
    pub(super) fn own_name(&self) -> Option<Name> {
        let account = self.account.as_ref()?;
        Some(Name { user: account.user.clone(), host: account.host.text().to_owned() })
    }
}

/// 1227.
pub(super) fn needs(any_of: Privileges) -> SqlError {
    let text = format!(
        "Access denied; you need (at least one of) the {any_of} privilege(s) for this operation"
    );
    SqlError::new(Code::SPECIFIC_ACCESS_DENIED, text)
}
