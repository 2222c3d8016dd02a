//! All accounts of a node, as they are at one moment.

use std::net::IpAddr;
use std::sync::Arc;

use super::grants::Grants;
use super::host::Host;
use super::password::Credential;
use super::privilege::Privileges;
use crate::protocol::auth::Plugin;
use crate::statement::Account as Name;

/// One account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Account {
    /// Its number, which no other ever has: a session stays that of its account, and one that is
    /// made later under the same name is another.
    pub(crate) id: u64,
    /// The user's name.
    pub(crate) user: String,
    /// Where it may come from.
    pub(crate) host: Host,
    /// How it logs in.
    pub(crate) plugin: Plugin,
    /// What is kept of its password.
    pub(crate) credential: Credential,
    /// `REQUIRE SSL`.
    pub(crate) require_tls: bool,
    /// `ACCOUNT LOCK`.
    pub(crate) locked: bool,
    /// `MAX_USER_CONNECTIONS`: most sessions at once; 0 if the node's limit holds.
    pub(crate) max_sessions: u32,
    /// What it may do.
    pub(crate) grants: Grants,
}

impl Account {
    /// `user@host`.
    pub(crate) fn name(&self) -> String {
        format!("{}@{}", self.user, self.host.text())
    }

    fn is_named(&self, name: &Name) -> bool {
        let host = if name.host.is_empty() { "%" } else { &name.host };
        self.user == name.user && self.host.text().eq_ignore_ascii_case(host)
    }

    /// Whether it may look after the node: such an account may come in when places are short.
    pub(crate) fn is_administrator(&self) -> bool {
        let administration = Privileges::SUPER | Privileges::CREATE_USER | Privileges::GRANT_OPTION;
        self.grants.global.intersects(administration)
    }

    /// Whether it can make accounts of every kind, and log in to do so.
    fn is_full_administrator(&self) -> bool {
        self.grants.is_everything() && !self.locked
    }

    /// Whether a client at this address may try to log in. An administrator without a password
    /// comes from this machine or not at all.
    fn admits(&self, address: IpAddr) -> bool {
        let is_open = self.credential == Credential::Empty && self.is_administrator();
        self.host.matches(address) && (!is_open || address.to_canonical().is_loopback())
    }
}

/// All accounts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Book {
    /// The number of the next account.
    pub(super) next_id: u64,
    /// Sorted as [`Book::sort`] does.
    pub(super) accounts: Vec<Arc<Account>>,
}

impl Book {
    /// The accounts of a new node: root. Without a password it comes from this machine only, with
    /// one from anywhere.
    pub(crate) fn new(plugin: Plugin, credential: Credential) -> Self {
        let host = if credential == Credential::Empty { "localhost" } else { "%" };
        let root = Account {
            id: 1,
            user: "root".to_owned(),
            host: Host::parse(host).expect("a known host"),
            plugin,
            credential,
            require_tls: false,
            locked: false,
            max_sessions: 0,
            grants: Grants::everything(),
        };
        Self { next_id: 2, accounts: vec![Arc::new(root)] }
    }

    /// Enters an account under the next number.
    pub(super) fn add(&mut self, account: Account) {
        let account = Account { id: self.next_id, ..account };
        self.next_id += 1;
        self.accounts.push(Arc::new(account));
        self.sort();
    }

    /// By user, then by host, the most specific first.
    pub(super) fn sort(&mut self) {
        self.accounts.sort_by(|a, b| {
            let rank = |account: &Account| account.host.rank();
            a.user.cmp(&b.user).then_with(|| rank(a).cmp(&rank(b)))
        });
    }

    /// The account as whom a client logs in: of those whose host matches, the most specific.
    pub(crate) fn of_client(&self, user: &str, address: IpAddr) -> Option<&Arc<Account>> {
        let mut own = self.accounts.iter().filter(|account| account.user == user);
        own.find(|account| account.admits(address))
    }

    /// The account of a number.
    pub(crate) fn by_id(&self, id: u64) -> Option<&Arc<Account>> {
        self.accounts.iter().find(|account| account.id == id)
    }

    /// Where the account of exactly this name is.
    pub(super) fn position(&self, name: &Name) -> Option<usize> {
        self.accounts.iter().position(|account| account.is_named(name))
    }

    /// Where the account is that a statement about an existing one means: of this name, or the
    /// only one of its user if no host was said, so that `ALTER USER root` finds
    /// `root@localhost`.
    pub(super) fn position_meant(&self, name: &Name) -> Option<usize> {
        if let Some(exact) = self.position(name) {
            return Some(exact);
        }
        let mut own = (0..self.accounts.len()).filter(|at| self.accounts[*at].user == name.user);
        match (own.next(), own.next()) {
            (Some(only), None) if name.host == "%" => Some(only),
            _ => None,
        }
    }

