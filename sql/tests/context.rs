//! What expressions see of the session, the statement and the row, and what they say back.

#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::cell::{Cell, RefCell};
use std::collections::HashMap;

use resprout_engine::table::{ColumnId, DateTime, TableSchema, Value, ValueRef};
use resprout_sql::expression::{
    Collation, Compiled, Context, Error, NoRow, NoSession, Row, Scope, Session, Type,
    VariableScope, WARNINGS_MAX, compile,
};
use sqlparser::dialect::MySqlDialect;
use sqlparser::parser::Parser;

fn compiled(text: &str, scope: &Scope<'_>) -> Result<Compiled, Error> {
    let parsed = Parser::new(&MySqlDialect {}).try_with_sql(text).unwrap().parse_expr().unwrap();
    compile(&parsed, scope)
}

fn alone(text: &str, context: &Context<'_>) -> Result<Value, Error> {
    compiled(text, &Scope::new(context.session))?.evaluate(&NoRow, context)
}

#[derive(Default)]
struct Client {
    variables: RefCell<HashMap<String, Value>>,
    last_insert_id: Cell<u64>,
}

impl Session for Client {
    fn database(&self) -> Option<String> {
        Some("shop".into())
    }
    fn user(&self) -> String {
        "app@10.0.0.7".into()
    }
    fn current_user(&self) -> String {
        "app@%".into()
    }
    fn connection_id(&self) -> u64 {
        17
    }
    fn last_insert_id(&self) -> u64 {
        self.last_insert_id.get()
    }
    fn set_last_insert_id(&self, number: u64) {
        self.last_insert_id.set(number);
    }
    fn user_variable(&self, name: &str) -> Value {
        self.variables.borrow().get(name).cloned().unwrap_or(Value::Null)
    }
    fn set_user_variable(&self, name: &str, value: &Value) {
        self.variables.borrow_mut().insert(name.into(), value.clone());
    }
    fn system_variable(&self, scope: VariableScope, name: &str) -> Option<Value> {
        match (scope, name) {
            (VariableScope::Global, "autocommit") => Some(Value::Int(0)),
            (_, "autocommit") => Some(Value::Int(1)),
            _ => None,
        }
    }
}

/// A session's functions and variables answer what the session says, each time they are asked.
#[test]
fn sessions_answer() {
    let client = Client::default();
    let context = Context::new(&client, &[]);
    for (text, expected) in [
        ("DATABASE()", Value::from("shop")),
        ("SCHEMA()", "shop".into()),
        ("USER()", "app@10.0.0.7".into()),
        ("CURRENT_USER()", "app@%".into()),
        ("CURRENT_USER", "app@%".into()),
        ("CONNECTION_ID()", Value::UInt(17)),
        ("LAST_INSERT_ID()", Value::UInt(0)),
        ("LAST_INSERT_ID(5 + 1)", Value::UInt(6)),
        ("LAST_INSERT_ID()", Value::UInt(6)),
        ("ROW_COUNT()", Value::Int(-1)),
        ("@a", Value::Null),
        ("@A := 5", Value::Int(5)),
        ("@a * 2", Value::Int(10)),
        ("@@autocommit", Value::Int(1)),
        ("@@session.autocommit", Value::Int(1)),
        ("@@GLOBAL.autocommit", Value::Int(0)),
    ] {
        assert_eq!(alone(text, &context).unwrap(), expected, "{text}");
    }
    assert_eq!(alone("@@nosuch", &context).unwrap_err().mysql_code(), 1193);
}

/// In a write, what SELECT only warns of is an error.
#[test]
fn strict_writes_fail_where_queries_warn() {
    for (text, code) in [
        ("1 / 0", 1365),
        ("5 % 0", 1365),
        ("'abc' + 1", 1292),
        ("CAST('x' AS SIGNED)", 1292),
        ("CAST('2024-02-30' AS DATE)", 1292),
        ("DATE_ADD('nothing', INTERVAL 1 DAY)", 1292),
        ("CAST(1000 AS DECIMAL(3,1))", 1264),
    ] {
        let context = Context::new(&NoSession, &[]);
        alone(text, &context).unwrap();
        let warnings = context.take_warnings();
        assert_eq!(
            warnings.iter().map(|warning| warning.code).collect::<Vec<_>>(),
            [code],
            "{text}"
        );
        let strict = Context::new(&NoSession, &[]).strict();
        let error = alone(text, &strict).unwrap_err();
        assert_eq!((error.mysql_code(), error.to_string()), (code, warnings[0].text.clone()));
    }
}

