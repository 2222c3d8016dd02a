//! What a partition may hold: a state that is certain, and behind it what was appended to the log
//! and may or may not survive, in the order of the log.
//!
//! ```text
//!  certain ─┬─ change ─┬─ change ─┬─ change      each prefix is a state that may be found
//!           0          1          2         3
//! ```

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use resprout_engine::Durability;
use resprout_engine::table::Value;
use resprout_wal::Lsn;

/// The values of a row; the first one is its key.
pub(crate) type Row = Vec<Value>;

/// Rows of a table by key.
pub(crate) type Rows = BTreeMap<i128, Row>;

/// A key as a number.
pub(crate) fn number(value: &Value) -> i128 {
    match value {
        Value::Int(number) => i128::from(*number),
        Value::UInt(number) => i128::from(*number),
        other => panic!("{other:?} is no key"),
    }
}

/// The new state of one row.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Write {
    pub(crate) table: String,
    pub(crate) key: i128,
    pub(crate) row: Option<Row>,
}

/// One record of the log.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    Rows(Vec<Write>),
    Prepare(Vec<u8>, Vec<Write>),
    End(Vec<u8>, bool),
    Refuse(Vec<u8>),
    Forget(Vec<u8>),
    /// Name, and the defaults of columns that rows may lack.
    Create(String, usize),
    Drop(String),
    AddColumn(String, Value),
    AddIndex,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct TableState {
    /// Values of columns in rows that were written without them.
    defaults: Vec<Value>,
    pub(crate) rows: Rows,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct State {
    pub(crate) tables: BTreeMap<String, TableState>,
    pub(crate) in_doubt: BTreeMap<Vec<u8>, Vec<Write>>,
    pub(crate) decided: BTreeMap<Vec<u8>, bool>,
}

/// A state as it can be read.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Found {
    pub(crate) tables: BTreeMap<String, Rows>,
    /// How many columns each table has.
    pub(crate) columns: BTreeMap<String, usize>,
    pub(crate) in_doubt: BTreeSet<Vec<u8>>,
}

impl State {
    fn apply(&mut self, change: &Change) {
        match change {
            Change::Rows(writes) => self.write(writes),
            Change::Prepare(id, writes) => {
                self.in_doubt.insert(id.clone(), writes.clone());
            }
            Change::End(id, commit) => {
                let writes = self.in_doubt.remove(id).expect("it was prepared");
                if *commit {
                    self.write(&writes);
                    self.decided.insert(id.clone(), true);
                }
            }
            Change::Refuse(id) => {
                self.decided.insert(id.clone(), false);
            }
            Change::Forget(id) => {
                self.decided.remove(id);
            }
            Change::Create(name, columns) => {
                let defaults = vec![Value::Null; *columns];
                let table = TableState { defaults, rows: Rows::new() };
                self.tables.insert(name.clone(), table);
            }
            Change::Drop(name) => {
                self.tables.remove(name);
            }
            Change::AddColumn(name, default) => {
                let table = self.tables.get_mut(name).expect("it is there");
                table.defaults.push(default.clone());
                table.rows.values_mut().for_each(|row| row.push(default.clone()));
            }
            Change::AddIndex => {}
        }
    }

    fn write(&mut self, writes: &[Write]) {
        for write in writes {
            // Such a commit must be refused; its client checks that.
            let Some(table) = self.tables.get_mut(&write.table) else { continue };
            match &write.row {
                Some(row) => {
                    let mut row = row.clone();
                    row.extend_from_slice(&table.defaults[row.len()..]);
                    table.rows.insert(write.key, row);
                }
                None => {
                    table.rows.remove(&write.key);
                }
            }
        }
    }

    pub(crate) fn row(&self, table: &str, key: i128) -> Option<&Row> {
        self.tables.get(table)?.rows.get(&key)
    }

