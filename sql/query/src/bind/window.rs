//! Window functions.

use std::cell::RefCell;
use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::functions_aggregate::count::count_udaf;
use datafusion::functions_window::cume_dist::cume_dist_udwf;
use datafusion::functions_window::lead_lag::{lag_udwf, lead_udwf};
use datafusion::functions_window::nth_value::{first_value_udwf, last_value_udwf, nth_value_udwf};
use datafusion::functions_window::ntile::ntile_udwf;
use datafusion::functions_window::rank::{dense_rank_udwf, percent_rank_udwf, rank_udwf};
use datafusion::functions_window::row_number::row_number_udwf;
use datafusion::logical_expr::expr::{Sort, WindowFunction, WindowFunctionParams};
use datafusion::logical_expr::{
    Expr, LogicalPlan, LogicalPlanBuilder, WindowFrame, WindowFrameBound, WindowFrameUnits,
    WindowFunctionDefinition, WindowUDF, cast, lit,
};
use resprout_engine::table::Value;
use resprout_sql::expression::{Collation, Error, Type};
use resprout_sql::statement::Operand;
use resprout_sql::{Code, SqlError};
use sqlparser::ast::{
    self, FunctionArg, FunctionArgExpr, NamedWindowDefinition, NamedWindowExpr, WindowType,
};

use super::aggregates::{Called, Kind, list_of, name_of, or_number};
use super::names::Bound;
use super::native::identity;
use super::{Binder, Env, Result, column, planned};
use crate::computed::key_text;

/// The window functions of a SELECT, added while its outputs are bound.
pub(super) struct Windows<'w> {
    named: &'w [NamedWindowDefinition],
    calls: RefCell<Vec<Expr>>,
}

impl<'w> Windows<'w> {
    pub(super) fn new(named: &'w [NamedWindowDefinition]) -> Self {
        Self { named, calls: RefCell::default() }
    }

    fn add(&self, call: Expr) -> Expr {
        let mut calls = self.calls.borrow_mut();
        let made = column(call.schema_name().to_string());
        if !calls.contains(&call) {
            calls.push(call);
        }
        made
    }

    /// The rows with the values of the functions.
    ///
    /// # Errors
    /// If DataFusion refuses.
    pub(super) fn plan(&self, rows: LogicalPlan) -> Result<LogicalPlan> {
        let calls = self.calls.borrow();
        if calls.is_empty() {
            return Ok(rows);
        }
        planned(LogicalPlanBuilder::window_plan(rows, calls.iter().cloned()))
    }

    fn spec(&self, name: &ast::Ident, depth: usize) -> Result<&'w ast::WindowSpec> {
        let is = |window: &&NamedWindowDefinition| window.0.value.eq_ignore_ascii_case(&name.value);
        match self.named.iter().find(is).map(|window| &window.1) {
            Some(NamedWindowExpr::WindowSpec(spec)) => Ok(spec),
            Some(NamedWindowExpr::NamedWindow(other)) if depth < self.named.len() => {
                self.spec(other, depth + 1)
            }
            _ => {
                let text = format!("Window name '{}' is not defined.", name.value);
                Err(SqlError::new(Code(3579), text))
            }
        }
    }
}

/// The parts of OVER.
struct Over {
    partition_by: Vec<Expr>,
    order_by: Vec<Sort>,
    frame: WindowFrame,
}

impl Over {
    fn call(&self, fun: WindowFunctionDefinition, args: Vec<Expr>, distinct: bool) -> Expr {
        let params = WindowFunctionParams {
            args,
            partition_by: self.partition_by.clone(),
            order_by: self.order_by.clone(),
            window_frame: self.frame.clone(),
            filter: None,
            null_treatment: None,
            distinct,
        };
        Expr::WindowFunction(Box::new(WindowFunction { fun, params }))
    }
}

/// A sort key as MySQL sorts: NULL is least.
pub(super) const fn sort(expr: Expr, descending: bool) -> Sort {
    Sort { expr, asc: !descending, nulls_first: !descending }
}

fn count_of(expression: &ast::Expr) -> Option<u64> {
    match Operand::of_expression(expression) {
        Some(Operand::Literal(Value::Int(number))) => u64::try_from(number).ok(),
        Some(Operand::Literal(Value::UInt(number))) => Some(number),
        _ => None,
    }
}

