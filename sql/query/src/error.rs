//! Errors on their way through DataFusion and back.

use datafusion::error::DataFusionError;
use resprout_sql::{Code, SqlError};

/// Most bytes of what DataFusion says that a client is told.
const TEXT_MAX: usize = 200;

/// An error of ours for DataFusion to carry.
pub(crate) fn carried(error: impl Into<SqlError>) -> DataFusionError {
    DataFusionError::External(Box::new(error.into()))
}

/// What the client is told.
pub(crate) fn told(error: &DataFusionError) -> SqlError {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error.find_root());
    while let Some(error) = cause {
        if let Some(ours) = error.downcast_ref::<SqlError>() {
            return ours.clone();
        }
        if let Some(DataFusionError::ResourcesExhausted(_)) = error.downcast_ref() {
            return SqlError::new(
                Code::OUT_OF_SORT_MEMORY,
                "Out of sort memory: the query needs more memory than queries may have",
            );
        }
        if let Some(DataFusionError::NotImplemented(what)) = error.downcast_ref() {
            let what = subquery_problem(what).map_or_else(|| cut(what), ToOwned::to_owned);
            return SqlError::not_supported(&what);
        }
        cause = error.source();
    }
    if let DataFusionError::Plan(text) = error.find_root()
        && let Some(what) = subquery_problem(text)
    {
        return SqlError::not_supported(what);
    }
    tracing::warn!(%error, "a query could not be planned or run");
    SqlError::new(Code::UNKNOWN_ERROR, cut(&error.find_root().strip_backtrace()))
}

/// Correlated subqueries that DataFusion cannot make joins of.
fn subquery_problem(text: &str) -> Option<&'static str> {
    let known = ["orrelated", "ubquery", "outer reference", "OuterReferenceColumn"];
    known.iter().any(|word| text.contains(word)).then_some("this correlated subquery")
}

fn cut(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    let end = (0..=line.len().min(TEXT_MAX)).rev().find(|at| line.is_char_boundary(*at));
    line[..end.unwrap_or(0)].to_owned()
}
