//! The value of a subquery that must have one row at most.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Field, FieldRef, Int64Type};
use datafusion::common::ScalarValue;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{Accumulator, AggregateUDFImpl, Signature, Volatility};
use resprout_sql::{Code, SqlError};

use crate::error::carried;

/// The value of the only row; NULL if there is none, 1242 if there are more.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct OneRow {
    signature: Signature,
}

impl OneRow {
    pub(crate) fn new() -> Self {
        Self { signature: Signature::any(1, Volatility::Immutable) }
    }
}

impl AggregateUDFImpl for OneRow {
    fn name(&self) -> &'static str {
        "one_row"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        let ty = types.first().cloned();
        ty.ok_or_else(|| DataFusionError::Internal("one_row of nothing".into()))
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        let field = |name: &str, ty| -> FieldRef {
            Arc::new(Field::new(format!("{}[{name}]", args.name), ty, true))
        };
        let value = args.return_field.data_type().clone();
        Ok(vec![field("value", value), field("rows", DataType::Int64)])
    }

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        let value = ScalarValue::try_from(args.return_type())?;
        Ok(Box::new(Running { value, rows: 0 }))
    }
}

#[derive(Debug)]
struct Running {
    value: ScalarValue,
    rows: i64,
}

impl Running {
    fn add(&mut self, rows: i64, value: impl FnOnce() -> Result<ScalarValue>) -> Result<()> {
        if rows == 0 {
            return Ok(());
        }
        self.rows += rows;
        if self.rows > 1 {
            return Err(carried(SqlError::plain(Code::SUBQUERY_NO_1_ROW)));
        }
        self.value = value()?;
        Ok(())
    }
}

impl Accumulator for Running {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        for array in values.iter().take(1) {
            let rows = i64::try_from(array.len()).unwrap_or(i64::MAX);
            self.add(rows, || ScalarValue::try_from_array(array, 0))?;
        }
        Ok(())
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        if let [values, rows] = states {
            let rows = rows.as_primitive::<Int64Type>();
            for row in 0..rows.len() {
                self.add(rows.value(row), || ScalarValue::try_from_array(values, row))?;
            }
        }
        Ok(())
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![self.value.clone(), ScalarValue::Int64(Some(self.rows))])
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        Ok(self.value.clone())
    }

    fn size(&self) -> usize {
        size_of::<Self>() + self.value.size()
    }
}
