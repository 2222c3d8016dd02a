//! Values come to their column as MySQL in strict mode brings them, or are refused with its
//! error; types are spelled as in MySQL.

use super::generate::{any_type, cases, value_of};
use proptest::prelude::*;
use resprout_engine::table::{ColumnType, Date, DateTime, TypeError, Value, ValueError};

fn ty(text: &str) -> ColumnType {
    ColumnType::parse(text).unwrap()
}

fn date(text: &str) -> Value {
    Value::Date(Date::parse(text).unwrap())
}

fn moment(text: &str) -> Value {
    Value::DateTime(DateTime::parse(text).unwrap())
}

/// Guards: what goes in comes out as MySQL shows it, or is refused with MySQL's number.
#[track_caller]
fn check(column: &str, value: impl Into<Value>, expected: Result<&str, u16>) {
    let (column, value) = (ty(column), value.into());
    let shown = column.coerce(value.clone()).map(|stored| {
        assert!(column.fits(&stored.as_ref()), "{column}: {stored:?} fits after coercion");
        column.show(&stored.as_ref()).to_string()
    });
    let found = shown.as_ref().map(String::as_str).map_err(ValueError::mysql_code);
    assert_eq!(found, expected, "{value:?} as {column}");
    if let Value::Text(text) = value {
        let stored = column.parse_text(&text);
        let shown = stored.map(|stored| column.show(&stored.as_ref()).to_string());
        let found = shown.as_ref().map(String::as_str).map_err(ValueError::mysql_code);
        assert_eq!(found, expected, "field '{text}' as {column}");
    }
}

/// Guards: integers are rounded as in MySQL and refused beyond their range (1264).
#[test]
fn integers() {
    for (column, low, high) in [
        ("tinyint", "-128", "127"),
        ("tinyint unsigned", "0", "255"),
        ("smallint", "-32768", "32767"),
        ("mediumint", "-8388608", "8388607"),
        ("mediumint unsigned", "0", "16777215"),
        ("int", "-2147483648", "2147483647"),
        ("int unsigned", "0", "4294967295"),
        ("bigint", "-9223372036854775808", "9223372036854775807"),
        ("bigint unsigned", "0", "18446744073709551615"),
    ] {
        check(column, low, Ok(low));
        check(column, high, Ok(high));
        let (low, high): (i128, i128) = (low.parse().unwrap(), high.parse().unwrap());
        check(column, (low - 1).to_string(), Err(1264));
        check(column, (high + 1).to_string(), Err(1264));
    }
    check("int", " 12 ", Ok("12"));
    check("int", "1e2", Ok("100"));
    check("int", "2.5", Ok("3"));
    check("int", 2.5, Ok("2"));
    check("int", -3.5, Ok("-4"));
    check("int", 1e10, Err(1264));
    check("bigint", f64::INFINITY, Err(1264));
    check("bigint", "9".repeat(60), Err(1264));
    check("int", "twelve", Err(1366));
    check("int", "", Err(1366));
    check("int", "12x", Err(1366));
    check("int", f64::NAN, Err(1366));
    check("int", 5_u64, Ok("5"));
    check("int unsigned", -1_i64, Err(1264));
    check("bigint", date("2024-02-29"), Ok("20240229"));
    check("bigint", moment("2024-02-29 01:02:03"), Ok("20240229010203"));
}

/// Guards: floating point is finite, and zero has one form.
#[test]
fn floating_point() {
    check("double", "1.5e300", Ok("1.5e300"));
    check("double", "0.1", Ok("0.1"));
    check("double", -0.0, Ok("0"));
    check("double", f64::INFINITY, Err(1264));
    check("double", "1e999", Err(1264));
    check("double", "nan", Err(1366));
    check("double", "infinity", Err(1366));
    check("double", 3_i64, Ok("3"));
    check("float", "0.1", Ok("0.1"));
    check("float", 1e39, Err(1264));
    check("float", -0.0, Ok("0"));
    assert_eq!(ty("double").coerce(Value::Float(0.1)).unwrap(), Value::Double(0.1));
}

