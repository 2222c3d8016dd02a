//! The file of accounts: `docs/formats/accounts.md` draws it.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::book::{Account, Book};
use super::grants::Grants;
use super::host::Host;
use super::password::{Credential, Salted};
use super::privilege::Privileges;
use crate::error::SqlError;
use crate::protocol::auth::{NativeHash, Plugin};
use crate::sealed_file::{Flaw, HEADER, Kind};

/// The file's header.
pub(super) const KIND: Kind = Kind { magic: *b"RSPRACCT", version: 1, bytes_max: 64 << 20 };

/// Fewest bytes of an account, and of a grant: what a count can at most be right about.
const ACCOUNT_BYTES_MIN: usize = 31;
const DATABASE_GRANT_BYTES_MIN: usize = 10;
const TABLE_GRANT_BYTES_MIN: usize = 12;

const REQUIRE_TLS: u8 = 1;
const LOCKED: u8 = 2;
const LIMITED: u8 = 4;

impl Book {
    /// The file.
    ///
    /// # Errors
    /// 1235 if there are too many accounts and grants for one.
    pub(crate) fn encode(&self) -> Result<Vec<u8>, SqlError> {
        let mut out = Vec::new();
        out.extend_from_slice(&self.next_id.to_le_bytes());
        put_count(&mut out, self.accounts.len());
        for account in &self.accounts {
            put_account(&mut out, account);
        }
        if out.len() > KIND.bytes_max {
            return Err(SqlError::not_supported("more than 64 MiB of accounts and grants"));
        }
        Ok(KIND.seal(&out))
    }

    /// The accounts of a file.
    ///
    /// # Errors
    /// For anything that is not exactly what [`Book::encode`] writes.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Flaw> {
        let content = KIND.open(bytes)?;
        let mut reader = Reader { content, at: 0 };
        let next_id = reader.u64()?;
        let count = reader.count(ACCOUNT_BYTES_MIN)?;
        let mut accounts = Vec::with_capacity(count);
        for _ in 0..count {
            accounts.push(Arc::new(reader.account(next_id)?));
        }
        if reader.at != content.len() {
            return Err(reader.flaw("bytes behind the last account"));
        }
        let read = Self { next_id, accounts };
        let mut sorted = read.clone();
        sorted.sort();
        let mut ids: Vec<_> = read.accounts.iter().map(|account| account.id).collect();
        ids.sort_unstable();
        ids.dedup();
        let names = read.accounts.windows(2);
        let twice = names.into_iter().any(|pair| pair[0].name() == pair[1].name());
        if sorted != read || twice || ids.len() != count {
            return Err(reader.flaw("accounts out of order"));
        }
        Ok(read)
    }
}

fn put_count(out: &mut Vec<u8>, count: usize) {
    // Contents are far below 4 GiB: `encode` refuses those that are not.
    out.extend_from_slice(&u32::try_from(count).unwrap_or(u32::MAX).to_le_bytes());
}

/// Names have 255 characters at most.
fn put_text(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(&u16::try_from(text.len()).unwrap_or(u16::MAX).to_le_bytes());
    out.extend_from_slice(text.as_bytes());
}

fn put_account(out: &mut Vec<u8>, account: &Account) {
    out.extend_from_slice(&account.id.to_le_bytes());
    put_text(out, &account.user);
    put_text(out, account.host.text());
    let flag = |on, bit| if on { bit } else { 0 };
    let limited = account.max_sessions > 0;
    out.push(
        flag(account.require_tls, REQUIRE_TLS)
            | flag(account.locked, LOCKED)
            | flag(limited, LIMITED),
    );
    if limited {
        out.extend_from_slice(&account.max_sessions.to_le_bytes());
    }
    out.push(match account.plugin {
        Plugin::Sha2 => 0,
        Plugin::Native => 1,
    });
    match &account.credential {
        Credential::Empty => out.push(0),
        Credential::Native(hash) => {
            out.push(1);
            out.extend_from_slice(&hash.0);
        }
        Credential::Salted(salted) => {
            out.push(2);
            out.extend_from_slice(&salted.iterations.to_le_bytes());
            out.extend_from_slice(&salted.salt);
            out.extend_from_slice(&salted.hash);
        }
    }
    let grants = &account.grants;
    out.extend_from_slice(&grants.global.bits().to_le_bytes());
    put_count(out, grants.databases.len());
    for (database, privileges) in &grants.databases {
        put_text(out, database);
        out.extend_from_slice(&privileges.bits().to_le_bytes());
    }
    put_count(out, grants.tables.len());
    for ((database, table), privileges) in &grants.tables {
        put_text(out, database);
        put_text(out, table);
        out.extend_from_slice(&privileges.bits().to_le_bytes());
    }
}