/// Warnings of many rows are counted, but only the first are kept.
#[test]
fn warnings_are_bounded() {
    let context = Context::new(&NoSession, &[]);
    let division = compiled("1 / 0", &Scope::empty()).unwrap();
    for _ in 0..1000 {
        assert_eq!(division.evaluate(&NoRow, &context).unwrap(), Value::Null);
    }
    assert_eq!(context.warning_count(), 1000);
    assert_eq!(context.take_warnings().len(), WARNINGS_MAX);
}

struct Updated {
    old: Vec<Value>,
    new: Vec<Value>,
}

impl Row for Updated {
    fn column(&self, column: ColumnId) -> Result<ValueRef<'_>, Error> {
        self.old.column(column)
    }
    fn inserted(&self, column: ColumnId) -> Result<ValueRef<'_>, Error> {
        self.new.column(column)
    }
}

fn table() -> TableSchema {
    let builder = TableSchema::builder("t").column("id", "bigint");
    let builder = builder.column("k", "int").default(9_i64).column("at", "timestamp");
    builder.build().unwrap()
}

/// Columns are found by name, table and alias; `VALUES` reads the row that was to be inserted.
#[test]
fn columns_are_resolved() {
    let schema = table();
    let scope = Scope::empty().with_table("d", &schema, None);
    let row = Updated {
        old: vec![Value::Int(1), Value::Int(2), Value::Null],
        new: vec![Value::Int(1), Value::Int(40), Value::Null],
    };
    let context = Context::new(&NoSession, &[]);
    for (text, expected) in [
        ("K", 2),
        ("t.k", 2),
        ("d.t.k", 2),
        ("`k` + id", 3),
        ("k + VALUES(k)", 42),
        ("DEFAULT(k)", 9),
    ] {
        let compiled = compiled(text, &scope).unwrap();
        assert_eq!(compiled.evaluate(&row, &context).unwrap(), Value::Int(expected), "{text}");
    }
    assert_eq!(compiled("k + id + k", &scope).unwrap().columns(), [ColumnId(0), ColumnId(1)]);
    let aliased = Scope::empty().with_table("d", &schema, Some("x")).in_clause("where clause");
    assert!(compiled("x.k", &aliased).is_ok());
    let error = compiled("t.k", &aliased).unwrap_err();
    assert_eq!(error.to_string(), "Unknown column 't.k' in 'where clause'");
    assert_eq!((error.mysql_code(), error.sqlstate()), (1054, "42S22"));
}

/// TIMESTAMP columns are kept in UTC and seen in the session's zone, like NOW().
#[test]
fn zones_shift_timestamps_only() {
    let schema = table();
    let scope = Scope::empty().with_table("d", &schema, None);
    let noon = DateTime::parse("2024-02-29 12:00:00").unwrap();
    let row = vec![Value::Int(1), Value::Int(2), Value::DateTime(noon)];
    let mut context = Context::new(&NoSession, &[]);
    (context.now, context.zone) = (noon.micros(), 2 * 3600);
    for (text, expected) in [
        ("at", "2024-02-29 14:00:00"),
        ("NOW()", "2024-02-29 14:00:00"),
        ("UTC_TIMESTAMP()", "2024-02-29 12:00:00"),
        ("FROM_UNIXTIME(0)", "1970-01-01 02:00:00"),
        ("UNIX_TIMESTAMP('1970-01-01 02:00:10')", "10"),
    ] {
        let value = compiled(text, &scope).unwrap().evaluate(&row, &context).unwrap();
        assert_eq!(value.to_string(), expected, "{text}");
    }
    let local = DateTime::parse("2024-02-29 14:00:00").unwrap();
    assert_eq!(context.to_utc(local), Some(noon));
}

