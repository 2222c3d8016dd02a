//! MySQL's types and values in Arrow's arrays.
//!
//! | MySQL | Arrow |
//! |---|---|
//! | integers | `Int64`, `UInt64` |
//! | DECIMAL(p, s) | `Decimal128(38, s)` |
//! | FLOAT, DOUBLE | `Float32`, `Float64` |
//! | text, JSON; bytes | `Utf8`; `Binary` |
//! | DATE; DATETIME, TIMESTAMP | `Date32`; `Timestamp(µs)` |
//! | TIME | `Int64`: microseconds, for it goes beyond a day and below zero |
//! | NULL | `Int64` |
//!
//! Two values may be compared by Arrow only if their MySQL types are the same.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BinaryBuilder, Date32Array, Date32Builder,
    Decimal128Array, Decimal128Builder, Float32Array, Float32Builder, Float64Array, Float64Builder,
    Int64Array, Int64Builder, PrimitiveArray, StringArray, StringBuilder,
    TimestampMicrosecondArray, TimestampMicrosecondBuilder, UInt64Array, UInt64Builder,
};
use arrow::datatypes::{ArrowPrimitiveType, DataType, TimeUnit};
use datafusion::common::ScalarValue;
use datafusion::error::{DataFusionError, Result};
use resprout_engine::table::{Date, DateTime, Decimal, Time, Value, ValueRef};
use resprout_sql::expression::{Context, Type, adapt};
use resprout_sql::{Code, SqlError};

use crate::error::carried;

/// Digits that every decimal has room for.
const PRECISION: u8 = 38;

/// The array type of a type.
pub(crate) fn data_type(ty: Type) -> DataType {
    match ty {
        Type::Null | Type::Int | Type::Time(_) => DataType::Int64,
        Type::UInt => DataType::UInt64,
        Type::Decimal { scale, .. } => DataType::Decimal128(PRECISION, scale.cast_signed()),
        Type::Float => DataType::Float32,
        Type::Double => DataType::Float64,
        Type::Unknown | Type::Text => DataType::Utf8,
        Type::Bytes => DataType::Binary,
        Type::Date => DataType::Date32,
        Type::DateTime(_) => DataType::Timestamp(TimeUnit::Microsecond, None),
    }
}

