//! What is done with rows where they are: conditions, columns and partial aggregates of a [`Pushdown`], on a leaf as well
//! as in this process, by the same code.
//!
//! ```text
//!  piece of a scan ─┬ rows of a leaf page, all inputs whole numbers: column by column
//!                   └ else row by row
//!                        └► inputs ─► condition (crate::expression) ─► rows | inputs | groups ─► sink
//! ```

mod condition;
mod filter;
mod groups;
mod show;

use std::ops::ControlFlow;

pub use resprout_access::pushdown::{
    Call, Comparator, Evaluator, Gives, Input, Limits, Piece, Pushdown, Rule, Sink, Step,
    WholeNumbers,
};
use resprout_engine::table::{
    ColumnId, ColumnType, DateTime, RowView, TableSchema, ValueRef, index_entry,
};
use resprout_engine::{Error, RowBlock};

use crate::expression::{self, Collation, Compiled, Context, NoSession, Row};
use groups::Groups;

pub use condition::{STEPS_MAX, is_possible, steps};
pub(crate) use filter::of_filter;
pub(crate) use show::shown;

/// With a limit from here on, a block may give more.
const ROWS_MANY: usize = 1024;

/// Evaluates by the rules of [`crate::expression`].
#[derive(Clone, Copy, Debug, Default)]
pub struct ByExpressions;

/// What is asked cannot be: one message is from another version, or made by hand.
fn impossible(what: &str) -> Error {
    Error::Elsewhere(format!("what is pushed down to rows cannot be: {what}"))
}

impl Evaluator for ByExpressions {
    fn evaluate(
        &self,
        piece: &Piece<'_>,
        pushdown: &Pushdown,
        sink: &mut dyn Sink,
    ) -> Result<Option<Vec<u8>>, Error> {
        let condition = condition::compiled(pushdown, piece.table.schema())?;
        let parameters = condition.as_ref().map_or(&[][..], |(_, parameters)| parameters);
        let mut context = Context::new(&NoSession, parameters);
        context.zone = pushdown.zone;
        let condition = condition.as_ref().map(|(compiled, _)| compiled);
        let mut work = Work::new(piece, pushdown, condition, &context)?;
        let next = match piece.index {
            Some(index) => work.along(index, sink)?,
            None => work.over_rows(sink)?,
        };
        if let Some(groups) = work.groups {
            groups.give(sink)?;
        }
        Ok(next)
    }
}

/// An input with what is known of its column.
#[derive(Clone, Copy, Debug)]
struct Read {
    id: ColumnId,
    /// Of texts.
    key: Option<Collation>,
    /// Microseconds that are added: a TIMESTAMP is kept in UTC.
    shift: i64,
    is_whole: bool,
}

impl Read {
    fn new(input: Input, schema: &TableSchema, zone: i32) -> Result<Self, Error> {
        let (Input::Column(id) | Input::Key(id, _)) = input;
        let column = schema.live_columns().find(|(live, _)| *live == id);
        let (_, column) = column.ok_or_else(|| impossible("there is no such column"))?;
        let in_utc = matches!(column.ty, ColumnType::Timestamp(_));
        let key = match input {
            Input::Column(_) => None,
            Input::Key(_, rule) => Some(collation(rule)),
        };
        Ok(Self {
            id,
            key,
            shift: if in_utc { i64::from(zone) * 1_000_000 } else { 0 },
            is_whole: key.is_none() && is_whole(&column.ty),
        })
    }

    fn of<'r>(&self, row: &RowView<'r>) -> Result<ValueRef<'r>, Error> {
        let value = row.get(self.id)?;
        Ok(match (value, self.key) {
            (ValueRef::Text(text), Some(collation)) => {
                let mut key = Vec::with_capacity(2 * text.len() + 2);
                collation.sort_key(&text, &mut key);
                ValueRef::Bytes(key.into())
            }
            (ValueRef::DateTime(moment), _) if self.shift != 0 => {
                DateTime::from_micros(moment.micros() + self.shift)
                    .map_or(ValueRef::Null, ValueRef::DateTime)
            }
            (value, _) => value,
        })
    }
}

const fn is_whole(ty: &ColumnType) -> bool {
    matches!(ty, ColumnType::Int { unsigned: false, .. })
}

