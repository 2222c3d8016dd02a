//! Two-phase commit, one partition's part.
//!
//! ```text
//!  begin … prepare(id, home) ─► in doubt: writes and locks are kept, through any restart
//!                                   │
//!       home's record: decide(id, Commit | Abort), durable first
//!                                   │
//!               commit_prepared(id) │ abort_prepared(id)
//! ```
//!
//! A participant that prepared never ends on its own (rule 13): it asks the home partition, whose
//! decision is a row in its tree and a record in its log.

use std::collections::BTreeMap;
use std::sync::{MutexGuard, PoisonError};

use resprout_wal::Position;

use crate::core::{Change, Core, Sequences};
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
}

/// A transaction in doubt, as operators and coordinators see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InDoubt {
    /// Its name over all partitions.
    pub global_id: Vec<u8>,
    /// The partition that decides.
    pub home: u32,
    /// Keys it will change.
    pub changes: usize,
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
            prepared.insert(set.global_id.clone(), Prepared { txn, set });
        }
        Ok(())
    }
}

impl Transaction {
    /// Promises to be able to commit, durably. From now on only the decision of partition `home`
    /// ends it.
    ///
    /// # Errors
    /// As [`Transaction::commit`]; [`Error::AlreadyPrepared`], [`Error::BadOption`] for an id
    /// that is empty or longer than 255 bytes.
    pub fn prepare(mut self, global_id: &[u8], home: u32) -> Result<(), Error> {
        let partition = self.partition.clone();
        let position = self.append_prepared(global_id, home)?;
        flushed(partition.online()?, position)
    }

    /// As [`Transaction::prepare`], for tasks.
    ///
    /// # Errors
    /// As there.
    pub async fn prepare_async(mut self, global_id: &[u8], home: u32) -> Result<(), Error> {
        let partition = self.partition.clone();
        let position = self.append_prepared(global_id, home)?;
        drop(self);
        flushed_async(partition.online()?, position).await
    }

    fn append_prepared(&mut self, global_id: &[u8], home: u32) -> Result<Position, Error> {
        if global_id.is_empty() || global_id.len() > GLOBAL_ID_MAX {
            let why = format!("1 to {GLOBAL_ID_MAX} bytes");
            return Err(Error::BadOption { option: "global transaction id", why });
        }
        let partition = self.partition.clone();
        let core = partition.online()?;
        let set = PreparedSet {
            global_id: global_id.to_vec(),
            home,
            ops: self.writes.to_writes(),
            locks: core.locks.owned_by(self.id),
        };
        let value = set.encode()?;
        let mut writes = WriteSet::default();
        let key = system::prepared_key(global_id);
        writes.set(key.into(), Wanted { kind: OpKind::Insert, value: Some(value) });
        let position = {
            let mut prepared = core.prepared();
            if prepared.contains_key(global_id) {
                return Err(Error::AlreadyPrepared);
            }
            let position = core.append(&Change {
                kind: RecordKind::Prepare,
                txn: self.id,
                writes: &writes,
                tables: &self.tables,
                numbers: self.numbers(),
            })?;
            prepared.insert(set.global_id.clone(), Prepared { txn: self.id, set });
            position
        };
        self.keeps_locks = true;
        Ok(position)
    }
}

/// Promises and decisions are durable whatever the database's mode: others act on them.
fn flushed(core: &Core, position: Position) -> Result<(), Error> {
    let unknown = |error| Error::OutcomeUnknown(std::sync::Arc::new(error));
    core.log.wait_durable(position).map(drop).map_err(unknown)
}

