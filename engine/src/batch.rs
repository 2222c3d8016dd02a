//! Many rows inserted together: planned into one list, locked with one request, looked up in key order.
//!
//! ```text
//!  rows ─► stored form ─► plan ─► keys in order ─► lock all ─► look all up ─► in the rows' order: refused, or staged
//! ```
//!
//! What comes of each row is what [`Transaction::insert`] would have made of it, one after the other.

use std::sync::Arc;

use crate::core::Core;
use crate::encoded::EncodedRows;
use crate::error::Error;
use crate::lock::RowKey;
use crate::record::OpKind;
use crate::table::system::{Sequence, sequence_key};
use crate::table::{
    IndexId, MustBeAbsent, PrimaryKey, RowDamage, RowError, RowView, Table, Value, ValueRef,
    each_inserted_key, fitting,
};
use crate::transaction::{Transaction, block_in};
use crate::write_set::Wanted;

/// Keys that are looked up under one hold of the writer's lock: commits of others go between.
const LOOKUPS_AT_ONCE: usize = 256;

/// A row that was not inserted: its position in the batch, and why.
pub type Refused = (usize, Error);

/// A key that a row gets.
struct Planned {
    key: RowKey,
    value: Vec<u8>,
    /// The index of which the key must be absent.
    absent_of: Option<IndexId>,
    /// Whether it is there.
    is_there: bool,
    /// Keys of several rows that are the same have a number in common; 0 for all others.
    rivals: usize,
}

/// A planned row: its position in the batch, and where its keys end in the list of all.
struct PlannedRow {
    at: usize,
    end: usize,
}

#[derive(Default)]
struct Batch {
    keys: Vec<Planned>,
    rows: Vec<PlannedRow>,
    refused: Vec<Refused>,
}

impl Transaction {
    /// Inserts rows, as [`Transaction::insert`] does one after the other, with less work for each. Gives
    /// the rows that were refused, by position; all others are there.
    ///
    /// ```
    /// use resprout_engine::table::{TableSchema, Value};
    /// # use resprout_engine::{DatabaseOptions, Engine, Options};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dir = tempfile::tempdir()?;
    /// # let engine = Engine::open(dir.path(), Options::default())?;
    /// # let options = DatabaseOptions { partitions: 1, ..DatabaseOptions::default() };
    /// # let database = engine.create_database("d", options)?;
    /// # let schema = TableSchema::builder("t").column("id", "bigint").primary_key(&["id"]).build()?;
    /// # database.create_table(&schema)?;
    /// # let partition = &database.partitions()[0];
    /// # let table = partition.table("t")?;
    /// let mut txn = partition.begin()?;
    /// let refused = txn.insert_many(&table, &[[Value::Int(2)], [Value::Int(1)], [Value::Int(2)]])?;
    /// assert_eq!(refused.len(), 1);
    /// assert_eq!(refused[0].0, 2); // the second row with this key
    /// txn.commit()?;
    /// # engine.close()?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::LockWaitTimeout`], [`Error::Deadlock`], [`Error::NotOnline`]: none of the rows is there. The
    /// transaction may go on without them.
    pub fn insert_many<R: AsRef<[Value]>>(
        &mut self,
        table: &Arc<Table>,
        rows: &[R],
    ) -> Result<Vec<Refused>, Error> {
        let partition = self.partition.clone();
        let step = self.insert_many_async(table, rows);
        block_in(&partition, step)
    }

    /// As [`Transaction::insert_many`], for tasks.
    ///
    /// # Errors
    /// As there.
    pub async fn insert_many_async<R: AsRef<[Value]>>(
        &mut self,
        table: &Arc<Table>,
        rows: &[R],
    ) -> Result<Vec<Refused>, Error> {
        let (encoded, positions, mut unfit) = self.encode_many(table, rows)?;
        let mut refused = self.insert_encoded_async(&encoded).await?;
        refused.iter_mut().for_each(|(at, _)| *at = positions[*at]);
        refused.append(&mut unfit);
        refused.sort_by_key(|(at, _)| *at);
        Ok(refused)
    }

    /// As [`Transaction::insert_many`], for rows that are in their stored form already.
    ///
    /// # Errors
    /// As there.
    pub fn insert_encoded(&mut self, rows: &EncodedRows) -> Result<Vec<Refused>, Error> {
        let partition = self.partition.clone();
        block_in(&partition, self.insert_encoded_async(rows))
    }

