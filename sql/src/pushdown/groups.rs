//! Partial aggregates of groups, within a bound of memory: what is full is given away, and a group that comes again begins
//! anew.

use std::cmp::Ordering;
use std::collections::HashMap;

use resprout_access::Packed;
use resprout_access::pushdown::{Call, Input, Rule, Sink, WholeNumbers};
use resprout_engine::Error;
use resprout_engine::table::{Decimal, TableSchema, Value, ValueRef};

use super::{Inputs, OfRow, collation, impossible};
use crate::expression::{Collation, Type};

/// Groups that are kept at most.
const GROUPS_MAX: usize = 8192;
/// Bytes that they keep at most, about.
const BYTES_MAX: usize = 4 << 20;
/// Unscaled, the first number with more digits than a decimal has.
const DECIMAL_END: i128 = 10_i128.pow(38);

/// An aggregate of all groups.
#[derive(Debug)]
enum Made {
    Rows(Vec<i64>),
    Count(usize, Vec<i64>),
    Sum { input: usize, scale: u8, sums: Vec<i128>, counts: Vec<i64> },
    Best { input: usize, wanted: Ordering, by: Option<Collation>, bests: Vec<Value> },
}

impl Made {
    fn new(call: Call, inputs: &[Input], schema: &TableSchema) -> Result<Self, Error> {
        let at = |input: u16| -> Result<(usize, Type), Error> {
            let at = usize::from(input);
            let input = inputs.get(at).ok_or_else(|| impossible("there is no such input"))?;
            let ty = match input {
                Input::Key(..) => Type::Bytes,
                Input::Column(id) => {
                    let column = schema.live_columns().find(|(live, _)| live == id);
                    column.map_or(Type::Null, |(_, column)| Type::of_column(&column.ty))
                }
            };
            Ok((at, ty))
        };
        Ok(match call {
            Call::Rows => Self::Rows(Vec::new()),
            Call::Count(input) => Self::Count(at(input)?.0, Vec::new()),
            Call::Sum(input) => {
                let (input, scale) = match at(input)? {
                    (at, Type::Int | Type::UInt) => (at, 0),
                    (at, Type::Decimal { scale, .. }) => (at, scale),
                    _ => return Err(impossible("a sum of no exact numbers")),
                };
                Self::Sum { input, scale, sums: Vec::new(), counts: Vec::new() }
            }
            Call::Best { input, greatest, by } => Self::Best {
                input: at(input)?.0,
                wanted: if greatest { Ordering::Greater } else { Ordering::Less },
                by: (by != Rule::Plain).then(|| collation(by)),
                bests: Vec::new(),
            },
        })
    }

    fn grow(&mut self, groups: usize) {
        match self {
            Self::Rows(counts) | Self::Count(_, counts) => counts.resize(groups, 0),
            Self::Sum { sums, counts, .. } => {
                sums.resize(groups, 0);
                counts.resize(groups, 0);
            }
            Self::Best { bests, .. } => bests.resize(groups, Value::Null),
        }
    }

    /// Adds a row to a group. A sum that would not fit begins anew: what it was comes back.
    fn add(
        &mut self,
        group: usize,
        row: &OfRow<'_>,
        bytes: &mut usize,
    ) -> Result<Option<i128>, Error> {
        match self {
            Self::Rows(counts) => counts[group] += 1,
            Self::Count(input, counts) => counts[group] += i64::from(!row.input(*input)?.is_null()),
            Self::Sum { input, scale, sums, counts } => {
                let Some(number) = exact(&row.input(*input)?, *scale) else { return Ok(None) };
                counts[group] += 1;
                return Ok(add_to(&mut sums[group], number));
            }
            Self::Best { input, wanted, by, bests } => {
                let value = row.input(*input)?;
                if is_better(&value, &bests[group], (*wanted, *by)) {
                    *bytes += size(&value);
                    bests[group] = value.into_owned();
                }
            }
        }
        Ok(None)
    }

