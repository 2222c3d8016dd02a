//! Which operator binds more tightly.

use resprout_sql::statement::{Statement, parse};
use sqlparser::ast::{BinaryOperator, Expr, SelectItem, SetExpr, UnaryOperator};

/// An expression with all its parentheses.
fn grouped(expression: &Expr) -> String {
    match expression {
        Expr::Nested(inner) => grouped(inner),
        Expr::BinaryOp { left, op, right } => {
            let op = match op {
                BinaryOperator::MyIntegerDivide => "DIV".to_owned(),
                other => other.to_string(),
            };
            format!("({} {op} {})", grouped(left), grouped(right))
        }
        Expr::UnaryOp { op: UnaryOperator::Not, expr } => format!("(NOT {})", grouped(expr)),
        Expr::UnaryOp { op, expr } => format!("({op}{})", grouped(expr)),
        Expr::Like { expr, pattern, .. } => {
            format!("({} LIKE {})", grouped(expr), grouped(pattern))
        }
        Expr::InList { expr, .. } => format!("({} IN)", grouped(expr)),
        Expr::IsNull(inner) => format!("({} IS NULL)", grouped(inner)),
        Expr::Between { expr, low, high, .. } => {
            format!("({} BETWEEN {} {})", grouped(expr), grouped(low), grouped(high))
        }
        Expr::Cast { expr, .. } => format!("(BINARY {})", grouped(expr)),
        other => other.to_string(),
    }
}

/// Guards: operators bind as MySQL's manual says, where the parser underneath has other ideas.
#[test]
fn operators_bind_as_in_mysql() {
    let table = [
        ("a DIV b + c", "((a DIV b) + c)"),
        ("a DIV b = c", "((a DIV b) = c)"),
        ("a DIV b DIV c", "((a DIV b) DIV c)"),
        ("a + b MOD c", "(a + (b % c))"),
        ("a || b && c", "(a OR (b AND c))"),
        ("a OR b XOR c AND d", "(a OR (b XOR (c AND d)))"),
        ("a = b LIKE c", "(a = (b LIKE c))"),
        ("a LIKE b = c", "((a LIKE b) = c)"),
        ("a = b IN (1)", "(a = (b IN))"),
        ("a = b IS NULL", "((a = b) IS NULL)"),
        ("a | b & c << d + e * f ^ g", "(a | (b & (c << (d + (e * (f ^ g))))))"),
        ("!a = b", "((NOT a) = b)"),
        ("NOT a = b", "(NOT (a = b))"),
        ("a BETWEEN b AND c AND d", "((a BETWEEN b c) AND d)"),
        ("BINARY a = b", "((BINARY a) = b)"),
        ("5--3", "(5 - (-3))"),
    ];
    for (text, expected) in table {
        let text = format!("SELECT {text}");
        let Statement::Query(query) = parse(text.as_bytes()).expect("sound").statement else {
            panic!("{text}")
        };
        let SetExpr::Select(select) = &*query.body else { panic!("{text}") };
        let SelectItem::UnnamedExpr(expression) = &select.projection[0] else { panic!("{text}") };
        assert_eq!(grouped(expression), expected, "{text}");
    }
}
