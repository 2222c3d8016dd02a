//! GROUP_CONCAT.

use std::collections::HashSet;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, StringArray};
use arrow::compute::SortOptions;
use arrow::datatypes::{DataType, Field, FieldRef};
use arrow::row::{RowConverter, SortField};
use datafusion::common::ScalarValue;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{Accumulator, AggregateUDFImpl, Signature, Volatility};
use resprout_sql::expression::Collation;

/// Most bytes of a result (MariaDB's `group_concat_max_len`).
const LENGTH_MAX: usize = 1 << 20;

/// `GROUP_CONCAT`: of a text, and of what it is ordered by.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Concat {
    /// Different for each call of a statement.
    pub(crate) number: usize,
    pub(crate) separator: String,
    pub(crate) distinct: Option<Collation>,
    /// Which of the arguments after the text order downwards.
    pub(crate) descending: Vec<bool>,
    pub(crate) signature: Signature,
}

impl Concat {
    pub(crate) fn new(
        number: usize,
        separator: String,
        distinct: Option<Collation>,
        descending: Vec<bool>,
    ) -> Self {
        let signature = Signature::variadic_any(Volatility::Immutable);
        Self { number, separator, distinct, descending, signature }
    }
}

impl Hash for Concat {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.number.hash(state);
    }
}

impl AggregateUDFImpl for Concat {
    fn name(&self) -> &'static str {
        "group_concat"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _types: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        let name = format!("{}[rows]", args.name);
        Ok(vec![Arc::new(Field::new(name, DataType::Binary, true))])
    }

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        let keys = args.expr_fields.iter().skip(1).zip(&self.descending);
        let fields = keys.map(|(field, descending)| {
            let options = SortOptions { descending: *descending, nulls_first: !descending };
            SortField::new_with_options(field.data_type().clone(), options)
        });
        Ok(Box::new(Running {
            separator: self.separator.clone(),
            distinct: self.distinct,
            keys: RowConverter::new(fields.collect())?,
            rows: Vec::new(),
            bytes: 0,
        }))
    }
}

/// The texts so far, each with the bytes that it is ordered by.
#[derive(Debug)]
struct Running {
    separator: String,
    distinct: Option<Collation>,
    keys: RowConverter,
    rows: Vec<(Box<[u8]>, Box<str>)>,
    bytes: usize,
}

impl Running {
    fn add(&mut self, key: &[u8], text: &str) {
        self.bytes += key.len() + text.len() + size_of::<(Box<[u8]>, Box<str>)>();
        self.rows.push((key.into(), text.into()));
    }
}

fn damaged() -> DataFusionError {
    DataFusionError::Internal("the state of GROUP_CONCAT".into())
}

/// The next of the pieces that a state is made of.
fn piece<'s>(rest: &mut &'s [u8]) -> Option<&'s [u8]> {
    let (length, after) = rest.split_first_chunk()?;
    let length = usize::try_from(u64::from_le_bytes(*length)).ok()?;
    let (piece, after) = after.split_at_checked(length)?;
    *rest = after;
    Some(piece)
}

impl Accumulator for Running {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let Some((texts, keys)) = values.split_first() else { return Err(damaged()) };
        let texts: &StringArray = texts.as_string();
        let keys = match keys {
            [] => None,
            keys => Some(self.keys.convert_columns(keys)?),
        };
        for row in 0..texts.len() {
            if texts.is_null(row) {
                continue;
            }
            match &keys {
                Some(keys) => self.add(keys.row(row).as_ref(), texts.value(row)),
                None => self.add(&[], texts.value(row)),
            }
        }
        Ok(())
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let Some(states) = states.first() else { return Err(damaged()) };
        let states: &BinaryArray = states.as_binary();
        for state in states.iter().flatten() {
            let mut rest = state;
            while !rest.is_empty() {
                let key = piece(&mut rest).ok_or_else(damaged)?;
                let text = piece(&mut rest).ok_or_else(damaged)?;
                self.add(key, std::str::from_utf8(text).map_err(|_| damaged())?);
            }
        }
        Ok(())
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let mut state = Vec::with_capacity(self.bytes);
        for (key, text) in &self.rows {
            for piece in [&**key, text.as_bytes()] {
                state.extend_from_slice(&(piece.len() as u64).to_le_bytes());
                state.extend_from_slice(piece);
            }
        }
        Ok(vec![ScalarValue::Binary(Some(state))])
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        // Rows of one key stay in the order that they came in.
        self.rows.sort_by(|one, other| one.0.cmp(&other.0));
        let (mut seen, mut result) = (HashSet::new(), None::<String>);
        for (_, text) in &self.rows {
            if let Some(collation) = self.distinct {
                let mut identity = Vec::new();
                collation.sort_key(text, &mut identity);
                if !seen.insert(identity) {
                    continue;
                }
            }
            match &mut result {
                None => result = Some(text.to_string()),
                Some(result) => {
                    result.push_str(&self.separator);
                    result.push_str(text);
                }
            }
            if let Some(result) = result.as_mut().filter(|result| result.len() > LENGTH_MAX) {
                let end = (0..=LENGTH_MAX).rev().find(|at| result.is_char_boundary(*at));
                result.truncate(end.unwrap_or(0));
                break;
            }
        }
        Ok(ScalarValue::Utf8(result))
    }

    fn size(&self) -> usize {
        size_of::<Self>() + self.bytes
    }
}