    async fn insert_encoded_async(&mut self, rows: &EncodedRows) -> Result<Vec<Refused>, Error> {
        let table = rows.table();
        let mut batch = self.plan_many(rows)?;
        let order = batch.order();
        self.lock_many(&batch, &order).await?;
        self.look_up(&mut batch, &order).await?;
        let is_refused = batch.resolve(table, rows.len());
        let refused = std::mem::take(&mut batch.refused);
        let all = is_refused.iter().all(|refused| !refused);
        let mut keys: Vec<_> = batch.keys.into_iter().map(Some).collect();
        let owner = owners(&batch.rows, keys.len());
        let staged = order.into_iter().filter_map(|at| {
            let planned = keys[at].take()?;
            let is_in = all || !is_refused[owner[at]];
            let wanted = Wanted { kind: OpKind::Insert, value: Some(planned.value) };
            is_in.then_some((planned.key, wanted))
        });
        self.writes.set_in_order(staged.collect());
        self.has_changed(table);
        Ok(refused)
    }

    /// The rows in their stored form, where each of them stood, and those that have none.
    fn encode_many<R: AsRef<[Value]>>(
        &self,
        table: &Arc<Table>,
        rows: &[R],
    ) -> Result<(EncodedRows, Vec<usize>, Vec<Refused>), Error> {
        let mut numbering = Numbering::new(self.partition.online()?, table);
        let mut encoded = EncodedRows::with_capacity(table, rows.len(), 0);
        let (mut positions, mut unfit) = (Vec::with_capacity(rows.len()), Vec::new());
        for (at, row) in rows.iter().enumerate() {
            let filled = numbering.filled(row.as_ref());
            match push_fitting(&mut encoded, filled.as_deref().unwrap_or_else(|| row.as_ref())) {
                Ok(()) => positions.push(at),
                Err(error) => unfit.push((at, error.into())),
            }
        }
        Ok((encoded, positions, unfit))
    }

    fn plan_many(&mut self, rows: &EncodedRows) -> Result<Batch, Error> {
        let table = rows.table();
        let mut numbering = Numbering::new(self.partition.online()?, table);
        let mut batch = Batch::default();
        batch.keys.reserve(rows.len() * (1 + table.schema().indexes.len()));
        batch.rows.reserve(rows.len());
        let mut scratch = [Vec::with_capacity(64), Vec::with_capacity(64)];
        for at in 0..rows.len() {
            let begin = batch.keys.len();
            let row = rows.row(at);
            let hidden = numbering.next(&row)?;
            let take = |key: &[u8], value, absent_of| {
                let key = RowKey::from(key);
                batch.keys.push(Planned { key, value, absent_of, is_there: false, rivals: 0 });
            };
            match each_inserted_key(&row, hidden, &mut scratch, take) {
                Ok(()) => batch.rows.push(PlannedRow { at, end: batch.keys.len() }),
                Err(error) => {
                    batch.keys.truncate(begin);
                    batch.refused.push((at, error.into()));
                }
            }
        }
        for (sequence, highest) in numbering.end().filter(|(_, highest)| *highest > 0) {
            let used = self.numbers.entry(sequence).or_insert(0);
            *used = (*used).max(highest);
        }
        Ok(batch)
    }

    /// Locks all keys that must be absent, at once if nobody has one of them.
    async fn lock_many(&self, batch: &Batch, order: &[usize]) -> Result<(), Error> {
        let exclusive = order.iter().map(|at| &batch.keys[*at]);
        let mut keys: Vec<RowKey> = exclusive
            .filter(|planned| planned.absent_of.is_some())
            .map(|planned| Arc::clone(&planned.key))
            .collect();
        keys.dedup();
        let core = self.partition.online()?;
        core.check_live(self.id())?;
        let Err(keys) = core.locks.acquire_sorted(self.id(), keys) else { return Ok(()) };
        for key in &keys {
            self.lock(key).await?;
        }
        Ok(())
    }

    /// Which keys that must be absent are there. What is there is committed when this returns.
    async fn look_up(&self, batch: &mut Batch, order: &[usize]) -> Result<(), Error> {
        let mut found = Vec::new();
        for piece in order.chunks(LOOKUPS_AT_ONCE) {
            let writer = self.core()?.writer()?;
            for at in piece {
                let planned = &mut batch.keys[*at];
                if planned.absent_of.is_none() {
                    continue;
                }
                if let Some(own) = self.writes.get(&planned.key) {
                    planned.is_there = own.value.is_some();
                } else if let Some(value) = writer.tree.get(&planned.key) {
                    planned.is_there = true;
                    found.push((*at, value.to_vec()));
                }
            }
        }
        let view = self.view()?;
        let fresh =
            found.iter().find(|(at, value)| view.get(&batch.keys[*at].key) != Some(&value[..]));
        match fresh {
            Some((at, value)) => self.settle(&batch.keys[*at].key, Some(value)).await,
            None => Ok(()),
        }
    }
}