    /// A row that was written without newer columns, with their values.
    pub(crate) fn completed(&self, table: &str, row: &Row) -> Row {
        let mut row = row.clone();
        if let Some(table) = self.tables.get(table) {
            row.extend_from_slice(table.defaults.get(row.len()..).unwrap_or_default());
        }
        row
    }

    pub(crate) fn seen(&self) -> Found {
        let tables = self.tables.iter().map(|(name, table)| (name.clone(), table.rows.clone()));
        let columns = self.tables.iter().map(|(name, table)| (name.clone(), table.defaults.len()));
        Found {
            tables: tables.collect(),
            columns: columns.collect(),
            in_doubt: self.in_doubt.keys().cloned().collect(),
        }
    }
}

/// Rows that differ: expected, then found.
fn differences(expected: &Found, found: &Found) -> Vec<String> {
    let mut all = Vec::new();
    let names: BTreeSet<&String> = expected.tables.keys().chain(found.tables.keys()).collect();
    for name in names {
        let rows = |of: &Found| of.tables.get(name).cloned().unwrap_or_default();
        let (expected, found) = (rows(expected), rows(found));
        let keys: BTreeSet<&i128> = expected.keys().chain(found.keys()).collect();
        let differ = keys.into_iter().filter(|key| expected.get(key) != found.get(key));
        all.extend(differ.map(|key| {
            format!("{name} {key}: {:.60?} {:.60?}", expected.get(key), found.get(key))
        }));
    }
    if expected.in_doubt != found.in_doubt {
        all.push(format!("in doubt: {:?} {:?}", expected.in_doubt, found.in_doubt));
    }
    all
}

#[derive(Debug)]
struct Entry {
    change: Change,
    /// Where its group begins, once known.
    start: Option<Lsn>,
}

/// One partition.
#[derive(Debug)]
pub(crate) struct Shadow {
    pub(crate) durability: Durability,
    certain: State,
    tail: VecDeque<Entry>,
    /// Number of the first change of the tail.
    first: usize,
    latest: State,
    /// Positions where the state was known and nothing on its way, for rewinding.
    pub(crate) marks: Vec<(Lsn, State)>,
    /// A rewind that failed on its way may have led here.
    pub(crate) perhaps: Option<State>,
    /// Counts rewinds: transactions of before are over.
    pub(crate) epoch: u64,
    /// Counts changes of tables.
    pub(crate) schema: u64,
    /// The largest number that an acknowledged row was given.
    pub(crate) numbered: u64,
    pub(crate) term: u64,
    /// Which change wrote a stamp.
    stamps: BTreeMap<i64, usize>,
}

impl Shadow {
    pub(crate) fn new(durability: Durability) -> Self {
        Self {
            durability,
            certain: State::default(),
            tail: VecDeque::new(),
            first: 0,
            latest: State::default(),
            marks: Vec::new(),
            perhaps: None,
            epoch: 0,
            schema: 0,
            numbered: 0,
            term: 1,
            stamps: BTreeMap::new(),
        }
    }

    /// The newest state, committed or not.
    pub(crate) fn latest(&self) -> &State {
        &self.latest
    }

    /// How many changes may still vanish.
    pub(crate) fn uncertain(&self) -> usize {
        self.tail.len()
    }

    /// Takes note of an append; its number.
    pub(crate) fn append(&mut self, change: Change, stamps: &[i64]) -> usize {
        self.latest.apply(&change);
        self.schema += u64::from(matches!(
            change,
            Change::Create(..) | Change::Drop(_) | Change::AddColumn(..) | Change::AddIndex
        ));
        self.tail.push_back(Entry { change, start: None });
        let number = self.first + self.tail.len() - 1;
        self.stamps.extend(stamps.iter().map(|stamp| (*stamp, number)));
        number
    }

    /// The newest append was refused: it never was.
    pub(crate) fn refused(&mut self, number: usize) {
        assert_eq!(number, self.first + self.tail.len() - 1, "refused after a later append");
        self.tail.pop_back();
        self.stamps.retain(|_, at| *at != number);
        self.latest = self.states().last().expect("at least one").clone();
    }

