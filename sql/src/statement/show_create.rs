//! The text of SHOW CREATE TABLE: reads back as the same table.

use std::fmt::Write;

use resprout_engine::table::{Column, ColumnId, ColumnType, TableSchema, Value};

use super::definition::TableDefinition;

/// A name in backticks.
#[must_use]
pub fn quoted_name(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

/// A text in quotes.
#[must_use]
pub fn quoted_text(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('\'');
    for character in text.chars() {
        match character {
            '\'' => quoted.push_str("''"),
            '\\' => quoted.push_str("\\\\"),
            '\0' => quoted.push_str("\\0"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\u{1a}' => quoted.push_str("\\Z"),
            other => quoted.push(other),
        }
    }
    quoted.push('\'');
    quoted
}

fn names(schema: &TableSchema, columns: &[ColumnId]) -> String {
    let names = columns.iter().map(|id| quoted_name(&schema.column(*id).name));
    names.collect::<Vec<_>>().join(",")
}

/// The statement that makes the table. `next_number` is what AUTO_INCREMENT gives next, if that
/// is to be part of it.
#[must_use]
pub fn show_create(table: &TableDefinition, next_number: Option<u64>) -> String {
    let schema = &table.schema;
    let mut lines: Vec<String> = Vec::new();
    for (id, column) in schema.live_columns() {
        lines.push(column_line(column, schema.auto_increment == Some(id)));
    }
    let primary = schema.primary.columns();
    if !primary.is_empty() {
        lines.push(format!("PRIMARY KEY ({})", names(schema, primary)));
    }
    for index in &schema.indexes {
        let unique = if index.unique { "UNIQUE " } else { "" };
        let (name, columns) = (quoted_name(&index.name), names(schema, &index.columns));
        lines.push(format!("{unique}KEY {name} ({columns})"));
    }
    if !table.reference {
        lines.push(format!("SHARD KEY ({})", names(schema, &schema.shard_key)));
    }
    let reference = if table.reference { "REFERENCE " } else { "" };
    let mut text = format!("CREATE ROWSTORE {reference}TABLE {} (\n  ", quoted_name(&schema.name));
    text.push_str(&lines.join(",\n  "));
    text.push_str("\n)");
    if let Some(number) = next_number.filter(|number| *number > 1) {
        let _always_fits = write!(text, " AUTO_INCREMENT={number}");
    }
    text.push_str(" DEFAULT CHARSET=utf8mb4");
    if let Some(comment) = &schema.comment {
        let _always_fits = write!(text, " COMMENT={}", quoted_text(comment));
    }
    text
}

fn column_line(column: &Column, automatic: bool) -> String {
    let mut line = format!("{} {}", quoted_name(&column.name), column.ty);
    if column.nullable {
        // A TIMESTAMP without NULL was once NOT NULL, so MySQL always says it.
        if matches!(column.ty, ColumnType::Timestamp(_)) {
            line.push_str(" NULL");
        }
    } else {
        line.push_str(" NOT NULL");
    }
    let now = match column.ty {
        ColumnType::DateTime(fsp) | ColumnType::Timestamp(fsp) if fsp > 0 => {
            format!("CURRENT_TIMESTAMP({fsp})")
        }
        _ => "CURRENT_TIMESTAMP".to_owned(),
    };
    if column.notes.default_now {
        line.push_str(" DEFAULT ");
        line.push_str(&now);
    } else if let Some(value) = column.default.as_ref().filter(|value| !value.is_null()) {
        line.push_str(" DEFAULT ");
        line.push_str(&literal(value, column.ty));
    } else if column.nullable && !automatic && has_default(column.ty) {
        line.push_str(" DEFAULT NULL");
    }
    if column.notes.on_update_now {
        line.push_str(" ON UPDATE ");
        line.push_str(&now);
    }
    if automatic {
        line.push_str(" AUTO_INCREMENT");
    }
    if let Some(comment) = &column.notes.comment {
        line.push_str(" COMMENT ");
        line.push_str(&quoted_text(comment));
    }
    line
}

/// TEXT, BLOB and JSON have no defaults in MySQL.
fn has_default(ty: ColumnType) -> bool {
    !matches!(ty, ColumnType::Text(_) | ColumnType::Blob(_) | ColumnType::Json)
}

fn literal(value: &Value, ty: ColumnType) -> String {
    match value {
        Value::Bytes(bytes) => {
            let digits = bytes.iter().fold(String::new(), |mut digits, byte| {
                let _always_fits = write!(digits, "{byte:02X}");
                digits
            });
            format!("x'{digits}'")
        }
        other => quoted_text(&ty.show(&other.as_ref()).to_string()),
    }
}
