//! Values on their way between clients and the engine, and what clients are told of their types.

use resprout_engine::table::{
    self, ColumnId, ColumnType, IntSize, LobSize, PrimaryKey, TableSchema, ValueRef,
};

use crate::error::SqlError;
use crate::expression::Type;
use crate::protocol::column::{BINARY, Column, ColumnFlags, WireType};
use crate::protocol::resultset::Row;
use crate::protocol::value::{Date, DateTime, Time, Value};

/// A parameter as expressions take it.
///
/// # Errors
/// 1292 for dates and times that there are not.
pub(crate) fn of_parameter(value: &Value<'_>) -> Result<table::Value, SqlError> {
    use table::Value as Own;
    Ok(match value {
        Value::Null => Own::Null,
        Value::Int(number) => Own::Int(*number),
        Value::UInt(number) => Own::UInt(*number),
        Value::Float(number) => Own::Double(f64::from(*number)),
        Value::Double(number) => Own::Double(*number),
        // Drivers send text and bytes alike; what is no text is bytes.
        Value::Bytes(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => Own::Text(text.to_owned()),
            Err(_) => Own::Bytes(bytes.to_vec()),
        },
        Value::Date(date) => Own::Date(day_of(date).ok_or_else(wrong_moment)?),
        Value::DateTime(moment) => {
            let day = day_of(&moment.date).ok_or_else(wrong_moment)?;
            let micros = day.midnight().micros()
                + micros_of(moment.hour.into(), moment.minute, moment.second, moment.microsecond);
            Own::DateTime(table::DateTime::from_micros(micros).ok_or_else(wrong_moment)?)
        }
        Value::Time(time) => {
            let micros = micros_of(time.hours.into(), time.minute, time.second, time.microsecond);
            let micros = if time.negative { -micros } else { micros };
            Own::Time(table::Time::from_micros(micros).ok_or_else(wrong_moment)?)
        }
    })
}

fn wrong_moment() -> SqlError {
    SqlError::new(crate::error::Code(1292), "Incorrect datetime value in a parameter")
}

fn day_of(date: &Date) -> Option<table::Date> {
    table::Date::from_civil(date.year.into(), date.month.into(), date.day.into())
}

fn micros_of(hours: i64, minute: u8, second: u8, microsecond: u32) -> i64 {
    ((hours * 60 + i64::from(minute)) * 60 + i64::from(second)) * 1_000_000 + i64::from(microsecond)
}

#[expect(clippy::cast_possible_truncation, reason = "civil dates fit")]
fn date_to_wire(date: table::Date) -> Date {
    let (year, month, day) = date.civil();
    Date { year: year as u16, month: month as u8, day: day as u8 }
}

#[expect(clippy::cast_possible_truncation, reason = "each part is bounded by division")]
fn time_to_wire(time: table::Time) -> Time {
    let micros = time.micros().unsigned_abs();
    let seconds = micros / 1_000_000;
    Time {
        negative: time.micros() < 0,
        hours: (seconds / 3600) as u32,
        minute: (seconds / 60 % 60) as u8,
        second: (seconds % 60) as u8,
        microsecond: (micros % 1_000_000) as u32,
    }
}

#[expect(clippy::cast_possible_truncation, reason = "hours of a day")]
fn moment_to_wire(moment: table::DateTime) -> DateTime {
    let time = time_to_wire(moment.time());
    DateTime {
        date: date_to_wire(moment.date()),
        hour: time.hours as u8,
        minute: time.minute,
        second: time.second,
        microsecond: time.microsecond,
    }
}

/// Puts a value into a row, as its column on the wire wants it.
pub(crate) fn put(row: &mut Row<'_>, value: &ValueRef<'_>, column: &Column) {
    let text;
    let wire = match value {
        ValueRef::Null => Value::Null,
        ValueRef::Text(text) => Value::Bytes(text.as_bytes()),
        ValueRef::Bytes(bytes) => Value::Bytes(bytes),
        _ if shows_text(column.wire_type) => {
            text = value.to_string();
            Value::from(&*text)
        }
        ValueRef::Int(number) => match column.wire_type {
            WireType::Double => Value::Double(*number as f64),
            _ => Value::Int(*number),
        },
        ValueRef::UInt(number) => match column.wire_type {
            WireType::Double => Value::Double(*number as f64),
            _ => Value::UInt(*number),
        },
        ValueRef::Float(number) => Value::Float(*number),
        ValueRef::Double(number) => Value::Double(*number),
        ValueRef::Decimal(number) => match column.wire_type {
            WireType::Double => Value::Double(number.to_f64()),
            _ => {
                text = number.to_string();
                Value::from(&*text)
            }
        },
        ValueRef::Date(date) => Value::Date(date_to_wire(*date)),
        ValueRef::Time(time) => Value::Time(time_to_wire(*time)),
        ValueRef::DateTime(moment) => Value::DateTime(moment_to_wire(*moment)),
    };
    row.put(&wire);
}

/// Whether values of other types are shown as text in a column of this type.
const fn shows_text(wire_type: WireType) -> bool {
    matches!(
        wire_type,
        WireType::VarString | WireType::String | WireType::Blob | WireType::NewDecimal
    )
}

