//! Views of databases, tables, columns and indexes.

use std::sync::Arc;

use resprout_engine::table::{Column, ColumnId, ColumnType, LobSize, Table, TableSchema, Value};

use super::{INFORMATION_SCHEMA, View, Views, empty, number, text, yes_or_no};
use crate::error::SqlError;
use crate::execute::show::{default_of, extra, key_of};

const NAME: &str = "varchar(64)";
const WORD: &str = "varchar(64)";
const COUNT: &str = "bigint unsigned";

pub(super) const SCHEMATA: View = View {
    name: "SCHEMATA",
    columns: &[
        ("CATALOG_NAME", "varchar(512)"),
        ("SCHEMA_NAME", NAME),
        ("DEFAULT_CHARACTER_SET_NAME", WORD),
        ("DEFAULT_COLLATION_NAME", WORD),
        ("SQL_PATH", "varchar(512)"),
    ],
    rows: |views| {
        let databases = views.databases.databases();
        let seen = databases.iter().map(|database| database.name());
        let seen = seen.filter(|name| views.access.sees_database(name));
        let row = |name: &str| {
            let collation = "utf8mb4_general_ci";
            vec![text("def"), text(name), text("utf8mb4"), text(collation), Value::Null]
        };
        Ok(std::iter::once(INFORMATION_SCHEMA).chain(seen).map(row).collect())
    },
};

pub(super) const TABLES: View = View {
    name: "TABLES",
    columns: &[
        ("TABLE_CATALOG", "varchar(512)"),
        ("TABLE_SCHEMA", NAME),
        ("TABLE_NAME", NAME),
        ("TABLE_TYPE", WORD),
        ("ENGINE", WORD),
        ("VERSION", COUNT),
        ("ROW_FORMAT", WORD),
        ("TABLE_ROWS", COUNT),
        ("AVG_ROW_LENGTH", COUNT),
        ("DATA_LENGTH", COUNT),
        ("MAX_DATA_LENGTH", COUNT),
        ("INDEX_LENGTH", COUNT),
        ("DATA_FREE", COUNT),
        ("AUTO_INCREMENT", COUNT),
        ("CREATE_TIME", "datetime"),
        ("UPDATE_TIME", "datetime"),
        ("CHECK_TIME", "datetime"),
        ("TABLE_COLLATION", WORD),
        ("CHECKSUM", COUNT),
        ("CREATE_OPTIONS", "varchar(255)"),
        ("TABLE_COMMENT", "varchar(2048)"),
    ],
    rows: |views| {
        let mut rows = Vec::new();
        each_table(views, |database, table| {
            let start = ["def", database, table.name(), "BASE TABLE", "Resprout"];
            let mut row: Vec<Value> = start.into_iter().map(text).collect();
            // What would have to be counted, or is not kept, is NULL.
            row.extend([number(1), text("Dynamic")]);
            row.extend(std::iter::repeat_n(Value::Null, 10));
            row.extend([text("utf8mb4_general_ci"), Value::Null, text("")]);
            row.push(text(table.schema().comment.as_deref().unwrap_or_default()));
            rows.push(row);
        })?;
        for name in super::names() {
            let start = ["def", INFORMATION_SCHEMA, name, "SYSTEM VIEW", "MEMORY"];
            let mut row: Vec<Value> = start.into_iter().map(text).collect();
            row.extend(std::iter::repeat_n(Value::Null, 12));
            row.extend([text("utf8mb4_general_ci"), Value::Null, text(""), text("")]);
            rows.push(row);
        }
        Ok(rows)
    },
};

pub(super) const COLUMNS: View = View {
    name: "COLUMNS",
    columns: &[
        ("TABLE_CATALOG", "varchar(512)"),
        ("TABLE_SCHEMA", NAME),
        ("TABLE_NAME", NAME),
        ("COLUMN_NAME", NAME),
        ("ORDINAL_POSITION", COUNT),
        ("COLUMN_DEFAULT", "longtext"),
        ("IS_NULLABLE", WORD),
        ("DATA_TYPE", WORD),
        ("CHARACTER_MAXIMUM_LENGTH", COUNT),
        ("CHARACTER_OCTET_LENGTH", COUNT),
        ("NUMERIC_PRECISION", COUNT),
        ("NUMERIC_SCALE", COUNT),
        ("DATETIME_PRECISION", COUNT),
        ("CHARACTER_SET_NAME", WORD),
        ("COLLATION_NAME", WORD),
        ("COLUMN_TYPE", "longtext"),
        ("COLUMN_KEY", WORD),
        ("EXTRA", WORD),
        ("PRIVILEGES", "varchar(80)"),
        ("COLUMN_COMMENT", "varchar(1024)"),
        ("GENERATION_EXPRESSION", "longtext"),
    ],
    rows: |views| {
        let mut rows = Vec::new();
        each_table(views, |database, table| {
            let schema = table.schema();
            for (place, (id, column)) in (1..).zip(schema.live_columns()) {
                rows.push(column_row(database, schema, (place, id), column));
            }
        })?;
        Ok(rows)
    },
};

