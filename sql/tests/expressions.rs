//! Expressions against what a MariaDB 10.11 server answered: value, type and warnings. How the
//! files are made stands in `expressions/make.py`; `expressions/ours.txt` is by hand, for what we do
//! otherwise.

#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::any::TypeId;

use resprout_engine::table::{
    Builder, ColumnType, Date, DateTime, Decimal, TableSchema, Time, Value,
};
use resprout_sql::expression::{Context, Error, NoSession, Scope, Type, compile};
use sqlparser::ast::{
    DateTimeField, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentList,
    FunctionArguments, Ident, Interval, ObjectName, UnaryOperator,
};
use sqlparser::dialect::{Dialect, MySqlDialect};
use sqlparser::keywords::Keyword;
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::Token;

/// 2024-02-29 10:20:30.123456, the moment of the corpus.
const NOW: i64 = 1_709_202_030_123_456;

fn schema() -> TableSchema {
    let columns = [
        ("i", "int"),
        ("u", "int unsigned"),
        ("b", "bigint"),
        ("bu", "bigint unsigned"),
        ("d", "decimal(10,2)"),
        ("f", "float"),
        ("g", "double"),
        ("s", "varchar(20)"),
        ("x", "varbinary(20)"),
        ("dt", "date"),
        ("tm", "time(3)"),
        ("dm", "datetime(6)"),
        ("ts", "timestamp"),
        ("n", "int"),
    ];
    let builder = columns.iter().fold(TableSchema::builder("t"), |builder: Builder, (name, ty)| {
        builder.column(name, ty).nullable(true)
    });
    builder.build().unwrap()
}

fn row() -> Vec<Value> {
    vec![
        Value::Int(42),
        Value::UInt(42),
        Value::Int(9_000_000_000),
        Value::UInt(u64::MAX),
        Value::Decimal(Decimal::parse("123.45").unwrap()),
        Value::Float(1.5),
        Value::Double(2.25),
        Value::Text("hello".into()),
        Value::Bytes(b"raw".to_vec()),
        Value::Date(Date::parse("2024-02-29").unwrap()),
        Value::Time(Time::parse("10:20:30.5").unwrap()),
        Value::DateTime(DateTime::parse("2024-02-29 10:20:30.123456").unwrap()),
        Value::DateTime(DateTime::parse("2024-02-29 12:00:00").unwrap()),
        Value::Null,
    ]
}

/// MySQL's dialect with what sqlparser's leaves out: `!`, and intervals of composed units.
#[derive(Debug)]
struct Mysql;

macro_rules! yes {
    ($($name:ident),* $(,)?) => {
        $(fn $name(&self) -> bool { true })*
    };
}

impl Dialect for Mysql {
    fn dialect(&self) -> TypeId {
        TypeId::of::<MySqlDialect>()
    }

    fn is_identifier_start(&self, ch: char) -> bool {
        MySqlDialect {}.is_identifier_start(ch)
    }

    fn is_identifier_part(&self, ch: char) -> bool {
        MySqlDialect {}.is_identifier_part(ch)
    }

    fn is_delimited_identifier_start(&self, ch: char) -> bool {
        ch == '`'
    }

    yes!(
        supports_string_literal_backslash_escape,
        supports_string_literal_concatenation,
        ignores_wildcard_escapes,
        allow_extract_custom,
        supports_numeric_prefix,
        supports_bitwise_shift_operators,
        supports_double_ampersand_operator,
    );

    fn parse_infix(
        &self,
        parser: &mut Parser,
        expr: &Expr,
        precedence: u8,
    ) -> Option<Result<Expr, ParserError>> {
        MySqlDialect {}.parse_infix(parser, expr, precedence)
    }

    fn parse_prefix(&self, parser: &mut Parser) -> Option<Result<Expr, ParserError>> {
        if parser.consume_token(&Token::ExclamationMark) {
            let not = |expr| Expr::UnaryOp { op: UnaryOperator::Not, expr: Box::new(expr) };
            return Some(parser.parse_subexpr(50).map(not));
        }
        parser.parse_keyword(Keyword::INTERVAL).then(|| interval(parser))
    }
}

/// What follows `INTERVAL`: a function's arguments, or a value and a unit.
fn interval(parser: &mut Parser) -> Result<Expr, ParserError> {
    let value = parser.parse_expr()?;
    if let Expr::Tuple(arguments) = value {
        let argument = |expr| FunctionArg::Unnamed(FunctionArgExpr::Expr(expr));
        let list = FunctionArgumentList {
            duplicate_treatment: None,
            args: arguments.into_iter().map(argument).collect(),
            clauses: Vec::new(),
        };
        return Ok(Expr::Function(Function {
            name: ObjectName::from(vec![Ident::new("interval")]),
            uses_odbc_syntax: false,
            parameters: FunctionArguments::None,
            args: FunctionArguments::List(list),
            filter: None,
            null_treatment: None,
            over: None,
            within_group: Vec::new(),
        }));
    }
    Ok(Expr::Interval(Interval {
        value: Box::new(value),
        leading_field: Some(DateTimeField::Custom(parser.parse_identifier()?)),
        leading_precision: None,
        last_field: None,
        fractional_seconds_precision: None,
    }))
}