    /// The same for whole numbers of many rows that are all of the first group.
    fn add_numbers(
        &mut self,
        rows: usize,
        columns: &[WholeNumbers],
        mut spill: impl FnMut(usize, i128),
    ) {
        match self {
            Self::Rows(counts) => counts[0] += count(rows),
            Self::Count(input, counts) => counts[0] += count(columns[*input].count()),
            Self::Sum { input, sums, counts, .. } => {
                let column = &columns[*input];
                counts[0] += count(column.count());
                // What is absent is 0.
                if let Some(spilled) = add_to(&mut sums[0], sum(&column.numbers)) {
                    spill(0, spilled);
                }
            }
            Self::Best { input, wanted, bests, .. } => {
                let best = best(&columns[*input], *wanted);
                if let Some(number) = best.filter(|number| is_best(*number, &bests[0], *wanted)) {
                    bests[0] = Value::Int(number);
                }
            }
        }
    }

    /// The same for rows of several groups.
    fn add_grouped(
        &mut self,
        groups: &[u32],
        columns: &[WholeNumbers],
        mut spill: impl FnMut(usize, i128),
    ) {
        match self {
            Self::Rows(counts) => groups.iter().for_each(|group| counts[*group as usize] += 1),
            Self::Count(input, counts) => {
                each(&columns[*input], groups, |group, _| counts[group] += 1);
            }
            Self::Sum { input, sums, counts, .. } => {
                each(&columns[*input], groups, |group, number| {
                    counts[group] += 1;
                    if let Some(spilled) = add_to(&mut sums[group], number.into()) {
                        spill(group, spilled);
                    }
                });
            }
            Self::Best { input, wanted, bests, .. } => {
                each(&columns[*input], groups, |group, number| {
                    if is_best(number, &bests[group], *wanted) {
                        bests[group] = Value::Int(number);
                    }
                });
            }
        }
    }

    /// What a group has come to.
    fn give(&self, group: usize, sink: &mut dyn Sink) -> Result<Option<i128>, Error> {
        match self {
            Self::Rows(counts) | Self::Count(_, counts) => {
                sink.value(ValueRef::Int(counts[group]))?;
            }
            Self::Sum { scale, sums, counts, .. } => {
                let (sum, more) = fitting(sums[group]);
                let sum = if counts[group] > 0 { decimal(sum, *scale) } else { ValueRef::Null };
                sink.value(sum)?;
                sink.value(ValueRef::Int(counts[group]))?;
                return Ok(more);
            }
            Self::Best { bests, .. } => sink.value(bests[group].as_ref())?,
        }
        Ok(None)
    }

    /// What no rows come to, but for a sum.
    fn give_sum_alone(&self, sum: Option<i128>, sink: &mut dyn Sink) -> Result<(), Error> {
        match self {
            Self::Rows(_) | Self::Count(..) => sink.value(ValueRef::Int(0)),
            Self::Sum { scale, .. } => {
                sink.value(sum.map_or(ValueRef::Null, |sum| decimal(sum, *scale)))?;
                sink.value(ValueRef::Int(0))
            }
            Self::Best { .. } => sink.value(ValueRef::Null),
        }
    }
}

fn count(rows: usize) -> i64 {
    i64::try_from(rows).unwrap_or(i64::MAX)
}

/// Of the rows of one page, so that it fits.
fn sum(numbers: &[i64]) -> i128 {
    numbers.iter().map(|number| i128::from(*number)).sum()
}

/// The least or greatest that is present.
fn best(column: &WholeNumbers, wanted: Ordering) -> Option<i64> {
    // No word of a number's being there in the loop: a processor does several at once.
    let numbers = column.numbers.iter().copied();
    if column.present.is_empty() {
        return if wanted == Ordering::Greater { numbers.max() } else { numbers.min() };
    }
    let there = numbers.zip(&column.present).filter_map(|(number, there)| there.then_some(number));
    if wanted == Ordering::Greater { there.max() } else { there.min() }
}

