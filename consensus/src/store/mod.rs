//! What a member must not forget: Raft's log as a log of the arena, and files for the snapshots.
//!
//! ```text
//!   Raft ──writes──► Store ──append──► log in the arena      Boot, Vote, Entries, Snapshot
//!    ▲                 └──file first──► raft/raft-….snapshot
//!    └──Persisted── Progress ◄── groups are durable
//! ```
//!
//! The log is only ever appended to: entries that a leader takes back are replaced by what is
//! written behind them, votes by later votes. So there is no moment at which something is half
//! changed, and what a crash leaves is the state after some write that was handed in, at least the
//! last one that was told durable.
//!
//! A **snapshot** counts from its record on. Its file is durable before the record is appended;
//! the log in front of it, and older files, go when the record is durable (row D32). The record
//! repeats boot and ballot, so that nothing in front of it is needed (row M17).
//!
//! **Failure is final** (rows D18 to D20). After a write or flush that failed, and also when the
//! arena is full, the store takes no more writes in this run, and nothing is tried again: Raft has
//! gone on from writes that are not there, and would promise what it cannot keep. What holds a
//! promise back until it is durable then holds it for ever, which is what is wanted (row D19).
//! The node comes back by a new start; a full arena needs space before that.
//!
//! Its log is named by database 0, which no database has: they are counted from 1. The instance is
//! the store's id.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use resprout_wal::{Log, LogIdentity, Lsn, Reservation};
use tokio::sync::watch;

pub use error::StoreError;
pub use record::RecordFlaw;
pub use replay::Contradiction;
pub use snapshot_file::SnapshotFlaw;

use crate::node::Durability;
use crate::{Ballot, Content, EntryId, Snapshot, StoreId, Write, WriteId};
use folder::Folder;
use marks::Marks;
use record::{Checkpoint, Encoded, Record};
use watcher::Watcher;

mod error;
mod folder;
mod marks;
mod open;
mod record;
mod replay;
mod snapshot_file;
mod watcher;

/// The number that stands for the metadata among the databases.
pub const DATABASE: u32 = 0;

/// Where a store is, and whose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreOptions {
    /// The cluster; that of the arena.
    pub cluster: u128,
    /// The data directory.
    pub store: StoreId,
    /// The directory of the snapshots, which nothing else uses.
    pub dir: PathBuf,
}

/// How far the writes have come.
pub type Progress = Durability<Arc<StoreError>>;

/// See the module. One per data directory: the lock is the device's.
pub struct Store {
    log: Log,
    arena: PathBuf,
    snapshots: SnapshotWriter,
    watcher: Arc<Watcher>,
    /// The newest write that was taken.
    written: WriteId,
    boot: u64,
    ballot: Ballot,
    /// The last entry.
    last: EntryId,
    marks: Marks,
    /// What goes when a snapshot counts.
    giving_up: Option<GivingUp>,
}

/// What a snapshot lets go, once its record is durable.
#[derive(Clone, Copy, Debug)]
struct GivingUp {
    write: WriteId,
    snapshot: EntryId,
    log_before: Lsn,
}

/// Writes the files of snapshots, from any thread: ahead of the write that lets them count, so
/// that this one does not wait for them.
#[derive(Clone, Debug)]
pub struct SnapshotWriter {
    folder: Arc<Folder>,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Store({}, written {:?})", self.log.identity(), self.written)
    }
}

impl StoreOptions {
    /// The name of the log in the arena.
    #[must_use]
    pub fn identity(&self) -> LogIdentity {
        let (database, partition, instance) = (DATABASE, 0, self.store.0);
        LogIdentity { cluster: self.cluster, database, partition, instance }
    }
}

impl SnapshotWriter {
    /// Makes the file of a snapshot durable, and verifies it. Blocks. Nothing happens if that was
    /// done already. The snapshot does not count before [`Content::Snapshot`] is written.
    ///
    /// # Errors
    /// If the system refuses or the device has not written what it was given. Nothing has changed
    /// then, and it may be tried again.
    pub fn write(&self, snapshot: &Snapshot) -> Result<(), StoreError> {
        self.folder.write(snapshot)
    }
}

impl Store {
    /// Takes writes, in order, and returns before they are durable; [`Store::progress`] tells
    /// when. All of them are taken or none.
    ///
    /// It waits for the device in three cases: more is under way than the device's options allow;
    /// a snapshot's file was not written ahead ([`Store::snapshot_writer`]); or a snapshot has
    /// become durable since, and what it replaces is given up ([`Store::tidy`]).
    ///
    /// # Errors
    /// Why the store has ended, now or before. Nothing leads back but a new start.
    ///
    /// # Panics
    /// If writes are not numbered upwards, or entries do not follow those before.
    pub fn write(&mut self, writes: Vec<Write>) -> Result<(), StoreError> {
        self.check()?;
        if writes.is_empty() {
            return Ok(());
        }
        let written = self.tidy().and_then(|()| self.append(writes));
        self.ended(written)
    }

    /// How far the writes have come; moves only forward.
    #[must_use]
    pub fn progress(&self) -> watch::Receiver<Progress> {
        self.watcher.subscribe()
    }

    /// Writes snapshots ahead, from another thread.
    #[must_use]
    pub fn snapshot_writer(&self) -> SnapshotWriter {
        self.snapshots.clone()
    }

