//! The compiled form of an expression: a tree that is walked once for each row.

use std::cmp::Ordering;

use resprout_engine::table::{ColumnId, Value, ValueRef};

use super::arithmetic::{self, Arithmetic, BitOperator};
use super::collation::Collation;
use super::comparison::{Between, Comparison, InList, NullSafe, compare};
use super::context::{Context, Row, VariableScope};
use super::convert::{Target, adapt};
use super::error::Error;
use super::functions::{Body, Call};
use super::like::Like;
use super::logic::{self, Test, three_valued, truth_of};
use super::regexp::Regexp;
use super::ty::Type;

/// What is evaluated against: a row and the world around it.
pub(super) struct Env<'e> {
    pub(super) row: &'e dyn Row,
    pub(super) context: &'e Context<'e>,
}

/// A part of a compiled expression.
#[derive(Debug)]
pub(super) struct Expression {
    pub(super) node: Node,
    pub(super) ty: Type,
    pub(super) text_rule: TextRule,
}

/// How a text compares, and how strongly it insists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TextRule {
    pub(super) collation: Collation,
    pub(super) strength: Strength,
}

/// Who said how a text compares; the first wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Strength {
    /// `COLLATE` in the expression.
    Explicit,
    /// A column.
    Column,
    /// A literal, or what is made of literals.
    Literal,
}

/// An operation.
#[derive(Debug)]
pub(super) enum Node {
    Constant(Value),
    /// A literal of hexadecimal digits or bits: bytes, and a number where one is needed.
    Hex(Box<[u8]>),
    Column {
        id: ColumnId,
        /// TIMESTAMP: the row has it in UTC.
        in_utc: bool,
    },
    /// `VALUES(column)`.
    Inserted {
        id: ColumnId,
        in_utc: bool,
    },
    Parameter(usize),
    UserVariable(Box<str>),
    Assign(Box<str>, Box<Expression>),
    SystemVariable(VariableScope, Box<str>),
    Arithmetic(Box<Arithmetic>),
    Negate(Box<Expression>, Box<str>),
    Bits(BitOperator, Box<[Expression; 2]>),
    Invert(Box<Expression>),
    All(Box<[Expression]>),
    Any(Box<[Expression]>),
    Exclusive(Box<[Expression; 2]>),
    Not(Box<Expression>),
    Is {
        operand: Box<Expression>,
        test: Test,
        negated: bool,
    },
    Compare(Box<Comparison>),
    NullSafe(Box<NullSafe>),
    Between(Box<Between>),
    In(Box<InList>),
    Like(Box<Like>),
    Regexp(Box<Regexp>),
    Case(Box<Case>),
    Cast(Box<Expression>, Target),
    Call(Box<Call>),
}

/// `CASE`.
#[derive(Debug)]
pub(super) struct Case {
    /// What the conditions are compared with, and how if it is text.
    pub(super) operand: Option<(Expression, Collation)>,
    /// A condition and a result each.
    pub(super) branches: Box<[(Expression, Expression)]>,
    pub(super) otherwise: Option<Expression>,
}

impl Expression {
    pub(super) const fn new(node: Node, ty: Type) -> Self {
        let text_rule = TextRule { collation: Collation::GeneralCi, strength: Strength::Literal };
        Self { node, ty, text_rule }
    }

    /// The value, if it is the same for all rows and sessions.
    pub(super) const fn constant(&self) -> Option<&Value> {
        match &self.node {
            Node::Constant(value) => Some(value),
            _ => None,
        }
    }

    /// The value with as many digits after the point as its type has.
    #[inline]
    pub(super) fn eval<'e>(&'e self, env: &Env<'e>) -> Result<ValueRef<'e>, Error> {
        let value = self.eval_exactly(env)?;
        if let (ValueRef::Decimal(number), Type::Decimal { scale, .. }) = (&value, self.ty)
            && number.scale() > scale
        {
            return Ok(ValueRef::Decimal(number.rescaled(scale).unwrap_or(*number)));
        }
        Ok(value)
    }

    /// The value for a place where it becomes text: times with as many digits of a fraction as
    /// their type has.
    fn eval_shown<'e>(&'e self, env: &Env<'e>) -> Result<ValueRef<'e>, Error> {
        let value = self.eval(env)?;
        Ok(match (self.ty, value) {
            (Type::Time(1..) | Type::DateTime(1..), value) if !value.is_null() => {
                ValueRef::Text(self.ty.show(&value).into_owned().into())
            }
            (_, value) => value,
        })
    }

    /// An argument of a function that makes values of type `ty`.
    fn eval_for<'e>(&'e self, ty: Type, env: &Env<'e>) -> Result<ValueRef<'e>, Error> {
        if matches!(ty, Type::Text | Type::Bytes) { self.eval_shown(env) } else { self.eval(env) }
    }

