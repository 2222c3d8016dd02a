//! What one client does: transactions of a few random operations, each checked against the model
//! as soon as it is answered.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::rc::Rc;
use std::sync::Arc;

use resprout_engine::table::{Table, Value, ValueRef};
use resprout_engine::{Durability, Engine, Error, Partition, Transaction};
use resprout_wal::disk::sim::SimDisk;
use resprout_wal::world::{Rng, SimClock};

use super::shadow::{Change, Row, Rows, Shadow, Write, number};
use crate::tasks::{Tasks, is_busy, once, pause};

/// Column of the stamp, which no two writes share.
const STAMP: usize = 1;

/// One run of a node.
pub(crate) struct Scene {
    pub(crate) engine: Engine,
    pub(crate) disk: SimDisk,
    pub(crate) clock: Arc<SimClock>,
    pub(crate) partitions: Vec<Partition>,
    pub(crate) shadows: Rc<Vec<RefCell<Shadow>>>,
    pub(crate) rng: RefCell<Rng>,
    pub(crate) stamps: Rc<Cell<i64>>,
    pub(crate) tasks: Tasks,
    /// The disk of the next run, once power has failed.
    pub(crate) next: RefCell<Option<SimDisk>>,
    /// The disk may refuse something.
    pub(crate) faulty: bool,
    /// How often what happened.
    pub(crate) counts: Rc<RefCell<BTreeMap<&'static str, u64>>>,
}

impl Scene {
    pub(crate) fn below(&self, bound: u64) -> u64 {
        self.rng.borrow_mut().below(bound)
    }

    pub(crate) fn chance(&self, of: u64) -> bool {
        self.below(of) == 0
    }

    pub(crate) fn count(&self, what: &'static str) {
        *self.counts.borrow_mut().entry(what).or_default() += 1;
    }

    pub(crate) fn stamp(&self) -> i64 {
        self.stamps.set(self.stamps.get() + 1);
        self.stamps.get()
    }

    /// Whether errors of the log are to be expected.
    pub(crate) fn may_fail(&self) -> bool {
        self.faulty || self.disk.crashed()
    }
}

/// The transaction is over.
struct Over;

type Answer<T> = Result<T, Over>;

struct Client {
    scene: Rc<Scene>,
    at: usize,
    txn: Transaction,
    own: BTreeMap<(String, i128), Option<Row>>,
    stamps: Vec<i64>,
    epoch: u64,
    schema: u64,
    numbered: u64,
}

/// Runs transactions until the node goes down.
pub(crate) async fn client(scene: Rc<Scene>, transactions: u64) {
    for _ in 0..transactions {
        if scene.disk.crashed() {
            return;
        }
        let at = scene.below(scene.partitions.len() as u64) as usize;
        if let Ok(txn) = scene.partitions[at].begin() {
            let (epoch, schema) = {
                let shadow = scene.shadows[at].borrow();
                (shadow.epoch, shadow.schema)
            };
            let (own, stamps) = (BTreeMap::new(), Vec::new());
            let scene = Rc::clone(&scene);
            let client = Client { scene, at, txn, own, stamps, epoch, schema, numbered: 0 };
            client.run().await;
        }
        pause().await;
    }
}

impl Client {
    async fn run(mut self) {
        for _ in 0..=self.scene.below(4) {
            if self.scene.chance(2) {
                pause().await;
            }
            if self.operation().await.is_err() {
                // The transaction is rolled back; nobody may see anything of it.
                return;
            }
        }
        match self.scene.below(10) {
            0 => self.txn.rollback(),
            1 if !is_busy() => self.prepare(),
            2 => self.commit(true).await,
            _ => self.commit(false).await,
        }
    }

    fn shadow(&self) -> &RefCell<Shadow> {
        &self.scene.shadows[self.at]
    }

    fn is_over(&self) -> bool {
        self.shadow().borrow().epoch != self.epoch
    }

    /// Tables were changed since it began: what it was told may be of a table that is gone.
    fn is_changed(&self) -> bool {
        self.shadow().borrow().schema != self.schema
    }

