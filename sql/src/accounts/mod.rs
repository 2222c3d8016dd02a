//! Accounts: who may come in, from where, how, and what for.
//!
//! ```text
//!  login ─► Book::of_client ─► Secret ─► password ─► Access ─┐
//!  statement ─► required ─► requirements ────────────────────┴─► check ─► run │ 1044, 1142, 1227
//! ```
//!
//! All accounts are one value, a book, kept in one file that is replaced as a whole. A change is
//! made on a copy, written, and then put in place of the old one: sessions see it at their next
//! statement. In a cluster the book is part of the metadata from its first change on (`shared`). What is MySQL's and what is not:
//!
//! * Hosts are addresses, not names. Anonymous users, roles, privileges on columns,
//!   limits and histories of passwords are refused (1235).
//! * A statement about an existing account without a host means the only one of that user.
//! * Privileges on databases add up where several patterns match.
//! * Nobody can take the last account away that may do everything: MySQL lets you, and then
//!   nobody can undo it. Nor does an account that may look after accounts come in without a
//!   password from another machine.
//! * A password for `caching_sha2_password` is kept so that it can be checked only when it comes
//!   itself, over TLS. What came before is remembered until the node stops, and so
//!   is a password that a statement sets; the statement warns if it came in the clear.

mod access;
mod book;
mod change;
mod failures;
mod file;
mod grants;
mod host;
mod level;
mod password;
mod privilege;
mod reads;
mod required;
mod seats;
mod shared;
pub(crate) mod show;

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use resprout_engine::Engine;
use resprout_wal::disk::Disk;

pub(crate) use access::Access;
use book::Book;
use change::{Change, Password, operation_failed};
use failures::Failures;
pub(crate) use grants::{INFORMATION_SCHEMA, is_information_schema};
use password::{Credential, Remembered};
pub(crate) use privilege::Privileges;
pub(crate) use required::{Requirement, required};
pub(crate) use seats::{Seat, Seats};
use shared::Shared;

use crate::error::{Code, SqlError};
use crate::expression::Warning;
use crate::protocol::auth::{Plugin, Secret as Kept};
use crate::protocol::session::Identity;
use crate::sealed_file::{self, DiskError, Flaw};
use crate::server::Account as Found;
use crate::statement::{Account as Name, Secret, Statement, User};

/// The file's name in the data directory.
const FILE: &str = "accounts";

/// How accounts begin.
#[derive(Clone, Debug)]
pub struct AccountOptions {
    /// Root's password on a new node. With one, root may come from anywhere; without, from this
    /// machine only. It is not looked at where accounts exist. Default: none.
    pub root_password: Option<Secret>,
    /// How accounts log in for which nothing is said. With
    /// [`Plugin::Native`] passwords can be checked without
    /// TLS, and are poorly protected in the file. Default: `caching_sha2_password`.
    pub default_plugin: Plugin,
}

impl Default for AccountOptions {
    fn default() -> Self {
        Self { root_password: None, default_plugin: Plugin::Sha2 }
    }
}

/// Why a node does not know its accounts, and so lets nobody in.
#[derive(Debug, thiserror::Error)]
pub enum AccountsError {
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The file is not what was written.
    #[error(
        "the file of accounts {path} cannot be used: {flaw}; put a copy of it back, or move it \
         away: then there are no accounts but root, without a password and from this machine only",
        path = path.display()
    )]
    Flawed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        flaw: Flaw,
    },
    /// Root's password cannot be kept.
    #[error("cannot make the account root: {0}")]
    Root(SqlError),
}

/// The accounts of a node.
#[derive(Debug)]
pub(crate) struct Accounts {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    default_plugin: Plugin,
    now: RwLock<Arc<Book>>,
    /// How often it was changed.
    changes: AtomicU64,
    /// One change at a time.
    changing: Mutex<()>,
    remembered: Remembered,
    failures: Failures,
    shared: Shared,
}