struct Reader<'b> {
    content: &'b [u8],
    at: usize,
}

impl Reader<'_> {
    const fn flaw(&self, what: &'static str) -> Flaw {
        Flaw::Damaged { offset: HEADER + self.at, what }
    }

    fn bytes<const N: usize>(&mut self) -> Result<[u8; N], Flaw> {
        let bytes = self.content[self.at..].first_chunk().copied();
        let bytes = bytes.ok_or_else(|| self.flaw("ends too early"))?;
        self.at += N;
        Ok(bytes)
    }

    fn u8(&mut self) -> Result<u8, Flaw> {
        self.bytes::<1>().map(|[byte]| byte)
    }

    fn u64(&mut self) -> Result<u64, Flaw> {
        self.bytes().map(u64::from_le_bytes)
    }

    /// How many of something follow, each of so many bytes at least.
    fn count(&mut self, bytes_min: usize) -> Result<usize, Flaw> {
        let count = u32::from_le_bytes(self.bytes()?) as usize;
        let room = (self.content.len() - self.at) / bytes_min;
        if count > room { Err(self.flaw("more than there is room for")) } else { Ok(count) }
    }

    fn text(&mut self) -> Result<String, Flaw> {
        let len = usize::from(u16::from_le_bytes(self.bytes()?));
        let Some(bytes) = self.content.get(self.at..self.at + len) else {
            return Err(self.flaw("ends too early"));
        };
        let text = std::str::from_utf8(bytes).map_err(|_| self.flaw("is no text"))?;
        self.at += len;
        Ok(text.to_owned())
    }

    fn privileges(&mut self) -> Result<Privileges, Flaw> {
        let bits = self.u64()?;
        Privileges::from_bits(bits).ok_or_else(|| self.flaw("unknown privileges"))
    }

    fn account(&mut self, next_id: u64) -> Result<Account, Flaw> {
        let id = self.u64()?;
        if id >= next_id {
            return Err(self.flaw("a number that was not given yet"));
        }
        let (user, host) = (self.text()?, self.text()?);
        let host = Host::parse(&host).ok().filter(|parsed| parsed.text() == host);
        let host = host.ok_or_else(|| self.flaw("no host"))?;
        if user.is_empty() {
            return Err(self.flaw("no user"));
        }
        let flags = self.u8()?;
        if flags & !(REQUIRE_TLS | LOCKED | LIMITED) != 0 {
            return Err(self.flaw("unknown flags"));
        }
        let max_sessions = self.limit(flags & LIMITED != 0)?;
        let plugin = match self.u8()? {
            0 => Plugin::Sha2,
            1 => Plugin::Native,
            _ => return Err(self.flaw("unknown plugin")),
        };
        let credential = self.credential(plugin)?;
        let grants = self.grants()?;
        let (require_tls, locked) = (flags & REQUIRE_TLS != 0, flags & LOCKED != 0);
        Ok(Account {
            id,
            user,
            host,
            plugin,
            credential,
            require_tls,
            locked,
            max_sessions,
            grants,
        })
    }

    fn limit(&mut self, is_there: bool) -> Result<u32, Flaw> {
        if !is_there {
            return Ok(0);
        }
        match u32::from_le_bytes(self.bytes()?) {
            0 => Err(self.flaw("a limit of nothing")),
            limit => Ok(limit),
        }
    }

    fn credential(&mut self, plugin: Plugin) -> Result<Credential, Flaw> {
        match (self.u8()?, plugin) {
            (0, _) => Ok(Credential::Empty),
            (1, Plugin::Native) => self.bytes().map(NativeHash).map(Credential::Native),
            (2, Plugin::Sha2) => {
                let iterations = u32::from_le_bytes(self.bytes()?);
                let salted = Salted::from_parts(iterations, self.bytes()?, self.bytes()?);
                let salted = salted.ok_or_else(|| self.flaw("an impossible number of rounds"))?;
                Ok(Credential::Salted(salted))
            }
            _ => Err(self.flaw("unknown kind of password")),
        }
    }

    fn grants(&mut self) -> Result<Grants, Flaw> {
        let global = self.privileges()?;
        let mut databases = BTreeMap::new();
        for _ in 0..self.count(DATABASE_GRANT_BYTES_MIN)? {
            let database = self.text()?;
            let privileges = self.entry(&databases, &database)?;
            databases.insert(database, privileges);
        }
        let mut tables = BTreeMap::new();
        for _ in 0..self.count(TABLE_GRANT_BYTES_MIN)? {
            let name = (self.text()?, self.text()?);
            let privileges = self.entry(&tables, &name)?;
            tables.insert(name, privileges);
        }
        Ok(Grants { global, databases, tables })
    }

    /// Privileges of a new last entry.
    fn entry<K: Ord>(
        &mut self,
        before: &BTreeMap<K, Privileges>,
        key: &K,
    ) -> Result<Privileges, Flaw> {
        if before.last_key_value().is_some_and(|(last, _)| last >= key) {
            return Err(self.flaw("grants out of order"));
        }
        let privileges = self.privileges()?;
        if privileges.is_empty() {
            return Err(self.flaw("a grant of nothing"));
        }
        Ok(privileges)
    }
}

