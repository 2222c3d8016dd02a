//! Scalar functions: an expression of MySQL's meaning is one function of its columns.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BinaryBuilder, BooleanBuilder, StringArray};
use arrow::datatypes::DataType;
use arrow::row::{RowConverter, SortField};
use datafusion::common::ScalarValue;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use resprout_engine::table::{ColumnId, ValueRef};
use resprout_sql::expression::{self, Collation, Compiled, Row, Type};
use resprout_sql::planned::Moment;
use resprout_sql::pushdown::Step;

use crate::error::carried;
use crate::values::{Reader, Writer, data_type};

/// An expression as a function of what is given to it.
#[derive(Debug)]
pub(crate) struct Computed {
    /// How the expression was written.
    pub(crate) text: String,
    /// Different for each expression of a statement.
    pub(crate) number: usize,
    pub(crate) compiled: Compiled,
    /// Types of the arguments.
    pub(crate) given: Vec<Type>,
    /// By number of a given column: which argument has it.
    pub(crate) argument: Vec<usize>,
    pub(crate) ty: Type,
    /// Whether its truth is asked for: BOOLEAN, else a value.
    pub(crate) condition: bool,
    /// The same for rows that are elsewhere, if it is simple enough: inputs are the arguments.
    pub(crate) steps: Option<Vec<Step>>,
    pub(crate) moment: Arc<Moment>,
    pub(crate) signature: Signature,
}

/// A signature that takes what it is given.
pub(crate) fn any(volatility: Volatility) -> Signature {
    Signature::variadic_any(volatility)
}

impl PartialEq for Computed {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl Eq for Computed {}

impl Hash for Computed {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.number.hash(state);
    }
}

/// The arguments of a call, as a row that moves.
struct Arguments<'a> {
    readers: Vec<(Reader<'a>, bool)>,
    argument: &'a [usize],
    row: usize,
}

impl Row for Arguments<'_> {
    fn column(&self, column: ColumnId) -> Result<ValueRef<'_>, expression::Error> {
        let at = self.argument.get(column.position());
        let reader = at.and_then(|at| self.readers.get(*at));
        let missing = || expression::Error::Row(format!("there is no argument {column}"));
        let (reader, constant) = reader.ok_or_else(missing)?;
        Ok(reader.get(if *constant { 0 } else { self.row }))
    }
}

impl ScalarUDFImpl for Computed {
    fn name(&self) -> &str {
        &self.text
    }

    fn display_name(&self, _args: &[Expr]) -> Result<String> {
        Ok(self.text.clone())
    }

    fn schema_name(&self, _args: &[Expr]) -> Result<String> {
        Ok(format!("{}#{}", self.text, self.number))
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _types: &[DataType]) -> Result<DataType> {
        Ok(if self.condition { DataType::Boolean } else { data_type(self.ty) })
    }

    fn invoke_with_args(&self, call: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let mut arrays = Vec::with_capacity(call.args.len());
        for argument in call.args {
            arrays.push(match argument {
                ColumnarValue::Array(array) => (array, false),
                ColumnarValue::Scalar(scalar) => (scalar.to_array()?, true),
            });
        }
        let volatile = self.signature.volatility == Volatility::Volatile;
        let constant = !volatile && arrays.iter().all(|(_, constant)| *constant);
        let rows = if constant { 1 } else { call.number_rows };
        let mut readers = Vec::with_capacity(arrays.len());
        for ((array, constant), ty) in arrays.iter().zip(&self.given) {
            readers.push((Reader::new(&**array, *ty)?, *constant));
        }
        let arguments = Arguments { readers, argument: &self.argument, row: 0 };
        let array = self.compute(arguments, rows)?;
        Ok(if constant {
            ColumnarValue::Scalar(ScalarValue::try_from_array(&array, 0)?)
        } else {
            ColumnarValue::Array(array)
        })
    }
}

