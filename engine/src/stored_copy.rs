//! A partition that is one of several copies: what whoever replicates it asks of it.
//!
//! ```text
//!  master   Transaction ─► open group ── ship ─► Shipper::appended ─► other copies
//!                                                                        │
//!           readers, waiting commits ◄── set_committed ◄─────────────────┘
//!
//!  replica  frames ─► follow ─► log (one thread at a time)
//!                       └─────► apply ─► latest root (another thread) ── set_committed ─► readers
//! ```
//!
//! The copy knows no roles and no protocol: it does as it is told. What may be relied on: a commit is
//! acknowledged, and shown, when [`StoredCopy::set_committed`] has reached it; a fenced copy appends
//! nothing more, and tells who waits that the outcome is unknown; a replica's tree is that of its
//! master at the same position.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, Weak};

use resprout_wal::{
    CutError, Frame, FrameSpace, Full, Hold, Lineage, LogError, Lsn, ReadError, Term,
};

use crate::core::{Change, Core, Sequences, Writer};
use crate::error::Error;
use crate::partition::Partition;
use crate::publish::{Lost, Shipper};
use crate::record::RecordKind;
use crate::recovery::{read_bounds, read_catalog, rebuild};
use crate::rewind;
use crate::state::State;
use crate::write_set::WriteSet;
use inflow::Inflow;

pub use image::{Image, OwnChunks};
pub use plain::{PlainCopy, PlainImage};
pub(crate) use switch::finish_install;

mod image;
mod inflow;
mod plain;
mod standstill;
mod switch;

/// The file in a partition's folder where whoever replicates it keeps what it has promised. A partition
/// that has it never attaches itself: another copy may be master.
pub const COPY_FILE: &str = "copy";

/// See the module.
pub struct StoredCopy {
    partition: Partition,
    space: Mutex<FrameSpace>,
    inflow: Mutex<Inflow>,
    /// How often it was fenced. Moved with the writer locked.
    fences: AtomicU64,
}

/// A call to be master, for [`StoredCopy::begin_term`]: void once the copy is fenced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    fences: u64,
}

impl fmt::Debug for StoredCopy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StoredCopy({:?})", self.partition)
    }
}

/// What a read of the log gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadBack {
    /// Frames behind each other.
    Frames(Vec<Frame>),
    /// The log does not have them any more.
    Gone,
}

impl Partition {
    /// Makes a copy that is PENDING one of several. `shipper` hears of its log from now on; who heard of it before, and gave
    /// the copy up, does not any more.
    ///
    /// # Errors
    /// [`Error::NotOnline`] if it is not PENDING, [`Error::Stopped`].
    pub fn store_copy(&self, shipper: Weak<dyn Shipper>) -> Result<StoredCopy, Error> {
        let state = self.state();
        let not_pending = || Error::NotOnline { partition: self.name().to_owned(), state };
        let core = self.core().filter(|_| state == State::Pending).ok_or_else(not_pending)?;
        {
            let mut prepared = core.prepared();
            core.follow(&mut *core.writer()?, &mut prepared);
        }
        let acknowledged = &self.inner.acknowledged;
        let known = core.publisher.replicate(Lsn(acknowledged.load(Ordering::Relaxed)), shipper);
        acknowledged.fetch_max(known.0, Ordering::Relaxed);
        let space = Mutex::new(core.log.frame_space());
        let (partition, inflow, fences) = (self.clone(), Mutex::default(), 0.into());
        Ok(StoredCopy { partition, space, inflow, fences })
    }

    /// Whether somebody has replicated this partition before. If that cannot be found out, it counts as
    /// if: the price is a copy that waits.
    pub(crate) fn is_driven(&self) -> bool {
        let disk = self.inner.context.world().disk.as_ref();
        let kept = self.inner.dir.join(COPY_FILE);
        disk.list(&self.inner.dir).map_or(true, |found| found.iter().any(|at| at.path == kept))
    }