    /// The value with the digits that division computed beyond those of the type: what further
    /// arithmetic and comparisons use.
    pub(super) fn eval_exactly<'e>(&'e self, env: &Env<'e>) -> Result<ValueRef<'e>, Error> {
        match &self.node {
            Node::Constant(value) => Ok(value.as_ref()),
            Node::Column { id, in_utc } => local(env.row.column(*id)?, *in_utc, env),
            Node::Parameter(number) => {
                let value = env.context.parameters.get(*number).ok_or(Error::MissingParameter)?;
                Ok(value.as_ref())
            }
            Node::Arithmetic(arithmetic) => arithmetic.evaluate(env),
            Node::Between(between) => between.evaluate(env),
            Node::In(list) => list.evaluate(env),
            Node::Like(like) => like.evaluate(env),
            Node::Call(call) => call.evaluate(env),
            Node::Case(case) => case.evaluate(self.ty, env),
            Node::Cast(operand, target) => target.cast(operand.eval_for(target.ty(), env)?, env),
            Node::Compare(_)
            | Node::NullSafe(_)
            | Node::All(_)
            | Node::Any(_)
            | Node::Exclusive(_)
            | Node::Not(_)
            | Node::Is { .. } => Ok(three_valued(self.truth(env)?)),
            _ => self.eval_rare(env),
        }
    }

    fn eval_rare<'e>(&'e self, env: &Env<'e>) -> Result<ValueRef<'e>, Error> {
        match &self.node {
            Node::Hex(bytes) => Ok(ValueRef::Bytes((&**bytes).into())),
            Node::Inserted { id, in_utc } => local(env.row.inserted(*id)?, *in_utc, env),
            Node::UserVariable(name) => Ok(env.context.session.user_variable(name).into()),
            Node::Assign(name, operand) => {
                let value = operand.eval(env)?.into_owned();
                env.context.session.set_user_variable(name, &value);
                Ok(value.into())
            }
            Node::SystemVariable(scope, name) => {
                let value = env.context.session.system_variable(*scope, name);
                let unknown = || Error::UnknownSystemVariable(name.to_string());
                Ok(value.ok_or_else(unknown)?.into())
            }
            Node::Negate(operand, text) => arithmetic::negate(operand, text, env),
            Node::Bits(op, operands) => arithmetic::bits(*op, operands, env),
            Node::Invert(operand) => arithmetic::invert(operand, env),
            Node::Regexp(regexp) => regexp.evaluate(env),
            _ => Ok(three_valued(self.truth(env)?)),
        }
    }

    /// Whether it is true; `None` for NULL.
    pub(super) fn truth(&self, env: &Env<'_>) -> Result<Option<bool>, Error> {
        match &self.node {
            Node::Compare(comparison) => comparison.evaluate(env),
            Node::NullSafe(comparison) => comparison.evaluate(env).map(Some),
            Node::All(operands) => logic::join(operands, false, env),
            Node::Any(operands) => logic::join(operands, true, env),
            Node::Exclusive(operands) => logic::exclusive(operands, env),
            Node::Not(operand) => Ok(operand.truth(env)?.map(|truth| !truth)),
            Node::Is { operand, test, negated } => {
                logic::is(operand, *test, *negated, env).map(Some)
            }
            _ => truth_of(&self.eval_exactly(env)?, env),
        }
    }
}

/// A TIMESTAMP in the session's zone.
fn local<'e>(value: ValueRef<'e>, in_utc: bool, env: &Env<'_>) -> Result<ValueRef<'e>, Error> {
    match value {
        ValueRef::DateTime(moment) if in_utc => {
            Ok(env.context.from_utc(moment).map_or(ValueRef::Null, ValueRef::DateTime))
        }
        _ => Ok(value),
    }
}

impl Case {
    fn evaluate<'e>(&'e self, ty: Type, env: &Env<'e>) -> Result<ValueRef<'e>, Error> {
        let operand = match &self.operand {
            Some((operand, collation)) => Some((operand.eval_exactly(env)?, *collation)),
            None => None,
        };
        for (condition, result) in &self.branches {
            let holds = match &operand {
                None => condition.truth(env)? == Some(true),
                Some((operand, collation)) => {
                    let condition = condition.eval_exactly(env)?;
                    compare(operand, &condition, *collation, env)?.is_some_and(Ordering::is_eq)
                }
            };
            if holds {
                return adapt(result.eval(env)?, ty, env);
            }
        }
        match &self.otherwise {
            Some(result) => adapt(result.eval(env)?, ty, env),
            None => Ok(ValueRef::Null),
        }
    }
}

impl Call {
    fn evaluate<'e>(&'e self, env: &Env<'e>) -> Result<ValueRef<'e>, Error> {
        match self.function.body {
            Body::Lazy(body) => body(self, env),
            Body::Strict(body) => self.evaluate_strict(body, env),
        }
    }

    /// NULL if an argument is; the usual numbers of arguments need no memory of their own.
    fn evaluate_strict<'e>(
        &'e self,
        body: super::functions::StrictBody,
        env: &Env<'e>,
    ) -> Result<ValueRef<'e>, Error> {
        match &*self.arguments {
            [] => body(&[], env),
            [one] => {
                let one = one.eval_for(self.ty, env)?;
                if one.is_null() { Ok(ValueRef::Null) } else { body(&[one], env) }
            }
            [one, two] => {
                let one = one.eval_for(self.ty, env)?;
                if one.is_null() {
                    return Ok(ValueRef::Null);
                }
                let two = two.eval_for(self.ty, env)?;
                if two.is_null() { Ok(ValueRef::Null) } else { body(&[one, two], env) }
            }
            arguments => {
                let mut values = Vec::with_capacity(arguments.len());
                for argument in arguments {
                    let value = argument.eval_for(self.ty, env)?;
                    if value.is_null() {
                        return Ok(ValueRef::Null);
                    }
                    values.push(value);
                }
                body(&values, env)
            }
        }
    }
}
