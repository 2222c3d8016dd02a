//! From sqlparser's tree to ours: names resolved, types derived, constants folded.

mod call;
mod cast;
mod fold;
mod interval;
mod literal;
mod operator;
mod row;
mod syntax;

use resprout_engine::table::{ColumnId, ColumnType, TableSchema, Value};
use sqlparser::ast::{CaseWhen, Expr, Ident};

use super::Compiled;
use super::collation::Collation;
use super::context::{Context, NoSession, VariableScope};
use super::error::{Error, excerpt};
use super::node::{Case, Expression, Node, Strength, TextRule};
use super::scope::Scope;
use super::ty::Type;

/// Operators inside of each other. Evaluating goes as deep, on the stack.
pub const DEPTH_MAX: usize = 600;

/// Parts of one compiled expression: comparing rows of values repeats the operand, and repeating
/// multiplies.
pub const NODES_MAX: usize = 1 << 19;

/// Compiles an expression.
///
/// # Errors
/// If a name, function or collation is unknown, a function has the wrong number of arguments, the
/// expression is nested too deeply, or is none that can be evaluated for one row alone.
pub fn compile(expression: &Expr, scope: &Scope<'_>) -> Result<Compiled, Error> {
    let context = Context::new(&NoSession, &[]);
    let mut compiler = Compiler { scope, context: &context, depth: 0, nodes: 0, columns: vec![] };
    let root = compiler.expression(expression)?;
    let mut columns = compiler.columns;
    columns.sort_unstable();
    columns.dedup();
    Ok(Compiled { root, columns })
}

struct Compiler<'c> {
    scope: &'c Scope<'c>,
    /// For folding: nothing that depends on a context is folded.
    context: &'c Context<'c>,
    depth: usize,
    nodes: usize,
    columns: Vec<ColumnId>,
}

