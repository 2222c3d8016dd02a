//! CREATE, ALTER and DROP DATABASE; USE.

use resprout_engine::Durability;
use sqlparser::tokenizer::Token;

use super::charset;
use super::cursor::{Cursor, Parsing};
use super::error::ParseError;
use super::limits::PARTITIONS_MAX;

/// How a commit waits for replicas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replication {
    /// A commit waits until replicas have it.
    Sync,
    /// It does not.
    Async,
}

/// `CREATE {DATABASE | SCHEMA} [IF NOT EXISTS] db …`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateDatabase {
    /// Whether it is no error that it exists.
    pub if_not_exists: bool,
    /// Its name.
    pub name: String,
    /// `PARTITIONS n`.
    pub partitions: Option<u32>,
    /// `WITH {SYNC | ASYNC} DURABILITY`.
    pub durability: Option<Durability>,
    /// `WITH {SYNC | ASYNC} REPLICATION`.
    pub replication: Option<Replication>,
}

impl CreateDatabase {
    pub(super) fn parse(cursor: &mut Cursor<'_>) -> Parsing<Self> {
        let mut create = Self {
            if_not_exists: cursor.words("IF NOT EXISTS"),
            name: cursor.name()?,
            partitions: None,
            durability: None,
            replication: None,
        };
        loop {
            if cursor.word("WITH") {
                create.modes(cursor)?;
            } else if cursor.word("PARTITIONS") {
                let number = cursor.small_number()?;
                let given = Some(number).filter(|number| (1..=PARTITIONS_MAX).contains(number));
                create.partitions = Some(given.ok_or(ParseError::Argument("PARTITIONS"))?);
            } else if !charset::option(cursor)? {
                break;
            }
        }
        // Replicas would have commits that the master loses.
        let asynchronous = create.replication == Some(Replication::Async);
        if asynchronous && create.durability == Some(Durability::Sync) {
            return Err(ParseError::AsyncReplicationSyncDurability);
        }
        Ok(create)
    }

    /// One or more of `{SYNC | ASYNC} {DURABILITY | REPLICATION}` after WITH.
    fn modes(&mut self, cursor: &mut Cursor<'_>) -> Parsing<()> {
        let mut any = false;
        loop {
            let sync = match cursor.one_of(&["SYNC", "ASYNC"]) {
                Some(word) => word == "SYNC",
                None if any => return Ok(()),
                None => return Err(cursor.unexpected()),
            };
            any = true;
            match cursor.one_of(&["DURABILITY", "REPLICATION"]) {
                Some("DURABILITY") => {
                    let durability = if sync { Durability::Sync } else { Durability::Async };
                    self.durability = Some(durability);
                }
                Some(_) => self.replication = Some(replication(sync)),
                None => return Err(cursor.unexpected()),
            }
        }
    }
}

fn replication(sync: bool) -> Replication {
    if sync { Replication::Sync } else { Replication::Async }
}

/// `ALTER DATABASE db …`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlterDatabase {
    /// Its name; the one in use if none is given.
    pub name: Option<String>,
    /// `{SET | WITH} {SYNC | ASYNC} REPLICATION`; absent if only a character set is named, of
    /// which there is one.
    pub replication: Option<Replication>,
}

impl AlterDatabase {
    pub(super) fn parse(cursor: &mut Cursor<'_>) -> Parsing<Self> {
        let option = ["SET", "WITH", "CHARACTER", "CHARSET", "COLLATE", "DEFAULT"];
        let named = !option.iter().any(|word| cursor.is_word(word));
        let name = if named { Some(cursor.name()?) } else { None };
        if cursor.one_of(&["SET", "WITH"]).is_some() {
            let sync = match cursor.one_of(&["SYNC", "ASYNC"]) {
                Some(word) => word == "SYNC",
                None => return Err(cursor.unexpected()),
            };
            return match cursor.one_of(&["REPLICATION", "DURABILITY"]) {
                Some("REPLICATION") => Ok(Self { name, replication: Some(replication(sync)) }),
                Some(_) => Err(ParseError::AlterDurability),
                None => Err(cursor.unexpected()),
            };
        }
        let mut any = false;
        while charset::option(cursor)? {
            any = true;
        }
        if any { Ok(Self { name, replication: None }) } else { Err(cursor.unexpected()) }
    }
}

/// `DROP {DATABASE | SCHEMA} [IF EXISTS] db`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DropDatabase {
    /// Whether it is no error that there is none.
    pub if_exists: bool,
    /// Its name.
    pub name: String,
}

impl DropDatabase {
    pub(super) fn parse(cursor: &mut Cursor<'_>) -> Parsing<Self> {
        Ok(Self { if_exists: cursor.words("IF EXISTS"), name: cursor.name()? })
    }
}

/// Takes `=` if it is next: options may have one.
pub(super) fn optional_equals(cursor: &mut Cursor<'_>) {
    let _either_way = cursor.symbol(&Token::Eq);
}