/// Whether a number is better than the best so far.
fn is_best(number: i64, best: &Value, wanted: Ordering) -> bool {
    match best {
        Value::Int(best) => number.cmp(best) == wanted,
        _ => true,
    }
}

/// Visits the numbers that are present, with their groups.
fn each(column: &WholeNumbers, groups: &[u32], mut visit: impl FnMut(usize, i64)) {
    let numbers = groups.iter().zip(&column.numbers).enumerate();
    for (row, (group, number)) in numbers {
        if column.is_present(row) {
            visit(*group as usize, *number);
        }
    }
}

/// An exact number at a scale; none for what is none.
fn exact(value: &ValueRef<'_>, scale: u8) -> Option<i128> {
    match value {
        ValueRef::Int(number) => Some((*number).into()),
        ValueRef::UInt(number) => Some((*number).into()),
        ValueRef::Decimal(number) if number.scale() == scale => Some(number.unscaled()),
        ValueRef::Decimal(number) => number.rescaled(scale).map(Decimal::unscaled),
        _ => None,
    }
}

/// Adds a number; if that does not fit, the sum begins anew with it, and what it was comes back.
fn add_to(sum: &mut i128, number: i128) -> Option<i128> {
    if let Some(more) = sum.checked_add(number) {
        *sum = more;
        return None;
    }
    Some(std::mem::replace(sum, number))
}

/// A sum as one or two that have no more digits than a decimal has.
const fn fitting(sum: i128) -> (i128, Option<i128>) {
    if sum > -DECIMAL_END && sum < DECIMAL_END {
        return (sum, None);
    }
    let half = sum / 2;
    (half, Some(sum - half))
}

fn decimal(unscaled: i128, scale: u8) -> ValueRef<'static> {
    Decimal::new(unscaled, scale).map_or(ValueRef::Null, ValueRef::Decimal)
}

fn size(value: &ValueRef<'_>) -> usize {
    match value {
        ValueRef::Text(text) => text.len(),
        ValueRef::Bytes(bytes) => bytes.len(),
        _ => 0,
    }
}

/// Whether a value is better than the best; NULL never is.
fn is_better(
    value: &ValueRef<'_>,
    best: &Value,
    (wanted, by): (Ordering, Option<Collation>),
) -> bool {
    if value.is_null() {
        return false;
    }
    let order = match (value, best) {
        (_, Value::Null) => return true,
        (ValueRef::Int(one), Value::Int(other)) => one.cmp(other),
        (ValueRef::UInt(one), Value::UInt(other)) => one.cmp(other),
        (ValueRef::Decimal(one), Value::Decimal(other)) => one.cmp(other),
        (ValueRef::Date(one), Value::Date(other)) => one.cmp(other),
        (ValueRef::Time(one), Value::Time(other)) => one.cmp(other),
        (ValueRef::DateTime(one), Value::DateTime(other)) => one.cmp(other),
        (ValueRef::Bytes(one), Value::Bytes(other)) => one.as_ref().cmp(other),
        (ValueRef::Text(one), Value::Text(other)) => match by {
            Some(collation) => collation.compare(one, other),
            None => one.as_ref().cmp(other),
        },
        // Of a column of one type nothing else comes.
        _ => Ordering::Equal,
    };
    order == wanted
}

/// The groups so far.
#[derive(Debug)]
pub(super) struct Groups {
    by: Vec<usize>,
    made: Vec<Made>,
    /// Packed values of what is the same in a group.
    known: HashMap<Box<[u8]>, u32, foldhash::fast::RandomState>,
    keys: Vec<Packed>,
    /// Sums that did not fit: of a group and a call.
    spilled: Vec<(usize, usize, i128)>,
    bytes: usize,
    /// The key of a row, and the groups of the rows of a block, kept for the next.
    key: Packed,
    of_rows: Vec<u32>,
}

