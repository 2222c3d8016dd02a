//! What an aggregator and a leaf say to each other about a partition.
//!
//! A **channel** is a line of requests that are answered in their order, with one transaction of one partition at
//! most. Any number of channels share a connection.

use resprout_engine::table::{ColumnId, IndexId, TableId, TableSchema, Value};
use rkyv::{Archive, Deserialize, Serialize};

use crate::packed::Packed;
use crate::pushed::Pushdown;

/// A partition, by its database's number in the cluster.
#[derive(
    Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash,
)]
pub struct Place {
    /// The database.
    pub database: u32,
    /// The partition.
    pub ordinal: u32,
}

/// A table, as whoever asks knows it: if it is another by now, nothing is done.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableRef {
    /// Its number.
    pub id: TableId,
    /// The version of its rows.
    pub version: u16,
}

/// Where a scan goes on.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct Scan {
    /// The table.
    pub table: TableRef,
    /// The index that is followed; the rows themselves if none.
    pub index: Option<IndexId>,
    /// The state that is read, as it was taken before.
    pub view: u32,
    /// The first key.
    pub from: Vec<u8>,
    /// The first key that is not wanted.
    pub to: Option<Vec<u8>>,
    /// So many bytes of rows are enough for one answer; at least one row comes.
    pub bytes_max: u32,
}

/// Rows of a partition that are read in one go, of one moment.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Where.
    pub place: Place,
    /// The table.
    pub table: TableRef,
    /// What of it.
    pub looked: Looked,
    /// So many rows of each key or range are enough.
    pub rows_max: u32,
}

/// Which rows are read in one go.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub enum Looked {
    /// By their keys.
    Keys(Vec<Vec<u8>>),
    /// Ranges of an index, or of the rows themselves if none: first keys, and the first that are not wanted.
    Ranges(Option<IndexId>, Vec<(Vec<u8>, Option<Vec<u8>>)>),
}

/// Rows as they are stored, one after the other in few pieces of memory.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct Rows {
    bytes: Vec<u8>,
    /// Where each key ends, and each value.
    ends: Vec<(u32, u32)>,
}

impl Rows {
    /// Adds one.
    pub fn push(&mut self, key: &[u8], value: &[u8]) {
        let end = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        self.bytes.extend_from_slice(key);
        let behind_key = end(&self.bytes);
        self.bytes.extend_from_slice(value);
        self.ends.push((behind_key, end(&self.bytes)));
    }

    /// Bytes of all of them.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// How many.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Keys and values; what the other side got wrong is empty.
    pub fn pairs(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let mut from = 0;
        self.ends.iter().map(move |(key, value)| {
            let (key, value) = (*key as usize, *value as usize);
            let one = (self.bytes.get(from..key), self.bytes.get(key..value));
            from = value;
            (one.0.unwrap_or_default(), one.1.unwrap_or_default())
        })
    }
}

/// A row that is written.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq)]
pub enum Write {
    /// A row: [`Reply::Number`].
    Insert(TableRef, Vec<Value>),
    /// New values of a row's columns: [`Reply::Was`].
    Update(TableRef, Vec<u8>, Vec<(ColumnId, Value)>),
    /// A row is locked and its columns are set, if that can be done here: [`Reply::Changed`], else [`Reply::Values`] of
    /// the locked row.
    Change(TableRef, Vec<u8>, Vec<(ColumnId, Assign)>),
    /// [`Reply::Was`].
    Delete(TableRef, Vec<u8>),
}

/// What a column becomes.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq)]
pub enum Assign {
    /// This, which fits the column.
    Value(Value),
    /// So much more than it is.
    Add(i64),
}

/// What is asked.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq)]
pub enum Request {
    /// The channel's transaction begins. Not answered: the next answer says if it did not.
    Begin {
        /// Where.
        place: Place,
        /// How long it waits for a lock, in milliseconds; as the leaf is set if none.
        lock_wait_ms: Option<u64>,
    },
    /// Takes a state to read from, under this number. Not answered.
    View(u32),
    /// Lets it go. Not answered.
    DropView(u32),
    /// A row by its key: [`Reply::Row`].
    Look(TableRef, Vec<u8>),
    /// Locks a row and reads it: [`Reply::Values`].
    Lock(TableRef, Vec<u8>),
    /// A row is written: its answer.
    Write(Write),
    /// The same, and the transaction is committed if that was done: its answer, when the commit is acknowledged. It
    /// is the last request, whatever comes of it.
    WriteLast(Write),
    /// [`Reply::Rows`].
    Scan(Scan),
    /// What is to be done with the rows of a scan, of which so many are enough: [`Reply::Packed`], or [`Reply::Rows`] if
    /// whole rows are wanted.
    Push(Scan, Pushdown, u32),
    /// A point to go back to, under this number. Not answered.
    Mark(u32),
    /// Takes back what was written since. Not answered.
    RollbackTo(u32),
    /// [`Reply::Done`].
    Commit,
    /// The transaction's part is promised: [`Reply::Done`] when that is durable.
    Promise {
        /// Of all parts.
        global_id: Vec<u8>,
        /// The partitions that take part.
        participants: Vec<u32>,
        /// Transactions whose end needs not be remembered any more.
        forgotten: Vec<Vec<u8>>,
    },
    /// Rows of partitions, outside of a transaction, and at most so many: [`Reply::Fetched`].
    Fetch(Vec<Wanted>, u32),
    /// About a partition, outside of a transaction.
    Of(Place, Question),
}

