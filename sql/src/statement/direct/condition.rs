//! From WHERE to rows: which conditions make a key, and which are left.

use std::cmp::Reverse;

use resprout_engine::table::{ColumnId, Index, Value};
use sqlparser::ast::{BinaryOperator, Expr};

use super::{Access, KeyPart, POINTS_MAX, Rows, Scope, kept};
use crate::statement::operand::Operand;
use crate::statement::tree::Sql;

/// A condition on a row.
#[derive(Clone, Debug, PartialEq)]
pub enum Condition {
    /// `column op value`.
    Compare {
        /// The column.
        column: ColumnId,
        /// How it compares.
        op: Comparison,
        /// With what.
        value: KeyPart,
    },
    /// `column IN (…)`.
    In {
        /// The column.
        column: ColumnId,
        /// With what.
        values: Vec<KeyPart>,
    },
    /// `column IS [NOT] NULL`.
    IsNull {
        /// The column.
        column: ColumnId,
        /// `NOT`.
        not: bool,
    },
    /// Anything else.
    Other(Sql<Box<Expr>>),
}

/// How values compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// `=`.
    Eq,
    /// `<>`.
    Ne,
    /// `<`.
    Lt,
    /// `<=`.
    Le,
    /// `>`.
    Gt,
    /// `>=`.
    Ge,
}

impl Comparison {
    fn of(op: &BinaryOperator) -> Option<Self> {
        Some(match op {
            BinaryOperator::Eq => Self::Eq,
            BinaryOperator::NotEq => Self::Ne,
            BinaryOperator::Lt => Self::Lt,
            BinaryOperator::LtEq => Self::Le,
            BinaryOperator::Gt => Self::Gt,
            BinaryOperator::GtEq => Self::Ge,
            _ => return None,
        })
    }

    /// The same with its sides changed.
    const fn mirrored(self) -> Self {
        match self {
            Self::Lt => Self::Gt,
            Self::Le => Self::Ge,
            Self::Gt => Self::Lt,
            Self::Ge => Self::Le,
            same => same,
        }
    }
}

/// The rows that a filter names, if it does so by primary key.
pub(super) fn rows(scope: Scope<'_>, filter: Option<&Expr>) -> Option<Rows> {
    let key = scope.schema.primary.columns();
    if key.is_empty() {
        return None;
    }
    let mut conditions = Vec::new();
    split(scope, filter?, &mut conditions);
    let shard_positions = shard_positions(scope, key);
    if let Some(access) = points(scope, key, &mut conditions) {
        return Some(Rows { index: None, access, shard_positions, residual: conditions });
    }
    let range = range(key, &conditions);
    let given = range.as_ref().map_or(0, |range| range.given());
    // All conditions stay, as with an index.
    if let Some((prefixes, _)) = prefixes(without_texts(scope, key), given, &conditions) {
        let access = Access::Prefixes(prefixes);
        return Some(Rows { index: None, access, shard_positions, residual: conditions });
    }
    let Range { access, used } = range?;
    remove(&mut conditions, &used);
    Some(Rows { index: None, access, shard_positions, residual: conditions })
}

/// The first columns of a key that are no texts: keys have those in the order of their bytes, conditions
/// compare them without regard to case.
fn without_texts<'k>(scope: Scope<'_>, key: &'k [ColumnId]) -> &'k [ColumnId] {
    let is_text = |id: &ColumnId| scope.schema.column(*id).ty.is_text();
    let usable = key.iter().take_while(|id| !is_text(id)).count();
    &key[..usable]
}

fn shard_positions(scope: Scope<'_>, key: &[ColumnId]) -> Option<Vec<usize>> {
    let position = |column: &ColumnId| key.iter().position(|own| own == column);
    scope.schema.shard_key.iter().map(position).collect()
}

/// The rows that a filter names by the index that says most of them. Texts are left out. All conditions
/// stay: an index has NULLs below all values.
pub(super) fn by_index(scope: Scope<'_>, filter: Option<&Expr>) -> Option<Rows> {
    let mut conditions = Vec::new();
    split(scope, filter?, &mut conditions);
    let of = |index: &Index| {
        let columns = without_texts(scope, &index.columns);
        let range = range(columns, &conditions);
        let given = range.as_ref().map_or(0, |range| range.given());
        let (access, given, fewest) = match prefixes(columns, given, &conditions) {
            Some((prefixes, given)) => {
                let fewest = Reverse(prefixes.len());
                (Access::Prefixes(prefixes), given, fewest)
            }
            None => (range?.access, given, Reverse(1)),
        };
        let unique = index.unique && given == index.columns.len();
        Some(((unique, given, fewest), (index.id, access, shard_positions(scope, columns))))
    };
    let found = scope.schema.indexes.iter().filter_map(of).max_by_key(|(worth, _)| *worth);
    let (_, (index, access, shard_positions)) = found?;
    Some(Rows { index: Some(index), access, shard_positions, residual: conditions })
}

