//! SELECT: its clauses in the order in which they count.

use std::ops::ControlFlow;

use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder};
use resprout_engine::table::Value;
use resprout_sql::planned::name_of;
use resprout_sql::statement::Operand;
use resprout_sql::{Code, SqlError};
use sqlparser::ast::{
    self, Distinct, GroupByExpr, GroupByWithModifier, Query, Select, SelectItem,
    SelectItemQualifiedWildcardKind, Visit, Visitor,
};

use super::aggregates::Kind;
use super::group::Group;
use super::names::{Bound, Named, Names};
use super::native::identity;
use super::query::{Tail, Window};
use super::window::{Windows, sort};
use super::{Binder, Env, Relational, Result, column, planned};

/// What a SELECT gives: an expression with its name, or a column of `*`.
enum Item<'q> {
    Expression(&'q ast::Expr, String),
    Column(Named),
}

impl Item<'_> {
    fn name(&self) -> &str {
        match self {
            Self::Expression(_, name) => name,
            Self::Column(named) => &named.name,
        }
    }
}

/// What rows are ordered by, and whether downwards.
pub(super) type SortKeys = Vec<(Bound, bool)>;

/// Clauses of other systems.
fn refuse(select: &Select) -> Result<()> {
    let what = if select.top.is_some() || matches!(select.distinct, Some(Distinct::On(_))) {
        "DISTINCT ON and TOP"
    } else if select.qualify.is_some() || select.into.is_some() || select.prewhere.is_some() {
        "QUALIFY, INTO and PREWHERE"
    } else if !select.lateral_views.is_empty() || !select.connect_by.is_empty() {
        "LATERAL VIEW and CONNECT BY"
    } else if !select.cluster_by.is_empty()
        || !select.distribute_by.is_empty()
        || !select.sort_by.is_empty()
    {
        "CLUSTER BY, DISTRIBUTE BY and SORT BY"
    } else {
        return Ok(());
    };
    Err(SqlError::not_supported(what))
}

/// Looks for aggregates that are not in a subquery.
#[derive(Default)]
struct Aggregates {
    depth: usize,
}

impl Visitor for Aggregates {
    type Break = ();

    fn pre_visit_query(&mut self, _query: &Query) -> ControlFlow<()> {
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _query: &Query) -> ControlFlow<()> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expression: &ast::Expr) -> ControlFlow<()> {
        match expression {
            ast::Expr::Function(function) if self.depth == 0 && function.over.is_none() => {
                let name = super::aggregates::name_of(function);
                match name.and_then(Kind::named) {
                    Some(_) => ControlFlow::Break(()),
                    None => ControlFlow::Continue(()),
                }
            }
            _ => ControlFlow::Continue(()),
        }
    }
}

fn has_aggregates(expression: &ast::Expr) -> bool {
    expression.visit(&mut Aggregates::default()).is_break()
}

