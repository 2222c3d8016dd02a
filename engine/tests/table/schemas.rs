//! Tables are refused with MySQL's errors when they cannot be, change by making new schemas,
//! and survive as bytes; damaged bytes are errors.

use super::generate::cases;
use proptest::prelude::*;
use resprout_engine::table::{
    Builder, Change, ColumnId, Decimal, IndexId, NewColumn, NewIndex, PrimaryKey, SchemaDamage,
    SchemaError, TableSchema, Value,
};

fn start() -> Builder {
    TableSchema::builder("t").column("id", "bigint").column("a", "varchar(20)")
}

fn full() -> TableSchema {
    start()
        .nullable(true)
        .column("b", "decimal(8,2)")
        .default("1.5")
        .column("c", "datetime(3)")
        .nullable(true)
        .primary_key(&["id"])
        .index("by_a", &["a", "c"])
        .unique("b", &["b"])
        .auto_increment("id")
        .build()
        .unwrap()
}

/// Guards: a table is what was asked for.
#[test]
fn tables_are_built_as_asked() {
    let schema = full();
    assert_eq!(schema.version, 1);
    assert_eq!(schema.primary, PrimaryKey::Columns(vec![ColumnId(0)]));
    assert_eq!(schema.shard_key, [ColumnId(0)]);
    assert_eq!(schema.auto_increment, Some(ColumnId(0)));
    assert_eq!(schema.indexes[0].columns, [ColumnId(1), ColumnId(3)]);
    assert!(schema.indexes[1].unique && !schema.indexes[0].unique);
    // Defaults are brought to the column's type once, when they are given.
    assert_eq!(schema.columns[2].default, Some(Value::Decimal(Decimal::new(150, 2).unwrap())));
    assert_eq!(schema.column_named("ID"), Some(ColumnId(0)));
    let hidden = start().shard_key(&["a"]).build().unwrap();
    assert_eq!((hidden.primary, hidden.shard_key), (PrimaryKey::Hidden, vec![ColumnId(1)]));
}

/// Guards: what cannot be is refused with MySQL's number.
#[test]
fn impossible_tables_are_refused() {
    let long = "x".repeat(65);
    for (builder, code) in [
        (TableSchema::builder("t"), 1113),
        (TableSchema::builder("").column("a", "int"), 1166),
        (start().column("A", "int"), 1060),
        (start().column("x ", "int"), 1166),
        (start().column(&long, "int"), 1059),
        (start().column("x", "integr"), 1064),
        (start().column("x", "int").default("five"), 1067),
        (start().column("x", "int").default(Value::Null), 1067),
        (start().column("x", "text").default("five"), 1101),
        (start().primary_key(&["nope"]), 1054),
        (start().primary_key(&["id"]).primary_key(&["a"]), 1068),
        (start().nullable(true).primary_key(&["a"]), 1171),
        (start().primary_key(&["id", "id"]), 1070),
        (start().primary_key(&[]), 1070),
        (start().index("i", &["nope"]), 1054),
        (start().index("i", &["a"]).unique("I", &["id"]), 1061),
        (start().index("primary", &["a"]), 1061),
        (start().column("x", "text").index("i", &["x"]), 1170),
        (start().column("x", "json").index("i", &["x"]), 3152),
        (start().column("x", "varchar(769)").index("i", &["x"]), 1071),
        (start().auto_increment("id"), 1075),
        (start().primary_key(&["id"]).auto_increment("id").auto_increment("id"), 1075),
        (start().primary_key(&["a"]).auto_increment("a"), 1063),
        (start().column("x", "int").default(5_i64).primary_key(&["x"]).auto_increment("x"), 1063),
        (start().shard_key(&["nope"]), 1054),
        (start().shard_key(&[]).primary_key(&["id"]).auto_increment("nope"), 1054),
    ] {
        let error = builder.clone().build().expect_err(&format!("{builder:?}"));
        assert_eq!(error.mysql_code(), code, "{error}");
    }
    let many = (0..4097).fold(TableSchema::builder("t"), |b, n| b.column(&format!("c{n}"), "int"));
    assert_eq!(many.build(), Err(SchemaError::TooManyColumns));
    let many = (0..65).fold(start(), |b, n| b.index(&format!("i{n}"), &["a"]));
    assert_eq!(many.build(), Err(SchemaError::TooManyIndexes));
}

fn column(name: &str, ty: &str) -> NewColumn {
    NewColumn::parse(name, ty).unwrap()
}

/// Guards R21: columns keep their numbers for life; only added and dropped ones make a version.
#[test]
fn r21_changes_make_new_schemas_and_keep_column_numbers() {
    let schema = full();
    let dropped = schema.drop_column("c");
    let in_use = SchemaError::ColumnInUse { column: "c".into(), index: "by_a".into() };
    assert_eq!(dropped, Err(in_use));
    let schema = schema.drop_index("BY_A").unwrap();
    assert_eq!(schema.version, 1);
    let schema = schema.drop_column("c").unwrap();
    assert_eq!((schema.version, schema.columns[3].dropped_in), (2, Some(2)));
    let schema = schema.add_column(column("C", "int")).unwrap();
    assert_eq!((schema.version, schema.column_named("c")), (3, Some(ColumnId(4))));
    assert_eq!(schema.columns[4].added_in, 3);
    let schema = schema.rename_column("a", "d").unwrap().rename("u").unwrap();
    assert_eq!(
        (schema.version, &schema.name[..], schema.column_named("d")),
        (3, "u", Some(ColumnId(1)))
    );
    let schema = schema.add_index(NewIndex::new("i", &["d", "c"], true)).unwrap();
    assert_eq!(schema.index_named("I").unwrap().columns, [ColumnId(1), ColumnId(4)]);
    let live: Vec<_> = schema.live_columns().map(|(_, column)| &column.name[..]).collect();
    assert_eq!(live, ["id", "d", "b", "C"]);
}