fn column_row(
    database: &str,
    schema: &TableSchema,
    (place, id): (u64, ColumnId),
    column: &Column,
) -> Vec<Value> {
    let spelled = column.ty.to_string();
    let word = spelled.split(['(', ' ']).next().unwrap_or_default().to_owned();
    let start = ["def", database, &schema.name, &column.name];
    let mut row: Vec<Value> = start.into_iter().map(text).collect();
    row.extend([number(place), default_of(column), yes_or_no(column.nullable), text(word)]);
    row.extend(measures(&column.ty));
    let is_text = column.ty.is_text();
    row.push(if is_text { text("utf8mb4") } else { Value::Null });
    row.push(if is_text { text("utf8mb4_general_ci") } else { Value::Null });
    row.extend([text(spelled), text(key_of(schema, id)), extra(schema, id)]);
    let comment = column.notes.comment.as_deref().unwrap_or_default();
    row.extend([text("select,insert,update,references"), text(comment), text("")]);
    row
}

/// Characters, bytes, digits, digits after the point, digits of a second: what a type has of them.
fn measures(ty: &ColumnType) -> [Value; 5] {
    let mut measures = [const { Value::Null }; 5];
    let lob = |size: &LobSize| (1_u64 << (8 * size.bytes())) - 1;
    let (characters, bytes) = match ty {
        ColumnType::Char(length) => (u64::from(*length), u64::from(*length) * 4),
        ColumnType::VarChar(length) => (u64::from(*length), u64::from(*length) * 4),
        ColumnType::Binary(length) => (u64::from(*length), u64::from(*length)),
        ColumnType::VarBinary(length) => (u64::from(*length), u64::from(*length)),
        ColumnType::Text(size) | ColumnType::Blob(size) => (lob(size), lob(size)),
        ColumnType::Json => (4_294_967_295, 4_294_967_295),
        _ => (0, 0),
    };
    if characters > 0 {
        measures[0] = number(characters);
        measures[1] = number(bytes);
    }
    let (precision, scale) = match ty {
        ColumnType::Int { size, unsigned } => (Some(digits(size.bytes(), *unsigned)), Some(0)),
        ColumnType::Decimal { precision, scale } => {
            (Some(u64::from(*precision)), Some(u64::from(*scale)))
        }
        ColumnType::Float => (Some(12), None),
        ColumnType::Double => (Some(22), None),
        _ => (None, None),
    };
    measures[2] = precision.map_or(Value::Null, number);
    measures[3] = scale.map_or(Value::Null, number);
    if let ColumnType::Time(digits) | ColumnType::DateTime(digits) | ColumnType::Timestamp(digits) =
        ty
    {
        measures[4] = number(u64::from(*digits));
    }
    measures
}

/// Digits of the largest number of an integer type.
const fn digits(bytes: usize, unsigned: bool) -> u64 {
    match (bytes, unsigned) {
        (1, _) => 3,
        (2, _) => 5,
        (3, false) => 7,
        (3, true) => 8,
        (4, _) => 10,
        (_, false) => 19,
        (_, true) => 20,
    }
}

pub(super) const STATISTICS: View = View {
    name: "STATISTICS",
    columns: &[
        ("TABLE_CATALOG", "varchar(512)"),
        ("TABLE_SCHEMA", NAME),
        ("TABLE_NAME", NAME),
        ("NON_UNIQUE", COUNT),
        ("INDEX_SCHEMA", NAME),
        ("INDEX_NAME", NAME),
        ("SEQ_IN_INDEX", COUNT),
        ("COLUMN_NAME", NAME),
        ("COLLATION", "varchar(1)"),
        ("CARDINALITY", COUNT),
        ("SUB_PART", COUNT),
        ("PACKED", WORD),
        ("NULLABLE", "varchar(3)"),
        ("INDEX_TYPE", WORD),
        ("COMMENT", WORD),
        ("INDEX_COMMENT", "varchar(1024)"),
    ],
    rows: |views| {
        let mut rows = Vec::new();
        each_key(views, |database, schema, key| {
            for (place, id) in (1..).zip(key.columns) {
                let column = schema.column(*id);
                let nullable = text(if column.nullable { "YES" } else { "" });
                rows.push(vec![
                    text("def"),
                    text(database),
                    text(&*schema.name),
                    number(u64::from(!key.unique)),
                    text(database),
                    text(key.name),
                    number(place),
                    text(&*column.name),
                    text("A"),
                    Value::Null,
                    Value::Null,
                    Value::Null,
                    nullable,
                    text("BTREE"),
                    text(""),
                    text(""),
                ]);
            }
        })?;
        Ok(rows)
    },
};