/// Reads values of an array.
#[derive(Debug)]
pub(crate) enum Reader<'a> {
    Null,
    Int(&'a Int64Array),
    UInt(&'a UInt64Array),
    Decimal(&'a Decimal128Array, u8),
    Float(&'a Float32Array),
    Double(&'a Float64Array),
    Text(&'a StringArray),
    Bytes(&'a BinaryArray),
    Date(&'a Date32Array),
    Time(&'a Int64Array),
    DateTime(&'a TimestampMicrosecondArray),
}

fn primitive<T: ArrowPrimitiveType>(array: &dyn Array) -> Result<&PrimitiveArray<T>> {
    array.as_primitive_opt::<T>().ok_or_else(|| unexpected(array))
}

fn unexpected(array: &dyn Array) -> DataFusionError {
    DataFusionError::Internal(format!("an array of {} was not expected", array.data_type()))
}

impl<'a> Reader<'a> {
    /// Of an array with values of a type.
    pub(crate) fn new(array: &'a dyn Array, ty: Type) -> Result<Self> {
        Ok(match ty {
            Type::Null => Self::Null,
            _ if array.data_type().is_null() => Self::Null,
            Type::Int => Self::Int(primitive(array)?),
            Type::UInt => Self::UInt(primitive(array)?),
            Type::Decimal { scale, .. } => Self::Decimal(primitive(array)?, scale),
            Type::Float => Self::Float(primitive(array)?),
            Type::Double => Self::Double(primitive(array)?),
            Type::Unknown | Type::Text => {
                Self::Text(array.as_string_opt().ok_or_else(|| unexpected(array))?)
            }
            Type::Bytes => Self::Bytes(array.as_binary_opt().ok_or_else(|| unexpected(array))?),
            Type::Date => Self::Date(primitive(array)?),
            Type::Time(_) => Self::Time(primitive(array)?),
            Type::DateTime(_) => Self::DateTime(primitive(array)?),
        })
    }

    /// The value of a row.
    pub(crate) fn get(&self, row: usize) -> ValueRef<'a> {
        fn some<A: Array, T>(
            array: &A,
            row: usize,
            value: impl FnOnce() -> Option<T>,
        ) -> Option<T> {
            if array.is_null(row) { None } else { value() }
        }
        let value = match self {
            Self::Null => None,
            Self::Int(array) => some(array, row, || Some(ValueRef::Int(array.value(row)))),
            Self::UInt(array) => some(array, row, || Some(ValueRef::UInt(array.value(row)))),
            Self::Decimal(array, scale) => {
                some(array, row, || Decimal::new(array.value(row), *scale).map(ValueRef::Decimal))
            }
            Self::Float(array) => some(array, row, || Some(ValueRef::Float(array.value(row)))),
            Self::Double(array) => some(array, row, || Some(ValueRef::Double(array.value(row)))),
            Self::Text(array) => {
                some(*array, row, || Some(ValueRef::Text(array.value(row).into())))
            }
            Self::Bytes(array) => {
                some(*array, row, || Some(ValueRef::Bytes(array.value(row).into())))
            }
            Self::Date(array) => {
                some(array, row, || Date::from_days(array.value(row)).map(ValueRef::Date))
            }
            Self::Time(array) => {
                some(array, row, || Time::from_micros(array.value(row)).map(ValueRef::Time))
            }
            Self::DateTime(array) => {
                some(array, row, || DateTime::from_micros(array.value(row)).map(ValueRef::DateTime))
            }
        };
        value.unwrap_or(ValueRef::Null)
    }
}

/// Makes an array of values.
#[derive(Debug)]
pub(crate) struct Writer {
    ty: Type,
    builder: Builder,
}

#[derive(Debug)]
enum Builder {
    Int(Int64Builder),
    UInt(UInt64Builder),
    Decimal(Decimal128Builder, u8),
    Float(Float32Builder),
    Double(Float64Builder),
    Text(StringBuilder),
    Bytes(BinaryBuilder),
    Date(Date32Builder),
    DateTime(TimestampMicrosecondBuilder),
}

/// Bytes that are expected of a text.
const TEXT_BYTES: usize = 16;

impl Writer {
    /// For so many values of a type.
    pub(crate) fn new(ty: Type, rows: usize) -> Self {
        let builder = match ty {
            Type::Null | Type::Int | Type::Time(_) => {
                Builder::Int(Int64Builder::with_capacity(rows))
            }
            Type::UInt => Builder::UInt(UInt64Builder::with_capacity(rows)),
            Type::Decimal { scale, .. } => {
                let builder = Decimal128Builder::with_capacity(rows);
                Builder::Decimal(builder.with_data_type(data_type(ty)), scale)
            }
            Type::Float => Builder::Float(Float32Builder::with_capacity(rows)),
            Type::Double => Builder::Double(Float64Builder::with_capacity(rows)),
            Type::Unknown | Type::Text => {
                Builder::Text(StringBuilder::with_capacity(rows, rows * TEXT_BYTES))
            }
            Type::Bytes => Builder::Bytes(BinaryBuilder::with_capacity(rows, rows * TEXT_BYTES)),
            Type::Date => Builder::Date(Date32Builder::with_capacity(rows)),
            Type::DateTime(_) => {
                Builder::DateTime(TimestampMicrosecondBuilder::with_capacity(rows))
            }
        };
        Self { ty, builder }
    }

    /// Adds a value that has the type.
    ///
    /// Gives the value back if it has another.
    #[inline]
    fn add<'v>(&mut self, value: ValueRef<'v>) -> std::result::Result<(), ValueRef<'v>> {
        match (&mut self.builder, value) {
            (_, ValueRef::Null) => self.null(),
            (Builder::Int(builder), ValueRef::Int(number)) => builder.append_value(number),
            (Builder::Int(builder), ValueRef::Time(time)) => builder.append_value(time.micros()),
            (Builder::UInt(builder), ValueRef::UInt(number)) => builder.append_value(number),
            (Builder::Decimal(builder, scale), ValueRef::Decimal(number)) => {
                let fitting =
                    if number.scale() == *scale { Some(number) } else { number.rescaled(*scale) };
                match fitting {
                    Some(number) => builder.append_value(number.unscaled()),
                    None => return Err(ValueRef::Decimal(number)),
                }
            }
            (Builder::Float(builder), ValueRef::Float(number)) => builder.append_value(number),
            (Builder::Double(builder), ValueRef::Double(number)) => builder.append_value(number),
            (Builder::Text(builder), ValueRef::Text(text)) => builder.append_value(text),
            (Builder::Bytes(builder), ValueRef::Bytes(bytes)) => builder.append_value(bytes),
            (Builder::Date(builder), ValueRef::Date(date)) => builder.append_value(date.days()),
            (Builder::DateTime(builder), ValueRef::DateTime(moment)) => {
                builder.append_value(moment.micros());
            }
            (_, value) => return Err(value),
        }
        Ok(())
    }

    fn null(&mut self) {
        match &mut self.builder {
            Builder::Int(builder) => builder.append_null(),
            Builder::UInt(builder) => builder.append_null(),
            Builder::Decimal(builder, _) => builder.append_null(),
            Builder::Float(builder) => builder.append_null(),
            Builder::Double(builder) => builder.append_null(),
            Builder::Text(builder) => builder.append_null(),
            Builder::Bytes(builder) => builder.append_null(),
            Builder::Date(builder) => builder.append_null(),
            Builder::DateTime(builder) => builder.append_null(),
        }
    }

    /// Adds a value as it is stored: one of another type is a fault of ours.
    #[inline]
    pub(crate) fn put(&mut self, value: ValueRef<'_>) -> Result<()> {
        self.add(value).map_err(|value| {
            DataFusionError::Internal(format!("the value {value} is none of {:?}", self.ty))
        })
    }

    /// Adds whole numbers, of which those that are not present are NULL; all are if nothing is said.
    /// False if the type is another.
    pub(crate) fn put_whole_numbers(&mut self, numbers: &[i64], present: &[bool]) -> bool {
        let Builder::Int(builder) = &mut self.builder else { return false };
        if present.is_empty() {
            builder.append_slice(numbers);
        } else {
            builder.append_values(numbers, present);
        }
        true
    }

    /// Adds a value, in this type if it has another.
    #[inline]
    pub(crate) fn put_converted(
        &mut self,
        value: ValueRef<'_>,
        context: &Context<'_>,
    ) -> Result<()> {
        let Err(value) = self.add(value) else { return Ok(()) };
        let adapted = adapt(value, self.ty, context).map_err(carried)?;
        let Err(value) = self.add(adapted) else { return Ok(()) };
        let Some(value) = converted(&value, self.ty) else {
            let text = format!("{} value is out of range in '{value}'", name_of(self.ty));
            return Err(carried(SqlError::new(Code(1690), text)));
        };
        self.put(value.as_ref())
    }

    /// The array.
    pub(crate) fn finish(self) -> ArrayRef {
        match self.builder {
            Builder::Int(mut builder) => Arc::new(builder.finish()),
            Builder::UInt(mut builder) => Arc::new(builder.finish()),
            Builder::Decimal(mut builder, _) => Arc::new(builder.finish()),
            Builder::Float(mut builder) => Arc::new(builder.finish()),
            Builder::Double(mut builder) => Arc::new(builder.finish()),
            Builder::Text(mut builder) => Arc::new(builder.finish()),
            Builder::Bytes(mut builder) => Arc::new(builder.finish()),
            Builder::Date(mut builder) => Arc::new(builder.finish()),
            Builder::DateTime(mut builder) => Arc::new(builder.finish()),
        }
    }
}

/// What expressions leave in the neighbouring type; none if it does not fit.
fn converted(value: &ValueRef<'_>, ty: Type) -> Option<Value> {
    Some(match (ty, value) {
        (Type::Int, ValueRef::UInt(number)) => Value::Int(i64::try_from(*number).ok()?),
        (Type::Int, ValueRef::Decimal(number)) => {
            Value::Int(i64::try_from(number.rescaled(0)?.unscaled()).ok()?)
        }
        (Type::UInt, ValueRef::Int(number)) => Value::UInt(u64::try_from(*number).ok()?),
        (Type::UInt, ValueRef::Decimal(number)) => {
            Value::UInt(u64::try_from(number.rescaled(0)?.unscaled()).ok()?)
        }
        (Type::Decimal { scale, .. }, ValueRef::Int(number)) => {
            Value::Decimal(Decimal::new((*number).into(), 0)?.rescaled(scale)?)
        }
        (Type::Decimal { scale, .. }, ValueRef::UInt(number)) => {
            Value::Decimal(Decimal::new((*number).into(), 0)?.rescaled(scale)?)
        }
        (Type::Decimal { scale, .. }, ValueRef::Double(number)) => {
            Value::Decimal(Decimal::from_f64(*number)?.rescaled(scale)?)
        }
        #[expect(clippy::cast_possible_truncation, reason = "FLOAT holds what of it fits")]
        (Type::Float, ValueRef::Double(number)) => Value::Float(*number as f32),
        (Type::Date, ValueRef::DateTime(moment)) => Value::Date(moment.date()),
        (Type::Time(_), ValueRef::DateTime(moment)) => Value::Time(moment.time()),
        (Type::Unknown | Type::Text, value) => Value::Text(value.to_string()),
        _ => return None,
    })
}

const fn name_of(ty: Type) -> &'static str {
    match ty {
        Type::UInt => "BIGINT UNSIGNED",
        Type::Decimal { .. } => "DECIMAL",
        Type::Float | Type::Double => "DOUBLE",
        _ => "BIGINT",
    }
}

/// A value as a constant of a type.
pub(crate) fn scalar(value: &Value, ty: Type, context: &Context<'_>) -> Result<ScalarValue> {
    let mut writer = Writer::new(ty, 1);
    writer.put_converted(value.as_ref(), context)?;
    ScalarValue::try_from_array(&writer.finish(), 0)
}

/// The value of a constant of a type.
pub(crate) fn of_scalar(scalar: &ScalarValue, ty: Type) -> Result<Value> {
    let array = scalar.to_array()?;
    Ok(Reader::new(&*array, ty)?.get(0).into_owned())
}
