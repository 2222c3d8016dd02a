//! Making a store, finding and opening one.
//!
//! ```text
//!  create:  log ─► vote, snapshot, entries, boot 1     one group where it fits; boot is the last
//!  open:    log ─► records ─► snapshot ─► cut what is torn ─► new term of the log, boot n + 1
//! ```
//!
//! A log without a boot was never a store: a crash came while it was made. Opening changes nothing
//! before all was read and found good.

use std::path::Path;
use std::sync::Arc;

use resprout_wal::disk::Disk;
use resprout_wal::inspect::Arena;
use resprout_wal::{Device, Evidence, FoundLog, LogIdentity, Lsn, Position, Term};

use super::folder::Folder;
use super::record::{Checkpoint, Encoded, Record};
use super::replay::Replay;
use super::snapshot_file::{Owner, SnapshotFlaw};
use super::watcher::Watcher;
use super::{DATABASE, SnapshotWriter, Store, StoreError, StoreOptions, append_record};
use crate::{EntryId, Recovered, Snapshot, StoreId, WriteId};

impl Store {
    /// Which store's log lies in this arena; the making of one that was interrupted does not
    /// count. To be asked before it is opened.
    #[must_use]
    pub fn find(device: &Device) -> Option<StoreId> {
        let found = device.found();
        let logs = found.iter().filter(|log| is_ours(log.identity));
        logs.filter(|log| is_finished(device, log)).map(|log| StoreId(log.identity.instance)).next()
    }

    /// Makes a store that holds `first`, durably: [`Recovered::first`] for the first node of a
    /// cluster, the default for one that joins. Counts as boot 1. What a crash in an earlier call
    /// has left is replaced.
    ///
    /// # Errors
    /// [`StoreError::Exists`] if the arena has one, [`StoreError::Foreign`], or if the device
    /// refuses.
    ///
    /// # Panics
    /// If `first` has entries that were given up although its snapshot needs them, that is if its
    /// base is not where its snapshot ends.
    pub fn create(
        device: &Device,
        disk: Arc<dyn Disk>,
        options: StoreOptions,
        first: &Recovered,
    ) -> Result<Self, StoreError> {
        look(device, &disk, &options)?;
        remove_unfinished(device)?;
        let identity = options.identity();
        let owner = options.owner();
        let folder = Folder::open(disk, options.dir, owner)?;
        let records = records_of(first, &folder)?;
        let watcher = Watcher::new();
        let log = device.create(identity, Term(1), watcher.clone())?;
        let mut store = Self {
            log,
            arena: device.path().to_owned(),
            snapshots: SnapshotWriter { folder: Arc::new(folder) },
            watcher,
            written: WriteId(0),
            boot: first.boot.max(1),
            ballot: first.ballot,
            last: first.entries.last().map_or(first.base, |entry| entry.id),
            marks: super::Marks::default(),
            giving_up: None,
        };
        let made = store.write_first(&records);
        store.ended(made)?;
        Ok(store)
    }

    /// Opens the store. What it holds is for [`crate::Raft::new`]; the boot in it is durable.
    ///
    /// # Errors
    /// [`StoreError`]; nothing was changed unless it is [`StoreError::Log`], [`StoreError::Full`]
    /// or [`StoreError::Io`].
    pub fn open(
        device: &Device,
        disk: Arc<dyn Disk>,
        options: StoreOptions,
    ) -> Result<(Self, Recovered), StoreError> {
        let arena = look(device, &disk, &options)?;
        let identity = options.identity();
        let (path, store) = (device.path().to_owned(), options.store);
        let mut logs = arena.logs().into_iter();
        let first_lsn = logs.find(|log| log.identity == identity).map(|log| log.first_lsn);
        let first_lsn =
            first_lsn.ok_or_else(|| StoreError::Absent { path: path.clone(), store })?;
        let (replay, log) =
            read(device, identity, (first_lsn, first_group(&arena, &options, first_lsn)))?;
        if replay.boot == 0 {
            return Err(StoreError::Unfinished { path, store });
        }
        let (at, lsn) = (path.clone(), log.end);
        let finished = replay.finish().map_err(Box::new);
        finished.map_err(|what| StoreError::Contradiction { path: at, lsn, what })?;
        let owner = options.owner();
        let folder = Folder::open(disk, options.dir, owner)?;
        let snapshot = newest_snapshot(&replay, &folder)?;

        let term = Term(log.term.0 + 1);
        let watcher = Watcher::new();
        let log = log.open(watcher.clone())?;
        // Positions that a crash has cut off are used again: in a new term (rule 2 of the logs).
        log.begin_term(term)?;
        let mut store = Self {
            log,
            arena: path,
            snapshots: SnapshotWriter { folder: Arc::new(folder) },
            watcher,
            written: WriteId(0),
            boot: replay.boot + 1,
            ballot: replay.ballot,
            last: replay.last(),
            marks: replay.marks,
            giving_up: None,
        };
        let counted = store.write_first(&[Record::Boot(store.boot)]);
        store.ended(counted)?;
        let newest = replay.checkpoint.map(|(checkpoint, _)| checkpoint.last);
        store.snapshots.folder.remove_leftovers(newest)?;
        if let Some((checkpoint, lsn)) = replay.checkpoint {
            // A crash may have come before all of it was given up.
            let Checkpoint { last, base, .. } = checkpoint;
            store.give_up_behind(WriteId(0), (last, base), lsn);
            store.tidy()?;
        }
        let recovered = Recovered {
            ballot: replay.ballot,
            snapshot: snapshot.map(Arc::new),
            base: replay.base,
            entries: replay.entries.into(),
            boot: store.boot,
        };
        Ok((store, recovered))
    }