impl Accounts {
    /// Reads the accounts of an engine's directory; on a new one, makes root. Blocks.
    ///
    /// # Errors
    /// If they cannot be read: nobody may come in then.
    pub(crate) fn open(engine: &Engine, options: &AccountOptions) -> Result<Self, AccountsError> {
        let (disk, path) = (engine.disk(), engine.dir().join(FILE));
        let remembered = Remembered::default();
        let found = file::KIND.read(&*disk, &path)?;
        let book = match found {
            Some(bytes) => Book::decode(&bytes)
                .map_err(|flaw| AccountsError::Flawed { path: path.clone(), flaw })?,
            None => {
                let password = options.root_password.as_ref().map_or("", Secret::reveal);
                let kept = Credential::of(options.default_plugin, password);
                let kept = kept.map_err(AccountsError::Root)?;
                let book = Book::new(options.default_plugin, kept);
                let bytes = book.encode().map_err(AccountsError::Root)?;
                sealed_file::replace(&*disk, &path, &bytes)?;
                remembered.remember(book.accounts[0].id, kept, password);
                book
            }
        };
        Ok(Self {
            disk,
            path,
            default_plugin: options.default_plugin,
            now: RwLock::new(Arc::new(book)),
            changes: AtomicU64::new(0),
            changing: Mutex::default(),
            remembered,
            failures: Failures::default(),
            shared: Shared::default(),
        })
    }

    /// All accounts at this moment.
    pub(crate) fn now(&self) -> Arc<Book> {
        self.follow();
        Arc::clone(&self.now.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// How often accounts were changed: cheaper to ask before each statement than for all of them.
    pub(crate) fn changes(&self) -> u64 {
        self.follow();
        self.changes.load(Ordering::Acquire)
    }

    /// Whom a client says to be. For who is nobody too there is an answer, under number 0, so that
    /// both take the same steps: it asks for the password, which is then found to be wrong.
    pub(crate) fn identify(&self, user: &str, address: IpAddr) -> Found {
        let book = self.now();
        let Some(account) = book.of_client(user, address) else {
            let identity = Identity { secret: Kept::Salted, require_tls: false };
            return Found { identity, is_administrator: false, number: 0 };
        };
        let secret = self.remembered.secret(account.id, account.credential);
        let identity = Identity { secret, require_tls: account.require_tls };
        Found { identity, is_administrator: account.is_administrator(), number: account.id }
    }

    /// A login was refused. The answer waits, the longer the more there were.
    pub(crate) async fn denied(&self, user: &str, address: IpAddr) {
        let delay = self.failures.failed(address, std::time::Instant::now());
        tracing::warn!(event = "login.denied", user = ?user, %address, ?delay, "a login was refused");
        tokio::time::sleep(delay).await;
    }

    /// Whether a password is that of the account of this number, which for number 0 none is. Takes
    /// long, always.
    pub(crate) async fn is_password(self: &Arc<Self>, id: u64, password: &[u8]) -> bool {
        let (accounts, password) = (Arc::clone(self), password.to_vec());
        let check = tokio::task::spawn_blocking(move || {
            let kept = accounts.now().by_id(id).map(|account| account.credential);
            let right = password::is_password(kept, &password);
            if let (true, Some(kept), Ok(password)) = (right, kept, std::str::from_utf8(&password))
            {
                accounts.remembered.remember(id, kept, password);
            }
            right
        });
        check.await.unwrap_or(false)
    }

    /// Changes accounts for a session.
    ///
    /// # Errors
    /// With what the client is told: nothing has changed then, unless the disk failed in the very
    /// last step, when the next start may find the change made.
    pub(crate) async fn change(
        self: &Arc<Self>,
        access: &Access,
        database: Option<&str>,
        (what, encrypted): (AccountChange, bool),
    ) -> Result<Vec<Warning>, SqlError> {
        let (accounts, own, id) = (Arc::clone(self), access.own_name(), access.id());
        let database = database.map(str::to_owned);
        let by = access.name().to_owned();
        let done = tokio::task::spawn_blocking(move || {
            let mut warnings = Vec::new();
            let made =
                accounts.make((id, own.as_ref()), database.as_deref(), &what, &mut warnings)?;
            if made == Made::SaltedPassword && !encrypted {
                warnings.push(in_the_clear());
            }
            tracing::info!(event = "accounts.changed", by, what = what.name(), "accounts changed");
            Ok(warnings)
        });
        let ended = |_| SqlError::new(Code::UNKNOWN_ERROR, "the thread of the statement ended");
        done.await.map_err(ended)?
    }

    fn make(
        &self,
        (id, own): (u64, Option<&Name>),
        database: Option<&str>,
        what: &AccountChange,
        warnings: &mut Vec<Warning>,
    ) -> Result<Made, SqlError> {
        let _one_at_a_time = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let (version, before) = self.newest()?;
            // Of an attempt before this one nothing is left.
            let mut told = Vec::new();
            let (book, passwords) =
                self.changed(&before, (id, own), database, (what, &mut told))?;
            if !self.put(version, &book)? {
                continue;
            }
            warnings.append(&mut told);
            let mut made = Made::Other;
            for (id, kept, password) in passwords {
                self.remembered.remember(id, kept, password.reveal());
                if let Credential::Salted(_) = kept {
                    made = Made::SaltedPassword;
                }
            }
            return Ok(made);
        }
    }

    /// A book with a change made.
    fn changed(
        &self,
        before: &Book,
        (id, own): (u64, Option<&Name>),
        database: Option<&str>,
        (what, warnings): (&AccountChange, &mut Vec<Warning>),
    ) -> Result<(Book, Vec<Password>), SqlError> {
        let mut book = before.clone();
        let default_plugin = self.default_plugin;
        let mut change = Change {
            book: &mut book,
            own,
            database,
            default_plugin,
            warnings,
            passwords: Vec::new(),
        };
        match what {
            AccountChange::Statement(statement) => change.make(statement)?,
            AccountChange::Password(user, password) => change.set_password(user, password)?,
        }
        let passwords = change.passwords;
        guard_administrators(before, &book, id)?;
        if before.has_administrator() && !book.has_administrator() {
            let why = "it would leave no account that may do everything";
            return Err(operation_failed(what.name(), &format!("all accounts: {why}")));
        }
        Ok((book, passwords))
    }

    /// Writes a book to the file.
    fn keep(&self, book: &Book) -> Result<(), SqlError> {
        sealed_file::replace(&*self.disk, &self.path, &book.encode()?).map_err(|error| {
            tracing::error!(%error, "accounts were not written");
            SqlError::new(Code::UNKNOWN_ERROR, error.to_string())
        })
    }

    /// From now on sessions go by that book.
    fn show(&self, book: Book) {
        *self.now.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(book);
        self.changes.fetch_add(1, Ordering::Release);
    }
}

/// What a change did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Made {
    /// It set a password that is kept salted.
    SaltedPassword,
    /// Anything else.
    Other,
}

