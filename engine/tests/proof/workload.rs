//! One fixed history of a node: two partitions of one database, with everything that changes
//! files: slots that fill, snapshots, release of log, a rewind, changes of tables, databases that
//! come and go.
//!
//! A history run without faults gives the state after each step. Whatever goes wrong in step `s`
//! of another run, each partition must then be in the state after step `s - 1` or after `s`.

use std::sync::Arc;

use resprout_engine::table::{Change, NewColumn, NewIndex, Table, TableSchema, Value};
use resprout_engine::{DatabaseOptions, Durability, Engine, Error, Partition, State};
use resprout_wal::Lsn;
use resprout_wal::disk::sim::SimDisk;

use crate::contents::{Node, node};
use crate::harness::{open, try_open};

/// One step: at most one commit in each partition.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Step {
    CreateDatabase(&'static str, u32),
    DropDatabase(&'static str),
    CreateTable(&'static str),
    /// Partition, key, bytes of the value.
    Insert(&'static str, usize, i64, usize),
    Update(&'static str, usize, i64, usize),
    Delete(&'static str, usize, i64),
    Snapshot(usize),
    /// Remembers the position of a partition.
    Mark(usize),
    /// Takes a partition back to what was remembered.
    Rewind(usize),
    AddIndex(usize),
    AddColumn(usize),
    DropTable(usize),
    Prepare(usize, i64),
    CommitPrepared(usize),
    Close,
}

impl Step {
    /// Whether it is one commit in one partition, so that an error says that it is not there.
    pub(crate) fn is_one_commit(self) -> bool {
        matches!(self, Insert(..) | Update(..) | Delete(..) | AddIndex(_) | AddColumn(_))
    }
}

use Step::{
    AddColumn, AddIndex, Close, CommitPrepared, CreateDatabase, CreateTable, Delete, DropDatabase,
    DropTable, Insert, Mark, Prepare, Rewind, Snapshot, Update,
};

pub(crate) const STEPS: &[Step] = &[
    CreateDatabase("d", 2),
    CreateTable("d"),
    Insert("d", 0, 1, 10),
    Insert("d", 1, 1, 10),
    Insert("d", 0, 2, 15_000),
    Snapshot(0),
    Insert("d", 0, 3, 30_000),
    Mark(1),
    Insert("d", 1, 2, 10),
    Update("d", 0, 2, 100),
    Snapshot(1),
    Insert("d", 1, 3, 60_000),
    Delete("d", 0, 1),
    Insert("d", 0, 4, 30_000),
    Snapshot(0),
    AddIndex(0),
    Insert("d", 0, 5, 30),
    Prepare(0, 6),
    Rewind(1),
    Insert("d", 1, 4, 10),
    CommitPrepared(0),
    AddColumn(1),
    CreateDatabase("e", 1),
    CreateTable("e"),
    Insert("e", 0, 1, 10),
    Snapshot(1),
    DropTable(1),
    DropDatabase("e"),
    CreateDatabase("e", 1),
    Insert("d", 0, 7, 40_000),
    Snapshot(0),
    Update("d", 0, 7, 20),
    Close,
];

fn schema() -> TableSchema {
    TableSchema::builder("t")
        .column("id", "bigint")
        .column("name", "text")
        .primary_key(&["id"])
        .build()
        .expect("a sound schema")
}

fn text(key: i64, len: usize) -> Value {
    let seed = format!("{key}/{len} ");
    Value::Text(seed.chars().cycle().take(len).collect())
}

/// Values of a new row, whatever columns were added.
fn row(table: &Table, key: i64, len: usize) -> Vec<Value> {
    let mut values = vec![Value::Int(key), text(key, len)];
    values.resize(table.live().len(), Value::Int(7));
    values
}

/// A node in the middle of the history.
pub(crate) struct Run {
    pub(crate) engine: Engine,
    marks: [Lsn; 2],
}

impl Run {
    pub(crate) fn new(engine: Engine) -> Self {
        Self { engine, marks: [Lsn::ZERO; 2] }
    }

    pub(crate) fn partition(&self, database: &str, partition: usize) -> Result<Partition, Error> {
        Ok(self.engine.database(database)?.partitions()[partition].clone())
    }

    fn table(&self, database: &str, number: usize) -> Result<(Partition, Arc<Table>), Error> {
        let partition = self.partition(database, number)?;
        let table = partition.table("t")?;
        Ok((partition, table))
    }

    pub(crate) fn step(&mut self, step: Step) -> Result<(), Error> {
        match step {
            CreateDatabase(name, partitions) => {
                let options = DatabaseOptions { partitions, durability: Durability::Sync };
                self.engine.create_database(name, options).map(drop)
            }
            DropDatabase(name) => self.engine.drop_database(name),
            CreateTable(name) => self.engine.database(name)?.create_table(&schema()),
            Insert(..) | Update(..) | Delete(..) | Prepare(..) => self.write(step),
            CommitPrepared(number) => {
                let partition = self.partition("d", number)?;
                partition.commit_prepared(b"g")?;
                partition.flush()
            }
            Snapshot(number) => self.partition("d", number)?.snapshot().map(drop),
            Mark(number) => {
                self.marks[number] = self.partition("d", number)?.status().committed;
                Ok(())
            }
            Rewind(number) => {
                let mark = self.marks[number];
                self.partition("d", number)?.rewind(mark).map(drop)
            }
            AddIndex(number) => {
                let change = Change::AddIndex(NewIndex {
                    name: "by_id".to_owned(),
                    columns: vec!["id".to_owned()],
                    unique: true,
                });
                self.partition("d", number)?.alter_table("t", change).map(drop)
            }
            AddColumn(number) => {
                let mut column = NewColumn::parse("extra", "int")?;
                column.default = Some(Value::Int(5));
                let change = Change::AddColumn(column);
                self.partition("d", number)?.alter_table("t", change).map(drop)
            }
            DropTable(number) => self.partition("d", number)?.drop_table("t"),
            Close => self.engine.close(),
        }
    }

    fn write(&self, step: Step) -> Result<(), Error> {
        let (database, number) = match step {
            Insert(database, number, ..) | Update(database, number, ..) => (database, number),
            Delete(database, number, _) => (database, number),
            Prepare(number, _) => ("d", number),
            _ => unreachable!("{step:?} writes no row"),
        };
        let (partition, table) = self.table(database, number)?;
        let mut txn = partition.begin()?;
        match step {
            Insert(_, _, key, len) => {
                txn.insert(&table, &row(&table, key, len))?;
            }
            Update(_, _, key, len) => {
                let column = table.live()[1];
                assert!(txn.update(&table, &[Value::Int(key)], &[(column, text(key, len))])?);
            }
            Delete(_, _, key) => assert!(txn.delete(&table, &[Value::Int(key)])?),
            Prepare(_, key) => {
                txn.insert(&table, &row(&table, key, 10))?;
                return txn.prepare(b"g", &[partition.ordinal()]);
            }
            _ => unreachable!("{step:?} writes no row"),
        }
        txn.commit().map(drop)
    }
}

/// The history without faults: the state after each step, and the disk with its operations.
pub(crate) struct Undisturbed {
    after: Vec<Node>,
    pub(crate) disk: SimDisk,
}

impl Undisturbed {
    pub(crate) fn run() -> Self {
        let disk = SimDisk::new(0);
        let mut run = Run::new(open(&disk, 0));
        let mut after = Vec::new();
        for step in STEPS {
            run.step(*step).unwrap_or_else(|error| panic!("{step:?}: {error}"));
            after.push(node(&run.engine));
        }
        Self { after, disk }
    }

    /// The state after so many steps.
    pub(crate) fn after(&self, steps: usize) -> Node {
        steps.checked_sub(1).map(|last| self.after[last].clone()).unwrap_or_default()
    }

    /// Checks that each partition is as after `done` steps or after one more.
    ///
    /// # Panics
    /// If a partition is in neither state.
    pub(crate) fn check(&self, found: &Node, done: usize) {
        let (before, after) = (self.after(done), self.after((done + 1).min(STEPS.len())));
        let names = before.keys().chain(after.keys()).chain(found.keys());
        for name in names {
            let now = found.get(name);
            assert!(
                now == before.get(name) || now == after.get(name),
                "{name} after {done} steps: {now:.200?}",
            );
        }
    }
}

/// Runs the history until a step fails: how many were done, and the error.
pub(crate) fn run_until_error(run: &mut Run) -> (usize, Option<Error>) {
    for (done, step) in STEPS.iter().enumerate() {
        if let Err(error) = run.step(*step) {
            return (done, Some(error));
        }
    }
    (STEPS.len(), None)
}

/// As a node that has the power fail somewhere: steps that were acknowledged.
pub(crate) fn run_until_crash(disk: &SimDisk) -> usize {
    match try_open(disk, 0) {
        Ok(engine) => run_until_error(&mut Run::new(engine)).0,
        Err(error) => {
            assert!(disk.crashed(), "a new directory opens: {error}");
            0
        }
    }
}

/// Commits a row of its own in each partition that has the table.
///
/// # Panics
/// If that is refused.
pub(crate) fn go_on(engine: &Engine, key: i64) {
    for database in engine.databases() {
        for partition in database.partitions() {
            assert_eq!(partition.state(), State::Online, "{:?}", partition.status().error);
            commit_one(partition, key).expect("a commit");
        }
    }
}

/// Commits a row in a partition, if it has the table.
pub(crate) fn commit_one(partition: &Partition, key: i64) -> Result<(), Error> {
    let table = match partition.table("t") {
        Err(Error::NoSuchTable { .. }) => return Ok(()),
        other => other?,
    };
    let mut txn = partition.begin()?;
    txn.insert(&table, &row(&table, key, 50))?;
    txn.commit().map(drop)
}