/// Guards: exact numbers are rounded half away from zero to their scale.
#[test]
fn decimals() {
    check("decimal(5,2)", "999.994", Ok("999.99"));
    check("decimal(5,2)", "999.995", Err(1264));
    check("decimal(5,2)", "-1.005", Ok("-1.01"));
    check("decimal(5,2)", 7_i64, Ok("7.00"));
    check("decimal(5,2)", 0.1, Ok("0.10"));
    check("decimal(5,2)", "abc", Err(1366));
    check("decimal(38,0)", "9".repeat(38), Ok(&"9".repeat(38)));
    check("decimal(38,0)", "9".repeat(39), Err(1264));
}

/// Guards: text is counted in characters; only blanks are cut off at the end.
#[test]
fn text() {
    check("varchar(3)", "äöü", Ok("äöü"));
    check("varchar(3)", "abcd", Err(1406));
    check("varchar(3)", "abc  ", Ok("abc"));
    check("varchar(5)", "abc  ", Ok("abc  "));
    check("char(5)", "abc  ", Ok("abc"));
    check("char(2)", "abc", Err(1406));
    check("varchar(9)", 12_i64, Ok("12"));
    check("varchar(9)", vec![0xFF_u8], Err(1366));
    check("varchar(9)", b"ok".to_vec(), Ok("ok"));
    check("tinytext", "é".repeat(127), Ok(&"é".repeat(127)));
    check("tinytext", "é".repeat(128), Err(1406));
    check("varchar(30)", moment("2024-01-01 00:00:00.5"), Ok("2024-01-01 00:00:00.500000"));
    check("json", "{\"a\": 1}", Ok("{\"a\": 1}"));
    check("json", "{a}", Err(3140));
}

/// Guards: bytes are kept as they are, BINARY filled up with zeros.
#[test]
fn bytes() {
    check("varbinary(3)", vec![1_u8, 0, 255], Ok("0x0100FF"));
    check("varbinary(3)", "abcd", Err(1406));
    check("binary(3)", "a", Ok("0x610000"));
    check("binary(1)", "ab", Err(1406));
    check("tinyblob", vec![0_u8; 256], Err(1406));
}

/// Guards: dates and times that do not exist are refused (1292), fractions rounded.
#[test]
fn dates_and_times() {
    check("date", "2024-02-29", Ok("2024-02-29"));
    check("date", "2023-02-29", Err(1292));
    check("date", "0000-00-00", Err(1292));
    check("date", "2024-02-29 23:59:59", Ok("2024-02-29"));
    check("date", 20_240_229_i64, Ok("2024-02-29"));
    check("datetime", "2024-01-01 00:00:00.5", Ok("2024-01-01 00:00:01"));
    check("datetime(3)", "2024-01-01 00:00:00.5", Ok("2024-01-01 00:00:00.500"));
    check("datetime", date("2024-01-01"), Ok("2024-01-01 00:00:00"));
    check("datetime", "9999-12-31 23:59:59.9", Err(1292));
    check("timestamp", "1970-01-01 00:00:00", Err(1292));
    check("timestamp", "1970-01-01 00:00:01", Ok("1970-01-01 00:00:01"));
    check("timestamp(6)", "2038-01-19 03:14:07.999999", Ok("2038-01-19 03:14:07.999999"));
    check("timestamp", "2038-01-19 03:14:08", Err(1292));
    check("time", "-838:59:59", Ok("-838:59:59"));
    check("time", "839:00:00", Err(1292));
    check("time(1)", "1:02:03.45", Ok("01:02:03.5"));
}