impl Binder<'_> {
    /// The value of a window function.
    ///
    /// # Errors
    /// With what the client is told.
    pub(super) fn window(
        &self,
        env: &Env<'_>,
        windows: &Windows<'_>,
        of: &ast::Function,
    ) -> Result<Bound> {
        let inside = Env { windows: None, ..*env };
        let over = self.over_of(&inside, windows, of)?;
        if of.null_treatment.is_some() {
            return Err(SqlError::not_supported("IGNORE NULLS and RESPECT NULLS"));
        }
        let name = name_of(of).unwrap_or_default();
        if let Some(kind) = Kind::named(name) {
            return self.aggregate_over(&inside, windows, (kind, of), &over);
        }
        let list = list_of(of)?;
        let arguments: Option<Vec<&ast::Expr>> = list
            .args
            .iter()
            .map(|argument| match argument {
                FunctionArg::Unnamed(FunctionArgExpr::Expr(expression)) => Some(expression),
                _ => None,
            })
            .collect();
        let arguments = arguments.unwrap_or_default();
        let wrong = || SqlError::from(Error::ParameterCount(name.to_owned()));
        let upper = name.to_ascii_uppercase();
        if let Some((udwf, ty)) = ranked(&upper) {
            if !arguments.is_empty() {
                return Err(wrong());
            }
            return Ok(ranking(windows, &over, udwf, Vec::new(), ty));
        }
        match (upper.as_str(), &arguments[..]) {
            ("NTILE", [number]) => {
                let number = count_of(number).filter(|number| *number > 0);
                let number = number.and_then(|number| i64::try_from(number).ok());
                let number = number.ok_or_else(|| wrong_argument(name))?;
                Ok(ranking(windows, &over, ntile_udwf(), vec![lit(number)], Type::Int))
            }
            ("FIRST_VALUE" | "LAST_VALUE", [value]) => {
                let value = self.value(&inside, value)?;
                let udwf =
                    if upper == "FIRST_VALUE" { first_value_udwf() } else { last_value_udwf() };
                let call = over.call(udwf.into(), vec![value.expr.clone()], false);
                Ok(value.at(windows.add(call)))
            }
            ("NTH_VALUE", [value, number]) => {
                let number = count_of(number).and_then(|number| i64::try_from(number).ok());
                let number = number.ok_or_else(|| wrong_argument(name))?;
                let value = self.value(&inside, value)?;
                let arguments = vec![value.expr.clone(), lit(number)];
                let call = over.call(nth_value_udwf().into(), arguments, false);
                Ok(value.at(windows.add(call)))
            }
            ("LAG" | "LEAD", [value, rest @ ..]) if rest.len() <= 2 => {
                let udwf = if upper == "LAG" { lag_udwf() } else { lead_udwf() };
                self.shifted(&inside, (windows, &over), udwf, (name, value, rest))
            }
            ("NTILE" | "FIRST_VALUE" | "LAST_VALUE" | "NTH_VALUE" | "LAG" | "LEAD", _) => {
                Err(wrong())
            }
            _ => Err(Error::UnknownFunction(name.to_owned()).into()),
        }
    }

    fn over_of(&self, inside: &Env<'_>, windows: &Windows<'_>, of: &ast::Function) -> Result<Over> {
        match &of.over {
            Some(WindowType::WindowSpec(spec)) => {
                let base = match &spec.window_name {
                    Some(name) => Some(windows.spec(name, 0)?),
                    None => None,
                };
                self.over(inside, spec, base)
            }
            Some(WindowType::NamedWindow(name)) => self.over(inside, windows.spec(name, 0)?, None),
            None => Err(SqlError::not_supported(&of.to_string())),
        }
    }

    fn shifted(
        &self,
        env: &Env<'_>,
        (windows, over): (&Windows<'_>, &Over),
        udwf: Arc<WindowUDF>,
        (name, value, rest): (&str, &ast::Expr, &[&ast::Expr]),
    ) -> Result<Bound> {
        let value = self.value(env, value)?;
        let by = match rest.first() {
            Some(by) => count_of(by).and_then(|by| i64::try_from(by).ok()),
            None => Some(1),
        };
        let mut arguments = vec![value.expr.clone(), lit(by.ok_or_else(|| wrong_argument(name))?)];
        if let Some(default) = rest.get(1) {
            let default = self.value(env, default)?;
            let Expr::Literal(constant, _) = &default.expr else {
                return Err(SqlError::not_supported(
                    "a default of LAG or LEAD that is no constant",
                ));
            };
            let constant = crate::values::of_scalar(constant, default.ty);
            arguments.push(self.literal(&planned(constant)?, value.ty)?);
        }
        // Frames mean nothing to them.
        let over = Over {
            partition_by: over.partition_by.clone(),
            order_by: over.order_by.clone(),
            frame: WindowFrame::new(Some(true)),
        };
        let call = over.call(udwf.into(), arguments, false);
        Ok(value.at(windows.add(call)))
    }

    fn aggregate_over(
        &self,
        env: &Env<'_>,
        windows: &Windows<'_>,
        (kind, of): (Kind, &ast::Function),
        over: &Over,
    ) -> Result<Bound> {
        let list = list_of(of)?;
        if kind == Kind::Concat || !list.clauses.is_empty() || list.duplicate_treatment.is_some() {
            return Err(SqlError::not_supported(&of.to_string()));
        }
        let arguments = self.arguments(env, kind, list)?;
        let (called, collation) = self.called(kind, arguments, false)?;
        let bound = match called {
            Called::One(udaf, arguments, ty) => {
                let fun = WindowFunctionDefinition::AggregateUDF(udaf);
                Bound::of(windows.add(over.call(fun, arguments, false)), ty)
            }
            Called::Quotient(udaf, argument, ty) => {
                let sum = WindowFunctionDefinition::AggregateUDF(udaf);
                let sum = windows.add(over.call(sum, vec![argument.clone()], false));
                let count = WindowFunctionDefinition::AggregateUDF(count_udaf());
                let count = windows.add(over.call(count, vec![argument], false));
                self.quotient(&Bound::of(sum, ty), &Bound::of(count, Type::Int))?
            }
            Called::Or(udaf, argument, without) => {
                let fun = WindowFunctionDefinition::AggregateUDF(udaf);
                or_number(windows.add(over.call(fun, vec![argument], false)), without)
            }
        };
        Ok(Bound { collation, ..bound })
    }

    fn over(
        &self,
        env: &Env<'_>,
        spec: &ast::WindowSpec,
        base: Option<&ast::WindowSpec>,
    ) -> Result<Over> {
        let by = base.map_or(&spec.partition_by, |base| &base.partition_by);
        let partition_by = by
            .iter()
            .map(|by| self.value(env, by).map(|by| identity(&by)))
            .collect::<Result<Vec<_>>>()?;
        let by = match base {
            Some(base) if spec.order_by.is_empty() => &base.order_by,
            _ => &spec.order_by,
        };
        let order_by = by
            .iter()
            .map(|by| {
                let value = self.value(env, &by.expr)?;
                // Frames are not for bytes.
                let key = match value.ty {
                    Type::Text | Type::Unknown => key_text(value.expr, value.collation),
                    Type::Bytes => key_text(value.expr, Collation::Binary),
                    _ => value.expr,
                };
                Ok(sort(key, by.options.asc == Some(false)))
            })
            .collect::<Result<Vec<_>>>()?;
        let frame = match &spec.window_frame {
            None => WindowFrame::new((!order_by.is_empty()).then_some(false)),
            Some(frame) => frame_of(frame)?,
        };
        Ok(Over { partition_by, order_by, frame })
    }
}

