//! A partition while it serves: the tree, its log, and the one way from a write set to a commit.
//!
//! ```text
//!  reserve log space ─► writer lock ─► reserve pages ─► log lock ─┬► apply to latest
//!                                                                 ├► note root and generation
//!                                                                 └► append ─► release ─► wait
//! ```
//!
//! Everything that can be refused is refused before anything is changed; what follows the append
//! cannot be taken back (rule 13). The log's lock is held from apply to append, so a frame is
//! never sealed between the two: the root noted for a generation is exactly what its frame says.
//!
//! A change that was decided before it is appended, as a prepared transaction's is once all have
//! promised, is seen at once if nothing undecided is below it, and leaves its writing to whoever
//! writes next.
//!
//! Lock order: prepared, writer, log, publisher's marks. Row locks are taken before all of them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use resprout_wal::world::Clock;
use resprout_wal::{Log, LogError, Lsn, Position, Reservation};

use crate::blocking::block_on;
use crate::commit_rule::Durability;
use crate::error::{Error, Unknown};
use crate::inherited::Inherited;
use crate::lock::{LockRefused, Request, RowLocks, TxnId};
use crate::memory::MemoryBound;
use crate::prepared::Prepared;
use crate::publish::{Lost, Publisher};
use crate::record::{Op, OpKind, RecordHeader, RecordKind, RecordWriter};
use crate::table::{Catalog, Table, system};
use crate::tree::{PageMemory, Tree, Versions, View};
use crate::write_set::{Wanted, WriteSet};

/// Numbers of a sequence promised at once. After a restart, counting goes on behind the promise:
/// numbers are skipped, never repeated (catalogue T05).
const SEQUENCE_STEP: u64 = 1000;

/// How long a write that locks no row waits for a partition that is closed: as long as a change of its master may take.
const ENTER_LIMIT: Duration = Duration::from_secs(60);

/// Running numbers by the key of their bound (see [`system::sequence_key`]).
pub(crate) type Sequences = BTreeMap<Vec<u8>, u64>;

/// What only the holder of the writer's lock may see: the newest state, committed or not.
pub(crate) struct Writer {
    pub(crate) tree: Tree,
    pub(crate) catalog: Catalog,
    /// By sequence: the first value that the log does not cover.
    pub(crate) bounds: Sequences,
    /// The newest append.
    pub(crate) last: Option<Position>,
    /// Whether it may append: not while the copy follows another one.
    pub(crate) leads: bool,
}

/// One partition, recovered.
pub(crate) struct Core {
    pub(crate) name: Arc<str>,
    pub(crate) log: Log,
    pub(crate) durability: Durability,
    pub(crate) publisher: Arc<Publisher>,
    pub(crate) versions: Arc<Versions>,
    pub(crate) memory: Arc<PageMemory>,
    pub(crate) locks: RowLocks,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) prepared: Mutex<BTreeMap<Vec<u8>, Prepared>>,
    pub(crate) inherited: Inherited,
    pub(crate) bound: MemoryBound,
    writer: Mutex<Writer>,
    /// Tables as readers know them: moved once a change is committed.
    catalog: RwLock<Catalog>,
    pub(crate) next_numbers: Mutex<Sequences>,
    txns: AtomicU64,
    /// Transactions with smaller numbers saw what was rewound. Moved with the writer locked.
    first_live: AtomicU64,
    stopped: OnceLock<Arc<str>>,
}

/// One transaction's changes, ready to be appended.
pub(crate) struct Change<'a> {
    pub(crate) kind: RecordKind,
    pub(crate) txn: TxnId,
    pub(crate) writes: &'a WriteSet,
    /// Tables that the writes were made for.
    pub(crate) tables: &'a [Arc<Table>],
    /// By sequence: the largest number used.
    pub(crate) numbers: &'a Sequences,
}

/// A write that locks no row, under way until it is dropped.
pub(crate) struct Entered<'a> {
    core: &'a Core,
    pub(crate) txn: TxnId,
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        self.core.locks.release_all(self.txn);
    }
}

/// Where a change went.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Appended {
    pub(crate) position: Position,
    /// Readers see it already: nothing of it, nor of what it stands on, can be taken back.
    pub(crate) seen: bool,
}

/// The parts of a recovered partition.
pub(crate) struct Parts {
    pub(crate) name: Arc<str>,
    pub(crate) log: Log,
    pub(crate) durability: Durability,
    pub(crate) publisher: Arc<Publisher>,
    pub(crate) writer: Writer,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) bound: MemoryBound,
    /// Transactions get numbers from here on.
    pub(crate) first_txn: u64,
}

