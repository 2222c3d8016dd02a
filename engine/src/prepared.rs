//! Two-phase commit, one partition's part.
//!
//! ```text
//!  begin … promise(id, participants) ─► in doubt: writes and locks are kept, through any restart
//!                                           │
//!           every participant's promise is durable: that is the commit
//!                                           │
//!               commit_prepared(id)         │         abort_prepared(id): somebody never promises
//! ```
//!
//! There is no decision to be written, and nobody who has to be asked for it: a transaction is
//! committed once all its participants have promised, and each of them knows the others. So a commit
//! over several partitions waits for one flush, in all of them at once. (Elsewhere this is known as
//! parallel commit, there with a record of its own that lists the participants.)
//!
//! A participant that promised never ends on its own (rule 13). Who finds it in doubt, with its
//! coordinator gone, asks every participant for its [`Vote`]; who knows nothing of the transaction
//! refuses, from then on and durably, so that a promise on its way comes too late. All votes for it:
//! it is committed everywhere. One against it: nowhere. Whoever asks, and however often, the answer
//! is the same, because a promise goes only when another participant cannot promise any more, and
//! because a participant remembers that it committed until none is in doubt
//! ([`Partition::forget_decisions`]).

use std::collections::BTreeMap;
use std::sync::{MutexGuard, PoisonError};

use resprout_wal::Position;

use crate::core::{Appended, Change, Core, Sequences};
use crate::error::Error;
use crate::lock::{Request, RowKey, TxnId};
use crate::partition::Partition;
use crate::record::{Decision, GLOBAL_ID_MAX, OpKind, PreparedSet, RecordKind};
use crate::table::{IndexId, KeyRange, system};
use crate::transaction::Transaction;
use crate::tree::Tree;
use crate::write_set::{Wanted, WriteSet};

/// A transaction in doubt.
#[derive(Debug)]
pub(crate) struct Prepared {
    /// Holds its locks.
    pub(crate) txn: TxnId,
    pub(crate) set: PreparedSet,
    /// It promised to a master before this one: see [`crate::inherited`].
    pub(crate) inherited: bool,
}

/// A transaction in doubt, as operators and coordinators see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InDoubt {
    /// Its name over all partitions.
    pub global_id: Vec<u8>,
    /// The partitions that take part, by ordinal: whose votes end it.
    pub participants: Vec<u32>,
    /// Keys it will change.
    pub changes: usize,
    /// It promised before this master's term, or before a restart: whoever coordinates it may be gone, and who reads
    /// what it changes waits ([`Partition::settled`]).
    pub inherited: bool,
}

/// What a partition knows of a transaction in which it takes part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vote {
    /// It has promised, and is in doubt.
    Promised,
    /// It took effect here.
    Committed,
    /// It did not promise, or dropped its promise, and never promises again.
    Refused,
}

/// A promise that was appended: it counts once it is durable.
#[must_use = "a promise counts once it is durable"]
#[derive(Debug)]
pub struct Promise {
    partition: Partition,
    position: Position,
}

impl Core {
    pub(crate) fn prepared(&self) -> MutexGuard<'_, BTreeMap<Vec<u8>, Prepared>> {
        self.prepared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes back what the tree says is in doubt, with its locks, after a restart or a rewind.
    ///
    /// # Errors
    /// [`Error::DataDamaged`].
    pub(crate) fn restore_prepared(
        &self,
        tree: &Tree,
        prepared: &mut BTreeMap<Vec<u8>, Prepared>,
    ) -> Result<(), Error> {
        let range = KeyRange::of_index(IndexId::PREPARED);
        let mut rows = tree.range(&range.from, range.to.as_deref());
        while rows.next() {
            let set = PreparedSet::decode(rows.value()).map_err(|damage| Error::DataDamaged {
                place: "prepared transactions".to_owned(),
                lsn: resprout_wal::Lsn::ZERO,
                what: damage.to_string(),
            })?;
            let txn = self.next_txn();
            for lock in &set.locks {
                let key: RowKey = lock.as_slice().into();
                let granted = self.locks.acquire(txn, &key, self.clock.now());
                assert!(
                    matches!(granted, Ok(Request::Granted)),
                    "two prepared transactions hold one key"
                );
            }
            prepared.insert(set.global_id.clone(), Prepared { txn, set, inherited: true });
        }
        self.inherited.begin(!prepared.is_empty());
        Ok(())
    }
}

