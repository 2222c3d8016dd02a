//! Splitting a text into statements.

use proptest::prelude::*;
use resprout_sql::statement::{Statements, parse};

fn texts(text: &str) -> Vec<String> {
    Statements::new(text.as_bytes())
        .map(|parsed| match parsed {
            Ok(parsed) => String::from_utf8_lossy(parsed.text).into_owned(),
            Err(error) => format!("!{}", error.mysql_code()),
        })
        .collect()
}

/// Guards: a `;` ends a statement unless it is in a string, a name or a comment.
#[test]
fn semicolons_end_statements() {
    let table: &[(&str, &[&str])] = &[
        ("SELECT 1", &["SELECT 1"]),
        ("SELECT 1;", &["SELECT 1"]),
        (" SELECT 1 ; ; SELECT 2 ;; ", &["SELECT 1", "SELECT 2"]),
        ("SELECT ';' ; SELECT \";\"", &["SELECT ';'", "SELECT \";\""]),
        ("SELECT 'it''s;' ; SELECT 2", &["SELECT 'it''s;'", "SELECT 2"]),
        ("SELECT '\\';' ; SELECT 2", &["SELECT '\\';'", "SELECT 2"]),
        ("SELECT `a;``b` FROM t; SELECT 2", &["SELECT `a;``b` FROM t", "SELECT 2"]),
        ("SELECT 1 -- ; no\n; SELECT 2", &["SELECT 1 -- ; no", "SELECT 2"]),
        ("SELECT 1 # ; no\n; SELECT 2", &["SELECT 1 # ; no", "SELECT 2"]),
        ("SELECT 1 /* ; */; SELECT 2", &["SELECT 1 /* ; */", "SELECT 2"]),
        ("SELECT 5--3; SELECT 2", &["SELECT 5--3", "SELECT 2"]),
        ("/*!40101 SET NAMES utf8 */; SELECT 2", &["SET NAMES utf8 */", "SELECT 2"]),
        (
            "INSERT INTO t VALUES (';'),(';'); SELECT 2",
            &["INSERT INTO t VALUES (';'),(';')", "SELECT 2"],
        ),
        ("", &["!1065"]),
        (" -- nothing", &["!1065"]),
        (";;", &["!1065"]),
        ("SELECT 'a; SELECT 2", &["!1064"]),
        ("SELECT 1; nonsense; SELECT 2", &["SELECT 1", "!1064"]),
    ];
    for (text, expected) in table {
        assert_eq!(texts(text), *expected, "{text}");
    }
}

/// Guards: parameters are counted for each statement, and never in strings or comments.
#[test]
fn parameters_are_counted_outside_of_strings() {
    let count = |text: &str| parse(text.as_bytes()).expect(text).parameters;
    assert_eq!(count("SELECT ?, '?', \"?\", `?`, a FROM t /* ? */ WHERE b = ? -- ?"), 2);
    assert_eq!(count("INSERT INTO t VALUES (?, '?', ?), (?, ?, 1 + ?)"), 5);
    let both: Vec<_> = Statements::new(b"SELECT ?, ?; SELECT ?")
        .map(|parsed| parsed.expect("sound").parameters)
        .collect();
    assert_eq!(both, [2, 1]);
    let many = format!("SELECT {}1", "?,".repeat(65_536));
    assert_eq!(parse(many.as_bytes()).expect_err("one too many").mysql_code(), 1390);
}

/// Guards: a text for one statement refuses a second one, and tells where it begins.
#[test]
fn a_second_statement_is_an_error() {
    assert!(parse(b"SELECT 1; -- end").is_ok());
    let error = parse(b"SELECT 1;\nDROP TABLE t").expect_err("two");
    assert!(error.to_string().ends_with("near 'DROP TABLE t' at line 2"), "{error}");
}

/// A literal or comment with its delimiters, whatever is in it.
fn piece() -> impl Strategy<Value = (String, bool)> {
    let inside = "[a-z;?'\"`\\\\*/# \n-]{0,12}";
    prop_oneof![
        inside.prop_map(|text| (
            format!("'{}'", text.replace('\\', "\\\\").replace('\'', "''")),
            true
        )),
        inside.prop_map(|text| {
            (format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")), true)
        }),
        inside.prop_map(|text| (format!("/* {} */", text.replace('*', "")), false)),
        inside.prop_map(|text| (format!("-- {}\n", text.replace('\n', "")), false)),
        inside.prop_map(|text| (format!("#{}\n", text.replace('\n', "")), false)),
        "[0-9]{1,5}".prop_map(|text| (text, true)),
        Just(("?".to_owned(), true)),
    ]
}

proptest! {
    /// Guards: whatever strings and comments hold, a text has as many statements and parameters
    /// as were put into it.
    #[test]
    fn pieces_never_leak(statements in prop::collection::vec(
        prop::collection::vec(piece(), 1..6), 1..6))
    {
        let (mut text, mut expected) = (String::new(), Vec::new());
        for pieces in &statements {
            let values = pieces.iter().filter(|(_, value)| *value).count();
            let parameters = pieces.iter().filter(|(text, _)| text == "?").count();
            text.push_str("SELECT 0 ");
            for (piece, value) in pieces {
                text.push_str(if *value { ", " } else { " " });
                text.push_str(piece);
            }
            text.push_str(" ;");
            expected.push((values, parameters));
        }
        let parsed: Result<Vec<_>, _> = Statements::new(text.as_bytes()).collect();
        let parsed = parsed.unwrap_or_else(|error| panic!("{text}: {error}"));
        prop_assert_eq!(parsed.len(), expected.len(), "{}", text);
        for (parsed, (_, parameters)) in parsed.iter().zip(expected) {
            prop_assert_eq!(usize::from(parsed.parameters), parameters, "{}", text);
        }
    }

    /// Guards: a string comes out as it went in, whatever its characters.
    #[test]
    fn strings_come_through(text in any::<String>()) {
        let quoted = resprout_sql::statement::show_create::quoted_text(&text);
        let insert = format!("INSERT INTO t VALUES ({quoted})");
        let parsed = parse(insert.as_bytes());
        let parsed = parsed.unwrap_or_else(|error| panic!("{quoted}: {error}")).statement;
        let resprout_sql::statement::Statement::Insert(insert) = parsed else { panic!("{parsed:?}") };
        let resprout_sql::statement::InsertSource::Rows(rows) = insert.source else {
            panic!("rows")
        };
        let value = resprout_engine::table::Value::Text(text);
        prop_assert_eq!(&rows.values[0], &resprout_sql::statement::Operand::Literal(value));
    }
}
