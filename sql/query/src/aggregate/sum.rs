//! SUM of exact numbers: exact, and an error where it does not fit.

use std::collections::HashSet;
use std::mem::size_of;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BooleanArray, Decimal128Array, Int64Array,
};
use arrow::datatypes::{DataType, Decimal128Type, Field, FieldRef, Int64Type, UInt64Type};
use datafusion::common::ScalarValue;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{
    Accumulator, AggregateUDFImpl, EmitTo, GroupsAccumulator, Signature, Volatility,
};
use resprout_engine::table::Decimal;
use resprout_sql::{Code, SqlError};

use crate::error::carried;

/// Digits of a sum.
const PRECISION: u8 = 38;

/// `SUM`: of `Int64`, `UInt64` or `Decimal128`.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct Sum {
    signature: Signature,
}

impl Sum {
    pub(crate) fn new() -> Self {
        Self { signature: Signature::any(1, Volatility::Immutable) }
    }
}

fn scale_of(ty: &DataType) -> u8 {
    match ty {
        DataType::Decimal128(_, scale) => scale.cast_unsigned(),
        _ => 0,
    }
}

fn sum_type(scale: u8) -> DataType {
    DataType::Decimal128(PRECISION, scale.cast_signed())
}

fn too_large() -> DataFusionError {
    carried(SqlError::new(Code(1690), "DECIMAL value is out of range in 'sum'"))
}

impl AggregateUDFImpl for Sum {
    fn name(&self) -> &'static str {
        "sum"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        Ok(sum_type(types.first().map_or(0, scale_of)))
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        let field = |name: &str, ty| -> FieldRef {
            Arc::new(Field::new(format!("{}[{name}]", args.name), ty, true))
        };
        Ok(if args.is_distinct {
            vec![field("values", DataType::Binary)]
        } else {
            vec![
                field("sum", args.return_field.data_type().clone()),
                field("count", DataType::Int64),
            ]
        })
    }

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        let scale = scale_of(args.return_type());
        Ok(if args.is_distinct {
            Box::new(DistinctSum { scale, values: HashSet::new() })
        } else {
            Box::new(RunningSum { scale, sum: 0, count: 0 })
        })
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs<'_>) -> bool {
        !args.is_distinct
    }

    fn create_groups_accumulator(
        &self,
        args: AccumulatorArgs<'_>,
    ) -> Result<Box<dyn GroupsAccumulator>> {
        Ok(Box::new(GroupSums {
            scale: scale_of(args.return_type()),
            sums: vec![],
            counts: vec![],
        }))
    }
}

/// Visits the numbers of an array, with their rows.
fn each(array: &dyn Array, mut visit: impl FnMut(usize, i128) -> Result<()>) -> Result<()> {
    macro_rules! visit_all {
        ($array:expr) => {{
            let array = $array;
            if array.null_count() == 0 {
                for (row, number) in array.values().iter().enumerate() {
                    visit(row, i128::from(*number))?;
                }
            } else {
                for (row, number) in array.iter().enumerate() {
                    if let Some(number) = number {
                        visit(row, i128::from(number))?;
                    }
                }
            }
        }};
    }
    match array.data_type() {
        DataType::Int64 => visit_all!(array.as_primitive::<Int64Type>()),
        DataType::UInt64 => visit_all!(array.as_primitive::<UInt64Type>()),
        DataType::Decimal128(..) => visit_all!(array.as_primitive::<Decimal128Type>()),
        other => return Err(DataFusionError::Internal(format!("SUM of {other}"))),
    }
    Ok(())
}

fn scalar(sum: i128, scale: u8, is_some: bool) -> Result<ScalarValue> {
    let sum = if is_some { Some(fitting(sum, scale)?) } else { None };
    Ok(ScalarValue::Decimal128(sum, PRECISION, scale.cast_signed()))
}

fn fitting(sum: i128, scale: u8) -> Result<i128> {
    Decimal::new(sum, scale).map(Decimal::unscaled).ok_or_else(too_large)
}

fn only(arrays: &[ArrayRef]) -> Result<&dyn Array> {
    let array = arrays.first().map(|array| &**array);
    array.ok_or_else(|| DataFusionError::Internal("SUM of nothing".into()))
}

#[derive(Debug)]
struct RunningSum {
    scale: u8,
    sum: i128,
    count: i64,
}

impl RunningSum {
    fn add(&mut self, number: i128) -> Result<()> {
        self.sum = self.sum.checked_add(number).ok_or_else(too_large)?;
        Ok(())
    }
}

