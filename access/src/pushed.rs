//! What is done with rows where they are, instead of sending them: conditions that a row is judged by, columns that are
//! wanted, groups and their partial aggregates.
//!
//! ```text
//!   rows of a scan ─► inputs: columns, or keys of texts ─► condition ─► gives: whole rows | inputs | groups ─► sink
//! ```
//!
//! Who evaluates it is not known here: see [`Evaluator`]. A condition comes in postfix order, so that nothing that is
//! decoded nests.

use std::fmt;

use resprout_engine::table::{ColumnId, Index, KeyRange, RowView, Table, Value, ValueRef};
use resprout_engine::tree::View;
use resprout_engine::{Error, Transaction};
use rkyv::{Archive, Deserialize, Serialize};

use crate::message::Rows;
use crate::packed::Packed;

/// See the module.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct Pushdown {
    /// What is read of a row.
    pub inputs: Vec<Input>,
    /// What must hold of a row, in postfix order; nothing if it is empty.
    pub condition: Vec<Step>,
    /// What comes of the rows of which it holds.
    pub gives: Gives,
    /// Seconds east of UTC: TIMESTAMPs are moments of this zone.
    pub zone: i32,
}

/// What is read of a row.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// A column.
    Column(ColumnId),
    /// The bytes by which a column of text compares.
    Key(ColumnId, Rule),
}

/// How texts compare.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// By their bytes, as values of all other types by themselves.
    Plain,
    /// `utf8mb4_general_ci`.
    GeneralCi,
    /// `utf8mb4_bin`: blanks at the end do not count.
    Bin,
}

/// A step of a condition: takes from the top of a stack what it needs, and leaves its result there. Inputs by their
/// number.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq)]
pub enum Step {
    /// An input.
    Input(u16),
    /// A value.
    Constant(Value),
    /// Compares the two values on top.
    Compare(Comparator),
    /// Whether the lowest of three lies between the others, or not.
    Between {
        /// Not.
        negated: bool,
    },
    /// Whether a value is among so many that follow it, or not.
    In {
        /// How many.
        items: u16,
        /// Not.
        negated: bool,
    },
    /// Whether it is NULL, or not.
    IsNull {
        /// Not.
        negated: bool,
    },
    /// Whether all of so many are true.
    All(u16),
    /// Whether one of so many is true.
    Any(u16),
    /// Whether it is false.
    Not,
}

/// How two values compare.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparator {
    /// `=`
    Equal,
    /// `<>`
    NotEqual,
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
}

/// What comes of rows.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub enum Gives {
    /// The rows as they are stored.
    Rows,
    /// These inputs of each.
    Inputs(Vec<u16>),
    /// Groups of those that have the same inputs: those inputs, then what each call has come to. One group may come
    /// several times, each time with what came since.
    Groups {
        /// What is the same in a group; nothing if all rows are one.
        by: Vec<u16>,
        /// What is made of the rows of a group.
        calls: Vec<Call>,
    },
}

/// An aggregate of rows.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// How many rows: a number.
    Rows,
    /// How many have the input, which is not NULL: a number.
    Count(u16),
    /// The sum of an input of exact numbers, and of how many: a decimal, NULL if there are none, and a number.
    Sum(u16),
    /// The least or greatest of an input; NULL if there is none.
    Best {
        /// Of what.
        input: u16,
        /// Not the least.
        greatest: bool,
        /// How texts compare.
        by: Rule,
    },
}

impl Call {
    /// How many values it comes to.
    #[must_use]
    pub const fn width(self) -> usize {
        match self {
            Self::Sum(_) => 2,
            _ => 1,
        }
    }
}

impl Pushdown {
    /// How many values each row has that it gives.
    #[must_use]
    pub fn width(&self) -> usize {
        match &self.gives {
            Gives::Rows => 0,
            Gives::Inputs(inputs) => inputs.len(),
            Gives::Groups { by, calls } => {
                by.len() + calls.iter().map(|call| call.width()).sum::<usize>()
            }
        }
    }
}

