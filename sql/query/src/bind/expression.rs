//! Scalar expressions: each becomes one computed function of what it names.

use std::cell::RefCell;
use std::ops::ControlFlow;
use std::sync::Arc;

use arrow::datatypes::Field;
use datafusion::logical_expr::{Expr, ScalarUDF, Signature, Volatility};
use resprout_engine::table::{ColumnId, Value};
use resprout_sql::expression::{
    Compiled, Error, Given, Names as Parts, NoRow, Scope, Type, compile,
};
use resprout_sql::pushdown::{Step, steps};
use resprout_sql::{Code, SqlError};
use sqlparser::ast::{self, BinaryOperator, Ident, visit_expressions};

use super::names::Bound;
use super::{Binder, Env, Result, planned};
use crate::computed::{Computed, any};
use crate::values::{data_type, scalar};

/// Functions that give another value each time, or do something.
const VOLATILE: &[&str] = &["rand", "uuid", "uuid_short", "sleep", "last_insert_id"];

/// Parts of an expression that are given, with their numbers.
type Parted = Vec<(ast::Expr, u16)>;

/// What an expression is given, found while it is compiled.
struct Inputs<'a> {
    binder: &'a Binder<'a>,
    env: &'a Env<'a>,
    given: RefCell<Vec<Bound>>,
    /// How each was written, and which it is.
    parts: RefCell<Parted>,
    /// The error of a part, which the compiler has no word for.
    failed: RefCell<Option<SqlError>>,
}

impl Parts for Inputs<'_> {
    fn given(&self, part: &ast::Expr) -> std::result::Result<Option<Given>, Error> {
        match self.binder.part(self.env, part) {
            Ok(None) => Ok(None),
            Ok(Some(bound)) => {
                let given = self.add(bound)?;
                self.parts.borrow_mut().push((part.clone(), given.column.0));
                Ok(Some(given))
            }
            Err(error) => {
                let stand_in = Error::Unsupported(error.text.to_string());
                *self.failed.borrow_mut() = Some(error);
                Err(stand_in)
            }
        }
    }
}

impl Inputs<'_> {
    fn add(&self, bound: Bound) -> std::result::Result<Given, Error> {
        let mut given = self.given.borrow_mut();
        let is = |known: &Bound| known.expr == bound.expr && known.collation == bound.collation;
        let at = given.iter().position(is).unwrap_or(given.len());
        let too_many = |_| Error::Unsupported("more than 65,535 names in an expression".into());
        let column = ColumnId(u16::try_from(at).map_err(too_many)?);
        let (ty, collation) = (bound.ty, bound.collation);
        if at == given.len() {
            given.push(bound);
        }
        Ok(Given { column, ty, collation })
    }
}

