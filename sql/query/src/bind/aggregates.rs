//! Calls of aggregate functions.

use std::cmp::Ordering;
use std::sync::Arc;

use datafusion::functions_aggregate::bit_and_or_xor::{bit_and_udaf, bit_or_udaf, bit_xor_udaf};
use datafusion::functions_aggregate::count::count_udaf;
use datafusion::functions_aggregate::min_max::{max_udaf, min_udaf};
use datafusion::functions_aggregate::stddev::{stddev_pop_udaf, stddev_udaf};
use datafusion::functions_aggregate::sum::sum_udaf;
use datafusion::functions_aggregate::variance::{var_pop_udaf, var_samp_udaf};
use datafusion::logical_expr::{AggregateUDF, Expr, lit};
use resprout_sql::expression::{Error, Type};
use resprout_sql::{Code, SqlError};
use sqlparser::ast::{
    self, BinaryOperator, DuplicateTreatment, FunctionArg, FunctionArgExpr, FunctionArgumentClause,
    FunctionArgumentList, FunctionArguments, Ident,
};

use super::names::Bound;
use super::native::identity;
use super::{Binder, Env, Result};
use crate::aggregate::{Best, Concat, Sum, call, function};
use crate::computed::{convert, together};

/// Which aggregate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Count,
    Sum,
    Average,
    Min,
    Max,
    Any,
    Concat,
    BitAnd,
    BitOr,
    BitXor,
    DeviationPop,
    DeviationSample,
    VariancePop,
    VarianceSample,
}

impl Kind {
    pub(super) fn named(name: &str) -> Option<Self> {
        Some(match name.to_ascii_uppercase().as_str() {
            "COUNT" => Self::Count,
            "SUM" => Self::Sum,
            "AVG" => Self::Average,
            "MIN" => Self::Min,
            "MAX" => Self::Max,
            "ANY_VALUE" => Self::Any,
            "GROUP_CONCAT" => Self::Concat,
            "BIT_AND" => Self::BitAnd,
            "BIT_OR" => Self::BitOr,
            "BIT_XOR" => Self::BitXor,
            "STD" | "STDDEV" | "STDDEV_POP" => Self::DeviationPop,
            "STDDEV_SAMP" => Self::DeviationSample,
            "VARIANCE" | "VAR_POP" => Self::VariancePop,
            "VAR_SAMP" => Self::VarianceSample,
            _ => return None,
        })
    }
}

/// Aggregates of MySQL that there are not.
const MISSING: &[&str] = &["json_arrayagg", "json_objectagg", "grouping"];

/// An aggregate that is called, or a value computed of two.
pub(super) enum Called {
    One(Arc<AggregateUDF>, Vec<Expr>, Type),
    /// The first divided by the second.
    Quotient(Arc<AggregateUDF>, Expr, Type),
    /// The first, or a number if there is none.
    Or(Arc<AggregateUDF>, Expr, u64),
}

/// The name of a function, if it is a plain one.
pub(super) fn name_of(function: &ast::Function) -> Option<&str> {
    match &function.name.0[..] {
        [name] => Some(&name.as_ident()?.value),
        _ => None,
    }
}

fn wrong_use() -> SqlError {
    SqlError::new(Code::INVALID_GROUP_FUNCTION, "Invalid use of group function")
}

fn plain(argument: &FunctionArg) -> Option<&ast::Expr> {
    match argument {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expression)) => Some(expression),
        _ => None,
    }
}

/// The arguments of a call that has a list of them.
///
/// # Errors
/// 1064 if it has none.
pub(super) fn list_of(function: &ast::Function) -> Result<&FunctionArgumentList> {
    match &function.args {
        FunctionArguments::List(list) if function.filter.is_none() => Ok(list),
        _ => Err(SqlError::not_supported(&function.to_string())),
    }
}