impl Transaction {
    /// Promises to be able to commit, durably. From now on only the votes of all `participants`, by
    /// ordinal and this partition among them, end it.
    ///
    /// # Errors
    /// As [`Transaction::promise`] and [`Promise::wait`].
    pub fn prepare(self, global_id: &[u8], participants: &[u32]) -> Result<(), Error> {
        self.promise(global_id, participants, &[])?.wait()
    }

    /// As [`Transaction::prepare`], without waiting. Forgets how other transactions ended with the
    /// same record, as [`Partition::forget_decisions`] does.
    ///
    /// # Errors
    /// As a commit: nothing was promised then. [`Error::AlreadyPrepared`]; [`Error::AlreadyDecided`]
    /// if somebody asked for the vote before; [`Error::BadOption`] for an id that is empty or longer
    /// than 255 bytes, or if this partition is not among the participants.
    pub fn promise(
        mut self,
        global_id: &[u8],
        participants: &[u32],
        forgotten: &[Vec<u8>],
    ) -> Result<Promise, Error> {
        let partition = self.partition.clone();
        if global_id.is_empty() || global_id.len() > GLOBAL_ID_MAX {
            let why = format!("1 to {GLOBAL_ID_MAX} bytes");
            return Err(Error::BadOption { option: "global transaction id", why });
        }
        if !participants.contains(&partition.ordinal()) {
            let why = format!("partition {} is not among them", partition.ordinal());
            return Err(Error::BadOption { option: "participants", why });
        }
        let core = partition.online()?;
        let set = PreparedSet {
            global_id: global_id.to_vec(),
            participants: participants.to_vec(),
            binding: true,
            ops: self.writes.to_writes(),
            locks: core.locks.owned_by(self.id),
        };
        let position = self.append_promise(core, set, forgotten)?;
        self.keeps_locks = true;
        drop(self);
        Ok(Promise { partition, position })
    }

    fn append_promise(
        &self,
        core: &Core,
        set: PreparedSet,
        forgotten: &[Vec<u8>],
    ) -> Result<Position, Error> {
        let value = set.encode()?;
        // Held from the look to the append: nobody can ask for the vote in between.
        let mut prepared = core.prepared();
        if prepared.contains_key(&set.global_id) {
            return Err(Error::AlreadyPrepared);
        }
        if newest_decision(core, &set.global_id)?.is_some() {
            return Err(Error::AlreadyDecided);
        }
        let mut writes = forgetting(core, forgotten)?;
        let key = system::prepared_key(&set.global_id);
        writes.set(key.into(), Wanted { kind: OpKind::Insert, value: Some(value) });
        let appended = core.append(&Change {
            kind: RecordKind::Prepare,
            txn: self.id,
            writes: &writes,
            tables: &self.tables,
            numbers: self.numbers(),
        })?;
        prepared.insert(set.global_id.clone(), Prepared { txn: self.id, set, inherited: false });
        Ok(appended.position)
    }
}

impl Promise {
    /// The partition that promised.
    #[must_use]
    pub fn partition(&self) -> &Partition {
        &self.partition
    }

    /// Waits until it is durable, and on all copies that are waited for, whatever the database's mode:
    /// others act on it.
    ///
    /// # Errors
    /// [`Error::OutcomeUnknown`] if the log failed meanwhile.
    pub fn wait(&self) -> Result<(), Error> {
        self.partition.online()?.wait_firm(self.position)
    }