    /// What an error means; only expected ones come back from here.
    fn refused(&self, error: &Error) -> Over {
        let over = self.is_over() || self.scene.may_fail();
        let changed = self.is_changed();
        match error {
            Error::LockWaitTimeout { .. } => self.scene.count("lock wait limits"),
            Error::Deadlock => self.scene.count("deadlocks"),
            Error::SchemaChanged { .. } if changed => self.scene.count("schema changes"),
            Error::NotOnline { .. } | Error::Stopped { .. } if over => {}
            Error::OutcomeUnknown(_) if over => {}
            Error::TransactionEnded if over => {}
            other => panic!("{other} ({other:?})"),
        }
        Over
    }

    fn answer<T>(&self, answer: Result<T, Error>) -> Answer<T> {
        answer.map_err(|error| self.refused(&error))
    }

    /// The newest state of a row as this transaction must see it once it holds the lock.
    fn newest(&self, table: &Table, key: i128) -> Option<Row> {
        let shadow = self.shadow().borrow();
        match self.own.get(&(table.name().to_owned(), key)) {
            Some(row) => row.as_ref().map(|row| shadow.latest().completed(table.name(), row)),
            None => shadow.latest().row(table.name(), key).cloned(),
        }
    }

    /// A locked row cannot be one that a prepared transaction holds.
    fn check_lock(&self, table: &Table, key: i128) {
        let shadow = self.shadow().borrow();
        let held = shadow.latest().in_doubt.values().flatten();
        let mut held = held.filter(|write| write.table == table.name() && write.key == key);
        assert!(held.next().is_none(), "locked {key}, which a prepared transaction holds");
    }

    async fn operation(&mut self) -> Answer<()> {
        let name = ["t", "t", "t", "auto", "u"][self.scene.below(5) as usize];
        let Ok(table) = self.scene.partitions[self.at].table(name) else { return Ok(()) };
        let key = i128::from(self.scene.below(10));
        match self.scene.below(12) {
            _ if name == "auto" => self.number(&table).await,
            0..=2 => self.insert(&table, key).await,
            3 | 4 => self.update(&table, key).await,
            5 => self.delete(&table, key).await,
            6 => self.lock(&table, key).await,
            7 => self.upsert(&table, key).await,
            8 => self.give_up(&table, key).await,
            9 => self.get(&table, key),
            10 => self.scan_index(&table),
            _ => self.scan(&table),
        }
    }

    fn row(&self, table: &Table, key: i128) -> Row {
        let scene = &self.scene;
        let name = format!("name {}", scene.below(4));
        let long = if scene.chance(40) { 30_000 } else { scene.below(200) as usize };
        let mut row = vec![
            Value::Int(key as i64),
            Value::Int(scene.stamp()),
            if scene.chance(4) { Value::Null } else { Value::Text(name) },
            if scene.chance(2) { Value::Null } else { Value::Int(scene.below(8) as i64) },
            Value::Text("x".repeat(long)),
        ];
        row.resize_with(table.live().len(), || Value::Int(scene.below(100) as i64));
        row
    }

    fn stamp_of(row: &Row) -> i64 {
        match row[STAMP] {
            Value::Int(stamp) => stamp,
            ref other => panic!("{other:?} is no stamp"),
        }
    }

    /// Own writes are kept as the table is now, which may have more columns than when it was read.
    fn wrote(&mut self, table: &Table, key: i128, row: Option<Row>) {
        self.stamps.extend(row.as_ref().map(Self::stamp_of));
        self.own.insert((table.name().to_owned(), key), row);
    }

    async fn insert(&mut self, table: &Arc<Table>, key: i128) -> Answer<()> {
        let row = self.row(table, key);
        let answer = self.txn.insert_async(table, &row).await;
        if self.is_over() || self.is_changed() {
            return Err(Over);
        }
        let there = self.newest(table, key);
        match answer {
            Ok(given) => {
                assert_eq!(given, None);
                assert_eq!(there, None, "inserted over a row");
                self.check_lock(table, key);
                self.check_unique(table, key, &row[3]);
                self.wrote(table, key, Some(row));
                Ok(())
            }
            Err(Error::Duplicate(entry)) => {
                self.duplicate(table, &entry.index, (key, &row[3]));
                Ok(())
            }
            Err(error) => Err(self.refused(&error)),
        }
    }

    /// Rows of a table as this transaction sees the newest state.
    fn newest_rows(&self, table: &Table) -> Rows {
        let shadow = self.shadow().borrow();
        let rows = shadow.latest().tables.get(table.name()).map(|table| table.rows.clone());
        self.overlaid(&shadow, table, rows.unwrap_or_default())
    }

