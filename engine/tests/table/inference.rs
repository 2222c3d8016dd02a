//! Types found for data without types hold all of the sample, and are the same every time.

use super::generate::cases;
use proptest::prelude::*;
use resprout_engine::table::infer::{Inference, is_null};
use resprout_engine::table::{Table, TableSchema};

/// Guards: the type of a column by its fields, and whether it is nullable.
#[track_caller]
fn check(fields: &[&str], expected: &str, nullable: bool) {
    let mut inference = Inference::new(&["x"]);
    fields.iter().for_each(|field| inference.observe(&[field]));
    let column = &inference.columns()[0];
    assert_eq!(column.ty.to_string(), expected, "{fields:?}");
    assert_eq!(column.nullable, nullable, "{fields:?}");
    for field in fields.iter().filter(|field| !is_null(field)) {
        assert!(column.ty.parse_text(field).is_ok(), "{field} fits {expected}");
    }
}

#[test]
fn types_follow_from_fields() {
    check(&["1", "-2", "0"], "bigint", false);
    check(&["1", "", "2"], "bigint", true);
    check(&["1", "\\N"], "bigint", true);
    check(&["18446744073709551615", "1"], "bigint unsigned", false);
    check(&["18446744073709551615", "-1"], "decimal(38,0)", false);
    check(&["1", "2.5"], "double", false);
    check(&["1", "2.5e10"], "double", false);
    check(&["1234567890.12345678", "1"], "decimal(38,8)", false);
    check(&["007"], "varchar(255)", false);
    check(&["1", "x"], "varchar(255)", false);
    check(&["nan", "inf"], "varchar(255)", false);
    check(&["2024-02-29", "1999-01-01"], "date", false);
    check(&["2024-02-30"], "varchar(255)", false);
    check(&["20240229"], "bigint", false);
    check(&["2024-02-29 10:00:00", "2024-02-29"], "datetime", false);
    check(&["2024-02-29T10:00:00.25"], "datetime(6)", false);
    check(&["10:00:00"], "varchar(255)", false);
    check(&["", ""], "varchar(255)", true);
    check(&[], "varchar(255)", true);
    check(&["a".repeat(200).as_str()], "varchar(1024)", false);
    check(&["a".repeat(9000).as_str()], "longtext", false);
    check(&["9".repeat(60).as_str()], "varchar(255)", false);
}

/// Guards: names come from the header, and columns without one get one.
#[test]
fn columns_are_named_by_the_header() {
    let mut inference = Inference::new(&["id", " name ", ""]);
    inference.observe(&["1"]);
    inference.observe(&["2", "a", "b", "too many"]);
    let columns = inference.columns();
    let names: Vec<_> = columns.iter().map(|column| &column.name[..]).collect();
    assert_eq!(names, ["id", "name", "column_3"]);
    assert_eq!(
        columns.iter().map(|column| column.nullable).collect::<Vec<_>>(),
        [false, true, true]
    );
}

proptest! {
    #![proptest_config(cases(1000))]

    /// Guards: the whole sample can be loaded with the types found for it.
    #[test]
    fn the_sample_fits_its_types(
        rows in prop::collection::vec(
            prop::collection::vec("([-0-9.e]{0,8}|20[0-9]{2}-[01][0-9]-[0-3][0-9]( 1[0-9]:[0-9]{2})?|.{0,9})", 3),
            1..4,
        ),
    ) {
        let mut inference = Inference::new(&["a", "b", "c"]);
        rows.iter().for_each(|row| inference.observe(row));
        let columns = inference.columns();
        prop_assert_eq!(&columns, &inference.columns());
        let builder = columns.iter().cloned().fold(TableSchema::builder("t"), |b, c| b.new_column(c));
        let table = Table::new(builder.build().unwrap()).unwrap();
        for (column, fields) in columns.iter().zip((0..3).map(|n| rows.iter().map(move |row| &row[n]))) {
            for field in fields {
                if is_null(field) {
                    prop_assert!(column.nullable);
                } else {
                    prop_assert!(column.ty.parse_text(field).is_ok(), "{} as {}", field, column.ty);
                }
            }
        }
        prop_assert_eq!(table.live().len(), 3);
    }
}