impl Batch {
    /// The keys in their order, by position; those of several rows that are the same are marked.
    fn order(&mut self) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.keys.len()).collect();
        order.sort_by(|a, b| self.keys[*a].key.cmp(&self.keys[*b].key));
        let mut rivals = 0;
        for pair in order.windows(2) {
            if self.keys[pair[0]].key != self.keys[pair[1]].key {
                continue;
            }
            if self.keys[pair[0]].rivals == 0 {
                rivals += 1;
                self.keys[pair[0]].rivals = rivals;
            }
            self.keys[pair[1]].rivals = rivals;
        }
        order
    }

    /// Refuses rows of which a key is there, or was taken by a row before. Gives for each row of the
    /// batch whether it is refused.
    fn resolve(&mut self, table: &Table, count: usize) -> Vec<bool> {
        let mut is_refused = vec![false; count];
        let groups = self.keys.iter().map(|planned| planned.rivals).max().unwrap_or(0);
        let mut taken = vec![false; groups + 1];
        let mut begin = 0;
        for row in &self.rows {
            let keys = &self.keys[begin..row.end];
            begin = row.end;
            let hindrance = keys.iter().find_map(|planned| {
                let index = planned.absent_of?;
                (planned.is_there || taken[planned.rivals])
                    .then(|| MustBeAbsent { key: planned.key.to_vec(), index })
            });
            if let Some(absent) = hindrance {
                is_refused[row.at] = true;
                self.refused.push((row.at, absent.duplicate(table).into()));
                continue;
            }
            for planned in keys.iter().filter(|planned| planned.rivals > 0) {
                taken[planned.rivals] = true;
            }
        }
        self.refused.sort_by_key(|(at, _)| *at);
        is_refused
    }
}

/// Appends a row whose values may still have to be brought to their columns' types.
fn push_fitting(rows: &mut EncodedRows, values: &[Value]) -> Result<(), RowError> {
    match fitting(rows.table(), values)? {
        Some(coerced) => rows.push(&coerced),
        None => rows.push(values),
    }
}

/// The row of each key.
fn owners(rows: &[PlannedRow], keys: usize) -> Vec<usize> {
    let mut owners = Vec::with_capacity(keys);
    for row in rows {
        owners.resize(row.end, row.at);
    }
    owners
}

/// Gives numbers to rows that want them.
struct Numbering<'a> {
    core: &'a Core,
    /// The sequence of rows without primary key, and its last number.
    hidden: Option<(Vec<u8>, u64)>,
    /// The position of the auto-increment column, its sequence, and the highest number.
    column: Option<(usize, Vec<u8>, u64)>,
    /// The highest number that was given by hand and the sequence does not know of yet.
    by_hand: u64,
}

impl<'a> Numbering<'a> {
    fn new(core: &'a Core, table: &Table) -> Self {
        let schema = table.schema();
        let key = |sequence| sequence_key(schema.id, sequence);
        let column = schema.auto_increment;
        Self {
            core,
            hidden: (schema.primary == PrimaryKey::Hidden).then(|| (key(Sequence::Hidden), 0)),
            column: column.map(|id| (table.position(id), key(Sequence::Column), 0)),
            by_hand: 0,
        }
    }

    /// Takes note of a row that is inserted: its number in a table without primary key.
    fn next(&mut self, row: &RowView<'_>) -> Result<Option<u64>, RowDamage> {
        if let Some((at, _, highest)) = &mut self.column {
            let number = number(&row.get(row.table().live()[*at])?);
            self.by_hand = self.by_hand.max(number);
            *highest = (*highest).max(number);
        }
        let Some((sequence, last)) = self.hidden.as_mut() else { return Ok(None) };
        *last = self.core.next_number(sequence);
        Ok(Some(*last))
    }

    /// A row with its number, if it has none and should.
    fn filled(&mut self, values: &[Value]) -> Option<Vec<Value>> {
        let (at, sequence, _) = self.column.as_ref()?;
        let given = values.get(*at)?;
        if *given != Value::Null {
            self.by_hand = self.by_hand.max(number(&given.as_ref()));
            return None;
        }
        self.core.skip_number(sequence, std::mem::take(&mut self.by_hand));
        let mut filled = values.to_vec();
        filled[*at] = Value::UInt(self.core.next_number(sequence));
        Some(filled)
    }

    /// The highest number of each sequence.
    fn end(self) -> impl Iterator<Item = (Vec<u8>, u64)> {
        if let Some((_, sequence, _)) = &self.column {
            self.core.skip_number(sequence, self.by_hand);
        }
        let column = self.column.map(|(_, sequence, highest)| (sequence, highest));
        self.hidden.into_iter().chain(column)
    }
}

/// A number that was given; 0 for what is none, or below.
fn number(value: &ValueRef<'_>) -> u64 {
    match value {
        ValueRef::Int(number) => u64::try_from(*number).unwrap_or(0),
        ValueRef::UInt(number) => *number,
        _ => 0,
    }
}
