//! The table that rows go into, and how a line of text becomes a row of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use resprout_engine::table::infer::{self, Inference};
use resprout_engine::table::{NewColumn, Table, TableSchema, Value};

use super::source::{Row, Source};
use crate::failure::{Exit, Failure, causes};

/// Where the rows of a file go.
#[derive(Clone, Debug)]
pub(super) struct Target {
    /// The table, as it is or as it will be made.
    pub table: Arc<Table>,
    /// Whether it is still to be made.
    pub is_new: bool,
    /// For each column of the file its position among the table's values.
    slots: Vec<usize>,
    null: Option<String>,
}

/// What the person said about a table that is to be made.
#[derive(Clone, Debug, Default)]
pub(super) struct Wishes {
    /// Its name.
    pub table: String,
    /// Types by column, as spelled in MySQL, with an optional ` not null` behind.
    pub types: BTreeMap<String, String>,
    /// Columns of the primary key.
    pub primary_key: Vec<String>,
    /// Text that means NULL; without it, an empty field and `\N` do.
    pub null: Option<String>,
}

impl Target {
    /// A table that does not exist yet: types are those wished for, others follow from all rows
    /// of the file.
    ///
    /// # Errors
    /// If a wish cannot be fulfilled or a row has the wrong number of fields.
    pub(super) fn new_table(source: &Source, wishes: &Wishes) -> Result<Self, Failure> {
        for name in wishes.types.keys() {
            if !source.header().contains(name) {
                let why = format!("--types names '{name}', which is no column of the file");
                return Err(usage(source, why));
            }
        }
        let mut columns = inferred(source, wishes)?;
        for column in &mut columns {
            if let Some(ty) = wishes.types.get(&column.name) {
                *column = wished(source, &column.name, ty)?;
            }
            if wishes.primary_key.iter().any(|key| key.eq_ignore_ascii_case(&column.name)) {
                column.nullable = false;
            }
        }
        let mut builder = TableSchema::builder(&wishes.table);
        for column in columns {
            builder = builder.new_column(column);
        }
        if !wishes.primary_key.is_empty() {
            let names: Vec<&str> = wishes.primary_key.iter().map(String::as_str).collect();
            builder = builder.primary_key(&names);
        }
        let table = builder.build().and_then(Table::new);
        let table = table.map_err(|error| usage(source, causes(&error)))?;
        let slots = (0..source.header().len()).collect();
        Ok(Self { table: Arc::new(table), is_new: true, slots, null: wishes.null.clone() })
    }

    /// A table that exists: its columns and those of the file must be the same, in any order.
    ///
    /// # Errors
    /// The first column that only one of them has.
    pub(super) fn existing(
        source: &Source,
        table: Arc<Table>,
        null: Option<String>,
    ) -> Result<Self, Failure> {
        let schema = table.schema();
        let mut slots = Vec::new();
        for name in source.header() {
            let column = schema.column_named(name).filter(|id| table.live().contains(id));
            let why = || format!("table '{}' has no column '{name}'", table.name());
            slots.push(table.position(column.ok_or_else(|| usage(source, why()))?));
        }
        for id in table.live() {
            if !slots.contains(&table.position(*id)) {
                let name = &schema.column(*id).name;
                let why = format!("the file has no column '{name}', table '{}' has", table.name());
                return Err(usage(source, why));
            }
        }
        Ok(Self { table, is_new: false, slots, null })
    }

    /// The values of a row, in the order of the table.
    ///
    /// # Errors
    /// The first value that does not fit, with line, column, value and reason.
    pub(super) fn values(&self, source: &Source, row: &Row<'_>) -> Result<Vec<Value>, Failure> {
        let mut values = vec![Value::Null; self.slots.len()];
        for (index, (field, slot)) in row.fields.iter().zip(&self.slots).enumerate() {
            let id = self.table.live()[*slot];
            let column = self.table.schema().column(id);
            let bad =
                |reason: &dyn std::fmt::Display| source.bad_value(row.line, index, field, reason);
            if self.is_null(field)
                && (column.nullable || !column.ty.is_text() || self.null.is_some())
            {
                if !column.nullable && self.table.schema().auto_increment != Some(id) {
                    return Err(bad(&"NULL in a column that is NOT NULL"));
                }
                continue;
            }
            let value = column.ty.parse_text(field).map_err(|error| bad(&error))?;
            values[*slot] = value;
        }
        Ok(values)
    }

    /// The values of the primary key in a row; none if the table has a hidden one.
    pub(super) fn primary_values<'v>(
        &self,
        values: &'v [Value],
    ) -> impl Iterator<Item = &'v Value> {
        let schema = self.table.schema();
        let positions: Vec<usize> =
            schema.primary.columns().iter().map(|id| self.table.position(*id)).collect();
        positions.into_iter().map(|position| &values[position])
    }

    fn is_null(&self, field: &str) -> bool {
        self.null.as_ref().map_or_else(|| infer::is_null(field), |null| null == field)
    }
}

fn inferred(source: &Source, wishes: &Wishes) -> Result<Vec<NewColumn>, Failure> {
    let mut inference = Inference::new(source.header());
    let mut fields = Vec::new();
    source.for_each(|row| {
        fields.clear();
        let null = wishes.null.as_deref();
        // The inference knows NULL as an empty field.
        fields.extend(
            row.fields.iter().map(|field| if null == Some(field) { "" } else { field }.to_owned()),
        );
        inference.observe(&fields);
        Ok(())
    })?;
    Ok(inference.columns())
}

