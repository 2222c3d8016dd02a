//! FROM: tables, derived tables, WITH, and how they are joined.

use std::sync::Arc;

use datafusion::catalog::default_table_source::provider_as_source;
use datafusion::common::{Column as PlanColumn, JoinType, TableReference};
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, Operator};
use resprout_sql::expression::{Collation, Type};
use resprout_sql::{Code, SqlError};
use sqlparser::ast::{
    self, Ident, JoinConstraint, JoinOperator, ObjectName, TableAlias, TableFactor, TableWithJoins,
};

use super::condition::conjuncts;
use super::names::{Bound, Named, Names, Origin, Relation};
use super::{Binder, Common, Env, Relational, Result, planned};
use crate::scan::Table;

/// Tables and what their columns are called.
pub(super) struct From {
    pub(super) plan: LogicalPlan,
    pub(super) names: Names,
}

/// How two tables are joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Inner,
    Left,
    Right,
}

fn operator(operator: &JoinOperator) -> Result<(Kind, &JoinConstraint)> {
    Ok(match operator {
        JoinOperator::Join(on)
        | JoinOperator::Inner(on)
        | JoinOperator::CrossJoin(on)
        | JoinOperator::StraightJoin(on) => (Kind::Inner, on),
        JoinOperator::Left(on) | JoinOperator::LeftOuter(on) => (Kind::Left, on),
        JoinOperator::Right(on) | JoinOperator::RightOuter(on) => (Kind::Right, on),
        _ => return Err(SqlError::not_supported("this kind of join")),
    })
}

fn parts_of(name: &ObjectName) -> Option<Vec<&Ident>> {
    name.0.iter().map(|part| part.as_ident()).collect()
}

