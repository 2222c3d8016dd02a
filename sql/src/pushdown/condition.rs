//! Conditions on their way: from a statement to steps, and from steps to what evaluates them.
//!
//! Only what means the same wherever it is evaluated is pushed down: comparisons of columns and constants, `IN`, `BETWEEN`,
//! `IS NULL`, and these joined. None of that fails or asks the session anything.

use resprout_access::pushdown::{Comparator, Input, Pushdown, Step};
use resprout_engine::Error;
use resprout_engine::table::{ColumnId, TableSchema, Value};
use sqlparser::ast::{self, BinaryOperator, Expr, Ident, UnaryOperator};

use super::impossible;
use crate::expression::{self, Collation, Compiled, Given, Names, Scope, Type, compile};
use crate::statement::Operand;

/// Steps of the longest condition that is pushed down.
pub const STEPS_MAX: usize = 4096;
/// Inputs of one: columns and keys of columns.
const INPUTS_MAX: usize = 1 << 14;
/// Operators inside of each other.
const DEPTH_MAX: usize = 64;
/// Operands of one AND or OR: they are a tree as deep when they are compiled.
const JOINED_MAX: usize = 256;

/// The steps of an expression, added to others; whether it is one that is pushed down. `input` says which input a part
/// is, if it is one; parameters have values.
pub fn steps(
    expression: &Expr,
    parameters: &[Value],
    input: &mut dyn FnMut(&Expr) -> Option<u16>,
    steps: &mut Vec<Step>,
) -> bool {
    add(expression, (parameters, 0), input, steps).is_some()
}

fn add(
    expression: &Expr,
    (parameters, depth): (&[Value], usize),
    input: &mut dyn FnMut(&Expr) -> Option<u16>,
    steps: &mut Vec<Step>,
) -> Option<()> {
    if depth > DEPTH_MAX || steps.len() >= STEPS_MAX {
        return None;
    }
    if let Some(at) = input(expression) {
        steps.push(Step::Input(at));
        return Some(());
    }
    if let Some(constant) = constant(expression, parameters) {
        steps.push(Step::Constant(constant?));
        return Some(());
    }
    let deeper = (parameters, depth + 1);
    match expression {
        Expr::Nested(inner) => add(inner, deeper, input, steps)?,
        Expr::BinaryOp { left, op, right } => {
            add(left, deeper, input, steps)?;
            add(right, deeper, input, steps)?;
            steps.push(match op {
                BinaryOperator::And => Step::All(2),
                BinaryOperator::Or | BinaryOperator::StringConcat => Step::Any(2),
                op => Step::Compare(comparator(op)?),
            });
        }
        Expr::UnaryOp { op: UnaryOperator::Not | UnaryOperator::BangNot, expr } => {
            add(expr, deeper, input, steps)?;
            steps.push(Step::Not);
        }
        Expr::IsNull(of) | Expr::IsNotNull(of) => {
            add(of, deeper, input, steps)?;
            steps.push(Step::IsNull { negated: matches!(expression, Expr::IsNotNull(_)) });
        }
        Expr::Between { expr, negated, low, high } => {
            for part in [expr, low, high] {
                add(part, deeper, input, steps)?;
            }
            steps.push(Step::Between { negated: *negated });
        }
        Expr::InList { expr, list, negated } => {
            add(expr, deeper, input, steps)?;
            for item in list {
                add(item, deeper, input, steps)?;
            }
            steps.push(Step::In { items: u16::try_from(list.len()).ok()?, negated: *negated });
        }
        _ => return None,
    }
    Some(())
}

/// A constant, if it is one; that may be one which is not pushed down.
#[expect(clippy::option_option, reason = "no constant and one that stays are different answers")]
fn constant(expression: &Expr, parameters: &[Value]) -> Option<Option<Value>> {
    match Operand::of_expression(expression)? {
        // Digits of bytes are a number beside one.
        Operand::Literal(Value::Bytes(_)) | Operand::Default => Some(None),
        Operand::Literal(value) => Some(Some(value)),
        Operand::Parameter(number) => {
            let at = usize::from(number).checked_sub(1)?;
            Some(parameters.get(at).cloned())
        }
        Operand::Expression(_) => None,
    }
}

fn comparator(op: &BinaryOperator) -> Option<Comparator> {
    Some(match op {
        BinaryOperator::Eq => Comparator::Equal,
        BinaryOperator::NotEq => Comparator::NotEqual,
        BinaryOperator::Lt => Comparator::Less,
        BinaryOperator::LtEq => Comparator::LessOrEqual,
        BinaryOperator::Gt => Comparator::Greater,
        BinaryOperator::GtEq => Comparator::GreaterOrEqual,
        _ => return None,
    })
}

const fn operator(comparator: Comparator) -> BinaryOperator {
    match comparator {
        Comparator::Equal => BinaryOperator::Eq,
        Comparator::NotEqual => BinaryOperator::NotEq,
        Comparator::Less => BinaryOperator::Lt,
        Comparator::LessOrEqual => BinaryOperator::LtEq,
        Comparator::Greater => BinaryOperator::Gt,
        Comparator::GreaterOrEqual => BinaryOperator::GtEq,
    }
}

/// Whether what is to be done can be done with rows of the table: so it is asked before it is sent.
#[must_use]
pub fn is_possible(pushdown: &Pushdown, schema: &TableSchema) -> bool {
    compiled(pushdown, schema).is_ok()
}