impl Binder<'_> {
    /// A SELECT.
    ///
    /// # Errors
    /// With what the client is told.
    pub(super) fn select(
        &self,
        select: &Select,
        tail: Tail<'_>,
        parent: Option<&Env<'_>>,
    ) -> Result<Relational> {
        refuse(select)?;
        let super::from::From { mut plan, mut names } = self.from(&select.from, parent)?;
        if let Some(filter) = &select.selection {
            let env = Env::new(&names, parent, "where clause");
            let conditions = self.conditions(&env, filter)?;
            let equal = self.equal_columns(&env, filter);
            names.equal.extend(equal);
            plan = filtered(plan, conditions)?;
        }
        let items = items(select, &names)?;
        let (by, rollup) = group_by(select)?;
        let rows = Env::new(&names, parent, "field list");
        let windows = Windows::new(&select.named_window);
        let group = self.group(select, (by, rollup), (&items, tail.order_by), rows)?;
        let outside = Env { group: group.as_ref(), windows: Some(&windows), ..rows };
        let mut outputs = Vec::with_capacity(items.len());
        for item in &items {
            let bound = match item {
                Item::Expression(expression, _) => self.value(&outside, expression)?,
                Item::Column(named) => match &group {
                    Some(group) => group.column(self, &named.bound, rows.clause)?,
                    None => named.bound.clone(),
                },
            };
            outputs.push(Named { name: item.name().to_owned(), bound });
        }
        let aliased = Env { aliases: &outputs, aliases_first: true, ..outside };
        let having = match &select.having {
            Some(having) => {
                let env = Env { clause: "having clause", windows: None, ..aliased };
                self.conditions(&env, having)?
            }
            None => Vec::new(),
        };
        let order = Env { clause: "order clause", ..aliased };
        let keys = self.sort_keys(&order, tail.order_by, &outputs)?;
        if let Some(group) = &group {
            plan = group.plan(plan)?;
        }
        plan = windows.plan(filtered(plan, having)?)?;
        let distinct = matches!(select.distinct, Some(Distinct::Distinct));
        let mut whole = self.finished(plan, &outputs, &keys, (distinct, tail.window))?;
        whole.single_row = group.is_some() && by.is_empty();
        Ok(whole)
    }

    /// The groups that a SELECT makes; none if it gives rows.
    fn group<'g>(
        &self,
        select: &Select,
        (by, rollup): (&[ast::Expr], bool),
        (items, order_by): (&[Item<'_>], &[ast::OrderByExpr]),
        rows: Env<'g>,
    ) -> Result<Option<Group<'g>>> {
        let aggregates = items.iter().any(|item| match item {
            Item::Expression(expression, _) => has_aggregates(expression),
            Item::Column(_) => false,
        }) || select.having.as_ref().is_some_and(has_aggregates)
            || order_by.iter().any(|by| has_aggregates(&by.expr));
        if by.is_empty() && !aggregates {
            return Ok(None);
        }
        let rows = Env { clause: "group statement", ..rows };
        let mut group = Group::new(rows, !by.is_empty(), rollup);
        for expression in by {
            self.group_key(&group, expression, items)?;
        }
        group.rows.clause = "field list";
        Ok(Some(group))
    }

    /// What GROUP BY names: a column, else an output by its alias or position; or an expression.
    fn group_key(
        &self,
        group: &Group<'_>,
        expression: &ast::Expr,
        items: &[Item<'_>],
    ) -> Result<()> {
        let item = match (expression, Operand::of_expression(expression)) {
            (_, Some(Operand::Literal(Value::Int(at)))) => {
                let at = usize::try_from(at).ok().and_then(|at| at.checked_sub(1));
                let item = at.and_then(|at| items.get(at));
                Some(item.ok_or_else(|| unknown_column(expression, "group statement"))?)
            }
            (ast::Expr::Identifier(name), _) => {
                let column =
                    group.rows.names.resolve(std::slice::from_ref(name), "group statement")?;
                let is = |item: &&Item<'_>| {
                    matches!(item, Item::Expression(..))
                        && item.name().eq_ignore_ascii_case(&name.value)
                };
                if column.is_some() { None } else { items.iter().find(is) }
            }
            _ => None,
        };
        match item {
            None => group.add_key(self, expression),
            Some(Item::Column(named)) => group.add_column(self, &named.bound),
            Some(Item::Expression(expression, name)) if has_aggregates(expression) => {
                Err(SqlError::new(Code::WRONG_GROUP_FIELD, format!("Can't group on '{name}'")))
            }
            Some(Item::Expression(expression, _)) => group.add_key(self, expression),
        }
    }

    /// What ORDER BY names: an output by alias or position, or an expression.
    pub(super) fn sort_keys(
        &self,
        env: &Env<'_>,
        order_by: &[ast::OrderByExpr],
        outputs: &[Named],
    ) -> Result<SortKeys> {
        let key = |by: &ast::OrderByExpr| {
            if by.options.nulls_first.is_some() || by.with_fill.is_some() {
                return Err(SqlError::not_supported("NULLS FIRST and WITH FILL"));
            }
            let bound = match Operand::of_expression(&by.expr) {
                Some(Operand::Literal(Value::Int(at))) => {
                    let at = usize::try_from(at).ok().and_then(|at| at.checked_sub(1));
                    let output = at.and_then(|at| outputs.get(at));
                    output.ok_or_else(|| unknown_column(&by.expr, env.clause))?.bound.clone()
                }
                _ => self.value(env, &by.expr)?,
            };
            Ok((bound, by.options.asc == Some(false)))
        };
        order_by.iter().map(key).collect()
    }

    /// Outputs, told apart, ordered and cut.
    pub(super) fn finished(
        &self,
        plan: LogicalPlan,
        outputs: &[Named],
        keys: &[(Bound, bool)],
        (distinct, window): (bool, Window),
    ) -> Result<Relational> {
        let (mut columns, mut made) = (Vec::new(), Vec::new());
        for output in outputs {
            let name = self.fresh(&output.name);
            columns.push(output.bound.expr.clone().alias(&name));
            made.push(Named { name: output.name.clone(), bound: output.bound.at(column(name)) });
        }
        let known = |key: &Bound| {
            let is = |output: &Named| {
                output.bound.expr == key.expr && output.bound.collation == key.collation
            };
            outputs.iter().position(is)
        };
        let plan = LogicalPlanBuilder::from(plan);
        let (mut plan, sorts, extra) = if distinct {
            let plan = planned(plan.project(columns).and_then(LogicalPlanBuilder::build))?;
            let whole =
                self.distinct(Relational { plan, outputs: made, single_row: false }, None)?;
            made = whole.outputs;
            let mut sorts = Vec::with_capacity(keys.len());
            for (key, descending) in keys {
                if matches!(key.expr, Expr::Literal(..)) {
                    continue;
                }
                let at = known(key).ok_or_else(|| {
                    let text = "Expression of ORDER BY clause is not in SELECT list; this is incompatible with DISTINCT";
                    SqlError::new(Code(3065), text)
                })?;
                sorts.push(sort(identity(&made[at].bound), *descending));
            }
            (LogicalPlanBuilder::from(whole.plan), sorts, false)
        } else {
            let (mut sorts, mut extra) = (Vec::with_capacity(keys.len()), false);
            for (key, descending) in keys {
                let expr = match known(key).filter(|_| !key.needs_key()) {
                    _ if matches!(key.expr, Expr::Literal(..)) => continue,
                    Some(at) => made[at].bound.expr.clone(),
                    None => {
                        let name = self.fresh("sort");
                        columns.push(identity(key).alias(&name));
                        extra = true;
                        column(name)
                    }
                };
                sorts.push(sort(expr, *descending));
            }
            (planned(plan.project(columns))?, sorts, extra)
        };
        if !sorts.is_empty() {
            plan = planned(plan.sort(sorts))?;
        }
        if !window.is_all() {
            plan = planned(plan.limit(window.skip, window.take))?;
        }
        if extra {
            let outputs: Vec<Expr> = made.iter().map(|output| output.bound.expr.clone()).collect();
            plan = planned(plan.project(outputs))?;
        }
        Ok(Relational { plan: planned(plan.build())?, outputs: made, single_row: false })
    }
}