/// Guards: errors show the type and no more than an excerpt of the value.
#[test]
fn errors_say_what_did_not_fit() {
    let error = |column: &str, value: &str| ty(column).coerce(value.into()).unwrap_err();
    assert_eq!(error("int", "x").to_string(), "incorrect int value: 'x'");
    assert_eq!(error("varchar(2)", "abc").to_string(), "data too long for type varchar(2): 3");
    let long = error("date", &"é".repeat(10_000)).to_string();
    assert_eq!(long, format!("incorrect date value: '{}...'", "é".repeat(64)));
}

proptest! {
    #![proptest_config(cases(3000))]

    /// Guards: a value that fits is kept as it is, and survives being shown and read again.
    #[test]
    fn values_that_fit_are_kept((ty, value) in any_type().prop_flat_map(|ty| (Just(ty), value_of(&ty)))) {
        prop_assert!(ty.fits(&value.as_ref()));
        prop_assert_eq!(&ty.coerce(value.clone()).unwrap(), &value);
        if !matches!(value, Value::Bytes(_)) {
            let shown = ty.show(&value.as_ref()).to_string();
            prop_assert_eq!(ty.parse_text(&shown).unwrap(), value);
        }
    }

    /// Guards A10: no value and no text panics in any type; what is accepted fits.
    #[test]
    fn anything_is_accepted_or_refused(
        column in any_type(),
        (_, value) in any_type().prop_flat_map(|ty| (Just(ty), value_of(&ty))),
        text in "[-+0-9.eE: T/a]{0,30}",
    ) {
        if let Ok(stored) = column.coerce(value) {
            prop_assert!(column.fits(&stored.as_ref()));
        }
        if let Ok(stored) = column.parse_text(&text) {
            prop_assert!(column.fits(&stored.as_ref()));
            prop_assert_eq!(column.coerce(stored.clone()).unwrap(), stored);
        }
    }

    /// Guards: types are spelled so that they read back.
    #[test]
    fn types_read_back(ty in any_type()) {
        prop_assert_eq!(ColumnType::parse(&ty.to_string()).unwrap(), ty);
    }
}

/// Guards: the spellings of MySQL are understood.
#[test]
fn types_are_spelled_as_in_mysql() {
    for (text, canonical) in [
        ("INT", "int"),
        ("integer unsigned", "int unsigned"),
        ("int(11)", "int"),
        ("bigint(20) UNSIGNED", "bigint unsigned"),
        ("bool", "tinyint"),
        ("real", "double"),
        ("double precision", "double"),
        ("decimal", "decimal(10,0)"),
        ("numeric( 8 , 3 )", "decimal(8,3)"),
        ("char", "char(1)"),
        ("character varying(7)", "varchar(7)"),
        ("mediumtext", "mediumtext"),
        ("LONGBLOB", "longblob"),
        ("datetime(0)", "datetime"),
        ("timestamp(6)", "timestamp(6)"),
    ] {
        assert_eq!(ty(text).to_string(), canonical, "{text}");
    }
}

/// Guards: a type that does not exist is refused, and the error says why.
#[test]
fn impossible_types_are_refused() {
    for text in ["", "strin", "int8x", "date unsigned", "(5)", "int(5", "hugetext", "bool unsigned"]
    {
        assert_eq!(ColumnType::parse(text), Err(TypeError::Unknown(text.into())), "{text}");
    }
    for text in
        ["varchar", "varchar(x)", "varchar()", "int(1,2)", "text(5)", "decimal(0)", "date(3)"]
    {
        assert_eq!(ColumnType::parse(text), Err(TypeError::Arguments(text.into())), "{text}");
    }
    for (text, found, limit) in [
        ("varchar(65536)", 65_536, 65_535),
        ("char(256)", 256, 255),
        ("decimal(39,0)", 39, 38),
        ("decimal(38,31)", 31, 30),
        ("decimal(5,6)", 6, 5),
        ("datetime(7)", 7, 6),
    ] {
        let error = TypeError::TooLarge { text: text.into(), found, limit };
        assert_eq!(ColumnType::parse(text), Err(error));
    }
}