/// Guards: changes that cannot be are refused and leave the table as it was.
#[test]
fn impossible_changes_are_refused() {
    let schema = full();
    let rename = |from: &str, to: &str| Change::RenameColumn { from: from.into(), to: to.into() };
    let index =
        |name: &str, columns: &[&str]| Change::AddIndex(NewIndex::new(name, columns, false));
    for (change, code) in [
        (Change::AddColumn(column("a", "int")), 1060),
        (Change::AddColumn(column("x", "date")), 1292),
        (Change::AddColumn(NewColumn { default: Some("x".into()), ..column("x", "int") }), 1067),
        (Change::DropColumn("nope".into()), 1091),
        (Change::DropColumn("id".into()), 1706),
        (Change::DropColumn("a".into()), 1706),
        (rename("nope", "x"), 1054),
        (rename("a", "B"), 1060),
        (rename("a", ""), 1166),
        (index("by_a", &["id"]), 1061),
        (index("x", &["nope"]), 1054),
        (Change::DropIndex("nope".into()), 1091),
        (Change::RenameTable(String::new()), 1166),
    ] {
        let error = schema.changed(change.clone()).expect_err(&format!("{change:?}"));
        assert_eq!(error.mysql_code(), code, "{error}");
    }
    let one = TableSchema::builder("t").column("a", "int").build().unwrap();
    assert_eq!(one.drop_column("a"), Err(SchemaError::NoColumns));
    let auto = start().index("i", &["id"]).auto_increment("id").build().unwrap();
    assert_eq!(auto.drop_index("i"), Err(SchemaError::AutoIncrement("id".into())));
    let last = TableSchema { version: 0x7FFF, ..one };
    assert_eq!(last.add_column(column("b", "int")), Err(SchemaError::TooManyVersions("t".into())));
}

/// Guards A1: a schema survives as bytes, and equal schemas have equal bytes.
#[test]
fn schemas_survive_as_bytes() {
    let schema = full().add_column(column("x", "varbinary(3)")).unwrap().drop_column("x").unwrap();
    let bytes = schema.to_bytes().unwrap();
    let read = TableSchema::from_bytes(&bytes).unwrap();
    assert_eq!(read, schema);
    assert_eq!(read.to_bytes().unwrap(), bytes);
    // Wherever the bytes lie in a page: an archive on its own would need to be aligned.
    let moved = [&[0][..], &bytes].concat();
    assert_eq!(TableSchema::from_bytes(&moved[1..]).unwrap(), schema);
}

/// Guards A8, A10: a schema of damaged bytes is an error or keeps all promises of a schema.
#[test]
fn damaged_schemas_are_errors() {
    let bytes = full().to_bytes().unwrap();
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1 << bit;
            if let Ok(schema) = TableSchema::from_bytes(&damaged) {
                schema.validate().unwrap();
                resprout_engine::table::Table::new(schema).unwrap();
            }
        }
        assert!(TableSchema::from_bytes(&bytes[..at]).is_err());
    }
    assert!(matches!(TableSchema::from_bytes(&[1]), Err(SchemaDamage::Short(1))));
    assert!(matches!(TableSchema::from_bytes(&[4, 0]), Err(SchemaDamage::Format { found: 4 })));
    assert!(matches!(TableSchema::from_bytes(&[1, 0, 5]), Err(SchemaDamage::Archive(_))));
    assert!(matches!(TableSchema::from_bytes(&vec![0; 17 << 20]), Err(SchemaDamage::Long(_))));
}

proptest! {
    #![proptest_config(cases(2000))]

    /// Guards A10: no bytes make reading a schema panic.
    #[test]
    fn hostile_schemas_are_errors(tail in prop::collection::vec(any::<u8>(), 0..400)) {
        let bytes = [&[1, 0][..], &tail].concat();
        let _read_without_panic = TableSchema::from_bytes(&bytes);
    }
}

/// Guards: what the rest of the engine relies on is checked for schemas from outside.
#[test]
fn inconsistent_schemas_are_refused() {
    let check = |change: &dyn Fn(&mut TableSchema)| {
        let mut schema = full();
        change(&mut schema);
        schema.validate().unwrap_err()
    };
    let inconsistent = |error: SchemaError| matches!(error, SchemaError::Inconsistent { .. });
    assert!(inconsistent(check(&|schema| schema.version = 0)));
    assert!(inconsistent(check(&|schema| schema.version = 0x8000)));
    assert!(inconsistent(check(&|schema| schema.columns[1].added_in = 2)));
    assert!(inconsistent(check(&|schema| schema.columns[1].dropped_in = Some(2))));
    assert!(inconsistent(check(&|schema| schema.shard_key = vec![ColumnId(9)])));
    assert!(inconsistent(check(&|schema| schema.auto_increment = Some(ColumnId(9)))));
    assert!(inconsistent(check(&|schema| schema.indexes[0].id = IndexId(20))));
    assert!(inconsistent(check(&|schema| schema.primary_index = IndexId(5))));
    assert!(inconsistent(check(&|schema| {
        schema.primary_index = IndexId(20);
        schema.indexes[0].id = IndexId(20);
    })));
}
