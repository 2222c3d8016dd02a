//! `show-leaves`, `show-aggregators`, `events`: what the master aggregator shows.

use clap::Args;
use serde_json::{Map, Value, json};

use super::master::{Client, Rows};
use super::registry::Registry;
use super::{StateArgs, look, table};
use crate::failure::{Exit, Failure};
use crate::output;

/// Version of the JSON.
const SCHEMA_VERSION: u32 = 1;

/// Shows nodes as the cluster has them
#[derive(Args, Clone, Debug)]
pub struct ShowArgs {
    #[command(flatten)]
    state: StateArgs,
    /// As JSON
    #[arg(short, long)]
    json: bool,
}

/// Shows events
#[derive(Args, Clone, Debug)]
pub struct EventsArgs {
    #[command(flatten)]
    state: StateArgs,
    /// Most events, the newest of all
    #[arg(short = 'n', long, default_value_t = 50)]
    limit: u32,
    /// As JSON
    #[arg(short, long)]
    json: bool,
}

fn ask(state: &StateArgs, statement: &str) -> Result<Rows, Failure> {
    let registry = Registry::open(&state.dir())?;
    let mut client = Client::of_master(&registry, &look::all(&registry))?;
    let rows = client.query(statement)?;
    output::talk(format_args!("as {} has it", client.address()));
    Ok(rows)
}

/// Prints rows below titles; in JSON the titles are the names, in small letters.
fn print(is_json: bool, what: &str, titles: &[&str], rows: Rows) {
    if is_json {
        let name = |title: &str| {
            let words = title.trim_end_matches(" (ms)").to_lowercase().replace(' ', "_");
            if title.ends_with("(ms)") { format!("{words}_ms") } else { words }
        };
        let rows = rows.into_iter().map(|row| {
            let cells = titles.iter().zip(row).map(|(title, cell)| (name(title), typed(cell)));
            Value::Object(cells.collect::<Map<_, _>>())
        });
        let rows: Vec<Value> = rows.collect();
        output::json(&json!({ "schema_version": SCHEMA_VERSION, what: rows }));
        return;
    }
    let rows = rows.into_iter().map(|row| {
        let cells = row.into_iter().take(titles.len());
        cells.map(|cell| cell.unwrap_or_else(|| "null".to_owned())).collect()
    });
    table(titles, &rows.collect::<Vec<Vec<String>>>());
}

/// Numbers as numbers.
fn typed(cell: Option<String>) -> Value {
    let Some(text) = cell else { return Value::Null };
    if let Ok(number) = text.parse::<u64>() {
        return number.into();
    }
    match text.parse::<f64>() {
        Ok(number) if number.is_finite() => number.into(),
        _ => text.into(),
    }
}

/// `show-leaves`.
///
/// # Errors
/// If the master aggregator cannot be asked.
pub(super) fn leaves(args: &ShowArgs) -> Result<Exit, Failure> {
    let titles = [
        "Host",
        "Port",
        "Availability Group",
        "Pair Host",
        "Pair Port",
        "State",
        "Opened Connections",
        "Average Roundtrip Latency (ms)",
    ];
    print(args.json, "leaves", &titles, ask(&args.state, "SHOW LEAVES")?);
    Ok(Exit::Done)
}

/// `show-aggregators`.
///
/// # Errors
/// If the master aggregator cannot be asked.
pub(super) fn aggregators(args: &ShowArgs) -> Result<Exit, Failure> {
    let titles = [
        "Host",
        "Port",
        "State",
        "Opened Connections",
        "Average Roundtrip Latency (ms)",
        "Master Aggregator",
        "Role",
    ];
    print(args.json, "aggregators", &titles, ask(&args.state, "SHOW AGGREGATORS")?);
    Ok(Exit::Done)
}

/// `events`, oldest first.
///
/// # Errors
/// If the master aggregator cannot be asked.
pub(super) fn events(args: &EventsArgs) -> Result<Exit, Failure> {
    let asked = "SELECT event_time, severity, event_type, origin_node_id, details \
                 FROM information_schema.mv_events";
    let mut rows = ask(&args.state, asked)?;
    // The view has them in the order in which they happened; of equal times that is all that is known.
    rows.sort_by(|a, b| a[0].cmp(&b[0]));
    let limit = usize::try_from(args.limit).unwrap_or(usize::MAX);
    let rows = rows.split_off(rows.len().saturating_sub(limit));
    print(args.json, "events", &["Time", "Severity", "Event", "Node", "Details"], rows);
    Ok(Exit::Done)
}