/// What clients are told of a table's column that is a column of a result.
pub(crate) fn of_column(
    database: &str,
    schema: &TableSchema,
    id: ColumnId,
    alias: Option<&str>,
    name: &str,
) -> Column {
    let own = schema.column(id);
    let mut column = of_type(&own.ty);
    column.name = name.to_owned();
    column.schema = database.to_owned();
    column.table = alias.unwrap_or(&schema.name).to_owned();
    column.org_table.clone_from(&schema.name);
    column.org_name.clone_from(&own.name);
    if !own.nullable {
        column = column.with_flags(ColumnFlags::NOT_NULL);
    }
    if let PrimaryKey::Columns(columns) = &schema.primary
        && columns.contains(&id)
    {
        column = column.with_flags(ColumnFlags::PRIMARY_KEY);
    }
    if schema.auto_increment == Some(id) {
        return column.with_flags(ColumnFlags::AUTO_INCREMENT);
    }
    let leads = |unique| {
        schema.indexes.iter().any(|index| index.unique == unique && index.columns[0] == id)
    };
    if leads(true) {
        column = column.with_flags(ColumnFlags::UNIQUE_KEY);
    } else if leads(false) {
        column = column.with_flags(ColumnFlags::MULTIPLE_KEY);
    }
    if own.default.is_none() && !own.nullable {
        column = column.with_flags(ColumnFlags::NO_DEFAULT);
    }
    column
}

/// A column of a table's type, without a name.
fn of_type(ty: &ColumnType) -> Column {
    let plain = |wire_type| Column::new("", wire_type);
    let sized = |wire_type, length: usize| {
        let mut column = Column::new("", wire_type);
        column.length = u32::try_from(length).unwrap_or(u32::MAX);
        column
    };
    match *ty {
        ColumnType::Int { size, unsigned } => {
            let column = plain(match size {
                IntSize::Tiny => WireType::Tiny,
                IntSize::Small => WireType::Short,
                IntSize::Medium => WireType::Int24,
                IntSize::Int => WireType::Long,
                IntSize::Big => WireType::LongLong,
            });
            if unsigned { column.with_flags(ColumnFlags::UNSIGNED) } else { column }
        }
        ColumnType::Float => plain(WireType::Float),
        ColumnType::Double => plain(WireType::Double),
        ColumnType::Decimal { precision, scale } => {
            let mut column = sized(WireType::NewDecimal, usize::from(precision) + 2);
            column.decimals = scale;
            column
        }
        ColumnType::Char(chars) => sized(WireType::String, usize::from(chars) * 4),
        ColumnType::VarChar(chars) => sized(WireType::VarString, chars as usize * 4),
        ColumnType::Text(size) => {
            let mut column = sized(WireType::Blob, size.bytes());
            column.collation = crate::protocol::handshake::UTF8MB4;
            column.flags = ColumnFlags::BLOB;
            column
        }
        ColumnType::Binary(bytes) => binary(sized(WireType::String, bytes.into())),
        ColumnType::VarBinary(bytes) => binary(sized(WireType::VarString, bytes as usize)),
        ColumnType::Blob(size) => sized(blob(size), size.bytes()).with_flags(ColumnFlags::BLOB),
        ColumnType::Date => plain(WireType::Date),
        ColumnType::Time(fsp) => fractional(plain(WireType::Time), fsp),
        ColumnType::DateTime(fsp) => fractional(plain(WireType::DateTime), fsp),
        ColumnType::Timestamp(fsp) => fractional(plain(WireType::Timestamp), fsp),
        ColumnType::Json => plain(WireType::Json),
    }
}

/// MySQL calls them all BLOB; the length tells them apart.
const fn blob(_size: LobSize) -> WireType {
    WireType::Blob
}

fn binary(mut column: Column) -> Column {
    column.collation = BINARY;
    column.with_flags(ColumnFlags::BINARY)
}

fn fractional(mut column: Column, fsp: u8) -> Column {
    column.decimals = fsp;
    if fsp > 0 {
        column.length += u32::from(fsp) + 1;
    }
    column
}

/// A column of computed values.
pub(crate) fn of_expression(name: &str, ty: Type) -> Column {
    let mut column = match ty {
        Type::Null => Column::new("", WireType::Null),
        Type::Int => Column::new("", WireType::LongLong),
        Type::UInt => Column::new("", WireType::LongLong).with_flags(ColumnFlags::UNSIGNED),
        Type::Decimal { precision, scale } => {
            let mut column = Column::new("", WireType::NewDecimal);
            column.length = u32::from(precision) + 2;
            column.decimals = scale;
            column
        }
        Type::Float | Type::Double => Column::new("", WireType::Double),
        Type::Unknown | Type::Text => Column::new("", WireType::VarString),
        Type::Bytes => binary(Column::new("", WireType::VarString)),
        Type::Date => Column::new("", WireType::Date),
        Type::Time(fsp) => fractional(Column::new("", WireType::Time), fsp),
        Type::DateTime(fsp) => fractional(Column::new("", WireType::DateTime), fsp),
    };
    column.name = name.to_owned();
    column
}
