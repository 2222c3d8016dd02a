//! Texts that want to do harm.

use std::time::Instant;

use proptest::prelude::*;
use resprout_sql::statement::{ParseError, Statements, parse};

fn error_of(text: &str) -> ParseError {
    let begun = Instant::now();
    let error = parse(text.as_bytes()).expect_err("too much");
    // A debug build on a busy machine; exponential time would be years.
    assert!(begun.elapsed().as_secs() < 20, "{:?} for {:.40}", begun.elapsed(), text);
    error
}

/// Guards (K12): nesting, lists and chains beyond reason are errors in bounded time, stack and
/// memory, on a stack of 2 MiB.
#[test]
fn k12_statements_beyond_reason_are_refused() {
    let n = 100_000;
    let deep = [
        format!("SELECT {}1{}", "(".repeat(n), ")".repeat(n)),
        format!("SELECT {}1{}", "f(".repeat(n), ")".repeat(n)),
        format!("SELECT {} 1", "NOT ".repeat(n)),
        format!("SELECT {} 1", "- ".repeat(n)),
        format!("SELECT {} 1", "! ".repeat(n)),
        format!("SELECT 1{}", " + 1".repeat(n)),
        format!("SELECT 1{}", " AND 1".repeat(n)),
        format!("SELECT 1{}", " IS NULL".repeat(n)),
        format!("SELECT 1{}", " UNION SELECT 1".repeat(n)),
        format!("SELECT 1{}", " COLLATE utf8_bin".repeat(n)),
        format!("SELECT * FROM t{}", " JOIN t".repeat(n)),
        format!("SELECT * FROM {}t{}", "(".repeat(n), ")".repeat(n)),
        format!("SELECT {}1{}", "(SELECT ".repeat(n), ")".repeat(n)),
        format!("SELECT {} 1 {}", "CASE WHEN 1 THEN ".repeat(n), "END ".repeat(n)),
        format!("SELECT {}", "INTERVAL ".repeat(n)),
        format!("SELECT {}", "BINARY ".repeat(n)),
        format!("SELECT {}", "WITH x AS (".repeat(n)),
        format!("INSERT INTO t VALUES ({}1{})", "(".repeat(n), ")".repeat(n)),
        format!("UPDATE t SET a = 1{}", " + 1".repeat(n)),
    ];
    for text in deep {
        let code = error_of(&text).mysql_code();
        assert!(code == 1064 || code == 1153, "{code}: {text:.60}");
    }
    let long = format!("SELECT 1 IN ({}1)", "1,".repeat(1_000_000));
    assert_eq!(error_of(&long).mysql_code(), 1153);
    let explained = format!("{}SELECT 1", "EXPLAIN ".repeat(n));
    assert_eq!(error_of(&explained).mysql_code(), 1064);
    let name = format!("SELECT 1 FROM `{}`", "x".repeat(65_536));
    // Names in queries are looked up, and not found; those of our own statements are measured.
    assert!(parse(name.as_bytes()).is_ok());
    let name = format!("DROP TABLE `{}`", "x".repeat(65_536));
    assert_eq!(error_of(&name).mysql_code(), 1059);
}

/// Guards (K12): nesting that doubles the work of a parser which tries alternatives does not.
#[test]
fn k12_nesting_does_not_multiply() {
    for depth in [8, 16, 24, 32, 48, 60] {
        for (open, close) in [
            ("(", ")"),
            ("f(", ")"),
            ("(SELECT * FROM (", "))"),
            ("CASE WHEN (", ") THEN 1 END"),
            ("x IN (", ")"),
            ("CAST(", " AS CHAR)"),
            ("INTERVAL (", ") DAY"),
            ("EXISTS (SELECT ", ")"),
            ("DATE(", ")"),
            ("(a, ", ")"),
            ("NOT (", ")"),
        ] {
            for text in [
                format!("SELECT {}1{}", open.repeat(depth), close.repeat(depth)),
                format!("SELECT {}1", open.repeat(depth)),
                format!("SELECT * FROM {}t{}", open.repeat(depth), close.repeat(depth)),
            ] {
                let begun = Instant::now();
                let _either = parse(text.as_bytes());
                assert!(begun.elapsed().as_secs() < 5, "{:?} for {text}", begun.elapsed());
            }
        }
    }
}