    fn overlaid(&self, shadow: &Shadow, table: &Table, mut rows: Rows) -> Rows {
        for ((name, key), row) in &self.own {
            if name == table.name() {
                match row {
                    Some(row) => rows.insert(*key, shadow.latest().completed(table.name(), row)),
                    None => rows.remove(key),
                };
            }
        }
        rows
    }

    fn check_unique(&self, table: &Table, key: i128, n: &Value) {
        let taken =
            self.newest_rows(table).iter().any(|(other, row)| *other != key && row[3] == *n);
        assert!(n.is_null() || !taken, "two rows with one unique value");
    }

    /// A duplicate was reported: it is there, and committed, or the transaction's own.
    fn duplicate(&self, table: &Table, index: &str, (key, n): (i128, &Value)) {
        self.scene.count("duplicates");
        let rows = self.newest_rows(table);
        let found = match index {
            "PRIMARY" => rows.get(&key),
            _ => rows.values().find(|row| row[3] == *n),
        };
        let found = found.unwrap_or_else(|| panic!("no duplicate in {index} of {key}, {n:?}"));
        let own = self.own.contains_key(&(table.name().to_owned(), number(&found[0])));
        if !own && index == "PRIMARY" {
            self.must_be_committed(table, found);
        } else if !own {
            // Its other columns may be newer than what readers see; that it has the value may not.
            let rows = self.committed_rows(table);
            let holds = rows.is_none_or(|rows| rows.iter().any(|row| row[3] == *n));
            assert!(holds, "{n:?} is told to be taken before that is committed");
        }
    }

    fn committed_rows(&self, table: &Table) -> Option<Vec<Row>> {
        let mut rows = Vec::new();
        let partition = &self.scene.partitions[self.at];
        let reader = partition.begin().ok()?;
        // As it is now: rows may be newer than the table this transaction knows.
        let table = &*partition.table(table.name()).ok()?;
        let scanned = reader.scan(table, &table.rows(), |row| {
            let row = row.values().expect("a sound row");
            rows.push(row.into_iter().map(ValueRef::into_owned).collect());
            ControlFlow::Continue(())
        });
        scanned.expect("a scan of sound rows");
        Some(rows)
    }

    /// What was told about the newest state must be what readers see.
    fn must_be_committed(&self, table: &Table, row: &Row) {
        let reader = self.scene.partitions[self.at].begin();
        let Ok(reader) = reader else { return };
        let Ok(table) = self.scene.partitions[self.at].table(table.name()) else { return };
        let table = &*table;
        let seen = reader.get(table, &row[..1]).expect("a sound row");
        let live = table.live().len();
        assert_eq!(seen.as_deref(), Some(&row[..live]), "told before it was committed");
        self.shadow().borrow_mut().shown(Self::stamp_of(row));
    }

    async fn update(&mut self, table: &Arc<Table>, key: i128) -> Answer<()> {
        let row = self.row(table, key);
        let columns = [1, 2, 3].map(|at| (table.live()[at], row[at].clone()));
        let answer = self.txn.update_async(table, &row[..1], &columns).await;
        if self.is_over() || self.is_changed() {
            return Err(Over);
        }
        match answer {
            Ok(there) => {
                self.check_lock(table, key);
                let old = self.newest(table, key);
                assert_eq!(there, old.is_some(), "updated what is not there, or not what is");
                if let Some(mut new) = old {
                    self.check_unique(table, key, &row[3]);
                    new[1..4].clone_from_slice(&row[1..4]);
                    self.wrote(table, key, Some(new));
                }
                Ok(())
            }
            Err(Error::Duplicate(entry)) => {
                self.duplicate(table, &entry.index, (key, &row[3]));
                Ok(())
            }
            Err(error) => Err(self.refused(&error)),
        }
    }

    async fn delete(&mut self, table: &Arc<Table>, key: i128) -> Answer<()> {
        let answer = self.txn.delete_async(table, &[Value::Int(key as i64)]).await;
        let there = self.answer(answer)?;
        if self.is_over() || self.is_changed() {
            return Err(Over);
        }
        self.check_lock(table, key);
        assert_eq!(there, self.newest(table, key).is_some(), "deleted what is not there");
        if there {
            self.wrote(table, key, None);
        }
        Ok(())
    }