/// The condition, ready to be evaluated, and the constants that it has as parameters.
pub(super) fn compiled(
    pushdown: &Pushdown,
    schema: &TableSchema,
) -> Result<Option<(Compiled, Vec<Value>)>, Error> {
    if pushdown.inputs.len() > INPUTS_MAX {
        return Err(impossible("more columns than a table has"));
    }
    if pushdown.condition.is_empty() {
        return Ok(None);
    }
    let (tree, parameters) = tree(&pushdown.condition, pushdown.inputs.len())?;
    let mut given = Vec::with_capacity(pushdown.inputs.len());
    for (at, input) in (0..).map(ColumnId).zip(&pushdown.inputs) {
        let ty = match input {
            Input::Key(..) => (Type::Bytes, Collation::Binary),
            Input::Column(id) => {
                let column = schema.live_columns().find(|(live, _)| live == id);
                let (_, column) = column.ok_or_else(|| impossible("there is no such column"))?;
                (Type::of_column(&column.ty), Collation::default())
            }
        };
        given.push(Given { column: at, ty: ty.0, collation: ty.1 });
    }
    let types: Vec<Type> = parameters.iter().map(Type::of_value).collect();
    let names = Inputs(given);
    let scope = Scope::empty().with_names(&names).with_parameter_types(&types);
    let compiled = compile(&tree, &scope).map_err(|error| super::failed(&error))?;
    Ok(Some((compiled, parameters)))
}

/// Inputs as names: `c0`, `c1` and so on.
struct Inputs(Vec<Given>);

impl Names for Inputs {
    fn given(&self, part: &Expr) -> Result<Option<Given>, expression::Error> {
        let Expr::Identifier(name) = part else { return Ok(None) };
        let at = name.value.strip_prefix('c').and_then(|at| at.parse::<usize>().ok());
        Ok(at.and_then(|at| self.0.get(at).copied()))
    }
}

/// A part of the tree that is being made, and how deep it is.
type Part = (Expr, usize);

/// Steps as a tree, with its constants.
pub(super) fn tree(steps: &[Step], inputs: usize) -> Result<(Expr, Vec<Value>), Error> {
    if steps.len() > STEPS_MAX {
        return Err(impossible("a condition that is too long"));
    }
    let (mut stack, mut parameters) = (Vec::<Part>::new(), Vec::new());
    for step in steps {
        let part = part(step, inputs, &mut stack, &mut parameters);
        stack.push(part.ok_or_else(|| impossible("a condition without its operands"))?);
    }
    match stack.pop() {
        Some((tree, _)) if stack.is_empty() => Ok((tree, parameters)),
        _ => Err(impossible("a condition that is not one")),
    }
}

fn part(
    step: &Step,
    inputs: usize,
    stack: &mut Vec<Part>,
    parameters: &mut Vec<Value>,
) -> Option<Part> {
    let mut take = |count: usize| -> Option<(Vec<Box<Expr>>, usize)> {
        let from = stack.len().checked_sub(count)?;
        let depth = stack[from..].iter().map(|part| part.1).max().unwrap_or(0) + 1;
        let taken = stack.drain(from..).map(|part| Box::new(part.0)).collect();
        (depth <= 2 * DEPTH_MAX).then_some((taken, depth))
    };
    Some(match step {
        Step::Input(at) => {
            let is_there = usize::from(*at) < inputs;
            is_there.then(|| (Expr::Identifier(Ident::new(format!("c{at}"))), 0))?
        }
        Step::Constant(value) => (literal(value, parameters), 0),
        Step::Compare(comparator) => {
            let (operands, depth) = take(2)?;
            let [left, right] = operands.try_into().ok()?;
            (Expr::BinaryOp { left, op: operator(*comparator), right }, depth)
        }
        Step::Between { negated } => {
            let (operands, depth) = take(3)?;
            let [expr, low, high] = operands.try_into().ok()?;
            (Expr::Between { expr, negated: *negated, low, high }, depth)
        }
        Step::In { items, negated } => {
            let (operands, depth) = take(usize::from(*items) + 1)?;
            let mut operands = operands.into_iter();
            let expr = operands.next()?;
            let list: Vec<Expr> = operands.map(|item| *item).collect();
            let is_some = !list.is_empty();
            is_some.then_some((Expr::InList { expr, list, negated: *negated }, depth))?
        }
        Step::IsNull { negated } => {
            let (operands, depth) = take(1)?;
            let [of] = operands.try_into().ok()?;
            (if *negated { Expr::IsNotNull(of) } else { Expr::IsNull(of) }, depth)
        }
        Step::All(count) | Step::Any(count) => {
            let is_all = matches!(step, Step::All(_));
            let count = usize::from(*count);
            let (operands, depth) = (count <= JOINED_MAX).then(|| take(count))??;
            let join = |left, right| {
                let op = if is_all { BinaryOperator::And } else { BinaryOperator::Or };
                Box::new(Expr::BinaryOp { left, op, right })
            };
            (*operands.into_iter().reduce(join)?, depth)
        }
        Step::Not => {
            let (operands, depth) = take(1)?;
            let [expr] = operands.try_into().ok()?;
            (Expr::UnaryOp { op: UnaryOperator::Not, expr }, depth)
        }
    })
}

/// A constant: as a literal where that is the same value, for lists of those are looked through faster.
fn literal(value: &Value, parameters: &mut Vec<Value>) -> Expr {
    let literal = match value {
        Value::Null => ast::Value::Null,
        Value::Int(number @ 0..) => ast::Value::Number(number.to_string(), false),
        Value::Text(text) => ast::Value::SingleQuotedString(text.clone()),
        other => {
            parameters.push(other.clone());
            ast::Value::Placeholder(format!("?{}", parameters.len()))
        }
    };
    Expr::Value(literal.into())
}