    /// Waits until this copy shows everything before `lsn`, which its master may have named: to read
    /// what was written there. That may never be; the limit is the caller's.
    ///
    /// # Errors
    /// [`Error::NotOnline`] if it is no copy that can be read.
    pub async fn shown(&self, lsn: Lsn) -> Result<(), Error> {
        let core = self.readable()?;
        // Only commits can be lost.
        let _shown = core.publisher.shown(lsn).await;
        Ok(())
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl StoredCopy {
    /// The partition, for readers and writers.
    #[must_use]
    pub fn partition(&self) -> &Partition {
        &self.partition
    }

    fn core(&self) -> &Core {
        self.partition.core().expect("a stored copy is recovered")
    }

    /// The end of its log, everything before it on the medium, and what proves it.
    ///
    /// # Errors
    /// [`Error::Stopped`] if the log has failed.
    pub fn end(&self) -> Result<(Lsn, Lineage), Error> {
        let log = &self.core().log;
        let stopped = |error: &dyn fmt::Display| self.core().stop(&error.to_string());
        let end = log.flush().map_err(|error| stopped(&error))?;
        let lineage = log.lineage_at(end).map_err(|error| stopped(&error))?;
        Ok((end, lineage))
    }

    /// Where its log begins: what was before is given up.
    #[must_use]
    pub fn first(&self) -> Lsn {
        self.core().log.first_lsn()
    }

    /// How much of it was known acknowledged when it was recovered.
    #[must_use]
    pub fn acknowledged(&self) -> Lsn {
        Lsn(self.partition.inner.acknowledged.load(Ordering::Relaxed))
    }

    /// Keeps all of the log that is there, until dropped.
    #[must_use]
    pub fn hold(&self) -> Hold {
        loop {
            // What is first may be given up between the look and the hold.
            if let Ok(hold) = self.core().log.hold(self.first()) {
                return hold;
            }
        }
    }

    /// The chain at a position that is on the medium; `None` if no group ends there, or it is not kept
    /// any more.
    ///
    /// # Errors
    /// [`Error::Stopped`] if the log has failed.
    pub fn chain_at(&self, lsn: Lsn) -> Result<Option<u64>, Error> {
        let core = self.core();
        let stopped = |error: LogError| core.stop(&error.to_string());
        if lsn > core.log.positions().written {
            core.log.flush().map_err(stopped)?;
        }
        match core.log.lineage_at(lsn) {
            Ok(lineage) => Ok(Some(lineage.chain)),
            Err(CutError::Log(error)) => Err(stopped(error)),
            Err(_) => Ok(None),
        }
    }

    /// Frames from a position on, where one begins, up to `until` and about `bytes_max`, but one.
    ///
    /// # Errors
    /// [`Error::DataDamaged`]: what is damaged is not handed on (catalogue D26).
    pub fn read(&self, from: Lsn, until: Lsn, bytes_max: u64) -> Result<ReadBack, Error> {
        let damaged = |error: ReadError| Error::DataDamaged {
            place: self.partition.name().to_owned(),
            lsn: from,
            what: error.to_string(),
        };
        let mut reader = match self.core().log.read_from(from) {
            Ok(reader) => reader,
            Err(ReadError::Released { .. }) => return Ok(ReadBack::Gone),
            Err(error) => return Err(damaged(error)),
        };
        let (mut frames, mut bytes) = (Vec::new(), 0);
        while reader.position() < until && bytes < bytes_max {
            match reader.next() {
                Ok(Some(frame)) => {
                    bytes += frame.padded_bytes();
                    frames.push(frame);
                }
                Ok(None) => break,
                Err(ReadError::Released { .. }) if frames.is_empty() => return Ok(ReadBack::Gone),
                Err(ReadError::Released { .. }) => break,
                Err(error) => return Err(damaged(error)),
            }
        }
        Ok(ReadBack::Frames(frames))
    }

    /// Sees to it that so many bytes of frames can be taken: before they are asked for, so that nothing
    /// that has come is refused (catalogue D22).
    ///
    /// # Errors
    /// [`Full`] if the device has no such space.
    pub fn reserve(&self, bytes: u64) -> Result<(), Full> {
        locked(&self.space).reserve(bytes)
    }

    /// Appends frames of the master's log. Waits for nothing; [`StoredCopy::apply`] is due. For one
    /// thread at a time: the log and what is applied have one order.
    ///
    /// # Errors
    /// [`Error::Stopped`] if they do not continue the log, or it has failed.
    ///
    /// # Panics
    /// If more is appended than was [reserved](StoredCopy::reserve).
    pub fn follow(&self, frames: Vec<Frame>) -> Result<(), Error> {
        let core = self.core();
        let appended = core.log.follow(frames.iter().cloned(), &mut locked(&self.space));
        appended.map_err(|error| core.stop(&error.to_string()))?;
        core.log.deliver_sealed();
        let mut inflow = locked(&self.inflow);
        frames.into_iter().for_each(|frame| inflow.push(frame));
        Ok(())
    }

    /// Everything before is in what readers see.
    #[must_use]
    pub fn shown(&self) -> Lsn {
        self.core().publisher.shown_now()
    }

    /// Waits until the shipper was told of everything that was handed to the log before. Not for the
    /// shipper's own calls.
    pub fn wait_told(&self) {
        self.core().log.wait_told();
    }

    /// Bytes of log that have come and are not applied.
    #[must_use]
    pub fn unapplied_bytes(&self) -> u64 {
        locked(&self.inflow).bytes()
    }

    /// Applies the groups that have come to the latest root. For one thread.
    ///
    /// # Errors
    /// [`Error::DataDamaged`] if a record cannot be read, and if memory itself runs out. The copy must
    /// be recovered anew then.
    pub fn apply(&self) -> Result<(), Error> {
        let core = self.core();
        loop {
            let mut writer = core.writer()?;
            let Some(batch) = locked(&self.inflow).take(&core.name)? else { return Ok(()) };
            batch.ops.apply(&mut writer.tree)?;
            if batch.changes_tables {
                writer.catalog = read_catalog(&writer.tree, batch.ops.end)?;
                locked(&self.inflow).tables_changed(batch.ops.end, writer.catalog.clone());
            }
            let root = writer.tree.freeze();
            core.publisher.applied(batch.ops.end, root);
            self.show_tables();
        }
    }

    /// Readers know the tables of what they see. What is committed may be known before it is applied,
    /// or after.
    fn show_tables(&self) {
        let core = self.core();
        if let Some(catalog) = locked(&self.inflow).tables_at(core.publisher.shown_now()) {
            core.set_catalog(catalog);
        }
    }

    /// What everybody has that is waited for; on a replica, what its master says of that. Commits up to
    /// there are acknowledged and shown.
    pub fn set_committed(&self, lsn: Lsn) {
        let core = self.core();
        core.log.set_committed(lsn);
        core.publisher.replicated(lsn);
        self.show_tables();
        core.ship();
    }

    /// To be called when the disk has gone on: readers may see more, and what has gathered meanwhile
    /// may be due.
    pub fn disk_went_on(&self) {
        self.show_tables();
        self.core().ship();
    }

    /// Hands what is open to the shipper. For who looks now and then: an entry that nobody waits for
    /// is shipped all the same.
    pub fn ship(&self) {
        self.core().log.seal_shipped();
    }

    /// Steps to another state.
    ///
    /// # Panics
    /// If the step is not in the picture of [`crate::state`].
    pub fn enter(&self, next: State, cause: &str) {
        let state = self.partition.state();
        if state != next && state != State::Unrecoverable {
            self.partition.enter(next, cause);
        }
    }

    /// Takes back everything from `to` on, where a group must end; saves it to a file first if asked
    /// to. The term is that of what is left.
    ///
    /// # Errors
    /// [`Error::CannotRewind`]; [`Error::Stopped`]. Only recovery leads on then.
    pub fn cut(&self, to: Lsn, save: bool) -> Result<(), Error> {
        let (core, inner) = (self.core(), &self.partition.inner);
        let _alone = locked(&inner.exclusive);
        let mut writer = core.writer()?;
        let stopped = |error: &dyn fmt::Display| core.stop(&error.to_string());
        core.log.flush().map_err(|error| stopped(&error))?;
        locked(&self.inflow).clear();
        let from = core.log.positions().end;
        let disk = inner.context.world().disk.as_ref();
        if save {
            let term = core.log.term().map_err(|error| stopped(&error))?;
            rewind::save(core, disk, &inner.dir, (from, to, term))?;
        }
        self.partition.remove_newer_snapshots(to)?;
        let base = core.publisher.begin_cut(to, core.log.first_lsn());
        core.log.cut_back(to).map_err(|error| stopped(&error))?;
        match base {
            Some(boundary) => {
                writer.tree.rewind(&boundary.hold)?;
                rewind::replay(core, &mut writer.tree, (boundary.lsn, to))?;
            }
            None => rebuild(&self.partition, &mut writer.tree, to)?,
        }
        self.reread(&mut writer, to)?;
        let root = writer.tree.freeze();
        core.publisher.end_cut(to, root);
        tracing::warn!(partition = %core.name, %from, %to, "cut");
        Ok(())
    }

    /// Takes tables and bounds from the tree, whoever wrote them.
    fn reread(&self, writer: &mut Writer, lsn: Lsn) -> Result<(), Error> {
        let core = self.core();
        writer.catalog = read_catalog(&writer.tree, lsn)?;
        writer.bounds = read_bounds(&writer.tree);
        core.set_catalog(writer.catalog.clone());
        core.restart_numbers(writer.bounds.clone());
        Ok(())
    }

    /// The copy is called to be master, from here on.
    #[must_use]
    pub fn call(&self) -> Call {
        Call { fences: self.fences.load(Ordering::Acquire) }
    }

    /// Begins a term: applies what has come, takes over what is in doubt, and appends the record that
    /// starts it. `paced` if commits wait for other copies: groups then gather while those answer.
    /// False, and nothing done, if the copy was fenced since it was called.
    ///
    /// # Errors
    /// [`Error::Stopped`], [`Error::LogFull`], [`Error::DataDamaged`].
    ///
    /// # Panics
    /// If the term is not newer than the log's (rule 2).
    pub fn begin_term(&self, term: Term, paced: bool, call: Call) -> Result<bool, Error> {
        self.apply()?;
        let core = self.core();
        let space = core.log.reserve(0).map_err(Error::LogFull)?;
        let begun = self.lead((paced, call), |writer| {
            let mut appender = core.log.lock()?;
            core.publisher.begin_mastership(appender.generation());
            writer.last = Some(appender.begin_term(term, space)?);
            Ok(())
        })?;
        core.log.deliver_sealed();
        Ok(begun)
    }

    /// Goes on in the term that the log ends in, with a record that says nothing: for who was master in it to an orderly
    /// end, after which nothing happened to the partition (rule 14). Else as [`StoredCopy::begin_term`].
    ///
    /// # Errors
    /// As there.
    ///
    /// # Panics
    /// If the log does not end in that term.
    pub fn resume_term(&self, term: Term, paced: bool, call: Call) -> Result<bool, Error> {
        assert_eq!(self.last_term()?, term, "a term that is not that of the log's end");
        self.apply()?;
        let core = self.core();
        let resumed = self.lead((paced, call), |_| {
            core.publisher.begin_mastership(core.log.lock()?.generation());
            Ok(())
        })?;
        if !resumed {
            return Ok(false);
        }
        let nothing = core.append(&Change {
            kind: RecordKind::Commit,
            txn: core.next_txn(),
            writes: &WriteSet::default(),
            tables: &[],
            numbers: &Sequences::new(),
        });
        match nothing {
            Ok(_) => core.ship(),
            // Fenced meanwhile.
            Err(Error::TransactionEnded) => return Ok(false),
            Err(error) => return Err(error),
        }
        Ok(true)
    }

    /// Commits of a master wait for other copies from now on, or do not any more: `paced` as in
    /// [`StoredCopy::begin_term`]. Nothing for a copy that does not lead.
    ///
    /// # Errors
    /// [`Error::Stopped`] if the log has failed.
    pub fn set_paced(&self, paced: bool) -> Result<(), Error> {
        let core = self.core();
        {
            let writer = core.writer()?;
            if !writer.leads {
                return Ok(());
            }
            core.log.set_shipped(paced);
        }
        // What was left to the device is not to wait for the next commit.
        core.log.seal_shipped();
        Ok(())
    }

    /// The term of the last frame of its log.
    ///
    /// # Errors
    /// [`Error::Stopped`] if the log has failed.
    pub fn last_term(&self) -> Result<Term, Error> {
        let core = self.core();
        let appender = core.log.lock().map_err(|error| core.stop(&error.to_string()))?;
        Ok(appender.term())
    }

    /// Takes over what is in doubt, and is written to from then on. False, and nothing done, if it was fenced since it was
    /// called.
    fn lead(
        &self,
        (paced, call): (bool, Call),
        begin: impl FnOnce(&mut Writer) -> Result<(), LogError>,
    ) -> Result<bool, Error> {
        let core = self.core();
        let mut prepared = core.prepared();
        let mut writer = core.writer()?;
        if self.call() != call {
            return Ok(false);
        }
        // A master takes no frames: what was set aside for them is free again.
        *locked(&self.space) = core.log.frame_space();
        let end = core.log.positions().end;
        self.reread(&mut writer, end)?;
        core.skip_txns(end);
        core.locks.open();
        core.restore_prepared(&writer.tree, &mut prepared)?;
        core.log.set_shipped(paced);
        begin(&mut writer).map_err(|error| core.stop(&error.to_string()))?;
        writer.leads = true;
        Ok(true)
    }

    /// Ends the mastership: nothing is appended any more, open transactions are over, and who waits for
    /// a commit learns that its outcome is unknown. What was appended goes to the shipper.
    ///
    /// # Errors
    /// [`Error::Stopped`] if the log has failed; nothing is acknowledged then either.
    pub fn fence(&self) -> Result<(), Error> {
        let core = self.core();
        self.enter(State::Transitioning, "fenced");
        core.publisher.lose(Lost::Fenced);
        {
            let mut prepared = core.prepared();
            let mut writer = core.writer()?;
            self.fences.fetch_add(1, Ordering::AcqRel);
            core.follow(&mut writer, &mut prepared);
        }
        core.log.seal_shipped();
        core.log.set_shipped(false);
        Ok(())
    }

    /// Gives the copy up: it answers nothing until it is opened anew or provisioned.
    pub fn give_up(&self, cause: &str) {
        self.partition.give_up(cause);
    }
}