fn filtered(plan: LogicalPlan, conditions: Vec<Expr>) -> Result<LogicalPlan> {
    let Some(all) = conditions.into_iter().reduce(Expr::and) else { return Ok(plan) };
    planned(LogicalPlanBuilder::from(plan).filter(all).and_then(LogicalPlanBuilder::build))
}

fn unknown_column(expression: &ast::Expr, clause: &str) -> SqlError {
    SqlError::new(Code::BAD_FIELD, format!("Unknown column '{expression}' in '{clause}'"))
}

fn group_by(select: &Select) -> Result<(&[ast::Expr], bool)> {
    match &select.group_by {
        GroupByExpr::Expressions(by, modifiers) => match &modifiers[..] {
            [] => Ok((by, false)),
            [GroupByWithModifier::Rollup] => Ok((by, true)),
            _ => Err(SqlError::not_supported("this kind of GROUP BY")),
        },
        GroupByExpr::All(_) => Err(SqlError::not_supported("GROUP BY ALL")),
    }
}

fn items<'q>(select: &'q Select, names: &Names) -> Result<Vec<Item<'q>>> {
    let mut items = Vec::with_capacity(select.projection.len());
    for item in &select.projection {
        match item {
            SelectItem::UnnamedExpr(expression) => {
                items.push(Item::Expression(expression, name_of(expression)));
            }
            SelectItem::ExprWithAlias { expr, alias } => {
                items.push(Item::Expression(expr, alias.value.clone()));
            }
            SelectItem::Wildcard(_) => {
                if names.relations.is_empty() {
                    return Err(SqlError::new(Code(1096), "No tables used"));
                }
                items.extend(names.visible.iter().cloned().map(Item::Column));
            }
            SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(of), _) => {
                let parts: Option<Vec<ast::Ident>> =
                    of.0.iter().map(|part| part.as_ident().cloned()).collect();
                let columns = parts.as_ref().and_then(|parts| names.all_of(parts));
                let unknown = || SqlError::new(Code::BAD_TABLE, format!("Unknown table '{of}'"));
                items.extend(columns.ok_or_else(unknown)?.iter().cloned().map(Item::Column));
            }
            _ => return Err(SqlError::not_supported("this item of a SELECT")),
        }
    }
    Ok(items)
}
