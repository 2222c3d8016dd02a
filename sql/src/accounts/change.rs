//! Statements that change accounts, on a copy of them: whole or not at all, as MySQL 8 has it.

use super::book::{Account, Book};
use super::grants::Grants;
use super::host::Host;
use super::level::{Place, Privileged, reach};
use super::password::Credential;
use super::privilege::Privileges;
use crate::error::{Code, SqlError};
use crate::expression::Warning;
use crate::protocol::auth::Plugin;
use crate::statement::{
    Account as Name, Credential as Given, DropUsers, Grant, Identified, Revoke, Secret, Statement,
    User, UserDefinition, UserDefinitions,
};

/// Most characters of a user's name, as in MySQL.
const USER_CHARACTERS_MAX: usize = 32;

/// A password that was set: of which account, how it is kept, and itself.
pub(super) type Password = (u64, Credential, Secret);

/// A change on its way.
pub(super) struct Change<'a> {
    /// The accounts, as they become.
    pub(super) book: &'a mut Book,
    /// Who makes it.
    pub(super) own: Option<&'a Name>,
    /// The database in use.
    pub(super) database: Option<&'a str>,
    /// How new accounts log in if nothing is said.
    pub(super) default_plugin: Plugin,
    /// What the client is warned of.
    pub(super) warnings: &'a mut Vec<Warning>,
    /// Passwords that were set, by account.
    pub(super) passwords: Vec<Password>,
}

