//! Expressions under all values and trees: no panic, no overflow, three-valued logic.

#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

use proptest::prelude::*;
use resprout_engine::table::{Date, DateTime, Decimal, TableSchema, Time, Value};
use resprout_sql::expression::{
    Compiled, Context, DEPTH_MAX, Error, NoRow, NoSession, Scope, compile,
};
use sqlparser::ast::{BinaryOperator, Expr, Value as Literal};
use sqlparser::dialect::MySqlDialect;
use sqlparser::parser::Parser;

fn prepared(text: &str) -> Compiled {
    let parsed = Parser::new(&MySqlDialect {}).try_with_sql(text).unwrap().parse_expr().unwrap();
    compile(&parsed, &Scope::empty()).unwrap()
}

fn evaluate(compiled: &Compiled, parameters: &[Value]) -> Result<Value, Error> {
    compiled.evaluate(&NoRow, &Context::new(&NoSession, parameters))
}

/// Every function and operator, for values of every type.
const ALL: &[&str] = &[
    "$1 + $2",
    "$1 - $2",
    "$1 * $2",
    "$1 / $2",
    "$1 DIV $2",
    "$1 % $2",
    "-$1",
    "~$1",
    "$1 & $2",
    "$1 << $2",
    "$1 >> $2",
    "$1 = $2",
    "$1 < $2",
    "$1 <=> $2",
    "$1 BETWEEN $2 AND $3",
    "$1 IN ($2, $3)",
    "$1 LIKE $2",
    "$1 REGEXP $2",
    "$1 AND $2",
    "$1 OR $2",
    "$1 XOR $2",
    "NOT $1",
    "$1 IS TRUE",
    "$1 IS NULL",
    "CASE $1 WHEN $2 THEN $3 ELSE 1 END",
    "IF($1, $2, $3)",
    "COALESCE($1, $2)",
    "NULLIF($1, $2)",
    "GREATEST($1, $2, $3)",
    "LEAST($1, $2)",
    "CAST($1 AS SIGNED)",
    "CAST($1 AS UNSIGNED)",
    "CAST($1 AS DECIMAL(10,3))",
    "CAST($1 AS DECIMAL(38,30))",
    "CAST($1 AS CHAR(3))",
    "CAST($1 AS BINARY(4))",
    "CAST($1 AS DATE)",
    "CAST($1 AS TIME(3))",
    "CAST($1 AS DATETIME(2))",
    "CAST($1 AS DOUBLE)",
    "CONCAT($1, $2)",
    "CONCAT_WS($1, $2, $3)",
    "SUBSTRING($1, $2)",
    "SUBSTRING($1, $2, $3)",
    "LEFT($1, $2)",
    "RIGHT($1, $2)",
    "LENGTH($1)",
    "CHAR_LENGTH($1)",
    "UPPER($1)",
    "LOWER($1)",
    "TRIM($1)",
    "TRIM(LEADING $2 FROM $1)",
    "REPLACE($1, $2, $3)",
    "REVERSE($1)",
    "REPEAT($1, $2)",
    "LPAD($1, $2, $3)",
    "RPAD($1, $2, $3)",
    "INSTR($1, $2)",
    "LOCATE($1, $2, $3)",
    "HEX($1)",
    "UNHEX($1)",
    "BIN($1)",
    "CONV($1, $2, $3)",
    "MD5($1)",
    "SHA2($1, $2)",
    "CRC32($1)",
    "ASCII($1)",
    "ORD($1)",
    "CHAR($1, $2)",
    "FIND_IN_SET($1, $2)",
    "FIELD($1, $2, $3)",
    "ELT($1, $2, $3)",
    "SPACE($1)",
    "STRCMP($1, $2)",
    "FORMAT($1, $2)",
    "INSERT($1, $2, $3, $1)",
    "QUOTE($1)",
    "SUBSTRING_INDEX($1, $2, $3)",
    "ABS($1)",
    "SIGN($1)",
    "CEIL($1)",
    "FLOOR($1)",
    "ROUND($1, $2)",
    "TRUNCATE($1, $2)",
    "POW($1, $2)",
    "SQRT($1)",
    "EXP($1)",
    "LN($1)",
    "LOG($1, $2)",
    "RAND($1)",
    "COT($1)",
    "ATAN($1, $2)",
    "DATE($1)",
    "TIME($1)",
    "YEAR($1)",
    "HOUR($1)",
    "MICROSECOND($1)",
    "WEEK($1, $2)",
    "YEARWEEK($1, $2)",
    "WEEKDAY($1)",
    "DAYOFYEAR($1)",
    "TO_DAYS($1)",
    "FROM_DAYS($1)",
    "TIME_TO_SEC($1)",
    "SEC_TO_TIME($1)",
    "DATE_FORMAT($1, $2)",
    "TIME_FORMAT($1, '%H %k %h %l %p %f')",
    "DATE_FORMAT($1, '%Y %y %j %U %u %V %v %X %x %a %D')",
    "STR_TO_DATE($1, $2)",
    "STR_TO_DATE($1, '%Y-%m-%d %D %M %b %j %T %r %f')",
    "LAST_DAY($1)",
    "MAKEDATE($1, $2)",
    "MAKETIME($1, $2, $3)",
    "DATEDIFF($1, $2)",
    "TIMEDIFF($1, $2)",
    "TIMESTAMPDIFF(MONTH, $1, $2)",
    "TIMESTAMPADD(MONTH, $2, $1)",
    "TIMESTAMPADD(SECOND, $2, $1)",
    "DATE_ADD($1, INTERVAL $2 YEAR)",
    "DATE_SUB($1, INTERVAL $2 DAY)",
    "DATE_ADD($1, INTERVAL $2 MICROSECOND)",
    "UNIX_TIMESTAMP($1)",
    "FROM_UNIXTIME($1)",
    "FROM_UNIXTIME($1, $2)",
    "EXTRACT(YEAR FROM $1)",
    "EXTRACT(SECOND FROM $1)",
    "TIMESTAMP($1, $2)",
];

