//! What EXPLAIN shows of a plan: a line for each step, the last step first.

use datafusion::logical_expr::LogicalPlan;

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