    /// Reads under a lock: the newest state, which is committed by the time of the answer.
    async fn lock(&mut self, table: &Arc<Table>, key: i128) -> Answer<()> {
        let answer = self.txn.get_for_update_async(table, &[Value::Int(key as i64)]).await;
        let row = self.answer(answer)?;
        if self.is_over() || self.is_changed() {
            return Err(Over);
        }
        self.check_lock(table, key);
        let newest = self.newest(table, key);
        let live = table.live().len();
        assert_eq!(row.as_deref(), newest.as_deref().map(|row| &row[..live.min(row.len())]));
        let own = self.own.contains_key(&(table.name().to_owned(), key));
        if let Some(newest) = newest.filter(|_| !own) {
            self.must_be_committed(table, &newest);
        }
        Ok(())
    }

    async fn upsert(&mut self, table: &Arc<Table>, key: i128) -> Answer<()> {
        self.lock(table, key).await?;
        pause().await;
        if self.newest(table, key).is_some() {
            self.update(table, key).await
        } else {
            self.insert(table, key).await
        }
    }

    /// A client that does not wait: its statement is dropped, and the transaction with it.
    async fn give_up(&mut self, table: &Arc<Table>, key: i128) -> Answer<()> {
        let row = self.row(table, key);
        let answer = once(self.txn.insert_async(table, &row)).await;
        let answer = match answer {
            None => {
                self.scene.count("abandoned statements");
                return Err(Over);
            }
            Some(answer) => answer,
        };
        match answer {
            Ok(_) if !self.is_over() && !self.is_changed() => {
                assert_eq!(self.newest(table, key), None, "inserted over a row");
                self.wrote(table, key, Some(row));
                Ok(())
            }
            _ => Err(Over),
        }
    }

    async fn number(&mut self, table: &Arc<Table>) -> Answer<()> {
        let stamp = self.scene.stamp();
        let before = self.shadow().borrow().numbered;
        let answer = self.txn.insert_async(table, &[Value::Null, Value::Int(stamp)]).await;
        let given = self.answer(answer)?.expect("a number was asked for");
        if self.is_over() || self.is_changed() {
            return Err(Over);
        }
        assert!(given > before, "number {given} after {before} was given (T05)");
        self.numbered = self.numbered.max(given);
        self.wrote(table, i128::from(given), Some(vec![Value::UInt(given), Value::Int(stamp)]));
        Ok(())
    }

    fn get(&mut self, table: &Table, key: i128) -> Answer<()> {
        let row = self.answer(self.txn.get(table, &[Value::Int(key as i64)]))?;
        if self.is_over() || self.is_changed() {
            return Err(Over);
        }
        let live = table.live().len();
        if self.own.contains_key(&(table.name().to_owned(), key)) {
            let own = self.newest(table, key);
            assert_eq!(row.as_deref(), own.as_deref().map(|own| &own[..live.min(own.len())]));
            return Ok(());
        }
        let cut = |row: &Row| row[..live.min(row.len())].to_vec();
        let mut shadow = self.shadow().borrow_mut();
        let visible = shadow.is_visible(|state| state.row(table.name(), key).map(cut) == row);
        assert!(
            visible,
            "a reader of {} saw {row:.100?}, which is in no possible state: {shadow:.2000?}",
            table.name()
        );
        if let Some(row) = row {
            shadow.shown(Self::stamp_of(&row));
        }
        Ok(())
    }

    fn scan(&mut self, table: &Table) -> Answer<()> {
        let mut rows = Rows::new();
        let scanned = self.txn.scan(table, &table.rows(), |row| {
            let row = row.values().expect("a sound row");
            let row: Row = row.into_iter().map(ValueRef::into_owned).collect();
            rows.insert(number(&row[0]), row);
            ControlFlow::Continue(())
        });
        self.answer(scanned)?;
        self.check_scanned(table, &rows)
    }

    fn scan_index(&mut self, table: &Table) -> Answer<()> {
        let Some(index) = table.schema().index_named("by_name") else { return Ok(()) };
        let range = table.index_range(index, &[]).expect("no values, no misfit");
        let mut rows = Rows::new();
        let mut last = Value::Null;
        let scanned = self.txn.scan_index(table, index, &range, |row| {
            let row = row.values().expect("a sound row");
            let row: Row = row.into_iter().map(ValueRef::into_owned).collect();
            let name = |value: &Value| value.as_ref().to_string();
            assert!(last.is_null() || name(&last) <= name(&row[2]), "index order");
            last = row[2].clone();
            assert!(rows.insert(number(&row[0]), row).is_none(), "one row twice");
            ControlFlow::Continue(())
        });
        self.answer(scanned)?;
        self.check_scanned(table, &rows)
    }