impl Computed {
    fn compute(&self, mut arguments: Arguments<'_>, rows: usize) -> Result<ArrayRef> {
        let context = self.moment.context();
        if self.condition {
            let mut truths = BooleanBuilder::with_capacity(rows);
            for row in 0..rows {
                arguments.row = row;
                truths.append_option(self.compiled.truth(&arguments, &context).map_err(carried)?);
            }
            return Ok(Arc::new(truths.finish()));
        }
        let mut writer = Writer::new(self.ty, rows);
        for row in 0..rows {
            arguments.row = row;
            let value = self.compiled.evaluate_ref(&arguments, &context).map_err(carried)?;
            writer.put_converted(value, &context)?;
        }
        Ok(writer.finish())
    }
}

/// The value in another type: a side of UNION, a part that others compare with.
#[derive(Debug)]
pub(crate) struct Convert {
    pub(crate) from: Type,
    pub(crate) to: Type,
    pub(crate) moment: Arc<Moment>,
    pub(crate) signature: Signature,
}

impl PartialEq for Convert {
    fn eq(&self, other: &Self) -> bool {
        (self.from, self.to) == (other.from, other.to)
    }
}

impl Eq for Convert {}

impl Hash for Convert {
    fn hash<H: Hasher>(&self, state: &mut H) {
        format!("{:?}{:?}", self.from, self.to).hash(state);
    }
}

impl ScalarUDFImpl for Convert {
    fn name(&self) -> &'static str {
        "convert"
    }

    fn schema_name(&self, args: &[Expr]) -> Result<String> {
        let of = args.first().map(ToString::to_string).unwrap_or_default();
        Ok(format!("convert({of}: {:?} to {:?})", self.from, self.to))
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _types: &[DataType]) -> Result<DataType> {
        Ok(data_type(self.to))
    }

    fn invoke_with_args(&self, call: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let context = self.moment.context();
        unary(&call, |array| {
            let reader = Reader::new(array, self.from)?;
            let mut writer = Writer::new(self.to, array.len());
            for row in 0..array.len() {
                writer.put_converted(reader.get(row), &context)?;
            }
            Ok(writer.finish())
        })
    }
}

/// A function of one argument.
fn unary(
    call: &ScalarFunctionArgs,
    of: impl FnOnce(&dyn Array) -> Result<ArrayRef>,
) -> Result<ColumnarValue> {
    match call.args.first() {
        Some(ColumnarValue::Array(array)) => Ok(ColumnarValue::Array(of(&**array)?)),
        Some(ColumnarValue::Scalar(scalar)) => {
            let array = of(&*scalar.to_array()?)?;
            Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&array, 0)?))
        }
        None => Err(DataFusionError::Internal("a function without its argument".into())),
    }
}

/// Bytes by which text compares, groups and sorts.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Key {
    pub(crate) collation: Collation,
    /// As text that is ordered as the bytes are, where bytes are not taken.
    pub(crate) as_text: bool,
    pub(crate) signature: Signature,
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        format!("{:?}", self.collation).hash(state);
    }
}