    /// Appends records, together where they fit into one group, and waits until they are durable.
    fn write_first(&mut self, records: &[Record]) -> Result<(), StoreError> {
        let encoded: Vec<Encoded> = records.iter().map(Record::encode).collect();
        let spaces: Result<Vec<_>, _> =
            encoded.iter().map(|encoded| self.log.reserve(encoded.len())).collect();
        let spaces = spaces.map_err(StoreError::Full)?;
        let mut positions: Vec<Position> = Vec::new();
        let mut appender = self.log.lock()?;
        for (encoded, space) in encoded.iter().zip(spaces) {
            positions.push(append_record(&mut appender, encoded, space)?);
        }
        drop(appender);
        for (record, position) in records.iter().zip(&positions) {
            self.note(WriteId(0), record, position.start);
        }
        let last = positions.last().expect("there are records to begin with");
        self.log.wait_durable(*last)?;
        Ok(())
    }
}

impl StoreOptions {
    fn owner(&self) -> Owner {
        Owner { cluster: self.cluster, store: self.store }
    }
}

fn is_ours(identity: LogIdentity) -> bool {
    identity.database == DATABASE
}

/// Looks at the arena: it must be of the cluster, and the log not be open.
fn look(
    device: &Device,
    disk: &Arc<dyn Disk>,
    options: &StoreOptions,
) -> Result<Arena, StoreError> {
    let path = device.path().to_owned();
    if device.running(options.identity()).is_some() {
        return Err(StoreError::Running { path, store: options.store });
    }
    let arena = Arena::open(disk.clone(), device.path());
    let arena = arena.map_err(|error| StoreError::Arena(Arc::new(error)))?;
    let (expected, found) = (options.cluster, arena.cluster());
    if expected != found {
        return Err(StoreError::Foreign { path, expected, found });
    }
    Ok(arena)
}

/// Whether the log has a boot. A damaged one may have: opening it says what is wrong.
fn is_finished(device: &Device, log: &FoundLog) -> bool {
    if log.first_lsn > Lsn::ZERO {
        return true;
    }
    let Ok(mut recovery) = device.recover(log.identity, Lsn::ZERO, Evidence::default()) else {
        return true;
    };
    loop {
        match recovery.next() {
            Err(_) => return true,
            Ok(None) => return false,
            Ok(Some(batch)) => {
                let mut records = batch.entries().map(|entry| Record::decode(entry.bytes));
                if records.any(|record| matches!(record, Ok(Record::Boot(_)) | Err(_))) {
                    return true;
                }
            }
        }
    }
}

/// Makes room for a store: an arena has one.
fn remove_unfinished(device: &Device) -> Result<(), StoreError> {
    for found in device.found().into_iter().filter(|log| is_ours(log.identity)) {
        if is_finished(device, &found) {
            let (path, store) = (device.path().to_owned(), StoreId(found.identity.instance));
            return Err(StoreError::Exists { path, store });
        }
        tracing::warn!(log = %found.identity, "the making of this metadata log was interrupted; it goes");
        device.remove(found.identity)?;
    }
    Ok(())
}