pub(super) const KEY_COLUMN_USAGE: View = View {
    name: "KEY_COLUMN_USAGE",
    columns: &[
        ("CONSTRAINT_CATALOG", "varchar(512)"),
        ("CONSTRAINT_SCHEMA", NAME),
        ("CONSTRAINT_NAME", NAME),
        ("TABLE_CATALOG", "varchar(512)"),
        ("TABLE_SCHEMA", NAME),
        ("TABLE_NAME", NAME),
        ("COLUMN_NAME", NAME),
        ("ORDINAL_POSITION", COUNT),
        ("POSITION_IN_UNIQUE_CONSTRAINT", COUNT),
        ("REFERENCED_TABLE_SCHEMA", NAME),
        ("REFERENCED_TABLE_NAME", NAME),
        ("REFERENCED_COLUMN_NAME", NAME),
    ],
    rows: |views| {
        let mut rows = Vec::new();
        each_key(views, |database, schema, key| {
            for (place, id) in (1..).zip(key.columns).filter(|_| key.unique) {
                let names = ["def", database, key.name, "def", database, &schema.name];
                let mut row: Vec<Value> = names.into_iter().map(text).collect();
                row.extend([text(&*schema.column(*id).name), number(place)]);
                row.extend(std::iter::repeat_n(Value::Null, 4));
                rows.push(row);
            }
        })?;
        Ok(rows)
    },
};

pub(super) const TABLE_CONSTRAINTS: View = View {
    name: "TABLE_CONSTRAINTS",
    columns: &[
        ("CONSTRAINT_CATALOG", "varchar(512)"),
        ("CONSTRAINT_SCHEMA", NAME),
        ("CONSTRAINT_NAME", NAME),
        ("TABLE_SCHEMA", NAME),
        ("TABLE_NAME", NAME),
        ("CONSTRAINT_TYPE", WORD),
    ],
    rows: |views| {
        let mut rows = Vec::new();
        each_key(views, |database, schema, key| {
            if key.unique {
                let kind = if key.name == PRIMARY { "PRIMARY KEY" } else { "UNIQUE" };
                let row = ["def", database, key.name, database, &schema.name, kind];
                rows.push(row.into_iter().map(text).collect());
            }
        })?;
        Ok(rows)
    },
};

pub(super) const REFERENTIAL_CONSTRAINTS: View = View {
    name: "REFERENTIAL_CONSTRAINTS",
    columns: &[
        ("CONSTRAINT_CATALOG", "varchar(512)"),
        ("CONSTRAINT_SCHEMA", NAME),
        ("CONSTRAINT_NAME", NAME),
        ("UNIQUE_CONSTRAINT_CATALOG", "varchar(512)"),
        ("UNIQUE_CONSTRAINT_SCHEMA", NAME),
        ("UNIQUE_CONSTRAINT_NAME", NAME),
        ("MATCH_OPTION", WORD),
        ("UPDATE_RULE", WORD),
        ("DELETE_RULE", WORD),
        ("TABLE_NAME", NAME),
        ("REFERENCED_TABLE_NAME", NAME),
    ],
    rows: empty,
};

pub(super) const VIEWS: View = View {
    name: "VIEWS",
    columns: &[
        ("TABLE_CATALOG", "varchar(512)"),
        ("TABLE_SCHEMA", NAME),
        ("TABLE_NAME", NAME),
        ("VIEW_DEFINITION", "longtext"),
        ("CHECK_OPTION", WORD),
        ("IS_UPDATABLE", "varchar(3)"),
        ("DEFINER", "varchar(189)"),
        ("SECURITY_TYPE", "varchar(7)"),
        ("CHARACTER_SET_CLIENT", WORD),
        ("COLLATION_CONNECTION", WORD),
    ],
    rows: empty,
};

const PRIMARY: &str = "PRIMARY";

/// An index of a table, the primary one included.
struct Key<'a> {
    name: &'a str,
    unique: bool,
    columns: &'a [ColumnId],
}

/// Visits the tables that the session sees: by database, then by name. Databases that do not serve
/// yet show none.
fn each_table(views: &Views, mut visit: impl FnMut(&str, &Arc<Table>)) -> Result<(), SqlError> {
    for database in views.databases.databases() {
        let Ok(catalog) = database.catalog_now() else { continue };
        let name = database.name();
        let seen = |table: &&Arc<Table>| views.access.sees_table(name, table.name());
        let mut tables: Vec<_> = catalog.tables().filter(seen).collect();
        tables.sort_by(|a, b| a.name().cmp(b.name()));
        tables.into_iter().for_each(|table| visit(name, table));
    }
    Ok(())
}

/// Visits the keys of all tables that the session sees.
fn each_key(
    views: &Views,
    mut visit: impl FnMut(&str, &TableSchema, Key<'_>),
) -> Result<(), SqlError> {
    each_table(views, |database, table| {
        let schema = table.schema();
        let primary = schema.primary.columns();
        if !primary.is_empty() {
            visit(database, schema, Key { name: PRIMARY, unique: true, columns: primary });
        }
        for index in &schema.indexes {
            let (name, unique, columns) = (&*index.name, index.unique, &*index.columns);
            visit(database, schema, Key { name, unique, columns });
        }
    })
}