fn any_value() -> impl Strategy<Value = Value> {
    let date = (-719_528..=2_932_896_i32).prop_map(|days| Date::from_days(days).unwrap());
    let text = prop_oneof![
        "[ -~]{0,12}",
        "\\PC{0,8}",
        "-?[0-9]{0,25}(\\.[0-9]{0,9})?(e[+-]?[0-9]{1,4})?",
        "[0-9]{1,4}[-/.:][0-9]{1,2}[-/.:][0-9]{1,2}( [0-9]{1,2}:[0-9]{1,2}(:[0-9]{1,2}(\\.[0-9]{0,8})?)?)?",
        "[%_a\\\\]{0,8}",
    ];
    prop_oneof![
        Just(Value::Null),
        any::<i64>().prop_map(Value::Int),
        (-40_i64..40).prop_map(Value::Int),
        Just(Value::Int(i64::MIN)),
        any::<u64>().prop_map(Value::UInt),
        any::<f64>().prop_filter("finite", |x| x.is_finite()).prop_map(Value::Double),
        any::<f32>().prop_filter("finite", |x| x.is_finite()).prop_map(Value::Float),
        (-(10_i128.pow(38) - 1)..10_i128.pow(38), 0_u8..=30)
            .prop_map(|(digits, scale)| Value::Decimal(Decimal::new(digits, scale).unwrap())),
        text.prop_map(Value::Text),
        prop::collection::vec(any::<u8>(), 0..10).prop_map(Value::Bytes),
        date.prop_map(Value::Date),
        (-3_020_399_000_000..3_020_399_000_000_i64)
            .prop_map(|micros| Value::Time(Time::from_micros(micros).unwrap())),
        (DateTime::MIN.micros()..=DateTime::MAX.micros())
            .prop_map(|micros| Value::DateTime(DateTime::from_micros(micros).unwrap())),
    ]
}

fn compiled() -> Vec<Compiled> {
    let parse = |text: &str| {
        let parser = Parser::new(&MySqlDialect {}).try_with_sql(text);
        let parsed = parser.and_then(|mut parser| parser.parse_expr());
        parsed.map_err(|error| panic!("{text}: {error}")).map(|parsed| {
            compile(&parsed, &Scope::empty()).unwrap_or_else(|error| panic!("{text}: {error}"))
        })
    };
    ALL.iter().map(|text| parse(&text.replace('$', ":"))).collect::<Result<_, ()>>().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]

    /// S20: no value of any type makes a function panic, in SELECT or in a strict write.
    #[test]
    fn s20_any_values_give_a_value_or_an_error(values in prop::array::uniform3(any_value())) {
        for compiled in compiled() {
            for strict in [false, true] {
                let context = Context::new(&NoSession, &values);
                let context = if strict { context.strict() } else { context };
                if let Ok(value) = compiled.evaluate_ref(&NoRow, &context) {
                    let _shown = compiled.ty().show(&value);
                }
            }
        }
    }

    /// Integer arithmetic is exact or an error: it agrees with 128 bits and never wraps.
    #[test]
    fn integers_agree_with_i128(a in any::<i64>(), b in any::<i64>()) {
        let (x, y) = (i128::from(a), i128::from(b));
        let expected = [Some(x + y), Some(x - y), Some(x * y), (b != 0).then(|| x % y.max(y))];
        for (text, expected) in [":1 + :2", ":1 - :2", ":1 * :2", ":1 % :2"].iter().zip(expected) {
            let found = evaluate(&prepared(text), &[Value::Int(a), Value::Int(b)]);
            match expected {
                None => prop_assert_eq!(found.unwrap(), Value::Null),
                Some(number) => match i64::try_from(number) {
                    Ok(number) => prop_assert_eq!(found.unwrap(), Value::Int(number)),
                    Err(_) => prop_assert_eq!(found.unwrap_err().mysql_code(), 1690),
                },
            }
        }
    }

    /// LIKE agrees with a slow, obvious matcher.
    #[test]
    fn like_agrees_with_a_naive_matcher(text in "[ab]{0,8}", pattern in "[ab%_]{0,8}") {
        fn naive(text: &[u8], pattern: &[u8]) -> bool {
            match pattern.split_first() {
                None => text.is_empty(),
                Some((b'%', rest)) => (0..=text.len()).any(|skip| naive(&text[skip..], rest)),
                Some((mark, rest)) => text
                    .split_first()
                    .is_some_and(|(one, more)| (*mark == b'_' || mark == one) && naive(more, rest)),
            }
        }
        let expected = i64::from(naive(text.as_bytes(), pattern.as_bytes()));
        let values = [Value::Text(text), Value::Text(pattern.clone())];
        prop_assert_eq!(evaluate(&prepared(":1 LIKE :2"), &values).unwrap(), Value::Int(expected));
        let fixed = prepared(&format!(":1 LIKE '{pattern}'"));
        prop_assert_eq!(evaluate(&fixed, &values).unwrap(), Value::Int(expected));
    }
}