/// As [`flushed`], for tasks.
async fn flushed_async(core: &Core, position: Position) -> Result<(), Error> {
    let unknown = |error| Error::OutcomeUnknown(std::sync::Arc::new(error));
    core.log.durable(position).await.map(drop).map_err(unknown)
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
            home: prepared.set.home,
            changes: prepared.set.ops.len(),
        });
        Ok(shown.collect())
    }

    /// Makes a prepared transaction take effect.
    ///
    /// # Errors
    /// [`Error::NotPrepared`] if there is none (it may have ended already), and as a commit.
    pub fn commit_prepared(&self, global_id: &[u8]) -> Result<(), Error> {
        let position = self.end_prepared(global_id, RecordKind::CommitPrepared)?;
        self.online()?.wait_committed(position)
    }

    /// As [`Partition::commit_prepared`], for tasks.
    ///
    /// # Errors
    /// As there.
    pub async fn commit_prepared_async(&self, global_id: &[u8]) -> Result<(), Error> {
        let position = self.end_prepared(global_id, RecordKind::CommitPrepared)?;
        self.online()?.committed(position).await
    }

    /// Drops a prepared transaction.
    ///
    /// # Errors
    /// As [`Partition::commit_prepared`].
    pub fn abort_prepared(&self, global_id: &[u8]) -> Result<(), Error> {
        let position = self.end_prepared(global_id, RecordKind::AbortPrepared)?;
        self.online()?.wait_committed(position)
    }

    /// As [`Partition::abort_prepared`], for tasks.
    ///
    /// # Errors
    /// As there.
    pub async fn abort_prepared_async(&self, global_id: &[u8]) -> Result<(), Error> {
        let position = self.end_prepared(global_id, RecordKind::AbortPrepared)?;
        self.online()?.committed(position).await
    }

    fn end_prepared(&self, global_id: &[u8], kind: RecordKind) -> Result<Position, Error> {
        let core = self.online()?;
        let (txn, position) = {
            let mut prepared = core.prepared();
            let entry = prepared.get(global_id).ok_or(Error::NotPrepared)?;
            let txn = entry.txn;
            let mut writes = WriteSet::default();
            if kind == RecordKind::CommitPrepared {
                writes.extend(entry.set.ops.iter().cloned());
            }
            let key = system::prepared_key(global_id);
            writes.set(key.into(), Wanted { kind: OpKind::Delete, value: None });
            let numbers = &Sequences::new();
            let change = Change { kind, txn, writes: &writes, tables: &[], numbers };
            let position = core.append(&change)?;
            prepared.remove(global_id);
            (txn, position)
        };
        core.locks.release_all(txn);
        Ok(position)
    }

    /// Records, durably, what happens to a transaction whose home this partition is. Repeating a
    /// decision is fine.
    ///
    /// # Errors
    /// [`Error::AlreadyDecided`] for the opposite one, and as a commit.
    pub fn decide(&self, global_id: &[u8], decision: Decision) -> Result<(), Error> {
        match self.append_decision(global_id, decision, &[])? {
            Some(position) => flushed(self.online()?, position),
            None => Ok(()),
        }
    }

    /// As [`Partition::decide`], for tasks. Forgets decisions with the same record, as
    /// [`Partition::forget_decisions`] does.
    ///
    /// # Errors
    /// As there.
    pub async fn decide_async(
        &self,
        global_id: &[u8],
        decision: Decision,
        forgotten: &[Vec<u8>],
    ) -> Result<(), Error> {
        match self.append_decision(global_id, decision, forgotten)? {
            Some(position) => flushed_async(self.online()?, position).await,
            None => Ok(()),
        }
    }

    fn append_decision(
        &self,
        global_id: &[u8],
        decision: Decision,
        forgotten: &[Vec<u8>],
    ) -> Result<Option<Position>, Error> {
        let core = self.online()?;
        // Two coordinators cannot decide at once: held from the look to the append.
        let prepared = core.prepared();
        let position = match newest_decision(core, global_id)? {
            Some(known) if known == decision => core.last_position()?,
            Some(_) => return Err(Error::AlreadyDecided),
            None => {
                let mut writes = forgetting(core, forgotten)?;
                let key = system::decision_key(global_id);
                let value = Some(decision.to_bytes().to_vec());
                writes.set(key.into(), Wanted { kind: OpKind::Insert, value });
                Some(append_decisions(core, &writes)?)
            }
        };
        drop(prepared);
        Ok(position)
    }

    /// Waits until all that was appended so far is durable, whatever the database's mode.
    ///
    /// # Errors
    /// [`Error::OutcomeUnknown`] if the log failed meanwhile.
    pub fn flush(&self) -> Result<(), Error> {
        let core = self.online()?;
        core.last_position()?.map_or(Ok(()), |position| flushed(core, position))
    }

    /// As [`Partition::flush`], for tasks.
    ///
    /// # Errors
    /// As there.
    pub async fn flush_async(&self) -> Result<(), Error> {
        let core = self.online()?;
        match core.last_position()? {
            Some(position) => flushed_async(core, position).await,
            None => Ok(()),
        }
    }

    /// Forgets decisions, for when every partition that prepared has ended, durably: nobody will ask
    /// again. It is not waited for: a crash may bring them back, which nobody asks for either.
    /// Decisions are cheaper to forget with the next one ([`Partition::decide_async`]).
    ///
    /// # Errors
    /// As a commit.
    pub fn forget_decisions(&self, global_ids: &[Vec<u8>]) -> Result<(), Error> {
        let core = self.online()?;
        // As for deciding.
        let prepared = core.prepared();
        let writes = forgetting(core, global_ids)?;
        if !writes.is_empty() {
            append_decisions(core, &writes)?;
        }
        drop(prepared);
        Ok(())
    }

    /// The names of all transactions about which a decision is known.
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

    /// What was decided, if anything was; durable by the time of the answer.
    ///
    /// # Errors
    /// [`Error::NotOnline`], [`Error::DataDamaged`].
    pub fn decision(&self, global_id: &[u8]) -> Result<Option<Decision>, Error> {
        let core = self.online()?;
        let decision = newest_decision(core, global_id)?;
        if let (Some(_), Some(position)) = (decision, core.last_position()?) {
            flushed(core, position)?;
        }
        Ok(decision)
    }
}

fn append_decisions(core: &Core, writes: &WriteSet) -> Result<Position, Error> {
    core.append(&Change {
        kind: RecordKind::Decision,
        txn: core.next_txn(),
        writes,
        tables: &[],
        numbers: &Sequences::new(),
    })
}

/// Removes those of these decisions that are known.
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