impl Change<'_> {
    /// Makes it. Hashes passwords, which takes long.
    ///
    /// # Errors
    /// With what the client is told; the book is of no use then.
    pub(super) fn make(&mut self, statement: &Statement) -> Result<(), SqlError> {
        match statement {
            Statement::CreateUsers(users) => self.create(users),
            Statement::AlterUsers(users) => self.alter(users),
            Statement::DropUsers(drop) => self.drop(drop),
            Statement::RenameUsers(pairs) => self.rename(pairs),
            Statement::Grant(grant) => self.grant(grant),
            Statement::Revoke(revoke) => self.revoke(revoke),
            _ => Err(SqlError::not_supported("this statement")),
        }
    }

    /// SET PASSWORD.
    ///
    /// # Errors
    /// 1133 if there is no such account.
    pub(super) fn set_password(&mut self, user: &User, password: &Secret) -> Result<(), SqlError> {
        let at = self.position(user)?;
        let at = at.ok_or_else(|| SqlError::plain(Code::PASSWORD_NO_MATCH))?;
        let credential = Credential::of(self.book.accounts[at].plugin, password.reveal())?;
        self.book.change(at).credential = credential;
        self.passwords.push((self.book.accounts[at].id, credential, password.clone()));
        Ok(())
    }

    fn named(&self, user: &User) -> Result<Name, SqlError> {
        match (user, self.own) {
            (User::Named(name), _) => Ok(name.clone()),
            (User::Current, Some(own)) => Ok(own.clone()),
            (User::Current, None) => Err(SqlError::plain(Code::PASSWORD_NO_MATCH)),
        }
    }

    fn position(&self, user: &User) -> Result<Option<usize>, SqlError> {
        Ok(self.book.position_meant(&self.named(user)?))
    }

    fn create(&mut self, users: &UserDefinitions) -> Result<(), SqlError> {
        refuse_limits(users)?;
        let mut failed = Vec::new();
        for definition in &users.users {
            let name = self.named(&definition.user)?;
            if self.book.position(&name).is_some() {
                if users.conditional {
                    let text = format!("Authorization ID {} already exists.", quoted(&name));
                    self.warn(Code::USER_ALREADY_EXISTS, text);
                } else {
                    failed.push(name);
                }
                continue;
            }
            self.add(&name, definition)?;
            self.options(&name, users);
        }
        all_or_none("CREATE USER", &failed)
    }

    /// A new account that may do nothing.
    fn add(&mut self, name: &Name, definition: &UserDefinition) -> Result<(), SqlError> {
        let account = Account {
            id: 0,
            user: name.user.clone(),
            host: checked(name)?,
            plugin: self.default_plugin,
            credential: Credential::Empty,
            require_tls: false,
            locked: false,
            max_sessions: 0,
            grants: Grants::default(),
        };
        self.book.add(account);
        let at = self.book.position(name).expect("it was just added");
        self.identify(at, definition)
    }

    /// `IDENTIFIED …`.
    fn identify(&mut self, at: usize, definition: &UserDefinition) -> Result<(), SqlError> {
        let Some(Identified { plugin, credential }) = &definition.identified else {
            return Ok(());
        };
        let plugin = match (plugin, credential) {
            (Some(plugin), _) => {
                Plugin::named(plugin.to_ascii_lowercase().as_bytes()).ok_or_else(|| {
                    let text = format!("Plugin '{plugin}' is not loaded");
                    SqlError::new(Code::PLUGIN_IS_NOT_LOADED, text)
                })?
            }
            // MySQL 5.7's IDENTIFIED BY PASSWORD '*…' says by its form what it is for.
            (None, Given::Hash(hash)) if hash.reveal().starts_with('*') => Plugin::Native,
            (None, _) => self.book.accounts[at].plugin,
        };
        let kept = match credential {
            Given::None => Credential::Empty,
            Given::Hash(hash) => Credential::of_hash(plugin, hash.reveal())?,
            Given::Password(password) => {
                let kept = Credential::of(plugin, password.reveal())?;
                self.passwords.push((self.book.accounts[at].id, kept, password.clone()));
                kept
            }
        };
        let account = self.book.change(at);
        (account.plugin, account.credential) = (plugin, kept);
        Ok(())
    }

    fn options(&mut self, name: &Name, users: &UserDefinitions) {
        let Some(at) = self.book.position_meant(name) else { return };
        let account = self.book.change(at);
        account.require_tls = users.require_tls.unwrap_or(account.require_tls);
        account.locked = users.locked.unwrap_or(account.locked);
        if let Some((_, most)) = users.limits.iter().rfind(|(name, _)| name == MAX_SESSIONS) {
            account.max_sessions = u32::try_from(*most).unwrap_or(u32::MAX);
        }
    }

    fn alter(&mut self, users: &UserDefinitions) -> Result<(), SqlError> {
        refuse_limits(users)?;
        let mut failed = Vec::new();
        for definition in &users.users {
            let name = self.named(&definition.user)?;
            match self.book.position_meant(&name) {
                Some(at) => {
                    self.identify(at, definition)?;
                    self.options(&name, users);
                }
                None if users.conditional => self.warn_missing(&name),
                None => failed.push(name),
            }
        }
        all_or_none("ALTER USER", &failed)
    }

    fn drop(&mut self, drop: &DropUsers) -> Result<(), SqlError> {
        let mut failed = Vec::new();
        for user in &drop.users {
            let name = self.named(user)?;
            match self.book.position(&name) {
                Some(at) => {
                    self.book.accounts.remove(at);
                }
                None if drop.if_exists => self.warn_missing(&name),
                None => failed.push(name),
            }
        }
        all_or_none("DROP USER", &failed)
    }

    fn rename(&mut self, pairs: &[(Name, Name)]) -> Result<(), SqlError> {
        let mut failed = Vec::new();
        for (from, to) in pairs {
            let (Some(at), None) = (self.book.position(from), self.book.position(to)) else {
                failed.push(from.clone());
                continue;
            };
            let host = checked(to)?;
            let account = self.book.change(at);
            (account.user, account.host) = (to.user.clone(), host);
            self.book.sort();
        }
        all_or_none("RENAME USER", &failed)
    }

    fn grant(&mut self, grant: &Grant) -> Result<(), SqlError> {
        let level = reach(&grant.level);
        let mut privileges = Privileged::of(&grant.privileges, level)?.set();
        if grant.grant_option {
            privileges |= Privileges::GRANT_OPTION;
        }
        let place = Place::of(&grant.level, self.database)?;
        for definition in &grant.users {
            let name = self.named(&definition.user)?;
            let at = match self.book.position_meant(&name) {
                Some(at) => {
                    self.identify(at, definition)?;
                    at
                }
                // As MySQL 5.7 and SingleStore; MySQL 8 makes nobody by GRANT.
                None if definition.identified.is_some() => {
                    self.add(&name, definition)?;
                    self.book.position(&name).expect("it was just added")
                }
                None => return Err(SqlError::plain(Code::CANT_CREATE_USER_WITH_GRANT)),
            };
            let account = self.book.change(at);
            account.require_tls = grant.require_tls.unwrap_or(account.require_tls);
            give(&mut account.grants, &place, privileges);
        }
        Ok(())
    }

    fn revoke(&mut self, revoke: &Revoke) -> Result<(), SqlError> {
        let Some(level) = &revoke.level else { return self.revoke_everything(revoke) };
        let privileges = Privileged::of(&revoke.privileges, reach(level))?.set();
        let place = Place::of(level, self.database)?;
        for user in &revoke.users {
            let name = self.named(user)?;
            let at = self.position(user)?.ok_or_else(|| no_grant(&name))?;
            take(&mut self.book.change(at).grants, &place, privileges, &name)?;
        }
        Ok(())
    }

    fn revoke_everything(&mut self, revoke: &Revoke) -> Result<(), SqlError> {
        for user in &revoke.users {
            let at = self.position(user)?;
            let at = at.ok_or_else(|| SqlError::plain(Code::REVOKE_GRANTS))?;
            self.book.change(at).grants = Grants::default();
        }
        Ok(())
    }

    fn warn(&mut self, code: Code, text: String) {
        self.warnings.push(Warning { code: code.0, text });
    }

    fn warn_missing(&mut self, name: &Name) {
        let text = format!("Authorization ID {} does not exist.", quoted(name));
        self.warn(Code::USER_DOES_NOT_EXIST, text);
    }
}