    /// A scan shows one possible state, with the transaction's own writes over it.
    fn check_scanned(&mut self, table: &Table, rows: &Rows) -> Answer<()> {
        if self.is_over() || self.is_changed() {
            return Err(Over);
        }
        let live = table.live().len();
        let cut = |mut rows: Rows| {
            rows.values_mut().for_each(|row| row.truncate(live));
            rows
        };
        let shadow = self.shadow().borrow();
        let visible = shadow.is_visible(|state| {
            let there = state.tables.get(table.name()).map(|table| table.rows.clone());
            cut(self.overlaid(&shadow, table, there.unwrap_or_default())) == *rows
        });
        assert!(
            visible,
            "a scan of {} saw {rows:?}, which is no possible state: {shadow:.4000?}",
            table.name()
        );
        Ok(())
    }

    /// Whether it writes to a table that is dropped.
    fn is_homeless(&self) -> bool {
        let shadow = self.shadow().borrow();
        self.own.keys().any(|(table, _)| !shadow.latest().tables.contains_key(table))
    }

    fn change(&self) -> Vec<Write> {
        let writes = self.own.iter().map(|((table, key), row)| {
            let table = table.clone();
            Write { table, key: *key, row: row.clone() }
        });
        writes.collect()
    }

    /// Commits; with `leave`, by a client that does not wait for the answer.
    async fn commit(self, leave: bool) {
        let (scene, at, epoch) = (Rc::clone(&self.scene), self.at, self.epoch);
        let shadow = &scene.shadows[at];
        let over = self.is_over();
        let empty = self.txn.changes() == 0;
        let doomed = over || self.is_homeless();
        // Polled once, a commit is appended or refused.
        let number = (!over && !empty).then(|| {
            let mut shadow = shadow.borrow_mut();
            shadow.append(Change::Rows(self.change()), &self.stamps)
        });
        let commit = self.txn.commit_async();
        let mut commit = Box::pin(commit);
        let first = once(&mut commit).await;
        let outcome = match first {
            None if leave => {
                scene.count("abandoned commits");
                return;
            }
            None => commit.await,
            Some(outcome) => outcome,
        };
        let mut shadow = shadow.borrow_mut();
        assert!(!doomed || empty || outcome.is_err(), "committed to what is rewound or dropped");
        let (Some(number), false) = (number, shadow.epoch != epoch) else { return };
        match outcome {
            Ok(committed) => {
                let position = committed.position.expect("it wrote something");
                scene.count("commits");
                shadow.numbered = shadow.numbered.max(self.numbered);
                match shadow.durability {
                    Durability::Sync => shadow.certain(number),
                    Durability::Async => shadow.placed(number, position.start),
                }
            }
            Err(Error::OutcomeUnknown(_)) => assert!(scene.may_fail(), "unknown without a fault"),
            Err(Error::SchemaChanged { .. }) => shadow.refused(number),
            Err(error) => {
                assert!(scene.may_fail(), "{error}");
                shadow.refused(number);
            }
        }
    }

    fn prepare(self) {
        let scene = Rc::clone(&self.scene);
        if self.is_over() || self.own.is_empty() {
            return;
        }
        let shadow = &scene.shadows[self.at];
        let id = format!("g{}", scene.stamp()).into_bytes();
        let change = Change::Prepare(id.clone(), self.change());
        let doomed = self.is_homeless();
        let number = shadow.borrow_mut().append(change, &self.stamps);
        let outcome = self.txn.prepare(&id, &[scene.partitions[self.at].ordinal()]);
        assert!(!doomed || outcome.is_err(), "prepared for a table that is dropped");
        let mut shadow = shadow.borrow_mut();
        match outcome {
            Ok(()) => {
                scene.count("prepares");
                shadow.certain(number);
            }
            Err(Error::OutcomeUnknown(_)) => assert!(scene.may_fail(), "unknown without a fault"),
            Err(Error::SchemaChanged { .. }) => shadow.refused(number),
            Err(error) => {
                assert!(scene.may_fail(), "{error}");
                shadow.refused(number);
            }
        }
    }
}