impl Groups {
    /// None yet.
    ///
    /// # Errors
    /// If a call is of what is not there, or cannot be summed.
    pub(super) fn new(
        by: &[u16],
        calls: &[Call],
        inputs: &[Input],
        schema: &TableSchema,
    ) -> Result<Self, Error> {
        let made: Result<Vec<_>, _> =
            calls.iter().map(|call| Made::new(*call, inputs, schema)).collect();
        Ok(Self {
            by: by.iter().map(|at| usize::from(*at)).collect(),
            made: made?,
            known: HashMap::default(),
            keys: Vec::new(),
            spilled: Vec::new(),
            bytes: 0,
            key: Packed::default(),
            of_rows: Vec::new(),
        })
    }

    /// Whether they are to be given away before there are more.
    pub(super) fn is_full(&self) -> bool {
        self.keys.len() >= GROUPS_MAX || self.bytes >= BYTES_MAX
    }

    /// The group of the key that was made.
    fn group(&mut self) -> usize {
        if let Some(known) = self.known.get(self.key.as_bytes()) {
            return *known as usize;
        }
        let group = self.keys.len();
        self.bytes += 2 * self.key.bytes() + 64 * (1 + self.made.len());
        self.known.insert(self.key.as_bytes().into(), u32::try_from(group).unwrap_or(u32::MAX));
        self.keys.push(self.key.clone());
        for made in &mut self.made {
            made.grow(group + 1);
        }
        group
    }

    /// Adds a row.
    ///
    /// # Errors
    /// If it cannot be read.
    pub(super) fn add(&mut self, row: &OfRow<'_>) -> Result<(), Error> {
        self.key.clear();
        for at in &self.by {
            self.key.value(&row.input(*at)?);
        }
        let group = self.group();
        for (call, made) in self.made.iter_mut().enumerate() {
            if let Some(spilled) = made.add(group, row, &mut self.bytes)? {
                self.bytes += 64;
                self.spilled.push((group, call, spilled));
            }
        }
        Ok(())
    }

    /// Adds rows whose inputs are whole numbers.
    pub(super) fn add_block(&mut self, rows: usize, columns: &[WholeNumbers]) {
        self.of_rows.clear();
        if self.by.is_empty() {
            self.key.clear();
            self.group();
        } else {
            for row in 0..rows {
                self.key.clear();
                for at in &self.by {
                    self.key.value(&columns[*at].value(row));
                }
                let group = self.group();
                self.of_rows.push(u32::try_from(group).unwrap_or(u32::MAX));
            }
        }
        for (call, made) in self.made.iter_mut().enumerate() {
            let spilled = &mut self.spilled;
            let bytes = &mut self.bytes;
            let spill = |group, sum| {
                *bytes += 64;
                spilled.push((group, call, sum));
            };
            if self.by.is_empty() {
                made.add_numbers(rows, columns, spill);
            } else {
                made.add_grouped(&self.of_rows, columns, spill);
            }
        }
    }

    /// Gives all groups away.
    ///
    /// # Errors
    /// If they are not taken.
    pub(super) fn give(self, sink: &mut dyn Sink) -> Result<(), Error> {
        let mut alone = self.spilled.clone();
        for group in 0..self.keys.len() {
            self.give_key(group, sink)?;
            for (call, made) in self.made.iter().enumerate() {
                if let Some(more) = made.give(group, sink)? {
                    alone.push((group, call, more));
                }
            }
            sink.end_row();
        }
        for (group, call, sum) in alone {
            let (sum, more) = fitting(sum);
            for sum in [Some(sum), more].into_iter().flatten() {
                self.give_key(group, sink)?;
                for (at, made) in self.made.iter().enumerate() {
                    made.give_sum_alone((at == call).then_some(sum), sink)?;
                }
                sink.end_row();
            }
        }
        Ok(())
    }

    fn give_key(&self, group: usize, sink: &mut dyn Sink) -> Result<(), Error> {
        let mut values = self.keys[group].values();
        for _ in &self.by {
            sink.value(values.value()?)?;
        }
        Ok(())
    }
}