fn wished(source: &Source, name: &str, ty: &str) -> Result<NewColumn, Failure> {
    let lower = ty.trim().to_ascii_lowercase();
    let (ty, nullable) = match lower.strip_suffix(" not null") {
        Some(ty) => (ty.trim(), false),
        None => (lower.as_str(), true),
    };
    let column = NewColumn::parse(name, ty).map_err(|error| usage(source, causes(&error)))?;
    Ok(NewColumn { nullable, ..column })
}

fn usage(source: &Source, why: String) -> Failure {
    let fix = "see resprout load --help; nothing was changed";
    Failure::new(source.cannot(), why, fix).exiting(Exit::Usage)
}

/// Reads `id=bigint,price=decimal(10,2) not null`: commas inside brackets belong to the type.
///
/// # Errors
/// A sentence that says what is allowed.
pub(super) fn parse_types(text: &str) -> Result<BTreeMap<String, String>, String> {
    let mut types = BTreeMap::new();
    let (mut depth, mut start) = (0_u32, 0);
    let ends = text.char_indices().chain([(text.len(), ',')]);
    for (at, letter) in ends {
        match letter {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            ',' if depth == 0 || at == text.len() => {
                let part = &text[start..at];
                start = at + 1;
                let (name, ty) = part.split_once('=').ok_or_else(|| {
                    format!("'{part}' is not column=type; write for example id=bigint,price=decimal(10,2)")
                })?;
                types.insert(name.trim().to_owned(), ty.trim().to_owned());
            }
            _ => {}
        }
    }
    Ok(types)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &str) -> (tempfile::TempDir, Source) {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("t.csv");
        std::fs::write(&path, text).expect("a file");
        let source = Source::open(&path, None).expect("a header");
        (dir, source)
    }

    fn rows(target: &Target, source: &Source) -> Result<Vec<Vec<Value>>, Failure> {
        let mut rows = Vec::new();
        source.for_each(|row| {
            rows.push(target.values(source, &row)?);
            Ok(())
        })?;
        Ok(rows)
    }

    fn wishes(types: &str, key: &str) -> Wishes {
        Wishes {
            table: "t".into(),
            types: if types.is_empty() {
                BTreeMap::new()
            } else {
                parse_types(types).expect("types")
            },
            primary_key: if key.is_empty() { Vec::new() } else { vec![key.into()] },
            null: None,
        }
    }

    /// Promise: types follow from all rows, and each row fits them.
    #[test]
    fn inferred_types_fit_every_row() {
        let (_dir, source) = source("id,score,name\n1,2,a\n2,,b\n3,2.5,\n");
        let target = Target::new_table(&source, &wishes("", "id")).expect("a table");
        let rows = rows(&target, &source).expect("all fit");
        assert_eq!(rows[0], [Value::Int(1), Value::Double(2.0), Value::Text("a".into())]);
        assert_eq!(rows[1][1], Value::Null);
        assert_eq!(rows[2][2], Value::Null);
        assert_eq!(target.primary_values(&rows[2]).collect::<Vec<_>>(), [&Value::Int(3)]);
    }

    /// Promise: a value that does not fit is told with line, column, value and reason.
    #[test]
    fn a_bad_value_names_line_column_value_and_reason() {
        let (_dir, source) = source("id,price\n1,2\nx7,3\n");
        let target =
            Target::new_table(&source, &wishes("id=bigint not null", "")).expect("a table");
        let error = rows(&target, &source).expect_err("x7");
        for part in ["t.csv line 3", "column 'id'", "value 'x7'", "bigint"] {
            assert!(error.why.contains(part), "{part}: {error}");
        }
        let (_dir, source) = self::source("id,price\n1,2\n,3\n");
        let target = Target::new_table(&source, &wishes("", "id")).expect("a table");
        let error = rows(&target, &source).expect_err("NULL in the key");
        assert!(error.why.contains("line 3") && error.why.contains("NOT NULL"), "{error}");
    }

    /// Promise: the columns of an existing table and of the file must be the same; their order
    /// may differ.
    #[test]
    fn an_existing_table_must_match() {
        let (_dir, first) = source("a,b\n1,x\n");
        let table = Target::new_table(&first, &wishes("", "a")).expect("a table").table;
        let (_dir, turned) = source("b,a\ny,2\n");
        let target = Target::existing(&turned, Arc::clone(&table), None).expect("same columns");
        assert_eq!(rows(&target, &turned).expect("fits")[0][0], Value::Int(2));
        for text in ["a\n1\n", "a,b,c\n1,x,y\n", "a,d\n1,x\n"] {
            let (_dir, other) = source(text);
            let error = Target::existing(&other, Arc::clone(&table), None).expect_err("differs");
            assert_eq!(error.exit, Exit::Usage);
        }
    }

    /// Promise: types with commas inside are read as they are meant; nonsense is refused.
    #[test]
    fn types_are_read() {
        let types = parse_types("id=bigint, price = decimal(10,2) not null").expect("two types");
        assert_eq!(types["price"], "decimal(10,2) not null");
        assert!(parse_types("bigint").is_err());
        let (_dir, source) = source("id\n1\n");
        for bad in ["nope=bigint", "id=parsec"] {
            assert!(Target::new_table(&source, &wishes(bad, "")).is_err(), "{bad}");
        }
        assert!(Target::new_table(&source, &wishes("", "nope")).is_err());
    }
}
