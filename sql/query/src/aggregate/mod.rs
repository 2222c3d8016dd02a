//! Aggregate functions that DataFusion has not, or not with MySQL's meaning.

mod best;
mod concat;
mod one_row;
mod sum;

use std::sync::Arc;

use datafusion::logical_expr::expr::{AggregateFunction, NullTreatment};
use datafusion::logical_expr::{AggregateUDF, AggregateUDFImpl, Expr};

pub(crate) use best::Best;
pub(crate) use concat::Concat;
pub(crate) use one_row::OneRow;
pub(crate) use sum::Sum;

/// A function of ours.
pub(crate) fn function(of: impl AggregateUDFImpl + 'static) -> Arc<AggregateUDF> {
    Arc::new(AggregateUDF::new_from_impl(of))
}

/// A call of an aggregate function.
pub(crate) fn call(function: Arc<AggregateUDF>, arguments: Vec<Expr>, distinct: bool) -> Expr {
    let none = None::<NullTreatment>;
    let call = AggregateFunction::new_udf(function, arguments, distinct, None, Vec::new(), none);
    Expr::AggregateFunction(call)
}