impl Core {
    pub(crate) fn new(parts: Parts) -> Self {
        let Parts { name, log, durability, publisher, writer, clock, bound, first_txn } = parts;
        Self {
            name,
            log,
            durability,
            publisher,
            versions: Arc::clone(writer.tree.versions()),
            memory: Arc::clone(writer.tree.memory()),
            locks: RowLocks::default(),
            clock,
            prepared: Mutex::default(),
            inherited: Inherited::default(),
            bound,
            catalog: RwLock::new(writer.catalog.clone()),
            next_numbers: Mutex::new(writer.bounds.clone()),
            writer: Mutex::new(writer),
            txns: AtomicU64::new(first_txn),
            first_live: AtomicU64::new(0),
            stopped: OnceLock::new(),
        }
    }

    /// Number for a new transaction.
    pub(crate) fn next_txn(&self) -> TxnId {
        TxnId(self.txns.fetch_add(1, Ordering::Relaxed))
    }

    /// Ends all transactions there are: what they saw is taken back. Takes the writer to show that
    /// none of them commits meanwhile.
    pub(crate) fn end_open_transactions(&self, _writer: &Writer) {
        let first = self.next_txn();
        self.first_live.store(first.0, Ordering::Release);
        self.locks.end_all_before(first);
    }

    /// The copy is not master: nothing is appended, open transactions are over, and what is in doubt is for its master
    /// to end. The log has it, and with it whoever is master next.
    pub(crate) fn follow(&self, writer: &mut Writer, prepared: &mut BTreeMap<Vec<u8>, Prepared>) {
        writer.leads = false;
        prepared.clear();
        self.end_open_transactions(writer);
        self.inherited.void();
    }

    /// Refuses a transaction that was ended: by a rewind, or because it kept the master from changing.
    ///
    /// # Errors
    /// [`Error::TransactionEnded`].
    pub(crate) fn check_live(&self, txn: TxnId) -> Result<(), Error> {
        let live = txn.0 >= self.first_live.load(Ordering::Acquire);
        if live && !self.locks.has_ended(txn) { Ok(()) } else { Err(Error::TransactionEnded) }
    }