/// Takes what is joined by AND apart.
fn split(scope: Scope<'_>, filter: &Expr, out: &mut Vec<Condition>) {
    match filter {
        Expr::BinaryOp { left, op: BinaryOperator::And, right } => {
            split(scope, left, out);
            split(scope, right, out);
        }
        Expr::Nested(inner) => split(scope, inner, out),
        Expr::Between { expr, negated: false, low, high } => {
            let column = scope.column(expr);
            let bounds = column.and_then(|column| {
                Some((column, scope.part(column, low)?, scope.part(column, high)?))
            });
            match bounds {
                Some((column, low, high)) => {
                    out.push(Condition::Compare { column, op: Comparison::Ge, value: low });
                    out.push(Condition::Compare { column, op: Comparison::Le, value: high });
                }
                None => out.push(Condition::Other(kept(filter))),
            }
        }
        _ => {
            let simple = simple(scope, filter);
            out.push(simple.unwrap_or_else(|| Condition::Other(kept(filter))));
        }
    }
}

/// A condition on one column.
fn simple(scope: Scope<'_>, filter: &Expr) -> Option<Condition> {
    match filter {
        Expr::BinaryOp { left, op, right } => {
            let op = Comparison::of(op)?;
            if let Some(column) = scope.column(left) {
                return Some(Condition::Compare { column, op, value: scope.part(column, right)? });
            }
            let column = scope.column(right)?;
            let value = scope.part(column, left)?;
            Some(Condition::Compare { column, op: op.mirrored(), value })
        }
        Expr::InList { expr, list, negated: false } => {
            let column = scope.column(expr)?;
            // Nothing equals NULL.
            let is_null = |value: &&Expr| {
                matches!(Operand::of_expression(value), Some(Operand::Literal(Value::Null)))
            };
            let values = list.iter().filter(|value| !is_null(value));
            let values = values.map(|value| scope.part(column, value));
            Some(Condition::In { column, values: values.collect::<Option<_>>()? })
        }
        Expr::IsNull(inner) => Some(Condition::IsNull { column: scope.column(inner)?, not: false }),
        Expr::IsNotNull(inner) => {
            Some(Condition::IsNull { column: scope.column(inner)?, not: true })
        }
        _ => None,
    }
}

/// Whole keys: each column equals something or is in a list. Takes those conditions away.
fn points(scope: Scope<'_>, key: &[ColumnId], conditions: &mut Vec<Condition>) -> Option<Access> {
    if let Some(access) = tuples(scope, key, conditions) {
        return Some(access);
    }
    let choices: Vec<usize> =
        key.iter().map(|column| choice_of(*column, conditions)).collect::<Option<_>>()?;
    let mut points: Vec<Vec<KeyPart>> = vec![Vec::with_capacity(key.len())];
    for choice in &choices {
        points = combined(points, values_of(&conditions[*choice]))?;
    }
    remove(conditions, &choices);
    Some(Access::Points(distinct(points)))
}

/// The values that a condition leaves its column.
fn values_of(condition: &Condition) -> &[KeyPart] {
    match condition {
        Condition::Compare { value, .. } => std::slice::from_ref(value),
        Condition::In { values, .. } => values,
        Condition::IsNull { .. } | Condition::Other(_) => &[],
    }
}

/// Each of the points with each of the values behind it; none if those are too many.
fn combined(mut points: Vec<Vec<KeyPart>>, values: &[KeyPart]) -> Option<Vec<Vec<KeyPart>>> {
    if points.len().saturating_mul(values.len()) > POINTS_MAX {
        return None;
    }
    if let [value] = values {
        points.iter_mut().for_each(|point| point.push(value.clone()));
        return Some(points);
    }
    let longer = |point: &Vec<KeyPart>| {
        let point = point.clone();
        values.iter().map(move |value| {
            let mut longer = point.clone();
            longer.push(value.clone());
            longer
        })
    };
    Some(points.iter().flat_map(longer).collect())
}

