//! What EXPLAIN shows of a plan: a line for each step, the last step first; then a line for each scan that does more where
//! its rows are than to read columns.

use std::any::Any;
use std::sync::Arc;

use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::ExecutionPlan;

use crate::leaves::Leaves;

/// Most characters of a line.
const LINE_MAX: usize = 240;

/// The steps of a plan, each below the one that takes its rows.
pub(crate) fn lines(plan: &LogicalPlan) -> Vec<String> {
    let mut lines = Vec::new();
    add(plan, 0, &mut lines);
    lines
}

fn add(plan: &LogicalPlan, depth: usize, lines: &mut Vec<String>) {
    let inner = match plan {
        // Names only: what is below says it all.
        LogicalPlan::SubqueryAlias(alias) => {
            add(&alias.input, depth, lines);
            return;
        }
        _ => plan.inputs(),
    };
    let text = plan.display().to_string();
    let mut line = "  ".repeat(depth);
    line.extend(text.lines().next().unwrap_or_default().chars().take(LINE_MAX));
    lines.push(line);
    for input in inner {
        add(input, depth + 1, lines);
    }
}

/// What is done where rows are.
pub(crate) fn add_leaves(plan: &Arc<dyn ExecutionPlan>, lines: &mut Vec<String>) {
    let any: &dyn Any = &**plan;
    if let Some(leaves) = any.downcast_ref::<Leaves>() {
        let what = leaves.stored().pushed(leaves.pushdown());
        if !what.is_empty() {
            let line = format!("On the leaves: {}: {what}", leaves.stored().table().name());
            lines.push(line.chars().take(LINE_MAX).collect());
        }
    }
    for child in plan.children() {
        add_leaves(child, lines);
    }
}
