//! What is pushed down, in words: for EXPLAIN.

use std::fmt::Write;

use resprout_access::pushdown::{Call, Gives, Input, Pushdown, Rule};
use resprout_engine::table::TableSchema;
use sqlparser::ast::{Expr, Value as Literal, VisitMut, VisitorMut};

use super::condition::tree;

/// Condition, groups and aggregates; nothing for columns alone.
pub(crate) fn shown(pushdown: &Pushdown, schema: &TableSchema) -> String {
    let mut parts = Vec::new();
    if !pushdown.condition.is_empty()
        && let Ok((mut tree, parameters)) = tree(&pushdown.condition, pushdown.inputs.len())
    {
        let parameters: Vec<String> = parameters.iter().map(ToString::to_string).collect();
        let mut names = Named { pushdown, schema, parameters };
        let _whole = tree.visit(&mut names);
        parts.push(format!("WHERE {tree}"));
    }
    if let Gives::Groups { by, calls } = &pushdown.gives {
        let name = |at: &u16| name(pushdown, schema, *at);
        if !by.is_empty() {
            parts.push(format!("GROUP BY {}", by.iter().map(name).collect::<Vec<_>>().join(", ")));
        }
        let mut made = String::new();
        for call in calls {
            let separator = if made.is_empty() { "" } else { ", " };
            // Writing to a string does not fail.
            let _always = match call {
                Call::Rows => write!(made, "{separator}COUNT(*)"),
                Call::Count(of) => write!(made, "{separator}COUNT({})", name(of)),
                Call::Sum(of) => write!(made, "{separator}SUM({})", name(of)),
                Call::Best { input, greatest: true, .. } => {
                    write!(made, "{separator}MAX({})", name(input))
                }
                Call::Best { input, .. } => write!(made, "{separator}MIN({})", name(input)),
            };
        }
        if !made.is_empty() {
            parts.push(made);
        }
    }
    parts.join("; ")
}

/// What an input is called.
fn name(pushdown: &Pushdown, schema: &TableSchema, at: u16) -> String {
    let of = |id| {
        let column = schema.live_columns().find(|(live, _)| *live == id);
        column.map(|(_, column)| column.name.clone()).unwrap_or_default()
    };
    match pushdown.inputs.get(usize::from(at)) {
        Some(Input::Column(id) | Input::Key(id, Rule::Plain)) => of(*id),
        Some(Input::Key(id, Rule::GeneralCi)) => format!("key({})", of(*id)),
        Some(Input::Key(id, Rule::Bin)) => format!("key_bin({})", of(*id)),
        None => String::new(),
    }
}

/// Puts names and values in the place of numbers.
struct Named<'a> {
    pushdown: &'a Pushdown,
    schema: &'a TableSchema,
    parameters: Vec<String>,
}

impl VisitorMut for Named<'_> {
    type Break = ();

    fn post_visit_expr(&mut self, part: &mut Expr) -> std::ops::ControlFlow<()> {
        match part {
            Expr::Identifier(input) => {
                let at = input.value.strip_prefix('c').and_then(|at| at.parse().ok());
                if let Some(at) = at {
                    input.value = name(self.pushdown, self.schema, at);
                }
            }
            Expr::Value(value) => {
                if let Literal::Placeholder(number) = &value.value {
                    let at = number.trim_start_matches('?').parse::<usize>().unwrap_or(0);
                    if let Some(shown) = at.checked_sub(1).and_then(|at| self.parameters.get(at)) {
                        value.value = Literal::Placeholder(shown.clone());
                    }
                }
            }
            _ => {}
        }
        std::ops::ControlFlow::Continue(())
    }
}