/// Where what comes of rows goes.
pub trait Sink {
    /// A value of the row that is being made.
    ///
    /// # Errors
    /// If it cannot be taken.
    fn value(&mut self, value: ValueRef<'_>) -> Result<(), Error>;

    /// The row is whole.
    fn end_row(&mut self);

    /// A row as it is stored.
    ///
    /// # Errors
    /// If only values are taken.
    fn stored(&mut self, row: &RowView<'_>) -> Result<(), Error>;

    /// Whole numbers of so many rows, column by column; where it is said, those that are not present are NULL.
    ///
    /// # Errors
    /// If they cannot be taken.
    fn whole_numbers(&mut self, rows: usize, columns: &[&WholeNumbers]) -> Result<(), Error> {
        for row in 0..rows {
            for column in columns {
                self.value(column.value(row))?;
            }
            self.end_row();
        }
        Ok(())
    }

    /// Bytes so far.
    fn bytes(&self) -> usize;
}

/// A column of whole numbers of some rows.
#[derive(Clone, Debug, Default)]
pub struct WholeNumbers {
    /// The numbers; 0 for one that is not there.
    pub numbers: Vec<i64>,
    /// Whether each is there; all are if it is empty.
    pub present: Vec<bool>,
}

impl WholeNumbers {
    /// Whether a row has one.
    #[must_use]
    pub fn is_present(&self, row: usize) -> bool {
        self.present.is_empty() || self.present[row]
    }

    /// How many are there.
    #[must_use]
    pub fn count(&self) -> usize {
        if self.present.is_empty() {
            self.numbers.len()
        } else {
            self.present.iter().filter(|present| **present).count()
        }
    }

    /// The value of a row.
    #[must_use]
    pub fn value(&self, row: usize) -> ValueRef<'static> {
        if self.is_present(row) { ValueRef::Int(self.numbers[row]) } else { ValueRef::Null }
    }
}

/// A piece of a scan.
#[derive(Debug)]
pub struct Piece<'p> {
    /// Who reads.
    pub transaction: &'p Transaction,
    /// The state that is read.
    pub view: &'p View,
    /// The table.
    pub table: &'p Table,
    /// The index that is followed; the rows themselves if none.
    pub index: Option<&'p Index>,
    /// What of it.
    pub range: &'p KeyRange,
    /// When it is enough.
    pub limits: Limits,
}

/// When a piece of a scan is enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// So many rows were looked at.
    pub looked: usize,
    /// So many came of them; of groups it says nothing.
    pub rows: usize,
    /// So many bytes came of them.
    pub bytes: usize,
}

/// Who can do with rows what is pushed down to them.
pub trait Evaluator: fmt::Debug + Send + Sync + 'static {
    /// Gives what comes of the rows of a piece, and where the next one begins; none if that was all.
    ///
    /// # Errors
    /// Of reading; if what is asked cannot be.
    fn evaluate(
        &self,
        piece: &Piece<'_>,
        pushdown: &Pushdown,
        sink: &mut dyn Sink,
    ) -> Result<Option<Vec<u8>>, Error>;
}

impl Sink for Packed {
    fn value(&mut self, value: ValueRef<'_>) -> Result<(), Error> {
        Packed::value(self, &value);
        Ok(())
    }

    fn end_row(&mut self) {
        Packed::end_row(self);
    }

    fn stored(&mut self, _row: &RowView<'_>) -> Result<(), Error> {
        Err(Error::Elsewhere("whole rows are not packed".to_owned()))
    }

    fn bytes(&self) -> usize {
        Packed::bytes(self)
    }
}

impl Sink for Rows {
    fn value(&mut self, _value: ValueRef<'_>) -> Result<(), Error> {
        Err(Error::Elsewhere("only whole rows are taken".to_owned()))
    }

    fn end_row(&mut self) {}

    fn stored(&mut self, row: &RowView<'_>) -> Result<(), Error> {
        self.push(row.key(), row.value());
        Ok(())
    }

    fn bytes(&self) -> usize {
        Rows::bytes(self)
    }
}
