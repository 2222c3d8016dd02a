//! Targets of tables: rows, keys, archived schemas, and text from people.

use resprout_engine::table::infer::Inference;
use resprout_engine::table::{
    ColumnType, IndexId, RowView, Table, TableSchema, Value, ValueRef, key,
};

use crate::{Outcome, seeds};

/// `schema u8 │ key length u8 │ key │ value`: a row that passes its check has one form.
pub(crate) fn row(input: &[u8]) -> Outcome {
    let Some((&[schema, key_len], rest)) = input.split_first_chunk() else {
        return Outcome::Refused;
    };
    let tables = seeds::tables();
    let table = &tables[usize::from(schema) % tables.len()];
    let (key, value) = rest.split_at(usize::from(key_len).min(rest.len()));
    let Ok(row) = RowView::new(table, key, value) else { return Outcome::Refused };
    for column in table.live() {
        let _read_without_panic = row.get(*column);
    }
    let Ok(()) = row.check() else { return Outcome::Refused };
    let values = row.values().expect("a checked row can be read");
    let values: Vec<_> = values.into_iter().map(ValueRef::into_owned).collect();
    let hidden = row.hidden().expect("a checked row has its number");
    if newest(table, value) {
        let (mut key_again, mut value_again) = (Vec::new(), Vec::new());
        let encoder = table.encoder();
        encoder
            .encode(&values, hidden, &mut key_again, &mut value_again)
            .expect("values that were in a row fit one");
        assert_eq!((&key_again[..], &value_again[..]), (key, value), "a row has one form");
    }
    Outcome::Accepted
}

/// Older rows have another layout than the one that is written now.
fn newest(table: &Table, value: &[u8]) -> bool {
    let version = u16::from_le_bytes([value[0], value[1]]) & 0x7fff;
    version == table.schema().version
}

/// `types u8 │ key`: reading and passing over go the same way, and what was read has one form.
pub(crate) fn key(input: &[u8]) -> Outcome {
    let Some((&types, bytes)) = input.split_first() else { return Outcome::Refused };
    let types = key_types(types);
    let index = key::index_of(bytes).map_or(IndexId(0), |(index, _)| index);
    let Ok(mut reader) = key::Reader::new(index, bytes) else { return Outcome::Refused };
    let mut passing = reader.clone();
    let mut again = Vec::new();
    key::start(index, &mut again);
    for (ty, nullable) in &types {
        let read = reader.next(ty, *nullable);
        let passed = passing.skip(ty, *nullable);
        let Ok(value) = read else { return Outcome::Refused };
        assert_eq!(passed, Ok(()), "what can be read can be passed over");
        assert_eq!(reader.rest(), passing.rest());
        if !value.is_null() && !ty.fits(&value) {
            // A form that no writer gives, such as NaN; `RowView::check` refuses it.
            return Outcome::Refused;
        }
        if key::append(ty, *nullable, &value, &mut again).is_err() {
            return Outcome::Refused;
        }
    }
    if reader.finish().is_err() {
        return Outcome::Refused;
    }
    assert_eq!(again, bytes, "a key has one form");
    Outcome::Accepted
}

/// Three columns, chosen by a number.
pub(crate) fn key_types(number: u8) -> Vec<(ColumnType, bool)> {
    let ty = |shift: usize| {
        let text = seeds::KEY_TYPES[(usize::from(number) + shift * 7) % seeds::KEY_TYPES.len()];
        ColumnType::parse(text).expect("a type of the list")
    };
    vec![(ty(0), false), (ty(1), true), (ty(2), false)]
}

/// An archived schema: what is decoded can be used, and comes back.
pub(crate) fn schema(input: &[u8]) -> Outcome {
    let Ok(schema) = TableSchema::from_bytes(input) else { return Outcome::Refused };
    let again = schema.to_bytes().expect("what was decoded is small enough");
    let back = TableSchema::from_bytes(&again).expect("what was written is read");
    // NaN is a possible default and differs from itself.
    assert_eq!(format!("{back:?}"), format!("{schema:?}"), "it comes back");
    assert_eq!(back.to_bytes().ok().as_ref(), Some(&again), "the same schema, the same bytes");
    let table = Table::new(schema).expect("a checked schema makes a table");
    let columns: Vec<_> = table.live().to_vec();
    let given = columns.iter().map(|id| (*id, Value::Null)).collect();
    let _refused_or_complete = table.complete(given);
    let _every_column_has_a_place: Vec<_> = columns.iter().map(|id| table.position(*id)).collect();
    Outcome::Accepted
}

/// `type as text │ newline │ value as text`: what is taken fits and reads back as itself.
pub(crate) fn text(input: &[u8]) -> Outcome {
    let Ok(text) = std::str::from_utf8(input) else { return Outcome::Refused };
    let (ty, value) = text.split_once('\n').unwrap_or((text, ""));
    let Ok(ty) = ColumnType::parse(ty) else { return Outcome::Refused };
    assert_eq!(ColumnType::parse(&ty.to_string()), Ok(ty), "a type reads back");
    let Ok(parsed) = ty.parse_text(value) else { return Outcome::Refused };
    assert!(ty.fits(&parsed.as_ref()), "{parsed:?} in {ty}");
    let shown = parsed.to_string();
    if ty.is_text() || !matches!(parsed, Value::Bytes(_)) {
        let back = ty.parse_text(&shown);
        assert_eq!(back.ok().map(|back| back.to_string()), Some(shown), "{ty} reads back");
    }
    Outcome::Accepted
}

/// Lines of fields, the first the header: the types inferred take every field of the sample.
pub(crate) fn inference(input: &[u8]) -> Outcome {
    let Ok(text) = std::str::from_utf8(input) else { return Outcome::Refused };
    let mut lines = text.lines().map(|line| line.split(',').collect::<Vec<_>>());
    let Some(header) = lines.next() else { return Outcome::Refused };
    let rows: Vec<_> = lines.collect();
    let mut inference = Inference::new(&header);
    rows.iter().for_each(|row| inference.observe(row));
    let columns = inference.columns();
    assert_eq!(columns.len(), header.len());
    for row in &rows {
        for (number, column) in columns.iter().enumerate() {
            let field = row.get(number).copied().unwrap_or("");
            if resprout_engine::table::infer::is_null(field) {
                assert!(column.nullable, "an empty field makes a column nullable");
            } else {
                let taken = column.ty.parse_text(field);
                assert!(taken.is_ok(), "{field:?} is in the sample of {}: {taken:?}", column.ty);
            }
        }
    }
    Outcome::Accepted
}