/// Guards (K12): what is within the limits can be copied, compared, printed and freed on a stack
/// of 2 MiB.
#[test]
fn k12_the_deepest_trees_fit_the_stack() {
    let thread = std::thread::Builder::new().stack_size(2 << 20);
    let run = || {
        for text in [
            format!("SELECT 1{}", " + 1".repeat(480)),
            format!("SELECT 1{}", " OR a = 1".repeat(240)),
            format!("SELECT 1{}", " UNION SELECT 1".repeat(480)),
            format!("SELECT {}1{}", "(".repeat(40), ")".repeat(40)),
        ] {
            let parsed =
                parse(text.as_bytes()).unwrap_or_else(|error| panic!("{error}: {text:.50}"));
            let copy = parsed.clone();
            assert_eq!(copy, parsed);
            assert!(format!("{parsed:?}").len() > text.len());
        }
    };
    thread.spawn(run).expect("a thread").join().expect("no overflow");
}

/// Guards (K13): bytes that are no UTF-8 are kept where bytes may be and refused elsewhere.
#[test]
fn k13_bytes_that_are_no_characters() {
    let parsed = parse(b"INSERT INTO t VALUES (_binary'\xff\x00\\0\xfe', x'FF')").expect("bytes");
    let shown = format!("{:?}", parsed.statement);
    assert!(shown.contains("Bytes([255, 0, 0, 254])"), "{shown}");
    for text in [&b"SELECT '\xff'"[..], b"SELECT `\xff`", b"SELECT \xff", b"SET @\xff = 1"] {
        assert_eq!(parse(text).expect_err("no characters").mysql_code(), 1300);
    }
    assert_eq!(parse(b"SELECT 1\0").expect_err("a zero").mysql_code(), 1064);
    assert!(parse("SELECT 'äöü', `ключ` FROM 表".as_bytes()).is_ok());
}

/// Guards (S17): a password is nowhere in the debug form, and the statement says it has one.
#[test]
fn s17_passwords_print_as_stars() {
    for text in [
        "CREATE USER a IDENTIFIED BY 'hidden'",
        "ALTER USER a IDENTIFIED WITH mysql_native_password AS 'hidden'",
        "GRANT ALL ON *.* TO a IDENTIFIED BY 'hidden'",
        "SET PASSWORD FOR a = 'hidden'",
        "SET PASSWORD = PASSWORD('hidden')",
        "ADD LEAF root:'hidden'@'h':3306",
        "ADD AGGREGATOR root:'hidden'@'h':3306",
    ] {
        let statement = parse(text.as_bytes()).expect(text).statement;
        assert!(statement.has_secret(), "{text}");
        assert!(!format!("{statement:?}").contains("hidden"), "{text}");
    }
}

/// Words and symbols that statements are made of.
fn token() -> impl Strategy<Value = String> {
    let words = "SELECT INSERT INTO VALUES UPDATE DELETE FROM WHERE SET SHOW CREATE TABLE ALTER ADD \
        DROP COLUMN KEY PRIMARY UNIQUE INDEX SHARD ON DATABASE PARTITIONS WITH SYNC DURABILITY LEAF \
        REBALANCE GRANT TO USER IDENTIFIED BY IN IS NOT NULL LIKE BETWEEN AND OR CASE WHEN THEN END \
        ORDER LIMIT FOR LOCK SHARE MODE AS JOIN UNION EXPLAIN LOAD DATA INFILE FIELDS DEFAULT INT \
        VARCHAR t a b ? 1 2.5 1e3 'x' \"y\" `z` ( ) ( ) , , . ; : = + - * / % < > <=> != := @v @@g \
        /*!40101 */ /* -- # x'4D' b'1' 0x1F _binary 'open && || ! ~ ^ & | INTERVAL CAST DATE";
    let words: Vec<String> = words.split_whitespace().map(str::to_owned).collect();
    prop::sample::select(words)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// Guards (S20): random words of the language give statements or errors, never a panic.
    #[test]
    fn s20_words_never_panic(tokens in prop::collection::vec(token(), 0..40)) {
        let text = tokens.join(" ");
        for parsed in Statements::new(text.as_bytes()) {
            let _shown = format!("{parsed:?}");
        }
    }

    /// Guards (S20): random bytes give statements or errors, never a panic.
    #[test]
    fn s20_bytes_never_panic(text in prop::collection::vec(any::<u8>(), 0..200)) {
        for parsed in Statements::new(&text) {
            let _shown = format!("{parsed:?}");
        }
    }
}