    /// Begins a write that locks no row: it waits while the partition is closed to writers, and is waited for. Blocks.
    ///
    /// # Errors
    /// [`Error::LockWaitTimeout`]; [`Error::TransactionEnded`] if the mastership ends meanwhile.
    pub(crate) fn enter(&self) -> Result<Entered<'_>, Error> {
        let txn = self.next_txn();
        let deadline = self.clock.now() + ENTER_LIMIT;
        let refused = |refused| match refused {
            LockRefused::Timeout => Error::LockWaitTimeout { limit: ENTER_LIMIT },
            LockRefused::Deadlock | LockRefused::Ended => Error::TransactionEnded,
        };
        loop {
            match self.locks.enter(txn, deadline).map_err(refused)? {
                Request::Granted => return Ok(Entered { core: self, txn }),
                Request::Wait(wait) => {
                    let waited = block_on(wait, || self.locks.expire(self.clock.now()));
                    waited.map_err(refused)?;
                }
            }
        }
    }

    /// Tables as readers know them.
    pub(crate) fn catalog(&self) -> Catalog {
        self.catalog.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Transactions get larger numbers than any of the log, which ends here.
    pub(crate) fn skip_txns(&self, end: Lsn) {
        self.txns.fetch_max(end.0 + 1, Ordering::Relaxed);
    }

    /// Readers know these tables from now on.
    pub(crate) fn set_catalog(&self, catalog: Catalog) {
        *self.catalog.write().unwrap_or_else(PoisonError::into_inner) = catalog;
    }

    /// The committed state.
    pub(crate) fn view(&self) -> View {
        self.versions.acquire()
    }

    /// The newest state, exclusively.
    ///
    /// # Errors
    /// [`Error::Stopped`] once the log has failed or a writer has panicked: what is in memory
    /// then may not be what the log says (catalogue P16).
    pub(crate) fn writer(&self) -> Result<MutexGuard<'_, Writer>, Error> {
        if let Some(error) = self.publisher.failure() {
            return Err(self.stop(&error.to_string()));
        }
        self.writer.lock().map_err(|_| self.stop("a panic interrupted a write"))
    }

    /// Notes why this copy takes no more writes; the first reason stays.
    pub(crate) fn stop(&self, reason: &str) -> Error {
        let reason = Arc::clone(self.stopped.get_or_init(|| Arc::from(reason)));
        Error::Stopped { partition: self.name.to_string(), reason }
    }

    /// Why this copy takes no more writes, if so.
    pub(crate) fn stopped(&self) -> Option<Arc<str>> {
        let failed = self.publisher.failure().map(|error| Arc::from(error.to_string()));
        self.stopped.get().cloned().or(failed)
    }

    /// Applies and appends one transaction. After `Ok` there is no way back.
    ///
    /// # Errors
    /// Answers ([`Error::LogFull`], [`Error::MemoryLimit`], [`Error::SchemaChanged`]) leave
    /// everything as it was; [`Error::Stopped`] means that nothing was appended.
    pub(crate) fn append(&self, change: &Change<'_>) -> Result<Appended, Error> {
        let mut bytes = Vec::with_capacity(change.writes.bytes() + 64 * change.writes.rows().len());
        let mut record = self.record(change, &mut bytes);
        write_ops(&mut record, change.writes);
        // The bounds of sequences are known only under the writer's lock; space for them is
        // taken before, like all space.
        let bounds = change.numbers.keys().map(|key| OP_OVERHEAD + key.len() + 8).sum::<usize>();
        let space = self.log.reserve(record.len() + bounds).map_err(Error::LogFull)?;

        let mut writer = self.writer()?;
        self.check_live(change.txn)?;
        for table in change.tables {
            writer.check_table(table)?;
        }
        self.bound.admit(&mut writer.tree, change.writes)?;
        let bounds = writer.passed_bounds(change.numbers);
        write_ops(&mut record, &bounds);
        record.finish();
        let record = (change.kind, bytes.as_slice());
        self.commit(&mut writer, (change.writes, &bounds), record, space)
    }

    /// The point of no return: apply, note, append, with writer and log locked.
    pub(crate) fn commit(
        &self,
        writer: &mut Writer,
        (writes, bounds): (&WriteSet, &WriteSet),
        (kind, record): (RecordKind, &[u8]),
        space: Reservation,
    ) -> Result<Appended, Error> {
        if !writer.leads {
            // Fenced since it was asked for: nothing was changed.
            return Err(Error::TransactionEnded);
        }
        let mut appender = self.log.lock().map_err(|error| self.ended(&error))?;
        for writes in [writes, bounds] {
            writer.apply(writes).map_err(|error| self.stop(&error.to_string()))?;
        }
        let root = writer.tree.freeze();
        self.publisher.note(appender.generation(), root, kind);
        let position = appender.append(record, space).map_err(|error| self.ended(&error))?;
        let seen = self.publisher.appended(root, kind);
        writer.last = Some(position);
        if self.durability == Durability::Async || kind.is_decided() {
            appender.leave_for_later();
        } else {
            appender.leave_to_waiter();
        }
        Ok(Appended { position, seen })
    }

    fn record<'b>(&self, change: &Change<'_>, bytes: &'b mut Vec<u8>) -> RecordWriter<'b> {
        let (kind, txn_id) = (change.kind, change.txn.0);
        RecordWriter::new(RecordHeader { kind, txn_id, wall_ms: self.clock.wall_ms() }, bytes)
    }

    /// Position of the newest append, to wait for before telling anybody what was read from the
    /// newest state.
    ///
    /// # Errors
    /// [`Error::Stopped`].
    pub(crate) fn last_position(&self) -> Result<Option<Position>, Error> {
        Ok(self.writer()?.last)
    }

    fn ended(&self, error: &LogError) -> Error {
        self.stop(&error.to_string())
    }

    /// Waits until a position is committed, as the database's mode demands.
    ///
    /// # Errors
    /// [`Error::OutcomeUnknown`] if the log failed meanwhile, or the copy was fenced.
    pub(crate) fn wait_committed(&self, position: Position) -> Result<(), Error> {
        if self.publisher.is_replicated() {
            self.ship();
            let acknowledged = self.publisher.acknowledged(position);
            return block_on(acknowledged, || {}).map_err(|why| self.lost(why));
        }
        if self.durability == Durability::Async {
            return Ok(());
        }
        let rewinds = self.publisher.rewinds();
        let durable = self.log.wait_durable(position).map_err(unknown)?;
        self.check_committed(durable, rewinds);
        Ok(())
    }

    /// Seals what is open, unless the other copies have something of this log under way, or the disk is
    /// far behind: then it gathers, and goes when they have answered.
    pub(crate) fn ship(&self) {
        let at = self.log.positions();
        let disk_keeps_up = at.end.since(at.durable) < UNWRITTEN_BYTES;
        if disk_keeps_up && self.publisher.under_way() < GROUPS_UNDER_WAY {
            self.log.seal_shipped();
        }
    }

    /// What is durable is committed, unless it was taken back since.
    fn check_committed(&self, durable: Lsn, rewinds: u64) {
        let committed = self.publisher.committed();
        let rewound = self.publisher.rewinds() != rewinds;
        assert!(committed >= durable || rewound, "durable {durable}, committed {committed}");
    }

    /// As [`Core::wait_committed`], for tasks.
    ///
    /// # Errors
    /// As there.
    pub(crate) async fn committed(&self, position: Position) -> Result<(), Error> {
        if self.publisher.is_replicated() {
            self.ship();
            let acknowledged = self.publisher.acknowledged(position).await;
            return acknowledged.map_err(|why| self.lost(why));
        }
        if self.durability == Durability::Async {
            return Ok(());
        }
        let rewinds = self.publisher.rewinds();
        let durable = self.log.durable(position).await.map_err(unknown)?;
        self.check_committed(durable, rewinds);
        Ok(())
    }

    /// Waits until nothing can take a position back any more, whatever the database's mode: it is on
    /// this disk, and everybody has it who is waited for.
    ///
    /// # Errors
    /// As [`Core::wait_committed`].
    pub(crate) fn wait_firm(&self, position: Position) -> Result<(), Error> {
        self.log.wait_durable(position).map_err(unknown)?;
        if self.publisher.is_replicated() { self.wait_committed(position) } else { Ok(()) }
    }

    /// As [`Core::wait_firm`], for tasks.
    ///
    /// # Errors
    /// As there.
    pub(crate) async fn firm(&self, position: Position) -> Result<(), Error> {
        self.log.durable(position).await.map_err(unknown)?;
        if self.publisher.is_replicated() { self.committed(position).await } else { Ok(()) }
    }

    /// After the append only the other copies know.
    fn lost(&self, why: Lost) -> Error {
        Error::OutcomeUnknown(match why {
            Lost::Fenced => Unknown::Fenced,
            Lost::Failed => {
                let error = self.publisher.failure().unwrap_or(LogError::Interrupted);
                Unknown::Log(Arc::new(error))
            }
        })
    }

    /// Whether a position is firm: see [`Core::wait_firm`].
    pub(crate) fn is_firm(&self, position: Position) -> bool {
        let durable = self.log.durable_generation() >= position.generation;
        durable && self.publisher.is_committed(position)
    }
}