/// What is asked of a partition.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq)]
pub enum Question {
    /// Keys and values as they are in the tree: [`Reply::Rows`], all of them.
    Raw {
        /// Pairs of the first key and the first that is not wanted.
        ranges: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    },
    /// A change of its tables by whoever has this office: [`Reply::Number`], the newest office that is known there. If that
    /// is another, nothing is done.
    Define(u64, TableChange),
    /// A promise takes effect: [`Reply::Position`].
    CommitPrepared(Vec<u8>),
    /// A promise is dropped: [`Reply::Done`].
    AbortPrepared(Vec<u8>),
    /// [`Reply::Vote`].
    Vote(Vec<u8>),
    /// Transactions that have promised here: [`Reply::InDoubt`].
    InDoubt,
    /// Transactions of which it is remembered how they ended: [`Reply::Ids`].
    Decisions,
    /// [`Reply::Done`].
    Forget(Vec<Vec<u8>>),
    /// Whether that is durable: [`Reply::Was`].
    IsDurable(u64, u64),
    /// Everything that was done is durable: [`Reply::Done`].
    Flush,
    /// A snapshot is written: [`Reply::Done`].
    Snapshot,
    /// Numbers of a table's AUTO_INCREMENT column, at least that one, so many: [`Reply::Number`] is the first.
    Numbers(TableId, u64, u64),
    /// For whom the transaction of a channel waits: [`Reply::Number`].
    Awaited(u64),
}

/// A change of a partition's tables.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq)]
pub enum TableChange {
    /// None: whoever has the office has begun, and nothing of an earlier one is under way on this leaf any more.
    Begin,
    /// A table becomes that.
    Adopt(TableSchema),
    /// An empty table takes a table's place.
    Replace(String, TableSchema),
    /// A table goes.
    Drop(String),
}

/// How a partition votes.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Voted {
    /// It has promised.
    Promised,
    /// It took effect.
    Committed,
    /// Never.
    Refused,
}

/// What is answered.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq)]
pub enum Reply {
    /// It is done.
    Done,
    /// Whether there was something.
    Was(bool),
    /// A number, if there is one.
    Number(Option<u64>),
    /// Whether a row that is there was changed; none if it is not there.
    Changed(Option<bool>),
    /// A row's encoded value, if there is one.
    Row(Option<Vec<u8>>),
    /// A row's values, if there is one.
    Values(Option<Vec<Value>>),
    /// Rows, and where it goes on.
    Rows {
        /// Keys and values.
        rows: Rows,
        /// The first key that was not looked at; none if that was all.
        next: Option<Vec<u8>>,
    },
    /// What came of rows, and where it goes on.
    Packed {
        /// Values.
        values: Packed,
        /// The first key that was not looked at; none if that was all.
        next: Option<Vec<u8>>,
    },
    /// Of each partition the rows of each key or range; none if there are more than were allowed.
    Fetched(Option<Vec<Vec<Rows>>>),
    /// A position of the log: generation and start.
    Position(u64, u64),
    /// A vote.
    Vote(Voted),
    /// Ids, participants, numbers of changes, and whether they promised before this master's term.
    InDoubt(Vec<(Vec<u8>, Vec<u32>, u64, bool)>),
    /// Ids.
    Ids(Vec<Vec<u8>>),
    /// It is not done.
    Failed(Fault),
}

/// Why not. What means something to whoever asked is a variant, the rest is text.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// No master serves here: partition, and the state as text.
    NotOnline(String, String),
    /// The limit, in milliseconds.
    LockWaitTimeout(u64),
    /// See [`resprout_engine::Error::Deadlock`].
    Deadlock,
    /// Entry, table and index.
    Duplicate(String, String, String),
    /// Bytes that are needed, and the limit.
    MemoryLimit(u64, u64),
    /// The log's file, bytes that are needed, bytes that there are, and why there are not more.
    LogFull(String, u64, u64, Option<String>),
    /// Why nobody knows how it ended.
    OutcomeUnknown(String),
    /// See [`resprout_engine::Error::TransactionEnded`].
    TransactionEnded,
    /// The table.
    SchemaChanged(String),
    /// The table.
    NoSuchTable(String),
    /// See [`resprout_engine::Error::AlreadyDecided`].
    AlreadyDecided,
    /// See [`resprout_engine::Error::NotPrepared`].
    NotPrepared,
    /// See [`resprout_engine::Error::AlreadyPrepared`].
    AlreadyPrepared,
    /// In words.
    Other(String),
}