/// The records of a new store. A snapshot is written to its file.
fn records_of(first: &Recovered, folder: &Folder) -> Result<Vec<Record>, StoreError> {
    let mut records = vec![Record::Vote(first.ballot)];
    let begins = first.snapshot.as_ref().map_or(EntryId::ZERO, |snapshot| snapshot.meta.last);
    assert!(first.base == begins, "a new store begins behind {begins}, not {}", first.base);
    if let Some(snapshot) = &first.snapshot {
        folder.write(snapshot)?;
        let (last, base, end) = (begins, begins, begins);
        let (boot, ballot) = (0, first.ballot);
        let checkpoint = Checkpoint { last, base, end, installed: true, boot, ballot };
        records.push(Record::Snapshot(checkpoint));
    }
    if !first.entries.is_empty() {
        records.push(Record::Entries(first.entries.clone()));
    }
    records.push(Record::Boot(first.boot.max(1)));
    Ok(records)
}

/// Where the first whole group of a log begins: the first slot may begin within one.
fn first_group(arena: &Arena, options: &StoreOptions, first_lsn: Lsn) -> Lsn {
    if first_lsn == Lsn::ZERO {
        return first_lsn;
    }
    let mut walk = arena.walk(options.identity(), None, Evidence::default());
    while let Some((frames, _)) = walk.next() {
        if let Some(first) = frames.iter().find(|frame| !frame.header.continued()) {
            return first.header.lsn;
        }
    }
    // There is none: reading says what is wrong.
    first_lsn
}

/// Reads all records.
fn read(
    device: &Device,
    identity: LogIdentity,
    (first_lsn, from): (Lsn, Lsn),
) -> Result<(Replay, resprout_wal::Recovered), StoreError> {
    let recovery = device.recover(identity, from, Evidence::default());
    let mut recovery = recovery.map_err(StoreError::Damage)?;
    let mut replay = Replay::new(first_lsn == Lsn::ZERO);
    let path = device.path();
    while let Some(batch) = recovery.next().map_err(StoreError::Damage)? {
        for entry in batch.entries() {
            take(&mut replay, path, (entry.lsn, entry.bytes))?;
        }
    }
    let recovered = recovery.finish().map_err(StoreError::Damage)?;
    Ok((replay, recovered))
}

fn take(replay: &mut Replay, path: &Path, (lsn, bytes): (Lsn, &[u8])) -> Result<(), StoreError> {
    let path = || path.to_owned();
    let record = Record::decode(bytes);
    let record = record.map_err(|flaw| StoreError::Record { path: path(), lsn, flaw })?;
    let taken = replay.apply(record, lsn).map_err(Box::new);
    taken.map_err(|what| StoreError::Contradiction { path: path(), lsn, what })
}

/// The snapshot that counts; or an older one, if the log holds everything behind that.
fn newest_snapshot(replay: &Replay, folder: &Folder) -> Result<Option<Snapshot>, StoreError> {
    let Some((checkpoint, _)) = replay.checkpoint else { return Ok(None) };
    let newest = checkpoint.last;
    let flaw = match related(replay, folder, newest) {
        Ok(snapshot) => return Ok(Some(snapshot)),
        Err(flaw) => flaw,
    };
    let (path, base) = (folder.path(newest), replay.base);
    tracing::error!(path = %path.display(), %flaw, "the newest snapshot of the metadata cannot be used");
    let older = folder.list()?.into_iter();
    for id in older.filter(|id| id.index < newest.index && id.index >= base.index) {
        match related(replay, folder, id) {
            Ok(snapshot) => {
                tracing::warn!(path = %folder.path(id).display(), "an older one and the log stand in for it");
                return Ok(Some(snapshot));
            }
            Err(flaw) => {
                tracing::error!(path = %folder.path(id).display(), %flaw, "nor can this one");
            }
        }
    }
    Err(StoreError::Snapshot { path, flaw, base })
}

/// Reads a snapshot, and sees that its last entry is the log's.
fn related(replay: &Replay, folder: &Folder, id: EntryId) -> Result<Snapshot, SnapshotFlaw> {
    let snapshot = folder.read(id)?;
    match replay.id_at(id.index) {
        Some(found) if found != id => Err(SnapshotFlaw::Unrelated { expected: id, found }),
        _ => Ok(snapshot),
    }
}
