//! Functions with a syntax of their own, which the parser gives nodes of their own.

use sqlparser::ast::{CeilFloorKind, DateTimeField, Expr, TrimWhereField};

use super::Compiler;
use crate::expression::error::Error;
use crate::expression::node::Expression;
use crate::expression::temporal::interval::Unit;

impl Compiler<'_> {
    pub(super) fn special(&mut self, expression: &Expr) -> Result<Expression, Error> {
        match expression {
            Expr::Cast { expr, data_type, array: false, format: None, .. } => {
                self.cast(expr, data_type)
            }
            Expr::Convert { expr, data_type: Some(ty), charset: None, .. } => self.cast(expr, ty),
            Expr::Convert { expr, charset: Some(charset), .. } => {
                self.convert_using(expr, &charset.to_string())
            }
            Expr::Extract { field, expr, .. } => {
                let unit = Unit::of_field(field).ok_or_else(|| Self::unsupported(expression))?;
                let operand = self.expression(expr)?;
                self.call("extract", vec![operand], Some(unit))
            }
            Expr::Ceil { expr, field } => self.whole("ceiling", expr, field),
            Expr::Floor { expr, field } => self.whole("floor", expr, field),
            Expr::Position { expr, r#in } => {
                let (part, whole) = self.pair(expr, r#in)?;
                self.call("locate", vec![part, whole], None)
            }
            Expr::Substring { expr, substring_from, substring_for, .. } => {
                let from = substring_from.as_deref();
                let arguments = [Some(&**expr), from, substring_for.as_deref()];
                let mut compiled = Vec::with_capacity(3);
                for argument in arguments.into_iter().flatten() {
                    compiled.push(self.expression(argument)?);
                }
                self.call("substring", compiled, None)
            }
            Expr::Trim { trim_where, trim_what, expr, trim_characters: None } => {
                let name = match trim_where {
                    Some(TrimWhereField::Leading) => "ltrim",
                    Some(TrimWhereField::Trailing) => "rtrim",
                    Some(TrimWhereField::Both) | None => "trim",
                };
                let mut compiled = vec![self.expression(expr)?];
                if let Some(what) = trim_what {
                    compiled.push(self.expression(what)?);
                }
                self.call(name, compiled, None)
            }
            other => Err(Self::unsupported(other)),
        }
    }

    fn whole(
        &mut self,
        name: &str,
        operand: &Expr,
        field: &CeilFloorKind,
    ) -> Result<Expression, Error> {
        if !matches!(field, CeilFloorKind::DateTimeField(DateTimeField::NoDateTime)) {
            return Err(Error::ParameterCount(name.to_owned()));
        }
        let operand = self.expression(operand)?;
        self.call(name, vec![operand], None)
    }
}