/// K12: a tree as deep as it is long is refused, not walked until the stack ends; a chain of OR is
/// no such tree.
#[test]
fn k12_deep_expressions_are_refused() {
    let one = || Expr::Value(Literal::Number("1".into(), false).into());
    let chain = |op: BinaryOperator, length: usize| {
        (0..length).fold(one(), |left, _| Expr::BinaryOp {
            left: Box::new(left),
            op: op.clone(),
            right: Box::new(one()),
        })
    };
    assert!(compile(&chain(BinaryOperator::Plus, DEPTH_MAX - 1), &Scope::empty()).is_ok());
    let deep = compile(&chain(BinaryOperator::Plus, DEPTH_MAX), &Scope::empty());
    assert_eq!(deep.unwrap_err(), Error::TooDeep);
    let parameters = prepared(&format!(":1{}", " OR :1".repeat(450)));
    assert_eq!(evaluate(&parameters, &[Value::Int(0)]).unwrap(), Value::Int(0));
}

/// K12: comparing rows inside of rows multiplies the work only up to a bound.
#[test]
fn k12_rows_in_rows_are_bounded() {
    let mut text = String::from("(:1, 1) IN ((1, 2), (3, 4), (5, 6))");
    for _ in 0..12 {
        text = format!("({text}, 1) IN ((1, 2), (3, 4), (5, 6))");
    }
    let parsed = Parser::new(&MySqlDialect {}).try_with_sql(&text).unwrap().parse_expr().unwrap();
    assert_eq!(compile(&parsed, &Scope::empty()).unwrap_err(), Error::TooDeep);
}

/// S20: no function makes a value larger than a packet.
#[test]
fn s20_large_values_are_null_with_a_warning() {
    for text in [
        "REPEAT(:1, 1000000000)",
        "SPACE(1e18)",
        "LPAD(:1, 2000000000, 'x')",
        "RPAD(:1, 2000000000, 'x')",
        "CAST(:1 AS BINARY(4000000000))",
        "REPLACE(REPEAT(:1, 1000000), 'a', REPEAT('b', 1000))",
        "CONCAT(REPEAT(:1, 10000000), REPEAT(:1, 10000000))",
        "HEX(REPEAT(:1, 10000000))",
    ] {
        let parameters = [Value::Text("a".into())];
        let context = Context::new(&NoSession, &parameters);
        assert_eq!(prepared(text).evaluate(&NoRow, &context).unwrap(), Value::Null, "{text}");
        assert_eq!(context.take_warnings()[0].code, 1301, "{text}");
        let error =
            prepared(text).evaluate(&NoRow, &Context::new(&NoSession, &parameters).strict());
        assert_eq!(error.unwrap_err().mysql_code(), 1301, "{text}");
    }
}

/// Nanoseconds for a row: `cargo test --release -p resprout-sql --test properties -- --ignored
/// --nocapture`.
#[test]
#[ignore = "measures, proves nothing"]
fn nanoseconds_for_a_row() {
    let builder = TableSchema::builder("t").column("id", "bigint").column("k", "int");
    let schema = builder.column("c", "varchar(120)").build().unwrap();
    let row = vec![Value::Int(5000), Value::Int(7), Value::Text("abcdefghij".repeat(12))];
    let parameters = [Value::Int(1), Value::Int(10_000)];
    for text in [
        "k + 1",
        "c LIKE 'a%'",
        "c LIKE '%hij%zz'",
        "c = 'abc'",
        "id BETWEEN :1 AND :2",
        "id = 5000 AND k < 10",
        "id IN (1, 2, 3, 4, 5000)",
        "k * 1.5",
        "CONCAT(c, k)",
    ] {
        let scope = Scope::empty().with_table("d", &schema, None);
        let parsed =
            Parser::new(&MySqlDialect {}).try_with_sql(text).unwrap().parse_expr().unwrap();
        let started = std::time::Instant::now();
        let compiled = compile(&parsed, &scope).unwrap();
        let compile_time = started.elapsed();
        let context = Context::new(&NoSession, &parameters);
        let rounds = 1_000_000_u32;
        let started = std::time::Instant::now();
        for _ in 0..rounds {
            std::hint::black_box(compiled.evaluate_ref(std::hint::black_box(&row), &context))
                .unwrap();
        }
        let each = started.elapsed() / rounds;
        println!("{text:24} {each:?} a row, compiled in {compile_time:?}");
    }
}
