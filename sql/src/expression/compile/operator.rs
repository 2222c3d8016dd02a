//! Operators: which operation each is for its operands' types, and the type of its result.

use resprout_engine::table::{Decimal, Value};
use sqlparser::ast::{BinaryOperator, Expr, UnaryOperator, Value as Literal};

use super::{Compiler, interval};
use crate::expression::arithmetic::{Arithmetic, BitOperator, Operator};
use crate::expression::collation::Collation;
use crate::expression::comparison::{Between, Comparator, Comparison, InList, Items, NullSafe};
use crate::expression::convert::number_of_bytes;
use crate::expression::decimal;
use crate::expression::error::{Error, excerpt};
use crate::expression::like::Like;
use crate::expression::logic::Test;
use crate::expression::node::{Expression, Node};
use crate::expression::regexp::Regexp;
use crate::expression::ty::Type;

/// A literal of hexadecimal digits is a number where one is needed.
pub(super) fn as_number(mut operand: Expression) -> Expression {
    if let Node::Hex(bytes) = &operand.node {
        operand.node = Node::Constant(number_of_bytes(bytes));
        operand.ty = Type::UInt;
    }
    operand
}

/// The same where the other operand is a number.
fn as_number_beside(operand: Expression, other: Type) -> Expression {
    if other.is_number() { as_number(operand) } else { operand }
}

/// How an operation was written, for errors.
fn written(expression: &Expr) -> Box<str> {
    format!("({})", excerpt(expression)).into()
}

const fn arithmetic_operator(op: &BinaryOperator) -> Option<Operator> {
    Some(match op {
        BinaryOperator::Plus => Operator::Add,
        BinaryOperator::Minus => Operator::Subtract,
        BinaryOperator::Multiply => Operator::Multiply,
        BinaryOperator::Divide => Operator::Divide,
        BinaryOperator::Modulo => Operator::Modulo,
        BinaryOperator::MyIntegerDivide | BinaryOperator::DuckIntegerDivide => {
            Operator::DivideWhole
        }
        _ => return None,
    })
}

pub(super) const fn comparator(op: &BinaryOperator) -> Option<Comparator> {
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

const fn bit_operator(op: &BinaryOperator) -> Option<BitOperator> {
    Some(match op {
        BinaryOperator::BitwiseAnd => BitOperator::And,
        BinaryOperator::BitwiseOr => BitOperator::Or,
        BinaryOperator::BitwiseXor | BinaryOperator::PGBitwiseXor => BitOperator::Xor,
        BinaryOperator::PGBitwiseShiftLeft => BitOperator::Left,
        BinaryOperator::PGBitwiseShiftRight => BitOperator::Right,
        _ => return None,
    })
}

/// The operands of a chain of one operator, from left to right: `a OR b OR c` is one operation,
/// however long, and needs no stack.
fn chain<'x>(expression: &'x Expr, wanted: &[BinaryOperator]) -> Vec<&'x Expr> {
    let mut operands = Vec::new();
    let mut rest = expression;
    while let Expr::BinaryOp { left, op, right } = rest
        && wanted.contains(op)
    {
        operands.push(&**right);
        rest = left;
    }
    operands.push(rest);
    operands.reverse();
    operands
}