/// By what texts compare.
const fn collation(rule: Rule) -> Collation {
    match rule {
        Rule::Plain => Collation::Binary,
        Rule::GeneralCi => Collation::GeneralCi,
        Rule::Bin => Collation::Bin,
    }
}

/// The inputs of a row, as expressions and groups ask for them.
trait Inputs {
    fn input(&self, at: usize) -> Result<ValueRef<'_>, Error>;
}

struct OfRow<'a> {
    row: &'a RowView<'a>,
    reads: &'a [Read],
}

impl Inputs for OfRow<'_> {
    fn input(&self, at: usize) -> Result<ValueRef<'_>, Error> {
        self.reads[at].of(self.row)
    }
}

impl Row for OfRow<'_> {
    fn column(&self, column: ColumnId) -> Result<ValueRef<'_>, expression::Error> {
        self.input(column.position()).map_err(|error| expression::Error::Row(error.to_string()))
    }
}

struct OfBlock<'a> {
    columns: &'a [WholeNumbers],
    row: usize,
}

impl Row for OfBlock<'_> {
    fn column(&self, column: ColumnId) -> Result<ValueRef<'_>, expression::Error> {
        Ok(self.columns[column.position()].value(self.row))
    }
}

/// How far the work on a piece has come.
struct Work<'w> {
    piece: &'w Piece<'w>,
    reads: Vec<Read>,
    condition: Option<&'w Compiled>,
    context: &'w Context<'w>,
    gives: Option<&'w [u16]>,
    groups: Option<Groups>,
    looked: usize,
    rows: usize,
    /// Columns of one block, kept for the next.
    columns: Vec<WholeNumbers>,
    /// Rows of one block of which the condition holds.
    chosen: Vec<u32>,
}

impl<'w> Work<'w> {
    fn new(
        piece: &'w Piece<'w>,
        pushdown: &'w Pushdown,
        condition: Option<&'w Compiled>,
        context: &'w Context<'w>,
    ) -> Result<Self, Error> {
        let schema = piece.table.schema();
        let inputs = pushdown.inputs.iter();
        let reads: Result<Vec<_>, _> =
            inputs.map(|input| Read::new(*input, schema, pushdown.zone)).collect();
        let reads = reads?;
        let is_input = |at: &u16| usize::from(*at) < reads.len();
        let (gives, groups) = match &pushdown.gives {
            Gives::Rows => (None, None),
            Gives::Inputs(inputs) => (Some(&inputs[..]), None),
            Gives::Groups { by, calls } => {
                (Some(&by[..]), Some(Groups::new(by, calls, &pushdown.inputs, schema)?))
            }
        };
        if !gives.unwrap_or_default().iter().all(is_input) {
            return Err(impossible("there is no such input"));
        }
        let columns = vec![WholeNumbers::default(); reads.len()];
        let (looked, rows, chosen) = (0, 0, Vec::new());
        Ok(Self { piece, reads, condition, context, gives, groups, looked, rows, columns, chosen })
    }

    /// Whether this piece is enough.
    fn is_enough(&self, sink: &dyn Sink) -> bool {
        let limits = &self.piece.limits;
        self.looked >= limits.looked
            || sink.bytes() >= limits.bytes
            || match &self.groups {
                Some(groups) => groups.is_full(),
                None => self.rows >= limits.rows,
            }
    }

