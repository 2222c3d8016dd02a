//! SHOW GRANTS and SHOW CREATE USER: accounts as statements that make them.

use super::access::Access;
use super::book::Account;
use super::change::{no_grant, operation_failed, quoted};
use super::privilege::{Privileges, Reach};
use crate::error::SqlError;
use crate::statement::show_create::quoted_name;
use crate::statement::{Account as Name, User};

/// An answer of one column: what it is called, and its rows.
pub(crate) type Lines = (String, Vec<String>);

/// SHOW GRANTS.
///
/// # Errors
/// 1141 if there is no such account.
pub(crate) fn grants(access: &Access, user: &User) -> Result<Lines, SqlError> {
    let account = access.meant(user).ok_or_else(|| no_grant(&name_of(access, user)))?;
    let to = format!("TO {}", whom(account));
    let grants = &account.grants;
    let mut lines = vec![line(grants.global, "*.*", &to, Reach::Global)];
    for (database, privileges) in &grants.databases {
        let on = format!("{}.*", quoted_name(database));
        lines.push(line(*privileges, &on, &to, Reach::Database));
    }
    for ((database, table), privileges) in &grants.tables {
        let on = format!("{}.{}", quoted_name(database), quoted_name(table));
        lines.push(line(*privileges, &on, &to, Reach::Table));
    }
    Ok((format!("Grants for {}", account.name()), lines))
}

fn line(privileges: Privileges, on: &str, to: &str, level: Reach) -> String {
    let what = match privileges {
        held if held.contains(Privileges::all_at(level)) => "ALL PRIVILEGES".to_owned(),
        held if held.names().next().is_none() => "USAGE".to_owned(),
        held => held.to_string(),
    };
    let grants = privileges.contains(Privileges::GRANT_OPTION);
    format!("GRANT {what} ON {on} {to}{}", if grants { " WITH GRANT OPTION" } else { "" })
}

/// SHOW CREATE USER.
///
/// # Errors
/// 1396 if there is no such account.
pub(crate) fn create_user(access: &Access, user: &User) -> Result<Lines, SqlError> {
    let account = access
        .meant(user)
        .ok_or_else(|| operation_failed("SHOW CREATE USER", &quoted(&name_of(access, user))))?;
    let hash = account.credential.text().map(|text| format!(" AS '{text}'"));
    let limit = (account.max_sessions > 0)
        .then(|| format!(" WITH MAX_USER_CONNECTIONS {}", account.max_sessions));
    let line = format!(
        "CREATE USER {} IDENTIFIED WITH '{}'{} REQUIRE {}{} ACCOUNT {}",
        whom(account),
        account.plugin.name(),
        hash.unwrap_or_default(),
        if account.require_tls { "SSL" } else { "NONE" },
        limit.unwrap_or_default(),
        if account.locked { "LOCK" } else { "UNLOCK" },
    );
    Ok((format!("CREATE USER for {}", account.name()), vec![line]))
}

fn whom(account: &Account) -> String {
    format!("{}@{}", quoted_name(&account.user), quoted_name(account.host.text()))
}

fn name_of(access: &Access, user: &User) -> Name {
    match user {
        User::Named(name) => name.clone(),
        User::Current => {
            let (user, host) = access.name().rsplit_once('@').unwrap_or((access.name(), "%"));
            Name { user: user.to_owned(), host: host.to_owned() }
        }
    }
}