/// Whether an expression gives another value each time.
fn is_volatile(expression: &ast::Expr) -> Result<bool> {
    let mut seeded = false;
    let found = visit_expressions(expression, |part| {
        let ast::Expr::Function(function) = part else { return ControlFlow::Continue(()) };
        let name = function.name.to_string().to_ascii_lowercase();
        let has_arguments = match &function.args {
            ast::FunctionArguments::List(list) => !list.args.is_empty(),
            _ => false,
        };
        seeded |= name == "rand" && has_arguments;
        let volatile = VOLATILE.contains(&&*name) && (name != "last_insert_id" || has_arguments);
        if volatile { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    if seeded {
        return Err(SqlError::not_supported("RAND of a seed beside joins, groups and subqueries"));
    }
    Ok(found.is_break())
}

impl Binder<'_> {
    fn compiled(
        &self,
        env: &Env<'_>,
        expression: &ast::Expr,
    ) -> Result<(Compiled, Vec<Bound>, Parted)> {
        let inputs = Inputs {
            binder: self,
            env,
            given: RefCell::default(),
            parts: RefCell::default(),
            failed: RefCell::default(),
        };
        let compiled = {
            let scope = Scope::new(&*self.moment.session)
                .in_clause(env.clause)
                .with_names(&inputs)
                .with_parameter_types(&self.parameter_types);
            compile(expression, &scope)
        };
        match compiled {
            Ok(compiled) => Ok((compiled, inputs.given.into_inner(), inputs.parts.into_inner())),
            Err(error) => Err(inputs.failed.into_inner().unwrap_or_else(|| error.into())),
        }
    }

    /// The value of an expression.
    ///
    /// # Errors
    /// With what the client is told.
    pub(super) fn value(&self, env: &Env<'_>, expression: &ast::Expr) -> Result<Bound> {
        let (compiled, mut given, _) = self.compiled(env, expression)?;
        if let Some(column) = compiled.as_column() {
            let collation = compiled.collation();
            return Ok(Bound { collation, ..given.swap_remove(column.position()) });
        }
        let volatile = is_volatile(expression)?;
        if given.is_empty()
            && !volatile
            && let Some(constant) = self.constant(&compiled)?
        {
            return Ok(constant);
        }
        let (ty, collation) = (compiled.ty(), compiled.collation());
        let expr = self.function(expression, compiled, (&given, None), (false, volatile));
        Ok(Bound { expr, ty, collation, origin: None })
    }

    /// The value of an expression that names nothing; none if it fails or is not known yet.
    fn constant(&self, compiled: &Compiled) -> Result<Option<Bound>> {
        if self.moment.parameters.is_none() {
            return Ok(None);
        }
        let context = self.moment.context();
        let Ok(value) = compiled.evaluate(&NoRow, &context) else { return Ok(None) };
        let ty = match compiled.ty() {
            Type::Unknown => Type::of_value(&value),
            ty => ty,
        };
        let expr = self.literal(&value, ty)?;
        Ok(Some(Bound { expr, ty, collation: compiled.collation(), origin: None }))
    }

    /// A constant.
    ///
    /// # Errors
    /// 1690 if it does not fit the type.
    pub(super) fn literal(&self, value: &Value, ty: Type) -> Result<Expr> {
        let context = self.moment.context();
        Ok(Expr::Literal(planned(scalar(value, ty, &context))?, None))
    }

    /// The truth of an expression.
    ///
    /// # Errors
    /// With what the client is told.
    pub(super) fn truth(&self, env: &Env<'_>, expression: &ast::Expr) -> Result<Expr> {
        let (compiled, given, parts) = self.compiled(env, expression)?;
        let volatile = is_volatile(expression)?;
        if given.is_empty() && !volatile && self.moment.parameters.is_some() {
            let context = self.moment.context();
            if let Ok(truth) = compiled.truth(&NoRow, &context) {
                let constant = datafusion::common::ScalarValue::Boolean(truth);
                return Ok(Expr::Literal(constant, None));
            }
        }
        let steps = self.elsewhere(expression, &parts).filter(|_| !volatile);
        Ok(self.function(expression, compiled, (&given, steps), (true, volatile)))
    }

    /// A condition as it is judged where rows are; none if it is not so simple.
    fn elsewhere(&self, expression: &ast::Expr, parts: &Parted) -> Option<Vec<Step>> {
        let parameters = self.moment.parameters.as_deref()?;
        let mut input = |part: &ast::Expr| {
            let known = parts.iter().find(|(known, _)| known == part);
            known.map(|(_, number)| *number)
        };
        let mut made = Vec::new();
        steps(expression, parameters, &mut input, &mut made).then_some(made)
    }

    /// A compiled expression as a call. One that is there already is taken again, so that equal
    /// parts of a plan are seen to be equal.
    fn function(
        &self,
        expression: &ast::Expr,
        compiled: Compiled,
        (given, steps): (&[Bound], Option<Vec<Step>>),
        (condition, volatile): (bool, bool),
    ) -> Expr {
        let arguments: Vec<Expr> = given.iter().map(|bound| bound.expr.clone()).collect();
        let text = expression.to_string();
        let id = (text.clone(), arguments.clone(), condition);
        if let Some(known) = self.computed.borrow().get(&id).filter(|_| !volatile) {
            return known.call(arguments);
        }
        let volatility = if volatile { Volatility::Volatile } else { Volatility::Immutable };
        let signature = match given.is_empty() {
            true => Signature::nullary(volatility),
            false => any(volatility),
        };
        let computed = Computed {
            text,
            number: self.number(),
            ty: compiled.ty(),
            compiled,
            given: given.iter().map(|bound| bound.ty).collect(),
            argument: (0..given.len()).collect(),
            condition,
            steps,
            moment: Arc::clone(self.moment),
            signature,
        };
        let function = Arc::new(ScalarUDF::new_from_impl(computed));
        self.computed.borrow_mut().insert(id, Arc::clone(&function));
        function.call(arguments)
    }

    /// What a part of an expression is, if it is no scalar expression of other parts.
    fn part(&self, env: &Env<'_>, part: &ast::Expr) -> Result<Option<Bound>> {
        if let Some(group) = env.group
            && let Some(key) = group.key(part)
        {
            return Ok(Some(key));
        }
        match part {
            ast::Expr::Identifier(name) if is_plain(name) => {
                self.named(env, std::slice::from_ref(name))
            }
            ast::Expr::CompoundIdentifier(names) if names.first().is_some_and(is_plain) => {
                self.named(env, names)
            }
            ast::Expr::Function(function) if function.over.is_some() => {
                let Some(windows) = env.windows else {
                    let text = "You cannot use the window function in this context.";
                    return Err(SqlError::new(Code(3593), text));
                };
                self.window(env, windows, function).map(Some)
            }
            ast::Expr::Function(function) => self.aggregate(env, function),
            ast::Expr::Subquery(query) => self.scalar_subquery(env, query).map(Some),
            ast::Expr::Exists { subquery, negated } => {
                self.exists_value(env, subquery, *negated).map(Some)
            }
            ast::Expr::InSubquery { .. } => {
                Err(SqlError::not_supported("IN (SELECT …) as a value"))
            }
            ast::Expr::AnyOp { .. } | ast::Expr::AllOp { .. } => {
                Err(SqlError::not_supported("ANY and ALL as values"))
            }
            ast::Expr::BinaryOp { op: BinaryOperator::Assignment, .. } => {
                Err(SqlError::not_supported("@variable := beside joins, groups and subqueries"))
            }
            _ => Ok(None),
        }
    }

    /// What a name means; none if nothing, and then it may be a function without parentheses.
    ///
    /// # Errors
    /// 1052, 1055 and their like.
    pub(super) fn named(&self, env: &Env<'_>, name: &[Ident]) -> Result<Option<Bound>> {
        let column = env.names.resolve(name, env.clause);
        let alias = || match name {
            [name] => {
                let is = |named: &&super::Named| named.name.eq_ignore_ascii_case(&name.value);
                env.aliases.iter().find(is).map(|named| named.bound.clone())
            }
            _ => None,
        };
        if env.aliases_first
            && let Some(bound) = alias()
        {
            // A column that is grouped by goes before an output of the same name.
            if env.clause == "having clause"
                && let (Some(group), Ok(Some(column))) = (env.group, &column)
                && let Some(key) = group.known(column)
            {
                return Ok(Some(key));
            }
            return Ok(Some(bound));
        }
        if let Some(bound) = column? {
            return match env.group {
                Some(group) => group.column(self, bound, env.clause).map(Some),
                None => Ok(Some(bound.clone())),
            };
        }
        if let Some(bound) = alias() {
            return Ok(Some(bound));
        }
        let Some(parent) = env.parent else { return Ok(None) };
        match self.named(parent, name)? {
            Some(bound) => outer(&bound).map(|expr| Some(bound.at(expr))),
            None => Ok(None),
        }
    }
}

/// Not a variable.
fn is_plain(name: &Ident) -> bool {
    name.quote_style.is_some() || !name.value.starts_with('@')
}

/// A value of the query around.
///
/// # Errors
/// 1235 if it is no column of the next one.
pub(super) fn outer(bound: &Bound) -> Result<Expr> {
    match &bound.expr {
        Expr::Column(column) => {
            let field = Field::new(column.name.clone(), data_type(bound.ty), true);
            Ok(Expr::OuterReferenceColumn(Arc::new(field), column.clone()))
        }
        Expr::Literal(..) => Ok(bound.expr.clone()),
        _ => Err(SqlError::not_supported("a subquery that names something two queries away")),
    }
}