/// Whoever sets a password without TLS may not have TLS to log in with it.
fn in_the_clear() -> Warning {
    let text = "This connection is not encrypted. Once the node has been restarted, the password \
                can be checked over TLS only; IDENTIFIED WITH mysql_native_password needs no TLS, \
                and protects the password less";
    Warning { code: Code::SECURE_TRANSPORT_REQUIRED.0, text: text.to_owned() }
}

/// What may do more than whoever changes it is not for him to change: else CREATE USER would be as
/// good as SUPER, by way of a new password for root.
fn guard_administrators(before: &Book, after: &Book, by: u64) -> Result<(), SqlError> {
    let has_super = |account: &book::Account| account.grants.global.contains(Privileges::SUPER);
    if before.by_id(by).is_some_and(|account| has_super(account)) {
        return Ok(());
    }
    let mut others = before.accounts.iter().filter(|account| account.id != by);
    match others.find(|account| has_super(account) && after.by_id(account.id) != Some(*account)) {
        Some(_) => Err(access::needs(Privileges::SUPER)),
        None => Ok(()),
    }
}

/// A change of accounts.
#[derive(Clone, Debug)]
pub(crate) enum AccountChange {
    /// One of the statements about users and grants.
    Statement(Statement),
    /// SET PASSWORD.
    Password(User, Secret),
}

impl AccountChange {
    /// What it is called.
    const fn name(&self) -> &'static str {
        match self {
            Self::Statement(Statement::CreateUsers(_)) => "CREATE USER",
            Self::Statement(Statement::AlterUsers(_)) => "ALTER USER",
            Self::Statement(Statement::DropUsers(_)) => "DROP USER",
            Self::Statement(Statement::RenameUsers(_)) => "RENAME USER",
            Self::Statement(Statement::Grant(_)) => "GRANT",
            Self::Statement(Statement::Revoke(_)) => "REVOKE",
            Self::Statement(_) => "a change of accounts",
            Self::Password(..) => "SET PASSWORD",
        }
    }
}

/// What a fuzzer asks of the file's decoder: whether bytes are accounts. Those that are write the
/// same bytes again.
///
/// # Panics
/// If they do not.
#[must_use]
pub fn is_file_of_accounts(bytes: &[u8]) -> bool {
    match Book::decode(bytes) {
        Ok(book) => {
            let again = book.encode().expect("it was in a file");
            assert_eq!(again, bytes, "accounts have one form");
            true
        }
        Err(_) => false,
    }
}