/// Parameters have the types that are given, else those of their values; one that is missing is
/// an error.
#[test]
fn parameters_are_by_number() {
    let values = [Value::Int(1), Value::from("2")];
    let context = Context::new(&NoSession, &values);
    assert_eq!(alone(":2 + :1", &context).unwrap(), Value::Double(3.0));
    assert_eq!(alone(":1 / 3", &context).unwrap().to_string(), "0.3333");
    assert_eq!(alone(":3", &context).unwrap_err(), Error::MissingParameter);
    let typed = Scope::empty().with_parameter_types(&[Type::Int]);
    assert_eq!(compiled(":1 + 1", &typed).unwrap().ty(), Type::Int);
    assert_eq!(compiled(":1 + 1", &Scope::empty()).unwrap().ty(), Type::Unknown);
}

/// What is constant is computed once, what is not is not; a warning is given each time.
#[test]
fn constants_are_folded() {
    let constant = |text: &str| compiled(text, &Scope::empty()).unwrap().constant().cloned();
    assert_eq!(constant("1 + 2 * 3"), Some(Value::Int(7)));
    assert_eq!(constant("CONCAT('a', UPPER('b'))"), Some("aB".into()));
    assert_eq!(constant("1 IN (1, 2)"), None);
    for text in ["NOW()", "RAND()", "DATABASE()", "1 / 0", "@a", "UUID()", "REPEAT('a', 10000)"] {
        assert_eq!(constant(text), None, "{text}");
    }
}

/// The collation of columns and literals is the session's to choose.
#[test]
fn collations_are_chosen() {
    let scope = Scope::empty().with_collation(Collation::Bin);
    let equal = |text: &str, scope: &Scope<'_>| {
        compiled(text, scope).unwrap().matches(&NoRow, &Context::new(&NoSession, &[])).unwrap()
    };
    assert!(equal("'a' = 'A'", &Scope::empty()));
    assert!(!equal("'a' = 'A'", &scope));
    assert!(equal("'a' = 'A' COLLATE utf8mb4_general_ci", &scope));
}

/// `RAND(seed)` goes on from row to row; `RAND()` is never the same.
#[test]
fn random_numbers_go_on() {
    let context = Context::new(&NoSession, &[]);
    let seeded = compiled("RAND(1)", &Scope::empty()).unwrap();
    let next = || seeded.evaluate(&NoRow, &context).unwrap().to_string();
    // What MariaDB answers for the first two rows.
    assert_eq!([next(), next()], ["0.40540353712197724", "0.8716141803857071"]);
    assert_ne!(alone("RAND()", &context).unwrap(), alone("RAND()", &context).unwrap());
    let uuid = alone("UUID()", &context).unwrap().to_string();
    assert_eq!((uuid.len(), &uuid[14..15]), (36, "4"));
}

/// SQL that is no scalar expression is refused by name.
#[test]
fn what_is_not_scalar_is_refused() {
    for (text, code) in [
        ("(SELECT 1)", 1235),
        ("1 IN (SELECT 1)", 1235),
        ("EXISTS (SELECT 1)", 1235),
        ("SUM(1) OVER ()", 1111),
        ("MAX(1)", 1111),
        ("nosuch.f(1)", 1305),
    ] {
        assert_eq!(compiled(text, &Scope::empty()).unwrap_err().mysql_code(), code, "{text}");
    }
}

/// Promise: keys of texts are equal where the texts are, and are ordered as the texts are.
#[test]
fn sort_keys_order_as_texts_do() {
    let texts = [
        "", " ", "a", "A", "a ", "ab", "a b", "b", "ä", "Ä", "é", "z", "Z  ", "ß", "ss", "日本",
        "😀", "a\u{1}",
    ];
    for collation in [Collation::GeneralCi, Collation::Bin, Collation::Binary] {
        let key = |text: &str| {
            let mut key = Vec::new();
            collation.sort_key(text, &mut key);
            key
        };
        for one in texts {
            for other in texts {
                let expected = collation.compare(one, other);
                assert_eq!(key(one).cmp(&key(other)), expected, "{one:?} {other:?} {collation:?}");
            }
        }
    }
}