    /// The account that a statement about an existing one means.
    pub(crate) fn meant(&self, name: &Name) -> Option<&Arc<Account>> {
        self.position_meant(name).map(|at| &self.accounts[at])
    }

    /// An account, to be changed.
    pub(super) fn change(&mut self, at: usize) -> &mut Account {
        Arc::make_mut(&mut self.accounts[at])
    }

    /// Whether somebody can still make accounts of every kind.
    pub(super) fn has_administrator(&self) -> bool {
        self.accounts.iter().any(|account| account.is_full_administrator())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(crate) fn account(user: &str, host: &str) -> Account {
        let book = Book::new(Plugin::Sha2, Credential::Empty);
        let root = (*book.accounts[0]).clone();
        let host = Host::parse(host).unwrap();
        Account { user: user.to_owned(), host, grants: Grants::default(), ..root }
    }

    fn name(user: &str, host: &str) -> Name {
        Name { user: user.to_owned(), host: host.to_owned() }
    }

    /// Promise: a client is the account with the most specific host that matches; who is none of
    /// the accounts is nobody.
    #[test]
    fn the_most_specific_host_wins() {
        let mut book = Book::new(Plugin::Sha2, Credential::Empty);
        for host in ["%", "10.%", "10.0.0.0/255.0.0.0", "10.0.0.7", "localhost"] {
            book.add(account("u", host));
        }
        book.add(account("v", "10.%"));
        let cases = [
            ("u", "10.0.0.7", Some("u@10.0.0.7")),
            ("u", "10.0.0.8", Some("u@10.0.0.0/255.0.0.0")),
            ("u", "11.0.0.8", Some("u@%")),
            ("u", "127.0.0.1", Some("u@localhost")),
            ("u", "::1", Some("u@localhost")),
            ("v", "10.0.0.8", Some("v@10.%")),
            ("v", "11.0.0.8", None),
            ("V", "10.0.0.8", None),
            ("", "10.0.0.8", None),
            ("root", "127.0.0.1", Some("root@localhost")),
            ("root", "::ffff:127.0.0.1", Some("root@localhost")),
            ("root", "10.0.0.8", None),
        ];
        for (user, address, expected) in cases {
            let found = book.of_client(user, address.parse().unwrap());
            let found = found.map(|account| account.name());
            assert_eq!(found.as_deref(), expected, "{user} {address}");
        }
    }

    /// Promise (S19): on a new node nobody comes in from elsewhere without a password, and an
    /// administrator without one never does, whatever its host says.
    #[test]
    fn s19_no_administrator_comes_from_afar_without_a_password() {
        let afar = "10.0.0.8".parse().unwrap();
        let here = "127.0.0.1".parse().unwrap();
        let mut root = account("root", "%");
        root.grants = Grants::everything();
        let mut book = Book::new(Plugin::Sha2, Credential::Empty);
        assert!(book.of_client("root", afar).is_none());
        book.accounts.clear();
        book.add(root);
        assert!(book.of_client("root", afar).is_none());
        assert!(book.of_client("root", here).is_some());
        let credential = Credential::of(Plugin::Native, "secret").unwrap();
        book.change(0).credential = credential;
        assert!(book.of_client("root", afar).is_some());
        assert!(Book::new(Plugin::Native, credential).of_client("root", afar).is_some());
    }

    /// Promise: a statement finds the account of its name; without a host, the only one.
    #[test]
    fn accounts_are_found_by_name() {
        let mut book = Book::new(Plugin::Sha2, Credential::Empty);
        let at =
            |book: &Book, user, host| book.meant(&name(user, host)).map(|account| account.name());
        assert_eq!(at(&book, "root", "%").as_deref(), Some("root@localhost"));
        assert_eq!(at(&book, "root", "LOCALHOST").as_deref(), Some("root@localhost"));
        assert_eq!(at(&book, "root", "10.%"), None);
        assert!(book.position(&name("root", "%")).is_none());
        book.add(account("root", "10.%"));
        assert_eq!(at(&book, "root", "%"), None);
        book.add(account("root", ""));
        assert_eq!(at(&book, "root", "%").as_deref(), Some("root@%"));
        assert_eq!(at(&book, "root", "").as_deref(), Some("root@%"));
        let ids: Vec<_> = book.accounts.iter().map(|account| account.id).collect();
        assert_eq!(ids, [1, 2, 3]);
    }
}