    /// A change, and with it all before, is there to stay.
    pub(crate) fn certain(&mut self, number: usize) {
        while self.first <= number {
            let entry = self.tail.pop_front().expect("it was appended");
            self.certain.apply(&entry.change);
            self.first += 1;
        }
    }

    /// Where the group of a change begins.
    pub(crate) fn placed(&mut self, number: usize, start: Lsn) {
        if let Some(entry) = number.checked_sub(self.first).and_then(|at| self.tail.get_mut(at)) {
            entry.start = Some(start);
        }
    }

    /// The log says it is durable up to here.
    pub(crate) fn durable(&mut self, lsn: Lsn) {
        let there = self.tail.iter().rposition(|e| e.start.is_some_and(|start| start < lsn));
        if let Some(last) = there {
            self.certain(self.first + last);
        }
    }

    /// A committed row with this stamp was shown to somebody.
    ///
    /// # Panics
    /// If no transaction that was appended wrote it.
    pub(crate) fn shown(&mut self, stamp: i64) {
        let number = *self.stamps.get(&stamp).unwrap_or_else(|| panic!("stamp {stamp} is unborn"));
        if self.durability == Durability::Sync {
            self.certain(number);
        }
    }

    /// All states that may be found, oldest first.
    pub(crate) fn states(&self) -> Vec<State> {
        let mut states = vec![self.certain.clone()];
        for entry in &self.tail {
            let mut next = states.last().expect("at least one").clone();
            next.apply(&entry.change);
            states.push(next);
        }
        states
    }

    /// Whether readers may see this.
    pub(crate) fn is_visible(&self, test: impl Fn(&State) -> bool) -> bool {
        self.is_visible_since(0, test)
    }

    /// Whether readers may see this, who must see a change.
    pub(crate) fn is_visible_since(&self, number: usize, test: impl Fn(&State) -> bool) -> bool {
        match self.durability {
            Durability::Sync => {
                self.states().iter().skip((number + 1).saturating_sub(self.first)).any(test)
            }
            Durability::Async => test(&self.latest),
        }
    }

    /// A recovery found this. The state goes on from there.
    ///
    /// # Panics
    /// If it is none of those that are possible.
    pub(crate) fn recovered(
        &mut self,
        found: &Found,
        clean: bool,
        decided: impl Fn(&[u8]) -> Option<bool>,
    ) {
        let mut states = self.states();
        let rewound = self.perhaps.is_some();
        states.splice(0..0, self.perhaps.take());
        let last = states.len() - 1;
        let ids = states.iter().flat_map(|state| state.decided.keys());
        let known: BTreeMap<_, _> = ids.map(|id| (id.clone(), decided(id))).collect();
        let same = |state: &State| {
            let same = |(id, found): (&Vec<u8>, &_)| state.decided.get(id).copied() == *found;
            state.seen() == *found && known.iter().all(same)
        };
        let at = states.iter().rposition(same);
        let Some(at) = at else {
            let (first, last) = (differences(&states[0].seen(), found), &states[last]);
            let behind = differences(&last.seen(), found);
            panic!(
                "{:?}: none of {} states; first: {first:?}, last: {behind:?}",
                self.durability,
                states.len()
            )
        };
        assert!(!clean || states[at] == states[last], "a clean end lost {} changes", last - at);
        if self.durability == Durability::Async || rewound {
            // What was given to rows that are gone may be given again.
            let left = states[at].tables.get("auto").and_then(|table| table.rows.keys().last());
            self.numbered = left.map_or(0, |number| *number as u64);
        }
        self.reset(states[at].clone());
    }

    /// From now on exactly this is there.
    pub(crate) fn reset(&mut self, state: State) {
        self.first += self.tail.len();
        self.tail.clear();
        self.latest = state.clone();
        self.certain = state;
    }
}