#[cfg(test)]
mod tests {
    use super::super::book::tests::account;
    use super::*;

    /// The accounts of the fixture.
    fn fixture() -> Book {
        let mut book = Book::new(Plugin::Sha2, Credential::Empty);
        let salted =
            Salted::from_parts(120_000, [7; 16], std::array::from_fn(|n| n as u8)).unwrap();
        let mut app = account("app", "10.0.0.0/255.0.0.0");
        app.credential = Credential::Salted(salted);
        app.require_tls = true;
        app.grants.databases.insert("shop".into(), Privileges::SELECT | Privileges::INSERT);
        app.grants.databases.insert("t\\_%".into(), Privileges::GRANT_OPTION);
        app.grants.tables.insert(("hr".into(), "people".into()), Privileges::UPDATE);
        let mut old = account("old", "%");
        old.plugin = Plugin::Native;
        old.credential = Credential::Native(NativeHash([0xAB; 20]));
        old.locked = true;
        old.grants.global = Privileges::PROCESS;
        book.add(app);
        book.add(account("gone", "%"));
        book.add(old);
        book.accounts.retain(|account| account.user != "gone");
        book
    }

    fn fixture_path() -> std::path::PathBuf {
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/accounts-1")
    }

    /// Guards: every later program reads the file of version 1, and this one writes the same.
    #[test]
    fn version_1_is_read_and_written() {
        let bytes = fixture().encode().unwrap();
        if std::env::var_os("RESPROUT_WRITE_FIXTURES").is_some() {
            std::fs::create_dir_all(fixture_path().parent().unwrap()).unwrap();
            std::fs::write(fixture_path(), &bytes).unwrap();
        }
        let kept = std::fs::read(fixture_path()).unwrap();
        assert_eq!(Book::decode(&kept).unwrap(), fixture());
        assert_eq!(bytes, kept);
    }

    /// Promise: limits are kept, and an account without one has the bytes that it had before there were
    /// any.
    #[test]
    fn limits_are_kept() {
        let mut book = fixture();
        let before = book.encode().unwrap();
        book.change(0).max_sessions = 7;
        let bytes = book.encode().unwrap();
        assert_eq!(bytes.len(), before.len() + 4);
        assert_eq!(Book::decode(&bytes).unwrap(), book);
        book.change(0).max_sessions = 0;
        assert_eq!(book.encode().unwrap(), before);
    }

    /// Promise (S21): a flipped bit or a cut is noticed; with a sum that is right again, any bytes
    /// are accounts that write the same bytes, or an error.
    #[test]
    fn s21_other_bytes_are_refused() {
        let good = fixture().encode().unwrap();
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(Book::decode(&bad).is_err(), "bit {bit}");
            let sealed = KIND.seal(&bad[HEADER..]);
            if let Ok(book) = Book::decode(&sealed) {
                assert_eq!(book.encode().unwrap(), sealed, "bit {bit}");
            }
        }
        for len in 0..good.len() {
            assert!(Book::decode(&good[..len]).is_err(), "length {len}");
            let content = &good[HEADER.min(len)..len];
            assert!(Book::decode(&KIND.seal(content)).is_err(), "length {len}");
        }
    }

    /// Promise (S21): counts that lie ask for no memory.
    #[test]
    fn s21_counts_are_believed_as_far_as_there_are_bytes() {
        let mut content = fixture().encode().unwrap()[HEADER..].to_vec();
        content[8..12].copy_from_slice(&u32::MAX.to_le_bytes());
        let error = Book::decode(&KIND.seal(&content)).unwrap_err();
        assert!(error.to_string().contains("more than there is room for"), "{error}");
    }
}
