//! Calls of functions.

use resprout_engine::table::Value;
use sqlparser::ast::{
    Expr, Function as Parsed, FunctionArg, FunctionArgExpr, FunctionArguments, ObjectNamePart,
};

use super::{Compiler, column_type, strongest};
use crate::expression::arithmetic::Operator;
use crate::expression::error::{Error, excerpt};
use crate::expression::functions::{self, Call};
use crate::expression::node::{Expression, Node};
use crate::expression::temporal::interval::Unit;
use crate::expression::ty::Type;

/// Functions that need no parentheses. Some parsers take them for names.
const BARE: &[&str] = &[
    "current_date",
    "current_time",
    "current_timestamp",
    "current_user",
    "localtime",
    "localtimestamp",
    "utc_date",
    "utc_time",
    "utc_timestamp",
];

impl Compiler<'_> {
    /// The function that a name without parentheses means, if it means one.
    pub(super) fn bare_function(&self, name: &str) -> Option<Result<Expression, Error>> {
        let name = name.to_ascii_lowercase();
        BARE.contains(&name.as_str()).then(|| self.call(&name, Vec::new(), None))
    }

    pub(super) fn function(&mut self, parsed: &Parsed) -> Result<Expression, Error> {
        let name = match parsed.name.0.as_slice() {
            [ObjectNamePart::Identifier(name)] => name.value.to_ascii_lowercase(),
            _ => return Err(Error::UnknownFunction(excerpt(&parsed.name))),
        };
        if functions::is_aggregate(&name) || parsed.over.is_some() {
            return Err(Error::GroupFunction);
        }
        let arguments = arguments(&name, parsed)?;
        match (name.as_str(), arguments.as_slice()) {
            ("date_add" | "adddate", _) => return self.date_and_interval(&name, &arguments, false),
            ("date_sub" | "subdate", _) => return self.date_and_interval(&name, &arguments, true),
            ("timestampadd", [unit, amount, date]) => {
                let unit = unit_of(&name, unit)?;
                let (amount, date) = self.pair(amount, date)?;
                return self.shift(date, amount, unit, false);
            }
            ("timestampdiff", [unit, from, to]) => {
                let unit = unit_of(&name, unit)?;
                let (from, to) = self.pair(from, to)?;
                return self.call(&name, vec![from, to], Some(unit));
            }
            ("mod", [left, right]) => {
                let text = format!("({} MOD {})", excerpt(left), excerpt(right));
                let (left, right) = self.pair(left, right)?;
                return Ok(self.arithmetic(Operator::Modulo, left, right, text.into()));
            }
            ("values", [column]) => return self.inserted(column),
            ("default", [column]) => return self.default_of(column),
            _ => {}
        }
        let mut compiled = Vec::with_capacity(arguments.len());
        for argument in arguments {
            compiled.push(self.expression(argument)?);
        }
        self.call(&name, compiled, None)
    }

    /// A function by name with its arguments.
    pub(super) fn call(
        &self,
        name: &str,
        arguments: Vec<Expression>,
        unit: Option<Unit>,
    ) -> Result<Expression, Error> {
        let function =
            functions::named(name).ok_or_else(|| Error::UnknownFunction(excerpt(&name)))?;
        if !function.takes(arguments.len()) {
            return Err(Error::ParameterCount(name.to_owned()));
        }
        let rules = arguments.iter().map(|argument| argument.text_rule);
        let rule = strongest(rules, function.name)?.unwrap_or(self.literal_rule());
        let operands: Vec<_> = arguments.iter().collect();
        let collation = self.collation(&operands, function.name)?;
        let ty = function.ty(&arguments);
        let arguments = arguments.into();
        let call = Call { function, arguments, ty, collation, unit };
        let mut made = self.made(Node::Call(Box::new(call)), ty);
        made.text_rule = rule;
        Ok(made)
    }

    /// `VALUES(column)`: what INSERT gave for it.
    fn inserted(&mut self, column: &Expr) -> Result<Expression, Error> {
        let (id, table) = self.column_of(column)?;
        let (ty, in_utc) = column_type(table, id);
        Ok(self.column(Node::Inserted { id, in_utc }, ty))
    }

    /// `DEFAULT(column)`.
    fn default_of(&mut self, column: &Expr) -> Result<Expression, Error> {
        let (id, table) = self.column_of(column)?;
        let column = table.column(id);
        let default = match &column.default {
            Some(value) => value.clone(),
            None if column.nullable => Value::Null,
            None => return Err(Error::NoDefault(column.name.clone())),
        };
        Ok(self.made(Node::Constant(default), Type::of_column(&column.ty)))
    }

    fn column_of(
        &self,
        column: &Expr,
    ) -> Result<(resprout_engine::table::ColumnId, &resprout_engine::table::TableSchema), Error>
    {
        match column {
            Expr::Identifier(name) => self.scope.column(std::slice::from_ref(name)),
            Expr::CompoundIdentifier(names) => self.scope.column(names),
            other => Err(Self::unsupported(other)),
        }
    }
}

/// The arguments as plain expressions.
fn arguments<'x>(name: &str, parsed: &'x Parsed) -> Result<Vec<&'x Expr>, Error> {
    let list = match &parsed.args {
        FunctionArguments::None => return Ok(Vec::new()),
        FunctionArguments::List(list) => list,
        FunctionArguments::Subquery(_) => return Err(Error::Unsupported(excerpt(parsed))),
    };
    let plain = list.duplicate_treatment.is_none()
        && list.clauses.is_empty()
        && parsed.filter.is_none()
        && parsed.within_group.is_empty();
    if !plain {
        return Err(Error::Unsupported(excerpt(parsed)));
    }
    let one = |argument: &'x FunctionArg| match argument {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expression)) => Ok(expression),
        _ => Err(Error::Parameters(name.to_owned())),
    };
    list.args.iter().map(one).collect()
}

/// A unit that was parsed as a name.
fn unit_of(function: &str, unit: &Expr) -> Result<Unit, Error> {
    let named = match unit {
        Expr::Identifier(name) => Unit::named(&name.value),
        _ => None,
    };
    named.ok_or_else(|| Error::Parameters(function.to_owned()))
}
