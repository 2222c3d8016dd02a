//! Stopping joins in the middle. A join without keys compares all pairs of rows of two batches at
//! once, which may take minutes; so its condition also asks whether somebody still wants to know.

use std::any::Any;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::config::ConfigOptions;
use datafusion::error::Result;
use datafusion::logical_expr::{
    ColumnarValue, Operator, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use datafusion::physical_expr::expressions::BinaryExpr;
use datafusion::physical_expr::{PhysicalExpr, ScalarFunctionExpr};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::joins::NestedLoopJoinExec;
use datafusion::physical_plan::joins::utils::JoinFilter;
use resprout_sql::server::Interrupt;

use crate::error::carried;
use crate::run::Sender;

/// True as long as the query is to go on, else an error.
struct GoesOn {
    interrupt: Arc<Interrupt>,
    taken: Sender,
    signature: Signature,
}

impl fmt::Debug for GoesOn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GoesOn")
    }
}

/// There is one in a plan.
impl PartialEq for GoesOn {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.interrupt, &other.interrupt)
    }
}

impl Eq for GoesOn {}

impl Hash for GoesOn {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name().hash(state);
    }
}

impl ScalarUDFImpl for GoesOn {
    fn name(&self) -> &'static str {
        "goes_on"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _types: &[DataType]) -> Result<DataType> {
        Ok(DataType::Boolean)
    }

    fn invoke_with_args(&self, _call: ScalarFunctionArgs) -> Result<ColumnarValue> {
        self.interrupt.check().map_err(carried)?;
        if self.taken.is_closed() {
            // Nobody reads what went wrong.
            return Err(carried(resprout_sql::SqlError::plain(
                resprout_sql::Code::QUERY_INTERRUPTED,
            )));
        }
        Ok(ColumnarValue::Scalar(ScalarValue::Boolean(Some(true))))
    }
}

/// The plan, whose joins without keys stop when they are to.
///
/// # Errors
/// If DataFusion refuses.
pub(crate) fn stoppable(
    plan: Arc<dyn ExecutionPlan>,
    interrupt: &Arc<Interrupt>,
    taken: &Sender,
) -> Result<Arc<dyn ExecutionPlan>> {
    let goes_on = GoesOn {
        interrupt: Arc::clone(interrupt),
        taken: taken.clone(),
        signature: Signature::nullary(Volatility::Volatile),
    };
    let goes_on = Arc::new(ScalarUDF::new_from_impl(goes_on));
    let changed = plan.transform_up(|plan| {
        let any: &dyn Any = &*plan;
        let Some(join) = any.downcast_ref::<NestedLoopJoinExec>() else {
            return Ok(Transformed::no(plan));
        };
        // Without a condition it gives rows, and stops when nobody takes them.
        let Some(filter) = join.filter() else { return Ok(Transformed::no(plan)) };
        let asked = ScalarFunctionExpr::try_new(
            Arc::clone(&goes_on),
            Vec::new(),
            filter.schema(),
            Arc::new(ConfigOptions::default()),
        )?;
        let asked: Arc<dyn PhysicalExpr> = Arc::new(asked);
        let own = Arc::clone(filter.expression());
        let both = Arc::new(BinaryExpr::new(asked, Operator::And, own));
        let filter =
            JoinFilter::new(both, filter.column_indices().to_vec(), Arc::clone(filter.schema()));
        let projection = join.projection().as_ref().map(|columns| columns.to_vec());
        let (left, right) = (Arc::clone(join.left()), Arc::clone(join.right()));
        let join =
            NestedLoopJoinExec::try_new(left, right, Some(filter), join.join_type(), projection)?;
        Ok(Transformed::yes(Arc::new(join) as Arc<dyn ExecutionPlan>))
    })?;
    Ok(changed.data)
}