impl Accumulator for RunningSum {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        each(only(values)?, |_, number| {
            self.count += 1;
            self.add(number)
        })
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        each(only(values)?, |_, number| {
            self.count -= 1;
            self.sum = self.sum.checked_sub(number).ok_or_else(too_large)?;
            Ok(())
        })
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let (sums, counts) = states_of(states)?;
        for row in 0..sums.len() {
            if !sums.is_null(row) {
                self.add(sums.value(row))?;
                self.count += counts.value(row);
            }
        }
        Ok(())
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let sum = scalar(self.sum, self.scale, self.count > 0)?;
        Ok(vec![sum, ScalarValue::Int64(Some(self.count))])
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        scalar(self.sum, self.scale, self.count > 0)
    }

    fn size(&self) -> usize {
        size_of::<Self>()
    }
}

fn states_of(states: &[ArrayRef]) -> Result<(&Decimal128Array, &Int64Array)> {
    match states {
        [sums, counts] => Ok((sums.as_primitive(), counts.as_primitive())),
        _ => Err(DataFusionError::Internal("the state of SUM has two columns".into())),
    }
}

#[derive(Debug)]
struct DistinctSum {
    scale: u8,
    values: HashSet<i128>,
}

impl Accumulator for DistinctSum {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        each(only(values)?, |_, number| {
            self.values.insert(number);
            Ok(())
        })
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let states: &BinaryArray = only(states)?.as_binary();
        for state in states.iter().flatten() {
            let numbers = state.as_chunks::<{ size_of::<i128>() }>().0;
            self.values.extend(numbers.iter().map(|bytes| i128::from_le_bytes(*bytes)));
        }
        Ok(())
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let bytes = self.values.iter().flat_map(|number| number.to_le_bytes()).collect();
        Ok(vec![ScalarValue::Binary(Some(bytes))])
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let mut sum = RunningSum { scale: self.scale, sum: 0, count: 0 };
        for number in &self.values {
            sum.add(*number)?;
        }
        scalar(sum.sum, self.scale, !self.values.is_empty())
    }

    fn size(&self) -> usize {
        size_of::<Self>() + self.values.capacity() * size_of::<i128>()
    }
}

/// The sums of many groups.
#[derive(Debug)]
struct GroupSums {
    scale: u8,
    sums: Vec<i128>,
    counts: Vec<i64>,
}

impl GroupSums {
    fn grow(&mut self, groups: usize) {
        self.sums.resize(groups, 0);
        self.counts.resize(groups, 0);
    }

    fn take(&mut self, emit_to: EmitTo) -> Result<(Decimal128Array, Int64Array)> {
        let (sums, counts) =
            (emit_to.take_needed(&mut self.sums), emit_to.take_needed(&mut self.counts));
        let mut fitted = Vec::with_capacity(sums.len());
        for (sum, count) in sums.into_iter().zip(&counts) {
            fitted.push(if *count > 0 { Some(fitting(sum, self.scale)?) } else { None });
        }
        let sums = Decimal128Array::from(fitted).with_data_type(sum_type(self.scale));
        Ok((sums, Int64Array::from(counts)))
    }
}

impl GroupsAccumulator for GroupSums {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        total: usize,
    ) -> Result<()> {
        self.grow(total);
        each(only(values)?, |row, number| {
            if filter.is_none_or(|filter| filter.is_valid(row) && filter.value(row)) {
                let group = groups[row];
                self.sums[group] = self.sums[group].checked_add(number).ok_or_else(too_large)?;
                self.counts[group] += 1;
            }
            Ok(())
        })
    }

    fn merge_batch(&mut self, values: &[ArrayRef], groups: &[usize], total: usize) -> Result<()> {
        self.grow(total);
        let (sums, counts) = states_of(values)?;
        for (row, group) in groups.iter().enumerate() {
            if !sums.is_null(row) {
                let sum = self.sums[*group].checked_add(sums.value(row));
                self.sums[*group] = sum.ok_or_else(too_large)?;
                self.counts[*group] += counts.value(row);
            }
        }
        Ok(())
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        Ok(Arc::new(self.take(emit_to)?.0))
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        let (sums, counts) = self.take(emit_to)?;
        Ok(vec![Arc::new(sums), Arc::new(counts)])
    }

    fn convert_to_state(
        &self,
        values: &[ArrayRef],
        filter: Option<&BooleanArray>,
    ) -> Result<Vec<ArrayRef>> {
        let rows = only(values)?.len();
        let groups: Vec<usize> = (0..rows).collect();
        let mut single = Self { scale: self.scale, sums: vec![], counts: vec![] };
        single.update_batch(values, &groups, filter, rows)?;
        single.state(EmitTo::All)
    }

    fn size(&self) -> usize {
        size_of::<Self>()
            + self.sums.capacity() * size_of::<i128>()
            + self.counts.capacity() * size_of::<i64>()
    }
}