    /// As [`Promise::wait`], for tasks.
    ///
    /// # Errors
    /// As there.
    pub async fn wait_async(&self) -> Result<(), Error> {
        self.partition.online()?.firm(self.position).await
    }
}

impl Partition {
    /// Transactions in doubt.
    ///
    /// # Errors
    /// [`Error::NotOnline`].
    pub fn in_doubt(&self) -> Result<Vec<InDoubt>, Error> {
        let core = self.online()?;
        let prepared = core.prepared();
        let shown = prepared.values().map(|prepared| InDoubt {
            global_id: prepared.set.global_id.clone(),
            participants: prepared.set.participants.clone(),
            changes: prepared.set.ops.len(),
            inherited: prepared.inherited,
        });
        Ok(shown.collect())
    }

    /// Makes a prepared transaction take effect: for who knows that all its participants have
    /// promised, durably. Readers see it when this returns; that it is durable here need not be
    /// waited for, since after a crash the promises say the same. Where its record is: see
    /// [`Partition::is_durable`].
    ///
    /// # Errors
    /// [`Error::NotPrepared`] if there is none (it may have ended already), and as a commit.
    pub fn commit_prepared(&self, global_id: &[u8]) -> Result<Position, Error> {
        let Appended { position, seen } =
            self.end_prepared(global_id, RecordKind::CommitPrepared)?;
        if !seen {
            self.online()?.wait_committed(position)?;
        }
        Ok(position)
    }

    /// As [`Partition::commit_prepared`], for tasks.
    ///
    /// # Errors
    /// As there.
    pub async fn commit_prepared_async(&self, global_id: &[u8]) -> Result<Position, Error> {
        let Appended { position, seen } =
            self.end_prepared(global_id, RecordKind::CommitPrepared)?;
        if !seen {
            self.online()?.committed(position).await?;
        }
        Ok(position)
    }

    /// Drops a prepared transaction: for who knows that one of its participants never promises.
    /// It is not waited for: after a crash the votes say the same.
    ///
    /// # Errors
    /// As [`Partition::commit_prepared`].
    pub fn abort_prepared(&self, global_id: &[u8]) -> Result<(), Error> {
        self.end_prepared(global_id, RecordKind::AbortPrepared)?;
        Ok(())
    }

    fn end_prepared(&self, global_id: &[u8], kind: RecordKind) -> Result<Appended, Error> {
        let core = self.online()?;
        let (txn, appended) = {
            let mut prepared = core.prepared();
            let entry = prepared.get(global_id).ok_or(Error::NotPrepared)?;
            let (txn, inherited) = (entry.txn, entry.inherited);
            let mut writes = WriteSet::default();
            if kind == RecordKind::CommitPrepared {
                writes.extend(entry.set.ops.iter().cloned());
                writes.set(system::decision_key(global_id).into(), noted(Decision::Commit));
            }
            let key = system::prepared_key(global_id);
            writes.set(key.into(), Wanted { kind: OpKind::Delete, value: None });
            let numbers = &Sequences::new();
            let change = Change { kind, txn, writes: &writes, tables: &[], numbers };
            let appended = core.append(&change)?;
            prepared.remove(global_id);
            if inherited {
                core.inherited.end(appended.position);
            }
            (txn, appended)
        };
        core.locks.release_all(txn);
        Ok(appended)
    }

    /// Asks for the partition's vote about a transaction in which it takes part; durable by the time
    /// of the answer. A partition that knows nothing of it refuses from now on.
    ///
    /// # Errors
    /// As a commit; [`Error::DataDamaged`].
    pub fn vote(&self, global_id: &[u8]) -> Result<Vote, Error> {
        let core = self.online()?;
        // Held from the look to the append: nobody can promise in between.
        let prepared = core.prepared();
        let vote = match newest_decision(core, global_id)? {
            Some(Decision::Commit) => Vote::Committed,
            Some(Decision::Abort) => Vote::Refused,
            None if prepared.get(global_id).is_some_and(|entry| entry.set.binding) => {
                Vote::Promised
            }
            None => {
                let mut writes = WriteSet::default();
                writes.set(system::decision_key(global_id).into(), noted(Decision::Abort));
                append_decisions(core, &writes)?;
                Vote::Refused
            }
        };
        drop(prepared);
        self.flush()?;
        Ok(vote)
    }

