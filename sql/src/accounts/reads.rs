//! Which tables a query or an expression reads: those of joins, subqueries and WITH included.

use std::ops::ControlFlow;

use sqlparser::ast::{Expr, ObjectName, Query, SetExpr, TableFactor, Visit, Visitor};

use crate::statement::TableName;

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Reads {
    /// Tables, each once, in the order in which they stand.
    pub(super) tables: Vec<TableName>,
    /// Whether any column is named.
    pub(super) columns: bool,
    scopes: Vec<Scope>,
    is_dual: bool,
}

/// The names that the WITH of a query gives.
#[derive(Debug, Default)]
struct Scope {
    recursive: bool,
    /// Queries of WITH that are still to come, with their names.
    coming: Vec<(*const Query, String)>,
    /// Names that stand for rows of a query from here on.
    common: Vec<String>,
}

impl Reads {
    /// Looks through a tree, in addition to what was seen before.
    pub(super) fn look(&mut self, tree: &impl Visit) {
        // Nothing breaks off the walk.
        let _whole: ControlFlow<()> = tree.visit(self);
        self.scopes.clear();
    }

    fn table(&mut self, table: TableName) {
        let is_common = table.database.is_none()
            && self.scopes.iter().any(|scope| scope.common.contains(&table.table));
        if !is_common && !self.tables.contains(&table) {
            self.tables.push(table);
        }
    }

    /// `TABLE t` in the place of a SELECT, which is no relation to the tree's walk.
    fn table_commands(&mut self, body: &SetExpr) {
        match body {
            SetExpr::Table(table) => {
                let (database, name) = (table.schema_name.clone(), table.table_name.clone());
                self.table(TableName { database, table: name.unwrap_or_default() });
            }
            SetExpr::SetOperation { left, right, .. } => {
                self.table_commands(left);
                self.table_commands(right);
            }
            _ => {}
        }
    }
}

/// A name of WITH is known behind its query, and in it only if it is recursive: in
/// `WITH t AS (SELECT * FROM t)` the second `t` is a table.
impl Visitor for Reads {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        if let Some(outer) = self.scopes.last_mut()
            && outer.recursive
        {
            let own = outer.coming.iter().find(|(coming, _)| std::ptr::eq(*coming, query));
            outer.common.extend(own.map(|(_, name)| name.clone()));
        }
        let mut scope = Scope::default();
        if let Some(with) = &query.with {
            scope.recursive = with.recursive;
            let coming = with.cte_tables.iter().map(|common| {
                let query: *const Query = &raw const *common.query;
                (query, common.alias.name.value.clone())
            });
            scope.coming = coming.collect();
        }
        self.scopes.push(scope);
        if query.with.is_none() {
            self.table_commands(&query.body);
        }
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        if query.with.is_some() {
            self.table_commands(&query.body);
        }
        self.scopes.pop();
        if let Some(outer) = self.scopes.last_mut()
            && let Some(at) =
                outer.coming.iter().position(|(coming, _)| std::ptr::eq(*coming, query))
        {
            let (_, name) = outer.coming.swap_remove(at);
            outer.common.push(name);
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<()> {
        if let TableFactor::Table { name, alias: None, .. } = factor
            && let [part] = &name.0[..]
        {
            self.is_dual =
                part.as_ident().is_some_and(|name| name.value.eq_ignore_ascii_case("dual"));
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_relation(&mut self, relation: &ObjectName) -> ControlFlow<()> {
        if std::mem::take(&mut self.is_dual) {
            return ControlFlow::Continue(());
        }
        let mut parts = relation.0.iter().rev().map(|part| match part.as_ident() {
            Some(name) => name.value.clone(),
            None => part.to_string(),
        });
        let table = parts.next().unwrap_or_default();
        self.table(TableName { database: parts.next(), table });
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        self.columns |= match expr {
            Expr::Identifier(name) => name.quote_style.is_some() || !name.value.starts_with('@'),
            Expr::CompoundIdentifier(_) => true,
            _ => false,
        };
        ControlFlow::Continue(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::statement::{Statement, parse};

    fn tables(text: &str) -> String {
        let parsed = parse(text.as_bytes()).unwrap_or_else(|error| panic!("{text}: {error}"));
        let Statement::Query(query) = parsed.statement else { panic!("{text}") };
        let mut reads = Reads::default();
        reads.look(&query.0);
        let names: Vec<_> = reads.tables.iter().map(TableName::to_string).collect();
        names.join(" ")
    }

    /// Promise (S09): every table that a query reads is found, wherever it stands; what WITH names
    /// is none, except where it is.
    #[test]
    fn s09_tables_are_found_everywhere() {
        let cases: &[(&str, &str)] = &[
            ("SELECT 1", ""),
            ("SELECT 1 FROM dual", ""),
            ("SELECT 1 FROM dual d", "dual"),
            ("SELECT 1 FROM d.dual", "d.dual"),
            ("SELECT 1 FROM dual, a", "a"),
            ("SELECT * FROM a, b.c x", "a b.c"),
            ("SELECT * FROM a JOIN b ON a.x = b.x LEFT JOIN c USING (x)", "a b c"),
            ("SELECT * FROM (a JOIN (b JOIN c ON 1) ON 1)", "a b c"),
            ("SELECT * FROM (SELECT * FROM a) x", "a"),
            ("SELECT (SELECT max(y) FROM b) FROM a", "b a"),
            ("SELECT x FROM a WHERE x IN (SELECT y FROM b)", "a b"),
            ("SELECT x FROM a WHERE EXISTS (SELECT 1 FROM b WHERE b.x = a.x)", "a b"),
            ("SELECT x FROM a GROUP BY (SELECT 1 FROM b) HAVING (SELECT 1 FROM c)", "a b c"),
            ("SELECT x FROM a ORDER BY (SELECT 1 FROM b) LIMIT 1", "a b"),
            ("SELECT CASE WHEN 1 THEN (SELECT 1 FROM b) END FROM a", "b a"),
            ("SELECT sum(x) OVER (PARTITION BY (SELECT 1 FROM b)) FROM a", "b a"),
            ("SELECT x FROM a JOIN b ON a.x = (SELECT 1 FROM c)", "a b c"),
            ("SELECT 1 FROM a UNION SELECT 1 FROM b UNION ALL (SELECT 1 FROM c)", "a b c"),
            ("(SELECT 1 FROM a) UNION (SELECT 1 FROM b)", "a b"),
            ("WITH w AS (SELECT * FROM a) SELECT * FROM w, b", "a b"),
            ("WITH w AS (SELECT * FROM w) SELECT * FROM w", "w"),
            ("WITH v AS (SELECT * FROM w), w AS (SELECT 1) SELECT * FROM v, w", "w"),
            ("WITH v AS (SELECT 1), w AS (SELECT * FROM v) SELECT * FROM w", ""),
            ("WITH RECURSIVE w AS (SELECT 1 UNION SELECT * FROM w, a) SELECT * FROM w", "a"),
            ("WITH w AS (SELECT 1) SELECT * FROM d.w", "d.w"),
            ("WITH w AS (SELECT 1) SELECT * FROM W", "W"),
            ("SELECT * FROM (WITH w AS (SELECT 1) SELECT * FROM w) x, w", "w"),
            ("SELECT * FROM w WHERE 1 IN (WITH w AS (SELECT 1) SELECT * FROM w)", "w"),
            ("WITH w AS (SELECT 1) SELECT (SELECT 1 FROM w WHERE 1 IN (SELECT 1 FROM a))", "a"),
        ];
        for (text, expected) in cases {
            assert_eq!(tables(text), *expected, "{text}");
        }
    }
}