impl Compiler<'_> {
    fn expression(&mut self, expression: &Expr) -> Result<Expression, Error> {
        self.nodes += 1;
        if self.depth >= DEPTH_MAX || self.nodes > NODES_MAX {
            return Err(Error::TooDeep);
        }
        if let Some(names) = self.scope.names
            && let Some(given) = names.given(expression)?
        {
            self.columns.push(given.column);
            let node = Node::Column { id: given.column, in_utc: false };
            let mut column = Expression::new(node, given.ty);
            column.text_rule = TextRule { collation: given.collation, strength: Strength::Column };
            return Ok(column);
        }
        self.depth += 1;
        let compiled = self.dispatch(expression);
        self.depth -= 1;
        compiled.map(|compiled| self.fold(compiled))
    }

    fn boxed(&mut self, expression: &Expr) -> Result<Box<Expression>, Error> {
        self.expression(expression).map(Box::new)
    }

    fn pair(&mut self, left: &Expr, right: &Expr) -> Result<(Expression, Expression), Error> {
        Ok((self.expression(left)?, self.expression(right)?))
    }

    fn dispatch(&mut self, expression: &Expr) -> Result<Expression, Error> {
        match expression {
            Expr::Nested(inner) => self.expression(inner),
            Expr::Value(value) => self.literal(&value.value),
            Expr::TypedString(literal) => self.typed_literal(literal),
            Expr::Prefixed { prefix, value } => self.introduced(prefix, value),
            Expr::Identifier(name) => self.name(std::slice::from_ref(name)),
            Expr::CompoundIdentifier(names) => self.name(names),
            Expr::BinaryOp { left, op, right } => self.binary(expression, left, op, right),
            Expr::UnaryOp { op, expr } => self.unary(expression, *op, expr),
            Expr::IsNull(_)
            | Expr::IsNotNull(_)
            | Expr::IsTrue(_)
            | Expr::IsNotTrue(_)
            | Expr::IsFalse(_)
            | Expr::IsNotFalse(_)
            | Expr::IsUnknown(_)
            | Expr::IsNotUnknown(_) => self.is(expression),
            Expr::Between { expr, negated, low, high } => self.between(expr, *negated, (low, high)),
            Expr::InList { expr, list, negated } => self.in_list(expr, list, *negated),
            Expr::Like { negated, any: false, expr, pattern, escape_char } => {
                let escape = escape_char.as_ref().map(|escape| &escape.value);
                self.like(expr, pattern, escape, *negated)
            }
            Expr::RLike { negated, expr, pattern, .. } => self.regexp(expr, pattern, *negated),
            Expr::Case { operand, conditions, else_result, .. } => {
                self.case(operand.as_deref(), conditions, else_result.as_deref())
            }
            Expr::Function(function) => self.function(function),
            Expr::Collate { expr, collation } => self.collate(expr, &collation.to_string()),
            Expr::Tuple(parts) if parts.len() == 1 => self.expression(&parts[0]),
            Expr::Tuple(_) => Err(Error::OperandColumns(1)),
            other => self.special(other),
        }
    }

    /// A node with a type; text compares as the session has it.
    fn made(&self, node: Node, ty: Type) -> Expression {
        let mut made = Expression::new(node, ty);
        made.text_rule = self.literal_rule();
        made
    }

    fn constant(&self, value: Value) -> Expression {
        let ty = Type::of_value(&value);
        self.made(Node::Constant(value), ty)
    }

    const fn literal_rule(&self) -> TextRule {
        TextRule { collation: self.scope.collation, strength: Strength::Literal }
    }

    /// A column, a variable, or one of the functions that need no parentheses.
    fn name(&mut self, names: &[Ident]) -> Result<Expression, Error> {
        if let [first, rest @ ..] = names
            && first.quote_style.is_none()
        {
            if let Some(name) = first.value.strip_prefix("@@") {
                return self.system_variable(name, rest);
            }
            if let Some(name) = first.value.strip_prefix('@') {
                // A user variable's name may have points in it.
                let rest = rest.iter().map(|part| format!(".{}", part.value));
                return Ok(self.user_variable(&(name.to_owned() + &rest.collect::<String>())));
            }
            if rest.is_empty()
                && let Some(call) = self.bare_function(&first.value)
            {
                return call;
            }
        }
        let (id, table) = self.scope.column(names)?;
        self.columns.push(id);
        let (ty, in_utc) = column_type(table, id);
        Ok(self.column(Node::Column { id, in_utc }, ty))
    }

    /// A column's value: its collation is stronger than a literal's.
    fn column(&self, node: Node, ty: Type) -> Expression {
        let mut column = Expression::new(node, ty);
        column.text_rule = TextRule { collation: self.scope.collation, strength: Strength::Column };
        column
    }

    fn user_variable(&self, name: &str) -> Expression {
        self.made(Node::UserVariable(name.to_lowercase().into()), Type::Unknown)
    }

    fn system_variable(&self, name: &str, rest: &[Ident]) -> Result<Expression, Error> {
        let (scope, name) = match (name.to_ascii_lowercase().as_str(), rest) {
            ("session" | "local", [name]) => (VariableScope::Session, name.value.to_lowercase()),
            ("global", [name]) => (VariableScope::Global, name.value.to_lowercase()),
            (name, []) => match name.split_once('.') {
                Some(("session" | "local", name)) => (VariableScope::Session, name.to_owned()),
                Some(("global", name)) => (VariableScope::Global, name.to_owned()),
                _ => (VariableScope::Any, name.to_owned()),
            },
            (name, _) => return Err(Error::UnknownSystemVariable(name.to_owned())),
        };
        let value = self.scope.session.system_variable(scope, &name);
        let value = value.ok_or_else(|| Error::UnknownSystemVariable(name.clone()))?;
        Ok(self.made(Node::SystemVariable(scope, name.into()), Type::of_value(&value)))
    }

    fn case(
        &mut self,
        operand: Option<&Expr>,
        conditions: &[CaseWhen],
        otherwise: Option<&Expr>,
    ) -> Result<Expression, Error> {
        let operand = operand.map(|operand| self.expression(operand)).transpose()?;
        let mut branches = Vec::with_capacity(conditions.len());
        for CaseWhen { condition, result } in conditions {
            branches.push(self.pair(condition, result)?);
        }
        let otherwise = otherwise.map(|otherwise| self.expression(otherwise)).transpose()?;
        let results = || branches.iter().map(|branch| &branch.1).chain(&otherwise);
        let ty = results().map(|result| result.ty).fold(Type::Null, Type::merge);
        let rule = strongest(results().map(|result| result.text_rule), "case")?;
        let rule = rule.unwrap_or(self.literal_rule());
        let operand = match operand {
            None => None,
            Some(operand) => {
                let rules = branches.iter().map(|branch| branch.0.text_rule);
                let compared = strongest(rules.chain([operand.text_rule]), "case")?;
                let collation = compared.map_or(self.scope.collation, |rule| rule.collation);
                Some((operand, collation))
            }
        };
        let case = Case { operand, branches: branches.into(), otherwise };
        let mut made = self.made(Node::Case(Box::new(case)), ty);
        made.text_rule = rule;
        Ok(made)
    }

    fn collate(&mut self, operand: &Expr, name: &str) -> Result<Expression, Error> {
        let name = name.trim_matches(['`', '\'']);
        let collation =
            Collation::named(name).ok_or_else(|| Error::UnknownCollation(name.to_owned()))?;
        let mut operand = self.expression(operand)?;
        operand.text_rule = TextRule { collation, strength: Strength::Explicit };
        Ok(operand)
    }

    /// How two operands compare.
    fn collation(
        &self,
        operands: &[&Expression],
        operation: &'static str,
    ) -> Result<Collation, Error> {
        let texts = operands.iter().filter(|operand| !operand.ty.is_number());
        let rule = strongest(texts.map(|operand| operand.text_rule), operation)?;
        Ok(rule.map_or(self.scope.collation, |rule| rule.collation))
    }

    fn unsupported(expression: &Expr) -> Error {
        Error::Unsupported(excerpt(expression))
    }
}

/// The type of a column, and whether it is kept in UTC.
fn column_type(table: &TableSchema, id: ColumnId) -> (Type, bool) {
    let ty = &table.column(id).ty;
    (Type::of_column(ty), matches!(ty, ColumnType::Timestamp(_)))
}

/// The rule that wins; `None` if there is none at all.
fn strongest(
    rules: impl Iterator<Item = TextRule>,
    operation: &'static str,
) -> Result<Option<TextRule>, Error> {
    let mut strongest: Option<TextRule> = None;
    for rule in rules {
        match strongest {
            Some(found) if found.strength < rule.strength => {}
            Some(found) if found.strength > rule.strength => strongest = Some(rule),
            Some(found) if found.collation != rule.collation => {
                if rule.strength == Strength::Explicit {
                    return Err(Error::CollationMix(operation));
                }
            }
            _ => strongest = Some(rule),
        }
    }
    Ok(strongest)
}