impl ScalarUDFImpl for Key {
    fn name(&self) -> &str {
        match (self.collation, self.as_text) {
            (Collation::GeneralCi, false) => "key",
            (Collation::Bin, false) => "key_bin",
            (Collation::Binary, false) => "key_binary",
            (Collation::GeneralCi, true) => "key_text",
            (Collation::Bin, true) => "key_text_bin",
            (Collation::Binary, true) => "key_text_binary",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _types: &[DataType]) -> Result<DataType> {
        Ok(if self.as_text { DataType::Utf8 } else { DataType::Binary })
    }

    fn invoke_with_args(&self, call: ScalarFunctionArgs) -> Result<ColumnarValue> {
        unary(&call, |array| {
            if self.as_text {
                return self.texts(array);
            }
            let texts: &StringArray = array
                .as_string_opt()
                .ok_or_else(|| DataFusionError::Internal("a key of what is no text".into()))?;
            let bytes = texts.value_data().len();
            let mut keys = BinaryBuilder::with_capacity(texts.len(), 2 * (bytes + texts.len()));
            let mut key = Vec::new();
            for text in texts {
                match text {
                    Some(text) => {
                        key.clear();
                        self.collation.sort_key(text, &mut key);
                        keys.append_value(&key);
                    }
                    None => keys.append_null(),
                }
            }
            Ok(Arc::new(keys.finish()))
        })
    }
}

impl Key {
    /// Keys of texts or bytes, in hexadecimal digits.
    fn texts(&self, array: &dyn Array) -> Result<ArrayRef> {
        let ty = if array.data_type() == &DataType::Binary { Type::Bytes } else { Type::Text };
        let reader = Reader::new(array, ty)?;
        let mut writer = Writer::new(Type::Text, array.len());
        let (mut key, mut digits) = (Vec::new(), String::new());
        for row in 0..array.len() {
            key.clear();
            match reader.get(row) {
                ValueRef::Text(text) => self.collation.sort_key(&text, &mut key),
                ValueRef::Bytes(bytes) => key.extend_from_slice(&bytes),
                _ => {
                    writer.put(ValueRef::Null)?;
                    continue;
                }
            }
            digits.clear();
            for byte in &key {
                for half in [byte >> 4, byte & 0xF] {
                    digits.extend(char::from_digit(half.into(), 16));
                }
            }
            writer.put(ValueRef::Text(digits.as_str().into()))?;
        }
        Ok(writer.finish())
    }
}

/// Several values as bytes that are equal if they all are; NULL if one is, as COUNT(DISTINCT a, b)
/// counts.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct Together(pub(crate) Signature);

impl ScalarUDFImpl for Together {
    fn name(&self) -> &'static str {
        "together"
    }

    fn signature(&self) -> &Signature {
        &self.0
    }

    fn return_type(&self, _types: &[DataType]) -> Result<DataType> {
        Ok(DataType::Binary)
    }

    fn invoke_with_args(&self, call: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let arrays = call.args.iter().map(|argument| argument.to_array(call.number_rows));
        let arrays = arrays.collect::<Result<Vec<_>>>()?;
        let fields = arrays.iter().map(|array| SortField::new(array.data_type().clone()));
        let rows = RowConverter::new(fields.collect())?.convert_columns(&arrays)?;
        let mut together = BinaryBuilder::new();
        for (number, row) in rows.iter().enumerate() {
            if arrays.iter().any(|array| array.is_null(number)) {
                together.append_null();
            } else {
                together.append_value(row.as_ref());
            }
        }
        Ok(ColumnarValue::Array(Arc::new(together.finish())))
    }
}

/// A call of one of these.
pub(crate) fn call(function: impl ScalarUDFImpl + 'static, arguments: Vec<Expr>) -> Expr {
    Arc::new(ScalarUDF::new_from_impl(function)).call(arguments)
}

/// The key of a text: see [`Key`].
pub(crate) fn key(text: Expr, collation: Collation) -> Expr {
    call(Key { collation, as_text: false, signature: any(Volatility::Immutable) }, vec![text])
}

/// The key of a text, or bytes, as text.
pub(crate) fn key_text(of: Expr, collation: Collation) -> Expr {
    call(Key { collation, as_text: true, signature: any(Volatility::Immutable) }, vec![of])
}

/// A value in another type: see [`Convert`].
pub(crate) fn convert(value: Expr, from: Type, to: Type, moment: &Arc<Moment>) -> Expr {
    if from == to {
        return value;
    }
    let signature = any(Volatility::Immutable);
    call(Convert { from, to, moment: Arc::clone(moment), signature }, vec![value])
}

/// Several values as one: see [`Together`].
pub(crate) fn together(values: Vec<Expr>) -> Expr {
    call(Together(any(Volatility::Immutable)), values)
}
