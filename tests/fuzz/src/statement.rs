//! The target of statements: text from clients.

use resprout_engine::table::TableSchema;
use resprout_sql::statement::show_create::show_create;
use resprout_sql::statement::{Statement, Statements, direct, parse};
use sqlparser::ast::{Expr, SetExpr};

use crate::Outcome;

/// Any bytes are statements or errors; a table that is made can be shown and made again.
pub(crate) fn text(input: &[u8]) -> Outcome {
    let mut any = false;
    for parsed in Statements::new(input) {
        let Ok(parsed) = parsed else { return Outcome::Refused };
        any = true;
        let _printed = format!("{parsed:?}");
        if let Some(filter) = filter(&parsed.statement) {
            let _rows_or_none = direct::rows(Some(filter), &table(), "t");
        }
        if let Statement::CreateTable(table) = &parsed.statement {
            let Ok(made) = table.definition() else { continue };
            let shown = show_create(&made, made.auto_increment);
            let Ok(again) = parse(shown.as_bytes()) else { panic!("{shown}") };
            let Statement::CreateTable(again) = again.statement else { panic!("{shown}") };
            let again = again.definition();
            assert_eq!(again.as_ref().map(|again| &again.schema), Ok(&made.schema), "{shown}");
        }
    }
    if any { Outcome::Accepted } else { Outcome::Refused }
}

/// The WHERE of a statement on one table.
fn filter(statement: &Statement) -> Option<&Expr> {
    let own = match statement {
        Statement::Query(query) => match &*query.body {
            SetExpr::Select(select) => return select.selection.as_ref(),
            _ => return None,
        },
        Statement::Update(update) => &update.selection.filter,
        Statement::Delete(delete) => &delete.selection.filter,
        _ => return None,
    };
    own.as_ref().map(|filter| &***filter)
}

/// The table that statements of the seeds speak of.
fn table() -> TableSchema {
    let builder = TableSchema::builder("t").column("id", "bigint").column("a", "varchar(20)");
    let builder = builder.nullable(true).column("b", "decimal(8,2)").nullable(true);
    builder.primary_key(&["id"]).build().expect("a sound table")
}