    fn over_rows(&mut self, sink: &mut dyn Sink) -> Result<Option<Vec<u8>>, Error> {
        let (piece, mut next) = (self.piece, None);
        let visited =
            piece.transaction.scan_blocks_at(piece.view, piece.table, piece.range, |block| {
                next = self.block(block, sink)?;
                Ok(if next.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
            })?;
        if visited {
            return Ok(next);
        }
        let mut failed = Ok(());
        piece.transaction.scan_at(piece.view, piece.table, piece.range, |row| {
            failed = self.row(row, sink);
            if failed.is_ok() && !self.is_enough(sink) {
                return ControlFlow::Continue(());
            }
            next = Some(after(row.key()));
            ControlFlow::Break(())
        })?;
        failed.map(|()| next)
    }

    fn along(
        &mut self,
        index: &resprout_engine::table::Index,
        sink: &mut dyn Sink,
    ) -> Result<Option<Vec<u8>>, Error> {
        let (piece, mut next, mut failed) = (self.piece, None, Ok(()));
        let of = (piece.table, index);
        piece.transaction.scan_index_at(piece.view, of, piece.range, |row| {
            failed = self.row(row, sink);
            if failed.is_ok() && !self.is_enough(sink) {
                return ControlFlow::Continue(());
            }
            match index_entry(index, row) {
                Ok(entry) => next = Some(after(&entry.0)),
                Err(damage) => failed = Err(damage.into()),
            }
            ControlFlow::Break(())
        })?;
        failed.map(|()| next)
    }

    /// Looks at rows that lie together; where to go on if that is enough.
    fn block(
        &mut self,
        block: &RowBlock<'_>,
        sink: &mut dyn Sink,
    ) -> Result<Option<Vec<u8>>, Error> {
        // Who wants few rows gets no more; of many, those of a block more or less do not count.
        let many = self.piece.limits.rows >= ROWS_MANY || self.groups.is_some();
        if self.gives.is_some() && many && self.read(block) {
            self.whole_numbers(block.len(), sink)?;
            return Ok(self.is_enough(sink).then(|| after(&block.last_key())));
        }
        let (mut next, mut failed) = (None, Ok(()));
        let _whole = block.each(|row| {
            failed = self.row(row, sink);
            if failed.is_ok() && !self.is_enough(sink) {
                return ControlFlow::Continue(());
            }
            next = Some(after(row.key()));
            ControlFlow::Break(())
        })?;
        failed.map(|()| next)
    }

    /// Reads all inputs of a block; false if they have to be read row by row.
    fn read(&mut self, block: &RowBlock<'_>) -> bool {
        if !self.reads.iter().all(|read| read.is_whole) {
            return false;
        }
        self.reads.iter().zip(&mut self.columns).all(|(read, column)| {
            column.numbers.clear();
            column.present.clear();
            block.whole_numbers(read.id, &mut column.numbers, &mut column.present)
        })
    }

    /// Does with the columns of a block what is to be done.
    fn whole_numbers(&mut self, rows: usize, sink: &mut dyn Sink) -> Result<(), Error> {
        self.looked += rows;
        let mut rows = rows;
        if let Some(condition) = self.condition {
            self.chosen.clear();
            for row in 0..rows {
                let of_block = OfBlock { columns: &self.columns, row };
                if condition.matches(&of_block, self.context).map_err(|error| failed(&error))? {
                    self.chosen.push(u32::try_from(row).unwrap_or(u32::MAX));
                }
            }
            if self.chosen.len() < rows {
                rows = self.chosen.len();
                for column in &mut self.columns {
                    keep(column, &self.chosen);
                }
            }
        }
        self.rows += rows;
        if rows == 0 {
            return Ok(());
        }
        match (&mut self.groups, self.gives) {
            (Some(groups), _) => {
                groups.add_block(rows, &self.columns);
                Ok(())
            }
            (None, gives) => {
                let gives = gives.unwrap_or_default().iter();
                let given: Vec<_> = gives.map(|at| &self.columns[usize::from(*at)]).collect();
                sink.whole_numbers(rows, &given)
            }
        }
    }

    fn row(&mut self, row: &RowView<'_>, sink: &mut dyn Sink) -> Result<(), Error> {
        self.looked += 1;
        let of_row = OfRow { row, reads: &self.reads };
        if let Some(condition) = self.condition
            && !condition.matches(&of_row, self.context).map_err(|error| failed(&error))?
        {
            return Ok(());
        }
        self.rows += 1;
        match (&mut self.groups, self.gives) {
            (Some(groups), _) => groups.add(&of_row),
            (None, None) => sink.stored(row),
            (None, Some(gives)) => {
                for at in gives {
                    sink.value(of_row.input(usize::from(*at))?)?;
                }
                sink.end_row();
                Ok(())
            }
        }
    }
}

/// Keeps the numbers of these rows.
fn keep(column: &mut WholeNumbers, rows: &[u32]) {
    for (to, from) in rows.iter().enumerate() {
        column.numbers[to] = column.numbers[*from as usize];
        if let Some(present) = column.present.get(*from as usize).copied() {
            column.present[to] = present;
        }
    }
    column.numbers.truncate(rows.len());
    column.present.truncate(rows.len());
}

/// The first key after one.
fn after(key: &[u8]) -> Vec<u8> {
    [key, &[0]].concat()
}

fn failed(error: &expression::Error) -> Error {
    Error::Elsewhere(error.to_string())
}