impl Binder<'_> {
    /// The value of an aggregate; none if the function is another.
    ///
    /// # Errors
    /// 1111 where there are no groups.
    pub(super) fn aggregate(&self, env: &Env<'_>, of: &ast::Function) -> Result<Option<Bound>> {
        let Some(kind) = name_of(of).and_then(Kind::named) else {
            let missing = |name: &str| MISSING.contains(&&*name.to_ascii_lowercase());
            return match name_of(of) {
                Some(name) if missing(name) => Err(SqlError::not_supported(name)),
                _ => Ok(None),
            };
        };
        let group = env.group.ok_or_else(wrong_use)?;
        let list = list_of(of)?;
        if kind == Kind::Concat {
            return self.concat(group, list).map(Some);
        }
        if !list.clauses.is_empty() {
            return Err(SqlError::not_supported(&of.to_string()));
        }
        let distinct = list.duplicate_treatment == Some(DuplicateTreatment::Distinct);
        let arguments = self.arguments(&group.rows, kind, list)?;
        let (called, collation) = self.called(kind, arguments, distinct)?;
        let make = |udaf: &Arc<AggregateUDF>, arguments: Vec<Expr>, distinct: bool| {
            let given = arguments.into_iter().map(|argument| match argument {
                Expr::Literal(..) => argument,
                _ => group.argument(self, argument),
            });
            group.aggregate(self, call(Arc::clone(udaf), given.collect(), distinct))
        };
        let bound = match called {
            Called::One(udaf, arguments, ty) => Bound::of(make(&udaf, arguments, distinct), ty),
            Called::Quotient(udaf, argument, ty) => {
                let sum = Bound::of(make(&udaf, vec![argument.clone()], distinct), ty);
                let count = make(&count_udaf(), vec![argument], distinct);
                self.quotient(&sum, &Bound::of(count, Type::Int))?
            }
            Called::Or(udaf, argument, without) => {
                let value = make(&udaf, vec![argument], false);
                or_number(value, without)
            }
        };
        Ok(Some(Bound { collation, ..bound }))
    }

    /// The values that an aggregate is called with; none for `COUNT(*)`.
    pub(super) fn arguments(
        &self,
        rows: &Env<'_>,
        kind: Kind,
        list: &FunctionArgumentList,
    ) -> Result<Vec<Bound>> {
        // Aggregates of aggregates there are none.
        let rows = Env { windows: None, ..*rows };
        match &list.args[..] {
            [FunctionArg::Unnamed(FunctionArgExpr::Wildcard)] if kind == Kind::Count => Ok(vec![]),
            arguments => {
                let distinct = list.duplicate_treatment == Some(DuplicateTreatment::Distinct);
                let many = kind == Kind::Count && distinct && arguments.len() > 1;
                if arguments.len() != 1 && !many {
                    let name = format!("{kind:?}").to_uppercase();
                    return Err(Error::ParameterCount(name).into());
                }
                let value = |argument: &FunctionArg| {
                    let unknown = || SqlError::not_supported("this argument of an aggregate");
                    self.value(&rows, plain(argument).ok_or_else(unknown)?)
                };
                arguments.iter().map(value).collect()
            }
        }
    }

    /// What has to be called for an aggregate of these values.
    pub(super) fn called(
        &self,
        kind: Kind,
        mut arguments: Vec<Bound>,
        distinct: bool,
    ) -> Result<(Called, resprout_sql::expression::Collation)> {
        let collation = arguments.first().map(|of| of.collation).unwrap_or_default();
        let all_rows = || vec![lit(1_i64)];
        let Some(argument) = arguments.pop() else {
            return Ok((Called::One(count_udaf(), all_rows(), Type::Int), collation));
        };
        if kind == Kind::Count {
            let of = match (arguments.is_empty(), distinct) {
                (true, false) => argument.expr,
                (true, true) => identity(&argument),
                (false, _) => {
                    arguments.push(argument);
                    together(arguments.iter().map(identity).collect())
                }
            };
            return Ok((Called::One(count_udaf(), vec![of], Type::Int), collation));
        }
        let ty = argument.ty;
        let called = match kind {
            Kind::Min | Kind::Max | Kind::Any => {
                let less = kind != Kind::Max;
                let udaf = match less {
                    _ if kind != Kind::Any && argument.needs_key() => {
                        let wanted = if less { Ordering::Less } else { Ordering::Greater };
                        function(Best::new(wanted, argument.collation))
                    }
                    true => min_udaf(),
                    false => max_udaf(),
                };
                Called::One(udaf, vec![argument.expr], ty)
            }
            Kind::Sum | Kind::Average => {
                let of = self.number_of(&argument)?;
                let (udaf, ty) = match of.ty {
                    Type::Double => (sum_udaf(), Type::Double),
                    Type::Decimal { scale, .. } => {
                        (function(Sum::new()), Type::Decimal { precision: 38, scale })
                    }
                    _ => (function(Sum::new()), Type::Decimal { precision: 38, scale: 0 }),
                };
                match kind {
                    Kind::Sum => Called::One(udaf, vec![of.expr], ty),
                    _ => Called::Quotient(udaf, of.expr, ty),
                }
            }
            Kind::BitAnd | Kind::BitOr | Kind::BitXor => {
                let zero = Bound::of(self.literal(&0_u64.into(), Type::UInt)?, Type::UInt);
                let of = self.with_names(&[("of", &argument), ("zero", &zero)], |env| {
                    self.value(env, &operation("of", BinaryOperator::BitwiseOr, "zero"))
                })?;
                match kind {
                    Kind::BitAnd => Called::Or(bit_and_udaf(), of.expr, u64::MAX),
                    Kind::BitOr => Called::Or(bit_or_udaf(), of.expr, 0),
                    _ => Called::Or(bit_xor_udaf(), of.expr, 0),
                }
            }
            _ => {
                let of = convert(argument.expr, ty, Type::Double, self.moment);
                let udaf = match kind {
                    Kind::DeviationPop => stddev_pop_udaf(),
                    Kind::DeviationSample => stddev_udaf(),
                    Kind::VariancePop => var_pop_udaf(),
                    _ => var_samp_udaf(),
                };
                Called::One(udaf, vec![of], Type::Double)
            }
        };
        Ok((called, collation))
    }

    /// A value as a number, as `+ 0` makes one.
    fn number_of(&self, value: &Bound) -> Result<Bound> {
        if matches!(value.ty, Type::Int | Type::UInt | Type::Decimal { .. } | Type::Double) {
            return Ok(value.clone());
        }
        let zero = Bound::of(lit(0_i64), Type::Int);
        let of = self.with_names(&[("of", value), ("zero", &zero)], |env| {
            self.value(env, &operation("of", BinaryOperator::Plus, "zero"))
        })?;
        Ok(match of.ty {
            Type::Int | Type::UInt | Type::Decimal { .. } | Type::Double => of,
            ty => Bound::of(convert(of.expr, ty, Type::Double, self.moment), Type::Double),
        })
    }

    /// One value divided by another, with the digits that MySQL gives.
    pub(super) fn quotient(&self, sum: &Bound, count: &Bound) -> Result<Bound> {
        self.with_names(&[("sum", sum), ("count", count)], |env| {
            self.value(env, &operation("sum", BinaryOperator::Divide, "count"))
        })
    }

    fn concat(
        &self,
        group: &super::group::Group<'_>,
        list: &FunctionArgumentList,
    ) -> Result<Bound> {
        let distinct = list.duplicate_treatment == Some(DuplicateTreatment::Distinct);
        let (mut separator, mut order) = (",".to_owned(), &[][..]);
        for clause in &list.clauses {
            match clause {
                FunctionArgumentClause::OrderBy(by) => order = by,
                FunctionArgumentClause::Separator(text) => {
                    separator = text.clone().into_string().unwrap_or_default();
                }
                _ => return Err(SqlError::not_supported("this clause of GROUP_CONCAT")),
            }
        }
        let rows = Env { windows: None, ..group.rows };
        let mut texts = Vec::with_capacity(list.args.len());
        for argument in &list.args {
            let unknown = || SqlError::not_supported("this argument of GROUP_CONCAT");
            texts.push(self.value(&rows, plain(argument).ok_or_else(unknown)?)?);
        }
        let text = self.concatenated(&texts)?;
        let mut arguments = vec![group.argument(self, text.expr)];
        let mut descending = Vec::with_capacity(order.len());
        for by in order {
            let key = self.value(&rows, &by.expr)?;
            arguments.push(group.argument(self, identity(&key)));
            descending.push(by.options.asc == Some(false));
        }
        let concat =
            Concat::new(self.number(), separator, distinct.then_some(text.collation), descending);
        let made = call(function(concat), arguments, false);
        let expr = group.aggregate(self, made);
        Ok(Bound { expr, ty: Type::Text, collation: text.collation, origin: None })
    }

    /// Values as one text.
    fn concatenated(&self, values: &[Bound]) -> Result<Bound> {
        if let [only] = values
            && only.ty == Type::Text
        {
            return Ok(only.clone());
        }
        let names: Vec<String> = (0..values.len()).map(|at| format!("of{at}")).collect();
        let named: Vec<(&str, &Bound)> = names.iter().map(|name| &**name).zip(values).collect();
        let text = format!("DO CONCAT({})", names.join(", "));
        let concat = resprout_sql::statement::parse(text.as_bytes());
        let expression = match concat.map(|parsed| parsed.statement) {
            Ok(resprout_sql::statement::Statement::Do(mut expressions)) => expressions.pop(),
            _ => None,
        };
        let expression = expression.ok_or_else(|| SqlError::not_supported("GROUP_CONCAT"))?;
        let joined = self.with_names(&named, |env| self.value(env, &expression.0))?;
        let expr = convert(joined.expr.clone(), joined.ty, Type::Text, self.moment);
        Ok(Bound { expr, ty: Type::Text, ..joined })
    }
}

fn operation(left: &str, op: BinaryOperator, right: &str) -> ast::Expr {
    let name = |name: &str| Box::new(ast::Expr::Identifier(Ident::new(name)));
    ast::Expr::BinaryOp { left: name(left), op, right: name(right) }
}

/// A number, or another where it is NULL.
pub(super) fn or_number(value: Expr, without: u64) -> Bound {
    let mut some = datafusion::logical_expr::when(value.clone().is_null(), lit(without));
    let expr = some.otherwise(value.clone()).unwrap_or(value);
    Bound::of(expr, Type::UInt)
}