impl Binder<'_> {
    /// The tables of a SELECT; one row without columns if there are none.
    ///
    /// # Errors
    /// With what the client is told.
    pub(super) fn from(&self, tables: &[TableWithJoins], parent: Option<&Env<'_>>) -> Result<From> {
        let mut whole: Option<From> = None;
        for table in tables {
            let next = self.joined_tables(table, parent)?;
            whole = Some(match whole {
                None => next,
                Some(left) => {
                    self.join(left, next, (Kind::Inner, &JoinConstraint::None), parent)?
                }
            });
        }
        match whole {
            Some(whole) => Ok(whole),
            None => {
                let plan = planned(LogicalPlanBuilder::empty(true).build())?;
                Ok(From { plan, names: Names::default() })
            }
        }
    }

    fn joined_tables(&self, tables: &TableWithJoins, parent: Option<&Env<'_>>) -> Result<From> {
        let mut left = self.factor(&tables.relation, parent)?;
        for join in &tables.joins {
            let right = self.factor(&join.relation, parent)?;
            left = self.join(left, right, operator(&join.join_operator)?, parent)?;
        }
        Ok(left)
    }

    fn factor(&self, factor: &TableFactor, parent: Option<&Env<'_>>) -> Result<From> {
        match factor {
            TableFactor::Table { name, alias, args: None, partitions, .. }
                if partitions.is_empty() =>
            {
                self.table(name, alias.as_ref())
            }
            TableFactor::Derived { lateral: false, subquery, alias, .. } => {
                let Some(alias) = alias else {
                    let text = "Every derived table must have its own alias";
                    return Err(SqlError::new(Code::DERIVED_MUST_HAVE_ALIAS, text));
                };
                let inner = self.query(subquery, parent)?;
                derived(inner, &alias.name.value, alias)
            }
            TableFactor::NestedJoin { table_with_joins, alias: None } => {
                self.joined_tables(table_with_joins, parent)
            }
            _ => Err(SqlError::not_supported("this kind of table")),
        }
    }

    fn table(&self, name: &ObjectName, alias: Option<&TableAlias>) -> Result<From> {
        let parts = parts_of(name).unwrap_or_default();
        let called = alias.map(|alias| &*alias.name.value);
        if alias.is_some_and(|alias| !alias.columns.is_empty()) {
            return Err(SqlError::not_supported("an alias with columns of a table"));
        }
        let (database, table) = match parts[..] {
            [table] => (None, table),
            [database, table] => (Some(&*database.value), table),
            _ => return Err(SqlError::not_supported("names of more than two parts")),
        };
        if database.is_none()
            && let Some(common) = self.common_table(&table.value, called)?
        {
            return Ok(common);
        }
        if database.is_none() && table.value.eq_ignore_ascii_case("dual") && called.is_none() {
            let plan = planned(LogicalPlanBuilder::empty(true).build())?;
            return Ok(From { plan, names: Names::default() });
        }
        let source = self.catalogue.find(database, &table.value)?;
        self.scan(&Table::new(source, self.moment.zone), called.unwrap_or(&table.value))
    }

    fn scan(&self, table: &Table, alias: &str) -> Result<From> {
        let (database, schema): (Arc<str>, _) =
            (table.database().into(), Arc::new(table.described().clone()));
        let (qualifier, alias): (String, Arc<str>) = (self.qualifier(alias), alias.into());
        let reference = TableReference::bare(&*qualifier);
        let columns = schema.live_columns().map(|(id, column)| {
            let expr = Expr::Column(PlanColumn::new(Some(reference.clone()), &column.name));
            let origin = Origin {
                database: Arc::clone(&database),
                schema: Arc::clone(&schema),
                alias: Arc::clone(&alias),
                id,
            };
            let bound = Bound {
                expr,
                ty: Type::of_column(&column.ty),
                collation: Collation::default(),
                origin: Some(origin),
            };
            Named { name: column.name.clone(), bound }
        });
        let columns = columns.collect();
        let source = provider_as_source(Arc::new(table.clone()));
        let plan = LogicalPlanBuilder::scan(reference, source, None);
        let plan = planned(plan.and_then(LogicalPlanBuilder::build))?;
        let names = Names::of(Relation { database: Some(database), alias, columns });
        Ok(From { plan, names })
    }

    /// A table of WITH; none if there is none of this name.
    fn common_table(&self, name: &str, alias: Option<&str>) -> Result<Option<From>> {
        let found = {
            let common = self.common.borrow();
            let at = common.iter().rposition(|common| common.name().eq_ignore_ascii_case(name));
            at.map(|at| (at, common[at].clone()))
        };
        let Some((at, found)) = found else { return Ok(None) };
        let alias = alias.unwrap_or(name);
        let from = match found {
            Common::Itself(_, inside) => {
                // Each mention reads it under a name of its own.
                self.renamed(inside).and_then(|inside| named(inside, alias, None))?
            }
            Common::Bound(_, whole) => {
                self.renamed(whole).and_then(|whole| named(whole, alias, None))?
            }
            Common::Query(cte) => {
                // It sees what was there when it was written, not what came after.
                let later = self.common.borrow_mut().split_off(at);
                let inner = self.deeper(|| self.query(&cte.query, None));
                self.common.borrow_mut().truncate(at);
                self.common.borrow_mut().extend(later);
                derived(inner?, alias, &cte.alias)?
            }
        };
        Ok(Some(from))
    }

    /// The same rows under names that no other plan has.
    pub(super) fn renamed(&self, inner: Relational) -> Result<Relational> {
        let (mut exprs, mut outputs) = (Vec::new(), Vec::new());
        for output in inner.outputs {
            let name = self.fresh(&output.name);
            exprs.push(output.bound.expr.clone().alias(&name));
            let bound = output.bound.at(super::column(name));
            outputs.push(Named { bound, ..output });
        }
        let plan = LogicalPlanBuilder::from(inner.plan).project(exprs);
        let plan = planned(plan.and_then(LogicalPlanBuilder::build))?;
        Ok(Relational { plan, outputs, single_row: inner.single_row })
    }

    fn join(
        &self,
        left: From,
        right: From,
        (kind, constraint): (Kind, &JoinConstraint),
        parent: Option<&Env<'_>>,
    ) -> Result<From> {
        for relation in &right.names.relations {
            let same =
                |own: &&Relation| own.alias == relation.alias && own.database == relation.database;
            if left.names.relations.iter().any(|own| same(&own)) {
                let text = format!("Not unique table/alias: '{}'", relation.alias);
                return Err(SqlError::new(Code::NONUNIQUE_TABLE, text));
            }
        }
        let using = match constraint {
            JoinConstraint::Using(columns) => Some(using(columns)?),
            JoinConstraint::Natural => {
                let shared = left.names.visible.iter().filter(|own| {
                    right
                        .names
                        .visible
                        .iter()
                        .any(|other| other.name.eq_ignore_ascii_case(&own.name))
                });
                Some(shared.map(|own| Ident::new(&own.name)).collect())
            }
            JoinConstraint::On(_) | JoinConstraint::None => None,
        };
        let mut on = Vec::new();
        let names = match using {
            Some(columns) => self.merged((&left.names, &right.names), kind, &columns, &mut on)?,
            None => side_by_side(&left.names, &right.names),
        };
        let mut names = names;
        if let JoinConstraint::On(condition) = constraint {
            let env = Env::new(&names, parent, "on clause");
            on.extend(self.conditions(&env, condition)?);
            let equal = self.equal_columns(&env, condition);
            if kind == Kind::Inner {
                names.equal.extend(equal);
            }
        }
        let plan = LogicalPlanBuilder::from(left.plan);
        let plan = match kind {
            Kind::Inner if on.is_empty() => plan.cross_join(right.plan),
            Kind::Inner => plan.join_on(right.plan, JoinType::Inner, on),
            Kind::Left => plan.join_on(right.plan, JoinType::Left, on),
            Kind::Right => plan.join_on(right.plan, JoinType::Right, on),
        };
        Ok(From { plan: planned(plan.and_then(LogicalPlanBuilder::build))?, names })
    }

    /// Columns that a condition says are equal.
    pub(super) fn equal_columns(&self, env: &Env<'_>, condition: &ast::Expr) -> Vec<(Expr, Expr)> {
        let column = |expression: &ast::Expr| match expression {
            ast::Expr::Identifier(_) | ast::Expr::CompoundIdentifier(_) => {
                self.value(env, expression).ok().map(|bound| bound.expr)
            }
            _ => None,
        };
        let equal = |part: &ast::Expr| match part {
            ast::Expr::BinaryOp { left, op: ast::BinaryOperator::Eq, right } => {
                Some((column(left)?, column(right)?))
            }
            _ => None,
        };
        conjuncts(condition).into_iter().filter_map(equal).collect()
    }

    /// What USING and NATURAL leave: shared columns once and first.
    fn merged(
        &self,
        (left, right): (&Names, &Names),
        kind: Kind,
        columns: &[Ident],
        on: &mut Vec<Expr>,
    ) -> Result<Names> {
        let mut names = side_by_side(left, right);
        let mut shared: Vec<Named> = Vec::with_capacity(columns.len());
        for column in columns {
            let name = std::slice::from_ref(column);
            let unknown = || {
                let text = format!("Unknown column '{}' in 'from clause'", column.value);
                SqlError::new(Code::BAD_FIELD, text)
            };
            let one = left.resolve(name, "from clause")?.ok_or_else(unknown)?;
            let other = right.resolve(name, "from clause")?.ok_or_else(unknown)?;
            on.push(match self.native(one, Operator::Eq, other) {
                Some(native) => native,
                None => self.compare((one, other), &ast::BinaryOperator::Eq)?,
            });
            if kind == Kind::Inner {
                names.equal.push((one.expr.clone(), other.expr.clone()));
            }
            let bound = if kind == Kind::Right { other.clone() } else { one.clone() };
            let written =
                left.visible.iter().find(|own| own.name.eq_ignore_ascii_case(&column.value));
            let name = written.map_or_else(|| column.value.clone(), |own| own.name.clone());
            shared.push(Named { name, bound });
        }
        let is_shared =
            |own: &Named| columns.iter().any(|column| column.value.eq_ignore_ascii_case(&own.name));
        let rest = names.visible.iter().filter(|own| !is_shared(own)).cloned();
        let visible = shared.into_iter().chain(rest).collect();
        names.visible = visible;
        Ok(names)
    }
}