    /// Whether a record of this run is durable, and on all copies that are waited for.
    ///
    /// # Errors
    /// [`Error::NotOnline`].
    pub fn is_durable(&self, position: Position) -> Result<bool, Error> {
        Ok(self.online()?.is_firm(position))
    }

    /// Waits until all that was appended so far is durable, whatever the database's mode.
    ///
    /// # Errors
    /// [`Error::OutcomeUnknown`] if the log failed meanwhile.
    pub fn flush(&self) -> Result<(), Error> {
        let core = self.online()?;
        core.last_position()?.map_or(Ok(()), |position| core.wait_firm(position))
    }

    /// Forgets how transactions ended, for when every participant has ended them, durably: nobody
    /// will ask again. It is not waited for: a crash may bring them back, which nobody asks for
    /// either. It is cheaper with the next promise ([`Transaction::promise`]).
    ///
    /// # Errors
    /// As a commit.
    pub fn forget_decisions(&self, global_ids: &[Vec<u8>]) -> Result<(), Error> {
        let core = self.online()?;
        let prepared = core.prepared();
        let writes = forgetting(core, global_ids)?;
        if !writes.is_empty() {
            append_decisions(core, &writes)?;
        }
        drop(prepared);
        Ok(())
    }

    /// The names of all transactions of which it is remembered how they ended.
    ///
    /// # Errors
    /// [`Error::NotOnline`].
    pub fn decisions(&self) -> Result<Vec<Vec<u8>>, Error> {
        let core = self.online()?;
        let range = KeyRange::of_index(IndexId::DECISIONS);
        let writer = core.writer()?;
        let mut rows = writer.tree.range(&range.from, range.to.as_deref());
        let (mut names, mut key) = (Vec::new(), Vec::new());
        while rows.next() {
            rows.key_into(&mut key);
            names.push(key[range.from.len()..].to_vec());
        }
        Ok(names)
    }

    /// How a transaction ended here, if that is remembered; perhaps not durable yet.
    ///
    /// # Errors
    /// [`Error::NotOnline`], [`Error::DataDamaged`].
    pub fn decision(&self, global_id: &[u8]) -> Result<Option<Decision>, Error> {
        newest_decision(self.online()?, global_id)
    }
}

fn noted(decision: Decision) -> Wanted {
    Wanted { kind: OpKind::Insert, value: Some(decision.to_bytes().to_vec()) }
}

fn append_decisions(core: &Core, writes: &WriteSet) -> Result<(), Error> {
    let appended = core.append(&Change {
        kind: RecordKind::Decision,
        txn: core.next_txn(),
        writes,
        tables: &[],
        numbers: &Sequences::new(),
    });
    appended.map(drop)
}

/// Removes those of these decisions that are there.
fn forgetting(core: &Core, global_ids: &[Vec<u8>]) -> Result<WriteSet, Error> {
    let mut writes = WriteSet::default();
    for id in global_ids {
        if newest_decision(core, id)?.is_some() {
            let gone = Wanted { kind: OpKind::Delete, value: None };
            writes.set(system::decision_key(id).into(), gone);
        }
    }
    Ok(writes)
}

fn newest_decision(core: &Core, global_id: &[u8]) -> Result<Option<Decision>, Error> {
    let writer = core.writer()?;
    let Some(value) = writer.tree.get(&system::decision_key(global_id)) else { return Ok(None) };
    Decision::from_bytes(value).map(Some).ok_or_else(|| Error::DataDamaged {
        place: "decisions".to_owned(),
        lsn: resprout_wal::Lsn::ZERO,
        what: format!("a decision of {} bytes", value.len()),
    })
}