/// The host of a name that an account may have.
fn checked(name: &Name) -> Result<Host, SqlError> {
    if name.user.is_empty() {
        return Err(SqlError::not_supported("anonymous users"));
    }
    if name.user.chars().count() > USER_CHARACTERS_MAX {
        let text = format!(
            "String '{}' is too long for user name (should be no longer than {USER_CHARACTERS_MAX})",
            name.user
        );
        return Err(SqlError::new(Code::WRONG_STRING_LENGTH, text));
    }
    Host::parse(&name.host)
}

fn give(grants: &mut Grants, place: &Place, privileges: Privileges) {
    let entry = match place {
        Place::Global => &mut grants.global,
        // GRANT USAGE ON a database says nothing.
        _ if privileges.is_empty() => return,
        Place::Databases(pattern) => grants.databases.entry(pattern.clone()).or_default(),
        Place::Table(database, table) => {
            grants.tables.entry((database.clone(), table.clone())).or_default()
        }
    };
    *entry |= privileges;
}

fn take(
    grants: &mut Grants,
    place: &Place,
    privileges: Privileges,
    name: &Name,
) -> Result<(), SqlError> {
    match place {
        Place::Global => grants.global = grants.global & !privileges,
        Place::Databases(pattern) => {
            let held = grants.databases.get_mut(pattern).ok_or_else(|| no_grant(name))?;
            *held = *held & !privileges;
            if held.is_empty() {
                grants.databases.remove(pattern);
            }
        }
        Place::Table(database, table) => {
            let key = (database.clone(), table.clone());
            let held = grants.tables.get_mut(&key).ok_or_else(|| {
                let text = format!("{} on table '{table}'", no_grant(name).text);
                SqlError::new(Code::NONEXISTING_TABLE_GRANT, text)
            })?;
            *held = *held & !privileges;
            if held.is_empty() {
                grants.tables.remove(&key);
            }
        }
    }
    Ok(())
}

/// 1141.
pub(super) fn no_grant(name: &Name) -> SqlError {
    let Name { user, host } = name;
    let text = format!("There is no such grant defined for user '{user}' on host '{host}'");
    SqlError::new(Code::NONEXISTING_GRANT, text)
}

/// The limit that is kept; of the others only 0, which is none.
const MAX_SESSIONS: &str = "MAX_USER_CONNECTIONS";

fn refuse_limits(users: &UserDefinitions) -> Result<(), SqlError> {
    match users.limits.iter().find(|(name, limit)| *limit > 0 && name != MAX_SESSIONS) {
        Some((name, _)) => Err(SqlError::not_supported(&format!("{name} of users"))),
        None => Ok(()),
    }
}

/// `'user'@'host'`.
pub(super) fn quoted(name: &Name) -> String {
    format!("'{}'@'{}'", name.user, name.host)
}

/// 1396, if anybody failed.
fn all_or_none(what: &str, failed: &[Name]) -> Result<(), SqlError> {
    if failed.is_empty() {
        return Ok(());
    }
    let users: Vec<_> = failed.iter().map(quoted).collect();
    Err(operation_failed(what, &users.join(",")))
}

/// 1396.
pub(super) fn operation_failed(what: &str, users: &str) -> SqlError {
    SqlError::new(Code::CANNOT_USER, format!("Operation {what} failed for {users}"))
}

#[cfg(test)]
#[path = "change_tests.rs"]
mod tests;