/// The functions of a row's place among others.
fn ranked(name: &str) -> Option<(Arc<WindowUDF>, Type)> {
    Some(match name {
        "ROW_NUMBER" => (row_number_udwf(), Type::Int),
        "RANK" => (rank_udwf(), Type::Int),
        "DENSE_RANK" => (dense_rank_udwf(), Type::Int),
        "PERCENT_RANK" => (percent_rank_udwf(), Type::Double),
        "CUME_DIST" => (cume_dist_udwf(), Type::Double),
        _ => return None,
    })
}

/// A number of a row among others, which DataFusion gives as `UInt64`.
fn ranking(
    windows: &Windows<'_>,
    over: &Over,
    udwf: Arc<WindowUDF>,
    arguments: Vec<Expr>,
    ty: Type,
) -> Bound {
    let made = windows.add(over.call(udwf.into(), arguments, false));
    match ty {
        Type::Int => Bound::of(cast(made, DataType::Int64), ty),
        _ => Bound::of(made, ty),
    }
}

fn wrong_argument(name: &str) -> SqlError {
    SqlError::new(Code::WRONG_ARGUMENTS, format!("Incorrect arguments to {}", name.to_lowercase()))
}

fn frame_of(frame: &ast::WindowFrame) -> Result<WindowFrame> {
    let units = match frame.units {
        ast::WindowFrameUnits::Rows => WindowFrameUnits::Rows,
        ast::WindowFrameUnits::Range => WindowFrameUnits::Range,
        ast::WindowFrameUnits::Groups => {
            return Err(SqlError::not_supported("GROUPS in a window frame"));
        }
    };
    let rows = units == WindowFrameUnits::Rows;
    let number = |expression: &Option<Box<ast::Expr>>| match expression {
        None => Ok(ScalarValue::UInt64(None)),
        Some(_) if !rows => Err(SqlError::not_supported("RANGE by a number or an interval")),
        Some(number) => {
            let number = count_of(number).ok_or_else(|| wrong_argument("the window frame"))?;
            Ok(ScalarValue::UInt64(Some(number)))
        }
    };
    let bound = |bound: &ast::WindowFrameBound| -> Result<WindowFrameBound> {
        Ok(match bound {
            ast::WindowFrameBound::CurrentRow => WindowFrameBound::CurrentRow,
            ast::WindowFrameBound::Preceding(by) => WindowFrameBound::Preceding(number(by)?),
            ast::WindowFrameBound::Following(by) => WindowFrameBound::Following(number(by)?),
        })
    };
    let start = bound(&frame.start_bound)?;
    let end = match &frame.end_bound {
        Some(end) => bound(end)?,
        None => WindowFrameBound::CurrentRow,
    };
    Ok(WindowFrame::new_bounds(units, start, end))
}