/// Groups of one log that may be on their way to other copies before the next one gathers.
const GROUPS_UNDER_WAY: u64 = 1;
/// Log that the disk may lack before the next group gathers: some hundred groups of one commit.
const UNWRITTEN_BYTES: u64 = 1 << 20;

/// After the append only the log knows.
fn unknown(error: LogError) -> Error {
    Error::OutcomeUnknown(Unknown::Log(Arc::new(error)))
}

/// Bytes of an operation in a record beside key and value.
const OP_OVERHEAD: usize = 8;

fn write_ops(record: &mut RecordWriter<'_>, writes: &WriteSet) {
    for (from, to) in writes.ranges() {
        record.op(Op { kind: OpKind::DeleteRange, key: from, value: to });
    }
    for (key, wanted) in writes.rows() {
        let value = wanted.value.as_deref().unwrap_or_default();
        record.op(Op { kind: wanted.kind, key, value });
    }
}

impl Writer {
    /// Whether writes planned for `table` still fit what the table is now.
    fn check_table(&self, table: &Table) -> Result<(), Error> {
        let schema = table.schema();
        let same = self.catalog.table_by_id(schema.id).is_some_and(|now| {
            now.schema().indexes == schema.indexes && now.schema().primary == schema.primary
        });
        if same { Ok(()) } else { Err(Error::SchemaChanged { table: schema.name.clone() }) }
    }

    /// New bounds for the sequences that passed theirs.
    fn passed_bounds(&mut self, used: &Sequences) -> WriteSet {
        let mut writes = WriteSet::default();
        for (sequence, used) in used {
            let bound = self.bounds.get(sequence).copied().unwrap_or(0);
            if *used >= bound {
                let next = used.saturating_add(SEQUENCE_STEP);
                let kind = if bound == 0 { OpKind::Insert } else { OpKind::Update };
                let value = Some(system::number_to_bytes(next).to_vec());
                writes.set(sequence.as_slice().into(), Wanted { kind, value });
                self.bounds.insert(sequence.clone(), next);
            }
        }
        writes
    }

    fn apply(&mut self, writes: &WriteSet) -> Result<(), Error> {
        for (from, to) in writes.ranges() {
            self.tree.remove_range(from, Some(to)).map_err(Error::Tree)?;
        }
        let ops = writes.rows().map(|(key, write)| (&**key, write.value.as_deref()));
        self.tree.apply_sorted(ops).map_err(Error::Tree)
    }
}
