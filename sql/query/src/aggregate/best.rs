//! MIN and MAX of text, by its collation.

use std::cmp::Ordering;
use std::hash::{Hash, Hasher};

use arrow::array::{ArrayRef, AsArray, StringArray};
use arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::error::Result;
use datafusion::logical_expr::function::AccumulatorArgs;
use datafusion::logical_expr::{Accumulator, AggregateUDFImpl, Signature, Volatility};
use resprout_sql::expression::Collation;

/// `MIN` or `MAX` of text.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Best {
    /// `Less` for MIN, `Greater` for MAX.
    wanted: Ordering,
    collation: Collation,
    signature: Signature,
}

impl Best {
    pub(crate) fn new(wanted: Ordering, collation: Collation) -> Self {
        Self { wanted, collation, signature: Signature::any(1, Volatility::Immutable) }
    }

    pub(crate) const fn wanted(&self) -> Ordering {
        self.wanted
    }

    pub(crate) const fn collation(&self) -> Collation {
        self.collation
    }
}

impl Hash for Best {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.wanted.hash(state);
    }
}

impl AggregateUDFImpl for Best {
    fn name(&self) -> &str {
        match (self.wanted, self.collation) {
            (Ordering::Less, Collation::GeneralCi) => "min",
            (Ordering::Less, _) => "min_bin",
            (_, Collation::GeneralCi) => "max",
            _ => "max_bin",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _types: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn accumulator(&self, _args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(Running { wanted: self.wanted, collation: self.collation, best: None }))
    }
}

#[derive(Debug)]
struct Running {
    wanted: Ordering,
    collation: Collation,
    best: Option<String>,
}

impl Accumulator for Running {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        for array in values {
            let texts: &StringArray = array.as_string();
            for text in texts.iter().flatten() {
                let better = self
                    .best
                    .as_ref()
                    .is_none_or(|best| self.collation.compare(text, best) == self.wanted);
                if better {
                    self.best = Some(text.to_owned());
                }
            }
        }
        Ok(())
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.update_batch(states)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![self.evaluate()?])
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        Ok(ScalarValue::Utf8(self.best.clone()))
    }

    fn size(&self) -> usize {
        size_of::<Self>() + self.best.as_ref().map_or(0, String::capacity)
    }
}