fn using(columns: &[ObjectName]) -> Result<Vec<Ident>> {
    let one = |column: &ObjectName| match &column.0[..] {
        [name] => name.as_ident().cloned(),
        _ => None,
    };
    let columns: Option<Vec<Ident>> = columns.iter().map(one).collect();
    columns.ok_or_else(|| SqlError::not_supported("USING of more than names"))
}

fn side_by_side(left: &Names, right: &Names) -> Names {
    let both = |one: &[Named], other: &[Named]| [one, other].concat();
    Names {
        relations: [&left.relations[..], &right.relations[..]].concat(),
        visible: both(&left.visible, &right.visible),
        equal: [&left.equal[..], &right.equal[..]].concat(),
    }
}

/// A query as a table.
fn derived(inner: Relational, called: &str, alias: &TableAlias) -> Result<From> {
    let columns: Vec<String> =
        alias.columns.iter().map(|column| column.name.value.clone()).collect();
    named(inner, called, (!columns.is_empty()).then_some(&columns))
}

fn named(inner: Relational, alias: &str, columns: Option<&[String]>) -> Result<From> {
    if let Some(columns) = columns
        && columns.len() != inner.outputs.len()
    {
        let text = "Derived table and its column list have different column counts";
        return Err(SqlError::new(Code(1353), text));
    }
    let mut named: Vec<Named> = Vec::with_capacity(inner.outputs.len());
    for (at, output) in inner.outputs.into_iter().enumerate() {
        let name = columns.and_then(|columns| columns.get(at)).unwrap_or(&output.name).clone();
        if named.iter().any(|known| known.name.eq_ignore_ascii_case(&name)) {
            let text = format!("Duplicate column name '{name}'");
            return Err(SqlError::new(Code::DUP_FIELD_NAME, text));
        }
        let bound = Bound { origin: None, ..output.bound };
        named.push(Named { name, bound });
    }
    let relation = Relation { database: None, alias: alias.into(), columns: named };
    Ok(From { plan: inner.plan, names: Names::of(relation) })
}