    /// Gives up what a durable snapshot replaces: slots of the arena and older files. Blocks, for
    /// two flushes a slot. Done by the next write if nobody calls it before.
    ///
    /// # Errors
    /// As [`Store::write`], if the arena's log fails. A file that cannot be removed is tried again
    /// with the next snapshot.
    pub fn tidy(&mut self) -> Result<(), StoreError> {
        let durable = self.watcher.progress().durable;
        let Some(due) = self.giving_up.take_if(|due| due.write <= durable) else { return Ok(()) };
        let released = self.log.release_before(due.log_before);
        self.ended(released.map(drop).map_err(StoreError::from))?;
        if let Err(error) = self.snapshots.folder.remove_older(due.snapshot) {
            tracing::warn!(%error, "an older snapshot of the metadata stays");
        }
        Ok(())
    }

    /// Waits until everything is durable, and closes the log in order.
    ///
    /// # Errors
    /// As [`Store::write`].
    pub fn close_clean(mut self) -> Result<(), StoreError> {
        self.check()?;
        let closed = self.log.flush().map_err(StoreError::from).and_then(|_| self.tidy());
        let closed = closed.and_then(|()| Ok(self.log.close_clean()?));
        self.ended(closed.map(drop))
    }

    fn check(&self) -> Result<(), StoreError> {
        self.watcher.progress().failed.map_or(Ok(()), |error| Err((*error).clone()))
    }

    /// An error is told to everybody, and stays.
    fn ended(&self, result: Result<(), StoreError>) -> Result<(), StoreError> {
        if let Err(error) = &result {
            tracing::error!(arena = %self.arena.display(), %error, "the metadata store ends");
            self.watcher.end(error);
        }
        result
    }

    fn append(&mut self, writes: Vec<Write>) -> Result<(), StoreError> {
        let mut records = Vec::with_capacity(writes.len());
        for write in writes {
            assert!(write.id > self.written, "write {:?} behind {:?}", write.id, self.written);
            self.written = write.id;
            if let Content::Snapshot { snapshot, .. } = &write.content {
                self.snapshots.write(snapshot)?;
            }
            let record = self.record(write.content);
            let encoded = record.encode();
            let space = self.log.reserve(encoded.len()).map_err(StoreError::Full)?;
            records.push((write.id, record, encoded, space));
        }
        let mut appender = self.log.lock()?;
        let mut notes = Vec::with_capacity(records.len());
        for (write, record, encoded, space) in records {
            let position = append_record(&mut appender, &encoded, space)?;
            self.watcher.appended(position.generation, write);
            notes.push((write, record, position.start));
        }
        drop(appender);
        for (write, record, lsn) in notes {
            self.note(write, &record, lsn);
        }
        Ok(())
    }

    /// What to write for it, behind everything before.
    fn record(&mut self, content: Content) -> Record {
        match content {
            Content::Vote(ballot) => {
                assert!(ballot.term >= self.ballot.term, "terms fall: {ballot:?}");
                self.ballot = ballot;
                Record::Vote(ballot)
            }
            Content::Entries(entries) => {
                let (first, last) = (entries.first(), entries.last());
                let (first, last) = first.zip(last).expect("a write of entries has some");
                let behind = first.id.index <= self.last.index.next();
                assert!(behind, "entry {} behind {}", first.id, self.last);
                self.last = last.id;
                Record::Entries(entries)
            }
            Content::Snapshot { snapshot, base, installed } => {
                let last = snapshot.meta.last;
                if installed {
                    self.last = last;
                }
                let (end, boot, ballot) = (self.last, self.boot, self.ballot);
                Record::Snapshot(Checkpoint { last, base, end, installed, boot, ballot })
            }
        }
    }

    /// Keeps in mind where a record lies.
    fn note(&mut self, write: WriteId, record: &Record, lsn: Lsn) {
        match record {
            Record::Boot(_) | Record::Vote(_) => {}
            Record::Entries(entries) => self.marks.put(entries[0].id.index, lsn),
            Record::Snapshot(checkpoint) => self.note_snapshot(write, checkpoint, lsn),
        }
    }

    fn note_snapshot(&mut self, write: WriteId, checkpoint: &Checkpoint, lsn: Lsn) {
        let Checkpoint { last: snapshot, base, end, .. } = *checkpoint;
        if base == end {
            self.marks.clear();
        }
        let known = base == end || self.marks.position(base.index.next()).is_some();
        assert!(known, "nobody knows where the entries behind {base} lie");
        self.give_up_behind(write, (snapshot, base), lsn);
    }

    /// When the write is durable, what lies before the snapshot's record and before the entries
    /// that it needs is to go.
    fn give_up_behind(&mut self, write: WriteId, (snapshot, base): (EntryId, EntryId), lsn: Lsn) {
        let first_needed = base.index.next();
        let log_before = self.marks.position(first_needed).map_or(lsn, |at| at.min(lsn));
        self.marks.forget_before(first_needed);
        self.giving_up = Some(GivingUp { write, snapshot, log_before });
    }
}

fn append_record(
    appender: &mut resprout_wal::Appender<'_>,
    encoded: &Encoded,
    space: Reservation,
) -> Result<resprout_wal::Position, StoreError> {
    Ok(appender.append_parts(&encoded.parts(), space)?)
}