/// What the first columns are, by `=` and by lists, if that says more than the first `given`, which equal
/// something. With the number of columns.
fn prefixes(
    key: &[ColumnId],
    given: usize,
    conditions: &[Condition],
) -> Option<(Vec<Vec<KeyPart>>, usize)> {
    let mut prefixes = vec![Vec::new()];
    let mut columns = 0;
    for column in key {
        let Some(choice) = choice_of(*column, conditions) else { break };
        let values = values_of(&conditions[choice]);
        if prefixes.len().saturating_mul(values.len()) > POINTS_MAX {
            break;
        }
        prefixes = combined(prefixes, values)?;
        columns += 1;
    }
    (columns > given).then(|| (distinct(prefixes), columns))
}

/// The first condition that says which values a column has: `=` before `IN`.
fn choice_of(column: ColumnId, conditions: &[Condition]) -> Option<usize> {
    let equals = conditions.iter().position(|condition| {
        matches!(condition, Condition::Compare { column: own, op: Comparison::Eq, .. }
            if *own == column)
    });
    equals.or_else(|| {
        conditions.iter().position(
            |condition| matches!(condition, Condition::In { column: own, .. } if *own == column),
        )
    })
}

/// `(a, b) IN ((1, 2), (3, 4))` with the whole key on its left.
fn tuples(scope: Scope<'_>, key: &[ColumnId], conditions: &mut Vec<Condition>) -> Option<Access> {
    for at in 0..conditions.len() {
        let Condition::Other(Sql(other)) = &conditions[at] else { continue };
        let Expr::InList { expr, list, negated: false } = &**other else { continue };
        let Expr::Tuple(columns) = &**expr else { continue };
        let columns: Option<Vec<_>> = columns.iter().map(|own| scope.column(own)).collect();
        let Some(columns) = columns.filter(|own| own.len() == key.len()) else { continue };
        // The order may be another than the key's.
        let order: Option<Vec<_>> =
            key.iter().map(|part| columns.iter().position(|own| own == part)).collect();
        let (Some(order), true) = (order, list.len() <= POINTS_MAX) else { continue };
        let point = |tuple: &Expr| match tuple {
            Expr::Tuple(values) if values.len() == key.len() => {
                let parts = order.iter().zip(key);
                parts.map(|(at, column)| scope.part(*column, &values[*at])).collect()
            }
            _ => None,
        };
        let Some(points) = list.iter().map(point).collect::<Option<Vec<Vec<_>>>>() else {
            continue;
        };
        conditions.remove(at);
        return Some(Access::Points(distinct(points)));
    }
    None
}

/// Each point once, in order of first mention.
fn distinct(points: Vec<Vec<KeyPart>>) -> Vec<Vec<KeyPart>> {
    if points.len() <= 1 {
        return points;
    }
    let mut seen = std::collections::HashSet::with_capacity(points.len());
    // Values have no hash; what they print differs when they do, within one type.
    points.into_iter().filter(|point| seen.insert(format!("{point:?}"))).collect()
}

/// A range, and the conditions that it stands for.
struct Range {
    access: Access,
    used: Vec<usize>,
}

impl Range {
    /// Columns that equal something.
    fn given(&self) -> usize {
        if let Access::Range { prefix, .. } = &self.access { prefix.len() } else { 0 }
    }
}

/// The first columns equal something, the next one is in a range.
fn range(key: &[ColumnId], conditions: &[Condition]) -> Option<Range> {
    let (mut prefix, mut used) = (Vec::new(), Vec::new());
    let mut next = None;
    for column in key {
        let equals = conditions.iter().position(|condition| {
            matches!(condition, Condition::Compare { column: own, op: Comparison::Eq, .. }
                if own == column)
        });
        let Some(at) = equals else {
            next = Some(*column);
            break;
        };
        if let Condition::Compare { value, .. } = &conditions[at] {
            prefix.push(value.clone());
        }
        used.push(at);
    }
    let (mut lower, mut upper) = (None, None);
    for (at, condition) in conditions.iter().enumerate() {
        let Condition::Compare { column, op, value } = condition else { continue };
        if Some(*column) != next {
            continue;
        }
        let (bound, inclusive) = match op {
            Comparison::Gt | Comparison::Ge => (&mut lower, *op == Comparison::Ge),
            Comparison::Lt | Comparison::Le => (&mut upper, *op == Comparison::Le),
            Comparison::Eq | Comparison::Ne => continue,
        };
        // A second bound on the same side stays as a condition.
        if bound.is_none() {
            *bound = Some((value.clone(), inclusive));
            used.push(at);
        }
    }
    if prefix.is_empty() && lower.is_none() && upper.is_none() {
        return None;
    }
    Some(Range { access: Access::Range { prefix, lower, upper }, used })
}

fn remove(conditions: &mut Vec<Condition>, used: &[usize]) {
    let mut at = 0;
    conditions.retain(|_| {
        at += 1;
        !used.contains(&(at - 1))
    });
}