fn parse(text: &str) -> Result<Expr, String> {
    let parser = Parser::new(&Mysql).try_with_sql(text);
    let parsed = parser.and_then(|mut parser| {
        let parsed = parser.parse_expr()?;
        parser.expect_token(&Token::EOF)?;
        Ok(parsed)
    });
    parsed.map_err(|error| error.to_string())
}

/// Value, type and warnings, as the corpus has them.
fn answer(text: &str, schema: &TableSchema, row: &[Value]) -> Result<[String; 3], Error> {
    let parsed = parse(text).map_err(Error::Unsupported)?;
    let scope = Scope::new(&NoSession).with_table("corpus", schema, None);
    let compiled = compile(&parsed, &scope)?;
    let mut context = Context::new(&NoSession, &[]);
    context.now = NOW;
    let value = compiled.evaluate_ref(&row, &context)?;
    let shown = compiled.ty().show(&value).into_owned();
    let codes: Vec<_> =
        context.take_warnings().iter().map(|warning| warning.code.to_string()).collect();
    let shown = shown.replace('\\', "\\\\").replace('\n', "\\n").replace('\t', "\\t");
    Ok([shown.replace('\0', "\\0"), type_name(compiled.ty()), codes.join(",")])
}

fn type_name(ty: Type) -> String {
    match ty {
        Type::Null => "null".into(),
        Type::Unknown => "unknown".into(),
        Type::Int => "bigint".into(),
        Type::UInt => "bigint unsigned".into(),
        Type::Decimal { scale, .. } => format!("decimal({scale})"),
        Type::Float => "float".into(),
        Type::Double => "double".into(),
        Type::Text => "text".into(),
        Type::Bytes => "bytes".into(),
        Type::Date => "date".into(),
        Type::Time(fsp) => format!("time({fsp})"),
        Type::DateTime(fsp) => format!("datetime({fsp})"),
    }
}

/// Doubles are equal as numbers: how many digits show is the client's business.
fn same_value(ty: &str, expected: &str, found: &str) -> bool {
    if matches!(ty, "double" | "float")
        && let (Ok(expected), Ok(found)) = (expected.parse::<f64>(), found.parse::<f64>())
    {
        return (expected - found).abs() <= expected.abs() * 1e-14;
    }
    expected == found
}

#[track_caller]
fn check(file: &str, corpus: &str) {
    let (schema, row) = (schema(), row());
    let (mut wrong, mut lines) = (Vec::new(), 0);
    for line in corpus.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let parts: Vec<_> = line.split('\t').collect();
        let [text, expected, ty, codes] = parts[..] else { panic!("{file}: {line}") };
        lines += 1;
        match answer(text, &schema, &row) {
            Ok([found, found_ty, found_codes]) => {
                let right = same_value(ty, expected, &found) && ty == found_ty;
                if !right || codes != found_codes {
                    wrong.push(format!(
                        "{text}\n    expected {expected:?} {ty} [{codes}]\n    found    {found:?} {found_ty} [{found_codes}]"
                    ));
                }
            }
            Err(error) => {
                if expected != format!("ERROR {}", error.mysql_code()) {
                    wrong.push(format!(
                        "{text}\n    expected {expected:?} {ty}\n    found    error {} {error}",
                        error.mysql_code()
                    ));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{file}: {} of {lines} differ\n{}", wrong.len(), wrong.join("\n"));
}

macro_rules! corpora {
    ($($name:ident: $file:literal, $promise:literal;)*) => {
        $(#[doc = $promise]
        #[test]
        fn $name() {
            check($file, include_str!(concat!("expressions/", $file)));
        })*
    };
}

corpora! {
    arithmetic_is_mariadbs: "arithmetic.txt", "Numbers, their types, their limits and literals are MariaDB's.";
    comparison_is_mariadbs: "comparison.txt", "Comparisons, three-valued logic, collations and patterns are MariaDB's.";
    control_is_mariadbs: "control.txt", "CASE, IF, CAST and the types they unite are MariaDB's.";
    text_is_mariadbs: "text.txt", "Functions of text are MariaDB's.";
    numeric_is_mariadbs: "numeric.txt", "Functions of numbers are MariaDB's.";
    temporal_is_mariadbs: "temporal.txt", "Functions of dates and times are MariaDB's.";
    errors_are_mariadbs: "errors.txt", "What cannot be compiled or computed has MariaDB's number.";
    ours_are_as_documented: "ours.txt", "Where we differ from MariaDB, we do what is written down.";
}

/// The corpus's own table has the types of its columns.
#[test]
fn the_table_is_the_corpus() {
    let schema = schema();
    let ty = |name: &str| schema.column(schema.column_named(name).unwrap()).ty;
    assert_eq!(ty("dm"), ColumnType::DateTime(6));
    assert!(
        schema
            .live_columns()
            .zip(row())
            .all(|((_, column), value)| { column.ty.fits(&value.as_ref()) })
    );
}