impl Compiler<'_> {
    pub(super) fn binary(
        &mut self,
        whole: &Expr,
        left: &Expr,
        op: &BinaryOperator,
        right: &Expr,
    ) -> Result<Expression, Error> {
        if let Some(op) = arithmetic_operator(op) {
            if let Some(shifted) = interval::operands(op, left, right) {
                return self.shifted(&shifted);
            }
            let (left, right) = self.pair(left, right)?;
            return Ok(self.arithmetic(op, left, right, written(whole)));
        }
        if let Some(op) = comparator(op) {
            return self.comparison(op, left, right);
        }
        if let Some(op) = bit_operator(op) {
            let (left, right) = self.pair(left, right)?;
            let operands = Box::new([as_number(left), as_number(right)]);
            return Ok(self.made(Node::Bits(op, operands), Type::UInt));
        }
        match op {
            BinaryOperator::And => {
                let operands = self.chained(whole, &[BinaryOperator::And])?;
                Ok(self.made(Node::All(operands), Type::Int))
            }
            // `||` is OR unless sql_mode has PIPES_AS_CONCAT, which is not offered.
            BinaryOperator::Or | BinaryOperator::StringConcat => {
                let both = [BinaryOperator::Or, BinaryOperator::StringConcat];
                let operands = self.chained(whole, &both)?;
                Ok(self.made(Node::Any(operands), Type::Int))
            }
            BinaryOperator::Xor => {
                let (left, right) = self.pair(left, right)?;
                Ok(self.made(Node::Exclusive(Box::new([left, right])), Type::Int))
            }
            BinaryOperator::Spaceship => self.null_safe(left, right),
            BinaryOperator::Regexp => self.regexp(left, right, false),
            BinaryOperator::Assignment => self.assignment(left, right),
            _ => Err(Self::unsupported(whole)),
        }
    }

    fn chained(
        &mut self,
        whole: &Expr,
        wanted: &[BinaryOperator],
    ) -> Result<Box<[Expression]>, Error> {
        chain(whole, wanted).into_iter().map(|operand| self.expression(operand)).collect()
    }

    pub(super) fn arithmetic(
        &self,
        op: Operator,
        left: Expression,
        right: Expression,
        text: Box<str>,
    ) -> Expression {
        let (left, right) = (as_number(left), as_number(right));
        let ty = op.result(left.ty, right.ty);
        let rounds_later = ty != Type::Unknown;
        let arithmetic = Arithmetic { op, left, right, text, rounds_later };
        self.made(Node::Arithmetic(Box::new(arithmetic)), ty)
    }

    fn comparison(
        &mut self,
        op: Comparator,
        left: &Expr,
        right: &Expr,
    ) -> Result<Expression, Error> {
        if let Some(rows) = self.compare_rows(op, left, right)? {
            return Ok(rows);
        }
        let (left, right) = self.pair(left, right)?;
        self.compared(op, left, right)
    }

    pub(super) fn compared(
        &self,
        op: Comparator,
        left: Expression,
        right: Expression,
    ) -> Result<Expression, Error> {
        let left = as_number_beside(left, right.ty);
        let right = as_number_beside(right, left.ty);
        let collation = self.collation(&[&left, &right], "=")?;
        let comparison = Comparison { op, left, right, collation };
        Ok(self.made(Node::Compare(Box::new(comparison)), Type::Int))
    }

    fn null_safe(&mut self, left: &Expr, right: &Expr) -> Result<Expression, Error> {
        let (left, right) = self.pair(left, right)?;
        let left = as_number_beside(left, right.ty);
        let right = as_number_beside(right, left.ty);
        let collation = self.collation(&[&left, &right], "<=>")?;
        let comparison = NullSafe { left, right, collation };
        Ok(self.made(Node::NullSafe(Box::new(comparison)), Type::Int))
    }

    /// `@name := value`.
    fn assignment(&mut self, left: &Expr, right: &Expr) -> Result<Expression, Error> {
        let Expr::Identifier(name) = left else { return Err(Self::unsupported(left)) };
        let name = name.value.strip_prefix('@').filter(|name| !name.starts_with('@'));
        let name = name.ok_or_else(|| Self::unsupported(left))?.to_lowercase();
        let operand = self.boxed(right)?;
        let (ty, rule) = (operand.ty, operand.text_rule);
        let mut made = self.made(Node::Assign(name.into(), operand), ty);
        made.text_rule = rule;
        Ok(made)
    }

    pub(super) fn unary(
        &mut self,
        whole: &Expr,
        op: UnaryOperator,
        operand: &Expr,
    ) -> Result<Expression, Error> {
        match op {
            UnaryOperator::Plus => self.expression(operand),
            UnaryOperator::Minus => {
                // The smallest BIGINT: its digits alone are too large for one.
                if let Expr::Value(value) = operand
                    && let Literal::Number(digits, _) = &value.value
                    && let Ok(size) = digits.parse::<u64>()
                {
                    // Beyond BIGINT a negative number is a DECIMAL.
                    let exact = decimal::negated(Decimal::from(size));
                    let whole = i64::try_from(-i128::from(size)).map(Value::Int);
                    return Ok(self.constant(whole.unwrap_or(Value::Decimal(exact))));
                }
                let operand = as_number(self.expression(operand)?);
                let ty = negated_type(&operand);
                let node = Node::Negate(Box::new(operand), written(whole));
                Ok(self.made(node, ty))
            }
            UnaryOperator::Not | UnaryOperator::BangNot => {
                let operand = self.boxed(operand)?;
                Ok(self.made(Node::Not(operand), Type::Int))
            }
            UnaryOperator::BitwiseNot => {
                let operand = as_number(self.expression(operand)?);
                Ok(self.made(Node::Invert(Box::new(operand)), Type::UInt))
            }
            _ => Err(Self::unsupported(whole)),
        }
    }

    pub(super) fn is(&mut self, expression: &Expr) -> Result<Expression, Error> {
        let (operand, test, negated) = match expression {
            Expr::IsNull(operand) | Expr::IsUnknown(operand) => (operand, Test::Null, false),
            Expr::IsNotNull(operand) | Expr::IsNotUnknown(operand) => (operand, Test::Null, true),
            Expr::IsTrue(operand) => (operand, Test::True, false),
            Expr::IsNotTrue(operand) => (operand, Test::True, true),
            Expr::IsFalse(operand) => (operand, Test::False, false),
            Expr::IsNotFalse(operand) => (operand, Test::False, true),
            other => return Err(Self::unsupported(other)),
        };
        let operand = self.boxed(operand)?;
        Ok(self.made(Node::Is { operand, test, negated }, Type::Int))
    }

    pub(super) fn between(
        &mut self,
        operand: &Expr,
        negated: bool,
        (low, high): (&Expr, &Expr),
    ) -> Result<Expression, Error> {
        let operand = self.expression(operand)?;
        let (low, high) = self.pair(low, high)?;
        let low = as_number_beside(low, operand.ty);
        let high = as_number_beside(high, operand.ty);
        let collation = self.collation(&[&operand, &low, &high], "between")?;
        let between = Between { operand, low, high, collation, negated };
        Ok(self.made(Node::Between(Box::new(between)), Type::Int))
    }

    pub(super) fn in_list(
        &mut self,
        operand: &Expr,
        list: &[Expr],
        negated: bool,
    ) -> Result<Expression, Error> {
        if let Some(rows) = self.row_in_list(operand, list, negated)? {
            return Ok(rows);
        }
        let operand = self.expression(operand)?;
        let mut items = Vec::with_capacity(list.len());
        for item in list {
            items.push(as_number_beside(self.expression(item)?, operand.ty));
        }
        let operands: Vec<_> = items.iter().chain([&operand]).collect();
        let collation = self.collation(&operands, "in")?;
        let list = InList { operand, items: Items::new(items), collation, negated };
        Ok(self.made(Node::In(Box::new(list)), Type::Int))
    }

    pub(super) fn like(
        &mut self,
        operand: &Expr,
        pattern: &Expr,
        escape: Option<&Literal>,
        negated: bool,
    ) -> Result<Expression, Error> {
        let (operand, pattern) = self.pair(operand, pattern)?;
        let escape = match escape {
            None => Some('\\'),
            Some(Literal::SingleQuotedString(text) | Literal::DoubleQuotedString(text)) => {
                let mut characters = text.chars();
                let escape = characters.next();
                if characters.next().is_some() {
                    return Err(Error::Parameters("ESCAPE".into()));
                }
                escape
            }
            Some(other) => return Err(Error::Unsupported(format!("ESCAPE {other}"))),
        };
        let collation = self.collation(&[&operand, &pattern], "like")?;
        let like = Like { operand, pattern, fixed: None, escape, collation, negated };
        Ok(self.made(Node::Like(Box::new(like.prepare())), Type::Int))
    }

    pub(super) fn regexp(
        &mut self,
        operand: &Expr,
        pattern: &Expr,
        negated: bool,
    ) -> Result<Expression, Error> {
        let (operand, pattern) = self.pair(operand, pattern)?;
        let bytes = operand.ty == Type::Bytes || pattern.ty == Type::Bytes;
        let collation = match self.collation(&[&operand, &pattern], "regexp")? {
            _ if bytes => Collation::Binary,
            collation => collation,
        };
        let regexp = Regexp::new(operand, pattern, collation, negated)?;
        Ok(self.made(Node::Regexp(Box::new(regexp)), Type::Int))
    }
}

const fn negated_type(operand: &Expression) -> Type {
    match operand.ty {
        Type::UInt | Type::Null | Type::Date => Type::Int,
        ty @ (Type::Int | Type::Decimal { .. } | Type::Unknown) => ty,
        Type::Time(0) | Type::DateTime(0) => Type::Int,
        Type::Time(fsp) | Type::DateTime(fsp) => Type::Decimal { precision: 20, scale: fsp },
        _ => Type::Double,
    }
}
